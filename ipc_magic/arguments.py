"""Reads the line after a magic: options first, then the user's text byte for byte."""

from __future__ import annotations

import ast
import difflib
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from ipc_magic.errors import OptionError

# A name, then what makes it an option: "=", the end of the word or, after a short name,
# a number (`-n8`). All else is the user's Python: `-n.size`, `-n*2`, `--memory==x`.
_OPTION = re.compile(
    r"(?P<long>--[A-Za-z][\w-]*)(?:=(?!=)|(?!\S))"
    r"|(?P<short>-[A-Za-z])"
    r"(?:=(?!=)|(?!\S)|(?=[0-9][0-9_]*(?:\.[0-9]+)?[A-Za-z]*(?!\S)))"
)
_OPTION_LIKE = re.compile(r"(?P<name>--?[A-Za-z][\w-]*)(?:=\S*)?(?!\S)")
_END_OF_OPTIONS = re.compile(r"--(?!\S)")
_WORD = re.compile(r"\s*(?P<word>\S+)")
_VALUE = re.compile(r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')(?!\S)|(?P<plain>\S+))""")
# A cell has no expression on its line, so its names may have spaces at their commas.
_SPACED_NAMES = re.compile(
    r"\s*((?:[^\s,'\"]+|'\*'|\"\*\")(?:\s*,\s*(?!-)[^\s,]+)*)(?!\S)"
)
# IPython makes these Python later: `!ls -n`, `%magic -n`, `?obj`, `files = !ls -n`.
_IPYTHON = re.compile(r"[!%?]|[\w\s,.]*=\s*[!%]")
# Strings and comments come first, so that a "-" in them is never found.
_DASH = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"""|$)'
    r"|'''(?:\\.|[^\\])*?(?:'''|$)"
    r'|"(?:\\.|[^"\\])*(?:"|$)'
    r"|'(?:\\.|[^'\\])*(?:'|$)"
    r"|\#[^\n]*"
    r"|(?<=\s)(?P<dash>-)",
    re.DOTALL,
)
# What other magics call it: `%timeit -o` returns its result.
_HABITS: Mapping[str, str] = MappingProxyType({"-o": "--save"})


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What sort of value an option takes, and how its text becomes that value.

    `read` raises `ValueError` or `OptionError` for text it refuses.
    """

    read: Callable[[str], object]
    accepts: str
    empty: object = None
    """The value when nothing is given, configured or declared."""
    repeats: bool = False
    """The option may be given again; the values, tuples, are joined."""
    units: frozenset[str] = frozenset()
    """Words that follow a number and always belong to it."""
    doubtful_units: frozenset[str] = frozenset()
    """Words, in any case, that do so unless they begin a valid expression."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: how it is written, what it takes and what help says of it."""

    flags: tuple[str, ...]
    help: str
    kind: Kind
    metavar: str = ""
    default: str | None = None
    choices: tuple[str, ...] = ()
    """Words that are accepted besides what the kind reads."""
    config: str | None = None
    """The attribute of `IPCMagics` that sets the default."""
    excludes: str | None = None
    """The flag of an option that contradicts this one."""

    @property
    def name(self) -> str:
        """The name in Python: the long flag with underscores."""
        return self.flags[-1].lstrip("-").replace("-", "_")

    @property
    def takes_value(self) -> bool:
        """Whether a value follows the flag."""
        return bool(self.metavar)

    def read(self, text: str, *, source: str) -> object:
        """Return the value that `text` stands for; `source` says who gave it."""
        if text in self.choices:
            return text
        try:
            return self.kind.read(text)
        except (ValueError, OptionError):
            accepts = " or ".join((self.kind.accepts, *self.choices))
            message = f"{source} takes {accepts}, not {quote(text)}"
            raise OptionError(message) from None


@dataclass(frozen=True)
class Parsed:
    """What a line says: the options it gives, and the expression as it was typed."""

    options: Mapping[str, object]
    expression: str = ""
    help: bool = False


class _Found(NamedTuple):
    option: Option
    flag: str
    end: int
    joined: bool
    """The value follows at once, as in `--children=8` and `-n8`."""


def parse_line(
    magic: str, options: tuple[Option, ...], line: str, *, cell: bool
) -> Parsed:
    """Return the options at the start of `line` and the expression after them."""
    given: dict[str, Any] = {}
    at = _skip_space(line, 0)
    while found := _find(options, line, at):
        option = found.option
        if option.name in given and not option.kind.repeats:
            raise OptionError(f"{'/'.join(option.flags)} is given twice")
        if option.name == "help":
            return Parsed(MappingProxyType(given), help=True)
        value, at = _read(options, found, line, cell=cell)
        if option.kind.repeats:  # all values in the order given, each once
            value = tuple(dict.fromkeys((*given.get(option.name, ()), *value)))
        given[option.name] = value
        at = _skip_space(line, at)
    _check_exclusions(options, given)

    if end := _END_OF_OPTIONS.match(line, at):
        expression = line[_skip_space(line, end.end()) :]
    else:
        expression = line[at:]
        _check_dash(magic, options, expression, cell=cell)
        if not cell:
            _check_order(options, expression)
    if cell and expression:
        raise OptionError(
            f"%%{magic} takes options only on its first line; "
            f"{quote(expression.rstrip())} is none: put code below it"
        )
    return Parsed(MappingProxyType(given), expression)


def complete_line(options: tuple[Option, ...], line: str) -> list[str]:
    """Return what fits the word at the end of `line`, a line up to the cursor."""
    start = len(line) - len(re.split(r"\s", line)[-1])
    before, word = line[:start], line[start:]
    given = set()
    at = _skip_space(before, 0)
    while found := _find(options, before, at):
        option, at = found.option, found.end
        if option.takes_value:
            if (value := _value(option, before, at, cell=True)) is None:
                return [choice for choice in option.choices if choice.startswith(word)]
            at = value[1]
        if not option.kind.repeats:
            given.add(option.name)
        at = _skip_space(before, at)
    if at < len(before):
        return []
    left = [option for option in options if option.name not in given]
    return [flag for option in left for flag in option.flags if flag.startswith(word)]


def quote(text: str) -> str:
    """Return `text` in quotes, on one line and short enough for a message."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _skip_space(line: str, at: int) -> int:
    return len(line) - len(line[at:].lstrip())


def _find(options: tuple[Option, ...], line: str, at: int) -> _Found | None:
    """Return the option whose flag stands at `at`, if one does."""
    if not (match := _OPTION.match(line, at)):
        return None
    flag = match["long"] or match["short"]
    end = match.end()
    equals = line[end - 1] == "="
    joined = equals or not (end == len(line) or line[end].isspace())
    for option in options:
        # `-q8` is not -q, but `-q=8` is -q with a value it does not take.
        if flag in option.flags and (option.takes_value or equals or not joined):
            return _Found(option, flag, end, joined)
    return None


def _read(
    options: tuple[Option, ...], found: _Found, line: str, *, cell: bool
) -> tuple[Any, int]:
    """Return the value of the option that was found, and where its text ends."""
    option, flag, at, joined = found
    if not option.takes_value:
        if joined:
            raise OptionError(f"{flag} takes no value")
        return True, at
    if joined:
        missing = at == len(line) or line[at].isspace()
    else:
        following = _skip_space(line, at)
        missing = bool(
            _END_OF_OPTIONS.match(line, following) or _find(options, line, following)
        )
    value = None if missing else _value(option, line, at, cell=cell)
    if value is None:
        raise OptionError(f"{flag} needs a value: {option.metavar}")
    return option.read(value[0], source=flag), value[1]


def _value(option: Option, line: str, at: int, *, cell: bool) -> tuple[str, int] | None:
    """Return the text of the value that starts at `at`, and where it ends."""
    if cell and option.kind.repeats and (names := _SPACED_NAMES.match(line, at)):
        return names[1], names.end()
    if not (match := _VALUE.match(line, at)):
        return None
    if match["quoted"]:
        return match["quoted"][1:-1], match.end()
    text, end = match["plain"], match.end()
    unit = _WORD.match(line, end) if text[-1] in "0123456789." else None
    if unit and _belongs(option.kind, line[unit.start("word") :], cell=cell):
        return f"{text} {unit['word']}", unit.end()
    return text, end


def _belongs(kind: Kind, rest: str, *, cell: bool) -> bool:
    """Whether the first word of `rest` is the unit of the number before it."""
    word = rest.split(maxsplit=1)[0]
    if word in kind.units:
        return True
    # `-t 60 s` runs the user's `s`; in `-t 60 s f(x)` only a unit makes sense.
    return word.lower() in kind.doubtful_units and (cell or not _compiles(rest))


def _check_exclusions(options: tuple[Option, ...], given: Mapping[str, object]) -> None:
    for option in options:
        for other in options:
            if option.excludes in other.flags and {option.name, other.name} <= {*given}:
                raise OptionError(
                    f"{'/'.join(option.flags)} contradicts {'/'.join(other.flags)}"
                )


def _check_dash(
    magic: str, options: tuple[Option, ...], rest: str, *, cell: bool
) -> None:
    """Refuse what looks like an option, is none, and is not Python either."""
    match = _OPTION_LIKE.match(rest)
    if not match or (not cell and _compiles(rest)):
        return
    name = match["name"]
    flags = [flag for option in options for flag in option.flags]
    alike = [flag for flag in flags if not name.startswith("--") or len(flag) > 2]
    near = difflib.get_close_matches(name, alike, n=1)
    if _HABITS.get(name) in flags:
        near = [_HABITS[name]]
    percent = "%%" if cell else "%"
    hint = f"did you mean {near[0]}?" if near else f"{percent}{magic} -h lists them"
    raise OptionError(f"no option {name}; {hint}")


def _check_order(options: tuple[Option, ...], expression: str) -> None:
    """Refuse an option after the expression, which is otherwise not Python."""
    late = [
        (at, found.flag)
        for at in (dash.start() for dash in _DASH.finditer(expression) if dash["dash"])
        if (found := _find(options, expression, at))
    ]
    if not late or _IPYTHON.match(expression) or _compiles(expression):
        return
    for at, flag in late:
        # A short flag may be a minus sign in broken Python, unless the text before it
        # is whole; a long one can only be an option.
        if flag.startswith("--") or _compiles(expression[:at]):
            raise OptionError(f"options go before the expression, not {flag} after it")


def _compiles(text: str) -> bool:
    """Whether `text` is Python by its grammar; `await` may stand anywhere."""
    try:
        with warnings.catch_warnings():  # the user hears them when the text runs
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
