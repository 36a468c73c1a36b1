"""Tells the session how it goes, in texts that it need not wait for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ipc_magic.memory.observing import named

Words = Callable[..., "str | None"]
"""What makes a text, `None` where there is nothing to tell, of the keywords `children`,
how many there are, `copied_bytes` and `new_bytes`, which they have copied and made,
`free`, and `keep_free`, how many bytes should stay free; `None` is not known."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Where the texts go, and what they say."""

    descriptor: int
    """Of the session, for writing."""
    words: Words
    """A function of a module."""
    keep_free: int
    """What it is given besides: how many bytes should stay free."""

    def message(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {**vars(self), "words": named.name_of(self.words)}


class Progress:
    """Writes a text whenever it is another than the one before."""

    def __init__(self, session: int, asked: dict[str, Any] | None) -> None:
        self._file, self._last = -1, ""
        if asked is None:
            return
        self._words: Words = named.found(asked["words"])
        self._keep_free: int = asked["keep_free"]
        path = f"/proc/{session}/fd/{asked['descriptor']}"
        try:
            # The session's terminal must not become ours.
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            self._file = os.open(path, flags)
        except OSError:
            pass  # another mount namespace, a strict kernel: nothing is told

    def tell(
        self, children: int, copied: int | None, new: int | None, free: int | None
    ) -> None:
        """Write a text, if there is a new one and room for it."""
        if self._file < 0:
            return
        text = self._words(
            children=children,
            copied_bytes=copied,
            new_bytes=new,
            free=free,
            keep_free=self._keep_free,
        )
        if text is None or text == self._last:
            return
        self._last = text
        try:
            os.write(self._file, text.encode())
        except OSError:
            pass  # nobody reads, or not now: the next one says more

    def close(self) -> None:
        """Write no more; doing it twice does no harm."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
