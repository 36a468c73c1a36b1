"""What an experiment hands in to have children measured: interfaces, nothing of ours.

A child tells its three moments and waits at each until the parent, which looks at it
from outside, lets it go on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIG_BLOCK, SIG_SETMASK, Signals
from typing import Any, NoReturn, Protocol

from ipc_magic.process import csignal
from ipc_magic.process.replacements import Replacements

leave = os._exit
"""What ends this process, whatever stands for `os._exit` in a measured child."""
_SIGNALS = {Signals.SIGINT, Signals.SIGTERM}


class ChildMeter(Protocol):
    """Measures one child; made before its fork."""

    @property
    def begun(self) -> bool:
        """Whether the child was met: its code may run by now."""

    @property
    def held(self) -> bool:
        """Whether the child waits for others, its code being done."""

    @property
    def waited_seconds(self) -> float:
        """How long the child has waited for others."""

    def begin_here(self) -> None:
        """Be met, in the child."""

    def done_here(self) -> None:
        """Be read for the last time, in the child, when its code has ended."""

    def sent_here(self) -> None:
        """Have counted what sending the results took, in the child."""

    def follow(self, pid: int) -> None:
        """Measure `pid`, in the parent after the fork."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when `answer` is to be called."""

    def answer(self) -> bool:
        """Serve the child, which waits; False when it will ask no more."""

    def let_go(self) -> None:
        """Let the child go on that waits for others."""

    def read(self) -> float:
        """Take a reading while it runs; return the seconds of CPU time that took."""

    def close(self) -> None:
        """Let go of everything."""


class Meter(Protocol):
    """Measures the children of one burst of forks."""

    def before_forks(self) -> None:
        """Get ready, in the parent, at the last moment."""

    def track(self) -> ChildMeter:
        """Return what measures one child; raises OSError."""

    def close(self) -> None:
        """Let go of everything, when all children have ended."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off the signals that would end the wait for the parent by an exception."""
    before = csignal.pthread_sigmask(SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        csignal.pthread_sigmask(SIG_SETMASK, before)


class ExitWhenRead:
    """Stands for `os._exit` in a measured child: it waits for the last reading."""

    def __init__(self, meter: ChildMeter, is_here: Callable[[], bool]) -> None:
        self._meter = meter
        self._is_here = is_here

    def __call__(self, status: int) -> None:
        """End this process, without any clean-up."""
        if self._is_here():  # not in a process that the code has forked
            with undisturbed():
                self._meter.done_here()
        leave(status)

    def __reduce__(self) -> tuple[Any, ...]:
        return plain_exit, ()  # in another process it is what it stands for


def plain_exit() -> Callable[[int], NoReturn]:
    """Return `os._exit` as it is in a process that nobody measures."""
    return leave


def plan_last_reading(
    meter: ChildMeter, is_here: Callable[[], bool], replacements: Replacements
) -> None:
    """Have `os._exit`, called by the child's code, wait for the last reading."""
    replacements.put(os, "_exit", ExitWhenRead(meter, is_here))
