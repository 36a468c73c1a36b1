"""One piece of work running in its children, from their forks to its report."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ipc_magic import errors
from ipc_magic.experiments import inprocess_room, parked
from ipc_magic.experiments.inprocess_ends import error_of, findings_about, judge
from ipc_magic.memory import smaps
from ipc_magic.process import fork, guards, proof
from ipc_magic.process.cell import ALL, VALUE, Cell
from ipc_magic.process.child import Body
from ipc_magic.process.front import Front
from ipc_magic.process.monitor import Monitor
from ipc_magic.process.parcel import Parcel
from ipc_magic.process.watch import Watch
from ipc_magic.results.base import Finding
from ipc_magic.results.inprocess import InProcess, Limits
from ipc_magic.results.memory import Memory
from ipc_magic.results.setting import Setting

if TYPE_CHECKING:
    from ipc_magic.experiments.inprocess_memory import Measured


@dataclass(frozen=True, kw_only=True)
class Work:
    """What runs in the children, and in a control child that does nothing."""

    cell: Cell
    """Its text, to say where a child sits."""
    names: dict[str, Any]
    """The person's variables: what comes back is bound among them."""
    body: Body
    idle: Callable[[], Body]
    """Makes an empty statement that runs through the same machinery."""
    machinery: str
    """What that is: "shell" or "function". Each copies pages of its own."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a cell is to run; see `ipc_magic.options` for what each means."""

    children: int = 1
    tag: bool = False
    """Whether each line of output is tagged with its child's index."""
    timeout: float | None = None
    memory: int | None = None
    keep_free: int = 0
    threads: int | Literal["keep"] | None = None
    measure: bool = False
    """Whether the children's memory is measured."""
    mechanism: str | None = None
    """What measures it; `None`: the best that works here."""
    peak: bool = False
    """Whether the peak of all is wanted: they have a control, and wait at the end."""
    changes: bool = False
    """Whether it is told what the code did to the notebook's names."""
    live: bool = False
    """Whether a line tells what was copied so far, while they run."""


class CellRun:
    """One cell running in its children: begun when made.

    Raises `CannotStart` when nothing could be begun.
    """

    def __init__(
        self,
        work: Work,
        front: Front,
        options: Options,
        *,
        parent_waits: bool = False,
    ) -> None:
        self._names_here = work.names
        self._cell = work.cell
        self._options = options
        inprocess_room.refuse_without(options.keep_free)
        self._memory: Measured | None = None
        self._unmeasured = ""
        if options.measure:
            self._unmeasured = inprocess_room.too_many_files(options.children)
        if options.measure and not self._unmeasured:
            from ipc_magic.experiments.inprocess_memory import Measured

            try:
                self._memory = Measured(
                    work.idle,
                    front,
                    options.mechanism,
                    machinery=work.machinery,
                    names=work.names,
                    keep_free_bytes=options.keep_free,
                    parent_waits=parent_waits,
                    peak=options.peak,
                )
            except (OSError, errors.CannotStart) as error:
                self._unmeasured = str(error)
        try:
            self._started = fork.start(
                work.body,
                number=options.children,
                names=work.names,
                compute_threads=options.threads,
                memory_bytes=options.memory,
                meter=self._memory.tracker if self._memory else None,
                results=bool(work.cell.asked()),
            )
        except BaseException:
            self._end_measuring()
            raise
        self._monitor = Monitor(
            self._started.children,
            front,
            limits=guards.Limits(
                timeout_seconds=options.timeout,
                memory_bytes=options.memory,
                keep_free_bytes=options.keep_free,
                own_bytes=smaps.private_dirty_bytes,
            ),
            prove=self._prove,
            room=functools.partial(inprocess_room.lacking, options.keep_free),
            cell=work.cell,
            tagged=options.tag,
            progress=self._so_far if options.live and self._memory else None,
        )
        self._front = front
        # Made while the children run: the fewer things are left to do at the end.
        self._setting = Setting.current(parent_threads=self._started.parent_threads)
        self._limits = Limits(
            timeout_seconds=options.timeout,
            memory_bytes=options.memory,
            keep_free_bytes=options.keep_free or None,
        )
        self._report: InProcess | None = None
        self._error: BaseException | None = None

    def _so_far(self) -> str:
        assert self._memory is not None
        return self._memory.so_far(self._monitor.watches)

    def _memory_of(self, watch: Watch) -> Memory | None:
        return self._memory.of(watch) if self._memory is not None else None

    def _prove(self, parcel: Parcel) -> str | None:
        keep_free = self._options.keep_free
        return proof.prove(parcel, self._front, keep_free_bytes=keep_free)

    @property
    def watches(self) -> list[Watch]:
        """The children as they were watched."""
        return self._monitor.watches

    @property
    def measured(self) -> Measured | None:
        """What measured their memory."""
        return self._memory

    def watch(self) -> None:
        """Watch the children until all have ended."""
        try:
            self._monitor.run()
        finally:
            self._end_measuring()

    def _end_measuring(self) -> None:
        if self._memory is not None:
            self._memory.tracker.close()

    def signal(self, number: int) -> None:
        """Send a signal to the children that live."""
        for watch in self._monitor.watches:
            watch.child.signal(number)

    def pids(self) -> list[int]:
        """Return the children's pids."""
        return [child.pid for child in self._started.children]

    def conclude(self) -> tuple[InProcess, BaseException | None]:
        """Return the report, and the error of the code or of a child's end, if any.

        To be called when the children have ended; names that came back are bound in
        the notebook the first time.
        """
        if self._report is None:
            watches = self._monitor.watches
            runs = tuple(judge(w, self._cell, self._memory_of(w)) for w in watches)
            self._report = InProcess(
                setting=self._setting,
                children=runs,
                asked=self._cell.asked(),
                limits=self._limits,
                findings=tuple(self._findings()),
            )
            self._error = self._first_error()
            if self._error is not None:
                vars(self._error)["report"] = self._report
            self._names_here.update(self._names())
        return self._report, self._error

    @property
    def report(self) -> InProcess:
        """The result, once the children have ended."""
        return self.conclude()[0]

    def take_value(self) -> Any:
        """Return the value of the expression; a list of them for several children.

        It is not kept: what takes much memory goes when the person lets it go.
        """
        return self._take(VALUE)

    def _names(self) -> dict[str, Any]:
        came = dict.fromkeys(n for w in self._monitor.watches for n in w.brought.values)
        asked = came if ALL in self._cell.bring else self._cell.bring
        return {n: self._take(n) for n in came if n in asked and n != VALUE}

    def _take(self, name: str) -> Any:
        values = [w.brought.values.pop(name, None) for w in self._monitor.watches]
        return values if self._options.tag else values[0]

    def _first_error(self) -> BaseException | None:
        assert self._report is not None
        pairs = zip(self._monitor.watches, self._report.children, strict=True)
        for watch, run in pairs:
            if run.ending != "finished":
                return error_of(watch, run, self._report.limits, self._prove)
        return self._not_brought()

    def _not_brought(self) -> errors.NotBroughtBack | None:
        failures = [
            f"`{self._cell.spelling(name)}` in child {watch.child.pid}: {reason}"
            for watch in self._monitor.watches
            for name, reason in self._missing(watch).items()
            # What came by ALL and failed is a finding: the person did not name it.
            if name in self._cell.asked_by_name()
        ]
        if not failures:
            return None
        return errors.NotBroughtBack("not brought back: " + "; ".join(failures))

    def _missing(self, watch: Watch) -> dict[str, str]:
        """Return why asked-for names did not come from a child, by name."""
        missing = dict(watch.brought.failures)
        for name in self._cell.asked_by_name():
            if (
                name != VALUE
                and name not in missing
                and name not in watch.brought.values
            ):
                missing[name] = "there is no such name"
        return missing

    def _findings(self) -> list[Finding]:
        found = [
            Finding(code=h.code, message=h.message, figures=h.figures)
            for h in self._started.hazards
        ]
        for watch in self._monitor.watches:
            found += findings_about(watch, self._cell)
        found += parked.findings(self._monitor.watches)
        if self._memory is not None:
            found += self._memory.findings(self._monitor.watches)
        elif self._unmeasured:
            message = f"memory was not measured: {self._unmeasured}"
            found.append(Finding(code="unmeasured", message=message))
        if len(self._monitor.watches) == 1:
            return found
        streams = Counter(
            (w.outcome or {}).get("drew_random") for w in self._monitor.watches
        )
        streams.pop(None, None)
        if (drew := max(streams.values(), default=0)) > 1:
            found.append(
                Finding(
                    code="random",
                    message=f"{drew} children drew the same numbers from numpy's "
                    "random state, which each inherited: seed it by child_index",
                    figures={"children": drew},
                )
            )
        return found
