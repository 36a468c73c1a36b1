"""One child followed from its fork to the last reading of its memory."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from dataclasses import replace

from ipc_magic.memory import ladder
from ipc_magic.memory.figures import Figures
from ipc_magic.memory.handshake import BEGIN, DONE, SENT, Handshake
from ipc_magic.memory.maps import ENDED
from ipc_magic.memory.rungs.base import PageRung, Rung
from ipc_magic.memory.rungs.exclusive import Witness
from ipc_magic.memory.rungs.uffd import Plan
from ipc_magic.memory.smaps import resident_and_unique_bytes
from ipc_magic.memory.witness import WitnessProcess


class Track:
    """Measures one child: the child calls what ends in `_here`, the parent the rest."""

    def __init__(
        self,
        mechanism: str,
        handshake: Handshake,
        *,
        witness: WitnessProcess | None,
        parent_waits: bool,
        arrived: Callable[[], None] | None,
        sums: bool,
        close_here: Callable[[], None],
    ) -> None:
        self._arrived, self._sums = arrived, sums
        self._mechanism = mechanism
        self._close_here = close_here
        self._handshake = handshake
        self._witness = witness
        self._parent_waits = parent_waits
        self._pid = 0
        self._foreseen: Plan | None = None
        self._rung: Rung | None = None
        self._witness_seconds: float | None = None
        self.done = False
        """Whether the last reading was taken when the child's code had ended."""
        self.ended = False
        """Whether the child will ask no more."""
        self._held_at: float | None = None
        self._waited_seconds = 0.0
        self.begun = False
        """Whether the child was met: its code may run by now."""
        self.figures: Figures | None = None
        """As of the last reading; `None` before the first."""
        self.read_at: float | None = None
        """Monotonic clock at the last reading."""
        self.timeline: list[tuple[float, Figures]] = []
        """The readings, and how many seconds after the first each came."""
        self._begun_at = 0.0
        self.readings = 0
        """How many were taken since the child was met, of what its code did."""
        self.fault: str | None = None
        """Why a better mechanism, or the last reading, was not to be had."""

    def begin_here(self) -> None:
        """Be met, in the child; what it does from now on counts."""
        self._close_here()
        self._handshake.begin_here()

    def done_here(self) -> None:
        """Have the last reading taken, in the child, when its code has ended."""
        self._handshake.tell_here(DONE)

    def sent_here(self) -> None:
        """Have counted what sending the results has copied, in the child."""
        self._handshake.tell_here(SENT)

    def follow(self, pid: int) -> None:
        """Measure the process `pid`, in the parent after the fork."""
        self._pid = pid
        self._handshake.close_theirs()
        self._foreseen = ladder.foresee(self._mechanism, pid)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `answer` is to be called."""
        return self._handshake.fileno()

    def answer(self) -> bool:
        """Take a reading that the child asks for and let it go on; False at its end."""
        asked, descriptor = self._handshake.take()
        if not asked:
            self.read()  # it lives on if it has only closed its descriptors
            self.ended = True
            if self._arrived is not None:
                self._arrived()
            return False
        if asked == BEGIN and not self.begun:
            self._begin(descriptor)
            descriptor = -1
            self.begun = True
        elif asked == DONE:
            self.done = False  # it may ask again, if an os._exit has failed
            self.read()
            self._add_sums()
            self.done = True
            if self._arrived is not None:
                self._held_at = time.monotonic()
                self._arrived()
                return True
        elif asked == SENT:
            self._read_transport()
        if descriptor >= 0:
            os.close(descriptor)  # of who was met already: a copy of the child
        self._handshake.let_go()
        return True

    def let_go(self) -> None:
        """Let the child go on that waits for others."""
        if self._held_at is not None:
            self._waited_seconds, self._held_at = self.waited_seconds, None
            self._handshake.let_go()

    @property
    def held(self) -> bool:
        """Whether the child waits for others, its code being done."""
        return self._held_at is not None

    @property
    def waited_seconds(self) -> float:
        """How long the child has waited for others."""
        since = 0.0 if self._held_at is None else time.monotonic() - self._held_at
        return self._waited_seconds + since

    def serve(self) -> None:
        """Answer the child until it has ended, or has closed its end."""
        waiting = select.poll()
        waiting.register(self.fileno(), select.POLLIN)
        ended = -1
        try:
            # What the child has forked may hold the socket open for longer.
            ended = os.pidfd_open(self._pid)
            waiting.register(ended, select.POLLIN)
        except OSError:
            pass  # before Linux 5.3
        try:
            while any(fd == self.fileno() for fd, _ in waiting.poll()):
                if not self.answer():
                    break
        finally:
            if ended >= 0:
                os.close(ended)

    def _begin(self, descriptor: int) -> None:
        for mechanism in (self._mechanism, *ladder.below(self._mechanism)):
            try:
                rung = ladder.make(mechanism, self._pid, descriptor, self._foreseen)
            except OSError as error:
                self._note(error)
            else:
                try:
                    figures = rung.begin()
                except OSError as error:
                    rung.close()
                    self._note(error)
                else:
                    self._rung = rung
                    break
            descriptor = -1
        else:
            return  # it has ended
        if self._witness is not None and isinstance(rung, Witness):
            self._witness_seconds = time.monotonic() - self._witness.forked_at
        self.figures = self._complete(figures)
        self.read_at = self._begun_at = time.monotonic()

    def _note(self, error: OSError) -> None:
        ended = isinstance(error, ProcessLookupError)
        self.fault = self.fault or (ENDED if ended else error.strerror or str(error))

    def read(self) -> float:
        """Take a reading, unless the last one was taken.

        Returns the seconds of CPU time that it took, however long others ran meanwhile.
        """
        if self._rung is None or self.done:
            return 0.0
        begin, used = time.monotonic(), time.thread_time()
        try:
            self.figures = self._complete(self._rung.read())
        except OSError as error:  # mostly ESRCH: it has ended, or executes another file
            self._note(error)
        else:
            self.read_at = begin
            self.readings += 1
            self.timeline.append((begin - self._begun_at, self.figures))
        return time.thread_time() - used

    def _add_sums(self) -> None:
        if not self._sums or self.figures is None:
            return
        try:
            resident, unique = resident_and_unique_bytes(self._pid)
        except OSError:  # it may not be read, or has just been killed
            return
        self.figures = replace(
            self.figures, resident_bytes=resident, unique_bytes=unique
        )

    def _complete(self, figures: Figures) -> Figures:
        rung, exact = self._rung, figures.exact
        if figures.mechanism == "uffd":
            exact = self._parent_waits and not figures.unmeasured_bytes
        elif isinstance(rung, Witness):
            held = self._witness is not None and self._witness.alive
            exact = held and not rung.shares_with_its_own
        return replace(figures, exact=exact, witness_seconds=self._witness_seconds)

    def _read_transport(self) -> None:
        rung = self._rung
        if not isinstance(rung, PageRung) or self.figures is None:
            return
        before = rung.ledger.copied
        try:
            rung.read()
        except OSError as error:
            self._note(error)
            return
        copied = (rung.ledger.copied - before).size
        self.figures = replace(self.figures, transport_copied_bytes=copied)

    def close(self) -> None:
        """Let go of all that is held; doing it twice does no harm."""
        self._handshake.close_theirs()
        self._handshake.close()
        if self._rung is not None:
            self._rung.close()

    def __enter__(self) -> Track:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
