"""Programs that are watched, each in a process of its own without other threads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

HERE = Path(__file__).parent

# What a program is run by: its text comes from stdin, its findings go to `out`.
RUNNER = """
import _posixsubprocess, json, os, subprocess, sys, threading
from multiprocessing.popen_forkserver import Popen
from ipc_magic.memory.observing import launch
from ipc_magic.memory.observing.seen import to_record
from ipc_magic.memory.observing.watch import watch_forks
oracle, mechanism = sys.argv[1:]
if oracle:
    launch.observer = launch.ObserverProcess("oracle_observer", [oracle])
first, cell = sys.stdin.read().split("# watched\\n")
out = {}
exec(compile(first, "first", "exec"))
def _starters():
    return (
        *(_posixsubprocess.fork_exec, getattr(subprocess, "_fork_exec", None)),
        *(os.posix_spawn, os.posix_spawnp, os.execv, os.execve, Popen._launch),
    )
_before = _starters()
_descriptors = len(os.listdir("/proc/self/fd"))
with watch_forks(mechanism or None, cell="cell") as watch:
    _told = len(os.listdir("/proc/self/fd"))
    exec(compile(cell, "cell", "exec"))
out["starters"] = _starters() == _before
out["threads"] = threading.active_count()
out["left open"] = len(os.listdir("/proc/self/fd")) - _told
out["opened"] = _told - _descriptors
out["fault"] = watch.fault
out["mechanism"] = watch.mechanism
out["older"] = watch.older
out["children"] = [to_record(child) for child in watch.children]
print("FOUND", json.dumps(out))
"""


class Child(dict[str, Any]):
    """One child of a watched program: the fields of a `Seen`, its figures' besides."""

    def __getattr__(self, name: str) -> Any:
        figures = self["figures"] or {}
        return self[name] if name in self else figures.get(name)


class Found:
    """What a program left in `out`, and its children."""

    def __init__(self, out: dict[str, Any], printed: str) -> None:
        self.out = out
        self.printed = printed
        self.children = [Child(record) for record in out.pop("children")]

    def by_pid(self, pid: int) -> Child:
        (child,) = [child for child in self.children if child.pid == pid]
        return child


@pytest.fixture(scope="module")
def run_watched(child_env: dict[str, str]) -> Callable[..., Found]:
    """Run a program; what stands before the line `# watched` is not watched.

    Any warning is an error. `oracle` has the frame oracle read beside the figures;
    `by` is the command that runs it, if any.
    """

    def run(
        program: str,
        *,
        oracle: bool = False,
        mechanism: str = "",
        by: Sequence[str] = (),
        timeout: float = 100,
    ) -> Found:
        done = subprocess.run(
            [
                *by,
                sys.executable,
                "-W",
                "error",
                "-c",
                RUNNER,
                str(HERE) if oracle else "",
                mechanism,
            ],
            input=dedent(program),
            env=child_env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        _, mark, found = done.stdout.partition("FOUND ")
        assert mark, done.stdout + done.stderr
        found, _, printed = found.partition("\n")
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
        result = Found(json.loads(found), printed)
        assert result.out["fault"] is None
        assert result.out["starters"], "what starts programs is as it was"
        assert result.out["opened"] == 1, "the connection to the observer"
        return result

    return run
