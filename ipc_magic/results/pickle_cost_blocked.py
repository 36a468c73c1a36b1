"""What `%pickle_cost` says first when an object cannot be dumped or loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ipc_magic.render.plain import shorten
from ipc_magic.render.units import plural, size

if TYPE_CHECKING:
    from ipc_magic.results.pickle_cost import PickleCost
    from ipc_magic.results.pickle_cost_records import Offender

# The longest word for a type and the longest reason within a sentence.
TYPE, REASON = 32, 120


def blocked(result: PickleCost, name: str) -> str | None:
    """Say that it cannot be dumped; `None` if it can."""
    blocking = [each for each in result.offenders if each.stage == "dump"]
    by = "" if result.pickler == "pickle" else f" by {result.pickler}"
    if not blocking:
        if result.dump_error is None:
            return None
        return f"{name} cannot be pickled{by}: {_reason(result.dump_error)}."
    if alone(result, blocking):
        return f"{name} ({shorten(blocking[0].type, TYPE)}) cannot be pickled{by}."
    objects = plural(len(blocking), "object")
    block = "blocks" if len(blocking) == 1 else "block"
    said = f"{name} cannot be pickled{by}: {objects} {block} it"
    fails = len(result.offenders) - len(blocking)
    if fails:
        said += f", and {fails:,} could not be loaded"
    rest = result.without_offenders_bytes
    if rest is None:
        return f"{said}."
    without = "it" if len(blocking) == 1 else "them"
    return f"{said}. Without {without}: {size(rest)}."


def not_loadable(result: PickleCost, name: str) -> str | None:
    """Say that it can be dumped and not loaded; `None` if it can be loaded too."""
    failing = [each for each in result.offenders if each.stage == "load"]
    if not failing and (result.load_error is None or result.transports):
        return None
    by = "" if result.pickler == "pickle" else f" by {result.pickler}"
    lead = f"{name} can be pickled{by}"
    if result.pickled_bytes is not None:
        lead = f"{name} is {size(result.pickled_bytes)} pickled{by}"
    lead += " but cannot be loaded"
    if not failing:
        return f"{lead}: {_reason(result.load_error or 'unknown')}."
    if alone(result, failing):
        return f"{lead}: {_reason(failing[0].reason)}."
    fail = "fails" if len(failing) == 1 else "fail"
    return f"{lead}: {plural(len(failing), 'object')} {fail}."


def _reason(text: str) -> str:
    """Return what Python says, without the full stop that some errors have."""
    return shorten(text, REASON).removesuffix(".")


def alone(result: PickleCost, offenders: Sequence[Offender]) -> bool:
    """Say whether the object itself is all that is in the way."""
    itself = (result.expression, f"({result.expression})")
    return len(offenders) == 1 and offenders[0].path in itself
