"""What `%pickle_cost` says of every kind of object, at its three levels."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ipc_magic.render import html, text
from ipc_magic.results import Finding, Setting, pickle_cost_notes
from ipc_magic.results.pickle_cost import (
    Alternative,
    Captured,
    NotLoaded,
    Offender,
    Part,
    PickleCost,
    Protocol,
    Skipped,
    Transport,
    TypeRow,
)

SETTING = Setting(
    python="3.11.7", system="Linux 6.18", start_method="fork", parent_threads=9
)
USUAL = "pickle protocol 4 (multiprocessing's default here) | Python 3.11, Linux 6.18"
TOTAL = 21_763_067
SEND_IT = "move it to the top level of a module, or use cloudpickle"
NEW_ONE = "leave it out in __getstate__, make a new one in __setstate__"
PARTS = (
    Part(path="model.vocab", type="dict of 9 str -> int", bytes=13_761_459, depth=1),
    Part(path="model.weights", type="ndarray, 8 f8", bytes=8_000_139, depth=1),
    Part(path="model", type="9 more: int", bytes=1_384, depth=1, row="rest", count=9),
    Part(path="model", type="itself", bytes=85, depth=1, row="itself"),
)
PIPE = Transport(
    name="pipe",
    pickled_bytes=TOTAL,
    buffer_bytes=0,
    wire_bytes=TOTAL + 8,
    first_seconds=0.7,
    round_trip_seconds=(0.565, 0.6, 0.581, 0.57, 0.59),
    dump_seconds=0.216,
    transport_seconds=0.007,
    load_seconds=0.325,
    reply_seconds=0.017,
)


def cost(**fields: Any) -> PickleCost:
    """Return the result for an object that can be sent."""
    sendable: dict[str, Any] = {
        "expression": "model",
        "type": "Model",
        "deep_size_bytes": 66_794_291,
        "protocol": 4,
        "usual_protocol": 4,
        "pickled_bytes": TOTAL,
        "buffer_bytes": 0,
        "dump_seconds": (0.22, 0.2),
        "load_seconds": (0.3,),
        "transports": (PIPE,),
        "parts": PARTS,
    }
    return PickleCost(setting=SETTING, **{**sendable, **fields})


def in_the_way(*offenders: Offender, **fields: Any) -> PickleCost:
    """Return the result for an object that cannot be dumped."""
    unknown: dict[str, Any] = {
        "pickled_bytes": None,
        "buffer_bytes": None,
        "dump_seconds": (),
        "load_seconds": (),
        "transports": (),
        "parts": (),
    }
    return cost(**{**unknown, "offenders": offenders, **fields})


def offender(path: str, kind: str = "lambda", **fields: Any) -> Offender:
    lambdas = {"stage": "dump", "reason": "cannot pickle it", "advice": SEND_IT}
    return Offender(path=path, type=kind, **{**lambdas, **fields})


def lock(path: str) -> Offender:
    return offender(path, "_thread.lock", advice=NEW_ONE)


def failing(path: str, reason: str) -> Offender:
    return offender(path, "MyError", stage="load", reason=reason, advice="do this")


def function(**fields: Any) -> PickleCost:
    itself = Part(path="score", type="itself", bytes=34, depth=1, row="itself")
    small = {"expression": "score", "type": "function", "pickled_bytes": 34}
    return cost(**{**small, "deep_size_bytes": None, "parts": (itself,), **fields})


def alternative(what: str, pickled: int, seconds: float | None, **fields: Any) -> Any:
    return Alternative(what=what, pickled_bytes=pickled, seconds=seconds, **fields)


WAYS = (
    alternative("as it is", 368_931, 0.0046, note="through a Pipe"),
    alternative("protocol 5, buffers out of band", 163, 0.0073, buffer_bytes=800_000),
    alternative("shared_memory", 368_931, 0.0067),
    # The fastest trip, but not once it is made and made into a list again.
    alternative(
        "a numpy array", 800_163, 0.0001, made_seconds=0.008, back_seconds=0.006
    ),
    alternative(
        "an array.array", 800_053, 0.002, made_seconds=0.001, back_seconds=0.001
    ),
    alternative("an inherited global", 0, 0.00018),
    alternative("to 8 workers", 2_951_448, None, memory_bytes=2**29, note="8 copies"),
)


def plain(of: PickleCost) -> PickleCost:
    """Check what holds of every report, and hand the result on."""
    for level in ("line", "short", "full"):
        document = of.document(level)
        drawn = text.render(document)
        page = re.sub("(?s)<style>.*?</style>|<[^>]*>", " ", html.render(document))
        assert re.findall(r"\d+", drawn) == re.findall(r"\d+", unescape(page))
        assert of.headline.startswith(drawn.splitlines()[0])
        if level != "full":
            assert len(drawn.splitlines()) <= 15
            assert max(map(len, drawn.splitlines())) <= 80
            assert len(html.render(document).encode()) < 10_000
    return of


def test_an_object_that_can_be_sent() -> None:
    assert (
        str(plain(cost()))
        == f"""\
`model` is 20.8 MiB pickled; to a child and back by Pipe takes 0.56 s.
63 % of it is model.vocab.

  path             bytes   share  type
  model       21,763,067   100 %  Model
    .vocab    13,761,459    63 %  dict of 9 str -> int
    .weights   8,000,139    37 %  ndarray, 8 f8
    rest           1,469  <0.1 %  9 parts

dump 216 + across 7 + load 325 + reply 17 ms | min of 5, median 0.58 s
in memory 63.7 MiB, again in each process that receives it
inherited by a forked child instead: 0 B sent
next: %pickle_cost --compare model
{USUAL}"""
    )


def test_what_cannot_be_pickled_comes_first_with_advice_that_is_not_cut() -> None:
    offenders = (lock("model.layers[1]['conn'].lock"), offender("model.on_batch"))
    case = in_the_way(
        *offenders, without_offenders_bytes=TOTAL, cloudpickle_offenders=1
    )
    assert (
        str(plain(case))
        == f"""\
`model` cannot be pickled: 2 objects block it. Without them: 20.8 MiB.

  path                          type
  model.layers[1]['conn'].lock  _thread.lock
  model.on_batch                lambda

_thread.lock: {NEW_ONE}
lambda: {SEND_IT}
cloudpickle is blocked by 1 of the 2.
next: %pickle_cost --pickler cloudpickle model
{USUAL}"""
    )


def test_short_advice_stands_in_the_table() -> None:
    view = offender("m.x", "memoryview", advice="send bytes(...) of it")
    assert (
        str(plain(in_the_way(view, without_offenders_bytes=12)))
        == f"""\
`model` cannot be pickled: 1 object blocks it. Without it: 12 B.

  path  type        what to do
  m.x   memoryview  send bytes(...) of it

{USUAL}"""
    )


def test_many_offenders_of_one_type_are_advised_once() -> None:
    every = [lock(f"model.locks[{n}].of_something_with_a_long_name") for n in range(40)]
    drawn = str(plain(in_the_way(*every)))
    assert "40 objects block it." in drawn
    assert "36 more" in drawn
    assert drawn.count(NEW_ONE) == 1


@pytest.mark.parametrize(
    ("left", "said", "is_next"),
    [
        (0, "cloudpickle can pickle all of them.", True),
        (1, "cloudpickle is blocked by 1 of the 2.", True),
        (2, "cloudpickle cannot pickle them either.", False),
        (None, None, True),  # not tried, but the advice names it
    ],
)
def test_cloudpickle_is_next_where_it_helps(
    left: int | None, said: str | None, is_next: bool
) -> None:
    case = in_the_way(lock("model.a"), offender("model.b"), cloudpickle_offenders=left)
    drawn = str(plain(case))
    assert said is None or said in drawn
    assert ("next: %pickle_cost --pickler cloudpickle model" in drawn) is is_next
    assert "next:" not in str(replace(case, pickler="cloudpickle", protocol=5))
    assert "next:" not in str(replace(case, from_magic=False))


def test_an_object_that_is_itself_in_the_way_needs_no_table() -> None:
    assert str(plain(in_the_way(lock("model")))).splitlines() == [
        "`model` (_thread.lock) cannot be pickled.",
        NEW_ONE,
        USUAL,
    ]
    inside = in_the_way(lock("(a or b)"), expression="a or b")
    assert inside.headline == "`a or b` (_thread.lock) cannot be pickled."


def test_a_dump_that_ends_its_process() -> None:
    case = in_the_way(dump_error="the dump ended the process: SIGSEGV")
    assert str(plain(case)).splitlines() == [
        "`model` cannot be pickled: the dump ended the process: SIGSEGV.",
        USUAL,
    ]


def test_a_reason_brings_no_second_full_stop() -> None:
    said = "`model` cannot be pickled: ValueError: too bad."
    assert in_the_way(dump_error="ValueError: too bad.").headline == said


def test_what_pickles_and_cannot_be_loaded_says_why() -> None:
    one = failing("model.err", "TypeError: 1 argument is missing")
    case = cost(offenders=(one,), transports=(), load_seconds=(), parts=())
    assert (
        str(plain(case))
        == f"""\
`model` is 20.8 MiB pickled but cannot be loaded: 1 object fails.

  path       type     why
  model.err  MyError  TypeError: 1 argument is missing

dump 0.2 s (min of 2, median 0.21 s)
{USUAL}"""
    )
    reason = "TypeError: " + "many words " * 9
    long = cost(offenders=(replace(one, reason=reason),), transports=())
    assert reason.strip() in " ".join(str(plain(long)).split())
    itself = cost(offenders=(replace(one, path="model"),), transports=())
    assert itself.headline == (
        "`model` is 20.8 MiB pickled but cannot be loaded: "
        "TypeError: 1 argument is missing."
    )


def test_a_load_that_ends_its_process() -> None:
    ended = "the load ended the process: SIGSEGV"
    case = cost(load_error=ended, load_seconds=(), transports=(), parts=())
    assert plain(case).headline == (
        f"`model` is 20.8 MiB pickled but cannot be loaded: {ended}."
    )
    unknown = replace(case, pickled_bytes=None, load_error="x")
    assert unknown.headline == "`model` can be pickled but cannot be loaded: x."


def test_what_blocks_the_dump_does_not_hide_what_fails_at_load() -> None:
    case = in_the_way(lock("model.a"), failing("model.b", "E"))
    assert case.headline == (
        "`model` cannot be pickled: 1 object blocks it, and 1 could not be loaded."
    )
    assert "MyError, at load" in str(plain(case))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {
                "by_name_bytes": 34,
                "spawned_has_it": False,
                "by_value_bytes": 8_000_000,
                "captured": (Captured(name="BIG", bytes=7_999_000),),
                "captured_rest_bytes": 1_000,
            },
            (
                "`score` is 34 B by name (pickle): a forked worker has it, a spawned "
                "one does not. By value (cloudpickle; joblib, dask) it is 7.6 MiB, of "
                "which BIG 7.6 MiB."
            ),
        ),
        (
            {"by_name_bytes": 34, "spawned_has_it": True},
            (
                "`score` is 34 B by name (pickle): a forked worker has it, "
                "a spawned one too."
            ),
        ),
        (
            {"by_name_bytes": 34},
            "`score` is 34 B by name (pickle): a forked worker has it.",
        ),
        (
            {"by_name_bytes": 2820, "self_bytes": 2773, "spawned_has_it": False},
            (
                "`score` is 2.8 KiB by name (pickle), 2.7 KiB of it its `self`: "
                "a forked worker has it, a spawned one does not."
            ),
        ),
        (
            {
                "by_value_bytes": 470,
                "captured": (Captured(name="small", bytes=7),),
                "offenders": (offender("score"),),
            },
            (
                "`score` cannot be pickled by name. "
                "By value (cloudpickle; joblib, dask) it is 470 B."
            ),
        ),
        (
            {"by_value_bytes": 470, "offenders": (lock("score.__globals__['x']"),)},
            "`score` cannot be pickled: 1 object blocks it.",
        ),
        (
            {"by_value_bytes": 470, "dump_error": "the dump did what it did"},
            "`score` cannot be pickled: the dump did what it did.",
        ),
    ],
)
def test_functions_go_by_name_and_by_value(fields: dict[str, Any], said: str) -> None:
    assert plain(function(**fields)).headline == said


def test_what_goes_along_with_a_function_sums_up() -> None:
    captured = [Captured(name=f"name_{n}", bytes=1000 * n) for n in range(1, 10)]
    case = function(
        by_name_bytes=34,
        by_value_bytes=45_473,
        captured=captured,
        captured_rest_bytes=473,
    )
    drawn = str(plain(case))
    table = re.findall(
        r"^  (?:name_\d|\d more|code.*?) +([\d,]+) ", drawn, re.MULTILINE
    )
    assert len(table) == 6
    assert sum(int(figure.replace(",", "")) for figure in table) == 45_473


def test_what_is_too_large_is_only_counted() -> None:
    case = cost(
        expression="words",
        pickled_bytes=7_838_315_315,
        deep_size_bytes=12_992_276_070,
        dump_seconds=(),
        load_seconds=(),
        transports=(),
        parts=(),
        not_loaded=NotLoaded(needed_bytes=29 * 2**30, free_bytes=17 * 2**30),
    )
    said = (
        "`words` (12.1 GiB): bytes counted, 7.3 GiB pickled. Not loaded, not sent: "
        "that needs about 29.0 GiB, 17.0 GiB are free (--force)."
    )
    assert plain(case).headline == said
    assert replace(case, from_magic=False).headline == said.replace(
        "--force", "force=True"
    )
    unknown = replace(case, not_loaded=NotLoaded(needed_bytes=None, free_bytes=None))
    assert unknown.headline.endswith("7.3 GiB pickled. Not loaded, not sent.")


def test_the_fastest_way_is_marked_conversions_included() -> None:
    missing = Skipped(what="an Arrow array", reason="pyarrow is not installed")
    drawn = str(plain(cost(alternatives=WAYS, skipped=(missing,))))
    assert (
        drawn
        == f"""\
`model` is 20.8 MiB pickled; to a child and back by Pipe takes 0.56 s.
Of 6 ways measured, the fastest is an array.array: 4.0 ms, as it is 4.6 ms. Kept
as a numpy array it takes 100 us.

  sent as                              bytes  round trip  convert
  as it is                         360.3 KiB      4.6 ms
  protocol 5, buffers out of band  781.4 KiB      7.3 ms
  shared_memory                    360.3 KiB      6.7 ms
  a numpy array                    781.4 KiB      100 us  14.0 ms
  an array.array                   781.3 KiB      2.0 ms   2.0 ms  fastest
  an inherited global                    0 B      180 us

to 8 workers: 8 copies, 2.8 MiB pickled, 512.0 MiB in memory
left out: an Arrow array (pyarrow is not installed)
{USUAL}"""
    )


def test_sending_it_as_it_is_may_be_the_fastest() -> None:
    case = plain(cost(alternatives=WAYS[:3]))
    none = "Of 3 ways measured, none is clearly faster than sending it as it is."
    assert none in case.headline
    assert "Kept" not in case.headline
    close = cost(alternatives=(WAYS[0], replace(WAYS[1], seconds=0.0044)))
    assert "none is clearly faster" in close.headline
    assert "convert" not in str(case)  # nothing was converted
    assert re.search(r"  as it is .* fastest$", str(case), re.MULTILINE)


def test_all_protocols_in_one_table() -> None:
    every = [
        Protocol(
            protocol=number,
            pickled_bytes=1000 - number,
            buffer_bytes=None if number < 5 else 900,
            dump_seconds=0.1,
            load_seconds=0.1 * (6 - number),
        )
        for number in range(6)
    ]
    drawn = str(plain(cost(protocols=every)))
    assert "Protocol 5 is the smallest and the fastest." in drawn
    rows = re.findall(r"^  (\d) +(\d+) B", drawn, re.MULTILINE)
    assert rows == [(str(n), str(1000 - n)) for n in range(6)]
    every[0] = Protocol(protocol=0, error="a __reduce_ex__ that knows no protocol 0")
    every[5] = replace(every[5], pickled_bytes=2000)
    drawn = str(plain(cost(protocols=every)))
    assert "Protocol 4 is the smallest, protocol 5 the fastest." in drawn
    assert re.search(r"^  0 +unknown .*a __reduce_ex__", drawn, re.MULTILINE)


def test_several_transports_have_a_row_each() -> None:
    names = [
        "pipe",
        "queue",
        "simple_queue",
        "manager",
        "unix_socket",
        "shared_memory",
        "process_pool_executor",
        "pool",
        "loky",
    ]
    trips = [
        replace(PIPE, name=name, round_trip_seconds=(0.9 - 0.05 * n, 2.0))
        for n, name in enumerate(names)
    ]
    left_out = Finding(code="left_out", message="joblib left out: not installed")
    drawn = str(plain(cost(transports=trips, findings=(left_out,))))
    assert drawn.splitlines()[0] == (
        "`model` is 20.8 MiB pickled; round trip 0.5 s (loky) to 0.9 s (Pipe)."
    )
    assert re.findall(r"^  ([a-z_]+) +20.8 MiB", drawn, re.MULTILINE) == names
    assert "joblib left out: not installed" in drawn
    assert drawn.splitlines()[-1] == USUAL


def test_a_table_too_wide_loses_its_last_columns_and_no_name() -> None:
    name = "process_pool_executor"
    hours: Any = {f"{phase}_seconds": 5000.5 for phase in ("dump", "transport", "load")}
    trips = [replace(PIPE, name=name, **hours), PIPE]
    drawn = str(plain(cost(transports=trips)))
    assert re.search(rf"^  {name} +20.8 MiB .* 1 h 23 min$", drawn, re.MULTILINE)
    assert "  reply" not in drawn
    assert "  reply" in str(cost(transports=(replace(PIPE, name=name), PIPE)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"transports": ()},
            "`model` is 20.8 MiB pickled; dump 0.2 s, load 0.3 s.",
        ),
        (
            {"transports": (), "load_seconds": ()},
            "`model` is 20.8 MiB pickled; dump 0.2 s.",
        ),
        (
            {"transports": (), "load_seconds": (), "dump_seconds": ()},
            "`model` is 20.8 MiB pickled.",
        ),
        ({"pickled_bytes": None}, "The pickled size of `model` is unknown; to a child"),
        (
            {"pickler": "dill", "transports": ()},
            "`model` is 20.8 MiB pickled by dill; dump 0.2 s",
        ),
        (
            {"expression": "model['a very long key'].layers[3]['cache'].data"},
            "`model['a v...ache'].data` is 20.8 MiB",
        ),
    ],
)
def test_what_is_not_known_is_left_out(fields: dict[str, Any], said: str) -> None:
    assert plain(cost(**fields)).headline.startswith(said)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"deep_size_bytes": 65_000, "pickled_bytes": 130_000}, "again in each"),
        ({"deep_size_bytes": 65_000, "pickled_bytes": 27_000_000}, "at least 63.5 KiB"),
        ({"deep_size_bytes": 50, "pickled_bytes": 1000}, "again in each"),
        ({"deep_size_bytes": 0}, None),
    ],
)
def test_what_code_in_c_keeps_is_not_said_to_be_seen(
    fields: dict[str, Any], said: str | None
) -> None:
    found = pickle_cost_notes.in_memory(cost(**fields))
    assert found is None if said is None else said in str(found)


def a_part(path: str, size: int, depth: int, **fields: Any) -> Part:
    return Part(path=path, type="list", bytes=size, depth=depth, **fields)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        # The innermost one that holds half of the whole.
        (
            [
                a_part("m.a", 900, 1),
                a_part("m.a[0]", 800, 2),
                a_part("m.a[0].b", 300, 3),
            ],
            "80 % of it is m.a[0].",
        ),
        (
            [a_part("m.a", 300, 1), a_part("m.b", 200, 1)],
            "The largest part is m.a: 30 %.",
        ),
        ([a_part("m.a", 90, 1)], None),
        ([a_part("m", 1000, 1, row="itself")], None),
        ([], None),
    ],
)
def test_the_part_to_blame(parts: list[Part], said: str | None) -> None:
    case = cost(expression="m", parts=parts, pickled_bytes=1000, transports=())
    behind = case.headline.partition("load 0.3 s.")[2].strip()
    assert behind == (said or "")


def test_what_is_inside_stands_below_with_its_own_path() -> None:
    parts = (
        a_part("(a + b).x", 900, 1),
        a_part("(a + b).x['key']", 890, 2),
        a_part("(a + b).x['key'][0]", 880, 3),
        a_part("(a + b).x['key'][1]", 8, 3),
        a_part("(a + b)", 100, 1, row="itself"),
    )
    drawn = str(plain(cost(expression="a + b", pickled_bytes=1000, parts=parts)))
    table = [line.split()[:2] for line in drawn.splitlines()[3:9]]
    assert table == [
        ["path", "bytes"],
        ["(a", "+"],
        [".x", "900"],
        [".x['key']", "890"],
        [".x['key'][0]", "880"],
        ["rest", "100"],
    ]


def test_without_large_parts_the_types_tell() -> None:
    types = (
        TypeRow(type="str", count=1_000_000, bytes=20_000_000),
        TypeRow(type="list", count=1, bytes=1_763_067),
    )
    drawn = str(plain(cost(parts=PARTS[2:], types=types)))
    assert re.search(r"^  str +1,000,000 +20,000,000 +92 %$", drawn, re.MULTILINE)
    alone = plain(cost(parts=PARTS[2:], types=types[:1]))
    assert "objects" not in str(alone)  # a table of one row tells nothing
    many = [TypeRow(type=f"t{n}", count=1, bytes=100 - n) for n in range(9)]
    drawn = str(plain(cost(parts=PARTS[2:], types=many)))
    assert re.search(r"^  5 more +5 +470 ", drawn, re.MULTILINE)


def test_what_a_spawned_child_cannot_load_is_one_line() -> None:
    warnings = (offender("type(model)", "class", stage="spawn"),)
    said = "a spawned child cannot load it: type(model) lives in this session only"
    assert said in str(plain(cost(warnings=warnings)))
    assert said not in str(plain(function(warnings=warnings, by_name_bytes=34)))
    assert "type(model) and 2 more live" in str(plain(cost(warnings=warnings * 3)))


def test_the_garbage_collector_is_named_where_it_took_much() -> None:
    said = "the garbage collector took 50 % of the dumps"
    assert said in str(plain(cost(dump_gc_seconds=(0.11, 0.1))))
    assert said not in str(cost(dump_gc_seconds=(0.001, 0.0)))


@pytest.mark.parametrize(
    "expression", ["a\n+ b", "-a", "x" * 60, "f('\x1b')", "名前", "f('\u202e')"]
)
def test_no_line_is_next_that_could_not_be_typed(expression: str) -> None:
    assert "next:" not in str(cost(expression=expression))
    assert "next:" not in str(cost(from_magic=False))
    assert "next:" not in str(cost(pickled_bytes=1000))  # nothing to gain


def test_another_protocol_is_said_to_be_another() -> None:
    assert str(cost(protocol=2)).splitlines()[-1] == (
        "pickle protocol 2 (multiprocessing uses 4) | Python 3.11, Linux 6.18"
    )
    by_value = cost(pickler="cloudpickle", protocol=5, usual_protocol=5)
    assert str(by_value).splitlines()[-1] == (
        "cloudpickle protocol 5 | Python 3.11, Linux 6.18"
    )


def test_details_hold_everything() -> None:
    case = plain(
        cost(
            dump_gc_seconds=(0.0, 0.1),
            first_dump_seconds=0.4,
            deep_size_seconds=0.03,
            buffer_bytes=8_000_000,
            alternatives=WAYS,
            skipped=(Skipped(what="an Arrow array", reason="no pyarrow"),),
            types=(TypeRow(type="str", count=1, bytes=TOTAL),),
            warnings=(offender("type(model)", "class", stage="spawn"),),
            findings=(Finding(code="x", message="Something is worth knowing."),),
        )
    )
    drawn = str(case.details())
    for said in (
        "Something is worth knowing.",
        "class cannot be loaded by a spawned child: cannot pickle it",
        "1      model (itself)          85  <0.1 %  itself",
        "str         1  21,763,067  100 %",
        "dump 0.2 s (min of 2, median 0.21 s), gc 24 % of it | load 0.3 s",
        "first dump in a forked child, with its copy-on-write: 0.4 s",
        "in memory 63.7 MiB, again in each process that receives it (found in 30.0 ms)",
        "protocol 5 can hand 7.6 MiB of it over out of band",
        "an Arrow array left out: no pyarrow",
        "as it is: through a Pipe",
        "Python 3.11.7",
        "9 threads at the fork",
    ):
        assert said in drawn
    rows = re.findall(r"^  1 .*? ([\d,]+) +[<\d]", drawn, re.MULTILINE)
    assert sum(int(each.replace(",", "")) for each in rows) == TOTAL


def test_details_hold_whole_paths() -> None:
    path = "model" + "['a key']" * 30
    drawn = str(plain(in_the_way(lock(path), offender("model.f"))).details())
    assert f"  {path}\n    _thread.lock cannot be pickled: cannot" in drawn
    assert path not in str(in_the_way(lock(path), offender("model.f")))


def test_what_others_wrote_is_escaped_in_html() -> None:
    evil = "<script>alert(1)</script>"
    cases = [
        cost(expression=evil, type=evil, parts=[a_part(evil, 2**24, 1)]),
        in_the_way(offender(evil, evil, reason=evil, advice=evil), lock(evil)),
        function(
            by_name_bytes=1, by_value_bytes=9, captured=[Captured(name=evil, bytes=9)]
        ),
        cost(transports=(replace(PIPE, name=evil), PIPE), alternatives=WAYS),
    ]
    for case in cases:
        for level in ("line", "short", "full"):
            page = html.render(case.document(level))
            assert "<script" not in page


sizes = st.none() | st.integers(min_value=0, max_value=2**45)
seconds = st.floats(min_value=0, max_value=1e6)
times = st.none() | seconds
runs = st.lists(seconds, max_size=4).map(tuple)
words = st.text(max_size=200)


def several(record: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[Any]:
    return st.lists(record, max_size=most).map(tuple)


def no_or(some: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw nothing half of the time, so that every kind of report is met."""
    return st.booleans().flatmap(lambda is_there: some if is_there else st.just(()))


offenders = st.builds(
    Offender,
    path=words,
    type=words,
    stage=st.sampled_from(["dump", "load", "spawn"]),
    reason=words,
    advice=words,
)
transports = st.builds(
    Transport,
    name=words,
    pickled_bytes=sizes,
    wire_bytes=sizes,
    round_trip_seconds=runs,
    dump_seconds=times,
    transport_seconds=times,
    load_seconds=times,
    reply_seconds=times,
)
parts = st.builds(
    Part,
    path=words,
    type=words,
    bytes=st.integers(0, 2**45),
    depth=st.integers(1, 5),
    row=st.sampled_from(["part", "rest", "itself"]),
    count=st.integers(1, 2**40),
    shared_from=st.none() | words,
)
protocols = st.builds(
    Protocol,
    protocol=st.integers(0, 5),
    pickled_bytes=sizes,
    buffer_bytes=sizes,
    dump_seconds=times,
    load_seconds=times,
    error=st.none() | words,
)
alternatives = st.builds(
    Alternative,
    what=words,
    pickled_bytes=sizes,
    buffer_bytes=sizes,
    seconds=times,
    memory_bytes=sizes,
    made_seconds=times,
    back_seconds=times,
    note=words,
)
costs = st.builds(
    PickleCost,
    setting=st.just(SETTING),
    expression=words,
    type=words,
    from_magic=st.booleans(),
    deep_size_bytes=sizes,
    pickler=st.sampled_from(["pickle", "cloudpickle", "dill"]),
    protocol=st.integers(0, 5),
    usual_protocol=st.none() | st.integers(0, 5),
    pickled_bytes=sizes,
    buffer_bytes=sizes,
    dump_seconds=runs,
    dump_gc_seconds=runs,
    load_seconds=runs,
    dump_error=st.none() | words,
    load_error=st.none() | words,
    not_loaded=st.none() | st.builds(NotLoaded, needed_bytes=sizes, free_bytes=sizes),
    protocols=no_or(several(protocols, 6)),
    transports=no_or(several(transports, 12)),
    parts=no_or(several(parts, 12)),
    types=several(
        st.builds(
            TypeRow,
            type=words,
            count=st.integers(1, 2**40),
            bytes=st.integers(0, 2**45),
        ),
        9,
    ),
    by_name_bytes=sizes,
    spawned_has_it=st.none() | st.booleans(),
    self_bytes=sizes,
    by_value_bytes=sizes,
    captured=no_or(
        several(st.builds(Captured, name=words, bytes=st.integers(0, 2**45)), 9)
    ),
    captured_rest_bytes=sizes,
    offenders=no_or(several(offenders, 9)),
    warnings=no_or(several(offenders, 3)),
    without_offenders_bytes=sizes,
    cloudpickle_offenders=st.none() | st.integers(0, 9),
    alternatives=no_or(several(alternatives, 9)),
    skipped=no_or(several(st.builds(Skipped, what=words, reason=words), 4)),
    findings=several(st.builds(Finding, code=st.just("x"), message=words), 5),
)


# A report of hundreds of fields takes minutes to shrink: the first one found is shown.
_FIND = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=80, deadline=None, phases=_FIND)
@given(costs)
def test_a_short_report_keeps_to_its_room(case: PickleCost) -> None:
    from rich.cells import cell_len

    drawn = str(case.report("short")).splitlines()
    assert 1 <= len(drawn) <= 15
    assert max(map(cell_len, drawn)) <= 80
    assert len(html.render(case.document("short")).encode()) < 10_000
    assert case.headline
    str(case.report("line"))
    str(case.details())
