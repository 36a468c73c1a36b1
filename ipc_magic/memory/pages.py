"""Sets of pages, kept as sorted intervals of page numbers.

A process of a hundred GiB has tens of millions of pages but few thousand runs of
them: a set costs 16 bytes a run, and its operations are numpy's over all runs.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

PAGE_BYTES = resource.getpagesize()
_PAGE_SHIFT = PAGE_BYTES.bit_length() - 1

Runs: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
"""An array of shape (n, 2): the first page number of each run, and the one after."""

Flags: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# Whether a sweep is inside one set, the other, or both: the sum of these.
_HERE, _THERE = 1, 2

_NONE: Runs = np.empty((0, 2), np.int64)


class Pages:
    """A set of pages of one address space.

    `&`, `|` and `-` are those of sets; two sets are equal if their pages are.
    """

    __slots__ = ("runs",)

    def __init__(self, runs: Runs = _NONE) -> None:
        self.runs = runs
        """Sorted, apart from each other, none empty."""

    @classmethod
    def between(cls, addresses: Iterable[tuple[int, int]]) -> Pages:
        """Return the pages of address ranges `(start, end)`, in any order."""
        pairs = np.array(list(addresses), np.uint64).reshape(-1, 2)
        return cls.of_regions(pairs[:, 0], pairs[:, 1])

    @classmethod
    def of_regions(cls, starts: Any, ends: Any) -> Pages:
        """Return the pages of the address ranges in two arrays, in any order."""
        runs = np.empty((len(starts), 2), np.int64)
        runs[:, 0] = np.right_shift(starts, np.uint64(_PAGE_SHIFT))
        runs[:, 1] = np.right_shift(ends, np.uint64(_PAGE_SHIFT))
        return cls(_tidy(runs))

    @classmethod
    def of_flags(cls, first: int, flags: Any) -> Pages:
        """Return the pages whose flag is set; flag 0 is of the page number `first`."""
        edges = np.flatnonzero(np.diff(np.r_[False, flags, False]))
        return cls(edges.reshape(-1, 2).astype(np.int64) + first)

    @classmethod
    def of_runs(cls, runs: Iterable[Runs]) -> Pages:
        """Return the pages of arrays of runs, which may touch and overlap."""
        return cls(_tidy(np.concatenate([_NONE, *runs])))

    @property
    def count(self) -> int:
        """How many pages there are."""
        return int((self.runs[:, 1] - self.runs[:, 0]).sum())

    @property
    def size(self) -> int:
        """How many bytes the pages are."""
        return self.count * PAGE_BYTES

    def addresses(self) -> list[tuple[int, int]]:
        """Return the runs as address ranges `(start, end)`, in bytes."""
        return [(a << _PAGE_SHIFT, b << _PAGE_SHIFT) for a, b in self.runs.tolist()]

    def meets(self, ranges: Sequence[tuple[int, int]]) -> list[bool]:
        """Return for each address range whether one of the pages lies in it."""
        if not len(self.runs) or not ranges:
            return [False] * len(ranges)
        pairs = np.array(ranges, np.int64) >> _PAGE_SHIFT
        first = np.searchsorted(self.runs[:, 1], pairs[:, 0], side="right")
        after = np.r_[self.runs[:, 0], np.iinfo(np.int64).max][first]
        return (after < pairs[:, 1]).tolist()  # type: ignore[no-any-return]

    def __and__(self, other: Pages) -> Pages:
        return self._combined(other, lambda state: state == _HERE | _THERE)

    def __or__(self, other: Pages) -> Pages:
        return self._combined(other, lambda state: state > 0)

    def __sub__(self, other: Pages) -> Pages:
        return self._combined(other, lambda state: state == _HERE)

    def _combined(self, other: Pages, wanted: Callable[[Flags], Flags]) -> Pages:
        """Sweep over the edges of both: between two edges nothing changes."""
        size = self.runs.size
        if not size or not len(other.runs):
            alone = wanted(np.array([_HERE if size else _THERE], np.int8))
            return (self if size else other) if alone[0] else Pages()
        edges = np.concatenate((self.runs.ravel(), other.runs.ravel()))
        steps = np.empty(len(edges), np.int8)
        steps[:size:2], steps[1:size:2] = _HERE, -_HERE
        steps[size::2], steps[size + 1 :: 2] = _THERE, -_THERE
        order = edges.argsort(kind="stable")
        edges, state = edges[order], steps[order].cumsum(dtype=np.int8)
        # Of several edges at one page the last tells how it goes on.
        last = np.append(edges[1:] != edges[:-1], True)
        edges, inside = edges[last], wanted(state[last])
        changes = np.flatnonzero(np.diff(inside, prepend=False))
        return Pages(edges[changes].reshape(-1, 2))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pages) and np.array_equal(self.runs, other.runs)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.count} pages in {len(self.runs)} runs>"


def _tidy(runs: Runs) -> Runs:
    """Return runs in order, without empty ones, those that touch or overlap as one."""
    runs = runs[runs[:, 0] < runs[:, 1]]
    if len(runs) < 2:
        return runs
    if (runs[1:, 0] < runs[:-1, 0]).any():
        runs = runs[np.argsort(runs[:, 0], kind="stable")]
    ends = runs[:, 1]
    if (ends[1:] < ends[:-1]).any():
        ends = np.maximum.accumulate(ends)
    begins = np.flatnonzero(runs[1:, 0] > ends[:-1]) + 1
    tidy = np.empty((len(begins) + 1, 2), np.int64)
    tidy[0, 0], tidy[1:, 0] = runs[0, 0], runs[begins, 0]
    tidy[:-1, 1], tidy[-1, 1] = ends[begins - 1], ends[-1]
    return tidy
