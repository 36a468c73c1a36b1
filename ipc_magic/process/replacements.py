"""Attributes that a child will replace, all worked out by the parent before the fork.

What a child looks up, makes and calls lies on pages that it must copy first. So the
parent does all of it, and the child only updates dicts.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import MutableMapping
from typing import Any


class Replacements:
    """What is to stand where in the child; the parent's objects stay as they are."""

    def __init__(self) -> None:
        self._items: dict[int, tuple[MutableMapping[Any, Any], dict[Any, Any]]] = {}
        self._attributes: list[tuple[Any, str, Any]] = []

    def put(self, owner: Any, name: str, value: Any) -> None:
        """Have the attribute `name` of `owner` be `value` in the child.

        Nobody who observes a trait is told: its observers are the parent's. What an
        object does not let be replaced stays.
        """
        holder = _dict_behind(owner, name)
        if holder is None:
            self._attributes.append((owner, name, value))
        else:
            self.put_item(holder, name, value)

    def put_item(self, holder: MutableMapping[Any, Any], key: Any, value: Any) -> None:
        """Have `holder[key]` be `value` in the child."""
        self._items.setdefault(id(holder), (holder, {}))[1][key] = value

    def make(self) -> None:
        """Replace them: this is the child."""
        for holder, items in self._items.values():
            holder.update(items)
        for owner, name, value in self._attributes:
            try:
                setattr(owner, name, value)
            except (AttributeError, TypeError):
                continue


def _dict_behind(owner: Any, name: str) -> dict[str, Any] | None:
    """Return the dict whose entry is the attribute, `None` if it is kept elsewhere."""
    kind: Any = type(owner)
    place = _place(kind, name)
    own: dict[str, Any] | None = getattr(owner, "__dict__", None) if place else None
    return own.get("_trait_values") if own and place == "traits" else own


@functools.lru_cache(maxsize=256)
def _place(kind: type, name: str) -> str | None:
    """Return where objects of a class keep an attribute; `None`: it is hidden."""
    descriptor = getattr(kind, name, None)
    if not hasattr(type(descriptor), "__set__"):
        return "dict"
    traitlets = sys.modules.get("traitlets")
    return (
        "traits" if traitlets and isinstance(descriptor, traitlets.TraitType) else None
    )
