"""One pass of the C pickler, recorded: each object it saves, where, and how deep.

The pickler calls `persistent_id` with every object it is about to save. What is
called is a generator's `send`, which costs half of what a function does, and the
two numbers go as raw bytes from the interpreter's memory into files in memory: no
Python number is made for any object. These files stay small, so that they stay in
the processor's caches: what is in them is put aside a block at a time.
"""

from __future__ import annotations

import ctypes
import gc
import io
import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import repeat
from typing import Any, NamedTuple

from ipc_magic.pickling import words
from ipc_magic.pickling.picklers import Pickling

# What CPython's pickler hands to the file by itself instead of copying it first:
# FRAME_SIZE_TARGET in Modules/_pickle.c, `_FRAME_SIZE_TARGET` in pickle.py.
LARGE_BYTES = 64 * 1024
# What our own calls add to the depth of an object that is just not too deep.
_OWN_DEPTH = 50
# So many objects make a block.
_BLOCK = 1 << 14


class Write(NamedTuple):
    """One call of the file's `write`."""

    entered: int
    """How many objects had been saved or begun."""
    size: int
    data: bytes | None
    """What was written; `None` for the contents of a large object."""


class Recording(NamedTuple):
    """What one pass of the pickler left."""

    objects: list[Any]
    """What was saved, in order; an object that is saved again stands here again."""
    lengths: list[Any]
    """For each object the length of the pickler's buffer, in arrays of blocks."""
    depths: list[Any]
    """For each object the depth of calls in C, the same; it may count down."""
    writes: list[Write]


class _Numbers:
    """Numbers that come as raw bytes, put aside in arrays of blocks."""

    def __init__(self, kind: Any) -> None:
        self.blocks: list[Any] = []
        self._kind = kind
        self._file = io.BytesIO()
        self.write = self._file.write

    def put_aside(self) -> None:
        """Make an array of what was written, and begin anew."""
        import numpy as np

        self._file.truncate()
        with self._file.getbuffer() as view:
            self.blocks.append(np.frombuffer(view, self._kind).copy())
        self._file.seek(0)


class _File:
    """Keeps what is written, besides the contents of large objects."""

    def __init__(self, objects: list[Any]) -> None:
        self.writes: list[Write] = []
        self._objects = objects

    def write(self, data: Any) -> None:
        entered = len(self._objects)
        size = len(data) if type(data) is bytes else memoryview(data).nbytes
        # Nothing else writes so much after a write without an object in between:
        # what stands there are ends of containers, at most one for each level.
        contents = size >= LARGE_BYTES and bool(
            self.writes and self.writes[-1].entered == entered
        )
        self.writes.append(Write(entered, size, None if contents else data))


def possible(pickling: Pickling) -> bool:
    """Say whether this interpreter's pickler can be recorded."""
    return (
        pickling.in_c
        and words.position_offset() is not None
        and words.depth_offset() is not None
    )


def record(obj: object, pickling: Pickling) -> Recording:
    """Pickle `obj` and return the recording. Errors of the pickling are the user's."""
    at, deep = words.position_offset(), words.depth_offset()
    assert at is not None
    assert deep is not None
    objects: list[Any] = []
    lengths, depths = _Numbers(ctypes.c_ssize_t), _Numbers(ctypes.c_int)
    file = _File(objects)
    noting = _note(objects, lengths, depths)
    next(noting)
    pickler = pickling.pickler(file, persistent_id=noting.send)
    length = words.word(id(pickler) + at, ctypes.c_ssize_t)
    depth = words.word(words.thread_state() + deep, ctypes.c_int)
    noting.send((length, depth))
    with undisturbed():
        pickler.dump(obj)
    noting.close()
    lengths.put_aside()
    depths.put_aside()
    return Recording(objects, lengths.blocks, depths.blocks, file.writes)


def _note(
    objects: list[Any], lengths: _Numbers, depths: _Numbers
) -> Generator[None, Any, None]:
    put_length, put_depth = lengths.write, depths.write
    length, depth = yield
    while True:
        for _ in repeat(None, _BLOCK):
            objects.append((yield))
            put_length(length)
            put_depth(depth)
        lengths.put_aside()
        depths.put_aside()


@contextmanager
def undisturbed(times: int = 1) -> Generator[None, None, None]:
    """Give our own calls the room they take, and keep the collector out of them.

    `times` is how many calls of Python there are for one of the pickler in C. From
    Python 3.12 on calls in C have a limit of their own, which nothing raises: there
    an object that is just not too deep, by 3 levels at most, is too deep for us.
    """
    limit, collecting = sys.getrecursionlimit(), gc.isenabled()
    gc.disable()
    sys.setrecursionlimit(times * limit + _OWN_DEPTH)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
        if collecting:
            gc.enable()
