"""A placement: what is in memory and in the registers as a kernel is entered.

The modules beside this one make one of a file's bytes, each by its own book, and know of no
machine: `linux` for a bzImage, `multiboot` for the kernels of that specification, `flat` for
anything else.  `emu.hw.loader` carries it out at each reset.

All kernels are entered alike, as both books have it:

    CS  10h  code, base 0, limit 4 GiB, 32 bits         CR0.PE = 1, CR0.PG = 0, IF = 0
    DS  18h  data, base 0, limit 4 GiB; ES FS GS SS      A20 open
    ESP      the end of the memory below 1 MiB

And what they are told of the memory is the board's: RAM from 0, in it a hole of the PC's.

    00000000-0009FFFF  usable
    000A0000-000FFFFF  reserved: the screen's memory, firmware
    00100000-          usable, to the end of RAM
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence

from emu import attrs
from emu.errors import ConfigError
from emu.memory import MIB, PAGE_BYTES

LOW_END = 0xA0000
LOW_FIRST = 0x10000  # below it are vectors, and what firmware keeps

CODE, DATA = 0x10, 0x18
CODE_DESCRIPTOR = 0x00CF_9B00_0000_FFFF
DATA_DESCRIPTOR = 0x00CF_9300_0000_FFFF
GDT = struct.pack("<4Q", 0, 0, CODE_DESCRIPTOR, DATA_DESCRIPTOR)

STACK_END = LOW_END


class RegionType(enum.IntEnum):
    """What a region of the memory is, by the number that BIOS call E820h has for it."""

    USABLE = 1
    RESERVED = 2


@attrs.frozen
class Region:
    """A part of the memory map."""

    start: int
    end: int
    type: RegionType


def memory_map(memory_bytes: int) -> list[Region]:
    """The map of a machine with so much RAM."""
    regions = [
        Region(0, LOW_END, RegionType.USABLE),
        Region(LOW_END, MIB, RegionType.RESERVED),
        Region(MIB, memory_bytes, RegionType.USABLE),
    ]
    return [region for region in regions if region.start < region.end]


@attrs.frozen
class Piece:
    """Bytes for memory: *data* at *address*, and so many *zeros* behind."""

    address: int
    data: bytes
    zeros: int = 0

    @property
    def end(self) -> int:
        return self.address + len(self.data) + self.zeros


@attrs.frozen
class Placement:
    """All that a kernel finds."""

    pieces: Sequence[Piece]
    gdt: int  # where the table with the two segments is; one of the pieces
    entry: int
    eax: int = 0
    ebx: int = 0
    esi: int = 0
    command_line: str = ""  # for people: what the kernel is given of it is in a piece


@attrs.define(eq=False)
class Room:
    """The usable memory of a machine, and what is still free of it."""

    memory_bytes: int
    _free: list[tuple[int, int]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._free = [
            (region.start, region.end)
            for region in memory_map(self.memory_bytes)
            if region.type is RegionType.USABLE
        ]

    def claim(self, what: str, start: int, end: int) -> None:
        """Take the memory from *start* to *end* for *what*; ConfigError where it is not to be had."""
        if start == end:
            return
        for index, (first, last) in enumerate(self._free):
            if first <= start and end <= last:
                self._free[index : index + 1] = [(first, start), (end, last)]
                return
        raise ConfigError(
            f"{what}: no room at {start:#x}-{end - 1:#x}, in {self.memory_bytes >> 20} MiB of RAM"
        )

    def find(self, what: str, size: int, *, first: int = LOW_FIRST) -> int:
        """Take the lowest free pages with room for *size* bytes, at *first* or above it."""
        for start, end in self._free:
            address = -(-max(start, first) // PAGE_BYTES) * PAGE_BYTES
            if address + size <= end:
                self.claim(what, address, address + size)
                return address
        raise self._none(what, size)

    def find_last(self, what: str, size: int, *, below: int) -> int:
        """Take the highest free pages above 1 MiB with room for *size* bytes, and end *below*."""
        for start, end in reversed(self._free):
            address = (min(end, below) - size) // PAGE_BYTES * PAGE_BYTES
            if address >= max(start, MIB):
                self.claim(what, address, address + size)
                return address
        raise self._none(what, size)

    def _none(self, what: str, size: int) -> ConfigError:
        return ConfigError(
            f"{what}: {size} bytes, for which there is no room in {self.memory_bytes >> 20} MiB of RAM"
        )
