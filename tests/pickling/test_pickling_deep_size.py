"""Deep size, against sums of `sys.getsizeof` over objects that the tests made."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest

from ipc_magic.pickling.deep_size import measure

KIB = 1024


def size(obj):
    found = measure(obj)
    assert found.reason is None
    return found.deep_size_bytes


def own(*objs):
    return sum(map(sys.getsizeof, objs))


def test_keys_of_a_dict_count_also_when_all_are_str():
    keys = [f"key {i}" * 50 for i in range(100)]
    values = [i + 1000 for i in range(100)]
    obj = dict(zip(keys, values, strict=True))
    assert size(obj) == own(obj, *keys, *values)


def test_an_object_counts_once():
    shared = "x" * 5_000
    obj = [shared, [shared, (shared,)], {"a": shared, shared: 1000}]
    assert size(obj) == own(obj, shared, obj[1], obj[1][1], obj[2], "a", 1000)


def test_a_leaf_counts_once_among_leaves_and_others():
    text = "y" * 777
    obj = [[text] * 5_000, [text, []]]
    assert size(obj) == own(obj, obj[0], text, obj[1], [])


def test_a_cycle_ends():
    obj = []
    obj.append(obj)
    assert size(obj) == own(obj)


def test_attributes_and_slots_count():
    class Plain:
        def __init__(self):
            self.data = bytes(5_000)

    class Slots:
        __slots__ = ("data",)

        def __init__(self):
            self.data = bytes(5_000)

    assert size(Slots()) == own(Slots(), bytes(5_000))
    plain = Plain()
    assert size(plain) == own(plain, plain.__dict__, "data", plain.data)


def test_functions_types_and_modules_do_not_count():
    data = bytes(5_000)
    assert size([data, sys, KeyError, size, len]) == own([0] * 5, data)


def test_a_liar_is_measured_by_what_it_is():
    class Liar(list):
        def __sizeof__(self):
            return 10**12

        @property
        def __class__(self):
            return type

    obj = Liar(range(10))
    found = size([obj])
    assert 500 < found < 5_000


def test_a_size_that_cannot_be_asked_for_is_told():
    class Meta(type):
        def __getattribute__(cls, name):
            raise ValueError("not mine")

    class Odd(dict, metaclass=Meta):
        pass

    found = measure([Odd()])
    assert found.deep_size_bytes is None or found.reason is None


def test_a_proxy_whose_object_is_gone_counts_for_itself():
    class Gone:
        pass

    proxy = weakref.proxy(Gone())
    gc.collect()
    assert size([proxy]) < 1_000


def test_a_walk_without_time_ends_and_says_so():
    obj = [[i] for i in range(200_000)]
    found = measure(obj, budget_seconds=0.0)
    assert found.deep_size_bytes is None
    assert "not finished in 0 s" in found.reason
    assert found.seconds < measure(obj).seconds


class TestBuffers:
    """Memory that a library holds counts in full, and once."""

    def test_arrays_and_their_views(self):
        numpy = pytest.importorskip("numpy")
        array = numpy.zeros(10_000)
        head = sys.getsizeof(numpy.zeros(0))
        assert size(array) == 80_000 + head
        assert size(array[::2]) == 80_000 + 2 * head
        assert size([array, array[5:]]) == own([0, 0]) + 80_000 + 2 * head

    def test_object_arrays(self):
        numpy = pytest.importorskip("numpy")
        texts = [str(i) * 100 for i in range(50)]
        array = numpy.array(texts, dtype=object)
        assert size(array) == own(array, *texts)
        rows = numpy.zeros(3, dtype=[("name", object), ("n", int)])
        rows["name"] = texts[:3]
        assert size(rows) >= own(*texts[:3])

    def test_an_array_on_a_buffer(self):
        numpy = pytest.importorskip("numpy")
        data = bytearray(80_000)
        assert 80_000 < size(numpy.frombuffer(data)) < 80_000 + KIB

    def test_an_array_on_a_file(self, tmp_path):
        numpy = pytest.importorskip("numpy")
        array = numpy.memmap(tmp_path / "data", dtype="f8", mode="w+", shape=10_000)
        assert 80_000 < size(array) < 80_000 + 4 * KIB

    def test_a_memoryview(self):
        assert 50_000 < size(memoryview(bytearray(50_000))) < 50_000 + KIB

    def test_frames(self):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"a": range(20_000), "b": [0.5] * 20_000})
        assert 320_000 <= size(frame) < 320_000 + 8 * KIB

    def test_arrow(self):
        arrow = pytest.importorskip("pyarrow")
        array = arrow.array(range(10_000))
        for obj in (array, arrow.table({"x": array}), arrow.chunked_array([array])):
            assert 80_000 <= size(obj) < 80_000 + KIB
        assert size([array, array[1:]]) < 80_000 + KIB


def test_an_inherited_stranger_to_all_this_is_as_objsize_says():
    import objsize

    obj = [[1.5, (2.5, {3.5})], bytearray(100), b"x" * 100, 10**50]
    assert size(obj) == objsize.get_deep_size(obj)
