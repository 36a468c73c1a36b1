"""Names brought back: together, one by one, and from where pickling does harm."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import random
import signal
import threading
import time
import warnings

import numpy as np
import pytest

from ipc_magic.process import bring, buffers_out, fresh, guards, parcel, proof, watch
from ipc_magic.process.brought import Brought
from ipc_magic.process.guards import Limits


class Doing:
    """Does something where it is pickled."""

    def __init__(self, what):
        self.what = what

    def __reduce__(self):
        self.what()
        return int, ()


class DoingThere:
    """Does something where it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Ours:
    def __init__(self, x):
        self.x = x


@pytest.fixture
def bring_back(run_children, shown):
    """Give a function that brings values back from a child."""

    def run(values, prove=None, limits=None, before=lambda: None, pipe=True, **more):
        def body(side, _orders):
            before()
            bring.send(side, values, {})
            return {"ended": True}

        ran = run_children(
            body,
            limits=limits,
            prove=prove or (lambda parcel: proof.prove(parcel, shown)),
            orders={"results": pipe},
            **more,
        )
        return ran.watch.brought, ran

    return run


def segfault():
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(code):
    raise SystemExit(code)


def test_plain_values_come_back_with_their_sizes(bring_back):
    shared = [1]
    brought, ran = bring_back({"a": shared, "b": {"c": shared}})
    assert brought.values == {"a": [1], "b": {"c": [1]}}
    assert brought.values["b"]["c"] is brought.values["a"]
    assert list(brought.sizes) == ["a", "b"]
    assert brought.failures == {}
    assert brought.dump_seconds > 0
    assert brought.transport_seconds > 0
    assert brought.load_seconds > 0
    assert ran.outcome["ended"]


@pytest.mark.parametrize("value", [1, Doing(lambda: None)], ids=["plain", "in a fork"])
def test_what_is_pickled_is_told_and_that_it_is_done(bring_back, monkeypatch, value):
    told = []
    take = watch.Watch._take

    def take_and_note(self, message):
        if message.kind in ("pickling", "names"):
            told.append(message.fields.get("name", message.kind))
        take(self, message)

    monkeypatch.setattr(watch.Watch, "_take", take_and_note)
    bring_back({"a": value, "b": 2})
    assert told == ["a", "b", None, "names"]


def test_values_of_own_classes_come_back_from_a_fork(bring_back):
    ours = Ours(1)
    brought, _ = bring_back({"a": ours, "b": [ours]})
    assert type(brought.values["a"]) is Ours
    assert brought.values["b"][0] is brought.values["a"]


def test_a_large_value_comes_back(bring_back):
    brought, _ = bring_back({"big": bytes(20_000_000)})
    assert len(brought.values["big"]) == 20_000_000


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (segfault, "pickling it ended the process (SIGSEGV)"),
        (lambda: os._exit(7), "pickling it ended the process (exit code 7)"),
        (lambda: leave(3), "SystemExit: 3"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: {}[Ours], "KeyError: <class"),
    ],
    ids=["crashes", "exits", "leaves", "raises", "raises another"],
)
def test_what_harms_the_process_that_pickles_it_is_named_and_the_others_come(
    bring_back, what, reason
):
    brought, ran = bring_back({"a": 1, "bad": Doing(what), "b": [2]})
    assert brought.values == {"a": 1, "b": [2]}
    assert list(brought.failures) == ["bad"]
    assert brought.failures["bad"].startswith(reason)
    assert ran.outcome["ended"]
    assert ran.watch.child.exit_code() == 0


class HostileError(Exception):
    def __str__(self):
        raise ValueError("no text")


def raise_hostile(*_):
    raise HostileError


@pytest.mark.parametrize(
    ("function", "arguments", "reason"),
    [
        (os.kill, (0, 0), None),
        (os._exit, (7,), "loading it ended the process with exit code 7"),
        (os.abort, (), "loading it ended the process with SIGABRT"),
        (leave, (3,), "UnpicklingError: loading raised SystemExit(3)"),
        (int, ("x",), "invalid literal"),
        (raise_hostile, (), "HostileError: <str() of this error raised ValueError>"),
    ],
    ids=["does no harm", "exits", "crashes", "leaves", "raises", "hostile"],
)
def test_what_harms_the_process_that_loads_it_is_named_and_the_others_come(
    bring_back, function, arguments, reason
):
    # (os.kill with 0 does nothing: it is loaded here after it was proved.)
    values = {"a": [1], "bad": DoingThere(function, *arguments), "b": Ours(2)}
    brought, ran = bring_back(values)
    assert brought.values["a"] == [1]
    assert brought.values["b"].x == 2
    if reason is None:
        assert brought.failures == {}
        assert "bad" in brought.values
    else:
        assert list(brought.failures) == ["bad"]
        assert reason in brought.failures["bad"]
    assert ran.outcome["ended"]


def test_what_hangs_where_it_is_loaded_is_named(bring_back, monkeypatch):
    monkeypatch.setattr(proof, "PATIENCE_SECONDS", 0.3)
    brought, _ = bring_back({"a": DoingThere(time.sleep, 60)})
    reason = "loading it failed: it had not loaded after 0.3 s"
    assert brought.failures == {"a": reason}


def test_what_hangs_where_it_is_pickled_is_named_and_the_others_come(bring_back):
    values = {"a": Ours(1), "bad": Doing(lambda: time.sleep(60)), "b": [2]}
    brought, ran = bring_back(values, limits=Limits(timeout_seconds=0.5))
    assert (brought.values["a"].x, brought.values["b"]) == (1, [2])
    assert brought.failures == {"bad": "pickling it had not ended after 0.5 s"}
    assert ran.watch.stopped == "timeout"
    assert ran.watch.outcome is None
    assert ran.watch.child.exit_code() == -signal.SIGTERM  # put off, and not lost


def test_an_end_that_is_put_off_is_the_persons(bring_back):
    def heed():
        signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # no matter

    values = {"bad": Doing(lambda: time.sleep(60)), "b": [2]}
    limits = Limits(timeout_seconds=0.5)
    brought, ran = bring_back(values, limits=limits, before=heed)
    assert brought.values == {"b": [2]}
    assert ran.watch.child.exit_code() == 5


def test_a_child_that_dies_while_its_values_are_loaded_does_no_harm(
    bring_back, is_running, wait_until
):
    def kill_the_child(_parcel):
        # As an impatient person would: the child waits for the answer.
        import psutil

        for process in psutil.Process().children(recursive=True):
            process.kill()  # the fork that pickled, too
            wait_until(lambda pid=process.pid: not is_running(pid))

    brought, ran = bring_back({"a": Ours(1)}, prove=kill_the_child)
    assert type(brought.values["a"]) is Ours
    assert ran.watch.child.exit_code() == -signal.SIGKILL


def test_with_sigchld_ignored_names_come_back(bring_back):
    def ignore():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    brought, ran = bring_back({"a": Ours(1), "b": Doing(segfault)}, before=ignore)
    assert brought.values["a"].x == 1
    assert list(brought.failures) == ["b"]
    assert ran.outcome["ended"]


def test_a_fork_beside_a_thread_of_the_childs_gives_no_warning(bring_back):
    over = threading.Event()

    def begin():
        threading.Thread(target=over.wait, daemon=True).start()
        warnings.simplefilter("always")

    brought, ran = bring_back({"a": Ours(1)}, before=begin)
    assert brought.values["a"].x == 1
    assert ran.shown.text("stderr") == ""


def test_text_printed_where_it_is_pickled_arrives(bring_back):
    _, ran = bring_back({"a": Doing(lambda: print("pickling", end=""))})
    assert ran.shown.text() == "pickling"


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (lambda: None, None),
        (segfault, "ended the process (SIGSEGV)"),
        (lambda: os._exit(3), "ended the process (exit code 3)"),
        (lambda: leave(0), "ended the process (exit code 1)"),
        (lambda: 1 / 0, "ended the process (exit code 1)"),
    ],
    ids=["well", "crash", "exit", "leave", "raise"],
)
def test_a_fork_of_the_child_tells_how_it_ended(run_children, action, told):
    ran = run_children(lambda side, _: {"told": bring.in_fork(side, action)})
    assert ran.outcome["told"] == told


def test_a_fork_of_the_child_is_ended_in_time(run_children):
    def told(side, _orders):
        def take(seconds):
            return bring.in_fork(side, lambda: time.sleep(0.2), seconds=seconds)

        return {"short": take(0.05), "long": take(30.0)}

    outcome = run_children(told).outcome
    assert outcome["short"] == "had not ended after 0.05 s"
    assert outcome["long"] is None


def test_a_fork_of_the_child_speaks_for_it(run_children):
    def body(side, _orders):
        bring.in_fork(side, lambda: side.send("from the fork", pid=os.getpid()))
        side.send("from the child", pid=os.getpid())
        return {}

    said = run_children(body).watch.child.said
    pids = [said[name].fields["pid"] for name in ("from the fork", "from the child")]
    assert pids[0] != pids[1]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1, None),
        (Ours(1), None),
        (DoingThere(os._exit, 7), "loading it ended the process with exit code 7"),
        (DoingThere(os.abort), "loading it ended the process with SIGABRT"),
        (DoingThere(int, "x"), "ValueError: invalid literal"),
        (DoingThere(raise_hostile), "HostileError: <str() of this error raised"),
        (DoingThere(leave, 3), "UnpicklingError: loading raised SystemExit(3)"),
    ],
    ids=["plain", "own class", "exits", "crashes", "raises", "hostile", "leaves"],
)
def test_a_stream_is_proved_in_a_process_of_its_own(shown, value, told):

    blob = parcel.pack({"value": value}, {}).blob
    reason = proof.prove(parcel.Parcel(blob, 1), shown)
    assert reason is None if told is None else reason.startswith(told)
    assert shown.pieces == []


def test_a_stream_that_does_not_come_to_an_end_is_given_up(shown, monkeypatch):

    monkeypatch.setattr(proof, "PATIENCE_SECONDS", 0.3)
    blob = parcel.pack({"value": DoingThere(time.sleep, 60)}, {}).blob
    assert proof.prove(parcel.Parcel(blob, 1), shown) == "it had not loaded after 0.3 s"


def test_what_a_proof_prints_is_not_shown(shown):

    blob = parcel.pack({"value": DoingThere(print, "text")}, {}).blob
    assert proof.prove(parcel.Parcel(blob, 1), shown) is None
    assert shown.pieces == []


def test_a_load_that_takes_too_much_memory_is_stopped(shown, monkeypatch):
    monkeypatch.setattr(guards, "margin_above", lambda _asked: -1)
    blob = parcel.pack({"value": DoingThere(time.sleep, 60)}, {}).blob
    reason = proof.prove(parcel.Parcel(blob, 1), shown, keep_free_bytes=1)
    assert reason == "to load it takes more memory than may be used (--keep-free)"


# Large results, through the pipe.

LARGE = 30 << 20


class Holding:
    """What runs code of its own when it is pickled: a fork of the child does that."""

    def __init__(self, **held):
        vars(self).update(held)

    def __reduce__(self):
        return Holding, (), vars(self)


def large(kind=bytearray):
    return kind(os.urandom(1 << 20)) * (LARGE >> 20)


@pytest.mark.parametrize("pipe", [True, False], ids=["a pipe", "no pipe"])
@pytest.mark.parametrize("how", ["sent by the child", "sent by a fork of it"])
def test_what_each_name_took_is_known(bring_back, pipe, how):
    array = np.frombuffer(large(), dtype=float)
    values = {"array": array, "few": [1, 2], "text": "word" * 50_000}
    if how == "sent by a fork of it":
        values["few"] = Holding(a=1)
    brought, ran = bring_back(values, pipe=pipe)
    assert brought.failures == {}
    assert list(brought.sizes) == list(values)
    assert brought.values["array"].tobytes() == array.tobytes()
    assert brought.values["array"].flags.writeable
    assert brought.values["text"] == values["text"]
    assert brought.buffer_sizes == {"array": LARGE if pipe else 0, "few": 0, "text": 0}
    moved = sum(brought.sizes.values()) + sum(brought.buffer_sizes.values())
    assert LARGE + 200_000 < moved < LARGE + 202_000
    assert ran.outcome["ended"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, 0])
def test_where_pages_may_not_be_moved_they_are_copied(bring_back, seccomp, code):
    sent = large()
    brought, _ = bring_back(
        {"a": sent}, before=lambda: seccomp.refuse("vmsplice", code)
    )
    assert brought.values == {"a": sent}
    assert brought.buffer_sizes == {"a": LARGE}


def test_a_child_that_closed_its_pipe_sends_all_in_the_stream(run_children, shown):
    sent = large()

    def body(side, _orders):
        os.close(side.descriptor("buffers"))
        bring.send(side, {"a": sent}, {})
        return {}

    brought = run_children(body, orders={"results": True}).watch.brought
    assert brought.values == {"a": sent}
    assert brought.buffer_sizes == {"a": 0}


def test_what_there_is_no_room_for_is_left(bring_back):
    asked = []

    def room(size):
        asked.append(size)
        return "it is too large" if size > LARGE else None

    values = {"large": [large(), 1], "small": bytearray(100_000), "b": 2}
    brought, ran = bring_back(values, room=room)
    assert brought.values == {"small": values["small"], "b": 2}
    assert brought.failures == {"large": "it is too large"}
    assert asked[0] > asked[1] > LARGE > asked[2]  # together, then one by one
    assert ran.outcome["ended"]


def test_what_no_memory_is_had_for_is_left(bring_back, monkeypatch):
    make = fresh.make

    def refuse(size, *, readonly):
        return make(1 << 60 if size > LARGE else size, readonly=readonly)

    monkeypatch.setattr(fresh, "make", refuse)
    brought, _ = bring_back({"large": [large(bytes), 1], "b": bytes(100_000)})
    assert brought.values == {"b": bytes(100_000)}
    assert brought.failures == {"large": "there is no memory for it"}


@pytest.fixture
def ending_halfway(monkeypatch, tmp_path):
    """Have the first that sends large results, or all, end when half is sent."""

    def arrange(end, *, always=False):
        push, met = buffers_out.push, tmp_path / "met"

        def half(pipe, pieces):
            if always or not met.exists():
                met.touch()
                whole = b"".join(pieces)
                push(pipe, [memoryview(whole)[: len(whole) // 2]])
                end()
            push(pipe, pieces)

        monkeypatch.setattr(buffers_out, "push", half)

    return arrange


def end_at_once():
    os._exit(3)


def test_a_fork_that_dies_while_it_sends_costs_no_name(bring_back, ending_halfway):
    ending_halfway(end_at_once)
    values = {"a": Holding(held=large()), "b": large(bytes), "c": [3]}
    brought, ran = bring_back(values)
    assert brought.failures == {}
    assert brought.values["a"].held == values["a"].held
    assert (brought.values["b"], brought.values["c"]) == (values["b"], [3])
    assert ran.outcome["ended"]


def test_the_last_fork_that_dies_while_it_sends_is_told(bring_back, ending_halfway):
    ending_halfway(end_at_once, always=True)
    brought, ran = bring_back({"b": [1], "a": Holding(held=large())})
    assert brought.values == {"b": [1]}
    assert brought.failures == {"a": "pickling it ended the process (exit code 3)"}
    assert ran.outcome["ended"]


def test_a_child_that_dies_while_it_sends_is_told(bring_back, ending_halfway):
    ending_halfway(lambda: os.kill(os.getpid(), signal.SIGKILL))
    brought, ran = bring_back({"a": large(), "b": 1})
    assert brought.values == {}
    reason = "the process that sent it ended meanwhile"
    assert brought.failures == {"a": reason, "b": reason}
    assert ran.watch.child.exit_code() == -signal.SIGKILL
    assert brought.arrival is None


def test_a_child_that_dies_while_it_sends_leaves_nobody_waiting(
    bring_back, ending_halfway
):
    def leave_a_process_and_die():
        if os.fork():
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # the pipe has no end as long as it lives

    ending_halfway(leave_a_process_and_die)
    brought, ran = bring_back({"a": large()})
    assert brought.failures == {"a": "the process that sent it ended meanwhile"}
    assert brought.arrival is None
    assert len(ran.watch.left) == 1


def test_what_a_dead_sender_left_in_the_pipe_is_no_result_of_the_next():
    ours = Brought(prove=lambda _parcel: None)
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.write(write, b"left")
    values = pickle.dumps(bytes(100_000))
    message = {
        "sizes": {"a": len(values)},
        "blob": None,
        "buffers": {"a": []},
        "begin": 0.0,
        "time": 0.0,
        "last": True,
        "asker": 1,
    }
    assert ours.announce(message, read) == bring.ANSWER.pack(bring.GO, 1)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(write, values)
    assert ours.read(read) == bring.ANSWER.pack(bring.KEPT, 1)
    assert ours.values == {"a": bytes(100_000)}
    os.close(read)
    os.close(write)


def test_what_was_sent_whole_arrives_though_the_child_dies(bring_back, monkeypatch):
    push = buffers_out.push

    def push_and_die(pipe, pieces):
        push(pipe, pieces)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(buffers_out, "push", push_and_die)
    brought, ran = bring_back({"a": large()})
    assert list(brought.values) == ["a"]
    assert ran.watch.child.exit_code() == -signal.SIGKILL


def test_a_child_that_stands_still_while_it_sends_runs_into_the_limit(
    bring_back, ending_halfway
):
    ending_halfway(lambda: time.sleep(60))
    limits = Limits(timeout_seconds=0.5)
    brought, ran = bring_back({"a": large()}, limits=limits)
    assert ran.watch.stopped == "timeout"
    assert list(brought.failures) == ["a"]


def test_an_answer_to_another_is_passed_over(monkeypatch):
    class Side:
        answers = [  # noqa: RUF012
            bring.ANSWER.pack(bring.KEPT, os.getpid() + 1),
            bring.ANSWER.pack(bring.RESEND, os.getpid()),
        ]

        def receive(self, size):
            assert size == bring.ANSWER.size
            return self.answers.pop(0) if self.answers else b""

    side = Side()
    assert bring._receive_answer(side) == bring.RESEND
    assert bring._receive_answer(side) == b""


def test_several_children_send_at_once(run_children):
    def body(side, orders):
        bring.send(side, {"a": bytes([orders.index]) * LARGE}, {})
        return {}

    ran = run_children(body, number=4, orders={"results": True})
    for index, watch_ in enumerate(ran.watches):
        assert watch_.brought.values == {"a": bytes([index]) * LARGE}


@pytest.mark.slow
def test_a_child_killed_at_any_moment_of_a_transfer_does_no_harm(run_children):
    chosen = random.Random(0)
    sent = {"a": large(), "b": [Ours(1)], "c": large(bytes)}

    def body(side, _orders):
        bring.send(side, sent, {})
        return {"ended": True}

    def kill_soon(started, _monitor):
        (child,) = started.children
        pause = chosen.random() * 0.06
        killing = threading.Timer(pause, lambda: os.kill(child.pid, signal.SIGKILL))
        killing.start()
        killers.append(killing)

    endings, killers = set(), []
    for _ in range(200):
        ran = run_children(
            body,
            orders={"results": True},
            while_running=kill_soon,
            prove=lambda _parcel: None,
        )
        killers[-1].join()
        brought = ran.watch.brought
        assert brought.arrival is None
        assert list(brought.values) in ([], ["a", "b", "c"])
        if brought.values:
            assert (brought.values["a"], brought.values["c"]) == (sent["a"], sent["c"])
        endings.add((bool(brought.values), bool(brought.failures)))
    assert {(True, False), (False, True)} <= endings
