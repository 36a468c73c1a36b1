"""Programs that begin while children are watched: the observer is told of each.

They run no hook of ours, and may have ended before anybody looks. So the functions of
the standard library that start them tell of it, as long as the watch is open.

A child that executes one itself is read, and traced no more, before it does: execve(2)
gives no privilege to a process that somebody traces, so that `sudo` would not work,
and the memory that the child inherited goes.
"""

from __future__ import annotations

import _posixsubprocess
import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from ipc_magic.memory.observing import family, hello, stack

with contextlib.suppress(ImportError):  # where there is no fork server
    # Now: what it imports registers hooks of forks, and ours have to be the last.
    pass

_MOST_WORDS, _MOST_CHARACTERS = 8, 200

Tell = Callable[[dict[str, Any]], None]
Line = Callable[[FrameType], "int | None"]
Ask = Callable[[str], None]


class Programs:
    """Has `tell` told of each one that this process and its children start.

    `line` finds the line of the user's that led to a frame. `ask` waits, in a child,
    until it is read and not traced any more.
    """

    def __init__(self, tell: Tell, line: Line, ask: Ask) -> None:
        self._tell = tell
        self._line = line
        self._ask = ask
        self._open = False
        self._replaced: list[tuple[Any, str, Any, Any]] = []

    def begin(self) -> None:
        """Put our functions in the place of those that start programs."""
        self._open = True
        for home, name, words_at in (
            (_posixsubprocess, "fork_exec", 0),
            (subprocess, "_fork_exec", 0),  # its own name for it, from Python 3.11 on
            (os, "posix_spawn", 1),
            (os, "posix_spawnp", 1),
        ):
            self._replace(home, name, functools.partial(self._starting, words_at))
        if server := sys.modules.get("multiprocessing.popen_forkserver"):
            self._replace(server.Popen, "_launch", self._launching)
        for name in ("execv", "execve"):  # all others of `os` call one of these
            self._replace(os, name, self._executing)

    def close(self) -> None:
        """Put them back, but where others have put theirs meanwhile."""
        self._open = False
        for home, name, before, ours in reversed(self._replaced):
            if vars(home).get(name) is ours:
                setattr(home, name, before)
        self._replaced.clear()

    def _replace(self, home: Any, name: str, make: Callable[[Any], Any]) -> None:
        before = vars(home).get(name)
        if before is not None:
            ours = make(before)
            setattr(home, name, ours)
            self._replaced.append((home, name, before, ours))

    def _starting(self, words_at: int, start: Callable[..., int]) -> Any:
        @functools.wraps(start)
        def starting(*args: Any, **more: Any) -> int:
            pid = start(*args, **more)
            self._note(pid, args[words_at], "exec", sys._getframe(1))
            return pid

        return starting

    def _launching(self, launch: Callable[[Any, Any], None]) -> Any:
        @functools.wraps(launch)
        def launching(popen: Any, process: Any) -> None:
            launch(popen, process)
            self._note(popen.pid, [family.FORK_SERVER], "forkserver", sys._getframe(1))

        return launching

    def _executing(self, execute: Callable[..., None]) -> Any:
        @functools.wraps(execute)
        def executing(*args: Any, **more: Any) -> None:
            try:
                self._ask_if_open(hello.EXECUTES)
                execute(*args, **more)
            finally:
                self._ask_if_open(hello.CANNOT_EXECUTE)

        return executing

    def _ask_if_open(self, what: str) -> None:
        if self._open:
            try:
                self._ask(what)
            except OSError:  # the observer is gone, or hangs: it is asked no more
                self._open = False

    def _note(self, pid: int, words: Any, by: str, caller: FrameType) -> None:
        """Tell the observer; the user's program goes on whatever comes of that."""
        if not self._open:
            return
        # An interrupt here would lose its pid to who started it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._tell(
                {
                    "pid": pid,
                    "started": family.started(pid),
                    "at": time.monotonic(),
                    "by": by,
                    "command": _shortened(words),
                    "line": self._line(caller),
                    "ours": stack.is_ours(caller),
                }
            )
        except Exception:  # noqa: BLE001 - the program runs, told of or not
            pass
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _shortened(words: Iterable[Any]) -> list[str]:
    first = list(words)[:_MOST_WORDS]
    return [os.fsdecode(word)[:_MOST_CHARACTERS] for word in first]
