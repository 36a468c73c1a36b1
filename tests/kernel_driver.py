"""A real ipykernel, driven as a notebook drives it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import zmq
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class KernelDied(RuntimeError):
    """The kernel process ended while something was asked of it."""


@dataclass
class Reply:
    """All that came back for one cell."""

    status: str = ""
    """`ok`, `error` or `aborted`, as the kernel said."""
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = field(default_factory=list)
    """What a notebook shows, without its colours."""
    stdout: str = ""
    stderr: str = ""
    displays: list[dict[str, Any]] = field(default_factory=list)
    """Mime bundles as they stand at the end: updates have taken their place."""
    results: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    """What the code asked on stdin."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    """The messages on iopub that belong to this cell, in order."""
    seconds: float = 0.0

    def ok(self) -> Reply:
        """Return the reply itself if the cell succeeded."""
        if self.status != "ok":
            shown = "\n".join([*self.traceback, self.stderr])
            raise AssertionError(f"{self.status}: {self.ename}: {self.evalue}\n{shown}")
        return self


class Kernel:
    """One kernel process and its client. `close()` is safe to call at any time."""

    def __init__(self, env: dict[str, str], extension: str | None = "ipc_magic"):
        self.extension = extension
        self.strays: list[dict[str, Any]] = []
        """Messages on iopub that belong to no cell that was being waited for."""
        self._shown: dict[str, tuple[list[dict[str, Any]], int]] = {}
        self._home = Path(tempfile.mkdtemp(prefix="kernel-"))
        self._log = open(self._home / "log", "w+b")  # noqa: SIM115
        self._context = zmq.Context()
        folder = self._home / "kernels" / "driven"
        folder.mkdir(parents=True)
        # A specification of our own: the installed `python3` may be any Python.
        spec = {
            "argv": [sys.executable, "-m", "ipykernel", "-f", "{connection_file}"],
            "display_name": "driven",
            "language": "python",
            "metadata": {"debugger": True},
        }
        (folder / "kernel.json").write_text(json.dumps(spec))
        specs = KernelSpecManager(
            kernel_dirs=[str(folder.parent)], ensure_native_kernel=False
        )
        self._manager = KernelManager(
            kernel_name="driven",
            kernel_spec_manager=specs,
            connection_file=str(self._home / "connection.json"),
            context=self._context,
        )
        self._env = {
            **env,
            "IPYTHONDIR": str(self._home / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(self._home),
            # The debugger says at start that frozen modules slow it down.
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        try:
            self._manager.start_kernel(
                env=self._env, cwd=str(self._home), stdout=self._log, stderr=self._log
            )
            self._client = self._manager.client(context=self._context)
            self._client.start_channels(hb=False)  # its thread would be news to tests
            self._ready()
        except BaseException:
            print(self.log)
            self.close()
            raise

    def _ready(self) -> None:
        self._client.wait_for_ready(timeout=60)
        # The other two channels connect in the background: use them once, or
        # their sockets would appear in the middle of a test.
        message_id = self._client.session.send(
            self._client.control_channel.socket, "kernel_info_request"
        )["header"]["msg_id"]
        self._await_reply(self._client.control_channel.socket, message_id)
        self.run("input(); None", stdin=[""]).ok()
        if self.extension:
            self.run(f"%load_ext {self.extension}").ok()

    @property
    def pid(self) -> int:
        """The process ID of the kernel; it changes with `restart()`."""
        return int(self._manager.provisioner.process.pid)

    @property
    def alive(self) -> bool:
        """Whether the kernel process runs."""
        return bool(self._manager.is_alive())

    @property
    def log(self) -> str:
        """What the process wrote to its own stdout and stderr: the server's log."""
        self._log.flush()
        return (self._home / "log").read_text(errors="replace")

    def children(self) -> list[psutil.Process]:
        """All living processes below the kernel, zombies included."""
        return psutil.Process(self.pid).children(recursive=True)

    def run(
        self,
        code: str,
        timeout: float = 60,
        interrupt_after: float | None = None,
        stdin: bool | list[str] = False,
    ) -> Reply:
        """Run a cell and wait until the kernel is idle again.

        `interrupt_after` counts from the moment the kernel began with the cell.
        `stdin` is what the user types, one item a prompt (`True`: empty lines);
        without it the code cannot ask.
        """
        return self.wait(self.submit(code, stdin), timeout, interrupt_after, stdin)

    def submit(self, code: str, stdin: bool | list[str] = False) -> str:
        """Send a cell and return its message ID for `wait()`.

        One that fails does not abort those that the kernel receives soon after it.
        """
        allow_stdin = stdin is not False
        return str(
            self._client.execute(code, allow_stdin=allow_stdin, stop_on_error=False)
        )

    def wait(
        self,
        message_id: str,
        timeout: float = 60,
        interrupt_after: float | None = None,
        stdin: bool | list[str] = False,
    ) -> Reply:
        """Wait for a submitted cell."""
        client, reply = self._client, Reply()
        answers = list(stdin) if isinstance(stdin, list) else []
        started = time.monotonic()
        busy_since: float | None = None
        idle = answered = False
        sockets = {
            channel.socket: channel
            for channel in (
                client.iopub_channel,
                client.shell_channel,
                client.stdin_channel,
            )
        }
        poller = zmq.Poller()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        while not (idle and answered):
            now = time.monotonic()
            if now - started > timeout:
                raise TimeoutError(
                    f"no end after {timeout} s; so far: {reply}\nlog: {self.log}"
                )
            if (
                interrupt_after is not None
                and busy_since is not None
                and now - busy_since > interrupt_after
            ):
                self.interrupt()
                interrupt_after = None
            ready = dict(poller.poll(20))
            if not ready and not self.alive:
                raise KernelDied(f"the kernel ended; so far: {reply}\nlog: {self.log}")
            if client.stdin_channel.socket in ready:
                message = self._receive(client.stdin_channel.socket)
                reply.prompts.append(message["content"]["prompt"])
                client.input(answers.pop(0) if answers else "")
            if client.iopub_channel.socket in ready:
                message = self._receive(client.iopub_channel.socket)
                if message["parent_header"].get("msg_id") != message_id:
                    self.strays.append(message)
                    self._apply(message, Reply())
                    continue
                reply.messages.append(message)
                self._apply(message, reply)
                state = message["content"].get("execution_state")
                idle = idle or state == "idle"
                if state == "busy":
                    busy_since = time.monotonic()
            if client.shell_channel.socket in ready:
                message = self._receive(client.shell_channel.socket)
                if message["parent_header"].get("msg_id") == message_id:
                    answered = True
                    content = message["content"]
                    reply.status = content["status"]
                    reply.ename = content.get("ename", "")
                    reply.evalue = content.get("evalue", "")
                    lines = content.get("traceback", [])
                    reply.traceback = [_COLOUR.sub("", line) for line in lines]
        reply.seconds = time.monotonic() - started
        return reply

    def later(self, seconds: float, until: str | None = None) -> list[dict[str, Any]]:
        """Return the messages on iopub of the next seconds, or until a text has come.

        It may be of a stream or a display, and comes in one piece.
        """
        end = time.monotonic() + seconds
        socket = self._client.iopub_channel.socket
        messages = []
        while (left := end - time.monotonic()) > 0:
            if socket.poll(max(1, int(left * 1000))):
                messages.append(self._receive(socket))
                self._apply(messages[-1], Reply())
                content = messages[-1]["content"]
                shown = content.get("text", "") + str(content.get("data", ""))
                if until is not None and until in shown:
                    break
        return messages

    def interrupt(self) -> None:
        """Do what the stop button does: SIGINT to the kernel's process group."""
        self._manager.interrupt_kernel()

    def kill(self) -> None:
        """Kill the kernel process alone, as the system does when memory ends."""
        os.kill(self.pid, signal.SIGKILL)
        end = time.monotonic() + 10
        while self.alive and time.monotonic() < end:
            time.sleep(0.01)

    def shutdown(self) -> None:
        """Ask the kernel to end, as closing a notebook does, and wait for it."""
        self._manager.shutdown_kernel(now=False)

    def restart(self) -> None:
        """Restart the kernel, alive or dead, and load the extension again."""
        self._manager.restart_kernel(
            now=True, env=self._env, stdout=self._log, stderr=self._log
        )
        self._shown.clear()
        self._ready()

    def close(self) -> None:
        """End the kernel and free all that belongs to it."""
        client = getattr(self, "_client", None)
        if client is not None:
            client.stop_channels()
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()
        self._context.destroy(linger=0)
        self._log.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def _receive(self, socket: Any) -> dict[str, Any]:
        _, message = self._client.session.recv(socket, mode=0)
        return dict(message)

    def _await_reply(self, socket: Any, message_id: str) -> None:
        while socket.poll(10_000):
            if self._receive(socket)["parent_header"].get("msg_id") == message_id:
                return
        raise TimeoutError(f"no reply on the control channel; log: {self.log}")

    def _apply(self, message: dict[str, Any], reply: Reply) -> None:
        content = message["content"]
        kind = message["header"]["msg_type"]
        if kind == "stream":
            name = content["name"]
            setattr(reply, name, getattr(reply, name) + content["text"])
        elif kind == "execute_result":
            reply.results.append(content["data"])
        elif kind == "display_data":
            reply.displays.append(content["data"])
            if display_id := content.get("transient", {}).get("display_id"):
                place = (reply.displays, len(reply.displays) - 1)
                self._shown[display_id] = place
        elif kind == "update_display_data":
            # An update may reach a display of an earlier cell, as in a notebook.
            display_id = content["transient"]["display_id"]
            if display_id in self._shown:
                displays, index = self._shown[display_id]
                displays[index] = content["data"]
