"""The lengths of pickle's opcodes, read in whole arrays of places of a stream.

A pickler writes something itself at two kinds of places: where it saves an object
with nothing below it, and where what is below an object has been written. Of both
the length can be read from the opcodes that stand there. Sizes of arguments are
`pickletools`'. Arrays are numpy's, of bytes for the stream, of int64 for places.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import Any

from ipc_magic.pickling.recording import LARGE_BYTES

# Zeros after the stream, so that looking beyond an opcode needs no test.
PADDING = 16

_MEMOIZE = (pickle.MEMOIZE, pickle.BINPUT, pickle.LONG_BINPUT)
_GET = (pickle.BINGET, pickle.LONG_BINGET)
_ENDS = (
    *(pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS, pickle.ADDITEMS),
    *(pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.FROZENSET),
    *(pickle.REDUCE, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.STACK_GLOBAL),
    pickle.BUILD,
)
_MADE = (pickle.REDUCE, pickle.NEWOBJ, pickle.NEWOBJ_EX)
# Contents of these go to the file by themselves if they are large.
_CONTENTS = (
    *(pickle.BINBYTES, pickle.BINBYTES8, pickle.BYTEARRAY8),
    *(pickle.BINUNICODE, pickle.BINUNICODE8),
)


class Unreadable(Exception):
    """A stream is not what CPython's pickler writes; the place is said."""


class Reader:
    """The opcodes of one stream, without frames and without large contents."""

    def __init__(self, stream: Any) -> None:
        import numpy as np

        self._np = np
        self.size = len(stream)
        self.bytes = np.zeros(self.size + PADDING, np.uint8)
        self.bytes[: self.size] = stream
        self._fixed = np.zeros(256, np.int64)
        self._short = np.zeros(256, np.int64)
        self._counted = np.zeros(256, np.int64)
        for opcode in pickletools.opcodes:
            size = 0 if opcode.arg is None else opcode.arg.n
            if size >= 0:
                self._fixed[ord(opcode.code)] = 1 + size
            elif size == pickletools.TAKEN_FROM_ARGUMENT1:
                self._fixed[ord(opcode.code)] = 2
                self._short[ord(opcode.code)] = 1
            elif size in _WIDTHS:
                self._counted[ord(opcode.code)] = _WIDTHS[size]
        self._whole = np.where(self._fixed, self._fixed, -1)
        self._whole[self._short > 0] = -1
        self._memoize = self._among(_MEMOIZE) * self._fixed
        self._get = self._among(_GET)
        self._end = self._among(_ENDS)
        self._batched = self._among((pickle.SETITEMS, pickle.ADDITEMS))
        self._made = self._among(_MADE)
        self._contents = self._among(_CONTENTS)

    def _among(self, codes: tuple[bytes, ...]) -> Any:
        found = self._np.zeros(256, bool)
        found[[code[0] for code in codes]] = True
        return found

    def is_reference(self, places: Any) -> Any:
        """Say of each place whether an object met before is named there."""
        return self._get.take(self.bytes.take(places))

    def are_fixed(self, places: Any, sizes: Any) -> Any:
        """Say where an opcode of a fixed length stands, and takes so many bytes."""
        return self._whole.take(self.bytes.take(places)) == sizes

    def leaves(self, places: Any) -> Any:
        """Return the lengths of objects with nothing below them."""
        np = self._np
        codes = self.bytes.take(places)
        # Most have a length of one byte.
        sizes = self._short.take(codes) * self.bytes.take(places + 1)
        sizes += self._fixed.take(codes)
        widths = self._counted.take(codes)
        for width in (4, 8):
            chosen = np.flatnonzero(widths == width)
            if len(chosen):
                lengths = self._numbers(places[chosen] + 1, width)
                large = self._contents[codes[chosen]] & (lengths >= LARGE_BYTES)
                sizes[chosen] = 1 + width + np.where(large, 0, lengths)
        for n in np.flatnonzero((sizes == 0) | (codes == pickle.MARK[0])):
            sizes[n] = self._odd_leaf(int(places[n]))
        if len(places) and int((places + sizes).max()) > self.size:
            raise Unreadable("an object reaches beyond the end")
        sizes += self._memoize.take(self.bytes.take(places + sizes))
        return sizes

    def _numbers(self, places: Any, width: int) -> Any:
        total = self._np.zeros(len(places), self._np.int64)
        for n in range(width):
            total |= self.bytes[places + n].astype(self._np.int64) << (8 * n)
        return total

    def _odd_leaf(self, place: int) -> int:
        code = self._code(place)
        if code == pickle.GLOBAL:  # two lines of text
            text = bytes(self.bytes[place : self.size])
            return text.index(b"\n", text.index(b"\n") + 1) + 1
        if code == pickle.MARK and self._code(place + 1) == pickle.FROZENSET:
            return 2  # an empty one
        raise Unreadable(f"no object begins with {code!r}, at {place}")

    def ends(self, places: Any) -> Any:
        """Return the lengths of what ends one object at each place.

        It is one opcode that takes what is below the object from the stack, and
        what stores the object in the memo.
        """
        np = self._np
        codes = self.bytes.take(places)
        sizes = np.ones(len(places), np.int64)
        after = self.bytes.take(places + 1)
        odd = (self._made.take(codes) & (after == pickle.POP[0])) | (
            (codes == pickle.TUPLE2[0]) & (after == pickle.REDUCE[0])
        )
        sizes += self._memoize.take(after)
        # CPython ends a full last batch of a dict or set with one of no items.
        empty = self._batched.take(codes) & (after == pickle.MARK[0])
        sizes[empty & (self.bytes[places + 2] == codes)] = 3
        for n in np.flatnonzero(odd | ~self._end.take(codes)):
            sizes[n] = self._odd_end(int(places[n]))
        return sizes

    def _odd_end(self, place: int) -> int:
        code, after = self._code(place), self._code(place + 1)
        if code == pickle.TUPLE2 and after == pickle.REDUCE:
            return 3  # a function that sets the state was called; then POP
        # An object that was stored while what is below it was written: what is on
        # the stack is thrown away, and the stored one taken.
        size = 1 if code in _MADE else 0
        while self._code(place + size) in (pickle.POP, pickle.POP_MARK):
            size += 1
        if self._code(place + size) in _GET:
            return size + int(self._fixed[self.bytes[place + size]])
        raise Unreadable(f"no object ends with {code!r}, at {place}")

    def code(self, place: int) -> bytes:
        """Return the opcode at a place."""
        return self._code(place)

    def _code(self, place: int) -> bytes:
        return bytes(self.bytes[place : place + 1])


_WIDTHS = {
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
