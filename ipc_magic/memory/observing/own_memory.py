"""What a process holds alone that inherits nothing from here."""

from __future__ import annotations

from ipc_magic.memory import reading
from ipc_magic.memory.figures import Figures
from ipc_magic.memory.observing import family

UNREAD = "it ended before it could be read"
"""What is told of one that did."""


def own_memory(pid: int, life: family.Life) -> Figures | None:
    """Return the memory of a process that inherits none from here, `None` if it ended.

    A page that it shares is shared with children of its own.
    """
    try:
        found = reading.read(pid)
    except OSError:
        return None
    if not life.goes_on():
        return None
    return Figures(
        mechanism="exclusive" if found.exact else "smaps",
        exact=True,
        inherited_bytes=0,
        copied_bytes=0,
        end_copied_bytes=0,
        new_bytes=found.own_bytes,
    )
