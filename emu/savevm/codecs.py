"""How one value stands in a stream: numbers big-endian, lengths and counts in 32 bits.

    Unsigned(2)   Signed(8)    a number of so many bytes      Buffer(16)      exactly so many bytes
    Bool()        Choice(E)    a byte                         Blob(64)        up to so many, their length first
    Instant()                  nanoseconds, or none           Text(64)        the same, as UTF-8
    Array(3, of)               so many of one kind            Several(3, of)  up to so many, their count first

Whatever cannot be one is refused as it is read, with a StreamError that names the stream's field.
To write a value that does not fit is our mistake, and raises.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Protocol

from emu import attrs
from emu.clock import NEVER
from emu.savevm.stream import Stream


class Codec(Protocol):
    """One way to write a value and read it back."""

    @property
    def kind(self) -> str:
        """What the stream's description calls it."""

    def put(self, f: Stream, value: Any) -> None: ...

    def get(self, f: Stream) -> Any: ...


@attrs.frozen
class Unsigned:
    """An unsigned number of *size* bytes."""

    size: int

    @property
    def kind(self) -> str:
        return f"uint{8 * self.size}"

    def put(self, f: Stream, value: int) -> None:
        f.put_buffer(int(value).to_bytes(self.size, "big"))

    def get(self, f: Stream) -> int:
        return int.from_bytes(f.get_buffer(self.size), "big")


@attrs.frozen
class Signed:
    """A two's complement number of *size* bytes."""

    size: int

    @property
    def kind(self) -> str:
        return f"int{8 * self.size}"

    def put(self, f: Stream, value: int) -> None:
        f.put_buffer(int(value).to_bytes(self.size, "big", signed=True))

    def get(self, f: Stream) -> int:
        return int.from_bytes(f.get_buffer(self.size), "big", signed=True)


@attrs.frozen
class Bool:
    """A byte, 0 or 1 and nothing else."""

    kind = "bool"

    def put(self, f: Stream, value: bool) -> None:  # noqa: FBT001 - it is the value
        f.put_byte(value)

    def get(self, f: Stream) -> bool:
        value = f.get_byte()
        if value > 1:
            raise f.error("not a truth value", found=value, expected="0 or 1")
        return bool(value)


@attrs.frozen
class Choice:
    """A byte that holds the value of an enumeration's member."""

    members: type[enum.Enum]
    kind = "uint8"

    def put(self, f: Stream, value: enum.Enum) -> None:
        f.put_byte(value.value)

    def get(self, f: Stream) -> enum.Enum:
        value = f.get_byte()
        try:
            return self.members(value)
        except ValueError:
            names = ", ".join(f"{each.value} {each.name}" for each in self.members)
            raise f.error("no such choice", found=value, expected=names) from None


@attrs.frozen
class Instant:
    """A deadline in nanoseconds; none is -1, as in QEMU."""

    kind = "int64"

    def put(self, f: Stream, value: int) -> None:
        f.put_sbe64(-1 if value == NEVER else value)

    def get(self, f: Stream) -> int:
        value = f.get_sbe64()
        if not -1 <= value < NEVER:
            raise f.error("not an instant", found=value, expected="-1 or nanoseconds")
        return NEVER if value == -1 else value


@attrs.frozen
class Buffer:
    """Exactly *size* bytes."""

    size: int
    kind = "buffer"

    def put(self, f: Stream, value: bytes) -> None:
        if len(value) != self.size:
            raise ValueError(f"{len(value)} bytes for a buffer of {self.size}")
        f.put_buffer(value)

    def get(self, f: Stream) -> bytes:
        return f.get_buffer(self.size)


@attrs.frozen
class Blob:
    """A 32-bit length and that many bytes, *most* at the most."""

    most: int
    kind = "buffer"

    def put(self, f: Stream, value: bytes) -> None:
        f.put_be32(len(value))
        f.put_buffer(value)

    def get(self, f: Stream) -> bytes:
        size = f.get_be32()
        if size > self.most:
            raise f.error("too long", found=f"{size} bytes", expected=f"{self.most} at most")
        return b"".join(f.get_buffer(min(size - done, 4096)) for done in range(0, size, 4096))


@attrs.frozen
class Text:
    """A 32-bit length and that many bytes of UTF-8, *most* at the most."""

    most: int
    kind = "buffer"

    def put(self, f: Stream, value: str) -> None:
        Blob(self.most).put(f, value.encode())

    def get(self, f: Stream) -> str:
        try:
            return Blob(self.most).get(f).decode()
        except UnicodeDecodeError as error:
            raise f.error(f"not UTF-8 ({error.reason})") from None


@attrs.frozen
class Array:
    """*count* values of one kind, one after the other."""

    count: int
    of: Codec

    @property
    def kind(self) -> str:
        return self.of.kind

    def put(self, f: Stream, value: Sequence[Any]) -> None:
        if len(value) != self.count:
            raise ValueError(f"{len(value)} values for an array of {self.count}")
        for each in value:
            self.of.put(f, each)

    def get(self, f: Stream) -> list[Any]:
        field = f.field
        values = []
        for index in range(self.count):
            f.field = f"{field}[{index}]"
            values.append(self.of.get(f))
        f.field = field
        return values


@attrs.frozen
class Several:
    """A 32-bit count and that many values of one kind, *most* at the most."""

    most: int
    of: Codec

    @property
    def kind(self) -> str:
        return self.of.kind

    def put(self, f: Stream, value: Sequence[Any]) -> None:
        f.put_be32(len(value))
        Array(len(value), self.of).put(f, value)

    def get(self, f: Stream) -> list[Any]:
        count = f.get_be32()
        if count > self.most:
            raise f.error("too many", found=count, expected=f"{self.most} at most")
        return list(Array(count, self.of).get(f))
