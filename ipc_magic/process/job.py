"""A run that goes on while other cells run."""

from __future__ import annotations

import atexit
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from ipc_magic.errors import CannotStart

_SHOWN_LINES = 20


class Run(Protocol):
    """What a job carries on: an experiment's run, already begun."""

    def watch(self) -> None:
        """Watch the children until all have ended."""

    def signal(self, number: int) -> None:
        """Send a signal to the children that live."""

    def pids(self) -> list[int]:
        """Return the children's pids."""

    @property
    def report(self) -> Any:
        """The result, once the children have ended."""


class Job:
    """A cell that runs in the background, as `%%inprocess --bg NAME` binds it.

    `.wait(timeout)` waits for its end, brings the names back and raises its error;
    `.kill()` ends it; `.report` is its result, `None` while it runs; `.output` the
    text it has printed so far.
    """

    def __init__(
        self,
        name: str,
        run: Run,
        *,
        output: Callable[[], str],
        finish: Callable[[], Any],
    ) -> None:
        self.name = name
        self._run = run
        self._text = output
        self._finish = finish
        self._started = time.monotonic()
        self._ended: float | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(
            target=self._watch, name=f"ipc_magic job {name}", daemon=True
        )
        _live.add(self)
        try:
            self._thread.start()
        except RuntimeError as error:
            _live.discard(self)
            run.signal(signal.SIGKILL)
            run.watch()
            raise CannotStart(
                f"not started: no thread could be had to watch job {name}"
            ) from error

    def _watch(self) -> None:
        try:
            self._run.watch()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._failure = error
        finally:
            self._ended = time.monotonic()
            _live.discard(self)

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    @property
    def report(self) -> Any:
        """The result; `None` while it runs."""
        return None if self.running or self._failure else self._run.report

    @property
    def output(self) -> str:
        """The text printed so far."""
        return self._text()

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the end, bring the names back, and return the report.

        Raises the error of the code in the child, or TimeoutError when it still
        runs after `timeout` seconds; it goes on then.
        """
        self._thread.join(timeout)
        if self.running:
            raise TimeoutError(f"job {self.name} still runs after {timeout} s")
        if self._failure is not None:
            raise self._failure
        return self._finish()

    def kill(self) -> None:
        """End its children at once; nothing happens when it has ended."""
        if self.running:
            self._run.signal(signal.SIGKILL)
            self._thread.join()

    def __repr__(self) -> str:
        pids = ", ".join(map(str, self._run.pids()))
        seconds = (self._ended or time.monotonic()) - self._started
        if self.running:
            head = f"Job {self.name}: running in child {pids} for {seconds:.1f} s."
        elif self._failure is not None:
            head = f"Job {self.name}: failed, {self._failure!r}."
        else:
            head = f"Job {self.name}: {self._run.report.headline}"
        lines = self.output.splitlines()
        if len(lines) > _SHOWN_LINES:
            more = len(lines) - _SHOWN_LINES
            lines = [f"... {more} lines more in .output", *lines[-_SHOWN_LINES:]]
        return "\n".join([head, *(f"  {line}" for line in lines)])


_live: set[Job] = set()


def live_jobs() -> list[Job]:
    """Return the jobs that still run."""
    return sorted(_live, key=lambda job: job.name)


def kill_all() -> None:
    """End all jobs: the extension is unloaded, or the session ends."""
    for job in live_jobs():
        job.kill()


atexit.register(kill_all)
