"""One thread at a time gets ready and forks, whoever of ours wants to.

Between its parts a fork of another thread would do harm: a child of that one would
hold this one's pipes open, and where this thread is just asking the C library for the
loaded libraries, the child's C library would wait for ever for that lock to be given
back (dl_iterate_phdr(3) holds it; glibc does not renew it at a fork).
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager


class _Turn:
    """Has the lock; a child gets a new one, since nobody there will give it back."""

    lock = threading.RLock()


def taken() -> AbstractContextManager[bool]:
    """Return the lock to hold: `with turns.taken(): ...`."""
    return _Turn.lock


def _renew() -> None:
    _Turn.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew)
