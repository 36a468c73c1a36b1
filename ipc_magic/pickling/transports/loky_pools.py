"""loky and joblib: one warm worker of loky, which is a fresh interpreter.

joblib puts arrays of a mebibyte and more into files that its workers map: what is
pickled then is small, and the writing of the file counts as dump.
"""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ipc_magic.pickling.failures import CannotRun
from ipc_magic.pickling.transports import meter
from ipc_magic.pickling.transports.line import Line
from ipc_magic.pickling.transports.meter import Slate, Told
from ipc_magic.pickling.transports.trackers import tracker_ended

JOIN_SECONDS = 5.0
JOBLIB_WORKERS = 2  # with one, joblib runs the function here


@contextmanager
def loky(limit_seconds: float, slate: Slate) -> Iterator[Line]:
    """Send by `submit` of loky's executor, as an argument."""
    package = _imported("loky")
    with _metered("loky"):
        executor: Any = package.ProcessPoolExecutor(
            max_workers=1, initializer=meter.receiving, initargs=(limit_seconds, None)
        )
        try:
            executor.submit(meter.receive, None).result()
            yield Line(trip=lambda obj: executor.submit(meter.receive, obj).result())
        finally:
            executor.shutdown(wait=True, kill_workers=True)
            executor = None  # with it go its semaphores, or they start a tracker again


@contextmanager
def joblib(limit_seconds: float, slate: Slate) -> Iterator[Line]:
    """Send by `joblib.Parallel`, as an argument."""
    package = _imported("joblib")
    task: Any = package.delayed(meter.receive)
    with _metered("joblib.externals.loky"), _no_shared_executor(), ExitStack() as stack:
        parallel: Any = stack.enter_context(
            package.Parallel(
                n_jobs=JOBLIB_WORKERS,
                backend="loky",
                initializer=meter.receiving,
                initargs=(limit_seconds, None),
            )
        )

        def trip(obj: object) -> Told:
            heard: Told = parallel([task(obj)])[0]
            return heard

        try:
            parallel([task(None) for _ in range(JOBLIB_WORKERS)])
            yield Line(trip=trip)
        finally:
            stack.close()
            parallel = None  # as above


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CannotRun(f"{name} cannot be used here: {error}") from error


@contextmanager
def _metered(package: str) -> Iterator[None]:
    """Note what a loky dumps, and leave no thread and no tracker behind."""
    with ExitStack() as stack:
        stack.enter_context(tracker_ended())
        # The two lokys share one multiprocessing context, so each other's semaphores.
        for name in ("loky", "joblib.externals.loky"):
            if name == package or name in sys.modules:
                trackers = _imported(f"{name}.backend.resource_tracker")
                stack.enter_context(tracker_ended(trackers._resource_tracker))
        threads = set(threading.enumerate())
        with meter.dumping(_imported(f"{package}.backend.queues")):
            try:
                yield
            finally:
                for thread in set(threading.enumerate()) - threads:
                    thread.join(JOIN_SECONDS)
                # A semaphore that still lives would start a tracker again.
                gc.collect()


@contextmanager
def _no_shared_executor() -> Iterator[None]:
    """Have joblib make an executor now, end it after, and find its own again.

    One that this process inherited has lost its threads and would never answer.
    """
    reusable = _imported("joblib.externals.loky.reusable_executor")
    arguments = _imported("joblib.executor")
    before = reusable._executor, reusable._executor_kwargs, arguments._executor_args
    reusable._executor = reusable._executor_kwargs = arguments._executor_args = None
    try:
        yield
    finally:
        if reusable._executor is not None:
            reusable._executor.terminate(kill_workers=True)
        (
            reusable._executor,
            reusable._executor_kwargs,
            arguments._executor_args,
        ) = before
