"""An open transport: one object goes to a receiver, which says when it loaded it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

from ipc_magic.pickling.failures import Failed, describe, describe_exit
from ipc_magic.pickling.timing import clock
from ipc_magic.pickling.transports import meter
from ipc_magic.pickling.transports.meter import Event, Hop, Slate, Told

LOOK_SECONDS = 0.001  # between two looks whether a receiver has ended


@dataclass(frozen=True, kw_only=True)
class Line:
    """An open transport, its receivers warm."""

    trip: Callable[[object], Told]
    """Sends an object and waits for the receiver's reply: what is timed."""
    processes: Sequence[BaseProcess] = ()
    """The receivers; their ends are told."""
    hops: Callable[[float, list[Event]], list[Hop]] = lambda begin, heard: [
        meter.hop(begin, heard)
    ]
    """Says afterwards which way the object took since a moment."""
    buffer_bytes: Callable[[], int] = lambda: 0
    """Says what went beside the pickle on the last trip."""


def failure(
    error: Exception,
    slate: Slate,
    processes: Sequence[BaseProcess],
    limit_seconds: float,
) -> Failed:
    """Return what went wrong on a trip that ended in `error`, in words."""
    if isinstance(error, Failed):
        return error
    if (failed := meter.failed_dump()) is not None:
        return failed
    if slate.state == Slate.FAILED:
        return Failed(f"the load failed: {slate.text}", "load")
    code = _exit_code(processes)
    ended = describe_exit(code)
    if slate.state == Slate.LOADING and ended == "SIGALRM":
        return Failed(f"the load was not done after {limit_seconds:g} s", "load")
    if slate.state == Slate.LOADING:
        return Failed(f"the load ended the receiver: {ended}", "load")
    if code is not None:
        return Failed(f"the receiver ended: {ended}", "transport")
    return _of_loky(error, limit_seconds)


def _of_loky(error: Exception, limit_seconds: float) -> Failed:
    """Read what loky says of its workers, which have no slate."""
    text = describe(error)
    if "un-serialize" in text:
        lines = str(error.__cause__).strip(' \n"').splitlines()
        return Failed(f"the load failed: {lines[-1] if lines else text}", "load")
    if "SIGALRM" in text:
        return Failed(f"the load was not done after {limit_seconds:g} s", "load")
    return Failed(f"the transport failed: {text}", "transport")


def _exit_code(processes: Sequence[BaseProcess]) -> int | None:
    """Return the exit code of the first that has ended; wait a little for one.

    A thread of a pool may be reaping it right now: until that thread has noted the
    code, all others are told that there is none.
    """
    deadline = clock() + meter.PATIENCE_SECONDS if processes else 0
    while clock() < deadline:
        for process in processes:
            if (code := process.exitcode) is not None:
                return code
        time.sleep(LOOK_SECONDS)
    return None
