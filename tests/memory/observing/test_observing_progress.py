"""Lines that the observer writes while children run."""

from __future__ import annotations

import os

import pytest

from ipc_magic.memory.figures import total
from ipc_magic.memory.observing.progress import Asked, Progress
from ipc_magic.results import cow_watch_words

KEPT = 1 << 30


@pytest.fixture
def pipe():
    read, write = os.pipe()
    os.set_blocking(read, False)
    yield read, write
    os.close(read)
    os.close(write)


@pytest.fixture
def begin(pipe):
    made = []

    def begin(words=cow_watch_words.so_far, descriptor=pipe[1]):
        asked = Asked(descriptor=descriptor, words=words, keep_free=KEPT)
        made.append(Progress(os.getpid(), asked.message()))
        return made[-1]

    yield begin
    for progress in made:
        progress.close()
        progress.close()


def lines(pipe):
    try:
        return os.read(pipe[0], 1 << 16).decode().splitlines()
    except BlockingIOError:
        return []


def test_a_line_is_written_when_there_is_another_one(begin, pipe):
    progress = begin()
    progress.tell(0, 0, 0, 2 * KEPT)
    assert lines(pipe) == []
    for copied in (1024, 1024, 2048):
        progress.tell(1, copied, 0, None)
    first, second = lines(pipe)
    assert "1 child: copied 1.0 KiB, new 0 B" in first
    assert "2.0 KiB" in second


def test_a_title_ends_no_line_and_a_warning_stands_below(begin, pipe):
    progress = begin(cow_watch_words.in_title)
    progress.tell(0, 0, 0, 2 * KEPT)
    progress.tell(1, 1024, 0, 2 * KEPT)
    progress.tell(1, 2048, 0, KEPT // 2)
    said = os.read(pipe[0], 1 << 16).decode()
    title, warning = said.split("\x07")
    assert title == "\x1b]2;1 child: copied 1.0 KiB, new 0 B so far"
    assert warning.endswith("of memory is free (--keep-free)\n")


def test_what_is_not_known_is_no_zero(begin, pipe):
    begin().tell(2, total([1, None]), total([1, 2]), None)
    (line,) = lines(pipe)
    assert "2 children: copied unknown, new 3 B" in line


def test_a_terminal_is_warned_once(begin, pipe):
    progress = begin(cow_watch_words.warning_alone)
    progress.tell(1, 0, 0, KEPT)
    assert lines(pipe) == []
    for free in (KEPT - 1, KEPT // 2):
        progress.tell(1, 0, 0, free)
    (line,) = lines(pipe)
    assert "less than 1.0 GiB of memory is free" in line


def test_who_does_not_read_is_not_waited_for(begin, pipe):
    progress = begin()
    for copied in range(1, 10_000):  # more than the pipe has room for
        progress.tell(1, copied << 10, 0, None)
    assert lines(pipe)


def test_a_descriptor_that_cannot_be_opened_is_told_nothing(begin):
    begin(descriptor=1 << 20).tell(1, 1, 1, None)
    Progress(os.getpid(), None).tell(1, 1, 1, None)
