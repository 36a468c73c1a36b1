"""Names brought from what the last cell left in its children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ipc_magic import errors
from ipc_magic.experiments import inprocess_room
from ipc_magic.experiments.inprocess_ends import returned, shown_in_lines
from ipc_magic.experiments.parked import Parked, current, drop, names, nothing
from ipc_magic.process import fork, guards, interrupts, proof
from ipc_magic.process.cell import ALL, Cell
from ipc_magic.process.ending import describe_exit
from ipc_magic.process.front import ShellFront
from ipc_magic.process.kept import Gone, Worker
from ipc_magic.process.monitor import Monitor
from ipc_magic.process.watch import Watch
from ipc_magic.results.fetched import Fetched, FetchedFrom
from ipc_magic.results.setting import Setting


def fetch(
    shell: Any, wanted: tuple[str, ...], *, keep_free: int
) -> tuple[Fetched, errors.NotBroughtBack | None]:
    """Bring names from what stays, and bind them in the notebook.

    ALL stands for each that was left. Returns the result, and the error that names
    what did not come. Raises that error where nothing could be asked for, and
    KeyboardInterrupt with nothing bound.
    """
    parked = current()
    if parked is None:
        raise errors.NotBroughtBack(f"nothing to fetch: {nothing()}")
    if ALL in wanted:
        explicit = (name for name in wanted if name != ALL)
        wanted = (*dict.fromkeys([*explicit, *names()]),)
    with interrupts.counted():
        watches, missing = _ask(shell, parked, wanted, keep_free)
        if any(watch.stopped == "interrupted" for watch in watches):
            said = "the fetch was interrupted: nothing is bound, and all is still there"
            raise shown_in_lines(KeyboardInterrupt(said), f"KeyboardInterrupt: {said}")
        for watch in watches:
            missing[watch.child.index] = _missing(watch, wanted)
        result, values = _result(parked, watches, wanted)
        error = _error(parked, missing)
        # An interrupt that comes now is raised when this block ends.
        shell.user_ns.update(values)
    if error is not None:
        vars(error)["report"] = result
    return result, error


def _ask(
    shell: Any, parked: Parked, wanted: tuple[str, ...], keep_free: int
) -> tuple[list[Watch], dict[int, dict[str, str]]]:
    """Return what was seen of those that sent, and why others could not, by index."""
    variables = shell.user_ns
    same = [
        name
        for name, made in parked.definitions.items()
        if name in variables and variables[name] is made()
    ]
    front = ShellFront(shell)
    workers: list[Worker] = []
    gone: dict[int, dict[str, str]] = {}
    try:
        for kept in parked.kept:
            try:
                workers.append(kept.ask(wanted, same))
            except Gone as why:
                gone[kept.index] = dict.fromkeys(wanted, str(why))
    except OSError as error:
        fork.abandon([*workers])
        raise errors.NotBroughtBack(
            f"nothing was fetched: no file could be opened ({error.strerror})"
        ) from error
    except BaseException:
        fork.abandon([*workers])
        raise
    if not workers:
        if not any(kept.alive() for kept in parked.kept):
            drop()
        reason = next(iter(next(iter(gone.values())).values()))
        raise errors.NotBroughtBack(f"nothing to fetch: {reason}")
    monitor = Monitor(
        workers,
        front,
        limits=guards.Limits(keep_free_bytes=keep_free),
        prove=partial(proof.prove, front=front, keep_free_bytes=keep_free),
        room=partial(inprocess_room.lacking, keep_free),
        cell=Cell(source="", code="", number=0, filename="", bring=wanted),
    )
    monitor.run()
    return monitor.watches, gone


def _result(
    parked: Parked, watches: Sequence[Watch], wanted: tuple[str, ...]
) -> tuple[Fetched, dict[str, Any]]:
    came: dict[int, Watch] = {watch.child.index: watch for watch in watches}
    nobody = Cell(source="", code="", number=0, filename="")
    children = tuple(
        FetchedFrom(
            index=kept.index,
            pid=kept.child_pid,
            returned=returned(came[kept.index], nobody),
        )
        for kept in parked.kept
        if kept.index in came
    )
    values: dict[str, Any] = {}
    for name in wanted:
        if any(name in watch.brought.values for watch in watches):
            each = [
                came[index].brought.values.pop(name, None) if index in came else None
                for index in range(parked.children)
            ]
            values[name] = each if parked.tag else each[0]
    setting = Setting.current()
    return Fetched(setting=setting, children=children, asked=wanted), values


def _missing(watch: Watch, wanted: tuple[str, ...]) -> dict[str, str]:
    """Return why names did not come from what one child left."""
    missing = dict(watch.brought.failures)
    for name in wanted:
        if name not in missing and name not in watch.brought.values:
            missing[name] = _why_missing(watch)
    return missing


def _why_missing(watch: Watch) -> str:
    if watch.outcome is not None:
        return "there is no such name"
    if watch.stopped == "keep_free":
        return "it was stopped to keep memory free"
    code = watch.child.exit_code()
    how = "in an unknown way" if code is None else describe_exit(code)
    return f"pickling it ended the process ({how})"


def _error(
    parked: Parked, missing: Mapping[int, Mapping[str, str]]
) -> errors.NotBroughtBack | None:
    failures = [
        f"`{name}` of child {kept.child_pid}: {reason}"
        for kept in parked.kept
        for name, reason in missing.get(kept.index, {}).items()
    ]
    if not failures:
        return None
    return errors.NotBroughtBack("not brought back: " + "; ".join(failures))
