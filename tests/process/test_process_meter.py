"""A meter may take its time: no child is late for it, none runs on while it is read."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from pathlib import Path

import pytest

from ipc_magic.process import guards, monitor, watch
from ipc_magic.process.guards import Limits


class SlowMeter:
    """Measures nothing, and takes `seconds` for each answer."""

    def __init__(self, seconds=0.0, on_read=lambda _meter: 0.0):
        self.seconds = seconds
        self.on_read = on_read
        self.tracks = []

    def before_forks(self):
        pass

    def track(self):
        self.tracks.append(SlowTrack(self))
        return self.tracks[-1]

    def close(self):
        pass


class SlowTrack:
    begun = held = False
    waited_seconds = 0.0

    def __init__(self, meter):
        self.meter = meter
        self.ours, self.theirs = socket.socketpair()

    def _ask(self):
        self.theirs.send(b"?")
        self.theirs.recv(1)

    begin_here = done_here = sent_here = _ask

    def follow(self, pid):
        self.pid = pid
        self.theirs.close()

    def fileno(self):
        return self.ours.fileno()

    def answer(self):
        if not self.ours.recv(1):
            return False
        self.begun = True
        time.sleep(self.meter.seconds)
        self.ours.send(b"!")
        return True

    def read(self):
        return self.meter.on_read(self)

    def close(self):
        self.ours.close()
        self.theirs.close()


def done(_side, orders):
    orders.meter.done_here()
    return {"done": True}


def test_no_child_is_late_while_others_are_measured(run_children, monkeypatch):
    monkeypatch.setattr(watch, "HELLO_SECONDS", 0.3)
    monkeypatch.setattr(monitor, "HELLO_SECONDS", 0.3)
    ran = run_children(done, number=4, orders={"meter": SlowMeter(0.25)})
    assert [each.stopped for each in ran.watches] == [None] * 4
    assert all(each.outcome["done"] for each in ran.watches)


def test_waiting_for_readings_is_no_time_of_the_code(run_children):
    limits = Limits(timeout_seconds=1.0)
    meter = SlowMeter(0.3)
    ran = run_children(done, number=3, limits=limits, orders={"meter": meter})
    assert [each.stopped for each in ran.watches] == [None] * 3


def test_code_that_runs_too_long_is_stopped_all_the_same(run_children):
    def body(side, orders):
        time.sleep(60)
        return done(side, orders)

    limits = Limits(timeout_seconds=0.5)
    ran = run_children(body, limits=limits, orders={"meter": SlowMeter(0.1)})
    assert ran.watch.stopped == "timeout"


def test_all_children_share_the_time_for_readings(run_children):
    ran = run_children(done, orders={"meter": SlowMeter(on_read=lambda _: 2.0)})
    ran.watch.child.meter.begun = True
    for among in (1, 10):
        ran.watch.read_memory(among=among)
        wait = ran.watch.next_reading - time.monotonic()
        assert 60 * among < wait < 70 * among


def test_output_is_shown_between_the_readings(run_children, shown, monkeypatch):
    monkeypatch.setattr(watch, "_READING_SECONDS", 0.01)
    monkeypatch.setattr(watch, "_READING_PAUSE", 0)
    events = []
    write = shown.write
    printed, print_one = os.pipe()
    os.set_blocking(printed, False)

    def note_text(stream, text):
        events.append("text")
        write(stream, text)

    def note_reading(_track):
        with contextlib.suppress(BlockingIOError):
            while os.read(printed, 1 << 16):
                pass
        if select.select([printed], [], [], 0.1)[0]:  # text came while it was read
            events.append("reading")
        return 0.02

    def body(side, orders):
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            print("text", flush=True)
            os.write(print_one, b".")
            time.sleep(0.001)
        return done(side, orders)

    shown.write = note_text
    try:
        run_children(body, number=6, orders={"meter": SlowMeter(on_read=note_reading)})
    finally:
        os.close(printed)
        os.close(print_one)
    runs = "".join("r" if event == "reading" else "t" for event in events).split("t")
    assert max(map(len, runs)) <= 2 < sum(map(len, runs))


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("limit", ["keep_free", "memory_limit"])
def test_what_takes_too_much_stands_still_while_it_is_read(
    limit, run_children, wait_until, monkeypatch
):
    """Reading takes long where much was inherited: it must not take more meanwhile."""
    watches, still = {}, []

    def on_read(track):
        if watches[track.pid].frozen:
            pids = watches if limit == "keep_free" else [track.pid]
            wait_until(lambda: all(state(pid) in "TZ" for pid in pids))
            still.append(track.pid)
        return 0.0

    def body(side, orders):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass
        return done(side, orders)

    meter = SlowMeter(on_read=on_read)

    def too_much(_):
        return all(track.begun for track in meter.tracks)

    monkeypatch.setattr(guards, "margin_above", lambda _: -too_much(_))
    limits = {
        "keep_free": Limits(keep_free_bytes=1),
        "memory_limit": Limits(memory_bytes=0, own_bytes=too_much),
    }
    ran = run_children(
        body,
        number=3,
        orders={"meter": meter},
        limits=limits[limit],
        while_running=lambda _, monitor: watches.update(
            (each.child.pid, each) for each in monitor.watches
        ),
    )
    assert [each.stopped for each in ran.watches] == [limit] * 3
    assert sorted(still) == sorted(watches)
