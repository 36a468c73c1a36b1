"""Children of every kind: what they copied is what the frames say."""

from __future__ import annotations

import importlib.util
import os

import pytest

from ipc_magic.memory.pages import PAGE_BYTES

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="the frame oracle is for root alone"
)

MANY = """
    import multiprocessing as mp, os, signal, sys
    from concurrent.futures import ProcessPoolExecutor
    from joblib import Parallel, delayed, parallel_config
    strings = [str(i) * 3 for i in range({strings})]
    out["strings"] = sum(map(sys.getsizeof, strings[::1000])) * 1000
    fork = mp.get_context("fork")
    def iterate(_=None):
        for string in strings:
            pass
    def iterate_and_stay(descriptor):
        iterate()
        os.write(descriptor, b"1")
        signal.pause()
    def wait(pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # watched
    if not (pid := os.fork()):
        iterate()
        os._exit(7)
    out["os._exit"] = [pid, wait(pid)]
    if not (pid := os.fork()):
        iterate()
        os.kill(os.getpid(), signal.SIGKILL)
    out["its own SIGKILL"] = [pid, wait(pid)]
    read, write = os.pipe()
    if not (pid := os.fork()):
        iterate()
        os.write(write, b"1")
        signal.pause()
    os.read(read, 1)
    os.kill(pid, signal.SIGKILL)
    out["SIGKILL"] = [pid, wait(pid)]
    process = fork.Process(target=iterate)
    process.start()
    process.join()
    out["Process"] = [process.pid, process.exitcode]
    if not (pid := os.fork()):
        if not (below := os.fork()):
            iterate()
            os._exit(5)
        os._exit(wait(below))
    out["grandparent"] = [pid, wait(pid)]
    with fork.Pool(2) as pool:
        workers = pool._pool[:]
        tasks = pool.map_async(iterate_and_stay, [write] * 2, chunksize=1)
        os.read(read, 1), os.read(read, 1)
    out["Pool"] = [[w.pid, w.exitcode] for w in workers]
    os.close(read), os.close(write)
    with ProcessPoolExecutor(2, mp_context=fork) as pool:
        list(pool.map(iterate, range(4)))
    with parallel_config(backend="multiprocessing"):
        Parallel(n_jobs=2)(delayed(iterate)(i) for i in range(2))
"""


@pytest.fixture(scope="module")
def found(run_watched):
    return run_watched(MANY.format(strings=200_000), oracle=True)


def equals_the_oracle(child, noise_pages=600):
    """Assert it; what the parent rewrote first is written without a copy."""
    assert child.mechanism == "uffd"
    assert child.transport_copied_bytes == 0, "each page is as the frames say"
    assert 0 <= child.copied_bytes - child.unique_bytes <= noise_pages * PAGE_BYTES
    assert child.last_seen_seconds is None
    assert child.fault is None
    assert not child.alive


@pytest.mark.parametrize("kind", ["os._exit", "its own SIGKILL", "SIGKILL", "Process"])
def test_a_child_is_read_to_its_end(found, kind):
    pid, code = found.out[kind]
    child = found.by_pid(pid)
    equals_the_oracle(child)
    assert child.copied_bytes > 0.8 * found.out["strings"]
    assert (child.exit_code, child.signal) == (
        (code, None) if code >= 0 else (None, -code)
    )


def test_the_children_of_pools_are_told_apart(found):
    hows = [child.how for child in found.children if child.started_by == "fork"]
    assert hows == [
        *["os.fork"] * 3,
        "multiprocessing.Process",
        *["os.fork"] * 2,
        *["multiprocessing.Pool"] * 2,
        *["ProcessPoolExecutor"] * 2,
        *["joblib"] * 2,
    ]


@pytest.mark.parametrize(
    "how", ["multiprocessing.Pool", "ProcessPoolExecutor", "joblib"]
)
def test_the_workers_of_a_pool_are_read_to_their_end(found, how):
    workers = [child for child in found.children if child.how == how]
    for worker in workers:
        # The threads of the pool go on in the parent.
        equals_the_oracle(worker)
    # Which of them took the tasks is not known.
    assert max(w.copied_bytes for w in workers) > 0.8 * found.out["strings"]


def test_a_pool_ended_by_sigterm_is_as_always(found):
    pool = dict(found.out["Pool"])
    assert -15 in pool.values()
    for pid, code in pool.items():  # one may have just ended by itself
        child = found.by_pid(pid)
        assert code == (-child.signal if child.signal else child.exit_code)


def test_a_grandchild_is_measured_from_its_own_fork(found):
    pid, code = found.out["grandparent"]
    assert code == 5
    (below,) = [child for child in found.children if child.parent_pid == pid]
    equals_the_oracle(below)
    assert below.copied_bytes > 0.8 * found.out["strings"]
    assert found.by_pid(pid).copied_bytes < 0.1 * found.out["strings"]


@pytest.mark.slow
def test_a_million_strings(run_watched):
    found = run_watched(MANY.format(strings=1_000_000), oracle=True)
    for child in found.children:
        if child.started_by == "fork" and child.pid not in found.out["grandparent"]:
            equals_the_oracle(child)


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
def test_the_workers_of_a_data_loader(run_watched):
    found = run_watched(
        """
        from torch.utils.data import DataLoader
        strings = [str(i) * 3 for i in range(100_000)]
        # watched
        out["n"] = sum(len(batch) for batch in DataLoader(strings, 1000, num_workers=2))
        """,
        oracle=True,
    )
    workers = [child for child in found.children if child.how == "DataLoader"]
    assert len(workers) == 2
    for worker in workers:
        # The loader's parent goes on at once, and writes what torch has loaded.
        equals_the_oracle(worker, noise_pages=1500)


REGION = """
    import mmap, os, signal
    def region(pages):
        made = mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE)
        made.madvise(mmap.MADV_NOHUGEPAGE)
        write(made, pages)
        return made
    def write(made, pages):
        for page in range(pages):
            made[page * mmap.PAGESIZE] = 1
"""


def test_what_the_parent_writes_is_nobody_elses_copy(run_watched):
    found = run_watched(
        REGION
        + """
    parents, known = region(7680), region(1000)
    # watched
    read, write_end = os.pipe()
    pids = []
    for pages in (0, 1000):
        if not (pid := os.fork()):
            os.close(write_end)
            write(known, pages)
            os.read(read, 1)
            os._exit(0)
        pids.append(pid)
    write(parents, 7680)
    os.close(write_end)
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(read)
    out["pids"] = pids
    """,
        oracle=True,
    )
    idle, busy = map(found.by_pid, found.out["pids"])
    noise = 150 * PAGE_BYTES
    assert idle.copied_bytes < noise
    assert abs(busy.copied_bytes - idle.copied_bytes - 1000 * PAGE_BYTES) < noise / 4
    equals_the_oracle(idle)
    equals_the_oracle(busy)


@pytest.mark.parametrize("mechanism", ["witness", "exclusive", "smaps"])
def test_the_other_mechanisms_read_to_the_end_too(run_watched, mechanism):
    found = run_watched(
        REGION
        + """
    known = region(2000)
    # watched
    if not (pid := os.fork()):
        write(known, 2000)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    """,
        oracle=True,
        mechanism=mechanism,
    )
    (child,) = found.children
    assert child.mechanism == mechanism
    assert child.signal == 9
    noise = 150 * PAGE_BYTES
    assert abs(child.copied_bytes - child.unique_bytes) < noise
    assert 0 <= child.unique_bytes - 2000 * PAGE_BYTES < noise
