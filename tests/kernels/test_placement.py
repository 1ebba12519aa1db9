"""Who takes which memory, and that nobody takes another's."""

from __future__ import annotations

import pytest

from emu.errors import ConfigError
from emu.kernels.placement import Region, RegionType, Room, memory_map
from emu.memory import MIB

KIB = 1024


class TestTheMemoryMap:
    def test_has_the_hole_of_a_PC(self) -> None:
        assert memory_map(16 * MIB) == [
            Region(0, 640 * KIB, RegionType.USABLE),
            Region(640 * KIB, MIB, RegionType.RESERVED),
            Region(MIB, 16 * MIB, RegionType.USABLE),
        ]

    def test_of_the_least_memory_has_nothing_above_it(self) -> None:
        assert memory_map(MIB)[-1] == Region(640 * KIB, MIB, RegionType.RESERVED)


class TestRoom:
    def test_claimed_is_claimed(self) -> None:
        """Not once more, nor a part of it, nor with what is beside it."""
        room = Room(4 * MIB)
        room.claim("a", MIB, 2 * MIB)
        room.claim("b", 2 * MIB, 2 * MIB + 1)

        for start, end in (
            (MIB, 2 * MIB),
            (MIB + 5, MIB + 6),
            (2 * MIB - 1, 3 * MIB),
            (MIB - 1, MIB),
        ):
            with pytest.raises(ConfigError, match=f"c: no room at {start:#x}-{end - 1:#x}"):
                room.claim("c", start, end)

    @pytest.mark.parametrize(
        ("start", "end"),
        [
            (0xA0000 - 1, 0xA0000 + 1),
            (0xA0000, MIB),
            (MIB - 1, MIB + 1),
            (4 * MIB - 1, 4 * MIB + 1),
        ],
    )
    def test_the_hole_and_what_is_beyond_RAM_are_nobody_s(self, start: int, end: int) -> None:
        with pytest.raises(ConfigError, match="in 4 MiB of RAM"):
            Room(4 * MIB).claim("kernel", start, end)

    def test_to_its_last_byte_it_can_be_claimed(self) -> None:
        room = Room(4 * MIB)
        room.claim("low", 0, 0xA0000)
        room.claim("high", MIB, 4 * MIB)

        with pytest.raises(ConfigError, match="1 bytes, for which there is no room"):
            room.find("more", 1)

    def test_nothing_needs_no_room(self) -> None:
        room = Room(MIB)
        room.claim("nothing", 0xB0000, 0xB0000)

        assert room.find("all", 0x90000) == Room(MIB).find("all", 0x90000)

    def test_the_lowest_pages_are_found_first(self) -> None:
        """Above 64 KiB, each on a page of its own, and none that is taken."""
        room = Room(4 * MIB)
        room.claim("kernel", 0x11800, 0x12001)

        assert [room.find("x", size) for size in (1, 4096, 4097, 1)] == [
            0x10000,
            0x13000,
            0x14000,
            0x11000,
        ]

    def test_the_lowest_above_an_address(self) -> None:
        room = Room(4 * MIB)

        assert room.find("module", MIB, first=MIB) == MIB
        assert room.find("module", 100, first=MIB) == 2 * MIB

    def test_across_the_hole_there_is_no_room(self) -> None:
        """What does not fit below 640 KiB goes above 1 MiB."""
        assert Room(4 * MIB).find("large", 600 * KIB) == MIB

    def test_the_highest_pages_are_found_last(self) -> None:
        """Below the end of RAM, or below where it has to be; never below 1 MiB."""
        room = Room(4 * MIB)

        assert room.find_last("initrd", 4097, below=1 << 32) == 4 * MIB - 8192
        assert room.find_last("initrd", 1, below=3 * MIB) == 3 * MIB - 4096
        assert room.find_last("initrd", 1, below=1 << 32) == 4 * MIB - 3 * 4096
        with pytest.raises(ConfigError, match="initrd: 1 bytes"):
            room.find_last("initrd", 1, below=MIB)
