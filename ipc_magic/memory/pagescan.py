"""PAGEMAP_SCAN: regions of pages by category, from /proc/PID/pagemap (Linux 6.7).

Documentation/admin-guide/mm/pagemap.rst; struct pm_scan_arg in include/uapi/linux/fs.h.
The numbers are those of the generic `_IOWR`, which x86-64 and aarch64 share.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from ipc_magic.memory.maps import ENDED
from ipc_magic.memory.pages import Pages

_PAGEMAP_SCAN = 0xC0606610
_ARGUMENT = struct.Struct("12Q")
_WALK_END, _WALK_END_AT = struct.Struct("Q"), 32  # the field walk_end
_PROTECT_MATCHING = 1  # PM_SCAN_WP_MATCHING
ROOM = 1 << 12
"""Regions a call: the kernel stops a walk when there is no more room."""

Regions: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"
"""An array of shape (n, 3): the start, the end and the category of each region."""

Segment: TypeAlias = "tuple[int, int, int]"
"""Start and end of a part of the address space, and what to leave out of it."""


class Category:
    """What the kernel says of a page: the PAGE_IS_ constants, as plain integers."""

    ARMED = 1
    """PAGE_IS_WPALLOWED: its mapping is watched by userfaultfd."""
    WRITTEN = 2
    """Not write-protected: of every page of a mapping that is not armed."""
    FILE = 4
    """Of a file, or shared; the kernel must look at the page's own record for this."""
    PRESENT = 8
    SWAPPED = 16
    ZERO = 32
    """PAGE_IS_PFNZERO: the page of zeros that all processes share."""


_TOLD = (
    Category.ARMED
    | Category.WRITTEN
    | Category.PRESENT
    | Category.SWAPPED
    | Category.ZERO
)


class Nonsense(OSError):
    """The kernel answered what cannot be: something between us and it does not work."""


def scan(pagemap: int, start: int, end: int, **how: Any) -> Regions:
    """Return the regions between two addresses; the rest is as with `scan_all`."""
    return scan_all(pagemap, [(start, end, 0)], **how)


def scan_all(
    pagemap: int,
    segments: Iterable[Segment],
    *,
    all_of: int = 0,
    none_of: int = 0,
    any_of: int = 0,
    but: int = 0,
    protect: bool = False,
    vector: Regions | None = None,
) -> Regions:
    """Return the regions in segments, by address, whose pages are of some categories.

    A page must have all of `all_of`, none of `none_of` and of what its segment leaves
    out, and, if any is given, one of `any_of` or lack one of `but`. `protect` has
    userfaultfd watch the pages found, in the mappings that are armed; others are
    passed over. `pagemap` is an open descriptor of the file of any process; `vector`
    is where the kernel writes, to be used again and again.

    Raises OSError where the kernel refuses, ESRCH when the process has ended, and
    `Nonsense` when what it answers cannot be.
    """
    if vector is None:
        vector = np.empty((ROOM, 3), np.uint64)
    address, room, used = vector.ctypes.data, len(vector), 0
    full: list[Regions] = []
    for first, end, others in segments:
        start, out = first, none_of | others
        while start < end:
            argument = bytearray(
                _ARGUMENT.pack(
                    _ARGUMENT.size,
                    _PROTECT_MATCHING if protect else 0,
                    start,
                    end,
                    0,
                    address + vector.itemsize * 3 * used,
                    room - used,
                    0,
                    out | but,
                    all_of | out,
                    any_of | but,
                    _TOLD,
                )
            )
            count = fcntl.ioctl(pagemap, _PAGEMAP_SCAN, argument)
            (walked,) = _WALK_END.unpack_from(argument, _WALK_END_AT)
            if not (start < walked <= end and 0 <= count <= room - used):
                raise Nonsense(errno.EIO, "PAGEMAP_SCAN walked nowhere")
            if (
                count
                and not start <= vector[used, 0] < vector[used + count - 1, 1] <= end
            ):
                raise Nonsense(errno.EIO, "PAGEMAP_SCAN answered for elsewhere")
            used += count
            if used < room:
                break  # all was seen; what `walk_end` says may lag behind: no bound
            full.append(vector.copy())
            start, used = max(walked, int(vector[-1, 1])), 0
    regions = _checked(np.concatenate([*full, vector[:used]]))
    if not os.pread(pagemap, 8, 0):
        # Some kernels scan the memory of an ended process as if it were empty.
        raise ProcessLookupError(errno.ESRCH, ENDED)
    return regions


def _checked(regions: Regions) -> Regions:
    starts, ends = regions[:, 0], regions[:, 1]
    if not ((starts < ends).all() and (starts[1:] >= ends[:-1]).all()):
        raise Nonsense(errno.EIO, "PAGEMAP_SCAN answered regions that cannot be")
    return regions


def pages_with(regions: Regions, category: int, value: int | None = None) -> Pages:
    """Return the pages of the regions in which the bits of `category` are `value`.

    By default all of the bits must be set.
    """
    wanted = np.uint64(category if value is None else value)
    chosen = regions[(regions[:, 2] & np.uint64(category)) == wanted]
    return Pages.of_regions(chosen[:, 0], chosen[:, 1])
