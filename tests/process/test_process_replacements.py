"""What a child replaces is worked out in the parent, and changes nothing there."""

from __future__ import annotations

import sys

import pytest
import traitlets

from ipc_magic.process.replacements import Replacements


class Plain:
    colour = "red"

    @property
    def size(self) -> int:
        return self._size

    @size.setter
    def size(self, value: int) -> None:
        self._size = 2 * value


class Traits(traitlets.HasTraits):
    colour = traitlets.Unicode("red")

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []
        self.observe(self.told.append, "colour")


class Slotted:
    __slots__ = ("colour",)

    def __init__(self) -> None:
        self.colour = "red"


@pytest.mark.parametrize("kind", [Plain, Traits, Slotted])
def test_an_attribute_is_replaced_when_it_is_time(kind):
    owner, replacements = kind(), Replacements()
    replacements.put(owner, "colour", "blue")
    assert owner.colour == "red"
    replacements.make()
    assert owner.colour == "blue"


def test_observers_of_a_trait_are_not_told():
    owner, replacements = Traits(), Replacements()
    replacements.put(owner, "colour", "blue")
    replacements.make()
    assert owner.told == []


def test_a_property_is_set_by_its_own_code():
    owner, replacements = Plain(), Replacements()
    replacements.put(owner, "size", 4)
    replacements.make()
    assert owner.size == 8


def test_a_method_of_an_object_in_c_is_replaced(tmp_path):
    replacements, came = Replacements(), []
    with open(tmp_path / "file", "w") as file:
        replacements.put(file, "write", came.append)
        replacements.make()
        print("text", file=file)
    assert came == ["text", "\n"]


def test_what_cannot_be_replaced_stays():
    owner, replacements = Plain(), Replacements()
    replacements.put(owner, "colour", "blue")
    replacements.put(1, "real", 2)
    replacements.put(Plain.size, "fget", None)
    replacements.put_item(sys.modules, "ipc_magic_tests_nothing", None)
    try:
        replacements.make()
        assert sys.modules["ipc_magic_tests_nothing"] is None
    finally:
        sys.modules.pop("ipc_magic_tests_nothing", None)
    assert owner.colour == "blue"
    assert (1).real == 1
