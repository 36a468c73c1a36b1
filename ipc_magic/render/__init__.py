"""Draw a document as text and as HTML; this room knows nothing of processes.

`document` is the vocabulary, `units` turns numbers into words, `plain` makes
foreign text safe to show, `text` and `html` draw, `report` joins the two.
"""

from __future__ import annotations

from ipc_magic.render.document import (
    Block,
    Bytes,
    Cell,
    Count,
    Document,
    Note,
    Percent,
    Rate,
    Seconds,
    Table,
    Verbatim,
)
from ipc_magic.render.report import Report

__all__ = [
    "Block",
    "Bytes",
    "Cell",
    "Count",
    "Document",
    "Note",
    "Percent",
    "Rate",
    "Report",
    "Seconds",
    "Table",
    "Verbatim",
]
