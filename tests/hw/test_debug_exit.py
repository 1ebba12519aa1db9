"""The debug exit port hands on the guest's last value."""

from __future__ import annotations

import pytest

from bench import Bench
from emu.hw import debug_exit
from emu.hw.debug_exit import DebugExit, exit_code
from emu.isa import Slot


@pytest.fixture
def values() -> list[int]:
    return []


@pytest.fixture
def bench(values: list[int]) -> Bench[DebugExit]:
    def plug_in(slot: Slot) -> DebugExit:
        return debug_exit.attach(slot, values.append)

    return Bench(plug_in)


class TestPorts:
    @pytest.mark.parametrize("port", [0x501, 0x502, 0xF4, 0xF5, 0xF6, 0xF7])
    @pytest.mark.parametrize(("size", "value"), [(1, 0x9A), (2, 0x789A), (4, 0x1234_789A)])
    def test_a_write_of_any_size_ends_once_with_the_whole_value(
        self, bench: Bench[DebugExit], values: list[int], port: int, size: int, value: int
    ) -> None:
        """It does not fall apart into bytes, each of which would end the emulator."""
        bench.slot.ports.write(port, value, size)

        assert values == [value]

    @pytest.mark.parametrize("port", [0x501, 0x502, 0xF4, 0xF7])
    @pytest.mark.parametrize("size", [1, 2, 4])
    def test_reads_as_0(
        self, bench: Bench[DebugExit], values: list[int], port: int, size: int
    ) -> None:
        """And ends nothing."""
        assert bench.slot.ports.read(port, size) == 0
        assert values == []

    @pytest.mark.parametrize("port", [0x500, 0x503, 0xF3, 0xF8])
    def test_its_neighbours_are_nobodys(
        self, bench: Bench[DebugExit], values: list[int], port: int
    ) -> None:
        bench.outb(port, 0x31)

        assert values == []
        assert bench.inb(port) == 0xFF

    def test_there_is_nothing_to_save(self, bench: Bench[DebugExit]) -> None:
        """The card remembers nothing."""
        assert bench.slot.registry.save_sections() == {}


@pytest.mark.parametrize(
    ("value", "code"),
    [(0, 1), (1, 3), (0x10, 0x21), (0x31, 0x63), (0x7F, 0xFF), (0x80, 1), (0xFFFF_FFFF, 0xFF)],
)
def test_exit_code(value: int, code: int) -> None:
    """(value << 1) | 1, of which a host keeps 8 bits: never 0."""
    assert exit_code(value) == code
