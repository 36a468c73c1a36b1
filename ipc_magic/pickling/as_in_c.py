"""The pickler in pure Python, writing byte for byte what the one in C writes.

They differ in the batches of large containers: C writes one more, empty, after full
ones of a dict or set, and MARK and APPENDS also around a last single item. And dill,
once imported, puts its own ways of saving into the table of the one in Python.
"""

from __future__ import annotations

import pickle
import types
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

_BATCH = 1000
# The type checker knows the names of the one in C only.
_Pickler: Any = vars(pickle)["_Pickler"]


class AsInC(_Pickler):  # type: ignore[misc]
    """`pickle.Pickler` in Python: its `save` can be overridden."""

    def save_list(self, obj: list[Any]) -> None:
        """Save a list: batches as long as there are items."""
        if self.proto == 0:
            _Pickler.save_list(self, obj)
            return
        self.write(pickle.EMPTY_LIST)
        self.memoize(obj)
        if len(obj) == 1:
            self.save(obj[0])
            self.write(pickle.APPEND)
            return
        for at in range(0, len(obj), _BATCH):
            self._batch(obj[at : at + _BATCH], pickle.APPENDS)

    def save_dict(self, obj: dict[Any, Any]) -> None:
        """Save a dict: batches until one is not full."""
        if self.proto == 0:
            _Pickler.save_dict(self, obj)
            return
        self.write(pickle.EMPTY_DICT)
        self.memoize(obj)
        if len(obj) == 1:
            for one in (*obj, *obj.values()):
                self.save(one)
            self.write(pickle.SETITEM)
        elif obj:
            flat = (one for pair in obj.items() for one in pair)
            self._until_not_full(flat, 2 * _BATCH, pickle.SETITEMS)

    def save_set(self, obj: set[Any]) -> None:
        """Save a set: batches until one is not full."""
        if self.proto < 4:
            _Pickler.save_set(self, obj)
            return
        self.write(pickle.EMPTY_SET)
        self.memoize(obj)
        if obj:
            self._until_not_full(iter(obj), _BATCH, pickle.ADDITEMS)

    def _until_not_full(self, items: Iterator[Any], size: int, code: bytes) -> None:
        while self._batch(islice(items, size), code) == size:
            pass

    def _batch(self, items: Iterable[Any], code: bytes) -> int:
        count = 0
        self.write(pickle.MARK)
        for item in items:
            self.save(item)
            count += 1
        self.write(code)
        return count

    dispatch = {  # noqa: RUF012
        type(None): _Pickler.save_none,
        bool: _Pickler.save_bool,
        int: _Pickler.save_long,
        float: _Pickler.save_float,
        bytes: _Pickler.save_bytes,
        bytearray: _Pickler.save_bytearray,
        pickle.PickleBuffer: _Pickler.save_picklebuffer,
        str: _Pickler.save_str,
        tuple: _Pickler.save_tuple,
        frozenset: _Pickler.save_frozenset,
        types.FunctionType: _Pickler.save_global,
        type: _Pickler.save_type,
        list: save_list,
        dict: save_dict,
        set: save_set,
    }
