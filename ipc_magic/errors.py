"""The errors of ipc_magic: what happened, to what, and what to do about it."""

from __future__ import annotations


class IpcMagicError(Exception):
    """The family of all errors that ipc_magic itself raises.

    A notebook shows such an error in one line (IPython's `_render_traceback_`
    hook). `report` holds the result of the run that ended in it, or `None`.
    """

    report: object = None

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class OptionError(IpcMagicError):
    """A line of options cannot be understood."""


class CannotStart(IpcMagicError):
    """A child process was refused or could not be made; nothing has run."""


class ChildEnded(IpcMagicError):
    """A child process ended without finishing the code it was given."""


class ChildExit(ChildEnded):
    """The code in a child called `sys.exit()`, `exit()` or `quit()`.

    `code` is the exit code (int) that the interpreter would have ended with.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message, code)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


class ChildKilled(ChildEnded):
    """A signal ended a child process."""


class ChildTimeout(ChildEnded):
    """A child process was stopped at its time limit."""


class ChildOutOfMemory(ChildEnded):
    """A child process was stopped, or killed by the kernel, for lack of memory."""


class NotBroughtBack(IpcMagicError):
    """An asked-for name could not be brought back from a child process."""


class NoInput(IpcMagicError, EOFError):
    """Code in a child process asked the user for input, which it cannot have."""


class ChildTraceback(Exception):
    """The traceback of an error in a child, as text: the cause of that error here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return "\n" + self.text
