"""What a person asks to run: their text, its line numbers, its number, its scope."""

from __future__ import annotations

import ast
import builtins
import inspect
import io
import linecache
import sys
import tokenize
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

VALUE = " value"
"""Stands for the value of the last expression; no variable has such a name."""

ALL = "*"
"""Asked back, it stands for all names that are new or bound anew."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Code for a shell in a child to run as if it stood in a cell of the parent."""

    source: str
    """The text given to IPython; its lines are numbered as in the person's cell."""
    code: str
    """The Python that IPython makes of the source."""
    number: int
    """The number tracebacks name: `Cell In[number]`."""
    filename: str
    """The name under which the shell compiles it, and linecache has its lines."""
    local_names: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the function that called the magic, if one did."""
    bring: tuple[str, ...] = ()
    """Names asked back; `ALL` may be among them."""
    ends_in_semicolon: bool = False
    """Whether the last token is `;`, which hides a value."""
    bring_value: bool = False
    """Whether the value of the last expression is asked back, and not displayed."""

    def asked(self) -> tuple[str, ...]:
        """Return what is asked back, in the person's spelling."""
        return (*self.bring, self.spelling(VALUE)) if self.bring_value else self.bring

    def asked_by_name(self) -> tuple[str, ...]:
        """Return what is asked back one by one."""
        named = tuple(name for name in self.bring if name != ALL)
        return (*named, VALUE) if self.bring_value else named

    def spelling(self, name: str) -> str:
        """Return what the person calls a thing asked back."""
        return self.source.strip().rstrip(";") if name == VALUE else name

    def line(self, number: int) -> str:
        """Return one line of the source, stripped; "" beyond its end."""
        lines = self.source.splitlines()
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def from_body(shell: Any, first_line: str, body: str, **fields: Any) -> Cell:
    """Return the cell whose magic's line was `first_line` and whose text is `body`.

    A comment stands where the magic's line stood, so that line numbers are the
    notebook's. IPython sees cell magics, and `exit` without parentheses, only in text
    that they begin: such a body is transformed without the comment.
    """
    from IPython.core.inputtransformer2 import leading_indent

    head = f"{_lines_above()}#%%{first_line.strip()}\n"
    source = head + "".join(leading_indent(body.splitlines(keepends=True)))
    text = body.lstrip()
    if text.startswith("%%") or "\n" not in text.rstrip():
        head += "\n" * body[: len(body) - len(text)].count("\n")
        return _from_source(shell, source, head + shell.transform_cell(text), **fields)
    return _from_source(shell, source, **fields)


def _lines_above() -> str:
    """Return the comments for the magics above the one that runs now.

    There are some when a cell's body is a cell magic: that runs in a child then, as
    the one line below the comments.
    """
    frame = sys._getframe()
    while frame.f_back and frame.f_back.f_code.co_name != "run_code":
        frame = frame.f_back
    lines = linecache.getlines(frame.f_code.co_filename)
    above = lines[:-1]
    nested = frame.f_lineno == len(lines) and all(map(_is_head, above))
    return "".join(above) if nested else ""


def _is_head(line: str) -> bool:
    return line.startswith("#%%") or line.isspace()


def from_line(shell: Any, expression: str, **fields: Any) -> Cell:
    """Return the cell for the text of a line magic, whose value is asked back."""
    valued = is_expression(expression.rstrip().rstrip(";"))
    return _from_source(shell, expression, bring_value=valued, **fields)


def _from_source(
    shell: Any, source: str, code: str | None = None, **fields: Any
) -> Cell:
    code = shell.transform_cell(source) if code is None else code
    number = running_cell_number(shell)
    return Cell(
        source=source,
        code=code,
        number=number,
        filename=str(shell.compile.cache(code, number)),
        ends_in_semicolon=_ends_in_semicolon(source),
        **fields,
    )


_NO_CODE = {tokenize.ENDMARKER, tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT}


def _ends_in_semicolon(source: str) -> bool:
    """Do what IPython's DisplayHook.quiet() does for the cell that it knows of."""
    if ";" not in source:
        return False
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return False  # text that is no Python has no such token
    last = next((t for t in reversed(tokens) if t.type not in _NO_CODE), None)
    return last is not None and last.string == ";"


def check_syntax(shell: Any, cell: Cell) -> None:
    """Raise the `SyntaxError` that running `cell` would end in, before any fork."""
    flags = shell.compile.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    builtins.compile(cell.code, cell.filename, "exec", flags, dont_inherit=True)


def is_expression(source: str) -> bool:
    """Return whether `source` is one Python expression, which has a value."""
    try:
        compile(source.strip(), "", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return False
    return True


def calling_scope(shell: Any) -> dict[str, Any]:
    """Return the variables of the function that called a magic; {} outside of one.

    IPython gives cell magics the notebook's variables as their local scope, whoever
    calls them, so the stack is asked.
    """
    calls = {
        type(shell).run_cell_magic.__code__,
        type(shell).run_line_magic.__code__,
    }
    frame = _frame_of(lambda code: code in calls)
    caller = frame and frame.f_back
    if caller is None or not caller.f_code.co_flags & inspect.CO_NEWLOCALS:
        return {}
    return dict(caller.f_locals)


def in_running_cell(shell: Any) -> bool:
    """Return whether the shell is running code, whose errors it will show."""
    run = type(shell).run_code.__code__
    return _frame_of(lambda code: code is run) is not None


def _frame_of(wanted: Callable[[types.CodeType], bool]) -> types.FrameType | None:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and not wanted(frame.f_code):
        frame = frame.f_back
    return frame


def running_cell_number(shell: Any) -> int:
    """Return the number under which tracebacks name the cell that is running now.

    The code on the stack tells it surely; the shell's counter is already one
    further in some versions of IPython and not in others.
    """
    numbers: Mapping[str, int] = getattr(shell.compile, "_filename_map", {})
    frame = _frame_of(lambda code: code.co_filename in numbers)
    return numbers[frame.f_code.co_filename] if frame else int(shell.execution_count)
