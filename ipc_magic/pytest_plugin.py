"""Front door for tests: a fresh IPython shell in every test that asks for one.

`ipython_shell` serves the author of any IPython extension::

    def test_my_magic(ipython_shell):
        ipython_shell.run_line_magic("load_ext", "my_extension")
        ipython_shell.run_cell("%my_magic 1 + 1")
        assert ipython_shell.outputs[-1].data["text/plain"] == "2"

    def test_my_error(ipython_shell):
        with pytest.raises(ZeroDivisionError):
            ipython_shell.run_cell("1 / 0")

`ipc_shell` is the same shell with `ipc_magic` loaded. Only pytest and the
standard library are imported until a test asks for one of the two.
"""

from __future__ import annotations

import atexit
import builtins
import functools
import linecache
import os
import sys
import tempfile
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest

from ipc_magic.compat import end_script_magics, watch_cell_loop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What IPython, or a cell, sets in `sys` and does not take back.
_SYS_NAMES = (
    *("displayhook", "excepthook", "breakpointhook", "unraisablehook"),
    *("stdin", "stdout", "stderr", "ps1", "ps2", "ps3", "argv"),
    *("last_type", "last_value", "last_traceback", "last_exc"),
)


@dataclass(frozen=True)
class Output:
    """One thing a cell showed: what a notebook would keep below the cell."""

    kind: Literal["display", "update", "result", "clear"]
    """`display()`, its later update, a cell's last value, or `clear_output()`."""
    data: Mapping[str, Any]
    """The mime bundle, for example `{"text/plain": "42"}`."""
    metadata: Mapping[str, Any]
    """The metadata that came with the bundle."""
    display_id: str | None = None
    """What ties an update to its display."""

    @property
    def text(self) -> str:
        """The plain text of the output, or an empty string."""
        return str(self.data.get("text/plain", ""))


@pytest.fixture
def ipython_shell() -> Iterator[Any]:
    """Give a fresh IPython shell, gone without a trace after the test.

    It is `get_ipython()` and `__main__` while the test runs, so classes made in
    a cell can be pickled. It has no history, no colours and an IPYTHONDIR of its
    own. Two things differ from the shell of a user:

    - `run_cell(code)` raises the error of the cell, and shows no traceback of
      it. `run_cell(code, raises=False)` does what IPython does: it shows the
      traceback and returns the result. A cell that a magic runs is never raised.
    - `outputs` is the list of what was displayed, in order, as `Output` objects;
      `outputs.clear()` empties it. Nothing of it is printed, so that `capsys`
      sees what the code printed and no more.

    As IPython's own, `run_cell` numbers a cell, fills `In` and heeds a `;` at its
    end only with `store_history=True`.
    """
    with _shell() as shell:
        yield shell


@pytest.fixture
def ipc_shell(ipython_shell: Any) -> Iterator[Any]:
    """Give the shell of `ipython_shell` with the extension `ipc_magic` loaded."""
    ipython_shell.run_line_magic("load_ext", "ipc_magic")
    # A module that is no extension is refused by IPython in print only.
    if "ipc_magic" not in ipython_shell.extension_manager.loaded:
        pytest.fail("%load_ext ipc_magic did not load it", pytrace=False)
    ipython_shell.outputs.clear()
    try:
        yield ipython_shell
    finally:
        if "ipc_magic" in ipython_shell.extension_manager.loaded:
            ipython_shell.run_line_magic("unload_ext", "ipc_magic")


@contextmanager
def _shell() -> Iterator[Any]:
    with ExitStack() as cleanup:
        # First to be set up is last to be restored: IPython's own clean-up, and
        # any unloading of extensions, still sees the world they lived in.
        cleanup.enter_context(warnings.catch_warnings())
        # Said of `sys.exit()` to someone at a prompt; a filter of `error` would
        # let it take the place of the cell's SystemExit.
        warnings.filterwarnings("ignore", "To exit: use 'exit'")
        home = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="ipython-"))
        cleanup.enter_context(_restored(os.environ, but="PYTEST_CURRENT_TEST"))
        cleanup.enter_context(_restored(builtins.__dict__))
        cleanup.enter_context(_restored_process_state())
        os.environ["IPYTHONDIR"] = home
        with warnings.catch_warnings():
            # Old IPython on new Python deprecates things at import. Cells obey
            # the filters of the test: IPython's own for `__main__` is dropped.
            warnings.simplefilter("ignore")
            shell_class = _shell_class()
            _refuse_second_shell()
            shell = shell_class.instance(config=_config())
        cleanup.callback(_close, shell)
        cleanup.callback(watch_cell_loop())
        cleanup.callback(end_script_magics, shell)
        yield shell


def _refuse_second_shell() -> None:
    from IPython.core.interactiveshell import InteractiveShell

    if InteractiveShell.initialized():
        kind = type(InteractiveShell.instance())
        pytest.fail(
            f"an IPython shell is alive already: {kind.__module__}.{kind.__name__}. "
            "A test can have one shell: end that one first, with its "
            "clear_instance(), or use one of the two fixtures only.",
            pytrace=False,
        )


def _config() -> Any:
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False  # no thread, no sqlite file
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "nocolor"
    return config


def _close(shell: Any) -> None:
    """End the shell as IPython does at the exit of the interpreter."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shell.atexit_operations()
    finally:
        atexit.unregister(shell.atexit_operations)
        type(shell).clear_instance()


@contextmanager
def _restored(mapping: Any, but: str = "") -> Iterator[None]:
    """Give a mapping its items back, `but` one; it stays the same object."""
    earlier = dict(mapping)
    try:
        yield
    finally:
        for name in set(mapping) - set(earlier) - {but}:
            del mapping[name]
        for name, value in earlier.items():
            if name != but and mapping.get(name) is not value:
                mapping[name] = value


@contextmanager
def _restored_process_state() -> Iterator[None]:
    main = sys.modules["__main__"]
    path = list(sys.path)
    there = {name: getattr(sys, name) for name in _SYS_NAMES if hasattr(sys, name)}
    checkcache = linecache.checkcache
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        sys.path[:] = path
        for name in _SYS_NAMES:
            if name in there:
                setattr(sys, name, there[name])
            elif hasattr(sys, name):
                delattr(sys, name)
        linecache.checkcache = checkcache  # IPython 7 and 8 put theirs in place
        for name in [name for name in linecache.cache if name.startswith("<ipython-")]:
            del linecache.cache[name]


@functools.cache
def _shell_class() -> Any:
    """Make the classes that need IPython at their birth."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets import Type

    class CapturingHook(DisplayHook):
        """Keep a cell's last value; all else (`_`, `Out`) is IPython's."""

        shell: Any

        def write_output_prompt(self) -> None:
            pass

        def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
            self.shell.outputs.append(
                Output("result", dict(format_dict), dict(md_dict or {}))
            )

        def finish_displayhook(self) -> None:
            self._is_active = False

    class CapturingPublisher(DisplayPublisher):
        """Keep what is displayed."""

        def publish(
            self,
            data: Any,
            metadata: Any = None,
            source: Any = None,
            *,
            transient: Any = None,
            update: bool = False,
            **kwargs: Any,
        ) -> None:
            display_id = (transient or {}).get("display_id")
            kind: Literal["update", "display"] = "update" if update else "display"
            self.shell.outputs.append(
                Output(kind, dict(data), dict(metadata or {}), display_id)
            )

        def clear_output(self, wait: bool = False) -> None:
            self.shell.outputs.append(Output("clear", {}, {"wait": wait}))

    class CapturingShell(InteractiveShell):
        """A shell that raises the error of a cell and keeps what it shows."""

        displayhook_class = Type(CapturingHook)
        display_pub_class = Type(CapturingPublisher)

        def __init__(self, **kwargs: Any) -> None:
            self.outputs: list[Output] = []
            self._depth = 0  # cells that are running, one inside the other
            self._raises = False
            self._result: Any = None  # of the outermost cell, once it executes
            super().__init__(**kwargs)

        def run_cell(self, *args: Any, raises: bool = True, **kwargs: Any) -> Any:
            """Run a cell and raise its error, unless `raises` is false."""
            if self._depth == 0:
                self._raises, self._result = raises, None
            self._depth += 1
            try:
                result = super().run_cell(*args, **kwargs)
            finally:
                self._depth -= 1
            if raises and self._depth == 0:
                result.raise_error()
            return result

        async def run_code(
            self, code_obj: Any, result: Any = None, **kwargs: Any
        ) -> Any:
            if self._depth == 1:
                self._result = result
            return await super().run_code(code_obj, result, **kwargs)

        def _will_raise(self, error: Any) -> bool:
            # It failed before the code ran, or it is the one the result holds. A
            # traceback that a magic shows by itself is neither.
            return (
                self._depth == 1
                and self._raises
                and (self._result is None or self._result.error_in_exec is error)
            )

        def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
            if not self._will_raise(evalue):
                super()._showtraceback(etype, evalue, stb)

        def show_usage_error(self, exc: Any) -> None:
            if not self._will_raise(exc):
                super().show_usage_error(exc)

    return CapturingShell
