"""Port 61h does what the PC/AT's technical reference says.

Beside it on the bench is the 8254 whose counter 2 it gates and hears, as on the board.
"""

from __future__ import annotations

import functools

import pytest

from bench import Bench
from emu.errors import StreamError
from emu.hw import i8254, port61
from emu.irq import Line
from emu.isa import Slot
from emu.savevm.loading import Loading
from emu.savevm.sections import Dialect
from emu.savevm.stream import from_bytes

PORT = 0x61
GATE, SPEAKER, CHECKS, REFRESH, OUT = 0x01, 0x02, 0x0C, 0x10, 0x20
REFRESH_NS = 15_085
CLK_NS = 839

Port = Bench[port61.Port61]


def plug_in(slot: Slot, *, timer_first: bool = True) -> port61.Port61:
    """An 8254 and the port; after a load either of them may be the first to settle."""
    gate2 = Line("GATE 2")
    timer = i8254.attach(slot, [None] * 3)
    gate2.connect(functools.partial(timer.set_gate, 2))
    port = port61.attach(slot, gate2, lambda: timer.gate(2), lambda: timer.out(2))
    if not timer_first:
        slot.registry.cards.reverse()
    return port


@pytest.fixture
def bench() -> Port:
    return Bench(plug_in)


def count(bench: Port, mode: int, value: int) -> None:
    """Start counter 2."""
    bench.outb(0x43, 0xB0 | mode << 1)
    bench.outb(0x42, value & 0xFF)
    bench.outb(0x42, value >> 8)


def counter(bench: Port) -> int:
    bench.outb(0x43, 0x80)
    return bench.inb(0x42) | bench.inb(0x42) << 8


class TestBits:
    @pytest.mark.parametrize("value", range(16))
    def test_bits_0_to_3_read_as_written(self, bench: Port, value: int) -> None:
        """Each on and off again."""
        bench.outb(PORT, value)
        assert bench.inb(PORT) & 0x0F == value

        bench.outb(PORT, value ^ 0x0F)
        assert bench.inb(PORT) & 0x0F == value ^ 0x0F

    @pytest.mark.parametrize("value", [0x00, 0xF0, 0xFF])
    def test_bits_4_to_7_are_not_written(self, bench: Port, value: int) -> None:
        """Refresh and OUT 2 are inputs; no error is ever seen."""
        bench.outb(PORT, value)

        assert bench.inb(PORT) & 0xF0 == OUT

    def test_all_that_is_written_is_0_at_power_on(self, bench: Port) -> None:
        assert bench.inb(PORT) & 0x0F == 0


class TestRefreshDetect:
    def test_it_toggles_every_15_085_ns(self, bench: Port) -> None:
        """A function of time: not of how often it is read."""
        seen = []
        for _ in range(8):
            seen.append(bool(bench.inb(PORT) & REFRESH))
            assert bool(bench.inb(PORT) & REFRESH) == seen[-1]
            bench.wait(REFRESH_NS)

        assert seen == [False, True] * 4

    def test_it_toggles_at_that_instant_and_not_before(self, bench: Port) -> None:
        bench.wait(REFRESH_NS - 1)
        assert not bench.inb(PORT) & REFRESH

        bench.wait(1)
        assert bench.inb(PORT) & REFRESH

    def test_it_is_about_18_pulses_of_the_timer(self) -> None:
        """The count that firmware gives counter 1 for it."""
        assert i8254.pulses_in(REFRESH_NS + 1) == 18


class TestCounter2:
    def test_bit_0_is_its_GATE(self, bench: Port) -> None:
        """It counts while the bit is 1."""
        bench.outb(PORT, GATE)
        count(bench, 0, 100)
        bench.wait(11 * CLK_NS)
        assert counter(bench) == 90

        bench.outb(PORT, 0)
        bench.wait(50 * CLK_NS)
        assert counter(bench) == 90

        bench.outb(PORT, GATE)
        bench.wait(10 * CLK_NS)
        assert counter(bench) == 80

    def test_bit_5_is_its_OUT(self, bench: Port) -> None:
        """As a guest waits for the end of a delay."""
        bench.outb(PORT, GATE)
        count(bench, 0, 10)
        assert not bench.inb(PORT) & OUT

        bench.wait(10 * CLK_NS)
        assert not bench.inb(PORT) & OUT

        bench.wait(CLK_NS)
        assert bench.inb(PORT) & OUT

    def test_other_bits_leave_GATE_alone(self, bench: Port) -> None:
        """No edge: a one-shot is not started again."""
        count(bench, 1, 100)
        bench.outb(PORT, GATE)
        bench.wait(11 * CLK_NS)
        bench.outb(PORT, GATE | SPEAKER | CHECKS)
        bench.wait(10 * CLK_NS)

        assert counter(bench) == 80


class TestReset:
    def test_it_clears_what_was_written(self, bench: Port) -> None:
        """GATE 2 falls, and the counter stands still."""
        bench.outb(PORT, 0x0F)
        count(bench, 0, 100)
        bench.wait(11 * CLK_NS)

        bench.slot.reset()
        bench.wait(100 * CLK_NS)
        assert bench.inb(PORT) & 0x0F == 0
        assert counter(bench) == 90


class TestSavedAndRestored:
    def run(self, *, restore_at: int | None = None, timer_first: bool = True) -> list[int]:
        """A one-shot, a delay, a tone, by bits 0 and 1; moved to another machine once."""
        bench = Bench(functools.partial(plug_in, timer_first=timer_first))
        seen = []
        for step in range(24):
            if step == restore_at:
                bench = bench.migrate()
            if step % 8 == 0:
                count(bench, step // 8, 9)
            bench.outb(PORT, (step * 5 ^ step >> 2) & 0x0F)
            bench.wait(2_345)
            seen += [bench.inb(PORT), counter(bench)]
        return seen

    @pytest.mark.parametrize("moment", range(24))
    def test_a_restore_at_any_moment_is_invisible(self, moment: int) -> None:
        """A restored port cannot be told from one that never stopped."""
        assert self.run(restore_at=moment) == self.run()

    @pytest.mark.parametrize("moment", [3, 10, 17])
    def test_whichever_of_port_and_timer_settles_first(self, moment: int) -> None:
        """The level of GATE 2 is the timer's to keep."""
        assert self.run(restore_at=moment, timer_first=False) == self.run()

    @pytest.mark.parametrize("gate", [0, GATE])
    def test_a_load_drives_GATE_2_to_the_level_it_has(self, gate: int) -> None:
        """Settling the port is no edge for the timer, and the wire is right."""
        bench = Bench(plug_in)
        bench.outb(PORT, gate)
        other = bench.migrate()

        assert other.card.gate2.level == bool(gate)
        assert other.slot.registry.save_sections() == bench.slot.registry.save_sections()

    def test_the_stream_is_what_it_has_always_been(self, bench: Port) -> None:
        """Byte for byte, so that last year's saves still load."""
        bench.outb(PORT, SPEAKER | CHECKS | GATE)

        sections = bench.slot.registry.save_sections()
        assert sections["pcspk", 0] == (1, b"\1\0")
        assert sections["emu/port61", 0] == (1, b"\3")

    @pytest.mark.parametrize("data", [b"\1\0", b"\1\1"])
    def test_a_stream_of_QEMUs(self, bench: Port, data: bytes) -> None:
        """It has the speaker's bit, and a refresh that follows reads: which is dropped."""
        bench.outb(PORT, CHECKS)
        loading = Loading(bench.slot.registry, Dialect.QEMU_7_2)
        timer = bench.slot.registry.save_sections()["i8254", 0][1]
        for idstr, version, section in [("pcspk", 1, data), ("i8254", 3, timer)]:
            loading.read(from_bytes(section), (idstr, 0), version)
        loading.check_complete()
        loading.commit()

        assert bench.inb(PORT) == SPEAKER | OUT

    @pytest.mark.parametrize(
        ("idstr", "data", "problem"),
        [("pcspk", b"\2\0", "not a truth value"), ("emu/port61", b"\4", "does not fit in 2 bits")],
    )
    def test_a_hostile_stream_is_refused(
        self, bench: Port, idstr: str, data: bytes, problem: str
    ) -> None:
        sections = bench.slot.registry.save_sections() | {(idstr, 0): (1, data)}

        with pytest.raises(StreamError, match=problem):
            bench.slot.registry.load_sections(sections)
        assert bench.inb(PORT) & 0x0F == 0
