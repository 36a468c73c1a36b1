"""Rows 22-30 of the fault table: text, displays and input of a child."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import time

import pytest

import ipc_magic

PATIENCE_SECONDS = 30

# What is written where, by whom; the words are looked for in the cell's output.
WRITERS = {
    "print": ("print('said')", "stdout"),
    "print to stderr": ("print('said', file=sys.stderr)", "stderr"),
    "sys.__stdout__": ("sys.__stdout__.write('said\\n')", "stdout"),
    "a part of a line": ("print('said', end='', flush=True); print()", "stdout"),
    "an object of before": ("old_out.write('said\\n')", "stdout"),
    "an error stream of before": ("print('said', file=old_err)", "stderr"),
    "os.write": ("os.write(1, b'said\\n')", "stdout"),
    "os.write to stderr": ("os.write(2, b'said\\n')", "stderr"),
    "os.system": ("os.system('echo said')", "stdout"),
    "subprocess": ("subprocess.run(['sh', '-c', 'echo said >&2'])", "stderr"),
    "shell": ("!echo said", "stdout"),
    "script": ("get_ipython().run_cell_magic('bash', '', 'echo said')", "stdout"),
    "C": ("libc.puts(b'said'); libc.fflush(None)", "stdout"),
    "C printf": ("libc.printf(b'sa%s\\n', b'id'); libc.fflush(None)", "stdout"),
    "logging": ("logging.getLogger('faults').warning('said')", "stderr"),
    "thread": (
        "t = threading.Timer(0, print, ['said']); t.start(); t.join()",
        "stdout",
    ),
    "fork": (
        "p = forks.Process(None, print, '', ['said']); p.start(); p.join()",
        "stdout",
    ),
    "traceback": ("traceback.print_exception(KeyError('said'))", "stderr"),
}
NEEDED = (
    "import ctypes, logging, multiprocessing, os, subprocess, sys\n"
    "import threading, traceback\n"
    "forks = multiprocessing.get_context('fork')\n"
    "libc = ctypes.CDLL(None)\n"
    "old_out, old_err = sys.stdout, sys.stderr\n"
)
LOG = (
    "handler = logging.StreamHandler()\n"
    "logging.getLogger('faults').addHandler(handler)\n"
)


@pytest.mark.fault(22)
def test_text_of_every_writer_comes_to_the_cell(ipc_shell, capfd):
    # The handler is made before the fork, as in notebooks.
    ipc_shell.run_cell(NEEDED + LOG)
    said = {}
    try:
        for writer, (code, _) in WRITERS.items():
            ipc_shell.run_cell(f"%%inprocess -q\n{code}")
            got = capfd.readouterr()
            said[writer] = (got.out.count("said"), got.err.count("said"))
    finally:
        logging.getLogger("faults").removeHandler(ipc_shell.user_ns["handler"])
    once = {"stdout": (1, 0), "stderr": (0, 1)}
    assert said == {writer: once[stream] for writer, (_, stream) in WRITERS.items()}


@pytest.mark.fault(22)
def test_a_log_file_opened_before_is_written_once(ipc_shell, tmp_path):
    ipc_shell.user_ns["path"] = tmp_path / "log"
    ipc_shell.run_cell(
        "import logging\nhandler = logging.FileHandler(path)\n"
        "log = logging.getLogger('faults')\nlog.addHandler(handler)\nlog.warning('one')"
    )
    try:
        ipc_shell.run_cell("%%inprocess -n 2\nlog.warning('two')")
        ipc_shell.run_cell("log.warning('three')")
    finally:
        logging.getLogger("faults").removeHandler(ipc_shell.user_ns["handler"])
        ipc_shell.user_ns["handler"].close()
    assert (tmp_path / "log").read_text() == "one\ntwo\ntwo\nthree\n"


@pytest.mark.fault(22)
def test_unflushed_text_of_c_is_not_lost_and_not_doubled(ipc_shell, capfd):
    # Streams of their own: Python may have made C's stdout unbuffered.
    ipc_shell.run_cell(
        "import ctypes, os\nlibc = ctypes.CDLL(None)\n"
        "libc.fdopen.restype = ctypes.c_void_p\n"
        "stream = ctypes.c_void_p(libc.fdopen(os.dup(1), b'w'))\n"
        "libc.fputs(b'before\\n', stream)"
    )
    ipc_shell.run_cell(
        "%%inprocess -q\ninner = ctypes.c_void_p(libc.fdopen(1, b'w'))\n"
        "libc.fputs(b'inside\\n', inner)"
    )
    ipc_shell.run_cell("libc.fclose(stream)")
    got = capfd.readouterr().out
    assert sorted(got.splitlines()) == ["before", "inside"]


@pytest.mark.fault(22)
def test_unflushed_text_of_the_parent_is_not_doubled(ipc_shell, tmp_path):
    with open(tmp_path / "out", "w") as file, contextlib.redirect_stdout(file):
        ipc_shell.user_ns["hidden"] = [file]
        ipc_shell.run_cell("print('before')")
        ipc_shell.run_cell("%%inprocess -q\nhidden[0].flush()\nprint('inside')")
    assert (tmp_path / "out").read_text() == "before\ninside\n"


@pytest.mark.fault(22)
def test_a_log_handler_on_a_plain_file_object_gets_the_childs_stream(ipc_shell, capfd):
    # Another thread of the parent may hold the lock of the file object for ever.
    ipc_shell.run_cell(
        "import logging, sys\nhandler = logging.StreamHandler(sys.__stderr__)"
    )
    ipc_shell.run_cell("%%inprocess -q\nprint(handler.stream is sys.stderr)")
    assert capfd.readouterr().out == "True\n"


def read_until(kernel, words):
    """Return what iopub brings of a running cell until all words have come."""
    texts = ""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not all(word in texts for word in words) and time.monotonic() < deadline:
        for message in kernel.later(0.1):
            content = message["content"]
            texts += content.get("text", "") + str(content.get("data", ""))
    return texts


@pytest.mark.fault(22, 27)
def test_output_comes_while_the_cell_still_runs(kernel, tmp_path):
    go = tmp_path / "go"
    kernel.run(f"{NEEDED}{LOG}import pathlib; go = pathlib.Path({str(go)!r})").ok()
    said = [
        code.replace("said", f"said-{number}-").replace("'sa%s", f"'sa%s-{number}-")
        for number, (code, _) in enumerate(WRITERS.values())
    ]
    body = "\n".join(said)
    waiting = kernel.submit(
        "%%inprocess\n"
        f"{body}\ndisplay('shown')\nprint('half a line', end='')\n"
        "import time\nwhile not go.exists(): time.sleep(0.01)\nprint(' and the rest')"
    )
    words = [f"said-{n}-" for n, code in enumerate(said) if "sa%s" not in code]
    texts = read_until(kernel, [*words, "shown", "half a line"])
    go.touch()
    reply = kernel.wait(waiting).ok()
    assert [word for word in words if word not in texts] == []
    assert "half a line" in texts
    assert "shown" in texts
    assert reply.stdout == " and the rest\n"
    assert "said" not in kernel.log
    kernel.run("logging.getLogger('faults').removeHandler(handler)").ok()


def sequence(reply):
    """Return what a cell showed in its order, neighbouring text of a stream joined."""
    shown = []
    for message in reply.messages:
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream" and shown and shown[-1][0] == content["name"]:
            shown[-1] = (content["name"], shown[-1][1] + content["text"])
        elif kind == "stream":
            shown.append((content["name"], content["text"]))
        elif "data" in content and "comm_id" not in content:
            shown.append((kind, content["data"]["text/plain"]))
        elif kind == "clear_output":
            shown.append((kind, content["wait"]))
    return shown


@pytest.mark.fault(27)
def test_the_order_of_what_is_shown(kernel):
    reply = kernel.run(
        "%%inprocess -q\nimport os, subprocess, sys\n"
        "print('a')\nprint('b', file=sys.stderr)\ndisplay('c')\nos.system('echo d')\n"
        "print('e')\ndisplay('f')\nprint('g', file=sys.stderr)\nprint('h')\n"
        "!echo i\n"
        "display('j')\nsubprocess.run(['sh', '-c', 'echo k >&2'])\ndisplay('l')\n'm'"
    ).ok()
    assert sequence(reply) == [
        ("stdout", "a\n"),
        ("stderr", "b\n"),
        ("display_data", "'c'"),
        ("stdout", "d\ne\n"),
        ("display_data", "'f'"),
        ("stderr", "g\n"),
        ("stdout", "h\ni\r\n"),  # a kernel's `!` uses a terminal
        ("display_data", "'j'"),
        ("stderr", "k\n"),
        ("display_data", "'l'"),
        ("display_data", "'m'"),
    ]


@pytest.mark.fault(27)
def test_the_order_holds_at_every_turn(kernel):
    reply = kernel.run(
        "%%inprocess -q\nimport sys\n"
        "for n in range(300):\n"
        "    print(n)\n    print(n, file=sys.stderr)\n    display(n)"
    ).ok()
    expected = []
    for n in range(300):
        expected += [
            ("stdout", f"{n}\n"),
            ("stderr", f"{n}\n"),
            ("display_data", f"{n}"),
        ]
    assert sequence(reply) == expected


RICH = {
    "html": "from IPython.display import HTML\ndisplay(HTML('<b>x</b>'))",
    "metadata": "display({'text/plain': 'a', 'image/png': b'\\x89PNG'}, raw=True,"
    " metadata={'image/png': {'width': 3}})",
    "update": "handle = display('one', display_id='u')\nhandle.update('two')",
    "update by id": "from IPython.display import update_display\n"
    "display('one', display_id='v')\nupdate_display('three', display_id='v')",
    "clear": "from IPython.display import clear_output\n"
    "display('a')\nclear_output(wait=True)\ndisplay('b')\nclear_output()",
    "own class": "class Odd:\n    def _repr_html_(self): return '<i>odd</i>'\n"
    "    def __repr__(self): return 'odd'\ndisplay(Odd(), Odd())",
    "bundle": "class Both:\n    def _repr_mimebundle_(self, **_):\n"
    "        return {'text/plain': 'p', 'application/json': {'a': [1, None, 2.5]}}\n"
    "display(Both())",
    "image": "from IPython.display import Image\n"
    "display(Image(data=b'\\x89PNG\\r\\n\\x1a\\n' + bytes(24), format='png'))",
    "javascript": "from IPython.display import Javascript\ndisplay(Javascript('1'))",
    "latex": "from IPython.display import Latex, Markdown\n"
    "display(Latex('$x$'), Markdown('# y'))",
    "plain": "display(1, 'two', [3.0], {'four': None})",
}


def displays(reply):
    kinds = ("display_data", "update_display_data", "clear_output")
    return [
        (message["header"]["msg_type"], message["content"])
        for message in reply.messages
        if message["header"]["msg_type"] in kinds
    ]


@pytest.mark.fault(27)
def test_a_display_is_the_same_message_as_without_the_magic(kernel):
    here = {kind: displays(kernel.run(RICH[kind]).ok()) for kind in RICH}
    child = {
        kind: displays(kernel.run(f"%%inprocess -q\n{RICH[kind]}").ok())
        for kind in RICH
    }
    assert all(here.values())
    assert child == here


@pytest.mark.fault(27)
def test_a_child_updates_a_display_of_an_earlier_cell(kernel):
    earlier = kernel.run("handle = display('old', display_id='earlier')").ok()
    kernel.run("%%inprocess -q\nhandle.update('new')").ok()
    assert [shown["text/plain"] for shown in earlier.displays] == ["'new'"]


LAST = {
    "40 + 2": ["42"],
    "40 + 2;": [],
    "x = 1": [],
    "None": [],
    "'a;'": ["'a;'"],
    "'a'  # b;": ["'a'"],
    "'a';  # b": [],
    "1\n2": ["2"],
    "import asyncio\nawait asyncio.sleep(0, 'slept')": ["'slept'"],
    "if True:\n    5": [],
}


@pytest.mark.fault(27)
def test_the_last_value_is_displayed_unless_a_semicolon_hides_it(ipc_shell):
    shown = {}
    for body in LAST:
        ipc_shell.outputs.clear()
        ipc_shell.run_cell(f"%%inprocess -q\n{body}")
        shown[body] = [output.text for output in ipc_shell.outputs]
    assert shown == LAST
    assert ipc_shell.user_ns["Out"] == {}


@pytest.mark.fault(27)
def test_the_last_value_is_displayed_where_no_cell_runs(ipc_shell):
    ipc_shell.run_cell_magic("inprocess", "-q", "40 + 2")
    assert [output.text for output in ipc_shell.outputs] == ["42"]


@pytest.mark.fault(27)
def test_a_semicolon_hides_the_value_and_not_the_report(kernel):
    reply = kernel.run("%%inprocess\n40 + 2;").ok()
    assert reply.displays == []
    assert reply.results[0]["text/plain"].startswith("Ran in child")


@pytest.mark.fault(27)
def test_figures_are_shown_and_stay_in_the_child(kernel):
    pytest.importorskip("matplotlib")
    kernel.run("%matplotlib inline\nimport matplotlib.pyplot as plt", timeout=120).ok()
    reply = kernel.run("%%inprocess -q\nplt.plot([1, 2])\nprint('drawn');").ok()
    (figure,) = reply.displays[-1:]
    assert figure["image/png"].startswith("iVBOR")
    assert reply.stdout == "drawn\n"
    reply = kernel.run(
        "%%inprocess -q\nfor n in 1, 2:\n    plt.plot([n])\n    plt.show()"
    )
    assert ["image/png" in shown for shown in reply.ok().displays] == [True, True]
    assert kernel.run("print(plt.get_fignums())").ok().stdout == "[]\n"
    assert kernel.run("plt.plot([1]);").ok().displays


@pytest.mark.fault(30)
def test_a_bar_of_tqdm_redraws_itself(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess -q\nfrom tqdm import tqdm\n"
        "for _ in tqdm(range(3), ncols=60, mininterval=0): pass\nprint('end')"
    )
    got = capsys.readouterr()
    assert got.out == "end\n"
    states = [state for state in got.err.split("\r") if state.strip()]
    assert "0/3" in states[0]
    assert "3/3" in states[-1]
    assert "100%" in states[-1]


@pytest.mark.fault(30, 32)
def test_a_widget_bar_moves(kernel):
    pytest.importorskip("ipywidgets")
    reply = kernel.run(
        "%%inprocess\nfrom tqdm.notebook import tqdm\n"
        "for _ in tqdm(range(4), mininterval=0): pass",
        timeout=120,
    ).ok()
    kinds = [message["header"]["msg_type"] for message in reply.messages]
    opened = {
        message["content"]["comm_id"]
        for message in reply.messages
        if message["header"]["msg_type"] == "comm_open"
    }
    assert len(opened) > 3
    states = [
        message["content"]["data"].get("state", {})
        for message in reply.messages
        if message["header"]["msg_type"] == "comm_msg"
        and message["content"]["comm_id"] in opened
    ]
    assert [state["value"] for state in states if state.get("value") in (1, 2, 3, 4)]
    assert any(state.get("bar_style") == "success" for state in states)
    assert kinds.index("comm_open") < kinds.index("display_data")
    assert any(
        "application/vnd.jupyter.widget-view+json" in shown for shown in reply.displays
    )
    assert "attempted to send message from fork" not in kernel.log
    assert kernel.run("%%inprocess\n1").ok().results


@pytest.mark.fault(30)
def test_lines_of_several_children_are_tagged_and_never_torn(ipc_shell, capfd):
    ipc_shell.run_cell(
        "%%inprocess -q -n 4\nimport os, sys\n"
        "for n in range(300):\n"
        "    file = sys.stderr if n % 3 == 0 else sys.stdout\n"
        "    print('child', child_index, end=' ', file=file)\n"
        "    print('line', n, file=file)\n"
        "    if n % 50 == 1: os.system(f'printf \"sub {child_index} \"; echo {n}')"
    )
    got = capfd.readouterr()
    for text, lines in ((got.out, 200 + 6), (got.err, 100)):
        by_child = {index: [] for index in range(4)}
        for line in text.splitlines():
            match = re.fullmatch(r"\[(\d)\] (child|sub) \1 (?:line )?(\d+)", line)
            assert match, line
            if match[2] == "child":
                by_child[int(match[1])].append(int(match[3]))
        assert len(text.splitlines()) == 4 * lines
        for numbers in by_child.values():
            assert numbers == sorted(numbers)


@pytest.mark.fault(30)
def test_of_a_childs_bar_the_last_state_is_a_line(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess -q -n 3\nimport sys\n"
        "for n in range(0, 101, 20):\n"
        "    print(f'\\r{n} %', end='', flush=True, file=sys.stderr)\n"
        "if child_index: print(file=sys.stderr)\n"
        "print('unfinished', child_index, end='')"
    )
    got = capsys.readouterr()
    assert sorted(got.err.splitlines()) == [f"[{n}] 100 %" for n in range(3)]
    assert sorted(got.out.splitlines()) == [f"[{n}] unfinished {n}" for n in range(3)]


@pytest.mark.fault(30)
def test_one_child_of_n_is_tagged_and_one_alone_is_not(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess -q -n 1\nprint(child_index)")
    ipc_shell.run_cell("%%inprocess -q\nprint('child_index' in globals())")
    assert capsys.readouterr().out == "[0] 0\nFalse\n"
    assert "child_index" not in ipc_shell.user_ns


@pytest.mark.fault(30)
def test_values_of_several_children_come_in_their_order(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess -q -n 3 -o square\nimport time\n"
        "time.sleep(0.1 * (2 - child_index))\nsquare = child_index ** 2"
    )
    assert ipc_shell.user_ns["square"] == [0, 1, 4]


@pytest.mark.fault(25)
@pytest.mark.parametrize("order", ["%%time\n%%inprocess -q", "%%inprocess -q\n%%time"])
def test_time_around_and_inside(ipc_shell, capsys, order):
    ipc_shell.run_cell(f"{order}\nprint('timed')\n7", raises=True)
    out = capsys.readouterr().out
    assert out.count("timed\n") == 1
    assert out.count("Wall time") == 1
    assert [output.text for output in ipc_shell.outputs] == ["7"]


@pytest.mark.fault(25)
def test_an_error_under_time_is_shown_once(ipc_shell, capsys):
    for order in ("%%time\n%%inprocess", "%%inprocess\n%%time"):
        ipc_shell.run_cell(f"{order}\n1 / 0", raises=False)
        got = capsys.readouterr()
        assert (got.out + got.err).count("ZeroDivisionError: division by zero") == 1


@pytest.mark.fault(25)
def test_capture_around(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%capture got\n%%inprocess\nimport os, sys\nprint('out')\n"
        "os.system('echo sub')\nprint('err', file=sys.stderr)\ndisplay('shown')\n'last'"
    )
    got = ipc_shell.user_ns["got"]
    assert (got.stdout, got.stderr) == ("out\nsub\n", "err\n")
    texts = [output.data["text/plain"] for output in got.outputs]
    assert texts[:2] == ["'shown'", "'last'"]
    assert texts[2].startswith("Ran in child")
    assert capsys.readouterr() == ("", "")
    assert ipc_shell.outputs == []


@pytest.mark.fault(25)
def test_capture_inside(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess -q\n%%capture got\nprint('out')\ndisplay(1)\n2")
    ipc_shell.run_cell(
        "%%inprocess -q -o text\nfrom IPython.utils.capture import capture_output\n"
        "with capture_output() as got:\n    print('out')\n    display(1)\n"
        "text = got.stdout + str(len(got.outputs))\nprint('after')"
    )
    assert capsys.readouterr().out == "after\n"
    assert ipc_shell.outputs == []
    assert ipc_shell.user_ns["text"] == "out\n1"


@pytest.mark.fault(25)
def test_other_magics_inside(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess -q\n%%bash\necho from bash")
    ipc_shell.run_cell(
        "%%inprocess -q\n%timeit -n1 -r1 int()\n"
        "print(get_ipython().getoutput('echo caught')[0])\n%pwd\n%time print('t')"
    )
    out = capsys.readouterr().out
    for word in ("from bash\n", "1 loop each", "caught\n", "t\n", "Wall time"):
        assert word in out


@pytest.mark.fault(25)
def test_redirected_streams_inside(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess -q -o text\nimport contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()) as held:\n    print('held')\n"
        "text = held.getvalue()\nprint('free')"
    )
    assert capsys.readouterr().out == "free\n"
    assert ipc_shell.user_ns["text"] == "held\n"


ASKING = {
    "input": "input('? ')",
    "getpass": "import getpass\ngetpass.getpass()",
    "from getpass": "from getpass import getpass as ask\nask('? ')",
    "pdb": "import pdb\npdb.set_trace()\nx = 1",
}


@pytest.mark.fault(26)
@pytest.mark.parametrize("way", ASKING)
def test_asking_is_an_error_at_once(kernel, way):
    reply = kernel.run(f"%%inprocess -t 30\n{ASKING[way]}", stdin=True)
    assert reply.status == "error"
    assert reply.prompts == []
    if way not in ("pdb", "breakpoint"):
        assert reply.ename == "NoInput"
        assert "cannot ask for input" in reply.evalue
    assert reply.ename != "ChildTimeout"
    asked = kernel.run("print(input('here? '))", stdin=["yes"])
    assert asked.ok().stdout == "yes\n"


@pytest.mark.fault(26)
def test_asking_is_an_end_of_file_to_code_that_catches_it(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess -q\ntry:\n    input()\nexcept EOFError:\n    print('none')"
    )
    assert capsys.readouterr().out == "none\n"


@pytest.mark.fault(26)
def test_standard_input_is_empty(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess -q -t 30\nimport os, subprocess, sys\n"
        "print(repr(sys.stdin.read()), os.read(0, 9), list(sys.stdin))\n"
        "subprocess.run(['cat'])\nprint(sys.__stdin__.readline() == '')"
    )
    assert capsys.readouterr().out == "'' b'' []\nTrue\n"


@pytest.mark.fault(26)
def test_a_terminal_is_out_of_reach(terminal):
    told = terminal.run("%%inprocess -t 30\ninput('? ')\n")
    assert "NoInput: code in a child process cannot ask for input" in told
    told = terminal.run(
        "%%inprocess -t 30\nimport getpass, importlib\n"
        "importlib.reload(getpass).getpass()\n"
    )
    assert "EOFError" in told
    told = terminal.run("%%inprocess -t 30\nopen('/dev/tty')\n")
    assert "OSError" in told
    told = terminal.run("%%inprocess -q -t 30\n!cat; echo end\n")
    assert told.strip().endswith("end")
    assert terminal.run("print('on')") == "on"


@pytest.mark.fault(27)
def test_two_megabytes_of_lines_are_complete(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess -q\nfor n in range(20_000): print(f'{n:6} ' + 'x' * 92)"
    )
    lines = capsys.readouterr().out.splitlines()
    assert [int(line[:6]) for line in lines] == list(range(20_000))
    assert {len(line) for line in lines} == {99}


@pytest.mark.fault(27)
def test_a_large_display_and_a_large_text_are_complete(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess -q\ndisplay({'text/plain': 'y' * 50_000_000}, raw=True)\n"
        "print('z' * 5_000_000)"
    )
    (output,) = ipc_shell.outputs
    assert len(output.text) == 50_000_000
    assert len(capsys.readouterr().out) == 5_000_001


@pytest.mark.fault(27)
def test_three_thousand_displays_are_complete(ipc_shell):
    ipc_shell.run_cell("%%inprocess -q\nfor n in range(3000): display(n)")
    assert [int(output.text) for output in ipc_shell.outputs] == list(range(3000))


@pytest.mark.fault(27)
@pytest.mark.slow
def test_the_same_amounts_in_a_kernel(kernel):
    reply = kernel.run(
        "%%inprocess -q\nfor n in range(3000): display(n)\n"
        "for n in range(20_000): print('x' * 99)\n"
        "display({'text/plain': 'y' * 50_000_000}, raw=True)",
        timeout=300,
    ).ok()
    assert len(reply.displays) == 3001
    assert len(reply.displays[-1]["text/plain"]) == 50_000_000
    assert len(reply.stdout) == 2_000_000


BYTES = {
    "invalid": (["b'\\xff\\xfe ok\\n'"], "\ufffd\ufffd ok\n"),
    "split": (["b'caf\\xc3'", "b'\\xa9\\n'"], "caf\u00e9\n"),
    "split in four": (
        ["b'\\xf0'", "b'\\x9f'", "b'\\x98'", "b'\\x80\\n'"],
        "\U0001f600\n",
    ),
    "never finished": (["b'end\\xe2\\x82'"], "end\ufffd"),
    "NUL": (["b'a\\0b\\n'", "b'\\0'"], "a\0b\n\0"),
    "like a mark": (["b'\\0abc:00000001\\0\\n'"], "\0abc:00000001\0\n"),
    "carriage return": (["b'a\\r\\nb\\rc\\n'"], "a\r\nb\rc\n"),
    "empty": (["b''"], ""),
}


@pytest.mark.fault(28)
@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", BYTES)
def test_bytes_of_any_kind_are_text(ipc_shell, kind, number):
    pieces, text = BYTES[kind]
    written = []
    if number == 2 and kind in ("carriage return", "NUL", "never finished"):
        pytest.skip("with tags a line is drawn to its end")

    class Taker(io.StringIO):
        def write(self, text):
            written.append(text)
            return len(text)

    body = "\ntime.sleep(0.02)\n".join(f"os.write(1, {piece})" for piece in pieces)
    with contextlib.redirect_stdout(Taker(newline="")):
        ipc_shell.run_cell(
            f"%%inprocess -q{' -n 2' * (number > 1)}\nimport os, time\n{body}"
        )
    got = "".join(written)
    if number == 1:
        assert got == text
    else:
        lines = sorted(got.splitlines(keepends=True))
        assert lines == ([f"[0] {text}", f"[1] {text}"] if text else [])


@pytest.mark.fault(28)
def test_lone_surrogates_are_escaped(ipc_shell, capsys):
    ipc_shell.run_cell(
        "%%inprocess -q\nimport sys\nprint('\\udc80 \\ud800')\n"
        "print('\\udcff', file=sys.stderr)"
    )
    got = capsys.readouterr()
    assert (got.out, got.err) == ("\\udc80 \\ud800\n", "\\udcff\n")


@pytest.mark.fault(28)
def test_a_display_of_lone_surrogates_does_not_end_the_cell(kernel):
    reply = kernel.run(
        "%%inprocess -q\ndisplay({'text/plain': 'a \\ud800 b'}, raw=True)\nprint('on')"
    )
    assert reply.ok().stdout == "on\n"
    assert "a display of the child cannot be shown: UnicodeEncodeError" in reply.stderr


@pytest.mark.fault(28)
def test_a_stream_of_few_characters_gets_escapes(ipc_shell):
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, "ascii")
    with contextlib.redirect_stdout(stream):
        ipc_shell.run_cell("%%inprocess -q\nprint('caf\\xe9')")
    stream.flush()
    assert buffer.getvalue() == b"caf\\xe9\n"


CLOSING = {
    "both": "os.close(1); os.close(2)",
    "stdout": "os.close(1)",
    "objects": "sys.stdout.close(); sys.stderr.close()",
    "another in its place": "os.close(1)\nother = open(os.devnull, 'w')",
    "replaced": "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)",
}


@pytest.mark.fault(29)
@pytest.mark.parametrize("kind", CLOSING)
def test_closed_streams_do_not_lose_the_error(ipc_shell, kind):
    with pytest.raises(ZeroDivisionError):
        ipc_shell.run_cell(f"%%inprocess\nimport os, sys\n{CLOSING[kind]}\n1 / 0")
    assert ipc_magic.last.children[0].error.type == "ZeroDivisionError"


@pytest.mark.fault(29)
def test_closed_streams_do_not_lose_the_names(ipc_shell):
    brought = {}
    for kind, code in CLOSING.items():
        ipc_shell.run_cell(f"%%inprocess -o x\nimport os, sys\n{code}\nx = {kind!r}")
        brought[kind] = ipc_shell.user_ns["x"]
    assert brought == {kind: kind for kind in CLOSING}


@pytest.mark.fault(29)
@pytest.mark.parametrize("end", ["x = 1", "1 / 0", "display(1)", "print(1)"])
def test_a_child_without_its_channel_gave_no_result(ipc_shell, end):
    with pytest.raises(ipc_magic.ChildEnded, match="without reporting a result"):
        ipc_shell.run_cell(
            f"%%inprocess -t 30\nimport os\nos.closerange(3, 1000)\n{end}"
        )
    assert ipc_magic.last.children[0].ending in ("quit", "lost")


@pytest.mark.fault(29)
def test_code_without_its_channel_goes_on(ipc_shell, capsys):
    with pytest.raises(ipc_magic.ChildEnded, match="exit code 0 without reporting"):
        ipc_shell.run_cell(
            "%%inprocess -t 30\nimport os, sys\nos.closerange(3, 1000)\n"
            "display(1)\nprint('on')\nprint('err', file=sys.stderr)"
        )
    assert capsys.readouterr() == ("on\n", "err\n")


@pytest.mark.fault(29)
def test_a_name_asked_of_a_child_without_its_channel(ipc_shell):
    with pytest.raises(ipc_magic.ChildEnded, match="without reporting a result"):
        ipc_shell.run_cell(
            "%%inprocess -t 30 -o x\nimport os\nos.closerange(3, 1000)\nx = object()"
        )
    assert "x" not in ipc_shell.user_ns


@pytest.mark.fault(29)
def test_garbage_on_the_channel_is_no_result(ipc_shell):
    with pytest.raises(ipc_magic.ChildEnded):
        ipc_shell.run_cell(
            "%%inprocess -t 30\nimport gc, os\n"
            "from ipc_magic.process.child_side import ChildSide\n"
            "(side,) = [o for o in gc.get_objects() if type(o) is ChildSide]\n"
            "os.write(side._fds['channel'], b'x' * 100)"
        )
    assert ipc_magic.last.children[0].ending in ("quit", "lost")


@pytest.mark.fault(29)
def test_a_kernel_survives_a_child_that_closes_all(kernel):
    reply = kernel.run("%%inprocess -t 30\nimport os\nos.closerange(0, 2000)\n1 / 0")
    assert reply.ename == "ChildEnded"
    after = kernel.run("%%inprocess -q\nprint('on')")
    assert after.ok().stdout == "on\n"
    assert kernel.children() == []
