"""Fixtures for the tests of the process room, which go without IPython."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from ipc_magic.process import fork, interrupts
from ipc_magic.process.guards import Limits
from ipc_magic.process.monitor import Monitor
from ipc_magic.process.watch import Watch
from ipc_magic.process.wire import Message

# No test comes near it: whoever meets it has hung.
HUNG_SECONDS = 40.0


@dataclass
class Shown:
    """A front that keeps what it is given."""

    pieces: list[tuple[str, str] | Message] = field(default_factory=list)
    lines: list[str | None] = field(default_factory=list)

    def write(self, stream: str, text: str) -> None:
        self.pieces.append((stream, text))

    def show(self, message: Message) -> None:
        self.pieces.append(message)

    def live(self, line: str | None) -> None:
        self.lines.append(line)

    def text(self, stream: str = "stdout") -> str:
        return "".join(
            piece[1]
            for piece in self.pieces
            if not isinstance(piece, Message) and piece[0] == stream
        )


@dataclass
class Ran:
    """Children that have ended, and what was shown of them."""

    watches: list[Watch]
    shown: Shown
    started: fork.Started

    @property
    def watch(self) -> Watch:
        (watch,) = self.watches
        return watch

    @property
    def outcome(self) -> dict[str, Any]:
        outcome = self.watch.outcome
        assert outcome is not None, self.watch.child.last_words
        return outcome


def run_in_children(
    body: Any,
    shown: Shown,
    *,
    number: int = 1,
    names: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    while_running: Callable[[fork.Started, Monitor], object] | None = None,
    orders: Mapping[str, Any] | None = None,
    **monitoring: Any,
) -> Ran:
    """Run `body` in children until their end."""
    with interrupts.counted():
        started = fork.start(body, number=number, names=names or {}, **orders or {})
        monitor = Monitor(
            started.children,
            shown,
            limits=limits or Limits(timeout_seconds=HUNG_SECONDS),
            **monitoring,
        )
        if while_running is not None:
            while_running(started, monitor)
        monitor.run()
    return Ran(monitor.watches, shown, started)


@pytest.fixture(scope="session", autouse=True)
def _first_fork(_mark: Any) -> None:
    """Run a child, so that what is made once in a process is there before all tests."""
    run_in_children(lambda *_: {}, Shown())


@pytest.fixture
def shown() -> Shown:
    """Give a front that keeps what it is given."""
    return Shown()


@pytest.fixture
def run_children(shown: Shown) -> Callable[..., Ran]:
    """Give a function that runs a body in children until their end."""

    def run(body: Any, **how: Any) -> Ran:
        return run_in_children(body, shown, **how)

    return run


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Give a function that waits until something is true."""
    import time

    def wait(true: Callable[[], object], what: str = "") -> None:
        deadline = time.monotonic() + HUNG_SECONDS
        while not true():
            assert time.monotonic() < deadline, f"never came true: {what}"
            time.sleep(0.005)

    return wait


def state_of(pid: int) -> str:
    """Return the letter of a process's state: proc(5), "" when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.fixture
def state() -> Callable[[int], str]:
    """Give a function that returns the letter of a process's state."""
    return state_of


@pytest.fixture
def is_running() -> Callable[[int], bool]:
    """Give a function that says whether a process lives and is no zombie."""
    return lambda pid: state_of(pid) not in {"", "Z", "X"}


@pytest.fixture
def no_descriptor_left() -> Iterator[None]:
    """Have the kernel refuse to open any file, pipe or socket in this process."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (most + 1, before[1]))
    null = os.open(os.devnull, os.O_RDONLY)
    taken = [null]
    with suppress(OSError):
        while True:
            taken.append(os.dup(null))
    yield
    for fd in taken:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def end_process() -> Any:
    """Give a list of pids that are killed, and waited for, after the test."""
    import signal
    import time

    pids: list[int] = []
    yield pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        deadline = time.monotonic() + HUNG_SECONDS
        while state_of(pid) not in {"", "Z", "X"} and time.monotonic() < deadline:
            time.sleep(0.005)
