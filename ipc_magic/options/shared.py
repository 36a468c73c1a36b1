"""The options that all magics have."""

from __future__ import annotations

from ipc_magic.arguments import Option
from ipc_magic.options.kinds import FLAG, NAME

SHARED = (
    Option(flags=("-h", "--help"), kind=FLAG, help="show this help"),
    Option(
        flags=("--save",),
        metavar="NAME",
        kind=NAME,
        help="bind the result to NAME in the notebook",
    ),
    Option(flags=("-q", "--quiet"), kind=FLAG, help="show no report"),
    Option(
        flags=("-v", "--verbose"),
        kind=FLAG,
        help="show the full report",
        excludes="--quiet",
    ),
)
