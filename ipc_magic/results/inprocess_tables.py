"""The tables of `%%inprocess`, and its rows for a DataFrame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ipc_magic.render.document import Bytes, Cell, Rate, Seconds, Table
from ipc_magic.render.plain import shorten
from ipc_magic.results import inprocess_memory
from ipc_magic.results.inprocess_endings import ended
from ipc_magic.results.inprocess_words import NAME
from ipc_magic.results.records import to_plain

if TYPE_CHECKING:
    from ipc_magic.results.inprocess import ChildRun, Crossing, InProcess

# Rows of children or names in the short report, besides one for "4 more".
SHOWN = 4
_PHASES = ("pickled", "buffers", "dump", "transport", "load")


def rows(result: InProcess) -> list[dict[str, Any]]:
    """List one row a child; figures of a crossing begin with its direction."""
    return [_row(child) for child in result.children]


def _row(child: ChildRun) -> dict[str, Any]:
    row: dict[str, Any] = {
        "index": child.index,
        "pid": child.pid,
        "start_method": child.start_method,
        "ending": child.ending,
        "exit_code": child.exit_code,
        "signal": child.signal,
        "error": None if child.error is None else child.error.type,
        "where": child.where,
        "start_seconds": child.start_seconds,
        "run_seconds": child.run_seconds,
        "end_seconds": child.end_seconds,
    }
    for direction, crossing in (("sent", child.sent), ("returned", child.returned)):
        row[f"{direction}_names"] = ", ".join(crossing.names)
        row[f"{direction}_pickled_bytes"] = crossing.pickled_bytes
        row[f"{direction}_buffer_bytes"] = crossing.buffer_bytes
        row[f"{direction}_dump_seconds"] = crossing.dump_seconds
        row[f"{direction}_transport_seconds"] = crossing.transport_seconds
        row[f"{direction}_load_seconds"] = crossing.load_seconds
    if child.memory is not None:
        row |= to_plain(child.memory)
    if child.changes is not None:
        named = to_plain(child.changes)
        row["other_names"] = named.pop("others")
        row |= {f"{what}_names": ", ".join(names) for what, names in named.items()}
    return row


def some_children(result: InProcess) -> Table:
    """Show those that failed first, then by index; never "1 more"."""
    children = result.children
    shown = len(children) if len(children) <= SHOWN + 1 else SHOWN
    order = sorted(children, key=lambda child: child.ending == "finished")
    columns = _columns(result, order)
    rows: list[tuple[Cell, ...]] = [
        tuple(column.of(child) for column in columns) for child in order[:shown]
    ]
    if rest := order[shown:]:
        endings = {ended(child) for child in rest}
        common = shorten(endings.pop(), NAME) if len(endings) == 1 else ""
        row = {"child": f"{len(rest)} more", "ended": common}
        rows.append(tuple(row.get(column.heading, "") for column in columns))
    if any(column.idle for column in columns):
        rows.append(("idle", *(column.idle for column in columns[1:])))
    return Table(columns=tuple(c.heading for c in columns), rows=tuple(rows))


class _Column(NamedTuple):
    heading: str
    of: Callable[[ChildRun], Cell]
    idle: Cell = ""
    """What stands in the row of a child that does nothing."""


def _columns(result: InProcess, order: Sequence[ChildRun]) -> list[_Column]:
    """Choose what tells something: 80 columns are not enough for all."""
    memory = inprocess_memory.columns(result.children)
    failed = any(child.ending != "finished" for child in order)
    returned = result.asked or any(child.returned.names for child in order)
    columns = [_Column("child", lambda child: str(child.index))]
    if not (memory and failed and returned):
        columns.append(_Column("pid", lambda child: str(child.pid)))
    if failed or not memory:
        columns.append(_Column("ended", lambda child: shorten(ended(child), NAME)))
    columns.append(_Column("ran", lambda child: Seconds(child.run_seconds)))
    if returned:
        moved = _Column("returned", lambda child: Bytes(child.returned.moved_bytes))
        columns.append(moved)
    return columns + [_Column(*column) for column in memory]


def one_crossing(direction: str, crossing: Crossing) -> Table:
    """Show the largest names, then all together with what it took."""
    sizes = crossing.names
    order = sorted(sizes, key=lambda name: -(sizes[name] or 0))
    shown = len(order) if len(order) <= SHOWN + 1 else SHOWN
    blank = ("",) * 3
    rows: list[tuple[Cell, ...]] = [
        (shorten(name, NAME), *_parts(crossing, [name]), *blank)
        for name in order[:shown]
    ]
    if rest := order[shown:]:
        rows.append((f"{len(rest)} more", *_parts(crossing, rest), *blank))
    phases = _phases(crossing)
    if len(rows) == 1:
        rows = [(*rows[0][:2], *phases)]
    else:
        rows.append(("together", Bytes(crossing.moved_bytes), *phases))
    return Table(columns=(direction, "bytes", *_PHASES), rows=tuple(rows))


def _parts(crossing: Crossing, names: Sequence[str]) -> tuple[Cell, Cell, Cell]:
    """Return what names took together, in their pickles, and beside them if known."""
    moved = _sum([crossing.names[name] for name in names])
    beside = _sum([crossing.buffers.get(name) for name in names])
    if moved is None or beside is None:
        return Bytes(moved), "", ""
    return Bytes(moved), Bytes(moved - beside), Bytes(beside)


def _phases(crossing: Crossing) -> tuple[Cell, ...]:
    return (
        Bytes(crossing.pickled_bytes),
        Bytes(crossing.buffer_bytes),
        Seconds(crossing.dump_seconds),
        Seconds(crossing.transport_seconds),
        Seconds(crossing.load_seconds),
    )


def all_children(children: Sequence[ChildRun]) -> Table:
    """Show when each child started, ran and ended."""
    rows: list[tuple[Cell, ...]] = [
        (
            str(child.index),
            str(child.pid),
            child.start_method,
            shorten(ended(child), NAME),
            Seconds(child.start_seconds),
            Seconds(child.run_seconds),
            Seconds(child.end_seconds),
        )
        for child in children
    ]
    columns = ("child", "pid", "made by", "ended", "start", "run", "end")
    return Table(columns=columns, rows=tuple(rows))


def _directions(children: Sequence[ChildRun]) -> list[tuple[ChildRun, str, Crossing]]:
    return [
        (child, direction, crossing)
        for child in children
        for direction, crossing in (
            ("to child", child.sent),
            ("to parent", child.returned),
        )
    ]


def all_crossings(children: Sequence[ChildRun]) -> Table:
    """Show both directions of each child."""
    rows = [
        (str(child.index), direction, *_phases(crossing), _rate(crossing))
        for child, direction, crossing in _directions(children)
    ]
    return Table(columns=("child", "direction", *_PHASES, "rate"), rows=tuple(rows))


def _rate(crossing: Crossing) -> Cell:
    return Rate(crossing.bytes_per_second) if crossing.names else ""


def all_names(children: Sequence[ChildRun]) -> Table:
    """Show each name that crossed, by child and direction."""
    rows: list[tuple[Cell, ...]] = []
    for child, direction, crossing in _directions(children):
        for name in crossing.names:
            rows.append((str(child.index), direction, name, *_parts(crossing, [name])))
        # Sums add up: framing, and parts that several names share, are a row.
        together, named = crossing.moved_bytes, _sum(list(crossing.names.values()))
        if crossing.names and together and named is not None and together > named:
            rest = (str(child.index), direction, "rest", Bytes(together - named))
            rows.append((*rest, "", ""))
    columns = ("child", "direction", "name", "bytes", "pickled", "buffers")
    return Table(columns=columns, rows=tuple(rows))


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [moved for moved in sizes if moved is not None]
    return sum(known) if len(known) == len(sizes) else None
