"""The names of the notebook that a piece of code can reach, found in its bytecode.

Functions and classes of the notebook are followed to the names that they use, through
containers, instances and wrappers too. Nothing is called to find out.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ipc_magic.process import looking

# Code that uses one of these may reach any name: IPython's magics are told by the last.
_ANYTHING = frozenset({"eval", "exec", "globals", "locals", "vars", "get_ipython"})
_DEPTH = 3
_ITEMS = 1000
_OBJECTS = 5000
"""So many are looked at: a search without end would delay the cell."""

_LOADS = frozenset(
    dis.opmap[name]
    for name in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS")
    if name in dis.opmap
)
_LOAD_GLOBAL = dis.opmap["LOAD_GLOBAL"]
# From 3.11 on its lowest bit says something else.
_SHIFT = 1 if "CACHE" in dis.opmap else 0


def names_loaded(code: types.CodeType) -> Iterator[str]:
    """Yield the global names that `code` loads, and the code within it, one by one."""
    extended = 0
    if code.co_names:
        opcodes = code.co_code
        for at in range(0, len(opcodes), 2):
            opcode, argument = opcodes[at], opcodes[at + 1] | extended
            extended = argument << 8 if opcode == dis.EXTENDED_ARG else 0
            if opcode in _LOADS:
                shift = _SHIFT if opcode == _LOAD_GLOBAL else 0
                yield code.co_names[argument >> shift]
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            yield from names_loaded(constant)


def names_reached(
    code: types.CodeType, names: Mapping[str, Any], known: Mapping[str, Any]
) -> set[str] | None:
    """Return those of `names` that `code` can reach; `None`: it may reach all.

    `known` is the namespace itself, which the notebook's functions have as theirs.
    """
    search = _Search(names, known)
    search.follow(code)
    return None if search.anything else search.reached


class _Search:
    def __init__(self, names: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        self._names = names
        self._known = known
        self._seen: set[int] = set()
        self.reached: set[str] = set()
        self.anything = False

    def follow(self, code: types.CodeType) -> None:
        """Note all that is reached from `code`."""
        todo: list[tuple[Any, int]] = [(code, 0)]
        while todo and not self.anything:
            value, depth = todo.pop()
            if id(value) in self._seen:
                continue
            self._seen.add(id(value))
            if len(self._seen) > _OBJECTS:
                self.anything = True
            elif type(value) is types.CodeType:
                todo += ((found, 0) for found in self._loaded(value))
            else:
                todo += ((found, depth + 1) for found in self._within(value, depth))

    def _loaded(self, code: types.CodeType) -> Iterator[Any]:
        for name in names_loaded(code):
            if name in _ANYTHING:
                self.anything = True
            elif name in self._names and name not in self.reached:
                self.reached.add(name)
                yield self._names[name]

    def _within(self, value: Any, depth: int) -> Iterable[Any]:
        """Return what may lead to more names: code, and what may hold some."""
        kind = type(value)
        if kind is types.FunctionType:
            return self._of_function(value)
        if kind is types.MethodType:
            return value.__self__, value.__func__
        if kind is staticmethod or kind is classmethod:
            return (value.__func__,)
        if kind is property:
            return value.fget, value.fset, value.fdel
        if kind is functools.cached_property:
            return (value.func,)
        if kind is functools.partial:
            return value.func, value.args, value.keywords
        if kind is functools._lru_cache_wrapper:
            return [*vars(value).values()]
        if depth > _DEPTH or id(kind) in _LEAVES:
            return ()
        if id(kind) in _LISTS:
            return [*value] if len(value) < _ITEMS else ()
        if kind is dict:
            return [*value.values()] if len(value) < _ITEMS else ()
        if looking.is_class(value):
            return self._of_class(value)
        return self._of_instance(value, kind)

    def _of_function(self, function: types.FunctionType) -> Iterable[Any]:
        held: list[Any] = [*looking.closure(function), *(function.__defaults__ or ())]
        held += [*(function.__kwdefaults__ or {}).values(), *vars(function).values()]
        if function.__globals__ is self._known:
            held.append(function.__code__)
        return held

    def _of_class(self, kind: type) -> Iterable[Any]:
        if not self._is_of_notebook(kind):
            return ()
        held = list(looking.names_of(kind).values())
        return [*held, *(each for each in looking.mro(kind) if each is not kind)]

    def _is_of_notebook(self, kind: type) -> bool:
        module = looking.names_of(kind).get("__module__")
        return type(module) is str and module == self._known.get("__name__")

    def _of_instance(self, value: Any, kind: type) -> Iterable[Any]:
        layout = looking.layout(kind, looking.ids())
        held: list[Any] = [kind]
        if layout is not None and layout.dict_of is not None:
            attributes = layout.dict_of(value)
            if type(attributes) is dict and len(attributes) < _ITEMS:
                held += attributes.values()
        return held


_LISTS = looking.ids(list, tuple, set, frozenset)
_LEAVES = looking.ids(
    *(int, float, complex, bool, str, bytes, bytearray, type(None), range),
    *(types.ModuleType, types.BuiltinFunctionType),
)
