"""Processes that a child started and that outlive it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A process that a child left behind."""

    pid: int
    name: str
    ended: bool
    """Whether it was ended with its child: those in a session of their own are not."""


def own_children() -> list[int]:
    """Return the pids of this process's living children; cheap where there are none."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    pids: list[int] = []
    try:
        for task in os.listdir("/proc/self/task"):
            text = Path(f"/proc/self/task/{task}/children").read_text()
            pids += map(int, text.split())
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        pids = [process.pid for process in psutil.Process().children()]
    return pids


def group_lives(group: int) -> bool:
    """Return whether a process group has members."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a member has become somebody else's
        pass
    return True


def end(session: int, listed: Iterable[int], pipes: Iterable[int]) -> list[Leftover]:
    """End what is left of a child's session; return all that outlived the child.

    `listed` are pids that the child named, `pipes` the inodes of pipes that only it
    and its descendants hold. Where no file can be opened to look at them, what is left
    of the child's group is ended, and not told.
    """
    try:
        return _end_and_tell(session, listed, pipes)
    except OSError:
        with suppress(OSError):  # it has no members
            os.killpg(session, signal.SIGKILL)
        return []


def _end_and_tell(
    session: int, listed: Iterable[int], pipes: Iterable[int]
) -> list[Leftover]:
    inodes = {f"pipe:[{inode}]" for inode in pipes}
    pids = set(listed)
    for pid in list(pids):
        pids.update(_descendants(pid))
    for pid in psutil.pids():
        if _session(pid) == session or (inodes and _holds(pid, inodes)):
            pids.add(pid)
    pids -= {os.getpid(), session}
    found = [_end_one(pid, session) for pid in sorted(pids)]
    return [leftover for leftover in found if leftover is not None]


def _end_one(pid: int, session: int) -> Leftover | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        name = process.name()
        ours = _session(pid) == session
        if ours:
            os.kill(pid, signal.SIGKILL)
    except (psutil.Error, OSError):
        return None
    return Leftover(pid=pid, name=name, ended=ours)


def _descendants(pid: int) -> list[int]:
    try:
        return [p.pid for p in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _holds(pid: int, targets: set[str]) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(os.readlink(entry.path) in targets for entry in entries)
    except OSError:
        return False
