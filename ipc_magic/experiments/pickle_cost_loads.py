"""What pickles and cannot be loaded, found in forks that may crash, exit or hang.

What ends a fork is known by the number that it noted last in memory that is shared;
another fork names it and the search goes on without it.
"""

from __future__ import annotations

import dataclasses
import mmap
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from ipc_magic.experiments import pickle_cost_stages as stages
from ipc_magic.experiments.pickle_cost_stages import Stage
from ipc_magic.pickling import loading
from ipc_magic.pickling.picklers import Pickling
from ipc_magic.process.front import Front

MOST_ENDS = 20
"""After so many objects that end their process, no more are looked for."""
# The search loads in Python, a hundred times slower than C does.
LEAST_SECONDS, PER_DUMP = 5.0, 200
_NUMBER = struct.Struct("q")
_NONE = -1


class Loads(NamedTuple):
    """What was found, as plain dicts, and how far the search came."""

    offenders: list[dict[str, Any]]
    interrupted: bool
    unfinished: str | None = None
    """Why not all was looked at."""
    unjudged: Sequence[str] = ()
    """Paths to what fails, perhaps only as something in it cannot be pickled."""


def find(
    obj: object,
    expression: str,
    pickling: Pickling,
    front: Front,
    *,
    dump_seconds: float,
    timeout: float,
    hangs: bool | None,
) -> Loads:
    """Look for what cannot be loaded.

    `hangs` says that the plain load did not end: only then is what the search has not
    got past to blame, and not the size of the object. `None` says that it was not
    tried: it is tried first, with what cannot be dumped left out.
    """
    limit = min(timeout, max(LEAST_SECONDS, PER_DUMP * dump_seconds))
    if hangs is None:
        tried = stages.run(
            [
                Stage(
                    name="try",
                    doing="loading it",
                    run=lambda _known: {"well": loading.loads(obj, pickling)},
                    limit_seconds=limit,
                )
            ],
            front,
        )
        if tried.interrupted or tried.of("try").get("well"):
            return Loads([], tried.interrupted)
    found: list[dict[str, Any]] = []
    skip: set[int] = set()
    with mmap.mmap(-1, _NUMBER.size) as noted:

        def search(_known: stages.Known) -> Any:
            def note(number: int) -> None:
                _NUMBER.pack_into(noted, 0, number)

            judged = loading.find(obj, expression, pickling, note=note, skip=skip)
            return dataclasses.asdict(judged)

        def name(number: int, reason: str) -> Stage:
            def run(_known: stages.Known) -> Any:
                row = loading.name(obj, expression, pickling, number, reason)
                return {"offenders": [] if row is None else [dataclasses.asdict(row)]}

            return Stage(name="name", doing="naming it", run=run, limit_seconds=timeout)

        stage = Stage(name="find", doing="loading it", run=search, limit_seconds=limit)
        while len(skip) < MOST_ENDS:
            _NUMBER.pack_into(noted, 0, _NONE)
            answers = stages.run([stage], front)
            if "find" in answers.late and not hangs:
                return Loads(found, False, f"it takes longer than {limit:g} s")
            number = _NUMBER.unpack_from(noted, 0)[0]
            if "find" not in answers.ended or number in {_NONE, *skip}:
                break
            skip.add(number)
            named = stages.run([name(number, answers.ended["find"])], front)
            found += named.of("name").get("offenders", ())
            if named.interrupted:
                return Loads(found, True)
    judged = answers.of("find")
    return Loads(
        found + judged.get("offenders", []),
        answers.interrupted,
        unjudged=judged.get("unjudged", []),
    )
