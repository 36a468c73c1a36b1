"""Where the parent shows what its children send: a cell or a terminal."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

from ipc_magic.process.wire import Message


class Front(Protocol):
    """Shows texts and messages of children to the person."""

    def write(self, stream: str, text: str) -> None:
        """Show `text` on `stream`, "stdout" or "stderr"."""

    def show(self, message: Message) -> None:
        """Show a display, clear the output, or pass a widget's message on."""

    def live(self, line: str | None) -> None:
        """Show a line that goes again; `None` takes it away."""


class OnlyLive:
    """Shows nothing of a process of our own but where it sits when it hangs."""

    def __init__(self, front: Front) -> None:
        self.live = front.live

    def write(self, stream: str, text: str) -> None:
        """Show nothing."""

    def show(self, message: Message) -> None:
        """Show nothing."""


class ShellFront:
    """Shows what children send in the running cell, as if the cell had made it.

    It goes through the parent's own `sys.stdout` and display publisher, so that
    `%%capture`, pytest and nbclient see it as ever.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._live = LiveLine(shell)
        self._last_stream = "stdout"

    def write(self, stream: str, text: str) -> None:
        """Write to the parent's stream; characters it cannot encode are escaped."""
        if stream != self._last_stream:
            # A kernel's streams send each by itself: the order would be lost.
            getattr(sys, self._last_stream).flush()
            self._last_stream = stream
        file = sys.stdout if stream == "stdout" else sys.stderr
        try:
            file.write(text)
        except UnicodeEncodeError:
            encoding = file.encoding or "ascii"
            file.write(text.encode(encoding, "backslashreplace").decode(encoding))
        if isinstance(file, io.TextIOWrapper):
            file.flush()  # a kernel's stream sends by itself, and waits when flushed

    def show(self, message: Message) -> None:
        """Publish a message the way the parent's own code would have."""
        try:
            publish(self._shell, message)
        except Exception as error:  # noqa: BLE001 - the run goes on without it
            self.write("stderr", not_shown(error))

    def live(self, line: str | None) -> None:
        """Show a line that goes again."""
        self._live.show(line)


def running_shell() -> Any:
    """Return the IPython shell of this process, `None` where there is none.

    IPython is not imported for that.
    """
    module = sys.modules.get("IPython.core.interactiveshell")
    kind = getattr(module, "InteractiveShell", None)
    return kind.instance() if kind is not None and kind.initialized() else None


def set_own_title(shell: Any) -> None:
    """Give the terminal the title that the shell gives it.

    IPython's own way, where it is old, has the terminal save one more title each time.
    """
    from IPython.utils.process import abbrev_cwd

    title = shell.term_title_format.format(cwd=abbrev_cwd())
    sys.stderr.write(f"\x1b]2;{title}\x07")  # OSC 2 of xterm
    sys.stderr.flush()


def not_shown(error: Exception) -> str:
    """Say that a child's display is missing: no JSON can be made of it, mostly."""
    return f"a display of the child cannot be shown: {type(error).__name__}: {error}\n"


def publish(shell: Any, message: Message) -> None:
    """Publish one message of a child through `shell`."""
    fields = message.fields
    if message.kind == "display":
        transient = fields["transient"]
        more = {"transient": transient} if transient else {}
        shell.display_pub.publish(
            fields["data"], fields["metadata"], update=fields["update"], **more
        )
    elif message.kind == "clear_output":
        shell.display_pub.clear_output(wait=fields["wait"])
    elif message.kind == "payload":
        shell.payload_manager.write_payload(fields["data"], single=fields["single"])
    elif message.kind == "kernel_message":
        send_kernel_message(shell.kernel, fields, parent_header(shell.kernel))


def parent_header(kernel: Any) -> Any:
    """Return the request that the kernel is answering now."""
    return kernel.get_parent("shell")


def send_kernel_message(kernel: Any, fields: Mapping[str, Any], parent: Any) -> None:
    """Send a child's message to the front end as the kernel's own."""
    kernel.session.send(
        kernel.iopub_socket,
        fields["type"],
        fields["content"],
        metadata=fields["metadata"],
        parent=parent,
        ident=fields["ident"],
        buffers=fields["buffers"] or None,
    )


class LiveLine:
    """One line that updates in place and goes: a display, or a terminal's last line."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._display_id = ""
        self._on_terminal = False

    def show(self, line: str | None) -> None:
        """Show `line` in place of the one before; `None` takes it away."""
        if getattr(self._shell, "kernel", None) is not None:
            self._show_in_notebook(line)
        elif line is not None or self._on_terminal:
            self._show_in_terminal(line)

    def _show_in_notebook(self, line: str | None) -> None:
        if line is None and not self._display_id:
            return
        update = bool(self._display_id)
        self._display_id = self._display_id or f"ipc_magic-{time.monotonic_ns()}"
        self._shell.display_pub.publish(
            {"text/plain": line or ""},
            {},
            transient={"display_id": self._display_id},
            update=update,
        )
        if line is None:
            self._display_id = ""

    def _show_in_terminal(self, line: str | None) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[2K{line or ''}")
            self._on_terminal = line is not None
        elif line is not None:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()
