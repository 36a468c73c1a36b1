"""What the report of `%%inprocess` says of its children's memory."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from ipc_magic.render import html, text
from ipc_magic.results import ChildRun, Crossing, Finding, InProcess, Limits, Setting
from ipc_magic.results.memory import Memory

SETTING = Setting(
    python="3.11.7", system="Linux 6.18", start_method="fork", parent_threads=9
)
MIB, GIB = 1 << 20, 1 << 30
UNHARMED = "Your session is unharmed."


def a_memory(**fields: Any) -> Memory:
    defaults: dict[str, Any] = {
        "mechanism": "uffd",
        "exact": True,
        "inherited_bytes": 14 * GIB,
        "copied_bytes": round(10.8 * GIB),
        "end_copied_bytes": round(10.8 * GIB),
        "new_bytes": 200 * 1024,
        "gone_bytes": 0,
        "unmeasured_bytes": 0,
        "baseline_bytes": MIB // 2,
        "baseline_new_bytes": 8192,
        "baseline_age_seconds": 12.0,
    }
    fields = {**defaults, **fields}
    if fields["mechanism"] == "uffd":
        fields.setdefault("written_bytes", fields["copied_bytes"])
    return Memory(**fields)


def unique(size: int, **fields: Any) -> Memory:
    return Memory(mechanism="psutil", exact=False, unique_bytes=size, **fields)


def a_child(index: int = 0, **fields: Any) -> ChildRun:
    defaults: dict[str, Any] = {
        "pid": 4711 + index,
        "start_method": "fork",
        "ending": "finished",
        "start_seconds": 0.0021,
        "run_seconds": 12.4 + index,
        "sent": Crossing.nothing(),
        "memory": a_memory(),
    }
    return ChildRun(index=index, **{**defaults, **fields})


def result(*children: ChildRun, **fields: Any) -> InProcess:
    return InProcess(children=children, setting=SETTING, **fields)


def shown(of: InProcess, level: Any = "short") -> str:
    """Check what holds of every report, and return the one of `level`."""
    for each in ("line", "short", "full"):
        document = of.document(each)
        drawn = text.render(document)
        page = re.sub("(?s)<style>.*?</style>|<[^>]*>", " ", html.render(document))
        assert re.findall(r"\d+", drawn) == re.findall(r"\d+", unescape(page))
        assert "\N{HORIZONTAL ELLIPSIS}" not in drawn
        assert max(map(len, drawn.splitlines())) <= 80
        assert each == "full" or len(drawn.splitlines()) <= 15
    return str(of.report(level))


def test_one_child_stands_above_an_idle_one() -> None:
    assert (
        shown(result(a_child()))
        == """\
Ran in child 4711 for 12.4 s. Nothing was asked back.

  memory      inherited     copied              new
  this child   14.0 GiB   10.8 GiB  77 %  200.0 KiB
  idle child             512.0 KiB          8.0 KiB

fork, start 2.1 ms | exact (userfaultfd) | 9 threads at the fork | Python 3.11"""
    )


def test_what_was_given_up_gets_a_column_when_it_is_much() -> None:
    def with_gone(gone_bytes: int) -> str:
        memory = a_memory(copied_bytes=61 * MIB, gone_bytes=gone_bytes)
        return shown(result(a_child(memory=memory)))

    for little in (4096, MIB, 6 * MIB):  # an arena, or little beside what was copied
        assert "gone" not in with_gone(little)
    said = with_gone(12 * MIB)
    assert re.search(r"memory .* new +gone\n.* 12\.0 MiB\n", said)


@pytest.mark.parametrize(
    ("copied", "new", "told"),
    [(MIB, 16383, False), (MIB, 16384, True), (0, 2 * MIB, True), (0, 0, False)],
)
def test_below_twice_the_idle_childs_figure_nothing_is_told(
    copied: int, new: int, told: bool
) -> None:
    memory = a_memory(copied_bytes=copied, new_bytes=new)
    for children in (
        [a_child(memory=memory)],
        [a_child(i, memory=memory) for i in (1, 2)],
    ):
        said = shown(result(*children))
        assert ("inherited" in said) is told
        assert ("userfaultfd" in said) is told
        assert ("copied" in said) is told
    assert "inherited" in shown(result(a_child(memory=memory)), "full")


def test_several_children_stand_above_an_idle_one() -> None:
    memories = [a_memory(copied_bytes=n * GIB) for n in range(8)]
    case = result(*(a_child(i, memory=memory) for i, memory in enumerate(memories)))
    assert (
        shown(case)
        == """\
Ran in 8 children for 19.4 s (slowest 4718). They copied 28.0 GiB together.
Nothing was asked back.

  child   pid      ran  inherited     copied        new
  0       4711  12.4 s   14.0 GiB        0 B  200.0 KiB
  1       4712  13.4 s   14.0 GiB    1.0 GiB  200.0 KiB
  2       4713  14.4 s   14.0 GiB    2.0 GiB  200.0 KiB
  3       4714  15.4 s   14.0 GiB    3.0 GiB  200.0 KiB
  4 more
  idle                             512.0 KiB    8.0 KiB

fork, start up to 2.1 ms | exact (userfaultfd) | 9 threads at the fork | Python
3.11"""
    )


def test_all_columns_have_room() -> None:
    """The widest figures of all, a returned name, a failure and a finding."""
    wide = a_memory(
        mechanism="exclusive",
        exact=False,
        inherited_bytes=round(1023.9 * MIB),
        copied_bytes=round(1023.8 * MIB),
        new_bytes=round(1023.7 * MIB),
        baseline_bytes=round(100.9 * MIB),
    )
    back = Crossing(names={"x": 1}, pickled_bytes=round(1023.6 * MIB), buffer_bytes=0)
    children = [
        a_child(i, pid=4_194_300 + i, memory=wide, returned=back) for i in range(100)
    ]
    finding = Finding(code="a", message="Worth knowing. " * 9)
    said = shown(result(*children, asked=("x",), findings=(finding,)))
    assert " 1023.6 MiB  1023.9 MiB      1023.8 MiB  1023.7 MiB\n" in said
    assert "96 more" in said
    children[5] = a_child(5, ending="killed", signal="SIGSEGV", memory=wide)
    said = shown(result(*children, asked=("x",), findings=(finding,)))
    assert re.search(
        r"\n  5 +SIGSEGV +17\.4 s +unknown +1023\.9 MiB +1023\.8 MiB +1023\.7 MiB\n",
        said,
    )
    assert "child 5 (4716) was killed by SIGSEGV" in said


@pytest.mark.parametrize(
    ("fields", "bound", "last_line"),
    [
        ({}, "", "exact (userfaultfd)"),
        ({"exact": False}, "at most", "written pages are exact (userfaultfd)"),
        ({"mechanism": "witness"}, "", "exact (exclusive pages + witness)"),
        (
            {"mechanism": "exclusive", "exact": False},
            "at most",
            "at most (exclusive pages: includes pages this process wrote meanwhile)",
        ),
        ({"mechanism": "pfn"}, "", "exact (page frames)"),
        ({"mechanism": "smaps", "exact": False}, "about", "estimate (smaps)"),
    ],
)
def test_what_is_not_exact_is_said_where_the_figure_stands(
    fields: dict[str, Any], bound: str, last_line: str
) -> None:
    memory = a_memory(**fields)
    said = shown(result(a_child(memory=memory)))
    heading = f"copied {bound}".rstrip()
    assert re.search(f"memory +inherited +{heading}  +new\n", said)
    assert f"| {last_line} |" in " ".join(said.split())
    # One of several is enough.
    case = result(a_child(), a_child(1, memory=memory))
    assert re.search(f"inherited +{heading}  +new\n", shown(case))
    gap = f" {bound} " if bound else " "
    assert f"They copied{gap}21.6 GiB together." in case.headline
    killed = a_child(ending="killed", signal="SIGKILL", memory=memory)
    assert f"It had copied{gap}10.8 GiB, new" in result(killed).headline


def test_a_killed_child_had_copied_at_least_what_was_read() -> None:
    memory = a_memory(new_bytes=round(10.6 * GIB), unread_seconds=0.2)
    fields = {"signal": "SIGKILL", "evidence": "oom_kill went up"}
    case = result(a_child(ending="out_of_memory", memory=memory, **fields))
    assert case.headline == (
        "Child 4711 was killed for lack of memory (SIGKILL, oom_kill went up). "
        f"It had copied at least 10.8 GiB, new 10.6 GiB. {UNHARMED}"
    )
    assert "copied at least " in shown(case)
    assert "read before end" in shown(case, "full")
    assert "0.2 s\n" in shown(case, "full")


def test_a_bound_from_both_sides_is_about_the_figure() -> None:
    memory = a_memory(exact=False, mechanism="exclusive", unread_seconds=0.2)
    case = result(a_child(ending="killed", memory=memory))
    assert "It had copied about 10.8 GiB" in case.headline
    assert "copied about" in shown(case)


def test_a_timeout_tells_what_was_copied() -> None:
    case = result(
        a_child(ending="timeout", run_seconds=60, memory=a_memory(unread_seconds=0.0)),
        limits=Limits(timeout_seconds=60),
    )
    assert case.headline == (
        "Child 4711 was stopped after 60.0 s (--timeout 60). "
        "It had copied at least 10.8 GiB, new 200.0 KiB."
    )


@pytest.mark.parametrize("count", [1, 8])
def test_children_stopped_to_keep_memory_free(count: int) -> None:
    memory = a_memory(copied_bytes=round(9.8 * GIB) // count, new_bytes=0)
    children = [a_child(i, ending="keep_free", memory=memory) for i in range(count)]
    ran = " Child 4711 had run for 12.4 s. It" if count == 1 else " The children"
    assert result(*children, limits=Limits(keep_free_bytes=GIB)).headline == (
        f"Stopped: 1.0 GiB left free.{ran} had copied 9.8 GiB, new 0 B. {UNHARMED}"
    )


def test_a_child_that_was_never_read_leaves_the_sum_open() -> None:
    unread = a_memory(copied_bytes=None, new_bytes=None, end_copied_bytes=None)
    killed = a_child(1, ending="killed", signal="SIGKILL", memory=unread)
    for other in (killed, a_child(1, ending="killed", signal="SIGKILL", memory=None)):
        case = result(a_child(), other)
        assert "The children had copied at least 10.8 GiB, new" in case.headline
        shown(case)
    assert "copied" not in result(killed).headline
    assert "unknown" not in shown(result(killed))


def test_figures_older_than_the_end_are_told_where_the_headline_does_not() -> None:
    late = a_memory(unread_seconds=0.21)
    alone = a_child(ending="quit", exit_code=0, memory=late)
    assert "It was last read 0.21 s before the end." in shown(result(alone))
    others = [a_child(i, ending="quit", exit_code=0, memory=late) for i in (1, 2)]
    said = shown(result(a_child(), *others))
    assert "2 of them were last read up to 0.21 s before the end." in said
    killed = a_child(ending="killed", memory=late)
    assert "last read" not in shown(result(killed))


def test_unique_memory_is_never_called_copied() -> None:
    held = unique(GIB, baseline_unique_bytes=3 * MIB)
    for case in (
        result(a_child(memory=held)),
        result(a_child(ending="killed", memory=held)),
        result(*(a_child(i, memory=held) for i in range(3))),
    ):
        for level in ("line", "short", "full"):
            assert "copied" not in shown(case, level)
    said = shown(result(a_child(memory=held)))
    assert (
        "It held 1.0 GiB of memory alone (USS), which counts new memory as well; an "
        "idle child holds 3.0 MiB." in " ".join(said.split())
    )
    said = shown(result(*(a_child(i, memory=held) for i in range(3))))
    assert re.search(r"alone \(USS\)\n(.* 1\.0 GiB\n){3}  idle +3\.0 MiB\n", said)
    little = unique(5 * MIB, baseline_unique_bytes=3 * MIB)
    assert "USS" not in shown(result(a_child(memory=little)))
    assert "USS" in shown(result(a_child(memory=little)), "full")


def test_the_full_report_tells_each_figure_and_how_old_it_is() -> None:
    memory = a_memory(
        mechanism="witness",
        witness_seconds=0.034,
        transport_copied_bytes=3 * MIB,
        unmeasured_bytes=8192,
        end_copied_bytes=9 * GIB,
        gone_bytes=2 * GIB,
    )
    late = a_memory(mechanism="witness", witness_seconds=0.036, unread_seconds=0.25)
    case = result(
        a_child(memory=memory), a_child(1, memory=late), a_child(2, memory=None)
    )
    said = shown(case, "full")
    assert (
        """
  child  inherited     copied    at end        new     gone
  0       14.0 GiB   10.8 GiB   9.0 GiB  200.0 KiB  2.0 GiB
  1       14.0 GiB   10.8 GiB  10.8 GiB  200.0 KiB      0 B
  idle              512.0 KiB              8.0 KiB

  child  sending copied  not seen  read before end  witness before
  0             3.0 MiB   8.0 KiB                          34.0 ms
  1                                         0.25 s         36.0 ms

idle child: measured 12.0 s before this run
"""
        in said
    )


def test_written_is_told_where_it_is_known() -> None:
    said = shown(result(a_child()), "full")
    assert re.search(r"inherited +written +copied +at end", said)
    assert re.search(r"\n  0 +14\.0 GiB +10\.8 GiB +10\.8 GiB +10\.8 GiB", said)
    assert re.search(r"\n  idle +512\.0 KiB +8\.0 KiB\n", said)
    assert "not seen" not in said


def test_the_full_table_has_room_for_the_widest_figures() -> None:
    widest = round(1023.9 * MIB)
    names = "inherited written copied end_copied new gone transport_copied unmeasured"
    fields = {f"{name}_bytes": widest for name in names.split()}
    memory = a_memory(**fields, witness_seconds=7201.0, unread_seconds=7201.0)
    assert shown(result(a_child(memory=memory)), "full").count("1023.9 MiB") == 8


sizes = st.none() | st.integers(min_value=0, max_value=2**42)
times = st.none() | st.floats(min_value=0, max_value=1e5)
_SIZES = "inherited written copied end_copied new gone baseline baseline_new"
_SIZES += " baseline_unique transport_copied unmeasured unique"
memories = st.builds(
    Memory,
    mechanism=st.sampled_from(
        ["uffd", "witness", "exclusive", "pfn", "smaps", "psutil"]
    ),
    exact=st.booleans(),
    **{f"{name}_bytes": sizes for name in _SIZES.split()},
    baseline_age_seconds=times,
    witness_seconds=times,
    unread_seconds=times,
)
children = st.builds(
    a_child,
    index=st.integers(0, 999),
    pid=st.integers(1, 2**22),
    ending=st.sampled_from(["finished", "quit", "killed", "timeout", "keep_free"]),
    run_seconds=times,
    memory=st.none() | memories,
    returned=st.builds(
        Crossing,
        names=st.dictionaries(st.text(max_size=9), sizes, max_size=2),
        pickled_bytes=sizes,
        buffer_bytes=sizes,
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(children, max_size=9))
def test_every_report_keeps_to_its_room(many: list[ChildRun]) -> None:
    case = result(*many)
    drawn = str(case.report("short")).splitlines()
    assert len(drawn) <= 15
    assert max(map(cell_len, drawn)) <= 80
    assert len(html.render(case.document("short")).encode()) < 10_000
    assert "None" not in str(case.details())
    assert InProcess.from_dict(case.to_dict()) == case
