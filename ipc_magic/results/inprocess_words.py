"""The headline of `%%inprocess`: how it went, and what came back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ipc_magic.render.plain import shorten
from ipc_magic.render.units import duration, plural, size
from ipc_magic.results import inprocess_memory
from ipc_magic.results.inprocess_endings import inside, label, predicate

if TYPE_CHECKING:
    from ipc_magic.results.inprocess import ChildRun, InProcess

# The longest name within a sentence, in characters.
NAME = 32

_UNHARMED = " Your session is unharmed."
# After these a reader fears for the session, which is another process.
_VIOLENT = frozenset({"killed", "out_of_memory", "memory_limit", "keep_free"})


def headline(result: InProcess) -> str:
    """Say in one to three short sentences how it went."""
    children = result.children
    if not children:
        return "No child was started."
    failed = [child for child in children if child.ending != "finished"]
    if not failed:
        return f"{_ran(children)} {_returned(result)}"
    came = f" {_returned(result)}" if _names(result) else ""
    unharmed = any(child.ending in _VIOLENT for child in failed)
    told = any(child.ending in inprocess_memory.TOLD for child in failed)
    held = inprocess_memory.sentence(children) if told else ""
    tail = held + came + (_UNHARMED if unharmed else "")
    if any(child.ending == "keep_free" for child in failed):
        return _stopped_to_keep_free(result, failed, brief=bool(held)) + tail
    if len(children) == 1:
        child = children[0]
        return f"Child {child.pid} {predicate(child, result.limits)}.{tail}"
    return _several_failed(result, failed) + tail


def _several_failed(result: InProcess, failed: Sequence[ChildRun]) -> str:
    total = len(result.children)
    if all(child.ending == "interrupted" for child in failed):
        after = _after_longest(failed)
        return f"{_of(len(failed), total)} {_were(failed)} interrupted{after}."
    lead = f"{_of(len(failed), total)} failed"
    said = [predicate(child, result.limits, brief=True) for child in failed]
    if len(failed) > 1 and len(set(said)) == 1:
        return f"{lead}: each {said[0]}."
    named = [f"{label(child)} {what}" for child, what in zip(failed, said, strict=True)]
    if len(failed) == 1:
        named = [f"{label(failed[0])} {predicate(failed[0], result.limits)}"]
    others = f"; and {len(named) - 2} more" if len(named) > 2 else ""
    return f"{lead}: {'; '.join(named[:2])}{others}."


def _stopped_to_keep_free(
    result: InProcess, failed: Sequence[ChildRun], *, brief: bool
) -> str:
    limit = result.limits.keep_free_bytes
    left = "too little memory was left" if limit is None else f"{size(limit)} left free"
    lead = f"Stopped: {left}."
    if len(result.children) == 1:
        child = failed[0]
        if child.run_seconds is None:
            return lead
        ran = duration(child.run_seconds)
        return f"{lead} Child {child.pid} had run for {ran}{inside(child)}."
    stopped = [child for child in failed if child.ending == "keep_free"]
    if brief and len(stopped) == len(result.children):
        return lead
    lead = f"{lead} {_of(len(stopped), len(result.children))} {_were(stopped)} stopped."
    others = len(failed) - len(stopped)
    return f"{lead} {others} more failed." if others else lead


def _ran(children: Sequence[ChildRun]) -> str:
    times = [child.run_seconds for child in children if child.run_seconds is not None]
    if len(children) == 1:
        lasted = f" for {duration(times[0])}" if times else ""
        return f"Ran in child {children[0].pid}{lasted}."
    many = f"Ran in {plural(len(children), 'child', 'children')}"
    copied = inprocess_memory.together(children)
    if len(times) < len(children):  # the slowest may be one whose time is not known
        return f"{many}.{copied}"
    slowest = max(children, key=lambda child: child.run_seconds or 0.0)
    return f"{many} for {duration(max(times))} (slowest {slowest.pid}).{copied}"


def _returned(result: InProcess) -> str:
    """Say what came back: `scores` came back: 762.9 MiB in 0.15 s."""
    names = _names(result)
    missing = [name for name in result.asked if name != "*" and name not in names]
    if not names and not missing:
        return "Nothing came back." if result.asked else "Nothing was asked back."
    failing = f"{_listed(missing)} did not come back." if missing else ""
    if not names:
        return failing
    came = f"{_listed(names)} came back{_from_whom(result)}"
    figures = _size_and_time(result, names)
    return f"{came}{figures}.{' ' if failing else ''}{failing}"


def _names(result: InProcess) -> list[str]:
    """List the names that came back from any child, in order."""
    return list(
        dict.fromkeys(
            name for child in result.children for name in child.returned.names
        )
    )


def _from_whom(result: InProcess) -> str:
    total = len(result.children)
    if total == 1:
        return ""
    giving = sum(bool(child.returned.names) for child in result.children)
    return " from each" if giving == total else f" from {giving} of {total}"


def _size_and_time(result: InProcess, names: Sequence[str]) -> str:
    crossings = [child.returned for child in result.children if child.returned.names]
    sizes = [crossing.moved_bytes for crossing in crossings]
    if len(names) == 1:  # its own bytes, without what frames the message
        sizes = [
            moved if (own := crossing.names[names[0]]) is None else own
            for crossing, moved in zip(crossings, sizes, strict=True)
        ]
    known = [moved for moved in sizes if moved is not None]
    said = f": {size(sum(known))}" if len(known) == len(sizes) else ""
    # The times of several children overlap: their sum would be no time that passed.
    if len(crossings) > 1:
        return f"{said} together" if said else ""
    seconds = crossings[0].seconds
    return said if seconds is None else f"{said} in {duration(seconds)}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} names"
    quoted = [f"`{shorten(name, NAME)}`" for name in names]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def _of(part: int, total: int) -> str:
    children = plural(total, "child", "children")
    return f"All {children}" if part == total else f"{part} of {children}"


def _were(children: Sequence[ChildRun]) -> str:
    return "was" if len(children) == 1 else "were"


def _after_longest(children: Sequence[ChildRun]) -> str:
    times = [child.run_seconds for child in children]
    known = [seconds for seconds in times if seconds is not None]
    return f" after {duration(max(known))}" if len(known) == len(times) else ""
