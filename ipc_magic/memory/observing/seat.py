"""The hooks of all forks in this process, registered once whatever is reloaded.

A hook cannot be taken back. So what it calls, and which descriptors it closes, stands
in a module of its own in `sys.modules`, which no reload of ours replaces. While
nothing is watched it does nothing, and it never raises.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from types import FrameType, ModuleType
from typing import Any, Protocol

_NAME = "_ipc_magic_forks"
_SIG_BLOCK, _SIG_SETMASK = 0, 2
_MASK_BYTES = 128  # sizeof(sigset_t) of glibc and musl


class Forker(Protocol):
    """What is done at the forks of a process that is watched, and of its children."""

    def before(self, caller: FrameType | None) -> None:
        """Look who forks."""

    def in_parent(self) -> None:
        """Forget it."""

    def in_child(self) -> None:
        """Have this process watched, with all signals blocked."""


class Seat(ModuleType):
    """The module that keeps them."""

    def __init__(self) -> None:
        super().__init__(_NAME)
        self.forker: Forker | None = None
        self.close_in_child: set[int] = set()
        """Descriptors that no child may keep."""
        self._mask_call: Any = ctypes.CDLL(None).pthread_sigmask
        self._all = ctypes.create_string_buffer(b"\xff" * _MASK_BYTES, _MASK_BYTES)
        self._mask = ctypes.create_string_buffer(_MASK_BYTES)
        self._how = ctypes.c_int(_SIG_BLOCK)

    def register(self) -> None:
        """Have them called from now on."""
        os.register_at_fork(
            before=self._before,
            after_in_parent=self._in_parent,
            after_in_child=self._in_child,
        )
        # Signals come again only here, where no Python of ours runs any more: a
        # KeyboardInterrupt in a hook would be printed and lost. Blocks none elsewhere.
        restore = functools.partial(self._mask_call, self._how, self._mask, None)
        os.register_at_fork(after_in_child=restore)

    def _before(self) -> None:
        if self.forker is not None:
            try:
                self.forker.before(sys._getframe(1))
            except BaseException:  # noqa: BLE001 - a hook has nobody to raise to
                pass

    def _in_parent(self) -> None:
        if self.forker is not None:
            try:
                self.forker.in_parent()
            except BaseException:  # noqa: BLE001 - a hook has nobody to raise to
                pass

    def _in_child(self) -> None:
        try:
            for descriptor in self.close_in_child:
                _close(descriptor)
            self.close_in_child.clear()
            self._how.value = _SIG_BLOCK
            ctypes.memset(self._mask, 0, _MASK_BYTES)
            if self.forker is not None:
                self._mask_call(_SIG_SETMASK, self._all, self._mask)
                self._how.value = _SIG_SETMASK
                self.forker.in_child()
        except BaseException:  # noqa: BLE001 - a hook has nobody to raise to
            self.forker = None


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:  # the user's code closed it
        pass


def take_seat() -> Seat:
    """Return this process's, with the hooks registered."""
    seat: Any = sys.modules.get(_NAME)
    if seat is None:
        seat = Seat()
        sys.modules[_NAME] = seat
        seat.register()
    return seat  # type: ignore[no-any-return]
