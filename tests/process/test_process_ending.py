"""What faulthandler wrote of real ends of children, read."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from ipc_magic.process.ending import (
    Place,
    Stack,
    describe_exit,
    describe_place,
    parse_stack,
    show_stack,
    signal_name,
)

# Recorded from children of `%%inprocess`, only their folders are shortened. The
# cell read address 0 in a function; aborted beside a thread; slept until asked.
CRASHES = {
    "3.10, IPython 8.39": """\
Fatal Python error: Segmentation fault

Current thread 0x00007fa1b6677b80 (most recent call first):
  File "/lib/python3.10/ctypes/__init__.py", line 517 in string_at
  File "<ipython-input-7>", line 4 in poke
  File "<ipython-input-7>", line 5 in <module>
  File "/site/IPython/core/interactiveshell.py", line 3579 in run_code
  File "/site/IPython/core/interactiveshell.py", line 3519 in run_ast_nodes
  File "/site/IPython/core/interactiveshell.py", line 3336 in run_cell_async
  File "/site/IPython/core/async_helpers.py", line 128 in _pseudo_sync_runner
  File "/site/IPython/core/interactiveshell.py", line 3132 in _run_cell
  File "/site/IPython/core/interactiveshell.py", line 3077 in run_cell
  File "/site/ipc_magic/process/child_shell.py", line 55 in __call__
  File "/site/ipc_magic/process/child.py", line 85 in _run
  File "/site/ipc_magic/process/child.py", line 70 in live
  File "/site/ipc_magic/process/fork.py", line 168 in _fork
  File "/site/ipc_magic/process/fork.py", line 143 in start
  File "/some/rec.py", line 15 in go
  File "/some/rec.py", line 20 in <module>

Extension modules: wcwidth._wcwidth_c, psutil._psutil_linux (total: 2)
""",
    "3.11, IPython 9.18": """\
Fatal Python error: Segmentation fault

Current thread 0x00007f70b7476b80 (most recent call first):
  File "/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "<ipython-input-7>", line 4 in poke
  File "<ipython-input-7>", line 5 in <module>
  File "/site/IPython/core/interactiveshell.py", line 3823 in run_code
  File "/site/IPython/core/interactiveshell.py", line 3762 in run_ast_nodes
  File "/site/IPython/core/interactiveshell.py", line 3518 in run_cell_async
  File "/site/IPython/core/async_helpers.py", line 140 in _pseudo_sync_runner
  File "/site/IPython/core/interactiveshell.py", line 3305 in _run_cell
  File "/site/IPython/core/interactiveshell.py", line 3248 in run_cell
  File "/site/ipc_magic/process/child_shell.py", line 55 in __call__
  File "/site/ipc_magic/process/child.py", line 85 in _run
  File "/site/ipc_magic/process/child.py", line 70 in live
  File "/site/ipc_magic/process/fork.py", line 168 in _fork
  File "/site/ipc_magic/process/fork.py", line 143 in start
  File "/some/rec.py", line 15 in go
  File "/some/rec.py", line 20 in <module>

Extension modules: psutil._psutil_linux (total: 1)
""",
    "3.12, IPython 9.18": """\
Fatal Python error: Segmentation fault

Current thread 0x00007f11b0576b80 (most recent call first):
  File "/lib/python3.12/ctypes/__init__.py", line 525 in string_at
  File "<ipython-input-7>", line 4 in poke
  File "<ipython-input-7>", line 5 in <module>
  File "/site/IPython/core/interactiveshell.py", line 3823 in run_code
  File "/site/IPython/core/interactiveshell.py", line 3762 in run_ast_nodes
  File "/site/IPython/core/interactiveshell.py", line 3518 in run_cell_async
  File "/site/IPython/core/async_helpers.py", line 140 in _pseudo_sync_runner
  File "/site/IPython/core/interactiveshell.py", line 3305 in _run_cell
  File "/site/IPython/core/interactiveshell.py", line 3248 in run_cell
  File "/site/ipc_magic/process/child_shell.py", line 55 in __call__
  File "/site/ipc_magic/process/child.py", line 85 in _run
  File "/site/ipc_magic/process/child.py", line 70 in live
  File "/site/ipc_magic/process/fork.py", line 168 in _fork
  File "/site/ipc_magic/process/fork.py", line 143 in start
  File "/some/rec.py", line 15 in go
  File "/some/rec.py", line 20 in <module>

Extension modules: psutil._psutil_linux (total: 1)
""",
    "3.13, IPython 9.18": """\
Fatal Python error: Segmentation fault

Current thread 0x00007ff20ebecb80 (most recent call first):
  File "/lib/python3.13/ctypes/__init__.py", line 538 in string_at
  File "<ipython-input-7>", line 4 in poke
  File "<ipython-input-7>", line 5 in <module>
  File "/site/IPython/core/interactiveshell.py", line 3823 in run_code
  File "/site/IPython/core/interactiveshell.py", line 3762 in run_ast_nodes
  File "/site/IPython/core/interactiveshell.py", line 3518 in run_cell_async
  File "/site/IPython/core/async_helpers.py", line 140 in _pseudo_sync_runner
  File "/site/IPython/core/interactiveshell.py", line 3305 in _run_cell
  File "/site/IPython/core/interactiveshell.py", line 3248 in run_cell
  File "/site/ipc_magic/process/child_shell.py", line 55 in __call__
  File "/site/ipc_magic/process/child.py", line 85 in _run
  File "/site/ipc_magic/process/child.py", line 70 in live
  File "/site/ipc_magic/process/fork.py", line 168 in _fork
  File "/site/ipc_magic/process/fork.py", line 143 in start
  File "/some/rec.py", line 15 in go
  File "/some/rec.py", line 20 in <module>

Extension modules: psutil._psutil_linux (total: 1)
""",
    "3.12, IPython 7.34": """\
Fatal Python error: Segmentation fault

Current thread 0x00007f73e8155b80 (most recent call first):
  File "/lib/python3.12/ctypes/__init__.py", line 525 in string_at
  File "<ipython-input-7>", line 4 in poke
  File "<ipython-input-7>", line 5 in <cell line: 0>
  File "/site/IPython/core/interactiveshell.py", line 3553 in run_code
  File "/site/IPython/core/interactiveshell.py", line 3473 in run_ast_nodes
  File "/site/IPython/core/interactiveshell.py", line 3257 in run_cell_async
  File "/site/IPython/core/async_helpers.py", line 78 in _pseudo_sync_runner
  File "/site/IPython/core/interactiveshell.py", line 3030 in _run_cell
  File "/site/IPython/core/interactiveshell.py", line 2975 in run_cell
  File "/site/ipc_magic/process/child_shell.py", line 55 in __call__
  File "/site/ipc_magic/process/child.py", line 85 in _run
  File "/site/ipc_magic/process/child.py", line 70 in live
  File "/site/ipc_magic/process/fork.py", line 168 in _fork
  File "/site/ipc_magic/process/fork.py", line 143 in start
  File "/some/rec.py", line 15 in go
  File "/some/rec.py", line 20 in <module>

Extension modules: wcwidth._wcwidth_c, psutil._psutil_linux (total: 2)
""",
}
ABORTS = {
    "3.10, IPython 8.39": """\
Fatal Python error: Aborted

Thread 0x00007fa1b3a516c0 (most recent call first):
  File "<ipython-input-7>", line 2 in <lambda>
  File "/lib/python3.10/threading.py", line 953 in run
  File "/lib/python3.10/threading.py", line 1016 in _bootstrap_inner
  File "/lib/python3.10/threading.py", line 973 in _bootstrap

Current thread 0x00007fa1b6677b80 (most recent call first):
  File "<ipython-input-7>", line 4 in <module>
  File "/site/IPython/core/interactiveshell.py", line 3579 in run_code
  File "/site/IPython/core/interactiveshell.py", line 3519 in run_ast_nodes
  File "/site/IPython/core/interactiveshell.py", line 3336 in run_cell_async
  File "/site/IPython/core/async_helpers.py", line 128 in _pseudo_sync_runner
  File "/site/IPython/core/interactiveshell.py", line 3132 in _run_cell
  File "/site/IPython/core/interactiveshell.py", line 3077 in run_cell
  File "/site/ipc_magic/process/child_shell.py", line 55 in __call__
  File "/site/ipc_magic/process/child.py", line 85 in _run
  File "/site/ipc_magic/process/child.py", line 70 in live
  File "/site/ipc_magic/process/fork.py", line 168 in _fork
  File "/site/ipc_magic/process/fork.py", line 143 in start
  File "/some/rec.py", line 15 in go
  File "/some/rec.py", line 21 in <module>

Extension modules: wcwidth._wcwidth_c, psutil._psutil_linux (total: 2)
""",
    "3.13, IPython 9.18": """\
Fatal Python error: Aborted

Thread 0x00007ff20ce156c0 (most recent call first):
  File "<ipython-input-7>", line 2 in <lambda>
  File "/lib/python3.13/threading.py", line 992 in run
  File "/lib/python3.13/threading.py", line 1041 in _bootstrap_inner
  File "/lib/python3.13/threading.py", line 1012 in _bootstrap

Current thread 0x00007ff20ebecb80 (most recent call first):
  File "<ipython-input-7>", line 4 in <module>
  File "/site/IPython/core/interactiveshell.py", line 3823 in run_code
  File "/site/IPython/core/interactiveshell.py", line 3762 in run_ast_nodes
  File "/site/IPython/core/interactiveshell.py", line 3518 in run_cell_async
  File "/site/IPython/core/async_helpers.py", line 140 in _pseudo_sync_runner
  File "/site/IPython/core/interactiveshell.py", line 3305 in _run_cell
  File "/site/IPython/core/interactiveshell.py", line 3248 in run_cell
  File "/site/ipc_magic/process/child_shell.py", line 55 in __call__
  File "/site/ipc_magic/process/child.py", line 85 in _run
  File "/site/ipc_magic/process/child.py", line 70 in live
  File "/site/ipc_magic/process/fork.py", line 168 in _fork
  File "/site/ipc_magic/process/fork.py", line 143 in start
  File "/some/rec.py", line 15 in go
  File "/some/rec.py", line 21 in <module>

Extension modules: psutil._psutil_linux (total: 1)
""",
}
ASKED = {
    "3.11, IPython 9.18": """\
Current thread 0x00007f70b7476b80 (most recent call first):
  File "<ipython-input-7>", line 2 in <module>
  File "/site/IPython/core/interactiveshell.py", line 3823 in run_code
  File "/site/IPython/core/interactiveshell.py", line 3762 in run_ast_nodes
  File "/site/IPython/core/interactiveshell.py", line 3518 in run_cell_async
  File "/site/IPython/core/async_helpers.py", line 140 in _pseudo_sync_runner
  File "/site/IPython/core/interactiveshell.py", line 3305 in _run_cell
  File "/site/IPython/core/interactiveshell.py", line 3248 in run_cell
  File "/site/ipc_magic/process/child_shell.py", line 55 in __call__
  File "/site/ipc_magic/process/child.py", line 85 in _run
  File "/site/ipc_magic/process/child.py", line 70 in live
  File "/site/ipc_magic/process/fork.py", line 168 in _fork
  File "/site/ipc_magic/process/fork.py", line 143 in start
  File "/some/rec.py", line 15 in go
  File "/some/rec.py", line 22 in <module>
""",
}
# The crash of a thread, which the dump tells first.
CRASH_OF_A_THREAD = """\
Fatal Python error: Segmentation fault

Current thread 0x00007f5ec0f436c0 (most recent call first):
  File "<ipython-input-7>", line 3 in work
  File "/lib/python3.12/threading.py", line 1010 in run
  File "/lib/python3.12/threading.py", line 1073 in _bootstrap_inner
  File "/lib/python3.12/threading.py", line 1030 in _bootstrap

Thread 0x00007f5ec2d81b80 (most recent call first):
  File "/lib/python3.12/threading.py", line 355 in wait
  File "/lib/python3.12/threading.py", line 655 in wait
  File "/lib/python3.12/threading.py", line 997 in start
  File "<ipython-input-7>", line 5 in <module>
  File "/site/IPython/core/interactiveshell.py", line 3823 in run_code
  File "/site/IPython/core/interactiveshell.py", line 3762 in run_ast_nodes
  File "/site/IPython/core/interactiveshell.py", line 3518 in run_cell_async
  File "/site/IPython/core/async_helpers.py", line 140 in _pseudo_sync_runner
  File "/site/IPython/core/interactiveshell.py", line 3305 in _run_cell
  File "/site/IPython/core/interactiveshell.py", line 3248 in run_cell
  File "/site/ipc_magic/process/child_shell.py", line 55 in __call__
  File "/site/ipc_magic/process/child.py", line 85 in _run
  File "/site/ipc_magic/process/child.py", line 70 in live
  File "/site/ipc_magic/process/fork.py", line 168 in _fork
  File "/site/ipc_magic/process/fork.py", line 143 in start
  File "<string>", line 15 in go
  File "/some/rec.py", line 2 in <module>

Extension modules: psutil._psutil_linux (total: 1)
"""
CELL = "<ipython-input-7>"


def line(number: int) -> str:
    return f"text of {number}"


@pytest.mark.parametrize("text", CRASHES.values(), ids=CRASHES)
def test_a_crash_is_told_with_the_persons_frames_only(text):
    stack = parse_stack(text)
    assert stack.reason == "Fatal Python error: Segmentation fault"
    (in_library, in_function, in_cell) = stack.places
    assert in_library.file.endswith("/ctypes/__init__.py")
    assert in_library.name == "string_at"
    assert in_function == Place(CELL, 4, "poke")
    assert in_cell[:2] == (CELL, 5)
    assert describe_place(stack, CELL, line) == "cell line 4: text of 4"
    assert show_stack(stack, CELL).splitlines() == [
        f"  the cell, line 5, in {in_cell.name}",
        "  the cell, line 4, in poke",
        f"  {in_library.file}, line {in_library.line}, in string_at",
    ]


@pytest.mark.parametrize("text", ABORTS.values(), ids=ABORTS)
def test_of_several_threads_the_one_that_crashed_is_told(text):
    stack = parse_stack(text)
    assert stack.reason == "Fatal Python error: Aborted"
    assert [place[:2] for place in stack.places] == [(CELL, 4)]


def test_a_crash_of_a_thread_is_told_and_not_where_the_main_thread_is():
    stack = parse_stack(CRASH_OF_A_THREAD)
    assert stack.places[0] == Place(CELL, 3, "work")
    assert [place.name for place in stack.places[1:]] == [
        *("run", "_bootstrap_inner", "_bootstrap")
    ]


@pytest.mark.parametrize("text", ASKED.values(), ids=ASKED)
def test_a_dump_that_was_asked_for_has_no_reason(text):
    stack = parse_stack(text)
    assert stack.reason == ""
    assert [place[:2] for place in stack.places] == [(CELL, 2)]


def test_of_several_dumps_the_last_counts():
    first, last = ASKED["3.11, IPython 9.18"], CRASHES["3.11, IPython 9.18"]
    assert parse_stack(first + last) == parse_stack(last)
    # What was asked for after a crash (of a process that the child forked, which
    # writes into the same file) is another place.
    assert parse_stack(last + first).places == parse_stack(first).places


def test_a_nested_run_is_the_persons_too():
    text = CRASHES["3.12, IPython 9.18"]
    shell = "".join(
        f"{one}\n" for one in text.splitlines() if "interactiveshell" in one
    )
    outer = f'{shell}  File "{CELL}", line 9 in <module>\n'
    begin = text.index('  File "/site/IPython')
    stack = parse_stack(text[:begin] + outer + text[begin:])
    assert stack.places[-1] == Place(CELL, 9, "<module>")
    assert stack.places[:3] == parse_stack(text).places


def test_a_dump_of_100_frames_is_cut_and_all_of_it_is_the_persons():
    # CPython stops at 100 frames, ours are not among them.
    frames = "".join(f'  File "{CELL}", line 3 in deeper\n' for _ in range(100))
    text = f"Current thread 0x00007f90 (most recent call first):\n{frames}  ...\n"
    stack = parse_stack(text)
    assert len(stack.places) == 100
    shown = show_stack(stack, CELL).splitlines()
    assert shown[0] == "  ... 88 frames"
    assert shown[1:] == ["  the cell, line 3, in deeper"] * 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Stack(reason="", places=())),
        ("\0\xff garbage\n  File nonsense", Stack(reason="", places=())),
        (
            """\
Fatal Python error: Segmentation fault

Current thread 0x1 (most recent call first):
  <no Python frame>
""",
            Stack(reason="Fatal Python error: Segmentation fault", places=()),
        ),
        (
            """\
Current thread 0x1 (most recent call first):
  File "a" b", line ??? in f
""",
            Stack(reason="", places=(Place('a" b', 0, "f"),)),
        ),
        (  # 3.14 tells the names of threads
            """\
Thread 0x2 [io] (most recent call first):
  File "a", line 1 in f

Current thread 0x1 [main] (most recent call first):
  File "b", line 2 in g
""",
            Stack(reason="", places=(Place("b", 2, "g"),)),
        ),
    ],
    ids=["empty", "garbage", "no frame", "unknown line", "names of threads"],
)
def test_other_texts_are_read_too(text, expected):
    assert parse_stack(text) == expected


def test_a_place_outside_the_cell_is_told_by_its_function():
    stack = Stack(reason="", places=(Place("/lib/python3.13/time.py", 7, "nap"),))
    assert describe_place(stack, CELL, line) == "nap (time.py, line 7)"
    assert describe_place(stack, None, line) == "nap (time.py, line 7)"
    assert describe_place(Stack(reason="", places=()), CELL, line) is None
    in_cell = Stack(reason="", places=(Place(CELL, 7, "f"),))
    assert describe_place(in_cell, CELL, lambda _: "") == "line 7"


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "exit code 0"), (3, "exit code 3"), (-11, "SIGSEGV"), (-35, "signal 35")],
)
def test_an_exit_is_told_by_its_code_or_its_signal(code, text):
    assert describe_exit(code) == text


def test_a_signal_without_a_name_is_told_by_its_number():
    assert signal_name(9) == "SIGKILL"
    assert signal_name(35) == "signal 35"


@pytest.mark.parametrize(
    ("crash", "reason"),
    [
        ("faulthandler._sigsegv()", "Segmentation fault"),
        ("faulthandler._sigabrt()", "Aborted"),
        ("faulthandler._sigfpe()", "Floating"),
        ("faulthandler._fatal_error_c_thread()", "Fatal Python error"),
    ],
)
def test_this_python_writes_what_is_read_here(tmp_path, crash, reason):
    file = tmp_path / "cell.py"
    file.write_text(
        textwrap.dedent(
            f"""
            import faulthandler, threading, time

            faulthandler.enable()
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

            def inner():
                {crash}

            inner()
            """
        )
    )
    text = subprocess.run(
        [sys.executable, str(file)], stderr=subprocess.PIPE, text=True, check=False
    ).stderr
    stack = parse_stack(text)
    assert reason in stack.reason
    if "c_thread" not in crash:  # that one has no Python frames
        assert stack.places == (
            Place(str(file), 8, "inner"),
            Place(str(file), 10, "<module>"),
        )
