"""Children that end, stop, move away or are replaced while they are measured."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys

import pytest

from ipc_magic.memory import ladder
from ipc_magic.memory.pages import PAGE_BYTES
from ipc_magic.memory.reading import read
from ipc_magic.memory.rungs import exclusive
from ipc_magic.memory.tracker import Tracker

ALL = ladder.MECHANISMS
BY_PAGE = [name for name in ALL if name not in {"smaps", "psutil"}]
LIBC = ctypes.CDLL(None)


def assert_unread(track):
    """Hold that nothing is told of what the child did since it was met.

    It may be read once more: whoever looks at a process in /proc keeps its memory.
    """
    assert track.begun
    assert not track.done
    if track.readings:
        assert (track.figures.copied_bytes or 0) < 300 * PAGE_BYTES
    else:
        assert track.fault == "the process has ended, or executes another program"


@pytest.mark.parametrize("mechanism", ALL)
def test_a_child_that_dies_before_it_is_armed(mechanism, tracked):
    track = tracked(lambda: None, mechanism, before=lambda: os._exit(0))
    assert track.figures is None
    assert not track.begun
    assert track.readings == 0


@pytest.mark.parametrize("mechanism", ALL)
def test_a_child_that_dies_while_it_is_armed(mechanism, tracked, wait_until, state):
    def kill_it(track, pid):
        if not track.begun:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: state(pid) == "Z")

    track = tracked(lambda: None, mechanism, at_rest=kill_it)
    assert track.figures is None
    assert track.readings == 0
    assert track.fault.startswith("the process has ended")


@pytest.mark.parametrize("mechanism", ALL)
def test_a_child_that_dies_before_its_last_reading(mechanism, tracked):
    assert_unread(tracked(lambda: os._exit(3), mechanism))


@pytest.mark.parametrize("mechanism", ALL)
def test_a_child_that_is_stopped_is_read(mechanism, tracked, region):
    some = region(500)
    some.fill()
    told, tells = os.pipe()

    def body():
        some.write(range(100))
        os.write(tells, b"x")
        os.kill(os.getpid(), signal.SIGSTOP)

    def while_stopped(track, pid):
        if not track.begun:
            track.answer()
            os.read(told, 1)
            os.waitpid(pid, os.WUNTRACED)
            track.read()
            assert track.readings == 1
            os.kill(pid, signal.SIGCONT)

    track = tracked(body, mechanism, at_rest=while_stopped)
    os.close(told)
    os.close(tells)
    assert track.readings == 2
    if mechanism in BY_PAGE:
        assert some.numbers(track._rung.ledger.copied) == list(range(100))


@pytest.mark.parametrize("mechanism", [m for m in ALL if m != "psutil"])
def test_a_child_that_executes_another_program(mechanism, tracked):
    program = [sys.executable, "-S", "-c", "x = bytearray(50 << 20)"]
    track = tracked(lambda: os.execv(program[0], program), mechanism)
    assert_unread(track)
    assert track.figures.mechanism == mechanism


def test_a_child_that_becomes_a_daemon(tracked, end_process):
    told, tells = os.pipe()

    def body():
        if os.fork():
            os._exit(0)
        os.setsid()
        if pid := os.fork():
            os.write(tells, str(pid).encode())
            os._exit(0)
        signal.pause()

    track = tracked(body)
    end_process.append(int(os.read(told, 20)))
    os.close(told)
    os.close(tells)
    assert track.begun
    assert not track.done


def test_a_daemon_that_says_it_is_done_is_not_taken_for_the_child(tracked, region):
    some = region(1000)
    some.fill()

    def body():
        if os.fork():
            os._exit(0)
        some.write(range(1000))  # returns to the end of the child's code

    track = tracked(body)
    assert track.readings == 0 or track.figures.copied_bytes < 500 * PAGE_BYTES


@pytest.mark.parametrize("mechanism", BY_PAGE)
def test_a_child_that_closes_all_descriptors(mechanism, tracked, region):
    some = region(500)
    some.fill()
    shared = os.memfd_create("ready")
    os.truncate(shared, PAGE_BYTES)

    def body():
        some.write(range(77))
        os.closerange(0, 4096)
        signal.pause()

    def when_it_waits(track, pid):
        if track.begun:  # it is not: its end was closed
            while state_letter(pid) != "S":
                pass

    track = tracked(body, mechanism, at_rest=when_it_waits)
    os.close(shared)
    assert not track.done
    assert track.readings == 1
    assert some.numbers(track._rung.ledger.copied) == list(range(77))


def state_letter(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_a_socket_opened_in_the_place_of_the_meeting_is_left_alone(tracked):
    ours, theirs = socket.socketpair()

    def body():
        for fd in range(3, 256):
            if fd != theirs.fileno():
                os.dup2(theirs.fileno(), fd)
        ours.detach()

    track = tracked(body)
    theirs.close()
    assert ours.recv(10) == b""  # nothing was sent on what is the user's
    ours.close()
    assert not track.done


@pytest.mark.parametrize("mechanism", [name for name in BY_PAGE if name != "pfn"])
def test_a_child_that_forks_while_it_is_read(mechanism, tracked, region):
    some = region(2000)
    some.fill()

    def body():
        for i in range(20):
            if not (pid := os.fork()):
                some.write(range(1000, 2000))
                os._exit(0)
            some.write(range(i * 10, i * 10 + 10))
            os.waitpid(pid, 0)

    def read_on(track, _pid):
        if not track.begun:
            track.answer()
            for _ in range(30):
                track.read()
            track.begun = True

    track = tracked(body, mechanism, at_rest=read_on)
    assert track.done
    assert some.numbers(track._rung.ledger.copied) == list(range(200))


@pytest.mark.parametrize("mechanism", ALL)
def test_a_child_that_unmaps_everything(mechanism, tracked):
    def body():
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        LIBC.munmap(ctypes.c_void_p(0), ctypes.c_size_t(0x7FFFFFFFF000))

    assert_unread(tracked(body, mechanism))


def test_a_process_that_has_unmapped_all_but_ended_has_no_pages(monkeypatch):
    monkeypatch.setattr(exclusive, "private_ranges", lambda _mappings: [])
    rung = exclusive.Exclusive(os.getpid())
    try:
        held, own = rung.pages()
    finally:
        rung.close()
    assert held.count == own.count == 0


def cut(region, count):
    """Have the kernel keep each page of a region in a mapping of its own."""
    for i in range(0, count, 2):
        at = ctypes.c_void_p(region.address + i * PAGE_BYTES)
        assert LIBC.mprotect(at, ctypes.c_size_t(PAGE_BYTES), 5) == 0  # read, execute


@pytest.mark.parametrize("by", ["parent", "child"])
def test_ten_thousand_mappings(by, family, region):
    some = region(20_000)
    actions = some.actions()
    actions["cut"] = lambda: cut(some, 10_000)
    writable = list(range(1, 10_000, 99))  # odd from here on by even steps
    writable = [i | 1 for i in writable]
    rungs = [n for n in ("uffd", "exclusive", "pfn") if ladder.fault_of(n) is None]
    parent = family(actions)
    if by == "parent":
        parent.do("cut")
    child = parent.born(*rungs)
    if by == "child":
        child.do("cut")
    with open(f"/proc/{child.pid}/maps", "rb") as maps:
        assert len(maps.readlines()) > 10_000
    child.do("write", writable)
    child.look()
    for name, rung in child.rungs.items():
        assert some.numbers(rung.ledger.copied) == writable, name
        assert (rung.ledger.inherited & some.pages) == some.pages, name
        assert not (rung.ledger.gone & some.pages).count, name


# Processes that are gone, and others in their place.


def test_a_process_that_is_gone_cannot_be_read():
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
    with pytest.raises(ProcessLookupError):
        read(process.pid)


@pytest.mark.parametrize("pid", [0, -1, -(1 << 22), 1 << 30])
def test_what_is_no_pid_cannot_be_read(pid):
    with pytest.raises(ProcessLookupError, match=f"there is no process {pid}"):
        read(pid)


def test_a_zombie_cannot_be_read(wait_until, state):
    if not (pid := os.fork()):
        os._exit(0)
    wait_until(lambda: state(pid) == "Z")
    with pytest.raises(ProcessLookupError):
        read(pid)
    os.waitpid(pid, 0)


def test_a_child_that_is_gone_when_it_is_followed(tracked):
    with Tracker() as tracker, tracker.track() as track:
        if not (pid := os.fork()):
            os._exit(0)
        os.waitpid(pid, 0)
        track.follow(pid)
        track.serve()
        track.read()
    assert track.figures is None


def fork_with_pid(pid, action):
    """Fork until a process has this pid; return whether one has."""
    for _ in range(20):
        try:
            with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as file:
                file.write(str(pid - 1))
        except OSError:
            return False
        if not (got := os.fork()):
            try:
                action()
            finally:
                os._exit(0)
        if got == pid:
            return True
        os.kill(got, signal.SIGKILL)
        os.waitpid(got, 0)
    return False


@pytest.mark.parametrize("mechanism", ALL)
def test_whoever_gets_the_pid_is_not_taken_for_the_child(mechanism, end_process):
    with Tracker(mechanism) as tracker, tracker.track() as track:
        if not (pid := os.fork()):
            track.begin_here()
            signal.pause()
        track.follow(pid)
        assert track.answer()
        met = track.figures
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if not fork_with_pid(pid, signal.pause):
            pytest.skip("no process can be given this pid here")
        try:
            track.read()
            assert track.readings == 0
            assert track.figures == met
            assert track.fault
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
