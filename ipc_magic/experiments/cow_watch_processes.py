"""What do processes share that are alive now: bare `%cow_watch`, and `--pid`."""

from __future__ import annotations

import os

import psutil

from ipc_magic.errors import OptionError
from ipc_magic.memory import reading
from ipc_magic.results.base import Finding
from ipc_magic.results.process_memory import ProcessMemory, ProcessTree
from ipc_magic.results.setting import Setting


def children_alive() -> ProcessTree:
    """Return the descendants of this process that are alive now."""
    return _tree(psutil.Process(), is_session=True)


def process_and_descendants(pid: int) -> ProcessTree:
    """Return a process and its descendants; `OptionError` if there is no such one."""
    try:
        root = psutil.Process(pid)
    except psutil.NoSuchProcess as error:
        raise OptionError(f"there is no process {pid}") from error
    except psutil.AccessDenied as error:
        raise OptionError(f"process {pid} may not be looked at from here") from error
    return _tree(root, is_session=pid == os.getpid())


def _tree(root: psutil.Process, *, is_session: bool) -> ProcessTree:
    found = [] if is_session else [root]
    try:
        found += root.children(recursive=True)
    except psutil.Error:
        pass  # it has just ended
    processes = [one for one in map(_memory_of, found) if one is not None]
    findings = []
    if any(one.fault is not None for one in processes):
        findings.append(
            Finding(
                code="permission",
                message="a process can be read by its own user and by root, if it is "
                "dumpable (prctl(2), PR_SET_DUMPABLE)",
            )
        )
    return ProcessTree(
        setting=Setting.current(),
        findings=tuple(findings),
        root_pid=root.pid,
        is_session=is_session,
        processes=tuple(processes),
    )


def _memory_of(process: psutil.Process) -> ProcessMemory | None:
    """Return what a process shares and holds alone; `None` if it has ended."""
    try:
        name, parent = process.name(), process.ppid()
        read = reading.read(process.pid)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return None
    except (OSError, psutil.AccessDenied) as error:
        why = getattr(error, "strerror", None) or "access denied"
        return ProcessMemory(pid=process.pid, fault=why)
    return ProcessMemory(
        pid=process.pid,
        parent_pid=parent,
        name=name,
        shared_bytes=read.shared_bytes,
        own_bytes=read.own_bytes,
        exact=read.exact,
    )
