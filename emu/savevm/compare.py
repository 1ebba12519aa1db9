"""How two saves differ, whatever dialect and size each is.

    with reading(a, schemas) as left, reading(b, schemas) as right:
        found = compare(left, right)
        found.fields             the fields of State that differ, by the chips' own names
        found.only_a             sections that only one of them has
        found.pages              which pages of RAM differ, by block
        found.page_differences() what is different in each: read from the files as it is asked for

What is compared is the machine: each chip's State as a load would make it, and RAM.  So nothing
differs if and only if the digests of the two are the same.  With *wire* it is the stream: the sections'
fields as they are written, under their names there, versions included.

Of RAM only hashes are in memory; the two pages that are looked at are read again.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

from emu import attrs
from emu.memory import PAGE_BYTES
from emu.savevm.contents import Chip, Contents, Unknown
from emu.savevm.description import name_of
from emu.savevm.digest import of_the_host
from emu.savevm.pages import IDSTR as RAM

RUN_OF_DIFFERENT = re.compile(rb"[^\0]+")


@attrs.frozen
class Leaf:
    """A value that has no parts, and the field that it is in or an element of."""

    value: Any
    declared: attrs.Attribute | None = attrs.field(default=None, eq=False)


@attrs.frozen
class FieldDifference:
    """A field that is not the same; None where a list in one is shorter."""

    section: str
    field: str
    a: Any
    b: Any
    declared: attrs.Attribute | None = None  # None: nobody has declared it


@attrs.frozen
class Run:
    """Bytes in a row of which none is the same."""

    offset: int  # within the block
    a: bytes
    b: bytes


@attrs.frozen
class PageDifference:
    """A page of RAM that is not the same."""

    block: str
    number: int
    a: bytes
    b: bytes

    @property
    def offset(self) -> int:
        """Of its first byte, within the block."""
        return self.number * PAGE_BYTES

    def runs(self) -> Iterator[Run]:
        """The places where it is not, from the first on."""
        mixed = int.from_bytes(self.a, "big") ^ int.from_bytes(self.b, "big")
        for found in RUN_OF_DIFFERENT.finditer(mixed.to_bytes(len(self.a), "big")):
            start, end = found.span()
            yield Run(self.offset + start, self.a[start:end], self.b[start:end])


@attrs.define(eq=False)
class Comparison:
    """Two saves, and how they differ.  The files have to be open as long as this is used."""

    a: Contents
    b: Contents
    fields: tuple[FieldDifference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    pages: Mapping[str, array[int]]  # by block, only those where there are any

    def __bool__(self) -> bool:
        return bool(self.fields or self.only_a or self.only_b or self.pages)

    def page_differences(self) -> Iterator[PageDifference]:
        """Each page of `pages`, with what is in it."""
        blocks_a, blocks_b = self.a.blocks(), self.b.blocks()
        for name, numbers in self.pages.items():
            for number in numbers:
                yield PageDifference(
                    name,
                    number,
                    blocks_a[name].read(self.a.file, number),
                    blocks_b[name].read(self.b.file, number),
                )


def compare(left: Contents, right: Contents, *, wire: bool = False) -> Comparison:
    """Compare two saves; *wire*: what is in the streams, not the machines."""
    sections = _on_the_wire if wire else _of_the_machine
    mine, yours = sections(left), sections(right)
    blocks_a, blocks_b = left.blocks(), right.blocks()
    pages = {
        name: array("I", blocks_a[name].differing(blocks_b[name]))
        for name in sorted(blocks_a.keys() & blocks_b.keys())
    }
    return Comparison(
        left,
        right,
        tuple(_field_differences(mine, yours)),
        tuple(name for name in mine if name not in yours),
        tuple(name for name in yours if name not in mine),
        {name: numbers for name, numbers in pages.items() if numbers},
    )


# ==== fields ==============================================================================

Leaves = dict[str, Leaf]  # by dotted name


def chip_name(chip: Chip) -> str:
    """What a chip goes by: the shortest of its sections' names."""
    idstr = min((section.idstr for section in chip.saved.sections), key=len)
    return name_of((idstr, chip.instance))


def _of_the_machine(contents: Contents) -> dict[str, Leaves]:
    """What is in the machine's digest, RAM's contents apart."""
    sections = {
        name: dict(_leaves("", state))
        for name, state in ((chip_name(chip), state) for chip, state in contents.states())
        if not of_the_host(name)
    }
    for found in contents.sections:
        if isinstance(found, Unknown) and not of_the_host(found.key[0]):
            sections[name_of(found.key)] = {
                "version": Leaf(found.frame.version),
                **dict(_leaves("", found.values)),
            }
    return sections | _sizes(contents)


def _on_the_wire(contents: Contents) -> dict[str, Leaves]:
    """What is in the stream, RAM's contents apart."""
    machine = Leaf(contents.reader.machine)
    sections: dict[str, Leaves] = {"configuration/0": {"machine": machine}}
    for found in contents.sections:
        version = Leaf(found.frame.version)
        sections[name_of(found.key)] = {"version": version, **dict(_leaves("", found.values))}
    return sections | _sizes(contents)


def _sizes(contents: Contents) -> dict[str, Leaves]:
    sizes = {f"{name}.size": Leaf(block.size) for name, block in contents.blocks().items()}
    return {name_of((RAM, 0)): sizes} if sizes else {}


def _leaves(
    name: str, value: Any, declared: attrs.Attribute | None = None
) -> Iterator[tuple[str, Leaf]]:
    """All that is in *value*: States, mappings and lists are taken apart."""
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from _leaves(_inner(name, field.name), getattr(value, field.name), field)
    elif isinstance(value, Mapping):
        for each, inner in value.items():
            yield from _leaves(_inner(name, each), inner, declared)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _leaves(f"{name}[{index}]", each, declared)
    else:
        yield name, Leaf(value, declared)


def _inner(outer: str, name: str) -> str:
    return f"{outer}.{name}" if outer else name


def _field_differences(
    mine: Mapping[str, Leaves], yours: Mapping[str, Leaves]
) -> Iterator[FieldDifference]:
    for section, here in mine.items():
        there = yours.get(section)
        if there is None:
            continue
        for field in {**here, **there}:
            one, other = here.get(field), there.get(field)
            if one != other:
                declared = (one or other or Leaf(None)).declared
                a, b = (None if each is None else each.value for each in (one, other))
                yield FieldDifference(section, field, a, b, declared)
