"""Which values pickle writes all by itself, so that it can be let loose on them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from ipc_magic.process import looking
from ipc_magic.process.budget import Budget

LEAVES = looking.ids(str, bytes, bytearray, int, float, bool, type(None))
"""The ids of classes that it writes without asking `copyreg`, or the value."""
INNER = looking.ids(list, tuple, dict)
"""The ids of classes that hold others in an order that tells something."""
_DICT = id(dict)
_NESTED = 40


def is_plain(value: Any, budget: Budget) -> bool:
    """Return whether `value` holds nothing but those; whole levels are looked at.

    Raises `budget.TooLarge` or `TooLong`.
    """
    level, kinds = [value], {id(type(value))}
    for _ in range(_NESTED):
        within: list[Callable[[], Iterable[Any]]] = []
        for kind in kinds:
            ones = level
            if len(kinds) > 1:
                ones = [each for each in level if id(type(each)) == kind]
            budget.take(sum(map(len, ones)))
            within.append(functools.partial(chain.from_iterable, ones))
            if kind == _DICT:
                within.append(functools.partial(_values_of, ones))
        found = set().union(*(map(id, map(type, values())) for values in within))
        kinds = found - LEAVES
        if not kinds:
            return True
        if not kinds <= INNER:
            return False
        level = [each for values in within for each in values()]
        if kinds != found:
            level = [each for each in level if id(type(each)) in kinds]
    return False


def _values_of(dicts: Iterable[dict[Any, Any]]) -> Iterable[Any]:
    return chain.from_iterable(map(dict.values, dicts))
