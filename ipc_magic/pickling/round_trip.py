"""The real round trip: to another process that loads the object, and its reply back.

The phases are timed on both sides. What is neither dump, load nor reply is transport:
handing over to a thread, writing, reading, waking up.
"""

from __future__ import annotations

import multiprocessing.resource_sharer
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ipc_magic.pickling.failures import CannotRun, Failed, describe
from ipc_magic.pickling.timing import Pace, clock
from ipc_magic.pickling.transports import TRANSPORTS, Opening, meter
from ipc_magic.pickling.transports.line import Line, failure
from ipc_magic.pickling.transports.meter import Hop, Slate

NAMES = tuple(TRANSPORTS)
BUDGET_SECONDS = 1.0
TIME_LIMIT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """What it took to send an object to another process and to hear of it.

    The phases are those of the fastest run and sum to its time.
    """

    name: str
    """The transport."""
    pickled_bytes: int
    """What was really pickled, by all processes on the way there."""
    buffer_bytes: int
    """What went beside it, out of band."""
    wire_bytes: int
    """What was written to descriptors on the way there; shared memory is not."""
    first_seconds: float
    """The first trip, which comes before those that are timed, if there are others."""
    round_trip_seconds: tuple[float, ...]
    """Each run's time, from the call that sends until the reply is there."""
    dump_seconds: float
    transport_seconds: float
    load_seconds: float
    reply_seconds: float


def round_trip(
    name: str,
    obj: object,
    *,
    budget_seconds: float = BUDGET_SECONDS,
    repeats: int | None = None,
    time_limit_seconds: float = TIME_LIMIT_SECONDS,
    progress: Callable[[str], object] = lambda text: None,
) -> RoundTrip:
    """Send `obj` by the transport `name`, again and again.

    The time limit is for each load. Raises `CannotRun` where the transport cannot be
    used, and `Failed` when the object cannot be dumped or loaded, or a receiver ends.
    """
    return through(
        TRANSPORTS[name],
        obj,
        name=name,
        budget_seconds=budget_seconds,
        repeats=repeats,
        time_limit_seconds=time_limit_seconds,
        progress=progress,
    )


def through(
    opening: Opening,
    obj: object,
    *,
    name: str,
    budget_seconds: float = BUDGET_SECONDS,
    repeats: int | None = None,
    time_limit_seconds: float = TIME_LIMIT_SECONDS,
    progress: Callable[[str], object] = lambda text: None,
) -> RoundTrip:
    """Send `obj` through what `opening` opens; see `round_trip`."""
    progress(name)
    try:
        runs = _all_runs(
            opening,
            obj,
            name=name,
            budget_seconds=budget_seconds,
            repeats=repeats,
            time_limit_seconds=time_limit_seconds,
        )
    except Failed as error:
        # Whoever keeps the error is not to keep the frames and what was open in them.
        raise error.with_traceback(None) from None
    first, *timed = runs if len(runs) > 1 else [*runs, *runs]
    best = min(timed, key=lambda run: run.seconds)
    return RoundTrip(
        name=name,
        pickled_bytes=sum(hop.dump.size for hop in best.hops),
        buffer_bytes=best.buffer_bytes,
        wire_bytes=sum(hop.sent.wire for hop in best.hops),
        first_seconds=first.seconds,
        round_trip_seconds=tuple(run.seconds for run in timed),
        dump_seconds=sum(hop.dump.end - hop.dump.begin for hop in best.hops),
        transport_seconds=best.transport_seconds,
        load_seconds=sum(hop.load.end - hop.load.begin for hop in best.hops),
        reply_seconds=best.end - best.hops[-1].load.end,
    )


@dataclass(frozen=True, kw_only=True)
class _Run:
    begin: float
    end: float
    hops: list[Hop]
    buffer_bytes: int

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    @property
    def transport_seconds(self) -> float:
        """Sum what lies before each dump, and between a dump and its load."""
        total, at = 0.0, self.begin
        for hop in self.hops:
            total += (hop.dump.begin - at) + (hop.load.begin - hop.dump.end)
            at = hop.load.end
        return total


def _all_runs(
    opening: Opening,
    obj: object,
    *,
    name: str,
    budget_seconds: float,
    repeats: int | None,
    time_limit_seconds: float,
) -> list[_Run]:
    with (
        _slate() as slate,
        _settings(),
        _no_sharer_left(),
        meter.sending(),
        _opened(opening, name, time_limit_seconds, slate) as line,
    ):
        try:
            return list(_runs(line, obj, budget_seconds, repeats))
        except CannotRun:
            raise
        except Exception as error:  # noqa: BLE001 - told in words
            failed = failure(error, slate, line.processes, time_limit_seconds)
        # Not from within the `except`: the frames of that error hold the transport,
        # which is to end before this does.
        raise failed


def _runs(
    line: Line, obj: object, budget_seconds: float, repeats: int | None
) -> Iterator[_Run]:
    yield (first := _run(line, obj))
    if repeats is None and first.seconds >= budget_seconds:
        return
    pace = Pace(first.seconds, budget_seconds, repeats)
    while pace.more():
        yield _run(line, obj)


def _run(line: Line, obj: object) -> _Run:
    begin = clock()
    told = line.trip(obj)
    end = clock()
    hops = line.hops(begin, [meter.Event(*event) for event in told])
    return _Run(begin=begin, end=end, hops=hops, buffer_bytes=line.buffer_bytes())


@contextmanager
def _slate() -> Iterator[Slate]:
    slate = Slate()
    try:
        yield slate
    finally:
        slate.close()


@contextmanager
def _opened(
    opening: Opening, name: str, limit_seconds: float, slate: Slate
) -> Iterator[Line]:
    context = opening(limit_seconds, slate)
    try:
        line = context.__enter__()
    except CannotRun:
        raise
    except Exception as error:
        raise CannotRun(f"{name} cannot be used here: {describe(error)}") from error
    try:
        yield line
    except BaseException as error:
        if not context.__exit__(type(error), error, error.__traceback__):
            raise
    else:
        context.__exit__(None, None, None)
    finally:
        # When two threads wait for a process, one is told that there is none, and the
        # process stays among the children of this one, with its descriptors.
        for process in line.processes:
            with suppress(ValueError):  # another thread of the session reaped it
                process.close()


@contextmanager
def _settings() -> Iterator[None]:
    """Have multiprocessing work in a fork that ends without the orders of an exit.

    Its sockets get a folder that goes afterwards: one that it makes is only removed
    at an exit. Receivers are allowed in a fork of a pool's worker: they end with this.
    """
    config: Any = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    before = dict(config)
    with tempfile.TemporaryDirectory(prefix="ipc-magic-") as folder:
        config.update(daemon=False, tempdir=before.get("tempdir") or folder)
        try:
            yield
        finally:
            config.clear()
            config.update(before)


@contextmanager
def _no_sharer_left() -> Iterator[None]:
    """End the thread that hands out descriptors (of sockets, of tensors) afterwards."""
    sharer: Any = multiprocessing.resource_sharer._resource_sharer  # type: ignore[attr-defined]
    running = sharer._listener is not None
    try:
        yield
    finally:
        if not running:
            sharer.stop(timeout=1)
