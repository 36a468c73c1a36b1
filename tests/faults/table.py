"""The 60 faults that `%%inprocess` was designed against, and its right behaviour.

`REASONS` says why a row, or a part of one, is not covered by a test of this folder.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One row: what goes wrong, and what must be seen then."""

    fault: str
    behaviour: str


FAULTS: dict[int, Fault] = {
    number: Fault(fault, behaviour)
    for number, fault, behaviour in [
        (1, "child raises", "native traceback, same type, notebook stops"),
        (2, "exception defined in the child's cell", "that name, or a stand-in of it"),
        (3, "exception that cannot be pickled or loaded", "stand-in of that name"),
        (4, "ExceptionGroup", "shown once"),
        (5, "chained exception", "both parts"),
        (6, "RecursionError, 970 frames", "shown, cut to 50 frames"),
        (7, "SyntaxError", "native, no fork"),
        (8, "SystemExit(int / str), exit()", "ChildExit with code; session lives"),
        (9, "os._exit(n)", "ended with code n, no result"),
        (10, "SIGSEGV, SIGABRT", "signal name and stack, trimmed"),
        (11, "SIGKILL / OOM", "says so, a hint only with evidence"),
        (12, "infinite loop and timeout", "SIGTERM, grace, SIGKILL, one line"),
        (13, "SIGTERM/SIGINT ignored by the child", "ended after the grace"),
        (14, "blocked in C holding the GIL, and interrupt", "ended"),
        (15, "SIGSTOPped child", "timeout and interrupt still end it"),
        (16, "interrupt, also during fork set-up", "KeyboardInterrupt, no child left"),
        (17, "two interrupts", "the second kills now"),
        (18, "kernel killed, group killed, shut down", "child and its group gone"),
        (19, "grandchild keeps the pipe open", "cell returns, it is ended and named"),
        (20, "grandchild in its own session", "cell returns; reported"),
        (21, "child forks again in the cell", "only the original reports"),
        (22, "mp.Pool, subprocess, asyncio.run in the child", "work"),
        (23, "non-daemon thread outlives the cell", "joined, output kept"),
        (24, "nested %%inprocess", "works, inner error shown once"),
        (25, "%%time, %%capture around or inside", "work"),
        (26, "input/getpass/stdin", "named error at once, never a hang or stop"),
        (27, "2 MB output, 50 MB display, 3,000 displays", "complete, live"),
        (28, "split or invalid UTF-8, surrogates, NULs", "replaced, never an error"),
        (29, "child closes fd 1/2, or the channel", "error still shown / no result"),
        (30, "carriage returns of n children", "no garbling"),
        (31, "child writes while the parent is interrupted", "drained"),
        (32, "display of widgets", "live, one-way"),
        (33, "__repr__ raising or looping in the child", "native error; timeout"),
        (34, "lock, import, pool held at the fork", "timeout and the line named"),
        (35, "libgomp/torch/polars used before the fork", "1 thread, a finding"),
        (36, "logging handler busy at the fork", "quiesced"),
        (37, "CUDA context in the parent", "refused with the reason"),
        (38, "fork: EAGAIN, ENOMEM, no fds left", "one line, earlier children reaped"),
        (39, "SIGCHLD ignored / foreign waitpid(-1)", "status unknown, result kept"),
        (40, "memory limit", "MemoryError, native; or stopped with a headline"),
        (41, "bad options, empty cell", "one line, nothing lost, no fork"),
        (42, "{v} / $v in the line", "literal"),
        (43, "cell called inside a function", "locals visible"),
        (44, "indented body", "dedented, right line numbers"),
        (45, "name assigned / object mutated in the child", "reported; unchanged here"),
        (46, "-o name missing, unpicklable, crash or hang", "named, others kept"),
        (47, "result needs a class only the child has", "by value, or named error"),
        (48, "two names share an object", "identity kept"),
        (49, "spawn cannot find functions of __main__", "by value"),
        (50, "engine retries the task, worker dies", "one clear error"),
        (51, "async cell, parent's tasks pending", "await works, tasks untouched"),
        (52, "user hooks (pre/post_run_cell)", "not run twice"),
        (53, "shared offsets, double flush, same RNG", "reported"),
        (54, "history, _, Out, In", "unchanged in the parent"),
        (55, "%load_ext twice, reload, unload", "idempotent, clean"),
        (56, "outside IPython, daemon process, no fork", "a plain message"),
        (57, "subshell (ipykernel 7)", "works; interrupt documented"),
        (58, "fd leak over many cells", "constant"),
        (59, "child kills the kernel", "no orphan"),
        (60, "pytest: assert, skip, capsys, -s, xdist", "as in a plain test"),
    ]
}

REASONS: dict[int, str] = {
    37: "no CUDA is at hand: torch's own note that it is open stands for it, and a "
    "library of the driver's name",
    49: "other start methods come with a later issue",
    50: "engines come with a later issue",
    56: "no Windows is at hand: a process without os.fork stands for it",
}
