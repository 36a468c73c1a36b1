"""The sentences of `%cow_watch`: what was copied, and whether several would fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ipc_magic.render.plain import in_terminal_title
from ipc_magic.render.units import percent, plural, size, size_of_whole, size_sum
from ipc_magic.results.inprocess_endings import predicate

if TYPE_CHECKING:
    from ipc_magic.results.cow_watch import CowWatch, WatchedChild
    from ipc_magic.results.inprocess import ChildRun
    from ipc_magic.results.memory import Memory

IN_A_CHILD = "%%cow_watch -n 1"
"""What runs the cell in a forked child, as one types it."""


def headline(result: CowWatch) -> str:
    """Say how much the children copied of what they inherited."""
    said = _answer(result)
    failed = [run for run in result.runs if run.ending != "finished"]
    stopped = [run for run in failed if run.ending == "keep_free"]
    if stopped and result.limits.keep_free_bytes is not None:
        return _stopped(result, stopped)
    if failed:
        first = failed[0]
        which = f"Child {first.pid}" if len(result.runs) == 1 else "A child"
        said = f"{which} {predicate(first, result.limits)}. {said}"
    return said


def _stopped(result: CowWatch, stopped: Sequence[ChildRun]) -> str:
    left = f"Stopped: {size(result.limits.keep_free_bytes)} left free."
    copied = sum(memory.copied_bytes or 0 for memory in measured(result.children))
    who = "The child" if len(result.runs) == 1 else "The children"
    some = ""
    if len(stopped) < len(result.runs):
        were = "was" if len(stopped) == 1 else "were"
        some = f" {len(stopped)} of {len(result.runs)} children {were} running."
    return f"{left}{some} {who} had copied {size(copied)}. Your session is unharmed."


def _answer(result: CowWatch) -> str:
    known = measured(result.children)
    forked = result.forked
    if result.lost:
        return "What was copied is not known: the process that watches children ended."
    if not result.children:
        how = IN_A_CHILD if result.statement else "ipc_magic.cow_watch(function)"
        return f"{_nothing_forked(result)}. To run it in a forked child: {how}"
    if not forked:
        count = plural(len(result.children), "child", "children")
        programs = "a new program" if len(result.children) == 1 else "new programs"
        return (
            f"{_nothing_forked(result)}: {count} began as {programs} and inherited "
            "nothing."
        )
    if not known:
        unique = [
            child.memory.unique_bytes
            for child in forked
            if child.memory is not None and child.memory.unique_bytes is not None
        ]
        if unique:
            return (
                f"{plural(len(forked), 'child', 'children')} used {size(sum(unique))} "
                "unique memory (USS), which counts new memory as well."
            )
        return (
            f"{plural(len(forked), 'child', 'children')} ran; what was copied is not "
            "known."
        )
    largest = max(known, key=lambda memory: memory.copied_bytes or 0)
    copied = largest.copied_bytes or 0
    bound = "" if _is_sure(result) else "at most "
    share = f" ({percent(largest.copied_fraction)})" if largest.copied_fraction else ""
    of_all = size_of_whole(copied, largest.inherited_bytes or 0)
    if len(forked) == 1:
        said = f"1 child copied {bound}{of_all} it inherited{share}."
        grew = " It was still growing when it ended."
        return said + grew if forked[0].growing else said
    together = size(sum(memory.copied_bytes or 0 for memory in known))
    said = (
        f"{len(forked)} children copied {bound}{together} together, up to {of_all} "
        f"each inherited{share}."
    )
    if any(child.growing for child in forked):
        said += " It was still growing when they ended."
    return said


def _nothing_forked(result: CowWatch) -> str:
    what = "cell" if result.statement else "block"
    return f"No child was forked while the {what} ran here"


def maker(child: WatchedChild) -> str:
    """Say who forked a child, and in which line: `DataLoader, line 1`."""
    # One knows them by their last names; the module of these is all that tells them.
    name = child.how.removeprefix("multiprocessing.")
    return name if child.line is None else f"{name}, line {child.line}"


def too_little_free(result: CowWatch) -> str | None:
    """Say that less than --keep-free was left while the cell ran here, if it was."""
    least, asked = result.least_free_bytes, result.limits.keep_free_bytes
    if not result.ran_here or least is None or asked is None or least >= asked:
        return None
    return (
        f"less than --keep-free was left at one time: {size(least)}. What your code "
        "forks itself is not stopped."
    )


def live(children: int, copied_bytes: int | None, new_bytes: int | None) -> str:
    """Say in a line what children have copied while they run."""
    who = plural(children, "child", "children")
    return f"{who}: copied {size(copied_bytes)}, new {size(new_bytes)} so far"


def so_far(*, free: int | None, keep_free: int, **seen: Any) -> str | None:
    """Say the same of children that the session's code forks, in a line, and warn."""
    warning = _little_is_free(free, keep_free)
    line = live(**seen) if seen["children"] else None
    said = "; ".join(filter(None, (line, warning)))
    return f"{said}\n" if said else None


def in_title(*, free: int | None, keep_free: int, **seen: Any) -> str | None:
    """Say it in the title of a terminal, where it tears no output, but warn below."""
    warning = warning_alone(free=free, keep_free=keep_free)
    if warning or not seen["children"]:
        return warning
    return in_terminal_title(live(**seen))


def warning_alone(*, free: int | None, keep_free: int, **_seen: Any) -> str | None:
    """Warn in a line of its own, and say nothing else."""
    warning = _little_is_free(free, keep_free)
    return warning and f"{warning}\n"


def _little_is_free(free: int | None, keep_free: int) -> str | None:
    """Warn where less is free than should be; nobody's children are stopped."""
    if free is None or free >= keep_free:
        return None
    return f"less than {size(keep_free)} of memory is free (--keep-free)"


def _is_sure(result: CowWatch) -> bool:
    """Tell whether nothing but what was copied is counted: somebody did copy it."""
    return result.exact or result.mechanism in ("uffd", "smaps")


def measured(children: Sequence[WatchedChild]) -> list[Memory]:
    """Return the memory of the forked children of which it is known."""
    return [
        child.memory
        for child in children
        if child.started_by == "fork"
        and child.memory is not None
        and child.memory.copied_bytes is not None
    ]


def projection(result: CowWatch) -> str | None:
    """Say what several such children at once would need, beside what there is."""
    asked = result.projection
    if asked is None:
        return None
    needed = size_sum(asked.parent_bytes, asked.children, asked.child_bytes)
    there = size(asked.machine_bytes)
    fits = "" if asked.bytes <= asked.machine_bytes else " They would not fit."
    which = " (your CPUs)" if asked.for_cpus else ""
    return f"{asked.children} at once{which}: {needed}. This machine has {there}.{fits}"


def other_figures(result: CowWatch) -> str | None:
    """Say what RSS would have said, and why that is another question."""
    if result.resident_bytes is None:
        return None
    idle = result.idle_resident_bytes
    beside = "" if idle is None else f" and {size(idle)} for an idle one"
    return (
        f"htop shows {size(result.resident_bytes)} for such a child{beside} "
        "(RSS counts shared memory in full); "
        f"USS is {size(result.unique_bytes)}, new memory included."
    )
