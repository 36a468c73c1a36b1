"""Rows 31-34, 41 and 51-60 of the fault table: the session that runs the cell.

What it shows, what it keeps, what it loads, where it runs, and jobs in the background.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

import ipc_magic
from ipc_magic.errors import CannotStart, ChildKilled, ChildTimeout, OptionError
from ipc_magic.process import fork
from ipc_magic.process import job as jobs

PATIENCE = 60  # seconds that end a test which hangs


def until(condition):
    """Wait until `condition()` is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def gone(pid):
    """Tell whether a process has ended, seen by somebody who cannot reap it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def lines_shown(shell, capsys, cell):
    shell.run_cell(cell, raises=False)
    shown = capsys.readouterr()
    return (shown.out + shown.err).splitlines()


def value_in(kernel, expression):
    """Return a value of the kernel's."""
    return json.loads(
        kernel.run(f"import json; print(json.dumps({expression}))").stdout
    )


# ---- what is shown


# No more than the pipe may hold, and much more than the parent then reads in a turn.
MUCH = "os.write(1, b'x' * 900_000 + b'\\nthe last\\n')"


@pytest.fixture
def small_reads(monkeypatch):
    from ipc_magic.process import monitor

    monkeypatch.setattr(monitor, "_READ_BYTES", 4096)


def much_was_shown(text):
    return text.removesuffix("\nthe last\n") == "x" * 900_000


@pytest.mark.usefixtures("small_reads")
@pytest.mark.parametrize("end", ["raise", "os._exit(0)"])
@pytest.mark.fault(31)
def test_what_a_child_writes_after_an_interrupt_is_shown_to_the_end(
    end, ipc_shell, capfd
):
    with pytest.raises(KeyboardInterrupt):
        ipc_shell.run_cell(
            "%%inprocess\nimport os, signal, time\n"
            "try:\n"
            "    os.kill(os.getppid(), signal.SIGINT)\n"
            "    time.sleep(600)\n"
            f"except KeyboardInterrupt:\n    {MUCH}\n    {end}"
        )
    assert much_was_shown(capfd.readouterr().out)
    assert ipc_magic.last.children[0].ending == "interrupted"


@pytest.mark.fault(31)
def test_lines_written_after_an_interrupt_keep_their_order(ipc_shell, capfd):
    with pytest.raises(KeyboardInterrupt):
        ipc_shell.run_cell(
            "%%inprocess\nimport os, signal, time\n"
            "try:\n"
            "    os.kill(os.getppid(), signal.SIGINT)\n"
            "    time.sleep(600)\n"
            "except KeyboardInterrupt:\n"
            "    for i in range(5_000): print('line', i)\n"
            "    os.system('echo the last')\n"
            "    raise"
        )
    lines = capfd.readouterr().out.splitlines()
    assert lines == [f"line {i}" for i in range(5_000)] + ["the last"]


@pytest.mark.usefixtures("small_reads")
@pytest.mark.fault(31)
def test_what_a_killed_child_wrote_is_shown_to_the_end(ipc_shell, capfd):
    with pytest.raises(ChildKilled):
        ipc_shell.run_cell(f"%%inprocess\nimport os\n{MUCH}\nos.kill(os.getpid(), 9)")
    assert much_was_shown(capfd.readouterr().out)


WIDGET = """
import ipywidgets
bar = ipywidgets.IntProgress(value=0, max=3)
display(bar)
bar.value = 3
"""


@pytest.mark.fault(32)
def test_a_widget_of_the_child_is_shown_and_moves(kernel):
    if importlib.util.find_spec("ipywidgets") is None:
        pytest.skip("ipywidgets is not installed")
    reply = kernel.run(f"%%inprocess{WIDGET}").ok()
    (shown,) = reply.displays
    model = shown["application/vnd.jupyter.widget-view+json"]["model_id"]
    opened = [m for m in reply.messages if m["header"]["msg_type"] == "comm_open"]
    assert model in [m["content"]["comm_id"] for m in opened]
    moved = [m for m in reply.messages if m["header"]["msg_type"] == "comm_msg"]
    states = [m["content"]["data"]["state"] for m in moved]
    assert {"value": 3} in states
    assert value_in(kernel, "'bar' in globals()") is False


@pytest.mark.fault(32)
def test_a_widget_that_wants_an_answer_is_told_of(kernel):
    if importlib.util.find_spec("ipywidgets") is None:
        pytest.skip("ipywidgets is not installed")
    kernel.run(
        "%%inprocess --save told\nimport ipywidgets\n"
        "display(ipywidgets.Button(description='Press'))"
    ).ok()
    (message,) = value_in(kernel, "[f.message for f in told.findings]")
    assert "reaches no one" in message


WAITING = """
import multiprocessing
lock = multiprocessing.get_context("fork").Lock()
lock.acquire()
publish = get_ipython().display_pub.publish
seen = []

def release_when_told(data, *args, **kwargs):
    publish(data, *args, **kwargs)
    if "has used no CPU" in str(data.get("text/plain")):
        seen.append(data["text/plain"])
        lock.release()

get_ipython().display_pub.publish = release_when_told
"""


@pytest.mark.slow
@pytest.mark.fault(34)
def test_a_child_without_cpu_for_long_is_told_of_and_then_no_more(kernel):
    kernel.run(WAITING).ok()
    reply = kernel.run("%%inprocess\nx = 1\nlock.acquire()\nprint('on')").ok()
    assert reply.stdout == "on\n"
    (said,) = eval(kernel.run("seen").ok().results[0]["text/plain"])
    pid = eval(
        kernel.run("import ipc_magic; ipc_magic.last.children[0].pid")
        .ok()
        .results[0]["text/plain"]
    )
    head, place, tail = said.partition(" s: cell line 3: lock.acquire(). ")
    assert head.startswith(f"child {pid} has used no CPU for 1")
    assert place
    assert tail == "Interrupt to stop."
    assert [shown["text/plain"] for shown in reply.displays] == [""]  # it went away
    kernel.run("del get_ipython().display_pub.publish").ok()
    kernel.run("%inprocess --drop").ok()  # it took long, and has left `x`


REPRS = {
    "raises": "def __repr__(self): raise ValueError('no words')",
    "html raises": "def __repr__(self): return 'words'\n"
    "    def _repr_html_(self): raise ValueError('no HTML')",
    "bundle raises": "def __repr__(self): return 'words'\n"
    "    def _repr_mimebundle_(self, **_): raise ValueError('no bundle')",
    "not text": "def __repr__(self): return 5",
    "endless": "def __repr__(self): return repr(self)",
}


SLOW_REPRS = {"endless"}  # IPython takes seconds to show its traceback


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow if kind in SLOW_REPRS else ())
        for kind in REPRS
    ],
)
@pytest.mark.fault(33)
def test_a_repr_that_fails_is_told_as_in_a_cell_of_its_own(kind, ipc_shell, capsys):
    ipc_shell.run_cell(f"class Bad:\n    {REPRS[kind]}")
    ipc_shell.run_cell("#\nBad()\n", raises=False)
    native = capsys.readouterr()
    texts = [output.text for output in ipc_shell.outputs]
    ipc_shell.outputs.clear()
    ipc_shell.run_cell("%%inprocess -q\nBad()\n", raises=False)
    told = capsys.readouterr()

    def last(shown):  # what a recursion was doing at its end differs with the stack
        return [line.split(" while ")[0] for line in shown.strip().splitlines()[-1:]]

    assert native.out + native.err
    assert (last(told.out), last(told.err)) == (last(native.out), last(native.err))
    assert [output.text for output in ipc_shell.outputs] == [t for t in texts if t]
    assert ipc_magic.last.children[0].ending == "finished"


@pytest.mark.fault(33)
def test_a_repr_that_never_ends_is_stopped_at_its_line(ipc_shell):
    with pytest.raises(ChildTimeout, match="cell line 4: while True: pass"):
        ipc_shell.run_cell(
            "%%inprocess -t 0.5\nclass Endless:\n    def __repr__(self):\n"
            "        while True: pass\nEndless()"
        )


# ---- options


BAD_OPTIONS = {
    "-n 0": "-n takes a whole number from 1 to 1000, not '0'",
    "-n -1": "-n takes a whole number from 1 to 1000, not '-1'",
    "-n 10000": "-n takes a whole number from 1 to 1000, not '10000'",
    "-n x": "-n takes a whole number from 1 to 1000, not 'x'",
    "-t 0": "-t takes seconds above 0",
    "-t nan": "-t takes seconds above 0",
    "-t -5": "-t takes seconds above 0",
    "-t inf": "-t takes seconds above 0",
    "--memory potato": "--memory takes a size above 0",
    "--memory 0": "--memory takes a size above 0",
    "--keep-free -1": "--keep-free takes a size",
    "--timout 5": "no option --timout; did you mean --timeout?",
    "--frobnicate": "no option --frobnicate",
    "-o 1x": "-o takes Python names",
    "-o": "-o",
    "--bg class": "--bg takes a Python name",
    "-q -v": "--quiet",
    "-n 2 -n 3": "is given twice",
    "x + 1": "takes options only on its first line",
}


@pytest.fixture
def forks(monkeypatch):
    """Count what is forked, and let nothing be."""
    made = []

    def note():
        made.append(1)
        raise AssertionError("a child was forked")

    monkeypatch.setattr(os, "fork", note)
    return made


@pytest.mark.parametrize("line", BAD_OPTIONS)
@pytest.mark.fault(41)
def test_a_line_that_cannot_be_understood_is_one_line(line, ipc_shell, capsys, forks):
    before = set(ipc_shell.user_ns)
    last = ipc_magic.last
    (shown,) = lines_shown(ipc_shell, capsys, f"%%inprocess {line}\nmine = 1")
    assert shown.startswith("OptionError: ")
    assert BAD_OPTIONS[line] in shown
    assert (forks, set(ipc_shell.user_ns) - before) == ([], set())
    assert ipc_magic.last is last


@pytest.mark.parametrize(
    "cell", ["%%inprocess", "%%inprocess\n", "%%inprocess\n  \n\n"]
)
@pytest.mark.fault(41)
def test_an_empty_cell_is_one_line(cell, ipc_shell, capsys, forks):
    (shown,) = lines_shown(ipc_shell, capsys, cell)
    assert "empty" in shown
    assert forks == []


@pytest.mark.fault(41)
def test_options_without_an_expression_are_one_line(ipc_shell, capsys, forks):
    (shown,) = lines_shown(ipc_shell, capsys, "%inprocess -n 2")
    assert shown.startswith("OptionError: nothing to run")
    assert forks == []


@pytest.mark.fault(41)
def test_a_comment_alone_runs_and_does_nothing(ipc_shell):
    ipc_shell.run_cell("%%inprocess\n# nothing")
    assert ipc_magic.last.children[0].ending == "finished"


@pytest.mark.parametrize("cell", ["%inprocess [1,", "%%inprocess\ndef f(:\n    pass"])
@pytest.mark.fault(41)
def test_a_syntax_error_forks_nothing(cell, ipc_shell, forks):
    with pytest.raises(SyntaxError):
        ipc_shell.run_cell(cell)
    assert forks == []


@pytest.mark.parametrize("cell", ["%inprocess -h", "%%inprocess --help\n1"])
@pytest.mark.fault(41)
def test_help_is_shown_and_nothing_runs(cell, ipc_shell, capsys, forks):
    lines = lines_shown(ipc_shell, capsys, cell)
    assert lines[0] == "usage: %inprocess [options] expression"
    assert any(line.startswith("  -t, --timeout SECONDS") for line in lines)
    assert max(map(len, lines)) <= 80
    assert forks == []


@pytest.mark.parametrize("name", ["inprocess", "%inprocess", "%%inprocess"])
@pytest.mark.fault(41)
def test_help_stands_behind_the_question_mark_too(name, ipc_shell):
    info = ipc_shell.object_inspect(name if name[0] == "%" else f"%{name}")
    assert "usage: %inprocess [options] expression" in info["docstring"]
    assert "--keep-free SIZE" in info["docstring"]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # IPython's own
@pytest.mark.parametrize("start", ["%inprocess ", "%%inprocess ", "%inprocess -q "])
@pytest.mark.fault(41)
def test_options_are_completed(start, ipc_shell):
    _, found = ipc_shell.complete(None, start + "--t")
    assert {"--timeout", "--threads"} <= set(found)
    assert "--memory" not in found
    _, found = ipc_shell.complete(None, start + "--mem")
    assert "--memory" in found


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.fault(41)
def test_the_expression_is_completed_as_ever(ipc_shell):
    ipc_shell.run_cell("some_long_name = 1")
    ipc_shell.Completer.use_jedi = False  # whose names are not in this answer
    _, found = ipc_shell.complete(None, "%inprocess some_l")
    assert "some_long_name" in found


@pytest.mark.fault(41)
def test_an_error_may_be_reported_and_not_raised(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess --no-raise-error --save report -o x\nx = 1\n1 / 0")
    report = ipc_shell.user_ns["report"]
    assert report is ipc_magic.last
    assert report.children[0].error.type == "ZeroDivisionError"
    assert "raised ZeroDivisionError in cell line 3" in report.headline
    assert ipc_shell.user_ns["x"] == 1
    assert capsys.readouterr() == ("", "")
    (shown,) = ipc_shell.outputs
    assert shown.text.startswith("Child ")


@pytest.mark.fault(41)
def test_a_report_is_saved_when_the_error_is_raised(ipc_shell):
    with pytest.raises(ZeroDivisionError) as caught:
        ipc_shell.run_cell("%%inprocess --save report\n1 / 0")
    assert ipc_shell.user_ns["report"] is caught.value.report is ipc_magic.last


@pytest.mark.fault(41)
def test_quiet_shows_no_report_but_all_else(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess -q --save report\nprint('text')\n6 * 7")
    assert capsys.readouterr() == ("text\n", "")
    assert [output.text for output in ipc_shell.outputs] == ["42"]
    assert ipc_shell.user_ns["report"].headline.startswith("Ran in child")
    with pytest.raises(ZeroDivisionError):
        ipc_shell.run_cell("%%inprocess -q\n1 / 0")
    assert len(ipc_shell.outputs) == 1


@pytest.mark.fault(41)
def test_verbose_shows_the_full_report(ipc_shell):
    ipc_shell.run_cell("%%inprocess -o x\nx = 1")
    ipc_shell.run_cell("%%inprocess -v -o x\nx = 1")
    brief, full = (output.text for output in ipc_shell.outputs)
    assert len(full.splitlines()) > len(brief.splitlines())
    assert "limits: --keep-free 1 GiB" in full
    assert str(ipc_magic.last.details()) == full


# ---- what the parent keeps


PENDING = """
import asyncio
beats, woken = [], asyncio.Event()

async def beat():
    while not woken.is_set():
        beats.append(1)
        await asyncio.sleep(0.01)
    return "done"

task = asyncio.create_task(beat())
"""


@pytest.mark.fault(51)
def test_an_async_cell_runs_and_the_tasks_here_are_left_alone(kernel):
    kernel.run(PENDING).ok()
    reply = kernel.run(
        "%%inprocess -o tasks,slept,there\nimport asyncio\n"
        "before = len(beats)\n"
        "async def sleep(): await asyncio.sleep(0.05, 'slept'); return 'slept'\n"
        "slept = await sleep()\n"
        "tasks = len(asyncio.all_tasks())\n"
        "there = len(beats) - before\n"
        "print(await asyncio.gather(sleep(), sleep()))"
    ).ok()
    assert reply.stdout == "['slept', 'slept']\n"
    assert value_in(kernel, "[tasks, slept, there]") == [1, "slept", 0]
    kernel.run("now = len(beats)\nawait asyncio.sleep(0.05)").ok()
    assert value_in(kernel, "[len(beats) > now, task.done()]") == [True, False]
    kernel.run("woken.set(); ended = await task").ok()
    assert value_in(kernel, "ended") == "done"


@pytest.mark.fault(51)
def test_the_tasks_of_the_shell_s_own_loop_do_not_run_in_the_child(ipc_shell):
    # Without a kernel IPython runs all cells with `await` in one loop of its own.
    ipc_shell.run_cell(f"{PENDING}\nawait asyncio.sleep(0.03)")
    ipc_shell.run_cell(
        "%%inprocess -q -o tasks,there\nbefore = len(beats)\n"
        "await asyncio.sleep(0.05)\n"
        "tasks, there = len(asyncio.all_tasks()), len(beats) - before"
    )
    assert (ipc_shell.user_ns["tasks"], ipc_shell.user_ns["there"]) == (1, 0)
    ipc_shell.run_cell("now = len(beats)\nawait asyncio.sleep(0.05)")
    assert len(ipc_shell.user_ns["beats"]) > ipc_shell.user_ns["now"]
    ipc_shell.run_cell("woken.set(); ended = await task")
    assert ipc_shell.user_ns["ended"] == "done"


@pytest.mark.fault(51)
def test_asyncio_run_works_in_the_cell(kernel):
    reply = kernel.run(
        "%%inprocess\nimport asyncio\nprint(asyncio.run(asyncio.sleep(0.01, 'ran')))"
    ).ok()
    assert reply.stdout == "ran\n"


@pytest.mark.fault(51)
def test_an_error_behind_await_is_the_cell_s(kernel):
    reply = kernel.run(
        "%%inprocess\nimport asyncio\nawait asyncio.sleep(0.01)\n1 / 0\n"
    )
    assert reply.ename == "ZeroDivisionError"
    assert any("----> 4 1 / 0" in text for text in reply.traceback)
    assert "asyncio" not in "".join(reply.traceback).replace(
        "import asyncio", ""
    ).replace("await asyncio.sleep", "")


HOOKS = """
calls = []
def note(kind):
    def hook(*_):
        calls.append(kind)
        print('hook', kind)
    return hook
"""


@pytest.mark.fault(52)
def test_the_hooks_of_the_person_run_once_and_here(ipc_shell, capsys):
    ipc_shell.run_cell(HOOKS)
    note = ipc_shell.user_ns["note"]
    kinds = ["pre_execute", "pre_run_cell", "post_execute", "post_run_cell"]
    hooks = {kind: note(kind) for kind in kinds}
    for kind, hook in hooks.items():
        ipc_shell.events.register(kind, hook)
    ipc_shell.run_cell("%%inprocess -q -o seen\nseen = list(calls)")
    for kind, hook in hooks.items():
        ipc_shell.events.unregister(kind, hook)
    assert sorted(ipc_shell.user_ns["calls"]) == sorted(kinds)
    assert sorted(ipc_shell.user_ns["seen"]) == ["pre_execute", "pre_run_cell"]
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == sorted(f"hook {kind}" for kind in kinds)


@pytest.mark.fault(54)
def test_in_out_and_the_history_know_nothing_of_the_child(kernel):
    kernel.run("40 + 2").ok()
    before = value_in(kernel, "[len(In), _, sorted(Out)]")
    reply = kernel.run(
        "%%inprocess -q\n'first of the child'\nget_ipython().run_cell('1 + 1', True)\n"
        "_ = 5\n'last of the child'"
    ).ok()
    assert reply.displays[-1]["text/plain"] == "'last of the child'"
    after = value_in(kernel, "[len(In), _, sorted(Out)]")
    assert after == [before[0] + 2, 42, before[2]]  # this cell, and the question
    assert value_in(kernel, "[i for i in In if 'of the child' in i][0]") == (
        "get_ipython().run_cell_magic('inprocess', '-q', \"'first of the child'\\n"
        "get_ipython().run_cell('1 + 1', True)\\n_ = 5\\n'last of the child'\\n\")"
    )
    history = "list(get_ipython().history_manager.get_range(raw=True))"
    kernel.run(f"inputs = [entry[2] for entry in {history}]").ok()
    # A look at this list is an input itself: those that begin so are meant.
    assert value_in(kernel, "sum(i.startswith('%%inprocess -q') for i in inputs)") == 1
    assert value_in(kernel, "sum(i == '1 + 1' for i in inputs)") == 0


@pytest.mark.fault(54)
def test_the_file_of_the_history_gets_nothing_from_the_child(kernel):
    kernel.run(
        "%%inprocess -q\nget_ipython().run_cell('nested_run = 1', store_history=True)\n"
        "get_ipython().history_manager.writeout_cache()"
    ).ok()
    kernel.run(
        "manager = get_ipython().history_manager\nmanager.writeout_cache()\n"
        "found = [entry[2] for entry in manager.search('*nested_run*')]"
    ).ok()
    assert value_in(kernel, "'nested_run = 1' in found") is False
    assert value_in(kernel, "len(found) > 0")  # the cell that ran it in the child


HISTORY_BUSY = """
import threading, time

held = threading.Event()

def hold():  # as the thread that saves the history does while it writes
    with get_ipython().history_manager.db_input_cache_lock:
        held.set()
        time.sleep(1)

holder = threading.Thread(target=hold)
holder.start()
held.wait()
get_ipython().run_cell_magic("inprocess", "-q -t 30", '''
get_ipython().run_cell("1", store_history=True)
get_ipython().history_manager.writeout_cache()
print("on")
''')
holder.join()
"""


@pytest.mark.fault(34, 54)
def test_the_thread_that_saves_the_history_may_be_busy_at_the_fork(kernel):
    assert kernel.run(HISTORY_BUSY).ok().stdout == "on\n"


@pytest.mark.fault(54)
def test_the_last_value_in_the_child_is_its_own(kernel):
    kernel.run("'here'").ok()
    reply = kernel.run("%%inprocess -q\n'there'\nprint(_)").ok()
    assert reply.stdout == "here\n"  # as in a cell: `_` is the last cell's value
    assert value_in(kernel, "_") == "here"


def number_of(reply):
    kinds = [(m["header"]["msg_type"], m["content"]) for m in reply.messages]
    return next(c["execution_count"] for kind, c in kinds if kind == "execute_input")


@pytest.mark.fault(54)
def test_the_counter_goes_on_by_one_a_cell(kernel):
    first = kernel.run("%%inprocess -q\n1 / 0")
    number = number_of(first)
    shown = "".join(first.traceback)
    assert "----> 2 1 / 0" in shown
    assert f"In[{number}]" in shown or "In[" not in shown  # IPython 7 shows a file
    assert number_of(kernel.run("%%inprocess -q\n1").ok()) == number + 1
    assert number_of(kernel.run("1").ok()) == number + 2


# ---- loading


def state_of(shell):
    """Return all places of the shell that the extension may have put itself into.

    IPython registers its `ExtensionMagics` when `%load_ext` is first used.
    """
    return {
        "magics": {k: sorted(v) for k, v in shell.magics_manager.magics.items()},
        "registry": sorted({*shell.magics_manager.registry} - {"ExtensionMagics"}),
        "configurables": sorted(
            {type(c).__name__ for c in shell.configurables} - {"ExtensionMagics"}
        ),
        "matchers": len(getattr(shell.Completer, "custom_matchers", ())),
        "callbacks": {k: len(v) for k, v in shell.events.callbacks.items()},
        "hooks": sorted(map(str, shell.strdispatchers["complete_command"].strs)),
        "exceptions": shell.custom_exceptions,
    }


@pytest.mark.fault(55)
def test_loading_twice_and_reloading_change_nothing(ipc_shell, capsys):
    before = state_of(ipc_shell)
    ipc_shell.run_line_magic("load_ext", "ipc_magic")
    assert "already loaded" in capsys.readouterr().out
    ipc_magic.load_ipython_extension(ipc_shell)
    assert state_of(ipc_shell) == before
    ipc_shell.run_line_magic("reload_ext", "ipc_magic")
    assert state_of(ipc_shell) == before
    assert capsys.readouterr() == ("", "")
    ipc_shell.run_cell("%%inprocess -q -o x\nx = 1")
    assert ipc_shell.user_ns["x"] == 1


@pytest.mark.fault(55)
def test_unloading_leaves_the_shell_as_it_was(ipython_shell, capsys):
    before = state_of(ipython_shell)
    ipython_shell.run_line_magic("load_ext", "ipc_magic")
    assert state_of(ipython_shell) != before
    ipython_shell.run_cell("%inprocess -q 1")
    with pytest.raises(SyntaxError):
        ipython_shell.run_cell("%%inprocess\n1 +")
    ipython_shell.run_line_magic("unload_ext", "ipc_magic")
    assert state_of(ipython_shell) == before
    assert "unload" not in capsys.readouterr().out
    with pytest.raises(Exception, match="not found"):
        ipython_shell.run_cell("%inprocess 1")
    ipython_shell.run_line_magic("load_ext", "ipc_magic")
    ipython_shell.run_cell("x = %inprocess -q 2")
    assert ipython_shell.user_ns["x"] == 2
    ipython_shell.run_line_magic("unload_ext", "ipc_magic")
    assert state_of(ipython_shell) == before


@pytest.mark.fault(55)
def test_a_default_is_configured(ipc_shell):
    ipc_shell.run_cell('%config IPCMagics.timeout = "0.5"')
    with pytest.raises(ChildTimeout, match=r"\(--timeout 0\.5\)"):
        ipc_shell.run_cell("%%inprocess\nimport time; time.sleep(600)")
    ipc_shell.run_cell("%%inprocess -q -t 50 -o x\nx = 1")  # the line has more say
    ipc_shell.run_cell('%config IPCMagics.timeout = ""')
    ipc_shell.run_cell("%inprocess 1")
    assert ipc_magic.last.limits.timeout_seconds is None


@pytest.mark.fault(55, 41)
def test_a_default_that_makes_no_sense_is_named(ipc_shell, capsys, forks):
    ipc_shell.run_cell('%config IPCMagics.timeout = "potato"', raises=False)
    capsys.readouterr()
    (shown,) = lines_shown(ipc_shell, capsys, "%inprocess 1")
    assert shown.startswith("OptionError: IPCMagics.timeout takes seconds")
    assert forks == []


@pytest.mark.fault(55)
@pytest.mark.usefixtures("no_collections")  # what they copy makes the line longer
def test_the_length_of_reports_is_configured(ipc_shell):
    ipc_shell.run_cell('%config IPCMagics.report = "line"')
    ipc_shell.run_cell("%%inprocess -n 2\n0;")
    assert len(ipc_shell.outputs[-1].text.splitlines()) == 1
    ipc_shell.run_cell('%config IPCMagics.report = "short"')
    ipc_shell.run_cell("%%inprocess -n 2\n0;")
    assert len(ipc_shell.outputs[-1].text.splitlines()) > 3


# ---- where it runs


def python(code, env, **options):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )


@pytest.mark.fault(56)
def test_the_package_can_be_imported_without_ipython(child_env):
    code = (
        "import sys\nsys.modules['IPython'] = None\nimport ipc_magic\n"
        "print(ipc_magic.__version__, ipc_magic.last)"
    )
    done = python(code, child_env)
    assert done.stdout == f"{ipc_magic.__version__} None\n"


@pytest.mark.fault(56)
def test_loading_it_where_no_shell_runs_says_so_in_one_line(child_env):
    code = (
        "import IPython, ipc_magic\n"
        "ipc_magic.load_ipython_extension(IPython.get_ipython())"
    )
    done = python(code, child_env)
    assert done.returncode == 0
    assert done.stdout == (
        "ipc_magic: its magics need an IPython shell, and none runs here.\n"
    )


@pytest.mark.usefixtures("_client_loop")
@pytest.mark.fault(56)
def test_a_system_without_fork_is_told_so_in_one_line(ipc_shell, capsys, monkeypatch):
    monkeypatch.delattr(os, "fork")
    (shown,) = lines_shown(ipc_shell, capsys, "%%inprocess\n1")
    assert shown == "CannotStart: not started: this system has no fork"
    ipc_shell.run_line_magic("reload_ext", "ipc_magic")
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("ipc_magic on ")
    assert "fork" in said


SHELL = """
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
config = Config()
config.HistoryManager.enabled = False
config.HistoryManager.hist_file = ":memory:"
config.InteractiveShell.colors = "nocolor"
shell = InteractiveShell.instance(config=config)
"""
# What Windows lacks; IPython is imported before, as it has its own ways there.
WITHOUT_POSIX = """
import os, signal, sys
del os.fork, os.memfd_create, os.eventfd, os.register_at_fork, signal.SIGRTMAX
for name in ("fcntl", "resource", "termios"):
    sys.modules[name] = None
shell.run_line_magic("load_ext", "ipc_magic")
"""


@pytest.mark.fault(56)
def test_a_system_without_the_modules_of_posix_is_told_so_in_one_line(
    child_env, tmp_path
):
    env = child_env | {"IPYTHONDIR": str(tmp_path)}
    done = python(SHELL + WITHOUT_POSIX, env)
    (said,) = done.stdout.splitlines()
    assert said.startswith("ipc_magic on ")
    assert "fork" in said


DAEMON = """
import multiprocessing
def target():
    shell.run_line_magic("load_ext", "ipc_magic")
    shell.run_cell("%%inprocess -q -n 2 -o x\\nx = child_index + 1")
    print("came", shell.user_ns["x"], multiprocessing.current_process().daemon)
process = multiprocessing.get_context("fork").Process(target=target, daemon=True)
process.start()
process.join()
print(process.exitcode)
"""


@pytest.mark.fault(56)
def test_a_daemon_process_can_run_cells(child_env, tmp_path):
    done = python(SHELL + DAEMON, child_env | {"IPYTHONDIR": str(tmp_path)})
    assert done.stdout == "came [1, 2] True\n0\n"


def ask_control(kernel, kind, **content):
    client = kernel._client
    socket = client.control_channel.socket
    asked = client.session.send(socket, kind, content)["header"]["msg_id"]
    while socket.poll(10_000):
        message = kernel._receive(socket)
        if message["parent_header"].get("msg_id") == asked:
            return message["content"]
    raise TimeoutError(kind)


@pytest.mark.fault(57)
def test_a_cell_in_a_subshell_works(kernel):
    info = ask_control(kernel, "kernel_info_request")
    if "kernel subshells" not in info.get("supported_features", ()):
        pytest.skip("this kernel has no subshells (ipykernel 7)")
    subshell = ask_control(kernel, "create_subshell_request")["subshell_id"]
    client = kernel._client

    def run(code):
        content = {"code": code, "silent": False, "store_history": True}
        content |= {"user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
        message = client.session.msg("execute_request", content)
        message["header"]["subshell_id"] = subshell
        client.shell_channel.send(message)
        return kernel.wait(message["header"]["msg_id"])

    reply = run(
        "%%inprocess -q -o thread\nimport threading\nprint('text'); display(1)\n"
        "thread = threading.current_thread() is threading.main_thread()"
    ).ok()
    assert (reply.stdout, reply.displays[0]["text/plain"]) == ("text\n", "1")
    assert value_in(kernel, "thread") is True  # as in any process that was forked
    assert run("%%inprocess\n1 / 0").ename == "ZeroDivisionError"
    late = run("%%inprocess -t 0.5\nimport time; time.sleep(600)")
    assert late.ename == "ChildTimeout"
    ask_control(kernel, "delete_subshell_request", subshell_id=subshell)


MANY = """
import gc, os
from contextlib import suppress
ip = get_ipython()
CELLS = [
    ("-q", "print('x')"), ("-q -o y", "y = [1]"), ("-q -n 2", "display(child_index)"),
    ("-q --no-raise-error", "1 / 0"), ("-q --no-raise-error", "import os; os._exit(1)"),
    ("-q --no-raise-error -t 0.1", "import time; time.sleep(600)"),
    ("-q --no-raise-error -o y", "class A: pass\\ny = A()"),
    ("-q -o y --no-raise-error", "y = (i for i in ())"),
]
# The thread that saves the history has a journal open, and the folder, as it writes.
def transient(path):
    database = str(ip.history_manager.hist_file)
    return path != database and path.startswith(os.path.dirname(database))
def open_files():
    while True:
        files = {}
        for fd in os.listdir('/proc/self/fd'):
            with suppress(FileNotFoundError):  # the one that lists them is closed
                files[fd] = os.readlink(f'/proc/self/fd/{fd}')
        if not any(map(transient, files.values())):
            return files
def counts():
    gc.collect()
    with open('/proc/self/status') as status:
        threads = next(line.split()[1] for line in status if line.startswith('Threads'))
    with open(f'/proc/self/task/{os.getpid()}/children') as children:
        pids = children.read().split()
    return [open_files(), threads, pids]
def run_all(times):
    for _ in range(times):
        for line, body in CELLS:
            ip.run_cell_magic('inprocess', line, body)
"""


def wait_until(condition):
    """Wait until `condition()` holds; say whether it came to that."""
    deadline = time.monotonic() + 5
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return held


@pytest.mark.slow
@pytest.mark.fault(58)
def test_descriptors_threads_and_children_stay_the_same_over_many_cells(kernel):
    kernel.run(MANY).ok()
    kernel.run("run_all(1)").ok()  # imports, and what is opened once
    # Sockets that earlier tests closed are closed by a thread of ZeroMQ, in its time.
    seen = [value_in(kernel, "counts()")]

    def at_rest():
        seen.append(value_in(kernel, "counts()"))
        return seen[-1] == seen[-2]

    assert wait_until(at_rest)
    before = seen[-1]
    kernel.run("run_all(4)").ok()  # 32 cells, 36 children

    def added():
        files, threads, children = value_in(kernel, "counts()")
        # What earlier tests left to be closed may be closed meanwhile: fewer is well.
        more = dict(files.items() - before[0].items())
        return more, max(0, int(threads) - int(before[1])), children

    wait_until(lambda: added() == ({}, 0, before[2]))
    assert added() == ({}, 0, before[2])
    assert before[2] == []


KILLER = """%%inprocess
import os, signal, subprocess, time
inner = subprocess.Popen(['sleep', '600'])
with open(path, 'w') as file:
    print(os.getpid(), inner.pid, file=file)
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(600)
"""


@pytest.mark.fault(59)
def test_a_child_that_kills_the_kernel_goes_with_it(fresh_kernel, tmp_path):
    path = tmp_path / "pids"
    fresh_kernel.run(f"path = {str(path)!r}").ok()
    waiting = fresh_kernel.submit(KILLER)
    with pytest.raises(RuntimeError, match="the kernel ended"):
        fresh_kernel.wait(waiting)
    pids = list(map(int, path.read_text().split()))
    assert len(pids) == 2
    until(lambda: all(map(gone, pids)))


# ---- in a test


@pytest.mark.fault(60)
def test_an_assertion_of_the_child_is_one_here(ipc_shell):
    with pytest.raises(AssertionError, match="two"):
        ipc_shell.run_cell("%%inprocess\nassert 1 == 2, 'two'")


@pytest.mark.fault(60)
def test_pytest_s_own_outcomes_come_home(ipc_shell):
    for name in ("skip", "fail", "xfail"):
        outcome = getattr(pytest, name).Exception
        with pytest.raises(outcome, match="why") as caught:
            ipc_shell.run_cell(f"%%inprocess\nimport pytest; pytest.{name}('why')")
        assert type(caught.value) is outcome


@pytest.fixture(params=["capsys", "capfd"])
def capture(request):
    return request.getfixturevalue(request.param)


@pytest.mark.fault(60)
def test_what_the_child_prints_is_captured(ipc_shell, capture):
    ipc_shell.run_cell(
        "%%inprocess -q\nimport os, sys\nprint('out')\nprint('err', file=sys.stderr)\n"
        "os.system('echo shell');"
    )
    shown = capture.readouterr()
    assert (shown.out, shown.err) == ("out\nshell\n", "err\n")


INNER = """
import threading
import pytest

def test_passes(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess -q -o x\\nx = 1; print('captured')")
    assert ipc_shell.user_ns["x"] == 1
    assert capsys.readouterr().out == "captured\\n"

def test_asserts(ipc_shell):
    ipc_shell.run_cell("%%inprocess\\nx = 1\\nassert x == 2, 'not so'")

def test_skips(ipc_shell):
    ipc_shell.run_cell("%%inprocess\\nimport pytest; pytest.skip('not here')")

@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
def test_fails_as_expected(ipc_shell):
    ipc_shell.run_cell("%%inprocess\\n1 / 0")

def test_prints(ipc_shell):
    ipc_shell.run_cell("%%inprocess -q\\nprint('seen by', 'minus s')")

def test_warns(ipc_shell, recwarn):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    ipc_shell.run_cell("%%inprocess -q\\n1")
    stop.set()
    thread.join()
    assert not list(recwarn)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "-s",
        pytest.param("-p xdist -n 2", marks=pytest.mark.slow),
        pytest.param("", marks=pytest.mark.slow),
        pytest.param("--capture=sys", marks=pytest.mark.slow),
    ],
)
@pytest.mark.fault(60)
def test_a_suite_with_cells_in_children_is_as_any_other(arguments, child_env, tmp_path):
    if "xdist" in arguments:
        pytest.importorskip("xdist")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_inner.py").write_text(INNER)
    env = child_env | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plugins = ["-p", "ipc_magic.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-W", "error", "-rs"),
            *plugins,
            *arguments.split(),
        ],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    said = done.stdout
    assert "1 failed, 3 passed, 1 skipped, 1 xfailed" in said
    assert "AssertionError: not so" in said
    assert "not here" in said
    assert ("seen by minus s" in said) == (arguments == "-s")


# ---- in the background


SLEEPER = "import time\nprint('begun')\ntime.sleep(600)"


@pytest.mark.fault(12, 31)
def test_a_job_is_seen_while_it_runs_and_after(ipc_shell, tmp_path, capsys):
    go = tmp_path / "go"
    ipc_shell.user_ns["go"] = go
    ipc_shell.run_cell(
        "%%inprocess --bg job -o x\nimport time\nprint('begun')\n"
        "while not go.exists(): time.sleep(0.01)\nx = 5\nprint('done')"
    )
    job = ipc_shell.user_ns["job"]
    until(lambda: "begun" in job.output)
    first, *rest = repr(job).splitlines()
    assert first.startswith("Job job: running in child ")
    assert rest == ["  begun"]
    assert job.running
    assert job.report is None
    ipc_shell.run_cell("%inprocess")
    assert ipc_shell.outputs[-1].text.splitlines()[0].startswith("Job job: running in")
    with pytest.raises(TimeoutError, match=r"job job still runs after 0\.05 s"):
        ipc_shell.run_cell("job.wait(0.05)")
    ipc_shell.run_cell("%%inprocess -q -o y\ny = 'another cell meanwhile'")
    assert ipc_shell.user_ns["y"] == "another cell meanwhile"
    assert "x" not in ipc_shell.user_ns
    go.touch()
    report = job.wait(PATIENCE)
    assert report is job.report is ipc_magic.last
    assert ipc_shell.user_ns["x"] == 5
    assert not job.running
    assert repr(job).startswith("Job job: Ran in child ")
    assert job.output == "begun\ndone\n"
    assert "begun\n" in capsys.readouterr().out
    ipc_shell.run_cell("%inprocess")
    assert ipc_shell.outputs[-1].text == "No job runs."
    for name in ("go", "job"):
        ipc_shell.user_ns.pop(name)


@pytest.mark.fault(1)
def test_the_error_of_a_job_is_raised_where_it_is_waited_for(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess --bg job --save report\nx = 1\n1 / 0")
    until(lambda: not ipc_shell.user_ns["job"].running)
    assert "raised ZeroDivisionError" in repr(ipc_shell.user_ns["job"])
    capsys.readouterr()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            ipc_shell.run_cell("job.wait()")
        assert caught.value.report is ipc_shell.user_ns["report"]
    ipc_shell.run_cell("job.wait()", raises=False)
    assert "----> 3 1 / 0" in capsys.readouterr().out


@pytest.mark.fault(12)
def test_a_job_is_killed(ipc_shell):
    before = {child.pid for child in psutil.Process().children()}
    ipc_shell.run_cell(f"%%inprocess --bg job -n 2\n{SLEEPER}")
    job = ipc_shell.user_ns["job"]
    until(lambda: job.output.count("begun") == 2)
    pids = {child.pid for child in psutil.Process().children()} - before
    assert len(pids) >= 2
    job.kill()
    job.kill()  # nothing more to do
    assert not job.running
    assert all(map(gone, pids))
    with pytest.raises(ChildKilled):
        job.wait()
    assert {child.signal for child in job.report.children} == {"SIGKILL"}


@pytest.mark.fault(12)
def test_a_job_has_its_time_limit(ipc_shell):
    ipc_shell.run_cell(f"%%inprocess --bg job -t 0.5\n{SLEEPER}")
    with pytest.raises(ChildTimeout):
        ipc_shell.user_ns["job"].wait(PATIENCE)


@pytest.mark.fault(55)
def test_jobs_end_when_the_extension_is_unloaded(ipc_shell):
    ipc_shell.run_cell(f"%%inprocess --bg job\n{SLEEPER}")
    job = ipc_shell.user_ns["job"]
    until(lambda: "begun" in job.output)
    ipc_shell.run_line_magic("unload_ext", "ipc_magic")
    assert not job.running
    assert jobs.live_jobs() == []
    assert multiprocessing.active_children() == []


@pytest.mark.fault(18)
def test_jobs_end_with_the_session(child_env, tmp_path):
    code = (
        f"{SHELL}\nshell.run_line_magic('load_ext', 'ipc_magic')\n"
        f"shell.run_cell({f'%%inprocess --bg job -n 2{chr(10)}{SLEEPER}'!r})\n"
        "import pathlib, psutil\n"  # what the job prints may come into any line
        "pids = [str(child.pid) for child in psutil.Process().children()]\n"
        f"pathlib.Path({str(tmp_path / 'pids')!r}).write_text(' '.join(pids))\n"
    )
    done = python(code, child_env | {"IPYTHONDIR": str(tmp_path)})
    assert done.returncode == 0
    pids = list(map(int, (tmp_path / "pids").read_text().split()))
    assert len(pids) >= 2
    until(lambda: all(map(gone, pids)))
    assert "Traceback" not in done.stdout


@pytest.mark.fault(31)
def test_the_output_of_a_job_appears_below_the_cell_that_launched_it(kernel, tmp_path):
    go = tmp_path / "go"
    launching = kernel.submit(
        "%%inprocess --bg job\nimport os, time\nprint('early')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "print('late'); display('shown late')"
    )
    kernel.wait(launching).ok()
    other = kernel.run("print('other')").ok()
    assert other.stdout == "other\n"
    go.touch()
    messages = kernel.strays + kernel.later(20, until="'shown late'")
    kernel.strays.clear()
    mine = [m for m in messages if m["parent_header"].get("msg_id") == launching]
    texts = [m["content"].get("text", "") for m in mine]
    assert "late\n" in "".join(texts)
    shown = [m["content"]["data"] for m in mine if "data" in m["content"]]
    assert {"text/plain": "'shown late'"} in shown
    kernel.run("job.wait()").ok()
    assert value_in(kernel, "job.output") == "early\nlate\n"


@pytest.mark.fault(16)
def test_an_interrupt_of_another_cell_leaves_a_job_alone(kernel):
    kernel.run(f"%%inprocess --bg job\n{SLEEPER}").ok()
    reply = kernel.run("import time; time.sleep(600)", interrupt_after=0.3)
    assert reply.ename == "KeyboardInterrupt"
    assert value_in(kernel, "job.running") is True
    kernel.run("job.kill()").ok()
    assert value_in(kernel, "job.running") is False


@pytest.mark.fault(16)
def test_a_job_whose_launch_is_interrupted_is_bound(ipc_shell, monkeypatch):
    start = fork.start

    def start_and_interrupt(*args, **more):
        started = start(*args, **more)
        os.kill(os.getpid(), signal.SIGINT)
        return started

    monkeypatch.setattr(fork, "start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        ipc_shell.run_cell(f"%%inprocess --bg job\n{SLEEPER}")
    job = ipc_shell.user_ns["job"]
    assert job.running
    assert jobs.live_jobs() == [job]
    job.kill()


@pytest.mark.fault(38)
def test_a_job_that_cannot_start_binds_nothing(ipc_shell, monkeypatch):
    def fail():
        raise OSError(11, os.strerror(11))

    monkeypatch.setattr(os, "fork", fail)
    with pytest.raises(CannotStart):
        ipc_shell.run_cell("%%inprocess --bg job\n1")
    assert "job" not in ipc_shell.user_ns
    assert jobs.live_jobs() == []


@pytest.mark.fault(38)
def test_a_job_that_no_thread_can_watch_ends(ipc_shell, monkeypatch):
    def fail(_thread):
        raise RuntimeError("can't start new thread")

    before = psutil.Process().children()
    with monkeypatch.context() as patches:
        patches.setattr(threading.Thread, "start", fail)
        with pytest.raises(CannotStart, match="no thread"):
            ipc_shell.run_cell(f"%%inprocess --bg job\n{SLEEPER}")
    assert "job" not in ipc_shell.user_ns
    assert jobs.live_jobs() == []
    assert psutil.Process().children() == before


@pytest.mark.fault(41)
def test_a_job_s_name_is_one(ipc_shell):
    with pytest.raises(OptionError):
        ipc_shell.run_cell("%%inprocess --bg 1x\n1")


@pytest.mark.fault(16, 59)
def test_ctrl_c_in_a_terminal_ends_the_child_and_not_the_session(terminal):
    shown = terminal.run(
        "get_ipython().run_cell_magic('inprocess', '', 'import time\\n"
        'print("begun", flush=True)\\ntime.sleep(600)\')',
        interrupt_after=1.0,
    )
    assert "begun" in shown
    assert "KeyboardInterrupt" in shown
    assert terminal.run("print('on')") == "on"
    assert psutil.Process(terminal.pid).children() == []
