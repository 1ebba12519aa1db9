"""The services of our ROM answer as the AT Technical Reference says, here and on QEMU's isapc.

Headings are interrupts.  Each test calls them by `caller.asm`; what the tests expect is true of both
machines, but for what QEMU has not: a drive that can be written, and a keyboard to type on.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bios_calls import CF, ENTERED, IF, ZF, Bios, Ours, starter

import emu
from emu.host.ends import Memory as MemoryEnd

BUFFER = 0x2_0000
SEGMENT = BUFFER >> 4

HEADS, TRACK = 16, 63  # of every disk
CYLINDER = HEADS * TRACK


def numbered(sectors: int) -> bytes:
    """Sectors that tell which they are."""
    return b"".join(struct.pack("<I", number) * 128 for number in range(sectors))


FLOPPY = numbered(2880)
DISK = numbered(1500)[:-100]  # not whole sectors; nearly two cylinders


@pytest.fixture(scope="module")
def shared(start: Callable[..., Bios]) -> Iterator[Bios]:
    """One with both drives, for all that changes nothing that matters."""
    bios = start(floppy=FLOPPY, disk=DISK)
    yield bios
    bios.close()


@pytest.fixture
def bios(shared: Bios) -> Bios:
    shared.write(BUFFER, b"\xee" * 512)
    return shared


@pytest.fixture
def ours(caller: bytes, tmp_path: Path) -> Iterator[Bios]:
    """A machine of ours for a test alone, with small drives."""
    bios = starter("auto", caller, tmp_path)(floppy=FLOPPY, disk=numbered(3))
    yield bios
    bios.close()


def cx(cylinder: int, sector: int) -> int:
    return (cylinder & 0xFF) << 8 | cylinder >> 8 << 6 | sector


def first_words(data: bytes) -> list[int]:
    """The number of each sector in *data*, every byte of which must tell the same."""
    numbers = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 512)]
    assert data == b"".join(struct.pack("<I", number) * 128 for number in numbers)
    return numbers


class TestRegisters:
    @pytest.mark.parametrize(
        ("vector", "eax"),
        [
            (0x10, 0x1234_0F00),
            (0x10, 0x1234_FF00),
            (0x13, 0x1234_1000),
            (0x13, 0x1234_0201),
            (0x14, 0x1234_0300),
            (0x15, 0x1234_8800),
            (0x15, 0x1234_FF00),
            (0x16, 0x1234_0200),
            (0x1A, 0x1234_0000),
            (0x1A, 0x1234_FF00),
        ],
    )
    def test_what_a_service_does_not_answer_in_it_keeps(
        self, bios: Bios, vector: int, eax: int
    ) -> None:
        """High halves and all, and the flags that are no answer."""
        asked: dict[str, Any] = {
            "esi": 0x1111_2222,
            "edi": 0x3333_4444,
            "ebp": 0x5555_6666,
            "ebx": 0x7777_0000,
            "ds": 0x1234,
            "es": SEGMENT,
        }
        answered = bios.call(vector, eax=eax, ecx=0x9999_0001, edx=0xAAAA_0080, **asked)

        assert (answered.esi, answered.edi, answered.ebp) == (0x1111_2222, 0x3333_4444, 0x5555_6666)
        assert (answered.ebx, answered.ds, answered.es) == (0x7777_0000, 0x1234, SEGMENT)
        assert [answered.eax >> 16, answered.ecx >> 16, answered.edx >> 16] == [
            0x1234,
            0x9999,
            0xAAAA,
        ]
        assert answered.flags & ~(CF | ZF) == IF | 1 << 1

    @pytest.mark.parametrize("flags", [IF | 2, 2, IF | CF | ZF | 2])
    def test_interrupts_stay_on_or_off(self, bios: Bios, flags: int) -> None:
        """And a flag that is no answer is not changed."""
        assert bios.call(0x12, flags=flags).flags == flags
        assert bios.call(0x10, eax=0x0F00, flags=flags).flags == flags


class TestInt11And12:
    def test_equipment(self, bios: Bios) -> None:
        """One floppy, a coprocessor, 80 columns in colour, one serial port."""
        assert bios.call(0x11).ax == 1 << 9 | 2 << 4 | 1 << 1 | 1 << 0
        assert bios.word(0x410) == bios.call(0x11).ax

    def test_memory(self, bios: Bios) -> None:
        """639 KiB: the last of the 640 is the extended BIOS data area's."""
        assert bios.call(0x12).ax == 639
        assert bios.word(0x413) == 639
        assert bios.word(0x40E) == 0x9FC0

    def test_without_a_floppy_there_is_none(self, start: Callable[..., Bios]) -> None:
        bios = start(disk=DISK)

        assert bios.call(0x11).ax & 1 == 0
        assert bios.call(0x13, eax=0x0201, ebx=0, ecx=1, edx=0, es=SEGMENT).ah == 0x01
        assert bios.call(0x13, eax=0x1500, edx=0).ah == 0
        bios.close()

    def test_data_area(self, bios: Bios) -> None:
        """COM1's port and no other; one disk; 80 columns; the ring of keys."""
        assert bios.read(0x400, 8) == bytes.fromhex("f803 0000 0000 0000")
        assert bios.read(0x475, 1) == b"\1"
        assert bios.word(0x44A) == 80
        assert [bios.word(0x480), bios.word(0x482)] == [0x1E, 0x3E]


class TestInt13:
    def transfer(self, bios: Bios, function: int, place: int, count: int, head: int, drive: int):
        return bios.call(
            0x13,
            eax=function << 8 | count,
            ecx=place,
            edx=head << 8 | drive,
            ebx=0x10,
            es=SEGMENT - 1,
        )

    @pytest.mark.parametrize(
        ("drive", "place", "head", "count", "first"),
        [
            (0x00, cx(0, 1), 0, 1, 0),
            (0x00, cx(0, 18), 0, 3, 17),
            (0x00, cx(0, 1), 1, 1, 18),
            (0x00, cx(79, 18), 1, 1, 2879),
            (0x00, cx(40, 5), 0, 36, 40 * 36 + 4),
            (0x80, cx(0, 1), 0, 1, 0),
            (0x80, cx(0, 63), 0, 2, 62),
            (0x80, cx(0, 2), 15, 70, 15 * 63 + 1),
            (0x80, cx(1, 1), 0, 1, CYLINDER),
        ],
    )
    def test_read_by_place(
        self, bios: Bios, drive: int, place: int, head: int, count: int, first: int
    ) -> None:
        """AH = 02h: also across tracks, cylinders and a segment's 64 KiB."""
        answered = self.transfer(bios, 2, place, count, head, drive)

        assert (answered.cf, answered.ax) == (False, count)
        assert first_words(bios.read(BUFFER, 512 * count)) == [*range(first, first + count)]

    @pytest.mark.parametrize(
        ("drive", "place", "head", "count"),
        [
            (0x00, cx(0, 19), 0, 1),
            (0x00, cx(0, 0), 0, 1),
            (0x00, cx(80, 1), 0, 1),
            (0x00, cx(0, 1), 2, 1),
            (0x00, cx(79, 18), 1, 2),
            (0x80, cx(2, 1), 0, 1),
            (0x80, cx(256, 1), 0, 1),
            (0x80, cx(0, 1), 16, 1),
        ],
    )
    @pytest.mark.parametrize("function", [2, 3, 4])
    def test_a_place_that_the_drive_has_not(
        self, bios: Bios, function: int, drive: int, place: int, head: int, count: int
    ) -> None:
        """Status 04h; nothing is transferred."""
        answered = self.transfer(bios, function, place, count, head, drive)

        assert (answered.cf, answered.ax) == (True, 0x0400)
        assert bios.read(BUFFER, 512) == b"\xee" * 512
        assert bios.call(0x13, eax=0x0100, edx=drive).ah == 0x04

    @pytest.mark.parametrize("drive", [0x00, 0x80])
    @pytest.mark.parametrize("function", [2, 3, 4])
    def test_no_sectors_at_all(self, bios: Bios, function: int, drive: int) -> None:
        assert self.transfer(bios, function, 1, 0, 0, drive).ax == 0x0100

    @pytest.mark.parametrize("drive", [0x01, 0x7F, 0x81, 0xFF])
    def test_a_drive_that_is_not_there(self, bios: Bios, drive: int) -> None:
        answered = self.transfer(bios, 2, 1, 1, 0, drive)

        assert (answered.cf, answered.ax) == (True, 0x0101)

    def test_status_is_of_the_last_operation(self, bios: Bios) -> None:
        """AH = 01h, floppy and disk each their own; reset clears it."""
        self.transfer(bios, 2, cx(0, 0), 1, 0, 0x00)
        self.transfer(bios, 2, cx(0, 1), 1, 0, 0x80)

        floppy = bios.call(0x13, eax=0x0100, edx=0x00)
        assert (floppy.cf, floppy.ah) == (True, 0x04)
        assert bios.call(0x13, eax=0x0100, edx=0x80).ah == 0
        assert (bios.read(0x441, 1), bios.read(0x474, 1)) == (b"\4", b"\0")
        assert not bios.call(0x13, eax=0x0000, edx=0x00).cf
        assert not bios.call(0x13, eax=0x0100, edx=0x00).cf

    def test_past_the_file_s_end_are_zeros(self, bios: Bios) -> None:
        """As far as the geometry goes; also the rest of the file's last sector."""
        self.transfer(bios, 2, cx(1, 1499 - CYLINDER - 7 * 63 + 1), 3, 7, 0x80)

        data = bios.read(BUFFER, 3 * 512)
        assert data == numbered(1500)[-512:-100] + bytes(100) + bytes(1024)

    def test_verify(self, bios: Bios) -> None:
        """AH = 04h: as a read, and nothing comes."""
        answered = self.transfer(bios, 4, cx(0, 1), 5, 0, 0x80)

        assert (answered.cf, answered.ax) == (False, 5)
        assert bios.read(BUFFER, 512) == b"\xee" * 512

    def test_parameters_of_a_floppy(self, bios: Bios) -> None:
        """AH = 08h; the table is that of INT 1Eh, and has 18 sectors."""
        answered = bios.call(0x13, eax=0x08FF, edx=0x0000)

        assert (answered.cf, answered.ax, answered.bx) == (False, 0, 4)
        assert (answered.cx, answered.dx) == (cx(79, 18), 1 << 8 | 1)
        table = answered.es << 4 | answered.edi & 0xFFFF
        assert (answered.es, answered.edi & 0xFFFF) == (bios.word(0x7A), bios.word(0x78))
        assert bios.read(table, 11) == bytes.fromhex("af 02 25 02 12 1b ff 6c f6 0f 08")

    def test_parameters_of_a_disk(self, bios: Bios) -> None:
        """AH = 08h; INT 41h's table says the same."""
        answered = bios.call(0x13, eax=0x08FF, ebx=0x1234, edx=0x0080)

        assert (answered.cf, answered.ax, answered.bx) == (False, 0, 0x1234)
        assert (answered.cx, answered.dx) == (cx(1, 63), 15 << 8 | 1)
        table = bios.read(bios.word(0x106) << 4 | bios.word(0x104), 16)
        assert (table[0:2], table[2], table[14]) == (b"\2\0", 16, 63)

    def test_kind(self, bios: Bios) -> None:
        """AH = 15h."""
        floppy, disk = (bios.call(0x13, eax=0x1500, edx=drive) for drive in (0x00, 0x80))

        assert (floppy.cf, floppy.ah) == (False, 2)
        assert (disk.cf, disk.ah, disk.cx << 16 | disk.dx) == (False, 3, 2 * CYLINDER)
        assert bios.call(0x13, eax=0x1500, edx=0x81).ah == 0

    @pytest.mark.parametrize("function", [0x00, 0x0C, 0x0D, 0x10, 0x11, 0x14, 0x16, 0x47])
    def test_what_moves_nothing_succeeds(self, bios: Bios, function: int) -> None:
        answered = bios.call(0x13, eax=function << 8 | 0x55, edx=0x80, flags=IF | CF)

        assert (answered.cf, answered.ax) == (False, 0x55)

    @pytest.mark.parametrize("function", [0x05, 0x09, 0x17, 0x40, 0x49, 0xFF])
    def test_what_is_not_done(self, bios: Bios, function: int) -> None:
        """Status 01h."""
        answered = bios.call(0x13, eax=function << 8 | 0x55, edx=0x80)

        assert (answered.cf, answered.ax) == (True, 0x0155)

    def test_a_write_that_cannot_be(self, start: Callable[..., Bios]) -> None:
        """Status 03h, where there is a write at all: QEMU takes none, and ours any."""
        bios = start(floppy=FLOPPY)
        bios.write(BUFFER, b"new!" * 128)

        answered = self.transfer(bios, 3, cx(0, 3), 1, 0, 0x00)
        self.transfer(bios, 2, cx(0, 3), 1, 0, 0x00)

        expected = (0x0300, first_words(bios.read(BUFFER, 512))[0])
        found = (answered.ax, 2) if answered.cf else (0x0300, int.from_bytes(b"new!", "little"))
        assert found == expected
        assert isinstance(bios.line, Ours) != answered.cf
        bios.close()

    @pytest.mark.parametrize("drive", [0x00, 0x80])
    def test_a_write_changes_what_is_read(self, ours: Bios, drive: int) -> None:
        """AH = 03h, and nothing beside it."""
        ours.write(BUFFER, b"new!" * 128)
        answered = self.transfer(ours, 3, cx(0, 2), 1, 0, drive)
        assert (answered.cf, answered.ax) == (False, 1)

        self.transfer(ours, 2, cx(0, 1), 3, 0, drive)

        assert ours.read(BUFFER, 3 * 512) == numbered(1) + b"new!" * 128 + numbered(3)[1024:]

    def test_a_disk_grows_within_its_geometry(self, ours: Bios) -> None:
        """The file had three sectors; the geometry stays."""
        ours.write(BUFFER, b"new!" * 128)
        assert not self.transfer(ours, 3, cx(0, 63), 1, 15, 0x80).cf
        assert self.transfer(ours, 3, cx(1, 1), 1, 0, 0x80).cf

        self.transfer(ours, 2, cx(0, 62), 2, 15, 0x80)

        assert ours.read(BUFFER, 1024) == bytes(512) + b"new!" * 128
        assert ours.call(0x13, eax=0x0800, edx=0x80).cx == cx(0, 63)
        ours.line.vm.reset()
        ours.wait(ENTERED)
        assert ours.call(0x13, eax=0x0800, edx=0x80).cx == cx(0, 63)
        self.transfer(ours, 2, cx(0, 63), 1, 15, 0x80)
        assert ours.read(BUFFER, 512) == b"new!" * 128


class TestInt13ByNumber:
    PACKET = 0x500

    def transfer(
        self,
        bios: Bios,
        function: int,
        first: int,
        count: int,
        packet: bytes = b"",
        drive: int = 0x80,
    ):
        packet = packet or struct.pack("<BBHHHQ", 16, 0, count, 0, SEGMENT, first)
        bios.write(self.PACKET, packet)
        return bios.call(0x13, eax=function << 8, edx=drive, esi=self.PACKET)

    @pytest.mark.parametrize("drive", [0x00, 0x80])
    def test_they_are_there(self, bios: Bios, drive: int) -> None:
        """AH = 41h: version 1, the fixed disk access subset."""
        answered = bios.call(0x13, eax=0x4100, ebx=0x55AA, edx=drive)

        assert (answered.cf, answered.ah, answered.bx, answered.cx) == (False, 1, 0xAA55, 1)

    def test_or_not(self, bios: Bios) -> None:
        """Where BX is not 55AAh, or the drive is not there."""
        assert bios.call(0x13, eax=0x4100, ebx=0x55AB, edx=0x80).cf
        assert bios.call(0x13, eax=0x4100, ebx=0x55AA, edx=0x81).cf

    @pytest.mark.parametrize(
        ("first", "count"), [(0, 1), (1000, 120), (1498, 1), (2 * CYLINDER - 1, 1)]
    )
    def test_read(self, bios: Bios, first: int, count: int) -> None:
        answered = self.transfer(bios, 0x42, first, count)

        assert (answered.cf, answered.ah) == (False, 0)
        data = bios.read(BUFFER, 512 * count)
        assert data == numbered(2 * CYLINDER)[512 * first :][: 512 * count] or first > 1498
        assert bios.word(self.PACKET + 2) == count

    @pytest.mark.parametrize("function", [0x42, 0x43, 0x44])
    @pytest.mark.parametrize(
        ("first", "count"),
        [(2 * CYLINDER, 1), (2 * CYLINDER - 1, 2), (1 << 32, 1), (0xFFFF_FFFF, 1)],
    )
    def test_a_number_that_the_drive_has_not(
        self, bios: Bios, function: int, first: int, count: int
    ) -> None:
        """Status 04h, and the packet says that nothing was transferred."""
        answered = self.transfer(bios, function, first, count)

        assert (answered.cf, answered.ah) == (True, 4)
        assert bios.word(self.PACKET + 2) == 0

    def test_a_flat_address(self, bios: Bios) -> None:
        """All ones for the buffer: the address is at 10h."""
        packet = struct.pack("<BBHIQQ", 24, 0, 1, 0xFFFF_FFFF, 7, BUFFER)

        assert not self.transfer(bios, 0x42, 7, 1, packet).cf
        assert first_words(bios.read(BUFFER, 512)) == [7]

    def test_a_packet_that_is_too_short(self, bios: Bios) -> None:
        assert self.transfer(bios, 0x42, 0, 1, b"\x0f" + bytes(15)).ah == 1

    def test_write(self, ours: Bios) -> None:
        """AH = 43h."""
        ours.write(BUFFER, b"new!" * 128)
        assert not self.transfer(ours, 0x43, 2, 1).cf
        ours.write(BUFFER, bytes(512))
        assert not self.transfer(ours, 0x44, 2, 1).cf
        assert ours.read(BUFFER, 512) == bytes(512)

        self.transfer(ours, 0x42, 1, 2)

        assert ours.read(BUFFER, 1024) == numbered(2)[512:] + b"new!" * 128

    def test_parameters(self, bios: Bios) -> None:
        """AH = 48h: 26 bytes."""
        bios.write(self.PACKET, struct.pack("<H", 30) + b"\xee" * 28)
        answered = bios.call(0x13, eax=0x4800, edx=0x80, esi=self.PACKET)

        assert (answered.cf, answered.ah) == (False, 0)
        assert bios.read(self.PACKET, 30) == (
            struct.pack("<HHIIIQH", 26, 2, 2, HEADS, TRACK, 2 * CYLINDER, 512) + b"\xee" * 4
        )
        bios.write(self.PACKET, struct.pack("<H", 25))
        assert bios.call(0x13, eax=0x4800, edx=0x80, esi=self.PACKET).ah == 1


class TestInt19:
    """What is booted: the order is in CMOS RAM, where `register_boot_set` has left it."""

    def sector(self, letter: str) -> bytes:
        # mov ah, dl; mov dx, 3F8h; say the letter, then what DL was; cli; hlt
        code = bytes.fromhex(f"88d4 baf803 b0{ord(letter):02x} ee 88e0 ee faf4")
        return code.ljust(510, b"\0") + b"\x55\xaa"

    def boot(self, **options: object) -> bytes:
        end = MemoryEnd()
        with emu.Machine(serial=end, memory="1M", **options) as vm:
            vm.run(emu.after("50ms"))
        assert end.sent.startswith(b"emu ROM: ")
        return bytes(end.sent[9:])

    @pytest.mark.parametrize(
        ("order", "expected"),
        [(None, b"f\0"), ("a", b"f\0"), ("c", b"d\x80"), ("ca", b"d\x80"), ("dnc", b"d\x80")],
    )
    def test_the_order(self, order: str | None, expected: bytes) -> None:
        said = self.boot(floppy=self.sector("f"), disk=self.sector("d"), boot=order)

        assert said == ENTERED + expected

    def test_an_order_set_later_holds_from_the_next_reset_on(self) -> None:
        end = MemoryEnd()
        with emu.Machine(serial=end, floppy=self.sector("f"), disk=self.sector("d")) as vm:
            vm.run(emu.after("50ms"))
            vm.boot_set("c")
            vm.reset()
            vm.run(emu.after("50ms"))

        assert end.sent.endswith(ENTERED + b"d\x80")

    def test_a_drive_that_is_not_in_the_order(self) -> None:
        assert self.boot(floppy=self.sector("f"), boot="cd") == b"no bootable device\r\n"

    def test_a_drive_without_a_boot_sector_is_passed_over(self) -> None:
        assert self.boot(floppy=b"\0" * 512, disk=self.sector("d")) == ENTERED + b"d\x80"
        assert self.boot(floppy=b"\0" * 512) == b"no bootable device\r\n"

    def test_a_program_comes_last(self) -> None:
        program = self.sector("p")[:20]

        assert self.boot(image=program, floppy=self.sector("f")) == ENTERED + b"f\0"
        assert self.boot(image=program, floppy=bytes(512)) == ENTERED + b"p\x80"
        assert self.boot(image=program, boot="dn") == ENTERED + b"p\x80"

    def test_INT_19h_boots_again(self, ours: Bios) -> None:
        """And what a guest has written to a drive's first sector is what boots."""
        ours.write(BUFFER, self.sector("n"))
        assert not ours.call(0x13, eax=0x0301, ecx=1, edx=0x80, es=SEGMENT).cf
        ours.line.send(b"C\x19" + bytes(34))

        assert ours.wait(b"n\x80") == ENTERED + b"n\x80"

    def test_INT_18h_says_that_there_is_nothing(self, ours: Bios) -> None:
        """And the machine halts for good."""
        ours.line.send(b"C\x18" + bytes(34))

        assert ours.wait(b"\n") == b"no bootable device\r\n"
        assert ours.line.vm.run(emu.after("1s")).reason is not emu.Reason.HALTED
        assert not ours.line.vm.cpu.eflags & IF


class TestDrivesAreSaved:
    def test_what_was_written_is_there_after_a_restore(self, ours: Bios) -> None:
        """In the save and nowhere else."""
        ours.write(BUFFER, b"new!" * 128)
        ours.call(0x13, eax=0x0301, ecx=cx(0, 2), edx=0x80, es=SEGMENT)
        file = io.BytesIO()
        ours.line.vm.save(file)
        file.seek(0)
        end = MemoryEnd()
        with emu.load(file, serial=end) as vm:
            assert vm.digest() == ours.line.vm.digest()
            other = Bios(Ours(vm, end))
            other.call(0x13, eax=0x0201, ecx=cx(0, 2), edx=0x80, es=SEGMENT)
            assert other.read(BUFFER, 512) == b"new!" * 128
            other.write(BUFFER, b"more" * 128)
            assert not other.call(0x13, eax=0x0301, ecx=cx(0, 2), edx=0x80, es=SEGMENT).cf

    def test_the_digest_knows(self, ours: Bios) -> None:
        """A drive that was written is another machine."""
        before = [entry.data for entry in self.contents(ours)]
        ours.write(BUFFER, bytes(512))
        ours.call(0x13, eax=0x0301, ecx=cx(0, 2), edx=0x80, es=SEGMENT)

        after = [entry.data for entry in self.contents(ours)]
        assert [was == now for was, now in zip(before, after, strict=True)].count(False) == 1

    @staticmethod
    def contents(bios: Bios):
        cards = bios.line.vm.board.slot.registry.cards
        return next(c for c in cards if type(c).__name__ == "Contents").state.entries

    def test_the_file_is_never_changed(self, caller: bytes, tmp_path: Path) -> None:
        path = tmp_path / "disk.img"
        path.write_bytes(numbered(3))
        bios = Bios(Ours.start(image=caller[:510], disk=path))
        bios.wait(ENTERED)
        assert not bios.call(0x13, eax=0x0301, ecx=cx(0, 2), edx=0x80, es=SEGMENT).cf
        bios.close()

        assert path.read_bytes() == numbered(3)
