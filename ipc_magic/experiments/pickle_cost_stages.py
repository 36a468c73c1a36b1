"""Stages of a measurement in forks of the session: what one of them ends, ends alone.

All stages run in one fork, one after another, and each tells its answer at once. When
that process ends early, the stage it was in has failed, and the others go on in
another fork. So one dump that crashes costs its own figures and no more.
"""

from __future__ import annotations

import dataclasses
import gc
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ipc_magic.process import ending, fork, guards, interrupts, wire
from ipc_magic.process.child_side import ChildSide
from ipc_magic.process.front import Front, OnlyLive
from ipc_magic.process.monitor import Monitor
from ipc_magic.process.watch import Watch

KEEP_FREE_BYTES = 1 << 30
# Beyond the stages' own limits: the kernel ends a stage in time, unless its code has
# taken that signal away.
_SPARE_SECONDS = 5.0

Known = Mapping[str, Mapping[str, Any]]
"""What the stages before have answered, by their names."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a measurement, done in a fork."""

    name: str
    doing: str
    """What it does, in words: "dumping it"."""
    run: Callable[[Known], Any]
    """Returns a record or a mapping of plain values; `None` says nothing."""
    limit_seconds: float
    """How long it may take; longer than its own limits, where it has some."""


@dataclass(kw_only=True)
class Answers:
    """What stages said, and how those ended that said nothing."""

    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    """Why a stage has no answer, in words that say what happened."""
    late: set[str] = field(default_factory=set)
    """Those of them that took too long."""
    interrupted: bool = False
    """The person interrupted; the stages after that were not begun."""

    def of(self, name: str) -> Mapping[str, Any]:
        """Return what a stage said; nothing if it has not."""
        return self.said.get(name, {})


def run(stages: list[Stage], front: Front) -> Answers:
    """Run the stages in forks; `front` shows a line when that takes long.

    Raises `CannotStart` when no process can be made.
    """
    answers = Answers()
    left = list(stages)
    while left and not answers.interrupted:
        watch = _run_in_one(left, answers, front)
        told = watch.child.said
        for stage in left:
            if message := told.get(f"answer {stage.name}"):
                answers.said[stage.name] = message.fields
        answers.interrupted = watch.stopped == "interrupted"
        begun = told["begun"].fields if "begun" in told else {"name": left[0].name}
        at = next(n for n, stage in enumerate(left) if stage.name == begun["name"])
        if begun["name"] not in answers.said and not answers.interrupted:
            _note_end(answers, left[at], watch)
        elif watch.outcome is not None:
            break
        left = left[at + 1 :]
    return answers


def _run_in_one(stages: list[Stage], answers: Answers, front: Front) -> Watch:
    longest = sum(stage.limit_seconds for stage in stages)
    limits = guards.Limits(
        timeout_seconds=longest + _SPARE_SECONDS,
        keep_free_bytes=_keep_free_bytes(),
    )
    with interrupts.counted():
        started = fork.start(_body(stages, dict(answers.said)), number=1, names={})
        monitor = Monitor(started.children, OnlyLive(front), limits=limits)
        monitor.run()
    (watch,) = monitor.watches
    return watch


def _keep_free_bytes() -> int | None:
    """Return how much memory must stay free: less where there is little already."""
    try:
        return min(KEEP_FREE_BYTES, guards.available_bytes() // 2)
    except OSError:
        return None


def _body(stages: list[Stage], known: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    def body(side: ChildSide, _orders: Any) -> dict[str, Any]:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        try:
            for stage in stages:
                _answer(stage, known, side)
        except KeyboardInterrupt:
            pass  # the person's, or one that a class raises: the parent knows
        return {}

    return body


def _answer(stage: Stage, known: dict[str, Any], side: ChildSide) -> None:
    side.send("begun", name=stage.name, doing=stage.doing)
    collecting = gc.isenabled()
    signal.setitimer(signal.ITIMER_REAL, stage.limit_seconds)
    try:
        answer = _plain(stage.run(known))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the code of people's classes
        answer = {"error": _describe(error)}
    signal.setitimer(signal.ITIMER_REAL, 0)
    (gc.enable if collecting else gc.disable)()  # code of classes may switch it
    known[stage.name] = answer
    side.send(f"answer {stage.name}", **answer)


def _plain(answer: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        answer = dataclasses.asdict(answer)
    made: dict[str, Any] = wire.plain(answer or {})
    return made


def _describe(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - its __str__ is anybody's code
        return name
    return f"{name}: {text:.500}" if text else name


def _note_end(answers: Answers, stage: Stage, watch: Watch) -> None:
    """Note how the process ended that was in `stage`."""
    code = watch.child.exit_code()
    if watch.stopped == "timeout" or code == -signal.SIGALRM:
        answers.late.add(stage.name)
        how = f"did not end within {stage.limit_seconds:g} s"
    elif watch.outcome is not None:
        how = "raised KeyboardInterrupt"
    elif watch.stopped == "keep_free":
        how = "was stopped: hardly any memory was left free"
    elif watch.oom_evidence:
        how = "ended the process for lack of memory (SIGKILL, oom_kill went up)"
    elif code is None or watch.child.last_words.startswith("ipc_magic failed"):
        how = "ended the process in an unknown way"
    else:
        how = f"ended the process with {ending.describe_exit(code)}"
    answers.ended[stage.name] = f"{stage.doing} {how}"
