"""The descendants of a process, and whether one of them goes on, by /proc."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from dataclasses import dataclass

FORK_SERVER = "multiprocessing.forkserver"
"""What the command line of its server says; its children have the same."""


@dataclass(frozen=True)
class Member:
    """One descendant at one moment."""

    pid: int
    parent_pid: int
    started: int
    """In ticks since the boot: with the pid it names one process for good."""


class Life:
    """Tells whether a process goes on, and never takes another of its pid for it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.started = started(pid)
        """When it started: see `Member`."""
        self.pidfd = -1
        """Readable when it has ended; -1 where the kernel has none (Linux 5.3)."""
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError:
            pass
        self._poll = select.poll()
        if self.pidfd >= 0:
            self._poll.register(self.pidfd, select.POLLIN)

    def goes_on(self) -> bool:
        """Return whether it has not ended."""
        if self.pidfd >= 0:
            return not self._poll.poll(0)
        found = _stat(self._pid)
        return found is not None and found[2] == self.started and found[0] not in "ZX"

    def close(self) -> None:
        """Close the descriptor."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def started(pid: int) -> int:
    """Return when a process started, 0 if there is none."""
    found = _stat(pid)
    return found[2] if found else 0


def _stat(pid: int) -> tuple[str, int, int] | None:
    """Return the state, the parent and the start of a process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    if len(fields) < 20:
        return None
    return fields[0].decode(), int(fields[1]), int(fields[19])


def descendants(pid: int) -> Iterator[Member]:
    """Yield the living descendants of a process, each after its parent."""
    pending = [pid]
    while pending:
        parent = pending.pop()
        for child in _children(parent):
            found = _stat(child)
            if found is not None and found[1] == parent and found[0] not in "ZX":
                yield Member(child, parent, found[2])
                pending.append(child)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except FileNotFoundError:
        if os.path.exists(f"/proc/{pid}") and not os.path.exists(
            f"/proc/self/task/{os.getpid()}/children"
        ):
            return _children_by_parent(pid)  # a kernel without CONFIG_PROC_CHILDREN
    except OSError:
        pass
    return found


def _children_by_parent(pid: int) -> list[int]:
    names = [name for name in os.listdir("/proc") if name.isdigit()]
    return [int(n) for n in names if (s := _stat(int(n))) is not None and s[1] == pid]


def command(pid: int) -> list[str]:
    """Return the words of a process's command line, none if it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            text = file.read()
    except OSError:
        return []
    return [word.decode(errors="replace") for word in text.split(b"\0")][:-1]
