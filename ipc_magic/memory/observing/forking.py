"""What the fork hooks do: a look at the stack, and a child that has itself watched."""

from __future__ import annotations

import array
import ctypes
import gc
import json
import os
import socket
import sys
import time
from _thread import get_ident
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ipc_magic.memory.observing import hello, programs, stack
from ipc_magic.memory.observing.at_exit import LastWords, plan_last_words_here
from ipc_magic.memory.observing.seat import Seat
from ipc_magic.memory.observing.witnesses import Witnesses
from ipc_magic.memory.userfault import Creator

_NOT_TO_BE_WATCHED = b""
PATIENCE_SECONDS = 2.0
_LAST_PATIENCE_SECONDS = 10.0  # a large child is read in a second or so
_SET_PTRACER = 0x59616D61  # PR_SET_PTRACER of include/uapi/linux/prctl.h
_YAMA = "/proc/sys/kernel/yama"


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Where the children find it."""

    address: bytes
    """Of its unix socket."""
    pid: int
    mechanism: str
    creator: Creator | None
    """What makes the userfaultfd in a child, where the mechanism needs one."""


class Forks:
    """The hooks' work in the session and, inherited, in all who come from it."""

    def __init__(self, observer: Observer, seat: Seat, *, cell: str | None) -> None:
        self._observer = observer
        self._seat = seat
        self._cell = cell
        self._main: dict[str, Any] = vars(sys.modules["__main__"])
        self._told: dict[int, bytes] = {}
        self.forks = 0
        """How many forks of this process were to be watched."""
        self._descriptors = array.array("i", [0])
        self._uid = os.geteuid()
        self._pid = os.getpid()
        self._words: LastWords | None = None
        self._programs = programs.Programs(
            self._tell_of_program, self._line, self._ask_to_execute
        )
        self._witnesses: Witnesses | None = None
        if observer.mechanism == "witness":
            self._witnesses = Witnesses(seat)
        self._name_tracer: Any = None
        if os.path.isdir(_YAMA):
            self._name_tracer = ctypes.CDLL(None).prctl

    @property
    def is_of_this_process(self) -> bool:
        """Whether the watch was opened here, not in a process that this comes from."""
        return self._pid == os.getpid()

    def begin(self) -> None:
        """Have programs that are started told of as well."""
        self._programs.begin()

    def before(self, caller: FrameType | None) -> None:
        """Work out what the child is to say of itself, whichever thread forks it."""
        caller = stack.beyond_starters(caller)
        if not stack.is_watched(caller):
            if stack.is_ours(caller):
                self._told[get_ident()] = _NOT_TO_BE_WATCHED
            return
        mechanism, witness_at = self._observer.mechanism, None
        if self._witnesses is not None:
            witness_at = self._witnesses.be_there()
            mechanism = "exclusive" if witness_at is None else mechanism
        told = {
            "forked_at": time.monotonic(),
            "parent_pid": os.getpid(),
            "mechanism": mechanism,
            "witness_at": witness_at,
            "how": stack.maker(caller),
            "line": self._line(caller),
        }
        self._told[get_ident()] = json.dumps(told).encode()

    def _line(self, caller: FrameType | None) -> int | None:
        return stack.line_of(caller, cell=self._cell, main=self._main)

    def _tell_of_program(self, program: dict[str, Any]) -> None:
        with self._connected() as connection:
            connection.send(json.dumps({"program": program}).encode())

    def _ask_to_execute(self, what: str) -> None:
        if self.is_of_this_process:
            return  # nobody traces the session
        with self._connected() as connection:
            connection.send(json.dumps({"asks": what}).encode())
            connection.recv(1)

    def close(self) -> None:
        """End the witnesses, and follow no programs, when the watch has ended."""
        self._programs.close()
        if self._witnesses is not None:
            self._witnesses.close()

    def in_parent(self) -> None:
        """Forget what was worked out."""
        if self._told.pop(get_ident(), None):
            self.forks += 1

    def in_child(self) -> None:
        """Be watched from now on, or go on unwatched."""
        collects = gc.isenabled()
        gc.disable()
        try:
            told = self._told.get(get_ident())
            self._told.clear()
            self.forks = 0
            if self._words is not None:
                self._words.forget_here()
                self._words = None
            if told:
                self._be_met_here(told)
            elif told is not None:
                self._be_left_out_here()
        except OSError:  # the watch has ended, or the observer is gone
            self._seat.forker = None
        finally:
            if collects:
                gc.enable()

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        """Yield a connection to the observer, and to nobody who took its name."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(PATIENCE_SECONDS)
            connection.connect(self._observer.address)
            if hello.peer(connection)[1] != self._uid:
                raise PermissionError("the observer is not of this user")
            yield connection

    def _be_left_out_here(self) -> None:
        with self._connected() as connection:
            connection.send(hello.LEFT_OUT)

    def _be_met_here(self, told: bytes) -> None:
        with self._connected() as connection:
            if self._name_tracer is not None:
                self._name_tracer(_SET_PTRACER, ctypes.c_ulong(self._observer.pid))
            self._introduce_here(connection, told)
            if connection.recv(1) == hello.ASK_AT_EXIT:
                self._words = LastWords(connection.dup(), _LAST_PATIENCE_SECONDS)
                plan_last_words_here(self._words)

    def _introduce_here(self, connection: socket.socket, told: bytes) -> None:
        watching = -1
        try:
            if self._observer.creator is not None:
                watching = self._observer.creator.create()
        except OSError:
            pass  # the observer falls back to the next mechanism
        more = []
        if watching >= 0:
            self._descriptors[0] = watching
            more = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, self._descriptors)]
        try:
            connection.sendmsg([told], more)
        finally:
            if watching >= 0:
                os.close(watching)
