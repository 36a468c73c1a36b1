"""Our round trips and figures against a Pipe by hand, with time, bytes and memory."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from ipc_magic.pickling import cost
from ipc_magic.pickling.picklers import pickling
from ipc_magic.pickling.round_trip import round_trip

RUNS = 5
MEMORY_GOAL = 5.5
GOALS = {"small": "<= 150 ms", "100 MB": "<= 25 x"}  # with parts and offenders


def _receive(connection: Any) -> None:
    while True:
        begin = time.monotonic()
        received = connection.recv()
        connection.send((begin, time.monotonic()))
        del received


def by_hand(obj: object, runs: int) -> list[float]:
    """Return the seconds of round trips as one writes them by hand, after a first."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_receive, args=(there,), daemon=True)
    process.start()
    seconds = []
    for _ in range(runs + 1):
        begin = time.monotonic()
        here.send(obj)
        here.recv()
        seconds.append(time.monotonic() - begin)
    process.kill()
    process.join()
    here.close()
    there.close()
    return seconds[1:]


def dumps_and_loads(obj: object) -> float:
    """Return the seconds of one dump and one load, the fastest of some."""
    seconds = []
    for _ in range(RUNS):
        begin = time.monotonic()
        pickle.loads(pickle.dumps(obj))
        seconds.append(time.monotonic() - begin)
    return min(seconds)


def peak_pss(work: Callable[[], object]) -> int:
    """Return the most that a fork doing `work`, and its forks, took of memory.

    Their shares are summed (PSS), and this process's own; they are looked at from
    here, as often as possible.
    """
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    peak = 0
    child = psutil.Process(pid)
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        total = _pss(os.getpid())
        try:
            for process in [child, *child.children(recursive=True)]:
                total += _pss(process.pid)
        except psutil.Error:
            pass
        peak = max(peak, total)
    return peak


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0
    return next(
        int(line.split()[1]) * 1024
        for line in text.splitlines()
        if line.startswith("Pss:")
    )


def _whole(obj: object) -> None:
    cost.measure(obj, pickling())
    round_trip("pipe", obj)


def main() -> None:
    """Print each figure beside what it is measured against."""
    import numpy

    objects = {
        "small": {"a": 1, "b": [1, 2, 3]},
        "1 MB": numpy.arange(125_000.0),
        "100 MB": numpy.arange(12_500_000.0),
    }
    print(
        f"  {'round trip by Pipe, min (median)':<34}{'by hand':>20}{'ours':>20}"
        f"{'ratio':>8}   dump + transport + load + reply"
    )
    for name, obj in objects.items():
        runs = 200 if name != "100 MB" else RUNS
        hand = by_hand(obj, runs)
        trip = round_trip("pipe", obj, repeats=runs)
        ours = trip.round_trip_seconds
        phases = (
            trip.dump_seconds,
            trip.transport_seconds,
            trip.load_seconds,
            trip.reply_seconds,
        )
        print(
            f"  {name:<34}{_both(hand):>20}{_both(ours):>20}"
            f"{median(ours) / median(hand):>8.2f}   "
            + " + ".join(f"{each * 1e3:.3f}" for each in phases)
        )
    print("\n  the default figures (cost and pipe) against one dumps + loads")
    for name, obj in objects.items():
        base = dumps_and_loads(obj)
        begin = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                _whole(obj)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        whole = time.monotonic() - begin
        print(
            f"  {name:<10}{whole * 1e3:>10.1f} ms{base * 1e3:>12.4f} ms"
            f"{whole / base:>12.1f}{GOALS.get(name, ''):>12}"
        )
    print("\n  peak memory of all processes (PSS), over the pickled size")
    idle = peak_pss(lambda: time.sleep(0.2)) - objects["100 MB"].nbytes
    size = objects["100 MB"].nbytes
    for name, work in {
        "cost": lambda: cost.measure(objects["100 MB"], pickling()),
        "pipe": lambda: round_trip("pipe", objects["100 MB"]),
        "both": lambda: _whole(objects["100 MB"]),
    }.items():
        peak = peak_pss(work) - idle
        print(f"  {name:<10}{peak / size:>6.2f}   goal: <= {MEMORY_GOAL}")


def _both(seconds: Any) -> str:
    return f"{min(seconds) * 1e3:.3f} ({median(seconds) * 1e3:.3f}) ms"
