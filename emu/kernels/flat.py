"""Flat images: files that have no header, and whose place in memory is told.

As a linker leaves them with ``--oformat binary``, or an assembler with ``-f bin``.  They are entered
as every kernel here is, in protected mode (`placement`), and told nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from emu.errors import ConfigError
from emu.kernels.placement import GDT, Piece, Placement, Room


def place(images: Sequence[tuple[bytes, int]], entry: int, memory_bytes: int) -> Placement:
    """The placement of *images*, (bytes, address), in so much RAM; entered at *entry*.

    Raises ConfigError for what does not fit, or overlaps.
    """
    room = Room(memory_bytes)
    pieces = []
    for data, address in images:
        piece = Piece(address, data)
        room.claim("flat image", address, piece.end)
        pieces.append(piece)
    if not 0 <= entry < memory_bytes:
        raise ConfigError(f"entry {entry:#x}: expected an address within RAM")
    gdt = room.find("GDT", len(GDT))
    return Placement([*pieces, Piece(gdt, GDT)], gdt, entry)
