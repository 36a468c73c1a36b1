"""From what the stages answered to the fields of the result."""

from __future__ import annotations

import pickle
from typing import Any

from ipc_magic.experiments.pickle_cost_options import Options
from ipc_magic.experiments.pickle_cost_stages import Answers
from ipc_magic.results.base import Finding
from ipc_magic.results.pickle_cost import (
    Alternative,
    Captured,
    NotLoaded,
    Offender,
    Part,
    Protocol,
    Skipped,
    Transport,
    TypeRow,
)

# What the stages find out, in words.
_FIGURES = {
    "deep": "size in memory",
    "code": "size by value",
    "blocked": "search for what blocks it",
    "loads": "full search for what cannot be loaded",
    "spawn": "search for what a spawned child cannot load",
    "parts": "parts",
    "unjudged": "answer whether it can be loaded",
    "cost": "times",
    "compare": "comparison",
}


def fields(
    answers: Answers, type_name: str, options: Options, loads: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the fields of the result that the stages have answered."""
    return {
        "findings": tuple(_findings(answers)),
        **_of_what(answers, type_name, options),
        **_of_count(answers),
        **_of_cost(answers),
        **_of_code(answers),
        **_of_offenders(answers, loads),
        **_of_more(answers),
    }


def _of_what(answers: Answers, type_name: str, options: Options) -> dict[str, Any]:
    what, deep = answers.of("what"), answers.of("deep")
    default = options.protocol
    if default is None:
        default = pickle.DEFAULT_PROTOCOL
    return {
        "type": what.get("type", type_name),
        "pickler": options.pickler,
        "protocol": what.get("protocol", default),
        "usual_protocol": what.get("usual_protocol"),
        "deep_size_bytes": deep.get("deep_size_bytes"),
        "deep_size_seconds": deep.get("seconds"),
        "deep_size_reason": deep.get("reason") or _why_not("deep", answers),
    }


def _why_not(stage: str, answers: Answers) -> str | None:
    """Return why a stage has no answer, `None` if it has one."""
    error: str | None = answers.of(stage).get("error", answers.ended.get(stage))
    return error


def _of_count(answers: Answers) -> dict[str, Any]:
    counted, room = answers.of("count"), answers.of("room")
    names = ("pickled_bytes", "buffer_bytes", "first_dump_seconds")
    full = room and not room.get("fits", True)
    return {
        **{name: counted.get(name) for name in names},
        "dump_error": _why_not("count", answers),
        "not_loaded": NotLoaded(
            needed_bytes=room["needed_bytes"], free_bytes=room["free_bytes"]
        )
        if full
        else None,
    }


def _of_cost(answers: Answers) -> dict[str, Any]:
    costs = answers.of("cost")
    runs = ("dump_seconds", "dump_gc_seconds", "load_seconds", "load_gc_seconds")
    trips = {
        name.removeprefix("trip "): answer
        for name, answer in answers.said.items()
        if name.startswith("trip ") and "round_trip_seconds" in answer
    }
    return {
        **{name: tuple(costs.get(name, ())) for name in runs},
        "load_error": costs.get("load_error") or answers.ended.get("cost"),
        "transports": tuple(Transport(**answer) for answer in trips.values()),
    }


def _of_code(answers: Answers) -> dict[str, Any]:
    code = answers.of("code")
    names = ("by_name_bytes", "spawned_has_it", "self_bytes", "by_value_bytes")
    return {
        **{name: code.get(name) for name in names},
        "captured": _records(Captured, code.get("captured")),
        "captured_rest_bytes": code.get("rest_bytes"),
    }


def _of_offenders(answers: Answers, loads: list[dict[str, Any]]) -> dict[str, Any]:
    blocked = answers.of("blocked")
    found = blocked.get("offenders", ()) if _why_not("count", answers) else ()
    return {
        "offenders": _records(Offender, [*found, *loads]),
        "warnings": _records(
            Offender, (blocked or answers.of("spawn")).get("warnings")
        ),
        "without_offenders_bytes": blocked.get("pickled_bytes") if found else None,
        "cloudpickle_offenders": answers.of("cloudpickle").get("offenders"),
    }


def _of_more(answers: Answers) -> dict[str, Any]:
    parts, compared = answers.of("parts"), answers.of("compare")
    protocols = answers.of("protocols").get("protocols")
    return {
        "parts": _records(Part, parts.get("parts")),
        "types": _records(TypeRow, parts.get("types")),
        "protocols": _records(Protocol, protocols),
        "alternatives": _records(Alternative, compared.get("rows")),
        "skipped": _records(Skipped, compared.get("skipped")),
    }


def _records(kind: Any, rows: Any) -> tuple[Any, ...]:
    return tuple(kind(**row) for row in rows or ())


def _findings(answers: Answers) -> list[Finding]:
    """Tell what was left out, and what ended a process."""
    found = []
    if answers.interrupted:
        message = "interrupted: what was measured until then is shown"
        found.append(Finding(code="interrupted", message=message))
    deep = answers.of("deep")
    if deep.get("out_of_time"):
        message = f"no {_FIGURES['deep']}: {deep['reason']}; --force takes the time"
        found.append(Finding(code="left_out", message=message))
    for name, answer in answers.said.items():
        if "error" in answer and name.startswith("trip "):
            transport = name.removeprefix("trip ")
            found.append(
                Finding(
                    code="transport_left_out",
                    message=_left_out(transport, answer["error"]),
                )
            )
        elif "error" in answer and name != "count":
            message = f"no {_FIGURES.get(name, name)}: {answer['error']}"
            found.append(Finding(code="left_out", message=message))
    for name, how in answers.ended.items():
        # Where nothing is found that is to blame, the report begins with it anyway.
        if name != "count" or answers.of("blocked").get("offenders"):
            found.append(Finding(code="stage_ended", message=how))
    return found


def _left_out(name: str, error: str) -> str:
    again = f"{name} cannot be used here: "
    return f"{name} left out: {error.removeprefix(again)}"
