"""What holds of the results of `%pickle_cost`: stored, compared, free of objects."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import pickle
from typing import Any

import pytest

from ipc_magic.errors import IpcMagicError
from ipc_magic.render import units
from ipc_magic.results import Finding, Setting
from ipc_magic.results import pickle_cost as results
from ipc_magic.results.pickle_cost import (
    Alternative,
    Captured,
    NotLoaded,
    Offender,
    Part,
    PickleCost,
    PickleCostTable,
    Protocol,
    Skipped,
    Transport,
    TypeRow,
    Variable,
)
from ipc_magic.results.pickle_cost_phrases import elide
from ipc_magic.results.records import Frozen

SETTING = Setting(
    python="3.11.7", system="Linux 6.18", start_method="fork", parent_threads=9
)
BAD = Offender(path="x[0]", type="lambda", stage="dump", reason="r\udc80", advice="a")
FULL = PickleCost(
    setting=SETTING,
    findings=(Finding(code="left_out", message="joblib", figures={"n": 3}),),
    expression="x",
    type="list of 2",
    deep_size_bytes=100,
    deep_size_seconds=0.1 + 0.2,
    protocol=4,
    usual_protocol=4,
    pickled_bytes=30,
    buffer_bytes=None,
    first_dump_seconds=1e-9,
    dump_seconds=(0.3, 0.1, 0.2),
    dump_gc_seconds=(0.0, 0.0, 0.1),
    load_seconds=(0.5, 0.4),
    not_loaded=NotLoaded(needed_bytes=2**40, free_bytes=1),
    protocols=(
        Protocol(protocol=0, error="no"),
        Protocol(protocol=4, pickled_bytes=30),
    ),
    transports=(
        Transport(name="pipe", pickled_bytes=30, round_trip_seconds=(0.2, 0.1, 0.3)),
    ),
    parts=(
        Part(path="x[1]", type="str", bytes=20, depth=1),
        Part(path="x", type="itself", bytes=10, depth=1, row="itself"),
    ),
    types=(TypeRow(type="str", count=1, bytes=30),),
    by_name_bytes=34,
    spawned_has_it=False,
    by_value_bytes=300,
    captured=(Captured(name="BIG", bytes=200),),
    captured_rest_bytes=100,
    offenders=(BAD,),
    warnings=(dataclasses.replace(BAD, stage="spawn"),),
    cloudpickle_offenders=0,
    alternatives=(Alternative(what="as it is", pickled_bytes=30, seconds=0.1),),
    skipped=(Skipped(what="numpy", reason="not installed"),),
)
TABLE = PickleCostTable(
    setting=SETTING,
    protocol=4,
    usual_protocol=4,
    variables=(
        Variable(name="small", type="int", deep_size_bytes=28, pickled_bytes=5),
        Variable(name="lock", type="_thread.lock", deep_size_bytes=40, offender="lock"),
        Variable(
            name="model",
            type="Model",
            deep_size_bytes=66_794_291,
            pickled_bytes=21_763_067,
            dump_seconds=0.216,
        ),
        Variable(name="proxy", type="weakproxy"),
    ),
    skipped=(Skipped(what="big", reason="no time left"),),
)


@pytest.mark.parametrize("result", [FULL, TABLE])
def test_a_result_comes_back_from_json_as_it_was(result: Any) -> None:
    again = type(result).from_dict(json.loads(json.dumps(result.to_dict())))
    assert again == result
    assert hash(again) == hash(result)
    assert list(again.to_dict()) == list(result.to_dict())
    assert str(again.details()) == str(result.details())
    assert pickle.loads(pickle.dumps(result)) == result


def test_the_two_kinds_are_told_apart() -> None:
    with pytest.raises(IpcMagicError, match="of kind 'pickle_cost_table'"):
        PickleCost.from_dict(TABLE.to_dict())
    with pytest.raises(IpcMagicError, match="PickleCostTable reads"):
        PickleCostTable.from_dict(FULL.to_dict())


PROMISED = """
    kind format setting headline findings expression type deep_size_bytes pickler
    protocol pickled_bytes buffer_bytes dump_seconds load_seconds protocols transports
    parts types captured offenders warnings
"""
ROWS = {
    "protocols": "protocol pickled_bytes buffer_bytes dump_seconds load_seconds",
    "transports": "name pickled_bytes wire_bytes round_trip_seconds dump_seconds "
    "transport_seconds load_seconds reply_seconds",
    "parts": "path type bytes depth shared_from",
    "types": "type count bytes",
    "captured": "name bytes",
    "offenders": "path type stage reason advice",
    "warnings": "path type stage reason advice",
}


def test_the_dict_holds_what_was_promised() -> None:
    said = FULL.to_dict()
    assert set(PROMISED.split()) <= set(said)
    assert said["kind"] == "pickle_cost"
    assert said["format"] == 1
    assert said["headline"] == FULL.headline
    assert said["dump_seconds"] == [0.3, 0.1, 0.2]
    for name, keys in ROWS.items():
        for row in said[name]:
            assert set(keys.split()) <= set(row)


@pytest.mark.parametrize(
    ("place", "record"),
    [
        ("cost.ProtocolCost", Protocol),
        ("round_trip.RoundTrip", Transport),
        ("tree.Part", Part),
        ("by_type.TypeRow", TypeRow),
        ("captured.Captured", Captured),
        ("offenders.Offender", Offender),
        ("alternatives.Alternative", Alternative),
        ("alternatives.Skipped", Skipped),
    ],
)
def test_what_is_measured_has_its_record_here(place: str, record: Any) -> None:
    """The room `pickling` knows no results: its fields are handed over by name."""
    module, _, name = place.partition(".")
    measured = getattr(importlib.import_module(f"ipc_magic.pickling.{module}"), name)
    fields = {field.name for field in dataclasses.fields(measured)}
    assert fields == {field.name for field in dataclasses.fields(record)}


def test_what_is_known_of_the_whole_has_its_field_here() -> None:
    cost = importlib.import_module("ipc_magic.pickling.cost")
    ours = {field.name for field in dataclasses.fields(PickleCost)}
    assert {field.name for field in dataclasses.fields(cost.Cost)} <= ours


def test_statistics_are_made_of_all_runs() -> None:
    assert (FULL.min_dump_seconds, FULL.median_dump_seconds) == (0.1, 0.2)
    assert (FULL.min_load_seconds, FULL.median_load_seconds) == (0.4, 0.45)
    assert FULL.transports[0].min_seconds == 0.1
    assert FULL.transports[0].median_seconds == 0.2
    none = dataclasses.replace(FULL, dump_seconds=(), load_seconds=())
    assert none.min_dump_seconds is None is none.median_load_seconds
    assert Transport(name="pipe").min_seconds is None


def test_nothing_in_a_result_can_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.parts = ()  # type: ignore[misc]
    given = [BAD]
    made = dataclasses.replace(FULL, offenders=given)  # type: ignore[arg-type]
    given.clear()
    assert made.offenders == (BAD,)


@pytest.mark.parametrize("result", [FULL, TABLE])
def test_a_result_holds_no_object_of_the_user(result: Any) -> None:
    """Whatever it refers to is ours, or text, a number, or a plain container."""
    plain = (str, int, float, bool, type(None), tuple, dict, Frozen, Finding, Setting)
    ours = tuple(getattr(results, name) for name in results.__all__)
    seen: set[int] = set()
    left: list[Any] = [result]
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        assert type(one) in (*plain, *ours)
        left += gc.get_referents(one)
    assert len(seen) > 20


def test_a_frame_has_one_row_a_part() -> None:
    pytest.importorskip("pandas")
    frame = FULL.to_frame()
    assert list(frame["path"]) == ["x[1]", "x"]
    assert frame["bytes"].sum() == FULL.pickled_bytes
    assert list(TABLE.to_frame()["name"]) == ["model", "lock", "small", "proxy"]


def test_the_variables_come_by_cost() -> None:
    assert (
        str(TABLE)
        == """\
4 variables: `model` costs most to send, 20.8 MiB pickled. `lock` cannot be
pickled.

  variable  type          in memory   pickled    dump  blocked by
  model     Model          63.7 MiB  20.8 MiB  0.22 s
  lock      _thread.lock       40 B                    lock
  small     int                28 B       5 B
  proxy     weakproxy       unknown   unknown

skipped (no time left): big
next: %pickle_cost lock
pickle protocol 4 (multiprocessing's default here) | Python 3.11, Linux 6.18"""
    )


def test_a_size_that_cannot_be_all_is_told_to_be_unknown() -> None:
    model = dataclasses.replace(TABLE.variables[0], deep_size_bytes=65_000)
    table = str(dataclasses.replace(TABLE, variables=(model,)))
    assert "  model     Model    unknown  20.8 MiB  0.22 s" in table


def test_without_offenders_there_is_no_column_of_them() -> None:
    table = dataclasses.replace(TABLE, variables=TABLE.variables[:1])
    assert "blocked by" not in str(table)
    assert str(table).splitlines()[-2] == "next: %pickle_cost model"


def test_many_variables_keep_to_the_room() -> None:
    many = [
        Variable(name=f"v{n}" * 20, type="T" * 90, pickled_bytes=n, offender="o" * 90)
        for n in range(300)
    ]
    skipped = [Skipped(what="s" * n, reason=f"reason {n}") for n in range(90)]
    table = dataclasses.replace(TABLE, variables=tuple(many), skipped=tuple(skipped))
    drawn = str(table).splitlines()
    assert len(drawn) <= 15
    assert max(map(len, drawn)) <= 80
    assert any(line.strip().endswith(" more") for line in drawn)
    assert len(table._repr_mimebundle_()["text/html"].encode()) < 10_000
    assert "300 of them cannot be pickled" in table.headline
    assert all(f"{'s' * n} (reason {n})" in str(table.details()) for n in (1, 9))


def test_an_empty_session_has_a_sentence() -> None:
    table = dataclasses.replace(TABLE, variables=(), skipped=())
    assert str(table).splitlines()[0] == "The notebook has no variables yet."
    table = dataclasses.replace(TABLE, variables=())
    assert table.headline == "None of the 1 variable was measured."


def test_what_is_long_loses_its_middle() -> None:
    path = "model.layers[3]['cache'].connections[12].lock"
    short = elide(path, 24)
    assert len(short) == 24
    assert short.startswith("model.laye")
    assert short.endswith("s[12].lock")
    assert elide(path, len(path)) == path
    assert elide("x['a  b']", 24) == "x['a  b']"
    assert "\n" not in elide("a\nb", 24)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((0.216, 0.007, 0.325), "a 216 + b 7 + c 325 ms"),
        ((0.0001, 0.325, None), "a <1 + b 325 + c unknown ms"),
        ((12.34e-6, 0.0, 1e-9), "a 12.3 + b 0 + c <0.1 us"),
        ((0.9996, 0.5, 0.0), "a 1.00 + b 0.50 + c 0 s"),
        ((1234.5, 1.0, 0.1), "a 1,234 + b 1 + c <1 s"),
        ((float("nan"), 1e-3, 2e-3), "a unknown + b 1.00 + c 2.00 ms"),
        ((None, None, None), "a unknown + b unknown + c unknown us"),
    ],
)
def test_a_sum_of_times_has_one_unit(parts: tuple[float, ...], said: str) -> None:
    assert units.durations(list(zip("abc", parts, strict=True))) == said
