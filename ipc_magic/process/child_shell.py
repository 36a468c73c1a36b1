"""The IPython shell in a child: runs the cell as here, and shows nothing by itself."""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING, Any

from ipc_magic.process import (
    bring,
    child_traceback,
    child_ways_out,
    errors_home,
    meter,
    parcel,
    parked,
    quiesce,
)
from ipc_magic.process.cell import ALL, VALUE, Cell
from ipc_magic.process.child import Orders
from ipc_magic.process.child_function import exit_code
from ipc_magic.process.child_side import ChildSide
from ipc_magic.process.replacements import Replacements

if TYPE_CHECKING:
    from ipc_magic.process.stayed import Before

# Of the kinds of changes, those that leave something to be brought.
_FETCHED = ("created", "rebound", "mutated")


class ShellBody:
    """Runs `cell` by the parent's own shell, in the child (a `child.Body`).

    `blame` says where below a name lies what cannot be pickled. With `tell_changes`
    the outcome tells what the cell did to the notebook's names; what it made and was
    not asked for stays where `stay` says so.
    """

    def __init__(
        self,
        shell: Any,
        cell: Cell,
        tag_index: bool,
        *,
        blame: bring.Blame = bring.not_known,
        tell_changes: bool = False,
        stay: parked.Stay | None = None,
    ) -> None:
        self._blame = blame
        self._stay = stay
        self._sent: tuple[str, ...] = ()
        self._shell = shell
        self._cell = cell
        self._tag_index = tag_index
        # Looked up here, in the parent: the child must not touch every variable.
        self._known = parcel.find_definitions(shell.user_ns)
        if stay or cell.bring or cell.bring_value:
            parcel.import_cloudpickle()  # once here, and not in every child
        self._tell_changes = tell_changes
        self._before: Before | None = None
        if tell_changes or ALL in cell.bring:
            from ipc_magic.process.stayed import Before

            self._before = Before(
                shell,
                cell,
                look_within=tell_changes,
                keep=ALL in cell.bring,
                ours=("child_index",) if tag_index else (),
            )

    def plan(self, side: ChildSide, orders: Orders, changes: Replacements) -> None:
        """Plan how the shell becomes the child's."""
        shell, cell = self._shell, self._cell
        quiet = cell.bring_value or cell.ends_in_semicolon
        child_ways_out.plan(shell, side, changes, quiet=quiet)
        child_traceback.plan(shell, type(self)._run.__code__, changes)
        if shell.history_manager is not None and shell.history_manager.enabled:
            _plan_no_history(shell.history_manager, changes)
        changes.put(shell, "execution_count", cell.number)
        transform = shell.transform_cell
        # The parent has transformed it: input transformers need not run twice.
        changes.put(
            shell,
            "transform_cell",
            lambda raw: cell.code if raw == cell.source else transform(raw),
        )
        for name, value in cell.local_names.items():
            changes.put_item(shell.user_ns, name, value)
        if self._tag_index:
            changes.put_item(shell.user_ns, "child_index", orders.index)
        cache = shell.compile.cache
        # It is in the cache; a kernel would name it by the pid of who asks.
        changes.put(
            shell.compile,
            "cache",
            lambda code, *args, **more: (
                cell.filename if code == cell.code else cache(code, *args, **more)
            ),
        )

    def __call__(self, side: ChildSide, orders: Orders) -> dict[str, Any]:
        """Run the cell; return the plain fields of the outcome."""
        shell, cell = self._shell, self._cell
        outcome: dict[str, Any] = {"time_code": time.monotonic()}
        result = self._run()
        outcome["time_code_done"] = time.monotonic()
        gc.disable()  # what our own work from here on makes is not the code's
        if orders.meter is not None:
            with meter.undisturbed():
                orders.meter.done_here()
        # os._exit would lose what the cell wrote to files that it left open. Files of
        # the parent were flushed before the fork: what they hold now is the child's.
        quiesce.flush(file for _, file in quiesce.open_for_writing(shell.user_ns))
        error = result.error_before_exec or result.error_in_exec
        if isinstance(error, SystemExit):
            outcome["exit"] = exit_code(error)
        elif error is not None:
            lines = child_traceback.render(shell, error)
            outcome["error"] = errors_home.pack(error, lines, self._known)
            outcome["line"] = child_traceback.line_in(error, cell.filename)
        wanted = {n: shell.user_ns[n] for n in self._asked() if n in shell.user_ns}
        self._sent = tuple(wanted)
        if error is None and cell.bring_value:
            wanted[VALUE] = result.result
        if wanted:
            bring.send(side, wanted, self._known, self._blame)
            if orders.meter is not None:
                with meter.undisturbed():
                    orders.meter.sent_here()
        if self._before is not None:
            if self._tell_changes:
                try:
                    outcome["changes"] = self._before.changes()
                except MemoryError:
                    pass  # the code has used all that --memory gives
            self._before.let_go()
        return outcome

    def _asked(self) -> tuple[str, ...]:
        """Return the names asked back, those that ALL stands for among them."""
        if self._before is None or ALL not in self._cell.bring:
            return self._cell.bring
        explicit = [name for name in self._cell.bring if name != ALL]
        return (*dict.fromkeys([*explicit, *self._before.new()]),)

    def park(self, side: ChildSide, outcome: dict[str, Any]) -> None:
        """Have what the cell made and nobody asked for stay, where that is worth it."""
        stay, names = self._stay, self._left_behind(outcome.get("changes") or {})
        if stay is None or not names or "exit" in outcome:
            return
        if outcome["time_code_done"] - outcome["time_code"] < stay.run_seconds:
            return
        outcome["stays"] = parked.fork_off(
            side,
            stay,
            names=names,
            variables=self._shell.user_ns,
            known=self._known,
            blame=self._blame,
        )

    def _left_behind(self, changes: dict[str, list[str]]) -> list[str]:
        """Return the names that are worth a fetch, classes and functions last."""
        variables = self._shell.user_ns
        changed = (name for kind in _FETCHED for name in changes.get(kind, ()))
        names = [
            name
            for name in dict.fromkeys(changed)
            if name in variables
            and name not in self._sent
            and name not in changes["modules"]
        ]
        return sorted(names, key=parcel.find_definitions(variables).__contains__)

    def _run(self) -> Any:
        """Return the result of the cell; some test shells raise its error as well."""
        try:
            return self._shell.run_cell(self._cell.source, store_history=False)
        except BaseException as error:
            result = self._shell.last_execution_result
            if error not in (result.error_before_exec, result.error_in_exec):
                raise
            return result


def _plan_no_history(manager: Any, changes: Replacements) -> None:
    """Have the child's shell neither write the parent's file nor wait for its thread.

    The thread that saves the history may hold these locks at the fork.
    """
    changes.put(manager, "enabled", False)
    changes.put(manager, "db_input_cache_lock", threading.Lock())
    changes.put(manager, "db_output_cache_lock", threading.Lock())
    changes.put(manager, "writeout_cache", lambda _conn=None: None)
