"""The 8259A does what its data sheet says, and a pair of them what an AT needs.

Quotations and headings are those of the Intel 8259A data sheet, 231468.  The pair is driven only
by its ports, the slot's interrupt lines and INTA; INTR is the line that goes to the CPU.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from bench import Bench
from emu.errors import ConfigError, StreamError
from emu.hw.i8259 import OCW2, POLL_I, QEMU, SAVED, Pair, attach_pair
from emu.irq import Line
from emu.isa import Slot
from emu.savevm.stream import from_bytes

MASTER, SLAVE = 0x20, 0xA0
ELCR_MASTER, ELCR_SLAVE = 0x4D0, 0x4D1
PORTS = (0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1)

READ_IRR, READ_ISR = 0x0A, 0x0B
POLL = 0x0C
SET_SPECIAL_MASK, RESET_SPECIAL_MASK = 0x68, 0x48

SFNM, BUF, MS, AEOI, UPM = 0x10, 0x08, 0x04, 0x02, 0x01

PIC = Bench[Pair]


def plug_in(slot: Slot) -> Pair:
    return attach_pair(slot, Line("INTR"))


def initialize(
    pic: PIC, base: int, *, icw1: int = 0x11, icw3: int | None = None, icw4: int = UPM
) -> None:
    """Write ICW1-ICW4 as a PC's firmware does: vectors 08h and on, 70h and on."""
    usual = {MASTER: 0x04, SLAVE: 0x02}[base]
    pic.outb(base, icw1)
    pic.outb(base + 1, {MASTER: 0x08, SLAVE: 0x70}[base])
    if not icw1 & 0x02:
        pic.outb(base + 1, usual if icw3 is None else icw3)
    if icw1 & 0x01:
        pic.outb(base + 1, icw4)


def drive(pic: PIC, *irqs: int, high: bool) -> None:
    for irq in irqs:
        pic.slot.irqs[irq].drive(high=high)


def pulse(pic: PIC, *irqs: int) -> None:
    drive(pic, *irqs, high=True)
    drive(pic, *irqs, high=False)


def intr(pic: PIC) -> bool:
    return pic.card.master.interrupt.level


def inta(pic: PIC) -> int:
    return pic.card.acknowledge()


def irr(pic: PIC, base: int) -> int:
    pic.outb(base, READ_IRR)
    return pic.inb(base)


def isr(pic: PIC, base: int) -> int:
    pic.outb(base, READ_ISR)
    return pic.inb(base)


def command(pic: PIC, base: int, ocw2: OCW2, level: int = 0) -> None:
    pic.outb(base, ocw2 << 5 | level)


def eoi(pic: PIC, *bases: int) -> None:
    for base in bases:
        command(pic, base, OCW2.NON_SPECIFIC_EOI)


@pytest.fixture
def pic() -> PIC:
    """A pair as a PC's firmware leaves it, everything unmasked."""
    pic = Bench(plug_in)
    initialize(pic, MASTER)
    initialize(pic, SLAVE)
    return pic


class TestInitialization:
    """§ "Initialization Command Words 1 and 2 (ICW1, ICW2)", ICW3 and ICW4."""

    @pytest.mark.parametrize(
        ("icw1", "further_words"),
        [
            (0x10, [0x08, 0x04]),
            (0x11, [0x08, 0x04, UPM]),
            (0x12, [0x08]),
            (0x13, [0x08, UPM]),
        ],
        ids=["ICW2 ICW3", "ICW2 ICW3 ICW4", "ICW2", "ICW2 ICW4"],
    )
    def test_ICW3_follows_unless_SNGL_and_ICW4_only_if_IC4(
        self, pic: PIC, icw1: int, further_words: list[int]
    ) -> None:
        """Figure "Initialization Sequence": the byte after the last ICW is the mask."""
        pic.outb(MASTER, icw1)
        masks = []
        for word in (*further_words, 0xA5):
            masks.append(pic.inb(MASTER + 1))
            pic.outb(MASTER + 1, word)

        assert masks == [0x00] * (len(further_words) + 1)
        assert pic.inb(MASTER + 1) == 0xA5

    @pytest.mark.parametrize("irq", range(8))
    @pytest.mark.parametrize(("icw2", "base"), [(0x08, 0x08), (0xF8, 0xF8), (0x27, 0x20)])
    def test_a_vector_is_T7_to_T3_and_the_level(
        self, pic: PIC, irq: int, icw2: int, base: int
    ) -> None:
        """A15-A11, that is T7-T3, "are inserted in the five most significant bits"."""
        pic.outb(MASTER, 0x12)
        pic.outb(MASTER + 1, icw2)
        initialize(pic, SLAVE)
        drive(pic, 9 if irq == 2 else irq, high=True)

        assert inta(pic) == base + irq

    def test_ICW1_resets_the_edge_sense_circuit(self, pic: PIC) -> None:
        """(a): "an interrupt request (IR) input must make a low-to-high transition"."""
        drive(pic, 4, high=True)
        initialize(pic, MASTER)

        assert not intr(pic)
        assert irr(pic, MASTER) == 0

        drive(pic, 4, high=True)
        assert not intr(pic), "it is high already"

        drive(pic, 4, high=False)
        drive(pic, 4, high=True)
        assert intr(pic)

    def test_ICW1_clears_the_interrupt_mask_register(self, pic: PIC) -> None:
        """(b)."""
        pic.outb(MASTER + 1, 0xFF)
        initialize(pic, MASTER)

        assert pic.inb(MASTER + 1) == 0x00

    def test_ICW1_assigns_priority_7_to_IR7(self, pic: PIC) -> None:
        """(c)."""
        command(pic, MASTER, OCW2.SET_PRIORITY, 3)
        initialize(pic, MASTER)
        pulse(pic, 4, 0)

        assert inta(pic) == 0x08

    def test_ICW1_clears_special_mask_mode(self, pic: PIC) -> None:
        """(e)."""
        pic.outb(MASTER, SET_SPECIAL_MASK)
        initialize(pic, MASTER)
        pulse(pic, 1)
        inta(pic)
        pic.outb(MASTER + 1, 1 << 1)
        pulse(pic, 3)

        assert not intr(pic)

    def test_ICW1_sets_status_read_to_IRR(self, pic: PIC) -> None:
        """(e)."""
        pic.outb(MASTER, READ_ISR)
        initialize(pic, MASTER)
        pulse(pic, 5)

        assert pic.inb(MASTER) == 1 << 5

    def test_without_IC4_all_functions_of_ICW4_are_zero(self, pic: PIC) -> None:
        """(f)."""
        initialize(pic, MASTER, icw4=SFNM | AEOI | UPM)
        initialize(pic, MASTER, icw1=0x10)
        pulse(pic, 9)

        assert inta(pic) == 0x71
        assert isr(pic, MASTER) == 1 << 2, "no AEOI"

        command(pic, SLAVE, OCW2.SPECIFIC_EOI, 1)
        pulse(pic, 8)
        assert not intr(pic), "no SFNM"

    def test_ICW1_takes_everything_out_of_service(self, pic: PIC) -> None:
        """The chip has no RESET pin: a PC that restarts from a handler relies on ICW1."""
        pulse(pic, 0)
        inta(pic)
        initialize(pic, MASTER)

        assert isr(pic, MASTER) == 0

        pulse(pic, 1)
        assert intr(pic)

    def test_ICW1_ends_rotation_in_automatic_EOI(self, pic: PIC) -> None:
        """The flip-flop is part of what is begun again."""
        command(pic, MASTER, OCW2.SET_ROTATE_IN_AUTO_EOI)
        initialize(pic, MASTER, icw4=AEOI | UPM)
        pulse(pic, 0)
        inta(pic)
        pulse(pic, 0, 1)

        assert inta(pic) == 0x08

    def test_ICW1_forgets_a_poll_command(self, pic: PIC) -> None:
        pic.outb(MASTER, POLL)
        initialize(pic, MASTER)
        pulse(pic, 5)

        assert pic.inb(MASTER) == 1 << 5
        assert intr(pic)

    @pytest.mark.parametrize("icw4", [BUF | UPM, BUF | MS | UPM, MS | UPM])
    def test_buffered_mode_changes_nothing(self, pic: PIC, icw4: int) -> None:
        """§ "Buffered Mode": it steers bus drivers that no board of ours has."""
        initialize(pic, MASTER, icw4=icw4)
        initialize(pic, SLAVE, icw4=icw4)
        pulse(pic, 12)

        assert inta(pic) == 0x74
        assert (isr(pic, MASTER), isr(pic, SLAVE)) == (1 << 2, 1 << 4)

    @pytest.mark.parametrize("icw1", [0x11, 0x15, 0xF1, 0xF5])
    def test_in_MCS_80_mode_the_vector_is_an_8086s(self, pic: PIC, icw1: int) -> None:
        """Not modelled: uPM = 0, ADI and A7-A5 would make INTA fetch a CALL."""
        initialize(pic, MASTER, icw1=icw1, icw4=0)
        pulse(pic, 3)

        assert inta(pic) == 0x0B


class TestEdgeTriggered:
    """§ "Edge and Level Triggered Modes", LTIM = 0."""

    @pytest.mark.parametrize("irq", [0, 1, 3, 4, 5, 6, 7])
    def test_a_rising_edge_requests(self, pic: PIC, irq: int) -> None:
        drive(pic, irq, high=True)

        assert intr(pic)
        assert irr(pic, MASTER) == 1 << irq
        assert isr(pic, MASTER) == 0

    def test_an_acknowledged_request_moves_from_IRR_to_ISR(self, pic: PIC) -> None:
        """§ "Interrupt Sequence": "the highest priority ISR bit is set and the corresponding IRR
        bit is reset".
        """
        drive(pic, 4, high=True)

        assert inta(pic) == 0x0C
        assert not intr(pic)
        assert irr(pic, MASTER) == 0
        assert isr(pic, MASTER) == 1 << 4

    def test_a_line_that_stays_high_requests_once(self, pic: PIC) -> None:
        """Then "the IR input can remain high without generating another interrupt"."""
        drive(pic, 4, high=True)
        inta(pic)
        eoi(pic, MASTER)
        drive(pic, 4, high=True)

        assert not intr(pic)

        drive(pic, 4, high=False)
        drive(pic, 4, high=True)
        assert intr(pic)

    def test_an_edge_during_service_is_kept_for_after_it(self, pic: PIC) -> None:
        pulse(pic, 4)
        inta(pic)
        pulse(pic, 4)
        assert not intr(pic)

        eoi(pic, MASTER)
        assert intr(pic)
        assert inta(pic) == 0x0C

    def test_a_request_outlives_its_line(self, pic: PIC) -> None:
        """Not as the data sheet has it: see the list in i8259.py."""
        pulse(pic, 4)

        assert intr(pic)
        assert inta(pic) == 0x0C


class TestLevelTriggered:
    """§ "Edge and Level Triggered Modes", LTIM = 1, and the PIIX's ELCR."""

    @pytest.fixture(params=["LTIM", "ELCR"])
    def level(self, request: pytest.FixtureRequest, pic: PIC) -> PIC:
        """A pair whose IRQ 5 is level triggered."""
        if request.param == "LTIM":
            initialize(pic, MASTER, icw1=0x19)
        else:
            pic.outb(ELCR_MASTER, 1 << 5)
        return pic

    def test_a_high_line_requests_again_after_each_EOI(self, level: PIC) -> None:
        """So "the interrupt request must be removed before the EOI command is issued"."""
        drive(level, 5, high=True)
        assert inta(level) == 0x0D
        assert irr(level, MASTER) == 1 << 5
        assert not intr(level), "it is in service"

        eoi(level, MASTER)
        assert intr(level)
        assert inta(level) == 0x0D

        drive(level, 5, high=False)
        eoi(level, MASTER)
        assert not intr(level)
        assert irr(level, MASTER) == 0

    def test_a_request_goes_with_its_line(self, level: PIC) -> None:
        drive(level, 5, high=True)
        drive(level, 5, high=False)

        assert not intr(level)
        assert irr(level, MASTER) == 0

    def test_with_automatic_EOI_a_high_line_requests_at_once(self, level: PIC) -> None:
        level.outb(MASTER + 1, 0)
        initialize(level, MASTER, icw1=0x19, icw4=AEOI | UPM)
        drive(level, 5, high=True)

        assert [inta(level), inta(level)] == [0x0D, 0x0D]
        assert intr(level)

    def test_ICW1_leaves_a_high_line_requesting(self, pic: PIC) -> None:
        """What it resets is the edge sense circuit; ELCR is outside the 8259A."""
        pic.outb(ELCR_MASTER, 1 << 5)
        drive(pic, 5, 6, high=True)
        initialize(pic, MASTER)

        assert irr(pic, MASTER) == 1 << 5
        assert pic.inb(ELCR_MASTER) == 1 << 5

    def test_LTIM_lasts_until_the_next_ICW1(self, pic: PIC) -> None:
        initialize(pic, MASTER, icw1=0x19)
        drive(pic, 5, high=True)
        assert irr(pic, MASTER) == 1 << 5

        initialize(pic, MASTER, icw1=0x11)
        assert irr(pic, MASTER) == 0

    @pytest.mark.parametrize(
        ("port", "settable"), [(ELCR_MASTER, 0b1111_1000), (ELCR_SLAVE, 0b1101_1110)]
    )
    def test_ELCR_has_no_bits_for_IRQ_0_1_2_8_and_13(
        self, pic: PIC, port: int, settable: int
    ) -> None:
        """82371FB, ELCR1 and ELCR2: these are reserved and must be 0."""
        assert pic.inb(port) == 0

        pic.outb(port, 0xFF)
        assert pic.inb(port) == settable

        pic.outb(port, 0x00)
        assert pic.inb(port) == 0

    def test_a_line_made_level_triggered_requests_if_it_is_high(self, pic: PIC) -> None:
        drive(pic, 5, high=True)
        inta(pic)
        eoi(pic, MASTER)
        pulse(pic, 6)
        assert inta(pic) == 0x0E

        pic.outb(ELCR_MASTER, 1 << 5 | 1 << 6)
        assert intr(pic)
        assert irr(pic, MASTER) == 1 << 5

    def test_a_line_made_edge_triggered_keeps_its_request(self, pic: PIC) -> None:
        pic.outb(ELCR_MASTER, 1 << 5)
        drive(pic, 5, high=True)
        pic.outb(ELCR_MASTER, 0)

        assert inta(pic) == 0x0D
        eoi(pic, MASTER)
        assert not intr(pic)

    def test_reading_ELCR_is_no_poll(self, pic: PIC) -> None:
        pulse(pic, 5)
        pic.outb(MASTER, POLL)

        assert pic.inb(ELCR_MASTER) == 0
        assert pic.inb(MASTER) == POLL_I | 5


class TestSpurious:
    """§ "Interrupt Sequence": "if no interrupt request is present at step 4", the 8259A "will issue
    an interrupt level 7", and nothing goes into service.
    """

    def test_a_request_that_has_gone_is_taken_for_IR7(self, pic: PIC) -> None:
        pic.outb(ELCR_MASTER, 1 << 5)
        drive(pic, 5, high=True)
        assert intr(pic)

        drive(pic, 5, high=False)
        assert inta(pic) == 0x0F
        assert isr(pic, MASTER) == 0

    def test_a_request_masked_before_INTA_stays_in_IRR(self, pic: PIC) -> None:
        pulse(pic, 3)
        pic.outb(MASTER + 1, 1 << 3)

        assert inta(pic) == 0x0F
        assert isr(pic, MASTER) == 0
        assert irr(pic, MASTER) == 1 << 3

    def test_a_real_IR7_is_in_service(self, pic: PIC) -> None:
        """How a handler tells them apart."""
        pulse(pic, 7)

        assert inta(pic) == 0x0F
        assert isr(pic, MASTER) == 1 << 7

    def test_the_slaves_is_IRQ15_and_in_service_at_the_master(self, pic: PIC) -> None:
        """The master's request was a real one, so it needs an EOI and the slave none."""
        pulse(pic, 11)
        pic.outb(SLAVE + 1, 0xFF)
        assert intr(pic)

        assert inta(pic) == 0x77
        assert isr(pic, SLAVE) == 0
        assert isr(pic, MASTER) == 1 << 2

    def test_it_rotates_nothing(self, pic: PIC) -> None:
        initialize(pic, MASTER, icw4=AEOI | UPM)
        command(pic, MASTER, OCW2.SET_ROTATE_IN_AUTO_EOI)
        inta(pic)
        pulse(pic, 0, 7)

        assert inta(pic) == 0x08


class TestMasks:
    """§ "Interrupt Masks"."""

    @pytest.mark.parametrize("irq", [0, 7])
    def test_a_masked_request_waits_in_IRR(self, pic: PIC, irq: int) -> None:
        pic.outb(MASTER + 1, 1 << irq)
        pulse(pic, irq)
        assert not intr(pic)
        assert irr(pic, MASTER) == 1 << irq

        pic.outb(MASTER + 1, 0)
        assert intr(pic)
        assert inta(pic) == 0x08 + irq

    def test_masking_a_level_leaves_the_others(self, pic: PIC) -> None:
        """Those of lower priority too."""
        pic.outb(MASTER + 1, 1 << 0)
        pulse(pic, 0, 6)

        assert inta(pic) == 0x0E


class TestFullyNested:
    """§ "Fully Nested Mode": priorities go "from 0 through 7 (0 highest)"."""

    def test_requests_are_served_highest_first(self, pic: PIC) -> None:
        order = [0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 3, 4, 5, 6, 7]
        pulse(pic, *reversed(order))

        vectors = []
        while intr(pic):
            vectors.append(inta(pic))
            eoi(pic, SLAVE, MASTER)
        assert vectors == [0x08 + irq if irq < 8 else 0x68 + irq for irq in order]

    def test_a_level_in_service_bars_itself_and_those_below(self, pic: PIC) -> None:
        """While it is, "all further interrupts of the same or lower priority are inhibited"."""
        pulse(pic, 4)
        inta(pic)

        pulse(pic, 4, 5, 7)
        assert not intr(pic)

        pulse(pic, 3)
        assert intr(pic)
        assert inta(pic) == 0x0B
        assert isr(pic, MASTER) == 1 << 3 | 1 << 4


class TestEndOfInterrupt:
    """§ "End of Interrupt (EOI)"."""

    def test_a_nonspecific_EOI_ends_the_highest_in_service(self, pic: PIC) -> None:
        for irq in (6, 4, 1):
            pulse(pic, irq)
            inta(pic)

        seen = []
        for _ in range(4):
            seen.append(isr(pic, MASTER))
            eoi(pic, MASTER)
        assert seen == [0b0101_0010, 0b0101_0000, 0b0100_0000, 0]

    @pytest.mark.parametrize("level", range(8))
    def test_a_specific_EOI_ends_its_level(self, pic: PIC, level: int) -> None:
        for irq in (7, 6, 5, 4, 3, 8, 1, 0):
            pulse(pic, irq)
            inta(pic)
        assert isr(pic, MASTER) == 0xFF

        command(pic, MASTER, OCW2.SPECIFIC_EOI, level)
        assert isr(pic, MASTER) == 0xFF & ~(1 << level)

    @pytest.mark.parametrize(
        "ocw2", [OCW2.NON_SPECIFIC_EOI, OCW2.ROTATE_ON_NON_SPECIFIC_EOI, OCW2.NO_OPERATION]
    )
    def test_with_nothing_in_service_nothing_happens(self, pic: PIC, ocw2: OCW2) -> None:
        command(pic, MASTER, ocw2, 2)
        pulse(pic, 0, 4)

        assert inta(pic) == 0x08

    def test_no_operation_ends_nothing(self, pic: PIC) -> None:
        pulse(pic, 2 + 8)
        inta(pic)
        command(pic, MASTER, OCW2.NO_OPERATION, 2)

        assert isr(pic, MASTER) == 1 << 2


class TestAutomaticEndOfInterrupt:
    """§ "Automatic End of Interrupt (AEOI) Mode"."""

    @pytest.fixture
    def automatic(self, pic: PIC) -> PIC:
        initialize(pic, MASTER, icw4=AEOI | UPM)
        return pic

    def test_nothing_stays_in_service(self, automatic: PIC) -> None:
        pulse(automatic, 4, 5)

        assert inta(automatic) == 0x0C
        assert isr(automatic, MASTER) == 0
        assert intr(automatic)
        assert inta(automatic) == 0x0D
        assert not intr(automatic)

    def test_priorities_stay_unless_rotation_is_set(self, automatic: PIC) -> None:
        pulse(automatic, 4)
        inta(automatic)
        pulse(automatic, 4, 5)

        assert inta(automatic) == 0x0C

    def test_rotation_makes_each_acknowledged_level_the_lowest(self, automatic: PIC) -> None:
        """§ "Automatic Rotation (Equal Priority Devices)": "Rotate in Automatic EOI Mode (R = 1,
        SL = 0, EOI = 0)".
        """
        command(automatic, MASTER, OCW2.SET_ROTATE_IN_AUTO_EOI)
        pulse(automatic, 4)
        inta(automatic)
        pulse(automatic, 4, 3, 5)

        assert [inta(automatic) for _ in range(3)] == [0x0D, 0x0B, 0x0C]

    def test_rotation_can_be_cleared(self, automatic: PIC) -> None:
        """It is "cleared by (R = 0, SL = 0, EOI = 0)"."""
        command(automatic, MASTER, OCW2.SET_ROTATE_IN_AUTO_EOI)
        command(automatic, MASTER, OCW2.CLEAR_ROTATE_IN_AUTO_EOI)
        pulse(automatic, 4)
        inta(automatic)
        pulse(automatic, 4, 5)

        assert inta(automatic) == 0x0C


class TestRotation:
    """§ "Automatic Rotation (Equal Priority Devices)", "Specific Rotation (Specific Priority)"."""

    def test_the_level_a_rotating_nonspecific_EOI_ends_becomes_the_lowest(self, pic: PIC) -> None:
        """The data sheet's example: IR4 and IR6 in service, then IR5 is highest, IR4 lowest."""
        for irq in (6, 4):
            pulse(pic, irq)
            inta(pic)
        command(pic, MASTER, OCW2.ROTATE_ON_NON_SPECIFIC_EOI)
        assert isr(pic, MASTER) == 1 << 6

        pulse(pic, 0, 4, 5)
        assert inta(pic) == 0x0D
        assert not intr(pic), "IR6 comes before IR0 and IR4 now"

        command(pic, MASTER, OCW2.SPECIFIC_EOI, 5)
        command(pic, MASTER, OCW2.SPECIFIC_EOI, 6)
        assert inta(pic) == 0x08
        eoi(pic, MASTER)
        assert inta(pic) == 0x0C

    def test_a_rotating_specific_EOI_ends_its_level_and_makes_it_the_lowest(self, pic: PIC) -> None:
        """R = 1, SL = 1, EOI = 1."""
        for irq in (6, 1):
            pulse(pic, irq)
            inta(pic)
        command(pic, MASTER, OCW2.ROTATE_ON_SPECIFIC_EOI, 6)
        assert isr(pic, MASTER) == 1 << 1

        pulse(pic, 0, 7)
        assert inta(pic) == 0x0F

    @pytest.mark.parametrize("bottom", range(8))
    def test_set_priority_fixes_all_other_priorities(self, pic: PIC, bottom: int) -> None:
        """So "if IR5 is programmed as the bottom priority device, then IR6 will have the highest
        one".
        """
        command(pic, MASTER, OCW2.SET_PRIORITY, bottom)
        pulse(pic, 0, 1, 9, 3, 4, 5, 6, 7)

        levels = []
        while intr(pic):
            vector = inta(pic)
            levels.append(2 if vector == 0x71 else vector - 0x08)
            eoi(pic, MASTER)
        assert levels == [(bottom + 1 + rank) % 8 for rank in range(8)]

    def test_set_priority_ends_nothing(self, pic: PIC) -> None:
        pulse(pic, 5)
        inta(pic)
        command(pic, MASTER, OCW2.SET_PRIORITY, 5)

        assert isr(pic, MASTER) == 1 << 5


class TestSpecialMask:
    """§ "Special Mask Mode"."""

    @pytest.fixture
    def special(self, pic: PIC) -> PIC:
        """A pair whose IR3 is in service and masked in special mask mode."""
        pulse(pic, 3)
        inta(pic)
        pic.outb(MASTER, SET_SPECIAL_MASK)
        pic.outb(MASTER + 1, 1 << 3)
        return pic

    @pytest.mark.parametrize("irq", [0, 4, 7])
    def test_all_levels_that_are_not_masked_are_enabled(self, special: PIC, irq: int) -> None:
        """All others, "lower as well as higher"."""
        pulse(special, irq)

        assert intr(special)
        assert inta(special) == 0x08 + irq

    def test_the_masked_level_is_inhibited(self, special: PIC) -> None:
        pulse(special, 3)

        assert not intr(special)

    def test_a_nonspecific_EOI_passes_over_a_masked_level(self, special: PIC) -> None:
        """§ "End of Interrupt": "an IS bit that is masked by an IMR bit will not be cleared by a
        non-specific EOI if the 8259A is in the Special Mask Mode".
        """
        pulse(special, 6)
        inta(special)
        eoi(special, MASTER)
        assert isr(special, MASTER) == 1 << 3

        eoi(special, MASTER)
        assert isr(special, MASTER) == 1 << 3

        command(special, MASTER, OCW2.SPECIFIC_EOI, 3)
        assert isr(special, MASTER) == 0

    def test_it_ends_with_SMM_cleared(self, special: PIC) -> None:
        """ESMM = 1, SMM = 0."""
        special.outb(MASTER, RESET_SPECIAL_MASK)
        pulse(special, 4)

        assert not intr(special)

    def test_without_ESMM_the_SMM_bit_is_a_dont_care(self, special: PIC) -> None:
        special.outb(MASTER, 0x08)
        pulse(special, 4)
        assert intr(special)

        special.outb(MASTER, RESET_SPECIAL_MASK)
        special.outb(MASTER, 0x28)
        assert not intr(special)


class TestPoll:
    """§ "Poll Command"."""

    @pytest.mark.parametrize("offset", [0, 1])
    def test_the_next_read_is_an_acknowledge(self, pic: PIC, offset: int) -> None:
        """It "sets the appropriate IS bit if there is a request, and reads the priority level"."""
        pulse(pic, 5, 3)
        pic.outb(MASTER, POLL)

        assert pic.inb(MASTER + offset) == POLL_I | 3
        assert isr(pic, MASTER) == 1 << 3
        assert irr(pic, MASTER) == 1 << 5
        assert not intr(pic)

    @pytest.mark.parametrize("offset", [0, 1])
    def test_with_no_request_I_is_0_and_nothing_is_served(self, pic: PIC, offset: int) -> None:
        pic.outb(MASTER, POLL)

        assert pic.inb(MASTER + offset) == 0
        assert isr(pic, MASTER) == 0

    def test_it_lasts_for_one_read(self, pic: PIC) -> None:
        pulse(pic, 3)
        pic.outb(MASTER, READ_ISR)
        pic.outb(MASTER, POLL)

        assert [pic.inb(MASTER), pic.inb(MASTER)] == [POLL_I | 3, 1 << 3]

    def test_it_comes_before_a_status_read_in_the_same_word(self, pic: PIC) -> None:
        """§ "Reading the 8259A Status": "polling overrides status read when P = 1, RR = 1"."""
        pulse(pic, 3)
        pic.outb(MASTER, POLL | READ_ISR)

        assert [pic.inb(MASTER), pic.inb(MASTER)] == [POLL_I | 3, 1 << 3]

    def test_master_and_slave_are_polled_one_after_the_other(self, pic: PIC) -> None:
        """The master's word says no more than which slave to go on with."""
        pulse(pic, 12, 10)

        levels = []
        for _ in range(2):
            pic.outb(MASTER, POLL)
            levels.append(pic.inb(MASTER))
            pic.outb(SLAVE, POLL)
            levels.append(pic.inb(SLAVE))
            eoi(pic, SLAVE, MASTER)
        assert levels == [POLL_I | 2, POLL_I | 2, POLL_I | 2, POLL_I | 4]


class TestStatus:
    """§ "Reading the 8259A Status"."""

    def test_the_8259A_remembers_whether_IRR_or_ISR_was_selected(self, pic: PIC) -> None:
        pulse(pic, 3)
        inta(pic)
        pulse(pic, 6)

        pic.outb(MASTER, READ_ISR)
        assert [pic.inb(MASTER), pic.inb(MASTER)] == [1 << 3, 1 << 3]

        pic.outb(MASTER, 0x09)  # RR = 0: RIS is a don't care
        assert pic.inb(MASTER) == 1 << 3

        pic.outb(MASTER, READ_IRR)
        assert [pic.inb(MASTER), pic.inb(MASTER)] == [1 << 6, 1 << 6]

    def test_IMR_is_read_with_A0_high_whatever_is_selected(self, pic: PIC) -> None:
        pic.outb(MASTER + 1, 0x5A)
        pic.outb(MASTER, READ_ISR)

        assert pic.inb(MASTER + 1) == 0x5A


class TestSpecialFullyNested:
    """§ "The Special Fully Nested Mode"."""

    @pytest.fixture
    def special(self, pic: PIC) -> PIC:
        """A pair whose master is in the mode, with IRQ12 in service."""
        initialize(pic, MASTER, icw4=SFNM | UPM)
        pulse(pic, 12)
        inta(pic)
        return pic

    def test_a_slave_in_service_is_not_locked_out(self, special: PIC) -> None:
        pulse(special, 9)

        assert intr(special)
        assert inta(special) == 0x71
        assert (isr(special, MASTER), isr(special, SLAVE)) == (1 << 2, 1 << 1 | 1 << 4)

    def test_in_the_normal_mode_it_is(self, pic: PIC) -> None:
        """There "a slave is masked out when its request is in service"."""
        pulse(pic, 12)
        inta(pic)
        pulse(pic, 9)

        assert not intr(pic)

    def test_what_is_below_the_slave_stays_barred(self, special: PIC) -> None:
        pulse(special, 3)
        assert not intr(special)

        pulse(special, 9)
        assert inta(special) == 0x71

    def test_what_is_above_bars_the_slave(self, special: PIC) -> None:
        pulse(special, 1)
        inta(special)
        pulse(special, 9)

        assert not intr(special)

    def test_an_input_without_a_slave_bars_itself(self, pic: PIC) -> None:
        initialize(pic, MASTER, icw4=SFNM | UPM)
        pulse(pic, 4)
        inta(pic)
        pulse(pic, 4)

        assert not intr(pic)


class TestCascade:
    """§ "Cascade Mode"."""

    @pytest.mark.parametrize("irq", range(8, 16))
    def test_the_slave_gives_the_vector_of_its_request(self, pic: PIC, irq: int) -> None:
        drive(pic, irq, high=True)
        assert intr(pic)

        assert inta(pic) == 0x70 + irq - 8
        assert (isr(pic, MASTER), isr(pic, SLAVE)) == (1 << 2, 1 << irq - 8)
        assert not intr(pic)

    def test_an_EOI_must_be_issued_twice(self, pic: PIC) -> None:
        """That is "once for the master and once for the corresponding slave"."""
        pulse(pic, 12)
        inta(pic)
        pulse(pic, 12, 3)

        eoi(pic, SLAVE)
        assert not intr(pic)

        eoi(pic, MASTER)
        assert inta(pic) == 0x74

        eoi(pic, MASTER)
        assert inta(pic) == 0x0B

    def test_the_next_request_of_the_slave_is_a_new_edge_at_the_master(self, pic: PIC) -> None:
        """With AEOI the slave's INT does not wait for an EOI to rise again."""
        initialize(pic, MASTER, icw4=AEOI | UPM)
        initialize(pic, SLAVE, icw4=AEOI | UPM)
        drive(pic, 9, 10, high=True)

        assert inta(pic) == 0x71
        assert intr(pic)
        assert inta(pic) == 0x72
        assert not intr(pic)

    def test_a_slave_that_has_been_polled_makes_a_new_edge_too(self, pic: PIC) -> None:
        initialize(pic, SLAVE, icw4=AEOI | UPM)
        drive(pic, 9, 10, high=True)
        pic.outb(MASTER, POLL)
        assert pic.inb(MASTER) == POLL_I | 2

        pic.outb(SLAVE, POLL)
        assert pic.inb(SLAVE) == POLL_I | 1
        eoi(pic, MASTER)
        assert inta(pic) == 0x72

    def test_a_masked_slave_input_does_not_reach_the_master(self, pic: PIC) -> None:
        pic.outb(SLAVE + 1, 1 << 4)
        pulse(pic, 12)
        assert not intr(pic)
        assert irr(pic, MASTER) == 0

        pic.outb(SLAVE + 1, 0)
        assert irr(pic, MASTER) == 1 << 2
        assert inta(pic) == 0x74

    @pytest.mark.parametrize("word", [{"icw3": 0x00}, {"icw1": 0x13}], ids=["ICW3", "SNGL"])
    def test_a_master_that_knows_of_no_slave_gives_its_own_vector(
        self, pic: PIC, word: dict[str, int]
    ) -> None:
        """ICW3 of a master: S = 0, the "IR input does not have a slave"."""
        initialize(pic, MASTER, **word)
        pulse(pic, 12)

        assert inta(pic) == 0x0A
        assert isr(pic, SLAVE) == 0

    @pytest.mark.parametrize("number", [0, 1, 3, 6])
    def test_a_slave_of_another_number_does_not_answer(self, pic: PIC, number: int) -> None:
        """It "compares its cascade input with these bits" of ICW3, and nobody drives the bus."""
        initialize(pic, SLAVE, icw3=number)
        pulse(pic, 12)

        assert inta(pic) == 0xFF
        assert (isr(pic, MASTER), isr(pic, SLAVE)) == (1 << 2, 0)

    def test_a_slave_is_found_by_its_number(self, pic: PIC) -> None:
        """Not where it is wired: the master of this PC believes that it is on IR4."""
        initialize(pic, MASTER, icw3=1 << 4)
        initialize(pic, SLAVE, icw3=0xF8 | 4)
        pulse(pic, 9, 4)
        assert inta(pic) == 0x0A
        eoi(pic, MASTER)

        assert inta(pic) == 0x71

    def test_a_slave_in_single_mode_looks_at_no_number(self, pic: PIC) -> None:
        initialize(pic, SLAVE, icw3=5)
        initialize(pic, SLAVE, icw1=0x13)
        pulse(pic, 12)

        assert inta(pic) == 0x74

    def test_before_the_first_ICW1_it_is_as_wired(self) -> None:
        """Nothing is specified then; QEMU's chips are so, and so is what it saves."""
        pic = Bench(plug_in)
        pulse(pic, 12)

        assert intr(pic)
        assert inta(pic) == 4

    def test_no_card_may_have_IRQ2(self, pic: PIC) -> None:
        with pytest.raises(ConfigError, match="IRQ 2 is driven by another"):
            pic.slot.irq(2)

    def test_a_PC_reset_does_not_reach_it(self, pic: PIC) -> None:
        """The 8259A has no RESET pin."""
        pic.outb(MASTER + 1, 0x12)
        pulse(pic, 12)
        pic.slot.reset()

        assert pic.inb(MASTER + 1) == 0x12
        assert inta(pic) == 0x74


def look(pic: PIC) -> tuple[object, ...]:
    """All that can be seen of a pair without disturbing it."""
    return (intr(pic), pic.slot.irqs[2].level, *(pic.inb(port) for port in PORTS))


# What happens to a busy pair in the twin test; each step is given the pair.
STEPS: list[Callable[[PIC], object]] = [
    lambda pic: pic.outb(ELCR_SLAVE, 1 << 2),
    lambda pic: drive(pic, 4, high=True),
    lambda pic: drive(pic, 9, 10, high=True),
    lambda pic: pic.outb(MASTER, READ_ISR),
    inta,
    lambda pic: command(pic, SLAVE, OCW2.SET_ROTATE_IN_AUTO_EOI),
    inta,
    lambda pic: drive(pic, 4, high=True),
    lambda pic: drive(pic, 10, high=False),
    lambda pic: pic.outb(SLAVE, SET_SPECIAL_MASK),
    lambda pic: command(pic, MASTER, OCW2.ROTATE_ON_NON_SPECIFIC_EOI),
    inta,
    lambda pic: drive(pic, 4, high=False),
    lambda pic: drive(pic, 4, 1, high=True),
    lambda pic: pic.outb(MASTER, POLL),
    lambda pic: pic.inb(MASTER),
    lambda pic: pic.outb(MASTER, 0x1B),
    lambda pic: pic.outb(MASTER + 1, 0x40),
    lambda pic: pic.outb(MASTER + 1, UPM | AEOI),
    inta,
    lambda pic: pic.outb(SLAVE, 0x10),
    lambda pic: pic.outb(SLAVE + 1, 0x50),
    lambda pic: pic.outb(SLAVE + 1, 0x05),
    lambda pic: pic.outb(SLAVE + 1, 0xF0),
    lambda pic: drive(pic, 9, high=False),
    lambda pic: drive(pic, 9, high=True),
    inta,
]


class TestSavedAndRestored:
    def run(self, pic: PIC, *, restore_at: int | None = None) -> list[object]:
        """Watch a pair through STEPS, moving it to a new machine once."""
        initialize(pic, MASTER, icw4=SFNM | UPM)
        initialize(pic, SLAVE, icw4=AEOI | UPM)

        seen: list[object] = []
        for moment, step in enumerate(STEPS):
            if moment == restore_at:
                pic = pic.migrate()
            seen.append(step(pic))
            seen.append((intr(pic), pic.slot.irqs[2].level))
        seen.append(look(pic))
        return seen

    @pytest.mark.parametrize("moment", range(len(STEPS)))
    def test_a_restore_at_any_moment_is_invisible(self, moment: int) -> None:
        expected = self.run(Bench(plug_in))

        assert self.run(Bench(plug_in), restore_at=moment) == expected

    def storm(self, seed: int, *, migrate: bool) -> list[object]:
        """Do what a mad guest and mad cards might; *migrate* before every step or never."""
        dice = random.Random(seed)
        pic: PIC = Bench(plug_in)
        seen: list[object] = []
        for _ in range(400):
            if migrate:
                pic = pic.migrate()
            match dice.choice(["write", "write", "read", "line", "line", "INTA"]):
                case "write":
                    pic.outb(dice.choice(PORTS), dice.randrange(0x100))
                case "read":
                    seen.append(pic.inb(dice.choice(PORTS)))
                case "line":
                    number = dice.choice([0, 1, *range(3, 16)])
                    drive(pic, number, high=dice.random() < 0.6)
                case "INTA":
                    seen.append(inta(pic))
            seen.append((intr(pic), pic.slot.irqs[2].level))
        return [*seen, look(pic)]

    @pytest.mark.parametrize("seed", range(8))
    def test_a_mad_guest_is_survived_and_saved_alike(self, seed: int) -> None:
        assert self.storm(seed, migrate=True) == self.storm(seed, migrate=False)

    def test_a_line_driven_again_after_a_restore_is_no_edge(self, pic: PIC) -> None:
        """Every card drives its outputs anew when it is loaded, in any order."""
        drive(pic, 4, 12, high=True)
        inta(pic)
        eoi(pic, SLAVE, MASTER)
        inta(pic)
        eoi(pic, MASTER)
        other = pic.migrate()

        drive(other, 4, 12, high=True)
        other.card.slave.settle()
        other.card.master.settle()

        assert not intr(other)
        assert irr(other, MASTER) == irr(other, SLAVE) == 0

    def test_the_stream_is_what_it_has_always_been(self, pic: PIC) -> None:
        """QEMU's section byte for byte, and ours for LTIM and ICW3."""
        initialize(pic, SLAVE, icw1=0x1B, icw4=SFNM | AEOI | UPM)
        command(pic, SLAVE, OCW2.SET_ROTATE_IN_AUTO_EOI)
        pic.outb(SLAVE, 0x10)
        pic.outb(SLAVE + 1, 0x50)
        pic.outb(SLAVE + 1, 0x07)
        pic.outb(ELCR_SLAVE, 0x02)
        drive(pic, 4, 9, high=True)
        inta(pic)
        drive(pic, 3, high=True)
        drive(pic, 3, high=False)
        command(pic, MASTER, OCW2.SET_PRIORITY, 5)
        pic.outb(MASTER, SET_SPECIAL_MASK | POLL | READ_ISR)
        pic.outb(MASTER + 1, 0xA0)
        pic.outb(SLAVE, 0x1B)

        qemu_master = "14 18 a0 04 06 08 01 01 01 00 00 00 00 01 00 00"
        qemu_slave = "02 02 00 00 00 00 00 00 00 01 00 00 00 01 02 02"
        assert list(pic.slot.registry.save_sections().items()) == [
            (("i8259", 0), (1, bytes.fromhex(qemu_master))),
            (("emu/i8259", 0), (1, bytes.fromhex("00 00"))),
            (("i8259", 1), (1, bytes.fromhex(qemu_slave))),
            (("emu/i8259", 1), (1, bytes.fromhex("01 05"))),
        ]

    def test_the_modes_of_ICW4_and_OCW2_are_in_the_stream(self, pic: PIC) -> None:
        initialize(pic, MASTER, icw4=AEOI | UPM)
        initialize(pic, SLAVE, icw4=SFNM | UPM)
        command(pic, SLAVE, OCW2.SET_ROTATE_IN_AUTO_EOI)

        sections = pic.slot.registry.save_sections()
        assert sections["i8259", 0][1][9:15] == bytes([0, 1, 0, 0, 1, 0])
        assert sections["i8259", 1][1][9:15] == bytes([0, 0, 1, 1, 1, 0])


def load_qemu(master: bytes, slave: bytes) -> PIC:
    """A pair as it is after reading what QEMU saved, which has no sections of ours."""
    pic: PIC = Bench(plug_in)
    chips = (pic.card.master, pic.card.slave)
    for chip, data in zip(chips, (master, slave), strict=True):
        f = from_bytes(data)
        chip.state = SAVED.decode(f, {QEMU.idstr: QEMU.get(f, 1)})
    for chip in chips:
        chip.settle()
    return pic


class TestQEMUsStreams:
    IDLE_MASTER = bytes([0, 0, 0, 0, 0, 0x08, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0])
    IDLE_SLAVE = bytes([0, 0, 0, 0, 0, 0x70, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0])

    def change(self, data: bytes, changes: dict[int, int]) -> bytes:
        return bytes(changes.get(index, byte) for index, byte in enumerate(data))

    def test_a_chip_without_our_section_is_cascaded_as_wired(self) -> None:
        pic = load_qemu(self.IDLE_MASTER, self.IDLE_SLAVE)
        pulse(pic, 12)

        assert inta(pic) == 0x74

    def test_what_firmware_programs_needs_no_section_of_ours(self, pic: PIC) -> None:
        """So that it can be given to QEMU without loss."""
        sections = pic.slot.registry.save_sections()

        assert sections["i8259", 0][1] == self.IDLE_MASTER
        assert sections["i8259", 1][1] == self.IDLE_SLAVE
        assert sections["emu/i8259", 0] == sections["emu/i8259", 1] == (1, bytes(2))

    def test_INT_is_raised_for_a_request_in_the_stream(self) -> None:
        """QEMU's says nothing of INT itself."""
        master = self.change(self.IDLE_MASTER, {0: 0x04, 1: 0x04})
        slave = self.change(self.IDLE_SLAVE, {1: 0x10})
        pic = load_qemu(master, slave)

        assert intr(pic)
        assert inta(pic) == 0x74
        assert inta(pic) == 0x0F, "there was one request"

    def test_a_level_triggered_request_without_its_line_has_one(self) -> None:
        """After an ICW1, QEMU has forgotten the line but not the request."""
        pic = load_qemu(self.change(self.IDLE_MASTER, {1: 0x28, 15: 0x20}), self.IDLE_SLAVE)
        assert irr(pic, MASTER) == 0x28

        drive(pic, 3, 5, high=False)
        assert irr(pic, MASTER) == 0x08

    def test_a_level_triggered_line_without_its_request_has_one(self) -> None:
        pic = load_qemu(self.change(self.IDLE_MASTER, {0: 0x28, 15: 0x20}), self.IDLE_SLAVE)

        assert irr(pic, MASTER) == 0x20

    @pytest.mark.parametrize(
        ("index", "value", "message"),
        [
            (4, 8, "highest = 0x8 does not fit in 3 bits"),
            (6, 2, "'read_reg_select'.*not a truth value"),
            (7, 2, "'poll'.*not a truth value"),
            (9, 4, "'init_state'.*no such choice"),
            (14, 4, "single = 0x4 does not fit in 2 bits"),
        ],
    )
    def test_what_no_chip_can_hold_is_refused(self, index: int, value: int, message: str) -> None:
        with pytest.raises(StreamError, match=message):
            load_qemu(self.change(self.IDLE_MASTER, {index: value}), self.IDLE_SLAVE)

    @pytest.mark.parametrize("seed", range(8))
    def test_any_stream_that_is_taken_can_be_run(self, seed: int) -> None:
        """However little its bytes agree with each other."""
        dice = random.Random(seed)
        most = [255, 255, 255, 255, 7, 255, 1, 1, 1, 3, 1, 1, 1, 1, 3, 255]
        pic = load_qemu(*(bytes(dice.randint(0, each) for each in most) for _ in range(2)))

        for number in (0, 1, *range(3, 16)):
            pulse(pic, number)
            assert 0 <= inta(pic) <= 0xFF
            eoi(pic, SLAVE, MASTER)
