"""What every mechanism does with one child."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import ClassVar

from ipc_magic.memory.figures import Figures
from ipc_magic.memory.ledger import Ledger
from ipc_magic.memory.maps import Mapping, parse_maps, read_text
from ipc_magic.memory.pages import Pages


class Rung(ABC):
    """Reads the memory of one child by one mechanism, from outside of it.

    All methods may raise OSError: ESRCH when the process has ended.
    """

    name: ClassVar[str]

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @abstractmethod
    def begin(self) -> Figures:
        """Note what the child, which waits, has inherited; nothing is copied yet."""

    @abstractmethod
    def read(self) -> Figures:
        """Take a reading; return what is known by now."""

    @abstractmethod
    def close(self) -> None:
        """Let go of all that is held; doing it twice does no harm."""


class PageRung(Rung):
    """A mechanism that looks at single pages, through descriptors opened at once.

    They are of the memory that the process had when they were opened: whoever gets
    its pid later, or what it executes, is never taken for it.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self._pagemap = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._maps = os.open(f"/proc/{pid}/maps", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self._pagemap)
            raise
        self.ledger = Ledger(Pages())
        """The inherited pages, and what happened to them."""

    def maps_text(self) -> bytes:
        """Return what the child's maps file says now."""
        return read_text(self._maps)

    def mappings(self) -> list[Mapping]:
        """Return the mappings that the child has now."""
        return parse_maps(self.maps_text())

    def close(self) -> None:
        """Close the descriptors."""
        if self._pagemap >= 0:
            os.close(self._pagemap)
            os.close(self._maps)
            self._pagemap = -1
