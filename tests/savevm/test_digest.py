"""A digest says whether two machines are the same, and a save has its machine's."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import threading
from collections.abc import Callable

import pytest
from synthetic import (
    FOREIGN,
    SCHEMAS,
    CounterState,
    Machine,
    file_of,
    put_together,
    take_apart,
)

from emu import attrs
from emu.errors import StreamError
from emu.memory import PAGE_BYTES, Ram
from emu.savevm.digest import digest_of, digest_of_save
from emu.savevm.live import Saving
from emu.savevm.ram import register_ram
from emu.savevm.registry import Registry
from emu.savevm.sections import Dialect, Foreign
from emu.savevm.stream import to_bytes


def of_save(data: bytes, foreign: Foreign | None = None) -> str:
    return digest_of_save(file_of(data), SCHEMAS, foreign)


@pytest.mark.parametrize("seed", range(4))
def test_a_save_has_the_digest_of_its_machine(seed: int) -> None:
    machine = Machine().fill(seed)

    assert of_save(machine.save()) == machine.digest()


def test_in_any_order() -> None:
    machine = Machine().fill(1)
    pieces = take_apart(machine.save())

    assert of_save(put_together(machine.save(), pieces[::-1][:8] + pieces[:9])) == machine.digest()


def test_sent_while_the_guest_ran() -> None:
    """Pages that were sent more than once count as they were at the end."""
    machine = Machine().fill(1)
    f, data = to_bytes()
    saving = Saving(machine.registry, f, "m", live=True)
    saving.begin()
    for number, page in enumerate([b"\0", b"\1", b"\0", b"\2", b"\3x", b"\4", b"\0"]):
        machine.ram.write((number % 2) * PAGE_BYTES, (page * PAGE_BYTES)[:PAGE_BYTES])
        saving.iterate()
        saving.iterate()
    saving.complete()

    assert of_save(bytes(data)) == machine.digest()


def test_with_a_zero_page_sent_in_full() -> None:
    """As QEMU may where a guest has cleared it while it was being saved."""
    ram = Ram("r", PAGE_BYTES)
    registry = Registry()
    register_ram(registry, ram)
    page = bytes.fromhex("0000000000000002 01 72 07")
    page += bytes.fromhex("0000000000000028") + bytes(PAGE_BYTES)
    start = bytes.fromhex("0000000000001004 01 72 0000000000001000 0000000000000010")
    data = bytes.fromhex("5145564d 00000003  01 00000000 03 72616d 00000000 00000004") + start
    data += bytes.fromhex("03 00000000") + page + bytes.fromhex("0000000000000010") + b"\0"

    assert of_save(data) == digest_of(registry)


def test_in_the_dialect_of_QEMU() -> None:
    """What QEMU has not is guessed from what it has, as a load would."""
    machine = Machine()
    data = machine.save(Dialect.QEMU_7_2, FOREIGN)
    loaded = Machine()
    loaded.load(data, Foreign(optional=FOREIGN.dropped))

    without = digest_of(machine.registry, lambda idstr: idstr in FOREIGN.dropped)

    assert of_save(data) == without
    assert loaded.digest() == machine.digest()


def test_with_RAM_under_another_name() -> None:
    ram = Ram("pc.ram", PAGE_BYTES)
    registry = Registry()
    register_ram(registry, ram)
    f, data = to_bytes()
    foreign = Foreign(blocks={"microvm.ram": "pc.ram", "other": None})
    Saving(registry, f, "microvm", Dialect.QEMU_7_2, foreign).save_whole()

    assert of_save(bytes(data), foreign) == digest_of(registry)


def test_from_a_pipe() -> None:
    machine = Machine(128 * 1024).fill(1)
    data = machine.save()
    read_end, write_end = os.pipe()

    def feed() -> None:
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(read_end, "rb") as pipe:
        digest = digest_of_save(pipe, SCHEMAS)
    feeder.join()

    assert digest == machine.digest()


CHANGES: dict[str, Callable[[Machine], object]] = {
    "a register": lambda machine: setattr(machine.chips[1].state, "count", 1),
    "what QEMU has no room for": lambda machine: setattr(machine.chips[1].state, "shadow", 1),
    "the other instance": lambda machine: setattr(machine.chips[2].state, "count", 1),
    "the head": lambda machine: setattr(machine.chips[0].state, "board", "x"),
    "a card of the user's": lambda machine: setattr(machine.card, "value", 1),
    "a bit of RAM": lambda machine: machine.ram.write(12345, b"\1"),
    "a bit of ROM": lambda machine: machine.bios.write(12345, b"\1"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_it_tells_apart_machines_that_differ_in(what: str) -> None:
    machine = Machine()
    before = machine.digest()

    CHANGES[what](machine)

    assert machine.digest() != before
    assert of_save(machine.save()) == machine.digest()


def test_two_chips_that_change_places_are_not_the_same() -> None:
    machine, other = Machine(), Machine()
    machine.chips[1].state = other.chips[2].state = CounterState(count=5)

    assert machine.digest() != other.digest()


def test_a_page_that_moves_is_not_the_same() -> None:
    digests = set()
    for page in (0, 1, 200):
        machine = Machine()
        machine.ram.write(page * PAGE_BYTES, b"x")
        digests.add(machine.digest())

    assert len(digests) == 3


def test_a_zero_page_that_was_written_is_the_same() -> None:
    machine = Machine()
    before = machine.digest()

    machine.ram.write(0, bytes(100_000))

    assert machine.digest() == before


def test_the_host_s_end_is_not_in_it() -> None:
    machine = Machine()
    before = machine.digest()

    machine.chips[4].state.typed = b"make\n"

    assert machine.digest() == before
    assert of_save(machine.save()) == before


def test_a_section_of_an_older_version_counts_as_what_it_becomes() -> None:
    machine = Machine()
    machine.chips[3].state = attrs.evolve(machine.chips[3].state, clip=9)
    pieces = take_apart(machine.save())
    mixer = next(piece for piece in pieces if piece.idstr == "mixer")
    mixer.version = 1
    mixer.payload = bytes(2 + 2 + 2 + 4 + 4 + 8 + 4 + 1)

    assert of_save(put_together(machine.save(), pieces)) == machine.digest()


def test_a_save_that_lacks_half_a_chip_has_none() -> None:
    machine = Machine()
    pieces = [piece for piece in take_apart(machine.save()) if piece.idstr != "emu/counter"]

    with pytest.raises(StreamError, match="section 'emu/counter/0': the section is missing"):
        of_save(put_together(machine.save(), pieces))


def test_it_is_what_FORMAT_says() -> None:
    """The definition, once more by hand."""
    machine = Machine()
    registry = Registry()
    ram = Ram("r", 1024 * PAGE_BYTES)
    ram.write(PAGE_BYTES, b"a")
    ram.write(600 * PAGE_BYTES, b"b")
    register_ram(registry, ram)
    registry.register_savevm("x", 3, 7, lambda f: f.put_be16(0x1234), machine.card.load)

    def b2(data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=16).digest()

    a = struct.pack(">I", 1) + b2(b"a" + bytes(4095))
    b = struct.pack(">I", 600) + b2(b"b" + bytes(4095))
    groups = struct.pack(">I", 0) + b2(a) + struct.pack(">I", 1) + b2(b)
    root = b2(b"\1r" + struct.pack(">Q", 1024 * PAGE_BYTES) + groups)
    whole = b"\3ram" + struct.pack(">IIQ", 0, 4, 16) + root
    whole += b"\1x" + struct.pack(">IIQ", 3, 7, 2) + b"\x12\x34"
    assert digest_of(registry) == f"e1:{b2(whole).hex()}"


def test_a_save_without_RAM() -> None:
    registry = Registry()
    registry.register_savevm("x", 0, 1, lambda f: f.put_byte(1), lambda _f, _version: None)
    f, data = to_bytes()
    Saving(registry, f, "m").save_whole()

    assert digest_of_save(io.BytesIO(bytes(data)), {}) == digest_of(registry)
