"""Where nobody may trace, children ask for their last reading as they end."""

from __future__ import annotations

import platform

import pytest

from ipc_magic.memory.pages import PAGE_BYTES

PTRACE = {"x86_64": 101, "aarch64": 117}
pytestmark = pytest.mark.skipif(
    platform.machine() not in PTRACE, reason="no number of ptrace is known here"
)

# seccomp(2): the filter answers EPERM to one system call, as a sandbox may.
REFUSE = """
    import ctypes, os, signal, struct, sys
    def instruction(code, yes, no, k):
        return struct.pack("HBBI", code, yes, no, k)
    program = ctypes.create_string_buffer(b"".join([
        instruction(0x20, 0, 0, 0),  # load the number of the call
        instruction(0x15, 0, 1, {number}),  # skip one unless it is that
        instruction(0x06, 0, 0, 0x00050001),  # EPERM
        instruction(0x06, 0, 0, 0x7FFF0000),  # allow
    ]))
    filter = struct.pack("HxxxxxxQ", 4, ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, filter) == 0
    import mmap, multiprocessing, time
    fork = multiprocessing.get_context("fork")
    known = mmap.mmap(-1, 1000 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE)
    known.madvise(mmap.MADV_NOHUGEPAGE)
    def write(made=known):
        for page in range(1000):
            made[page * mmap.PAGESIZE] = 1
    write()
"""
NOISE = 600  # what the end of a child copies by itself


def refused(program: str) -> str:
    return REFUSE.format(number=PTRACE[platform.machine()]) + program


def test_children_are_read_where_python_runs_their_end(run_watched):
    found = run_watched(
        refused(
            """
    exit_before = os._exit
    # watched
    ends = (lambda: os._exit(5), lambda: sys.exit(6), lambda: None)
    pids = []
    for end in ends[:1]:
        if not (pid := os.fork()):
            write()
            end()
        pids.append([pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])])
    if not (pid := os.fork()):
        write()
        sys.stdout = None
        sys.exit(6)
    pids.append([pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])])
    process = fork.Process(target=write)
    process.start()
    process.join()
    pids.append([process.pid, process.exitcode])
    out["same"] = os._exit is exit_before
    out["pids"] = pids
    """
        )
    )
    assert found.out["same"], "the session's own is as it was"
    assert [code for _, code in found.out["pids"]] == [5, 6, 0]
    for pid, code in found.out["pids"]:
        child = found.by_pid(pid)
        assert "traced" in child.fault
        assert child.last_seen_seconds is None
        assert 0 <= child.copied_bytes // PAGE_BYTES - 1000 < NOISE + 600 * (code == 6)
        assert child.exit_code == (code if code != 6 else None)
        assert not child.alive


def test_of_a_killed_child_the_last_reading_while_it_ran_is_told(run_watched):
    found = run_watched(
        refused(
            """
    read, wr = os.pipe()
    # watched
    if not (pid := os.fork()):
        write()
        os.write(wr, b"1")
        time.sleep(60)
    os.read(read, 1)
    while not watch.look() or not watch.look()[0].timeline[-1][1] > 1000 * 4096:
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    """
        )
    )
    (child,) = found.children
    assert child.last_seen_seconds is not None
    assert not child.alive
    assert (child.exit_code, child.signal) == (None, None)
    assert 0 <= child.copied_bytes // PAGE_BYTES - 1000 < NOISE


def test_a_grandchild_asks_for_itself(run_watched):
    found = run_watched(
        refused(
            """
    # watched
    if not (pid := os.fork()):
        if not (below := os.fork()):
            write()
            os._exit(3)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(below, 0)[1]))
    out["code"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    """
        )
    )
    assert found.out["code"] == 3
    parent, below = found.children
    assert parent.copied_bytes // PAGE_BYTES < NOISE
    assert 0 <= below.copied_bytes // PAGE_BYTES - 1000 < NOISE
    assert (parent.exit_code, below.exit_code) == (3, 3)


# As `strace -f` or a debugger does: it traces the session and whoever comes from it.
TRACED_ALREADY = """
    import ctypes, mmap, os, signal, time
    session, (read, write_end) = os.getpid(), os.pipe()
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if not (tracer := os.fork()):
        assert ptrace(0x4206, session, None, 0x2 | 0x4 | 0x8) == 0  # SEIZE
        os.write(write_end, b".")
        while True:
            try:
                pid, status = os.waitpid(-1, 0x40000000)
            except ChildProcessError:
                os._exit(0)
            if os.WIFSTOPPED(status):
                event, number = status >> 16, os.WSTOPSIG(status)
                ptrace(7, pid, None, 0 if event else number)  # CONT
    os.read(read, 1)
    known = mmap.mmap(-1, 1000 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE)
    known.madvise(mmap.MADV_NOHUGEPAGE)
    def write(first, last):
        for page in range(first, last):
            known[page * mmap.PAGESIZE] = 1
    write(0, 1000)
    # watched
    out["pids"] = []
    if not (pid := os.fork()):
        write(0, 1000)
        os._exit(5)
    out["pids"].append([pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])])
    if not (pid := os.fork()):
        write(0, 500)
        time.sleep(1.5)  # it is read meanwhile: the last reading that it gets
        write(500, 1000)
        os.kill(os.getpid(), signal.SIGKILL)
    out["pids"].append([pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])])
"""


def test_children_that_are_traced_already_keep_their_tracer(run_watched):
    found = run_watched(TRACED_ALREADY)
    (ended, code), (killed, signal) = found.out["pids"]
    assert (code, signal) == (5, -9)
    for pid, known in ((ended, 1000), (killed, 500)):
        child = found.by_pid(pid)
        assert "could not be traced" in child.fault
        assert 0 <= child.copied_bytes // PAGE_BYTES - known < NOISE
    assert found.by_pid(ended).last_seen_seconds is None
    assert found.by_pid(killed).last_seen_seconds < 1.6
