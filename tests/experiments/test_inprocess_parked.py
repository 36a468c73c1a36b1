"""`%inprocess --fetch`, `--drop`: what a cell leaves, and how it comes after all."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

import ipc_magic
from ipc_magic.errors import CannotStart, ChildEnded, NotBroughtBack, OptionError
from ipc_magic.experiments import parked as experiment
from ipc_magic.memory.observing import launch
from ipc_magic.process import guards, parked
from ipc_magic.process import kept as keeping
from ipc_magic.results import Fetched

PATIENCE = 30  # seconds that end a test which hangs


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(parked, "RUN_SECONDS", 0.0)


def kept():
    """Return the handles on what stays."""
    found = experiment.current()
    return found.kept if found else ()


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def state(shell):
    shell.outputs.clear()
    shell.run_cell("%inprocess")
    return shell.outputs[-1].text


def parked_findings():
    return [f for f in ipc_magic.last.findings if f.code == "parked"]


# ---- what stays, and when


def test_all_that_stays_comes_at_once(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess\nimport numpy\nfirst, second = [1], numpy.ones(9000)"
    )
    ipc_shell.run_cell("%inprocess --fetch '*'")
    assert ipc_shell.user_ns.pop("first") == [1]
    assert ipc_shell.user_ns.pop("second").sum() == 9000
    crossing = ipc_magic.last.children[0].returned
    assert crossing.buffers == {"first": 0, "second": 72_000}


def test_the_memory_that_stays_is_told(ipc_shell):
    sizes = []
    for size in (0, 0, 40 << 20):
        ipc_shell.run_cell(
            "%%inprocess\nimport mmap\n"
            f"made = memoryview(mmap.mmap(-1, {size} + 1, mmap.MAP_PRIVATE))\n"
            "for n in range(0, len(made), 4096): made[n] = 1"
        )
        (finding,) = parked_findings()
        sizes.append(finding.figures["own_bytes"])
    assert 38 << 20 < sizes[2] - sizes[1] < 42 << 20


def test_the_command_is_told_whole_however_long_the_names(ipc_shell):
    long = [f"a_rather_long_name_of_a_variable_{n}" for n in range(6)]
    ipc_shell.run_cell(f"%%inprocess\n{' = '.join(long)} = 1")
    shown = " ".join(ipc_shell.outputs[-1].text.split())
    assert "and 3 more. The child stays, with" in shown
    assert "or the next run: %inprocess --fetch '*' fork" in shown


def test_what_nobody_is_told_of_does_not_stay(ipc_shell):
    ipc_shell.run_cell("%%inprocess -q\nfirst = [1]")
    assert kept() == ()


def test_what_blocks_a_name_that_stays_is_told_with_its_path(ipc_shell):
    ipc_shell.run_cell("%%inprocess\nimport threading\na = [1, threading.Lock()]")
    with pytest.raises(NotBroughtBack, match=r"_thread\.lock' object, at `a\[1\]`$"):
        ipc_shell.run_cell("%inprocess --fetch a")


def test_a_cell_says_what_was_not_brought_and_until_when_it_stays(ipc_shell):
    ipc_shell.run_cell("x = 1")
    ipc_shell.run_cell("%%inprocess -o came\nimport os\ncache = [1]; x = 2; came = 3")
    (finding,) = parked_findings()
    child = ipc_magic.last.children[0]
    assert re.fullmatch(
        r"Not brought: `cache`, `x`\. The child stays, with \d+\.\d MiB of its own, "
        r"until \d\d:\d\d or the next run: %inprocess --fetch cache",
        finding.message,
    )
    assert finding.message in " ".join(ipc_shell.outputs[-1].text.split())
    assert 0 < finding.figures["until_seconds"] - time.time() <= parked.STAY_SECONDS
    assert finding.figures["names"] == 2
    assert (child.ending, child.exit_code) == ("finished", 0)
    assert ipc_shell.user_ns["x"] == 1


def test_a_cell_that_was_quick_leaves_nothing(ipc_shell, monkeypatch):
    monkeypatch.setattr(parked, "RUN_SECONDS", 5.0)
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    assert (kept(), parked_findings()) == ((), [])


@pytest.mark.parametrize(
    "cell", ["came = 1", "import os", "print('x')", "del old", "old"]
)
def test_a_cell_that_made_nothing_more_leaves_nothing(cell, ipc_shell):
    ipc_shell.run_cell("old = 1")
    ipc_shell.run_cell(f"%%inprocess -o came\ncame = 0\n{cell}")
    assert (kept(), parked_findings()) == ((), [])


def test_what_came_by_a_line_and_in_the_background_leaves_nothing(ipc_shell):
    ipc_shell.run_cell("%inprocess -q 6 * 7")
    ipc_shell.run_cell("%%inprocess --bg job\ncache = 1")
    ipc_shell.user_ns["job"].wait()
    assert kept() == ()


@pytest.mark.parametrize(
    "end",
    [
        "raise SystemExit(3)",
        "os._exit(0)",
        "os.kill(os.getpid(), 11)",
        "time.sleep(600)",
    ],
)
def test_a_child_that_did_not_come_to_its_end_leaves_nothing(end, ipc_shell):
    with pytest.raises(ChildEnded):
        ipc_shell.run_cell(f"%%inprocess -t 0.5\nimport os, time\ncache = 1\n{end}")
    assert (kept(), parked_findings()) == ((), [])


def test_a_cell_that_fails_in_its_last_line_leaves_what_it_made(ipc_shell):
    with pytest.raises(ZeroDivisionError) as caught:
        ipc_shell.run_cell("%%inprocess\ncache = [1, 2]\n1 / 0")
    assert "`cache`" in str(caught.value.report)
    ipc_shell.run_cell("%inprocess --fetch cache")
    assert ipc_shell.user_ns["cache"] == [1, 2]


def test_a_cell_that_was_interrupted_leaves_what_it_made(ipc_shell):
    ipc_shell.run_cell("import os, signal, time\nhere = os.getpid()")
    with pytest.raises(KeyboardInterrupt):
        ipc_shell.run_cell(
            "%%inprocess\ncache = [1, 2]\nos.kill(here, signal.SIGINT)\ntime.sleep(600)"
        )
    ipc_shell.run_cell("%inprocess --fetch cache")
    assert ipc_shell.user_ns["cache"] == [1, 2]


def test_a_cell_within_a_cell_leaves_nothing_of_its_own(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess\nget_ipython().run_cell_magic('inprocess', '', 'inner = 1')\n"
        "%inprocess\nouter = 1"
    )
    assert "stays until" not in capsys.readouterr().out
    ipc_shell.run_cell("%inprocess -q --fetch outer")
    with pytest.raises(NotBroughtBack, match="`inner` of child"):
        ipc_shell.run_cell("%inprocess --fetch inner")


def test_an_interrupt_while_it_parks_loses_nothing(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess\nimport os, signal\nfork, cache = os.fork, 1\n"
        "def interrupted():\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return fork()\n"
        "os.fork = interrupted"
    )
    assert ipc_magic.last.children[0].ending == "finished"
    (one,) = kept()
    os.kill(one.pid, signal.SIGINT)
    assert one.alive()


def test_its_memory_is_read_before_it_stays(ipc_shell):
    ipc_shell.run_cell("blobs = [bytes(4096) for _ in range(2000)]")
    ipc_shell.run_cell("%%inprocess\ncache = sum(1 for _ in blobs)")
    memory = ipc_magic.last.children[0].memory
    assert memory.copied_bytes > 1900 * 4096
    assert memory.unread_seconds is None
    assert len(kept()) == 1


def test_without_memory_to_spare_nothing_stays(ipc_shell, monkeypatch):
    monkeypatch.setattr(parked, "RESERVE_BYTES", 1 << 60)
    ipc_shell.run_cell("%%inprocess --keep-free 0\ncache = 1")
    assert (kept(), parked_findings()) == ((), [])


def test_without_files_to_spare_nothing_stays(ipc_shell, monkeypatch):
    monkeypatch.setattr(guards, "descriptors_left", lambda: 63)
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    assert (kept(), parked_findings()) == ((), [])


def test_classes_and_functions_are_named_last(ipc_shell):
    ipc_shell.run_cell("%%inprocess\ndef helper(): pass\ncache = 1")
    (finding,) = parked_findings()
    assert finding.message.startswith("Not brought: `cache`, `helper`. ")
    assert finding.message.endswith(" %inprocess --fetch cache")


# ---- what comes


def test_names_come_as_they_are_there_and_share_what_they_share(ipc_shell):
    ipc_shell.run_cell("%%inprocess\ncache = [1]; model = {'c': cache}; rest = 'x'")
    ipc_shell.run_cell("%inprocess --fetch cache --fetch model,cache --save got")
    names = ipc_shell.user_ns
    assert names["model"] == {"c": [1]}
    assert names["model"]["c"] is names["cache"]
    assert "rest" not in names
    got = names["got"]
    assert got is ipc_magic.last
    (child,) = got.children
    assert list(child.returned.names) == ["cache", "model"]
    assert child.returned.moved_bytes == sum(child.returned.names.values()) > 0
    assert got.headline.startswith(f"`cache` and `model` came from child {child.pid}: ")
    assert "to the parent" in str(got)
    assert str(got.details()).startswith(got.headline)


def test_it_stays_and_gives_the_same_again(ipc_shell):
    ipc_shell.run_cell("%%inprocess\ncache = [1]; rest = 'x'")
    ipc_shell.run_cell("%inprocess -q --fetch cache\ncache.append(2)")
    ipc_shell.run_cell("%inprocess --fetch cache,rest")
    assert (ipc_shell.user_ns["cache"], ipc_shell.user_ns["rest"]) == ([1], "x")


def test_several_children_give_a_list(ipc_shell):
    ipc_shell.run_cell("%%inprocess -n 3\ncache = child_index * 10")
    (finding,) = parked_findings()
    said = (
        r"Not brought: `cache`\. 3 children stay, with \d+\.\d MiB of their own, until "
    )
    assert re.match(said, finding.message)
    ipc_shell.run_cell("%inprocess --fetch cache")
    assert ipc_shell.user_ns["cache"] == [0, 10, 20]
    assert "came from each of 3 children" in ipc_magic.last.headline
    assert "child_index" not in ipc_shell.user_ns


def test_children_that_left_nothing_give_none(ipc_shell):
    ipc_shell.run_cell("%%inprocess -n 3\nif child_index != 1: cache = child_index")
    ipc_shell.run_cell("%inprocess -q --fetch cache")
    assert ipc_shell.user_ns["cache"] == [0, None, 2]


def test_one_child_asked_for_as_several_gives_a_list(ipc_shell):
    ipc_shell.run_cell("%%inprocess -n 1\ncache = 5")
    ipc_shell.run_cell("%inprocess -q --fetch cache")
    assert ipc_shell.user_ns["cache"] == [5]


def test_objects_are_of_the_notebook_s_classes_while_it_has_them(ipc_shell):
    ipc_shell.run_cell("class Old: pass\nclass Same: pass")
    ipc_shell.run_cell("%%inprocess\nold, same = Old(), Same()\nold.x = 1")
    ipc_shell.run_cell("before = Old\nclass Old: new = True")
    ipc_shell.run_cell("%inprocess -q --fetch old,same")
    names = ipc_shell.user_ns
    assert type(names["same"]) is names["Same"]
    assert not hasattr(names["old"], "new")
    assert (type(names["old"]).__name__, names["old"].x) == ("Old", 1)


def test_what_pickling_prints_is_shown(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess\nclass Loud:\n"
        "    def __reduce__(self):\n        print('packing'); return int, ()\n"
        "cache = Loud()"
    )
    ipc_shell.run_cell("%inprocess -q --fetch cache")
    assert capsys.readouterr().out == "packing\n"
    assert ipc_shell.user_ns["cache"] == 0


def test_the_result_is_stored_and_compared(ipc_shell):
    ipc_shell.run_cell("%%inprocess -n 2\ncache = child_index")
    ipc_shell.run_cell("%inprocess --fetch cache")
    result = ipc_magic.last
    assert Fetched.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    assert pickle.loads(pickle.dumps(result)) == result
    assert hash(result) == hash(pickle.loads(pickle.dumps(result)))
    assert [(row["index"], row["name"]) for row in result.rows()] == [
        (0, "cache"),
        (1, "cache"),
    ]
    ipc_shell.run_cell("%config IPCMagics.report = 'line'\n%inprocess --fetch cache")
    assert ipc_shell.outputs[-1].text == ipc_magic.last.headline


# ---- what goes wrong


def test_a_name_that_is_not_there_is_named_and_the_others_come(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    ipc_shell.run_cell("%inprocess --fetch nothere,cache", raises=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"NotBroughtBack: not brought back: `nothere` of child \d+: there is no such "
        "name",
        line,
    )
    assert ipc_shell.user_ns["cache"] == 1
    assert "nothere" not in ipc_shell.user_ns
    assert ipc_magic.last.headline.endswith(" `nothere` did not come.")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("(i for i in ())", "cannot pickle 'generator' object"),
        ("Bad(lambda: 1 / 0)", "ZeroDivisionError: division by zero"),
        ("Bad(lambda: os._exit(3))", "ended the process (exit code 3)"),
        ("Bad(lambda: os.kill(0, 9))", "pickling it ended the process (SIGKILL)"),
    ],
)
def test_what_cannot_be_pickled_is_named_and_what_stays_is_unharmed(
    value, reason, ipc_shell
):
    ipc_shell.run_cell(
        "import os\nclass Bad:\n    def __init__(self, act): self.act = act\n"
        "    def __reduce__(self): return self.act()"
    )
    ipc_shell.run_cell(f"%%inprocess\nbad = {value}\ncache = 1")
    with pytest.raises(NotBroughtBack) as caught:
        ipc_shell.run_cell("%inprocess --fetch bad,cache")
    assert "`bad` of child " in str(caught.value)
    assert reason in str(caught.value)
    assert "bad" not in ipc_shell.user_ns
    ipc_shell.run_cell("%inprocess --fetch cache")
    assert ipc_shell.user_ns["cache"] == 1


def test_what_does_not_load_here_is_named(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess\nimport os\nclass Bad:\n"
        "    def __reduce__(self): return os._exit, (3,)\nbad = Bad(); cache = 1"
    )
    with pytest.raises(NotBroughtBack, match="ended the process with exit code 3"):
        ipc_shell.run_cell("%inprocess --fetch bad,cache")
    assert ipc_shell.user_ns["cache"] == 1


LINES = {
    "%inprocess --fetch cache 1 + 1": "--fetch runs no code, and '1 + 1' is some",
    "%inprocess --fetch cache -t 3": "--timeout does not go with --fetch",
    "%inprocess -n 2 --fetch cache": "--children does not go with --fetch",
    "%inprocess -o a --fetch cache": "--out does not go with --fetch",
    "%inprocess --fetch cache --drop": "--fetch does not go with --drop",
    "%inprocess --drop -q": "--quiet does not go with --drop",
    "%inprocess --drop cache": "--drop runs no code, and 'cache' is some",
    "%%inprocess --fetch cache\n1": "--fetch runs no code: use the line "
    "%inprocess --fetch",
    "%%inprocess --drop\n1": "--drop runs no code: use the line %inprocess --drop",
    "%inprocess --fetch": "--fetch needs a value: NAMES",
    "%inprocess --fetch a-b": "--fetch takes Python names joined by commas, as in a,b, "
    "or '*', not 'a-b'",
}


@pytest.mark.parametrize("line", LINES)
def test_what_does_not_go_together_is_one_line_and_ends_nothing(line, ipc_shell):
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    with pytest.raises(OptionError) as caught:
        ipc_shell.run_cell(line)
    assert str(caught.value) == LINES[line]
    ipc_shell.run_cell("%inprocess -q --fetch cache")
    assert ipc_shell.user_ns["cache"] == 1


def test_without_anything_that_stays_there_is_nothing_to_fetch_or_drop(
    ipc_shell, monkeypatch
):
    monkeypatch.setattr(parked, "RUN_SECONDS", 5.0)
    why = "no child stays (one does when a cell ran longer than 5 s and left names)"
    with pytest.raises(NotBroughtBack) as caught:
        ipc_shell.run_cell("%inprocess --fetch cache")
    assert str(caught.value) == f"nothing to fetch: {why}"
    with pytest.raises(OptionError) as refused:
        ipc_shell.run_cell("%inprocess --drop")
    assert str(refused.value) == f"nothing to drop: {why}"


# ---- how it ends


def test_it_is_dropped(ipc_shell):
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    (one,) = kept()
    ipc_shell.run_cell("%inprocess --drop")
    assert ipc_shell.outputs[-1].text == f"What child {one.child_pid} left is dropped."
    until(lambda: guards.has_ended(one.pid))
    for line in ("--drop", "--fetch cache"):
        with pytest.raises(ipc_magic.IpcMagicError, match="no child stays"):
            ipc_shell.run_cell(f"%inprocess {line}")
    assert state(ipc_shell) == "No job runs."


@pytest.mark.parametrize(
    "line", ["%%inprocess -q\n1", "%inprocess -q 1", "%%inprocess --bg job\n1"]
)
def test_the_next_run_ends_it(line, ipc_shell):
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    (one,) = kept()
    ipc_shell.run_cell(line)
    until(lambda: guards.has_ended(one.pid))
    assert kept() == ()
    if job := ipc_shell.user_ns.get("job"):
        job.wait()


@pytest.mark.parametrize(
    "line",
    ["%%inprocess --keep-free 1000TiB\n1", "%%inprocess\n1 +", "%inprocess --no 1"],
)
def test_a_run_that_is_refused_ends_nothing(line, ipc_shell):
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    with pytest.raises((CannotStart, SyntaxError, OptionError)):
        ipc_shell.run_cell(line)
    ipc_shell.run_cell("%inprocess --fetch cache")
    assert ipc_shell.user_ns["cache"] == 1


def test_it_ends_by_itself_when_its_time_is_up(ipc_shell, monkeypatch):
    monkeypatch.setattr(parked, "STAY_SECONDS", 0.2)
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    (one,) = kept()
    until(lambda: guards.has_ended(one.pid))
    assert state(ipc_shell) == "No job runs."
    with pytest.raises(NotBroughtBack) as caught:
        ipc_shell.run_cell("%inprocess --fetch cache")
    assert str(caught.value) == (
        f"nothing to fetch: what child {one.child_pid} left is gone: its time was up"
    )
    with pytest.raises(NotBroughtBack, match="no child stays"):
        ipc_shell.run_cell("%inprocess --fetch cache")


def test_it_ends_by_itself_when_memory_is_short(ipc_shell, monkeypatch, tmp_path):
    monkeypatch.setattr(parked, "_TICK_SECONDS", 0.02)
    free = tmp_path / "free"
    free.write_text(str(8 << 30))
    monkeypatch.setattr(guards, "available_bytes", lambda: int(free.read_text()))
    ipc_shell.run_cell("%%inprocess --keep-free 4GiB\ncache = 1")
    (one,) = kept()
    ipc_shell.run_cell("%inprocess -q --fetch cache")
    free.write_text(str(3 << 30))
    until(lambda: guards.has_ended(one.pid))
    with pytest.raises(NotBroughtBack, match="left is gone: memory was short"):
        ipc_shell.run_cell("%inprocess --fetch cache")


def test_that_it_was_killed_is_told_in_one_line(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    (one,) = kept()
    os.kill(one.pid, signal.SIGKILL)
    ipc_shell.run_cell("%inprocess --fetch cache", raises=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        f"NotBroughtBack: nothing to fetch: what child {one.child_pid} left is gone: "
        "it was killed"
    )
    with pytest.raises(OptionError, match="nothing to drop"):
        ipc_shell.run_cell("%inprocess --drop")


def test_that_one_of_several_was_killed_costs_its_entry(ipc_shell):
    ipc_shell.run_cell("%%inprocess -n 2\ncache = child_index")
    os.kill(kept()[0].pid, signal.SIGKILL)
    with pytest.raises(NotBroughtBack, match=r"`cache` of child \d+: .*it was killed"):
        ipc_shell.run_cell("%inprocess --fetch cache")
    assert ipc_shell.user_ns["cache"] == [None, 1]


def test_a_kill_in_the_middle_of_a_fetch_is_told(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess\nimport os, psutil, time\nclass Bad:\n"
        "    def __reduce__(self):\n"
        "        keeper = psutil.Process(os.getsid(0)).ppid()\n"
        "        os.kill(keeper, 9); time.sleep(600)\nbad = Bad(); cache = 1"
    )
    with pytest.raises(NotBroughtBack, match="pickling it ended the process"):
        ipc_shell.run_cell("%inprocess --fetch cache,bad")
    with pytest.raises(NotBroughtBack, match="it was killed"):
        ipc_shell.run_cell("%inprocess --fetch cache")


def test_an_interrupt_of_a_fetch_binds_nothing_and_ends_nothing(ipc_shell, capsys):
    ipc_shell.run_cell("import os, signal, time\nhere = os.getpid(); cache = 'before'")
    ipc_shell.run_cell(
        "%%inprocess\nclass Slow:\n    def __reduce__(self):\n"
        "        os.kill(here, signal.SIGINT); time.sleep(600)\n"
        "slow = Slow(); cache = 'after'"
    )
    ipc_shell.run_cell("%inprocess --fetch cache,slow", raises=False)
    shown = capsys.readouterr()
    assert (shown.out + shown.err).strip() == (
        "KeyboardInterrupt: the fetch was interrupted: nothing is bound, and all is "
        "still there"
    )
    assert ipc_shell.user_ns["cache"] == "before"
    assert "slow" not in ipc_shell.user_ns
    ipc_shell.run_cell("%inprocess --fetch cache")
    assert ipc_shell.user_ns["cache"] == "after"


def test_that_it_does_not_answer_is_told(ipc_shell, monkeypatch):
    monkeypatch.setattr(keeping, "ANSWER_SECONDS", 0.2)
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    (one,) = kept()
    os.kill(one.pid, signal.SIGSTOP)
    with pytest.raises(NotBroughtBack) as caught:
        ipc_shell.run_cell("%inprocess --fetch cache")
    assert str(caught.value) == (
        f"nothing to fetch: what child {one.child_pid} left does not answer"
    )
    monkeypatch.undo()
    os.kill(one.pid, signal.SIGCONT)
    ipc_shell.run_cell("%inprocess -q --fetch cache")
    assert ipc_shell.user_ns["cache"] == 1


def test_that_it_cannot_fork_is_told(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess\nimport os\ncache, fork, count = 1, os.fork, []\n"
        "def no_more():\n    count.append(1)\n"
        "    if len(count) > 1: raise OSError(11, 'no more of them')\n"
        "    return fork()\n"
        "os.fork = no_more"
    )
    with pytest.raises(NotBroughtBack, match="left cannot be sent: no more of them"):
        ipc_shell.run_cell("%inprocess --fetch cache")


def test_a_fetch_without_files_to_open_is_one_line(ipc_shell, monkeypatch):
    def none_left(**_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    ipc_shell.run_cell("%%inprocess -n 2\ncache = child_index")
    with monkeypatch.context() as patch:
        patch.setattr(keeping.wiring, "make", none_left)
        with pytest.raises(NotBroughtBack) as caught:
            ipc_shell.run_cell("%inprocess --fetch cache")
    assert str(caught.value) == (
        "nothing was fetched: no file could be opened (Too many open files)"
    )
    ipc_shell.run_cell("%inprocess -q --fetch cache")
    assert ipc_shell.user_ns["cache"] == [0, 1]


def test_unloading_ends_it(ipc_shell):
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    (one,) = kept()
    ipc_shell.run_line_magic("reload_ext", "ipc_magic")
    until(lambda: guards.has_ended(one.pid))
    with pytest.raises(NotBroughtBack, match="no child stays"):
        ipc_shell.run_cell("%inprocess --fetch cache")


def test_a_reset_of_the_notebook_leaves_it(ipc_shell):
    ipc_shell.run_cell("class Of: pass")
    ipc_shell.run_cell("%%inprocess\ncache = Of()")
    ipc_shell.run_cell("%reset -f")
    ipc_shell.run_cell("%inprocess -q --fetch cache")
    assert type(ipc_shell.user_ns["cache"]).__name__ == "Of"
    assert "Of" not in ipc_shell.user_ns


# ---- what is seen of it


def test_the_bare_magic_shows_it(ipc_shell):
    ipc_shell.run_cell("%%inprocess\na, b, c, d, e = range(5)")
    (one,) = kept()
    assert re.fullmatch(
        rf"Process {one.pid} keeps `a`, `b`, `c` and 2 more of child {one.child_pid} "
        r"until \d\d:\d\d or the next run\. It holds [\d.]+ [KM]iB of its own\.",
        state(ipc_shell),
    )


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_its_names_are_completed(ipc_shell):
    def offered(line):
        return {*ipc_shell.complete(None, line)[1]}

    assert "--fetch" in offered("%inprocess --f")
    names = {"first_of_it", "second_of_it"}
    assert not names & offered("%inprocess --fetch ")
    ipc_shell.run_cell("%%inprocess\nfirst_of_it = second_of_it = 1")
    assert names <= offered("%inprocess --fetch ")
    assert offered("%inprocess --fetch first_of_it,s") >= {"second_of_it"}
    assert "first_of_it" not in offered("%inprocess --fetch first_of_it,f")


@pytest.fixture
def _observer():
    """Start what watches others' forks beforehand: it would be left behind."""
    launch.observer.start()
    yield
    launch.observer.close()


@pytest.mark.usefixtures("_observer")
def test_it_is_nobody_s_child_and_cow_watch_does_not_list_it(ipc_shell):
    before = psutil.Process().children(recursive=True)
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    (one,) = kept()
    assert psutil.Process().children(recursive=True) == before
    ipc_shell.run_cell("%%cow_watch -n 0 -q --save seen\n1")
    seen = ipc_shell.user_ns["seen"]
    assert seen.children == ()
    assert str(one.pid) not in str(seen.details())
    ipc_shell.run_cell("%inprocess -q --fetch cache")


def test_it_holds_no_stream_pipe_or_socket_of_others(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess\nimport socket, subprocess, os\nserver = socket.socket()\n"
        "server.bind(('127.0.0.1', 0)); server.listen()\nends = os.pipe(); cache = 1"
    )
    (one,) = kept()
    folder = f"/proc/{one.pid}/fd"
    held = {fd: os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}
    assert {held[fd] for fd in "012"} == {os.devnull}
    assert sum(name.startswith("socket:") for name in held.values()) == 1
    assert sum(name.startswith("pipe:") for name in held.values()) == 1


def test_it_ignores_an_interrupt_and_has_none_of_the_cell_s_threads(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess\nimport threading, signal, time\nseen = []\n"
        "class Ticking(threading.Thread):\n    def run(self):\n"
        "        while True: seen.append(1); time.sleep(0.001)\n"
        "Ticking(daemon=True).start()\n"
        "late = threading.Thread(target=lambda: seen.append('late')); late.start()\n"
        "del late"
    )
    (one,) = kept()
    os.killpg(one.pid, signal.SIGINT)
    process = Path("/proc") / str(one.pid)
    assert [task.name for task in (process / "task").iterdir()] == [str(one.pid)]
    # The kernel takes it first when memory ends.
    assert (process / "oom_score_adj").read_text() == "1000\n"
    ipc_shell.run_cell("%inprocess -q --fetch seen\nfirst = seen")
    ipc_shell.run_cell("%inprocess -q --fetch seen")
    assert ipc_shell.user_ns["seen"] == ipc_shell.user_ns["first"]
    assert "late" in ipc_shell.user_ns["seen"]


def test_a_process_that_the_cell_left_behind_is_ended_as_ever(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess\nimport subprocess\ncache = 1\nsubprocess.Popen(['sleep', '600'])"
    )
    codes = [finding.code for finding in ipc_magic.last.findings]
    assert codes == ["leftover", "parked"]


def test_a_fork_of_the_session_neither_holds_nor_ends_it(ipc_shell):
    ipc_shell.run_cell("%%inprocess\ncache = 1")
    (one,) = kept()
    ends = (one.channel, one.lifeline)
    if not (pid := os.fork()):
        open_still = []
        for fd in ends:
            try:
                os.fstat(fd)
                open_still.append(fd)
            except OSError:
                pass
        experiment.drop()  # as at its exit
        os._exit(len(open_still))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    ipc_shell.run_cell("%inprocess --fetch cache")
    assert ipc_shell.user_ns["cache"] == 1
