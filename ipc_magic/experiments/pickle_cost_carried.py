"""An object on its way as the bytes of another pickler, as people send it by hand.

Its module is imported where the object is loaded: it imports nothing of ours.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


class Carried:
    """Pickles as what `dumps` makes of an object, and loads as that object."""

    def __init__(
        self, obj: object, package: str, dumps: Callable[[Any], bytes]
    ) -> None:
        self._obj, self._package, self._dumps = obj, package, dumps

    def __reduce__(self) -> tuple[Any, ...]:
        return loads, (self._package, self._dumps(self._obj))


def loads(package: str, data: bytes) -> Any:
    """Return what the `loads` of a package makes of `data`."""
    return importlib.import_module(package).loads(data)
