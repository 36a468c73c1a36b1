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
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, overload

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
    from ipc_magic.results.cow_watch import CowWatch
    from ipc_magic.results.pickle_cost import PickleCost

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
    "cow_watch",
    "last",
    "load_ipython_extension",
    "pickle_cost",
    "unload_ipython_extension",
]


def __getattr__(name: str) -> Any:
    """Return `last`: the result of the last magic that ran, errors included."""
    if name == "last":
        from ipc_magic.results.base import last

        return last()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
