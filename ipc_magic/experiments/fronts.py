"""What a script shows of its children, where no shell runs."""

from __future__ import annotations

import sys
from typing import Any

from ipc_magic.process.front import LiveLine, ShellFront


class TerminalFront:
    """Shows nothing but the line that says what takes long, and that in a terminal."""

    def __init__(self) -> None:
        self._line = LiveLine(None)

    def write(self, stream: str, text: str) -> None:
        """Show nothing."""

    def show(self, message: Any) -> None:
        """Show nothing."""

    def live(self, line: str | None) -> None:
        """Show a line that goes again, where it can."""
        if sys.stderr is not None and sys.stderr.isatty():
            self._line.show(line)


class ScriptFront(TerminalFront):
    """Shows what the children print, too."""

    def __init__(self) -> None:
        super().__init__()
        self.write = ShellFront(None).write  # type: ignore[method-assign]
