"""How much of the person's objects may be looked at, and for how long."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf

_CLOCK_EVERY = 500


class TooLarge(Exception):
    """There is more to look at than was allowed."""


class TooLong(Exception):
    """The time that was allowed is over."""


@dataclass
class Budget:
    """How much may still be looked at, in this thread until `deadline`."""

    items: int
    data_bytes: int
    deadline: float = inf
    """In CPU seconds of this thread (`time.thread_time`): others do not use it up."""
    _since_clock: int = 0

    def take(self, items: int, data_bytes: int = 0) -> None:
        """Use up some of it; raises `TooLarge` before, or `TooLong`."""
        if items > self.items or data_bytes > self.data_bytes:
            raise TooLarge
        self.items -= items
        self.data_bytes -= data_bytes
        self._since_clock += 1 + items + (data_bytes >> 8)
        if self._since_clock > _CLOCK_EVERY:  # to ask for the time takes some, too
            self._since_clock = 0
            if time.thread_time() > self.deadline:
                raise TooLong
