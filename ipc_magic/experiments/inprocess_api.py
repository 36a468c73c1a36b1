"""`ipc_magic.inprocess(func)`: a plain function in children, and its value here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ipc_magic.errors import OptionError
from ipc_magic.experiments import functions
from ipc_magic.experiments.inprocess_run import CellRun, Options
from ipc_magic.process import child_index, interrupts
from ipc_magic.results.base import remember
from ipc_magic.results.inprocess import InProcess

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Run(Generic[T_co]):
    """What `ipc_magic.inprocess` gives back; it is displayed as its report."""

    value: T_co
    """What the function returned, a copy; for several children a list.

    `None` stands for the value of a child whose error was not raised."""
    report: InProcess
    """How the children ran, and what crossed."""
    error: BaseException | None
    """The first error, where it was not to be raised."""

    def __repr__(self) -> str:
        return f"<Run: {self.report.headline}>"

    def __str__(self) -> str:
        return str(self.report)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.report._repr_mimebundle_(include, exclude)


def of_function(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    measure: bool,
    raise_error: bool,
    children: int | None,
    **options: Any,
) -> Run[Any]:
    """Call `function` in children; see `ipc_magic.inprocess`."""
    _check(function, args, kwargs)
    how = Options(
        children=children or 1, tag=children is not None, measure=measure, **options
    )
    with interrupts.counted():
        run = CellRun(
            functions.work_of(function, args, kwargs, bring_value=True),
            functions.front(),
            how,
            # In another thread than this the rest of the program goes on meanwhile.
            parent_waits=threading.current_thread() is threading.main_thread(),
        )
        run.watch()
    report, error = run.conclude()
    remember(report)
    if error is not None and raise_error:
        raise error
    return Run(value=run.take_value(), report=report, error=error)


def _check(function: object, args: object, kwargs: object) -> None:
    """Refuse in one line what cannot be called so."""
    if not callable(function):
        raise OptionError(
            f"inprocess calls a function, and {_kind(function)} cannot be called: "
            "inprocess(f, args=(x,)), not inprocess(f(x))"
        )
    if not isinstance(args, (tuple, list)):
        raise OptionError(f"args is a tuple or a list, as in (x,), not {_kind(args)}")
    if not isinstance(kwargs, Mapping):
        raise OptionError(f"kwargs is a dict, as in {{'n': x}}, not {_kind(kwargs)}")
    if not all(type(name) is str for name in kwargs):
        raise OptionError("kwargs is a dict whose keys are the names of parameters")


def _kind(value: object) -> str:
    name = type(value).__name__
    return "None" if value is None else f"a value of type {name:.40}"


def index_of_child() -> int | None:
    """Return which child of a run this process is; `None` if it is none."""
    return child_index.current
