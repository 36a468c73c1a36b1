"""How a child's shell shows errors: those of nested runs itself, the cell's own not."""

from __future__ import annotations

import builtins
import sys
import traceback
import types
from typing import Any

from ipc_magic.process import errors_home
from ipc_magic.process.replacements import Replacements


def plan(shell: Any, outermost: types.CodeType, replacements: Replacements) -> None:
    """Have `shell` show no traceback of the cell that `outermost` runs.

    The parent shows that one. Tracebacks of runs inside of the cell (`%run`, a
    nested `run_cell`) are shown where they happen.
    """
    for name in ("showtraceback", "showsyntaxerror"):
        show = _unless_outermost(shell, getattr(shell, name), outermost)
        replacements.put(shell, name, show)
    if shell.call_pdb:
        replacements.put(shell, "call_pdb", False)  # nobody to ask in a child


def _unless_outermost(shell: Any, show: Any, outermost: types.CodeType) -> Any:
    run = type(shell).run_cell_async.__code__

    def holds_back(caller: types.FrameType) -> bool:
        if caller.f_code.co_name not in ("run_code", run.co_name):
            return False
        if isinstance(sys.exc_info()[1], SystemExit):
            _let_it_exit_silently(shell)
        return _runs_between(caller, run, outermost) == 1

    def maybe_show(*args: Any, **more: Any) -> None:
        if not holds_back(sys._getframe(1)):
            show(*args, **more)

    vars(maybe_show)["holds_back"] = holds_back
    return maybe_show


def is_held_back(shell: Any, caller: types.FrameType) -> bool:
    """Return whether `caller`, of IPython's code, is to show an error the parent shows.

    For who shows errors past the shell's own `showtraceback`.
    """
    holds_back = getattr(shell.showtraceback, "holds_back", None)
    return holds_back is not None and bool(holds_back(caller))


def _runs_between(
    frame: types.FrameType | None, run: types.CodeType, outermost: types.CodeType
) -> int:
    runs = 0
    while frame is not None and frame.f_code is not outermost:
        runs += frame.f_code is run
        frame = frame.f_back
    return runs


def _let_it_exit_silently(shell: Any) -> None:
    """Take away IPython's advice on how to exit: this process does exit."""
    module = sys.modules[type(shell).run_code.__module__]
    for name in {module.__name__, "IPython.core.interactiveshell"}:
        vars(sys.modules[name])["warn"] = lambda *_, **__: None


def render(shell: Any, error: BaseException) -> list[str]:
    """Return the lines in which this shell shows `error`, as it would show its own."""
    kind, tb = type(error), errors_home.cut(error.__traceback__)
    try:
        if hasattr(error, "_render_traceback_"):
            lines = error._render_traceback_()
        elif isinstance(error, SyntaxError):
            below = traceback.extract_tb(tb and tb.tb_next)
            lines = shell.SyntaxTB.structured_traceback(kind, error, below)
        elif _has_group(error):  # IPython's own formatter does not know groups
            return errors_home.plain_traceback(error).splitlines()
        else:
            lines = shell.InteractiveTB.structured_traceback(kind, error, tb)
        return [str(line) for line in lines]
    except Exception:  # noqa: BLE001 - formatting runs the person's reprs
        return errors_home.plain_traceback(error).splitlines()


def _has_group(error: BaseException | None) -> bool:
    group = getattr(builtins, "BaseExceptionGroup", ())
    return error is not None and (
        isinstance(error, group) or _has_group(error.__context__)
    )


def line_in(error: BaseException, filename: str) -> int | None:
    """Return the line of the cell that the error came through, `None` if none."""
    if isinstance(error, SyntaxError) and error.filename == filename:
        return error.lineno
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == filename:
            return frame.lineno
    return None
