"""Keep a report within the lines that a reader takes in at a glance."""

from __future__ import annotations

from dataclasses import replace

from ipc_magic.render.document import Document, Note
from ipc_magic.render.text import lines

LINES = 15


def fit(document: Document, *, more: str, limit: int = LINES) -> Document:
    """Leave out the last blocks until the document has at most `limit` lines.

    Where something is left out, the sentence `more` says how to see it.
    """
    if len(lines(document)) <= limit:
        return document
    kept = document.blocks
    while kept:
        kept = kept[:-1]
        shorter = replace(document, blocks=(*kept, Note(more)))
        if len(lines(shorter)) <= limit:
            return shorter
    return replace(document, blocks=())
