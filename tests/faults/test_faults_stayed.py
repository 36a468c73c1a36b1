"""Row 45 of the fault table in a real kernel: what stayed in the child is reported."""

from __future__ import annotations

import time

import pytest

SLOWLY = """
import os, pathlib, time
from ipc_magic.process import stayed
up = pathlib.Path({up!r})
def slowly(*args, **more):
    up.touch()
    end = time.monotonic() + {seconds}
    while time.monotonic() < end: pass
    return as_it_was(*args, **more)
"""


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.fault(45)
def test_a_kernel_tells_what_stayed_in_text_and_html(kernel):
    kernel.run("cache, n = {}, 1").ok()
    reply = kernel.run("%%inprocess\ncache['x'] = 1\nmodel = 5\nimport json").ok()
    (bundle,) = reply.results
    text, page = bundle["text/plain"], bundle["text/html"]
    assert "`cache` was changed in the child; yours is as before." in text
    assert "Made in the child and left there: `model`. Bring it: -o model" in text
    assert "<code>cache</code> was changed in the child; yours is as before." in page
    assert kernel.run("print(cache, n)").stdout == "{} 1\n"
    kernel.run("%%inprocess -o '*'\nmodel = 5\nimport json").ok()
    assert kernel.run("print(model, 'json' in globals())").stdout == "5 False\n"
    kernel.run("del cache, n, model").ok()


@pytest.mark.fault(45)
def test_an_interrupt_before_the_fork_interrupts_the_cell(kernel, tmp_path):
    up = tmp_path / "up"
    kernel.run(SLOWLY.format(up=str(up), seconds=1.0)).ok()
    kernel.run("as_it_was, stayed.Before = stayed.Before, slowly").ok()
    running = kernel.submit("%%inprocess\ntime.sleep(60)")
    wait_until(up.exists)
    kernel.interrupt()
    reply = kernel.wait(running)
    assert reply.ename == "KeyboardInterrupt"
    kernel.run("stayed.Before = as_it_was").ok()
    assert kernel.children() == []
    assert (
        "Ran in child" in kernel.run("%%inprocess\npass").ok().results[0]["text/plain"]
    )


@pytest.mark.fault(45)
def test_an_interrupt_while_the_child_looks_interrupts_the_cell(kernel, tmp_path):
    up = tmp_path / "up"
    kernel.run(SLOWLY.format(up=str(up), seconds=60)).ok()
    kernel.run("as_it_was = stayed.Before.changes\nstayed.Before.changes = slowly").ok()
    running = kernel.submit("%%inprocess -o came\ncame = 5")
    wait_until(up.exists)
    kernel.interrupt()
    reply = kernel.wait(running)
    assert reply.ename == "KeyboardInterrupt"
    assert kernel.run("print(came)").stdout == "5\n"
    kernel.run("stayed.Before.changes = as_it_was").ok()
    assert kernel.children() == []
    assert (
        "Ran in child" in kernel.run("%%inprocess\npass").ok().results[0]["text/plain"]
    )
