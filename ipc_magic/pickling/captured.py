"""A function or class on its way: as a name, or by value with all it holds."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ipc_magic.pickling import children, functions, paths, picklers, sifting
from ipc_magic.pickling.counting import Counting
from ipc_magic.pickling.picklers import Pickling
from ipc_magic.pickling.positions import Positions, positions
from ipc_magic.pickling.reductions import ATOMS

# PROTO with its argument, and STOP: they belong to no object.
_ENDS_BYTES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Captured:
    """Something that goes along with a function or class that is sent by value."""

    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """What is sent for a function, a class or a bound method."""

    by_name_bytes: int | None
    """Size of what `pickle` makes, `None` if it cannot: a name, which is looked up."""
    spawned_has_it: bool
    """Whether a fresh interpreter can look that name up; a forked child always can."""
    self_bytes: int | None
    """Of these, the object that a bound method is bound to; `None` without one."""
    by_value_bytes: int | None
    """Size of what cloudpickle makes; `None` if it sends a name too, or cannot."""
    captured: tuple[Captured, ...]
    """What these bytes hold besides the code, the largest first."""
    rest_bytes: int | None
    """Size of the code and the rest; with `captured` it sums to `by_value_bytes`."""


def measure(obj: Any) -> Crossing | None:
    """Return what is sent for `obj`; `None` if it is no function, class or method.

    Runs code of the classes of what it holds. Sizes are those of each package's usual
    protocol.
    """
    if not _is_code(obj):
        return None
    name = _by_name(obj)
    where = _positions(obj, picklers.pickling("cloudpickle"))
    if where is None or _has_names_only(where, _code_of(obj)):
        rows: list[Captured] = []
        rest: int | None = None
        total: int | None = None
    else:
        rows, rest = _rows(obj, where)
        total = where.total_bytes
    return Crossing(
        by_name_bytes=name.size,
        spawned_has_it=name.spawned_has_it,
        self_bytes=name.self_bytes,
        by_value_bytes=total,
        captured=tuple(sorted(rows, key=lambda row: -row.bytes)),
        rest_bytes=rest,
    )


def _is_code(obj: Any) -> bool:
    kind = type(obj)
    return issubclass(kind, (type, types.FunctionType, types.MethodType))


def _code_of(obj: Any) -> Any:
    return obj.__func__ if type(obj) is types.MethodType else obj


class _ByName(NamedTuple):
    size: int | None
    spawned_has_it: bool
    self_bytes: int | None


def _by_name(obj: Any) -> _ByName:
    pickling = picklers.pickling("pickle")
    met = sifting.Sieve(pickling, Counting())
    met.dump(obj)
    where = None if met.offences else _positions(obj, pickling)
    if where is None:
        return _ByName(None, False, None)
    self_bytes = None
    if type(obj) is types.MethodType:
        self_bytes = _bytes_of(where, _first(where, obj.__self__))
    return _ByName(where.total_bytes, not met.only_here, self_bytes)


def _positions(obj: object, pickling: Pickling) -> Positions | None:
    try:
        return positions(obj, pickling)
    except Exception:  # noqa: BLE001  what cannot be pickled is told elsewhere
        return None


def _has_names_only(where: Positions, code: object) -> bool:
    """Say whether a function or class is in there as two names."""
    number = _first(where, code)
    if number is None:
        return True
    inside = where.objects[number + 1 : where.stop(number)]
    return all(type(each) is str for each in inside)


def _rows(obj: Any, where: Positions) -> tuple[list[Captured], int]:
    """Return what goes along, and the size of all the rest.

    What is held by something that is held counts for the inner one.
    """
    import numpy as np

    names: dict[int, str] = {}
    for name, value in _held(obj):
        number = _saved_under(where, name, value)
        if number is not None:
            names.setdefault(number, name)
    row_of = np.zeros(len(where.objects), np.int64)
    numbers = sorted(names)  # the outer ones first
    for row, number in enumerate(numbers, 1):
        row_of[number : where.stop(number)] = row
    rest, *sizes = (
        int(where.own_bytes[row_of == row].sum()) for row in range(len(numbers) + 1)
    )
    rows = [
        Captured(name=names[number], bytes=size)
        for number, size in zip(numbers, sizes, strict=True)
    ]
    return rows, rest + _ENDS_BYTES


def _held(obj: Any) -> Iterator[tuple[str, object]]:
    """Yield the name of each thing that code holds, and that code among it holds."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", obj)]
    while waiting:
        name, value = waiting.pop(0)
        if name:
            yield name, value
        if id(value) in seen:
            continue
        seen.add(id(value))
        kind = type(value)
        if kind is types.MethodType:
            waiting += [("self", value.__self__), ("", value.__func__)]
            waiting.append(("", type(value.__self__)))
        elif kind is types.FunctionType:
            waiting += [(held, each) for held, _, each in functions.captured(value)]
        elif issubclass(kind, type):
            waiting += _of_class(value)


def _of_class(cls: type) -> Iterator[tuple[str, object]]:
    for name, value in paths.namespace(cls).items():
        inner = [children.kept(value, each) for each in ("__func__", "fget", "fset")]
        code = [each for each in (value, *inner) if type(each) is types.FunctionType]
        yield from (("", each) for each in code)
        if not code and not name.startswith("__"):
            yield f".{name}", value


def _saved_under(where: Positions, name: str, value: object) -> int | None:
    """Return the number of a value that was saved after its name, or the first one."""
    found = [number for number, each in enumerate(where.objects) if each is value]
    for number in found:
        before = where.objects[number - 1]
        if type(before) is str and before == name.strip(".="):
            return number
    if id(type(value)) in ATOMS and type(value) not in (str, bytes, bytearray):
        return None  # one number may stand for many
    return found[0] if found else None


def _first(where: Positions, obj: object) -> int | None:
    return next((n for n, each in enumerate(where.objects) if each is obj), None)


def _bytes_of(where: Positions, number: int | None) -> int | None:
    import numpy as np

    return None if number is None else int(where.bytes_of(np.array([number]))[0])
