"""Fixtures for the tests of the memory room: families read by several rungs at once."""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from ipc_magic.memory import ladder
from ipc_magic.memory.handshake import BEGIN, Handshake
from ipc_magic.memory.pages import PAGE_BYTES, Pages
from ipc_magic.memory.rungs.base import Rung
from ipc_magic.memory.rungs.exclusive import Exclusive
from ipc_magic.memory.rungs.pfn import Frames
from ipc_magic.memory.rungs.smaps import SmapsRollup
from ipc_magic.memory.rungs.uffd import Uffd
from ipc_magic.memory.track import Track
from ipc_magic.memory.tracker import Tracker
from ipc_magic.memory.witness import WitnessProcess

# No test comes near it: whoever meets it has hung.
HUNG_SECONDS = 40.0
HUGE_BYTES = 2 << 20
Actions = Mapping[str, Callable[..., Any]]


class Region:
    """Private anonymous memory that a family's parent fills, for its children.

    In the test's own process it stays empty: nothing here holds an original.
    """

    def __init__(self, pages: int, *, huge: bool = False) -> None:
        size = pages * PAGE_BYTES + (HUGE_BYTES if huge else 0)
        self.memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
        bytes_of = np.frombuffer(self.memory, np.uint8)
        first = bytes_of.ctypes.data
        self.offset = -first % HUGE_BYTES if huge else 0
        self.address = first + self.offset
        self.bytes = bytes_of[self.offset : self.offset + pages * PAGE_BYTES]
        self.count = pages

    def fill(self) -> None:
        """Write each page."""
        self.bytes[::PAGE_BYTES] = 1

    @property
    def pages(self) -> Pages:
        return self.some(range(self.count))

    def some(self, indices: Iterable[int]) -> Pages:
        """Return the pages of these numbers, 0 is the first of the region."""
        starts = [self.address + i * PAGE_BYTES for i in indices]
        return Pages.between((start, start + PAGE_BYTES) for start in starts)

    def numbers(self, pages: Pages) -> list[int]:
        """Return which pages of the region are among these, as numbers from 0."""
        first = self.address // PAGE_BYTES
        inside = pages & self.pages
        return [n - first for a, b in inside.runs.tolist() for n in range(a, b)]

    def write(self, indices: Iterable[int]) -> None:
        for i in indices:
            self.bytes[i * PAGE_BYTES + 8] = 2

    def read(self, indices: Iterable[int]) -> int:
        return sum(int(self.bytes[i * PAGE_BYTES]) for i in indices)

    def advise(self, advice: int, first: int, count: int) -> None:
        """Call madvise(2) for `count` pages."""
        at = self.offset + first * PAGE_BYTES
        self.memory.madvise(advice, at, count * PAGE_BYTES)

    def actions(self) -> dict[str, Callable[..., Any]]:
        return {
            "fill": self.fill,
            "write": self.write,
            "read": self.read,
            "advise": self.advise,
        }


def _serve(orders: socket.socket, actions: Actions) -> None:
    """Do what is told, one line of JSON each, until nobody tells any more."""
    actions = {"pid": os.getpid, **actions}
    with orders.makefile("rw", encoding="ascii") as file:
        for line in file:
            name, *arguments = json.loads(line)
            try:
                answer = {"value": actions[name](*arguments)}
            except BaseException as error:
                answer = {"error": repr(error)}
            file.write(json.dumps(answer) + "\n")
            file.flush()


class Member:
    """A process that does what it is told, and else waits in read(2)."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.settimeout(HUNG_SECONDS)
        self._answers = self._ours.makefile("r", encoding="ascii")
        self.pid = 0

    def serve_here(self, actions: Actions) -> None:
        self._answers.close()
        self._ours.close()
        _serve(self._theirs, actions)

    def tell(self, name: str, *arguments: Any) -> None:
        self._ours.sendall(json.dumps([name, *arguments]).encode() + b"\n")

    def answer(self) -> Any:
        line = self._answers.readline()
        answer = json.loads(line) if line else {"error": "it has ended"}
        self.rest()
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def rest(self) -> None:
        """Wait until it waits: with its answer sent it still runs for a moment."""
        deadline = time.monotonic() + HUNG_SECONDS
        while self.pid and state_of(self.pid) not in {"S", "T", "Z", ""}:
            assert time.monotonic() < deadline, "it never came to rest"

    def do(self, name: str, *arguments: Any) -> Any:
        self.tell(name, *arguments)
        return self.answer()

    def close_theirs(self) -> None:
        self._theirs.close()

    def close(self) -> None:
        self._answers.close()
        self._ours.close()
        self._theirs.close()


@dataclass(eq=False)
class Child(Member):
    """A child that several rungs read, all begun while it waited to be met."""

    handshake: Handshake
    rungs: dict[str, Rung] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Member.__init__(self)

    def meet(self, names: Iterable[str]) -> None:
        """Begin all rungs while the child waits to be let go."""
        asked, descriptor = self.handshake.take()
        assert asked == BEGIN
        self.rest()
        names = list(names)
        if "uffd" in names:  # it alone closes the descriptor
            self.rungs["uffd"] = ladder.make("uffd", self.pid, descriptor)
        elif descriptor >= 0:
            os.close(descriptor)
        for name in names:
            if name != "uffd":
                self.rungs[name] = ladder.make(name, self.pid)
        for rung in self.rungs.values():
            rung.begin()

    def go(self) -> None:
        """Let the child go, and wait until it has nothing to do."""
        self.handshake.let_go()
        assert self.do("pid") == self.pid

    def look(self) -> dict[str, Any]:
        """Take a reading of each rung; return their figures by name."""
        return {name: rung.read() for name, rung in self.rungs.items()}

    @property
    def uffd(self) -> Uffd:
        rung = self.rungs["uffd"]
        assert isinstance(rung, Uffd)
        return rung

    @property
    def frames(self) -> Frames:
        rung = self.rungs["pfn"]
        assert isinstance(rung, Frames)
        return rung

    @property
    def exclusive(self) -> Exclusive:
        rung = self.rungs.get("witness") or self.rungs["exclusive"]
        assert isinstance(rung, Exclusive)
        return rung

    @property
    def sums(self) -> SmapsRollup:
        rung = self.rungs["smaps"]
        assert isinstance(rung, SmapsRollup)
        return rung

    def end(self) -> None:
        for rung in self.rungs.values():
            rung.close()
        self.handshake.close_theirs()
        self.handshake.close()
        self.close()


class Family(Member):
    """A parent that only does what it is told, and children that it forks.

    The test's process reads the children from outside. What it writes meanwhile gives
    up no original: the process between it and the parent holds them all, and waits.
    """

    def __init__(self, actions: Actions, *, children: int = 1) -> None:
        super().__init__()
        self.children = [
            Child(Handshake(ladder.creator_for("uffd"))) for _ in range(children)
        ]
        self._actions = actions
        self._witness: WitnessProcess | None = None
        self._between = os.fork()
        if not self._between:
            if pid := os.fork():
                os.waitpid(pid, 0)
                os._exit(0)
            try:
                forks = {
                    "fork": self._fork_here,
                    "witness": self._witness_here,
                    "reap": _kill_and_reap,
                }
                for name, action in actions.items():
                    if name.startswith("fill"):
                        action()
                self.serve_here({**actions, **forks})
            finally:
                os._exit(0)
        self.close_theirs()
        self.pid = self.do("pid")
        self.rest()

    def _fork_here(self, index: int) -> int:
        child = self.children[index]
        pid = os.fork()
        if not pid:
            try:
                child.handshake.close()
                child.handshake.begin_here()
                child.serve_here(self._actions)
            finally:
                os._exit(0)
        return pid

    def _witness_here(self) -> int:
        self._witness = WitnessProcess()
        return self._witness.pid

    def born(
        self, *rungs: str, index: int = 0, witness: bool = False, go: bool = True
    ) -> Child:
        """Fork a child, a witness just before it if wished, and begin the rungs."""
        if witness:
            self.do("witness")
        child = self.children[index]
        child.pid = self.do("fork", index)
        child.handshake.close_theirs()
        child.close_theirs()
        child.meet(rungs)
        if go:
            child.go()
        return child

    def again(self, *rungs: str) -> Child:
        """Fork one more child, to be dropped before the next."""
        child = self.children[0]
        child.pid = self.do("fork", 0)
        child.meet(rungs)
        child.go()
        return child

    def drop(self, child: Child) -> None:
        """End a child that comes again."""
        self.do("reap", child.pid)
        for rung in child.rungs.values():
            rung.close()
        child.rungs.clear()
        child.pid = 0

    def end(self) -> None:
        for child in self.children:
            if child.pid:
                os.kill(child.pid, signal.SIGKILL)
            child.end()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self._between, 0)
        self.close()


def state_of(pid: int) -> str:
    """Return the letter of a process's state: proc(5), "" when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _kill_and_reap(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _families() -> Iterator[Callable[..., Family]]:
    families: list[Family] = []

    def make(actions: Actions | None = None, **how: Any) -> Family:
        families.append(Family(actions or {}, **how))
        return families[-1]

    yield make
    for made in families:
        made.end()


@pytest.fixture
def family() -> Iterator[Callable[..., Family]]:
    """Give a function that makes a family; all of them end after the test."""
    yield from _families()


@pytest.fixture(scope="module")
def module_family() -> Iterator[Callable[..., Family]]:
    """Give the same for families that live as long as a module's tests."""
    yield from _families()


@pytest.fixture(scope="session")
def region() -> type[Region]:
    """Give the class of regions; `region(pages, huge=False)` makes one."""
    return Region


@pytest.fixture
def state() -> Callable[[int], str]:
    """Give a function that returns the letter of a process's state."""
    return state_of


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Give a function that waits until something is true."""

    def wait(true: Callable[[], object], what: str = "") -> None:
        deadline = time.monotonic() + HUNG_SECONDS
        while not true():
            assert time.monotonic() < deadline, f"never came true: {what}"
            time.sleep(0.002)

    return wait


@pytest.fixture
def end_process(wait_until: Callable[..., None]) -> Iterator[list[int]]:
    """Give a list of pids that are killed, and waited for, after the test."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        wait_until(lambda pid=pid: state_of(pid) in {"", "Z", "X"}, "it ends")


@pytest.fixture(autouse=True)
def _mechanism_works(request: pytest.FixtureRequest) -> None:
    """Skip a test that is parametrized by a `mechanism` which does not work here."""
    callspec = getattr(request.node, "callspec", None)
    mechanism = callspec.params.get("mechanism") if callspec else None
    if mechanism is not None and (fault := ladder.fault_of(mechanism)):
        pytest.skip(f"no {mechanism} here: {fault}")


@pytest.fixture
def tracked() -> Callable[..., Track]:
    """Give a function that runs a body in a child of this process, and measures it.

    `at_rest` is called with the track and the pid each time before it is answered.
    """

    def run(
        body: Callable[[], object],
        mechanism: str | None = None,
        *,
        at_rest: Callable[[Track, int], object] = lambda track, pid: None,
        before: Callable[[], object] = lambda: None,
        after: Callable[[Track], object] = lambda track: None,
        **how: Any,
    ) -> Track:
        with Tracker(mechanism, **how) as tracker, tracker.track() as track:
            if not (pid := os.fork()):
                try:
                    before()
                    track.begin_here()
                    body()
                    track.done_here()
                    after(track)
                finally:
                    os._exit(0)
            track.follow(pid)
            ended = os.pidfd_open(pid)
            waiting = select.poll()
            for descriptor in (track.fileno(), ended):
                waiting.register(descriptor, select.POLLIN)
            going = True
            while going:
                ready = waiting.poll(HUNG_SECONDS * 1000)
                assert ready, "the child has hung"
                if ready[0][0] == ended:
                    break
                at_rest(track, pid)
                going = track.answer()
            os.close(ended)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return track

    return run


@pytest.fixture
def apart() -> Callable[..., Any]:
    """Give a function that does something in a process of its own, with its result."""

    def run(function: Callable[[], Any]) -> Any:
        told, tells = os.pipe()
        if not (pid := os.fork()):
            os.close(told)
            try:
                ladder.fault_of.cache_clear()
                answer = {"value": function()}
            except BaseException as error:
                answer = {"error": repr(error), "trace": traceback.format_exc()}
            try:
                os.write(tells, json.dumps(answer).encode())
            finally:
                os._exit(0)
        os.close(tells)
        with open(told, "rb") as file:
            text = file.read()
        os.waitpid(pid, 0)
        assert text, "it ended without a word"
        answer = json.loads(text)
        assert "error" not in answer, answer["trace"]
        return answer["value"]

    return run
