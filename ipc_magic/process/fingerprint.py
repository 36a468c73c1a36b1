"""Whether a value changed: a hash of all it holds, taken before and after.

What is exactly of builtin types is pickled by C code, which calls nobody; arrays are
hashed as their bytes, instances attribute by attribute. Other objects are opaque: that
one of them was replaced is seen, what goes on within it is not.
"""

from __future__ import annotations

import functools
import hashlib
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pickle import Pickler
from typing import Any

from ipc_magic.process import fingerprint_arrays, looking, plain
from ipc_magic.process import fingerprint_kinds as kind_table
from ipc_magic.process.budget import Budget

_DEPTH = 100


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a value was like."""

    digest: bytes
    complete: bool
    """Whether all of it was looked at: nothing in it was opaque."""
    items: int
    """How many things were looked at."""
    data_bytes: int
    """How many bytes of pickles and buffers were hashed."""
    cached: dict[int, frozenset[str]] = field(repr=False)
    """Cached properties that instances had, by the instances' ids."""


def of(
    value: object,
    budget: Budget,
    known: Mapping[str, Any],
    before: Fingerprint | None = None,
) -> Fingerprint:
    """Return the fingerprint of a value; raises `TooLarge` or `TooLong`.

    Functions and classes of the namespace `known` are looked into. A cached property
    that an instance has now and did not have at `before` is no change of it.
    """
    walk = _Walk(budget, known, before)
    items, data_bytes = budget.items, budget.data_bytes
    try:
        return Fingerprint(
            digest=walk.value(value),
            complete=walk.complete,
            items=items - budget.items,
            data_bytes=data_bytes - budget.data_bytes,
            cached=walk.cached,
        )
    finally:
        vars(walk).clear()  # it is a cycle, and no object is to live until it is found


class _Walk:
    """One way through a value, to its digest.

    A digest tells content and types, not which objects are shared: what is looked at
    once has its digest kept. Only in a cycle that depends on where it is met first.
    """

    def __init__(
        self, budget: Budget, known: Mapping[str, Any], before: Fingerprint | None
    ) -> None:
        self.complete = True
        self.cached: dict[int, frozenset[str]] = {}
        self._budget = budget
        self._known = known
        self._update: Callable[[bytes], object]
        self._pickler = Pickler(self, 5)
        self._pickler.fast = True  # which objects are shared is left out
        self._before = before.cached if before else None
        self._digests: dict[int, bytes] = {}
        # What is made on the way is kept: no other object is to get its id.
        self._alive: list[list[Any]] = []
        self._path: dict[int, int] = {}
        ways: dict[type, Callable[[Any], bytes]] = {
            list: lambda v: self._hash("list", v),
            tuple: lambda v: self._hash("tuple", v),
            deque: lambda v: self._hash("deque", v, [v.maxlen]),
            dict: lambda v: self._hash("dict", v.keys(), v.values()),
            OrderedDict: lambda v: self._hash("ordered", v.keys(), v.values()),
            defaultdict: lambda v: self._hash(
                "default", v.keys(), v.values(), [v.default_factory]
            ),
            set: self._of_set,
            frozenset: self._of_set,
            types.SimpleNamespace: lambda v: self._hash(
                "namespace", v.__dict__.keys(), v.__dict__.values()
            ),
            types.FunctionType: self._of_function,
            slice: lambda v: self._hash("slice", (v.start, v.stop, v.step)),
            datetime: lambda v: self._hash(
                "datetime", (repr(v.replace(tzinfo=None)), v.fold, id(v.tzinfo))
            ),
            functools.partial: lambda v: self._hash(
                "partial", (v.func, v.args, v.keywords)
            ),
            types.MethodType: lambda v: self._hash("method", (v.__self__, v.__func__)),
        }
        self._ways = {id(kind): way for kind, way in ways.items()}

    def value(self, value: object) -> bytes:
        """Return the digest of a value, by the short way if its types allow it."""
        if id(type(value)) not in plain.INNER or id(value) in self._path:
            return self._of(value)
        digest = self._digests.get(id(value))
        if digest is None and plain.is_plain(value, self._budget):
            digest = self._digests[id(value)] = self._pickled(value)
        return digest or self._of(value)

    def _of(self, value: Any) -> bytes:
        here, depth = id(value), len(self._path)
        if here in self._digests:
            return self._digests[here]
        if here in self._path:
            return self._pickled(("above", depth - self._path[here]))
        if depth > _DEPTH:
            return self._opaque(value)
        self._budget.take(1)
        self._path[here] = depth
        kind = type(value)
        way = self._ways.get(id(kind))
        if way is None:
            way = self._ways[id(kind)] = self._way_of(value, kind)
        digest = self._digests[here] = way(value)
        del self._path[here]
        return digest

    def _way_of(self, value: Any, kind: type) -> Callable[[Any], bytes]:
        """Return what makes the digests of all values of one kind."""
        if id(kind) in plain.LEAVES:
            return self._pickled
        if id(kind) in kind_table.BY_TEXT:
            return lambda v: self._pickled((kind.__name__, repr(v)))
        keeps_notes = any(looking.is_instance(value, k) for k in kind_table.KEEP_NOTES)
        if keeps_notes or id(kind) in kind_table.BY_IDENTITY:
            return self._same
        if looking.is_class(value):
            return self._of_class
        if fingerprint_arrays.knows(kind):
            return self._of_array
        layout = looking.layout(kind, kind_table.BASES)
        if layout is None:
            return self._opaque
        return functools.partial(self._of_instance, layout)

    def _of_array(self, value: Any) -> bytes:
        parts = fingerprint_arrays.parts(value, self._budget.take)
        kind = type(value)
        if parts is None:
            return self._opaque(value)
        return self._hash(f"{kind.__module__}.{kind.__name__}", parts)

    def _hash(self, tag: str, *groups: Iterable[Any]) -> bytes:
        """Return the digest of groups of values under a tag."""
        content = []
        for group in groups:
            values = list(group)
            kinds = set(map(id, map(type, values)))
            self._budget.take(len(values))
            places = []
            if not kinds <= plain.LEAVES:
                # What is no leaf has its digest in its place, and the place is noted.
                places = [
                    n for n, v in enumerate(values) if id(type(v)) not in plain.LEAVES
                ]
                self._alive.append(values)
                values = [
                    v if id(type(v)) in plain.LEAVES else self.value(v) for v in values
                ]
            content.append((values, places))
        return self._pickled((tag, content))

    def _of_set(self, values: Any) -> bytes:
        of_sets = set if looking.is_instance(values, set) else frozenset
        tag, members = of_sets.__name__, [*of_sets.__iter__(values)]
        kinds = set(map(id, map(type, members)))
        if kinds in kind_table.SORTED:
            return self._hash(tag, sorted(members))
        self._budget.take(len(members))
        return self._hash(tag, [], sorted(map(self.value, members)))

    def _of_function(self, function: types.FunctionType) -> bytes:
        if function.__globals__ is not self._known:
            return self._same(function)
        more = function.__kwdefaults__ or {}
        parts = [id(function), function.__defaults__, more, vars(function)]
        return self._hash("function", parts, looking.closure(function))

    def _of_class(self, kind: type) -> bytes:
        defined = looking.names_of(kind)
        module = defined.get("__module__")
        if type(module) is not str or module != self._known.get("__name__"):
            return self._same(kind)
        kept = {
            name: value
            for name, value in defined.items()
            if type(name) is str and name not in kind_table.NOT_OF_THE_PERSON
        }
        return self._hash("class", [id(kind)], kept.keys(), kept.values())

    def _of_instance(self, layout: looking.Layout, value: Any) -> bytes:
        parts: list[Any] = [id(type(value)), self._base(value, layout.base)]
        for read in layout.slots:
            try:
                parts.append((read(value),))
            except AttributeError:
                parts.append(())
        held = layout.dict_of(value) if layout.dict_of else {}
        attributes = [*dict.items(held)]
        if layout.cached:
            gained = self._gained(value, attributes, layout.cached)
            attributes = [(n, v) for n, v in attributes if id(n) not in gained]
        names, values = [n for n, _ in attributes], [v for _, v in attributes]
        return self._hash("instance", parts, names, values)

    def _gained(
        self, value: Any, attributes: list[tuple[Any, Any]], cached: frozenset[str]
    ) -> set[int]:
        """Return the ids of the names of cached properties read since the time before.

        Their cached values are left out, since reading them is no change.
        """
        names = [name for name, _ in attributes if type(name) is str]
        present = frozenset(name for name in names if name in cached)
        self.cached[id(value)] = present
        if self._before is None:
            return set()
        known = self._before.get(id(value), frozenset())
        return {id(n) for n in names if n in present and n not in known}

    def _base(self, value: Any, base: type) -> Any:
        """Return what an instance of a subclass of a builtin type is as one of that.

        No new dict or set is made of it: that would ask for its keys' hashes.
        """
        if base is set or base is frozenset:
            return self._of_set(value)
        if base is dict:
            return [*dict.keys(value)], [*dict.values(value)]
        return kind_table.READ_BASE[base](value)

    def _same(self, value: object) -> bytes:
        return self._pickled(("same", id(value)))

    def _opaque(self, value: object) -> bytes:
        self.complete = False
        return self._same(value)

    def _pickled(self, value: Any) -> bytes:
        """Return the digest of leaves in lists, tuples and dicts."""
        digest = hashlib.blake2b(digest_size=16)
        self._update = digest.update
        self._pickler.dump(value)
        return digest.digest()

    def write(self, data: bytes) -> None:
        """Take what the pickler wrote, 64 KiB or one large text at once."""
        self._budget.take(0, len(data))
        self._update(data)
