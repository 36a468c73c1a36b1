"""Text of several children in one place: tagged, whole lines, bars that stay whole."""

from __future__ import annotations

from ipc_magic.process.front import Front
from ipc_magic.process.merge import STREAMS


class Tagged:
    """Writes the text of child `index` line by line, each behind `[index] `.

    A line is held until its end, so that lines of two children never mix. Of a
    progress bar that redraws itself with carriage returns the last state is kept
    and shown at the end of its line, or when the child ends.
    """

    def __init__(self, front: Front, index: int) -> None:
        self._front = front
        self._tag = f"[{index}] "
        self._held = dict.fromkeys(STREAMS, "")

    def write(self, stream: str, text: str) -> None:
        """Take text; show the lines that it completes."""
        *lines, rest = (self._held[stream] + text).split("\n")
        if lines:
            shown = "".join(f"{self._tag}{_last_state(line)}\n" for line in lines)
            self._front.write(stream, shown)
        # What a carriage return has overwritten need not be held; one at the very
        # end has not overwritten anything yet.
        at = rest.rstrip("\r").rfind("\r")
        self._held[stream] = rest[at + 1 :]

    def end(self) -> None:
        """Show what was held: the child writes no more."""
        for stream, rest in self._held.items():
            if rest:
                self._front.write(stream, f"{self._tag}{_last_state(rest)}\n")
                self._held[stream] = ""


def _last_state(line: str) -> str:
    """Return what a terminal shows of `line` after its carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2]
