"""The declared options: their values, defaults, help, completion and tables."""

from __future__ import annotations

import math
import re
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_magic import options
from ipc_magic.arguments import Option
from ipc_magic.errors import OptionError
from ipc_magic.options import (
    FLAG,
    INPROCESS,
    MAGICS,
    SHARED,
    complete,
    parse,
    parse_seconds,
    parse_size,
    table,
    usage,
    with_defaults,
)

FLAGS = [flag for option in MAGICS["inprocess"] for flag in option.flags]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500_000", 500_000),
        ("64 MiB", 64 * 2**20),
        ("64MiB", 64 * 2**20),
        ("64mib", 64 * 2**20),
        (" 1.5 GiB ", 3 * 2**29),
        (".5 KiB", 512),
        ("2 TiB", 2**41),
        ("1kB", 1000),
        ("1 KB", 1000),
        ("1 MB", 10**6),
        ("1 GB", 10**9),
        ("1 TB", 10**12),
        ("7 B", 7),
        ("1e9", 10**9),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert type(parse_size(text)) is int


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MiB",
        "-1",
        "+1",
        "1 M",
        "1 Mib B",
        "1,5 MiB",
        "0x10",
        "1__0",
        "_1",
        "1_",
        "nan",
        "inf",
        "9223372036854775808",
        "9" * 5000,
        "1e99",
        "1e999999999",
        "٣",
    ],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(OptionError, match="a size is bytes, as in 500_000 or 64MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60.0),
        ("1.5", 1.5),
        (".25", 0.25),
        ("90 s", 90.0),
        ("90s", 90.0),
        ("2min", 120.0),
        ("1.5 h", 5400.0),
        ("1e-3", 0.001),
        ("8760 h", 31_536_000.0),
    ],
)
def test_seconds(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds
    assert type(parse_seconds(text)) is float


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0.0",
        "-1",
        "nan",
        "inf",
        "-inf",
        "potato",
        "2 m",
        "2 ms",
        "8761 h",
        "9" * 5000,
        "1e99",
        "0." + 400 * "0" + "1",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(OptionError, match="a time is seconds above 0"):
        parse_seconds(text)


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_bytes_are_exact(size: int) -> None:
    assert parse_size(str(size)) == parse_size(f"{size:_} B") == size


@given(st.floats(min_value=1e-9, max_value=3e7))
def test_seconds_are_the_float_that_was_typed(seconds: float) -> None:
    assert parse_seconds(repr(seconds)) == seconds


def test_defaults_of_inprocess() -> None:
    assert with_defaults("inprocess", {}, {}) == {
        "save": None,
        "quiet": False,
        "verbose": False,
        "children": 1,
        "out": (),
        "timeout": None,
        "memory": None,
        "keep_free": 2**30,
        "mechanism": None,
        "bg": None,
        "fetch": (),
        "drop": False,
        "no_raise_error": False,
        "threads": None,
    }


def test_given_beats_configured_beats_declared() -> None:
    config = {"keep_free": "2 GiB", "timeout": 90, "threads": "keep", "memory": None}
    given_here = parse("inprocess", "-t 5 -o a", cell=True).options
    values = with_defaults("inprocess", given_here, config)
    assert values["keep_free"] == 2**31
    assert values["timeout"] == 5.0
    assert values["threads"] == "keep"
    assert values["memory"] is None
    assert values["out"] == ("a",)
    assert with_defaults("inprocess", {}, config)["timeout"] == 90.0
    assert with_defaults("inprocess", {}, {"keep_free": 0})["keep_free"] == 0


def test_settings_that_are_no_option_default_are_left_alone() -> None:
    config = {"report": "full", "save": "r", "children": 0}
    assert with_defaults("inprocess", {}, config) == with_defaults("inprocess", {}, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [("keep_free", "much"), ("timeout", math.nan), ("threads", True), ("memory", 0)],
)
def test_a_bad_setting_is_named(name: str, value: object) -> None:
    with pytest.raises(OptionError) as caught:
        with_defaults("inprocess", {}, {name: value})
    message = str(caught.value)
    assert message.startswith(f"IPCMagics.{name} takes ")
    assert message.endswith(f", not '{value}'")


def test_a_flag_can_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    live = Option(flags=("--live",), kind=FLAG, help="show it live", config="live")
    monkeypatch.setattr(options, "MAGICS", MappingProxyType({"watch": (live,)}))
    assert with_defaults("watch", {}, {}) == {"live": False}
    assert with_defaults("watch", {}, {"live": True}) == {"live": True}
    assert with_defaults("watch", {}, {"live": False}) == {"live": False}
    with pytest.raises(OptionError, match=r"IPCMagics\.live takes True or False"):
        with_defaults("watch", {}, {"live": "maybe"})


@pytest.mark.parametrize("magic", sorted(MAGICS))
def test_flags_and_names_of_a_magic_are_unlike(magic: str) -> None:
    flags = [flag for option in MAGICS[magic] for flag in option.flags]
    assert len(set(flags)) == len(flags)
    for option in MAGICS[magic]:
        assert re.fullmatch(r"--[a-z]+(-[a-z]+)*", option.flags[-1])
        assert all(re.fullmatch("-[a-z]", flag) for flag in option.flags[:-1])
        assert option.name.isidentifier()
        assert option.takes_value != (option.kind is FLAG)
        assert option.excludes is None or option.excludes in flags


@pytest.mark.parametrize("magic", sorted(MAGICS))
def test_usage_and_table_tell_every_option_in_its_own_line(magic: str) -> None:
    for option in MAGICS[magic]:
        first = ", ".join(option.flags)
        if option.metavar:
            first += f" {option.metavar}"
        lines = usage(magic).splitlines()
        assert sum(line.startswith(f"  {first}") for line in lines) == 1
        rows = table(magic).splitlines()
        assert sum(row.startswith(f"| `{first}") for row in rows) == 1
        assert option.help in " ".join(usage(magic).split())
        assert option.help in table(magic)


def test_usage_is_eighty_columns_wide() -> None:
    lines = usage("inprocess").splitlines()
    assert lines[:2] == [
        "usage: %inprocess [options] expression",
        "       %%inprocess [options]",
    ]
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    assert any(line.endswith("(default: 1 GiB)") for line in lines)
    assert lines[-1].endswith("sets defaults: timeout, memory, keep_free, threads.")


def test_a_table_has_two_cells_a_row() -> None:
    rows = table("inprocess").splitlines()
    assert rows[:2] == ["| option | meaning |", "| --- | --- |"]
    assert len(rows) == 2 + len(SHARED) + len(INPROCESS)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
    assert any(row.startswith(r"| `--threads N\|keep` |") for row in rows)


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("", FLAGS),
        ("-", FLAGS),
        ("--", [flag for flag in FLAGS if flag.startswith("--")]),
        ("--ch", ["--children"]),
        ("--keep-free", ["--keep-free"]),
        ("-n 2 --mem", ["--memory"]),
        ("--memory 64 MiB --ch", ["--children"]),
        ("--memory '64 MiB' -t 5 s --ch", ["--children"]),
        ("-n8 --c", []),
        ("-n 2 -", [flag for flag in FLAGS if flag not in ("-n", "--children")]),
        ("-o a --o", ["--out"]),
        ("--threads ", ["keep"]),
        ("--threads k", ["keep"]),
        ("--threads 2", []),
        ("-n ", []),
        ("-n --ch", []),
        ("--save r", []),
        ("f(x", []),
        ("f(x) --ch", []),
        ("-n 2 f(x) -", []),
        ("-x -", []),
        ("-- --ch", []),
    ],
)
def test_completion(line: str, fits: list[str]) -> None:
    assert complete("inprocess", line) == fits
