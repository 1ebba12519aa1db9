"""Looking at saves without a machine: what is in one, whether it is whole, how two differ.

inspect(file, schemas)   a Report: each section, its checksum, its fields; RAM; the digest
verify(file, schemas)    StreamError where anything is wrong, else the digest
diff(a, b, schemas)      the fields and the pages that are not the same
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import attrs

from emu.clock import NEVER
from emu.memory import PAGE_BYTES
from emu.savevm import description
from emu.savevm.contents import Block, Contents, Schemas, read_contents, seekable
from emu.savevm.description import Key, Row, name_of
from emu.savevm.digest import digest_of_contents
from emu.savevm.ram import IDSTR as RAM
from emu.savevm.sections import Dialect, Foreign, unchecked

SHOWN_BYTES = 32  # of a long value, in text

Json = dict[str, Any]


class Checksum(enum.Enum):
    """What became of a section's checksum."""

    GOOD = "good"
    WRONG = "wrong"
    NONE = "none"  # QEMU has none


@attrs.frozen
class SectionReport:
    """One section as it stands in the stream, and what is in it."""

    row: Row
    checksum: Checksum
    fields: Json | None  # by name; None for RAM and stages

    def as_json(self) -> Json:
        told = self.row.as_json() | {"checksum": self.checksum.value}
        return told if self.fields is None else told | {"fields": self.fields}


@attrs.frozen
class BlockReport:
    """One block of RAM, when all of it has been read."""

    name: str
    size: int
    pages: int
    uniform: int  # pages that are one byte repeated, or were never sent
    full: int  # pages sent byte for byte

    def as_json(self) -> Json:
        return attrs.asdict(self)


@attrs.frozen
class Report:
    """What is in a save."""

    dialect: str
    machine: str | None
    digest: str
    problem: str | None  # what the checksums say
    sections: tuple[SectionReport, ...]
    blocks: tuple[BlockReport, ...]

    def to_json(self) -> str:
        """All of it as JSON."""
        told = {
            "dialect": self.dialect,
            "machine": self.machine,
            "digest": self.digest,
            "problem": self.problem,
            "ram": [block.as_json() for block in self.blocks],
            "sections": [section.as_json() for section in self.sections],
        }
        return json.dumps(told, indent=2)

    def to_text(self) -> str:
        """All of it for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"dialect  {self.dialect}"
        yield f"machine  {_plain(self.machine or '(not said)')}"
        yield f"digest   {self.digest}"
        if self.problem is not None:
            yield f"damaged  {self.problem}"
        yield ""
        yield f"{'RAM block':<24} {'bytes':>12} {'pages':>8} {'uniform':>8} {'full':>8}"
        for block in self.blocks:
            yield (
                f"{_plain(block.name):<24} {block.size:>12,} {block.pages:>8,} {block.uniform:>8,}"
                f" {block.full:>8,}"
            )
        yield ""
        yield f"{'section':<24} {'id':>3} {'type':<13} {'ver':>3} {'offset':>10} {'size':>10} crc32"
        for section in self.sections:
            row = section.row
            mark = {Checksum.GOOD: "", Checksum.WRONG: "  WRONG", Checksum.NONE: "  (unchecked)"}
            yield (
                f"{_plain(name_of(row.key)):<24} {row.section_id:>3} {row.kind:<13}"
                f" {row.version:>3} {row.offset:>#10x} {row.size:>10,} {row.crc:08x}"
                f"{mark[section.checksum]}"
            )
            for name, value in (section.fields or {}).items():
                yield f"    {name:<28} {_shown(value)}"


def inspect(file: BinaryIO, schemas: Schemas, foreign: Foreign | None = None) -> Report:
    """What is in the save in *file*.

    A wrong checksum is reported, if the section can be read all the same; what cannot be read
    raises StreamError.
    """
    with seekable(file) as save:
        contents = read_contents(save, schemas, foreign, checked=False)
        reader = contents.reader
        problem = unchecked(reader)
        by_offset = {found.frame.offset: found for found in contents.sections}
        sections = []
        for index, row in enumerate(reader.rows):
            found = by_offset.get(row.offset)
            fields = None if found is None else _as_json(found.values)
            sections.append(SectionReport(row, _checksum(contents, index, row), fields))
        return Report(
            reader.dialect.value,
            reader.machine,
            digest_of_contents(contents),
            None if problem is None else str(problem),
            tuple(sections),
            tuple(_block_report(name, block) for name, block in contents.ram.by_name.items()),
        )


def verify(file: BinaryIO, schemas: Schemas, foreign: Foreign | None = None) -> str:
    """The digest of the save in *file*, of which everything has been checked.

    Raises StreamError where anything is wrong that can be known without the machine.
    """
    with seekable(file) as save:
        return digest_of_contents(read_contents(save, schemas, foreign))


def _checksum(contents: Contents, index: int, row: Row) -> Checksum:
    reader = contents.reader
    if reader.dialect is not Dialect.EMU or reader.described is None:
        return Checksum.NONE
    told = description.row_at(reader.described, index)
    return Checksum.GOOD if told == row.as_json() else Checksum.WRONG


def _block_report(name: str, block: Block) -> BlockReport:
    full = len(block.places)
    return BlockReport(name, block.size, block.pages, block.pages - full, full)


# ==== values ==============================================================================


def _as_json(value: Any) -> Any:
    """A value of a State as JSON has it: bytes in hex, no deadline as null."""
    match value:
        case bytes():
            return value.hex()
        case enum.Enum():
            return value.name
        case Mapping():
            return {str(name): _as_json(each) for name, each in value.items()}
        case list() | tuple():
            return [_as_json(each) for each in value]
        case _ if attrs.has(type(value)):
            return _as_json(attrs.asdict(value, recurse=False))
        case _:
            return None if value == NEVER and value is not True else value


def _shown(value: Any) -> str:
    """A value as one short line."""
    match value:
        case bool() | None:
            text = {True: "true", False: "false", None: "none"}[value]
        case int():
            text = f"{value:#x} ({value})" if value > 9 else str(value)
        case str():
            text = ascii(value)[1:-1]
        case _:
            text = json.dumps(value)
    return text if len(text) <= 2 * SHOWN_BYTES else f"{text[: 2 * SHOWN_BYTES]}... ({len(text)})"


def _plain(name: str) -> str:
    """A name of the stream with nothing in it that a terminal would obey."""
    return ascii(name)[1:-1]


# ==== differences =========================================================================


@attrs.frozen
class Difference:
    """A field that two saves do not agree on; None where one has it not."""

    section: str
    field: str
    a: Any
    b: Any


@attrs.frozen
class PageDifference:
    """A page of RAM that two saves do not agree on."""

    block: str
    page: int
    bytes_changed: int
    first: int  # address, within the block, of the first byte that differs


@attrs.frozen
class Differences:
    """All that two saves do not agree on."""

    fields: tuple[Difference, ...]
    pages: tuple[PageDifference, ...]

    def __bool__(self) -> bool:
        return bool(self.fields or self.pages)

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self), indent=2)

    def to_text(self) -> str:
        lines = [
            f"{_plain(each.section):<24} {_plain(each.field):<28} {_shown(each.a)} -> {_shown(each.b)}"
            for each in self.fields
        ]
        lines += [
            f"{_plain(each.block):<24} page {each.page:<23} {each.bytes_changed} bytes,"
            f" the first at {each.first:#x}"
            for each in self.pages
        ]
        return "\n".join(lines)


def diff(a: BinaryIO, b: BinaryIO, schemas: Schemas, foreign: Foreign | None = None) -> Differences:
    """How the saves in *a* and *b* differ, of whatever dialect each is."""
    with seekable(a) as file_a, seekable(b) as file_b:
        left = read_contents(file_a, schemas, foreign)
        right = read_contents(file_b, schemas, foreign)
        return Differences(
            tuple(_field_differences(left, right)), tuple(_page_differences(left, right))
        )


def _field_differences(left: Contents, right: Contents) -> Iterator[Difference]:
    if left.reader.machine != right.reader.machine:
        yield Difference("configuration/0", "machine", left.reader.machine, right.reader.machine)
    mine, yours = _flat_sections(left), _flat_sections(right)
    for key in sorted(mine.keys() | yours.keys()):
        here, there = mine.get(key, {}), yours.get(key, {})
        for name in {**here, **there}:
            if here.get(name) != there.get(name):
                yield Difference(name_of(key), name, here.get(name), there.get(name))


def _flat_sections(contents: Contents) -> dict[Key, Json]:
    """The fields of every section, those within others by dotted names."""
    sections: dict[Key, Json] = {}
    for found in contents.sections:
        values = dict(_flat("", _as_json(found.values)))
        sections[found.key] = {"version": found.frame.version} | values
    ram = {f"{name}.size": block.size for name, block in contents.blocks().items()}
    if ram:
        sections[RAM, 0] = ram
    return sections


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    inner: Sequence[tuple[str, Any]] | None = None
    if isinstance(value, dict):
        inner = [(f"{name}.{each}" if name else each, value[each]) for each in value]
    elif isinstance(value, list):
        inner = [(f"{name}[{index}]", each) for index, each in enumerate(value)]
    if inner is None:
        yield name, value
    else:
        for each, part in inner:
            yield from _flat(each, part)


def _page_differences(left: Contents, right: Contents) -> Iterator[PageDifference]:
    blocks = left.blocks(), right.blocks()
    for name in sorted(blocks[0].keys() & blocks[1].keys()):
        mine, yours = blocks[0][name], blocks[1][name]
        for number in sorted(mine.hashes.keys() | yours.hashes.keys()):
            if mine.hashes.get(number) != yours.hashes.get(number):
                here, there = left.read_page(mine, number), right.read_page(yours, number)
                changed = [at for at in range(PAGE_BYTES) if here[at] != there[at]]
                first = number * PAGE_BYTES + changed[0]
                yield PageDifference(name, number, len(changed), first)
