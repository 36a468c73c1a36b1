"""Every option of the magics, declared once: parsing, help, completion, tables.

Each magic's are declared in a module of its own; `kinds` reads their values.
"""

from __future__ import annotations

import functools
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ipc_magic.arguments import Option, Parsed, complete_line, parse_line
from ipc_magic.options.cow_watch import COW_WATCH
from ipc_magic.options.inprocess import INPROCESS, OF_FUNCTIONS, check_alone
from ipc_magic.options.keywords import read_keywords
from ipc_magic.options.kinds import FLAG, parse_seconds, parse_size
from ipc_magic.options.pickle_cost import PICKLE_COST
from ipc_magic.options.shared import SHARED

__all__ = [
    "COW_WATCH",
    "FLAG",
    "INPROCESS",
    "MAGICS",
    "OF_FUNCTIONS",
    "PICKLE_COST",
    "SHARED",
    "SYNOPSES",
    "Parsed",
    "check_alone",
    "complete",
    "parse",
    "parse_seconds",
    "parse_size",
    "read_keywords",
    "table",
    "usage",
    "with_defaults",
]

MAGICS: Mapping[str, tuple[Option, ...]] = MappingProxyType(
    {
        "inprocess": SHARED + INPROCESS,
        "pickle_cost": SHARED + PICKLE_COST,
        "cow_watch": SHARED + COW_WATCH,
    }
)
SYNOPSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "inprocess": (
            "%inprocess [options] expression",
            "%%inprocess [options]",
            "%inprocess --fetch NAMES, or --drop",
        ),
        "pickle_cost": ("%pickle_cost [options] expression", "%pickle_cost [options]"),
        "cow_watch": ("%cow_watch [options] statement", "%%cow_watch [options]"),
    }
)


def parse(magic: str, line: str, *, cell: bool) -> Parsed:
    """Return the options that `line` gives and the expression after them.

    A line that cannot be understood is an `OptionError`.
    """
    return parse_line(magic, MAGICS[magic], line, cell=cell)


def with_defaults(
    magic: str, given: Mapping[str, object], config: Mapping[str, object]
) -> dict[str, object]:
    """Return a value for every option: as given, else configured, else declared.

    A configured value that its option does not take is an `OptionError`.
    """
    values: dict[str, object] = {}
    for option in MAGICS[magic]:
        configured = config.get(option.config) if option.config else None
        if option.name == "help":
            continue
        if option.name in given:
            values[option.name] = given[option.name]
        elif configured is not None:
            source = f"IPCMagics.{option.config}"
            values[option.name] = _read(option, str(configured), source)
        elif option.default is not None:
            values[option.name] = _read(option, option.default, option.name)
        else:
            values[option.name] = option.kind.empty
    return values


@functools.cache
def _read(option: Option, text: str, source: str) -> object:
    """Return the value of a default: the same text again and again."""
    return option.read(text, source=source)


def complete(
    magic: str, line: str, names: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> list[str]:
    """Return what fits the word at the end of `line`, as long as that is an option.

    `names` are what the value of an option may be made of, by the option's name.
    """
    declared = MAGICS[magic]
    given: set[str] = set()
    if names:
        # Behind a comma another word begins: that is what IPython completes.
        before, comma, last = line.rpartition(",")
        if comma and not re.search(r"\s", last):
            start = re.split(r"\s", before)[-1]
            line = before[: len(before) - len(start)] + last
            given = {*start.split(",")}
        declared = tuple(
            replace(option, choices=tuple(names.get(option.name, option.choices)))
            for option in declared
        )
    return [fit for fit in complete_line(declared, line) if fit not in given]


def usage(magic: str) -> str:
    """Return the help text of a magic, 80 columns wide."""
    options = MAGICS[magic]
    width = max(len(_spelling(option)) for option in options)
    lines = [f"usage: {SYNOPSES[magic][0]}"]
    lines += [f"       {synopsis}" for synopsis in SYNOPSES[magic][1:]]
    lines += ["", "options:"]
    for option in options:
        lines += textwrap.wrap(
            f"{_spelling(option):{width}}  {_meaning(option)}",
            width=80,
            initial_indent="  ",
            subsequent_indent=" " * (width + 4),
        )
    settings = ", ".join(option.config for option in options if option.config)
    lines += [
        "",
        "`--` ends the options: %" + magic + " -- -n is minus the variable n.",
    ]
    if settings:
        lines += [f"`%config IPCMagics` sets defaults: {settings}."]
    return "\n".join(lines)


def table(magic: str) -> str:
    """Return the options of a magic as a Markdown table."""
    lines = ["| option | meaning |", "| --- | --- |"]
    for option in MAGICS[magic]:
        cells = (f"`{_spelling(option)}`", _meaning(option))
        lines.append(
            "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
        )
    return "\n".join(lines)


def _spelling(option: Option) -> str:
    value = "|".join((option.metavar, *option.choices))
    return f"{', '.join(option.flags)} {value}".rstrip()


def _meaning(option: Option) -> str:
    return option.help + (f" (default: {option.default})" if option.default else "")
