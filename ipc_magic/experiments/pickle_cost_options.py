"""What `%pickle_cost` is asked to measure, checked."""

from __future__ import annotations

import importlib.util
import pickle
from dataclasses import dataclass

from ipc_magic.errors import IpcMagicError, OptionError
from ipc_magic.pickling import breakdown, picklers, round_trip

TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure and how; see `ipc_magic.options` for what each means.

    Raises `OptionError` for what there is not, and `IpcMagicError` for a pickler that
    is not installed.
    """

    via: tuple[str, ...] = ("pipe",)
    pickler: str = "pickle"
    protocol: int | None = None
    all_protocols: bool = False
    depth: int = breakdown.DEPTH
    width: int = breakdown.WIDTH
    repeats: int | None = None
    compare: bool = False
    force: bool = False
    timeout: float = TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        asked = round_trip.NAMES if "all" in self.via else self.via
        for name in asked:
            if name not in round_trip.NAMES:
                known = ", ".join(round_trip.NAMES)
                raise OptionError(f"via is {known} or all, not {name!r:.40}")
        object.__setattr__(self, "via", tuple(dict.fromkeys(asked)))
        if self.pickler not in picklers.NAMES:
            known = ", ".join(picklers.NAMES)
            raise OptionError(f"pickler is {known}, not {self.pickler!r:.40}")
        # Not imported here: dill changes the interpreter that imports it.
        if importlib.util.find_spec(self.pickler) is None:
            raise IpcMagicError(
                f"{self.pickler} is not installed: pip install {self.pickler}"
            )
        highest = pickle.HIGHEST_PROTOCOL
        if self.protocol is not None and not 0 <= self.protocol <= highest:
            raise OptionError(f"protocol is 0 to {highest}, not {self.protocol}")
