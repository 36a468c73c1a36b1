"""`python -m ipc_magic`: a tour in a terminal, on data that every machine has."""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Stop(NamedTuple):
    """One thing the tour shows: a sentence, and the cell that proves it."""

    sentence: str
    cell: str


STOPS = (
    Stop(
        "`lines` is a list of all lines of Python's standard library, `text` the same "
        "as bytes.",
        "len(lines), len(text)",
    ),
    Stop(
        "A cell runs in a child process. It has `lines` without sending them, and the "
        "name you ask for comes back. But reading Python objects writes to them: the "
        "child copies their memory.",
        "%%inprocess -o common\n"
        "from collections import Counter\n"
        "words = Counter(word for line in lines for word in line.split())\n"
        "common = words.most_common(3)",
    ),
    Stop(
        "The name is here; what the child made besides is not, as the report says.",
        "common",
    ),
    Stop(
        "The same text as one `bytes` is read without a copy, so there is no row for "
        "memory.",
        "%%inprocess -o imports\nimports = text.count(b'import')",
    ),
    Stop(
        "A crash ends the child, and not your session.",
        "%%inprocess\nimport os\nlines.clear()\nos.abort()",
    ),
    Stop("The child cleared its own copy of the list.", "len(lines)"),
    Stop(
        "An error shows as if the cell had run here.",
        "%%inprocess\nlongest = max(lines, key=len)\nlongest / 2",
    ),
    Stop(
        "A cell that takes too long is stopped, and you are told where it was.",
        "%%inprocess -t 1\nwhile True:\n    text.count(b'import')",
    ),
    Stop(
        "Two children share the work; each knows its `child_index`.",
        "%%inprocess -n 2 -o count\n"
        "mine = lines[child_index::2]\n"
        "count = sum('import' in line for line in mine)",
    ),
    Stop("Both results came back as a list.", "count, sum(count)"),
    Stop(
        "What would it cost to send data to another process, and which part costs it?",
        "sample = {'lines': lines[:10_000], 'text': text}\n%pickle_cost sample",
    ),
    Stop(
        "What cannot be sent is named by its path.",
        "sample['split'] = lambda line: line.split()\n%pickle_cost sample",
    ),
    Stop(
        "What does a child copy of the data it inherited? Reading a list of strings "
        "copies it, since each string's reference count is written.",
        "%cow_watch for line in lines: line",
    ),
    Stop(
        "The same data as one buffer of bytes is read without a copy.",
        "%cow_watch text.count(b'import')",
    ),
    Stop(
        "A cell runs here, and whoever forks a child in it, the child is measured.",
        "%%cow_watch\n"
        "from multiprocessing import get_context\n"
        "def mentions(i): return sum('import' in line for line in lines[i::2])\n"
        "with get_context('fork').Pool(2) as pool:\n"
        "    counts = pool.map(mentions, range(2))",
    ),
    Stop(
        "After all that, your data are as they were.",
        r"'\n'.join(lines).encode() == text",
    ),
)
_BEFORE = "Reading the source of Python's standard library ..."
_AFTER = (
    "`lines`, `text` and the magics are yours now. %inprocess -h, %pickle_cost -h and "
    "%cow_watch -h list the options; Ctrl-D leaves."
)


def standard_library() -> dict[str, list[str] | bytes]:
    """Return the names of the tour: the library's source as `lines` and as `text`."""
    folder = Path(sysconfig.get_path("stdlib"))
    sources = [
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*.py"))
        if not {"site-packages", "dist-packages"} & {*path.parts[len(folder.parts) :]}
    ]
    source = "\n".join(sources)
    return {"lines": source.split("\n"), "text": source.encode()}


def make_shell(home: str) -> Any:
    """Make a terminal shell that writes no history and keeps its profile in `home`."""
    from IPython.terminal.interactiveshell import TerminalInteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.TerminalInteractiveShell.confirm_exit = False
    config.TerminalInteractiveShell.term_title = sys.stdout.isatty()
    if not _in_colour():
        config.InteractiveShell.colors = "nocolor"
    shell = TerminalInteractiveShell.instance(config=config, ipython_dir=home)
    shell.run_line_magic("load_ext", "ipc_magic")
    return shell


def _in_colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def show(shell: Any, stop: Stop) -> None:
    """Print the sentence and the cell as if it was typed, then run it."""
    bold, plain = ("\x1b[1m", "\x1b[0m") if _in_colour() else ("", "")
    prompt = f"In [{shell.execution_count}]: "
    more = "...: ".rjust(len(prompt))
    print(f"{bold}{textwrap.fill(stop.sentence, 80)}{plain}\n")
    print(prompt + stop.cell.replace("\n", f"\n{more}"), flush=True)
    shell.run_cell(stop.cell, store_history=True)
    print(flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show the stops of the tour, then leave a person at the prompt."""
    parser = argparse.ArgumentParser(
        prog="python -m ipc_magic",
        description="A tour of the magics in this terminal. Afterwards you are in "
        "the IPython session of the tour.",
    )
    parser.add_argument("--no-shell", action="store_true", help="end after the tour")
    stay = not parser.parse_args(arguments).no_shell and sys.stdin.isatty()

    print(_BEFORE, end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="ipc_magic-") as home:
        shell = make_shell(home)
        shell.push(standard_library())
        for stop in STOPS:
            show(shell, stop)
        if stay:
            print(textwrap.fill(_AFTER, 80), end="\n\n", flush=True)
            shell.mainloop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
