"""How a child ended and where in its code, from what is left of it: mostly pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+|\?\?\?) in (?P<name>.*)')
_OURS = "ipc_magic/process/child"


class Place(NamedTuple):
    """One frame of a stack as faulthandler writes it."""

    file: str
    line: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What faulthandler wrote last about the main thread of a child."""

    reason: str
    """Its first line: the error or the signal, "" when it only was asked."""
    places: tuple[Place, ...]
    """The frames of the person's code, innermost first."""


def parse_stack(text: str) -> Stack:
    """Return the last dump in `text`, without the frames below the person's code.

    Format: `_Py_DumpTraceback` in CPython's Python/traceback.c.
    """
    reason, kept = "", True
    places: list[Place] = []
    for line in text.splitlines():
        if line.startswith(("Fatal Python error:", "ipc_magic failed")):
            reason, places, kept = line, [], True
        elif line.startswith(("Current thread", "Thread ")):
            # The last dump counts, and in it the thread marked as the current one.
            kept = line.startswith("Current")
            if kept:
                places = []
        elif kept and (match := _FRAME.match(line)):
            number = int(match["line"]) if match["line"].isdigit() else 0
            places.append(Place(match["file"], number, match["name"]))
    return Stack(reason=reason, places=tuple(_above_our_code(places)))


def _above_our_code(places: list[Place]) -> list[Place]:
    """Drop our frames and what runs below: IPython, the kernel, the event loop."""
    for number, place in enumerate(places):
        if _OURS in place.file:
            return _above_shell(places[:number])
    return places  # cut by faulthandler (100 frames at most): all of it is above


def _above_shell(places: list[Place]) -> list[Place]:
    for number in range(len(places) - 1, -1, -1):
        if (
            places[number].name == "run_code"
            and "interactiveshell" in places[number].file
        ):
            return places[:number]
    return places


def describe_place(
    stack: Stack, filename: str | None, source_line: Callable[[int], str]
) -> str | None:
    """Return where the code is, as `cell line 3: lock.acquire()`; `None` if unknown.

    The innermost line of the cell named `filename` is told; outside of it, the
    function.
    """
    for place in stack.places:
        if place.file == filename:
            text = source_line(place.line)
            return f"cell line {place.line}: {text}" if text else f"line {place.line}"
    if stack.places:
        place = stack.places[0]
        return f"{place.name} ({Path(place.file).name}, line {place.line})"
    return None


def show_stack(stack: Stack, filename: str | None, limit: int = 12) -> str:
    """Return the lines of a crash for the person's eyes, innermost last."""
    lines = []
    for place in reversed(stack.places[:limit]):
        file = "the cell" if place.file == filename else place.file
        lines.append(f"  {file}, line {place.line}, in {place.name}")
    if len(stack.places) > limit:
        lines.insert(0, f"  ... {len(stack.places) - limit} frames")
    return "\n".join(lines)


def describe_exit(code: int) -> str:
    """Return `exit code 3`, or the name of the signal for a negative code."""
    return signal_name(-code) if code < 0 else f"exit code {code}"


def signal_name(number: int) -> str:
    """Return `SIGSEGV` for 11; `signal 35` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
