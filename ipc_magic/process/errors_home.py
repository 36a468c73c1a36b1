"""Errors of a child, made plain there and raised again in the parent."""

from __future__ import annotations

import builtins
import traceback
import types
from collections.abc import Mapping
from typing import Any

from ipc_magic.errors import ChildTraceback
from ipc_magic.process import parcel

_MOST_FRAMES = 50


def pack(
    error: BaseException, lines: list[str], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the plain fields of `error`, whose traceback is shown as `lines`."""
    kind = type(error)
    fields: dict[str, Any] = {
        "type": kind.__name__,
        "module": kind.__module__,
        "message": parcel.text_of(error),
        "bases": [base.__name__ for base in kind.__mro__ if _is_builtin(base)],
        "lines": lines,
        "plain": plain_traceback(error),
        "blob": None,
    }
    packed = parcel.pack({"error": error}, known)
    if not packed.failures and len(packed.blob) <= parcel.LARGEST_ERROR_BYTES:
        fields["blob"] = packed.blob
    return fields


def unpack(fields: Mapping[str, Any], prove: parcel.Proof) -> BaseException:
    """Return the error to raise in the parent, which shows the child's traceback.

    It is the child's own error where that loads to the same type and text; else a
    stand-in of that name, which the same builtin `except` clauses catch.
    """
    if (fields["module"], fields["type"]) == ("IPython.core.error", "UsageError"):
        from IPython.core.error import UsageError

        usage: BaseException = UsageError(fields["message"])
        return usage  # IPython shows it in its own way, without a traceback
    error = _original(fields, prove) or _stand_in(fields)
    lines = list(fields["lines"])
    # A __setattr__ of the person's has no say here.
    BaseException.__setattr__(error, "__cause__", ChildTraceback(fields["plain"]))
    BaseException.__setattr__(error, "_render_traceback_", lambda: lines)
    return error


def _original(fields: Mapping[str, Any], prove: parcel.Proof) -> BaseException | None:
    if fields["blob"] is None:
        return None
    try:
        (error,) = parcel.unpack(parcel.Parcel(fields["blob"], 1), prove)
    except Exception:  # noqa: BLE001 - it does not load: the stand-in is for that
        return None
    same = (
        isinstance(error, BaseException)
        and type(error).__name__ == fields["type"]
        and parcel.text_of(error) == fields["message"]
    )
    return error if same else None


class StandIn(Exception):
    """Stands for a child's error that cannot leave the child."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __str__(self) -> str:
        return self.message


def _stand_in(fields: Mapping[str, Any]) -> BaseException:
    base = getattr(builtins, next(iter(fields["bases"]), "Exception"), Exception)
    if not issubclass(base, Exception):
        base = Exception  # nothing that ends the session must be raised in its place
    name = fields["type"]
    try:
        made: Any = type(name, (StandIn, base), {"__module__": fields["module"]})
        error: BaseException = made.__new__(made)
    except TypeError:  # e.g. a group cannot be made without its errors
        made = type(name, (StandIn,), {"__module__": fields["module"]})
        error = made.__new__(made)
    StandIn.__init__(error, fields["message"])  # type: ignore[arg-type]
    return error


def _is_builtin(kind: type) -> bool:
    return kind.__module__ == "builtins" and issubclass(kind, BaseException)


def plain_traceback(error: BaseException) -> str:
    """Return Python's own traceback of `error`, without the frames above the cell."""
    try:
        below = error.__traceback__ and error.__traceback__.tb_next
        return "".join(traceback.format_exception(type(error), error, cut(below)))
    except Exception:  # noqa: BLE001 - it runs the person's __str__
        return f"{type(error).__name__}: {parcel.text_of(error)}\n"


def cut(tb: types.TracebackType | None) -> types.TracebackType | None:
    """Return `tb` with at most 50 frames: the first and the last ones."""
    nodes = []
    while tb is not None:
        nodes.append(tb)
        tb = tb.tb_next
    if len(nodes) > _MOST_FRAMES:
        nodes = nodes[: _MOST_FRAMES // 2] + nodes[-_MOST_FRAMES // 2 :]
    kept: types.TracebackType | None = None
    for node in reversed(nodes):
        kept = types.TracebackType(kept, node.tb_frame, node.tb_lasti, node.tb_lineno)
    return kept
