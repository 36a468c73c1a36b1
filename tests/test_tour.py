"""`python -m ipc_magic`: what a person sees, and where it leaves them."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import warnings

import pexpect
import pytest

TOUR = ("-m", "ipc_magic")
# What takes long says so: on a slow machine all of it may.
PROGRESS = r"(?:[^\n]+: \d+ s\n)*"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def env(child_env, home):
    there = {key: value for key, value in child_env.items() if key != "IPYTHONDIR"}
    # prompt_toolkit would wait for a real terminal to say where its cursor is.
    there |= {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm", "NO_COLOR": "1"}
    return {**there, "HOME": str(home)}


def run(env, *arguments, stdin=subprocess.DEVNULL):
    return subprocess.run(
        [sys.executable, *TOUR, *arguments],
        env=env,
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def shown(env):
    """Give what the tour prints: by its cells, what came after each."""
    tour = importlib.import_module("ipc_magic.__main__")
    terminal, stdin = os.openpty()
    try:
        done = run(env, "--no-shell", stdin=stdin)
    finally:
        os.close(terminal)
        os.close(stdin)
    assert done.returncode == 0
    assert re.fullmatch(PROGRESS, done.stderr)
    assert "\x1b" not in done.stdout
    outputs, rest = {}, done.stdout
    for number, stop in enumerate(tour.STOPS, 1):
        more = "...: ".rjust(len(f"In [{number}]: "))
        cell = stop.cell.replace("\n", f"\n{more}")
        before, found, rest = rest.partition(f"]: {cell}\n")
        assert found, f"not shown: {stop.cell}"
        assert stop.sentence in " ".join(before.split())
        outputs[stop.cell] = re.split(r"(?m)^In \[", rest)[0]
    return outputs


def after(shown, part):
    (output,) = [text for cell, text in shown.items() if part in cell]
    return " ".join(output.split())


def test_the_data_are_large_and_real(shown):
    lines, size = map(int, re.findall(r"\d+", after(shown, "len(text)"))[-2:])
    assert lines > 100_000
    assert size > 10 * lines


def test_a_name_comes_back(shown):
    assert "`common` came back" in after(shown, "Counter")
    assert "[('" in next(text for cell, text in shown.items() if cell == "common")


def test_reading_the_list_copies_its_memory_and_reading_the_bytes_does_not(shown):
    said = after(shown, "Counter")
    if "of memory alone (USS)" not in said:  # all that is known where no page is seen
        size = r"([\d.]+) ([KM])iB"
        row = rf"this child {size} {size} \d+ %"
        inherited, unit, copied, _ = re.search(row, said).groups()
        assert unit == "M"
        assert float(copied) > float(inherited) / 10
        assert "idle child" in said
    said = after(shown, "%%inprocess -o imports")
    assert "`imports` came back" in said
    assert "memory" not in said


def test_a_crash_leaves_the_session_unharmed(shown):
    said = after(shown, "os.abort()")
    assert "was killed by SIGABRT in cell line 4: os.abort()" in said
    assert "Your session is unharmed." in said
    assert "ChildKilled: " in said


def test_an_error_is_shown_natively(shown):
    said = after(shown, "longest / 2")
    assert "raised TypeError in cell line 3" in said
    assert "----> 3 longest / 2" in said
    assert said.count("TypeError: unsupported operand") == 1


def test_a_long_cell_is_stopped(shown):
    said = after(shown, "-t 1")
    assert "was stopped after" in said
    assert "(--timeout 1)" in said


def test_two_children_share_the_work(shown):
    assert "Ran in 2 children" in after(shown, "-n 2")
    one, two, both = map(int, re.findall(r"\d+", after(shown, "count, sum"))[-3:])
    assert one + two == both > 1000


def test_a_list_is_copied_and_a_buffer_is_not(shown):
    listed, buffer = after(shown, "%cow_watch for"), after(shown, "%cow_watch text")
    copied = [
        re.search(r"1 child copied ([\d.]+) ", said)[1] for said in (listed, buffer)
    ]
    assert float(copied[0]) > 4 * float(copied[1])
    assert all("(your CPUs): " in said for said in (listed, buffer))
    assert "2 children copied " in after(shown, "%%cow_watch")
    assert "forked by Pool, line 4" in after(shown, "%%cow_watch")


def test_the_data_are_unchanged(shown):
    (before,) = re.findall(r"\((\d+),", after(shown, "len(text)"))
    assert shown["len(lines)"].split()[1:2] == [before]
    assert "True" in after(shown, "== text")


@pytest.mark.slow
def test_without_a_terminal_it_ends(env):
    done = run(env)
    assert done.returncode == 0
    assert re.fullmatch(PROGRESS, done.stderr)


def test_help_needs_no_tour(env):
    done = run(env, "--help")
    assert done.returncode == 0
    assert "--no-shell" in done.stdout
    assert "In [" not in done.stdout
    assert run(env, "--no-shel1").returncode == 2


@pytest.mark.slow
def test_at_the_end_a_person_is_in_the_session(env):
    with warnings.catch_warnings():
        # pexpect forks; from 3.12 that warns in a process with threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        session = pexpect.spawn(
            sys.executable,
            list(TOUR),
            env=env,
            encoding="utf-8",
            codec_errors="replace",
            dimensions=(50, 80),
            timeout=100,
        )
    try:
        session.expect_exact("Ctrl-D leaves.")
        # What is waited for is an answer and never the echo of the question.
        ask(session, "print('lines', len(lines))", r"lines [1-9]\d{5,}")
        ask(
            session, "%inprocess -q 'text'.upper(), len(text)", r"\('TEXT', [1-9]\d{6,}"
        )
        session.expect(r"In \[")
        session.sendeof()
        session.expect(pexpect.EOF, timeout=20)
        session.close()
        assert session.exitstatus == 0
    finally:
        session.close(force=True)


def ask(session, question, answer):
    session.expect(r"In \[")
    session.send(f"{question}\r")
    session.expect(answer)


@pytest.mark.usefixtures("shown")
def test_the_home_directory_is_as_before(home):
    assert list(home.iterdir()) == []
