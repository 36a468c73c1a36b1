"""Forks of our own: helpers that never return into the parent's stack."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}


class ParentOnly:
    """Descriptors that a child closes, where nobody else sees to it.

    The other ends tell of the parent's death only if no child holds these, too.
    """

    def __init__(self) -> None:
        self._descriptors: set[int] = set()

    def hold(self, descriptor: int) -> int:
        """Take it in, and return it."""
        self._descriptors.add(descriptor)
        return descriptor

    def release(self, descriptor: int) -> None:
        """Close it in the parent."""
        self._descriptors.discard(descriptor)
        os.close(descriptor)

    def close_here(self) -> None:
        """Close all of them, in a child."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def fork_to(action: Callable[[], object]) -> int:
    """Fork a process that does `action` and exits; return its pid.

    What `action` raises ends it with exit code 1. Signals that end a process politely
    stay blocked in it: it ends by SIGKILL or by itself.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of threads: a helper waits for nobody's lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            status = 1
            try:
                action()
                status = 0
            finally:
                os._exit(status)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def reap(pid: int) -> None:
    """Wait for a process of ours to end; somebody else may have reaped it."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
