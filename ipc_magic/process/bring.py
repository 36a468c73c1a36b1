"""Asked-for names on their way out of a child.

They are pickled together, so that what they share stays shared; one by one where
that fails, so that the one to blame is named and the others arrive. Where pickling
may run code of the person's, it happens in a fork of the child: code that crashes,
exits or hangs there takes no result along.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from ipc_magic.process import ending, packable, parcel, quiesce
from ipc_magic.process.child_side import ChildSide
from ipc_magic.process.meter import leave

GO, KEPT, RESEND = b"g", b"k", b"r"
"""The parent's answers: it waits for the bytes; it has the values; it wants them one by
one."""

ANSWER = struct.Struct("<ci")  # and who is answered
_INLINE_BYTES = 1 << 16  # what is smaller goes in the message itself

_LAST_SECONDS = 0.5
"""How long the pickling of one name may take in a child that was told to end; the
child itself has 2 s for all of them before it is killed."""


Blame = Callable[[str, object], "str | None"]
"""Says where below the value of a name lies what cannot be pickled, if it knows."""


def not_known(_name: str, _value: object) -> str | None:
    """Know of no place."""
    return None


def send(
    side: ChildSide,
    values: Mapping[str, Any],
    known: Mapping[str, Any],
    blame: Blame = not_known,
) -> None:
    """Send `values` from the child and wait until the parent has them.

    `blame` is asked about what cannot be pickled, in a process of its own.
    """
    if not side.send("packing", names=list(values)):
        return  # nobody listens, or this is a fork that the person's code made
    if packable.surely_packable(values):
        _send_all(side, values, known, blame)
        return
    with _end_put_off() as told:
        if in_fork(side, lambda: _send_all(side, values, known, blame)) is None:
            return
        for name, value in values.items():
            reason = in_fork(
                side,
                partial(_send_all, side, {name: value}, known, blame),
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
    side: ChildSide,
    values: Mapping[str, Any],
    known: Mapping[str, Any],
    blame: Blame,
) -> None:
    answer, failures = _send_pack(side, values, known)
    if answer == RESEND:
        for name in (name for name in values if name not in failures):
            _send_pack(side, {name: values[name]}, known)
    for name, reason in failures.items():  # when all others are there
        telling = partial(_tell_place, side, name, values[name], reason, blame)
        in_fork(side, telling)


def _tell_place(
    side: ChildSide, name: str, value: object, reason: str, blame: Blame
) -> None:
    if path := blame(name, value):
        side.send("failed", failures={name: f"{reason}, at `{path}`"})


def _send_pack(
    side: ChildSide, values: Mapping[str, Any], known: Mapping[str, Any]
) -> tuple[bytes, dict[str, str]]:
    """Return the parent's answer, and why some were not sent, by name."""
    begin = time.monotonic()
    packed = parcel.pack(
        values,
        known,
        lambda name: _tell_pickling(side, name),
        beside=side.has("buffers"),
    )
    _tell_pickling(side, None)
    if packed.failures:
        side.send("failed", failures=packed.failures)
    if not packed.sizes:
        return KEPT, packed.failures
    buffers = [view for name in packed.sizes for view in packed.buffers[name]]
    inline = not (buffers or side.has("buffers")) or (
        not buffers and sum(packed.sizes.values()) < _INLINE_BYTES
    )
    side.send(
        "names",
        sizes=packed.sizes,
        blob=packed.blob if inline else None,
        buffers={
            name: [(view.nbytes, view.readonly) for view in packed.buffers[name]]
            for name in packed.sizes
        },
        begin=begin,
        time=time.monotonic(),
        last=len(values) == 1,
        asker=os.getpid(),
    )
    answer = _receive_answer(side)
    if answer == GO:
        side.push((*packed.stream, *buffers))
        answer = _receive_answer(side)  # until then the bytes must stay as they are
    return answer, packed.failures


def _receive_answer(side: ChildSide) -> bytes:
    """Wait for the answer to this process, b"" when the parent is gone.

    One to a fork that has died while it asked may come before.
    """
    while data := side.receive(ANSWER.size):
        answer, asker = ANSWER.unpack(data)
        if asker == os.getpid():
            return bytes(answer)
    return b""


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
