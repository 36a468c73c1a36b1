"""%cow_watch at work: 2 GB and 8 children, gunicorn, a DataLoader, CPython's tests."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
CHILDREN = 8
BYTES = 2_000_000_000
# A float in a list takes 8 bytes of the list and 32 of its own (24 used): a child
# that reads it copies these.
FLOATS, COPIED_BYTES = BYTES // 40, BYTES // 40 * 32
MARGIN_BYTES = 2 << 30
MOST_SECONDS = 240

IN_A_SHELL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
config = Config()
config.HistoryManager.enabled = False
config.InteractiveShell.colors = "nocolor"
shell = InteractiveShell.instance(config=config)
shell.run_line_magic("load_ext", "ipc_magic")
for cell in sys.stdin.read().split("# next cell\\n"):
    print("In : " + cell.rstrip().replace("\\n", "\\n ...: "), flush=True)
    if not shell.run_cell(cell).success:
        sys.exit(1)
    print(flush=True)
"""


def cells(*sources: str, timeout: float = 600) -> str:
    """Run cells in a fresh shell, and print what they show."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_SHELL],
        input="# next cell\n".join(f"{source}\n" for source in sources),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    print(done.stdout)
    return done.stdout


def two_gigabytes() -> None:
    """One list and one array of 2 GB, each read by 8 children at once."""
    needed = BYTES + CHILDREN * COPIED_BYTES + MARGIN_BYTES
    free = psutil.virtual_memory().available
    print(f"  {free / 2**30:.1f} GiB free, {needed / 2**30:.1f} needed")
    if free < needed:
        print("  not run: too little memory is free")
        return
    begin = time.monotonic()
    for make, read in (
        (f"data = [float(i) for i in range({FLOATS})]", "for number in data: pass"),
        (
            f"import numpy\ndata = numpy.arange({BYTES // 8}, dtype=float)",
            "data.sum()",
        ),
    ):
        cells(make, f"%cow_watch --no-live -n {CHILDREN} {read}")
    seconds = time.monotonic() - begin
    print(f"  {seconds:.0f} s in all, goal <= {MOST_SECONDS}")


APPLICATION = """
words = [str(i).zfill(64) for i in range(500_000)]

def app(environ, start_response):
    found = sum("7" in word for word in words)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{found}\\n".encode()]
"""


def gunicorn() -> None:
    """Look at a real `gunicorn --preload` before and after its workers answered."""
    if importlib.util.find_spec("gunicorn") is None:
        print("  gunicorn is not installed")
        return
    from urllib.request import urlopen

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tempfile.mkdtemp(prefix="gunicorn-")
    Path(home, "application.py").write_text(APPLICATION)
    command = ["-m", "gunicorn", "--preload", "-w", "4", "-b", f"127.0.0.1:{port}"]
    master = subprocess.Popen(
        [sys.executable, *command, "application:app"], cwd=home, stderr=subprocess.PIPE
    )
    try:
        _until(lambda: len(psutil.Process(master.pid).children()) == 4)
        cells(f"%cow_watch --pid {master.pid}")
        for _ in range(64):
            with urlopen(f"http://127.0.0.1:{port}/") as answer:
                answer.read()
        cells(f"%cow_watch --pid {master.pid}")
    finally:
        master.terminate()
        master.communicate()
        shutil.rmtree(home)


def _until(there: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise TimeoutError("it did not start")
        time.sleep(0.05)


DATA = """
import numpy, torch
from torch.utils.data import DataLoader, Dataset
class Data(Dataset):
    def __init__(self, items): self.items = items
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return len(self.items[i])
strings = [str(i).zfill(64) for i in range(1_000_000)]
as_list, as_array = Data(strings), Data(numpy.array(strings, dtype="S64"))
del strings
"""


def data_loader() -> None:
    """Let a real DataLoader read a list of strings, and the same as a numpy array."""
    if importlib.util.find_spec("torch") is None:
        print("  torch is not installed")
        return
    cells(
        DATA,
        *(
            f"%%cow_watch\nfor batch in DataLoader({name}, batch_size=256, "
            "num_workers=4): pass\n"
            for name in ("as_list", "as_array")
        ),
    )


TESTS = ("test_concurrent_futures", "test_multiprocessing_fork")
CPYTHON = """
import unittest
outcomes = {{}}
class Record(unittest.TextTestResult):
    def startTest(self, test):
        outcomes[test.id()] = "ok"
        super().startTest(test)
    def addSkip(self, test, reason):
        outcomes[test.id()] = "skipped"
        super().addSkip(test, reason)
    def addFailure(self, test, error):
        outcomes[test.id()] = "FAILED"
        super().addFailure(test, error)
    def addError(self, test, error):
        outcomes[test.id()] = "ERROR"
        super().addError(test, error)
tests = unittest.defaultTestLoader.loadTestsFromNames({tests!r})
_ = unittest.TextTestRunner(resultclass=Record).run(tests)
for name, outcome in sorted(outcomes.items()):
    print("OUTCOME", name, outcome)
"""


def cpython() -> None:
    """Run CPython's tests of pools in a cell, unwatched and watched, at once."""
    there = [f"test.{name}" for name in TESTS]
    there = [name for name in there if importlib.util.find_spec(name)]
    if not there:
        print("  this Python has no tests")
        return
    cell = CPYTHON.format(tests=there).lstrip()
    with ThreadPoolExecutor(2) as pool:
        shown = list(
            pool.map(
                lambda magic: cells(magic + cell, timeout=3600),
                ("", "%%cow_watch --no-live\n"),
            )
        )
    unwatched, watched = (
        dict(re.findall(r"^OUTCOME (.*) (\w+)$", text, flags=re.MULTILINE))
        for text in shown
    )
    for name, outcomes in (("unwatched", unwatched), ("watched", watched)):
        print(f"  {name}: {dict(Counter(outcomes.values()))}")
    for name in sorted(unwatched.keys() | watched.keys()):
        if unwatched.get(name) != watched.get(name):
            print(f"    {name}: {unwatched.get(name)}, watched {watched.get(name)}")


PARTS = {
    "gunicorn": gunicorn,
    "data-loader": data_loader,
    "2gb": two_gigabytes,
    "cpython": cpython,
}


def main(names: list[str] | None = None) -> None:
    """Run all parts but CPython's tests, which take long, or those that are named."""
    chosen = names or [name for name in PARTS if name != "cpython"]
    for name, part in PARTS.items():
        if name in chosen:
            print(f"  -- {name}: {(part.__doc__ or '').splitlines()[0]}")
            part()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PART", help=f"of {list(PARTS)}")
    main(parser.parse_args().names)
