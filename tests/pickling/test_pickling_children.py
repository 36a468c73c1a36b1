"""What lies below an object: every step leads to the very child."""

from __future__ import annotations

import collections
import copyreg
import dataclasses
import datetime
import enum
import functools
import pickle
from typing import Any, NamedTuple

import pytest

from ipc_magic.pickling import children, paths, reductions


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def method(self) -> None: ...


class Slotted:
    __slots__ = ("__dict__", "__own", "first")

    def __init__(self) -> None:
        self.first, self.__own, self.third = [1], [2], [3]


class Chosen:
    """Keeps one thing, and sends it under another name."""

    def __init__(self) -> None:
        self.kept = [1]

    def __getstate__(self) -> dict[str, Any]:
        return {"sent": self.kept}


class Odd:
    def __init__(self) -> None:
        self.state = [1]

    def __reduce__(self) -> tuple[Any, ...]:
        return Odd, (), self.state

    def __setstate__(self, state: object) -> None: ...


class Pair(NamedTuple):
    left: Any
    right: Any


class Words(list[Any]):
    pass


class Index(dict[Any, Any]):
    def __getitem__(self, key: object) -> str:
        return "a lie"


class Registered:
    def __init__(self) -> None:
        self.held = [1]

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise AssertionError("copyreg comes first")


@dataclasses.dataclass
class Data:
    parts: list[int]


class Colour(enum.Enum):
    RED = (1, 2)


def ordered() -> Any:
    pairs = collections.OrderedDict(a=[1], b=[2])
    pairs.move_to_end("a")
    return pairs


SHARED: list[int] = [3]
OBJECTS: list[Any] = [
    {"a": [1], 3: (2,), (1,): {3}, frozenset({1}): [4]},
    [[1], (2,), {3: 4}],
    ([1], SHARED, SHARED),
    {(1,), (2,)},
    frozenset({(1,), (2,)}),
    Plain(a=[1], b={2: 3}),
    Plain(**{"odd name": [1], "class": (2,)}),
    Slotted(),
    Chosen(),
    Odd(),
    Pair([1], {2: 3}),
    Words([[1], (2,)]),
    Index(a=[1], b=[2]),
    Data([1]),
    Colour.RED,
    ordered(),
    collections.defaultdict(list, a=[1]),
    collections.deque([[1], (2,)], maxlen=5),
    collections.Counter([(1,), (1,)]),
    functools.partial(print, [1], key=[2]),
    Plain(a=1).method,
    ValueError([1], (2,)),
    datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc),
]


# Their reductions hold what no attribute does.
MADE_ANEW = (collections.Counter, datetime.datetime)


def reduced(obj: Any) -> Any:
    if type(obj) in (dict, list, tuple, set, frozenset):
        return None
    return obj.__reduce_ex__(pickle.DEFAULT_PROTOCOL)


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: type(obj).__name__)
def test_each_step_leads_to_the_child(obj: Any) -> None:
    found = list(children.of(obj, reduced(obj)))
    assert found
    for step, child in found:
        reached = eval(paths.spell("x", [step]), {"x": obj})
        if type(obj) in MADE_ANEW and "__reduce_ex__" in step.after:
            assert (type(reached), reached) == (type(child), child)
        else:
            assert reached is child


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: type(obj).__name__)
def test_what_is_told_quickly_is_the_same(obj: Any) -> None:
    given = reductions.repeatable(obj, reduced(obj))
    if given is not None:
        found = [child for _, child in children.of(obj, given)]
        assert things(found) == things(children.objects(obj, given))


def things(found: list[object]) -> set[int]:
    return {id(each) for each in found if id(type(each)) not in reductions.ATOMS}


def test_steps_are_those_that_users_write() -> None:
    def steps(obj: Any) -> list[str]:
        return [
            paths.spell("x", [step])
            for step, child in children.of(obj, reduced(obj))
            if type(child) is list
        ]

    assert steps(Plain(a=[1])) == ["x.a"]
    assert sorted(steps(Slotted())) == ["x._Slotted__own", "x.first", "x.third"]
    assert steps({"a": [1], 2: [3]}) == ["x['a']", "x[2]"]
    assert steps(collections.deque([[1]])) == ["x[0]"]
    assert steps(collections.OrderedDict(a=[1])) == ["x['a']"]
    assert steps(ValueError([1])) == ["x.args[0]"]
    assert steps(Odd()) == ["x.state"]


def test_a_registered_reduction_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        copyreg.dispatch_table, Registered, lambda obj: (Registered, ([obj.held],))
    )
    obj = Registered()
    ((step, _),) = (
        (step, child)
        for step, child in children.of(obj, copyreg.dispatch_table[Registered](obj))
        if type(child) is list
    )
    assert eval(paths.spell("x", [step]), {"x": obj})[0] is obj.held


def test_only_what_is_wanted_gets_a_step() -> None:
    middle = [2]
    wide = [[1], middle, [3]]
    (step, child), *rest = children.of(wide, wanted={id(middle)})
    assert (step.after, child is middle, rest) == ("[1]", True, [])


def test_a_function_by_value_leads_to_what_it_holds() -> None:
    held, default, extra = [1], [2], [3]

    def function(a: int, b: Any = default, *, c: Any = held) -> Any:
        return held, OBJECTS, missing  # type: ignore[name-defined] # noqa: F821

    function.extra = extra  # type: ignore[attr-defined]
    found = list(children.of(function, (print, ())))
    assert [child for _, child in found] == [OBJECTS, held, default, held, extra]
    for step, child in found:
        assert eval(paths.spell("x", [step]), {"x": function}) is child


def test_a_class_by_value_leads_to_what_it_holds() -> None:
    for step, child in children.of(Pair, (print, ())):
        assert eval(paths.spell("x", [step]), {"x": Pair}) is child
