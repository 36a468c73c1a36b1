"""Options given in Python, as keywords: the same values, read by the same rules."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Mapping
from typing import SupportsIndex

from ipc_magic.arguments import Option
from ipc_magic.errors import OptionError


def read_keywords(
    function: str,
    options: tuple[Option, ...],
    flags: Mapping[str, bool],
    given: Mapping[str, object],
) -> dict[str, object]:
    """Return a value for each of `options` and `flags` of a function.

    A value is a number, or the text that would follow the option on a line; `None`
    and what is not given are the default: as declared, else `None`. Anything else is
    an `OptionError`, and so is a name that there is not.
    """
    known = {option.name: option for option in options}
    for name in given:
        if name not in known and name not in flags:
            raise OptionError(
                f"no option {name}; {_hint(function, name, [*known, *flags])}"
            )
    values: dict[str, object] = {}
    for name, option in known.items():
        value = given.get(name)
        if value is None:
            value = option.default
        values[name] = None if value is None else _read(option, value)
    for name, default in flags.items():
        value = given.get(name, default)
        if not isinstance(value, bool):
            raise OptionError(f"{name} is True or False, not {_said(value)}")
        values[name] = value
    return values


def _hint(function: str, name: str, known: list[str]) -> str:
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {near[0]}?"
    return f"help(ipc_magic.{function}) lists them"


def _read(option: Option, value: object) -> object:
    if isinstance(value, str):
        text = value
    elif isinstance(value, float):
        text = float.__repr__(value)
    elif isinstance(value, SupportsIndex) and not isinstance(value, bool):
        text = str(operator.index(value))
    else:
        accepts = " or ".join((option.kind.accepts, *option.choices))
        raise OptionError(f"{option.name} takes {accepts}, not {_said(value)}")
    return option.read(text, source=option.name)


def _said(value: object) -> str:
    return f"a value of type {type(value).__name__:.40}"
