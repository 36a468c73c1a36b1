"""The options of `%inprocess`."""

from __future__ import annotations

from dataclasses import replace

from ipc_magic.arguments import Option, Parsed, quote
from ipc_magic.errors import OptionError
from ipc_magic.options.kinds import (
    FLAG,
    NAME,
    NAMES,
    SECONDS,
    SIZE,
    SIZE_ABOVE_ZERO,
    one_of,
    whole_number,
)

MECHANISMS = ("uffd", "witness", "exclusive", "smaps", "psutil", "pfn")

INPROCESS = (
    Option(
        flags=("-n", "--children"),
        metavar="N",
        kind=whole_number(1, 1000),
        default="1",
        help="run in N children at once",
    ),
    Option(
        flags=("-o", "--out"),
        metavar="NAMES",
        kind=NAMES,
        help="bring these names back, as in a,b; '*' is all that are new or bound anew",
    ),
    Option(
        flags=("-t", "--timeout"),
        metavar="SECONDS",
        kind=SECONDS,
        config="timeout",
        help="stop the children after this time, as in 90 or 2min",
    ),
    Option(
        flags=("--memory",),
        metavar="SIZE",
        kind=SIZE_ABOVE_ZERO,
        config="memory",
        help="limit what a child adds to memory, as in 64MiB",
    ),
    Option(
        flags=("--keep-free",),
        metavar="SIZE",
        kind=SIZE,
        default="1 GiB",
        config="keep_free",
        help="stop the children when less is free",
    ),
    Option(
        flags=("--mechanism",),
        metavar="MECHANISM",
        kind=one_of(MECHANISMS),
        help="how memory is measured, as in pfn (default: the best that works here)",
    ),
    Option(
        flags=("--bg",),
        metavar="NAME",
        kind=NAME,
        help="run in the background; bind the job to NAME",
    ),
    Option(
        flags=("--fetch",),
        metavar="NAMES",
        kind=NAMES,
        help="bring these names from the child that stays, as in a,b, or '*'",
    ),
    Option(
        flags=("--drop",),
        kind=FLAG,
        help="end the child that stays",
    ),
    Option(
        flags=("--no-raise-error",),
        kind=FLAG,
        help="report an error of the code, but do not raise it",
    ),
    Option(
        flags=("--threads",),
        metavar="N",
        kind=whole_number(1, 1000),
        choices=("keep",),
        config="threads",
        help="OpenMP and torch threads in a child; keep: as many as here "
        "(default: 1 if OpenMP has run here)",
    ),
)

# Those that `ipc_magic.inprocess()` has, too.
_OF_FUNCTIONS = {"timeout", "memory", "keep_free", "mechanism", "threads"}
OF_FUNCTIONS = (
    # No number is not one child: the value is none of a list then.
    replace(INPROCESS[0], default=None),
    *(option for option in INPROCESS if option.name in _OF_FUNCTIONS),
)

# What goes with an option that runs no code.
_WITH = {"--fetch": {"fetch", "save", "quiet", "verbose"}, "--drop": {"drop"}}


def check_alone(parsed: Parsed, *, cell: bool) -> None:
    """Refuse what does not go with --fetch or --drop, which run no code."""
    flag = "--drop" if "drop" in parsed.options else "--fetch"
    if cell:
        raise OptionError(f"{flag} runs no code: use the line %inprocess {flag}")
    if code := parsed.expression.strip():
        raise OptionError(f"{flag} runs no code, and {quote(code)} is some")
    if others := [name for name in parsed.options if name not in _WITH[flag]]:
        other = "--" + others[0].replace("_", "-")
        raise OptionError(f"{other} does not go with {flag}")
