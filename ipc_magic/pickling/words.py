"""Where CPython's pickler keeps its position, and a thread how deep it is nested.

Both are numbers in memory that no interface shows. Which words they are is found by
watching all of them through a pickle whose positions and depths are known; where
not exactly one word behaves so, there is no answer.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from typing import Any

from ipc_magic.pickling.counting import Counting
from ipc_magic.pickling.picklers import Pickling

# The known pickle, protocol 3: each object with its position and depth, as the
# documented sizes of the opcodes have it (pickletools). A list takes 4 bytes up to
# its first item: EMPTY_LIST, BINPUT and its argument, MARK; with one item no MARK.
_LONG = b"y" * 300
_KNOWN = [b"x" * 10, [_LONG, [0.5, 1.5]], [[None, 2.5]]]
_POSITIONS = (2, 6, 20, 24, 331, 335, 344, 355, 358, 362, 363)
_DEPTHS = (0, 1, 1, 2, 2, 3, 3, 1, 2, 3, 3)
# The fields that are wanted come early, and the struct is longer than this in every
# Python there is.
_THREAD_BYTES = 128
_WORD = ctypes.sizeof(ctypes.c_ssize_t)


@functools.cache
def position_offset() -> int | None:
    """Return where in a C pickler the length of its buffer is, in bytes."""
    pickling = Pickling(name="pickle", protocol=3)
    if not pickling.in_c:
        return None
    size = type(pickling.pickler(Counting())).__basicsize__ // _WORD * _WORD
    seen = _watch(pickling, id, size, ctypes.c_ssize_t)
    return _only(seen, [list(_POSITIONS)])


@functools.cache
def depth_offset() -> int | None:
    """Return where in the state of a thread the depth of calls in C is, in bytes.

    What is below an object is deeper than it by 1 or 2, by the kind of the object:
    a list calls twice. The number counts up or down, by the version of Python.
    """
    pickling = Pickling(name="pickle", protocol=3)
    if not pickling.in_c:
        return None
    seen = _watch(pickling, lambda _: thread_state(), _THREAD_BYTES, ctypes.c_int)
    relative = {at: [n - values[0] for n in values] for at, values in seen.items()}
    each = (1, -1, 2, -2)
    return _only(relative, [[n * depth for depth in _DEPTHS] for n in each])


def thread_state() -> int:
    """Return the address of this thread's state."""
    ask = ctypes.pythonapi["PyThreadState_Get"]  # not the shared attribute of it
    ask.restype = ctypes.c_void_p
    ask.argtypes = []
    return int(ask())


def word(address: int, kind: Any) -> memoryview:
    """Return a view of the number at an address, in bytes; it stays current."""
    return memoryview((kind * 1).from_address(address)).cast("B")


def _watch(
    pickling: Pickling, address: Any, size: int, kind: Any
) -> dict[int, list[int]]:
    """Return what each word of a memory was at each object of the known pickle."""
    readings: list[list[int]] = []
    start = size  # of reading: set below, once there is a pickler

    def note(_: object) -> None:
        readings.append(
            list((kind * (size // ctypes.sizeof(kind))).from_address(start))
        )

    pickler = pickling.pickler(Counting(), persistent_id=note)
    start = address(pickler)
    pickler.dump(_KNOWN)
    step = ctypes.sizeof(kind)
    return {
        n * step: list(values) for n, values in enumerate(zip(*readings, strict=True))
    }


def _only(seen: dict[int, list[int]], wanted: list[list[int]]) -> int | None:
    found: Iterator[int] = (at for at, values in seen.items() if values in wanted)
    first = next(found, None)
    return first if next(found, None) is None else None
