"""Readings of a child's memory per GiB, and what other tools say of the same children.

`%memit -c` is shown beside if memory_profiler is installed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import psutil

from ipc_magic.memory import ladder
from ipc_magic.memory.handshake import BEGIN, Handshake
from ipc_magic.memory.pagescan import Category
from ipc_magic.memory.rungs.base import Rung
from ipc_magic.memory.rungs.uffd import Uffd, plan
from ipc_magic.memory.track import Track
from ipc_magic.memory.tracker import Tracker
from tests.bench.session import fork_and_wait
from tests.bench.sides import bench_shell, interleaved, show

GIB = 1 << 30
ROUNDS = 15
OBJECTS = 1_000_000


def ballast() -> tuple[mmap.mmap, Any]:
    """Return a GiB in small pages, each written, and its bytes."""
    memory = mmap.mmap(-1, GIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    pages = np.frombuffer(memory, np.uint8)
    pages[:: mmap.PAGESIZE] = 1
    return memory, pages


def write(pages: Any, first: int, step: int) -> None:
    """Write every `step`th page from an offset on."""
    pages[first :: mmap.PAGESIZE * step] = 2


@contextlib.contextmanager
def waiting_child(work: Callable[[], object]) -> Iterator[dict[str, Rung]]:
    """Give the mechanisms that watch a child which has done its work and waits."""
    names = [n for n in ("uffd", "exclusive") if ladder.fault_of(n) is None]
    handshake = Handshake(ladder.creator_for("uffd"))
    if not (pid := os.fork()):
        handshake.close()
        handshake.begin_here()
        work()
        handshake.tell_here(BEGIN)
        os._exit(0)
    handshake.close_theirs()
    _, descriptor = handshake.take()
    rungs = {n: ladder.make(n, pid, descriptor if n == "uffd" else -1) for n in names}
    for rung in rungs.values():
        rung.begin()
    handshake.let_go()
    handshake.take()
    try:
        yield rungs
    finally:
        for rung in rungs.values():
            rung.close()
        handshake.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def scan(rung: Any, segments: Any) -> None:
    """Have the kernel tell what was written or is missing.

    A reading reads the list of mappings besides, and works out what happened.
    """
    rung._scan(segments, any_of=Category.WRITTEN, but=Category.PRESENT)


def one_reading() -> None:
    """Print what one reading takes with nothing, half and all of a GiB written."""
    memory, pages = ballast()
    cases = {  # the first page written, of how many, and the goal in milliseconds
        "nothing written": (GIB, 1, 1.5),
        "every second page written": (0, 2, None),
        "everything written": (0, 1, 4.0),
    }
    for words, (first, step, goal) in cases.items():
        with waiting_child(functools.partial(write, pages, first, step)) as rungs:
            process = psutil.Process(next(iter(rungs.values())).pid)
            sides: dict[str, Callable[[], object]] = {
                "psutil memory_full_info": process.memory_full_info,
                **{f"one reading, {n}": r.read for n, r in rungs.items()},
            }
            if isinstance(rung := rungs.get("uffd"), Uffd):
                segments = plan(rung.maps_text()).segments
                sides["the scan of it alone"] = functools.partial(scan, rung, segments)
            seconds = interleaved(sides, rounds=ROUNDS)
        print(f"  1 GiB inherited, {words}:")
        goals = {"one reading, uffd": 0.2, "the scan of it alone": 0.2}
        show(seconds, goals=goals)
        if goal is not None and "the scan of it alone" in seconds:
            ours = median(seconds["the scan of it alone"]) * 1e3
            print(f"    one scan: {ours:.2f} ms a GiB; goal: at most {goal} ms")
    del pages
    memory.close()


def arming() -> None:
    """Print what a GiB adds to a fork, bare and with a child that is met."""

    def met(mechanism: str) -> Callable[[], None]:
        def run() -> None:
            with Tracker(mechanism) as tracker, tracker.track() as track:
                if not (pid := os.fork()):
                    track.begin_here()
                    track.done_here()
                    os._exit(0)
                track.follow(pid)
                track.serve()
                os.waitpid(pid, 0)

        return run

    names = [n for n in ("uffd", "witness") if ladder.fault_of(n) is None]
    sides: dict[str, Callable[[], object]] = {
        "os.fork + waitpid": fork_and_wait,
        **{f"met and read twice, {n}": met(n) for n in names},
    }
    small = interleaved(sides, rounds=2 * ROUNDS)
    memory, pages = ballast()
    large = interleaved(sides, rounds=2 * ROUNDS)
    del pages
    memory.close()
    growth = {n: median(large[n]) - median(small[n]) for n in sides}
    base = growth["os.fork + waitpid"]
    print("  what a GiB adds to a child from its fork to its end:")
    for name, seconds in growth.items():
        goal = "   goal: at most 1.8" if "uffd" in name else ""
        ratio = seconds / base
        print(f"  {name:<34}{seconds * 1e3:>7.2f} ms{ratio:>8.2f}{goal}")


def read_all(objects: list[str]) -> None:
    """Look at each object, as any loop does."""
    for _ in objects:
        pass


class Pair:
    """Two children that do the same and then wait, measured by us and by psutil."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.copied: list[int] = []
        self.unique: list[int] = []

    def run(self) -> None:
        tracks: list[tuple[Track, int]] = []
        with Tracker() as tracker:
            for _ in range(2):
                track = tracker.track()
                if not (pid := os.fork()):
                    track.begin_here()
                    self.work()
                    track.done_here()
                    signal.pause()
                track.follow(pid)
                track.answer()
                tracks.append((track, pid))
            for track, _ in tracks:
                track.answer()
            time.sleep(0.5)  # for a sampler to see them
            self.copied = [
                (t.figures and t.figures.copied_bytes) or 0 for t, _ in tracks
            ]
            self.unique = [psutil.Process(p).memory_full_info().uss for _, p in tracks]
            for track, pid in tracks:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                track.close()


def memit(shell: Any, pair: Pair) -> str:
    """Return what `%memit -c` says while the pair runs."""
    if shell is None:
        pair.run()
        return "not installed"
    shell.user_ns["pair"] = pair
    with contextlib.redirect_stdout(io.StringIO()):
        result = shell.run_line_magic("memit", "-c -o -r 1 pair.run()")
    return f"{max(result.mem_usage) - result.baseline:+.1f} MiB"


def demonstration() -> None:
    """Print what three tools say of two idle children, and of two that read."""
    objects = [f"object {i}" for i in range(OBJECTS)]
    held = sum(map(len, objects)) + 49 * len(objects)
    print(f"  two children of a list of {OBJECTS:,} strings, {held >> 20} MiB:")
    print(f"  {'':<14}{'%memit -c':>16}{'USS of each':>22}{'copied by each':>24}")
    shell: Any = None
    if importlib.util.find_spec("memory_profiler") is not None:
        shell = bench_shell()
        shell.run_line_magic("load_ext", "memory_profiler")
    works: dict[str, Callable[[], object]] = {
        "both idle": lambda: None,
        "both read it": lambda: read_all(objects),
    }
    for words, work in works.items():
        pair = Pair(work)
        said = memit(shell, pair)
        unique, copied = (
            ", ".join(f"{each / (1 << 20):.1f}" for each in figures) + " MiB"
            for figures in (pair.unique, pair.copied)
        )
        print(f"  {words:<14}{said:>16}{unique:>22}{copied:>24}")


def main() -> None:
    """Print readings, arming, and the demonstration."""
    print(f"  mechanism here: {ladder.choose()}")
    one_reading()
    arming()
    demonstration()
