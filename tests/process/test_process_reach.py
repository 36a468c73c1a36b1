"""Which names a cell can reach, against what it uses when every name is watched."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from ipc_magic.process import reach

SETUP = """
import functools
total, config, big, spare, deep = [1], {"x": 1}, list(range(10)), [0], [3]
wide, tall = [4], [5]
def inner(): return total
def helper(): return inner()
def outer():
    def within(): return config
    return within()
def closing(held):
    return lambda: held
closed = closing(total)
def wrapped(): return big
@functools.wraps(wrapped)
def wrapper(): return wrapper.__wrapped__()
@functools.lru_cache
def remembered(): return big
part = functools.partial(helper)
class Base:
    def base(self): return deep
class Thing(Base):
    def method(self): return total
    @property
    def shown(self): return wide
    @functools.cached_property
    def kept(self): return tall
    @staticmethod
    def still(): return big
    @classmethod
    def whole(cls): return spare
thing = Thing()
bound = thing.method
table = {"a": [helper, {"b": (thing,)}]}
deeper = {"a": [Thing()]}
default = lambda it=helper: it()
generator = (each for each in total)
"""

# The code, and all names but those of functions and classes that it really uses.
CASES = {
    "big[0]": "big",
    "x = big; x.append": "big",
    "[y for y in total]": "total",
    "helper()": "total",
    "outer()": "config",
    "closed()": "",
    "wrapper()": "big",
    "remembered()": "big",
    "part()": "total",
    "thing.method()": "total",
    "thing.shown": "wide",
    "thing.kept": "tall",
    "Thing.still()": "big",
    "Thing.whole()": "spare",
    "Thing().base()": "deep",
    "bound()": "total",
    "table['a'][0]()": "total",
    "table['a'][1]['b'][0].method()": "total",
    "deeper['a'][0].kept": "tall",
    "default()": "total",
    "global q\ndef f(): return total\nf()": "total",
    "class C:\n    z = total": "total",
    "(lambda: big)()": "big",
    "[big for _ in range(2) for _ in total]": "big total",
    "spare = 5": "",
    "len([])": "",
    "del spare": "",
    "with open('/dev/null') as f: total": "total",
    "print(f'{config}')": "config",
}


class Watching(dict[str, Any]):
    """A namespace of the cell that notes what is looked up."""

    def __getitem__(self, name: str) -> Any:
        self.used.add(name)
        return super().__getitem__(name)

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__(names)
        self.used: set[str] = set()


@functools.cache
def notebook() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(SETUP, names)
    return names


def reached(code: str) -> set[str] | None:
    names = notebook()
    return reach.names_reached(compile(code, "", "exec"), names, names)


@pytest.mark.parametrize("code", CASES)
def test_what_a_cell_uses_is_within_its_reach(code: str) -> None:
    watching = Watching(notebook())
    exec(code, watching)  # the names that the code itself loads, not its functions
    found = reached(code)
    assert found is not None
    assert watching.used & notebook().keys() <= found
    assert set(CASES[code].split()) <= found
    if not CASES[code]:
        assert not found & {"total", "config", "big", "spare", "deep"}


def test_attributes_and_what_is_stored_are_no_reach() -> None:
    assert reached("thing = 1\nother.total.config = 2") == set()


def test_many_names_take_a_longer_argument() -> None:
    code = "\n".join(f"n{number}" for number in range(600))
    names = {f"n{number}": number for number in range(600)}
    found = reach.names_reached(compile(code, "", "exec"), names, names)
    assert found == set(names)
    inner = compile(f"def f():\n {code.replace(chr(10), ';')}", "", "exec")
    assert reach.names_reached(inner, names, names) == set(names)


@pytest.mark.parametrize(
    "code",
    [
        *("eval('total')", "globals()['total']", "exec(text)", "get_ipython()"),
        *("vars()", "def f(): return locals()", "hidden()"),
    ],
)
def test_code_that_may_reach_anything_is_said_to(code: str) -> None:
    exec("def hidden(): return eval('total')", notebook())
    assert reached(code) is None


def test_functions_of_other_modules_reach_nothing_here() -> None:
    notebook()["tool"] = functools.reduce
    notebook()["other"] = eval("lambda: total", {"__name__": "other"})
    assert reached("other(); tool()") == {"other", "tool"}


def test_cycles_and_crowds_come_to_an_end() -> None:
    ring: list[Any] = []
    ring.append(ring)
    crowd = [[{n: [object()]} for n in range(500)] for _ in range(500)]
    names = {"ring": ring, "crowd": crowd}
    assert reach.names_reached(compile("ring", "", "exec"), names, names) == {"ring"}
    assert reach.names_reached(compile("crowd", "", "exec"), names, names) is None
