"""What is known of one child that the user's code made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from ipc_magic.memory.figures import Figures

Moment: TypeAlias = "tuple[float, int | None, int | None]"
"""Seconds since the watch began, copied bytes and new bytes."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One child of the user's code; `None` is not known."""

    index: int
    """Its place in the order of the forks."""
    pid: int
    parent_pid: int
    how: str
    """What made it, such as "os.fork", "multiprocessing.Pool" or "DataLoader"."""
    line: int | None
    """The line of the cell that led to it."""
    started_by: str
    """One of "fork", "spawn", "forkserver" and "exec": only a fork inherits memory."""
    alive: bool
    """Whether it lived when the watch ended."""
    exit_code: int | None = None
    signal: int | None = None
    """What ended it, where that was not an exit."""
    figures: Figures | None = None
    """As of its last reading."""
    until_execution: Figures | None = None
    """As it was when it executed what it is listed as, where that was read."""
    last_seen_seconds: float | None = None
    """When its last reading was, if that was not at its end or the watch's."""
    timeline: tuple[Moment, ...] = ()
    """Its readings, fewer if there were very many."""
    arming_seconds: float | None = None
    """How long it waited before it could go on."""
    fault: str | None = None
    """Why something is missing here."""


def to_record(seen: Seen) -> dict[str, Any]:
    """Return it as what JSON can hold."""
    return asdict(seen)


def from_record(record: dict[str, Any]) -> Seen:
    """Return what `to_record` was given."""
    figures = {
        name: Figures(**record[name]) if record[name] else None
        for name in ("figures", "until_execution")
    }
    return Seen(
        **{
            **record,
            **figures,
            "timeline": tuple((at, a, b) for at, a, b in record["timeline"]),
        }
    )


def in_order(children: list[tuple[float, Seen]]) -> tuple[Seen, ...]:
    """Return children, given with the time of their fork, in the order of the forks."""
    ordered = sorted(children, key=lambda child: child[0])
    return tuple(replace(seen, index=i) for i, (_, seen) in enumerate(ordered))
