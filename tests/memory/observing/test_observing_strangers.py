"""Children that inherit nothing from here are listed with their own memory."""

from __future__ import annotations

import sys

import pytest


def test_children_that_are_started_anew(run_watched):
    found = run_watched(
        """
        import multiprocessing, subprocess, sys, time
        data = bytearray(20_000_000)
        work = "d = bytearray(b'1') * 10_000_000; print(); input()"
        # watched
        out["pids"] = {}
        started = []
        for method in ("spawn", "forkserver"):
            context = multiprocessing.get_context(method)
            event = context.Event()
            process = context.Process(target=event.wait)
            process.start()
            started.append((process, event))
            out["pids"][method] = process.pid
        piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", work], **piped) as process:
            out["pids"]["exec"] = process.pid
            process.stdout.read(1)
            read = 0
            while read < 10_000_000:  # by the way: nothing stops it at its end
                time.sleep(0.05)
                seen = {child.pid: child for child in watch.look()}
                figures = [seen[p].figures for p in out["pids"].values() if p in seen]
                if len(figures) == 3 and all(figures):
                    read = figures[-1].new_bytes
            process.communicate(b"go")
        for child, event in started:
            event.set()
            child.join()
        """
    )
    for method, pid in found.out["pids"].items():
        child = found.by_pid(pid)
        assert child.started_by == method
        assert child.inherited_bytes == child.copied_bytes == 0
        assert child.new_bytes > 0
        assert child.last_seen_seconds is not None
        assert child.timeline
    assert found.by_pid(found.out["pids"]["exec"]).new_bytes > 10_000_000
    assert len(found.children) == 3, "the helpers of multiprocessing are left out"


def test_programs_are_listed_however_short_they_live(run_watched):
    found = run_watched(
        """
        import asyncio, multiprocessing, os, subprocess
        def run_asynchronously():
            async def run():
                process = await asyncio.create_subprocess_exec("true")
                return await process.wait()
            return asyncio.run(run())
        def start(method):
            process = multiprocessing.get_context(method).Process(target=os.getpid)
            process.start()
            process.join()
            return process.exitcode
        def run_in_a_child():
            if not (pid := os.fork()):
                os._exit(subprocess.run(["true"]).returncode)
            return os.waitpid(pid, 0)[1]
        # watched
        out["codes"] = [
            subprocess.run(["true"]).returncode,
            subprocess.run(["true"], close_fds=False).returncode,
            subprocess.run(["true"], preexec_fn=os.getpid).returncode,
            os.waitpid(os.posix_spawnp("true", ["true"], os.environ), 0)[1],
            run_asynchronously(),
            os.spawnlp(os.P_WAIT, "true", "true"),
            start("spawn"),
            start("forkserver"),
            run_in_a_child(),
        ]
        ours = {"__name__": "ipc_magic.helper", "run": subprocess.run}
        exec("run(['true'])", ours)
        """
    )
    assert found.out["codes"] == [0] * 9
    forked, *programs = sorted(found.children, key=lambda c: c.started_by != "fork")
    assert [child.how for child in programs] == [
        *["true"] * 5,
        "os.fork",
        "multiprocessing.spawn",
        "multiprocessing.forkserver",
        "true",
    ]
    assert [child.line for child in programs[:-1]] == list(range(2, 10))
    assert programs[-1].parent_pid == forked.pid
    for child in programs:
        assert not child.copied_bytes
        assert (child["figures"] is None) == (child.fault is not None)


def test_programs_that_fail_to_start_fail_as_always(run_watched):
    found = run_watched(
        """
        import subprocess
        # watched
        try:
            subprocess.run(["/no/such/program"])
        except FileNotFoundError as error:
            out["error"] = str(error)
        """
    )
    assert "/no/such/program" in found.out["error"]
    # By posix_spawn, which Python 3.13 takes for it, there was no child at all.
    assert len(found.children) == (sys.version_info < (3, 13))
    for child in found.children:
        assert child.started_by == "exec"
        assert child["figures"] is None


@pytest.mark.slow
def test_a_child_of_c_code_is_told_as_not_met(run_watched):
    found = run_watched(
        """
        import ctypes, os, time
        fork = ctypes.PyDLL(None).fork  # the interpreter does not know
        # watched
        if not (pid := fork()):
            time.sleep(1.2)
            os._exit(0)
        os.waitpid(pid, 0)
        """
    )
    (child,) = found.children
    assert child.started_by == "fork"
    assert child["figures"] is None
    assert "hook" in child.fault
