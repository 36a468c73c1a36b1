"""What a child cannot use as its parent did is seen beforehand."""

from __future__ import annotations

import shutil
import subprocess
import sys
import types
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from ipc_magic.errors import CannotStart
from ipc_magic.process import fork, hazards

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

OPENMP_SOURCE = """
#include <omp.h>
int threads(void) {
    int number = 0;
    #pragma omp parallel
    {
        #pragma omp atomic
        number++;
    }
    return number;
}
"""


@pytest.fixture(scope="module")
def openmp_library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openmp")
    (folder / "threads.c").write_text(OPENMP_SOURCE)
    library = folder / "libthreads.so"
    made = subprocess.run(
        ["gcc", "-fopenmp", "-shared", "-fPIC", "-o", library, folder / "threads.c"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"gcc cannot make OpenMP code here: {made.stderr[-200:]}")
    return str(library)


@needs_gcc
def test_openmp_is_seen_when_it_is_loaded(run_script, openmp_library):
    run_script(
        """
        import ctypes, sys
        from ipc_magic.process import hazards, libraries
        assert not hazards.openmp_loaded()
        assert not hazards.openmp_loaded()
        assert hazards.compute_hazards(1) == []
        before = libraries.loads()
        ctypes.CDLL(sys.argv[1])
        assert libraries.loads() > before
        assert hazards.openmp_loaded()
        (hazard,) = hazards.compute_hazards(1)
        assert hazard.code == "openmp" and "one thread" in hazard.message
        assert hazard.figures == {"threads": 1}
        (hazard,) = hazards.compute_hazards(4)
        assert "4 threads" in hazard.message
        """,
        openmp_library,
    )


USED_BEFORE = """
    import ctypes, os, sys
    os.environ["OMP_NUM_THREADS"] = "3"
    from ipc_magic.process import fork, guards, monitor

    class Nowhere:
        def write(self, *_): pass
        def show(self, *_): pass
        def live(self, *_): pass

    threads = ctypes.CDLL(sys.argv[1]).threads
    assert threads() == 3
    body = lambda *_: {"threads": threads()}
    started = fork.start(body, number=1, names={}, compute_threads=THREADS)
    limits = guards.Limits(timeout_seconds=PATIENCE)
    watching = monitor.Monitor(started.children, Nowhere(), limits=limits)
    watching.run()
    (watch,) = watching.watches
    print(watch.stopped, (watch.outcome or {}).get("threads"))
"""


@needs_gcc
@pytest.mark.parametrize(
    ("threads", "patience", "told"),
    [("None", "60", "None 1"), ("1", "60", "None 1"), ('"keep"', "1", "timeout None")],
    ids=["by default", "one asked", "left alone"],
)
def test_openmp_used_before_the_fork_works_in_the_child_with_one_thread(
    run_script, openmp_library, threads, patience, told
):
    # libgomp's threads are not in the child: left alone, it waits for them for ever.
    program = USED_BEFORE.replace("THREADS)", f"{threads})")
    program = program.replace("PATIENCE", patience)
    assert run_script(program, openmp_library).strip() == told


class FakeCuda:
    def __init__(self, initialized: bool) -> None:
        self.is_initialized = lambda: initialized


@pytest.mark.parametrize("opened", [True, False])
def test_with_cuda_open_nothing_is_started(monkeypatch, run_children, opened):
    torch = types.ModuleType("torch")
    torch.cuda = FakeCuda(opened)
    torch.set_num_threads = lambda _: None
    monkeypatch.setitem(sys.modules, "torch", torch)
    if opened:
        with pytest.raises(CannotStart, match="CUDA"):
            fork.start(lambda *_: {}, number=1, names={})
    else:
        assert run_children(lambda *_: {"ran": True}).outcome["ran"]


def test_torch_computes_with_the_asked_threads(monkeypatch, run_children):
    torch = types.ModuleType("torch")
    told = []
    torch.set_num_threads = told.append
    monkeypatch.setitem(sys.modules, "torch", torch)
    ran = run_children(lambda *_: {"told": told}, orders={"compute_threads": 2})
    assert ran.outcome["told"] == [2]
    assert told == []


def test_polars_is_told_of(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", types.ModuleType("polars"))
    assert "polars" in [hazard.code for hazard in hazards.compute_hazards(None)]


def test_a_thread_pool_among_the_variables_is_told_of():
    with ThreadPoolExecutor(1) as pool, ThreadPoolExecutor(1) as unused:
        assert pool.submit(int).result() == 0
        names = {"pool": pool, "unused": unused, "number": 1}
        (hazard,) = hazards.lost_executors(names)
    assert hazard.message.startswith("`pool` is a ThreadPoolExecutor")
    with ProcessPoolExecutor(1) as processes:
        assert hazards.lost_executors({"processes": processes}) == []


def test_a_thread_pool_is_lost_in_the_child(run_children):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()

        def body(*_):
            future = pool.submit(int)
            try:
                future.result(timeout=0.3)
            except TimeoutError:
                return {"hangs": True}
            except BaseException as error:  # TimeoutError is another before 3.11
                return {"hangs": type(error).__name__ == "TimeoutError"}
            return {"hangs": False}

        ran = run_children(body, names={"pool": pool})
    assert [hazard.code for hazard in ran.started.hazards] == ["executor"]


@pytest.fixture
def numpy_state():
    state = np.random.get_state()
    yield
    np.random.set_state(state)


BIT_GENERATORS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


@pytest.mark.parametrize("kind", BIT_GENERATORS)
def test_the_random_state_changes_when_a_generator_draws(kind):
    rng = np.random.Generator(getattr(np.random, kind)(1))
    names = hazards.generators({"rng": rng, "number": 1})
    before = hazards.random_state(names)
    assert hazards.random_state(names) == before
    assert hazards.random_state({}) != before
    rng.random()
    assert hazards.random_state(names) != before


@pytest.mark.parametrize(
    "draw", [np.random.rand, np.random.randn, lambda: np.random.randint(0, 2)]
)
def test_the_random_state_changes_when_numpy_itself_draws(draw, numpy_state):
    before = hazards.random_state({})
    assert hazards.random_state({}) == before
    draw()
    assert hazards.random_state({}) != before


@pytest.mark.skipif(
    not hasattr(np.random, "set_bit_generator"), reason="since numpy 1.24"
)
def test_the_random_state_is_known_of_any_generator_below(numpy_state):
    own = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(1))
    try:
        before = hazards.random_state({})
        assert hazards.random_state({}) == before
        np.random.rand()
        assert hazards.random_state({}) != before
    finally:
        np.random.set_bit_generator(own)


def test_where_numpy_random_is_not_loaded_there_is_no_state(monkeypatch):
    monkeypatch.delitem(sys.modules, "numpy.random")
    assert hazards.random_state({}) is None


@pytest.mark.parametrize("kind", BIT_GENERATORS[:3])
def test_children_that_draw_from_one_inherited_generator_are_told(run_children, kind):
    rng = np.random.Generator(getattr(np.random, kind)(1))

    def body(_side, orders):
        if orders.index:
            rng.random(orders.index)
        return {}

    ran = run_children(body, number=3, names={"rng": rng})
    first, second, third = [watch.outcome.get("drew_random") for watch in ran.watches]
    assert first is None
    assert second is not None
    assert second == third


def test_children_that_seed_for_themselves_draw_from_other_sequences(run_children):
    def body(_side, orders):
        np.random.seed(orders.index)
        return {"drawn": np.random.rand()}

    ran = run_children(body, number=2)
    first, second = [watch.outcome for watch in ran.watches]
    assert first["drawn"] != second["drawn"]
    assert first["drew_random"] != second["drew_random"]


def test_looking_for_openmp_leaves_the_environment_alone(run_script):
    run_script(
        """
        import os
        from ipc_magic.process import hazards

        before = dict(os.environ)
        hazards.openmp_loaded()
        hazards.limit_compute_threads(1)
        assert dict(os.environ) == before
        """
    )
