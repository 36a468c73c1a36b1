"""What `%inprocess --fetch` brought from a parked child."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ipc_magic.render.document import Block, Document, Note
from ipc_magic.render.fit import fit
from ipc_magic.render.plain import shorten
from ipc_magic.render.units import duration, size
from ipc_magic.results.base import Level, Result, report_level
from ipc_magic.results.inprocess import Crossing
from ipc_magic.results.inprocess_tables import one_crossing
from ipc_magic.results.inprocess_words import NAME

_MORE = "More is in the full report: print(result.details())"


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedFrom:
    """What came from what one child had left."""

    index: int
    """The number of the child among those of its run."""
    pid: int
    """The process ID that the child had."""
    returned: Crossing
    """What was pickled to the parent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched(Result):
    """Which names came from a parked child, and what that took."""

    kind: ClassVar[str] = "fetched"

    children: tuple[FetchedFrom, ...]
    """The children whose variables were asked for, by index."""
    asked: tuple[str, ...] = ()
    """The names asked for."""

    def __post_init__(self) -> None:
        for name in ("children", "asked", "findings"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def headline(self) -> str:
        """The sentence that says what came, and what that took."""
        names = {name for child in self.children for name in child.returned.names}
        came = [name for name in self.asked if name in names]
        if not came:
            return "Nothing came."
        missing = [name for name in self.asked if name not in came]
        tail = f" {_listed(missing)} did not come." if missing else ""
        return f"{_listed(came)} came from {self._whom()}{self._figures()}.{tail}"

    def _whom(self) -> str:
        total = len(self.children)
        if total == 1:
            return f"child {self.children[0].pid}"
        giving = sum(bool(child.returned.names) for child in self.children)
        return f"{'each' if giving == total else giving} of {total} children"

    def _figures(self) -> str:
        crossings = [c.returned for c in self.children if c.returned.names]
        sizes = [crossing.moved_bytes for crossing in crossings]
        known = [moved for moved in sizes if moved is not None]
        if len(known) < len(sizes):
            return ""
        # The times of several children overlap: their sum would be no time that passed.
        if len(crossings) > 1:
            return f": {size(sum(known))} together"
        seconds = crossings[0].seconds
        took = "" if seconds is None else f" in {duration(seconds)}"
        return f": {size(sum(known))}{took}"

    def document(self, level: Level | None = None) -> Document:
        """Compose the report; `None` stands for the level chosen."""
        level = level or report_level()
        if level == "line":
            return Document(headline=self.headline)
        alone = len(self.children) == 1
        blocks: list[Block] = [
            one_crossing(
                "to the parent" if alone else f"from child {child.index}",
                child.returned,
            )
            for child in self.children
            if child.returned.names
        ]
        blocks += [Note(finding.message) for finding in self.findings]
        parts = (self.setting.start_method, self.setting.python_words)
        whole = Document(headline=self.headline, blocks=tuple(blocks), setting=parts)
        return whole if level == "full" else fit(whole, more=_MORE)

    def rows(self) -> list[dict[str, Any]]:
        """List one row a child and name."""
        return [
            {"index": child.index, "pid": child.pid, "name": name, "bytes": moved}
            for child in self.children
            for name, moved in child.returned.names.items()
        ]


def _listed(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} names"
    quoted = [f"`{shorten(name, NAME)}`" for name in names]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
