"""What the mechanisms call copied, page for page against the page frames.

All look at one child at the same moments, while it waits. Some pages are the child's
alone before it is met: it has written them, or its parent has. When it writes these
again the kernel keeps the frame, or takes another one all the same while the old one
is still on the list of a CPU (`wp_can_reuse_anon_folio` in mm/memory.c). So they are
left out where pages written are compared with frames.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipc_magic.memory import ladder
from ipc_magic.memory.pages import PAGE_BYTES, Pages
from ipc_magic.memory.rungs import uffd

COUNT = 1200
pytestmark = pytest.mark.usefixtures("no_collections")
needs_frames = pytest.mark.skipif(
    os.geteuid() != 0, reason="page frame numbers are shown to CAP_SYS_ADMIN alone"
)


@pytest.fixture(autouse=True, scope="module")
def _mechanisms_there():
    for name in ("uffd", "exclusive"):
        if fault := ladder.fault_of(name):
            pytest.skip(f"no {name} here: {fault}")


PATTERNS = {
    "nothing": [],
    "one": [7],
    "all": range(COUNT),
    "alternate": range(0, COUNT, 2),
    "scattered": sorted({(i * i * 7919) % COUNT for i in range(500)}),
    "blocks": [i for i in range(COUNT) if i // 37 % 3 == 0],
}


def assert_equal_everywhere(child):
    """Hold the whole process against its frames, not only what a test knows of."""
    written, frames = child.uffd.ledger, child.frames.ledger
    before = child.exclusive._own_before
    assert written.inherited == frames.inherited == child.exclusive.ledger.inherited
    assert frames.copied - written.copied == Pages()
    assert written.copied - before == frames.copied - before
    assert child.exclusive.ledger.copied == frames.copied - before
    assert written.end_copied - before == frames.end_copied - before
    assert written.gone == frames.gone == child.exclusive.ledger.gone


@needs_frames
@pytest.mark.parametrize("huge", [False, True], ids=["small pages", "huge pages"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_a_child_writes_is_what_changed_its_frame(pattern, huge, region, family):
    some = region(COUNT, huge=huge)
    child = family(some.actions()).born("uffd", "pfn", "exclusive")
    child.do("write", list(PATTERNS[pattern]))
    figures = child.look()
    expected = some.some(PATTERNS[pattern])
    for rung in child.rungs.values():
        assert rung.ledger.copied & some.pages == expected, rung.name
        assert rung.ledger.end_copied & some.pages == expected, rung.name
    assert_equal_everywhere(child)
    assert figures["uffd"].written_bytes == child.uffd.ledger.copied.size
    assert figures["pfn"].exact


@needs_frames
def test_huge_pages_were_huge(region):
    some = region(1024, huge=True)
    some.fill()
    with open("/proc/self/smaps", encoding="utf-8") as file:
        text = file.read()
    block = text[text.index(f"\n{some.address - some.offset:x}-") :]
    assert "AnonHugePages:         0 kB" not in block[: block.index("VmFlags")]


@needs_frames
def test_siblings_do_not_disturb_each_other(region, family):
    some = region(COUNT)
    parent = family(some.actions(), children=3)
    first = parent.born("uffd", "pfn", "exclusive", index=0)
    first.do("write", list(range(100)))
    second = parent.born("uffd", "pfn", "exclusive", index=1)
    third = parent.born("uffd", "pfn", "exclusive", index=2)
    second.do("write", list(range(50, 300)))
    first.do("write", list(range(400, 500)))
    expected = {
        first: [*range(100), *range(400, 500)],
        second: range(50, 300),
        third: [],
    }
    for child, pages in expected.items():
        child.look()
        for rung in child.rungs.values():
            assert rung.ledger.copied & some.pages == some.some(pages), rung.name
    assert_equal_everywhere(third)  # the parent was idle since it forked this one


@needs_frames
@pytest.mark.parametrize("huge", [False, True], ids=["small pages", "huge pages"])
@pytest.mark.parametrize("turns", [1, 3])
def test_pages_that_only_the_parent_writes_are_not_copied(huge, turns, region, family):
    some = region(COUNT, huge=huge)
    parent = family(some.actions())
    child = parent.born("uffd", "pfn", "exclusive")
    mine, theirs = set(range(0, COUNT, 3)), set(range(0, COUNT, 2))
    for turn in range(turns):
        parent.do("write", [i for i in theirs if i % turns == turn])
        child.do("write", [i for i in mine if i % turns == turn])
        child.look()
    written = child.uffd.ledger.copied
    changed = child.frames.ledger.copied
    assert written & some.pages == some.some(mine)
    assert changed - written == Pages()
    assert some.some(mine - theirs) - changed == Pages()
    # Of what the parent wrote first, the child had the original for itself, and the
    # kernel left it there but for few. A huge page is not given up piece by piece.
    given_up = (written - changed) & some.pages
    if not huge:
        assert given_up.count > 0.7 * len(mine & theirs)
    # And in all of the process: each such page is the child's alone.
    own = child.exclusive.ledger.copied | child.exclusive._own_before
    assert (written - changed) - own == Pages()
    # Alone, exclusive pages are an upper bound.
    exclusive = child.exclusive.ledger.copied & some.pages
    if not huge:
        assert exclusive == some.some(mine | theirs)
    assert some.some(mine) - exclusive == Pages()


@needs_frames
@pytest.mark.parametrize("huge", [False, True], ids=["small pages", "huge pages"])
def test_a_witness_keeps_what_is_exclusive_what_was_copied(huge, region, family):
    some = region(COUNT, huge=huge)
    parent = family(some.actions())
    child = parent.born("uffd", "pfn", "witness", witness=True)
    parent.do("write", list(range(0, 900, 2)))
    child.do("write", list(range(0, 1000, 3)))
    parent.do("write", list(range(500, COUNT)))
    child.look()
    expected = some.some(range(0, 1000, 3))
    for rung in child.rungs.values():
        assert rung.ledger.copied & some.pages == expected, rung.name
    # Nobody else has any of these pages, but somebody holds each original.
    assert child.uffd.ledger.copied & some.pages == expected


@needs_frames
def test_a_witness_is_exact_when_all_others_end(region, family):
    some = region(COUNT)
    parent = family(some.actions(), children=2)
    sibling = parent.born("pfn", index=1, witness=True)
    sibling.do("write", list(range(300)))
    child = parent.born("uffd", "pfn", "witness", index=0)
    child.do("write", list(range(10, 20)))
    os.kill(sibling.pid, 9)
    parent.do("write", list(range(COUNT)))
    child.look()
    for rung in child.rungs.values():
        assert rung.ledger.copied & some.pages == some.some(range(10, 20)), rung.name


@pytest.mark.slow
@needs_frames
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_patterns_that_nobody_thought_of(data, family_of_two_kinds, monkeypatch):
    small, huge, parent = family_of_two_kinds
    pages = st.sets(st.integers(0, small.count - 1), max_size=200)
    steps = data.draw(st.lists(st.tuples(st.booleans(), pages), max_size=4))
    smallest = data.draw(st.sampled_from([0, 1 << 60]), "look for changes, or at all")
    child = parent.again("uffd", "pfn", "exclusive")
    try:
        monkeypatch.setattr(uffd, "_SMALL_BYTES", smallest)
        for is_huge, numbers in steps:
            child.do("write huge" if is_huge else "write", sorted(numbers))
            if len(numbers) % 2:
                child.look()  # a reading on the way changes nothing
        child.look()
        for some, kind in ((small, False), (huge, True)):
            numbers = set().union(*(n for h, n in steps if h is kind))
            assert child.uffd.ledger.copied & some.pages == some.some(numbers)
        assert_equal_everywhere(child)
    finally:
        parent.drop(child)


@needs_frames
@pytest.mark.slow
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_many_patterns_that_nobody_thought_of(data, family_of_two_kinds, monkeypatch):
    test_patterns_that_nobody_thought_of.hypothesis.inner_test(
        data, family_of_two_kinds, monkeypatch
    )


@pytest.fixture(scope="module")
def family_of_two_kinds(module_family, region):
    small, huge = region(1024), region(1024, huge=True)
    actions = {
        "fill": small.fill,
        "fill huge": huge.fill,
        "write": small.write,
        "write huge": huge.write,
    }
    return small, huge, module_family(actions)


@pytest.mark.parametrize("count", [0, 1, 2, 511, 512, 513, COUNT])
def test_a_child_that_writes_k_pages_has_copied_k(count, region, family):
    some = region(COUNT)
    child = family(some.actions()).born("uffd", "witness", witness=True)
    # Far apart, near each other, and in no order: 7 has no common factor with COUNT.
    child.do("write", [i * 7 % COUNT for i in range(count)])
    child.look()
    for rung in child.rungs.values():
        assert (rung.ledger.copied & some.pages).count == count, rung.name


@pytest.mark.slow
@needs_frames
def test_being_read_copies_nothing(region, family):
    some = region(COUNT)
    child = family(some.actions()).born("uffd", "pfn", "exclusive", "smaps")
    child.do("write", [1, 2, 3])
    before = child.look()["pfn"]
    for _ in range(100):
        for name in ("uffd", "exclusive", "smaps"):
            child.rungs[name].read()
    assert child.look()["pfn"] == before
    assert_equal_everywhere(child)


@needs_frames
def test_being_armed_copies_nothing(region, family):
    some = region(COUNT)
    child = family(some.actions()).born("pfn", "uffd", go=False)
    figures = child.look()["pfn"]
    assert figures.inherited_bytes > COUNT * PAGE_BYTES
    assert (figures.copied_bytes, figures.new_bytes, figures.gone_bytes) == (0, 0, 0)


def test_new_memory_is_not_copied(region, family):
    grown = []

    def grow(pages):
        grown.append(region(pages))
        grown[-1].fill()

    names = ["uffd", "exclusive"] + ["pfn"] * (os.geteuid() == 0)
    child = family({"grow": grow}).born(*names)
    before = child.look()
    child.do("grow", 700)
    after = child.look()
    for name in names:
        new = (after[name].new_bytes - before[name].new_bytes) // PAGE_BYTES
        assert 700 <= new < 850, name
        copied = after[name].copied_bytes - before[name].copied_bytes
        assert copied < 300 * PAGE_BYTES, name
    assert len({after[name].new_bytes for name in names}) == 1


def test_the_sums_are_an_estimate_of_the_same(region, family):
    some = region(COUNT)
    child = family(some.actions()).born("smaps", "exclusive")
    before = child.look()["smaps"]
    child.do("write", list(range(1000)))
    after = child.look()["smaps"]
    copied = (after.copied_bytes - before.copied_bytes) // PAGE_BYTES
    assert 1000 <= copied < 1150
    assert not after.exact
    assert after.written_bytes is None
    assert after.inherited_bytes == pytest.approx(
        child.exclusive.ledger.inherited.size, rel=0.05
    )
