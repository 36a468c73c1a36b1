"""Bytes on their way out of a child: its pages go into the pipe, not copies of them.

vmsplice(2) without SPLICE_F_GIFT puts references to the pages into the pipe. The one
copy is made by who reads it; until then this process must not change them. It takes no
page for writing, so what is shared with the parent since the fork stays shared. Where
it is refused, writev(2) copies once more.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Sequence

_MOST_AT_ONCE = 256  # of the 1,024 that the kernel takes (IOV_MAX)
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.vmsplice.restype = ctypes.c_ssize_t
_LIBC.vmsplice.argtypes = (
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint),
)


class _Buffer(ctypes.Structure):
    """Py_buffer of CPython's Include/cpython/object.h (pybuffer.h from 3.11)."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


class _Vector(ctypes.Structure):
    """`struct iovec` of readv(2)."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_get_buffer = ctypes.pythonapi["PyObject_GetBuffer"]
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int)
_release_buffer = ctypes.pythonapi["PyBuffer_Release"]
_release_buffer.argtypes = (ctypes.POINTER(_Buffer),)
_release_buffer.restype = None


def _address(view: memoryview) -> int:
    """Return where the bytes of `view` lie, which keeps them there."""
    buffer = _Buffer()
    _get_buffer(view, ctypes.byref(buffer), 0)  # PyBUF_SIMPLE
    try:
        return int(buffer.buf)
    finally:
        _release_buffer(ctypes.byref(buffer))


def vmsplice(pipe: int, views: Sequence[memoryview]) -> int:
    """Put the pages of `views` into `pipe`; return how many bytes of them.

    Waits for room. Raises OSError (vmsplice(2)); EINTR is tried again (PEP 475).
    """
    vectors = (_Vector * len(views))(*(_Vector(_address(v), v.nbytes) for v in views))
    while True:
        done = int(_LIBC.vmsplice(pipe, vectors, len(views), 0))
        if done >= 0:
            return done
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def push(pipe: int, pieces: Sequence[memoryview]) -> None:
    """Put all bytes of `pieces`, each contiguous, into the blocking `pipe`.

    Raises OSError where neither way does it: the reader is gone.
    """
    move: Callable[[int, Sequence[memoryview]], int] = vmsplice
    todo = [piece.cast("B") for piece in reversed(pieces) if piece.nbytes]
    while todo:
        batch = todo[: -_MOST_AT_ONCE - 1 : -1]
        try:
            done = move(pipe, batch)
        except OSError:
            if move is os.writev:
                raise
            done = 0
        if not done:  # refused, by an error or by doing nothing
            move = os.writev
            continue
        while done and done >= todo[-1].nbytes:
            done -= todo.pop().nbytes
        if done:
            todo[-1] = todo[-1][done:]
