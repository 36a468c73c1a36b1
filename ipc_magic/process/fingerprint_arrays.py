"""What arrays, frames and indexes hold, as parts that can be compared.

Only classes of numpy and pandas themselves are taken: a subclass may be the person's.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from typing import Any

from ipc_magic.process import looking

_PIECE_BYTES = 1 << 18  # a copy of it stays in the cache of the CPU
Take = Callable[[int, int], None]
"""Uses up items and bytes of what may be looked at."""


def knows(kind: type) -> bool:
    """Return whether values of this class are arrays, frames or indexes."""
    return _reader(kind) is not None


def parts(value: Any, take: Take) -> list[Any] | None:
    """Return what such a value holds, `None` if that cannot be looked at."""
    read = _reader(type(value))
    return None if read is None else read(value, take)


def _reader(kind: type) -> Callable[[Any, Take], list[Any] | None] | None:
    if numpy := sys.modules.get("numpy"):
        if kind is getattr(numpy, "ndarray", None):
            return _of_array
        if id(kind) in _scalar_kinds(numpy):
            return lambda value, _take: [value.dtype.str, value.tobytes()]
    if (pandas := sys.modules.get("pandas")) and hasattr(pandas, "arrays"):
        frames, indexes, arrays = _pandas_kinds(pandas)
        if id(kind) in frames:
            return lambda value, _take: _of_frame(value)
        if id(kind) in indexes:
            return lambda value, _take: _of_index(value)
        if id(kind) in arrays:
            return _of_extension_array
    return None


def shape(value: Any, kind: type) -> list[Any] | None:
    """Return what is seen at a glance of a frame too large to be looked through."""
    pandas = sys.modules.get("pandas")
    if pandas is None or kind is not getattr(pandas, "DataFrame", None):
        return None
    return [len(axis) for axis in value.__dict__["_mgr"].axes]


@functools.lru_cache(maxsize=1)
def _scalar_kinds(numpy: Any) -> frozenset[int]:
    kinds = {*numpy.sctypeDict.values()} - {numpy.void, numpy.object_}
    return looking.ids(*kinds)


@functools.lru_cache(maxsize=1)
def _pandas_kinds(pandas: Any) -> tuple[frozenset[int], ...]:
    """Return the ids of the classes of frames, of indexes and of columns."""
    indexes = {
        kind
        for name, kind in vars(pandas).items()
        if name.endswith("Index") and isinstance(kind, type)
    }
    arrays = {kind for kind in vars(pandas.arrays).values() if isinstance(kind, type)}
    arrays.add(pandas.Categorical)
    frames = looking.ids(pandas.DataFrame, pandas.Series)
    return frames, looking.ids(*indexes), looking.ids(*arrays)


def _of_array(array: Any, take: Take) -> list[Any] | None:
    if not type(array.dtype).__module__.startswith("numpy"):
        return None  # a dtype of the person's
    if not _is_private(array):
        return None  # what a child writes there, its parent reads
    head = [array.shape, array.strides, *_of_dtype(array.dtype)]
    if array.dtype.hasobject:
        if array.dtype.names is not None:
            return None
        take(array.size, 0)
        return [*head, array.ravel("K").tolist()]
    if array.nbytes == 0:
        return head
    take(0, array.nbytes)
    # Views, but where the array has gaps: then its bytes are copied.
    flat = array.ravel("K").view("u1")
    return [*head, *_hashes(flat)]


def _hashes(flat: Any) -> list[int]:
    """Return Python's own hashes of the bytes of a flat array, piece by piece.

    They have 64 bits and a key that the fork hands on, and take a third of the time
    of a cryptographic hash.
    """
    starts = range(0, flat.size, _PIECE_BYTES)
    return [hash(flat[at : at + _PIECE_BYTES].tobytes()) for at in starts]


def _is_private(array: Any) -> bool:
    """Return whether the memory of an array is surely shared with no other process."""
    holder = array
    while type(holder) is type(array) and holder.base is not None:
        holder = holder.base
        if type(holder) is memoryview:
            holder = holder.obj
    return any(type(holder) is kind for kind in (type(array), bytes, bytearray))


def _of_dtype(dtype: Any) -> list[Any]:
    """Return what a dtype says of the bytes; its metadata may hold anything."""
    if dtype.subdtype is not None:
        inner, shape = dtype.subdtype
        return [shape, *_of_dtype(inner)]
    if dtype.names is None:
        return [dtype.str]
    fields = [(dtype.fields[name], name) for name in dtype.names]
    described = [(name, field[1], _of_dtype(field[0])) for field, name in fields]
    return [dtype.itemsize, described]


def _of_frame(value: Any) -> list[Any] | None:
    held = value.__dict__
    manager = held["_mgr"]
    if not hasattr(manager, "blocks"):
        return None
    # By columns: pandas puts those of one type together when it is read.
    columns: dict[int, Any] = {}
    for block in manager.blocks:
        values = block.values
        for row, position in enumerate(block.mgr_locs.as_array.tolist()):
            columns[position] = _column(values, row)
    found = [columns[position] for position in sorted(columns)]
    return [*manager.axes, held.get("_name"), held.get("_attrs"), *found]


def _column(values: Any, row: int) -> Any:
    """Return one column of a block, which has several or the one."""
    if values.ndim == 1:
        return values
    inner = getattr(values, "_ndarray", None)
    return values[row] if inner is None else [type(values).__name__, inner[row]]


def _of_index(index: Any) -> list[Any] | None:
    held = index.__dict__
    if "_range" in held:
        return [held["_range"], held.get("_name")]
    if "_data" in held:
        return [held["_data"], held.get("_name")]
    if "_levels" in held:
        names = [*list.__iter__(held["_names"])]
        return [*list.__iter__(held["_levels"]), *list.__iter__(held["_codes"]), names]
    return None


def _of_extension_array(array: Any, take: Take) -> list[Any] | None:
    if (inner := getattr(array, "_ndarray", None)) is not None:
        dtype: Any = getattr(array, "_dtype", None)
        if hasattr(dtype, "categories"):
            return [inner, dtype.categories, bool(dtype.ordered)]
        # Time zones among others: each has one dtype for as long as it lives.
        return [inner, str(dtype) if hasattr(dtype, "itemsize") else id(dtype)]
    if hasattr(array, "_mask") and hasattr(array, "_data"):
        return [array._data, array._mask]
    chunked = getattr(array, "_pa_array", None)
    return None if chunked is None else _of_arrow(chunked, take)


def _of_arrow(chunked: Any, take: Take) -> list[Any]:
    found = [str(chunked.type), len(chunked)]
    for chunk in chunked.chunks:
        found += [chunk.offset, len(chunk)]
        for buffer in chunk.buffers():
            size = 0 if buffer is None else buffer.size
            take(1, size)
            data = hashlib.blake2b(buffer or b"", digest_size=16)
            found.append(data.digest())
    return found
