"""Rows 34-40 and 53 of the fault table: what the moment of the fork leaves behind.

Locks, threads, compute libraries, limits, memory, files and random states.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import importlib.util
import io
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import ipc_magic
from ipc_magic.errors import (
    CannotStart,
    ChildOutOfMemory,
    ChildTimeout,
    NotBroughtBack,
)
from ipc_magic.process import guards

# What a child needs to start; much more than that on a busy machine.
PATIENCE = 60

SESSION = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

config = Config()
config.HistoryManager.enabled = False
config.HistoryManager.hist_file = ":memory:"
config.InteractiveShell.colors = "nocolor"
shell = InteractiveShell.instance(config=config)
shell.run_line_magic("load_ext", "ipc_magic")
for cell in json.loads(sys.argv[1]):
    shell.run_cell(cell)
"""
SUMMARY = """
import ipc_magic, json
print(json.dumps([ipc_magic.last.children[0].ending, ipc_magic.last.headline]
                 + [finding.code for finding in ipc_magic.last.findings]))
"""


@pytest.fixture
def session(child_env, tmp_path):
    """Give a function that runs cells in a session of their own, and what it showed."""

    def run(*cells):
        env = child_env | {"IPYTHONDIR": str(tmp_path / "ipython")}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SESSION, json.dumps(cells)],
            env=env,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


def summary_of(text):
    """Return the ending, the headline and the finding codes that `SUMMARY` printed."""
    ending, headline, *codes = json.loads(text.strip().splitlines()[-1])
    return ending, headline, codes


def last_codes():
    return [finding.code for finding in ipc_magic.last.findings]


def last_message(code):
    (found,) = [f.message for f in ipc_magic.last.findings if f.code == code]
    return found


@contextmanager
def thread_running(target):
    """Run `target(stop)` in a thread until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=target, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def no_fork(monkeypatch):
    """Fail the test if anything is forked."""

    def refuse():
        raise AssertionError("a child was forked")

    monkeypatch.setattr(os, "fork", refuse)


# ---- held at the fork


@pytest.mark.fault(34)
def test_a_lock_that_another_thread_holds_is_named_at_the_timeout(ipc_shell, capsys):
    lock, held = threading.RLock(), threading.Event()

    def hold(stop):
        with lock:
            held.set()
            stop.wait(PATIENCE)

    ipc_shell.user_ns["lock"] = lock
    with thread_running(hold):
        assert held.wait(PATIENCE)
        ipc_shell.run_cell(
            "%%inprocess -t 0.5\nx = 1\nlock.acquire()\nprint('never')", raises=False
        )
    shown = capsys.readouterr()
    assert shown.err == ""
    (line,) = shown.out.splitlines()  # the report is displayed, the error printed
    assert line.startswith("ChildTimeout: child ")
    assert line.endswith("(--timeout 0.5) in cell line 3: lock.acquire()")
    assert "lock.acquire()" in ipc_shell.outputs[0].text
    assert ipc_magic.last.children[0].ending == "timeout"
    assert lock.acquire(timeout=PATIENCE)  # the parent's own is as it was


@pytest.mark.fault(34)
def test_a_module_that_another_thread_imports_is_named(
    ipc_shell, tmp_path, monkeypatch
):
    (tmp_path / "faults_slow_module.py").write_text(
        "import sys\ngate = sys.modules['faults_gate']\n"
        "gate.begun.set()\ngate.opened.wait(60)\n"
    )
    gate = types.ModuleType("faults_gate")
    gate.begun, gate.opened = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "faults_gate", gate)
    monkeypatch.syspath_prepend(tmp_path)

    def import_it(_stop):
        importlib.import_module("faults_slow_module")

    with thread_running(import_it):
        assert gate.begun.wait(PATIENCE)
        try:
            with pytest.raises(ChildTimeout, match="cell line 2: import faults_slow_"):
                ipc_shell.run_cell("%%inprocess -t 0.5\nimport faults_slow_module")
        finally:
            gate.opened.set()
    del sys.modules["faults_slow_module"]
    assert "importing faults_slow_module at the fork" in last_message("import")


@pytest.mark.fault(34)
def test_a_module_that_is_imported_shortly_is_waited_for(
    ipc_shell, tmp_path, monkeypatch
):
    (tmp_path / "faults_short_module.py").write_text(
        "import sys, time\nsys.modules['faults_gate'].begun.set()\ntime.sleep(0.1)\n"
    )
    gate = types.ModuleType("faults_gate")
    gate.begun = threading.Event()
    monkeypatch.setitem(sys.modules, "faults_gate", gate)
    monkeypatch.syspath_prepend(tmp_path)

    def import_it(_stop):
        importlib.import_module("faults_short_module")

    with thread_running(import_it):
        assert gate.begun.wait(PATIENCE)
        ipc_shell.run_cell("%%inprocess -t 30\nimport faults_short_module")
    del sys.modules["faults_short_module"]
    assert last_codes() == []


@pytest.mark.fault(34)
def test_a_pool_of_threads_made_before_is_named(ipc_shell):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        ipc_shell.user_ns["pool"] = pool
        with pytest.raises(ChildTimeout, match=r"cell line 2: pool\.submit\(int\)"):
            ipc_shell.run_cell("%%inprocess -t 0.5\npool.submit(int).result()")
        assert pool.submit(int).result() == 0
    assert "`pool` is a ThreadPoolExecutor" in last_message("executor")
    ipc_shell.user_ns.pop("pool")


@pytest.mark.fault(34)
def test_a_child_that_hangs_before_its_code_begins_is_given_up(ipc_shell, monkeypatch):
    from ipc_magic.process import child, monitor

    monkeypatch.setattr(monitor, "HELLO_SECONDS", 0.5)
    monkeypatch.setattr(child, "_forget_the_parent", lambda *_: time.sleep(600))
    with pytest.raises(CannotStart, match=r"did not start: it never answered"):
        ipc_shell.run_cell("%%inprocess\nprint('never')")
    assert ipc_magic.last.children[0].ending == "not_started"


@pytest.mark.fault(34)
def test_a_child_that_computes_is_not_said_to_wait(ipc_shell, capsys, monkeypatch):
    from ipc_magic.process import monitor

    monkeypatch.setattr(monitor, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(monitor, "_TICK_SECONDS", 0.1)
    ipc_shell.run_cell(
        "%%inprocess\nimport time\nend = time.monotonic() + 1.3\n"
        "while time.monotonic() < end:\n    pass"
    )
    assert capsys.readouterr() == ("", "")


@pytest.mark.fault(34)
def test_a_grandchild_that_computes_counts_as_use_of_cpu(
    ipc_shell, capsys, monkeypatch
):
    from ipc_magic.process import monitor

    monkeypatch.setattr(monitor, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(monitor, "_TICK_SECONDS", 0.1)
    ipc_shell.run_cell(
        "%%inprocess\nimport subprocess, sys\nsubprocess.run([sys.executable, '-c', "
        "'import time; end = time.monotonic() + 1.3\\n"
        "while time.monotonic() < end: pass'])"
    )
    assert capsys.readouterr() == ("", "")


class Guarded(logging.Handler):
    """Has a lock of its own that no fork renews, as the buffer of a file has."""

    def __init__(self, stop):
        super().__init__()
        self.stop = stop
        self.inner = threading.Lock()

    def emit(self, record):
        with self.inner:
            self.stop.wait(0.02)


@pytest.mark.fault(36)
def test_a_busy_logging_handler_is_quiet_at_the_fork(ipc_shell):
    log = logging.Logger("busy")
    handlers = []

    def keep_busy(stop):
        handlers.append(Guarded(stop))
        log.addHandler(handlers[0])
        while not stop.wait(0.001):
            log.error("again")

    ipc_shell.user_ns["log"] = log
    with thread_running(keep_busy):
        while not handlers:
            pass
        for _ in range(5):
            ipc_shell.run_cell("%%inprocess -q -t 30\nlog.error('in the child')")
    log.removeHandler(handlers[0])
    handlers[0].close()


@pytest.mark.fault(36)
def test_a_logging_handler_that_stays_busy_does_not_keep_the_cell(ipc_shell):
    handler, held = logging.StreamHandler(io.StringIO()), threading.Event()
    gave_up = []

    def hold(stop):
        with handler.lock:
            held.set()
            gave_up.append(not stop.wait(PATIENCE / 2))

    with thread_running(hold):
        assert held.wait(PATIENCE)
        ipc_shell.user_ns["handler"] = handler
        ipc_shell.run_cell(
            "%%inprocess -q -o done -t 30\nimport logging\n"
            "handler.emit(logging.makeLogRecord({}))\ndone = True"
        )
    handler.close()
    assert ipc_shell.user_ns["done"] is True
    assert gave_up == [False]


# ---- compute libraries


def need(module):
    """Skip without `module`; it is not imported here, where it would start threads."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


GOMP = """
int total(int n) {
    int sum = 0;
    #pragma omp parallel for reduction(+:sum) num_threads(2)
    for (int i = 0; i < n; i++) sum += i;
    return sum;
}
int anywhere(int n) {
    int sum = 0;
    #pragma omp parallel for reduction(+:sum)
    for (int i = 0; i < n; i++) sum += i;
    return sum;
}
"""


@pytest.fixture(scope="module")
def gomp(tmp_path_factory):
    """Give the path of a shared library that computes with libgomp."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("gomp")
    (folder / "total.c").write_text(GOMP)
    command = ["gcc", "-fopenmp", "-shared", "-fPIC", "-o", "libtotal.so", "total.c"]
    made = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"gcc cannot make an OpenMP library: {made.stderr.decode()[:80]}")
    return folder / "libtotal.so"


@pytest.mark.fault(35)
def test_openmp_used_before_the_fork_computes_in_the_child(gomp, session):
    shown = session(
        f"import ctypes; lib = ctypes.CDLL({str(gomp)!r}); lib.total(1000)",
        "%%inprocess -t 30 -o total\ntotal = lib.anywhere(1000)",
        "print(total)",
        SUMMARY,
    )
    assert "499500\n" in shown
    ending, _, codes = summary_of(shown)
    assert (ending, codes) == ("finished", ["openmp"])
    assert "the child computes with one thread" in " ".join(shown.split())


@pytest.mark.slow
@pytest.mark.fault(35)
def test_openmp_with_the_threads_kept_hangs_and_the_line_is_named(gomp, session):
    if (os.cpu_count() or 1) < 2:
        pytest.skip("with one processor OpenMP makes no threads")
    shown = session(
        f"import ctypes; lib = ctypes.CDLL({str(gomp)!r}); lib.total(1000)",
        "%%inprocess -t 2 --threads 2\nlib.total(1000)",
        SUMMARY,
    )
    ending, headline, _ = summary_of(shown)
    assert ending == "timeout"
    assert "cell line 2: lib.total(1000)" in headline


@pytest.mark.slow  # as long as the import of torch takes
@pytest.mark.fault(35)
def test_torch_used_before_the_fork_computes_in_the_child(session):
    need("torch")
    shown = session(
        "import torch; a = torch.ones(600, 600); (a @ a).relu().sum()",
        "%%inprocess -t 50 -o total\ntotal = float((a @ a).relu().sum())",
        "print('total', int(total))",
        SUMMARY,
    )
    assert "total 216000000\n" in shown
    ending, _, codes = summary_of(shown)
    assert (ending, codes) == ("finished", ["openmp"])


QUERY = "df.group_by(polars.col('a') % 7).len().height"


@pytest.mark.slow
@pytest.mark.fault(35)
def test_polars_used_before_the_fork_is_told_of_when_it_hangs(session):
    need("polars")
    shown = session(
        "import polars; df = polars.DataFrame({'a': list(range(100_000))})\n" + QUERY,
        f"%%inprocess -t 2\n{QUERY}",
        SUMMARY,
    )
    ending, headline, codes = summary_of(shown)
    assert ending in ("timeout", "finished")  # the report must not be silent
    assert "polars" in codes
    assert ending == "finished" or "cell line 2: df.group_by(" in headline


@pytest.mark.fault(35)
def test_polars_loaded_is_told_of(ipc_shell, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", types.ModuleType("polars"))
    ipc_shell.run_cell("%inprocess 1")
    assert "import it in the cell" in last_message("polars")


@pytest.mark.fault(35)
def test_nothing_is_said_where_nothing_was_loaded(ipc_shell, monkeypatch):
    from ipc_magic.process import hazards

    monkeypatch.delitem(sys.modules, "polars", raising=False)
    if hazards.openmp_loaded():
        pytest.skip("this test process has loaded OpenMP")
    ipc_shell.run_cell("%inprocess 1")
    assert last_codes() == []


@pytest.mark.usefixtures("no_fork")
@pytest.mark.fault(37)
def test_an_open_cuda_context_is_a_reason_to_refuse(ipc_shell, monkeypatch, capsys):
    torch = types.ModuleType("torch")
    torch.cuda = types.SimpleNamespace(is_initialized=lambda: True)
    monkeypatch.setitem(sys.modules, "torch", torch)
    ipc_shell.run_cell("%%inprocess\n1", raises=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("CannotStart: not started: torch has opened CUDA")
    assert "restart the session" in line


TORCH_WITH_CUDA = """
import torch
torch.cuda._initialized = True  # as torch notes it when it opens CUDA
"""


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@pytest.mark.fault(37)
def test_torch_s_own_note_that_cuda_is_open_is_heeded(session):
    refused, ran = session(
        TORCH_WITH_CUDA,
        "%%inprocess -q\nprint('ran')",
        "torch.cuda._initialized = False",
        "%%inprocess -q\nprint('ran')",
    ).splitlines()
    assert refused.startswith("CannotStart: not started: torch has opened CUDA")
    assert ran == "ran"


# ---- no process to be had


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
@pytest.mark.fault(38)
def test_a_fork_that_fails_takes_the_earlier_children_along(
    number, ipc_shell, monkeypatch
):
    fork, made = os.fork, []

    def fork_twice():
        if len(made) == 2:
            raise OSError(number, os.strerror(number))
        pid = fork()
        made.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", fork_twice)
    with pytest.raises(CannotStart) as caught:
        ipc_shell.run_cell("%%inprocess -n 4\nimport time; time.sleep(600)")
    text = str(caught.value)
    assert text.startswith("not started: child 2 of 4 could not be forked")
    assert os.strerror(number) in text
    assert "\n" not in text
    assert len(made) == 2
    for pid in made:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    monkeypatch.setattr(os, "fork", fork)
    ipc_shell.run_cell("%%inprocess -n 2 -o x\nx = child_index")
    assert ipc_shell.user_ns["x"] == [0, 1]


# Once the first process of a PID namespace has ended, fork(2) there says ENOMEM.
NO_MEMORY = """
import ctypes, os
assert ctypes.CDLL(None).unshare(0x20000000) == 0
first = os.fork() or os._exit(0)
_ = os.waitpid(first, 0)
"""
# Root may fork beyond the limit, so this becomes somebody who has no process yet.
FEW_PROCESSES = """
import ctypes, os, resource
if os.getuid() == 0:
    os.setuid(61000 + os.getpid() % 4000)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: /proc/self stays readable
    resource.setrlimit(resource.RLIMIT_NPROC, (3, 3))
else:
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
"""


def can_unshare():
    """Try in a process of its own: there is no way back."""
    code = "import ctypes; exit(ctypes.CDLL(None).unshare(0x20000000) != 0)"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["EAGAIN", "ENOMEM"])
@pytest.mark.fault(38)
def test_the_system_refuses_to_fork(kind, session):
    if kind == "ENOMEM" and not can_unshare():
        pytest.skip("a PID namespace cannot be made here")
    limit = NO_MEMORY if kind == "ENOMEM" else FEW_PROCESSES
    shown = session(
        "%inprocess 1;",  # everything is imported
        limit,
        "%%inprocess -n 4\nimport time; time.sleep(600)",
        "import os; print(os.listdir(f'/proc/self/task/{os.getpid()}') and 'alive')\n"
        "try:\n    print(os.waitpid(-1, os.WNOHANG))\n"
        "except ChildProcessError:\n    print('no child')",
    )
    _, refused, alive, none = shown.splitlines()
    why = os.strerror(getattr(errno, kind))
    assert refused.startswith("CannotStart: not started: child ")
    assert f"could not be forked ({why})" in refused
    assert (alive, none) == ("alive", "no child")


@contextmanager
def descriptors_left(number):
    """Leave so many file descriptors to this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 50, before[1]))
    opened = []
    try:
        while True:
            try:
                opened.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        for _ in range(number):
            os.close(opened.pop())
        yield
    finally:
        for fd in opened:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("left", [0, 1, 4, 7, 12, 16])
@pytest.mark.fault(38)
def test_no_descriptors_are_left(left, ipc_shell):
    ipc_shell.run_cell("%%inprocess -n 4\n1")  # all is imported and open
    with descriptors_left(left), pytest.raises(CannotStart) as caught:
        ipc_shell.run_cell("%%inprocess -n 4\nimport time; time.sleep(600)")
    assert "Too many open files" in str(caught.value)
    assert "\n" not in str(caught.value)
    ipc_shell.run_cell("%%inprocess -o x -n 4\nx = child_index")
    assert ipc_shell.user_ns["x"] == [0, 1, 2, 3]


@pytest.mark.fault(38)
def test_few_descriptors_are_enough(ipc_shell):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 40, before[1]))
    try:
        ipc_shell.run_cell("%%inprocess -o x\nx = 1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert ipc_shell.user_ns["x"] == 1


# ---- somebody else waits


@pytest.fixture
def children_ignored():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("children_ignored")
@pytest.mark.fault(39)
def test_with_sigchld_ignored_the_result_comes_and_the_status_is_unknown(ipc_shell):
    ipc_shell.run_cell("%%inprocess -o x\nx = [1, 2]")
    assert ipc_shell.user_ns["x"] == [1, 2]
    assert ipc_magic.last.children[0].ending == "finished"
    assert ipc_magic.last.children[0].exit_code is None
    assert "its exit status is unknown" in last_message("status_unknown")


@pytest.mark.usefixtures("children_ignored")
@pytest.mark.fault(39)
def test_with_sigchld_ignored_objects_of_own_classes_come_too(ipc_shell):
    ipc_shell.run_cell("class Made: pass")
    ipc_shell.run_cell("%%inprocess -o x\nx = Made()")
    assert type(ipc_shell.user_ns["x"]) is ipc_shell.user_ns["Made"]
    with pytest.raises(NotBroughtBack, match=r"`bad` .*\(exit code 3\)"):
        ipc_shell.run_cell(
            "%%inprocess -o bad,x\nimport os\nclass Bad:\n"
            "    def __reduce__(self): os._exit(3)\nbad, x = Bad(), 5"
        )
    assert ipc_shell.user_ns["x"] == 5


@pytest.mark.usefixtures("children_ignored")
@pytest.mark.fault(39)
def test_with_sigchld_ignored_a_child_without_a_result_is_told_of(ipc_shell):
    with pytest.raises(ipc_magic.ChildEnded, match="exit status unknown"):
        ipc_shell.run_cell("%%inprocess\nimport os; os._exit(4)")


WAITER = """
import os, threading, time
import ipc_magic
def reap():
    while not over.is_set():
        try:
            taken.add(os.waitpid(-1, 0)[0])
        except ChildProcessError:
            time.sleep(0.0005)
came, ran, taken, over = [], [], set(), threading.Event()
reaper = threading.Thread(target=reap, daemon=True)
reaper.start()
class Made: pass
"""
# It takes about every second child; which ones, the kernel decides.
RUNS = """
while len(ran) < 8 or not (taken & {run.pid for run in ran} or len(ran) > 100):
    get_ipython().run_cell_magic(
        'inprocess', '-q -o x,y', 'x = len(ran); y = Made()')
    came.append((x, type(y) is Made))
    ran += ipc_magic.last.children
over.set(); reaper.join()
"""
TAKEN = """
print(came == [(n, True) for n in range(len(came))], {run.ending for run in ran})
print(any(run.pid in taken for run in ran))
print(all((run.exit_code is None) == (run.pid in taken) for run in ran))
"""


@pytest.mark.fault(39)
def test_a_thread_that_reaps_all_children_takes_no_result_away(session):
    assert session(WAITER, RUNS, TAKEN) == "True {'finished'}\nTrue\nTrue\n"


# ---- memory


@pytest.mark.fault(40)
def test_an_allocation_beyond_the_limit_is_a_memory_error(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess --memory 64MiB\nx = 1\nbig = bytearray(500 << 20)", raises=False
    )
    shown = capsys.readouterr().out
    assert "MemoryError" in shown
    assert "----> 3 big = bytearray(500 << 20)" in shown
    assert ipc_magic.last.children[0].ending == "raised"
    assert "big" not in ipc_shell.user_ns


@pytest.mark.fault(40)
def test_the_code_can_catch_the_memory_error_and_go_on(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess --memory 64MiB -o small\ntry:\n    bytearray(500 << 20)\n"
        "except MemoryError:\n    small = bytes(100)"
    )
    assert ipc_shell.user_ns["small"] == bytes(100)


@pytest.mark.fault(40, 46)
def test_a_result_too_large_to_pickle_within_the_limit_is_named(ipc_shell):
    with pytest.raises(NotBroughtBack, match=r"`big` .*MemoryError"):
        ipc_shell.run_cell(
            "%%inprocess --memory 150MiB -o small,big\nimport array\n"
            # More than fits in memory that this process has freed.
            "big = array.array('b', [0]) * (100 << 20)\nsmall = bytes(8)"
        )
    assert ipc_shell.user_ns["small"] == bytes(8)
    assert "big" not in ipc_shell.user_ns


@pytest.mark.fault(40)
def test_a_result_that_is_not_copied_to_be_sent_counts_once(ipc_shell):
    ipc_shell.run_cell("%%inprocess --memory 64MiB -o big\nbig = bytes(40 << 20)")
    assert ipc_shell.user_ns.pop("big") == bytes(40 << 20)


@pytest.mark.fault(40)
def test_copied_memory_counts_too_and_stops_the_child(ipc_shell):
    ipc_shell.run_cell("big = bytearray(b'x') * (120 << 20)")
    with pytest.raises(ChildOutOfMemory, match="stopped at --memory 20 MiB after"):
        ipc_shell.run_cell(
            "%%inprocess --memory 20MiB\nimport time\n"
            "big[::4096] = bytes(len(big) // 4096)\ntime.sleep(60)"
        )
    assert ipc_magic.last.children[0].ending == "memory_limit"
    assert ipc_magic.last.headline.endswith("Your session is unharmed.")
    assert ipc_shell.user_ns["big"][0] == ord("x")


# What RLIMIT_DATA does not count: shared mappings, and other processes.
UNCOUNTED = {
    "shared mapping": "import mmap\nshared = mmap.mmap(-1, 100 << 20)\n"
    "shared[::4096] = bytes((100 << 20) // 4096)\nheld = 'shared'",
    "grandchildren": "import os\n"
    "for _ in range(20):\n"
    "    if not os.fork():\n"
    "        data = bytearray(8 << 20); os._exit(0)\n"
    "while True:\n"
    "    try:\n        os.wait()\n"
    "    except ChildProcessError:\n        break\n"
    "held = 'grandchildren'",
}


@pytest.mark.parametrize("kind", UNCOUNTED)
@pytest.mark.fault(40)
def test_memory_that_the_limit_does_not_count_harms_nobody(kind, ipc_shell):
    try:
        ipc_shell.run_cell(f"%%inprocess --memory 32MiB -o held\n{UNCOUNTED[kind]}")
    except ChildOutOfMemory:  # counted after all, from outside
        assert ipc_magic.last.children[0].ending == "memory_limit"
    else:
        assert ipc_shell.user_ns["held"]
    ipc_shell.run_cell("%%inprocess -o held\nheld = 'the next cell'")
    assert ipc_shell.user_ns["held"] == "the next cell"


@pytest.mark.usefixtures("no_fork")
@pytest.mark.fault(40)
def test_what_keep_free_asks_for_is_not_there(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess --keep-free 100_000GiB\n1", raises=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("CannotStart: not started: ")
    assert "free, and --keep-free asks for 100,000.0 GiB" in line


@pytest.mark.fault(40)
def test_children_are_stopped_when_too_little_is_left(ipc_shell, tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    monkeypatch.setattr(
        guards, "available_bytes", lambda: 1 << (28 if begun.exists() else 40)
    )
    ipc_shell.run_cell("mine = [1, 2, 3]")
    with pytest.raises(ChildOutOfMemory):
        ipc_shell.run_cell(
            f"%%inprocess -n 2 --keep-free 1GiB\nimport pathlib, time\nmine.clear()\n"
            f"pathlib.Path({str(begun)!r}).touch()\ntime.sleep(60)"
        )
    headline = ipc_magic.last.headline
    assert headline.startswith(
        "Stopped: 1.0 GiB left free. All 2 children were stopped"
    )
    assert headline.endswith("Your session is unharmed.")
    assert {child.ending for child in ipc_magic.last.children} == {"keep_free"}
    assert ipc_shell.user_ns["mine"] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.fault(40)
def test_children_that_really_take_the_memory_are_stopped(ipc_shell):
    room = 2 << 30
    if guards.available_bytes() < 3 * room:
        pytest.skip("this machine has too little free memory to take some away")
    keep = guards.available_bytes() - room
    with pytest.raises(ChildOutOfMemory):
        ipc_shell.run_cell(
            f"%%inprocess --keep-free {keep}\nimport time\ntaken = []\n"
            f"while sum(map(len, taken)) < {2 * room}:\n"
            "    taken.append(bytearray(b'x') * (64 << 20))\ntime.sleep(60)"
        )
    assert ipc_magic.last.children[0].ending == "keep_free"
    assert ipc_magic.last.headline.startswith("Stopped: ")


# ---- shared state


@pytest.mark.fault(53)
def test_what_a_file_holds_unwritten_is_written_once(ipc_shell, tmp_path):
    path = tmp_path / "text"
    ipc_shell.user_ns["path"] = str(path)
    ipc_shell.run_cell("file = open(path, 'w'); _ = file.write('here ')")
    ipc_shell.run_cell("%%inprocess\n_ = file.write('there ')")
    ipc_shell.run_cell("file.write('again'); file.close()")
    assert path.read_text() == "here there again"
    assert "`file` is open for writing" in last_message("file")
    ipc_shell.user_ns.pop("path")


@pytest.mark.fault(53)
def test_what_a_library_holds_unwritten_is_written_once(ipc_shell, tmp_path):
    path = tmp_path / "text"
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(bytes(path), b"w"))
    libc.fputs(b"held by C\n", stream)
    assert path.read_text() == ""
    ipc_shell.run_cell("%%inprocess -q\nprint('by Python')")
    libc.fclose(stream)
    assert path.read_text() == "held by C\n"


@pytest.mark.fault(53)
def test_the_place_in_a_file_is_shared_and_that_is_told(ipc_shell, tmp_path):
    path = tmp_path / "text"
    path.write_text("0123456789")
    ipc_shell.user_ns["path"] = str(path)
    ipc_shell.run_cell("file = open(path, 'r+', buffering=1); _ = file.seek(0)")
    ipc_shell.run_cell("%%inprocess\n_ = file.read()")
    fd = ipc_shell.ev("file.fileno()")
    assert os.lseek(fd, 0, os.SEEK_CUR) == 10  # the child read on
    assert "same place in the same file" in last_message("file")
    ipc_shell.run_cell("file.close()")
    ipc_shell.user_ns.pop("path")


DRAWS = {
    "the global one": ("numpy.random.rand()", 2),
    "a generator": ("rng.random()", 2),
    "different amounts": ("numpy.random.rand(1 + 100 * child_index)", 2),
    "of a generator": ("rng.random(1 + 5000 * child_index)", 2),
    "one child only": ("child_index and numpy.random.rand()", 0),
    "the same seed": ("numpy.random.seed(1); numpy.random.rand()", 2),
    "seeded": ("numpy.random.seed(child_index); numpy.random.rand()", 0),
    "its own": ("numpy.random.default_rng(child_index).random()", 0),
    "no numpy": ("__import__('random').random()", 0),
    "nothing": ("1", 0),
}


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.fault(53)
def test_children_that_drew_the_same_numbers_are_told_of(kind, ipc_shell):
    code, told = DRAWS[kind]
    ipc_shell.run_cell("import numpy.random; rng = numpy.random.default_rng(3)")
    ipc_shell.run_cell(f"%%inprocess -q -n 2\n_ = {code.replace('; ', '; _ = ')}")
    found = [f for f in ipc_magic.last.findings if f.code == "random"]
    assert [f.figures["children"] for f in found] == ([told] if told else [])


@pytest.mark.fault(53)
def test_one_child_has_no_other_to_draw_the_same_as(ipc_shell):
    ipc_shell.run_cell("import numpy.random")
    ipc_shell.run_cell("%%inprocess -q\n_ = numpy.random.rand()")
    assert last_codes() == []


@pytest.mark.fault(53)
def test_folder_and_environment_of_the_child_are_its_own(ipc_shell, tmp_path):
    before = Path.cwd()
    ipc_shell.run_cell(
        f"%%inprocess\nimport os\nos.chdir({str(tmp_path)!r})\n"
        "os.environ['FAULTS_LEFT'] = '1'"
    )
    assert Path.cwd() == before
    assert "FAULTS_LEFT" not in os.environ
