"""CUDA is seen as its driver tells of it; a small library stands for the driver."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from ipc_magic.process import cuda

# The driver's functions as cuda.h declares them: 0 is success, 3 "not initialized".
DRIVER = """
static int initialized, active[2];
int cuInit(unsigned flags) { initialized = 1; return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return initialized ? 0 : 3; }
int cuDeviceGet(int *device, int number) { *device = 40 + number; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) {
    active[device - 40] = 1; return 0;
}
int cuDevicePrimaryCtxRelease(int device) { active[device - 40] = 0; return 0; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *state) {
    *flags = 5; *state = active[device - 40]; return initialized ? 0 : 3;
}
"""
PROGRAM = """
import ctypes, sys
from ipc_magic.errors import CannotStart
from ipc_magic.process import cuda, fork

print(cuda.context_is_open())
driver = ctypes.CDLL(sys.argv[1])
print(cuda.context_is_open())
driver.cuInit(0)
print(cuda.context_is_open())
driver.cuDevicePrimaryCtxRetain(ctypes.byref(ctypes.c_void_p()), 41)
print(cuda.context_is_open())
try:
    fork.start(lambda *_: {}, number=1, names={})
except CannotStart as error:
    print(error)
driver.cuDevicePrimaryCtxRelease(41)
print(cuda.context_is_open())
"""


@pytest.fixture
def driver(tmp_path):
    """Give the path of a library with the driver's name."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    (tmp_path / "driver.c").write_text(DRIVER)
    path = tmp_path / "libcuda.so.1"
    command = ["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", path]
    subprocess.run([*command, tmp_path / "driver.c"], check=True)
    return path


def test_a_context_is_seen_from_its_opening_to_its_end(run_script, driver):
    shown = run_script(PROGRAM, str(driver)).splitlines()
    assert [*shown[:4], shown[5]] == ["False", "False", "False", "True", "False"]
    assert shown[4].startswith("not started: CUDA is open in this session")


def test_without_the_driver_s_library_there_is_no_context():
    with open("/proc/self/maps", encoding="utf-8") as maps:
        if "libcuda.so" in maps.read():
            pytest.skip("this machine's own driver is loaded")
    assert cuda.context_is_open() is False
