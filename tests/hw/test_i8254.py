"""The 8254 does what its data sheet says.

Each test is one sentence of it: Intel 231164, whose section titles the docstrings quote.  The
chip is driven by its ports, its GATEs and time, and watched by its ports and its OUTs.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import re
import struct
from collections.abc import Callable, Iterator

import pytest

from bench import Bench
from emu import attrs
from emu.clock import NEVER
from emu.errors import StreamError
from emu.hw import i8254
from emu.hw.i8254 import I8254, PIT_HZ, QEMU, State, attach, ns_of, pulses_in
from emu.irq import Line
from emu.isa import Slot
from emu.savevm import vmstate
from emu.savevm.loading import Loading
from emu.savevm.sections import Dialect
from emu.savevm.stream import from_bytes

CONTROL = 0x43
LSB, MSB, WORD = 1, 2, 3
HALF_CLK_NS = 419

MODES = range(6)
PERIODIC = (2, 3)
TRIGGERED = (1, 5)
BY_GATE = (1, 2, 3, 5)


@attrs.define(eq=False)
class Wires:
    """What listens at the OUTs: it keeps the last level of each, as an interrupt controller does.

    It hears nothing of power-on, when the levels are not yet known.
    """

    now_ns: Callable[[], int] = lambda: 0
    levels: list[bool] = attrs.field(factory=lambda: [True] * 3)
    edges: list[tuple[int, int, bool]] = attrs.field(factory=list)

    def hear(self, number: int, high: bool) -> None:  # noqa: FBT001 - as a line calls it
        if high != self.levels[number]:
            self.levels[number] = high
            self.edges.append((self.now_ns(), number, high))


@attrs.define(eq=False)
class Pit:
    """An 8254 on a bench whose time goes by CLK pulses, and stands between two of them."""

    wires: Wires = attrs.field(factory=Wires)
    lines: tuple[int, ...] = (0,)
    bench: Bench[I8254] = attrs.field(init=False)
    clks: int = 0

    def __attrs_post_init__(self) -> None:
        self.bench = Bench(self.plug_in)
        self.wires.now_ns = lambda: self.bench.slot.clock.now_ns
        self.bench.wait(HALF_CLK_NS)

    def plug_in(self, slot: Slot) -> I8254:
        outs = [Line(f"OUT {each}") if each in self.lines else None for each in range(3)]
        chip = attach(slot, outs)
        for number, line in enumerate(outs):
            if line is not None:
                line.connect(functools.partial(self.wires.hear, number))
        return chip

    def clk(self, pulses: int = 1) -> None:
        """Let so many CLK pulses pass."""
        self.clks += pulses
        self.bench.slot.clock.advance_to(ns_of(self.clks) + HALF_CLK_NS)

    def control(self, word: int) -> None:
        self.bench.outb(CONTROL, word)

    def program(self, number: int, mode: int, access: int = WORD, *, bcd: bool = False) -> None:
        self.control(number << 6 | access << 4 | mode << 1 | bcd)

    def put(self, number: int, value: int) -> None:
        """Write one byte to a counter."""
        self.bench.outb(0x40 + number, value)

    def count(self, number: int, value: int) -> None:
        """Write a count, low byte first."""
        self.put(number, value & 0xFF)
        self.put(number, value >> 8 & 0xFF)

    def start(self, number: int, mode: int, value: int, *, bcd: bool = False) -> None:
        """Program a counter and start it, in modes 1 and 5 by GATE; the next CLK loads it."""
        self.gate(number, high=True)
        self.program(number, mode, bcd=bcd)
        self.count(number, value)
        if mode in TRIGGERED:
            self.trigger(number)

    def get(self, number: int) -> int:
        """Read one byte."""
        return self.bench.inb(0x40 + number)

    def word(self, number: int) -> int:
        return self.get(number) | self.get(number) << 8

    def latch(self, number: int) -> None:
        self.control(number << 6)

    def latched(self, number: int) -> int:
        self.latch(number)
        return self.word(number)

    def status(self, number: int) -> int:
        self.control(0b1110_0000 | 2 << number)
        return self.get(number)

    def null_count(self, number: int) -> bool:
        return bool(self.status(number) & 0x40)

    def gate(self, number: int, *, high: bool) -> None:
        self.bench.card.set_gate(number, high)

    def trigger(self, number: int) -> None:
        self.gate(number, high=False)
        self.gate(number, high=True)

    def out(self, number: int) -> bool:
        return self.bench.card.out(number)

    def outs(self, number: int, clks: int) -> str:
        """OUT after each of so many CLK pulses: _ low, ~ high."""
        seen = ""
        for _ in range(clks):
            self.clk()
            seen += "~" if self.out(number) else "_"
        return seen

    def counts(self, number: int, clks: int) -> list[int]:
        """CE after each of so many CLK pulses."""
        seen = []
        for _ in range(clks):
            self.clk()
            seen.append(self.latched(number))
        return seen

    def migrate(self) -> None:
        """Go on with the same chip in another machine."""
        self.bench = self.bench.migrate()


@pytest.fixture
def pit() -> Pit:
    return Pit()


# ==== the modes ===========================================================================


def drawings() -> Iterator[tuple[int, int, list[str], str]]:
    """The waveforms of the module's docstring: mode, count, what CE holds, OUT by CLK period."""
    assert i8254.__doc__
    for mode, count, cells, out in re.findall(
        r"mode (\d), count (\d): .*\n\s+CE (.*)\n\s+OUT  ([_~]+)\n", i8254.__doc__
    ):
        yield int(mode), int(count), cells.split(), out[::5]


DRAWINGS = list(drawings())


class TestModeDefinitions:
    @pytest.mark.parametrize(("mode", "count", "cells", "out"), DRAWINGS)
    def test_OUT_and_CE_go_as_they_are_drawn(
        self, pit: Pit, mode: int, count: int, cells: list[str], out: str
    ) -> None:
        """Figures 15 to 20."""
        other = Pit()
        for each in (pit, other):
            each.start(2, mode, count)

        assert ("~" if pit.out(2) else "_") == out[0]
        assert pit.outs(2, len(out) - 1) == out[1:]
        assert other.counts(2, len(out) - 1) == [int(cell, 16) for cell in cells[1:]]

    def test_all_modes_are_drawn(self) -> None:
        assert sorted({mode for mode, *_ in DRAWINGS}) == list(MODES)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9, 0x0100, 0xFFFF, 0])
    def test_an_edge_comes_at_its_pulse_not_before(self, mode: int, count: int) -> None:
        """OUT 0's line has the edges of the formulas: N + 1 pulses, N pulses, (N + 1) / 2."""
        n = count or 0x1_0000
        half = (n + 1) // 2
        expected = {
            0: [(0, False), (n + 1, True)],
            1: [(1, False), (n + 1, True)],
            2: [(n, False), (n + 1, True), (2 * n, False), (2 * n + 1, True)],
            3: [(half + 1, False), (n + 1, True), (n + half + 1, False), (2 * n + 1, True)],
            4: [(n + 1, False), (n + 2, True)],
            5: [(n + 1, False), (n + 2, True)],
        }[mode]
        pit = Pit()
        pit.start(0, mode, count)
        pit.clk(2 * n + 1)

        edges = [(pulses_in(at_ns), high) for at_ns, _, high in pit.wires.edges]
        assert edges == expected

    @pytest.mark.parametrize(("number", "same_as"), [(6, 2), (7, 3)])
    def test_modes_6_and_7_are_2_and_3(self, number: int, same_as: int) -> None:
        """'Control Word Format': M2 is 'X' for modes 2 and 3."""
        pit, other = Pit(), Pit()
        pit.start(0, number, 5)
        other.start(0, same_as, 5)

        assert pit.outs(0, 20) == other.outs(0, 20)
        assert pit.counts(0, 20) == other.counts(0, 20)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("high", [False, True])
    def test_a_control_word_sets_OUT_at_once(self, pit: Pit, mode: int, *, high: bool) -> None:
        """'OUT goes to a known initial state; no CLK pulses are required for this': low in
        mode 0, high in the others.
        """
        pit.start(0, 3, 10)
        pit.clk(1 if high else 6)
        assert pit.out(0) == high

        pit.program(0, mode)

        assert pit.out(0) == (mode != 0)
        assert pit.outs(0, 50) == ("~" if mode else "_") * 50

    def test_mode_0_OUT_stays_high_until_a_new_count_or_control_word(self, pit: Pit) -> None:
        """'Mode 0'."""
        pit.start(0, 0, 3)
        pit.clk(100_000)
        assert pit.out(0)

        pit.program(0, 0)

        assert not pit.out(0)

    @pytest.mark.parametrize("mode", [0, 1, 4, 5])
    def test_it_does_not_stop_at_zero(self, pit: Pit, mode: int) -> None:
        """'the Counter 'wraps around' to the highest count, either FFFF hex or 9999 BCD'."""
        pit.start(2, mode, 1)

        assert pit.counts(2, 4) == [1, 0, 0xFFFF, 0xFFFE]

    @pytest.mark.parametrize("mode", [4, 5])
    def test_there_is_one_strobe_however_often_it_wraps_around(self, pit: Pit, mode: int) -> None:
        """'When the initial count expires, OUT will go low for one CLK pulse'."""
        pit.start(0, mode, 2)
        pit.clk(3 * 65_536)

        assert [high for _, _, high in pit.wires.edges] == [False, True]

    @pytest.mark.parametrize("mode", PERIODIC)
    def test_a_count_of_1_is_harmless(self, pit: Pit, mode: int) -> None:
        """'a COUNT of 1 is illegal': here OUT stays high."""
        pit.start(0, mode, 1)

        assert pit.outs(0, 5) == "~~~~~"
        assert pit.bench.slot.clock.next_ns == NEVER

    def test_a_count_of_1_ends_at_once_when_another_follows(self, pit: Pit) -> None:
        pit.start(0, 2, 1)
        pit.clk(3)
        pit.count(0, 2)

        assert pit.outs(0, 5) == "~_~_~"


class TestGate:
    """'Gate Pin Operations Summary', figure 21, and what is said of GATE in each mode."""

    @pytest.mark.parametrize("mode", [0, 4])
    def test_in_modes_0_and_4_it_pauses_the_count(self, pit: Pit, mode: int) -> None:
        """'GATE = 1 enables counting; GATE = 0 disables counting'."""
        pit.start(2, mode, 10)
        pit.clk(3)
        pit.gate(2, high=False)
        assert pit.counts(2, 3) == [8, 8, 8]

        pit.gate(2, high=True)
        assert pit.counts(2, 3) == [7, 6, 5]

        pit.gate(2, high=False)
        pit.clk(1000)
        pit.gate(2, high=True)
        assert pit.counts(2, 6) == [4, 3, 2, 1, 0, 0xFFFF]

    @pytest.mark.parametrize(("mode", "seen"), [(0, "____ _____ _~~~"), (4, "~~~~ ~~~~~ ~_~~")])
    def test_pauses_put_off_the_end(self, pit: Pit, mode: int, seen: str) -> None:
        """Three of five pulses counted, five missed, two more to come."""
        pit.start(2, mode, 5)
        before = pit.outs(2, 4)
        pit.gate(2, high=False)
        meanwhile = pit.outs(2, 5)
        pit.gate(2, high=True)

        assert f"{before} {meanwhile} {pit.outs(2, 4)}" == seen

    def test_in_mode_0_an_OUT_that_is_high_stays_so(self, pit: Pit) -> None:
        """'GATE has no effect on OUT'."""
        pit.start(2, 0, 2)
        pit.clk(10)
        pit.gate(2, high=False)
        assert pit.outs(2, 3) == "~~~"

        pit.gate(2, high=True)
        assert pit.outs(2, 3) == "~~~"

    def test_in_mode_0_a_count_is_loaded_though_GATE_is_low(self, pit: Pit) -> None:
        """'When GATE goes high, OUT will go high N CLK pulses later; no CLK pulse is needed
        to load the Counter as this has already been done.'
        """
        pit.gate(2, high=False)
        pit.program(2, 0)
        pit.count(2, 3)
        assert pit.counts(2, 3) == [3, 3, 3]

        pit.gate(2, high=True)
        assert pit.outs(2, 4) == "__~~"

    def test_in_mode_4_it_does_not_cut_the_strobe(self, pit: Pit) -> None:
        """'GATE has no effect on OUT': low for one CLK pulse, and once."""
        pit.start(2, 4, 2)
        pit.clk(3)
        pit.gate(2, high=False)
        assert not pit.out(2)
        assert pit.outs(2, 3) == "~~~"

        pit.gate(2, high=True)
        assert pit.out(2)
        assert pit.outs(2, 3) == "~~~"

    def test_in_mode_4_a_strobe_may_see_GATE_fall_and_rise(self, pit: Pit) -> None:
        pit.start(2, 4, 2)
        pit.clk(3)
        pit.gate(2, high=False)
        pit.gate(2, high=True)

        assert not pit.out(2)
        assert pit.counts(2, 2) == [0xFFFF, 0xFFFE]
        assert pit.out(2)

    def test_the_line_of_a_strobe_rises_though_GATE_is_low(self) -> None:
        """The same, as an edge."""
        pit = Pit(lines=(2,))
        pit.start(2, 4, 2)
        pit.clk(3)
        pit.gate(2, high=False)
        pit.clk(10)

        assert [(pulses_in(at_ns), high) for at_ns, _, high in pit.wires.edges] == [
            (3, False),
            (4, True),
        ]

    @pytest.mark.parametrize("mode", PERIODIC)
    def test_in_modes_2_and_3_it_sets_OUT_high_at_once(self, pit: Pit, mode: int) -> None:
        """'If GATE goes low during an output pulse, OUT is set high immediately'."""
        pit.start(2, mode, 4)
        pit.clk(4)
        assert not pit.out(2)

        pit.gate(2, high=False)

        assert pit.out(2)
        assert pit.outs(2, 10) == "~" * 10

    @pytest.mark.parametrize(("mode", "counts"), [(2, [7, 7, 9, 8]), (3, [4, 4, 8, 6])])
    def test_in_modes_2_and_3_it_stops_and_its_rise_reloads(
        self, pit: Pit, mode: int, counts: list[int]
    ) -> None:
        """'A trigger reloads the Counter with the initial count on the next CLK pulse'."""
        pit.start(2, mode, 9)
        pit.clk(3)
        pit.gate(2, high=False)
        seen = pit.counts(2, 2)
        pit.gate(2, high=True)

        assert seen + pit.counts(2, 2) == counts

    @pytest.mark.parametrize(("mode", "seen"), [(2, "~~~_~~~_"), (3, "~~__~~__")])
    def test_in_modes_2_and_3_it_synchronizes(self, pit: Pit, mode: int, seen: str) -> None:
        """'OUT goes low N CLK pulses after the trigger'; in mode 3 half of that."""
        pit.start(2, mode, 4)
        pit.clk(7)
        pit.trigger(2)

        assert pit.outs(2, 8) == seen

    @pytest.mark.parametrize("mode", PERIODIC)
    def test_a_trigger_is_detected_though_GATE_falls_again(self, pit: Pit, mode: int) -> None:
        """'a trigger will be detected no matter when it occurs': CE is loaded, and waits."""
        pit.start(2, mode, 8)
        pit.clk(3)
        pit.gate(2, high=False)
        pit.trigger(2)
        pit.gate(2, high=False)

        assert pit.counts(2, 3) == [8, 8, 8]

    @pytest.mark.parametrize("mode", PERIODIC)
    def test_a_first_count_is_loaded_though_GATE_is_low(self, pit: Pit, mode: int) -> None:
        """'After writing a Control Word and initial count, the Counter will be loaded on the
        next CLK pulse.'
        """
        pit.gate(2, high=False)
        pit.program(2, mode)
        pit.count(2, 8)
        assert pit.counts(2, 3) == [8, 8, 8]

        pit.gate(2, high=True)
        assert pit.counts(2, 2) == [8, 6 if mode == 3 else 7]

    @pytest.mark.parametrize("mode", PERIODIC)
    def test_GATE_may_fall_before_the_first_count_is_loaded(self, pit: Pit, mode: int) -> None:
        pit.start(2, mode, 8)
        pit.gate(2, high=False)

        assert pit.counts(2, 3) == [8, 8, 8]

    @pytest.mark.parametrize("mode", TRIGGERED)
    def test_in_modes_1_and_5_nothing_happens_without_a_trigger(self, pit: Pit, mode: int) -> None:
        """'After writing the Control Word and initial count, the Counter is armed'."""
        pit.gate(2, high=True)
        pit.program(2, mode)
        pit.count(2, 3)

        assert pit.outs(2, 10) == "~" * 10
        assert pit.null_count(2)

    @pytest.mark.parametrize(("mode", "seen"), [(1, "___~~"), (5, "~~~_~")])
    def test_in_modes_1_and_5_the_level_of_GATE_does_not_matter(
        self, pit: Pit, mode: int, seen: str
    ) -> None:
        """'GATE has no effect on OUT'."""
        pit.start(2, mode, 3)
        pit.gate(2, high=False)

        assert pit.outs(2, 5) == seen

    @pytest.mark.parametrize(("mode", "seen"), [(1, "_____~"), (5, "~~~~~_")])
    def test_in_modes_1_and_5_a_trigger_starts_again(self, pit: Pit, mode: int, seen: str) -> None:
        """'retriggerable': OUT stays low, or is not strobed, N pulses from the last one."""
        pit.start(2, mode, 3)
        first = pit.outs(2, 2)
        pit.trigger(2)

        assert first + pit.outs(2, 4) == seen

    @pytest.mark.parametrize("mode", BY_GATE)
    def test_a_trigger_before_the_first_count_is_none(self, pit: Pit, mode: int) -> None:
        """A counter that has been programmed has nothing to load."""
        pit.gate(2, high=True)
        pit.program(2, mode)
        pit.trigger(2)

        assert pit.outs(2, 5) == "~~~~~"
        assert pit.null_count(2)

    @pytest.mark.parametrize("mode", MODES)
    def test_the_same_level_again_is_no_edge(self, pit: Pit, mode: int) -> None:
        pit.start(2, mode, 9)
        pit.clk(3)
        before = pit.latched(2)
        pit.gate(2, high=True)

        assert pit.counts(2, 1) == [before - (2 if mode == 3 else 1)]

    @pytest.mark.parametrize("mode", [0, 4])
    def test_GATE_rises_before_a_count_is_there(self, pit: Pit, mode: int) -> None:
        pit.program(2, mode)
        pit.gate(2, high=True)
        pit.clk(5)
        pit.count(2, 2)

        assert pit.outs(2, 4) == {0: "__~~", 4: "~~_~"}[mode]

    def test_they_are_high_high_and_low_at_power_on(self, pit: Pit) -> None:
        """The board ties GATE 0 and 1 high; port 61h is 0."""
        assert [pit.bench.card.gate(number) for number in range(3)] == [True, True, False]


class TestNewCounts:
    """A count that is written while another is being counted."""

    def test_mode_0_goes_on_from_the_new_one(self, pit: Pit) -> None:
        """'it will be loaded on the next CLK pulse and counting will continue from the new
        count': OUT goes high N + 1 pulses after that.
        """
        pit.start(0, 0, 5)
        pit.clk(3)
        pit.count(0, 3)

        assert pit.outs(0, 5) == "___~~"

    def test_mode_0_stops_at_the_first_byte_of_two(self, pit: Pit) -> None:
        """'Writing the first byte disables counting. OUT is set low immediately'."""
        pit.start(0, 0, 5)
        pit.clk(3)
        pit.put(0, 2)
        assert pit.outs(0, 10) == "_" * 10
        assert not pit.null_count(0)

        pit.put(0, 0)
        assert pit.outs(0, 4) == "__~~"

    def test_mode_0_OUT_goes_low_at_the_first_byte(self, pit: Pit) -> None:
        """'(no clock pulse required)'."""
        pit.start(0, 0, 2)
        pit.clk(5)
        assert pit.out(0)

        pit.put(0, 2)

        assert not pit.out(0)
        assert not pit.wires.levels[0]

    def test_mode_0_OUT_goes_low_at_a_count_of_one_byte(self, pit: Pit) -> None:
        """'remains high until a new count or a new Mode 0 Control Word is written'."""
        pit.program(0, 0, LSB)
        pit.put(0, 2)
        pit.clk(5)
        assert pit.out(0)

        pit.put(0, 2)

        assert not pit.out(0)
        assert pit.outs(0, 4) == "__~~"

    def test_mode_0_a_first_byte_takes_back_a_count_not_yet_loaded(self, pit: Pit) -> None:
        pit.start(0, 0, 2)
        pit.put(0, 5)
        assert pit.outs(0, 10) == "_" * 10

        pit.put(0, 0)
        assert pit.outs(0, 7) == "_____~~"

    def test_mode_1_finishes_the_pulse_and_takes_it_with_the_next(self, pit: Pit) -> None:
        """'the current one-shot is not affected unless the Counter is retriggered'."""
        pit.start(2, 1, 3)
        pit.clk(1)
        pit.count(2, 2)
        assert pit.outs(2, 5) == "__~~~"
        assert pit.null_count(2)

        pit.trigger(2)
        assert pit.outs(2, 4) == "__~~"
        assert not pit.null_count(2)

    def test_mode_2_takes_it_at_the_end_of_the_cycle(self, pit: Pit) -> None:
        """'Otherwise, the new count will be loaded at the end of the current counting cycle.'"""
        pit.start(0, 2, 5)
        pit.clk(2)
        pit.count(0, 3)
        assert pit.counts(0, 8) == [3, 2, 1, 3, 2, 1, 3, 2]

    def test_mode_2_takes_it_with_a_trigger(self, pit: Pit) -> None:
        """'If a trigger is received after writing a new count but before the end of the
        current period, the Counter will be loaded with the new count on the next CLK pulse'.
        """
        pit.start(2, 2, 9)
        pit.clk(2)
        pit.count(2, 3)
        pit.trigger(2)

        assert pit.counts(2, 4) == [3, 2, 1, 3]

    def test_mode_3_takes_it_at_the_end_of_the_half_cycle(self, pit: Pit) -> None:
        """'Otherwise, the new count will be loaded at the end of the current half-cycle.'"""
        pit.start(0, 3, 8)
        assert pit.outs(0, 2) == "~~"
        pit.count(0, 4)
        assert pit.outs(0, 10) == "~~__~~__~~"

    def test_mode_3_in_the_low_half_too(self, pit: Pit) -> None:
        """The same; an odd count: high for one pulse more."""
        pit.start(0, 3, 8)
        assert pit.outs(0, 6) == "~~~~__"
        pit.count(0, 3)
        assert pit.counts(0, 6) == [4, 2, 2, 0, 2, 2]

    def test_mode_3_takes_it_with_a_trigger(self, pit: Pit) -> None:
        """'If a trigger is received [...] before the end of the current half-cycle'."""
        pit.start(2, 3, 20)
        pit.clk(2)
        pit.count(2, 4)
        pit.trigger(2)

        assert pit.outs(2, 6) == "~~__~~"

    def test_mode_4_takes_it_at_the_next_CLK(self, pit: Pit) -> None:
        """'allows the sequence to be 'retriggered' by software'."""
        pit.start(0, 4, 5)
        assert pit.outs(0, 3) == "~~~"
        pit.count(0, 2)
        assert pit.outs(0, 5) == "~~_~~"

    def test_mode_4_counts_on_at_the_first_byte_of_two(self, pit: Pit) -> None:
        """'Writing the first byte has no effect on counting.'"""
        pit.start(0, 4, 5)
        pit.clk(3)
        pit.put(0, 9)

        assert pit.counts(0, 4) == [2, 1, 0, 0xFFFF]

    def test_mode_5_takes_it_with_the_next_trigger(self, pit: Pit) -> None:
        """'the current counting sequence will not be affected'."""
        pit.start(2, 5, 3)
        pit.clk(1)
        pit.count(2, 2)
        assert pit.outs(2, 5) == "~~_~~"

        pit.trigger(2)
        assert pit.outs(2, 5) == "~~_~~"

    @pytest.mark.parametrize("mode", PERIODIC)
    def test_a_cycle_that_GATE_ended_takes_none(self, pit: Pit, mode: int) -> None:
        """Modes 2 and 3: with GATE low the end does not come; its rise brings the new count."""
        pit.start(2, mode, 8)
        pit.clk(2)
        pit.count(2, 4)
        pit.gate(2, high=False)
        pit.clk(50)
        assert pit.null_count(2)

        pit.gate(2, high=True)
        assert pit.counts(2, 1) == [4]

    @pytest.mark.parametrize("mode", PERIODIC)
    def test_one_written_while_GATE_is_low_waits_for_it(self, pit: Pit, mode: int) -> None:
        pit.start(2, mode, 8)
        pit.clk(2)
        pit.gate(2, high=False)
        pit.count(2, 4)
        pit.clk(50)
        assert pit.null_count(2)

        pit.gate(2, high=True)
        assert pit.counts(2, 1) == [4]

    @pytest.mark.parametrize("mode", MODES)
    def test_the_last_of_several_counts(self, pit: Pit, mode: int) -> None:
        """CR holds one count."""
        pit.start(2, mode, 9)
        pit.count(2, 8)
        pit.count(2, 6)

        assert pit.counts(2, 1) == [6]


class TestWriteOperations:
    @pytest.mark.parametrize(
        ("access", "data", "count"),
        [
            (LSB, [0x12], 0x0012),
            (MSB, [0x12], 0x1200),
            (WORD, [0x12, 0x34], 0x3412),
            (WORD, [0x00, 0x00], 0x0000),
        ],
    )
    def test_a_count_has_the_programmed_format(
        self, pit: Pit, access: int, data: list[int], count: int
    ) -> None:
        """'if the Counter has been programmed for one byte counts [...] the other byte will
        be zero'.
        """
        pit.program(0, 2, access)
        for byte in data:
            pit.put(0, byte)
        pit.clk()

        pit.control(0 << 6 | WORD << 4 | 2 << 1)  # only to see both bytes; CE is left alone
        assert pit.word(0) == count

    def test_there_is_no_count_before_its_last_byte(self, pit: Pit) -> None:
        """'For two-byte counts': the first is kept."""
        pit.program(0, 2)
        pit.put(0, 3)
        pit.clk(5)
        assert pit.null_count(0)

        pit.put(0, 0)
        assert pit.counts(0, 3) == [3, 2, 1]

    def test_a_control_word_starts_with_the_low_byte_again(self, pit: Pit) -> None:
        pit.program(0, 2)
        pit.put(0, 0x77)
        pit.program(0, 2)
        pit.count(0, 0x0203)
        pit.clk()

        assert pit.latched(0) == 0x0203

    def test_counters_are_programmed_in_any_order(self, pit: Pit) -> None:
        """'Since the Control Word Register and the three Counters have separate addresses
        [...] any programming sequence that follows the conventions is acceptable'.
        """
        pit.gate(2, high=True)
        for number in (2, 0, 1):
            pit.program(number, 2)
        for number in (1, 2, 0):
            pit.put(number, 0x10 + number)
        for number in (0, 1, 2):
            pit.put(number, number)
        pit.clk()

        assert [pit.latched(number) for number in range(3)] == [0x0010, 0x0111, 0x0212]

    def test_reads_and_writes_of_a_counter_may_be_interleaved(self, pit: Pit) -> None:
        """'1. Read least significant byte. 2. Write new least significant byte. 3. Read most
        significant byte. 4. Write new most significant byte.'
        """
        pit.start(0, 2, 0x1234)
        pit.clk()
        seen = [pit.get(0)]
        pit.put(0, 0x78)
        seen.append(pit.get(0))
        pit.put(0, 0x06)
        pit.clk(0x1234)

        assert seen == [0x34, 0x12]
        assert pit.latched(0) == 0x0678

    @pytest.mark.parametrize("mode", MODES)
    def test_a_count_of_0_is_65536(self, pit: Pit, mode: int) -> None:
        """'The largest possible initial count is 0; this is equivalent to 2**16'."""
        pit.start(2, mode, 0)

        assert pit.counts(2, 2) == [0, 0xFFFE if mode == 3 else 0xFFFF]


class TestBCD:
    @pytest.mark.parametrize("mode", MODES)
    def test_counts_are_decimal(self, pit: Pit, mode: int) -> None:
        """'Binary Coded Decimal (BCD) Counter (4 Decades)'."""
        pit.start(2, mode, 0x1000, bcd=True)

        step = 2 if mode == 3 else 1
        assert pit.counts(2, 3) == [0x1000, 0x1000 - 0x666 - step, 0x1000 - 0x666 - 2 * step]

    def test_a_count_of_0_is_10000(self, pit: Pit) -> None:
        """'equivalent to [...] 10**4 for BCD counting'."""
        pit.start(0, 2, 0, bcd=True)

        assert pit.counts(0, 2) == [0x0000, 0x9999]
        pit.clk(9998)
        assert pit.counts(0, 2) == [0x0000, 0x9999]

    def test_it_wraps_around_to_9999(self, pit: Pit) -> None:
        """'either FFFF hex for binary counting or 9999 for BCD counting'."""
        pit.start(0, 0, 0x0001, bcd=True)

        assert pit.counts(0, 3) == [0x0001, 0x0000, 0x9999]

    def test_its_period_is_decimal(self, pit: Pit) -> None:
        pit.start(0, 2, 0x0010, bcd=True)
        pit.clk(31)

        assert [pulses_in(at_ns) for at_ns, _, high in pit.wires.edges if high] == [11, 21, 31]

    def test_digits_above_9_count_as_what_they_are(self, pit: Pit) -> None:
        """The data sheet does not say: FFFFh is 15 * 1111 here."""
        pit.start(0, 0, 0xFFFF, bcd=True)
        pit.clk(16_665)
        assert not pit.out(0)

        pit.clk()
        assert pit.out(0)


# ==== reading =============================================================================


class TestReads:
    @pytest.mark.parametrize(
        ("access", "seen"), [(LSB, [0x34, 0x34]), (MSB, [0x12, 0x12]), (WORD, [0x34, 0x12, 0x34])]
    )
    def test_a_count_is_read_in_the_programmed_format(
        self, pit: Pit, access: int, seen: list[int]
    ) -> None:
        """'Read Operations'."""
        pit.start(0, 4, 0x1234)
        pit.clk()
        pit.program(0, 4, access)

        assert [pit.get(0) for _ in seen] == seen

    def test_an_unlatched_count_follows_CE(self, pit: Pit) -> None:
        """OL 'normally follows' CE: two bytes may be of two counts."""
        pit.start(0, 4, 0x0200)
        pit.clk()
        low = pit.get(0)
        pit.clk()
        high = pit.get(0)

        assert (low, high) == (0x00, 0x01)

    def test_the_control_word_register_cannot_be_read(self, pit: Pit) -> None:
        """'No-Operation (3-State)': the bus floats."""
        assert pit.bench.inb(CONTROL) == 0xFF

    def test_a_control_word_starts_with_the_low_byte_again(self, pit: Pit) -> None:
        pit.start(0, 4, 0x1234)
        pit.clk()
        pit.get(0)
        pit.program(0, 4)

        assert pit.get(0) == 0x34

    def test_CE_stands_still_from_a_control_word_to_the_count(self, pit: Pit) -> None:
        """The data sheet calls it undefined."""
        pit.start(0, 2, 9)
        pit.clk(2)
        pit.program(0, 2)

        assert pit.counts(0, 3) == [8, 8, 8]


class TestCounterLatchCommand:
    def test_the_count_is_held_until_it_is_read(self, pit: Pit) -> None:
        """'held in the latch until it is read by the CPU'; then OL 'returns to
        following' CE.
        """
        pit.start(0, 4, 0x0203)
        pit.clk()
        pit.latch(0)
        pit.clk(4)
        low = pit.get(0)
        pit.clk(4)
        high = pit.get(0)

        assert (low, high) == (0x03, 0x02)
        assert pit.word(0) == 0x0203 - 8

    @pytest.mark.parametrize(("access", "byte"), [(LSB, 0x03), (MSB, 0x02)])
    def test_one_byte_is_all_there_is_of_a_one_byte_count(
        self, pit: Pit, access: int, byte: int
    ) -> None:
        """'the count must be read according to the programmed format'."""
        pit.start(0, 4, 0x0203)
        pit.clk()
        pit.program(0, 4, access)
        pit.latch(0)
        pit.start(0, 4, 0x0405)
        pit.clk()
        pit.program(0, 4, access)
        pit.latch(0)

        assert pit.get(0) == byte + 2
        assert pit.get(0) == byte + 2

    def test_one_byte_read_lets_it_go(self, pit: Pit) -> None:
        pit.program(0, 4, LSB)
        pit.put(0, 9)
        pit.clk()
        pit.latch(0)
        pit.clk(3)

        assert [pit.get(0), pit.get(0)] == [9, 6]

    def test_a_second_latch_before_the_read_is_ignored(self, pit: Pit) -> None:
        """'The count read will be the count at the time the first Counter Latch Command was
        issued.'
        """
        pit.start(0, 4, 9)
        pit.clk()
        pit.latch(0)
        pit.clk(4)

        assert pit.latched(0) == 9
        assert pit.latched(0) == 5

    def test_several_counters_may_be_latched(self, pit: Pit) -> None:
        """'Multiple Counter Latch Commands may be used to latch more than one Counter.'"""
        for number in range(3):
            pit.start(number, 4, 9 + number)
        pit.clk()
        for number in range(3):
            pit.latch(number)
            pit.clk()

        assert [pit.word(number) for number in range(3)] == [9, 9, 9]

    def test_it_does_not_affect_the_programmed_mode(self, pit: Pit) -> None:
        """'Counter Latch Commands do not affect the programmed Mode of the Counter in any
        way.'
        """
        pit.start(0, 3, 5)
        before = pit.status(0)
        pit.control(0 << 6 | 0b1111)

        assert pit.status(0) == before

    def test_a_control_word_lets_it_go(self, pit: Pit) -> None:
        """'(or until the Counter is reprogrammed)'."""
        pit.start(0, 4, 9)
        pit.clk()
        pit.latch(0)
        pit.start(0, 4, 7)
        pit.clk()

        assert pit.word(0) == 7

    def test_a_latch_between_two_bytes_is_read_from_the_second_on(self, pit: Pit) -> None:
        """There is one flip-flop; OL is let go with the high byte."""
        pit.start(0, 4, 0x0200)
        pit.clk()
        pit.get(0)
        pit.latch(0)
        pit.clk()

        assert [pit.get(0), pit.get(0)] == [0x02, 0xFF]


class TestReadBackCommand:
    @pytest.mark.parametrize("chosen", range(8))
    def test_it_latches_the_counts_of_the_chosen_counters(self, pit: Pit, chosen: int) -> None:
        """'functionally equivalent to several counter latch commands, one for each counter
        latched'.
        """
        for number in range(3):
            pit.start(number, 4, 0x0109)
        pit.clk()
        pit.control(0b1101_0000 | chosen << 1)
        pit.clk(4)

        assert [pit.word(number) for number in range(3)] == [
            0x0109 if chosen >> number & 1 else 0x0105 for number in range(3)
        ]

    @pytest.mark.parametrize("chosen", range(8))
    def test_it_latches_the_status_of_the_chosen_counters(self, pit: Pit, chosen: int) -> None:
        """'Status must be latched to be read'."""
        for number in range(3):
            pit.start(number, 4, 0x0109)
        pit.clk()
        pit.control(0b1110_0000 | chosen << 1)

        assert [pit.get(number) for number in range(3)] == [
            0b1011_1000 if chosen >> number & 1 else 0x09 for number in range(3)
        ]

    @pytest.mark.parametrize("status_first", [False, True])
    def test_status_is_read_before_count(self, pit: Pit, *, status_first: bool) -> None:
        """'the first read operation of that counter will return latched status, regardless of
        which was latched first. The next one or two reads [...] return latched count.
        Subsequent reads return unlatched count.'
        """
        pit.start(0, 4, 0x0109)
        pit.clk()
        pit.control(0xE2 if status_first else 0xD2)
        pit.control(0xD2 if status_first else 0xE2)
        pit.clk(4)

        assert [pit.get(0) for _ in range(5)] == [0b1011_1000, 0x09, 0x01, 0x05, 0x01]

    def test_both_at_once(self, pit: Pit) -> None:
        """'Both count and status of the selected counter(s) may be latched simultaneously by
        setting both COUNT and STATUS bits D5, D4 = 0.'
        """
        pit.start(0, 4, 0x0109)
        pit.clk()
        pit.control(0xC2)
        pit.clk(4)

        assert [pit.get(0) for _ in range(5)] == [0b1011_1000, 0x09, 0x01, 0x05, 0x01]

    def test_neither(self, pit: Pit) -> None:
        """D5 and D4 both 1: nothing is latched."""
        pit.start(0, 4, 0x0109)
        pit.clk()
        pit.control(0xFE)
        pit.clk(4)

        assert pit.word(0) == 0x0105

    def test_status_latched_twice_is_that_of_the_first_time(self, pit: Pit) -> None:
        """'all but the first are ignored'."""
        pit.start(0, 0, 3)
        pit.control(0xE2)
        pit.clk(9)
        pit.control(0xE2)

        assert pit.get(0) == 0b0111_0000
        assert pit.status(0) == 0b1011_0000

    def test_count_latched_twice_is_that_of_the_first_time(self, pit: Pit) -> None:
        """'the count which will be read is the count at the time the first read-back command
        was issued'.
        """
        pit.start(0, 4, 9)
        pit.clk()
        pit.control(0xD2)
        pit.clk()
        pit.control(0xD2)

        assert pit.word(0) == 9

    def test_the_example_of_the_data_sheet(self, pit: Pit) -> None:
        """Figure 13, 'Read-Back Command Example': six commands, no read in between."""
        for number in range(3):
            pit.start(number, 4, 0x0109)
        pit.clk()
        for command in (
            0b1100_0010,  # read back count and status of counter 0
            0b1110_0100,  # read back status of counter 1
            0b1110_1100,  # read back status of counters 2, 1: but not of 1
            0b1101_1000,  # read back count of counter 2
            0b1100_0100,  # read back count and status of counter 1: but not its status
            0b1110_0010,  # read back status of counter 1: ignored
        ):
            pit.control(command)
            pit.clk()

        status = 0b1011_1000
        assert [pit.get(0) for _ in range(3)] == [status, 0x09, 0x01]
        assert [pit.get(1) for _ in range(3)] == [status, 0x05, 0x01]
        assert [pit.get(2) for _ in range(3)] == [status, 0x06, 0x01]

    @pytest.mark.parametrize("access", [LSB, MSB, WORD])
    @pytest.mark.parametrize("mode", range(8))
    @pytest.mark.parametrize("bcd", [False, True])
    def test_status_has_the_mode_exactly_as_written(
        self, pit: Pit, access: int, mode: int, *, bcd: bool
    ) -> None:
        """'Bits D5 through D0 contain the counter's programmed Mode exactly as written in the
        last Mode Control Word.'
        """
        pit.program(1, mode, access, bcd=bcd)

        assert pit.status(1) & 0x3F == access << 4 | mode << 1 | bcd

    def test_status_has_the_level_of_OUT(self, pit: Pit) -> None:
        """'OUTPUT bit D7 contains the current state of the OUT pin.'"""
        pit.start(0, 3, 4)
        pit.clk(2)
        assert pit.status(0) & 0x80

        pit.clk(1)
        assert not pit.status(0) & 0x80

    def test_a_control_word_lets_status_go(self, pit: Pit) -> None:
        """The data sheet does not say."""
        pit.start(0, 4, 9)
        pit.clk()
        pit.control(0xE2)
        pit.start(0, 4, 7)
        pit.clk()

        assert pit.word(0) == 7


class TestNullCount:
    """Figure 12, 'Null Count Operation'."""

    @pytest.mark.parametrize("mode", MODES)
    def test_a_control_word_sets_it(self, pit: Pit, mode: int) -> None:
        """'A. Write to the control word register': that counter's only."""
        pit.program(0, mode)
        pit.clk(3)

        assert [pit.null_count(number) for number in range(3)] == [True, False, False]

    @pytest.mark.parametrize("mode", MODES)
    def test_a_count_sets_it_until_CE_is_loaded(self, pit: Pit, mode: int) -> None:
        """'B. Write to the count register (CR)', 'C. New count is loaded into CE'."""
        pit.start(2, mode, 5)
        pit.clk()
        assert not pit.null_count(2)

        pit.count(2, 7)
        assert pit.null_count(2)

        if_triggered = pit.trigger if mode in TRIGGERED else pit.null_count
        if_triggered(2)
        pit.clk(5)
        assert not pit.null_count(2)

    @pytest.mark.parametrize("mode", MODES)
    def test_the_first_byte_of_two_does_not_set_it(self, pit: Pit, mode: int) -> None:
        """'null count goes to 1 when the second byte is written'."""
        pit.start(2, mode, 5)
        pit.clk()
        pit.put(2, 7)
        assert not pit.null_count(2)

        pit.put(2, 0)
        assert pit.null_count(2)


# ==== against a counter that counts =======================================================


@attrs.define
class ByPulses:
    """The data sheet read pulse by pulse: a CE that is counted down, an OUT that is set."""

    gate: bool = False
    mode: int = 3
    count: int = 0
    new: int | None = None
    ce: int = 0
    out: bool = True
    loaded: bool = False
    trigger: bool = False
    odd_end: bool = False  # mode 3: an odd count's high half has a pulse more
    expired: bool = False

    def program(self, mode: int) -> None:
        self.mode, self.new, self.loaded, self.trigger = mode, None, False, False
        self.out = mode != 0

    def write(self, count: int) -> None:
        self.new = count
        if self.mode == 0:
            self.out = self.loaded = False

    def set_gate(self, *, high: bool) -> None:
        if high and not self.gate and self.mode in BY_GATE:
            self.trigger = self.loaded or self.new is not None
        self.gate = high
        if not high and self.mode in PERIODIC:
            self.out = True

    def clk(self) -> None:
        first = not self.loaded and self.new is not None and self.mode not in TRIGGERED
        again = self.new is not None and self.mode in {0, 4}
        if self.trigger or first or again:
            if self.mode in PERIODIC or self.mode == 1:
                self.out = self.mode != 1
            elif self.mode in {4, 5}:
                self.out = True
            self.load()
        elif self.loaded and (self.gate or self.mode in TRIGGERED):
            self.down()
        elif self.mode == 4:
            self.out = True
        self.trigger = False

    def load(self) -> None:
        if self.new is not None:
            self.count, self.new = self.new, None
        n = self.count or 0x1_0000
        self.ce = n & ~1 if self.mode == 3 else n
        self.odd_end = self.mode == 3 and self.out and bool(n & 1)
        self.loaded, self.expired = True, False

    def down(self) -> None:
        if self.mode == 3:
            self.down_by_two()
            return
        if self.mode == 2 and self.ce == 1:
            self.out = True
            self.load()
            return
        self.ce = (self.ce - 1) % 0x1_0000
        if self.mode == 2:
            self.out = self.ce != 1
        elif self.mode in {0, 1}:
            self.out = self.out or self.ce == 0
        else:
            self.out = self.ce != 0 or self.expired
            self.expired = self.expired or self.ce == 0

    def down_by_two(self) -> None:
        if self.ce > (0 if self.odd_end else 2):
            self.ce -= 2
            return
        self.out = not self.out
        self.load()


class TestAgainstACounterThatCounts:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("seed", range(4))
    def test_whatever_is_written_and_whatever_GATE_does(self, mode: int, seed: int) -> None:
        """OUT, CE and null count after every pulse of a long random run, restored now and then."""
        chance = random.Random(f"{mode} {seed}")
        pit, model = Pit(), ByPulses()
        pit.program(2, mode)
        model.program(mode)

        for _ in range(600):
            match chance.randrange(24):
                case 0 | 1 | 2:
                    high = chance.random() < 0.5
                    pit.gate(2, high=high)
                    model.set_gate(high=high)
                case 3 | 4:
                    pit.trigger(2)
                    model.set_gate(high=False)
                    model.set_gate(high=True)
                case 5 | 6:
                    count = chance.choice([2, 3, 4, 5, 6, 7, 9, 300])
                    pit.count(2, count)
                    model.write(count)
                case 7 if chance.random() < 0.2:
                    pit.program(2, mode)
                    model.program(mode)
                case 8:
                    pit.migrate()
                case _:
                    pass
            assert pit.out(2) == model.out
            assert pit.null_count(2) == (model.new is not None or not model.loaded)
            pit.clk()
            model.clk()
            assert pit.out(2) == model.out
            assert not model.loaded or pit.latched(2) == model.ce % 0x1_0000


# ==== pins and time =======================================================================


class TestTime:
    def test_CLK_is_the_crystal_by_twelve(self) -> None:
        """14.31818 MHz / 12, and whole."""
        assert PIT_HZ == 1_193_182

    @pytest.mark.parametrize("pulses", [0, 1, 2, 11_932, 65_536, 1_193_182, 596_591, 10**12 + 7])
    def test_a_pulse_has_passed_at_the_first_nanosecond_that_it_fits_in(self, pulses: int) -> None:
        assert pulses_in(ns_of(pulses)) == pulses
        assert pulses_in(ns_of(pulses) - 1) == pulses - 1

    def test_IRQ_0_does_not_drift(self) -> None:
        """A thousand periods: every rise is where the count of pulses from the first has it."""
        pit = Pit()
        pit.start(0, 2, 11_932)
        pit.clk(1000 * 11_932 + 1)

        rises = [at_ns for at_ns, _, high in pit.wires.edges if high]
        assert rises == [ns_of(1) + ns_of(each * 11_932) for each in range(1, 1001)]

    @pytest.mark.parametrize("mode", MODES)
    def test_reading_and_edges_agree(self, mode: int) -> None:
        """At the instant of each edge OUT reads as its line is; a nanosecond before, not."""
        watched, read = Pit(), Pit()
        for pit in (watched, read):
            pit.start(0, mode, 7)
        watched.clk(40)

        for at_ns, _, high in watched.wires.edges[1 if mode == 0 else 0 :]:
            read.bench.slot.clock.advance_to(at_ns - 1)
            assert read.out(0) != high
            read.bench.slot.clock.advance_to(at_ns)
            assert read.out(0) == high

    def test_a_counter_without_a_line_costs_no_alarms(self, pit: Pit) -> None:
        """A square wave on the speaker goes on unheard."""
        pit.start(0, 0, 2)
        pit.start(2, 3, 2)
        pit.clk(10)

        assert pit.bench.slot.clock.next_ns == NEVER

    @pytest.mark.parametrize("mode", PERIODIC)
    def test_alarms_are_never_closer_than_a_pulse(self, pit: Pit, mode: int) -> None:
        """The fastest that OUT 0 can be: an edge each pulse."""
        pit.start(0, mode, 2)
        pit.clk(100)

        at = [at_ns for at_ns, _, _ in pit.wires.edges]
        assert len(at) == 99
        assert min(later - earlier for earlier, later in itertools.pairwise(at)) >= 838

    def test_every_counter_may_have_a_line(self) -> None:
        pit = Pit(lines=(0, 1, 2))
        for number in range(3):
            pit.start(number, 0, 2 + number)
        pit.clk(9)

        rises = [(pulses_in(at_ns), number) for at_ns, number, high in pit.wires.edges if high]
        assert rises == [(3, 0), (4, 1), (5, 2)]


class TestPowerOn:
    """'Prior to initialization, the mode, count, and output of all Counters are undefined'."""

    def test_all_count_in_mode_3_from_65536(self, pit: Pit) -> None:
        """So does QEMU."""
        assert [pit.status(number) for number in range(3)] == [0b1011_0110] * 3
        assert pit.counts(0, 2) == [0xFFFE, 0xFFFC]

        pit.clk(65_534)
        assert [pulses_in(at_ns) for at_ns, _, _ in pit.wires.edges] == [32_768, 65_536]

    def test_RESET_does_nothing(self, pit: Pit) -> None:
        """The chip has no such pin."""
        pit.start(0, 2, 9)
        pit.clk(3)
        pit.bench.slot.reset()

        assert pit.counts(0, 2) == [6, 5]

    def test_any_byte_may_be_written_to_any_port(self) -> None:
        """A guest can be wrong; it cannot crash the machine."""
        chance = random.Random(8254)
        pit = Pit()
        for _ in range(3000):
            pit.bench.outb(0x40 + chance.randrange(4), chance.randrange(256))
            pit.gate(chance.randrange(3), high=chance.random() < 0.5)
            assert 0 <= pit.bench.inb(0x40 + chance.randrange(4)) <= 0xFF
            pit.bench.wait(chance.choice([0, 5, 1000, 100_000]))


# ==== saved and restored ==================================================================


class TestSavedAndRestored:
    def run(self, number: int, mode: int, *, restore_at: int | None = None) -> list[object]:
        """Watch a counter through counts, GATE's ups and downs, latches; move it once."""
        pit = Pit(lines=(0, 1, 2))
        events: list[Callable[[], object]] = [
            lambda: pit.gate(number, high=True),
            lambda: pit.program(number, mode),
            lambda: pit.put(number, 7),
            lambda: pit.put(number, 0),
            lambda: pit.trigger(number),
            lambda: None,
            lambda: pit.latch(number),
            lambda: pit.get(number),
            lambda: None,
            lambda: pit.gate(number, high=False),
            lambda: pit.get(number),
            lambda: None,
            lambda: pit.gate(number, high=True),
            lambda: pit.control(0b1100_0000 | 2 << number),
            lambda: pit.get(number),
            lambda: pit.count(number, 4),
            lambda: None,
            lambda: pit.get(number),
            lambda: pit.put(number, 5),
            lambda: pit.trigger(number),
            lambda: pit.get(number),
            lambda: pit.put(number, 0),
            lambda: pit.gate(number, high=False),
            lambda: pit.trigger(number),
            lambda: None,
            lambda: pit.gate(number, high=False),
            lambda: None,
            lambda: pit.gate(number, high=True),
            lambda: None,
            lambda: None,
        ]
        seen: list[object] = []
        for step, event in enumerate(events):
            if step == restore_at:
                pit.migrate()
            seen += [event(), pit.out(number), pit.bench.card.gate(number)]
            pit.bench.wait(1300)  # a pulse and a half
        seen += [pit.get(number), pit.status(number), pit.latched(number)]
        return [*seen, *pit.wires.edges]

    @pytest.mark.parametrize("mode", range(8))
    @pytest.mark.parametrize("number", [0, 2])
    def test_a_restore_at_any_moment_is_invisible(self, number: int, mode: int) -> None:
        """A restored chip cannot be told from one that never stopped."""
        unmoved = self.run(number, mode)

        for moment in range(30):
            assert self.run(number, mode, restore_at=moment) == unmoved, moment

    @pytest.mark.parametrize("mode", MODES)
    def test_a_restore_at_the_instant_of_a_load_or_an_edge_is_invisible(self, mode: int) -> None:
        """All instants at which something happens, and the nanosecond before and after."""
        unmoved = Pit()
        unmoved.start(0, mode, 5)
        unmoved.clk(20)

        for instant_ns in sorted(
            {ns_of(each) + off for each in range(1, 12) for off in (-1, 0, 1)}
        ):
            pit = Pit()
            pit.start(0, mode, 5)
            pit.bench.slot.clock.advance_to(instant_ns)
            pit.migrate()
            pit.clk(20)
            assert pit.wires.edges == unmoved.wires.edges
            assert pit.latched(0) == unmoved.latched(0)
            unmoved.latch(0)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("bcd", [False, True])
    def test_saved_again_it_is_the_same(self, mode: int, *, bcd: bool) -> None:
        """At any moment: what is loaded is what was saved, byte for byte."""
        pit = Pit(lines=(0, 1, 2))
        pit.start(2, mode, 0x0009, bcd=bcd)
        for step in range(20):
            before = pit.bench.slot.registry.save_sections()
            pit.migrate()
            assert pit.bench.slot.registry.save_sections() == before
            pit.gate(2, high=step % 5 < 3)
            pit.bench.wait(700)

    def test_every_field_survives(self) -> None:
        """Each at its largest value."""
        state = State(
            0b111,
            [
                i8254.Counter(
                    **{each.name: each.metadata["most"] for each in attrs.fields(i8254.Counter)}
                )
                for _ in range(3)
            ],
        )
        pit = Pit()
        pit.bench.card.state = state
        other = Pit()
        other.bench.slot.registry.load_sections(pit.bench.slot.registry.save_sections())

        assert other.bench.card.state == state

    def test_the_stream_is_what_it_has_always_been(self, pit: Pit) -> None:
        """Byte for byte, so that last year's saves still load."""
        pit.start(0, 2, 0x2E9C)
        pit.program(1, 2, LSB)
        pit.put(1, 18)
        pit.clk(2)
        pit.control(0b1100_0010)  # status and count of counter 0
        pit.put(0, 0x77)
        pit.start(2, 7, 9)

        idle = "00 00 00" + "ffffffffffffffff" * 2 + "00" + "00 0000" + "00" * 8 + "ff" * 8
        qemu = [
            "00000000",
            "00002e9c 2e9b 03 01 b4 03 04 77 03 02 00 01 0000000000000002 0000000000989716",
            "00000012 0000 00 00 00 01 01 00 01 02 00 01 0000000000000002 ffffffffffffffff",
            "00000009 0000 00 00 00 03 03 09 03 03 00 01 00000000000009d3 00000000000009d3",
            "0000000000989716",
        ]
        rest = [
            idle,
            idle,
            "04 01 01 0000000000000830 00000000000009d3 00",
            "01 0000 0000000000000000 ffffffffffffffff",
        ]
        assert pit.bench.slot.registry.save_sections() == {
            ("i8254", 0): (3, bytes.fromhex("".join(qemu))),
            ("emu/i8254", 0): (1, bytes.fromhex("".join(rest))),
        }

    @pytest.mark.parametrize("mode", MODES)
    def test_ours_is_as_at_power_on_while_a_count_goes_on(self, pit: Pit, mode: int) -> None:
        """``emu/i8254`` holds nothing then: QEMU has all that it needs."""
        nothing = pit.bench.slot.registry.save_sections()["emu/i8254", 0]
        pit.start(0, mode, 300)
        pit.clk(5)

        assert pit.bench.slot.registry.save_sections()["emu/i8254", 0] == nothing

    @pytest.mark.parametrize("seed", range(60))
    def test_a_hostile_stream_is_refused_or_harmless(self, seed: int) -> None:
        """Any bytes at all: no crash, and no alarm that does not let time go on."""
        chance = random.Random(seed)
        pit = Pit(lines=(0, 1, 2))
        pit.start(chance.randrange(3), chance.randrange(8), chance.randrange(0x1_0000))
        sections = pit.bench.slot.registry.save_sections()
        damaged = {}
        for key, (version, data) in sections.items():
            bad = bytearray(data)
            for _ in range(chance.randrange(4)):
                bad[chance.randrange(len(bad))] = chance.choice([0, 1, 2, 3, 4, 0x3F, 0x7F, 0xFF])
            damaged[key] = (version, bytes(bad))
        with contextlib.suppress(StreamError):
            pit.bench.slot.registry.load_sections(damaged)

        for _ in range(60):
            pit.bench.outb(0x40 + chance.randrange(4), chance.randrange(256))
            pit.gate(chance.randrange(3), high=chance.random() < 0.5)
            pit.bench.inb(0x40 + chance.randrange(3))
            pit.bench.wait(chance.choice([0, 5, 1000, 20_000]))
            pit.bench.slot.registry.load_sections(pit.bench.slot.registry.save_sections())


# ==== QEMU's streams ======================================================================

# Taken from QEMU 7.2.22, which a guest had made count 11932 in counter 0's mode 2, 18 in counter
# 1's and 1193 in counter 2's mode 3.  It latched counter 0 and read one byte, and counter 2's
# status.  IRQ 0 was high.
FROM_QEMU = bytes.fromhex(
    "00000000"
    "00002e9c2e9c02000003039c0302000100000000000060d000000000055db09d"
    "0000001200000000000101000102000100000000000060d40000000000000000"
    "000004a900000001b60303a90303000100000000000060dc0000000000000000"
    "00000000055db09d"
)
FROM_QEMU_AT_NS = 81_941_757
FROM_QEMU_START_NS = (24_784, 24_788, 24_796)


def qemu_channel(
    count: int, mode: int, start_ns: int, next_ns: int = -1, *, gate: int = 1, **other: int
) -> bytes:
    """A channel as QEMU writes it; what *other* names differs from a plain count of words."""
    names = ("count_latched", "status_latched", "status", "read_state", "write_state")
    usual = {"read_state": 3, "write_state": 3, "write_latch": 0, "rw_mode": 3, "bcd": 0}
    usual |= dict.fromkeys(names[:3], 0) | other
    return struct.pack(
        ">iH10Bqq",
        count,
        0,
        *(usual[name] for name in names),
        usual["write_latch"],
        usual["rw_mode"],
        mode,
        usual["bcd"],
        gate,
        start_ns,
        next_ns,
    )


def qemu_section(*channels: bytes) -> bytes:
    """The section, up to three channels given; counter 0's next transition is the section's."""
    idle = qemu_channel(0x1_0000, 3, 0)
    three = [*channels, idle, idle][:3]
    return bytes(4) + b"".join(three) + three[0][-8:]


def load_from_qemu(pit: Pit, data: bytes, now_ns: int, *, high: bool, version: int = 3) -> None:
    """Load a stream of QEMU's in which IRQ 0 was *high*, at *now_ns*."""
    pit.bench.slot.clock.now_ns = now_ns
    pit.wires.levels[0] = high
    loading = Loading(pit.bench.slot.registry, Dialect.QEMU_7_2)
    f = from_bytes(data)
    loading.read(f, ("i8254", 0), version)
    loading.check_complete()
    loading.commit()


def qemu_instant(start_ns: int, pulses: int) -> int:
    """When so many pulses are over for QEMU, which rounds down."""
    return start_ns + pulses * 1_000_000_000 // PIT_HZ


class TestFromQEMU:
    """Its behaviour is measured: by when a guest saw IRQ 0 rise after a count was written."""

    def test_IRQ_0_goes_on_in_phase(self, pit: Pit) -> None:
        """In mode 2 it rises a pulse after the end of each period."""
        load_from_qemu(pit, FROM_QEMU, FROM_QEMU_AT_NS, high=True)
        assert pit.wires.edges == []

        pit.bench.wait(100_000_000)
        rises = [at_ns for at_ns, _, high in pit.wires.edges if high]
        qemus = [qemu_instant(FROM_QEMU_START_NS[0], each * 11_932 + 1) for each in range(9, 19)]
        assert all(0 <= theirs - ours <= 1 for theirs, ours in zip(qemus, rises, strict=True))

    def test_a_counter_without_IRQ_goes_on_in_phase(self, pit: Pit) -> None:
        """In mode 3 there is no difference."""
        start_ns = FROM_QEMU_START_NS[2]
        load_from_qemu(pit, FROM_QEMU, FROM_QEMU_AT_NS, high=True)

        at = pulses_in(FROM_QEMU_AT_NS - start_ns) // 1193 * 1193
        for pulses, high in [(1192, False), (1193, True), (1193 + 597, False)]:
            pit.bench.slot.clock.advance_to(start_ns + ns_of(at + pulses) - 1)
            assert pit.out(2) == (pulses != 1192 and not high)
            pit.bench.slot.clock.advance_to(start_ns + ns_of(at + pulses))
            assert pit.out(2) == high

    def test_what_it_had_latched_is_read(self, pit: Pit) -> None:
        """The high byte of a count, and a status."""
        load_from_qemu(pit, FROM_QEMU, FROM_QEMU_AT_NS, high=True)

        assert pit.get(0) == 0x2E
        assert pit.get(2) == 0b1011_0110
        assert [pit.bench.card.gate(number) for number in range(3)] == [True] * 3

    def test_a_counter_of_one_byte(self, pit: Pit) -> None:
        load_from_qemu(pit, FROM_QEMU, FROM_QEMU_AT_NS, high=True)

        assert 1 <= pit.get(1) <= 18

    def test_version_2_had_no_irq_disabled(self, pit: Pit) -> None:
        load_from_qemu(pit, FROM_QEMU[4:], FROM_QEMU_AT_NS, high=True, version=2)

        assert pit.get(0) == 0x2E

    @pytest.mark.parametrize(
        ("mode", "passed", "next_pulse", "rises"),
        [
            (0, 300, 1000, [1000]),
            (2, 300, 1001, [1001, 2001, 3001]),
            (2, 999, 1001, [1001, 2001, 3001]),
            (2, 1000, 1001, [1001, 2001, 3001]),
            (3, 600, 1000, [1000, 2000, 3000]),
            (4, 300, 1000, [1000]),
            (4, 999, 1000, [1000]),
        ],
    )
    def test_a_line_that_is_low_there_does_not_rise_by_the_load(
        self, pit: Pit, mode: int, passed: int, next_pulse: int, rises: list[int]
    ) -> None:
        """In modes 2 and 4 OUT may be high here; the line waits for its edge, as in QEMU."""
        next_ns = qemu_instant(5000, next_pulse)
        section = qemu_section(qemu_channel(1000, mode, 5000, next_ns))
        load_from_qemu(pit, section, 5000 + ns_of(passed) + HALF_CLK_NS, high=False)
        assert pit.wires.edges == []

        pit.bench.slot.clock.advance_to(qemu_instant(5000, 3010))
        seen = [at_ns for at_ns, _, high in pit.wires.edges if high]
        qemus = [qemu_instant(5000, each) for each in rises]
        assert all(abs(theirs - ours) <= 1 for theirs, ours in zip(qemus, seen, strict=True))

    @pytest.mark.parametrize(("mode", "passed"), [(1, 1500), (4, 1500), (5, 500), (5, 1500)])
    def test_one_that_is_low_for_good_stays_so(self, pit: Pit, mode: int, passed: int) -> None:
        """After a strobe or a one-shot: until a control word and a count make an edge."""
        section = qemu_section(qemu_channel(1000, mode, 5000))
        load_from_qemu(pit, section, 5000 + ns_of(passed), high=False)
        pit.bench.wait(100)
        assert pit.wires.edges == []

        pit.program(0, 0)
        pit.count(0, 3)
        pit.bench.wait(10_000)
        assert [high for _, _, high in pit.wires.edges] == [True]

    def test_a_new_count_in_mode_4_makes_its_edge(self, pit: Pit) -> None:
        """As a guest does that wants one interrupt after the other."""
        load_from_qemu(pit, qemu_section(qemu_channel(9, 4, 5000)), 50_000, high=False)
        pit.count(0, 3)
        pit.bench.wait(100_000)

        assert [high for _, _, high in pit.wires.edges] == [True]

    def test_one_that_is_high_stays_high(self, pit: Pit) -> None:
        """Within mode 4's strobe, which is high in QEMU."""
        strobe_ns = qemu_instant(5000, 1001)
        section = qemu_section(qemu_channel(1000, 4, 5000, strobe_ns))
        load_from_qemu(pit, section, strobe_ns - HALF_CLK_NS, high=True)
        pit.bench.wait(100_000)

        assert pit.wires.edges == []

    @pytest.mark.parametrize(("mode", "low_after"), [(2, 10), (3, 9)])
    def test_a_counter_counts_on_though_GATE_is_low(
        self, pit: Pit, mode: int, low_after: int
    ) -> None:
        """QEMU's does, so nothing changes by the load; GATE's rise starts it anew."""
        channels = [qemu_channel(10, mode, 0, gate=gate) for gate in (1, 1, 0)]
        load_from_qemu(pit, qemu_section(*channels), 0, high=True)
        pit.bench.slot.clock.advance_to(ns_of(low_after) + HALF_CLK_NS)
        assert not pit.out(2)

        pit.gate(2, high=True)
        assert pit.out(2)
        pit.bench.wait(839)
        assert pit.latched(2) == 10

    def test_before_the_first_control_word_the_low_byte_is_read(self, pit: Pit) -> None:
        section = qemu_section(qemu_channel(0x1234, 2, 0, rw_mode=0, read_state=0, write_state=0))
        load_from_qemu(pit, section, 0, high=False)
        pit.bench.wait(839)

        assert [pit.get(0), pit.get(0)] == [0x34, 0x34]

    @pytest.mark.parametrize(
        ("state", "data"),
        [
            ({"read_state": 4}, [0x03, 0x04]),
            ({"count_latched": 3, "read_state": 4}, [0x00, 0x00]),
            ({"count_latched": 2}, [0x00, 0x04]),
        ],
    )
    def test_its_flip_flops_are_ours(
        self, pit: Pit, state: dict[str, int], data: list[int]
    ) -> None:
        """A count of 0304h in CE, of 0 in the latch: which byte is read first."""
        section = qemu_section(qemu_channel(0x0304, 3, 0, **state))
        load_from_qemu(pit, section, 0, high=True)

        assert [pit.get(0), pit.get(0)] == data

    def test_its_write_flip_flop_is_ours(self, pit: Pit) -> None:
        section = qemu_section(qemu_channel(9, 4, 0, write_state=4, write_latch=0x22))
        load_from_qemu(pit, section, 0, high=False)
        pit.put(0, 0x11)
        pit.bench.wait(839)

        assert pit.latched(0) == 0x1122

    @pytest.mark.parametrize(
        ("damage", "problem"),
        [
            ({"count": 0}, "count = 0, expected 1 to 65536"),
            ({"count": 0x1_0001}, "count = 65537"),
            ({"count": -1}, "count = -1"),
            ({"mode": 8}, "m = 0x8 does not fit in 3 bits"),
            ({"rw_mode": 4}, "rw_mode = 4, 3 at most"),
            ({"count_latched": 4}, "count_latched = 4, 3 at most"),
            ({"read_state": 5}, "read_state = 5, 4 at most"),
            ({"write_state": 5}, "write_state = 5, 4 at most"),
            ({"bcd": 2}, "not a truth value"),
            ({"gate": 2}, "not a truth value"),
            ({"status_latched": 2}, "not a truth value"),
            ({"next_ns": -2}, "not an instant"),
            ({"next_ns": NEVER - 1}, "is not an instant"),
            ({"start_ns": -NEVER - 1}, "does not fit in 63 bits"),
        ],
    )
    def test_what_QEMU_cannot_have_written_is_refused(
        self, pit: Pit, damage: dict[str, int], problem: str
    ) -> None:
        """With the field's name, and nothing changes."""
        plain = {"count": 9, "mode": 3, "start_ns": 0}
        before = pit.bench.slot.registry.save_sections()

        with pytest.raises(StreamError, match=re.escape(problem)):
            load_from_qemu(
                pit, qemu_section(qemu_channel(**{**plain, **damage})), HALF_CLK_NS, high=True
            )
        assert pit.bench.slot.registry.save_sections() == before

    def test_an_HPET_in_the_place_of_counter_0_is_refused(self, pit: Pit) -> None:
        """There is none here."""
        with pytest.raises(StreamError, match="irq_disabled is set"):
            load_from_qemu(pit, b"\0\0\0\1" + FROM_QEMU[4:], FROM_QEMU_AT_NS, high=True)


class TestForQEMU:
    """What QEMU is given makes it raise IRQ 0 when it would have risen here."""

    def channel(self, pit: Pit, number: int = 0) -> dict[str, int]:
        data = vmstate.dump(QEMU, pit.bench.card.state)
        values = QEMU.get(from_bytes(data), 3)
        assert values["next_transition_time"] == values["channels"][0]["next_transition_time"]
        channel: dict[str, int] = values["channels"][number]
        return channel

    def next_rise(self, pit: Pit) -> int:
        """QEMU's next rise of IRQ 0 by what it is given, which it looks for from then on."""
        channel = self.channel(pit)
        later = {2: 1}.get(channel["mode"], 0)
        rises = (
            qemu_instant(channel["count_load_time"], cycle * channel["count"] + later)
            for cycle in range(1, 1000)
        )
        return next(at_ns for at_ns in rises if at_ns >= channel["next_transition_time"])

    @pytest.mark.parametrize("mode", [0, 2, 3, 4])
    @pytest.mark.parametrize("clks", [0, 1, 30, 299, 300])
    def test_it_goes_on_in_phase(self, pit: Pit, mode: int, clks: int) -> None:
        """From before CE is loaded to the last pulse of the count."""
        pit.start(0, mode, 300)
        pit.clk(clks)

        theirs = self.next_rise(pit)
        pit.clk(302)
        ours = next(at_ns for at_ns, _, high in pit.wires.edges if high)
        assert abs(theirs - ours) <= 2

    @pytest.mark.parametrize("mode", PERIODIC)
    @pytest.mark.parametrize("count", [100, 900])
    @pytest.mark.parametrize("clks", [0, 170, 298])
    def test_it_goes_over_to_a_new_count(self, pit: Pit, mode: int, count: int, clks: int) -> None:
        """The new one, as if its cycle had been going on."""
        pit.start(0, mode, 300)
        pit.clk(1 + clks)
        pit.count(0, count)
        assert self.channel(pit)["count"] == count

        theirs = [self.next_rise(pit)]
        pit.clk(302)
        theirs.append(self.next_rise(pit))
        pit.clk(1000)
        rises = [at_ns for at_ns, _, high in pit.wires.edges if high]
        assert min(abs(theirs[0] - each) for each in rises) <= 2
        assert min(abs(theirs[1] - each) for each in rises) <= 2

    @pytest.mark.parametrize("mode", [0, 2, 3, 4])
    @pytest.mark.parametrize("clks", [1, 30, 299, 300])
    def test_it_looks_at_OUT_before_our_next_edge(self, pit: Pit, mode: int, clks: int) -> None:
        """A few nanoseconds, so that a fall that it would miss comes before the rise."""
        pit.start(0, mode, 300)
        pit.clk(clks)
        edges = len(pit.wires.edges)
        looks_at_ns = self.channel(pit)["next_transition_time"]
        pit.clk(301)

        assert pit.wires.edges[edges][0] - looks_at_ns == 2

    @pytest.mark.parametrize("mode", [0, 2, 3, 4])
    def test_it_looks_when_a_count_is_loaded(self, pit: Pit, mode: int) -> None:
        """It must not look before the start that it is given."""
        pit.start(0, mode, 300)
        channel = self.channel(pit)

        assert channel["next_transition_time"] >= channel["count_load_time"]
        assert 0 <= channel["next_transition_time"] - pit.bench.slot.clock.now_ns < 2 * 839

    @pytest.mark.parametrize("mode", [0, 4])
    def test_it_has_nothing_to_look_at_when_all_is_over(self, pit: Pit, mode: int) -> None:
        pit.start(0, mode, 3)
        pit.clk(9)

        assert self.channel(pit)["next_transition_time"] == NEVER

    @pytest.mark.parametrize(("mode", "sent"), [(6, 2), (7, 3)])
    def test_modes_6_and_7_are_called_2_and_3(self, pit: Pit, mode: int, sent: int) -> None:
        """It takes them for mode 0."""
        pit.start(0, mode, 9)

        assert self.channel(pit)["mode"] == sent

    @pytest.mark.parametrize("mode", TRIGGERED)
    def test_a_count_that_waits_for_GATE_is_the_one_it_counts(self, pit: Pit, mode: int) -> None:
        pit.start(2, mode, 300)
        pit.clk(5)
        pit.count(2, 200)

        assert self.channel(pit, 2)["count"] == 200
