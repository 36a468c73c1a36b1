"""What holds of every result: stored, compared, pickled, free of user objects."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import pickle
import sys
import threading
from typing import Any

import pytest

from ipc_magic.errors import IpcMagicError
from ipc_magic.results import (
    ChildRun,
    Crossing,
    ErrorInChild,
    Finding,
    InProcess,
    Limits,
    Memory,
    Setting,
)
from ipc_magic.results.records import Frozen

FULL = InProcess(
    children=(
        ChildRun(
            index=0,
            pid=4711,
            start_method="fork",
            ending="raised",
            exit_code=0,
            error=ErrorInChild(type="ValueError", message="no\udc80", traceback="T\n"),
            where="cell line 3: f(x)",
            start_seconds=0.1 + 0.2,
            run_seconds=1e-9,
            end_seconds=3,
            sent=Crossing.nothing(),
            returned=Crossing(names={"b": 1, "a": None}, pickled_bytes=3),
            memory=Memory(
                mechanism="witness",
                exact=True,
                inherited_bytes=1 << 30,
                copied_bytes=1 << 28,
                new_bytes=4096,
                baseline_age_seconds=0.1,
                witness_seconds=0.2,
            ),
        ),
        ChildRun(
            index=1,
            pid=4712,
            start_method="fork",
            ending="killed",
            signal="SIGSEGV",
            evidence="seen",
        ),
    ),
    asked=("a", "b"),
    limits=Limits(timeout_seconds=60.5, memory_bytes=2**40),
    findings=(Finding(code="lost", message="m", figures={"lost_bytes": 3, "n": "x"}),),
    setting=Setting(
        python="3.11.7", system="Linux 6.18", start_method="fork", parent_threads=9
    ),
)


def empty() -> InProcess:
    return InProcess(children=(), setting=FULL.setting)


@pytest.mark.parametrize("result", [FULL, empty()])
def test_a_result_comes_back_from_json_as_it_was(result: InProcess) -> None:
    again = InProcess.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again == result
    assert again.to_dict() == result.to_dict()
    assert list(again.to_dict()) == list(result.to_dict())
    assert str(again.details()) == str(result.details())


def test_the_dict_holds_what_was_promised() -> None:
    said = FULL.to_dict()
    assert said["kind"] == "inprocess"
    assert said["format"] == 1
    assert said["headline"] == FULL.headline
    assert said["findings"] == [
        {"code": "lost", "message": "m", "figures": {"lost_bytes": 3, "n": "x"}}
    ]
    assert set(said["setting"]) == {
        "python",
        "system",
        "start_method",
        "parent_threads",
    }
    one, two = said["children"]
    crossing = {"names", "buffers", "pickled_bytes", "buffer_bytes"} | {
        f"{phase}_seconds" for phase in ("dump", "transport", "load")
    }
    assert set(one["sent"]) == set(one["returned"]) == crossing
    assert one["returned"]["names"] == {"b": 1, "a": None}
    assert set(one["error"]) == {"type", "message", "traceback"}
    assert two["error"] is None
    measured = "mechanism exact inherited_bytes written_bytes copied_bytes "
    measured += "end_copied_bytes new_bytes gone_bytes baseline_bytes "
    measured += "transport_copied_bytes unmeasured_bytes"
    assert set(measured.split()) <= set(one["memory"])
    assert (one["memory"]["copied_bytes"], one["memory"]["exact"]) == (1 << 28, True)
    assert one["memory"]["gone_bytes"] is two["memory"] is None
    promised = "index pid start_method exit_code signal error start_seconds "
    promised += "run_seconds end_seconds sent returned memory changes"
    assert set(promised.split()) <= set(one)


def test_keys_that_a_later_version_adds_are_ignored() -> None:
    said = FULL.to_dict()
    said["later"] = 1
    said["children"][0]["later"] = {}
    assert InProcess.from_dict(said) == FULL


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "cow_watch"}, "of kind 'cow_watch'; InProcess reads 'inprocess'"),
        ({"format": 2}, "written in format 2; this ipc_magic reads format 1"),
        ({"setting": {}}, "no Setting can be read: .*missing"),
        ({"setting": 3}, "no Setting can be read from 3"),
    ],
)
def test_what_cannot_be_read_is_said(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(IpcMagicError, match=complaint):
        InProcess.from_dict({**FULL.to_dict(), **change})


def test_results_compare_and_hash() -> None:
    again = pickle.loads(pickle.dumps(FULL))
    assert again == FULL
    assert hash(again) == hash(FULL)
    assert {again, FULL} == {FULL}
    assert dataclasses.replace(FULL, asked=("a",)) != FULL
    assert empty() != FULL


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_results_pickle_with_every_protocol_that_knows_slots(protocol: int) -> None:
    assert pickle.loads(pickle.dumps(FULL, protocol)) == FULL


def test_nothing_in_a_result_can_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.asked = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        FULL.children[0].returned.names["x"] = 1  # type: ignore[index]


def test_the_caller_keeps_no_hand_on_what_it_gave() -> None:
    names: dict[str, int | None] = {"a": 1}
    children = [FULL.children[0]]
    crossing = Crossing(names=names)
    result = InProcess(children=children, setting=FULL.setting)  # type: ignore[arg-type]
    names["b"] = 2
    children.clear()
    assert crossing.names == {"a": 1}
    assert result.children == FULL.children[:1]


def test_a_result_holds_no_object_of_the_user() -> None:
    """Whatever it refers to is ours, or text, a number, or a plain container."""
    plain = (str, int, float, bool, type(None), tuple, dict)
    ours = (InProcess, ChildRun, Crossing, ErrorInChild, Finding, Limits, Memory)
    seen: set[int] = set()
    left: list[Any] = [FULL]
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        assert type(one) in (*plain, *ours, Setting, Frozen)
        left += gc.get_referents(one)
    assert len(seen) > 30


def test_a_frame_has_one_row_a_child() -> None:
    pytest.importorskip("pandas")
    frame = FULL.to_frame()
    assert list(frame["pid"]) == [4711, 4712]
    assert frame["returned_names"][0] == "b, a"
    assert frame["returned_pickled_bytes"].isna().tolist() == [False, True]
    assert frame["copied_bytes"].isna().tolist() == [False, True]
    assert {type(name) for name in frame.columns} == {str}


def test_without_pandas_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(IpcMagicError, match=r"pip install 'ipc_magic\[frame\]'"):
        FULL.to_frame()


def test_a_crossing_sums_only_what_is_known() -> None:
    assert Crossing().moved_bytes is None
    assert Crossing().seconds is None
    assert Crossing(pickled_bytes=3).moved_bytes is None
    assert Crossing.nothing().moved_bytes == 0
    assert Crossing.nothing().seconds == 0


def test_the_setting_of_this_process() -> None:
    setting = Setting.current(start_method="spawn")
    assert setting.python == ".".join(map(str, sys.version_info[:3]))
    assert setting.start_method == "spawn"
    if hasattr(os, "uname"):
        assert setting.system.startswith(os.uname().sysname)
    assert setting.parent_threads is not None
    assert setting.parent_threads >= threading.active_count()
    assert Setting.current(parent_threads=3).threads_words == "3 threads at the fork"


def test_a_frozen_mapping_is_a_mapping() -> None:
    frozen = Frozen({"b": 1, "a": 2})
    assert list(frozen) == ["b", "a"]
    assert len(frozen) == 2
    assert frozen == {"a": 2, "b": 1}
    assert hash(frozen) == hash(Frozen({"a": 2, "b": 1}))
    assert repr(frozen) == "{'b': 1, 'a': 2}"
    assert pickle.loads(pickle.dumps(frozen)) == frozen
