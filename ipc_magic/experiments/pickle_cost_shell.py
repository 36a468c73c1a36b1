"""`%pickle_cost` in a shell: from the text of an expression to the result."""

from __future__ import annotations

import ast
import types
from collections.abc import Mapping
from typing import Any

from ipc_magic.errors import OptionError
from ipc_magic.experiments import pickle_cost, pickle_cost_table
from ipc_magic.experiments.inprocess_ends import shown_in_lines
from ipc_magic.experiments.pickle_cost_options import Options
from ipc_magic.process.cell import VALUE, Cell
from ipc_magic.process.front import ShellFront
from ipc_magic.results.base import Result

_OPTIONS = tuple(Options.__dataclass_fields__)


def of_object(
    shell: Any, obj: object, asked: Cell, chosen: Mapping[str, Any]
) -> tuple[Result, BaseException | None]:
    """Measure `obj`; the error to raise afterwards is an interrupt's."""
    result, interrupted = pickle_cost.measure(
        obj,
        asked.spelling(VALUE),
        options_of(chosen),
        ShellFront(shell),
        from_magic=True,
    )
    return result, _error(result) if interrupted else None


def of_variables(
    shell: Any, chosen: Mapping[str, Any]
) -> tuple[Result, BaseException | None]:
    """Measure the notebook's variables."""
    result, interrupted = pickle_cost_table.measure(
        pickle_cost_table.user_names(shell.user_ns, shell.user_ns_hidden),
        options_of(chosen),
        ShellFront(shell),
    )
    return result, _error(result) if interrupted else None


def options_of(chosen: Mapping[str, Any]) -> Options:
    """Return what to measure, as it was chosen in the shell."""
    return Options(**{name: chosen[name] for name in _OPTIONS})


def evaluate(shell: Any, asked: Cell, local_ns: Mapping[str, Any] | None) -> Any:
    """Return the value of the expression, evaluated here as by any line magic.

    Its errors are raised as they are.
    """
    __tracebackhide__ = True  # IPython shows the person's frames alone
    code = _code(shell, asked)
    if not local_ns or local_ns is shell.user_ns:
        return eval(code, shell.user_ns)
    return eval(code, shell.user_ns, local_ns)


def _code(shell: Any, asked: Cell) -> types.CodeType:
    statements = ast.parse(asked.code).body
    if len(statements) == 1 and isinstance(statements[0], ast.Expr):
        tree = ast.Expression(statements[0].value)
        try:
            flags: int = shell.compile.flags
            code: types.CodeType = compile(
                tree, asked.filename, "eval", flags, dont_inherit=True
            )
        except SyntaxError as error:  # an `await`: the shell's own loop is not ours
            raise OptionError(f"%pickle_cost cannot do this: {error.msg}") from error
        return code
    text = asked.spelling(VALUE)
    raise OptionError(f"%pickle_cost takes one expression, not {text!r:.60}")


def _error(result: Result) -> BaseException:
    message = "the measurement was interrupted"
    error = shown_in_lines(KeyboardInterrupt(message), f"KeyboardInterrupt: {message}")
    vars(error)["report"] = result
    return error
