"""Children that ran no hook of ours: found among the descendants of the session."""

from __future__ import annotations

import os
import time
from typing import Any

from ipc_magic.memory.figures import Figures
from ipc_magic.memory.observing import family
from ipc_magic.memory.observing.family import FORK_SERVER
from ipc_magic.memory.observing.own_memory import UNREAD, own_memory
from ipc_magic.memory.observing.seen import Moment, Seen, to_record

_MOST_MOMENTS = 512
_HELPERS = (
    "multiprocessing.resource_tracker",
    "multiprocessing.semaphore_tracker",
    "loky.backend.resource_tracker",
    "observer_main.py",
    "guardian_main.py",
)
_SPAWNED = "multiprocessing.spawn"
_UNMET_SECONDS = 0.5
_UNMET = (
    "it was never met: it ended or was stopped too soon, or no hook ran at its fork "
    "(by C code, or in a process older than the watch or started anew)"
)


class Strangers:
    """Those of one watch."""

    def __init__(self, session: int, *, began_at: float) -> None:
        self._session = session
        self._began_at = began_at
        self._older = {(m.pid, m.started) for m in family.descendants(session)}
        self._found: dict[tuple[int, int], Stranger] = {}

    @property
    def older(self) -> list[int]:
        """The pids of those that the session had before the watch."""
        return [pid for pid, _ in self._older]

    def look(self, met: set[tuple[int, int]]) -> None:
        """Look who is there besides those that were `met`, and read their memory."""
        there = set()
        for member in family.descendants(self._session):
            key = member.pid, member.started
            if key in self._older or key in met:
                continue
            there.add(key)
            if key not in self._found:
                self._found[key] = Stranger(member, began_at=self._began_at)
            self._found[key].read()
        for key, stranger in self._found.items():
            if key not in there:
                stranger.end()

    def meet(self, told: dict[str, Any], *, parent_pid: int) -> None:
        """Take in one that the user's code has just started, and read its memory."""
        pid, started = told["pid"], told["started"]
        if not started:  # it has ended, and was waited for, since
            started = max((s for p, s in self._found if p == pid), default=0)
        if (pid, started) in self._older:
            return
        stranger = self._found.get((pid, started))
        if stranger is None:
            member = family.Member(pid, parent_pid, started)
            stranger = Stranger(member, began_at=self._began_at)
            self._found[pid, started] = stranger
        stranger.learn(told)
        stranger.read()

    def forget(self, met: set[tuple[int, int]]) -> None:
        """Drop those that were seen before they were met."""
        for key in met & self._found.keys():
            self._found.pop(key).end()

    def records(self) -> list[dict[str, Any]]:
        """Return what is known of them."""
        return [s.record() for s in self._found.values() if s.counts]

    def close(self) -> None:
        """Let go of all descriptors."""
        for stranger in self._found.values():
            stranger.life.close()


class Stranger:
    """One of them."""

    def __init__(self, member: family.Member, *, began_at: float) -> None:
        self.life = family.Life(member.pid)
        self._member = member
        self._began_at = began_at
        self._told: dict[str, Any] = {}
        self._first_at = time.monotonic()
        self._read_at: float | None = None
        self._command: list[str] = []
        self._parents_command: list[str] = []
        self._figures: Figures | None = None
        self._timeline: list[Moment] = []
        self._alive = True

    def learn(self, told: dict[str, Any]) -> None:
        """Take in what the one who started it tells."""
        self._told = told
        self._first_at = told["at"]
        # What a sweep saw before may be that of who started it: vfork(2).
        self._command = told["command"]

    def read(self) -> None:
        """Look what it executes, and what it holds alone."""
        parents = family.command(self._member.parent_pid)
        self._parents_command = parents or self._parents_command
        command = family.command(self._member.pid)
        if self._told and command == parents:
            return  # it is about to execute what was told
        self._command = command or self._command
        figures = own_memory(self._member.pid, self.life)
        if figures is None or self.started_by == "fork":
            return
        self._figures, self._read_at = figures, time.monotonic()
        moment = (self._read_at - self._began_at, 0, figures.new_bytes)
        self._timeline.append(moment)
        if len(self._timeline) > _MOST_MOMENTS:
            del self._timeline[1::2]

    def end(self) -> None:
        """Note that it is not there any more."""
        self._alive = False
        self.life.close()

    @property
    def started_by(self) -> str:
        """What it was started by, as its command line tells."""
        words = " ".join(self._command)
        if FORK_SERVER in words:
            return "forkserver"
        if _SPAWNED in words:
            return "spawn"
        return "fork" if self._command == self._parents_command else "exec"

    @property
    def counts(self) -> bool:
        """Whether it is a child of the user's: no helper, and not just forked."""
        words = " ".join(self._command)
        if not self._command or any(helper in words for helper in _HELPERS):
            return False
        if FORK_SERVER in words and self._told.get("by") != "forkserver":
            # The server itself was executed.
            return self._command == self._parents_command
        if self.started_by == "fork":
            return time.monotonic() - self._first_at >= _UNMET_SECONDS
        return True

    def record(self) -> dict[str, Any]:
        """Return what is known of it."""
        by = self.started_by
        last_seen = None
        if not self._alive and self._read_at is not None:
            last_seen = self._read_at - self._began_at
        names = {"spawn": _SPAWNED, "forkserver": FORK_SERVER, "fork": "fork"}
        fault = UNREAD if self._figures is None else None
        return {
            "forked_at": self._first_at,
            "seen": to_record(
                Seen(
                    index=0,
                    pid=self._member.pid,
                    parent_pid=self._member.parent_pid,
                    how=names.get(by) or _name(self._command),
                    line=self._told.get("line"),
                    started_by=by,
                    alive=self._alive,
                    figures=self._figures,
                    last_seen_seconds=last_seen,
                    timeline=tuple(self._timeline),
                    fault=_UNMET if by == "fork" else fault,
                )
            ),
        }


def _name(command: list[str]) -> str:
    if any("popen_loky" in word for word in command):
        return "loky"
    return os.path.basename(command[0])
