"""An empty cell in a child against multiprocessing.Process, Pipe and join."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
from collections.abc import Callable
from typing import Any

from tests.bench.sides import bench_shell, interleaved, show


def _send_none(connection: Any) -> None:
    connection.send(None)


def process_and_pipe() -> None:
    """Start a forked process, get `None` from it over a pipe, join it."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()
    process = context.Process(target=_send_none, args=(sender,))
    process.start()
    receiver.recv()
    process.join()
    receiver.close()
    sender.close()


def main() -> None:
    """Print the times and ratios."""
    shell: Any = bench_shell()

    def cell(options: str) -> Callable[[], None]:
        def run() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                shell.run_cell(f"%%inprocess {options}\npass")

        return run

    sides = {
        "Process + Pipe + join": process_and_pipe,
        "%%inprocess -q": cell("-q"),
        "%%inprocess with its report": cell(""),
    }
    goals = {"%%inprocess -q": 1.6, "%%inprocess with its report": 2.5}
    show(interleaved(sides, rounds=100), goals=goals)
