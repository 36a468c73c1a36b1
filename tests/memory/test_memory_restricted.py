"""Systems that refuse something, built for real in a process of their own.

The next mechanism is taken and named, nothing fails, and what is called exact is.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import struct

import pytest

from ipc_magic.memory import ladder, probe, userfault
from ipc_magic.memory.pages import Pages
from ipc_magic.memory.reading import read
from ipc_magic.memory.rungs.exclusive import Exclusive
from ipc_magic.memory.tracker import Tracker

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="takes rights away, which root has")
LIBC = ctypes.CDLL(None, use_errno=True)
NOBODY = 65534
K = 321  # how many pages the child writes

PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
CLONE_NEWNS, MS_RDONLY, MS_REC, MS_PRIVATE = 0x20000, 1, 0x4000, 1 << 18
PAGEMAP_SCAN = 0xC0606610


def call(function, *arguments):
    """Call a function of the C library; raise what it fails with."""
    if getattr(LIBC, function)(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")


def become_nobody():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # As after execve(2): a change of users made it not dumpable (proc(5)).
    call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)


def become_secret():
    if ROOT:
        become_nobody()
    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)


# What Docker leaves to root, by number (linux/capability.h).
OF_DOCKER = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)


def drop_capabilities():
    kept = sum(1 << number for number in OF_DOCKER)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header = struct.pack("Ii", 0x20080522, 0)  # version 3, this process
    data = struct.pack("6I", low, low, 0, high, high, 0)
    call("capset", header, data)


def hide(path):
    call("unshare", CLONE_NEWNS)
    call("mount", None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
    call("mount", b"tmpfs", path, b"tmpfs", ctypes.c_ulong(MS_RDONLY), None)


def hide_proc():
    hide(b"/proc")


def hide_shm():
    hide(b"/dev/shm")


def measured(region, mechanism=None):
    """Measure a child that writes K pages; return what is told, as plain values."""
    some = region(1000)
    some.fill()
    with Tracker(mechanism) as tracker, tracker.track() as track:
        if not (pid := os.fork()):
            try:
                track.begin_here()
                some.write(i * 3 for i in range(K))
                track.done_here()
            finally:
                os._exit(0)
        track.follow(pid)
        track.serve()
        os.waitpid(pid, 0)
    rung = track._rung
    pages = some.numbers(rung.ledger.copied) if hasattr(rung, "ledger") else None
    return {
        "tracker": tracker.mechanism,
        "mechanism": track.figures.mechanism,
        "exact": track.figures.exact,
        "fault": track.fault,
        "no_witness": tracker.no_witness,
        "right": pages == [i * 3 for i in range(K)],
        "copied": track.figures.copied_bytes,
        "unique": track.figures.unique_bytes,
        "done": track.done,
        "faults": {name: ladder.fault_of(name) for name in ladder.MECHANISMS},
    }


@pytest.fixture
def restricted(apart, region):
    """Give a function that measures a child in a process made so."""

    def run(*restrictions, mechanism=None):
        def there():
            for restrict in restrictions:
                restrict()
            return measured(region, mechanism)

        told = apart(there)
        assert told["done"]
        assert told["fault"] is None
        return told

    return run


HERE = {name: ladder.fault_of(name) for name in ladder.MECHANISMS}
without_uffd = pytest.mark.skipif(bool(HERE["uffd"]), reason=f"uffd: {HERE['uffd']}")


def test_nothing_refused(restricted):
    told = restricted()
    assert told["tracker"] == told["mechanism"]
    assert told["faults"] == HERE
    assert told["right"] == (told["mechanism"] in {"uffd", "witness", "exclusive"})


@needs_root
@without_uffd
def test_an_ordinary_user(restricted):
    told = restricted(become_nobody)
    assert told["mechanism"] == "uffd"
    assert told["right"]
    works = [name for name, fault in told["faults"].items() if fault is None]
    assert works == ["uffd", "witness", "exclusive", "smaps", "psutil"]
    assert "CAP_SYS_ADMIN" in told["faults"]["pfn"]


@needs_root
@pytest.mark.parametrize("mechanism", ["uffd", "witness", "exclusive"])
def test_each_mechanism_is_right_for_an_ordinary_user(mechanism, restricted):
    told = restricted(become_nobody, mechanism=mechanism)
    assert told["mechanism"] == mechanism
    assert told["right"]


def test_a_process_that_is_not_dumpable(restricted):
    told = restricted(become_secret)
    assert told["tracker"] == told["mechanism"] == "psutil"
    assert told["copied"] is None
    assert told["unique"] is None  # not 0: it may not be looked at
    assert not told["exact"]
    for name in ("uffd", "witness", "exclusive", "smaps", "pfn"):
        assert "Permission denied" in told["faults"][name]


@needs_root
@without_uffd
def test_root_with_the_capabilities_of_a_container(restricted):
    told = restricted(drop_capabilities)
    assert told["mechanism"] == "uffd"
    assert told["right"]
    assert "CAP_SYS_ADMIN" in told["faults"]["pfn"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_no_userfaultfd(seccomp, code, restricted):
    told = restricted(lambda: seccomp.refuse("userfaultfd", code))
    assert told["mechanism"] == "witness"
    assert told["exact"]
    assert told["right"]
    assert told["faults"]["uffd"] == "the child could not make a userfaultfd"


def test_userfaultfd_is_deadly(seccomp, restricted):
    told = restricted(lambda: seccomp.refuse("userfaultfd", seccomp.KILL))
    assert told["mechanism"] == "witness"
    assert told["right"]
    assert "did not answer" in told["faults"]["uffd"]


@pytest.mark.parametrize("code", [errno.ENOTTY, errno.EPERM, 0])
def test_no_pagemap_scan(seccomp, code, restricted):
    told = restricted(lambda: seccomp.refuse("ioctl", code, PAGEMAP_SCAN))
    assert told["mechanism"] == "witness"
    assert told["right"]
    expected = os.strerror(code) if code else "walked nowhere"
    assert expected in told["faults"]["uffd"]


UFFDIO_API, UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00


@pytest.mark.parametrize("code", [errno.EINVAL, 0])
@pytest.mark.parametrize("request_number", [UFFDIO_API, UFFDIO_REGISTER])
def test_a_userfaultfd_that_does_nothing(seccomp, code, request_number, restricted):
    told = restricted(lambda: seccomp.refuse("ioctl", code, request_number))
    assert told["mechanism"] == "witness"
    assert told["right"]
    assert told["faults"]["uffd"]


@pytest.mark.parametrize("name", ["vmsplice", "process_vm"])
def test_calls_that_are_not_needed(seccomp, name, restricted):
    told = restricted(lambda: seccomp.refuse(name, errno.EPERM))
    assert told["faults"] == HERE
    assert told["mechanism"] == ladder.choose()
    assert told["right"]


@needs_root
def test_all_of_these_at_once(seccomp, restricted):
    told = restricted(
        become_nobody,
        lambda: seccomp.refuse("userfaultfd", errno.EPERM),
        lambda: seccomp.refuse("ioctl", errno.ENOTTY, PAGEMAP_SCAN),
    )
    assert told["mechanism"] == "witness"
    assert told["right"]


@needs_root
def test_no_proc(restricted):
    told = restricted(hide_proc)
    assert told["tracker"] == told["mechanism"] == "psutil"
    assert told["unique"] is told["copied"] is None
    for name in ("uffd", "witness", "exclusive", "smaps", "pfn"):
        assert "No such file" in told["faults"][name]


@needs_root
def test_no_proc_and_one_process_is_read(apart):
    def there():
        hide_proc()
        try:
            read(os.getppid())
        except PermissionError as error:
            return str(error)

    assert f"/proc does not show process {os.getpid()}" in apart(there)


@needs_root
def test_no_shared_memory(restricted):
    told = restricted(hide_shm)
    assert told["faults"] == HERE
    assert told["right"]


def test_a_process_that_is_not_dumpable_cannot_be_read(apart):
    def there():
        if ROOT:
            become_nobody()
        told, tells = os.pipe()
        if not (pid := os.fork()):
            call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
            os.write(tells, b"x")
            signal.pause()
        os.read(told, 1)
        try:
            read(pid)
        except PermissionError as error:
            return error.errno
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    assert apart(there) == errno.EACCES


# Kernels that cannot be built here.


class SeesNothing(Exclusive):
    def read(self):
        figures = super().read()
        self.ledger.copied = Pages()
        return figures


class SeesAll(Exclusive):
    def read(self):
        figures = super().read()
        self.ledger.copied = self.ledger.inherited
        return figures


class InheritsNothing(Exclusive):
    def read(self):
        figures = super().read()
        self.ledger.inherited = Pages()
        return figures


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (SeesNothing, "it does not see which page a child wrote"),
        (SeesAll, "it does not see which page a child wrote"),
        (InheritsNothing, "it does not see the pages of a child"),
        (Exclusive, None),
    ],
)
def test_a_mechanism_that_answers_wrongly_does_not_work(kind, words):
    assert probe.fault_of(lambda pid, _descriptor: kind(pid), None) == words


@pytest.mark.parametrize("features", [0, 1 << 13, (1 << 15) - 1])
def test_a_userfaultfd_that_cannot_note_writes_is_refused(features, monkeypatch):
    def ioctl(_descriptor, _request, argument):
        argument[:] = struct.pack("3Q", 0xAA, features, 0)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    with pytest.raises(OSError, match="cannot note writes by itself"):
        userfault.negotiate(-1)


# Rights that go away after the mechanism was chosen.


def test_a_child_that_makes_itself_secret(apart, region):
    def there():
        if ROOT:
            become_nobody()
        some = region(100)
        some.fill()
        with Tracker() as tracker, tracker.track() as track:
            if not (pid := os.fork()):
                try:
                    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
                    track.begin_here()
                    track.done_here()
                finally:
                    os._exit(0)
            track.follow(pid)
            track.serve()
            os.waitpid(pid, 0)
        figures = track.figures
        return [figures.mechanism, figures.copied_bytes, figures.exact, track.fault]

    mechanism, copied, exact, fault = apart(there)
    assert (mechanism, copied, exact) == ("psutil", None, False)
    assert fault == "Permission denied"


@without_uffd
def test_a_child_in_a_sandbox_of_its_own(seccomp, apart, region):
    def there():
        some = region(1000)
        some.fill()
        with Tracker("uffd", parent_waits=True) as tracker, tracker.track() as track:
            if not (pid := os.fork()):
                try:
                    seccomp.refuse("userfaultfd", errno.EPERM)
                    track.begin_here()
                    some.write(range(K))
                    track.done_here()
                finally:
                    os._exit(0)
            track.follow(pid)
            track.serve()
            os.waitpid(pid, 0)
        copied = some.numbers(track._rung.ledger.copied)
        return [track.figures.mechanism, track.figures.exact, track.fault, copied]

    mechanism, exact, fault, copied = apart(there)
    assert (mechanism, exact) == ("exclusive", False)
    assert fault == "the child could not make a userfaultfd"
    assert copied == list(range(K))


@needs_root
def test_a_user_who_may_have_no_more_processes(apart):
    def there():
        become_nobody()
        tracker = Tracker("witness")
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        with tracker:
            return [tracker.mechanism, tracker.no_witness]

    mechanism, why = apart(there)
    assert mechanism == "exclusive"
    assert os.strerror(errno.EAGAIN) in why
