"""The report of `%cow_watch`: tables and notes below its headline."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from ipc_magic.render.document import Block, Bytes, Cell, Document, Note, Seconds, Table
from ipc_magic.render.fit import LINES, fit
from ipc_magic.render.plain import shorten
from ipc_magic.render.text import lines
from ipc_magic.render.units import duration
from ipc_magic.results import cow_watch_words as words
from ipc_magic.results.inprocess_tables import SHOWN

if TYPE_CHECKING:
    from ipc_magic.results.base import Level
    from ipc_magic.results.cow_watch import CowWatch, Point, WatchedChild

_MORE = "More is in the full report: print(result.details())"
_FINDING = 150  # characters of a finding's message in the short report: two lines
_LEVELS = "▁▂▃▄▅▆▇█"
_NOT_THERE = "·"
_COPIED, _SHARED = "█", "░"
_PLACES = 12  # characters of a line or a bar
_FEW_READINGS = 2  # of these no line over time can be drawn
_FEWEST = 2  # rows of children that are worth a table
_MAKERS = 2  # shown of all that forked children


def document(result: CowWatch, level: Level) -> Document:
    """Compose the report at one level."""
    if level == "line":
        return Document(headline=result.headline)
    if level == "full":
        return _document(result, len(result.children), full=True)
    # Rather fewer rows, and no word of other figures, than no table.
    for explained in (True, False):
        for shown in range(SHOWN, _FEWEST - 1, -1):
            whole = _document(result, shown, explained=explained)
            if len(lines(whole)) <= LINES:
                return whole
    return fit(_document(result, _FEWEST), more=_MORE)


def _document(
    result: CowWatch, shown: int, *, full: bool = False, explained: bool = True
) -> Document:
    blocks: list[Block] = []
    for said in (words.projection(result), words.too_little_free(result)):
        if said is not None:
            blocks.append(Note(said))
    if result.children:
        blocks.append(children(result, shown))
    if full:
        blocks += [timeline(child) for child in result.children if child.timeline]
    if explained and (said := words.other_figures(result)) is not None:
        blocks.append(Note(said))
    blocks += [
        Note(one.message if full else shorten(one.message, _FINDING))
        for one in result.findings
    ]
    return Document(
        headline=result.headline,
        blocks=tuple(blocks),
        next=_next(result),
        setting=_setting(result, full=full),
    )


def _next(result: CowWatch) -> str | None:
    """Return what measures the code itself, where its children inherited nothing."""
    if result.forked or not result.children or not result.statement:
        return None
    return words.IN_A_CHILD


def children(result: CowWatch, most: int) -> Table:
    """Show a row a child, those that copied most first, and the idle one."""
    order = sorted(result.children, key=lambda child: -_copied(child))
    shown = len(order) if len(order) <= most + 1 else most
    gone = any(child.memory is not None and child.memory.gave_up for child in order)
    columns = ["child", "pid", "inherited", "copied", "new"]
    columns += ["gone"] if gone else []
    if any(len(child.timeline) > _FEW_READINGS for child in result.forked):
        columns.append(f"copied over {duration(result.seconds)}")
        pictures = lines_over_time(order, result.seconds)
    else:
        columns.append("copied of all")
        pictures = [_bar(child) for child in order]
    rows = [
        (*_row(child, gone=gone), picture)
        for child, picture in list(zip(order, pictures, strict=True))[:shown]
    ]
    if rest := order[shown:]:
        blank: tuple[Cell, ...] = ("",) * (len(columns) - 2)
        rows.append((f"{len(rest)} more", "", *blank))
    if result.control is not None:
        idle: list[Cell] = ["idle child", "", "", Bytes(result.control.copied_bytes)]
        idle += [Bytes(result.control.new_bytes)]
        rows.append((*idle, *("",) * (len(columns) - 5)))
    return Table(columns=tuple(columns), rows=tuple(rows))


def _copied(child: WatchedChild) -> int:
    return (child.memory.copied_bytes or 0) if child.memory else 0


def _row(child: WatchedChild, *, gone: bool) -> tuple[Cell, ...]:
    memory = child.memory
    name = str(child.index) if child.started_by == "fork" else child.started_by
    if memory is None:
        figures: list[Cell] = ["", "", ""]
    else:
        figures = [
            Bytes(memory.inherited_bytes),
            Bytes(memory.copied_bytes),
            Bytes(memory.new_bytes),
        ]
    if gone:
        figures.append(Bytes(memory.gone_bytes) if memory else "")
    return (name, str(child.pid), *figures)


def _bar(child: WatchedChild) -> str:
    if child.memory is None or child.memory.copied_fraction is None:
        return ""
    copied = round(min(child.memory.copied_fraction, 1.0) * _PLACES)
    return _COPIED * copied + _SHARED * (_PLACES - copied)


def lines_over_time(children: Sequence[WatchedChild], seconds: float) -> list[str]:
    """Draw what each had copied over the time of the run, all to one scale."""
    points = [point for child in children for point in child.timeline]
    most = max((point.copied_bytes or 0 for point in points), default=0) or 1
    end = max([seconds, *(point.seconds for point in points)]) or 1.0
    return [
        _line_over_time(child.timeline, end, most) if child.started_by == "fork" else ""
        for child in children
    ]


def _line_over_time(points: Sequence[Point], end: float, most: int) -> str:
    places = [_NOT_THERE] * _PLACES
    last, copied = None, 0
    for point in points:
        place = min(_PLACES - 1, int(point.seconds / end * _PLACES))
        for between in range(place if last is None else last + 1, place):
            places[between] = _level(copied, most)
        copied = max(copied, point.copied_bytes or 0)
        places[place] = _level(copied, most)
        last = place
    return "".join(places)


def _level(copied_bytes: int, most: int) -> str:
    return _LEVELS[round(copied_bytes / most * (len(_LEVELS) - 1))]


def timeline(child: WatchedChild) -> Table:
    """Show the readings of one child, those that say the same as one."""
    rows: list[tuple[Cell, ...]] = []
    for _, same in groupby(child.timeline, key=lambda p: (p.copied_bytes, p.new_bytes)):
        point = next(same)
        figures = (Bytes(point.copied_bytes), Bytes(point.new_bytes))
        rows.append((Seconds(point.seconds), *figures))
    return Table(
        columns=(f"child {child.pid} after", "copied", "new"), rows=tuple(rows)
    )


def _setting(result: CowWatch, *, full: bool) -> tuple[str, ...]:
    if result.ran_here:
        who = list(dict.fromkeys(map(words.maker, result.forked)))
        ran = ["ran here", *(f"forked by {name}" for name in who[:_MAKERS])]
        if len(who) > _MAKERS:
            ran.append(f"by {len(who) - _MAKERS} more")
    else:
        number = len(result.runs)
        noun = "child" if number == 1 else "children"
        ran = [f"ran in {number} forked {noun}, {duration(result.seconds)}"]
    known = words.measured(result.children)
    how = known[0].how if known else None
    setting = result.setting
    python = f"Python {setting.python}" if full else setting.python_words
    parts = [*ran, how, python, setting.system if full else None]
    return tuple(part for part in parts if part is not None)
