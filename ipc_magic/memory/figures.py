"""The numbers that every mechanism gives of a child's memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a child did with the memory it inherited, in bytes; `None` is not known.

    Counted are pages of private anonymous memory and written pages of private file
    mappings, present when the child was met (`begin`). Of addresses that the child
    moved (mremap(2)) the inherited pages are neither gone nor copied while they are
    shared; written there, they count as new.
    """

    mechanism: str
    """One of `uffd`, `witness`, `exclusive`, `pfn`, `smaps`, `psutil`."""
    exact: bool = False
    """Whether `copied_bytes` is exact; else it is a bound or an estimate."""
    inherited_bytes: int | None = None
    """Present at the fork."""
    written_bytes: int | None = None
    """Inherited and written by the child in any reading; only `uffd` knows it."""
    copied_bytes: int | None = None
    """Inherited pages of which the child got a copy of its own, in any reading."""
    end_copied_bytes: int | None = None
    """The same at the last reading."""
    new_bytes: int | None = None
    """Private memory that was not inherited, at the last reading."""
    gone_bytes: int | None = None
    """Inherited, and given up by the last reading."""
    transport_copied_bytes: int | None = None
    """Inherited pages copied after the last reading, when results were sent."""
    unmeasured_bytes: int | None = None
    """Inherited pages that could not be watched, not part of `copied_bytes`."""
    unique_bytes: int | None = None
    """Memory that only the child holds (USS), new memory included; where asked for."""
    resident_bytes: int | None = None
    """Memory that it maps, shared with whom ever (RSS); where asked for."""
    witness_seconds: float | None = None
    """How long before the child was met its witness was forked."""


def total(amounts: Iterable[int | None]) -> int | None:
    """Return the sum of what several processes hold, `None` if one is not known."""
    known = list(amounts)
    return None if None in known else sum(filter(None, known))
