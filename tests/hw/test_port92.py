"""Port 92h opens A20 and resets, as the PS/2's does.

The card is driven only by its port and RESET, and watched at A20 and at the reset pulse.
"""

from __future__ import annotations

import pytest

from bench import Bench
from emu import attrs
from emu.errors import StreamError
from emu.hw import port92
from emu.hw.port92 import GATE_A20, HOT_RESET, PORT, Port92
from emu.irq import Line
from emu.isa import Slot


@attrs.define
class Board:
    """What the port is soldered to."""

    open_after_reset: bool = False
    resets: int = 0
    reset_is_wired: bool = False  # to the slot's RESET, as on a whole machine
    a20: list[bool] = attrs.field(factory=list)  # every level it was driven to

    def plug_in(self, slot: Slot) -> Port92:
        def reset() -> None:
            self.resets += 1
            if self.reset_is_wired:
                slot.reset()

        line = Line("A20")
        line.connect(self.a20.append)
        return port92.attach(slot, line, reset, open_after_reset=self.open_after_reset)


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def bench(board: Board) -> Bench[Port92]:
    return Bench(board.plug_in)


class TestGateA20:
    def test_bit_1_drives_A20(self, bench: Bench[Port92]) -> None:
        """System Control Port A, bit 1: alternate gate A20."""
        assert not bench.card.a20.level
        assert bench.inb(PORT) == 0

        bench.outb(PORT, GATE_A20)
        assert bench.card.a20.level

        bench.outb(PORT, 0)
        assert not bench.card.a20.level

    def test_RESET_closes_this_half_of_the_gate(self, bench: Bench[Port92]) -> None:
        """FDC37B72x: "upon reset, this signal is driven low"."""
        bench.outb(PORT, GATE_A20)
        bench.slot.reset()

        assert not bench.card.a20.level
        assert bench.inb(PORT) == 0

    def test_a_board_without_an_8042_has_it_open(self) -> None:
        """*open_after_reset*: bit 1 is set at power-on and by RESET."""
        bench = Bench(Board(open_after_reset=True).plug_in)
        assert bench.card.a20.level
        assert bench.inb(PORT) == GATE_A20

        bench.outb(PORT, 0)
        assert not bench.card.a20.level

        bench.slot.reset()
        assert bench.card.a20.level
        assert bench.inb(PORT) == GATE_A20


class TestHotReset:
    def test_a_rise_of_bit_0_resets(self, bench: Bench[Port92], board: Board) -> None:
        """Bit 0: alternate hot reset; it has to be written back to 0 before the next."""
        bench.outb(PORT, HOT_RESET)
        assert board.resets == 1
        assert bench.inb(PORT) == HOT_RESET, "POST can tell that there was one"

        bench.outb(PORT, HOT_RESET | GATE_A20)
        assert board.resets == 1

        bench.outb(PORT, 0)
        assert board.resets == 1

        bench.outb(PORT, HOT_RESET)
        assert board.resets == 2

    def test_on_a_machine_whose_RESET_it_pulses_the_bit_is_clear_afterwards(self) -> None:
        """Bit 0: "set to 0 by a system reset"; so the next write resets again."""
        board = Board(reset_is_wired=True)
        bench = Bench(board.plug_in)

        bench.outb(PORT, HOT_RESET | GATE_A20)
        assert bench.inb(PORT) == 0
        assert not bench.card.a20.level

        bench.outb(PORT, HOT_RESET)
        assert board.resets == 2

    def test_RESET_itself_is_no_hot_reset(self, bench: Bench[Port92], board: Board) -> None:
        """It only clears the latch."""
        bench.outb(PORT, HOT_RESET)
        bench.slot.reset()

        assert board.resets == 1
        assert bench.inb(PORT) == 0


class TestOtherBits:
    @pytest.mark.parametrize("value", [0x04, 0x08, 0x10, 0x20, 0xC0, 0xFC])
    def test_read_as_written_and_survive_RESET(self, bench: Bench[Port92], value: int) -> None:
        """Light, lock and reserved bits: nothing hangs on them."""
        bench.outb(PORT, value)
        assert bench.inb(PORT) == value

        bench.slot.reset()
        assert bench.inb(PORT) == value


class TestSavedAndRestored:
    WRITES = (0x02, 0x03, 0x01, 0x00, 0x01, 0x42, 0x43)

    def run(self, *, migrate_at: int | None = None) -> list[object]:
        board = Board()
        bench = Bench(board.plug_in)
        seen: list[object] = []
        for moment, value in enumerate(self.WRITES):
            if moment == migrate_at:
                bench = bench.migrate()
            bench.outb(PORT, value)
            seen.append((bench.inb(PORT), bench.card.a20.level, board.resets))
        return seen

    @pytest.mark.parametrize("moment", range(len(WRITES)))
    def test_a_restore_at_any_moment_is_invisible(self, moment: int) -> None:
        """Neither the gate nor an edge of bit 0 is lost or made."""
        assert self.run(migrate_at=moment) == self.run()

    def test_a_restore_drives_A20_and_resets_nobody(self) -> None:
        """Outputs follow the state; the pulse is none of them."""
        board = Board()
        bench = Bench(board.plug_in)
        bench.outb(PORT, HOT_RESET | GATE_A20)
        board.a20.clear()

        bench.migrate()

        assert board.a20[-1]
        assert board.resets == 1

    def test_the_stream_is_what_it_has_always_been(self, bench: Bench[Port92]) -> None:
        """QEMU's version 1: one byte."""
        bench.outb(PORT, 0xA3)

        assert bench.slot.registry.save_sections() == {("port92", 0): (1, b"\xa3")}

    def test_a_cut_stream_is_refused(self, bench: Bench[Port92]) -> None:
        """And changes nothing."""
        bench.outb(PORT, GATE_A20)

        with pytest.raises(StreamError, match="outport"):
            bench.slot.registry.load_sections({("port92", 0): (1, b"")})
        assert bench.inb(PORT) == GATE_A20
