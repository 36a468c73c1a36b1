"""What does it cost to send this object: the run of `%pickle_cost`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ipc_magic.experiments import (
    pickle_cost_dumps,
    pickle_cost_loads,
    pickle_cost_stages,
)
from ipc_magic.experiments.pickle_cost_fields import fields
from ipc_magic.experiments.pickle_cost_object import Plan, prepare
from ipc_magic.experiments.pickle_cost_options import Options
from ipc_magic.experiments.pickle_cost_stages import Answers
from ipc_magic.pickling.describe import type_name
from ipc_magic.pickling.picklers import Pickling
from ipc_magic.process.front import Front
from ipc_magic.results.pickle_cost import PickleCost
from ipc_magic.results.pickle_cost_phrases import elide
from ipc_magic.results.setting import Setting, count_threads

_PATH = 60


def measure(
    obj: object,
    expression: str,
    options: Options,
    front: Front,
    *,
    from_magic: bool,
) -> tuple[PickleCost, bool]:
    """Return what it costs to send `obj`, and whether the person interrupted that.

    All code of the object's classes runs in forks. Raises `CannotStart` when none can
    be made.
    """
    threads = count_threads()
    prepare()
    answers = pickle_cost_stages.run(Plan(obj, expression, options).stages(), front)
    if not answers.interrupted and "count" in answers.ended:
        answers.said["blocked"], answers.interrupted = pickle_cost_dumps.find(
            obj,
            expression,
            (options.pickler, options.protocol),
            front,
            timeout=options.timeout,
            hangs="count" in answers.late,
        )
    loads: list[dict[str, Any]] = []
    if not answers.interrupted and _look_for_loads(answers):
        what, counted = answers.of("what"), answers.of("count")
        looked = pickle_cost_loads.find(
            obj,
            expression,
            Pickling(name=options.pickler, protocol=what["protocol"]),
            front,
            dump_seconds=counted.get("first_dump_seconds", 0.0),
            timeout=options.timeout,
            hangs=_load_hangs(answers),
        )
        loads, answers.interrupted = looked.offenders, looked.interrupted
        if looked.unfinished:
            answers.said["loads"] = {"error": looked.unfinished}
        if looked.unjudged:
            answers.said["unjudged"] = {"error": _some(looked.unjudged)}
    said = PickleCost(
        setting=Setting.current(parent_threads=threads),
        expression=expression,
        from_magic=from_magic,
        **fields(answers, type_name(type(obj)), options, loads),
    )
    return said, answers.interrupted


def _some(paths: Sequence[str]) -> str:
    first, others = elide(paths[0], _PATH), len(paths) - 1
    look = f"and {others:,} more look" if others else "looks"
    return f"{first} {look} at what cannot be pickled"


def _load_hangs(answers: Answers) -> bool | None:
    """Return whether the plain load, in C, did not end in its time, if it was tried."""
    if not answers.of("cost") and "cost" not in answers.ended:
        return None
    said = answers.of("cost").get("load_error") or ""
    return "cost" in answers.late or "was not done after" in said


def _look_for_loads(answers: Answers) -> bool:
    """Return whether something may fail to load: it does, or was never tried."""
    if "protocol" not in answers.of("what") or "count" in answers.ended:
        return False
    return bool(
        answers.of("cost").get("load_error") or answers.of("blocked").get("offenders")
    )
