"""A child that nobody may trace asks for its last reading as it ends.

It can where Python runs its end: `os._exit`, by which the children of multiprocessing
end, and the end of the interpreter. A signal that kills it leaves the last reading
that was taken while it ran.
"""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Callable
from typing import Any, NoReturn

END = b"e"
"""What the child says; its exit code follows where it is known."""
_leave = os._exit


class LastWords:
    """The child's end of a connection on which it asks, once."""

    def __init__(self, connection: socket.socket, timeout_seconds: float) -> None:
        self._connection = connection
        self._inode = os.fstat(connection.fileno()).st_ino
        self._pid = os.getpid()
        connection.settimeout(timeout_seconds)

    def say_here(self, status: int | None = None) -> None:
        """Ask and wait, in this child only; who has closed the socket goes on."""
        try:
            if self._pid != os.getpid():
                return
            if os.fstat(self._connection.fileno()).st_ino != self._inode:
                return
            code = b"" if status is None else b"%d" % (status & 0xFF)
            self._connection.send(END + code)
            self._connection.recv(1)
            self._connection.close()
        except OSError:
            pass

    def forget_here(self) -> None:
        """Close the parent's connection, in a child of the child."""
        try:
            if os.fstat(self._connection.fileno()).st_ino == self._inode:
                self._connection.close()
        except OSError:
            pass


class ExitWhenRead:
    """Stands for `os._exit` in such a child."""

    def __init__(self, words: LastWords) -> None:
        self._words = words

    def __call__(self, status: int) -> NoReturn:
        """End this process, without any clean-up."""
        self._words.say_here(status)
        _leave(status)

    def __reduce__(self) -> tuple[Any, ...]:
        return _plain_exit, ()  # in another process it is what it stands for


def _plain_exit() -> Callable[[int], NoReturn]:
    return _leave


def plan_last_words_here(words: LastWords) -> None:
    """Have the child ask as it ends."""
    os._exit = ExitWhenRead(words)
    atexit.register(words.say_here)
