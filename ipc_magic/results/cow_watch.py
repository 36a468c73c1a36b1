"""What `%cow_watch` found out: how much inherited memory each child copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ipc_magic.render.document import Document
from ipc_magic.results import cow_watch_report, cow_watch_words
from ipc_magic.results.base import Level, Result, report_level
from ipc_magic.results.inprocess import ChildRun, Limits
from ipc_magic.results.memory import Memory
from ipc_magic.results.records import to_plain

# Of fewer readings one cannot say how it went on.
_FEW_READINGS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One reading of a running child."""

    seconds: float
    """Since the code began, here or in the child."""
    copied_bytes: int | None = None
    """Inherited pages that it had copied by then, in any reading."""
    new_bytes: int | None = None
    """Its memory that was not inherited."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchedChild:
    """One child: who forked it, how it ended, what it did with its memory."""

    index: int
    """Its number among the children, from 0, in the order of their forks."""
    pid: int
    """Its process ID."""
    how: str
    """Who made it: "%cow_watch", "os.fork", "multiprocessing.Pool" ..."""
    started_by: str = "fork"
    """How it was made: "fork"; "spawn", "forkserver" and "exec" inherit nothing."""
    parent_pid: int | None = None
    """The process that forked it."""
    line: int | None = None
    """The line of the cell that led to its fork."""
    exit_code: int | None = None
    """The exit code; `None` after a signal, while it lives, or if it is not known."""
    signal: str | None = None
    """The signal that ended it, such as "SIGTERM"."""
    alive: bool = False
    """Whether it still ran when the watch ended."""
    last_seen: float | None = None
    """When it was last read, if that was not at its end: seconds of the run."""
    memory: Memory | None = None
    """What it did with its memory; `None` where that is not known."""
    timeline: tuple[Point, ...] = ()
    """Its readings, in order of time."""
    fault: str | None = None
    """Why something of it is not known."""
    owners: tuple[()] = ()
    """Not measured yet."""
    partition: tuple[()] = ()
    """Not measured yet."""
    lines: tuple[()] = ()
    """Not measured yet."""

    def __post_init__(self) -> None:
        for name in ("timeline", "owners", "partition", "lines"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def growing(self) -> bool:
        """Whether it still copied, or allocated, in the last quarter of its time."""
        if len(self.timeline) < _FEW_READINGS:
            return False
        last = self.timeline[-1]
        before = [p for p in self.timeline if p.seconds <= last.seconds * 0.75]
        return bool(before) and _total(last) > 1.05 * _total(before[-1])


def _total(point: Point) -> int:
    return (point.copied_bytes or 0) + (point.new_bytes or 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """What several such children at once would need, beside what there is."""

    children: int
    """How many are asked about."""
    for_cpus: bool = False
    """Whether nobody said how many: there is one for each CPU that may be used."""
    parent_bytes: int
    """What they inherit, held once."""
    child_bytes: int
    """What each adds: copied and new memory of the largest child."""
    bytes: int
    """What parent and children need together."""
    machine_bytes: int
    """The machine's memory, or what this control group may use of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CowWatch(Result):
    """How much inherited memory each child copied."""

    kind: ClassVar[str] = "cow_watch"

    mechanism: str
    """What measured it: uffd, witness, exclusive, pfn, smaps or psutil."""
    exact: bool
    """Whether what was copied is exact for all children."""
    statement: str
    """What ran."""
    ran_here: bool
    """Whether it ran in the session, and its children were watched."""
    seconds: float
    """How long it ran."""
    children: tuple[WatchedChild, ...] = ()
    """The children, in the order of their forks."""
    control: Memory | None = None
    """A child that ran an empty statement through the same machinery."""
    projection: Projection | None = None
    """What several such children would need; `None` where nothing was copied."""
    runs: tuple[ChildRun, ...] = ()
    """How our own children ran; empty where the statement ran in the session."""
    limits: Limits = field(default_factory=Limits)
    """The bounds that were set."""
    least_free_bytes: int | None = None
    """The least free memory that was seen while the statement ran in the session."""
    resident_bytes: int | None = None
    """What RSS said at its last reading of the child that held most alone."""
    unique_bytes: int | None = None
    """What USS said of it."""
    idle_resident_bytes: int | None = None
    """What RSS said of the control child; `None` where the statement ran here."""
    idle_unique_bytes: int | None = None
    """What USS said of it."""

    def __post_init__(self) -> None:
        for name in ("children", "runs", "findings"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def headline(self) -> str:
        """The sentence that says how much was copied."""
        return cow_watch_words.headline(self)

    @property
    def lost(self) -> bool:
        """Whether what watched the children ended before they did."""
        return any(finding.code == "watch_lost" for finding in self.findings)

    @property
    def forked(self) -> Sequence[WatchedChild]:
        """The children that inherited memory."""
        return [child for child in self.children if child.started_by == "fork"]

    def document(self, level: Level | None = None) -> Document:
        """Compose the report; `None` stands for the level chosen."""
        return cow_watch_report.document(self, level or report_level())

    def rows(self) -> list[dict[str, Any]]:
        """List one row a child."""
        left_out = ("memory", "timeline", "owners", "partition", "lines")
        rows = []
        for child in self.children:
            row = {k: v for k, v in to_plain(child).items() if k not in left_out}
            rows.append(row | (to_plain(child.memory) if child.memory else {}))
        return rows
