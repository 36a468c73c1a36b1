"""Elements of large containers are told apart and found as a loop would do it."""

from __future__ import annotations

import threading
from typing import Any

import numpy  # noqa: F401  here because it adds filters of warnings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_magic.pickling import elements, headers, offenders, picklers, search
from ipc_magic.pickling.reductions import ATOMS


class Unequal(type):
    """A class of classes that nobody may compare or hash."""

    def __eq__(cls, other: object) -> bool:
        raise AssertionError("nobody asks")

    def __hash__(cls) -> int:
        raise AssertionError("nobody asks")


class Odd(metaclass=Unequal):
    """Its type is one of these."""


class Number(int):
    """No plain number: it may have attributes."""


MAKE = {
    "int": lambda: 1 << 70,
    "str": lambda: "text",
    "none": lambda: None,
    "list": list,
    "odd": Odd,
    "number": Number,
    "lock": threading.Lock,
}
containers = st.lists(st.lists(st.sampled_from(sorted(MAKE)), max_size=9), max_size=5)


def by_loop(made: list[Any]) -> list[int]:
    return [id(o) for each in made for o in each if id(type(o)) not in ATOMS]


@given(kinds=containers, repeats=st.integers(1, 40))
def test_others_are_those_of_a_loop(kinds, repeats):
    made: list[Any] = [
        [MAKE[k]() for k in each for _ in range(repeats)] for each in kinds
    ]
    made += [tuple(each) for each in made]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elements, "FEW", 1)
        assert [id(o) for o in elements.others(made)] == by_loop(made)


@pytest.mark.parametrize("few", [1, 10**9])
@pytest.mark.parametrize("view", [list, tuple, lambda o: dict(enumerate(o)).values()])
def test_places_are_those_of_what_is_wanted(monkeypatch, few, view):
    monkeypatch.setattr(elements, "FEW", few)
    first, second = Odd(), "second"
    made = view([0, "a", first, 2.5, second, 7, first])
    found = list(elements.places(made, {id(first), id(second)}))
    assert found == [(2, first), (4, second), (6, first)]


def test_headers_are_read_only_where_the_list_is_many(monkeypatch):
    monkeypatch.setattr(headers, "addresses", pytest.fail)
    assert elements.others([[1, "a"]] * 9) == []
    assert list(elements.places([1, 2], {0})) == []


@pytest.mark.parametrize(
    "holds",
    [
        lambda many, last: [*many, last],
        lambda many, last: (*many, last),
        lambda many, last: {*many, last},
        lambda many, last: {**dict.fromkeys(many), "last": last},
        lambda many, last: {**dict.fromkeys(many), last: 0},
        lambda many, last: [[*many], [*many, last]],
    ],
)
@pytest.mark.parametrize("many", [1000, 10**9])
def test_an_offender_among_many_has_a_path_that_leads_to_it(monkeypatch, holds, many):
    monkeypatch.setattr(search, "ONE_OF_MANY", many)
    last = threading.Lock()
    obj = {"a": [1], "b": holds(range(5000), last)}
    (found,) = offenders.find(obj, "obj", picklers.pickling()).offenders
    assert eval(found.path) is last


@pytest.mark.parametrize("where", [{0}, {39}, {7, 8}, {19, 20}, {3, 4, 36}, {5}])
def test_what_holds_an_offender_is_found_among_many(where):
    shared = threading.Lock()
    obj: Any = [[n] for n in range(40)]
    for n in where:
        obj[n] += [threading.Lock(), shared]
    found = offenders.find(obj, "obj", picklers.pickling()).offenders
    own = [f"obj[{n}][1]" for n in sorted(where)]
    assert sorted(each.path for each in found) == sorted(
        [*own, f"obj[{min(where)}][2]"]
    )


def test_a_loop_over_many_numbers_is_nowhere(monkeypatch):
    asked = 0

    class Counted(frozenset):  # type: ignore[type-arg]
        def __contains__(self, key: object) -> bool:
            nonlocal asked
            asked += 1
            return super().__contains__(key)

    for module in (elements, search):
        monkeypatch.setattr(module, "ATOMS", Counted(ATOMS))
    obj = {"many": [*range(50_000), threading.Lock()], "more": list(range(50_000))}
    assert len(offenders.find(obj, "obj", picklers.pickling()).offenders) == 1
    assert asked < 100
