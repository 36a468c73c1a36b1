"""A witness for each burst of forks, for the mechanism that needs one."""

from __future__ import annotations

import os
import time

from ipc_magic.memory.observing.seat import Seat
from ipc_magic.memory.witness import NoRoom, WitnessProcess

_BURST_SECONDS = 0.1
_MOST = 8
"""Each may hold as much memory as the session has."""


class Witnesses:
    """Those of one watch, forked by the process that opened it."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._owner = os.getpid()
        self._all: list[WitnessProcess] = []
        self._last_fork_at = 0.0

    def be_there(self) -> float | None:
        """Have one before a fork; return when it was forked, `None` if there is none.

        Forks that follow each other at once share it. In children of the session, and
        after many bursts, there is none.
        """
        now = time.monotonic()
        in_burst = now - self._last_fork_at < _BURST_SECONDS and self._all
        self._last_fork_at = now
        if self._owner != os.getpid():
            return None
        if not in_burst:
            if len(self._all) >= _MOST:
                return None
            try:
                self._all.append(WitnessProcess(hold=self._hold))
            except (NoRoom, OSError):
                return None
        return self._all[-1].forked_at

    def _hold(self, descriptor: int) -> int:
        self._seat.close_in_child.add(descriptor)
        return descriptor

    def _release(self, descriptor: int) -> None:
        self._seat.close_in_child.discard(descriptor)
        os.close(descriptor)

    def close(self) -> None:
        """End them; the children must have ended, or be read no more."""
        while self._all:
            self._all.pop().close(self._release)
