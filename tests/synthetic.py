"""A made-up machine with one of everything that can be saved, and a way to take saves apart.

emu/machine 0    the head
ram 0            two blocks
counter 0, 1     two chips of one kind; QEMU's part, with a subsection, and ours
emu/counter 0, 1
mixer 0          a chip with every kind of field, at its second version
emu/host-line 0  a host's end: not in the digest
user/card 0      a card with functions of its own
user/disk 0      one that sends in stages, and a section as a whole
"""

from __future__ import annotations

import enum
import io
import random
from collections.abc import Mapping
from typing import Any

from emu import attrs
from emu.clock import NEVER
from emu.memory import PAGE_BYTES, Ram
from emu.savevm import description
from emu.savevm.contents import schemas_of
from emu.savevm.digest import digest_of
from emu.savevm.live import Saving
from emu.savevm.load import load
from emu.savevm.ram import register_ram
from emu.savevm.registry import Registry
from emu.savevm.sections import Dialect, Foreign, Kind, Reader
from emu.savevm.stream import Stream, from_bytes, to_bytes
from emu.savevm.vmstate import (
    Constant,
    Saved,
    Section,
    Subsection,
    UnfitError,
    Values,
    array,
    blob,
    choice,
    fields_of,
    flag,
    instant,
    instant_at,
    queue,
    record,
    records,
    reg,
    signed,
    text,
    u8,
    u16,
    whole,
)

KIB = 1024
MACHINE = "synthetic"


@attrs.define
class MachineState:
    memory: int = reg(bits=32, doc="bytes of RAM")
    board: str = text(most=32, doc="the board's name")


MACHINE_SAVED = Saved(MachineState, (whole(MachineState, "emu/machine"),))


@attrs.define
class CounterState:
    count: int = reg(bits=16, doc="COUNT")
    level: bool = flag(doc="the gate's last level")
    deadline_ns: int = instant(doc="when it expires")
    shadow: int = reg(bits=8, reset=7, doc="what QEMU has no room for")


def decode_counter(found: Mapping[str, Values]) -> CounterState:
    values = dict(found["counter"])
    if values["count"] == 0xFFFF:
        raise UnfitError("count", " = 0xffff is never reached")
    values.setdefault("level", False)
    return CounterState(**values, **found.get("emu/counter", {}))


COUNTER_SAVED = Saved(
    CounterState,
    (
        Section(
            "counter",
            2,
            (u16("count"), Constant("unused", b"\0\0"), instant_at("deadline_ns")),
            minimum=2,
            subsections=(
                Subsection(
                    "counter/level",
                    1,
                    (fields_of(CounterState, without=["count", "deadline_ns", "shadow"])[0],),
                    needed=lambda state: state.level,
                ),
            ),
        ),
        Section("emu/counter", 1, (u8("shadow"),)),
    ),
    decode_counter,
)


class Colour(enum.Enum):
    RED = 0
    BLUE = 4


@attrs.define
class Voice:
    pitch: int = reg(bits=12, doc="in hertz")
    pan: int = signed(bits=8, doc="left to right", since=2)


@attrs.define
class MixerState:
    voices: list[Voice] = records(Voice, 2, doc="both voices")
    master: Voice = record(Voice, doc="the sum")
    waiting: list[Voice] = queue(Voice, most=3, doc="not yet heard")
    fifo: bytes = blob(most=16, doc="samples")
    table: list[int] = array(4, 12, doc="a wave")
    title: str = text(most=20, doc="for the display")
    colour: Colour = choice(Colour, reset=Colour.RED, doc="of the lamp")
    clip: int = reg(bits=8, reset=9, doc="where it clips", since=2)


MIXER_SAVED = Saved(MixerState, (whole(MixerState, "mixer", version=2),))


@attrs.define
class LineState:
    typed: bytes = blob(most=64, doc="not yet taken by the guest")


LINE_SAVED = Saved(LineState, (whole(LineState, "emu/host-line"),))

SAVED = (MACHINE_SAVED, COUNTER_SAVED, MIXER_SAVED, LINE_SAVED)
SCHEMAS = schemas_of(SAVED)
FOREIGN = Foreign(dropped={"emu/machine", "emu/host-line", "mixer", "user/card", "user/disk"})


def dice_of(seed: int) -> random.Random:
    """Numbers that are the same every time."""
    return random.Random(seed)


@attrs.define(eq=False)
class Chip:
    """Any card with a State; it counts how often it has settled."""

    state: Any
    settled: int = 0

    def settle(self) -> None:
        self.settled += 1


@attrs.define(eq=False)
class UserCard:
    """A card that reads and writes by hand, as of 2008."""

    value: int = 0
    words: list[int] = attrs.field(factory=list)

    def save(self, f: Stream) -> None:
        f.put_be32(self.value)
        f.put_be16(len(self.words))
        for word in self.words:
            f.put_be64(word)

    def load(self, f: Stream, _version_id: int) -> None:
        self.value = f.get_be32()
        self.words = [f.get_be64() for _ in range(f.get_be16())]


@attrs.define(eq=False)
class UserDisk:
    """A card that sends its sectors one by one."""

    sectors: list[int] = attrs.field(factory=lambda: [0, 0, 0, 0, 0])
    _next: int = 0

    def save_live(self, f: Stream, stage: int) -> bool:
        if stage == 1:
            self._next = 0
            f.put_byte(0)
            return False
        count = 2 if stage == 2 else len(self.sectors)
        some = range(self._next, min(len(self.sectors), self._next + count))
        f.put_byte(len(some))
        for index in some:
            f.put_byte(index)
            f.put_be16(self.sectors[index])
        self._next = some.stop
        return some.stop == len(self.sectors)

    def save(self, f: Stream) -> None:
        """A section as a whole goes by the same function: all sectors once more."""
        f.put_byte(len(self.sectors))
        for index, sector in enumerate(self.sectors):
            f.put_byte(index)
            f.put_be16(sector)

    def load(self, f: Stream, _version_id: int) -> None:
        for _ in range(f.get_byte()):
            index = f.get_byte()
            self.sectors[index] = f.get_be16()


@attrs.define(eq=False)
class Machine:
    """All of it."""

    ram_bytes: int = 1024 * KIB
    bios_bytes: int = 64 * KIB
    registry: Registry = attrs.field(init=False, factory=Registry)
    ram: Ram = attrs.field(init=False)
    bios: Ram = attrs.field(init=False)
    chips: list[Chip] = attrs.field(init=False)
    card: UserCard = attrs.field(init=False, factory=UserCard)
    disk: UserDisk = attrs.field(init=False, factory=UserDisk)

    def __attrs_post_init__(self) -> None:
        registry = self.registry
        self.ram, self.bios = Ram("pc.ram", self.ram_bytes), Ram("pc.bios", self.bios_bytes)
        self.chips = [
            Chip(MachineState(memory=self.ram_bytes, board=MACHINE)),
            *(Chip(saved.state()) for saved in (COUNTER_SAVED, COUNTER_SAVED)),
            Chip(MixerState()),
            Chip(LineState()),
        ]
        head, first, second, mixer, line = self.chips
        registry.register_state(MACHINE_SAVED, head, head=True)
        register_ram(registry, self.ram, self.bios)
        registry.register_state(COUNTER_SAVED, first)
        registry.register_state(COUNTER_SAVED, second, 1)
        registry.register_state(MIXER_SAVED, mixer)
        registry.register_state(LINE_SAVED, line)
        registry.register_savevm("user/card", 0, 1, self.card.save, self.card.load)
        registry.register_savevm_live(
            "user/disk", 0, 3, self.disk.save_live, self.disk.save, self.disk.load
        )

    def close(self) -> None:
        self.ram.close()
        self.bios.close()

    def fill(self, seed: int) -> Machine:
        """Give everything a value, the same for the same *seed*."""
        dice = dice_of(seed)
        _, first, second, mixer, line = self.chips
        for chip in (first, second):
            chip.state = CounterState(
                dice.randrange(0xFFFF), dice.random() < 0.5, dice.choice([NEVER, 12_345]), 99
            )
        first.state.level = True
        mixer.state = MixerState(
            [Voice(dice.randrange(4096), -5), Voice(440, 127)],
            Voice(1, -128),
            [Voice(2, 2)],
            dice.randbytes(9),
            [dice.randrange(4096) for _ in range(4)],
            "täst",
            Colour.BLUE,
            dice.randrange(256),
        )
        line.state = LineState(b"ls\n")
        self.card.value, self.card.words = dice.randrange(1 << 32), [dice.getrandbits(64)]
        self.disk.sectors = [dice.randrange(1 << 16) for _ in range(5)]
        pages = self.ram.pages
        for number in dice.sample(range(pages), pages // 32 + 1):
            self.ram.write(number * PAGE_BYTES + dice.randrange(4096), b"\x55")
        self.ram.write(dice.randrange(pages) * PAGE_BYTES, bytes([dice.randrange(1, 256)]) * 4096)
        self.bios.write(self.bios.size - PAGE_BYTES, dice.randbytes(16))
        return self

    def save(self, dialect: Dialect = Dialect.EMU, foreign: Foreign | None = None) -> bytes:
        f, data = to_bytes()
        Saving(self.registry, f, MACHINE, dialect, foreign or Foreign()).save_whole()
        return bytes(data)

    def load(self, data: bytes, foreign: Foreign | None = None) -> None:
        load(Reader(from_bytes(data)), self.registry, foreign)

    def digest(self) -> str:
        return digest_of(self.registry)

    def everything(self) -> dict[str, Any]:
        """All that a load could change, the digest's exceptions included."""
        return {
            "digest": self.digest(),
            "states": [attrs.evolve(chip.state) for chip in self.chips],
            "card": (self.card.value, list(self.card.words)),
            "disk": list(self.disk.sectors),
            "settled": [chip.settled for chip in self.chips],
        }


# ==== taking saves apart ==================================================================


@attrs.define
class Piece:
    """One section of a save, in the hands of who wants to do harm."""

    kind: int
    section_id: int
    idstr: str
    instance: int
    version: int
    payload: bytes

    def write(self, f: Stream) -> None:
        f.put_byte(self.kind)
        f.put_be32(self.section_id)
        if self.kind in {Kind.START, Kind.FULL}:
            f.put_name(self.idstr)
            f.put_be32(self.instance)
            f.put_be32(self.version)
        f.put_buffer(self.payload)
        f.put_byte(0x7E)
        f.put_be32(self.section_id)


def take_apart(data: bytes) -> list[Piece]:
    """The sections of a save of ours."""
    told = description.find(data)
    pieces = []
    for row in told["emu"]["sections"][1:]:
        raw = data[row["offset"] : row["offset"] + row["size"]]
        kind = raw[0]
        header = 5 if kind in {Kind.PART, Kind.END} else 14 + len(row["idstr"])
        pieces.append(
            Piece(kind, row["id"], row["idstr"], row["instance"], row["version"], raw[header:-5])
        )
    return pieces


def put_together(data: bytes, pieces: list[Piece], change: Any = None) -> bytes:
    """The save *data* with other sections, every checksum made anew.

    *change* may do something to the description before its checksum is made.
    """
    old = description.find(data)
    head = old["emu"]["sections"][0]
    f, out = to_bytes()
    f.put_buffer(data[: head["offset"] + head["size"]])
    rows = [description.Row(("configuration", 0), 0, "configuration", 1, 8, head["size"], 0)]
    rows[0] = attrs.evolve(rows[0], crc=int(head["crc32"], 16))
    for piece in pieces:
        offset = f.ftell()
        f.crc_start()
        piece.write(f)
        rows.append(
            description.Row(
                (piece.idstr, piece.instance),
                piece.section_id,
                Kind(piece.kind).name.lower(),
                piece.version,
                offset,
                f.ftell() - offset,
                f.crc(),
            )
        )
    told = {"page_size": 4096, "devices": old["devices"]}
    told["emu"] = {"sections": [row.as_json() for row in rows]}
    if change is not None:
        change(told)
    body = description.seal(description.dump_json(told))
    f.put_byte(0)
    f.put_byte(6)
    f.put_be32(len(body))
    f.put_buffer(body)
    f.fflush()
    return bytes(out)


def file_of(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)
