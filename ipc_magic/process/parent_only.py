"""File descriptors that only this process may hold: no child keeps a copy.

A fork copies all descriptors. A child that kept the parent's end of a lifeline
would keep that lifeline alive after the parent has died, whoever forked it: this
room, or the person's own `multiprocessing.Pool`. So one at-fork hook, registered
once per process (it cannot be taken back), closes them in every child that Python
forks. It does nothing while no descriptor is held, and never raises.
"""

from __future__ import annotations

import os

_held: set[int] = set()


def hold(fd: int) -> int:
    """Close `fd` in every process forked from now on, and return it."""
    _held.add(fd)
    return fd


def release(fd: int) -> None:
    """Close `fd` here; a descriptor that is not held (any more) is left alone."""
    if fd in _held:
        _held.discard(fd)
        os.close(fd)


def held() -> frozenset[int]:
    """Return the descriptors that are held now."""
    return frozenset(_held)


def _close_in_child() -> None:
    for fd in _held:
        try:
            os.close(fd)
        except OSError:  # the person's code closed it
            pass
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)
