"""What else is worth knowing of children that the user's own code made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ipc_magic.render.units import duration, plural
from ipc_magic.results.base import Finding

if TYPE_CHECKING:
    from ipc_magic.results.cow_watch import WatchedChild

_NAMED = 3  # of many children


def lost(fault: str) -> Finding:
    """Tell that nothing is known of the children."""
    return Finding(code="watch_lost", message=fault)


def older(pids: Sequence[int]) -> Finding:
    """Tell of children that were there before: what they inherited is not known."""
    return Finding(
        code="older",
        message=f"{_children(len(pids))} of before ({_some(pids)}) could not be "
        "watched: make the pool in this cell",
        figures={"children": len(pids)},
    )


def threads(number: int) -> Finding:
    """Tell that threads ran where no child was made."""
    return Finding(
        code="threads",
        message=f"up to {plural(number, 'thread')} more ran here meanwhile: they share "
        "all memory",
        figures={"threads": number},
    )


def about_children(children: Sequence[WatchedChild]) -> Iterator[Finding]:
    """Tell of which children something is not known, and why."""
    # What began as another program inherited nothing: it cannot have copied more.
    forked = [child for child in children if child.started_by == "fork"]
    alive = [child.pid for child in forked if child.alive]
    if alive:
        yield Finding(
            code="alive",
            message=f"{_children(len(alive))} ({_some(alive)}) still ran at the end: "
            "what they copy later is not counted",
            figures={"children": len(alive)},
        )
    unread = [child for child in forked if child.last_seen is not None]
    for child in unread[:_NAMED]:
        yield Finding(
            code="last_seen",
            message=f"child {child.pid} was last read after "
            f"{duration(child.last_seen)}, not at its end: what it copied later is not "
            "counted",
            figures={"pid": child.pid, "last_seen_seconds": child.last_seen},
        )
    faults = Counter(child.fault for child in children if child.fault is not None)
    for fault, number in faults.items():
        yield Finding(
            code="watch_fault",
            message=f"{_children(number)}: {fault}",
            figures={"children": number},
        )


def _children(number: int) -> str:
    return plural(number, "child", "children")


def _some(pids: Sequence[int]) -> str:
    named = [str(pid) for pid in pids[:_NAMED]]
    return ", ".join([*named, "..."] if len(pids) > _NAMED else named)
