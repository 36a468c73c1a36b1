"""What the report of `%%inprocess` says of its children's memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ipc_magic.render.document import Block, Bytes, Cell, Note, Percent, Seconds, Table
from ipc_magic.render.units import duration, size

if TYPE_CHECKING:
    from ipc_magic.results.inprocess import ChildRun
    from ipc_magic.results.memory import Memory

# After these endings the headline tells what was copied.
TOLD = frozenset({"killed", "out_of_memory", "timeout", "memory_limit", "keep_free"})


def notable(children: Sequence[ChildRun]) -> list[Memory]:
    """Return the memory of the children if that of one of them is worth telling."""
    known = [child.memory for child in children if child.memory is not None]
    return known if any(memory.notable for memory in known) else []


def how(children: Sequence[ChildRun]) -> str | None:
    """Say how the memory was measured, where the report tells of it."""
    known = notable(children)
    return _weakest(known).how if known else None


def _weakest(known: Sequence[Memory]) -> Memory:
    return next((memory for memory in known if memory.bound), known[0])


def sentence(children: Sequence[ChildRun]) -> str:
    """Say what children that did not end well had copied, after a space."""
    who = "It" if len(children) == 1 else "The children"
    return _copied(children, f"{who} had copied", with_new=True)


def together(children: Sequence[ChildRun]) -> str:
    """Say what several children copied together, after a space."""
    return _copied(children, "They copied", with_new=False, tail=" together")


def _copied(
    children: Sequence[ChildRun], lead: str, *, with_new: bool, tail: str = ""
) -> str:
    known = [m for m in notable(children) if m.copied_bytes is not None]
    if not known:
        return ""
    bound = _bound(known, all_read=len(known) == len(children))
    copied = size(sum(m.copied_bytes or 0 for m in known))
    new = f", new {size(sum(m.new_bytes or 0 for m in known))}" if with_new else ""
    return f" {lead}{bound} {copied}{tail}{new}."


def _bound(known: Sequence[Memory], *, all_read: bool) -> str:
    """Say what a sum of figures is, after a space; "" where it is exact."""
    bound = _weakest(known).bound
    if all_read and all(memory.unread_seconds is None for memory in known):
        return f" {bound}" if bound else ""
    return " about" if bound else " at least"


def one_child(memory: Memory) -> Table | Note:
    """Show the memory of one child above that of one that does nothing."""
    if memory.copied_bytes is None:
        idle = ""
        if memory.baseline_unique_bytes is not None:
            idle = f"; an idle child holds {size(memory.baseline_unique_bytes)}"
        return Note(
            f"It held {size(memory.unique_bytes)} of memory alone (USS), which counts "
            f"new memory as well{idle}."
        )
    heading = f"copied{_bound([memory], all_read=True)}"
    names = ["memory", "inherited", heading, "", "new"]
    cells: list[Cell] = [
        "this child",
        Bytes(memory.inherited_bytes),
        Bytes(memory.copied_bytes),
        Percent(memory.copied_fraction),
        Bytes(memory.new_bytes),
    ]
    idle_cells: list[Cell] = ["idle child", ""]
    idle_cells += [Bytes(memory.baseline_bytes), "", Bytes(memory.baseline_new_bytes)]
    if memory.gave_up:
        names.append("gone")
        cells.append(Bytes(memory.gone_bytes))
        idle_cells.append("")
    rows = [cells] if memory.baseline_bytes is None else [cells, idle_cells]
    return Table(columns=tuple(names), rows=tuple(map(tuple, rows)))


def columns(
    children: Sequence[ChildRun],
) -> list[tuple[str, Callable[[ChildRun], Cell], Cell]]:
    """Return columns of a table of children: heading, cell of one, cell of an idle one.

    There are none where nothing is worth telling.
    """
    known = notable(children)
    if not known:
        return []
    if all(memory.copied_bytes is None for memory in known):
        return [_column("alone (USS)", "unique_bytes", "baseline_unique_bytes", known)]
    copied = f"copied {_weakest(known).bound}".rstrip()
    return [
        _column("inherited", "inherited_bytes", "", known),
        _column(copied, "copied_bytes", "baseline_bytes", known),
        _column("new", "new_bytes", "baseline_new_bytes", known),
    ]


def _column(
    heading: str, field: str, baseline: str, known: Sequence[Memory]
) -> tuple[str, Callable[[ChildRun], Cell], Cell]:
    idle = (getattr(memory, baseline) for memory in known if baseline)
    measured = next((value for value in idle if value is not None), None)

    def cell(child: ChildRun) -> Cell:
        return Bytes(getattr(child.memory, field)) if child.memory else ""

    return heading, cell, "" if measured is None else Bytes(measured)


def last_reading(children: Sequence[ChildRun]) -> list[Block]:
    """Say where figures are older than the child's end, unless the headline does."""
    if any(child.ending in TOLD for child in children):
        return []
    late = [m.unread_seconds for m in notable(children) if m.unread_seconds is not None]
    if not late:
        return []
    whose = "It was" if len(children) == 1 else f"{len(late)} of them were"
    before = f"{'up to ' if len(late) > 1 else ''}{duration(max(late))}"
    return [Note(f"{whose} last read {before} before the end.")]


def all_memory(children: Sequence[ChildRun]) -> list[Block]:
    """Show all figures of each child: what it did, then how that was seen."""
    measured = [(child, child.memory) for child in children if child.memory is not None]
    if not measured:
        return []
    known = [memory for _, memory in measured]
    if all(memory.copied_bytes is None for memory in known):
        figures = _unique(measured)
    else:
        figures = _figures(measured)
    seen = _seen(measured)
    ages = [m.baseline_age_seconds for m in known if m.baseline_age_seconds is not None]
    idle = f"idle child: measured {duration(max(ages))} before this run" if ages else ""
    return [figures, *([seen] if seen else []), *([Note(idle)] if idle else [])]


def _unique(measured: Sequence[tuple[ChildRun, Memory]]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (str(child.index), Bytes(memory.unique_bytes)) for child, memory in measured
    ]
    if (idle := measured[0][1].baseline_unique_bytes) is not None:
        rows.append(("idle", Bytes(idle)))
    return Table(columns=("child", "alone (USS)"), rows=tuple(rows))


def _figures(measured: Sequence[tuple[ChildRun, Memory]]) -> Table:
    names = ["child", "inherited", "copied", "at end", "new", "gone"]
    rows: list[list[Cell]] = [
        [
            str(child.index),
            Bytes(m.inherited_bytes),
            Bytes(m.copied_bytes),
            Bytes(m.end_copied_bytes),
            Bytes(m.new_bytes),
            Bytes(m.gone_bytes),
        ]
        for child, m in measured
    ]
    idle = next((m for _, m in measured if m.baseline_bytes is not None), None)
    if idle is not None:
        copied, new = Bytes(idle.baseline_bytes), Bytes(idle.baseline_new_bytes)
        rows.append(["idle", "", copied, "", new, ""])
    if any(m.written_bytes is not None for _, m in measured):
        names.insert(2, "written")
        written: list[Cell] = [Bytes(m.written_bytes) for _, m in measured]
        for cells, cell in zip(rows, [*written, ""], strict=False):
            cells.insert(2, cell)
    return Table(columns=tuple(names), rows=tuple(map(tuple, rows)))


def _seen(measured: Sequence[tuple[ChildRun, Memory]]) -> Table | None:
    """Show what is known of the readings, in the columns that tell something."""
    every: dict[str, list[Cell | None]] = {
        "sending copied": [_bytes(m.transport_copied_bytes) for _, m in measured],
        "not seen": [_bytes(m.unmeasured_bytes or None) for _, m in measured],
        "read before end": [_seconds(m.unread_seconds) for _, m in measured],
        "witness before": [_seconds(m.witness_seconds) for _, m in measured],
    }
    told = {name: cells for name, cells in every.items() if any(cells)}
    if not told:
        return None
    rows = [
        (str(child.index), *(cells[place] or "" for cells in told.values()))
        for place, (child, _) in enumerate(measured)
    ]
    return Table(columns=("child", *told), rows=tuple(rows))


def _bytes(value: int | None) -> Bytes | None:
    return None if value is None else Bytes(value)


def _seconds(value: float | None) -> Seconds | None:
    return None if value is None else Seconds(value)
