"""Looking at a save without a machine: what is in it, and whether it is whole.

inspect(file, schemas)   a Report: each section, its checksum, its fields; RAM; the digest
verify(file, schemas)    StreamError where anything is wrong, else the digest
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from emu import attrs
from emu.clock import NEVER
from emu.savevm import description
from emu.savevm.contents import Block, Contents, Schemas, reading
from emu.savevm.description import Row, name_of
from emu.savevm.digest import digest_of_contents
from emu.savevm.sections import Dialect, Foreign, unchecked
from emu.savevm.stream import Progress, untold

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
        yield f"machine  {plain(self.machine or '(not said)')}"
        yield f"digest   {self.digest}"
        if self.problem is not None:
            yield f"damaged  {self.problem}"
        yield ""
        yield f"{'RAM block':<24} {'bytes':>12} {'pages':>8} {'uniform':>8} {'full':>8}"
        for block in self.blocks:
            yield (
                f"{plain(block.name):<24} {block.size:>12,} {block.pages:>8,} {block.uniform:>8,}"
                f" {block.full:>8,}"
            )
        yield ""
        yield f"{'section':<24} {'id':>3} {'type':<13} {'ver':>3} {'offset':>10} {'size':>10} crc32"
        for section in self.sections:
            row = section.row
            mark = {Checksum.GOOD: "", Checksum.WRONG: "  WRONG", Checksum.NONE: "  (unchecked)"}
            yield (
                f"{plain(name_of(row.key)):<24} {row.section_id:>3} {row.kind:<13}"
                f" {row.version:>3} {row.offset:>#10x} {row.size:>10,} {row.crc:08x}"
                f"{mark[section.checksum]}"
            )
            for name, value in (section.fields or {}).items():
                yield f"    {name:<28} {shown(value)}"


def inspect(
    file: BinaryIO,
    schemas: Schemas,
    foreign: Foreign | None = None,
    *,
    progress: Progress = untold,
) -> Report:
    """What is in the save in *file*.

    A wrong checksum is reported, if the section can be read all the same; what cannot be read
    raises StreamError.
    """
    with reading(file, schemas, foreign, checked=False, progress=progress) as contents:
        reader = contents.reader
        problem = unchecked(reader)
        by_offset = {found.frame.offset: found for found in contents.sections}
        sections = []
        for index, row in enumerate(reader.rows):
            found = by_offset.get(row.offset)
            fields = None if found is None else as_json(found.values)
            sections.append(SectionReport(row, _checksum(contents, index, row), fields))
        return Report(
            reader.dialect.value,
            reader.machine,
            digest_of_contents(contents),
            None if problem is None else str(problem),
            tuple(sections),
            tuple(_block_report(name, block) for name, block in contents.ram.by_name.items()),
        )


def verify(
    file: BinaryIO,
    schemas: Schemas,
    foreign: Foreign | None = None,
    *,
    progress: Progress = untold,
) -> str:
    """The digest of the save in *file*, of which everything has been checked.

    Raises StreamError where anything is wrong that can be known without the machine.
    """
    with reading(file, schemas, foreign, progress=progress) as contents:
        return digest_of_contents(contents)


def _checksum(contents: Contents, index: int, row: Row) -> Checksum:
    reader = contents.reader
    if reader.dialect is not Dialect.EMU or reader.described is None:
        return Checksum.NONE
    told = description.row_at(reader.described, index)
    return Checksum.GOOD if told == row.as_json() else Checksum.WRONG


def _block_report(name: str, block: Block) -> BlockReport:
    full = block.full
    return BlockReport(name, block.size, block.pages, block.pages - full, full)


# ==== values ==============================================================================


def as_json(value: Any) -> Any:
    """A value of a State as JSON has it: bytes in hex, no deadline as null."""
    match value:
        case bytes():
            return value.hex()
        case enum.Enum():
            return value.name
        case Mapping():
            return {str(name): as_json(each) for name, each in value.items()}
        case list() | tuple():
            return [as_json(each) for each in value]
        case _ if attrs.has(type(value)):
            return as_json(attrs.asdict(value, recurse=False))
        case _:
            return None if value == NEVER and value is not True else value


def shown(value: Any) -> str:
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


def plain(name: str) -> str:
    """A name of the stream with nothing in it that a terminal would obey."""
    return ascii(name)[1:-1]
