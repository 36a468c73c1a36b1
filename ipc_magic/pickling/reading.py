"""Where the objects of a recorded pickle begin, how deep they are, where they end.

All arrays are numpy's, with a number for each object; `positions` tells what places
count. How deep is a number that is the same for all objects saved for one object,
and larger than its own.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ipc_magic.pickling.opcodes import Reader, Unreadable
from ipc_magic.pickling.recording import Recording, Write

HEADER_BYTES = 9
# A depth beyond this is no depth, but a number that means something else.
_DEEPEST = 1 << 24
_BLOCK = 1 << 15
# Places up to here fit in 32 bits, and so do sums of them with an opcode.
NARROW_BYTES = 1 << 30

Cuts = list[tuple[int, int]]


class Read(NamedTuple):
    """What was read; see `Positions` for what each array holds."""

    start: Any
    end: Any
    parent: Parents
    own_bytes: Any
    reader: Reader
    cuts: Cuts


def blocks(count: int) -> Iterator[slice]:
    """Yield slices that are short enough for temporary arrays to be used again.

    Fresh memory for long ones, page by page, would take longer than what is done.
    """
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))


def read(recorded: Recording, protocol: int) -> Read:
    """Return where everything in a recording is.

    Raises `Unreadable` where it is not what CPython's pickler leaves.
    """
    import numpy as np

    kept = sum(size for _, size, data in recorded.writes if data is not None)
    # Half as much memory, and so less time, as long as the places fit.
    kind = np.int32 if kept < NARROW_BYTES else np.int64
    start = np.concatenate(recorded.lengths, dtype=kind, casting="same_kind")
    stream, cuts = _layout(recorded.writes, start, framed=protocol >= 4)
    reader = Reader(np.frombuffer(stream, np.uint8))
    depth = np.concatenate(recorded.depths)
    depth = np.abs(depth - depth[0])
    if protocol < 3:
        depth = _below_bytes(recorded.objects, start, depth)
    _check(start, depth, reader)
    parent = Parents(depth)
    end, own = _ends(start, depth, parent, reader)
    return Read(start, end, parent, own, reader, cuts)


def _layout(writes: Iterable[Write], start: Any, *, framed: bool) -> tuple[bytes, Cuts]:
    """Return the stream without what is cut, and the cuts; make places of `start`.

    A write of the C pickler holds one frame at most, at its beginning, PROTO aside.
    While it was being filled there were 9 bytes for the header, also where the frame
    turned out too short to have one.
    """
    pieces: list[bytes] = []
    cuts: Cuts = []
    place = first = 0
    for entered, size, data in writes:
        if data is None:
            cuts.append((place - 1, size))  # with the last byte of what announces it
            continue
        before = 2 if data[:1] == pickle.PROTO else 0
        new = start[first:entered]
        if framed:
            new[new > before] -= HEADER_BYTES
        new += place
        if framed and data[before : before + 1] == pickle.FRAME:
            cuts.append((place + before, HEADER_BYTES))
            pieces += [data[:before], data[before + HEADER_BYTES :]]
            place += size - HEADER_BYTES
        else:
            pieces.append(data)
            place += size
        first = entered
    return b"".join(pieces), cuts


def _below_bytes(objects: list[Any], start: Any, depth: Any) -> Any:
    """Return depths with what is below bytes deeper than these.

    Before protocol 3 bytes are reduced to a function and arguments, and the pickler
    makes no call for that which would count.
    """
    import numpy as np

    depth = 2 * depth
    some = [n for n, obj in enumerate(objects[:-2]) if type(obj) is bytes]
    numbers = np.array(some, np.int64)
    numbers = numbers[start[numbers] == start[numbers + 1]]  # else a reference
    depth[numbers + 1] = depth[numbers + 2] = depth[numbers] + 1
    return depth


def _check(start: Any, depth: Any, reader: Reader) -> None:
    import numpy as np

    if (
        not len(depth)
        or int(depth.max()) > _DEEPEST
        or (depth[1:] < 1).any()
        or (np.diff(start) < 0).any()
        or int(start[-1]) >= reader.size
        or reader.code(reader.size - 1) != pickle.STOP
    ):
        raise Unreadable("positions and depths are of another kind")


class Parents:
    """The number of what each object was saved for: the last before, less deep.

    Objects that follow one another at the same depth have the same parent. So it is
    looked for where something is below or the depth is another than before: at
    `turns`. All of them are filled in when many are asked for.
    """

    def __init__(self, depth: Any) -> None:
        import numpy as np

        is_turn = np.ones(len(depth), bool)
        np.not_equal(depth[1:], depth[:-1], out=is_turn[1:])
        is_turn[:-1] |= depth[1:] > depth[:-1]
        self.turns = np.flatnonzero(is_turn)
        self.of_turns = _parents(depth.take(self.turns))
        """For each turn which other one is the parent."""
        self._kind = np.int32 if len(depth) < NARROW_BYTES else np.int64
        self._narrow = self.turns.astype(self._kind)
        self._count = len(depth)
        self._all: Any = None

    def turns_of(self, numbers: Any) -> Any:
        """Return for objects the last turn that is not behind them."""
        import numpy as np

        numbers = np.asarray(numbers, self._kind)  # else all would be converted
        return np.searchsorted(self._narrow, numbers, "right") - 1

    def __getitem__(self, numbers: Any) -> Any:
        """Return the parents of some objects, or of a slice of them."""
        import numpy as np

        if self._all is None:
            if not isinstance(numbers, slice) and np.size(numbers) < self._count / 8:
                return self.turns[self.of_turns[self.turns_of(numbers)]]
            lengths = np.diff(self.turns, append=self._count)
            self._all = np.repeat(self.turns[self.of_turns], lengths)
        return self._all[numbers]


def _parents(depth: Any) -> Any:
    """Return for each the number of the last one before that is less deep.

    What is right below an object must follow it at once.
    """
    import numpy as np

    narrow = depth.astype(np.uint16) if int(depth.max()) < 1 << 16 else depth
    order = np.argsort(narrow, kind="stable")
    is_first = np.ones(len(depth), bool)  # of the objects below another one
    is_first[1:] = depth[1:] > depth[:-1]
    # Among all of one depth, an object has the same parent as the one before it
    # unless it is a first one, which follows right after its parent.
    places = np.where(is_first.take(order), np.arange(len(order)), 0)
    parent = np.empty(len(depth), np.int64)
    parent[order] = order.take(np.maximum.accumulate(places)) - 1
    parent[0] = 0
    return parent


def _ends(start: Any, depth: Any, parent: Parents, reader: Reader) -> tuple[Any, Any]:
    """Return where objects end, and how many bytes each wrote itself.

    Up to the next object there is: what an object with nothing below it wrote, the
    end of each object that is complete with it, and what the next one's parent wrote
    in between.
    """
    import numpy as np

    own, end = np.empty_like(start), np.empty_like(start)
    after = np.append(start, start.dtype.type(reader.size - 1))
    after_depth = np.append(depth, np.int32(0))
    found = []
    for here in blocks(len(start)):
        following = slice(here.start + 1, here.stop + 1)
        # Where something is below, all up to the first of it. Where an opcode and
        # its argument reach to the next object, these are all there is.
        sizes = after[following] - start[here]
        places = start[here].astype(np.intp)  # numpy would, each time
        whole = reader.are_fixed(places, sizes)
        leaves = np.flatnonzero(~whole & (after_depth[following] <= depth[here]))
        sizes[leaves] = reader.leaves(places.take(leaves))
        own[here] = sizes
        end[here] = start[here] + sizes
        # Only places after which not the next object of the same parent comes at once.
        gap = end[here] != after[following]
        gap |= after_depth[following] < depth[here]
        found.append(here.start + np.flatnonzero(gap))
    busy = np.concatenate(found)
    cursor = end[busy]
    goal = after_depth[busy + 1]
    # Owners go by the numbers of turns: all that have something below are some.
    owner = parent.of_turns.take(parent.turns_of(busy))
    depth = depth.take(parent.turns)
    active = np.flatnonzero((depth[owner] >= goal) & (busy > 0))
    while len(active):
        done, places = owner.take(active), cursor.take(active)
        ending = parent.turns.take(done)
        sizes = reader.ends(places)
        cursor[active] = end[ending] = places + sizes
        own[ending] += sizes
        owner[active] = parent.of_turns.take(done)
        active = active[(depth[owner[active]] >= goal[active]) & (ending > 0)]
    between = after[busy + 1] - cursor
    if (between < 0).any() or end[0] != reader.size - 1 or (end < start).any():
        raise Unreadable("the ends of objects and the beginnings do not fit")
    some = np.flatnonzero(between)
    np.add.at(own, parent.turns[owner[some]], between[some])
    return end, own
