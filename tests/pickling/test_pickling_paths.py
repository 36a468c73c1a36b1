"""Paths lead back to the very object, whatever its class says."""

from __future__ import annotations

import types
from typing import Any

import pytest

from ipc_magic.pickling import paths


def follow(start: object, *steps: paths.Step) -> Any:
    return eval(paths.spell("x", steps), {"x": start})


@pytest.mark.parametrize(
    "expression",
    [
        "a",
        "a.b[1]",
        "f(a, *b)",
        "(a, b)",
        "{**a}",
        "'x' 'y'",
        "[i for i in a]",
        "(a + b)",
    ],
)
def test_a_primary_stands_as_it_is(expression: str) -> None:
    assert paths.root(f" {expression} ") == expression


@pytest.mark.parametrize(
    "expression",
    [
        "a + b",
        "-a",
        "a, b",
        "3",
        "lambda: a",
        "a if b else c",
        "not a",
        "(a) + (b)",
        "(a), (b)",
        "a or b.c",
        "a # b",
        "(y := a)",
    ],
)
def test_anything_else_gets_parentheses_that_keep_its_value(expression: str) -> None:
    names = {"a": 1.5, "b": 2.5, "c": 3.5}
    if expression in {"a or b.c", "lambda: a"}:
        names = {"a": 1.5, "b": 0}
    text = paths.root(expression)
    found = eval(f"{text}.__class__", dict(names))
    assert found is type(eval(expression, dict(names)))


def test_what_is_no_expression_stays() -> None:
    assert paths.root("the object") == "the object"


class Plain:
    shadowed = property(lambda self: "of the class")
    overruled = "of the class"

    def method(self) -> None: ...


class Slotted:
    __slots__ = ("__private", "kept")

    def __init__(self) -> None:
        self.kept = object()
        self.__private = object()


class Lies:
    def __getattribute__(self, name: str) -> Any:
        return "a lie"

    def __getattr__(self, name: str) -> Any:
        return "a lie"


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "shadowed",
        "overruled",
        "odd name",
        "class",
        "ﬁeld",
        "",
        "é",
        "1",
        3,
        (1,),
    ],
)
def test_an_attribute_of_any_name_is_reached(name: Any) -> None:
    obj, kept = Plain(), object()
    obj.__dict__[name] = kept
    assert follow(obj, paths.attribute(obj, name)) is kept


def test_an_ordinary_attribute_is_spelled_as_users_do() -> None:
    obj: Any = Plain()
    obj.name = 1
    assert paths.attribute(obj, "name") == paths.Step("", ".name")
    assert paths.attribute(types, "FunctionType") == paths.Step("", ".FunctionType")


def test_slots_are_reached_under_their_mangled_names() -> None:
    obj: Any = Slotted()
    assert follow(obj, paths.attribute(obj, "kept")) is obj.kept
    private = paths.attribute(obj, "_Slotted__private")
    assert follow(obj, private) is obj._Slotted__private


def test_a_lying_lookup_is_gone_round() -> None:
    obj, kept = Lies(), object()
    object.__getattribute__(obj, "__dict__")["name"] = kept
    assert follow(obj, paths.attribute(obj, "name")) is kept


class Meta(type):
    of_meta = property(lambda cls: "of the metaclass")

    def __getattribute__(cls, name: str) -> Any:
        if name in {"__mro__", "__dict__"}:
            raise AssertionError("asked the metaclass")
        return type.__getattribute__(cls, name)

    def __eq__(cls, other: object) -> bool:
        raise AssertionError("compared classes")

    __hash__ = None  # type: ignore[assignment]


class Odd(metaclass=Meta):
    pass


def test_the_metaclass_is_not_asked() -> None:
    obj, kept = Odd(), object()
    vars(obj)["name"] = kept
    assert follow(obj, paths.attribute(obj, "name")) is kept
    assert follow({1: kept}, paths.item(Odd, 0)) is kept


class Methods:
    static = staticmethod(len)
    value = object()

    def function(self) -> None: ...


@pytest.mark.parametrize("name", ["static", "value", "function", "__init__"])
def test_what_a_class_holds_is_reached(name: str) -> None:
    class Local(Methods):
        static = staticmethod(print)
        value = object()

        def function(self) -> None: ...

        def __init__(self) -> None: ...

    assert follow(Local, paths.attribute(Local, name)) is Local.__dict__[name]


NAN = float("nan")


@pytest.mark.parametrize(
    "key",
    [
        "cache",
        "it's",
        "\ud800",
        3,
        -1,
        True,
        None,
        2.5,
        NAN,
        float("inf"),
        b"x",
        (1, ("a", None)),
        (1, NAN),
        frozenset({1}),
        len,
        10**5000,
        "x" * 1000,
        Plain(),
        Odd(),
    ],
    ids=lambda key: type(key).__name__,
)
def test_an_item_of_any_key_is_reached(key: Any) -> None:
    kept = object()
    holder = {"first": 0, key: kept, "last": 0}
    step = paths.item(key, 1)
    assert follow(holder, step) is kept
    assert len(step.after) < 2 * paths.LONGEST_KEY


def test_items_are_spelled_as_users_do() -> None:
    assert paths.spell("x", [paths.item("cache"), paths.item(3)]) == "x['cache'][3]"
    assert paths.spell("x", [paths.nth(2), paths.attribute(3, "real")]) == (
        "list(x)[2].real"
    )


def test_the_elements_of_a_set_are_reached() -> None:
    elements = {object() for _ in range(5)}
    for position, element in enumerate(elements):
        assert follow(elements, paths.nth(position)) is element
