"""An oracle for where the bytes of a pickle are, and objects to try it on.

The oracle is the pickler in pure Python with `save` overridden. Only two things of
it are not as in the pickler in C: the batches of large containers, which are made
here as C makes them, and where frames begin, which is read from the real pickle.
That what it wrote is the real pickle, byte for byte, is asserted each time.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import pickle
import pickletools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest


class Span(NamedTuple):
    """What one call of `save` wrote, as offsets into the pickle."""

    obj: object
    start: int
    end: int


class _File:
    def __init__(self, framed: bool) -> None:
        self.data = bytearray()
        self._framed = framed

    def write(self, data: Any) -> None:
        if not (self._framed and len(data) == 9 and data[:1] == pickle.FRAME):
            self.data += data


class _Oracle(pickle._Pickler):  # type: ignore[name-defined, misc]
    def __init__(self, file: _File, protocol: int) -> None:
        super().__init__(file, protocol)
        self.file = file
        self.spans: list[Any] = []

    def _place(self) -> int:
        frame = self.framer.current_frame
        return len(self.file.data) + (frame.tell() if frame else 0)

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        number = len(self.spans)
        self.spans.append(None)
        start = self._place()
        super().save(obj, save_persistent_id)
        self.spans[number] = Span(obj, start, self._place())

    def _batches(self, items: list[tuple[Any, ...]], one: bytes, many: bytes) -> None:
        """Write items as C does: in batches of 1000, the last of which may be empty."""
        if len(items) == 1 and one:
            for part in items[0]:
                self.save(part)
            self.write(one)
            return
        # A list stops when there are no more items, the others at a batch not full.
        full = many == pickle.APPENDS
        for at in range(0, len(items) + (not full and bool(items)), 1000):
            self.write(pickle.MARK)
            for item in items[at : at + 1000]:
                for part in item:
                    self.save(part)
            self.write(many)

    def save_list(self, obj: list[Any]) -> None:
        self.write(pickle.EMPTY_LIST)
        self.memoize(obj)
        self._batches([(item,) for item in obj], pickle.APPEND, pickle.APPENDS)

    def save_dict(self, obj: dict[Any, Any]) -> None:
        self.write(pickle.EMPTY_DICT)
        self.memoize(obj)
        self._batches(list(obj.items()), pickle.SETITEM, pickle.SETITEMS)

    def save_set(self, obj: set[Any]) -> None:
        if self.proto < 4:
            self.save_reduce(set, (list(obj),), obj=obj)
            return
        self.write(pickle.EMPTY_SET)
        self.memoize(obj)
        self._batches([(item,) for item in obj], b"", pickle.ADDITEMS)

    dispatch = {  # noqa: RUF012
        **pickle._Pickler.dispatch,  # type: ignore[attr-defined]
        list: save_list,
        dict: save_dict,
        set: save_set,
    }


def spans_of(obj: object, protocol: int) -> list[Span]:
    """Return what each `save` writes, in the order of the calls."""
    real = pickle.dumps(obj, protocol)
    file = _File(framed=protocol >= 4)
    oracle = _Oracle(file, protocol)
    oracle.dump(obj)
    headers = [at for op, _, at in pickletools.genops(real) if op.name == "FRAME"]
    bare = bytearray(real)
    for at in reversed(headers):
        del bare[at : at + 9]
    assert bare == file.data, "the oracle writes another pickle"
    places = [at - 9 * n for n, at in enumerate(headers)]

    def offset(place: int) -> int:
        # A header comes after what begins where it stands: that wrote the frame's
        # first opcode.
        return place + 9 * sum(header < place for header in places)

    return [Span(obj, offset(start), offset(end)) for obj, start, end in oracle.spans]


@pytest.fixture(scope="session")
def spans() -> Callable[[object, int], list[Span]]:
    """Give the oracle: what each `save` writes."""
    return spans_of


class Plain:
    """Its attributes are kept in a dict."""


class Slotted:
    """Its attributes are kept in slots."""

    __slots__ = ("x", "y")


class Both(Slotted):
    """It has slots and a dict."""


class SubList(list):  # type: ignore[type-arg]
    """Reduced, with items."""


class SubDict(dict):  # type: ignore[type-arg]
    """Reduced, with pairs."""


class SubTuple(tuple):  # type: ignore[type-arg]
    """Reduced, with arguments."""

    __slots__ = ()


class Colour(enum.Enum):
    """Reduced to its value."""

    RED = 1


@dataclasses.dataclass
class Record:
    """A dataclass."""

    a: object
    b: object = None


def set_v(obj: WithSetter, state: dict[str, Any]) -> None:
    """Set the state of `WithSetter`."""
    obj.v = state["v"]


class WithSetter:
    """Reduced with a function that sets the state."""

    def __init__(self, v: object) -> None:
        self.v = v

    def __reduce__(self) -> Any:
        return (WithSetter, (0,), {"v": self.v}, None, None, set_v)


class WithKeywords:
    """Reduced with arguments by keyword."""

    def __new__(cls, *, k: object = None) -> WithKeywords:
        made = object.__new__(cls)
        made.k = k  # type: ignore[attr-defined]
        return made

    def __getnewargs_ex__(self) -> Any:
        return (), {"k": self.k}  # type: ignore[attr-defined]


class Named:
    """Reduced to the name of a global."""

    def __reduce__(self) -> str:
        return "THE_NAMED"


THE_NAMED = Named()


class Maker:
    """Makes objects from a source of chance; those made before come again."""

    def __init__(self, random: Any) -> None:
        self._random = random
        self._pool: list[Any] = []

    def make(self, depth: int) -> Any:
        """Return an object nested that deep at most."""
        chance = self._random
        if self._pool and chance.random() < 0.15:
            return chance.choice(self._pool)
        kinds = [self._atom, self._leaf]
        if depth:
            kinds += [self._container, self._container, self._reduced, self._odd]
        return chance.choice(kinds)(depth - 1)

    def _some(self, depth: int, most: int = 5) -> list[Any]:
        return [self.make(depth) for _ in range(self._random.randrange(most + 1))]

    def _kept(self, obj: Any) -> Any:
        self._pool.append(obj)
        return obj

    def _atom(self, _: int) -> Any:
        sizes = [0, 255, 256, 65536, -1, 2**31 - 1, -(2**31), 2**31, 2**70, -(2**3000)]
        return self._random.choice([None, True, 0.5, Ellipsis, *sizes])

    def _leaf(self, _: int) -> Any:
        chance = self._random
        size = chance.choice([0, 1, 100, 255, 256, 300, 65535, 65536, 70000])
        kinds = [
            lambda: "é" * (size // 2) + str(chance.random()),
            lambda: bytes(size) + b"\xff",
            lambda: bytearray(size),
            lambda: chance.choice([int, len, Plain, collections.OrderedDict]),
            lambda: datetime.date(2000, 1, chance.randrange(1, 28)),
            lambda: fractions.Fraction(chance.randrange(1, 99), 7),
            lambda: decimal.Decimal(chance.randrange(99)),
            lambda: Colour.RED,
            lambda: THE_NAMED,
            lambda: array.array("d", [1.0]) * (size // 8),
        ]
        return self._kept(chance.choice(kinds)())

    def _container(self, depth: int) -> Any:
        chance = self._random
        kind = chance.choice([list, dict, tuple, set, frozenset])
        if kind is list:
            some: Any = self._kept([])
            some += self._some(depth)
        elif kind is dict:
            some = self._kept({})
            for n, value in enumerate(self._some(depth)):
                some[chance.choice([n, str(n), (n, "k"), 1.5 * n])] = value
        elif kind is tuple:
            some = self._kept(tuple(self._some(depth)))
        else:
            some = self._kept(kind(range(chance.randrange(4))))
        return some

    def _reduced(self, depth: int) -> Any:
        chance = self._random
        kinds: list[Callable[[Iterable[Any]], Any]] = [
            SubList,
            lambda some: SubDict(enumerate(some)),
            SubTuple,
            collections.deque,
            lambda some: collections.OrderedDict(enumerate(some)),
            lambda some: Record(list(some)),
            lambda some: WithSetter(list(some)),
            lambda some: WithKeywords(k=list(some)),
        ]
        if chance.random() < 0.5:
            return self._kept(chance.choice(kinds)(self._some(depth)))
        obj: Any = self._kept(chance.choice([Plain, Slotted, Both])())
        obj.x = self.make(depth)
        if type(obj) is not Slotted:
            obj.z = self.make(depth)
        return obj

    def _odd(self, depth: int) -> Any:
        chance = self._random
        if chance.random() < 0.5:  # a tuple that is stored while it is written
            inside: list[Any] = []
            inside.append((inside,) * chance.choice([1, 2, 5]))
            return self._kept(chance.choice([inside, inside[0]]))
        count = chance.choice([999, 1000, 1001, 2000, 2001])
        kind = chance.choice([list, set, dict.fromkeys, SubList, collections.deque])
        return self._kept(kind(map(str, range(count))))


@pytest.fixture(scope="session")
def made() -> Callable[[Any, int], Any]:
    """Give what makes an object from a source of chance."""
    return lambda random, depth: Maker(random).make(depth)
