"""Which part of an object is to blame, and which way to send it is the fastest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipc_magic.results.pickle_cost import PickleCost
    from ipc_magic.results.pickle_cost_records import Alternative, Part

# A part that holds this much of the whole is to blame for it; the largest part is
# worth a sentence from the second figure on.
MOST, MUCH = 0.5, 0.1


def root_of(result: PickleCost) -> str:
    """Return the expression as the paths spell it: `(a + b)`."""
    for part in result.parts:
        if part.row == "itself" and part.depth == 1:
            return part.path
    return result.expression


def beyond(path: str, root: str) -> str:
    """Return the path without its first part, which is the same in all rows."""
    return path[len(root) :] if path.startswith(root) and path != root else path


def culprit(result: PickleCost) -> tuple[str, int, bool] | None:
    """Return the part to blame with its bytes, and whether it holds most of all.

    That is the innermost one that holds at least half of the whole; if there is none,
    the largest one. `None` where all parts are small.
    """
    total = result.pickled_bytes
    parts = [part for part in result.parts if part.row == "part"]
    if not total or not parts:
        return None
    most = [part for part in parts if part.bytes >= MOST * total]
    if most:  # each of them is in the one before: two halves at one depth are rare
        found = max(most, key=lambda part: part.depth)
        return found.path, found.bytes, True
    found = max(parts, key=lambda part: part.bytes)
    if found.bytes < MUCH * total:
        return None
    return found.path, found.bytes, False


def largest(parts: Sequence[Part], number: int) -> list[Part]:
    """Return the largest parts of all depths, in the order of the tree.

    What a part is in is at least as large, so that no row lacks the one above it.
    """
    some = [n for n, part in enumerate(parts) if part.row == "part"]
    chosen = sorted(some, key=lambda n: (-parts[n].bytes, n))[:number]
    return [parts[n] for n in sorted(chosen)]


def seconds_of(way: Alternative) -> float | None:
    """Return what a way takes in all: the round trip, and converting there and back."""
    if way.seconds is None:
        return None
    return way.seconds + (way.made_seconds or 0.0) + (way.back_seconds or 0.0)


def converting(way: Alternative) -> float | None:
    """Return what making it and unmaking it took; `None` where neither is needed."""
    if way.made_seconds is None and way.back_seconds is None:
        return None
    return (way.made_seconds or 0.0) + (way.back_seconds or 0.0)


def fastest(ways: Sequence[Alternative]) -> Alternative | None:
    """Return the fastest way; of equal ones the first, which is the plain one.

    Ways that pickle nothing do not compete: what is inherited is not sent.
    """
    timed = [
        (took, way)
        for way in ways
        if (took := seconds_of(way)) is not None
        and (way.pickled_bytes or way.buffer_bytes)
    ]
    return min(timed, key=lambda pair: pair[0])[1] if len(timed) > 1 else None


def kept_as(ways: Sequence[Alternative]) -> tuple[str, float] | None:
    """Return what travels fastest once it is made, and its round trip's time."""
    made = [
        (way.seconds, way.what)
        for way in ways
        if way.seconds is not None and way.made_seconds is not None
    ]
    if not made:
        return None
    took, what = min(made)
    return what, took
