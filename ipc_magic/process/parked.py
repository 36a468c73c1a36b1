"""A parked child, its own side: what its code made stays when the child has ended.

The child forks a last time, and ends as ever. The fork is alone in a session, is
nobody's child, and holds nothing but memory: the threads of the code are not in it,
its streams are closed. It waits for the parent to ask for names; a fork of it then
sends them over a wiring of its own, so whatever that does, the names are still there.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ipc_magic.process import bring, child, guards, quiesce, wire
from ipc_magic.process.child_side import ChildSide
from ipc_magic.process.meter import leave
from ipc_magic.process.sending import Sending
from ipc_magic.process.wiring import Wiring, tie_to_parent

RUN_SECONDS = 5.0
"""What ran no longer than this is as quickly run again."""
STAY_SECONDS = 600.0
"""How long it stays, if nobody ends it before."""
RESERVE_BYTES = 256 << 20
"""With less free memory than this it ends, where `--keep-free` asks for nothing."""
_TICK_SECONDS = 1.0
_SETTLE_SECONDS = 5.0
# Without a pidfd no event tells of a fork's end.
_REAP_SECONDS = 0.02
_MOST_DESCRIPTORS = 32
_READ_BYTES = 1 << 16
_IGNORED = {signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ}
# Of faulthandler: it does not take them a second time.
_FATAL = {signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL}
_KEPT_HANDLERS = _IGNORED | _FATAL | {child.STACK_SIGNAL}


@dataclass(frozen=True, kw_only=True)
class Stay:
    """When what a child made stays, and how long; decided before the fork."""

    run_seconds: float
    """Its code must have run this long."""
    seconds: float
    """How long it stays."""
    reserve_bytes: int
    """It goes when less memory is free."""

    @classmethod
    def usual(cls, keep_free_bytes: int) -> Stay:
        """Return what holds unless a test says otherwise."""
        return cls(
            run_seconds=RUN_SECONDS,
            seconds=STAY_SECONDS,
            reserve_bytes=keep_free_bytes or RESERVE_BYTES,
        )


def fork_off(
    side: ChildSide,
    stay: Stay,
    *,
    names: Iterable[str],
    variables: Mapping[str, Any],
    known: Mapping[str, Any],
    blame: bring.Blame,
) -> dict[str, Any] | None:
    """Have `variables` stay in a process of its own; return what the parent is told.

    `None` where that cannot be, and in a process that the code has forked.
    """
    # This process has nothing left to do but to say how its code ended.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    channel, lifeline = side.intact("channel"), side.intact("lifeline")
    if channel is None or lifeline is None:
        return None
    deadline = time.monotonic() + stay.seconds
    try:
        if guards.available_bytes() < stay.reserve_bytes:
            return None
        ready, tell = os.pipe()
    except OSError:
        return None
    try:
        with quiesce.fork_warnings_off():
            pid = os.fork()
        if pid == 0:
            try:
                _settle({channel, lifeline, tell}, lifeline)
                os.write(tell, b".")
                os.close(ready)
                os.close(tell)
                Parked(channel, stay, deadline, variables, known, blame).live()
            finally:
                leave(0)
    except OSError:
        pid = 0
    finally:
        os.close(tell)
        settled = pid and _comes_in_time(ready)
        os.close(ready)
    if not settled:
        if pid:
            os.kill(pid, signal.SIGKILL)
        return None
    return {"pid": pid, "deadline": deadline, "names": list(names)}


def _comes_in_time(ready: int) -> bool:
    event = select.poll()
    event.register(ready, select.POLLIN)
    return bool(event.poll(_SETTLE_SECONDS * 1000) and os.read(ready, 1))


def _settle(kept: set[int], lifeline: int) -> None:
    """Be a process that disturbs nobody, in a session of its own."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    sys.settrace(None)
    sys.setprofile(None)
    for number in signal.valid_signals() - _KEPT_HANDLERS:
        # Handlers of the code's would run here; SIGCHLD, ignored, loses a status.
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _let_go_of_others(kept)
    tie_to_parent(lifeline)
    # What is only kept goes first when memory ends: proc(5), oom_score_adj.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _let_go_of_others(kept: set[int]) -> None:
    """Leave streams, pipes and sockets to others: some wait for their end.

    The numbers stay taken: who closes one later closes nothing else.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):
            mode = os.fstat(fd).st_mode
            if fd not in kept and (stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)):
                os.dup2(null, fd, inheritable=False)
    os.close(null)


@dataclass
class Parked:
    """The process that keeps the variables and forks to send them."""

    channel: int
    stay: Stay
    deadline: float
    variables: Mapping[str, Any]
    known: Mapping[str, Any]
    blame: bring.Blame
    _decoder: wire.Decoder = field(default_factory=wire.Decoder)
    _descriptors: list[int] = field(default_factory=list)
    _workers: dict[int, int] = field(default_factory=dict)
    """The pidfd of each fork that sends, -1 where there is none."""

    def live(self) -> None:
        """Serve until nobody listens, or it is time to go."""
        while True:
            events = select.poll()
            events.register(self.channel, select.POLLIN)
            for pidfd in self._workers.values():
                if pidfd >= 0:
                    events.register(pidfd, select.POLLIN)
            for fd, _event in events.poll(self._wait_milliseconds()):
                if fd == self.channel and not self._take():
                    return
            self._reap()
            if self._workers:
                continue  # the parent watches them, and the memory
            if why := self._why_go():
                self._say("gone", why=why)
                return

    def _wait_milliseconds(self) -> int:
        if -1 in self._workers.values():
            return int(_REAP_SECONDS * 1000)
        left = self.deadline - time.monotonic()
        return int(max(0.0, min(_TICK_SECONDS, left)) * 1000) + 1

    def _why_go(self) -> str:
        """Say in a word why it is time to go, "" if it is not."""
        if time.monotonic() >= self.deadline:
            return "time"
        try:
            short = guards.available_bytes() < self.stay.reserve_bytes
        except OSError:
            short = False
        return "memory" if short else ""

    def _take(self) -> bool:
        """Take what the parent asks; False at its end."""
        with as_socket(self.channel) as control:
            data, descriptors, _flags, _address = socket.recv_fds(
                control, _READ_BYTES, _MOST_DESCRIPTORS
            )
        if not data:
            return False
        self._descriptors += descriptors
        for message in self._decoder.feed(data):
            self._begin(message.fields)
        return True

    def _begin(self, asked: Mapping[str, Any]) -> None:
        """Fork what sends the names that the parent asked for."""
        mine, self._descriptors = self._descriptors, []
        *ends, stack = mine
        wires = Wiring(token=asked["token"], stack=stack)
        wires.child = dict(zip(asked["wires"], ends, strict=True))
        wires.inodes = {name: os.fstat(fd).st_ino for name, fd in wires.child.items()}
        pid, why = None, ""
        try:
            pid = os.fork()
        except OSError as error:
            why = str(error.strerror)
        if pid == 0:
            self._send(wires, asked)
        for fd in mine:
            os.close(fd)
        if pid:
            self._workers[pid] = _pidfd(pid)
        self._say("begun", pid=pid, why=why, token=asked["token"])

    def _send(self, wires: Wiring, asked: Mapping[str, Any]) -> NoReturn:
        os.close(self.channel)
        for pidfd in self._workers.values():
            if pidfd >= 0:
                os.close(pidfd)
        # What the notebook has bound anew since goes by value.
        known = {n: v for n, v in self.known.items() if n in {*asked["same"]}}
        body = Sending(asked["names"], self.variables, known, self.blame)
        orders = child.Orders(
            collect_garbage=False, interrupt_handler=signal.default_int_handler
        )
        child.live(child.plan(wires, orders, body, set()))

    def _reap(self) -> None:
        for worker, pidfd in list(self._workers.items()):
            pid, status = os.waitpid(worker, os.WNOHANG)
            if pid:
                del self._workers[worker]
                if pidfd >= 0:
                    os.close(pidfd)
                self._say("ended", pid=pid, status=status)

    def _say(self, kind: str, **fields: Any) -> None:
        with suppress(OSError):  # it ends when it reads that nobody is there
            os.write(self.channel, wire.encode(kind, fields))


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


@contextmanager
def as_socket(fd: int, seconds: float | None = None) -> Iterator[socket.socket]:
    """Have a descriptor as a socket, with a time limit; it stays open."""
    made = socket.socket(fileno=fd)
    try:
        made.settimeout(seconds)
        yield made
    finally:
        made.detach()
