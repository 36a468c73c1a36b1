"""The ways to send an object to another process and hear of it, as people use them.

Each is a context manager `(limit_seconds, slate) -> Line` that forks its receivers
(loky starts fresh interpreters), warms them up, and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

from ipc_magic.pickling.transports import (
    loky_pools,
    manager,
    pipe,
    pools,
    queues,
    shared_memory,
    unix_socket,
)
from ipc_magic.pickling.transports.line import Line
from ipc_magic.pickling.transports.meter import Slate

Opening: TypeAlias = Callable[[float, Slate], AbstractContextManager[Line]]

TRANSPORTS: dict[str, Opening] = {
    "pipe": pipe.pipe,
    "queue": queues.queue,
    "simple_queue": queues.simple_queue,
    "manager": manager.manager,
    "unix_socket": unix_socket.unix_socket,
    "shared_memory": shared_memory.shared_memory,
    "process_pool_executor": pools.process_pool_executor,
    "pool": pools.pool,
    "loky": loky_pools.loky,
    "joblib": loky_pools.joblib,
}
