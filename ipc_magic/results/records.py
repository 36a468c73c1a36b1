"""Frozen records: mappings that hash, and the way to JSON-ready values and back."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ipc_magic.errors import IpcMagicError

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class Frozen(Mapping[K, V]):
    """A mapping that cannot change, so that a record that holds it can be hashed.

    It equals any mapping with the same items and keeps their order.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[type[Frozen[K, V]], tuple[dict[K, V]]]:
        return Frozen, (self._items,)


def to_plain(value: object) -> Any:
    """Turn records into dicts, lists, strings and numbers for `json`."""
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(record: type[T], data: object) -> T:
    """Return the record of which `to_plain` made `data`, ignoring unknown keys.

    Raises `IpcMagicError` when a field is missing or `data` is no record.
    """
    if not isinstance(data, Mapping):
        raise IpcMagicError(f"no {record.__name__} can be read from {data!r:.60}")
    hints = get_type_hints(record)
    names = [field.name for field in dataclasses.fields(record)]  # type: ignore[arg-type]
    values = {name: _read(hints[name], data[name]) for name in names if name in data}
    try:
        return record(**values)
    except (TypeError, ValueError) as error:
        raise IpcMagicError(f"no {record.__name__} can be read: {error}") from error


def _read(hint: Any, data: object) -> object:
    if data is None:
        return None
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_plain(hint, data)
    if get_origin(hint) in (Union, types.UnionType):
        hints = [one for one in get_args(hint) if one is not types.NoneType]
        # A union of several records would need a tag; none of ours has one.
        return _read(hints[0], data)
    if get_origin(hint) is tuple and isinstance(data, list):
        return tuple(_read(get_args(hint)[0], item) for item in data)
    return data
