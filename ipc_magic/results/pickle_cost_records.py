"""The records of `%pickle_cost`: rows of numbers and names, nothing of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Literal

Stage = Literal[
    "dump",  # it cannot be pickled
    "load",  # it pickles, and a child forked now cannot load it
    "spawn",  # only a fresh interpreter cannot load it
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """One dump and one load with one protocol."""

    protocol: int
    pickled_bytes: int | None = None
    """All bytes, buffers in band."""
    buffer_bytes: int | None = None
    """What is taken out of band on request; `None` where the protocol cannot."""
    dump_seconds: float | None = None
    load_seconds: float | None = None
    error: str | None = None
    """Why it cannot be dumped or loaded so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transport:
    """What it took to send the object to another process and to hear of it.

    The phases are those of the fastest run and sum to its time.
    """

    name: str
    """The transport's name, such as "pipe" or "process_pool_executor"."""
    pickled_bytes: int | None = None
    """What was really pickled, by all processes on the way there."""
    buffer_bytes: int | None = None
    """What went beside it, out of band."""
    wire_bytes: int | None = None
    """What was written to descriptors on the way there; shared memory is not."""
    first_seconds: float | None = None
    """The first trip, which comes before those that are timed."""
    round_trip_seconds: tuple[float, ...] = ()
    """Each run's time, from the call that sends until the reply is there."""
    dump_seconds: float | None = None
    transport_seconds: float | None = None
    load_seconds: float | None = None
    reply_seconds: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "round_trip_seconds", tuple(self.round_trip_seconds))

    @property
    def min_seconds(self) -> float | None:
        """The fastest run's time."""
        return min(self.round_trip_seconds, default=None)

    @property
    def median_seconds(self) -> float | None:
        """The median of the runs."""
        return median(self.round_trip_seconds) if self.round_trip_seconds else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One row of the tree by path; the rows below it follow it, one deeper."""

    path: str
    """The path to the object; of a row of the rest or itself, of the one above."""
    type: str
    """What it is, in words."""
    bytes: int
    depth: int
    """From 1; the rows of depth 1 sum to the whole pickle."""
    shared_from: str | None = None
    """Where the object was met first, if that was before; its bytes count there."""
    row: Literal["part", "rest", "itself"] = "part"
    count: int = 1
    """How many objects the row stands for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TypeRow:
    """What the objects of one type wrote themselves."""

    type: str
    count: int
    """How many objects were written; one that is met again counts once."""
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Captured:
    """Something that goes along with a function or class that is sent by value."""

    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Offender:
    """An object that cannot be sent to another process."""

    path: str
    """The expression that leads to it; to what holds it, if none does."""
    type: str
    """What it is, in a word or two."""
    stage: Stage
    """What fails: the dump, the load in a forked child, or only in a spawned one."""
    reason: str
    """What Python says about it."""
    advice: str
    """What to do about it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """One way to get the object's content to another process (`--compare`)."""

    what: str
    """In words; the first row is the object as it is."""
    pickled_bytes: int | None = None
    """What was pickled for one round trip; out-of-band buffers do not count."""
    buffer_bytes: int | None = 0
    """What went beside the pickle."""
    seconds: float | None = None
    """The fastest round trip; `None` where none is made."""
    memory_bytes: int | None = None
    """What the receivers hold in the end; `None` where it is not known."""
    made_seconds: float | None = None
    """What making it from the object took, on top of the round trip."""
    back_seconds: float | None = None
    """What making the object from it again took."""
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """What was not measured."""

    what: str
    """An alternative, or the name of a variable."""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NotLoaded:
    """Why a pickle was counted only: it would not fit into memory."""

    needed_bytes: int | None
    """What loading and sending it needs, about."""
    free_bytes: int | None
    """What was free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """One variable of the notebook."""

    name: str
    type: str
    deep_size_bytes: int | None = None
    pickled_bytes: int | None = None
    """`None` if it cannot be pickled, or was not."""
    dump_seconds: float | None = None
    offender: str | None = None
    """The path to the first object that cannot be pickled; `None`: there is none."""
