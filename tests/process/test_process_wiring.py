"""Descriptors that die with the parent, and children that die with them."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import resource
import select
import signal
import subprocess
import sys
import textwrap

import pytest

from ipc_magic.process import parent_only, wiring


def fork_and_tell(tell) -> str:
    """Return what `tell()` gives in a fork of this process."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, str(tell()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        if is_open(fd):
            os.close(fd)


def test_a_held_descriptor_is_closed_in_every_fork(pipe):
    read, write = pipe
    assert fork_and_tell(lambda: (is_open(read), is_open(write))) == "(True, True)"
    assert parent_only.hold(write) == write
    tell = fork_and_tell(lambda: (is_open(read), is_open(write), parent_only.held()))
    assert tell == "(True, False, frozenset())"
    assert is_open(write)
    parent_only.release(write)
    assert not is_open(write)
    assert write not in parent_only.held()


def test_a_number_that_was_released_is_left_alone(pipe):
    _, write = pipe
    parent_only.hold(write)
    parent_only.release(write)
    again = os.open(os.devnull, os.O_RDONLY)
    try:
        parent_only.release(write)  # whoever has the number now
        assert is_open(again)
        assert fork_and_tell(lambda: is_open(again)) == "True"
    finally:
        os.close(again)


def test_a_held_number_that_the_person_closed_does_no_harm(pipe):
    _, write = pipe
    parent_only.hold(write)
    os.close(write)
    assert fork_and_tell(lambda: "alive") == "alive"
    parent_only._held.discard(write)


def _tell_inodes(queue):
    inodes = set()
    for fd in range(100):
        if is_open(fd):
            inodes.add(os.fstat(fd).st_ino)
    queue.put(inodes)


def test_a_held_descriptor_is_closed_in_multiprocessing_children(pipe):
    read, write = pipe
    os.close(read)  # both ends have the same inode
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    try:
        for expected in (True, False):
            process = context.Process(target=_tell_inodes, args=(queue,))
            process.start()
            assert (os.fstat(write).st_ino in queue.get()) is expected
            process.join()
            process.close()
            parent_only.hold(write)
    finally:
        parent_only.release(write)
        queue.close()


def test_the_wiring_is_closed_by_both_sides():
    before = os.listdir("/proc/self/fd")
    held = parent_only.held()
    wires = wiring.make()
    assert len(parent_only.held() - held) == 4
    wires.close_child_side()
    wires.close_parent_side()
    wires.close_parent_side()
    assert os.listdir("/proc/self/fd") == before
    assert parent_only.held() == held


def test_no_two_wirings_have_the_same_token():
    assert wiring.Wiring().token != wiring.Wiring().token


def test_where_descriptors_run_out_nothing_is_left_open(run_script):
    out = run_script(
        """
        import os, resource
        from ipc_magic.process import parent_only, wiring

        before = os.listdir("/proc/self/fd")
        failed = 0
        for more in range(30):
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + more, 4096))
            try:
                wires = wiring.make()
            except OSError:
                failed += 1
            else:
                wires.close_child_side()
                wires.close_parent_side()
            resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
            assert os.listdir("/proc/self/fd") == before, more
            assert not parent_only.held()
        print(failed)
        """
    )
    assert 5 < int(out) < 30


# A parent that ties a child to itself, as `child.live` does; the child has a child
# of its own in its group. It prints their pids and waits.
TIED = """
    import multiprocessing, os, signal, sys, time
    from ipc_magic.process import parent_only, wiring

    def forked(body):
        read, write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(write)
            os.read(read, 1)
            return pid
        body()
        os.write(write, b"x")
        os.close(write)
        while True:
            signal.pause()

    def tied_child():
        wires = wiring.make()
        def be_the_child():
            os.setsid()
            wiring.tie_to_parent(wires.child["lifeline"])
            print(os.getpid(), forked(lambda: None), flush=True)
        forked(be_the_child)
        wires.close_child_side()
"""


def run_tied(child_env, program: str):
    program = textwrap.dedent(TIED) + textwrap.dedent(program) + "\nprint(flush=True)"
    return subprocess.Popen(
        [sys.executable, "-c", f"{program}\nsignal.pause()"],
        env=child_env,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("program", "number"),
    [
        ("tied_child()", 2),
        ("tied_child(); tied_child(); tied_child()", 6),
        (
            """
            tied_child()
            worker = multiprocessing.get_context("fork").Process(target=signal.pause)
            worker.start()
            print(-worker.pid, flush=True)
            """,
            2,
        ),
        (
            """
            tied_child()
            print(-forked(lambda: None), flush=True)
            """,
            2,
        ),
    ],
    ids=["alone", "siblings", "multiprocessing worker", "plain fork"],
)
@pytest.mark.parametrize("number_of_signal", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_parent_dies_the_child_and_its_group_die(
    request, program, number, number_of_signal
):
    fixtures = map(request.getfixturevalue, ("end_process", "is_running", "wait_until"))
    end_process, is_running, wait_until = fixtures
    with run_tied(request.getfixturevalue("child_env"), program) as parent:
        assert parent.stdout is not None
        told = iter(parent.stdout.readline, "\n")
        pids = [int(pid) for line in told for pid in line.split()]
        tied = [pid for pid in pids if pid > 0]
        others = [-pid for pid in pids if pid < 0]
        end_process += tied + others
        assert len(tied) == number
        assert all(map(is_running, tied + others))
        parent.send_signal(number_of_signal)
        parent.wait()
        wait_until(lambda: not any(map(is_running, tied)), f"{tied} die")
        assert all(map(is_running, others))
        for pid in others:  # they hold the other end of our pipe
            os.kill(pid, signal.SIGKILL)


def test_a_child_that_leads_no_group_takes_nobody_along(run_script):
    out = run_script(
        """
        import os, signal
        from ipc_magic.process import wiring

        os.setsid()  # a group of our own, in which no test runner can be hit
        wires = wiring.make()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            wiring.tie_to_parent(wires.child["lifeline"])
            os.write(write, b"x")
            while True:
                signal.pause()
        wires.close_child_side()
        os.read(read, 1)
        wires.close_parent_side()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert out == f"{-signal.SIGKILL}\n"


def test_a_child_that_comes_too_late_ends_by_itself():
    read, write = os.pipe()
    os.close(write)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        # Nobody is left to close the other end once more.
        wiring.tie_to_parent(read)
        os._exit(77)
    os.close(read)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (1, -signal.SIGKILL)


def test_a_tie_does_nothing_while_the_parent_lives():
    wires = wiring.make()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        wiring.tie_to_parent(wires.child["lifeline"])
        os._exit(bool(select.select([wires.child["lifeline"]], [], [], 0.2)[0]))
    wires.close_child_side()
    status = os.waitpid(pid, 0)[1]
    wires.close_parent_side()
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_tie_may_have_any_number():
    """Of hundreds of children the last has descriptors that select(2) does not know."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip(f"no more than {hard} files can be opened")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    try:
        read, write = os.pipe()
        high = fcntl.fcntl(read, fcntl.F_DUPFD_CLOEXEC, 1500)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    pid = os.fork()
    if pid == 0:
        try:
            wiring.tie_to_parent(high)
            os._exit(77)
        finally:
            os._exit(3)
    status = os.waitpid(pid, 0)[1]
    for descriptor in (read, write, high):
        os.close(descriptor)
    assert os.waitstatus_to_exitcode(status) == 77
