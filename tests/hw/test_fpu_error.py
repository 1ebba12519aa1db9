"""The latch between FERR# and IRQ 13, as the PIIX4's.

The card is driven only by FERR#, port F0h and RESET, and watched at IRQ 13 and IGNNE#.
"""

from __future__ import annotations

import pytest

from bench import Bench
from emu.errors import StreamError
from emu.hw import fpu_error
from emu.hw.fpu_error import PORT, FpuError
from emu.isa import Slot


class Processor:
    """What IGNNE# leads to."""

    def __init__(self) -> None:
        self.ignored = 0

    def ignore(self) -> None:
        self.ignored += 1

    def plug_in(self, slot: Slot) -> FpuError:
        return fpu_error.attach(slot, self.ignore)


@pytest.fixture
def processor() -> Processor:
    return Processor()


@pytest.fixture
def bench(processor: Processor) -> Bench[FpuError]:
    return Bench(processor.plug_in)


class TestTheLatch:
    def test_an_error_is_IRQ_13(self, bench: Bench[FpuError], processor: Processor) -> None:
        """PIIX4, FERR#: "used to generate an internal IRQ13"; IGNNE# is not yet low."""
        assert not bench.card.irq13.level

        bench.card.set_error()

        assert bench.card.irq13.level
        assert processor.ignored == 0

    @pytest.mark.parametrize("value", [0x00, 0xFF])
    def test_a_write_clears_it_and_pulls_IGNNE(
        self, bench: Bench[FpuError], processor: Processor, value: int
    ) -> None:
        """PIIX4, 4.2.7: writing to the register negates IRQ 13 and asserts IGNNE#."""
        bench.card.set_error()
        bench.outb(PORT, value)

        assert not bench.card.irq13.level
        assert processor.ignored == 1

    def test_it_can_be_set_again(self, bench: Bench[FpuError]) -> None:
        """Each falling edge of FERR# counts."""
        bench.card.set_error()
        bench.outb(PORT, 0)
        bench.card.set_error()

        assert bench.card.irq13.level

    def test_a_read_is_nobodys(self, bench: Bench[FpuError]) -> None:
        """4.2.7: the register is write-only."""
        bench.card.set_error()

        assert bench.inb(PORT) == 0xFF
        assert bench.card.irq13.level

    def test_RESET_clears_it(self, bench: Bench[FpuError]) -> None:
        bench.card.set_error()
        bench.slot.reset()

        assert not bench.card.irq13.level


class TestSavedAndRestored:
    def run(self, *, migrate_at: int | None = None) -> list[object]:
        processor = Processor()
        bench = Bench(processor.plug_in)
        seen: list[object] = []
        for moment, has_error in enumerate((True, False, True, True, False, False)):
            if moment == migrate_at:
                bench = bench.migrate()
            if has_error:
                bench.card.set_error()
            else:
                bench.outb(PORT, 0)
            seen.append((bench.card.irq13.level, processor.ignored))
        return seen

    @pytest.mark.parametrize("moment", range(6))
    def test_a_restore_at_any_moment_is_invisible(self, moment: int) -> None:
        """IRQ 13 has the level it had, and IGNNE# is pulled by nobody."""
        assert self.run(migrate_at=moment) == self.run()

    def test_the_stream_is_what_it_has_always_been(self, bench: Bench[FpuError]) -> None:
        """Version 1: one byte."""
        bench.card.set_error()

        assert bench.slot.registry.save_sections() == {("fpu_error", 0): (1, b"\x01")}

    def test_a_cut_stream_is_refused(self, bench: Bench[FpuError]) -> None:
        """And changes nothing."""
        bench.card.set_error()

        with pytest.raises(StreamError, match="latch"):
            bench.slot.registry.load_sections({("fpu_error", 0): (1, b"")})
        assert bench.card.irq13.level
