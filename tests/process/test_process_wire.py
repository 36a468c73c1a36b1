"""Frames: however they are cut they arrive, and garbage never does anything."""

from __future__ import annotations

import enum
import pickle
from collections import OrderedDict, UserDict
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipc_magic.process.wire import (
    MAGIC,
    BrokenChannel,
    Decoder,
    Message,
    body_of,
    encode,
    frame,
    plain,
)

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
MESSAGES = st.builds(
    Message,
    st.text(),
    st.dictionaries(st.text(), PLAIN, max_size=3),
    st.floats(allow_nan=False),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    begins = [0, *ends]
    return [data[a:b] for a, b in zip(begins, [*ends, len(data)], strict=True)]


@settings(deadline=None, max_examples=60)
@given(st.lists(MESSAGES, max_size=4), st.lists(st.integers(0, 10**6), max_size=12))
def test_frames_arrive_whole_and_in_order_however_they_are_cut(messages, places):
    data = b"".join(
        frame(body_of(m.kind, m.fields), sent_at=m.sent_at) for m in messages
    )
    decoder = Decoder()
    came = [m for piece in cut(data, places) for m in decoder.feed(piece)]
    assert came == messages


def test_frames_arrive_one_byte_at_a_time():
    decoder = Decoder()
    data = encode("a", {"x": 1}) + encode("b", {})
    came = [m for byte in data for m in decoder.feed(bytes([byte]))]
    assert came == [Message("a", {"x": 1}), Message("b", {})]


def test_a_message_is_given_out_before_the_next_is_complete():
    decoder = Decoder()
    data = encode("a", {}) + encode("b", {})[:-1]
    assert list(decoder.feed(data)) == [Message("a", {})]


def test_a_message_made_ahead_tells_when_it_was_sent():
    (message,) = Decoder().feed(frame(body_of("hello", {"x": 1}), sent_at=12.5))
    assert message == Message("hello", {"x": 1}, 12.5)


@settings(deadline=None, max_examples=100)
@given(st.binary(min_size=1), st.lists(st.integers(0, 10**6), max_size=3))
def test_bytes_that_are_no_frame_break_the_channel(data, places):
    if MAGIC.startswith(data[: len(MAGIC)]):
        data = b"\0" + data
    decoder = Decoder()
    with pytest.raises(BrokenChannel):
        _ = [list(decoder.feed(piece)) for piece in cut(data, places)]


@settings(deadline=None, max_examples=150)
@given(st.binary())
def test_a_frame_of_garbage_breaks_the_channel(body):
    # No garbage so short is the pickle of a word and a dictionary.
    with pytest.raises(BrokenChannel):
        list(Decoder().feed(frame(body)))


@pytest.mark.parametrize("bad", [b"no frame at all", frame(b"garbage")])
def test_a_channel_that_was_broken_stays_broken(bad):
    decoder = Decoder()
    for data in (bad, encode("good", {}), encode("good", {})):
        with pytest.raises(BrokenChannel):
            list(decoder.feed(data))


class Bomb:
    """Leaves a trace where it is unpickled."""

    went_off = False

    def __reduce__(self):
        return setattr, (Bomb, "went_off", True)


@pytest.mark.parametrize(
    "hidden",
    [Bomb(), {"deep": [Bomb()]}, Bomb, print, np.float64(1), OrderedDict(a=1)],
    ids=["bomb", "deep", "class", "function", "numpy", "container"],
)
def test_nothing_that_a_frame_names_is_looked_up(hidden):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        body = pickle.dumps(("word", {"x": hidden}), protocol)
        with pytest.raises(BrokenChannel, match="names"):
            list(Decoder().feed(frame(body)))
        assert not Bomb.went_off


@pytest.mark.parametrize(
    "value",
    [None, 1, "ab", ("word",), ("word", []), (1, {}), ("word", {}, 1), [1, 2]],
    ids=repr,
)
def test_a_frame_of_another_shape_breaks_the_channel(value):
    with pytest.raises(BrokenChannel):
        list(Decoder().feed(frame(pickle.dumps(value))))


class Word(str):
    __slots__ = ()

    def __str__(self) -> str:
        return Word("other")


class Raw(bytes):
    pass


class Count(int):
    pass


class Ratio(float):
    pass


class Colour(enum.IntEnum):
    RED = 1


class Named:
    def __str__(self) -> str:
        return Word("named")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.uint8(255), 255),
        (np.bool_(True), True),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.str_("text"), "text"),
        (np.bytes_(b"raw"), b"raw"),
        (np.array(7), 7),
        (np.longdouble(1.5), str(np.longdouble(1.5))),
        (np.complex128(1j), "1j"),
        (np.arange(3), "[0 1 2]"),
        (Word("mine"), "mine"),
        (Raw(b"mine"), b"mine"),
        (Count(3), 3),
        (Ratio(0.25), 0.25),
        (Colour.RED, 1),
        (Named(), "named"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (memoryview(np.arange(2, dtype="u1")), b"\0\1"),
        ((1, (2, {3})), [1, [2, [3]]]),
        (frozenset({1}), [1]),
        (OrderedDict(a=Count(1)), {"a": 1}),
        (UserDict(a=(1,)), {"a": [1]}),
        (MappingProxyType({Word("k"): 1}), {"k": 1}),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        (range(2), "range(0, 2)"),
        (2**200, 2**200),
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_rebuilds_values_of_plain_types_only(value, expected):
    made = plain(value)
    assert made == expected
    assert type(made) is type(expected)
    encoded = encode("kind", {"value": made})
    assert list(Decoder().feed(encoded)) == [Message("kind", {"value": expected})]


@settings(deadline=None, max_examples=100)
@given(PLAIN)
def test_plain_leaves_plain_values_as_they_are(value):
    made = plain(value)
    assert made == value
    assert pickle.dumps(made) == pickle.dumps(value)
