"""The program of the observer (see launch.py): imports nothing of the package first.

It is run without site-packages; the session's first message says where modules are.
"""

from __future__ import annotations

import importlib
import json
import os
import sys


def main() -> None:
    """Become nobody's child, learn where modules are, and serve."""
    if os.fork():
        os._exit(0)
    os.setsid()
    control = int(sys.argv[1])
    first = json.loads(_line(control))
    sys.path[:0] = first["paths"]
    importlib.import_module(first["serving"]).serve(control, first["session"])


def _line(control: int) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        more = os.read(control, 1)  # what follows is not ours to take
        if not more:
            os._exit(0)
        data += more
    return data


if __name__ == "__main__":
    main()
