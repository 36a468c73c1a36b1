"""From a parent to its children: what they get, what it keeps, what fails whole."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import threading
import time

import pytest

from ipc_magic.errors import CannotStart
from ipc_magic.process import child_streams, fork, interrupts
from ipc_magic.process.child_side import ChildSide


def test_a_child_returns_its_outcome_and_its_text(run_children):
    def body(side, orders):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(1, b"as C does\n")
        os.system("echo from a program")
        return {"index": orders.index, "pid": os.getpid(), "same": type(side).__name__}

    ran = run_children(body)
    assert ran.outcome["index"] == 0
    assert ran.outcome["pid"] == ran.watch.child.pid != os.getpid()
    assert ran.outcome["same"] == ChildSide.__name__
    assert ran.watch.child.exit_code() == 0
    assert ran.shown.text() == "to stdout\nas C does\nfrom a program\n"
    assert ran.shown.text("stderr") == "to stderr\n"


def test_texts_of_both_streams_and_messages_keep_their_order(run_children):
    def body(side, _orders):
        for number in range(50):
            print(f"out {number}")
            side.send_in_order("display", number=number)
            print(f"err {number}", file=sys.stderr)
        return {}

    ran = run_children(body)
    found = "".join(
        piece[1] if piece[0] != "display" else f"shown {piece[1]['number']}\n"
        for piece in ran.shown.pieces
    )
    assert found == "".join(
        f"out {number}\nshown {number}\nerr {number}\n" for number in range(50)
    )


def test_all_of_much_output_arrives(run_children):
    def body(*_):
        for number in range(20_000):
            print(number, "x" * 100)
        os.write(2, b"y" * 3_000_000)
        return {}

    ran = run_children(body)
    lines = ran.shown.text().splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(20_000))
    assert ran.shown.text("stderr") == "y" * 3_000_000


def test_children_are_numbered_and_each_has_its_own_process(run_children):
    ran = run_children(
        lambda _side, orders: {"it": (orders.index, os.getpid())[0]}, number=4
    )
    assert [watch.outcome["it"] for watch in ran.watches] == [0, 1, 2, 3]
    assert len({watch.child.pid for watch in ran.watches}) == 4


def test_the_lines_of_tagged_children_are_whole(run_children):
    def body(_side, orders):
        for _ in range(50):
            print(orders.index, end="")
            print("", "x" * 10)
        return {}

    ran = run_children(body, number=3, tagged=True)
    lines = ran.shown.text().splitlines()
    assert sorted(lines) == sorted(
        f"[{index}] {index} {'x' * 10}" for index in range(3) for _ in range(50)
    )


def blocked() -> set[int]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_the_signal_mask_is_the_persons_in_the_child_and_afterwards(run_children):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        before = blocked()
        ran = run_children(lambda *_: {"blocked": sorted(map(int, blocked()))})
        assert blocked() == before
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    assert ran.outcome["blocked"] == sorted(map(int, before))
    assert signal.SIGINT not in ran.outcome["blocked"]


def test_the_handler_of_sigint_is_the_persons_in_the_child_and_afterwards(run_children):
    def mine(*_):
        pass

    before = signal.signal(signal.SIGINT, mine)
    try:
        ran = run_children(lambda *_: {"same": signal.getsignal(signal.SIGINT) is mine})
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)
    assert ran.outcome["same"]


def test_a_parent_that_ignores_sigint_has_children_that_heed_it(run_children):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        ran = run_children(lambda *_: {"it": signal.getsignal(signal.SIGINT).__name__})
    finally:
        signal.signal(signal.SIGINT, before)
    assert ran.outcome["it"] == "default_int_handler"


@pytest.mark.parametrize("on", [True, False])
def test_the_garbage_collector_is_as_it_was_in_the_child_and_afterwards(
    run_children, on
):
    if not on:
        gc.disable()
    try:
        ran = run_children(lambda *_: {"on": gc.isenabled()})
        assert gc.isenabled() is on
    finally:
        gc.enable()
    assert ran.outcome["on"] is on


def test_a_child_has_a_session_of_its_own_and_no_input(run_children):
    def body(*_):
        return {
            "leads": os.getsid(0) == os.getpgrp() == os.getpid(),
            "read": sys.stdin.read(),
            "raw": os.read(0, 1),
        }

    assert (
        run_children(body).outcome.items()
        >= {
            "leads": True,
            "read": "",
            "raw": b"",
        }.items()
    )


def test_a_child_holds_nothing_of_its_siblings(run_children):
    def body(*_):
        ways = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                way = os.readlink(f"/proc/self/fd/{fd}")
            except OSError:
                continue  # it listed the folder
            ways += [way] if way.startswith(("pipe:", "socket:")) else []
        return {"ways": ways}

    first, *others = run_children(body, number=4).watches
    for other in others:
        assert len(other.outcome["ways"]) == len(first.outcome["ways"])


def test_a_thread_of_the_childs_is_waited_for(run_children):
    def body(*_):
        def late():
            time.sleep(0.2)
            print("the last word")

        threading.Thread(target=late).start()
        return {}

    assert run_children(body).shown.text() == "the last word\n"


def test_a_child_may_be_forked_in_a_thread(run_children):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(run_children(lambda *_: {"ran": True}))
    )
    thread.start()
    thread.join()
    assert found[0].outcome["ran"]


def test_handlers_of_logging_write_to_the_childs_streams(run_children, run_script):
    out = run_script(
        """
        import logging, sys
        from ipc_magic.process import fork, guards, monitor

        class Front:
            def write(self, stream, text): print("shown", stream, text, end="")
            def show(self, _): pass
            def live(self, _): pass

        logging.basicConfig(stream=sys.stderr)
        (handler,) = logging.root.handlers
        other = logging.StreamHandler(open("/dev/null", "w"))

        def body(*_):
            logging.warning("a child's")
            # The parent's stream may be locked for ever: see take_over_streams.
            assert handler.stream is sys.stderr
            assert other.stream.name == "/dev/null"
            return {}

        started = fork.start(body, number=1, names={})
        limits = guards.Limits(timeout_seconds=30)
        monitor.Monitor(started.children, Front(), limits=limits).run()
        print(started.children[0].last_words, end="")
        other.stream.close()
        """
    )
    assert out == "shown stderr WARNING:root:a child's\n"


def test_the_parents_input_is_left_to_the_parent(run_script):
    out = run_script(
        """
        import os, sys
        from ipc_magic.process import fork, guards, monitor

        class Front:
            def write(self, stream, text): print("shown", text, end="")
            def show(self, _): pass
            def live(self, _): pass

        body = lambda *_: print([sys.stdin.read(), os.read(0, 9), input]) or {}
        started = fork.start(body, number=1, names={})
        limits = guards.Limits(timeout_seconds=30)
        monitor.Monitor(started.children, Front(), limits=limits).run()
        print("left:", sys.stdin.read())
        """,
        given="a line",
    )
    assert out == "shown ['', b'', <built-in function input>]\nleft: a line\n"


def test_all_of_a_text_arrives_through_a_pipe_that_somebody_made_non_blocking(
    run_children,
):
    def body(*_):
        os.set_blocking(1, False)  # as node and asyncio do
        print("x" * 3_000_000)
        return {}

    assert run_children(body).shown.text() == "x" * 3_000_000 + "\n"


def test_a_defect_of_ours_in_the_child_is_told_with_its_traceback(run_children):
    def body(*_):
        raise LookupError("defect")

    ran = run_children(body)
    assert ran.watch.outcome is None
    assert ran.watch.child.exit_code() == 1
    assert "ipc_magic failed in the child" in ran.watch.child.last_words
    assert "LookupError: defect" in ran.watch.child.last_words


def test_a_body_may_plan_in_the_parent_what_is_to_change_in_the_child(run_children):
    class Body:
        planned_by = 0

        def plan(self, _side, orders, replacements):
            self.planned_by = os.getpid()
            replacements.put(self, "name", f"child {orders.index}")

        def __call__(self, _side, _orders):
            return {"name": self.name, "planned_by": self.planned_by}

    body = Body()
    outcome = run_children(body).outcome
    assert (outcome["name"], outcome["planned_by"]) == ("child 0", os.getpid())
    assert not hasattr(body, "name")


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_many_runs_leave_no_descriptor_open(run_children):
    before = open_files()
    for _ in range(5):
        run_children(lambda *_: {}, number=3)
    assert open_files() == before


# A limit that is real: the kernel refuses the fork, to a user who is not root.
TOO_MANY = """
    import ctypes, os, resource, sys
    from ipc_magic.errors import CannotStart
    from ipc_magic.process import fork, parent_only
    from ipc_magic.process.guardian import guardian

    guardian.watch([])
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc/self is ours again
    before = sorted(os.listdir("/proc/self/fd"))
    held = parent_only.held()
    own = len([p for p in os.listdir("/proc") if p.isdigit() and owner(p) == USER])
    resource.setrlimit(resource.RLIMIT_NPROC, (own + 1, own + 1))
    try:
        fork.start(lambda *_: __import__("time").sleep(60), number=3, names={})
    except CannotStart as error:
        print(error)
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("no child is left")
    print(sorted(os.listdir("/proc/self/fd")) == before, parent_only.held() == held)
"""
OWNER = """
    def owner(pid):
        import os
        try:
            return os.stat(f"/proc/{pid}").st_uid
        except OSError:
            return -1
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_when_processes_run_out_there_is_one_error_and_nothing_left(run_script):
    user = 100_000 + os.getpid()  # nobody else's
    out = run_script(OWNER + TOO_MANY.replace("USER", str(user)))
    error, rest = out.split("\n", 1)
    assert error.startswith("not started: child 1 of 3 could not be forked (Resource")
    assert rest == "no child is left\nTrue True\n"


def test_when_descriptors_run_out_there_is_one_error_and_nothing_left(run_script):
    # With any limit: all works, or there is one error. Never a child or a file more.
    out = run_script(
        """
        import os, resource, sys
        from ipc_magic.errors import CannotStart
        from ipc_magic.process import fork, guards, interrupts, monitor, parent_only

        class Nowhere:
            def write(self, *_): pass
            def show(self, *_): pass
            def live(self, *_): pass

        def run():
            with interrupts.counted():
                started = fork.start(lambda *_: {"ran": 1}, number=2, names={})
                limits = guards.Limits(timeout_seconds=30, keep_free_bytes=1)
                watching = monitor.Monitor(started.children, Nowhere(), limits=limits)
                watching.run()
            return [watch.outcome["ran"] for watch in watching.watches]

        assert run() == [1, 1]
        before = sorted(os.listdir("/proc/self/fd"))
        held = parent_only.held()
        seen = []
        for more in range(40):
            limit = max(map(int, before)) + more
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 4096))
            try:
                seen.append(run() == [1, 1])
            except CannotStart:
                seen.append(False)
            except OSError as error:
                seen.append(f"{more}: {error!r}")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
            assert sorted(os.listdir("/proc/self/fd")) == before, more
            assert parent_only.held() == held, more
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                continue
            raise AssertionError(f"a child is left with {more} files more")
        print(seen.count(False), seen.count(True))
        print([s for s in seen if isinstance(s, str)])
        """
    )
    counts, others = out.splitlines()
    refused, ran = map(int, counts.split())
    assert refused > 5
    assert ran > 5
    assert others == "[]"


def test_without_a_descriptor_for_its_guardian_a_process_goes_on(run_script):
    run_script(
        """
        import os, resource
        from ipc_magic.process.guardian import Guardian
        guardian = Guardian()
        before = sorted(os.listdir("/proc/self/fd"))
        for more in range(5):
            limit = max(map(int, before)) + more
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 4096))
            guardian.watch([])
            guardian.release([])
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
        """
    )


def test_an_interrupt_while_children_start_leaves_none(monkeypatch, is_running):
    # It comes when all is ready for the first fork.
    pids = []

    class Interrupting(io.TextIOWrapper):
        done = False

        def flush(self):
            if not self.done:
                self.done = True
                os.kill(os.getpid(), signal.SIGINT)
            super().flush()

    def start():
        with interrupts.counted():
            started = fork.start(lambda *_: time.sleep(60), number=2, names={})
            pids.extend(child.pid for child in started.children)
            fork.abandon(list(started.children))

    monkeypatch.setattr(sys, "stdout", Interrupting(io.BytesIO()))
    with pytest.raises(KeyboardInterrupt):
        start()
    monkeypatch.undo()
    assert len(pids) == 2
    assert not any(map(is_running, pids))


def test_where_there_is_no_fork_nothing_is_started(monkeypatch):
    monkeypatch.delattr(os, "fork")
    with pytest.raises(CannotStart, match="no fork"):
        fork.start(lambda *_: {}, number=1, names={})


def test_children_that_are_not_wanted_are_ended(is_running):
    before = open_files()
    started = fork.start(lambda *_: time.sleep(60), number=2, names={})
    pids = [child.pid for child in started.children]
    assert all(map(is_running, pids))
    fork.abandon(list(started.children))
    assert not any(map(is_running, pids))
    assert open_files() == before


def test_a_child_that_somebody_else_reaped_can_be_signalled_without_harm():
    (child,) = fork.start(lambda *_: time.sleep(60), number=1, names={}).children
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    child.signal(signal.SIGINT)
    assert child.reap()
    assert child.exit_code() is None
    fork.abandon([child])


def test_the_streams_of_children_are_made_once():
    assert child_streams.child_streams() is child_streams.child_streams()
