"""`uffd`: the pages a child writes, noted by the kernel and read by PAGEMAP_SCAN."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ipc_magic.memory import pagemap, userfault
from ipc_magic.memory.figures import Figures
from ipc_magic.memory.ledger import Ledger
from ipc_magic.memory.maps import joined, parse_maps, read_text
from ipc_magic.memory.pages import Pages
from ipc_magic.memory.pagescan import (
    ROOM,
    Category,
    Regions,
    Segment,
    pages_with,
    scan_all,
)
from ipc_magic.memory.rungs.base import PageRung

_SHOWN = Category.PRESENT | Category.SWAPPED
# A mapping of that size is scanned by itself. The kernel need not look whether its
# pages are of a file, for which it must fetch a record of 64 bytes of each.
_LARGE_BYTES = 2 << 20
# Where less was inherited, the kernel tells of all pages sooner than of all mappings.
_SMALL_BYTES = 128 << 20

# A writable private mapping, and in front of it what is only read of the same file.
_WRITABLE = re.compile(
    rb"^(?:([0-9a-f]+)-([0-9a-f]+) r--p \S+ \S+ (\d+) .*\n)?"
    rb"([0-9a-f]+)-([0-9a-f]+) .w.p \S+ \S+ (\d+) ",
    re.MULTILINE,
)
# The ends of all mappings but [vsyscall], which lies beyond what a process has.
_ENDS = re.compile(rb"^[0-9a-f]{1,12}-([0-9a-f]{1,12}) ", re.MULTILINE)
_LAST_LINES = 2000  # bytes of a maps file that hold its last lines


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to arm and scan a process, worked out from its mappings."""

    arm: tuple[tuple[int, int], ...]
    """The ranges to arm."""
    segments: tuple[Segment, ...]
    """The address space, large private memory apart from what lies between."""

    @property
    def end(self) -> int:
        """The end of the addresses that the process has."""
        return self.segments[-1][1]


@functools.lru_cache(maxsize=1)
def plan(maps: bytes) -> Plan:
    """Work out from the text of a maps file how to arm and scan the process.

    Armed is what may be written, and a library's RELRO segment, which lies in front of
    its data. Its text is left alone: an armed mapping is read into memory page by page,
    not 16 at once (`uffd_disable_fault_around` in include/linux/userfaultfd_k.h).
    """
    arm: list[tuple[int, int]] = []
    anonymous: list[tuple[int, int]] = []
    for found in _WRITABLE.findall(maps):
        before, before_end, before_inode, *addresses, inode = found
        start, end = (int(address, 16) for address in addresses)
        if inode == b"0":
            anonymous.append((start, end))
        elif before_inode == inode and int(before_end, 16) == start:
            start = int(before, 16)
        arm.append((start, end))
    last = max(int(end, 16) for end in _ENDS.findall(maps[-_LAST_LINES:]))
    segments = tuple(_cut(joined(anonymous), last))
    return Plan(arm=tuple(joined(arm)), segments=segments)


def _cut(anonymous: list[tuple[int, int]], last: int) -> Iterator[Segment]:
    at = 0
    for start, end in anonymous:
        if end - start >= _LARGE_BYTES:
            yield at, start, Category.FILE
            yield start, end, 0
            at = end
    yield at, last, Category.FILE


class Uffd(PageRung):
    """Watches one child by the userfaultfd that it made, which is ours to close."""

    name: ClassVar[str] = "uffd"

    def __init__(self, pid: int, descriptor: int, foreseen: Plan | None = None) -> None:
        super().__init__(pid)
        self._userfault = descriptor
        self._plan = foreseen
        self._unmeasured = Pages()
        self._vector = np.empty((ROOM, 3), np.uint64)

    @classmethod
    def foresee(cls, pid: int) -> Plan:
        """Make the plan for a child while it sets itself up, to lose no time later."""
        maps = os.open(f"/proc/{pid}/maps", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return plan(read_text(maps))
        finally:
            os.close(maps)

    def begin(self) -> Figures:
        """Arm what may be written, or holds private pages, and note these pages.

        Mappings may have come since the plan was made: their pages are missed then,
        which shows, and they are armed in a second go.
        """
        userfault.negotiate(self._userfault)
        self._plan = self._plan or plan(self.maps_text())
        userfault.register(self._userfault, self._plan.arm)
        inherited = self._protect(self._plan.segments)
        if (missed := self._not_armed()).count:
            private = [(m.start, m.end) for m in self.mappings() if m.private]
            met = itertools.compress(private, missed.meets(private))
            userfault.register(self._userfault, met)
            again = [(start, end, 0) for start, end in missed.addresses()]
            inherited |= self._protect(again)
            self._unmeasured = self._not_armed()
        self.ledger = Ledger(inherited)
        return self._figures(new_bytes=0, moved_bytes=0)

    def _protect(self, segments: Iterable[Segment]) -> Pages:
        """Have the kernel watch all private pages in armed mappings; return them."""
        return _pages_of(
            self._scan(segments, any_of=_SHOWN, none_of=Category.ZERO, protect=True)
        )

    def _not_armed(self) -> Pages:
        """Return the private pages in other mappings, of which there should be none."""
        not_armed = Category.ARMED | Category.FILE | Category.ZERO
        return _pages_of(
            self._scan([(0, self._end, 0)], any_of=_SHOWN, none_of=not_armed)
        )

    @property
    def _end(self) -> int:
        assert self._plan is not None
        return self._plan.end

    def read(self) -> Figures:
        """Look which inherited pages are written or missing, and what is new."""
        ledger = self.ledger
        small = ledger.inherited.size < _SMALL_BYTES
        kept, there = self._look_at_all() if small else self._look_for_changes()
        written = pages_with(there, Category.WRITTEN)
        armed = pages_with(there, Category.ARMED | Category.WRITTEN)
        held = ledger.inherited & kept
        ledger.note(held=held, own=armed)
        new = written - (ledger.inherited - ledger.gone) - self._unmeasured
        moved = self._moved(new - armed) if ledger.gone.count else Pages()
        return self._figures(new_bytes=new.size - moved.size, moved_bytes=moved.size)

    def _look_at_all(self) -> tuple[Pages, Regions]:
        """Return the pages still there in armed mappings, and all private regions."""
        assert self._plan is not None
        found = self._scan(self._plan.segments, any_of=_SHOWN, none_of=Category.ZERO)
        armed = (found[:, 2] & np.uint64(Category.ARMED)) != 0
        # Mapped since then, of a file perhaps where private memory was.
        others = [
            (start, end, Category.FILE) for start, end, _ in found[~armed].tolist()
        ]
        new = self._scan(others, any_of=_SHOWN, none_of=Category.ZERO)
        there = np.concatenate((found[armed], new))
        return pages_with(there, Category.ARMED), there

    def _look_for_changes(self) -> tuple[Pages, Regions]:
        """Return the same, of what is there only the written regions.

        The kernel passes over unwritten pages four times as fast as it tells of them.
        What is mapped no more is not told at all: the maps file is read for that,
        which takes a millisecond, as much as to tell of half a GiB.
        """
        text = self.maps_text()
        regions = self._scan(
            plan(text).segments,
            any_of=Category.WRITTEN,
            but=Category.PRESENT,
            none_of=0,
        )
        mappings = parse_maps(text)
        mapped = Pages.between((m.start, m.end) for m in mappings if m.private)
        # A mapping made anew in the place of an inherited one is not armed. A page of
        # zeros was none before, or is what is read where a page was given up.
        missing = pages_with(regions, _SHOWN, 0) | pages_with(regions, Category.ZERO)
        replaced = pages_with(regions, Category.ARMED, 0)
        there = regions[
            ((regions[:, 2] & np.uint64(_SHOWN)) != 0)
            & ((regions[:, 2] & np.uint64(Category.ZERO)) == 0)
        ]
        return mapped - missing - replaced, there

    def _figures(self, *, new_bytes: int, moved_bytes: int) -> Figures:
        ledger = self.ledger
        return Figures(
            mechanism=self.name,
            inherited_bytes=ledger.inherited.size + self._unmeasured.size,
            written_bytes=ledger.copied.size,
            copied_bytes=ledger.copied.size,
            end_copied_bytes=ledger.end_copied.size,
            new_bytes=new_bytes,
            gone_bytes=max(0, ledger.gone.size - moved_bytes),
            unmeasured_bytes=self._unmeasured.size,
        )

    def _scan(self, segments: Iterable[Segment], **how: Any) -> Regions:
        return scan_all(self._pagemap, segments, vector=self._vector, **how)

    def _moved(self, pages: Pages) -> Pages:
        """Return those of the pages that somebody else maps, too: they were moved."""
        held, own = pagemap.anonymous_pages(self._pagemap, pages.addresses())
        return held - own

    def close(self) -> None:
        """Close the descriptors: the child is watched no more."""
        super().close()
        if self._userfault >= 0:
            os.close(self._userfault)
            self._userfault = -1


def _pages_of(regions: Regions) -> Pages:
    return Pages.of_regions(regions[:, 0], regions[:, 1])
