"""What dumping and loading one object costs: bytes and seconds.

`count` takes the bytes without keeping them, for a look before anything large is
done. `measure` dumps here and loads in forks of this process, and never keeps two
pickles at once.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ipc_magic.pickling.apart import apart
from ipc_magic.pickling.counting import Counting
from ipc_magic.pickling.failures import Failed, describe
from ipc_magic.pickling.picklers import Pickling
from ipc_magic.pickling.timing import Runs, clock, timed

BUDGET_SECONDS = 1.0
TIME_LIMIT_SECONDS = 60.0
OUT_OF_BAND = 5  # the first protocol that can hand buffers over beside the stream

Progress = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Count:
    """The bytes of an object's pickle."""

    pickled_bytes: int
    """All of them, buffers in band."""
    buffer_bytes: int | None
    """What protocol 5 would take out of band; `None` if it cannot dump the object."""
    first_dump_seconds: float
    """The first dump in this process: in a forked child, with its copy-on-write."""


@dataclass(frozen=True, kw_only=True)
class ProtocolCost:
    """One dump and one load with one protocol."""

    protocol: int
    pickled_bytes: int | None = None
    buffer_bytes: int | None = None
    """What is taken out of band on request; `None` where the protocol cannot."""
    dump_seconds: float | None = None
    load_seconds: float | None = None
    error: str | None = None
    """Why it cannot be dumped or loaded so."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What it costs to dump and to load an object."""

    pickler: str
    protocol: int
    pickled_bytes: int
    """The length of `pickle.dumps(obj, protocol)`, buffers in band."""
    buffer_bytes: int | None
    """How much of it protocol 5 would take out of band; `None` if it cannot dump it."""
    first_dump_seconds: float
    """The first dump in this process: in a forked child, with its copy-on-write."""
    dump_seconds: tuple[float, ...]
    """Each timed dump, after that first one."""
    dump_gc_seconds: tuple[float, ...]
    """How much of each the garbage collector took."""
    load_seconds: tuple[float, ...] = ()
    """Each timed load; the first one in its process only if it takes very long."""
    load_gc_seconds: tuple[float, ...] = ()
    load_error: str | None = None
    """Why there is no load time."""
    protocols: tuple[ProtocolCost, ...] = ()
    """Every protocol once, if asked for."""


def count(obj: object, pickling: Pickling) -> Count:
    """Count the bytes of the pickle of `obj`; nothing of it is kept.

    Raises `Failed` when it cannot be dumped.
    """
    buffers = 0

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        nonlocal buffers
        with buffer.raw() as view:
            buffers += view.nbytes
        return True

    def leave_out(buffer: pickle.PickleBuffer) -> None:
        keep_in_band(buffer)

    beside = pickling.protocol >= OUT_OF_BAND
    begin = clock()
    pickled = _count_once(obj, pickling, keep_in_band if beside else None)
    first = clock() - begin
    taken: int | None = buffers
    if not beside:
        try:
            five = Pickling(name=pickling.name, protocol=OUT_OF_BAND)
            _count_once(obj, five, leave_out)
            taken = buffers
        except Failed:  # a __reduce_ex__ that knows no protocol 5
            taken = None
    return Count(pickled_bytes=pickled, buffer_bytes=taken, first_dump_seconds=first)


def _count_once(obj: object, pickling: Pickling, callback: Any) -> int:
    file = Counting()
    kind: Any = type(pickling.pickler(file))
    beside = {} if callback is None else {"buffer_callback": callback}
    try:
        kind(file, pickling.protocol, **beside).dump(obj)
    except Exception as error:
        raise Failed(f"the dump failed: {describe(error)}", "dump") from error
    return file.size


def measure(
    obj: object,
    pickling: Pickling,
    *,
    counted: Count | None = None,
    budget_seconds: float = BUDGET_SECONDS,
    repeats: int | None = None,
    load: bool = True,
    all_protocols: bool = False,
    time_limit_seconds: float = TIME_LIMIT_SECONDS,
    progress: Progress = lambda text: None,
) -> Cost:
    """Measure the dumps and loads of `obj`: half of the budget for each.

    Garbage is collected as it is when this is called. `counted` is what `count` told,
    where it has been asked. A load that fails or is not done in time is told in
    `load_error`. Raises `Failed` when the object cannot be dumped.
    """
    counted = counted or count(obj, pickling)
    progress("dump")
    pickled = None
    if repeats is None and load and counted.first_dump_seconds >= budget_seconds / 2:
        # One run fills the share: what it makes is what is loaded.
        pickled, dumps = _time_one_dump(obj, pickling)
    else:
        dumps = _time_dumps(obj, pickling, counted, budget_seconds / 2, repeats)
    loads, load_error = Runs(seconds=(), gc_seconds=()), None
    if load:
        progress("load")
        try:
            loads = _time_loads(
                pickling,
                _dump(obj, pickling) if pickled is None else pickled,
                share_seconds=budget_seconds / 2,
                repeats=repeats,
                time_limit_seconds=time_limit_seconds,
            )
        except Failed as error:
            load_error = str(error)
    protocols = []
    if all_protocols:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            progress(f"protocol {protocol}")
            other = Pickling(name=pickling.name, protocol=protocol)
            protocols.append(_once(obj, other, counted, load, time_limit_seconds))
    return Cost(
        pickler=pickling.name,
        protocol=pickling.protocol,
        pickled_bytes=counted.pickled_bytes,
        buffer_bytes=counted.buffer_bytes,
        first_dump_seconds=counted.first_dump_seconds,
        dump_seconds=dumps.seconds,
        dump_gc_seconds=dumps.gc_seconds,
        load_seconds=loads.seconds,
        load_gc_seconds=loads.gc_seconds,
        load_error=load_error,
        protocols=tuple(protocols),
    )


def _dump(obj: object, pickling: Pickling) -> bytes:
    try:
        return pickling.dumps(obj)
    except Exception as error:
        raise Failed(f"the dump failed: {describe(error)}", "dump") from error


def _time_dumps(
    obj: object,
    pickling: Pickling,
    counted: Count,
    share_seconds: float,
    repeats: int | None,
) -> Runs:
    return timed(
        lambda: _further_dump(obj, pickling),
        share_seconds=share_seconds,
        repeats=repeats,
        warm=counted.first_dump_seconds,
    )


def _further_dump(obj: object, pickling: Pickling) -> bytes:
    try:
        return pickling.dumps(obj)
    except Exception as error:  # it was dumped before: one that can be dumped once
        raise Failed(f"a further dump failed: {describe(error)}", "dump") from error


def _time_one_dump(obj: object, pickling: Pickling) -> tuple[bytes, Runs]:
    made: list[bytes] = []
    runs = timed(
        lambda: made.append(_further_dump(obj, pickling)),
        share_seconds=0.0,
        repeats=None,
    )
    return made[0], runs


def _time_loads(
    pickling: Pickling,
    pickled: bytes,
    *,
    share_seconds: float,
    repeats: int | None,
    time_limit_seconds: float,
) -> Runs:
    """Time loads in one fork of this process."""
    loads = pickling.loads

    def run() -> tuple[tuple[float, ...], tuple[float, ...]]:
        runs = timed(
            lambda: loads(pickled), share_seconds=share_seconds, repeats=repeats
        )
        return runs.seconds, runs.gc_seconds

    seconds, collected = apart(
        run, doing="the load", time_limit_seconds=time_limit_seconds
    )
    return Runs(seconds=seconds, gc_seconds=collected)


def _once(
    obj: object,
    pickling: Pickling,
    counted: Count,
    load: bool,
    time_limit_seconds: float,
) -> ProtocolCost:
    begin = clock()
    try:
        pickled = _dump(obj, pickling)
    except Failed as error:
        return ProtocolCost(protocol=pickling.protocol, error=str(error))
    dumped = clock() - begin
    loaded = error_text = None
    if load:
        try:
            loaded = apart(
                lambda: _seconds_of(pickling.loads, pickled),
                doing="the load",
                time_limit_seconds=time_limit_seconds,
            )
        except Failed as error:
            error_text = str(error)
    beside = pickling.protocol >= OUT_OF_BAND
    return ProtocolCost(
        protocol=pickling.protocol,
        pickled_bytes=len(pickled),
        buffer_bytes=counted.buffer_bytes if beside else None,
        dump_seconds=dumped,
        load_seconds=loaded,
        error=error_text,
    )


def _seconds_of(loads: Callable[[bytes], object], pickled: bytes) -> float:
    begin = clock()
    made = loads(pickled)
    end = clock()
    del made
    return end - begin
