"""Where the bytes of a pickle are, by path and by type, against plain dumps."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from ipc_magic.pickling.breakdown import breakdown, types
from ipc_magic.pickling.picklers import pickling
from tests.bench.sides import interleaved, show


class Point:
    """An object with attributes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = str(number)


def object_of_many_nodes(rows: int = 100_000) -> Any:
    """Return an object for which pickle saves some 1.2 million objects."""
    return {
        "rows": [{"id": n, "name": f"n{n}", "xy": (n * 0.5, n)} for n in range(rows)],
        "index": {str(n): n for n in range(rows)},
        "points": [Point(n) for n in range(rows // 10)],
    }


def main() -> None:
    """Print the times and ratios, and whether the sums are those of the pickle."""
    obj = object_of_many_nodes()
    way = pickling()
    data = pickle.dumps(obj, way.protocol)
    found = breakdown(obj, "obj", way)
    parts = sum(part.bytes for part in found.parts if part.depth == 1)
    by_type = sum(row.bytes for row in found.types)
    print(f"  {len(data):,} bytes; parts sum to {parts:,}, types to {by_type:,}")
    sides: dict[str, Callable[[], object]] = {
        "pickle.dumps": lambda: pickle.dumps(obj, way.protocol),
        "table by type": lambda: types(obj, way),
        "tree to 1 % and table by type": lambda: breakdown(obj, "obj", way),
    }
    goals = {"table by type": 4.0, "tree to 1 % and table by type": 6.0}
    show(interleaved(sides, rounds=9), goals=goals)


if __name__ == "__main__":
    main()
