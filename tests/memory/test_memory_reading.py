"""The room as a library: one look at a process, and the example of its docstring."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ipc_magic.memory
from ipc_magic.memory import ladder, reading
from ipc_magic.memory.figures import Figures
from ipc_magic.memory.pages import PAGE_BYTES
from ipc_magic.memory.reading import Reading, read

ROOT = Path(__file__).resolve().parents[2]


def test_what_a_child_shares_and_what_it_holds_alone_is_read(family, region):
    some, other = region(1000), region(1000)
    actions = {"fill": some.fill, "write": some.write, "new": other.write}
    child = family(actions).born()
    before = read(child.pid)
    child.do("write", list(range(0, 800, 2)))
    child.do("new", list(range(300)))
    other.read(range(1000))
    after = read(child.pid)
    assert before.pid == after.pid == child.pid
    own = (after.own_bytes - before.own_bytes) // PAGE_BYTES
    shared = (before.shared_bytes - after.shared_bytes) // PAGE_BYTES
    assert 700 <= own < 900
    assert 400 <= shared < 600
    assert after.exact


def test_the_sums_are_read_where_pages_may_not_be(family, region, monkeypatch):
    some = region(1000)
    child = family(some.actions()).born()

    def refuse(pid):
        raise PermissionError(13, "Permission denied")

    by_pages = read(child.pid)
    monkeypatch.setattr(reading, "_by_pages", refuse)
    by_sums = read(child.pid)
    assert not by_sums.exact
    assert by_sums.shared_bytes == pytest.approx(by_pages.shared_bytes, rel=0.1)
    assert by_sums.own_bytes == pytest.approx(by_pages.own_bytes, rel=0.1)


def test_pages_of_zeros_are_neither_shared_nor_own(region):
    some = region(5000)
    before = read(os.getpid())
    some.read(range(5000))
    after = read(os.getpid())
    few = 1000 * PAGE_BYTES
    assert abs(after.shared_bytes - before.shared_bytes) < few
    assert abs(after.own_bytes - before.own_bytes) < few


def test_oneself_can_be_read():
    me = read(os.getpid())
    assert isinstance(me, Reading)
    assert me.own_bytes + me.shared_bytes > 1 << 20


def example():
    """Return the example in the docstring of the room, with the imports it names."""
    text = ipc_magic.memory.__doc__
    (found,) = re.findall(r"\n\n((?: {4}.*\n|\n)+?)(?=\S)", text)[:1]
    return textwrap.dedent(found)


def test_the_example_of_the_docstring_runs_as_written(run_script):
    program = """
    import os
    big = [object() for _ in range(200_000)]
    def work():
        for x in big: pass
    {}
    """
    text = textwrap.dedent(program).replace("{}", "@")
    parts = example().split("\n\n")
    # Its last line is of a process that still lives: here, of the program itself.
    script = text.replace("@", example().replace("read(pid)", "read(os.getpid())"))
    out = run_script(script)
    figures, one = out.strip().splitlines()
    assert len(parts) >= 2
    assert figures.startswith("Figures(mechanism=")
    assert one.startswith("Reading(pid=")
    told = eval(figures, {"Figures": Figures})
    assert told.mechanism == ladder.choose()
    # The header of each of 200000 objects of 16 bytes lies on one of these pages.
    assert told.copied_bytes > 200_000 * 16 * 0.9


def test_the_table_of_the_docstring_names_the_mechanisms():
    table = re.findall(r"^\| `(\w+)` \|", ipc_magic.memory.__doc__, re.MULTILINE)
    assert set(table) == set(ladder.MECHANISMS)


def test_the_map_of_the_docstring_is_complete():
    told = set(re.findall(r"^    (\w+)(?:\.py|/) ", ipc_magic.memory.__doc__, re.M))
    folder = Path(ipc_magic.memory.__file__).parent
    there = {path.stem for path in folder.iterdir() if path.suffix in {"", ".py"}}
    assert told == there - {"__init__", "__pycache__"}


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="is run by the ordinary user already")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv(1)")
def test_all_of_this_passes_for_an_ordinary_user(request, child_env, tmp_path_factory):
    # It may read what root's Python consists of; that gives no right over processes.
    reading_only = "+dac_read_search"
    folder = tmp_path_factory.mktemp("nobody")
    os.chmod(folder, 0o777)
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and parent.name.startswith("pytest-"):
            os.chmod(parent, 0o755)
    quick = "k_pages or test_no_ or anew or pages_that_the_body_writes or on_the_way"
    chosen = [] if request.config.getoption("--slow") else ["-k", quick]
    command = [
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *(f"--inh-caps={reading_only}", f"--ambient-caps={reading_only}"),
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("--numprocesses=0", f"--basetemp={folder}/base"),
        *chosen,
        str(Path(__file__).parent),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**child_env, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) > 10
