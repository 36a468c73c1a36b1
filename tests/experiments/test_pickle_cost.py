"""`ipc_magic.pickle_cost(obj)`: its figures, and that nothing of it stays."""

from __future__ import annotations

import copyreg
import dataclasses
import functools
import gc
import importlib.util
import multiprocessing
import os
import pickle
import signal
import socket
import sqlite3
import sys
import threading
import weakref
from multiprocessing.reduction import ForkingPickler

import numpy
import pytest

import ipc_magic
from ipc_magic.errors import IpcMagicError, OptionError
from ipc_magic.experiments import pickle_cost_object, pickle_cost_stages
from ipc_magic.pickling import cost as cost_of_dumps
from ipc_magic.pickling.round_trip import NAMES
from ipc_magic.process import guards
from ipc_magic.results.pickle_cost import PickleCost

USUAL = bytes(ForkingPickler.dumps(None))[1]


def cost(obj, **options):
    """Measure as fast as can be."""
    return ipc_magic.pickle_cost(obj, expression="obj", repeats=1, **options)


def shared():
    each = ["long " * 20]
    return [each, each, {"again": each}]


OBJECTS = {
    "nothing": lambda: None,
    "empty bytes": lambda: b"",
    "nested": lambda: {"a": [1, 2.5, "three"], "b": {"c": (None, True)}},
    "shared": shared,
    "large": lambda: [os.urandom(1000).hex() for _ in range(100)],
}


@pytest.mark.parametrize("protocol", [None, 2, 5])
@pytest.mark.parametrize("name", OBJECTS)
def test_the_bytes_are_those_of_dumps_and_all_sums_agree(name, protocol):
    obj = OBJECTS[name]()
    result = cost(obj, protocol=protocol)
    size = len(pickle.dumps(obj, USUAL if protocol is None else protocol))
    assert result.pickled_bytes == size
    assert sum(part.bytes for part in result.parts if part.depth == 1) == size
    assert sum(row.bytes for row in result.types) == size
    (trip,) = result.transports
    assert trip.name == "pipe"
    assert trip.pickled_bytes == len(ForkingPickler.dumps(obj))
    phases = ("dump_seconds", "transport_seconds", "load_seconds", "reply_seconds")
    assert sum(getattr(trip, each) for each in phases) == pytest.approx(
        min(trip.round_trip_seconds)
    )
    assert len(result.dump_seconds) == len(result.load_seconds) == 1
    assert not result.offenders
    assert not result.findings


def test_a_numpy_array_is_mostly_what_protocol_5_takes_out_of_band():
    array = numpy.arange(10_000.0)
    result = cost(array)
    assert result.pickled_bytes == len(pickle.dumps(array, USUAL))
    assert result.buffer_bytes == array.nbytes
    assert 1 <= result.deep_size_bytes / array.nbytes < 1.1


def test_a_frame_is_told_by_its_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": range(1000), "b": list("xy") * 500})
    result = cost(frame)
    assert result.pickled_bytes == len(pickle.dumps(frame, USUAL))
    assert sum(part.bytes for part in result.parts if part.depth == 1) == (
        result.pickled_bytes
    )
    assert len(result.parts) > 2


def test_more_runs_are_made_of_what_is_fast_unless_a_number_is_given():
    assert len(ipc_magic.pickle_cost([1], repeats=7).dump_seconds) == 7
    result = ipc_magic.pickle_cost([1])
    assert len(result.dump_seconds) > 7
    assert len(result.transports[0].round_trip_seconds) > 7


def test_the_tree_is_as_deep_and_as_wide_as_asked():
    obj = [[["x" * 50] * 3, "y" * 100], "z" * 100, "w" * 100]
    assert max(part.depth for part in cost(obj, depth=1).parts) == 1
    assert max(part.depth for part in cost(obj, depth=3).parts) == 3
    narrow = [p for p in cost(obj, depth=1, width=1).parts if p.row == "part"]
    wide = [p for p in cost(obj, depth=1, width=9).parts if p.row == "part"]
    assert (len(narrow), len(wide)) == (1, 3)


def test_all_protocols_are_tried_once():
    obj = {"a": [1, "two"] * 10}
    result = cost(obj, all_protocols=True)
    assert [(each.protocol, each.pickled_bytes) for each in result.protocols] == [
        (number, len(pickle.dumps(obj, number))) for number in range(6)
    ]
    assert all(each.load_seconds is not None for each in result.protocols)


@pytest.mark.slow
def test_all_ways_are_tried_and_those_that_cannot_be_are_named():
    result = cost(list(range(1000)), via="all")
    left_out = [f.message.split()[0] for f in result.findings]
    assert [each.name for each in result.transports] + left_out == list(NAMES)
    assert {"pipe", "queue", "pool", "shared_memory"} <= {
        each.name for each in result.transports
    }


def test_a_way_whose_package_is_missing_is_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    result = cost([1], via="pipe, joblib")
    assert [each.name for each in result.transports] == ["pipe"]
    (finding,) = result.findings
    assert finding.code == "transport_left_out"
    assert finding.message.startswith("joblib left out: ")


@pytest.mark.slow
def test_what_else_one_could_send_is_compared():
    result = cost([0.5] * 5000, compare=True)
    rows = {row.what: row for row in result.alternatives}
    assert rows["as it is"].pickled_bytes == result.pickled_bytes
    assert rows["an inherited global"].pickled_bytes == 0
    assert rows["an array.array"].pickled_bytes < result.pickled_bytes
    result = cost(["text", 1], compare=True)
    assert "an array.array" in {each.what for each in result.skipped}


BIG = "x" * 100_000


def uses_big():
    return BIG


def test_a_function_is_told_by_name_and_by_value(monkeypatch):
    by_name = cost(os.path.join)
    assert by_name.by_name_bytes == len(pickle.dumps(os.path.join))
    assert by_name.spawned_has_it
    assert by_name.by_value_bytes is None
    monkeypatch.setattr(uses_big, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "uses_big", uses_big, raising=False)
    by_value = cost(uses_big)
    assert by_value.by_value_bytes > len(BIG)
    assert {each.name: each.bytes for each in by_value.captured}["BIG"] >= len(BIG)
    assert by_value.by_value_bytes == by_value.captured_rest_bytes + sum(
        each.bytes for each in by_value.captured
    )


def test_a_lambda_is_sent_by_a_pickler_that_can():
    cloudpickle = pytest.importorskip("cloudpickle")
    obj = lambda: BIG  # noqa: E731
    result = cost(obj, pickler="cloudpickle")
    assert result.pickler == "cloudpickle"
    assert result.pickled_bytes == len(cloudpickle.dumps(obj))
    (trip,) = result.transports  # as the bytes of that pickler
    assert 0 <= trip.pickled_bytes - result.pickled_bytes < 200
    assert not result.offenders
    plain = cost(obj)
    assert [each.path for each in plain.offenders] == ["obj"]
    assert plain.cloudpickle_offenders == 0
    assert plain.pickled_bytes is None


def test_dill_is_imported_in_the_fork_alone():
    if "dill" in sys.modules or importlib.util.find_spec("dill") is None:
        pytest.skip("dill is not installed, or imported already")
    result = cost([1, (lambda: 0)], pickler="dill")
    assert result.pickled_bytes > 0
    assert "dill" not in sys.modules


def real_offenders():
    """Yield what cannot be pickled, and what ends it."""
    left, right = socket.socketpair()
    connection = sqlite3.connect(":memory:")
    yield "lock", threading.Lock(), lambda: None
    yield "socket pair", [left, right], lambda: (left.close(), right.close())
    yield "connection", connection, connection.close
    yield "thread", threading.Thread(), lambda: None
    yield "lambda", lambda: 0, lambda: None
    yield "generator", (each for each in ()), lambda: None
    yield "module", os, lambda: None


def test_all_that_blocks_is_found_where_eval_finds_it():
    given = list(real_offenders())
    obj = {name: each for name, each, _ in given}
    try:
        result = cost(obj)
        assert result.pickled_bytes is None
        assert not result.transports
        found = [eval(each.path, {"obj": obj}) for each in result.offenders]
        whole = [obj[name] for name in ("lock", "connection", "lambda", "module")]
        assert all(any(each is one for one in found) for each in whole)
        assert all(any(each is one for one in found) for each in obj["socket pair"])
        assert all(each.advice for each in result.offenders)
        assert result.without_offenders_bytes < 1000
        assert "TypeError" in result.dump_error
    finally:
        for _, _, end in given:
            end()


def test_a_weak_proxy_whose_object_is_gone():
    class Gone:
        pass

    proxy = weakref.proxy(Gone())
    result = cost([1, proxy])
    assert [each.path for each in result.offenders] == ["obj[1]"]
    assert cost(proxy).dump_error


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"via": "pipe,pigeon"}, OptionError, "via is pipe"),
        ({"pickler": "marshal"}, OptionError, "pickler is pickle"),
        ({"protocol": 99}, OptionError, "protocol is 0 to"),
        ({"protocol": -1}, OptionError, "protocol is 0 to"),
    ],
)
def test_wrong_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        cost([1], **options)


def test_a_pickler_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dill", None)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "dill" else found(name),
    )
    with pytest.raises(IpcMagicError, match="dill is not installed: pip install dill"):
        cost([1], pickler="dill")


def test_what_would_not_fit_is_counted_only(monkeypatch):
    obj = ["x" * 1000 for _ in range(1000)]
    size = len(pickle.dumps(obj, USUAL))
    # A machine with room for the pickle and no more.
    monkeypatch.setattr(pickle_cost_object, "KEEP_FREE_BYTES", 0)
    monkeypatch.setattr(pickle_cost_stages, "KEEP_FREE_BYTES", 0)
    monkeypatch.setattr(guards, "available_bytes", lambda: size)
    result = cost(obj)
    assert result.pickled_bytes == size
    assert result.not_loaded.needed_bytes > result.not_loaded.free_bytes == size
    assert not result.load_seconds
    assert not result.transports
    assert not result.parts
    forced = cost(obj, force=True)
    assert forced.not_loaded is None
    assert forced.load_seconds
    assert forced.transports


class Weak:
    """It can be referred to weakly."""


WORTHS = ("TRIP_WORTH", "PARTS_WORTH", "SEARCH_WORTH")


@pytest.fixture
def no_time(monkeypatch):
    """Give large objects no time: what is not worth waiting for is left out."""
    monkeypatch.setattr(pickle_cost_object, "BUDGET_SECONDS", 0.0)
    for name in ("LEAST_DEEP_SIZE_SECONDS", *WORTHS):
        monkeypatch.setattr(pickle_cost_object, name, 0.0)


def test_what_no_time_is_left_for_is_named(no_time):
    obj = {"texts": [str(n) for n in range(1000)]}
    result = ipc_magic.pickle_cost(obj, expression="obj")
    assert result.pickled_bytes == len(pickle.dumps(obj, USUAL))
    assert result.dump_seconds
    assert result.load_seconds
    assert result.transports == result.parts == result.types == ()
    assert result.deep_size_bytes is None
    said = [each.message for each in result.findings]
    assert [each.split(":")[0] for each in said] == [
        "no size in memory",
        "pipe left out",
        "no parts",
        "no search for what a spawned child cannot load",
    ]
    assert all(each.endswith("--force takes the time") for each in said)
    assert "no parts: about 0.0 s more" in str(result)


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (lambda: numpy.arange(10_000.0), ["no search for"]),
        (lambda: [[n] for n in range(1000)], ["no parts", "no search for"]),
    ],
)
def test_buffers_are_not_waited_for_as_objects_are(monkeypatch, obj, said):
    monkeypatch.setattr(cost_of_dumps, "count", counted_as_slow(cost_of_dumps.count))
    monkeypatch.setattr(pickle_cost_object, "BUDGET_SECONDS", 0.0)
    result = ipc_magic.pickle_cost(obj())
    found = [each.message for each in result.findings]
    left_out = [each for each in found if "no parts" in each or "no search" in each]
    assert len(left_out) == len(said)
    assert all(map(str.startswith, left_out, said))
    assert bool(result.parts) is (len(said) == 1)


def counted_as_slow(count):
    """Make any first dump look as if it took a second."""

    def slowly(obj, pickling):
        return dataclasses.replace(count(obj, pickling), first_dump_seconds=1.0)

    return slowly


@pytest.mark.parametrize("asked", [{"force": True}, {"repeats": 1, "via": "queue"}])
def test_what_is_asked_for_is_done_in_any_time(no_time, asked):
    obj = {"texts": [str(n) for n in range(1000)], "of_here": Here()}
    result = ipc_magic.pickle_cost(obj, expression="obj", **asked)
    assert result.transports
    assert result.parts
    assert (result.deep_size_bytes is not None) == ("force" in asked)
    assert all("size in memory" in each.message for each in result.findings)


class Here:
    """A class of this module."""


def test_nothing_of_the_object_is_kept():
    obj = Weak()
    obj.data = [1, 2, 3]
    ref = weakref.ref(obj)
    result = cost(obj)
    assert ipc_magic.last is result
    del obj
    assert ref() is None
    assert PickleCost.from_dict(result.to_dict()) == result
    assert pickle.loads(pickle.dumps(result)) == result


class Meddler:
    """Changes the process that pickles it, and that which loads it."""

    def __reduce__(self):
        meddle()
        return meddle, ()


def meddle():
    gc.disable()
    sys.setrecursionlimit(90)
    copyreg.pickle(Meddler, lambda each: "x")
    os.environ["MEDDLED"] = "yes"
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    print("meddled")


def test_what_an_object_does_is_done_elsewhere(capfd):
    before = gc.isenabled(), sys.getrecursionlimit(), dict(copyreg.dispatch_table)
    result = cost({"here": Meddler()})
    assert result.pickled_bytes or result.dump_error
    after = gc.isenabled(), sys.getrecursionlimit(), dict(copyreg.dispatch_table)
    assert before == after
    assert "MEDDLED" not in os.environ
    assert capfd.readouterr() == ("", "")


def test_garbage_is_not_collected_behind_the_back_of_who_disabled_it():
    gc.disable()
    try:
        cost([1])
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_it_works_outside_of_the_main_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(cost([1, "a"])))
    thread.start()
    thread.join()
    assert results[0].pickled_bytes == len(pickle.dumps([1, "a"], USUAL))
    assert results[0].transports


def test_it_works_in_a_worker_of_a_pool():
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        assert pool.apply(_size_in_worker) == len(pickle.dumps([1], USUAL))
        pool.close()
        pool.join()


def _size_in_worker():
    result = cost([1])
    return result.transports[0].pickled_bytes if result.transports else None


def test_what_a_partial_holds_is_followed_to_what_blocks_it():
    holder = Weak()
    holder.lock = threading.Lock()
    obj = functools.partial(print, holder)
    (offender,) = cost(obj).offenders
    assert eval(offender.path, {"obj": obj}) is holder.lock
