"""Port CF9h resets, as the chipsets' data sheets say, and leaves PCI's register alone."""

from __future__ import annotations

import pytest

from bench import Bench
from emu import attrs
from emu.hw import reset_control
from emu.hw.reset_control import FULL_RST, PORT, RCPU, SRST, ResetControl
from emu.isa import Slot


@attrs.define
class Board:
    """What the register is soldered to."""

    resets: int = 0
    reset_is_wired: bool = False  # to the slot's RESET, as on a whole machine

    def plug_in(self, slot: Slot) -> ResetControl:
        def reset() -> None:
            self.resets += 1
            if self.reset_is_wired:
                slot.reset()

        return reset_control.attach(slot, reset)


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def bench(board: Board) -> Bench[ResetControl]:
    return Bench(board.plug_in)


def test_a_rise_of_RCPU_resets(bench: Bench[ResetControl], board: Board) -> None:
    """82371SB, RC: as RCPU goes from 0 to 1 the reset that SRST names begins."""
    bench.outb(PORT, SRST)
    assert board.resets == 0

    bench.outb(PORT, SRST | RCPU)
    assert board.resets == 1

    bench.outb(PORT, SRST | RCPU)
    assert board.resets == 1

    bench.outb(PORT, 0)
    bench.outb(PORT, RCPU)
    assert board.resets == 2


def test_it_reads_as_written(bench: Bench[ResetControl]) -> None:
    """Reserved bits read 0."""
    assert bench.inb(PORT) == 0
    bench.outb(PORT, 0xFF)
    assert bench.inb(PORT) == SRST | RCPU | FULL_RST
    bench.outb(PORT, SRST)
    assert bench.inb(PORT) == SRST


def test_RESET_clears_it(board: Board) -> None:
    """82371SB, RC: default 00h; so the next write of 06h resets again."""
    board.reset_is_wired = True
    bench = Bench(board.plug_in)
    for count in (1, 2):
        bench.outb(PORT, SRST | RCPU)
        assert board.resets == count
        assert bench.inb(PORT) == 0


def test_an_access_of_32_bits_at_CF8_is_PCI_s(bench: Bench[ResetControl], board: Board) -> None:
    """82371SB, "CONFADD": and there is no PCI here.  Bits 8-15 with RCPU set would be a reset."""
    ports = bench.slot.ports
    ports.write(0xCF8, 0x8000_FFFF, 4)

    assert board.resets == 0
    assert bench.inb(PORT) == 0
    assert ports.read(0xCF8, 4) == 0xFFFF_FFFF


@pytest.mark.parametrize("value", [0, SRST, RCPU, SRST | RCPU | FULL_RST])
def test_a_restore_is_no_edge(bench: Bench[ResetControl], board: Board, value: int) -> None:
    bench.outb(PORT, value)
    before = board.resets

    other = bench.migrate()
    assert board.resets == before
    assert other.inb(PORT) == value

    other.outb(PORT, value)
    assert board.resets == before


def test_the_stream(bench: Bench[ResetControl]) -> None:
    bench.outb(PORT, SRST)

    assert bench.slot.registry.save_sections() == {("emu/reset_control", 0): (1, b"\x02")}
