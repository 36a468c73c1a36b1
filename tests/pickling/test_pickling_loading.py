"""What pickles and does not load is found, wherever it is and whatever it does."""

from __future__ import annotations

import array
import contextlib
import datetime
import gc
import io
import os
import pickle
import random
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipc_magic.pickling import loading, offenders, picklers

with contextlib.suppress(ImportError):
    import dill  # noqa: F401  it leaves a handler behind at its first import

PICKLE = picklers.pickling("pickle")


def find(obj: object, name: str = "pickle", **options: Any) -> Any:
    return loading.find(obj, "obj", picklers.pickling(name), **options).offenders


def reached(found: Any, obj: object) -> list[Any]:
    return [eval(each.path, {"obj": obj}) for each in found]


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class BadState(Plain):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(a=1, **attributes)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("not this state")


class TwoArguments(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(first)
        self.second = second


class BadArguments:
    def __reduce__(self) -> Any:
        return int, ("x",)


class Exits(BadState):
    def __setstate__(self, state: Any) -> None:
        sys.exit(3)


class BadItems(list[Any]):
    def extend(self, items: Any) -> None:
        raise ValueError("no more")

    append = extend


class BadNew:
    def __new__(cls, *args: Any) -> Any:
        if not args:
            raise ValueError("too few")
        return super().__new__(cls)


class HashOfState:
    """Hashes by what it has not got yet when a cycle through it is loaded."""

    def __init__(self) -> None:
        self.key = 1
        self.index = {self: 2}

    def __hash__(self) -> int:
        return hash(self.key)


class NeedsGone(Plain):
    def __setstate__(self, state: Any) -> None:
        state["lock"].acquire()


class NeedsParts(Plain):
    def __setstate__(self, state: Any) -> None:
        self.total = sum(part.number for part in state["parts"])


BAD = {
    "state": BadState,
    "two arguments": lambda: TwoArguments(1, 2),
    "arguments": BadArguments,
    "exits": Exits,
    "items": lambda: BadItems([1]),
    "many items": lambda: BadItems([1, 2]),
    "new": lambda: BadNew(1),
}


@pytest.mark.parametrize("name", picklers.NAMES)
@pytest.mark.parametrize("kind", BAD)
def test_each_kind_is_found(kind: str, name: str) -> None:
    if name != "pickle":
        pytest.importorskip(name)
    bad = BAD[kind]()
    obj = {"fine": [1, Plain(a=2)], "bad": Plain(here=(0, bad)), "after": [bad, {}]}
    with pytest.raises(BaseException):  # noqa: B017, PT011  else it is none
        pickle.loads(pickle.dumps(obj))
    found = find(obj, name)
    assert [each.path for each in found] == ["obj['after'][0]"]
    assert reached(found, obj)[0] is bad
    assert (found[0].stage, bool(found[0].reason)) == ("load", True)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_all_are_found_in_each_protocol(protocol: int) -> None:
    obj = [[BAD[kind]()] for kind in BAD]
    expected = [each for (each,) in obj if not loads(pickle.dumps(each, protocol))]
    assert len(expected) >= 4
    way = picklers.pickling("pickle", protocol)
    found = loading.find(obj, "obj", way).offenders
    assert [id(each) for each in reached(found, obj)] == [id(each) for each in expected]


def loads(data: bytes) -> bool:
    try:
        pickle.loads(data)
    except BaseException:
        return False
    return True


def test_they_are_found_beside_what_cannot_be_dumped() -> None:
    bad = BadState()
    obj = [threading.Lock(), {"bad": bad, "lambda": lambda: 0}]
    assert len(offenders.find(obj, "obj", PICKLE).offenders) == 2
    assert reached(find(obj), obj) == [bad]


def test_the_innermost_is_told_and_not_what_fails_for_its_sake() -> None:
    bad = BadArguments()
    obj = NeedsParts(parts=[bad])
    assert reached(find([obj]), [obj]) == [bad]


@pytest.mark.parametrize("name", picklers.NAMES)
def test_what_looks_at_what_was_left_out_is_not_judged_but_named(name: str) -> None:
    pytest.importorskip(name)
    obj = [NeedsGone(lock=CannotBeDumped()), BadState()]
    judged = loading.find(obj, "obj", picklers.pickling(name))
    assert reached(judged.offenders, obj) == [obj[1]]
    assert judged.unjudged == ("obj[0]",)


@pytest.mark.parametrize("name", picklers.NAMES)
def test_what_fails_beside_what_was_left_out_is_judged(name: str) -> None:
    pytest.importorskip(name)
    bad, deep = BadState(lock=CannotBeDumped()), BadState(held=[CannotBeDumped()])
    obj = [bad, {"deep": deep}, Plain(lock=CannotBeDumped())]
    judged = loading.find(obj, "obj", picklers.pickling(name))
    assert reached(judged.offenders, obj) == [bad, deep]
    assert judged.unjudged == ()


class CannotBeDumped:
    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle this")


LOOKS: dict[str, Callable[[Any], object]] = {
    "attribute": lambda gone: gone.name,
    "call": lambda gone: gone(),
    "length": len,
    "item": lambda gone: gone[0],
    "items": list,
    "number": int,
    "sum": lambda gone: 1 + gone,
    "type": lambda gone: 1 / (not isinstance(gone, Plain)) - 1 / 0,
    "name of its type": lambda gone: "".join([gone]),
    "key": lambda gone: {}[gone],
    "equal": lambda gone: [][gone == 1],
}


@pytest.mark.parametrize("look", LOOKS)
def test_every_look_at_what_was_left_out_is_seen(look: str) -> None:
    class Looks(Plain):
        def __setstate__(self, state: Any) -> None:
            LOOKS[look](state["lock"])

    Looks.__qualname__ = "Looks"
    globals()["Looks"] = Looks
    try:
        judged = loading.find([Looks(lock=CannotBeDumped())], "obj", PICKLE)
    finally:
        del globals()["Looks"]
    assert judged == loading.Judged(unjudged=("obj[0]",))


class Outer:
    class Inner(Plain):
        """Its name has a dot."""


@pytest.mark.parametrize("name", picklers.NAMES)
def test_names_with_dots_are_found_by_each_pickler(name: str) -> None:
    pytest.importorskip(name)
    obj = [Outer.Inner(a=1), BadState(), Outer.Inner]
    assert reached(find(obj, name), obj) == [obj[1]]


def test_a_cycle_through_a_key_is_told_by_the_dict() -> None:
    obj = [HashOfState()]
    (found,) = find(obj)
    assert found.path == "obj[0].index"
    assert "key" in found.reason


def test_what_loads_is_not_told() -> None:
    obj = [
        {1: (2, {3}), "a": frozenset({4})},
        Plain(b=[datetime.date(2000, 1, 1)]),
        array.array("d", [1, 2]),
        random.Random(1),
        bytearray(b"x"),
        ValueError(1, 2),
        io.BytesIO(b"x"),
        print,
        Plain,
        1 + 2j,
        range(3),
    ]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickling = picklers.pickling("pickle", protocol)
        nothing = loading.Judged()
        assert loading.find(obj, "obj", pickling) == nothing
        assert loading.find(obj, "obj", pickling, note=lambda _: None) == nothing


def test_a_class_that_is_gone_when_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    obj = [Plain(), {"bad": BadState()}]

    class Forgets:
        def __setstate__(self, state: Any) -> None:
            monkeypatch.delattr(sys.modules[Plain.__module__], "BadState")

        def __getstate__(self) -> Any:
            return {"a": 1}

    monkeypatch.setattr(
        sys.modules[Plain.__module__], "Forgets", Forgets, raising=False
    )
    Forgets.__qualname__ = "Forgets"
    obj.insert(0, Forgets())
    found = find(obj, note=lambda _: None)
    assert [each.path for each in found] == ["type(obj[2]['bad'])"]


class Ends(BadState):
    def __setstate__(self, state: Any) -> None:
        os._exit(7)


class Hangs(BadState):
    def __setstate__(self, state: Any) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)


@pytest.mark.parametrize("kind", [Ends, Hangs])
def test_what_ends_the_process_is_named_afterwards(kind: Any) -> None:
    bad = kind()
    obj = {"first": BadState(), "bad": [0, bad], "last": BadArguments()}
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            find(
                obj, note=lambda number: os.write(writer, number.to_bytes(8, "little"))
            )
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as notes:
        if kind is Hangs:
            os.waitpid(pid, os.WUNTRACED)
            os.kill(pid, 9)
        last = int.from_bytes(notes.read()[-8:], "little")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (
        7 if kind is Ends else -9
    )
    named = loading.name(obj, "obj", PICKLE, last, "ended the child")
    assert named is not None
    assert eval(named.path) is bad
    assert named.reason == "ended the child"
    others = find(obj, note=lambda _: None, skip={last})
    assert reached(others, obj) == [obj["first"], obj["last"]]
    assert loading.name(obj, "obj", PICKLE, 10**6, "nothing") is None


@pytest.mark.parametrize("kind", BAD)
def test_what_is_skipped_is_neither_loaded_nor_told(kind: str) -> None:
    bad = BAD[kind]()
    obj = [{"bad": bad}, BadState(), [1]]
    notes: list[int] = []
    assert reached(find(obj, note=notes.append), obj) == [bad, obj[1]]
    known = {
        number
        for number in set(notes)
        if (named := loading.name(obj, "obj", PICKLE, number, ""))
        and named.path == "obj[0]['bad']"
    }
    assert len(known) == 1
    assert reached(find(obj, note=notes.append, skip=known), obj) == [obj[1]]


def test_gc_is_as_before_and_an_interrupt_gets_through() -> None:
    class Interrupts:
        def __reduce__(self) -> Any:
            return _interrupt, ()

    gc.disable()
    try:
        find([BadState()])
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(KeyboardInterrupt):
        find([Interrupts()])
    assert gc.isenabled()


def _interrupt() -> None:
    raise KeyboardInterrupt


@st.composite
def planted(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    bad = [
        BAD[kind]() for kind in draw(st.lists(st.sampled_from(sorted(BAD)), max_size=4))
    ]
    cells: list[Any] = [*bad, 1, "text", [], Plain()]
    for holder in draw(st.lists(st.integers(0, 4), max_size=10)):
        held = cells[draw(st.integers(0, len(cells) - 1))]
        made: list[Any] = [
            [held],
            (0, held),
            {"a": held},
            Plain(b=held),
            {1: [held, held]},
        ]
        cells.append(made[holder])
    order = draw(st.permutations(cells))
    obj: list[Any] = [*order]
    obj.append(obj)
    return obj, bad


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(planted())
def test_all_that_is_planted_is_found_and_nothing_else(
    case: tuple[Any, list[Any]],
) -> None:
    obj, bad = case
    found = find(obj)
    assert {id(each) for each in reached(found, obj)} == set(map(id, bad))
    assert len(found) == len(bad)
