"""Each codec writes what FORMAT.md says, reads it back, and refuses what is not that."""

from __future__ import annotations

import pytest
from synthetic import Colour

from emu.clock import NEVER
from emu.errors import StreamError
from emu.savevm.codecs import (
    Array,
    Blob,
    Bool,
    Buffer,
    Choice,
    Codec,
    Instant,
    Several,
    Signed,
    Text,
    Unsigned,
)
from emu.savevm.stream import from_bytes, to_bytes

LAST = list(Colour)[-1]


def written(codec: Codec, value: object) -> bytes:
    f, data = to_bytes()
    codec.put(f, value)
    f.fflush()
    return bytes(data)


@pytest.mark.parametrize(
    ("codec", "value", "wire"),
    [
        (Unsigned(1), 0xFF, "ff"),
        (Unsigned(2), 1, "0001"),
        (Signed(4), -2, "fffffffe"),
        (Bool(), True, "01"),
        (Choice(Colour), LAST, f"{LAST.value:02x}"),
        (Instant(), 5, "0000000000000005"),
        (Instant(), NEVER, "ffffffffffffffff"),
        (Buffer(2), b"ab", "6162"),
        (Blob(3), b"ab", "00000002 6162"),
        (Text(3), "ä", "00000002 c3a4"),
        (Array(2, Unsigned(2)), [1, 2], "0001 0002"),
        (Several(2, Unsigned(2)), [1], "00000001 0001"),
    ],
)
def test_what_is_written_is_read_back(codec: Codec, value: object, wire: str) -> None:
    data = bytes.fromhex(wire)

    assert written(codec, value) == data
    f = from_bytes(data)
    assert codec.get(f) == value
    assert f.peek_byte() is None


@pytest.mark.parametrize(
    ("codec", "wire", "problem"),
    [
        (Unsigned(2), "00", "ends"),
        (Bool(), "02", "not a truth value, found 2, expected 0 or 1"),
        (Choice(Colour), "63", "no such choice, found 99"),
        (Instant(), "fffffffffffffffe", "not an instant, found -2"),
        (Instant(), f"{NEVER:016x}", "not an instant"),
        (Blob(3), "00000004", "too long, found 4 bytes, expected 3 at most"),
        (Text(3), "00000001 ff", "not UTF-8"),
        (Several(2, Unsigned(1)), "00000003", "too many, found 3, expected 2 at most"),
        (Array(2, Bool()), "00 02", r"field 'it\[1\]'"),
    ],
)
def test_what_it_cannot_be_is_refused(codec: Codec, wire: str, problem: str) -> None:
    f = from_bytes(bytes.fromhex(wire))
    f.section, f.field = "s/0", "it"

    with pytest.raises(StreamError, match=problem):
        codec.get(f)


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (Unsigned(1), 256),
        (Signed(1), 128),
        (Buffer(2), b"1"),
        (Array(2, Unsigned(1)), [1]),
    ],
)
def test_our_own_mistakes_raise(codec: Codec, value: object) -> None:
    with pytest.raises((ValueError, OverflowError)):
        written(codec, value)
