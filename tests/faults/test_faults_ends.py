"""Rows 8-23 of the fault table: how a child ends, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from contextlib import contextmanager, suppress

import psutil
import pytest

import ipc_magic
from ipc_magic.process import fork, guards, monitor

PATIENCE_SECONDS = 30


def wait_until(condition):
    """Wait until `condition()` holds; say whether it came to that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


def gone(pid):
    """Say whether a process has ended; nobody may be there to reap it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def interrupting(*files):
    """Send SIGINT to this process as each of the files appears, one by one."""

    def send():
        for file in files:
            if wait_until(file.exists):
                os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        for file in files:
            file.touch()
        thread.join()


def only(shell):
    (report,) = shell.outputs
    return report.text


EXITS = {
    "import sys; sys.exit(3)": (3, ""),
    "import sys; sys.exit('bye')": (1, ": bye"),
    "import sys; sys.exit()": (0, ""),
    "raise SystemExit(None)": (0, ""),
    "raise SystemExit(257)": (1, ""),
    "exit()": (0, ""),
    "quit()": (0, ""),
    "exit(4)": (4, ""),
    "quit('why')": (1, ": why"),
}


@pytest.mark.fault(8)
@pytest.mark.parametrize("code", EXITS)
def test_an_exit_is_an_error_with_its_code(ipc_shell, code):
    number, text = EXITS[code]
    with pytest.raises(ipc_magic.ChildExit) as caught:
        ipc_shell.run_cell(f"%%inprocess\n{code}\nprint('never')")
    assert caught.value.code == number
    told = rf"child \d+ called sys\.exit\({number}\) after [^:]+{text}"
    assert re.fullmatch(told, str(caught.value))
    assert re.search(
        rf"called sys\.exit\({number}\) after [^:]+{text}\.", only(ipc_shell)
    )
    assert caught.value.report is ipc_magic.last
    assert ipc_magic.last.children[0].exit_code == number


@pytest.mark.fault(8)
def test_what_a_child_says_as_it_exits_is_not_lost(ipc_shell):
    long = "bye " * 100
    ipc_shell.run_cell(
        f"%%inprocess -n 2 --no-raise-error\nquit('one' if child_index else {long!r})"
    )
    assert "called sys.exit(1): one." in " ".join(only(ipc_shell).split())
    errors = [child.error for child in ipc_magic.last.children]
    assert [error.message for error in errors] == [long, "one"]
    assert "SystemExit: bye bye" in str(ipc_magic.last.details())


@pytest.mark.fault(8)
@pytest.mark.parametrize("code", ["exit", "quit()", "import sys; sys.exit(3)"])
def test_a_kernel_survives_an_exit(kernel, code):
    pid = kernel.pid
    reply = kernel.run(f"%%inprocess\n{code}")
    assert reply.ename == "ChildExit"
    assert len(reply.traceback) == 1
    assert not any(message["content"].get("payload") for message in reply.messages)
    assert kernel.run("print('on')").ok().stdout == "on\n"
    assert (kernel.pid, kernel.children()) == (pid, [])


@pytest.mark.fault(8)
@pytest.mark.parametrize("body", ["exit", "\nquit\n", "  exit"])
def test_exit_without_parentheses_exits_as_in_a_cell_of_its_own(ipc_shell, body):
    with pytest.raises(ipc_magic.ChildExit, match=r"called sys\.exit\(0\)"):
        ipc_shell.run_cell(f"%%inprocess\n{body}")


@pytest.mark.fault(8)
def test_exit_without_parentheses_behind_other_lines_is_a_value(ipc_shell):
    shown = []
    for head in ("", "%%inprocess -q\n"):
        ipc_shell.run_cell(f"{head}x = 1\nexit")
        shown.append(ipc_shell.outputs[-1].text.partition(" at ")[0])
    assert shown[0].startswith("<IPython.core.autocall.")
    assert shown[1] == shown[0]


@pytest.mark.fault(9)
@pytest.mark.parametrize("code", [0, 5])
def test_a_child_that_quits_says_no_result(ipc_shell, capsys, code):
    with pytest.raises(ipc_magic.ChildEnded) as caught:
        ipc_shell.run_cell(
            f"%%inprocess -o x\nx = 1\nprint(x)\nimport os; os._exit({code})"
        )
    assert re.fullmatch(
        rf"child \d+ ended with exit code {code} without reporting a result",
        str(caught.value),
    )
    assert "x" not in ipc_shell.user_ns
    assert capsys.readouterr().out == "1\n"
    assert caught.value.report.children[0].ending == "quit"


CRASHES = ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"]


@pytest.mark.fault(10)
@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_is_named_with_its_stack(ipc_shell, capsys, name):
    ipc_shell.run_cell(
        f"%%inprocess\nimport os, signal\ndef inner():\n"
        f"    os.kill(os.getpid(), signal.{name})\ndef outer():\n    inner()\nouter()",
        raises=False,
    )
    place = f"cell line 4: os.kill(os.getpid(), signal.{name})"
    head, *stack = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        rf"ChildKilled: child \d+ was killed by {name} in {re.escape(place)}", head
    )
    assert re.match(r"  the cell, line 7, in <", stack[0])
    assert stack[1:] == [
        "  the cell, line 6, in outer",
        "  the cell, line 4, in inner",
    ]
    report = " ".join(only(ipc_shell).split())
    assert f"was killed by {name} in {place}. Your session is unharmed." in report
    (child,) = ipc_magic.last.children
    assert (child.ending, child.signal, child.where) == ("killed", name, place)


@pytest.mark.fault(10)
def test_a_crash_in_a_kernel_shows_nothing_of_the_kernel(kernel):
    reply = kernel.run(
        "%%inprocess\nimport ctypes\ndef deep():\n    ctypes.string_at(0)\ndeep()"
    )
    assert reply.ename == "ChildKilled"
    text = "\n".join(reply.traceback)
    assert "SIGSEGV in cell line 4: ctypes.string_at(0)" in text
    assert "the cell, line 5, in <" in text
    assert not re.search("ipykernel|IPython|asyncio|ipc_magic/|runpy", text)
    assert not re.search("Fatal Python error|Segmentation", reply.stderr + kernel.log)
    assert "in cell line 4: ctypes.string_at(0)" in reply.displays[0]["text/plain"]


@pytest.mark.fault(10)
def test_a_crash_in_a_thread_of_the_child(ipc_shell):
    with pytest.raises(ipc_magic.ChildKilled, match="SIGSEGV"):
        ipc_shell.run_cell(
            "%%inprocess\nimport ctypes, threading\n"
            "t = threading.Thread(target=ctypes.string_at, args=(0,))\n"
            "t.start()\nt.join()"
        )


@pytest.mark.fault(11)
def test_a_kill_is_not_called_lack_of_memory(ipc_shell):
    with pytest.raises(ipc_magic.ChildKilled, match="was killed by SIGKILL") as caught:
        ipc_shell.run_cell("%%inprocess\nimport os\nos.kill(os.getpid(), 9)")
    assert type(caught.value) is ipc_magic.ChildKilled
    assert "memory" not in f"{caught.value}{only(ipc_shell)}".lower()


@pytest.mark.fault(11)
def test_a_kill_for_lack_of_memory_is_called_so_by_the_kernels_count(
    ipc_shell, monkeypatch
):
    counts = iter(range(100))
    monkeypatch.setattr(guards, "oom_kills", lambda: next(counts))
    with pytest.raises(ipc_magic.ChildOutOfMemory, match="for lack of memory"):
        ipc_shell.run_cell("%%inprocess\nimport os\nos.kill(os.getpid(), 9)")
    report = " ".join(only(ipc_shell).split())
    assert "killed for lack of memory (SIGKILL, oom_kill went up)" in report


@pytest.mark.fault(11)
def test_another_signal_is_no_lack_of_memory_whatever_the_count(ipc_shell, monkeypatch):
    counts = iter(range(100))
    monkeypatch.setattr(guards, "oom_kills", lambda: next(counts))
    with pytest.raises(ipc_magic.ChildKilled, match="SIGTERM"):
        ipc_shell.run_cell("%%inprocess\nimport os\nos.kill(os.getpid(), 15)")
    assert ipc_magic.last.children[0].ending == "killed"


@pytest.mark.fault(12)
@pytest.mark.parametrize("busy", ["while True: pass", "import time; time.sleep(60)"])
def test_an_endless_cell_ends_at_its_timeout(ipc_shell, capsys, busy):
    ipc_shell.run_cell(f"%%inprocess -t 0.7\nprint('up')\n{busy}", raises=False)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "up"
    (line,) = shown[1:]
    assert re.match(
        r"ChildTimeout: child \d+ was stopped after .*\(--timeout 0.7", line
    )
    assert busy in line
    (child,) = ipc_magic.last.children
    assert (child.ending, child.signal) == ("timeout", "SIGTERM")


@pytest.mark.fault(12)
def test_a_child_may_tidy_up_at_its_timeout(ipc_shell, capsys):
    with pytest.raises(ipc_magic.ChildTimeout):
        ipc_shell.run_cell(
            "%%inprocess -t 1\nimport os, signal, time\n"
            "def tidy(*_):\n    print('tidied')\n    os._exit(0)\n"
            "signal.signal(signal.SIGTERM, tidy)\ntime.sleep(60)"
        )
    assert capsys.readouterr().out == "tidied\n"


DEAF = (
    "import signal, time\n"
    "for number in (2, 15): signal.signal(number, signal.SIG_IGN)\n"
)


@pytest.mark.fault(13)
def test_a_child_deaf_to_sigterm_is_killed_after_the_grace(ipc_shell, monkeypatch):
    monkeypatch.setattr(monitor, "GRACE_SECONDS", 0.2)
    with pytest.raises(ipc_magic.ChildTimeout):
        ipc_shell.run_cell(f"%%inprocess -t 1\n{DEAF}while True: time.sleep(1)")
    (child,) = ipc_magic.last.children
    assert (child.ending, child.signal) == ("timeout", "SIGKILL")


@pytest.mark.fault(13)
def test_a_child_deaf_to_an_interrupt_is_killed_after_the_grace(
    ipc_shell, monkeypatch, tmp_path
):
    monkeypatch.setattr(monitor, "GRACE_SECONDS", 0.2)
    ipc_shell.user_ns["up"] = tmp_path / "up"
    with interrupting(tmp_path / "up"), pytest.raises(KeyboardInterrupt) as caught:
        ipc_shell.run_cell(f"%%inprocess\n{DEAF}up.touch()\nwhile True: time.sleep(1)")
    (child,) = caught.value.report.children
    assert (child.ending, child.signal) == ("interrupted", "SIGKILL")
    assert "did not heed the interrupt" in only(ipc_shell)


# It says that it is up from within the C code that never ends.
HOLDS_THE_GIL = (
    "import collections, itertools, os\n"
    "up_and_on = itertools.chain(map(os.mkdir, [up]), itertools.repeat(0))\n"
    "collections.deque(up_and_on, maxlen=0)"
)


@pytest.mark.fault(14)
def test_a_child_in_c_that_holds_the_gil_is_ended(ipc_shell, monkeypatch, tmp_path):
    monkeypatch.setattr(monitor, "GRACE_SECONDS", 0.2)
    ipc_shell.user_ns["up"] = tmp_path / "up"
    with interrupting(tmp_path / "up"), pytest.raises(KeyboardInterrupt) as caught:
        ipc_shell.run_cell(f"%%inprocess\n{HOLDS_THE_GIL}")
    (child,) = caught.value.report.children
    assert child.signal == "SIGKILL"
    assert child.where.startswith("cell line 4: collections.deque(")


@pytest.mark.fault(14)
def test_a_kernels_stop_button_ends_a_child_that_holds_the_gil(kernel, tmp_path):
    kernel.run(
        "import pathlib\nfrom ipc_magic.process import monitor\n"
        "grace, monitor.GRACE_SECONDS = monitor.GRACE_SECONDS, 0.2\n"
        f"up = pathlib.Path({str(tmp_path / 'up')!r})"
    ).ok()
    running = kernel.submit(f"%%inprocess\n{HOLDS_THE_GIL}")
    assert wait_until((tmp_path / "up").exists)
    kernel.interrupt()
    reply = kernel.wait(running)
    assert reply.ename == "KeyboardInterrupt"
    assert "collections.deque(" in "\n".join(reply.traceback)
    kernel.run("monitor.GRACE_SECONDS = grace").ok()
    assert kernel.children() == []


@pytest.mark.fault(15)
@pytest.mark.parametrize("by", ["timeout", "interrupted"])
def test_a_stopped_child_is_ended(ipc_shell, monkeypatch, tmp_path, by):
    monkeypatch.setattr(monitor, "GRACE_SECONDS", 0.2)
    ipc_shell.user_ns["up"] = tmp_path / "up"
    stops = "import os, signal\nup.touch()\nos.kill(os.getpid(), signal.SIGSTOP)"
    if by == "timeout":
        with pytest.raises(ipc_magic.ChildTimeout):
            ipc_shell.run_cell(f"%%inprocess -t 0.5\n{stops}")
    else:
        with interrupting(tmp_path / "up"), pytest.raises(KeyboardInterrupt):
            ipc_shell.run_cell(f"%%inprocess\n{stops}")
    assert ipc_magic.last.children[0].ending == by


HANDLES = (
    "import time\n"
    "try:\n"
    "    up.touch()\n"
    "    time.sleep(60)\n"
    "except KeyboardInterrupt:\n"
    "    print('handled')\n"
)


@pytest.mark.fault(16)
def test_an_interrupt_reaches_the_code_and_its_traceback_is_shown(
    ipc_shell, capsys, tmp_path
):
    ipc_shell.user_ns["up"] = tmp_path / "up"
    with interrupting(tmp_path / "up"):
        ipc_shell.run_cell(f"%%inprocess\n{HANDLES}    raise", raises=False)
    text = capsys.readouterr().out
    assert text.startswith("handled\n")
    assert "----> 5     time.sleep(60)" in text
    assert not re.search(r"monitor|\.poll\(|ipc_magic/", text)
    assert "was interrupted" in only(ipc_shell)
    assert ipc_magic.last.children[0].ending == "interrupted"


@pytest.mark.fault(16)
def test_code_that_handles_its_interrupt_ends_well(ipc_shell, capsys, tmp_path):
    ipc_shell.user_ns["up"] = tmp_path / "up"
    with interrupting(tmp_path / "up"):
        ipc_shell.run_cell(f"%%inprocess -o done\n{HANDLES}done = 1")
    assert capsys.readouterr().out == "handled\n"
    assert ipc_shell.user_ns["done"] == 1


@pytest.mark.fault(16)
def test_an_interrupt_reaches_every_child(ipc_shell, tmp_path):
    ipc_shell.user_ns["up"] = tmp_path
    paths = [tmp_path / str(index) for index in range(3)]

    def send():
        if wait_until(lambda: all(path.exists() for path in paths)):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            ipc_shell.run_cell(
                "%%inprocess -n 3\nimport time\n"
                "(up / str(child_index)).touch()\ntime.sleep(60)"
            )
    finally:
        thread.join()
    endings = {child.ending for child in caught.value.report.children}
    assert endings == {"interrupted"}


@pytest.mark.fault(16)
@pytest.mark.parametrize("other_threads", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_as_children_are_forked_leaves_none(
    ipc_shell, monkeypatch, when, other_threads
):
    forked, real = [], fork._fork

    def interrupted_fork(*args, **more):
        if when == "before":
            os.kill(os.getpid(), signal.SIGINT)
        forked.append(real(*args, **more))
        if when == "after":
            os.kill(os.getpid(), signal.SIGINT)
        return forked[-1]

    monkeypatch.setattr(fork, "_fork", interrupted_fork)
    stop = threading.Event()
    if other_threads:  # they take a signal that the main thread blocks
        threading.Thread(target=stop.wait).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            ipc_shell.run_cell("%%inprocess -n 2\nimport time\ntime.sleep(60)")
    finally:
        stop.set()
    assert forked
    assert all(gone(child.pid) for child in forked)


@pytest.mark.fault(16)
def test_the_persons_own_handler_of_interrupts_works_in_the_child(ipc_shell, capsys):
    ipc_shell.user_ns["signal"] = signal
    before = signal.getsignal(signal.SIGINT)
    try:
        ipc_shell.run_cell("signal.signal(2, lambda *_: print('mine'))")
        ipc_shell.run_cell("%%inprocess\nimport os\nos.kill(os.getpid(), 2)")
        ipc_shell.run_cell("import os; os.kill(os.getpid(), 2)")
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().out == "mine\nmine\n"


@pytest.mark.fault(16)
def test_the_stop_button_of_a_kernel(kernel, tmp_path):
    kernel.run(f"import pathlib; up = pathlib.Path({str(tmp_path / 'up')!r})").ok()
    running = kernel.submit(f"%%inprocess\n{HANDLES}    raise")
    assert wait_until((tmp_path / "up").exists)
    kernel.interrupt()
    reply = kernel.wait(running)
    assert (reply.status, reply.ename) == ("error", "KeyboardInterrupt")
    assert reply.stdout == "handled\n"
    assert "time.sleep(60)" in "\n".join(reply.traceback)
    assert not re.search("monitor|ipc_magic/", "\n".join(reply.traceback))
    assert "was interrupted" in reply.displays[0]["text/plain"]
    assert kernel.children() == []
    assert kernel.run("%%inprocess -q\nprint('on')").ok().stdout == "on\n"


@pytest.mark.fault(16)
def test_ctrl_c_in_a_terminal(terminal, tmp_path):
    path = tmp_path / "up"

    def press():
        if wait_until(path.exists):
            terminal.interrupt()

    thread = threading.Thread(target=press)
    thread.start()
    try:
        text = terminal.run(
            "%%inprocess\nimport time\ntry:\n"
            f"    open({str(path)!r}, 'w').close()\n    time.sleep(60)\n"
            "except KeyboardInterrupt:\n    print('handled')\n    raise"
        )
    finally:
        thread.join()
    assert "handled" in text
    assert "was interrupted" in text
    assert text.rstrip().splitlines()[-1].startswith("KeyboardInterrupt")
    assert not re.search("monitor|ipc_magic/", text)
    assert terminal.run("print('on')") == "on"
    names = [process.cmdline() for process in psutil.Process(terminal.pid).children()]
    assert names == []


@pytest.mark.fault(17)
def test_a_second_interrupt_kills_at_once(ipc_shell, monkeypatch, tmp_path):
    monkeypatch.setattr(monitor, "GRACE_SECONDS", 1000.0)
    ipc_shell.user_ns["up"] = tmp_path / "up"
    ipc_shell.user_ns["again"] = tmp_path / "again"
    files = (tmp_path / "up", tmp_path / "again")
    with interrupting(*files), pytest.raises(KeyboardInterrupt) as caught:
        ipc_shell.run_cell(
            "%%inprocess\nimport signal, time\n"
            "signal.signal(signal.SIGINT, lambda *_: again.touch())\n"
            "up.touch()\nwhile True: time.sleep(0.1)"
        )
    (child,) = caught.value.report.children
    assert (child.ending, child.signal) == ("interrupted", "SIGKILL")


@pytest.mark.fault(17)
def test_two_presses_of_a_kernels_stop_button(kernel, tmp_path):
    kernel.run(
        "import pathlib\nfrom ipc_magic.process import monitor\n"
        "grace, monitor.GRACE_SECONDS = monitor.GRACE_SECONDS, 1000.0\n"
        f"up = pathlib.Path({str(tmp_path / 'up')!r})\n"
        f"again = pathlib.Path({str(tmp_path / 'again')!r})"
    ).ok()
    running = kernel.submit(
        "%%inprocess\nimport signal, time\n"
        "signal.signal(signal.SIGINT, lambda *_: again.touch())\n"
        "up.touch()\nwhile True: time.sleep(0.1)"
    )
    for name in ("up", "again"):
        assert wait_until((tmp_path / name).exists)
        kernel.interrupt()
    assert kernel.wait(running).ename == "KeyboardInterrupt"
    kernel.run("monitor.GRACE_SECONDS = grace").ok()
    assert kernel.children() == []


# The child waits in C and holds the GIL; `inner` is what differs.
LEFT_ALONE = (
    "%%inprocess\n"
    "import ctypes, os, subprocess\n"
    "inner = subprocess.Popen(['sleep', '300'], preexec_fn={way})\n"
    "with open({path!r} + '.new', 'w') as file:\n"
    "    print(os.getpid(), inner.pid, file=file)\n"
    "os.rename({path!r} + '.new', {path!r})\n"
    "ctypes.PyDLL(None).pause()"
)


def without_guardian(kernel):
    """Leave children to their lifelines: these end a group, a guardian a session."""
    kernel.run(
        "from ipc_magic.process.guardian import guardian\n"
        "guardian.watch = lambda pids: None"
    ).ok()


@contextmanager
def child_left_alone(kernel, path, way):
    """Give the pids of a child that waits in `kernel`, and of its own child."""
    kernel.submit(LEFT_ALONE.format(path=str(path), way=way))
    assert wait_until(path.exists)
    pids = [int(word) for word in path.read_text().split()]
    assert not any(gone(pid) for pid in pids)
    try:
        yield pids
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def kill_group(kernel):
    os.killpg(kernel.pid, signal.SIGKILL)


@pytest.mark.fault(18)
@pytest.mark.parametrize("way", ["alone", "group", "restart", "shutdown"])
def test_no_child_outlives_its_kernel(fresh_kernel, tmp_path, way):
    ends = {
        "alone": fresh_kernel.kill,
        "group": lambda: kill_group(fresh_kernel),
        "restart": fresh_kernel.restart,
        "shutdown": fresh_kernel.shutdown,
    }
    if way in ("alone", "group"):
        # The others interrupt first: a child that heeds it may end before its kernel
        # does, and leave its group, which no lifeline holds then, to the guardian.
        without_guardian(fresh_kernel)
    with child_left_alone(fresh_kernel, tmp_path / "pids", "None") as pids:
        ends[way]()
        assert wait_until(lambda: all(map(gone, pids)))


@pytest.mark.fault(18)
@pytest.mark.parametrize("way", ["alone", "group"])
def test_no_process_of_the_childs_session_outlives_the_kernel(
    fresh_kernel, tmp_path, way
):
    with child_left_alone(fresh_kernel, tmp_path / "pids", "os.setpgrp") as pids:
        fresh_kernel.kill() if way == "alone" else kill_group(fresh_kernel)
        assert wait_until(lambda: all(map(gone, pids)))


@pytest.mark.fault(18)
@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(5))
def test_no_race_leaves_a_child_of_a_killed_kernel(fresh_kernel, tmp_path, attempt):
    without_guardian(fresh_kernel)
    with child_left_alone(fresh_kernel, tmp_path / "pids", "None") as pids:
        [fresh_kernel.kill, lambda: kill_group(fresh_kernel)][attempt % 2]()
        assert wait_until(lambda: all(map(gone, pids)))


@pytest.mark.fault(18)
def test_no_sibling_keeps_a_lifeline_open(fresh_kernel, tmp_path):
    without_guardian(fresh_kernel)
    fresh_kernel.submit(
        "%%inprocess -n 3\nimport ctypes, os\n"
        f"open(f'{tmp_path}/{{child_index}}-{{os.getpid()}}', 'w').close()\n"
        "ctypes.PyDLL(None).pause()"
    )
    assert wait_until(lambda: len(os.listdir(tmp_path)) == 3)
    pids = [int(name.partition("-")[2]) for name in os.listdir(tmp_path)]
    fresh_kernel.kill()
    assert wait_until(lambda: all(map(gone, pids)))


LEFTOVERS = {
    "in its group": "",
    "in a group of its own": ", preexec_fn=os.setpgrp",
    "silent": ", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL",
}


@pytest.mark.fault(19)
@pytest.mark.parametrize("kind", LEFTOVERS)
def test_a_process_left_behind_is_ended_and_named(ipc_shell, kind):
    ipc_shell.run_cell(
        "%%inprocess -o pid\nimport os, subprocess\n"
        f"left = subprocess.Popen(['sleep', '300']{LEFTOVERS[kind]})\npid = left.pid"
    )
    pid = ipc_shell.user_ns["pid"]
    assert wait_until(lambda: gone(pid))
    (found,) = [f for f in ipc_magic.last.findings if f.code == "leftover"]
    assert f"process {pid} (sleep) outlived child" in found.message
    assert "was ended with it" in found.message
    assert f"{pid}" in ipc_shell.outputs[-1].text


@pytest.mark.fault(19)
@pytest.mark.parametrize("end", ["1 / 0", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_process_left_behind_by_a_failing_cell_is_ended(ipc_shell, tmp_path, end):
    ipc_shell.user_ns["path"] = path = tmp_path / "pid"
    with pytest.raises((ZeroDivisionError, ipc_magic.ChildEnded)):
        ipc_shell.run_cell(
            "%%inprocess\nimport os, subprocess\n"
            "left = subprocess.Popen(['sleep', '300'])\n"
            f"path.write_text(str(left.pid))\n{end}"
        )
    pid = int(path.read_text())
    assert wait_until(lambda: gone(pid))
    assert f"process {pid} (sleep) outlived" in " ".join(only(ipc_shell).split())


@pytest.mark.fault(20)
def test_a_process_in_a_session_of_its_own_is_told(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess -o pid\nimport subprocess\n"
        "left = subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "pid = left.pid"
    )
    pid = ipc_shell.user_ns["pid"]
    try:
        assert not gone(pid)
        (found,) = [f for f in ipc_magic.last.findings if f.code == "leftover"]
        assert f"process {pid} (sleep) outlived child" in found.message
        assert "runs on in a session of its own" in found.message
    finally:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: gone(pid))


@pytest.mark.fault(21)
def test_only_the_original_of_a_cell_that_forks_reports(ipc_shell, capsys):
    with pytest.raises(ZeroDivisionError):
        ipc_shell.run_cell(
            "%%inprocess\nimport os\npid = os.fork()\n"
            "if pid:\n    os.waitpid(pid, 0)\n"
            "print('both', flush=True)\nif pid:\n    1 / 0"
        )
    assert capsys.readouterr().out == "both\nboth\n"
    assert ipc_shell.outputs[-1].text.count("raised ZeroDivisionError") == 1


@pytest.mark.fault(21)
@pytest.mark.parametrize(
    "end", ["raise KeyError", "exit()", "display(1)", "os.abort()"]
)
def test_a_fork_of_the_cell_may_end_as_it_likes(ipc_shell, capsys, end):
    ipc_shell.run_cell(
        "%%inprocess -o pid\nimport os\npid = os.fork()\n"
        f"if pid == 0:\n    {end}\nos.waitpid(pid, 0)\n'kept'"
    )
    assert ipc_shell.user_ns["pid"] > 0
    texts = [output.text for output in ipc_shell.outputs]
    assert texts[0] == "'kept'"
    assert texts[1].startswith("Ran in child")
    assert capsys.readouterr().out == ""


@pytest.mark.fault(21)
def test_a_fork_of_the_cell_brings_nothing_back(ipc_shell):
    with pytest.raises(ipc_magic.NotBroughtBack, match="no such name"):
        ipc_shell.run_cell(
            "%%inprocess -o thing\nimport os\nclass Thing: pass\n"
            "pid = os.fork()\nif pid == 0: thing = Thing()\nelse: os.waitpid(pid, 0)"
        )
    assert "thing" not in ipc_shell.user_ns


@pytest.mark.fault(22)
def test_the_child_may_have_children_of_every_kind(ipc_shell, capsys):
    ipc_shell.run_cell("def square(x):\n    print('at', x)\n    return x * x")
    ipc_shell.run_cell(
        "%%inprocess -o got\n"
        "import asyncio, concurrent.futures, multiprocessing, subprocess, sys\n"
        "context = multiprocessing.get_context('fork')\n"
        "with context.Pool(2) as pool:\n"
        "    got = [pool.map(square, range(4))]\n"
        "with concurrent.futures.ThreadPoolExecutor(2) as threads:\n"
        "    got.append(list(threads.map(square, [5])))\n"
        "got.append(subprocess.run([sys.executable, '-S', '-c', 'print(8 * 8)'],"
        " capture_output=True, text=True).stdout)\n"
        "async def nine():\n    await asyncio.sleep(0)\n    return square(9)\n"
        "got.append(asyncio.run(nine()))\n"
        "process = context.Process(target=square, args=(11,))\n"
        "process.start()\nprocess.join()\ngot.append(process.exitcode)"
    )
    assert ipc_shell.user_ns["got"] == [[0, 1, 4, 9], [25], "64\n", 81, 0]
    lines = sorted(capsys.readouterr().out.splitlines())
    assert lines == sorted(f"at {x}" for x in (0, 1, 2, 3, 5, 9, 11))


@pytest.mark.fault(22)
def test_the_same_in_a_kernel(kernel):
    reply = kernel.run(
        "%%inprocess\nimport asyncio, multiprocessing, subprocess\n"
        "def square(x): return x * x\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    print(pool.map(square, range(4)), flush=True)\n"
        "subprocess.run(['echo', 'shell'])\n"
        "await asyncio.sleep(0)\nprint('end')"
    ).ok()
    assert reply.stdout == "[0, 1, 4, 9]\nshell\nend\n"
    assert kernel.children() == []


@pytest.mark.fault(22)
def test_the_kernels_event_loop_is_not_the_childs(kernel):
    # A reader added to that loop would be polled by the kernel.
    kernel.run("import asyncio, warnings; loop = asyncio.get_event_loop()").ok()
    reply = kernel.run(
        "%%inprocess -q\nwith warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore')\n"
        "    try:\n        print(asyncio.get_event_loop() is loop)\n"
        "    except RuntimeError:\n        print(False)"
    )
    assert reply.ok().stdout == "False\n"


@pytest.mark.fault(23)
def test_a_thread_that_outlives_the_cell_is_waited_for(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess\nimport threading, time\n"
        "def late():\n    time.sleep(0.3)\n    print('late', flush=True)\n"
        "threading.Thread(target=late).start()\nprint('cell')"
    )
    assert capsys.readouterr().out == "cell\nlate\n"


@pytest.mark.fault(23)
def test_a_daemon_thread_is_not_waited_for(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess -t 30\nimport threading, time\n"
        "threading.Thread(target=time.sleep, args=(300,), daemon=True).start()\n"
        "print('cell')"
    )
    assert capsys.readouterr().out == "cell\n"


@pytest.mark.fault(23)
def test_a_thread_without_end_can_be_interrupted(ipc_shell, tmp_path):
    ipc_shell.user_ns["up"] = tmp_path / "up"
    with interrupting(tmp_path / "up"):
        ipc_shell.run_cell(
            "%%inprocess -o x\nimport threading, time\n"
            "def late():\n    time.sleep(0.5)\n    up.touch()\n    time.sleep(300)\n"
            "threading.Thread(target=late).start()\nx = 1",
            raises=False,
        )
    assert ipc_shell.user_ns["x"] == 1


@pytest.mark.fault(9, 12)
def test_several_children_end_each_in_its_own_way(ipc_shell, monkeypatch):
    monkeypatch.setattr(monitor, "GRACE_SECONDS", 0.2)
    with pytest.raises(ipc_magic.ChildEnded):
        ipc_shell.run_cell(
            "%%inprocess -n 4 -t 1\nimport os, sys, time\n"
            "[lambda: os._exit(2), lambda: sys.exit(3), lambda: time.sleep(60),"
            " lambda: None][child_index]()"
        )
    endings = [child.ending for child in ipc_magic.last.children]
    assert endings == ["quit", "exited", "timeout", "finished"]
    assert "3 of 4 children failed" in only(ipc_shell)
