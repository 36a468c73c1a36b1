"""Forking a kernel whose threads print and log all the time: no child may hang."""

from __future__ import annotations

import pytest

CHILDREN = 1_000

NOISE = """
import logging, threading, sys, time

log = logging.getLogger("noise")
log.propagate = False
log.setLevel("INFO")
log.addHandler(logging.FileHandler("noise.log"))
quiet = threading.Event()

def printing():
    while not quiet.is_set():
        print("noise " * 20)
        sys.stderr.write("more noise\\n")
        time.sleep(0.001)

def logging_to_a_file():
    while not quiet.is_set():
        log.info("noise " * 20)
        time.sleep(0.0002)

threads = [threading.Thread(target=t) for t in (printing, logging_to_a_file) * 2]
for t in threads:
    t.start()
"""

MANY = f"""
shell, ends = get_ipython(), []
import ipc_magic
body = "print('x'); log.info('from the child'); display(1)"
for _ in range({CHILDREN}):
    shell.run_cell_magic("inprocess", "-t 30 --no-raise-error -q", body)
    ends.append(ipc_magic.last.children[0].ending)
quiet.set()
for t in threads:
    t.join()
"""


@pytest.mark.slow
def test_no_child_hangs_while_threads_of_the_kernel_print_and_log(fresh_kernel):
    fresh_kernel.run(NOISE).ok()

    fresh_kernel.run(MANY, timeout=900).ok()

    reply = fresh_kernel.run("import collections; dict(collections.Counter(ends))")
    assert reply.ok().results[-1]["text/plain"] == f"{{'finished': {CHILDREN}}}"
