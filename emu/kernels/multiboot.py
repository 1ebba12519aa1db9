"""Multiboot: kernels that say so in their first 8 KiB, as those of hobby systems do.

    the kernel's header                  what the kernel is given: EBX points at it
    -----------------------------------  ----------------------------------------------------
    00  magic        1BADB002            00  flags        what of the following is there
    04  flags                            04  mem_lower    KiB from 0
        0   modules on pages             08  mem_upper    KiB from 1 MiB
        1   memory wanted                10  cmdline      of the kernel
        2   video mode wanted            14  mods_count, 18 mods_addr; each module:
        16  load by the addresses below          mod_start, mod_end, string, 0
    08  checksum     makes them 0        2C  mmap_length, 30 mmap_addr; each region:
    0C  header_addr                              size of the rest (20), base, length, type
    10  load_addr                        40  boot_loader_name
    14  load_end_addr, 0: the file's end
    18  bss_end_addr, 0: no bss          EAX = 2BADB002
    1C  entry_addr

Without flag 16 the file must be ELF, whose own addresses count (`elf32`).  Memory behind what
is loaded, up to bss_end_addr or p_memsz, is zero.

Modules go to the lowest pages above 1 MiB that are free, all else to the lowest above 64 KiB.

Not modelled: video modes, as the machine has no screen: a kernel that insists on one (flag 2)
is refused (§3.1.1); symbol tables (flags 4, 5 of what it is given), disks, the BIOS's
configuration table, APM, VBE, frame buffer; no firmware has run, so there is none to call (§3.2).

Source: Multiboot Specification 0.6.96, sections 3.1 "OS image format", 3.2 "Machine state", 3.3
"Boot information format".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from emu import attrs
from emu.errors import ConfigError
from emu.kernels import elf32
from emu.kernels.placement import GDT, LOW_END, LOW_FIRST, Piece, Placement, Room, memory_map
from emu.memory import MIB

HEADER_WITHIN = 8192
HEADER_MAGIC = 0x1BADB002
LOADER_MAGIC = 0x2BADB002
LOADER_NAME = "emu"

WANTS_PAGES = 1 << 0
WANTS_MEMORY = 1 << 1
WANTS_VIDEO = 1 << 2
HAS_ADDRESSES = 1 << 16
MUST_BE_KNOWN = 0xFFFF
KNOWN = WANTS_PAGES | WANTS_MEMORY

INFO_MEMORY = 1 << 0
INFO_CMDLINE = 1 << 2
INFO_MODULES = 1 << 3
INFO_MMAP = 1 << 6
INFO_LOADER_NAME = 1 << 9

HEADER = struct.Struct("<III")
ADDRESSES = struct.Struct("<IIIII")
MODULE = struct.Struct("<IIII")
REGION = struct.Struct("<IQQI")
REGION_SIZE = 20  # of a region without the size itself

# Offsets in what the kernel is given.
FLAGS = 0x00
MEM_LOWER = 0x04
MEM_UPPER = 0x08
CMDLINE = 0x10
MODS_COUNT = 0x14
MODS_ADDR = 0x18
MMAP_LENGTH = 0x2C
MMAP_ADDR = 0x30
BOOT_LOADER_NAME = 0x40
INFO_BYTES = 0x74


@attrs.frozen
class Module:
    """A file that the kernel is given, and the text that goes with it."""

    data: bytes
    string: str


def header_at(kernel: bytes) -> int | None:
    """Where the Multiboot header of *kernel* is; None where it has none."""
    for offset in range(0, min(len(kernel), HEADER_WITHIN) - HEADER.size + 1, 4):
        magic, flags, checksum = HEADER.unpack_from(kernel, offset)
        if magic == HEADER_MAGIC and (magic + flags + checksum) & 0xFFFF_FFFF == 0:
            return offset
    return None


def place(
    kernel: bytes, modules: Sequence[Module], command_line: str, memory_bytes: int
) -> Placement:
    """The placement of *kernel*, which has a header, in so much RAM.

    Raises ConfigError for a kernel that is damaged or asks for what this machine has not, and for
    what does not fit.
    """
    header = header_at(kernel)
    if header is None:
        raise ConfigError("kernel: no Multiboot header in its first 8 KiB")
    _, flags, _ = HEADER.unpack_from(kernel, header)
    if flags & WANTS_VIDEO:
        raise ConfigError("Multiboot kernel: it wants a video mode, and this machine has no screen")
    if unknown := flags & MUST_BE_KNOWN & ~KNOWN:
        raise ConfigError(f"Multiboot kernel: it wants what nobody knows: flags {unknown:#06x}")
    program = _by_addresses(kernel, header) if flags & HAS_ADDRESSES else elf32.parse(kernel)

    layout = _Layout(Room(memory_bytes), list(program.pieces))
    for piece in program.pieces:
        layout.room.claim("Multiboot kernel", piece.address, piece.end)
    info = bytearray(INFO_BYTES)
    told = INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_LOADER_NAME
    _put(info, MEM_LOWER, LOW_END // 1024)
    _put(info, MEM_UPPER, (memory_bytes - MIB) // 1024)
    _put(info, CMDLINE, layout.string(command_line))
    if modules:
        told |= INFO_MODULES
        table = b"".join(layout.module(module) for module in modules)
        _put(info, MODS_COUNT, len(modules))
        _put(info, MODS_ADDR, layout.low("modules", table))
    regions = b"".join(
        REGION.pack(REGION_SIZE, region.start, region.end - region.start, region.type)
        for region in memory_map(memory_bytes)
    )
    _put(info, MMAP_LENGTH, len(regions))
    _put(info, MMAP_ADDR, layout.low("memory map", regions))
    _put(info, BOOT_LOADER_NAME, layout.string(LOADER_NAME))
    _put(info, FLAGS, told)
    return Placement(
        layout.pieces,
        gdt=layout.low("GDT", GDT),
        entry=program.entry,
        eax=LOADER_MAGIC,
        ebx=layout.low("Multiboot information", bytes(info)),
        command_line=command_line,
    )


def _by_addresses(kernel: bytes, header: int) -> elf32.Program:
    """The program that the header's own addresses describe."""
    if header + HEADER.size + ADDRESSES.size > len(kernel):
        raise ConfigError("Multiboot kernel: the file ends within its header")
    header_addr, start, load_end, bss_end, entry = ADDRESSES.unpack_from(
        kernel, header + HEADER.size
    )
    offset = header - (header_addr - start)
    if header_addr < start or offset < 0:
        raise ConfigError("Multiboot kernel: load_addr is behind the header, or before the file")
    data = kernel[offset:] if load_end == 0 else kernel[offset : offset + max(0, load_end - start)]
    if load_end and start + len(data) != load_end:
        raise ConfigError(
            f"Multiboot kernel: cut short: {len(data)} bytes, expected {load_end - start}"
        )
    zeros = max(0, bss_end - start - len(data))
    return elf32.Program([Piece(start, data, zeros)], entry)


@attrs.define(eq=False)
class _Layout:
    """What has been placed, and where there is room for more."""

    room: Room
    pieces: list[Piece]

    def low(self, what: str, data: bytes, *, first: int = LOW_FIRST) -> int:
        """Place *data* in the lowest pages from *first* on; its address."""
        address = self.room.find(what, len(data), first=first)
        if data:
            self.pieces.append(Piece(address, data))
        return address

    def string(self, text: str) -> int:
        return self.low("a string", text.encode() + b"\0")

    def module(self, module: Module) -> bytes:
        """Place *module*; its entry in the table of modules."""
        start = self.low("module", module.data, first=MIB)
        return MODULE.pack(start, start + len(module.data), self.string(module.string), 0)


def _put(info: bytearray, offset: int, value: int) -> None:
    info[offset : offset + 4] = value.to_bytes(4, "little")
