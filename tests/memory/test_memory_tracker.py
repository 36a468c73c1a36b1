"""Children followed from their fork to their last reading."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import socket
import struct
import time

import pytest

from ipc_magic.errors import OptionError
from ipc_magic.memory import ladder, userfault
from ipc_magic.memory.handshake import Handshake
from ipc_magic.memory.pages import PAGE_BYTES, Pages
from ipc_magic.memory.rungs.exclusive import Exclusive
from ipc_magic.memory.rungs.pfn import Frames
from ipc_magic.memory.rungs.uffd import Uffd
from ipc_magic.memory.tracker import Tracker

BY_PAGE = [name for name in ladder.MECHANISMS if name not in {"smaps", "psutil"}]
pytestmark = pytest.mark.usefixtures("no_collections")


def works(name):
    return ladder.fault_of(name) is None


def best():
    return next(filter(works, ladder.MECHANISMS))


@pytest.mark.parametrize("mechanism", BY_PAGE)
def test_the_pages_that_the_body_writes_are_counted(mechanism, tracked, region):
    some = region(500)
    some.fill()
    track = tracked(lambda: some.write(range(0, 500, 5)), mechanism)
    assert some.numbers(track._rung.ledger.copied) == list(range(0, 500, 5))
    figures = track.figures
    assert figures.mechanism == mechanism
    assert figures.copied_bytes == track._rung.ledger.copied.size
    assert figures.end_copied_bytes == figures.copied_bytes
    assert figures.inherited_bytes > some.pages.size
    assert figures.gone_bytes == figures.unmeasured_bytes == 0
    assert (figures.written_bytes is not None) == (mechanism == "uffd")
    assert (figures.witness_seconds is not None) == (mechanism == "witness")
    assert track.done
    assert track.begun
    assert track.readings == 1
    assert track.fault is None


def test_the_sums_tell_less(tracked, region):
    some = region(3000)
    some.fill()
    few = tracked(lambda: some.write([1]), "smaps").figures
    many = tracked(lambda: some.write(range(2001)), "smaps").figures
    assert 1850 < (many.copied_bytes - few.copied_bytes) // PAGE_BYTES < 2150
    unique = [
        tracked(lambda n=n: some.write(range(n)), "psutil").figures for n in (1, 2001)
    ]
    grown = (unique[1].unique_bytes - unique[0].unique_bytes) // PAGE_BYTES
    assert 1850 < grown < 2150
    for figures in unique:
        assert figures.copied_bytes is figures.inherited_bytes is None
        assert figures.new_bytes is figures.gone_bytes is None
    assert not any(f.exact for f in (few, many, *unique))


def test_pages_written_are_frames_changed_and_pages_given_up(tracked, region):
    if not (works("pfn") and works("uffd")):
        pytest.skip("needs uffd, and pfn, which is for root")
    some = region(500)
    some.fill()
    others = []

    def look(track, pid):
        if not others:
            others.extend([Frames(pid), Exclusive(pid)])
            for rung in others:
                rung.begin()
        elif len(others) == 2:
            others.append(None)
            for rung in others[:2]:
                rung.read()
                rung.close()

    track = tracked(
        lambda: some.write(range(100)), "uffd", at_rest=look, parent_waits=True
    )
    frames, exclusive, _ = others
    written = track._rung.ledger.copied
    assert frames.ledger.copied - written == Pages()
    assert some.numbers(frames.ledger.copied) == list(range(100))
    # The rest the child had written before it was met, or this process since the fork.
    own = exclusive.ledger.copied | exclusive._own_before
    assert written - frames.ledger.copied - own == Pages()


def test_what_sending_copies_is_counted_apart(tracked, region):
    some = region(500)
    some.fill()

    def send(track):
        some.write(range(50, 400))
        track.sent_here()

    track = tracked(lambda: some.write(range(100)), after=send)
    assert track.figures.mechanism in BY_PAGE
    sent = track.figures.transport_copied_bytes // PAGE_BYTES
    assert 300 <= sent < 400
    assert track.figures.copied_bytes < 300 * PAGE_BYTES
    assert tracked(lambda: None).figures.transport_copied_bytes is None


def test_a_reading_on_the_way_keeps_what_was_copied(tracked, region, wait_until, state):
    some = region(500)
    some.fill()
    told, tells = os.pipe()
    back, goes = os.pipe()

    def body():
        some.write(range(100))
        os.write(tells, b"x")
        os.read(back, 1)
        some.advise(mmap.MADV_DONTNEED, 0, 500)

    def on_the_way(track, pid):
        if track.begun and not track.done and track.readings == 0:
            return
        if not track.begun:
            track.answer()
            os.read(told, 1)
            wait_until(lambda: state(pid) == "S")
            assert track.read() > 0
            assert track.figures.copied_bytes >= 100 * PAGE_BYTES
            os.write(goes, b"x")

    track = tracked(body, at_rest=on_the_way)
    for fd in (told, tells, back, goes):
        os.close(fd)
    assert track.readings == 2
    assert track.figures.copied_bytes >= 100 * PAGE_BYTES
    assert some.numbers(track._rung.ledger.copied) == list(range(100))
    assert some.numbers(track._rung.ledger.end_copied) == []
    assert track.figures.gone_bytes >= 500 * PAGE_BYTES
    assert track.read() == 0.0  # after the last reading there is none


def test_exact_is_said_where_it_is(tracked):
    def exact(mechanism, **how):
        return tracked(lambda: None, mechanism, **how).figures.exact

    if works("uffd"):
        assert exact("uffd", parent_waits=True)
        assert not exact("uffd")
    if works("pfn"):
        assert exact("pfn")
    assert exact("witness")
    assert not exact("exclusive")


def test_a_witness_that_ended_makes_nothing_exact(tracked, wait_until, state):
    witnesses = []

    def kill_it(track, _pid):
        if not witnesses:
            witnesses.append(track._witness.pid)
            os.kill(track._witness.pid, signal.SIGKILL)
            wait_until(lambda: state(witnesses[0]) in {"", "Z"})

    track = tracked(lambda: None, "witness", at_rest=kill_it)
    assert not track.figures.exact


def test_pages_shared_with_a_grandchild_make_nothing_exact(tracked, end_process):
    told, tells = os.pipe()

    def body():
        if not (pid := os.fork()):
            os.setsid()
            signal.pause()
        os.write(tells, str(pid).encode())

    track = tracked(body, "witness")
    end_process.append(int(os.read(told, 20)))
    os.close(told)
    os.close(tells)
    assert not track.figures.exact


UFFDIO_API, UFFDIO_REGISTER, MODE_MISSING = 0xC018AA3F, 0xC020AA00, 1


@pytest.mark.parametrize("theirs", ["waits", "notes writes"])
def test_what_cannot_be_watched_is_named(theirs, tracked, region):
    if not works("uffd"):
        pytest.skip("no uffd here")
    some = region(500)
    some.fill()
    creator = userfault.Creator()
    kept = []

    def of_its_own():
        kept.append(creator.create())
        start, size = some.address, 200 * PAGE_BYTES
        if theirs == "notes writes":
            userfault.negotiate(kept[0])
            userfault.register(kept[0], [(start, start + size)])
        else:
            fcntl.ioctl(kept[0], UFFDIO_API, struct.pack("3Q", 0xAA, 0, 0))
            mapping = struct.pack("4Q", start, size, MODE_MISSING, 0)
            fcntl.ioctl(kept[0], UFFDIO_REGISTER, mapping)

    track = tracked(
        lambda: some.write(range(150, 250)),
        "uffd",
        before=of_its_own,
        parent_waits=True,
    )
    # One that notes writes as ours does serves as well as ours.
    unmeasured = 200 if theirs == "waits" else 0
    figures = track.figures
    assert figures.unmeasured_bytes == unmeasured * PAGE_BYTES
    assert figures.inherited_bytes > 500 * PAGE_BYTES
    copied = range(max(150, unmeasured), 250)
    assert some.numbers(track._rung.ledger.copied) == list(copied)
    assert figures.exact == (not unmeasured)
    assert figures.new_bytes < 90 * PAGE_BYTES


# How a mechanism is chosen.


def test_the_best_that_works_is_taken():
    assert ladder.choose() == best()


def test_one_can_be_forced(monkeypatch):
    monkeypatch.setenv(ladder.ENVIRONMENT, "smaps")
    assert Tracker().mechanism == "smaps"
    assert Tracker("exclusive").mechanism == "exclusive"
    monkeypatch.setenv(ladder.ENVIRONMENT, "")
    assert Tracker().mechanism == best()


@pytest.mark.parametrize("name", ["tea leaves", "UFFD", "x" * 1000])
def test_one_that_is_none_is_refused(name):
    with pytest.raises(OptionError, match="a mechanism is uffd, witness, ") as caught:
        Tracker(name)
    assert len(str(caught.value)) < 200


def test_one_that_does_not_work_is_refused(monkeypatch):
    monkeypatch.setattr(ladder, "fault_of", lambda name: f"no {name} today")
    with pytest.raises(OptionError, match="uffd does not work here: no uffd today"):
        Tracker("uffd")


@pytest.mark.parametrize("above", ladder.MECHANISMS)
def test_what_comes_below_can_still_be_had(above):
    names = ladder.below(above)
    assert "uffd" not in names  # the child made no descriptor
    assert "witness" not in names  # nobody holds the originals
    assert above not in names
    assert above == "psutil" or names[-1] == "psutil"


# How child and parent meet.


def test_a_default_timeout_of_the_users_does_not_hold_for_the_meeting(monkeypatch):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.001)
    try:
        handshake = Handshake(None)
        assert handshake._theirs.gettimeout() is None
        handshake._theirs.send(b"b")
        assert handshake.take() == (b"b", -1)
        assert os.get_blocking(handshake.fileno())
        handshake.let_go()
        assert os.get_blocking(handshake.fileno())
        handshake.close_theirs()
        handshake.close()
    finally:
        socket.setdefaulttimeout(before)


def test_sigpipe_with_its_default_ends_nobody(apart):
    def without_readers():
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        handshake = Handshake(None)
        handshake.close_theirs()
        handshake.let_go()  # the child has ended
        handshake.close()
        other = Handshake(None)
        other.close()
        other.begin_here()  # the parent has ended
        other.tell_here(b"d")
        return "alive"

    assert apart(without_readers) == "alive"


def test_a_child_that_ends_before_it_read_our_answer_is_no_error(tracked):
    def stop_and_kill(track, pid):
        if not track.begun:
            os.kill(pid, signal.SIGSTOP)
            assert track.answer()
            os.kill(pid, signal.SIGKILL)

    track = tracked(lambda: None, at_rest=stop_and_kill)
    assert track.readings == 0
    assert track.fault


def test_who_is_met_twice_is_met_once():
    with Tracker() as tracker, tracker.track() as track:
        if not (pid := os.fork()):
            try:
                track.begin_here()
                if not (grandchild := os.fork()):
                    track.begin_here()
                    os._exit(0)
                os.waitpid(grandchild, 0)
                track.done_here()
            finally:
                os._exit(0)
        track.follow(pid)
        track.serve()
        os.waitpid(pid, 0)
    assert track.done


def test_serving_ends_with_the_child_whoever_holds_its_socket(end_process):
    told, tells = os.pipe()
    with Tracker() as tracker, tracker.track() as track:
        if not (pid := os.fork()):
            try:
                track.begin_here()
                if not (grandchild := os.fork()):
                    signal.pause()
                os.write(tells, str(grandchild).encode())
            finally:
                os._exit(0)
        track.follow(pid)
        track.serve()
        os.waitpid(pid, 0)
    end_process.append(int(os.read(told, 20)))
    os.close(told)
    os.close(tells)
    assert track.begun
    assert not track.done


@pytest.mark.parametrize("siblings", [1, 2])
@pytest.mark.parametrize("moment", ["begin", "done"])
def test_children_go_on_when_the_parent_dies(moment, siblings):
    told, tells = os.pipe()
    if not (parent := os.fork()):
        try:
            tracker = Tracker("exclusive")
            tracks = [tracker.track() for _ in range(siblings)]
            for track in tracks:
                if not (pid := os.fork()):
                    track.begin_here()
                    track.done_here()
                    os.write(tells, b"goes on\n")
                    os._exit(0)
                track.follow(pid)
            if moment == "done":
                for track in tracks:
                    track.answer()
            os.kill(os.getpid(), signal.SIGSTOP)
        finally:
            os._exit(1)
    os.close(tells)
    os.waitpid(parent, os.WUNTRACED)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    with open(told, "rb") as file:
        assert file.read() == b"goes on\n" * siblings


def test_the_parent_keeps_nothing_open():
    held, released = set(), set()

    def hold(fd):
        held.add(fd)
        return fd

    def release(fd):
        released.add(fd)
        os.close(fd)

    def closes_on_exec(fd):
        return bool(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)

    how = {"hold": hold, "release": release}
    with Tracker("witness", **how) as tracker, tracker.track() as track:
        assert len(held) == 2  # the end of the meeting, the witness's lifeline
        assert all(map(closes_on_exec, held))
        track.close()
    assert held == released


@pytest.mark.parametrize("mechanism", ["uffd"])
def test_a_reading_takes_what_it_computes(mechanism, tracked, monkeypatch):
    read, took = Uffd.read, []

    def held_up(rung):
        time.sleep(0.2)  # as when the machine has no time for it
        return read(rung)

    def read_once(track, _pid):
        with monkeypatch.context() as patches:
            patches.setattr(Uffd, "read", held_up)
            took.append(track.read())

    tracked(lambda: None, mechanism, at_rest=read_once)
    assert 0 < max(took) < 0.1, "what it waited is none of it"
