"""The frame of a save: QEMU's v3 stream, section by section.

    be32 'QEVM', be32 3
    07 CONFIGURATION   be32 length, the machine's name; ours: subsection configuration/emu
    01 START, 04 FULL  be32 section_id, u8 length, idstr, be32 instance_id, be32 version_id,
                       payload; 7e be32 section_id
    02 PART, 03 END    be32 section_id, payload; 7e be32 section_id
    00 EOF
    06 VMDESCRIPTION   be32 length, JSON (description.py)

A section's payload has no length: who reads it has to know it.  So `Reader` and `Writer` do the
frame, and their callers read and write each payload in between, on the same stream.

There are two dialects.  A stream of ours says so in its configuration; then footers, description
and checksums are mandatory, each section is there once, and nothing follows the description.
QEMU's is whatever QEMU 7.2 writes.  A stream whose first section is no configuration is in
the outer form of 2008, which has no footers and no description either; it counts as QEMU's.
FORMAT.md is the reference.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from emu import attrs
from emu.errors import StreamError
from emu.memory import Block
from emu.savevm import description
from emu.savevm.description import Key, Row, name_of
from emu.savevm.stream import Stream
from emu.savevm.vmstate import SUBSECTION, Saved, Section

S = TypeVar("S")

MAGIC = 0x5145_564D  # 'QEVM'
VERSION = 3
FOOTER = 0x7E
FOOTER_BYTES = 5
REVISION = 1  # of our dialect
EMU_SUBSECTION = "configuration/emu"
OURS = "emu/"  # how the names of sections begin that QEMU has not
MACHINE_NAME_MOST = 255


class Kind(enum.IntEnum):
    """The byte that a section begins with."""

    EOF = 0
    START = 1
    PART = 2
    END = 3
    FULL = 4
    VMDESCRIPTION = 6
    CONFIGURATION = 7
    COMMAND = 8


class Dialect(enum.Enum):
    """Whose stream it is."""

    EMU = "emu"
    QEMU_7_2 = "qemu-7.2"


@attrs.frozen
class Foreign:
    """How a machine of QEMU's differs from the one of ours that takes its place.

    Only streams of QEMU's dialect are read and written with it.
    """

    blocks: Mapping[str, str | None] = attrs.field(factory=dict)
    """QEMU's RAM blocks and ours; one that has no counterpart, None, is read and dropped.
    Where there are no blocks here at all, each has the name that it has with us."""

    ignored: Mapping[str, Section] = attrs.field(factory=dict)
    """Devices that we do not have, by idstr: read, and dropped."""

    aliases: Mapping[Key, Key] = attrs.field(factory=dict)
    """Other numbers under which an instance may come: those of 2008 are port addresses."""

    optional: Collection[str] = ()
    """Sections that may be missing, beside those that QEMU has not: they stay as they are."""

    dropped: Collection[str] = ()
    """Sections that a save for QEMU leaves out, and a load leaves alone."""

    dropped_with: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    """What fields of dropped sections must hold, by idstr, or a save for QEMU is refused; all others
    may hold anything."""

    has: Collection[Key] | None = None
    """The sections that QEMU's machine has; None: all but those whose names begin as ours do."""

    made_up: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    """Fields of States that QEMU has no section for, by idstr: what they hold in its machine, if
    it is not what they hold at power-on; a mapping for a State in the State.  A save for QEMU is
    refused where they hold something else, and a load makes them hold that."""

    lost: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    """Fields of our sections that QEMU's machine can do without, by idstr and dotted name: a save
    for QEMU leaves them out whatever they hold."""

    in_place_of: Mapping[str, Block] = attrs.field(factory=dict)
    """What is saved and loaded in place of blocks of RAM, by our names of them."""

    def has_section(self, key: Key) -> bool:
        return not key[0].startswith(OURS) if self.has is None else key in self.has

    def make_up(self, saved: Saved[S]) -> S:
        """The State of a card that QEMU's machine has not."""
        state = saved.state()
        for section in saved.sections:
            _hold(state, self.made_up.get(section.idstr, {}))
        return state


def _hold(state: Any, held: Mapping[str, Any]) -> None:
    """Make fields of *state* hold what *held* says; a mapping is of a State in it."""
    for name, value in held.items():
        if isinstance(value, Mapping):
            _hold(getattr(state, name), value)
        else:
            setattr(state, name, value)


@attrs.frozen
class Frame:
    """The header of a section."""

    kind: Kind
    section_id: int
    key: Key
    version: int
    offset: int  # of its first byte in the stream


# ==== writing =============================================================================


@attrs.define(eq=False)
class Writer:
    """A save being written: `begin`, each `section`, `end`."""

    f: Stream
    machine: str
    dialect: Dialect = Dialect.EMU
    _rows: list[Row] = attrs.field(init=False, factory=list)
    _devices: list[dict[str, Any]] = attrs.field(init=False, factory=list)

    def begin(self) -> None:
        """Write what comes before the first section."""
        f = self.f
        f.put_be32(MAGIC)
        f.put_be32(VERSION)
        offset = f.ftell()
        f.crc_start()
        f.put_byte(Kind.CONFIGURATION)
        name = self.machine.encode("ascii")
        f.put_be32(len(name))
        f.put_buffer(name)
        if self.dialect is Dialect.EMU:
            f.put_byte(SUBSECTION)
            f.put_name(EMU_SUBSECTION)
            f.put_be32(1)
            f.put_be32(REVISION)
        self._rows.append(_configuration_row(f, offset))

    @contextmanager
    def section(self, kind: Kind, section_id: int, key: Key, version: int) -> Iterator[None]:
        """Write a section's header, and after the caller has written the payload its footer."""
        f = self.f
        frame = Frame(kind, section_id, key, version, f.ftell())
        f.section = name_of(key)
        f.crc_start()
        f.put_byte(kind)
        f.put_be32(section_id)
        if kind in {Kind.START, Kind.FULL}:
            f.put_name(key[0])
            f.put_be32(key[1])
            f.put_be32(version)
        yield
        f.put_byte(FOOTER)
        f.put_be32(section_id)
        self._rows.append(_row(f, frame))

    def describe(self, device: dict[str, Any]) -> None:
        """Put *device* (`description.device`) into the description."""
        self._devices.append(device)

    def end(self) -> None:
        """Write what comes after the last section."""
        text = description.make(self._devices, self._rows if self.dialect is Dialect.EMU else None)
        self.f.put_byte(Kind.EOF)
        self.f.put_byte(Kind.VMDESCRIPTION)
        self.f.put_be32(len(text))
        self.f.put_buffer(text)
        self.f.fflush()


def _row(f: Stream, frame: Frame) -> Row:
    """What the description says of the section that has just been written or read."""
    return Row(
        frame.key,
        frame.section_id,
        frame.kind.name.lower(),
        frame.version,
        frame.offset,
        f.ftell() - frame.offset,
        f.crc(),
    )


def _configuration_row(f: Stream, offset: int) -> Row:
    return _row(f, Frame(Kind.CONFIGURATION, 0, ("configuration", 0), 1, offset))


# ==== reading =============================================================================


@attrs.define(eq=False)
class Reader:
    """A save being read.

    When made it has read what comes before the first section.  Then `next` gives the header of
    each section, whose payload the caller reads before it calls `next` again; after the last
    it has checked all that there is to check and gives None.  Iterating does the same.
    Every mistake in the stream raises StreamError.
    """

    f: Stream
    checked: bool = True  # False: leave checksums that are wrong to the caller
    dialect: Dialect = attrs.field(init=False, default=Dialect.QEMU_7_2)
    machine: str | None = attrs.field(init=False, default=None)  # 2008's form has no name
    rows: list[Row] = attrs.field(init=False, factory=list)  # of all that has been read
    described: dict[str, Any] | None = attrs.field(init=False, default=None)
    head: tuple[Frame, dict[str, Any]] | None = attrs.field(init=False, default=None)
    _footers: bool | None = attrs.field(init=False, default=None)  # None: not yet known
    _current: Frame | None = attrs.field(init=False, default=None)
    _live: dict[int, Frame] = attrs.field(init=False, factory=dict)  # by section_id
    _ended: set[int] = attrs.field(init=False, factory=set)
    _ids: dict[int, Key] = attrs.field(init=False, factory=dict)
    _seen: set[tuple[Key, Kind]] = attrs.field(init=False, factory=set)

    def __attrs_post_init__(self) -> None:
        f = self.f
        f.section, f.field = None, "magic"
        magic = f.get_be32()
        if magic != MAGIC:
            raise f.error("not a save", found=f"{magic:08x}", expected=f"{MAGIC:08x} ('QEVM')")
        f.field = "format version"
        version = f.get_be32()
        if version != VERSION:
            raise f.error("a save in another format", found=version, expected=VERSION)
        if f.peek_byte() == Kind.CONFIGURATION:
            self._read_configuration()
            self._footers = True

    def _read_configuration(self) -> None:
        f = self.f
        offset = f.ftell()
        f.crc_start()
        f.section, f.field = name_of(("configuration", 0)), "machine"
        f.get_byte()
        size = f.get_be32()
        if size > MACHINE_NAME_MOST:
            raise f.error("too long", found=size, expected=f"{MACHINE_NAME_MOST} at most")
        name = f.get_buffer(size)
        if not name.isascii():
            raise f.error("a name that is not ASCII", found=name.hex())
        self.machine = name.decode("ascii")
        f.field = "subsection"
        if f.peek_byte() == SUBSECTION:
            f.get_byte()
            subsection, version = f.get_name(), f.get_be32()
            if (subsection, version) != (EMU_SUBSECTION, 1):
                raise f.error("unknown subsection", found=f"{subsection!r} version {version}")
            f.field = "dialect revision"
            revision = f.get_be32()
            if not 1 <= revision <= REVISION:
                raise f.error(
                    "saved by a newer version", found=revision, expected=f"{REVISION} at most"
                )
            self.dialect = Dialect.EMU
        self.rows.append(_configuration_row(f, offset))

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.next()) is not None:
            yield frame

    def next(self) -> Frame | None:
        """Finish the section whose payload has been read; the next one's header, or None."""
        f = self.f
        if self._current is not None:
            self._finish(self._current)
        f.section, f.field = None, "section type"
        offset = f.ftell()
        f.crc_start()
        value = f.get_byte()
        match value:
            case Kind.START | Kind.FULL:
                self._current = self._read_header(Kind(value), offset)
            case Kind.PART | Kind.END:
                self._current = self._read_continued(Kind(value), offset)
            case Kind.EOF:
                self._current = None
                self._read_end()
                f.section = f.field = None
                return None
            case Kind.COMMAND:
                raise f.error("a command: such streams (postcopy, return path) are not read")
            case _:
                raise f.error("no such section type", found=value, expected="0 to 4")
        f.section, f.field = name_of(self._current.key), None
        return self._current

    def _read_header(self, kind: Kind, offset: int) -> Frame:
        f = self.f
        f.field = "section_id"
        section_id = f.get_be32()
        f.field = "idstr"
        idstr = f.get_name()
        f.section, f.field = idstr, "instance_id"
        key = (idstr, f.get_be32())
        f.section, f.field = name_of(key), "version_id"
        frame = Frame(kind, section_id, key, f.get_be32(), offset)
        if self.dialect is Dialect.EMU:
            f.field = "section_id"
            if self._ids.setdefault(section_id, key) != key:
                other = name_of(self._ids[section_id])
                raise f.error(f"number {section_id} is that of section {other!r}")
            f.field = None
            if (key, kind) in self._seen:
                raise f.error("the section is there twice")
            self._seen.add((key, kind))
        elif idstr.startswith(OURS):
            f.field = None
            raise f.error("a section of ours in a stream that does not say that it is ours")
        if kind is Kind.START:
            self._live[section_id] = frame
            self._ended.discard(section_id)
        return frame

    def _read_continued(self, kind: Kind, offset: int) -> Frame:
        f = self.f
        f.field = "section_id"
        section_id = f.get_be32()
        started = self._live.get(section_id)
        if started is None:
            raise f.error(f"{kind.name} of a section that never started", found=section_id)
        f.section = name_of(started.key)
        if section_id in self._ended:
            raise f.error(f"{kind.name} of a section that has ended", found=section_id)
        if kind is Kind.END:
            self._ended.add(section_id)
        return attrs.evolve(started, kind=kind, offset=offset)

    def _finish(self, frame: Frame) -> None:
        """Read the footer, and note what the section was."""
        f = self.f
        f.section, f.field = name_of(frame.key), "footer"
        if self._footers is None:  # the outer form of 2008, or nearly
            self._footers = f.peek_byte() == FOOTER
        if self._footers:
            mark = f.get_byte()
            if mark != FOOTER:
                raise f.error(
                    "the section does not end here", found=f"{mark:#04x}", expected=f"{FOOTER:#04x}"
                )
            section_id = f.get_be32()
            if section_id != frame.section_id:
                raise f.error("wrong section", found=section_id, expected=frame.section_id)
        self.rows.append(_row(f, frame))

    def _read_end(self) -> None:
        """Check that nothing is missing, and read the description."""
        f = self.f
        ours = self.dialect is Dialect.EMU
        for section_id, frame in self._live.items():
            if section_id not in self._ended:
                f.section, f.field = name_of(frame.key), None
                raise f.error("the section has no END")
        f.section, f.field = None, "description"
        value = f.peek_byte()
        if value is None and not ours:
            return
        if f.get_byte() != Kind.VMDESCRIPTION:
            raise f.error("no description", found=value, expected=int(Kind.VMDESCRIPTION))
        self.described = description.read(f)
        if ours:
            if self.checked:
                description.check(self.described, self.rows)
        elif "emu" in self.described:
            raise f.error("a description of ours in a stream that does not say that it is ours")
        if f.peek_byte() is not None:
            raise f.error("something follows the end of the save")


def unchecked(reader: Reader) -> StreamError | None:
    """What `Reader.next` would have raised at the end, had it *checked*."""
    if reader.described is not None and reader.dialect is Dialect.EMU:
        try:
            description.check(reader.described, reader.rows)
        except StreamError as error:
            return error
    return None
