"""Fingerprints tell a changed value from one that is as it was, and ask nobody."""

from __future__ import annotations

import collections
import datetime
import decimal
import functools
import gc
import logging
import mmap
import pathlib
import re
import struct
import threading
import types
import weakref
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ipc_magic.process import fingerprint
from ipc_magic.process.budget import Budget, TooLarge, TooLong
from ipc_magic.process.fingerprint import Fingerprint


def taken(value: object, before: Fingerprint | None = None) -> Fingerprint:
    return fingerprint.of(value, Budget(1_000_000, 1 << 30), globals(), before)


def changed(value: object, before: Fingerprint) -> bool:
    return taken(value, before).digest != before.digest


# ---- against an oracle

_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.integers(),
    st.floats(-2, 2),
    st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf")]),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.complex_numbers(max_magnitude=2, allow_nan=False),
)
_hashable = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)
    ),
    max_leaves=4,
)
_values = st.recursive(
    st.one_of(_hashable, st.builds(bytearray, st.binary(max_size=3))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(collections.deque),
        st.dictionaries(_hashable, inner, max_size=4),
        st.dictionaries(_hashable, inner, max_size=3).map(collections.OrderedDict),
        st.sets(_hashable, max_size=4),
    ),
    max_leaves=12,
)


def told(value: Any) -> Any:
    """Write out what a value is: types, content, order where there is one."""
    kind = type(value).__name__
    if isinstance(value, float):
        return kind, struct.pack("d", value)
    if isinstance(value, (set, frozenset)):
        return kind, sorted(map(repr, map(told, value)))
    if isinstance(value, dict):
        return kind, [(told(key), told(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple, collections.deque)):
        return kind, [told(item) for item in value]
    return kind, repr(value)


def containers(value: Any) -> list[Any]:
    """List all in a value that can be changed in place."""
    found = []
    if isinstance(value, (list, dict, set, bytearray, collections.deque)):
        found.append(value)
    if isinstance(value, (list, tuple, collections.deque)):
        inner: Any = list(value)
    else:
        inner = list(value.values()) if isinstance(value, dict) else []
    return found + [each for item in inner for each in containers(item)]


def change(data: st.DataObject, where: Any) -> None:
    """Change one container in place, or put there what was there."""
    if isinstance(where, bytearray):
        where[:] = data.draw(st.binary(max_size=3))
    elif isinstance(where, set):
        member = data.draw(_hashable)
        where.symmetric_difference_update({member})
        if data.draw(st.booleans()):
            where.symmetric_difference_update({member})
    elif isinstance(where, dict):
        keys = st.sampled_from(list(where)) if where else _hashable
        key = data.draw(st.one_of(keys, _hashable))
        action = data.draw(st.sampled_from(["put", "pop", "turn"]))
        if action == "put":
            where[key] = data.draw(_values)
        elif action == "pop":
            where.pop(key, None)
        elif key in where:
            where[key] = where.pop(key)
    elif where and data.draw(st.booleans()):
        where[data.draw(st.integers(0, len(where) - 1))] = data.draw(_values)
    else:
        where.extend(data.draw(st.lists(_values, max_size=2)))


@given(_values, st.data())
def test_a_change_is_seen_if_and_only_if_there_is_one(value: Any, data: Any) -> None:
    assume(places := containers(value))
    before, written = taken(value), told(value)
    assert before.complete
    change(data, data.draw(st.sampled_from(range(len(places))).map(places.__getitem__)))
    assert changed(value, before) == (told(value) != written)


@given(_values, _values)
def test_two_values_have_one_fingerprint_if_they_are_alike(one: Any, two: Any) -> None:
    assert (taken(one).digest == taken(two).digest) == (told(one) == told(two))


def test_shared_or_equal_makes_no_difference() -> None:
    inner = [1, {2}]
    assert taken([inner, inner]).digest == taken([[1, {2}], [1, {2}]]).digest
    text = "a text"
    other = "".join(["a ", "text"])
    assert taken([text, text]).digest == taken([text, other]).digest


def test_the_order_of_a_set_tells_nothing() -> None:
    one, two = set([0, 8, 3.5]), set([8, 0, 3.5])  # noqa: C405 - 0 and 8 collide
    assert [*one] != [*two]
    assert taken([one, "x"]).digest == taken([two, "x"]).digest
    assert taken(one).digest == taken(two).digest


def test_the_same_bytes_in_another_order_are_another_array() -> None:
    array = np.arange(4).reshape(2, 2)
    assert taken(array).digest != taken(array.T).digest


# ---- objects of classes


class Plain:
    def __init__(self) -> None:
        self.items: list[Any] = [1]

    @functools.cached_property
    def total(self) -> int:
        return sum(self.items)


class Slotted:
    __slots__ = ("left", "right")


class OfSet(set[int]):
    pass


class OfDict(dict[Any, Any]):
    pass


class Sub(list[int]):
    note = ""


def slotted() -> Slotted:
    made = Slotted()
    made.left = [1]  # type: ignore[attr-defined]
    return made


def counting(calls: list[int] = []) -> None:  # noqa: B006 - that is the point
    calls.append(1)


def closing(held: list[int]) -> Any:
    return lambda: held


def in_a_cycle() -> Any:
    one, two = Plain(), Plain()
    one.items, two.items = [two], [one]
    return one


def nested_cycle() -> list[Any]:
    made: list[Any] = [[]]
    made[0].append(made)
    return made


CHANGES: dict[str, tuple[Any, Any]] = {
    "attribute": (Plain, lambda v: v.items.append(2)),
    "new attribute": (Plain, lambda v: setattr(v, "more", 1)),
    "deleted attribute": (Plain, lambda v: delattr(v, "items")),
    "class": (Plain, lambda v: setattr(v, "__class__", type("Other", (), {}))),
    "of a list": (lambda: [Plain(), Plain()], lambda v: v[1].items.clear()),
    "slot": (slotted, lambda v: v.left.append(1)),
    "slot of one of many": (
        lambda: [slotted() for _ in range(9)],
        lambda v: setattr(v[8], "left", [2]),
    ),
    "empty slot": (slotted, lambda v: setattr(v, "right", 1)),
    "subclass, content": (lambda: Sub([1]), lambda v: v.append(2)),
    "subclass, attribute": (lambda: Sub([1]), lambda v: setattr(v, "note", "x")),
    "cycle": (in_a_cycle, lambda v: setattr(v.items[0], "x", 1)),
    "nested cycle": (nested_cycle, lambda v: v[0].append(1)),
    "counter": (lambda: collections.Counter("abc"), lambda v: v.update("a")),
    "default": (lambda: collections.defaultdict(list), lambda v: v["new"]),
    "method": (lambda: Plain().items.append, lambda v: v(1)),
    "bound": (lambda: types.MethodType(counting, [1]), lambda v: v.__self__.append(1)),
    "default argument": (lambda: counting, lambda v: v()),
    "function's own": (lambda: counting, lambda v: setattr(v, "calls", 1)),
    "closure": (lambda: closing([]), lambda v: v().append(1)),
    "partial": (lambda: functools.partial(print, [1]), lambda v: v.args[0].append(1)),
    "namespace": (lambda: types.SimpleNamespace(x=[]), lambda v: v.x.append(1)),
    "subclass, set": (lambda: OfSet([1]), lambda v: v.add(2)),
    "beside a lock": (
        lambda: [threading.Lock(), [1]],
        lambda v: v[1].append(1),
    ),
    "beside a time": (
        lambda: [datetime.datetime(2020, 1, 1), datetime.date(2020, 1, 1)],
        lambda v: v.__setitem__(0, datetime.datetime(2020, 1, 2)),
    ),
    "array": (lambda: np.arange(6.0), lambda v: v.__setitem__(2, 9)),
    "array with gaps": (lambda: np.arange(6)[::2], lambda v: v.__setitem__(2, 9)),
    "array turned": (lambda: np.ones((2, 3)).T, lambda v: v.__setitem__((2, 1), 9)),
    "array, 0-d": (lambda: np.array(1), lambda v: v.__setitem__((), 2)),
    "array, shape": (lambda: np.arange(6), lambda v: v.resize((2, 3), refcheck=False)),
    "array, times": (
        lambda: np.zeros(3, "M8[s]"),
        lambda v: v.__setitem__(0, np.datetime64("2020-01-01")),
    ),
    "array, fields": (
        lambda: np.zeros(3, [("a", "i4"), ("b", "f8", 2)]),
        lambda v: v["b"].__setitem__((0, 1), 3),
    ),
    "array, names": (
        lambda: np.zeros(3, [("a", "i4")]),
        lambda v: setattr(v.dtype, "names", ("b",)),
    ),
    "array of objects": (
        lambda: np.array([[1], [2, 3]], dtype=object),
        lambda v: v[1].append(4),
    ),
    "numbers of numpy": (
        lambda: [np.float64(1), np.int8(2)],
        lambda v: v.__setitem__(0, np.float32(1)),
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_within_an_object_is_seen(kind: str) -> None:
    make, cause = CHANGES[kind]
    value = make()
    before = taken(value)
    assert not changed(value, before)
    if kind == "method":  # of C code: nobody sees what it holds
        assert before.complete
        return
    cause(value)
    assert changed(value, before)
    vars(counting).clear()
    assert counting.__defaults__ is not None
    counting.__defaults__[0].clear()


def test_memory_that_processes_share_is_not_looked_into() -> None:
    with mmap.mmap(-1, mmap.PAGESIZE) as shared:
        array = np.frombuffer(shared, "u1")
        viewed = np.frombuffer(memoryview(shared)[8:], "u1")[::2]
        assert not taken(array).complete
        assert not taken([viewed]).complete
        del array, viewed
    for private in (b"abc", bytearray(b"abc"), memoryview(b"abc"), np.arange(3)):
        assert taken(np.frombuffer(private, "u1")[1:]).complete


def test_a_crowd_of_cycles_takes_no_longer_than_it_is_large() -> None:
    crowd = [Plain() for _ in range(100)]
    for one in crowd:
        one.items = crowd
    before = fingerprint.of(crowd, Budget(20_000, 1 << 20), {})
    assert not changed(crowd, before)
    crowd[77].more = 1  # type: ignore[attr-defined]
    assert changed(crowd, before)


OPAQUE: dict[str, Any] = {
    "generator": (number for number in range(3)),
    "lock": threading.Lock(),
    "error": ValueError(1),
    "iterator": iter([1]),
    "array of the person's": np.arange(3).view(type("Mine", (np.ndarray,), {})),
    "within": {"a": [threading.local()]},
    "hidden dict": type("Hiding", (), {"__dict__": property(lambda self: {})})(),
}


@pytest.mark.parametrize("kind", OPAQUE)
def test_what_cannot_be_looked_into_is_said_to_be_incomplete(kind: str) -> None:
    assert not taken(OPAQUE[kind]).complete


def test_reading_a_cached_property_is_no_change() -> None:
    for value in (Plain(), [Plain()], {"x": (Plain(),)}):
        one = containers_of_plain(value)
        before = taken(value)
        assert one.total == 1
        assert not changed(value, before)
        one.items.append(1)
        assert changed(value, before)


def containers_of_plain(value: Any) -> Plain:
    while not isinstance(value, Plain):
        (value,) = value.values() if isinstance(value, dict) else value
    return value


def test_reading_what_keeps_notes_is_no_change() -> None:
    logger = logging.Logger("of this test")
    held = [logger, pathlib.Path("a") / "b", re.compile("x"), decimal.Decimal(1)]
    before = taken(held)
    assert before.complete
    assert not logger.isEnabledFor(logging.NOTSET)
    assert str(held[1]), hash(held[1])
    assert not changed(held, before)
    held[1] = pathlib.Path("c")
    assert changed(held, before)


def test_a_cached_property_that_was_there_and_is_another_now_is_a_change() -> None:
    value = Plain()
    assert value.total == 1
    before = taken(value)
    assert not changed(value, before)
    vars(value)["total"] = 7
    assert changed(value, before)


# ---- frames


def frame() -> pd.DataFrame:
    times = pd.to_datetime(["2020-01-01", "2021-01-01"])
    return pd.DataFrame(
        {
            "number": [1, 2],
            "text": ["x", "y"],
            "time": times,
            "other": times,
            "zone": times.tz_localize("UTC"),
            "kind": pd.Categorical(["u", "v"]),
            "maybe": pd.array([1, None], dtype="Int64"),
            "day": pd.period_range("2020", periods=2),
        }
    )


@pytest.mark.parametrize("name", [*frame()])
def test_a_cell_of_a_frame_that_changes_is_seen(name: str) -> None:
    value = frame()
    before = taken(value)
    assert before.complete
    value.loc[1, name] = value.loc[0, name]
    assert changed(value, before)


def test_a_frame_is_the_same_after_it_was_read() -> None:
    value = frame()
    value["late"] = 1  # a block of its own, that pandas may put with others
    value["later"] = 2
    before = taken(value)
    value.sum(numeric_only=True), value.values, value.describe(), repr(value)
    value.groupby("number").size(), value["text"], value.iloc[0], value.index.is_unique
    value.copy(), value.sort_values("text"), value.to_dict(), value.corr, value.T
    assert len(value._mgr.blocks) > len({*map(str, value.dtypes)})
    value._consolidate_inplace()
    assert len(value._mgr.blocks) == len({*map(str, value.dtypes)})
    assert not changed(value, before)


@pytest.mark.parametrize(
    "cause",
    [
        lambda v: setattr(v, "columns", list("abcdefgh")),
        lambda v: setattr(v.index, "name", "n"),
        lambda v: setattr(v, "index", [5, 6]),
        lambda v: v.insert(0, "more", 1),
        lambda v: v.attrs.update(x=1),
        lambda v: v.pop("text"),
    ],
)
def test_a_frame_that_changes_is_seen(cause: Any) -> None:
    value = frame()
    before = taken(value)
    cause(value)
    assert changed(value, before)


def test_series_and_indexes_are_looked_into() -> None:
    series = frame()["number"].copy()
    levels = frame().set_index(["number", "text"])
    for value in (series, levels, levels.index, frame().index, pd.Index(["a"])):
        assert taken(value).complete
    before = taken(series)
    series[0] = 9
    assert changed(series, before)
    before = taken(levels)
    levels.index.names = ["a", "b"]
    assert changed(levels, before)


# ---- bounds, and whom it asks


@pytest.mark.parametrize(
    "value",
    [
        list(range(5000)),
        [[0] * 100 for _ in range(100)],
        {n: n for n in range(5000)},
        [set(range(5000))],
        np.zeros(20_000),
        [Plain() for _ in range(2000)],
        functools.reduce(lambda inner, _: [inner, inner], range(40), [1]),
        "x" * 200_000,
        ["x" * 200_000],
    ],
)
def test_what_is_larger_than_the_budget_is_not_looked_through(value: Any) -> None:
    with pytest.raises(TooLarge):
        fingerprint.of(value, Budget(1000, 100_000), {})


def test_time_that_is_over_ends_it() -> None:
    with pytest.raises(TooLong):
        fingerprint.of([[{n}] for n in range(1000)], Budget(10**6, 10**6, 0.0), {})


def test_what_is_as_deep_as_the_stack_is_no_error() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert not taken(value).complete


def test_nothing_is_kept_alive() -> None:
    value = Plain()
    value.items = [Plain(), np.array([Plain()], dtype=object)]
    gone = weakref.ref(value.items[0])
    gc.disable()
    try:
        taken(value)
        with pytest.raises(TooLarge):
            fingerprint.of(value, Budget(3, 1000), {})
        del value
        assert gone() is None
    finally:
        gc.enable()


def test_nothing_of_the_person_s_is_asked() -> None:
    asked: list[str] = []

    class Key:
        def __hash__(self) -> int:
            asked.append("hash of a key")
            return 1

    of_set, of_dict, odd = OfSet(), OfDict(), Plain()
    for holder in (of_set.add, of_dict.setdefault, vars(odd).setdefault):
        holder(Key())  # type: ignore[arg-type]
    asked.clear()

    def of(name: str) -> Any:
        def method(*_args: Any, **_more: Any) -> Any:
            asked.append(name)
            raise RuntimeError(name)

        return method

    class Meta(type):
        pass

    def spoil(kind: Any, names: list[str]) -> None:
        for name in names:
            setattr(kind, name, of(name))

    everywhere = "__eq__ __hash__ __len__ __iter__ __getattr__ __getattribute__ "
    everywhere += "__reduce__ __reduce_ex__ __getstate__ __sizeof__ __repr__ __bool__ "
    everywhere += "__contains__ __getitem__ __index__ __float__ __str__ __dir__ "
    everywhere += "keys items values copy __array__ __buffer__ __lt__"
    bases: list[Any] = [object, list, dict, tuple, set, int, str, float, bytes]
    made: list[Any] = []
    for base in bases:
        kind = Meta("Liar", (base,), {"__class__": property(of("__class__"))})
        made.append(kind())
        spoil(kind, everywhere.split())
    keyed = dict.fromkeys(map(id, made))
    spoil(Meta, ["__getattribute__", "__instancecheck__", "__subclasscheck__"])
    spoil(Meta, ["__hash__", "__eq__", "__repr__", "mro", "__call__"])
    array = np.empty(len(made), dtype=object)
    for place, one in enumerate(made):
        array[place] = one
    held = types.SimpleNamespace()
    held.made = made
    for value in [
        *made,
        made,
        {"all": made, **keyed},
        array,
        (made,),
        held,
        of_set,
        of_dict,
        odd,
    ]:
        fingerprint.of(value, Budget(10**6, 10**6), globals())
    assert asked == []
