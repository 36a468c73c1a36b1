"""PAGEMAP_SCAN of several parts of the address space into one vector."""

from __future__ import annotations

import os

import numpy as np
import pytest

from ipc_magic.memory.pages import PAGE_BYTES, Pages
from ipc_magic.memory.pagescan import Category, Nonsense, scan, scan_all


def pages(regions):
    return Pages.of_regions(regions[:, 0], regions[:, 1])


@pytest.mark.parametrize("room", [1, 2, 7, 100, 4096])
def test_segments_are_scanned_each_with_what_it_leaves_out(room, region):
    some = region(300)
    some.write(range(0, 300, 2))
    some.read(range(1, 300, 2))  # the page of zeros
    begin = some.address
    segments = [
        (begin + first * PAGE_BYTES, begin + last * PAGE_BYTES, out)
        for first, last, out in [
            (0, 100, Category.ZERO),
            (100, 100, 0),
            (110, 200, 0),
            (200, 300, Category.ZERO),
        ]
    ]
    expected = [*range(0, 100, 2), *range(110, 200), *range(200, 300, 2)]
    pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        scan(pagemap, 0, PAGE_BYTES)
    except OSError as error:
        pytest.skip(f"no PAGEMAP_SCAN here: {error}")
    else:
        vector = np.empty((room, 3), np.uint64)
        found = scan_all(pagemap, segments, all_of=Category.PRESENT, vector=vector)
        assert some.numbers(pages(found)) == expected
        assert np.shares_memory(found, vector) is False  # it is used again
        with pytest.raises(Nonsense):
            scan_all(pagemap, segments[::-1], all_of=Category.PRESENT, vector=vector)
    finally:
        os.close(pagemap)


def test_no_segment_is_nothing():
    with open("/proc/self/pagemap", "rb") as pagemap:
        assert len(scan_all(pagemap.fileno(), [])) == 0
