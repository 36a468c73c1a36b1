"""A document that can be shown: printed, in a terminal shell, in a notebook."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Protocol

from ipc_magic.render import html, text
from ipc_magic.render.document import Document


class Printer(Protocol):
    """What IPython hands to `_repr_pretty_`."""

    def text(self, text: str, /) -> None:
        """Write the text as it is."""


@dataclass(frozen=True, slots=True)
class Report:
    """One document, drawn as text and as HTML when it is shown."""

    document: Document
    """What is said."""

    def __str__(self) -> str:
        return text.render(self.document)

    def _repr_pretty_(self, printer: Printer, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_mimebundle_(
        self,
        include: Container[str] | None = None,
        exclude: Container[str] | None = None,
    ) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": html.render(self.document)}
