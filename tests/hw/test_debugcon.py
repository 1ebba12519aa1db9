"""The debug console prints, and shows that it is there."""

from __future__ import annotations

import pytest

from bench import Bench
from emu.hw import debugcon
from emu.hw.debugcon import DebugConsole
from emu.isa import Slot


@pytest.fixture
def printed() -> list[int]:
    return []


@pytest.fixture
def bench(printed: list[int]) -> Bench[DebugConsole]:
    def plug_in(slot: Slot) -> DebugConsole:
        return debugcon.attach(slot, printed.append)

    return Bench(plug_in)


@pytest.mark.parametrize("port", [0x402, 0xE9])
class TestDebugConsole:
    def test_prints_what_is_written(
        self, bench: Bench[DebugConsole], printed: list[int], port: int
    ) -> None:
        """Each byte as it is, 0 and FFh too."""
        for byte in b"SeaBIOS\n\x00\xff":
            bench.outb(port, byte)

        assert bytes(printed) == b"SeaBIOS\n\x00\xff"

    def test_reads_E9h(self, bench: Bench[DebugConsole], port: int) -> None:
        """How a program tells that somebody listens; writing does not change it."""
        assert bench.inb(port) == 0xE9

        bench.outb(port, 0x41)
        assert bench.inb(port) == 0xE9

    def test_a_word_is_two_accesses(
        self, bench: Bench[DebugConsole], printed: list[int], port: int
    ) -> None:
        """The port is 8 bits wide, and the one above it is nobody's."""
        bench.slot.ports.write(port, 0x4241, 2)

        assert printed == [0x41]
        assert bench.slot.ports.read(port, 2) == 0xFFE9


def test_there_is_nothing_to_save(bench: Bench[DebugConsole]) -> None:
    """The card remembers nothing."""
    bench.outb(0xE9, 0x41)

    assert bench.slot.registry.save_sections() == {}
