"""What `%%inprocess` found out: how each child ended and what crossed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ipc_magic.render.document import Document
from ipc_magic.results import inprocess_report, inprocess_tables, inprocess_words
from ipc_magic.results.base import Level, Result, report_level
from ipc_magic.results.inprocess_changes import Changes
from ipc_magic.results.memory import Memory
from ipc_magic.results.records import Frozen

Ending = Literal[
    "finished",  # the code ran to its end
    "raised",  # an error ended the code
    "exited",  # SystemExit: sys.exit(), exit(), quit()
    "quit",  # os._exit(): the process ended before it reported a result
    "killed",  # a signal
    "out_of_memory",  # the kernel killed it, with evidence that memory was the cause
    "timeout",  # stopped by us at --timeout
    "memory_limit",  # stopped by us at --memory
    "keep_free",  # stopped by us because less than --keep-free was left
    "interrupted",  # stopped by the user
    "not_started",  # never said hello
    "lost",  # the channel broke, or someone else took the exit status
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorInChild:
    """The error that ended the code in a child, as text."""

    type: str
    """The class's name, such as "ZeroDivisionError"."""
    message: str
    """What `str()` of the error said."""
    traceback: str | None = None
    """The traceback of the child, many lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """What moved in one direction, and what it took; `None` is not known.

    Pickled bytes and buffer bytes are disjoint and sum to what moved.
    """

    names: Mapping[str, int | None] = Frozen({})
    """The names that crossed and the bytes of each."""
    buffers: Mapping[str, int | None] = Frozen({})
    """How many of these bytes were handed over beside the stream."""
    pickled_bytes: int | None = None
    """Bytes of the pickle streams."""
    buffer_bytes: int | None = None
    """Bytes handed over beside the streams (pickle protocol 5)."""
    dump_seconds: float | None = None
    """Time to pickle."""
    transport_seconds: float | None = None
    """Time from the end of the dump to the last byte's arrival."""
    load_seconds: float | None = None
    """Time to unpickle."""

    def __post_init__(self) -> None:
        for name in ("names", "buffers"):
            object.__setattr__(self, name, Frozen(getattr(self, name)))

    @classmethod
    def nothing(cls) -> Crossing:
        """Nothing moved, and that is known (everything was inherited)."""
        return cls(
            pickled_bytes=0,
            buffer_bytes=0,
            dump_seconds=0.0,
            transport_seconds=0.0,
            load_seconds=0.0,
        )

    @property
    def moved_bytes(self) -> int | None:
        """All that moved, in bytes; `None` unless both parts are known."""
        if self.pickled_bytes is None or self.buffer_bytes is None:
            return None
        return self.pickled_bytes + self.buffer_bytes

    @property
    def seconds(self) -> float | None:
        """Dump, transport and load together; `None` unless all are known."""
        dump, across, load = (
            self.dump_seconds,
            self.transport_seconds,
            self.load_seconds,
        )
        if dump is None or across is None or load is None:
            return None
        return dump + across + load

    @property
    def bytes_per_second(self) -> float | None:
        """What moved in its time, dumps and loads included."""
        if self.moved_bytes is None or not self.seconds:
            return None
        return self.moved_bytes / self.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildRun:
    """One child process: how it ran, how it ended, what crossed."""

    index: int
    """Its number among the children of this run, from 0."""
    pid: int
    """Its process ID."""
    start_method: str
    """How it was made: "fork", "forkserver" or "spawn"."""
    ending: Ending
    """How it ended, in one word."""
    exit_code: int | None = None
    """The exit code; `None` after a signal or when it is not known."""
    signal: str | None = None
    """The signal that ended it, such as "SIGSEGV"."""
    error: ErrorInChild | None = None
    """The error that ended the code."""
    where: str | None = None
    """The line it was at when it ended, such as "cell line 3: lock.acquire()"."""
    evidence: str | None = None
    """What the ending was judged by, such as "oom_kill went up".

    For "timeout" and "interrupted" it may be "waiting" (no CPU was used) or
    "running"; the headline says so of the line in `where`.
    """
    start_seconds: float | None = None
    """Time from the call that makes the process to its hello."""
    run_seconds: float | None = None
    """Time the user's code ran, or had run when it was stopped."""
    end_seconds: float | None = None
    """Time from the last result's arrival to the end of the process."""
    sent: Crossing = Crossing()
    """What was pickled to the child."""
    returned: Crossing = Crossing()
    """What was pickled to the parent."""
    memory: Memory | None = None
    """What it did with its memory; `None` where that was not measured."""
    changes: Changes | None = None
    """What its code did to the notebook's names; `None` if that was not looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The bounds that were set; `None` where none was."""

    timeout_seconds: float | None = None
    """`--timeout`."""
    memory_bytes: int | None = None
    """`--memory`."""
    keep_free_bytes: int | None = None
    """`--keep-free`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InProcess(Result):
    """How code ran in children of ours, and what came back."""

    kind: ClassVar[str] = "inprocess"

    children: tuple[ChildRun, ...]
    """The children, by index."""
    asked: tuple[str, ...] = ()
    """The names asked back; "*" stands for all new and rebound ones."""
    limits: Limits = Limits()
    """The bounds that were set."""

    def __post_init__(self) -> None:
        for name in ("children", "asked", "findings"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def headline(self) -> str:
        """The sentence that says how it went and what came back."""
        return inprocess_words.headline(self)

    def document(self, level: Level | None = None) -> Document:
        """Compose the report; `None` stands for the level chosen."""
        return inprocess_report.document(self, level or report_level())

    def rows(self) -> list[dict[str, Any]]:
        """List one row a child."""
        return inprocess_tables.rows(self)
