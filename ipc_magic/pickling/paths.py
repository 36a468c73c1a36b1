"""Paths to objects in the user's own spelling: text that `eval` leads along.

A path is the user's expression and the steps from there. A step is what to write
before and after the text so far: `.layers` comes after it, `list(` and `)[3]`
around it. No step runs code of the user's classes while it is made.
"""

from __future__ import annotations

import ast
import keyword
import types
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

# A step that is repeated more often is written as a loop: to read, and to compile.
LONGEST_RUN = 16
# Of how many steps such a loop consists at most.
LONGEST_LOOP = 4
# A key whose spelling is longer is reached by its position: paths are for reading.
LONGEST_KEY = 80
_MISSING = object()
# Read from `type` itself, because a metaclass may define these names anew.
bases: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
namespace: Callable[[type], Mapping[Any, Any]] = type.__dict__["__dict__"].__get__


class Step(NamedTuple):
    """One step of a path: the text to write before and after the text so far."""

    before: str
    after: str


def root(expression: str) -> str:
    """Return the expression so that steps can follow it: in parentheses if needed."""
    text = expression.strip()
    with_parentheses = f"({text}\n)" if "#" in text else f"({text})"
    try:
        tree: ast.Expression = ast.parse(with_parentheses, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return text  # no expression of Python: a label
    try:
        longer = ast.parse(f"{text}.x", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return with_parentheses
    alone = isinstance(longer, ast.Attribute) and (
        ast.dump(longer.value) == ast.dump(tree.body)
    )
    return text if alone else with_parentheses


def spell(root: str, steps: Iterable[Step]) -> str:
    """Return the path of `steps` from the text `root`."""
    steps = list(steps)
    text, at = root, 0
    while at < len(steps):
        size, times = _loop(steps, at)
        here = steps[at : at + size]
        if times > LONGEST_RUN:
            body = _wrap("x", here)
            text = f"(lambda x: [x := {body} for _ in range({times})][-1])({text})"
            at += size * times
        else:
            text, at = _wrap(text, here[:1]), at + 1
    return text


def _wrap(text: str, steps: list[Step]) -> str:
    for step in steps:
        text = f"{step.before}{text}{step.after}"
    return text


def _loop(steps: list[Step], start: int) -> tuple[int, int]:
    """Return of how many steps a loop that starts here consists, and its rounds."""
    for size in range(1, LONGEST_LOOP + 1):
        end = start + size
        while end < len(steps) and steps[end] == steps[end - size]:
            end += 1
        if (times := (end - start) // size) > LONGEST_RUN:
            return size, times
    return 1, 1


def attribute(obj: object, name: object) -> Step:
    """Return the step to what `obj` keeps under `name`, in its dict or in a slot."""
    kept = static(type(obj), name) if type(name) is str else _MISSING
    if has_own_lookup(type(obj)) and type(name) is str:
        return Step("object.__getattribute__(", f", {name!r})")
    in_the_way = kept is not _MISSING and not is_slot(kept) and _is_data(kept)
    if isinstance(obj, type):
        # Asked of a class, a function stays as it is, other descriptors do not.
        value = namespace(obj).get(name) if type(name) is str else None
        in_the_way |= static(type(value), "__get__") is not _MISSING
        in_the_way &= type(value) is not types.FunctionType
    if is_name(name) and not in_the_way:
        return Step("", f".{name}")
    return Step("", f".__dict__{item(name).after}")


def item(key: object, position: int | None = None) -> Step:
    """Return the step to the item of `key`.

    `position` is the item's place in the order of a dict; it stands for a key that
    cannot be written so that it reads back as an equal one.
    """
    if position is None or (_reads_back(key) and len(repr(key)) <= LONGEST_KEY):
        return Step("", f"[{key!r}]")
    return Step("list(", f".values())[{position}]")


def nth(position: int) -> Step:
    """Return the step to what comes at `position` when the object is iterated."""
    return Step("list(", f")[{position}]")


def is_name(name: object) -> bool:
    """Say whether `x.name` asks for the attribute of just this name."""
    return (
        type(name) is str
        and name.isidentifier()
        and not keyword.iskeyword(name)
        and (name.isascii() or unicodedata.normalize("NFKC", name) == name)
    )


def static(cls: type, name: str, default: object = _MISSING) -> Any:
    """Return what a class has under a name, as it stands there, or `default`.

    No code of the class or of its metaclass runs.
    """
    for base in bases(cls):
        found = namespace(base).get(name, _MISSING)
        if found is not _MISSING:
            return found
    return default


def has(cls: type, name: str) -> bool:
    """Say whether a class or one of its bases defines `name`."""
    return static(cls, name) is not _MISSING


def has_own_lookup(cls: type) -> bool:
    """Say whether code of the class, written in Python, looks attributes up."""
    return type(static(cls, "__getattribute__")) is not types.WrapperDescriptorType


# Types are compared by identity: a metaclass may define `==` and `hash`.
def _reads_back(key: object) -> bool:
    kind = type(key)
    if kind is tuple:
        return all(map(_reads_back, key))  # type: ignore[call-overload]
    if kind is int:
        return key.bit_length() <= 4 * LONGEST_KEY  # type: ignore[attr-defined, no-any-return]
    if kind is float:
        return abs(key) < float("inf")  # type: ignore[arg-type]
    return kind is str or kind is bytes or kind is bool or key is None


def is_slot(value: object) -> bool:
    """Say whether what a class holds is a descriptor in C, which runs nobody's code."""
    kind = type(value)
    return kind is types.MemberDescriptorType or kind is types.GetSetDescriptorType


def _is_data(value: object) -> bool:
    return has(type(value), "__set__") or has(type(value), "__delete__")
