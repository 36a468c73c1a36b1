"""A bare socket: `pickle.dumps`, a length, `send`, and nothing of multiprocessing."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ipc_magic.pickling.timing import clock
from ipc_magic.pickling.transports import meter
from ipc_magic.pickling.transports.line import Line
from ipc_magic.pickling.transports.meter import Slate, Told
from ipc_magic.pickling.transports.receiver import receiver

HEAD_BYTES = 8
JOIN_BYTES = 16384  # a copy of so little is cheaper than another system call


@contextmanager
def unix_socket(limit_seconds: float, slate: Slate) -> Iterator[Line]:
    """Send over a pair of stream sockets with the default protocol."""
    here, there = socket.socketpair()

    def receive() -> object:
        size = int.from_bytes(_read(there, HEAD_BYTES), "little")
        pickled = _read(there, size)
        return meter.load(lambda: pickle.loads(pickled), pickled)

    with (
        here,
        there,
        receiver(
            receive,
            limit_seconds=limit_seconds,
            slate=slate,
            ours=[here],
            theirs=[there],
        ) as far,
    ):

        def trip(obj: object) -> Told:
            _send(here, meter.dump(lambda: pickle.dumps(obj)))
            return far.heard()

        yield Line(trip=trip, processes=[far.process])


def _send(sock: socket.socket, pickled: bytes) -> None:
    begin, size, written = clock(), len(pickled), 0
    head = size.to_bytes(HEAD_BYTES, "little")
    for part in (head + pickled,) if size <= JOIN_BYTES else (head, pickled):
        with memoryview(part) as view:
            done = 0
            while done < len(view):
                done += sock.send(view[done:])
        written += done
    meter.sent(begin, size, written)


def _read(sock: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    with memoryview(buffer) as view:
        done = 0
        while done < size:
            count = sock.recv_into(view[done:])
            if not count:
                raise EOFError
            done += count
    return buffer
