"""`ipc_magic.cow_watch()`: the measurement as a plain function, or around a block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from ipc_magic.errors import OptionError
from ipc_magic.experiments import cow_watch as experiment
from ipc_magic.results.base import remember
from ipc_magic.results.cow_watch import CowWatch


def of_function(function: Callable[[], object], **options: Any) -> CowWatch:
    """Run `function` in children; see `ipc_magic.cow_watch`."""
    chosen = experiment.Options(**options)
    if chosen.children < 1:
        raise OptionError("children is 1 or more where a function is given")
    result, error = experiment.of_function(function, chosen)
    remember(result)
    if error is not None:
        raise error
    return result


class Watch:
    """Watches the children that are forked in a `with` block.

    `result` is the `CowWatch` once the block has ended, `None` before.
    """

    def __init__(self, **options: Any) -> None:
        if options.pop("children", 1) != 1:
            raise OptionError("children goes with a function: a block runs here")
        from ipc_magic.experiments.cow_watch_here import Watching

        chosen = experiment.Options(children=0, **options)
        self._watching = Watching(chosen, statement="")

    @property
    def result(self) -> CowWatch | None:
        """What was measured, once the block has ended."""
        return self._watching.result

    def __enter__(self) -> Watch:
        self._watching.__enter__()
        return self

    def __exit__(self, *raised: Any) -> Literal[False]:
        self._watching.__exit__(*raised)
        assert self.result is not None
        remember(self.result)
        return False
