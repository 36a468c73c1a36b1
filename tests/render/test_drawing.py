"""One document becomes text and HTML that say the same."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_magic.render import (
    Bytes,
    Count,
    Document,
    Note,
    Percent,
    Report,
    Seconds,
    Table,
    Verbatim,
    html,
    text,
)
from ipc_magic.render.fit import fit
from ipc_magic.render.plain import clean, clean_lines, code_parts, shorten

ALLOWED_TAGS = frozenset(
    "div style p strong code pre table thead tbody tr th td".split(" ")  # noqa: SIM905
)

EVERYTHING = Document(
    headline="Ran in child 4711 for 12.4 s. `scores` came back: 762.9 MiB in 0.15 s.",
    blocks=(
        Table(
            columns=("child", "name", "size", "dump", "part", "objects"),
            rows=(
                ("0", "scores", Bytes(800_000_000), Seconds(12e-6), Percent(0.77), ""),
                ("1", "labels", Bytes(None), Seconds(0.15), "", Count(107_374_182)),
                ("4 more", "", "", "", "", ""),
            ),
        ),
        Note(
            "Reading a Python object writes its reference count, and the kernel "
            "copies the page it sits on."
        ),
        Verbatim("Traceback (most recent call last):\n  File 'x', line 1\nValue: 3"),
    ),
    next="%%inprocess -o scores",
    setting=("fork, start 2.1 ms", "9 threads at the fork", "Python 3.11"),
)

EXPECTED = """\
Ran in child 4711 for 12.4 s. `scores` came back: 762.9 MiB in 0.15 s.

  child   name         size    dump  part      objects
  0       scores  762.9 MiB   12 us  77 %
  1       labels    unknown  0.15 s        107,374,182
  4 more

Reading a Python object writes its reference count, and the kernel copies the
page it sits on.

  Traceback (most recent call last):
    File 'x', line 1
  Value: 3

next: %%inprocess -o scores
fork, start 2.1 ms | 9 threads at the fork | Python 3.11"""

DOCUMENTS = {
    "everything": EVERYTHING,
    "headline": Document(headline=EVERYTHING.headline),
    "table": Document(headline="A table.", blocks=EVERYTHING.blocks[:1]),
    "note": Document(headline="A note.", blocks=EVERYTHING.blocks[1:2]),
    "verbatim": Document(headline="A traceback.", blocks=EVERYTHING.blocks[2:]),
    "setting": Document(headline="A setting.", setting=EVERYTHING.setting),
}


class Reader(HTMLParser):
    """Collects the words and the tags of a page; the style is not words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["style"] or "{" not in data:
            self.words.append(data)


def numbers(drawn: str) -> list[str]:
    return re.findall(r"\d[\d,.]*", drawn)


def test_the_text_is_exactly_this() -> None:
    assert text.render(EVERYTHING) == EXPECTED


@pytest.mark.parametrize("name", DOCUMENTS)
def test_text_and_html_carry_the_same_numbers_in_the_same_order(name: str) -> None:
    document = DOCUMENTS[name]
    reader = Reader(html.render(document))
    assert numbers(" ".join(reader.words)) == numbers(text.render(document))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_html_is_small_and_has_no_script_and_no_link(name: str) -> None:
    page = html.render(DOCUMENTS[name])
    reader = Reader(page)
    assert set(reader.tags) <= ALLOWED_TAGS
    assert reader.attributes <= {"class"}
    assert "http" not in page
    assert "url(" not in page
    assert len(page.encode()) < 10_000


def test_colours_come_from_the_notebook_or_the_page() -> None:
    page = html.render(EVERYTHING)
    assert "var(--jp-content-font-color1,inherit)" in page
    assert "prefers-color-scheme:dark" in page
    # A fixed colour would vanish on one of the two backgrounds.
    assert not re.search(r"[: ]#[0-9a-f]{3}", page)


def test_what_others_wrote_is_escaped_everywhere() -> None:
    evil = "<script>alert('1')</script>"
    document = Document(
        headline=evil,
        blocks=(
            Table(columns=(evil,), rows=((evil,),)),
            Note(f"`{evil}`"),
            Verbatim(evil),
        ),
        next=evil,
        setting=(evil,),
    )
    page = html.render(document)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 7
    assert text.render(document).count("<script>") == 7


def test_rich_markup_and_emoji_codes_are_only_text() -> None:
    table = Table(columns=("[red]a[/red]",), rows=((":smile: [bold]b",),))
    drawn = text.render(Document(headline="[i]x[/i]", blocks=(table,)))
    assert drawn == "[i]x[/i]\n\n  [red]a[/red]\n  :smile: [bold]b"


def test_terminal_codes_of_others_never_reach_the_terminal() -> None:
    drawn = text.render(
        Document(
            headline="a\x1b[31mred\x1b[0m\nb\x07\u202e\udc80",
            blocks=(Verbatim("\x1b[1;31mValueError\x1b[0m\n\tx\x9b"),),
        )
    )
    assert drawn == "ared b\\x07\\u202e\\udc80\n\n  ValueError\n          x\\x9b"
    html.render(Document(headline="\udc80")).encode()


def test_the_surroundings_do_not_change_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "40", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    assert text.render(EVERYTHING) == EXPECTED


def test_a_long_name_is_cut_and_figures_are_not() -> None:
    table = Table(
        columns=("name", "why", "size"),
        rows=(("n" * 90, "w" * 50, Bytes(800_000_000)), ("名" * 60, "", Bytes(None))),
    )
    drawn = text.lines(Document(headline="Long.", blocks=(table,)))
    assert max(map(len, drawn)) == 80
    assert drawn[3].endswith("  762.9 MiB")
    assert "…" in drawn[3]
    assert drawn[4].endswith("    unknown")


def test_options_stay_whole_where_a_line_breaks() -> None:
    assert text.wrap("x" * 72 + " --timeout 60", 80) == ["x" * 72, "--timeout 60"]
    assert text.wrap("名" * 39 + " --timeout", 80) == ["名" * 39, "--timeout"]


def test_a_row_must_fit_its_columns() -> None:
    with pytest.raises(ValueError, match="does not fit the columns"):
        Table(columns=("a", "b"), rows=(("1",),))


def test_fit_leaves_out_the_last_blocks_and_says_so() -> None:
    notes = tuple(Note(f"Note {number}.") for number in range(20))
    document = fit(Document(headline="Many.", blocks=notes, setting=("s",)), more="...")
    drawn = text.lines(document)
    assert len(drawn) == 15
    assert drawn[-3:] == ["Note 11.", "...", "s"]


def test_fit_changes_nothing_that_fits() -> None:
    document = DOCUMENTS["table"]
    assert fit(document, more="...") is document


def test_a_report_shows_itself() -> None:
    report = Report(EVERYTHING)
    bundle = report._repr_mimebundle_()
    assert str(report) == bundle["text/plain"] == EXPECTED
    assert bundle["text/html"] == html.render(EVERYTHING)
    written: list[str] = []

    class Printer:
        def text(self, text: str, /) -> None:
            written.append(text)

    report._repr_pretty_(Printer(), cycle=False)
    assert written == [EXPECTED]


def test_a_sentence_is_drawn_without_rich() -> None:
    """It is drawn after every cell, so it costs less than a short table."""

    def fastest(document: Document) -> float:
        times = []
        for _ in range(20):
            begin = time.perf_counter()
            text.render(document)
            html.render(document)
            times.append(time.perf_counter() - begin)
        return min(times)

    assert fastest(DOCUMENTS["headline"]) < fastest(DOCUMENTS["table"]) / 3


def test_backticks_mark_code() -> None:
    assert code_parts("`a` and `b`") == [(True, "a"), (False, " and "), (True, "b")]
    assert code_parts("an odd ` stays") == [(False, "an odd ` stays")]
    page = html.render(Document(headline="`x<y` came back."))
    assert "<strong><code>x&lt;y</code> came back.</strong>" in page


@given(st.text(), st.integers(min_value=5, max_value=100))
def test_shortened_text_is_one_printable_line(line: str, length: int) -> None:
    short = shorten(line, length)
    assert len(short) <= length
    assert short.isprintable()


@given(st.text())
def test_cleaned_text_is_printable_and_clean_text_stays(line: str) -> None:
    assert clean(line).isprintable()
    assert clean(clean(line)) == clean(line)
    assert all(map(str.isprintable, clean_lines(line)))


@given(st.text(min_size=1), st.text(), st.integers() | st.none())
def test_anything_can_be_drawn(headline: str, cell: str, moved: int | None) -> None:
    table = Table(columns=("words", "figures"), rows=((cell, Bytes(moved)),))
    document = Document(headline=headline, blocks=(table, Note(cell)))
    text.render(document)
    html.render(document).encode()
