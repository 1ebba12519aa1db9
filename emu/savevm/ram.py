"""RAM in a save: pages, in any order, as often as they change.

The section "ram", instance 0, version 4, as QEMU has it: START lists the blocks; PARTs and END
bring pages.  All of it is 64-bit words, an offset within a block with flags in the low 12 bits:

    04 MEM_SIZE   offset: the bytes of all blocks; for each: u8 length, name, be64 size
    02 ZERO       a page of one repeated byte: [name,] u8 that byte
    08 PAGE       a page: [name,] 4096 bytes
    20 CONTINUE   with either: the block is that of the page before, and no name follows
    10 EOS        the end of this START, PART or END

Every page is sent, a zero page in nine bytes: so a page that is missing is noticed.  A dialect
of QEMU's knows no repeated byte but 0.

While a guest runs it changes pages that have been sent.  What was sent of each is remembered as a
hash, and pages that differ from theirs are sent again.  (Not what changed since some earlier
look: a page that is changed, sent and changed back has to be sent again too.)

Not saved: that a page was never written; it is zero, which is all the guest can see.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Protocol

from emu import attrs
from emu.errors import StreamError
from emu.memory import PAGE_BYTES, RAM_MOST, ZERO_PAGE, Block, Ram, page_hash
from emu.savevm.description import name_of
from emu.savevm.registry import Registry
from emu.savevm.sections import Dialect, Foreign
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

PART_BYTES = 1 << 20  # so much is sent in a PART, about
SCAN_PAGES = 2048  # and so many pages looked through for changes
BATCH_PAGES = 16  # are read and written at a time: more would not stay in the host's cache


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


# ==== reading a section ===================================================================


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


# ==== the machine's RAM ===================================================================


@attrs.frozen(eq=False)
class RamParts:
    """The RAM of a machine, as the registry wants it."""

    rams: Sequence[Ram]

    def begin_save(self, dialect: Dialect, foreign: Foreign, *, live: bool) -> RamSaving:
        rams = _blocks(self.rams, dialect, foreign)
        names = {ram.name: ram.name for ram in rams}
        if dialect is not Dialect.EMU and foreign.blocks:
            names = {ours: theirs for theirs, ours in foreign.blocks.items() if ours is not None}
        sent = [(names[ram.name], ram) for ram in rams if ram.name in names]
        return RamSaving(sent, any_fill=dialect is Dialect.EMU, live=live)

    def begin_load(self, dialect: Dialect, foreign: Foreign) -> RamLoading:
        return RamLoading(_blocks(self.rams, dialect, foreign), dialect, foreign)

    def digest(self) -> bytes:
        return tree_digest({ram.name: (ram.size, ram.hashes().items()) for ram in self.rams})


def _blocks(rams: Sequence[Ram], dialect: Dialect, foreign: Foreign) -> Sequence[Block]:
    """What is saved and loaded for *rams* in *dialect*."""
    if dialect is Dialect.EMU:
        return rams
    return [foreign.in_place_of.get(ram.name, ram) for ram in rams]


def register_ram(registry: Registry, *rams: Ram) -> None:
    """Save and load *rams* as the section "ram"."""
    registry.register_parts(IDSTR, VERSION, RamParts(rams))


Segment = tuple[str, Block, range, bool]  # name in the stream, RAM, pages, known to be zero


@attrs.define(eq=False)
class RamSaving:
    """One save of RAM; called with each stage."""

    rams: Sequence[tuple[str, Block]]  # by their name in the stream
    any_fill: bool
    live: bool
    _todo: deque[Segment] = attrs.field(init=False, factory=deque)
    _scan: deque[Segment] = attrs.field(init=False, factory=deque)  # what to look through again
    _unchanged: bool = attrs.field(init=False, default=True)  # as far as _scan has come
    _sent: dict[str, dict[int, bytes]] = attrs.field(init=False, factory=dict)  # hashes, not zero's
    _block: str | None = attrs.field(init=False, default=None)  # of the page sent last

    def __call__(self, f: Stream, stage: int) -> bool:
        """Send a stage; True where nothing was left to send."""
        match stage:
            case 1:  # STAGE_START
                self._start(f)
            case 2:  # STAGE_PART
                self._send(f, PART_BYTES)
                if not self._todo and self.live:
                    self._look_for_changes(SCAN_PAGES)
            case _:
                self._send(f, None)
                if self.live:
                    self._scan = self._all_pages()
                    self._look_for_changes(None)
                    self._send(f, None)
        f.put_be64(EOS)
        return not self._todo and self._unchanged and not self._scan

    def _start(self, f: Stream) -> None:
        f.put_be64(sum(ram.size for _, ram in self.rams) | MEM_SIZE)
        for name, ram in self.rams:
            f.put_name(name)
            f.put_be64(ram.size)
            self._sent[name] = {}
        self._todo = self._all_pages()

    def _all_pages(self) -> deque[Segment]:
        """Every page there is, in order; those never written are known to be zero."""
        pages: deque[Segment] = deque()
        for name, ram in self.rams:
            done = 0
            for run in ram.written():
                pages.append((name, ram, range(done, run.start), True))
                pages.append((name, ram, run, False))
                done = run.stop
            pages.append((name, ram, range(done, ram.pages), True))
        return deque(segment for segment in pages if segment[2])

    # --- sending --------------------------------------------------------------------------

    def _send(self, f: Stream, most: int | None) -> None:
        """Send what is outstanding; with *most* no more than about so many bytes of it.

        Where it stops depends on the pages' contents alone, or on the stream's rate limit.
        """
        left = most if most is not None else sys.maxsize
        while self._todo and left > 0:
            name, ram, pages, zero = self._todo.popleft()
            some = pages[: -(-left // UNIFORM_BYTES)] if zero else pages[:BATCH_PAGES]
            if zero:
                data, used = self._uniform(name, some, 0), UNIFORM_BYTES * len(some)
            else:
                data, some, used = self._contents(name, ram, some, left)
            f.put_buffer(data)
            left -= used
            if len(some) < len(pages):
                self._todo.appendleft((name, ram, pages[len(some) :], zero))
            if most is not None and f.rate_limit():
                return

    def _uniform(self, name: str, pages: range, fill: int) -> bytes:
        if self._block == name:
            return uniform_run(pages.start, len(pages), fill)
        head = self._word(name, pages.start, ZERO) + bytes([fill])
        return head + uniform_run(pages.start + 1, len(pages) - 1, fill)

    def _contents(self, name: str, ram: Block, pages: range, left: int) -> tuple[bytes, range, int]:
        """The bytes of *pages* or of the first of them, which these are, what they count."""
        contents = ram.read(pages.start * PAGE_BYTES, len(pages) * PAGE_BYTES)
        pieces: list[bytes] = []
        used = 0
        for index, number in enumerate(pages):
            page = contents[index * PAGE_BYTES : (index + 1) * PAGE_BYTES]
            fill = self._fill_of(page)
            if fill is None:
                pieces += (self._word(name, number, PAGE), page)
                used += FULL_BYTES
            else:
                pieces.append(self._uniform(name, range(number, number + 1), fill))
                used += UNIFORM_BYTES
            if self.live:
                self._remember(name, number, page)
            if used >= left:
                pages = range(pages.start, number + 1)
                break
        return b"".join(pieces), pages, used

    def _fill_of(self, page: bytes) -> int | None:
        """The byte that *page* consists of, where it can be sent as that."""
        if page == ZERO_PAGE:
            return 0
        fill = page[0]
        if self.any_fill and page[-1] == fill and page == bytes([fill]) * PAGE_BYTES:
            return fill
        return None

    def _word(self, name: str, number: int, flag: int) -> bytes:
        """The word that begins a page, and the block's name where it is needed."""
        word = number * PAGE_BYTES | flag
        if self._block == name:
            return struct.pack(">Q", word | CONTINUE)
        self._block = name
        return struct.pack(">QB", word, len(name)) + name.encode("ascii")

    # --- what the guest has changed -------------------------------------------------------

    def _remember(self, name: str, number: int, page: bytes) -> None:
        if page == ZERO_PAGE:
            self._sent[name].pop(number, None)
        else:
            self._sent[name][number] = page_hash(page)

    def _look_for_changes(self, most: int | None) -> None:
        """Look through *most* pages, or all, for those that are not as they were sent."""
        if not self._scan:
            self._scan = self._all_pages()
            self._unchanged = True
        left = most if most is not None else sys.maxsize
        while self._scan and left > 0:
            name, ram, pages, zero = self._scan.popleft()
            some = pages if zero else pages[:left]
            left -= 0 if zero else len(some)
            if len(some) < len(pages):
                self._scan.appendleft((name, ram, pages[len(some) :], zero))
            for number in self._changed(name, ram, some, zero=zero):
                self._todo.append((name, ram, range(number, number + 1), False))
                self._unchanged = False

    def _changed(self, name: str, ram: Block, pages: range, *, zero: bool) -> Iterator[int]:
        sent = self._sent[name]
        if zero:
            yield from (number for number in sorted(sent) if number in pages)
            return
        for number in pages:
            page = ram.page(number)
            if sent.get(number) != (page_hash(page) if page != ZERO_PAGE else None):
                yield number


# ==== loading =============================================================================

NEVER_SENT, SENT_ZERO, SENT = 0, 1, 2


@attrs.define(eq=False)
class RamLoading:
    """One load of RAM, into a second mapping of each block."""

    rams: Sequence[Block]
    dialect: Dialect
    foreign: Foreign
    _reader: PageReader = attrs.field(init=False)
    _new: dict[str, Ram] = attrs.field(init=False, factory=dict)  # by the name in the stream
    _sent: dict[str, bytearray] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._reader = PageReader(self)

    # --- of PartsLoading ------------------------------------------------------------------

    def read(self, f: Stream, version: int) -> None:
        self._reader.read(f, version)

    def check(self) -> None:
        if self.dialect is not Dialect.EMU:
            return  # a page that QEMU never sends is zero there too
        for name, sent in self._sent.items():
            missing = sent.find(NEVER_SENT)
            if missing >= 0:
                raise StreamError(
                    f"page {missing} of block {name!r} is missing",
                    section=name_of((IDSTR, 0)),
                    field=name,
                )

    def commit(self) -> None:
        for ram in self.rams:
            for theirs, new in self._new.items():
                if self._ours(theirs) == ram.name:
                    ram.replace(new)
        self._new.clear()

    def discard(self) -> None:
        for new in self._new.values():
            new.close()
        self._new.clear()

    # --- of Pages -------------------------------------------------------------------------

    def blocks(self, f: Stream, sizes: Mapping[str, int]) -> None:
        ours = {ram.name: ram for ram in self.rams}
        found: dict[str, Block] = {}
        for name, size in sizes.items():
            counterpart = self._ours(name)
            if counterpart is None:
                continue
            f.field = name
            if counterpart not in ours:
                raise f.error("no such block in this machine", found=repr(name))
            ram = ours.pop(counterpart)
            if size != ram.size:
                raise f.error(
                    "a block of another size", found=f"{size:#x}", expected=f"{ram.size:#x}"
                )
            found[name] = ram
        if ours and self.dialect is Dialect.EMU:
            f.field = min(ours)
            raise f.error("the block is missing")
        for name, ram in found.items():
            self._new[name] = ram.another()
            self._sent[name] = bytearray(ram.pages)

    def uniform(self, block: str, first: int, count: int, fill: int) -> None:
        new = self._new.get(block)
        if new is None:
            return  # one that has no counterpart
        sent = self._sent[block]
        if fill or sent.find(SENT, first, first + count) >= 0:
            new.write(first * PAGE_BYTES, bytes([fill]) * (count * PAGE_BYTES))
        sent[first : first + count] = bytes([SENT if fill else SENT_ZERO]) * count

    def full(self, block: str, first: int, data: bytes, offset: int) -> None:  # noqa: ARG002
        new = self._new.get(block)
        if new is not None:
            new.write(first * PAGE_BYTES, data)
            count = len(data) // PAGE_BYTES
            self._sent[block][first : first + count] = bytes([SENT]) * count

    def _ours(self, name: str) -> str | None:
        """Our name of the block that the stream calls *name*; None: it is dropped."""
        if self.dialect is Dialect.EMU or not self.foreign.blocks:
            return name
        return self.foreign.blocks.get(name, name)


# ==== digest ==============================================================================

GROUP_PAGES = 512


def tree_digest(blocks: Mapping[str, tuple[int, Iterable[tuple[int, bytes]]]]) -> bytes:
    """What stands for RAM in a digest: for each block by name its size and its pages' hashes,
    in the order of pages.

    Pages that are all zero have no hash, groups of only such pages neither: so the tree of a
    large and empty RAM is small.
    """
    return b"".join(_block_root(name, *blocks[name]) for name in sorted(blocks))


def _block_root(name: str, size: int, hashes: Iterable[tuple[int, bytes]]) -> bytes:
    root = [struct.pack(">B", len(name)), name.encode("ascii"), struct.pack(">Q", size)]
    for group, pages in groupby(hashes, key=lambda page: page[0] // GROUP_PAGES):
        rows = b"".join(struct.pack(">I", number) + digest for number, digest in pages)
        root += [struct.pack(">I", group), page_hash(rows)]
    return page_hash(b"".join(root))
