"""How a load is all or nothing.

A load has three phases (`Loading`).  First everything is read and checked: new States are made
and set aside.  Then every State is adopted while nobody drives a pin.  Then every chip settles
its outputs, and as settling changes no State, their order does not matter.  A function of a
user's that loads acts as it reads; so before the first of them is called all are saved, and a
load that is refused later gives them that back.  RAM is read into a second mapping, which takes
the place of the first when everything else is known to be good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from emu import attrs
from emu.errors import EmuError, StreamError
from emu.savevm.description import Key, name_of
from emu.savevm.entries import (
    STAGE_END,
    STAGE_PART,
    STAGE_START,
    Card,
    Declared,
    Entry,
    Handlers,
    InParts,
    PartsLoading,
)
from emu.savevm.sections import Dialect, Foreign
from emu.savevm.stream import Stream, from_bytes, to_bytes
from emu.savevm.vmstate import Values, check_instants


class Registered(Protocol):
    """What a load goes into: all that is saved, and the cards that settle when it is there."""

    entries: dict[Key, Entry]
    cards: list[Card]


@attrs.define(eq=False)
class Loading:
    """One load under way.  Ends in `commit` or `roll_back`."""

    registry: Registered
    dialect: Dialect = Dialect.EMU
    foreign: Foreign = attrs.field(factory=Foreign)
    _values: dict[Key, Values] = attrs.field(init=False, factory=dict)
    _offsets: dict[Key, int] = attrs.field(init=False, factory=dict)  # of the payloads
    _handled: set[tuple[Key, bool]] = attrs.field(init=False, factory=set)  # key, in stages
    _parts: dict[Key, PartsLoading] = attrs.field(init=False, factory=dict)
    _states: list[tuple[Card, Any]] = attrs.field(init=False, factory=list)
    _before: list[tuple[Handlers, bytes]] | None = attrs.field(init=False, default=None)
    _states_before: list[tuple[Card, Any]] = attrs.field(init=False, factory=list)

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

    def read(self, f: Stream, key: Key, version: int, *, staged: bool = False) -> None:
        """Phase 1: read one section, or one stage of a section that is sent in stages."""
        entry = self.entry(f, key, version)
        match entry:
            case Declared() if not staged:
                offset = f.ftell()
                self.adopt(f, key, entry.section.get(f, version), offset)
            case InParts(parts=parts) if staged:
                if key not in self._parts:
                    self._parts[key] = parts.begin_load(self.dialect, self.foreign)
                self._parts[key].read(f, version)
            case Handlers() if (entry.save_live_state if staged else entry.save_state) is not None:
                self._call(f, entry, version, staged=staged)
            case _:
                how = "in stages" if staged else "as a whole"
                raise f.error(f"this machine does not save the section {how}")

    def adopt(self, f: Stream, key: Key, values: Values, offset: int) -> None:
        """Phase 1: take the *values* of a declared section that have been read already."""
        if key in self._values:
            f.field = None
            raise f.error("the section is there twice")
        self._values[key] = values
        self._offsets[key] = offset

    def _call(self, f: Stream, entry: Handlers, version: int, *, staged: bool) -> None:
        if not staged and (entry.key, False) in self._handled:
            raise f.error("the section is there twice")
        self._keep_handlers()
        self._handled.add((entry.key, staged))
        try:
            entry.load_state(f, version)
        except EmuError:
            raise
        except Exception as error:  # it was given anybody's bytes: what it makes of them is no bug
            raise f.error(
                f"the card's load_state failed: {type(error).__name__}", found=ascii(str(error))
            ) from error

    def check_complete(self, *, staged: bool = True) -> None:
        """Phase 1 ends: every section must have been there; make the new States."""
        for key, entry in self.registry.entries.items():
            if isinstance(entry, Declared):
                missing = key not in self._values
            elif isinstance(entry, InParts):
                missing = staged and key not in self._parts
            else:
                missing = self._handler_missing(entry, staged=staged)
            if missing and not self._may_be_missing(entry):
                raise StreamError("the section is missing", section=name_of(key))
        for parts in self._parts.values():
            parts.check()
        decoded: list[tuple[str, Any]] = []
        for card in self.registry.cards:
            entries = [
                entry
                for entry in self.registry.entries.values()
                if isinstance(entry, Declared) and entry.card is card
            ]
            mine = [entry.key for entry in entries if entry.key in self._values]
            saved = entries[0].saved
            if mine:
                f = from_bytes(b"")
                f.fseek(self._offsets[mine[0]])
                f.section = name_of(mine[0])
                found = {key[0]: self._values[key] for key in mine}
                decoded.append((name_of(mine[0]), saved.decode(f, found)))
                self._states.append((card, decoded[-1][1]))
            elif not any(self._stays(entry.key[0]) for entry in entries):
                self._states.append((card, self.foreign.make_up(saved)))
        check_instants(decoded)

    def _handler_missing(self, entry: Handlers, *, staged: bool) -> bool:
        whole, in_stages = entry.save_state, entry.save_live_state
        return (whole is not None and (entry.key, False) not in self._handled) or (
            staged and in_stages is not None and (entry.key, True) not in self._handled
        )

    def _may_be_missing(self, entry: Entry) -> bool:
        if self.dialect is Dialect.EMU:
            return False
        made_up = isinstance(entry, Declared) and not self.foreign.has_section(entry.key)
        return made_up or self._stays(entry.key[0])

    def _stays(self, idstr: str) -> bool:
        """A card whose section is missing stays as it is."""
        return idstr in self.foreign.optional or idstr in self.foreign.dropped

    def commit(self) -> None:
        """Phases 2 and 3: adopt RAM and every State, then let every chip settle."""
        for parts in self._parts.values():
            parts.commit()
        for card, state in self._states:
            card.state = state
        for card in self.registry.cards:
            card.settle()

    def roll_back(self) -> None:
        """Give the handlers that may have acted what they had before, and the cards too.

        A line that a handler has driven may have been an interrupt's, and that is remembered.
        """
        for parts in self._parts.values():
            parts.discard()
        for entry, data in self._before or []:
            entry.load_state(from_bytes(data), entry.version_id)
        if any(card.state != state for card, state in self._states_before):
            for card, state in self._states_before:
                card.state = state
            for card, _ in self._states_before:
                card.settle()

    def _keep_handlers(self) -> None:
        """Save every handler's section before the first of them acts."""
        from copy import deepcopy

        if self._before is None:
            self._before = [
                (entry, data)
                for entry in self.registry.entries.values()
                if isinstance(entry, Handlers)
                for data in _all_of(entry)
            ]
            self._states_before = [(card, deepcopy(card.state)) for card in self.registry.cards]


def load_sections(registry: Registered, sections: dict[Key, tuple[int, bytes]]) -> None:
    """Load what `save_sections` gave, all or nothing."""
    loading = Loading(registry)
    try:
        for key, (version, data) in sections.items():
            f = from_bytes(data)
            f.section = name_of(key)
            loading.read(f, key, version)
            _check_at_end(f)
        loading.check_complete(staged=False)
    except BaseException:
        loading.roll_back()
        raise
    loading.commit()


def _check_at_end(f: Stream) -> None:
    if f.peek_byte() is not None:
        f.field = None
        raise f.error("bytes left over after the last field")


def _all_of(entry: Handlers) -> list[bytes]:
    """All that *entry* has to say, stage by stage."""
    said = []

    def say(write: Callable[[Stream], Any]) -> Any:
        f, data = to_bytes()
        f.section = name_of(entry.key)
        result = write(f)
        f.fflush()
        said.append(bytes(data))
        return result

    if live := entry.save_live_state:
        say(lambda f: live(f, STAGE_START))
        while not say(lambda f: live(f, STAGE_PART)):
            pass
        say(lambda f: live(f, STAGE_END))
    if entry.save_state is not None:
        say(entry.save_state)
    return said
