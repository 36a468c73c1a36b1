"""`multiprocessing.Queue` and `SimpleQueue`.

`Queue.put` only hands the object to a thread, which dumps and sends it: its dump is
timed there, and the handing over counts as transport.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from ipc_magic.pickling.transports.line import Line
from ipc_magic.pickling.transports.meter import Slate, Told
from ipc_magic.pickling.transports.receiver import receiver


@contextmanager
def simple_queue(limit_seconds: float, slate: Slate) -> Iterator[Line]:
    """Send by `SimpleQueue.put`, receive by `SimpleQueue.get`."""
    queue: Any = multiprocessing.get_context("fork").SimpleQueue()
    # A write fails when the receiver has ended, as nobody else has the other end.
    with (
        closing(queue),
        receiver(
            queue.get,
            limit_seconds=limit_seconds,
            slate=slate,
            ours=[queue._writer],
            theirs=[queue._reader],
        ) as far,
    ):

        def trip(obj: object) -> Told:
            queue.put(obj)
            return far.heard()

        yield Line(trip=trip, processes=[far.process])


@contextmanager
def queue(limit_seconds: float, slate: Slate) -> Iterator[Line]:
    """Send by `Queue.put`, receive by `Queue.get`."""
    queue: Any = multiprocessing.get_context("fork").Queue()
    with receiver(
        queue.get,
        limit_seconds=limit_seconds,
        slate=slate,
        ours=[queue._writer],
        theirs=[queue._reader],
    ) as far:
        # Its thread would print the error, and nobody would end the wait for a reply.
        queue._on_queue_feeder_error = lambda error, obj: far.process.kill()

        def trip(obj: object) -> Told:
            queue.put(obj)
            return far.heard()

        try:
            yield Line(trip=trip, processes=[far.process])
        finally:
            far.process.kill()  # or a thread that is still writing would go on
            queue.close()
            queue.join_thread()
