"""The elements of large containers, looked at all at once.

Plain numbers and texts are most of what large objects hold. What each element is
stands in its header (`headers`); a look at these in arrays takes a tenth of the time
that a loop in Python does.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import chain
from typing import Any

from ipc_magic.pickling import headers
from ipc_magic.pickling.reductions import ATOMS

# With fewer elements the arrays take longer than the loop.
FEW = 1000


def others(containers: list[Any]) -> list[Any]:
    """Return all elements that are no atoms, of containers of any kind."""
    few = sum(map(len, containers)) < FEW
    if few:
        atoms = ATOMS
        return [o for each in containers for o in each if id(type(o)) not in atoms]
    elements = _in_one(containers)
    return [elements[n] for n in _numbers_of_others(elements)]


def places(
    elements: Iterable[Any], wanted: Container[int]
) -> Iterator[tuple[int, object]]:
    """Yield the elements whose `id` is wanted, each with its place."""
    known = elements if type(elements) is list else list(elements)
    if len(known) < FEW or not isinstance(wanted, (set, frozenset, dict)):
        for place, each in enumerate(known):
            if id(each) in wanted:
                yield place, each
        return
    import numpy as np

    sought = np.fromiter(wanted, np.uintp, len(wanted))
    found = np.flatnonzero(np.isin(headers.addresses(known), sought))
    yield from ((place, known[place]) for place in found.tolist())


def _in_one(containers: list[Any]) -> list[Any]:
    if len(containers) == 1 and type(containers[0]) is list:
        return containers[0]
    return list(chain.from_iterable(containers))


def _numbers_of_others(elements: list[Any]) -> list[int]:
    import numpy as np

    types = headers.Headers(elements, headers.addresses(elements)).types()
    # Elements of one type often follow one another: one look for all of them.
    begins = np.flatnonzero(types[1:] != types[:-1]) + 1
    begins = np.concatenate([np.zeros(1, np.intp), begins])
    atoms = np.fromiter(ATOMS, np.uintp, len(ATOMS))
    is_other = ~np.isin(types[begins], atoms)
    if len(begins) * 8 < len(types):
        lengths = np.diff(begins, append=len(types))
        numbers = np.flatnonzero(np.repeat(is_other, lengths))
    else:
        numbers = np.flatnonzero(~np.isin(types, atoms))
    return numbers.tolist()
