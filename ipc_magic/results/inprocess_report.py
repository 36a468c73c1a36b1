"""The report of `%%inprocess`: tables and notes below its headline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc_magic.render.document import Block, Document, Note, Verbatim
from ipc_magic.render.fit import fit
from ipc_magic.render.plain import shorten
from ipc_magic.render.units import duration, seconds_option, size_option
from ipc_magic.results import inprocess_changes, inprocess_memory
from ipc_magic.results.inprocess_endings import label, predicate
from ipc_magic.results.inprocess_tables import (
    all_children,
    all_crossings,
    all_names,
    one_crossing,
    some_children,
)

if TYPE_CHECKING:
    from ipc_magic.results.base import Finding, Level
    from ipc_magic.results.inprocess import ChildRun, Crossing, InProcess, Limits

# From here on one returned name is worth a row that tells where its time went.
LARGE_BYTES = 16 * 2**20
_MORE = "More is in the full report: print(result.details())"
# Characters of a finding's message in the short report: two lines, or four.
_FINDING, _COMMAND = 150, 300
# Endings whose sentence says all: an error follows, or the user knows.
_PLAIN = frozenset({"finished", "raised", "exited", "interrupted"})


def document(result: InProcess, level: Level) -> Document:
    """Compose the report at one level."""
    if level == "line":
        return Document(headline=result.headline)
    if level == "full":
        return _full(result)
    blocks = _short_blocks(result)
    stayed = inprocess_changes.notes(result)
    setting: tuple[str, ...] = ()
    if blocks or not all(child.ending in _PLAIN for child in result.children):
        setting = _setting(result, full=False)
    whole = Document(
        headline=result.headline, blocks=(*stayed, *blocks), setting=setting
    )
    return fit(whole, more=_MORE)


def _short_blocks(result: InProcess) -> tuple[Block, ...]:
    notes = [Note(shorten(one.message, _cut(one))) for one in result.findings]
    if len(result.children) != 1:
        table = [some_children(result)] if result.children else []
        return (*table, *inprocess_memory.last_reading(result.children), *notes)
    child = result.children[0]
    sent, returned = child.sent, child.returned
    blocks: list[Block] = []
    if len(returned.names) > 1 or _is_large(returned):
        blocks.append(one_crossing("to the parent", returned))
    if child.memory is not None and child.memory.notable:
        blocks.append(inprocess_memory.one_child(child.memory))
        blocks += inprocess_memory.last_reading([child])
    blocks += notes
    if _is_large(sent):
        blocks.append(one_crossing("to the child", sent))
    return tuple(blocks)


def _cut(finding: Finding) -> int:
    """Return how much of a finding is shown; a command at its end is not cut off."""
    return _COMMAND if finding.code == "parked" else _FINDING


def _is_large(crossing: Crossing) -> bool:
    sizes = (crossing.moved_bytes, *crossing.names.values())
    return any(moved is not None and moved >= LARGE_BYTES for moved in sizes)


def _full(result: InProcess) -> Document:
    blocks: list[Block] = [Note(finding.message) for finding in result.findings]
    if result.children:
        blocks += [all_children(result.children), all_crossings(result.children)]
    blocks += inprocess_memory.all_memory(result.children)
    blocks += inprocess_changes.details(result)
    names = all_names(result.children)
    if names.rows:
        blocks.append(names)
    for child in result.children:
        blocks += _ending(child, result.limits, alone=len(result.children) == 1)
    if said := _limits(result.limits):
        blocks.append(Note(f"limits: {said}"))
    return Document(
        headline=result.headline,
        blocks=tuple(blocks),
        setting=_setting(result, full=True),
    )


def _ending(child: ChildRun, limits: Limits, *, alone: bool) -> list[Block]:
    if child.ending == "finished":
        return []
    blocks: list[Block] = []
    if not alone:  # else the headline says it
        blocks.append(Note(f"{label(child)} {predicate(child, limits)}"))
    if child.where is not None:
        blocks.append(Note(f"at: {child.where}"))
    if child.evidence is not None:
        blocks.append(Note(f"evidence: {child.evidence}"))
    if child.error is not None:
        said = f"{child.error.type}: {child.error.message}"
        blocks.append(Verbatim(child.error.traceback or said))
    return blocks


def _limits(limits: Limits) -> str:
    said = []
    if limits.timeout_seconds is not None:
        said.append(f"--timeout {seconds_option(limits.timeout_seconds)}")
    if limits.memory_bytes is not None:
        said.append(f"--memory {size_option(limits.memory_bytes)}")
    if limits.keep_free_bytes is not None:
        said.append(f"--keep-free {size_option(limits.keep_free_bytes)}")
    return ", ".join(said)


def _setting(result: InProcess, *, full: bool) -> tuple[str, ...]:
    setting = result.setting
    python = f"Python {setting.python}" if full else setting.python_words
    system = setting.system if full else None
    measured = inprocess_memory.how(result.children)
    parts = [_start(result), measured, setting.threads_words, python, system]
    return tuple(part for part in parts if part is not None)


def _start(result: InProcess) -> str:
    method = result.setting.start_method
    times = [child.start_seconds for child in result.children]
    known = [seconds for seconds in times if seconds is not None]
    if not known:
        return method
    up_to = "up to " if len(times) > 1 else ""
    return f"{method}, start {up_to}{duration(max(known))}"
