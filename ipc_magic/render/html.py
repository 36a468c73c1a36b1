"""A document as a piece of HTML: no script, no link, everything escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ipc_magic.render import units
from ipc_magic.render.document import Document
from ipc_magic.render.plain import clean, clean_lines, code_parts

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"


def render(document: Document) -> str:
    """Draw the document as one `<div>` that brings its own style."""
    return _template().render(document=document)


@cache  # compiling takes milliseconds, drawing a sentence some microseconds
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clean=clean,
        clean_lines=clean_lines,
        code_parts=code_parts,
        kind=lambda block: type(block).__name__,
        words=units.words,
    )
    return environment.get_template("report.html")
