"""userfaultfd: the kernel notes which pages a process writes (userfaultfd(2)).

The child makes the descriptor, since it watches the process that makes it. All else
is done from outside, on the same descriptor: with WP_ASYNC the kernel resolves each
write by itself, nobody waits, and PAGEMAP_SCAN tells the written pages (Linux 6.7,
Documentation/admin-guide/mm/userfaultfd.rst).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
from collections.abc import Iterable

# arch/x86/entry/syscalls/syscall_64.tbl; the generic table that aarch64 has.
_SYSCALLS = {"x86_64": 323, "aarch64": 282}
_USER_MODE_ONLY = 1  # what may be had without privileges; kernel writes count as well
_UFFDIO_API = 0xC018AA3F
_UFFDIO_REGISTER = 0xC020AA00
_API = 0xAA
_WP_ASYNC = 1 << 15
_MODE_WP = 2


class Creator:
    """Makes the descriptor of the process it is called in; prepared before the fork.

    What the child looks up and imports would be pages that it copies.
    """

    def __init__(self) -> None:
        number = _SYSCALLS.get(platform.machine())
        if number is None or ctypes.sizeof(ctypes.c_void_p) != 8:
            raise OSError(errno.ENOSYS, "no number of userfaultfd is known here")
        flags = _USER_MODE_ONLY | os.O_CLOEXEC | os.O_NONBLOCK
        library = ctypes.CDLL(None, use_errno=True)
        self._call = library.syscall
        self._arguments = (ctypes.c_long(number), ctypes.c_int(flags))

    def create(self) -> int:
        """Return a descriptor that watches this process; raises OSError."""
        descriptor: int = self._call(*self._arguments)
        if descriptor < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return descriptor


def negotiate(descriptor: int) -> None:
    """Have the kernel note writes without waking anyone; EINVAL before Linux 6.7."""
    answer = bytearray(struct.pack("3Q", _API, _WP_ASYNC, 0))
    fcntl.ioctl(descriptor, _UFFDIO_API, answer)
    if not struct.unpack("3Q", answer)[1] & _WP_ASYNC:
        raise OSError(errno.EINVAL, "this kernel cannot note writes by itself")


def register(descriptor: int, ranges: Iterable[tuple[int, int]]) -> None:
    """Arm address ranges of the process, each of mappings that touch.

    What the kernel does not let arm is passed over, and shows as not armed: mappings
    with a userfaultfd of their own, special ones, those that are gone.
    """
    for start, end in ranges:
        argument = struct.pack("4Q", start, end - start, _MODE_WP, 0)
        try:
            fcntl.ioctl(descriptor, _UFFDIO_REGISTER, argument)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EPERM, errno.EINVAL):
                raise
