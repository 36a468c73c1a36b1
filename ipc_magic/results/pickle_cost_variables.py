"""The report of `%pickle_cost` without an expression: the notebook's variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipc_magic.render.document import Block, Bytes, Cell, Document, Note, Seconds, Table
from ipc_magic.render.fit import LINES, fit
from ipc_magic.render.plain import shorten
from ipc_magic.render.text import WIDTH
from ipc_magic.render.units import plural, size
from ipc_magic.results.pickle_cost_phrases import (
    NAME,
    elide,
    has_unseen,
    quoted,
    setting_words,
)
from ipc_magic.results.pickle_cost_report import height
from ipc_magic.results.pickle_cost_tables import TYPE

if TYPE_CHECKING:
    from ipc_magic.results.base import Level
    from ipc_magic.results.pickle_cost import PickleCostTable
    from ipc_magic.results.pickle_cost_records import Variable

_MOST_ROWS, _FEWEST_ROWS = 10, 3
_MORE = "More is in the full report: print(result.details())"
# Characters of a finding, and of the list of what was skipped: two lines.
_NOTE = 150
_NAMED = 3  # variables that a sentence names

Row = tuple[Cell, ...]


def by_cost(variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
    """Sort by size: pickled, or in memory where that is all that is known."""
    return tuple(sorted(variables, key=lambda each: (-_cost(each), each.name)))


def _cost(variable: Variable) -> int:
    if variable.pickled_bytes is not None:
        return variable.pickled_bytes
    return variable.deep_size_bytes or 0


def rows(result: PickleCostTable) -> list[dict[str, Any]]:
    """List one row a variable."""
    return [
        {
            "name": each.name,
            "type": each.type,
            "deep_size_bytes": each.deep_size_bytes,
            "pickled_bytes": each.pickled_bytes,
            "dump_seconds": each.dump_seconds,
            "offender": each.offender,
        }
        for each in result.variables
    ]


def headline(result: PickleCostTable) -> str:
    """Say which variable costs most, and which cannot be pickled."""
    variables = result.variables
    if not variables:
        return _nothing(result)
    said = [plural(len(variables), "variable")]
    sized = [each for each in variables if each.pickled_bytes is not None]
    if sized:
        most = max(sized, key=lambda each: each.pickled_bytes or 0)
        said[0] += (
            f": {quoted(most.name)} costs most to send, "
            f"{size(most.pickled_bytes)} pickled"
        )
    blocked = [each for each in variables if each.offender is not None]
    if blocked:
        names = [quoted(each.name) for each in blocked[:_NAMED]]
        if len(blocked) > _NAMED:
            names = [f"{len(blocked):,} of them"]
        said.append(f"{', '.join(names)} cannot be pickled")
    return f"{'. '.join(said)}."


def _nothing(result: PickleCostTable) -> str:
    if not result.skipped:
        return "The notebook has no variables yet."
    variables = plural(len(result.skipped), "variable")
    return f"None of the {variables} was measured."


def document(result: PickleCostTable, level: Level) -> Document:
    """Compose the report at one level."""
    if level == "line":
        return Document(headline=result.headline)
    if level == "full":
        return _full(result)
    drawn = _short(result, _MOST_ROWS)
    for most in range(_MOST_ROWS - 1, _FEWEST_ROWS - 1, -1):
        if height(drawn) <= LINES:
            break
        drawn = _short(result, most)
    return fit(drawn, more=_MORE)


def _short(result: PickleCostTable, most: int) -> Document:
    blocks: list[Block] = []
    if result.variables:
        blocks.append(_table(result, most))
    if result.skipped:
        names = [elide(each.what, NAME) for each in result.skipped]
        reasons = {each.reason for each in result.skipped}
        why = f" ({reasons.pop()})" if len(reasons) == 1 else ""
        # The reason comes first: the list may be cut.
        blocks.append(Note(shorten(f"skipped{why}: {', '.join(names)}", _NOTE)))
    blocks += [Note(shorten(one.message, _NOTE)) for one in result.findings]
    return Document(
        headline=result.headline,
        blocks=tuple(blocks),
        next=_next(result),
        setting=setting_words(result, full=False),
    )


def _table(result: PickleCostTable, most: int | None) -> Table:
    every = result.variables
    some = every if most is None or len(every) <= most + 1 else every[:most]
    table: list[Row] = [
        (
            elide(each.name, NAME),
            shorten(each.type, TYPE),
            _in_memory(each),
            _pickled(each),
            "" if each.dump_seconds is None else Seconds(each.dump_seconds),
            "" if each.offender is None else elide(each.offender, NAME),
        )
        for each in some
    ]
    if rest := every[len(some) :]:
        table.append((f"{len(rest):,} more", *("",) * 5))
    columns: tuple[str, ...] = ("variable", "type", "in memory", "pickled", "dump")
    columns = (*columns, "blocked by")
    if all(each.offender is None for each in every):
        columns, table = columns[:-1], [row[:-1] for row in table]
    return Table(columns=columns, rows=tuple(table))


def _in_memory(variable: Variable) -> Cell:
    if has_unseen(variable.deep_size_bytes, variable.pickled_bytes):
        return Bytes(None)
    return Bytes(variable.deep_size_bytes)


def _pickled(variable: Variable) -> Cell:
    if variable.pickled_bytes is None and variable.offender is not None:
        return ""  # it has no such size, which is not unknown
    return Bytes(variable.pickled_bytes)


def _next(result: PickleCostTable) -> str | None:
    """Return the line that tells more of the first one."""
    if not result.variables:
        return None
    blocked = [each for each in result.variables if each.offender is not None]
    name = (blocked or list(result.variables))[0].name
    line = f"%pickle_cost {name}"
    is_typed_so = name.isidentifier() and name.isascii()
    return line if is_typed_so and len(f"next: {line}") <= WIDTH else None


def _full(result: PickleCostTable) -> Document:
    blocks: list[Block] = [Note(one.message) for one in result.findings]
    if result.variables:
        blocks.append(_table(result, None))
    blocks += [
        Note(f"{each.name}: blocked by {each.offender}")
        for each in result.variables
        if each.offender is not None
    ]
    blocks += [Note(f"skipped: {each.what} ({each.reason})") for each in result.skipped]
    return Document(
        headline=result.headline,
        blocks=tuple(blocks),
        setting=setting_words(result, full=True),
    )
