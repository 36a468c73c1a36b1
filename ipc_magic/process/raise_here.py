"""Having IPython show an error by its own lines where it would not ask for them."""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

from ipc_magic.process import child_traceback
from ipc_magic.process.cell import in_running_cell


def needs_help(error: BaseException) -> bool:
    """Return whether IPython shows this kind without asking `_render_traceback_`.

    Syntax errors and groups go another way in `InteractiveShell.showtraceback`, and
    would be shown with the frames of IPython and of this package.
    """
    group = getattr(builtins, "BaseExceptionGroup", ())
    return isinstance(error, (SyntaxError, group))


def arrange(shell: Any, error: BaseException) -> None:
    """Have `shell` show `error` by its `_render_traceback_` when it is raised next.

    This takes IPython's one place for custom exceptions and gives it back as soon as
    the error is shown, or the cell ends without it. Outside of a running cell
    nothing is arranged, since nothing would be shown.
    """
    if not (needs_help(error) and in_running_cell(shell)):
        return
    before = shell.custom_exceptions, shell.CustomTB

    def give_back() -> None:
        shell.custom_exceptions, shell.CustomTB = before
        shell.events.unregister("post_run_cell", at_cell_end)

    def at_cell_end(_result: Any = None) -> None:
        give_back()

    def show(self: Any, kind: type, value: BaseException, tb: Any, **_: Any) -> None:
        give_back()
        if child_traceback.is_held_back(shell, sys._getframe(1)):
            return  # in a child whose cell runs another: the parent shows it
        if value is error:
            shell._showtraceback(kind, value, error._render_traceback_())  # type: ignore[attr-defined]
        elif isinstance(value, before[0]):
            before[1](kind, value, tb)
        else:
            self.showtraceback((kind, value, tb), running_compiled_code=True)

    shell.custom_exceptions = (type(error),)
    shell.CustomTB = types.MethodType(show, shell)
    shell.events.register("post_run_cell", at_cell_end)


def show_as_syntax_error(shell: Any, error: SyntaxError) -> None:
    """Give `error` the lines in which the shell shows its own cells' syntax errors."""
    lines = shell.SyntaxTB.structured_traceback(type(error), error, [])
    error.__dict__["_render_traceback_"] = lambda: lines
