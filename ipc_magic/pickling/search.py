"""The shortest paths from an object to some of those below it, among a million.

Breadth first and a level at a time: Python is fast where a comprehension runs over
many objects, and slow where a function is called for each. Steps are made only for
what lies on the way.
"""

from __future__ import annotations

import bisect
import copyreg
from collections.abc import Container, Iterable, Mapping
from typing import Any

from ipc_magic.pickling import children, elements, paths
from ipc_magic.pickling.reductions import ATOMS, is_ordinary
from ipc_magic.pickling.sifting import TOO_DEEP, Met

# So many objects are asked at once whether something lies below one of them.
CHUNK = 512
# Up to so many are asked one by one, others by halves.
FEW_PARENTS = 8
# A container of so many elements is looked at by itself, and but once.
ONE_OF_MANY = 20_000


class Search:
    """A search through what the pass of a pickler has met."""

    def __init__(self, root: object, met: Met) -> None:
        self._met = met
        self._all = False
        self._levels: list[list[Any]] = [[root]]
        self._depths: dict[int, int] = {id(root): 0}
        self._ends: list[list[int]] = []
        self._large: dict[int, list[Any]] = {}

    def finish(self) -> None:
        """Examine what the pass has not met, because it ended early or too deep."""
        self._all = True
        for key, offence in self._met.offences.items():
            if offence.reason == TOO_DEEP:
                self._met.examined.discard(key)  # from here it may succeed
        self._go_down({})

    def find(self, start: str, wanted: Mapping[int, object]) -> dict[int, str]:
        """Return the path to each object wanted, by its `id`, from the text `start`.

        What is not found is left out.
        """
        self._go_down(wanted)
        found = [key for key in wanted if key in self._depths]
        parents = self._parents_of(found)
        steps = self._steps_between(parents)
        spelled = {}
        for key in found:
            way = []
            at = key
            while at in parents:
                way.append(steps[at])
                at = id(parents[at])
            spelled[key] = paths.spell(start, reversed(way))
        return spelled

    def _go_down(self, wanted: Mapping[int, object]) -> None:
        """Note the objects of each level, and where each chunk of their parents ends.

        What is first met in a chunk comes right after what was in the one before:
        so its place in the level tells the chunk that its parent is in.
        """
        depths, levels = self._depths, self._levels
        while levels[-1] and (self._all or not wanted.keys() <= depths.keys()):
            level = levels[-1]
            fresh: dict[int, Any] = {}
            ends = []
            for start in range(0, len(level), CHUNK):
                below = self._below(level[start : start + CHUNK])
                fresh.update(
                    {key: obj for obj in below if (key := id(obj)) not in depths}
                )
                ends.append(len(fresh))
            depths.update(dict.fromkeys(fresh, len(levels)))
            levels.append(list(fresh.values()))
            self._ends.append(ends)

    def _below(self, objs: Iterable[Any]) -> list[Any]:
        """Return all that lies right below these, but for atoms."""
        sequences: list[Any] = []
        dicts: list[Any] = []
        found: list[Any] = []
        plain, reduced = self._met.plain, self._met.reduced
        for obj in objs:
            kind = type(obj)
            if kind is dict:
                if len(obj) < ONE_OF_MANY:
                    dicts.append(obj)
                else:
                    found += self._in_large(obj)
            elif kind is list or kind is tuple or kind is set or kind is frozenset:
                if len(obj) < ONE_OF_MANY:
                    sequences.append(obj)
                else:
                    found += self._in_large(obj)
            else:
                if self._all and id(obj) not in self._met.examined:
                    self._met.examine(obj)
                if id(kind) in plain:
                    found.append(kind)
                    dicts.append(plain[id(kind)][1](obj))
                elif id(obj) in reduced:
                    given = reduced[id(obj)][1]
                    if is_ordinary(kind, given):
                        found.append(kind)
                        dicts.append(given[2])
                    else:
                        found += children.objects(obj, given)
        atoms = ATOMS
        found = [o for o in found if id(type(o)) not in atoms]
        found += elements.others(sequences)
        found += elements.others([each.values() for each in dicts])
        found += elements.others(dicts)  # their keys
        return found

    def _in_large(self, obj: Any) -> list[Any]:
        """Return what is no atom in a large container: all of it is looked at once."""
        if id(obj) not in self._large:
            found = elements.others([obj])
            if type(obj) is dict:
                found += elements.others([obj.values()])
            self._large[id(obj)] = found
        return self._large[id(obj)]

    def _parents_of(self, found: Iterable[int]) -> dict[int, Any]:
        """Return the first parent of each one found, and of those parents, by `id`."""
        at_depth: dict[int, set[int]] = {}
        for key in found:
            at_depth.setdefault(self._depths[key], set()).add(key)
        parents: dict[int, Any] = {}
        for depth in range(max(at_depth, default=0), 0, -1):
            sought = at_depth.get(depth, set())
            for chunk, keys in self._chunks(depth, sought):
                for parent in self._narrowed(chunk, keys):
                    met = keys.intersection(map(id, self._below((parent,))))
                    if met:
                        parents.update(dict.fromkeys(met, parent))
                        keys.difference_update(met)
                        at_depth.setdefault(depth - 1, set()).add(id(parent))
                    if not keys:
                        break
        return parents

    def _narrowed(self, parents: list[Any], keys: set[int]) -> list[Any]:
        """Return that part of some parents that all the first ones are in."""
        while len(parents) > FEW_PARENTS:
            half = len(parents) // 2
            met = keys.intersection(map(id, self._below(parents[:half])))
            if met and met != keys:
                break
            parents = parents[:half] if met else parents[half:]
        return parents

    def _chunks(
        self, depth: int, sought: Container[int]
    ) -> Iterable[tuple[list[Any], set[int]]]:
        """Return the chunks of the level above in which the parents of some are."""
        keys: dict[int, set[int]] = {}
        for place, key in enumerate(map(id, self._levels[depth])):
            if key in sought:
                number = bisect.bisect_right(self._ends[depth - 1], place)
                keys.setdefault(number, set()).add(key)
        for number, below in keys.items():
            start = number * CHUNK
            yield self._levels[depth - 1][start : start + CHUNK], below

    def _steps_between(self, parents: Mapping[int, Any]) -> dict[int, paths.Step]:
        """Return the step from each one's parent to it, by its `id`."""
        below: dict[int, tuple[Any, set[int]]] = {}
        for key, parent in parents.items():
            below.setdefault(id(parent), (parent, set()))[1].add(key)
        steps: dict[int, paths.Step] = {}
        for parent, keys in below.values():
            reduced = self._reduction_of(parent)
            given = children.of(
                parent, reduced, wanted=keys, protocol=self._met.protocol
            )
            for step, child in given:
                steps.setdefault(id(child), step)
        return steps

    def _reduction_of(self, obj: Any) -> children.Reduced | None:
        kind = type(obj)
        if id(kind) in self._met.plain:
            return copyreg.__newobj__, (kind,), self._met.plain[id(kind)][1](obj)  # type: ignore[attr-defined]
        known = self._met.reduced.get(id(obj))
        return None if known is None else known[1]
