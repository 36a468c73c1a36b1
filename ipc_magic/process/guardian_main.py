"""The program of the guardian (see guardian.py): imports nothing of the package."""

from __future__ import annotations

import os
import select
import signal
import sys

_PAUSE_MILLISECONDS = 500


def sessions_at_end(pipe: int) -> set[int]:
    """Read `+PID` and `-PID` lines until the pipe ends; return the pids that remain."""
    living: set[int] = set()
    rest = b""
    end = select.poll()
    end.register(pipe, 0)  # POLLHUP alone
    while data := os.read(pipe, 1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            (living.add if line[:1] == b"+" else living.discard)(int(line[1:]))
        # Not each of many short children need take a CPU from the next one.
        end.poll(_PAUSE_MILLISECONDS)
    return living


def members(sessions: set[int]) -> list[int]:
    """Return the pids of all processes of these sessions."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.getsid(int(name)) in sessions:
                    found.append(int(name))
            except OSError:
                continue  # it has just ended
    return found


def main() -> None:
    """Become nobody's child, wait for the parent's end, end what it left."""
    if os.fork():
        os._exit(0)
    os.setsid()
    sessions = sessions_at_end(int(sys.argv[1]))
    for _ in range(3):  # what forked while we looked is found the next time
        for pid in members(sessions) if sessions else ():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue


if __name__ == "__main__":
    main()
