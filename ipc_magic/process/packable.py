"""Whether pickling some values can run code of the person's, at a glance."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any


def surely_packable(values: Mapping[str, Any], budget: int = 10_000) -> bool:
    """Return whether pickling runs no code of the person's.

    A container of a million texts is looked at as a whole; at most `budget` values
    that lie in others are looked at one by one.
    """
    todo = list(values.values())
    while todo:
        value = todo.pop()
        kind = type(value)
        try:
            if kind in _CONTAINERS:
                todo += _not_leaves(value)
            elif kind is dict:
                todo += _not_leaves(value)
                todo += _not_leaves(value.values())
            elif not (kind in _LEAVES or _is_plain_array(value)):
                return False
        except RuntimeError:
            return False  # a thread changes it meanwhile
        budget -= 1
        if budget < len(todo):
            return False
    return True


def _not_leaves(items: Iterable[Any]) -> list[Any]:
    if _LEAVES.issuperset(map(type, items)):
        return []
    return [item for item in items if type(item) not in _LEAVES]


_CONTAINERS = (list, tuple, set, frozenset)
_LEAVES = frozenset(
    {str, bytes, bytearray, int, float, complex, bool, type(None)},
)


def _is_plain_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return (
        numpy is not None
        and type(value) is numpy.ndarray
        and not value.dtype.hasobject
        and type(value.dtype).__module__.startswith("numpy")
    )
