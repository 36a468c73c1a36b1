"""What comes back from a child, against a plain copy and against other tools."""

from __future__ import annotations

import gc
import importlib.util
import io
import mmap
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import partial
from statistics import median
from typing import Any

import ipc_magic
from tests.bench.sides import bench_shell, interleaved, show

MB = 1_000_000
ROUNDS = {100 * MB: 15, 1000 * MB: 5}
GOALS = {100 * MB: (1.5, 3.5), 1000 * MB: (1.25, 2.0)}
TOOLS_GOAL, MEMORY_GOAL = 8, 1.05
Make = Callable[[], Any]

_made: dict[str, Any] = {}


def make(name: str, size: int = 0) -> Any:
    """Return the object of a name, made once in each process and kept there.

    What a fork inherits is made already; a worker that was started anew makes it in
    the first round, which does not count.
    """
    key = f"{name} {size}"
    if key not in _made:
        _made[key] = FRESH[name](size)
    return _made[key]


def _array(size: int) -> Any:
    import numpy

    return numpy.random.default_rng(0).random(size // 8)


def _dict(_size: int) -> dict[str, int]:
    return {f"key {number}": number for number in range(1_000_000)}


def _frame(_size: int) -> Any:
    import pandas

    numbers = range(200_000)
    columns = {"n": numbers, "x": [n / 7 for n in numbers]}
    return pandas.DataFrame({**columns, "s": [f"text {n}" for n in numbers]})


FRESH: dict[str, Callable[[int], Any]] = {
    "array": _array,
    "dict": _dict,
    "frame": _frame,
}


def _send(connection: Any, work: Make) -> None:
    connection.send(work())


def by_pipe(work: Make) -> Any:
    """Return what a `Process` of its own sends through a `Pipe`."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(there, work))
    process.start()
    there.close()
    result = here.recv()
    process.join()
    here.close()
    return result


@contextmanager
def tools(work: Make) -> Iterator[dict[str, Make]]:
    """Give the round trips of other tools, their workers warm and forked from here."""
    context = multiprocessing.get_context("fork")
    with ExitStack() as stack:
        executor = stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
        pool = stack.enter_context(context.Pool(1))
        sides: dict[str, Make] = {
            "ProcessPoolExecutor": lambda: executor.submit(work).result(),
            "Pool": lambda: pool.apply(work),
            "Process + Pipe": lambda: by_pipe(work),
        }
        if importlib.util.find_spec("loky"):
            import loky

            reusable = loky.get_reusable_executor(max_workers=1, timeout=600)
            stack.callback(reusable.shutdown, wait=True)
            sides["loky"] = lambda: reusable.submit(work).result()
        if importlib.util.find_spec("joblib"):
            import joblib

            parallel = stack.enter_context(joblib.Parallel(n_jobs=2))
            sides["joblib"] = lambda: parallel([joblib.delayed(work)()])
        yield sides


def _take_from_the_host(size: int) -> None:
    """Touch free memory: a virtual machine gets it from its host, slowly, only then.

    What is free for some seconds may go back to the host, so each side finds it so.
    """
    gc.collect()
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1


def arrays(shell: Any) -> None:
    """Compare the return of an array that the child inherits."""
    for size, rounds in ROUNDS.items():
        array = shell.user_ns["array"] = make("array", size)
        transports: list[float] = []

        def cell(transports: list[float] = transports) -> None:
            with redirect_stdout(io.StringIO()):
                shell.run_cell("%%inprocess -o result\nresult = array")
            crossing = ipc_magic.last.children[0].returned
            transports.append(crossing.transport_seconds)
            del shell.user_ns["result"]

        with tools(partial(make, "array", size)) as others:
            sides = {"array.copy()": array.copy, "whole cell": cell, **others}
            seconds = interleaved(
                sides,
                rounds=rounds,
                warm_up=1,
                before=partial(_take_from_the_host, 2 * size),
            )
        seconds["transport phase"] = transports[1:]
        print(f"\nan array of {size / MB:,.0f} MB, ratios to a copy")
        show(
            seconds,
            goals=dict(
                zip(("transport phase", "whole cell"), GOALS[size], strict=True)
            ),
        )
        _show_against("whole cell", seconds, others, goal=f">= {TOOLS_GOAL}")
        del array, shell.user_ns["array"]
        _made.clear()


def made_there(shell: Any) -> None:
    """Compare the making and return of objects that pickle must visit."""
    for name in ("dict", "frame"):
        work = shell.user_ns["work"] = partial(FRESH[name], 0)

        def cell() -> None:
            with redirect_stdout(io.StringIO()):
                shell.run_cell("%%inprocess -o result\nresult = work()")
            del shell.user_ns["result"]

        with tools(work) as others:
            seconds = interleaved({"whole cell": cell, **others}, rounds=9, warm_up=1)
        print(f"\na {name}, ratios to ours")
        show(seconds)
        _show_against("whole cell", seconds, others, goal=">= 1")


def _show_against(ours: str, seconds: Any, others: Any, *, goal: str) -> None:
    base = median(seconds[ours])
    ratios = {name: median(seconds[name]) / base for name in others}
    fastest = min(ratios, key=lambda name: ratios[name])
    print(f"  {ours} is {ratios[fastest]:.1f} x faster than {fastest}, goal {goal}")


def _peak_bytes(work: Make) -> int:
    """Return by how much this process's resident memory grew at most (VmHWM)."""
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = _status("VmRSS")
    kept = work()
    after = _status("VmHWM")
    del kept
    return after - before


def _status(field: str) -> int:
    with open("/proc/self/status") as file:
        return (
            next(int(line.split()[1]) for line in file if line.startswith(field)) << 10
        )


def memory(shell: Any) -> None:
    """Print the peak here, and what the transport of inherited data copies there."""
    size = 1000 * MB
    array = make("array", size)
    ipc_magic.inprocess(lambda: 1)
    peak = _peak_bytes(lambda: ipc_magic.inprocess(lambda: array).value)
    print(
        f"\npeak here for an array of {size / MB:,.0f} MB: {peak / size:.3f} of its "
        f"size, goal <= {MEMORY_GOAL}"
    )
    copied = {}
    for name, value in (("nothing", array[:1].copy()), ("the array", array)):
        run = ipc_magic.inprocess(lambda value=value: value)
        copied[name] = run.report.children[0].memory.transport_copied_bytes
    more = (copied["the array"] - copied["nothing"]) // mmap.PAGESIZE
    print(
        f"inherited pages copied to send it, beyond those for one float: {more} of "
        f"{size // mmap.PAGESIZE:,}, goal 0 (of the array's own)"
    )


def main() -> None:
    shell = bench_shell()
    arrays(shell)
    made_there(shell)
    memory(shell)
