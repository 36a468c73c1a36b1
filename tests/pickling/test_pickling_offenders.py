"""All that cannot be pickled is found, with paths that lead to the very object."""

from __future__ import annotations

import collections
import contextlib
import copyreg
import ctypes
import functools
import gc
import io
import multiprocessing
import multiprocessing.queues
import os
import pickle
import socket
import sqlite3
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy  # noqa: F401  here because it adds filters of warnings
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipc_magic.pickling import offenders, picklers

with contextlib.suppress(ImportError):
    import dill  # noqa: F401  it leaves a handler behind at its first import

PICKLE = picklers.pickling("pickle")


def find(obj: object, name: str = "pickle") -> offenders.Found:
    return offenders.find(obj, "obj", picklers.pickling(name))


def reached(found: offenders.Found, obj: object) -> list[Any]:
    return [eval(each.path, {"obj": obj}) for each in found.offenders]


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def method(self) -> None: ...


class Raises:
    def __reduce__(self) -> Any:
        raise ValueError("not\n me")


class Exits:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise SystemExit(3)


class NoTuple:
    def __reduce__(self) -> Any:
        return 3


class NoIterator:
    def __reduce__(self) -> Any:
        return list, (), None, [1]


class NoPairs:
    def __reduce__(self) -> Any:
        return dict, (), None, None, iter([1])


class NoCallable:
    def __reduce__(self) -> Any:
        return 3, ()


class RaisesWhenIterated:
    def __reduce__(self) -> Any:
        def items() -> Iterator[int]:
            yield 1
            raise ValueError("after one")

        return list, (), None, items()


class WrongName:
    def __reduce__(self) -> Any:
        return "nowhere"


class LiesAboutItself:
    @property
    def __class__(self) -> Any:
        return int


class OfAnotherClass:
    def __reduce__(self) -> Any:
        return copyreg.__newobj__, (Plain,), {}  # type: ignore[attr-defined]


class NoHash(type):
    def __hash__(cls) -> int:
        raise TypeError("unhashable class")


class Unhashable(metaclass=NoHash):
    pass


class NoAttributes:
    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


class CallsItself:
    def __reduce__(self) -> Any:
        return self.__reduce__()


def local_class() -> Any:
    class Local:
        pass

    return Local


def nested() -> Callable[[], None]:
    def function() -> None: ...

    return function


def generator() -> Iterator[int]:
    yield 1


def traceback() -> Any:
    try:
        raise ValueError
    except ValueError as error:
        return error.__traceback__


def dead_proxy() -> Any:
    return weakref.proxy(Plain())


# What cannot be pickled, and which part of what is said about it must be there.
KINDS: dict[str, tuple[Callable[[], Any], str]] = {
    "lambda": (lambda: lambda: 0, "lambda"),
    "nested": (nested, "nested function"),
    "local class": (local_class, "local class"),
    "lock": (threading.Lock, "_thread.lock"),
    "rlock": (threading.RLock, "RLock"),
    "thread local": (threading.local, "_thread._local"),
    "generator": (generator, "generator"),
    "module": (lambda: types, "module"),
    "frame": (sys._getframe, "frame"),
    "traceback": (traceback, "traceback"),
    "code": (lambda: nested.__code__, "code"),
    "pointer": (lambda: ctypes.pointer(ctypes.c_int(1)), "LP_c_int"),
    "memoryview": (lambda: memoryview(b"x"), "memoryview"),
    "keys": ({"a": 1}.keys, "dict_keys"),
    "proxy of a dict": (lambda: types.MappingProxyType({}), "mappingproxy"),
    "weak reference": (lambda: weakref.ref(Plain), "ReferenceType"),
    "dead proxy": (dead_proxy, "ProxyType"),
    "queue": (multiprocessing.get_context("fork").SimpleQueue, "SimpleQueue"),
    "cached": (lambda: functools.lru_cache(lambda: 0), "_lru_cache_wrapper"),
    "raises": (Raises, "Raises"),
    "exits": (Exits, "Exits"),
    "no tuple": (NoTuple, "NoTuple"),
    "no iterator": (NoIterator, "NoIterator"),
    "no pairs": (NoPairs, "NoPairs"),
    "no callable": (NoCallable, "NoCallable"),
    "raises when iterated": (RaisesWhenIterated, "RaisesWhenIterated"),
    "wrong name": (WrongName, "WrongName"),
    "of another class": (OfAnotherClass, "OfAnotherClass"),
    "lies about itself": (LiesAboutItself, "LiesAboutItself"),
    "unhashable class": (Unhashable, "Unhashable"),
    "calls itself": (CallsItself, "CallsItself"),
}


def close(offender: object) -> None:
    if type(offender) is multiprocessing.queues.SimpleQueue:
        offender.close()


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held


class Pair(NamedTuple):
    left: Any
    right: Any


class Reduced:
    def __init__(self, held: Any) -> None:
        self.held = held

    def __reduce__(self) -> Any:
        return Reduced, (self.held,)


class Chosen:
    def __init__(self, held: Any) -> None:
        self.held = held

    def __getstate__(self) -> Any:
        return {"sent": [self.held], "again": self.held}


class Ordered(collections.OrderedDict[Any, Any]):
    pass


class Words(list[Any]):
    pass


class Index(dict[Any, Any]):
    def __getitem__(self, key: object) -> str:
        return "a lie"

    def items(self) -> Any:
        return [(key, self.get(key)) for key in reversed(list(self))]


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda held: [0, held],
    "tuple": lambda held: (0, held),
    "dict": lambda held: {"a": 0, "b": held},
    "key": lambda held: {(1, held): 0},
    "odd key": lambda held: {frozenset(): 0, (1, float("nan")): held},
    "set": lambda held: {1, (2, held)},
    "frozenset": lambda held: frozenset({(held,)}),
    "object": lambda held: Plain(a=0, b=held),
    "odd attribute": lambda held: Plain(**{"an attribute": held}),
    "slots": Slotted,
    "named tuple": lambda held: Pair(0, held),
    "reduced": Reduced,
    "chosen": Chosen,
    "ordered": lambda held: Ordered(a=0, b=held),
    "words": lambda held: Words([0, held]),
    "index": lambda held: Index(a=0, b=held),
    "factory": lambda held: collections.defaultdict(list, a=held),
    "deque": lambda held: collections.deque([0, held]),
    "partial": lambda held: functools.partial(print, 0, key=held),
    "partial argument": lambda held: functools.partial(print, 0, held),
    "method": lambda held: Plain(held=held).method,
    "error": lambda held: ValueError(0, held),
}
# What some versions pickle and others do not.
DOUBTFUL = {"no attributes": (NoAttributes, "")}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_found(kind: str) -> None:
    make, word = KINDS[kind]
    offender = make()
    obj = {"fine": [1, 2], "bad": [offender]}
    with pytest.raises(BaseException):  # noqa: B017, PT011  else it is no offender
        pickle.dumps(obj)
    found = find(obj)
    assert [each.path for each in found.offenders] == ["obj['bad'][0]"]
    assert reached(found, obj)[0] is offender
    (only,) = found.offenders
    assert word in only.type
    assert only.stage == "dump"
    assert only.advice
    assert "\n" not in only.reason
    assert found.pickled_bytes is not None  # the pass went on
    close(offender)


def test_open_things_are_found() -> None:
    with open(os.devnull) as file, socket.socket() as sock:
        database = sqlite3.connect(":memory:")
        obj = Plain(file=file, socket=sock, database=database, pickled=io.BytesIO())
        found = find(obj)
        assert reached(found, obj) == [file, sock, database]
        database.close()


@pytest.mark.parametrize("holder", HOLDERS)
def test_the_path_leads_through_each_holder(holder: str) -> None:
    offender = threading.Lock()
    obj = [HOLDERS[holder](offender)]
    found = find(obj)
    assert [each is offender for each in reached(found, obj)] == [True]


def test_a_local_class_is_told_by_its_first_object() -> None:
    cls = local_class()
    first = cls()
    first.lock = threading.Lock()
    obj = [first, cls(), cls]
    found = find(obj)
    assert [each.path for each in found.offenders] == ["obj[2]", "obj[0].lock"]
    assert reached(found, obj)[0] is cls
    assert find(obj[:2]).offenders[0].path == "type(obj[0])"


def test_a_thread_is_told_by_its_parts() -> None:
    obj = {"thread": threading.Thread(target=print)}
    found = find(obj)
    assert len(found.offenders) >= 3
    assert not any(isinstance(each, threading.Thread) for each in reached(found, obj))


def test_the_shortest_path_is_told() -> None:
    lock = threading.Lock()
    obj = {"a": [[[[lock]]]], "b": {"c": lock}, "d": Plain(e=[lock])}
    assert [each.path for each in find(obj).offenders] == ["obj['b']['c']"]


def test_many_offenders_among_many_objects_are_found() -> None:
    locks = {number: threading.Lock() for number in range(0, 9000, 7)}
    obj = [
        {"row": Plain(number=number, deep=(number, [locks.get(number)]))}
        for number in range(9000)
    ]
    paths = [each.path for each in find(obj).offenders]
    assert paths == [f"obj[{number}]['row'].deep[1][0]" for number in locks]


def test_cycles_and_shared_objects_end() -> None:
    lock = threading.Lock()
    obj: Any = Plain(lock=lock)
    obj.self, obj.all = obj, [obj, lock, {"obj": obj}]
    assert [each.path for each in find(obj).offenders] == ["obj.lock"]


def test_the_object_itself_may_be_the_offender() -> None:
    assert [each.path for each in find(lambda: 0).offenders] == ["obj"]
    found = offenders.find([lambda: 0], "a + b", PICKLE)
    assert found.offenders[0].path == "(a + b)[0]"


def test_without_offenders_the_size_is_that_of_the_pickle() -> None:
    clean = [{"a": [1, 2.5, "text"]}, Plain(b=Pair(1, None)), Ordered(a=1), print]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickling = picklers.pickling("pickle", protocol)
        found = offenders.find(clean, "obj", pickling)
        assert found == offenders.Found(
            offenders=(), warnings=(), pickled_bytes=len(pickle.dumps(clean, protocol))
        )


def test_the_size_without_offenders_is_told() -> None:
    weight = list(range(10_000))
    alone = len(pickle.dumps(weight))
    size = find([weight, *(threading.Lock() for _ in range(10))]).pickled_bytes
    assert size is not None
    assert alone < size < alone + 200


class Counts:
    reductions = 0

    def __reduce__(self) -> Any:
        Counts.reductions += 1
        return Counts, ()


def test_each_object_is_reduced_once() -> None:
    Counts.reductions = 0
    obj = [Counts(), threading.Lock(), {"more": Counts()}, Ordered(a=Counts())]
    assert len(find(obj).offenders) == 1
    assert Counts.reductions == 3


def nested_list(depth: int) -> list[Any]:
    obj: list[Any] = []
    for _ in range(depth):
        obj = [obj]
    return obj


class Link:
    def __init__(self, value: Any, link: Any = None) -> None:
        self.value, self.link = value, link


class SlowLink(Link):
    def __getstate__(self) -> Any:
        return dict(self.__dict__)


def chain(cls: type[Link], length: int) -> Link:
    end = link = cls(threading.Lock())
    for number in range(length):
        link = cls(number, link)
    assert end is not link
    return link


DEPTH = 12_000  # more than any recursion limit allows


@pytest.mark.parametrize(
    "deep",
    [
        lambda: nested_list(DEPTH),
        lambda: chain(Link, DEPTH),
        lambda: chain(SlowLink, DEPTH),
    ],
    ids=["lists", "links", "slow links"],
)
def test_what_is_nested_too_deep_is_told_beside_the_rest(deep: Any) -> None:
    limit = sys.getrecursionlimit()
    obj = {"deep": deep(), "lock": threading.Lock()}
    with pytest.raises(RecursionError):
        pickle.dumps(obj["deep"])
    found = find(obj)
    too_deep = [each for each in found.offenders if "too deep" in each.reason]
    assert len(too_deep) == 1
    assert len(too_deep[0].path) < 200
    locks = [each for each in reached(found, obj) if type(each) is type(obj["lock"])]
    assert obj["lock"] in locks
    assert len(locks) == (1 if isinstance(obj["deep"], list) else 2)
    assert len(found.offenders) == len(locks) + 1
    assert sys.getrecursionlimit() == limit
    while obj["deep"]:  # from the top: to free it all at once is deep as well
        deeper = obj["deep"]
        obj["deep"] = deeper[0] if isinstance(deeper, list) else deeper.link


def test_gc_and_copyreg_are_as_before() -> None:
    table = dict(copyreg.dispatch_table)
    obj = [Raises(), Plain(a=1)]
    state = dict(obj[1].__dict__)
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            find(obj)
            assert gc.isenabled() is enabled
        finally:
            gc.enable()
    assert copyreg.dispatch_table == table
    assert obj[1].__dict__ == state


def test_an_interrupt_gets_through() -> None:
    class Interrupts:
        def __reduce__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find([Interrupts()])
    assert gc.isenabled()


def test_names_of_a_notebook_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec("class Own: pass\ndef own(): pass", main.__dict__)
    obj = [{"a": main.Own()}, main.Own(), main.own, Plain()]
    found = find(obj)
    assert found.offenders == ()
    assert [(each.path, each.stage) for each in found.warnings] == [
        ("type(obj[1])", "spawn"),
        ("obj[2]", "spawn"),
    ]
    main.__file__ = "script.py"  # which a spawned child runs again
    assert find(obj).warnings == ()


@pytest.mark.parametrize("name", picklers.NAMES)
@pytest.mark.parametrize("kind", [*KINDS, *DOUBTFUL])
def test_each_pickler_is_said_to_fail_where_it_does(name: str, kind: str) -> None:
    module = pytest.importorskip(name)
    offender = {**KINDS, **DOUBTFUL}[kind][0]()
    obj = {"fine": [1, 2], "bad": [offender]}
    try:
        module.dumps(offender)
    except BaseException:
        expected = [True]
    else:
        expected = []
    found = find(obj, name)
    assert [each is offender for each in reached(found, obj)] == expected
    close(offender)


@pytest.mark.parametrize("name", ["cloudpickle", "dill"])
def test_functions_by_value_lead_to_what_they_hold(name: str) -> None:
    pytest.importorskip(name)
    made = generator()

    def function() -> Any:
        return made

    obj = [function]
    assert [each is made for each in reached(find(obj, name), obj)] == [True]


@st.composite
def planted(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    """Give a nested, shared and cyclic object, and what in it cannot be pickled."""
    leaves: list[Any] = [1, "text", 2.5, None, b"x", (), []]
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=5))
    planted = [KINDS[kind][0]() for kind in kinds]
    cells: list[Any] = [*planted]
    for holder in draw(st.lists(st.sampled_from(sorted(HOLDERS)), max_size=12)):
        pool = [*cells, *leaves]
        held = pool[draw(st.integers(0, len(pool) - 1))]
        try:
            cells.append(HOLDERS[holder](held))
        except (TypeError, ReferenceError):
            continue  # it does not hash
    root: dict[Any, Any] = {}
    for number, cell in enumerate(cells):
        if draw(st.booleans()) or number < len(planted):
            root[f"k{number}"] = cell
    if draw(st.booleans()):
        root["self"] = [root]
    order = draw(st.permutations(list(root)))
    below: dict[Any, Any] = {}
    for depth, key in enumerate(order):
        # Some stand deeper than others.
        below[key] = root[key] if depth % 2 else [[root[key]]]
    return below, list({id(each): each for each in planted}.values())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(planted())
def test_all_that_is_planted_is_found_and_nothing_else(
    case: tuple[Any, list[Any]],
) -> None:
    obj, expected = case
    found = find(obj)
    assert {id(each) for each in reached(found, obj)} == set(map(id, expected))
    assert len(found.offenders) == len(expected)
    assert found.pickled_bytes is not None
    if not expected:
        assert found.pickled_bytes == len(pickle.dumps(obj))
    for each in expected:
        close(each)
