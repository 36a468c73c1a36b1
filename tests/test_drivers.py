"""The drivers of other tests do what those tests rely on."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def bare(plain_kernel_class, child_env, _client_loop):
    driven = plain_kernel_class(child_env, extension=None)
    yield driven
    driven.close()


@pytest.fixture
def bare_terminal(plain_terminal_class, child_env):
    driven = plain_terminal_class(child_env, extension=None)
    yield driven
    driven.close()


def test_a_reply_holds_all_that_a_cell_showed(bare):
    reply = bare.run(
        "import sys\n"
        "print('out'); print('err', file=sys.stderr)\n"
        "handle = display(1, display_id='a'); display(2); handle.update(3)\n"
        "40 + 2"
    ).ok()
    assert (reply.stdout, reply.stderr) == ("out\n", "err\n")
    assert [d["text/plain"] for d in reply.displays] == ["3", "2"]
    assert [d["text/plain"] for d in reply.results] == ["42"]
    assert reply.messages[0]["content"]["execution_state"] == "busy"
    bare.run("handle.update(4)").ok()
    assert reply.displays[0]["text/plain"] == "4"


def test_an_error_has_its_name(bare):
    reply = bare.run("1 / 0")
    assert (reply.status, reply.ename) == ("error", "ZeroDivisionError")
    assert any("1 / 0" in line for line in reply.traceback)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        reply.ok()


def test_a_cell_can_be_interrupted(bare, tmp_path):
    up = tmp_path / "up"
    running = bare.submit(f"import os, time; os.mkdir({str(up)!r}); time.sleep(30)")
    deadline = time.monotonic() + 20
    while not up.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    bare.interrupt()
    reply = bare.wait(running)
    assert reply.ename == "KeyboardInterrupt"
    assert reply.seconds < 10
    assert bare.run("1").ok().results


def test_a_cell_can_ask(bare):
    reply = bare.run("print(input('name? '))", stdin=["Ada"]).ok()
    assert reply.prompts == ["name? "]
    assert reply.stdout == "Ada\n"
    assert bare.run("input()").ename == "StdinNotImplementedError"


def test_what_comes_after_the_cell_is_seen(bare):
    bare.run("import threading\nthreading.Timer(0.1, print, ['late']).start()").ok()
    texts = [m["content"].get("text", "") for m in bare.later(20, until="late")]
    assert "late" in "".join(texts)


def test_a_cell_without_end_is_reported(bare):
    with pytest.raises(TimeoutError, match="no end after"):
        bare.run("import time; time.sleep(0.6)", timeout=0.2)
    assert bare.run("1").ok()


@pytest.mark.usefixtures("_client_loop")
def test_a_kernel_can_be_killed_and_restarted(plain_kernel_class, child_env):
    kernel = plain_kernel_class(child_env, extension=None)
    try:
        first = kernel.pid
        kernel.run("import subprocess; p = subprocess.Popen(['sleep', '50'])").ok()
        assert [child.name() for child in kernel.children()] == ["sleep"]
        kernel.run("p.kill(); p.wait()").ok()
        kernel.kill()
        assert not kernel.alive
        kernel.restart()
        assert kernel.pid != first
        assert kernel.run("p").ename == "NameError"
        waiting = kernel.submit("import os; os._exit(3)")
        with pytest.raises(RuntimeError, match="the kernel ended"):
            kernel.wait(waiting)
    finally:
        kernel.close()


def test_a_terminal_shows_what_a_user_sees(bare_terminal):
    assert bare_terminal.run("print('a')") == "a"
    assert bare_terminal.run("1 + 1").strip() == "Out[2]: 2"
    assert bare_terminal.run("for i in range(2):\n    print(i)") == "0\n1"
    assert "%%capture" not in bare_terminal.run("%%capture got\nprint('hidden')")
    assert bare_terminal.run("got.stdout").endswith("'hidden\\n'")
    assert "ZeroDivisionError" in bare_terminal.run("1 / 0")
    assert "80" in bare_terminal.run("import os; os.get_terminal_size().columns")


def test_ctrl_c_reaches_a_terminal(bare_terminal):
    text = bare_terminal.run("import time; time.sleep(30)", interrupt_after=0.3)
    assert "KeyboardInterrupt" in text
    assert bare_terminal.run("print('on')") == "on"


FORKED_ORPHAN = """
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        time.sleep(20)
        os._exit(0)
    os.wait()
"""
LEAKS = {
    "file": ("keep.append(open('/dev/null'))", "open file"),
    "child": ("keep.append(subprocess.Popen(['sleep', '20']))", "child process"),
    "zombie": ("os.fork() or os._exit(0)", "zombie"),
    "orphan": ("subprocess.run(['sh', '-c', 'setsid sleep 20 &'])", "left the family"),
    "forked orphan": (FORKED_ORPHAN.strip(), "left the family"),
    "thread": (
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "thread Thread-",
    ),
    "signal": ("signal.signal(10, signal.SIG_IGN)", "signal handler SIGUSR1"),
    "mask": ("signal.pthread_sigmask(signal.SIG_BLOCK, [10])", "signal mask"),
    "stream": ("sys.stdout = sys.__stderr__", "stream stdout"),
    "filter": ("warnings.simplefilter('ignore')", "warnings filters"),
    "log": (
        "logging.root.addHandler(logging.StreamHandler())",
        "logging handlers root",
    ),
    "environment": ("os.environ['LEAKED'] = '1'", "environment LEAKED"),
    "folder": ("os.chdir('/')", "working folder"),
    "collector": ("gc.disable()", "garbage collector"),
}
TESTS = """\
import gc, logging, os, signal, subprocess, sys, threading, time, warnings
keep = []
"""
CONFTEST = """\
import importlib.util
spec = importlib.util.spec_from_file_location("shared", {path!r})
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)
shared._load("leaks").GRACE_SECONDS = 0.1
no_leaks, no_names_left = shared.no_leaks, shared.no_names_left
_mark = shared._mark
pytest_pyfunc_call = shared.pytest_pyfunc_call
"""


@pytest.fixture(scope="module")
def run_watched(tmp_path_factory, child_env):
    """Give a function that runs tests under our fixtures and returns the report."""

    def run(text):
        folder = tmp_path_factory.mktemp("watched")
        conftest = str(Path(__file__).with_name("conftest.py"))
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "conftest.py").write_text(CONFTEST.format(path=conftest))
        (folder / "test_leaks.py").write_text(text)
        plugins = ["-p", "no:cacheprovider", "-p", "ipc_magic.pytest_plugin"]
        with open(folder / "output", "w+") as output:
            # Not a pipe: what the inner tests left would hold it open.
            subprocess.run(
                [sys.executable, "-m", "pytest", *plugins],
                env=child_env | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
                cwd=folder,
                stdout=output,
                timeout=60,
                check=False,
            )
            output.seek(0)
            said = output.read()
        # It is told with its process ID: "4711 (sleeping)".
        for pid in re.findall(r"(\d+) \(sleeping\)", said):
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return said

    return run


@pytest.fixture(scope="module")
def leaks_said(run_watched):
    """Give by the kind of a leak what was said of the test that had it.

    One pytest runs all: what one test left is there before the next.
    """
    tests = [
        f"def test_{kind.replace(' ', '_')}():\n    {code}\n"
        for kind, (code, _) in LEAKS.items()
    ]
    said = run_watched("\n".join([TESTS, *tests]))
    parts = re.split(r"(?m)^_+ ERROR at teardown of test_(\w+) _+$", said)
    assert f"{len(LEAKS)} passed, {len(LEAKS)} errors" in parts[-1]
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {kind.replace("_", " "): text for kind, text in pairs}


@pytest.mark.parametrize("kind", LEAKS)
def test_a_leak_is_named(kind, leaks_said):
    said = leaks_said[kind].partition("====")[0]
    assert "the test left behind" in said
    assert LEAKS[kind][1] in said


def test_a_process_is_known_all_the_time_that_it_takes_to_start_a_program(request):
    mark = request.getfixturevalue("_mark")
    for _ in range(20):
        with subprocess.Popen(["sh", "-c", "exec sleep 20"]) as process:
            command = Path(f"/proc/{process.pid}/cmdline")
            known = []
            while not command.read_bytes().startswith(b"sleep"):
                known.append(mark.is_on(process.pid))
            process.kill()
        assert all(known)


def test_a_name_that_no_cell_wrote_is_named(run_watched):
    said = run_watched(
        "def test_a(ipython_shell):\n"
        "    ipython_shell.run_cell('mine = 1; 2', store_history=True)\n"
        "    ipython_shell.user_ns['_hid' + 'den'] = 1\n"
    )
    assert "names left in the user's namespace: ['_hidden']" in said


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_the_helpers_of_multiprocessing_are_no_leak(method):
    # That `no_leaks` lets this pass is what is tested.
    process = multiprocessing.get_context(method).Process(target=int)
    process.start()
    process.join()
    assert process.exitcode == 0
    process.close()
