"""The process that holds the originals: it disturbs nobody, and ends in time."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from ipc_magic.memory import ladder, witness
from ipc_magic.memory.tracker import Tracker
from ipc_magic.memory.witness import NoRoom, WitnessProcess


@pytest.fixture
def made():
    process = WitnessProcess()
    yield process
    process.close()


def test_it_is_nobodys_child(made):
    assert made.pid not in {p.pid for p in psutil.Process().children(recursive=True)}
    assert psutil.Process(made.pid).ppid() != os.getpid()


def test_waiting_for_all_children_does_not_wait_for_it(apart):
    def wait_for_all():
        process = WitnessProcess()
        try:
            os.wait()
        except ChildProcessError:
            return "none"
        finally:
            process.close()
        return "one"

    assert apart(wait_for_all) == "none"


def test_it_has_a_session_of_its_own(made, wait_until):
    wait_until(lambda: os.getsid(made.pid) == made.pid)
    assert os.getsid(0) != made.pid


def test_it_holds_no_descriptor_but_its_lifeline(made, wait_until):
    def held():
        return os.listdir(f"/proc/{made.pid}/fd")

    wait_until(lambda: len(held()) == 1, "it has closed the others")
    assert os.readlink(f"/proc/{made.pid}/fd/{held()[0]}").startswith("pipe:")


def test_a_pipe_that_was_open_at_its_fork_ends_without_it(made):
    # The other way round: what is open when it is forked, it must not keep open.
    told, tells = os.pipe()
    other = WitnessProcess()
    os.close(tells)
    with open(told, "rb") as file:
        assert file.read() == b""
    other.close()


def test_it_waits_and_does_nothing(made, wait_until, state):
    wait_until(lambda: state(made.pid) == "S")
    before = psutil.Process(made.pid).cpu_times()
    assert made.alive
    assert psutil.Process(made.pid).cpu_times() == before


def test_it_ends_when_it_is_closed(wait_until, state):
    made = WitnessProcess()
    assert made.alive
    made.close()
    assert not made.alive
    wait_until(lambda: state(made.pid) in {"", "Z"})
    made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_stays_when_others_are_asked_to_end(number, made):
    with open(f"/proc/{made.pid}/status", encoding="ascii") as file:
        (blocked,) = (line.split()[1] for line in file if line.startswith("SigBlk:"))
    assert int(blocked, 16) >> (number - 1) & 1
    os.kill(made.pid, number)
    assert made.alive


def test_it_is_told_when_it_was_killed(made, wait_until):
    os.kill(made.pid, signal.SIGKILL)
    wait_until(lambda: not made.alive)


@pytest.mark.parametrize("how", ["exit", "SIGKILL"])
def test_it_ends_with_its_maker(how, wait_until, state):
    told, tells = os.pipe()
    if not (maker := os.fork()):
        try:
            made = WitnessProcess()
            os.write(tells, str(made.pid).encode())
            if how == "SIGKILL":
                signal.pause()
        finally:
            os._exit(0)
    os.close(tells)
    pid = int(os.read(told, 20))
    os.close(told)
    if how == "SIGKILL":
        os.kill(maker, signal.SIGKILL)
    os.waitpid(maker, 0)
    wait_until(lambda: state(pid) in {"", "Z"})


def test_it_ends_with_its_maker_though_a_child_lives(wait_until, state, end_process):
    told, tells = os.pipe()
    if not (maker := os.fork()):
        try:
            with Tracker("witness") as tracker, tracker.track() as track:
                if not (child := os.fork()):
                    track.begin_here()
                    os.setsid()
                    signal.pause()
                track.follow(child)
                track.answer()
                pids = f"{tracker._witness.pid} {child}"
                os.write(tells, pids.encode())
                signal.pause()
        finally:
            os._exit(0)
    os.close(tells)
    pid, child = map(int, os.read(told, 40).split())
    end_process.append(child)
    os.close(told)
    os.kill(maker, signal.SIGKILL)
    os.waitpid(maker, 0)
    wait_until(lambda: state(pid) in {"", "Z"}, "the witness ends")
    assert state(child) == "S"


def test_without_room_there_is_none(monkeypatch):
    with pytest.raises(NoRoom, match=r"a witness may need .* GiB, .* GiB are free"):
        WitnessProcess(keep_free_bytes=1 << 60)
    with Tracker("witness", keep_free_bytes=1 << 60) as tracker:
        assert tracker.mechanism == "exclusive"
        assert "may need" in tracker.no_witness


def test_where_no_process_can_be_made_there_is_none(monkeypatch, tracked):
    def refuse():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    Tracker("witness")  # tried before
    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", refuse)
        with Tracker("witness") as tracker:
            assert tracker.mechanism == "exclusive"
            assert "Resource temporarily unavailable" in tracker.no_witness


def test_where_the_second_fork_fails_there_is_none(monkeypatch):
    monkeypatch.setattr(witness, "_make_witness", lambda *_: os._exit(1))
    with pytest.raises(OSError, match="could not be forked"):
        WitnessProcess()


def test_without_descriptors_there_is_none(monkeypatch):
    pipe = os.pipe
    left = [1]

    def scarce():
        if not left:
            raise OSError(24, "Too many open files")
        left.pop()
        return pipe()

    monkeypatch.setattr(os, "pipe", scarce)
    with pytest.raises(OSError, match="Too many open files"):
        WitnessProcess()


def test_one_serves_a_burst_of_children(region):
    some = region(300)
    some.fill()
    tracks = []
    with Tracker("witness") as tracker:
        for number in range(3):
            with tracker.track() as track:
                if not (pid := os.fork()):
                    try:
                        track.begin_here()
                        some.write(range(100 * number, 100 * number + 50))
                        track.done_here()
                    finally:
                        os._exit(0)
                track.follow(pid)
                some.write(range(300))  # here, while it lives
                track.serve()
                os.waitpid(pid, 0)
                tracks.append(track)
    for track in tracks:
        assert track.figures.mechanism == "witness"
        ages = [t.figures.witness_seconds for t in tracks]
        assert ages == sorted(ages)
    # Young pages are not protected: what this process wrote after the witness was
    # forked, and again while the second and third child lived.
    first = tracks[0]._rung.ledger.copied
    assert some.numbers(first) == list(range(50))


def test_the_mechanism_is_tried_without_one():
    assert ladder.fault_of("witness") is None
