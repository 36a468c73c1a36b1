"""What a fork of a parked child runs: it sends names to the parent, and ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipc_magic.process import bring, child
from ipc_magic.process.child_side import ChildSide


@dataclass
class Sending:
    """Sends names of a parked child to the parent (a `child.Body`)."""

    names: list[str]
    variables: Mapping[str, Any]
    known: Mapping[str, Any]
    blame: bring.Blame

    def __call__(self, side: ChildSide, _orders: child.Orders) -> dict[str, Any]:
        """Send them; return the plain fields of the outcome."""
        outcome: dict[str, Any] = {"time_code": time.monotonic()}
        there = {n: self.variables[n] for n in self.names if n in self.variables}
        if there:
            bring.send(side, there, self.known, self.blame)
        outcome["time_code_done"] = time.monotonic()
        return outcome
