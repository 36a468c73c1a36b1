"""The entries of /proc/PID/pagemap: 64 bits a page (Linux 4.2).

Documentation/admin-guide/mm/pagemap.rst.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from ipc_magic.memory.maps import ENDED
from ipc_magic.memory.pages import PAGE_BYTES, Pages

PRESENT, SWAPPED, FILE, EXCLUSIVE = (np.uint64(1 << bit) for bit in (63, 62, 61, 56))
FRAME = np.uint64((1 << 55) - 1)
_CHUNK = 1 << 15  # entries a read: what stays in the cache while it is looked at
_HUGE_BYTES = 2 << 20

Entries: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"


def entries(
    pagemap: int, ranges: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, Entries]]:
    """Yield the entries of address ranges, with the page number of the first of each.

    An array is good until the next one is asked for. Raises OSError; ESRCH when the
    process has ended.
    """
    buffer = np.empty(_CHUNK, np.uint64)
    for start, end in ranges:
        first, last = start // PAGE_BYTES, end // PAGE_BYTES
        while first < last:
            wanted = buffer[: min(_CHUNK, last - first)]
            got = os.preadv(pagemap, [wanted.data], first * 8) // 8
            if not got:
                raise ProcessLookupError(errno.ESRCH, ENDED)
            yield first, wanted[:got]
            first += got


def anonymous_pages(
    pagemap: int, ranges: Iterable[tuple[int, int]]
) -> tuple[Pages, Pages]:
    """Return the private pages in address ranges, and those that nobody else maps.

    The pages of zeros that were only ever read are among the first.
    """
    held, own = [], []
    for first, found in entries(pagemap, ranges):
        private = (found & (PRESENT | SWAPPED) != 0) & (found & FILE == 0)
        held.append(Pages.of_flags(first, private).runs)
        exclusive = private & (found & EXCLUSIVE != 0)
        own.append(Pages.of_flags(first, exclusive).runs)
    return Pages.of_runs(held), Pages.of_runs(own)


def frames(pagemap: int, pages: Pages) -> Entries:
    """Return the page frame number of each page, 0 where it has none or may not tell.

    Only a process with CAP_SYS_ADMIN is told.
    """
    found = np.zeros(pages.count, np.uint64)
    at = 0
    for _, chunk in entries(pagemap, pages.addresses()):
        there = (chunk & PRESENT) != 0
        found[at : at + len(chunk)] = np.where(there, chunk & FRAME, np.uint64(0))
        at += len(chunk)
    return found


def zero_frames() -> Entries:
    """Return the frames of the small and of the huge page of zeros, as far as met.

    Each is read from a page of our own that was never written.
    """
    return np.unique(np.r_[_zero_frames(huge=False), _zero_frames(huge=True)])


def _zero_frames(*, huge: bool) -> Entries:
    size = 2 * _HUGE_BYTES if huge else PAGE_BYTES
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as m:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                m.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
            except OSError:
                pass  # a kernel without huge pages
        view = np.frombuffer(m, np.uint8)
        address = view.ctypes.data
        int(view[-address % _HUGE_BYTES if huge else 0])
        pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
        try:
            found = [e.copy() for _, e in entries(pagemap, [(address, address + size)])]
        finally:
            os.close(pagemap)
        del view
    pages = np.concatenate(found)
    # Of its own is a page that the kernel made instead (use_zero_page is off).
    zero = (pages & PRESENT != 0) & (pages & EXCLUSIVE == 0)
    return np.asarray(pages[zero] & FRAME)
