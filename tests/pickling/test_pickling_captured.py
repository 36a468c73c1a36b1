"""Functions and classes by name and by value, and what goes along, to the byte."""

from __future__ import annotations

import array
import json
import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any

import cloudpickle
import numpy as np  # noqa: F401  its first import adds filters of warnings
import pytest

from ipc_magic.pickling import captured

SOURCE = """
import array, functools
BIG = array.array("d", range(50_000))
SMALL = [1, 2, 3]
NUMBER = 5

def helper(x):
    return BIG[x]

def score(x, y=list(range(1000)), *, k={"a": 1}):
    return helper(x) + NUMBER + missing

def same(x):
    return SMALL, [SMALL for _ in x], lambda: SMALL

class Runner:
    table = BIG

    def __init__(self):
        self.data = list(range(5000))

    def score(self, x):
        return SMALL

    @staticmethod
    def of():
        return NUMBER

    @property
    def wide(self):
        return SMALL

def outer():
    local, late = bytes(5000), None
    del late
    def inner():
        return local, late
    return inner

inner = outer()
score.extra = "x" * 300
small = lambda: SMALL
"""


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give a `__main__` as a notebook's, where functions go by value."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(SOURCE, main.__dict__)
    yield main
    main.__dict__.clear()


def bytes_of(found: captured.Crossing) -> dict[str, int]:
    return {row.name: row.bytes for row in found.captured}


def own_bytes(value: object) -> int:
    """Return the size of a value alone, without what frames a pickle."""
    return len(pickle.dumps(value, 3)) - 3


EVERYTHING = ["score", "same", "Runner", "inner", "small", "helper", "outer", "method"]


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_rows_sum_to_what_cloudpickle_makes(name: str, notebook: Any) -> None:
    obj = notebook.Runner().score if name == "method" else getattr(notebook, name)
    found = captured.measure(obj)
    assert found is not None
    assert found.rest_bytes is not None
    assert found.by_value_bytes == len(cloudpickle.dumps(obj))
    total = sum(row.bytes for row in found.captured) + found.rest_bytes
    assert total == found.by_value_bytes
    sizes = [row.bytes for row in found.captured]
    assert sizes == sorted(sizes, reverse=True)


def test_what_a_function_holds_is_told_by_name(notebook: Any) -> None:
    found = captured.measure(notebook.score)
    assert found is not None
    held = bytes_of(found)
    assert set(held) == {"helper", "BIG", "NUMBER", "y=", "k=", ".extra"}
    assert next(iter(held)) == "BIG"
    assert abs(held["BIG"] - own_bytes(notebook.BIG)) < 100
    assert abs(held["y="] - own_bytes(notebook.score.__defaults__[0])) < 10
    assert abs(held[".extra"] - 300) < 20
    assert held["helper"] < 500


def test_a_name_takes_its_pickle_and_no_more(notebook: Any) -> None:
    found = captured.measure(notebook.score)
    assert found is not None
    assert found.by_name_bytes == len(pickle.dumps(notebook.score))
    assert not found.spawned_has_it
    notebook.__file__ = "script.py"  # which a spawned child runs again
    again = captured.measure(notebook.score)
    assert again is not None
    assert again.spawned_has_it


def test_what_is_used_twice_counts_once(notebook: Any) -> None:
    found = captured.measure(notebook.same)
    assert found is not None
    assert [row.name for row in found.captured] == ["SMALL"]


def test_a_closure_is_told_by_the_name_in_it(notebook: Any) -> None:
    found = captured.measure(notebook.inner)
    assert found is not None
    assert found.by_name_bytes is None
    assert not found.spawned_has_it
    assert set(bytes_of(found)) == {"local"}
    assert abs(bytes_of(found)["local"] - 5000) < 20


def test_a_method_takes_its_self_along(notebook: Any) -> None:
    runner = notebook.Runner()
    found = captured.measure(runner.score)
    assert found is not None
    assert found.by_name_bytes == len(pickle.dumps(runner.score))
    assert found.self_bytes is not None
    alone = len(pickle.dumps(runner))
    assert abs(found.self_bytes - alone) < 20
    assert set(bytes_of(found)) == {".table", "self", "SMALL", "NUMBER"}


def test_a_class_takes_along_what_its_methods_use(notebook: Any) -> None:
    found = captured.measure(notebook.Runner)
    assert found is not None
    assert set(bytes_of(found)) == {".table", "SMALL", "NUMBER"}
    assert abs(bytes_of(found)[".table"] - own_bytes(notebook.BIG)) < 100


@pytest.mark.parametrize("obj", [json.dumps, json.JSONEncoder, dict])
def test_what_can_be_imported_goes_by_name_only(obj: Any) -> None:
    found = captured.measure(obj)
    assert found == captured.Crossing(
        by_name_bytes=len(pickle.dumps(obj)),
        spawned_has_it=True,
        self_bytes=None,
        by_value_bytes=None,
        captured=(),
        rest_bytes=None,
    )


@pytest.mark.parametrize("obj", [1, [len], len, array.array("d"), None])
def test_other_objects_have_no_name(obj: object) -> None:
    assert captured.measure(obj) is None


def test_what_cannot_be_sent_by_value_has_no_size(notebook: Any) -> None:
    notebook.SMALL = (each for each in ())
    found = captured.measure(notebook.small)
    assert found is not None
    assert (found.by_name_bytes, found.by_value_bytes) == (None, None)
