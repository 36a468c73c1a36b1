"""Fixtures for all tests: no leaks, a kernel, a terminal, 80 columns."""

from __future__ import annotations

import gc
import importlib.util
import os
import platform
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

if importlib.util.find_spec("ipc_magic") is None:
    sys.path.insert(0, str(ROOT))  # `pytest` in a clone that is not installed


# The same examples in every run, so that a change is judged by itself. New ones are
# looked for with `pytest --hypothesis-profile=default`.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def _load(name: str) -> Any:
    """Load a module that lies beside this file; `tests` is not a package."""
    full_name = f"ipc_magic_tests_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full_name] = module  # dataclasses look themselves up
        spec.loader.exec_module(module)
    return sys.modules[full_name]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the longer proofs too")


def pytest_configure(config: pytest.Config) -> None:
    # When the project is installed its entry point has registered the plugin.
    from ipc_magic import pytest_plugin

    if not config.pluginmanager.is_registered(pytest_plugin):
        config.pluginmanager.register(pytest_plugin, "ipc_magic")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a script starts what it puts in the background, and all below inherits it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    if not config.getoption("--slow"):
        reason = pytest.mark.skip(reason="a longer proof: needs --slow")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(reason)


@pytest.fixture(scope="session")
def _mark() -> Any:
    from ipc_magic.process.guardian import guardian

    guardian.watch([])  # it stays until the end of this process, once it is needed
    # What is there before the first test stays too: to collect garbage, as is done
    # after each test that opened something, is to look at what came since.
    gc.collect()
    gc.freeze()
    return _load("leaks").Mark()


_STREAMS = pytest.StashKey[list[str]]()


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    # pytest puts the streams back between a test and the end of its fixtures.
    before = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
    yield
    pyfuncitem.stash[_STREAMS] = [
        f"stream {name}: was {old!r}, is {getattr(sys, name)!r}"
        for name, old in before.items()
        if getattr(sys, name) is not old
    ]


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, _mark: Any) -> Iterator[None]:
    """Fail a test that leaves processes, files, threads or settings behind."""
    leaks = _load("leaks")
    before = leaks.State()
    yield
    found = leaks.differences(before, _mark)
    found += request.node.stash.get(_STREAMS, [])
    if found:
        pytest.fail("the test left behind:\n  " + "\n  ".join(found), pytrace=False)


# What IPython itself puts into the user's namespace as cells run.
_OF_IPYTHON = re.compile(r"_{1,3}|_i{1,3}|_i?\d+|_[iod]h|_exit_code|In|Out")


@pytest.fixture(autouse=True)
def no_names_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test of a shell in which names appear that the test does not write.

    A name that a cell binds, or that `--out` or `--save` brings, stands in the
    source of the test's module; a helper's name does not.
    """
    if not {"ipython_shell", "ipc_shell"} & set(request.fixturenames):
        yield
        return
    shell = request.getfixturevalue("ipython_shell")
    before = set(shell.user_ns)
    yield
    written = set(re.findall(r"\w+", request.path.read_text(encoding="utf-8")))
    new = set(shell.user_ns) - before - written
    left = sorted(name for name in new if not _OF_IPYTHON.fullmatch(name))
    if left:
        pytest.fail(f"names left in the user's namespace: {left}", pytrace=False)


@pytest.fixture
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fix the width that texts are drawn for."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "50")


@pytest.fixture(scope="session")
def child_env(_mark: Any) -> dict[str, str]:
    """Give the environment for started Pythons, which then find this project."""
    import ipc_magic

    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    assert ipc_magic.__path__
    if Path(next(iter(ipc_magic.__path__))).parent == ROOT:
        paths = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
        env["PYTHONPATH"] = os.pathsep.join(paths)
    env.update(COLUMNS="80", LINES="50")
    return env


@pytest.fixture(scope="session")
def _client_loop() -> Iterator[None]:
    """Let jupyter_client make its one event loop of the process beforehand."""
    from jupyter_core.utils import ensure_event_loop

    loop = ensure_event_loop()
    yield
    loop.close()


@pytest.fixture(scope="module")
def kernel(child_env: dict[str, str], _client_loop: None) -> Iterator[Any]:
    """Give a real ipykernel with the extension loaded, one for all of a module.

    Tests that kill or restart it, or need a clean one, take `fresh_kernel`.
    """
    driven = _load("kernel_driver").Kernel(child_env)
    yield driven
    driven.close()


@pytest.fixture
def fresh_kernel(child_env: dict[str, str], _client_loop: None) -> Iterator[Any]:
    """Give a real ipykernel with the extension loaded, for one test."""
    driven = _load("kernel_driver").Kernel(child_env)
    yield driven
    driven.close()


@pytest.fixture
def terminal(child_env: dict[str, str]) -> Iterator[Any]:
    """Give IPython in a terminal with the extension loaded, for one test."""
    driven = _load("terminal_driver").Terminal(child_env)
    yield driven
    driven.close()


@pytest.fixture(scope="session")
def plain_kernel_class() -> Any:
    """Give the class `Kernel`, for kernels made in a special way."""
    return _load("kernel_driver").Kernel


@pytest.fixture(scope="session")
def plain_terminal_class() -> Any:
    """Give the class `Terminal`, for terminals made in a special way."""
    return _load("terminal_driver").Terminal


@pytest.fixture(scope="session")
def seccomp() -> Any:
    """Give the module that has calls of the system refused."""
    module = _load("seccomp")
    if platform.machine() not in module.NUMBERS:
        pytest.skip("numbers of calls are not known here")
    return module


@pytest.fixture
def run_script(child_env: dict[str, str]) -> Any:
    """Give a function that runs a program in a Python of its own."""
    env = dict(child_env)
    env.pop("PYTHONUNBUFFERED", None)  # output is buffered as it is elsewhere

    def run(program: str, *arguments: str, given: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), *arguments],
            env=env,
            input=given,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Collect no garbage: a collection in one child alone copies hundreds of pages."""
    gc.disable()
    yield
    gc.enable()
