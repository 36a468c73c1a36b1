"""The headline of `%pickle_cost`: what it costs, or why it cannot be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc_magic.render.units import duration, percent, plural, size
from ipc_magic.results.pickle_cost_blocked import alone, blocked, not_loadable
from ipc_magic.results.pickle_cost_phrases import (
    NAME,
    PATH,
    elide,
    quoted,
    transport_words,
)
from ipc_magic.results.pickle_cost_shares import culprit, fastest, kept_as, seconds_of

if TYPE_CHECKING:
    from ipc_magic.results.pickle_cost import PickleCost
    from ipc_magic.results.pickle_cost_records import Transport

# What goes along with a function is named from this part of its bytes on.
_WORTH_NAMING = 0.1
# Below this part of the plain time a way is faster, beyond what runs differ by; and
# what need not be converted each time is worth a sentence below this part.
_CLEARLY, _MUCH_LESS = 0.9, 0.5


def answer(result: PickleCost) -> str:
    """Say the one sentence that can be read alone."""
    name = quoted(result.expression)
    said = None if _goes_by_value(result) else blocked(result, name)
    if said := said or not_loadable(result, name):
        return said
    if result.not_loaded is not None:
        return _too_big(result)
    return _function(result) if is_function(result) else _cost(result)


def more(result: PickleCost) -> str | None:
    """Say what is behind the answer, if there is one thing to say."""
    if not is_sendable(result):
        return None
    if result.alternatives:
        return _best_alternative(result)
    if result.protocols:
        return _best_protocol(result)
    total = result.pickled_bytes
    if is_function(result) or len(result.transports) > 1 or not total:
        return None
    found = culprit(result)
    if found is None:
        return None
    what, part, most = found
    share = percent(part / total)
    if most:
        return f"{share} of it is {elide(what, PATH)}."
    return f"The largest part is {elide(what, PATH)}: {share}."


def is_function(result: PickleCost) -> bool:
    """Say whether it is a function, a class or a method."""
    return result.by_name_bytes is not None or result.by_value_bytes is not None


def is_sendable(result: PickleCost) -> bool:
    """Say whether nothing is known to be in the way."""
    return not (
        result.offenders
        or result.dump_error
        or (result.load_error and not result.transports)
        or result.not_loaded
    )


def _cost(result: PickleCost) -> str:
    by = "" if result.pickler == "pickle" else f" by {result.pickler}"
    lead = f"{quoted(result.expression)} is {size(result.pickled_bytes)} pickled{by}"
    if result.pickled_bytes is None:
        lead = f"The pickled size of {quoted(result.expression)} is unknown"
    return f"{lead}{_takes(result)}."


def _takes(result: PickleCost) -> str:
    timed = [each for each in result.transports if each.round_trip_seconds]
    if not timed:
        phases = (
            ("dump", result.min_dump_seconds),
            ("load", result.min_load_seconds),
        )
        known = [
            f"{word} {duration(took)}" for word, took in phases if took is not None
        ]
        return f"; {', '.join(known)}" if known else ""
    if len(timed) == 1:
        (one,) = timed
        took = duration(one.min_seconds)
        return f"; to a child and back by {transport_words(one.name)} takes {took}"
    order = sorted(timed, key=_seconds)
    ends = [
        f"{duration(each.min_seconds)} ({transport_words(each.name)})"
        for each in (order[0], order[-1])
    ]
    return f"; round trip {' to '.join(ends)}"


def _seconds(transport: Transport) -> float:
    return transport.min_seconds or 0.0


def _too_big(result: PickleCost) -> str:
    held = result.deep_size_bytes
    lead = quoted(result.expression) + ("" if held is None else f" ({size(held)})")
    counted = f"{lead}: bytes counted, {size(result.pickled_bytes)} pickled."
    refused = result.not_loaded
    if refused is None or refused.needed_bytes is None:
        return f"{counted} Not loaded, not sent."
    force = "--force" if result.from_magic else "force=True"
    free = refused.free_bytes
    left = "" if free is None else f", {size(free)} are free"
    needs = f"that needs about {size(refused.needed_bytes)}{left}"
    return f"{counted} Not loaded, not sent: {needs} ({force})."


def _function(result: PickleCost) -> str:
    by_name = result.by_name_bytes
    lead = quoted(result.expression)
    if by_name is None:
        said = f"{lead} cannot be pickled by name."
    else:
        bound = result.self_bytes
        mostly = "" if bound is None else f", {size(bound)} of it its `self`"
        has_it = "a forked worker has it"
        if result.spawned_has_it is not None:
            and_spawned = ", a spawned one too" if result.spawned_has_it else ""
            has_it += and_spawned or ", a spawned one does not"
        said = f"{lead} is {size(by_name)} by name (pickle){mostly}: {has_it}."
    if result.by_value_bytes is None:
        return said
    value = f"By value (cloudpickle; joblib, dask) it is {size(result.by_value_bytes)}"
    largest = max(result.captured, key=lambda row: row.bytes, default=None)
    if largest and largest.bytes >= _WORTH_NAMING * result.by_value_bytes:
        value += f", of which {elide(largest.name, NAME)} {size(largest.bytes)}"
    return f"{said} {value}."


def _goes_by_value(result: PickleCost) -> bool:
    """Say whether it is itself all that pickle refuses, such as a lambda."""
    blocking = [each for each in result.offenders if each.stage == "dump"]
    return result.by_value_bytes is not None and alone(result, blocking)


def _best_alternative(result: PickleCost) -> str | None:
    best = fastest(result.alternatives)
    if best is None:
        return None
    number = sum(each.seconds is not None for each in result.alternatives)
    lead = f"Of {plural(number, 'way')} measured, "
    took, plain = seconds_of(best), seconds_of(result.alternatives[0])
    if took is None or plain is None or took > _CLEARLY * plain:
        said = f"{lead}none is clearly faster than sending it as it is."
    else:
        what = elide(best.what, NAME)
        said = f"{lead}the fastest is {what}: {duration(took)}, as it is"
        said += f" {duration(plain)}."
    kept = kept_as(result.alternatives)
    if kept is None or (took is not None and kept[1] > _MUCH_LESS * took):
        return said
    return f"{said} Kept as {elide(kept[0], NAME)} it takes {duration(kept[1])}."


def _best_protocol(result: PickleCost) -> str | None:
    sized = [
        (each.pickled_bytes, -each.protocol)
        for each in result.protocols
        if each.pickled_bytes is not None
    ]
    timed = [
        (each.dump_seconds + each.load_seconds, each.protocol)
        for each in result.protocols
        if each.dump_seconds is not None and each.load_seconds is not None
    ]
    if not sized or not timed:
        return None
    # Of equal ones the latest, which others are likely to use.
    small = -min(sized)[1]
    fast = min(timed)[1]
    if small == fast:
        return f"Protocol {small} is the smallest and the fastest."
    return f"Protocol {small} is the smallest, protocol {fast} the fastest."
