"""The headers of many objects, read as whole arrays from the interpreter's memory.

An object begins with the number of references to it and the address of its type.
The type is what CPython goes by, whatever the object says its `__class__` is.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

from ipc_magic.pickling.reading import blocks

_FEW = 30
_WORD = ctypes.sizeof(ctypes.c_size_t)
# In the usual build; a free-threaded one keeps more, and references otherwise.
_USUAL_BYTES = 2 * _WORD


def addresses(objects: list[Any]) -> Any:
    """Return the addresses of objects, as `id` gives them."""
    import numpy as np

    found = _of_list(objects)
    if found is not None:
        return found
    # Of all other ways to have them in an array, this makes no number for each.
    kept = np.fromiter(objects, object, len(objects))
    memory: Any = (ctypes.c_char * kept.nbytes).from_address(kept.ctypes.data)
    return np.frombuffer(memory, np.uintp).copy()


def _of_list(objects: list[Any]) -> Any | None:
    """Return what a list's own array of addresses says, `None` if that is elsewhere.

    A list begins as all objects do; its length comes next, then the array's address.
    """
    import numpy as np

    if sys.implementation.name != "cpython":
        return None
    at = id(objects) + object.__basicsize__
    count = ctypes.c_ssize_t.from_address(at).value
    if not objects or count != len(objects):
        return None
    first = ctypes.c_size_t.from_address(at + _WORD).value
    if first % _WORD or not first:
        return None
    memory: Any = (ctypes.c_char * (count * _WORD)).from_address(first)
    found = np.frombuffer(memory, np.uintp)
    some = (0, count // 2, -1)
    return found.copy() if all(found[n] == id(objects[n]) for n in some) else None


def first_of_each(types: Any) -> list[int]:
    """Return the places of the first of each type, in their order.

    There are few types among many: each is looked for once, which takes a hundredth
    of the time that sorting or hashing all takes.
    """
    import numpy as np

    found: list[int] = []
    changes = np.flatnonzero(types[1:] != types[:-1]) + 1
    left = np.concatenate([np.zeros(1, np.intp), changes])[: len(types)]
    while len(left) and len(found) < _FEW:
        found.append(int(left[0]))
        left = left[types[left] != types[left[0]]]
    if len(left):
        _, first = np.unique(types[left], return_index=True)
        found += sorted(left[first].tolist())
    return found


class Headers:
    """The headers of objects at their addresses."""

    def __init__(self, objects: list[Any], at: Any) -> None:
        self._objects = objects
        self._at = at

    def types(self) -> Any:
        """Return the address of the type of each object."""
        return self.types_and_held(0)[0]

    def types_and_held(self, times: int) -> tuple[Any, Any]:
        """Return the types, and the numbers of the objects held so many times.

        There are none where that is not to be seen. What is immortal (from Python
        3.12) is held a number of times that is far too large.
        """
        import numpy as np

        objects = self._objects
        types = np.empty(len(objects), np.uintp)
        held = [np.empty(0, np.intp)]
        look = times and object.__basicsize__ == _USUAL_BYTES
        for here, places, memory in self._windows():
            if look:
                once = np.flatnonzero(memory.take(places) == times)
                held.append(here.start + once)
            types[here] = memory.take(places + (object.__basicsize__ // _WORD - 1))
        if any(types[n] != id(type(objects[n])) for n in (0, len(objects) // 2, -1)):
            types = np.fromiter(map(id, map(type, objects)), np.uintp, len(objects))
        return types, np.concatenate(held)

    def held(self, times: int) -> Any:
        """Return the numbers of the objects held so many times, where it is seen."""
        return self.types_and_held(times)[1]

    def _windows(self) -> Iterator[tuple[slice, Any, Any]]:
        """Yield the places of some headers, and the memory by words they are in."""
        import numpy as np

        first = int(self._at.min())
        words = (int(self._at.max()) - first + object.__basicsize__) // _WORD
        memory: Any = (ctypes.c_size_t * words).from_address(first)
        # A window over all the memory between; only the words asked for are read.
        window = np.frombuffer(memory, np.uintp)
        for here in blocks(len(self._at)):
            places = ((self._at[here] - np.uintp(first)) >> np.uintp(3)).view(np.intp)
            yield here, places, window
