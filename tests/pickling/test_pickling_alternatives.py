"""Alternatives are measured where they are faithful, and refused where not."""

from __future__ import annotations

import pickle

import pytest

from ipc_magic.pickling.alternatives import compare
from ipc_magic.pickling.failures import Failed

AS_IT_IS = "as it is"
NUMPY, ARRAY, ARROW = "a numpy array", "an array.array", "an Arrow array"


def compared(obj, **options):
    return compare(obj, budget_seconds=0.02, **{"workers": 4, **options})


def rows(found):
    return {row.what: row for row in found.rows}


def reasons(found):
    return {each.what: each.reason for each in found.skipped}


def test_the_object_as_it_is_comes_first_and_what_is_always_possible_is_there():
    obj = {"a": 1, "b": [1, 2, 3]}
    found = compared(obj, deep_size_bytes=1_000)
    whats = [row.what for row in found.rows]
    assert whats[0] == AS_IT_IS
    assert whats[-2:] == ["an inherited global", "to 4 workers"]
    plain, *_, inherited, copies = found.rows
    assert plain.pickled_bytes == len(pickle.dumps(obj))
    assert inherited.pickled_bytes == 0
    assert inherited.seconds > 0
    assert copies.pickled_bytes == 4 * plain.pickled_bytes
    assert copies.memory_bytes == 4_000
    assert copies.seconds is None


def test_buffers_are_told_apart_out_of_band_and_in_shared_memory():
    found = rows(compared([pickle.PickleBuffer(bytearray(50_000))] and Big()))
    assert found[AS_IT_IS].pickled_bytes > 50_000
    for what in ("protocol 5, buffers out of band", "shared_memory"):
        assert found[what].pickled_bytes < 1_000
        assert found[what].buffer_bytes == 50_000


class Big:
    def __init__(self, data=bytes(50_000)):
        self.data = data

    def __reduce_ex__(self, protocol):
        data = bytearray(self.data)
        return Big, (pickle.PickleBuffer(data) if protocol >= 5 else data,)


@pytest.mark.parametrize(
    "obj",
    [
        [1, -(2**63), 2**63 - 1],
        (1.5, -0.0, float("nan"), float("inf")),
        list(range(5_000)),
    ],
    ids=["ints", "floats", "many"],
)
def test_numbers_may_go_in_arrays(obj):
    pytest.importorskip("numpy")
    pytest.importorskip("pyarrow")
    found = rows(compared(obj))
    for what in (NUMPY, ARRAY, ARROW):
        assert found[what].seconds > 0
        assert found[what].pickled_bytes >= 8 * len(obj)
        assert found[what].made_seconds > 0
        assert found[what].back_seconds > 0


def test_texts_may_go_in_arrow():
    pytest.importorskip("pyarrow")
    found = compared([f"text {i}" for i in range(1_000)])
    assert rows(found)[ARROW].seconds > 0
    assert reasons(found)[NUMPY] == "its elements are of type str"


@pytest.mark.parametrize(
    ("obj", "what", "reason"),
    [
        ([], NUMPY, "it is empty"),
        ([1, True], NUMPY, "its elements are of several types"),
        ([1, 2.0], ARRAY, "its elements are of several types"),
        ([1, 2.0], ARROW, "its elements are of several types"),
        ([2**70], NUMPY, "OverflowError"),
        ([2**70], ARRAY, "OverflowError"),
        ([True], ARRAY, "its elements are of type bool"),
        (["\ud800"], ARROW, "UnicodeEncodeError"),
        ([{}], ARROW, "its elements are of type dict"),
    ],
)
def test_what_would_not_come_back_the_same_is_refused(obj, what, reason):
    if what == ARROW:
        pytest.importorskip("pyarrow")
    pytest.importorskip("numpy")
    found = compared(obj)
    assert what not in rows(found)
    assert reason in reasons(found)[what]


def test_a_value_that_changes_on_the_way_is_refused(monkeypatch):
    from ipc_magic.pickling import alternatives

    class Changed:
        def __call__(self, obj):
            return list(obj), lambda: [0 for _ in obj]

    monkeypatch.setitem(alternatives._CONVERSIONS, ARRAY, Changed())
    found = compared([1, 2, 3])
    assert reasons(found)[ARRAY] == "it would not give the same values back"


@pytest.mark.parametrize(
    "package", [("numpy", NUMPY), ("pyarrow", ARROW)], ids=lambda package: package[0]
)
def test_what_is_not_installed_is_told(package, monkeypatch):
    import sys

    name, what = package
    monkeypatch.setitem(sys.modules, name, None)
    found = compared([1, 2, 3])
    assert name in reasons(found)[what]


def test_a_method_may_leave_its_self():
    found = rows(compared(Holder().method))
    bare = found["the method without its self"]
    assert found[AS_IT_IS].pickled_bytes > 50_000
    assert bare.pickled_bytes == len(pickle.dumps(Holder.method)) < 200


class Holder:
    def __init__(self):
        self.data = bytes(50_000)

    def method(self):
        pass


def test_only_lists_and_tuples_are_converted():
    found = compared({1: 2.0})
    assert not {NUMPY, ARRAY, ARROW} & {*rows(found), *reasons(found)}


def test_a_transport_that_cannot_run_is_skipped(monkeypatch):
    from ipc_magic.pickling.transports import shared_memory

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shared_memory, "SharedMemory", refuse)
    found = compared([1])
    assert "Permission denied" in reasons(found)["shared_memory"]


def test_an_object_that_cannot_be_sent_has_no_alternatives():
    with pytest.raises(Failed):
        compared(lambda: None)


def test_a_deep_size_that_is_not_known_is_none(monkeypatch):
    from ipc_magic.pickling import deep_size

    unknown = deep_size.DeepSize(deep_size_bytes=None, seconds=1.0, reason="too long")
    monkeypatch.setattr(deep_size, "measure", lambda *args, **kwargs: unknown)
    assert rows(compared([1]))["to 4 workers"].memory_bytes is None
