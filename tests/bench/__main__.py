"""`python -m tests.bench [NAME ...]`: list the benchmarks, or run some."""

from __future__ import annotations

import argparse
import importlib

NAMES = (
    "start",
    "session",
    "output",
    "endurance",
    "memory",
    "offenders",
    "cow_watch",
    "pickle_cost",
    "pickling_parts",
    "round_trips",
    "results",
    "observing",
    "tools",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {NAMES}, or all")
    chosen = parser.parse_args().names
    modules = {name: importlib.import_module(f"tests.bench.{name}") for name in NAMES}
    if not chosen:
        for name, module in modules.items():
            print(f"{name:<10} {(module.__doc__ or '').splitlines()[0]}")
        return
    for name in NAMES if chosen == ["all"] else chosen:
        if name not in modules:
            parser.error(f"no benchmark {name!r}; there are {', '.join(NAMES)}, all")
        print(f"== {name}: {(modules[name].__doc__ or '').splitlines()[0]}")
        modules[name].main()


if __name__ == "__main__":
    main()
