"""What is pickled and loaded in the place of what cannot be.

It notes that somebody had to do with it: what fails without that fails by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

# What Python asks types for, without a look at the object's attributes.
_SPECIAL = (
    *("call", "len", "length_hint", "iter", "next", "reversed", "contains"),
    *("getitem", "setitem", "delitem", "enter", "exit", "await", "aiter", "anext"),
    *("int", "float", "complex", "index", "round", "fspath", "bytes", "buffer"),
    *("lt", "le", "gt", "ge", "neg", "pos", "abs", "invert"),
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("lshift", "rshift", "and", "xor", "or"),
    *("radd", "rsub", "rmul", "rmatmul", "rtruediv", "rfloordiv", "rmod", "rdivmod"),
    *("rpow", "rlshift", "rrshift", "rand", "rxor", "ror", "get", "set", "delete"),
)


class Gone:
    """What is pickled in the place of an offender."""

    touched: ClassVar[int] = 0
    """How often somebody had to do with one of them."""

    def __getattribute__(self, name: str) -> Any:
        Gone.touched += 1
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        Gone.touched += 1

    def __eq__(self, other: object) -> bool:
        Gone.touched += 1
        return self is other

    def __hash__(self) -> int:
        Gone.touched += 1
        return object.__hash__(self)

    def __bool__(self) -> bool:
        Gone.touched += 1
        return True


def _refuse(name: str) -> Callable[..., Any]:
    def special(*_: object, **__: object) -> Any:
        Gone.touched += 1
        raise TypeError(f"{name} of a {Gone.__name__}")

    return special


for _name in _SPECIAL:
    setattr(Gone, f"__{_name}__", _refuse(f"__{_name}__"))
