"""Objects that crash, exit, hang or raise as they are measured, and interrupts."""

from __future__ import annotations

import gc
import importlib.util
import os
import pickle
import signal
import threading
import time
from contextlib import contextmanager

import numpy  # noqa: F401 - imported here, or the first test would be told to leave it
import pytest

import ipc_magic
from ipc_magic.experiments import (
    pickle_cost,
    pickle_cost_dumps,
    pickle_cost_loads,
    pickle_cost_stages,
)
from ipc_magic.experiments.pickle_cost_options import Options
from ipc_magic.experiments.pickle_cost_stages import Stage
from ipc_magic.process import monitor

SLEEP_SECONDS = 1000


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def leave():
    os._exit(3)


told_of_hangs = []  # descriptors


def hang():
    for fd in told_of_hangs:
        os.write(fd, b"!")
    time.sleep(SLEEP_SECONDS)


def leave_politely():
    raise SystemExit(5)


def interrupt():
    raise KeyboardInterrupt


class AtDump:
    def __init__(self, do):
        self.do = do

    def __reduce__(self):
        self.do()
        return int, ()


class AtLoad:
    def __init__(self, do):
        self.do = do

    def __reduce__(self):
        return self.do, ()


def cost(obj, **options):
    return ipc_magic.pickle_cost(
        obj, expression="obj", **{"repeats": 1, "timeout": 60.0, **options}
    )


def skip_without(pickler):
    """Skip where there is no such pickler; it is imported in forks only."""
    if importlib.util.find_spec(pickler) is None:
        pytest.skip(f"{pickler} is not installed")


ENDS = {
    crash: "SIGSEGV",
    leave: "exit code 3",
    hang: "did not end within 1 s",
    interrupt: "raised KeyboardInterrupt",
}


WITH_EACH = [(do, "pickle") for do in ENDS] + [(crash, "dill")]
AND_LONGER = [(do, name) for do in ENDS for name in ("cloudpickle", "dill")]


@pytest.mark.parametrize(
    ("do", "pickler"),
    [*WITH_EACH, *(pytest.param(*each, marks=pytest.mark.slow) for each in AND_LONGER)],
)
def test_a_dump_that_ends_its_process_costs_the_figures_of_the_dump_alone(do, pickler):
    skip_without(pickler)
    begin = time.monotonic()
    obj = ["x" * 10_000, {"k": AtDump(do)}]
    limit = 1.0 if do is hang else 60.0
    result = cost(obj, pickler=pickler, timeout=limit)
    assert ENDS[do] in result.dump_error
    (offender,) = result.offenders
    assert eval(offender.path, {"obj": obj}) is obj[1]["k"]
    assert ENDS[do] in offender.reason
    assert 10_000 < result.without_offenders_bytes < 11_000
    assert result.pickled_bytes is None
    assert result.deep_size_bytes > 10_000
    assert not result.transports
    assert time.monotonic() - begin < SLEEP_SECONDS / 10


def take_time():
    time.sleep(0.4)


def test_what_takes_long_to_dump_is_not_said_to_hang(monkeypatch):
    monkeypatch.setattr(pickle_cost_dumps, "LIMIT_SECONDS", 0.2)
    result = cost([AtDump(take_time), AtDump(crash)])
    assert "SIGSEGV" in result.dump_error
    assert not result.offenders
    (message,) = (f.message for f in result.findings if f.code == "left_out")
    assert message == "no search for what blocks it: it takes longer than 0.2 s"


class AtItsItems:
    """Ends the process as its items are asked for, behind the first of them."""

    def __init__(self, do):
        self.do = do

    def __reduce__(self):
        return list, (), None, self.items()

    def items(self):
        yield {"saved": [1, 2]}
        self.do()


@pytest.mark.parametrize("pickler", ["cloudpickle", "dill"])
def test_what_ends_its_process_between_its_items_is_to_blame_itself(pickler):
    skip_without(pickler)
    obj = [1, {"k": AtItsItems(crash)}]
    (offender,) = cost(obj, pickler=pickler).offenders
    assert offender.path == "obj[1]['k']"


def test_all_that_end_the_process_that_pickles_them_are_found():
    obj = [AtDump(crash), threading.Lock(), (AtDump(leave), 1), AtDump(crash)]
    found = cost(obj).offenders
    assert [each.path for each in found] == ["obj[0]", "obj[1]", "obj[2][0]", "obj[3]"]


def test_a_dump_that_calls_exit_is_an_offender_like_any_other():
    result = cost([1, AtDump(leave_politely)])
    assert [each.path for each in result.offenders] == ["obj[1]"]
    assert "SystemExit" in result.offenders[0].reason


LOAD_ENDS = {**ENDS, leave_politely: "SystemExit"}


@pytest.mark.slow
@pytest.mark.parametrize("do", LOAD_ENDS, ids=lambda do: do.__name__)
def test_what_ends_its_process_as_it_is_loaded_is_found(do):
    obj = {"fine": [1, 2], "bad": (AtLoad(do), 3)}
    result = cost(obj, timeout=1.0 if do is hang else 60.0)
    assert result.pickled_bytes == len(pickle.dumps(obj, result.protocol))
    assert result.load_error
    assert result.parts
    assert not result.transports
    (offender,) = result.offenders
    assert offender.stage == "load"
    assert eval(offender.path, {"obj": obj}) is obj["bad"][0]
    assert LOAD_ENDS[do] in offender.reason


def test_all_that_end_their_process_are_found_one_by_one():
    obj = [AtLoad(crash), 1, AtLoad(leave), {"k": AtLoad(crash)}]
    assert [each.path for each in cost(obj).offenders] == [
        "obj[0]",
        "obj[2]",
        "obj[3]['k']",
    ]


def test_no_more_are_looked_for_after_a_number_of_them(monkeypatch):
    monkeypatch.setattr(pickle_cost_loads, "MOST_ENDS", 2)
    monkeypatch.setattr(pickle_cost_dumps, "MOST_ENDS", 2)
    assert len(cost([AtLoad(leave) for _ in range(5)]).offenders) == 2
    assert not cost([AtDump(leave) for _ in range(5)]).offenders


def test_what_cannot_be_loaded_is_found_behind_what_cannot_be_dumped():
    obj = [threading.Lock(), AtLoad(leave)]
    found = {each.path: each.stage for each in cost(obj).offenders}
    assert found == {"obj[0]": "dump", "obj[1]": "load"}


class LooksAtLock:
    def __init__(self):
        self.lock = threading.Lock()

    def __setstate__(self, state):
        state["lock"].acquire()


@pytest.mark.parametrize(
    ("count", "said"), [(1, "obj[0] looks"), (3, "obj[0] and 2 more look")]
)
def test_what_cannot_be_judged_is_named(count, said):
    result = cost([LooksAtLock() for _ in range(count)])
    assert {each.stage for each in result.offenders} == {"dump"}
    assert [each.message for each in result.findings] == [
        f"no answer whether it can be loaded: {said} at what cannot be pickled"
    ]


def test_what_takes_long_to_load_is_not_said_to_hang(monkeypatch):
    monkeypatch.setattr(pickle_cost_loads, "LEAST_SECONDS", 0.05)
    long = [[str(n)] for n in range(100_000)]
    obj = {"long": long, "lock": threading.Lock(), "bad": AtLoad(leave_politely)}
    result = cost(obj, timeout=60.0)
    assert [each.path for each in result.offenders] == ["obj['lock']"]
    (message,) = (f.message for f in result.findings if f.code == "left_out")
    assert "what cannot be loaded: it takes longer than 0.05 s" in message


def test_what_takes_the_last_free_memory_is_stopped(monkeypatch):
    monkeypatch.setattr(pickle_cost_stages, "_keep_free_bytes", lambda: 1 << 60)
    result = cost(AtDump(hang), timeout=60.0)
    said = [result.dump_error or "", *(each.message for each in result.findings)]
    assert any("hardly any memory was left free" in each for each in said)


def test_each_stage_finds_the_collector_as_the_person_left_it():
    def stage(name, run):
        return Stage(name=name, doing="", run=run, limit_seconds=60.0)

    def switch_off(_known):
        gc.disable()

    answers = pickle_cost_stages.run(
        [
            stage("first", switch_off),
            stage("second", lambda known: {"collects": gc.isenabled()}),
        ],
        Lines(),
    )
    assert answers.of("second") == {"collects": gc.isenabled()} == {"collects": True}


class DumpsTwice:
    """As an iterator that is used up: its second dump differs from the first."""

    dumps = 0

    def __reduce__(self):
        DumpsTwice.dumps += 1
        if DumpsTwice.dumps > 2:
            raise ValueError("used up")
        return int, ()


def test_what_can_be_dumped_once_is_told_so():
    result = cost(DumpsTwice())
    assert result.pickled_bytes
    assert any("ValueError: used up" in each.message for each in result.findings)
    assert DumpsTwice.dumps == 0  # here


class Liar:
    """Lies wherever it can."""

    __class__ = property(lambda self: 1 / 0)
    __dict__ = property(lambda self: 1 / 0)

    def __getattribute__(self, name):
        raise RuntimeError(name)

    def __eq__(self, other):
        raise RuntimeError("eq")

    def __hash__(self):
        raise RuntimeError("hash")

    def __sizeof__(self):
        raise RuntimeError("sizeof")

    def __len__(self):
        raise RuntimeError("len")

    def __repr__(self):
        raise RuntimeError("repr")

    def __bool__(self):
        raise RuntimeError("bool")


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def raise_unspeakable():
    raise Unspeakable


def test_liars_are_measured_or_told_of():
    assert cost(Liar()).dump_error
    assert [each.path for each in cost([1, Liar()]).offenders] == ["obj[1]"]
    assert "Unspeakable" in cost(AtDump(raise_unspeakable)).dump_error


@pytest.mark.slow
def test_an_object_that_is_too_deep_is_told_of():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    result = cost(deep, timeout=60.0)
    assert "RecursionError" in result.dump_error
    assert result.offenders
    while deep:
        deep = deep.pop()  # or it would be freed recursively


@contextmanager
def interrupted_when_it_hangs():
    """Interrupt this process, once, when a child of it has come to `hang`."""
    reader, writer = os.pipe()

    def interrupt():
        if os.read(reader, 1):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    told_of_hangs.append(writer)
    try:
        yield
    finally:
        told_of_hangs.remove(writer)
        os.close(writer)
        thread.join()
        os.close(reader)


def test_an_interrupt_is_raised_with_what_was_measured_until_then():
    with interrupted_when_it_hangs(), pytest.raises(KeyboardInterrupt) as caught:
        cost([1, AtDump(hang)])
    report = caught.value.report
    assert report is ipc_magic.last
    assert [each.code for each in report.findings] == ["interrupted"]
    assert report.type == "list of 2 int and AtDump"
    assert report.pickled_bytes is None


def ignore_interrupts():
    while True:
        try:
            hang()
        except KeyboardInterrupt:
            pass


@pytest.mark.slow
def test_an_object_that_ignores_the_interrupt_is_ended_all_the_same():
    begin = time.monotonic()
    with interrupted_when_it_hangs(), pytest.raises(KeyboardInterrupt):
        cost(AtDump(ignore_interrupts), timeout=60.0)
    assert time.monotonic() - begin < 30


@pytest.mark.slow
def test_an_interrupt_while_the_culprit_of_a_load_is_looked_for():
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        cost([1, AtLoad(hang)], timeout=60.0)
    assert caught.value.report.pickled_bytes


class Lines:
    """A front that keeps the lines it is told to show."""

    def __init__(self):
        self.lines = []

    def write(self, stream, text):
        raise AssertionError(text)

    def show(self, message):
        raise AssertionError(message)

    def live(self, line):
        self.lines.append(line)


def test_a_line_says_what_takes_long_and_goes(monkeypatch):
    monkeypatch.setattr(monitor, "PROGRESS_SECONDS", 0.5)
    front = Lines()
    stage = Stage(
        name="slow",
        doing="taking its time",
        run=lambda known: time.sleep(1.3),
        limit_seconds=60.0,
    )
    answers = pickle_cost_stages.run([stage], front)
    assert answers.said == {"slow": {}}
    assert front.lines[0].startswith("taking its time: ")
    assert front.lines[-1] is None


def test_no_line_is_shown_of_what_is_fast():
    front = Lines()
    pickle_cost.measure([1], "obj", Options(repeats=1), front, from_magic=False)
    assert not front.lines
