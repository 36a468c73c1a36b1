"""The sentences below the tables of `%pickle_cost`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from ipc_magic.render.plain import shorten
from ipc_magic.render.units import duration, durations, percent, size
from ipc_magic.results.pickle_cost_phrases import NAME, elide, has_unseen
from ipc_magic.results.pickle_cost_tables import moved
from ipc_magic.results.pickle_cost_words import is_function

if TYPE_CHECKING:
    from ipc_magic.results.pickle_cost import PickleCost

# A list of what was left out, in characters: two lines.
_LIST = 150
# Buffers are worth a line from this part of the whole on.
_MUCH = 0.1


def phases(result: PickleCost) -> str | None:
    """Say where the time of the one round trip went."""
    if len(result.transports) > 1:
        return None  # the table tells
    if not result.transports:
        return dumped(result) if result.load_seconds else None
    (trip,) = result.transports
    parts = (
        ("dump", trip.dump_seconds),
        ("across", trip.transport_seconds),
        ("load", trip.load_seconds),
        ("reply", trip.reply_seconds),
    )
    if all(took is None for _, took in parts):
        return None
    runs = len(trip.round_trip_seconds)
    of = f" | min of {runs}, median {duration(trip.median_seconds)}" if runs > 1 else ""
    return f"{durations(parts)}{of}"


def dumped(result: PickleCost) -> str | None:
    """Say what the dumps and the loads took by themselves."""
    said = [
        _runs("dump", result.dump_seconds, result.dump_gc_seconds),
        _runs("load", result.load_seconds, result.load_gc_seconds),
    ]
    return " | ".join(text for text in said if text) or None


def collected(result: PickleCost) -> str | None:
    """Say how much of dumps or loads the garbage collector took, if it was much."""
    said = [
        f"{percent(share)} of the {word}"
        for word, share in (
            ("dumps", _collecting(result.dump_seconds, result.dump_gc_seconds)),
            ("loads", _collecting(result.load_seconds, result.load_gc_seconds)),
        )
        if share >= _MUCH
    ]
    return f"the garbage collector took {' and '.join(said)}" if said else None


def _collecting(seconds: Sequence[float], collecting: Sequence[float]) -> float:
    whole = sum(seconds)
    return sum(collecting) / whole if whole else 0.0


def _runs(
    word: str, seconds: Sequence[float], collecting: Sequence[float]
) -> str | None:
    if not seconds:
        return None
    said = f"{word} {duration(min(seconds))}"
    if len(seconds) > 1:
        said += f" (min of {len(seconds)}, median {duration(median(seconds))})"
    if collecting:
        said += f", gc {percent(_collecting(seconds, collecting))} of it"
    return said


def first_dump(result: PickleCost) -> str | None:
    """Say what the first dump took, which comes before those that are timed."""
    if result.first_dump_seconds is None:
        return None
    took = duration(result.first_dump_seconds)
    return f"first dump in a forked child, with its copy-on-write: {took}"


def in_memory(result: PickleCost) -> str | None:
    """Say how large it is, and that every receiver holds it again."""
    if not result.deep_size_bytes or is_function(result):
        return None
    held = size(result.deep_size_bytes)
    if has_unseen(result.deep_size_bytes, result.pickled_bytes):
        return f"in memory at least {held}: what code in C keeps is not all seen"
    return f"in memory {held}, again in each process that receives it"


def inherited(result: PickleCost) -> str | None:
    """Say what an object costs that was there before the fork: nothing."""
    if result.alternatives or is_function(result) or result.pickled_bytes is None:
        return None
    return "inherited by a forked child instead: 0 B sent"


def out_of_band(result: PickleCost) -> str | None:
    """Say how much protocol 5 can hand over beside the stream, if it is much."""
    whole, buffers = result.pickled_bytes, result.buffer_bytes
    if not whole or not buffers or buffers < _MUCH * whole:
        return None
    return f"protocol 5 can hand {size(buffers)} of it over out of band"


def workers(result: PickleCost) -> str | None:
    """Say what sending it to all workers comes to (`--compare`)."""
    way = next((each for each in result.alternatives if each.seconds is None), None)
    if way is None:
        return None
    said = [shorten(way.note, NAME)] if way.note else []
    together = moved(way.pickled_bytes, way.buffer_bytes)
    if together is not None:
        said.append(f"{size(together)} pickled")
    if way.memory_bytes is not None:
        said.append(f"{size(way.memory_bytes)} in memory")
    return f"{shorten(way.what, NAME)}: {', '.join(said)}" if said else None


def left_out(result: PickleCost) -> str | None:
    """Name the alternatives that are none for this object, and why."""
    if not result.skipped:
        return None
    said = [f"{each.what} ({each.reason})" for each in result.skipped]
    return shorten(f"left out: {', '.join(said)}", _LIST)


def spawned(result: PickleCost) -> str | None:
    """Say what only a spawned child cannot load; of a function the headline does."""
    if not result.warnings or is_function(result):
        return None
    first = elide(result.warnings[0].path, NAME)
    others = len(result.warnings) - 1
    live = f"and {others:,} more live" if others else "lives"
    return f"a spawned child cannot load it: {first} {live} in this session only"


def cloudpickle_helps(result: PickleCost) -> bool:
    """Say whether cloudpickle gets past some of what blocks pickle."""
    blocking = [each for each in result.offenders if each.stage == "dump"]
    left = result.cloudpickle_offenders
    if left is not None:
        return left < len(blocking)
    return any("cloudpickle" in each.advice for each in blocking)


def with_cloudpickle(result: PickleCost) -> str | None:
    """Say how many of the offenders cloudpickle cannot pickle either."""
    blocking = sum(each.stage == "dump" for each in result.offenders)
    left = result.cloudpickle_offenders
    if left is None or not blocking or result.pickler != "pickle":
        return None
    if left == 0:
        return f"cloudpickle can pickle {'it' if blocking == 1 else 'all of them'}."
    if left >= blocking:
        return f"cloudpickle cannot pickle {'it' if blocking == 1 else 'them'} either."
    return f"cloudpickle is blocked by {left} of the {blocking}."


def _is_found(result: PickleCost, reason: str) -> bool:
    return any(reason in each.message for each in result.findings)


def all_of(result: PickleCost) -> list[str]:
    """Return the sentences of the full report."""
    errors = [each for each in (result.dump_error, result.load_error) if each]
    size_of = in_memory(result)
    if size_of is not None and result.deep_size_seconds is not None:
        size_of += f" (found in {duration(result.deep_size_seconds)})"
    elif result.deep_size_reason and not _is_found(result, result.deep_size_reason):
        size_of = f"size in memory: {result.deep_size_reason}"
    several = [f"{each.what} left out: {each.reason}" for each in result.skipped] + [
        f"{each.what}: {each.note}" for each in result.alternatives if each.note
    ]
    said = [
        *errors,
        with_cloudpickle(result),
        dumped(result),
        first_dump(result),
        phases(result) if result.transports else None,
        size_of,
        out_of_band(result),
        inherited(result),
        workers(result),
        *several,
    ]
    if result.protocols:
        failed = [each for each in result.protocols if each.error]
        said += [f"protocol {each.protocol}: {each.error}" for each in failed]
    return [text for text in said if text is not None]
