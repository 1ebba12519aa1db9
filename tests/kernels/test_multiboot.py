"""The placement of a Multiboot kernel is that of the Multiboot Specification 0.6.96."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest

from emu.errors import ConfigError
from emu.kernels import multiboot
from emu.kernels.multiboot import Module
from emu.kernels.placement import GDT, Piece, Placement
from emu.memory import MIB

MAGIC = 0x1BADB002
ADDRESSES = 1 << 16


def header(flags: int, *addresses: int, checksum: int | None = None) -> bytes:
    checksum = -(MAGIC + flags) & 0xFFFF_FFFF if checksum is None else checksum
    return struct.pack(f"<III{len(addresses)}I", MAGIC, flags, checksum, *addresses)


def aout(*addresses: int, before: bytes = b"", after: bytes = b"code") -> bytes:
    """A file whose header has header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr."""
    return before + header(ADDRESSES, *addresses) + after


SIMPLE = aout(MIB, MIB, 0, 0, MIB + 32)


def segment(*, physical: int, data: bytes, zeros: int = 0, virtual: int | None = None) -> Any:
    return (physical if virtual is None else virtual, physical, data, len(data) + zeros)


def elf(*segments: Any, entry: int = MIB, flags: int = 0, kind: int = 1, **fields: int) -> bytes:
    """An ELF file with a Multiboot header and *segments*; *fields* of its header may be changed."""
    values = {"class_": 1, "order": 1, "type_": 2, "machine": 3, "phentsize": 32} | fields
    count = len(segments)
    start = 52 + values["phentsize"] * count + 12
    table, data = b"", b""
    for virtual, physical, content, in_memory in segments:
        row = kind, start + len(data), virtual, physical, len(content), in_memory, 7, 0
        table += struct.pack("<8I", *row).ljust(values["phentsize"], b"\0")
        data += content
    ident = b"\x7fELF" + bytes([values["class_"], values["order"], 1]) + bytes(9)
    rest = values["type_"], values["machine"], 1, entry, 52, 0, 0, 52, values["phentsize"], count
    return ident + struct.pack("<HHIIIIIHHHHHH", *rest, 0, 0, 0) + table + header(flags) + data


def place(
    file: bytes, modules: tuple[Module, ...] = (), words: str = "kernel", mib: int = 16
) -> Placement:
    return multiboot.place(file, modules, words, mib * MIB)


class Given:
    """What a kernel finds, read as it would."""

    def __init__(self, placement: Placement) -> None:
        self.memory = {piece.address: piece.data for piece in placement.pieces}
        self.info = self.memory[placement.ebx]

    def u32(self, offset: int) -> int:
        return int.from_bytes(self.info[offset : offset + 4], "little")

    def string(self, address: int) -> bytes:
        data = self.memory[address]
        assert data.endswith(b"\0")
        return data[:-1]


class TestTheHeader:
    def test_is_on_a_longword_in_the_first_8_KiB(self) -> None:
        """§3.1: it is "contained completely within the first 8192 bytes"."""
        end = 8192 - 12

        assert multiboot.header_at(bytes(end) + header(0)) == end
        assert multiboot.header_at(bytes(end + 4) + header(0)) is None
        assert multiboot.header_at(b"\0\0" + header(0)) is None

    def test_has_a_checksum(self) -> None:
        """One that is wrong is no header; the search goes on behind it."""
        wrong = header(0, checksum=1)

        assert multiboot.header_at(wrong) is None
        assert multiboot.header_at(wrong + header(3)) == 12

    @pytest.mark.parametrize("size", range(0, 12, 4))
    def test_is_not_in_less_than_its_size(self, size: int) -> None:
        assert multiboot.header_at(header(0)[:size]) is None

    @pytest.mark.parametrize("flags", [1 << 0, 1 << 1, 0xFFFE << 16])
    def test_may_ask_for_pages_and_memory_and_anything_optional(self, flags: int) -> None:
        """§3.1.2: bits 16-31 may be passed over."""
        placement = place(elf(segment(physical=MIB, data=b"code"), flags=flags))

        assert placement.entry == MIB

    def test_that_asks_for_a_video_mode_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="wants a video mode, and this machine has no screen"):
            place(elf(segment(physical=MIB, data=b"code"), flags=1 << 2))

    @pytest.mark.parametrize("bit", range(3, 16))
    def test_that_asks_for_the_unknown_is_refused(self, bit: int) -> None:
        """§3.1.2: the loader "must notify the user and fail to load"."""
        with pytest.raises(ConfigError, match=f"flags {1 << bit:#06x}"):
            place(elf(segment(physical=MIB, data=b"code"), flags=1 << bit))

    def test_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="no Multiboot header"):
            place(bytes(64))


class TestAnAOut:
    def test_is_loaded_by_its_addresses(self) -> None:
        """From load_addr's place in the file to load_end_addr, then zeros to bss_end_addr."""
        file = aout(MIB + 4, MIB, MIB + 40, MIB + 100, MIB + 32, before=b"head", after=b"codeMORE")

        placement = place(file)

        assert placement.pieces[0] == Piece(MIB, file[:40], 60)
        assert placement.entry == MIB + 32

    def test_what_is_before_load_addr_in_the_file_is_not_loaded(self) -> None:
        file = aout(MIB, MIB, 0, 0, MIB, before=b"junk")

        assert place(file).pieces[0] == Piece(MIB, file[4:])

    def test_without_an_end_is_all_of_the_file_and_without_a_bss_has_none(self) -> None:
        assert place(SIMPLE).pieces[0] == Piece(MIB, SIMPLE)

    def test_takes_its_addresses_though_it_be_ELF(self) -> None:
        """§3.1.2, bit 16: they are used "instead of the ones in the OS image's header"."""
        file = b"\x7fELF" + aout(MIB + 4, MIB, 0, 0, MIB)

        assert place(file).pieces[0].data == file

    @pytest.mark.parametrize(
        ("file", "problem"),
        [
            (header(ADDRESSES, MIB, MIB, 0, 0), "ends within its header"),
            (aout(MIB, MIB + 4, 0, 0, MIB), "load_addr is behind the header"),
            (aout(MIB + 4, MIB, 0, 0, MIB), "or before the file"),
            (aout(MIB, MIB, MIB + 37, 0, MIB), "cut short: 36 bytes, expected 37"),
            (aout(MIB, MIB, MIB - 1, 0, MIB), "cut short"),
            (aout(0xA0000, 0xA0000, 0, 0, MIB), "no room at 0xa0000"),
            (aout(MIB, MIB, 0, 17 * MIB, MIB), "no room at 0x100000-0x10fffff, in 16 MiB"),
        ],
    )
    def test_that_does_not_fit_together_is_refused(self, file: bytes, problem: str) -> None:
        with pytest.raises(ConfigError, match=problem):
            place(file)


class TestAnELF:
    def test_is_loaded_by_its_segments(self) -> None:
        """At their physical addresses, zeros behind what is in the file."""
        file = elf(
            segment(physical=MIB, data=b"code"),
            segment(physical=2 * MIB, data=b"data", zeros=4092),
            segment(physical=3 * MIB, data=b"", zeros=10),
        )

        assert list(place(file).pieces[:3]) == [
            Piece(MIB, b"code"),
            Piece(2 * MIB, b"data", 4092),
            Piece(3 * MIB, b"", 10),
        ]

    def test_is_entered_at_a_physical_address(self) -> None:
        """Where it is linked for another than it is loaded at, as many that live high are."""
        file = elf(
            segment(physical=2 * MIB, data=b"data"),
            segment(physical=MIB, virtual=0xC010_0000, data=b"code"),
            entry=0xC010_0002,
        )

        assert place(file).entry == MIB + 2

    def test_an_entry_in_no_segment_is_what_it_is(self) -> None:
        file = elf(segment(physical=MIB, virtual=0xC010_0000, data=b"code"), entry=MIB + 1)

        assert place(file).entry == MIB + 1

    def test_what_is_not_to_be_loaded_is_not(self) -> None:
        """Notes, and segments of no size."""
        file = elf(segment(physical=0xA0000, data=b""), segment(physical=MIB, data=b"code"))

        assert place(file).pieces[0] == Piece(MIB, b"code")
        with pytest.raises(ConfigError, match="nothing in it is to be loaded"):
            place(elf(segment(physical=MIB, data=b"note"), kind=4))

    def test_its_table_s_rows_are_as_long_as_it_says(self) -> None:
        file = elf(
            segment(physical=MIB, data=b"a"), segment(physical=2 * MIB, data=b"b"), phentsize=40
        )

        assert [piece.data for piece in place(file).pieces[:2]] == [b"a", b"b"]

    @pytest.mark.parametrize("field", [{"class_": 2}, {"order": 2}, {"type_": 3}, {"machine": 62}])
    def test_for_another_machine_is_refused(self, field: dict[str, int]) -> None:
        with pytest.raises(ConfigError, match="expected an executable for the i386, of 32 bits"):
            place(elf(segment(physical=MIB, data=b"code"), **field))

    def test_cut_anywhere_is_refused(self) -> None:
        """After its Multiboot header, or it would be none."""
        file = elf(segment(physical=MIB, data=b"code" * 5))

        for size in range(96, len(file)):
            with pytest.raises(ConfigError, match="segment 0 is not all there"):
                place(file[:size])

    @pytest.mark.parametrize(
        ("file", "problem"),
        [
            (header(0), "ends within its header"),
            (header(0) + bytes(40), "not an ELF file"),
            (elf(segment(physical=MIB, data=b"code"), phentsize=31), "within its program headers"),
            (elf(segment(physical=MIB, data=b"code", zeros=-1)), "not all there"),
            (elf(segment(physical=MIB, data=b"", zeros=16 * MIB)), "in 16 MiB of RAM"),
            (
                elf(segment(physical=MIB, data=b"code"), segment(physical=MIB + 3, data=b"data")),
                "no room at 0x100003",
            ),
        ],
    )
    def test_that_does_not_fit_together_is_refused(self, file: bytes, problem: str) -> None:
        with pytest.raises(ConfigError, match=problem):
            place(file)

    def test_with_more_headers_than_there_are_is_refused(self) -> None:
        file = bytearray(elf(segment(physical=MIB, data=b"code")))
        file[44:46] = (200).to_bytes(2, "little")

        with pytest.raises(ConfigError, match="within its program headers"):
            place(bytes(file))


class TestWhatItIsGiven:
    def test_a_magic_number_and_an_address(self) -> None:
        """§3.2: EAX and EBX."""
        placement = place(SIMPLE)

        assert placement.eax == 0x2BADB002
        assert len(Given(placement).info) == 116

    def test_flags_say_what_is_there(self) -> None:
        assert Given(place(SIMPLE)).u32(0) == 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9
        assert Given(place(SIMPLE, (Module(b"", ""),))).u32(0) & 1 << 3

    def test_memory_in_KiB(self) -> None:
        given = Given(place(SIMPLE, mib=8))

        assert (given.u32(4), given.u32(8)) == (640, 7 * 1024)

    def test_the_memory_map(self) -> None:
        """Each region is 20 bytes and says so."""
        given = Given(place(SIMPLE))

        table = given.memory[given.u32(48)]
        assert len(table) == given.u32(44) == 3 * 24
        assert [struct.unpack_from("<IQQI", table, 24 * n) for n in range(3)] == [
            (20, 0, 0xA0000, 1),
            (20, 0xA0000, 0x60000, 2),
            (20, MIB, 15 * MIB, 1),
        ]

    def test_its_command_line_and_its_loader(self) -> None:
        given = Given(place(SIMPLE, words="kernel.elf debug"))

        assert given.string(given.u32(16)) == b"kernel.elf debug"
        assert given.string(given.u32(64)) == b"emu"

    def test_modules_on_pages_with_their_strings(self) -> None:
        modules = Module(b"a" * 5000, "first 1"), Module(b"b", "second"), Module(b"", "third")

        given = Given(place(SIMPLE, modules))

        assert given.u32(20) == 3
        table = given.memory[given.u32(24)]
        rows = [struct.unpack_from("<4I", table, 16 * n) for n in range(3)]
        for (start, end, string, reserved), module in zip(rows, modules, strict=True):
            assert start % 4096 == 0
            assert start >= MIB
            assert given.memory.get(start, b"")[: end - start] == module.data
            assert given.string(string) == module.string.encode()
            assert reserved == 0

    def test_a_module_that_does_not_fit_is_refused(self) -> None:
        with pytest.raises(
            ConfigError, match=r"module: 15728641 bytes, for which there is no room"
        ):
            place(SIMPLE, (Module(bytes(15 * MIB + 1), ""),))

    def test_nothing_overlaps(self) -> None:
        """Though the kernel is where the rest would be."""
        file = elf(
            segment(physical=0x10000, data=b"low", zeros=0x80000),
            segment(physical=MIB, data=b"high"),
        )
        placement = place(file, (Module(b"x" * 5000, "a"), Module(b"y", "b")), mib=2)

        pieces = sorted(placement.pieces, key=lambda piece: piece.address)
        assert all(one.end <= other.address for one, other in itertools.pairwise(pieces))
        assert GDT in Given(placement).memory.values()
