"""What is below an object of a pickle, as its paths have it.

Pickle saves an object of a class through the parts of a reduction: a function, a
tuple of arguments, a state. People know attributes and items. So the tuple and the
state's dict are looked through, and what was made for the pickle alone is no part
of the object unless something large that was not is in it.
"""

from __future__ import annotations

import copyreg
import pickle
from typing import Any, NamedTuple

from ipc_magic.pickling.by_type import Kinds
from ipc_magic.pickling.positions import Positions

# pickle saves these by themselves, from this protocol on; all others are reduced.
_CONTAINERS = {id(dict): 0, id(list): 0, id(tuple): 0, id(set): 4, id(frozenset): 4}


class Below(NamedTuple):
    """The objects below one that can be parts of it; all arrays are of numbers."""

    parts: Any
    """Items, attributes, arguments, in the order of the pickle."""
    keys: Any
    """The keys of dicts: parts too, of which there are as many as values."""
    own: Any
    """Objects that were looked through: what they wrote is the object's own."""
    whole: Any
    """Objects that are no parts: with all that is below them, the object's own."""
    reduced: tuple[Any, ...] | None
    """What `__reduce_ex__` gave, put together again; `None` for a container."""


def below(positions: Positions, found: Kinds, number: int, protocol: int) -> Below:
    """Return what is below the object of a number, told apart by what it is for."""
    import numpy as np

    obj = positions.objects[number]
    children = positions.children(number)
    none = np.empty(0, np.int64)
    since = _CONTAINERS.get(id(type(obj)), protocol + 1)
    if since <= protocol:
        if type(obj) is dict:
            return Below(children[1::2], children[::2], none, none, None)
        return Below(children, none, none, none, None)
    if not len(children) or _after(positions, children[-1]) == pickle.STACK_GLOBAL:
        return Below(none, none, none, children, None)
    return _of_reduced(positions, children)


def _after(positions: Positions, number: int) -> bytes:
    return positions.reader.code(int(positions.end[number]))


def _of_reduced(positions: Positions, children: Any) -> Below:
    """Tell apart what a reduction consists of, by the opcodes after each object."""
    import numpy as np

    objects, none = positions.objects, np.empty(0, np.int64)
    if len(children) > 2 and _after(positions, children[2]) == pickle.NEWOBJ_EX:
        rest = children[3:]
        own, whole, parts, keys = [], [children[0]], [children[1:3]], none
        function: object = copyreg.__newobj_ex__  # type: ignore[attr-defined]
        values = tuple(objects[n] for n in children[:3])
    else:
        rest = children[2:]
        args = positions.children(int(children[1]))
        own, whole, parts, keys = [children[1]], [children[0]], [args], none
        function = objects[children[0]]
        values = tuple(objects[n] for n in args)
        if _after(positions, children[1]) == pickle.NEWOBJ:
            values = (function, *values)
            function = copyreg.__newobj__  # type: ignore[attr-defined]
    state = setter = items = pairs = None
    if len(rest):
        ending = _after(positions, rest[-1])
        if ending == pickle.BUILD:
            rest, last = rest[:-1], rest[-1]
            state = objects[last]
        elif ending == pickle.TUPLE2 and len(rest) >= 3:
            setter, state = objects[rest[-3]], objects[rest[-1]]
            whole += [rest[-3], rest[-2]]
            rest, last = rest[:-3], rest[-1]
        if state is not None:
            attributes, looked_through, names = _of_state(positions, int(last))
            own += looked_through
            whole += names
    if len(rest):
        split = _items(positions, rest)
        items = [objects[n] for n in rest[:split]]
        keys, stored = rest[split::2], rest[split + 1 :: 2]
        pairs = [(objects[k], objects[v]) for k, v in zip(keys, stored, strict=True)]
        parts += [rest[:split], stored]
    if state is not None:
        parts.append(attributes)
    reduced = (function, values, state, items, pairs, setter)
    return Below(
        np.concatenate(parts),
        keys,
        np.array(own, np.int64),
        np.array(whole, np.int64),
        reduced,
    )


def _items(positions: Positions, numbers: Any) -> int:
    """Return how many of the items of a reduction are of a list; then come pairs."""
    import numpy as np

    follows = np.append(positions.start[numbers[1:]], -1)
    ended = numbers[positions.end[numbers] != follows]
    for place in range(len(ended) - 1, -1, -1):
        if _after(positions, ended[place]) in (pickle.APPEND, pickle.APPENDS):
            return int(np.searchsorted(numbers, ended[place])) + 1
        if _after(positions, ended[place]) not in (pickle.SETITEM, pickle.SETITEMS):
            break
    return 0


def _of_state(positions: Positions, number: int) -> tuple[Any, list[int], list[int]]:
    """Return the attributes in a state, what was looked through, and the names."""
    import numpy as np

    state = positions.objects[number]
    children = positions.children(number)
    dicts = []
    through = []
    if type(state) is dict and len(children):
        dicts = [number]
    elif type(state) is tuple and len(state) == 2 and len(children) == 2:
        plain, slots = state
        if (plain is None or type(plain) is dict) and type(slots) is dict:
            through, dicts = [number, *children.tolist()], children.tolist()
    if not dicts:
        return np.array([number], np.int64), [], []
    inside = [positions.children(n) for n in dicts]
    names = [key for found in inside for key in found[::2].tolist()]
    attributes = np.concatenate([found[1::2] for found in inside])
    return attributes, through or dicts, names
