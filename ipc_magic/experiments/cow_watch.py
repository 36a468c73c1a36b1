"""How much inherited memory did each child copy: the run of `%cow_watch -n N`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from ipc_magic.experiments import functions, inprocess, inprocess_run
from ipc_magic.memory.track import Track
from ipc_magic.process import guards, interrupts
from ipc_magic.process.cell import Cell
from ipc_magic.process.front import Front, ShellFront
from ipc_magic.process.watch import Watch
from ipc_magic.results.cow_watch import CowWatch, Point, Projection, WatchedChild
from ipc_magic.results.inprocess import ChildRun
from ipc_magic.results.memory import Memory

# A timeline of more points says nothing more.
_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Options:
    """How children are to be watched; see `ipc_magic.options` for what each means."""

    children: int = 1
    tag: bool = False
    """Whether each line of output is tagged with its child's index."""
    project: int | None = None
    mechanism: str | None = None
    timeout: float | None = None
    memory: int | None = None
    keep_free: int = 1 << 30
    live: bool = True
    """Whether a line tells what was copied so far, while children of ours run."""


def in_children(
    shell: Any, cell: Cell, options: Options
) -> tuple[CowWatch, BaseException | None]:
    """Run `cell` in forked children of ours, and measure them at their peak.

    Returns the result, and the error of the code or of a child's end, if any.
    """
    how = _how(options)
    return _watched(
        inprocess.work_of(shell, cell, how), ShellFront(shell), how, options
    )


def _how(options: Options) -> inprocess_run.Options:
    return inprocess_run.Options(
        children=options.children,
        tag=options.tag,
        timeout=options.timeout,
        memory=options.memory,
        keep_free=options.keep_free,
        measure=True,
        mechanism=options.mechanism,
        peak=True,
        live=options.live,
    )


def of_function(
    function: Callable[[], object], options: Options
) -> tuple[CowWatch, BaseException | None]:
    """Do the same with a plain function, where no shell is needed."""
    work = functions.work_of(function, bring_value=False)
    return _watched(work, functions.front(), _how(options), options)


def _watched(
    work: inprocess_run.Work, front: Front, how: inprocess_run.Options, options: Options
) -> tuple[CowWatch, BaseException | None]:
    with interrupts.counted():
        run = inprocess_run.CellRun(work, front, how, parent_waits=True)
        run.watch()
    report, error = run.conclude()
    pairs = zip(run.watches, report.children, strict=True)
    children = tuple(_child(watch, child) for watch, child in pairs)
    control = run.measured.control if run.measured else None
    times = [child.run_seconds or 0.0 for child in report.children]
    result = CowWatch(
        setting=report.setting,
        findings=report.findings,
        mechanism=run.measured.tracker.mechanism if run.measured else "psutil",
        exact=all_exact(children),
        statement=work.cell.source.strip(),
        ran_here=False,
        seconds=max(times),
        children=children,
        control=control,
        projection=projection(children, options.project),
        runs=report.children,
        limits=report.limits,
        **sums(children, control),
    )
    if error is not None:
        vars(error)["report"] = result
    return result, error


def _child(watch: Watch, run: ChildRun) -> WatchedChild:
    track = watch.child.meter
    readings = track.timeline if isinstance(track, Track) else []
    points = [
        Point(seconds=at, copied_bytes=f.copied_bytes, new_bytes=f.new_bytes)
        for at, f in readings
    ]
    return WatchedChild(
        index=run.index,
        pid=run.pid,
        how="%cow_watch",
        parent_pid=os.getpid(),
        exit_code=run.exit_code,
        signal=run.signal,
        last_seen=_last_seen(run, points),
        memory=run.memory,
        timeline=thinned(points),
    )


def _last_seen(run: ChildRun, points: Sequence[Point]) -> float | None:
    if run.memory is None or run.memory.unread_seconds is None or not points:
        return None
    return points[-1].seconds


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return at most some hundred of many readings, the first and the last among them.

    What is copied only grows, so each one left out lies between its neighbours.
    """
    if len(points) <= _POINTS:
        return tuple(points)
    step = (len(points) - 1) / (_POINTS - 1)
    return tuple(points[round(number * step)] for number in range(_POINTS))


def all_exact(children: Sequence[WatchedChild]) -> bool:
    """Return whether what was copied is exact for all of which it is known."""
    known = [child.memory for child in children if child.memory is not None]
    return bool(known) and all(memory.exact for memory in known)


def projection(
    children: Sequence[WatchedChild], number: int | None
) -> Projection | None:
    """Return what `number` such children would need; by default one for each CPU."""
    known = [
        child.memory
        for child in children
        if child.memory is not None
        and child.memory.copied_bytes is not None
        and child.memory.inherited_bytes is not None
    ]
    if not known:
        return None
    children_asked = number or len(os.sched_getaffinity(0))
    parent_bytes = max(memory.inherited_bytes or 0 for memory in known)
    child_bytes = max(_added(memory) for memory in known)
    return Projection(
        children=children_asked,
        for_cpus=number is None,
        parent_bytes=parent_bytes,
        child_bytes=child_bytes,
        bytes=parent_bytes + children_asked * child_bytes,
        machine_bytes=guards.machine_bytes(),
    )


def _added(memory: Memory) -> int:
    return (memory.copied_bytes or 0) + (memory.new_bytes or 0)


class Sums(TypedDict):
    """What RSS and USS said: the fields of a `CowWatch`."""

    resident_bytes: int | None
    unique_bytes: int | None
    idle_resident_bytes: int | None
    idle_unique_bytes: int | None


def sums(children: Sequence[WatchedChild], control: Memory | None) -> Sums:
    """Return them of the child that held most alone, and of the idle one."""
    known = [
        child.memory
        for child in children
        if child.memory is not None and child.memory.resident_bytes is not None
    ]
    largest = max(known, key=_added, default=None)
    return {
        "resident_bytes": largest.resident_bytes if largest else None,
        "unique_bytes": largest.unique_bytes if largest else None,
        "idle_resident_bytes": control.resident_bytes if control else None,
        "idle_unique_bytes": control.unique_bytes if control else None,
    }
