"""Sets of pages are what Python's sets are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_magic.memory.ledger import Ledger
from ipc_magic.memory.pages import PAGE_BYTES, Pages

NUMBERS = st.sets(st.integers(0, 60)) | st.sets(st.integers(1 << 35, (1 << 35) + 99))


def of(numbers):
    return Pages.between((n * PAGE_BYTES, (n + 1) * PAGE_BYTES) for n in numbers)


def to(pages):
    return {n for a, b in pages.runs.tolist() for n in range(a, b)}


def is_tidy(pages):
    edges = pages.runs.ravel()
    return bool((edges[1:] > edges[:-1]).all())


@given(NUMBERS, NUMBERS)
def test_the_algebra_is_that_of_sets(one, other):
    for result, expected in (
        (of(one) | of(other), one | other),
        (of(one) & of(other), one & other),
        (of(one) - of(other), one - other),
    ):
        assert to(result) == expected
        assert is_tidy(result)
        assert result.count == len(expected)
        assert result.size == len(expected) * PAGE_BYTES
    assert (of(one) == of(other)) == (one == other)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9))))
def test_ranges_may_come_in_any_order_and_overlap(ranges):
    pages = Pages.between((a * PAGE_BYTES, (a + n) * PAGE_BYTES) for a, n in ranges)
    assert to(pages) == {p for a, n in ranges for p in range(a, a + n)}
    assert is_tidy(pages)
    assert Pages.between(pages.addresses()) == pages


@given(st.integers(0, 1 << 36), st.lists(st.booleans()))
def test_flags_are_of_one_page_each(first, flags):
    pages = Pages.of_flags(first, np.array(flags, bool))
    assert to(pages) == {first + i for i, flag in enumerate(flags) if flag}
    assert is_tidy(pages)


@given(NUMBERS, st.lists(st.tuples(st.integers(0, 70), st.integers(1, 9))))
def test_ranges_that_meet_a_page_are_told(numbers, ranges):
    addresses = [(a * PAGE_BYTES, (a + n) * PAGE_BYTES) for a, n in ranges]
    assert of(numbers).meets(addresses) == [
        bool(numbers & set(range(a, a + n))) for a, n in ranges
    ]


def test_the_highest_addresses_of_the_machine_fit():
    top = 0xFFFFFFFFFF600000
    assert Pages.between([(top, top + PAGE_BYTES)]).addresses() == [
        (top, top + PAGE_BYTES)
    ]


def test_a_set_of_pages_tells_how_many_it_has():
    assert repr(of({1, 2, 5})) == "<3 pages in 2 runs>"
    assert of({1}) != {1}
    with pytest.raises(TypeError):
        hash(of({1}))


READINGS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5)


@given(NUMBERS, READINGS)
def test_a_ledger_keeps_what_any_reading_saw(inherited, readings):
    ledger = Ledger(of(inherited))
    gone, copied, own_now = set(), set(), set()
    for there, own in readings:
        held = there & inherited
        ledger.note(held=of(held), own=of(own))
        gone |= inherited - held
        own_now = (own & inherited) - gone
        copied |= own_now
    assert to(ledger.gone) == gone
    assert to(ledger.copied) == copied
    assert to(ledger.end_copied) == own_now
