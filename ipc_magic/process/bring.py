"""Asked-for names on their way back from a child, both sides.

They are pickled together, so that what they share stays shared; one by one where
that fails, so that the one to blame is named and the others arrive. Where pickling
may run code of the person's, it happens in a fork of the child: code that crashes,
exits or hangs there takes no result along.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ipc_magic.process import ending, parcel, quiesce
from ipc_magic.process.child_side import ChildSide
from ipc_magic.process.meter import leave

KEPT = b"k"
RESEND = b"r"
"""The parent's answers: it has the values, or wants them one by one."""

_LAST_SECONDS = 0.5
"""How long the pickling of one name may take in a child that was told to end; the
child itself has 2 s for all of them before it is killed."""

Proof = Callable[[bytes, int], "str | None"]
"""Loads a stream's values in a process of its own; returns why that failed."""


def send(side: ChildSide, values: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Send `values` from the child and wait until the parent has them."""
    if not side.send("packing", names=list(values)):
        return  # nobody listens, or this is a fork that the person's code made
    if parcel.surely_packable(values):
        _send_all(side, values, known)
        return
    with _end_put_off() as told:
        if in_fork(side, lambda: _send_all(side, values, known)) is None:
            return
        for name, value in values.items():
            reason = in_fork(
                side,
                lambda one={name: value}: _send_all(side, one, known),  # type: ignore[misc]
                seconds=_LAST_SECONDS if told else None,
            )
            if reason is not None:
                side.send("failed", failures={name: f"pickling it {reason}"})


@contextmanager
def _end_put_off() -> Iterator[list[int]]:
    """Do at the end of the block what SIGTERM does; yield those that came.

    The parent sends it to the whole group at a timeout. It ends the fork that hangs,
    and this process can still send the other names.
    """
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: came.append(number))
    try:
        yield came
    finally:
        # A handler of C code (`None`) cannot be put back: its default ends us, too.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
        if came:
            os.kill(os.getpid(), signal.SIGTERM)


def _send_all(
    side: ChildSide, values: Mapping[str, Any], known: Mapping[str, Any]
) -> None:
    if _send_pack(side, values, known) == RESEND:
        for name, value in values.items():
            _send_pack(side, {name: value}, known)


def _send_pack(
    side: ChildSide, values: Mapping[str, Any], known: Mapping[str, Any]
) -> bytes:
    begin = time.monotonic()
    packed = parcel.pack(values, known, lambda name: _tell_pickling(side, name))
    _tell_pickling(side, None)
    if packed.failures:
        side.send("failed", failures=packed.failures)
    if not packed.sizes:
        return KEPT
    side.send(
        "names",
        sizes=packed.sizes,
        blob=packed.blob,
        begin=begin,
        time=time.monotonic(),
        last=len(values) == 1,
    )
    return side.receive()


def _tell_pickling(side: ChildSide, name: str | None) -> None:
    side.send("pickling", name=name)


def in_fork(
    side: ChildSide, action: Callable[[], None], *, seconds: float | None = None
) -> str | None:
    """Do `action` in a fork of this child; return how that ended, `None` if well.

    The fork speaks on this child's channel, which stays silent meanwhile. It is
    ended after `seconds`, and by SIGTERM whatever that does in this process.
    """
    with side.lent(), _children_kept():
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                try:
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    if seconds is not None:
                        signal.signal(signal.SIGALRM, signal.SIG_DFL)
                        signal.setitimer(signal.ITIMER_REAL, seconds)
                    side.adopt()
                    action()
                    status = 0
                finally:
                    quiesce.flush_standard_streams()
            finally:
                leave(status)
        _, wait_status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(wait_status)
    if code == 0:
        return None
    if seconds is not None and code == -signal.SIGALRM:
        return f"had not ended after {seconds:g} s"
    return f"ended the process ({ending.describe_exit(code)})"


@contextmanager
def _children_kept() -> Iterator[None]:
    """Keep this process's children for us to wait for: SIGCHLD may be ignored."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        if before is not None:  # a handler of C code: Python cannot put it back
            signal.signal(signal.SIGCHLD, before)


@dataclass(kw_only=True)
class Brought:
    """What came back from one child, in the parent, with its costs."""

    values: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Pickled bytes of each name."""
    dump_seconds: float = 0.0
    transport_seconds: float = 0.0
    load_seconds: float = 0.0

    def take(self, message: Mapping[str, Any], prove: Proof) -> bytes:
        """Load what a "names" message carries; return the answer to the child."""
        arrived = time.monotonic()
        names, blob = list(message["sizes"]), message["blob"]
        self.dump_seconds += message["time"] - message["begin"]
        self.transport_seconds += arrived - message["time"]
        try:
            values = parcel.unpack(blob, len(names), prove)
        except Exception as error:  # noqa: BLE001 - loading runs the person's code
            if len(names) > 1 and not message["last"]:
                return RESEND
            for name in names:
                self.failures[name] = f"loading it failed: {parcel.text_of(error)}"
        else:
            self.load_seconds += time.monotonic() - arrived
            self.values.update(zip(names, values, strict=True))
            self.sizes.update(message["sizes"])
        return KEPT
