"""What an object is, in a few words that claim no more than was looked at.

No code of the object's class runs here: types are what CPython has, lengths what
the built-in types say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

# More elements than this are not looked at.
MOST_ELEMENTS = 1000

_name: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_module: Callable[[type], object] = type.__dict__["__module__"].__get__
_SEQUENCES = (list, tuple, set, frozenset)
_SIZED = (str, bytes, bytearray)


def type_name(kind: type) -> str:
    """Return the name of a type, with its module if that is not `builtins`."""
    try:
        module = _module(kind)
    except AttributeError:
        module = None
    if type(module) is not str or module in ("builtins", "__main__"):
        return _name(kind)
    return f"{module}.{_name(kind)}"


def describe(obj: object, elements: Iterable[type] | None = None) -> str:
    """Return what `obj` is: "list of 12,000,000 str", "ndarray, 1,000,000 f8".

    `elements` are the types of all of its elements, of the keys and values of a
    dict in turn, where they are known; else some elements are looked at, and where
    those are not all the words say so.
    """
    kind: Any = type(obj)
    if kind is dict:
        return _dict(obj, elements)  # type: ignore[arg-type]
    if kind in _BUILT_IN:
        count: int = kind.__len__(obj)
        if kind in _SIZED:
            return f"{kind.__name__}, {count:,}"
        return _elements(kind.__name__, obj, count, elements)  # type: ignore[arg-type]
    return _array(obj) or _name(kind)


class _ByIdentity:
    """Membership that asks no metaclass for `==` or `hash`."""

    def __init__(self, *kinds: type) -> None:
        self._ids = frozenset(map(id, kinds))

    def __contains__(self, kind: object) -> bool:
        return id(kind) in self._ids


_BUILT_IN = _ByIdentity(*_SEQUENCES, *_SIZED)


def _elements(
    name: str, obj: Iterable[object], count: int, known: Iterable[type] | None
) -> str:
    if not count:
        return f"empty {name}"
    looked_at = count
    if known is None:
        looked_at = min(count, MOST_ELEMENTS)
        known = [
            type(element) for element, _ in zip(obj, range(looked_at), strict=False)
        ]
    kinds = _names(known)
    if looked_at < count:
        return f"{name} of {count:,}, the first {looked_at:,} {kinds}"
    return f"{name} of {count:,} {kinds}"


def _dict(obj: dict[Any, Any], known: Iterable[type] | None) -> str:
    count = len(obj)
    if not count:
        return "empty dict"
    looked_at = count
    if known is None:
        looked_at = min(count, MOST_ELEMENTS)
        pairs = [
            pair for pair, _ in zip(dict.items(obj), range(looked_at), strict=False)
        ]
        known = [type(one) for pair in pairs for one in pair]
    kinds = list(known)
    words = f"{_names(kinds[::2])} -> {_names(kinds[1::2])}"
    if looked_at < count:
        return f"dict of {count:,}, the first {looked_at:,} {words}"
    return f"dict of {count:,} {words}"


def _names(kinds: Iterable[type]) -> str:
    different = {id(kind): kind for kind in kinds}
    if len(different) > 2:
        return f"objects of {len(different)} types"
    return " and ".join(_name(kind) for kind in different.values())


def _array(obj: object) -> str | None:
    # Only the type itself: a subclass may compute these.
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and type(obj) is getattr(numpy, "ndarray", None):
        array: Any = obj
        shape = " x ".join(f"{n:,}" for n in array.shape) or "1"
        return f"ndarray, {shape} {array.dtype.str.lstrip('<>|=')}"
    return None
