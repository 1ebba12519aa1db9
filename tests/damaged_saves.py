"""Damaged saves by the million: each is refused in one line and changes nothing, or it runs.

    python tests/damaged_saves.py FIRST COUNT [FOLDER]

makes the saves of COUNT numbers from FIRST on, each told completely by its number, and loads each
into one machine of 1 MiB.  What has to become of it:

    refused     by StreamError or another EmuError, in one printable line; State, RAM and clock of the machine
                are as they were (its digest is looked at every 64th time)
    ran         it was loaded, and the guest ran for 2 ms, whatever it did
    slow        the same, but it was stopped when it had taken 50 ms of the host's time: 2 ms can be
                200,000 faults, or 20 million accesses to what is not there
    loaded      it was loaded, and the run ended by EmuError: an input was due that this machine
                cannot take

Anything else is a finding: an exception, a crash, a run without end, a line that is no line, memory
without bound, bits that are wrong and unnoticed.  The save is then put into FOLDER, named by its number and gzipped, and the next
number's turn comes.  So a worker process does the loading, and this one watches it.  At the end
there is a table: how many of each kind of damage became what.

The kinds of damage are `Damage`; those from `FIELDS` on are behind checksums that have been made anew.
"""

from __future__ import annotations

import collections
import enum
import faulthandler
import functools
import gzip
import io
import json
import random
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest_runs import ECHO, HELLO, PRIMES, TICKS
from hostile import change, limit_memory
from synthetic import Piece, put_together, take_apart

import emu
from emu import EmuError, attrs
from emu.inputs import Input, Source
from emu.machine import Machine
from emu.savevm import description
from emu.savevm.sections import Dialect, Kind
from emu.savevm.stream import from_bytes, to_bytes
from emu.savevm.vmstate import Field, Section
from emu.tools.saves import SCHEMAS
from emu.until import Reason

RUN = "2ms"
PATIENCE_S = 0.05
STUCK_S = 100  # a worker that has said nothing for so long has lost its way
LOOK_EVERY = 64
EDGES = (0, 1, 2, 7, 8, 0x0F, 0x10, 0x7F, 0x80, 0xFE, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF)
EDGES += (0x10000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, 1 << 61, (1 << 63) - 1, 1 << 63)
JSON_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 4096, 1 << 31, 1 << 32, 1 << 63, 10**30, 1e308, 0.5),
    *("", "x", "ram", "emu/machine", "full", "00000000", "\ud800", "\0", "é" * 40, [], {}, [[]]),
)


class Damage(enum.Enum):
    """What is done to a save."""

    BITS = "bits flipped"
    CUT = "cut, or with more behind it"
    STRETCH = "stretches lost, doubled, exchanged, zeroed"
    QEMU = "one for QEMU, which has no checksums"
    FIELDS = "bytes of sections"
    VALUES = "values of declared fields"
    SECTIONS = "sections doubled, removed, reordered, exchanged"
    HEADERS = "kinds, numbers, names, instances, versions"
    LENGTHS = "sections longer or shorter"
    RAM = "words and pages of RAM"
    JSON = "the description"


BY_ACCIDENT = {Damage.BITS, Damage.CUT}  # always noticed


# ==== saves to damage =====================================================================


@attrs.frozen
class Base:
    """A whole save, taken apart."""

    data: bytes
    pieces: tuple[Piece, ...]
    now_ns: int

    def copy(self) -> list[Piece]:
        return [attrs.evolve(piece) for piece in self.pieces]

    def of(self, pieces: list[Piece], told: Callable[[Any], None] | None = None) -> bytes:
        """A save of *pieces*, every checksum made anew."""
        return put_together(self.data, pieces, told)


@functools.cache
def bases() -> tuple[Base, ...]:
    """Guests in the middle of something, keyboard and mouse among it."""
    saves = []
    for script, ns in ((ECHO, 12_310_000), (TICKS, 56_000_000), (PRIMES, 30_000_000)):
        running = script.start("auto")
        running.run_to(ns)
        saves.append((running.save().data, running.vm.clock.now_ns))
        running.close()
    for guest, ns in (("keys", 9_000_000), ("kbc", 9_000_000)):
        with emu.Machine(guest, memory="1M") as vm:
            vm.keyboard.type("Hello\n")
            vm.run(emu.clock(ns))
            vm.keyboard.press("a")
            vm.mouse.move(5, 7, 1)
            vm.inputs.schedule([Input(ns + 1_000_000, Source.KEYBOARD, b"\x10\x90")])
            vm.run(emu.after("100us"))
            saves.append((saved(vm), vm.clock.now_ns))
    return tuple(Base(data, tuple(take_apart(data)), now_ns) for data, now_ns in saves)


def is_whole(data: bytes) -> bool:
    """It has come out as it was."""
    return any(data == base.data for base in bases())


@functools.cache
def for_qemu() -> bytes:
    running = HELLO.start("auto")
    running.run_to(8_100_000)
    data = saved(running.vm, Dialect.QEMU_7_2)
    running.close()
    return data


def saved(vm: Machine, dialect: Dialect = Dialect.EMU) -> bytes:
    file = io.BytesIO()
    vm.save(file, dialect)
    return file.getvalue()


# ==== damage ==============================================================================


def damaged(number: int) -> tuple[Damage, bytes]:
    """The save of that *number*, and what has been done to it."""
    dice = random.Random(number)
    kind = dice.choice(tuple(Damage))
    base = dice.choice(bases())
    return kind, DO[kind](base, dice)


def bits(base: Base, dice: random.Random) -> bytes:
    return flipped(base.data, dice)


def flipped(data: bytes, dice: random.Random) -> bytes:
    bad = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8, 64))):
        bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
    return bytes(bad)


def cut(base: Base, dice: random.Random) -> bytes:
    data = base.data[: dice.randrange(len(base.data) + 1)]
    match dice.randrange(4):
        case 0:
            return data + dice.randbytes(dice.randrange(1, 64))
        case 1:
            return data + base.data[dice.randrange(len(base.data)) :]
        case 2:
            return base.data + dice.choice((b"\0", b"\x04", base.data[:64], base.data))
        case _:
            return data


def stretch(base: Base, dice: random.Random) -> bytes:
    data = base.data
    size = dice.choice((1, 2, 4, 8, 9, 16, 512, 4096, 4104))
    at, other = (dice.randrange(len(data) - size) for _ in range(2))
    piece = data[at : at + size]
    match dice.randrange(5):
        case 0:
            return data[:at] + data[at + size :]
        case 1:
            return data[:at] + piece + data[at:]
        case 2:
            return data[:other] + piece + data[other + size :]
        case 3:
            return data[:at] + bytes([dice.choice((0, 0xFF, 5, 0x7E))]) * size + data[at + size :]
        case _:
            return data[:at] + dice.randbytes(size) + data[at + size :]


def qemu(_base: Base, dice: random.Random) -> bytes:
    """Nine of ten in the sections behind RAM, where nothing would find it but the fields' checks."""
    data = bytearray(for_qemu())
    start = data.rindex(b"timer\0\0\0\0") if dice.random() < 0.9 else 0
    end = data.rindex(b'{"page_size"')
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        at = dice.randrange(start, end)
        match dice.randrange(4):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                data[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                size = dice.choice((2, 4, 8))
                value = dice.choice((*EDGES, dice.getrandbits(64))) & ((1 << 8 * size) - 1)
                data[at : at + size] = value.to_bytes(size, "big")
            case _:
                del data[at : at + dice.choice((1, 4, 8, 32))]
        end = min(end, len(data))
    return bytes(data)


def fields(base: Base, dice: random.Random) -> bytes:
    pieces = base.copy()
    small = [piece for piece in pieces if piece.idstr != "ram"]
    for _ in range(dice.choice((1, 1, 2, 4))):
        piece = dice.choice(small)
        payload = bytearray(piece.payload)
        change(payload, dice, base.now_ns)
        piece.payload = bytes(payload)
    return base.of(pieces)


def values(base: Base, dice: random.Random) -> bytes:
    """Fields are read by the chips' own declarations, and written with something else in them."""
    pieces = base.copy()
    whole = [piece for piece in pieces if piece.idstr in SCHEMAS]
    for _ in range(dice.choice((1, 1, 2, 4))):
        piece = dice.choice(whole)
        saved_as = SCHEMAS[piece.idstr]
        section = next(each for each in saved_as.sections if each.idstr == piece.idstr)
        piece.payload = with_other_values(section, piece.payload, dice)
    return base.of(pieces)


def with_other_values(section: Section, payload: bytes, dice: random.Random) -> bytes:
    """*payload*, one field of it, or of what follows it as a subsection, other than it was."""
    try:
        f = from_bytes(payload)
        found = section.get(f, section.version)
        rest = payload[f.ftell() :]
    except (EmuError, ValueError):
        return payload  # it has been damaged before
    layout: list[Any] = list(section.layout)
    field = dice.choice(layout)
    if isinstance(field, Field):
        found[field.name] = other(found.get(field.name), dice)
    g, data = to_bytes()
    try:
        for each in layout:
            each.put(g, found)
    except (OverflowError, ValueError, TypeError, KeyError, AttributeError):
        return payload  # no such value can be written
    for subsection in section.subsections:
        if all(each.name in found for each in subsection.layout if isinstance(each, Field)):
            g.put_byte(5)
            g.put_name(subsection.name)
            g.put_be32(subsection.version)
            for each in subsection.layout:
                each.put(g, found)
    g.fflush()
    return bytes(data) + rest


def other(  # noqa: C901, PLR0911, PLR0912 - a branch a kind
    value: Any, dice: random.Random
) -> Any:
    """Something of the same kind as *value*; a State is changed where it is."""
    match value:
        case bool():
            return not value
        case enum.Enum():
            return dice.choice(list(type(value)))
        case int():
            steps = (
                value + dice.choice((-1, 1, 1000, -1000, 10**6)),
                value ^ 1 << dice.randrange(64),
            )
            return dice.choice((*EDGES, -1, *steps))
        case bytes():
            match dice.randrange(3):
                case 0:
                    return value + dice.randbytes(dice.choice((1, 16, 300)))
                case 1:
                    return value[: dice.randrange(len(value) + 1)]
                case _:
                    return dice.randbytes(len(value))
        case str():
            return dice.choice((value + "x", value[1:], value[::-1], "", "é", "a\nb", value * 9))
        case list():
            values = list(value)
            if values:
                index = dice.randrange(len(values))
                values[index] = other(values[index], dice)
            return values
        case dict():
            if value:
                name = dice.choice(list(value))
                value = {**value, name: other(value[name], dice)}
            return value
        case _ if attrs.has(type(value)):
            name = dice.choice([each.name for each in attrs.fields(type(value))])
            as_dict = {each.name: getattr(value, each.name) for each in attrs.fields(type(value))}
            return {**as_dict, name: other(as_dict[name], dice)}
        case _:
            return value


def sections(base: Base, dice: random.Random) -> bytes:
    pieces = base.copy()
    for _ in range(dice.choice((1, 1, 2, 5))):
        at, to = (dice.randrange(len(pieces)) for _ in range(2))
        match dice.randrange(6):
            case 0:
                del pieces[at]
            case 1:
                pieces.insert(to, attrs.evolve(pieces[at]))
            case 2:
                pieces.insert(to, pieces.pop(at))
            case 3:
                one, another = pieces[at], pieces[to]
                one.payload, another.payload = another.payload, one.payload
            case 4:
                dice.shuffle(pieces)
            case _:
                from_elsewhere = dice.choice(dice.choice(bases()).pieces)
                pieces[at] = attrs.evolve(from_elsewhere)
    return base.of(pieces)


def headers(base: Base, dice: random.Random) -> bytes:
    pieces = base.copy()
    names = [piece.idstr for piece in pieces]
    for _ in range(dice.choice((1, 1, 2))):
        piece = dice.choice(pieces)
        number = dice.choice((*EDGES[:20], dice.randrange(40))) & 0xFFFF_FFFF
        match dice.randrange(5):
            case 0:
                piece.kind = dice.choice((Kind.START, Kind.PART, Kind.END, Kind.FULL))
            case 1:
                piece.section_id = number
            case 2:
                piece.idstr = dice.choice((*names, "", "x" * 255, "\x1b[2J\n", piece.idstr + "x"))
            case 3:
                piece.instance = number
            case _:
                piece.version = dice.choice((number, piece.version + 1, piece.version - 1)) & 0xFFFF
    return base.of(pieces)


def lengths(base: Base, dice: random.Random) -> bytes:
    pieces = base.copy()
    for _ in range(dice.choice((1, 1, 2))):
        piece = dice.choice(pieces)
        at = dice.randrange(len(piece.payload) + 1)
        size = dice.choice((1, 1, 2, 4, 8, 64))
        match dice.randrange(4):
            case 0:
                piece.payload = piece.payload[:at] + piece.payload[at + size :]
            case 1:
                piece.payload = piece.payload[:at] + dice.randbytes(size) + piece.payload[at:]
            case 2:
                piece.payload += dice.choice((b"\5" * size, bytes(size), subsection(piece, dice)))
            case _:
                piece.payload = piece.payload[:at]
    return base.of(pieces)


def subsection(piece: Piece, dice: random.Random) -> bytes:
    """One that is there, or is not."""
    saved_as = SCHEMAS.get(piece.idstr)
    known = [
        each.name
        for section in (saved_as.sections if saved_as is not None else ())
        for each in section.subsections
    ]
    f, data = to_bytes()
    f.put_byte(5)
    f.put_name(dice.choice((*known, f"{piece.idstr}/strange")))
    f.put_be32(dice.choice((0, 1, 2, 0xFFFF_FFFF)))
    f.put_buffer(dice.randbytes(dice.choice((0, 1, 2, 8, 18))))
    f.fflush()
    return bytes(data)


def ram(base: Base, dice: random.Random) -> bytes:
    pieces = base.copy()
    parts = [piece for piece in pieces if piece.idstr == "ram"]
    piece = dice.choice((parts[0], parts[1], parts[1], parts[-1]))
    payload = bytearray(piece.payload)
    for _ in range(dice.choice((1, 1, 2, 16))):
        at = dice.randrange(max(1, len(payload) - 9))
        match dice.randrange(7):
            case 0 if payload:
                payload[at] ^= 1 << dice.randrange(8)
            case 1:
                payload[at : at + 9] = payload[at + 9 : at + 18]
            case 2:
                payload[at:at] = payload[at : at + 9]
            case 3:
                word = dice.choice((2, 4, 8, 0x10, 0x20, 0x22, 0x28, 0x48, 0x80, 0xFFF))
                word |= dice.choice((0, 0x1000, 0xFF000, 0x100000, 1 << 31, 1 << 63))
                payload[at:at] = word.to_bytes(8, "big")
            case 4:
                payload[-8:] = b""
            case 5:  # a page of code that nobody wrote
                page = (7 << 12 | 8).to_bytes(8, "big") + b"\x06pc.ram" + dice.randbytes(4096)
                payload[-8:-8] = page
            case _:
                number = dice.randrange(256)
                page = number << 12 | dice.choice((2, 0x22))
                name = (
                    b"" if page & 0x20 else dice.choice((b"\x06pc.ram", b"\x07pc.bios", b"\x01x"))
                )
                payload[-8:-8] = page.to_bytes(8, "big") + name + bytes([dice.randrange(256)])
    piece.payload = bytes(payload)
    return base.of(pieces)


def json_of(base: Base, dice: random.Random) -> bytes:
    """A description with another tree in it, or other text; three of four are sealed anew."""
    if dice.randrange(4):
        return base.of(base.copy(), lambda told: spoil(told, dice))
    at = base.data.rindex(b'{"page_size"')
    text = base.data[at:]
    match dice.randrange(4):
        case 0:
            text = b"[" * 100_000
        case 1:
            told = json.loads(text)
            told.pop("crc32")
            text = description.seal(json.dumps(told, indent=dice.choice((0, 1))).encode())
        case 2:
            text = description.seal(flipped(text[: -description.CRC_BYTES], dice) + b"}")
        case _:
            text = dice.choice((b"", b"{}", b"null", b'{"emu":{}}', b"\xff", text + b" ", b"1e999"))
    length = dice.choice((len(text), len(text), len(text) - 1, len(text) + 1, 0xFFFF_FFFF))
    return base.data[: at - 4] + (length & 0xFFFF_FFFF).to_bytes(4, "big") + text


def spoil(told: Any, dice: random.Random) -> None:
    """Go down somewhere, and put something else there."""
    while True:
        places = list(told) if isinstance(told, dict) else list(range(len(told)))
        if not places:
            return
        place = dice.choice(places)
        below = told[place]
        if isinstance(below, dict | list) and below and dice.random() < 0.9:
            told = below
            continue
        match dice.randrange(4):
            case 0:
                del told[place]
            case 1 if isinstance(told, list):
                told.insert(place, below)
            case _:
                told[place] = dice.choice(JSON_VALUES)
        return


DO: dict[Damage, Callable[[Base, random.Random], bytes]] = {
    Damage.BITS: bits,
    Damage.CUT: cut,
    Damage.STRETCH: stretch,
    Damage.QEMU: qemu,
    Damage.FIELDS: fields,
    Damage.VALUES: values,
    Damage.SECTIONS: sections,
    Damage.HEADERS: headers,
    Damage.LENGTHS: lengths,
    Damage.RAM: ram,
    Damage.JSON: json_of,
}


def check_line(error: EmuError) -> None:
    """It is one line, and nothing in it is what a terminal would obey."""
    assert str(error).isprintable()


# ==== what becomes of it ==================================================================


@attrs.define(eq=False)
class Target:
    """A machine that has something to lose."""

    vm: Machine = attrs.field(init=False)
    home: bytes = attrs.field(init=False)
    digest: str = attrs.field(init=False)
    _states: list[object] = attrs.field(init=False)
    _ram: tuple[bytes, ...] = attrs.field(init=False)
    _looks: int = 0

    def __attrs_post_init__(self) -> None:
        running = PRIMES.start("auto")
        running.run_to(20_000_000)
        self.vm = running.vm
        signal.signal(signal.SIGVTALRM, lambda *_: self.vm.stop())
        self.home = saved(self.vm)
        self.go_home()
        self.digest = self.vm.digest()
        self._ram = self._contents()

    def go_home(self) -> None:
        self.vm.load(io.BytesIO(self.home))
        self._states = [card.state for card in self.vm.board.slot.registry.cards]

    def _contents(self) -> tuple[bytes, ...]:
        memory = self.vm.board.memory
        return tuple(each.read(0, each.size) for each in (memory.ram, memory.rom))

    def check(self) -> None:
        """It is as it was."""
        assert [card.state for card in self.vm.board.slot.registry.cards] == self._states
        assert self._contents() == self._ram
        self._looks += 1
        if self._looks % LOOK_EVERY == 0:
            assert self.vm.digest() == self.digest

    def take(self, data: bytes) -> str:
        """What becomes of *data*; AssertionError or anything else that is no EmuError: a finding."""
        try:
            self.vm.load(io.BytesIO(data))
        except EmuError as error:
            check_line(error)
            self.check()
            return "refused"
        try:
            became = self._run()
        except EmuError as error:
            check_line(error)
            became = "loaded"
        self.go_home()
        return became

    def _run(self) -> str:
        signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_S)
        try:
            stopped = self.vm.run(emu.after(RUN))
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return "slow" if stopped.reason is Reason.STOPPED else "ran"


def work(first: int, count: int, folder: Path) -> None:
    """A line for each: its number, what has been done to it and what became of it.

    The number is written before anything is done, so that after a crash it is known whose it was.
    """
    faulthandler.enable()
    target = Target()
    bases(), for_qemu()
    if sys.platform == "linux":
        limit_memory()
    for number in range(first, first + count):
        if number % LOOK_EVERY == 0:
            faulthandler.dump_traceback_later(STUCK_S, exit=True)
        sys.stdout.write(f"{number} ")
        sys.stdout.flush()
        kind, data = damaged(number)
        try:
            became = target.take(data)
            assert became == "refused" or kind not in BY_ACCIDENT or is_whole(data), "unnoticed"
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            traceback.print_exc()
            keep(folder, number, data)
            became = f"FOUND-{type(error).__name__}"
            target.vm.close()
            target = Target()
        sys.stdout.write(f"{kind.name} {became}\n")


def keep(folder: Path, number: int, data: bytes) -> None:
    """Put a save that found something where it can be looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}.emu.gz").write_bytes(gzip.compress(data, mtime=0))


# ==== watching ============================================================================

Tally = collections.Counter[tuple[str, str]]  # kind of damage, what became of it


def watch(first: int, count: int, folder: Path) -> Tally:
    """Have the work done, by one process after the other where one ends before its time."""
    tally: Tally = collections.Counter()
    end = first + count
    while first < end:
        words = [sys.executable, __file__, "--work", str(first), str(end - first), str(folder)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            try:
                for line in worker.stdout:
                    number, *became = line.split()
                    if became:
                        tally[became[0], became[1]] += 1
                        first = int(number) + 1
                        if first % 10_000 == 0:
                            sys.stderr.write(f"{first}\n{table(tally)}\n")
            except KeyboardInterrupt:  # that was enough
                worker.kill()
                return tally
        if worker.returncode:
            kind, data = damaged(first)
            keep(folder, first, data)
            tally[kind.name, f"FOUND-status-{worker.returncode}"] += 1
            first += 1
    return tally


def table(tally: Tally) -> str:
    """The tally, a line for each kind of damage."""
    outcomes = sorted({became for _, became in tally})
    kinds = sorted({kind for kind, _ in tally})
    rows = [(kind, [tally[kind, each] for each in outcomes]) for kind in kinds]
    rows.append(("all", [sum(tally[kind, each] for kind in kinds) for each in outcomes]))
    return "\n".join(
        (
            f"{'damage':<10}" + "".join(f"{each:>12}" for each in outcomes),
            *(f"{name:<10}" + "".join(f"{each:>12,}" for each in row) for name, row in rows),
        )
    )


def main(words: list[str]) -> int:
    """The exit status: 1 where there are findings."""
    if words[0] == "--work":
        work(int(words[1]), int(words[2]), Path(words[3]))
        return 0
    tally = watch(int(words[0]), int(words[1]), Path(words[2] if len(words) > 2 else "findings"))
    sys.stdout.write(table(tally) + "\n")
    return int(any(became.startswith("FOUND") for _, became in tally))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
