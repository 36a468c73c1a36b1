"""Limits: the kernel's texts, when to look again, and what a process is asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_magic.process import guards

MIB = 1 << 20


def test_a_memory_stat_is_read():
    text = "anon 1048576\nfile 8192\ninactive_file 4096\nodd line here\n\n"
    assert guards.parse_memory_stat(text) == {
        "anon": 1048576,
        "file": 8192,
        "inactive_file": 4096,
    }


def write_group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")
    return folder


@pytest.mark.parametrize(
    ("limit", "used", "dropped", "room"),
    [
        (100 * MIB, 30 * MIB, 0, 70 * MIB),
        (100 * MIB, 90 * MIB, 40 * MIB, 50 * MIB),
        (100 * MIB, 120 * MIB, 0, 0),
        ("max", 1, 0, None),
    ],
)
def test_a_control_group_has_the_room_that_its_limit_leaves(
    tmp_path, limit, used, dropped, room
):
    folder = write_group(
        tmp_path / "group",
        memory_max=limit,
        memory_current=used,
        memory_stat=f"anon 1\ninactive_file {dropped}",
    )
    assert guards._cgroup_room(folder) == room


def test_a_folder_that_is_no_control_group_sets_no_limit(tmp_path):
    assert guards._cgroup_room(tmp_path) is None


def test_available_bytes_is_what_the_machine_has():
    available = guards.available_bytes()
    assert 0 < available <= psutil.virtual_memory().total


def test_the_margin_is_what_is_there_beyond_what_is_to_be_kept(monkeypatch):
    monkeypatch.setattr(guards, "available_bytes", lambda: 5 * MIB)
    assert guards.margin_above(3 * MIB) == 2 * MIB
    assert guards.margin_above(9 * MIB) == -4 * MIB


@pytest.mark.usefixtures("no_descriptor_left")
def test_figures_that_cannot_be_read_are_not_known():
    with pytest.raises(OSError, match="Too many open files"):
        guards.available_bytes()
    assert guards.margin_above(1) is None
    assert guards.cpu_seconds(os.getpid()) is None


def test_a_limit_at_an_unknown_distance_is_looked_at_soonest():
    assert guards.seconds_until_reached(None) == guards.seconds_until_reached(-1)


def test_the_kills_of_the_kernel_are_counted():
    count = guards.oom_kills()
    assert isinstance(count, int)
    with open("/proc/vmstat", encoding="ascii") as file:
        (machine,) = (int(ln.split()[1]) for ln in file if ln.startswith("oom_kill "))
    assert count >= machine or guards.oom_kills() > count


@given(st.integers(-(1 << 60), 1 << 60), st.integers(0, 1 << 60))
def test_a_nearer_limit_is_looked_at_sooner_and_never_too_seldom(margin, more):
    soon, late = map(guards.seconds_until_reached, (margin, margin + more))
    assert 0.001 < soon <= late <= 1.0


def test_a_limit_is_looked_at_before_memory_can_reach_it():
    # Memory fills with less than 100 GiB a second: one core writes a tenth of it.
    margin = 8 << 30
    assert guards.seconds_until_reached(margin) * (100 << 30) >= margin
    assert guards.seconds_until_reached(margin) * (10 << 30) <= margin


def test_cpu_time_counts_descendants(end_process, wait_until):
    busy = "while True: pass"
    program = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        wait_until(lambda: psutil.Process(process.pid).children())
        (grandchild,) = psutil.Process(process.pid).children()
        end_process.append(grandchild.pid)
        wait_until(lambda: (guards.cpu_seconds(process.pid) or 0) > 0.3)
        own = psutil.Process(process.pid).cpu_times()
        assert own.user + own.system < (guards.cpu_seconds(process.pid) or 0)
        process.kill()


def test_ticks_change_when_cpu_is_used():
    before = guards.own_cpu_ticks(os.getpid())
    begin = time.process_time()
    while time.process_time() < begin + 0.1:
        pass
    assert guards.own_cpu_ticks(os.getpid()) != before
    assert len(before.split()) == 2


def test_the_ticks_of_a_process_with_an_odd_name_are_found(tmp_path, wait_until):
    odd = tmp_path / "a) b (c"
    odd.symlink_to("/usr/bin/yes")

    def ticks():
        return sum(map(int, guards.own_cpu_ticks(process.pid).split()))

    with subprocess.Popen([str(odd)], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: ticks() > 20, "0.2 s of CPU are seen")
        finally:
            process.kill()


def test_a_process_that_is_gone_has_no_figures():
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert guards.cpu_seconds(process.pid) is None
    assert guards.own_cpu_ticks(process.pid) == b""
    assert guards.catches(process.pid, signal.SIGTERM) is False


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGRTMAX - 5], ids=int)
def test_a_handler_is_seen(number):
    assert not guards.catches(os.getpid(), number)
    before = signal.signal(number, lambda *_: None)
    try:
        assert guards.catches(os.getpid(), number)
        signal.signal(number, signal.SIG_IGN)
        assert not guards.catches(os.getpid(), number)
    finally:
        signal.signal(number, before)
