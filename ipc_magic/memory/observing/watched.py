"""One child as the observer sees it, from its first reading to its last."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

from ipc_magic.memory import ladder
from ipc_magic.memory.figures import Figures
from ipc_magic.memory.observing import family
from ipc_magic.memory.observing.own_memory import UNREAD, own_memory
from ipc_magic.memory.observing.seen import Moment, Seen, to_record
from ipc_magic.memory.rungs.base import Rung
from ipc_magic.memory.rungs.exclusive import Witness
from ipc_magic.memory.smaps import resident_and_unique_bytes

_MOST_MOMENTS = 512
_EXIT_SECONDS = 0.5  # much longer than an exit takes


class Watched:
    """A living child; all its readings are of the memory that it had at its fork."""

    def __init__(self, pid: int, told: dict[str, Any], *, began_at: float) -> None:
        self.pid = pid
        self.life = family.Life(pid)
        self.traced = False
        self.alive = True
        self.forked_at: float = told["forked_at"]
        self._told = told
        self._began_at = began_at
        self._maps, self._met_at = -1, 0.0
        self._rung: Rung | None = None
        self._figures: Figures | None = None
        self._read_at: float | None = None
        self._readings = 0
        self._executed = False
        self._about_to_execute = False
        self._until_execution: Figures | None = None
        self._at_end = False
        self._exit_at: float | None = None
        self._status: int | None = None
        self._timeline: list[Moment] = []
        self._every, self._skipped = 1, 0
        self._arming_seconds: float | None = None
        self._fault: str | None = None

    def note(self, fault: str) -> None:
        """Keep why something is missing; the first reason says most."""
        self._fault = self._fault or fault

    def begin(self, descriptor: int, met_at: float) -> None:
        """Note what it has inherited while it waits; `descriptor` watches it, or -1."""
        self._maps, self._met_at = _open_maps(self.pid), met_at
        mechanism = self._told["mechanism"]
        for name in (mechanism, *ladder.below(mechanism)):
            try:
                rung = ladder.make(name, self.pid, descriptor)
            except OSError as error:
                self.note(error.strerror or str(error))
            else:
                try:
                    self._keep(self._complete(rung.begin()))
                except OSError as error:
                    rung.close()
                    self.note(error.strerror or str(error))
                else:
                    self._rung = rung
                    break
            descriptor = -1
        self._arming_seconds = time.monotonic() - met_at

    def read(self) -> None:
        """Take a reading, unless the memory it is of has gone."""
        if self._executed:
            self._read_other_program()
            return
        if self._rung is None or self.is_exiting:
            return
        if self._about_to_execute and self._is_there():
            return  # it was read, and does nothing else before
        try:
            figures = self._rung.read()
        except OSError as error:
            if self._is_there():
                self.note(error.strerror or str(error))
                return
        else:
            # What ended or executed meanwhile was read while its memory went.
            if self._is_there():
                self._readings += 1
                self._at_end = False
                self._keep(self._complete(figures))
                return
        if self._has_other_memory():
            self._find_executed()

    def _complete(self, figures: Figures) -> Figures:
        """Say whether it is exact: a child's own children share what is theirs."""
        witness_at = self._told["witness_at"]
        if figures.mechanism != "witness" or witness_at is None:
            return figures
        rung = self._rung
        shares = isinstance(rung, Witness) and rung.shares_with_its_own
        return replace(
            figures,
            exact=not shares,
            witness_seconds=max(0.0, self._met_at - witness_at),
        )

    def _keep(self, figures: Figures) -> None:
        self._figures = figures
        self._read_at = time.monotonic()
        self._skipped += 1
        if self._skipped >= self._every:
            self._skipped = 0
            self._timeline.append(self._moment(figures))
            if len(self._timeline) > _MOST_MOMENTS:
                del self._timeline[1::2]
                self._every *= 2

    def _moment(self, figures: Figures) -> Moment:
        assert self._read_at is not None
        seconds = self._read_at - self._began_at
        return seconds, figures.copied_bytes, figures.new_bytes

    def _is_there(self) -> bool:
        """Return whether it has the memory that it had at its fork."""
        if self._maps < 0:
            return self.life.goes_on()
        try:
            return bool(os.pread(self._maps, 1, 0))
        except OSError:
            return False

    def _has_other_memory(self) -> bool:
        """Return whether it has executed; one that exits has no memory for a while."""
        maps = _open_maps(self.pid)
        if maps < 0:
            return False
        try:
            return bool(os.pread(maps, 1, 0)) and self.life.goes_on()
        except OSError:
            return False
        finally:
            os.close(maps)

    @property
    def is_exiting(self) -> bool:
        """Return whether it was just read in its exit, and has but to end.

        If it is there much later, only its main thread has ended.
        """
        exit_at = self._exit_at
        return exit_at is not None and time.monotonic() - exit_at < _EXIT_SECONDS

    def note_execution(self) -> None:
        """Read it while it waits to execute another program.

        Who does so before its first reading is listed as that program.
        """
        began_so = not self._readings
        self._read_at_end()
        if began_so:
            self._until_execution = self._figures if self._at_end else None
            self._begin_anew()
        self._about_to_execute = True

    def note_failed_execution(self) -> None:
        """Read on: it is still what it was."""
        readings = self._readings
        self._executed = self._about_to_execute = False
        self._until_execution = None
        self.read()
        self._readings = readings  # it may try the next folder of PATH

    def _find_executed(self) -> None:
        if self._readings:
            if not self._at_end:
                self.note("it executed another program after its last reading")
            self._close_rung()
            return
        self._begin_anew()
        self._read_other_program()

    def _begin_anew(self) -> None:
        self._executed = True
        self._figures, self._read_at, self._fault = None, None, None
        self._timeline, self._skipped = [], 0
        self._readings, self._at_end = 0, False

    def _read_other_program(self) -> None:
        if self._is_there():
            return  # it is about to, and still what it was
        self._close_rung()
        found = own_memory(self.pid, self.life)
        if found is not None:
            self._keep(found)

    def read_last(self, status: int | None) -> None:
        """Take the last reading while it waits in its exit; `status` is how it ends."""
        self._read_at_end()
        self._status, self._exit_at = status, time.monotonic()

    def _read_at_end(self) -> None:
        before = self._read_at
        self.read()
        self._at_end = self._read_at != before

    @property
    def own_bytes(self) -> tuple[int | None, int | None]:
        """What it had copied, and what was new, at its last reading, where known."""
        figures = self._figures
        if figures is None or self._executed:
            return 0, 0
        return figures.copied_bytes, figures.new_bytes

    def read_sums(self) -> None:
        """Read what RSS and USS say of it, beside its last reading."""
        if self._figures is None:
            return
        try:
            resident, unique = resident_and_unique_bytes(self.pid)
        except OSError:  # it may not be read, or has just ended
            return
        self._figures = replace(
            self._figures, resident_bytes=resident, unique_bytes=unique
        )

    def end(self, status: int | None = None) -> None:
        """Note that it has ended."""
        self.alive = False
        if self._status is None:
            self._status = status

    def record(self) -> dict[str, Any]:
        """Return what is known of it by now."""
        last_seen = None
        if not self._at_end and not self.alive and self._read_at is not None:
            last_seen = self._read_at - self._began_at
        fault = self._fault
        if self._executed and self._figures is None:
            fault = UNREAD
        code = status = None
        if self._status is not None and not self.alive:
            code = os.WEXITSTATUS(self._status) if os.WIFEXITED(self._status) else None
            status = os.WTERMSIG(self._status) if code is None else None
        return {
            "forked_at": self.forked_at,
            "seen": to_record(
                Seen(
                    index=0,
                    pid=self.pid,
                    parent_pid=self._told["parent_pid"],
                    how=self._told["how"],
                    line=self._told["line"],
                    started_by="exec" if self._executed else "fork",
                    alive=self.alive,
                    exit_code=code,
                    signal=status,
                    figures=self._figures,
                    until_execution=self._until_execution,
                    last_seen_seconds=last_seen,
                    timeline=self._whole_timeline(),
                    arming_seconds=self._arming_seconds,
                    fault=fault,
                )
            ),
        }

    def _whole_timeline(self) -> tuple[Moment, ...]:
        """Return the readings that were kept, and the last one always."""
        if self._figures is None:
            return ()
        last = self._moment(self._figures)
        return (*self._timeline[: -1 if not self._skipped else None], last)

    def _close_rung(self) -> None:
        if self._rung is not None:
            self._rung.close()
            self._rung = None

    def close(self) -> None:
        """Let go of all descriptors."""
        self._close_rung()
        self.life.close()
        if self._maps >= 0:
            os.close(self._maps)
            self._maps = -1


def _open_maps(pid: int) -> int:
    try:
        return os.open(f"/proc/{pid}/maps", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
