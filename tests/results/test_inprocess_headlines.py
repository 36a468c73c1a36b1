"""The headline of `%%inprocess` for every ending, and for one to many children."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from ipc_magic.results import (
    ChildRun,
    Crossing,
    ErrorInChild,
    InProcess,
    Limits,
    Setting,
)
from ipc_magic.results.inprocess import Ending

SETTING = Setting(python="3.11.7", system="Linux 6.18", start_method="fork")
UNHARMED = "Your session is unharmed."
LOCK = "cell line 3: lock.acquire()"


def a_child(ending: Ending = "finished", index: int = 0, **fields: Any) -> ChildRun:
    defaults = {"pid": 4711 + index, "start_method": "fork"}
    return ChildRun(index=index, ending=ending, **{**defaults, **fields})


def back(**sizes: int | None) -> Crossing:
    known = [size for size in sizes.values() if size is not None]
    moved = sum(known) if len(known) == len(sizes) else None
    return Crossing(
        names=sizes,
        pickled_bytes=moved,
        buffer_bytes=0,
        dump_seconds=0.0,
        transport_seconds=0.15,
        load_seconds=0.0,
    )


def error(kind: str) -> ErrorInChild:
    return ErrorInChild(type=kind, message="a message")


def headline(*children: ChildRun, asked: Any = (), **limits: Any) -> str:
    result = InProcess(
        children=children, setting=SETTING, asked=asked, limits=Limits(**limits)
    )
    return result.headline


@pytest.mark.parametrize(
    ("child", "asked", "said"),
    [
        (
            a_child(run_seconds=12.4, returned=back(scores=800_000_000)),
            ("scores",),
            "Ran in child 4711 for 12.4 s. `scores` came back: 762.9 MiB in 0.15 s.",
        ),
        (
            a_child(run_seconds=0.3),
            (),
            "Ran in child 4711 for 0.3 s. Nothing was asked back.",
        ),
        (a_child(), (), "Ran in child 4711. Nothing was asked back."),
        (a_child(), ("*",), "Ran in child 4711. Nothing came back."),
        (
            a_child(returned=back(a=10, b=20)),
            ("a", "b"),
            "Ran in child 4711. `a` and `b` came back: 30 B in 0.15 s.",
        ),
        (
            a_child(returned=back(a=10, b=20, c=30)),
            ("*",),
            "Ran in child 4711. `a`, `b` and `c` came back: 60 B in 0.15 s.",
        ),
        (
            a_child(returned=back(a=1, b=1, c=1, d=1)),
            ("*",),
            "Ran in child 4711. 4 names came back: 4 B in 0.15 s.",
        ),
        (
            a_child(returned=back(a=10)),
            ("a", "b"),
            "Ran in child 4711. `a` came back: 10 B in 0.15 s. `b` did not come back.",
        ),
        (a_child(), ("a",), "Ran in child 4711. `a` did not come back."),
        (
            a_child(returned=Crossing(names={"a": None})),
            ("a",),
            "Ran in child 4711. `a` came back.",
        ),
    ],
)
def test_what_came_back_from_a_child_that_finished(
    child: ChildRun, asked: tuple[str, ...], said: str
) -> None:
    assert headline(child, asked=asked) == said


ENDINGS: dict[Ending, tuple[dict[str, Any], str]] = {
    "finished": ({"run_seconds": 2}, "Ran in child 4711 for 2.0 s."),
    "raised": (
        {
            "error": error("ZeroDivisionError"),
            "where": "cell line 4: 1 / 0",
            "run_seconds": 3.2,
        },
        "Child 4711 raised ZeroDivisionError in cell line 4 after 3.2 s.",
    ),
    "exited": (
        {"exit_code": 3, "where": "cell line 2: sys.exit(3)", "run_seconds": 0.5},
        "Child 4711 called sys.exit(3) in cell line 2 after 0.5 s.",
    ),
    "quit": (
        {"exit_code": 5},
        "Child 4711 ended with exit code 5 without reporting a result.",
    ),
    "killed": (
        {"signal": "SIGSEGV", "where": "cell line 3: f()"},
        f"Child 4711 was killed by SIGSEGV in cell line 3: f(). {UNHARMED}",
    ),
    "out_of_memory": (
        {"signal": "SIGKILL", "evidence": "oom_kill went up"},
        "Child 4711 was killed for lack of memory (SIGKILL, oom_kill went up). "
        + UNHARMED,
    ),
    "timeout": (
        {"run_seconds": 60.0, "where": LOCK, "evidence": "waiting"},
        "Child 4711 was stopped after 60.0 s (--timeout 60), waiting in " + LOCK + ".",
    ),
    "memory_limit": (
        {"run_seconds": 3.2, "where": "cell line 2: f(x)"},
        "Child 4711 was stopped at --memory 64 MiB after 3.2 s in cell line 2: f(x). "
        + UNHARMED,
    ),
    "keep_free": (
        {"run_seconds": 3.2},
        f"Stopped: 1.0 GiB left free. Child 4711 had run for 3.2 s. {UNHARMED}",
    ),
    "interrupted": (
        {"run_seconds": 3.2, "where": LOCK},
        "Child 4711 was interrupted after 3.2 s in cell line 3: lock.acquire().",
    ),
    "not_started": (
        {"exit_code": 1},
        "Child 4711 did not start: it never answered (exit code 1).",
    ),
    "lost": (
        {"run_seconds": 3.2},
        "Child 4711 was lost after 3.2 s: its channel broke, exit status unknown.",
    ),
}
LIMITS = {"timeout_seconds": 60, "memory_bytes": 2**26, "keep_free_bytes": 2**30}


def test_every_ending_is_in_the_table() -> None:
    assert set(ENDINGS) == set(get_args(Ending))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_child_that_ended_like_this(ending: Ending) -> None:
    fields, said = ENDINGS[ending]
    sentence = headline(a_child(ending, **fields), **LIMITS)
    assert sentence.removesuffix(" Nothing was asked back.") == said


@pytest.mark.parametrize("ending", get_args(Ending))
def test_nothing_is_said_that_is_not_known(ending: Ending) -> None:
    for count in (1, 2):
        said = headline(*(a_child(ending, index) for index in range(count)))
        assert said.endswith(".")
        assert "None" not in said
        assert " 0" not in said


@pytest.mark.parametrize(
    ("ending", "fields", "said"),
    [
        ("timeout", {}, "Child 4711 was stopped at its time limit."),
        (
            "timeout",
            {"run_seconds": 5.0, "where": LOCK},
            "Child 4711 was stopped after 5.0 s in cell line 3: lock.acquire().",
        ),
        (
            "quit",
            {},
            "Child 4711 ended without reporting a result: exit status unknown.",
        ),
        (
            "lost",
            {"exit_code": 0, "evidence": "its last message was cut"},
            "Child 4711 was lost: its last message was cut, exit code 0.",
        ),
        ("raised", {}, "Child 4711 raised an error."),
        ("exited", {}, "Child 4711 called sys.exit()."),
    ],
)
def test_what_is_not_known_is_left_out(
    ending: Ending, fields: dict[str, Any], said: str
) -> None:
    assert headline(a_child(ending, **fields)) == said


def test_names_that_came_back_before_the_end_are_said() -> None:
    child = a_child("killed", signal="SIGKILL", returned=back(a=2048))
    assert headline(child, asked=("a",)) == (
        "Child 4711 was killed by SIGKILL. `a` came back: 2.0 KiB in 0.15 s. "
        + UNHARMED
    )


@pytest.mark.parametrize("count", [2, 8, 100])
def test_many_children_that_finished(count: int) -> None:
    children = [
        a_child(index=index, run_seconds=10.0 + index, returned=back(scores=2**20))
        for index in range(count)
    ]
    last = 4710 + count
    assert headline(*children, asked=("scores",)) == (
        f"Ran in {count} children for {9.0 + count} s (slowest {last}). "
        f"`scores` came back from each: {count}.0 MiB together."
    )


def test_the_slowest_is_not_named_when_a_time_is_unknown() -> None:
    children = [a_child(index=0, run_seconds=1.0), a_child(index=1)]
    assert headline(*children) == "Ran in 2 children. Nothing was asked back."


def test_a_name_that_came_back_from_some() -> None:
    children = [a_child(index=0), a_child(index=1, returned=back(a=1024))]
    assert headline(*children, asked=("a",)) == (
        "Ran in 2 children. `a` came back from 1 of 2: 1.0 KiB in 0.15 s."
    )


def some_failed(count: int, **failed: ChildRun) -> list[ChildRun]:
    by_index = {child.index: child for child in failed.values()}
    return [by_index.get(index, a_child(index=index)) for index in range(count)]


def test_one_of_many_failed() -> None:
    bad = a_child("killed", 1, signal="SIGSEGV", where="cell line 3: f()")
    assert headline(*some_failed(8, bad=bad)) == (
        "1 of 8 children failed: child 1 (4712) was killed by SIGSEGV in cell line 3: "
        f"f(). {UNHARMED}"
    )


def test_some_of_many_failed_each_in_its_way() -> None:
    raised = a_child(
        "raised", 1, error=error("ValueError"), where="cell line 3: g()", run_seconds=1
    )
    late = a_child("timeout", 5, where=LOCK, evidence="waiting", run_seconds=60.1)
    gone = a_child("quit", 6, exit_code=1)
    said = headline(*some_failed(8, a=raised, b=late), timeout_seconds=60)
    assert said == (
        "2 of 8 children failed: child 1 (4712) raised ValueError in cell line 3; "
        "child 5 (4716) was stopped at --timeout 60, waiting in cell line 3."
    )
    said = headline(*some_failed(8, a=raised, b=late, c=gone), timeout_seconds=60)
    assert said.startswith("3 of 8 children failed: child 1 (4712) raised")
    assert said.endswith("; and 1 more.")


@pytest.mark.parametrize("count", [2, 8, 100])
def test_all_failed_in_the_same_way(count: int) -> None:
    children = [
        a_child("raised", index, error=error("KeyError"), run_seconds=index)
        for index in range(count)
    ]
    assert headline(*children) == (
        f"All {count} children failed: each raised KeyError."
    )


def test_many_children_were_interrupted() -> None:
    children = [a_child("interrupted", n, run_seconds=3.2) for n in range(3)]
    assert headline(*children) == "All 3 children were interrupted after 3.2 s."
    assert headline(a_child(index=3), *children) == (
        "3 of 4 children were interrupted after 3.2 s."
    )


def test_many_children_were_stopped_to_keep_memory_free() -> None:
    children = [a_child("keep_free", n) for n in range(8)]
    assert headline(*children, keep_free_bytes=2**30) == (
        f"Stopped: 1.0 GiB left free. All 8 children were stopped. {UNHARMED}"
    )
    bad = a_child("raised", 8, error=error("KeyError"))
    assert headline(*children, bad, keep_free_bytes=2**30) == (
        "Stopped: 1.0 GiB left free. 8 of 9 children were stopped. 1 more failed. "
        + UNHARMED
    )


def test_no_child_was_started() -> None:
    assert headline() == "No child was started."


def test_long_texts_of_others_are_cut() -> None:
    child = a_child("killed", signal="SIGSEGV", where="cell line 1: " + "f(x)\n" * 99)
    said = headline(child)
    assert len(said) < 160
    assert "\n" not in said
    assert said.endswith(f" .... {UNHARMED}")
