"""`ipc_magic.inprocess(func)`: values, errors, output, wrong arguments, places."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import ipc_magic
from ipc_magic.errors import OptionError
from ipc_magic.process import quiesce, turns

PAGE = os.sysconf("SC_PAGESIZE")


class Counter:
    def __init__(self, start):
        self.count = start

    def add(self, number):
        self.count += number
        return self.count

    __call__ = add


class OwnError(Exception):
    pass


def raise_own():
    raise OwnError("of mine")


def scaled(number, *, factor=1):
    return number * factor


def value_of(function, *args, **kwargs):
    return ipc_magic.inprocess(function, args=args, kwargs=kwargs, measure=False).value


def test_every_kind_of_callable_gives_its_value():
    base, counter = 40, Counter(1)
    assert value_of(scaled, 3, factor=2) == 6
    assert value_of(lambda: base + 2) == 42
    assert value_of(counter.add, 4) == 5
    assert value_of(counter, 5) == 6
    assert value_of(functools.partial(scaled, factor=3), 2) == 6
    assert value_of(max, [1, 7, 2]) == 7
    assert counter.count == 1  # what the child changed stays there


def test_a_value_is_what_pickle_would_give():
    shared = [np.arange(6.0).reshape(2, 3)]
    first, second, counter = value_of(lambda: (shared, shared, Counter(3)))
    assert first is second
    assert first is not shared
    assert np.array_equal(first[0], shared[0])
    assert type(counter) is Counter
    assert value_of(lambda: None) is None


def test_what_cannot_be_pickled_goes_in_and_counts_as_nothing_sent():
    lock, numbers = threading.Lock(), (n for n in range(3))

    def use(lock, numbers):
        with lock:
            return sum(numbers)

    run = ipc_magic.inprocess(use, args=(lock, numbers), measure=False)
    (child,) = run.report.children
    assert run.value == 3
    assert (child.sent.moved_bytes, child.sent.names) == (0, {})
    assert list(child.returned.names) == ["use(...)"]
    assert sum(numbers) == 3  # the one here was not used


def test_the_report_measures_and_is_the_last():
    blobs = [bytes(PAGE) for _ in range(2000)]
    run = ipc_magic.inprocess(lambda: sum(1 for _ in blobs))
    assert run.value == 2000
    assert run.error is None
    assert run.report is ipc_magic.last
    (child,) = run.report.children
    assert child.memory.copied_bytes > 1900 * PAGE
    assert run.report.headline in repr(run)
    assert str(run) == str(run.report)
    unmeasured = ipc_magic.inprocess(lambda: 1, measure=False)
    assert unmeasured.report.children[0].memory is None


def test_several_children_give_a_list_and_know_their_index(capfd):
    def work():
        print("at", ipc_magic.child_index)
        return ipc_magic.child_index, os.getpid()

    run = ipc_magic.inprocess(work, children=3, measure=False)
    pids = [child.pid for child in run.report.children]
    assert run.value == list(enumerate(pids))
    shown = sorted(capfd.readouterr().out.splitlines())
    assert shown == ["[0] at 0", "[1] at 1", "[2] at 2"]
    assert ipc_magic.child_index is None
    assert ipc_magic.inprocess(scaled, args=(1,), children=1).value == [1]


def test_its_error_is_raised_here_with_its_traceback_and_report():
    with pytest.raises(OwnError, match="of mine") as caught:
        ipc_magic.inprocess(raise_own)
    assert caught.value.report is ipc_magic.last
    assert "in raise_own\n" in str(caught.value.__cause__)
    assert "child_function" not in str(caught.value.__cause__)
    with pytest.raises(ipc_magic.ChildExit) as ended:
        ipc_magic.inprocess(sys.exit, args=(3,))
    assert ended.value.code == 3


def test_an_error_that_is_not_to_be_raised_is_kept():
    def work():
        return 10 // ipc_magic.child_index

    run = ipc_magic.inprocess(work, children=2, raise_error=False, measure=False)
    assert run.value == [None, 10]
    assert isinstance(run.error, ZeroDivisionError)
    assert run.report.children[0].ending == "raised"


def test_a_value_that_cannot_be_pickled_is_named():
    def lock_in_dict():
        return {"a": [threading.Lock()]}

    with pytest.raises(ipc_magic.NotBroughtBack) as caught:
        ipc_magic.inprocess(lock_in_dict, measure=False)
    assert re.fullmatch(
        r"not brought back: `lock_in_dict\(\)` in child \d+: .*_thread.lock.*",
        str(caught.value),
    )
    assert caught.value.report is ipc_magic.last


def test_a_child_that_does_not_finish_is_told_by_where_it_was():
    def rest():
        time.sleep(60)

    with pytest.raises(ipc_magic.ChildTimeout, match=r"in rest \(.*, line \d+\)"):
        ipc_magic.inprocess(rest, timeout=0.2)
    with pytest.raises(ipc_magic.ChildKilled, match="SIGABRT"):
        ipc_magic.inprocess(os.abort)
    with pytest.raises(MemoryError):
        ipc_magic.inprocess(bytearray, args=(10**10,), memory="64 MiB")


def test_output_comes_as_it_is_made(capfd):
    seen, go_on = os.pipe()

    def work():
        print("first")
        os.read(seen, 1)
        print("second", file=sys.stderr)

    shown = []

    def look():
        deadline = time.monotonic() + 30
        while "first" not in "".join(shown) and time.monotonic() < deadline:
            shown.append(capfd.readouterr().out)
            time.sleep(0.01)
        os.write(go_on, b"x")

    looking = threading.Thread(target=look)
    looking.start()
    ipc_magic.inprocess(work, measure=False)
    looking.join()
    os.close(seen)
    os.close(go_on)
    assert "".join(shown) == "first\n"
    assert capfd.readouterr().err == "second\n"


def test_a_file_left_open_loses_and_repeats_nothing(tmp_path):
    with (tmp_path / "log").open("a") as log:
        log.write("here\n")
        value_of(lambda: log.write("child\n"))
    assert (tmp_path / "log").read_text() == "here\nchild\n"


def test_input_is_refused():
    with pytest.raises(ipc_magic.NoInput):
        ipc_magic.inprocess(lambda: input("name?"), measure=False)


def test_from_threads_and_nested():
    values = {}

    def work(number):
        values[number] = value_of(lambda: value_of(scaled, number, factor=10))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == {0: 0, 1: 10}


def test_a_fork_waits_while_another_thread_gets_ready_for_its_own():
    # That thread may be where a child that is forked now could never come in.
    running = threading.Thread(target=value_of, args=(scaled, 1))
    with turns.taken():
        running.start()
        running.join(0.2)
        assert running.is_alive()
        assert value_of(scaled, 2) == 2  # whose turn it is may fork
    running.join()


def test_a_child_that_is_forked_while_another_thread_forks_has_its_own_turn():
    held, done = threading.Event(), threading.Event()

    def hold():
        with turns.taken():
            held.set()
            done.wait(30)

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait()
    with quiesce.fork_warnings_off():
        pid = os.fork()
    if pid == 0:
        os._exit(0 if turns.taken().acquire(timeout=0.5) else 1)
    done.set()
    holding.join()
    assert os.waitpid(pid, 0)[1] == 0


WRONG = {
    "no option childen; did you mean children?": {"childen": 2},
    "no option no_raise_error; did you mean raise_error?": {"no_raise_error": True},
    "no option zz; help(ipc_magic.inprocess) lists them": {"zz": 1},
    "children takes a whole number from 1 to 1000, not '0'": {"children": 0},
    "children takes a whole number from 1 to 1000, not a value of type bool": {
        "children": True
    },
    "memory takes a size above 0, as in": {"memory": "much"},
    "timeout takes seconds above 0": {"timeout": float("nan")},
    "keep_free takes a size, as in": {"keep_free": []},
    "threads takes a whole number from 1 to 1000 or keep, not 'all'": {
        "threads": "all"
    },
    "mechanism takes one of uffd, witness": {"mechanism": "magic"},
    "measure is True or False, not a value of type int": {"measure": 1},
    "args is a tuple or a list, as in (x,), not a value of type int": {"args": 3},
    "args is a tuple or a list, as in (x,), not a value of type str": {"args": "ab"},
    "kwargs is a dict, as in {'n': x}, not None": {"kwargs": None},
    "kwargs is a dict whose keys are the names of parameters": {"kwargs": {1: 2}},
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_options_are_refused_in_one_line(said):
    with pytest.raises(OptionError, match="^" + re.escape(said)) as caught:
        ipc_magic.inprocess(scaled, **WRONG[said])
    assert "\n" not in str(caught.value)


def test_what_is_no_function_is_refused():
    with pytest.raises(OptionError, match=r"inprocess\(f, args=\(x,\)\)"):
        ipc_magic.inprocess(scaled(3))


SCRIPT = """
print("main runs")
import sys, ipc_magic
class Point:
    pass
class Lost(Exception):
    pass
def lose():
    raise Lost("way")
assert type(ipc_magic.inprocess(Point).value) is Point
try:
    ipc_magic.inprocess(lose)
except Lost as error:
    print(error, error.report.children[0].ending)
assert "IPython" not in sys.modules
"""


def test_a_script_needs_no_guard_and_no_ipython(child_env, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env=child_env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    said = (run.returncode, run.stdout, run.stderr)
    assert said == (0, "main runs\nway raised\n", "")


def test_in_a_cell_it_displays_here(ipc_shell):
    ipc_shell.run_cell(
        "import ipc_magic\n"
        "from IPython.display import display\n"
        "class Mine: pass\n"
        "def show():\n"
        "    display({'n': 7})\n"
        "    return Mine()\n"
        "made = ipc_magic.inprocess(show).value\n"
        "same = type(made) is Mine"
    )
    assert [one.text for one in ipc_shell.outputs] == ["{'n': 7}"]
    assert ipc_shell.user_ns["same"]
