"""A plain function as the work of children: what to call, and what it can reach."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ipc_magic.experiments.blame import Blame
from ipc_magic.experiments.fronts import ScriptFront
from ipc_magic.experiments.inprocess_run import Work
from ipc_magic.process.cell import Cell
from ipc_magic.process.child_function import FunctionBody
from ipc_magic.process.front import Front, ShellFront, running_shell

_NAMED = (
    *(types.FunctionType, types.MethodType, types.BuiltinFunctionType),
    *(types.MethodDescriptorType, type),
)


def work_of(
    function: Callable[..., object],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] = types.MappingProxyType({}),
    *,
    bring_value: bool,
) -> Work:
    """Return the work of calling `function` with these arguments."""
    names = _within_reach(function, args, kwargs)
    dots = "..." if args or kwargs else ""
    # Its place is told by the names of functions and files, as in a traceback: it has
    # no lines of a cell.
    cell = Cell(
        source=f"{name_of(function)}({dots})",
        code="",
        number=0,
        filename="",
        bring_value=bring_value,
    )
    return Work(
        cell=cell,
        names=names,
        body=FunctionBody(
            functools.partial(function, *args, **kwargs),
            names=names,
            bring_value=bring_value,
            blame=Blame(cell),
        ),
        idle=lambda: FunctionBody(_do_nothing),
        machinery="function",
    )


def front() -> Front:
    """Return what shows the children's output: the notebook, or the script's own."""
    shell = running_shell()
    return ScriptFront() if shell is None else ShellFront(shell)


def name_of(function: Callable[..., object]) -> str:
    """Return what a person calls a function, or the class of what is called."""
    function = _behind(function)
    if not isinstance(function, _NAMED):
        function = type(function)
    return function.__qualname__.rpartition("<locals>.")[2]


def _behind(function: Any) -> Any:
    while type(function) is functools.partial:
        function = function.func
    return function


def _within_reach(
    function: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the variables that a function can use, by the names it knows them by."""
    numbered = {f"args[{number}]": value for number, value in enumerate(args)}
    behind = _behind(function)
    if type(behind) is types.MethodType:
        behind = _behind(behind.__func__)
    if type(behind) is not types.FunctionType:
        return {**numbered, **kwargs}
    return {**behind.__globals__, **_closure(behind), **numbered, **kwargs}


def _closure(function: types.FunctionType) -> dict[str, Any]:
    found = {}
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # not bound yet
    return found


def _do_nothing() -> None:
    pass
