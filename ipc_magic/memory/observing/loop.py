"""The observer's loop: it sleeps until somebody wants something, or a sweep is due."""

from __future__ import annotations

import gc
import os
import resource
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from ipc_magic.memory.observing import wire
from ipc_magic.memory.observing.tracing import Tracer
from ipc_magic.memory.observing.ward import Ward

_REST = 45
"""The next sweep is not earlier than that many times what all took since the last."""
_LEAST_PAUSE_SECONDS = 0.2
_LATE_SECONDS = 0.5
"""How long those are waited for that were just forked, or are about to end."""
_LEAVE_SECONDS = 1.0


class Events:
    """Descriptors, and what to do when one is readable."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, descriptor: int, action: Callable[[], object]) -> None:
        """Do `action` whenever the descriptor is readable or at its end."""
        self._selector.register(descriptor, selectors.EVENT_READ, action)

    def drop(self, descriptor: int) -> None:
        """Look at it no more: it is about to be closed."""
        self._selector.unregister(descriptor)

    def serve(self, timeout_seconds: float | None) -> bool:
        """Wait, and do what is asked for; return whether anything was."""
        ready = self._selector.select(timeout_seconds)
        for key, _ in ready:
            # An action before this one may have dropped it.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
        return bool(ready)


class Loop:
    """All that the observer does until its session ends."""

    def __init__(self, control: int, session: int) -> None:
        self._control = control
        self._session = session
        self._events = Events()
        self._tracer = Tracer()
        self._ward: Ward | None = None
        self._sweep_at = 0.0
        self._used_seconds = 0.0

    def run(self) -> None:
        """Serve for ever; the end of the session ends this process."""
        self._events.add(self._control, self._answer)
        try:
            self._events.add(os.pidfd_open(self._session), _leave)
        except OSError:  # Linux before 5.3: the end of `control` tells it
            pass
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

        def take_stops() -> None:
            wake.recv(1 << 12)
            self._take_stops()

        self._events.add(wake.fileno(), take_stops)
        while True:
            self._events.serve(self._pause())
            if self._ward is not None and time.monotonic() >= self._sweep_at:
                self._sweep(self._ward)

    def _pause(self) -> float | None:
        if self._ward is None:
            return None
        return max(0.0, self._sweep_at - time.monotonic())

    def _take_stops(self) -> None:
        for stop in self._tracer.stops():
            if self._ward is not None:
                self._ward.take_stop(stop)
            elif stop.exiting:
                self._tracer.let_go(stop.pid)

    def _sweep(self, ward: Ward) -> None:
        """Read all; what was done since the last sweep, but to arm, counts as well."""
        ward.sweep(lambda: self._events.serve(0))
        used = time.process_time() - ward.arming_seconds
        pause = max(_LEAST_PAUSE_SECONDS, _REST * (used - self._used_seconds))
        self._used_seconds = used
        self._sweep_at = time.monotonic() + pause

    def _answer(self) -> None:
        try:
            asked = wire.receive(self._control)
            answer = self._answer_to(asked)
            wire.send(self._control, answer)
        except OSError:
            _leave()

    def _answer_to(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["ask"] == "open":
            self._close()
            ward = Ward(
                self._session,
                self._events,
                self._tracer,
                gauge=asked.get("gauge", ""),
                progress=asked.get("progress"),
            )
            self._ward, self._sweep_at = ward, 0.0
            self._used_seconds = time.process_time()
            return {"address": ward.name, "pid": os.getpid(), "older": ward.older}
        if asked["ask"] == "look" and self._ward is not None:
            return {"children": self._ward.records()}
        if asked["ask"] == "close" and self._ward is not None:
            ward = self._ward
            children = self._close(asked["forks"])
            return {"children": children, "session": ward.session()}
        return {}

    def _close(self, forks: int = 0) -> list[dict[str, Any]]:
        """End the watch, if there is one; return what it saw.

        `forks` children of the session itself are known to have been forked: those
        who are on their way are met, and who exits is seen to end.
        """
        if self._ward is None:
            return []
        ward, late = self._ward, time.monotonic() + _LATE_SECONDS
        self._events.drop(self._control)
        try:
            while time.monotonic() < late:
                on_their_way = ward.met_of_session < forks or ward.some_exit
                waited = late - time.monotonic() if on_their_way else 0
                if not self._events.serve(waited) and not on_their_way:
                    break
            ward.sweep(lambda: self._events.serve(0))
            self._ward = None
            records = ward.close()
            deadline = time.monotonic() + _LEAVE_SECONDS
            while self._tracer.leaving and time.monotonic() < deadline:
                self._events.serve(deadline - time.monotonic())
        finally:
            self._events.add(self._control, self._answer)
        return records


def _leave() -> None:
    os._exit(0)


def serve(control: int, session: int) -> None:
    """Be the observer of a session, connected by `control`, until it ends."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # four for each child
    gc.freeze()
    Loop(control, session).run()
