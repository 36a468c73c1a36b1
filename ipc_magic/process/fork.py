"""The fork: from a quiet parent to children that run a body, each with a handle."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

from ipc_magic.errors import CannotStart
from ipc_magic.process import (
    child,
    csignal,
    hazards,
    interrupts,
    parent_only,
    quiesce,
    turns,
    wiring,
)
from ipc_magic.process.guardian import guardian
from ipc_magic.process.merge import Merger
from ipc_magic.process.meter import ChildMeter, Meter
from ipc_magic.process.wire import Decoder, Message

_BLOCKED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}


@dataclass(kw_only=True)
class Child:
    """The parent's handle on one forked child."""

    index: int
    pid: int
    wires: wiring.Wiring
    pidfd: int
    """A pidfd, or -1 where the kernel gives none."""
    forked_at: float
    """Monotonic clock when the fork began."""
    merger: Merger
    meter: ChildMeter | None = None
    """What measures its memory, if anybody asked for that."""
    decoder: Decoder = field(default_factory=Decoder)
    said: dict[str, Message] = field(default_factory=dict)
    """The last message of each kind that it sent."""
    wait_status: int | None = None
    """What waitpid(2) told; `None` while it lives, or if somebody else reaped it."""
    last_words: str = ""
    """What faulthandler, or a failure of ours, wrote about it until its end."""
    ended_at: float | None = None
    """Monotonic clock when its end was seen."""

    @property
    def alive(self) -> bool:
        """Return whether its end has not been seen yet."""
        return self.ended_at is None

    def reap(self) -> bool:
        """Return whether it has ended; if so its exit status is taken."""
        if self.alive:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self.pid, -1  # somebody else reaped it
            if pid:
                self.wait_status = status if status >= 0 else None
                self.ended_at = time.monotonic()
        return not self.alive

    def exit_code(self) -> int | None:
        """Return its exit code, a signal's number negative; `None` if not known."""
        if self.wait_status is None:
            return None
        return os.waitstatus_to_exitcode(self.wait_status)

    def signal(self, number: int) -> None:
        """Send a signal to the child's whole process group."""
        if not self.alive:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # it has not made its group yet
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass  # it has ended, and somebody else reaped it

    def stack_text(self) -> str:
        """Return what faulthandler wrote about it."""
        size = os.fstat(self.wires.stack).st_size
        return os.pread(self.wires.stack, size, 0).decode(errors="replace")

    def close(self) -> None:
        """Close what the parent holds of it."""
        self.wires.close_parent_side()
        if self.meter is not None:
            self.meter.close()
        if self.pidfd >= 0:
            parent_only.release(self.pidfd)
            self.pidfd = -1


@dataclass(frozen=True, kw_only=True)
class Started:
    """Children just forked, and what is to be known of the moment of their fork."""

    children: tuple[Child, ...]
    hazards: tuple[hazards.Hazard, ...]
    parent_threads: int


def start(
    body: child.Body,
    *,
    number: int,
    names: Mapping[str, Any],
    compute_threads: int | Literal["keep"] | None = None,
    memory_bytes: int | None = None,
    meter: Meter | None = None,
    results: bool = False,
) -> Started:
    """Fork `number` children that run `body`.

    `names` are the person's variables: their open files are flushed, what a fork
    breaks among them is told. `compute_threads` is for OpenMP and torch, by default
    one where they were loaded before. `meter` measures the children's memory. Where
    large `results` are to come back each has a pipe for them. Raises `CannotStart`,
    with no child left. To be called within `interrupts.counted()`, or an interrupt
    may leave a child behind.
    """
    if not hasattr(os, "fork"):
        raise CannotStart("not started: this system has no fork")
    with turns.taken():
        return _start(
            body,
            number=number,
            names=names,
            compute_threads=compute_threads,
            memory_bytes=memory_bytes,
            meter=meter,
            results=results,
        )


def _start(
    body: child.Body,
    *,
    number: int,
    names: Mapping[str, Any],
    compute_threads: int | Literal["keep"] | None,
    memory_bytes: int | None,
    meter: Meter | None,
    results: bool,
) -> Started:
    hazards.refuse_cuda()
    threads = _compute_threads(compute_threads)
    files = quiesce.open_for_writing(names)
    quiesce.flush(file for _, file in files)
    found = [*hazards.compute_hazards(threads), *hazards.lost_executors(names)]
    found += hazards.shared_files(name for name, _ in files)
    found += hazards.importing(quiesce.wait_for_imports())
    # Chosen here: a child copies the page of each variable that it looks at.
    generators = hazards.generators(names) if number > 1 else {}
    children: list[Child] = []
    with ExitStack() as stack:
        mask = csignal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        stack.callback(csignal.pthread_sigmask, signal.SIG_SETMASK, mask)
        collecting = gc.isenabled()
        if collecting:
            gc.disable()
            stack.callback(gc.enable)
        stack.enter_context(quiesce.fork_warnings_off())
        stack.enter_context(quiesce.logging_held())
        quiesce.flush_standard_streams()
        if meter is not None:
            meter.before_forks()
        for index in range(number):
            orders = child.Orders(
                index=index,
                compute_threads=threads,
                memory_bytes=memory_bytes,
                generators=generators,
                compare_random=number > 1,
                collect_garbage=collecting,
                interrupt_handler=interrupts.handler_for_children(),
            )
            try:
                children.append(_fork(body, orders, mask, meter, results=results))
            except OSError as error:
                abandon(children)
                raise CannotStart(
                    f"not started: child {index} of {number} could not be forked "
                    f"({error.strerror}); fewer children, or fewer open files and "
                    "processes, may do"
                ) from error
    guardian.watch(each.pid for each in children)
    return Started(
        children=tuple(children),
        hazards=tuple(found),
        parent_threads=threading.active_count(),
    )


def _compute_threads(asked: int | Literal["keep"] | None) -> int | None:
    """Return how many threads OpenMP and torch get; `None` leaves them alone."""
    if asked is None:
        return 1 if hazards.openmp_loaded() else None
    return None if asked == "keep" else asked


def _fork(
    body: child.Body,
    orders: child.Orders,
    mask: set[Any],
    meter: Meter | None,
    *,
    results: bool,
) -> Child:
    wires = wiring.make(results=results)
    begin = time.monotonic()
    try:
        orders.meter = meter.track() if meter is not None else None
        plan = child.plan(wires, orders, body, mask)
        pid = os.fork()
    except BaseException:
        wires.close_parent_side()
        wires.close_child_side()
        if orders.meter is not None:
            orders.meter.close()
        raise
    if pid == 0:
        child.live(plan)
    wires.close_child_side()
    if orders.meter is not None:
        orders.meter.follow(pid)
    return Child(
        index=orders.index,
        pid=pid,
        wires=wires,
        pidfd=_pidfd(pid),
        forked_at=begin,
        merger=Merger(wires.token),
        meter=orders.meter,
    )


def _pidfd(pid: int) -> int:
    try:
        return parent_only.hold(os.pidfd_open(pid))
    except OSError:  # a kernel or sandbox without: the parent looks now and then
        return -1


def abandon(children: list[Child]) -> None:
    """Kill and reap children that are not wanted any more."""
    for each in children:
        each.signal(signal.SIGKILL)
    for each in children:
        while not each.reap():
            time.sleep(0.001)
        each.close()
    guardian.release(each.pid for each in children)
