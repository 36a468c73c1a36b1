"""The end of children that take more memory than they may."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from math import inf

from ipc_magic.process import guards
from ipc_magic.process.watch import GRACE_SECONDS, Watch

# How many times its own duration passes between two looks.
_PAUSE = 30


def stop_beyond(limits: guards.Limits, living: Sequence[Watch]) -> float:
    """Stop those that are beyond `limits`; return the seconds until the next look."""
    begin = time.monotonic()
    wait = inf
    if limits.memory_bytes is not None and limits.own_bytes is not None:
        for watch in living:
            margin = limits.memory_bytes - limits.own_bytes(watch.child.pid)
            if margin < 0:
                watch.freeze()
                watch.stop("memory_limit", signal.SIGKILL, GRACE_SECONDS)
            wait = min(wait, guards.seconds_until_reached(margin))
    if limits.keep_free_bytes and living:
        free = guards.margin_above(limits.keep_free_bytes)
        if free is not None and free < 0:
            for watch in living:
                watch.freeze()
            for watch in living:
                watch.stop("keep_free", signal.SIGKILL, GRACE_SECONDS)
        wait = min(wait, guards.seconds_until_reached(free))
    # A look at a large process takes long: it must not take a core.
    return max(wait, _PAUSE * (time.monotonic() - begin))
