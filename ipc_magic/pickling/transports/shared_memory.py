"""`multiprocessing.shared_memory`: protocol 5, its stream and buffers in a block.

A message only names the block. The receiver loads from the block in place, so the
loaded object is the shared memory; reading it is not part of the round trip.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.shared_memory import SharedMemory
from typing import Any

from ipc_magic.pickling.failures import CannotRun
from ipc_magic.pickling.transports import meter
from ipc_magic.pickling.transports.line import Line
from ipc_magic.pickling.transports.meter import Event, Hop, Slate, Told
from ipc_magic.pickling.transports.receiver import receiver
from ipc_magic.pickling.transports.trackers import tracker_ended

ALIGNMENT = 64  # of each buffer in the block, as numpy and Arrow like it
FOLDER = "/dev/shm"


@contextmanager
def shared_memory(limit_seconds: float, slate: Slate) -> Iterator[Line]:
    """Make a block for each object; raises `CannotRun` where there is no room."""
    with tracker_ended():
        _try_a_block()
        here, there = multiprocessing.Pipe()
        sizes: list[int] = []
        blocks: list[SharedMemory] = []
        attach = _Attached()
        with (
            here,
            there,
            receiver(
                lambda: attach(there.recv_bytes()),
                limit_seconds=limit_seconds,
                slate=slate,
                ours=[here],
                theirs=[there],
            ) as far,
        ):

            def trip(obj: object) -> Told:
                buffers: list[pickle.PickleBuffer] = []
                pickled = meter.dump(
                    lambda: pickle.dumps(obj, 5, buffer_callback=buffers.append)
                )
                raw = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
                sizes[:] = [view.nbytes for view in raw]
                blocks.append(_filled(raw))
                here.send_bytes(pickle.dumps((blocks[-1].name, sizes)))
                heard = far.heard()
                blocks.pop().unlink()
                return heard

            try:
                yield Line(
                    trip=trip,
                    hops=lambda begin, heard: [_hop(begin, heard)],
                    processes=[far.process],
                    buffer_bytes=lambda: sum(sizes[1:]),
                )
            finally:
                for block in blocks:
                    block.unlink()


def _hop(begin: float, heard: list[Event]) -> Hop:
    (dumped, sent) = [e for e in meter.take() if e.begin >= begin][:2]
    return Hop(dumped, sent, next(event for event in heard if event.kind == "load"))


def _filled(raw: list[memoryview]) -> SharedMemory:
    """Return a new block with all these in it, closed on this side."""
    places = _places([view.nbytes for view in raw])
    size = places[-1] + raw[-1].nbytes  # a pickle is never empty
    _refuse_without_room(size)
    block = SharedMemory(create=True, size=size)
    buf: Any = block.buf
    try:
        with memoryview(buf) as memory:
            for start, view in zip(places, raw, strict=True):
                memory[start : start + view.nbytes] = view
                view.release()
    except BaseException:
        block.unlink()
        raise
    finally:
        block.close()
    return block


def _places(sizes: list[int]) -> list[int]:
    """Return where each part begins in the block."""
    places, at = [], 0
    for size in sizes:
        places.append(at)
        at += -(-size // ALIGNMENT) * ALIGNMENT
    return places


class _Attached:
    """The receiver's side: loads from a block, which goes when the object has gone."""

    def __init__(self) -> None:
        self._block: SharedMemory | None = None

    def __call__(self, message: bytes) -> Any:
        self._close()
        name, sizes = pickle.loads(message)
        self._block = SharedMemory(name=name)
        memory: Any = self._block.buf
        pickled, *buffers = (
            memory[start : start + size]
            for start, size in zip(_places(sizes), sizes, strict=True)
        )
        with pickled:
            return meter.load(lambda: pickle.loads(pickled, buffers=buffers), pickled)

    def _close(self) -> None:
        for attempt in range(2):
            try:
                if self._block is not None:
                    self._block.close()
                break
            except BufferError:  # the last object is a cycle, and still there
                if not attempt:
                    gc.collect()
        self._block = None


def _try_a_block() -> None:
    try:
        block = SharedMemory(create=True, size=1)
    except OSError as error:
        raise CannotRun(
            f"shared_memory cannot be used here: {error.strerror or error}"
        ) from error
    block.close()
    block.unlink()


def _refuse_without_room(size: int) -> None:
    """Raise where writing to the block would end this process by SIGBUS."""
    try:
        room = os.statvfs(FOLDER)
    except OSError:  # another system keeps it elsewhere
        return
    free = room.f_bavail * room.f_frsize
    if free < size:
        raise CannotRun(
            f"shared_memory cannot be used here: {FOLDER} has room for "
            f"{free:,} bytes, this needs {size:,}"
        )
