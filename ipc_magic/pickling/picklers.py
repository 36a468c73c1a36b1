"""The picklers by name, each in its own protocol, and how hooks are put into them."""

from __future__ import annotations

import functools
import importlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol

from ipc_magic.errors import IpcMagicError, OptionError
from ipc_magic.pickling.as_in_c import AsInC

NAMES = ("pickle", "cloudpickle", "dill")

Hook = Callable[[Any], Any]


class WriteOnly(Protocol):
    """What a pickler needs of a file."""

    def write(self, data: Any, /) -> object:
        """Take bytes, or a buffer as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pickling:
    """A way to pickle: which package, in which protocol. Made by `pickling`."""

    name: str
    protocol: int

    def dumps(self, obj: object, **options: Any) -> bytes:
        """Return the pickle of `obj`, made by the package's own `dumps`."""
        module = importlib.import_module(self.name)
        return bytes(module.dumps(obj, self.protocol, **options))

    def loads(self, data: bytes, **options: Any) -> Any:
        """Return what the package's own `loads` makes of a pickle."""
        return importlib.import_module(self.name).loads(data, **options)

    @property
    def in_c(self) -> bool:
        """Whether the pickler is the interpreter's own, in C, or made from it."""
        own = _c_pickler()
        return own is not None and issubclass(_pickler_class(self.name), own)

    def pickler(
        self,
        file: WriteOnly,
        *,
        persistent_id: Hook | None = None,
        reducer_override: Hook | None = None,
        **more: Any,
    ) -> Any:
        """Return a new pickler that writes the same bytes as `dumps` into `file`.

        `persistent_id` is called with each object that is saved, as often as it is.
        `reducer_override` comes before the package's own, which is asked where it
        returns `NotImplemented`. `more` are names for the pickler's class, such as
        `save` of a pickler in Python.
        """
        base = _pickler_class(self.name)
        names: dict[str, Any] = {**more, "__module__": base.__module__}
        # Python 3.13 takes these from a class only.
        if persistent_id is not None:
            names["persistent_id"] = staticmethod(persistent_id)
        if reducer_override is not None:
            names["reducer_override"] = _first(reducer_override, base)
        # dill goes by the module of the class to know its own picklers.
        return type("Pickler", (base,), names)(file, self.protocol)


def pickling(name: str = "pickle", protocol: int | None = None) -> Pickling:
    """Return the pickler of a name, in its usual protocol unless one is given.

    Raises `OptionError` when there is no such pickler or protocol, and
    `IpcMagicError` when its package is not installed.
    """
    if name not in NAMES:
        raise OptionError(f"pickler is {', '.join(NAMES)}, not {name!r:.40}")
    _pickler_class(name)
    if protocol is None:
        protocol = usual_protocol(name)
    if not 0 <= protocol <= pickle.HIGHEST_PROTOCOL:
        raise OptionError(f"protocol is 0 to {pickle.HIGHEST_PROTOCOL}, not {protocol}")
    return Pickling(name=name, protocol=protocol)


@functools.cache
def usual_protocol(name: str = "pickle") -> int:
    """Return the protocol a package uses by itself; for pickle, multiprocessing does.

    It is read from what is written: the byte after the opcode PROTO.
    """
    if name == "pickle":
        data = bytes(ForkingPickler.dumps(None))
    else:
        data = bytes(importlib.import_module(name).dumps(None))
    return data[1] if data[:1] == pickle.PROTO else 1


@functools.cache
def _pickler_class(name: str) -> type[Any]:
    try:
        found: type[Any] = importlib.import_module(name).Pickler
    except ImportError as error:
        raise IpcMagicError(f"{name} is not installed: pip install {name}") from error
    return found


def in_python(name: str) -> type[Any]:
    """Return the pickler of a name in pure Python, where its `save` can be seen."""
    found = _pickler_class(name)
    return AsInC if found is pickle.Pickler else found


def _c_pickler() -> type[Any] | None:
    try:
        found: type[Any] = importlib.import_module("_pickle").Pickler
    except ImportError:
        return None  # an interpreter without that module pickles in Python
    return found


def _first(hook: Hook, base: type[Any]) -> Callable[[Any, Any], Any]:
    own = getattr(base, "reducer_override", None)

    def reducer_override(self: Any, obj: Any) -> Any:
        reduced = hook(obj)
        if reduced is NotImplemented and own is not None:
            return own(self, obj)
        return reduced

    return reducer_override
