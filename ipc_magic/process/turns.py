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

# By pid: in a child nobody will give back what another thread held at the fork.
_locks: dict[int, AbstractContextManager[bool]] = {}


def taken() -> AbstractContextManager[bool]:
    """Return the lock to hold: `with turns.taken(): ...`."""
    return _locks.setdefault(os.getpid(), threading.RLock())
