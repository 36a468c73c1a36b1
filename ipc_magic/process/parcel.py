"""Errors and variables packed in a child, and unpacked in the parent.

What the parent has already (classes and functions of the notebook) goes by name, so
that it is the same object on the way back; what the cell made goes by value
(cloudpickle). Pickle protocol 5 throughout.
"""

from __future__ import annotations

import gc
import io
import pickle
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PROTOCOL = 5
# An error is for reading: one that drags more along than this comes as a stand-in.
LARGEST_ERROR_BYTES = 16 << 20

BESIDE_FROM_BYTES = 1 << 16
"""Smaller buffers stay in the stream: to move one by itself costs more than a copy."""

_TRUSTED_PACKAGES = ("numpy", "pandas", "pyarrow")
_TRUSTED_MODULES = frozenset(
    {"collections", "copyreg", "datetime", "decimal", "fractions", "pathlib"}
    | {"_codecs", "uuid", "zoneinfo", "ipaddress", "array"}
)

# Called with a number they take that much memory, however short the stream is. What
# the pickler makes of these types themselves names none of them.
_SIZED_BY_A_NUMBER = frozenset(
    {"bytearray", "bytes", "range", "memoryview"}
    | {"empty", "zeros", "ones", "full", "arange", "linspace", "eye", "identity"}
    | {"repeat", "tile", "date_range", "period_range", "interval_range"}
)

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Several values in one stream, their large buffers beside it if asked for."""

    stream: Sequence[memoryview]
    """The pieces of the stream; large ones are the person's own memory."""
    sizes: dict[str, int]
    """Bytes of each value in the stream, in the stream's order."""
    failures: dict[str, str]
    """Why a value is not in the stream, by name."""
    buffers: dict[str, list[memoryview]] = field(default_factory=dict)
    """What each value has beside the stream (PEP 574), in the order of its pickle."""

    @property
    def blob(self) -> bytes:
        """The stream as one."""
        return b"".join(self.stream)


class Parcel(NamedTuple):
    """What is to be unpacked: `number` values in one stream, and their buffers."""

    blob: bytes | bytearray
    number: int
    buffers: Sequence[bytes | bytearray] = ()


Proof = Callable[[Parcel], "str | None"]
"""Loads a parcel's values in a process of its own; returns why that failed."""


class ForeignGlobal(pickle.UnpicklingError):
    """A stream names a class or function that may run code of the person's."""


def find_definitions(names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the classes and functions among the variables, by name."""
    kinds = (type, types.FunctionType)
    return {n: v for n, v in names.items() if issubclass(type(v), kinds)}


def _resolve(path: str, names: Mapping[str, Any]) -> Any:
    first, *rest = path.split(".")
    found = names.get(first)
    for part in rest:
        found = vars(found).get(part) if isinstance(found, type) else None
    return found


def _hidden_home(kind: type) -> types.ModuleType | None:
    """Return the module of a class that falsely says it is a builtin, or `None`.

    pytest's outcomes say so for the look of their tracebacks: `pytest.skip()`.
    """
    made_by_class_statement = kind.__flags__ & _HEAP_TYPE
    if kind.__module__ != "builtins" or not made_by_class_statement:
        return None
    for name, module in list(sys.modules.items()):
        found = getattr(module, "__dict__", {}).get(kind.__name__)
        if found is kind and name not in ("__main__", "builtins"):
            return module
    return None


def import_cloudpickle() -> Any:
    """Return the module cloudpickle, which is imported at the first need."""
    import cloudpickle

    return cloudpickle


class _Pieces:
    """A file that keeps what is written, large parts of it as they are, not copied."""

    def __init__(self) -> None:
        self._pieces: list[memoryview] = []
        self._small = bytearray()
        self.size = 0

    def write(self, data: Any) -> int:
        """Keep `data`."""
        view = memoryview(data)
        self.size += view.nbytes
        if view.nbytes < _KEPT_FROM_BYTES:
            self._small += view
        else:
            self._end_small()
            self._pieces.append(view)
        return view.nbytes

    def _end_small(self) -> None:
        if self._small:
            self._pieces.append(memoryview(self._small))
            self._small = bytearray()

    def pieces(self) -> list[memoryview]:
        """Return all that was written."""
        self._end_small()
        return self._pieces


_KEPT_FROM_BYTES = 1 << 14


def _pickler(
    file: _Pieces, known: Mapping[str, Any], keep: Callable[[pickle.PickleBuffer], bool]
) -> pickle.Pickler:
    base: Any = import_cloudpickle().Pickler
    main = sys.modules["__main__"].__dict__

    class Packer(base):
        def reducer_override(self, obj: Any) -> Any:
            if (
                isinstance(obj, (type, types.FunctionType))
                and getattr(obj, "__module__", None) == "__main__"
                and _resolve(obj.__qualname__, known) is obj
                and _resolve(obj.__qualname__, main) is obj
            ):
                return NotImplemented  # by name: pickle's own way
            if isinstance(obj, type) and (home := _hidden_home(obj)):
                return getattr, (home, obj.__name__)
            return super().reducer_override(obj)

    packer: pickle.Pickler = Packer(file, PROTOCOL, buffer_callback=keep)
    return packer


def pack(
    values: Mapping[str, Any],
    known: Mapping[str, Any],
    begin_with: Callable[[str], None] = lambda _name: None,
    *,
    beside: bool = False,
) -> Packed:
    """Return `values` pickled into one stream for a parent whose notebook has `known`.

    Each value is a pickle of its own with the memo of those before it: what they
    share stays shared, and each one's bytes are known. A value that cannot be
    pickled is left out and named in `failures`. `begin_with` is called with each name
    before its value is pickled. With `beside`, large buffers are not copied into the
    stream; their owners keep them, and must not change them until they have arrived.
    """
    failures: dict[str, str] = {}
    while True:
        file = _Pieces()
        buffers: dict[str, list[memoryview]] = {}
        packer = _pickler(file, known, _keeper(buffers) if beside else _keep_none)
        sizes: dict[str, int] = {}
        for name in (name for name in values if name not in failures):
            begin = file.size
            begin_with(name)
            buffers[name] = []
            try:
                packer.dump(_whole(values[name], alone=beside and len(values) == 1))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001
                # __reduce__ may raise anything. The memo holds half of this value
                # now: begin anew without it.
                failures[name] = f"{type(error).__name__}: {text_of(error)}"
                break
            sizes[name] = file.size - begin
        else:
            return Packed(
                sizes=sizes, failures=failures, stream=file.pieces(), buffers=buffers
            )


def _keeper(
    buffers: dict[str, list[memoryview]],
) -> Callable[[pickle.PickleBuffer], bool]:
    """Return pickle's `buffer_callback` that adds large buffers to the last name's."""

    def keep(buffer: pickle.PickleBuffer) -> bool:
        with memoryview(buffer) as view:
            if view.nbytes < BESIDE_FROM_BYTES or not view.contiguous:
                return True  # in the stream; pickle itself refuses what has gaps
        buffers[next(reversed(buffers))].append(buffer.raw())
        return False

    return keep


def _keep_none(_buffer: pickle.PickleBuffer) -> bool:
    return True


def _whole(value: Any, *, alone: bool) -> Any:
    """Return bytes as a buffer that can go beside the stream.

    Only if they are `alone`: among other values, what is one object stays one by the
    pickler's memo, which knows nothing of buffers.
    """
    if alone and type(value) in (bytes, bytearray) and len(value) >= BESIDE_FROM_BYTES:
        return pickle.PickleBuffer(value)
    return value


def text_of(error: BaseException) -> str:
    """Return `str(error)`, or a word where that itself raises."""
    try:
        return str.__str__(str(error))  # of a subclass of str only the text
    except Exception as failure:  # noqa: BLE001 - an error's __str__ may do anything
        return f"<str() of this error raised {type(failure).__name__}>"


class _TrustingUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        trusted = (
            module.partition(".")[0] in _TRUSTED_PACKAGES or module in _TRUSTED_MODULES
        )
        found = super().find_class(module, name) if module == "builtins" else None
        if name not in _SIZED_BY_A_NUMBER and (trusted or isinstance(found, type)):
            return found or super().find_class(module, name)
        raise ForeignGlobal(f"{module}.{name}")


def unpack(parcel: Parcel, prove: Proof) -> list[Any]:
    """Return the values in `parcel`.

    A stream that names only builtins, numpy, pandas, Arrow and a few modules of the
    standard library is loaded at once; any other only after `prove` loaded it in a
    process of its own and returned `None` (else: why it does not load). Raises
    `pickle.UnpicklingError` then, or whatever the loading raises as an `Exception`.
    """
    try:
        return _load_all(_TrustingUnpickler, parcel)
    except ForeignGlobal:
        pass
    if reason := prove(parcel):
        raise pickle.UnpicklingError(reason)
    return load(parcel)


def load(parcel: Parcel) -> list[Any]:
    """Return the values in `parcel`, whatever classes its stream names."""
    return _load_all(pickle.Unpickler, parcel)


def _load_all(kind: type[pickle.Unpickler], parcel: Parcel) -> list[Any]:
    unpickler = kind(io.BytesIO(parcel.blob), buffers=parcel.buffers)
    was_on = gc.isenabled()
    gc.disable()  # a million new containers would be searched for garbage many times
    try:
        return [unpickler.load() for _ in range(parcel.number)]
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise pickle.UnpicklingError(f"loading raised {error!r}") from error
    finally:
        if was_on:
            gc.enable()
