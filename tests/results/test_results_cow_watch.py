"""What the report of `%cow_watch` says and draws, from figures that were made up."""

from __future__ import annotations

import pytest

from ipc_magic.results import CowWatch, Limits, Memory, Setting, WatchedChild
from ipc_magic.results.cow_watch import Point, Projection
from ipc_magic.results.cow_watch_notes import about_children, older
from ipc_magic.results.cow_watch_report import lines_over_time
from ipc_magic.results.inprocess import ChildRun

MIB = 1 << 20
SETTING = Setting(python="3.11.7", system="Linux 6.18", start_method="fork")


def child(index=0, copied=50 * MIB, timeline=(), **fields):
    memory = Memory(
        mechanism="uffd",
        exact=True,
        inherited_bytes=100 * MIB,
        copied_bytes=copied,
        new_bytes=MIB,
    )
    points = tuple(
        Point(seconds=at, copied_bytes=mib * MIB, new_bytes=0) for at, mib in timeline
    )
    known = {"how": "multiprocessing.Pool", "line": 2, "memory": memory, **fields}
    return WatchedChild(index=index, pid=4711 + index, timeline=points, **known)


def watch(*children, **fields):
    known = {"mechanism": "uffd", "exact": True, "statement": "work()", **fields}
    return CowWatch(
        **{"setting": SETTING, "ran_here": True, "seconds": 2.0, **known},
        children=children,
    )


def test_lines_over_time_share_their_scale_and_their_clock():
    early = child(timeline=[(0.0, 0), (0.5, 50), (0.9, 100)])
    late = child(timeline=[(1.0, 0), (1.5, 25), (1.99, 50)])
    one, other = lines_over_time([early, late], 2.0)
    assert one[0] == "▁"
    assert one.rstrip("·")[-1] == "█"
    assert set(one[6:]) == {"·"}  # it has ended
    assert set(other[:6]) == {"·"}  # it was not forked yet
    assert other[-1] not in "█·▁"
    drawn = one.rstrip("·")
    assert sorted(drawn, key="▁▂▃▄▅▆▇█".index) == list(drawn)


def test_a_bar_is_drawn_where_there_were_few_readings():
    shown = str(watch(child(timeline=[(0.1, 50)])))
    assert "██████░░░░░░" in shown
    assert "copied of all" in shown


@pytest.mark.parametrize(
    ("last", "grew"), [(100, "It was still growing when it ended."), (51, "")]
)
def test_what_grows_until_its_end_is_told_of(last, grew):
    readings = [(at / 10, 50) for at in range(1, 9)]
    said = watch(child(timeline=[*readings, (1.2, last)])).headline
    assert said.startswith("1 child copied 50.0 of the 100.0 MiB it inherited (50 %).")
    assert said.endswith(grew or "(50 %).")


def test_makers_are_named_once_and_some_only():
    makers = [("os.fork", 1), ("os.fork", 1), ("joblib", 3), ("DataLoader", None)]
    children = [child(i, how=how, line=line) for i, (how, line) in enumerate(makers)]
    said = " ".join(str(watch(*children)).split())
    assert "forked by os.fork, line 1 | forked by joblib, line 3 | by 1 more" in said
    assert "DataLoader" not in said


def test_the_projection_says_whose_number_it_is():
    figures = {"parent_bytes": 14 << 30, "child_bytes": 11 << 30, "bytes": 102 << 30}
    asked = Projection(children=8, machine_bytes=30 << 30, **figures)
    own = Projection(children=8, for_cpus=True, machine_bytes=30 << 30, **figures)
    said = "14.0 + 8 x 11.0 = 102.0 GiB. This machine has 30.0 GiB. They would not fit."
    assert f"8 at once: {said}" in " ".join(
        str(watch(child(), projection=asked)).split()
    )
    assert f"8 at once (your CPUs): {said}" in " ".join(
        str(watch(child(), projection=own)).split()
    )


def test_children_that_were_stopped_lead_the_report():
    runs = tuple(
        ChildRun(index=i, pid=4711 + i, start_method="fork", ending=ending)
        for i, ending in enumerate(("keep_free", "finished"))
    )
    limits = Limits(keep_free_bytes=1 << 30)
    result = watch(
        child(0), child(1), runs=runs, limits=limits, ran_here=False, seconds=1.0
    )
    assert result.headline == (
        "Stopped: 1.0 GiB left free. 1 of 2 children was running. The children had "
        "copied 100.0 MiB. Your session is unharmed."
    )


def test_what_is_not_known_of_children_is_told_once_for_all_alike():
    children = [
        child(0, alive=True),
        child(1, last_seen=1.5),
        *(child(i, fault="no hook ran") for i in range(2, 5)),
        child(9, started_by="exec", alive=True, last_seen=1.0),
    ]
    found = list(about_children(children))
    assert [finding.code for finding in found] == ["alive", "last_seen", "watch_fault"]
    assert "1 child (4711) still ran" in found[0].message
    assert "last read after 1.5 s" in found[1].message
    assert found[2].message == "3 children: no hook ran"
    assert "(1, 2, 3, ...)" in older([1, 2, 3, 4]).message


def test_the_page_of_many_children_is_small():
    readings = [(at / 10, at) for at in range(20)]
    result = watch(*(child(i, timeline=readings) for i in range(200)))
    assert len(result._repr_mimebundle_()["text/html"]) < 10_000
    assert CowWatch.from_dict(result.to_dict()) == result
