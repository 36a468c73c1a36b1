"""Rows 42-48 of the fault table: whose names a cell sees, and which come back."""

from __future__ import annotations

import os

import pytest

import ipc_magic
from ipc_magic.errors import ChildTimeout, NotBroughtBack, OptionError

# ---- the line and the scope


@pytest.mark.fault(42)
def test_braces_and_dollars_of_the_line_are_the_code_s(ipc_shell):
    ipc_shell.run_cell("v = 7")
    ipc_shell.run_cell("came = %inprocess '{v} $v'")
    assert ipc_shell.user_ns["came"] == "{v} $v"
    ipc_shell.run_cell("came = %inprocess f'{v}' + '$v'")
    assert ipc_shell.user_ns["came"] == "7$v"


@pytest.mark.parametrize("line", ["-o {v}", "--save $v", "-t {v}"])
@pytest.mark.fault(42)
def test_braces_and_dollars_of_options_are_not_expanded(line, ipc_shell):
    ipc_shell.run_cell("v = 'name'")
    with pytest.raises(OptionError) as caught:
        ipc_shell.run_cell(f"%%inprocess {line}\nname = 1")
    assert line.split()[1] in str(caught.value)
    assert "name" not in ipc_shell.user_ns


SCOPES = {
    "function": "def outer(a):\n    b = 2\n    return RUN\ncame = outer(1)",
    "method": "class C:\n    def m(self, a):\n        b = 2\n        return RUN\n"
    "came = C().m(1)",
    "inner": "def outer(a):\n    def inner():\n        b = 2\n"
    "        return a and RUN\n    return inner()\ncame = outer(1)",
    "generator": "def outer(a):\n    b = 2\n    yield RUN\ncame = next(outer(1))",
    "lambda": "came = (lambda a, b: RUN)(1, 2)",
    "async function": "async def outer(a):\n    b = 2\n    return RUN\n"
    "came = await outer(1)",
    "a name that shadows": "a = b = 50\ndef outer(a, b):\n    return RUN\n"
    "came = outer(1, 2)",
}


@pytest.mark.parametrize("kind", SCOPES)
@pytest.mark.fault(43)
def test_the_variables_of_the_calling_function_are_seen(kind, ipc_shell):
    run = "get_ipython().run_line_magic('inprocess', '-q a + b')"
    ipc_shell.run_cell(SCOPES[kind].replace("RUN", run))
    assert ipc_shell.user_ns["came"] == 3
    body = "get_ipython().run_cell_magic('inprocess', '-q -o c', 'c = a + b') or c"
    ipc_shell.run_cell(SCOPES[kind].replace("RUN", body))
    assert ipc_shell.user_ns["came"] == 3


@pytest.mark.fault(43)
def test_the_line_form_stands_in_a_function(ipc_shell):
    ipc_shell.run_cell(
        "def f(q):\n    r = %inprocess -q q * 2\n    return r\ncame = f(4)"
    )
    assert ipc_shell.user_ns["came"] == 8
    assert "q" not in ipc_shell.user_ns


@pytest.mark.fault(43)
def test_a_function_of_the_cell_sees_the_locals_too(ipc_shell):
    ipc_shell.run_cell(
        "def outer(deep):\n"
        "    body = 'def inner():\\n    return deep\\nc = inner()'\n"
        "    get_ipython().run_cell_magic('inprocess', '-q -o c', body)\n"
        "outer(9)"
    )
    assert ipc_shell.user_ns["c"] == 9
    assert "deep" not in ipc_shell.user_ns


@pytest.mark.parametrize("indent", ["    ", "\t"])
@pytest.mark.fault(44)
def test_an_indented_body_has_the_line_numbers_of_the_cell(indent, ipc_shell, capsys):
    body = "x = 1\n\nif x:\n    1 / 0\n".replace("\n", f"\n{indent}")
    ipc_shell.run_cell(f"%%inprocess\n{indent}{body}", raises=False)
    shown = capsys.readouterr().out
    assert "----> 5     1 / 0" in shown
    assert ipc_magic.last.children[0].where == "cell line 5: 1 / 0"
    assert ipc_magic.last.children[0].error.type == "ZeroDivisionError"


@pytest.mark.fault(44)
def test_an_indented_body_runs_to_its_end(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess -o text\n    x = 2\n    text = '''a\n    b'''\n    print(x)"
    )
    # IPython takes the indent from all lines, as it does in a cell of its own.
    assert ipc_shell.user_ns["text"] in ("a\nb", "a\n    b")


# ---- what stays there


@pytest.mark.fault(45)
def test_what_the_cell_binds_changes_and_deletes_is_as_before_here(ipc_shell):
    ipc_shell.run_cell("kept, grown, gone = 1, [1], 'here'\ndef f(): return 'old'")
    ipc_shell.run_cell(
        "%%inprocess\nkept = 2\ngrown.append(2)\ndel gone\nfresh = 3\n"
        "def f(): return 'new'\nimport builtins; builtins.left = 1"
    )
    names = ipc_shell.user_ns
    assert (names["kept"], names["grown"], names["gone"]) == (1, [1], "here")
    assert names["f"]() == "old"
    assert "fresh" not in names
    assert not hasattr(__builtins__, "left")
    assert "builtins" not in names


@pytest.mark.fault(45)
def test_only_what_was_asked_for_comes(ipc_shell):
    ipc_shell.run_cell("a = b = 0")
    ipc_shell.run_cell("%%inprocess -o a\na = b = c = 1")
    assert (ipc_shell.user_ns["a"], ipc_shell.user_ns["b"]) == (1, 0)
    assert "c" not in ipc_shell.user_ns


# ---- what is asked back


@pytest.mark.fault(46)
def test_a_name_that_is_not_there_is_named_and_the_others_come(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess -o here,missing\nhere = 1", raises=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("NotBroughtBack: not brought back: `missing` in child ")
    assert line.endswith(": there is no such name")
    assert ipc_shell.user_ns["here"] == 1
    assert "missing" not in ipc_shell.user_ns


@pytest.mark.fault(46)
def test_names_bound_before_an_error_come_and_the_error_is_the_code_s(ipc_shell):
    with pytest.raises(ZeroDivisionError):
        ipc_shell.run_cell("%%inprocess -o here,late\nhere = 1\n1 / 0\nlate = 2")
    assert ipc_shell.user_ns["here"] == 1
    assert "late" not in ipc_shell.user_ns


@pytest.mark.fault(46)
def test_names_bound_before_an_exit_come_too(ipc_shell):
    with pytest.raises(ipc_magic.ChildExit):
        ipc_shell.run_cell("%%inprocess -o here\nhere = 1\nraise SystemExit(3)")
    assert ipc_shell.user_ns["here"] == 1


UNPICKLABLE = {
    "generator": "(i for i in ())",
    "lock": "__import__('threading').Lock()",
    "socket": "__import__('socket').socket()",
    "frame": "__import__('sys')._getframe()",
    "deep": "__import__('functools').reduce(lambda x, _: [x], range(100_000), [])",
}


@pytest.mark.parametrize("kind", UNPICKLABLE)
@pytest.mark.fault(46)
def test_what_cannot_be_pickled_is_named_and_the_others_come(kind, ipc_shell):
    with pytest.raises(NotBroughtBack) as caught:
        ipc_shell.run_cell(
            f"%%inprocess -o first,bad,last\nfirst = 1; bad = {UNPICKLABLE[kind]}\n"
            "last = [first]"
        )
    assert "`bad` in child" in str(caught.value)
    assert "first" not in str(caught.value)
    assert (ipc_shell.user_ns["first"], ipc_shell.user_ns["last"]) == (1, [1])
    assert "bad" not in ipc_shell.user_ns
    (found,) = [f for f in ipc_magic.last.findings if f.code == "not_brought"]
    assert found.message.startswith("`bad` did not come back: ")


AT_PICKLE = {
    "exits": ("os._exit(3)", "pickling it ended the process (exit code 3)"),
    "crashes": ("os.kill(os.getpid(), 11)", "ended the process (SIGSEGV)"),
    "leaves": ("sys.exit(3)", "SystemExit: 3"),
    "interrupts": ("raise KeyboardInterrupt", "pickling it ended the process"),
    "raises": ("1 / 0", "ZeroDivisionError: division by zero"),
    "lies": ("return 5", "Error"),
}
AT_LOAD = {
    "exits": ("os._exit, (3,)", "loading it ended the process with exit code 3"),
    "crashes": ("kill_me, ()", "loading it ended the process with SIGSEGV"),
    "leaves": ("sys.exit, (3,)", "SystemExit(3)"),
    "interrupts": ("interrupt_me, ()", "KeyboardInterrupt"),
    "raises": ("divmod, (1, 0)", "ZeroDivisionError"),
    "lacks": ("only_there(), ()", "ModuleNotFoundError: No module named 'there'"),
    "hangs": ("time.sleep, (600,)", "it had not loaded after 0.3 s"),
}
HELPERS = """
import os, sys, time, types
def only_there():
    module = sys.modules['there'] = types.ModuleType('there')
    exec('def function(): pass', vars(module))
    return module.function
def kill_me(): os.kill(os.getpid(), 11)
def interrupt_me(): raise KeyboardInterrupt
"""
LARGE = bytearray(300_000)  # goes beside the stream
CLASS = "class Bad:\n    def __reduce__(self): {code}\n"


@pytest.mark.parametrize("kind", AT_PICKLE)
@pytest.mark.fault(46)
def test_code_that_fails_at_pickle_takes_no_other_name_along(kind, ipc_shell):
    code, reason = AT_PICKLE[kind]
    ipc_shell.run_cell(HELPERS)
    with pytest.raises(NotBroughtBack) as caught:
        ipc_shell.run_cell(
            f"%%inprocess -o first,bad,last\n{CLASS.format(code=code)}"
            "first, bad, last = bytearray(300_000), Bad(), [2]"
        )
    assert str(caught.value).startswith("not brought back: `bad` in child ")
    assert reason in str(caught.value)
    assert (ipc_shell.user_ns["first"], ipc_shell.user_ns["last"]) == (LARGE, [2])
    assert "bad" not in ipc_shell.user_ns


@pytest.mark.parametrize("kind", AT_LOAD)
@pytest.mark.fault(46)
def test_code_that_fails_at_unpickle_takes_no_other_name_along(
    kind, ipc_shell, monkeypatch
):
    from ipc_magic.process import proof

    if kind == "hangs":
        monkeypatch.setattr(proof, "PATIENCE_SECONDS", 0.3)
    code, reason = AT_LOAD[kind]
    ipc_shell.run_cell(HELPERS)
    with pytest.raises(NotBroughtBack) as caught:
        ipc_shell.run_cell(
            f"%%inprocess -o first,bad,last\n{CLASS.format(code='return ' + code)}"
            "first, bad, last = bytearray(300_000), Bad(), [2]"
        )
    assert str(caught.value).startswith("not brought back: `bad` in child ")
    assert reason in str(caught.value)
    assert (ipc_shell.user_ns["first"], ipc_shell.user_ns["last"]) == (LARGE, [2])
    assert "bad" not in ipc_shell.user_ns
    ipc_shell.run_cell("%%inprocess -o first\nfirst = 'the next cell'")
    assert ipc_shell.user_ns["first"] == "the next cell"


@pytest.mark.fault(46)
def test_code_that_prints_and_forks_at_pickle_is_heard_and_counts_once(
    ipc_shell, capfd
):
    ipc_shell.run_cell(HELPERS)
    ipc_shell.run_cell(
        "%%inprocess -o loud,last\n"
        + CLASS.format(code="print('pickled'); os.fork(); return int, (7,)")
        + "loud, last = [Bad()], bytearray(300_000)"
    )
    assert ipc_shell.user_ns.pop("loud") == [7]
    assert ipc_shell.user_ns.pop("last") == LARGE
    assert capfd.readouterr().out.count("pickled") >= 1


@pytest.mark.fault(46)
def test_code_that_prints_at_load_is_heard_here_once(ipc_shell, capfd):
    ipc_shell.run_cell("def say(): print('loaded')")
    ipc_shell.run_cell(
        f"%%inprocess -q -o loud\n{CLASS.format(code='return say, ()')}loud = [Bad()]"
    )
    assert ipc_shell.user_ns.pop("loud") == [None]
    assert capfd.readouterr().out.count("loaded") == 1


@pytest.mark.fault(46)
def test_a_hang_at_pickle_is_named_at_the_timeout_and_takes_no_other_name_along(
    ipc_shell,
):
    ipc_shell.run_cell(HELPERS)
    with pytest.raises(ChildTimeout, match=r" in the pickling of `bad`") as caught:
        ipc_shell.run_cell(
            "%%inprocess -t 0.7 -o first,bad,last\n"
            f"{CLASS.format(code='time.sleep(600)')}"
            "first, bad, last = bytearray(300_000), Bad(), [2]"
        )
    assert "first" not in str(caught.value)
    assert (ipc_shell.user_ns["first"], ipc_shell.user_ns["last"]) == (LARGE, [2])
    assert "bad" not in ipc_shell.user_ns
    (finding,) = ipc_magic.last.findings
    assert finding.message.startswith("`bad` did not come back: pickling it ")
    ipc_shell.run_cell("%%inprocess -o first\nfirst = 1")
    assert ipc_shell.user_ns["first"] == 1


@pytest.mark.fault(46)
def test_a_thread_that_does_not_end_is_not_taken_for_pickling(ipc_shell):
    with pytest.raises(ChildTimeout) as caught:
        ipc_shell.run_cell(
            "%%inprocess -t 0.7 -o here\nimport threading, time\nhere = 1\n"
            "threading.Thread(target=time.sleep, args=(600,)).start()"
        )
    assert "pickling" not in str(caught.value)
    assert ipc_shell.user_ns["here"] == 1


@pytest.mark.fault(46)
def test_the_value_of_a_line_that_cannot_come_is_named(ipc_shell):
    with pytest.raises(NotBroughtBack, match=r"`\(i for i in \(\)\)` in child"):
        ipc_shell.run_cell("%inprocess (i for i in ())")


@pytest.mark.fault(46)
def test_an_object_that_was_not_bound_here_before_is_not_half_bound(ipc_shell):
    ipc_shell.run_cell("bad = 'before'")
    with pytest.raises(NotBroughtBack):
        ipc_shell.run_cell("%%inprocess -o bad\nbad = (i for i in ())")
    assert ipc_shell.user_ns["bad"] == "before"


# ---- what it is when it has come


@pytest.mark.fault(47)
def test_an_object_of_a_class_that_only_the_child_has_comes_by_value(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess -o point,double\nclass Point:\n"
        "    def __init__(self, x): self.x = x\n"
        "    def twice(self): return 2 * self.x\n"
        "factor = 3\ndef double(y): return factor * y\npoint = Point(4)"
    )
    point = ipc_shell.user_ns["point"]
    assert type(point).__name__ == "Point"
    assert (point.x, point.twice()) == (4, 8)
    assert ipc_shell.user_ns["double"](5) == 15
    assert "Point" not in ipc_shell.user_ns


@pytest.mark.fault(47)
def test_an_object_of_a_class_of_the_notebook_is_of_that_very_class(ipc_shell):
    ipc_shell.run_cell("class Made: pass\ndef helper(): return 1")
    ipc_shell.run_cell("%%inprocess -o made,same\nmade = Made(); same = helper")
    assert type(ipc_shell.user_ns["made"]) is ipc_shell.user_ns["Made"]
    assert ipc_shell.user_ns["same"] is ipc_shell.user_ns["helper"]


@pytest.mark.fault(47)
def test_a_class_that_the_cell_defines_anew_is_not_the_one_here(ipc_shell):
    ipc_shell.run_cell("class Made: old = True")
    ipc_shell.run_cell("%%inprocess -o made\nclass Made: old = False\nmade = Made()")
    assert ipc_shell.user_ns["made"].old is False
    assert ipc_shell.user_ns["Made"].old is True


@pytest.mark.fault(48)
def test_two_names_of_one_object_are_so_again(ipc_shell):
    ipc_shell.run_cell("class Node: pass")
    ipc_shell.run_cell(
        "%%inprocess -o shared,holder,node,loop\nshared = [1]\nholder = {'s': shared}\n"
        "node = Node(); node.s = shared\nloop = []; loop.append(loop)"
    )
    names = ipc_shell.user_ns
    assert names["holder"]["s"] is names["shared"]
    assert names["node"].s is names["shared"]
    assert names["loop"][0] is names["loop"]


@pytest.mark.fault(48)
def test_two_names_of_one_object_are_so_beside_one_that_cannot_come(ipc_shell):
    with pytest.raises(NotBroughtBack, match="`bad`"):
        ipc_shell.run_cell(
            "%%inprocess -o bad,shared,holder\nshared = [1]; holder = [shared]\n"
            "bad = (i for i in shared)"
        )
    assert ipc_shell.user_ns["holder"][0] is ipc_shell.user_ns["shared"]


@pytest.mark.fault(48)
def test_arrays_and_frames_come_as_they_are(ipc_shell):
    numpy = pytest.importorskip("numpy")
    pandas = pytest.importorskip("pandas")
    ipc_shell.run_cell("import numpy as np, pandas as pd")
    ipc_shell.run_cell(
        "%%inprocess -o array,view,frame\narray = np.arange(12.).reshape(3, 4)\n"
        "view = array.T\n"
        "frame = pd.DataFrame({'n': [1, 2], 's': ['a', None], "
        "'t': pd.to_datetime(['2020-01-01', None])})"
    )
    names = ipc_shell.user_ns
    numpy.testing.assert_array_equal(names["array"], numpy.arange(12.0).reshape(3, 4))
    numpy.testing.assert_array_equal(names["view"], names["array"].T)
    names["array"][0, 0] = 5  # it can be written
    assert list(names["frame"]["n"]) == [1, 2]
    assert pandas.api.types.is_datetime64_any_dtype(names["frame"]["t"])
    assert names["frame"]["t"].isna().tolist() == [False, True]


@pytest.mark.fault(46, 48)
def test_several_children_give_lists_in_their_order(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess -n 3 -o square,odd\nimport time\n"
        "time.sleep(0.1 * (2 - child_index))\nsquare = child_index ** 2\n"
        "odd = [child_index]"
    )
    assert ipc_shell.user_ns["square"] == [0, 1, 4]
    assert ipc_shell.user_ns["odd"] == [[0], [1], [2]]
    assert "child_index" not in ipc_shell.user_ns


@pytest.mark.fault(46)
def test_a_name_that_some_children_lack_is_none_there(ipc_shell):
    with pytest.raises(NotBroughtBack, match=r"`odd` in child \d+: there is no such"):
        ipc_shell.run_cell("%%inprocess -n 3 -o odd\nif child_index % 2: odd = 1")
    assert ipc_shell.user_ns["odd"] == [None, 1, None]


@pytest.mark.fault(46)
def test_one_child_asked_for_as_several_gives_a_list(ipc_shell):
    ipc_shell.run_cell("%%inprocess -n 1 -o it\nit = child_index")
    assert ipc_shell.user_ns["it"] == [0]


VALUES = {
    "number": ("40 + 2", 42),
    "none": ("print('x')", None),
    "several": ("-n 2 child_index * 10", [0, 10]),
    "await": ("await __import__('asyncio').sleep(0, 'slept')", "slept"),
    "quiet": ("-q [1]", [1]),
    "hidden": ("7;", 7),
    "minus": ("-- -three", -3),
    "named": ("--save kept (1, 2)", (1, 2)),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.fault(48)
def test_a_line_gives_the_value_of_its_expression(kind, ipc_shell):
    line, value = VALUES[kind]
    ipc_shell.run_cell(f"three = 3\ncame = %inprocess {line}")
    assert ipc_shell.user_ns["came"] == value
    if kind == "named":
        assert ipc_shell.user_ns["kept"] is ipc_magic.last
    shown = [output.kind for output in ipc_shell.outputs]
    assert shown == ([] if kind in ("quiet", "hidden") else ["display"])


@pytest.mark.fault(46)
def test_a_large_result_comes_whole(ipc_shell):
    ipc_shell.run_cell("%%inprocess -o big\nbig = bytes(range(256)) * (8 << 12)")
    assert ipc_shell.user_ns["big"] == bytes(range(256)) * (8 << 12)
    (child,) = ipc_magic.last.children
    assert child.returned.names["big"] > 8 << 20


@pytest.mark.fault(46)
def test_bytes_on_the_channel_run_no_code_here(ipc_shell, tmp_path):
    path = tmp_path / "harm"
    ipc_shell.run_cell(f"path = {str(path)!r}\nimport os, pickle, struct")
    # What only a hostile cell would do: find the channel, write a frame of its own.
    with pytest.raises(ipc_magic.IpcMagicError):
        ipc_shell.run_cell(
            "%%inprocess -o here\nimport stat\n"
            "class Harm:\n    def __reduce__(self): return os.mkdir, (path,)\n"
            "body = pickle.dumps(('names', {'x': Harm()}), 5)\n"
            "for fd in map(int, os.listdir('/proc/self/fd')):\n"
            "    try:\n"
            "        if stat.S_ISSOCK(os.fstat(fd).st_mode):\n"
            "            head = struct.pack('<4sQ', b'\\x93ipc', len(body))\n"
            "            os.write(fd, head + body)\n"
            "    except OSError:\n        pass\n"
            "here = 1\n"
        )
    assert not os.path.exists(path)
