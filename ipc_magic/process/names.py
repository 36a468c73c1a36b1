"""The notebook's names as they were before a cell, and which it bound, and deleted."""

from __future__ import annotations

import re
import weakref
from collections.abc import Container, Iterator, Mapping
from typing import Any

from ipc_magic.process import looking

# What IPython binds as cells run: inputs, outputs, their numbers, the last exit code.
_OF_IPYTHON = re.compile(
    r"_{1,3}|_i{1,3}|_i?\d+|_[iod]h|_exit_code|_sh|In|Out|__\w+__", re.ASCII
)
_LARGE = 1000
_TEXTS = looking.ids(str, bytes, bytearray)
_HOLDERS = looking.ids(list, dict, tuple)


def of_person(
    names: Mapping[str, Any], hidden: Container[str]
) -> Iterator[tuple[str, Any]]:
    """Yield the names that the person has bound, with their values.

    `hidden` holds those that the shell had from the beginning; one that is bound to
    something else now is the person's.
    """
    for name, value in dict(names).items():  # a thread may bind one meanwhile
        if type(name) is not str or _OF_IPYTHON.fullmatch(name):
            continue
        if name in hidden:
            first = hidden.get(name, value) if isinstance(hidden, dict) else value
            if first is value:
                continue
        yield name, value


class Snapshot:
    """Which object each name is bound to, to be compared with later.

    What the code lets go of ends in its time, with whatever its end brings about, and
    its memory is free: of most objects there is a weak reference, of lists, dicts and
    tuples, which take none, the id. With `keep` they are kept all the same, so that no
    new one gets the id of one that is gone, until `let_go`.
    """

    def __init__(self, names: Mapping[str, Any], *, keep: bool) -> None:
        self._objects = {name: _held(value, keep) for name, value in names.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._objects

    def is_same(self, name: str, value: object) -> bool:
        """Return whether `name` was bound to `value`."""
        how, held = self._objects[name]
        if how is weakref.ref:
            return held() is value
        return held == id(value) if how is id else held is value

    def let_go(self) -> None:
        """Keep nothing any more: files among it are flushed as they are closed."""
        self._objects.clear()

    def deleted(self, names: Container[str]) -> list[str]:
        """List the names that are not among `names` any more."""
        return [name for name in self._objects if name not in names]


def _held(value: Any, keep: bool) -> tuple[Any, Any]:
    kind = id(type(value))
    if kind in _HOLDERS or (kind in _TEXTS and len(value) >= _LARGE):
        return (None, value) if keep else (id, id(value))
    try:
        return weakref.ref, weakref.ref(value)
    except TypeError:
        return None, value
