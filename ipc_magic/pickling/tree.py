"""A pickle's bytes by path: a tree of parts, the largest first.

The bytes of a part are those from the begin of its object in the pickle to its end.
What was met before is only named there, in 2 to 5 bytes; the part says where it was
met first. Below an object come its large parts, one row for all the rest of them,
and one for what the object writes itself; these sum to the object, to the byte.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ipc_magic.pickling import below, children, headers, paths
from ipc_magic.pickling.below import Below
from ipc_magic.pickling.by_type import Kinds
from ipc_magic.pickling.describe import describe
from ipc_magic.pickling.paths import Step
from ipc_magic.pickling.positions import Positions


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One row of the tree; the rows below it follow it, one deeper."""

    path: str
    """The path to the object; of a row of the rest or itself, of the one above."""
    type: str
    """What it is, in words."""
    bytes: int
    depth: int
    shared_from: str | None = None
    """Where the object was met first, if that was before; its bytes count there.

    The path of what it was in where it has none there: it was no part of that.
    """
    row: Literal["part", "rest", "itself"] = "part"
    count: int = 1
    """How many objects the row stands for."""


class Limits(NamedTuple):
    """How far the tree goes."""

    depth: int
    width: int
    at_least_bytes: float


def parts(
    positions: Positions,
    found: Kinds,
    expression: str,
    *,
    protocol: int,
    limits: Limits,
) -> tuple[Part, ...]:
    """Return the tree's rows: those of depth 1 sum to the whole pickle."""
    tree = _Tree(positions, found, protocol, limits, paths.root(expression))
    return tuple(tree.rows(0, tree.root, 1))


class _Tree:
    def __init__(
        self,
        positions: Positions,
        found: Kinds,
        protocol: int,
        limits: Limits,
        root: str,
    ) -> None:
        import numpy as np

        self._positions = positions
        self._protocol = protocol
        self._limits = limits
        self._found = found
        self._is_made = found.is_made
        self._is_reference = found.is_reference
        self.root = root
        self._paths = {0: root}
        self._below: dict[int, Below] = {}
        # The objects that are worth a row wherever they are met.
        self._large = positions.large(limits.at_least_bytes)
        self._large = self._large[~self._is_reference[self._large]]
        self._is_large = np.zeros(len(positions.objects), bool)
        self._is_large[self._large] = True
        order = np.argsort(found.addresses[self._large], kind="stable")
        self._large = self._large[order]
        self._large_at = found.addresses[self._large]
        self._is_way = np.zeros(len(positions.objects), bool)
        self._is_way[list(self._ways_to_names())] = True

    def _ways_to_names(self) -> set[int]:
        """Return the objects below which a large one, met before, is named.

        Not where an object names one that it is in itself: that is a mere cycle.
        """
        import numpy as np

        where = self._positions
        found: set[int] = set()
        if not len(self._large):
            return found
        numbers = np.flatnonzero(self._is_reference)
        at = self._found.addresses[numbers]
        place = np.searchsorted(self._large_at, at).clip(max=len(self._large) - 1)
        known = self._large_at[place] == at
        numbers, first = numbers[known], self._large[place[known]]
        outside = where.start[numbers] >= where.end[first]
        numbers, first = numbers[outside], first[outside]
        for one in np.unique(first):
            for name in numbers[first == one][: self._limits.width].tolist():
                number = name
                while number and number not in found:
                    found.add(number)
                    number = int(where.parent[number])
        return found

    def rows(self, number: int, path: str, depth: int) -> Iterator[Part]:
        """Yield the rows below an object, each followed by those below it."""
        import numpy as np

        here = self._of(number)
        named = np.concatenate([here.parts, here.keys])
        chosen = self._chosen(named)
        found = self._named(number, here, chosen)
        rows: list[tuple[Part, int]] = []
        for one, path_of_one in found.items():
            self._paths.setdefault(one, path_of_one)
        for one, path_of_one in found.items():
            rows.append((self._part(one, path_of_one, depth), one))
        for some, what in ((here.parts, "more"), (here.keys, "keys")):
            left = some[~np.isin(some, list(found))]
            if len(left):
                rows.append((self._rest(left, what, number, path, depth), -1))
        rows.append((self._itself(number, here, path, depth), -1))
        rows.sort(key=lambda row: (-row[0].bytes, row[0].row != "part"))
        for part, one in rows:
            yield part
            if one >= 0 and depth < self._limits.depth and not part.shared_from:
                yield from self._rows_if_any(one, part)

    def _rows_if_any(self, number: int, part: Part) -> Iterator[Part]:
        import numpy as np

        here = self._of(number)
        if len(self._chosen(np.concatenate([here.parts, here.keys]))):
            yield from self.rows(number, part.path, part.depth + 1)

    def _of(self, number: int) -> Below:
        """Return what is below an object, without what was made for the pickle."""
        import numpy as np

        if number not in self._below:
            found = below.below(self._positions, self._found, number, self._protocol)
            made = found.parts[self._is_made[found.parts]]
            gone = [n for n in made.tolist() if not self._holds_others(n)]
            self._below[number] = found._replace(
                parts=found.parts[~np.isin(found.parts, gone)],
                whole=np.concatenate([found.whole, np.array(gone, np.int64)]),
            )
        return self._below[number]

    def _holds_others(self, number: int) -> bool:
        inside = slice(number, self._positions.stop(number))
        return bool((self._is_large[inside] & ~self._is_made[inside]).any())

    def _chosen(self, numbers: Any) -> Any:
        """Return those that get rows: the largest, and what leads to large ones."""
        import numpy as np

        width = self._limits.width
        large = numbers[self._is_large[numbers]]
        sizes = self._positions.bytes_of(large)
        large = large[np.argsort(-sizes, kind="stable")[:width]]
        known = np.sort(numbers[self._is_way[numbers]])
        known = known[~np.isin(known, large)]
        return np.concatenate([large, known[:width]])

    def _part(self, number: int, path: str, depth: int) -> Part:
        first = self._met_first(number)
        there = number if first is None else first
        return Part(
            path=path,
            type=describe(self._positions.objects[number], self._kinds_in(there)),
            bytes=int(self._positions.bytes_of(number)),
            depth=depth,
            shared_from=None if first is None else self._path_of(first),
        )

    def _kinds_in(self, number: int) -> Iterable[type] | None:
        """Return the types of all items of a container, each once if of one kind."""
        if type(self._positions.objects[number]) not in (dict, list, tuple):
            return None
        here = self._of(number)
        if here.reduced is not None or not len(here.parts):
            return None
        if len(here.keys):
            some = [self._kinds_of(here.keys), self._kinds_of(here.parts)]
            size = max(map(len, some))
            both = ([kinds[n % len(kinds)] for n in range(size)] for kinds in some)
            return [kind for pair in zip(*both, strict=True) for kind in pair]
        return self._kinds_of(here.parts)

    def _kinds_of(self, numbers: Any) -> list[type]:
        first = headers.first_of_each(self._found.types[numbers])
        return [type(self._positions.objects[numbers[n]]) for n in first]

    def _met_first(self, number: int) -> int | None:
        """Return where a large object was met before; `None` if it was not."""
        import numpy as np

        if not self._is_reference[number]:
            return None
        at = np.searchsorted(self._large_at, self._found.addresses[number])
        if at == len(self._large) or (
            self._large_at[at] != self._found.addresses[number]
        ):
            return None
        return int(self._large[at])

    def _path_of(self, number: int) -> str:
        """Return the path to where an object was met first, or to what holds it."""
        import numpy as np

        here = 0
        path = self.root
        while here != number:
            if number in self._paths:
                return self._paths[number]
            inside = self._of(here)
            some = np.sort(np.concatenate([inside.parts, inside.keys]))
            place = int(np.searchsorted(some, number, "right")) - 1
            one = int(some[place]) if place >= 0 else -1
            if one < 0 or self._positions.stop(one) <= number:
                return path  # it is in what was looked through
            path = self._named(here, inside, np.array([one])).get(one, path)
            here = one
        return path

    def _named(self, number: int, here: Below, chosen: Any) -> dict[int, str]:
        """Return the paths of some objects below one, as far as there are any."""
        import numpy as np

        positions = self._positions
        objects = positions.objects
        wanted = {id(objects[n]) for n in chosen.tolist()}
        # The same object may be there many times: they come in the same order.
        all_of = np.concatenate([here.parts, here.keys, here.whole])
        at = np.array(list(wanted), np.uint64).astype(np.uintp)
        same = np.sort(all_of[np.isin(self._found.addresses[all_of], at)])
        waiting: dict[int, deque[int]] = defaultdict(deque)
        for n in same.tolist():
            waiting[id(objects[n])].append(n)
        steps: dict[int, Step] = {}
        for step, child in children.of(
            objects[number], here.reduced, wanted=wanted, protocol=self._protocol
        ):
            if waiting[id(child)]:
                steps[waiting[id(child)].popleft()] = step
        path = self._paths.get(number) or self._path_of(number)
        return {n: paths.spell(path, [steps[n]]) for n in chosen.tolist() if n in steps}

    def _rest(
        self, numbers: Any, what: str, number: int, path: str, depth: int
    ) -> Part:
        kinds = self._kinds_of(numbers)
        names = describe(list(numbers[:1]), kinds).partition("of 1 ")[2]
        words = f"{len(numbers):,} {what}" if len(numbers) > 1 else f"1 {what}"
        return Part(
            path=path,
            type=f"{words}: {names}",
            bytes=int(self._positions.bytes_of(numbers).sum()),
            depth=depth,
            row="rest",
            count=len(numbers),
        )

    def _itself(self, number: int, here: Below, path: str, depth: int) -> Part:
        """Return the row of what an object writes itself.

        That of the whole pickle's object has PROTO and STOP in it.
        """
        positions = self._positions
        own = int(positions.own_bytes[number])
        own += int(positions.own_bytes[here.own].sum())
        own += int(positions.bytes_of(here.whole).sum())
        if number == 0:
            own += int(positions.start[0]) + 1
        return Part(path=path, type="itself", bytes=own, depth=depth, row="itself")
