"""Device state, declared once; how it stands in a stream, declared beside it.

A chip declares what a saved machine must remember about it as a class, `State`, whose
fields are made by the functions of the first half of this file:

    reg(bits=8)     an unsigned register         flag()          true or false
    signed(bits=64) a signed number              choice(Enum)    one of an enumeration
    instant()       a deadline on the clock      blob(most=64)   up to so many bytes
    past()          an instant that has been     text(most=64)   a string
    array(3, 8)     several registers            now()           the clock itself
    records(S, 3)   several States in one        record(S)       a State in a State

That declaration says the width, the power-up value and the meaning of each field, and it is
kept to: a store that does not fit raises at the line that did it, and so does a stream.

How the State stands on the wire is the second half.  A `Section` names the fields in the order in
which they are written, each with its codec (codecs.py); `whole(State, ...)` takes them as declared.
Where QEMU has the device, the section has QEMU's name, version, order and representation, `encode`
translates, and what QEMU has no room for goes to a second section, ``emu/...``.  `Saved` ties a
State to its one or two sections.  From these the rest is derived:

    save      dump(section, state)            fields in order, big-endian
    load      Section.get(f, version)         the values, each read and named in errors
              Saved.decode(values)            a new, checked State - or StreamError
    inspect   Section.describe(state)         the JSON at the end of the stream
    document  emu.tools.format_tables         the tables of FORMAT.md

This is QEMU's VMStateField with Python's own record type in place of offsetof
(docs/devel/migration.rst).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from emu import attrs
from emu.clock import NEVER, NS_PER_S
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
from emu.savevm.stream import Stream, to_bytes

S = TypeVar("S")
Values = dict[str, Any]

SUBSECTION = 0x05  # the byte that begins one
NOW_BITS = 61  # of a clock that is saved: whatever a card adds to it is still less than NEVER
A_YEAR_NS = 366 * 86_400 * NS_PER_S


class UnfitError(ValueError):
    """A value that its field cannot hold: our mistake, or a stream's."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(f"{field}{problem}")


# ==== fields of a State ===================================================================


def _field(default: Any, codec: Codec, check: Any, doc: str, since: int, **metadata: Any) -> Any:
    return attrs.field(
        **({"factory": default} if callable(default) else {"default": default}),
        validator=check,
        metadata={"codec": codec, "doc": doc, "since": since, **metadata},
    )


def _bytes_for(bits: int) -> int:
    return next(size for size in (1, 2, 4, 8, 16) if bits <= 8 * size)


def reg(*, bits: int, reset: int = 0, doc: str, since: int = 1) -> Any:
    """An unsigned register, *bits* wide, *reset* at power-on."""

    def fits(_: object, field: attrs.Attribute, value: int) -> None:
        if not 0 <= value < 1 << bits:
            raise UnfitError(field.name, f" = {value:#x} does not fit in {bits} bits")

    return _field(reset, Unsigned(_bytes_for(bits)), fits, doc, since, most=(1 << bits) - 1)


def signed(*, bits: int, reset: int = 0, doc: str, since: int = 1, **metadata: Any) -> Any:
    """A signed number, *bits* wide."""
    most = (1 << bits - 1) - 1

    def fits(_: object, field: attrs.Attribute, value: int) -> None:
        if not -most - 1 <= value <= most:
            raise UnfitError(field.name, f" = {value} does not fit in {bits} bits, signed")

    return _field(reset, Signed(_bytes_for(bits)), fits, doc, since, most=most, **metadata)


def instant(*, within_ns: int = A_YEAR_NS, doc: str, since: int = 1) -> Any:
    """A deadline in virtual nanoseconds; `emu.clock.NEVER` where there is none.

    A save in which it is more than *within_ns* after the clock is refused (`check_instants`).
    """

    def fits(_: object, field: attrs.Attribute, value: int) -> None:
        if not 0 <= value <= NEVER:
            raise UnfitError(field.name, f" = {value} is not an instant")

    return _field(NEVER, Instant(), fits, doc, since, most=NEVER - 1, within_ns=within_ns)


def past(*, doc: str, since: int = 1) -> Any:
    """An instant that has been, in virtual nanoseconds; one before power-on is negative.

    It may be a little after the clock of its save, as QEMU takes some things for earlier.
    """
    return signed(bits=63, doc=doc, since=since, within_ns=NS_PER_S)


def now(*, doc: str) -> Any:
    """The clock, in virtual nanoseconds: what the instants of the same save are compared with."""

    def fits(_: object, field: attrs.Attribute, value: int) -> None:
        if not 0 <= value < 1 << NOW_BITS:
            raise UnfitError(field.name, f" = {value} is not a time")

    return _field(0, Unsigned(8), fits, doc, 1, most=(1 << NOW_BITS) - 1, is_now=True)


def flag(*, reset: bool = False, doc: str, since: int = 1) -> Any:
    """True or false."""

    def fits(_: object, field: attrs.Attribute, value: object) -> None:
        if not isinstance(value, bool):
            raise UnfitError(field.name, f" = {value!r} is not a bool")

    return _field(reset, Bool(), fits, doc, since, most=True)


def choice(members: type[enum.Enum], *, reset: enum.Enum, doc: str, since: int = 1) -> Any:
    """A member of an enumeration whose values are bytes."""

    def fits(_: object, field: attrs.Attribute, value: object) -> None:
        if not isinstance(value, members):
            raise UnfitError(field.name, f" = {value!r} is no {members.__name__}")

    return _field(reset, Choice(members), fits, doc, since, most=list(members)[-1])


def blob(*, most: int, doc: str, since: int = 1) -> Any:
    """Up to *most* bytes."""

    def fits(_: object, field: attrs.Attribute, value: bytes) -> None:
        if len(value) > most:
            raise UnfitError(field.name, f" has {len(value)} bytes, {most} at most")

    return _field(b"", Blob(most), fits, doc, since, most=b"\xff" * min(most, 64))


def text(*, most: int, doc: str, since: int = 1) -> Any:
    """A string whose UTF-8 form has up to *most* bytes."""

    def fits(_: object, field: attrs.Attribute, value: str) -> None:
        if len(value.encode()) > most:
            raise UnfitError(field.name, f" is longer than {most} bytes")

    return _field("", Text(most), fits, doc, since, most="x" * min(most, 64))


def array(
    count: int, bits: int, *, reset: Iterable[int] | None = None, doc: str, since: int = 1
) -> Any:
    """A list of *count* unsigned registers, each *bits* wide.

    The elements are checked when the list is assigned and when it is saved, not when one of
    them is stored.
    """
    initial = list(reset) if reset is not None else [0] * count
    most = (1 << bits) - 1

    def fits(_: object, field: attrs.Attribute, value: Sequence[int]) -> None:
        if len(value) != count:
            raise UnfitError(field.name, f" has {len(value)} elements, not {count}")
        for index, each in enumerate(value):
            if not 0 <= each <= most:
                raise UnfitError(
                    f"{field.name}[{index}]", f" = {each:#x} does not fit in {bits} bits"
                )

    codec = Array(count, Unsigned(_bytes_for(bits)))
    return _field(lambda: list(initial), codec, fits, doc, since, most=[most] * count)


def record(
    state: type[S], *, reset: Callable[[], S] | None = None, doc: str, since: int = 1
) -> Any:
    """A State within the State; *reset* makes it at power-on where its own defaults do not."""
    return _field(reset or state, struct_of(state), None, doc, since, most=state)


def records(state: type[S], count: int, *, doc: str, since: int = 1) -> Any:
    """*count* States of one kind, in a list."""

    def fits(_: object, field: attrs.Attribute, value: Sequence[S]) -> None:
        if len(value) != count:
            raise UnfitError(field.name, f" has {len(value)} elements, not {count}")

    codec = Array(count, struct_of(state))
    return _field(
        lambda: [state() for _ in range(count)], codec, fits, doc, since, most=[state] * count
    )


def queue(state: type[S], *, most: int, doc: str, since: int = 1) -> Any:
    """A list of up to *most* States of one kind."""

    def fits(_: object, field: attrs.Attribute, value: Sequence[S]) -> None:
        if len(value) > most:
            raise UnfitError(field.name, f" has {len(value)} elements, {most} at most")

    codec = Several(most, struct_of(state))
    return _field(list, codec, fits, doc, since, most=[state])


def fields_of(state: type[Any], *, without: Iterable[str] = ()) -> tuple[Field, ...]:
    """The fields of *state* as declared, for a section's layout; some may be left out."""
    left_out = frozenset(without)
    return tuple(
        Field(each.name, each.metadata["codec"], each.metadata["since"])
        for each in attrs.fields(state)
        if each.name not in left_out
    )


def struct_of(state: type[Any]) -> Struct:
    """*state* as a part of something larger."""
    return Struct(fields_of(state), state)


def _values(state: Any) -> Values:
    return {each.name: getattr(state, each.name) for each in attrs.fields(type(state))}


# ==== sections ============================================================================


@attrs.frozen
class Struct:
    """Named values, one after the other: a State, or with `make=dict` a plain mapping."""

    fields: tuple[Field, ...]
    make: Callable[..., Any] = dict
    kind = "struct"

    def put(self, f: Stream, value: Any) -> None:
        values = value if isinstance(value, Mapping) else _values(value)
        for field in self.fields:
            field.put(f, values)

    def get(self, f: Stream) -> Any:
        outer = f.field
        values: Values = {}
        for field in self.fields:
            field.get(f, values, field.since if f.version is None else f.version)
        f.field = outer
        return self.make(**values)


@attrs.frozen
class Field:
    """One named value of a section, in its place there."""

    name: str
    codec: Codec
    since: int = 1  # the section's version that brought it

    def put(self, f: Stream, values: Mapping[str, Any]) -> None:
        self.codec.put(f, values[self.name])

    def get(self, f: Stream, values: Values, version: int) -> None:
        """Read the value into *values*; one younger than *version* stays away."""
        if version < self.since:
            return
        outer = f.field
        f.field = f"{outer}.{self.name}" if outer else self.name
        values[self.name] = self.codec.get(f)
        f.field = outer


@attrs.frozen
class Constant:
    """Bytes that QEMU has there and we have no use for: always written so, read and dropped."""

    name: str
    data: bytes
    since: int = 1

    @property
    def codec(self) -> Codec:
        return Buffer(len(self.data))

    def put(self, f: Stream, values: Mapping[str, Any]) -> None:  # noqa: ARG002
        f.put_buffer(self.data)

    def get(self, f: Stream, values: Values, version: int) -> None:  # noqa: ARG002
        if version >= self.since:
            outer, f.field = f.field, self.name
            f.get_buffer(len(self.data))
            f.field = outer


# Short names for the tables of the chips; the second argument is the version that brought it.


def u8(name: str, since: int = 1) -> Field:
    return Field(name, Unsigned(1), since)


def u16(name: str, since: int = 1) -> Field:
    return Field(name, Unsigned(2), since)


def u32(name: str, since: int = 1) -> Field:
    return Field(name, Unsigned(4), since)


def u64(name: str, since: int = 1) -> Field:
    return Field(name, Unsigned(8), since)


def i32(name: str, since: int = 1) -> Field:
    return Field(name, Signed(4), since)


def i64(name: str, since: int = 1) -> Field:
    return Field(name, Signed(8), since)


def instant_at(name: str, since: int = 1) -> Field:
    return Field(name, Instant(), since)


def buffer(name: str, size: int, since: int = 1) -> Field:
    return Field(name, Buffer(size), since)


def several(name: str, count: int, of: Codec, since: int = 1) -> Field:
    return Field(name, Array(count, of), since)


def always(_state: object) -> bool:
    """For a subsection that is always written."""
    return True


@attrs.frozen
class Subsection:
    """Fields that follow a section only where they are *needed*, under a name of their own."""

    name: str  # begins with the section's idstr and a slash
    version: int
    layout: tuple[Field | Constant, ...]
    needed: Callable[[Any], bool] = always


@attrs.frozen
class Section:
    """One section of a save: its name, its version, and its fields in their order.

    *encode* makes the values to be written from a State, by field name; without it they
    are the State's own attributes.
    """

    idstr: str
    version: int
    layout: tuple[Field | Constant, ...]
    minimum: int = 1  # the oldest version that can still be read
    encode: Callable[[Any], Mapping[str, Any]] = _values
    subsections: tuple[Subsection, ...] = ()

    def put(self, f: Stream, state: Any) -> None:
        """Write *state*; UnfitError where what it holds could not be read back."""
        if attrs.has(type(state)):
            attrs.validate(state)  # an element of a list is stored without a check
        values = self.encode(state)
        for field in self.layout:
            field.put(f, values)
        for subsection in self.subsections:
            if subsection.needed(state):
                f.put_byte(SUBSECTION)
                f.put_name(subsection.name)
                f.put_be32(subsection.version)
                for field in subsection.layout:
                    field.put(f, values)

    def get(self, f: Stream, version: int) -> Values:
        """Read the values that `put` wrote when this section was at *version*.

        Raises StreamError for a version that cannot be read, and with the field's name for
        whatever is wrong in a field.
        """
        if not self.minimum <= version <= self.version:
            known = f"{self.minimum} to {self.version}" if self.minimum < self.version else ""
            raise f.error(
                "this version cannot be read", found=version, expected=known or self.version
            )
        f.field = None
        f.version = version
        values: Values = {}
        try:
            for field in self.layout:
                field.get(f, values, version)
            while f.peek_byte() == SUBSECTION and self.subsections:
                self._get_subsection(f, values)
        except UnfitError as error:
            raise _unfit(f, error) from None
        return values

    def _get_subsection(self, f: Stream, values: Values) -> None:
        f.field = "subsection"
        f.get_byte()
        name, version = f.get_name(), f.get_be32()
        for subsection in self.subsections:
            if subsection.name == name:
                break
        else:
            raise f.error("unknown subsection", found=repr(name))
        if version > subsection.version:
            raise f.error(f"{name}: newer version", found=version, expected=subsection.version)
        f.field = None
        f.version = version
        for field in subsection.layout:
            field.get(f, values, version)

    def describe(self, state: Any) -> list[dict[str, Any]]:
        """The fields with their kinds and sizes, as the stream's description has them."""
        values = self.encode(state)
        described = []
        for field in self.layout:
            f, data = to_bytes()
            field.put(f, values)
            f.fflush()
            described.append({"name": field.name, "type": field.codec.kind, "size": len(data)})
        return described


def whole(state: type[Any], idstr: str, version: int = 1, minimum: int = 1) -> Section:
    """The section that holds all fields of *state* as they are declared."""
    return Section(idstr, version, fields_of(state), minimum)


def _merge(state: type[S]) -> Callable[[Mapping[str, Values]], S]:
    """The usual way back: every field from whichever section has it."""

    def decode(found: Mapping[str, Values]) -> S:
        return state(**{name: value for part in found.values() for name, value in part.items()})

    return decode


@attrs.frozen
class Saved(Generic[S]):
    """A State and the sections it stands in.

    *decode* makes the State from the values of the sections that were found, by idstr: a
    stream of QEMU's lacks the ``emu/...`` ones, and what they hold is then as at power-on,
    or what *decode* can tell from the rest.
    """

    state: type[S]
    sections: tuple[Section, ...]
    decode_values: Callable[[Mapping[str, Values]], S] | None = None

    def decode(self, f: Stream, found: Mapping[str, Values]) -> S:
        """A new State, every field checked; StreamError where one does not fit."""
        decode = self.decode_values or _merge(self.state)
        f.field = None
        try:
            return decode(found)
        except UnfitError as error:
            raise _unfit(f, error) from None


def check_instants(states: Iterable[tuple[str, Any]]) -> None:
    """StreamError where an instant is so far off that no card can have set it.

    *states* are all of one save, each with the name of its section.  One made up by somebody
    could otherwise take the clock to any time, or keep a guest waiting for years.
    """
    fields = [(section, *found) for section, state in states for found in _walk("", state)]
    now_ns = next((value for *_, field, value in fields if field.metadata.get("is_now")), None)
    if now_ns is None:
        return
    for section, name, field, value in fields:
        within_ns = field.metadata.get("within_ns")
        if field.metadata.get("is_now"):
            least, most = 0, (1 << NOW_BITS) - A_YEAR_NS  # it is to go on from there
        elif within_ns is None or value == NEVER:
            continue
        else:
            least, most = -1 << NOW_BITS, now_ns + within_ns
        if not least <= value <= most:
            raise StreamError(
                "an instant too far off",
                section=section,
                field=name,
                found=value,
                expected=f"{most} at most" if value > most else f"{least} at least",
            )


def _walk(outer: str, state: Any) -> Iterator[tuple[str, attrs.Attribute, Any]]:
    """Every field in *state* and in the States in it: its name, its declaration, its value."""
    for field in attrs.fields(type(state)):
        name, value = f"{outer}{field.name}", getattr(state, field.name)
        yield name, field, value
        if attrs.has(type(value)):
            yield from _walk(f"{name}.", value)
        elif isinstance(value, list) and value and attrs.has(type(value[0])):
            for index, each in enumerate(value):
                yield from _walk(f"{name}[{index}].", each)


def _unfit(f: Stream, error: UnfitError) -> StreamError:
    f.field = error.field if f.field is None else f"{f.field}.{error.field}"
    return f.error(str(error))


def dump(section: Section, state: Any) -> bytes:
    """The bytes that *section* has of *state*."""
    f, data = to_bytes()
    section.put(f, state)
    f.fflush()
    return bytes(data)
