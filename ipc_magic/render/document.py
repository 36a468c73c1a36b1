"""The vocabulary of reports: what is said, before it is drawn.

Figures stay numbers here, so that text and HTML carry the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Bytes:
    """An amount of memory or of a message."""

    value: int | None
    """In bytes; `None` when it is not known."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """A length of time."""

    value: float | None
    """In seconds; `None` when it is not known."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are of something."""

    value: int | None
    """A number without unit; `None` when it is not known."""


@dataclass(frozen=True, slots=True)
class Percent:
    """A part of a whole."""

    value: float | None
    """As a fraction, 1.0 being the whole; `None` when it is not known."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How much moves in a time."""

    value: float | None
    """In bytes per second; `None` when it is not known."""


Figure: TypeAlias = Bytes | Seconds | Count | Percent | Rate
Cell: TypeAlias = str | Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under headings; a column that holds a figure is set to the right."""

    columns: tuple[str, ...]
    """The headings."""
    rows: tuple[tuple[Cell, ...], ...]
    """One tuple a row, as long as `columns`; an empty string is an empty cell."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{row!r} does not fit the columns {self.columns!r}")


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence or two below the headline."""

    text: str
    """Plain English; names stand in backticks."""


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text whose lines are kept as they are, such as a traceback."""

    text: str
    """Any number of lines."""


Block: TypeAlias = Table | Note | Verbatim


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One report: a sentence that can be read alone, and what stands below it."""

    headline: str
    """The sentence that answers the question."""
    blocks: tuple[Block, ...] = ()
    """What is shown below, the most telling first."""
    next: str | None = None
    """The exact command to type next, or `None`."""
    setting: tuple[str, ...] = ()
    """The circumstances these figures are valid for: the last line."""
