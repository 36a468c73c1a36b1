"""A line is read as design.md section 2 says: options first, then the user's text."""

from __future__ import annotations

import ast
import warnings

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ipc_magic.arguments import Parsed, parse_line
from ipc_magic.errors import OptionError
from ipc_magic.options import INPROCESS, MAGICS, SHARED, parse

MIB = 2**20


def line(text: str) -> Parsed:
    return parse("inprocess", text, cell=False)


def cell(text: str) -> Parsed:
    return parse("inprocess", text, cell=True)


def error(text: str, *, in_cell: bool = False) -> str:
    with pytest.raises(OptionError) as caught:
        parse("inprocess", text, cell=in_cell)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("-n8", {"children": 8}),
        ("-n 8", {"children": 8}),
        ("-n=8", {"children": 8}),
        ("--children=8", {"children": 8}),
        ("--children 8", {"children": 8}),
        ("  --children   8  ", {"children": 8}),
        ("-o a,b", {"out": ("a", "b")}),
        ("-o a -o b", {"out": ("a", "b")}),
        ("-o b,a --out a,c", {"out": ("b", "a", "c")}),
        ("-o 'a, b'", {"out": ("a", "b")}),
        ("-o '*'", {"out": ("*",)}),
        ('-o "*"', {"out": ("*",)}),
        ("-o *", {"out": ("*",)}),
        ("-o '*',a", {"out": ("*", "a")}),
        ('-o a,"*" -o b', {"out": ("a", "*", "b")}),
        ("-t60", {"timeout": 60.0}),
        ("-t1.5", {"timeout": 1.5}),
        ("-t 2min", {"timeout": 120.0}),
        ('-t "90 s"', {"timeout": 90.0}),
        ("-t '2 h'", {"timeout": 7200.0}),
        ("--memory 64MiB", {"memory": 64 * MIB}),
        ('--memory "64 MiB"', {"memory": 64 * MIB}),
        ('--memory="64 MiB"', {"memory": 64 * MIB}),
        ("--memory 64 MiB", {"memory": 64 * MIB}),
        ("--memory=64 MiB", {"memory": 64 * MIB}),
        ("--memory 500_000", {"memory": 500_000}),
        ("--memory 1.5 GiB -n 2", {"memory": 1536 * MIB, "children": 2}),
        ("--keep-free 0", {"keep_free": 0}),
        ("--keep-free 2 GB", {"keep_free": 2 * 10**9}),
        ("--threads 2", {"threads": 2}),
        ("--threads keep", {"threads": "keep"}),
        ("--threads=keep", {"threads": "keep"}),
        ("--bg job", {"bg": "job"}),
        ("--save r", {"save": "r"}),
        ("--no-raise-error", {"no_raise_error": True}),
        ("-q", {"quiet": True}),
        ("--verbose -n 2", {"verbose": True, "children": 2}),
        ("", {}),
        ("--", {}),
    ],
)
def test_options_are_read_alike_in_a_line_and_in_a_cell(
    text: str, options: dict[str, object]
) -> None:
    assert cell(text) == Parsed(options)
    spaced = f"{text} " if text.strip() else text
    assert line(spaced + "f(x)") == Parsed(options, "f(x)")


@pytest.mark.parametrize(
    "expression",
    [
        'r"a  b"',
        "f'{x}  {y}'",
        """{"b  c": 'x  y'}""",
        "f(-1, -n)",
        "a -n",
        "a - n 	",
        "f(x)   ",
        "print('--timeout 5')",
        'x if "a -n 2" else  y',
        "f(x)  # -n 2",
        "y = f(x); del y",
        "f(x);",
        "await f()",
        "[y async for y in f()]",
        "!ls -n 2 --timeout  5",
        "!grep -q --quiet 'x",
        "%timeit -n 5  x",
        "%%timeit -n 5",
        "files = !ls -n --quiet .",
        "t = %timeit -o --quiet x",
        "obj?",
        "obj.method??",
        "?obj --quiet",
        "f(x",
        "f(x -n 2",
        "f(x)-n 2",
        "f('unfinished --timeout 5",
        "f(x  # --timeout 5",
        "f('''it's  --timeout 5''' y",
        'f("""a "b  --timeout 5""" y',
        "1 is 1",
        "'\\d'",
    ],
)
@pytest.mark.parametrize(
    "options", ["", "-n 2 ", "-q  ", "-- ", "-n 2 --   ", "-t 60 "]
)
def test_the_expression_is_kept_byte_for_byte(options: str, expression: str) -> None:
    assert line(options + expression).expression == expression


@pytest.mark.parametrize(
    "expression",
    [
        "-x",
        "-5 + 3",
        "--x",
        "-x.T @ y",
        "-total + 1",  # not -t with "otal"
        "-offset",
        "-n.size",
        "-n*2",
        "-n8*2",
        "-n8.real",
        "-n==8",
        "--memory==x",
        "-q8",
        "-qv",
        "-(x)",
        "-x + '\\d'",  # a warning is the user's to hear, when it runs
        "-f(",  # Python says best what is wrong with it
        "-5 +",
    ],
)
def test_what_starts_with_a_minus_and_is_no_option_is_the_expression(
    expression: str,
) -> None:
    assert line(expression) == Parsed({}, expression)
    assert line(f"-n 2 {expression}") == Parsed({"children": 2}, expression)


def test_two_dashes_end_the_options() -> None:
    assert line("-- -n") == Parsed({}, "-n")
    assert line("-n 2 -- -n 3") == Parsed({"children": 2}, "-n 3")
    assert line("-n 2 -- f(x) -n 3").expression == "f(x) -n 3"
    assert error("-n --") == "-n needs a value: N"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-n", "-n needs a value: N"),
        ("-n  ", "-n needs a value: N"),
        ("--children=", "--children needs a value: N"),
        ("--children= 8", "--children needs a value: N"),
        ("-n -q", "-n needs a value: N"),
        ("-n -o a", "-n needs a value: N"),
        ("-t", "-t needs a value: SECONDS"),
        ("-q -t", "-t needs a value: SECONDS"),
        ("-o --save r", "-o needs a value: NAMES"),
        ("-q=1", "-q takes no value"),
        ("--quiet=1", "--quiet takes no value"),
        ("-n 2 -n 3", "-n/--children is given twice"),
        ("-n 2 --children 2", "-n/--children is given twice"),
        ("--memory 1 MiB --memory 1 MiB", "--memory is given twice"),
        ("-q -q", "-q/--quiet is given twice"),
        ("-q -v", "-v/--verbose contradicts -q/--quiet"),
        ("-v --quiet", "-v/--verbose contradicts -q/--quiet"),
    ],
)
def test_values_that_are_missing_or_too_many(text: str, message: str) -> None:
    assert error(text) == message
    assert error(text, in_cell=True) == message


WHOLE = "-n takes a whole number from 1 to 1000, not "
TIME = "-t takes seconds above 0 and at most a year, as in 90, 1.5 or 2min, not "
NAMES = "-o takes Python names joined by commas, as in a,b, or '*', not "
ABOVE = "--memory takes a size above 0, as in 500_000, 64MiB or '1.5 GiB', not "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-n 0", WHOLE + "'0'"),
        ("-n0", WHOLE + "'0'"),
        ("-n -1", WHOLE + "'-1'"),
        ("-n 10000", WHOLE + "'10000'"),
        ("-n 1001", WHOLE + "'1001'"),
        ("-n 1.0", WHOLE + "'1.0'"),
        ("-n f(x)", WHOLE + "'f(x)'"),
        ('-n "2"3', WHOLE + "'\"2\"3'"),
        ("-n ''", WHOLE + "''"),
        ("-n " + 5000 * "9", WHOLE + f"'{37 * '9'}...'"),
        *(
            (f"-t {bad}", TIME + repr(bad))
            for bad in ("nan", "inf", "0", "-1", "potato")
        ),
        ("-t 9_999_999_999", TIME + "'9_999_999_999'"),
        *((f"-o {bad}", NAMES + repr(bad)) for bad in ("class", "a,class", "a,", "1a")),
        ("-o a,,b", NAMES + "'a,,b'"),
        ("-o a'b'", NAMES + "\"a'b'\""),
        ("-o **", NAMES + "'**'"),
        ("-o '*'a", NAMES + "\"'*'a\""),
        ("--memory 0", ABOVE + "'0'"),
        ("--memory 0 MiB", ABOVE + "'0 MiB'"),
        ("--memory potato", ABOVE + "'potato'"),
        ("--memory -5", ABOVE + "'-5'"),
        (
            "--keep-free much",
            "--keep-free takes a size, as in 500_000, 64MiB or '1.5 GiB', not 'much'",
        ),
        ("--save a.b", "--save takes a Python name, not 'a.b'"),
        ("--bg None", "--bg takes a Python name, not 'None'"),
        (
            "--threads 0",
            "--threads takes a whole number from 1 to 1000 or keep, not '0'",
        ),
    ],
)
def test_a_refused_value_is_named_with_what_is_accepted(
    text: str, message: str
) -> None:
    assert error(text) == message
    assert error(text, in_cell=True) == message


@pytest.mark.parametrize("first", ["1", "1000", "1_000"])
def test_the_ends_of_the_range_of_children(first: str) -> None:
    assert line(f"-n {first} f(x)").options == {"children": int(first)}


@pytest.mark.parametrize(
    ("text", "seconds", "expression"),
    [
        ("-t 60 s", 60, "s"),
        ("-t 60 s + 1", 60, "s + 1"),
        ("-t 60 h.x", 60, "h.x"),
        ("-t 2 min(a, b)", 2, "min(a, b)"),
        ("-t 60 s f(x)", 60, "f(x)"),
        ("-t 2 min f(x)", 120, "f(x)"),
        ("-t2 min f(x)", 120, "f(x)"),
        ("-t 2 h -n 2 f(x)", 7200, "f(x)"),
    ],
)
def test_a_word_that_may_be_a_variable_is_a_unit_only_if_nothing_else_fits(
    text: str, seconds: float, expression: str
) -> None:
    assert line(text).options["timeout"] == seconds
    assert line(text).expression == expression


def test_units_in_a_cell_and_units_of_sizes() -> None:
    assert cell("-t 60 s").options == {"timeout": 60.0}
    assert cell("-t 2 min -n 2").options == {"timeout": 120.0, "children": 2}
    assert cell("--memory 5 gib").options == {"memory": 5120 * MIB}
    assert line("--memory 64 MiB f(x)") == Parsed({"memory": 64 * MIB}, "f(x)")
    assert line("--memory 64 MiB (x)") == Parsed({"memory": 64 * MIB}, "(x)")
    assert line("--memory 64 B") == Parsed({"memory": 64}, "B")
    assert line("--memory 64 B f(x)") == Parsed({"memory": 64}, "f(x)")
    assert line("--memory 64 gb") == Parsed({"memory": 64}, "gb")  # a groupby, perhaps
    assert line("--memory 64 gb f(x)") == Parsed({"memory": 64 * 10**9}, "f(x)")
    assert line("--memory 64MiB MiB") == Parsed({"memory": 64 * MIB}, "MiB")
    assert line("-n 2 MiB") == Parsed({"children": 2}, "MiB")


def test_names_of_a_cell_may_have_spaces_at_their_commas() -> None:
    assert cell("-o a, b") == Parsed({"out": ("a", "b")})
    assert cell("-o '*', b") == cell("-o '*' ,b") == Parsed({"out": ("*", "b")})
    assert cell("-o b, '*' -n 2") == Parsed({"out": ("b", "*"), "children": 2})
    assert cell("-o a ,b , c -n 2") == Parsed({"out": ("a", "b", "c"), "children": 2})
    assert cell("--out=a, b -o c") == Parsed({"out": ("a", "b", "c")})
    assert cell('-o "a, b"') == Parsed({"out": ("a", "b")})
    assert error("-o a, -n 2", in_cell=True) == NAMES + "'a,'"
    assert error("-o a, b") == NAMES + "'a,'"
    assert "'b' is none" in error("-o a b", in_cell=True)


def test_names_are_kept_in_the_form_python_looks_up() -> None:
    assert cell("-o ﬁt,fit").options == {"out": ("fit",)}
    assert cell("--save größe").options == {"save": "größe"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--childern 3 f(x)", "no option --childern; did you mean --children?"),
        ("--childern=3 f(x)", "no option --childern; did you mean --children?"),
        ("--keep-fre 1GiB f(x)", "no option --keep-fre; did you mean --keep-free?"),
        ("-n 2 --quite f(x)", "no option --quite; did you mean --quiet?"),
        ("-x y", "no option -x; %inprocess -h lists them"),
        ("-x=3", "no option -x; %inprocess -h lists them"),
        # These come with later steps.
        ("-m fork f(x)", "no option -m; %inprocess -h lists them"),
        ("--on pool f(x)", "no option --on; did you mean --out?"),
        ("--compare f(x)", "no option --compare; %inprocess -h lists them"),
        ("-children 3 f(x)", "no option -children; did you mean --children?"),
    ],
)
def test_an_unknown_option_is_named(text: str, message: str) -> None:
    assert error(text) == message


@pytest.mark.parametrize("rest", ["\0", "'\ud800'", "-" * 20_000 + "1", "(" * 500])
def test_text_that_python_cannot_even_read_is_not_python(rest: str) -> None:
    assert error(f"-x {rest}") == "no option -x; %inprocess -h lists them"


def test_a_cell_takes_nothing_but_options() -> None:
    start = "%%inprocess takes options only on its first line; "
    assert error("foo", in_cell=True) == start + "'foo' is none: put code below it"
    assert error("-n 2 f(x) ", in_cell=True) == (
        start + "'f(x)' is none: put code below it"
    )
    assert error("foo -n 2", in_cell=True) == (
        start + "'foo -n 2' is none: put code below it"
    )
    assert error("-5", in_cell=True) == start + "'-5' is none: put code below it"
    assert error("-- f", in_cell=True) == start + "'f' is none: put code below it"
    assert error("-x", in_cell=True) == "no option -x; %%inprocess -h lists them"
    assert error("--qiet", in_cell=True) == "no option --qiet; did you mean --quiet?"


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("f(x) -n 2", "-n"),
        ("f(x) -n2 -q y", "-n"),
        ("f(x) --children=2", "--children"),
        ("f(x); --memory 64 MiB", "--memory"),
        ("-5 -n 2", "-n"),
        ("-q f(x) --timeout 5", "--timeout"),
        ("f(x --timeout 5", "--timeout"),
        ("f('-n 2') -o a,b c", "-o"),
        ("await f() -n 2", "-n"),
        ("obj? --timeout 5", "--timeout"),
    ],
)
def test_an_option_after_the_expression(text: str, flag: str) -> None:
    assert error(text) == f"options go before the expression, not {flag} after it"


def test_help_ends_the_reading() -> None:
    assert line("-h") == Parsed({}, help=True)
    assert line("-n 2 --help f(x) -n 0") == Parsed({"children": 2}, help=True)
    assert cell("-h foo") == Parsed({}, help=True)
    assert not line("f(x)").help


def test_dash_o_on_a_magic_without_it_hints_at_save() -> None:
    with pytest.raises(OptionError) as caught:
        parse_line("cow_watch", SHARED, "-o f(x)", cell=True)
    assert str(caught.value) == "no option -o; did you mean --save?"


OPTIONS: dict[str, dict[str, object]] = {
    "-n 2": {"children": 2},
    "-n8": {"children": 8},
    "--children=3": {"children": 3},
    "-o a,b": {"out": ("a", "b")},
    "-t 60": {"timeout": 60.0},
    "-t '2 min'": {"timeout": 120.0},
    "--memory 64 MiB": {"memory": 64 * MIB},
    "--memory 500_000": {"memory": 500_000},
    '--keep-free "1 GiB"': {"keep_free": 2**30},
    "--no-raise-error": {"no_raise_error": True},
    "--threads keep": {"threads": "keep"},
    "-q": {"quiet": True},
    "--save r": {"save": "r"},
}
# Names that are also units or letters of options, and strings that hold options.
LEAVES = st.one_of(
    st.sampled_from(["x", "n", "s", "h", "min", "B", "gb", "q", "1", "2.5", "1_0"]),
    st.sampled_from(
        ["' -n 2'", '" --timeout  5 "', 'r"a  b"', "f'{x}  {y}'", "'''\n'''"]
    ),
    st.text(max_size=8).map(repr),
)
SPACE = st.sampled_from(["", " ", "  ", "\t"])


def larger(part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operator = st.sampled_from(["+", "-", "--", "*", "%", "==", ",", "@"])
    return st.one_of(
        st.tuples(part, SPACE, operator, SPACE, part).map("".join),
        st.tuples(part, part).map(lambda pair: f"f({pair[0]},  -{pair[1]})"),
        st.tuples(part, part).map(lambda pair: f"{pair[0]} if  {pair[1]} else -n"),
        part.map(lambda inner: f"[{inner}  for n in  x]"),
        part.map(lambda inner: f"({inner} -n)"),
        part.map(lambda inner: f"lambda n:  {inner}"),
        part.map(lambda inner: f"await  f({inner})  # -n 2"),
    )


@settings(deadline=None, max_examples=150)
@given(
    chosen=st.lists(st.sampled_from(sorted(OPTIONS)), max_size=4),
    gap=st.sampled_from([" ", "  ", "\t"]),
    end=st.sampled_from(["", "-- "]),
    expression=st.recursive(LEAVES, larger, max_leaves=5),
    tail=SPACE,
)
@example(chosen=["-t 60"], gap=" ", end="", expression="s", tail="")
def test_any_expression_comes_back_byte_for_byte(
    chosen: list[str], gap: str, end: str, expression: str, tail: str
) -> None:
    expected: dict[str, object] = {}
    for option in chosen:
        assume(not expected.keys() & OPTIONS[option].keys())
        expected |= OPTIONS[option]
    assume(not expression.startswith("-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(expression)
        except SyntaxError:
            assume(False)
    text = "".join(option + gap for option in chosen) + end + expression + tail
    assert line(text) == Parsed(expected, expression + tail)


PIECES = [flag for option in MAGICS["inprocess"] for flag in option.flags]
PIECES += [" ", " ", "  ", "=", ",", "--", "-", "8", "1.5", "MiB", "s", "a", "'", '"']
PIECES += ["(", ")", "!", "?", "#", "\\", "\n", "\0", "keep"]


@settings(deadline=None, max_examples=150)
@given(
    pieces=st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3))),
    in_cell=st.booleans(),
)
def test_any_line_is_read_or_refused_in_one_line(
    pieces: list[str], in_cell: bool
) -> None:
    text = "".join(pieces)
    refusal = ""
    parsed = Parsed({})
    try:
        parsed = parse("inprocess", text, cell=in_cell)
    except OptionError as raised:
        refusal = str(raised)
    assert len(refusal.splitlines()) <= 1
    assert text.endswith(parsed.expression)
    assert not (in_cell and parsed.expression)


def test_every_option_is_read_under_each_of_its_flags() -> None:
    values = {"N": "2", "NAMES": "a", "NAME": "a", "SECONDS": "2", "SIZE": "2"}
    values["MECHANISM"] = "pfn"
    for option in SHARED[1:] + INPROCESS:
        for flag in option.flags:
            text = f"{flag} {values.get(option.metavar, '')}"
            assert list(cell(text).options) == [option.name]
