"""New memory for what arrives: unfilled, in huge pages, of the types pickle makes.

Filling it first, as `bytearray(n)` does, would fault every page in twice over.
"""

from __future__ import annotations

import ctypes
import mmap

# numpy asks for huge pages from this size on, too (numpy/core/src/multiarray/alloc.c).
_HUGE_FROM_BYTES = 4 << 20
_PAGE = mmap.PAGESIZE
_C_API = ctypes.PyDLL(None)
_LIBC = ctypes.CDLL(None, use_errno=True)


def _make(kind: str) -> ctypes._FuncPointer:
    make = _C_API[f"Py{kind}_FromStringAndSize"]
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t)
    return make


def _address(kind: str) -> ctypes._FuncPointer:
    address = _C_API[f"Py{kind}_AsString"]
    address.restype, address.argtypes = ctypes.c_void_p, (ctypes.py_object,)
    return address


_KINDS = {
    False: (_make("ByteArray"), _address("ByteArray")),
    True: (_make("Bytes"), _address("Bytes")),
}


def make(size: int, *, readonly: bool) -> tuple[bytes | bytearray, memoryview]:
    """Return a new `bytes` or `bytearray` of `size` bytes, and a way to fill it.

    To be filled before anybody else sees it, as CPython itself does with a new bytes
    object (Objects/bytesobject.c, PyBytes_FromStringAndSize). Raises MemoryError.
    """
    new, address_of = _KINDS[readonly]
    made = new(None, size)
    address = address_of(made)
    if size >= _HUGE_FROM_BYTES:
        begin = -(-address // _PAGE) * _PAGE
        length = (address + size) // _PAGE * _PAGE - begin
        # A kernel without them refuses: 4 KiB pages do, slower.
        _LIBC.madvise(
            ctypes.c_void_p(begin), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE
        )
    room = (ctypes.c_char * size).from_address(address)
    return made, memoryview(room).cast("B")
