"""See what really crosses a process boundary in Python.

General layout (an arrow: may import; nothing imports its user):

    magics, pytest_plugin, __main__    the front doors
        |
        v
    experiments    one file a question: joins the rooms below, makes the result
        |
        +--> process    running code in a child: fork, output, errors brought home
        +--> pickling   what is pickled: cost, parts, what cannot be, ways to send
        +--> memory     what a process holds and copied
        +--> results    frozen numbers, each describes itself as a document
                 |
                 v
             render     document -> text, document -> HTML; units

`process`, `pickling` and `memory` do not know each other: an experiment hands the one
to the other. `options` declares every option once, `errors` holds the one family of
errors, `compat` what old IPython lacks. IPython is imported when the extension is
loaded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from ipc_magic.errors import (
    CannotStart,
    ChildEnded,
    ChildExit,
    ChildKilled,
    ChildOutOfMemory,
    ChildTimeout,
    IpcMagicError,
    NoInput,
    NotBroughtBack,
    OptionError,
)

if TYPE_CHECKING:
    from ipc_magic.experiments.cow_watch_api import Watch
    from ipc_magic.experiments.inprocess_api import Run
    from ipc_magic.results.cow_watch import CowWatch
    from ipc_magic.results.pickle_cost import PickleCost

T = TypeVar("T")

__version__ = "0.1.0"
__all__ = [
    "CannotStart",
    "ChildEnded",
    "ChildExit",
    "ChildKilled",
    "ChildOutOfMemory",
    "ChildTimeout",
    "IpcMagicError",
    "NoInput",
    "NotBroughtBack",
    "OptionError",
    "child_index",
    "cow_watch",
    "inprocess",
    "last",
    "load_ipython_extension",
    "pickle_cost",
    "unload_ipython_extension",
]


def __getattr__(name: str) -> Any:
    """Return `last` or `child_index`.

    `last` is the result of the last magic that ran, errors included. `child_index` is
    which child of a run of functions this process is, from 0; `None` if it is none.
    """
    if name == "last":
        from ipc_magic.results.base import last

        return last()
    if name == "child_index":
        from ipc_magic.experiments.inprocess_api import index_of_child

        return index_of_child()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@overload
def inprocess(
    func: Callable[..., T],
    *,
    args: Sequence[Any] = ...,
    kwargs: Mapping[str, Any] = ...,
    children: None = ...,
    timeout: float | str | None = ...,
    memory: int | str | None = ...,
    keep_free: int | str | None = ...,
    threads: int | Literal["keep"] | None = ...,
    mechanism: str | None = ...,
    measure: bool = ...,
    raise_error: bool = ...,
) -> Run[T]: ...


@overload
def inprocess(
    func: Callable[..., T],
    *,
    args: Sequence[Any] = ...,
    kwargs: Mapping[str, Any] = ...,
    children: int,
    timeout: float | str | None = ...,
    memory: int | str | None = ...,
    keep_free: int | str | None = ...,
    threads: int | Literal["keep"] | None = ...,
    mechanism: str | None = ...,
    measure: bool = ...,
    raise_error: bool = ...,
) -> Run[list[T]]: ...


def inprocess(
    func: Callable[..., Any],
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> Run[Any]:
    """Call `func(*args, **kwargs)` in a forked child of this process.

    `value` of what it returns is a copy of the function's value, which is pickled in
    the child; on the way in nothing is. `report` tells how the child ran. With
    `children` it is called in so many at once, each of which knows its
    `ipc_magic.child_index`, and `value` is a list. Options are those of `%inprocess`:
    `timeout` in seconds, `memory` and `keep_free` in bytes, or as text, `threads`,
    `mechanism`; `measure=False` takes no readings of memory.

    The function's error is raised, with the report as its `report`, unless
    `raise_error` is false. Raises `NotBroughtBack` for a value that cannot be pickled,
    `ChildEnded` and its kinds for a child that did not finish, `OptionError` for wrong
    arguments, and `CannotStart` when no fork can be made.
    """
    from ipc_magic import options as declared
    from ipc_magic.experiments import inprocess_api

    chosen: Any = declared.read_keywords(
        "inprocess",
        declared.OF_FUNCTIONS,
        {"measure": True, "raise_error": True},
        options,
    )
    return inprocess_api.of_function(func, args, kwargs, **chosen)


def pickle_cost(
    obj: object,
    *,
    expression: str = "obj",
    via: str | Iterable[str] = ("pipe",),
    pickler: str = "pickle",
    protocol: int | None = None,
    all_protocols: bool = False,
    depth: int = 5,
    width: int = 10,
    repeats: int | None = None,
    compare: bool = False,
    force: bool = False,
    timeout: float = 60.0,
) -> PickleCost:
    """Measure what it costs to send `obj` to another process and back.

    The options are those of `%pickle_cost`; paths in the result begin with
    `expression`. The object is pickled and loaded in forks of this process only, which
    never import its `__main__` again. What blocks the object is told in the result;
    `CannotStart` is raised when no fork can be made, `OptionError` for a wrong option.
    """
    from ipc_magic.experiments import pickle_cost_api

    return pickle_cost_api.pickle_cost(
        obj,
        expression,
        via=via,
        pickler=pickler,
        protocol=protocol,
        all_protocols=all_protocols,
        depth=depth,
        width=width,
        repeats=repeats,
        compare=compare,
        force=force,
        timeout=timeout,
    )


@overload
def cow_watch(
    func: None = None,
    *,
    project: int | None = ...,
    mechanism: str | None = ...,
    keep_free: int = ...,
) -> Watch: ...


@overload
def cow_watch(
    func: Callable[[], object],
    *,
    children: int = ...,
    project: int | None = ...,
    mechanism: str | None = ...,
    timeout: float | None = ...,
    memory: int | None = ...,
    keep_free: int = ...,
) -> CowWatch: ...


def cow_watch(
    func: Callable[[], object] | None = None, **options: Any
) -> CowWatch | Watch:
    """Measure how much of the memory it inherited each child copied.

    With `func`: it is called in `children` forked children of this process (default
    1), and the result returned; its error is raised, with the result as `report`.
    Without: a context manager that watches every child forked in its block, whoever
    forks it, and whose `result` is set at the end. The options are those of
    `%cow_watch`; `timeout` in seconds, `memory` and `keep_free` in bytes. Raises
    `OptionError` for a wrong option, `CannotStart` when no fork can be made.
    """
    from ipc_magic.experiments import cow_watch_api

    if func is None:
        return cow_watch_api.Watch(**options)
    return cow_watch_api.of_function(func, **options)


def load_ipython_extension(shell: Any) -> None:
    """Register the magics with an IPython shell: `%load_ext ipc_magic`."""
    if sys.platform != "linux" or not hasattr(os, "fork"):
        print(
            f"ipc_magic on {sys.platform}: %%inprocess needs fork as Linux has it, "
            "and is not loaded."
        )
        return
    if shell is None:  # what get_ipython() gives to a plain Python
        print("ipc_magic: its magics need an IPython shell, and none runs here.")
        return
    from ipc_magic import magics

    magics.load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take back all that `load_ipython_extension` did; running jobs are ended."""
    if "ipc_magic.magics" not in sys.modules:  # nothing was registered: no fork
        return
    from ipc_magic import magics

    magics.unload(shell)
