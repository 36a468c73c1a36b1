"""The observer, with a frame oracle beside each mechanism: see conftest.py.

The oracle is begun and read while the child waits, at the same moments. Its figures
go along in fields that no mechanism of pages fills here, and RSS and USS are not read:
`unique_bytes` is what it says is copied, `transport_copied_bytes` what the mechanism
says and cannot be, or misses. A page that the parent rewrote first may be written and
keep its frame: then nobody else has it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ipc_magic.memory import ladder, pagemap
from ipc_magic.memory.figures import Figures
from ipc_magic.memory.maps import private_ranges
from ipc_magic.memory.observing import loop
from ipc_magic.memory.observing.watched import Watched
from ipc_magic.memory.pages import Pages
from ipc_magic.memory.rungs.base import PageRung, Rung
from ipc_magic.memory.rungs.pfn import Frames

_make = ladder.make


class Both(Rung):
    """A mechanism and the oracle."""

    name = "both"

    def __init__(self, rung: Rung) -> None:
        super().__init__(rung.pid)
        self._rung = rung
        self._oracle = Frames(rung.pid)

    def begin(self) -> Figures:
        figures = self._rung.begin()
        self._oracle.begin()
        return replace(figures, unique_bytes=0)

    def read(self) -> Figures:
        figures, oracle = self._rung.read(), self._oracle.read()
        wrong = 0
        if isinstance(self._rung, PageRung):
            ours, truth = self._rung.ledger.end_copied, self._oracle.ledger.end_copied
            wrong = (truth - ours).size + (ours - self._own()).size
        return replace(
            figures, unique_bytes=oracle.copied_bytes, transport_copied_bytes=wrong
        )

    def _own(self) -> Pages:
        ranges = private_ranges(self._oracle.mappings())
        return pagemap.anonymous_pages(self._oracle._pagemap, ranges)[1]

    def close(self) -> None:
        self._rung.close()
        self._oracle.close()


def make(mechanism: str, pid: int, descriptor: int = -1, *more: Any) -> Rung:
    rung = _make(mechanism, pid, descriptor, *more)
    return Both(rung) if mechanism != "psutil" else rung


def serve(control: int, session: int) -> None:
    ladder.make = make
    Watched.read_sums = lambda _child: None
    loop.serve(control, session)
