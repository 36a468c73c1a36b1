"""What does it cost to send each of the notebook's variables."""

from __future__ import annotations

import pickle
import types
from collections.abc import Collection, Mapping
from typing import Any

from ipc_magic.experiments import pickle_cost_stages as stages
from ipc_magic.experiments.pickle_cost_object import prepare
from ipc_magic.experiments.pickle_cost_options import Options
from ipc_magic.experiments.pickle_cost_stages import Answers, Known, Stage
from ipc_magic.pickling import cost, deep_size, describe, offenders, paths, picklers
from ipc_magic.pickling.failures import Failed
from ipc_magic.pickling.timing import clock, timed
from ipc_magic.process.front import Front
from ipc_magic.results.base import Finding
from ipc_magic.results.pickle_cost import PickleCostTable, Skipped, Variable
from ipc_magic.results.setting import Setting, count_threads

BUDGET_SECONDS = 2.0
# One variable may take this much of it, or the others would have none.
SHARE_SECONDS = 0.7
DEEP_SIZE_SECONDS = 0.2
# Above this the first dump is told, though copy-on-write is in it.
DUMP_AGAIN_SECONDS = 0.05
_PROTOCOL = " protocol"  # no variable has such a name
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


def user_names(
    namespace: Mapping[str, Any], hidden: Collection[str]
) -> dict[str, object]:
    """Return the variables that are the person's own: made here, and no module."""
    return {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in hidden and not _is_imported(value)
    }


def _is_imported(value: Any) -> bool:
    kind = type(value)
    if issubclass(kind, type):
        return paths.namespace(value).get("__module__") != "__main__"
    if kind in _FUNCTIONS:
        return bool(value.__module__ != "__main__")
    return issubclass(kind, types.ModuleType)


def measure(
    variables: Mapping[str, object], options: Options, front: Front
) -> tuple[PickleCostTable, bool]:
    """Return what it costs to send each of these, and whether that was interrupted.

    All of it takes about two seconds, in forks; what is left then is skipped.
    """
    threads = count_threads()
    prepare()
    deadline = clock() + BUDGET_SECONDS
    limit = min(SHARE_SECONDS, options.timeout)
    rows = [
        Stage(
            name=name,
            doing="measuring it",
            run=_row(name, value, options, deadline),
            limit_seconds=limit,
        )
        for name, value in variables.items()
    ]
    answers = stages.run([_protocol(options), *rows], front)
    protocols = answers.said.pop(_PROTOCOL, {})
    measured = {
        name: Variable(name=name, **row)
        for name, row in answers.said.items()
        if "error" not in row
    }
    table = PickleCostTable(
        setting=Setting.current(parent_threads=threads),
        findings=_findings(answers),
        pickler=options.pickler,
        protocol=protocols.get("protocol", pickle.DEFAULT_PROTOCOL),
        usual_protocol=protocols.get("usual_protocol"),
        variables=tuple(measured.values()),
        skipped=tuple(
            Skipped(what=name, reason=_reason(name, answers))
            for name in variables
            if name not in measured
        ),
    )
    return table, answers.interrupted


def _protocol(options: Options) -> Stage:
    """Find the protocol out in a fork: dill changes the process that imports it."""

    def run(_known: Known) -> dict[str, Any]:
        pickling = picklers.pickling(options.pickler, options.protocol)
        usual = picklers.usual_protocol(options.pickler)
        return {"protocol": pickling.protocol, "usual_protocol": usual}

    return Stage(
        name=_PROTOCOL,
        doing="looking at the pickler",
        run=run,
        limit_seconds=options.timeout,
    )


def _row(name: str, value: object, options: Options, deadline: float) -> Any:
    def run(_known: Known) -> dict[str, Any]:
        if clock() > deadline:
            return {"error": "no time was left"}
        pickling = picklers.pickling(options.pickler, options.protocol)
        row: dict[str, Any] = {"type": describe.describe(value)}
        try:
            counted = cost.count(value, pickling)
        except Failed:
            found = offenders.find(value, name, pickling)
            row["offender"] = found.offenders[0].path if found.offenders else name
        else:
            row["pickled_bytes"] = counted.pickled_bytes
            row["dump_seconds"] = counted.first_dump_seconds
            if counted.first_dump_seconds < DUMP_AGAIN_SECONDS:
                runs = timed(
                    lambda: pickling.dumps(value),
                    share_seconds=0.0,
                    repeats=1,
                    warm=counted.first_dump_seconds,
                )
                row["dump_seconds"] = runs.seconds[0]
        size = deep_size.measure(value, budget_seconds=DEEP_SIZE_SECONDS)
        row["deep_size_bytes"] = size.deep_size_bytes
        return row

    return run


def _reason(name: str, answers: Answers) -> str:
    unknown = "not reached" if answers.interrupted else "unknown"
    said: str = answers.of(name).get("error", answers.ended.get(name, unknown))
    return said


def _findings(answers: Answers) -> tuple[Finding, ...]:
    if not answers.interrupted:
        return ()
    message = "interrupted: what was measured until then is shown"
    return (Finding(code="interrupted", message=message),)
