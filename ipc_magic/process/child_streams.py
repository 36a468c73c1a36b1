"""The streams of a child: text into its pipes, whoever holds the parent's streams."""

from __future__ import annotations

import functools
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from ipc_magic.process.child_side import ChildSide
from ipc_magic.process.merge import STREAMS
from ipc_magic.process.replacements import Replacements


class _WholeWrites(io.FileIO):
    """A raw file whose write never stops half way, as a text stream needs it."""

    def write(self, data: Any) -> int:
        done = super().write(data) or 0
        size = len(data)
        while done < size:
            done += super().write(memoryview(data)[done:]) or 0
        return done


class ChildStream(io.TextIOWrapper):
    """`sys.stdout` or `sys.stderr` of a child: unbuffered text into its pipe.

    It says it is a terminal where the parent's stream is one, so that colours and
    progress bars look as they do there.
    """

    def __init__(self, fd: int, name: str) -> None:
        # Raw and unbuffered: whatever way the child ends, what it printed is out.
        super().__init__(
            _WholeWrites(fd, "w", closefd=False),
            encoding="utf-8",
            errors="backslashreplace",
            write_through=True,
        )
        self._stream_name = name

    def attach(self, side: ChildSide, *, terminal: bool) -> None:
        """Belong to the child whose side is `side`."""
        self._side = side
        self._terminal = terminal

    @property
    def name(self) -> str:
        """Return `<stdout>` or `<stderr>`, as Python's own streams do."""
        return f"<{self._stream_name}>"

    def isatty(self) -> bool:
        """Return whether the parent's stream is a terminal."""
        return self._terminal

    def write(self, text: str) -> int:
        """Write `text`, behind all that was written to the other stream.

        A process that this child forks holds a line until its end: several of them
        write at once, and `print` writes a line and its end apart.
        """
        if self._side.last_stream != self._stream_name:
            self._side.turn_to(self._stream_name)
        if not self.line_buffering and not self._side.is_here():
            self.reconfigure(write_through=False, line_buffering=True)
        return super().write(text)


class _Streams(NamedTuple):
    stdin: io.TextIOWrapper
    stdout: ChildStream
    stderr: ChildStream


@functools.cache
def child_streams() -> _Streams:
    """Return the streams that children will use, made once, in the parent."""
    stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    return _Streams(stdin, ChildStream(1, "stdout"), ChildStream(2, "stderr"))


def plan(side: ChildSide, replacements: Replacements) -> None:
    """Have all that write to the parent's streams write to the child's.

    Handlers of logging and others keep the parent's stream objects. A kernel's write
    to its own threads, which do not exist in the child: they get our `write`. A
    file's go to descriptor 1 or 2 anyway, but its lock may be held for ever by a
    thread of the parent: handlers get our stream instead.
    """
    streams = child_streams()
    handlers = list(_stream_handlers())
    for name in STREAMS:
        fresh: ChildStream = getattr(streams, name)
        old = getattr(sys, name)
        fresh.attach(side, terminal=_is_terminal(old))
        kept = [s for s in (old, getattr(sys, f"__{name}__")) if s not in (None, fresh)]
        for stream in kept:
            for method in ("write", "writelines", "flush"):
                replacements.put(stream, method, getattr(fresh, method))
        for handler in handlers:
            if any(handler.stream is stream for stream in kept):
                replacements.put(handler, "stream", fresh)
    for name in streams._fields:
        replacements.put(sys, name, getattr(streams, name))
        replacements.put(sys, f"__{name}__", getattr(streams, name))


def take_descriptors(side: ChildSide) -> None:
    """Put the child's pipes where the parent's output was; leave it its input."""
    for number, name in enumerate(STREAMS, 1):
        os.dup2(side.descriptor(name), number)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except Exception:  # noqa: BLE001 - any stream object may stand there
        return False


def _stream_handlers() -> Iterator[Any]:
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        handler = reference()
        if isinstance(handler, logging.StreamHandler):
            yield handler
