"""All offenders among a million nodes, with paths, against plain `pickle.dumps`."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

from ipc_magic.pickling import offenders, picklers
from tests.bench.sides import interleaved, show

NODES = 1_000_000


class Node:
    """An object as most are: saved as its `__dict__`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"n{number}"
        self.pair = (number, str(number))


def shapes() -> dict[str, Any]:
    """Return objects of about a million nodes, each of another shape."""
    return {
        "dicts as rows": [
            {"id": n, "name": f"n{n}", "x": n * 0.5, "tags": ["a", str(n)]}
            for n in range(NODES // 11)
        ],
        "tuples": [(n, f"n{n}") for n in range(NODES // 3)],
        "objects": [Node(n) for n in range(NODES // 10)],
        "one dict": {f"k{n}": n for n in range(NODES // 2)},
        "lists in a dict": {f"k{n}": [n, n + 1, n + 2] for n in range(NODES // 5)},
        "one list of numbers": list(range(NODES)),
        "one dict of numbers": {n: n * 0.5 for n in range(NODES // 2)},
        "long lists of numbers": [list(range(1000)) for _ in range(NODES // 1000)],
    }


def with_offenders(clean: Any) -> Any:
    """Return the object with two offenders: one near by, one as far as can be."""
    lock = threading.Lock()
    if isinstance(clean, dict):
        return {"clean": {**clean, "last": [lambda: 0]}, "more": [1, {"lock": lock}]}
    *all_but_last, last = clean
    if isinstance(last, (tuple, list)):
        last = type(last)([*last, lambda: 0])
    elif isinstance(last, dict):
        last = {**last, "bad": lambda: 0}
    else:
        last = Node(-1)
        last.bad = lambda: 0
    return {"clean": [*all_but_last, last], "more": [1, {"lock": lock}]}


def main() -> None:
    """Print the times and ratios."""
    pickling = picklers.pickling("pickle")
    for name, clean in shapes().items():
        bad = with_offenders(clean)
        found = offenders.find(bad, "obj", pickling).offenders
        assert len(found) == 2, found
        print(f"  {name}: {', '.join(each.path for each in found)}")
        sides: dict[str, Callable[[], object]] = {
            "pickle.dumps of the clean object": lambda clean=clean: pickle.dumps(clean),
            "offenders.find": lambda bad=bad: offenders.find(bad, "obj", pickling),
        }
        show(interleaved(sides, rounds=5, warm_up=1), goals={"offenders.find": 6})
