"""`%%cow_watch` of a cell that runs here: whose children are measured, what is told."""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ipc_magic
from ipc_magic.errors import IpcMagicError, OptionError
from ipc_magic.memory.observing import launch
from ipc_magic.results.cow_watch import CowWatch

PAGE = mmap.PAGESIZE
COUNT = 3000
NOISE = 400  # pages that a child copies besides, in a process with a test runner in it
# A process with threads that forks is warned of since Python 3.12: xdist has some.
# That leaves its `__warningregistry__` among the names of the cell.
pytestmark = [
    pytest.mark.usefixtures("no_collections"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]

FORK = """
import os
if not (pid := os.fork()):
    for blob in blobs:
        pass
    os._exit(7)
_, status = os.waitpid(pid, 0)
"""
WORK = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
fork = multiprocessing.get_context("fork")
def read(_=None):
    for blob in blobs:
        blob
"""


@pytest.fixture(scope="module", autouse=True)
def observer():
    """Start it beforehand: it stays for all tests of this module."""
    launch.observer.start()
    yield
    launch.observer.close()


@pytest.fixture
def blobs(ipc_shell):
    """Give the cells a list whose elements lie on pages of their own."""
    made = ipc_shell.user_ns["blobs"] = [bytes(PAGE) for _ in range(COUNT)]
    yield made
    del ipc_shell.user_ns["blobs"]


@pytest.fixture
def watch(ipc_shell):
    """Give what runs a cell below `%%cow_watch` and returns the result."""

    def run(cell, options=""):
        ipc_shell.run_cell(f"%%cow_watch {options}\n{cell.lstrip()}")
        return ipc_magic.last

    return run


def pages_copied(child):
    return child.memory.copied_bytes // PAGE


def test_a_child_that_the_cell_forks_is_measured(watch, blobs, ipc_shell):
    result = watch(FORK)
    (child,) = result.children
    assert isinstance(result, CowWatch)
    assert result.ran_here
    assert ipc_shell.user_ns["pid"] == child.pid
    assert os.waitstatus_to_exitcode(ipc_shell.user_ns["status"]) == 7
    assert (child.how, child.started_by, child.exit_code) == ("os.fork", "fork", 7)
    assert (child.line, child.parent_pid) == (3, os.getpid())
    assert abs(pages_copied(child) - COUNT) < NOISE
    assert result.control.copied_bytes < NOISE * PAGE
    assert child.memory.baseline_bytes == result.control.copied_bytes
    assert re.match(r"1 child copied 1\d\.\d of the ", result.headline)
    assert "ran here | forked by os.fork, line 3 |" in " ".join(str(result).split())
    assert not child.alive
    assert child.last_seen is None
    assert result.findings == ()


def test_the_last_value_is_displayed_before_the_report(watch, ipc_shell):
    result = watch("x = 1\nx + 1\n")
    assert [output.text for output in ipc_shell.outputs[:1]] == ["2"]
    assert ipc_shell.outputs[-1].text.strip() == str(result)
    assert ipc_shell.user_ns["x"] == 1


@pytest.mark.parametrize("cell", ["x = 1\nx + 1;\n", "None\n", "x = 1\n"])
def test_some_cells_have_no_value(cell, watch, ipc_shell):
    watch(cell)
    assert len(ipc_shell.outputs) == 1


def test_an_error_is_raised_as_it_is_behind_the_report(watch, blobs, ipc_shell):
    with pytest.raises(ZeroDivisionError) as caught:
        watch(f"{FORK}1 / 0\n")
    result = ipc_magic.last
    assert caught.value.report is result
    assert pages_copied(result.children[0]) > COUNT - NOISE
    assert ipc_shell.outputs[-1].text.startswith("1 child copied ")
    frames = [entry.name for entry in caught.traceback]
    assert frames[-1] == "<module>"
    assert caught.traceback[-1].lineno + 1 == 8  # as in the notebook


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_while_the_figures_are_fetched(times, watch, blobs, monkeypatch):
    ask = launch.observer.ask

    def interrupted(message, patience):
        if message["ask"] == "close":
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0)  # Python runs the handler
        return ask(message, patience)

    last = ipc_magic.last
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(launch.observer, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        watch(FORK)
    assert signal.getsignal(signal.SIGINT) is handler
    if times == 1:
        assert caught.value.report is ipc_magic.last
        assert pages_copied(ipc_magic.last.children[0]) > COUNT - NOISE
    else:
        assert ipc_magic.last is last  # who insists does not wait for figures


def test_await_is_refused_in_a_line(watch):
    with pytest.raises(OptionError, match=r"with ipc_magic\.cow_watch\(\)") as caught:
        watch("import asyncio\nawait asyncio.sleep(0)\n")
    assert "\n" not in str(caught.value)


def test_a_cell_that_forks_nothing_is_told_how_to_be_measured(watch):
    result = watch("pass\n")
    assert result.headline == (
        "No child was forked while the cell ran here. To run it in a forked child: "
        "%%cow_watch -n 1"
    )
    assert result.children == ()
    assert result.projection is None


def test_threads_are_told_of_where_no_child_was_made(watch):
    result = watch(
        "import threading, time\n"
        "def wait(): time.sleep(0.6)\n"
        "more = [threading.Thread(target=wait) for _ in range(3)]\n"
        "for each in more: each.start()\n"
        "for each in more: each.join()\n"
    )
    (finding,) = result.findings
    assert (finding.code, dict(finding.figures)) == ("threads", {"threads": 3})


def test_what_was_copied_before_another_program_began_counts(watch, blobs):
    result = watch(
        "import os\n"
        "for work in (blobs, []):\n"
        "    if not (pid := os.fork()):\n"
        "        for blob in work:\n"
        "            pass\n"
        "        os.execv('/bin/true', ['true'])\n"
        "    _ = os.waitpid(pid, 0)\n"
    )
    worked, at_once = result.children
    assert worked.started_by == "fork"
    assert COUNT - NOISE < pages_copied(worked) < COUNT + NOISE
    assert worked.fault is None
    assert worked.last_seen is None
    assert at_once.started_by == "exec"
    assert result.headline.startswith("1 child copied ")


def test_another_program_inherits_nothing(watch):
    result = watch(
        "import subprocess, sys, time\n"
        "from ipc_magic.memory.observing import launch\n"
        "program = 'x = bytearray(30 << 20); import time; time.sleep(600)'\n"
        "other = subprocess.Popen([sys.executable, '-c', program])\n"
        "largest = 0\n"
        "while largest < 30 << 20:  # until it was seen so\n"
        "    time.sleep(0.05)\n"
        "    known = launch.observer.ask({'ask': 'look'}, 30)['children']\n"
        "    figures = [child['seen']['figures'] or {} for child in known]\n"
        "    largest = max((f.get('new_bytes') or 0 for f in figures), default=0)\n"
        "other.kill()\n"
        "_ = other.wait()\n"
    )
    (child,) = result.children
    assert child.started_by == "exec"
    assert child.memory.inherited_bytes == child.memory.copied_bytes == 0
    assert child.memory.new_bytes > 30 << 20
    assert "1 child began as a new program and inherited nothing" in result.headline
    assert "next: %%cow_watch -n 1" in str(result)
    assert result.projection is None


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (
            "multiprocessing.Process",
            "p = fork.Process(target=read)\np.start()\np.join()\n",
        ),
        (
            "multiprocessing.Pool",
            "with fork.Pool(2) as pool:\n    pool.map(read, range(8), chunksize=1)\n",
        ),
        (
            "ProcessPoolExecutor",
            "with ProcessPoolExecutor(2, fork) as p: list(p.map(read, range(8)))\n",
        ),
    ],
)
def test_the_workers_of(how, code, watch, blobs, ipc_shell):
    ipc_shell.run_cell(WORK)
    result = watch(code)
    assert {child.how for child in result.forked} == {how}
    assert len(result.forked) == (1 if how.endswith("Process") else 2)
    copied = [pages_copied(child) for child in result.forked]
    assert max(copied) > COUNT - NOISE  # who takes which task is not known
    (line,) = {child.line for child in result.forked}
    assert re.search(r"start|map|Pool", code.splitlines()[line - 2])
    said = f"forked by {how.removeprefix('multiprocessing.')}, line {line} "
    assert said in words_of(result)


def words_of(result):
    return " ".join(str(result).split())


def test_a_pool_of_before_is_told_of(watch, blobs, ipc_shell):
    ipc_shell.run_cell(f"{WORK}pool = fork.Pool(2)")
    try:
        result = watch("pool.map(read, range(4));\n")
    finally:
        ipc_shell.run_cell("pool.terminate(); pool.join(); del pool")
    assert result.children == ()
    (older,) = [finding for finding in result.findings if finding.code == "older"]
    assert older.figures["children"] == 2
    assert "make the pool in this cell" in older.message


def test_loops_that_wait_for_any_child_see_their_own(watch, ipc_shell):
    result = watch(
        "import os, psutil\n"
        "pids = []\n"
        "for code in range(3):\n"
        "    if not (pid := os.fork()):\n"
        "        os._exit(code)\n"
        "    pids.append(pid)\n"
        "seen = [child.pid for child in psutil.Process().children()]\n"
        "ended = {}\n"
        "while True:\n"
        "    try:\n"
        "        pid, status = os.wait()\n"
        "    except ChildProcessError:\n"
        "        break\n"
        "    ended[pid] = os.waitstatus_to_exitcode(status)\n"
    )
    pids = ipc_shell.user_ns["pids"]
    assert set(ipc_shell.user_ns["seen"]) <= set(pids)
    assert ipc_shell.user_ns["ended"] == dict(zip(pids, range(3), strict=True))
    assert [child.pid for child in result.children] == pids
    assert [child.exit_code for child in result.children] == [0, 1, 2]


def test_a_handler_of_sigchld_is_called_as_always(watch, ipc_shell):
    result = watch(
        "import os, signal\n"
        "ends = []\n"
        "before = signal.signal(signal.SIGCHLD, lambda *_: ends.append(os.wait()))\n"
        "for _ in range(3):\n"
        "    if not (pid := os.fork()):\n"
        "        os._exit(0)\n"
        "    while pid not in [end[0] for end in ends]: pass\n"
        "_ = signal.signal(signal.SIGCHLD, before)\n"
    )
    assert len(result.children) == len(ipc_shell.user_ns["ends"]) == 3


def test_children_of_subprocess_and_asyncio_end_as_always(watch, ipc_shell):
    result = watch(
        "import asyncio, subprocess\n"
        "async def start():\n"
        "    process = await asyncio.create_subprocess_exec('sleep', '0.3')\n"
        "    return await process.wait()\n"
        "codes = [subprocess.run(['sh', '-c', 'exit 3']).returncode]\n"
        "codes.append(asyncio.run(start()))\n"
        "setting = lambda: None\n"
        "codes.append(subprocess.run(['true'], preexec_fn=setting).returncode)\n"
    )
    assert ipc_shell.user_ns["codes"] == [3, 0, 0]
    assert result.forked == []


def test_a_pid_that_is_used_again_is_another_child(watch, ipc_shell):
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last, os.W_OK):
        pytest.skip("the next pid cannot be chosen here")
    ipc_shell.user_ns["last"] = last
    result = watch(
        "import os\n"
        "pids = []\n"
        "for attempt in range(50):  # somebody else may take the pid\n"
        "    if pids:\n"
        "        last.write_text(str(pids[-1] - 1))\n"
        "    if not (pid := os.fork()):\n"
        "        os._exit(attempt)\n"
        "    _, status = os.waitpid(pid, 0)\n"
        "    pids.append(pid)\n"
        "    if pids[-2:-1] == [pid]:\n"
        "        break\n"
    )
    pids = ipc_shell.user_ns["pids"]
    assert pids[-2] == pids[-1]
    assert [child.pid for child in result.children] == pids
    codes = [child.exit_code for child in result.children]
    assert codes == list(range(len(pids)))


def test_a_child_that_goes_on_is_told_of(watch, ipc_shell):
    result = watch(
        "import os, signal\n"
        "if not (pid := os.fork()):\n"
        "    signal.pause()\n"
        "    os._exit(0)\n"
    )
    pid = ipc_shell.user_ns["pid"]
    os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    (child,) = result.children
    assert child.alive
    assert child.exit_code is child.signal is None
    (finding,) = result.findings
    assert finding.code == "alive"
    assert str(pid) in finding.message


def test_magics_in_the_cell_run_as_always(watch, ipc_shell):
    result = watch(
        "inner = %cow_watch -q --save of_it -n 1 pass\n"
        "value = %inprocess -q __import__('time').sleep(1) or 42\n"
        "cost = %pickle_cost -q [1]\n"
    )
    assert result.children == ()  # those of magics are no children of the cell
    assert ipc_shell.user_ns["value"] == 42
    assert len(ipc_shell.user_ns["of_it"].children) == 1
    assert ipc_magic.last is result


def test_one_watch_at_a_time(watch):
    with pytest.raises(IpcMagicError, match="one watch at a time"):
        watch("%cow_watch -n 0 pass\n")
    assert watch("pass\n").children == ()


@pytest.mark.parametrize("option", ["--timeout 1", "--memory 1GiB"])
def test_what_needs_children_of_ours_is_refused(option, watch):
    name = option.split()[0]
    with pytest.raises(OptionError, match=f"{name} .*needs -n 1 or more"):
        watch("pass\n", options=f"-n 0 {option}")


def test_save_quiet_and_verbose(watch, blobs, ipc_shell):
    result = watch(f"{FORK}1 + 1\n", options="-q --save run")
    assert ipc_shell.user_ns["run"] is result
    assert [output.text for output in ipc_shell.outputs] == ["2"]
    ipc_shell.outputs.clear()
    result = watch(FORK, options="-v --project 3")
    (shown,) = ipc_shell.outputs
    assert shown.text == str(result.details())
    assert f"child {result.children[0].pid} after" in shown.text
    assert "3 at once: " in shown.text
    assert "your CPUs" not in shown.text


def test_the_result_is_the_last_output(ipc_shell):
    ipc_shell.run_cell("%%cow_watch\n1 + 1\n", store_history=True)
    assert ipc_shell.user_ns["_"] is ipc_magic.last


@pytest.mark.parametrize("level", ["line", "short"])
def test_the_report_of_many_children_keeps_its_bounds(level, watch, blobs):
    result = watch(
        "import os\n"
        "for _ in range(12):\n"
        "    if not (pid := os.fork()):\n"
        "        os._exit(0)\n"
        "    _, status = os.waitpid(pid, 0)\n",
        options="--keep-free 100000GiB",
    )
    shown = str(result.report(level)).splitlines()
    assert max(map(len, shown)) <= 80
    assert len(shown) <= 15
    assert "12 children copied" in shown[0]
    if level == "short":
        assert any(re.match(r"  \d+ more$", line) for line in shown)
        assert any("(your CPUs): " in line for line in shown)


def test_the_notebook_shows_the_same_figures(watch, blobs):
    result = watch(FORK)
    bundle = result._repr_mimebundle_()
    assert bundle["text/plain"].strip() == str(result)
    html = re.sub(r"<style>.*?</style>", "", bundle["text/html"], flags=re.DOTALL)
    figures = re.findall(r"\d[\d.,]*", str(result))
    assert figures == re.findall(r"\d[\d.,]*", re.sub(r"<[^>]*>", " ", html))


def test_the_result_is_stored_and_read_back(watch, blobs):
    result = watch(FORK)
    stored = json.loads(json.dumps(result.to_dict()))
    assert CowWatch.from_dict(stored) == result
    assert set(stored["projection"]) >= {"children", "bytes", "machine_bytes"}
    (row,) = result.rows()
    assert row["copied_bytes"] == result.children[0].memory.copied_bytes


def test_little_free_memory_is_told_of_and_nobody_stopped(watch, blobs, ipc_shell):
    result = watch(FORK, options="--keep-free 100000GiB")
    assert os.waitstatus_to_exitcode(ipc_shell.user_ns["status"]) == 7
    assert 0 < result.least_free_bytes < 100_000 << 30
    assert "less than --keep-free was left at one time: " in str(result)
    assert "less than --keep-free" not in str(watch(FORK, options="--keep-free 1KiB"))


SUMS = """
import json, os, psutil
sums = []
for pages in (10, 2000, 20):
    read, write = os.pipe()
    if not (pid := os.fork()):
        for blob in blobs[:pages]:
            pass
        memory = psutil.Process().memory_full_info()
        os.write(write, json.dumps([memory.rss, memory.uss]).encode())
        os._exit(0)
    sums.append(json.loads(os.read(read, 1000)))
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)
"""


def test_rss_and_uss_are_those_of_the_child_that_copied_most(watch, blobs, ipc_shell):
    result = watch(SUMS)
    resident, unique = ipc_shell.user_ns["sums"][1]
    assert resident <= result.resident_bytes < 1.05 * resident
    assert unique <= result.unique_bytes < unique + NOISE * PAGE
    copied = [child.memory.copied_bytes for child in result.children]
    assert result.unique_bytes > copied[1] == max(copied)
    assert "htop shows" in (shown := str(result))
    assert "an idle one" not in shown, "it may be older than what the session holds"


def reading_child(blobs):
    if not (pid := os.fork()):
        for blob in blobs:
            blob  # noqa: B018
        os._exit(0)
    os.waitpid(pid, 0)


def test_a_block_is_watched():
    blobs = [bytes(PAGE) for _ in range(COUNT)]
    with ipc_magic.cow_watch(project=5) as watch:
        assert watch.result is None
        reading_child(blobs)
    (child,) = watch.result.children
    assert abs(pages_copied(child) - COUNT) < NOISE
    assert ipc_magic.last is watch.result
    assert watch.result.projection.children == 5


def test_an_error_leaves_the_block_and_its_result():
    watch = ipc_magic.cow_watch()
    with pytest.raises(ZeroDivisionError), watch:
        raise ZeroDivisionError
    assert watch.result is ipc_magic.last


def test_a_block_that_forks_nothing_is_told_of_the_function():
    with ipc_magic.cow_watch() as watch:
        pass
    assert watch.result.headline == (
        "No child was forked while the block ran here. To run it in a forked child: "
        "ipc_magic.cow_watch(function)"
    )


def test_a_function_is_measured_in_children():
    blobs = [bytes(PAGE) for _ in range(COUNT)]
    result = ipc_magic.cow_watch(lambda: [None for _ in blobs], children=2)
    assert len(result.children) == 2
    assert all(pages_copied(child) > COUNT - NOISE for child in result.children)
    assert ipc_magic.last is result
    with pytest.raises(ZeroDivisionError) as caught:
        ipc_magic.cow_watch(lambda: 1 / 0)
    assert caught.value.report is ipc_magic.last


def test_no_warning_is_added(child_env):
    script = (
        "import threading, ipc_magic\n"
        "done = threading.Event()\n"
        "other = threading.Thread(target=done.wait)\n"
        "other.start()\n"
        "with ipc_magic.cow_watch() as watch: pass\n"
        "done.set()\n"
        "other.join()\n"
        "assert watch.result.control.copied_bytes is not None\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", script],
        env=child_env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_wrong_keywords_are_refused():
    with pytest.raises(OptionError, match="1 or more"):
        ipc_magic.cow_watch(print, children=0)
    with pytest.raises(OptionError, match="goes with a function"):
        ipc_magic.cow_watch(children=2)


IN_A_KERNEL = """
import os, signal
if not (pid := os.fork()):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for word in words: pass
    signal.pause()
    os._exit(0)
_, status = os.waitpid(pid, 0)
"""


def test_an_interrupted_cell_in_a_kernel_reports_what_was_seen(kernel):
    kernel.run("words = [str(i) for i in range(100_000)]").ok()
    kernel.run("%cow_watch -q -n 0 pass").ok()  # the observer is there from now on
    reply = kernel.run(f"%%cow_watch --no-live{IN_A_KERNEL}", interrupt_after=1.5)
    kernel.run("os.kill(pid, 9); os.waitpid(pid, 0)").ok()
    assert (reply.status, reply.ename) == ("error", "KeyboardInterrupt")
    (shown,) = reply.displays
    assert shown["text/plain"].strip().startswith("1 child copied ")
    assert "<strong>1 child copied" in shown["text/html"]
    traceback = "\n".join(reply.traceback)
    assert "os.waitpid(pid, 0)" in traceback
    assert "cow_watch_here.py" not in traceback
    reply = kernel.run("len(words)").ok()
    assert reply.results[0]["text/plain"] == "100000"


SLOWLY = """
if not (pid := os.fork()):
    for i, word in enumerate(words):
        if i % 25_000 == 0:
            time.sleep(0.5)  # longer than the observer rests between two readings
    os._exit(0)
os.waitpid(pid, 0)"""
STATE = """
links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
print(threading.active_count(), sum("pipe:" in link for link in links))"""


@pytest.mark.slow
def test_a_notebook_shows_what_was_copied_so_far(kernel):
    kernel.run(
        "import os, threading, time; words = [str(i) for i in range(100_000)]"
    ).ok()
    kernel.run("%cow_watch -q -n 0 pass").ok()  # the observer is there from now on
    before = kernel.run(STATE).ok().stdout
    reply = kernel.run(f"%%cow_watch --keep-free 90000GiB{SLOWLY}").ok()
    assert kernel.run(STATE).ok().stdout == before
    lines = live_lines(reply)
    sizes = [found[1] for line in lines if (found := SO_FAR.fullmatch(line))]
    assert len(set(sizes)) >= 3
    assert lines[-1] == ""
    assert reply.results[0]["text/plain"].strip().startswith("1 child copied")
    reply = kernel.run(f"%%cow_watch --no-live{SLOWLY}").ok()
    assert live_lines(reply) == []


def live_lines(reply):
    """Return the texts of the one display that is updated."""
    shown = [
        message["content"]
        for message in reply.messages
        if message["msg_type"] in ("display_data", "update_display_data")
        and "display_id" in message["content"]["transient"]
    ]
    assert len({content["transient"]["display_id"] for content in shown}) <= 1
    return [content["data"]["text/plain"] for content in shown]


SO_FAR = re.compile(
    r"1 child: copied (.*), new .* so far; "
    r"less than .* of memory is free \(--keep-free\)"
)


def test_a_terminal_is_told_at_once_that_little_is_free(terminal):
    terminal.run("words = [str(i) for i in range(100_000)]; import os, time")
    shown = terminal.run(
        "%%cow_watch --keep-free 90000GiB\n"
        "if not (pid := os.fork()):\n"
        "    time.sleep(1)  # the observer looks how much is free before it ends\n"
        "    os._exit(0)\n"
        "_ = os.waitpid(pid, 0)\n"
        "print('the end of the cell')"
    )
    warning, _, report = shown.partition("the end of the cell")
    assert "of memory is free (--keep-free)" in warning
    assert "1 child copied" in report


TITLE = re.compile(r"\x1b\](?:0|2);(.*?)\x07")


@pytest.mark.slow
def test_the_title_of_a_terminal_tells_it(plain_terminal_class, child_env):
    terminal = plain_terminal_class(child_env, kind="xterm")
    try:
        # Python 3.12 warns of the cell's own fork beside IPython's history thread.
        terminal.run("import warnings; warnings.simplefilter('ignore')")
        terminal.run("words = [str(i) for i in range(100_000)]; import os, time")
        shown = terminal.run(f"%%cow_watch{SLOWLY};")
        quiet = terminal.run(f"%%cow_watch --no-live{SLOWLY}")
    finally:
        terminal.close()
    *told, last = TITLE.findall(shown)
    assert len(set(told)) > 1
    assert all(text.startswith("1 child: copied ") for text in told)
    assert last.startswith("IPython: ")
    report = TITLE.sub("", shown).removeprefix("Out[4]:").strip()
    assert report.startswith("1 child copied "), "nothing else was shown"
    assert not TITLE.findall(quiet)


def test_a_cell_in_a_terminal(terminal):
    terminal.run("words = [str(i) for i in range(300_000)]; import os")
    shown = terminal.run(
        "%%cow_watch\n"
        "if not (pid := os.fork()):\n"
        "    for word in words: pass\n"
        "    os._exit(0)\n"
        "_, status = os.waitpid(pid, 0)"
    )
    _, found, report = shown.partition("1 child copied ")  # Python may warn before
    assert found
    assert "forked by os.fork, line 2" in report
    assert max(map(len, report.splitlines())) <= 80


A_SCRIPT = """
import json
import ipc_magic
blobs = [bytes(4096) for _ in range(3000)]
def read(_):
    for blob in blobs: pass
{first}
with ipc_magic.cow_watch() as watch:
    {code}
print(json.dumps(watch.result.to_dict()))
"""


@pytest.fixture
def watched_script(child_env):
    """Give what runs two lines of a script, the second watched: its result."""

    def run(first, code):
        done = subprocess.run(
            [sys.executable, "-c", A_SCRIPT.format(first=first, code=code)],
            env=child_env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return CowWatch.from_dict(json.loads(done.stdout.splitlines()[-1]))

    return run


@pytest.mark.parametrize(
    ("how", "first", "code"),
    [
        (
            "joblib",
            "from joblib import Parallel, delayed",
            "Parallel(2, 'multiprocessing')(delayed(read)(i) for i in range(8))",
        ),
        pytest.param(
            "DataLoader",
            "from torch.utils.data import DataLoader",
            "for _ in DataLoader(blobs, 100, num_workers=2, collate_fn=len): pass",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_workers_in_a_script_of(how, first, code, watched_script):
    if importlib.util.find_spec(first.split()[1].partition(".")[0]) is None:
        pytest.skip(f"there is no module for {how}")
    result = watched_script(first, code)
    assert [child.how for child in result.children] == [how] * 2
    assert {child.line for child in result.children} == {9}
    # Those of a loader share the list.
    least = COUNT / 2 if how == "DataLoader" else COUNT
    assert max(map(pages_copied, result.children)) > least - NOISE


def test_a_watch_that_was_lost_is_no_measurement(watched_script):
    kill = "os.kill(sys.modules['_ipc_magic_forks'].forker._observer.pid, 9)"
    fork = "pid = os.fork() or os._exit(7); assert os.waitpid(pid, 0)[1] == 7 << 8"
    result = watched_script("import os, sys", f"{kill}; {fork}")
    assert result.headline.startswith("What was copied is not known")
    assert [finding.code for finding in result.findings] == ["watch_lost"]
    assert result.children == ()
