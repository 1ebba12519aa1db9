"""NS16550A: a serial port (UART) with two FIFOs of 16 characters.

COM1 of a PC, at 3F8h on IRQ 4; COM2 is a second one at 2F8h on IRQ 3.  Source: PC16550D data
sheet, National Semiconductor 1995 (TL/C/8652); § and Table numbers below refer to it.

    offset  DLAB  read                      write
    ------  ----  ------------------------  --------------------------------------------------
    0       0     RBR  character received   THR  character to transmit
    1       0     IER  as written           IER  0 ERBFI  1 ETBEI  2 ELSI  3 EDSSI
    0, 1    1     DLL, DLM  as written      baud rate = 1.8432 MHz / 16 / divisor
    2       -     IIR  interrupt pending    FCR  0 enable  1, 2 clear RCVR, XMIT  6-7 trigger
    3       -     LCR  as written           LCR  0-1 word length  2 stop bits  3-5 parity
                                                 6 break  7 DLAB
    4       -     MCR  as written           MCR  0 DTR  1 RTS  2 OUT1  3 OUT2  4 loopback
    5       -     LSR  0 DR  1 OE  2 PE  3 FE  4 BI  5 THRE  6 TEMT  7 error in FIFO; no write
    6       -     MSR  0-3 changes of, 4-7 levels of CTS, DSR, RI, DCD; no write
    7       -     SCR  as written           SCR  a scratchpad

    IIR   interrupt (Table IV)   pending while                        cleared by
    ----  ---------------------  -----------------------------------  -----------------------
    0110  receiver line status   OE, PE, FE or BI                     reading LSR
    0100  received data          RBR full, or FIFO at its trigger     reading RBR
    1100  character timeout      4 character times without traffic    reading RBR
    0010  THR empty              the latch below                      reading IIR, writing THR
    0000  modem status           MSR bits 0-3                         reading MSR
    0001  none                                 IIR bits 6 and 7: the FIFOs are enabled

The THR empty latch is set when THR, or the XMIT FIFO, becomes empty, and when ETBEI is set while
it is empty.  On a PC the interrupt reaches its IRQ line through a gate that OUT2 opens.

Without the FIFOs (16450 mode) the same is true with RBR and THR as FIFOs of one character, but
that a character too many replaces the one in RBR, where a full FIFO keeps what it has; §8.4.

Time: a character takes 1 start, 5 to 8 data, 0 or 1 parity and 1, 1.5 or 2 stop bits.  THR moves
to the shift register (TSR) at once where that is empty; a character leaves SOUT when its last
bit is over.  What is being shifted keeps its time when the divisor or LCR change.  The divisor 0
(§8.3: "not recommended") counts as 1, the fastest rate: nothing then takes for ever.

Where this differs from the chip: a write to THR that finds no room waits, that is, moves the
clock on to the end of the character in TSR, until there is room.  The chip would lose a
character; a boot sector that does not poll LSR loses nothing here.

A break in loopback is received, as the loop is taken after break control; §8.1 and §8.8 leave
that open.  A character whose end falls into a break is lost in it.  Errors once revealed in LSR
stay until LSR is read (Table I), also when the character itself is read before.

Not modelled: the delay by a character of the THR empty indication (§8.11, XMIT B); RXRDY and
TXRDY (FCR bit 3), which a PC does not connect; writes to LSR, for factory tests only; a break on
its way to the host; garbled characters, as where a break begins in the middle of one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from emu import attrs
from emu.clock import NEVER, NS_PER_S, Alarm, Clock
from emu.irq import Line
from emu.isa import Slot
from emu.savevm import vmstate
from emu.savevm.vmstate import (
    Field,
    Saved,
    Section,
    Subsection,
    UnfitError,
    Values,
    blob,
    flag,
    instant,
    reg,
)
from emu.shadows import Shadow

CRYSTAL_HZ = 1_843_200
FIFO_CHARACTERS = 16
TIMEOUT_CHARACTERS = 4  # §8.11
TRIGGER_CHARACTERS = (1, 4, 8, 14)  # by FCR bits 6-7, §8.5
LONGEST_BITS = 12  # start, 8 data, parity, 2 stop
LONGEST_CHARACTER_NS = LONGEST_BITS * 16 * 0xFFFF * NS_PER_S // CRYSTAL_HZ

IER_ERBFI = 1 << 0  # received data available, and character timeout
IER_ETBEI = 1 << 1  # THR empty
IER_ELSI = 1 << 2  # receiver line status
IER_EDSSI = 1 << 3  # modem status
IER_BITS = 0x0F

IIR_FIFOS_ENABLED = 0xC0
IIR_SOURCE = 0x0F

FCR_FIFO_ENABLE = 1 << 0
FCR_RCVR_FIFO_RESET = 1 << 1
FCR_XMIT_FIFO_RESET = 1 << 2
FCR_TRIGGER_SHIFT = 6
FCR_KEPT = 0xC9  # enable, DMA mode, trigger: the rest clears itself or is reserved

LCR_WORD_LENGTH = 0x03  # 5 bits and this many more
LCR_STB = 1 << 2
LCR_PEN = 1 << 3
LCR_EPS = 1 << 4
LCR_SET_BREAK = 1 << 6
LCR_DLAB = 1 << 7

MCR_DTR = 1 << 0
MCR_RTS = 1 << 1
MCR_OUT1 = 1 << 2
MCR_OUT2 = 1 << 3
MCR_LOOP = 1 << 4
MCR_BITS = 0x1F

LSR_DR = 1 << 0
LSR_OE = 1 << 1
LSR_PE = 1 << 2
LSR_FE = 1 << 3
LSR_BI = 1 << 4
LSR_THRE = 1 << 5
LSR_TEMT = 1 << 6
LSR_FIFO_ERROR = 1 << 7
LSR_CHARACTER_ERRORS = LSR_PE | LSR_FE | LSR_BI  # those kept with each character in the FIFO
LSR_ERRORS = LSR_OE | LSR_CHARACTER_ERRORS

MSR_DCTS = 1 << 0
MSR_DDSR = 1 << 1
MSR_TERI = 1 << 2
MSR_DDCD = 1 << 3
MSR_CTS = 1 << 4
MSR_DSR = 1 << 5
MSR_RI = 1 << 6
MSR_DCD = 1 << 7
MSR_CHANGES = 0x0F
MSR_LEVELS = 0xF0

DLL = 0  # in place of RBR and THR while DLAB is set
DLM = 1  # in place of IER

ALREADY_DUE = 0  # a deadline that is past whatever the clock says


class Read(enum.IntEnum):
    """The registers by offset, as they are read."""

    RBR = 0
    IER = 1
    IIR = 2
    LCR = 3
    MCR = 4
    LSR = 5
    MSR = 6
    SCR = 7


class Write(enum.IntEnum):
    """The registers by offset, as they are written."""

    THR = 0
    IER = 1
    FCR = 2
    LCR = 3
    MCR = 4
    LSR = 5
    MSR = 6
    SCR = 7


class Interrupt(enum.IntEnum):
    """IIR bits 0-3, from the highest priority down; Table IV."""

    RECEIVER_LINE_STATUS = 0b0110
    RECEIVED_DATA = 0b0100
    CHARACTER_TIMEOUT = 0b1100
    THR_EMPTY = 0b0010
    MODEM_STATUS = 0b0000
    NONE = 0b0001


# A store is not checked: each is a byte from the bus, bits of one, or an instant, and a character
# takes a dozen of them.  A State that is made, at a load above all, is.
@attrs.define(check_stores=False)
class State:
    """What a saved machine must remember about one NS16550A."""

    divisor: int = reg(bits=16, reset=12, doc="DLM and DLL; 12 is 9600 baud")
    rbr: int = reg(bits=8, doc="RBR: the oldest character not yet read, or the last one read")
    ier: int = reg(bits=4, doc="IER")
    lcr: int = reg(bits=8, doc="LCR")
    mcr: int = reg(bits=5, doc="MCR")
    msr: int = reg(bits=8, reset=0xB0, doc="levels on CTS, DSR, RI, DCD; MSR bits 0-3")
    scr: int = reg(bits=8, doc="SCR")
    fcr: int = reg(bits=8, doc="FCR: enable, DMA mode, trigger")
    receiver: bytes = blob(most=16, doc="characters received and not read; one at most in RBR")
    receiver_errors: bytes = blob(most=16, doc="PE, FE, BI of each, as far as not in LSR yet")
    line_errors: int = reg(bits=5, doc="LSR bits 1-4: OE, PE, FE, BI, not yet read")
    fifo_timeout_ns: int = instant(
        within_ns=TIMEOUT_CHARACTERS * LONGEST_CHARACTER_NS,
        doc="when 4 character times without traffic are over",
    )
    timeout_pending: bool = flag(doc="they were over, and RBR has not been read since")
    transmitter: bytes = blob(most=16, doc="characters in the XMIT FIFO; one at most in THR")
    thre_pending: bool = flag(doc="the latch of the THR empty interrupt")
    tsr: int = reg(bits=8, doc="the character being shifted out")
    tsr_done_ns: int = instant(
        within_ns=LONGEST_CHARACTER_NS, doc="when its last stop bit is over; none: TSR is empty"
    )
    break_ns: int = instant(
        within_ns=LONGEST_CHARACTER_NS, doc="when a break in loopback has lasted for a character"
    )

    # --- what follows from it -------------------------------------------------------------

    def has_fifos(self) -> bool:
        """FIFO mode; without it, 16450 mode."""
        return bool(self.fcr & FCR_FIFO_ENABLE)

    def capacity(self) -> int:
        """How many characters each of receiver and transmitter holds."""
        return FIFO_CHARACTERS if self.has_fifos() else 1

    def word(self, character: int) -> int:
        """As much of *character* as the word length has bits for, §8.1."""
        return character & 0xFF >> (3 - (self.lcr & LCR_WORD_LENGTH))

    def line_status(self) -> int:
        """LSR, §8.4."""
        status = self.line_errors & LSR_ERRORS
        if self.receiver:
            status |= LSR_DR
        if not self.transmitter:
            status |= LSR_THRE
            if self.tsr_done_ns == NEVER:
                status |= LSR_TEMT
        if self.has_fifos() and (status & LSR_CHARACTER_ERRORS or any(self.receiver_errors)):
            status |= LSR_FIFO_ERROR
        return status

    def modem_levels(self) -> int:
        """MSR bits 4-7: the inputs, or in loopback the outputs in their place, §8.8."""
        if not self.mcr & MCR_LOOP:
            return self.msr & MSR_LEVELS
        return (
            (MSR_CTS if self.mcr & MCR_RTS else 0)
            | (MSR_DSR if self.mcr & MCR_DTR else 0)
            | (MSR_RI if self.mcr & MCR_OUT1 else 0)
            | (MSR_DCD if self.mcr & MCR_OUT2 else 0)
        )

    def interrupt(self) -> Interrupt:
        """The pending and enabled interrupt of the highest priority, Table IV."""
        if self.ier & IER_ELSI and self.line_errors & LSR_ERRORS:
            return Interrupt.RECEIVER_LINE_STATUS
        if self.ier & IER_ERBFI and self.receiver:
            trigger = TRIGGER_CHARACTERS[self.fcr >> FCR_TRIGGER_SHIFT]
            if not self.has_fifos() or len(self.receiver) >= trigger:
                return Interrupt.RECEIVED_DATA
            if self.timeout_pending:
                return Interrupt.CHARACTER_TIMEOUT
        if self.ier & IER_ETBEI and self.thre_pending:
            return Interrupt.THR_EMPTY
        if self.ier & IER_EDSSI and self.msr & MSR_CHANGES:
            return Interrupt.MODEM_STATUS
        return Interrupt.NONE

    def identification(self) -> int:
        """IIR, §8.6."""
        return self.interrupt() | (IIR_FIFOS_ENABLED if self.has_fifos() else 0)

    def loop_is_spacing(self) -> bool:
        """Is the receiver held at logic 0 by our own break?"""
        return bool(self.mcr & MCR_LOOP and self.lcr & LCR_SET_BREAK)


# ==== the chip ============================================================================


@attrs.define(eq=False)
class NS16550A:
    """One UART: registers on the bus side; INTR and the line on the other.

    *interrupt* is the IRQ line behind the OUT2 gate.  *transmit* is given each character when it
    has left SOUT whole.  DTR and RTS are high where they are asserted, as on the cable, not
    on the chip's inverted pins.  `room` is high while SIN may receive a character and none
    is lost by it.
    """

    clock: Clock
    interrupt: Line
    transmit: Callable[[int], None]
    lsr_shadow: Shadow
    scr_shadow: Shadow
    instance: int = 0
    dtr: Line = attrs.field(init=False, factory=lambda: Line("DTR"))
    rts: Line = attrs.field(init=False, factory=lambda: Line("RTS"))
    room: Line = attrs.field(init=False, factory=lambda: Line("room", level=True))
    state: State = attrs.field(init=False, factory=State)
    _tsr_alarm: Alarm = attrs.field(init=False)
    _timeout_alarm: Alarm = attrs.field(init=False)
    _break_alarm: Alarm = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        alarm, instance = self.clock.alarm, self.instance
        self._tsr_alarm = alarm("serial", instance, "tsr", self._character_sent)
        self._timeout_alarm = alarm("serial", instance, "fifo_timeout", self._fifo_timed_out)
        self._break_alarm = alarm("serial", instance, "break", self._break_lasted)

    # --- the bus --------------------------------------------------------------------------

    def read(self, offset: int) -> int:  # noqa: PLR0911 - one a register
        state = self.state
        if state.lcr & LCR_DLAB and offset <= DLM:
            return state.divisor >> 8 if offset == DLM else state.divisor & 0xFF
        match Read(offset):
            case Read.RBR:
                return self._read_rbr()
            case Read.IER:
                return state.ier
            case Read.IIR:
                return self._read_iir()
            case Read.LCR:
                return state.lcr
            case Read.MCR:
                return state.mcr
            case Read.LSR:
                return self._read_lsr()
            case Read.MSR:
                return self._read_msr()
            case Read.SCR:  # pragma: no branch - there is no ninth
                return state.scr

    def write(self, offset: int, value: int) -> None:
        state = self.state
        if state.lcr & LCR_DLAB and offset <= DLM:
            shift = 8 * offset
            state.divisor = state.divisor & ~(0xFF << shift) | value << shift
            return
        match Write(offset):
            case Write.THR:
                self._write_thr(value)
                return
            case Write.IER:
                if value & ~state.ier & IER_ETBEI and not state.transmitter:
                    state.thre_pending = True
                state.ier = value & IER_BITS
            case Write.FCR:
                self._write_fcr(value)
            case Write.LCR:
                was_spacing = state.loop_is_spacing()
                state.lcr = value
                self._watch_break(was_spacing=was_spacing)
            case Write.MCR:
                was_spacing, levels = state.loop_is_spacing(), state.modem_levels()
                state.mcr = value & MCR_BITS
                self._watch_break(was_spacing=was_spacing)
                self._note_changes(levels)
            case Write.LSR | Write.MSR:
                pass
            case Write.SCR:  # pragma: no branch - there is no ninth
                state.scr = value
        self.settle()

    def reset(self) -> None:
        """MR clears all but RBR and the divisor (§6.0), and what the modem drives (Table I)."""
        was = self.state
        self.state = State(divisor=was.divisor, rbr=was.rbr, msr=was.msr & MSR_LEVELS)
        self.settle()

    # --- the line -------------------------------------------------------------------------

    def receive(self, character: int, errors: int = 0) -> None:
        """A character has arrived on SIN, with *errors* of LSR_CHARACTER_ERRORS."""
        if not self.state.mcr & MCR_LOOP:  # which disconnects SIN
            self._accept(character, errors)
            self.settle()

    def set_modem(self, *, cts: bool, dsr: bool, ri: bool, dcd: bool) -> None:
        """Put levels on the modem inputs; True is asserted."""
        state = self.state
        levels = state.modem_levels()
        state.msr = (
            (state.msr & MSR_CHANGES)
            | (MSR_CTS if cts else 0)
            | (MSR_DSR if dsr else 0)
            | (MSR_RI if ri else 0)
            | (MSR_DCD if dcd else 0)
        )
        self._note_changes(levels)
        self.settle()

    @property
    def transmitting(self) -> bool:
        """True while a character is being shifted out."""
        return self.state.tsr_done_ns != NEVER

    def character_ns(self) -> int:
        """How long a character takes, as LCR and the divisor are now."""
        lcr = self.state.lcr
        half_bits = 2 * (1 + 5 + (lcr & LCR_WORD_LENGTH) + 1)
        if lcr & LCR_PEN:
            half_bits += 2
        if lcr & LCR_STB:
            half_bits += 2 if lcr & LCR_WORD_LENGTH else 1
        return half_bits * (self.state.divisor or 1) * 8 * NS_PER_S // CRYSTAL_HZ

    # --- receiver -------------------------------------------------------------------------

    def _accept(self, character: int, errors: int) -> None:
        """The receiver's shift register is full: into RBR or the FIFO with it, §8.4."""
        state = self.state
        if len(state.receiver) == state.capacity():
            state.line_errors |= LSR_OE
            if state.has_fifos():
                return
            state.receiver = state.receiver_errors = b""
        state.receiver += bytes([state.word(character)])
        state.receiver_errors += bytes([errors & LSR_CHARACTER_ERRORS])
        if len(state.receiver) == 1:
            self._reveal()
        if not state.timeout_pending:
            self._restart_timeout()

    def _reveal(self) -> None:
        """A character has come to the top: RBR shows it and LSR its errors."""
        state = self.state
        state.rbr = state.receiver[0]
        state.line_errors |= state.receiver_errors[0] & LSR_CHARACTER_ERRORS
        state.receiver_errors = b"\0" + state.receiver_errors[1:]

    def _restart_timeout(self) -> None:
        """There was traffic in the RCVR FIFO, §8.11."""
        state = self.state
        state.timeout_pending = False
        if state.receiver and state.has_fifos():
            wait_ns = TIMEOUT_CHARACTERS * self.character_ns()
            state.fifo_timeout_ns = self.clock.now_ns + wait_ns
        else:
            state.fifo_timeout_ns = NEVER

    def _fifo_timed_out(self) -> None:
        self.state.fifo_timeout_ns = NEVER
        self.state.timeout_pending = True
        self.settle()

    def _read_rbr(self) -> int:
        state = self.state
        character = state.rbr
        state.receiver = state.receiver[1:]
        state.receiver_errors = state.receiver_errors[1:]
        if state.receiver:
            self._reveal()
        self._restart_timeout()
        self.settle()
        return character

    def _read_lsr(self) -> int:
        state = self.state
        status = state.line_status()
        if state.line_errors:
            state.line_errors = 0
            self.settle()
        return status

    def _clear_receiver(self) -> None:
        state = self.state
        state.receiver = state.receiver_errors = b""
        self._restart_timeout()

    def _watch_break(self, *, was_spacing: bool) -> None:
        """Time a break that begins in loopback; forget it where it ends."""
        state = self.state
        if not state.loop_is_spacing():
            state.break_ns = NEVER
        elif not was_spacing:
            state.break_ns = self.clock.now_ns + self.character_ns()

    def _break_lasted(self) -> None:
        """One zero character is loaded, its stop and parity bits being 0 too, §8.4."""
        self.state.break_ns = NEVER
        parity_error = self.state.lcr & (LCR_PEN | LCR_EPS) == LCR_PEN  # a 1 was expected
        self._accept(0, LSR_BI | LSR_FE | (LSR_PE if parity_error else 0))
        self.settle()

    # --- transmitter ----------------------------------------------------------------------

    def _write_thr(self, character: int) -> None:
        # Moving the clock fires our own alarm among others: all of the state may change in
        # here, so nothing of it is held in a local.  TSR is never empty while THR is full.
        while len(self.state.transmitter) >= self.state.capacity():
            self.clock.advance_to(self.state.tsr_done_ns)
        self.state.transmitter += bytes([character])
        self.state.thre_pending = False
        self._drive_interrupt()  # low before THR is empty again: an edge; §3.0, tHR and tSI
        self._load_tsr()
        self._settle_transmitter()

    def _load_tsr(self) -> None:
        """Move the next character to the shift register where that is empty."""
        state = self.state
        if state.tsr_done_ns != NEVER or not state.transmitter:
            return
        state.tsr = state.word(state.transmitter[0])
        state.tsr_done_ns = self.clock.now_ns + self.character_ns()
        state.transmitter = state.transmitter[1:]
        if not state.transmitter:
            state.thre_pending = True

    def _character_sent(self) -> None:
        """The last stop bit in TSR is over."""
        state = self.state
        character, state.tsr, state.tsr_done_ns = state.tsr, 0, NEVER
        self._load_tsr()
        is_lost = bool(state.lcr & LCR_SET_BREAK)
        is_looped = bool(state.mcr & MCR_LOOP)
        if is_looped and not is_lost:
            self._accept(character, 0)
            self.settle()
            return
        self._settle_transmitter()
        if not is_lost:
            self.transmit(character)

    def _clear_transmitter(self) -> None:
        """TSR goes on; a FIFO cleared counts as one that became empty, §8.5, §8.11."""
        self.state.transmitter = b""
        self.state.thre_pending = True

    # --- control --------------------------------------------------------------------------

    def _read_iir(self) -> int:
        state = self.state
        identification = state.identification()
        if identification & IIR_SOURCE == Interrupt.THR_EMPTY:
            state.thre_pending = False
            self.settle()
        return identification

    def _write_fcr(self, value: int) -> None:
        state = self.state
        if not value & FCR_FIFO_ENABLE:
            value = 0  # the other bits are not programmed then, §8.5
        mode_changes = (value ^ state.fcr) & FCR_FIFO_ENABLE
        state.fcr = value & FCR_KEPT
        if mode_changes or value & FCR_RCVR_FIFO_RESET:
            self._clear_receiver()
        if mode_changes or value & FCR_XMIT_FIFO_RESET:
            self._clear_transmitter()

    def _read_msr(self) -> int:
        state = self.state
        status = state.modem_levels() | state.msr & MSR_CHANGES
        if state.msr & MSR_CHANGES:
            state.msr &= MSR_LEVELS
            self.settle()
        return status

    def _note_changes(self, before: int) -> None:
        """Set the bits of MSR for the inputs that were at *before* and have changed, §8.9."""
        state = self.state
        after = state.modem_levels()
        changed = before ^ after
        if after & MSR_RI:
            changed &= ~MSR_RI  # TERI tells of the trailing edge alone
        state.msr |= changed >> 4  # each change stands four bits below its level

    # --- outputs --------------------------------------------------------------------------

    def settle(self) -> None:
        """Make every output follow the state."""
        state = self.state
        self._timeout_alarm.arm(state.fifo_timeout_ns)
        self._break_alarm.arm(state.break_ns)
        outputs = 0 if state.mcr & MCR_LOOP else state.mcr  # loopback holds the pins inactive
        self.dtr.drive(high=bool(outputs & MCR_DTR))
        self.rts.drive(high=bool(outputs & MCR_RTS))
        self._settle_transmitter()
        self.scr_shadow.show_stored(state.scr)
        has_room = len(state.receiver) < state.capacity()
        self.room.drive(high=has_room and not state.mcr & MCR_LOOP)

    def _settle_transmitter(self) -> None:
        """As much of it as follows from THR and TSR: a guest that prints does little else."""
        state = self.state
        self._tsr_alarm.arm(state.tsr_done_ns)
        self._drive_interrupt()
        if state.line_errors:
            self.lsr_shadow.hide()  # reading it clears them
        else:
            self.lsr_shadow.show(state.line_status())

    def _drive_interrupt(self) -> None:
        """INTR, through the buffer that OUT2 enables; loopback holds OUT2 inactive."""
        state = self.state
        is_let_through = bool(state.mcr & MCR_OUT2) and not state.mcr & MCR_LOOP
        self.interrupt.drive(high=is_let_through and state.interrupt() is not Interrupt.NONE)


# ==== in a stream =========================================================================


def _ring(name: str) -> Field:
    """QEMU's FIFO: a ring of 16 characters, the index of the oldest, how many there are."""
    layout = (vmstate.buffer("data", FIFO_CHARACTERS), vmstate.u32("head"), vmstate.u32("num"))
    return Field(name, vmstate.Struct(layout))


def _subsection(name: str, needed: Callable[[Any], bool], *layout: Field) -> Subsection:
    return Subsection(f"serial/{name}", 1, layout, needed)


def _to_ring(characters: bytes) -> Values:
    return {"data": characters.ljust(FIFO_CHARACTERS, b"\0"), "head": 0, "num": len(characters)}


def _from_ring(name: str, ring: Values) -> bytes:
    head, num = ring["head"], ring["num"]
    if head >= FIFO_CHARACTERS or num > FIFO_CHARACTERS:
        raise UnfitError(name, f": {num} characters from {head} on do not fit in a ring of 16")
    characters: bytes = ring["data"] * 2
    return characters[head : head + num]


def _encode(state: State) -> Values:
    """The values of QEMU's section.

    Its model clears OE and BI when LSR is read but has no PE and FE, and would interrupt for
    ever on them, so those stay in ours.  It holds a character in TSR only while the host does
    not take it, for which ``tsr_retry`` counts the attempts: 1 makes it try again.
    """
    return {
        "divider": state.divisor,
        "rbr": state.rbr,
        "ier": state.ier,
        "iir": state.identification(),
        "lcr": state.lcr,
        "mcr": state.mcr,
        "lsr": state.line_status() & ~(LSR_PE | LSR_FE | LSR_FIFO_ERROR),
        "msr": state.msr,
        "scr": state.scr,
        "fcr": state.fcr,
        "thr_ipending": state.thre_pending,
        "tsr_retry": 1,
        "thr": int.from_bytes(state.transmitter[:1]),
        "tsr": state.tsr,
        "recv_fifo": _to_ring(state.receiver),
        "xmit_fifo": _to_ring(state.transmitter),
        "fifo_timeout_timer": state.fifo_timeout_ns,
        "timeout_ipending": state.timeout_pending,
    }


def _decode(found: Mapping[str, Values]) -> State:
    """A State from QEMU's section and, where there is one, ours."""
    qemu, rest = found["serial"], found.get("emu/serial", {})
    fcr, lsr = qemu.get("fcr", 0), qemu["lsr"]
    if fcr & FCR_FIFO_ENABLE:
        empty = _to_ring(b"")
        receiver = _from_ring("recv_fifo", qemu.get("recv_fifo", empty))
        transmitter = _from_ring("xmit_fifo", qemu.get("xmit_fifo", empty))
    else:
        receiver = bytes([qemu["rbr"]]) if lsr & LSR_DR else b""
        transmitter = b"" if lsr & LSR_THRE else bytes([qemu.get("thr", 0)])

    shifting = qemu.get("tsr_retry", 0) > 0
    if shifting == bool(lsr & LSR_TEMT):
        raise UnfitError("tsr_retry", ": contradicts LSR on whether the transmitter is empty")
    if transmitter and not shifting:
        raise UnfitError("tsr_retry", ": characters wait while none is being shifted out")
    tsr_done_ns = rest.get("tsr_done_ns", ALREADY_DUE if shifting else NEVER)
    if shifting == (tsr_done_ns == NEVER):
        raise UnfitError("tsr_done_ns", ": contradicts LSR on whether the transmitter is empty")

    thre_implied = qemu["iir"] & IIR_SOURCE == Interrupt.THR_EMPTY
    return State(
        divisor=qemu["divider"],
        rbr=receiver[0] if receiver else qemu["rbr"],
        ier=qemu["ier"],
        lcr=qemu["lcr"],
        mcr=qemu["mcr"],
        msr=qemu["msr"],
        scr=qemu["scr"],
        fcr=fcr,
        receiver=receiver,
        receiver_errors=rest.get("receiver_errors", b"")[: len(receiver)].ljust(
            len(receiver), b"\0"
        ),
        line_errors=rest.get("line_errors", lsr & LSR_ERRORS),
        fifo_timeout_ns=qemu.get("fifo_timeout_timer", NEVER),
        timeout_pending=bool(qemu.get("timeout_ipending", 0)),
        transmitter=transmitter,
        thre_pending=bool(qemu.get("thr_ipending", thre_implied)),
        tsr=qemu["tsr"] if shifting else 0,
        tsr_done_ns=tsr_done_ns,
        break_ns=rest.get("break_ns", NEVER),
    )


QEMU = Section(
    "serial",
    3,
    (
        vmstate.u16("divider"),
        *[vmstate.u8(name) for name in ("rbr", "ier", "iir", "lcr", "mcr", "lsr", "msr", "scr")],
        vmstate.u8("fcr", since=3),
    ),
    minimum=2,  # that of 2008, which had no FIFOs
    encode=_encode,
    subsections=(
        _subsection(
            "thr_ipending",
            lambda state: state.thre_pending != (state.interrupt() is Interrupt.THR_EMPTY),
            vmstate.i32("thr_ipending"),
        ),
        _subsection(
            "tsr",
            lambda state: state.tsr_done_ns != NEVER,
            vmstate.u32("tsr_retry"),
            vmstate.u8("thr"),
            vmstate.u8("tsr"),
        ),
        _subsection(
            "recv_fifo", lambda state: state.has_fifos() and state.receiver, _ring("recv_fifo")
        ),
        _subsection(
            "xmit_fifo", lambda state: state.has_fifos() and state.transmitter, _ring("xmit_fifo")
        ),
        _subsection(
            "fifo_timeout_timer",
            lambda state: state.fifo_timeout_ns != NEVER,
            vmstate.instant_at("fifo_timeout_timer"),
        ),
        _subsection(
            "timeout_ipending",
            lambda state: state.timeout_pending,
            vmstate.i32("timeout_ipending"),
        ),
        # A host's modem lines, looked at now and then: read and dropped.
        _subsection("poll", lambda _: False, vmstate.i32("poll_msl"), vmstate.i64("poll_timer")),
    ),
)
IN_REST = ("receiver_errors", "line_errors", "tsr_done_ns", "break_ns")
REST = Section(
    "emu/serial", 1, tuple(each for each in vmstate.fields_of(State) if each.name in IN_REST)
)
SAVED = Saved(State, (QEMU, REST), _decode)


def attach(
    slot: Slot,
    *,
    transmit: Callable[[int], None],
    base: int = 0x3F8,
    irq: int = 4,
    instance: int = 0,
) -> NS16550A:
    """Plug a serial port into *slot*; `transmit` is given what it sends."""
    lsr_shadow, scr_shadow = slot.shadows.one(base + Read.LSR), slot.shadows.one(base + Read.SCR)
    chip = NS16550A(slot.clock, slot.irq(irq), transmit, lsr_shadow, scr_shadow, instance)
    slot.register_ports(base, len(Read), chip.read, chip.write)
    slot.register_reset(chip.reset)
    slot.register_state(SAVED, chip, instance)
    return chip
