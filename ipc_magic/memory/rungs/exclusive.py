"""`exclusive` and `witness`: inherited pages that no other process maps any more."""

from __future__ import annotations

from typing import ClassVar

from ipc_magic.memory import pagemap
from ipc_magic.memory.figures import Figures
from ipc_magic.memory.ledger import Ledger
from ipc_magic.memory.maps import private_ranges
from ipc_magic.memory.pages import Pages
from ipc_magic.memory.pagescan import Category, Nonsense, scan
from ipc_magic.memory.rungs.base import PageRung


class Exclusive(PageRung):
    """Reads bit 56 of the child's pages.

    A page that everybody else has given up or rewritten is exclusive, too: alone this
    is an upper bound. It is too low while the child shares copies of its own with a
    process that it forked, unless an earlier reading has seen these pages.
    """

    name: ClassVar[str] = "exclusive"

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self._own_before = Pages()
        self.shares_with_its_own = False
        """Whether pages that were its own no longer are: a process it forked lives."""

    def begin(self) -> Figures:
        """Note the pages, and those that the child has copied by now."""
        held, self._own_before = self.pages()
        self.ledger = Ledger(held)
        return self._figures(Pages(), Pages())

    def pages(self) -> tuple[Pages, Pages]:
        """Return the pages that hold something, and those that nobody else maps."""
        ranges = private_ranges(self.mappings())
        held, own = pagemap.anonymous_pages(self._pagemap, ranges)
        return held - self._zeros(ranges), own

    def _zeros(self, ranges: list[tuple[int, int]]) -> Pages:
        """Return the pages of zeros that were only read, where these can be told."""
        if not ranges:  # it is about to end: nearly all is unmapped
            return Pages()
        try:
            found = scan(self._pagemap, 0, ranges[-1][1], all_of=Category.ZERO)
        except (Nonsense, OSError):  # Linux before 6.7: they count as inherited
            return Pages()
        return Pages.of_regions(found[:, 0], found[:, 1])

    def read(self) -> Figures:
        """Look which of the pages are the child's alone by now."""
        held, own = self.pages()
        ledger = self.ledger
        owned = (self._own_before | ledger.copied) & held
        self.shares_with_its_own = (owned - own).count > 0
        ledger.note(held=held & ledger.inherited, own=own - self._own_before)
        new = held - (ledger.inherited - ledger.gone)
        moved = new - own if ledger.gone.count else Pages()
        return self._figures(new, moved)

    def _figures(self, new: Pages, moved: Pages) -> Figures:
        ledger = self.ledger
        return Figures(
            mechanism=self.name,
            inherited_bytes=ledger.inherited.size,
            copied_bytes=ledger.copied.size,
            end_copied_bytes=ledger.end_copied.size,
            new_bytes=new.size - moved.size,
            gone_bytes=max(0, ledger.gone.size - moved.size),
            unmeasured_bytes=0,
        )


class Witness(Exclusive):
    """The same while an idle process holds the original of every page.

    What the child reads of it is never exclusive then, whoever else writes or ends.
    """

    name: ClassVar[str] = "witness"
