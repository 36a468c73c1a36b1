"""Filters of system calls, in the language of bpf(4): seccomp(2)."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBERS = {
    "x86_64": {"ioctl": 16, "vmsplice": 278, "userfaultfd": 323, "process_vm": 310},
    "aarch64": {"ioctl": 29, "vmsplice": 75, "userfaultfd": 282, "process_vm": 270},
}


def refuse(name, code, request=None):
    """Have the kernel answer a call of this process with an error from now on.

    With 0 the call does nothing, and succeeds. With KILL it ends who makes it.
    """

    def load(offset):
        return LOAD, 0, 0, offset

    program = [load(0)]
    number = NUMBERS[platform.machine()][name]
    if request is None:
        program += [(EQUAL, 0, 1, number)]
    else:  # the second argument, its low half
        program += [(EQUAL, 0, 3, number), load(24), (EQUAL, 0, 1, request)]
    program += [
        (RETURN, 0, 0, code if code == KILL else ERRNO | code),
        (RETURN, 0, 0, ALLOW),
    ]
    text = b"".join(struct.pack("HBBI", *line) for line in program)
    kept = ctypes.create_string_buffer(text)
    # struct sock_fprog: the length, and a pointer after padding.
    order = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(kept))
    call(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call(PR_SET_SECCOMP, 2, order, 0, 0)


def call(*arguments):
    """Call prctl(2); raise what it fails with."""
    if LIBC.prctl(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl: {os.strerror(code)}")
