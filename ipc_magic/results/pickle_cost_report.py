"""The report of `%pickle_cost`: tables and notes below its headline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ipc_magic.render.document import Block, Document, Note, Table, Verbatim
from ipc_magic.render.fit import LINES, fit
from ipc_magic.render.plain import shorten
from ipc_magic.render.text import WIDTH, lines
from ipc_magic.results import pickle_cost_notes as notes
from ipc_magic.results import pickle_cost_tables as tables
from ipc_magic.results.pickle_cost_offenders import all_offenders, some_offenders
from ipc_magic.results.pickle_cost_phrases import setting_words
from ipc_magic.results.pickle_cost_words import answer, is_sendable, more

if TYPE_CHECKING:
    from ipc_magic.results.base import Level
    from ipc_magic.results.pickle_cost import PickleCost

# From here on it may pay to send it another way.
COMPARE_BYTES = 64 * 2**10
# Rows of what was asked for, and of parts, types and names, where there is room; and
# the fewest.
_MOST_ROWS, _SOME_ROWS, _FEWEST_ROWS = 10, 4, 3
_MORE = "More is in the full report: print(result.details())"
_FINDING = 150  # characters of a finding's message in the short report: two lines


def document(result: PickleCost, level: Level) -> Document:
    """Compose the report at one level."""
    if level == "line":
        return Document(headline=result.headline)
    if level == "full":
        return _full(result)
    for drawn in _shorter_and_shorter(result):
        if height(drawn) <= LINES:
            return drawn
    return fit(_short(result, _FEWEST_ROWS, 0), more=_MORE)


def height(document: Document) -> int:
    """Count the lines of a document without drawing its tables: one line a row."""
    stand_ins = tuple(
        Verbatim("row\n" * (len(block.rows) + 1)) if isinstance(block, Table) else block
        for block in document.blocks
    )
    return len(lines(replace(document, blocks=stand_ins)))


def _shorter_and_shorter(result: PickleCost) -> Iterator[Document]:
    """Yield the report with ever fewer rows, then with ever fewer notes.

    Where rows were asked for, notes of the second rank give way before them.
    """
    every = len(_further(result))
    first = len(_of_alternatives(result)) if _asked(result, 1) else every
    for kept in range(every, first, -1):
        yield _short(result, _MOST_ROWS, kept)
    for most in range(_MOST_ROWS, _FEWEST_ROWS - 1, -1):
        yield _short(result, most, first)
    for kept in reversed(range(first)):
        yield _short(result, _FEWEST_ROWS, kept)


def _short(result: PickleCost, most: int, kept: int) -> Document:
    behind = more(result)
    said = [shorten(one.message, _FINDING) for one in result.findings]
    blocks: list[Block] = [] if behind is None else [Note(behind)]
    blocks += _tables(result, most)
    blocks += [Note(text) for text in (*said, *_further(result)[:kept])]
    return Document(
        headline=answer(result),
        blocks=tuple(blocks),
        next=_next(result),
        setting=setting_words(result, full=False),
    )


def _tables(result: PickleCost, most: int) -> list[Block]:
    """Return what was asked for, or else the table that explains the size."""
    some = min(most, _SOME_ROWS)
    if result.offenders:
        return some_offenders(result, some)
    asked = _asked(result, most)
    if asked or not (is_sendable(result) or result.not_loaded):
        return asked
    if result.captured:
        return [tables.captured(result, some)]
    table: Table | None = tables.some_parts(result, some)
    if table is None and len(result.types) > 1:
        table = tables.types(result, some)
    return [] if table is None else [table]


def _asked(result: PickleCost, most: int) -> list[Block]:
    """Return the tables that an option asked for."""
    asked: list[Block] = []
    if any(way.seconds is not None for way in result.alternatives):
        asked.append(tables.alternatives(result, most))
    if result.protocols:
        asked.append(tables.protocols(result))
    if len(result.transports) > 1:
        asked.append(tables.transports(result, most))
    return asked


def _of_alternatives(result: PickleCost) -> list[str]:
    said = (notes.workers(result), notes.left_out(result))
    return [text for text in said if text is not None]


def _further(result: PickleCost) -> list[str]:
    """Return the notes below the tables, the most telling first."""
    if result.dump_error or any(each.stage == "dump" for each in result.offenders):
        said = [notes.with_cloudpickle(result), notes.spawned(result)]
    elif not is_sendable(result):
        said = [notes.dumped(result), notes.spawned(result)]
    else:
        said = [
            *_of_alternatives(result),
            notes.phases(result),
            notes.spawned(result),
            notes.collected(result),
            notes.in_memory(result),
            notes.inherited(result),
            notes.out_of_band(result),
        ]
    return [text for text in said if text is not None]


def _next(result: PickleCost) -> str | None:
    """Return the line to type next, if there is one that can be typed as it is."""
    option = _option(result)
    expression = result.expression
    if option is None or not result.from_magic:
        return None
    if not expression.isprintable() or expression.startswith("-"):
        return None
    line = f"%pickle_cost {option} {expression}"
    return line if len(f"next: {line}") <= WIDTH and line.isascii() else None


def _option(result: PickleCost) -> str | None:
    if result.pickler != "pickle":
        return None
    if result.offenders:
        return "--pickler cloudpickle" if notes.cloudpickle_helps(result) else None
    size = result.pickled_bytes
    if size is None or size < COMPARE_BYTES or _asked(result, 1):
        return None
    return "--compare" if is_sendable(result) else None


def _full(result: PickleCost) -> Document:
    blocks: list[Block] = [Note(finding.message) for finding in result.findings]
    blocks += all_offenders(result)
    if result.parts:
        blocks.append(tables.all_parts(result))
    if result.types:
        blocks.append(tables.types(result))
    if result.captured or result.captured_rest_bytes is not None:
        blocks.append(tables.captured(result))
    if result.transports:
        every = len(result.transports)
        blocks += [tables.transports(result, every), tables.transport_sizes(result)]
    if result.protocols:
        blocks.append(tables.protocols(result))
    if any(way.seconds is not None for way in result.alternatives):
        blocks.append(tables.alternatives(result, len(result.alternatives)))
    blocks += [Note(text) for text in notes.all_of(result)]
    return Document(
        headline=result.headline,
        blocks=tuple(blocks),
        setting=setting_words(result, full=True),
    )
