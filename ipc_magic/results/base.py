"""What all results share: how they are shown, stored and compared."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, get_args

from ipc_magic.errors import IpcMagicError, OptionError
from ipc_magic.render.document import Document
from ipc_magic.render.report import Printer, Report
from ipc_magic.results.records import Frozen, from_plain, to_plain
from ipc_magic.results.setting import Setting

Level = Literal["line", "short", "full"]
Figure: TypeAlias = int | float | str | None
R = TypeVar("R", bound="Result")

# Of to_dict(): raised when a field changes its meaning or goes.
FORMAT = 1


class _State:
    """What a session keeps of its results: how they are shown, and the last one."""

    level: Level = "short"
    last: Result | None = None


def remember(result: Result) -> None:
    """Make `result` the last one: `ipc_magic.last`."""
    _State.last = result


def last() -> Result | None:
    """Return the result of the last magic that ran; `None` before the first."""
    return _State.last


def report_level() -> Level:
    """Tell at which level results show themselves."""
    return _State.level


def set_report_level(level: str) -> None:
    """Choose how much results say of themselves: "line", "short" or "full".

    Raises `OptionError` when there is no such level.
    """
    for known in get_args(Level):
        if level == known:
            _State.level = known
            return
    raise OptionError(f'report is "line", "short" or "full", not {level!r:.40}')


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing worth knowing, for readers and for programs."""

    code: str
    """What kind of finding it is, in a word that does not change."""
    message: str
    """A sentence or two."""
    figures: Mapping[str, Figure] = Frozen({})
    """The figures of the message; bytes are named `*_bytes`, seconds `*_seconds`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", Frozen(self.figures))


@dataclass(frozen=True, kw_only=True, slots=True)
class Result(ABC):
    """The answer to one question: numbers and names, never the user's objects."""

    kind: ClassVar[str]

    setting: Setting
    """The circumstances these figures are valid for."""
    findings: tuple[Finding, ...] = ()
    """What else is worth knowing, the most important first."""

    @property
    @abstractmethod
    def headline(self) -> str:
        """The sentence that answers the question."""

    @abstractmethod
    def document(self, level: Level | None = None) -> Document:
        """Compose the report; `None` stands for the level chosen."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """List the natural rows of this result, as `to_frame` shows them."""

    def report(self, level: Level | None = None) -> Report:
        """Return the report at a level, which shows itself wherever it is displayed."""
        return Report(self.document(level))

    def details(self) -> Report:
        """Return the full report."""
        return self.report("full")

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        said = {"kind": self.kind, "format": FORMAT, "headline": self.headline}
        return {**said, **to_plain(self)}

    @classmethod
    def from_dict(cls: type[R], data: Mapping[str, Any]) -> R:
        """Return the result of which `to_dict` made `data`.

        Raises `IpcMagicError` when `data` is of another kind or format.
        """
        if data.get("kind") != cls.kind:
            raise IpcMagicError(
                f"this is a result of kind {data.get('kind')!r:.40}; "
                f"{cls.__name__} reads {cls.kind!r}"
            )
        if data.get("format") != FORMAT:
            raise IpcMagicError(
                f"this result was written in format {data.get('format')!r:.40}; "
                f"this ipc_magic reads format {FORMAT}"
            )
        return from_plain(cls, data)

    def to_frame(self) -> Any:
        """Return the rows as a pandas DataFrame.

        Raises `IpcMagicError` when pandas is not installed.
        """
        try:
            pandas: Any = importlib.import_module("pandas")
        except ImportError as error:
            raise IpcMagicError(
                "to_frame() needs pandas: pip install 'ipc_magic[frame]'"
            ) from error
        return pandas.DataFrame(self.rows())

    def __str__(self) -> str:
        return str(self.report())

    def _repr_pretty_(self, printer: Printer, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_mimebundle_(
        self,
        include: Container[str] | None = None,
        exclude: Container[str] | None = None,
    ) -> dict[str, str]:
        return self.report()._repr_mimebundle_(include, exclude)
