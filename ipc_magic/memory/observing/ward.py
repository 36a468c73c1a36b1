"""The children of one watch: met, read, traced to their exit."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from ipc_magic.memory.figures import total
from ipc_magic.memory.observing import family, hello
from ipc_magic.memory.observing.at_exit import END
from ipc_magic.memory.observing.progress import Progress
from ipc_magic.memory.observing.session import Session
from ipc_magic.memory.observing.strangers import Strangers
from ipc_magic.memory.observing.tracing import Stop, Tracer
from ipc_magic.memory.observing.watched import Watched

_WAITING = 4096  # as many as the kernel lets wait


class EventsLike(Protocol):
    """What it needs of the loop."""

    def add(self, descriptor: int, action: Callable[[], object]) -> None:
        """Do `action` whenever the descriptor is readable."""

    def drop(self, descriptor: int) -> None:
        """Look at it no more."""


class Ward:
    """Meets the children of a session from now until `close`."""

    def __init__(
        self,
        session: int,
        events: EventsLike,
        tracer: Tracer,
        *,
        gauge: str = "",
        progress: dict[str, Any] | None = None,
    ) -> None:
        self._began_at = time.monotonic()
        self._events, self._tracer = events, tracer
        self._uid = os.geteuid()
        self._living: dict[int, Watched] = {}
        self._all: list[Watched] = []
        self._session_pid = session
        self.met_of_session = 0
        """How many children of the session itself were met."""
        self.arming_seconds = 0.0
        """The CPU time that meeting them took."""
        self._most_own_bytes = -1
        self._met: set[tuple[int, int]] = set()
        self._talking: dict[int, socket.socket] = {}
        self._about_to_execute: dict[int, socket.socket] = {}
        self._session = Session(session, gauge)
        self._progress = Progress(session, progress)
        self._strangers = Strangers(session, began_at=self._began_at)
        self.name = f"ipc_magic-{secrets.token_hex(16)}"
        """Of its socket, in the abstract namespace."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(b"\0" + self.name.encode())
        self._listener.listen(_WAITING)
        self._listener.setblocking(False)
        events.add(self._listener.fileno(), self._accept)

    @property
    def older(self) -> list[int]:
        """The pids of those that the session had before."""
        return self._strangers.older

    @property
    def some_exit(self) -> bool:
        """Whether somebody was read in its exit, and has yet to end."""
        return any(child.is_exiting for child in self._living.values())

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it has ended while it waited
            return
        connection.setblocking(False)
        self._talking[connection.fileno()] = connection

        def meet() -> None:
            begin = time.process_time()
            self._meet(connection)
            self.arming_seconds += time.process_time() - begin

        self._events.add(connection.fileno(), meet)

    def _hang_up(self, connection: socket.socket) -> None:
        if self._talking.pop(connection.fileno(), None) is not None:
            self._events.drop(connection.fileno())
            connection.close()

    def _meet(self, connection: socket.socket) -> None:
        met_at = time.monotonic()
        told, descriptor = hello.receive(connection)
        pid, uid = hello.peer(connection)
        # A pid of 0 is none in our namespace.
        if told is None or not pid or uid != self._uid:
            if descriptor >= 0:
                os.close(descriptor)
            self._hang_up(connection)
        elif "asks" in told:
            self._let_execute(pid, told["asks"], connection)
        elif "program" in told:
            self._meet_program(told["program"], parent_pid=pid)
            self._hang_up(connection)
        elif told:
            self._meet_fork(pid, told, descriptor, connection, met_at)
        else:
            self._met.add((pid, family.started(pid)))
            self._hang_up(connection)

    def _meet_program(self, told: dict[str, Any], *, parent_pid: int) -> None:
        if told["ours"]:
            self._met.add((told["pid"], told["started"]))
        else:
            self._strangers.meet(told, parent_pid=parent_pid)

    def _meet_fork(
        self,
        pid: int,
        told: dict[str, Any],
        descriptor: int,
        connection: socket.socket,
        met_at: float,
    ) -> None:
        if pid in self._living:  # somebody had that pid before
            self._end(self._living[pid])
        child = Watched(pid, told, began_at=self._began_at)
        self._all.append(child)
        self._met.add((pid, child.life.started))
        self.met_of_session += told["parent_pid"] == self._session_pid
        self._trace(child)
        child.begin(descriptor, met_at)
        self._living[pid] = child
        if child.life.pidfd >= 0:
            self._events.add(child.life.pidfd, lambda: self._find_ended(child))
        if child.traced:
            hello.answer(connection, hello.GO)
            self._hang_up(connection)
        else:
            hello.answer(connection, hello.ASK_AT_EXIT)
            self._events.drop(connection.fileno())
            self._events.add(connection.fileno(), lambda: self._hear(connection, child))

    def _trace(self, child: Watched) -> None:
        try:
            self._tracer.seize(child.pid)
            child.traced = True
        except OSError as error:
            child.note(f"it could not be traced to its end: {error.strerror}")

    def _let_execute(self, pid: int, what: str, connection: socket.socket) -> None:
        """Read a child that waits to execute, and answer when nobody traces it."""
        child = self._living.get(pid)
        if child is not None:
            if what == hello.CANNOT_EXECUTE:
                child.note_failed_execution()
                if not child.traced:
                    self._trace(child)
            else:
                child.note_execution()
                if child.traced:
                    self._about_to_execute[pid] = connection
                    self._tracer.leave(pid)
                    return
        hello.answer(connection, hello.GO)
        self._hang_up(connection)

    def _hear(self, connection: socket.socket, child: Watched) -> None:
        """Take the last reading of a child that nobody may trace."""
        try:
            words = connection.recv(hello.MOST_BYTES)
        except OSError:
            words = b""
        if words.startswith(END):
            code = words[len(END) :]
            child.read_last(int(code) << 8 if code else None)
            self._read_sums(child)
            hello.answer(connection, hello.GO)
        self._hang_up(connection)

    def _read_sums(self, child: Watched) -> None:
        """Read RSS and USS of a child at its end if none before it held more alone.

        The kernel sums them up page by page: many children are not held up for it.
        """
        own_bytes = sum(known or 0 for known in child.own_bytes)
        if own_bytes > self._most_own_bytes:
            self._most_own_bytes = own_bytes
            child.read_sums()

    def take_stop(self, stop: Stop) -> None:
        """Read a child that waits in its exit, and let it end."""
        waiting = self._about_to_execute.pop(stop.pid, None)
        if waiting is not None:
            hello.answer(waiting, hello.GO)
            self._hang_up(waiting)
        child = self._living.get(stop.pid)
        if child is not None and stop.exiting:
            self._session.look()
            child.read_last(stop.status)
            self._read_sums(child)
        if stop.exiting:
            self._tracer.let_go(stop.pid)
        if child is not None:
            child.traced = False
            if stop.ended:
                self._end(child, stop.status)
            elif child.life.pidfd < 0 and not stop.left:
                self._end(child)

    def _find_ended(self, child: Watched) -> None:
        # One that is still traced was killed: its stop tells how.
        if not child.traced:
            self._end(child)
        else:
            self._events.drop(child.life.pidfd)

    def _end(self, child: Watched, status: int | None = None) -> None:
        if self._living.get(child.pid) is child:
            del self._living[child.pid]
        child.end(status)
        if child.life.pidfd >= 0:
            try:
                self._events.drop(child.life.pidfd)
            except KeyError:  # dropped before
                pass
        child.close()

    def sweep(self, between: Callable[[], object]) -> None:
        """Read all who live; `between` any two readings others are served."""
        self._session.look()
        for child in list(self._living.values()):
            if child.alive:
                child.read()
                if child.life.pidfd < 0 and not child.life.goes_on():
                    self._end(child)
            between()
        self._strangers.forget(self._met)
        self._strangers.look(self._met)
        self._tell()

    def _tell(self) -> None:
        own = [child.own_bytes for child in self._all]
        copied, new = total(copied for copied, _ in own), total(new for _, new in own)
        self._progress.tell(len(own), copied, new, self._session.free)

    def records(self) -> list[dict[str, Any]]:
        """Return what is known of all by now."""
        return [child.record() for child in self._all] + self._strangers.records()

    def session(self) -> dict[str, Any]:
        """Return what was noted of the session."""
        return self._session.record()

    def close(self) -> list[dict[str, Any]]:
        """Let go of all; return what is known of them."""
        for connection in list(self._talking.values()):
            self._hang_up(connection)
        self._events.drop(self._listener.fileno())
        self._listener.close()
        self._progress.close()
        for child in self._living.values():
            self._read_sums(child)
        records = self.records()
        for child in list(self._living.values()):
            if child.traced:
                self._tracer.leave(child.pid)
            self._end(child)
        self._strangers.close()
        return records
