"""Errors of a child, raised again in the parent as what they were."""

from __future__ import annotations

import dataclasses
import sys
import traceback

import numpy as np
import pytest

from ipc_magic.errors import ChildTraceback
from ipc_magic.process import errors_home, parcel, wire

LINES = ["shown", "in the child"]


def raised(error: BaseException) -> BaseException:
    """Return `error` with the traceback that it gets where it is raised."""
    try:
        raise error
    except BaseException as caught:
        return caught


def home(error, prove=lambda _parcel: None):
    """Bring an error home as it comes: over the channel."""
    packed = errors_home.pack(raised(error), LINES, {})
    (message,) = wire.Decoder().feed(wire.encode("outcome", packed))
    return errors_home.unpack(message.fields, prove)


class Mine(Exception):
    pass


class WithState(Exception):
    def __init__(self, text, more):
        super().__init__(text)
        self.more = more

    def __reduce__(self):
        return type(self), (self.args[0], self.more)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("text"),
        KeyError("key"),
        OSError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        Mine("text", 3),
        WithState("text", {"a": 1}),
        ZeroDivisionError(),
        SyntaxError("bad", ("cell", 1, 2, "x = ")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_home_as_what_it_was(error):
    came = home(error)
    assert type(came) is type(error)
    assert came.args == error.args
    assert str(came) == str(error)
    assert came._render_traceback_() == LINES
    assert isinstance(came.__cause__, ChildTraceback)
    assert f"{type(error).__name__}" in str(came.__cause__)
    assert came.__suppress_context__


def test_the_state_of_an_error_comes_with_it():
    error = ValueError("text")
    error.mine = [1]
    assert home(error).mine == [1]
    assert home(WithState("text", {"a": 1})).more == {"a": 1}


class TwoArguments(ValueError):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class NoReduce(ValueError):
    def __reduce__(self):
        raise TypeError("not me")


class ReduceRaisesItself(ValueError):
    def __reduce__(self):
        raise self

    def __str__(self):
        raise TypeError("no text")


class ExitingReduce(ValueError):
    def __reduce__(self):
        raise SystemExit(3)


class Holding(ValueError):
    def __init__(self, text):
        super().__init__(text)
        self.generator = (i for i in ())


class HostileStr(ValueError):
    def __str__(self):
        raise TypeError("no text")


class FrozenAttributes(ValueError):
    def __setattr__(self, name, value):
        raise AttributeError(f"{name} cannot be set")


@dataclasses.dataclass(frozen=True)
class FrozenData(ValueError):
    number: int


class Text(str):
    __slots__ = ()

    def __str__(self):
        return self


class OddText(ValueError):
    def __str__(self):
        return Text("odd")


class Otherwise(ValueError):
    """Loads to another error than it was."""

    def __reduce__(self):
        return ValueError, ("another",)


class NoError(ValueError):
    """Loads to what is no error at all."""

    def __reduce__(self):
        return str, ("text",)


HOSTILE = [
    TwoArguments("one", "two"),
    NoReduce("text"),
    ReduceRaisesItself("text"),
    ExitingReduce("text"),
    Holding("text"),
    HostileStr("text"),
    FrozenAttributes("text"),
    FrozenData(3),
    OddText("text"),
    Otherwise("text"),
    NoError("text"),
]


@pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__)
def test_any_error_comes_home_and_is_caught_by_its_builtin_base(error):
    came = home(error)
    assert isinstance(came, ValueError)
    assert type(came).__name__ == type(error).__name__
    assert type(came).__module__ == type(error).__module__
    try:
        text = str(error)
    except TypeError:
        text = "<str() of this error raised TypeError>"
    assert parcel.text_of(came) == text
    assert came._render_traceback_() == LINES
    assert isinstance(came.__cause__, ChildTraceback)
    with pytest.raises(type(came)):
        raise came


class MyExit(SystemExit):
    def __reduce__(self):
        raise TypeError("not me")


class Base(BaseException):
    def __reduce__(self):
        raise TypeError("not me")


@pytest.mark.parametrize("error", [MyExit(3), Base("text")], ids=["exit", "base"])
def test_no_stand_in_ends_the_session(error):
    came = home(error)
    assert isinstance(came, Exception)
    assert not isinstance(came, (SystemExit, KeyboardInterrupt, GeneratorExit))
    assert type(came).__name__ == type(error).__name__


class Decoding(UnicodeDecodeError):
    def __reduce__(self):
        raise TypeError("not me")


class Missing(FileNotFoundError):
    def __reduce__(self):
        raise TypeError("not me")


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (Decoding("utf-8", b"\xff", 0, 1, "bad"), UnicodeError),
        (Missing(2, "No such file"), OSError),
    ],
    ids=["decoding", "missing"],
)
def test_a_stand_in_is_caught_by_all_builtin_bases(error, base):
    came = home(error)
    assert isinstance(came, base)
    assert str(came) == str(error)


def test_an_error_that_does_not_pass_its_proof_comes_as_a_stand_in():
    came = home(Mine("text"), prove=lambda _parcel: "it crashes")
    assert type(came) is not Mine
    assert (type(came).__name__, str(came)) == ("Mine", "text")


def test_an_error_that_drags_much_along_comes_as_a_stand_in():
    error = ValueError("text")
    error.array = np.zeros(parcel.LARGEST_ERROR_BYTES // 8 + 1)
    packed = errors_home.pack(error, LINES, {})
    assert packed["blob"] is None
    came = home(error)
    assert (type(came).__name__, str(came)) == ("ValueError", "text")
    assert isinstance(came, ValueError)
    assert not hasattr(came, "array")


def test_a_class_made_in_the_child_comes_home():
    made = type("Made", (LookupError,), {"__module__": "__main__"})
    came = home(made("text"))
    assert type(came).__name__ == "Made"
    assert isinstance(came, LookupError)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with 3.11")
def test_a_group_comes_home_with_its_errors():
    came = home(ExceptionGroup("several", [ValueError("a"), Mine("b")]))  # noqa: F821
    assert [type(error) for error in came.exceptions] == [ValueError, Mine]
    assert "ValueError: a" in str(came.__cause__)
    assert "Mine: b" in str(came.__cause__)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with 3.11")
def test_a_group_with_an_error_that_stays_comes_as_a_stand_in():
    came = home(ExceptionGroup("several", [Holding("a")]))  # noqa: F821
    assert type(came).__name__ == "ExceptionGroup"
    assert str(came) == "several (1 sub-exception)"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes came with 3.11")
def test_notes_come_home():
    error = ValueError("text")
    error.add_note("a note")
    assert home(error).__notes__ == ["a note"]


def deep(depth):
    if depth == 0:
        raise ValueError("deep")
    deep(depth - 1)


def test_a_deep_traceback_is_cut_to_its_first_and_last_frames():
    with pytest.raises(ValueError, match="deep") as info:
        deep(300)
    error = info.value
    whole = traceback.extract_tb(error.__traceback__)
    cut = traceback.extract_tb(errors_home.cut(error.__traceback__))
    assert len(whole) > 300
    assert list(cut) == [*whole[:25], *whole[-25:]]
    text = errors_home.plain_traceback(error)
    # Python folds frames that repeat: without, there would be 50 entries.
    assert text.count("in deep") <= 50


def test_a_short_traceback_is_left_whole():
    error = raised(ValueError("text"))
    whole = traceback.extract_tb(error.__traceback__)
    assert list(traceback.extract_tb(errors_home.cut(error.__traceback__))) == list(
        whole
    )
    assert errors_home.cut(None) is None


def test_a_chain_of_errors_is_in_the_text():
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError as error:
        text = errors_home.plain_traceback(error)
    assert text.index("KeyError: 'first'") < text.index("ValueError: second")


def test_an_error_without_a_traceback_has_a_text():
    assert "ValueError: text" in errors_home.plain_traceback(ValueError("text"))
    assert "HostileStr" in errors_home.plain_traceback(raised(HostileStr()))
