"""What is in a save, read without a machine.

The payloads are read by the declarations of the chips (*schemas*).  A section that none of them is
for, such as a user's own card's, is taken as it stands, at the length that the description
at the end of the stream gives it; so that has to be looked at first, and what cannot be sought in
is copied to a temporary file before.  Of RAM only hashes are kept, and where in the file each
page is.

Everything that can be wrong with a save and does not depend on a machine is found here.
"""

from __future__ import annotations

import enum
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

from emu import attrs
from emu.errors import HostError, StreamError
from emu.memory import PAGE_BYTES, ZERO_PAGE, page_hash
from emu.savevm import description
from emu.savevm.description import Key, name_of
from emu.savevm.pages import FULL_BYTES, PageReader
from emu.savevm.pages import IDSTR as RAM
from emu.savevm.sections import FOOTER_BYTES, Dialect, Foreign, Frame, Kind, Reader
from emu.savevm.stream import Progress, Stream, from_bytes, open_file, untold
from emu.savevm.vmstate import Saved, Values, check_instants

HASH_BYTES = len(page_hash(ZERO_PAGE))
NO_HASH = bytes(HASH_BYTES)
GROUP_PAGES = 512  # are compared at a time

Schemas = Mapping[str, Saved[Any]]  # by the idstr of each of its sections


def schemas_of(saved: Iterable[Saved[Any]]) -> dict[str, Saved[Any]]:
    """The declarations *saved*, by the names of their sections."""
    return {section.idstr: each for each in saved for section in each.sections}


# ==== what is found =======================================================================


@attrs.frozen
class Found:
    """A section that is there as a whole, and its values, by the names of its fields."""

    frame: Frame
    key: Key  # the frame's; or ours, where it came under another number
    offset: int  # of the payload
    values: Values


@attrs.frozen
class Unknown(Found):
    """A section that no chip declares; its fields are as the description has them."""

    data: bytes = b""


@attrs.frozen
class Chip:
    """The sections of one State."""

    saved: Saved[Any]
    instance: int
    parts: list[Found] = attrs.field(factory=list)

    def state(self, dialect: Dialect) -> Any:
        """The State, made anew and checked; StreamError where it cannot be."""
        values = {part.key[0]: part.values for part in self.parts}
        for section in self.saved.sections:
            if section.idstr not in values and dialect is Dialect.EMU:
                raise StreamError(
                    "the section is missing", section=name_of((section.idstr, self.instance))
                )
        f = from_bytes(b"")
        f.fseek(self.parts[0].offset)
        f.section = name_of(self.parts[0].key)
        return self.saved.decode(f, values)


class Sent(enum.IntEnum):
    """What a save says of a page."""

    NEVER = 0
    UNIFORM = 1  # it is one byte repeated
    FULL = 2  # its bytes are there


@attrs.define(eq=False)
class Block:
    """What a save says of a block of RAM: some 26 bytes a page, so that gigabytes are no burden."""

    size: int
    _sent: bytearray = attrs.field(init=False)  # `Sent`, of each page
    _fills: bytearray = attrs.field(init=False)  # of uniform pages, the byte
    _places: array[int] = attrs.field(init=False)  # of full pages, where in the save they are
    _hashes: bytearray = attrs.field(init=False)  # `HASH_BYTES` a page; a page of zeros has none
    _held: bytearray = attrs.field(init=False)  # 1 for each page that is not all zero

    def __attrs_post_init__(self) -> None:
        self._sent, self._fills, self._held = (bytearray(self.pages) for _ in range(3))
        self._places = array("Q", bytes(8 * self.pages))
        self._hashes = bytearray(HASH_BYTES * self.pages)

    @property
    def pages(self) -> int:
        return self.size // PAGE_BYTES

    @property
    def full(self) -> int:
        """How many pages were sent byte for byte."""
        return self._sent.count(Sent.FULL)

    def missing(self) -> int:
        """The first page that was never sent; -1 where there is none."""
        return self._sent.find(Sent.NEVER)

    def set_uniform(self, first: int, count: int, fill: int) -> None:
        """*count* pages from *first* on consist of the byte *fill*."""
        end = first + count
        self._sent[first:end] = bytes([Sent.UNIFORM]) * count
        self._fills[first:end] = bytes([fill]) * count
        self._held[first:end] = bytes([fill != 0]) * count
        digest = page_hash(bytes([fill]) * PAGE_BYTES) if fill else NO_HASH
        self._hashes[first * HASH_BYTES : end * HASH_BYTES] = digest * count

    def set_full(self, number: int, page: bytes, place: int) -> None:
        """Page *number* is *page*, which is at *place* in the save."""
        held = page != ZERO_PAGE
        self._sent[number] = Sent.FULL
        self._places[number] = place
        self._held[number] = held
        start = number * HASH_BYTES
        self._hashes[start : start + HASH_BYTES] = page_hash(page) if held else NO_HASH

    def hashes(self) -> Iterator[tuple[int, bytes]]:
        """The pages that are not all zero, in order, each with its hash."""
        number = self._held.find(1)
        while number >= 0:
            yield number, bytes(self._hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES])
            number = self._held.find(1, number + 1)

    def read(self, file: BinaryIO, number: int) -> bytes:
        """The bytes of page *number*, from the save in *file*."""
        if self._sent[number] != Sent.FULL:
            return bytes([self._fills[number]]) * PAGE_BYTES
        file.seek(self._places[number])
        return file.read(PAGE_BYTES)

    def differing(self, other: Block) -> Iterator[int]:
        """The pages that are not the same here and in *other*, as far as both have them."""
        pages = min(self.pages, other.pages)
        with memoryview(self._hashes) as mine, memoryview(other._hashes) as theirs:
            for group in range(0, pages, GROUP_PAGES):
                some = range(group, min(group + GROUP_PAGES, pages))
                place = slice(some.start * HASH_BYTES, some.stop * HASH_BYTES)
                if mine[place] == theirs[place]:
                    continue
                for number in some:
                    place = slice(number * HASH_BYTES, (number + 1) * HASH_BYTES)
                    if mine[place] != theirs[place]:
                        yield number


@attrs.define(eq=False)
class RamContents:
    """What a save says of RAM, page by page (`pages.Pages`)."""

    by_name: dict[str, Block] = attrs.field(init=False, factory=dict)

    def blocks(self, f: Stream, sizes: Mapping[str, int]) -> None:  # noqa: ARG002
        self.by_name = {name: Block(size) for name, size in sizes.items()}

    def uniform(self, block: str, first: int, count: int, fill: int) -> None:
        self.by_name[block].set_uniform(first, count, fill)

    def full(self, block: str, first: int, data: bytes, offset: int) -> None:
        ram = self.by_name[block]
        for index in range(len(data) // PAGE_BYTES):
            page = data[index * PAGE_BYTES : (index + 1) * PAGE_BYTES]
            ram.set_full(first + index, page, offset + index * FULL_BYTES)


@attrs.define(eq=False)
class Contents:
    """All that a save holds."""

    file: BinaryIO
    reader: Reader
    foreign: Foreign
    sections: list[Found] = attrs.field(init=False, factory=list)  # those that are there as a whole
    chips: dict[tuple[str, int], Chip] = attrs.field(init=False, factory=dict)
    ram: RamContents = attrs.field(init=False, factory=RamContents)

    def blocks(self) -> dict[str, Block]:
        """The blocks of RAM, by our names; those that we have no counterpart for left out."""
        names: Mapping[str, str | None] = {}
        if self.reader.dialect is not Dialect.EMU:
            names = self.foreign.blocks
        blocks = {names.get(name, name): block for name, block in self.ram.by_name.items()}
        return {name: block for name, block in blocks.items() if name is not None}

    def states(self) -> Iterator[tuple[Chip, Any]]:
        """The State of every chip that is known."""
        states = [(chip, chip.state(self.reader.dialect)) for chip in self.chips.values()]
        check_instants((name_of(chip.parts[0].key), state) for chip, state in states)
        yield from states


# ==== reading =============================================================================


@contextmanager
def seekable(file: BinaryIO) -> Iterator[BinaryIO]:
    """*file*, or a copy of what is left in it where it is a pipe."""
    if file.seekable():
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        try:
            shutil.copyfileobj(file, copy)
        except OSError as error:
            raise HostError(f"copying the save: {error.strerror}") from error
        copy.seek(0)
        yield copy


@contextmanager
def reading(
    file: BinaryIO,
    schemas: Schemas,
    foreign: Foreign | None = None,
    *,
    checked: bool = True,
    progress: Progress = untold,
) -> Iterator[Contents]:
    """What is in the save in *file*, which may be a pipe; as long as that can be read again."""
    with seekable(file) as save:
        yield read_contents(save, schemas, foreign, checked=checked, progress=progress)


def read_contents(
    file: BinaryIO,
    schemas: Schemas,
    foreign: Foreign | None = None,
    *,
    checked: bool = True,
    progress: Progress = untold,
) -> Contents:
    """Read the save in *file*, which can be sought in and holds nothing else.

    Raises StreamError for whatever is wrong with it.  With *checked* False checksums that are
    wrong pass, if what they protect can be read all the same: `sections.unchecked` tells.
    """
    file.seek(0)
    reader = Reader(open_file(file, writing=False, progress=progress), checked=checked)
    contents = Contents(file, reader, foreign or Foreign())
    _Reading(contents, schemas, contents.foreign).read()
    return contents


@attrs.define(eq=False)
class _Reading:
    """One save being read."""

    contents: Contents
    schemas: Schemas
    foreign: Foreign
    _described: dict[str, Any] | None = attrs.field(init=False, default=None)

    def read(self) -> None:
        contents, ours = self.contents, self.contents.reader.dialect is Dialect.EMU
        f = contents.reader.f
        pages = PageReader(contents.ram)
        for frame in contents.reader:
            if frame.key == (RAM, 0) and frame.kind is not Kind.FULL:
                pages.read(f, frame.version)
            elif frame.kind is not Kind.FULL:
                f.get_buffer(self._size(f, frame))  # a stage of a user's card
            else:
                key = frame.key if ours else self.foreign.aliases.get(frame.key, frame.key)
                self._read_whole(f, frame, key)
        for name, block in contents.ram.by_name.items():
            missing = block.missing()
            if ours and missing >= 0:
                raise StreamError(
                    f"page {missing} of block {name!r} is missing",
                    section=name_of((RAM, 0)),
                    field=name,
                )

    def _read_whole(self, f: Stream, frame: Frame, key: Key) -> None:
        contents = self.contents
        offset = f.ftell()
        saved = self.schemas.get(key[0])
        if saved is not None:
            section = next(each for each in saved.sections if each.idstr == key[0])
            found = Found(frame, key, offset, section.get(f, frame.version))
            first = (saved.sections[0].idstr, key[1])
            chip = contents.chips.setdefault(first, Chip(saved, key[1]))
            if any(part.key == key for part in chip.parts):
                f.field = None
                raise f.error("the section is there twice")
            chip.parts.append(found)
        elif key[0] in self.foreign.ignored and contents.reader.dialect is not Dialect.EMU:
            found = Found(frame, key, offset, self.foreign.ignored[key[0]].get(f, frame.version))
        else:
            data = f.get_buffer(self._size(f, frame))
            told = description.device_at(self._describe(), frame.key)
            found = Unknown(frame, key, offset, description.take_apart(told, data), data)
        contents.sections.append(found)

    def _size(self, f: Stream, frame: Frame) -> int:
        """The length of the payload that begins here, as the description has it."""
        if self.contents.reader.dialect is Dialect.EMU:
            row = description.row_at(self._describe(), len(self.contents.reader.rows))
            told = row.get("size")
            header = f.ftell() - frame.offset
            size = told - header - FOOTER_BYTES if isinstance(told, int) else None
        else:
            size = description.payload_size(description.device_at(self._describe(), frame.key))
        if size is None or size < 0:
            raise f.error("nothing is known of this section, not even its size")
        return size

    def _describe(self) -> dict[str, Any]:
        """The description, which is found from the end; empty where there is none."""
        if self._described is None:
            file = self.contents.file
            here = file.tell()
            end = file.seek(0, 2)
            file.seek(max(0, end - description.TEXT_MOST - description.HEAD_BYTES))
            self._described = description.find(file.read())
            file.seek(here)
        return self._described
