"""Doing something in a forked process, which answers with plain values.

For loads: whatever a hostile object does as it is loaded, it does there. Nothing of
the room `process` is needed: the process that calls this is a child already.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TypeVar

from ipc_magic.pickling.failures import Failed, describe, describe_exit
from ipc_magic.pickling.timing import clock

T = TypeVar("T")


def apart(work: Callable[[], T], *, doing: str, time_limit_seconds: float) -> T:
    """Return what `work()` returns in a fork of this process, where it is silent.

    The answer is made of plain values. Raises `Failed`, of stage "load", when `work`
    raises, ends the process or is not done in time; `doing` is the word for it.
    """
    read, write = os.pipe()
    pid = 0
    try:
        with quiet_fork(), interrupts_held():
            pid = os.fork()
    except BaseException:
        os.close(read)
        os.close(write)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise
    if pid == 0:
        os.close(read)
        _answer(work, write)
    try:
        os.close(write)
        said, in_time = _read_all(read, clock() + time_limit_seconds)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(read)
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not in_time:
        message = f"{doing} was not done after {time_limit_seconds:g} s"
    elif not said:
        message = f"{doing} ended the process: {describe_exit(code)}"
    else:
        answer, error = pickle.loads(said)
        if error is None:
            return answer  # type: ignore[no-any-return]
        message = f"{doing} failed: {error}"
    raise Failed(message, "load")


def _answer(work: Callable[[], object], write: int) -> NoReturn:
    try:
        hush()
        try:
            said = pickle.dumps((work(), None))
        except BaseException as error:  # noqa: BLE001 - SystemExit is told as well
            said = pickle.dumps((None, describe(error)))
        with open(write, "wb", closefd=False) as pipe:
            pipe.write(said)
    finally:
        os._exit(0)


def _read_all(read: int, deadline: float) -> tuple[bytes, bool]:
    """Return what came until the end, and whether the end came in time.

    The answer's writer may leave processes behind that hold the pipe open, so a
    complete answer ends the reading too: `pickle.loads` finds the stop.
    """
    said = b""
    poll = select.poll()
    poll.register(read, select.POLLIN)
    while (left := deadline - clock()) > 0:
        if poll.poll(left * 1000):
            piece = os.read(read, 1 << 16)
            said += piece
            if not piece or (said.endswith(pickle.STOP) and _complete(said)):
                return said, True
    return said, False


def _complete(said: bytes) -> bool:
    try:
        pickle.loads(said)
    except (EOFError, pickle.UnpicklingError):
        return False
    return True


def hush() -> None:
    """Send what this process prints to nowhere: it would come once a run."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    # An inherited hook may keep what it is told of, and with it frames and objects.
    sys.unraisablehook = lambda unraisable: None


@contextmanager
def quiet_fork() -> Iterator[None]:
    """Silence Python 3.12's warning that a process with threads forks.

    What is forked here runs pickle and nothing that other threads may have locked.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", r".*multi-threaded.*fork", category=DeprecationWarning
        )
        yield


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold an interrupt back until the block is left, in the process that entered it.

    What a signal's handler raises inside the hooks of a fork is lost.
    """
    handler = signal.getsignal(signal.SIGINT)
    if (
        not callable(handler)
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    came: list[FrameType | None] = []
    pid = os.getpid()
    signal.signal(signal.SIGINT, lambda number, frame: came.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came and pid == os.getpid():
        handler(signal.SIGINT, came[0])
