"""Saving, in stages or at once.

    begin      the configuration, the head, and START of every section that is sent in stages
    iterate    a PART of each that has something left to send; True when none has
    complete   END of each, then every other section, then the description

Between `begin` and `complete` the guest may run (*live*): what it changes meanwhile is sent
again, the last of it in `complete`, before which it has to stop.  Sections that are sent in
stages interleave, which is what the section_id is there for.

A save for QEMU leaves out what QEMU has not: the sections ``emu/...``, each of which must hold
what would be made up for it when the save is read, or ExportError names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from emu import attrs
from emu.errors import ConfigError, ExportError
from emu.savevm import description
from emu.savevm.description import Key, name_of
from emu.savevm.entries import (
    STAGE_END,
    STAGE_PART,
    STAGE_START,
    Declared,
    Entry,
    Handlers,
    InParts,
    SaveLiveState,
    SaveState,
)
from emu.savevm.registry import Registry
from emu.savevm.sections import Dialect, Foreign, Kind, Writer
from emu.savevm.stream import Stream, from_bytes, open_ops
from emu.savevm.vmstate import Section, Values, dump

R = TypeVar("R")

INDEX = re.compile(r"\[\d+\]")  # of an element, in the dotted name of a field


@attrs.define(eq=False)
class Staged:
    """A section that is being sent in stages."""

    entry: Handlers | InParts
    send: SaveLiveState
    done: bool = False  # it has said that nothing is left


@attrs.define(eq=False)
class Saving:
    """One save of the machine of *registry*, named *machine*, to *f*, under way."""

    registry: Registry
    f: Stream
    machine: str
    dialect: Dialect = Dialect.EMU
    foreign: Foreign = attrs.field(factory=Foreign)
    live: bool = False  # the guest runs between the stages
    _writer: Writer = attrs.field(init=False)
    _ids: dict[Key, int] = attrs.field(init=False)
    _staged: list[Staged] = attrs.field(init=False, factory=list)
    _head: dict[Key, bytes] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._writer = Writer(self.f, self.machine, self.dialect)
        # QEMU takes the number 0 of a PART for that of any section it has not met yet.
        first = 0 if self.dialect is Dialect.EMU else 1
        self._ids = {key: first + self.registry.section_id(key) for key in self.registry.entries}

    def begin(self) -> None:
        """Write the head, and START of all that is sent in stages."""
        entries = list(self._entries())
        self._writer.begin()
        for entry in entries:
            if isinstance(entry, Declared) and entry.head:
                self._head[entry.key] = self._write_state(entry)
        for entry in entries:
            if isinstance(entry, InParts):
                send = entry.parts.begin_save(self.dialect, self.foreign, live=self.live)
                self._staged.append(Staged(entry, send))
            elif isinstance(entry, Handlers) and entry.save_live_state is not None:
                self._staged.append(Staged(entry, _apart_in_stages(entry.save_live_state)))
        self._send(Kind.START, STAGE_START, self._staged)

    def iterate(self) -> bool:
        """Send some more; True where nothing was left to send.

        RAM that the running guest goes on changing has always more: when to stop the guest
        and `complete` is the caller's decision.
        """
        self._send(
            Kind.PART,
            STAGE_PART,
            [
                each
                for each in self._staged
                if not each.done or (self.live and isinstance(each.entry, InParts))
            ],
        )
        return all(each.done for each in self._staged)

    def complete(self) -> None:
        """Send the rest, and every section that is not sent in stages; the guest is stopped."""
        self._send(Kind.END, STAGE_END, self._staged)
        for entry in self._entries():
            if isinstance(entry, Declared) and not entry.head:
                self._write_state(entry)
            elif isinstance(entry, Handlers) and entry.save_state is not None:
                self._write_handler(entry, entry.save_state)
            elif isinstance(entry, Declared) and entry.save_bytes() != self._head[entry.key]:
                raise ConfigError(
                    f"section {name_of(entry.key)!r} has changed while the machine was being saved"
                )
        self._writer.end()

    def save_whole(self) -> None:
        """The whole save, of a machine that is stopped."""
        self.begin()
        while not self.iterate():
            pass
        self.complete()

    # --- writing --------------------------------------------------------------------------

    def _send(self, kind: Kind, stage: int, staged: list[Staged]) -> None:
        for each in staged:
            entry = each.entry
            section_id = self._ids[entry.key]
            with self._writer.section(kind, section_id, entry.key, entry.version_id):
                done = each.send(self.f, stage)
            each.done = stage == STAGE_PART and bool(done)

    def _write_state(self, entry: Declared) -> bytes:
        data = entry.save_bytes()
        with self._writer.section(Kind.FULL, self._ids[entry.key], entry.key, entry.version_id):
            self.f.put_buffer(data)
        self._writer.describe(description.device(entry.section, entry.key[1], entry.card.state))
        return data

    def _write_handler(self, entry: Handlers, save: SaveState) -> None:
        with self._writer.section(Kind.FULL, self._ids[entry.key], entry.key, entry.version_id):
            start = self.f.ftell()
            _apart(self.f, save)
            size = self.f.ftell() - start
        self._writer.describe(description.device_of_handler(entry.key, size))

    # --- what the dialect has -------------------------------------------------------------

    def _entries(self) -> Iterator[Entry]:
        """What there is in this save; ExportError where it would lack something."""
        for entry in self.registry.entries.values():
            idstr = entry.key[0]
            if self.dialect is Dialect.EMU:
                yield entry
            elif idstr in self.foreign.dropped:
                self._check_dropped(entry)
            elif isinstance(entry, Handlers):
                raise ExportError("QEMU has no such section", section=name_of(entry.key))
            elif isinstance(entry, Declared) and not self.foreign.has_section(entry.key):
                self._check_made_up(entry)
            else:
                yield entry

    def _check_dropped(self, entry: Entry) -> None:
        """ExportError where *entry* is not as QEMU's machine has it without its section."""
        expected = self.foreign.dropped_with.get(entry.key[0], {})
        if isinstance(entry, Declared):
            held = {field: getattr(entry.card.state, field) for field in expected}
            for field, mine, theirs in _differences("", held, expected):
                raise _no_place(entry, field, mine, theirs)

    def _check_made_up(self, entry: Declared) -> None:
        """ExportError where *entry* holds something that a reader without it would not guess."""
        card, saved = entry.card, entry.saved
        known = {
            section.idstr: _values_of(section, card.state)
            for section in saved.sections
            if self.foreign.has_section((section.idstr, entry.key[1]))
        }
        f = from_bytes(b"")
        f.section = name_of(entry.key)
        guessed = saved.decode(f, known) if known else self.foreign.make_up(saved)
        held, expected = _values_of(entry.section, card.state), _values_of(entry.section, guessed)
        lost = self.foreign.lost.get(entry.key[0], ())
        for field, mine, theirs in _differences("", held, expected):
            if INDEX.sub("", field) not in lost:
                raise _no_place(entry, field, mine, theirs)


def _no_place(entry: Declared, field: str, held: Any, expected: Any) -> ExportError:
    return ExportError(
        "QEMU has no place for what this holds",
        section=name_of(entry.key),
        field=field,
        found=repr(held),
        expected=repr(expected),
    )


def _differences(name: str, mine: Any, theirs: Any) -> Iterator[tuple[str, Any, Any]]:
    """The values that differ, with their dotted names."""
    match mine, theirs:
        case dict(), dict():
            for each, value in mine.items():
                inner = f"{name}.{each}" if name else each
                yield from _differences(inner, value, theirs.get(each))
        case list(), list() if len(mine) == len(theirs):
            for index, value in enumerate(mine):
                yield from _differences(f"{name}[{index}]", value, theirs[index])
        case _ if mine != theirs:
            yield name, mine, theirs


def _values_of(section: Section, state: Any) -> Values:
    """The fields of *section* as they would be read back."""
    return section.get(from_bytes(dump(section, state)), section.version)


def _apart(f: Stream, write: Callable[[Stream], R]) -> R:
    """Let a function of a user's write to a stream of its own, which then goes to *f*.

    There it may seek as 2008's could, and what it breaks is its own section.
    """
    data = bytearray()

    def put_buffer(chunk: bytes, position: int) -> None:
        data[position : position + len(chunk)] = chunk

    apart = open_ops(put_buffer, rate_limit=f.rate_limit)
    apart.section = f.section
    result = write(apart)
    apart.fflush()
    f.put_buffer(data)
    return result


def _apart_in_stages(send: SaveLiveState) -> SaveLiveState:
    return lambda f, stage: _apart(f, lambda apart: send(apart, stage))
