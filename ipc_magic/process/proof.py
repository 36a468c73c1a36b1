"""Loading something foreign in a process of its own before it is loaded here."""

from __future__ import annotations

from typing import Any

from ipc_magic.process import ending, fork, interrupts, parcel
from ipc_magic.process.front import Front, OnlyLive
from ipc_magic.process.guards import Limits
from ipc_magic.process.monitor import Monitor

PATIENCE_SECONDS = 60.0
"""How long a load may take in the process that proves it."""


def prove(blob: bytes, number: int, front: Front) -> str | None:
    """Load the `number` values of `blob` in a fork; return why that failed, or `None`.

    The fork is as this process is, so what loads there loads here, and what crashes,
    exits or hangs there has done no harm.
    """

    def body(*_: Any) -> dict[str, Any]:
        try:
            parcel.load(blob, number)
        except BaseException as error:  # noqa: BLE001 - the answer is what it raises
            return {"failure": f"{type(error).__name__}: {parcel.text_of(error)}"}
        return {}

    limits = Limits(timeout_seconds=PATIENCE_SECONDS)
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
    if watch.stopped:
        return "loading it was interrupted"
    code = watch.child.exit_code()
    how = "in an unknown way" if code is None else f"with {ending.describe_exit(code)}"
    return f"loading it ended the process {how}"
