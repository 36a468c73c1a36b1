"""The report of `%%inprocess` at its three levels."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipc_magic.errors import OptionError
from ipc_magic.render import html, text
from ipc_magic.results import (
    ChildRun,
    Crossing,
    ErrorInChild,
    Finding,
    InProcess,
    Limits,
    Setting,
    report_level,
    set_report_level,
)

SETTING = Setting(
    python="3.11.7", system="Linux 6.18", start_method="fork", parent_threads=9
)


def a_child(index: int = 0, **fields: Any) -> ChildRun:
    defaults: dict[str, Any] = {
        "pid": 4711 + index,
        "start_method": "fork",
        "ending": "finished",
        "start_seconds": 0.0021,
        "run_seconds": 12.4 + index,
        "sent": Crossing.nothing(),
    }
    return ChildRun(index=index, **{**defaults, **fields})


def back(**sizes: int | None) -> Crossing:
    return Crossing(
        names=sizes,
        pickled_bytes=1229,
        buffer_bytes=sum(size or 0 for size in sizes.values()),
        dump_seconds=12e-6,
        transport_seconds=0.15,
        load_seconds=0.0011,
    )


def result(*children: ChildRun, **fields: Any) -> InProcess:
    return InProcess(children=children, setting=SETTING, **fields)


def plain(of: InProcess) -> InProcess:
    """Check what holds of every report, and hand the result on."""
    for level in ("line", "short", "full"):
        document = of.document(level)
        drawn = text.render(document)
        page = re.sub("(?s)<style>.*?</style>|<[^>]*>", " ", html.render(document))
        assert re.findall(r"\d+", drawn) == re.findall(r"\d+", unescape(page))
        assert drawn.startswith(text.wrap(of.headline, 80)[0])
        if level != "full":
            assert len(drawn.splitlines()) <= 15
            assert max(map(len, drawn.splitlines())) <= 80
            assert len(html.render(document).encode()) < 10_000
    return of


NOTHING_NOTABLE = [
    result(a_child()),
    result(a_child(returned=back(x=2**20)), asked=("x",)),
    result(a_child(ending="raised", error=ErrorInChild(type="E", message=""))),
    result(a_child(ending="interrupted")),
]


@pytest.mark.parametrize("case", NOTHING_NOTABLE)
def test_when_nothing_is_notable_the_headline_stands_alone(case: InProcess) -> None:
    assert str(plain(case).report("short")) == "\n".join(text.wrap(case.headline, 80))


def test_line_is_the_headline_alone() -> None:
    many = result(*map(a_child, range(8)))
    assert str(plain(many).report("line")) == many.headline


def test_one_large_name() -> None:
    case = result(a_child(returned=back(scores=800_000_000)), asked=("scores",))
    assert (
        str(plain(case))
        == """\
Ran in child 4711 for 12.4 s. `scores` came back: 762.9 MiB in 0.15 s.

  to the parent      bytes  pickled    buffers   dump  transport    load
  scores         762.9 MiB  1.2 KiB  762.9 MiB  12 us     0.15 s  1.1 ms

fork, start 2.1 ms | 9 threads at the fork | Python 3.11"""
    )


def test_several_names_and_findings() -> None:
    findings = (
        Finding(code="not_brought", message="`cache` (new) stayed in the child."),
    )
    names = {f"name_{n}": n * 1024 for n in range(7)}
    case = result(a_child(returned=back(**names)), asked=("*",), findings=findings)
    assert (
        str(plain(case))
        == """\
Ran in child 4711 for 12.4 s. 7 names came back: 22.2 KiB in 0.15 s.

  to the parent     bytes  pickled   buffers   dump  transport    load
  name_6          6.0 KiB
  name_5          5.0 KiB
  name_4          4.0 KiB
  name_3          3.0 KiB
  3 more          3.0 KiB
  together       22.2 KiB  1.2 KiB  21.0 KiB  12 us     0.15 s  1.1 ms

`cache` (new) stayed in the child.
fork, start 2.1 ms | 9 threads at the fork | Python 3.11"""
    )


def test_each_name_is_told_in_its_pickle_and_beside_it() -> None:
    crossing = Crossing(
        names={"x": 5120, "y": 2048, "z": 100},
        buffers={"x": 5000, "y": 0, "z": 0},
        pickled_bytes=2268,
        buffer_bytes=5000,
        dump_seconds=0.001,
        transport_seconds=0.002,
        load_seconds=0.001,
    )
    case = result(a_child(returned=crossing), asked=("x", "y", "z"))
    assert """
  to the parent    bytes  pickled  buffers    dump  transport    load
  x              5.0 KiB    120 B  4.9 KiB
  y              2.0 KiB  2.0 KiB      0 B
  z                100 B    100 B      0 B
  together       7.1 KiB  2.2 KiB  4.9 KiB  1.0 ms     2.0 ms  1.0 ms
""" in str(plain(case))
    assert crossing.bytes_per_second == pytest.approx(7268 / 0.004)
    assert " 1.7 MiB/s" in str(case.details())


def test_a_rate_needs_both_its_parts() -> None:
    assert Crossing(pickled_bytes=3).bytes_per_second is None
    assert Crossing.nothing().bytes_per_second is None


def test_several_children_show_those_that_failed_first() -> None:
    children = [a_child(index, returned=back(x=2048)) for index in range(8)]
    children[6] = a_child(6, ending="killed", signal="SIGSEGV", run_seconds=None)
    case = result(*children, asked=("x",))
    assert (
        str(plain(case))
        == """\
1 of 8 children failed: child 6 (4717) was killed by SIGSEGV. `x` came back from
7 of 8: 14.0 KiB together. Your session is unharmed.

  child   pid   ended         ran  returned
  6       4717  SIGSEGV   unknown   unknown
  0       4711  finished   12.4 s   3.2 KiB
  1       4712  finished   13.4 s   3.2 KiB
  2       4713  finished   14.4 s   3.2 KiB
  4 more        finished

fork, start up to 2.1 ms | 9 threads at the fork | Python 3.11"""
    )


def test_five_children_are_all_shown() -> None:
    drawn = str(plain(result(*map(a_child, range(5)))))
    assert " more" not in drawn
    assert "returned" not in drawn  # nothing was asked
    assert "96 more" in str(plain(result(*map(a_child, range(100)))))


def test_a_violent_end_tells_the_setting() -> None:
    case = result(a_child(ending="lost", run_seconds=None))
    assert str(plain(case)).splitlines() == [
        "Child 4711 was lost: its channel broke, exit status unknown.",
        "fork, start 2.1 ms | 9 threads at the fork | Python 3.11",
    ]


def test_large_data_sent_is_shown() -> None:
    sent = Crossing(names={"df": 2**25}, pickled_bytes=2**25, buffer_bytes=0)
    drawn = str(plain(result(a_child(sent=sent))))
    assert "to the child" in drawn
    assert "df            32.0 MiB  32.0 MiB      0 B  unknown" in drawn


def test_details_hold_everything() -> None:
    error = ErrorInChild(
        type="ValueError",
        message="no",
        traceback="Traceback (most recent call last):\n  File 'x'\nValueError: no",
    )
    case = result(
        a_child(returned=back(x=2048)),
        a_child(1, ending="raised", error=error, where="cell line 3: f(x)"),
        asked=("x",),
        limits=Limits(timeout_seconds=60, memory_bytes=2**26, keep_free_bytes=2**30),
        findings=(Finding(code="a", message="Something is worth knowing."),),
    )
    assert (
        str(plain(case).details())
        == """\
1 of 2 children failed: child 1 (4712) raised ValueError in cell line 3 after
13.4 s. `x` came back from 1 of 2: 2.0 KiB in 0.15 s.
Something is worth knowing.

  child  pid   made by  ended               start     run      end
  0      4711  fork     finished           2.1 ms  12.4 s  unknown
  1      4712  fork     raised ValueError  2.1 ms  13.4 s  unknown

  child  direction  pickled  buffers     dump  transport     load        rate
  0      to child       0 B      0 B      0 s        0 s      0 s
  0      to parent  1.2 KiB  2.0 KiB    12 us     0.15 s   1.1 ms  21.2 KiB/s
  1      to child       0 B      0 B      0 s        0 s      0 s
  1      to parent  unknown  unknown  unknown    unknown  unknown

  child  direction  name    bytes  pickled  buffers
  0      to parent  x     2.0 KiB
  0      to parent  rest  1.2 KiB

child 1 (4712) raised ValueError in cell line 3 after 13.4 s
at: cell line 3: f(x)

  Traceback (most recent call last):
    File 'x'
  ValueError: no

limits: --timeout 60, --memory 64 MiB, --keep-free 1 GiB
fork, start up to 2.1 ms | 9 threads at the fork | Python 3.11.7 | Linux 6.18"""
    )


def test_threads_matter_only_to_a_fork() -> None:
    setting = Setting(
        python="3.12.1", system="Darwin 23.1", start_method="spawn", parent_threads=9
    )
    case = InProcess(children=(a_child(), a_child(1)), setting=setting)
    assert str(case).splitlines()[-1] == "spawn, start up to 2.1 ms | Python 3.12"


def test_names_are_escaped_in_html() -> None:
    evil = "<script>alert(1)</script>"
    case = result(
        a_child(returned=back(**{evil: 2**25, "b": 1})),
        asked=(evil,),
        findings=(Finding(code="x", message=evil),),
    )
    for level in ("line", "short", "full"):
        page = html.render(case.document(level))
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def test_the_level_shown_can_be_chosen() -> None:
    case = result(a_child(), a_child(1))
    assert report_level() == "short"
    try:
        set_report_level("line")
        assert str(case) == case.headline
        set_report_level("full")
        assert str(case) == str(case.details())
        with pytest.raises(OptionError, match='report is "line", "short" or "full"'):
            set_report_level("long")
        assert report_level() == "full"
    finally:
        set_report_level("short")


def test_a_result_shows_itself_as_text_and_html() -> None:
    case = result(a_child(), a_child(1))
    bundle = case._repr_mimebundle_()
    assert bundle == {
        "text/plain": str(case),
        "text/html": html.render(case.document("short")),
    }


sizes = st.none() | st.integers(min_value=0, max_value=2**42)
times = st.none() | st.floats(min_value=0, max_value=1e5)
crossings = st.builds(
    Crossing,
    names=st.dictionaries(st.text(max_size=60), sizes, max_size=12),
    pickled_bytes=sizes,
    buffer_bytes=sizes,
    dump_seconds=times,
    transport_seconds=times,
    load_seconds=times,
)
children = st.builds(
    ChildRun,
    index=st.integers(0, 999),
    pid=st.integers(1, 2**22),
    start_method=st.just("forkserver"),
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.just("SIGSEGV"),
    error=st.none()
    | st.builds(ErrorInChild, type=st.text(max_size=99), message=st.text()),
    where=st.none() | st.text(max_size=200),
    evidence=st.none() | st.text(max_size=200),
    start_seconds=times,
    run_seconds=times,
    end_seconds=times,
    sent=crossings,
    returned=crossings,
)
results = st.builds(
    InProcess,
    setting=st.just(SETTING),
    children=st.lists(children, max_size=9).map(tuple),
    asked=st.lists(st.text(max_size=60), max_size=5).map(tuple),
    findings=st.lists(
        st.builds(Finding, code=st.just("x"), message=st.text(max_size=400)), max_size=6
    ).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(results)
def test_a_short_report_keeps_to_its_room(case: InProcess) -> None:
    from rich.cells import cell_len

    drawn = str(case.report("short")).splitlines()
    assert len(drawn) <= 15
    assert max(map(cell_len, drawn)) <= 80
    assert len(html.render(case.document("short")).encode()) < 10_000
    str(case.details())
