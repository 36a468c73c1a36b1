"""`smaps`: an estimate from the kernel's sums over all mappings of the child."""

from __future__ import annotations

import errno
from typing import ClassVar

from ipc_magic.memory.figures import Figures
from ipc_magic.memory.rungs.base import Rung
from ipc_magic.memory.smaps import open_smaps_rollup, read_smaps_rollup


class SmapsRollup(Rung):
    """Takes the fall of Shared_Dirty for what was copied.

    New memory does not move it, as it does USS; what the parent writes, and what the
    child frees, does.
    """

    name: ClassVar[str] = "smaps"

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        # Of the memory that the process has now, whatever it executes later.
        self._file = open_smaps_rollup(pid)
        self._first: dict[str, int] = {}
        self._most_copied = 0

    def begin(self) -> Figures:
        """Note the sums."""
        self._first = self._sums()
        return self._figures(self._first)

    def read(self) -> Figures:
        """Compare the sums."""
        return self._figures(self._sums())

    def _sums(self) -> dict[str, int]:
        sums = read_smaps_rollup(self._file)
        if not {"Shared_Dirty", "Anonymous"} <= sums.keys():
            raise OSError(errno.ENODATA, "smaps_rollup lacks sums that are needed")
        return sums

    def _figures(self, now: dict[str, int]) -> Figures:
        first = self._first
        copied = max(0, first["Shared_Dirty"] - now["Shared_Dirty"])
        self._most_copied = max(self._most_copied, copied)
        return Figures(
            mechanism=self.name,
            inherited_bytes=first["Anonymous"],
            copied_bytes=self._most_copied,
            end_copied_bytes=copied,
            new_bytes=max(0, now["Anonymous"] - first["Anonymous"]),
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()
