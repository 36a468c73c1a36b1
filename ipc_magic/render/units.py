"""Numbers become words here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ipc_magic.render.document import Bytes, Cell, Count, Percent, Rate, Seconds

UNKNOWN = "unknown"

_SIZE_UNITS = ("KiB", "MiB", "GiB")

# Below `limit` (in the unit, after rounding) a duration is multiplied by `factor`
# and written with `decimals`. Rounding comes first, so that 999.6 us is 1.0 ms.
_DURATIONS = (
    (10, 1e6, 1, "us"),
    (1000, 1e6, 0, "us"),
    (100, 1e3, 1, "ms"),
    (1, 1, 2, "s"),
    (120, 1, 1, "s"),
)


_SUM_UNITS = ((1e6, "us"), (1e3, "ms"))


def words(cell: Cell) -> str:
    """Say what stands in one cell of a table."""
    match cell:
        case Bytes(value):
            return size(value)
        case Seconds(value):
            return duration(value)
        case Count(value):
            return count(value)
        case Percent(value):
            return percent(value)
        case Rate(value):
            return rate(value)
        case _:
            return cell


def size(value: int | None) -> str:
    """Say an amount of bytes: `512 B`, `80.2 KiB`, `762.9 MiB`, `14.0 GiB`."""
    if value is None:
        return UNKNOWN
    if value < 0:
        return f"-{size(-value)}"
    if value < 1024:
        return f"{value} B"
    number = ""
    for power, unit in enumerate(_SIZE_UNITS, start=1):
        number = f"{value / 1024**power:.1f}"
        if float(number) < 1024:
            return f"{number} {unit}"
    return f"{float(number):,.1f} GiB"


def rate(value: float | None) -> str:
    """Say an amount of bytes in a second: `5.2 GiB/s`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{size(round(value))}/s"


def size_of_whole(part: int, whole: int) -> str:
    """Say a part and its whole: `10.8 of the 14.0 GiB`."""
    return f"{_without_unit(size(part), size(whole))} of the {size(whole)}"


def size_sum(first: int, times: int, each: int) -> str:
    """Say a sum in one unit where it has one: `14.0 + 8 x 10.8 = 100.4 GiB`."""
    together = size(first + times * each)
    said = [_without_unit(size(part), together) for part in (first, each)]
    if not all(part[-1].isdigit() for part in said):
        said = [size(first), size(each)]
    return f"{said[0]} + {count(times)} x {said[1]} = {together}"


def _without_unit(said: str, beside: str) -> str:
    number, _, unit = said.partition(" ")
    return number if unit == beside.partition(" ")[2] else said


def duration(value: float | None) -> str:
    """Say a time: `12 us`, `2.1 ms`, `0.15 s`, `12.4 s`, `3 min 20 s`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 0:
        return f"-{duration(-value)}"
    if value == 0:
        return "0 s"
    if value < 0.05e-6:
        return "<0.1 us"
    for limit, factor, decimals, unit in _DURATIONS:
        number = f"{value * factor:.{decimals}f}"
        if float(number) < limit:
            # 0.3 s beside 0.15 s: the second decimal is for the short ones only.
            shown = number.removesuffix("0") if decimals == 2 else number
            return f"{shown} {unit}"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{hours:,} h {minutes} min"


def durations(parts: Sequence[tuple[str, float | None]]) -> str:
    """Say a sum of times in one unit: `dump 216 + across 7 + load 325 ms`.

    The largest has three digits; what rounds to nothing is `<1`.
    """
    known = [abs(value) for _, value in parts if value is not None]
    most = max(filter(math.isfinite, known), default=0.0)
    factor, unit = next(
        ((factor, unit) for factor, unit in _SUM_UNITS if most * factor < 999.5),
        (1, "s"),
    )
    decimals = 0 if most * factor >= 99.95 else 1 if most * factor >= 9.995 else 2
    step = 10.0**-decimals
    said = []
    for word, value in parts:
        if value is None or not math.isfinite(value):
            said.append(f"{word} {UNKNOWN}")
        elif 0 < value * factor < step / 2:
            said.append(f"{word} <{step:.{decimals}f}")
        elif value == 0:
            said.append(f"{word} 0")
        else:
            said.append(f"{word} {value * factor:,.{decimals}f}")
    return f"{' + '.join(said)} {unit}"


def count(value: int | None) -> str:
    """Say how many: `107,374,182`."""
    return UNKNOWN if value is None else f"{value:,}"


def percent(value: float | None) -> str:
    """Say a fraction: `77 %`; a trace is not 0 %, nor almost all 100 %."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    hundredths = 100 * value
    if 0 < hundredths < 0.05:
        return "<0.1 %"
    if 99.95 <= hundredths < 100:
        return ">99.9 %"
    if 0 < hundredths < 0.95 or 99 < hundredths < 100:
        return f"{hundredths:.1f} %"
    return f"{hundredths:,.0f} %"


def plural(number: int, one: str, many: str | None = None) -> str:
    """Say a count with its noun: `1 thread`, `9 threads`, `8 children`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def size_option(value: int) -> str:
    """Write a size as one types it after an option, exact: `64 MiB`, `1.5 GiB`."""
    for power, unit in reversed(list(enumerate(_SIZE_UNITS, start=1))):
        number = round(value / 1024**power, 3)
        if number >= 1 and number * 1024**power == value:
            return f"{_shortest(number)} {unit}"
    return f"{value} B"


def seconds_option(value: float) -> str:
    """Write seconds as one types them after an option, exact: `60`, `0.5`."""
    return _shortest(value)


def _shortest(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)
