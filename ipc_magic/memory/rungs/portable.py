"""`psutil`: no page is known, only how much memory the child holds alone."""

from __future__ import annotations

import errno
import os
import select
from typing import ClassVar

import psutil

from ipc_magic.memory.figures import Figures
from ipc_magic.memory.maps import ENDED
from ipc_magic.memory.rungs.base import Rung


class UniqueMemory(Rung):
    """Tells the unique set size (USS), which counts new memory as well as copies."""

    name: ClassVar[str] = "psutil"

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self._process: psutil.Process | None = None
        self._pidfd = -1

    def begin(self) -> Figures:
        """Note who it is."""
        try:
            self._process = psutil.Process(self.pid)
            # Of this process, whoever gets its pid within the same tick of the clock.
            self._pidfd = os.pidfd_open(self.pid)
        except (psutil.Error, OSError, AttributeError):
            pass  # /proc is hidden; before Linux 5.3; another system
        return self.read()

    def read(self) -> Figures:
        """Read the USS; what it is made of is not known."""
        unique: int | None = None
        try:
            if self._process is not None:
                unique = self._process.memory_full_info().uss
                # It is 0 where memory was given back at the end of a process.
                if not unique or self._has_ended():
                    raise psutil.NoSuchProcess(self.pid)
        except (psutil.ZombieProcess, psutil.NoSuchProcess) as error:
            raise ProcessLookupError(errno.ESRCH, ENDED) from error
        except (psutil.Error, OSError, AttributeError):
            pass  # it may not be read, or is not known on this system
        return Figures(mechanism=self.name, unique_bytes=unique)

    def _has_ended(self) -> bool:
        if self._pidfd < 0:
            return self._process is None or not self._process.is_running()
        looking = select.poll()
        looking.register(self._pidfd, select.POLLIN)
        return bool(looking.poll(0))

    def close(self) -> None:
        """Let go of the process; doing it twice does no harm."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
