"""The descriptors between a parent and one child, made before the fork.

stdout, stderr   pipes for what Python, C code and grandchildren write
channel          a socket pair for frames (see wire.py), both ways
lifeline         a silent pipe: its end closes when the parent is gone
buffers          a pipe for results that are large, where some were asked for
stack            a memory file: faulthandler writes where the child is
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
from dataclasses import dataclass, field

from ipc_magic.process import parent_only

# A pipe of 64 KiB makes a printing child wait for the parent at every turn.
PIPE_BYTES = 1 << 20


@dataclass
class Wiring:
    """Both ends of everything; each side closes what is the other's."""

    token: bytes = field(default_factory=lambda: os.urandom(8).hex().encode())
    parent: dict[str, int] = field(default_factory=dict)
    child: dict[str, int] = field(default_factory=dict)
    inodes: dict[str, int] = field(default_factory=dict)
    """The inode of each of the child's descriptors."""
    stack: int = -1

    def close_parent_side(self) -> None:
        """Close what the parent holds."""
        for fd in self.parent.values():
            parent_only.release(fd)
        self.parent.clear()
        if self.stack >= 0:
            os.close(self.stack)
            self.stack = -1

    def close_child_side(self) -> None:
        """Close the child's ends, in the parent after the fork."""
        for fd in self.child.values():
            os.close(fd)
        self.child.clear()


def make(*, results: bool = False) -> Wiring:
    """Return the wiring for one child, whose `results` may be large, or there are none.

    Raises OSError, with nothing left open.
    """
    wiring = Wiring()
    read_here = ("stdout", "stderr", *(["buffers"] if results else []))
    try:
        for name in (*read_here, "lifeline"):
            read, write = os.pipe()
            ends = (write, read) if name == "lifeline" else (read, write)
            wiring.parent[name] = parent_only.hold(ends[0])
            wiring.child[name] = ends[1]
        for name in read_here:
            _enlarge(wiring.parent[name])
            os.set_blocking(wiring.parent[name], False)
        _have_end_signalled(wiring.child["lifeline"])
        ours, theirs = socket.socketpair()
        wiring.parent["channel"] = parent_only.hold(ours.detach())
        wiring.child["channel"] = theirs.detach()
        os.set_blocking(wiring.parent["channel"], False)
        wiring.stack = os.memfd_create("ipc_magic-stack")
        wiring.inodes = {n: os.fstat(fd).st_ino for n, fd in wiring.child.items()}
    except OSError:
        wiring.close_parent_side()
        wiring.close_child_side()
        raise
    return wiring


def _enlarge(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # the person's quota of pipe memory is used up: slower, not wrong


def _have_end_signalled(lifeline: int) -> None:
    """Have the kernel send SIGKILL when the pipe's last writer is gone.

    The read end becomes readable for good then, however the writer died, and O_ASYNC
    turns that into the signal F_SETSIG names (fcntl(2)): to nobody, until the child
    names its group. PR_SET_PDEATHSIG is not used beside it: the child would die first
    and take the armed descriptor along before its group is reached.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def tie_to_parent(lifeline: int) -> None:
    """Have the kernel kill the group that this process leads when the parent is gone.

    A process that leads none, since setsid(2) was refused, is killed alone: its group
    is its parent's.
    """
    pid = os.getpid()
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -pid if os.getpgrp() == pid else pid)
    end = select.poll()  # select(2) knows no descriptor beyond 1023
    end.register(lifeline, select.POLLIN)
    if end.poll(0):
        os._exit(1)  # the parent was gone before the signal had an owner
