"""What only a fresh interpreter cannot load: names of modules that it cannot import."""

from __future__ import annotations

import sys
import types
from typing import Any

from ipc_magic.pickling import paths


def is_only_here(obj: object) -> bool:
    """Say whether a function or class lives in a module that cannot be imported.

    Such are a notebook's `__main__` and modules made by hand. A script's `__main__`
    is none: a spawned child runs the file again, under another name.
    """
    name = module_of(obj)
    module = None if name is None else sys.modules.get(name)
    if type(module) is not types.ModuleType:
        return False  # not imported yet, or an object in its place: anything goes
    names = vars(module)
    if name == "__main__":
        return names.get("__file__") is None and names.get("__spec__") is None
    return names.get("__spec__") is None


def module_of(obj: Any) -> str | None:
    """Return the name of the module that a function or class says it lives in."""
    if issubclass(type(obj), type):
        name = paths.namespace(obj).get("__module__")
    else:
        name = getattr(obj, "__module__", None)
    return name if type(name) is str else None


def reason(obj: object) -> str:
    """Say why a fresh interpreter cannot load it."""
    return f"pickled as a name of {module_of(obj)}, which a spawned child cannot import"
