"""`ipc_magic.pickle_cost(obj)`: the measurement as a plain function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ipc_magic.experiments.fronts import TerminalFront
from ipc_magic.experiments.pickle_cost import measure
from ipc_magic.experiments.pickle_cost_options import Options
from ipc_magic.results.base import remember
from ipc_magic.results.pickle_cost import PickleCost


def pickle_cost(
    obj: object, expression: str, *, via: str | Iterable[str], **options: Any
) -> PickleCost:
    """Measure `obj` in forks of this process; see `ipc_magic.pickle_cost`."""
    names = via.split(",") if isinstance(via, str) else via
    chosen = Options(via=tuple(name.strip() for name in names), **options)
    result, interrupted = measure(
        obj, expression, chosen, TerminalFront(), from_magic=False
    )
    remember(result)
    if interrupted:
        error = KeyboardInterrupt()
        vars(error)["report"] = result
        raise error
    return result
