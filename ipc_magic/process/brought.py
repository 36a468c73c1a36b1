"""Asked-for names on their way into the parent, and what each of them cost.

A child asks before it sends what is large: the parent makes room for it first. The
answer names the asker, since a fork of the child may ask and die.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipc_magic.process import buffers_in, parcel
from ipc_magic.process.bring import ANSWER, GO, KEPT, RESEND

Room = Callable[[int], "str | None"]
"""Says why so many bytes are not to be had; `None` if they are."""


def anything(_size: int) -> str | None:
    """Have room for anything."""
    return None


@dataclass(kw_only=True)
class Brought:
    """What came back from one child, with its costs."""

    prove: parcel.Proof
    """Loads foreign results in a process of its own."""
    room: Room = anything
    values: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Pickled bytes of each name."""
    buffer_sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each name that came beside the pickles."""
    dump_seconds: float = 0.0
    transport_seconds: float = 0.0
    load_seconds: float = 0.0
    arrival: buffers_in.Arrival | None = None
    """What is on its way."""

    def announce(self, message: Mapping[str, Any], pipe: int) -> bytes:
        """Take a "names" message; return the answer to the child.

        What does not come in the message itself is to be read from `pipe` then.
        """
        self.arrival = None  # whoever was sending before has died over it
        if message["blob"] is not None:
            return self._load(message, message["blob"], ())
        lengths = [(sum(message["sizes"].values()), True)]
        for buffers in message["buffers"].values():
            lengths += [(int(length), bool(readonly)) for length, readonly in buffers]
        refusal = self.room(buffers_in.announced_bytes(lengths))
        if refusal is None:
            buffers_in.discard(pipe)
            try:
                self.arrival = buffers_in.Arrival(message, lengths)
            except MemoryError:
                refusal = "there is no memory for it"
            else:
                return _answer(message, GO)
        return self._refuse(message, refusal)

    def read(self, pipe: int) -> bytes | None:
        """Read what has come of the arrival; return the answer when all of it has."""
        arrival = self.arrival
        if arrival is None:
            return None
        if not arrival.read(pipe):
            self.lose()
            return None
        if not arrival.complete:
            return None
        self.arrival = None
        stream, *buffers = arrival.pieces
        return self._load(arrival.message, stream, buffers)

    def fail(self, failures: Mapping[str, str]) -> None:
        """Take a "failed" message: nothing is on its way any more."""
        self.arrival = None
        self.failures.update(failures)

    def lose(self) -> None:
        """Note that what is on its way will not come."""
        if self.arrival is not None:
            for name in self.arrival.message["sizes"]:
                self.failures[name] = "the process that sent it ended meanwhile"
            self.arrival = None

    def _load(
        self,
        message: Mapping[str, Any],
        stream: bytes | bytearray,
        buffers: Sequence[bytes | bytearray],
    ) -> bytes:
        arrived = time.monotonic()
        names = list(message["sizes"])
        self.dump_seconds += message["time"] - message["begin"]
        self.transport_seconds += arrived - message["time"]
        try:
            values = parcel.unpack(
                parcel.Parcel(stream, len(names), buffers), self.prove
            )
        except Exception as error:  # noqa: BLE001 - loading runs the person's code
            return self._refuse(message, f"loading it failed: {parcel.text_of(error)}")
        self.load_seconds += time.monotonic() - arrived
        self.values.update(zip(names, values, strict=True))
        self.sizes.update(message["sizes"])
        for name, parts in message["buffers"].items():
            self.buffer_sizes[name] = sum(length for length, _readonly in parts)
        return _answer(message, KEPT)

    def _refuse(self, message: Mapping[str, Any], reason: str) -> bytes:
        """Ask for the names one by one, or note why the last ones do not come."""
        names = list(message["sizes"])
        if len(names) > 1 and not message["last"]:
            return _answer(message, RESEND)
        for name in names:
            self.failures[name] = reason
        return _answer(message, KEPT)


def _answer(message: Mapping[str, Any], code: bytes) -> bytes:
    return ANSWER.pack(code, message["asker"])
