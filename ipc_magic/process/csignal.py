"""The functions in C behind the module `signal`.

Its own wrap numbers in enums, and look for one for each handler: more time between
a parent and its child's code, and more pages for the child to copy.
"""

from _signal import (  # type: ignore[import-not-found]
    getsignal,
    pthread_sigmask,
    set_wakeup_fd,
    signal,
)

__all__ = ["getsignal", "pthread_sigmask", "set_wakeup_fd", "signal"]
