"""Timing a call: warm, repeated, all runs kept, the garbage collector's part told."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat

clock = time.monotonic
"""CLOCK_MONOTONIC on Linux: its readings in several processes can be compared."""

SHORT_SECONDS = 20e-6  # below this the clock's own cost shows: calls are looped
LEAST_SECONDS = 0.010  # a figure of a short call takes this long
LEAST_RUNS = 3
MOST_RUNS = 200


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The runs of one call."""

    seconds: tuple[float, ...]
    """Each run's time."""
    gc_seconds: tuple[float, ...]
    """How much of it the garbage collector took."""


class Pace:
    """Says whether to run once more, so that a figure gets its share of the time.

    Calls that take microseconds are done after ten milliseconds; at least three runs
    are made, unless fewer take the share. `repeats` forces a number.
    """

    def __init__(
        self, first_seconds: float, share_seconds: float, repeats: int | None = None
    ) -> None:
        enough = max(LEAST_SECONDS, 50 * first_seconds)
        self.seconds = min(share_seconds, enough)
        self._share = share_seconds
        self._repeats = repeats
        self._begin = clock()
        self._runs = 0

    def more(self) -> bool:
        """Return whether to run once more."""
        runs, self._runs = self._runs, self._runs + 1
        if self._repeats is not None:
            return runs < self._repeats
        spent = clock() - self._begin
        if runs >= LEAST_RUNS and spent >= self.seconds:
            return False
        return runs < 1 or (runs < MOST_RUNS and spent < self._share)


def timed(
    call: Callable[[], object],
    *,
    share_seconds: float,
    repeats: int | None = None,
    warm: float | None = None,
) -> Runs:
    """Time `call`, which has run once already where `warm` tells how long that took.

    What a run returns is freed outside of its time, before the next run. Calls below
    20 microseconds are looped as `timeit` does, which frees inside. A first run that
    takes the whole share by itself is the one that is told.
    """
    if warm is None:
        with _collections() as spent:
            warm = _seconds_of(call)
        if repeats is None and warm >= share_seconds:
            return Runs(seconds=(warm,), gc_seconds=(spent[0],))
    if warm < 5 * SHORT_SECONDS:  # the first is often the slowest: look again
        warm = _seconds_of(call)
    loops = 1 if warm >= SHORT_SECONDS else max(1, round(LEAST_SECONDS / 10 / warm))
    pace = Pace(warm * loops, share_seconds, repeats)
    seconds, collected = [], []
    with _collections() as spent:
        while pace.more():
            spent[0] = 0.0
            if loops == 1:
                took = _seconds_of(call)
            else:
                begin = clock()
                for _ in repeat(None, loops):
                    call()
                took = clock() - begin
            seconds.append(took / loops)
            collected.append(spent[0] / loops)
    return Runs(seconds=tuple(seconds), gc_seconds=tuple(collected))


def _seconds_of(call: Callable[[], object]) -> float:
    begin = clock()
    made = call()
    end = clock()
    del made
    return end - begin


@contextmanager
def _collections() -> Iterator[list[float]]:
    """Give a list whose one item grows by the time of each garbage collection."""
    spent = [0.0]
    begin = 0.0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal begin
        if phase == "start":
            begin = clock()
        else:
            spent[0] += clock() - begin

    gc.callbacks.append(note)
    try:
        yield spent
    finally:
        gc.callbacks.remove(note)
