"""What a cell leaves in a child: in a kernel and in a script, at their ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from ipc_magic.process import guards

PATIENCE = 30  # seconds that end a test which hangs
AT_ONCE = "from ipc_magic.process import parked; parked.RUN_SECONDS = 0.0"
PIDS = (
    "from ipc_magic.experiments import parked as kept_here\n"
    "print([kept.pid for kept in kept_here.current().kept])"
)
CELL = (
    "%%inprocess -n 2\nclass Point:\n    def __init__(self, x): self.x = x\n"
    "points = [Point(child_index)] * 2"
)


def ended(pids):
    end = time.monotonic() + PATIENCE
    while not all(map(guards.has_ended, pids)):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def pids_of(reply):
    return [int(pid) for pid in reply.ok().stdout.strip("[]\n").split(",")]


def test_in_a_kernel_names_come_and_its_children_are_none_of_it(kernel):
    kernel.run(AT_ONCE).ok()
    shown = kernel.run(CELL).ok().results[0]["text/plain"]
    assert "%inprocess --fetch points" in " ".join(shown.split())
    pids = pids_of(kernel.run(PIDS))
    assert not {*pids} & {child.pid for child in kernel.children()}
    kernel.run("%inprocess -q --fetch points").ok()
    told = kernel.run("print([[p.x for p in one] for one in points])").ok()
    assert told.stdout == "[[0, 0], [1, 1]]\n"
    kernel.run("%inprocess --drop").ok()
    assert ended(pids)


def test_an_interrupt_of_a_kernel_ends_a_fetch_alone(kernel):
    kernel.run(AT_ONCE).ok()
    kernel.run(
        "%%inprocess\nimport time\nclass Slow:\n"
        "    def __reduce__(self): time.sleep(600)\nslow = Slow(); rest = 1"
    ).ok()
    reply = kernel.run("%inprocess --fetch slow,rest", interrupt_after=0.5)
    assert reply.ename == "KeyboardInterrupt"
    assert kernel.run("rest").ename == "NameError"
    assert kernel.run("%inprocess -q --fetch rest\nprint(rest)").ok().stdout == "1\n"
    kernel.run("%inprocess --drop").ok()


@pytest.mark.parametrize("way", ["kill", "shutdown", "restart"])
def test_nothing_outlives_its_kernel(way, fresh_kernel):
    fresh_kernel.run(AT_ONCE).ok()
    fresh_kernel.run(CELL).ok()
    pids = pids_of(fresh_kernel.run(PIDS))
    assert not any(map(guards.has_ended, pids))
    getattr(fresh_kernel, way)()
    assert ended(pids)


def test_a_killed_kernel_takes_along_what_sends(fresh_kernel, tmp_path):
    place = tmp_path / "pid"
    fresh_kernel.run(AT_ONCE).ok()
    fresh_kernel.run(
        f"%%inprocess\nimport os, time\nplace = {str(place)!r}\nclass Slow:\n"
        "    def __reduce__(self):\n"
        "        with open(place, 'w') as file: print(os.getpid(), file=file)\n"
        "        time.sleep(600)\nslow = Slow()"
    ).ok()
    pids = pids_of(fresh_kernel.run(PIDS))
    fresh_kernel.submit("%inprocess --fetch slow")
    end = time.monotonic() + PATIENCE
    while not place.exists() or not place.read_text().endswith("\n"):
        assert time.monotonic() < end
        time.sleep(0.01)
    pids.append(int(place.read_text()))
    fresh_kernel.kill()
    assert ended(pids)


SCRIPT = f"""
from IPython.core.interactiveshell import InteractiveShell
{AT_ONCE}
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "ipc_magic")
shell.run_cell("%%inprocess\\ncache = [1, 2]").raise_error()
shell.run_cell("%inprocess -q --fetch cache").raise_error()
print(shell.user_ns["cache"])
from ipc_magic.experiments import parked as kept_here
print(kept_here.current().kept[0].pid, flush=True)
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "import os; os._exit(0)"])
def test_nothing_outlives_a_script(end, child_env, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + end],
        env={**child_env, "IPYTHONDIR": str(tmp_path), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *_, came, pid = done.stdout.splitlines()
    assert came == "[1, 2]"
    assert int(pid) != os.getpid()
    assert ended([int(pid)])
