"""What a child did with the memory it inherited, as results keep it."""

from __future__ import annotations

from dataclasses import dataclass

_SAID = {
    "uffd": "userfaultfd",
    "witness": "exclusive pages + witness",
    "exclusive": "exclusive pages",
    "pfn": "page frames",
    "smaps": "smaps",
    "psutil": "psutil",
}

# An arena or two of the allocator come and go.
_GONE_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """The memory of one child, in bytes; `None` is not known.

    Pages of private anonymous memory and written pages of private file mappings. It
    counts from the moment just before the child's code began.
    """

    mechanism: str
    """What measured it: uffd, witness, exclusive, pfn, smaps or psutil."""
    exact: bool
    """Whether `copied_bytes` is exact; else it is a bound or an estimate."""
    inherited_bytes: int | None = None
    """Present at the fork."""
    written_bytes: int | None = None
    """Inherited and written by the child in any reading; only uffd knows it."""
    copied_bytes: int | None = None
    """Inherited pages of which it got a copy of its own, in any reading (the peak)."""
    end_copied_bytes: int | None = None
    """The same at the last reading."""
    new_bytes: int | None = None
    """Private memory that was not inherited, at the last reading."""
    gone_bytes: int | None = None
    """Inherited, and not mapped any more at the last reading."""
    baseline_bytes: int | None = None
    """What a control child copied that ran an empty statement in the same way."""
    baseline_new_bytes: int | None = None
    """The new memory of that child."""
    baseline_unique_bytes: int | None = None
    """What that child held alone (USS); where no page can be seen."""
    baseline_age_seconds: float | None = None
    """How long before this run the control child was measured."""
    transport_copied_bytes: int | None = None
    """Inherited pages copied after the last reading, to pickle and send results."""
    unmeasured_bytes: int | None = None
    """Inherited pages that could not be watched."""
    unique_bytes: int | None = None
    """What it held alone, new memory included (USS); where that was asked for."""
    resident_bytes: int | None = None
    """What it mapped, shared or not (RSS); where that was asked for."""
    witness_seconds: float | None = None
    """How long before the child was met its witness was forked."""
    unread_seconds: float | None = None
    """How long it lived after the last reading, if none came when its code ended."""

    @property
    def notable(self) -> bool:
        """Whether it copied and allocated at least twice what an idle child does."""
        if self.copied_bytes is None or self.new_bytes is None:
            held, idle = self.unique_bytes, self.baseline_unique_bytes or 0
            return held is not None and held >= 2 * idle
        idle = (self.baseline_bytes or 0) + (self.baseline_new_bytes or 0)
        return self.copied_bytes + self.new_bytes >= 2 * idle

    @property
    def gave_up(self) -> bool:
        """Whether so much of the inherited memory is gone that it tells something."""
        least = max(_GONE_BYTES, (self.copied_bytes or 0) / 10)
        return self.gone_bytes is not None and self.gone_bytes >= least

    @property
    def copied_fraction(self) -> float | None:
        """The part of the inherited memory that was copied, 1.0 being all."""
        if self.copied_bytes is None or not self.inherited_bytes:
            return None
        return self.copied_bytes / self.inherited_bytes

    @property
    def bound(self) -> str:
        """What the mechanism makes of `copied_bytes`: "", "at most" or "about"."""
        if self.mechanism == "smaps":
            return "about"
        return "" if self.exact else "at most"

    @property
    def how(self) -> str:
        """How it was measured, and what that means: `exact (userfaultfd)`."""
        said = _SAID.get(self.mechanism, self.mechanism)
        if self.mechanism == "psutil":
            return "only unique memory is known (psutil)"
        if self.mechanism == "smaps":
            return "estimate (smaps)"
        if self.exact:
            return f"exact ({said})"
        if self.mechanism == "uffd":
            return f"written pages are exact ({said})"
        return f"at most ({said}: includes pages this process wrote meanwhile)"
