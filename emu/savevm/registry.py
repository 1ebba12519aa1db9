"""Who is saved, under what name, and how a load is all or nothing.

Three kinds of entry, in the order they were registered, which is the order they are saved in:

    register_state         a chip of ours: a declared State (vmstate.py); it can be read and
                           checked without touching the chip
    register_savevm        2008's: a pair of functions, for a user's own card
    register_savevm_live   2008's: the same, and one that sends in stages while the guest runs

A load has three phases (`Loading`).  First everything is read and checked: new States are made
and set aside.  Then every State is adopted while nobody drives a pin.  Then every chip settles
its outputs, and as settling changes no State, their order does not matter.  A function of a
user's that loads acts as it reads; so before the first of them is called all are saved, and a
load that is refused later gives them that back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs

from emu.errors import ConfigError, EmuError, StreamError
from emu.savevm.stream import Stream, from_bytes, to_bytes
from emu.savevm.vmstate import Saved, Section, Values

Key = tuple[str, int]  # idstr, instance_id: QEMU's section key
SaveState = Callable[[Stream], None]
LoadState = Callable[[Stream, int], None]
SaveLiveState = Callable[[Stream, int], bool]  # stage 1, 2, 3; True: nothing left to send

NEXT_FREE = -1  # the instance_id that asks for one
IDSTR_BYTES = 255  # its length is a byte in the stream


class Card(Protocol):
    """What is registered with its State."""

    state: Any

    def settle(self) -> None:
        """Make every output follow the state; change no State."""


def name_of(key: Key) -> str:
    """A section's name in messages."""
    return f"{key[0]}/{key[1]}"


@attrs.frozen(eq=False)
class Declared:
    """A section of a chip's declared State."""

    key: Key
    section: Section
    saved: Saved[Any]
    card: Card

    @property
    def version_id(self) -> int:
        return self.section.version

    def save(self, f: Stream) -> None:
        self.section.put(f, self.card.state)


@attrs.frozen(eq=False)
class Handlers:
    """A section that a user's own functions write and read."""

    key: Key
    version_id: int
    save_live_state: SaveLiveState | None
    save_state: SaveState | None
    load_state: LoadState

    def save(self, f: Stream) -> None:
        if self.save_state is not None:
            self.save_state(f)


Entry = Declared | Handlers


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

    def register_state(self, saved: Saved[Any], card: Card, instance_id: int = 0) -> None:
        """Save and load the State of *card* as the sections that *saved* declares."""
        for section in saved.sections:
            self._add(Declared((section.idstr, instance_id), section, saved, card))
        self.cards.append(card)

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
        if entry.key in self.entries:
            raise ConfigError(f"section {name_of(entry.key)!r} is registered twice")
        self.entries[entry.key] = entry

    def section_id(self, key: Key) -> int:
        """The number by which a stream of ours refers to a section: its place in the order."""
        return list(self.entries).index(key)

    # --- the whole at once, in memory -----------------------------------------------------

    def save_sections(self) -> dict[Key, tuple[int, bytes]]:
        """Every section as (version, bytes).  Live handlers, which have stages, are not in it."""
        sections = {}
        for key, entry in self.entries.items():
            f, data = to_bytes()
            f.section = name_of(key)
            entry.save(f)
            f.fflush()
            sections[key] = (entry.version_id, bytes(data))
        return sections

    def load_sections(self, sections: dict[Key, tuple[int, bytes]]) -> None:
        """Load what `save_sections` gave, all or nothing."""
        loading = Loading(self)
        try:
            for key, (version, data) in sections.items():
                f = from_bytes(data)
                f.section = name_of(key)
                loading.read(f, key, version)
                if f.peek_byte() is not None:
                    f.field = None
                    raise f.error("bytes left over after the last field")
            loading.check_complete()
        except EmuError:
            loading.roll_back()
            raise
        loading.commit()


@attrs.define(eq=False)
class Loading:
    """One load under way.  Ends in `commit` or `roll_back`."""

    registry: Registry
    _values: dict[Key, Values] = attrs.field(init=False, factory=dict)
    _handled: set[Key] = attrs.field(init=False, factory=set)
    _states: list[tuple[Card, Any]] = attrs.field(init=False, factory=list)
    _before: dict[Key, tuple[int, bytes]] = attrs.field(init=False, factory=dict)

    def entry(self, f: Stream, key: Key, version: int) -> Entry:
        """The entry that a section of the stream is for; StreamError where there is none."""
        entry = self.registry.entries.get(key)
        if entry is None:
            raise f.error("no such section in this machine", found=repr(name_of(key)))
        if version > entry.version_id:
            raise f.error(
                "saved by a newer version", found=version, expected=f"{entry.version_id} at most"
            )
        return entry

    def read(self, f: Stream, key: Key, version: int) -> None:
        """Phase 1: read one section, or one stage of a live one."""
        entry = self.entry(f, key, version)
        if isinstance(entry, Declared):
            if key in self._values:
                raise f.error("the section is there twice")
            self._values[key] = entry.section.get(f, version)
        else:
            self._keep_handlers()
            self._handled.add(key)
            entry.load_state(f, version)

    def check_complete(self, optional: Callable[[Key], bool] = lambda _: False) -> None:
        """Phase 1 ends: make the new States; every section must have been there."""
        for key in self.registry.entries:
            if key not in self._values and key not in self._handled and not optional(key):
                raise StreamError("the section is missing", section=name_of(key))
        for card in self.registry.cards:
            mine = [
                (key, entry)
                for key, entry in self.registry.entries.items()
                if isinstance(entry, Declared) and entry.card is card and key in self._values
            ]
            if mine:
                f = from_bytes(b"")
                f.section = name_of(mine[0][0])
                found = {key[0]: self._values[key] for key, _ in mine}
                self._states.append((card, mine[0][1].saved.decode(f, found)))

    def commit(self) -> None:
        """Phases 2 and 3: adopt every State, then let every chip settle."""
        for card, state in self._states:
            card.state = state
        for card in self.registry.cards:
            card.settle()

    def roll_back(self) -> None:
        """Give the handlers that may have acted what they had before."""
        for key, (version, data) in self._before.items():
            entry = self.registry.entries[key]
            if isinstance(entry, Handlers):
                entry.load_state(from_bytes(data), version)

    def _keep_handlers(self) -> None:
        """Save every handler's section before the first of them acts."""
        if self._before:
            return
        for key, entry in self.registry.entries.items():
            if isinstance(entry, Handlers) and entry.save_state is not None:
                f, data = to_bytes()
                entry.save_state(f)
                f.fflush()
                self._before[key] = (entry.version_id, bytes(data))
