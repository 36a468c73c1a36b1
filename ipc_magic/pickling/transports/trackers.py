"""The resource trackers: processes that remove what a killed process leaves.

multiprocessing and loky start one at the first need and keep it. One that a
measurement started is ended with it; the session's own stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any


@contextmanager
def tracker_ended(tracker: Any = None) -> Iterator[None]:
    """End a resource tracker, multiprocessing's by default, if it starts meanwhile."""
    if tracker is None:
        tracker = resource_tracker._resource_tracker
    running = tracker._fd is not None
    try:
        yield
    finally:
        if not running and hasattr(tracker, "_stop"):
            tracker._stop()
