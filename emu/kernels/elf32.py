"""ELF files for the i386: the parts that are loaded, and where the program begins.

    offset  header               offset  program header, one a segment
    ------  -------------------  ------  ------------------------------------------
    00      7F "ELF"             00      p_type: 1 LOAD
    04      1: 32 bits           04      p_offset: where in the file
    05      1: little-endian     08      p_vaddr
    10      e_type: 2 EXEC       0C      p_paddr
    12      e_machine: 3 386     10      p_filesz: bytes in the file
    18      e_entry              14      p_memsz: bytes in memory; those missing are zero
    1C      e_phoff: program headers
    2A      e_phentsize
    2C      e_phnum

Source: Tool Interface Standard, "Executable and Linking Format Specification" 1.2, book I.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from emu import attrs
from emu.errors import ConfigError
from emu.kernels.placement import Piece

MAGIC = b"\x7fELF"
CLASS_32 = 1
LITTLE_ENDIAN = 1
EXECUTABLE = 2
I386 = 3
LOAD = 1

HEADER = struct.Struct("<4sBB10xHHIIIIIHHH")
SEGMENT = struct.Struct("<IIIIII8x")


@attrs.frozen
class Program:
    """What an ELF file asks for."""

    pieces: Sequence[Piece]  # at their physical addresses
    entry: int  # a physical address, too


def parse(file: bytes) -> Program:
    """The program in *file*; ConfigError where there is none for this machine, or not all of it."""
    if len(file) < HEADER.size:
        raise ConfigError("ELF kernel: the file ends within its header")
    header = HEADER.unpack_from(file)
    magic, class_, order, type_, machine, _version, started_at, table, _, _, _, size, count = header
    if magic != MAGIC:
        raise ConfigError("kernel: not an ELF file")
    if (class_, order, type_, machine) != (CLASS_32, LITTLE_ENDIAN, EXECUTABLE, I386):
        raise ConfigError("ELF kernel: expected an executable for the i386, of 32 bits")
    if size < SEGMENT.size or table + count * size > len(file):
        raise ConfigError("ELF kernel: the file ends within its program headers")
    pieces, entry = [], started_at
    for number in range(count):
        kind, offset, virtual, physical, in_file, in_memory = SEGMENT.unpack_from(
            file, table + number * size
        )
        if kind != LOAD or not in_memory:
            continue
        if in_file > in_memory or offset + in_file > len(file):
            raise ConfigError(f"ELF kernel: cut short: segment {number} is not all there")
        if virtual <= started_at < virtual + in_memory:
            entry = started_at - virtual + physical
        pieces.append(Piece(physical, file[offset : offset + in_file], in_memory - in_file))
    if not pieces:
        raise ConfigError("ELF kernel: nothing in it is to be loaded")
    return Program(pieces, entry)
