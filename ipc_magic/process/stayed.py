"""What a cell did to the notebook's names in a child, told by the child itself.

`Before` is made in the parent, before the fork and before anything is measured. In the
child it is asked when the last reading of the memory has been taken.
"""

from __future__ import annotations

import ast
import gc
import time
import types
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from ipc_magic.process import fingerprint, fingerprint_arrays, looking, names, reach
from ipc_magic.process.budget import Budget, TooLarge
from ipc_magic.process.cell import Cell

BUDGET_SECONDS = 0.05
"""CPU time for all fingerprints that the parent takes."""
BUDGET_BYTES = 32 << 20
_BUDGET_ITEMS = 400_000
CHILD_SECONDS = 0.2
"""CPU time for those of the child, which copies the pages that it looks at."""
LISTED = 1000
"""So many names a child tells at most; the rest are counted."""

# Their objects stay as they are: the name itself would be bound anew.
_UNCHANGING = looking.ids(
    *(int, float, complex, bool, str, bytes, type(None), range),
    *(types.ModuleType, types.BuiltinFunctionType, types.CodeType),
)
_SIZED = looking.ids(list, dict, set, bytearray)


class Before:
    """The names of the notebook before a cell, and what they held.

    Values are looked at only with `look_within`. `keep` keeps all values alive, so that
    surely no name that is bound anew is missed. `ours` are names that are ours.
    """

    def __init__(
        self,
        shell: Any,
        cell: Cell,
        *,
        look_within: bool,
        keep: bool,
        ours: tuple[str, ...] = (),
    ) -> None:
        self._namespace: dict[str, Any] = shell.user_ns
        self._hidden: Container[str] = shell.user_ns_hidden
        # Where they are the shell's, each child gets its own.
        exits = {n: shell.user_ns[n] for n in ("exit", "quit") if n in shell.user_ns}
        persons = {name for name, _ in names.of_person(exits, self._hidden)}
        self._ours = {*ours, *exits} - persons
        with _no_collections():
            bound = self._bound(cell.local_names)
            self._snapshot = names.Snapshot(bound, keep=keep)
            self._prints: dict[str, _Print] = {}
            if look_within and (reached := self._reached(shell, cell, bound)):
                self._take(reached)

    def _bound(self, more: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        own = names.of_person({**self._namespace, **more}, self._hidden)
        return {name: value for name, value in own if name not in self._ours}

    def _reached(self, shell: Any, cell: Cell, bound: dict[str, Any]) -> dict[str, Any]:
        """Return the variables within reach of the cell whose values may change."""
        flags = shell.compile.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(cell.code, cell.filename, "exec", flags, dont_inherit=True)
        try:
            found = reach.names_reached(code, bound, self._namespace)
        except RuntimeError:  # a thread changes what is looked at
            found = None
        changing = {n: v for n, v in bound.items() if id(type(v)) not in _UNCHANGING}
        if found is None:
            return changing
        # Another name of the same object is reached with it.
        ids = {id(changing[name]) for name in found if name in changing}
        return {n: v for n, v in changing.items() if id(v) in ids} if ids else {}

    def _take(self, reached: dict[str, Any]) -> None:
        budget = Budget(_BUDGET_ITEMS, BUDGET_BYTES)
        end = time.thread_time() + BUDGET_SECONDS
        # Small ones first, and each for half of the time that is left: a large one is
        # not to cost all others their turn.
        known: dict[int, _Print] = {}
        for name in sorted(reached, key=lambda name: _size(reached[name])):
            value = reached[name]
            if id(value) not in known:
                now = time.thread_time()
                budget.deadline = now + (end - now) / 2
                known[id(value)] = _Print(value, budget, self._namespace)
            self._prints[name] = known[id(value)]

    def new(self) -> list[str]:
        """List the names that were created or bound anew since, but no modules."""
        return [
            name
            for name, value in self._bound().items()
            if not looking.is_instance(value, types.ModuleType)
            and not (name in self._snapshot and self._snapshot.is_same(name, value))
        ]

    def let_go(self) -> None:
        """Keep no object alive any more."""
        self._snapshot.let_go()

    def changes(self) -> dict[str, Any]:
        """Return what became of the names: lists of at most `LISTED` in all."""
        now = self._bound()
        kept = {name: value for name, value in now.items() if name in self._snapshot}
        same = {n: v for n, v in kept.items() if self._snapshot.is_same(n, v)}
        deadline = time.thread_time() + CHILD_SECONDS
        verdicts = {
            name: one.verdict(same[name], deadline, self._namespace)
            for name, one in self._prints.items()
            if name in same
        }
        found = {
            "mutated": [n for n, verdict in verdicts.items() if verdict == "mutated"],
            "rebound": [name for name in kept if name not in same],
            "deleted": self._snapshot.deleted(now),
            "created": [name for name in now if name not in self._snapshot],
            "unchecked": [n for n, v in verdicts.items() if v == "unchecked"],
        }
        told: dict[str, Any] = {}
        left = LISTED
        for what, all_of_them in found.items():
            told[what] = all_of_them[:left]
            left -= len(told[what])
        listed = (*told["created"], *told["rebound"])
        told["modules"] = [
            n for n in listed if looking.is_instance(now[n], types.ModuleType)
        ]
        told["others"] = sum(map(len, found.values())) - (LISTED - left)
        return told


class _Print:
    """What one value was like, as far as the budget went."""

    def __init__(self, value: Any, budget: Budget, known: Mapping[str, Any]) -> None:
        self._taken: fingerprint.Fingerprint | None = None
        self._glance: object = None
        try:
            self._taken = fingerprint.of(value, budget, known)
        except Exception:  # noqa: BLE001 - beyond it, or changed by a thread meanwhile
            self._glance = _glance(value)

    def verdict(self, value: Any, deadline: float, known: Mapping[str, Any]) -> str:
        """Return whether it is "mutated", the "same", or that is "unchecked"."""
        taken = self._taken
        if taken is None:
            return "unchecked" if _glance(value) == self._glance else "mutated"
        # Whatever is as it was needs no more than it did.
        enough = Budget(
            2 * taken.items + 1000, 2 * taken.data_bytes + (1 << 16), deadline
        )
        try:
            now = fingerprint.of(value, enough, known, taken)
        except TooLarge:
            return "mutated"
        except Exception:  # noqa: BLE001 - no time, no memory, or changed by a thread
            return "unchecked"
        if now.digest != taken.digest:
            return "mutated"
        return "same" if taken.complete and now.complete else "unchecked"


def _glance(value: Any) -> object:
    """Return what is seen at once of a value too large to be looked through."""
    kind = type(value)
    return len(value) if id(kind) in _SIZED else fingerprint_arrays.shape(value, kind)


def _size(value: Any) -> int:
    return len(value) if id(type(value)) in _SIZED else 0


@contextmanager
def _no_collections() -> Iterator[None]:
    """Collect no garbage in the block: that runs finalizers of the person's."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
