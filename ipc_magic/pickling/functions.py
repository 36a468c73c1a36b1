"""What goes along when a function is pickled by value: globals, cells, defaults."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator

from ipc_magic.pickling import paths
from ipc_magic.pickling.paths import Step

_GLOBAL = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"})


def captured(function: types.FunctionType) -> Iterator[tuple[str, Step, object]]:
    """Yield the name, step and value of each thing that a function holds on to."""
    known = function.__globals__
    for name in sorted(global_names(function.__code__)):
        if name in known:
            yield name, Step("", f".__globals__[{name!r}]"), known[name]
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for place, (name, cell) in enumerate(cells):
        try:
            value = cell.cell_contents
        except ValueError:
            continue  # an empty cell: the name has no value yet
        yield name, Step("", f".__closure__[{place}].cell_contents"), value
    code, defaults = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    for place, (name, value) in enumerate(zip(names, defaults, strict=False)):
        yield f"{name}=", Step("", f".__defaults__[{place}]"), value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f"{name}=", Step("", f".__kwdefaults__[{name!r}]"), value
    for name, value in function.__dict__.items():
        yield f".{name}", paths.attribute(function, name), value


def global_names(code: types.CodeType) -> set[str]:
    """Return the names of globals that code uses, and the code of functions in it."""
    names = {
        str(step.argval)
        for step in dis.get_instructions(code)
        if step.opname in _GLOBAL
    }
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= global_names(constant)
    return names
