"""Limits on children, and how often each must be looked at."""

from __future__ import annotations

import functools
import os
import re
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

# No machine fills its memory faster than this; a look that comes this late is in time.
_FILL_BYTES_PER_SECOND = 16 << 30
SOONEST_SECONDS, _LATEST_SECONDS = 0.01, 1.0
# The kernel keeps less than this for itself of the pages that hold nothing.
_RESERVED_BYTES = 1 << 30
_CGROUP = Path("/sys/fs/cgroup")
_OOM_KILL = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What children are stopped at; `None` where there is no limit."""

    timeout_seconds: float | None = None
    memory_bytes: int | None = None
    """How much memory of its own each child may have: new and copied."""
    keep_free_bytes: int | None = None
    """How much memory the machine, or this control group, must keep free."""
    own_bytes: Callable[[int], int] | None = None
    """Reads how many bytes a process holds alone, given its pid; needed for
    `memory_bytes`."""


def available_bytes() -> int:
    """Return how much more memory can be had here: the machine's or the cgroup's.

    The machine's is the kernel's MemAvailable. A cgroup's is its limit less what it
    uses, file pages that the kernel would drop first not counted (memory.stat's
    inactive_file, Documentation/admin-guide/cgroup-v2.rst).
    """
    # psutil reads the same line, and all the others: 5 times as long.
    with open("/proc/meminfo", encoding="ascii") as file:
        free = next(int(line.split()[1]) for line in file if "MemAvailable" in line)
    free *= 1024
    for folder in _cgroups():
        room = _cgroup_room(folder)
        if room is not None:
            free = min(free, room)
    return free


def machine_bytes() -> int:
    """Return the memory of the machine, or what its control group leaves of it."""
    total: int = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for folder in _cgroups():
        try:
            limit = (folder / "memory.max").read_text().strip()
        except OSError:
            continue
        if limit != "max":
            total = min(total, int(limit))
    return total


def surely_free(size: int) -> bool:
    """Return whether `size` bytes can be had, at the first glance: False says nothing.

    Pages that hold nothing at all, sysinfo(2), are most of MemAvailable on a machine
    at ease. A limited control group needs the second look, `available_bytes`.
    """
    free: int = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free > size + _RESERVED_BYTES and not _cgroups()


def descriptors_left() -> int | None:
    """Return how many files this process can still open; `None` if that is unknown."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return limit - len(os.listdir("/proc/self/fd"))
    except OSError:
        return None


def margin_above(keep_free_bytes: int) -> int | None:
    """Return how much memory can be had before less than `keep_free_bytes` is free.

    `None` when that cannot be read now: most likely no file can be opened any more.
    """
    try:
        return available_bytes() - keep_free_bytes
    except OSError:
        return None


@functools.lru_cache(maxsize=1)
def _cgroups() -> list[Path]:
    """Return the limited control groups this process began in, version 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    if path is None:
        return []
    folder = _CGROUP / path.lstrip("/")
    folders = [folder, *(f for f in folder.parents if f.is_relative_to(_CGROUP))]
    return [f for f in folders if (f / "memory.max").exists()]


def _cgroup_room(folder: Path) -> int | None:
    try:
        limit = (folder / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((folder / "memory.current").read_text())
        stat = (folder / "memory.stat").read_text()
    except (OSError, ValueError):
        return None  # the root group has none of these files
    dropped = parse_memory_stat(stat).get("inactive_file", 0)
    return max(0, int(limit) - used + dropped)


def parse_memory_stat(text: str) -> dict[str, int]:
    """Return the counters of a `memory.stat` text."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def oom_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory, here.

    The sum of the machine's counter (/proc/vmstat) and the control group's
    (memory.events); 0 where neither can be read.
    """
    count = 0
    paths = [Path("/proc/vmstat"), *(f / "memory.events" for f in _cgroups()[:1])]
    for path in paths:
        try:
            with open(path, "rb") as file:
                found = _OOM_KILL.search(file.read())
        except OSError:
            continue
        count += int(found[1]) if found else 0
    return count


def seconds_until_reached(margin_bytes: int | None) -> float:
    """Return when to look again at a limit that is `margin_bytes` away, if known."""
    if margin_bytes is None:
        return SOONEST_SECONDS
    seconds = margin_bytes / _FILL_BYTES_PER_SECOND
    return min(max(seconds, SOONEST_SECONDS), _LATEST_SECONDS)


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU time a process and its descendants have used.

    `None` if it is gone, or no file can be opened to read it.
    """
    try:
        process = psutil.Process(pid)
        times = [process.cpu_times()]
        for each in process.children(recursive=True):
            try:
                times.append(each.cpu_times())
            except psutil.Error:
                continue
    except (psutil.Error, OSError):
        return None
    return sum(t.user + t.system for t in times)


def own_cpu_ticks(pid: int) -> bytes:
    """Return the fields utime and stime of /proc/PID/stat; they change with CPU use."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return b""
    return b" ".join(fields[11:13])


def runnable(pid: int) -> bool:
    """Return whether a process runs or would run: state R in /proc/PID/stat."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"R"
    except OSError:
        return False


def has_ended(pid: int) -> bool:
    """Return whether a process is gone, or only waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except FileNotFoundError:
        return True
    except OSError:
        return False


def catches(pid: int, signal_number: int) -> bool:
    """Return whether a process has a handler for a signal: SigCgt in proc(5)."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            line = next(line for line in file if line.startswith(b"SigCgt"))
    except (OSError, StopIteration):
        return False
    return bool(int(line.split()[1], 16) >> (signal_number - 1) & 1)
