"""`%cow_watch` in a shell: which of its measurements is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ipc_magic.errors import OptionError
from ipc_magic.experiments import cow_watch, cow_watch_processes, inprocess
from ipc_magic.results.base import Result


def run(
    shell: Any,
    line: str,
    body: str | None,
    *,
    statement: str,
    chosen: Mapping[str, Any],
    given: Mapping[str, Any],
) -> tuple[Result, BaseException | None]:
    """Return what was measured, and the error that ended it, if any.

    `body` is the text of a cell, `statement` what stands behind the options of a line;
    `given` are the options that stand there, `chosen` all with their defaults.
    """
    if chosen["pid"] is not None:
        if body is not None or statement.strip():
            raise OptionError("--pid looks at a process that runs: it takes no code")
        return cow_watch_processes.process_and_descendants(chosen["pid"]), None
    if body is None and not statement.strip():
        return cow_watch_processes.children_alive(), None
    if body is not None and not body.strip():
        raise OptionError("the cell is empty: put the code below %%cow_watch")
    asked = inprocess.prepare(shell, line, body, statement, (), magic="cow_watch")
    asked = replace(asked, bring_value=False)
    number = chosen["children"]
    if number is None:
        number = 1 if body is None else 0
    if number == 0:
        for name in ("timeout", "memory"):
            if name in given:
                raise OptionError(
                    f"--{name} stops children of ours: it needs -n 1 or more, where "
                    "the code runs in them"
                )
        from ipc_magic.experiments import cow_watch_here

        return cow_watch_here.run(shell, asked, _options(chosen, 0))
    return cow_watch.in_children(shell, asked, _options(chosen, number))


def _options(chosen: Mapping[str, Any], number: int) -> cow_watch.Options:
    return cow_watch.Options(
        children=number,
        tag=number > 1,
        project=chosen["project"],
        mechanism=chosen["mechanism"],
        timeout=chosen["timeout"],
        memory=chosen["memory"],
        keep_free=chosen["keep_free"],
        live=not chosen["no_live"],
    )
