"""How a child ended, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc_magic.render.plain import shorten
from ipc_magic.render.units import duration, seconds_option, size, size_option

if TYPE_CHECKING:
    from ipc_magic.results.inprocess import ChildRun, Limits

# The longest piece of others' text within a sentence, in characters.
LINE = 64


def label(child: ChildRun) -> str:
    """Name a child among others: `child 1 (4712)`."""
    return f"child {child.index} ({child.pid})"


def ended(child: ChildRun) -> str:
    """Say how a child ended in a word or two, for a table."""
    match child.ending:
        case "raised":
            return f"raised {_error(child)}"
        case "exited":
            return f"sys.exit({_code(child)})"
        case "quit":
            code = child.exit_code
            return "no result" if code is None else f"exit code {code}"
        case "killed":
            return child.signal or "killed"
        case "timeout":
            return "--timeout"
        case "memory_limit":
            return "--memory"
        case "keep_free":
            return "--keep-free"
        case _:
            return child.ending.replace("_", " ")


def predicate(child: ChildRun, limits: Limits, *, brief: bool = False) -> str:
    """Say how a child ended, after its name; brief: without source and time."""
    after = "" if brief else _after(child)
    line = _line(child)
    place = f" in {line}" if brief and line else inside(child)
    match child.ending:
        case "finished":
            return "finished" + after
        case "raised":
            return f"raised {_error(child)}{f' in {line}' if line else ''}{after}"
        case "exited":
            called = f"called sys.exit({_code(child)})"
            text = child.error.message if child.error else ""
            said = f": {shorten(text, LINE)}" if text else ""
            return f"{called}{f' in {line}' if line else ''}{after}{said}"
        case "quit" if child.exit_code is None:
            return f"ended without reporting a result{place}: exit status unknown"
        case "quit":
            code = child.exit_code
            return f"ended with exit code {code} without reporting a result{place}"
        case "killed":
            signal = child.signal or "a signal that is not known"
            return f"was killed by {signal}{_judged(child.evidence)}{place}"
        case "out_of_memory":
            why = _judged(child.signal, child.evidence)
            return f"was killed for lack of memory{why}{place}"
        case "timeout":
            return _timed_out(child, limits, place, brief=brief)
        case "memory_limit":
            return f"was stopped at {_memory_limit(limits)}{after}{place}"
        case "keep_free":
            return f"was stopped{after}{place}"
        case "interrupted":
            return f"was interrupted{after}{_doing(child, place)}"
        case "not_started":
            why = _judged(_status(child), child.evidence)
            return f"did not start: it never answered{why}"
        case "lost":
            why = shorten(child.evidence or "its channel broke", LINE)
            status = _status(child) or "exit status unknown"
            return f"was lost{after}{place}: {why}, {status}"


def _after(child: ChildRun) -> str:
    return "" if child.run_seconds is None else f" after {duration(child.run_seconds)}"


def inside(child: ChildRun) -> str:
    """Say where it was, with the source: ` in cell line 3: lock.acquire()`."""
    return f" in {shorten(child.where, LINE)}" if child.where else ""


def _line(child: ChildRun) -> str:
    """`cell line 3` of "cell line 3: lock.acquire()": a traceback shows the rest."""
    return shorten(child.where.partition(": ")[0], LINE) if child.where else ""


def _doing(child: ChildRun, place: str) -> str:
    """Only what was seen may be called waiting or running."""
    seen = child.evidence if child.evidence in ("waiting", "running") else ""
    return f", {seen}{place}" if seen and place else place


def _timed_out(
    child: ChildRun, limits: Limits, place: str, *, brief: bool = False
) -> str:
    limit = limits.timeout_seconds
    option = "" if limit is None else f"--timeout {seconds_option(limit)}"
    if brief or child.run_seconds is None:
        return f"was stopped at {option or 'its time limit'}{_doing(child, place)}"
    named = f" ({option})" if option else ""
    return f"was stopped{_after(child)}{named}{_doing(child, place)}"


def _memory_limit(limits: Limits) -> str:
    if limits.memory_bytes is None:
        return "its memory limit"
    return f"--memory {size_option(limits.memory_bytes)}"


def _judged(*reasons: str | None) -> str:
    said = [shorten(reason, LINE) for reason in reasons if reason]
    return f" ({', '.join(said)})" if said else ""


def _status(child: ChildRun) -> str | None:
    if child.signal is not None:
        return child.signal
    return None if child.exit_code is None else f"exit code {child.exit_code}"


def _error(child: ChildRun) -> str:
    return "an error" if child.error is None else shorten(child.error.type, LINE)


def _code(child: ChildRun) -> str:
    return "" if child.exit_code is None else str(child.exit_code)


def no_room(free_bytes: int, keep_free_bytes: int) -> str:
    """Say why children are not started when memory is short already."""
    return (
        f"not started: {size(free_bytes)} of memory is free, and --keep-free asks for "
        f"{size(keep_free_bytes)}; a smaller --keep-free runs it all the same"
    )


def no_room_for(needed_bytes: int, margin_bytes: int) -> str:
    """Say why results are not taken that leave less than --keep-free."""
    left = size(max(0, margin_bytes))
    return f"it has {size(needed_bytes)}, and --keep-free leaves {left} for it"
