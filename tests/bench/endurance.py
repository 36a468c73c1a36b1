"""Many cells in one kernel: what it holds stays flat, beside a kernel without children.

IPython keeps a part of every cell (its history, its traceback's lines): that part of
the growth is in both columns.
"""

from __future__ import annotations

import os

import psutil

from tests.kernel_driver import Kernel

CELLS = 1_000
READINGS = 5
MIX = {
    "%%inprocess\nprint('text')": "print('text')",
    "%%inprocess -q -o made\nmade = [1, 2, 3]": "made = [1, 2, 3]",
    "%%inprocess --no-raise-error\n1/0": "1/0",
    "%%inprocess -n 2\ndisplay(child_index)": "display(0); display(1)",
    "%inprocess 6 * 7": "6 * 7",
}
"""Each cell, and the same without a child."""


class Side:
    """One kernel and the cells that it runs in turn."""

    def __init__(self, cells: list[str]) -> None:
        self._cells = cells
        self.kernel = Kernel(dict(os.environ))
        self.run(20)  # what is imported and cached at first use is no leak
        self.process = psutil.Process(self.kernel.pid)

    def run(self, number: int) -> None:
        """Run so many cells."""
        for index in range(number):
            cell = self._cells[index % len(self._cells)]
            reply = self.kernel.run(cell)
            assert reply.status == ("error" if cell == "1/0" else "ok"), reply

    def rss_mib(self) -> float:
        """Return what the kernel holds, with no garbage waiting."""
        self.kernel.run("import gc; gc.collect()").ok()
        return float(self.process.memory_info().rss / 2**20)


def main() -> None:
    """Print what both kernels hold as the cells go on, and how fast that grows."""
    sides: list[Side] = []
    try:
        for cells in (list(MIX), list(MIX.values())):
            sides.append(Side(cells))
        print(f"  {'':<32}{'RSS MiB':>22}")
        print(f"  {'cells':>6}{'fds':>6}{'threads':>9}{'children':>10}", end="")
        print(f"{'in children':>13}{'native':>9}")
        rss = []
        for reading in range(READINGS + 1):
            for side in sides if reading else ():
                side.run(CELLS // READINGS)
            rss.append([side.rss_mib() for side in sides])
            held = sides[0].process
            print(
                f"  {CELLS // READINGS * reading:>6}{held.num_fds():>6}"
                f"{held.num_threads():>9}{len(held.children(recursive=True)):>10}"
                f"{rss[-1][0]:>13.1f}{rss[-1][1]:>9.1f}"
            )
        grown = [(b - a) * 1024 / CELLS for a, b in zip(rss[0], rss[-1], strict=True)]
        print(f"  growth, KiB a cell: {grown[0]:.1f} in children, ", end="")
        print(f"{grown[1]:.1f} native")
    finally:
        for side in sides:
            side.kernel.close()
