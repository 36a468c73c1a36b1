"""README tells the truth: its code runs, its tables are the declared ones.

`python tests/test_readme.py` writes README's outputs and option tables anew.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
COMMANDS = (
    "python -m pip install . && python -m ipc_magic",
    "python -m pip install '.[test]' && python -m pytest",
)
SESSION = re.compile(r"(?s)(?<=<!-- run -->\n```text\n).*?(?=```\n)")
PYTEST = re.compile(r"(?s)<!-- run: pytest -->\n```python\n(.*?)```\n")
SCRIPT = re.compile(r"(?s)<!-- run: script -->\n```python\n(.*?)```\n")
OPTIONS = re.compile(r"(?s)(?<=<!-- options: )(\w+) -->\n.*?(?=<!-- end -->)")
_PROMPT = re.compile(r"(?m)^In \[\d+\]: ")
_MORE = re.compile(r"^ *\.\.\.: ?")
_SIZE = r"(?:\d[\d.,]* (?:B|[KMG]iB)|unknown)"
# How memory is measured depends on the kernel; how much there is, on much more.
_MEMORY = (
    (rf"(?<=They copied )(?:at most |about )?{_SIZE}", "COPIED"),
    (rf"(?<= stays, with ){_SIZE}", "OWN"),
    (r"(?<=inherited copied )(?:at most |about )", ""),
    (rf"this child {_SIZE} {_SIZE} [\d.<>]+ % {_SIZE}", "THIS CHILD"),
    (rf"idle child {_SIZE} {_SIZE}", "IDLE CHILD"),
    (rf"({_SIZE}) {_SIZE} {_SIZE} {_SIZE}(?= \d|$| idle)", r"\1 MEMORY"),
    (rf"idle {_SIZE} {_SIZE}", "IDLE"),
    (r"(?:exact|at most|estimate) \((?:userf|exclusive p|page f|smaps)[^)]*\)", "HOW"),
)
_WATCHED = (
    (r"(\d child(?:ren)? copied ).*? inherited(?: \([\d.<>]+ %\))?\.", r"\1SOME."),
    (r" It was still growing when (?:it|they) ended\.", ""),
    (r"\d+ at once.*? = .*? This machine has [\d.]+ GiB\.(?: They.*? fit\.)?", "SUM"),
    (rf"\d+ (?:\d+|PID) {_SIZE} {_SIZE} {_SIZE} [·▁-█░]+", "CHILD"),
    (r"copied (?:of all|over [\d.]+ m?s)", "PICTURE"),
    (rf"htop shows {_SIZE} for such a child(?: and {_SIZE} for)?", "HTOP"),
    (rf"USS is {_SIZE}", "USS"),
)
# What differs between runs, machines and versions of IPython, and its stand-in.
_VARIES = (
    *_MEMORY,
    *_WATCHED,
    (r"<ipython-input-\S+ in <.*?>(?:\(\))?", "PLACE"),  # IPython 7
    (r"(?:Cell )?In ?\[\d+\](?:, line \d+|, in <.*?>(?:\(\))?)", "PLACE"),
    (r"in <(?:module|cell line: \d+)>", "PLACE"),
    (r"(?<=[Cc]hild )\d+|(?<=slowest )\d+|(?<=Process )\d+", "PID"),
    (r"(?<=until )\d\d:\d\d", "CLOCK"),
    (rf"(?<=It holds ){_SIZE}(?= of its own)", "SIZE"),
    (r"dump [\d.]+ \+ across [\d.]+ \+ load [\d.]+ \+ reply", "PHASES"),
    (r"code and the rest \d+", "CODE"),
    (r"in memory [\d.,]+ \w+", "MEMORY"),
    (r"min of \d+", "RUNS"),
    (r"\d+ min \d+ s\b|\b\d[\d.,]* (?:us|ms|s)\b", "TIME"),
    (r"\d+ threads? at the fork", "THREADS"),
    (r"Python 3\.\d+", "PYTHON"),
    (r", (?:waiting|running)(?= in )", ""),
)


def cells(session: str) -> Iterator[tuple[str, str]]:
    """Yield what is typed in a printed session, and what comes after each cell."""
    for part in _PROMPT.split(session)[1:]:
        first, *lines = part.rstrip("\n").split("\n")
        more = 0
        while more < len(lines) and _MORE.match(lines[more]):
            more += 1
        yield (
            "\n".join([first, *(_MORE.sub("", line) for line in lines[:more])]),
            "\n".join(lines[more:]).strip("\n"),
        )


def normal(output: str) -> str:
    """Return `output` without what varies; lines may break elsewhere."""
    # A line that comes and goes, on a slow machine.
    output = re.sub(r"\x1b\[2K[^\x1b]*(?=\x1b\[2K)", "", output).replace("\x1b[2K", "")
    output = re.sub(r"(?m)^( +\d+ +)\d+(?= +\S)", r"\1PID", output)  # of children
    output = re.sub(r"(?m)^ +\d+ *$", "", output)  # IPython 7 shows the cell's end
    tagged = sorted(re.findall(r"(?m)^\[\d+\] .*", output))  # children race
    output = re.sub(r"(?m)^\[\d+\] .*", "", output)
    output = " ".join(output.split())
    for pattern, stand_in in _VARIES:
        output = re.sub(pattern, stand_in, output)
    return "\n".join((*tagged, output))


def printed_anew(text: str, run: Callable[[str], str]) -> str:
    """Return README's text with every output and option table as they are now."""
    from ipc_magic import options

    number = 0

    def session(match: re.Match[str]) -> str:
        nonlocal number
        parts = []
        for cell, _ in cells(match[0]):
            number += 1
            prompt = f"In [{number}]: "
            more = "...: ".rjust(len(prompt))
            shown = [prompt + cell.replace("\n", f"\n{more}"), run(cell)]
            parts.append("\n".join(filter(None, shown)) + "\n")
        return "\n".join(parts)

    def table(match: re.Match[str]) -> str:
        return f"{match[1]} -->\n{options.table(match[1])}\n"

    return SESSION.sub(session, OPTIONS.sub(table, text))


@pytest.fixture(scope="module")
def readme():
    if not README.exists():
        pytest.skip("README.md is not beside these tests")
    return README.read_text(encoding="utf-8")


def test_the_sessions_print_what_readme_shows(readme, plain_terminal_class, child_env):
    shown = [pair for session in SESSION.findall(readme) for pair in cells(session)]
    assert len(shown) > 20
    assert all("..." not in cell for cell, _ in shown)
    terminal = plain_terminal_class(child_env, extension=None)
    try:
        for cell, output in shown:
            assert normal(terminal.run(cell)) == normal(output), cell
    finally:
        terminal.close()


def test_the_prompts_count_up(readme):
    numbers = [
        int(number)
        for session in SESSION.findall(readme)
        for number in re.findall(r"(?m)^In \[(\d+)\]", session)
    ]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_tests_of_readme_pass(readme, child_env, tmp_path):
    (code,) = PYTEST.findall(readme)
    (tmp_path / "test_readme_example.py").write_text(code)
    plugin = []
    if not _installed():
        plugin = ["-p", "ipc_magic.pytest_plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, str(tmp_path)],
        cwd=tmp_path,
        env=child_env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{code.count('def test_')} passed" in done.stdout


def run_script(code, child_env):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=child_env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def script_with(readme, call):
    (code,) = (code for code in SCRIPT.findall(readme) if call in code)
    return code


def test_the_script_of_readme_that_calls_a_function_tells_its_value(readme, child_env):
    code = script_with(readme, "ipc_magic.inprocess(")
    value, *report, together, failed = run_script(code, child_env).splitlines()
    counted = sum("9" in str(number) for number in range(100_000))
    assert value == together == str(counted)
    assert report[0].startswith("Ran in child ")
    assert re.match(r"Child \d+ raised ZeroDivisionError", failed)


def test_the_script_of_readme_measures(readme, child_env):
    code = script_with(readme, "os.fork()")
    figures, reading = run_script(code, child_env).splitlines()
    inherited, copied = (
        int(re.search(rf"\b{name}_bytes=(\d+)", figures)[1])
        for name in ("inherited", "copied")
    )
    # Of 300,000 texts of more than 50 bytes each is read: half of it is them.
    assert 15_000_000 < copied < inherited
    assert int(re.search(r"own_bytes=(\d+)", reading)[1]) > inherited / 2


def _installed() -> bool:
    from importlib import metadata

    try:
        metadata.distribution("ipc_magic")
    except metadata.PackageNotFoundError:
        return False
    return True


def test_the_option_tables_are_the_declared_ones(readme):
    from ipc_magic import options

    found = {m[1]: m[0].partition("\n")[2].strip() for m in OPTIONS.finditer(readme)}
    assert found == {magic: options.table(magic) for magic in options.MAGICS}


def test_no_option_or_magic_is_mentioned_that_does_not_exist(readme):
    from ipc_magic import options

    declared = {
        flag for each in options.MAGICS.values() for o in each for flag in o.flags
    }
    ours = {"--no-shell"}  # of `python -m ipc_magic`
    others = {"--slow", "--hypothesis-profile", "--check"}  # of the tests, of ruff
    assert (
        set(re.findall(r"(?<![\w-])--[a-z][\w-]*", readme)) <= declared | ours | others
    )
    ipython = {"load_ext", "config", "precision"}
    assert set(re.findall(r"%([a-z]\w+)", readme)) <= {*options.MAGICS} | ipython
    used = re.findall(r"(?:(?<=`)|: )%(%?)(inprocess|pickle_cost)\b([^`\n]*)", readme)
    assert len(used) > 15
    for percent, magic, line in used:
        options.parse(magic, line.strip(), cell=bool(percent))


def test_the_two_commands_stand_there(readme):
    for command in COMMANDS:
        assert f"\n```sh\n{command}\n```\n" in readme
        assert shlex.split(command)[0] == "python"


def test_every_ending_and_error_is_explained(readme):
    import ipc_magic
    from ipc_magic.results import inprocess

    table = readme.partition("<!-- table: endings -->\n")[2].partition("\n\n")[0]
    _, *endings = re.findall(r"(?m)^\| `(\w+)` \|", table)
    assert tuple(endings) == get_args(inprocess.Ending)
    errors = {
        name
        for name, value in vars(ipc_magic).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert errors <= set(re.findall(r"`(?:ipc_magic\.)?(\w+)`", readme))


@pytest.mark.parametrize(
    "name", ["InProcess", "ChildRun", "Memory", "CowWatch", "WatchedChild"]
)
def test_every_field_is_explained(readme, name):
    from ipc_magic import results

    record: Any = getattr(results, name)
    table = readme.partition(f"<!-- fields: {name} -->\n")[2].partition("\n\n")[0]
    firsts = "".join(re.findall(r"(?m)^\|([^|]*)\|", table))
    fields = {field.name for field in dataclasses.fields(record)}
    assert set(re.findall(r"`(\w+)`", firsts)) - {"headline"} == fields


def test_every_room_is_on_the_map(readme):
    import ipc_magic

    house = Path(ipc_magic.__path__[0])
    rooms = {
        path.stem
        for path in house.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists())
    } - {"__init__"}
    contributors = readme.partition("\n## For contributors\n")[2]
    assert {
        room for room in rooms if not re.search(rf"\b{room}\b", contributors)
    } == set()


def test_the_changelog_is_last_and_names_this_version(readme):
    import ipc_magic

    (*_, last) = re.split(r"(?m)^## ", readme)
    assert last.startswith("Changelog\n")
    assert f"\n### {ipc_magic.__version__}\n" in last


def test_the_text_is_plain(readme):
    assert re.findall(r"[\u2013\u2014\u2026]", readme) == []
    assert readme.count("badge") == 0
    prose = re.sub(r"(?s)```.*?```", "", readme)
    long = [
        line
        for line in prose.splitlines()
        if len(line) > 88 and not line.startswith("|")
    ]
    assert long == []


def test_outputs_can_be_printed_anew():
    text = (
        "<!-- run -->\n```text\nIn [7]: 1\nOut[7]: 2\n\nIn [9]: %%x\n   ...: 3\n```\n"
    )
    anew = printed_anew(text, lambda cell: f"ran {cell!r}")
    assert anew == (
        "<!-- run -->\n```text\nIn [1]: 1\nran '1'\n\n"
        "In [2]: %%x\n   ...: 3\nran '%%x\\n3'\n```\n"
    )


def _print_anew() -> None:
    sys.path.insert(0, str(README.parent))
    place = HERE / "terminal_driver.py"
    spec = importlib.util.spec_from_file_location(place.stem, place)
    assert spec is not None
    assert spec.loader is not None
    driver = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)
    there = {"PYTHONPATH": str(README.parent), "COLUMNS": "80", "LINES": "50"}
    terminal = driver.Terminal({**os.environ, **there}, extension=None)
    try:
        text = printed_anew(README.read_text(encoding="utf-8"), terminal.run)
    finally:
        terminal.close()
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _print_anew()
