"""What can go wrong with an object on its way to another process, in words."""

from __future__ import annotations

import signal
from typing import Literal

from ipc_magic.errors import IpcMagicError

Stage = Literal["dump", "load", "transport"]


class CannotRun(IpcMagicError):
    """A way of sending objects cannot be used here; nothing was sent."""


class Failed(IpcMagicError):
    """An object could not be dumped, sent or loaded.

    `stage` tells which: "dump", "transport" or "load".
    """

    def __init__(self, message: str, stage: Stage) -> None:
        super().__init__(message, stage)
        self.stage = stage

    def __str__(self) -> str:
        return str(self.args[0])


def describe(error: BaseException) -> str:
    """Return `TypeError: what it says`; errors of people's classes may say nothing."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - its __str__ is anybody's code
        return name
    return f"{name}: {text:.500}" if text else name


def describe_exit(code: int | None) -> str:
    """Return `exit code 3`, or the name of the signal for a negative code."""
    if code is None:
        return "an unknown exit status"
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
