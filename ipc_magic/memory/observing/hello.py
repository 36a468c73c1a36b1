"""What children say to the observer, and what it answers."""

from __future__ import annotations

import array
import json
import socket
import struct
from typing import Any

LEFT_OUT = b"{}"
"""What a child says that is not to be watched, and waits for no answer."""
GO, ASK_AT_EXIT = b"g", b"x"
"""What the observer answers to a child that may go on."""
EXECUTES, CANNOT_EXECUTE = "executes", "cannot execute"
"""What a child says that is about to execute, or has failed to."""
MOST_BYTES = 1 << 14
"""Of one message."""
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: unix(7)


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return the pid and the uid of the process at the other end."""
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return pid, uid


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, int]:
    """Return what a child tells of itself, and its userfaultfd or -1."""
    descriptor = -1
    try:
        data, more, _flags, _address = connection.recvmsg(
            MOST_BYTES, socket.CMSG_LEN(4), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, content in more:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors = array.array("i")
                descriptors.frombytes(content[: len(content) - len(content) % 4])
                descriptor = descriptors[0]
        return (json.loads(data) if data else None), descriptor
    except (OSError, ValueError):
        return None, descriptor


def answer(connection: socket.socket, word: bytes) -> None:
    """Send a word to it, if it is still there."""
    try:
        connection.send(word, socket.MSG_NOSIGNAL)
    except OSError:  # it has ended while it waited
        pass
