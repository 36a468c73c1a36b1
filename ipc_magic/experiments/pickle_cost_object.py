"""What is measured of one object, stage by stage, in forks of the session."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import types
from collections.abc import Callable, Mapping
from typing import Any

from ipc_magic.errors import IpcMagicError
from ipc_magic.experiments.pickle_cost_carried import Carried
from ipc_magic.experiments.pickle_cost_options import Options
from ipc_magic.experiments.pickle_cost_stages import KEEP_FREE_BYTES, Known, Stage
from ipc_magic.pickling import (
    alternatives,
    breakdown,
    captured,
    cost,
    deep_size,
    describe,
    offenders,
    picklers,
    round_trip,
)
from ipc_magic.pickling.failures import CannotRun, Failed
from ipc_magic.pickling.picklers import Pickling
from ipc_magic.pickling.timing import clock
from ipc_magic.process import guards

BUDGET_SECONDS = 2.0
"""About so long a large object may take; what is left out then is named."""
# A round trip, and the parts, are worth to wait for all the same. How long beyond it.
TRIP_WORTH, PARTS_WORTH, SEARCH_WORTH = 3.0, 3.0, 0.3
# Shares of it.
COST_SECONDS = 0.3
TRIPS_SECONDS, LEAST_TRIP_SECONDS = 0.3, 0.2
LEAST_DEEP_SIZE_SECONDS = 0.2
# How many times as long as the first dump these take: of a pickler in C, of one in
# Python, which does all as slowly, and of buffers, which have no objects inside.
PARTS_PER_DUMP, SEARCH_PER_DUMP, PER_DUMP_IN_PYTHON, PER_DUMP_OF_BUFFERS = 5, 6, 2, 1.5
_CODE = (type, types.FunctionType, types.MethodType)


@functools.cache
def prepare() -> None:
    """Do once, before all forks, what each would do again: imports and probes."""
    for name in ("numpy", "objsize"):
        importlib.import_module(name)
    # With it come numpy's own late imports, and what is known of the interpreter.
    breakdown.breakdown([0], "it", Pickling(name="pickle", protocol=4))


class Plan:
    """The stages for one object. They run in forks; here they only hold it."""

    def __init__(self, obj: object, expression: str, options: Options) -> None:
        self._obj = obj
        self._expression = expression
        self._options = options
        self._deadline = clock() + BUDGET_SECONDS

    def stages(self) -> list[Stage]:
        """Return the stages in the order in which they are run.

        Counting comes first, as its dump shows what copy-on-write costs; then what
        is likely to end well, and what is worth most; last what is only done if time
        is left.
        """
        options = self._options
        steps: list[tuple[str, str, Callable[[Known], Any]]] = [
            ("what", "looking at it", self._what),
            ("count", "dumping it", self._count),
            ("deep", "measuring its size in memory", self._deep),
            ("room", "looking for free memory", self._room),
        ]
        if issubclass(type(self._obj), _CODE):
            steps.append(("code", "looking at what it holds", self._code))
        steps.append(("blocked", "looking for what blocks it", self._blocked))
        steps.append(("cost", "loading it", self._cost))
        for name in options.via:
            steps.append((f"trip {name}", f"sending it by {name}", self._trip(name)))
        steps.append(("parts", "looking for its parts", self._parts))
        if options.all_protocols:
            steps.append(("protocols", "trying all protocols", self._protocols))
        if options.compare:
            steps.append(("compare", "sending it in other ways", self._compare))
        if options.pickler == "pickle":
            steps.append(("cloudpickle", "trying cloudpickle", self._cloudpickle))
        steps.append(("spawn", "looking for what only lives here", self._spawn))
        # In these, loads are limited one by one, in processes of their own.
        loading = {"cost", "protocols", "compare"}
        return [
            Stage(
                name=name,
                doing=doing,
                run=run,
                limit_seconds=options.timeout
                * (3 if name in loading or name.startswith("trip ") else 1),
            )
            for name, doing, run in steps
        ]

    def _pickling(self) -> Pickling:
        return picklers.pickling(self._options.pickler, self._options.protocol)

    def _seconds_of_look(self, counted: Mapping[str, Any], per_dump: float) -> float:
        """Return about how long a look at all the objects takes."""
        share = (counted["buffer_bytes"] or 0) / max(1, counted["pickled_bytes"])
        if not self._pickling().in_c:
            per_dump = PER_DUMP_IN_PYTHON
        times = per_dump * (1 - share) + PER_DUMP_OF_BUFFERS * share
        return float(counted["first_dump_seconds"] * times)

    def _what(self, _known: Known) -> Mapping[str, Any]:
        pickling = self._pickling()
        return {
            "type": describe.describe(self._obj),
            "protocol": pickling.protocol,
            "usual_protocol": picklers.usual_protocol(pickling.name),
        }

    def _count(self, _known: Known) -> Any:
        try:
            return cost.count(self._obj, self._pickling())
        except Failed as error:
            return {"error": str(error)}

    def _deep(self, _known: Known) -> Any:
        if self._options.force:
            return deep_size.measure(self._obj)
        half = (self._deadline - clock()) / 2
        budget = round(max(LEAST_DEEP_SIZE_SECONDS, half), 1)
        return deep_size.measure(self._obj, budget_seconds=budget)

    def _takes_too_long(self, seconds: float, *, worth: float) -> Any:
        """Return why something is left out that takes so long, `None` if it is not.

        What is `worth` so many seconds is done even when no time is left for it.
        """
        asked = self._options.force or self._options.repeats is not None
        if asked or seconds <= max(worth, self._deadline - clock()):
            return None
        return {"error": f"about {seconds:.1f} s more; --force takes the time"}

    def _room(self, known: Known) -> Any:
        """Say what loading needs: two pickles, and all of the object once more."""
        size = known.get("count", {}).get("pickled_bytes")
        if size is None:
            return None
        deep = known.get("deep", {}).get("deep_size_bytes")
        needed = 2 * size + max(size, 2 * size if deep is None else deep)
        free = guards.available_bytes() - KEEP_FREE_BYTES
        # What is small fits wherever this process does.
        fits = self._options.force or needed <= max(free, KEEP_FREE_BYTES // 64)
        return {"fits": fits, "needed_bytes": needed, "free_bytes": max(0, free)}

    def _code(self, _known: Known) -> Any:
        return captured.measure(self._obj)

    def _blocked(self, known: Known) -> Any:
        if "error" not in known.get("count", {}):
            return None
        return offenders.find(self._obj, self._expression, self._pickling())

    def _spawn(self, known: Known) -> Any:
        """Find what only a spawned child cannot load, if nothing blocks the dump."""
        counted = known.get("count", {})
        if "pickled_bytes" not in counted:
            return None
        takes = self._seconds_of_look(counted, SEARCH_PER_DUMP)
        left_out = self._takes_too_long(takes, worth=SEARCH_WORTH)
        if left_out is not None:
            return left_out
        found = offenders.find(self._obj, self._expression, self._pickling())
        return {"warnings": [dataclasses.asdict(each) for each in found.warnings]}

    def _cost(self, known: Known) -> Any:
        if not _goes_on(known):
            return None
        try:
            return cost.measure(
                self._obj,
                self._pickling(),
                counted=cost.Count(**known["count"]),
                budget_seconds=COST_SECONDS,
                repeats=self._options.repeats,
                time_limit_seconds=self._options.timeout,
            )
        except Failed as error:  # one that can be dumped once
            return {"error": str(error)}

    def _trip(self, name: str) -> Callable[[Known], Any]:
        def run(known: Known) -> Any:
            if not _loads(known):
                return None
            if self._options.via == ("pipe",):  # else it was asked for
                measured = known["cost"]
                took = min(measured["dump_seconds"]) + min(measured["load_seconds"])
                left_out = self._takes_too_long(took, worth=TRIP_WORTH)
                if left_out is not None:
                    return left_out
            share = TRIPS_SECONDS / len(self._options.via)
            try:
                return round_trip.round_trip(
                    name,
                    self._sent(name),
                    budget_seconds=max(LEAST_TRIP_SECONDS, share),
                    repeats=self._options.repeats,
                    time_limit_seconds=self._options.timeout,
                )
            except (CannotRun, Failed) as error:
                return {"error": str(error)}

        return run

    def _sent(self, name: str) -> object:
        """Return what to send so that the pickler chosen makes the bytes."""
        own = "cloudpickle" if name in ("loky", "joblib") else "pickle"
        if self._options.pickler in ("pickle", own):
            return self._obj
        pickling = self._pickling()
        return Carried(self._obj, pickling.name, pickling.dumps)

    def _parts(self, known: Known) -> Any:
        if not _goes_on(known):
            return None
        takes = self._seconds_of_look(known["count"], PARTS_PER_DUMP)
        left_out = self._takes_too_long(takes, worth=PARTS_WORTH)
        if left_out is not None:
            return left_out
        return breakdown.breakdown(
            self._obj,
            self._expression,
            self._pickling(),
            depth=self._options.depth,
            width=self._options.width,
        )

    def _protocols(self, known: Known) -> Any:
        if not _goes_on(known):
            return None
        measured = cost.measure(
            self._obj,
            self._pickling(),
            counted=cost.Count(**known["count"]),
            budget_seconds=0.0,
            repeats=1,
            load=_loads(known),
            all_protocols=True,
            time_limit_seconds=self._options.timeout,
        )
        return {"protocols": [vars(each) for each in measured.protocols]}

    def _compare(self, known: Known) -> Any:
        if not _loads(known):
            return None
        try:
            return alternatives.compare(
                self._obj,
                deep_size_bytes=known.get("deep", {}).get("deep_size_bytes"),
                time_limit_seconds=self._options.timeout,
            )
        except IpcMagicError as error:
            return {"error": str(error)}

    def _cloudpickle(self, known: Known) -> Any:
        if "error" not in known.get("count", {}):
            return None
        try:
            pickling = picklers.pickling("cloudpickle")
        except IpcMagicError:
            return None
        found = offenders.find(self._obj, self._expression, pickling)
        return {"offenders": len(found.offenders)}


def _goes_on(known: Known) -> bool:
    """Return whether it can be dumped, and has room."""
    counted = known.get("count", {})
    return "pickled_bytes" in counted and bool(known.get("room", {}).get("fits"))


def _loads(known: Known) -> bool:
    """Return whether it has been dumped and loaded well."""
    measured = known.get("cost", {})
    return "pickled_bytes" in measured and measured["load_error"] is None
