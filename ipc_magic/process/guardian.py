"""A small process that ends the sessions of children when their parent has died.

The lifeline of a child (wiring.py) has the kernel kill its process group at once. A
grandchild that made a group of its own stays in the child's session; nothing in the
kernel kills a session, so this process does. It is started by exec at the first
need, holds no data of the person's, is nobody's child (so `os.wait()` never sees
it), reads the pids of living children from a pipe, and ends with the pipe.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

from ipc_magic.process import guardian_main, parent_only


class Guardian:
    """A process's end of its guardian; a fork of that process needs its own."""

    def __init__(self) -> None:
        self._owner = 0
        self._pipe = -1

    def watch(self, pids: Iterable[int]) -> None:
        """End the sessions of these processes should this process die."""
        read = -1 if self._owner == os.getpid() else self._open()
        # It waits in the pipe for a guardian that is yet to start: should this
        # process die while it does, these pids are known.
        self._tell("+", pids)
        if read >= 0:
            self._launch(read)

    def release(self, pids: Iterable[int]) -> None:
        """Forget these processes: they have ended."""
        if self._owner == os.getpid():
            self._tell("-", pids)

    def _tell(self, sign: str, pids: Iterable[int]) -> None:
        text = "".join(f"{sign}{pid}\n" for pid in pids)
        try:
            os.write(self._pipe, text.encode())
        except OSError:  # it was killed, or could not be started: the next call tries
            parent_only.release(self._pipe)
            self._owner = 0

    def _open(self) -> int:
        """Make a pipe to a new guardian; return the guardian's end, or -1."""
        try:
            read, write = os.pipe()
        except OSError:  # too many open files: the lifelines remain
            self._pipe = -1
            return -1
        self._owner, self._pipe = os.getpid(), parent_only.hold(write)
        return read

    def _launch(self, read: int) -> None:
        try:
            subprocess.call(  # it forks the guardian and exits
                [sys.executable, "-I", "-S", guardian_main.__file__, str(read)],
                pass_fds=[read],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,  # who kills our group does not kill it
            )
        except OSError:  # no more processes, no interpreter: the lifelines remain
            pass
        finally:
            os.close(read)


guardian = Guardian()
