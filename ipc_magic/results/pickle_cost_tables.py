"""The tables of `%pickle_cost`: where the bytes are, and what each way takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipc_magic.render.document import Bytes, Cell, Count, Percent, Seconds, Table
from ipc_magic.render.plain import shorten
from ipc_magic.render.text import INDENT, WIDTH
from ipc_magic.render.units import plural, words
from ipc_magic.results.pickle_cost_phrases import NAME, elide
from ipc_magic.results.pickle_cost_shares import (
    beyond,
    converting,
    fastest,
    largest,
    root_of,
)

if TYPE_CHECKING:
    from ipc_magic.results.pickle_cost import PickleCost
    from ipc_magic.results.pickle_cost_records import Part

# The longest path and the longest description in a table, in characters.
PATH, TYPE = 40, 44
# Below this share of the whole a part gets no row in the short report.
_SMALL = 0.01

Row = tuple[Cell, ...]


def rows(result: PickleCost) -> list[dict[str, Any]]:
    """List one row a part; those of depth 1 sum to the pickle."""
    return [
        {
            "path": part.path,
            "row": part.row,
            "type": part.type,
            "count": part.count,
            "bytes": part.bytes,
            "depth": part.depth,
            "shared_from": part.shared_from,
        }
        for part in result.parts
    ]


def _share(part: int, whole: int | None) -> Percent:
    return Percent(part / whole if whole else None)


def shown(total: int, most: int) -> int:
    """Say how many of the rows are shown: never all but one, never "1 more"."""
    return total if total <= most + 1 else most


def some_parts(result: PickleCost, most: int) -> Table | None:
    """Show the largest parts below the whole; `None` if there are none."""
    total, root = result.pickled_bytes, root_of(result)
    chosen = [
        part
        for part in largest(result.parts, most)
        if not total or part.bytes >= _SMALL * total
    ]
    if not chosen or total is None:
        return None
    of_root = (elide(root, PATH), Count(total), _share(total, total))
    table: list[Row] = [(*of_root, shorten(result.type, TYPE))]
    for part in chosen:
        path = INDENT + elide(beyond(part.path, root), PATH)
        what = shorten(part.type, TYPE)
        table.append((path, Count(part.bytes), _share(part.bytes, total), what))
    top = [part for part in chosen if part.depth == 1]
    left = [part for part in result.parts if part.depth == 1 and part not in top]
    rest = total - sum(part.bytes for part in top)
    objects = sum(part.count for part in left if part.row != "itself")
    if rest:
        said = plural(objects, "part") if objects else "itself"
        table.append((f"{INDENT}rest", Count(rest), _share(rest, total), said))
    return Table(columns=("path", "bytes", "share", "type"), rows=tuple(table))


def all_parts(result: PickleCost) -> Table:
    """Show the whole tree; what was met before says where."""
    root = root_of(result)
    table: list[Row] = [
        (
            str(part.depth),
            _spelled(part, root),
            Count(part.bytes),
            _share(part.bytes, result.pickled_bytes),
            shorten(part.type, TYPE)
            if part.shared_from is None
            else f"met before: {elide(part.shared_from, TYPE)}",
        )
        for part in result.parts
    ]
    return Table(columns=("depth", "path", "bytes", "share", "type"), rows=tuple(table))


def _spelled(part: Part, root: str) -> str:
    path = elide(beyond(part.path, root), PATH)
    return path if part.row == "part" else f"{path} ({part.row})"


def types(result: PickleCost, most: int | None = None) -> Table:
    """Show the types that wrote the most, then all others together."""
    order = sorted(result.types, key=lambda row: -row.bytes)
    number = len(order) if most is None else shown(len(order), most)
    total = sum(row.bytes for row in order)
    table: list[Row] = [
        (
            shorten(row.type, TYPE),
            Count(row.count),
            Count(row.bytes),
            _share(row.bytes, total),
        )
        for row in order[:number]
    ]
    if rest := order[number:]:
        count, size = sum(row.count for row in rest), sum(row.bytes for row in rest)
        more = f"{len(rest)} more"
        table.append((more, Count(count), Count(size), _share(size, total)))
    return Table(columns=("type", "objects", "bytes", "share"), rows=tuple(table))


def captured(result: PickleCost, most: int | None = None) -> Table:
    """Show what goes along with a function by value, then the code and the rest."""
    order = sorted(result.captured, key=lambda row: -row.bytes)
    number = len(order) if most is None else shown(len(order), most)
    total = result.by_value_bytes
    table: list[Row] = [
        (elide(row.name, NAME), Count(row.bytes), _share(row.bytes, total))
        for row in order[:number]
    ]
    if rest := order[number:]:
        size = sum(row.bytes for row in rest)
        table.append((f"{len(rest)} more", Count(size), _share(size, total)))
    code = result.captured_rest_bytes
    if code is not None:
        table.append(("code and the rest", Count(code), _share(code, total)))
    return Table(columns=("by value", "bytes", "share"), rows=tuple(table))


def transports(result: PickleCost, most: int) -> Table:
    """Show what each way there and back took, in the order asked for."""
    number = shown(len(result.transports), most)
    table: list[Row] = [
        (
            shorten(each.name, NAME),
            Bytes(each.wire_bytes),
            Seconds(each.min_seconds),
            Seconds(each.dump_seconds),
            Seconds(each.transport_seconds),
            Seconds(each.load_seconds),
            Seconds(each.reply_seconds),
        )
        for each in result.transports[:number]
    ]
    if rest := result.transports[number:]:
        table.append((f"{len(rest)} more", *("",) * 6))
    columns = ("transport", "written", "takes", "dump", "across", "load", "reply")
    return _narrow(columns, table)


def _narrow(columns: tuple[str, ...], rows: list[Row]) -> Table:
    """Leave out the last columns until names and figures have room side by side."""
    widths = [
        max(len(words(cell)) for cell in column)
        for column in zip(columns, *rows, strict=True)
    ]
    while len(INDENT) + sum(widths) + 2 * (len(widths) - 1) > WIDTH and widths[3:]:
        widths.pop()
    return Table(
        columns=columns[: len(widths)],
        rows=tuple(row[: len(widths)] for row in rows),
    )


def transport_sizes(result: PickleCost) -> Table:
    """Show what each way moved, and all of its runs' middle."""
    table: list[Row] = [
        (
            shorten(each.name, NAME),
            Bytes(each.pickled_bytes),
            Bytes(each.buffer_bytes),
            Count(len(each.round_trip_seconds)),
            Seconds(each.median_seconds),
            Seconds(each.first_seconds),
        )
        for each in result.transports
    ]
    columns = ("transport", "pickled", "buffers", "runs", "median", "first")
    return Table(columns=columns, rows=tuple(table))


def protocols(result: PickleCost) -> Table:
    """Show one dump and one load with each protocol."""
    failed = any(each.error for each in result.protocols)
    table: list[Row] = []
    for each in result.protocols:
        beside = "" if each.buffer_bytes is None else Bytes(each.buffer_bytes)
        row: Row = (
            str(each.protocol),
            Bytes(each.pickled_bytes),
            beside,
            Seconds(each.dump_seconds),
            Seconds(each.load_seconds),
        )
        table.append((*row, shorten(each.error or "", NAME)) if failed else row)
    columns = ("protocol", "bytes", "out of band", "dump", "load")
    return Table(columns=(*columns, "why") if failed else columns, rows=tuple(table))


def alternatives(result: PickleCost, most: int) -> Table:
    """Show what else one could send, the fastest marked.

    Converting is making it from the object, and the object from it again.
    """
    best = fastest(result.alternatives)
    order = [way for way in result.alternatives if way.seconds is not None]
    number = shown(len(order), most)
    table: list[Row] = []
    for way in order[:number]:
        converted = converting(way)
        table.append(
            (
                shorten(way.what, NAME),
                Bytes(moved(way.pickled_bytes, way.buffer_bytes)),
                Seconds(way.seconds),
                "" if converted is None else Seconds(converted),
                "fastest" if way is best else "",
            )
        )
    if rest := order[number:]:
        table.append((f"{len(rest)} more", *("",) * 4))
    columns: tuple[str, ...] = ("sent as", "bytes", "round trip", "convert", "")
    if not any(isinstance(row[3], Seconds) for row in table):
        columns = columns[:3] + columns[4:]
        table = [row[:3] + row[4:] for row in table]
    return Table(columns=columns, rows=tuple(table))


def moved(*parts: int | None) -> int | None:
    """Sum what moved in several ways; `None` unless all of it is known."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
