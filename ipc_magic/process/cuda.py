"""Whether CUDA is open in this process, whoever opened it: the driver is asked."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

from ipc_magic.process import libraries


def context_is_open() -> bool:
    """Return whether this process has a context on any of its devices.

    That is what torch, CuPy, Numba and JAX compute in. The driver's library is asked
    only where it is loaded already, and nothing is initialised by that: all calls
    fail before cuInit (CUDA Driver API, "Primary Context Management").
    """
    try:
        driver = _driver_after(libraries.loads())
    except AttributeError:  # a C library that cannot be asked
        return False
    if driver is None:
        return False
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)):
        return False
    return any(_is_active(driver, number) for number in range(count.value))


@functools.lru_cache(maxsize=1)
def _driver_after(_loads: int) -> Any:
    """Return the driver's library if it is loaded; to look takes long."""
    try:
        return ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD)
    except OSError:
        return None


def _is_active(driver: Any, number: int) -> bool:
    device, flags, active = ctypes.c_int(), ctypes.c_uint(), ctypes.c_int()
    if driver.cuDeviceGet(ctypes.byref(device), number):
        return False
    failed = driver.cuDevicePrimaryCtxGetState(
        device, ctypes.byref(flags), ctypes.byref(active)
    )
    return not failed and bool(active.value)
