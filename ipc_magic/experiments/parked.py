"""What the last cell left in its children, until it is fetched or dropped."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ipc_magic import errors
from ipc_magic.process import parked as parking
from ipc_magic.process.kept import Kept
from ipc_magic.process.parked import Stay
from ipc_magic.process.watch import Watch
from ipc_magic.results import parked_words
from ipc_magic.results.base import Finding


@dataclass(kw_only=True, eq=False)
class Parked:
    """What the children of one run left, each in a process of its own."""

    kept: tuple[Kept, ...]
    children: int
    """How many the run had; some may have left nothing."""
    tag: bool
    """Whether a name's values are a list, one entry a child."""
    definitions: Mapping[str, weakref.ref[Any]]
    """The notebook's classes and functions at the fork."""


class _State:
    """What a session keeps: what its last cell left."""

    session: int = os.getpid()
    parked: Parked | None = None


def stay(keep_free_bytes: int) -> Stay | None:
    """Return when a child's variables stay; not in a fork, which soon ends itself."""
    return Stay.usual(keep_free_bytes) if os.getpid() == _State.session else None


def take(watches: Sequence[Watch], definitions: Mapping[str, Any], *, tag: bool) -> int:
    """Keep what children that have ended left parked; return how many did."""
    found = tuple(watch.kept for watch in watches if watch.kept is not None)
    if found:
        _State.parked = Parked(
            kept=found,
            children=len(watches),
            tag=tag,
            definitions={n: weakref.ref(v) for n, v in definitions.items()},
        )
    return len(found)


def current() -> Parked | None:
    """Return what stays here, or did until it ended by itself, if anything.

    A fork of the session has none of it.
    """
    return _State.parked if os.getpid() == _State.session else None


def drop() -> tuple[Kept, ...]:
    """End what stays, and return it; nothing waits for its memory to be freed."""
    parked = current()
    _State.parked = None
    kept = parked.kept if parked is not None else ()
    end(kept)
    return kept


def end(kept: Iterable[Kept | None]) -> None:
    """End parked children."""
    for each in kept:
        if each is not None:
            each.end()


def drop_and_tell() -> Said:
    """End what stays, and say so; an error where nothing does."""
    there = [kept for kept in drop() if kept.was_alive]
    if not there:
        raise errors.OptionError(f"nothing to drop: {nothing()}")
    return Said(parked_words.dropped([kept.child_pid for kept in there]))


def findings(watches: Iterable[Watch]) -> list[Finding]:
    """Return what children left that nobody asked for, and how it can be had."""
    kept = [watch.kept for watch in watches if watch.kept is not None]
    if not kept:
        return []
    until = min(map(_until, kept))
    names = tuple(dict.fromkeys(name for each in kept for name in each.names))
    sizes = [_own_bytes(each.pid) for each in kept]
    known = [size for size in sizes if size is not None]
    own = sum(known) if len(known) == len(sizes) else None
    message = parked_words.left_behind(names, until, own, children=len(kept))
    return [
        Finding(
            code="parked",
            message=message,
            # The moment in Unix time.
            figures={
                "children": len(kept),
                "names": len(names),
                **({} if own is None else {"own_bytes": own}),
                "until_seconds": until,
            },
        )
    ]


def _until(kept: Kept) -> float:
    return time.time() + kept.deadline - time.monotonic()


def nothing() -> str:
    """Say when something stays: nothing does."""
    return parked_words.NOTHING_STAYS.format(seconds=parking.RUN_SECONDS)


class Said(str):
    """A sentence that is displayed without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def state() -> list[str]:
    """Return a line for each parked child that is there."""
    parked = current()
    lines = []
    for kept in parked.kept if parked else ():
        if kept.alive():
            own = _own_bytes(kept.pid)
            lines.append(
                parked_words.kept(
                    kept.child_pid, kept.pid, kept.names, _until(kept), own
                )
            )
    return lines


def names() -> list[str]:
    """Return the names that parked children keep."""
    parked = current()
    found = (n for kept in (parked.kept if parked else ()) for n in kept.names)
    return list(dict.fromkeys(found))


def _own_bytes(pid: int) -> int | None:
    from ipc_magic.memory import reading  # which needs numpy

    try:
        return reading.read(pid).own_bytes
    except OSError:
        return None


atexit.register(drop)
