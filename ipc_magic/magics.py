"""The front door in IPython: options become one experiment and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from IPython.display import display
from traitlets import Enum, Unicode, observe

from ipc_magic import completion, options
from ipc_magic.errors import OptionError
from ipc_magic.experiments import fetching, inprocess_run, parked
from ipc_magic.experiments import inprocess as experiment
from ipc_magic.results.base import Result, remember, set_report_level


@magics_class
class IPCMagics(Magics):
    """The magics; their defaults are set by `%config IPCMagics.NAME = VALUE`."""

    report = Enum(
        ("line", "short", "full"),
        default_value="short",
        help="How much a report says: its first line, at most 15 lines, or all.",
    ).tag(config=True)
    timeout = Unicode(help="Default of --timeout.").tag(config=True)
    memory = Unicode(help="Default of --memory.").tag(config=True)
    keep_free = Unicode("1 GiB", help="Default of --keep-free.").tag(config=True)
    threads = Unicode(help="Default of --threads.").tag(config=True)
    via = Unicode("pipe", help="Default of --via.").tag(config=True)
    pickler = Unicode("pickle", help="Default of --pickler.").tag(config=True)

    stop_completing: list[Callable[[], None]]

    @observe("report")
    def _report_chosen(self, change: Any) -> None:
        set_report_level(change["new"])

    def _defaults(self) -> dict[str, str]:
        names = ("timeout", "memory", "keep_free", "threads", "via", "pickler")
        return {name: value for name in names if (value := getattr(self, name))}

    @no_var_expand
    @line_cell_magic
    def inprocess(self, line: str, cell: str | None = None) -> Any:
        """Run code in a child process, as if it ran here."""
        parsed = options.parse("inprocess", line, cell=cell is not None)
        if parsed.help:
            print(options.usage("inprocess"))
            return None
        chosen: dict[str, Any] = options.with_defaults(
            "inprocess", parsed.options, self._defaults()
        )
        if {"fetch", "drop"} & {*parsed.options}:
            return self._of_parked(parsed, chosen, in_cell=cell is not None)
        if cell is None and not parsed.expression.strip():
            return _state(parsed.options)
        if cell is not None and not cell.strip():
            raise OptionError("the cell is empty: put the code below %%inprocess")
        what = experiment.prepare(
            self.shell, line, cell, parsed.expression, chosen["out"]
        )
        return self._run(what, chosen, tag="children" in parsed.options)

    def _run(self, what: Any, chosen: Mapping[str, Any], *, tag: bool) -> Any:
        """Run `what`, show the report, and return it, or the value of a line."""
        told = not chosen["quiet"] or chosen["save"] is not None
        how = inprocess_run.Options(
            children=chosen["children"],
            tag=tag,
            timeout=chosen["timeout"],
            memory=chosen["memory"],
            keep_free=chosen["keep_free"],
            threads=chosen["threads"],
            measure=told,
            changes=told,
            mechanism=chosen["mechanism"],
        )
        if name := chosen["bg"]:
            experiment.run_in_background(
                self.shell, what, how, name, lambda run: self._conclude(run, chosen)
            )
            return None
        run = experiment.run_here(self.shell, what, how)
        report = self._conclude(run, chosen)
        if what.bring_value:
            # Here a `;` hides the report; in a cell it hides the cell's own value.
            if not (chosen["quiet"] or what.ends_in_semicolon):
                self._show(report, chosen)
            return run.take_value()
        if chosen["quiet"]:
            return None
        if chosen["verbose"]:
            return self._show(report, chosen)
        return report

    def _of_parked(
        self, parsed: options.Parsed, chosen: Mapping[str, Any], *, in_cell: bool
    ) -> Any:
        """Bring names from the child that stays, or end it."""
        options.check_alone(parsed, cell=in_cell)
        if chosen["drop"]:
            return parked.drop_and_tell()
        report, error = fetching.fetch(
            self.shell, chosen["fetch"], keep_free=chosen["keep_free"]
        )
        remember(report)
        if chosen["save"]:
            self.shell.user_ns[chosen["save"]] = report
        if error is not None:
            if not chosen["quiet"] and any(c.returned.names for c in report.children):
                self._show(report, chosen)
            raise error
        if chosen["quiet"]:
            return None
        return self._show(report, chosen) if chosen["verbose"] else report

    @no_var_expand
    @needs_local_scope
    @line_magic
    def pickle_cost(self, line: str, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Measure what it costs to send an object to another process."""
        __tracebackhide__ = True  # an error of the expression is the person's own
        parsed = options.parse("pickle_cost", line, cell=False)
        if parsed.help:
            print(options.usage("pickle_cost"))
            return None
        chosen: dict[str, Any] = options.with_defaults(
            "pickle_cost", parsed.options, self._defaults()
        )
        from ipc_magic.experiments import pickle_cost_shell

        ends_in_semicolon = False
        if parsed.expression.strip():
            asked = experiment.prepare(self.shell, line, None, parsed.expression, ())
            ends_in_semicolon = asked.ends_in_semicolon
            pickle_cost_shell.options_of(chosen)  # wrong ones are refused first
            report, error = pickle_cost_shell.of_object(
                self.shell,
                pickle_cost_shell.evaluate(self.shell, asked, local_ns),
                asked,
                chosen,
            )
        else:
            report, error = pickle_cost_shell.of_variables(self.shell, chosen)
        remember(report)
        if chosen["save"]:
            self.shell.user_ns[chosen["save"]] = report
        silent = chosen["quiet"] or ends_in_semicolon
        if error is not None:
            if not silent:
                self._show(report, chosen)
            raise error
        if silent:
            return None
        return self._show(report, chosen) if chosen["verbose"] else report

    @no_var_expand
    @line_cell_magic
    def cow_watch(self, line: str, cell: str | None = None) -> Any:
        """Measure how much of the memory it inherited each child copied."""
        __tracebackhide__ = True  # an error of the code is the person's own
        parsed = options.parse("cow_watch", line, cell=cell is not None)
        if parsed.help:
            print(options.usage("cow_watch"))
            return None
        chosen: dict[str, Any] = options.with_defaults(
            "cow_watch", parsed.options, self._defaults()
        )
        from ipc_magic.experiments import cow_watch_shell

        report, error = cow_watch_shell.run(
            self.shell,
            line,
            cell,
            statement=parsed.expression,
            chosen=chosen,
            given=parsed.options,
        )
        remember(report)
        if chosen["save"]:
            self.shell.user_ns[chosen["save"]] = report
        if error is not None and not chosen["no_raise_error"]:
            if not chosen["quiet"]:
                self._show(report, chosen)
            if error.__traceback__ is not None:  # it was raised here
                raise error
            experiment.raise_in(self.shell, error)
        if chosen["quiet"]:
            return None
        return self._show(report, chosen) if chosen["verbose"] else report

    def _conclude(
        self, run: inprocess_run.CellRun, chosen: Mapping[str, Any]
    ) -> Result:
        """Return the report; an error is raised when the report has been shown."""
        report, error = run.conclude()
        remember(report)
        if chosen["save"]:
            self.shell.user_ns[chosen["save"]] = report
        if error is not None and not chosen["no_raise_error"]:
            if not chosen["quiet"]:
                self._show(report, chosen)
            experiment.raise_in(self.shell, error)
        return report

    def _show(self, report: Result, chosen: Mapping[str, Any]) -> None:
        display(report.details() if chosen["verbose"] else report)


def _state(given: Mapping[str, object]) -> Any:
    """Return what bare `%inprocess` shows: the jobs that run, and what stays."""
    if given:
        raise OptionError("nothing to run: put an expression behind the options")
    return Jobs(experiment.running_jobs())


class Jobs(list[Any]):
    """The jobs that run now, and the children that stay, one below the other."""

    def __repr__(self) -> str:
        return "\n".join([*map(repr, self), *parked.state()]) or "No job runs."


def _complete(magic: str, line: str) -> list[str]:
    names = {"fetch": parked.names()} if magic == "inprocess" else {}
    return options.complete(magic, line, names)


def load(shell: Any) -> None:
    """Register the magics and their completion; loading again changes nothing."""
    if IPCMagics.__name__ in shell.magics_manager.registry:
        return
    magics = IPCMagics(shell)
    shell.register_magics(magics)
    magics.stop_completing = [
        completion.offer(shell, magic, _complete) for magic in options.MAGICS
    ]


def unload(shell: Any) -> None:
    """Take back what `load` did; jobs that run, and what stays, are ended."""
    experiment.end_jobs()
    parked.drop()
    magics = shell.magics_manager.registry.pop(IPCMagics.__name__, None)
    if magics is None:
        return
    for stop in magics.stop_completing:
        stop()
    for kind, names in magics.magics.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    shell.configurables.remove(magics)
    set_report_level("short")


for _name in options.MAGICS:
    _magic = getattr(IPCMagics, _name)
    _magic.__doc__ = f"{_magic.__doc__}\n\n{options.usage(_name)}"
