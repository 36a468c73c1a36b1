"""The kernel's sums over a process's mappings: /proc/PID/smaps_rollup."""

from __future__ import annotations

import errno
import re
from typing import TextIO

from ipc_magic.memory.maps import ENDED

_FIELD = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


def parse_smaps_rollup(text: str) -> dict[str, int]:
    """Return the fields of a `smaps_rollup` text by the kernel's names, in bytes.

    Format: Documentation/filesystems/proc.rst, "smaps_rollup".
    """
    return {name: int(kib) * 1024 for name, kib in _FIELD.findall(text)}


def open_smaps_rollup(pid: int) -> TextIO:
    """Return the open file of a process; raises OSError (Linux 4.14 has the file)."""
    return open(f"/proc/{pid}/smaps_rollup", encoding="ascii")


def read_smaps_rollup(file: TextIO) -> dict[str, int]:
    """Return the fields of an open file, read anew.

    Raises OSError, ESRCH when the process has ended.
    """
    file.seek(0)
    if fields := parse_smaps_rollup(file.read()):
        return fields
    raise ProcessLookupError(errno.ESRCH, ENDED)


def private_dirty_bytes(pid: int) -> int:
    """Return how many bytes only the process `pid` holds and has written.

    In a forked child: what it allocated, what it copied of what it inherited, and
    what its parent gave up meanwhile, so never too little. 0 when it is gone or may
    not be read.
    """
    try:
        with open_smaps_rollup(pid) as file:
            return read_smaps_rollup(file).get("Private_Dirty", 0)
    except OSError:
        return 0


def resident_and_unique_bytes(pid: int) -> tuple[int, int]:
    """Return what psutil calls RSS and USS of a process; raises OSError."""
    with open_smaps_rollup(pid) as file:
        sums = read_smaps_rollup(file)
    unique = ("Private_Clean", "Private_Dirty", "Private_Hugetlb")
    return sums.get("Rss", 0), sum(sums.get(name, 0) for name in unique)
