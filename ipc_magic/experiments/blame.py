"""Where below a value what cannot be pickled lies."""

from __future__ import annotations

from ipc_magic.process.cell import Cell


class Blame:
    """Finds it for what a cell is to bring; to be called where it may take the process.

    What it needs is imported at the first need: most names come.
    """

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def __call__(self, name: str, value: object) -> str | None:
        """Return the expression that leads to it, `None` if it is the value itself."""
        from ipc_magic.pickling import offenders, picklers

        spelled = self._cell.spelling(name)
        # By cloudpickle, as results are: it takes functions and classes of a notebook.
        found = offenders.find(value, spelled, picklers.pickling("cloudpickle"))
        paths = [offender.path for offender in found.offenders]
        return paths[0] if paths and paths[0] != spelled else None
