"""What a child leaves behind is found; what is its session's is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

import pytest

from ipc_magic.process import leftovers
from ipc_magic.process.leftovers import Leftover


@pytest.fixture
def sleeper(end_process):
    """Start `sleep` in ways that `Popen` knows; it is ended after the test."""
    started = []

    def start(*, seconds=60, **options):
        process = subprocess.Popen(["sleep", str(seconds)], **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_own_children_are_named(sleeper):
    assert leftovers.own_children() == []
    one, two = sleeper(), sleeper()
    assert sorted(leftovers.own_children()) == sorted([one.pid, two.pid])


def test_children_of_other_threads_are_named(sleeper):
    pids = []
    go_on = threading.Event()

    def start():
        pids.append(sleeper().pid)
        go_on.wait()

    thread = threading.Thread(target=start)
    thread.start()
    try:
        while not pids:
            pass
        assert leftovers.own_children() == pids
    finally:
        go_on.set()
        thread.join()


def test_a_group_lives_as_long_as_a_member(sleeper):
    process = sleeper(start_new_session=True)
    assert leftovers.group_lives(process.pid)
    process.kill()
    process.wait()
    assert not leftovers.group_lives(process.pid)


def test_what_is_left_of_a_session_is_ended(sleeper, is_running):
    process = sleeper(start_new_session=True)
    # Its leader counts as the child itself: it has been reaped by now.
    assert leftovers.end(process.pid, [], []) == []
    assert is_running(process.pid)


def test_a_member_of_the_session_is_ended_and_one_of_another_is_named(
    run_script, is_running, end_process, wait_until
):
    out = run_script(
        """
        import os, subprocess, sys
        # As a child of ours: a session of its own, which ends first.
        if os.fork() == 0:
            os.setsid()
            quiet = {"stdin": -3, "stdout": -3, "stderr": -3}
            same = subprocess.Popen(["sleep", "60"], **quiet)
            group = subprocess.Popen(["sleep", "60"], preexec_fn=os.setpgrp, **quiet)
            away = subprocess.Popen(["sleep", "60"], start_new_session=True, **quiet)
            print(os.getpid(), same.pid, group.pid, away.pid, flush=True)
            os._exit(0)
        os.wait()
        """
    )
    session, same, group, away = map(int, out.split())
    end_process += [same, group, away]
    assert leftovers.group_lives(session)
    left = leftovers.end(session, [away], [])
    assert left == [
        Leftover(pid=pid, name="sleep", ended=pid != away)
        for pid in sorted([same, group, away])
    ]
    assert is_running(away)
    wait_until(lambda: not any(map(is_running, (same, group))))


def test_who_holds_a_pipe_is_named(sleeper):
    read, write = os.pipe()
    try:
        holder = sleeper(pass_fds=[write], start_new_session=True)
        other = sleeper(start_new_session=True)
        left = leftovers.end(-1, [], [os.fstat(read).st_ino])
    finally:
        os.close(read)
        os.close(write)
    assert left == [Leftover(pid=holder.pid, name="sleep", ended=False)]
    assert other.poll() is None


def test_the_descendants_of_a_listed_process_are_named(wait_until, end_process):
    command = ["sh", "-c", "sleep 60 & echo $!; wait"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as shell:
        assert shell.stdout is not None
        sleep = int(shell.stdout.readline())
        end_process.append(sleep)
        left = leftovers.end(-1, [shell.pid], [])
        assert {leftover.pid for leftover in left} == {shell.pid, sleep}
        shell.kill()


def test_a_zombie_is_not_left(wait_until, state):
    with subprocess.Popen(["true"]) as process:
        wait_until(lambda: state(process.pid) == "Z")
        assert leftovers.end(-1, [process.pid], []) == []


@pytest.mark.parametrize("listed", [True, False])
def test_where_no_file_can_be_opened_what_is_left_is_ended(sleeper, listed, request):
    process = sleeper(start_new_session=True)
    request.getfixturevalue("no_descriptor_left")
    listing = [process.pid] if listed else []
    assert leftovers.end(process.pid, listing, []) == []
    assert process.wait() == -signal.SIGKILL
    assert leftovers.end(process.pid, listing, []) == []  # nobody is left
