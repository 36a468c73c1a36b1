"""The life of a forked child, from its first instruction to `os._exit`.

Whatever the code it runs does, this module never returns into the parent's stack:
a child that did would be a second session on the same sockets.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ipc_magic.process import (
    child_streams,
    csignal,
    hazards,
    interrupts,
    leftovers,
    quiesce,
    wire,
)
from ipc_magic.process.child_side import ChildSide
from ipc_magic.process.meter import ChildMeter, leave, plan_last_reading
from ipc_magic.process.replacements import Replacements
from ipc_magic.process.wiring import Wiring, tie_to_parent

# faulthandler writes the stack on this signal; a real-time one is nobody's default.
STACK_SIGNAL = signal.SIGRTMAX - 5


@dataclass(kw_only=True)
class Orders:
    """What a child is told before it is forked."""

    index: int = 0
    compute_threads: int | None = None
    """Threads for OpenMP and torch; `None` leaves them as they are."""
    memory_bytes: int | None = None
    """How much the child's data may grow before allocations fail; `None`: no bound."""
    generators: dict[str, Any] = field(default_factory=dict)
    """Those of numpy among the variables: compared before and after the code."""
    compare_random: bool = False
    """Whether to say if the code drew from generators that its siblings have too."""
    collect_garbage: bool = True
    """Whether the collector was on in the parent, to be on for the person's code."""
    interrupt_handler: Any = None
    """What SIGINT did in the parent."""
    meter: ChildMeter | None = None
    """What measures the child's memory, if anybody asked for that."""


_HELLO = wire.body_of("hello", {})

# The code a child runs: gets its side of the wiring and returns the plain fields of
# the "outcome" message. What it raises instead is a defect of ours. It may have a
# method `plan`, called in the parent with the same and the child's `Replacements`,
# and one `park`, called last of all with the side and the outcome.
Body = Callable[[ChildSide, Orders], dict[str, Any]]


@dataclass(kw_only=True)
class Plan:
    """All that a child needs to begin, made by the parent just before the fork."""

    wires: Wiring
    orders: Orders
    body: Body
    mask: set[int]
    """The signal mask to restore: signals are blocked at the fork."""
    side: ChildSide
    replacements: Replacements


def plan(wires: Wiring, orders: Orders, body: Body, mask: set[int]) -> Plan:
    """Work out in the parent what the child is to do."""
    side, replacements = ChildSide(wires), Replacements()
    child_streams.plan(side, replacements)
    _plan_to_forget(replacements)
    if orders.meter is not None:
        plan_last_reading(orders.meter, side.is_here, replacements)
    if plan_body := getattr(body, "plan", None):
        plan_body(side, orders, replacements)
    return Plan(
        wires=wires,
        orders=orders,
        body=body,
        mask=mask,
        side=side,
        replacements=replacements,
    )


def live(plan: Plan) -> NoReturn:
    """Be the child: set up, run the body, report, exit with 0, or 1 on failure."""
    status = 1
    try:
        os.setsid()
        faulthandler.enable(plan.wires.stack)
        faulthandler.register(STACK_SIGNAL, plan.wires.stack)
        plan.side.begin()
        tie_to_parent(plan.side.lifeline)
        child_streams.take_descriptors(plan.side)
        plan.replacements.make()
        _forget_the_parent(plan.orders)
        if plan.orders.compute_threads:
            hazards.limit_compute_threads(plan.orders.compute_threads)
        if plan.orders.meter is not None:
            plan.orders.meter.begin_here()
        csignal.pthread_sigmask(signal.SIG_SETMASK, plan.mask)
        status = _run(plan)
    except BaseException:  # noqa: BLE001 - nothing may pass into the parent's stack
        status = _last_words(plan.wires)
    finally:
        leave(status)


def _run(plan: Plan) -> int:
    side, orders = plan.side, plan.orders
    before = hazards.random_state(orders.generators) if orders.compare_random else None
    side.send_now(_HELLO)
    if orders.memory_bytes is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        _bound_data(orders.memory_bytes, hard)
    if orders.collect_garbage:
        gc.enable()
    outcome = plan.body(side, orders)
    gc.disable()
    if orders.memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    if orders.compare_random and before != hazards.random_state(orders.generators):
        outcome["drew_random"] = hazards.random_stream(orders.generators)
    outcome["time_done"] = time.monotonic()
    _finish_threads_and_processes()
    outcome["children"] = leftovers.own_children()
    quiesce.flush_standard_streams()
    if park := getattr(plan.body, "park", None):
        park(side, outcome)
    side.send("outcome", **outcome)
    return 0


def _bound_data(size: int, hard: int) -> None:
    """Let the process's data grow by `size` bytes: RLIMIT_DATA of setrlimit(2)."""
    with open("/proc/self/status", encoding="ascii") as status:
        data = next(int(line.split()[1]) for line in status if line[:7] == "VmData:")
    limit = data * 1024 + size
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _plan_to_forget(replacements: Replacements) -> None:
    """Undo what a forked child should not share: event loops, processes."""
    replacements.put(interrupts, "_counting", None)
    if asyncio := sys.modules.get("asyncio"):
        # The parent's loop object polls the parent's epoll instance; the next use of
        # a loop makes a new policy.
        replacements.put(asyncio.events, "_event_loop_policy", None)
    if process := sys.modules.get("multiprocessing.process"):
        # As multiprocessing's own children do (BaseProcess._bootstrap).
        replacements.put(process, "_children", set())


def _forget_the_parent(orders: Orders) -> None:
    """Undo what is no object of Python's: wake-ups, signal handlers, finalizers."""
    csignal.set_wakeup_fd(-1)  # a wake-up would wake the parent's event loop
    handler = orders.interrupt_handler
    ignored = handler in (signal.SIG_IGN, None)
    csignal.signal(signal.SIGINT, signal.default_int_handler if ignored else handler)
    if util := sys.modules.get("multiprocessing.util"):
        if util._finalizer_registry:
            util._finalizer_registry.clear()
        if util._afterfork_registry:
            util._run_after_forkers()


def _finish_threads_and_processes() -> None:
    """Let the code's threads end and its queues empty, as at the end of a script.

    Processes that are not daemons are not waited for: in a notebook the next cell
    would not either. The parent ends and names them.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        if util := sys.modules.get("multiprocessing.util"):
            util._run_finalizers(0)
            for process in sys.modules["multiprocessing.process"].active_children():
                if process.daemon:
                    process.terminate()
                    process.join()
            util._run_finalizers()
    except KeyboardInterrupt:
        pass  # the person would not wait for them


def _last_words(wiring: Wiring) -> int:
    """Leave the traceback of a failure of ours where the parent finds it."""
    import traceback

    try:
        text = "ipc_magic failed in the child:\n" + traceback.format_exc()
        os.write(wiring.stack, text.encode(errors="replace"))
    except OSError:
        pass
    return 1
