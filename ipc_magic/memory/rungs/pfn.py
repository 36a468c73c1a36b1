"""`pfn`: inherited pages that lie in another page frame than before."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ipc_magic.memory import pagemap
from ipc_magic.memory.figures import Figures
from ipc_magic.memory.ledger import Ledger
from ipc_magic.memory.maps import private_ranges
from ipc_magic.memory.pages import Pages
from ipc_magic.memory.rungs.base import PageRung


class Frames(PageRung):
    """Compares page frame numbers: what was copied in fact. Needs CAP_SYS_ADMIN."""

    name: ClassVar[str] = "pfn"

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self._frames = np.empty(0, np.uint64)

    def begin(self) -> Figures:
        """Note the frame of every page; raises PermissionError if none is told."""
        held = self._held()
        frames = pagemap.frames(self._pagemap, held)
        if held.count and not frames.any():
            raise PermissionError("page frame numbers are hidden: no CAP_SYS_ADMIN")
        zeros = np.isin(frames, pagemap.zero_frames())
        inherited = held - _chosen(held, zeros)
        self.ledger, self._frames = Ledger(inherited), frames[~zeros]
        return self._figures(new_bytes=0, moved_bytes=0)

    def _held(self) -> Pages:
        ranges = private_ranges(self.mappings())
        return pagemap.anonymous_pages(self._pagemap, ranges)[0]

    def read(self) -> Figures:
        """Compare the frames."""
        held, ledger = self._held(), self.ledger
        zero_frames = pagemap.zero_frames()
        frames = pagemap.frames(self._pagemap, ledger.inherited)
        changed = (frames != self._frames) & (frames != 0)
        zeros = _chosen(ledger.inherited, np.isin(frames, zero_frames))
        there = (held & ledger.inherited) - zeros  # given up, and read again
        own = _chosen(ledger.inherited, changed) & there
        ledger.note(held=there, own=own)
        new = held - (ledger.inherited - ledger.gone)
        new_frames = pagemap.frames(self._pagemap, new)
        zeros = _chosen(new, np.isin(new_frames, zero_frames))
        # A frame that was inherited at another address: moved (mremap(2)).
        moved = _chosen(new, np.isin(new_frames, self._frames[self._frames != 0]))
        return self._figures(
            new_bytes=(new - zeros - moved).size, moved_bytes=moved.size
        )

    def _figures(self, *, new_bytes: int, moved_bytes: int) -> Figures:
        ledger = self.ledger
        return Figures(
            mechanism=self.name,
            exact=True,
            inherited_bytes=ledger.inherited.size,
            copied_bytes=ledger.copied.size,
            end_copied_bytes=ledger.end_copied.size,
            new_bytes=new_bytes,
            gone_bytes=max(0, ledger.gone.size - moved_bytes),
            unmeasured_bytes=0,
        )


def _chosen(pages: Pages, flags: Any) -> Pages:
    """Return the pages whose flag is set; there is a flag for each page, in order."""
    edges = np.r_[0, np.cumsum(pages.runs[:, 1] - pages.runs[:, 0])]
    return Pages.of_runs(
        Pages.of_flags(first, flags[a:b]).runs
        for first, a, b in zip(pages.runs[:, 0], edges, edges[1:], strict=False)
    )
