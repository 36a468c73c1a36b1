"""Frames on the channel between a child and its parent, as pure functions.

A frame is a magic number, a length, a moment, and the pickle of a `(kind, fields)`
pair that holds only plain containers and values: the parent's decoder finds no
classes, so whatever a child writes there, nothing of it runs in the parent.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

MAGIC = b"\x93ipc"
_HEAD = struct.Struct("<4sQd")


class Message(NamedTuple):
    """One frame: its kind (a word), its fields, and when it was sent if it tells."""

    kind: str
    fields: dict[str, Any]
    sent_at: float = 0.0
    """Monotonic clock, 0 where the sender did not say."""


class BrokenChannel(Exception):
    """Bytes arrived that no child of ours has written."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise BrokenChannel(f"a frame names {module}.{name}")


def plain(value: Any) -> Any:
    """Return `value` rebuilt of plain containers and values, others as their text."""
    kind = type(value)
    if value is None or kind in (str, bytes, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {_plain_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        return str.__str__(value)  # str() of a subclass may be of that subclass
    bases: tuple[Callable[[Any], Any], ...] = (bytes, bool, int, float)
    for base in bases:
        if isinstance(value, base):  # type: ignore[arg-type]
            return base(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        item = value.item()  # of a numpy scalar; a long double gives itself
        return plain(item) if type(item) is not kind else str(value)
    return str.__str__(str(value))


def _plain_key(key: Any) -> Any:
    made = plain(key)
    return str(key) if isinstance(made, (list, dict)) else made


def encode(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Return the frame of one message; `fields` must be plain (see `plain`)."""
    return frame(body_of(kind, fields))


def body_of(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Return what the frame of a message holds, to be made ahead."""
    return pickle.dumps((kind, dict(fields)), 5)


def frame(body: bytes, *, sent_at: float = 0.0) -> bytes:
    """Return the frame around `body`."""
    return _HEAD.pack(MAGIC, len(body), sent_at) + body


class Decoder:
    """Bytes in, whole messages out, however the bytes were cut.

    Raises `BrokenChannel` on bytes that are no frames.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that `data` completes."""
        self._pending += data
        while self._pending:
            if not MAGIC.startswith(bytes(self._pending[: len(MAGIC)])):
                raise BrokenChannel("bytes that are no frame")
            if len(self._pending) < _HEAD.size:
                return
            _, length, sent_at = _HEAD.unpack_from(self._pending)
            end = _HEAD.size + length
            if len(self._pending) < end:
                return
            # A frame that cannot be read stays there: what was broken stays broken.
            body = bytes(memoryview(self._pending)[_HEAD.size : end])
            message = self._message(body)._replace(sent_at=sent_at)
            del self._pending[:end]
            yield message

    def _message(self, body: bytes) -> Message:
        try:
            kind, fields = _PlainUnpickler(io.BytesIO(body)).load()
        except BrokenChannel:
            raise
        except Exception as error:  # garbage fails in many ways; each means the same
            raise BrokenChannel(f"a frame cannot be read: {error}") from error
        if not (isinstance(kind, str) and isinstance(fields, dict)):
            raise BrokenChannel("a frame of another shape")
        return Message(kind, fields)
