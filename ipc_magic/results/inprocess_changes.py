"""What code in a child did to the notebook's names, and how the report says it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ipc_magic.render.document import Note
from ipc_magic.render.plain import clean, shorten

if TYPE_CHECKING:
    from ipc_magic.results.inprocess import InProcess

_ALL = "*"
# Characters of the names of one sentence in the short report, and of the longest one.
_NAMES, _NAME = 40, 32
_LONG_NAMES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What the code did to the notebook's names, those asked back among them.

    Nothing of it has happened in the notebook, but for the names that came back.
    """

    created: tuple[str, ...] = ()
    """Names that are bound there, and were not before."""
    rebound: tuple[str, ...] = ()
    """Names bound to another object than before."""
    mutated: tuple[str, ...] = ()
    """Names of which the object is the same and what it holds is not."""
    deleted: tuple[str, ...] = ()
    """Names that are not bound any more."""
    unchecked: tuple[str, ...] = ()
    """Names in reach of the code of which it is not known whether they changed."""
    modules: tuple[str, ...] = ()
    """Those among the created and rebound that are modules."""
    others: int = 0
    """How many more names there are: a child lists 1,000."""

    def __post_init__(self) -> None:
        if type(self.others) is not int:
            raise TypeError("others is a number")
        for field in fields(self):
            if field.name != "others":
                names = getattr(self, field.name)
                if type(names) is str or not all(type(name) is str for name in names):
                    raise TypeError(f"{field.name} are names")
                object.__setattr__(self, field.name, tuple(names))


def notes(result: InProcess) -> list[Note]:
    """Say what stayed in the children that ran to their end, in up to three lines."""
    told = _not_brought(result)
    return [Note(sentence) for sentence in _sentences(result, told, _NAMES)]


def details(result: InProcess) -> list[Note]:
    """Say all that is known of the names, of all children."""
    told = _not_brought(result, of_all=True)
    said = _sentences(result, told, _LONG_NAMES)
    if told.modules:
        said.append(f"Imported in the child: {_quoted(told.modules, _LONG_NAMES)}.")
    if told.unchecked:
        names = _quoted(told.unchecked, _LONG_NAMES)
        said.append(f"Not checked for changes: {names}.")
    if told.others:
        said.append(f"{told.others:,} more names were created or changed.")
    return [Note(sentence) for sentence in said]


def _not_brought(result: InProcess, *, of_all: bool = False) -> Changes:
    """Return the changes of all children together, without the names asked back."""
    known = [
        child.changes
        for child in result.children
        if child.changes is not None and (of_all or child.ending == "finished")
    ]
    asked = {*result.asked}

    def together(name: str, without: Iterable[str] = ()) -> tuple[str, ...]:
        every = dict.fromkeys(n for each in known for n in getattr(each, name))
        return tuple(n for n in every if n not in asked and n not in without)

    modules = together("modules")
    bound = {} if _ALL not in asked else {*together("created"), *together("rebound")}
    left_out = {*modules, *bound}
    mutated = together("mutated")
    return Changes(
        created=together("created", left_out),
        rebound=together("rebound", left_out),
        mutated=mutated,
        deleted=together("deleted"),
        unchecked=together("unchecked", mutated),
        modules=modules,
        others=sum(each.others for each in known),
    )


def _sentences(result: InProcess, told: Changes, width: int) -> list[str]:
    child = "child" if len(result.children) == 1 else "children"
    said = []
    if changed := (*dict.fromkeys((*told.mutated, *told.rebound)),):
        yours = "yours is" if len(changed) == 1 else "yours are"
        was = "was" if len(changed) == 1 else "were"
        names = _quoted(changed, width)
        said.append(f"{names} {was} changed in the {child}; {yours} as before.")
    if told.deleted:
        yours = "yours is" if len(told.deleted) == 1 else "yours are"
        was = "was" if len(told.deleted) == 1 else "were"
        names = _quoted(told.deleted, width)
        said.append(f"{names} {was} deleted in the {child}; {yours} as before.")
    stays = any(finding.code == "parked" for finding in result.findings)
    if told.created and not stays:  # else that finding names them
        names = _quoted(told.created, width, cut=told.others > 0)
        bring = _to_bring(told.created, width)
        said.append(f"Made in the {child} and left there: {names}. {bring}")
    return said


def _fitting(names: Sequence[str], width: int) -> list[str]:
    """Return as many of the first names as fit, one at least; never all but one."""
    shown: list[str] = []
    for name in names:
        width -= min(len(name), _NAME) + 4
        if width < 0 and shown:
            break
        shown.append(name)
    return list(names) if len(names) - len(shown) == 1 else shown


def _quoted(names: Sequence[str], width: int, *, cut: bool = False) -> str:
    """Return the first names, and how many more there are; `cut`: or more than that."""
    shown = [f"`{shorten(name, _NAME)}`" for name in _fitting(names, width)]
    if more := len(names) - len(shown):
        at_least = "at least " if cut else ""
        return f"{', '.join(shown)} and {at_least}{more:,} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _to_bring(names: Sequence[str], width: int) -> str:
    """Return what to type to have them next time."""
    them = "it" if len(names) == 1 else "them"
    all_shown = len(_fitting(names, width)) == len(names)
    if all_shown and all(name.isidentifier() and name == clean(name) for name in names):
        return f"Bring {them}: -o {','.join(names)}"
    return f"Bring {them}: -o '*'"
