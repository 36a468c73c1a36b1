"""The memory of the children of a cell, beside that of a child that does nothing."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from ipc_magic.memory.figures import Figures, total
from ipc_magic.memory.track import Track
from ipc_magic.memory.tracker import Tracker
from ipc_magic.process import fork, guards, interrupts, parent_only
from ipc_magic.process.child import Body
from ipc_magic.process.front import Front, OnlyLive
from ipc_magic.process.monitor import Monitor
from ipc_magic.process.watch import Watch
from ipc_magic.results.base import Finding
from ipc_magic.results.cow_watch_words import live
from ipc_magic.results.memory import Memory

# A control child that has not ended by then is given up: a cell is not held up by it.
_CONTROL_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class _Control:
    """What a child that ran an empty statement did with its memory."""

    memory: Memory
    measured_at: float
    """Monotonic clock."""


_controls: dict[tuple[str, str], _Control] = {}
"""The control of each mechanism and machinery, measured once in a session."""


class Measured:
    """Measures the children of one run; raises `OptionError` for a wrong mechanism."""

    def __init__(
        self,
        idle: Callable[[], Body],
        front: Front,
        mechanism: str | None,
        *,
        machinery: str,
        names: Mapping[str, Any],
        keep_free_bytes: int,
        parent_waits: bool,
        peak: bool = False,
    ) -> None:
        self.tracker = _tracker(
            mechanism,
            keep_free_bytes=keep_free_bytes,
            parent_waits=parent_waits,
            together=peak,
            sums=peak,
        )
        self._machinery = machinery
        name = self.tracker.mechanism
        key = (name, machinery)
        if peak or key not in _controls:
            _controls[key] = _run_control(idle(), front, name, names, sums=peak)
        self.control = _controls[key].memory
        self._begun_at = time.monotonic()

    def of(self, watch: Watch) -> Memory | None:
        """Return the memory of a child that has ended, `None` if it was never met."""
        track = watch.child.meter
        assert isinstance(track, Track)
        if track.figures is None:
            return None
        assert watch.child.ended_at is not None
        assert track.read_at is not None
        control = _controls.get((track.figures.mechanism, self._machinery))
        known: dict[str, Any] = {}
        if control is not None:
            known = {
                "baseline_bytes": control.memory.copied_bytes,
                "baseline_new_bytes": control.memory.new_bytes,
                "baseline_unique_bytes": control.memory.unique_bytes,
                "baseline_age_seconds": self._begun_at - control.measured_at,
            }
        if not track.done:
            known["unread_seconds"] = watch.child.ended_at - track.read_at
        figures = track.figures
        if not track.readings:  # what its code did until its end was never seen
            figures = Figures(
                mechanism=figures.mechanism, inherited_bytes=figures.inherited_bytes
            )
        return Memory(**asdict(figures), **known)

    def so_far(self, watches: Sequence[Watch]) -> str:
        """Say what the children had copied at their last readings."""
        tracks = [watch.child.meter for watch in watches]
        known = [t.figures for t in tracks if isinstance(t, Track) and t.figures]
        return live(
            len(known),
            total(figures.copied_bytes for figures in known),
            total(figures.new_bytes for figures in known),
        )

    def findings(self, watches: Iterable[Watch]) -> list[Finding]:
        """Return what is to be known of how the memory was measured."""
        found = []
        if self.tracker.no_witness is not None:
            found.append(
                Finding(
                    code="no_witness",
                    message="measured without a witness, so what is copied is an upper "
                    f"bound: {self.tracker.no_witness}",
                )
            )
        for watch in watches:
            track = watch.child.meter
            assert isinstance(track, Track)
            found += _about(track, watch.child.pid, self.tracker.mechanism)
        return found


def _about(track: Track, pid: int, mechanism: str) -> list[Finding]:
    figures = track.figures
    if figures is None:
        message = f"child {pid} ended before its memory could be read"
        return [Finding(code="memory_unread", message=message)]
    if not track.readings:
        message = f"what child {pid} copied is not known: it ended before a reading"
        return [Finding(code="memory_unread", message=message)]
    if figures.mechanism != mechanism:
        return [
            Finding(
                code="mechanism",
                message=f"{mechanism} could not measure child {pid} ({track.fault}): "
                f"its memory is measured by {figures.mechanism}",
            )
        ]
    return []


@contextmanager
def _no_collection() -> Iterator[None]:
    """Have children begin with garbage collection off."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _tracker(mechanism: str | None, **how: Any) -> Tracker:
    return Tracker(
        mechanism,
        **how,
        hold=parent_only.hold,
        release=parent_only.release,
    )


def _run_control(
    idle: Body, front: Front, mechanism: str, names: Mapping[str, Any], *, sums: bool
) -> _Control:
    """Run an empty statement through the machinery that the person's code runs in."""
    tracker = _tracker(mechanism, parent_waits=True, sums=sums)
    with interrupts.counted():
        try:
            # A collection would copy what no child copies every time.
            with _no_collection():
                started = fork.start(idle, number=1, names=names, meter=tracker)
            limits = guards.Limits(timeout_seconds=_CONTROL_SECONDS)
            monitor = Monitor(started.children, OnlyLive(front), limits=limits)
            monitor.run()
        finally:
            tracker.close()
        if monitor.watches[0].stopped == "interrupted":
            raise KeyboardInterrupt
    track = started.children[0].meter
    assert isinstance(track, Track)
    known = asdict(track.figures) if track.figures and track.done else {}
    memory = Memory(**{"mechanism": mechanism, "exact": False, **known})
    return _Control(memory=memory, measured_at=time.monotonic())
