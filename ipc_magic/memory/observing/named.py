"""Functions of modules by their names, as one process tells another of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function of a module, as in "package.module:function"."""
    return f"{function.__module__}:{function.__qualname__}"


def found(name: str) -> Callable[..., Any]:
    """Return the function of that name."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
