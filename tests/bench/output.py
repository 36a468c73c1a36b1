"""100,000 printed lines and 3,000 displays, in a child against the same cell here."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests.bench.sides import interleaved, show
from tests.kernel_driver import Kernel

CELLS = {
    "100,000 lines": "for i in range(100_000): print('line', i)",
    "3,000 displays": "for i in range(3_000): display(i)",
}


def main() -> None:
    """Print the seconds from the request to the last message, in one live kernel."""
    kernel = Kernel(dict(os.environ))
    try:
        for name, code in CELLS.items():
            sides = {
                f"{name}, here": _running(kernel, code),
                f"{name}, in a child": _running(kernel, f"%%inprocess -q\n{code}"),
            }
            show(
                interleaved(sides, rounds=5, warm_up=1),
                goals={f"{name}, in a child": 2.0},
            )
    finally:
        kernel.close()


def _running(kernel: Any, code: str) -> Callable[[], object]:
    return lambda: kernel.run(code, timeout=120).ok()
