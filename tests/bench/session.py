"""What a GiB of session adds to a cell in a child, against a bare fork and wait."""

from __future__ import annotations

import contextlib
import io
import mmap
import os
from collections.abc import Callable
from statistics import median
from typing import Any

from tests.bench.sides import bench_shell, interleaved

GIB = 1 << 30
BALLAST_GIB = 2


def fork_and_wait() -> None:
    """Fork a child that ends at once, and wait for it."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def ballast() -> mmap.mmap:
    """Return memory in small pages, each written: the worst session to fork."""
    memory = mmap.mmap(-1, BALLAST_GIB * GIB, flags=mmap.MAP_PRIVATE)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for start in range(0, len(memory), mmap.PAGESIZE):
        memory[start] = 1
    return memory


def main() -> None:
    """Print what each side takes without and with the ballast, and the growth."""
    shell: Any = bench_shell()

    def cell(options: str) -> Callable[[], None]:
        def run() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                shell.run_cell(f"%%inprocess {options}\npass")

        return run

    sides = {
        "os.fork + waitpid": fork_and_wait,
        "%%inprocess -q": cell("-q"),
        "with all readings": cell(""),
    }
    goals = {"%%inprocess -q": 1.2, "with all readings": 1.8}
    small = interleaved(sides, rounds=40)
    memory = ballast()
    large = interleaved(sides, rounds=40)
    memory.close()
    growth = {
        name: (median(large[name]) - median(small[name])) / BALLAST_GIB
        for name in sides
    }
    base = growth["os.fork + waitpid"]
    print(
        f"  {'':<20}{'small':>12}{f'+{BALLAST_GIB} GiB':>12}{'per GiB':>12}"
        f"{'ratio':>8}{'goal':>8}"
    )
    for name in sides:
        goal = f"<= {goals[name]}" if name in goals else ""
        print(
            f"  {name:<20}{median(small[name]) * 1e3:>9.2f} ms"
            f"{median(large[name]) * 1e3:>9.2f} ms{growth[name] * 1e3:>9.2f} ms"
            f"{growth[name] / base:>8.2f}{goal:>8}"
        )
