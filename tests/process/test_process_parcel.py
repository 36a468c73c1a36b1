"""Values packed for the way home: what they share, who is to blame, what may run."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
import types
from collections import OrderedDict, namedtuple
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipc_magic.process import packable, parcel


def never(_parcel):
    raise AssertionError("a stream that was to be loaded at once was proved")


def home(values, known=None, prove=lambda _parcel: None):
    packed = parcel.pack(values, known or {})
    assert packed.failures == {}
    came = parcel.unpack(parcel.Parcel(packed.blob, len(values)), prove)
    return dict(zip(values, came, strict=True))


@pytest.fixture
def notebook(monkeypatch):
    """Give the notebook's variables, which are those of `__main__`."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    return vars(main)


def run_cell(source, names):
    exec(source, names)
    return names


def test_what_values_share_stays_shared():
    shared = [1, 2]
    came = home({"a": shared, "b": {"deep": [shared]}, "c": (shared, shared)})
    assert came["b"]["deep"][0] is came["a"]
    assert came["c"][0] is came["c"][1] is came["a"]


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.text("abc", min_size=1), st.lists(st.text() | st.integers() | st.binary())
    )
)
def test_the_sizes_sum_to_the_stream(values):
    packed = parcel.pack(values, {})
    assert list(packed.sizes) == list(values)
    assert sum(packed.sizes.values()) == len(packed.blob)
    assert home(values) == values


def test_each_ones_size_is_its_own():
    big = bytes(100_000)
    sizes = parcel.pack({"big": big, "again": [big], "small": 1}, {}).sizes
    assert sizes["big"] > 100_000
    assert sizes["again"] < 100
    assert sizes["small"] < 20


class Breaking:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


class HostileError(Exception):
    def __str__(self):
        raise ValueError("no text")


class OutOfTheOrdinary(BaseException):
    """As pytest's outcomes are: no `Exception`."""


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (threading.Lock(), "TypeError: cannot pickle '_thread.lock' object"),
        ((i for i in ()), "TypeError: cannot pickle 'generator' object"),
        (Breaking(ValueError("mine")), "ValueError: mine"),
        (Breaking(SystemExit(3)), "SystemExit: 3"),
        (Breaking(HostileError()), "HostileError: <str() of this error raised"),
        (Breaking(OutOfTheOrdinary("odd")), "OutOfTheOrdinary: odd"),
    ],
    ids=["lock", "generator", "raises", "exits", "hostile", "no Exception"],
)
def test_one_that_cannot_be_pickled_is_named_and_the_others_are_kept(bad, reason):
    shared, late = ["shared"], ["shared with a bad one"]
    values = {
        "a": shared,
        "bad": [late, bad],
        "worse": [bad],
        "b": [shared, late, late],
    }
    packed = parcel.pack(values, {})
    assert set(packed.failures) == {"bad", "worse"}
    assert packed.failures["bad"].startswith(reason)
    assert list(packed.sizes) == ["a", "b"]
    assert sum(packed.sizes.values()) == len(packed.blob)
    a, b = parcel.unpack(parcel.Parcel(packed.blob, 2), never)
    assert a == shared
    assert b == [shared, late, late]
    assert b[0] is a
    assert b[1] is b[2]


CELL = """
class Point:
    class Inner:
        pass
    def __init__(self, x):
        self.x = x
def double(x):
    return 2 * x
"""


def test_what_the_parent_knows_goes_by_name_and_is_the_same_on_return(notebook):
    run_cell(CELL, notebook)
    known = parcel.find_definitions(notebook)
    assert set(known) == {"Point", "double"}
    point, inner = notebook["Point"](1), notebook["Point"].Inner()
    values = {"point": point, "inner": inner, "function": notebook["double"]}
    came = home(values, known)
    assert type(came["point"]) is notebook["Point"]
    assert type(came["inner"]) is notebook["Point"].Inner
    assert came["function"] is notebook["double"]
    assert len(parcel.pack(values, known).blob) < 300


def test_what_the_child_made_goes_by_value(notebook):
    known = parcel.find_definitions(notebook)
    assert known == {}
    run_cell(CELL, notebook)
    values = {"point": notebook["Point"](21), "function": notebook["double"]}
    packed = parcel.pack(values, known)
    del notebook["Point"], notebook["double"]
    point, function = parcel.unpack(parcel.Parcel(packed.blob, 2), lambda *_: None)
    assert type(point).__name__ == "Point"
    assert function(point.x) == 42


def test_what_the_child_made_anew_under_a_known_name_goes_by_value(notebook):
    run_cell(CELL, notebook)
    known = parcel.find_definitions(notebook)
    old = notebook["Point"]
    run_cell(CELL, notebook)  # in the child
    packed = parcel.pack({"point": notebook["Point"](1)}, known)
    notebook["Point"] = old
    (point,) = parcel.unpack(parcel.Parcel(packed.blob, 1), lambda *_: None)
    assert type(point) is not old
    assert point.x == 1


def test_variables_that_lie_about_their_class_are_not_asked():
    class Lying:
        @property
        def __class__(self):
            raise AssertionError("a variable was asked what it is")

    names = {"lying": Lying(), "number": 1, "Lying": Lying}
    assert parcel.find_definitions(names) == {"Lying": Lying}


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None, True, "text", b"raw", (1,), {2}, frozenset({3})]},
        np.arange(5),
        np.float64(1),
        OrderedDict(a=1),
        date(2024, 2, 29),
        Decimal("1.5"),
        ValueError("text"),
        bytearray(b"x"),
        2**100,
    ],
    ids=lambda value: type(value).__name__,
)
def test_builtins_and_arrays_are_loaded_without_a_proof(value):
    (came,) = home({"value": value}, prove=never).values()
    assert type(came) is type(value)
    assert str(came) == str(value)


class Loading:
    """Does something where it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


ran_here = []


@pytest.mark.parametrize(
    "value",
    [
        Pair(1, 2),
        np.array([Pair, None], dtype=object),
        Loading(ran_here.append, 1),
        len,
        Loading(eval, "ran_here.append(1)"),
        Loading(print),
        range(3),
        Loading(bytearray, 20 << 40),
        Loading(np.ones, 20 << 40),
    ],
    ids=[
        *("class", "array of them", "method", "function", "eval", "print"),
        *("a range", "a long bytearray", "a long array"),
    ],
)
def test_a_foreign_stream_is_proved_before_anything_of_it_runs(value):
    asked = []

    def refuse(asked_for):
        asked.append((asked_for.blob, asked_for.number))
        return "it crashes"

    packed = parcel.pack({"plain": 1, "value": value}, {})
    with pytest.raises(pickle.UnpicklingError, match="it crashes"):
        parcel.unpack(parcel.Parcel(packed.blob, 2), refuse)
    assert asked == [(packed.blob, 2)]
    assert ran_here == []


def test_a_foreign_stream_that_was_proved_is_loaded():
    assert home({"value": Pair(1, 2)}) == {"value": Pair(1, 2)}


def raise_it(error):
    raise error


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr
)
def test_what_would_end_the_session_is_an_error(error):
    packed = parcel.pack({"value": Loading(raise_it, error)}, {})
    with pytest.raises(pickle.UnpicklingError, match=type(error).__name__):
        parcel.unpack(parcel.Parcel(packed.blob, 1), lambda *_: None)


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_as_it_was(on):
    blobs = [
        parcel.pack({"v": v}, {}).blob for v in ([1], Loading(raise_it, LookupError()))
    ]
    if not on:
        gc.disable()
    try:
        parcel.load(parcel.Parcel(blobs[0], 1))
        assert gc.isenabled() is on
        with pytest.raises(LookupError):
            parcel.load(parcel.Parcel(blobs[1], 1))
        assert gc.isenabled() is on
    finally:
        gc.enable()


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_stream_that_was_cut_is_an_error(cut):
    blob = parcel.pack({"a": "x" * 100}, {}).blob
    with pytest.raises((pickle.UnpicklingError, EOFError)):
        parcel.unpack(parcel.Parcel(blob[:-cut], 1), never)


class MyList(list):
    pass


@pytest.mark.parametrize(
    ("value", "sure"),
    [
        ([1, "a", {"b": (2, None)}], True),
        (np.zeros(10), True),
        (np.array([object()]), False),
        (MyList(), False),
        ({MyList: 1}, False),
        ([[[object()]]], False),
        (list(range(100_000)), True),
        ({str(n): n for n in range(100_000)}, True),
        ([*range(100_000), object()], False),
        ([[n] for n in range(20_000)], False),
        ({n: MyList() for n in range(20_000)}, False),
    ],
    ids=[
        *("nested", "array", "array of objects", "own list", "class", "object"),
        *("long list", "large dict", "an object among many", "many lists"),
        "many objects",
    ],
)
def test_only_plain_data_surely_runs_no_code_where_it_is_pickled(value, sure):
    assert packable.surely_packable({"value": value}) is sure


def test_a_value_that_contains_itself_is_looked_at_for_a_while_only():
    endless = []
    endless.append(endless)
    assert packable.surely_packable({"endless": endless}) is False
