"""Watching a pickler in pure Python: the begin and end of every `save`.

Some twenty times slower than the pickler in C, and right with any pickler that can
be subclassed: dill's is in Python, and so are all on interpreters without `_pickle`.
"""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

from ipc_magic.errors import IpcMagicError
from ipc_magic.pickling.picklers import Pickling, in_python
from ipc_magic.pickling.recording import LARGE_BYTES, undisturbed

# `save` and what it calls, and ours around it.
_CALLS_A_LEVEL = 5


class Watched(NamedTuple):
    """What `save` was called with, in order, and the places of its begin and end."""

    objects: list[Any]
    start: list[int]
    end: list[int]
    depth: list[int]
    stream: list[bytes]
    """The bytes, without headers of frames and contents of large objects."""
    cuts: list[tuple[int, int]]


class _File:
    """Keeps what is written, besides headers of frames and large contents."""

    def __init__(self, watched: Watched, *, framed: bool) -> None:
        self._watched = watched
        self._framed = framed
        self.size = 0

    def write(self, data: Any) -> None:
        # A frame comes as a view of its buffer, after a write of its header alone.
        if self._framed and len(data) == 9 and data[:1] == pickle.FRAME:
            self._watched.cuts.append((self.size, 9))
        elif type(data) is not memoryview and len(data) >= LARGE_BYTES:
            self._watched.cuts.append((self.size - 1, memoryview(data).nbytes))
        else:
            self._watched.stream.append(bytes(data))
            self.size += len(data)


def watch(obj: object, pickling: Pickling) -> Watched:
    """Pickle `obj` in Python and return what was seen.

    Raises `IpcMagicError` where there is no pickler in Python of that name.
    """
    base = in_python(pickling.name)
    if not hasattr(base, "save"):
        raise IpcMagicError(
            f"where the bytes of a pickle are cannot be seen with {pickling.name} "
            "on this Python; --pickler pickle can"
        )
    watched = Watched([], [], [], [], [], [])
    objects, start, end, depth = watched[:4]
    file = _File(watched, framed=pickling.protocol >= 4)
    level = 0

    def place(pickler: Any) -> int:
        frame = pickler.framer.current_frame
        return file.size + (frame.tell() if frame else 0)

    def save(pickler: Any, obj: object, *args: Any, **options: Any) -> None:
        nonlocal level
        number = len(objects)
        objects.append(obj)
        start.append(place(pickler))
        end.append(-1)
        depth.append(level)
        level += 1
        base.save(pickler, obj, *args, **options)
        level -= 1
        end[number] = place(pickler)

    names = {"save": save, "__module__": base.__module__}
    pickler = type("Pickler", (base,), names)(file, pickling.protocol)
    with undisturbed(_CALLS_A_LEVEL):
        pickler.dump(obj)
    pickler.memo.clear()  # a cycle might keep the pickler, and this all objects
    return watched
