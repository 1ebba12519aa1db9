"""Linear addresses to physical ones: the page walk, as the processor's hardware does it.

The engine walks the page tables for what the guest's instructions access.  Interrupt delivery
accesses descriptor tables, task state and stacks by itself, and walks them here.

    CR0.PG  CR4.PAE  entry  page      who maps it
    ------  -------  -----  --------  ---------------------------------------------------
    0       any      -      -         linear = physical
    1       0        4      4 KiB     CR3 -> directory [31:22] -> table [21:12]
    1       0        4      4 MiB     CR3 -> directory [31:22], PS = 1 and CR4.PSE = 1
    1       1        8      4 KiB     CR3 -> pointers [31:30] -> directory [29:21] -> table [20:12]
    1       1        8      2 MiB     CR3 -> pointers [31:30] -> directory [29:21], PS = 1

Every physical address, those of the tables included, goes through the A20 gate.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volume 3A, chapter 4;
§ numbers below refer to it, as it was numbered in 2019.

Not modelled: what no processor of this machine has: IA-32e paging, SMEP, SMAP, protection keys;
instruction fetches, as delivery does none, and so NX, which is a reserved bit unless EFER.NXE
is set and otherwise of no consequence; the four PDPTE registers, which hardware fills when CR3
is loaded (§4.4.1): the engine reads these entries at every walk, and so does this.
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.cpu.bits import CR0_PG, CR0_WP, CR4_PAE, CR4_PSE, EFER_NXE
from emu.cpu.layout import Registers
from emu.cpu.vectors import PF
from emu.memory import PAGE_BYTES, Physical

# An entry of a directory or table, §4.3 and §4.4.
ENTRY_P = 1 << 0
ENTRY_RW = 1 << 1
ENTRY_US = 1 << 2
ENTRY_A = 1 << 5
ENTRY_D = 1 << 6
ENTRY_PS = 1 << 7
ENTRY_NX = 1 << 63

# The error code of a page fault, §4.7.
ERROR_P = 1 << 0  # a page that is present refused; else none is present
ERROR_W = 1 << 1
ERROR_U = 1 << 2
ERROR_RSVD = 1 << 3

MAXPHYADDR = 36  # §4.1.4: processors with PAE and no CPUID leaf that says more

PAGE_OFFSET = PAGE_BYTES - 1
ADDRESS_32 = 0xFFFF_F000
ADDRESS_PAE = (1 << MAXPHYADDR) - PAGE_BYTES
RESERVED_PAE = (1 << 63) - (1 << MAXPHYADDR)  # 62:36; 63 is NX
OFFSET_4_MIB = (4 << 20) - 1
OFFSET_2_MIB = (2 << 20) - 1
RESERVED_4_MIB = 1 << 21  # §4.3: 20:13 are the address's bits 39:32 (PSE-36)
RESERVED_2_MIB = 0x1F_E000  # 20:13; 12 is PAT


class Fault(Exception):  # noqa: N818 - the manual's word
    """The processor raises exception *vector* with *error_code*: for the guest, not for a user."""

    def __init__(self, vector: int, error_code: int) -> None:
        super().__init__(f"exception {vector}, error code {error_code:#x}")
        self.vector = vector
        self.error_code = error_code


class PageFault(Fault):
    """#PF; *linear* is what goes to CR2."""

    def __init__(self, linear: int, error_code: int) -> None:
        super().__init__(PF, error_code)
        self.linear = linear


class LinearMemory:
    """Memory by linear address, as CR0, CR3, CR4, EFER and the A20 gate stand now.

    It is made for one event and thrown away: after a change of CR3 a new one is needed.
    """

    __slots__ = ("_a20_mask", "_cr0", "_cr3", "_cr4", "_registers", "memory")

    def __init__(self, registers: Registers, memory: Physical) -> None:
        control = registers.cr
        self._registers = registers
        self.memory = memory
        self._cr0: int = control[0]
        self._cr3: int = control[3]
        self._cr4: int = control[4]
        self._a20_mask = registers.a20_mask

    # --- access ---------------------------------------------------------------------------

    def read(self, linear: int, length: int, *, user: bool = False) -> bytes:
        """*length* bytes from *linear* on.  Not *user* is what delivery does: §4.6, "implicit"."""
        if (linear & PAGE_OFFSET) + length <= PAGE_BYTES:  # nearly always
            return self.memory.read(self.translate(linear, write=False, user=user), length)
        pieces = self._pieces(linear, length, write=False, user=user)
        return b"".join(self.memory.read(physical, size) for physical, size in pieces)

    def write(self, linear: int, data: bytes, *, user: bool = False) -> None:
        """Put *data* at *linear*: all of it, or none where a page of it faults."""
        if (linear & PAGE_OFFSET) + len(data) <= PAGE_BYTES:
            self.memory.write(self.translate(linear, write=True, user=user), data)
            return
        done = 0
        for physical, size in list(self._pieces(linear, len(data), write=True, user=user)):
            self.memory.write(physical, data[done : done + size])
            done += size

    def probe_write(self, linear: int, length: int) -> None:
        """Fault now if a write of *length* bytes at *linear* would."""
        for _piece in self._pieces(linear, length, write=True, user=False):
            pass

    def _pieces(
        self, linear: int, length: int, *, write: bool, user: bool
    ) -> Iterator[tuple[int, int]]:
        """(physical address, length) of each page's part, from the lowest on."""
        end = linear + length
        while linear < end:
            size = min(end - linear, PAGE_BYTES - (linear & PAGE_OFFSET))
            yield self.translate(linear, write=write, user=user), size
            linear += size

    # --- the walk -------------------------------------------------------------------------

    def translate(self, linear: int, *, write: bool, user: bool) -> int:
        """The physical address of *linear*; sets accessed and dirty bits, or raises `PageFault`."""
        linear &= 0xFFFF_FFFF
        if not self._cr0 & CR0_PG:
            return linear & self._a20_mask
        if self._cr4 & CR4_PAE:
            return self._walk_pae(linear, write=write, user=user)
        return self._walk_32_bit(linear, write=write, user=user)

    def _walk_32_bit(self, linear: int, *, write: bool, user: bool) -> int:
        """§4.3.  Every delivery goes through here several times: hence few calls."""
        read, a20_mask = self.memory.read, self._a20_mask
        address = (self._cr3 & ADDRESS_32 | linear >> 20 & 0xFFC) & a20_mask
        entry = int.from_bytes(read(address, 4), "little")
        if not entry & ENTRY_P:
            raise _page_fault(linear, 0, write=write, user=user)

        if entry & ENTRY_PS and self._cr4 & CR4_PSE:
            if entry & RESERVED_4_MIB:
                raise _page_fault(linear, ERROR_P | ERROR_RSVD, write=write, user=user)
            self._use_page(address, entry, entry, linear, write=write, user=user)
            above_4_gib = (entry & 0x1F_E000) << 19  # PSE-36: bits 20:13 to 39:32
            page = above_4_gib | entry & 0xFFC0_0000
            return (page | linear & OFFSET_4_MIB) & a20_mask

        if not entry & ENTRY_A:
            self._mark(address, entry, ENTRY_A)
        rights = entry
        address = (entry & ADDRESS_32 | linear >> 10 & 0xFFC) & a20_mask
        entry = int.from_bytes(read(address, 4), "little")
        if not entry & ENTRY_P:
            raise _page_fault(linear, 0, write=write, user=user)
        self._use_page(address, entry, rights & entry, linear, write=write, user=user)
        return (entry & ADDRESS_32 | linear & PAGE_OFFSET) & a20_mask

    def _walk_pae(self, linear: int, *, write: bool, user: bool) -> int:
        """§4.4."""
        no_execute = 0 if self._registers.efer & EFER_NXE else ENTRY_NX
        reserved = RESERVED_PAE | no_execute

        _address, entry = self._entry(self._cr3 & 0xFFFF_FFE0 | linear >> 27 & 0x18, 8)
        if not entry & ENTRY_P:
            raise _page_fault(linear, 0, write=write, user=user)
        if entry & (RESERVED_PAE | ENTRY_NX):  # a PDPTE has no NX, table 4-8
            raise _page_fault(linear, ERROR_P | ERROR_RSVD, write=write, user=user)

        address, entry = self._entry(entry & ADDRESS_PAE | linear >> 18 & 0xFF8, 8)
        if not entry & ENTRY_P:
            raise _page_fault(linear, 0, write=write, user=user)
        large = entry & ENTRY_PS  # whatever CR4.PSE says
        if entry & (reserved | RESERVED_2_MIB if large else reserved):
            raise _page_fault(linear, ERROR_P | ERROR_RSVD, write=write, user=user)
        if large:
            self._use_page(address, entry, entry, linear, write=write, user=user)
            page = entry & ADDRESS_PAE & ~OFFSET_2_MIB
            return (page | linear & OFFSET_2_MIB) & self._a20_mask

        if not entry & ENTRY_A:
            self._mark(address, entry, ENTRY_A)
        rights = entry
        address, entry = self._entry(entry & ADDRESS_PAE | linear >> 9 & 0xFF8, 8)
        if not entry & ENTRY_P:
            raise _page_fault(linear, 0, write=write, user=user)
        if entry & reserved:
            raise _page_fault(linear, ERROR_P | ERROR_RSVD, write=write, user=user)
        self._use_page(address, entry, rights & entry, linear, write=write, user=user)
        return (entry & ADDRESS_PAE | linear & PAGE_OFFSET) & self._a20_mask

    def _entry(self, physical: int, size: int) -> tuple[int, int]:
        """The entry at *physical*, and its address behind the A20 gate."""
        physical &= self._a20_mask
        return physical, int.from_bytes(self.memory.read(physical, size), "little")

    def _use_page(
        self, address: int, entry: int, rights: int, linear: int, *, write: bool, user: bool
    ) -> None:
        """Check *rights*, the AND of all levels' (§4.6), and mark the *entry* that maps the page."""
        if user:
            allowed = rights & ENTRY_US and (not write or rights & ENTRY_RW)
        else:
            allowed = not write or rights & ENTRY_RW or not self._cr0 & CR0_WP
        if not allowed:
            raise _page_fault(linear, ERROR_P, write=write, user=user)
        bits = ENTRY_A | ENTRY_D if write else ENTRY_A
        if entry & bits != bits:
            self._mark(address, entry, bits)

    def _mark(self, address: int, entry: int, bits: int) -> None:
        """Set accessed or dirty, §4.8; both are in an entry's low byte."""
        self.memory.write(address, bytes([(entry | bits) & 0xFF]))


def _page_fault(linear: int, code: int, *, write: bool, user: bool) -> PageFault:
    if write:
        code |= ERROR_W
    if user:
        code |= ERROR_U
    return PageFault(linear, code)
