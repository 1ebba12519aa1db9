"""RAM, read from a save into a second mapping, which takes the place of the first at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emu import attrs
from emu.errors import StreamError
from emu.memory import PAGE_BYTES, Block, Ram
from emu.savevm.description import name_of
from emu.savevm.pages import IDSTR, PageReader
from emu.savevm.sections import Dialect, Foreign
from emu.savevm.stream import Stream

NEVER_SENT, SENT_ZERO, SENT = 0, 1, 2  # what has come of a page


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
