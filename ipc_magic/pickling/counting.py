"""A file to pickle into that counts bytes and keeps none."""

from __future__ import annotations

import pickle


class Counting:
    """A write-only file; `size` is how many bytes were written to it."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview | pickle.PickleBuffer) -> None:
        """Count the bytes of `data`: a pickler hands large buffers over as they are."""
        # A view counts bytes where `len` may count items, and it copies nothing.
        self.size += len(data) if type(data) is bytes else memoryview(data).nbytes
