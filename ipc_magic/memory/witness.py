"""An idle process that holds the original of every page its maker had."""

from __future__ import annotations

import os
import re
import select
import struct
import time
from collections.abc import Callable

import psutil

from ipc_magic.memory.forks import fork_to, reap

_PID = struct.Struct("i")
_ANONYMOUS = re.compile(rb"^RssAnon:\s+(\d+) kB$", re.MULTILINE)


class NoRoom(Exception):
    """A witness might need more memory than there is."""


class WitnessProcess:
    """A fork that waits in read(2) and never writes: nothing it maps is exclusive.

    It is nobody's child, has a session of its own and no descriptor but its lifeline,
    and ends when `close` is called or its maker dies. Raises `NoRoom` when the
    originals of all pages and `keep_free_bytes` would not fit into the free memory,
    OSError when no process can be made.
    """

    def __init__(
        self, *, keep_free_bytes: int = 0, hold: Callable[[int], int] = lambda fd: fd
    ) -> None:
        _refuse_without_room(keep_free_bytes)
        read, write = os.pipe()
        told = tells = -1
        try:
            told, tells = os.pipe()
            highest = max(map(int, os.listdir("/proc/self/fd")))
            reap(fork_to(lambda: _make_witness(read, tells, highest)))
            os.close(tells)
            tells = -1
            answer = os.read(told, _PID.size)
        except BaseException:
            os.close(write)
            raise
        finally:
            for descriptor in (read, told, tells):
                if descriptor >= 0:
                    os.close(descriptor)
        if len(answer) < _PID.size:
            os.close(write)
            raise OSError("the witness could not be forked")
        (self.pid,) = _PID.unpack(answer)
        self.forked_at = time.monotonic()
        self._lifeline = hold(write)

    @property
    def alive(self) -> bool:
        """Whether it still holds the originals: it alone reads from its lifeline."""
        if self._lifeline < 0:
            return False
        looking = select.poll()
        looking.register(self._lifeline, 0)  # POLLERR: nobody reads (poll(2))
        return not looking.poll(0)

    def close(self, release: Callable[[int], object] = os.close) -> None:
        """Have it end; doing it twice does no harm."""
        if self._lifeline >= 0:
            release(self._lifeline)
            self._lifeline = -1


def _make_witness(lifeline: int, tells: int, highest: int) -> None:
    """Fork the witness from a process that ends at once: so it is nobody's child."""
    pid = fork_to(lambda: _be_witness(lifeline, highest))
    os.write(tells, _PID.pack(pid))


def _be_witness(lifeline: int, highest: int) -> None:
    os.setsid()
    # A pipe that it held open would have no end for whoever reads it.
    os.closerange(0, lifeline)
    os.closerange(lifeline + 1, highest + 1)
    os.read(lifeline, 1)


def _refuse_without_room(keep_free_bytes: int) -> None:
    """In the worst case parent and child both write all: the originals come on top."""
    with open("/proc/self/status", "rb") as status:
        found = _ANONYMOUS.search(status.read())
    held = int(found[1]) * 1024 if found else 0
    free = psutil.virtual_memory().available
    if free - held < keep_free_bytes:
        raise NoRoom(
            f"a witness may need {held / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB are free"
        )
