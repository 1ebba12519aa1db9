"""One short value for a whole machine: two machines have the same if and only if they are the same.

    e1:  and in hex the BLAKE2b, 16 bytes, of every section in the order of (idstr, instance):

         u8 length, idstr, be32 instance_id, be32 version_id, be64 length, payload

Each payload is in its newest form, made anew from the State, whatever version and dialect it was
read in.  RAM is the section "ram" of version 4, and its payload is for each block, by name,
the root of a tree of page hashes (`ram.tree_digest`), so empty RAM costs nothing:

    page    BLAKE2b, 16 bytes, of 4096; a page that is all zero has none
    group   of 512 pages that has any: the hash of (be32 page, its hash) of each
    root    the hash of u8 length, name, be64 size, and (be32 group, its hash) of each

Left out are section numbers, checksums, and whatever belongs to the host's end of a machine:
sections ``emu/host...``.  So are the stages of a user's own `save_live_state`, which come out
differently each time; what such a card saves as a whole is in.

The value can be had from a machine, and from a save without one.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from typing import BinaryIO

from emu.savevm.contents import Contents, Schemas, Unknown, read_contents, seekable
from emu.savevm.description import Key
from emu.savevm.entries import InParts
from emu.savevm.pages import IDSTR as RAM
from emu.savevm.pages import VERSION as RAM_VERSION
from emu.savevm.ram import tree_digest
from emu.savevm.registry import Registry
from emu.savevm.sections import Foreign
from emu.savevm.vmstate import dump

Sections = Mapping[Key, tuple[int, bytes]]
Excluded = Callable[[str], bool]  # an idstr


def of_the_host(idstr: str) -> bool:
    """What is not part of the machine itself."""
    return idstr.startswith("emu/host")


def digest_of(registry: Registry, excluded: Excluded = of_the_host) -> str:
    """The digest of the machine of *registry*."""
    sections = registry.save_sections()
    for key, entry in registry.entries.items():
        if isinstance(entry, InParts):
            sections[key] = (entry.version_id, entry.parts.digest())
    return _digest(sections, excluded)


def digest_of_save(
    file: BinaryIO,
    schemas: Schemas,
    foreign: Foreign | None = None,
    excluded: Excluded = of_the_host,
) -> str:
    """The digest of the machine that is saved in *file*; StreamError where it is damaged."""
    with seekable(file) as save:
        contents = read_contents(save, schemas, foreign)
        return digest_of_contents(contents, excluded)


def digest_of_contents(contents: Contents, excluded: Excluded = of_the_host) -> str:
    """The digest of what has been read."""
    sections: dict[Key, tuple[int, bytes]] = {}
    for found in contents.sections:
        if isinstance(found, Unknown):
            sections[found.key] = (found.frame.version, found.data)
    for chip, state in contents.states():
        for section in chip.saved.sections:
            data = dump(section, state)
            sections[section.idstr, chip.instance] = (section.version, data)
    blocks = {name: (block.size, block.hashes()) for name, block in contents.blocks().items()}
    if blocks:
        sections[RAM, 0] = (RAM_VERSION, tree_digest(blocks))
    return _digest(sections, excluded)


def _digest(sections: Sections, excluded: Excluded) -> str:
    total = hashlib.blake2b(digest_size=16)
    for (idstr, instance), (version, data) in sorted(sections.items()):
        if not excluded(idstr):
            total.update(struct.pack(">B", len(idstr)) + idstr.encode("ascii"))
            total.update(struct.pack(">IIQ", instance, version, len(data)))
            total.update(data)
    return f"e1:{total.hexdigest()}"
