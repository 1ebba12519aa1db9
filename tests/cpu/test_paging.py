"""The page walk does what chapter 4 of Intel's SDM, volume 3A, says.

§ numbers are that chapter's.  Tables are built in guest memory as a kernel would; what is
looked at is the physical address or page fault that comes out, and what is then in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from emu import attrs
from emu.cpu.bits import CR0_PG, CR0_WP, CR4_PAE, CR4_PSE, EFER_NXE
from emu.cpu.layout import Registers
from emu.cpu.paging import (
    ENTRY_A,
    ENTRY_D,
    ENTRY_NX,
    ENTRY_P,
    ENTRY_PS,
    ENTRY_RW,
    ENTRY_US,
    ERROR_P,
    ERROR_RSVD,
    ERROR_U,
    ERROR_W,
    Fault,
    LinearMemory,
    PageFault,
)
from emu.memory import Memory, Ram

POINTERS = 0x1_0000  # PAE's page-directory-pointer table
DIRECTORY = 0x1_1000
TABLE = 0x1_2000
PAGE = 0x5_0000  # what LINEAR is mapped to
NEXT = 0x7_0000  # and the page after it
LINEAR = 0x00C0_3000  # directory entry 3, table entry 3; with PAE 6 and 3
A20_CLOSED = ~(1 << 20)

ALL = ENTRY_P | ENTRY_RW | ENTRY_US


@attrs.define
class Guest:
    """A machine of 1 MiB, with the tables for LINEAR and the page after it."""

    memory: Memory
    registers: Registers
    entry_bytes: int = 4

    @property
    def linear(self) -> LinearMemory:
        return LinearMemory(self.registers, self.memory)

    def put(self, address: int, entry: int) -> None:
        self.memory.write(address, entry.to_bytes(self.entry_bytes, "little"))

    def entry(self, address: int) -> int:
        return int.from_bytes(self.memory.read(address, self.entry_bytes), "little")

    def pte(self, page: int = 3) -> int:
        return TABLE + page * self.entry_bytes

    @property
    def pde(self) -> int:
        return DIRECTORY + (LINEAR >> (22 if self.entry_bytes == 4 else 21)) * self.entry_bytes

    def read(self, linear: int = LINEAR, *, user: bool = False) -> int:
        return self.linear.translate(linear, write=False, user=user)

    def write(self, linear: int = LINEAR, *, user: bool = False) -> int:
        return self.linear.translate(linear, write=True, user=user)

    def fault(self, *, write: bool = False, user: bool = False, linear: int = LINEAR) -> int:
        """The error code that an access ends with."""
        with pytest.raises(PageFault) as caught:
            self.linear.translate(linear, write=write, user=user)
        assert caught.value.linear == linear
        assert caught.value.vector == 14
        return caught.value.error_code


def machine() -> Iterator[Guest]:
    memory = Memory(Ram("pc.ram", 1 << 20), Ram("pc.bios", 64 << 10))
    registers = Registers()
    registers.a20_mask = -1
    yield Guest(memory, registers)
    memory.ram.close()
    memory.rom.close()


@pytest.fixture
def unpaged() -> Iterator[Guest]:
    yield from machine()


@pytest.fixture
def guest(unpaged: Guest) -> Guest:
    """32-bit paging."""
    unpaged.registers.cr[0] = CR0_PG | 1
    unpaged.registers.cr[3] = DIRECTORY | 0x18  # PCD and PWT are no part of the address
    unpaged.put(unpaged.pde, TABLE | ALL)
    unpaged.put(unpaged.pte(3), PAGE | ALL)
    unpaged.put(unpaged.pte(4), NEXT | ALL)
    return unpaged


@pytest.fixture
def pae(unpaged: Guest) -> Guest:
    """PAE paging."""
    unpaged.entry_bytes = 8
    unpaged.registers.cr[0] = CR0_PG | 1
    unpaged.registers.cr[3] = POINTERS | 0x18
    unpaged.registers.cr[4] = CR4_PAE
    unpaged.put(POINTERS, DIRECTORY | ENTRY_P)
    unpaged.put(unpaged.pde, TABLE | ALL)
    unpaged.put(unpaged.pte(3), PAGE | ALL)
    unpaged.put(unpaged.pte(4), NEXT | ALL)
    return unpaged


class TestWithoutPaging:
    def test_a_linear_address_is_the_physical_one(self, unpaged: Guest) -> None:
        """§4.1.1: CR0.PG = 0."""
        assert unpaged.read(0x1_2345) == 0x1_2345

    def test_linear_addresses_have_32_bits(self, unpaged: Guest) -> None:
        """A base and an offset may add up to more; volume 3A §3.3."""
        assert unpaged.read(0x1_0000_0010) == 0x10

    def test_the_A20_gate_clears_bit_20(self, unpaged: Guest) -> None:
        """FFFF:0010 is 0 where the gate is closed."""
        unpaged.registers.a20_mask = A20_CLOSED

        assert unpaged.write(0x10_0000) == 0
        assert unpaged.write(0xFFFF_FFFF) == 0xFFEF_FFFF


class Test32BitPaging:
    def test_directory_table_and_offset_make_the_address(self, guest: Guest) -> None:
        """§4.3, figure 4-2."""
        assert guest.read(LINEAR + 0xABC) == PAGE + 0xABC

    @pytest.mark.parametrize("level", ["pde", "pte"])
    def test_what_is_not_present_faults(self, guest: Guest, level: str) -> None:
        """§4.7: P of the error code is 0; W and U tell the access."""
        guest.put({"pde": guest.pde, "pte": guest.pte()}[level], ALL & ~ENTRY_P)

        assert guest.fault() == 0
        assert guest.fault(write=True) == ERROR_W
        assert guest.fault(user=True) == ERROR_U
        assert guest.fault(write=True, user=True) == ERROR_W | ERROR_U

    @pytest.mark.parametrize("write", [False, True])
    @pytest.mark.parametrize("user", [False, True])
    @pytest.mark.parametrize("wp", [0, CR0_WP])
    @pytest.mark.parametrize(
        ("pde", "pte"),
        list(itertools.product([0, ENTRY_US, ENTRY_RW, ENTRY_US | ENTRY_RW], repeat=2)),
    )
    def test_both_levels_must_allow_an_access(
        self, guest: Guest, pde: int, pte: int, wp: int, *, user: bool, write: bool
    ) -> None:
        """§4.6.1: a user needs U/S, a write R/W; supervisors write anywhere unless CR0.WP."""
        both = pde & pte
        refused = user and not both & ENTRY_US
        refused |= write and not both & ENTRY_RW and bool(user or wp)
        code = ERROR_P | ERROR_W * write | ERROR_U * user
        guest.registers.cr[0] |= wp
        guest.put(guest.pde, TABLE | ENTRY_P | pde)
        guest.put(guest.pte(), PAGE | ENTRY_P | pte)

        try:
            outcome: tuple[str, int] = (
                "page",
                guest.linear.translate(LINEAR, write=write, user=user),
            )
        except PageFault as fault:
            outcome = ("fault", fault.error_code)

        assert outcome == (("fault", code) if refused else ("page", PAGE))

    def test_PS_is_no_large_page_without_CR4_PSE(self, guest: Guest) -> None:
        """§4.3: the bit is ignored."""
        guest.put(guest.pde, TABLE | ALL | ENTRY_PS)

        assert guest.read() == PAGE

    def test_tables_are_behind_the_A20_gate_too(self, guest: Guest) -> None:
        """The gate is on the address bus, after paging."""
        guest.registers.a20_mask = A20_CLOSED
        guest.registers.cr[3] = 1 << 20 | DIRECTORY
        guest.put(guest.pde, 1 << 20 | TABLE | ALL)
        guest.put(guest.pte(), 1 << 20 | PAGE | ALL)

        assert guest.write() == PAGE
        assert guest.entry(guest.pde) & ENTRY_A
        assert guest.entry(guest.pte()) & ENTRY_D


class TestLargePages:
    @pytest.fixture
    def pse(self, guest: Guest) -> Guest:
        guest.registers.cr[4] = CR4_PSE
        guest.put(guest.pde, 0x0040_0000 | ALL | ENTRY_PS)
        return guest

    def test_a_4_MiB_page_takes_22_bits_of_offset(self, pse: Guest) -> None:
        """§4.3, figure 4-3."""
        assert pse.read(0x00C1_2345) == 0x0041_2345

    def test_bits_20_to_13_are_address_bits_39_to_32(self, pse: Guest) -> None:
        """§4.3, PSE-36."""
        pse.put(pse.pde, 0x0040_0000 | 0x81 << 13 | ALL | ENTRY_PS)

        assert pse.read(0x00C1_2345) == 0x81_0041_2345

    def test_bit_21_is_reserved(self, pse: Guest) -> None:
        """§4.3, table 4-4."""
        pse.put(pse.pde, 1 << 21 | ALL | ENTRY_PS)

        assert pse.fault(write=True) == ERROR_P | ERROR_RSVD | ERROR_W

    def test_its_entry_alone_gives_the_rights_and_is_marked(self, pse: Guest) -> None:
        """§4.6.1, §4.8."""
        pse.put(pse.pde, 0x0040_0000 | ENTRY_P | ENTRY_RW | ENTRY_PS)

        assert pse.fault(user=True) == ERROR_P | ERROR_U

        pse.write()

        marks = ENTRY_A | ENTRY_D
        assert pse.entry(pse.pde) == 0x0040_0000 | ENTRY_P | ENTRY_RW | ENTRY_PS | marks

    def test_small_pages_go_on_beside_them(self, pse: Guest) -> None:
        """§4.3: PS decides for each entry."""
        pse.put(pse.pde, TABLE | ALL)

        assert pse.read() == PAGE


class TestAccessedAndDirty:
    """§4.8."""

    def test_a_read_sets_accessed_in_both_levels(self, guest: Guest) -> None:
        guest.read()

        assert guest.entry(guest.pde) == TABLE | ALL | ENTRY_A
        assert guest.entry(guest.pte()) == PAGE | ALL | ENTRY_A

    def test_a_write_sets_dirty_in_the_page_s_entry_only(self, guest: Guest) -> None:
        guest.write()

        assert guest.entry(guest.pde) == TABLE | ALL | ENTRY_A
        assert guest.entry(guest.pte()) == PAGE | ALL | ENTRY_A | ENTRY_D

    def test_a_write_after_a_read_sets_dirty(self, guest: Guest) -> None:
        guest.read()
        guest.write()

        assert guest.entry(guest.pte()) == PAGE | ALL | ENTRY_A | ENTRY_D

    def test_a_refused_access_leaves_the_page_s_entry_alone(self, guest: Guest) -> None:
        guest.put(guest.pte(), PAGE | ENTRY_P)

        guest.fault(user=True)

        assert guest.entry(guest.pte()) == PAGE | ENTRY_P

    def test_entries_that_are_marked_are_not_written(self, guest: Guest) -> None:
        """They may be in ROM, and a write costs translated code."""
        guest.write()
        written = []
        guest.memory.invalidate = lambda address, _length: written.append(address)

        guest.write()
        guest.read()

        assert written == []


class TestPAEPaging:
    def test_three_levels_and_the_offset_make_the_address(self, pae: Guest) -> None:
        """§4.4, figure 4-5."""
        assert pae.read(LINEAR + 0xABC) == PAGE + 0xABC

    def test_each_entry_of_the_directory_maps_2_MiB(self, pae: Guest) -> None:
        """§4.4: 29:21 of the address choose it."""
        pae.put(pae.pde + 8, TABLE | ALL)
        pae.put(pae.pde, 0)

        assert pae.read(LINEAR + (2 << 20)) == PAGE

    def test_bits_31_and_30_choose_the_directory(self, pae: Guest) -> None:
        """§4.4.2."""
        pae.put(POINTERS + 3 * 8, DIRECTORY | ENTRY_P)

        assert pae.read(LINEAR | 0xC000_0000) == PAGE

    def test_a_page_may_lie_beyond_4_GiB(self, pae: Guest) -> None:
        """§4.4: that is what PAE is for."""
        pae.put(pae.pte(), 0xF_1234_5000 | ALL)

        assert pae.read(LINEAR + 0x678) == 0xF_1234_5678

    @pytest.mark.parametrize("level", ["pdpte", "pde", "pte"])
    def test_what_is_not_present_faults(self, pae: Guest, level: str) -> None:
        """§4.7."""
        pae.put({"pdpte": POINTERS, "pde": pae.pde, "pte": pae.pte()}[level], ALL & ~ENTRY_P)

        assert pae.fault(write=True) == ERROR_W

    @pytest.mark.parametrize("bit", [36, 51, 52, 62, 63])
    @pytest.mark.parametrize("level", ["pdpte", "pde", "pte"])
    def test_bits_above_the_address_are_reserved(self, pae: Guest, level: str, bit: int) -> None:
        """Tables 4-8 to 4-11; NX is one of them while EFER.NXE is 0."""
        address = {"pdpte": POINTERS, "pde": pae.pde, "pte": pae.pte()}[level]
        pae.put(address, pae.entry(address) | 1 << bit)

        assert pae.fault(user=True) == ERROR_P | ERROR_RSVD | ERROR_U

    @pytest.mark.parametrize("level", ["pde", "pte"])
    def test_NX_keeps_nobody_from_data(self, pae: Guest, level: str) -> None:
        """§4.6.1: with EFER.NXE it forbids instruction fetches."""
        pae.registers.efer = EFER_NXE
        address = {"pde": pae.pde, "pte": pae.pte()}[level]
        pae.put(address, pae.entry(address) | ENTRY_NX)

        assert pae.write() == PAGE

    def test_a_pointer_has_no_NX(self, pae: Guest) -> None:
        """Table 4-8: bit 63 is reserved, whatever EFER.NXE says."""
        pae.registers.efer = EFER_NXE
        pae.put(POINTERS, DIRECTORY | ENTRY_P | ENTRY_NX)

        assert pae.fault() == ERROR_P | ERROR_RSVD

    def test_both_levels_must_allow_an_access(self, pae: Guest) -> None:
        """§4.6.1: the pointers have no say."""
        pae.put(pae.pde, TABLE | ENTRY_P | ENTRY_RW)
        assert pae.fault(user=True) == ERROR_P | ERROR_U

        pae.put(pae.pde, TABLE | ALL)
        pae.put(pae.pte(), PAGE | ENTRY_P | ENTRY_US)
        assert pae.fault(user=True, write=True) == ERROR_P | ERROR_U | ERROR_W

    def test_accessed_and_dirty_are_set_but_not_in_a_pointer(self, pae: Guest) -> None:
        """§4.8, table 4-8."""
        pae.write()
        pae.write()

        assert pae.entry(POINTERS) == DIRECTORY | ENTRY_P
        assert pae.entry(pae.pde) == TABLE | ALL | ENTRY_A
        assert pae.entry(pae.pte()) == PAGE | ALL | ENTRY_A | ENTRY_D

    def test_a_2_MiB_page_takes_21_bits_of_offset(self, pae: Guest) -> None:
        """§4.4, figure 4-6: CR4.PSE does not matter."""
        pae.put(pae.pde, 0x4_0060_0000 | ALL | ENTRY_PS)

        assert pae.write(0x00C1_2345) == 0x4_0061_2345
        assert pae.entry(pae.pde) == 0x4_0060_0000 | ALL | ENTRY_PS | ENTRY_A | ENTRY_D

    @pytest.mark.parametrize("bit", [13, 20])
    def test_a_2_MiB_page_has_reserved_bits_below_its_address(self, pae: Guest, bit: int) -> None:
        """Table 4-9: 20:13; bit 12 is PAT."""
        pae.put(pae.pde, 0x60_0000 | ALL | ENTRY_PS | 1 << bit | 1 << 12)
        assert pae.fault() == ERROR_P | ERROR_RSVD

        pae.put(pae.pde, 0x60_0000 | ALL | ENTRY_PS | 1 << 12)
        assert pae.read(0x00C0_0000) == 0x60_0000

    def test_tables_are_behind_the_A20_gate_too(self, pae: Guest) -> None:
        """The gate is on the address bus, after paging."""
        pae.registers.a20_mask = A20_CLOSED
        pae.registers.cr[3] = 1 << 20 | POINTERS
        pae.put(POINTERS, 1 << 20 | DIRECTORY | ENTRY_P)
        pae.put(pae.pde, 1 << 20 | TABLE | ALL)
        pae.put(pae.pte(), 1 << 20 | PAGE | ALL)

        assert pae.read() == PAGE


class TestAccess:
    def test_bytes_come_from_where_they_went(self, guest: Guest) -> None:
        guest.linear.write(LINEAR + 8, b"twelve bytes")

        assert guest.memory.read(PAGE + 8, 12) == b"twelve bytes"
        assert guest.linear.read(LINEAR + 8, 12) == b"twelve bytes"

    def test_an_access_may_end_with_its_page(self, guest: Guest) -> None:
        guest.put(guest.pte(4), 0)

        guest.linear.write(LINEAR + 0xFFC, b"last")

        assert guest.linear.read(LINEAR + 0xFFC, 4) == b"last"

    def test_each_page_of_an_access_is_translated(self, guest: Guest) -> None:
        """Pages that are neighbours here need not be neighbours there."""
        guest.linear.write(LINEAR + 0xFFE, b"abcd")

        assert guest.memory.read(PAGE + 0xFFE, 2) == b"ab"
        assert guest.memory.read(NEXT, 2) == b"cd"
        assert guest.linear.read(LINEAR + 0xFFE, 4) == b"abcd"

    def test_a_buffer_may_take_many_pages(self, guest: Guest) -> None:
        guest.put(guest.pte(5), PAGE + 0x1000 | ALL)
        data = bytes(range(256)) * 32

        guest.linear.write(LINEAR + 0x800, data)

        assert guest.linear.read(LINEAR + 0x800, len(data)) == data
        assert guest.memory.read(PAGE + 0x1000, 0x800) == data[0x1800:]

    def test_nothing_is_written_where_a_later_page_faults(self, guest: Guest) -> None:
        """The fault's address is that page's first byte."""
        guest.put(guest.pte(4), NEXT | ENTRY_P | ENTRY_RW)

        with pytest.raises(PageFault) as caught:
            guest.linear.write(LINEAR + 0xFFE, b"abcd", user=True)

        assert caught.value.linear == LINEAR + 0x1000
        assert caught.value.error_code == ERROR_P | ERROR_W | ERROR_U
        assert guest.memory.read(PAGE + 0xFFE, 2) == b"\0\0"

    @pytest.mark.parametrize("start", [LINEAR, LINEAR + 0xFFE])
    def test_a_user_s_read_is_checked_as_one(self, guest: Guest, start: int) -> None:
        guest.put(guest.pte(3), PAGE | ENTRY_P)

        assert guest.linear.read(start, 4) == bytes(4)
        with pytest.raises(PageFault) as caught:
            guest.linear.read(start, 4, user=True)

        assert caught.value.linear == start
        assert caught.value.error_code == ERROR_P | ERROR_U

    def test_a_probe_faults_as_the_write_would_and_writes_nothing(self, guest: Guest) -> None:
        guest.registers.cr[0] |= CR0_WP
        guest.put(guest.pte(4), NEXT | ENTRY_P)

        guest.linear.probe_write(LINEAR, 0x1000)
        with pytest.raises(PageFault) as caught:
            guest.linear.probe_write(LINEAR, 0x1001)

        assert caught.value.linear == LINEAR + 0x1000
        assert guest.memory.read(PAGE, 0x1000) == bytes(0x1000)

    def test_an_access_wraps_at_4_GiB(self, unpaged: Guest) -> None:
        """The last bytes are the ROM's, the first the RAM's."""
        unpaged.memory.rom.write(unpaged.memory.rom.size - 2, b"ab")
        unpaged.memory.write(0, b"cd")

        assert unpaged.linear.read(0xFFFF_FFFE, 4) == b"abcd"


def test_a_fault_tells_itself() -> None:
    """For traces and for the shutdown message."""
    assert str(Fault(13, 0x1234)) == "exception 13, error code 0x1234"
