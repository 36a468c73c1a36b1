"""A document as plain text of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ipc_magic.render import units
from ipc_magic.render.document import Cell, Document, Note, Table, Verbatim
from ipc_magic.render.plain import clean, clean_lines

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 80
INDENT = "  "
_GAP = 2
# A column of words is cut no shorter than this to make room for the others.
_NARROWEST = 6


def render(document: Document, *, width: int = WIDTH) -> str:
    """Draw the document as text, without colour codes."""
    return "\n".join(lines(document, width=width))


def lines(document: Document, *, width: int = WIDTH) -> list[str]:
    """Draw the document as lines of at most `width` columns.

    Only what must stay whole may be longer: the next command and verbatim text.
    """
    drawn = wrap(document.headline, width)
    for block in document.blocks:
        match block:
            case Note():
                drawn += wrap(block.text, width)
            case Table():
                drawn += _apart(drawn, _table(block, width))
            case Verbatim():
                body = [
                    INDENT + line if line else "" for line in clean_lines(block.text)
                ]
                drawn += _apart(drawn, body)
    if document.next is not None:
        drawn.append(f"next: {clean(document.next)}")
    if document.setting:
        drawn += wrap(" | ".join(document.setting), width)
    while drawn and not drawn[-1]:
        drawn.pop()
    return drawn


def wrap(text: str, width: int) -> list[str]:
    """Break a sentence into lines; options such as `--timeout` stay whole."""
    line = clean(text)
    if len(line) <= width and line.isascii():
        return [line.rstrip()]
    if line.isascii():
        return textwrap.wrap(line, width, break_on_hyphens=False)
    # A character may be two columns wide: rich knows which.
    from rich.text import Text

    wrapped = Text(line).wrap(_console(width), width)
    return [piece.plain.rstrip() for piece in wrapped]


def _apart(drawn: list[str], body: list[str]) -> list[str]:
    """Put a blank line before and after, but never two in a row."""
    before = [""] if drawn and drawn[-1] else []
    return [*before, *body, ""]


def _console(width: int) -> Console:
    from rich.console import Console

    # Nothing here may depend on where the code runs: in a notebook rich would
    # choose its own width and display by itself; FORCE_COLOR would add colours.
    return Console(
        width=width,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _table(table: Table, width: int) -> list[str]:
    from rich.cells import cell_len
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = [tuple(map(clean, table.columns))]
    grid += [tuple(clean(units.words(cell)) for cell in row) for row in table.rows]
    figures = [_is_figures(column) for column in zip(*table.rows, strict=True)]
    widths = [max(map(cell_len, column)) for column in zip(*grid, strict=True)]
    room = width - len(INDENT) - _GAP * (len(widths) - 1)
    widths = _shrink(widths, figures, room)

    drawing = RichTable(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for heading, is_figures, wide in zip(grid[0], figures, widths, strict=True):
        drawing.add_column(
            Text(heading),
            justify="right" if is_figures else "left",
            width=wide,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in grid[1:]:
        drawing.add_row(*map(Text, row))
    console = _console(room + _GAP * len(widths))
    with console.capture() as capture:
        console.print(drawing)
    return [(INDENT + line).rstrip() for line in capture.get().splitlines()]


def _is_figures(column: Sequence[Cell]) -> bool:
    return any(not isinstance(cell, str) for cell in column)


def _shrink(widths: list[int], figures: list[bool], room: int) -> list[int]:
    """Narrow the widest columns of words until all fit; figures are never cut."""
    widths = list(widths)
    words = [place for place, is_figures in enumerate(figures) if not is_figures]
    while words and sum(widths) > room:
        widest = max(words, key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    return widths
