"""`multiprocessing.Manager().dict()`: through a third process, so pickled twice.

The sender sets an item of the dict, the receiver gets it: dump and load, in the
manager and again in the receiver, are each the sum of both.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import managers
from typing import Any

from ipc_magic.pickling.apart import interrupts_held, quiet_fork
from ipc_magic.pickling.failures import Failed
from ipc_magic.pickling.timing import clock
from ipc_magic.pickling.transports import meter
from ipc_magic.pickling.transports.line import Line
from ipc_magic.pickling.transports.meter import Event, Hop, Slate, Told
from ipc_magic.pickling.transports.receiver import receiver


class _Ledger:
    """In the manager's process: tells what was dumped, sent and loaded there."""

    def take(self) -> Told:
        return meter.tell()


class _Manager(managers.SyncManager):
    """The standard manager, with our ledger."""


_Manager.register("ledger", _Ledger)


def _receive_and_send(limit_seconds: float, slate: Slate) -> None:
    meter.receiving(limit_seconds, slate, sends=True)


@contextmanager
def manager(limit_seconds: float, slate: Slate) -> Iterator[Line]:
    """Send through a dict of a manager that is forked for it."""
    server: Any = _Manager(ctx=multiprocessing.get_context("fork"))
    with ExitStack() as stack:
        with quiet_fork(), interrupts_held():
            server.start(_receive_and_send, (limit_seconds, slate))
            stack.enter_context(server)
        yield from _through(server, limit_seconds, slate)


def _through(server: Any, limit_seconds: float, slate: Slate) -> Iterator[Line]:
    shared, ledger = server.dict(), server.ledger()
    here, there = multiprocessing.Pipe()

    def receive() -> object:
        there.recv_bytes()
        return shared["object"]

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
            shared["object"] = obj
            here.send_bytes(b"")
            return far.heard()

        def hops(begin: float, heard: list[Event]) -> list[Hop]:
            loaded, sent_on = _between(ledger, begin, heard[-1].begin)
            shared.clear()
            return [meter.hop(begin, [loaded]), Hop(*sent_on, heard[-1])]

        trip(None)  # the receiver connects at its first need
        yield Line(trip=trip, hops=hops, processes=[server._process, far.process])


def _between(
    ledger: Any, begin: float, end: float
) -> tuple[Event, tuple[Event, Event]]:
    """Return the manager's load of the object, and its dump and sending of it.

    It loaded that first after `begin`; what it dumped last before `end` is its reply.
    """
    since: list[Event] = []
    deadline = clock() + meter.PATIENCE_SECONDS
    while clock() < deadline:
        since += [e for e in map(Event._make, ledger.take()) if e.begin >= begin]
        loads = [event for event in since if event.kind == "load"]
        dumps = [e for e in since if e.kind == "dump" and e.end <= end]
        sent_on = meter.pair([*dumps[-1:], *(e for e in since if e.kind == "sent")])
        if loads and sent_on is not None:
            return loads[0], sent_on
    raise Failed("the object took a way that is not known", "transport")
