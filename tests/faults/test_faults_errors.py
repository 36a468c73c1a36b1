"""Rows 1-7 and 24 of the fault table: errors of the cell, as if it ran here."""

from __future__ import annotations

import os
import re
import sys

import pytest

import ipc_magic

GROUPS = pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with 3.11")

HELPER = "def helper(value):\n    wanted = 10\n    return wanted / value\n"
NATIVE_LOOK = {
    "one line": "1 / 0",
    "function": "def outer():\n    inner()\ndef inner():\n    {}['k']\n\nouter()",
    "earlier cell": "x = 0\n\nhelper(x)",
    "library": "import json\njson.loads('{')",
    "cause": "try:\n    1 / 0\nexcept Exception as e:\n    raise KeyError('k') from e",
    "context": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    int('x')",
    "suppressed": "try:\n    1 / 0\nexcept Exception:\n    raise KeyError from None",
    "multi-line": "f = dict(\n    a=1,\n    b=helper(\n        0\n    ),\n)",
    "lambda": "g = lambda: [][1]\ng()",
    "assert": "a = 1\nassert a == 2, f'a is {a}'",
    "no message": "raise ValueError",
    "await": "async def f():\n    1 / 0\nawait f()",
    "own": "class Mine(Exception):\n    pass\nraise Mine('boo', 2)",
    "exec": "exec('1 / 0')",
}


def show(shell, capsys, cell):
    shell.run_cell(cell, raises=False)
    return capsys.readouterr()


@pytest.mark.fault(1, 2, 5)
@pytest.mark.parametrize("kind", NATIVE_LOOK)
def test_an_error_looks_as_in_a_cell_of_its_own(ipc_shell, capsys, kind):
    ipc_shell.run_cell(HELPER)
    body = NATIVE_LOOK[kind]
    native = show(ipc_shell, capsys, f"#%%inprocess\n{body}")
    told = show(ipc_shell, capsys, f"%%inprocess\n{body}")
    assert native.out + native.err
    assert told == native
    assert ipc_magic.last.children[0].ending == "raised"


@pytest.mark.fault(1)
def test_a_syntax_error_of_the_code_itself_is_shown_from_the_cell_on(ipc_shell, capsys):
    told = show(ipc_shell, capsys, "%%inprocess\nx = 1\neval('1 +')").out
    assert "SyntaxError: invalid syntax" in told
    assert "eval('1 +')" in told
    assert "interactiveshell" not in told  # natively a frame of IPython stands there


@pytest.mark.fault(1)
def test_an_error_is_of_its_type_with_the_report_on_it(ipc_shell):
    with pytest.raises(OSError, match="no such thing") as caught:
        ipc_shell.run_cell("%%inprocess\nraise FileNotFoundError(2, 'no such thing')")
    error = caught.value
    assert type(error) is FileNotFoundError
    assert (error.errno, error.args) == (2, (2, "no such thing"))
    assert error.report is ipc_magic.last
    (child,) = error.report.children
    assert child.error.type == "FileNotFoundError"
    assert child.where == "cell line 2: raise FileNotFoundError(2, 'no such thing')"


@pytest.mark.fault(1)
def test_except_and_finally_around_the_magic_see_the_error(ipc_shell):
    ipc_shell.run_cell(
        "seen = []\n"
        "try:\n"
        "    get_ipython().run_cell_magic('inprocess', '', '{}[7]')\n"
        "except KeyError as error:\n"
        "    seen.append((error.args, len(error.report.children)))\n"
    )
    assert ipc_shell.user_ns["seen"] == [((7,), 1)]


@pytest.mark.fault(1)
def test_the_report_is_displayed_before_the_error_is_raised(ipc_shell):
    shown = []
    publish = ipc_shell._showtraceback

    def note(kind, value, lines):
        shown.append([output.text for output in ipc_shell.outputs])
        publish(kind, value, lines)

    ipc_shell._showtraceback = note
    ipc_shell.run_cell("%%inprocess\n1 / 0", raises=False)
    ((report,),) = shown
    assert re.match(r"Child \d+ raised ZeroDivisionError in cell line 2 after", report)


@pytest.mark.fault(1)
@pytest.mark.parametrize("option", ["--quiet", "--no-raise-error"])
def test_an_error_with_options(ipc_shell, option):
    cell = f"%%inprocess {option}\n1 / 0"
    if option == "--quiet":
        with pytest.raises(ZeroDivisionError) as caught:
            ipc_shell.run_cell(cell)
        assert caught.value.report is ipc_magic.last
        assert ipc_shell.outputs == []
    else:
        ipc_shell.run_cell(cell)
        (report,) = ipc_shell.outputs
        assert "raised ZeroDivisionError" in report.text
    assert ipc_magic.last.children[0].ending == "raised"


@pytest.mark.fault(1)
def test_of_several_children_the_failing_one_is_told(ipc_shell):
    with pytest.raises(ZeroDivisionError) as caught:
        ipc_shell.run_cell("%%inprocess -n 3\n1 / (child_index - 1)")
    endings = [child.ending for child in caught.value.report.children]
    assert endings == ["finished", "raised", "finished"]
    assert "child 1 (" in caught.value.report.headline


UNPICKLABLE = {
    "reduce raises": "def __reduce__(self):\n        raise RuntimeError('no')",
    "reduce exits": "def __reduce__(self):\n        raise SystemExit(3)",
    "load needs two": "def __init__(self, a, b=None):\n        super().__init__(a)\n"
    "        assert b",
    "holds a lock": "lock = __import__('_thread').allocate_lock()",
    "load raises": "def __setstate__(self, state):\n        1 / 0\n"
    "    def __reduce__(self):\n        return (type(self), ('no', 1), {'a': 1})",
    "another on load": "def __reduce__(self):\n        return (int, ())",
    "another error": "def __reduce__(self):\n        return (ValueError, ('no',))",
    "another text": "def __reduce__(self):\n        return (type(self), ('yes',))",
}


@pytest.mark.fault(2, 3)
@pytest.mark.parametrize(
    "where", ["in the cell", pytest.param("before", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", UNPICKLABLE)
def test_an_error_that_cannot_travel_has_its_name_and_text(
    ipc_shell, capsys, kind, where
):
    made = f"class Odd(ValueError):\n    {UNPICKLABLE[kind]}\n"
    before, inside = (made, "") if where == "before" else ("", made)
    ipc_shell.run_cell(before)
    cell = (
        f"{inside}raise Odd('no', 1)" if "two" in kind else f"{inside}raise Odd('no')"
    )
    native = show(ipc_shell, capsys, f"#%%inprocess\n{cell}")
    told = show(ipc_shell, capsys, f"%%inprocess\n{cell}")
    assert told == native
    with pytest.raises(ValueError, match="no") as caught:
        ipc_shell.run_cell(f"%%inprocess\n{cell}")
    assert type(caught.value).__name__ == "Odd"
    assert str(caught.value) == "no"
    assert caught.value.report is ipc_magic.last


@pytest.mark.fault(3)
def test_an_error_whose_load_would_kill_is_told_all_the_same(ipc_shell):
    with pytest.raises(Exception, match="dire") as caught:
        ipc_shell.run_cell(
            "%%inprocess\n"
            "import os\n"
            "class Dire(Exception):\n"
            "    def __reduce__(self):\n"
            "        return (os._exit, (7,))\n"
            "raise Dire('dire')"
        )
    assert type(caught.value).__name__ == "Dire"


@pytest.mark.fault(3)
def test_an_error_whose_str_raises_is_told(ipc_shell):
    with pytest.raises(LookupError) as caught:
        ipc_shell.run_cell(
            "%%inprocess\n"
            "class Mute(LookupError):\n"
            "    def __str__(self): 1 / 0\n"
            "raise Mute('x')"
        )
    assert type(caught.value).__name__ == "Mute"
    assert "str() of this error raised ZeroDivisionError" in (
        caught.value.report.children[0].error.message
    )


@pytest.mark.fault(2)
def test_a_class_of_the_notebook_is_the_same_class_again(ipc_shell):
    ipc_shell.run_cell("class Known(Exception):\n    pass")
    ipc_shell.run_cell(
        "try:\n"
        "    get_ipython().run_cell_magic('inprocess', '', 'raise Known(5)')\n"
        "except Known as error:\n"
        "    caught = error.args\n"
    )
    assert ipc_shell.user_ns["caught"] == (5,)


GROUP = (
    "def make():\n"
    "    try:\n"
    "        1 / 0\n"
    "    except ZeroDivisionError as error:\n"
    "        return error\n"
    "raise ExceptionGroup('several', [make(), KeyError('second')])"
)


@GROUPS
@pytest.mark.fault(4)
def test_a_group_is_shown_once_without_frames_of_ours(ipc_shell, capsys):
    told = show(ipc_shell, capsys, f"%%inprocess\n{GROUP}")
    text = told.out + told.err
    assert text.count("ExceptionGroup: several (2 sub-exceptions)") == 1
    assert text.count("ZeroDivisionError: division by zero") == 1
    assert text.count("KeyError: 'second'") == 1
    assert re.search(r"line 7, in <", text)
    assert re.search(r"line 4, in make", text)
    assert not re.search("interactiveshell|ipc_magic|raise_here", text)


@GROUPS
@pytest.mark.fault(4)
def test_a_group_can_be_caught_by_its_parts(ipc_shell):
    code = (
        "caught = []\ntry:\n    get_ipython().run_cell_magic('inprocess', '', group)\n"
    )
    code += "except* KeyError as some:\n    caught += some.exceptions\n"
    code += "except* ZeroDivisionError as some:\n    caught += some.exceptions\n"
    ipc_shell.user_ns["group"] = GROUP
    ipc_shell.run_cell(code)
    kinds = {type(error) for error in ipc_shell.user_ns["caught"]}
    assert kinds == {KeyError, ZeroDivisionError}


@GROUPS
@pytest.mark.fault(4)
def test_a_group_in_a_kernel_is_one_error_message(kernel):
    reply = kernel.run(f"%%inprocess\n{GROUP}")
    assert (reply.status, reply.ename) == ("error", "ExceptionGroup")
    text = "\n".join(reply.traceback) + reply.stderr + reply.stdout
    assert text.count("KeyError: 'second'") == 1
    assert not re.search("interactiveshell|site-packages|ipc_magic", text)
    # The place that IPython has for such cases is free again.
    free = kernel.run("print(get_ipython().custom_exceptions)")
    assert free.ok().stdout == "()\n"
    plain = kernel.run("#%%inprocess\n1 / 0")
    assert plain.ename == "ZeroDivisionError"
    assert any("1 / 0" in line for line in plain.traceback)


@pytest.mark.fault(6)
def test_a_deep_recursion_is_cut(ipc_shell, capsys):
    body = "import sys\nsys.setrecursionlimit(3000)\n"
    body += "def down(n):\n    return n and down(n - 1) or 1 / 0\ndown(968)"
    told = show(ipc_shell, capsys, f"%%inprocess\n{body}").out
    assert "ZeroDivisionError: division by zero" in told
    skipped = map(int, re.findall(r"\((\d+) times\)", told))
    assert len(re.findall(r"(?m)^-+> ?\d+ ", told)) + sum(skipped) <= 50
    (child,) = ipc_magic.last.children
    assert len(child.error.traceback) < 4000


@pytest.mark.fault(6)
def test_a_recursion_without_end_is_cut(ipc_shell):
    with pytest.raises(RecursionError, match="maximum recursion depth"):
        ipc_shell.run_cell(
            "%%inprocess\ndef ping(): pong()\ndef pong(): ping()\nping()"
        )
    (child,) = ipc_magic.last.children
    assert child.error.traceback.count("  File ") == 50


SYNTAX = ["x = = 1", "if True:\nprint(1)", "def f():\n    return\n  x", "'open", "a b"]


@pytest.mark.fault(7)
@pytest.mark.parametrize("body", SYNTAX)
def test_a_syntax_error_is_native_and_forks_nothing(
    ipc_shell, capsys, monkeypatch, body
):
    def refuse():
        raise AssertionError("forked")

    native = show(ipc_shell, capsys, f"#%%inprocess\n{body}")
    monkeypatch.setattr(os, "fork", refuse)
    told = show(ipc_shell, capsys, f"%%inprocess\n{body}")
    assert told == native
    with pytest.raises(SyntaxError):
        ipc_shell.run_cell(f"%%inprocess\n{body}")


@pytest.mark.fault(24)
def test_a_nested_error_is_shown_once_with_its_own_lines(ipc_shell, capsys):
    told = show(ipc_shell, capsys, "%%inprocess\n%%inprocess\nx = 1\n1 / 0")
    text = told.out + told.err
    assert text.count("ZeroDivisionError: division by zero") == 1
    assert "1 / 0" in text
    assert not re.search(r"ipc_magic/|run_cell_magic", text)
    (inner, outer) = [output.text for output in ipc_shell.outputs]
    assert "raised ZeroDivisionError" in inner
    assert "raised ZeroDivisionError" in outer


@pytest.mark.fault(4, 7, 24)
@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("1 = 2", "SyntaxError"),
        pytest.param(
            "raise ExceptionGroup('all', [ValueError(1)])",
            "ExceptionGroup",
            marks=GROUPS,
        ),
    ],
    ids=["syntax error", "group"],
)
def test_a_nested_error_of_a_special_kind_is_shown_once_by_its_own_lines(
    ipc_shell, capsys, code, name
):
    told = show(ipc_shell, capsys, f"%%inprocess\n%%inprocess\n{code}")
    text = told.out + told.err
    assert text.count(f"{name}: ") == 1
    assert code in text
    assert not re.search(r"ipc_magic/|run_cell_magic", text)


@pytest.mark.fault(24, 44)
@pytest.mark.parametrize(
    "magics",
    ["%%inprocess\n" * 2, "%%inprocess\n" * 3, "%%inprocess\n\n%%inprocess -q\n"],
    ids=["two", "three", "a line between"],
)
def test_a_nested_error_has_the_lines_of_the_whole_cell(ipc_shell, capsys, magics):
    body = "x = 1\n\n1 / 0"
    native = show(ipc_shell, capsys, f"{magics}{body}".replace("%%", "#%%"))
    told = show(ipc_shell, capsys, f"{magics}{body}")
    (place,) = (line for line in told.out.splitlines() if line.startswith("---->"))
    assert place in native.out.splitlines()


@pytest.mark.fault(24)
def test_a_nested_run_works_three_deep(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess\n%%inprocess\n%%inprocess\nprint('deep')\n7")
    assert capsys.readouterr().out == "deep\n"
    texts = [output.text for output in ipc_shell.outputs]
    assert texts[0] == "7"
    assert [text.startswith("Ran in child") for text in texts[1:]] == [True] * 3


@pytest.mark.fault(24)
def test_a_nested_line_gives_its_value(ipc_shell, capsys):
    ipc_shell.run_cell("%%inprocess -q -o x\nx = %inprocess -q 6 * 7\nprint(x)")
    assert capsys.readouterr().out == "42\n"
    assert ipc_shell.user_ns["x"] == 42


FAILING = {
    "raise": ("1 / 0", "ZeroDivisionError"),
    "own": ("class Mine(Exception): pass\nraise Mine", "Mine"),
    "exit": ("exit()", "ChildExit"),
    "quit": ("quit()", "ChildExit"),
    "sys.exit": ("import sys\nsys.exit(3)", "ChildExit"),
    "os._exit": ("import os\nos._exit(5)", "ChildEnded"),
    "segv": ("import ctypes\nctypes.string_at(0)", "ChildKilled"),
    "kill": ("import os\nos.kill(os.getpid(), 9)", "ChildKilled"),
    "keyboard": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "generator": ("raise GeneratorExit", "GeneratorExit"),
    "memory": ("raise MemoryError", "MemoryError"),
    "nested": ("%%inprocess\n1 / 0", "ZeroDivisionError"),
    "input": ("input()", "NoInput"),
}


@pytest.mark.fault(1, 8, 9, 10, 11)
@pytest.mark.parametrize("kind", FAILING)
def test_a_kernel_goes_on_after_a_failing_cell(kernel, kind):
    body, name = FAILING[kind]
    reply = kernel.run(f"%%inprocess\n{body}")
    assert (reply.status, reply.ename) == ("error", name)
    kinds = [message["header"]["msg_type"] for message in reply.messages]
    assert kinds.count("error") == 1
    assert "display_data" in kinds[: kinds.index("error")]
    assert reply.displays[-1]["text/plain"].startswith("Child ")
    assert kernel.children() == []
    after = kernel.run("import ipc_magic; print(ipc_magic.last.children[0].ending)")
    assert after.ok().stdout.strip() not in ("", "finished")


@pytest.mark.fault(1)
def test_a_kernels_traceback_is_the_native_one(kernel):
    kernel.run(HELPER).ok()
    body = "a = 2\ndef more():\n    return helper(a - 2)\n\nmore()"
    here = kernel.run(f"#%%inprocess\n{body}")
    child = kernel.run(f"%%inprocess\n{body}")
    assert len(here.traceback) > 3
    assert numberless(child.traceback) == numberless(here.traceback)
    numbers = [cell_numbers(reply.traceback) for reply in (here, child)]
    if numbers[0]:  # old IPython names a file instead
        assert max(numbers[1]) == max(numbers[0]) + 1


def cell_numbers(lines):
    return {
        int(number) for line in lines for number in re.findall(r"In\[(\d+)\]", line)
    }


def numberless(lines):
    text = re.sub(r"In\[\d+\]", "In[]", "\n".join(lines))
    return re.sub(r"ipykernel_\d+/\d+\.py", "file", text)


@pytest.mark.fault(1)
def test_what_a_notebook_asks_after_an_error(kernel):
    kernel.run("%%inprocess\n{}['k']")
    after = kernel.run("import sys; print(type(sys.last_value), sys.last_value.report)")
    assert "KeyError" in after.ok().stdout
    assert "raised KeyError in cell line 2" in after.stdout


@pytest.mark.fault(1)
def test_an_error_in_a_terminal(terminal):
    text = terminal.run("%%inprocess\nx = 5\n1 / (x - 5)\n")
    assert text.count("ZeroDivisionError: division by zero") == 1
    assert "raised ZeroDivisionError in cell line 3" in text
    assert "----> 3 1 / (x - 5)" in text
    assert not re.search(r"ipc_magic|run_cell_magic", text)
    assert terminal.run("print('on')") == "on"
