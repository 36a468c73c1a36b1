"""`%%inprocess` tells what its children did with the memory they inherited."""

from __future__ import annotations

import gc
import mmap
import os
import signal

import numpy  # noqa: F401 - imported here, or the first test would be told to leave it
import pytest

import ipc_magic
from ipc_magic.errors import ChildEnded, ChildKilled, ChildTimeout, OptionError
from ipc_magic.experiments import inprocess_memory
from ipc_magic.memory import ladder
from ipc_magic.memory.rungs.pfn import Frames
from ipc_magic.memory.track import Track
from ipc_magic.memory.tracker import Tracker
from ipc_magic.process import fork
from ipc_magic.results import InProcess

PAGE = mmap.PAGESIZE
PAGES = 4000
# What two runs of the same machinery may differ by, in pages.
NOISE = 150
pytestmark = pytest.mark.usefixtures("no_collections")


@pytest.fixture
def region(ipc_shell):
    """Give the cell private memory of known pages, each written before the fork."""
    made = mmap.mmap(-1, PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    made.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(PAGES):
        made[page * PAGE] = 1
    ipc_shell.user_ns["region"] = made
    yield made
    del ipc_shell.user_ns["region"]
    made.close()


@pytest.fixture
def memory(ipc_shell):
    """Give what runs a cell in children and returns the memory of the only one."""

    def run(code, line=""):
        ipc_shell.run_cell(f"%%inprocess {line}\n{code}")
        (child,) = ipc_magic.last.children
        return child.memory

    return run


def writing(pages):
    return f"for page in range({pages}): region[page * {PAGE}] = 2"


@pytest.mark.parametrize("mechanism", ["uffd", "witness", "pfn"])
def test_known_pages_are_counted(mechanism, memory, region):
    if (fault := ladder.fault_of(mechanism)) is not None:
        pytest.skip(fault)
    line = f"--mechanism {mechanism}"
    none = memory(writing(0), line)
    some = memory(writing(1500), line)
    assert (some.mechanism, some.exact) == (mechanism, True)
    assert some.inherited_bytes > PAGES * PAGE
    assert abs((some.copied_bytes - none.copied_bytes) // PAGE - 1500) < NOISE
    assert none.copied_bytes < 2 * none.baseline_bytes
    assert some.end_copied_bytes == some.copied_bytes
    assert some.gone_bytes == some.unmeasured_bytes == 0


def test_the_frames_of_the_pages_changed(memory, region, monkeypatch):
    if ladder.fault_of("pfn") is not None:
        pytest.skip("page frame numbers are for root")
    frames, ledgers = [], []
    begin, read = Track._begin, Track.read

    def begin_both(track, descriptor):
        frames.append(Frames(track._pid))
        frames[-1].begin()
        begin(track, descriptor)

    def read_both(track):
        frames[-1].read()
        took = read(track)
        ledgers.append((frames[-1].ledger, track._rung.ledger))
        return took

    monkeypatch.setattr(Track, "_begin", begin_both)
    monkeypatch.setattr(Track, "read", read_both)
    memory(writing(1500))
    truth, seen = ledgers[-1]
    for each in frames:
        each.close()
    assert (truth.copied - seen.copied).count == 0
    # This process, too, wrote to some pages while it watched: it got the copy then.
    assert (seen.copied - truth.copied).count < 500
    assert (truth.copied & seen.copied).count > 1500


def test_new_memory_is_no_copy(memory):
    idle = memory("pass")
    # A mapping of its own: an allocation may lie in inherited memory that is free.
    private = "flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS"
    grown = memory(
        f"import mmap\nnew = mmap.mmap(-1, 40 << 20, {private})\n"
        f"for page in range(0, 40 << 20, {PAGE}): new[page] = 1"
    )
    # What an idle child takes anew need not be taken by this one, too.
    assert 40 << 20 <= grown.new_bytes < (42 << 20) + idle.new_bytes
    assert grown.copied_bytes < 2 * idle.copied_bytes


def test_given_up_memory_is_gone(memory, region):
    gone = memory(f"{writing(1000)}\nregion.close()")
    assert gone.gone_bytes >= PAGES * PAGE
    assert gone.end_copied_bytes <= gone.copied_bytes


def test_what_sending_copies_is_counted_apart(memory, ipc_shell):
    # Pickling counts references to each of them, so writes to the page of each.
    ipc_shell.user_ns["blobs"] = [bytes(2 * PAGE) for _ in range(900)]
    brought = memory("pass", "-o blobs")
    assert brought.transport_copied_bytes > 800 * PAGE
    assert brought.copied_bytes < 2 * brought.baseline_bytes
    read = memory("for blob in blobs: blob")
    assert read.transport_copied_bytes is None
    assert read.copied_bytes - brought.copied_bytes > 800 * PAGE
    del ipc_shell.user_ns["blobs"]


def test_quiet_takes_no_readings(ipc_shell, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("measured")

    with monkeypatch.context() as patches:
        patches.setattr(Tracker, "__init__", refuse)
        ipc_shell.run_cell("%%inprocess -q\npass")
        assert ipc_magic.last.children[0].memory is None
    ipc_shell.run_cell("%%inprocess -q --save kept\npass")
    assert ipc_shell.user_ns["kept"].children[0].memory.copied_bytes is not None


def test_each_of_several_children_is_measured(ipc_shell, region):
    code = f"for page in range(1000 * child_index): region[page * {PAGE}] = 2"
    ipc_shell.run_cell(f"%%inprocess -n 3\n{code}")
    copied = [child.memory.copied_bytes // PAGE for child in ipc_magic.last.children]
    assert abs(copied[1] - copied[0] - 1000) < NOISE
    assert abs(copied[2] - copied[0] - 2000) < NOISE


def test_the_report_shows_what_is_notable(ipc_shell, memory, region):
    memory("pass")
    assert "inherited" not in str(ipc_magic.last)
    memory(writing(PAGES))
    shown = str(ipc_magic.last)
    assert "this child" in shown
    assert "idle child" in shown
    assert "exact (userfaultfd)" in shown or ladder.choose() != "uffd"
    assert "at end" in str(ipc_magic.last.details())


def test_the_control_is_measured_once(memory, monkeypatch):
    memory("pass")
    monkeypatch.setattr(inprocess_memory, "_run_control", None)  # a second: TypeError
    first = memory("pass")
    second = memory("pass")
    assert second.baseline_bytes == first.baseline_bytes > 0
    assert second.baseline_age_seconds > first.baseline_age_seconds


def test_the_control_writes_nothing_of_the_session(ipc_shell, monkeypatch, tmp_path):
    """What an open file holds is written once, by whom it belongs to."""
    monkeypatch.setattr(inprocess_memory, "_controls", {})
    with (tmp_path / "file").open("w") as file:
        file.write("text")
        ipc_shell.user_ns["file"] = file
        ipc_shell.run_cell("%%inprocess -q --save run\npass")
        assert inprocess_memory._controls
        del ipc_shell.user_ns["file"]
    assert (tmp_path / "file").read_text() == "text"


def test_the_control_collects_no_garbage(ipc_shell, monkeypatch):
    monkeypatch.setattr(inprocess_memory, "_controls", {})
    with mmap.mmap(-1, PAGE) as collected:

        def note(*_):
            if os.getpid() != here:
                collected[0] = 1

        here, thresholds = os.getpid(), gc.get_threshold()
        gc.callbacks.append(note)
        gc.set_threshold(1)
        gc.enable()
        try:
            cell = "%%inprocess -q --save run\npass"
            with monkeypatch.context() as patches:
                patches.setattr(fork, "start", only_the_first(fork.start))
                with pytest.raises(ipc_magic.CannotStart):
                    ipc_shell.run_cell(cell)
            assert (collected[0], gc.isenabled()) == (0, True)
            ipc_shell.run_cell(cell)
            assert collected[0] == 1
        finally:
            gc.callbacks.remove(note)
            gc.set_threshold(*thresholds)


def only_the_first(start):
    calls = []

    def start_once(*args, **how):
        calls.append(1)
        if len(calls) > 1:
            raise ipc_magic.CannotStart("a second")
        return start(*args, **how)

    return start_once


def test_an_interrupted_control_runs_no_cell(ipc_shell, monkeypatch):
    run_control = inprocess_memory._run_control
    monkeypatch.setattr(inprocess_memory, "_controls", {})

    def interrupted(*args, **how):
        os.kill(os.getpid(), signal.SIGINT)
        return run_control(*args, **how)

    monkeypatch.setattr(inprocess_memory, "_run_control", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ipc_shell.run_cell("%%inprocess -o came\ncame = 1")
    assert "came" not in ipc_shell.user_ns


def test_a_job_is_measured_while_this_process_goes_on(ipc_shell, region):
    ipc_shell.run_cell(f"%%inprocess --bg job\n{writing(2000)}")
    (child,) = ipc_shell.user_ns["job"].wait().children
    assert child.memory.copied_bytes > 2000 * PAGE
    assert child.memory.exact is (child.memory.mechanism != "uffd")


def test_os_exit_is_read_at_its_last_moment(memory, region):
    with pytest.raises(ChildEnded):
        memory(f"import os\n{writing(2000)}\nos._exit(3)")
    (child,) = ipc_magic.last.children
    assert child.exit_code == 3
    assert child.memory.copied_bytes > 2000 * PAGE
    assert child.memory.unread_seconds is None


def test_os_exit_in_a_grandchild_is_its_own(memory, region):
    code = "import os\npid = os.fork() or os._exit(4)\nstatus = os.waitpid(pid, 0)[1]"
    copied = memory(f"{code}\nassert status == 4 << 8\n{writing(2000)}").copied_bytes
    assert copied > 2000 * PAGE


def test_a_stopped_child_tells_what_it_had_copied(memory, region):
    with pytest.raises(ChildTimeout):
        memory(f"import time\n{writing(2000)}\ntime.sleep(60)", "-t 0.5")
    stopped = ipc_magic.last.children[0].memory
    assert stopped.copied_bytes > 2000 * PAGE
    assert stopped.unread_seconds is not None
    assert "had copied at least" in ipc_magic.last.headline


def test_a_killed_child_tells_what_was_seen_of_it(memory, region):
    code = f"import os, time\n{writing(2000)}\ntime.sleep(1)\nos.kill(os.getpid(), 9)"
    with pytest.raises(ChildKilled):
        memory(code)
    killed = ipc_magic.last.children[0].memory
    assert killed.copied_bytes > 2000 * PAGE
    assert 0 < killed.unread_seconds < 1


@pytest.mark.parametrize(
    "code", ["os.kill(os.getpid(), 9)", "os.execv('/bin/true', ['true'])"]
)
def test_a_child_that_is_gone_at_once_has_no_figure(code, memory):
    with pytest.raises(ChildEnded):
        memory(f"import os; {code}")
    (child,) = ipc_magic.last.children
    assert child.memory.inherited_bytes > 0
    assert child.memory.copied_bytes is None
    (finding,) = [f for f in ipc_magic.last.findings if f.code == "memory_unread"]
    assert str(child.pid) in finding.message


def test_a_child_that_closes_all_descriptors_is_read_then(memory, region):
    code = f"{writing(2000)}\nimport os, time\nos.closerange(3, 10_000)\ntime.sleep(1)"
    with pytest.raises(ChildEnded):
        memory(code)
    assert ipc_magic.last.children[0].memory.copied_bytes > 2000 * PAGE


def test_the_environment_forces_a_mechanism(memory, monkeypatch):
    monkeypatch.setenv(ladder.ENVIRONMENT, "smaps")
    assert memory("pass").mechanism == "smaps"
    assert memory("pass", "--mechanism exclusive").mechanism == "exclusive"


def test_a_mechanism_that_fails_is_refused_in_one_line(ipc_shell, monkeypatch):
    monkeypatch.setattr(ladder, "fault_of", lambda _name: "no such call")
    with pytest.raises(OptionError, match="pfn does not work here: no such call"):
        ipc_shell.run_cell("%%inprocess --mechanism pfn\npass")


def test_a_run_goes_on_unmeasured_where_nothing_can_be_tried(ipc_shell, monkeypatch):
    def refuse(_name):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(ladder, "fault_of", refuse)
    ipc_shell.run_cell("%%inprocess -o x\nx = 1")
    assert ipc_shell.user_ns["x"] == 1
    (finding,) = ipc_magic.last.findings
    assert finding.code == "unmeasured"


def test_unique_memory_is_never_called_copied(memory):
    unique = memory("x = bytearray(30 << 20)", "--mechanism psutil")
    assert unique.unique_bytes > 30 << 20
    assert unique.copied_bytes is unique.inherited_bytes is unique.new_bytes is None
    shown = str(ipc_magic.last)
    assert "(USS), which counts new memory as well" in " ".join(shown.split())
    assert "copied" not in shown
    idle = memory("pass", "--mechanism psutil")
    assert 0 < idle.baseline_unique_bytes < unique.unique_bytes / 2
    assert "USS" not in str(ipc_magic.last)


def test_memory_is_stored_and_read_back(memory, region):
    memory(writing(100))
    result = ipc_magic.last
    assert InProcess.from_dict(result.to_dict()) == result
    stored = result.to_dict()["children"][0]["memory"]
    fields = "mechanism exact inherited_bytes written_bytes copied_bytes"
    fields += " end_copied_bytes new_bytes gone_bytes baseline_bytes"
    fields += " transport_copied_bytes unmeasured_bytes"
    assert set(fields.split()) <= set(stored)
    assert result.to_frame()["copied_bytes"][0] == stored["copied_bytes"]


def test_the_exit_function_is_pickled_as_what_it_stands_for(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess -o same\nimport os, pickle\n"
        "same = pickle.loads(pickle.dumps(os._exit)).__module__"
    )
    assert ipc_shell.user_ns["same"] == "posix"
