"""Watching the children that code forks, against the same code unwatched."""

from __future__ import annotations

import mmap
import os
import time
from statistics import median
from typing import Any

import psutil

from ipc_magic.memory.observing.watch import watch_forks
from tests.bench.sides import interleaved, show

FORKS, COMPUTE_SECONDS = 200, 0.05
CHILDREN, CHILD_MIB, BUSY_SECONDS = 8, 512, 36.0


def _wait(pid: int) -> float:
    """Return the CPU seconds of a child, when it has ended."""
    _, _, usage = os.wait4(pid, 0)
    return usage.ru_utime + usage.ru_stime


def fork_one_after_the_other(forks: int = FORKS) -> None:
    """Fork children that compute for a while each."""
    for _ in range(forks):
        pid = os.fork()
        if pid == 0:
            until = time.process_time() + COMPUTE_SECONDS
            while time.process_time() < until:
                pass
            os._exit(0)
        _wait(pid)


def _busy(memory: mmap.mmap, work: int) -> None:
    """Write a fixed number of pages here and there, and compute."""
    pages = len(memory) // mmap.PAGESIZE
    at = 0
    for _ in range(work):
        at = (at + 7919) % pages
        memory[at * mmap.PAGESIZE] = 2
        sum(range(400))


def busy_children(memory: mmap.mmap, work: int) -> float:
    """Run children that write what they inherit; return their CPU seconds."""
    pids = []
    for _ in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            _busy(memory, work)
            os._exit(0)
        pids.append(pid)
    return sum(map(_wait, pids))


def _work_of(memory: mmap.mmap) -> int:
    """Return how much of it keeps this machine busy for long enough."""
    tried = 20_000
    pid = os.fork()
    if pid == 0:
        _busy(memory, tried)
        os._exit(0)
    cpus = len(os.sched_getaffinity(0))
    return int(tried * BUSY_SECONDS * cpus / CHILDREN / _wait(pid))


def _cpu_seconds(observer: psutil.Process) -> float:
    return sum(os.times()[:4]) + sum(observer.cpu_times()[:2])


def _one_after_the_other() -> None:
    def watched() -> None:
        with watch_forks() as watch:
            fork_one_after_the_other()
        arming.extend(c.arming_seconds or 0.0 for c in watch.children)

    arming: list[float] = []
    sides = {"unwatched": fork_one_after_the_other, "watched": watched}
    show(interleaved(sides, rounds=3, warm_up=0), goals={"watched": 1.1})
    print(f"  of that, arming a child takes {median(arming) * 1e3:.2f} ms")
    # What a machine that does other things besides can tell.
    with watch_forks() as watch:
        assert watch.observer_pid is not None
        observer = psutil.Process(watch.observer_pid)
    begin = _cpu_seconds(observer)
    fork_one_after_the_other()
    plain = _cpu_seconds(observer) - begin
    watched()
    ratio = (_cpu_seconds(observer) - begin - plain) / plain
    print(f"  CPU time of all processes together: {ratio:.3f} x")


def _at_once() -> None:
    memory = mmap.mmap(-1, CHILD_MIB << 20, flags=mmap.MAP_PRIVATE)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for start in range(0, len(memory), mmap.PAGESIZE):
        memory[start] = 1
    work = _work_of(memory)
    rows: list[dict[str, Any]] = []
    for _ in range(3):
        plain = busy_children(memory, work)
        with watch_forks() as watch:
            assert watch.observer_pid is not None
            observer = psutil.Process(watch.observer_pid)
            used, begin = sum(observer.cpu_times()[:2]), time.monotonic()
            watched = busy_children(memory, work)
            took = time.monotonic() - begin
            used = sum(observer.cpu_times()[:2]) - used
        moments = sum(len(child.timeline) for child in watch.children)
        armed = sum(child.arming_seconds or 0.0 for child in watch.children)
        rows.append(
            {
                "seconds": took,
                "of a core": used / took,
                "less arming": (used - armed) / took,
                "children's CPU": watched / plain,
                "readings of each": moments / CHILDREN,
            }
        )
    memory.close()
    for name in rows[0]:
        values = "".join(f"{row[name]:>10.3f}" for row in rows)
        print(f"  {name:<20}{values}")
    print("  goals: at most 0.03 of a core, at most 1.02 x the children's CPU")


def main() -> None:
    """Print both."""
    print(f"  {FORKS} forks one after the other, {COMPUTE_SECONDS * 1e3:.0f} ms each")
    with watch_forks():
        pass  # the observer starts
    _one_after_the_other()
    print(f"  {CHILDREN} busy children at once, {CHILD_MIB} MiB each")
    _at_once()


if __name__ == "__main__":
    main()
