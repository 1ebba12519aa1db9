"""Pages in a save: how RAM stands on the wire, and how that is read.

The section "ram", instance 0, version 4, as QEMU has it: START lists the blocks; PARTs and END
bring pages.  All of it is 64-bit words, an offset within a block with flags in the low 12 bits:

    04 MEM_SIZE   offset: the bytes of all blocks; for each: u8 length, name, be64 size
    02 ZERO       a page of one repeated byte: [name,] u8 that byte
    08 PAGE       a page: [name,] 4096 bytes
    20 CONTINUE   with either: the block is that of the page before, and no name follows
    10 EOS        the end of this START, PART or END

A dialect of QEMU's knows no repeated byte but 0.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Mapping
from typing import Protocol

from emu import attrs
from emu.memory import PAGE_BYTES, RAM_MOST
from emu.savevm.stream import Stream

IDSTR = "ram"
VERSION = 4

ZERO = 0x02
MEM_SIZE = 0x04
PAGE = 0x08
EOS = 0x10
CONTINUE = 0x20
FLAGS = PAGE_BYTES - 1

BLOCKS_MOST = 64  # of any machine: pc of QEMU has seven
ALL_BLOCKS_MOST = 2 * RAM_MOST
WORD_BYTES = 8
UNIFORM_BYTES = WORD_BYTES + 1  # what a page of one repeated byte takes in the stream
FULL_BYTES = WORD_BYTES + PAGE_BYTES  # and any other


def uniform_run(first: int, count: int, fill: int) -> bytes:
    """*count* pages of the byte *fill*, from page *first* on, as they stand in the stream."""
    start = first * PAGE_BYTES | ZERO | CONTINUE
    words = array("Q", range(start, start + count * PAGE_BYTES, PAGE_BYTES))
    if sys.byteorder == "little":  # pragma: no branch - no host of ours is otherwise
        words.byteswap()
    eights = words.tobytes()
    nines = bytearray([fill]) * (UNIFORM_BYTES * count)
    for index in range(8):  # the nth byte of every word at once
        nines[index::UNIFORM_BYTES] = eights[index::8]
    return bytes(nines)


# ==== reading =============================================================================


class Pages(Protocol):
    """Who is told what a RAM section holds."""

    def blocks(self, f: Stream, sizes: Mapping[str, int]) -> None:
        """The blocks there are, with their sizes; called once, and before everything else."""

    def uniform(self, block: str, first: int, count: int, fill: int) -> None:
        """*count* pages from *first* on, all their bytes *fill*."""

    def full(self, block: str, first: int, data: bytes, offset: int) -> None:
        """Whole pages from *first* on; the first is at *offset* in the stream, and each of the
        others FULL_BYTES after the one before.
        """


def read_blocks(f: Stream, version: int) -> dict[str, int]:
    """Read the list of blocks at the beginning of START: their sizes by name."""
    f.field = "blocks"
    if version != VERSION:
        raise f.error("this version cannot be read", found=version, expected=VERSION)
    word = f.get_be64()
    left = word & ~FLAGS
    if word & FLAGS != MEM_SIZE or not left:
        raise f.error("no list of blocks", found=f"{word:#x}")
    if left > ALL_BLOCKS_MOST:
        raise f.error("too much RAM", found=f"{left:#x}", expected=f"{ALL_BLOCKS_MOST:#x}")
    sizes: dict[str, int] = {}
    while left:
        name = f.get_name()
        size = f.get_be64()
        if name in sizes or len(sizes) == BLOCKS_MOST:
            raise f.error("a block too many", found=repr(name))
        if not 0 < size <= min(left, RAM_MOST) or size % PAGE_BYTES:
            raise f.error(f"no size for block {name!r}", found=f"{size:#x}")
        sizes[name] = size
        left -= size
    return sizes


@attrs.define(eq=False)
class PageReader:
    """Reads the section's START, PARTs and END, and tells *pages* what is in them."""

    pages: Pages
    sizes: dict[str, int] | None = attrs.field(init=False, default=None)
    _block: str | None = attrs.field(init=False, default=None)  # of the last page

    def read(self, f: Stream, version: int) -> None:
        """Read one of them."""
        if self.sizes is None:
            self.sizes = read_blocks(f, version)
            self.pages.blocks(f, self.sizes)
        f.field = self._block
        while (word := f.get_be64()) != EOS:
            match word & FLAGS & ~CONTINUE:
                case flag if flag in {ZERO, PAGE}:
                    self._read_page(f, flag, word)
                case _:
                    raise f.error("no such page word", found=f"{word:#x}")

    def _read_page(self, f: Stream, flag: int, word: int) -> None:
        sizes = self.sizes or {}
        block = self._block
        if not word & CONTINUE:
            f.field = "block"
            block = f.get_name()
            if block not in sizes:
                raise f.error("a page of a block that is not in the list", found=repr(block))
            self._block = f.field = block
        if block is None:
            raise f.error("the first page does not name its block", found=f"{word:#x}")
        offset = word & ~FLAGS
        if offset >= sizes[block]:
            raise f.error(
                "a page beyond the end of the block",
                found=f"{offset:#x}",
                expected=f"less than {sizes[block]:#x}",
            )
        number = offset // PAGE_BYTES
        if flag == PAGE:
            self._read_full(f, block, number)
        else:
            self._read_uniform(f, block, number)

    def _read_full(self, f: Stream, block: str, first: int) -> None:
        """Read a page, and with it the pages that follow it in the buffer as well as in RAM."""
        left = (self.sizes or {})[block] // PAGE_BYTES - first
        most = max(1, min((f.buffered + WORD_BYTES) // FULL_BYTES, left))
        ahead = f.peek_buffer(most * FULL_BYTES - WORD_BYTES)
        count = 1
        while count < most:
            word = ahead[count * FULL_BYTES - WORD_BYTES : count * FULL_BYTES]
            if word != struct.pack(">Q", (first + count) * PAGE_BYTES | PAGE | CONTINUE):
                break
            count += 1
        offset = f.ftell()
        data = f.get_buffer(count * FULL_BYTES - WORD_BYTES)
        starts = range(0, len(data), FULL_BYTES)
        data = b"".join([data[start : start + PAGE_BYTES] for start in starts])
        self.pages.full(block, first, data, offset)

    def _read_uniform(self, f: Stream, block: str, number: int) -> None:
        size = (self.sizes or {})[block]
        fill = f.get_byte()
        count = 1
        # Uniform pages come in long runs.  Guess that the run goes on, by more each time.
        while True:
            self.pages.uniform(block, number, count, fill)
            number += count
            left = size // PAGE_BYTES - number
            count = min(8 * count, left, f.buffered // UNIFORM_BYTES)
            run = uniform_run(number, count, fill)
            if not count or f.peek_buffer(len(run)) != run:
                return
            f.get_buffer(len(run))
