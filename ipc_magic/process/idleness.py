"""How long a process and its descendants have used no CPU."""

from __future__ import annotations

from ipc_magic.process import guards


class Idleness:
    """Looks now and then; a look is cheap while the process itself is busy."""

    def __init__(self, pid: int, now: float) -> None:
        self._pid = pid
        self._since = now
        self._own: bytes | None = None
        self._all: float | None = None
        self.looked = False
        """Whether there were two looks, so that `seconds` says something."""

    def seconds(self, now: float) -> float:
        """Return for how long no CPU has been used, as far as the looks tell."""
        own = guards.own_cpu_ticks(self._pid)
        if own != self._own:
            self.looked = self._own is not None
            self._own, self._all, self._since = own, None, now
            return 0.0
        self.looked = True
        used = guards.cpu_seconds(self._pid)
        if self._all is not None and used != self._all:
            self._since = now  # a descendant computes
        self._all = used
        return now - self._since
