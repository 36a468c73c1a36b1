"""The phases of a round trip, and what is made of its runs."""

from __future__ import annotations

import gc
import os
import pickle
import time
import weakref
from multiprocessing.reduction import ForkingPickler
from typing import ClassVar

import pytest

from ipc_magic.pickling.round_trip import NAMES, round_trip, through
from ipc_magic.pickling.transports.meter import Event, pair
from ipc_magic.pickling.transports.pipe import pipe_out_of_band

FORKED = [name for name in NAMES if name not in {"loky", "joblib"}]
DUMP_SECONDS, LOAD_SECONDS = 0.02, 0.05


class Slow:
    def __reduce__(self):
        time.sleep(DUMP_SECONDS)
        return _load_slowly, (b"x" * 20_000,)


def _load_slowly(data):
    time.sleep(LOAD_SECONDS)


@pytest.mark.parametrize("name", FORKED)
def test_each_phase_is_where_it_happens(name):
    # In a manager both happen twice, yet the second time there is nothing to dump.
    trip = round_trip(name, Slow(), repeats=2)
    assert trip.dump_seconds >= DUMP_SECONDS
    assert trip.load_seconds >= LOAD_SECONDS
    assert trip.dump_seconds + trip.load_seconds < min(trip.round_trip_seconds)
    assert trip.transport_seconds > 0
    assert trip.reply_seconds > 0


@pytest.mark.parametrize("name", FORKED)
def test_the_phases_sum_to_the_fastest_run(name):
    trip = round_trip(name, {"a": 1, "b": [1, 2, 3]}, repeats=20)
    phases = (
        trip.dump_seconds
        + trip.transport_seconds
        + trip.load_seconds
        + trip.reply_seconds
    )
    assert phases == pytest.approx(min(trip.round_trip_seconds), abs=1e-9)
    assert len(trip.round_trip_seconds) == 20
    assert trip.first_seconds > 0


@pytest.mark.parametrize("name", ["pipe", "queue", "simple_queue", "unix_socket"])
@pytest.mark.parametrize("obj", [None, "x" * 100_000, b"x" * 8, [0.5] * 1000])
def test_what_is_pickled_is_the_object_alone(name, obj):
    trip = round_trip(name, obj, repeats=1)
    assert trip.name == name
    assert trip.pickled_bytes == len(ForkingPickler.dumps(obj))
    assert trip.buffer_bytes == 0


def test_buffers_go_beside_the_pickle():
    parts = [bytearray(100_000), b"", bytearray(5)]
    obj = list(map(pickle.PickleBuffer, parts))
    buffers = []
    stream = pickle.dumps(obj, 5, buffer_callback=buffers.append)
    trip = through(pipe_out_of_band, obj, name="pipe", repeats=2)
    assert trip.pickled_bytes == len(stream)
    assert trip.buffer_bytes == 100_005
    heads = 7 * 4 + 4 * 8  # each message's own, the count and three sizes
    assert trip.wire_bytes == len(stream) + 100_005 + heads


def test_the_object_is_received_as_it_is(tmp_path):
    path = tmp_path / "seen"
    round_trip("pipe", Telling(str(path), {"a": [1, (2,)]}), repeats=1)
    assert path.read_text() == repr({"a": [1, (2,)]}) * 2


class Telling:
    def __init__(self, *args):
        self.args = args

    def __reduce__(self):
        return _tell, self.args


def _tell(path, obj):
    with open(path, "a") as file:
        file.write(repr(obj))


def test_it_is_loaded_in_one_other_process(tmp_path):
    path = tmp_path / "pids"
    round_trip("pipe", AtLoad(f"open({str(path)!r}, 'a').write(f'{{os.getpid()}} ')"))
    pids = path.read_text().split()
    assert len(pids) > 3
    assert len(set(pids)) == 1
    assert str(os.getpid()) not in pids


class AtLoad:
    def __init__(self, code):
        self.code = "import os; " + code

    def __reduce__(self):
        return exec, (self.code,)


class Counted:
    """Notes with each load how many of its kind are there."""

    loaded: ClassVar[weakref.WeakSet[Counted]] = weakref.WeakSet()

    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        self.path = state["path"]
        Counted.loaded.add(self)
        with open(self.path, "a") as file:
            file.write(f"{len(Counted.loaded)} ")


def test_a_received_object_is_gone_before_the_next(tmp_path):
    """Two at once would double what a round trip needs."""
    path = tmp_path / "counts"
    round_trip("pipe", [Counted(str(path))], repeats=4)
    counts = path.read_text().split()
    assert len(counts) >= 4
    assert set(counts) == {"1"}


def test_the_collector_and_handlers_are_as_before():
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            round_trip("pipe", [1], repeats=1)
            assert gc.isenabled() == enabled
        finally:
            gc.enable()


def test_progress_names_the_transport():
    said = []
    round_trip("pipe", 1, repeats=1, progress=said.append)
    assert said == ["pipe"]


class TestPairs:
    """The sending of the object is told from other messages."""

    DUMP = Event("dump", 1.0, 2.0, 50)
    SENT = Event("sent", 2.0, 3.0, 50, 54)

    def test_by_its_size_and_after_its_dump(self):
        wakeup = Event("sent", 0.5, 2.5, 0, 4)
        early = Event("sent", 0.5, 0.6, 50, 54)
        assert pair([early, self.SENT, wakeup, self.DUMP]) == (self.DUMP, self.SENT)

    def test_is_none_until_it_is_sent(self):
        assert pair([self.DUMP, Event("sent", 2.0, 3.0, 0, 4)]) is None

    def test_sums_several_messages(self):
        parts = [Event("sent", 2.0, 3.0 + i, 8, 12) for i in range(3)]
        found = pair([self.DUMP, *parts], messages=3)
        assert found is not None
        assert found[1].wire == 36
        assert pair([self.DUMP, *parts[:2]], messages=3) is None
