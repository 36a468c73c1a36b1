"""The standard library's pools, with one warm worker that does next to nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from ipc_magic.pickling.apart import interrupts_held, quiet_fork
from ipc_magic.pickling.transports import meter
from ipc_magic.pickling.transports.line import Line
from ipc_magic.pickling.transports.meter import Slate, Told

LOOK_SECONDS = 0.05  # between two looks whether the worker lives


@contextmanager
def process_pool_executor(limit_seconds: float, slate: Slate) -> Iterator[Line]:
    """Send by `ProcessPoolExecutor.submit`, as an argument."""
    executor = ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("fork"),
        initializer=meter.receiving,
        initargs=(limit_seconds, slate),
    )
    with executor:
        with quiet_fork(), interrupts_held():
            warm = executor.submit(meter.receive, None)
        warm.result()
        workers: Any = executor._processes
        processes = list(workers.values())
        try:
            yield Line(
                trip=lambda obj: executor.submit(meter.receive, obj).result(),
                processes=processes,
            )
        except BaseException:
            for worker in processes:
                worker.kill()  # or the executor would wait until it is done
            raise


@contextmanager
def pool(limit_seconds: float, slate: Slate) -> Iterator[Line]:
    """Send by `Pool.apply_async`, as an argument."""
    with quiet_fork(), ExitStack() as stack:
        # When a worker dies, the pool forks another from a thread.
        with interrupts_held():
            workers: Any = multiprocessing.get_context("fork").Pool(
                1, meter.receiving, (limit_seconds, slate)
            )
            stack.callback(workers.join)
            stack.callback(workers.terminate)
        worker = workers._pool[0]

        def trip(obj: object) -> Told:
            reply = workers.apply_async(meter.receive, (obj,))
            while not reply.ready():
                reply.wait(LOOK_SECONDS)
                if not reply.ready() and worker.exitcode is not None:
                    raise EOFError  # the pool would wait for ever
            heard: Told = reply.get()
            return heard

        trip(None)
        yield Line(trip=trip, processes=[worker])
