"""A watched program runs as ever: waits, handlers, exit codes, signals, descriptors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from ipc_magic.memory.pages import PAGE_BYTES


def test_nothing_of_ours_is_waited_for(run_watched):
    found = run_watched(
        """
        import asyncio, os, psutil, signal, subprocess, sys, time
        # watched
        out["before"] = [c.pid for c in psutil.Process().children(recursive=True)]
        told = []
        signal.signal(signal.SIGCHLD, lambda *_: told.append(os.waitpid(-1, 0)[1]))
        for code in (3, 4):
            if not (pid := os.fork()):
                os._exit(code)
            while len(told) < code - 2:
                time.sleep(0.001)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        out["handler"] = [os.waitstatus_to_exitcode(s) for s in told]
        for code in (5, 6):
            if not os.fork():
                os._exit(code)
        codes = []
        while True:
            try:
                codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
            except ChildProcessError:
                break
        out["loop"] = sorted(codes)
        done = subprocess.run([sys.executable, "-S", "-c", "raise SystemExit(9)"])
        out["subprocess"] = done.returncode
        done = subprocess.run(["true"], preexec_fn=os.getpid)
        out["preexec"] = done.returncode
        async def run():
            process = await asyncio.create_subprocess_exec("false")
            return await process.wait()
        out["asyncio"] = asyncio.run(run())
        """
    )
    assert found.out["before"] == []
    assert found.out["handler"] == [3, 4]
    assert found.out["loop"] == [5, 6]
    assert found.out["subprocess"] == 9
    assert found.out["preexec"] == 0
    assert found.out["asyncio"] == 1
    assert found.out["left open"] == 0
    assert found.out["threads"] == 1
    forked = [child for child in found.children if child.started_by == "fork"]
    assert [child.exit_code for child in forked] == [3, 4, 5, 6]


def test_signals_reach_a_child_as_ever(run_watched):
    found = run_watched(
        """
        import os, signal, time
        read, write = os.pipe()
        # watched
        if not (pid := os.fork()):
            got = []
            def note(*_):
                got.append(1)
                os.write(write, b"1")
            signal.signal(signal.SIGUSR1, note)
            os.write(write, b"1")
            while len(got) < 3:
                time.sleep(0.001)
            os._exit(40 + len(got))
        os.read(read, 1)
        for n in range(1, 4):
            os.kill(pid, signal.SIGUSR1)
            os.read(read, 1)
        out["status"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        """
    )
    assert found.out["status"] == 43
    assert found.children[0].exit_code == 43


def test_a_child_is_stopped_and_continued_as_ever(run_watched):
    found = run_watched(
        """
        import mmap, os, signal, time
        read, write = os.pipe()
        beats = mmap.mmap(-1, mmap.PAGESIZE)
        # watched
        if not (pid := os.fork()):
            os.write(write, b"1")
            while True:
                beats[0] = (beats[0] + 1) % 256
                time.sleep(0.001)
        os.read(read, 1)
        beating = lambda: len({time.sleep(0.01) or beats[0] for _ in range(30)}) > 1
        seen = []
        for _ in range(2):
            os.kill(pid, signal.SIGSTOP)
            _, status = os.waitpid(pid, os.WUNTRACED)
            seen.append([os.WIFSTOPPED(status), os.WSTOPSIG(status)])
            seen.append([beating()])  # readings come by meanwhile
            os.kill(pid, signal.SIGCONT)
            _, status = os.waitpid(pid, os.WCONTINUED)
            seen.append([os.WIFCONTINUED(status), beating()])
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        os.kill(pid, signal.SIGKILL)
        out["end"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out["seen"] = seen
        """
    )
    assert found.out["seen"] == [[True, 19], [False], [True, True]] * 2
    assert found.out["end"] == -9
    (child,) = found.children
    assert child.signal == 9
    assert child.last_seen_seconds is None
    assert child.fault is None


def test_an_interrupt_is_not_lost_while_a_child_is_met(run_watched):
    found = run_watched(
        """
        import os, select, signal, time
        def is_being_met(pid):
            with open(f"/proc/{pid}/status") as file:
                return "SigBlk:\tf" in file.read()
        # watched
        codes, met = [], 0
        for _ in range(20):
            read, write = os.pipe()
            try:
                if not (pid := os.fork()):
                    os.write(write, b"1")
                    while True:
                        time.sleep(0.001)
            except KeyboardInterrupt:
                os._exit(11)
            os.close(write)
            while not (now := is_being_met(pid)):
                if select.select([read], [], [], 0)[0]:
                    break
            met += now
            os.kill(pid, signal.SIGINT)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            os.close(read)
        out["codes"], out["met"] = codes, met
        """
    )
    assert found.out["codes"] == [11] * 20
    assert found.out["met"] > 0


def test_an_interrupt_ends_the_cell_and_what_was_seen_is_told(run_watched):
    found = run_watched(
        """
        import os, signal
        # watched
        if not (pid := os.fork()):
            signal.pause()
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            pass
        """
        """
        import atexit
        atexit.register(os.kill, pid, signal.SIGKILL)
        """
    )
    (child,) = found.children
    assert child.alive
    assert child.copied_bytes is not None


def test_those_that_live_on_are_traced_no_more(run_watched):
    found = run_watched(
        """
        import atexit, os, signal
        def tracer(pid):
            with open(f"/proc/{pid}/status") as file:
                text = file.read()
            return [line for line in text.splitlines() if line.startswith("Tracer")][0]
        def end():
            out = {pid: tracer(pid) for pid in pids}
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM)
                out[pid] = [out[pid], os.waitpid(pid, 0)[1]]
            print(json.dumps(list(out.values())))
        pids = []
        read, write = os.pipe()
        # watched
        for stopped in (False, True):
            if not (pid := os.fork()):
                os.write(write, b"1")
                while True:
                    signal.pause()
            os.read(read, 1)
            pids.append(pid)
        atexit.register(end)
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        out["traced"] = [tracer(pid).split()[1] != "0" for pid in pids]
        """
    )
    assert found.out["traced"] == [True, True]
    assert all(child.alive and child.fault is None for child in found.children)
    assert json.loads(found.printed) == [["TracerPid:\t0", 15]] * 2


def test_a_child_that_executes_is_told_apart(run_watched):
    found = run_watched(
        """
        import os, sys, time
        known = bytearray(400 * 4096)
        read, write = os.pipe()
        # watched
        pids = []
        if not (pid := os.fork()):
            os.execv("/bin/sleep", ["sleep", "0.5"])
        pids.append(pid)
        if not (pid := os.fork()):
            known[::4096] = b"1" * 400
            time.sleep(0.6)
            os.execv("/bin/sleep", ["sleep", "0.3"])
        pids.append(pid)
        out["codes"] = [os.waitpid(pid, 0)[1] for pid in pids]
        out["pids"] = pids
        """
    )
    assert found.out["codes"] == [0, 0]
    at_once, later = map(found.by_pid, found.out["pids"])
    assert at_once.started_by == "exec"
    assert at_once.inherited_bytes == at_once.copied_bytes == 0
    assert 0 < at_once.new_bytes < 400 * PAGE_BYTES
    assert 0 < at_once["until_execution"]["copied_bytes"] < 400 * PAGE_BYTES
    assert later["until_execution"] is None
    assert later.started_by == "fork"
    assert later.copied_bytes >= 400 * PAGE_BYTES
    assert later.last_seen_seconds is None, "it was read just before"
    assert later.fault is None


def test_a_child_that_cannot_execute_is_read_to_its_end(run_watched):
    found = run_watched(
        """
        import os
        known = bytearray(1000 * 4096)
        # watched
        if not (pid := os.fork()):
            try:
                os.execvp("no-such-program", ["no-such-program"])
            except OSError:
                known[::4096] = b"1" * 1000
                os._exit(9)
        os.waitpid(pid, 0)
        """
    )
    (child,) = found.children
    assert child.started_by == "fork"
    assert child.exit_code == 9
    assert child.last_seen_seconds is None
    assert child.copied_bytes >= 1000 * PAGE_BYTES


@pytest.fixture
def folder_for_all():
    """Give a folder that any user may write to; those of pytest are the user's own."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_child_may_execute_with_rights_of_another(run_watched, folder_for_all):
    owner = 12345
    touch = folder_for_all / "touch"
    shutil.copy(shutil.which("touch"), touch)
    os.chown(touch, owner, -1)
    touch.chmod(0o4755)
    # It may read what root's Python consists of; that gives no right to write.
    reading_only = "+dac_read_search"
    nobody = [
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *(f"--inh-caps={reading_only}", f"--ambient-caps={reading_only}"),
    ]
    found = run_watched(
        f"""
        import os, time
        def touch(name, wait=lambda: None):
            read, write = os.pipe()
            if not (pid := os.fork()):
                os.read(read, 1)
                os.execv({str(touch)!r}, ["touch", f"{folder_for_all}/{{name}}"])
            wait()
            os.write(write, b"1")
            os.waitpid(pid, 0)
            os.close(read)
            os.close(write)
        def until_it_is_read_again():
            while len(watch.look()[-1].timeline) < 2:
                time.sleep(0.01)  # a test that waits for ever is stopped
        touch("unwatched")
        # watched
        touch("at once")
        touch("later", until_it_is_read_again)
        """,
        by=nobody,
    )
    touch.unlink()
    owners = {path.name: path.stat().st_uid for path in folder_for_all.iterdir()}
    if owners["unwatched"] != owner:
        pytest.skip("this file system ignores the set-user-ID bit")
    assert owners == dict.fromkeys(("unwatched", "at once", "later"), owner)
    at_once, later = found.children
    assert at_once.started_by == "exec"
    assert later.started_by == "fork"
    assert later.fault is None


def test_a_daemon_is_read_to_its_end(run_watched):
    found = run_watched(
        """
        import os, time
        known = bytearray(400 * 4096)
        read, write = os.pipe()
        # watched
        if not (pid := os.fork()):
            os.setsid()
            if os.fork():
                os._exit(0)
            known[::4096] = b"1" * 400
            os.write(write, b"%d" % os.getpid())
            os.closerange(0, 256)
            os._exit(6)
        os.waitpid(pid, 0)
        daemon = int(os.read(read, 10))
        while os.path.exists(f"/proc/{daemon}/exe"):  # until its memory goes
            time.sleep(0.001)
        """
    )
    first, daemon = found.children
    assert daemon.parent_pid == first.pid
    assert daemon.exit_code == 6
    assert daemon.copied_bytes >= 400 * PAGE_BYTES


def test_an_older_pool_is_not_measured(run_watched):
    found = run_watched(
        """
        import multiprocessing, time
        pool = multiprocessing.get_context("fork").Pool(2)
        # watched
        pool.map(abs, range(4))
        time.sleep(0.8)
        out["pool"] = [worker.pid for worker in pool._pool]
        import atexit
        atexit.register(pool.join)
        atexit.register(pool.terminate)
        """
    )
    assert not found.children
    assert sorted(found.out["older"]) == sorted(found.out["pool"])


@pytest.mark.parametrize("kill", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_without_the_observer_a_child_goes_on(run_watched, kill, child_env):
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            f"""
import os, signal, time
from ipc_magic.memory.observing.watch import watch_forks
with watch_forks() as watch:
    os.kill(watch.observer_pid, signal.{"SIGKILL" if kill else "SIGSTOP"})
    begin = time.monotonic()
    if not (pid := os.fork()):
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    assert time.monotonic() - begin < 3
    os.kill(watch.observer_pid, signal.SIGCONT) if {not kill} else None
print(watch.fault, watch.children)
with watch_forks() as watch:
    if not (pid := os.fork()):
        os._exit(8)
    os.waitpid(pid, 0)
print(watch.children[0].exit_code)
""",
        ],
        env=child_env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert not done.stderr
    assert lines[0] == "7"
    assert ("ended early" in lines[1]) == kill
    assert lines[2] == "8"


@pytest.mark.slow
def test_two_hundred_children_at_once(run_watched):
    found = run_watched(
        """
        import os
        known = bytearray(100 * 4096)
        read, write = os.pipe()
        # watched
        pids = []
        for n in range(200):
            if not (pid := os.fork()):
                os.close(write)
                os.read(read, 1)
                known[: n % 100 * 4096 : 4096] = b"1" * (n % 100)
                os._exit(n)
            pids.append(pid)
        os.close(write)
        out["codes"] = [os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in pids]
        os.close(read)
        """
    )
    assert found.out["codes"] == list(range(200))
    assert [child.exit_code for child in found.children] == list(range(200))
    assert all(child.fault is None for child in found.children)
    copied = [child.copied_bytes // PAGE_BYTES for child in found.children]
    least = min(copied[n] - n % 100 for n in range(200))
    assert all(0 <= copied[n] - n % 100 - least < 40 for n in range(200))


def test_a_child_keeps_no_descriptor_of_ours(run_watched):
    found = run_watched(
        """
        import os
        files = lambda: set(os.listdir("/proc/self/fd"))
        read, write = os.pipe()
        before = files()
        # watched
        if not (pid := os.fork()):
            os.write(write, b"%d" % len(files() - before))
            os._exit(0)
        out["more"] = int(os.read(read, 9))
        os.waitpid(pid, 0)
        """
    )
    assert found.out["more"] == 0


def test_the_observer_is_nobodys_child_and_ends_with_the_session(child_env):
    program = """
import os, psutil, signal
from ipc_magic.memory.observing.watch import watch_forks
with watch_forks() as watch:
    observer = psutil.Process(watch.observer_pid)
    assert not psutil.Process().children()
    assert os.getsid(observer.pid) not in (os.getsid(0), observer.ppid())
    held = {os.readlink(f"/proc/{observer.pid}/fd/{n}") for n in (0, 1, 2)}
    assert held == {"/dev/null"}
    assert observer.num_threads() == 1
    print(observer.pid, flush=True)
    os.fork()  # one lives on
    signal.pause()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=child_env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as session:
        observer = psutil.Process(int(session.stdout.readline()))
        session.kill()
        observer.wait(timeout=10)
        os.killpg(session.pid, signal.SIGKILL)


def test_a_pid_is_used_again(run_watched):
    found = run_watched(
        """
        import os
        known = bytearray(1000 * 4096)
        last = "/proc/sys/kernel/ns_last_pid"
        def fork(pages, code):
            if not (pid := os.fork()):
                known[: pages * 4096 : 4096] = b"1" * pages
                os._exit(code)
            os.waitpid(pid, 0)
            return pid
        def again(pid):
            with open(last, "w") as file:
                file.write(str(pid - 1))
        # watched
        out["pids"] = [fork(1000, 3)]
        try:
            for _ in range(20):  # somebody else may take it first
                again(out["pids"][0])
                out["pids"].append(fork(0, 4))
                if out["pids"][-1] == out["pids"][0]:
                    break
        except PermissionError:
            pass  # only who may checkpoint processes chooses their pids
        """
    )
    pids = found.out["pids"]
    if pids[0] not in pids[1:]:
        pytest.skip("a pid cannot be asked for here")
    first, *others = found.children
    assert first.exit_code == 3
    assert first.copied_bytes >= 1000 * PAGE_BYTES
    assert {child.exit_code for child in others} == {4}
    assert max(child.copied_bytes for child in others) < 500 * PAGE_BYTES


@pytest.mark.slow
def test_children_killed_while_they_are_read_are_never_told_wrong(run_watched):
    found = run_watched(
        """
        import mmap, os, random, signal, time
        pages = 20_000
        known = mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE)
        known.madvise(mmap.MADV_NOHUGEPAGE)
        def write():
            for page in range(pages):
                known[page * mmap.PAGESIZE] = 1
        write()
        random.seed(1)
        # watched
        for _ in range(60):
            read, wr = os.pipe()
            if not (pid := os.fork()):
                write()
                os.write(wr, b"1")
                signal.pause()
            os.read(read, 1)
            os.close(read), os.close(wr)
            os.kill(pid, signal.SIGKILL)
            time.sleep(random.random() * 0.003)
            os.kill(pid, signal.SIGKILL)  # it ends in the middle of its last reading
            os.waitpid(pid, 0)
        """
    )
    assert len(found.children) == 60
    for child in found.children:
        assert child.signal == 9
        if child.last_seen_seconds is None:
            assert 0 <= child.copied_bytes // PAGE_BYTES - 20_000 < 400
        assert child.gone_bytes < 100 * PAGE_BYTES
