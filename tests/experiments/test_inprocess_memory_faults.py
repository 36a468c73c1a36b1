"""Measuring goes wrong in the middle: the run goes on, and nothing is left behind."""

from __future__ import annotations

import mmap
import os
import resource
import signal
from contextlib import contextmanager

import numpy  # noqa: F401 - imported here, or the first test would be told to leave it
import pytest

import ipc_magic
from ipc_magic.errors import CannotStart, IpcMagicError
from ipc_magic.memory import handshake, ladder
from ipc_magic.memory.handshake import BEGIN, DONE, SENT, Handshake
from ipc_magic.memory.track import Track
from ipc_magic.memory.witness import WitnessProcess
from ipc_magic.process import fork

PAGE = mmap.PAGESIZE


@pytest.fixture(autouse=True)
def _first_run(ipc_shell):
    """Have the control measured, and all that is made once, before something fails."""
    ipc_shell.run_cell("%%inprocess --save first\npass")
    del ipc_shell.user_ns["first"]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def dies_before_it_asks(monkeypatch):
    monkeypatch.setattr(Handshake, "begin_here", lambda _self: die())


def dies_when_it_has_asked(monkeypatch):
    def begin_here(self):
        self._theirs.sendmsg([BEGIN])
        die()

    monkeypatch.setattr(Handshake, "begin_here", begin_here)


def dies_at(moment, *, asks):
    def arrange(monkeypatch):
        tell_here = Handshake.tell_here

        def tell(self, told):
            if told != moment:
                tell_here(self, told)
                return
            if asks:
                self._theirs.sendall(told)
            die()

        monkeypatch.setattr(Handshake, "tell_here", tell)

    return arrange


def is_killed_in(name):
    """Have the parent kill it at the beginning of what it does to it."""

    def arrange(monkeypatch):
        original = getattr(Track, name)

        def kill_first(self, *args):
            pid = args[0] if name == "follow" else self._pid
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            return original(self, *args)

        monkeypatch.setattr(Track, name, kill_first)

    return arrange


def is_killed_in_a_scan(monkeypatch):
    original = ladder.make

    def kill_then(mechanism, pid, *args):
        made = original(mechanism, pid, *args)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return made

    monkeypatch.setattr(ladder, "make", kill_then)


DEATHS = {
    "before it asks": dies_before_it_asks,
    "when it has asked": dies_when_it_has_asked,
    "before it is done": dies_at(DONE, asks=False),
    "when it is done": dies_at(DONE, asks=True),
    "before it has sent": dies_at(SENT, asks=False),
    "when it has sent": dies_at(SENT, asks=True),
    "as the parent follows": is_killed_in("follow"),
    "as the parent begins": is_killed_in("_begin"),
    "in a scan": is_killed_in_a_scan,
    "as the parent reads": is_killed_in("read"),
    "as the parent reads the sending": is_killed_in("_read_transport"),
}
BEST, *OTHERS = (n for n in ladder.MECHANISMS if ladder.fault_of(n) is None)


@pytest.mark.parametrize(
    "mechanism", [BEST, *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)]
)
@pytest.mark.parametrize("death", DEATHS)
def test_a_child_dies_at_any_moment(death, mechanism, ipc_shell, monkeypatch):
    with monkeypatch.context() as patches:
        DEATHS[death](patches)
        with pytest.raises(IpcMagicError):
            ipc_shell.run_cell(
                f"%%inprocess -n 2 -o x --mechanism {mechanism}\nx = child_index"
            )
    children = ipc_magic.last.children
    assert {child.ending for child in children} <= {"killed", "not_started"}
    assert {child.signal for child in children} == {"SIGKILL"}
    str(ipc_magic.last.details())
    ipc_shell.run_cell(f"%%inprocess -o x --mechanism {mechanism}\nx = 7")
    assert ipc_shell.user_ns.pop("x") == 7


def test_interrupts_that_come_while_it_is_read(ipc_shell, monkeypatch):
    read = Track.read

    def interrupted(self):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        return read(self)

    monkeypatch.setattr(Track, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ipc_shell.run_cell("%%inprocess -n 3\nimport time; time.sleep(60)")
    assert {child.ending for child in ipc_magic.last.children} == {"interrupted"}


@contextmanager
def no_descriptor_to_be_had():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("name", ["follow", "answer", "_begin", "read", "_add_sums"])
def test_no_file_can_be_opened_in_the_middle(name, ipc_shell, monkeypatch):
    original = getattr(Track, name)

    def without(self, *args):
        with no_descriptor_to_be_had():
            return original(self, *args)

    monkeypatch.setattr(Track, name, without)
    ipc_shell.run_cell("%%inprocess -n 2 -o x\nx = child_index")
    assert ipc_shell.user_ns.pop("x") == [0, 1]
    for child in ipc_magic.last.children:
        assert child.memory.mechanism in ladder.MECHANISMS
    if name in ("answer", "_begin"):
        assert {finding.code for finding in ipc_magic.last.findings} >= {"mechanism"}


def test_more_children_than_can_be_measured_run_all_the_same(ipc_shell):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 90
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        ipc_shell.run_cell("%%inprocess -n 9 -o x\nx = child_index")
        (finding,) = ipc_magic.last.findings
        assert finding.code == "unmeasured"
        assert "open files" in finding.message
        ipc_shell.run_cell("%%inprocess -n 2 -o x\nx = child_index")
        assert ipc_magic.last.findings == ()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert ipc_shell.user_ns.pop("x") == [0, 1]


def test_no_witness_is_left_when_a_fork_fails(ipc_shell, monkeypatch):
    witnesses = []
    init, fork_one = WitnessProcess.__init__, fork._fork

    def note(self, **how):
        init(self, **how)
        witnesses.append(self)

    def fail_the_second(body, orders, *args, **more):
        if orders.index:
            raise OSError(11, "Resource temporarily unavailable")
        return fork_one(body, orders, *args, **more)

    ipc_shell.run_cell("%%inprocess --mechanism witness\npass")  # and its control
    monkeypatch.setattr(WitnessProcess, "__init__", note)
    monkeypatch.setattr(fork, "_fork", fail_the_second)
    with pytest.raises(CannotStart, match="child 1 of 2 could not be forked"):
        ipc_shell.run_cell("%%inprocess -n 2 --mechanism witness\npass")
    (witness,) = witnesses
    assert witness._lifeline == -1  # closed: it ends


def test_an_exit_that_fails_is_not_the_last_reading(ipc_shell):
    code = f"""
import mmap, os
try:
    os._exit("no status")
except TypeError:
    pass
made = mmap.mmap(-1, {2000 * PAGE}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(2000):
    made[page * {PAGE}] = 1
"""
    ipc_shell.run_cell(f"%%inprocess{code}")
    assert ipc_magic.last.children[0].memory.new_bytes >= 2000 * PAGE


def test_files_left_open_are_looked_for_after_the_last_reading(ipc_shell):
    # To look at each variable counts a reference to it: a write to its page.
    names = [f"blob_{n}" for n in range(900)]
    for name in names:
        ipc_shell.user_ns[name] = bytes(2 * PAGE)
    ipc_shell.run_cell("%%inprocess -o x\nx = 1")
    memory = ipc_magic.last.children[0].memory
    assert memory.copied_bytes < 2 * memory.baseline_bytes
    if memory.transport_copied_bytes is not None:
        assert memory.transport_copied_bytes > 800 * PAGE
    for name in (*names, "x"):
        del ipc_shell.user_ns[name]


def test_what_a_child_writes_to_an_open_file_is_not_lost(ipc_shell, tmp_path):
    ipc_shell.run_cell(
        f"%%inprocess\nleft_open = open({str(tmp_path / 'file')!r}, 'w')\n"
        "left_open.write('text')"
    )
    assert (tmp_path / "file").read_text() == "text"


def test_moments_are_told_apart():
    assert len({BEGIN, DONE, SENT, handshake._GO}) == 4
