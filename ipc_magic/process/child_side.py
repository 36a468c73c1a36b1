"""The child's end of the wiring: its channel and its marks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ipc_magic.process import buffers_out, wire
from ipc_magic.process.merge import mark
from ipc_magic.process.wiring import Wiring


class ChildSide:
    """What code of ours in a child uses to reach the parent; made before the fork.

    Descriptors are checked before each write: the person's code may have closed
    them, and opened a file of its own under the same number.
    """

    def __init__(self, wiring: Wiring) -> None:
        self._token = wiring.token
        self._fds = dict(wiring.child)
        self._inodes = wiring.inodes
        self._pid = 0
        self._lock = threading.Lock()
        self._number = 0
        self.last_stream = "stdout"
        self.lifeline = self._fds["lifeline"]

    def begin(self) -> None:
        """Be the side of this process, which is the child."""
        self._pid = os.getpid()

    def is_here(self) -> bool:
        """Return whether this process is the child, and no fork of it."""
        return os.getpid() == self._pid

    def descriptor(self, name: str) -> int:
        """Return one of the child's descriptors, as it was made."""
        return self._fds[name]

    def intact(self, name: str) -> int | None:
        """Return one of the child's descriptors, `None` if its code took it away."""
        return self._fd(name)

    def _fd(self, name: str) -> int | None:
        """Return the descriptor if it is still ours and this is still the child."""
        fd = self._fds[name]
        try:
            intact = os.fstat(fd).st_ino == self._inodes[name]
        except OSError:
            return None
        return fd if intact and self.is_here() else None

    def send(self, kind: str, **fields: Any) -> bool:
        """Send a message that has no place among the texts; False if it cannot go."""
        with self._lock:
            return self._write_frame(wire.encode(kind, fields))

    def send_now(self, body: bytes) -> bool:
        """Send a message whose body was made before the fork, with this moment."""
        with self._lock:
            return self._write_frame(wire.frame(body, sent_at=time.monotonic()))

    def send_in_order(self, kind: str, **fields: Any) -> None:
        """Send a message that the person sees behind all written before it."""
        with self._lock:
            self._number += 1 + (self._number & 1)  # odd: a message belongs to it
            frame = wire.encode(kind, {**fields, "mark": self._number})
            if self._write_marks():
                self._write_frame(frame)

    def turn_to(self, stream: str) -> None:
        """Note that the following text is on `stream`, the text before on the other."""
        with self._lock:
            self._number += 2 - (self._number & 1)  # even: nothing but an order
            self._write_marks()
            self.last_stream = stream

    def _write_marks(self) -> bool:
        pipes = [self._fd("stdout"), self._fd("stderr")]
        if None in pipes:
            return False
        try:
            for pipe in pipes:
                os.write(pipe, mark(self._token, self._number))  # type: ignore[arg-type]
        except OSError:
            return False  # the parent is gone; the lifeline sees to the rest
        return True

    def _write_frame(self, frame: bytes) -> bool:
        fd = self._fd("channel")
        if fd is None:
            return False
        view = memoryview(frame)
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError:
            return False
        return True

    def receive(self, size: int) -> bytes:
        """Wait for `size` bytes from the parent at most; b"" when it is gone."""
        fd = self._fd("channel")
        return os.read(fd, size) if fd is not None else b""

    def has(self, name: str) -> bool:
        """Return whether there is such a descriptor, and it is still ours."""
        return name in self._fds and self._fd(name) is not None

    def push(self, pieces: Sequence[memoryview]) -> None:
        """Send bytes through the pipe for large results; they must not change yet."""
        fd = self._fd("buffers")
        try:
            if fd is not None:
                buffers_out.push(fd, pieces)
        except OSError:
            pass  # the parent is gone; the lifeline sees to the rest

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Keep this process silent while a fork of it speaks on the channel."""
        with self._lock:
            yield

    def adopt(self) -> None:
        """Speak on the channel from the fork of a child that lent it."""
        self.begin()
        self._lock = threading.Lock()
