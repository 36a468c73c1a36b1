"""What pickle saves below an object, each with the step that leads there.

These are the objects that make a pickle grow: the items of containers, and of what
`__reduce_ex__` gave the arguments, the attributes of the state, the items; of
functions and classes that go by value, what they hold. No code of the user's classes
runs here, except where an iterator that was given is theirs.
"""

from __future__ import annotations

import collections
import copyreg
import pickle
import types
from collections.abc import Container, Iterable, Iterator
from typing import Any, TypeAlias

from ipc_magic.pickling import elements, functions, paths
from ipc_magic.pickling.paths import Step
from ipc_magic.pickling.reductions import ATOMS

Reduced: TypeAlias = tuple[Any, ...]
Child: TypeAlias = tuple[Step, object]

_LIST_ITEM = list.__dict__["__getitem__"]
_DICT_ITEM = dict.__dict__["__getitem__"]
_DEQUE_ITEM = collections.deque.__dict__["__getitem__"]


_NOTHING = object()


class _Everything:
    def __contains__(self, _: object) -> bool:
        return True


_EVERYTHING = _Everything()


def of(
    obj: Any,
    reduced: object = None,
    *,
    wanted: Container[int] = _EVERYTHING,
    protocol: int = pickle.DEFAULT_PROTOCOL,
) -> Iterator[Child]:
    """Yield what pickle saves below `obj`, in its order, with each one's step.

    `reduced` is what `__reduce_ex__` or copyreg gave for `obj`, `None` for a
    container; a string is the name of a global, which has nothing below it. Only
    children whose `id` is in `wanted` get a step and are yielded. `protocol` is for
    steps that must ask `__reduce_ex__` again.
    """
    kind = type(obj)
    if isinstance(reduced, tuple):
        if kind is types.FunctionType or issubclass(kind, type):
            given = _of_function(obj) if kind is types.FunctionType else _of_class(obj)
            yield from (child for child in given if id(child[1]) in wanted)
        else:
            yield from _of_reduced(obj, reduced, wanted, protocol)
        return
    if kind is dict:
        yield from _of_dict(obj, wanted)
    elif kind is list or kind is tuple:
        for position, child in elements.places(obj, wanted):
            yield paths.item(position), child
    elif kind is set or kind is frozenset:
        for position, child in elements.places(obj, wanted):
            yield paths.nth(position), child


def objects(obj: object, reduced: Reduced) -> list[object]:
    """Return what `of` yields for a reduction: without steps, in any order."""
    if type(obj) is types.FunctionType:
        return [value for _, _, value in functions.captured(obj)]
    if issubclass(type(obj), type):
        return [child for _, child in _of_class(obj)]
    found: list[object] = [reduced[0], *reduced[1]]
    if len(reduced) == 2:
        return found
    state = reduced[2]
    if type(state) is dict:
        found += state.values()
        found += [name for name in state if type(name) is not str]
    elif type(state) is tuple:
        if len(state) == 2 and _are_attributes(*state):
            for attributes in state:
                found += [*attributes, *attributes.values()] if attributes else []
        else:
            found += state
    else:
        found.append(state)
    for items in reduced[3:4]:
        found += items or ()
    for pairs in reduced[4:5]:
        for pair in pairs or ():
            found += pair
    found += reduced[5:6]
    return found


def _of_dict(obj: dict[Any, Any], wanted: Container[int]) -> Iterator[Child]:
    if len(obj) >= elements.FEW and wanted is not _EVERYTHING:
        yield from _of_large_dict(obj, wanted)
        return
    for position, (key, value) in enumerate(obj.items()):
        if id(key) in wanted:
            yield paths.nth(position), key
        if id(value) in wanted:
            yield paths.item(key, position), value


def _of_large_dict(obj: dict[Any, Any], wanted: Container[int]) -> Iterator[Child]:
    keys = list(obj)
    found = [
        *((place, 0, key) for place, key in elements.places(keys, wanted)),
        *((place, 1, value) for place, value in elements.places(obj.values(), wanted)),
    ]
    for place, is_value, child in sorted(found, key=lambda each: each[:2]):
        step = paths.item(keys[place], place) if is_value else paths.nth(place)
        yield step, child


def _of_function(obj: types.FunctionType) -> Iterator[Child]:
    yield from ((step, value) for _, step, value in functions.captured(obj))


def _of_class(obj: Any) -> Iterator[Child]:
    yield Step("type(", ")"), type(obj)
    for place, base in enumerate(type.__dict__["__bases__"].__get__(obj)):
        yield Step("", f".__bases__[{place}]"), base
    for name, value in paths.namespace(obj).items():
        yield paths.attribute(obj, name), value


def _of_reduced(
    obj: object, reduced: Reduced, wanted: Container[int], protocol: int
) -> Iterator[Child]:
    function, args, state, items, pairs, setter = reduced + (None,) * (6 - len(reduced))
    again = _asked_again(obj, protocol)
    if id(function) in wanted:
        yield _found_in(obj, function) or _after(again, "[0]"), function
    for place, child in enumerate(args):
        if id(child) in wanted:
            yield _found_in(obj, child) or _after(again, f"[1][{place}]"), child
    if state is not None:
        yield from _of_state(obj, state, wanted, _after(again, "[2]"))
    if items is not None:
        yield from _of_items(obj, items, wanted)
    if pairs is not None:
        yield from _of_pairs(obj, pairs, wanted)
    if setter is not None and id(setter) in wanted:
        yield _after(again, "[5]"), setter


def _of_state(
    obj: object, state: object, wanted: Container[int], again: Step
) -> Iterator[Child]:
    if type(state) is dict:
        yield from _of_attributes(obj, state, wanted, again)
    elif type(state) is tuple and len(state) == 2 and _are_attributes(*state):
        for place, attributes in enumerate(state):
            here = _after(again, f"[{place}]")
            yield from _of_attributes(obj, attributes or {}, wanted, here)
    elif type(state) is tuple:
        for place, child in enumerate(state):
            if id(child) in wanted:
                yield _found_in(obj, child) or _after(again, f"[{place}]"), child
    elif id(state) in wanted:
        yield _found_in(obj, state) or again, state


def _are_attributes(plain: object, slots: object) -> bool:
    return (plain is None or type(plain) is dict) and type(slots) is dict


def _of_attributes(
    obj: object, attributes: dict[Any, Any], wanted: Container[int], again: Step
) -> Iterator[Child]:
    for position, (name, value) in enumerate(attributes.items()):
        if id(name) in wanted and type(name) is not str:
            yield _joined(again, paths.nth(position)), name
        if id(value) in wanted:
            if value is kept(obj, name):
                yield paths.attribute(obj, name), value
            else:
                yield _joined(again, paths.item(name, position)), value


def _of_items(
    obj: object, items: Iterable[object], wanted: Container[int]
) -> Iterator[Child]:
    lookup = paths.static(type(obj), "__getitem__")
    indexed = lookup is _LIST_ITEM or lookup is _DEQUE_ITEM
    for position, child in enumerate(items):
        if id(child) in wanted:
            yield paths.item(position) if indexed else paths.nth(position), child


def _of_pairs(
    obj: Any, pairs: Iterable[tuple[object, object]], wanted: Container[int]
) -> Iterator[Child]:
    is_dict = issubclass(type(obj), dict)
    plain = paths.static(type(obj), "__getitem__") is _DICT_ITEM
    for position, (key, value) in enumerate(pairs):
        if id(key) in wanted:
            yield paths.nth(position), key
        if id(value) in wanted:
            if plain or not is_dict:
                yield paths.item(key, position), value
            else:
                # Its own items may come in any order.
                values = enumerate(dict.values(obj))
                at = next((at for at, each in values if each is value), position)
                yield Step("list(dict.values(", f"))[{at}]"), value


def kept(obj: Any, name: object) -> object:
    """Return what an object keeps under a name, in its dict or in a slot, or `None`."""
    if issubclass(type(obj), type):
        return paths.namespace(obj).get(name)
    descriptor = paths.static(type(obj), name) if type(name) is str else None
    if paths.is_slot(descriptor):
        return _read(obj, descriptor)
    attributes = attributes_of(obj)
    return None if attributes is None else attributes.get(name)


def attributes_of(obj: object) -> dict[Any, Any] | None:
    """Return the `__dict__` of an object that is no class, if it has one."""
    descriptor = paths.static(type(obj), "__dict__")
    found = _read(obj, descriptor) if paths.is_slot(descriptor) else None
    return found if type(found) is dict else None


def _read(obj: object, descriptor: Any) -> object:
    try:
        return descriptor.__get__(obj)
    except Exception:  # noqa: BLE001  an empty slot, or what C code finds wrong
        return _NOTHING


def _found_in(obj: Any, child: object) -> Step | None:
    """Return the step to a child that can also be asked for without a reduction."""
    if type(obj) is child:
        return Step("type(", ")")
    for base in paths.bases(type(obj)):
        for name, descriptor in paths.namespace(base).items():
            if name == "__dict__" or not paths.is_slot(descriptor):
                continue
            value = _read(obj, descriptor)
            if value is child:
                return paths.attribute(obj, name)
            if type(value) is tuple:  # such as the args of an error
                for position, part in enumerate(value):
                    if part is child:
                        return _after(paths.attribute(obj, name), f"[{position}]")
    if issubclass(type(obj), tuple):
        for position in range(tuple.__len__(obj)):
            if tuple.__getitem__(obj, position) is child:
                return paths.item(position)
    if id(type(child)) in ATOMS:
        return None  # asking classes in C for their dict may make one
    attributes = attributes_of(obj)
    if attributes is child and child is not None:
        return Step("", ".__dict__")
    for name, value in (attributes or {}).items():
        if value is child:
            return paths.attribute(obj, name)
    return None


def _asked_again(obj: object, protocol: int) -> Step:
    """Return the step to a new reduction, whose parts may be made anew each time."""
    if any(kind is type(obj) for kind in copyreg.dispatch_table):
        ask = "(lambda x: __import__('copyreg').dispatch_table[type(x)](x))("
        return Step(ask, ")")
    return Step("", f".__reduce_ex__({protocol})")


def _after(step: Step, text: str) -> Step:
    return Step(step.before, step.after + text)


def _joined(first: Step, second: Step) -> Step:
    return Step(second.before + first.before, first.after + second.after)
