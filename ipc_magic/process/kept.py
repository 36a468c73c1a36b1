"""A parked child, the parent's side: what it said, how it is asked, how it ends."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipc_magic.process import guardian, guards, parent_only, wire, wiring
from ipc_magic.process.fork import Child
from ipc_magic.process.merge import Merger
from ipc_magic.process.parked import as_socket

ANSWER_SECONDS = 10.0
"""How long it may take to fork: it has nothing else to do."""
_END_SECONDS = 2.0
_READ_BYTES = 1 << 16
# Those of many children stay open: this many are left to the person.
_SPARE_DESCRIPTORS = 64
_WHY = {
    "time": "its time was up",
    "memory": "memory was short",
}


class Gone(Exception):
    """A parked child has ended, or does not answer; its text says why."""


@dataclass(kw_only=True, eq=False)
class Kept:
    """The parent's handle on one parked child."""

    index: int
    """Of the child whose variables it keeps."""
    child_pid: int
    """Of that child."""
    pid: int
    """Its own."""
    names: tuple[str, ...]
    """What the code made or changed, and nobody asked for."""
    deadline: float
    """Monotonic clock when it ends by itself."""
    channel: int
    lifeline: int
    was_alive: bool = True
    """Whether it was there when it was ended."""
    _decoder: wire.Decoder = field(default_factory=wire.Decoder)
    _said: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _silent: bool = False
    """Whether nothing more will come."""

    def alive(self) -> bool:
        """Return whether it is there, as far as it has told."""
        self._listen(0.0)
        return not self._silent and "gone" not in self._said

    def why_gone(self) -> str:
        """Say why it is not there any more."""
        why = _WHY.get(self._said.get("gone", {}).get("why", ""), "it was killed")
        return f"what child {self.child_pid} left is gone: {why}"

    def _listen(self, seconds: float) -> None:
        """Take what it has said, or says within this time."""
        if self._silent:
            return
        event = select.poll()
        event.register(self.channel, select.POLLIN)
        while event.poll(int(seconds * 1000)):
            seconds = 0.0
            try:
                data = os.read(self.channel, _READ_BYTES)
                for message in self._decoder.feed(data):
                    self._said[message.kind] = message.fields
            except BlockingIOError:
                return
            except (ConnectionResetError, wire.BrokenChannel):
                data = b""
            if not data:
                self._silent = True
                return

    def ask(self, names: Sequence[str], same: Sequence[str]) -> Worker:
        """Have it fork a process that sends `names`; return the handle on that.

        `same` are the definitions that the notebook still has. Raises `Gone`.
        """
        if not self.alive():
            raise Gone(self.why_gone())
        self._said.clear()
        begin = time.monotonic()
        wires = wiring.make(results=True)
        try:
            self._send_wires(wires, {"names": [*names], "same": [*same]})
            pid = self._answer(wires.token)
            # It becomes readable when the end of that process is told there.
            ends = parent_only.hold(os.dup(self.channel))
        except BaseException:
            wires.close_parent_side()
            raise
        finally:
            wires.close_child_side()
        guardian.guardian.watch([pid])
        return Worker(
            index=self.index,
            pid=pid,
            wires=wires,
            pidfd=ends,
            forked_at=begin,
            merger=Merger(wires.token),
            kept=self,
        )

    def _send_wires(self, wires: wiring.Wiring, asked: Mapping[str, Any]) -> None:
        fields = {**asked, "token": wires.token, "wires": [*wires.child]}
        frame = wire.encode("send", fields)
        try:
            with as_socket(self.channel, ANSWER_SECONDS) as control:
                ends = [*wires.child.values(), wires.stack]
                sent = socket.send_fds(control, [frame], ends)
                control.sendall(frame[sent:])
        except OSError as error:
            self._listen(0.0)
            raise Gone(self.why_gone()) from error
        finally:
            os.set_blocking(self.channel, False)

    def _answer(self, token: bytes) -> int:
        """Return the pid of the fork that was asked for with this token."""
        deadline = time.monotonic() + ANSWER_SECONDS
        told: Mapping[str, Any] = {}
        while told.get("token") != token:  # it may still answer an older question
            left = deadline - time.monotonic()
            if self._silent:
                raise Gone(self.why_gone())
            if left <= 0:
                raise Gone(f"what child {self.child_pid} left does not answer")
            self._listen(left)
            told = self._said.get("begun", {})
        if told["pid"] is None:
            raise Gone(
                f"what child {self.child_pid} left cannot be sent: {told['why']}"
            )
        return int(told["pid"])

    def end_of(self, worker: int) -> int | None:
        """Return the wait status of a fork of it, -1 if unknown, `None` if it lives."""
        self._listen(0.0)
        told = self._said.get("ended", {})
        if told.get("pid") == worker:
            return int(told["status"])
        return -1 if self._silent else None

    def end(self) -> None:
        """End it; doing it twice does no harm."""
        if self.channel < 0:
            return
        self.was_alive = self.alive()
        parent_only.release(self.lifeline)  # the kernel kills its group at that
        parent_only.release(self.channel)
        self.channel = self.lifeline = -1
        self._silent = True


@dataclass(kw_only=True)
class Worker(Child):
    """The parent's handle on a fork of a parked child, which alone can reap it."""

    kept: Kept
    seen_dead_at: float | None = None

    def reap(self) -> bool:
        """Return whether it has ended; its status is what the parked child tells."""
        if self.alive:
            status = self.kept.end_of(self.pid)
            if status is None and self._is_long_dead():
                status = -1  # who could tell is stopped, for one
            if status is not None:
                self.wait_status = status if status >= 0 else None
                self.ended_at = time.monotonic()
        return not self.alive

    def _is_long_dead(self) -> bool:
        if not guards.has_ended(self.pid):
            return False
        now = time.monotonic()
        self.seen_dead_at = self.seen_dead_at or now
        return now - self.seen_dead_at > _END_SECONDS


def keep(child: Child, told: Mapping[str, Any]) -> Kept | None:
    """Return the handle on what `child`, which has ended, told that it has parked.

    `None` where too few files can be opened: the parked child ends with its lifeline.
    """
    left = guards.descriptors_left()
    if left is not None and left < _SPARE_DESCRIPTORS:
        return None
    ends = [os.dup(child.wires.parent[name]) for name in ("channel", "lifeline")]
    channel, lifeline = map(parent_only.hold, ends)
    return Kept(
        index=child.index,
        child_pid=child.pid,
        pid=told["pid"],
        names=tuple(told["names"]),
        deadline=told["deadline"],
        channel=channel,
        lifeline=lifeline,
    )
