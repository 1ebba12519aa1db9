"""The machine's RAM, as the registry has it saved and loaded, and what stands for it in a digest.

What one save or one load takes is imported when there is one: ram_saving.py, ram_loading.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from emu import attrs
from emu.memory import Block, Ram, page_hash
from emu.savevm.pages import IDSTR, VERSION
from emu.savevm.registry import Registry
from emu.savevm.sections import Dialect, Foreign

if TYPE_CHECKING:
    from emu.savevm.ram_loading import RamLoading
    from emu.savevm.ram_saving import RamSaving

GROUP_PAGES = 512


@attrs.frozen(eq=False)
class RamParts:
    """The RAM of a machine, as the registry wants it."""

    rams: Sequence[Ram]

    def begin_save(self, dialect: Dialect, foreign: Foreign, *, live: bool) -> RamSaving:
        from emu.savevm.ram_saving import RamSaving

        rams = _blocks(self.rams, dialect, foreign)
        names = {ram.name: ram.name for ram in rams}
        if dialect is not Dialect.EMU and foreign.blocks:
            names = {ours: theirs for theirs, ours in foreign.blocks.items() if ours is not None}
        sent = [(names[ram.name], ram) for ram in rams if ram.name in names]
        return RamSaving(sent, any_fill=dialect is Dialect.EMU, live=live)

    def begin_load(self, dialect: Dialect, foreign: Foreign) -> RamLoading:
        from emu.savevm.ram_loading import RamLoading

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


# ==== digest ==============================================================================


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
