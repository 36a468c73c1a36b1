"""The meter: when objects are dumped, sent and loaded, and how large they are.

multiprocessing, concurrent.futures and loky dump with `ForkingPickler.dumps`, send
with `Connection` and load with `ForkingPickler.loads`, each looked up at the call.
The sender wraps the first two for the time of a measurement; receivers are processes
that end with it and wrap the last for good.
"""

from __future__ import annotations

import mmap
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, Literal, NamedTuple, TypeAlias

from ipc_magic.pickling.apart import hush
from ipc_magic.pickling.failures import Failed, describe
from ipc_magic.pickling.timing import clock

PATIENCE_SECONDS = 5.0  # for a thread that has sent all to say so


class Event(NamedTuple):
    """One dump, sending or load: by the monotonic clock, comparable everywhere."""

    kind: Literal["dump", "sent", "load"]
    begin: float
    end: float
    size: int
    """The bytes of the pickle."""
    wire: int = 0
    """The bytes written to the descriptor."""


Told: TypeAlias = list[tuple[Any, ...]]
"""Events as plain tuples: a small reply that is dumped and loaded fast."""


class Hop(NamedTuple):
    """One way of an object from a process to another."""

    dump: Event
    sent: Event
    load: Event


class Slate:
    """Where a receiver leaves its last words: memory shared with its forks."""

    IDLE, LOADING, FAILED = range(3)

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def state(self) -> int:
        """What the receiver was doing last."""
        return self._memory[0]

    @state.setter
    def state(self, state: int) -> None:
        self._memory[0] = state

    @property
    def text(self) -> str:
        """Why a load failed."""
        size = int.from_bytes(self._memory[1:3], "little")
        return self._memory[3 : 3 + size].decode(errors="replace")

    def fail(self, text: str) -> None:
        """Write why a load failed."""
        said = text.encode(errors="replace")[: mmap.PAGESIZE - 3]
        self._memory[1 : 3 + len(said)] = len(said).to_bytes(2, "little") + said
        self.state = self.FAILED

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()


_events: list[Event] = []


class _Written(threading.local):
    count = 0


_written = _Written()


class _Sender:
    stack: ExitStack | None = None
    """What puts back what `sending` replaced."""
    failed: Failed | None = None
    """Why the last dump failed: a thread's error is not the one that is raised."""


_sender = _Sender()


def take() -> list[Event]:
    """Return what happened in this process since the last call."""
    taken = _events[:]
    del _events[: len(taken)]
    return taken


def receive(obj: object) -> Told:
    """Do next to nothing with an object: what pools are asked to do with it."""
    del obj
    return tell()


def tell() -> Told:
    """Return what `take` does, for a reply."""
    return list(map(tuple, take()))


def dump(function: Callable[[], Any]) -> Any:
    """Return the pickle that `function` makes, and note its time and size.

    An error of the object is raised as `Failed`.
    """
    begin = clock()
    try:
        pickled = function()
    except Exception as error:
        _sender.failed = Failed(f"the dump failed: {describe(error)}", "dump")
        raise _sender.failed from error
    _events.append(Event("dump", begin, clock(), memoryview(pickled).nbytes))
    return pickled


def failed_dump() -> Failed | None:
    """Return why a dump failed since `sending` began."""
    return _sender.failed


def sent(begin: float, size: int, wire: int) -> None:
    """Note that a pickle of `size` bytes has been sent as `wire` bytes."""
    _events.append(Event("sent", begin, clock(), size, wire))


@contextmanager
def sending() -> Iterator[None]:
    """Note what this process dumps and sends."""
    take()
    _sender.failed = None
    with ExitStack() as stack:
        _sender.stack = stack
        stack.callback(setattr, _sender, "stack", None)
        stack.callback(setattr, _sender, "failed", None)  # it holds frames
        dumps = ForkingPickler.dumps
        _replace(
            stack,
            ForkingPickler,
            "dumps",
            classmethod(lambda cls, *a, **k: dump(lambda: dumps(*a, **k))),
        )
        _replace(stack, Connection, "_send", _counting(Connection.__dict__["_send"]))
        send_bytes = Connection.__dict__["_send_bytes"]
        _replace(stack, Connection, "_send_bytes", _noting(send_bytes))
        yield


@contextmanager
def dumping(module: Any) -> Iterator[None]:
    """Note what is dumped by the function `dumps` of a module, as loky has one."""
    dumps = module.dumps
    with ExitStack() as stack:
        _replace(stack, module, "dumps", lambda *a, **k: dump(lambda: dumps(*a, **k)))
        yield


def _replace(stack: ExitStack, owner: Any, name: str, new: Any) -> None:
    stack.callback(setattr, owner, name, vars(owner)[name])
    setattr(owner, name, new)


def _counting(send: Callable[..., None]) -> Callable[..., None]:
    def write(fd: int, data: Any) -> int:
        count = os.write(fd, data)
        _written.count += count
        return count

    return lambda connection, data: send(connection, data, write)


def _noting(send_bytes: Callable[..., None]) -> Callable[..., None]:
    def noting(connection: Any, data: Any) -> None:
        begin, before = clock(), _written.count
        send_bytes(connection, data)
        sent(begin, len(data), _written.count - before)

    return noting


def receiving(
    limit_seconds: float, slate: Slate | None, *, sends: bool = False
) -> None:
    """Make this process one that receives: silent, noting its loads, for good.

    A load that is not done in time has the kernel end the process, whatever it does.
    What it dumps and sends is noted if it `sends` objects on.
    """
    take()
    hush()
    if _sender.stack is not None and not sends:
        _sender.stack.close()  # inherited in the fork: this is the fork's copy
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sender ends this process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    loads = ForkingPickler.loads
    metered = staticmethod(lambda data: load(lambda: loads(data), data))
    setattr(ForkingPickler, "loads", metered)  # noqa: B010 - mypy knows no such thing
    _receiver.limit_seconds, _receiver.slate = limit_seconds, slate


class _Receiver:
    limit_seconds = 0.0
    slate: Slate | None = None


_receiver = _Receiver()


def load(function: Callable[[], Any], data: Any) -> Any:
    """Return the object that `function` loads from `data`, and note it."""
    slate = _receiver.slate
    if slate is not None:
        slate.state = Slate.LOADING
    signal.setitimer(signal.ITIMER_REAL, _receiver.limit_seconds)
    begin = clock()
    try:
        loaded = function()
    except BaseException as error:
        if slate is not None:
            slate.fail(describe(error))
        raise
    end = clock()
    signal.setitimer(signal.ITIMER_REAL, 0)
    if slate is not None:
        slate.state = Slate.IDLE
    _events.append(Event("load", begin, end, memoryview(data).nbytes))
    return loaded


def hop(begin: float, heard: Iterable[Event], *, messages: int = 1) -> Hop:
    """Return the way of the object sent since `begin`, which took some messages.

    `heard` is what the receiver told. The thread that sent the object may not have
    come to say so yet.
    """
    deadline = clock() + PATIENCE_SECONDS
    mine: list[Event] = []
    while clock() < deadline:
        mine += [event for event in take() if event.begin >= begin]
        found = pair(mine, messages)
        if found is not None:
            return Hop(*found, [event for event in heard if event.kind == "load"][-1])
        time.sleep(0.0001)
    raise Failed("the object took a way that is not known", "transport")


def pair(events: Iterable[Event], messages: int = 1) -> tuple[Event, Event] | None:
    """Return the first dump among these and the sending of it; `None` if not there.

    One message is told from others by its size; more are all that follow the dump.
    """
    dumped: Event | None = None
    parts: list[Event] = []
    for event in sorted(events, key=lambda event: event.end):
        if dumped is None and event.kind == "dump":
            dumped = event
        elif dumped is None or event.kind != "sent":
            continue
        elif messages > 1 or event.size == dumped.size:
            parts.append(event)
            if len(parts) == messages:
                wire = sum(part.wire for part in parts)
                return dumped, Event(
                    "sent", parts[0].begin, event.end, dumped.size, wire
                )
    return None
