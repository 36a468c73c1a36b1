"""What to call an offender, and what to do about it: one table.

Types are told by their names along the line of bases, so that nothing is imported
and no code of theirs runs.
"""

from __future__ import annotations

import types
from typing import Any, NamedTuple

from ipc_magic.pickling import paths

LEAVE_OUT = "leave it out in __getstate__"
MODULE_LEVEL = "move it to the top level of a module, or use cloudpickle"
OPEN_THERE = f"{LEAVE_OUT}, open it anew in the child"
INHERIT = "give it to Process(args=...) or to the pool's initializer"
UNKNOWN = f"{LEAVE_OUT}, or give its class a __reduce__"

AT_LOAD = "make what __reduce__ and __getstate__ give fit __init__ and __setstate__"
EXCEPTION_AT_LOAD = "pass all arguments to super().__init__, or define __reduce__"
AT_SPAWN = "move it to a module that can be imported, or start the child by fork"


class Row(NamedTuple):
    """Types by their full names, and the advice that fits them."""

    names: tuple[str, ...]
    advice: str


TABLE = (
    Row(
        (
            "multiprocessing.synchronize.SemLock",
            "multiprocessing.synchronize.Condition",
            "multiprocessing.synchronize.Event",
            "multiprocessing.synchronize.Barrier",
            "multiprocessing.queues.Queue",
            "multiprocessing.queues.SimpleQueue",
            "multiprocessing.sharedctypes.SynchronizedBase",
            "multiprocessing.heap.Heap",
            "multiprocessing.process.AuthenticationString",
        ),
        INHERIT,
    ),
    Row(
        (
            "multiprocessing.pool.Pool",
            "concurrent.futures._base.Executor",
            "multiprocessing.process.BaseProcess",
            "subprocess.Popen",
        ),
        "leave it out in __getstate__: only the process that made it can use it",
    ),
    Row(
        ("_thread.lock", "_thread.RLock", "threading._RLock", "threading.Condition"),
        f"{LEAVE_OUT}, make a new one in __setstate__",
    ),
    Row(
        ("threading.Thread", "_thread._ThreadHandle"),
        f"{LEAVE_OUT}, start a thread in the child",
    ),
    Row(
        (
            "_thread._local",
            "_contextvars.Context",
            "_contextvars.ContextVar",
            "_contextvars.Token",
        ),
        f"{LEAVE_OUT}: its values belong to one thread",
    ),
    Row(
        (
            "socket.socket",
            "_socket.socket",
            "_ssl._SSLSocket",
            "_ssl._SSLContext",
            "multiprocessing.connection._ConnectionBase",
            "select.epoll",
            "select.poll",
        ),
        f"{LEAVE_OUT}, connect anew in the child",
    ),
    Row(
        (
            "sqlite3.Connection",
            "sqlite3.Cursor",
            "psycopg2.extensions.connection",
            "psycopg.Connection",
            "sqlalchemy.engine.base.Connection",
            "sqlalchemy.engine.base.Engine",
            "sqlalchemy.orm.session.Session",
            "duckdb.DuckDBPyConnection",
            "_duckdb.DuckDBPyConnection",
            "h5py._hl.base.HLObject",
        ),
        f"{LEAVE_OUT}, connect anew in the child",
    ),
    Row(("mmap.mmap",), OPEN_THERE),
    Row(("_io._IOBase",), "send its path and open it in the child"),
    Row(("posix.ScandirIterator", "posix.DirEntry"), "send its path"),
    Row(
        ("builtins.generator", "builtins.async_generator", "builtins.coroutine"),
        "send a list of what it gives, or make it in the child",
    ),
    Row(
        (
            "builtins.dict_keys",
            "builtins.dict_values",
            "builtins.dict_items",
            "collections.abc.KeysView",
            "collections.abc.ValuesView",
        ),
        "send list(...) of it",
    ),
    Row(("builtins.mappingproxy",), "send dict(...) of it"),
    Row(("builtins.memoryview",), "send bytes(...) of it"),
    Row(("builtins.module",), "import it where it is used"),
    Row(
        ("builtins.frame", "builtins.traceback"),
        "send its text: traceback.format_exception()",
    ),
    Row(("builtins.code",), "send its source, or use cloudpickle"),
    Row(
        (
            "_weakref.ReferenceType",
            "weakref.ReferenceType",
            "builtins.weakref",
            "builtins.weakproxy",
            "builtins.weakcallableproxy",
            "weakref.ProxyType",
            "weakref.CallableProxyType",
            "weakref.WeakValueDictionary",
            "weakref.WeakKeyDictionary",
        ),
        "send the object itself, or leave the reference out in __getstate__",
    ),
    Row(
        (
            "_ctypes._Pointer",
            "_ctypes.CFuncPtr",
            "_ctypes._SimpleCData",
            "_ctypes.Structure",
            "_ctypes.Array",
            "_ctypes.Union",
            "builtins.PyCapsule",
            "_cffi_backend._CDataBase",
        ),
        "send the data, not its address: bytes(...) of what it points to",
    ),
    Row(
        (
            "asyncio.events.AbstractEventLoop",
            "_asyncio.Future",
            "_asyncio.Task",
            "asyncio.futures.Future",
            "concurrent.futures._base.Future",
        ),
        "wait for it here and send its result",
    ),
    Row(
        ("re.Match",),
        "send what is used of it: match.groups(), match.span()",
    ),
    Row(
        (
            "_hashlib.HASH",
            "zlib.Compress",
            "zlib.Decompress",
            "_random.Random",
            "_csv.reader",
            "_csv.writer",
            "_csv.Writer",
        ),
        "make it in the child",
    ),
)


def about(obj: object, stage: str = "dump") -> tuple[str, str]:
    """Return what to call an object, and what to do if it fails at this stage."""
    word = word_for(obj)
    if stage == "spawn":
        return word, AT_SPAWN
    if stage == "load":
        is_error = BaseException in paths.bases(type(obj))
        return word, EXCEPTION_AT_LOAD if is_error else AT_LOAD
    if issubclass(type(obj), (type, types.FunctionType)):
        return word, MODULE_LEVEL
    names = {full_name(base) for base in paths.bases(type(obj))}
    for row in TABLE:
        if not names.isdisjoint(row.names):
            return word, row.advice
    return word, UNKNOWN


def word_for(obj: Any) -> str:
    """Return what an object is: lambda, nested function, local class, or its type."""
    kind = type(obj)
    if kind is types.FunctionType:
        name = obj.__qualname__
        if name.rpartition(".")[2] == "<lambda>":
            return "lambda"
        return "nested function" if "<locals>" in name else "function"
    if issubclass(kind, type):
        return "local class" if "<locals>" in full_name(obj) else "class"
    name = full_name(kind)
    for module in ("builtins.", "__main__."):
        name = name.removeprefix(module)
    return name.rpartition("<locals>.")[2]


def full_name(kind: type) -> str:
    """Return `module.qualified name` of a class without asking its metaclass."""
    module = paths.namespace(kind).get("__module__")
    if type(module) is not str:  # of a class in C it is kept elsewhere
        module = type.__dict__["__module__"].__get__(kind)
    return f"{module}.{type.__dict__['__qualname__'].__get__(kind)}"
