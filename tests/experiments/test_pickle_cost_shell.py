"""`%pickle_cost` in a shell: its expression, its options, its table of variables."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
import warnings

import numpy  # noqa: F401 - imported here, or the first test would be told to leave it
import pytest

import ipc_magic
from ipc_magic import options
from ipc_magic.errors import OptionError
from ipc_magic.experiments import pickle_cost_table
from ipc_magic.options.pickle_cost import TRANSPORTS
from ipc_magic.pickling.round_trip import NAMES
from ipc_magic.process.front import ShellFront


@pytest.fixture
def line(ipc_shell):
    """Give what runs a line and returns what it shows."""

    def run(text):
        del ipc_shell.outputs[:]
        ipc_shell.run_cell(text)
        return "\n".join(output.text for output in ipc_shell.outputs)

    return run


def test_the_result_is_returned_and_shown(ipc_shell, line):
    ipc_shell.user_ns["model"] = {"a": [1, 2, 3]}
    shown = line("result = %pickle_cost -r 1 model")
    assert shown == ""
    result = ipc_shell.user_ns["result"]
    assert result is ipc_magic.last
    assert result.pickled_bytes == len(pickle.dumps({"a": [1, 2, 3]}, result.protocol))
    assert line("%pickle_cost -r 1 model").startswith("`model` is ")


def test_the_text_of_the_expression_is_kept(ipc_shell, line):
    ipc_shell.user_ns["d"] = {"a  b": ["x" * 3000]}
    line("""%pickle_cost -r 1 --save result   d["a  b"] + [ 'y  z' ]   # all""")
    result = ipc_shell.user_ns["result"]
    assert result.expression.startswith("""d["a  b"] + [ 'y  z' ]""")
    assert result.type == "list of 2 str"


def test_quiet_and_a_semicolon_hide_the_report(ipc_shell, line):
    assert line("%pickle_cost -r 1 -q --save first [1]") == ""
    assert line("%pickle_cost -r 1 [1, 2];") == ""
    assert ipc_shell.user_ns["first"].type == "list of 1 int"
    assert ipc_magic.last.type == "list of 2 int"


def test_the_full_report_is_longer(line):
    text = "%pickle_cost -r 1 {} [['x' * 100 * n] for n in range(30)]"
    assert len(line(text.format("-v"))) > len(line(text.format("")))


def test_what_is_dumped_with_another_pickler_and_protocol(ipc_shell, line):
    line("f = lambda: 0")
    line("%pickle_cost -r 1 -q --save named --pickler cloudpickle -p 3 f")
    result = ipc_shell.user_ns["named"]
    assert (result.pickler, result.protocol) == ("cloudpickle", 3)
    assert result.pickled_bytes > 0


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("no_such_name", NameError, "name 'no_such_name' is not defined"),
        ("{}['k']", KeyError, "k"),
        ("1 +", SyntaxError, "invalid syntax"),
        ("x = 1", OptionError, "takes one expression, not 'x = 1'"),
        ("await f()", OptionError, "cannot do this"),
        ("--via pigeon 1", OptionError, "--via takes pipe, queue"),
        ("--pickler marshal 1", OptionError, "--pickler takes pickle or cloudpickle"),
        ("-p 7 1", OptionError, "a whole number from 0 to 5"),
        ("--timeout 0 1", OptionError, "seconds above 0"),
        ("--dept 3 1", OptionError, "did you mean --depth?"),
        ("-o 1x", OptionError, "did you mean --save?"),
    ],
)
def test_a_line_that_cannot_be_measured(ipc_shell, line, text, error, words):
    before = ipc_magic.last
    with pytest.raises(error, match=words):
        line(f"%pickle_cost {text}")
    assert ipc_magic.last is before


def test_an_error_of_the_expression_is_shown_without_our_frames(ipc_shell, capsys):
    ipc_shell.run_cell("def inner():\n    return {}['key']")
    ipc_shell.run_cell("%pickle_cost inner()", raises=False)
    shown = capsys.readouterr().out
    assert "inner" in shown
    assert "KeyError" in shown
    assert "ipc_magic" not in shown


def test_names_of_the_calling_function_are_found(ipc_shell, line):
    line(
        "def within():\n"
        "    local = ['x' * 50]\n"
        "    return get_ipython().run_line_magic('pickle_cost', '-r 1 local')"
    )
    assert line("within().pickled_bytes") == str(len(pickle.dumps(["x" * 50], 4)))


def test_what_cannot_be_pickled_is_an_answer_and_no_error(ipc_shell, line):
    ipc_shell.user_ns["held"] = {"lock": threading.Lock()}
    shown = line("%pickle_cost held")
    assert "`held` cannot be pickled" in shown
    assert "held['lock']" in shown


def test_an_interrupt_is_raised_behind_the_report(ipc_shell):
    ipc_shell.run_cell(
        "class Hang:\n"
        "    def __reduce__(self):\n"
        "        import os, signal, time\n"
        "        os.kill(os.getppid(), signal.SIGINT)\n"
        "        time.sleep(1000)\n"
    )
    with pytest.raises(KeyboardInterrupt) as caught:
        ipc_shell.run_cell("%pickle_cost Hang()")
    (shown,) = ipc_shell.outputs
    assert shown.text == str(caught.value.report)


def test_a_kernel_measures_what_its_cells_define(kernel):
    reply = kernel.run(
        "class Point:\n"
        "    def __init__(self):\n"
        "        self.x = 'x' * 1000\n"
        "r = %pickle_cost -r 1 Point()\n"
        "stages = [each.stage for each in r.warnings]\n"
        "print(r.pickled_bytes > 1000, len(r.transports), *stages)"
    )
    assert reply.stdout == "True 1 spawn\n"


def test_help_and_defaults(ipc_shell, line, capsys):
    line("%pickle_cost --help")
    assert capsys.readouterr().out.strip() == options.usage("pickle_cost")
    ipc_shell.run_cell("%config IPCMagics.via = 'queue'")
    ipc_shell.run_cell("%config IPCMagics.pickler = 'cloudpickle'")
    line("%pickle_cost -r 1 -q --save chosen [1]")
    chosen = ipc_shell.user_ns["chosen"]
    assert [each.name for each in chosen.transports] == ["queue"]
    assert chosen.pickler == "cloudpickle"


def test_options_complete(ipc_shell):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # IPython promises a change
        typed = "%pickle_cost --pro"
        completed = ipc_shell.complete("--pro", typed, len(typed))[1]
    assert completed == ["--protocol"]


def test_the_options_know_the_transports_and_what_is_measured():
    assert TRANSPORTS == NAMES
    values = options.with_defaults("pickle_cost", {}, {})
    from ipc_magic.experiments.pickle_cost_options import Options

    assert Options(**{n: values[n] for n in Options.__dataclass_fields__}) == Options()


def test_an_empty_session_has_no_variables(line):
    assert "no variables" in line("%pickle_cost")
    assert ipc_magic.last.variables == ()


class Exits:
    def __reduce__(self):
        os._exit(3)


class Sleeps:
    def __reduce__(self):
        time.sleep(1000)


def test_each_variable_of_the_person_has_its_row(ipc_shell, line):
    line("import os; from os.path import join; import collections as c")
    line("from collections import OrderedDict")
    line("_hidden = 1\ndef mine(): pass\nclass Mine: pass\nmany = ['x' * 100] * 50")
    ipc_shell.user_ns.update(
        locked={"a": [threading.Lock()]}, ends=[Exits()], slow=Sleeps(), small=1
    )
    line("%pickle_cost -q --save table")
    table = ipc_shell.user_ns["table"]
    rows = {row.name: row for row in table.variables}
    assert set(rows) == {"mine", "Mine", "many", "locked", "small"}
    assert rows["many"].pickled_bytes == len(pickle.dumps(["x" * 100] * 50, 4))
    assert rows["many"].dump_seconds > 0
    assert rows["locked"].offender == "locked['a'][0]"
    assert rows["locked"].pickled_bytes is None
    skipped = {each.what: each.reason for each in table.skipped}
    assert set(skipped) == {"ends", "slow"}
    assert "exit code 3" in skipped["ends"]
    assert "did not end within" in skipped["slow"]


@pytest.mark.slow
def test_the_table_ends_in_time_and_says_what_it_has_not_measured(ipc_shell):
    names = {f"slow{n}": Sleeps() for n in range(20)}
    begin = time.monotonic()
    chosen = pickle_cost_table.Options()
    table, _ = pickle_cost_table.measure(names, chosen, ShellFront(ipc_shell))
    # Each is given less than a second; of twenty most are not begun.
    assert time.monotonic() - begin < 10
    reasons = [each.reason for each in table.skipped]
    assert len(reasons) == 20
    assert reasons.count("no time was left") > 10


def test_loading_the_extension_imports_nothing_of_it(child_env):
    code = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "before = set(sys.modules)\n"
        "shell.run_line_magic('load_ext', 'ipc_magic')\n"
        "new = set(sys.modules) - before\n"
        "print(sorted(n for n in new if n in ('numpy', 'objsize', 'cloudpickle')"
        " or 'pickl' in n.partition('ipc_magic.')[2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**child_env, "IPYTHONDIR": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "['ipc_magic.options.pickle_cost']"


def test_a_script_needs_no_guard_and_no_ipython(child_env, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('begun')\n"
        "import sys\n"
        "import ipc_magic\n"
        "class Point:\n"
        "    pass\n"
        "result = ipc_magic.pickle_cost([Point(), 1], repeats=1)\n"
        "known = 'IPython' in sys.modules\n"
        "print(result.pickled_bytes, len(result.transports), known)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env=child_env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    begun, figures = done.stdout.splitlines()
    assert begun == "begun"
    assert figures.endswith(" 1 False")
    assert int(figures.split()[0]) > 20
