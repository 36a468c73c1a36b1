"""What other tools find in the same objects, and how long they take."""

from __future__ import annotations

import importlib
import importlib.util
import io
import pickle
import pickletools
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from ipc_magic.pickling import breakdown, offenders, picklers
from tests.bench.pickling_parts import object_of_many_nodes

LARGE_ROUNDS, SMALL_ROUNDS = 1, 3
Ask = Callable[[Any], str]


class Raises:
    """Fails when it is pickled."""

    def __reduce__(self) -> Any:
        raise ValueError("not me")


BLOCKED: dict[str, Callable[[], Any]] = {
    "lambda": lambda: lambda: 0,
    "lock": threading.Lock,
    "generator": lambda: (each for each in ()),
    "thread": lambda: threading.Thread(target=print),
    "failing __reduce__": Raises,
}


def objects() -> dict[str, Any]:
    """Return what the tools are asked about, by name."""
    import numpy

    array = numpy.arange(125_000.0)
    return {
        **{
            f"{name}, twice": {"h": make(), "other": (1, [make()])}
            for name, make in BLOCKED.items()
        },
        "an array of 1 MB, twice": {"first": array, "again": array},
        "1.2 million nodes": object_of_many_nodes(),
    }


def what_blocks() -> dict[str, Ask]:
    """Return the tools that look for what cannot be pickled."""
    tools: dict[str, Ask] = {"%pickle_cost: offenders": _offenders}
    if importlib.util.find_spec("dill"):
        detect = importlib.import_module("dill.detect")
        tools["dill.detect.baditems"] = lambda obj: f"{len(detect.baditems(obj))} items"
        tools["dill.detect.badobjects"] = lambda obj: (
            f"{len(detect.badobjects(obj, depth=1))} attributes"
        )
    if importlib.util.find_spec("ray"):
        inspect = importlib.import_module("ray.util").inspect_serializability
        tools["ray inspect_serializability"] = lambda obj: (
            ", ".join(map(_path, inspect(obj, name="obj")[1])) or "nothing"
        )
    return tools


def _path(failure: Any) -> str:
    # Its releases name it differently.
    return " -> ".join(map(str, getattr(failure, "path", None) or [failure.name]))


def _offenders(obj: Any) -> str:
    found = offenders.find(obj, "obj", picklers.pickling()).offenders
    return ", ".join(each.path for each in found) or "nothing"


def how_large() -> dict[str, Ask]:
    """Return the tools that say how large an object is, and where."""
    tools: dict[str, Ask] = {
        "pickle.dumps": lambda obj: f"{len(pickle.dumps(obj)):,} B pickled",
        "%pickle_cost: parts and types": _parts,
        "pickletools.genops": lambda obj: (
            f"{sum(1 for _ in pickletools.genops(pickle.dumps(obj))):,} opcodes"
        ),
    }
    for module, name in (("objsize", "get_deep_size"), ("pympler.asizeof", "asizeof")):
        if importlib.util.find_spec(module.split(".", maxsplit=1)[0]):
            ask = getattr(importlib.import_module(module), name)
            tools[f"{module}.{name}"] = lambda obj, ask=ask: (  # type: ignore[misc]
                f"{ask(obj):,} B in memory"
            )
    return tools


def _parts(obj: Any) -> str:
    found = breakdown.breakdown(obj, "obj", picklers.pickling())
    path = next((each.path for each in found.parts if each.row == "part"), "itself")
    return f"{found.total_bytes:,} B; {path}, {found.types[0].type} weigh most"


def main() -> None:
    """Print a row for each tool and object."""
    for name in ("dill", "ray", "objsize", "pympler"):
        if importlib.util.find_spec(name) is None:
            print(f"  {name} is not installed")
    blocks, large = what_blocks(), how_large()
    for name, obj in objects().items():
        print(f"  {name}")
        many = "million" in name
        rounds = LARGE_ROUNDS if many else SMALL_ROUNDS
        # The others pickle every object they come to by itself.
        tools = {**blocks, **large}
        if many:
            tools = {"%pickle_cost: offenders": _offenders, **large}
        for tool, ask in tools.items():
            seconds, answer = _fastest(ask, obj, rounds)
            print(f"    {tool:<32}{seconds * 1e3:>10.2f} ms  {answer:.80}")


def _fastest(ask: Ask, obj: Any, rounds: int) -> tuple[float, str]:
    times, answer = [], ""
    for _ in range(rounds):
        begin = time.perf_counter()
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                answer = ask(obj)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        times.append(time.perf_counter() - begin)
    return min(times), answer


if __name__ == "__main__":
    main()
