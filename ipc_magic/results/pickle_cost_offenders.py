"""How `%pickle_cost` shows what is in the way: a table of paths, types and advice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ipc_magic.render.document import Block, Note, Table, Verbatim
from ipc_magic.render.plain import clean, shorten
from ipc_magic.render.text import INDENT, WIDTH
from ipc_magic.results.pickle_cost_blocked import alone
from ipc_magic.results.pickle_cost_phrases import NAME, PATH, elide

if TYPE_CHECKING:
    from ipc_magic.results.pickle_cost import PickleCost
    from ipc_magic.results.pickle_cost_records import Offender

# Advice, or a reason, in characters: two lines.
_SAID = 120
_STAGES = {
    "dump": "cannot be pickled",
    "load": "cannot be loaded",
    "spawn": "cannot be loaded by a spawned child",
}


def some_offenders(result: PickleCost, most: int) -> list[Block]:
    """Show the first ones, with advice that fits their types.

    Advice that has no room in the table stands below it, once for each type. Of what
    fails at load the reason is shown, which is the class's own.
    """
    every = result.offenders
    if alone(result, every):  # the headline tells all but this
        return [Note(shorten(every[0].advice, _SAID))]
    some = every if len(every) <= most + 1 else every[:most]
    at_load = all(each.stage == "load" for each in every)
    rows = [_row(each, at_load=at_load) for each in some]
    if _fits(rows):
        columns = ("path", "type", "why" if at_load else "what to do")
        return [_table(columns, rows, every, some)]
    said = dict.fromkeys(f"{row[1]}: {row[2]}" for row in rows)
    table = _table(("path", "type"), [row[:2] for row in rows], every, some)
    return [table, *(Note(text) for text in said)]


def all_offenders(result: PickleCost) -> list[Block]:
    """Show each with its whole path, which is to be copied, and all that is known."""
    text = [
        line
        for each in (*result.offenders, *result.warnings)
        for line in (
            clean(each.path),
            f"{INDENT}{clean(each.type)} {_STAGES[each.stage]}: {clean(each.reason)}",
            f"{INDENT}{clean(each.advice)}",
        )
    ]
    return [Verbatim("\n".join(text))] if text else []


def _row(offender: Offender, *, at_load: bool) -> tuple[str, str, str]:
    """Return path, type and advice; of what fails `at_load`, as all do, the reason."""
    also = ", at load" if offender.stage == "load" and not at_load else ""
    return (
        elide(offender.path, PATH),
        shorten(offender.type, NAME - len(also)) + also,
        shorten(offender.reason if at_load else offender.advice, _SAID),
    )


def _table(
    columns: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    every: Sequence[Offender],
    some: Sequence[Offender],
) -> Table:
    left = len(every) - len(some)
    blank = ("",) * (len(columns) - 1)
    more = [(f"{left:,} more", *blank)] if left else []
    return Table(columns=columns, rows=(*rows, *more))


def _fits(rows: Sequence[tuple[str, ...]]) -> bool:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return len(INDENT) + sum(widths) + 2 * (len(widths) - 1) <= WIDTH
