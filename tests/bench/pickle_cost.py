"""The whole default %pickle_cost: time and memory, against one dumps and loads."""

from __future__ import annotations

import gc
import pickle
import time
from statistics import median
from typing import Any

import ipc_magic
from tests.bench.round_trips import peak_pss

ROUNDS = 7
SMALL_GOAL_SECONDS = 0.150
LARGE_GOAL = 25
MEMORY_GOAL = 5.5


class Node:
    """One of many in a model."""

    def __init__(self, number: int) -> None:
        self.number, self.name, self.next = number, f"node {number}", None


def objects() -> dict[str, Any]:
    """Return what is measured, by name."""
    import numpy

    return {
        "small": {"a": 1, "b": [1, 2, 3]},
        "1 MB array": numpy.arange(125_000.0),
        "100 MB array": numpy.arange(12_500_000.0),
        "300,000 objects": [Node(number) for number in range(100_000)],
    }


def seconds_of(work: Any) -> float:
    """Return how long `work` takes."""
    gc.collect()
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def main() -> None:
    """Print times and memory beside their goals."""
    made = objects()
    ipc_magic.pickle_cost(made["small"])  # imports what is needed
    print(f"  {'median (min)':<18}{'dumps + loads':>22}{'ours':>22}{'ratio':>8}  goal")
    for name, obj in made.items():
        base, ours = [], []
        for _ in range(3 if len(pickle.dumps(obj)) > 1 << 20 else ROUNDS):
            base.append(seconds_of(lambda obj=obj: pickle.loads(pickle.dumps(obj))))
            ours.append(seconds_of(lambda obj=obj: ipc_magic.pickle_cost(obj)))
        goal = {
            "small": f"<= {SMALL_GOAL_SECONDS * 1e3:.0f} ms",
            "100 MB array": f"<= {LARGE_GOAL} x",
        }.get(name, "")
        ratio = median(ours) / median(base)
        print(f"  {name:<18}{_both(base):>22}{_both(ours):>22}{ratio:>8.1f}  {goal}")
    obj = made["100 MB array"]
    size = len(pickle.dumps(obj))
    # What this process holds besides, the object counted.
    idle = peak_pss(lambda: time.sleep(0.2)) - obj.nbytes
    peak = peak_pss(lambda: ipc_magic.pickle_cost(obj)) - idle
    print(
        f"\n  peak memory of all processes (PSS), the object included: "
        f"{peak / size:.2f} x the pickled size, goal <= {MEMORY_GOAL}"
    )


def _both(seconds: list[float]) -> str:
    return f"{median(seconds) * 1e3:.3f} ({min(seconds) * 1e3:.3f}) ms"
