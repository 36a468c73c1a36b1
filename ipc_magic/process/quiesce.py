"""Making a parent with threads safe to fork, and saying what cannot be cured.

A lock that another thread holds at the fork stays locked in the child for ever.
CPython renews its own; this module holds or empties what it does not renew.
"""

from __future__ import annotations

import _io
import ctypes
import io
import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import _bootstrap
from typing import Any

_PATIENCE_SECONDS = 0.5
# The bases in C: io.BufferedIOBase is an ABC, which is asked by much Python code.
_FILES = (io.TextIOWrapper, _io._BufferedIOBase)

# None as argument flushes all of C's open output streams (fflush(3)).
flush_c_streams = ctypes.CDLL(None).fflush if sys.platform != "win32" else None


def open_for_writing(names: Mapping[str, Any]) -> list[tuple[str, io.IOBase]]:
    """Return the open, buffered, writable files among the variables `names`."""
    found: list[tuple[str, io.IOBase]] = []
    for name, value in names.items():
        # type() and not isinstance(): a lying __class__ must not be asked.
        if issubclass(type(value), _FILES):
            try:
                if not value.closed and value.writable() and value.fileno() > 2:
                    found.append((name, value))
            except (OSError, ValueError):
                continue  # BytesIO and the like have no descriptor
    return found


def flush(files: Iterable[io.IOBase]) -> None:
    """Empty the buffers of `files`, or the child would write them once more."""
    for file in files:
        try:
            file.flush()
        except (OSError, ValueError):
            pass  # the file's trouble is its owner's to meet


def flush_standard_streams() -> None:
    """Empty Python's and C's output buffers.

    A kernel's streams are left alone: they are no files, and the child never uses
    them (see child_streams.py).
    """
    flush(s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper))
    if flush_c_streams:
        flush_c_streams(None)


@contextmanager
def logging_held() -> Iterator[None]:
    """Hold every logging handler's lock, so that no thread is inside its stream.

    The C lock of a BufferedWriter is not renewed at fork. The handlers' own locks
    are (`logging._after_at_fork_child_reinit_locks`), so in the child the release
    finds them free.
    """
    held: list[Any] = []
    deadline = time.monotonic() + _PATIENCE_SECONDS
    if threading.active_count() > 1:  # alone, nobody else can be inside a handler
        handlers = list(logging._handlerList)  # type: ignore[attr-defined]
        # The module's lock first: logging.config takes them in this order too.
        for lock in (logging._lock, *(getattr(h(), "lock", None) for h in handlers)):  # type: ignore[attr-defined]
            patience = max(0.0, deadline - time.monotonic())
            if lock is not None and lock.acquire(timeout=patience):
                held.append(lock)
            elif not held:
                # The fork itself will wait for the module's lock, and who has it may
                # wait for a handler's: hold none.
                break
    try:
        yield
    finally:
        for lock in reversed(held):
            try:
                lock.release()
            except RuntimeError:
                pass  # renewed in the child: already free


@contextmanager
def fork_warnings_off() -> Iterator[None]:
    """Silence Python 3.12's warning about forking with threads: we took care."""
    if sys.version_info < (3, 12):
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* multi-threaded")
        yield


def wait_for_imports() -> list[str]:
    """Wait shortly for other threads' imports; return the modules still being imported.

    A module that another thread is importing stays locked in the child.
    """
    locks = getattr(_bootstrap, "_module_locks", {})
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while busy := _imported_elsewhere(locks):
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)
    return busy


def _imported_elsewhere(locks: Mapping[str, Any]) -> list[str]:
    if not locks:
        return []
    me = threading.get_ident()
    owners = {name: getattr(ref(), "owner", None) for name, ref in dict(locks).items()}
    return sorted(n for n, owner in owners.items() if owner not in (None, me))
