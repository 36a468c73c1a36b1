"""One order for what a child sent through two pipes and a channel: pure.

Text travels in the pipes of stdout and stderr, displays on the channel. To keep
their order the child writes a numbered mark into both pipes before each message
that belongs between texts, and whenever it turns from one stream to the other.
What both streams wrote before mark k comes before message k, and that before what
they wrote after it. Bytes of C code and of grandchildren need no mark: they fall
where they were written.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from ipc_magic.process.wire import Message

STREAMS = ("stdout", "stderr")
_UTF8 = getincrementaldecoder("utf-8")


class Text(NamedTuple):
    """A piece of text of one of the two streams."""

    stream: str
    text: str


def mark(token: bytes, number: int) -> bytes:
    """Return mark `number`: shorter than PIPE_BUF, so a pipe never tears it."""
    return b"\0%b:%08x\0" % (token, number)


class Merger:
    """Bytes and messages in, texts and messages out in the order they were made.

    Text is given out as soon as it arrives unless a mark before it is still on its
    way in the other pipe.
    """

    def __init__(self, token: bytes) -> None:
        self._head = b"\0%b:" % token
        self._mark_size = len(mark(token, 0))
        self._tails = dict.fromkeys(STREAMS, b"")
        self._decoders = {name: _UTF8(errors="replace") for name in STREAMS}
        # Pieces of each stream not given out yet: bytes, or the number of a mark.
        self._waiting: dict[str, deque[bytes | int]] = {n: deque() for n in STREAMS}
        self._messages: dict[int, Message] = {}

    def feed(self, stream: str, data: bytes) -> None:
        """Take bytes read from a pipe."""
        data = self._tails[stream] + data
        pieces = self._waiting[stream]
        while (at := data.find(self._head)) >= 0:
            end = at + self._mark_size
            if len(data) < end:
                break
            if at:
                pieces.append(data[:at])
            pieces.append(int(data[end - 9 : end - 1], 16))
            data = data[end:]
        keep = self._unfinished_mark(data)
        if len(data) > keep:
            pieces.append(data[: len(data) - keep])
        self._tails[stream] = data[len(data) - keep :] if keep else b""

    def _unfinished_mark(self, data: bytes) -> int:
        """Return how many last bytes of `data` may be the beginning of a mark."""
        at = data.rfind(b"\0", max(0, len(data) - self._mark_size + 1))
        while at >= 0:
            tail = data[at:]
            size = min(len(tail), len(self._head))
            if tail[:size] == self._head[:size]:
                return len(tail)
            at = data.rfind(b"\0", max(0, len(data) - self._mark_size + 1), at)
        return 0

    def put(self, number: int, message: Message) -> None:
        """Take the message that belongs to mark `number`."""
        self._messages[number] = message

    def take(self) -> Iterator[Text | Message]:
        """Yield all that can be given out now, in order."""
        while True:
            for name in STREAMS:
                yield from self._texts(name)
            fronts = [self._waiting[name] for name in STREAMS]
            if not all(fronts):
                return
            number = fronts[0][0]
            assert isinstance(number, int)
            if number & 1 and number not in self._messages:
                return  # the mark of a message that is still on the channel
            for front in fronts:
                front.popleft()
            if number in self._messages:
                yield self._messages.pop(number)

    def flush(self) -> Iterator[Text | Message]:
        """Yield all the rest: the child has ended, what is missing never comes."""
        for name in STREAMS:
            if self._tails[name]:
                self._waiting[name].append(self._tails[name])
                self._tails[name] = b""
        marks = {
            piece
            for name in STREAMS
            for piece in self._waiting[name]
            if isinstance(piece, int)
        }
        for number in sorted(marks | self._messages.keys()):
            for name in STREAMS:
                yield from self._texts(name)
            for name in STREAMS:
                if self._waiting[name] and self._waiting[name][0] == number:
                    self._waiting[name].popleft()
            if number in self._messages:
                yield self._messages.pop(number)
        for name in STREAMS:
            yield from self._texts(name)
            if rest := self._decoders[name].decode(b"", final=True):
                yield Text(name, rest)

    def _texts(self, name: str) -> Iterator[Text]:
        pieces = self._waiting[name]
        while pieces and isinstance(piece := pieces[0], bytes):
            pieces.popleft()
            if text := self._decoders[name].decode(piece):
                yield Text(name, text)
