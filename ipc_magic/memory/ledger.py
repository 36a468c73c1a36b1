"""What happened to the inherited pages of a child, from one reading to the next."""

from __future__ import annotations

from ipc_magic.memory.pages import Pages


class Ledger:
    """Keeps the inherited pages of one child, and what each reading found of them.

    A page that was missing at a reading is gone for good: what lies there later came
    anew, and is no copy.
    """

    def __init__(self, inherited: Pages) -> None:
        self.inherited = inherited
        self.copied = Pages()
        """Inherited pages seen as the child's own at any reading."""
        self.end_copied = Pages()
        """The same at the last reading."""
        self.gone = Pages()
        """Inherited pages that the child has given up."""

    def note(self, *, held: Pages, own: Pages) -> None:
        """Take a reading: the inherited pages still there, and what it has alone."""
        if held.count < self.inherited.count:
            self.gone |= self.inherited - held
        self.end_copied = (own & self.inherited) - self.gone
        self.copied |= self.end_copied
