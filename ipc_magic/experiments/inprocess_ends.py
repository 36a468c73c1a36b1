"""What the monitor saw of a child, told as its record and as the error to raise."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from typing import Any, cast

from ipc_magic import errors
from ipc_magic.process import errors_home, parcel
from ipc_magic.process.cell import Cell
from ipc_magic.process.ending import signal_name
from ipc_magic.process.watch import Watch
from ipc_magic.results.base import Finding
from ipc_magic.results.inprocess import (
    ChildRun,
    Crossing,
    Ending,
    ErrorInChild,
    Limits,
)
from ipc_magic.results.inprocess_changes import Changes
from ipc_magic.results.inprocess_endings import predicate
from ipc_magic.results.memory import Memory
from ipc_magic.results.records import from_plain

_CONTROLS = re.compile(
    r"(Button|Slider|Text|Textarea|Dropdown|Select|Checkbox)\w*Model"
)
_OUR_FAILURE = "ipc_magic failed in the child"
_CLASSES: dict[str, type[errors.IpcMagicError]] = {
    "timeout": errors.ChildTimeout,
    "memory_limit": errors.ChildOutOfMemory,
    "keep_free": errors.ChildOutOfMemory,
    "out_of_memory": errors.ChildOutOfMemory,
    "killed": errors.ChildKilled,
    "not_started": errors.CannotStart,
}


def judge(watch: Watch, cell: Cell, memory: Memory | None) -> ChildRun:
    """Return the record of a child that has ended, `memory` as it was measured."""
    child, outcome = watch.child, watch.outcome
    code = child.exit_code()
    ending = _ending(watch, code)
    exited = (outcome or {}).get("exit")
    return ChildRun(
        index=child.index,
        pid=child.pid,
        start_method="fork",
        ending=ending,
        exit_code=exited["code"] if exited else (None if code and code < 0 else code),
        signal=signal_name(-code) if code is not None and code < 0 else None,
        error=_error_record(watch),
        where=watch.place or _line(outcome, cell),
        evidence=_evidence(watch, ending),
        returned=returned(watch, cell),
        sent=Crossing.nothing(),
        memory=memory,
        changes=_changes(outcome),
        **_times(watch),
    )


def _ending(watch: Watch, code: int | None) -> Ending:
    outcome = watch.outcome
    if outcome is not None:
        error = outcome.get("error")
        if error is None:
            return "exited" if "exit" in outcome else "finished"
        # It was stopped, and had time to say so.
        interrupted = error["type"] == "KeyboardInterrupt"
        return "interrupted" if interrupted and watch.stopped else "raised"
    if watch.stopped is not None:
        return cast(Ending, watch.stopped)
    if code is None or _OUR_FAILURE in watch.child.last_words:
        return "lost"
    if code >= 0:
        return "quit"
    return "out_of_memory" if watch.oom_evidence else "killed"


def _evidence(watch: Watch, ending: Ending) -> str | None:
    if ending == "out_of_memory":
        return "oom_kill went up"
    if ending == "lost":
        failure = watch.child.last_words.partition(_OUR_FAILURE)[2].strip()
        return failure.splitlines()[-1] if failure else "someone else reaped it"
    if ending in ("timeout", "interrupted") and watch.idle_when_stopped is not None:
        return "waiting" if watch.idle_when_stopped else "running"
    return None


def _line(outcome: dict[str, Any] | None, cell: Cell) -> str | None:
    number = (outcome or {}).get("line")
    return f"cell line {number}: {cell.line(number)}" if number else None


def _error_record(watch: Watch) -> ErrorInChild | None:
    error = (watch.outcome or {}).get("error")
    if error is not None:
        return ErrorInChild(
            type=error["type"], message=error["message"], traceback=error["plain"]
        )
    if watch.crash is not None:
        return ErrorInChild(
            type="crash", message=watch.crash_reason, traceback=watch.crash
        )
    exited = (watch.outcome or {}).get("exit")
    if exited and exited["text"]:
        return ErrorInChild(type="SystemExit", message=exited["text"], traceback="")
    return None


def _times(watch: Watch) -> dict[str, Any]:
    child, outcome = watch.child, watch.outcome
    hello = child.said.get("hello")
    if hello is None:
        return {}
    begun = hello.sent_at
    times: dict[str, Any] = {"start_seconds": begun - child.forked_at}
    assert child.ended_at is not None
    if outcome is None:
        times["run_seconds"] = (watch.stopped_at or child.ended_at) - begun
    else:
        times["run_seconds"] = outcome["time_code_done"] - outcome["time_code"]
        times["end_seconds"] = child.ended_at - outcome["time_done"]
    return times


def returned(watch: Watch, cell: Cell) -> Crossing:
    """Return what came back from a child, by the names that the person uses."""
    brought = watch.brought
    return Crossing(
        names={
            cell.spelling(n): size + brought.buffer_sizes[n]
            for n, size in brought.sizes.items()
        },
        buffers={cell.spelling(n): size for n, size in brought.buffer_sizes.items()},
        pickled_bytes=sum(brought.sizes.values()),
        buffer_bytes=sum(brought.buffer_sizes.values()),
        dump_seconds=brought.dump_seconds,
        transport_seconds=brought.transport_seconds,
        load_seconds=brought.load_seconds,
    )


def _changes(outcome: dict[str, Any] | None) -> Changes | None:
    told = (outcome or {}).get("changes")
    try:
        return None if told is None else from_plain(Changes, told)
    except errors.IpcMagicError:  # the code itself has written to the channel
        return None


def error_of(
    watch: Watch, run: ChildRun, limits: Limits, prove: parcel.Proof
) -> BaseException:
    """Return the error that stands for a child's end in the parent."""
    outcome = watch.outcome or {}
    if "error" in outcome:
        return errors_home.unpack(outcome["error"], prove)
    # An exit's text is cut to a line there, and whole in the error.
    named = replace(run, error=None) if run.ending == "exited" else run
    message = f"child {run.pid} {predicate(named, limits)}"
    if run.ending == "interrupted":
        return shown_in_lines(
            KeyboardInterrupt(message), f"KeyboardInterrupt: {message}"
        )
    if run.ending == "exited":
        text = outcome["exit"]["text"]
        message += f": {text}" if text else ""
        return errors.ChildExit(message, run.exit_code or 0)
    error = _CLASSES.get(run.ending, errors.ChildEnded)(message)
    if run.error is not None and run.error.traceback:
        head = f"{type(error).__name__}: {message}"
        return shown_in_lines(error, head, *run.error.traceback.splitlines())
    return error


def shown_in_lines(error: BaseException, *lines: str) -> BaseException:
    """Return `error`, which IPython then shows as `lines`."""
    vars(error)["_render_traceback_"] = lambda: list(lines)
    return error


def findings_about(watch: Watch, cell: Cell) -> list[Finding]:
    """Return what else is worth knowing of a child that has ended."""
    found = []
    pid = watch.child.pid
    for left in watch.left:
        what = "was ended with it" if left.ended else "runs on in a session of its own"
        found.append(
            Finding(
                code="leftover",
                message=f"process {left.pid} ({left.name}) outlived child {pid} "
                f"and {what}",
                figures={"pid": left.pid},
            )
        )
    if watch.child.wait_status is None:
        found.append(
            Finding(
                code="status_unknown",
                message=f"somebody else reaped child {pid}: its exit status is unknown",
            )
        )
    for name, reason in watch.brought.failures.items():
        found.append(
            Finding(
                code="not_brought",
                message=f"`{cell.spelling(name)}` did not come back: {reason}",
            )
        )
    if any(_CONTROLS.search(model) for model in watch.models):
        found.append(
            Finding(
                code="widgets",
                message="widgets made in the child are shown, but what is done with "
                "them reaches no one",
            )
        )
    if watch.stopped == "interrupted" and watch.child.exit_code() == -signal.SIGKILL:
        found.append(
            Finding(code="killed", message=f"child {pid} did not heed the interrupt")
        )
    return found
