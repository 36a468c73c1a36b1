"""Which variables a cell created or rebound, told by their identity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_OF_IPYTHON = re.compile(
    r"_{1,3}|_i{1,3}|_i?\d+|_[iod]h|_exit_code|In|Out|exit|quit|child_index"
)


def identities(variables: Mapping[str, Any]) -> dict[str, int]:
    """Return the identity of each variable: no object lives longer for it."""
    return {name: id(value) for name, value in variables.items()}


def find(shell: Any, before: Mapping[str, int]) -> dict[str, list[str]]:
    """Return what differs between the variables and those of `before`, by kind."""
    found: dict[str, list[str]] = {
        kind: [] for kind in ("created", "rebound", "mutated", "deleted", "unchecked")
    }
    hidden = getattr(shell, "user_ns_hidden", {})
    for name, value in shell.user_ns.items():
        if _OF_IPYTHON.fullmatch(name) or hidden.get(name) is value:
            continue
        if name not in before:
            found["created"].append(name)
        elif before[name] != id(value):
            found["rebound"].append(name)
    found["deleted"] = [name for name in before if name not in shell.user_ns]
    return found
