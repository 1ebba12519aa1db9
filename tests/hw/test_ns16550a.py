"""The NS16550A does what its data sheet says.

Sections and tables are those of the PC16550D data sheet, National Semiconductor 1995.  The chip
is driven only by its ports, its line and the passage of time.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest

from bench import Bench
from emu import attrs
from emu.clock import NEVER
from emu.errors import StreamError
from emu.hw import ns16550a
from emu.hw.ns16550a import (
    FCR_FIFO_ENABLE,
    FCR_RCVR_FIFO_RESET,
    FCR_XMIT_FIFO_RESET,
    IER_EDSSI,
    IER_ELSI,
    IER_ERBFI,
    IER_ETBEI,
    LCR_DLAB,
    LCR_SET_BREAK,
    LSR_BI,
    LSR_DR,
    LSR_FE,
    LSR_FIFO_ERROR,
    LSR_OE,
    LSR_PE,
    LSR_TEMT,
    LSR_THRE,
    MCR_DTR,
    MCR_LOOP,
    MCR_OUT1,
    MCR_OUT2,
    MCR_RTS,
    MSR_CTS,
    MSR_DCD,
    MSR_DCTS,
    MSR_DDCD,
    MSR_DDSR,
    MSR_DSR,
    MSR_RI,
    MSR_TERI,
    NS16550A,
    Interrupt,
    Read,
    Write,
)
from emu.isa import Slot
from emu.savevm.stream import from_bytes
from emu.savevm.vmstate import Values, dump

BASE, IRQ = 0x3F8, 4
DLL, DLM = BASE, BASE + 1
EIGHT_BITS = 0x03  # LCR: 8 data bits, no parity, 1 stop bit
FIFOS = 0xC0  # IIR: they are enabled
IDLE = LSR_THRE | LSR_TEMT
CHARACTER_NS = 86_805  # 10 bits at 115200 baud
TRIGGERS = {1: 0x00, 4: 0x40, 8: 0x80, 14: 0xC0}  # FCR by trigger level, Table in §8.5


@attrs.define(eq=False)
class Com:
    """A serial port on a bench, and what was seen on its pins."""

    sent: list[tuple[int, int]] = attrs.field(factory=list)  # when, character
    irq_levels: list[bool] = attrs.field(factory=list)  # each that differs from the one before
    irq_times: list[tuple[int, bool]] = attrs.field(factory=list)
    bench: Bench[NS16550A] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.bench = Bench(self.plug_in)

    def plug_in(self, slot: Slot) -> NS16550A:
        slot.irqs[IRQ].connect(lambda high: self.note_irq(slot, high=high))
        return ns16550a.attach(
            slot, transmit=lambda character: self.sent.append((slot.clock.now_ns, character))
        )

    def note_irq(self, slot: Slot, *, high: bool) -> None:
        if high != (self.irq_levels[-1] if self.irq_levels else False):
            self.irq_levels.append(high)
            self.irq_times.append((slot.clock.now_ns, high))

    @property
    def now_ns(self) -> int:
        return self.bench.slot.clock.now_ns

    @property
    def irq(self) -> bool:
        return self.bench.irq(IRQ)

    @property
    def has_room(self) -> bool:
        return self.bench.card.room.level

    def read(self, register: Read) -> int:
        return self.bench.inb(BASE + register)

    def write(self, register: Write, value: int) -> None:
        self.bench.outb(BASE + register, value)

    def receive(self, *characters: int, errors: int = 0) -> None:
        for character in characters:
            self.bench.card.receive(character, errors)

    def set_modem(
        self, *, cts: bool = True, dsr: bool = True, ri: bool = False, dcd: bool = True
    ) -> None:
        self.bench.card.set_modem(cts=cts, dsr=dsr, ri=ri, dcd=dcd)

    def wait(self, *, characters: float = 0, ns: int = 0) -> None:
        self.bench.wait(math.ceil(characters * CHARACTER_NS) + ns)

    def set_divisor(self, divisor: int) -> None:
        lcr = self.read(Read.LCR)
        self.write(Write.LCR, lcr | LCR_DLAB)
        self.bench.outb(DLL, divisor & 0xFF)
        self.bench.outb(DLM, divisor >> 8)
        self.write(Write.LCR, lcr)

    def open(self, *, mcr: int = MCR_OUT2, fcr: int = 0, ier: int = 0) -> None:
        """115200 baud, 8 data bits, no parity, 1 stop bit."""
        self.set_divisor(1)
        self.write(Write.LCR, EIGHT_BITS)
        self.write(Write.MCR, mcr)
        self.write(Write.FCR, fcr)
        self.write(Write.IER, ier)

    def read_all(self) -> list[int]:
        """Every character that is there to be read."""
        characters = []
        while self.read(Read.LSR) & LSR_DR:
            characters.append(self.read(Read.RBR))
        return characters

    @property
    def sent_characters(self) -> list[int]:
        return [character for _, character in self.sent]

    def migrate(self) -> None:
        self.bench = self.bench.migrate()

    def sections(self) -> dict[tuple[str, int], tuple[int, bytes]]:
        return self.bench.slot.registry.save_sections()


@pytest.fixture
def com() -> Com:
    """A port at power-on."""
    return Com()


@pytest.fixture
def line() -> Com:
    """A port that is set up, without FIFOs."""
    com = Com()
    com.open()
    return com


@pytest.fixture
def fifo() -> Com:
    """A port that is set up, with FIFOs and a trigger level of 1."""
    com = Com()
    com.open(fcr=FCR_FIFO_ENABLE)
    return com


class TestPowerOnAndReset:
    RESET = (
        (Read.IER, 0x00),
        (Read.IIR, 0x01),
        (Read.LCR, 0x00),
        (Read.MCR, 0x00),
        (Read.LSR, 0x60),
        (Read.MSR, 0xB0),
        (Read.SCR, 0x00),
    )

    @pytest.mark.parametrize(("register", "value"), RESET)
    def test_registers_at_power_on(self, com: Com, register: Read, value: int) -> None:
        """Table I; on MSR bits 7-4 the levels of an attached terminal."""
        assert com.read(register) == value

    @pytest.mark.parametrize(("register", "value"), RESET)
    def test_MR_gives_every_register_its_reset_state(
        self, fifo: Com, register: Read, value: int
    ) -> None:
        """Table I."""
        fifo.write(Write.MCR, 0x0F)
        fifo.write(Write.IER, 0x0F)
        fifo.write(Write.SCR, 0x5A)
        fifo.receive(1, 2, 3, errors=LSR_PE)
        fifo.write(Write.THR, 0x41)
        fifo.set_modem(cts=False)
        fifo.set_modem()
        assert fifo.irq

        fifo.bench.slot.reset()

        assert fifo.read(register) == value
        assert not fifo.irq

    def test_MR_leaves_the_divisor_alone(self, com: Com) -> None:
        """§6.0, MR: "clears all the registers (except ...)"."""
        com.set_divisor(0x0302)

        com.bench.slot.reset()
        com.write(Write.LCR, LCR_DLAB)

        assert (com.bench.inb(DLL), com.bench.inb(DLM)) == (0x02, 0x03)

    def test_MR_drops_what_is_being_sent(self, fifo: Com) -> None:
        """Table I: LSR says that the transmitter is empty, SOUT is high."""
        fifo.write(Write.THR, 0x41)
        fifo.write(Write.THR, 0x42)

        fifo.bench.slot.reset()
        fifo.wait(characters=10)

        assert fifo.sent == []

    def test_MR_keeps_the_levels_of_the_modem(self, com: Com) -> None:
        """Table I, note 2: bits 7-4 are driven by the input signals."""
        com.set_modem(cts=False, ri=True)

        com.bench.slot.reset()

        assert com.read(Read.MSR) == MSR_DSR | MSR_DCD | MSR_RI

    def test_the_divisor_at_power_on_is_9600_baud(self, com: Com) -> None:
        """The data sheet leaves it open; QEMU has 12."""
        com.write(Write.LCR, LCR_DLAB)

        assert (com.bench.inb(DLL), com.bench.inb(DLM)) == (12, 0)


class TestRegisters:
    @pytest.mark.parametrize("value", [0x00, 0x5A, 0xFF])
    def test_SCR_holds_a_byte(self, com: Com, value: int) -> None:
        """§8.10."""
        com.write(Write.SCR, value)

        assert com.read(Read.SCR) == value

    def test_LCR_can_be_read(self, com: Com) -> None:
        """§8.1."""
        com.write(Write.LCR, 0x3B)

        assert com.read(Read.LCR) == 0x3B

    def test_IER_bits_4_to_7_are_always_0(self, com: Com) -> None:
        """§8.7."""
        com.write(Write.IER, 0xFF)

        assert com.read(Read.IER) == 0x0F

    def test_MCR_bits_5_to_7_are_always_0(self, com: Com) -> None:
        """§8.8."""
        com.write(Write.MCR, 0xFF)

        assert com.read(Read.MCR) == 0x1F

    def test_DLAB_puts_the_divisor_latches_in_place_of_RBR_THR_and_IER(self, line: Com) -> None:
        """§8.1, bit 7."""
        line.write(Write.IER, 0x0F)
        line.receive(0x55)

        line.write(Write.LCR, LCR_DLAB | EIGHT_BITS)
        line.bench.outb(DLL, 0x34)
        line.bench.outb(DLM, 0x12)
        assert (line.bench.inb(DLL), line.bench.inb(DLM)) == (0x34, 0x12)
        assert line.read(Read.LSR) == IDLE | LSR_DR, "neither RBR read nor THR written"

        line.write(Write.LCR, EIGHT_BITS)
        assert (line.read(Read.RBR), line.read(Read.IER)) == (0x55, 0x0F)

    def test_DLAB_leaves_the_other_registers_where_they_are(self, com: Com) -> None:
        """§6.0, A0-A2: DLAB is X for them."""
        com.write(Write.LCR, LCR_DLAB)
        com.write(Write.SCR, 0x12)
        com.write(Write.MCR, MCR_DTR)

        assert (com.read(Read.SCR), com.read(Read.MCR)) == (0x12, MCR_DTR)
        assert com.read(Read.LSR) == IDLE

    @pytest.mark.parametrize("register", [Write.LSR, Write.MSR])
    def test_status_registers_are_not_written(self, com: Com, register: Write) -> None:
        """§8.4: writing is for factory testing only."""
        com.write(register, 0xFF)
        com.write(register, 0x00)

        assert (com.read(Read.LSR), com.read(Read.MSR)) == (IDLE, 0xB0)

    def test_any_byte_may_be_written_to_any_register_in_any_order(self, com: Com) -> None:
        """A guest can be wrong; it cannot crash the machine."""
        chance = random.Random(16550)

        for _ in range(3000):
            com.bench.outb(BASE + chance.randrange(8), chance.randrange(256))
            com.receive(chance.randrange(256), errors=chance.randrange(256))
            com.wait(ns=chance.randrange(2 * CHARACTER_NS))
            assert 0 <= com.bench.inb(BASE + chance.randrange(8)) <= 0xFF
        assert com.sections() == com.sections()


class TestBaudGenerator:
    @pytest.mark.parametrize(
        ("lcr", "bits"),
        [
            (0b000000, 7),
            (0b000001, 8),
            (0b000010, 9),
            (0b000011, 10),
            (0b000100, 7.5),  # one and a half stop bits
            (0b000101, 9),
            (0b000111, 11),
            (0b001011, 11),  # odd parity
            (0b011111, 12),
            (0b111011, 11),  # stick parity
        ],
    )
    def test_the_bits_of_a_character(self, com: Com, lcr: int, bits: float) -> None:
        """§8.1: a start bit, 5 to 8 data bits, parity, 1, 1.5 or 2 stop bits."""
        com.set_divisor(1)
        com.write(Write.LCR, lcr)

        com.write(Write.THR, 0)
        com.wait(ns=200_000)

        assert com.sent == [(int(bits * 1_000_000_000 / 115_200), 0)]

    @pytest.mark.parametrize(
        ("divisor", "baud"),
        [(1, 115_200), (3, 38_400), (12, 9600), (384, 300), (2304, 50), (0xFFFF, 115_200 / 0xFFFF)],
    )
    def test_the_divisor_sets_the_rate(self, com: Com, divisor: int, baud: float) -> None:
        """Table III: 1.8432 MHz divided by 16 and by the divisor."""
        com.set_divisor(divisor)
        com.write(Write.LCR, EIGHT_BITS)

        com.write(Write.THR, 0x7E)
        com.wait(ns=7_000_000_000)

        assert com.sent == [(int(10 * 1_000_000_000 / baud), 0x7E)]

    def test_a_divisor_of_0_counts_as_1(self, com: Com) -> None:
        """§8.3: "not recommended"; here it is the fastest rate, and harmless."""
        com.set_divisor(0)
        com.write(Write.LCR, EIGHT_BITS)

        com.write(Write.THR, 0x7E)
        com.wait(characters=1)

        assert com.sent == [(CHARACTER_NS, 0x7E)]

    def test_a_character_on_its_way_keeps_its_time(self, line: Com) -> None:
        """What TSR shifts is not timed anew where LCR and the divisor change."""
        line.write(Write.THR, 0x41)
        line.wait(characters=0.5)

        line.set_divisor(12)
        line.write(Write.LCR, 0x00)
        line.wait(characters=0.5)

        assert line.sent == [(CHARACTER_NS, 0x41)]


class TestTransmitter:
    def test_a_character_is_sent_when_its_stop_bit_is_over(self, line: Com) -> None:
        line.write(Write.THR, 0x41)
        line.wait(ns=CHARACTER_NS - 1)
        assert line.sent == []

        line.wait(ns=1)
        assert line.sent == [(CHARACTER_NS, 0x41)]

    def test_THRE_and_TEMT(self, line: Com) -> None:
        """§8.4, bits 5 and 6: THR moves on to the shift register where that is empty."""
        seen = [line.read(Read.LSR)]
        for character in (0x41, 0x42):
            line.write(Write.THR, character)
            seen.append(line.read(Read.LSR))
        for _ in range(2):
            line.wait(characters=1)
            seen.append(line.read(Read.LSR))

        assert seen == [IDLE, LSR_THRE, 0, LSR_THRE, IDLE]

    def test_THRE_in_FIFO_mode(self, fifo: Com) -> None:
        """§8.4, bit 5: "set when the XMIT FIFO is empty"."""
        seen = []
        for character in (0x41, 0x42, 0x43):
            fifo.write(Write.THR, character)
            seen.append(fifo.read(Read.LSR))
        for _ in range(3):
            fifo.wait(characters=1)
            seen.append(fifo.read(Read.LSR))

        assert seen == [LSR_THRE, 0, 0, 0, LSR_THRE, IDLE]

    def test_characters_follow_each_other_without_a_gap(self, fifo: Com) -> None:
        for character in b"Hello":
            fifo.write(Write.THR, character)
        fifo.wait(characters=10)

        assert fifo.sent == [
            ((place + 1) * CHARACTER_NS, character) for place, character in enumerate(b"Hello")
        ]

    @pytest.mark.parametrize(
        ("lcr", "sent"), [(0x00, 0x1F), (0x01, 0x3F), (0x02, 0x7F), (0x03, 0xFF)]
    )
    def test_only_the_bits_of_the_word_are_sent(self, com: Com, lcr: int, sent: int) -> None:
        """§8.1, bits 0 and 1."""
        com.set_divisor(1)
        com.write(Write.LCR, lcr)

        com.write(Write.THR, 0xFF)
        com.wait(characters=1)

        assert com.sent_characters == [sent]

    @pytest.mark.parametrize("kept", [0, 1])
    def test_FCR2_clears_the_XMIT_FIFO_but_not_the_shift_register(
        self, fifo: Com, kept: int
    ) -> None:
        """§8.5, bit 2; the bit clears itself."""
        for character in b"abc":
            fifo.write(Write.THR, character)
        fifo.wait(characters=kept)

        fifo.write(Write.FCR, FCR_FIFO_ENABLE | FCR_XMIT_FIFO_RESET)
        assert fifo.read(Read.LSR) == LSR_THRE

        fifo.write(Write.THR, ord("d"))
        fifo.wait(characters=5)
        assert bytes(fifo.sent_characters) == b"ab"[: kept + 1] + b"d"


class TestTransmitterFull:
    """The deviation from hardware: a write to THR that finds no room waits for it."""

    TEXT = bytes(range(0x20, 0x48))

    @pytest.mark.parametrize(("fcr", "unwaited"), [(0, 2), (FCR_FIFO_ENABLE, 17)])
    def test_a_write_waits_until_there_is_room(self, com: Com, fcr: int, unwaited: int) -> None:
        """One character in TSR and as many as THR or the FIFO holds go without waiting."""
        com.open(fcr=fcr)

        times = []
        for character in self.TEXT:
            com.write(Write.THR, character)
            times.append(com.now_ns)
        com.wait(characters=20)

        assert bytes(com.sent_characters) == self.TEXT
        assert times == [
            max(0, place + 1 - unwaited) * CHARACTER_NS for place in range(len(self.TEXT))
        ]

    @pytest.mark.parametrize("fcr", [0, FCR_FIFO_ENABLE])
    def test_it_waits_in_loopback_too(self, com: Com, fcr: int) -> None:
        com.open(fcr=fcr, mcr=MCR_LOOP)

        received = []
        for character in self.TEXT:
            com.write(Write.THR, character)
            received += com.read_all()
        for _ in range(18):
            com.wait(characters=1)
            received += com.read_all()

        assert bytes(received) == self.TEXT

    def test_the_rest_of_the_machine_lives_on_meanwhile(self, line: Com) -> None:
        """The wait moves the one clock there is."""
        seen = []
        alarm = line.bench.slot.alarm("test", "tick", lambda: seen.append(line.now_ns))
        alarm.arm(CHARACTER_NS // 2)

        for character in b"abc":
            line.write(Write.THR, character)

        assert seen == [CHARACTER_NS // 2]
        assert line.now_ns == CHARACTER_NS

    def test_a_reset_during_the_wait_ends_it(self, line: Com) -> None:
        """What is written then is the first character after the reset."""
        alarm = line.bench.slot.alarm("test", "reset", line.bench.slot.reset)
        alarm.arm(CHARACTER_NS // 2)

        for character in b"abc":
            line.write(Write.THR, character)
        assert line.read(Read.LSR) == LSR_THRE

        line.wait(characters=2)
        assert line.sent_characters == [ord("c") & 0x1F], "LCR is 0: five bits"

    def test_a_character_that_is_overdue_is_waited_for_no_longer(self) -> None:
        """As after a load from QEMU, which does not say when it will have left."""
        com = Com()
        com.open(fcr=FCR_FIFO_ENABLE)
        for character in b"0123456789abcdefg":
            com.write(Write.THR, character)
        com.wait(characters=0.5)
        other = load_qemu(com.sections()["serial", 0][1], now_ns=com.now_ns)

        other.write(Write.THR, ord("!"))

        assert other.sent == [(com.now_ns, ord("0"))]


class TestReceiver:
    def test_a_character_is_ready_until_it_is_read(self, line: Com) -> None:
        """§8.4, bit 0."""
        line.receive(0x55)
        assert line.read(Read.LSR) == IDLE | LSR_DR

        assert line.read(Read.RBR) == 0x55
        assert line.read(Read.LSR) == IDLE

    def test_RBR_goes_on_to_show_the_last_character(self, line: Com) -> None:
        line.receive(0x55)

        assert [line.read(Read.RBR), line.read(Read.RBR)] == [0x55, 0x55]

    @pytest.mark.parametrize(
        ("lcr", "received"), [(0x00, 0x1F), (0x01, 0x3F), (0x02, 0x7F), (0x03, 0xFF)]
    )
    def test_only_the_bits_of_the_word_are_received(
        self, com: Com, lcr: int, received: int
    ) -> None:
        """§8.1, bits 0 and 1."""
        com.write(Write.LCR, lcr)

        com.receive(0xFF)

        assert com.read(Read.RBR) == received

    def test_an_overrun_destroys_the_character_before(self, line: Com) -> None:
        """§8.4, bit 1."""
        line.receive(1, 2)

        assert line.read(Read.LSR) == IDLE | LSR_DR | LSR_OE
        assert line.read(Read.LSR) == IDLE | LSR_DR, "reading LSR has reset OE"
        assert line.read_all() == [2]

    def test_the_FIFO_holds_16_characters(self, fifo: Com) -> None:
        fifo.receive(*range(16))

        assert fifo.read(Read.LSR) == IDLE | LSR_DR
        assert fifo.read_all() == list(range(16))

    def test_an_overrun_in_FIFO_mode_loses_the_new_character(self, fifo: Com) -> None:
        """§8.4, bit 1: it "is not transferred to the FIFO", and OE is indicated at once."""
        fifo.receive(*range(17))

        assert fifo.read(Read.LSR) == IDLE | LSR_DR | LSR_OE
        assert fifo.read_all() == list(range(16))

    @pytest.mark.parametrize("error", [LSR_PE, LSR_FE, LSR_BI])
    def test_errors_are_shown_until_LSR_is_read(self, line: Com, error: int) -> None:
        """§8.4, bits 2-4; bit 7 is 0 without the FIFOs."""
        line.receive(0x41, errors=error)

        assert line.read(Read.LSR) == IDLE | LSR_DR | error
        assert line.read(Read.LSR) == IDLE | LSR_DR

    @pytest.mark.parametrize("error", [LSR_PE, LSR_FE, LSR_BI])
    def test_an_error_is_revealed_when_its_character_is_at_the_top(
        self, fifo: Com, error: int
    ) -> None:
        """§8.4, bits 2-4; bit 7 tells of it from the start."""
        fifo.receive(1)
        fifo.receive(2, errors=error)
        fifo.receive(3)
        ready = IDLE | LSR_DR

        seen = []
        for _ in range(3):
            seen += [fifo.read(Read.LSR), fifo.read(Read.LSR), fifo.read(Read.RBR)]

        hidden, shown = ready | LSR_FIFO_ERROR, ready | LSR_FIFO_ERROR | error
        assert seen == [hidden, hidden, 1, shown, ready, 2, ready, ready, 3]

    def test_LSR7_stays_while_there_are_subsequent_errors(self, fifo: Com) -> None:
        """§8.4, bit 7."""
        fifo.receive(1, 2, errors=LSR_PE)

        assert fifo.read(Read.LSR) == IDLE | LSR_DR | LSR_PE | LSR_FIFO_ERROR
        assert fifo.read(Read.LSR) == IDLE | LSR_DR | LSR_FIFO_ERROR

    def test_an_error_outlives_its_character_until_LSR_is_read(self, line: Com) -> None:
        """Table I: INTR (RCVR errors) is reset by reading LSR."""
        line.receive(1, errors=LSR_FE)
        line.read(Read.RBR)

        assert line.read(Read.LSR) == IDLE | LSR_FE

    def test_what_arrives_as_error_is_an_error_of_the_character_only(self, line: Com) -> None:
        """OE, THRE and the like are not on the line."""
        line.receive(1, errors=0xFF)

        assert line.read(Read.LSR) == IDLE | LSR_DR | LSR_PE | LSR_FE | LSR_BI


class TestFIFOControl:
    def test_FCR1_clears_the_RCVR_FIFO(self, fifo: Com) -> None:
        """§8.5, bit 1; the bit clears itself."""
        fifo.receive(1, 2)
        fifo.write(Write.FCR, FCR_FIFO_ENABLE | FCR_RCVR_FIFO_RESET)
        assert fifo.read(Read.LSR) == IDLE

        fifo.receive(3)
        assert fifo.read_all() == [3]

    def test_FCR1_leaves_the_XMIT_FIFO_alone(self, fifo: Com) -> None:
        """§8.5."""
        for character in b"ab":
            fifo.write(Write.THR, character)
        fifo.write(Write.FCR, FCR_FIFO_ENABLE | FCR_RCVR_FIFO_RESET)
        fifo.wait(characters=2)

        assert bytes(fifo.sent_characters) == b"ab"

    def test_FCR2_leaves_the_RCVR_FIFO_alone(self, fifo: Com) -> None:
        """§8.5."""
        fifo.receive(1, 2)
        fifo.write(Write.FCR, FCR_FIFO_ENABLE | FCR_XMIT_FIFO_RESET)

        assert fifo.read_all() == [1, 2]

    @pytest.mark.parametrize("before", [0, FCR_FIFO_ENABLE])
    def test_a_change_of_mode_clears_both(self, com: Com, before: int) -> None:
        """§8.5, bit 0; the character in TSR goes on."""
        com.open(fcr=before)
        com.receive(1)
        for character in b"ab":
            com.write(Write.THR, character)

        com.write(Write.FCR, before ^ FCR_FIFO_ENABLE)
        assert com.read(Read.LSR) == LSR_THRE

        com.wait(characters=3)
        assert bytes(com.sent_characters) == b"a"

    def test_writing_the_same_mode_clears_nothing(self, fifo: Com) -> None:
        """§8.5."""
        fifo.receive(1)
        fifo.write(Write.FCR, FCR_FIFO_ENABLE | TRIGGERS[8])

        assert fifo.read_all() == [1]

    def test_without_bit_0_the_others_are_not_programmed(self, line: Com) -> None:
        """§8.5, bit 0."""
        line.receive(1)
        line.write(Write.FCR, TRIGGERS[14] | FCR_RCVR_FIFO_RESET | FCR_XMIT_FIFO_RESET)
        assert line.read_all() == [1]

        line.write(Write.FCR, FCR_FIFO_ENABLE)
        line.write(Write.IER, IER_ERBFI)
        line.receive(2)
        assert line.read(Read.IIR) == FIFOS | Interrupt.RECEIVED_DATA, "the trigger level is 1"

    @pytest.mark.parametrize(("fcr", "bits"), [(0x00, 0), (0x01, FIFOS), (0xC6, 0), (0xC9, FIFOS)])
    def test_IIR_tells_whether_the_FIFOs_are_enabled(self, com: Com, fcr: int, bits: int) -> None:
        """§8.6, bits 6 and 7; bits 4 and 5 are 0."""
        com.write(Write.FCR, fcr)

        assert com.read(Read.IIR) == bits | Interrupt.NONE


def raise_line_status(com: Com) -> None:
    com.receive(0x41, 0x42)


def raise_received_data(com: Com) -> None:
    com.receive(0x41)


def raise_thr_empty(com: Com) -> None:
    com.write(Write.THR, 0x41)


def raise_modem_status(com: Com) -> None:
    com.set_modem(cts=False)


def read_lsr(com: Com) -> int:
    return com.read(Read.LSR)


def read_rbr(com: Com) -> int:
    return com.read(Read.RBR)


def read_msr(com: Com) -> int:
    return com.read(Read.MSR)


def read_iir(com: Com) -> int:
    return com.read(Read.IIR)


class TestInterrupts:
    """Table IV."""

    SOURCES = (
        (IER_ELSI, raise_line_status, Interrupt.RECEIVER_LINE_STATUS, read_lsr),
        (IER_ERBFI, raise_received_data, Interrupt.RECEIVED_DATA, read_rbr),
        (IER_ETBEI, raise_thr_empty, Interrupt.THR_EMPTY, read_iir),
        (IER_EDSSI, raise_modem_status, Interrupt.MODEM_STATUS, read_msr),
    )

    @pytest.mark.parametrize(("enable", "happen", "interrupt", "clear"), SOURCES)
    def test_each_is_raised_identified_and_cleared(
        self,
        line: Com,
        enable: int,
        happen: Callable[[Com], None],
        interrupt: Interrupt,
        clear: Callable[[Com], int],
    ) -> None:
        """Table IV, "Interrupt Source" and "Interrupt Reset Control"."""
        line.write(Write.IER, enable)
        line.read(Read.IIR)  # THR is empty from the start
        assert not line.irq

        happen(line)
        assert line.irq
        assert line.bench.irq(IRQ)
        assert line.read(Read.IIR) == interrupt

        clear(line)
        assert not line.irq
        assert line.read(Read.IIR) == Interrupt.NONE

    @pytest.mark.parametrize(("enable", "happen"), [source[:2] for source in SOURCES])
    def test_a_disabled_one_is_not_seen(
        self, line: Com, enable: int, happen: Callable[[Com], None]
    ) -> None:
        """§8.7: neither in IIR nor on INTR."""
        line.write(Write.IER, 0x0F & ~enable & ~IER_ETBEI)
        if happen is raise_line_status:
            line.write(Write.IER, 0)

        happen(line)

        assert line.read(Read.IIR) == Interrupt.NONE
        assert line.irq_levels == []

    def test_the_highest_priority_is_identified_first(self, line: Com) -> None:
        """Table IV, "Priority Level"."""
        line.write(Write.IER, 0x0F)
        line.receive(1, 2)
        line.set_modem(cts=False)

        seen = [line.read(Read.IIR)]
        line.read(Read.LSR)
        seen.append(line.read(Read.IIR))
        line.read(Read.RBR)
        seen += [line.read(Read.IIR), line.read(Read.IIR)]
        assert line.irq
        line.read(Read.MSR)
        seen.append(line.read(Read.IIR))

        assert seen == [
            Interrupt.RECEIVER_LINE_STATUS,
            Interrupt.RECEIVED_DATA,
            Interrupt.THR_EMPTY,
            Interrupt.MODEM_STATUS,
            Interrupt.NONE,
        ]
        assert line.irq_levels == [True, False], "INTR stays high in between"

    def test_IIR_clears_THR_empty_only_as_the_source(self, line: Com) -> None:
        """Table IV: "Reading the IIR Register (if source of interrupt)"."""
        line.write(Write.IER, IER_ETBEI | IER_ERBFI)
        line.receive(1)

        assert line.read(Read.IIR) == Interrupt.RECEIVED_DATA
        line.read(Read.RBR)
        assert line.read(Read.IIR) == Interrupt.THR_EMPTY

    @pytest.mark.parametrize(("level", "fcr"), TRIGGERS.items())
    def test_received_data_at_the_trigger_level(self, com: Com, level: int, fcr: int) -> None:
        """§8.11, A and B: it goes as soon as the FIFO drops below."""
        com.open(fcr=FCR_FIFO_ENABLE | fcr, ier=IER_ERBFI)

        com.receive(*range(level - 1))
        assert not com.irq
        assert com.read(Read.IIR) == FIFOS | Interrupt.NONE

        com.receive(0x41)
        assert com.irq
        assert com.read(Read.IIR) == FIFOS | Interrupt.RECEIVED_DATA

        com.read(Read.RBR)
        assert not com.irq
        assert com.read(Read.IIR) == FIFOS | Interrupt.NONE

    def test_an_error_interrupts_when_it_is_revealed(self, fifo: Com) -> None:
        """§8.4: "revealed to the CPU when its associated character is at the top"."""
        fifo.write(Write.IER, IER_ELSI)
        fifo.receive(1)
        fifo.receive(2, errors=LSR_PE)
        assert not fifo.irq

        fifo.read(Read.RBR)
        assert fifo.irq
        assert fifo.read(Read.IIR) == FIFOS | Interrupt.RECEIVER_LINE_STATUS

    @pytest.mark.parametrize("mcr", [0, MCR_RTS | MCR_DTR | MCR_OUT1, MCR_OUT2 | MCR_LOOP])
    def test_OUT2_gates_the_interrupt(self, com: Com, mcr: int) -> None:
        """PC wiring; §8.8: loopback holds OUT2 inactive."""
        com.open(mcr=MCR_OUT2, ier=IER_ETBEI)
        assert com.irq

        com.write(Write.MCR, mcr)
        assert not com.irq
        com.write(Write.MCR, MCR_OUT2)
        assert com.irq
        com.write(Write.MCR, mcr)
        assert com.read(Read.IIR) == Interrupt.THR_EMPTY, "it is pending all the same"


class TestTHREmptyLatch:
    def test_it_is_set_when_its_interrupt_is_enabled(self, line: Com) -> None:
        line.write(Write.IER, IER_ETBEI)
        assert line.read(Read.IIR) == Interrupt.THR_EMPTY

        line.write(Write.IER, IER_ETBEI | IER_ERBFI)
        assert line.read(Read.IIR) == Interrupt.NONE, "it was on already"

        line.write(Write.IER, 0)
        line.write(Write.IER, IER_ETBEI)
        assert line.read(Read.IIR) == Interrupt.THR_EMPTY

    def test_it_is_not_while_THR_is_full(self, line: Com) -> None:
        for character in b"ab":
            line.write(Write.THR, character)
        line.write(Write.IER, IER_ETBEI)
        assert not line.irq

        line.wait(characters=1)
        assert line.irq

    def test_it_is_set_each_time_THR_becomes_empty(self, line: Com) -> None:
        """§8.4, bit 5, when a character is transferred to the shift register."""
        line.write(Write.IER, IER_ETBEI)
        for _ in range(3):
            assert line.read(Read.IIR) == Interrupt.THR_EMPTY
            assert not line.irq
            line.write(Write.THR, 0x41)  # to TSR
            assert line.read(Read.IIR) == Interrupt.THR_EMPTY
            line.write(Write.THR, 0x42)
            assert line.read(Read.IIR) == Interrupt.NONE
            line.wait(characters=1)
            assert line.irq
            line.wait(characters=1)
            assert line.irq, "TSR getting empty changes nothing"

    def test_it_is_set_when_the_XMIT_FIFO_becomes_empty(self, fifo: Com) -> None:
        """§8.11, XMIT A."""
        fifo.write(Write.IER, IER_ETBEI)
        for character in b"abc":
            fifo.write(Write.THR, character)
        assert not fifo.irq

        fifo.wait(ns=2 * CHARACTER_NS - 1)
        assert not fifo.irq

        fifo.wait(ns=1)
        assert fifo.irq
        assert fifo.read(Read.IIR) == FIFOS | Interrupt.THR_EMPTY

    def test_writing_THR_makes_an_edge(self, line: Com) -> None:
        """§3.0: INTR falls within tHR and rises tSI later, IIR having been read or not.

        A PIC that is edge triggered would otherwise not see the next interrupt.
        """
        line.write(Write.IER, IER_ETBEI)
        line.write(Write.THR, 0x41)

        assert line.irq_levels == [True, False, True]

    def test_a_change_of_mode_sets_it(self, line: Com) -> None:
        """§8.11, XMIT B: "will be immediate"."""
        line.write(Write.IER, IER_ETBEI)
        line.read(Read.IIR)

        line.write(Write.FCR, FCR_FIFO_ENABLE)

        assert line.irq
        assert line.read(Read.IIR) == FIFOS | Interrupt.THR_EMPTY

    def test_clearing_the_XMIT_FIFO_sets_it(self, fifo: Com) -> None:
        """§8.11, XMIT A: it is empty."""
        fifo.write(Write.IER, IER_ETBEI)
        for character in b"abc":
            fifo.write(Write.THR, character)
        assert not fifo.irq

        fifo.write(Write.FCR, FCR_FIFO_ENABLE | FCR_XMIT_FIFO_RESET)
        assert fifo.irq


class TestCharacterTimeout:
    FOUR_NS = 4 * CHARACTER_NS

    @pytest.fixture
    def com(self) -> Com:
        com = Com()
        com.open(fcr=FCR_FIFO_ENABLE | TRIGGERS[14], ier=IER_ERBFI)
        return com

    def test_after_four_character_times_without_traffic(self, com: Com) -> None:
        """§8.11, timeout A."""
        com.receive(0x41)
        com.wait(ns=self.FOUR_NS - 1)
        assert com.read(Read.IIR) == FIFOS | Interrupt.NONE

        com.wait(ns=1)
        assert com.irq_times == [(self.FOUR_NS, True)]
        assert com.read(Read.IIR) == FIFOS | Interrupt.CHARACTER_TIMEOUT

    def test_it_is_cleared_by_reading_one_character(self, com: Com) -> None:
        """§8.11, timeout C: and the timer is reset."""
        com.receive(0x41, 0x42)
        com.wait(ns=self.FOUR_NS)

        com.read(Read.RBR)
        assert not com.irq
        com.wait(ns=self.FOUR_NS - 1)
        assert not com.irq

        com.wait(ns=1)
        assert com.irq

    def test_a_new_character_starts_the_time_again(self, com: Com) -> None:
        """§8.11, timeout D."""
        com.receive(0x41)
        com.wait(ns=self.FOUR_NS - 1)
        com.receive(0x42)
        com.wait(ns=self.FOUR_NS - 1)
        assert not com.irq

        com.wait(ns=1)
        assert com.irq

    def test_a_read_starts_the_time_again(self, com: Com) -> None:
        """§8.11, timeout D."""
        com.receive(0x41, 0x42)
        com.wait(ns=self.FOUR_NS - 1)
        com.read(Read.RBR)
        com.wait(ns=self.FOUR_NS - 1)
        assert not com.irq

        com.wait(ns=1)
        assert com.irq

    def test_a_new_character_does_not_clear_it(self, com: Com) -> None:
        """§8.11, timeout C: a read does."""
        com.receive(0x41)
        com.wait(ns=self.FOUR_NS)
        com.receive(0x42)

        assert com.irq
        assert com.read(Read.IIR) == FIFOS | Interrupt.CHARACTER_TIMEOUT

    def test_an_empty_FIFO_does_not_time_out(self, com: Com) -> None:
        """§8.11, timeout A: "at least one character is in the FIFO"."""
        com.receive(0x41)
        com.read(Read.RBR)
        com.wait(ns=2 * self.FOUR_NS)

        assert com.irq_levels == []

    def test_at_the_trigger_level_data_is_what_is_reported(self, com: Com) -> None:
        """Table IV: both are of the second priority; IIR tells of the trigger level."""
        com.receive(*range(14))
        com.wait(ns=self.FOUR_NS)
        assert com.read(Read.IIR) == FIFOS | Interrupt.RECEIVED_DATA

        com.read(Read.RBR)
        assert com.read(Read.IIR) == FIFOS | Interrupt.NONE

    @pytest.mark.parametrize("fcr", [0, FCR_FIFO_ENABLE | FCR_RCVR_FIFO_RESET])
    @pytest.mark.parametrize("over", [False, True])
    def test_clearing_the_FIFO_ends_it(self, com: Com, fcr: int, *, over: bool) -> None:
        """§8.5: with the characters goes the timeout, under way or over."""
        com.receive(0x41)
        com.wait(ns=self.FOUR_NS if over else 1)

        com.write(Write.FCR, fcr)
        com.wait(ns=2 * self.FOUR_NS)

        assert not com.irq
        assert com.read(Read.IIR) & 0x0F == Interrupt.NONE

    def test_there_is_none_without_the_FIFOs(self, line: Com) -> None:
        """§8.6, bit 3."""
        line.write(Write.IER, IER_ERBFI)
        line.receive(0x41)
        line.wait(ns=2 * self.FOUR_NS)

        assert line.read(Read.IIR) == Interrupt.RECEIVED_DATA

    def test_the_longest_at_300_baud_is_160_ms(self, com: Com) -> None:
        """§8.11: "with a 12-bit receive character"."""
        com.set_divisor(384)
        com.write(Write.LCR, 0x1F)
        com.receive(0x41)
        com.wait(ns=160_000_000)

        assert com.irq_times == [(160_000_000, True)]


class TestModem:
    @pytest.mark.parametrize("asserted", list(itertools.product((False, True), repeat=4)), ids=str)
    def test_MSR_shows_the_inputs(self, com: Com, asserted: tuple[bool, ...]) -> None:
        """§8.9, bits 4-7."""
        cts, dsr, ri, dcd = asserted
        com.set_modem(cts=cts, dsr=dsr, ri=ri, dcd=dcd)

        levels = (MSR_CTS, MSR_DSR, MSR_RI, MSR_DCD)
        assert com.read(Read.MSR) & 0xF0 == sum(itertools.compress(levels, asserted))

    @pytest.mark.parametrize(
        ("off", "change"), [("cts", MSR_DCTS), ("dsr", MSR_DDSR), ("dcd", MSR_DDCD)]
    )
    def test_a_change_is_remembered_until_MSR_is_read(
        self, line: Com, off: str, change: int
    ) -> None:
        """§8.9, bits 0, 1 and 3: both directions."""
        line.write(Write.IER, IER_EDSSI)

        for asserted in (False, True):
            line.set_modem(**{off: asserted})
            assert line.irq
            assert line.read(Read.MSR) & 0x0F == change
            assert not line.irq
            assert line.read(Read.MSR) & 0x0F == 0

    def test_a_change_there_and_back_is_a_change(self, line: Com) -> None:
        """§8.9: "has changed state since the last time it was read"."""
        line.set_modem(cts=False)
        line.set_modem()

        assert line.read(Read.MSR) == 0xB0 | MSR_DCTS

    def test_TERI_is_the_trailing_edge_of_RI(self, line: Com) -> None:
        """§8.9, bit 2."""
        line.set_modem(ri=True)
        assert line.read(Read.MSR) == 0xB0 | MSR_RI

        line.set_modem(ri=False)
        assert line.read(Read.MSR) == 0xB0 | MSR_TERI

    def test_a_level_driven_again_is_no_change(self, line: Com) -> None:
        line.set_modem()

        assert line.read(Read.MSR) == 0xB0

    @pytest.mark.parametrize("mcr", range(0x20))
    def test_DTR_and_RTS_follow_MCR(self, com: Com, mcr: int) -> None:
        """§8.8, bits 0 and 1; inactive in loopback."""
        com.write(Write.MCR, mcr)

        connected = not mcr & MCR_LOOP
        assert com.bench.card.dtr.level == bool(connected and mcr & MCR_DTR)
        assert com.bench.card.rts.level == bool(connected and mcr & MCR_RTS)


class TestLoopback:
    @pytest.fixture
    def loop(self) -> Com:
        com = Com()
        com.open(mcr=MCR_LOOP)
        return com

    def test_what_is_transmitted_is_received(self, loop: Com) -> None:
        """§8.8, bit 4: through the shift registers, so at the end of its bit time."""
        loop.write(Write.THR, 0xA5)
        loop.wait(ns=CHARACTER_NS - 1)
        assert loop.read(Read.LSR) == LSR_THRE

        loop.wait(ns=1)
        assert loop.read(Read.LSR) == IDLE | LSR_DR
        assert loop.read(Read.RBR) == 0xA5

    def test_SOUT_is_marking(self, loop: Com) -> None:
        loop.write(Write.THR, 0xA5)
        loop.wait(characters=2)

        assert loop.sent == []

    def test_SIN_is_disconnected(self, loop: Com) -> None:
        loop.receive(0x41)

        assert loop.read(Read.LSR) == IDLE

    def test_an_overrun_can_be_made(self, loop: Com) -> None:
        for character in b"ab":
            loop.write(Write.THR, character)
        loop.wait(characters=2)

        assert loop.read(Read.LSR) == IDLE | LSR_DR | LSR_OE

    def test_interrupts_are_operational(self, loop: Com) -> None:
        """§8.8: as far as IIR; OUT2 is held inactive."""
        loop.write(Write.IER, IER_ERBFI)
        loop.write(Write.THR, 0x41)
        loop.wait(characters=1)

        assert loop.read(Read.IIR) == Interrupt.RECEIVED_DATA

    def test_what_is_received_times_out(self) -> None:
        """§8.11, timeout A: four character times after the end of its own."""
        loop = Com()
        loop.open(mcr=MCR_LOOP, fcr=FCR_FIFO_ENABLE | TRIGGERS[14], ier=IER_ERBFI)
        loop.write(Write.THR, 0x41)
        loop.wait(ns=5 * CHARACTER_NS - 1)
        assert loop.read(Read.IIR) == FIFOS | Interrupt.NONE

        loop.wait(ns=1)
        assert loop.read(Read.IIR) == FIFOS | Interrupt.CHARACTER_TIMEOUT

    @pytest.mark.parametrize(
        ("output", "shown"),
        [(MCR_DTR, MSR_DSR), (MCR_RTS, MSR_CTS), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD)],
    )
    def test_outputs_are_connected_to_inputs(self, loop: Com, output: int, shown: int) -> None:
        """§8.9, bits 4-7; the levels of the modem come back with it."""
        loop.write(Write.MCR, MCR_LOOP | output)
        assert loop.read(Read.MSR) & 0xF0 == shown

        loop.write(Write.MCR, 0)
        assert loop.read(Read.MSR) & 0xF0 == 0xB0

    def test_MCR_makes_modem_interrupts(self, loop: Com) -> None:
        """§8.8: the sources "are now the lower four bits" of MCR."""
        loop.read(Read.MSR)
        loop.write(Write.IER, IER_EDSSI)
        assert loop.read(Read.IIR) == Interrupt.NONE

        loop.write(Write.MCR, MCR_LOOP | MCR_RTS | MCR_OUT1)
        assert loop.read(Read.IIR) == Interrupt.MODEM_STATUS
        assert loop.read(Read.MSR) & 0x0F == MSR_DCTS

        loop.write(Write.MCR, MCR_LOOP | MCR_RTS)
        assert loop.read(Read.MSR) & 0x0F == MSR_TERI

    def test_the_modem_is_disconnected(self, loop: Com) -> None:
        """§8.8; what it does meanwhile is a change when it is connected again."""
        loop.read(Read.MSR)
        loop.set_modem(cts=True, dsr=False, dcd=False)
        assert loop.read(Read.MSR) == 0

        loop.write(Write.MCR, 0)
        assert loop.read(Read.MSR) == MSR_CTS | MSR_DCTS

    def test_a_character_goes_where_the_loop_is_at_its_end(self, line: Com) -> None:
        line.write(Write.THR, 0x41)
        line.wait(characters=0.5)
        line.write(Write.MCR, MCR_LOOP)
        line.wait(characters=0.5)

        assert (line.sent, line.read_all()) == ([], [0x41])


class TestBreak:
    @pytest.fixture
    def loop(self) -> Com:
        com = Com()
        com.open(mcr=MCR_LOOP)
        return com

    def test_a_character_sent_into_a_break_is_lost(self, line: Com) -> None:
        """§8.1, bit 6: SOUT is spacing; "has no effect on the transmitter logic"."""
        for character in b"ab":
            line.write(Write.THR, character)
        line.write(Write.LCR, EIGHT_BITS | LCR_SET_BREAK)
        line.wait(characters=1)
        assert line.read(Read.LSR) == LSR_THRE

        line.write(Write.LCR, EIGHT_BITS)
        line.wait(characters=1)
        assert bytes(line.sent_characters) == b"b"

    @pytest.mark.parametrize(
        ("parity", "errors"),
        [
            (0x00, LSR_BI | LSR_FE),
            (0x08, LSR_BI | LSR_FE | LSR_PE),  # odd
            (0x18, LSR_BI | LSR_FE),  # even
            (0x28, LSR_BI | LSR_FE | LSR_PE),  # stick 1
            (0x38, LSR_BI | LSR_FE),  # stick 0
            (0x30, LSR_BI | LSR_FE),  # not enabled
        ],
    )
    def test_in_loopback_it_is_received(self, loop: Com, parity: int, errors: int) -> None:
        """§8.4, bit 4: after a full word, with stop and parity bits of 0."""
        lcr = EIGHT_BITS | parity
        word_ns = loop.bench.card.character_ns() if not parity & 0x08 else 95_486

        loop.write(Write.LCR, lcr | LCR_SET_BREAK)
        loop.wait(ns=word_ns - 1)
        assert loop.read(Read.LSR) == IDLE

        loop.wait(ns=1)
        assert loop.read(Read.LSR) == IDLE | LSR_DR | errors
        assert loop.read(Read.RBR) == 0

    def test_only_one_zero_character_is_loaded(self, loop: Com) -> None:
        """§8.4, bit 4; a new break is a new one."""
        loop.write(Write.FCR, FCR_FIFO_ENABLE)
        loop.write(Write.LCR, EIGHT_BITS | LCR_SET_BREAK)
        loop.wait(characters=10)
        assert loop.read_all() == [0]
        loop.write(Write.LCR, EIGHT_BITS | LCR_SET_BREAK)
        loop.wait(characters=10)
        assert loop.read_all() == []

        loop.write(Write.LCR, EIGHT_BITS)
        loop.write(Write.LCR, EIGHT_BITS | LCR_SET_BREAK)
        loop.wait(characters=10)
        assert loop.read_all() == [0]

    @pytest.mark.parametrize(
        ("register", "value"), [(Write.LCR, EIGHT_BITS), (Write.MCR, 0)], ids=["ended", "unlooped"]
    )
    def test_shorter_than_a_word_it_is_none(self, loop: Com, register: Write, value: int) -> None:
        """§8.4, bit 4: "longer than a full word transmission time"."""
        loop.write(Write.LCR, EIGHT_BITS | LCR_SET_BREAK)
        loop.wait(characters=0.9)
        loop.write(register, value)
        loop.wait(characters=2)

        assert loop.read(Read.LSR) == IDLE

    def test_it_drowns_what_is_transmitted(self, loop: Com) -> None:
        loop.write(Write.LCR, EIGHT_BITS | LCR_SET_BREAK)
        loop.wait(characters=1)
        loop.read_all()
        loop.write(Write.THR, 0x41)
        loop.wait(characters=2)

        assert (loop.sent, loop.read(Read.LSR)) == ([], IDLE)


class TestRoom:
    """The output that tells a sender whether a character would be lost."""

    def test_without_FIFOs_while_RBR_is_empty(self, line: Com) -> None:
        assert line.has_room
        line.receive(1)
        assert not line.has_room

        line.read(Read.RBR)
        assert line.has_room

    def test_with_FIFOs_while_they_are_not_full(self, fifo: Com) -> None:
        fifo.receive(*range(15))
        assert fifo.has_room
        fifo.receive(15)
        assert not fifo.has_room

        fifo.read(Read.RBR)
        assert fifo.has_room

    def test_not_in_loopback(self, line: Com) -> None:
        line.write(Write.MCR, MCR_LOOP)
        assert not line.has_room

        line.write(Write.MCR, 0)
        assert line.has_room

    def test_from_the_start(self, com: Com) -> None:
        assert com.has_room


def qemu_values(data: bytes) -> Values:
    return ns16550a.QEMU.get(from_bytes(data), 3)


def load_qemu(data: bytes, *, version: int = 3, now_ns: int = 0) -> Com:
    """A port as it is after reading what QEMU saved, which has no section of ours."""
    com = Com()
    com.bench.slot.clock.now_ns = now_ns
    values = ns16550a.QEMU.get(from_bytes(data), version)
    com.bench.card.state = ns16550a.SAVED.decode(from_bytes(b""), {"serial": values})
    com.bench.card.settle()
    return com


def subsection(name: str, data: str) -> bytes:
    """As docs/devel/migration.rst has it: 5, the length of the name, the name, the version."""
    full = f"serial/{name}".encode()
    return b"\x05" + bytes([len(full)]) + full + bytes.fromhex("00000001" + data)


def ring(characters: bytes, head: int = 0, count: int | None = None) -> str:
    data = (characters.ljust(16, b"\0") * 2)[16 - head : 32 - head]
    return data.hex() + f"{head:08x}{len(characters) if count is None else count:08x}"


IDLE_QEMU = bytes.fromhex("000c 00 00 01 00 08 60 b0 00 00")


class TestTheStream:
    def test_at_power_on_it_is_QEMUs_but_for_MCR(self, com: Com) -> None:
        """QEMU sets OUT2, which Table I has as 0."""
        golden = bytes.fromhex("000c 00 00 01 00 00 60 b0 00 00")
        rest = bytes.fromhex("00000000 00" + "ff" * 8 + "ff" * 8)
        assert com.sections() == {("serial", 0): (3, golden), ("emu/serial", 0): (1, rest)}

    def test_a_busy_port_byte_for_byte(self, com: Com) -> None:
        """Version 3 of QEMU's and version 1 of ours, so that today's saves load for ever."""
        com.open(fcr=FCR_FIFO_ENABLE | TRIGGERS[4], mcr=MCR_OUT2 | MCR_RTS | MCR_DTR)
        com.write(Write.SCR, 0x99)
        com.write(Write.IER, IER_ERBFI | IER_ETBEI)
        com.receive(0x61, errors=LSR_PE | LSR_BI)
        com.receive(0x62, errors=LSR_FE)
        com.wait(characters=4)
        for character in b"ABC":
            com.write(Write.THR, character)
        com.set_modem(dcd=False)

        registers = "0001 61 03 cc 03 0b 11 38 99 41"
        done_ns = f"{5 * CHARACTER_NS:016x}"
        assert com.sections() == {
            ("serial", 0): (
                3,
                bytes.fromhex(registers)
                + subsection("tsr", "00000001 42 41")
                + subsection("recv_fifo", ring(b"ab"))
                + subsection("xmit_fifo", ring(b"BC"))
                + subsection("timeout_ipending", "00000001"),
            ),
            ("emu/serial", 0): (
                1,
                bytes.fromhex("00000002 0008 14" + done_ns + "ff" * 8),
            ),
        }

    def test_the_timeout_and_the_latch(self, com: Com) -> None:
        """Their subsections are there where they are needed."""
        com.open(fcr=FCR_FIFO_ENABLE | TRIGGERS[14], ier=IER_ERBFI | IER_ETBEI)
        com.receive(0x61)
        com.read(Read.IIR)
        com.write(Write.IER, 0)
        com.write(Write.IER, IER_ETBEI)
        com.write(Write.IER, 0)

        _, data = com.sections()["serial", 0]
        assert data == (
            bytes.fromhex("0001 61 00 c1 03 08 61 b0 00 c1")
            + subsection("thr_ipending", "00000001")
            + subsection("recv_fifo", ring(b"a"))
            + subsection("fifo_timeout_timer", f"{4 * CHARACTER_NS:016x}")
        )

    def test_without_FIFOs_THR_has_a_place_of_its_own(self, line: Com) -> None:
        for character in b"AB":
            line.write(Write.THR, character)
        line.receive(0x61)

        _, data = line.sections()["serial", 0]
        assert data == bytes.fromhex("0001 61 00 01 03 08 01 b0 00 00") + subsection(
            "tsr", "00000001 42 41"
        )

    def test_of_FCR_there_is_what_does_not_clear_itself(self, com: Com) -> None:
        """§8.5: enable, DMA mode, trigger; bits 4 and 5 are reserved."""
        com.write(Write.FCR, 0xFF)

        assert qemu_values(com.sections()["serial", 0][1])["fcr"] == 0xC9

    @pytest.mark.parametrize("error", [LSR_PE, LSR_FE])
    def test_QEMU_is_not_told_of_errors_that_it_would_never_clear(
        self, fifo: Com, error: int
    ) -> None:
        """It has no parity and framing errors; ours come back all the same."""
        fifo.receive(1, errors=error)
        assert qemu_values(fifo.sections()["serial", 0][1])["lsr"] == IDLE | LSR_DR

        fifo.migrate()
        assert fifo.read(Read.LSR) == IDLE | LSR_DR | LSR_FIFO_ERROR | error

    @pytest.mark.parametrize("seed", range(20))
    def test_QEMU_accepts_every_state(self, seed: int) -> None:
        """Its rule: tsr_retry > 0 exactly while TEMT is clear; and a FIFO has its bounds."""
        chance = random.Random(seed)
        com = Com()
        com.open(fcr=FCR_FIFO_ENABLE * chance.randrange(2))

        for _ in range(60):
            com.bench.outb(BASE + chance.choice([0, 0, 0, 0, 1, 2, 3, 4]), chance.randrange(128))
            com.receive(chance.randrange(256))
            com.wait(ns=chance.randrange(CHARACTER_NS))
            values = qemu_values(com.sections()["serial", 0][1])
            assert (values.get("tsr_retry", 0) > 0) == (not values["lsr"] & LSR_TEMT)
            assert bool(values["lsr"] & LSR_THRE) >= bool(values["lsr"] & LSR_TEMT)

    def test_every_field_survives(self, com: Com) -> None:
        """The largest values there can be, in both sections."""
        most = {field.name: field.metadata["most"] for field in attrs.fields(ns16550a.State)} | {
            "receiver": b"\xff" * 16,
            "receiver_errors": b"\xff" * 16,
            "transmitter": b"\xff" * 16,
        }
        com.bench.card.state = ns16550a.State(**most)

        other = com.bench.migrate()

        assert other.card.state == ns16550a.State(**most)


class TestQEMUsStreams:
    def test_an_idle_port(self) -> None:
        com = load_qemu(IDLE_QEMU)

        assert [com.read(register) for register in Read] == [0, 0, 1, 0, 8, 0x60, 0xB0, 0]

    def test_a_character_stuck_in_TSR_leaves_at_once(self) -> None:
        """Their stream does not say when it will have left; the next takes its full time."""
        data = bytes.fromhex("0001 00 00 c1 03 08 00 b0 00 01")
        com = load_qemu(
            data + subsection("tsr", "00000003 00 41") + subsection("xmit_fifo", ring(b"B", 15)),
            now_ns=1_000_000,
        )
        assert com.read(Read.LSR) == 0

        com.wait(characters=2)
        assert com.sent == [(1_000_000, 0x41), (1_000_000 + CHARACTER_NS, 0x42)]

    def test_without_FIFOs(self) -> None:
        data = bytes.fromhex("0001 61 00 01 03 08 01 b0 00 00")
        com = load_qemu(data + subsection("tsr", "00000001 42 41"))

        com.wait(characters=1)

        assert com.read_all() == [0x61]
        assert bytes(com.sent_characters) == b"AB"

    def test_a_FIFO_that_goes_round(self) -> None:
        data = bytes.fromhex("0001 00 01 c4 03 08 61 b0 00 01")
        com = load_qemu(data + subsection("recv_fifo", ring(b"abcdef", head=12)))

        assert com.irq
        assert bytes(com.read_all()) == b"abcdef"
        assert not com.irq

    def test_a_timeout_under_way(self) -> None:
        data = bytes.fromhex("0001 00 01 c1 03 08 61 b0 00 c1")
        com = load_qemu(
            data
            + subsection("recv_fifo", ring(b"a"))
            + subsection("fifo_timeout_timer", "00000000000000ff"),
        )

        com.wait(ns=0xFF)

        assert com.irq_times == [(0xFF, True)]
        assert com.read(Read.IIR) == FIFOS | Interrupt.CHARACTER_TIMEOUT

    def test_a_timeout_that_is_over(self) -> None:
        data = bytes.fromhex("0001 00 01 cc 03 08 61 b0 00 c1")
        com = load_qemu(
            data + subsection("recv_fifo", ring(b"a")) + subsection("timeout_ipending", "00000001"),
        )

        assert com.read(Read.IIR) == FIFOS | Interrupt.CHARACTER_TIMEOUT

    @pytest.mark.parametrize(
        ("registers", "told", "pending"),
        [
            ("000c 00 02 02 00 08 60 b0 00 00", b"", True),  # IIR tells
            ("000c 00 02 01 00 08 60 b0 00 00", b"", False),
            ("000c 61 03 04 00 08 61 b0 00 00", subsection("thr_ipending", "00000001"), True),
            ("000c 61 03 04 00 08 61 b0 00 00", subsection("thr_ipending", "00000000"), False),
        ],
    )
    def test_the_latch(self, registers: str, told: bytes, *, pending: bool) -> None:
        """It is told apart where IIR does not imply it."""
        com = load_qemu(bytes.fromhex(registers) + told)
        com.read_all()

        expected = Interrupt.THR_EMPTY if pending else Interrupt.NONE
        assert com.read(Read.IIR) == expected

    def test_a_break(self) -> None:
        com = load_qemu(bytes.fromhex("000c 00 04 06 03 08 71 b0 00 00"))

        assert com.irq
        assert com.read(Read.LSR) == IDLE | LSR_DR | LSR_BI
        assert not com.irq

    def test_its_host_modem_lines_are_dropped(self) -> None:
        com = load_qemu(IDLE_QEMU + subsection("poll", "00000001 0000000000001234"))

        assert com.read(Read.MSR) == 0xB0

    def test_version_2_had_no_FIFOs(self) -> None:
        """2008's."""
        com = load_qemu(IDLE_QEMU[:-1], version=2)

        assert com.read(Read.IIR) == Interrupt.NONE

    @pytest.mark.parametrize(
        ("data", "problem"),
        [
            (bytes.fromhex("000c 00 10 01 00 08 60 b0 00 00"), "ier = 0x10 does not fit"),
            (bytes.fromhex("000c 00 00 01 00 28 60 b0 00 00"), "mcr = 0x28 does not fit"),
            (bytes.fromhex("000c 00 00 01 00 08 20 b0 00 00"), "contradicts LSR"),
            (IDLE_QEMU + subsection("tsr", "00000001 00 41"), "contradicts LSR"),
            (bytes.fromhex("000c 00 00 01 00 08 40 b0 00 00"), "characters wait"),
            (
                bytes.fromhex("000c 00 00 01 00 08 60 b0 00 01")
                + subsection("xmit_fifo", ring(b"a")),
                "characters wait",
            ),
            (
                bytes.fromhex("000c 00 00 01 00 08 61 b0 00 01")
                + subsection("recv_fifo", "00" * 16 + "00000010 00000001"),
                "1 characters from 16 on do not fit",
            ),
            (
                bytes.fromhex("000c 00 00 01 00 08 61 b0 00 01")
                + subsection("recv_fifo", "00" * 16 + "00000000 00000011"),
                "17 characters from 0 on do not fit",
            ),
            (IDLE_QEMU + subsection("watch", ""), "unknown subsection"),
            (IDLE_QEMU + subsection("fifo_timeout_timer", "ff" * 7 + "fe"), "not an instant"),
        ],
    )
    def test_what_cannot_be_is_refused(self, data: bytes, problem: str) -> None:
        with pytest.raises(StreamError, match=problem):
            load_qemu(data)

    @pytest.mark.parametrize("shifting", [False, True])
    def test_our_section_must_agree_with_QEMUs(self, line: Com, *, shifting: bool) -> None:
        """A deadline without a character, or a character without one."""
        if shifting:
            line.write(Write.THR, 0x41)
        sections = line.sections()
        rest = attrs.evolve(line.bench.card.state, tsr_done_ns=NEVER if shifting else CHARACTER_NS)
        sections["emu/serial", 0] = (1, dump(ns16550a.REST, rest))

        with pytest.raises(StreamError, match="tsr_done_ns: contradicts"):
            Com().bench.slot.registry.load_sections(sections)

    @pytest.mark.parametrize("errors", ["00000000", "00000003 ffffff"])
    def test_errors_of_other_characters_than_there_are(self, fifo: Com, errors: str) -> None:
        """Harmless: they are cut off or made up."""
        fifo.receive(1, 2)
        sections = fifo.sections()
        sections["emu/serial", 0] = (1, bytes.fromhex(errors + "00" + "ff" * 16))
        other = Com()

        other.bench.slot.registry.load_sections(sections)

        assert other.read_all() == [1, 2]
        other.receive(3)
        assert other.read(Read.LSR) == IDLE | LSR_DR


Step = Callable[[Com], object]


# A terminal and a guest that talk at the same time, in every mode.
BUSY: tuple[Step, ...] = (
    lambda com: com.open(fcr=0, ier=0x0F),
    lambda com: com.write(Write.THR, 0x41),
    lambda com: com.receive(0x61),
    lambda com: com.write(Write.THR, 0x42),
    lambda com: com.write(Write.THR, 0x43),  # waits
    lambda com: com.receive(0x62),  # overrun
    read_iir,
    read_lsr,
    read_rbr,
    lambda com: com.write(Write.FCR, FCR_FIFO_ENABLE | TRIGGERS[4]),
    *[lambda com, each=each: com.receive(each) for each in b"hello"],
    lambda com: com.receive(0x21, errors=LSR_PE),
    *[lambda com, each=each: com.write(Write.THR, each) for each in b"world"],
    read_iir,
    *[read_rbr] * 4,
    lambda com: com.wait(characters=4.5),  # a timeout
    read_iir,
    *[read_rbr, read_lsr] * 2,
    lambda com: com.set_modem(cts=False, ri=True),
    read_iir,
    read_msr,
    lambda com: com.write(Write.MCR, MCR_LOOP | MCR_OUT1 | MCR_DTR),
    lambda com: com.set_modem(),
    read_msr,
    *[lambda com, each=each: com.write(Write.THR, each) for each in b"loop"],
    *[read_rbr] * 3,
    lambda com: com.write(Write.LCR, EIGHT_BITS | LCR_SET_BREAK),
    lambda com: com.wait(characters=0.5),
    lambda com: com.wait(characters=1),
    read_lsr,
    lambda com: com.write(Write.LCR, EIGHT_BITS),
    lambda com: com.write(Write.THR, 0x44),
    lambda com: com.write(Write.MCR, MCR_OUT2),
    lambda com: com.receive(0x63),
    lambda com: com.wait(characters=5),
    lambda com: com.bench.slot.reset(),
    lambda com: com.write(Write.THR, 0x45),
    lambda com: com.wait(characters=12),
)


def run_busy(*, restore_at: int | None = None) -> list[object]:
    """Everything that can be observed of the busy port, moved to a new machine once."""
    com = Com()
    seen: list[object] = []
    for moment, step in enumerate(BUSY):
        if moment == restore_at:
            before = com.sections()
            com.migrate()
            assert com.sections() == before
        seen.append(step(com))
        com.wait(characters=0.3)
        card = com.bench.card
        seen += [com.now_ns, com.irq, com.has_room, card.dtr.level, card.rts.level]
    return [*seen, com.sent, com.irq_times, com.sections()]


@pytest.fixture(scope="module")
def uninterrupted() -> list[object]:
    return run_busy()


class TestSavedAndRestored:
    @pytest.mark.parametrize("moment", range(len(BUSY)))
    def test_a_restore_at_any_moment_is_invisible(
        self, uninterrupted: list[object], moment: int
    ) -> None:
        """A restored port cannot be told from one that never stopped."""
        assert run_busy(restore_at=moment) == uninterrupted

    def test_two_ports_have_a_section_each(self) -> None:
        slot = Slot()
        ns16550a.attach(slot, transmit=lambda _: None)
        ns16550a.attach(slot, transmit=lambda _: None, base=0x2F8, irq=3, instance=1)

        slot.ports.write(0x2F8 + Write.SCR, 0x77, 1)

        assert [key for key in slot.registry.save_sections() if key[0] == "serial"] == [
            ("serial", 0),
            ("serial", 1),
        ]
        assert slot.ports.read(0x3F8 + Read.SCR, 1) == 0
        assert slot.ports.read(0x2F8 + Read.SCR, 1) == 0x77
