"""The watch itself: who forks, from where; hooks that stay out of the way."""

from __future__ import annotations

import importlib
import sys

import pytest

from ipc_magic.errors import OptionError
from ipc_magic.memory.observing import seat, stack
from ipc_magic.memory.observing.watch import watch_forks


class Frame:
    """As much of a frame as is looked at."""

    def __init__(self, name, back=None, *, file="", line=0, names=None):
        self.f_globals = names if names is not None else {"__name__": name}
        self.f_back = back
        self.f_code = type("Code", (), {"co_filename": file})
        self.f_lineno = line


def stacked(*names):
    frame = None
    for name in names:
        frame = Frame(name, frame)
    return frame


@pytest.mark.parametrize(
    ("names", "how"),
    [
        (["__main__"], "os.fork"),
        (["__main__", "multiprocessing.popen_fork"], "multiprocessing.Process"),
        (
            ["__main__", "multiprocessing.pool", "multiprocessing.process"],
            "multiprocessing.Pool",
        ),
        (
            ["__main__", "joblib.parallel", "multiprocessing.pool"],
            "joblib",
        ),
        (
            ["m", "concurrent.futures.process", "multiprocessing.context"],
            "ProcessPoolExecutor",
        ),
        (
            ["m", "torch.utils.data.dataloader", "multiprocessing.process"],
            "DataLoader",
        ),
        # What a pool's worker forks by itself is not the pool's.
        (["__main__", "multiprocessing.pool", "__main__"], "os.fork"),
        (["joblibs", "multiprocessings"], "os.fork"),
    ],
)
def test_the_stack_tells_who_forks(names, how):
    assert stack.maker(stacked(*names)) == how


def test_the_line_is_of_the_outermost_frame_of_the_cell():
    main = {"__name__": "__main__"}
    launcher = Frame("", file="launcher", line=1, names={"__name__": "__main__"})
    outer = Frame("", launcher, file="cell", line=2, names=main)
    inner = Frame("", Frame("lib", outer), file="cell", line=9, names=main)
    assert stack.line_of(inner, cell="cell", main={}) == 2
    assert stack.line_of(inner, cell=None, main=main) == 2
    assert stack.line_of(inner, cell="another", main=main) is None


def test_our_own_forks_and_those_that_execute_are_not_watched():
    assert not stack.is_watched(stacked("ipc_magic.process.fork"))
    assert not stack.is_watched(stacked("subprocess"))
    assert stack.is_watched(stacked("subprocesses"))


def test_the_seat_outlives_a_reload():
    before = seat.take_seat()
    assert importlib.reload(seat).take_seat() is before
    assert sys.modules[before.__name__] is before


def test_a_mechanism_that_there_is_not_is_refused():
    with pytest.raises(OptionError, match="a mechanism is"):
        watch_forks("magic").__enter__()
    assert seat.take_seat().forker is None


def test_two_watches_in_one_process_are_refused_and_a_child_may_have_its_own(
    run_watched,
):
    found = run_watched(
        """
        import os
        from ipc_magic.errors import IpcMagicError
        # watched
        try:
            watch_forks().__enter__()
        except IpcMagicError as error:
            out["refused"] = str(error)
        read, write = os.pipe()
        if not (pid := os.fork()):
            with watch_forks() as inner:
                if not (below := os.fork()):
                    os._exit(3)
                os.waitpid(below, 0)
            os.write(write, b"%d" % inner.children[0].exit_code)
            if not (below := os.fork()):
                os._exit(4)
            os.waitpid(below, 0)
            os._exit(0)
        out["inner"] = int(os.read(read, 9))
        os.waitpid(pid, 0)
        """
    )
    assert "one watch at a time" in found.out["refused"]
    assert found.out["inner"] == 3
    assert [child.exit_code for child in found.children] == [0, 4]


def test_what_is_forked_before_and_after_is_not_watched(run_watched):
    found = run_watched(
        """
        import os
        def fork():
            if not (pid := os.fork()):
                os._exit(0)
            os.waitpid(pid, 0)
        fork()
        # watched
        pass
        """
    )
    assert found.children == []
