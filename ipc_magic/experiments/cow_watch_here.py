"""Code runs here, and every child that it forks is watched: `%%cow_watch -n 0`."""

from __future__ import annotations

import builtins
import functools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from types import FunctionType, TracebackType
from typing import Any

from ipc_magic.experiments.cow_watch import (
    Options,
    all_exact,
    projection,
    sums,
    thinned,
)
from ipc_magic.experiments.cow_watch_live import Live
from ipc_magic.memory import ladder
from ipc_magic.memory.figures import Figures
from ipc_magic.memory.observing import family
from ipc_magic.memory.observing.seen import Seen
from ipc_magic.memory.observing.watch import watch_forks
from ipc_magic.process import cell_here, guards, interrupts, quiesce
from ipc_magic.process.cell import Cell
from ipc_magic.process.ending import signal_name
from ipc_magic.results import cow_watch_notes
from ipc_magic.results.base import Finding
from ipc_magic.results.cow_watch import CowWatch, Point, WatchedChild
from ipc_magic.results.inprocess import Limits
from ipc_magic.results.memory import Memory
from ipc_magic.results.setting import Setting

# What asking to execute, and executing, copy by themselves is about half of that.
_EXECUTING_BYTES = 1 << 20
_INSTEAD = "use `with ipc_magic.cow_watch() as watch:` around it"


def run(
    shell: Any, cell: Cell, options: Options
) -> tuple[CowWatch, BaseException | None]:
    """Execute `cell` in the session once, and watch the children that it forks.

    Returns the result, and the error of the code, if any, to be raised as it is.
    """
    __tracebackhide__ = True  # IPython shows the person's frames alone
    code = cell_here.compiled(shell, cell, _INSTEAD)
    statement = cell.source.strip()
    watching = Watching(options, shell, statement=statement, filename=cell.filename)
    error = None
    try:
        with watching:
            try:
                cell_here.execute(shell, cell, code)
            except BaseException as raised:  # noqa: BLE001 - raised behind the report
                error = raised
    except KeyboardInterrupt as raised:
        if watching.result is None:
            raise
        error = error or raised  # it came while the last figures were fetched
    assert watching.result is not None
    if error is not None:
        vars(error)["report"] = watching.result
    return watching.result, error


class Watching:
    """Watches what is forked in a `with` block; `result` is set at its end."""

    def __init__(
        self,
        options: Options,
        shell: Any = None,
        *,
        statement: str,
        filename: str | None = None,
    ) -> None:
        self._options = options
        self._statement = statement
        self._mechanism = ladder.choose(options.mechanism)
        self._control, self._control_at = _control(self._mechanism)
        self._begun_at = 0.0
        self._live = Live(shell, keep_free=options.keep_free, lines=options.live)
        self._watch = watch_forks(
            self._mechanism,
            cell=filename,
            gauge=guards.available_bytes,
            progress=self._live.asked,
        )
        self._threads_before = 0
        self.result: CowWatch | None = None

    def __enter__(self) -> Watching:
        try:
            self._watch.__enter__()
        except BaseException:
            self._live.close()
            raise
        self._threads_before = len(os.listdir("/proc/self/task"))
        self._begun_at = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = time.monotonic() - self._begun_at
        with interrupts.put_off():
            try:
                self._watch.__exit__(kind, error, traceback)
            finally:
                self._live.close()
            self.result = self._conclude(seconds)

    def _conclude(self, seconds: float) -> CowWatch:
        children = tuple(self._child(seen) for seen in self._watch.children)
        forked = [child for child in children if child.started_by == "fork"]
        return CowWatch(
            setting=Setting.current(),
            findings=tuple(self._findings(children)),
            mechanism=self._mechanism,
            exact=all_exact(forked),
            statement=self._statement,
            ran_here=True,
            seconds=seconds,
            children=children,
            control=self._control,
            projection=projection(forked, self._options.project),
            limits=Limits(keep_free_bytes=self._options.keep_free or None),
            least_free_bytes=self._watch.least_free_bytes,
            # Its idle child may be older than what the session holds now.
            **sums(forked, None),
        )

    def _findings(self, children: Sequence[WatchedChild]) -> Iterator[Finding]:
        watch = self._watch
        if watch.fault is not None:
            yield cow_watch_notes.lost(watch.fault)
        older = [pid for pid in watch.older if _was_forked(pid)]
        forked = any(child.started_by == "fork" for child in children)
        if older and not forked:
            yield cow_watch_notes.older(older)
        more = watch.most_threads - self._threads_before
        if not children and more > 0:
            yield cow_watch_notes.threads(more)
        yield from cow_watch_notes.about_children(children)

    def _child(self, seen: Seen) -> WatchedChild:
        if self._did_more_than_execute(seen.until_execution):
            # That is what it is told for, and not the program.
            seen = replace(
                seen,
                started_by="fork",
                figures=seen.until_execution,
                last_seen_seconds=None,
                timeline=(),
                fault=None,
            )
        return WatchedChild(
            index=seen.index,
            pid=seen.pid,
            how=seen.how,
            started_by=seen.started_by,
            parent_pid=seen.parent_pid,
            line=seen.line,
            alive=seen.alive,
            exit_code=seen.exit_code,
            signal=None if seen.signal is None else signal_name(seen.signal),
            last_seen=seen.last_seen_seconds,
            memory=self._memory(seen.figures),
            timeline=thinned(
                [
                    Point(seconds=at, copied_bytes=copied, new_bytes=new)
                    for at, copied, new in seen.timeline
                ]
            ),
            fault=seen.fault,
        )

    def _did_more_than_execute(self, until: Figures | None) -> bool:
        if until is None or until.copied_bytes is None:
            return False
        idle = self._control.copied_bytes or 0
        return until.copied_bytes - idle >= _EXECUTING_BYTES

    def _memory(self, figures: Figures | None) -> Memory | None:
        if figures is None:
            return None
        return Memory(
            **asdict(figures),
            baseline_bytes=self._control.copied_bytes,
            baseline_new_bytes=self._control.new_bytes,
            baseline_age_seconds=self._begun_at - self._control_at,
        )


def _was_forked(pid: int) -> bool:
    """Return whether a process runs the program of this one, as a forked child does."""
    return family.command(pid) == family.command(os.getpid())


@functools.cache
def _control(mechanism: str) -> tuple[Memory, float]:
    """Return what a forked child copies that does nothing, and when it was measured.

    Once in a session and mechanism: a child of the person's is not held up by it.
    """
    with watch_forks(mechanism) as watch, quiesce.fork_warnings_off():
        _fork_idle()
    seen = next(iter(watch.children), None)
    figures = seen.figures if seen is not None else None
    known = asdict(figures) if figures is not None else {}
    memory = Memory(**{"mechanism": mechanism, "exact": False, **known})
    return memory, time.monotonic()


def _fork_and_wait() -> None:
    if not (pid := os.fork()):
        os._exit(0)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # somebody else reaped it


# What code of this package forks is not watched, so this is of another name.
_fork_idle = FunctionType(
    _fork_and_wait.__code__, {"__name__": "idle", "os": os, **vars(builtins)}
)
