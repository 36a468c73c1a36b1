"""What stayed in the child of `%%inprocess`, and what `-o '*'` brings."""

from __future__ import annotations

import gc
import time
import weakref

import numpy  # noqa: F401 - imported here, or the first test would be told to leave it
import pytest

import ipc_magic
from ipc_magic.errors import NotBroughtBack
from ipc_magic.process import fingerprint, reach, stayed
from ipc_magic.process.budget import Budget

KINDS = ("created", "rebound", "mutated", "deleted", "unchecked", "modules")


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """Let a busy machine leave nothing unchecked."""
    monkeypatch.setattr(stayed, "BUDGET_SECONDS", 60)
    monkeypatch.setattr(stayed, "CHILD_SECONDS", 60)


@pytest.fixture
def changes(ipc_shell):
    """Give what runs a cell in a child and returns what it did to the names."""

    def run(code, line="", *, child=0):
        ipc_shell.run_cell(f"%%inprocess {line}\n{code}")
        told = ipc_magic.last.children[child].changes
        found = {kind: {*getattr(told, kind)} for kind in KINDS}
        return {kind: names for kind, names in found.items() if names}

    return run


@pytest.fixture
def report(ipc_shell):
    """Give what runs a cell in a child and returns its short report on one line."""

    def run(code, line=""):
        ipc_shell.run_cell(f"%%inprocess {line}\n{code}")
        return " ".join(str(ipc_magic.last).split())

    return run


SETUP = """
import collections, dataclasses, functools, threading, types
number, text, items, table = 5, "a text", [1, [2]], {"a": 1, "b": {2}}
others = items
class Thing:
    count = 0
    seen = []
    def __init__(self): self.held = [1]
    def grow(self): self.held.append(2)
    def note(self): Thing.seen.append(1)
    @functools.cached_property
    def kept(self): return len(self.held)
thing, things = Thing(), [Thing(), {"a": Thing()}]
def adding(): items[1].append(3)
def remembering(key, memory={}): memory[key] = 1
def reading(): return items, table, thing
stream = (n for n in range(3))
lock = threading.Lock()
array = __import__("numpy").arange(10)
frame = __import__("pandas").DataFrame({"x": [1, 2], "y": ["a", "b"]})
"""

ITEMS = {"items", "others"}
CASES = {
    "pass": {},
    "reading(); thing.held; [*items]; table['a']; str(number); frame.sum()": {},
    "items = items; number = number": {},
    "items += [1]": {"mutated": ITEMS},
    "items[1].append(3)": {"mutated": ITEMS},
    "others.append(3)": {"mutated": ITEMS},
    "adding()": {"mutated": ITEMS},
    "remembering(1)": {"mutated": {"remembering"}},
    "adding.calls = 1": {"mutated": {"adding"}},
    "items.append(1); items.pop()": {},
    "items[0] = 1": {},
    "items[0] = 1.0": {"mutated": ITEMS},
    "table['b'].add(3)": {"mutated": {"table"}},
    "table['a'] = table.pop('a')": {"mutated": {"table"}},
    "table['b'] |= {2}": {},
    "number += 1": {"rebound": {"number"}},
    "items = [1, [2]]": {"rebound": {"items"}},
    "def adding(): pass": {"rebound": {"adding"}},
    "del number, items": {"deleted": {"number", "items"}},
    "fresh = 1": {"created": {"fresh"}},
    "fresh = number": {"created": {"fresh"}},
    "def fresh(): pass\nclass Fresh: pass": {"created": {"fresh", "Fresh"}},
    "import math": {"created": {"math"}, "modules": {"math"}},
    "import math as number": {"rebound": {"number"}, "modules": {"number"}},
    "for i in range(3): n = i": {"created": {"i", "n"}},
    "with open('/dev/null') as file: pass": {"created": {"file"}},
    "exec('a = 1; items.append(1)')": {
        "created": {"a"},
        "mutated": ITEMS,
        "unchecked": {"lock", "stream"},
    },
    "eval('items.append(1)')": {"mutated": ITEMS, "unchecked": {"lock", "stream"}},
    "%time items.append(1)": {"mutated": ITEMS, "unchecked": {"lock", "stream"}},
    "(walrus := 5)": {"created": {"walrus"}},
    "itself = []; itself.append(itself)": {"created": {"itself"}},
    "global g\ng = 1": {"created": {"g"}},
    "typed: int = 1": {"created": {"typed"}},
    "_ = 5; _private = 1": {"created": {"_private"}},
    "for exit in range(3): pass": {},
    "thing.grow()": {"mutated": {"thing"}},
    "things[1]['a'].grow()": {"mutated": {"things"}},
    "thing.kept": {},
    "[each.kept for each in things[:1]]": {},
    "thing.kept; thing.grow()": {"mutated": {"thing"}},
    "thing.note()": {"mutated": {"Thing"}},
    "Thing.count += 1": {"mutated": {"Thing"}},
    "thing.__class__ = type('Other', (), {})": {"mutated": {"thing"}},
    "next(stream)": {"unchecked": {"stream"}},
    "lock.acquire()": {"unchecked": {"lock"}},
    "array[3] = 7": {"mutated": {"array"}},
    "array.sum(), array[1:3] + 1": {},
    "frame.loc[0, 'x'] = 9": {"mutated": {"frame"}},
    "frame['z'] = 1": {"mutated": {"frame"}},
    "frame.describe(); frame.values; frame.groupby('y').sum()": {},
}


@pytest.mark.parametrize("code", CASES)
def test_what_a_cell_did_to_the_names_is_told(code, ipc_shell, changes):
    ipc_shell.run_cell(SETUP)
    assert changes(code) == CASES[code]


def test_a_cell_that_clears_all_names_is_told(ipc_shell, changes):
    ipc_shell.run_cell("one, two = 1, [2]")
    assert changes("globals().clear()") == {"deleted": {"one", "two"}}


def test_names_that_are_no_names_are_no_error(changes, report):
    code = "globals()['a b\\n'] = globals()[5] = globals()['\\udc80'] = 1"
    assert changes(code) == {"created": {"a b\n", "\udc80"}}
    assert r"left there: `a b` and `\udc80`. Bring them: -o '*'" in report(code)


def test_of_ten_thousand_names_a_thousand_are_listed(ipc_shell, report):
    said = report("globals().update({f'n{i}': i for i in range(10_000)})")
    assert "`n0`, `n1`, `n2`, `n3`, `n4`, `n5` and at least 994 more." in said
    told = ipc_magic.last.children[0].changes
    assert (len(told.created), told.others) == (1000, 9000)
    assert "9,000 more names were created or changed." in str(ipc_magic.last.details())


def test_ten_thousand_names_before_are_looked_at(ipc_shell, changes):
    ipc_shell.user_ns["names"] = names = {f"n{i}": [i] for i in range(10_000)}
    ipc_shell.user_ns.update(names)
    found = changes("globals()['n7'].append(1); names['n5'] = 1; del n9; n3 = 5")
    assert found["mutated"] == {"n7", "names"}
    assert (found["deleted"], found["rebound"]) == ({"n9"}, {"n3"})
    for name in names:
        del ipc_shell.user_ns[name]


def test_the_changes_of_the_caller_s_locals_are_told(ipc_shell):
    ipc_shell.run_cell(
        "def outer(held, kept):\n"
        "    _ = _i = In = 5\n"
        "    body = 'held.append(1); kept = 2'\n"
        "    get_ipython().run_cell_magic('inprocess', '', body)\n"
        "outer([], 1)"
    )
    told = ipc_magic.last.children[0].changes
    assert (told.mutated, told.rebound) == (("held",), ("kept",))
    assert told.deleted == ()


def test_the_line_form_tells_too(ipc_shell):
    ipc_shell.run_cell("held = []\ncame = %inprocess held.append(1) or (made := 3)")
    told = ipc_magic.last.children[0].changes
    assert (told.mutated, told.created) == (("held",), ("made",))
    assert ipc_shell.user_ns["came"] == 3


def test_what_startup_files_bound_is_not_the_person_s_until_they_bind_it(ipc_shell):
    ipc_shell.user_ns["preset"] = ipc_shell.user_ns_hidden["preset"] = [1]
    ipc_shell.run_cell("%%inprocess\npreset = [2]")
    told = ipc_magic.last.children[0].changes
    assert told.created + told.rebound == ("preset",)
    ipc_shell.run_cell("%%inprocess\npass")
    assert ipc_magic.last.children[0].changes == ipc_magic.results.Changes()
    del ipc_shell.user_ns_hidden["preset"]


def test_several_children_and_their_index(ipc_shell, report):
    ipc_shell.run_cell("held = []")
    said = report("held.append(1)\nif child_index: made = 1", "-n 2")
    assert "`held` was changed in the children; yours is as before." in said
    assert "Made in the children and left there: `made`. Bring it: -o made" in said


def test_a_job_tells_when_it_is_waited_for(ipc_shell):
    ipc_shell.run_cell("held = []")
    ipc_shell.run_cell("%%inprocess --bg job\nheld.append(1)")
    ipc_shell.run_cell("del held\njob.wait();")
    assert ipc_magic.last.children[0].changes.mutated == ("held",)


def test_a_quiet_run_looks_at_nothing(ipc_shell, monkeypatch):
    monkeypatch.setattr(fingerprint, "of", None)
    ipc_shell.run_cell("held = []")
    ipc_shell.run_cell("%%inprocess -q\nheld.append(1)")
    assert ipc_magic.last.children[0].changes is None
    monkeypatch.setattr(stayed, "Before", None)
    ipc_shell.run_cell("%%inprocess -q -o held\nheld.append(2)")
    assert ipc_shell.user_ns["held"] == [2]


def test_a_cell_that_raises_has_its_changes_recorded(ipc_shell, capsys):
    ipc_shell.run_cell("held = []")
    ipc_shell.run_cell("%%inprocess\nheld.append(1)\n1 / 0", raises=False)
    assert ipc_magic.last.children[0].changes.mutated == ("held",)
    assert "changed" not in capsys.readouterr().out


# ---- the bounds


def test_what_the_budget_leaves_out_is_unchecked(ipc_shell, changes, monkeypatch):
    monkeypatch.setattr(stayed, "BUDGET_BYTES", 1000)
    ipc_shell.run_cell("large, small = list(range(5000)), [1]\nwide = {'x': large}")
    assert changes("large[0] = small[0] = 7; wide") == {
        "mutated": {"small"},
        "unchecked": {"large", "wide"},
    }
    # How long it is is seen all the same.
    assert changes("large.append(7); small") == {"mutated": {"large"}}


def test_small_values_come_first(ipc_shell, changes, monkeypatch):
    ipc_shell.run_cell("large = list(range(3000))\nsmall = [1]")
    whole = fingerprint.of(ipc_shell.user_ns["large"], Budget(10**6, 10**6), {})
    monkeypatch.setattr(stayed, "BUDGET_BYTES", whole.data_bytes)
    assert changes("large[0] = 1") == {"mutated": {"large"}}
    assert changes("large[0] = 1; small.append(1)") == {
        "mutated": {"small"},
        "unchecked": {"large"},
    }


def test_each_value_has_half_of_the_time_that_is_left(ipc_shell, monkeypatch):
    given = []
    as_it_is = fingerprint.of

    def of(value, budget, known, before=None):
        given.append((id(value), budget.deadline - time.thread_time()))
        return as_it_is(value, budget, known, before)

    monkeypatch.setattr(fingerprint, "of", of)
    ipc_shell.run_cell("one, two = [1], [2]\nother = one")
    ipc_shell.run_cell("%%inprocess\none, two, other")
    assert len({value for value, _ in given}) == len(given) == 2
    assert all(20 < seconds <= 30 for _, seconds in given)


def test_what_fails_while_the_names_are_looked_at_is_no_error(
    ipc_shell, changes, monkeypatch
):
    def raising(error):
        def method(*_args):
            raise error

        return method

    none = {kind: [] for kind in ("created", "rebound", "mutated", "modules")}
    ipc_shell.run_cell("held, other = [], []")
    # A thread may change what is looked at: then all names may be reached.
    with monkeypatch.context() as patched:
        patched.setattr(reach, "names_reached", raising(RuntimeError("changed size")))
        assert changes("globals()['other'].append(1)") == {"mutated": {"other"}}
    for answer in (raising(MemoryError()), lambda _self: {**none, "deleted": 5}):
        monkeypatch.setattr(stayed.Before, "changes", answer)
        ipc_shell.run_cell("%%inprocess -o held\nheld.append(1)")
        (child,) = ipc_magic.last.children
        assert (child.ending, child.changes) == ("finished", None)


def test_a_large_frame_that_gets_a_column_is_seen_to_change(
    ipc_shell, changes, monkeypatch
):
    monkeypatch.setattr(stayed, "BUDGET_BYTES", 1000)
    ipc_shell.run_cell("import pandas\nlarge = pandas.DataFrame({'x': range(5000)})")
    assert changes("large['y'] = large['x']") == {"mutated": {"large"}}
    assert changes("large.loc[0, 'x'] = 7") == {"unchecked": {"large"}}
    reading = "large.sum(), large['x'], large.describe(), large.copy()"
    assert changes(reading) == {"unchecked": {"large"}}


def test_what_has_grown_beyond_measure_is_mutated(ipc_shell, changes):
    ipc_shell.run_cell("held = [[1]]")
    assert changes("held[0].extend(range(2_000_000))") == {"mutated": {"held"}}


def test_time_that_is_over_leaves_the_rest_unchecked(ipc_shell, changes, monkeypatch):
    ipc_shell.run_cell("held = [[{n}] for n in range(1000)]")
    monkeypatch.setattr(stayed, "CHILD_SECONDS", -1)
    assert changes("held[0].clear()") == {"unchecked": {"held"}}
    monkeypatch.setattr(stayed, "BUDGET_SECONDS", -1)
    assert changes("held[0].clear()") == {"unchecked": {"held"}}


def test_a_cell_that_reaches_nothing_is_not_kept_waiting(ipc_shell, monkeypatch):
    ipc_shell.run_cell("held = []")
    monkeypatch.setattr(fingerprint, "of", None)
    ipc_shell.run_cell("%%inprocess\npass")
    assert ipc_magic.last.children[0].changes == ipc_magic.results.Changes()


@pytest.mark.usefixtures("no_collections")
def test_what_is_looked_at_afterwards_counts_as_no_copy(ipc_shell, changes):
    ipc_shell.run_cell("held = [[n] for n in range(100_000)]")
    looked = ipc_shell.run_cell("%%inprocess\nheld; came = 1").result
    memory = looked.children[0].memory
    assert looked.children[0].changes.unchecked == ()
    if memory.copied_bytes is None:
        pytest.skip("no mechanism here tells what was copied")
    # Looking at each copies some 10 MiB.
    assert memory.copied_bytes < memory.baseline_bytes + 2**21
    ipc_shell.run_cell("%%inprocess -o came\nheld; came = 1")
    memory = ipc_magic.last.children[0].memory
    assert memory.transport_copied_bytes < 2**21


# ---- the person's objects


def test_nothing_of_the_person_s_runs_for_it(ipc_shell, changes, tmp_path):
    ipc_shell.user_ns["path"] = str(tmp_path / "asked")
    ipc_shell.run_cell(
        "def spoken(name):\n"
        "    def method(*args, **more):\n"
        "        with open(path, 'a') as file: file.write(name + '\\n')\n"
        "        raise RuntimeError(name)\n"
        "    return method\n"
        "names = '__eq__ __hash__ __len__ __iter__ __getattr__ __getattribute__ '\n"
        "names += '__reduce__ __reduce_ex__ __getstate__ __sizeof__ __repr__ '\n"
        "names += '__bool__ __getitem__ __contains__ keys items values __del__'\n"
        "class Meta(type): pass\n"
        "class Liar(dict, metaclass=Meta):\n"
        "    __class__ = property(lambda self: spoken('__class__')())\n"
        "made = [Liar() for _ in range(3)]\n"
        "for name in names.split(): setattr(Liar, name, spoken(name))\n"
        "for name in '__eq__ __hash__ __instancecheck__'.split():\n"
        "    setattr(Meta, name, spoken('Meta.' + name))\n"
        "class Hiding:\n"
        "    __dict__ = property(spoken('__dict__'))\n"
        "hiding, liar = Hiding(), made[0]"
    )
    (tmp_path / "asked").write_text("")
    found = changes("made, liar, hiding; dict.__setitem__(made[1], 1, 2)")
    # The machinery around may ask for the class of each variable, as it did before.
    asked = {*(tmp_path / "asked").read_text().split()} - {"Meta.__eq__"}
    assert asked == set()
    assert found == {"mutated": {"made"}, "unchecked": {"hiding"}}
    ipc_shell.run_cell("del Liar.__del__, Meta.__hash__, Meta.__eq__")


def test_what_the_cell_lets_go_of_ends_when_it_would_here(ipc_shell, changes):
    ipc_shell.run_cell(
        "class Ending:\n    def __del__(self): print('ended')\n"
        "one, two, array = Ending(), Ending(), __import__('numpy').arange(9)"
    )
    ipc_shell.run_cell(
        "%%inprocess -o when\nimport weakref\nrefs = [weakref.ref(one), "
        "weakref.ref(array)]\ndel one\ntwo = array = 0\nwhen = [r() for r in refs]"
    )
    assert ipc_shell.user_ns["when"] == [None, None]
    told = ipc_magic.last.children[0].changes
    assert (told.deleted, {*told.rebound}) == (("one",), {"two", "array"})
    ipc_shell.run_cell("one = two = None")


@pytest.mark.parametrize("line", ["", "-o '*'", "-o '*' -q"])
def test_a_file_in_a_list_that_is_deleted_is_flushed(line, ipc_shell, tmp_path):
    ipc_shell.user_ns["path"] = tmp_path / "file"
    ipc_shell.run_cell("files = [path.open('w')]")
    ipc_shell.run_cell(f"%%inprocess {line}\nfiles[0].write('kept')\ndel files")
    assert (tmp_path / "file").read_text() == "kept"
    ipc_shell.run_cell("files[0].close()")


def test_what_a_list_holds_ends_with_it(ipc_shell):
    ipc_shell.run_cell("class Thing: pass\nheld, table = [Thing()], {1: Thing()}")
    ipc_shell.run_cell(
        "%%inprocess -o gone\nimport weakref\n"
        "refs = [weakref.ref(held[0]), weakref.ref(table[1])]\n"
        "del held\ntable = 1\ngone = [r() for r in refs]"
    )
    assert ipc_shell.user_ns["gone"] == [None, None]


def test_what_the_fork_itself_does_to_a_thread_is_no_change_of_the_cell(
    ipc_shell, changes
):
    ipc_shell.run_cell(
        "import threading\nended = threading.Event()\n"
        "thread = threading.Thread(target=ended.wait, args=(60,))\nthread.start()"
    )
    try:
        assert changes("thread.is_alive()") == {}
    finally:
        ipc_shell.run_cell("ended.set(); thread.join()")


def test_no_variable_is_kept_alive_here(ipc_shell):
    ipc_shell.run_cell("class Thing: pass\nthing = Thing()\nheld = [thing]")
    gone = weakref.ref(ipc_shell.user_ns["thing"])
    gc.collect()
    gc.disable()
    try:
        ipc_shell.run_cell("%%inprocess\nheld.append(thing)")
        ipc_shell.run_cell("%%inprocess -o '*'\nfresh = 1")
        ipc_shell.run_cell("del thing, held, fresh")
        assert gone() is None
    finally:
        gc.enable()


# ---- -o '*'


@pytest.mark.parametrize("line", ["-o '*'", '-o "*"', "-o *", "--out='*'"])
def test_all_new_and_rebound_names_come(line, ipc_shell):
    ipc_shell.run_cell("same, other, held, gone = [1], 2, [3], 4")
    ipc_shell.run_cell(
        f"%%inprocess {line}\nimport math\nother = 5\nheld.append(6)\ndel gone\n"
        "fresh = [held]\ndef function(): return 7\nsame = same"
    )
    names = ipc_shell.user_ns
    assert (names["other"], names["fresh"], names["function"]()) == (5, [[3, 6]], 7)
    assert (names["same"], names["held"], names["gone"]) == ([1], [3], 4)
    assert "math" not in names
    assert ipc_magic.last.asked == ("*",)
    assert {*ipc_magic.last.children[0].returned.names} == {
        *("other", "fresh", "function")
    }


def test_a_list_that_is_bound_anew_comes_whatever_its_address(ipc_shell):
    ipc_shell.run_cell("rows = list(range(5000))")
    ipc_shell.run_cell("%%inprocess -q -o '*'\nfor _ in range(4): rows = [*rows]")
    assert ipc_magic.last.children[0].returned.names.keys() == {"rows"}


def test_what_cannot_be_pickled_is_named_and_the_others_come(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess -o '*'\nimport threading\nlock = threading.Lock(); kept = 1\n"
        "with open('/dev/null') as file: pass"
    )
    assert ipc_shell.user_ns["kept"] == 1
    assert not {"lock", "file"} & {*ipc_shell.user_ns}
    found = [f.message for f in ipc_magic.last.findings if f.code == "not_brought"]
    assert [message.split()[0] for message in found] == ["`lock`", "`file`"]


def test_names_beside_the_star_are_asked_for_by_name(ipc_shell):
    ipc_shell.run_cell("held, table = [1], {}")
    ipc_shell.run_cell(
        "%%inprocess -o held,'*'\nheld.append(2); fresh = 1; table[1] = 2"
    )
    assert (ipc_shell.user_ns["held"], ipc_shell.user_ns["fresh"]) == ([1, 2], 1)
    assert ipc_shell.user_ns["table"] == {}
    said = " ".join(str(ipc_magic.last).split())
    assert "`table` was changed in the child; yours is as before." in said
    assert "left there" not in said
    with pytest.raises(NotBroughtBack, match="`missing` in child"):
        ipc_shell.run_cell("%%inprocess -o '*', missing\nfresh = 2")
    assert ipc_shell.user_ns["fresh"] == 2


def test_several_children_give_lists_with_none_where_a_name_is_missing(ipc_shell):
    ipc_shell.run_cell(
        "%%inprocess -n 3 -o '*'\nmine = child_index\nif child_index == 1: some = 'x'"
    )
    assert ipc_shell.user_ns["mine"] == [0, 1, 2]
    assert ipc_shell.user_ns["some"] == [None, "x", None]
    assert "child_index" not in ipc_shell.user_ns


def test_the_line_form_brings_names_beside_its_value(ipc_shell):
    ipc_shell.run_cell("came = %inprocess -o '*' (walrus := 5) + 1")
    assert (ipc_shell.user_ns["came"], ipc_shell.user_ns["walrus"]) == (6, 5)


def test_where_nothing_is_new_nothing_comes(ipc_shell, report):
    ipc_shell.run_cell("held = [1]")
    assert report("import math\nheld.append(2)", "-o '*'").startswith("Ran in child ")
    assert "Nothing came back." in str(ipc_magic.last)
    assert ipc_shell.user_ns["held"] == [1]


def test_what_a_cell_that_raises_has_made_comes_too(ipc_shell):
    ipc_shell.run_cell("%%inprocess -o '*'\nfresh = 1\n1 / 0", raises=False)
    assert ipc_shell.user_ns["fresh"] == 1
