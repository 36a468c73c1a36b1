"""What `%cow_watch --pid` saw: what processes share now, and what is their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ipc_magic.render.document import Block, Bytes, Cell, Document, Note, Table
from ipc_magic.render.fit import fit
from ipc_magic.render.plain import shorten
from ipc_magic.render.units import plural, size
from ipc_magic.results.base import Level, Result, report_level
from ipc_magic.results.records import to_plain

_SHOWN = 6
_NAME = 28
_MORE = "More is in the full report: print(result.details())"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessMemory:
    """The private memory of one process, in bytes; `None` is not known."""

    pid: int
    """Its process ID."""
    parent_pid: int | None = None
    """That of its parent."""
    name: str = ""
    """What it calls itself."""
    shared_bytes: int | None = None
    """Private memory that another process maps, too: inherited and not copied."""
    own_bytes: int | None = None
    """What it holds alone: copied, new, or given up by the others."""
    exact: bool = False
    """Whether single pages were looked at; else these are the kernel's sums."""
    fault: str | None = None
    """Why it could not be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessTree(Result):
    """A process and its descendants, and how much of their memory they share."""

    kind: ClassVar[str] = "process_memory"

    root_pid: int
    """The process that was asked about; this one for the children alive now."""
    is_session: bool
    """Whether that is this session, of which the children alone are listed."""
    processes: tuple[ProcessMemory, ...] = ()
    """Itself if it is another process, then its descendants."""

    def __post_init__(self) -> None:
        for name in ("processes", "findings"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def headline(self) -> str:
        """The sentence that says what they share and what is their own."""
        known = [one for one in self.processes if one.own_bytes is not None]
        if not self.processes:
            return "No child of this session is alive."
        if not known:
            return f"{_count(self.processes)} could not be read: {_why(self.processes)}"
        own = sum(one.own_bytes or 0 for one in known)
        most = max(known, key=lambda one: one.own_bytes or 0)
        share = f"share up to {size(max(one.shared_bytes or 0 for one in known))}"
        if len(known) == 1:
            return (
                f"Process {most.pid} shares {size(most.shared_bytes)} with others; at "
                f"most {size(own)} of its private memory are copies."
            )
        return (
            f"{_count(known)} {share} with others and hold {size(own)} alone: at most "
            "that much was copied."
        )

    def document(self, level: Level | None = None) -> Document:
        """Compose the report; `None` stands for the level chosen."""
        level = level or report_level()
        if level == "line" or not self.processes:
            return Document(headline=self.headline)
        most = len(self.processes) if level == "full" else _SHOWN
        blocks: list[Block] = [_table(self.processes, most)]
        blocks += [Note(finding.message) for finding in self.findings]
        python = self.setting.python_words
        whole = Document(
            headline=self.headline,
            blocks=tuple(blocks),
            setting=("alive now, their forks were not seen", python),
        )
        return whole if level == "full" else fit(whole, more=_MORE)

    def rows(self) -> list[dict[str, Any]]:
        """List one row a process."""
        return [to_plain(one) for one in self.processes]


def _count(processes: Sequence[ProcessMemory]) -> str:
    return plural(len(processes), "process", "processes")


def _why(processes: Sequence[ProcessMemory]) -> str:
    return f"{processes[0].fault or 'they have ended'}."


def _table(processes: Sequence[ProcessMemory], most: int) -> Table:
    shown = len(processes) if len(processes) <= most + 1 else most
    rows: list[tuple[Cell, ...]] = []
    for one in processes[:shown]:
        parent = "" if one.parent_pid is None else str(one.parent_pid)
        figures: tuple[Cell, ...] = (Bytes(one.shared_bytes), Bytes(one.own_bytes))
        if one.fault is not None:
            figures = (shorten(one.fault, _NAME), "")
        rows.append((str(one.pid), parent, shorten(one.name, _NAME), *figures))
    if rest := processes[shown:]:
        own = [one.own_bytes for one in rest if one.own_bytes is not None]
        rows.append((f"{len(rest)} more", "", "", "", Bytes(sum(own))))
    return Table(columns=("pid", "below", "name", "shared", "own"), rows=tuple(rows))
