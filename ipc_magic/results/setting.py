"""The circumstances for which a result is valid."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass

from ipc_magic.render.units import plural


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Where and how something was measured."""

    python: str
    """The interpreter's version, such as "3.11.7"."""
    system: str
    """The kernel's name and version, such as "Linux 6.18"."""
    start_method: str
    """How the children were made: "fork", "forkserver" or "spawn"."""
    parent_threads: int | None = None
    """Threads of the parent at the fork, Python's and others'; `None`: unknown."""

    @classmethod
    def current(
        cls, *, start_method: str = "fork", parent_threads: int | None = None
    ) -> Setting:
        """Read the setting of this process; threads are counted unless given."""
        if parent_threads is None:
            parent_threads = count_threads()
        return cls(
            python=".".join(map(str, sys.version_info[:3])),
            system=_system(),
            start_method=start_method,
            parent_threads=parent_threads,
        )

    @property
    def python_words(self) -> str:
        """`Python 3.11`: bytes and times hardly differ between patch releases."""
        return "Python " + ".".join(self.python.split(".")[:2])

    @property
    def threads_words(self) -> str | None:
        """`9 threads at the fork`; `None` where unknown or nothing is forked."""
        if self.parent_threads is None or self.start_method != "fork":
            return None
        return f"{plural(self.parent_threads, 'thread')} at the fork"


def count_threads() -> int:
    """Count the threads of this process, on Linux those of C libraries too."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:  # no /proc: Python's own threads are all one can cheaply count
        return threading.active_count()


def _system() -> str:
    # platform.platform() starts by parsing files and takes a millisecond or more.
    if not hasattr(os, "uname"):
        return sys.platform
    name = os.uname()
    return f"{name.sysname} {'.'.join(name.release.split('-')[0].split('.')[:2])}"
