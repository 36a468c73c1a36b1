"""What cannot be pickled below an object: all of it, and where it is."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Literal

from ipc_magic.pickling import advice, paths, sifting, spawned
from ipc_magic.pickling.counting import Counting
from ipc_magic.pickling.picklers import Pickling
from ipc_magic.pickling.search import Search
from ipc_magic.pickling.sifting import TOO_DEEP, Offence

Stage = Literal["dump", "load", "spawn"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Offender:
    """An object that cannot be sent to another process."""

    path: str
    """The expression that leads to it; to what holds it, if none does."""
    type: str
    """What it is, in a word or two."""
    stage: Stage
    """What fails: the dump, the load in a forked child, or only in a spawned one."""
    reason: str
    """What Python says about it."""
    advice: str
    """What to do about it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What is in the way of an object, and what it weighs without that."""

    offenders: tuple[Offender, ...]
    """What cannot be pickled, in the order in which pickle meets it."""
    warnings: tuple[Offender, ...]
    """What only a spawned child cannot load."""
    pickled_bytes: int | None
    """Size of the pickle with a placeholder of a few bytes for each offender.

    `None` if pickle cannot come to its end even so."""


def find(obj: object, expression: str, pickling: Pickling) -> Found:
    """Return all that cannot be pickled below `obj`, with paths from `expression`.

    Every object is reduced once. Run it where classes may do what they like: in a
    child.
    """
    was_enabled = gc.isenabled()
    gc.disable()  # a million new references, and no garbage
    try:
        return _find(obj, paths.root(expression), pickling)
    finally:
        if was_enabled:
            gc.enable()


def _find(obj: object, start: str, pickling: Pickling) -> Found:
    file = Counting()
    met = sifting.sieve(pickling, file)
    last: list[Offence] = []
    reason = None
    try:
        met.dump(obj)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  what no reduction has shown
        reason = sifting.words(error)
        last = [Offence(each, reason) for each in met.last_met(obj)]
        size = None
    else:
        size = file.size
    search = Search(obj, met)
    if size is None or any(o.reason == TOO_DEEP for o in met.offences.values()):
        search.finish()
    offences = {**{id(each.obj): each for each in reversed(last)}, **met.offences}
    objs = {key: offence.obj for key, offence in offences.items()}
    spelled = search.find(start, {**objs, **met.only_here})
    blocking = list(met.offences.values())
    if not any(each.reason == reason for each in blocking):
        # Of what the pass met last, the latest that was there before the pass.
        blocking += [each for each in last if id(each.obj) in spelled][:1]
    return Found(
        offenders=tuple(
            offender(each.obj, spelled.get(id(each.obj), start), "dump", each.reason)
            for each in blocking
        ),
        warnings=tuple(
            offender(each, spelled.get(key, start), "spawn", spawned.reason(each))
            for key, each in met.only_here.items()
        ),
        pickled_bytes=size,
    )


def offender(obj: object, path: str, stage: Stage, reason: str) -> Offender:
    """Describe one offender."""
    word, what_to_do = advice.about(obj, stage)
    return Offender(path=path, type=word, stage=stage, reason=reason, advice=what_to_do)
