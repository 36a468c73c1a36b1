"""What `%pickle_cost` found out: bytes, times, where they are, and what blocks."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar

from ipc_magic.render.document import Document
from ipc_magic.results import (
    pickle_cost_report,
    pickle_cost_tables,
    pickle_cost_variables,
    pickle_cost_words,
)
from ipc_magic.results.base import Level, Result, report_level
from ipc_magic.results.pickle_cost_records import (
    Alternative,
    Captured,
    NotLoaded,
    Offender,
    Part,
    Protocol,
    Skipped,
    Transport,
    TypeRow,
    Variable,
)

__all__ = [
    "Alternative",
    "Captured",
    "NotLoaded",
    "Offender",
    "Part",
    "PickleCost",
    "PickleCostTable",
    "Protocol",
    "Skipped",
    "Transport",
    "TypeRow",
    "Variable",
]

_SEVERAL = (
    "findings",
    "dump_seconds",
    "dump_gc_seconds",
    "load_seconds",
    "load_gc_seconds",
    "protocols",
    "transports",
    "parts",
    "types",
    "captured",
    "offenders",
    "warnings",
    "alternatives",
    "skipped",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PickleCost(Result):
    """What it costs to send one object, and what is in the way."""

    kind: ClassVar[str] = "pickle_cost"

    expression: str
    """What the user typed; the paths begin with it."""
    type: str
    """What the object is, in words."""
    from_magic: bool = True
    """Whether a line of the magic asked: only then is there a line to type next."""

    deep_size_bytes: int | None = None
    """The object and all it refers to, in memory; `None`: not finished."""
    deep_size_seconds: float | None = None
    """What finding that out took."""
    deep_size_reason: str | None = None
    """Why it was not finished."""

    pickler: str = "pickle"
    protocol: int
    usual_protocol: int | None = None
    """What the pickler uses by itself; for pickle, what multiprocessing does."""

    pickled_bytes: int | None = None
    """The length of `pickle.dumps(obj, protocol)`, buffers in band."""
    buffer_bytes: int | None = None
    """How much of it protocol 5 would take out of band; `None` if it cannot."""
    first_dump_seconds: float | None = None
    """The first dump in a forked child, with its copy-on-write."""
    dump_seconds: tuple[float, ...] = ()
    """Each timed dump, after that first one."""
    dump_gc_seconds: tuple[float, ...] = ()
    """How much of each the garbage collector took."""
    load_seconds: tuple[float, ...] = ()
    """Each timed load; the first one in its process is not timed."""
    load_gc_seconds: tuple[float, ...] = ()
    """How much of each the garbage collector took."""
    dump_error: str | None = None
    """Why it was not dumped, or what the dump did to its process."""
    load_error: str | None = None
    """Why it was not loaded, or what the load did to its process."""
    not_loaded: NotLoaded | None = None
    """Set when bytes were counted only: it was neither loaded nor sent."""

    protocols: tuple[Protocol, ...] = ()
    """Every protocol once (`--all-protocols`)."""
    transports: tuple[Transport, ...] = ()
    """The round trips, in the order asked for."""
    parts: tuple[Part, ...] = ()
    """The tree by path; depth 1 sums to `pickled_bytes`."""
    types: tuple[TypeRow, ...] = ()
    """The table by type; it sums to `pickled_bytes`."""

    by_name_bytes: int | None = None
    """Of a function, class or method: what pickle makes; `None`: it cannot."""
    spawned_has_it: bool | None = None
    """Whether a fresh interpreter can look that name up; a forked child always can."""
    self_bytes: int | None = None
    """Of these, the object that a bound method is bound to."""
    by_value_bytes: int | None = None
    """What cloudpickle makes of it; `None` if that is a name too, or it cannot."""
    captured: tuple[Captured, ...] = ()
    """What these bytes hold besides the code, the largest first."""
    captured_rest_bytes: int | None = None
    """The code and the rest; with `captured` it sums to `by_value_bytes`."""

    offenders: tuple[Offender, ...] = ()
    """What cannot be dumped, and what a forked child cannot load."""
    warnings: tuple[Offender, ...] = ()
    """What only a spawned child cannot load."""
    without_offenders_bytes: int | None = None
    """The size with a few bytes in the place of each offender of stage "dump"."""
    cloudpickle_offenders: int | None = None
    """How many of them block cloudpickle too; `None`: that was not tried."""

    alternatives: tuple[Alternative, ...] = ()
    """What else one could send (`--compare`), the object as it is first."""
    skipped: tuple[Skipped, ...] = ()
    """The alternatives that are none for this object."""

    def __post_init__(self) -> None:
        for name in _SEVERAL:
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def min_dump_seconds(self) -> float | None:
        """The fastest dump."""
        return min(self.dump_seconds, default=None)

    @property
    def median_dump_seconds(self) -> float | None:
        """The median of the dumps."""
        return median(self.dump_seconds) if self.dump_seconds else None

    @property
    def min_load_seconds(self) -> float | None:
        """The fastest load."""
        return min(self.load_seconds, default=None)

    @property
    def median_load_seconds(self) -> float | None:
        """The median of the loads."""
        return median(self.load_seconds) if self.load_seconds else None

    @property
    def headline(self) -> str:
        """The sentence that says what it costs or what is in the way, and why."""
        said = (pickle_cost_words.answer(self), pickle_cost_words.more(self))
        return " ".join(filter(None, said))

    def document(self, level: Level | None = None) -> Document:
        """Compose the report; `None` stands for the level chosen."""
        return pickle_cost_report.document(self, level or report_level())

    def rows(self) -> list[dict[str, Any]]:
        """List one row a part; those of depth 1 sum to the pickle."""
        return pickle_cost_tables.rows(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class PickleCostTable(Result):
    """What it costs to send each of the notebook's variables."""

    kind: ClassVar[str] = "pickle_cost_table"

    pickler: str = "pickle"
    protocol: int
    usual_protocol: int | None = None
    """What the pickler uses by itself; for pickle, what multiprocessing does."""
    variables: tuple[Variable, ...] = ()
    """One row a variable, the most costly first."""
    skipped: tuple[Skipped, ...] = ()
    """The variables that were not measured, and why."""

    def __post_init__(self) -> None:
        for name in ("findings", "variables", "skipped"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        in_order = pickle_cost_variables.by_cost(self.variables)
        object.__setattr__(self, "variables", in_order)

    @property
    def headline(self) -> str:
        """The sentence that names the most costly one and those that are blocked."""
        return pickle_cost_variables.headline(self)

    def document(self, level: Level | None = None) -> Document:
        """Compose the report; `None` stands for the level chosen."""
        return pickle_cost_variables.document(self, level or report_level())

    def rows(self) -> list[dict[str, Any]]:
        """List one row a variable."""
        return pickle_cost_variables.rows(self)
