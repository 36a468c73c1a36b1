"""IPython in a real terminal (a pseudo-terminal held by pexpect)."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
import warnings
from typing import Any

import pexpect

# IPython's simple prompt, and the one that asks for the next line of a cell.
_PROMPT = re.compile(r"In \[\d+\]: ")
_MORE = re.compile(r"(?m)^ +\.\.\.: ")


class Terminal:
    """One IPython in a terminal of 80 columns. `close()` is safe at any time."""

    def __init__(
        self,
        env: dict[str, str],
        extension: str | None = "ipc_magic",
        kind: str = "dumb",
    ):
        self._home = tempfile.mkdtemp(prefix="terminal-")
        arguments = ["--simple-prompt", "--colors=nocolor", "--no-banner"]
        with warnings.catch_warnings():
            # pexpect forks; from 3.12 that warns in a process with threads.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.spawned: Any = pexpect.spawn(
                sys.executable,
                ["-m", "IPython", *arguments, "--no-confirm-exit"],
                env={**env, "IPYTHONDIR": self._home, "TERM": kind},
                cwd=self._home,
                encoding="utf-8",
                codec_errors="replace",
                dimensions=(50, 80),
                echo=False,
                timeout=60,
            )
        self.spawned.delaybeforesend = None  # 50 ms a line, for passwords
        try:
            self.spawned.expect(_PROMPT)
            if extension:
                text = self.run(f"%load_ext {extension}")
                if text:
                    raise AssertionError(f"%load_ext {extension} said: {text}")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process ID of IPython."""
        return int(self.spawned.pid)

    def run(
        self,
        cell: str,
        timeout: float = 60,
        interrupt_after: float | None = None,
    ) -> str:
        """Type a cell and return what it showed before the next prompt.

        Lines that are complete by themselves run one by one, as when typed. A
        cell with an empty line inside cannot be typed at a simple prompt.
        """
        lines = cell.strip("\n").split("\n")
        if any(not line.strip() for line in lines):
            raise ValueError("an empty line would end the cell: " + repr(cell))
        started = time.monotonic()
        shown = []
        for line in lines:
            self.spawned.sendline(line)
            text, complete = self._next(timeout, started, interrupt_after, line)
            shown.append(text)
        while not complete:
            self.spawned.sendline("")
            text, complete = self._next(timeout, started, interrupt_after, "")
            shown.append(text)
        return "".join(shown).strip("\n")

    def _next(
        self, timeout: float, started: float, interrupt_after: float | None, typed: str
    ) -> tuple[str, bool]:
        if interrupt_after is not None:
            try:
                which = self.spawned.expect([_PROMPT, _MORE], timeout=interrupt_after)
            except pexpect.TIMEOUT:
                self.interrupt()
            else:
                return self._text(typed), which == 0
        left = max(0.1, timeout - (time.monotonic() - started))
        which = self.spawned.expect([_PROMPT, _MORE], timeout=left)
        return self._text(typed), which == 0

    def _text(self, typed: str) -> str:
        text: str = self.spawned.before.replace("\r\n", "\n")
        # readline echoes by itself where the terminal was told not to.
        return text[len(typed) :] if typed and text.startswith(typed) else text

    def interrupt(self) -> None:
        """Press Ctrl-C: the terminal signals its whole foreground group."""
        self.spawned.sendintr()

    def close(self) -> None:
        """End IPython as Ctrl-D does, by force if it stays."""
        if not self.spawned.closed:
            try:
                if self.spawned.isalive():
                    self.spawned.sendeof()
                    self.spawned.expect(pexpect.EOF, timeout=5)
            except (pexpect.TIMEOUT, OSError):
                pass
            self.spawned.close(force=True)
        shutil.rmtree(self._home, ignore_errors=True)
