"""What ends the process that pickles it, found in forks that may crash, exit or hang.

A fork notes each object in shared memory before code of its class runs. What it noted
last is to blame when it ends; the next fork leaves that out and goes on. Forks have
the session's objects under the same addresses, so an `id` names one in all of them.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Mapping
from typing import Any

from ipc_magic.experiments import pickle_cost_stages as stages
from ipc_magic.experiments.pickle_cost_stages import Stage
from ipc_magic.pickling import offenders, paths, picklers, sifting
from ipc_magic.pickling.counting import Counting
from ipc_magic.pickling.gone import Gone
from ipc_magic.pickling.offenders import Found
from ipc_magic.pickling.picklers import Pickling
from ipc_magic.pickling.search import Search
from ipc_magic.pickling.sifting_in_python import PythonSieve
from ipc_magic.process.front import Front

MOST_ENDS = 20
"""After so many objects that end their process, no more are looked for."""
LIMIT_SECONDS = 10.0
_NUMBER = struct.Struct("q")


class _Sieve(sifting.Sieve):
    """Notes what it is about to reduce, and leaves out what ended others."""

    def __init__(
        self, pickling: Pickling, note: Callable[[int], None], ends: Mapping[int, str]
    ) -> None:
        self.file = Counting()
        self._note, self._ends = note, ends
        super().__init__(pickling, self.file)

    def examine(self, obj: Any) -> Any:
        """Reduce `obj`, unless that is known to end the process."""
        reason = self._ends.get(id(obj))
        if reason is None:
            self._note(id(obj))
            return super().examine(obj)
        self.offences[id(obj)] = sifting.Offence(obj, reason)
        self.examined.add(id(obj))
        return Gone, ()


class _PythonSieve(PythonSieve):
    """The same for a pickler in Python: all that it saves is noted."""

    def __init__(
        self, pickling: Pickling, note: Callable[[int], None], ends: Mapping[int, str]
    ) -> None:
        self.file = Counting()
        self._note, self._ends = note, ends
        super().__init__(pickling, self.file)

    def saving(self) -> Callable[..., None]:
        """Return the method that saves an object."""
        guarded = super().saving()

        def save(pickler: object, obj: Any, *args: Any, **options: Any) -> None:
            reason = self._ends.get(id(obj))
            if reason is not None:
                self.offences[id(obj)] = sifting.Offence(obj, reason)
            self._note(id(obj))
            guarded(pickler, obj, *args, **options)

        return save


def find(
    obj: object,
    expression: str,
    options: tuple[str, int | None],
    front: Front,
    *,
    timeout: float,
    hangs: bool,
) -> tuple[dict[str, Any], bool]:
    """Return what blocks the dump of `obj`, and whether it was interrupted.

    `options` are the pickler's name and protocol. `hangs` says that the plain dump did
    not end: only then is what the search has not got past to blame. What is found are
    the fields of `Found`; nothing where too much ends its process.
    """
    limit = min(timeout, LIMIT_SECONDS)
    ends: dict[int, str] = {}
    with mmap.mmap(-1, _NUMBER.size) as noted:

        def search(_known: stages.Known) -> Any:
            def note(key: int) -> None:
                _NUMBER.pack_into(noted, 0, key)

            pickling = picklers.pickling(*options)
            sieve = _Sieve if pickling.in_c else _PythonSieve
            return _found(obj, expression, sieve(pickling, note, ends))

        stage = Stage(
            name="find",
            doing="dumping it",
            run=search,
            limit_seconds=limit,
        )
        while len(ends) < MOST_ENDS:
            _NUMBER.pack_into(noted, 0, 0)
            answers = stages.run([stage], front)
            if "find" in answers.late and not hangs:
                return {"error": f"it takes longer than {limit:g} s"}, False
            last = _NUMBER.unpack_from(noted, 0)[0]
            if "find" not in answers.ended or last in {0, *ends}:
                return dict(answers.of("find")), answers.interrupted
            ends[last] = answers.ended["find"]
    return {}, False


def _found(obj: object, expression: str, met: _Sieve | _PythonSieve) -> Found:
    start = paths.root(expression)
    met.dump(obj)
    blocking = {key: offence.obj for key, offence in met.offences.items()}
    spelled = Search(obj, met).find(start, blocking)
    return Found(
        offenders=tuple(
            offenders.offender(
                offence.obj, spelled.get(key, start), "dump", offence.reason
            )
            for key, offence in met.offences.items()
        ),
        warnings=(),
        pickled_bytes=met.file.size,
    )
