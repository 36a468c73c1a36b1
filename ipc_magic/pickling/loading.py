"""What pickles but does not load, and where it is.

The code of the classes runs in the process this is called in: call it in a child. An
object that ends the child, or hangs, is named afterwards by what `note` was told
last; the search then goes on in another child that is told to `skip` it.
"""

from __future__ import annotations

import gc
import io
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from ipc_magic.pickling import paths, rebuilding, sifting
from ipc_magic.pickling.offenders import Offender, offender
from ipc_magic.pickling.picklers import Pickling
from ipc_magic.pickling.rebuilding import Note
from ipc_magic.pickling.search import Search


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What cannot be loaded below an object, and where that is not known."""

    offenders: tuple[Offender, ...] = ()
    unjudged: tuple[str, ...] = ()
    """Paths to what fails as it looks at something that cannot be pickled."""


def find(
    obj: object,
    expression: str,
    pickling: Pickling,
    *,
    note: Note | None = None,
    skip: Container[int] = (),
) -> Judged:
    """Return all below `obj` that pickles and cannot be loaded in a process like this.

    What cannot be pickled is left out, and objects that fail as they look at what
    stands there instead are not judged. With `note`, each object is announced by a
    number before code of its class runs; without it, all is loaded at once first, as
    that is faster where nothing is wrong.
    """
    data = io.BytesIO()
    met = sifting.sieve(pickling, data)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        met.dump(obj)
        if note is None and _loads(pickling, data):
            return Judged()
        rebuilt = rebuilding.rebuild(
            data.getbuffer(), pickling.name, note or (lambda _: None), skip
        )
        unjudged = _named(obj, expression, met, rebuilt.unjudged)
        return Judged(
            offenders=_named(obj, expression, met, rebuilt.failures),
            unjudged=tuple(each.path for each in unjudged),
        )
    finally:
        if was_enabled:
            gc.enable()


def loads(obj: object, pickling: Pickling) -> bool:
    """Say whether `obj` can be loaded, without what cannot be pickled."""
    data = io.BytesIO()
    sifting.sieve(pickling, data).dump(obj)
    return _loads(pickling, data)


def name(
    obj: object, expression: str, pickling: Pickling, number: int, reason: str
) -> Offender | None:
    """Return what `find` told `note` under a number; `None` if there is no such."""
    met = sifting.sieve(pickling, io.BytesIO())
    met.dump(obj)
    return next(iter(_named(obj, expression, met, {number: reason})), None)


def _loads(pickling: Pickling, data: io.BytesIO) -> bool:
    try:
        pickling.loads(data.getvalue())
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  a class may raise anything
        return False
    return True


def _named(
    obj: object, expression: str, met: sifting.Met, failures: dict[int, str]
) -> tuple[Offender, ...]:
    places = met.places()
    objs: dict[int, Any] = {
        place: places[place] for place in failures if place in places
    }
    start = paths.root(expression)
    search = Search(obj, met)
    spelled = search.find(start, {id(each): each for each in objs.values()})
    return tuple(
        offender(each, spelled.get(id(each), start), "load", failures[place])
        for place, each in objs.items()
    )
