"""Running things side by side: interleaved in one run, medians and ratios."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median


def interleaved(
    sides: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 2,
    before: Callable[[], object] = gc.collect,
) -> dict[str, list[float]]:
    """Return the seconds of each side, one turn of each in every round.

    Every other round goes backwards: what a side leaves behind, cold caches for one,
    is not always met by the same other. `before` comes before each turn, untimed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warm_up + rounds):
        for name, run in list(sides.items())[:: -1 if turn % 2 else 1]:
            before()
            begin = time.perf_counter()
            run()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def show(
    seconds: Mapping[str, list[float]], *, goals: Mapping[str, float] | None = None
) -> None:
    """Print medians, minima, and ratios to the first side, with goals if there are."""
    base = median(next(iter(seconds.values())))
    print(f"  {'':<34}{'median':>10}{'min':>10}{'ratio':>8}{'goal':>8}")
    for name, runs in seconds.items():
        middle = median(runs)
        goal = (goals or {}).get(name)
        print(
            f"  {name:<34}{middle * 1e3:>7.2f} ms{min(runs) * 1e3:>7.2f} ms"
            f"{middle / base:>8.2f}{'' if goal is None else f'<= {goal}':>8}"
        )


def bench_shell() -> object:
    """Return a fresh terminal-less IPython shell with the extension loaded."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    shell = InteractiveShell.instance(config=config)
    shell.run_line_magic("load_ext", "ipc_magic")
    return shell
