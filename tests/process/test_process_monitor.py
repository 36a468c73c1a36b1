"""However a child ends, its monitor comes to an end, says how, and leaves nothing."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from ipc_magic.memory import smaps
from ipc_magic.process import child as child_life
from ipc_magic.process import guards, monitor, parent_only, wire
from ipc_magic.process.guards import Limits

MIB = 1 << 20
QUIET = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch):
    monkeypatch.setattr(monitor, "GRACE_SECONDS", 0.3)


def sleep(*_):
    time.sleep(60)
    return {}


@pytest.mark.parametrize("code", [0, 5, 255])
def test_a_child_that_exits_has_its_code(run_children, code):
    def body(*_):
        print("before", end="")
        os._exit(code)

    ran = run_children(body)
    assert ran.watch.outcome is None
    assert ran.watch.child.exit_code() == code
    assert ran.watch.stopped is None
    assert ran.shown.text() == "before"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_a_child_that_is_killed_has_its_signal(run_children, number):
    ran = run_children(lambda *_: os.kill(os.getpid(), number))
    assert ran.watch.child.exit_code() == -number
    assert ran.watch.outcome is None
    assert ran.watch.crash is None


@pytest.mark.parametrize(
    ("crash", "number"),
    [(faulthandler._sigsegv, signal.SIGSEGV), (os.abort, signal.SIGABRT)],
    ids=["segv", "abort"],
)
def test_a_crash_is_told_with_its_stack(run_children, crash, number):
    def the_function(*_):
        crash()

    ran = run_children(the_function)
    assert ran.watch.child.exit_code() == -number
    assert "Fatal Python error" in ran.watch.crash_reason
    assert "in the_function" in ran.watch.crash
    assert "ipc_magic/process/child" not in ran.watch.crash
    assert ran.watch.place.startswith("the_function (test_process_monitor.py, line")


def test_a_timeout_ends_a_child_and_tells_where_it_was(run_children):
    ran = run_children(sleep, limits=Limits(timeout_seconds=0.3))
    assert ran.watch.stopped == "timeout"
    assert ran.watch.child.exit_code() == -signal.SIGTERM
    assert ran.watch.place.startswith("sleep (test_process_monitor.py, line")


def test_a_child_that_heeds_sigterm_may_finish_in_its_grace(run_children):
    def body(*_):
        def leave(*_):
            raise InterruptedError

        signal.signal(signal.SIGTERM, leave)
        try:
            time.sleep(60)
        except InterruptedError:
            return {"cleaned": True}

    ran = run_children(body, limits=Limits(timeout_seconds=0.3))
    assert ran.watch.stopped == "timeout"
    assert ran.outcome["cleaned"]


def test_a_child_that_ignores_sigterm_is_killed(run_children):
    def body(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    ran = run_children(body, limits=Limits(timeout_seconds=0.3))
    assert ran.watch.stopped == "timeout"
    assert ran.watch.child.exit_code() == -signal.SIGKILL


def test_a_child_that_computes_for_ever_is_ended(run_children):
    def body(*_):
        while True:
            pass

    ran = run_children(body, limits=Limits(timeout_seconds=0.3))
    assert ran.watch.stopped == "timeout"


def test_a_child_that_is_stopped_by_sigstop_is_ended(run_children):
    ran = run_children(
        lambda *_: os.kill(os.getpid(), signal.SIGSTOP),
        limits=Limits(timeout_seconds=0.3),
    )
    assert ran.watch.stopped == "timeout"
    assert ran.watch.child.exit_code() == -signal.SIGKILL


def test_only_children_over_their_time_are_ended(run_children):
    def body(_side, orders):
        if orders.index:
            time.sleep(60)
        return {}

    ran = run_children(body, number=2, limits=Limits(timeout_seconds=0.3))
    assert [watch.stopped for watch in ran.watches] == [None, "timeout"]


def test_a_child_that_does_not_get_to_its_code_is_ended(run_children, monkeypatch):
    monkeypatch.setattr(monitor, "HELLO_SECONDS", 0.3)
    monkeypatch.setattr(
        child_life, "_forget_the_parent", lambda _orders: time.sleep(60)
    )
    ran = run_children(lambda *_: {})
    assert ran.watch.stopped == "not_started"
    assert ran.watch.child.exit_code() == -signal.SIGKILL


def test_a_child_that_is_busy_before_its_code_is_waited_for(run_children, monkeypatch):
    monkeypatch.setattr(monitor, "HELLO_SECONDS", 0.1)

    def be_busy(_orders):
        begin = time.process_time()
        while time.process_time() < begin + 0.5:
            pass

    monkeypatch.setattr(child_life, "_forget_the_parent", be_busy)
    assert run_children(lambda *_: {}).watch.outcome is not None


@pytest.fixture
def interrupt_at_text(shown):
    """Give a function: children are interrupted `times` times when they print."""

    def arrange(times=1):
        def interrupt(_stream, text):
            for _ in range(times * text.count("\n")):  # it may come in pieces
                os.kill(os.getpid(), signal.SIGINT)

        shown.write = interrupt

    return arrange


def test_an_interrupt_is_passed_on_to_the_child(run_children, interrupt_at_text):
    def body(*_):
        try:
            print("ready")
            time.sleep(60)
        except KeyboardInterrupt:
            return {"interrupted": True}

    interrupt_at_text()
    ran = run_children(body)
    assert ran.outcome["interrupted"]
    assert ran.watch.stopped == "interrupted"


def ignore_interrupts(*_):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready")
    time.sleep(60)


def test_a_child_that_ignores_the_interrupt_is_killed(run_children, interrupt_at_text):
    interrupt_at_text()
    ran = run_children(ignore_interrupts)
    assert ran.watch.stopped == "interrupted"
    assert ran.watch.child.exit_code() == -signal.SIGKILL


def test_a_second_interrupt_kills_at_once(run_children, interrupt_at_text, monkeypatch):
    monkeypatch.setattr(monitor, "GRACE_SECONDS", 50.0)
    interrupt_at_text(times=2)
    begin = time.monotonic()
    ran = run_children(ignore_interrupts)
    assert ran.watch.child.exit_code() == -signal.SIGKILL
    assert time.monotonic() - begin < 40


def test_a_limit_on_memory_makes_its_allocations_fail(run_children):
    def body(*_):
        try:
            data = bytearray(400 * MIB)
        except MemoryError:
            return {"failed": True}
        return {"failed": False, "size": len(data)}

    ran = run_children(body, orders={"memory_bytes": 100 * MIB})
    assert ran.outcome["failed"]
    roomy = run_children(body, orders={"memory_bytes": 900 * MIB})
    assert not roomy.outcome["failed"]


def test_the_limit_does_not_hold_for_what_we_do_after_the_code(run_children):
    kept = []

    def body(*_):
        kept.append(bytearray(50 * MIB))
        return {"blob": bytes(40 * MIB)}  # to be packed, and sent

    ran = run_children(body, orders={"memory_bytes": 100 * MIB})
    assert len(ran.outcome["blob"]) == 40 * MIB


def grow(*_):
    """Take memory and write to it, a little at a time, up to 1 GiB."""
    kept = []
    for _ in range(128):
        kept.append(bytearray(b"x" * (8 * MIB)))
        time.sleep(0.02)
    return {"size": len(kept)}


def test_a_child_that_takes_too_much_memory_is_ended(run_children):
    limits = Limits(
        timeout_seconds=60,
        memory_bytes=150 * MIB,
        own_bytes=smaps.private_dirty_bytes,
    )
    ran = run_children(grow, limits=limits)
    assert ran.watch.stopped == "memory_limit"
    assert ran.watch.child.exit_code() == -signal.SIGKILL


def test_of_several_children_the_greedy_one_is_ended(run_children):
    def body(_side, orders):
        return grow() if orders.index else {"modest": True}

    limits = Limits(
        timeout_seconds=60,
        memory_bytes=150 * MIB,
        own_bytes=smaps.private_dirty_bytes,
    )
    ran = run_children(body, number=2, limits=limits)
    assert [watch.stopped for watch in ran.watches] == [None, "memory_limit"]


def test_children_are_ended_when_free_memory_runs_short(run_children):
    keep = guards.available_bytes() - 300 * MIB
    limits = Limits(timeout_seconds=60, keep_free_bytes=keep)
    ran = run_children(grow, limits=limits)
    assert ran.watch.stopped == "keep_free"
    assert ran.watch.child.exit_code() == -signal.SIGKILL


def test_with_enough_free_memory_nothing_is_ended(run_children):
    limits = Limits(timeout_seconds=60, keep_free_bytes=MIB)
    ran = run_children(lambda *_: time.sleep(0.1) or {"ran": True}, limits=limits)
    assert ran.outcome["ran"]


def test_with_sigchld_ignored_the_result_comes_and_the_status_is_unknown(run_children):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        ran = run_children(lambda *_: {"ran": True}, number=2)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert [watch.outcome["ran"] for watch in ran.watches] == [True, True]
    assert [watch.child.exit_code() for watch in ran.watches] == [None, None]


def test_with_sigchld_ignored_a_timeout_still_ends_a_child(run_children):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        ran = run_children(sleep, limits=Limits(timeout_seconds=0.2))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert ran.watch.stopped == "timeout"


def test_somebody_elses_waitpid_takes_only_the_status(run_children):
    reaped = []

    def reap(*_):
        try:
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                reaped.append(found[0])
        except ChildProcessError:
            pass

    before = signal.signal(signal.SIGCHLD, reap)
    try:
        ran = run_children(lambda *_: {"ran": True}, number=3)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert all(watch.outcome["ran"] for watch in ran.watches)
    codes = {watch.child.pid: watch.child.exit_code() for watch in ran.watches}
    assert set(reaped) <= set(codes)
    assert all(codes[pid] is None for pid in reaped)
    assert all(code == 0 for pid, code in codes.items() if pid not in reaped)


def test_a_status_that_was_taken_is_unknown_and_the_result_is_kept(run_children):
    def take(started, _monitor):
        (child,) = started.children
        taker = threading.Thread(target=os.waitpid, args=(child.pid, 0))
        taker.start()
        taker.join()

    ran = run_children(lambda *_: {"ran": True}, while_running=take)
    assert ran.outcome["ran"]
    assert ran.watch.child.exit_code() is None


def test_a_child_that_closes_its_channel_ends_without_a_result(run_children):
    def body(side, _orders):
        os.close(side._fds["channel"])
        print("printed")
        side.send_in_order("display", number=1)
        assert not side.send("anything")
        return {"lost": True}

    ran = run_children(body)
    assert ran.watch.outcome is None
    assert ran.watch.child.exit_code() == 0
    assert ran.shown.text() == "printed\n"


def test_a_file_that_has_the_channels_number_gets_nothing_of_ours(
    run_children, tmp_path
):
    path = tmp_path / "file"

    def body(side, _orders):
        fd = side._fds["channel"]
        os.close(fd)
        mine = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(mine, fd)
        return {"lost": True}

    assert run_children(body).watch.outcome is None
    assert path.read_bytes() == b""


def test_a_frame_without_its_fields_costs_the_result_and_no_more(run_children):
    def body(side, _orders):
        side.send("names")
        return {"lost": True}

    assert run_children(body).watch.outcome is None


def test_behind_a_frame_without_its_fields_no_other_is_taken(run_children):
    ran = run_children(lambda side, _: {"sent": side.send("names")})
    late = wire.encode("outcome", {"late": True})
    with pytest.raises(wire.BrokenChannel, match="without its fields"):
        list(ran.watch.feed("channel", late))
    assert ran.watch.outcome is None


@pytest.mark.parametrize("size", [12, 100, 10 * MIB])
def test_garbage_on_the_channel_costs_the_result_and_no_more(run_children, size):
    def body(side, _orders):
        print("before")
        try:
            os.write(side._fds["channel"], b"garbage " * (size // 8 + 1))
        except OSError:
            print("it was not read")
        print("after")
        side.send("names", sizes={"a": 1}, blob=b"", begin=0.0, time=0.0, last=True)
        side.receive(5)  # does not wait for ever
        return {"lost": True}

    ran = run_children(body)
    assert ran.watch.outcome is None
    assert ran.watch.child.exit_code() == 0
    assert ran.watch.stopped is None
    assert ran.shown.text().startswith("before\n")
    assert ran.shown.text().endswith("after\n")


def test_a_frame_that_names_code_is_not_run(run_children, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "went off"),)

    def body(side, _orders):
        frame = wire.encode("bomb", {"it": Bomb()})
        assert pickle.loads(frame[12:])  # it would go off
        os.rmdir(tmp_path / "went off")
        os.write(side._fds["channel"], frame)
        return {"lost": True}

    assert run_children(body).watch.outcome is None
    assert os.listdir(tmp_path) == []


def test_a_child_that_closes_its_output_keeps_its_result(run_children):
    def body(*_):
        os.close(1)
        os.close(2)
        for stream in (sys.stdout, sys.stderr):
            try:
                print("gone", file=stream)
            except OSError:
                continue
        return {"kept": True}

    ran = run_children(body)
    assert ran.outcome["kept"]
    assert ran.watch.child.exit_code() == 0


def test_a_child_that_closes_everything_ends(run_children):
    def body(*_):
        os.closerange(0, 4096)
        return {"lost": True}

    ran = run_children(body)
    assert ran.watch.outcome is None
    assert ran.watch.child.exit_code() is not None


def test_a_grandchild_that_holds_the_pipe_is_not_waited_for(
    run_children, is_running, wait_until
):
    def body(*_):
        process = subprocess.Popen(["sleep", "600"])
        process.returncode = 0  # no warning: it is to stay
        return {"pid": process.pid}

    begin = time.monotonic()
    ran = run_children(body)
    assert time.monotonic() - begin < 40
    (left,) = ran.watch.left
    assert (left.pid, left.name, left.ended) == (ran.outcome["pid"], "sleep", True)
    wait_until(lambda: not is_running(left.pid))


def test_a_grandchild_in_its_own_session_is_named_and_left(
    run_children, is_running, end_process
):
    def body(*_):
        # It holds nothing of its parent's: the child itself must name it.
        process = subprocess.Popen(["sleep", "600"], **QUIET, start_new_session=True)
        process.returncode = 0
        return {"pid": process.pid}

    ran = run_children(body)
    end_process.append(ran.outcome["pid"])
    (left,) = ran.watch.left
    assert (left.pid, left.name, left.ended) == (ran.outcome["pid"], "sleep", False)
    assert is_running(left.pid)


def test_a_grandchild_of_a_killed_child_is_found_by_the_pipe_it_holds(
    run_children, is_running, end_process
):
    def body(side, _orders):
        process = subprocess.Popen(["sleep", "600"], start_new_session=True)
        side.send("told", pid=process.pid)
        os.kill(os.getpid(), signal.SIGKILL)

    ran = run_children(body)
    pid = ran.watch.child.said["told"].fields["pid"]
    end_process.append(pid)
    assert [left.pid for left in ran.watch.left] == [pid]


def test_what_is_left_of_the_group_of_a_killed_child_is_ended(
    run_children, is_running, wait_until
):
    def body(side, _orders):
        process = subprocess.Popen(["sleep", "600"], **QUIET)
        side.send("told", pid=process.pid)
        os.kill(os.getpid(), signal.SIGKILL)

    ran = run_children(body)
    pid = ran.watch.child.said["told"].fields["pid"]
    assert [(left.pid, left.ended) for left in ran.watch.left] == [(pid, True)]
    wait_until(lambda: not is_running(pid))


def test_a_grandchild_that_writes_for_ever_does_not_keep_the_monitor(run_children):
    def body(*_):
        process = subprocess.Popen(["yes"])
        process.returncode = 0
        time.sleep(0.2)
        return {"pid": process.pid}

    ran = run_children(body)
    assert [left.name for left in ran.watch.left] == ["yes"]


def test_the_last_of_a_pipe_is_what_is_there_at_the_end_and_no_more(
    run_children, monkeypatch
):
    read, last = os.read, []
    writers = []

    def write_for_ever(started, _monitor):
        (child,) = started.children
        pipe = child.wires.parent["stdout"]
        writers.append(os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY))

        def read_and_write_again(fd, size):
            data = read(fd, size)
            if fd == pipe:
                os.write(writers[0], data)
                if not child.alive:
                    last.append(data)
                    assert len(last) < 10
            return data

        monkeypatch.setattr(os, "read", read_and_write_again)

    try:
        run_children(lambda *_: print("x", end="") or {}, while_running=write_for_ever)
    finally:
        os.close(writers[0])
    assert last == [b"x"]


def test_a_timeout_ends_the_whole_group(run_children, is_running, wait_until):
    def body(side, _orders):
        process = subprocess.Popen(["sleep", "600"])
        side.send("told", pid=process.pid)
        process.wait()
        return {}

    ran = run_children(body, limits=Limits(timeout_seconds=0.5))
    pid = ran.watch.child.said["told"].fields["pid"]
    wait_until(lambda: not is_running(pid))


def test_a_child_that_forks_reports_once(run_children):
    def body(side, _orders):
        if os.fork() == 0:
            side.send("twice", pid=os.getpid())
            return {"whose": "the fork's"}
        os.wait()
        return {"whose": "the child's"}

    ran = run_children(body)
    assert ran.outcome["whose"] == "the child's"
    assert "twice" not in ran.watch.child.said


def test_without_a_pidfd_the_end_is_seen_too(run_children, monkeypatch):
    monkeypatch.setattr(monitor, "_TICK_SECONDS", 30.0)

    # As under a kernel that has none: the descriptor is taken away.
    def take_away(started, watching):
        (child,) = started.children
        watching._unregister(child.pidfd)
        parent_only.release(child.pidfd)
        child.pidfd = -1

    def body(*_):
        os.closerange(0, 200)  # nor do pipes tell of the end
        time.sleep(0.2)
        os._exit(3)

    begin = time.monotonic()
    ran = run_children(body, while_running=take_away)
    assert ran.watch.child.exit_code() == 3
    assert time.monotonic() - begin < 20


def test_children_are_watched_on_when_no_file_can_be_opened(
    run_children, request, monkeypatch
):
    monkeypatch.setattr(monitor, "_TICK_SECONDS", 0.05)

    def body(*_):
        process = subprocess.Popen(["sleep", "600"])
        process.returncode = 0  # no warning: it is to stay
        time.sleep(0.3)
        return {"x": 1}

    ran = run_children(
        body,
        limits=Limits(timeout_seconds=40, keep_free_bytes=1),
        while_running=lambda *_: request.getfixturevalue("no_descriptor_left"),
    )
    assert ran.outcome["x"] == 1
    assert ran.watch.child.exit_code() == 0


def test_a_channel_of_garbage_is_closed_when_no_file_can_be_opened(
    run_children, request
):
    def body(side, _orders):
        os.write(side._fds["channel"], b"garbage" * 100)
        return {"read": side.receive(5).decode()}

    ran = run_children(
        body, while_running=lambda *_: request.getfixturevalue("no_descriptor_left")
    )
    assert ran.watch.outcome is None
    assert ran.watch.child.exit_code() == 0


def test_a_front_that_fails_leaves_no_child(run_children, shown, is_running):
    pids = []

    def fail(*_):
        raise LookupError("the front is broken")

    shown.write = fail

    def body(*_):
        print("text")
        time.sleep(60)

    with pytest.raises(LookupError):
        run_children(
            body,
            while_running=lambda started, _: pids.extend(
                child.pid for child in started.children
            ),
        )
    assert len(pids) == 1
    assert not is_running(pids[0])


def test_an_idle_child_is_told_of_and_the_line_goes_again(
    run_children, shown, monkeypatch
):
    monkeypatch.setattr(monitor, "_TICK_SECONDS", 0.1)
    monkeypatch.setattr(monitor, "IDLE_SECONDS", 0.3)

    def body(*_):
        time.sleep(1.5)
        return {}

    run_children(body)
    told, *_, gone = shown.lines
    assert "has used no CPU for" in told
    assert "body (test_process_monitor.py, line" in told
    assert gone is None


def test_a_busy_child_is_not_told_of(run_children, shown, monkeypatch):
    monkeypatch.setattr(monitor, "_TICK_SECONDS", 0.1)
    monkeypatch.setattr(monitor, "IDLE_SECONDS", 0.5)

    def body(*_):
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            pass
        return {}

    run_children(body)
    assert shown.lines == []


DYING = """
    import os, signal, subprocess, sys, time
    from ipc_magic.process import fork, guards, interrupts, monitor

    class Front:
        def write(self, _, text): print(text, end="", flush=True)
        def show(self, _): pass
        def live(self, _): pass

    def body(*_):
        same = subprocess.Popen(["sleep", "600"])
        group = subprocess.Popen(["sleep", "600"], preexec_fn=os.setpgrp)
        print(os.getpid(), same.pid, group.pid)
        # Deaf, and inside of C code: nothing of Python runs any more.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(600)

    with interrupts.counted():
        started = fork.start(body, number=2, names={})
        limits = guards.Limits()
        monitor.Monitor(started.children, Front(), limits=limits).run()
"""


def test_when_the_parent_is_killed_all_that_its_children_started_ends(
    child_env, is_running, wait_until, end_process
):
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DYING)],
        env=child_env,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        lines = [parent.stdout.readline() for _ in range(2)]
        pids = [int(pid) for line in lines for pid in line.split()]
        end_process += pids
        assert len(pids) == 6
        assert all(map(is_running, pids))
        parent.kill()
        parent.wait()
        wait_until(lambda: not any(map(is_running, pids)), "all of them end")
