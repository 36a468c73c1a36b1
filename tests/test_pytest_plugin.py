"""The shell fixtures keep their promises, here and in a suite of somebody else.

The tests that run in this process are watched by `no_leaks` as all others: that
they pass is the proof that the fixtures put back what it looks at.
"""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest


def test_each_test_has_a_shell_of_its_own(ipython_shell):
    ipython_shell.run_cell("mine = 1\nimport builtins; builtins.mine = 1")
    assert sys.modules["__main__"].__dict__ is ipython_shell.user_ns
    assert ipython_shell.ev("get_ipython()") is ipython_shell
    assert ipython_shell.history_manager.enabled is False


def test_nothing_of_the_shell_before_is_left(ipython_shell):
    with pytest.raises(NameError):
        ipython_shell.run_cell("mine")


def test_outputs_are_kept_in_order(ipython_shell, capsys):
    ipython_shell.run_cell(
        "from IPython.display import HTML, clear_output\n"
        "print('printed')\n"
        "handle = display(HTML('<b>1</b>'), display_id='a', metadata={'m': 1})\n"
        "handle.update(2)\n"
        "clear_output(wait=True)\n"
        "3"
    )
    kinds = [output.kind for output in ipython_shell.outputs]
    assert kinds == ["display", "update", "clear", "result"]
    shown, updated, cleared, result = ipython_shell.outputs
    assert shown.data["text/html"] == "<b>1</b>"
    assert shown.metadata == {"m": 1}
    assert shown.display_id == updated.display_id == "a"
    assert (updated.text, result.text, cleared.text) == ("2", "3", "")
    assert cleared.metadata == {"wait": True}
    assert capsys.readouterr() == ("printed\n", "")
    ipython_shell.outputs.clear()
    assert ipython_shell.outputs == []


def test_a_stored_cell_has_its_number_and_its_semicolon(ipython_shell):
    ipython_shell.run_cell("40", store_history=True)
    ipython_shell.run_cell("41;", store_history=True)
    ipython_shell.run_cell("_ + Out[1]", store_history=True)
    assert [output.text for output in ipython_shell.outputs] == ["40", "80"]
    assert ipython_shell.execution_count == 4


def test_capture_output_still_works(ipython_shell):
    ipython_shell.run_cell("%%capture captured\ndisplay(1)\nprint(2)")
    captured = ipython_shell.user_ns["captured"]
    assert captured.stdout == "2\n"
    assert captured.outputs[0].data["text/plain"] == "1"
    assert ipython_shell.outputs == []


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        ("1 / 0", ZeroDivisionError),
        ("a b", SyntaxError),
        ("def f():\nreturn 1", IndentationError),
        ("await coroutine()", NameError),
        ("raise SystemExit(3)", SystemExit),
        ("raise KeyboardInterrupt", KeyboardInterrupt),
        ("import pytest; pytest.skip()", pytest.skip.Exception),
        ("assert 1 == 2", AssertionError),
    ],
)
def test_the_error_of_a_cell_is_raised_and_not_shown(cell, error, ipython_shell, capfd):
    with pytest.raises(error):
        ipython_shell.run_cell(cell)
    assert capfd.readouterr() == ("", "")


def test_a_mistyped_magic_is_raised_and_not_shown(ipython_shell, capfd):
    with pytest.raises(Exception, match="not found") as caught:
        ipython_shell.run_cell("%nosuchmagic")
    assert type(caught.value).__name__ == "UsageError"
    assert capfd.readouterr() == ("", "")


def test_the_native_behaviour_can_be_asked_for(ipython_shell, capsys):
    result = ipython_shell.run_cell("1 / 0", raises=False)
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_a_cell_inside_a_cell_behaves_as_for_a_user(ipython_shell, capsys):
    ipython_shell.run_cell("get_ipython().run_cell('1 / 0'); after = True")
    assert ipython_shell.user_ns["after"]
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_a_traceback_that_a_magic_shows_is_seen(ipython_shell, capsys):
    ipython_shell.run_cell(
        "try:\n    1 / 0\nexcept Exception:\n    get_ipython().showtraceback()"
    )
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_classes_of_a_cell_can_be_pickled(ipython_shell):
    ipython_shell.run_cell("class Made:\n    pass\nmade = Made()")
    made = ipython_shell.user_ns["made"]
    assert type(pickle.loads(pickle.dumps(made))) is type(made)


def test_cells_with_await_and_scripts_leave_nothing_running(ipython_shell, capfd):
    ipython_shell.run_cell("import asyncio\nawait asyncio.sleep(0)\n1")
    ipython_shell.run_cell("%%bash\necho script")
    assert ipython_shell.outputs[-1].text == "1"
    assert capfd.readouterr().out == "script\n"


def test_the_extension_is_loaded(ipc_shell, ipython_shell):
    assert ipc_shell is ipython_shell
    assert "inprocess" in ipc_shell.magics_manager.magics["cell"]
    assert ipc_shell.outputs == []


def test_the_extension_may_be_unloaded_by_the_test(ipc_shell):
    ipc_shell.run_line_magic("unload_ext", "ipc_magic")
    assert "inprocess" not in ipc_shell.magics_manager.magics["cell"]


@pytest.fixture
def run_tests(tmp_path, child_env):
    """Give a function that runs test code elsewhere and returns what pytest said."""

    def run(code, *arguments):
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        (tmp_path / "test_inner.py").write_text(code)
        (tmp_path / "home").mkdir()
        env = child_env | {
            "HOME": str(tmp_path / "home"),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        env.pop("IPYTHONDIR", None)
        plugins = ["-p", "ipc_magic.pytest_plugin", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-W", "error", *plugins, *arguments],
            env=env,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert list((tmp_path / "home").iterdir()) == []
        return done.stdout

    return run


RESTORED = """
import atexit, builtins, os, sys, threading, warnings
import pytest

@pytest.fixture(autouse=True)
def watch(monkeypatch):
    hooks = []
    register, unregister = atexit.register, atexit.unregister
    def note(hook, *args, **kwargs):
        hooks.append(hook)
        return register(hook, *args, **kwargs)
    def forget(hook):
        hooks[:] = [other for other in hooks if other != hook]
        return unregister(hook)
    monkeypatch.setattr(atexit, "register", note)
    monkeypatch.setattr(atexit, "unregister", forget)
    def state():
        names = "displayhook excepthook stdin stdout stderr ps1 ps2 ps3 last_value"
        return {
            "sys": {name: getattr(sys, name, None) for name in names.split()},
            "main": sys.modules["__main__"],
            "builtins": dict(vars(builtins)),
            "threads": threading.enumerate(),
            "path": list(sys.path),
            "filters": list(warnings.filters),
            "IPYTHONDIR": os.environ.get("IPYTHONDIR"),
        }
    before = state()
    yield
    assert state() == before
    from IPython.core.interactiveshell import InteractiveShell
    assert not InteractiveShell.initialized()
    owners = [getattr(hook, "__self__", None) for hook in hooks]
    assert [owner for owner in owners if hasattr(owner, "shell")] == []
    assert [owner for owner in owners if isinstance(owner, InteractiveShell)] == []

@pytest.mark.parametrize("number", range(4))
def test_a(number, ipython_shell, capsys):
    assert "x" not in ipython_shell.user_ns
    ipython_shell.run_cell("x = 1; print(x); display(2); 3")
    assert [output.text for output in ipython_shell.outputs] == ["2", "3"]
    assert capsys.readouterr().out == "1\\n"
    with pytest.raises(ZeroDivisionError):
        ipython_shell.run_cell("1 / 0")
    ipython_shell.run_cell("import sys; sys.path.insert(0, 'left')")
    ipython_shell.run_cell("import builtins; builtins.left = 1")
    assert os.environ["IPYTHONDIR"]
"""


@pytest.mark.parametrize("arguments", ["", "-s", "--capture=sys", "-p xdist -n 2"])
def test_everything_is_put_back(arguments, run_tests):
    if "xdist" in arguments:
        pytest.importorskip("xdist")
    assert "4 passed" in run_tests(RESTORED, *arguments.split())


def test_a_second_shell_is_refused(run_tests):
    said = run_tests(
        "import os\n"
        "os.environ['IPYTHONDIR'] = os.getcwd()\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "InteractiveShell.instance()\n"
        "def test_a(ipython_shell): pass\n",
        *("-W", "ignore"),
    )
    assert "1 error" in said
    assert "an IPython shell is alive already: IPython.core.interactiveshell" in said


def test_a_failing_cell_is_reported_once_with_its_line(run_tests):
    said = run_tests("def test_a(ipython_shell): ipython_shell.run_cell('1 / 0')")
    assert "1 failed" in said
    assert "Captured stdout" not in said
    assert (
        said.count("E       ZeroDivisionError") + said.count("E   ZeroDivisionError")
        == 1
    )


def test_the_unused_plugin_imports_nothing_of_ipython(run_tests):
    said = run_tests(
        "import sys\n"
        "def test_a():\n"
        "    assert not {'IPython', 'traitlets', 'asyncio'} & set(sys.modules)\n"
    )
    assert "1 passed" in said


def test_the_fixtures_explain_themselves(run_tests):
    said = run_tests("", "--fixtures", "-v")
    assert "ipython_shell" in said
    assert "Give a fresh IPython shell, gone without a trace after the test." in said
