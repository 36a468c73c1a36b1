"""How a child meets its parent for a reading: it asks, waits, and goes on.

Two moments are the child's to tell: when it is ready to be watched, and when its code
is done. The parent answers from outside when it has read what it needs.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Callable

from ipc_magic.memory.userfault import Creator

BEGIN, DONE, SENT = b"b", b"d", b"s"
_GO = b"g"
# Code that took SIGPIPE's default back (signal(2)) must not die of an end of ours.
_QUIETLY = socket.MSG_NOSIGNAL


class Handshake:
    """A pair of sockets, made before the fork; each side closes what is the other's."""

    def __init__(
        self,
        creator: Creator | None,
        *,
        hold: Callable[[int], int] = lambda fd: fd,
        release: Callable[[int], object] = os.close,
    ) -> None:
        self._creator = creator
        self._release = release
        ours, theirs = socket.socketpair()
        theirs.settimeout(None)  # whatever socket.setdefaulttimeout() says
        # Made here: what a child makes and imports would be pages that it copies.
        self._theirs = theirs
        self._inode = _inode(theirs.fileno())
        self._descriptors = array.array("i", [0])
        self._ours = hold(ours.detach())

    def begin_here(self) -> None:
        """Be met, in the child; the descriptor that watches it goes to the parent.

        Returns at once where the parent is gone: nobody measures then.
        """
        watching = -1
        try:
            if self._creator is not None:
                watching = self._creator.create()
        except OSError:
            pass  # the parent falls back to the next mechanism
        try:
            try:
                self._send_here(watching)
            finally:
                if watching >= 0:
                    os.close(watching)
            self._theirs.recv(1)
        except OSError:
            pass  # the parent is gone, or reads no more

    def _send_here(self, watching: int) -> None:
        if watching >= 0:
            self._descriptors[0] = watching
            more = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, self._descriptors)]
            try:
                self._theirs.sendmsg([BEGIN], more, _QUIETLY)
                return
            except OSError:
                pass  # ETOOMANYREFS of unix(7), for one: go on without it
        self._theirs.sendmsg([BEGIN], [], _QUIETLY)

    def tell_here(self, moment: bytes) -> None:
        """Tell the parent, in the child, and wait until it has read what it needs.

        The code may have closed the socket, or opened something else in its place.
        """
        try:
            if _inode(self._theirs.fileno()) == self._inode:
                self._theirs.send(moment, _QUIETLY)
                self._theirs.recv(1)
        except OSError:
            pass  # the parent is gone, or reads no more

    def close_theirs(self) -> None:
        """Close the child's end, in the parent after the fork."""
        self._theirs.close()

    def fileno(self) -> int:
        """Return the parent's descriptor, readable when the child asks; -1: closed."""
        return self._ours

    def take(self) -> tuple[bytes, int]:
        """Return what the child asks, b"" at its end, and a descriptor or -1."""
        ours = self._socket()
        try:
            asked, more, _flags, _address = ours.recvmsg(
                1, socket.CMSG_LEN(4), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:  # it ended while it waited for us
            return b"", -1
        finally:
            ours.detach()
        for level, kind, data in more:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors = array.array("i")
                descriptors.frombytes(data[: len(data) - len(data) % 4])
                return asked, descriptors[0]
        return asked, -1

    def let_go(self) -> None:
        """Let the child go on."""
        ours = self._socket()
        try:
            ours.send(_GO, _QUIETLY)
        except OSError:
            pass  # it has ended
        finally:
            ours.detach()

    def _socket(self) -> socket.socket:
        ours = socket.socket(fileno=self._ours)
        ours.settimeout(None)
        return ours

    def close(self) -> None:
        """Close the parent's end; doing it twice does no harm."""
        if self._ours >= 0:
            self._release(self._ours)
            self._ours = -1


def _inode(descriptor: int) -> tuple[int, int]:
    """Return what tells an open file from all others."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
