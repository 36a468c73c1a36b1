"""A plain function run in a child, with or without IPython around it."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ipc_magic.process import (
    bring,
    child_index,
    child_ways_out,
    errors_home,
    meter,
    parcel,
    quiesce,
)
from ipc_magic.process.cell import VALUE
from ipc_magic.process.child import Orders
from ipc_magic.process.child_side import ChildSide
from ipc_magic.process.front import running_shell
from ipc_magic.process.replacements import Replacements


class FunctionBody:
    """Makes `call` in the child (a `child.Body`).

    What it returns stays there unless `bring_value` asks for it. `names` are what the
    function can reach: their files are flushed at the end.
    """

    def __init__(
        self,
        call: Callable[[], object],
        *,
        names: Mapping[str, Any] = MappingProxyType({}),
        bring_value: bool = False,
        blame: bring.Blame = bring.not_known,
    ) -> None:
        self._blame = blame
        self._call = call
        self._names = names
        self._bring_value = bring_value
        # Looked up here, in the parent: the child must not touch every variable.
        self._known = parcel.find_definitions(dict(vars(sys.modules["__main__"])))
        if bring_value:
            parcel.import_cloudpickle()  # once here, and not in every child

    def plan(self, side: ChildSide, orders: Orders, changes: Replacements) -> None:
        """Plan what is the child's: its index, and the ways out of a shell."""
        changes.put(child_index, "current", orders.index)
        shell = running_shell()
        if shell is not None:
            child_ways_out.plan(shell, side, changes, quiet=False)
        else:
            child_ways_out.plan_no_input(changes)

    def __call__(self, side: ChildSide, orders: Orders) -> dict[str, Any]:
        """Make the call; return the plain fields of the outcome."""
        outcome: dict[str, Any] = {"time_code": time.monotonic()}
        error: BaseException | None = None
        value: object = None
        try:
            value = self._call()
        except BaseException as raised:  # noqa: BLE001 - raised again in the parent
            error = raised
        outcome["time_code_done"] = time.monotonic()
        gc.disable()  # what our own work from here on makes is not the function's
        if orders.meter is not None:
            with meter.undisturbed():
                orders.meter.done_here()
        # os._exit would lose what it wrote to files that it left open.
        quiesce.flush(file for _, file in quiesce.open_for_writing(self._names))
        if isinstance(error, SystemExit):
            outcome["exit"] = exit_code(error)
        elif error is not None:
            lines = errors_home.plain_traceback(error).splitlines()
            outcome["error"] = errors_home.pack(error, lines, self._known)
        elif self._bring_value:
            bring.send(side, {VALUE: value}, self._known, self._blame)
            if orders.meter is not None:
                with meter.undisturbed():
                    orders.meter.sent_here()
        quiesce.flush_standard_streams()
        return outcome


def exit_code(error: SystemExit) -> dict[str, Any]:
    """Return the code that the interpreter would end with, and what it would print."""
    code = error.code
    if isinstance(code, int):
        return {"code": code & 0xFF, "text": None}
    return {
        "code": 0 if code is None else 1,
        "text": None if code is None else str(code),
    }
