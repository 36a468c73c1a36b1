"""The kinds of values that options take, and how their text is read."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType

from ipc_magic.arguments import Kind, quote
from ipc_magic.errors import OptionError

_SIZE_UNITS: Mapping[str, int] = MappingProxyType(
    {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
    | {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
)
_TIME_UNITS: Mapping[str, int] = MappingProxyType({"s": 1, "min": 60, "h": 3600})
_LARGEST_SIZE = 2**63 - 1  # what the kernel's limits and counters can hold
_LONGEST_TIME = 365 * 24 * 3600
# The exponent has two digits at most, as Fraction writes the number out in full.
_QUANTITY = re.compile(
    r"(?P<number>(?=\.?[0-9])[0-9]*(?:_[0-9]+)*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?)"
    r"\s*(?P<unit>[A-Za-z]*)",
)


def parse_size(text: str) -> int:
    """Return the bytes that `text` stands for, such as `64 MiB` or `500_000`.

    Any other text is an `OptionError`.
    """
    units = {unit.lower(): factor for unit, factor in _SIZE_UNITS.items()}
    size = _quantity(text, {"": 1, **units})
    if size is None or size > _LARGEST_SIZE:
        raise OptionError(f"a size is bytes, as in 500_000 or 64MiB, not {quote(text)}")
    return int(size)


def parse_seconds(text: str) -> float:
    """Return the seconds that `text` stands for, such as `1.5`, `90 s` or `2min`.

    Any other text is an `OptionError`, and so are zero and more than a year.
    """
    seconds = _quantity(text, {"": 1, **_TIME_UNITS})
    if seconds is None or seconds > _LONGEST_TIME or float(seconds) <= 0:
        raise OptionError(
            f"a time is seconds above 0 and at most a year, as in 90, 1.5 or 2min, "
            f"not {quote(text)}"
        )
    return float(seconds)


def _quantity(text: str, units: Mapping[str, int]) -> Fraction | None:
    match = _QUANTITY.fullmatch(text.strip())
    if not match or match["unit"].lower() not in units:
        return None
    try:
        number = Fraction(match["number"].replace("_", ""))
    except ValueError:  # more digits than Python converts
        return None
    return number * units[match["unit"].lower()]


def _memory(text: str) -> int:
    if not (size := parse_size(text)):
        raise ValueError(text)
    return size


def _name(text: str) -> str:
    # Python looks a name up in this form, whatever form it was typed in.
    name = unicodedata.normalize("NFKC", text)
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(text)
    return name


def _names(text: str) -> tuple[str, ...]:
    # "*" is quoted by habit of other shells, which would put file names there.
    parts = [part.strip() for part in text.split(",")]
    return tuple("*" if part.strip("'\"") == "*" else _name(part) for part in parts)


def _truth(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(text)
    return text == "True"


def whole_number(low: int, high: int) -> Kind:
    """Return the kind of whole numbers within these bounds."""

    def read(text: str) -> int:
        if (
            not re.fullmatch(r"[0-9](?:_?[0-9]){0,8}", text)
            or not low <= int(text) <= high
        ):
            raise ValueError(text)
        return int(text)

    return Kind(read=read, accepts=f"a whole number from {low} to {high}")


def names_among(known: tuple[str, ...], others: str) -> Kind:
    """Return the kind of names joined by commas, each of `known` or the one other."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(part.strip() for part in text.split(","))
        if not {*names} <= {*known, others}:
            raise ValueError(text)
        return names

    return Kind(
        read=read,
        accepts=f"{', '.join(known)}, joined by commas, or {others}",
        empty=(),
        repeats=True,
    )


def only(word: str) -> Kind:
    """Return the kind of one word; an option's choices are taken besides."""

    def read(text: str) -> str:
        if text != word:
            raise ValueError(text)
        return text

    return Kind(read=read, accepts=word)


def one_of(known: tuple[str, ...]) -> Kind:
    """Return the kind of one name among several."""

    def read(text: str) -> str:
        if text not in known:
            raise ValueError(text)
        return text

    return Kind(read=read, accepts=f"one of {', '.join(known)}")


def _size(read: Callable[[str], int], accepts: str) -> Kind:
    return Kind(
        read=read,
        accepts=f"{accepts}, as in 500_000, 64MiB or '1.5 GiB'",
        units=frozenset(_SIZE_UNITS) - {"B"},
        doubtful_units=frozenset(unit.lower() for unit in _SIZE_UNITS),
    )


FLAG = Kind(read=_truth, accepts="True or False", empty=False)
NAME = Kind(read=_name, accepts="a Python name")
NAMES = Kind(
    read=_names,
    accepts="Python names joined by commas, as in a,b, or '*'",
    empty=(),
    repeats=True,
)
SECONDS = Kind(
    read=parse_seconds,
    accepts="seconds above 0 and at most a year, as in 90, 1.5 or 2min",
    doubtful_units=frozenset(_TIME_UNITS),
)
SIZE = _size(parse_size, "a size")
SIZE_ABOVE_ZERO = _size(_memory, "a size above 0")
