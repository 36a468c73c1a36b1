"""A receiver of our own: a forked process that takes objects in a loop."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from ipc_magic.pickling.apart import interrupts_held, quiet_fork
from ipc_magic.pickling.transports import meter
from ipc_magic.pickling.transports.meter import Slate, Told


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """The sender's handle on a receiver."""

    process: BaseProcess
    heard: Callable[[], Told]
    """Waits for its reply; raises `EOFError` when it has ended."""


@contextmanager
def receiver(
    receive: Callable[[], object],
    *,
    limit_seconds: float,
    slate: Slate,
    ours: Sequence[Any] = (),
    theirs: Sequence[Any] = (),
) -> Iterator[Receiver]:
    """Fork a process that calls `receive` until it raises, and replies each time.

    `ours` are ends of channels for it to close, `theirs` are for this process: thus
    each side sees when the other has ended. It is ended when the block is left.
    """
    context = multiprocessing.get_context("fork")
    reply, answer = context.Pipe(duplex=False)
    process = context.Process(
        target=_serve,
        args=(receive, answer, limit_seconds, slate, [reply, *ours]),
        daemon=True,
    )
    try:
        with quiet_fork(), interrupts_held():
            process.start()
        for each in [answer, *theirs]:
            each.close()
        reply.recv_bytes()  # it is ready: what it had to do first is not timed
        yield Receiver(process=process, heard=reply.recv)
    finally:
        if process.pid is not None:
            process.kill()  # it holds nothing that needs an orderly end
            process.join()
            process.close()
        for each in [reply, answer]:
            each.close()


def _serve(
    receive: Callable[[], object],
    answer: Connection,
    limit_seconds: float,
    slate: Slate,
    close: Sequence[Any],
) -> None:
    try:
        for each in close:
            each.close()
        meter.receiving(limit_seconds, slate)
        answer.send_bytes(b"")
        while True:
            received = receive()
            answer.send(meter.tell())
            del received  # or it would be there beside the next one
    finally:
        os._exit(1)  # what went wrong is on the slate, or there is no sender any more
