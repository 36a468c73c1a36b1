"""What is noted of the session itself while its children are watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipc_magic.memory.observing import named

_THREADS = 17  # num_threads among the fields behind the name, proc(5)


class Session:
    """Looks at the session whenever children are read.

    `gauge` names the function that tells how much memory is free, as in
    "package.module:function", or is empty.
    """

    def __init__(self, pid: int, gauge: str) -> None:
        self._pid = pid
        self._gauge: Callable[[], int] | None = named.found(gauge) if gauge else None
        self.free: int | None = None
        """The free memory as of the last look; `None` without a gauge."""
        self._least_free: int | None = None
        self._most_threads = threads(pid)

    def look(self) -> None:
        """Note what there is now, if it is less free memory or more threads."""
        self._most_threads = max(self._most_threads, threads(self._pid))
        if self._gauge is None:
            return
        try:
            self.free = self._gauge()
        except OSError:  # no file can be opened now
            return
        if self._least_free is None or self.free < self._least_free:
            self._least_free = self.free

    def record(self) -> dict[str, Any]:
        """Return what was noted."""
        return {"least_free": self._least_free, "most_threads": self._most_threads}


def threads(pid: int) -> int:
    """Return how many threads a process has, 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b") ")[2].split()[_THREADS])
    except (OSError, IndexError):
        return 0
