"""RAM that can be replaced under its address, and the physical address space."""

from __future__ import annotations

import ctypes
import random
import sys
from pathlib import Path

import pytest

from emu.errors import ConfigError
from emu.memory import FOUR_GIB, MIB, PAGE_BYTES, ROM_MOST, Memory, Ram, page_hash

KIB = 1024


@pytest.fixture
def ram() -> Ram:
    return Ram("ram", 16 * PAGE_BYTES)


class TestRam:
    def test_is_zero_at_power_on(self, ram: Ram) -> None:
        assert list(ram.written()) == []
        assert ram.read(0, ram.size) == bytes(ram.size)

    def test_keeps_what_is_written(self, ram: Ram) -> None:
        ram.write(4095, b"ab")

        assert ram.read(4094, 4) == b"\0ab\0"
        assert ram.page(1)[:2] == b"b\0"
        assert ram.pages == 16

    @pytest.mark.parametrize("size", [0, -4096, 4097, 4 << 30])
    def test_has_a_size_that_can_be(self, size: int) -> None:
        with pytest.raises(ConfigError, match=f"ram: {size} bytes, expected a multiple of 4 KiB"):
            Ram("ram", size)

    def test_knows_which_pages_were_written(self, ram: Ram) -> None:
        ram.write(2 * PAGE_BYTES, bytes(1))
        ram.write(7 * PAGE_BYTES - 1, b"ab")

        written = {page for run in ram.written() for page in run}

        assert {2, 6, 7} <= written
        assert written <= set(range(16))

    def test_hashes_the_pages_that_are_not_zero(self, ram: Ram) -> None:
        ram.write(0, bytes(100))
        ram.write(3 * PAGE_BYTES, b"x")

        assert ram.hashes() == {3: page_hash(b"x" + bytes(4095))}

    def test_tells_what_has_changed(self, ram: Ram) -> None:
        ram.write(3 * PAGE_BYTES, b"x")
        ram.write(5 * PAGE_BYTES, b"y")

        assert ram.dirty() == [3, 5]
        assert ram.dirty() == []
        ram.write(3 * PAGE_BYTES, b"\0")
        ram.write(4 * PAGE_BYTES, b"z")
        ram.write(5 * PAGE_BYTES, b"y")
        assert ram.dirty() == [3, 4]


class TestReplacing:
    def test_takes_the_contents_and_keeps_the_address(self, ram: Ram) -> None:
        """Translated code refers to it."""
        address = ram.address
        ram.write(0, b"before")
        other = ram.another()
        other.write(PAGE_BYTES, b"after")

        ram.replace(other)

        assert ram.address == address
        assert [list(run) for run in ram.written()] == [[1]]
        assert ram.read(0, 6) == bytes(6)
        assert ram.read(PAGE_BYTES, 5) == b"after"
        assert ram.dirty() == [1]

    def test_another_is_empty_and_its_own(self, ram: Ram) -> None:
        ram.write(0, b"x")
        other = ram.another()
        other.write(1, b"y")

        assert (other.name, other.size) == (ram.name, ram.size)
        assert other.read(0, 2) == b"\0y"
        assert ram.read(0, 2) == b"x\0"

    @pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
    def test_what_was_there_is_given_back(self, ram: Ram) -> None:
        """Or a machine would hold its RAM once more after a load."""

        def held() -> int:
            return sum(
                each.stat().st_blocks
                for each in Path("/proc/self/fd").iterdir()
                if each.exists() and each.stat().st_size == ram.size
            )

        before = held()
        ram.write(0, b"x" * ram.size)
        for _ in range(3):
            other = ram.another()
            other.write(0, b"y" * ram.size)
            ram.replace(other)

        assert held() - before == ram.size // 512

    @pytest.mark.skipif(sys.platform != "linux", reason="the mapping goes with its last user")
    def test_what_a_closed_one_held_goes_at_once(self) -> None:
        """Though somebody may refer to it for a while yet: garbage is collected when Python likes."""
        ram = Ram("ram", 4 * PAGE_BYTES)
        ram.write(0, b"x" * ram.size)
        address = ram.address

        ram.close()

        assert ctypes.string_at(address, ram.size) == bytes(ram.size)

    def test_many_times(self, ram: Ram) -> None:
        for value in range(200):
            other = ram.another()
            other.write(5, bytes([value]))
            ram.replace(other)

        assert ram.read(5, 1) == bytes([199])


class TestWithoutLinux:
    """Elsewhere the contents are copied."""

    def test_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "elsewhere")
        ram = Ram("ram", 4 * PAGE_BYTES)
        address = ram.address
        ram.write(0, b"before")
        other = ram.another()
        other.write(PAGE_BYTES, b"after")

        ram.replace(other)

        assert ram.address == address
        assert ram.read(0, 6) == bytes(6)
        assert ram.read(PAGE_BYTES, 5) == b"after"
        ram.close()


@pytest.fixture
def memory() -> Memory:
    memory = Memory(Ram("ram", 2 * MIB), Ram("rom", 256 * KIB))
    memory.rom.write(0, bytes(range(256)) * KIB)
    return memory


class TestMemory:
    def test_ram_from_zero(self, memory: Memory) -> None:
        memory.write(0x7C00, b"boot")

        assert memory.read(0x7C00, 4) == b"boot"
        assert memory.ram.read(0x7C00, 4) == b"boot"

    def test_the_rom_ends_at_4_GiB(self, memory: Memory) -> None:
        assert memory.rom_base == FOUR_GIB - 256 * KIB
        assert memory.read(FOUR_GIB - 2, 2) == b"\xfe\xff"

    def test_the_rom_cannot_be_written(self, memory: Memory) -> None:
        memory.write(FOUR_GIB - 4, b"abcd")

        assert memory.read(FOUR_GIB - 4, 4) == b"\xfc\xfd\xfe\xff"

    def test_what_is_not_there_reads_all_ones(self, memory: Memory) -> None:
        memory.write(2 * MIB - 1, b"\1\2")

        assert memory.read(2 * MIB - 1, 3) == b"\1\xff\xff"
        assert memory.read(FOUR_GIB - 256 * KIB - 1, 2) == b"\xff\0"
        assert memory.read(FOUR_GIB - 1, 2) == b"\xff\xff"

    def test_a_range_that_touches_all_of_it(self, memory: Memory) -> None:
        start = FOUR_GIB - 256 * KIB - 4
        data = memory.read(start, 256 * KIB + 8)

        assert data[:5] == b"\xff\xff\xff\xff\0"
        assert data[-5:] == b"\xff\xff\xff\xff\xff"

    def test_translated_code_is_told(self, memory: Memory) -> None:
        told: list[tuple[int, int]] = []
        memory.invalidate = lambda *place: told.append(place)

        memory.write(10, b"abc")
        memory.write(2 * MIB - 1, b"abc")
        memory.write(2 * MIB, b"abc")

        assert told == [(10, 3), (2 * MIB - 1, 1)]

    def test_reset_copies_the_end_of_the_rom(self, memory: Memory) -> None:
        memory.fill_shadow()

        assert memory.read(MIB - 128 * KIB, 128 * KIB) == memory.read(
            FOUR_GIB - 128 * KIB, 128 * KIB
        )
        assert memory.read(MIB - 128 * KIB - 1, 1) == b"\0"

    def test_a_small_rom_fills_what_it_can(self) -> None:
        memory = Memory(Ram("ram", MIB), Ram("rom", 64 * KIB))
        memory.rom.write(0, b"\xaa" * 64 * KIB)
        memory.fill_shadow()

        assert memory.read(MIB - 64 * KIB - 1, 2) == b"\0\xaa"

    def test_by_index(self, memory: Memory) -> None:
        memory.write(4, b"\7\x08")

        assert memory[4] == 7
        assert memory[4:6] == b"\7\x08"
        assert memory[6:4] == b""

    @pytest.mark.parametrize("place", [slice(None, 5), slice(5, None), slice(1, 5, 2)])
    def test_by_half_an_index(self, memory: Memory, place: slice) -> None:
        with pytest.raises(ValueError, match="a start, a stop and no step"):
            memory[place]

    def test_sizes_that_cannot_be(self) -> None:
        with pytest.raises(ConfigError, match="1 MiB at least"):
            Memory(Ram("ram", MIB - PAGE_BYTES), Ram("rom", PAGE_BYTES))
        with pytest.raises(ConfigError, match="16 MiB at most"):
            Memory(Ram("ram", MIB), Ram("rom", ROM_MOST + PAGE_BYTES))

    def test_reading_is_what_was_written_anywhere(self, memory: Memory) -> None:
        dice = random.Random(1)
        model = bytearray(2 * MIB)
        for _ in range(200):
            at, data = dice.randrange(2 * MIB - 64), dice.randbytes(dice.randrange(64))
            memory.write(at, data)
            model[at : at + len(data)] = data

        assert memory.read(0, 2 * MIB) == bytes(model)
