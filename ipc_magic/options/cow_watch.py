"""The options of `%cow_watch`."""

from __future__ import annotations

from ipc_magic.arguments import Option
from ipc_magic.options.inprocess import INPROCESS
from ipc_magic.options.kinds import FLAG, SIZE, whole_number

# These mean the same as in `%inprocess`.
_COMMON = {"timeout", "memory", "mechanism", "no_raise_error"}

COW_WATCH = (
    Option(
        flags=("-n", "--children"),
        metavar="N",
        kind=whole_number(0, 1000),
        help="run in N forked children at once; 0: run here and watch what it forks "
        "(default: 1 in a line, 0 in a cell)",
    ),
    Option(
        flags=("--project",),
        metavar="N",
        kind=whole_number(1, 100_000),
        help="say what N such children would need (default: one for each CPU)",
    ),
    Option(
        flags=("--pid",),
        metavar="PID",
        kind=whole_number(1, 4_194_304),
        help="look at this process and its descendants instead",
    ),
    Option(
        flags=("--no-live",),
        kind=FLAG,
        help="show no line of what was copied so far while children run",
    ),
    Option(
        flags=("--keep-free",),
        metavar="SIZE",
        kind=SIZE,
        default="1 GiB",
        config="keep_free",
        help="stop the children when less is free; only tell of it where the cell "
        "forks them itself",
    ),
    *(option for option in INPROCESS if option.name in _COMMON),
)
