"""The table by type sums to the pickle, and each row is what its objects write."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipc_magic.pickling import headers, reading
from ipc_magic.pickling.breakdown import types
from ipc_magic.pickling.describe import describe, type_name
from ipc_magic.pickling.picklers import pickling

relaxed = settings(
    deadline=None, suppress_health_check=list(HealthCheck), max_examples=40
)


def own_by_type(spans: list[Any]) -> Counter[str]:
    """Add up by type what each span has besides those directly in it."""
    found: Counter[str] = Counter()
    open_ones: list[tuple[Any, str]] = []
    for span in spans:
        while open_ones and open_ones[-1][0].end <= span.start:
            open_ones.pop()
        size = span.end - span.start
        found[type_name(type(span.obj))] += size
        if open_ones:
            found[open_ones[-1][1]] -= size
        open_ones.append((span, type_name(type(span.obj))))
    return found


@relaxed
@given(
    random=st.randoms(use_true_random=False),
    protocol=st.integers(0, pickle.HIGHEST_PROTOCOL),
    depth=st.integers(0, 5),
)
def test_rows_sum_to_the_pickle(made, random, protocol, depth):
    obj = made(random, depth)
    try:
        size = len(pickle.dumps(obj, protocol))
    except pickle.PicklingError:  # slots, before protocol 2
        return
    except TypeError:
        return
    assert sum(row.bytes for row in types(obj, pickling(protocol=protocol))) == size


@relaxed
@given(random=st.randoms(use_true_random=False), protocol=st.integers(3, 5))
def test_each_row_is_what_objects_of_its_type_write(
    spans, made, monkeypatch, random, protocol
):
    # What was made for the pickle alone is left to the objects as they are.
    monkeypatch.setattr(headers, "_USUAL_BYTES", -1)
    obj = made(random, 4)
    rows = {row.type: row.bytes for row in types(obj, pickling(protocol=protocol))}
    expected = own_by_type(spans(obj, protocol))
    expected[type_name(type(obj))] += 3  # PROTO and STOP
    assert rows == dict(expected)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_exists_for_the_pickle_alone_counts_as_its_object(protocol):
    arrays = [np.full(1000, n, float) for n in range(20)]
    rows = types(arrays, pickling(protocol=protocol))
    assert rows[0].type == "numpy.ndarray"
    assert rows[0].count == 20
    assert rows[0].bytes >= 20 * 8000
    assert sum(row.bytes for row in rows[1:]) < 1000


def test_what_somebody_else_holds_counts_as_itself():
    class_of_bytes = type("Keeper", (), {"__module__": __name__})
    globals()["Keeper"] = class_of_bytes
    kept = class_of_bytes()
    kept.data = bytes(5000)
    rows = {row.type: row for row in types([kept], pickling(protocol=4))}
    assert rows["bytes"].count == 1
    assert rows["bytes"].bytes > 5000
    del globals()["Keeper"]


def test_counts_are_of_objects_written_once():
    text = "shared" * 10
    rows = {row.type: row for row in types([text, text, text, 1, 2], pickling())}
    assert rows["str"].count == 1
    assert rows["int"].count == 2
    assert rows["list"].count == 1


class Liar:
    """Says it is something else, and runs for nobody."""

    __class__ = str  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("nobody asks")

    def __hash__(self) -> int:
        raise AssertionError("nobody asks")

    def __len__(self) -> int:
        raise AssertionError("nobody asks")

    def __repr__(self) -> str:
        raise AssertionError("nobody asks")

    def __reduce__(self) -> Any:
        return Liar, ()


def test_a_type_is_what_it_is_and_not_what_an_object_says():
    rows = {row.type: row for row in types([Liar(), Liar()], pickling())}
    assert rows[type_name(Liar)].count == 2
    assert describe(Liar()) == "Liar"


@given(st.lists(st.integers(0, 60), max_size=300), st.integers(1, 40))
def test_the_first_of_each_type_is_found_in_any_number_of_them(types, few):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headers, "_FEW", few)
        first = headers.first_of_each(np.array(types, np.uintp))
    seen = [types[place] for place in first]
    assert sorted(seen) == sorted(set(types))
    assert first == [types.index(each) for each in seen]
    assert first[: few + 1] == sorted(first[: few + 1])


def test_many_types_are_told_apart():
    kinds = [type(f"T{n}", (), {"__module__": __name__}) for n in range(300)]
    globals().update({kind.__name__: kind for kind in kinds})
    try:
        obj = [kinds[n % 300]() for n in range(40_000)]
        rows = {row.type: row for row in types(obj, pickling())}
        for kind in kinds:
            assert rows[type_name(kind)].count == obj.count(None) + len(
                range(kinds.index(kind), 40_000, 300)
            )
    finally:
        for kind in kinds:
            del globals()[kind.__name__]


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        ([], "empty list"),
        (["a", "b"], "list of 2 str"),
        ([1, "a"], "list of 2 int and str"),
        ([1, "a", None], "list of 3 objects of 3 types"),
        (["a"] * 5000, "list of 5,000, the first 1,000 str"),
        ({"a": 1}, "dict of 1 str -> int"),
        (dict.fromkeys(range(1001)), "dict of 1,001, the first 1,000 int -> NoneType"),
        (np.zeros((2, 3)), "ndarray, 2 x 3 f8"),
        ("abc", "str, 3"),
        (7, "int"),
    ],
)
def test_words_claim_what_was_looked_at(obj, words):
    assert describe(obj) == words


def test_with_all_types_known_all_is_claimed():
    assert describe(["a"] * 5000, [str]) == "list of 5,000 str"


def test_many_objects_are_counted_block_by_block(monkeypatch):
    obj = {f"key{n}": [n, str(n), n / 7] for n in range(100)}
    at_once = types(obj, pickling())
    monkeypatch.setattr(reading, "_BLOCK", 16)
    assert types(obj, pickling()) == at_once
    counts = {row.type: row.count for row in at_once}
    assert counts == {"dict": 1, "str": 200, "list": 100, "int": 100, "float": 100}
