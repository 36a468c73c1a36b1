"""What else one could send instead of an object, measured in the same way.

Each row's seconds are the fastest round trip to another process and back. An
alternative is measured only where it is faithful: what it is made into gives the very
object back.
"""

from __future__ import annotations

import importlib
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

from ipc_magic.errors import IpcMagicError
from ipc_magic.pickling import deep_size
from ipc_magic.pickling.failures import describe
from ipc_magic.pickling.round_trip import RoundTrip, round_trip, through
from ipc_magic.pickling.timing import clock
from ipc_magic.pickling.transports.pipe import pipe_out_of_band

BUDGET_SECONDS = 3.0
TIME_LIMIT_SECONDS = 60.0
_ARRAY_CODES = {int: "q", float: "d"}
_NUMBERS = (bool, int, float)


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One way to get an object's content to another process."""

    what: str
    pickled_bytes: int
    """What was pickled for one round trip; out-of-band buffers do not count."""
    buffer_bytes: int = 0
    """What went beside the pickle."""
    seconds: float | None
    """The fastest round trip; `None` where none is made."""
    memory_bytes: int | None = None
    """What the receivers hold in the end; `None` where it is not known."""
    made_seconds: float | None = None
    """What making it from the object took, on top of the round trip."""
    back_seconds: float | None = None
    """What making the object from it again took."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """An alternative that is none for this object."""

    what: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Alternatives:
    """All that was measured, the object as it is first, and what was not and why."""

    rows: tuple[Alternative, ...]
    skipped: tuple[Skipped, ...]


class _NotFaithful(Exception):
    pass


def compare(
    obj: object,
    *,
    workers: int | None = None,
    deep_size_bytes: int | None = None,
    budget_seconds: float = BUDGET_SECONDS,
    time_limit_seconds: float = TIME_LIMIT_SECONDS,
    progress: Callable[[str], object] = lambda text: None,
) -> Alternatives:
    """Measure the alternatives to sending `obj` through a `multiprocessing.Pipe`.

    `workers` is as many as this process may use CPUs, unless given. Raises `Failed`
    when `obj` cannot be sent as it is.
    """
    rows: list[Alternative] = []
    skipped: list[Skipped] = []
    ways = list(_ways(obj))
    limits: dict[str, Any] = {
        "budget_seconds": budget_seconds / (len(ways) + 2),
        "time_limit_seconds": time_limit_seconds,
    }
    progress("as it is")
    plain = round_trip("pipe", obj, **limits)
    rows.append(_row("as it is", plain, "through a Pipe"))
    for what, measure in ways:
        progress(what)
        try:
            rows.append(measure(limits))
        except _NotFaithful as error:
            skipped.append(Skipped(what=what, reason=str(error)))
        except (IpcMagicError, ImportError) as error:
            skipped.append(Skipped(what=what, reason=str(error)))
    progress("an inherited global")
    rows.append(_inherited(limits))
    if deep_size_bytes is None:
        share = limits["budget_seconds"]
        deep_size_bytes = deep_size.measure(obj, budget_seconds=share).deep_size_bytes
    rows.append(_copies(plain, deep_size_bytes, workers or _usable_cpus()))
    return Alternatives(rows=tuple(rows), skipped=tuple(skipped))


_Measure = Callable[[dict[str, Any]], Alternative]


def _ways(obj: object) -> Iterator[tuple[str, _Measure]]:
    """Yield what can be tried with this kind of object."""
    out_of_band = "protocol 5, buffers out of band"
    yield (
        out_of_band,
        lambda limits: _row(
            out_of_band,
            through(pipe_out_of_band, obj, name="pipe", **limits),
            "send_bytes of the pickle and of each buffer",
        ),
    )
    yield (
        "shared_memory",
        lambda limits: _row(
            "shared_memory",
            round_trip("shared_memory", obj, **limits),
            "one block, loaded in place",
        ),
    )
    if type(obj) in (list, tuple):
        for what, convert in _CONVERSIONS.items():
            yield what, _converted(what, convert, obj)
    if isinstance(obj, MethodType):
        what = "the method without its self"
        yield (
            what,
            lambda limits: _row(
                what,
                round_trip("pipe", obj.__func__, **limits),
                "self is to be there already: a global that the worker inherits",
            ),
        )


def _row(what: str, trip: RoundTrip, note: str) -> Alternative:
    return Alternative(
        what=what,
        pickled_bytes=trip.pickled_bytes,
        buffer_bytes=trip.buffer_bytes,
        seconds=min(trip.round_trip_seconds),
        note=note,
    )


def _inherited(limits: dict[str, Any]) -> Alternative:
    """Measure the message without the object: a forked worker has that already."""
    trip = round_trip("pipe", None, **limits)
    return Alternative(
        what="an inherited global",
        pickled_bytes=0,
        seconds=min(trip.round_trip_seconds),
        note="for workers forked after it was made; the time is an empty message's",
    )


def _copies(plain: RoundTrip, size: int | None, workers: int) -> Alternative:
    return Alternative(
        what=f"to {workers} workers",
        pickled_bytes=workers * plain.pickled_bytes,
        seconds=None,
        memory_bytes=None if size is None else workers * size,
        note=f"{workers} private copies",
    )


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _converted(what: str, convert: Callable[[Any], Any], obj: Any) -> _Measure:
    def measure(limits: dict[str, Any]) -> Alternative:
        try:
            convert(obj[:1])  # imports are not a part of its time
            begin = clock()
            made, back = convert(obj)
            made_at = clock()
            returned = type(obj)(back())
        except (ArithmeticError, TypeError, ValueError) as error:
            raise _NotFaithful(describe(error)) from error
        back_at = clock()
        if not _same(returned, obj):
            raise _NotFaithful("it would not give the same values back")
        del returned
        return replace(
            _row(what, round_trip("pipe", made, **limits), "through a Pipe"),
            made_seconds=made_at - begin,
            back_seconds=back_at - made_at,
        )

    return measure


def _same(some: Any, others: Any) -> bool:
    """Return whether values and types are the same, a NaN being like another."""
    if list(map(type, some)) != list(map(type, others)):
        return False
    return some == others or all(
        a == b or (a != a and b != b)  # noqa: PLR0124 - only a NaN differs from itself
        for a, b in zip(some, others, strict=True)
    )


def _kind(obj: Any, allowed: tuple[type, ...]) -> type:
    """Return the one type of all elements."""
    kinds = set(map(type, obj))
    if not kinds:
        raise _NotFaithful("it is empty")
    if len(kinds) > 1:
        raise _NotFaithful("its elements are of several types")
    (kind,) = kinds
    if kind not in allowed:
        raise _NotFaithful(f"its elements are of type {kind.__name__}")
    return kind


_Conversion = tuple[Any, Callable[[], Any]]


def _numpy(obj: Any) -> _Conversion:
    kind = _kind(obj, _NUMBERS)
    made = importlib.import_module("numpy").array(obj, dtype=kind)
    return made, made.tolist


def _array(obj: Any) -> _Conversion:
    made = array(_ARRAY_CODES[_kind(obj, tuple(_ARRAY_CODES))], obj)
    return made, made.tolist


def _arrow(obj: Any) -> _Conversion:
    _kind([each for each in obj if each is not None], (*_NUMBERS, str, bytes))
    made = importlib.import_module("pyarrow").array(obj)
    return made, made.to_pylist


_CONVERSIONS: dict[str, Callable[[Any], _Conversion]] = {
    "a numpy array": _numpy,
    "an array.array": _array,
    "an Arrow array": _arrow,
}
