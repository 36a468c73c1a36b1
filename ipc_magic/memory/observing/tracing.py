"""ptrace(2): processes that stop as they exit, and otherwise run as if untraced.

PTRACE_SEIZE stops nobody. What a traced process is stopped for is passed on: signals
are delivered, a group stop is listened to (PTRACE_LISTEN), so that its real parent and
its shell see what they always do. At its exit it stops before its memory goes
(PTRACE_EVENT_EXIT), and goes on when it is let go. Should we die, all are let go.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

# include/uapi/linux/ptrace.h
_CONT, _DETACH, _GETEVENTMSG = 7, 17, 0x4201
_SEIZE, _INTERRUPT, _LISTEN = 0x4206, 0x4207, 0x4208
_TRACEEXIT = 0x40
_EVENT_EXIT, _EVENT_STOP = 6, 128
_WALL = 0x40000000
_GROUP_STOPS = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}


@dataclass(frozen=True)
class Stop:
    """A process that waits for us, or has ended without."""

    pid: int
    exiting: bool
    """Whether it waits in its exit, its memory still there."""
    ended: bool
    """Whether it ended while it was traced; it waits for nothing more."""
    status: int
    """How it ends, as wait(2) tells it; what it is stopped for, if it does not."""
    left: bool = False
    """Whether it is traced no more since `Tracer.leave` was asked to, and goes on."""


class Tracer:
    """Traces the main threads of processes."""

    def __init__(self) -> None:
        self._call = ctypes.CDLL(None, use_errno=True).ptrace
        self._call.restype = ctypes.c_long
        self._call.argtypes = (
            ctypes.c_long,
            ctypes.c_long,
            ctypes.c_void_p,
            ctypes.c_void_p,
        )
        self._message = ctypes.c_ulong(0)
        self._leaving: set[int] = set()

    def _ask(self, request: int, pid: int, data: int | None = None) -> None:
        if self._call(request, pid, None, data) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def seize(self, pid: int) -> None:
        """Have a process stop at its exit; raises OSError, EPERM where it may not."""
        self._ask(_SEIZE, pid, _TRACEEXIT)

    def stops(self) -> Iterator[Stop]:
        """Yield who exits or has ended, and pass on what others were stopped for."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | _WALL)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if not os.WIFSTOPPED(status):
                self._leaving.discard(pid)
                yield Stop(pid, False, True, status)
            elif status >> 16 == _EVENT_EXIT:
                self._leaving.discard(pid)
                yield Stop(pid, True, False, self._exit_status(pid))
            elif pid in self._leaving:
                self._leaving.discard(pid)
                self._let_run(pid, status >> 16, os.WSTOPSIG(status))
                yield Stop(pid, False, False, status, left=True)
            else:
                self._pass_on(pid, status >> 16, os.WSTOPSIG(status))

    def _exit_status(self, pid: int) -> int:
        try:
            self._ask(_GETEVENTMSG, pid, ctypes.addressof(self._message))
        except OSError:  # killed once more
            return signal.SIGKILL
        return self._message.value

    def _pass_on(self, pid: int, event: int, number: int) -> None:
        stopped = event == _EVENT_STOP
        try:
            if not stopped:
                self._ask(_CONT, pid, number)
            elif number in _GROUP_STOPS:
                self._ask(_LISTEN, pid)
            else:
                self._ask(_CONT, pid, 0)
        except OSError:  # killed meanwhile
            pass

    def _let_run(self, pid: int, event: int, number: int) -> None:
        try:
            self._ask(_DETACH, pid, 0 if event == _EVENT_STOP else number)
        except OSError:  # killed meanwhile
            pass

    def let_go(self, pid: int) -> None:
        """Let a process that exits end."""
        try:
            self._ask(_DETACH, pid, 0)
        except OSError:  # killed meanwhile
            pass

    def leave(self, pid: int) -> None:
        """Trace a running process no more, once it has stopped for that."""
        try:
            self._ask(_INTERRUPT, pid)
        except OSError:  # it ends just now
            return
        self._leaving.add(pid)

    @property
    def leaving(self) -> bool:
        """Whether some of them have yet to stop."""
        return bool(self._leaving)
