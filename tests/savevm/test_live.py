"""Saving in stages: RAM and users' cards, while the guest runs or not."""

from __future__ import annotations

import itertools

import pytest
from synthetic import KIB, Machine, UserDisk, dice_of, take_apart

from emu.errors import ConfigError
from emu.memory import PAGE_BYTES, Ram
from emu.savevm.live import Saving
from emu.savevm.load import load
from emu.savevm.pages import FULL_BYTES
from emu.savevm.ram import register_ram
from emu.savevm.ram_saving import BATCH_PAGES, PART_BYTES, SCAN_PAGES
from emu.savevm.registry import Registry
from emu.savevm.sections import Kind, Reader
from emu.savevm.stream import Stream, from_bytes, open_ops, to_bytes


class Ramful:
    """A machine that is nothing but RAM."""

    def __init__(self, pages: int) -> None:
        self.ram = Ram("ram", pages * PAGE_BYTES)
        self.registry = Registry()
        register_ram(self.registry, self.ram)

    def write(self, page: int, value: int) -> None:
        self.ram.write(page * PAGE_BYTES + 7, bytes([value]))

    def save(self) -> bytes:
        f, data = to_bytes()
        Saving(self.registry, f, "m").save_whole()
        return bytes(data)

    def load(self, data: bytes) -> None:
        load(Reader(from_bytes(data)), self.registry)

    def contents(self) -> bytes:
        return self.ram.read(0, self.ram.size)


class TestStopped:
    def test_the_same_machine_gives_the_same_bytes(self) -> None:
        """Whether a page that is zero was written to or never was cannot be told."""
        one, other = Machine().fill(1), Machine().fill(1)
        other.ram.write(300 * KIB, other.ram.read(300 * KIB, 200 * KIB))

        assert one.save() == other.save() == one.save()

    def test_a_part_ends_where_the_contents_say(self) -> None:
        """Not where the host's file of the RAM has its holes."""
        one, other = Ramful(150_000), Ramful(150_000)
        for ramful in (one, other):
            ramful.write(1, 1)
            ramful.write(100_000, 1)
        other.ram.write(200 * PAGE_BYTES, bytes(5000 * PAGE_BYTES))
        data = one.save()

        parts = [piece for piece in take_apart(data) if piece.kind == Kind.PART]
        assert len(parts) > 1
        assert all(len(part.payload) < PART_BYTES + FULL_BYTES + 16 for part in parts)
        assert other.save() == data

    @pytest.mark.parametrize("seed", range(4))
    def test_pages_of_all_kinds_come_back(self, seed: int) -> None:
        one, other = Ramful(600), Ramful(600)
        dice = dice_of(seed)
        other.ram.write(0, dice.randbytes(600 * PAGE_BYTES))
        for _ in range(dice.randrange(300)):
            at, fill = dice.randrange(600), dice.choice([0, 1, 0xFF])
            count = min(dice.randrange(1, 40), 600 - at)
            one.ram.write(at * PAGE_BYTES, bytes([fill]) * (count * PAGE_BYTES))
            one.write(dice.randrange(600), dice.randrange(256))

        other.load(one.save())

        assert other.contents() == one.contents()

    def test_a_zero_page_takes_nine_bytes(self) -> None:
        start, part, end = take_apart(Ramful(100).save())

        assert part.payload == (
            bytes.fromhex("0000000000000002 03")
            + b"ram"
            + b"\0"
            + b"".join((n * 4096 | 0x22).to_bytes(8, "big") + b"\0" for n in range(1, 100))
            + bytes.fromhex("0000000000000010")
        )
        assert start.payload == bytes.fromhex("0000000000064004 03 72616d 0000000000064000") + (
            bytes.fromhex("0000000000000010")
        )
        assert end.payload == bytes.fromhex("0000000000000010")

    def test_a_page_of_one_byte_does_too(self) -> None:
        ramful = Ramful(1)
        ramful.ram.write(0, b"\xaa" * PAGE_BYTES)

        _, part, _ = take_apart(ramful.save())

        assert part.payload == bytes.fromhex("0000000000000002 03 72616d aa 0000000000000010")

    def test_stages_interleave(self) -> None:
        """Which is what the number in each PART is for."""
        machine = Machine(4096 * KIB)
        machine.ram.write(0, dice_of(1).randbytes(3 << 20))

        names = [
            (Kind(piece.kind).name, piece.idstr)
            for piece in take_apart(machine.save())
            if piece.idstr in {"ram", "user/disk"}
        ]

        assert names == [
            *[("START", "ram"), ("START", "user/disk")],
            *[("PART", "ram"), ("PART", "user/disk")] * 3,
            ("PART", "ram"),
            *[("END", "ram"), ("END", "user/disk")],
            ("FULL", "user/disk"),
        ]

    def test_a_stream_s_rate_limit_ends_a_part(self) -> None:
        ramful = Ramful(64)
        ramful.ram.write(0, dice_of(1).randbytes(64 * PAGE_BYTES))
        data = bytearray()
        f = open_ops(lambda chunk, _at: data.extend(chunk), rate_limit=lambda: True)

        Saving(ramful.registry, f, "m").save_whole()

        parts = [piece for piece in take_apart(bytes(data)) if piece.kind == Kind.PART]
        assert len(parts) == 64 // BATCH_PAGES
        other = Ramful(64)
        other.load(bytes(data))
        assert other.contents() == ramful.contents()


class TestLive:
    """The guest runs, and writes, while it is saved."""

    @pytest.mark.parametrize("seed", range(6))
    def test_what_it_changes_is_sent_again(self, seed: int) -> None:
        pages = 3000
        ramful, other = Ramful(pages), Ramful(pages)
        other.write(17, 9)
        dice = dice_of(seed)
        f, data = to_bytes()
        saving = Saving(ramful.registry, f, "m", live=True)

        def run() -> None:
            for _ in range(30):
                ramful.write(dice.randrange(pages), dice.choice([0, 0, 1, 2, 255]))

        run()
        saving.begin()
        for _ in range(dice.randrange(8)):
            run()
            saving.iterate()
        run()
        saving.complete()
        other.load(bytes(data))

        assert other.contents() == ramful.contents()

    @pytest.mark.parametrize("values", list(itertools.product((0, 1, 2), repeat=4)))
    def test_a_page_changed_sent_and_changed_back(self, values: tuple[int, ...]) -> None:
        """A look for what differs from some moment before would not see it."""
        ramful, other = Ramful(4), Ramful(4)
        f, data = to_bytes()
        saving = Saving(ramful.registry, f, "m", live=True)

        ramful.write(2, values[0])
        saving.begin()
        for value in values[1:]:
            ramful.write(2, value)
            saving.iterate()
            saving.iterate()
        ramful.write(2, values[0])
        saving.complete()
        other.load(bytes(data))

        assert other.contents() == ramful.contents()

    def test_a_page_changed_after_it_was_looked_at(self) -> None:
        """A look goes through part of RAM at a time; the last one, all of it."""
        ramful, other = Ramful(2 * SCAN_PAGES), Ramful(2 * SCAN_PAGES)
        for page in range(ramful.ram.pages):
            ramful.write(page, 1)
        f, data = to_bytes()
        saving = Saving(ramful.registry, f, "m", live=True)
        saving.begin()
        pages_in_a_part = -(-PART_BYTES // FULL_BYTES)

        for _ in range(ramful.ram.pages // pages_in_a_part):
            assert not saving.iterate(), "RAM has been sent, and looked at half"
        ramful.write(0, 2)
        saving.complete()
        other.load(bytes(data))

        assert other.contents() == ramful.contents()

    def test_RAM_that_was_emptied_by_a_load(self) -> None:
        """New contents without a page of the old, and with holes where there were pages."""
        ramful, other = Ramful(4), Ramful(4)
        ramful.write(2, 1)
        f, data = to_bytes()
        saving = Saving(ramful.registry, f, "m", live=True)
        saving.begin()
        saving.iterate()
        ramful.load(Ramful(4).save())
        saving.complete()
        other.load(bytes(data))

        assert other.contents() == bytes(4 * PAGE_BYTES)

    def test_a_guest_that_stands_still_is_done_after_a_look_at_everything(self) -> None:
        ramful = Ramful(2 * SCAN_PAGES + 1)
        for page in range(ramful.ram.pages):
            ramful.write(page, 1)
        f, _ = to_bytes()
        saving = Saving(ramful.registry, f, "m", live=True)
        saving.begin()

        calls = 1
        while not saving.iterate():
            calls += 1

        assert calls == -(-ramful.ram.pages * FULL_BYTES // PART_BYTES) + 2

    def test_one_that_changes_something_is_not(self) -> None:
        ramful = Ramful(4)
        f, _ = to_bytes()
        saving = Saving(ramful.registry, f, "m", live=True)
        saving.begin()

        done = []
        for value in (0, 1, 1, 2, 2, 0, 0, 0):
            ramful.write(0, value)
            done.append(saving.iterate())

        assert done == [True, *[False, True] * 3, True]

    def test_a_card_that_is_done_is_not_asked_again(self) -> None:
        """RAM is, as the guest goes on changing it."""
        machine = Machine()
        f, data = to_bytes()
        saving = Saving(machine.registry, f, "m", live=True)
        saving.begin()
        for _ in range(6):
            saving.iterate()
        saving.complete()

        parts = [piece.idstr for piece in take_apart(bytes(data)) if piece.kind == Kind.PART]
        assert parts.count("user/disk") == 3
        assert parts.count("ram") == 6

    def test_the_head_must_not_change(self) -> None:
        """It was written first; a save that says something else at its end would lie."""
        machine = Machine()
        f, _ = to_bytes()
        saving = Saving(machine.registry, f, "m", live=True)
        saving.begin()
        machine.chips[0].state.board = "other"

        with pytest.raises(ConfigError, match="'emu/machine/0' has changed"):
            saving.complete()


class TestUsersFunctions:
    def test_one_may_seek_in_what_it_writes(self) -> None:
        """As 2008's could, on a file: here it has a place of its own to do that."""
        registry = Registry()

        def save(f: Stream) -> None:
            f.put_be32(0)
            f.put_buffer(b"hello")
            f.fseek(0)
            f.put_be32(5)

        heard = []
        registry.register_savevm(
            "card", 0, 1, save, lambda f, _version: heard.append(f.get_buffer(f.get_be32()))
        )
        f, data = to_bytes()
        Saving(registry, f, "m").save_whole()
        load(Reader(from_bytes(data)), registry)

        assert heard == [b"hello"]

    def test_one_may_ask_for_the_rate_limit(self) -> None:
        registry, seen = Registry(), []
        registry.register_savevm(
            "card", 0, 1, lambda f: seen.append(f.rate_limit()), lambda _f, _version: None
        )
        f = open_ops(lambda _data, _at: None, rate_limit=lambda: True)

        Saving(registry, f, "m").save_whole()

        assert seen == [True]

    def test_one_that_only_sends_in_stages(self) -> None:
        registry, disk = Registry(), UserDisk([1, 2, 3, 4, 5])
        registry.register_savevm_live("disk", 0, 1, disk.save_live, None, disk.load)
        f, data = to_bytes()
        Saving(registry, f, "m").save_whole()
        disk.sectors = [0] * 5

        load(Reader(from_bytes(data)), registry)

        assert disk.sectors == [1, 2, 3, 4, 5]

    def test_what_it_had_is_given_back_stage_by_stage(self) -> None:
        registry, disk = Registry(), UserDisk([1, 2, 3, 4, 5])
        registry.register_savevm_live("disk", 0, 1, disk.save_live, None, disk.load)
        f, data = to_bytes()
        Saving(registry, f, "m").save_whole()
        disk.sectors = [9] * 5
        cut = bytes(data[: data.rindex(b'{"page')])

        with pytest.raises(Exception, match="stream ends"):
            load(Reader(from_bytes(cut)), registry)

        assert disk.sectors == [9] * 5

    def test_a_version_1_state_loads_into_a_version_2(self) -> None:
        """Fields that came with version 2 are as at power-on, those of States within too."""
        machine = Machine()
        before = machine.chips[3].state
        pieces = take_apart(machine.save())
        mixer = next(piece for piece in pieces if piece.idstr == "mixer")
        old = bytes.fromhex("0001 0002 0003 00000000 00000000") + bytes(8) + bytes(4) + b"\4"

        machine.registry.load_sections(machine.registry.save_sections() | {("mixer", 0): (1, old)})

        state = machine.chips[3].state
        assert [voice.pitch for voice in state.voices] == [1, 2]
        assert state.master.pitch == 3
        assert (state.master.pan, state.clip) == (0, 9)
        assert len(mixer.payload) == len(old) + 3 + 1
        assert before is not state
