"""A mechanism tried on pages of our own, in a throwaway child.

Version numbers say little: a sandbox may refuse a call, or answer it without doing
anything. So the child writes one known page, and the mechanism must report that one.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
from collections.abc import Callable

import numpy as np

from ipc_magic.memory.forks import fork_to, reap
from ipc_magic.memory.handshake import BEGIN, DONE, Handshake
from ipc_magic.memory.pages import PAGE_BYTES, Pages
from ipc_magic.memory.rungs.base import PageRung, Rung
from ipc_magic.memory.userfault import Creator

_PATIENCE_MILLISECONDS = 5000
_PAGES, _WRITTEN = 4, 1


def fault_of(make: Callable[[int, int], Rung], creator: Creator | None) -> str | None:
    """Return why a mechanism does not work here, `None` if it does.

    `make` returns it for a pid and the userfaultfd that the child made, or -1. Raises
    OSError when no child can be made to try it in.
    """
    with mmap.mmap(
        -1, _PAGES * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    ) as region:
        region[::PAGE_BYTES] = b"1" * _PAGES
        view = np.frombuffer(region, np.uint8)
        start = view.ctypes.data
        del view
        handshake = Handshake(creator)

        def live() -> None:
            handshake.close()
            handshake.begin_here()
            region[_WRITTEN * PAGE_BYTES] = 2
            handshake.tell_here(DONE)

        pid = 0
        try:
            pid = fork_to(live)
            handshake.close_theirs()
            return _try(handshake, pid, make, start)
        except OSError as error:
            if not pid:
                raise
            return error.strerror or str(error)
        finally:
            handshake.close_theirs()
            handshake.close()
            if pid:
                os.kill(pid, signal.SIGKILL)
                reap(pid)


def _try(
    handshake: Handshake, pid: int, make: Callable[[int, int], Rung], start: int
) -> str | None:
    asked, descriptor = _asked(handshake)
    if asked != BEGIN:
        return "the child that was to try it did not answer"
    rung = make(pid, descriptor)
    try:
        rung.begin()
        handshake.let_go()
        if _asked(handshake)[0] != DONE:
            return "the child that was to try it did not answer"
        rung.read()
        if not isinstance(rung, PageRung):
            return None
        ours = Pages.between([(start, start + _PAGES * PAGE_BYTES)])
        page = start + _WRITTEN * PAGE_BYTES
        expected = Pages.between([(page, page + PAGE_BYTES)])
        if rung.ledger.inherited & ours != ours:
            return "it does not see the pages of a child"
        if rung.ledger.copied & ours != expected:
            return "it does not see which page a child wrote"
    finally:
        rung.close()
    return None


def _asked(handshake: Handshake) -> tuple[bytes, int]:
    waiting = select.poll()
    waiting.register(handshake.fileno(), select.POLLIN)
    return handshake.take() if waiting.poll(_PATIENCE_MILLISECONDS) else (b"", -1)
