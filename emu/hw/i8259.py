r"""8259A: the programmable interrupt controller, and the pair of them that an AT has.

Eight request inputs, IR0 to IR7, one output, INT.  A request is remembered in IRR; where IMR
does not mask it and nothing of its own or a higher priority is in service (ISR), INT goes high.
The CPU answers with INTA: the request moves from IRR to ISR, the CPU gets its vector, and at its
end the handler writes an EOI, which takes it out of ISR.

    master  slave  A0  read                         write
    ------  -----  --  ---------------------------  ----------------------------------------
    20h     A0h    0   IRR or ISR, or a poll word   ICW1 (D4 = 1), OCW2 (D4 D3 = 00) or
                                                    OCW3 (D4 D3 = 01)
    21h     A1h    1   IMR, or a poll word          OCW1: IMR; after ICW1: ICW2, ICW3, ICW4
    4D0h    4D1h       ELCR                         ELCR: bit n makes IRn level triggered

    ICW1  3 LTIM  1 SNGL  0 IC4                     begin: IC4 an ICW4 follows, SNGL no ICW3 does
    ICW2  7-3 T7-T3                                 the vector of IR0; the others follow it
    ICW3  7-0 S7-S0, or 2-0 ID2-ID0                 master: where slaves are; slave: which it is
    ICW4  4 SFNM  3 BUF  2 M/S  1 AEOI  0 uPM       modes until the next ICW1
    OCW2  7 R  6 SL  5 EOI  2-0 L2-L0               end of interrupt and priorities, see `OCW2`
    OCW3  6 ESMM  5 SMM  2 P  1 RR  0 RIS           special mask mode, poll, which of IRR and ISR
    poll  7 I  2-0 W2-W0                            a request was there, and now is in service

IR0 has the highest priority until a rotation says otherwise.  The slave's INT is the master's
IR2, and that is IRQ2 of the slot: no card may have it.  IRQ0-IRQ7 are the master's inputs,
IRQ8-IRQ15 the slave's.  The chip has no RESET pin: ICW1 is its reset.

INT falls at the acknowledge and rises again for the next request, so that a master whose IR2 is
edge triggered sees one edge for each of its slave's.  Here with AEOI in both:

    IRQ9        __/~~~~~~~~~~~~~~~~~~
    IRQ10       __/~~~~~~~~~~~~~~~~~~
    INTA        ~~~~~~~~~\_/~~~~\_/~~
    slave INT   __/~~~~~~~\_/~~~~\___
    vector                71h    72h

Sources: Intel 8259A data sheet, 231468, whose headings the tests cite; for ELCR, Intel 82371FB
(PIIX) data sheet, 290550, "ELCR1, ELCR2: Edge/Level Control Registers".

Where the data sheet is not followed, or silent:

- A rising edge stays in IRR until it is acknowledged, even if the line falls before that.  By the
  data sheet the request goes with the line, and the acknowledge finds IR7.  QEMU keeps it, with
  which saves are exchanged; and no guest loses a timer tick because it had interrupts off for
  half a period of the timer's mode 3.
- ICW1 clears ISR and the rotate-in-AEOI flip-flop too: a PC restarted from within a handler
  initialises the chip again and then gets its interrupts.
- ELCR and LTIM add up.  A line that becomes level triggered requests at once if it is high;
  one that becomes edge triggered keeps the request it has.
- A poll that finds nothing reads 00.

Not modelled: MCS-80/85 mode: uPM, ADI, ICW1's A7-A5 and ICW2's A10-A8 are taken without effect,
and INTA always gets an 8086 vector, never a CALL.  Buffered mode: BUF and M/S are taken without
effect, as no board has the buffers.  The two INTA pulses are one moment.  The slave's address of
7 between ICW1 and ICW3: it keeps the one it had.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping

from emu import attrs
from emu.irq import Line
from emu.isa import Slot
from emu.ports import OPEN_BUS
from emu.savevm import vmstate
from emu.savevm.vmstate import Saved, Section, Values, choice, flag, reg
from emu.shadows import MaskShadow, Shadow

INPUTS = 8
CASCADE_IR = 2  # where the master has its slave
SPURIOUS_IR = 7  # the level of an acknowledge that finds no request
ALL_INPUTS = 0xFF

ICW1_IC4 = 1 << 0
ICW1_SNGL = 1 << 1
ICW1_LTIM = 1 << 3
ICW1_SELECT = 1 << 4  # tells ICW1 from OCW2 and OCW3
ICW2_T = 0b1111_1000
ICW3_ID = 0b0000_0111
ICW4_AEOI = 1 << 1
ICW4_SFNM = 1 << 4
OCW2_L = 0b0000_0111
OCW3_RIS = 1 << 0
OCW3_RR = 1 << 1
OCW3_P = 1 << 2
OCW3_SELECT = 1 << 3  # tells OCW3 from OCW2
OCW3_SMM = 1 << 5
OCW3_ESMM = 1 << 6
POLL_I = 1 << 7

# The eight levels in falling priority, by which of them is highest.
PRIORITIES = tuple(
    tuple((highest + rank) % INPUTS for rank in range(INPUTS)) for highest in range(INPUTS)
)


class Register(enum.IntEnum):
    COMMAND = 0  # A0 = 0
    DATA = 1  # A0 = 1
    ELCR = 2  # at a port of its own


class OCW2(enum.IntEnum):
    """What R, SL and EOI say together."""

    CLEAR_ROTATE_IN_AUTO_EOI = 0b000
    NON_SPECIFIC_EOI = 0b001
    NO_OPERATION = 0b010
    SPECIFIC_EOI = 0b011
    SET_ROTATE_IN_AUTO_EOI = 0b100
    ROTATE_ON_NON_SPECIFIC_EOI = 0b101
    SET_PRIORITY = 0b110
    ROTATE_ON_SPECIFIC_EOI = 0b111


class Expected(enum.IntEnum):
    """What the next byte written with A0 = 1 is."""

    OCW1 = 0
    ICW2 = 1
    ICW3 = 2
    ICW4 = 3


@attrs.frozen
class Wiring:
    """How a board connects one of its 8259As."""

    instance: int  # of its sections in a save
    base: int  # port with A0 = 0
    elcr_port: int
    elcr_settable: int  # the lines that ELCR can make level triggered
    first_irq: int  # the slot's line at IR0
    icw3: int  # the word that fits this wiring


# ELCR leaves out the timer (0), the keyboard (1), the cascade (2), the clock (8), the FPU (13).
MASTER = Wiring(
    instance=0,
    base=0x20,
    elcr_port=0x4D0,
    elcr_settable=0b1111_1000,
    first_irq=0,
    icw3=1 << CASCADE_IR,
)
SLAVE = Wiring(
    instance=1,
    base=0xA0,
    elcr_port=0x4D1,
    elcr_settable=0b1101_1110,
    first_irq=8,
    icw3=CASCADE_IR,
)


# A store is not checked: each is a byte from the bus or bits of one, and interrupts go at the
# speed of stores.  A State that is made, at a load above all, is.
@attrs.define(check_stores=False)
class State:
    """What a saved machine must remember about one 8259A."""

    lines: int = reg(bits=8, doc="the levels last seen at IR7-IR0")
    irr: int = reg(bits=8, doc="IRR: requests; of a level-triggered line, the line")
    imr: int = reg(bits=8, doc="IMR: requests that are masked")
    isr: int = reg(bits=8, doc="ISR: requests in service")
    highest: int = reg(bits=3, doc="the level that has the highest priority")
    vector_base: int = reg(bits=8, doc="ICW2: T7-T3")
    read_isr: bool = flag(doc="OCW3: status reads give ISR, not IRR")
    poll: bool = flag(doc="OCW3: the next read is an acknowledge")
    special_mask: bool = flag(doc="OCW3: special mask mode")
    expected: Expected = choice(
        Expected, reset=Expected.OCW1, doc="the next word written with A0 = 1"
    )
    auto_eoi: bool = flag(doc="ICW4: AEOI")
    rotate_in_auto_eoi: bool = flag(doc="OCW2: rotation at each automatic EOI")
    special_fully_nested: bool = flag(doc="ICW4: SFNM")
    icw4_follows: bool = flag(doc="ICW1: IC4")
    single: int = reg(bits=2, doc="ICW1: SNGL, at its place there")
    elcr: int = reg(bits=8, doc="ELCR: lines that are level triggered")
    level_triggered: bool = flag(doc="ICW1: LTIM: all lines are")
    # As a difference, so that 0 is a chip whose ICW3 is right: at power-on, where nothing is
    # specified, and from QEMU, which does not keep it.
    icw3_difference: int = reg(bits=8, doc="ICW3: bits that are not as the board is wired")

    def level_lines(self) -> int:
        """The inputs that are level triggered."""
        return ALL_INPUTS if self.level_triggered else self.elcr

    def follow_level_lines(self) -> None:
        """Make the requests of level-triggered inputs what the inputs are."""
        level_lines = self.level_lines()
        self.irr = self.irr & ~level_lines | self.lines & level_lines


@attrs.define(eq=False)
class I8259:
    """One chip: its registers, IR0-IR7, INT, and the cascade bus."""

    interrupt: Line
    wiring: Wiring
    imr_shadow: Shadow
    # CAS0-CAS2 of a master, INTA going to its slaves too: the vector from the slave of that
    # number.  A slave has none.
    cascade: Callable[[int], int] | None = None
    state: State = attrs.field(init=False, factory=State)

    # --- the bus --------------------------------------------------------------------------

    def read(self, offset: int) -> int:
        state = self.state
        match Register(offset):
            case Register.ELCR:
                return state.elcr
            case _ if state.poll:
                return self._poll()
            case Register.COMMAND:
                return state.isr if state.read_isr else state.irr
            case Register.DATA:  # pragma: no branch - the last there is
                return state.imr

    def write(self, offset: int, value: int) -> None:
        match Register(offset):
            case Register.COMMAND if value & ICW1_SELECT:
                self._write_icw1(value)
            case Register.COMMAND if value & OCW3_SELECT:
                self._write_ocw3(value)
            case Register.COMMAND:
                self._write_ocw2(value)
            case Register.DATA:
                self._write_data(value)
            case Register.ELCR:  # pragma: no branch - the last there is
                self.state.elcr = value & self.wiring.elcr_settable
                self.state.follow_level_lines()
        self.settle()

    # --- the pins -------------------------------------------------------------------------

    def set_ir(self, number: int, high: bool) -> None:  # noqa: FBT001 - a level is all it gets
        """IR*number* is *high* or low now."""
        state = self.state
        bit = 1 << number
        if bool(state.lines & bit) == high:
            return
        if high:
            state.lines |= bit
            state.irr |= bit
        else:
            state.lines &= ~bit
            state.irr &= ~(bit & state.level_lines())
        self.settle()

    def acknowledge(self) -> int:
        """INTA: the vector; the request goes into service.

        A master serves its own request first, then turns to the slave: the edge that the slave's
        INT may make meanwhile is the next request, not this one.
        """
        level = self._serve()
        if level is None:
            level = SPURIOUS_IR
        if self.cascade is not None and self._slaves() >> level & 1:
            return self.cascade(level)
        return self.state.vector_base | level

    def acknowledge_as_slave(self, number: int) -> int:
        """INTA while the master has *number* on CAS0-CAS2; no vector if that is another's."""
        if not self.state.single and self._icw3() & ICW3_ID != number:
            return OPEN_BUS
        return self.acknowledge()

    def settle(self) -> None:
        """Make INT follow the state."""
        self.interrupt.drive(high=self._request() is not None)
        self._show_imr()

    def _show_imr(self) -> None:
        """Let IMR be accessed without us, where it is plain what comes of it."""
        state, shadow = self.state, self.imr_shadow
        if state.poll:
            shadow.hide()  # any read is an acknowledge
        elif state.expected is not Expected.OCW1 or (state.irr and state.isr):
            shadow.show(state.imr)
        elif isinstance(shadow, MaskShadow):
            shadow.show_mask(state.imr, state.irr)
        elif state.irr:  # a slave's INT makes an edge at its master
            shadow.show(state.imr)
        else:
            shadow.show_stored(state.imr)

    # --- priorities -----------------------------------------------------------------------

    def _request(self) -> int | None:
        """The level that INT is high for: the request to be served next."""
        state = self.state
        requests = state.irr & ~state.imr
        in_service = self._in_service()
        if state.special_fully_nested:
            # A slave whose level is in service "is not locked out"; what is below it still is.
            in_service &= ~(requests & self._slaves())
        first = self._first(requests | in_service)
        return None if first is None or in_service >> first & 1 else first

    def _in_service(self) -> int:
        """What of ISR counts: in special mask mode a masked level neither bars requests ("Special
        Mask Mode") nor is found by a non-specific EOI ("End of Interrupt").
        """
        state = self.state
        return state.isr & ~state.imr if state.special_mask else state.isr

    def _first(self, levels: int) -> int | None:
        """Which of *levels* has the highest priority; None if there are none."""
        if not levels:
            return None
        return next(level for level in PRIORITIES[self.state.highest] if levels >> level & 1)

    def _serve(self) -> int | None:
        """Put the highest request into service; INT falls, and rises if there is another."""
        level = self._request()
        if level is None:
            return None
        state = self.state
        bit = 1 << level
        state.irr &= ~bit | state.level_lines()
        if not state.auto_eoi:
            state.isr |= bit
        elif state.rotate_in_auto_eoi:
            self._make_lowest(level)
        self.interrupt.drive(high=False)
        self.settle()
        return level

    def _poll(self) -> int:
        self.state.poll = False
        level = self._serve()
        return 0 if level is None else POLL_I | level

    def _make_lowest(self, level: int) -> None:
        self.state.highest = (level + 1) % INPUTS

    def _icw3(self) -> int:
        return self.wiring.icw3 ^ self.state.icw3_difference

    def _slaves(self) -> int:
        """The inputs that lead to a slave."""
        return 0 if self.cascade is None or self.state.single else self._icw3()

    # --- command words --------------------------------------------------------------------

    def _write_icw1(self, value: int) -> None:
        """Begin again.  What the lines and ELCR say stays, and ICW3 until it is written."""
        before = self.state
        self.state = State(
            lines=before.lines,
            expected=Expected.ICW2,
            icw4_follows=bool(value & ICW1_IC4),
            single=value & ICW1_SNGL,
            elcr=before.elcr,
            level_triggered=bool(value & ICW1_LTIM),
            icw3_difference=before.icw3_difference,
        )
        self.state.follow_level_lines()

    def _write_data(self, value: int) -> None:
        state = self.state
        last = Expected.ICW4 if state.icw4_follows else Expected.OCW1
        match state.expected:
            case Expected.OCW1:
                state.imr = value
            case Expected.ICW2:
                state.vector_base = value & ICW2_T
                state.expected = last if state.single else Expected.ICW3
            case Expected.ICW3:
                state.icw3_difference = value ^ self.wiring.icw3
                state.expected = last
            case Expected.ICW4:  # pragma: no branch - the last there is
                state.auto_eoi = bool(value & ICW4_AEOI)
                state.special_fully_nested = bool(value & ICW4_SFNM)
                state.expected = Expected.OCW1

    def _write_ocw2(self, value: int) -> None:
        state = self.state
        level = value & OCW2_L
        match OCW2(value >> 5):
            case OCW2.NO_OPERATION:
                pass
            case OCW2.NON_SPECIFIC_EOI:
                self._end(self._first(self._in_service()))
            case OCW2.SPECIFIC_EOI:
                self._end(level)
            case OCW2.ROTATE_ON_NON_SPECIFIC_EOI:
                self._end(self._first(self._in_service()), rotate=True)
            case OCW2.ROTATE_ON_SPECIFIC_EOI:
                self._end(level, rotate=True)
            case OCW2.SET_PRIORITY:
                self._make_lowest(level)
            case OCW2.SET_ROTATE_IN_AUTO_EOI:
                state.rotate_in_auto_eoi = True
            case OCW2.CLEAR_ROTATE_IN_AUTO_EOI:  # pragma: no branch - the last there is
                state.rotate_in_auto_eoi = False

    def _end(self, level: int | None, *, rotate: bool = False) -> None:
        """Take *level* out of service; None is nothing in service, and nothing happens."""
        if level is None:
            return
        self.state.isr &= ~(1 << level)
        if rotate:
            self._make_lowest(level)

    def _write_ocw3(self, value: int) -> None:
        state = self.state
        if value & OCW3_ESMM:
            state.special_mask = bool(value & OCW3_SMM)
        if value & OCW3_P:
            state.poll = True
        if value & OCW3_RR:
            state.read_isr = bool(value & OCW3_RIS)


# ==== how it stands in a save =============================================================

# QEMU's names for what State has, in QEMU's order.
WIRE = {
    "lines": "last_irr",
    "irr": "irr",
    "imr": "imr",
    "isr": "isr",
    "highest": "priority_add",
    "vector_base": "irq_base",
    "read_isr": "read_reg_select",
    "poll": "poll",
    "special_mask": "special_mask",
    "expected": "init_state",
    "auto_eoi": "auto_eoi",
    "rotate_in_auto_eoi": "rotate_on_auto_eoi",
    "special_fully_nested": "special_fully_nested_mode",
    "icw4_follows": "init4",
    "single": "single_mode",
    "elcr": "elcr",
}
DECLARED = {field.name: field for field in vmstate.fields_of(State)}


def encode(state: State) -> Values:
    """The values of QEMU's section."""
    values = attrs.asdict(state)
    return {wire: values[name] for name, wire in WIRE.items()}


def decode(found: Mapping[str, Values]) -> State:
    """A State from QEMU's section, and ours if it is there.

    The request of a level-triggered line is its level.  After an ICW1, QEMU's `last_irr` may
    say low though such a line is high, and then `irr` knows better.
    """
    values = {name: found[QEMU.idstr][wire] for name, wire in WIRE.items()}
    state = State(**values, **found.get(REST.idstr, {}))
    state.lines |= state.irr & state.level_lines()
    state.follow_level_lines()
    return state


QEMU = Section(
    "i8259",
    1,
    tuple(attrs.evolve(DECLARED[name], name=wire) for name, wire in WIRE.items()),
    encode=encode,
)
REST = Section("emu/i8259", 1, vmstate.fields_of(State, without=WIRE))
SAVED = Saved(State, (QEMU, REST), decode)


# ==== on a board ==========================================================================


@attrs.frozen(eq=False)
class Pair:
    """The two 8259As of an AT."""

    master: I8259
    slave: I8259

    def acknowledge(self) -> int:
        """INTA from the CPU: the vector."""
        return self.master.acknowledge()


def attach_pair(slot: Slot, interrupt: Line) -> Pair:
    """Connect all lines of *slot* to a pair of 8259As whose INT is *interrupt*, the CPU's INTR."""
    imr = slot.shadows.one(SLAVE.base + Register.DATA)
    slave = I8259(slot.irq(CASCADE_IR), SLAVE, imr)
    imr = slot.shadows.mask(MASTER.base + Register.DATA)
    master = I8259(interrupt, MASTER, imr, slave.acknowledge_as_slave)
    for chip in (master, slave):
        _plug_in(slot, chip)
    return Pair(master, slave)


def _plug_in(slot: Slot, chip: I8259) -> None:
    wiring = chip.wiring
    for number in range(INPUTS):
        slot.irqs[wiring.first_irq + number].connect(functools.partial(chip.set_ir, number))
    slot.register_ports(wiring.base, 2, chip.read, chip.write)
    slot.register_ioport_read(wiring.elcr_port, 1, 1, lambda _: chip.read(Register.ELCR))
    slot.register_ioport_write(
        wiring.elcr_port, 1, 1, lambda _, value: chip.write(Register.ELCR, value)
    )
    slot.register_state(SAVED, chip, wiring.instance)
