"""Where a job shows what its child sends: the display of the cell that launched it."""

from __future__ import annotations

from collections import deque
from typing import Any

from ipc_magic.process import front
from ipc_magic.process.wire import Message

_KEPT_CHARACTERS = 1 << 20


class JobFront:
    """Shows a job's output where it was launched, while other cells run.

    A kernel's messages name the request that they answer: those of a job name the
    one that launched it. In a terminal the text appears as it comes.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._kernel = getattr(shell, "kernel", None)
        self._parent = front.parent_header(self._kernel) if self._kernel else None
        self._pieces: deque[str] = deque()
        self._size = 0

    def text(self) -> str:
        """Return the text written so far: its last million characters."""
        return "".join(tuple(self._pieces))

    def write(self, stream: str, text: str) -> None:
        """Show text, and keep it."""
        self._pieces.append(text)
        self._size += len(text)
        while self._size - len(self._pieces[0]) >= _KEPT_CHARACTERS:
            self._size -= len(self._pieces.popleft())
        if self._kernel is None:
            front.ShellFront(self._shell).write(stream, text)
        else:
            self._send("stream", {"name": stream, "text": text})

    def show(self, message: Message) -> None:
        """Show a display of the job."""
        try:
            self._show(message)
        except Exception as error:  # noqa: BLE001 - the job goes on without it
            self.write("stderr", front.not_shown(error))

    def _show(self, message: Message) -> None:
        fields = message.fields
        if self._kernel is None:
            front.publish(self._shell, message)
        elif message.kind == "display":
            from ipykernel.jsonutil import encode_images, json_clean

            content = {name: fields[name] for name in ("metadata", "transient")}
            content["data"] = encode_images(fields["data"])
            kind = "update_display_data" if fields["update"] else "display_data"
            self._send(kind, json_clean(content))
        elif message.kind == "clear_output":
            self._send("clear_output", {"wait": fields["wait"]})
        elif message.kind == "kernel_message":
            front.send_kernel_message(self._kernel, fields, self._parent)

    def live(self, line: str | None) -> None:
        """Show nothing: nobody waits, and the job's repr says that it runs."""

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        assert self._kernel is not None
        fields: dict[str, Any] = {"type": kind, "content": content, "metadata": {}}
        fields |= {"buffers": [], "ident": None}
        front.send_kernel_message(self._kernel, fields, self._parent)
