"""The options of `%pickle_cost`."""

from __future__ import annotations

from ipc_magic.arguments import Option
from ipc_magic.options.kinds import FLAG, SECONDS, names_among, only, whole_number

TRANSPORTS = (
    "pipe",
    "queue",
    "simple_queue",
    "manager",
    "unix_socket",
    "shared_memory",
    "process_pool_executor",
    "pool",
    "loky",
    "joblib",
)
PICKLE_COST = (
    Option(
        flags=("--via",),
        metavar="NAMES",
        kind=names_among(TRANSPORTS, "all"),
        default="pipe",
        config="via",
        help="send it this way, as in pipe,queue; all: in all ways",
    ),
    Option(
        flags=("--pickler",),
        metavar="pickle",
        kind=only("pickle"),
        choices=("cloudpickle", "dill"),
        default="pickle",
        config="pickler",
        help="what to pickle it with",
    ),
    Option(
        flags=("-p", "--protocol"),
        metavar="N",
        kind=whole_number(0, 5),
        help="pickle protocol (default: the one that multiprocessing uses)",
    ),
    Option(
        flags=("--all-protocols",),
        kind=FLAG,
        help="dump and load it with each protocol once",
    ),
    Option(
        flags=("--depth",),
        metavar="N",
        kind=whole_number(1, 1000),
        default="5",
        help="how deep the parts go",
    ),
    Option(
        flags=("--width",),
        metavar="N",
        kind=whole_number(1, 1000),
        default="10",
        help="how many parts are shown below one",
    ),
    Option(
        flags=("-r", "--repeats"),
        metavar="N",
        kind=whole_number(1, 1000),
        help="time N runs of each (default: as many as a short time allows)",
    ),
    Option(
        flags=("--compare",),
        kind=FLAG,
        help="measure what else one could send instead",
    ),
    Option(
        flags=("--force",),
        kind=FLAG,
        help="load and send it even if memory or time is short",
    ),
    Option(
        flags=("--timeout",),
        metavar="SECONDS",
        kind=SECONDS,
        default="60",
        config="timeout",
        help="stop a dump or a load after this time, as in 90 or 2min",
    ),
)
