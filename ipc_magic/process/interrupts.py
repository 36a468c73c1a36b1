"""SIGINT counted instead of raised, while children start and run.

A KeyboardInterrupt comes between any two bytecodes: between a fork and the line that
keeps the child's pid, for one. Blocking the signal in this thread would not help:
the kernel gives it to another thread, and Python raises it here all the same.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ipc_magic.errors import CannotStart
from ipc_magic.process import csignal, parent_only


class Interrupts:
    """How many interrupts came, and a descriptor that becomes readable with each."""

    def __init__(self) -> None:
        self.handler: Any = csignal.getsignal(signal.SIGINT)
        """What SIGINT does outside of this: a child's code gets it back."""
        self.wake = -1
        self._untaken = 0

    def add(self, *_: Any) -> None:
        """Count one more: the handler of SIGINT."""
        self._untaken += 1
        if self.wake >= 0:
            os.eventfd_write(self.wake, 1)

    def take(self) -> int:
        """Return how many came since the last call."""
        came, self._untaken = self._untaken, 0
        if came and self.wake >= 0:
            os.eventfd_read(self.wake)
        return came

    def any_left(self) -> bool:
        """Return whether some came that nobody took."""
        return self._untaken > 0


_counting: Interrupts | None = None


@contextmanager
def counted() -> Iterator[Interrupts]:
    """Count interrupts in the block; those that nobody took are raised at its end.

    A block inside of a block counts with it. Outside of the main thread, where Python
    handles no signals, nothing is ever counted.
    """
    global _counting  # noqa: PLW0603 - as there is one SIGINT in a process
    handler = csignal.getsignal(signal.SIGINT)
    # A handler that C code has set (`None`) could not be put back.
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield Interrupts()
        return
    if _counting is not None:
        yield _counting
        return
    interrupts = Interrupts()
    try:
        wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    except OSError as error:
        raise CannotStart(
            f"not started: no file could be opened ({error.strerror})"
        ) from error
    interrupts.wake = parent_only.hold(wake)
    _counting = interrupts
    csignal.signal(signal.SIGINT, interrupts.add)
    try:
        yield interrupts
    finally:
        csignal.signal(signal.SIGINT, interrupts.handler)
        _counting = None
        parent_only.release(interrupts.wake)
    if interrupts.any_left():
        raise KeyboardInterrupt


@contextmanager
def put_off() -> Iterator[None]:
    """Do at the end of the block what SIGINT does; a second one does it at once."""
    handler = csignal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not callable(handler) or not in_main_thread or _counting is not None:
        yield
        return
    came = 0

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came += 1
        if came > 1:
            handler(number, frame)

    csignal.signal(signal.SIGINT, take)
    try:
        yield
    finally:
        csignal.signal(signal.SIGINT, handler)
    if came == 1:
        handler(signal.SIGINT, sys._getframe())


def handler_for_children() -> Any:
    """Return what SIGINT does to the person's code in this process."""
    return _counting.handler if _counting else csignal.getsignal(signal.SIGINT)
