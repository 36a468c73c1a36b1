"""How large an object is in this process: objsize's deep size, without its gaps.

objsize walks what the garbage collector knows and adds what `sys.getsizeof` says.
That leaves out keys of dicts (`gc.get_referents` skips them when all are str), the
elements of object arrays, and memory that only a library knows of: the base of a
view, the storage of a tensor, the buffers of an Arrow column. They are handed to its
walk as further referents.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import BuiltinFunctionType, FrameType, FunctionType, ModuleType
from typing import Any

from ipc_magic.pickling.failures import describe
from ipc_magic.pickling.timing import clock

LOOK_EVERY = 4096  # objects between two looks at the clock
# They refer to nothing, and most objects are of them: they are summed without a walk.
LEAVES = frozenset({bool, bytes, complex, float, int, str})
SHARED = (type, ModuleType, FrameType, BuiltinFunctionType, FunctionType)
_HAVE_GC = 1 << 14  # Py_TPFLAGS_HAVE_GC, CPython's Include/object.h
_GC_HEAD_BYTES = sys.getsizeof([]) - [].__sizeof__()


@dataclass(frozen=True, kw_only=True)
class DeepSize:
    """The size of an object and of all it refers to."""

    deep_size_bytes: int | None
    """Modules, types and functions do not count; `None` if it was not finished."""
    seconds: float
    reason: str | None = None
    """Why it was not finished."""
    out_of_time: bool = False
    """It was not finished because it took longer than it was given."""


class _OutOfTime(Exception):
    pass


def measure(obj: object, *, budget_seconds: float | None = None) -> DeepSize:
    """Walk `obj` and all it refers to, within a time; `None` sets no limit."""
    import objsize

    begin = clock()
    walk = _Walk(None if budget_seconds is None else begin + budget_seconds)
    size, reason, late = None, None, False
    try:
        size = int(
            objsize.get_deep_size(
                obj,
                get_referents_func=walk.referents,
                filter_func=walk.counts,
                get_size_func=walk.size,
            )
        )
        size += walk.leaf_bytes
    except _OutOfTime:
        reason, late = f"not finished in {budget_seconds:g} s", True
    except Exception as error:  # noqa: BLE001 - whatever a lying object raises
        reason = describe(error)
    took = clock() - begin
    return DeepSize(deep_size_bytes=size, seconds=took, reason=reason, out_of_time=late)


class _Memory:
    """Stands for memory that no Python object answers for."""

    def __init__(self, size: int) -> None:
        self.size = size


class _Walk:
    """One walk: its deadline, and the memory of libraries met so far."""

    def __init__(self, deadline: float | None) -> None:
        self.leaf_bytes = 0
        self._leaf_ids: set[int] = set()
        self._deadline = deadline
        self._ways: dict[type, Callable[[Any], Iterable[Any]] | None] = {}
        self._sizes: dict[type, Callable[[Any], int]] = {}
        self._counts: dict[type, bool] = {}
        self._memory: dict[int, _Memory] = {}

    def counts(self, obj: Any) -> bool:
        """Return whether an object belongs to the size; by its true type, and fast."""
        kind = type(obj)
        try:
            return self._counts[kind]
        except KeyError:
            return self._counts.setdefault(kind, not issubclass(kind, SHARED))

    def referents(self, *objs: Any) -> Iterator[Any]:
        """Yield what these objects refer to."""
        for start in range(0, len(objs), LOOK_EVERY):
            some = objs[start : start + LOOK_EVERY]
            yield from self._looking(gc.get_referents(*some))
            for obj in some:
                kind = type(obj)
                try:
                    way = self._ways[kind]
                except KeyError:
                    way = self._ways[kind] = self._way(kind)
                if way is not None:
                    yield from self._looking(_without_error(way, obj))

    def size(self, obj: Any) -> int:
        """Return the memory of the object itself."""
        kind = type(obj)
        try:
            return self._sizes[kind](obj)
        except KeyError:
            size = self._sizes[kind] = _size_of(kind)
            return size(obj)

    def _looking(self, found: Iterable[Any]) -> Iterator[Any]:
        """Sum the leaves and yield the rest; look at the clock now and then."""
        found = iter(found)
        while some := list(islice(found, LOOK_EVERY)):
            if self._deadline is not None and clock() > self._deadline:
                raise _OutOfTime
            if LEAVES.issuperset(map(type, some)):
                self._sum(some)
                continue
            self._sum([obj for obj in some if type(obj) in LEAVES])
            yield from (obj for obj in some if type(obj) not in LEAVES)

    def _sum(self, leaves: list[Any]) -> None:
        by_id = dict(zip(map(id, leaves), leaves, strict=True))
        for known in self._leaf_ids.intersection(by_id):
            del by_id[known]
        self._leaf_ids.update(by_id)
        self.leaf_bytes += sum(map(sys.getsizeof, by_id.values()))

    def _way(self, kind: type) -> Callable[[Any], Iterable[Any]] | None:
        """Return what yields, for objects of a type, what the collector misses."""
        ways: list[Callable[[Any], Iterable[Any]]] = []
        if issubclass(kind, dict):
            ways.append(dict.keys)
        if kind.__dictoffset__:
            ways.append(lambda obj: (obj.__dict__,))
        for module, name, way in self._libraries():
            library = sys.modules.get(module)
            cls = getattr(library, name, None)
            if isinstance(cls, type) and issubclass(kind, cls):
                ways.append(way)
        if not ways:
            return None
        if len(ways) == 1:
            return ways[0]
        return lambda obj: (found for way in ways for found in way(obj))

    def _libraries(self) -> Iterable[tuple[str, str, Callable[[Any], Iterable[Any]]]]:
        """List types of libraries, if these are imported, and ways to their memory."""
        return (
            ("numpy", "ndarray", self._of_array),
            ("pyarrow", "Array", self._of_arrow_array),
            ("pyarrow", "ChunkedArray", lambda obj: obj.chunks),
            ("pyarrow", "RecordBatch", lambda obj: obj.columns),
            ("pyarrow", "Table", lambda obj: obj.columns),
            ("pyarrow", "Buffer", lambda obj: (self._at(obj.address, obj.size),)),
            ("torch", "Tensor", self._of_tensor),
        )

    def _at(self, address: int, size: int) -> _Memory:
        """Return what stands for the memory at an address: the same each time."""
        memory = self._memory.setdefault(address, _Memory(size))
        memory.size = max(memory.size, size)
        return memory

    def _of_array(self, array: Any) -> Iterator[Any]:
        yield from _elements(array)
        base = array.base
        if base is None:
            return
        yield base
        while (below := getattr(base, "base", None)) is not None:
            base = below
        if not _answers_for_memory(base):
            address = array.__array_interface__["data"][0]
            yield self._at(address, array.nbytes)

    def _of_arrow_array(self, array: Any) -> Iterator[Any]:
        for buffer in array.buffers():
            if buffer is not None:
                yield self._at(buffer.address, buffer.size)

    def _of_tensor(self, tensor: Any) -> Iterator[Any]:
        storage = tensor.untyped_storage()
        yield self._at(storage.data_ptr(), storage.nbytes())
        if tensor.grad is not None:
            yield tensor.grad


def _without_error(way: Callable[[Any], Iterable[Any]], obj: Any) -> Iterator[Any]:
    try:
        yield from way(obj)
    except Exception:  # noqa: BLE001 - a weak proxy whose object is gone, a lie
        return


def _elements(array: Any) -> Iterator[Any]:
    """Yield the objects in an array: of object dtype, or with such fields."""
    if array.dtype.kind == "O":
        yield from array.flat
    elif array.dtype.hasobject:
        for name in array.dtype.names or ():
            yield from _elements(array[name])


def _answers_for_memory(base: Any) -> bool:
    """Return whether the size of an array's last base has the array's memory in it."""
    if isinstance(base, (bytes, bytearray, memoryview)):
        return True
    return type(base).__name__ in {"ndarray", "array"}


def _size_of(kind: type) -> Callable[[Any], int]:
    """Return what measures objects of a type alone.

    The `__sizeof__` of pandas, Arrow and of people's classes add what the walk comes
    to by itself, or anything: only methods of the interpreter and numpy are called.
    """
    if kind is _Memory:
        return lambda memory: int(memory.size)
    passed = False
    for cls in kind.__mro__:
        method = vars(cls).get("__sizeof__")
        if method is None:
            continue
        if isinstance(method, FunctionType) or cls.__module__.startswith("pyarrow"):
            passed = True
        elif passed:
            head = _GC_HEAD_BYTES if kind.__flags__ & _HAVE_GC else 0
            return lambda obj: int(method(obj)) + head
        else:
            break
    return sys.getsizeof
