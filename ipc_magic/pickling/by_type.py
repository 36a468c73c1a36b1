"""A pickle's bytes by the types of the objects that wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ipc_magic.pickling import describe, headers
from ipc_magic.pickling.positions import Positions
from ipc_magic.pickling.reading import blocks

# Addresses times this differ in their first bits: 2 ** 64 over the golden ratio.
_MIX = 0x9E3779B97F4A7C15
# One object, in sums that count objects above the bytes that these wrote.
_ONE = 1 << 33


@dataclass(frozen=True, kw_only=True, slots=True)
class TypeRow:
    """What the objects of one type wrote themselves, references to them included."""

    type: str
    count: int
    """How many objects were written; one that is met again counts once."""
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Kinds:
    """The types of the objects of a pickle, and which were made for it alone."""

    addresses: Any
    types: Any
    """The address of each object's type."""
    made: Any
    """The numbers of objects that exist for this pickle only."""
    owner: Any
    """For each of these, the number of the object that made it."""
    is_made: Any
    is_reference: Any
    """Say of each object whether it is one of these, and whether it was met before."""


def kinds(positions: Positions) -> Kinds:
    """Return the types of objects, and what `__reduce_ex__` made of them.

    Nobody but our list holds what was made; what is in it is held once more. The
    pickler, which holds all, must be gone.
    """
    import numpy as np

    at = headers.addresses(positions.objects)
    seen = headers.Headers(positions.objects, at)
    types, made = seen.types_and_held(1)
    made = made[made > 0]
    inside = seen.held(2) if len(made) else made
    while len(inside):
        more = np.isin(positions.parent[inside], made)
        if not more.any():
            break
        made = np.union1d(made, inside[more])
        inside = inside[~more]
    owner = positions.parent[made]
    while (deeper := np.isin(owner, made)).any():
        owner[deeper] = positions.parent[owner[deeper]]
    is_made = np.zeros(len(at), bool)
    is_made[made] = True
    return Kinds(
        addresses=at,
        types=types,
        made=made,
        owner=owner,
        is_made=is_made,
        is_reference=positions.is_reference(),
    )


def rows(positions: Positions, found: Kinds) -> tuple[TypeRow, ...]:
    """Return a row for each type, the largest first; they sum to the whole pickle.

    An object writes its opcodes, contents and the ends of what it holds; the objects
    in it write for themselves. What exists for this pickle only, such as the state
    that an array makes of itself, counts as the object that made it. PROTO and STOP
    count as the whole pickle's object.
    """
    types = found.types
    if len(found.made):
        types = types.copy()
        types[found.made] = found.types[found.owner]
    own = positions.own_bytes
    total = _Totals()
    for here in blocks(len(types)):
        written = ~(found.is_reference[here] | found.is_made[here])
        total.add(types[here], written, own[here], here.start)
    total.rows[int(types[0])][1] += positions.total_bytes - int(own.sum())
    named = _named(positions, found, total.rows)
    return tuple(sorted(named, key=lambda row: (-row.bytes, row.type)))


class _Totals:
    """Count and bytes of each type, and the number of the first object of it."""

    def __init__(self) -> None:
        self.rows: dict[int, list[int]] = {}
        self._known: list[int] = []
        self._bits = 12
        self._arrange()

    def add(self, types: Any, written: Any, own: Any, n: int) -> None:
        """Add what some objects wrote; `n` is the number of the first of them."""
        import numpy as np

        group = self._groups(types)
        new = np.flatnonzero(self._addresses.take(group) != types)
        if len(new):
            for place in new[headers.first_of_each(types[new])].tolist():
                kind = int(types[place])
                self.rows[kind] = [0, 0, n + place]
                self._known.append(kind)
            self._arrange()
            group = self._groups(types)
        # Sums of floats, exact below 2 ** 53: in a block there are few objects.
        if int(own.sum()) < _ONE:
            both = np.bincount(group, own + written * float(_ONE), len(self._known))
            counts, sizes = np.divmod(both.astype(np.int64), _ONE)
        else:
            counts = np.bincount(group, written, len(self._known))
            sizes = np.bincount(group, own, len(self._known))
        for place, kind in enumerate(self._known):
            row = self.rows[kind]
            row[0] += int(counts[place])
            row[1] += int(sizes[place])

    def _groups(self, types: Any) -> Any:
        return self._table.take(self._slots(types))

    def _slots(self, types: Any) -> Any:
        """Return a number of few bits for each address, as multiplying mixes it."""
        import numpy as np

        mixed = types.astype(np.uint64) * np.uint64(_MIX)
        return (mixed >> np.uint64(64 - self._bits)).astype(np.intp)

    def _arrange(self) -> None:
        """Give each known type a slot of its own in the table of places."""
        import numpy as np

        self._addresses = np.array(self._known or [0], np.uintp)
        slots = self._slots(self._addresses)
        while len(np.unique(slots)) < len(slots):
            self._bits += 1
            slots = self._slots(self._addresses)
        self._table = np.zeros(1 << self._bits, np.intp)
        self._table[slots] = np.arange(len(slots))


def _named(
    positions: Positions, found: Kinds, total: dict[int, list[int]]
) -> list[TypeRow]:
    owners = dict(zip(found.made.tolist(), found.owner.tolist(), strict=True))
    return [
        TypeRow(
            type=describe.type_name(type(positions.objects[owners.get(n, n)])),
            count=count,
            bytes=size,
        )
        for count, size, n in total.values()
    ]
