"""Where each object of a pickle begins and ends, to the byte.

The C pickler is watched in one pass (`recording`), which tells where objects begin
and how deep they are; where they end is read from the opcodes (`reading`). Where
that cannot be, a pickler in Python is watched instead (`slowly`).

Places count the bytes of the stream without the headers of frames (FRAME, 9 bytes)
and without the contents of large objects, which are not kept: `cuts` tells what
stood where. The header of a frame belongs to the object that wrote the first opcode
in it, PROTO and STOP to no object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ipc_magic.pickling import reading, recording, slowly
from ipc_magic.pickling.opcodes import Reader, Unreadable
from ipc_magic.pickling.picklers import Pickling
from ipc_magic.pickling.reading import NARROW_BYTES, Parents, Read


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Positions:
    """The objects of a pickle in the order they were saved, and where each is.

    All arrays are numpy's with one number for each object. An object that was met
    again has a number of its own each time, the later ones for a short reference.
    """

    objects: list[Any]
    start: Any
    """The place of the first byte."""
    end: Any
    """The place after the last byte, of what is below included."""
    parent: Parents
    """The number of the object it was saved for; the root's is 0."""
    own_bytes: Any
    """What is not of any object below."""
    total_bytes: int
    reader: Reader
    cut_owners: list[int]
    """The object that wrote what was cut."""
    cut_places: Any
    cut_bytes: Any
    """What was cut before the place of the same number, summed up; 0 comes first."""

    def bytes_of(self, numbers: Any) -> Any:
        """Return how many bytes objects take, all that is below them included."""
        return self.true(self.end[numbers]) - self.true(self.start[numbers])

    def true(self, places: Any) -> Any:
        """Return the offsets in the pickle as it is; a header is behind its place."""
        import numpy as np

        if len(self.cut_places) == 0:
            return places
        return places + self.cut_bytes[np.searchsorted(self.cut_places, places)]

    def stop(self, number: int) -> int:
        """Return the number after the last object below one."""
        import numpy as np

        return int(np.searchsorted(self.start, self.end[number], "left"))

    def children(self, number: int) -> Any:
        """Return the numbers of the objects saved for one."""
        import numpy as np

        first = number + 1
        return first + np.flatnonzero(self.parent[first : self.stop(number)] == number)

    def is_reference(self) -> Any:
        """Say of each object whether it is a reference to one met before."""
        import numpy as np

        found = np.empty(len(self.start), bool)
        for here in reading.blocks(len(found)):
            found[here] = self.reader.is_reference(self.start[here])
        # What writes nothing before what is below it begins with that one's opcode.
        found[:-1] &= self.start[:-1] != self.start[1:]
        return found

    def large(self, at_least: float) -> Any:
        """Return the numbers of the objects of so many bytes, in order."""
        import numpy as np

        if at_least <= 0:
            return np.arange(len(self.start))
        # Besides those that are large anyway, what is cut may make one large.
        some = set(np.flatnonzero(self.end - self.start >= at_least).tolist())
        for owner in self.cut_owners:
            number = owner
            while number not in some:
                some.add(number)
                number = int(self.parent[number])
        numbers = np.array(sorted(some), np.int64)
        return numbers[self.bytes_of(numbers) >= at_least]


def positions(obj: object, pickling: Pickling) -> Positions:
    """Pickle `obj` and return where everything is. Errors are those of pickling."""
    if pickling.protocol >= 2 and recording.possible(pickling):
        try:
            recorded = recording.record(obj, pickling)
            found = reading.read(recorded, pickling.protocol)
            return _positions(recorded.objects, found)
        except Unreadable:
            # Not as this CPython's pickler writes: that in Python shows its ends.
            pass
    watched = slowly.watch(obj, pickling)
    return _positions(watched.objects, _arrays(watched))


def _arrays(watched: slowly.Watched) -> Read:
    import numpy as np

    start, end = np.array(watched.start, np.int64), np.array(watched.end, np.int64)
    parent = Parents(np.array(watched.depth, np.int32))
    spans = end - start
    own = spans.copy()
    np.subtract.at(own, parent[:][1:], spans[1:])
    reader = Reader(np.frombuffer(b"".join(watched.stream), np.uint8))
    return Read(start, end, parent, own, reader, watched.cuts)


def _positions(objects: list[Any], found: Read) -> Positions:
    import numpy as np

    start, end, parent, own, reader, cuts = found

    owners = []
    if sum(size for _, size in cuts) > NARROW_BYTES:
        own = own.astype(np.int64)
    places = np.array([place for place, _ in cuts], start.dtype)
    last = np.searchsorted(start, places, "right") - 1
    for (place, size), number in zip(cuts, last.tolist(), strict=True):
        # A frame begins with an object or, behind large contents, with what stores
        # these: never with what ends an object that holds others.
        if start[number] <= place < end[number]:  # else it belongs to STOP
            own[number] += size
            owners.append(number)
    return Positions(
        objects=objects,
        start=start,
        end=end,
        parent=parent,
        own_bytes=own,
        total_bytes=reader.size + sum(size for _, size in cuts),
        reader=reader,
        cut_owners=owners,
        cut_places=places.astype(np.int64),
        cut_bytes=np.cumsum([0, *(size for _, size in cuts)]),
    )
