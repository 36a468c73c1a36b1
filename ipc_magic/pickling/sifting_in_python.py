"""A pass of a pickler written in Python, as dill's is, that goes on where it fails.

Its `save` is called for every object, so that the innermost call that fails is for
the offender itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipc_magic.pickling import reductions
from ipc_magic.pickling.gone import Gone
from ipc_magic.pickling.picklers import Pickling, WriteOnly
from ipc_magic.pickling.reductions import Reduced
from ipc_magic.pickling.sifting import Offence, may_be_the_end, words

# A recursion error of an object that lies no deeper is its own.
SHALLOW = 20


class PythonSieve:
    """A pass of a pickler in Python, and what it met."""

    def __init__(self, pickling: Pickling, file: WriteOnly) -> None:
        self.protocol = pickling.protocol
        self.offences: dict[int, Offence] = {}
        self.reduced: dict[int, tuple[object, Reduced]] = {}
        self.plain: dict[int, tuple[type, Callable[[Any], dict[Any, Any]]]] = {}
        self.only_here: dict[int, object] = {}
        self.examined: set[int] = set()
        self._depth = 0
        self._too_deep: list[object] = []
        hooks = {"save": self.saving(), "save_reduce": self._reducing()}
        self.pickler = pickling.pickler(file, **hooks)
        self._above: Any = super(type(self.pickler), self.pickler)

    def dump(self, obj: object) -> None:
        """Pickle `obj` but for what cannot be."""
        self.pickler.dump(obj)

    def places(self) -> dict[int, object]:
        """Return what was pickled, by its place in the memo."""
        return dict(self.pickler.memo.values())

    def last_met(self, obj: object) -> list[object]:
        """Return what was met last, the latest first."""
        return [each for each in self._too_deep if may_be_the_end(each)]

    def examine(self, obj: Any) -> Any:
        """Do nothing: reductions are made by the pickler only."""
        return NotImplemented

    def saving(self) -> Callable[..., None]:
        """Return the method that saves an object, or notes that it cannot be."""

        def save(_: object, obj: Any, *args: Any, **options: Any) -> None:
            if id(obj) in self.offences:
                self._above.save_reduce(Gone, ())
                return
            self._depth += 1
            try:
                self._above.save(obj, *args, **options)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                deep = self._depth > SHALLOW or self._too_deep
                if isinstance(error, RecursionError) and deep:
                    self._too_deep.append(obj)
                    raise
                self.offences[id(obj)] = Offence(obj, words(error))
                self._above.save_reduce(Gone, ())
            finally:
                self._depth -= 1

        return save

    def _reducing(self) -> Callable[..., None]:
        def save_reduce(_: object, *parts: Any, obj: Any = None, **named: Any) -> None:
            names = ("state", "listitems", "dictitems", "state_setter")
            found = (
                *parts,
                *(named.pop(name, None) for name in names[len(parts) - 2 :]),
            )
            found = reductions.repeatable(obj, found)
            if obj is not None:
                self.reduced[id(obj)] = obj, reductions.thin(found)
            self._above.save_reduce(*reductions.renewed(found), obj=obj, **named)

        return save_reduce
