"""PAGEMAP_SCAN: the rule of its loop, and answers that cannot be."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import subprocess

import numpy as np
import pytest

from ipc_magic.memory.pages import PAGE_BYTES, Pages
from ipc_magic.memory.pagescan import Category, Nonsense, pages_with, scan

PRESENT = Category.PRESENT


@pytest.fixture
def own_pagemap():
    descriptor = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        scan(descriptor, 0, PAGE_BYTES)
    except OSError as error:
        os.close(descriptor)
        pytest.skip(f"no PAGEMAP_SCAN here: {error}")
    yield descriptor
    os.close(descriptor)


def present(pagemap, region, room):
    end = region.address + region.count * PAGE_BYTES
    vector = np.empty((room, 3), np.uint64)
    found = scan(pagemap, region.address, end, all_of=PRESENT, vector=vector)
    return found, Pages.of_regions(found[:, 0], found[:, 1])


PATTERNS = {
    "alternate": range(0, 1400, 2),
    "scattered": sorted({(i * i * 7919) % 1400 for i in range(900)}),
    "every page": range(1400),
    "one": [77],
    "none": [],
    "blocks of 5": [i for i in range(1400) if i // 5 % 2],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pages_are_found_once_for_each_length_of_the_vector(
    pattern, own_pagemap, region
):
    # The kernel collects 512 regions at a time. With room for more of them than there
    # are, `walk_end` is still where the last full portion ended.
    some = region(1400)
    some.write(PATTERNS[pattern])
    expected = some.some(PATTERNS[pattern])
    for room in (*range(1, 601), 701, 1024, 1 << 15):
        found, pages = present(own_pagemap, some, room)
        assert pages == expected, room
        assert int((found[:, 1] - found[:, 0]).sum()) == expected.size, room


def test_conditions_are_of_the_categories_of_a_page(own_pagemap, region):
    some = region(8)
    some.write([0, 1])
    some.read([4])  # the page of zeros

    def found(**how):
        regions = scan(own_pagemap, some.address, some.address + 8 * PAGE_BYTES, **how)
        return some.numbers(Pages.of_regions(regions[:, 0], regions[:, 1]))

    assert found() == list(range(8))
    assert found(all_of=PRESENT) == [0, 1, 4]
    assert found(all_of=PRESENT, none_of=Category.ZERO) == [0, 1]
    assert found(all_of=Category.ZERO) == [4]
    assert found(any_of=Category.ZERO, but=PRESENT) == [2, 3, 4, 5, 6, 7]
    # Nothing watches it: each page counts as written, also where there is none.
    assert found(all_of=Category.WRITTEN) == list(range(8))
    assert found(all_of=Category.ARMED) == []
    assert found(all_of=PRESENT, protect=True) == []


def test_regions_are_chosen_by_their_bits():
    regions = np.array([[0, 4096, 8], [4096, 8192, 10], [8192, 12288, 2]], np.uint64)
    assert pages_with(regions, 10).runs.tolist() == [[1, 2]]
    assert pages_with(regions, 2).runs.tolist() == [[1, 3]]
    assert pages_with(regions, 8, 0).runs.tolist() == [[2, 3]]


def answering(monkeypatch, count, *, walked=None, regions=()):
    """Have the kernel answer the ioctl with this."""

    def ioctl(_descriptor, _request, argument):
        fields = list(struct.unpack("12Q", argument))
        vector, room = fields[5], fields[6]
        for i, words in enumerate(list(regions)[:room]):
            ctypes.memmove(vector + 24 * i, struct.pack("3Q", *words), 24)
        fields[4] = fields[3] if walked is None else walked
        argument[:] = struct.pack("12Q", *fields)
        return count

    monkeypatch.setattr(fcntl, "ioctl", ioctl)


P = PAGE_BYTES


@pytest.mark.parametrize(
    ("count", "walked", "regions"),
    [
        (0, 0, []),  # done nothing
        (0, 99 * P, []),  # past the end
        (1, 10 * P, [(0, 0, 8)]),  # empty
        (1, 10 * P, [(P, 0, 8)]),  # backwards
        (1, 10 * P, [(0, 11 * P, 8)]),  # past the end
        (2, 10 * P, [(0, 2 * P, 8), (P, 3 * P, 8)]),  # twice the same
        (2, 10 * P, [(4 * P, 5 * P, 8), (P, 3 * P, 8)]),  # out of order
        (9, 10 * P, [(i * P, (i + 1) * P, 8) for i in range(9)]),  # more than fit
        (-1, 10 * P, []),
    ],
)
def test_answers_that_cannot_be_are_refused(count, walked, regions, monkeypatch):
    answering(monkeypatch, count, walked=walked, regions=regions)
    with pytest.raises(Nonsense):
        scan(0, 0, 10 * P, vector=np.empty((4, 3), np.uint64))


def test_a_kernel_without_the_call_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    words = os.strerror(errno.ENOTTY)
    with (tmp_path / "file").open("rb") as file, pytest.raises(OSError, match=words):
        scan(file.fileno(), 0, 10 * P)


def test_an_empty_range_is_not_asked_for(own_pagemap, monkeypatch):
    monkeypatch.delattr(fcntl, "ioctl")
    assert len(scan(own_pagemap, 10 * P, 10 * P)) == 0


def test_a_process_that_has_ended_is_not_taken_for_an_empty_one(monkeypatch):
    ioctl = fcntl.ioctl

    def of_other_kernels(descriptor, request, argument):
        try:
            return ioctl(descriptor, request, argument)
        except ProcessLookupError:
            (end,) = struct.unpack_from("Q", argument, 24)
            struct.pack_into("Q", argument, 32, end)
            return 0

    monkeypatch.setattr(fcntl, "ioctl", of_other_kernels)
    child = subprocess.Popen(["sleep", "60"])
    with child, open(f"/proc/{child.pid}/pagemap", "rb") as pagemap:
        scan(pagemap.fileno(), 0, 10 * P)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError):
            scan(pagemap.fileno(), 0, 10 * P)
