"""A cell executed here, once, in the person's namespace."""

from __future__ import annotations

import ast
from typing import Any

from ipc_magic.errors import OptionError
from ipc_magic.process.cell import Cell


def compiled(shell: Any, cell: Cell, instead: str) -> tuple[Any, Any]:
    """Return the code of all statements, and that of a last expression, or `None`.

    Top-level `await` is an `OptionError`: the loop is the shell's. `instead` says what
    to type then.
    """
    tree = ast.parse(cell.code, cell.filename)
    value = None
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        value = ast.Expression(last.value)
        del tree.body[-1]
    flags = shell.compile.flags
    try:
        code = compile(tree, cell.filename, "exec", flags, dont_inherit=True)
        if value is None:
            return code, None
        return code, compile(value, cell.filename, "eval", flags, dont_inherit=True)
    except SyntaxError as error:
        raise OptionError(f"{error.msg}: {instead}") from error


def execute(shell: Any, cell: Cell, code: tuple[Any, Any]) -> None:
    """Execute what `compiled` returned; display the last value, if there is one.

    Errors are raised as they are.
    """
    __tracebackhide__ = True  # IPython shows the person's frames alone
    statements, expression = code
    exec(statements, shell.user_ns)
    if expression is not None:
        value = eval(expression, shell.user_ns)
        if value is not None and not cell.ends_in_semicolon:
            from IPython.display import display

            display(value)
