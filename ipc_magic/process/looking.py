"""What an object holds, read without running any code of the person's.

`obj.x`, `len(obj)` and `isinstance(obj, C)` ask the object's class, which may answer by
code of its own. The descriptors of the interpreter itself do not.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


def ids(*kinds: type) -> frozenset[int]:
    """Return the ids of classes, to look up others among them: `id(kind) in these`.

    A set of the classes themselves would ask for a class's hash, which may be a method
    of its metaclass.
    """
    return frozenset(map(id, kinds))


_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
# What only C code puts into the namespace of its class.
_OF_C = ids(
    types.GetSetDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)

mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
"""Return the classes that a class looks its attributes up in."""
names_of: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__
"""Return what the body of a class defined."""
_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
_dict_offset: Callable[[type], int] = type.__dict__["__dictoffset__"].__get__


def is_class(value: object) -> bool:
    """Return whether `value` is a class, whatever it says of itself."""
    return is_instance(value, type)


def is_instance(value: object, kind: type) -> bool:
    """Return whether the class of `value` is `kind` or a subclass of it."""
    return any(each is kind for each in mro(type(value)))


@dataclass(frozen=True)
class Layout:
    """Where instances of a class that Python code made keep what they hold."""

    base: type
    """The builtin type that they extend; most extend `object`."""
    dict_of: Callable[[Any], dict[str, Any]] | None
    """Reads an instance's dict; `None` where they have none."""
    slots: tuple[Callable[[Any], Any], ...]
    """Each reads one slot, and raises AttributeError where that is empty."""
    cached: frozenset[str]
    """The attributes that are made when they are first read."""


def layout(kind: type, bases: frozenset[int]) -> Layout | None:
    """Return how instances of `kind` are made; `None` if C code keeps some of them.

    `bases` are the ids of the builtin types whose content the caller can read.
    """
    base: type = object
    dict_of = None
    slots: list[Any] = []
    cached: set[str] = set()
    for each in mro(kind):
        if each is object:
            continue
        if not _flags(each) & _HEAP_TYPE:
            if base is not object or id(each) not in bases:
                return None
            base = each
            continue
        for name, value in names_of(each).items():
            what = type(value)
            if what is types.GetSetDescriptorType and name == "__dict__":
                dict_of = dict_of or value.__get__
            elif what is types.MemberDescriptorType:
                slots.append(value.__get__)
            elif what is functools.cached_property:
                cached.add(name)
            elif (
                id(what) in _OF_C
                and value.__objclass__ is each
                and name != "__weakref__"
            ):
                return None
    if dict_of is None and _dict_offset(kind):
        return None  # the class hides its instances' dict
    return Layout(base, dict_of, tuple(slots), frozenset(cached))


def closure(function: types.FunctionType) -> list[Any]:
    """Return what a function has of the functions around it."""
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            continue  # not bound yet
    return found
