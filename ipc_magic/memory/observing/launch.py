"""Starts the observer at the first need, and talks to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipc_magic.memory.observing import observer_main, wire
from ipc_magic.memory.observing.seat import take_seat

_READY_SECONDS = 10.0
_SERVING = "ipc_magic.memory.observing.loop"
# One thread is all it needs, and a library for the interpreter may lie elsewhere.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_KEPT = ("LD_LIBRARY_PATH",)


class ObserverProcess:
    """A process's end of its observer; a fork of that process needs its own.

    `serving` names the module whose `serve` it runs, found on `paths` or as here.
    """

    def __init__(self, serving: str = _SERVING, paths: Sequence[str] = ()) -> None:
        self._serving = serving
        self._paths = list(paths)
        self._owner = 0
        self._control = -1
        self._starting = False
        """Whether it was started and has not answered yet."""

    def ask(self, message: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        """Return the answer to a message; raises OSError when none comes.

        After that `start` starts another.
        """
        if self._owner != os.getpid():
            raise wire.Closed("there is no observer")
        try:
            wire.send(self._control, message)
            answer = wire.receive(self._control, timeout_seconds)
        except BaseException:
            self.close()  # an answer that comes later would be taken for another
            raise
        self._starting = False
        return answer

    def start(self) -> None:
        """Start it unless it runs, and do not wait; raises OSError."""
        if self._owner == os.getpid() and not self._starting:
            try:
                self.ask({"ask": "ready"}, _READY_SECONDS)
            except OSError:
                pass  # it was killed, or hangs
        if self._owner != os.getpid():
            self._launch()

    def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            subprocess.call(  # it forks the observer and exits
                [
                    sys.executable,
                    "-I",
                    "-S",
                    observer_main.__file__,
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
                start_new_session=True,  # who kills our group does not kill it
            )
            first = {"paths": [*self._paths, *_paths()], "serving": self._serving}
            wire.send(ours.fileno(), {**first, "session": os.getpid()})
            self._control = ours.detach()
        self._owner, self._starting = os.getpid(), True
        take_seat().close_in_child.add(self._control)

    def close(self) -> None:
        """Have it end; doing it twice does no harm."""
        if self._owner == os.getpid():
            take_seat().close_in_child.discard(self._control)
            os.close(self._control)
        self._owner, self._control = 0, -1


def _paths() -> list[str]:
    """Return where modules are found here; ours last, if it is not found otherwise."""
    ours = str(Path(observer_main.__file__).parents[3])
    return [os.path.abspath(path) for path in sys.path if path] + [ours]


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**_ENVIRONMENT, **kept}


observer = ObserverProcess()
"""The one of this process."""
