"""Whether there is room for children, for measuring them, and for what they send."""

from __future__ import annotations

from ipc_magic import errors
from ipc_magic.process import guards
from ipc_magic.results.inprocess_endings import no_room, no_room_for

# So many the parent holds of a child that is measured; some are left for others.
_DESCRIPTORS, _SPARE_DESCRIPTORS = 11, 64


def too_many_files(children: int) -> str:
    """Say why so many children are not measured, "" if they can be."""
    needed = children * _DESCRIPTORS + _SPARE_DESCRIPTORS
    if children == 1 or needed <= (guards.descriptors_left() or needed):
        return ""
    return (
        f"for {children} children that takes {needed:,} open files, more than the "
        "limit of this process leaves (ulimit -n)"
    )


def refuse_without(keep_free: int) -> None:
    """Raise `CannotStart` where less than `keep_free` bytes are free."""
    if not keep_free or guards.surely_free(keep_free):
        return
    try:
        free = guards.available_bytes()
    except OSError as error:  # most likely no file can be opened any more
        raise errors.CannotStart(
            f"not started: the free memory could not be read ({error.strerror})"
        ) from error
    if free < keep_free:
        raise errors.CannotStart(no_room(free, keep_free))


def lacking(keep_free: int, needed: int) -> str | None:
    """Say why `needed` bytes of results are not taken, `None` if they are.

    Bytes that could not be counted, most likely since no file can be opened, are no
    reason.
    """
    if guards.surely_free(needed + keep_free):
        return None
    margin = guards.margin_above(keep_free)
    return None if margin is None or needed <= margin else no_room_for(needed, margin)
