"""The children of one burst of forks, measured by one mechanism."""

from __future__ import annotations

from collections.abc import Callable

from ipc_magic.memory import ladder
from ipc_magic.memory.forks import ParentOnly
from ipc_magic.memory.handshake import Handshake
from ipc_magic.memory.track import Track
from ipc_magic.memory.witness import NoRoom, WitnessProcess


class Tracker:
    """Measures the children of one burst of forks, all by one mechanism.

    `mechanism` names one, else the best that works here is taken. `parent_waits` says
    that this process only waits while they live. Where the children are to end
    `together`, each waits, when its code is done, for the others. `sums` adds RSS and
    USS to the last reading. `hold` is given each descriptor that no child must keep,
    and `release` closes it; without them, a child closes these when it begins. Raises
    `OptionError` for a mechanism that does not work here, OSError where none could be
    tried.
    """

    def __init__(
        self,
        mechanism: str | None = None,
        *,
        parent_waits: bool = False,
        keep_free_bytes: int = 0,
        together: bool = False,
        sums: bool = False,
        hold: Callable[[int], int] | None = None,
        release: Callable[[int], object] | None = None,
    ) -> None:
        self.mechanism = ladder.choose(mechanism)
        self._together, self._sums = together, sums
        self._tracks: list[Track] = []
        self.no_witness: str | None = None
        """Why there is no witness though the mechanism asks for one."""
        self._parent_waits = parent_waits
        self._keep_free_bytes = keep_free_bytes
        self._parent_only = ParentOnly()
        self._hold = hold or self._parent_only.hold
        self._release = release or self._parent_only.release
        self._witness: WitnessProcess | None = None

    def before_forks(self) -> None:
        """Fork the witness where one is needed: at the last moment, just before."""
        if self.mechanism != "witness":
            return
        try:
            self._witness = WitnessProcess(
                keep_free_bytes=self._keep_free_bytes, hold=self._hold
            )
        except (NoRoom, OSError) as error:
            self.no_witness = str(error)
            self.mechanism = "exclusive"

    def track(self) -> Track:
        """Return what measures one child that is about to be forked."""
        handshake = Handshake(
            ladder.creator_for(self.mechanism), hold=self._hold, release=self._release
        )
        track = Track(
            self.mechanism,
            handshake,
            witness=self._witness,
            parent_waits=self._parent_waits,
            arrived=self._arrived if self._together else None,
            sums=self._sums,
            close_here=self._parent_only.close_here,
        )
        self._tracks.append(track)
        return track

    def _arrived(self) -> None:
        """Let all go when the code of all has ended, or they have."""
        if all(track.done or track.ended for track in self._tracks):
            for track in self._tracks:
                track.let_go()

    def close(self) -> None:
        """End the witness; the children must have ended."""
        if self._witness is not None:
            self._witness.close(self._release)

    def __enter__(self) -> Tracker:
        self.before_forks()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
