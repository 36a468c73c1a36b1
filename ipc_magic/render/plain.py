"""Make text safe to show where it stands: names, source lines, errors, titles."""

from __future__ import annotations

import re

# Colours and cursor movements: their codes are noise in a report.
_ANSI = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")


def clean(text: str) -> str:
    r"""Make one printable line: white space becomes a blank, control codes `\x1b`.

    Lone surrogates (undecodable file names) would fail in `print` and in the
    kernel's JSON; direction marks would reorder what the reader sees.
    """
    if text.isprintable():
        return text
    return "".join(map(_printable, _ANSI.sub("", text)))


def clean_lines(text: str) -> list[str]:
    """Split a text into printable lines that keep their indentation."""
    return [clean(line).rstrip() for line in text.expandtabs().splitlines()]


def in_terminal_title(text: str) -> str:
    """Return what makes a terminal show it in its title (OSC 2 of xterm)."""
    return f"\x1b]2;{clean(text)}\x07"


def shorten(text: str, length: int) -> str:
    """Cut to one line of at most `length` characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= length else line[: length - 4].rstrip() + " ..."


def code_parts(text: str) -> list[tuple[bool, str]]:
    """Split at backticks: (is it code, the piece), in order, without empty ones."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # an odd number of backticks: they are no pairs
        return [(False, text)]
    return [(bool(place % 2), piece) for place, piece in enumerate(pieces) if piece]


def _printable(character: str) -> str:
    if character.isspace():
        return " "
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
