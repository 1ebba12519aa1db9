"""8042: the keyboard controller of an AT, with the PS/2's second port for a mouse.

It is a microcontroller with a program in its ROM.  The processor sees four registers at two ports:

    port  read                                   write
    ----  -------------------------------------  ---------------------------------------------
    60h   output buffer: the byte from keyboard  to the command that waits for it, or else to
          or mouse, or an answer                 the keyboard
    64h   status                                 a command, below

    status  0 OBF   output buffer full       4 keyboard not locked
            1 IBF   input buffer full        5 AUX   the byte is the mouse's
            2 SYS   system flag              6 TIMEOUT  the device has not answered
            3 C/D   last written: 64h        7 parity error

    command   what it does
    --------  ------------------------------------------------------------------------------
    20        answers with the command byte
    60 byte   sets the command byte:  0 INT   IRQ 1 while OBF        4 EN    keyboard disabled
                                      1 INT2  IRQ 12 while OBF, AUX  5 EN2   mouse disabled
                                      2 SYS   to the status          6 XLAT  translate to set 1
    A7 A8     disable, enable the mouse
    A9 AB     test the mouse's, the keyboard's wires; answer 00: nothing wrong
    AA        test the controller; answers 55, and sets SYS
    AD AE     disable, enable the keyboard
    C0        answers with the input port P1: bit 7, the keyboard is not locked
    D0        answers with the output port
    D1 byte   sets the output port P2:  0 RESET  low: reset   4 IRQ 1
                                        1 A20                 5 IRQ 12
    D2 D3 b   puts a byte into the output buffer as if it were the keyboard's, the mouse's
    D4 byte   sends a byte to the mouse
    DD DF     closes, opens A20
    F0-FF     pulses the bits 0-3 of P2 that are 0 low: those with bit 0 = 0 reset, as FE does
    others    nothing

Each device's clock is held low while its port is disabled, and while the output buffer is full or
an answer waits: so one byte comes after the other and none is lost.  A byte written to a device
enables its port.

    OBF, IRQ 1       ________|‾‾‾‾‾‾‾‾‾‾‾‾‾|________________|‾‾‾‾‾‾
    keyboard clock   ‾‾‾‾‾‾‾‾|_____________|‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾|______
    keyboard sends    [ 1C  ]               [  F0  ][  1C  ]
    port 60h                 1E            read             9E

Translation makes scan code set 1 of the keyboard's set 2: a byte is looked up in a table, and F0
goes to bit 7 of the next.  What is no scan code - answers, from 85h on - passes as it is.

An answer of the controller's waits while the output buffer is full.  While the keyboard is disabled
an answer makes no interrupt: that is how a guest asks without being interrupted by what it has
asked for.

A20 follows the processor while P21 or port 92h is high; the board makes the OR.  RESET lets all
of P2 go high, so that the reset vector can be reached, and disables both devices' ports: nothing
is sent before firmware is there to hear it.  (What it leaves in the command byte no manual says.)

Where this differs from the chip: a byte written is taken at once, so that IBF is never seen set.
A device that is not there answers FE at once, with TIMEOUT.  AA sets SYS, as compatible chips do; the
chip does so only by the command byte.

Not modelled: reading and writing the rest of the controller's RAM (21-3F, 61-7F), passwords
(A4-A6), P1 beyond its bit 7, pulses of P2 beyond the reset; parity errors.  P2's clock and data
lines read as they were written.

Sources: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device
Controller"; IBM PC/AT Technical Reference, "Keyboard Controller", for C0, F0-FF and the
translation; SMSC LPC47M112 data sheet, "8042 Keyboard Controller Description", for A20 and RESET.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from emu import attrs
from emu.irq import Line
from emu.isa import Slot
from emu.savevm.vmstate import Saved, UnfitError, Values, flag, reg, whole
from emu.shadows import Shadow

IDSTR = "emu/i8042"

DATA_PORT = 0x60
COMMAND_PORT = 0x64
KEYBOARD_IRQ = 1
AUX_IRQ = 12

STATUS_OBF = 1 << 0
STATUS_SYS = 1 << 2
STATUS_COMMAND = 1 << 3
STATUS_UNLOCKED = 1 << 4
STATUS_AUX = 1 << 5
STATUS_TIMEOUT = 1 << 6

CB_INT = 1 << 0
CB_INT2 = 1 << 1
CB_SYS = 1 << 2
CB_DISABLE = 1 << 4
CB_DISABLE_AUX = 1 << 5
CB_TRANSLATE = 1 << 6

P1_UNLOCKED = 1 << 7
P2_RESET = 1 << 0
P2_A20 = 1 << 1
P2_IRQ1 = 1 << 4
P2_IRQ12 = 1 << 5
P2_AT_RESET = 0xCF  # all lines let go, no interrupt

TEST_PASSED = 0x55
WIRES_PASSED = 0x00
NO_ANSWER = 0xFE

BREAK = 0xF0  # set 2: the next code is of a key that came up
BREAK_BIT = 1 << 7  # set 1: the same


class Command(enum.IntEnum):
    """What may be written to port 64h; F0-FF are all PULSE."""

    NONE = 0x00  # what the controller waits with when it waits for nothing
    READ_COMMAND_BYTE = 0x20
    WRITE_COMMAND_BYTE = 0x60
    DISABLE_AUX = 0xA7
    ENABLE_AUX = 0xA8
    TEST_AUX = 0xA9
    TEST = 0xAA
    TEST_KEYBOARD = 0xAB
    DISABLE_KEYBOARD = 0xAD
    ENABLE_KEYBOARD = 0xAE
    READ_INPUT_PORT = 0xC0
    READ_OUTPUT_PORT = 0xD0
    WRITE_OUTPUT_PORT = 0xD1
    WRITE_KEYBOARD_BUFFER = 0xD2
    WRITE_AUX_BUFFER = 0xD3
    WRITE_AUX = 0xD4
    CLOSE_A20 = 0xDD
    OPEN_A20 = 0xDF
    PULSE = 0xF0


COMMANDS = frozenset(Command) - {Command.NONE}
WITH_BYTE = frozenset(
    {
        Command.WRITE_COMMAND_BYTE,
        Command.WRITE_OUTPUT_PORT,
        Command.WRITE_KEYBOARD_BUFFER,
        Command.WRITE_AUX_BUFFER,
        Command.WRITE_AUX,
    }
)

# Set 2 to set 1, for 00-7F; of what follows only 83 and 84 are changed.
TRANSLATION = bytes.fromhex(
    "FF 43 41 3F 3D 3B 3C 58  64 44 42 40 3E 0F 29 59"
    "65 38 2A 70 1D 10 02 5A  66 71 2C 1F 1E 11 03 5B"
    "67 2E 2D 20 12 05 04 5C  68 39 2F 21 14 13 06 5D"
    "69 31 30 23 22 15 07 5E  6A 72 32 24 16 08 09 5F"
    "6B 33 25 17 18 0B 0A 60  6C 34 35 26 27 19 0C 61"
    "6D 73 28 74 1A 0D 62 6E  3A 36 1C 1B 75 2B 63 76"
    "55 56 77 78 79 7A 0E 7B  7C 4F 7D 4B 47 7E 7F 6F"
    "52 53 50 4C 4D 48 01 45  57 4E 51 4A 37 49 46 54"
    "80 81 82 41 54"
)


@attrs.define
class State:
    """What a saved machine must remember about one 8042."""

    command_byte: int = reg(
        bits=8, reset=CB_DISABLE | CB_DISABLE_AUX, doc="the command byte as last written"
    )
    waits: int = reg(bits=8, doc="the command that waits for its byte; 0: none does")
    output: int = reg(bits=8, doc="output buffer; the last byte read, while it is empty")
    full: bool = flag(doc="OBF: it is full")
    aux: bool = flag(doc="AUX: the byte in it is the mouse's")
    timeout: bool = flag(doc="TIMEOUT: and it says that a device has not answered")
    answer: int = reg(bits=8, doc="the controller's own, that waits for the buffer")
    answer_waits: bool = flag(doc="there is one")
    answer_aux: bool = flag(doc="and it is the mouse's")
    answer_timeout: bool = flag(doc="and it says that a device has not answered")
    system: bool = flag(doc="SYS")
    command_last: bool = flag(reset=True, doc="C/D: port 64h was the last written to")
    output_port: int = reg(bits=8, reset=P2_AT_RESET, doc="P2 as last written")
    broke: bool = flag(doc="F0 has come: bit 7 of the next scan code")

    # --- what follows from it -------------------------------------------------------------

    def status(self) -> int:
        """Port 64h as it is read."""
        return (
            STATUS_UNLOCKED
            | (STATUS_OBF if self.full else 0)
            | (STATUS_SYS if self.system else 0)
            | (STATUS_COMMAND if self.command_last else 0)
            | (STATUS_AUX if self.aux else 0)
            | (STATUS_TIMEOUT if self.timeout else 0)
        )

    def p2(self) -> int:
        """The output port: as it was written, but for the two that follow the output buffer."""
        return (
            (self.output_port & ~(P2_IRQ1 | P2_IRQ12))
            | (P2_IRQ1 if self.full and not self.aux else 0)
            | (P2_IRQ12 if self.full and self.aux else 0)
        )

    def interrupts(self) -> tuple[bool, bool]:
        """The levels of IRQ 1 and IRQ 12."""
        enabled = self.command_byte
        keyboard = enabled & (CB_INT | CB_DISABLE) == CB_INT
        return (
            self.full and not self.aux and keyboard,
            self.full and self.aux and bool(enabled & CB_INT2),
        )

    def listens(self, disable: int) -> bool:
        """The device that bit *disable* of the command byte is for may send."""
        return not self.command_byte & disable and not self.full and not self.answer_waits


# ==== the chip ============================================================================


@attrs.define(eq=False)
class Socket:
    """Where a device plugs in.

    Its *clock* line is high while the device may send; ``deliver(byte)`` takes what it sends.
    """

    clock: Line
    deliver: Callable[[int], None]
    _send: Callable[[int], None] | None = None

    def connect(self, receive: Callable[[int], None]) -> None:
        """Plug in a device: ``receive(byte)`` takes what the controller sends it."""
        self._send = receive

    def send(self, byte: int) -> bool:
        """Send *byte*; False where nobody takes it."""
        if self._send is None:
            return False
        self._send(byte)
        return True


@attrs.define(eq=False)
class I8042:
    """One controller: two ports on one side; two sockets, two interrupts, A20 and reset.

    *a20* is P21; ``reset_pulse()`` is called as P20 goes low.
    """

    irq1: Line
    irq12: Line
    a20: Line
    reset_pulse: Callable[[], None]
    status_shadow: Shadow
    keyboard: Socket = attrs.field(init=False)
    mouse: Socket = attrs.field(init=False)
    state: State = attrs.field(init=False, factory=State)

    def __attrs_post_init__(self) -> None:
        self.keyboard = Socket(Line("keyboard clock"), self._from_keyboard)
        self.mouse = Socket(Line("mouse clock"), self._from_mouse)

    # --- the bus --------------------------------------------------------------------------

    def read_status(self, _port: int) -> int:
        return self.state.status()

    def read_data(self, _port: int) -> int:
        state = self.state
        byte = state.output
        if state.full:
            state.full = state.aux = state.timeout = False
            self.settle()  # the interrupt's line goes low even where the next byte is there
            if state.answer_waits:
                state.answer_waits = False
                self._fill(state.answer, aux=state.answer_aux, timeout=state.answer_timeout)
            self.settle()
        return byte

    def write_command(self, _port: int, value: int) -> None:
        self.state.command_last = True
        self.state.waits = Command.NONE
        if value >= Command.PULSE:
            if not value & P2_RESET:
                self.reset_pulse()
        elif value in COMMANDS:
            self._obey(Command(value))
        self.settle()

    def write_data(self, _port: int, value: int) -> None:
        state = self.state
        state.command_last = False
        command, state.waits = Command(state.waits), Command.NONE
        match command:
            case Command.WRITE_COMMAND_BYTE:
                state.command_byte = value
                state.system = bool(value & CB_SYS)
            case Command.WRITE_OUTPUT_PORT:
                state.output_port = value
                if not value & P2_RESET:
                    self.reset_pulse()
            case Command.WRITE_KEYBOARD_BUFFER | Command.WRITE_AUX_BUFFER:
                self._answer(value, aux=command is Command.WRITE_AUX_BUFFER)
            case Command.WRITE_AUX:
                self._send(self.mouse, CB_DISABLE_AUX, value)
            case _:
                self._send(self.keyboard, CB_DISABLE, value)
        self.settle()

    def _obey(self, command: Command) -> None:  # noqa: C901, PLR0912 - one case a command
        state = self.state
        if command in WITH_BYTE:
            state.waits = command
        match command:
            case Command.READ_COMMAND_BYTE:
                self._answer(state.command_byte)
            case Command.DISABLE_AUX:
                state.command_byte |= CB_DISABLE_AUX
            case Command.ENABLE_AUX:
                state.command_byte &= ~CB_DISABLE_AUX
            case Command.TEST_AUX | Command.TEST_KEYBOARD:
                self._answer(WIRES_PASSED)
            case Command.TEST:
                state.system = True
                self._answer(TEST_PASSED)
            case Command.DISABLE_KEYBOARD:
                state.command_byte |= CB_DISABLE
            case Command.ENABLE_KEYBOARD:
                state.command_byte &= ~CB_DISABLE
            case Command.READ_INPUT_PORT:
                self._answer(P1_UNLOCKED)
            case Command.READ_OUTPUT_PORT:
                self._answer(state.p2())
            case Command.CLOSE_A20:
                state.output_port &= ~P2_A20
            case Command.OPEN_A20:
                state.output_port |= P2_A20
            case _:
                pass  # those that wait for their byte

    def _answer(self, byte: int, *, aux: bool = False, timeout: bool = False) -> None:
        """Put *byte* into the output buffer, when that is empty."""
        state = self.state
        if state.full:
            state.answer, state.answer_waits = byte, True
            state.answer_aux, state.answer_timeout = aux, timeout
        else:
            self._fill(byte, aux=aux, timeout=timeout)

    def _fill(self, byte: int, *, aux: bool, timeout: bool = False) -> None:
        state = self.state
        state.output, state.full, state.aux, state.timeout = byte, True, aux, timeout

    # --- the devices ----------------------------------------------------------------------

    def _send(self, socket: Socket, disable: int, byte: int) -> None:
        sent = socket.send(byte)  # before anything else can happen to the device
        self.state.command_byte &= ~disable
        if not sent:
            self._answer(NO_ANSWER, aux=socket is self.mouse, timeout=True)

    def _from_keyboard(self, byte: int) -> None:
        state = self.state
        if not state.command_byte & CB_TRANSLATE:
            state.broke = False
            self._fill(byte, aux=False)
        elif byte == BREAK:
            state.broke = True
        elif byte < len(TRANSLATION):
            broke, state.broke = state.broke, False
            self._fill(TRANSLATION[byte] | (BREAK_BIT if broke else 0), aux=False)
        else:
            self._fill(byte, aux=False)
        self.settle()

    def _from_mouse(self, byte: int) -> None:
        self._fill(byte, aux=True)
        self.settle()

    # --- outputs --------------------------------------------------------------------------

    def reset(self) -> None:
        self.state = State()
        self.settle()

    def settle(self) -> None:
        """Make every output follow the state.  The reset is a pulse, and not among them."""
        state = self.state
        irq1, irq12 = state.interrupts()
        self.status_shadow.show(state.status())
        self.irq1.drive(high=irq1)
        self.irq12.drive(high=irq12)
        self.a20.drive(high=bool(state.output_port & P2_A20))
        self.keyboard.clock.drive(high=state.listens(CB_DISABLE))
        self.mouse.clock.drive(high=state.listens(CB_DISABLE_AUX))


def _decode(found: Mapping[str, Values]) -> State:
    state = State(**found[IDSTR])
    if state.waits not in (Command.NONE, *WITH_BYTE):
        raise UnfitError("waits", f" = {state.waits:#x} is no command with a byte")
    return state


SAVED = Saved(State, (whole(State, IDSTR),), _decode)


def attach(slot: Slot, a20: Line, reset: Callable[[], None]) -> I8042:
    """Plug the controller into *slot*; it drives *a20* and calls ``reset()`` for a reset."""
    status_shadow = slot.shadows.one(COMMAND_PORT)
    chip = I8042(slot.irq(KEYBOARD_IRQ), slot.irq(AUX_IRQ), a20, reset, status_shadow)
    slot.register_ioport_read(DATA_PORT, 1, 1, chip.read_data)
    slot.register_ioport_write(DATA_PORT, 1, 1, chip.write_data)
    slot.register_ioport_read(COMMAND_PORT, 1, 1, chip.read_status)
    slot.register_ioport_write(COMMAND_PORT, 1, 1, chip.write_command)
    slot.register_reset(chip.reset)
    slot.register_state(SAVED, chip)
    chip.settle()
    return chip
