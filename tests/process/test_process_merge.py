"""One order out of two pipes and a channel, written by the child's real side."""

from __future__ import annotations

import os
from codecs import getincrementaldecoder
from itertools import groupby
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipc_magic.process import wiring
from ipc_magic.process.child_side import ChildSide
from ipc_magic.process.child_streams import ChildStream
from ipc_magic.process.merge import STREAMS, Merger, Text, mark
from ipc_magic.process.wire import Decoder, Message

TOKEN = b"0123456789abcdef"
HEAD = "\0" + TOKEN.decode() + ":"


class Say(NamedTuple):
    """Python text of the child."""

    stream: str
    text: str


class Raw(NamedTuple):
    """Bytes of C code or of a grandchild, which set no marks."""

    stream: str
    data: bytes


class Show(NamedTuple):
    """A message that has its place among the texts."""

    number: int


class Sent(NamedTuple):
    """What a child sent, as it lies in the pipes and on the channel."""

    stdout: bytes
    stderr: bytes
    messages: list[Message]


def send(script: list[Say | Raw | Show]) -> Sent:
    """Have the child's side write `script`, and take it out of the pipes."""
    wires = wiring.make()
    wires.token = TOKEN
    side = ChildSide(wires)
    side.begin()
    fds = {name: side._fds[name] for name in STREAMS}
    streams = {name: ChildStream(fds[name], name) for name in STREAMS}
    try:
        for stream in streams.values():
            stream.attach(side, terminal=False)
        for step in script:
            if isinstance(step, Say):
                streams[step.stream].write(step.text)
            elif isinstance(step, Raw):
                os.write(fds[step.stream], step.data)
            else:
                side.send_in_order("show", number=step.number)
        texts = {name: read_all(wires.parent[name]) for name in STREAMS}
        messages = list(Decoder().feed(read_all(wires.parent["channel"])))
    finally:
        wires.close_parent_side()
        for fd in side._fds.values():
            os.close(fd)
    return Sent(**texts, messages=messages)


def read_all(fd: int) -> bytes:
    data = b""
    while True:
        try:
            data += os.read(fd, 1 << 20)
        except BlockingIOError:
            return data


def joined(pieces) -> list[tuple[str, object]]:
    """Return what was given out, pieces of one stream that touch put together."""
    named = [
        (p.stream, p.text) if isinstance(p, Text) else ("", p.fields["number"])
        for p in pieces
    ]
    found: list[tuple[str, object]] = []
    for stream, group in groupby(named, key=lambda piece: piece[0]):
        if stream:
            found.append((stream, "".join(str(text) for _, text in group)))
        else:
            found += group
    return found


def meant(script) -> list[tuple[str, object]]:
    """Return what the person should see of `script`."""
    pieces = [
        Message("show", {"number": step.number}) if isinstance(step, Show) else step
        for step in script
    ]
    return joined(
        Text(p.stream, p.text) if isinstance(p, Say) else p
        for p in pieces
        if not (isinstance(p, Say) and not p.text)
    )


# A prefix of a mark, whole marks of others, NULs: a child may print anything.
CURIOUS = [HEAD[:size] for size in range(1, len(HEAD))]
CURIOUS += ["\0", "\0\0\0", "\0x:00000001\0", "\0fedcba9876543210:00000001\0"]
TEXTS = st.lists(
    st.sampled_from(["a", "\n", "é", "€", "😀", "\r", *CURIOUS]), max_size=5
).map("".join)
SAYS = st.builds(Say, st.sampled_from(STREAMS), TEXTS)
SCRIPTS = st.lists(SAYS | st.just(Show(0)), max_size=10).map(
    lambda steps: [
        Show(number) if isinstance(step, Show) else step
        for number, step in enumerate(steps)
    ]
)
# In which order the parent reads how much: from which source, how many bytes.
READS = st.lists(
    st.tuples(st.sampled_from((*STREAMS, "channel")), st.integers(1, 40)), max_size=40
)


class Reader:
    """The parent's side: reads what was sent in a given order and cut."""

    def __init__(self, sent: Sent) -> None:
        self.merger = Merger(TOKEN)
        self.rest = {"stdout": sent.stdout, "stderr": sent.stderr}
        self.messages = list(sent.messages)
        self.pieces: list[Text | Message] = []

    def read(self, source: str, size: int) -> None:
        if source == "channel":
            for message in self.messages[:1]:
                self.merger.put(message.fields["mark"], message)
            del self.messages[:1]
        elif data := self.rest[source][:size]:
            self.rest[source] = self.rest[source][size:]
            self.merger.feed(source, data)
        self.pieces += self.merger.take()

    def read_the_rest(self) -> None:
        for name in STREAMS:
            self.read(name, 1 << 30)
        while self.messages:
            self.read("channel", 1)

    def flush(self) -> None:
        self.pieces += self.merger.flush()


@settings(deadline=None, max_examples=150)
@given(SCRIPTS, READS)
def test_all_comes_out_in_the_order_it_was_made(script, reads):
    reader = Reader(send(script))
    for source, size in reads:
        reader.read(source, size)
    reader.read_the_rest()
    before_the_end = "".join(str(what) for _, what in joined(reader.pieces))
    reader.flush()
    assert joined(reader.pieces) == meant(script)
    # Only what may become a mark waits for the end of the child.
    at_the_end = "".join(str(what) for _, what in joined(reader.pieces))
    kept = at_the_end.removeprefix(before_the_end)
    assert kept == "" or all(part in HEAD for part in kept.split("\0"))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.sampled_from(["stdout", "stderr", "show"]), max_size=12),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 12),
)
def test_what_a_killed_child_left_comes_out_in_order(kinds, out, err, shows):
    script = [
        Show(number) if kind == "show" else Say(kind, f"<{number}>")
        for number, kind in enumerate(kinds)
    ]
    sent = send(script)
    # Of each way something else arrived: whole writes, since a pipe tears none.
    writes = {name: whole_writes(getattr(sent, name)) for name in STREAMS}
    arrived = {"stdout": writes["stdout"][:out], "stderr": writes["stderr"][:err]}
    cut_short = Sent(
        b"".join(arrived["stdout"]), b"".join(arrived["stderr"]), sent.messages[:shows]
    )
    reader = Reader(cut_short)
    reader.read_the_rest()
    reader.flush()
    numbers = [
        int(number)
        for _, what in joined(reader.pieces)
        for number in str(what).strip("<>").split("><")
    ]
    assert numbers == sorted(numbers)
    texts = {int(w[1:-1]) for some in arrived.values() for w in some if w[:1] == b"<"}
    messages = {message.fields["number"] for message in cut_short.messages}
    assert set(numbers) == texts | messages


def whole_writes(data: bytes) -> list[bytes]:
    """Take apart what the script's texts and marks made of it."""
    found = []
    while data:
        end = data.index(b"\0" if data[:1] == b"\0" else b">", 1) + 1
        found.append(data[:end])
        data = data[end:]
    return found


def test_text_is_given_out_at_once_where_no_mark_is_pending():
    merger = Merger(TOKEN)
    for stream in ("stdout", "stderr", "stdout"):
        merger.feed(stream, b"now")
        assert list(merger.take()) == [Text(stream, "now")]


def test_text_behind_a_mark_waits_for_the_other_pipe_only():
    merger = Merger(TOKEN)
    merger.feed("stdout", b"one" + mark(TOKEN, 2) + b"three")
    assert list(merger.take()) == [Text("stdout", "one")]
    merger.feed("stderr", b"two")
    assert list(merger.take()) == [Text("stderr", "two")]
    merger.feed("stderr", mark(TOKEN, 2))
    assert list(merger.take()) == [Text("stdout", "three")]
    merger.feed("stdout", b"four")
    assert list(merger.take()) == [Text("stdout", "four")]


def test_a_message_waits_for_its_marks_and_they_for_it():
    message = Message("show", {})
    early, late = Merger(TOKEN), Merger(TOKEN)
    early.put(1, message)
    assert list(early.take()) == []
    for stream in STREAMS:
        late.feed(stream, mark(TOKEN, 1) + b"after")
    assert list(late.take()) == []
    for stream in STREAMS:
        early.feed(stream, mark(TOKEN, 1))
    late.put(1, message)
    assert list(early.take()) == [message]
    assert next(iter(late.take())) is message


def test_a_torn_mark_is_put_together():
    whole = mark(TOKEN, 2)
    for size in range(1, len(whole)):
        merger = Merger(TOKEN)
        merger.feed("stdout", b"a" + whole[:size])
        merger.feed("stdout", whole[size:] + b"b")
        merger.feed("stderr", whole)
        assert joined(merger.take()) == [("stdout", "ab")]
        assert list(merger.flush()) == []


@pytest.mark.parametrize("text", ["\0", "a\0", HEAD[:5], "x" + HEAD])
def test_what_may_become_a_mark_is_shown_when_it_becomes_none(text):
    merger = Merger(TOKEN)
    merger.feed("stdout", text.encode())
    held = joined(merger.take())
    merger.feed("stdout", b"!" * 40) if text != "x" + HEAD else None
    shown = [*held, *joined(merger.take()), *joined(merger.flush())]
    assert "".join(str(what) for _, what in shown).rstrip("!") == text


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_split_utf8_is_put_together_across_a_mark(cut):
    script = [
        Raw("stdout", "😀".encode()[:cut]),
        Show(1),
        Raw("stdout", "😀".encode()[cut:]),
    ]
    reader = Reader(send(script))
    reader.read_the_rest()
    assert joined(reader.pieces) == [("", 1), ("stdout", "😀")]


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=40), st.lists(st.integers(1, 5), max_size=40))
def test_invalid_bytes_are_replaced_wherever_they_are_cut(data, sizes):
    merger = Merger(TOKEN)
    rest = data
    for size in [*sizes, 40]:
        merger.feed("stderr", rest[:size])
        rest = rest[size:]
    text = "".join(text for _, text in joined([*merger.take(), *merger.flush()]))
    assert text == getincrementaldecoder("utf-8")("replace").decode(data, True)


def test_half_a_character_at_the_end_is_shown_as_invalid():
    merger = Merger(TOKEN)
    merger.feed("stdout", "é".encode()[:1])
    assert list(merger.take()) == []
    assert list(merger.flush()) == [Text("stdout", "\ufffd")]


def test_a_mark_fits_into_one_write_of_a_pipe():
    assert len(mark(TOKEN, 2**32 - 1)) <= 512  # PIPE_BUF is never smaller (POSIX)
    assert len(mark(TOKEN, 2**32 - 1)) == len(mark(TOKEN, 0))
