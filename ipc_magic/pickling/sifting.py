"""A pickler that goes on where pickling fails, and keeps what it met.

The pickler asks `reducer_override` about every object that is no plain value or
container. There the object is reduced under guard: what fails is noted, a `Gone` is
pickled in its place, and the pass goes on to the next offender. Each object is
reduced once, as its class may do more than answer.
"""

from __future__ import annotations

import collections
import copyreg
import pickle
import types
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ipc_magic.pickling import reductions, spawned
from ipc_magic.pickling.counting import Counting
from ipc_magic.pickling.gone import Gone
from ipc_magic.pickling.picklers import Pickling, WriteOnly
from ipc_magic.pickling.reductions import ATOMS, Reduced

# Where a pass ends, the object it ended at is one of the last that it met.
TAIL = 64
TOO_DEEP = "nested too deep: Python's recursion limit is reached"
_EMPTY = ()  # there is one only, which many hold


class Offence(NamedTuple):
    """An object that cannot be pickled, and what Python says about it."""

    obj: object
    reason: str


class Met(Protocol):
    """What a pass met; the keys are the `id` of objects that are kept alive."""

    protocol: int
    offences: dict[int, Offence]
    """What cannot be pickled."""
    reduced: dict[int, tuple[object, Reduced]]
    """What was reduced to anything that may lead to others, and to what."""
    plain: dict[int, tuple[type, Callable[[Any], dict[Any, Any]]]]
    """Classes whose objects are saved as their `__dict__`, and its getter."""
    only_here: dict[int, object]
    """What was saved as a name that a fresh interpreter cannot import."""
    examined: set[int]
    """What was examined; the pickler's memo keeps it alive."""

    def dump(self, obj: object) -> None:
        """Pickle `obj` but for what cannot be.

        Raises what comes unforeseen, such as `RecursionError`.
        """

    def places(self) -> dict[int, object]:
        """Return what was pickled, by its place in the memo."""

    def last_met(self, obj: object) -> list[object]:
        """Return what was met last before a dump of `obj` ended early, latest first."""

    def examine(self, obj: Any) -> Any:
        """Reduce `obj` under guard, and note what there is to note of it."""


class Sieve:
    """A pass of a pickler in C, and what it met."""

    def __init__(self, pickling: Pickling, file: WriteOnly) -> None:
        self.protocol = pickling.protocol
        self.offences: dict[int, Offence] = {}
        self.reduced: dict[int, tuple[object, Reduced]] = {}
        self.plain: dict[int, tuple[type, Callable[[Any], dict[Any, Any]]]] = {}
        self.only_here: dict[int, object] = {}
        self.examined: set[int] = set()
        self._pickling = pickling
        # In the class itself, without the frame that the usual way puts between.
        hooks: Any = {"reducer_override": staticmethod(self._reducer_override)}
        self._pickler = pickling.pickler(file, **hooks)
        above = super(type(self._pickler), self._pickler)
        self._own = getattr(above, "reducer_override", None)
        self._table = getattr(above, "dispatch_table", copyreg.dispatch_table)
        self._classes: dict[int, tuple[type, bool]] = {}
        self._by_name: dict[int, object] = {}

    def dump(self, obj: object) -> None:
        """Pickle `obj` but for what cannot be."""
        self._pickler.dump(obj)

    def places(self) -> dict[int, object]:
        """Return what was pickled, by its place in the memo."""
        return dict(self._pickler.memo.copy().values())

    def _reducer_override(self, obj: Any) -> Any:
        if id(type(obj)) in self.plain:
            return NotImplemented  # C does the same, faster
        return self.examine(obj)

    def examine(self, obj: Any) -> Any:
        """Reduce `obj` under guard, note what there is to note, and return it."""
        kind = type(obj)
        try:
            known = self._classes.get(id(kind))
            if known is None:
                known = kind, reductions.is_honest(kind)
                self._classes[id(kind)] = known
                getter = reductions.plain_getter(kind, self._table)
                if getter is not None:
                    self.plain[id(kind)] = kind, getter
                    return NotImplemented
            reduced = self._reduce(obj, kind)
            if reduced is NotImplemented:
                self._save_by_name(obj)
                self.examined.add(id(obj))
                return NotImplemented
            if known[1] and reductions.is_ordinary(kind, reduced):
                self.examined.add(id(obj))
                self.reduced[id(obj)] = obj, reduced
                return reduced
            unusual = reductions.is_unusual(kind, known[1], reduced)
            if unusual:
                reduced = reductions.repeatable(obj, reduced)
                reductions.check(obj, reduced, self.protocol)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  a class may raise anything
            self.offences[id(obj)] = Offence(obj, words(error))
            self.examined.add(id(obj))
            return Gone, ()
        self.examined.add(id(obj))
        if reductions.leads_on(reduced, self._by_name, self.only_here):
            self.reduced[id(obj)] = obj, reductions.thin(reduced)
        return reductions.renewed(reduced) if unusual else reduced

    def _reduce(self, obj: Any, kind: type) -> Any:
        """Do what the pickler would do; `NotImplemented` stands for "by name"."""
        if self._own is not None:
            reduced = self._own(obj)
            if reduced is not NotImplemented:
                return reduced
        if kind is type or kind is types.FunctionType:
            return NotImplemented
        reduce = self._table.get(kind)
        if reduce is not None:
            return reduce(obj)
        if issubclass(kind, type):
            return NotImplemented
        reduce_ex = getattr(obj, "__reduce_ex__", None)
        return obj.__reduce__() if reduce_ex is None else reduce_ex(self.protocol)

    def _save_by_name(self, obj: object) -> None:
        pickle.dumps(obj, self.protocol)  # raises if the name leads elsewhere
        self._by_name[id(obj)] = obj
        if spawned.is_only_here(obj):
            self.only_here[id(obj)] = obj

    def last_met(self, obj: object) -> list[object]:
        """Return what another pass met last, the latest first."""
        tail: collections.deque[object] = collections.deque(maxlen=TAIL)

        def persistent_id(obj: object) -> None:
            if may_be_the_end(obj):
                tail.append(obj)

        def again(obj: object) -> Any:
            if id(obj) in self.offences:
                return Gone, ()
            known = self.reduced.get(id(obj))
            return NotImplemented if known is None else reductions.renewed(known[1])

        pickler = self._pickling.pickler(
            Counting(), persistent_id=persistent_id, reducer_override=again
        )
        try:
            pickler.dump(obj)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001  it is known already
            return list(tail)[::-1]
        return []


def sieve(pickling: Pickling, file: WriteOnly) -> Met:
    """Return a new pass of this pickler into `file`."""
    if pickling.in_c:
        return Sieve(pickling, file)
    from ipc_magic.pickling.sifting_in_python import PythonSieve

    return PythonSieve(pickling, file)


def is_too_deep(error: BaseException) -> bool:
    """Say whether the recursion limit was reached; cloudpickle has its own error."""
    return isinstance(error, RecursionError) or (
        isinstance(error.__cause__, RecursionError)
    )


def may_be_the_end(obj: object) -> bool:
    """Say whether to name an object as the one at which a pass ended."""
    kind = type(obj)
    by_name = issubclass(kind, (type, types.FunctionType))
    return id(kind) not in ATOMS and not by_name and obj is not _EMPTY


def words(error: BaseException) -> str:
    """Say what an error says, in one line; its type too where pickle did not speak."""
    if is_too_deep(error):
        return TOO_DEEP
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001  its `__str__` is the user's
        text = ""
    ours = isinstance(error, (pickle.PicklingError, AttributeError, TypeError))
    if ours and "pickle" in text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
