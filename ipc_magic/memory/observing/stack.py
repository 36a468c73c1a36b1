"""Who forks, read from the stack of the fork."""

from __future__ import annotations

from types import FrameType
from typing import Any

# The most telling first.
_MAKERS = (
    ("torch.utils.data", "DataLoader"),
    ("joblib", "joblib"),
    ("concurrent.futures.process", "ProcessPoolExecutor"),
    ("multiprocessing.pool", "multiprocessing.Pool"),
    ("multiprocessing.managers", "multiprocessing.Manager"),
    ("multiprocessing", "multiprocessing.Process"),
    ("billiard", "billiard"),
    ("pty", "pty.fork"),
)
_LIBRARIES = {module.partition(".")[0] for module, _ in _MAKERS}
_OURS = "ipc_magic"
"""Whose forks are helpers, or children of a magic that runs in the cell."""
_STARTERS = "ipc_magic.memory.observing.programs"
"""Whose frames stand between those of a library that starts a program."""
_EXECUTES = "subprocess"
"""Whose forks execute another program at once."""


def is_watched(caller: FrameType | None) -> bool:
    """Return whether what this frame forks is to be watched."""
    return _package(caller) != _EXECUTES and not is_ours(caller)


def is_ours(caller: FrameType | None) -> bool:
    """Return whether this package forks or executes, or has a library do it."""
    frame = beyond_starters(caller)
    while frame is not None and _package(frame) in {*_LIBRARIES, _EXECUTES}:
        frame = beyond_starters(frame.f_back)
    return _package(frame) == _OURS


def beyond_starters(frame: FrameType | None) -> FrameType | None:
    """Return the first frame that is none of those that start programs for us."""
    while frame is not None and _module(frame) == _STARTERS:
        frame = frame.f_back
    return frame


def maker(caller: FrameType | None) -> str:
    """Return what forks: the library whose frames come before the user's own."""
    rank = len(_MAKERS)
    frame = caller
    while frame is not None:
        name = _module(frame)
        if _package(frame) not in _LIBRARIES:
            break
        for i, (module, _) in enumerate(_MAKERS[:rank]):
            if name == module or name.startswith(module + "."):
                rank = i
                break
        frame = frame.f_back
    return _MAKERS[rank][1] if rank < len(_MAKERS) else "os.fork"


def line_of(
    caller: FrameType | None, *, cell: str | None, main: dict[str, Any]
) -> int | None:
    """Return the line of the outermost frame of the cell, `None` if there is none.

    `cell` is the file name of its code; without one the frames count whose names are
    those of `main`. A fork in a child has the frames of its parent's fork, too.
    """
    line = None
    frame = caller
    while frame is not None:
        if (
            frame.f_globals is main
            if cell is None
            else frame.f_code.co_filename == cell
        ):
            line = frame.f_lineno
        frame = frame.f_back
    return line


def _module(frame: FrameType | None) -> str:
    return str(frame.f_globals.get("__name__", "")) if frame is not None else ""


def _package(frame: FrameType | None) -> str:
    return _module(frame).partition(".")[0]
