"""The text of several children in one place."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ipc_magic.process.output import Tagged


def tagged(shown, number=2):
    return [Tagged(shown, index) for index in range(number)]


def test_lines_of_two_children_are_never_torn(shown):
    first, second = tagged(shown)
    first.write("stdout", "one ")
    second.write("stdout", "two\nthree ")
    first.write("stdout", "line\n")
    assert shown.text() == "[1] two\n[0] one line\n"
    first.end()
    second.end()
    assert shown.text() == "[1] two\n[0] one line\n[1] three \n"


def test_whole_lines_are_shown_at_once(shown):
    (child,) = tagged(shown, 1)
    child.write("stdout", "now\n\nlater")
    assert shown.text() == "[0] now\n[0] \n"


def test_of_a_bar_the_last_state_is_kept_and_shown_at_the_end_of_its_line(shown):
    (child,) = tagged(shown, 1)
    for percent in range(0, 101, 10):
        child.write("stderr", f"\r{percent} %")
    assert shown.text("stderr") == ""
    child.write("stderr", "\n")
    assert shown.text("stderr") == "[0] 100 %\n"


def test_of_a_bar_the_last_state_is_shown_when_the_child_ends(shown):
    (child,) = tagged(shown, 1)
    for percent in range(0, 90, 10):
        child.write("stderr", f"{percent} %\r")
    child.end()
    assert shown.text("stderr") == "[0] 80 %\n"
    child.end()
    assert shown.text("stderr") == "[0] 80 %\n"


def test_what_a_bar_overwrote_is_not_held(shown):
    (child,) = tagged(shown, 1)
    for _ in range(1000):
        child.write("stdout", "\r" + "x" * 1000)
    assert len(child._held["stdout"]) == 1000


def test_the_two_streams_of_a_child_are_held_apart(shown):
    (child,) = tagged(shown, 1)
    child.write("stdout", "out")
    child.write("stderr", "err\n")
    child.write("stdout", "put\n")
    assert (shown.text(), shown.text("stderr")) == ("[0] output\n", "[0] err\n")


def test_lines_that_end_as_on_windows_keep_their_text(shown):
    (child,) = tagged(shown, 1)
    for character in "one\r\ntwo\r\n":
        child.write("stdout", character)
    assert shown.text() == "[0] one\n[0] two\n"


LINES = st.lists(st.text("ab \r", max_size=6), max_size=5).map("\n".join)


@settings(deadline=None, max_examples=100)
@given(st.lists(LINES, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_each_line_is_one_childs_however_the_texts_interleave(texts, random):
    class Front:
        text = ""

        def write(self, _stream, text):
            assert text.endswith("\n")
            self.text += text

    front = Front()
    children = [Tagged(front, index) for index in range(len(texts))]
    rests = list(texts)
    while any(rests):
        index = random.choice([i for i, rest in enumerate(rests) if rest])
        size = random.randint(1, 4)
        children[index].write("stdout", rests[index][:size])
        rests[index] = rests[index][size:]
    for child in children:
        child.end()
    for index, text in enumerate(texts):
        shown = [
            line.removeprefix(f"[{index}] ")
            for line in front.text.split("\n")
            if line.startswith(f"[{index}] ")
        ]
        *lines, rest = text.split("\n")
        whole = [*lines, rest] if rest else lines
        last_states = [line.rstrip("\r").rpartition("\r")[2] for line in whole]
        assert shown == last_states
    assert front.text == "" or all(
        line.startswith("[") for line in front.text[:-1].split("\n")
    )
