"""What /proc says is read from the bytes alone."""

from __future__ import annotations

import os
import struct

import pytest

from ipc_magic.memory import pagemap, smaps
from ipc_magic.memory.maps import joined, parse_maps, private_ranges, read_text
from ipc_magic.memory.pages import PAGE_BYTES, Pages

MAPS = rb"""55d0c8e00000-55d0c8e28000 r--p 00000000 fe:00 262154  /usr/bin/python3.11
55d0ca2b1000-55d0ca3f4000 rw-p 00000000 00:00 0                 [heap]
7f1c00000000-7f1c00021000 rw-p 00000000 00:00 0 @
7f1c00021000-7f1c04000000 ---p 00000000 00:00 0 @
7f1c10000000-7f1c10001000 rw-s 00000000 00:01 1025   /dev/shm/a b (deleted)
7f1c10001000-7f1c10002000 rw-p 00001000 fe:00 77     /tmp/two\012lines
7ffd7e5d0000-7ffd7e5d4000 r--p 00000000 00:00 0                 [vvar]
7ffd7e5d4000-7ffd7e5d6000 r-xp 00000000 00:00 0                 [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0         [vsyscall]
""".replace(b"@", b"")  # the kernel leaves a blank at the end


def test_the_lines_of_a_maps_file_are_read():
    found = parse_maps(MAPS)
    assert [m.name for m in found] == [
        b"/usr/bin/python3.11",
        b"[heap]",
        b"",
        b"",
        b"/dev/shm/a b (deleted)",
        rb"/tmp/two\012lines",
        b"[vvar]",
        b"[vdso]",
        b"[vsyscall]",
    ]
    assert found[0].start == 0x55D0C8E00000
    assert found[0].size == 0x28000
    assert [m.inode for m in found] == [262154, 0, 0, 0, 1025, 77, 0, 0, 0]
    assert [m.private for m in found] == [1, 1, 1, 1, 0, 1, 0, 0, 0]
    assert [m.writable for m in found] == [0, 1, 1, 0, 1, 1, 0, 0, 0]
    assert [m.anonymous for m in found] == [0, 1, 1, 1, 0, 0, 0, 0, 0]
    assert found[-1].end == 0xFFFFFFFFFF601000


def test_mappings_that_touch_are_one_range():
    found = parse_maps(MAPS)
    assert private_ranges(found) == [
        (0x55D0C8E00000, 0x55D0C8E28000),
        (0x55D0CA2B1000, 0x55D0CA3F4000),
        (0x7F1C00000000, 0x7F1C04000000),
        (0x7F1C10001000, 0x7F1C10002000),
    ]
    assert joined([(1, 2), (2, 3), (4, 5)]) == [(1, 3), (4, 5)]
    assert joined([]) == []


def test_a_maps_file_is_read_anew_each_time(region):
    maps = os.open("/proc/self/maps", os.O_RDONLY)
    try:
        before = parse_maps(read_text(maps))
        some = region(3)
        after = parse_maps(read_text(maps))
    finally:
        os.close(maps)
    for found, there in ((before, False), (after, True)):
        inside = any(m.start <= some.address < m.end for m in found)
        assert inside is there, found


def test_an_empty_maps_file_is_of_a_process_that_ended(tmp_path):
    (tmp_path / "maps").write_bytes(b"")
    maps = os.open(tmp_path / "maps", os.O_RDONLY)
    try:
        with pytest.raises(ProcessLookupError, match="has ended"):
            read_text(maps)
    finally:
        os.close(maps)


ROLLUP = """55d0c8e00000-7ffd7e5f1000 ---p 00000000 00:00 0        [rollup]
Rss:               29256 kB
Pss_Dirty:         10188 kB
Shared_Dirty:         12 kB
Private_Dirty:     10176 kB
Anonymous:         10188 kB
"""


def test_the_sums_of_smaps_rollup_are_bytes(tmp_path):
    sums = smaps.parse_smaps_rollup(ROLLUP)
    assert sums["Shared_Dirty"] == 12 << 10
    assert sums["Private_Dirty"] == 10176 << 10
    assert len(sums) == 5
    (tmp_path / "smaps_rollup").write_text("")
    with (
        (tmp_path / "smaps_rollup").open() as file,
        pytest.raises(ProcessLookupError),
    ):
        smaps.read_smaps_rollup(file)


BIT = {"present": 63, "swapped": 62, "file": 61, "exclusive": 56}
SHARED, OWN = ("present",), ("present", "exclusive")


def write_pagemap(path, pages):
    words = [sum(1 << BIT[name] for name in names) | frame for names, frame in pages]
    path.write_bytes(struct.pack(f"{len(words)}Q", *words))
    return os.open(path, os.O_RDONLY)


def test_entries_of_a_pagemap_are_told_apart(tmp_path):
    pages = [
        ((), 0),
        (SHARED, 0x111),
        (OWN, 0x222),
        (("present", "file"), 0x333),
        (("present", "file", "exclusive"), 0x444),
        (("swapped",), 0x555),  # here the bits of a frame say where it is swapped to
        (OWN, (1 << 55) - 1),
    ]
    entries = write_pagemap(tmp_path / "pagemap", pages)
    everything = [(0, len(pages) * PAGE_BYTES)]
    try:
        held, own = pagemap.anonymous_pages(entries, everything)
        frames = pagemap.frames(entries, Pages.between(everything))
        only = pagemap.frames(entries, held)
    finally:
        os.close(entries)
    assert held.runs.tolist() == [[1, 3], [5, 7]]
    assert own.runs.tolist() == [[2, 3], [6, 7]]
    assert frames.tolist() == [0, 0x111, 0x222, 0x333, 0x444, 0, (1 << 55) - 1]
    assert only.tolist() == [0x111, 0x222, 0, (1 << 55) - 1]


def test_a_pagemap_is_read_in_pieces_of_any_size(tmp_path, monkeypatch):
    pages = [(OWN if i % 3 else SHARED, i) for i in range(100)]
    entries = write_pagemap(tmp_path / "pagemap", pages)
    ranges = [(0, 40 * PAGE_BYTES), (50 * PAGE_BYTES, 100 * PAGE_BYTES)]
    expected = {i for i in range(100) if i % 3 and not 40 <= i < 50}
    try:
        for piece in (1, 7, 40, 1000):
            monkeypatch.setattr(pagemap, "_CHUNK", piece)
            held, own = pagemap.anonymous_pages(entries, ranges)
            assert held == Pages.between(ranges)
            assert {n for a, b in own.runs.tolist() for n in range(a, b)} == expected
    finally:
        os.close(entries)


def test_a_pagemap_that_ends_early_is_of_a_process_that_ended(tmp_path):
    entries = write_pagemap(tmp_path / "pagemap", [(OWN, 1)] * 3)
    try:
        with pytest.raises(ProcessLookupError, match="has ended"):
            pagemap.anonymous_pages(entries, [(0, 4 * PAGE_BYTES)])
    finally:
        os.close(entries)
