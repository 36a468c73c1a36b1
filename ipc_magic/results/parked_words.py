"""What is said of a parked child: what it keeps, and until when."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ipc_magic.render.plain import shorten
from ipc_magic.render.units import plural, size
from ipc_magic.results.inprocess_words import NAME

_SHOWN = 3
_ALL = "'*'"
NOTHING_STAYS = (
    "no child stays (one does when a cell ran longer than {seconds:g} s and left names)"
)


def left_behind(
    names: Sequence[str], until: float, own: int | None, *, children: int
) -> str:
    """Say what was not brought, the memory that it takes, and how it can be had."""
    who = "The child stays" if children == 1 else f"{children} children stay"
    holds = "" if own is None else f", with {size(own)} of its own,"
    if children > 1:
        holds = holds.replace("its", "their")
    return (
        f"Not brought: {listed(names)}. {who}{holds} until {clock(until)} or the next "
        f"run: %inprocess --fetch {names[0] if len(names[0]) <= NAME else _ALL}"
    )


def kept(
    child_pid: int, pid: int, names: Sequence[str], until: float, own: int | None
) -> str:
    """Say what process keeps what a child left, and what memory that takes."""
    holds = "" if own is None else f" It holds {size(own)} of its own."
    return (
        f"Process {pid} keeps {listed(names)} of child {child_pid} until "
        f"{clock(until)} or the next run.{holds}"
    )


def dropped(pids: Sequence[int]) -> str:
    """Say that parked children were ended."""
    if len(pids) == 1:
        return f"What child {pids[0]} left is dropped."
    return f"What {plural(len(pids), 'child', 'children')} left is dropped."


def clock(until: float) -> str:
    """Return the time of day, in hours and minutes, of a moment in Unix time."""
    return time.strftime("%H:%M", time.localtime(until))


def listed(names: Sequence[str]) -> str:
    """Return the first names, quoted, and how many more there are."""
    shown = len(names) if len(names) <= _SHOWN + 1 else _SHOWN
    quoted = ", ".join(f"`{shorten(name, NAME)}`" for name in names[:shown])
    more = len(names) - shown
    return f"{quoted} and {more} more" if more else quoted
