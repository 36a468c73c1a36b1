"""May this cell run in a child process: the run of `%%inprocess`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ipc_magic.experiments import parked
from ipc_magic.experiments.blame import Blame
from ipc_magic.experiments.inprocess_run import CellRun, Options, Work
from ipc_magic.process import cell as cells
from ipc_magic.process import interrupts, job, parcel, raise_here
from ipc_magic.process.cell import Cell
from ipc_magic.process.child_shell import ShellBody
from ipc_magic.process.front import ShellFront
from ipc_magic.process.job_front import JobFront
from ipc_magic.process.parked import Stay


def prepare(
    shell: Any,
    line: str,
    body: str | None,
    expression: str,
    bring: tuple[str, ...],
    *,
    magic: str = "inprocess",
) -> Cell:
    """Return what to run: the body of a cell, or the expression of a line.

    Raises the SyntaxError that running it would end in, shown as IPython shows it.
    """
    scope = cells.calling_scope(shell)
    try:
        if body is not None:
            cell = cells.from_body(
                shell, f"{magic} {line}", body, local_names=scope, bring=bring
            )
        else:
            cell = cells.from_line(shell, expression, local_names=scope, bring=bring)
        cells.check_syntax(shell, cell)
    except SyntaxError as error:
        raise_here.show_as_syntax_error(shell, error)
        raise_here.arrange(shell, error)
        raise
    return cell


def work_of(
    shell: Any, cell: Cell, options: Options, *, stay: Stay | None = None
) -> Work:
    """Return the work of running `cell` by `shell`; `stay` says what stays of it."""
    return Work(
        cell=cell,
        names=shell.user_ns,
        body=ShellBody(
            shell,
            cell,
            options.tag,
            blame=Blame(cell),
            tell_changes=options.changes,
            stay=stay,
        ),
        idle=lambda: ShellBody(
            shell, cells.from_body(shell, "inprocess", "pass\n"), tag_index=False
        ),
        machinery="shell",
    )


def run_here(shell: Any, cell: Cell, options: Options) -> CellRun:
    """Run `cell` in children, show their output in the running cell, wait for them.

    What the last cell left goes; what this one leaves may stay.
    """
    with interrupts.counted():
        # What nobody is told of does not stay.
        stay = parked.stay(options.keep_free) if options.changes else None
        definitions = parcel.find_definitions(shell.user_ns)
        work = work_of(shell, cell, options, stay=stay)
        run = CellRun(work, ShellFront(shell), options, parent_waits=True)
        try:
            parked.drop()  # not before: a run that is refused ends nothing
            run.watch()
        except BaseException:
            parked.end(watch.kept for watch in run.watches)
            raise
        parked.take(run.watches, definitions, tag=options.tag)
    return run


def run_in_background(
    shell: Any,
    cell: Cell,
    options: Options,
    name: str,
    finish: Callable[[CellRun], Any],
) -> None:
    """Run `cell` in children that go on while other cells run; bind their job.

    `finish` is called with the run by whoever waits for the job.
    """
    front = JobFront(shell)
    with interrupts.counted():
        run = CellRun(work_of(shell, cell, options), front, options)
        parked.drop()
        begun = job.Job(name, run, output=front.text, finish=lambda: finish(run))
        # An interrupt that came meanwhile is raised when this block ends.
        shell.user_ns[name] = begun


def running_jobs() -> list[job.Job]:
    """Return the jobs that run now."""
    return job.live_jobs()


def end_jobs() -> None:
    """End all jobs that run."""
    job.kill_all()


def raise_in(shell: Any, error: BaseException) -> NoReturn:
    """Raise `error` for `shell` to show as the child would have shown it."""
    raise_here.arrange(shell, error)
    raise error
