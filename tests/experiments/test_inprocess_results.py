"""Results of children: how they are asked for, what they cost, what is to blame."""

from __future__ import annotations

import gc
import mmap
import os
import re
import signal
import threading
import time
import weakref

import numpy as np
import pytest

import ipc_magic
from ipc_magic.errors import ChildKilled, NotBroughtBack
from ipc_magic.process import buffers_out, proof

PAGE = mmap.PAGESIZE
MIB = 1 << 20
FLOATS = 4 * MIB  # of an array of 32 MiB


@pytest.fixture
def array(ipc_shell):
    """Give an array that is a variable of the notebook."""
    ipc_shell.user_ns["array"] = np.random.default_rng(0).random(FLOATS)
    yield ipc_shell.user_ns["array"]
    ipc_shell.user_ns.pop("array", None)


def returned():
    return ipc_magic.last.children[0].returned


def test_a_name_comes_beside_its_pickle(ipc_shell, array):
    ipc_shell.run_cell("%%inprocess -o twice, few\ntwice, few = array * 2, [1]")
    came = ipc_shell.user_ns.pop("twice")
    assert np.array_equal(came, array * 2)
    assert came.flags.owndata == np.frombuffer(bytearray(8)).flags.owndata
    crossing = returned()
    assert crossing.buffers == {"twice": array.nbytes, "few": 0}
    assert crossing.buffer_bytes == array.nbytes
    assert crossing.names["twice"] - array.nbytes < 500
    assert sum(crossing.names.values()) == crossing.moved_bytes
    del ipc_shell.user_ns["few"]


def test_the_value_of_a_line_takes_the_same_way(ipc_shell, array):
    ipc_shell.run_cell("x = %inprocess array + 1")
    assert np.array_equal(ipc_shell.user_ns.pop("x"), array + 1)
    assert returned().buffer_bytes == array.nbytes


def test_several_children_give_a_list(ipc_shell, array):
    ipc_shell.run_cell("%%inprocess -n 3 -o part\npart = array[child_index::3].copy()")
    parts = ipc_shell.user_ns.pop("part")
    assert [part.size for part in parts] == [len(array[n::3]) for n in range(3)]
    assert all(np.array_equal(part, array[n::3]) for n, part in enumerate(parts))
    assert all(c.returned.buffer_bytes > 0 for c in ipc_magic.last.children)


def test_a_job_brings_them_when_it_is_waited_for(ipc_shell, array):
    ipc_shell.run_cell("%%inprocess --bg later -o twice\ntwice = array * 2")
    assert "twice" not in ipc_shell.user_ns
    ipc_shell.run_cell("later.wait()")
    assert np.array_equal(ipc_shell.user_ns.pop("twice"), array * 2)
    report = ipc_shell.user_ns.pop("later").report
    assert report.children[0].returned.buffer_bytes == array.nbytes


def test_a_result_goes_when_it_is_let_go(ipc_shell, array):
    gc.disable()  # nothing waits for a collection, with a gibibyte in its hands
    try:
        ipc_shell.run_cell("%%inprocess -o twice\ntwice = array * 2")
        known = weakref.ref(ipc_shell.user_ns.pop("twice"))
        assert known() is None
        run = ipc_magic.inprocess(lambda: array + 1, measure=False)
        known = weakref.ref(run.value)
        del run
        assert known() is None
    finally:
        gc.enable()


def test_no_inherited_page_is_copied_to_send_it(array):
    of_one = ipc_magic.inprocess(array[:9000].copy)
    of_all = ipc_magic.inprocess(lambda: array)
    one, all_ = (run.report.children[0].memory for run in (of_one, of_all))
    assert all_.inherited_bytes > array.nbytes
    more = all_.transport_copied_bytes - one.transport_copied_bytes
    assert more < 400 * PAGE < array.nbytes / 10


def test_no_more_memory_is_taken_here_than_the_result_has(run_script):
    told = run_script(
        """
        import numpy, ipc_magic
        def status(field):
            with open("/proc/self/status") as file:
                line = next(line for line in file if line.startswith(field))
            return int(line.split()[1]) << 10
        data = numpy.ones(25_000_000)
        ipc_magic.inprocess(lambda: data[:10_000].copy(), measure=False)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak begins anew: proc(5)
        before = status("VmRSS")
        value = ipc_magic.inprocess(lambda: data, measure=False).value
        print((status("VmHWM") - before) / value.nbytes)
        """
    )
    assert 0.99 < float(told) < 1.05


def test_what_is_to_blame_is_named_with_its_path(ipc_shell):
    with pytest.raises(NotBroughtBack) as caught:
        ipc_shell.run_cell(
            "%%inprocess -o a,b,c\nimport threading\nclass Model: pass\n"
            "a = Model()\na.parts = [1, {'lock': threading.Lock()}]\n"
            "b = bytes(200_000)\nc = (i for i in ())"
        )
    lock = (
        r"TypeError: cannot pickle '_thread\.lock' object, at `a\.parts\[1\]\['lock'\]`"
    )
    generator = r"TypeError: cannot pickle 'generator' object"
    assert re.search(rf"`a` in child \d+: {lock}; `c` in child", str(caught.value))
    assert re.search(rf"`c` in child \d+: {generator}$", str(caught.value))
    assert ipc_shell.user_ns.pop("b") == bytes(200_000)


def test_a_place_whose_search_ends_the_process_is_left_out(ipc_shell):
    ipc_shell.run_cell(
        "import os, threading\nclass Once:\n    asked = 0\n"
        "    def __reduce__(self):\n        Once.asked += 1\n"
        "        if Once.asked > 1: os._exit(3)\n        raise ValueError('no')"
    )
    with pytest.raises(NotBroughtBack, match=r"`bad` .*ValueError: no$"):
        ipc_shell.run_cell("%%inprocess -o bad,b\nbad, b = [Once()], 5")
    assert ipc_shell.user_ns.pop("b") == 5


def test_what_a_function_returns_is_to_blame_with_its_path():
    def numbers():
        return {"first": 1, "lock": threading.Lock()}

    with pytest.raises(NotBroughtBack, match=r"at `numbers\(\)\['lock'\]`$"):
        ipc_magic.inprocess(numbers, measure=False)


@pytest.mark.slow
def test_ten_thousand_names_come(ipc_shell):
    names = [f"name_{n}" for n in range(10_000)]
    assignment = "globals().update({f'name_{n}': n for n in range(10_000)})"
    ipc_shell.run_cell(f"%%inprocess -o {','.join(names)}\n{assignment}")
    assert [ipc_shell.user_ns.pop(name) for name in names] == list(range(10_000))
    assert len(str(ipc_magic.last)) < 2000


# Ends in the middle: the namespace is as before, or all is there.


@pytest.fixture
def halfway(monkeypatch):
    """Have a child do something when half of its result is sent."""

    def arrange(do):
        push = buffers_out.push

        def half(pipe, pieces):
            whole = b"".join(pieces)
            push(pipe, [memoryview(whole)[: len(whole) // 2]])
            do()
            push(pipe, [memoryview(whole)[len(whole) // 2 :]])

        monkeypatch.setattr(buffers_out, "push", half)

    return arrange


def test_an_interrupt_in_the_middle_leaves_all_as_it_was(ipc_shell, array, halfway):
    session = os.getpid()
    # It stands still until the session passes the interrupt on.
    halfway(lambda: (os.kill(session, signal.SIGINT), time.sleep(5)))
    with pytest.raises(KeyboardInterrupt):
        ipc_shell.run_cell("%%inprocess -o array,other\narray, other = array * 2, 1")
    assert ipc_shell.user_ns["array"] is array
    assert "other" not in ipc_shell.user_ns


def test_an_interrupt_that_the_child_outlives_loses_nothing(ipc_shell, array, halfway):
    session = os.getpid()

    def interrupt():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.kill(session, signal.SIGINT)
        time.sleep(0.3)  # the session passes it on meanwhile, and it is ignored

    halfway(interrupt)
    ipc_shell.run_cell("%%inprocess -o twice\ntwice = array * 2")
    assert np.array_equal(ipc_shell.user_ns.pop("twice"), array * 2)


def test_a_child_killed_in_the_middle_leaves_all_as_it_was(ipc_shell, array, halfway):
    halfway(lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(ChildKilled):
        ipc_shell.run_cell("%%inprocess -o array\narray = array * 2")
    assert ipc_shell.user_ns["array"] is array
    assert returned().names == {}
    (finding,) = ipc_magic.last.findings
    assert finding.message.endswith("the process that sent it ended meanwhile")


# What would take all the memory.


def test_a_result_larger_than_may_be_used_is_left_there(ipc_shell, monkeypatch):
    from ipc_magic.process import guards

    monkeypatch.setattr(guards, "available_bytes", lambda: 100 * MIB)
    monkeypatch.setattr(guards, "surely_free", lambda _size: False)
    with pytest.raises(
        NotBroughtBack, match=r"and --keep-free leaves 90\.0 MiB for it"
    ):
        ipc_shell.run_cell(
            "%%inprocess --keep-free 10MiB -o large,small\n"
            "large, small = bytearray(200 << 20), bytes(100_000)"
        )
    assert ipc_shell.user_ns.pop("small") == bytes(100_000)
    assert "large" not in ipc_shell.user_ns


class Own:
    pass


def test_what_is_proved_keeps_free_what_the_cell_does(monkeypatch):
    asked = []

    def prove(_parcel, _front, *, keep_free_bytes):
        asked.append(keep_free_bytes)

    monkeypatch.setattr(proof, "prove", prove)
    run = ipc_magic.inprocess(Own, measure=False, keep_free=MIB)
    assert type(run.value) is Own
    assert asked == [MIB]
