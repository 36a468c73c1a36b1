"""A parent with busy threads: its forks neither hang nor write anything twice."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
import warnings

import pytest

from ipc_magic.process import quiesce
from ipc_magic.process.guards import Limits


@pytest.fixture
def background():
    """Start functions in threads, each called again and again until the test ends."""
    over = threading.Event()
    threads = []

    def start(function):
        def work():
            while not over.is_set():
                function()

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield start
    over.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def file_logger(tmp_path):
    handler = logging.FileHandler(tmp_path / "log")
    log = logging.Logger("of this test")
    log.addHandler(handler)
    yield log
    handler.close()


def test_forks_beside_a_thread_that_logs_to_a_file_do_not_hang(
    file_logger, background, run_children
):
    # Long records: the thread is inside the file's C lock most of the time.
    background(lambda: file_logger.error("x" * 1_000_000))

    def body(*_):
        file_logger.error("a child's")
        return {"logged": True}

    limits = Limits(timeout_seconds=10)
    for _ in range(4):
        ran = run_children(body, number=5, limits=limits)
        outcomes = [(watch.stopped, watch.outcome) for watch in ran.watches]
        assert all(o is not None and o["logged"] for _, o in outcomes), outcomes


def test_a_handlers_lock_is_free_again_after_the_block(file_logger, background):
    background(lambda: time.sleep(0.01))
    (handler,) = file_logger.handlers

    def taken():
        """Return what another thread finds."""
        found = []
        for lock in (handler.lock, logging._lock):
            thread = threading.Thread(
                target=lambda lock=lock: (
                    found.append(not lock.acquire(timeout=0))
                    or (not found[-1] and lock.release())
                )
            )
            thread.start()
            thread.join()
        return found

    assert taken() == [False, False]
    with quiesce.logging_held():
        assert taken() == [True, True]
    assert taken() == [False, False]


def test_alone_a_process_holds_nothing(file_logger):
    (handler,) = file_logger.handlers
    assert threading.active_count() == 1
    with quiesce.logging_held():
        found = []
        thread = threading.Thread(
            target=lambda: (
                found.append(handler.lock.acquire(timeout=0)) or handler.lock.release()
            )
        )
        thread.start()
        thread.join()
        assert found == [True]


CONFIGURED = """
    import logging, logging.config, os, tempfile, threading
    from ipc_magic.process import quiesce

    folder = tempfile.mkdtemp()
    file = {"class": "logging.FileHandler", "filename": f"{folder}/log"}
    configuration = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {name: file for name in "abc"},
        "root": {"handlers": ["a", "b", "c"]},
    }
    logging.config.dictConfig(configuration)

    def fork():
        with quiesce.logging_held(), quiesce.fork_warnings_off():
            pid = os.fork()
        if pid == 0:
            logging.error("a child's")
            os._exit(0)
        os.waitpid(pid, 0)
"""


def test_a_thread_that_configures_logging_and_forks_do_not_wait_for_each_other(
    run_script,
):
    run_script(
        CONFIGURED
        + """
    over = threading.Event()

    def configure():
        while not over.is_set():
            logging.config.dictConfig(configuration)

    thread = threading.Thread(target=configure)
    thread.start()
    for _ in range(40):
        fork()
    over.set()
    thread.join()
    """
    )


def test_a_thread_that_is_long_inside_logging_and_a_fork_do_not_wait_for_each_other(
    run_script,
):
    # What dictConfig does when the first handler takes long to flush: it has the
    # module's lock and wants each handler's.
    run_script(
        CONFIGURED
        + """
    inside = threading.Event()

    class Slow(logging.Handler):
        def flush(self):
            inside.set()
            import time
            time.sleep(2 * quiesce._PATIENCE_SECONDS)

    slow = Slow()
    thread = threading.Thread(
        target=logging.config.dictConfig, args=[configuration], daemon=True
    )
    thread.start()
    inside.wait()
    fork()
    thread.join()
    """
    )


def test_imports_of_other_threads_are_waited_for(tmp_path, monkeypatch, background):
    write_slow_module(tmp_path, monkeypatch, seconds=0.2)
    thread = start_import()
    try:
        assert quiesce.wait_for_imports() == []
        assert sys.modules["ipc_magic_slow"].done
    finally:
        end_import(thread)


def test_a_module_that_stays_in_import_is_named(tmp_path, monkeypatch, run_children):
    write_slow_module(tmp_path, monkeypatch, seconds=3 * quiesce._PATIENCE_SECONDS)
    thread = start_import()
    try:
        ran = run_children(lambda *_: {"ran": True})
    finally:
        end_import(thread)
    (hazard,) = [h for h in ran.started.hazards if h.code == "import"]
    assert "importing ipc_magic_slow at the fork" in hazard.message
    assert ran.outcome["ran"]


def test_an_import_of_this_thread_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ipc_magic_asks.py").write_text(
        "import time\nfrom ipc_magic.process import quiesce\n"
        "begin = time.monotonic()\nbusy = quiesce.wait_for_imports()\n"
        "waited = time.monotonic() - begin\n"
    )
    import ipc_magic_asks  # type: ignore[import-not-found]

    try:
        assert ipc_magic_asks.busy == []
        assert ipc_magic_asks.waited < quiesce._PATIENCE_SECONDS
    finally:
        del sys.modules["ipc_magic_asks"]


def write_slow_module(folder, monkeypatch, seconds):
    monkeypatch.syspath_prepend(folder)
    (folder / "ipc_magic_slow.py").write_text(
        f"import time\ntime.sleep({seconds})\ndone = True\n"
    )


def start_import():
    thread = threading.Thread(target=__import__, args=["ipc_magic_slow"])
    thread.start()
    while "ipc_magic_slow" not in sys.modules:
        time.sleep(0.001)
    return thread


def end_import(thread):
    thread.join()
    sys.modules.pop("ipc_magic_slow", None)


def test_open_files_among_the_variables_are_found(tmp_path):
    text = open(tmp_path / "text", "w", encoding="utf-8")  # noqa: SIM115
    raw = open(tmp_path / "raw", "wb")  # noqa: SIM115
    reading = open(tmp_path / "text", encoding="utf-8")  # noqa: SIM115
    closed = open(tmp_path / "closed", "w", encoding="utf-8")  # noqa: SIM115
    closed.close()

    class Lying:
        @property
        def __class__(self):
            raise AssertionError("a variable was asked what it is")

    names = {
        "text": text,
        "raw": raw,
        "reading": reading,
        "closed": closed,
        "memory": io.BytesIO(),
        "string": io.StringIO(),
        "out": sys.__stdout__,
        "number": 1,
        "lying": Lying(),
    }
    try:
        found = quiesce.open_for_writing(names)
        assert [(name, file) for name, file in found] == [("text", text), ("raw", raw)]
    finally:
        for file in (text, raw, reading):
            file.close()


def test_what_stands_in_a_files_buffer_is_written_once(tmp_path, run_children):
    path = tmp_path / "file"
    with open(path, "w", encoding="utf-8") as file:
        file.write("before;")

        def body(*_):
            file.write("child;")
            file.flush()
            return {}

        ran = run_children(body, names={"file": file})
        file.write("after;")
    assert path.read_text() == "before;child;after;"
    (hazard,) = [h for h in ran.started.hazards if h.code == "file"]
    assert hazard.message.startswith("`file` is open for writing")


def test_what_stands_in_the_parents_output_is_written_once(run_script):
    # Into a pipe: Python and C keep what they write there in buffers.
    out = run_script(
        """
        import ctypes, os, sys
        from ipc_magic.process import quiesce
        c = ctypes.CDLL(None)
        sys.stdout.write("python;")
        c.printf(b"c;")
        quiesce.flush_standard_streams()
        os.write(1, b"fork;")
        if os.fork() == 0:
            sys.stdout.flush()
            c.fflush(None)
            os._exit(0)
        os.wait()
        """
    )
    assert out == "python;c;fork;"


def test_a_fork_with_threads_gives_no_warning(background, run_children):
    background(lambda: time.sleep(0.01))
    filters = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ran = run_children(lambda *_: {"ran": True}, number=2)
    assert [watch.outcome["ran"] for watch in ran.watches] == [True, True]
    assert [str(warning.message) for warning in caught] == []
    assert warnings.filters == filters


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 began to warn")
def test_a_plain_fork_with_threads_gives_a_warning(background):
    # Else the test above proves nothing.
    background(lambda: time.sleep(0.01))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    assert any("multi-threaded" in str(warning.message) for warning in caught)
