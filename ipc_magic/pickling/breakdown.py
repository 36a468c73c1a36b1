"""Where the bytes of a pickle are: by path and by type, from one pass."""

from __future__ import annotations

from dataclasses import dataclass

from ipc_magic.pickling import by_type, tree
from ipc_magic.pickling.by_type import TypeRow
from ipc_magic.pickling.picklers import Pickling
from ipc_magic.pickling.positions import positions
from ipc_magic.pickling.recording import undisturbed
from ipc_magic.pickling.tree import Limits, Part

DEPTH, WIDTH, AT_LEAST = 5, 10, 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Breakdown:
    """The bytes of one pickle, told apart twice."""

    total_bytes: int
    """As many as `dumps` returns."""
    parts: tuple[Part, ...]
    types: tuple[TypeRow, ...]


def breakdown(
    obj: object,
    expression: str,
    pickling: Pickling,
    *,
    depth: int = DEPTH,
    width: int = WIDTH,
    at_least: float = AT_LEAST,
) -> Breakdown:
    """Return where the bytes of the pickle of `obj` are.

    Parts get a row if they are `at_least` of the whole, `width` of them below one
    part, down to `depth`. Pickling runs once, with what code of the user's classes it
    calls; its errors are raised as they are.
    """
    with undisturbed():
        where = positions(obj, pickling)
        kinds = by_type.kinds(where)
        limits = Limits(depth, width, at_least * where.total_bytes)
        return Breakdown(
            total_bytes=where.total_bytes,
            parts=tree.parts(
                where, kinds, expression, protocol=pickling.protocol, limits=limits
            ),
            types=by_type.rows(where, kinds),
        )


def types(obj: object, pickling: Pickling) -> tuple[TypeRow, ...]:
    """Return the table by type alone, which takes a little less."""
    with undisturbed():
        where = positions(obj, pickling)
        return by_type.rows(where, by_type.kinds(where))
