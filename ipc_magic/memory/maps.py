"""The text of /proc/PID/maps, read apart from reading the file (proc(5))."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

_LINE = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ \S+ (\d+) *(.*)$", re.MULTILINE
)
_READ_BYTES = 1 << 16
# Mappings of the kernel's own in every process: nothing of them is copied.
_KERNELS = (b"[vvar", b"[vdso]", b"[vsyscall]")

ENDED = "the process has ended, or executes another program"
"""What it means that a file of its memory is empty."""


class Mapping(NamedTuple):
    """One line of a maps file."""

    start: int
    """Its first address."""
    end: int
    """The address behind it."""
    permissions: bytes
    """Such as b"rw-p": read, write, execute, private or shared."""
    inode: int
    """The file's inode; 0 where no file is mapped."""
    name: bytes
    """The path of a file, a name in brackets, or b""."""

    @property
    def size(self) -> int:
        """How many bytes of addresses it has."""
        return self.end - self.start

    @property
    def private(self) -> bool:
        """Whether what is written to it is this process's own."""
        return self.permissions[3:4] == b"p" and not self.name.startswith(_KERNELS)

    @property
    def writable(self) -> bool:
        """Whether the process may write to it now."""
        return self.permissions[1:2] == b"w"

    @property
    def anonymous(self) -> bool:
        """Whether it is private memory with no file behind it."""
        return self.inode == 0 and self.private


def parse_maps(text: bytes) -> list[Mapping]:
    """Return the mappings that the text of a maps file lists, by address."""
    return [
        Mapping(int(start, 16), int(end, 16), permissions, int(inode), name)
        for start, end, permissions, inode, name in _LINE.findall(text)
    ]


def read_text(maps: int) -> bytes:
    """Return the text of an open maps file, read anew from its start.

    Raises OSError, ESRCH when the process has ended.
    """
    os.lseek(maps, 0, os.SEEK_SET)
    pieces = list(iter(lambda: os.read(maps, _READ_BYTES), b""))
    if not pieces:
        raise ProcessLookupError(errno.ESRCH, ENDED)
    return b"".join(pieces)


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return address ranges, given in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for start, end in ranges:
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def private_ranges(mappings: Iterable[Mapping]) -> list[tuple[int, int]]:
    """Return where private memory can be, mappings that touch as one range."""
    return joined((m.start, m.end) for m in mappings if m.private)
