"""Who is saved, and under what name.

Four ways to be saved, in the order of registration, which is the order of the sections:

    register_state         a chip of ours: a declared State (vmstate.py); it can be read and
                           checked without touching the chip
    register_savevm        2008's: a pair of functions, for a user's own card
    register_savevm_live   2008's: the same, and one that sends in stages while the guest runs
    register_parts         RAM: sent in stages, and loaded beside what is there

loading.py loads what they have saved.
"""

from __future__ import annotations

from typing import Any

from emu import attrs
from emu.errors import ConfigError
from emu.savevm.description import Key, name_of
from emu.savevm.entries import (
    Card,
    Declared,
    Entry,
    Handlers,
    InParts,
    LoadState,
    Parts,
    SaveLiveState,
    SaveState,
)
from emu.savevm.loading import load_sections
from emu.savevm.stream import to_bytes
from emu.savevm.vmstate import Saved

NEXT_FREE = -1  # the instance_id that asks for one
IDSTR_BYTES = 255  # its length is a byte in the stream


@attrs.define(eq=False)
class Registry:
    """Everything of one machine that is saved."""

    entries: dict[Key, Entry] = attrs.field(init=False, factory=dict)
    cards: list[Card] = attrs.field(init=False, factory=list)

    # --- registering ----------------------------------------------------------------------

    def register_savevm(
        self,
        idstr: str,
        instance_id: int,
        version_id: int,
        save_state: SaveState,
        load_state: LoadState,
    ) -> int:
        """Save and load a section with functions of the caller's.

        ``save_state(f)`` writes to a `Stream`; ``load_state(f, version_id)`` reads the same
        bytes back, given the version that wrote them.  *instance_id* -1 picks the next free one.
        Returns the instance_id.  Raises ConfigError where (idstr, instance_id) is taken.
        """
        return self.register_savevm_live(
            idstr, instance_id, version_id, None, save_state, load_state
        )

    def register_savevm_live(
        self,
        idstr: str,
        instance_id: int,
        version_id: int,
        save_live_state: SaveLiveState | None,
        save_state: SaveState | None,
        load_state: LoadState,
    ) -> int:
        """The same, and in stages: ``save_live_state(f, stage)`` is called with stage 1 once,
        with 2 until it returns True (nothing left to send), then with 3, the guest stopped;
        *save_state*, where given, follows as a section of its own.  *load_state* is called for
        each of these, and reads what that one wrote.
        """
        instance_id = self._free_instance(idstr, instance_id)
        key = (idstr, instance_id)
        self._add(Handlers(key, version_id, save_live_state, save_state, load_state))
        return instance_id

    def register_state(
        self, saved: Saved[Any], card: Card, instance_id: int = 0, *, head: bool = False
    ) -> None:
        """Save and load the State of *card* as the sections that *saved* declares.

        Those of the *head* are the first of a save of ours, before RAM: what has to be known to
        build the machine that the rest is loaded into.  They must not change during a save.
        """
        for section in saved.sections:
            self._add(Declared((section.idstr, instance_id), section, saved, card, head))
        self.cards.append(card)

    def register_parts(self, idstr: str, version_id: int, parts: Parts) -> None:
        """Save and load *parts*, which is sent in stages, as the section *idstr*."""
        self._add(InParts((idstr, 0), version_id, parts))

    def _free_instance(self, idstr: str, instance_id: int) -> int:
        if instance_id != NEXT_FREE:
            return instance_id
        taken = [instance for name, instance in self.entries if name == idstr]
        return max(taken, default=-1) + 1

    def _add(self, entry: Entry) -> None:
        idstr, instance_id = entry.key
        if not idstr.isascii() or not 0 < len(idstr) <= IDSTR_BYTES:
            raise ConfigError(
                f"section name {idstr!r}: expected 1 to {IDSTR_BYTES} ASCII characters"
            )
        if not 0 <= instance_id < 1 << 32:
            raise ConfigError(f"section {idstr!r}: instance {instance_id} does not fit in 32 bits")
        if not 0 <= entry.version_id < 1 << 32:
            raise ConfigError(
                f"section {idstr!r}: version {entry.version_id} does not fit in 32 bits"
            )
        if entry.key in self.entries:
            raise ConfigError(f"section {name_of(entry.key)!r} is registered twice")
        self.entries[entry.key] = entry

    def section_id(self, key: Key) -> int:
        """The number by which a stream of ours refers to a section: its place in the order."""
        return list(self.entries).index(key)

    # --- the whole at once, in memory -----------------------------------------------------

    def save_sections(self) -> dict[Key, tuple[int, bytes]]:
        """Every section as (version, bytes), but for those that are sent in stages."""
        sections = {}
        for key, entry in self.entries.items():
            if isinstance(entry, Declared):
                save: SaveState = entry.save
            elif isinstance(entry, Handlers) and entry.save_state is not None:
                save = entry.save_state
            else:
                continue
            f, data = to_bytes()
            f.section = name_of(key)
            save(f)
            f.fflush()
            sections[key] = (entry.version_id, bytes(data))
        return sections

    def load_sections(self, sections: dict[Key, tuple[int, bytes]]) -> None:
        """Load what `save_sections` gave, all or nothing."""
        load_sections(self, sections)
