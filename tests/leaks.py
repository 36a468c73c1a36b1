"""What a test must leave as it found it, and how to see that it did."""

from __future__ import annotations

import gc
import logging
import mmap
import os
import signal
import sys
import threading
import time
import uuid
import warnings
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import psutil

GRACE_SECONDS = 2.0
EXEC_SECONDS = 2.0  # to start a program, also on a busy machine
MARK_NAME = "IPC_MAGIC_TEST_MARK"


class Mark:
    """Marks all processes that come from this one, wherever they move to.

    A started program inherits the environment; a fork without `exec` shows the
    environment its parent was *started* with, but it inherits a named mapping.
    """

    def __init__(self) -> None:
        self.text = f"ipc-magic-test-{uuid.uuid4().hex}"
        os.environ[MARK_NAME] = self.text
        fd = os.memfd_create(self.text)
        os.truncate(fd, mmap.PAGESIZE)
        self._mapping = mmap.mmap(fd, mmap.PAGESIZE)
        os.close(fd)

    def is_on(self, pid: int) -> bool:
        """Say whether the process carries the mark.

        One that is just starting a program has lost the mapping and does not show
        the environment yet: it is waited for.
        """
        mark, process = self.text.encode(), Path(f"/proc/{pid}")
        deadline = time.monotonic() + EXEC_SECONDS
        with suppress(OSError):  # ended, or not ours to read
            while True:
                # In this order, or a program could be started between the two looks.
                if mark in (process / "maps").read_bytes():
                    return True
                environment = (process / "environ").read_bytes()
                if mark in environment:
                    return True
                if environment or _has_none(process) or time.monotonic() > deadline:
                    return False
                time.sleep(0.001)
        return False


def _has_none(process: Path) -> bool:
    """Say whether a process with no environment has that for good."""
    # See proc_pid_stat(5). Kernel threads and zombies have no memory at all.
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    memory, code, begin, end = (int(fields[n - 3]) for n in (23, 26, 50, 51))
    return memory == 0 or (code != 0 and begin == end)


class State:
    """The state of this process and of those it started, at one moment."""

    def __init__(self) -> None:
        self.pids = set(psutil.pids())
        self.children = _children()
        self.helpers = _helpers()
        self.same: dict[str, Any] = {
            "open file": _files(),
            "thread": {thread.name: thread for thread in threading.enumerate()},
            "signal handler": {s.name: signal.getsignal(s) for s in _signals()},
            "signal mask": dict.fromkeys(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "timer": {"ITIMER_REAL": signal.getitimer(signal.ITIMER_REAL)[0] > 0},
            "stream": {n: getattr(sys, n) for n in ("stdin", "stdout", "stderr")},
            "hook": {n: getattr(sys, n) for n in ("displayhook", "excepthook")},
            "module": {"__main__": sys.modules.get("__main__")},
            "warnings filters": {"list": list(warnings.filters)},
            "logging handlers": _log_handlers(),
            "environment": _environment(),
            "working folder": {"cwd": os.getcwd()},
            "import path": {"sys.path": list(sys.path)},
            "garbage collector": {"enabled": gc.isenabled()},
        }


def differences(before: State, mark: Mark) -> list[str]:
    """Say what is not as before; wait for what is just about to end."""
    _stop_helpers(before.helpers)
    deadline = time.monotonic() + GRACE_SECONDS
    found = _differences(before, mark)
    if found:
        # Files and sockets in a reference cycle are closed when it is collected:
        # without this, the moment of that would decide whether they are leaks.
        gc.collect()
        found = _differences(before, mark)
    while found and time.monotonic() < deadline:
        time.sleep(0.02)
        found = _differences(before, mark)
    return found


def _differences(before: State, mark: Mark) -> list[str]:
    after = State()
    found = []
    for kind, old in before.same.items():
        new = after.same[kind]
        for name in sorted(set(old) | set(new), key=str):
            if name not in old:
                found.append(f"{kind} {name}: new, {new[name]!r}")
            elif name not in new:
                found.append(f"{kind} {name}: gone, was {old[name]!r}")
            elif old[name] is not new[name] and old[name] != new[name]:
                found.append(f"{kind} {name}: was {old[name]!r}, is {new[name]!r}")
    for pid in sorted(after.children - before.children):
        found.append(f"child process: {_describe(pid)}")
    for pid in sorted(after.pids - before.pids - after.children):
        if mark.is_on(pid):
            found.append(f"process that left the family: {_describe(pid)}")
    return found


def _files() -> dict[int, str]:
    files = {}
    for name in os.listdir("/proc/self/fd"):
        # The descriptor that lists the folder is closed by now.
        with suppress(OSError):
            files[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    # IPython 7 opens /dev/null at its import and keeps it.
    io = sys.modules.get("IPython.utils.io")
    with suppress(AttributeError, ValueError):
        files.pop(io.devnull.fileno(), None)  # type: ignore[union-attr]
    return files


def _children() -> set[int]:
    """Return the pids of all descendants; psutil would read of every process."""
    found: set[int] = set()
    pending = [os.getpid()]
    while pending:
        for task in Path(f"/proc/{pending.pop()}/task").glob("*/children"):
            with suppress(OSError):  # it has just ended
                pending += map(int, task.read_text().split())
        pending = [pid for pid in pending if pid not in found]
        found.update(pending)
    return found


def _signals() -> list[signal.Signals]:
    return [s for s in signal.valid_signals() if isinstance(s, signal.Signals)]


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    environment.pop("PYTEST_CURRENT_TEST", None)  # pytest changes it as it goes
    return environment


def _log_handlers() -> dict[str, list[logging.Handler]]:
    named = logging.root.manager.loggerDict.items()
    loggers = {name: log for name, log in named if isinstance(log, logging.Logger)}
    loggers["root"] = logging.root
    found = {}
    for name, log in loggers.items():
        # Libraries hang a NullHandler on their logger when first imported.
        handlers = [h for h in log.handlers if type(h) is not logging.NullHandler]
        if handlers:
            found[name] = handlers
    return found


def _helpers() -> dict[str, bool]:
    """Say which of multiprocessing's helper processes run.

    The first use in a process starts them and nothing ends them before its exit.
    They are no leak of the test; those a test started are stopped after it.
    """
    return {
        "forkserver": forkserver._forkserver._forkserver_pid is not None,
        "tracker": resource_tracker._resource_tracker._pid is not None,
    }


def _stop_helpers(earlier: dict[str, bool]) -> None:
    if not earlier["forkserver"]:
        forkserver._forkserver._stop()
    if not earlier["tracker"]:
        resource_tracker._resource_tracker._stop()


def _describe(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        command = " ".join(process.cmdline())[:200]
        return f"{pid} ({process.status()}) below {process.ppid()}: {command}"
    except psutil.ZombieProcess:
        return f"{pid} (zombie)"
    except psutil.Error:
        return f"{pid} (ended by now)"
