"""Messages between the session and its observer: one line of JSON each."""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any

_READ_BYTES = 1 << 16


class Closed(OSError):
    """The other side is gone, or does not answer."""


def send(descriptor: int, message: dict[str, Any]) -> None:
    """Send a message to a connected socket; raises OSError."""
    with _borrowed(descriptor) as wire:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[wire.socket.send(data, socket.MSG_NOSIGNAL) :]


def receive(descriptor: int, timeout_seconds: float | None = None) -> dict[str, Any]:
    """Return the next message; raises `Closed` at the end, or if it takes too long."""
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    data = b""
    with _borrowed(descriptor) as wire:
        while not data.endswith(b"\n"):
            left = None
            if deadline is not None:
                left = max(0.0, deadline - time.monotonic()) * 1000
            if not waiting.poll(left):
                raise Closed("no answer came")
            more = wire.socket.recv(_READ_BYTES)
            if not more:
                raise Closed("the other side is gone")
            data += more
    message: dict[str, Any] = json.loads(data)
    return message


class _borrowed:  # noqa: N801 - used as a statement
    """A descriptor as a socket, which is not closed with it."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)

    def __enter__(self) -> _borrowed:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.detach()
