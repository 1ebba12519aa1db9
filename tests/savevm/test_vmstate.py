"""State declared once, and kept to."""

from __future__ import annotations

import pytest
from synthetic import Colour, MixerState, Voice

from emu import attrs
from emu.clock import NEVER
from emu.errors import StreamError
from emu.savevm.codecs import Several, Unsigned
from emu.savevm.stream import from_bytes
from emu.savevm.vmstate import (
    Constant,
    Field,
    Saved,
    Section,
    Subsection,
    UnfitError,
    array,
    blob,
    buffer,
    dump,
    flag,
    i32,
    i64,
    instant,
    instant_at,
    queue,
    records,
    reg,
    several,
    signed,
    text,
    u8,
    u16,
    u32,
    u64,
    whole,
)


@attrs.define
class Everything:
    nibble: int = reg(bits=4, doc="four bits")
    long: int = reg(bits=64, doc="64 bits")
    level: int = signed(bits=8, doc="signed")
    deadline_ns: int = instant(doc="when")
    on: bool = flag(doc="a truth value")
    data: bytes = blob(most=3, doc="bytes")
    name: str = text(most=3, doc="a string")
    list_: list[int] = array(2, 4, reset=[1, 2], doc="two nibbles")
    voices: list[Voice] = records(Voice, 1, doc="one voice")
    waiting: list[Voice] = queue(Voice, most=1, doc="a voice or none")


SECTION = whole(Everything, "everything", version=2)


def values(
    data: bytes, section: Section = SECTION, version: int | None = None
) -> dict[str, object]:
    f = from_bytes(data)
    f.section = "everything/0"
    return section.get(f, section.version if version is None else version)


class TestDeclaration:
    @pytest.mark.parametrize(
        ("field", "value", "problem"),
        [
            ("nibble", 16, "nibble = 0x10 does not fit in 4 bits"),
            ("nibble", -1, "nibble = -0x1 does not fit in 4 bits"),
            ("level", 128, "level = 128 does not fit in 8 bits, signed"),
            ("level", -129, "level = -129 does not fit in 8 bits, signed"),
            ("deadline_ns", -1, "deadline_ns = -1 is not an instant"),
            ("deadline_ns", NEVER + 1, "is not an instant"),
            ("on", 1, "on = 1 is not a bool"),
            ("data", b"1234", "data has 4 bytes, 3 at most"),
            ("name", "ää", "name is longer than 3 bytes"),
            ("list_", [1], "list_ has 1 elements, not 2"),
            ("list_", [1, 16], "list_[1] = 0x10 does not fit in 4 bits"),
            ("voices", [], "voices has 0 elements, not 1"),
            ("waiting", [Voice(), Voice()], "waiting has 2 elements, 1 at most"),
        ],
    )
    def test_a_store_that_does_not_fit_raises(
        self, field: str, value: object, problem: str
    ) -> None:
        state = Everything()

        with pytest.raises(UnfitError) as refused:
            setattr(state, field, value)

        assert problem in str(refused.value)
        assert state == Everything()

    def test_a_choice_is_one_of_its_kind(self) -> None:
        with pytest.raises(UnfitError, match=r"colour = 4 is no Colour"):
            MixerState().colour = 4  # type: ignore[assignment]

    def test_power_on_is_the_state_with_nothing_said(self) -> None:
        state = Everything()

        assert (state.nibble, state.on, state.list_, state.deadline_ns) == (0, False, [1, 2], NEVER)
        assert state.list_ is not Everything().list_

    def test_an_element_that_does_not_fit_raises_when_it_is_saved(self) -> None:
        """A save that could not be read back is worse than none."""
        state = Everything()
        state.list_[1] = 16

        with pytest.raises(UnfitError, match=r"list_\[1\]"):
            dump(SECTION, state)


class TestWire:
    def test_every_field_in_its_place(self) -> None:
        on = True
        state = Everything(0xF, 1, -2, 3, on, b"ab", "c", [4, 5], [Voice(6, -7)], [])

        data = dump(SECTION, state)

        expected = (
            "0f 0000000000000001 fe 0000000000000003 01 00000002 6162 00000001 63 0405 0006 f9"
        )
        assert data == bytes.fromhex(expected + "00000000")
        assert Everything(**values(data)) == state

    def test_no_deadline_is_minus_one(self) -> None:
        section = Section("s", 1, (instant_at("deadline_ns"),))

        assert dump(section, Everything()) == b"\xff" * 8
        assert values(b"\xff" * 8, section) == {"deadline_ns": NEVER}

    def test_short_names_for_tables(self) -> None:
        section = Section(
            "s",
            1,
            (
                *(u8("a"), u16("b"), u32("c"), u64("d"), i32("e"), i64("f")),
                *(buffer("g", 2), several("h", 2, Unsigned(1))),
            ),
            encode=lambda state: state,
        )
        given = {"a": 1, "b": 2, "c": 3, "d": 4, "e": -5, "f": -6, "g": b"gg", "h": [7, 8]}

        assert values(dump(section, given), section) == given

    def test_a_constant_is_written_and_dropped(self) -> None:
        section = Section("s", 2, (u8("a"), Constant("unused", b"\1\2", since=2)), encode=dict)

        assert dump(section, {"a": 9}) == b"\x09\1\2"
        assert values(b"\x09\xff\xff", section, 2) == {"a": 9}
        assert values(b"\x09", section, 1) == {"a": 9}

    def test_kinds_in_descriptions(self) -> None:
        assert Several(1, Unsigned(2)).kind == "uint16"
        assert [each["type"] for each in SECTION.describe(Everything())] == [
            *["uint8", "uint64", "int8", "int64", "bool", "buffer", "buffer", "uint8"],
            *["struct", "struct"],
        ]


class TestVersions:
    SECTION = Section("s", 3, (u8("a"), u8("b", since=3)), minimum=2, encode=dict)

    def test_a_younger_field_stays_away(self) -> None:
        assert values(b"\1\2", self.SECTION, 2) == {"a": 1}
        assert values(b"\1\2", self.SECTION, 3) == {"a": 1, "b": 2}

    @pytest.mark.parametrize("version", [1, 4])
    def test_one_that_cannot_be_read(self, version: int) -> None:
        with pytest.raises(StreamError, match=f"found {version}, expected 2 to 3"):
            values(b"\1\2", self.SECTION, version)

    def test_where_there_is_only_one(self) -> None:
        with pytest.raises(StreamError, match=r"found 2, expected 1$"):
            values(b"", Section("s", 1, ()), 2)


class TestSubsections:
    SECTION = Section(
        "s",
        1,
        (u8("a"),),
        encode=dict,
        subsections=(
            Subsection("s/b", 2, (u8("b"), Field("c", Unsigned(1), 2)), lambda given: given["b"]),
            Subsection("s/d", 1, (u8("d"),)),
        ),
    )

    def test_are_there_when_they_are_needed(self) -> None:
        given = {"a": 1, "b": 2, "c": 3, "d": 4}
        data = dump(self.SECTION, given)

        assert data == b"\1" + b"\5\3s/b\0\0\0\2\2\3" + b"\5\3s/d\0\0\0\1\4"
        assert values(data, self.SECTION) == given
        assert dump(self.SECTION, given | {"b": 0}) == b"\1" + b"\5\3s/d\0\0\0\1\4"

    def test_are_read_at_their_own_version(self) -> None:
        assert values(b"\1\5\3s/b\0\0\0\1\2", self.SECTION) == {"a": 1, "b": 2}

    def test_unknown_ones_are_named(self) -> None:
        with pytest.raises(StreamError, match=r"unknown subsection, found 's/x'"):
            values(b"\1\5\3s/x\0\0\0\1", self.SECTION)

    def test_newer_ones_are_refused(self) -> None:
        with pytest.raises(StreamError, match=r"s/d: newer version, found 2, expected 1"):
            values(b"\1\5\3s/d\0\0\0\2\1", self.SECTION)


class TestErrors:
    def test_name_the_field_and_the_place_within_it(self) -> None:
        good = dump(SECTION, Everything())

        with pytest.raises(StreamError, match=r"field 'list_\[1\]', offset 0x1c"):
            values(good[:28])

    def test_a_field_of_a_state_within(self) -> None:
        good = dump(SECTION, Everything())

        with pytest.raises(StreamError, match=r"field 'voices\[0\]\.pan'"):
            values(good[:31])

    def test_a_value_that_does_not_fit_in_a_state_within(self) -> None:
        good = dump(SECTION, Everything())

        with pytest.raises(StreamError, match=r"pitch = 0xffff does not fit in 12 bits"):
            values(good[:29] + b"\xff\xff\0")

    def test_a_value_that_does_not_fit(self) -> None:
        saved = Saved(Everything, (SECTION,))
        found = values(b"\x1f" + dump(SECTION, Everything())[1:])
        f = from_bytes(b"")
        f.section = "everything/0"

        with pytest.raises(StreamError, match=r"field 'nibble'.*0x1f does not fit in 4 bits"):
            saved.decode(f, {"everything": found})

    def test_a_state_is_made_of_all_its_sections(self) -> None:
        saved = Saved(Voice, (Section("a", 1, (u16("pitch"),)), Section("b", 1, ())))

        assert saved.decode(from_bytes(b""), {"a": {"pitch": 5}, "b": {"pan": 6}}) == Voice(5, 6)


def test_a_colour_is_a_byte() -> None:
    assert [each.value for each in Colour] == [0, 4]
