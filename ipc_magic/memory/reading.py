"""One look at a process that somebody else forked."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from ipc_magic.memory.rungs.exclusive import Exclusive
from ipc_magic.memory.smaps import open_smaps_rollup, read_smaps_rollup


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The private memory of one process, in bytes, at one moment."""

    pid: int
    shared_bytes: int
    """Pages that another process maps, too: inherited and not copied, or handed on."""
    own_bytes: int
    """Pages that it maps alone: new, copied, or given up by all others."""
    exact: bool
    """Whether single pages were looked at; else these are the kernel's sums."""


def read(pid: int) -> Reading:
    """Return what a process shares of its private memory, and what it holds alone.

    Pages of private anonymous memory and written pages of private file mappings,
    by bit 56 of /proc/PID/pagemap (Linux 4.2), else Shared_Dirty and Private_Dirty of
    smaps_rollup. Raises ProcessLookupError when there is no such process,
    PermissionError when it may not be looked at: it must be of the same user and
    dumpable (ptrace(2), PTRACE_MODE_READ).
    """
    try:
        return _by_pages(pid)
    except ProcessLookupError:
        raise
    except OSError:
        _raise_if_gone(pid)
    try:
        return _by_sums(pid)
    except FileNotFoundError as error:
        hidden = f"/proc does not show process {pid}"
        raise PermissionError(errno.EACCES, hidden) from error


def _raise_if_gone(pid: int) -> None:
    try:
        if pid > 0:
            os.kill(pid, 0)  # asks only whether it is there (kill(2))
            return
    except PermissionError:
        return
    except ProcessLookupError:
        pass
    raise ProcessLookupError(errno.ESRCH, f"there is no process {pid}")


def _by_pages(pid: int) -> Reading:
    pages = Exclusive(pid)
    try:
        held, own = pages.pages()
    finally:
        pages.close()
    return Reading(
        pid=pid, shared_bytes=(held - own).size, own_bytes=own.size, exact=True
    )


def _by_sums(pid: int) -> Reading:
    with open_smaps_rollup(pid) as file:
        sums = read_smaps_rollup(file)
    return Reading(
        pid=pid,
        shared_bytes=sums.get("Shared_Dirty", 0),
        own_bytes=sums.get("Private_Dirty", 0),
        exact=False,
    )
