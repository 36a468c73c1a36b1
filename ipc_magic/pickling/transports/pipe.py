"""`multiprocessing.Pipe`, as it is made when nothing is said: a pair of sockets."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator
from contextlib import contextmanager

from ipc_magic.pickling.transports import meter
from ipc_magic.pickling.transports.line import Line
from ipc_magic.pickling.transports.meter import Event, Hop, Slate, Told
from ipc_magic.pickling.transports.receiver import receiver


@contextmanager
def pipe(limit_seconds: float, slate: Slate) -> Iterator[Line]:
    """Send by `Connection.send`, receive by `Connection.recv`."""
    here, there = multiprocessing.Pipe()
    with (
        here,
        there,
        receiver(
            there.recv,
            limit_seconds=limit_seconds,
            slate=slate,
            ours=[here],
            theirs=[there],
        ) as far,
    ):

        def trip(obj: object) -> Told:
            here.send(obj)
            return far.heard()

        yield Line(trip=trip, processes=[far.process])


@contextmanager
def pipe_out_of_band(limit_seconds: float, slate: Slate) -> Iterator[Line]:
    """Send what protocol 5 leaves in band by `send_bytes`, then each buffer so.

    The receiver reads the buffers into memory that the loaded object keeps.
    """
    here, there = multiprocessing.Pipe()
    sizes: list[int] = []

    def receive() -> object:
        count = int.from_bytes(there.recv_bytes(), "little")
        pickled = there.recv_bytes()
        buffers = []
        for _ in range(count):
            buffers.append(bytearray(int.from_bytes(there.recv_bytes(), "little")))
            if buffers[-1]:
                there.recv_bytes_into(buffers[-1])
        return meter.load(lambda: pickle.loads(pickled, buffers=buffers), pickled)

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
            buffers: list[pickle.PickleBuffer] = []
            pickled = meter.dump(
                lambda: pickle.dumps(obj, 5, buffer_callback=buffers.append)
            )
            here.send_bytes(len(buffers).to_bytes(8, "little"))
            here.send_bytes(pickled)
            sizes.clear()
            for buffer in buffers:
                with buffer.raw() as view:
                    here.send_bytes(view.nbytes.to_bytes(8, "little"))
                    if view.nbytes:
                        here.send_bytes(view)
                    sizes.append(view.nbytes)
            return far.heard()

        def hops(begin: float, heard: list[Event]) -> list[Hop]:
            messages = 2 + sum(2 if size else 1 for size in sizes)
            return [meter.hop(begin, heard, messages=messages)]

        yield Line(
            trip=trip,
            hops=hops,
            processes=[far.process],
            buffer_bytes=lambda: sum(sizes),
        )
