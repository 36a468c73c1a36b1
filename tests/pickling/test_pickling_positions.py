"""Every object of a pickle is where pickle's own `save` puts it, to the byte."""

from __future__ import annotations

import gc
import pickle
import sys
from collections import OrderedDict, deque
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipc_magic.pickling import positions as module
from ipc_magic.pickling import recording, slowly, words
from ipc_magic.pickling.picklers import pickling
from ipc_magic.pickling.positions import Positions, positions

with suppress(ImportError):
    import dill  # noqa: F401  here because it adds a handler to a logger

PROTOCOLS = (2, 3, 4, 5)
randoms = st.randoms(use_true_random=False)
relaxed = settings(
    deadline=None, suppress_health_check=list(HealthCheck), max_examples=60
)


def assert_same(found: Positions, expected: list[Any], total: int) -> None:
    starts, ends = found.true(found.start), found.true(found.end)
    assert [type(obj) for obj in found.objects] == [type(one.obj) for one in expected]
    assert starts.tolist() == [one.start for one in expected]
    assert ends.tolist() == [one.end for one in expected]
    assert found.total_bytes == total
    assert found.own_bytes.tolist() == own_bytes(expected)
    assert int(found.own_bytes.sum()) + found.start[0] + 1 == total


def own_bytes(spans: list[Any]) -> list[int]:
    """Take from each span those directly in it."""
    own = [span.end - span.start for span in spans]
    around: list[int] = []
    for number, span in enumerate(spans):
        while around and spans[around[-1]].end <= span.start:
            around.pop()
        if around:
            own[around[-1]] -= span.end - span.start
        around.append(number)
    return own


@relaxed
@given(random=randoms, protocol=st.sampled_from(PROTOCOLS), depth=st.integers(0, 5))
def test_positions_are_those_of_save(spans, made, random, protocol, depth):
    obj = made(random, depth)
    total = len(pickle.dumps(obj, protocol))
    found = positions(obj, pickling(protocol=protocol))
    assert_same(found, spans(obj, protocol), total)


@pytest.mark.slow
@settings(relaxed, max_examples=3000)
@given(random=randoms, protocol=st.sampled_from(PROTOCOLS), depth=st.integers(0, 6))
def test_positions_are_those_of_save_many_times(spans, made, random, protocol, depth):
    obj = made(random, depth)
    total = len(pickle.dumps(obj, protocol))
    found = positions(obj, pickling(protocol=protocol))
    assert_same(found, spans(obj, protocol), total)


class InItsArguments:
    """Stored while its arguments are written; then those are thrown away."""

    def __init__(self, box: list[Any]) -> None:
        self.box = box
        box.append(self)

    def __reduce__(self) -> Any:
        return InItsArguments, (self.box,)


LARGE = b"x" * 70_000
OBJECTS = {
    "nothing": None,
    "one byte": b"a",
    "no bytes": b"",
    "frames": [f"{n:>100}" for n in range(3000)],
    "large contents": [LARGE, "é" * 40_000, bytearray(LARGE), LARGE, 1],
    "a frame too short for a header": (LARGE, None),
    "large after short frames": [LARGE + b"1", LARGE + b"2", (LARGE + b"3",)],
    "numbers only, which end no frame": [[n] for n in range(12_000)],
    "large after a long frame": [*range(40_000), LARGE],
    "an array": np.arange(20_000.0),
    "arrays": {"a": np.arange(10.0), "b": np.ones((3, 4)), "c": np.zeros(9000)},
    "an ordered dict of a batch": OrderedDict.fromkeys(range(1000)),
    "a queue of a batch and one": deque(range(1001)),
    "in its own arguments": [InItsArguments([]), (1, InItsArguments([]))],
    "deep": [[[[[[[[(((((1,),),),),)]]]]]]]],
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", OBJECTS)
def test_of_large_and_odd_ones(spans, monkeypatch, name, protocol):
    if recording.possible(pickling()):
        monkeypatch.setattr(slowly, "watch", pytest.fail)
    obj = OBJECTS[name]
    found = positions(obj, pickling(protocol=protocol))
    assert_same(found, spans(obj, protocol), len(pickle.dumps(obj, protocol)))


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_frame_that_is_full_within_ends_begins_with_the_next_object(spans, protocol):
    # Of one of these lengths the text fills the frame, of others the lists' ends do.
    last = set()
    for length in range(recording.LARGE_BYTES - 20, recording.LARGE_BYTES):
        obj = [[["x" * length]], (1, 2), 3, 4]
        found = positions(obj, pickling(protocol=protocol))
        assert_same(found, spans(obj, protocol), len(pickle.dumps(obj, protocol)))
        last.add(found.cut_owners[-1])
    assert last == {5, 6, 7}, "of numbers, as the tuple writes nothing before its first"


def test_the_pickler_in_c_is_read_and_not_the_one_in_python(monkeypatch):
    if not hasattr(sys, "getrefcount") or sys.version_info >= (3, 14):
        pytest.skip("known words: CPython up to 3.13")
    monkeypatch.setattr(slowly, "watch", pytest.fail)
    for protocol in PROTOCOLS:
        positions([1, "a", b"b", {2.5}], pickling(protocol=protocol))


@pytest.mark.parametrize("word", ["position_offset", "depth_offset"])
def test_without_a_word_python_tells_the_same(spans, monkeypatch, word):
    monkeypatch.setattr(words, word, lambda: None)
    monkeypatch.setattr(recording, "record", pytest.fail)
    many = {"d": dict.fromkeys(range(2000)), "e": set(range(1000)), "f": [0] * 1001}
    obj = {"a": [1, (2, "x")], "b": LARGE, "c": np.arange(5), **many}
    for protocol in PROTOCOLS:
        found = positions(obj, pickling(protocol=protocol))
        assert_same(found, spans(obj, protocol), len(pickle.dumps(obj, protocol)))


def test_numbers_that_are_no_positions_are_not_believed(spans, monkeypatch):
    record = recording.record

    def wrong(*args: Any) -> Any:
        recorded = record(*args)
        return recorded._replace(lengths=recorded.lengths[8:] + recorded.lengths[:8])

    monkeypatch.setattr(module.recording, "record", wrong)
    obj = ["a", ("b", 2), [3.5]]
    found = positions(obj, pickling(protocol=4))
    assert_same(found, spans(obj, 4), len(pickle.dumps(obj, 4)))


@pytest.mark.parametrize("name", ["pickle", "cloudpickle", "dill"])
def test_of_each_pickler_the_total_is_that_of_dumps(name):
    pytest.importorskip(name)
    obj = {"a": [LARGE, "x" * 300], "b": {n: str(n) for n in range(2000)}, "c": int}
    way = pickling(name)
    found = positions(obj, way)
    assert found.total_bytes == len(way.dumps(obj))
    assert int(found.bytes_of(0)) == found.total_bytes - 3


def test_parents_are_what_holds_the_objects():
    obj = {"a": [1, (2.5,)], "b": "x"}
    found = positions(obj, pickling())
    held = [(found.objects[n], found.objects[found.parent[n]]) for n in (1, 2, 3, 4, 5)]
    assert held == [
        ("a", obj),
        (obj["a"], obj),
        (1, obj["a"]),
        ((2.5,), obj["a"]),
        (2.5, (2.5,)),
    ]


class Failing:
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


def nested(depth: int) -> Any:
    obj: Any = []
    for _ in range(depth):
        obj = [obj]
    return obj


@pytest.mark.parametrize(
    ("obj", "error"),
    [(lambda: [Failing()], RuntimeError), (lambda: nested(100_000), RecursionError)],
)
@pytest.mark.parametrize("collecting", [True, False])
def test_errors_come_through_and_settings_are_as_before(obj, error, collecting):
    obj = obj()
    limit = sys.getrecursionlimit()
    (gc.enable if collecting else gc.disable)()
    try:
        with pytest.raises(error):
            positions(obj, pickling())
        assert gc.isenabled() is collecting
    finally:
        gc.enable()
    assert sys.getrecursionlimit() == limit


def test_what_pickle_can_just_do_is_done_too():
    depth = 10
    while True:
        try:
            pickle.dumps(nested(depth + 1))
        except RecursionError:
            break
        depth += 1
    # From Python 3.12 on, nothing gives C more room: ours takes a little of it.
    depth -= 4 if sys.version_info >= (3, 12) else 0
    assert positions(nested(depth), pickling()).total_bytes
