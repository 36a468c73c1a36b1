"""What a forked child cannot use as its parent did, and what can be done about it."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ipc_magic.errors import CannotStart
from ipc_magic.process import cuda, libraries


@dataclass(frozen=True, kw_only=True)
class Hazard:
    """One thing to know of a run: a code, a sentence, and its figures."""

    code: str
    message: str
    figures: Mapping[str, int] = field(default_factory=dict)


def _threadpoolctl() -> Any:
    """Return the module threadpoolctl; its import leaves the environment alone."""
    name = "KMP_DUPLICATE_LIB_OK"
    before = os.environ.get(name)
    import threadpoolctl

    if before is None:
        os.environ.pop(name, None)
    return threadpoolctl


@functools.lru_cache(maxsize=1)
def _openmp_after(_loads: int) -> bool:
    threadpool_info = _threadpoolctl().threadpool_info
    return any(pool["user_api"] == "openmp" for pool in threadpool_info())


def openmp_loaded() -> bool:
    """Return whether an OpenMP library is in this process; cheap when asked again."""
    try:
        return _openmp_after(libraries.loads())
    except AttributeError:  # a C library without dl_iterate_phdr
        return "torch" in sys.modules


def limit_compute_threads(number: int) -> None:
    """Have OpenMP and torch compute with `number` threads in this (child) process.

    The threads of their pools did not survive the fork; with one thread they ask
    for none. Measured with libgomp and torch: without this they hang.
    """
    _threadpoolctl().threadpool_limits(limits=number, user_api="openmp")
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(number)


def refuse_cuda() -> None:
    """Raise `CannotStart` when a CUDA context is open, which no fork survives."""
    torch_cuda = getattr(sys.modules.get("torch"), "cuda", None)
    by_torch = torch_cuda is not None and torch_cuda.is_initialized()
    if by_torch or cuda.context_is_open():
        how = "torch has opened CUDA" if by_torch else "CUDA is open"
        raise CannotStart(
            f"not started: {how} in this session, and CUDA cannot be used in a forked "
            "child; restart the session and run this first"
        )


def compute_hazards(threads: int | None) -> list[Hazard]:
    """Return what is known to hang in a child although the parent could do it."""
    found = []
    if openmp_loaded() and threads is not None:
        number = "one thread" if threads == 1 else f"{threads} threads"
        found.append(
            Hazard(
                code="openmp",
                message="OpenMP was loaded before the fork: the child computes with "
                f"{number} (--threads)",
                figures={"threads": threads},
            )
        )
    if "polars" in sys.modules:
        found.append(
            Hazard(
                code="polars",
                message="polars was loaded before the fork: its threads do not exist "
                "in the child, where its queries may hang; import it in the cell",
            )
        )
    return found


def lost_executors(names: Mapping[str, Any]) -> list[Hazard]:
    """Return the thread pools among the variables: in a child they have no threads."""
    module = sys.modules.get("concurrent.futures.thread")
    if module is None:
        return []
    return [
        Hazard(
            code="executor",
            message=f"`{name}` is a ThreadPoolExecutor made before the fork: it has no "
            "threads in the child; make it in the cell",
        )
        for name, value in names.items()
        if issubclass(type(value), module.ThreadPoolExecutor) and value._threads
    ]


def importing(modules: Iterable[str]) -> list[Hazard]:
    """Return a hazard for each module another thread was importing at the fork."""
    return [
        Hazard(
            code="import",
            message=f"another thread was importing {name} at the fork: importing it in "
            "the child hangs",
        )
        for name in modules
    ]


def shared_files(names: Iterable[str]) -> list[Hazard]:
    """Return a hazard for each file that is open for writing in both processes."""
    return [
        Hazard(
            code="file",
            message=f"`{name}` is open for writing: the child writes to the same place "
            "in the same file",
        )
        for name in names
    ]


def generators(names: Mapping[str, Any]) -> dict[str, Any]:
    """Return numpy's generators among the variables."""
    module = sys.modules.get("numpy.random")
    if module is None:
        return {}
    return {n: v for n, v in names.items() if issubclass(type(v), module.Generator)}


def random_state(generators: Mapping[str, Any]) -> str | None:
    """Return a fingerprint of the numpy generators a child inherited, or `None`.

    Equal before and after the cell: no numbers were drawn from them.
    """
    module = sys.modules.get("numpy.random")
    if module is None:
        return None
    digest = hashlib.blake2b(digest_size=8)
    digest.update(pickle.dumps(module.get_state(legacy=False)))
    for name, value in generators.items():
        digest.update(name.encode() + pickle.dumps(value.bit_generator.state))
    return digest.hexdigest()


def random_stream(generators: Mapping[str, Any]) -> str:
    """Return a fingerprint of the sequences that numpy's generators draw from.

    Equal in two children that drew: the same numbers, though one may have drawn more
    of them. A child that has seeded its generators draws from a sequence of its own.
    """
    module = sys.modules["numpy.random"]
    states = {"": module.get_state(legacy=False)}
    for name, value in generators.items():
        states[name] = value.bit_generator.state
    digest = hashlib.blake2b(digest_size=8)
    for name, state in states.items():
        inner = state["state"]
        # PCG64's increment, the key of MT19937 and Philox; SFC64 has none of these.
        sequence = next((inner[key] for key in ("inc", "key") if key in inner), inner)
        text = getattr(sequence, "tobytes", lambda s=sequence: repr(s).encode())()
        digest.update(f"{name}=".encode() + text)
    return digest.hexdigest()
