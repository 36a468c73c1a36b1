"""The parent's loop while children run: output, deadlines, guards, interrupts, ends.

It waits on pidfds and never for the end of a pipe: a grandchild may hold that open.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf

from ipc_magic.process import guards, interrupts, memory_limits
from ipc_magic.process.brought import Brought, Room, anything
from ipc_magic.process.cell import Cell
from ipc_magic.process.fork import Child, abandon
from ipc_magic.process.front import Front
from ipc_magic.process.idleness import Idleness
from ipc_magic.process.merge import STREAMS, Text
from ipc_magic.process.output import Tagged
from ipc_magic.process.parcel import Parcel, Proof
from ipc_magic.process.watch import GRACE_SECONDS, HELLO_SECONDS, Watch
from ipc_magic.process.wire import BrokenChannel, Message

IDLE_SECONDS = 10.0
"""How long a child may use no CPU before a line says where it sits."""
PROGRESS_SECONDS = 2.0
"""How long results may take to come back, or a measurement, before a line says so."""
_READ_BYTES = 1 << 18
_TICK_SECONDS = 1.0
# Without a pidfd no event tells of a child's end.
_REAP_SECONDS = 0.02


def _unproven(_parcel: Parcel) -> str | None:
    return "this process takes no results back"


class Monitor:
    """Watches children until all have ended.

    `cell` serves to say where a child sits; `prove` loads foreign results in a
    process of its own, `room` says whether there is memory for them; the text of
    `tagged` children is told apart; `progress` says in a line how far they are.
    """

    def __init__(
        self,
        children: Sequence[Child],
        front: Front,
        *,
        limits: guards.Limits,
        prove: Proof = _unproven,
        room: Room = anything,
        cell: Cell | None = None,
        tagged: bool = False,
        progress: Callable[[], str] | None = None,
    ) -> None:
        now = time.monotonic()
        self.watches = [
            Watch(
                child=c,
                cell=cell,
                brought=Brought(prove=prove, room=room),
                idleness=Idleness(c.pid, now),
                hello_due=c.forked_at + HELLO_SECONDS,
            )
            for c in children
        ]
        self._front = front
        self._tagged = {c.index: Tagged(front, c.index) for c in children if tagged}
        self._limits = limits
        self._progress = progress
        self._poll = select.poll()
        self._sources: dict[int, tuple[Watch, str]] = {}
        self._live_shown: Watch | None = None
        self._measuring_seconds = self._next_line = 0.0
        self._next_tick = now + _TICK_SECONDS
        # Whoever started the children has looked: a short cell needs no second look.
        self._next_guard = now + guards.SOONEST_SECONDS
        self._oom_kills_before = guards.oom_kills()
        for watch in self.watches:
            for name in (*STREAMS, "channel"):
                self._register(watch.child.wires.parent[name], watch, name)
            if watch.child.pidfd >= 0:
                self._register(watch.child.pidfd, watch, "pidfd")
            if watch.child.meter is not None:
                self._register(watch.child.meter.fileno(), watch, "meter")

    def _register(self, fd: int, watch: Watch, what: str) -> None:
        self._sources[fd] = (watch, what)
        self._poll.register(fd, select.POLLIN)

    def _unregister(self, fd: int) -> None:
        if self._sources.pop(fd, None):
            self._poll.unregister(fd)

    def _unregister_all(self, watch: Watch, *, but: int = -1) -> None:
        for fd in [fd for fd, (w, _) in self._sources.items() if w is watch]:
            if fd != but:
                self._unregister(fd)

    def run(self) -> None:
        """Watch until all children have ended; the last of their output is shown."""
        try:
            with interrupts.counted() as came:
                if came.wake >= 0:
                    self._poll.register(came.wake, select.POLLIN)
                while self._living():
                    self._turn(came)
        finally:
            # Whatever happens here, no child outlives its monitor.
            abandon([watch.child for watch in self.watches])
            self._show_live(None)

    def _living(self) -> list[Watch]:
        return [watch for watch in self.watches if watch.child.alive]

    def _turn(self, came: interrupts.Interrupts) -> None:
        ready = self._poll.poll(self._wait_milliseconds())
        # Nobody is late for the time that it takes to read from all the others.
        looked_at = time.monotonic()
        for fd, _event in ready:
            if fd in self._sources:
                self._read(fd)
        for _ in range(came.take()):
            self._pass_interrupt_on()
        living = self._living()
        for watch in living:
            self._check(watch, looked_at)
        now = time.monotonic()
        due = [w for w in living if w.child.alive and 0 < w.next_reading <= now]
        if due:  # one in a turn: output is shown in between
            min(due, key=lambda w: w.next_reading).read_memory(among=len(living))
        if now >= self._next_guard:
            among = [w for w in self._living() if w.kill_at is None]
            self._next_guard = now + memory_limits.stop_beyond(self._limits, among)
        if now >= self._next_tick:
            self._next_tick = now + _TICK_SECONDS
            self._look_for_idle(now)

    def _wait_milliseconds(self) -> int:
        now = time.monotonic()
        due = [self._next_tick, self._next_guard]
        for watch in self._living():
            if not watch.held or watch.kill_at:
                due.append(watch.kill_at or self._timeout_at(watch))
            due.append(watch.next_reading or inf)
            if watch.child.pidfd < 0:
                due.append(now + _REAP_SECONDS)
        return max(0, int((min(due) - now) * 1000) + 1)

    def _timeout_at(self, watch: Watch) -> float:
        """Return when a child's time is up; what it waited for is none of it.

        It may have waited for readings, and for its siblings.
        """
        lasts = (self._limits.timeout_seconds or inf) + self._measuring_seconds
        return watch.child.forked_at + lasts + watch.waited_seconds

    def _read(self, fd: int) -> None:
        watch, what = self._sources[fd]
        if what == "pidfd":
            return  # _check reaps
        if what == "meter":
            asks_more, took = watch.answer_meter()
            self._measuring_seconds += took
            if not asks_more:
                self._unregister(fd)
            return
        if what == "buffers":
            watch.read_results()
            self._follow_results(watch)
            return
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._unregister(fd)
            return
        try:
            self._show(watch, watch.feed(what, data))
            self._follow_results(watch)
            if watch.outcome is not None and watch.child.pidfd >= 0:
                # It is about to end. The end of each pipe need not wake us first:
                # what grandchildren still write is read when it has ended.
                self._unregister_all(watch, but=watch.child.pidfd)
        except BrokenChannel:
            self._unregister(fd)
            # Who waits there for an answer, or for room, must not wait for ever.
            channel = socket.socket(fileno=fd)
            try:
                channel.shutdown(socket.SHUT_RDWR)
            finally:
                channel.detach()  # the wiring closes it

    def _follow_results(self, watch: Watch) -> None:
        """Look at the pipe for large results as long as some are on their way."""
        pipe = watch.child.wires.parent.get("buffers", -1)
        if watch.awaited < 0:
            self._unregister(pipe)
        elif pipe not in self._sources:
            self._register(pipe, watch, "buffers")

    def _show(self, watch: Watch, pieces: Iterator[Text | Message]) -> None:
        writer = self._tagged.get(watch.child.index, self._front)
        for piece in pieces:
            self._show_live(None)
            if isinstance(piece, Text):
                writer.write(piece.stream, piece.text)
            else:
                self._front.show(piece)

    def _check(self, watch: Watch, now: float) -> None:
        """See whether a child has ended, or must end."""
        child = watch.child
        if child.reap():
            self._finish(watch)
        elif watch.kill_at is not None:
            if now >= watch.kill_at:
                child.signal(signal.SIGKILL)
        elif "hello" not in child.said:
            late = now >= watch.hello_due
            # On a busy machine it may only be waiting for its turn on a CPU.
            if late and not guards.runnable(child.pid):
                watch.stop("not_started", signal.SIGKILL, GRACE_SECONDS)
        elif watch.held:
            pass  # its siblings may still run into the time limit
        elif now >= self._timeout_at(watch):
            watch.stop("timeout", signal.SIGTERM, GRACE_SECONDS)

    def _finish(self, watch: Watch) -> None:
        self._show(watch, watch.finish(self._oom_kills_before))
        if tagged := self._tagged.get(watch.child.index):
            tagged.end()
        self._unregister_all(watch)

    def _pass_interrupt_on(self) -> None:
        """Interrupt the children; kill those that were told to end before."""
        held = [watch for watch in self._living() if watch.held]
        for watch in held:  # they have done all, and are to say so
            assert watch.child.meter is not None
            watch.child.meter.let_go()
        for watch in self._living():
            if watch in held:
                continue
            if watch.kill_at is None:
                watch.stop("interrupted", signal.SIGINT, GRACE_SECONDS)
            else:
                watch.child.signal(signal.SIGKILL)

    def _look_for_idle(self, now: float) -> None:
        """Say where a child sits that has used no CPU, or packs results, for long."""
        for watch in self._living():
            if watch.held:
                continue
            idle = watch.idleness.seconds(now)
            if idle < IDLE_SECONDS:
                brought = watch.being_brought()
                doing = watch.child.said.get("begun")
                packed_for = now - (watch.packing_at or now)
                if brought and packed_for >= PROGRESS_SECONDS:
                    line = f"bringing {brought} back for {packed_for:.0f} s"
                    self._show_live(line, watch)
                elif doing and now - watch.child.forked_at >= PROGRESS_SECONDS:
                    since = now - watch.child.forked_at
                    self._show_live(f"{doing.fields['doing']}: {since:.0f} s", watch)
                elif self._progress and now - watch.child.forked_at >= PROGRESS_SECONDS:
                    self._show_live(self._progress(), watch)
                    break  # it speaks of all
                elif self._live_shown is watch:
                    self._show_live(None)
            elif now >= self._next_line:
                self._next_line = now + IDLE_SECONDS
                place = watch.where()
                self._show_live(
                    f"child {watch.child.pid} has used no CPU for {idle:.0f} s"
                    f"{f': {place}' if place else ''}. Interrupt to stop.",
                    watch,
                )

    def _show_live(self, line: str | None, watch: Watch | None = None) -> None:
        if line is not None or self._live_shown is not None:
            self._front.live(line)
        self._live_shown = watch
