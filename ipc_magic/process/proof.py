"""Loading something foreign in a process of its own before it is loaded here."""

from __future__ import annotations

from typing import Any

from ipc_magic.process import ending, fork, interrupts
from ipc_magic.process import parcel as parcels
from ipc_magic.process.front import Front, OnlyLive
from ipc_magic.process.guards import Limits
from ipc_magic.process.monitor import Monitor

PATIENCE_SECONDS = 60.0
"""How long a load may take in the process that proves it."""


def prove(
    parcel: parcels.Parcel, front: Front, *, keep_free_bytes: int = 0
) -> str | None:
    """Load the values of `parcel` in a fork; return why that failed, or `None`.

    The fork is as this process is, so what loads there loads here, and what crashes,
    exits or hangs there, or takes the memory that is to be kept free, has done no harm.
    """

    def body(*_: Any) -> dict[str, Any]:
        try:
            parcels.load(parcel)
        except BaseException as error:  # noqa: BLE001 - the answer is what it raises
            return {"failure": f"{type(error).__name__}: {parcels.text_of(error)}"}
        return {}

    limits = Limits(timeout_seconds=PATIENCE_SECONDS, keep_free_bytes=keep_free_bytes)
    with interrupts.counted():
        started = fork.start(body, number=1, names={})
        monitor = Monitor(started.children, OnlyLive(front), limits=limits)
        monitor.run()
    (watch,) = monitor.watches
    if watch.outcome is not None:
        failure: str | None = watch.outcome.get("failure")
        return failure
    if watch.stopped == "timeout":
        return f"it had not loaded after {PATIENCE_SECONDS:g} s"
    if watch.stopped == "keep_free":
        return "to load it takes more memory than may be used (--keep-free)"
    if watch.stopped:
        return "loading it was interrupted"
    code = watch.child.exit_code()
    how = "in an unknown way" if code is None else f"with {ending.describe_exit(code)}"
    return f"loading it ended the process {how}"
