"""Parts sum up at every level, and are the spans of the objects at their paths."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections import OrderedDict, defaultdict
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipc_magic.pickling.breakdown import Breakdown, breakdown
from ipc_magic.pickling.picklers import pickling

with suppress(ImportError):
    importlib.import_module("pyarrow")  # here because it starts what stays

relaxed = settings(
    deadline=None, suppress_health_check=list(HealthCheck), max_examples=40
)


def assert_sums(found: Breakdown) -> None:
    """Add up the rows below each part; rows below follow it, one deeper."""
    above: list[Any] = []
    sums: dict[int, int] = defaultdict(int)
    sizes: dict[int, int] = {-1: found.total_bytes}
    for number, part in enumerate(found.parts):
        assert part.bytes >= 0
        assert part.depth <= len(above) + 1
        del above[part.depth - 1 :]
        sums[above[-1] if above else -1] += part.bytes
        sizes[number] = part.bytes
        above.append(number)
    assert {number: sizes[number] for number in sums} == sums


def holds(holder: object, obj: object, kept: list[Any]) -> bool:
    """Say whether an object was met first within what another one is saved as."""
    (first, *_) = (span for span in kept if span.obj is obj)
    return any(
        span.start <= first.start and first.end <= span.end
        for span in kept
        if span.obj is holder
    )


@relaxed
@given(
    random=st.randoms(use_true_random=False),
    protocol=st.integers(2, 5),
    at_least=st.sampled_from([0, 0.001, 0.01, 0.3]),
)
def test_rows_sum_up_and_are_spans_of_what_is_there(
    spans, made, random, protocol, at_least
):
    obj = made(random, 4)
    way = pickling(protocol=protocol)
    found = breakdown(obj, "obj", way, at_least=at_least, width=50, depth=8)
    assert found.total_bytes == len(pickle.dumps(obj, protocol))
    assert_sums(found)
    expected = defaultdict(set)
    kept = spans(obj, protocol)
    for span in kept:
        expected[id(span.obj)].add(span.end - span.start)
    for part in found.parts:
        if part.row == "part" and "__reduce_ex__" not in part.path:
            there = eval(part.path, {"obj": obj})
            assert part.bytes in expected[id(there)], part
            if part.shared_from:
                first = eval(part.shared_from, {"obj": obj})
                assert first is there or holds(first, there, kept)


class Model:
    def __init__(self) -> None:
        self.vocab = {f"word{n}": n for n in range(2000)}
        self.weights = np.arange(3000.0)
        self.layers = [{"w": np.ones(500)}, {"w": np.zeros(500)}]
        self.backup = {"old": self.vocab}
        self.me = self


def rows_of(found: Breakdown, depth: int) -> dict[str, Any]:
    return {p.path: p for p in found.parts if p.row == "part" and p.depth == depth}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_attributes_and_items_have_their_own_spelling(protocol):
    found = breakdown(Model(), "model", pickling(protocol=protocol))
    assert_sums(found)
    first, second = rows_of(found, 1), rows_of(found, 2)
    assert {"model.vocab", "model.weights", "model.layers"} <= set(first)
    assert {"model.layers[0]", "model.layers[1]"} <= set(second)
    assert "model.layers[1]['w']" in rows_of(found, 3)
    sizes = [part.bytes for part in found.parts if part.depth == 1]
    assert sizes == sorted(sizes, reverse=True)
    assert first["model.vocab"].type == "dict of 2,000 str -> int"
    assert first["model.weights"].type == "ndarray, 3,000 f8"


def test_a_shared_object_counts_where_first_met_and_is_named_again():
    found = breakdown(Model(), "model", pickling())
    again = rows_of(found, 2)["model.backup['old']"]
    assert again.shared_from == "model.vocab"
    assert again.bytes <= 5
    assert again.type == "dict of 2,000 str -> int"
    assert rows_of(found, 1)["model.vocab"].shared_from is None


def test_what_is_first_met_far_below_has_its_path():
    deep = {"x": [["y" * 5000]]}
    found = breakdown([deep, deep["x"][0][0]], "a.b", pickling(), depth=1)
    again = rows_of(found, 1)["a.b[1]"]
    assert again.shared_from == "a.b[0]['x'][0][0]"


def test_an_expression_that_is_no_primary_gets_parentheses():
    found = breakdown(["z" * 99], "a + b", pickling())
    assert found.parts[0].path == "(a + b)[0]"


def test_width_and_depth_bound_the_rows_and_the_rest_is_a_row():
    obj = [[f"{n}{m}" * 50 for m in range(9)] for n in range(9)]
    found = breakdown(obj, "obj", pickling(), width=3, depth=1)
    assert_sums(found)
    assert [part.row for part in found.parts] == ["rest", *["part"] * 3, "itself"]
    rest = found.parts[0]
    assert rest.count == 6
    assert rest.type == "6 more: list"
    deeper = breakdown(obj, "obj", pickling(), width=3, depth=2)
    assert {part.depth for part in deeper.parts} == {1, 2}
    assert_sums(deeper)


def test_nothing_below_one_percent_gets_a_row():
    obj = {"large": "x" * 10_000, **{f"small{n}": n for n in range(50)}}
    found = breakdown(obj, "obj", pickling())
    assert list(rows_of(found, 1)) == ["obj['large']"]
    rests = {part.type: part for part in found.parts if part.row == "rest"}
    assert rests["50 more: int"].count == 50
    assert rests["51 keys: str"].count == 51


@pytest.mark.parametrize("obj", [None, 5, "text", (), [], int, {}, np.zeros(3)])
def test_what_has_no_parts_is_itself(obj):
    found = breakdown(obj, "obj", pickling())
    assert_sums(found)
    assert found.total_bytes == len(pickle.dumps(obj, pickling().protocol))
    assert [part.row for part in found.parts][:1] in (["itself"], ["rest"])


def set_all(obj: Any, state: dict[str, Any]) -> None:
    vars(obj).update(state)


class WithSetter:
    def __reduce__(self) -> Any:
        return WithSetter, (), vars(self), None, None, set_all


def test_a_function_that_sets_the_state_is_of_the_object_itself():
    obj = WithSetter()
    obj.x = "x" * 1000
    found = breakdown(obj, "obj", pickling())
    assert_sums(found)
    assert found.parts[0].path == "obj.x"


def test_items_of_a_reduction_are_parts():
    obj = OrderedDict((f"k{n}", "v" * 1000) for n in range(3))
    obj["k1"] = "w" * 3000
    found = breakdown(obj, "obj", pickling())
    assert_sums(found)
    assert found.parts[0].path == "obj['k1']"
    assert found.parts[0].bytes > 3000


def assert_adds_up(obj: Any) -> None:
    for protocol in (4, 5):
        found = breakdown(obj, "obj", pickling(protocol=protocol))
        assert_sums(found)
        assert found.total_bytes == len(pickle.dumps(obj, protocol))
        assert sum(row.bytes for row in found.types) == found.total_bytes


def test_frames_add_up():
    pandas = pytest.importorskip("pandas")
    assert_adds_up(pandas.DataFrame({"i": range(500), "s": ["abc"] * 500}))


def test_arrow_tables_add_up():
    pyarrow = pytest.importorskip("pyarrow")
    assert_adds_up({"t": pyarrow.table({"x": list(range(3000))})})


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_tensors_add_up(child_env):
    program = """if True:
        import pickle, torch
        from ipc_magic.pickling.breakdown import breakdown
        from ipc_magic.pickling.picklers import pickling

        obj = {"t": torch.nn.Linear(20, 30).state_dict(), "u": torch.ones(2000)}
        for protocol in (4, 5):
            found = breakdown(obj, "obj", pickling(protocol=protocol))
            size = len(pickle.dumps(obj, protocol))
            first = [part.bytes for part in found.parts if part.depth == 1]
            assert found.total_bytes == sum(first) == size, protocol
            assert sum(row.bytes for row in found.types) == size, protocol
    """
    # In a process of its own: OpenMP, which comes with it, changes what others see.
    subprocess.run([sys.executable, "-c", program], env=child_env, check=True)
