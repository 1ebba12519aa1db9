"""Who is saved, under what name, and how a load is all or nothing.

Four ways to be saved, in the order of registration, which is the order of the sections:

    register_state         a chip of ours: a declared State (vmstate.py); it can be read and
                           checked without touching the chip
    register_savevm        2008's: a pair of functions, for a user's own card
    register_savevm_live   2008's: the same, and one that sends in stages while the guest runs
    register_parts         RAM: sent in stages, and loaded beside what is there

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
from emu.errors import ConfigError, EmuError, StreamError
from emu.savevm.description import Key, name_of
from emu.savevm.sections import Dialect, Foreign
from emu.savevm.stream import Stream, from_bytes, to_bytes
from emu.savevm.vmstate import Saved, Section, Values, check_instants, dump

SaveState = Callable[[Stream], None]
LoadState = Callable[[Stream, int], None]
SaveLiveState = Callable[[Stream, int], bool]  # stage 1, 2, 3; True: nothing left to send

STAGE_START, STAGE_PART, STAGE_END = 1, 2, 3

NEXT_FREE = -1  # the instance_id that asks for one
IDSTR_BYTES = 255  # its length is a byte in the stream


class Card(Protocol):
    """What is registered with its State."""

    state: Any

    def settle(self) -> None:
        """Make every output follow the state; change no State."""


class PartsLoading(Protocol):
    """The load of an entry that is sent in stages and put in place last."""

    def read(self, f: Stream, version: int) -> None:
        """Read what one stage has sent, and put it aside."""

    def check(self) -> None:
        """Raise StreamError where something has not been sent."""

    def commit(self) -> None:
        """Put in place what has been read."""

    def discard(self) -> None:
        """Forget it."""


class Parts(Protocol):
    """What `register_parts` is given: RAM."""

    def begin_save(self, dialect: Dialect, foreign: Foreign, *, live: bool) -> SaveLiveState:
        """The function that sends the stages of one save; *live*: the guest may run between."""

    def begin_load(self, dialect: Dialect, foreign: Foreign) -> PartsLoading: ...

    def digest(self) -> bytes:
        """What stands for the contents in the machine's digest."""


@attrs.frozen(eq=False)
class Declared:
    """A section of a chip's declared State."""

    key: Key
    section: Section
    saved: Saved[Any]
    card: Card
    head: bool = False  # it is written before everything else

    @property
    def version_id(self) -> int:
        return self.section.version

    def save(self, f: Stream) -> None:
        self.section.put(f, self.card.state)

    def save_bytes(self) -> bytes:
        return dump(self.section, self.card.state)


@attrs.frozen(eq=False)
class Handlers:
    """A section that a user's own functions write and read."""

    key: Key
    version_id: int
    save_live_state: SaveLiveState | None
    save_state: SaveState | None
    load_state: LoadState


@attrs.frozen(eq=False)
class InParts:
    """A section that is sent in stages and loaded beside what is there."""

    key: Key
    version_id: int
    parts: Parts


Entry = Declared | Handlers | InParts


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
        loading = Loading(self)
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


@attrs.define(eq=False)
class Loading:
    """One load under way.  Ends in `commit` or `roll_back`."""

    registry: Registry
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
