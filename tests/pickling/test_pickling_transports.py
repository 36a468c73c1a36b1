"""Each transport: what went over it by the kernel's count; how failures are told."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import multiprocessing
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from itertools import pairwise
from multiprocessing import resource_tracker
from multiprocessing.reduction import ForkingPickler

import psutil
import pytest

from ipc_magic.pickling.failures import CannotRun, Failed
from ipc_magic.pickling.round_trip import NAMES, round_trip
from ipc_magic.pickling.transports import TRANSPORTS, shared_memory, unix_socket
from ipc_magic.pickling.transports.line import failure
from ipc_magic.pickling.transports.meter import Slate

for package in ("joblib", "loky"):
    # What they do to the process as they are imported is none of the tests' leaks.
    if importlib.util.find_spec(package):
        importlib.import_module(package)

FRESH = ("loky", "joblib")  # workers that are started, which takes a second each
FORKED = [name for name in NAMES if name not in FRESH]
HEADER_BYTES = 4  # of a message of multiprocessing.connection below 2 GiB


def has(name):
    return importlib.util.find_spec(name) is not None


def needs(name):
    missing = pytest.mark.skipif(not has(name), reason=f"{name} is not installed")
    return pytest.param(name, marks=[missing, pytest.mark.slow])


class AtLoad:
    """Runs some code wherever it is loaded."""

    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        return exec, (self.code,)


class AtDump:
    """Calls something whenever it is dumped."""

    def __init__(self, call):
        self.call = call

    def __reduce__(self):
        self.call()
        return list, ()


def probe(path):
    """Note, wherever it is loaded, how many bytes that process has read.

    The kernel counts what read(2) returned (proc_pid_io(5)), this look included.
    """
    return AtLoad(
        "import os\n"
        "with open('/proc/self/io') as file: text = file.read()\n"
        f"with open({str(path)!r}, 'a') as file:\n"
        "    print(os.getpid(), text.split()[1], len(text), file=file)"
    )


def read_between_loads(path):
    """Return by pid what was read from the end of each look to the next look."""
    by_pid, last = {}, {}
    for line in path.read_text().splitlines():
        pid, count, own = map(int, line.split())
        if pid in last:
            by_pid.setdefault(pid, []).append(count - last[pid])
        last[pid] = count + own
    return by_pid


@pytest.mark.parametrize(
    "name",
    [
        "pipe",
        "queue",
        "simple_queue",
        "process_pool_executor",
        "pool",
        *map(needs, FRESH),
    ],
)
@pytest.mark.parametrize("size", [10, 100_000])
def test_wire_bytes_are_what_the_receiver_read(name, size, tmp_path):
    path = tmp_path / "read"
    obj = [probe(path), b"x" * size]
    trip = round_trip(name, obj, repeats=6)
    # loky's workers look at their memory now and then: they read more at times.
    read = [min(counts) for counts in read_between_loads(path).values()]
    assert read
    assert min(read) == trip.wire_bytes
    assert trip.wire_bytes == trip.pickled_bytes + HEADER_BYTES


@pytest.mark.parametrize("name", ["pipe", "queue", "simple_queue"])
def test_wire_bytes_are_what_the_sender_wrote(name):
    written = []
    obj = [AtDump(lambda: written.append(_written())), b"x" * 10_000]
    trip = round_trip(name, obj, repeats=5)
    counts = [after - before for before, after in pairwise(written)]
    assert counts == [trip.wire_bytes] * 5


def _written():
    with open("/proc/self/io") as file:
        return int(file.read().split()[3])


def test_wire_bytes_of_a_socket_are_what_a_relay_counts(monkeypatch):
    counted = [0]
    relays = []
    make = socket.socketpair

    def with_a_relay():
        here, near = make()
        far, there = make()

        def relay():
            with near, far:
                while data := near.recv(1 << 16):
                    counted[0] += len(data)
                    far.sendall(data)

        relays.append(threading.Thread(target=relay))
        relays[0].start()
        return here, there

    monkeypatch.setattr(unix_socket.socket, "socketpair", with_a_relay)
    with warnings.catch_warnings():
        # Of 3.12, for the receiver's fork beside the relay.
        warnings.simplefilter("ignore", DeprecationWarning)
        trip = round_trip("unix_socket", b"x" * 50_000, repeats=3)
    relays[0].join(10)
    assert counted[0] == 4 * trip.wire_bytes
    assert trip.pickled_bytes == len(pickle.dumps(b"x" * 50_000))


def test_a_manager_pickles_twice(tmp_path):
    path = tmp_path / "read"
    obj = [probe(path), b"x" * 50_000]
    trip = round_trip("manager", obj, repeats=4)
    by_pid = read_between_loads(path)
    # What it loads is gone in the manager, so that only the bytes come to the receiver.
    assert len(by_pid) == 1
    there = len(ForkingPickler.dumps(("token", "__setitem__", ("object", obj), {})))
    back = len(ForkingPickler.dumps(("#RETURN", [None, b"x" * 50_000])))
    assert trip.pickled_bytes == pytest.approx(there + back, abs=20)
    assert trip.wire_bytes == trip.pickled_bytes + 2 * HEADER_BYTES


class Special:
    pass


def test_pickled_bytes_are_those_of_the_pickler_of_multiprocessing(monkeypatch):
    reducers = {**ForkingPickler._extra_reducers, Special: _reduce_at_length}
    monkeypatch.setattr(ForkingPickler, "_extra_reducers", reducers)
    trip = round_trip("pipe", Special(), repeats=1)
    assert trip.pickled_bytes == len(ForkingPickler.dumps(Special()))
    assert trip.pickled_bytes > 5_000 > len(pickle.dumps(Special()))


def _reduce_at_length(obj):
    return bytes, (b"x" * 5_000,)


@pytest.mark.parametrize("name", ["pipe", "pool"])
def test_a_socket_crosses_and_nothing_is_left(name):
    here, there = socket.socketpair()
    with here, there:
        with pytest.raises(TypeError):
            pickle.dumps(here)
        assert round_trip(name, here, repeats=2).pickled_bytes > 0


@pytest.mark.slow
@pytest.mark.skipif(not has("torch"), reason="torch is not installed")
def test_a_tensor_crosses_in_shared_memory(child_env):
    code = (
        "import pickle, torch\n"
        "from ipc_magic.pickling.round_trip import round_trip\n"
        "tensor = torch.zeros(1_000_000)\n"
        "size = len(pickle.dumps(tensor))\n"
        "print(round_trip('pipe', tensor, repeats=2).wire_bytes, size)"
    )
    # Importing torch changes much of a process, so it is done in one of its own.
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code],
        env=child_env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    wire, size = map(int, done.stdout.split())
    assert size > 4_000_000
    assert wire < 10_000
    assert done.stderr == ""


def test_shared_memory_takes_the_buffers_and_the_stream():
    data = bytearray(b"x" * 100_000)
    trip = round_trip("shared_memory", [pickle.PickleBuffer(data), 1], repeats=2)
    assert trip.buffer_bytes == 100_000
    buffers = []
    obj = [pickle.PickleBuffer(data), 1]
    stream = pickle.dumps(obj, 5, buffer_callback=buffers.append)
    assert trip.pickled_bytes == len(stream)
    assert trip.wire_bytes < 100


def test_shared_memory_shows_the_receiver_the_same_bytes(tmp_path):
    path = tmp_path / "seen"
    data = [bytearray(os.urandom(size)) for size in (1, 0, 63, 64, 65, 10_000)]
    obj = Saving(str(path), *map(pickle.PickleBuffer, data))
    round_trip("shared_memory", obj, repeats=1)
    assert path.read_bytes() == b"".join(data) * 2


class Saving:
    def __init__(self, path, *parts):
        self.parts = path, *parts

    def __reduce_ex__(self, protocol):
        return _save, self.parts


def _save(path, *parts):
    with open(path, "ab") as file:
        for part in parts:
            file.write(part)


def test_shared_memory_is_refused_where_it_would_end_in_sigbus(monkeypatch):
    class Full:
        f_bavail, f_frsize = 3, 4096

    monkeypatch.setattr(shared_memory.os, "statvfs", lambda folder: Full)
    with pytest.raises(CannotRun, match=r"has room for 12,288 bytes, this needs 50,"):
        round_trip("shared_memory", b"x" * 50_000, repeats=1)


def test_shared_memory_cannot_run_where_there_is_none(monkeypatch):
    def refuse(*args, **kwargs):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(shared_memory, "SharedMemory", refuse)
    with pytest.raises(CannotRun, match="No such file or directory"):
        round_trip("shared_memory", 1)


@pytest.mark.parametrize("name", FRESH)
def test_a_package_that_is_not_installed_is_told(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CannotRun, match=f"{name} cannot be used here"):
        round_trip(name, 1)


BAD_LOADS = {
    "raises": ("raise ValueError('broken')", r"the load failed: ValueError: broken"),
    "exits": ("import os; os._exit(3)", r"the load ended the receiver: exit code 3"),
    "crashes": (
        # Not by a signal sent: another thread would take that one.
        "import ctypes, faulthandler; faulthandler.disable(); ctypes.string_at(0)",
        r"the load ended the receiver: SIGSEGV",
    ),
    "hangs": ("import time; time.sleep(100)", r"the load was not done after 0.3 s"),
}
LIMITS = {what: 0.3 if what == "hangs" else 60 for what in BAD_LOADS}


@pytest.mark.parametrize("name", FORKED)
@pytest.mark.parametrize("what", BAD_LOADS)
def test_a_load_that_goes_wrong_is_told_in_words(name, what, capfd):
    code, message = BAD_LOADS[what]
    with pytest.raises(Failed, match=message) as caught:
        round_trip(name, AtLoad(code), time_limit_seconds=LIMITS[what])
    assert caught.value.stage == "load"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FORKED)
def test_an_error_that_is_kept_holds_no_descriptor(name):
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Failed) as caught:
        round_trip(name, AtLoad("1/0"))
    gc.collect()  # a pool is a cycle
    assert caught.traceback
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_receiver_that_another_thread_just_reaps_has_its_exit_code(monkeypatch):
    reaped, told = threading.Event(), threading.Event()
    waitpid = os.waitpid

    def slow_to_note(pid, options):
        try:
            result = waitpid(pid, options)
        except ChildProcessError:
            told.set()
            raise
        if result[0] and threading.current_thread() is thread:
            reaped.set()
            told.wait(10)
        return result

    process = multiprocessing.get_context("fork").Process(target=os._exit, args=(3,))
    process.start()
    thread = threading.Thread(target=process.join)
    monkeypatch.setattr(os, "waitpid", slow_to_note)
    thread.start()
    assert reaped.wait(10)
    slate = Slate()
    said = str(failure(EOFError(), slate, [process], 1))
    thread.join(10)
    slate.close()
    process.close()
    assert told.is_set()
    assert said == "the receiver ended: exit code 3"


def test_a_worker_that_two_threads_wait_for_is_no_child_any_more(monkeypatch):
    told = threading.Event()
    waitpid, here = os.waitpid, threading.current_thread()

    def first_here(pid, options):
        if threading.current_thread() is not here:
            if not options & os.WNOHANG:
                told.set()
            raise ChildProcessError
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            told.wait(10)
        return waitpid(pid, options)

    monkeypatch.setattr(os, "waitpid", first_here)
    before = set(multiprocessing.process._children)
    with pytest.raises(Failed, match="exit code 3"):
        round_trip("process_pool_executor", AtLoad("import os; os._exit(3)"))
    assert told.is_set()
    assert set(multiprocessing.process._children) == before


@pytest.mark.parametrize("name", [*map(needs, FRESH)])
@pytest.mark.parametrize("what", BAD_LOADS)
def test_a_load_that_goes_wrong_in_a_fresh_worker_is_told(name, what, child_env):
    code, message = BAD_LOADS[what]
    if what in {"exits", "crashes"}:
        message = r"EXIT\(3\)|SIGSEGV"
    # In a process of its own: loky keeps a semaphore of a worker that has crashed.
    script = (
        "from ipc_magic.pickling.round_trip import round_trip\n"
        "class AtLoad:\n"
        "    def __reduce__(self):\n"
        f"        return exec, ({code!r},)\n"
        "try:\n"
        f"    round_trip({name!r}, AtLoad(), time_limit_seconds={LIMITS[what]})\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=child_env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert re.search(rf"^Failed .*({message})", done.stdout, re.DOTALL)


@pytest.mark.parametrize("name", FORKED)
def test_a_dump_that_fails_is_told_in_words(name, capfd):
    def fail():
        raise ValueError("no pickle of me")

    with pytest.raises(
        Failed, match="the dump failed: ValueError: no pickle"
    ) as caught:
        round_trip(name, AtDump(fail))
    assert caught.value.stage == "dump"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FORKED)
def test_what_a_load_prints_is_not_shown(name, capfd):
    round_trip(name, AtLoad("print('here'); import os; os.write(2, b'x')"), repeats=1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FORKED)
def test_an_interrupt_leaves_nothing(name):
    def interrupt():
        raise KeyboardInterrupt

    if name in {"queue", "process_pool_executor", "pool"}:
        pytest.skip("it is dumped in a thread, where no interrupt arrives")
    with pytest.raises(KeyboardInterrupt):
        round_trip(name, AtDump(interrupt))


@pytest.mark.parametrize("name", FORKED)
def test_an_interrupt_at_a_fork_is_not_lost(name, monkeypatch):
    fork = os.fork

    def interrupted():
        pid = fork()
        if pid:
            # As in the hooks of a fork: what the handler raises there is dropped.
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        return pid

    monkeypatch.setattr(os, "fork", interrupted)
    with pytest.raises(KeyboardInterrupt):
        round_trip(name, 1, repeats=1)


@contextmanager
def interrupted_when(condition):
    """Interrupt this thread, once, when the condition holds and it only waits."""
    came = threading.Event()
    done = threading.Event()
    stat = f"/proc/self/task/{threading.get_native_id()}/stat"

    def interrupt(number, frame):
        if not came.is_set():
            came.set()
            raise KeyboardInterrupt

    def cpu_time_and_state():
        with open(stat) as file:
            fields = file.read().rpartition(")")[2].split()
        return fields[0], fields[11:13]

    def watch():
        while not (condition() or done.wait(0.01)):
            pass
        before = None
        while before != (before := cpu_time_and_state()) or before[0] != "S":
            time.sleep(0.05)
        # A signal that comes just before a system call does not end that.
        while not (came.is_set() or done.is_set()):
            os.kill(os.getpid(), signal.SIGINT)
            came.wait(0.5)

    handler = signal.signal(signal.SIGINT, interrupt)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize("name", FORKED)
def test_an_interrupt_does_not_wait_for_a_load_that_hangs(name, tmp_path):
    up, over = tmp_path / "up", tmp_path / "over"
    code = (
        "import os, time\n"
        f"os.mkdir({str(up)!r}); time.sleep(30); os.mkdir({str(over)!r})"
    )
    with interrupted_when(up.exists), pytest.raises(KeyboardInterrupt):
        round_trip(name, AtLoad(code))
    assert not over.exists()


def signalled_at_dump(number, then=lambda: None):
    """Return a large object whose dump sends all receivers a signal."""
    children = psutil.Process().children

    def send():
        for child in children():
            child.send_signal(number)
        then()

    return [AtDump(send), b"x" * 10_000_000]


OWN = ["pipe", "queue", "simple_queue", "unix_socket"]


@pytest.mark.parametrize("name", OWN)
def test_a_receiver_that_is_killed_as_it_is_sent_to_is_told(name, capfd):
    with pytest.raises(Failed, match="the receiver ended: SIGKILL") as caught:
        round_trip(name, signalled_at_dump(signal.SIGKILL))
    assert caught.value.stage == "transport"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", OWN)
def test_an_interrupt_does_not_wait_for_a_receiver_that_reads_nothing(name):
    stopped = threading.Event()
    with interrupted_when(stopped.is_set), pytest.raises(KeyboardInterrupt):
        round_trip(name, signalled_at_dump(signal.SIGSTOP, stopped.set))


@pytest.mark.parametrize("name", ["pipe", "manager", "process_pool_executor", "pool"])
def test_a_daemonic_process_may_measure(name, monkeypatch):
    config = multiprocessing.current_process()._config
    monkeypatch.setitem(config, "daemon", True)
    assert round_trip(name, 1, repeats=1).pickled_bytes > 0
    assert config["daemon"] is True


@pytest.mark.parametrize("name", ["pipe", "manager", "shared_memory"])
def test_no_folder_and_no_tracker_is_left(name, monkeypatch):
    """A forked child ends without the exit at which multiprocessing clears up."""
    here, there = socket.socketpair()
    blocks = []
    make = shared_memory.SharedMemory

    def noted(*args, **kwargs):
        names = set(os.listdir("/dev/shm"))
        assert not {block.name for block in blocks} & names, "one at a time"
        blocks.append(make(*args, **kwargs))
        return blocks[-1]

    monkeypatch.setattr(shared_memory, "SharedMemory", noted)
    with here, there, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        config = dict(multiprocessing.current_process()._config)
        resource_tracker._resource_tracker._stop()
        round_trip(name, b"x" if name == "shared_memory" else here, repeats=2)
        assert os.listdir(folder) == []
        assert multiprocessing.current_process()._config == config
    assert resource_tracker._resource_tracker._fd is None
    assert not {block.name for block in blocks} & set(os.listdir("/dev/shm"))
    assert bool(blocks) == (name == "shared_memory")


def test_what_was_replaced_is_put_back():
    from multiprocessing.connection import Connection

    def now():
        methods = vars(Connection)["_send"], vars(Connection)["_send_bytes"]
        return vars(ForkingPickler)["dumps"], vars(ForkingPickler)["loads"], *methods

    before = now()
    for name in ("pipe", "manager"):
        round_trip(name, 1, repeats=1)
        assert now() == before
    with pytest.raises(Failed):
        round_trip("pipe", AtLoad("1/0"))
    assert now() == before


def test_all_the_transports_are_there():
    assert tuple(TRANSPORTS) == (
        "pipe",
        "queue",
        "simple_queue",
        "manager",
        "unix_socket",
        "shared_memory",
        "process_pool_executor",
        "pool",
        "loky",
        "joblib",
    )
