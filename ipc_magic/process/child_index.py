"""Which child of a run this process is."""

from __future__ import annotations

current: int | None = None
"""The index, from 0, of a child that runs a function; `None` where none runs."""
