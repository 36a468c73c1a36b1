"""What was measured: frozen numbers and names that describe themselves.

`base` is what all results share, `setting` the circumstances they are valid for,
`records` their way to JSON and back; then one module a question, whose sentences
stand in `*_words` and whose reports stand in `*_report`.
"""

from __future__ import annotations

from ipc_magic.results.base import Finding, Result, report_level, set_report_level
from ipc_magic.results.cow_watch import CowWatch, WatchedChild
from ipc_magic.results.fetched import Fetched, FetchedFrom
from ipc_magic.results.inprocess import (
    ChildRun,
    Crossing,
    ErrorInChild,
    InProcess,
    Limits,
)
from ipc_magic.results.inprocess_changes import Changes
from ipc_magic.results.memory import Memory
from ipc_magic.results.setting import Setting

__all__ = [
    "Changes",
    "ChildRun",
    "CowWatch",
    "Crossing",
    "ErrorInChild",
    "Fetched",
    "FetchedFrom",
    "Finding",
    "InProcess",
    "Limits",
    "Memory",
    "Result",
    "Setting",
    "WatchedChild",
    "report_level",
    "set_report_level",
]
