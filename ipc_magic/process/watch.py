"""What the parent knows of one child, and what it does with it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ipc_magic.process import child as child_life
from ipc_magic.process import ending, guards, leftovers
from ipc_magic.process.brought import Brought
from ipc_magic.process.cell import Cell
from ipc_magic.process.fork import Child
from ipc_magic.process.idleness import Idleness
from ipc_magic.process.kept import Kept, keep
from ipc_magic.process.merge import STREAMS, Text
from ipc_magic.process.wire import BrokenChannel, Message

GRACE_SECONDS = 2.0
"""How long a child may take to end when it is told to, before it is killed."""
HELLO_SECONDS = 5.0
"""How long a child may take to set itself up before its code begins."""
_STACK_PATIENCE_SECONDS = 0.5  # of a busy machine; a child answers at once
# Readings of a running child: not oftener than this, and all children's together not
# for more than 3 % of a core.
_READING_SECONDS, _READING_PAUSE = 0.25, 33


@dataclass(kw_only=True)
class Watch:
    """One child as the parent sees it, while it lives and after."""

    child: Child
    cell: Cell | None
    """What it runs; serves to say where it sits."""
    brought: Brought
    """What it sends back."""
    idleness: Idleness
    stopped: str | None = None
    """Why we stopped it: timeout, memory_limit, keep_free, interrupted, not_started."""
    stopped_at: float | None = None
    """Monotonic clock when we told it to end."""
    frozen: bool = False
    """Whether it was told to stand still, to be read and killed."""
    idle_when_stopped: bool | None = None
    """Whether it used no CPU just before; `None` if it was not looked at."""
    hello_due: float
    """Monotonic clock when its code must have begun."""
    next_reading: float = 0.0
    """Monotonic clock when its memory is to be read again."""
    kill_at: float | None = None
    """Monotonic clock when it is killed, if it has not ended by then."""
    place: str | None = None
    """Where in its code it was when we stopped it or it crashed."""
    crash: str | None = None
    """The stack of a crash, for the person's eyes."""
    crash_reason: str = ""
    """faulthandler's first line of it."""
    oom_evidence: bool = False
    """Whether the kernel's count of out-of-memory kills went up meanwhile."""
    left: list[leftovers.Leftover] = field(default_factory=list)
    """What it started and left behind."""
    kept: Kept | None = None
    """What stays of it, parked: to be ended by whoever watched."""
    packing_at: float | None = None
    """Monotonic clock when it began to bring names back."""
    broken: bool = False
    """Whether a frame came without its fields: none behind it is taken."""
    models: set[str] = field(default_factory=set)
    """The kinds of widgets it made."""

    @property
    def outcome(self) -> dict[str, Any] | None:
        """Return the fields of its last message, `None` if it sent none."""
        message = self.child.said.get("outcome")
        return message.fields if message else None

    def feed(self, what: str, data: bytes) -> Iterator[Text | Message]:
        """Take bytes of a stream or the channel; yield what can be shown now.

        Raises `BrokenChannel` where the channel holds no frames.
        """
        self._put(what, data)
        yield from self.child.merger.take()

    def _put(self, what: str, data: bytes) -> None:
        if what != "channel":
            self.child.merger.feed(what, data)
            return
        if self.broken:
            raise BrokenChannel("behind a frame without its fields")
        for message in self.child.decoder.feed(data):
            try:
                self._take(message)
            except (KeyError, TypeError, AttributeError) as error:
                self.broken = True
                raise BrokenChannel(f"a frame without its fields: {error}") from error

    def _take(self, message: Message) -> None:
        fields = message.fields
        if "mark" in fields:
            self.child.merger.put(fields["mark"], message)
            if message.kind == "kernel_message":
                self.models.add(_widget_model(fields["content"]))
            return
        self.child.said[message.kind] = message
        if message.kind == "packing":
            self.packing_at = time.monotonic()
        if message.kind == "names":
            self._answer(self.brought.announce(fields, self._pipe))
            fields.pop("blob")
        elif message.kind == "failed":
            self.brought.fail(fields["failures"])

    @property
    def _pipe(self) -> int:
        """Return what large results are read from, -1 if none were asked for."""
        return self.child.wires.parent.get("buffers", -1)

    @property
    def awaited(self) -> int:
        """Return the pipe that results are coming through, -1 if none are."""
        return self._pipe if self.brought.arrival is not None else -1

    def read_results(self) -> None:
        """Read what the pipe for large results holds."""
        answer = self.brought.read(self._pipe)
        if answer is not None:
            self._answer(answer)

    def _answer(self, answer: bytes) -> None:
        try:
            os.write(self.child.wires.parent["channel"], answer)
        except OSError:
            pass  # it ended while it waited for the answer

    def stop(self, reason: str, number: int, grace_seconds: float) -> None:
        """Tell the child to end, and note why and where it was."""
        if self.stopped is None:
            self.read_memory()
            now = time.monotonic()
            self.stopped, self.stopped_at = reason, now
            idle = self.idleness.seconds(now)
            if self.idleness.looked:
                self.idle_when_stopped = idle > 0
            if not self.frozen:
                self.place = self.where()
        self.child.signal(number)
        self.kill_at = time.monotonic() + grace_seconds

    def freeze(self) -> None:
        """Have a child that is to be killed stand still: reading its memory takes time.

        It could take all that is left meanwhile.
        """
        if self.child.meter is not None:
            self.place = self.where()
            self.frozen = True
            self.child.signal(signal.SIGSTOP)

    def answer_meter(self) -> tuple[bool, float]:
        """Read the memory of the child, which waits.

        Return whether it will ask again, and the seconds that took.
        """
        assert self.child.meter is not None
        begin = time.monotonic()
        asks_more = self.child.meter.answer()
        now = time.monotonic()
        self.hello_due = now + HELLO_SECONDS
        self.next_reading = self.next_reading or now + _READING_SECONDS
        return asks_more, now - begin

    @property
    def held(self) -> bool:
        """Whether its code is done and it waits for its siblings."""
        return self.child.meter is not None and self.child.meter.held

    @property
    def waited_seconds(self) -> float:
        """How long it has waited for its siblings."""
        return self.child.meter.waited_seconds if self.child.meter is not None else 0.0

    def read_memory(self, *, among: int = 1) -> None:
        """Read the memory of the child while it runs, and plan the next time.

        It is one of `among` children that share the time for readings.
        """
        meter = self.child.meter
        if meter is not None and meter.begun:
            took = meter.read()
            pause = max(_READING_SECONDS, _READING_PAUSE * took * among)
            self.next_reading = time.monotonic() + pause

    def where(self) -> str | None:
        """Ask the living child for its stack; return the place in its code."""
        child = self.child
        if pending := self.being_brought():  # by a fork: the stack is not there
            return f"the pickling of {self._being_pickled() or pending}"
        if not guards.catches(child.pid, child_life.STACK_SIGNAL):
            return None
        before = size = os.fstat(child.wires.stack).st_size
        os.kill(child.pid, child_life.STACK_SIGNAL)
        deadline = time.monotonic() + _STACK_PATIENCE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.002)
            last, size = size, os.fstat(child.wires.stack).st_size
            if size > before and size == last:
                break  # it has begun and come to an end
        return self._describe(child.stack_text()[before:])

    def being_brought(self) -> str:
        """Return the names that a child whose code has ended has yet to bring."""
        packing = self.child.said.get("packing")
        if packing is None or self.cell is None:
            return ""
        known = self.brought.sizes.keys() | self.brought.failures.keys()
        names = [name for name in packing.fields["names"] if name not in known]
        return ", ".join(f"`{self.cell.spelling(name)}`" for name in names)

    def _being_pickled(self) -> str:
        """Return the name that a child is pickling, "" between them and after."""
        pickling = self.child.said.get("pickling")
        name = pickling.fields["name"] if pickling else None
        return f"`{self.cell.spelling(name)}`" if self.cell and name else ""

    def _describe(self, text: str) -> str | None:
        line = self.cell.line if self.cell else lambda _number: ""
        return ending.describe_place(ending.parse_stack(text), self._filename, line)

    @property
    def _filename(self) -> str | None:
        return self.cell.filename if self.cell else None

    def finish(self, oom_kills_before: int) -> Iterator[Text | Message]:
        """Yield the last of a child that has ended; end what it left behind."""
        child = self.child
        still_open = self._drain()
        self.read_results()  # it may have ended after the last of them
        self.brought.lose()
        yield from child.merger.flush()
        listed = (self.outcome or {}).get("children", [])
        pipes = [os.fstat(child.wires.parent[name]).st_ino for name in still_open]
        if listed or pipes or leftovers.group_lives(child.pid):
            self.left = leftovers.end(child.pid, listed, pipes)
        child.last_words = child.stack_text()
        code = child.exit_code()
        ended_well = code in (0, None) and self.stopped in (None, "interrupted")
        if ended_well and (stays := (self.outcome or {}).get("stays")):
            self.kept = keep(child, stays)
        if code == -signal.SIGKILL and self.stopped is None:
            self.oom_evidence = guards.oom_kills() > oom_kills_before
        elif code is not None and code < 0 and self.stopped is None:
            self._note_crash()

    def _drain(self) -> list[str]:
        """Read what the pipes hold now; return those that somebody else still holds."""
        names = {self.child.wires.parent[n]: n for n in (*STREAMS, "channel")}
        events = select.poll()
        for fd in names:
            events.register(fd, select.POLLIN)
        open_still = set(STREAMS)
        for fd, event in events.poll(0):
            if event & select.POLLIN:
                self._read_what_is_there(fd, names[fd])
            if event & select.POLLHUP:
                open_still.discard(names[fd])
        return sorted(open_still)

    def _read_what_is_there(self, fd: int, name: str) -> None:
        # What is there now and no more: a grandchild may write for ever.
        left = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0]
        try:
            while left > 0 and (data := os.read(fd, left)):
                left -= len(data)
                self._put(name, data)
        except (BrokenChannel, OSError):
            pass

    def _note_crash(self) -> None:
        stack = ending.parse_stack(self.child.last_words)
        if stack.reason:
            self.place = self._describe(self.child.last_words)
            self.crash = ending.show_stack(stack, self._filename)
            self.crash_reason = stack.reason


def _widget_model(content: dict[str, Any]) -> str:
    """Return the model name in a widget's comm_open message, "" in any other."""
    state = content.get("data", {}).get("state", {})
    return str(state.get("_model_name", "")) if isinstance(state, dict) else ""
