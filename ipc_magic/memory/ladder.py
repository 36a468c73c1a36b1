"""The mechanisms in order, and the best that works in this process."""

from __future__ import annotations

import functools
import os
from types import MappingProxyType

from ipc_magic.errors import OptionError
from ipc_magic.memory import probe
from ipc_magic.memory.rungs.base import Rung
from ipc_magic.memory.rungs.exclusive import Exclusive, Witness
from ipc_magic.memory.rungs.pfn import Frames
from ipc_magic.memory.rungs.portable import UniqueMemory
from ipc_magic.memory.rungs.smaps import SmapsRollup
from ipc_magic.memory.rungs.uffd import Plan, Uffd
from ipc_magic.memory.userfault import Creator

ENVIRONMENT = "IPC_MAGIC_MECHANISM"
"""The environment variable that forces a mechanism where no option does."""
_RUNGS: MappingProxyType[str, type[Rung]] = MappingProxyType(
    {
        rung.name: rung
        for rung in (Uffd, Witness, Exclusive, SmapsRollup, UniqueMemory, Frames)
    }
)
MECHANISMS = tuple(_RUNGS)
"""The names, best first; `pfn`, for root alone, is the last and only ever forced."""
_LADDER = MECHANISMS[:-1]


def foresee(mechanism: str, pid: int) -> Plan | None:
    """Work out what can be known of a child that sets itself up, to pass to `make`."""
    try:
        return Uffd.foresee(pid) if mechanism == Uffd.name else None
    except OSError:  # `make` will tell
        return None


def make(
    mechanism: str, pid: int, descriptor: int = -1, foreseen: Plan | None = None
) -> Rung:
    """Return a mechanism for one child; `descriptor` is its userfaultfd, ours to close.

    Raises OSError where the system refuses, and the descriptor is closed.
    """
    kind = _RUNGS[mechanism]
    try:
        if kind is Uffd:
            if descriptor < 0:
                raise PermissionError("the child could not make a userfaultfd")
            watching, descriptor = descriptor, -1
            try:
                return Uffd(pid, watching, foreseen)
            except OSError:
                os.close(watching)
                raise
        return kind(pid)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


@functools.cache
def creator_for(mechanism: str) -> Creator | None:
    """Return what makes the userfaultfd in a child, where the mechanism needs one."""
    if mechanism != Uffd.name:
        return None
    try:
        return Creator()
    except OSError:  # a machine of which we do not know the number of the call
        return None


def below(mechanism: str) -> list[str]:
    """Return what to fall back to where a mechanism fails with one child."""
    first = _LADDER.index(mechanism) + 1 if mechanism in _LADDER else 0
    # It is too late for what had to be made before the fork, or by the child.
    too_late = (Uffd.name, Witness.name)
    return [name for name in _LADDER[first:] if name not in too_late]


@functools.cache
def fault_of(mechanism: str) -> str | None:
    """Return why a mechanism does not work in this process, `None` if it does.

    Raises OSError when it could not be tried.
    """
    trying = functools.partial(make, mechanism), creator_for(mechanism)
    # The answer holds for the session: one failure may be a moment's.
    return probe.fault_of(*trying) and probe.fault_of(*trying)


def choose(forced: str | None = None) -> str:
    """Return the mechanism to use: the best that works, tried once in a process.

    `forced`, or else the environment variable IPC_MAGIC_MECHANISM, names one; it is an
    `OptionError` when there is none of that name, or it does not work here. Raises
    OSError when none could be tried.
    """
    forced = forced or os.environ.get(ENVIRONMENT) or None
    if forced is None:
        return next(name for name in _LADDER if fault_of(name) is None)
    if forced not in _RUNGS:
        raise OptionError(f"a mechanism is {', '.join(MECHANISMS)}, not {forced!r:.40}")
    if (fault := fault_of(forced)) is not None:
        raise OptionError(f"the mechanism {forced} does not work here: {fault}")
    return forced
