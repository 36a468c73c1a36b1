"""What differs between the IPython versions we run on (7.34 to 9.x)."""

from __future__ import annotations

import atexit
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def watch_cell_loop() -> Callable[[], None]:
    """Return a function that closes the event loop IPython makes from now on.

    A cell with `await` makes IPython create one loop for the whole process,
    which it never closes. IPython 8 and later keep it in a module variable;
    IPython 7 keeps it in its runner and makes it asyncio's current loop too.
    """
    import asyncio

    from IPython.core import async_helpers

    holder: Any = async_helpers
    name, current = "_asyncio_event_loop", None
    if not hasattr(holder, name):
        holder, name = holder._asyncio_runner, "_loop"
        # The policy's thread-local record says which loop is current and
        # whether one was ever set; asking it for the loop would create one.
        policy: Any = asyncio.get_event_loop_policy()
        current = vars(policy._local)
    earlier = getattr(holder, name)
    earlier_current = None if current is None else dict(current)

    def close() -> None:
        loop = getattr(holder, name)
        if loop is earlier:
            return
        if loop is not None and not loop.is_closed():
            loop.close()
        setattr(holder, name, earlier)
        if current is not None and earlier_current is not None:
            current.clear()
            current.update(earlier_current)

    return close


def end_script_magics(shell: Any) -> None:
    """End what `%%bash` and its family leave running: processes, loop, thread.

    Their exit hook keeps the shell alive. IPython 8 has no function to stop the
    loop that runs the scripts, and does not keep its thread.
    """
    magics = shell.magics_manager.registry.get("ScriptMagics")
    if magics is None:
        return
    scripts = list(magics.bg_processes)
    magics.kill_bg_processes()
    atexit.unregister(magics.kill_bg_processes)
    loop = getattr(magics, "event_loop", None)
    if loop is None:
        return
    import asyncio

    asyncio.run_coroutine_threadsafe(_end_tasks(scripts), loop).result(timeout=2)
    if hasattr(magics, "stop_event_loop"):
        magics.stop_event_loop()
        return
    loop.call_soon_threadsafe(loop.stop)
    deadline = time.monotonic() + 2
    while loop.is_running() and time.monotonic() < deadline:
        time.sleep(0.001)
    if not loop.is_running():
        loop.close()
    magics.event_loop = None


async def _end_tasks(scripts: list[Any]) -> None:
    """End the tasks of this loop, and close the pipes of `--bg` scripts.

    Both complain when they are collected after the loop was closed.
    """
    import asyncio

    for script in scripts:
        script._transport.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.01)  # pipes close themselves in the next rounds
