"""fw_cfg answers as docs/specs/fw_cfg.rst says it does.

Headings are those of that document.  The interface is driven only by its ports and through the
memory that its DMA reaches.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping

import pytest

from bench import Bench
from emu import attrs
from emu.errors import ConfigError, StreamError
from emu.hw import fw_cfg
from emu.hw.fw_cfg import (
    CONTROL_ERROR,
    CONTROL_READ,
    CONTROL_SELECT,
    CONTROL_SKIP,
    CONTROL_WRITE,
    DATA_BYTES_MOST,
    SAVED,
    FwCfg,
    Item,
    machine_items,
)
from emu.isa import Slot
from emu.savevm.stream import from_bytes

SELECTOR, DATA, DMA_HIGH, DMA_LOW = 0x510, 0x511, 0x514, 0x518

RAM_BYTES = 0x4000
STRUCTURE, BUFFER = 0x1000, 0x2000

ITEMS = {Item.NB_CPUS: b"\1\0", Item.KERNEL_DATA: b"kernel", 0x8003: b"e820"}
FILES = {"opt/b": b"bee", "etc/e820": b"\0" * 20, "opt/a": b"", "opt/drive": b"sectors"}
WRITABLE = frozenset({"opt/drive", "opt/not/there"})
DRIVE = 0x23  # its selector: the files are sorted by name


@attrs.define(eq=False)
class Firmware:
    """A machine of nothing but fw_cfg and RAM, and what firmware does on it."""

    items: Mapping[int, bytes] = attrs.field(factory=lambda: ITEMS)
    files: Mapping[str, bytes] = attrs.field(factory=lambda: FILES)
    ram: bytearray = attrs.field(factory=lambda: bytearray(b"\xee" * RAM_BYTES))
    written: list[tuple[int, int]] = attrs.field(factory=list)  # address, length
    bench: Bench[FwCfg] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.bench = Bench(self.plug_in)

    def plug_in(self, slot: Slot) -> FwCfg:
        memory = (self.read_memory, self.write_memory)
        return fw_cfg.attach(slot, self.items, self.files, *memory, writable=WRITABLE)

    def read_memory(self, address: int, size: int) -> bytes:
        return bytes(self.ram[address : address + size]).ljust(size, b"\xff")

    def write_memory(self, address: int, data: bytes) -> None:
        self.written.append((address, len(data)))
        end = min(address + len(data), RAM_BYTES)
        if address < end:
            self.ram[address:end] = data[: end - address]

    def select(self, selector: int) -> None:
        self.bench.slot.ports.write(SELECTOR, selector, 2)

    def read(self, length: int) -> bytes:
        return bytes(self.bench.inb(DATA) for _ in range(length))

    def item(self, selector: int, length: int) -> bytes:
        self.select(selector)
        return self.read(length)

    def start_dma(self, address: int, *, low_only: bool = False) -> None:
        high, low = struct.unpack("<II", address.to_bytes(8, "big"))
        if not low_only:
            self.bench.slot.ports.write(DMA_HIGH, high, 4)
        self.bench.slot.ports.write(DMA_LOW, low, 4)

    def dma(
        self, control: int, length: int = 0, address: int = BUFFER, *, at: int = STRUCTURE
    ) -> int:
        """Run one operation; what control is afterwards."""
        self.ram[at : at + 16] = struct.pack(">IIQ", control, length, address)
        self.start_dma(at, low_only=True)
        return int.from_bytes(self.ram[at : at + 4], "big")

    def buffer(self, length: int) -> bytes:
        return bytes(self.ram[BUFFER : BUFFER + length])


def select(item: int) -> int:
    return CONTROL_SELECT | item << 16


@pytest.fixture
def firmware() -> Firmware:
    return Firmware()


class TestItems:
    def test_signature(self, firmware: Firmware) -> None:
        """Under "Signature (Key 0x0000)": four bytes; and the item selected at power-on."""
        assert firmware.read(4) == b"QEMU"
        assert firmware.item(0x0000, 4) == b"QEMU"

    def test_features(self, firmware: Firmware) -> None:
        """Under "Revision / feature bitmap (Key 0x0001)": traditional interface and DMA."""
        assert firmware.item(0x0001, 4) == b"\3\0\0\0"

    def test_an_item_is_read_byte_by_byte_and_ends_in_zeros(self, firmware: Firmware) -> None:
        """Under "Data Register": after the end any read returns 0."""
        assert firmware.item(Item.KERNEL_DATA, 9) == b"kernel\0\0\0"

    def test_selecting_starts_from_the_first_byte(self, firmware: Firmware) -> None:
        """Under "Selector (Control) Register"."""
        assert firmware.item(Item.KERNEL_DATA, 3) == b"ker"
        assert firmware.item(Item.KERNEL_DATA, 3) == b"ker"

    def test_an_item_that_is_not_there_reads_as_zeros(self, firmware: Firmware) -> None:
        """It has no bytes."""
        assert firmware.item(0x1234, 4) == bytes(4)

    def test_bit_14_changes_nothing(self, firmware: Firmware) -> None:
        """Under "Selector (Control) Register", note: no longer supported."""
        assert firmware.item(0x4000 | Item.KERNEL_DATA, 6) == b"kernel"

    def test_bit_15_is_for_items_of_one_architecture(self, firmware: Firmware) -> None:
        """Under "Selector (Control) Register"."""
        assert firmware.item(0x8003, 4) == b"e820"
        assert firmware.item(0xC003, 4) == b"e820"
        assert firmware.item(0x8000 | Item.KERNEL_DATA, 4) == bytes(4)

    def test_writes_to_the_data_register_are_ignored(self, firmware: Firmware) -> None:
        """Under "Data Register": as of QEMU v2.4."""
        firmware.select(Item.KERNEL_DATA)
        firmware.bench.outb(DATA, 0x55)

        assert firmware.read(6) == b"kernel"

    def test_the_selector_cannot_be_read(self, firmware: Firmware) -> None:
        """Under "Selector (Control) Register": write only, 16 bits."""
        firmware.select(Item.KERNEL_DATA)
        firmware.bench.outb(SELECTOR, 0x01)

        assert firmware.bench.inb(SELECTOR) == 0xFF
        assert firmware.read(6) == b"kernel"

    def test_what_every_machine_tells(self) -> None:
        """Numbers are little-endian: 64 bits of RAM size, 16 bits of the others."""
        firmware = Firmware(items=machine_items(0x1_2345_6000, processors=2))

        assert firmware.item(Item.RAM_SIZE, 9) == b"\x00\x60\x45\x23\x01\0\0\0\0"
        assert firmware.item(Item.NB_CPUS, 2) == b"\2\0"
        assert firmware.item(Item.MAX_CPUS, 2) == b"\2\0"
        assert firmware.item(Item.BOOT_MENU, 2) == b"\0\0"
        assert firmware.item(Item.NOGRAPHIC, 2) == b"\0\0"


class TestDirectory:
    def test_lists_the_files_by_name(self, firmware: Firmware) -> None:
        """Under "File Directory (Key 0x0019)": big-endian; selectors from 20h on."""
        directory = firmware.item(0x19, 4 + 4 * 64)

        assert directory[:4] == b"\0\0\0\4"
        entries = [struct.unpack_from(">IHH56s", directory, 4 + 64 * place) for place in range(4)]
        assert [(size, selector, name.rstrip(b"\0")) for size, selector, _, name in entries] == [
            (20, 0x20, b"etc/e820"),
            (0, 0x21, b"opt/a"),
            (3, 0x22, b"opt/b"),
            (7, DRIVE, b"opt/drive"),
        ]
        assert all(reserved == 0 for _, _, reserved, _ in entries)

    def test_leads_to_the_files(self, firmware: Firmware) -> None:
        """Under "File Directory": the selector is that of the item."""
        assert firmware.item(0x22, 4) == b"bee\0"

    def test_may_be_empty(self) -> None:
        firmware = Firmware(files={})
        assert firmware.item(0x19, 8) == bytes(8)

    def test_a_name_may_fill_its_field_but_for_a_NUL(self) -> None:
        """Under "File Directory": char name[56], NUL-terminated."""
        firmware = Firmware(files={"n" * 55: b"x"})
        assert firmware.item(0x19, 68)[12:] == b"n" * 55 + b"\0"


class TestDMA:
    @pytest.mark.parametrize("size", [1, 2, 4])
    def test_the_address_register_reads_as_a_signature(self, firmware: Firmware, size: int) -> None:
        """Under "Signature": QEMU CFG in big-endian format, so in the order of the ports."""
        ports = firmware.bench.slot.ports
        register = b"".join(
            ports.read(port, size).to_bytes(size, "little") for port in range(0x514, 0x51C, size)
        )

        assert register == b"QEMU CFG"

    def test_reads_an_item_to_memory(self, firmware: Firmware) -> None:
        """Under "Guest-side DMA Interface": select and read in one."""
        assert firmware.dma(select(Item.KERNEL_DATA) | CONTROL_READ, 6) == 0

        assert firmware.buffer(7) == b"kernel\xee"

    def test_goes_on_where_it_stopped(self, firmware: Firmware) -> None:
        """Without select: "for the current selector and offset"; the ports share it."""
        firmware.select(Item.KERNEL_DATA)
        firmware.read(1)
        firmware.dma(CONTROL_READ, 2)
        assert firmware.buffer(2) == b"er"

        firmware.dma(CONTROL_READ, 2)
        assert firmware.buffer(2) == b"ne"
        assert firmware.read(1) == b"l"

    def test_reads_zeros_past_the_end(self, firmware: Firmware) -> None:
        """As the data register does."""
        firmware.dma(select(Item.KERNEL_DATA) | CONTROL_READ, 10)

        assert firmware.buffer(11) == b"kernel" + bytes(4) + b"\xee"

    def test_skips(self, firmware: Firmware) -> None:
        """Bit 2: the offset is advanced, nothing is copied."""
        assert firmware.dma(select(Item.KERNEL_DATA) | CONTROL_SKIP, 4) == 0
        assert firmware.buffer(1) == b"\xee"
        assert firmware.read(2) == b"el"

    def test_skipping_past_the_end_stops_there(self, firmware: Firmware) -> None:
        """However often: the offset does not come round."""
        firmware.select(Item.KERNEL_DATA)
        firmware.dma(CONTROL_SKIP, 0xFFFF_FFFF)
        firmware.dma(CONTROL_SKIP, 0xFFFF_FFFF)

        assert firmware.read(2) == bytes(2)

    def test_only_selects(self, firmware: Firmware) -> None:
        """Bit 3 alone: "the same effect as writing the selector register"."""
        firmware.item(Item.KERNEL_DATA, 2)

        assert firmware.dma(select(Item.KERNEL_DATA)) == 0
        assert firmware.read(6) == b"kernel"

    def test_a_write_is_an_error(self, firmware: Firmware) -> None:
        """Bit 4: "writes to read-only items are rejected" with the error bit."""
        assert firmware.dma(select(Item.KERNEL_DATA) | CONTROL_WRITE, 2) == CONTROL_ERROR
        assert firmware.item(Item.KERNEL_DATA, 6) == b"kernel"

    @pytest.mark.parametrize(
        ("offset", "data", "after"),
        [
            (0, b"S", b"Sectors"),
            (3, b"TORS", b"secTORS"),
            (6, b"S!", b"sectorS!"),
            (7, b"!", b"sectors!"),
            (9, b"!", b"sectors\0\0!"),
        ],
    )
    def test_a_file_that_may_be_written(
        self, firmware: Firmware, offset: int, data: bytes, after: bytes
    ) -> None:
        """Bit 4: at the current offset, which moves on.  Here it gets longer, as the directory says."""
        firmware.ram[BUFFER : BUFFER + len(data)] = data
        assert firmware.dma(select(DRIVE) | CONTROL_SKIP, offset) == 0
        assert firmware.dma(CONTROL_WRITE, len(data)) == 0
        assert firmware.read(3) == after[offset + len(data) :].ljust(3, b"\0")[:3]

        assert firmware.item(DRIVE, 12) == after.ljust(12, b"\0")
        assert firmware.item(0x4000 | DRIVE, 12) == after.ljust(12, b"\0")
        entry = len(after).to_bytes(4, "big") + bytes([0, DRIVE, 0, 0]) + b"opt/drive"
        assert entry in firmware.item(Item.FILE_DIR, 4 + 4 * 64)

    def test_written_again_where_it_was_written(self, firmware: Firmware) -> None:
        """The second goes on from the first."""
        firmware.ram[BUFFER : BUFFER + 4] = b"SECT"
        firmware.dma(select(DRIVE) | CONTROL_WRITE, 4)
        firmware.dma(CONTROL_WRITE, 2)

        assert firmware.item(DRIVE, 7) == b"SECTSEs"

    def test_to_as_much_as_an_item_may_have(self, firmware: Firmware) -> None:
        """And no further, wherever the guest skips to."""
        firmware.dma(select(DRIVE) | CONTROL_SKIP, DATA_BYTES_MOST - 4)
        assert firmware.dma(CONTROL_WRITE, 5) == CONTROL_ERROR
        firmware.dma(CONTROL_SKIP, 0xFFFF_FFFF)
        assert firmware.dma(CONTROL_WRITE, 1) == CONTROL_ERROR
        assert firmware.dma(CONTROL_WRITE, 0) == 0
        assert firmware.item(DRIVE, 7) == b"sectors"

    def test_nobody_skips_past_the_end_of_what_is_only_read(self, firmware: Firmware) -> None:
        """There a skip ends at the end, as a read does."""
        firmware.dma(select(Item.KERNEL_DATA) | CONTROL_SKIP, 100)

        assert firmware.bench.card.state.cur_offset == 6

    def test_what_was_written_is_saved(self, firmware: Firmware) -> None:
        """And can be written again where it has been restored."""
        firmware.ram[BUFFER : BUFFER + 4] = b"SECT"
        firmware.dma(select(DRIVE) | CONTROL_WRITE, 4)
        firmware.bench.card.state.cur_offset = 0
        sections = firmware.bench.slot.registry.save_sections()
        other = Firmware()
        other.bench.slot.registry.load_sections(sections)

        assert other.item(DRIVE, 7) == b"SECTors"
        other.ram[BUFFER : BUFFER + 4] = b"sect"
        other.dma(select(DRIVE) | CONTROL_WRITE, 4)
        assert other.item(DRIVE, 7) == b"sectors"
        assert firmware.item(DRIVE, 7) == b"SECTors"

    def test_that_something_was_written_is_saved_too(self, firmware: Firmware) -> None:
        """In a subsection, which is there from then on; a write that is refused is none."""
        told = bytes.fromhex("05 12") + b"emu/fw_cfg/written" + bytes.fromhex("00000001 01")

        def contents() -> bytes:
            return firmware.bench.slot.registry.save_sections()["emu/fw_cfg", 0][1]

        firmware.dma(select(Item.KERNEL_DATA) | CONTROL_WRITE, 1)
        firmware.dma(select(DRIVE) | CONTROL_READ, 1)
        before = contents()
        firmware.dma(CONTROL_WRITE, 1)

        assert told not in before
        assert contents().endswith(told)

    def test_read_comes_before_write_and_write_before_skip(self, firmware: Firmware) -> None:
        """Bit 4 counts "and not bit 1"; bit 2 "and neither bit 1 nor bit 4"."""
        everything = select(Item.KERNEL_DATA) | CONTROL_READ | CONTROL_WRITE | CONTROL_SKIP
        assert firmware.dma(everything, 3) == 0
        assert firmware.buffer(3) == b"ker"
        assert firmware.read(1) == b"n"

        write_and_skip = select(Item.KERNEL_DATA) | CONTROL_WRITE | CONTROL_SKIP
        assert firmware.dma(write_and_skip, 3) == CONTROL_ERROR
        assert firmware.read(1) == b"k"

    def test_an_address_of_64_bits_takes_two_writes(self, firmware: Firmware) -> None:
        """With "two 32-bit writes, starting with the most significant half"."""
        firmware.start_dma(0x12_3456_7890)

        # Nothing is there: all ones is a read of nothing, to nowhere, and its result is lost.
        assert firmware.written[-1] == (0x12_3456_7890, 4)

    def test_the_register_is_0_after_an_operation(self, firmware: Firmware) -> None:
        """So an address of 32 bits needs one write, whatever went before."""
        firmware.start_dma(0x12_3456_7890)

        assert firmware.dma(select(Item.KERNEL_DATA) | CONTROL_READ, 6) == 0
        assert firmware.buffer(6) == b"kernel"

    @pytest.mark.parametrize("size", [1, 2])
    def test_narrow_writes_start_nothing(self, firmware: Firmware, size: int) -> None:
        """The address register is written by 32-bit halves."""
        for port in range(0x514, 0x51C):
            firmware.bench.slot.ports.write(port, 0x1111, size)

        assert firmware.written == []

    def test_4_GiB_of_zeros_come_in_pieces(self, firmware: Firmware) -> None:
        """A guest may ask for them; the host need not hold them."""
        firmware.dma(CONTROL_READ, 0xFFFF_FFFF, 0)

        assert max(length for _, length in firmware.written) <= 1 << 20
        assert sum(length for _, length in firmware.written) == 0xFFFF_FFFF + 4


class TestReset:
    def test_selects_the_signature_and_clears_the_address(self, firmware: Firmware) -> None:
        """As "the value for the register is 0 at startup"."""
        firmware.item(Item.KERNEL_DATA, 2)
        firmware.bench.slot.ports.write(DMA_HIGH, 0x1111_1111, 4)
        firmware.bench.slot.reset()

        assert firmware.read(4) == b"QEMU"
        assert firmware.dma(select(Item.KERNEL_DATA)) == 0
        assert firmware.read(6) == b"kernel", "the contents are as they were"


class TestConfiguration:
    @pytest.mark.parametrize(
        ("items", "files", "problem"),
        [
            ({0x00: b""}, {}, "item 0x0"),
            ({0x01: b""}, {}, "item 0x1"),
            ({0x19: b""}, {}, "item 0x19"),
            ({0x20: b""}, {}, "for files"),
            ({0x4003: b""}, {}, "item 0x4003"),
            ({0x1_0003: b""}, {}, "item 0x10003"),
            ({-1: b""}, {}, "item -0x1"),
            ({}, {"": b""}, "expected 1 to 55"),
            ({}, {"n" * 56: b""}, "expected 1 to 55"),
            ({}, {"\u00e9tc": b""}, "expected 1 to 55"),
            ({}, {"a\0b": b""}, "expected 1 to 55"),
            ({0x11: bytes(DATA_BYTES_MOST + 1)}, {}, "0x11: .* at most"),
            ({}, {"etc/big": bytes(DATA_BYTES_MOST + 1)}, "etc/big: .* at most"),
            ({}, {f"opt/{number}": b"" for number in range(0x4000 - 0x1F)}, "files"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, items: Mapping[int, bytes], files: Mapping[str, bytes], problem: str
    ) -> None:
        with pytest.raises(ConfigError, match=problem):
            Firmware(items=items, files=files)


class TestSavedAndRestored:
    MOMENTS = 12

    def run(self, *, migrate_at: int | None = None) -> list[bytes]:
        """Read by port and by DMA, moved once to a machine built with nothing to read."""
        firmware = Firmware()
        seen = []
        for moment in range(self.MOMENTS):
            if moment == migrate_at:
                there = Firmware(items={}, files={}, ram=firmware.ram)
                there.bench.slot.registry.load_sections(
                    firmware.bench.slot.registry.save_sections()
                )
                firmware = there
            match moment:
                case 1:
                    firmware.select(0x19)
                case 5:
                    firmware.bench.slot.ports.write(DMA_HIGH, 0x0500_0000, 4)
                case 7:
                    firmware.start_dma(STRUCTURE, low_only=True)
                    seen.append(repr(firmware.written).encode())
                case 9:
                    firmware.dma(select(0x22) | CONTROL_READ, 2)
            seen += [firmware.read(7), firmware.buffer(16)]
            firmware.written.clear()
        return seen

    @pytest.mark.parametrize("moment", range(MOMENTS))
    def test_a_restore_at_any_moment_is_invisible(self, moment: int) -> None:
        """Contents, place in them and half an address go with the machine."""
        assert self.run(migrate_at=moment) == self.run()

    def test_the_stream_is_what_it_has_always_been(self) -> None:
        """QEMU's version 2 with its subsection, and our own part with the contents."""
        firmware = Firmware(items={Item.NB_CPUS: b"\1\0"}, files={"opt/a": b"bee"})
        firmware.item(Item.NB_CPUS, 1)
        firmware.bench.slot.ports.write(DMA_HIGH, 0x7856_3412, 4)

        dma = bytes.fromhex("05 0a") + b"fw_cfg/dma" + bytes.fromhex("00000000 1234567800000000")
        count = bytes.fromhex("00000002")
        processors = bytes.fromhex("0005 00000000 00000002 0100")
        file = bytes.fromhex("0020 00000005") + b"opt/a" + bytes.fromhex("00000003") + b"bee"
        assert firmware.bench.slot.registry.save_sections() == {
            ("fw_cfg", 0): (2, bytes.fromhex("0005 00000001") + dma),
            ("emu/fw_cfg", 0): (1, count + processors + file),
        }

    def test_a_stream_of_QEMUs_without_DMA_has_no_address(self, firmware: Firmware) -> None:
        """The subsection is absent; and the contents are those of this machine."""
        values = SAVED.sections[0].get(from_bytes(bytes.fromhex("0011 00000002")), 2)
        firmware.bench.card.state = SAVED.decode(from_bytes(b""), {"fw_cfg": values})

        assert firmware.read(4) == b"rnel"
        assert firmware.dma(select(Item.KERNEL_DATA)) == 0

    @pytest.mark.parametrize("seed", range(20))
    def test_any_bytes_make_an_interface_that_can_be_used(self, seed: int) -> None:
        """A place far behind the end reads as zeros."""
        rng = random.Random(seed)
        firmware = Firmware()
        dma = bytes.fromhex("05 0a") + b"fw_cfg/dma" + bytes(4) + rng.randbytes(8)
        entry = bytes.fromhex("ffff 00000000 00000001 55")
        firmware.bench.slot.registry.load_sections(
            {
                ("fw_cfg", 0): (2, rng.randbytes(6) + dma),
                ("emu/fw_cfg", 0): (1, bytes.fromhex("00000002") + 2 * entry),
            }
        )

        assert firmware.read(4) == bytes(4)
        firmware.start_dma(STRUCTURE)
        assert firmware.item(0x0000, 4) == b"QEMU"

    @pytest.mark.parametrize(
        ("contents", "problem"),
        [
            ("00010001", "at most"),
            ("00000001 0020 00000038" + "61" * 56 + "00000000", "at most"),
            ("00000001 0020 00000001 61 04000001", "at most"),
            ("00000001 0020 00000001 ff 00000000", "UTF-8"),
            ("00000001 0020 00000001 61 00000002 62", "ends"),
        ],
    )
    def test_contents_beyond_bounds_are_refused(
        self, firmware: Firmware, contents: str, problem: str
    ) -> None:
        """Before anything is set aside for them; and the machine is as it was."""
        sections = firmware.bench.slot.registry.save_sections()
        sections["emu/fw_cfg", 0] = (1, bytes.fromhex(contents))

        with pytest.raises(StreamError, match=problem):
            firmware.bench.slot.registry.load_sections(sections)
        assert firmware.item(Item.KERNEL_DATA, 6) == b"kernel"
