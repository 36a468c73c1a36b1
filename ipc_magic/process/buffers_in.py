"""Bytes on their way into the parent: read straight to where they are to stay."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ipc_magic.process import fresh
from ipc_magic.process.wiring import PIPE_BYTES

# The rest of the parent's loop has its turn after so long, and when nothing has come
# for as many milliseconds: the child may stand still.
_TURN_SECONDS, _PATIENCE_MILLISECONDS = 0.02, 2


def announced_bytes(lengths: Sequence[tuple[int, bool]]) -> int:
    """Return how much memory `lengths` will take."""
    return sum(length for length, _readonly in lengths)


class Arrival:
    """What one message has announced: a stream of pickle and the buffers beside it.

    `lengths` has the bytes of each and whether it is read-only, the stream first.
    Raises MemoryError.
    """

    def __init__(
        self, message: Mapping[str, Any], lengths: Sequence[tuple[int, bool]]
    ) -> None:
        self.message = message
        self.pieces = []
        self._todo: list[memoryview] = []
        for length, readonly in lengths:
            piece, room = fresh.make(length, readonly=readonly)
            self.pieces.append(piece)
            if length:
                self._todo.append(room)
        self._todo.reverse()

    @property
    def complete(self) -> bool:
        """Whether all has come."""
        return not self._todo

    def read(self, pipe: int) -> bool:
        """Read what the non-blocking `pipe` holds, and what comes in a short while.

        False at its end: nobody can write to it any more.
        """
        until = time.monotonic() + _TURN_SECONDS
        came = select.poll()
        came.register(pipe, select.POLLIN)
        while self._todo:
            try:
                done = os.readv(pipe, self._todo[-1:])
            except BlockingIOError:
                if not came.poll(_PATIENCE_MILLISECONDS):
                    return True
                continue
            if not done:
                return False
            if done < self._todo[-1].nbytes:
                self._todo[-1] = self._todo[-1][done:]
            else:
                self._todo.pop()
            if time.monotonic() >= until:
                return True
        return True


def discard(pipe: int) -> None:
    """Read away what the non-blocking `pipe` holds."""
    try:
        while os.read(pipe, PIPE_BYTES):
            pass
    except BlockingIOError:
        pass
