"""What is shown of watched children while the code that forks them runs here.

No thread of ours shows it: the observer writes it. A kernel's own thread for output
puts the lines into one display that updates in place. In a terminal the output of the
code is nobody's to hold back, and a line between would tear it: there the title tells,
where IPython sets it, and a warning of little free memory is a line of its own.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from ipc_magic.memory.observing.progress import Asked
from ipc_magic.memory.observing.seat import take_seat
from ipc_magic.process.front import LiveLine, set_own_title
from ipc_magic.results import cow_watch_words

_MOST_BYTES = 1 << 16
_PATIENCE_SECONDS = 1.0


class Live:
    """Shows lines until it is closed, where that can be done; `asked` says what of."""

    def __init__(self, shell: Any, *, keep_free: int, lines: bool) -> None:
        self.asked: Asked | None = None
        self._line = LiveLine(shell)
        self._keep_free = keep_free
        self._pipe: tuple[int, int] | None = None
        self._titled = False
        self._pid = os.getpid()
        self._shell = shell
        kernel = getattr(shell, "kernel", None)
        # Of ipykernel's IOPubThread, which sends all that a cell shows.
        thread = getattr(kernel, "iopub_thread", None)
        self._loop: Any = getattr(thread, "io_loop", None)
        if lines and self._loop is not None:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[0], False)
            take_seat().close_in_child.update(self._pipe)
            # The callback keeps this thread's context: the display is of this cell.
            self._loop.add_callback(self._begin_there, self._pipe[0])
            self.asked = self._of(self._pipe[1], cow_watch_words.so_far)
        elif (terminal := _terminal()) is not None:
            self._titled = lines and _sets_title(shell)
            if self._titled:
                self.asked = self._of(terminal, cow_watch_words.in_title)
            elif keep_free:
                self.asked = self._of(terminal, cow_watch_words.warning_alone)

    def _of(self, descriptor: int, words: Any) -> Asked:
        return Asked(descriptor=descriptor, words=words, keep_free=self._keep_free)

    def _begin_there(self, descriptor: int) -> None:
        self._loop.add_handler(descriptor, self._show, self._loop.READ)

    def _show(self, descriptor: int, _events: int) -> None:
        lines = os.read(descriptor, _MOST_BYTES).decode().splitlines()
        self._line.show(lines[-1])

    def close(self) -> None:
        """Take the line away; doing it twice does no harm."""
        if os.getpid() != self._pid:
            return
        if self._titled:
            self._titled = False
            set_own_title(self._shell)
        if self._pipe is None:
            return
        ended = threading.Event()
        self._loop.add_callback(self._end_there, self._pipe, ended)
        self._pipe = None
        ended.wait(_PATIENCE_SECONDS)  # the report comes behind it

    def _end_there(self, pipe: tuple[int, int], ended: threading.Event) -> None:
        self._loop.remove_handler(pipe[0])
        take_seat().close_in_child.difference_update(pipe)
        for descriptor in pipe:
            os.close(descriptor)
        self._line.show(None)
        ended.set()


def _sets_title(shell: Any) -> bool:
    """Return whether the shell sets the title of its terminal."""
    named = os.environ.get("TERM", "").startswith("xterm")  # as IPython looks
    return named and bool(getattr(shell, "term_title", False))


def _terminal() -> int | None:
    try:
        descriptor = sys.stderr.fileno()
        return descriptor if os.isatty(descriptor) else None
    except (OSError, ValueError, AttributeError):  # it may be any object
        return None
