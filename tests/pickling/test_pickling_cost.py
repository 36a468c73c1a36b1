"""Bytes and seconds of dumps and loads, against pickle itself."""

from __future__ import annotations

import array
import gc
import os
import pickle
import time

import pytest

from ipc_magic.pickling import cost
from ipc_magic.pickling.failures import Failed
from ipc_magic.pickling.picklers import Pickling
from ipc_magic.pickling.timing import Pace, timed

PLAIN = [Pickling(name="pickle", protocol=p) for p in range(6)]
FOUR, FIVE = PLAIN[4], PLAIN[5]


class AtLoad:
    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        return exec, (self.code,)


class AtDump:
    def __init__(self, call):
        self.call = call

    def __reduce__(self):
        self.call()
        return list, ()


class Buffered:
    """Hands its buffers to protocol 5 only, as numpy's arrays do."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce_ex__(self, protocol):
        if protocol < 5:
            return Buffered, tuple(map(bytes, self.parts))
        return Buffered, tuple(map(pickle.PickleBuffer, self.parts))


OBJECTS = {
    "none": None,
    "small": {"a": 1, "b": [1, 2, 3]},
    "shared": [["x" * 100] * 50] * 20,
    "large bytes": b"x" * 200_000,
    "many": [str(i) for i in range(5_000)],
    "buffers": Buffered(bytearray(70_000), b"y" * 5),
}


@pytest.mark.parametrize("obj", OBJECTS.values(), ids=OBJECTS)
def test_pickled_bytes_are_the_length_of_dumps(obj):
    for pickling in PLAIN:
        counted = cost.count(obj, pickling)
        assert counted.pickled_bytes == len(pickle.dumps(obj, pickling.protocol))


@pytest.mark.parametrize("obj", OBJECTS.values(), ids=OBJECTS)
def test_buffer_bytes_are_what_protocol_5_takes_out_of_band(obj):
    buffers = []
    pickle.dumps(obj, 5, buffer_callback=buffers.append)
    taken = sum(buffer.raw().nbytes for buffer in buffers)
    for pickling in (PLAIN[2], FOUR, FIVE):
        assert cost.count(obj, pickling).buffer_bytes == taken


def test_buffer_bytes_are_unknown_where_protocol_5_fails():
    class NotFive:
        def __reduce_ex__(self, protocol):
            if protocol == 5:
                raise TypeError
            return list, ()

    assert cost.count(NotFive(), FOUR).buffer_bytes is None


def test_an_array_is_counted_without_keeping_its_bytes():
    data = array.array("d", bytes(8 * 1_000_000))
    peak_before = _peak_kib()
    counted = cost.count([Buffered(memoryview(data))], FIVE)
    assert counted.pickled_bytes > 8_000_000
    assert _peak_kib() - peak_before < 4_000


def _peak_kib():
    """Return the peak since it was reset, as it is at the call (proc_pid_status(5))."""
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return peak


def test_every_figure_of_a_small_object():
    found = cost.measure(OBJECTS["small"], FOUR)
    assert found.pickled_bytes == len(pickle.dumps(OBJECTS["small"], 4))
    assert min(found.dump_seconds) > 0
    assert min(found.load_seconds) > 0
    assert len(found.dump_seconds) == len(found.dump_gc_seconds) >= 3
    assert len(found.load_seconds) == len(found.load_gc_seconds) >= 3
    assert found.load_error is None
    assert found.protocols == ()


def test_every_protocol_once():
    obj = OBJECTS["buffers"]
    rows = cost.measure(obj, FOUR, all_protocols=True, repeats=1).protocols
    assert [row.protocol for row in rows] == list(range(pickle.HIGHEST_PROTOCOL + 1))
    for row in rows:
        assert row.pickled_bytes == len(pickle.dumps(obj, row.protocol))
        assert row.buffer_bytes == (70_005 if row.protocol >= 5 else None)
        assert row.dump_seconds > 0
        assert row.load_seconds > 0


def test_a_protocol_that_cannot_is_told():
    class Slots:
        __slots__ = ("x",)

    Slots.__qualname__ = "Slots"
    globals()["Slots"] = Slots
    rows = cost.measure(Slots(), FOUR, all_protocols=True, repeats=1).protocols
    assert "TypeError" in rows[0].error
    assert rows[0].pickled_bytes is None
    assert rows[2].error is None


def test_dump_and_load_times_are_told_apart():
    class Slow:
        def __reduce__(self):
            time.sleep(0.02)
            return time.sleep, (0.1,)

    found = cost.measure(Slow(), FOUR, repeats=2)
    assert 0.02 <= min(found.dump_seconds) < 0.1 <= min(found.load_seconds)
    assert found.first_dump_seconds >= 0.02


def test_loads_happen_in_another_process(tmp_path):
    note = f"import os; open({str(tmp_path / 'pid')!r}, 'a').write(f'{{os.getpid()}} ')"
    cost.measure(AtLoad(note), FOUR, repeats=2, all_protocols=True)
    pids = (tmp_path / "pid").read_text().split()
    assert len(pids) >= 3
    assert str(os.getpid()) not in pids


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ValueError('broken')", "the load failed: ValueError: broken"),
        ("import os; os._exit(3)", "the load ended the process: exit code 3"),
        ("raise SystemExit(3)", "the load failed: SystemExit: 3"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "the load ended the process: SIGKILL",
        ),
        ("import time; time.sleep(100)", "the load was not done after 0.2 s"),
    ],
)
def test_a_load_that_goes_wrong_leaves_the_other_figures(code, words):
    limit = 0.2 if "0.2 s" in words else 60
    found = cost.measure(AtLoad(code), FOUR, repeats=1, time_limit_seconds=limit)
    assert found.load_error == words
    assert found.load_seconds == ()
    assert len(found.dump_seconds) == 1


def test_a_process_left_by_a_load_does_not_hold_the_answer_up(tmp_path):
    # It is not for the code to end: whoever runs this has its group.
    go = tmp_path / "go"
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        f"    while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "    os._exit(0)"
    )
    found = cost.measure(AtLoad(code), FOUR, repeats=1, time_limit_seconds=60)
    go.touch()
    assert found.load_error is None


def test_a_dump_that_fails_is_told():
    with pytest.raises(Failed, match="the dump failed") as caught:
        cost.measure(lambda: None, FOUR)
    assert caught.value.stage == "dump"
    assert isinstance(caught.value.__cause__, (pickle.PicklingError, AttributeError))


def test_a_dump_that_works_once_is_told():
    runs = []

    def once():
        runs.append(0)
        if len(runs) > 2:  # below protocol 5 the bytes and the buffers take one each
            raise ValueError("only once")

    with pytest.raises(Failed, match="only once"):
        cost.measure(AtDump(once), FOUR)


def test_no_two_pickles_are_kept_at_once():
    alive, most = [], []

    class Pickle(bytes):
        def __new__(cls, *args):
            made = super().__new__(cls, *args)
            alive.append(id(made))
            most.append(len(alive))
            return made

        def __del__(self):
            alive.remove(id(self))

    class Watching:
        name, protocol = "pickle", 4
        pickler = FOUR.pickler
        loads = staticmethod(pickle.loads)

        def dumps(self, obj):
            return Pickle(pickle.dumps(obj, 4))

    cost.measure([b"x" * 100_000], Watching(), repeats=4)
    assert len(most) >= 5
    assert max(most) == 1


def test_progress_tells_each_step():
    said = []
    cost.measure(1, FOUR, repeats=1, all_protocols=True, progress=said.append)
    assert said == ["dump", "load", *(f"protocol {p}" for p in range(6))]


@pytest.mark.slow
def test_the_collector_is_left_as_it_is_and_its_time_is_told():
    states = []
    rows = [[i] for i in range(100_000)]
    obj = [AtDump(lambda: states.append(gc.isenabled())), rows]
    before = gc.isenabled(), gc.get_threshold(), list(gc.callbacks)
    with_gc = cost.measure(obj, FOUR, repeats=2)
    assert (gc.isenabled(), gc.get_threshold(), list(gc.callbacks)) == before
    gc.disable()
    try:
        without = cost.measure(obj, FOUR, repeats=2)
    finally:
        gc.enable()
    assert set(states) == {True, False}
    assert sum(without.load_gc_seconds) == 0
    # Loading this many lists has the collector look at them again and again.
    assert 0 < sum(with_gc.load_gc_seconds) < sum(with_gc.load_seconds)


def test_repeats_force_a_number():
    found = cost.measure([1], FOUR, repeats=7)
    assert len(found.dump_seconds) == len(found.load_seconds) == 7


def test_a_dump_that_fills_its_share_is_the_one_that_is_loaded():
    dumps = 0

    class Counts:
        def __reduce__(self):
            nonlocal dumps
            dumps += 1
            return int, ()

    obj = Counts()
    counted = cost.count(obj, FIVE)
    found = cost.measure(obj, FIVE, counted=counted, budget_seconds=0.0)
    assert dumps == 2
    assert len(found.dump_seconds) == len(found.load_seconds) == 1


def test_short_calls_are_looped():
    calls = []
    runs = timed(lambda: calls.append(0), share_seconds=0.5, repeats=3)
    assert len(runs.seconds) == 3
    assert len(calls) > 3 * 20


def test_long_calls_are_not_repeated_beyond_their_share():
    calls = []

    def slow():
        calls.append(0)
        time.sleep(0.05)

    runs = timed(slow, share_seconds=0.01)
    assert len(runs.seconds) == len(calls) == 1


def test_calls_that_take_less_are_not_timed_the_first_time():
    calls = []

    def slow():
        calls.append(0)
        time.sleep(0.02)

    runs = timed(slow, share_seconds=0.05)
    assert len(runs.seconds) == len(calls) - 1 >= 2


@pytest.mark.parametrize(("seconds", "made"), [(0.7, 2), (0.4, 3), (0.25, 4)])
def test_a_pace_ends_with_its_share(monkeypatch, seconds, made):
    now = [0.0]
    monkeypatch.setattr("ipc_magic.pickling.timing.clock", lambda: now[0])
    runs, pace = 0, Pace(0.5, share_seconds=1.0)
    while pace.more():
        runs += 1
        now[0] += seconds
    assert runs == made
