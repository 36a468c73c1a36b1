"""The ways out of a child's shell: displays, widgets, values, input, exits.

The child has the parent's shell object, whose ways out lead to sockets and threads
of the parent. They are replaced by ones that lead through `ChildSide`.
"""

from __future__ import annotations

import asyncio
import builtins
import getpass
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ipc_magic.errors import NoInput
from ipc_magic.process import wire
from ipc_magic.process.child_side import ChildSide
from ipc_magic.process.replacements import Replacements

# Messages of a kernel that a child may send; status and replies are the parent's.
_FORWARDED = {"comm_open", "comm_msg", "comm_close"}
_FORWARDED |= {"display_data", "update_display_data", "clear_output", "error"}
_FIGURES_SHOWN_BY = (
    "matplotlib_inline.backend_inline",
    "ipykernel.pylab.backend_inline",
)
_LOOP_KEEPERS = ("IPython", "ipykernel")


def plan(
    shell: Any, side: ChildSide, replacements: Replacements, *, quiet: bool
) -> None:
    """Lead all ways out of `shell` through `side`; `quiet` values are not displayed."""
    put = replacements.put
    for event, callbacks in shell.events.callbacks.items():
        # What shows figures stays: the parent runs the person's own callbacks.
        kept = [
            c for c in callbacks if getattr(c, "__module__", "") in _FIGURES_SHOWN_BY
        ]
        replacements.put_item(shell.events.callbacks, event, kept)
    publisher = Publisher(side)
    put(shell, "display_pub", publisher)
    # IPython asks the hook object to carry the cell's result; sys.displayhook may be
    # a capturing one of the parent's (%%capture around this magic).
    show = _shower(shell.displayhook, publisher, quiet=quiet)
    put(sys, "displayhook", show)
    put(shell.display_trap, "hook", show)
    if payloads := getattr(shell, "payload_manager", None):
        put(payloads, "write_payload", _payload_writer(side))
    plan_no_input(replacements)
    if kernel := getattr(shell, "kernel", None):
        put(kernel.session, "send", _forward_to(side))
        put(kernel, "raw_input", _refuse_input)
        put(kernel, "getpass", _refuse_input)
    _plan_exits(shell, replacements)
    if getattr(shell.loop_runner, "__module__", "").startswith(_LOOP_KEEPERS):
        # IPython keeps one loop, whose epoll instance is the parent's too.
        put(shell, "loop_runner", asyncio.run)


def plan_no_input(replacements: Replacements) -> None:
    """Have a child refuse to ask for input: the terminal or kernel is the parent's."""
    replacements.put(builtins, "input", _refuse_input)
    replacements.put(getpass, "getpass", _refuse_input)


class Publisher:
    """Stands for the shell's display publisher (IPython's `DisplayPublisher`)."""

    is_publishing = False

    def __init__(self, side: ChildSide) -> None:
        self._side = side

    def publish(self, data: Any, metadata: Any = None, **more: Any) -> None:
        """Send a display to the parent."""
        self._side.send_in_order(
            "display",
            data=wire.plain(data),
            metadata=wire.plain(metadata or {}),
            transient=wire.plain(more.get("transient") or {}),
            update=bool(more.get("update")),
        )

    def clear_output(self, wait: bool = False) -> None:
        """Have the parent clear the cell's output."""
        self._side.send_in_order("clear_output", wait=bool(wait))


def _forward_to(side: ChildSide) -> Callable[..., dict[str, Any]]:
    def send(
        _stream: Any, message: Any, content: Any = None, *_: Any, **more: Any
    ) -> Any:
        kind = message if isinstance(message, str) else message["header"]["msg_type"]
        if kind in _FORWARDED:
            if isinstance(message, dict):
                content = message["content"]
                more.setdefault("metadata", message.get("metadata"))
            ident = more.get("ident")
            side.send_in_order(
                "kernel_message",
                type=kind,
                content=wire.plain(content or {}),
                metadata=wire.plain(more.get("metadata") or {}),
                buffers=[bytes(part) for part in more.get("buffers") or ()],
                ident=bytes(ident) if isinstance(ident, bytes) else None,
            )
        return message if isinstance(message, dict) else {}

    return send


def _payload_writer(side: ChildSide) -> Callable[..., None]:
    def write_payload(data: Any, single: bool = True) -> None:
        side.send_in_order("payload", data=wire.plain(data), single=single)

    return write_payload


def _shower(hook: Any, publisher: Publisher, *, quiet: bool) -> Callable[..., None]:
    """Return a display hook that shows no prompt: the parent has no such `Out`."""

    def show(result: Any = None) -> None:
        if result is None:
            return
        hook.fill_exec_result(result)
        if quiet:
            return
        format_dict, md_dict = hook.compute_format_data(result)
        hook.update_user_ns(result)
        if format_dict:
            publisher.publish(format_dict, md_dict)

    return show


def _refuse_input(*_: Any, **__: Any) -> NoReturn:
    raise NoInput(
        "code in a child process cannot ask for input: ask before, and let the "
        "cell use the variable"
    )


def _plan_exits(shell: Any, replacements: Replacements) -> None:
    """Have `exit`, `exit()` and `quit` end the child, not ask the front end."""

    def leave(code: object = None, **_: Any) -> NoReturn:
        raise SystemExit(code)

    replacements.put(shell, "ask_exit", leave)
    for name in ("exit", "quit"):
        kind = type(shell.user_ns.get(name))
        if kind.__module__ == "IPython.core.autocall":
            replacements.put_item(shell.user_ns, name, _leaving(kind, leave)(shell))


def _leaving(kind: Any, leave: Callable[..., NoReturn]) -> Any:
    """Return IPython's class of `exit`, of the same name, whose call takes a code."""
    call = {"__call__": lambda _self, code=None, **more: leave(code, **more)}
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, **call})
