"""What `__reduce_ex__` gives: whether pickle takes it, and what of it to keep."""

from __future__ import annotations

import collections
import copyreg
import io
import pickle
import types
from collections.abc import Callable, Container, Mapping
from typing import Any, TypeAlias

from ipc_magic.pickling import paths

Reduced: TypeAlias = tuple[Any, ...]

# What holds no other object. By identity: a metaclass may define `==` and `hash`.
ATOMS = frozenset(
    map(id, (type(None), bool, int, float, complex, str, bytes, bytearray))
)
# Longer buffers in a reduction are made for it: to keep them would double them.
LONGEST_KEPT_BYTES = 1024
_BUFFERS = frozenset(map(id, (str, bytes, bytearray, pickle.PickleBuffer)))
_NEWOBJ = vars(copyreg)["__newobj__"]
_MISSING = object()
_BY_DEFAULT = {
    name: object.__dict__.get(name, _MISSING)
    for name in (
        "__reduce_ex__",
        "__reduce__",
        "__getstate__",
        "__class__",
        "__getattribute__",
        "__getattr__",
        "__getnewargs__",
        "__getnewargs_ex__",
    )
}
_BASIC_BYTES = object.__basicsize__
_POINTER_BYTES = tuple.__itemsize__
_SIZES = [
    type.__dict__[name].__get__
    for name in ("__basicsize__", "__itemsize__", "__dictoffset__", "__weakrefoffset__")
]


def plain_getter(
    kind: type, table: Mapping[type, object]
) -> Callable[[Any], dict[Any, Any]] | None:
    """Return what gets the `__dict__` of objects that are saved as just that.

    `None` for a class in which anything else may come of `object.__reduce_ex__`:
    these are its own conditions (`reduce_newobj`, `object_getstate_default`).
    """
    basic, item, dict_offset, weakref_offset = (size(kind) for size in _SIZES)
    pointers = (dict_offset != 0) + (weakref_offset != 0)
    if item or basic > _BASIC_BYTES + pointers * _POINTER_BYTES:
        return None
    if kind in table:
        return None
    for name, by_default in _BY_DEFAULT.items():
        if paths.static(kind, name, _MISSING) is not by_default:
            return None
    for base in paths.bases(kind):
        slots = paths.namespace(base).get("__slots__", ())
        if type(slots) is not tuple or slots:
            return None
    descriptor = paths.static(kind, "__dict__", None)
    return descriptor.__get__ if paths.is_slot(descriptor) else None


def is_honest(kind: type) -> bool:
    """Say whether `__class__` of a class's objects is what they are."""
    return paths.static(kind, "__class__") is object.__dict__["__class__"]


def is_ordinary(kind: type, reduced: Any) -> bool:
    """Say whether a reduction is what most are: a new object, and a dict for it.

    There is nothing to refuse in it, and nothing to leave out.
    """
    return (
        type(reduced) is tuple
        and len(reduced) == 5
        and reduced[0] is _NEWOBJ
        and type(reduced[2]) is dict
        and reduced[3] is None
        and reduced[4] is None
        and type(reduced[1]) is tuple
        and len(reduced[1]) == 1
        and reduced[1][0] is kind
    )


def is_unusual(kind: type, honest: bool, reduced: object) -> bool:
    """Say whether pickle may refuse a reduction, or can iterate it only once."""
    if type(reduced) is not tuple or len(reduced) < 2 or _has_items(reduced):
        return True
    function, args = reduced[0], reduced[1]
    if type(args) is not tuple:
        return True
    if function is _NEWOBJ:
        return not honest or not args or args[0] is not kind
    made_by = type(function)
    if made_by is types.FunctionType:
        return bool(function.__name__.startswith("__newobj"))
    return made_by is not type and made_by is not types.BuiltinFunctionType


def _has_items(reduced: Reduced) -> bool:
    # `object.__reduce_ex__` gives five parts, of which the last are `None`.
    size = len(reduced)
    return size > 3 and (
        size > 5 or reduced[3] is not None or (size > 4 and reduced[4] is not None)
    )


def repeatable(obj: object, reduced: object) -> Any:
    """Return the reduction with items that can be iterated again and again.

    Raises whatever an iterator of the user's raises.
    """
    if type(reduced) is not tuple or not _has_items(reduced):
        return reduced
    parts = list(reduced)
    if _is_iterator(parts[3]):
        own = paths.static(type(obj), "__iter__", None)
        same = own is list.__dict__["__iter__"] or type(obj) is collections.deque
        parts[3] = _Again(obj if same else list(parts[3]), same)
    if len(parts) > 4 and _is_iterator(parts[4]):
        own = paths.static(type(obj), "items", None)
        same = own is _DICT_ITEMS or own is _ORDERED_ITEMS
        parts[4] = _Again(own(obj) if same else list(parts[4]), same)
    return tuple(parts)


_DICT_ITEMS = dict.__dict__["items"]
_ORDERED_ITEMS = collections.OrderedDict.__dict__["items"]


def _is_iterator(value: object) -> bool:
    return value is not None and paths.has(type(value), "__next__")


class _Again:
    """Items in the place of an iterator over them."""

    def __init__(self, items: Any, are_sound: bool) -> None:
        self._items = items
        self.are_sound = are_sound

    def __iter__(self) -> Any:
        return iter(self._items)


def renewed(reduced: Any) -> Any:
    """Return a reduction as pickle wants it, with iterators that start anew."""
    if type(reduced) is not tuple or not _has_items(reduced):
        return reduced
    return tuple(iter(part) if type(part) is _Again else part for part in reduced)


class _Trial(pickle.Pickler):
    """Saves one object and nothing below it: only its reduction is looked at."""

    def __init__(self, obj: object, reduced: object, protocol: int) -> None:
        super().__init__(io.BytesIO(), protocol)
        self._obj = obj
        self._reduced = reduced

    def persistent_id(self, obj: object) -> str | None:
        return None if obj is self._obj else "0"

    def reducer_override(self, obj: object) -> Any:
        return self._reduced


def check(obj: object, reduced: Any, protocol: int) -> None:
    """Raise what pickle would raise about this reduction of `obj`."""
    if type(reduced) is tuple:
        sound = [type(part) is _Again and part.are_sound for part in reduced]
        reduced = tuple(
            iter(()) if is_sound else part
            for part, is_sound in zip(reduced, sound, strict=True)
        )
    _Trial(obj, renewed(reduced), protocol).dump(obj)


def leads_on(reduced: Any, by_name: Container[int], only_here: Container[int]) -> bool:
    """Say whether there is more below a reduction than atoms and importable names."""
    if type(reduced) is not tuple:
        return False
    if _has_items(reduced):
        return True
    function, args = reduced[0], reduced[1]
    if id(function) not in by_name or id(function) in only_here:
        return True
    for arg in args:
        if id(type(arg)) not in ATOMS and (
            id(arg) not in by_name or id(arg) in only_here
        ):
            return True
    return len(reduced) > 2 and reduced[2] is not None


def thin(reduced: Reduced) -> Reduced:
    """Return a reduction without the long buffers that were made for it."""
    if not _any_long(reduced[1]) and (len(reduced) < 3 or not _any_long(reduced[2])):
        return reduced
    return tuple(
        tuple(None if _is_long(part) else part for part in parts)
        if type(parts) is tuple
        else parts
        for parts in reduced
    )


def _any_long(parts: object) -> bool:
    if type(parts) is tuple:
        for part in parts:
            if id(type(part)) in _BUFFERS and _is_long(part):
                return True
    return False


def _is_long(value: Any) -> bool:
    kind = id(type(value))
    if kind == id(pickle.PickleBuffer):
        return True
    return kind in _BUFFERS and len(value) > LONGEST_KEPT_BYTES
