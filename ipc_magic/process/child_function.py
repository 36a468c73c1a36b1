"""A plain function run in a child, without IPython."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from ipc_magic.process import errors_home, meter, quiesce
from ipc_magic.process.child import Orders
from ipc_magic.process.child_side import ChildSide


class FunctionBody:
    """Calls `function` in the child; what it returns stays there (a `child.Body`)."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function

    def __call__(self, side: ChildSide, orders: Orders) -> dict[str, Any]:
        """Call the function; return the plain fields of the outcome."""
        outcome: dict[str, Any] = {"time_code": time.monotonic()}
        error: BaseException | None = None
        try:
            self._function()
        except BaseException as raised:  # noqa: BLE001 - raised again in the parent
            error = raised
        outcome["time_code_done"] = time.monotonic()
        gc.disable()  # what our own work from here on makes is not the function's
        if orders.meter is not None:
            with meter.undisturbed():
                orders.meter.done_here()
        if isinstance(error, SystemExit):
            outcome["exit"] = exit_code(error)
        elif error is not None:
            lines = errors_home.plain_traceback(error).splitlines()
            outcome["error"] = errors_home.pack(error, lines, {})
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
