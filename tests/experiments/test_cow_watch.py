"""`%cow_watch` with children of ours, and of processes that are alive."""

from __future__ import annotations

import errno
import mmap
import os
import re
import subprocess
import sys
import time

import numpy  # noqa: F401 - imported here, or the first test would be told to leave it
import psutil
import pytest

import ipc_magic
from ipc_magic.errors import ChildOutOfMemory, ChildTimeout, OptionError
from ipc_magic.experiments import cow_watch
from ipc_magic.memory import reading
from ipc_magic.memory.track import Track
from ipc_magic.process import guards, quiesce
from ipc_magic.results.cow_watch import CowWatch
from ipc_magic.results.process_memory import ProcessTree

PAGE = mmap.PAGESIZE
# What two runs of the same machinery may differ by, in pages.
NOISE = 150
pytestmark = pytest.mark.usefixtures("no_collections")


@pytest.fixture
def words(ipc_shell):
    """Give the cell a list whose elements lie on pages of their own."""
    made = ipc_shell.user_ns["words"] = [bytes(PAGE) for _ in range(3000)]
    yield made
    del ipc_shell.user_ns["words"]


@pytest.fixture
def watch(ipc_shell):
    """Give what runs a line and returns the result."""

    def run(line):
        ipc_shell.run_cell(line)
        return ipc_magic.last

    return run


def test_what_reading_a_list_copies(watch, words):
    result = watch("%cow_watch for word in words: word")
    (child,) = result.children
    assert isinstance(result, CowWatch)
    more = child.memory.copied_bytes - result.control.copied_bytes
    assert abs(more // PAGE - 3000) < NOISE
    assert result.control.copied_bytes < child.memory.copied_bytes / 4
    assert child.memory.baseline_bytes == result.control.copied_bytes
    assert (child.how, child.started_by) == ("%cow_watch", "fork")
    assert re.match(r"1 child copied 1\d\.\d of the ", result.headline)
    assert result.statement == "for word in words: word"
    assert not result.ran_here


def test_its_control_is_measured_anew(watch):
    first = watch("%cow_watch pass").children[0].memory
    second = watch("%cow_watch pass").children[0].memory
    assert max(first.baseline_age_seconds, second.baseline_age_seconds) < 5
    assert first.copied_bytes < 2 * first.baseline_bytes + NOISE * PAGE


def test_children_wait_for_each_other(watch, monkeypatch, capfd):
    released, let_go = [], Track.let_go

    def note(track):
        released.append(time.monotonic())
        let_go(track)

    monkeypatch.setattr(Track, "let_go", note)
    result = watch(
        "%cow_watch -n 3 import time; time.sleep(child_index / 2); "
        "print('done', time.monotonic())"
    )
    done = re.findall(r"done ([\d.]+)", capfd.readouterr().out)
    assert len(done) == len(released) == 3
    assert min(released) > max(map(float, done))
    assert [run.ending for run in result.runs] == ["finished"] * 3


def test_the_peak_is_seen_though_it_is_given_up(watch, monkeypatch, tmp_path):
    seen, read = tmp_path / "seen", Track.read

    def note(track):
        took = read(track)
        if track.figures.new_bytes >= 60 << 20:  # what is written, at the least
            seen.touch()
        return took

    monkeypatch.setattr(Track, "read", note)
    wait = f"while not os.path.exists({str(seen)!r}): time.sleep(0.01)"
    # Not in memory that this process has freed, which its child inherits.
    new = "x = mmap.mmap(-1, 60 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)"
    code = f"import mmap, os, time\n{new}\nx.write(bytes(len(x)))\n{wait}\nx.close()"
    result = watch(f"%%cow_watch -n 1 -t 60\n{code}")
    (child,) = result.children
    assert child.memory.new_bytes < 10 << 20
    assert max(point.new_bytes for point in child.timeline) >= 60 << 20


def test_one_that_runs_into_the_time_limit_ends_it_alone(ipc_shell, monkeypatch):
    flush = quiesce.flush

    def slowly(files):
        time.sleep(0.2)  # what is done when the other's end has let it go on
        flush(files)

    monkeypatch.setattr(quiesce, "flush", slowly)
    with pytest.raises(ChildTimeout):
        ipc_shell.run_cell(
            "%cow_watch -n 2 -t 2 import time; time.sleep(60 * child_index)"
        )
    assert [run.ending for run in ipc_magic.last.runs] == ["finished", "timeout"]
    assert ipc_magic.last.headline.startswith("A child was stopped")


def test_an_error_comes_behind_the_report(ipc_shell):
    with pytest.raises(ZeroDivisionError) as caught:
        ipc_shell.run_cell("%cow_watch 1 / 0")
    assert caught.value.report is ipc_magic.last
    assert "raised ZeroDivisionError" in ipc_magic.last.headline


def test_children_are_stopped_before_memory_ends(ipc_shell, words, monkeypatch):
    free = [1]
    monkeypatch.setattr(
        guards, "margin_above", lambda _asked: free.pop() if free else -1
    )
    with pytest.raises(ChildOutOfMemory):
        ipc_shell.run_cell(
            "%cow_watch -n 2 --keep-free 1GiB [word for word in words]; "
            "__import__('time').sleep(60)"
        )
    said = r"Stopped: 1\.0 GiB left free\. The children had copied \d+\.\d MiB\. "
    assert re.match(said + r"Your session is unharmed\.", ipc_magic.last.headline)
    assert [run.ending for run in ipc_magic.last.runs] == ["keep_free"] * 2


def test_the_projection(watch, words):
    result = watch("%cow_watch --project 100 for word in words: word")
    asked = result.projection
    memory = result.children[0].memory
    assert asked.bytes == memory.inherited_bytes + 100 * asked.child_bytes
    assert asked.child_bytes == memory.copied_bytes + memory.new_bytes
    assert asked.machine_bytes <= psutil.virtual_memory().total
    assert "100 at once: " in str(result)
    default = watch("%cow_watch pass").projection
    assert default.children == len(os.sched_getaffinity(0))


def test_resident_memory_is_explained(watch, words):
    result = watch("%cow_watch for word in words: word")
    # RSS is the same for a child that copied all and for one that copied nothing.
    assert abs(result.resident_bytes / result.idle_resident_bytes - 1) < 0.2
    assert result.unique_bytes > result.children[0].memory.copied_bytes
    assert "(RSS counts" in str(result)


@pytest.mark.parametrize("level", ["line", "short", "full"])
def test_the_report_keeps_its_bounds(level, watch, words):
    result = watch("%cow_watch -n 7 for word in words: word")
    shown = str(result.report(level))
    assert shown.startswith("7 children copied ")
    assert max(map(len, shown.splitlines())) <= 80
    if level != "full":
        assert len(shown.splitlines()) <= 15
    assert "3 more" in shown or level != "short"


def test_the_result_is_stored_and_read_back(watch):
    result = watch("%cow_watch -n 2 pass")
    assert CowWatch.from_dict(result.to_dict()) == result
    stored = result.to_dict()
    fields = "mechanism exact control children projection kind format setting"
    assert set(fields.split()) <= set(stored)
    fields = "index pid how exit_code signal last_seen memory owners partition lines"
    assert set(fields.split()) <= set(stored["children"][0])
    assert len(result.to_frame()) == 2


def test_bare_shows_the_children_alive(watch):
    assert watch("%cow_watch").headline == "No child of this session is alive."
    child = subprocess.Popen(["sleep", "60"])
    try:
        result = watch("%cow_watch")
    finally:
        child.kill()
        child.wait()
    (process,) = result.processes
    assert isinstance(result, ProcessTree)
    assert (process.pid, process.parent_pid) == (child.pid, os.getpid())
    assert process.own_bytes > 0
    assert ProcessTree.from_dict(result.to_dict()) == result


def test_a_process_and_its_descendants(watch):
    script = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    root = subprocess.Popen([sys.executable, "-c", script])
    try:
        while not (below := psutil.Process(root.pid).children()):
            time.sleep(0.01)
        result = watch(f"%cow_watch --pid {root.pid}")
    finally:
        for process in (*below, root):
            process.kill()
        root.wait()
    assert [one.pid for one in result.processes] == [root.pid, below[0].pid]
    assert "at most" in result.headline


def test_a_process_that_may_not_be_read_is_told_of(watch, monkeypatch):
    def refuse(_pid):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(reading, "read", refuse)
    result = watch(f"%cow_watch --pid {os.getppid()}")
    assert result.processes[0].fault == "Permission denied"
    assert result.processes[0].own_bytes is None
    assert "could not be read: Permission denied" in result.headline
    assert "a process can be read by its own user" in " ".join(str(result).split())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%cow_watch --pid 4194303", "there is no process 4194303"),
        ("%cow_watch --pid 1 x", "takes no code"),
        ("%%cow_watch\n  ", "the cell is empty"),
        ("%cow_watch --mechanism frames x", "takes one of uffd"),
        ("%cow_watch -n 2000 x", "whole number from 0 to 1000"),
        ("%cow_watch -o x 1", "did you mean --save?"),
    ],
)
def test_bad_input_is_one_line(line, said, ipc_shell):
    with pytest.raises(OptionError, match=re.escape(said)) as caught:
        ipc_shell.run_cell(line)
    assert "\n" not in str(caught.value)


def test_a_plain_function(capfd):
    blobs = [bytes(PAGE) for _ in range(3000)]

    def read():
        print("in the child")
        for blob in blobs:
            blob  # noqa: B018

    result, error = cow_watch.of_function(read, cow_watch.Options(children=2))
    assert error is None
    assert capfd.readouterr().out == "in the child\n" * 2
    for child in result.children:
        assert abs(child.memory.copied_bytes // PAGE - 3000) < 3 * NOISE
    assert result.control.copied_bytes < 1000 * PAGE


def test_what_a_plain_function_raises():
    result, error = cow_watch.of_function(lambda: 1 / 0, cow_watch.Options())
    assert isinstance(error, ZeroDivisionError)
    assert error.report is result


def test_the_control_of_a_function_is_none_for_a_cell(ipc_shell, watch):
    cell = watch("%%inprocess -v\npass").children[0].memory
    result, _ = cow_watch.of_function(lambda: None, cow_watch.Options())
    again = watch("%%inprocess -v\npass").children[0].memory
    # A shell writes to more pages than a bare call does.
    assert result.control.copied_bytes < cell.baseline_bytes
    assert again.baseline_bytes == cell.baseline_bytes
