"""Each pickler by name writes with hooks what its package writes without."""

from __future__ import annotations

import importlib.util
import pickle
import pickletools
from contextlib import suppress
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

from ipc_magic.errors import IpcMagicError, OptionError
from ipc_magic.pickling import picklers
from ipc_magic.pickling.counting import Counting
from ipc_magic.pickling.picklers import NAMES, Pickling, pickling

with suppress(ImportError):
    import dill  # noqa: F401  here because it adds a handler to a logger

INSTALLED = [name for name in NAMES if importlib.util.find_spec(name)]
OBJ = {"a": [1, "x" * 300, np.arange(10_000.0)], "b": b"y" * 70_000, "c": {1, 2}}


class File:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: object) -> None:
        self.data += memoryview(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_hooks_that_do_nothing_change_nothing(name, protocol):
    way = pickling(name, protocol)
    met: list[object] = []
    file = File()
    way.pickler(
        file,
        persistent_id=met.append,
        reducer_override=lambda obj: NotImplemented,
    ).dump(OBJ)
    assert file.data == way.dumps(OBJ)
    assert any(obj is OBJ for obj in met)


def test_the_packages_own_override_comes_after_ours():
    def local() -> None: ...

    met: list[object] = []

    def note(obj: object) -> object:
        met.append(obj)
        return NotImplemented

    file = File()
    pickling("cloudpickle").pickler(file, reducer_override=note).dump(local)
    assert local in met
    assert pickle.loads(file.data).__code__.co_code == local.__code__.co_code


def test_our_override_is_taken():
    file = File()
    hook = lambda obj: (int, ("7",)) if obj is Counting else NotImplemented  # noqa: E731
    pickling().pickler(file, reducer_override=hook).dump([Counting])
    assert pickle.loads(file.data) == [7]


def test_the_protocol_is_what_multiprocessing_writes():
    data = bytes(ForkingPickler.dumps([1, 2]))
    first = next(pickletools.genops(data))
    assert (first[0].name, first[1]) == ("PROTO", pickling().protocol)


@pytest.mark.parametrize("name", INSTALLED)
def test_the_usual_protocol_is_the_packages(name):
    way = pickling(name)
    module = importlib.import_module(name)
    assert way.protocol == pickletools.genops(module.dumps([1])).__next__()[1]


def test_what_there_is_not_is_said(monkeypatch):
    with pytest.raises(OptionError, match="pickler is pickle, cloudpickle, dill"):
        pickling("marshal")
    with pytest.raises(OptionError, match="protocol is 0 to 5, not 9"):
        pickling(protocol=9)
    monkeypatch.setattr(picklers, "NAMES", (*NAMES, "not_installed_here"))
    with pytest.raises(IpcMagicError, match="pip install not_installed_here"):
        pickling("not_installed_here")


@pytest.mark.parametrize("protocol", range(6))
def test_counting_counts_what_is_written(protocol):
    file = Counting()
    Pickling(name="pickle", protocol=protocol).pickler(file).dump(OBJ)
    assert file.size == len(pickle.dumps(OBJ, protocol))


def test_counting_counts_bytes_of_buffers():
    file = Counting()
    for data in (b"ab", bytearray(3), memoryview(np.arange(4.0)), np.zeros((2, 3))):
        file.write(pickle.PickleBuffer(data))
    assert file.size == 2 + 3 + 32 + 48
