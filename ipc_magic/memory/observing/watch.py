"""The context manager that has all children measured that code forks in it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from ipc_magic.errors import CannotStart, IpcMagicError
from ipc_magic.memory import ladder
from ipc_magic.memory.observing import launch, named
from ipc_magic.memory.observing.forking import Forks, Observer
from ipc_magic.memory.observing.progress import Asked
from ipc_magic.memory.observing.seat import Forker, take_seat
from ipc_magic.memory.observing.seen import Seen, from_record, in_order

_PATIENCE_SECONDS = 30.0  # it may yet start, from a cold disk


class watch_forks:  # noqa: N801 - a context manager, used as a statement
    """Measures every child that this process and its children fork meanwhile.

    `mechanism` names one, else the best that works here is taken; `cell` is the file
    name of the code whose lines are told, else those of `__main__` are; `gauge`, a
    function of a module, tells the observer how much memory is free; `progress` is
    where it writes lines meanwhile. Entering
    raises `OptionError` for a mechanism that does not work here, `CannotStart` when
    nothing can be measured, `IpcMagicError` while another watch is open.
    """

    def __init__(
        self,
        mechanism: str | None = None,
        *,
        cell: str | None = None,
        gauge: Callable[[], int] | None = None,
        progress: Asked | None = None,
    ) -> None:
        self.children: tuple[Seen, ...] = ()
        """In the order of their forks, after the end of the watch."""
        self.mechanism: str | None = None
        """What measures the children."""
        self.older: tuple[int, ...] = ()
        """The children that there were before, which are not measured."""
        self.least_free_bytes: int | None = None
        """The least free memory that was seen; `None` without a gauge."""
        self.most_threads = 0
        """The most threads of this process that were seen."""
        self.observer_pid: int | None = None
        self.fault: str | None = None
        """Why nothing is known of the children."""
        self._forced = mechanism
        self._cell = cell
        self._gauge = named.name_of(gauge) if gauge is not None else ""
        self._progress = progress.message() if progress is not None else None
        self._mine: Forks | None = None
        self._before: Forker | None = None

    def __enter__(self) -> watch_forks:
        seat = take_seat()
        if isinstance(seat.forker, Forks) and seat.forker.is_of_this_process:
            raise IpcMagicError(
                "children are watched already; one watch at a time in a process."
            )
        observer = launch.observer
        try:
            if self._forced is None:
                observer.start()  # it imports while we try the mechanisms
            self.mechanism = ladder.choose(self._forced)
            observer.start()
            question = {"gauge": self._gauge, "progress": self._progress}
            answer = observer.ask({"ask": "open", **question}, _PATIENCE_SECONDS)
        except OSError as error:
            raise CannotStart(
                f"no child can be watched ({error}); nothing has run. Run again."
            ) from error
        self.older = tuple(answer["older"])
        self.observer_pid = answer["pid"]
        there = Observer(
            address=b"\0" + answer["address"].encode(),
            pid=answer["pid"],
            mechanism=self.mechanism,
            creator=ladder.creator_for(self.mechanism),
        )
        self._before = seat.forker
        self._mine = seat.forker = Forks(there, seat, cell=self._cell)
        self._mine.begin()
        return self

    def look(self) -> tuple[Seen, ...]:
        """Return the children as of their last readings, while the watch is open."""
        return self._ask("look")

    def _ask(self, what: str) -> tuple[Seen, ...]:
        forks = self._mine.forks if self._mine is not None else 0
        message = {"ask": what, "forks": forks}
        answer = launch.observer.ask(message, _PATIENCE_SECONDS)
        if "session" in answer:
            self.least_free_bytes = answer["session"]["least_free"]
            self.most_threads = answer["session"]["most_threads"]
        return in_order(
            [(c["forked_at"], from_record(c["seen"])) for c in answer["children"]]
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seat = take_seat()
        if self._mine is None or not self._mine.is_of_this_process:
            return  # this is a child that left the code of its parent
        seat.forker = self._before
        try:
            self.children = self._ask("close")
        except OSError as fault:
            self.fault = f"the process that watches children ended early: {fault}"
        finally:
            self._mine.close()
