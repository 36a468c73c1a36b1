"""Numbers become words that are true to within their rounding."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_magic.render import units
from ipc_magic.render.document import Bytes, Count, Percent, Seconds

FACTORS: dict[str, float] = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
}

sizes = st.integers(min_value=0, max_value=2**60)
durations = st.floats(min_value=1e-7, max_value=1e7) | st.floats(0.0005, 200)


def read(text: str) -> float:
    """Return what the words say, in bytes or seconds."""
    parts = text.replace(",", "").split()
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return sum((float(number) * FACTORS[unit] for number, unit in pairs), 0.0)


def last_digit(text: str) -> float:
    """Return what one step of the last digit is worth."""
    number, unit = text.replace(",", "").split()[-2:]
    decimals = len(number.partition(".")[2])
    return FACTORS[unit] / math.pow(10, decimals)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (80 * 1024 + 205, "80.2 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (800_000_000, "762.9 MiB"),
        (14 * 2**30, "14.0 GiB"),
        (5 * 2**40, "5,120.0 GiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_sizes(value: int | None, said: str) -> None:
    assert units.size(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (math.nan, "unknown"),
        (0.0, "0 s"),
        (1e-9, "<0.1 us"),
        (2.14e-6, "2.1 us"),
        (12e-6, "12 us"),
        (999.6e-6, "1.0 ms"),
        (0.0021, "2.1 ms"),
        (0.09996, "0.1 s"),
        (0.15, "0.15 s"),
        (0.3, "0.3 s"),
        (0.996, "1.0 s"),
        (12.4, "12.4 s"),
        (60.0, "60.0 s"),
        (119.96, "2 min 0 s"),
        (200.0, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7500.0, "2 h 5 min"),
        (-0.15, "-0.15 s"),
    ],
)
def test_durations(value: float | None, said: str) -> None:
    assert units.duration(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (0.0, "0 %"),
        (0.0001, "<0.1 %"),
        (0.004, "0.4 %"),
        (0.03, "3 %"),
        (0.771, "77 %"),
        (0.997, "99.7 %"),
        (0.9999, ">99.9 %"),
        (1.0, "100 %"),
        (12.5, "1,250 %"),
    ],
)
def test_percents(value: float | None, said: str) -> None:
    assert units.percent(value) == said


def test_counts_have_thousands_separators() -> None:
    assert units.count(107_374_182) == "107,374,182"
    assert units.count(None) == "unknown"
    assert units.plural(1, "thread") == "1 thread"
    assert units.plural(1200, "child", "children") == "1,200 children"


def test_a_cell_is_said_by_its_unit() -> None:
    cells = (Bytes(512), Seconds(0.15), Count(1000), Percent(0.5), "as it is")
    said = [units.words(cell) for cell in cells]
    assert said == ["512 B", "0.15 s", "1,000", "50 %", "as it is"]


def test_sizes_side_by_side_share_their_unit() -> None:
    assert units.size_of_whole(11 << 30, 14 << 30) == "11.0 of the 14.0 GiB"
    assert units.size_of_whole(20 << 20, 14 << 30) == "20.0 MiB of the 14.0 GiB"
    assert units.size_sum(14 << 30, 8, 11 << 30) == "14.0 + 8 x 11.0 = 102.0 GiB"
    said = units.size_sum(14 << 30, 8, 1 << 20)
    assert said == "14.0 GiB + 8 x 1.0 MiB = 14.0 GiB"


@given(sizes, sizes)
def test_a_larger_size_never_reads_smaller(one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert read(units.size(small)) <= read(units.size(large))


@given(sizes)
def test_a_size_is_wrong_by_its_last_digit_at_most(value: int) -> None:
    said = units.size(value)
    assert abs(read(said) - value) <= 0.51 * last_digit(said)


@given(durations, durations)
def test_a_longer_time_never_reads_shorter(one: float, other: float) -> None:
    short, long = sorted((one, other))
    slack = 1 + 1e-12  # 1000 us and 1 ms differ in the last bit once multiplied
    assert read(units.duration(short)) <= read(units.duration(long)) * slack


@given(durations)
def test_a_time_is_wrong_by_its_last_digit_at_most(value: float) -> None:
    said = units.duration(value)
    assert abs(read(said) - value) <= 0.51 * last_digit(said)


@given(sizes)
def test_a_size_typed_after_an_option_is_exact(value: int) -> None:
    number, unit = units.size_option(value).split()
    assert float(number) * FACTORS[unit] == float(value)


def test_what_is_typed_after_an_option_is_short() -> None:
    said = [units.size_option(n) for n in (64 * 2**20, 3 * 2**29, 2**30, 500_000, 0)]
    assert said == ["64 MiB", "1.5 GiB", "1 GiB", "500000 B", "0 B"]
    assert [units.seconds_option(n) for n in (60, 60.0, 0.5)] == ["60", "60", "0.5"]
