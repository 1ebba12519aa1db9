"""A PS/2 keyboard with 101 or 102 keys.

It watches its switches and sends a scan code when a key goes down, another when it comes up, and
the first again and again while it stays down.  In scan code set 2, which is the usual one:

    key         down                        up
    ----------  --------------------------  --------------------------------------
    most        code                        F0 code
    later ones  E0 code                     E0 F0 code
    Print Scrn  E0 12 E0 7C                 E0 F0 7C E0 F0 12
                E0 7C with Ctrl or Shift    E0 F0 7C
                84 with Alt                 F0 84
    Pause       E1 14 77 E1 F0 14 F0 77     nothing
                E0 7E E0 F0 7E with Ctrl    nothing

In set 1 the codes are others, and bit 7 says that the key came up.  emu/keys.py has the codes.

    command           what it does                                      answer
    ----------------  ------------------------------------------------  ------------------
    ED option         lights: 0 Scroll Lock  1 Num Lock  2 Caps Lock    FA, FA
    EE                Echo                                              EE
    F0 option         scan code set 1 or 2; 0 asks which it is          FA, FA [set]
    F2                Read ID                                           FA AB 83
    F3 option         typematic rate (0-4) and delay (5-6)              FA, FA
    F4                Enable: empties the buffer, scans                 FA
    F5                Default Disable: as F6, but scans no more         FA
    F6                Set Default: rate, delay, set 2, empty buffer     FA
    F7-FA, FB-FD key  key types of set 3: no effect                     FA, FA
    FE                Resend                                            the last byte sent
    FF                Reset: a self-test (BAT), then as after power-on  FA, then AA
    others            an invalid command                                FE

A command that comes where an option is expected takes its place.

Typematic: the code of the last key that went down is sent again after a delay of 250 ms times
1 + bits 6-5, then every (8 + bits 2-0) * 2 ^ (bits 4-3) * 4.17 ms, until that key comes up; so,
with 2Bh after power-on, after 500 ms and then every 92 ms.  None is made while the codes before it
have not been sent.

    key      ___|‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾|____
    sent       1C          1C     1C     1C     1C    F0 1C
                <- 500 ms -><-92 -><-92 ->

The buffer holds 16 bytes.  A stroke whose codes do not fit is lost, and 00 (FF in set 1) follows the
others to say so.  Answers do not count.

It has no RESET pin: a machine that is reset finds it as it was.

Not modelled: the self-test at power-on (it is over, and its AA has been taken); set 3;
the shift codes that go around those of the gray keys while Shift or Num Lock is on; a command in
the middle of the self-test is lost.

Source: IBM PS/2 Hardware Interface Technical Reference, "101- and 102-Key Keyboards"; the sections
are "Keyboard Buffer", "Keys", "Power-On Routine", "Commands from the System", "Commands to the
System", "Scan Codes".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from emu import attrs, ps2
from emu.clock import NEVER, NS_PER_S, Alarm, Clock
from emu.irq import Line
from emu.isa import Slot
from emu.keys import CODES, EXTENDED, EXTENDED_KEYS, EXTENDED_PAUSE, LET_GO, Key
from emu.savevm.vmstate import Saved, UnfitError, Values, flag, instant, record, reg, whole

IDSTR = "emu/ps2_keyboard"

ACK = 0xFA
RESEND = 0xFE
BAT_PASSED = 0xAA
IDENTIFICATION = (0xAB, 0x83)
BREAK = 0xF0  # set 2: the key whose code follows came up
BREAK_BIT = 1 << 7  # set 1: it came up
OVERRUN = {1: 0xFF, 2: 0x00}

BUFFER_BYTES = 16
LIGHTS = 0x07
TYPEMATIC_DEFAULT = 0x2B  # 500 ms, 10.9 a second
TYPEMATIC_BITS = 0x7F
BAT_NS = 300_000_000  # 300 to 500 ms
DELAY_NS = 250_000_000
LONGEST_DELAY_NS = 4 * DELAY_NS
TYPEMATIC_HZ = 240  # a unit of the typematic rate is 4.17 ms

SYSRQ = {1: 0x54, 2: 0x84}  # Print Screen with Alt
PAUSE_1, PAUSE_2 = bytes.fromhex("1D 45"), bytes.fromhex("14 77")
BREAK_KEY = {1: 0x46, 2: 0x7E}  # Pause with Ctrl: the code of Scroll Lock, extended
PRINT_SCREEN = {1: 0x37, 2: 0x7C}
SHIFT = {1: 0x2A, 2: 0x12}

ALTS = (Key.LEFT_ALT, Key.RIGHT_ALT)
CTRLS = (Key.LEFT_CTRL, Key.RIGHT_CTRL)
SHIFTS = (Key.LEFT_SHIFT, Key.RIGHT_SHIFT)
KEYS = frozenset(Key)


class Command(enum.IntEnum):
    """What the system can tell a keyboard; "Commands from the System"."""

    SET_LIGHTS = 0xED
    ECHO = 0xEE
    SELECT_SET = 0xF0
    READ_ID = 0xF2
    SET_TYPEMATIC = 0xF3
    ENABLE = 0xF4
    DEFAULT_DISABLE = 0xF5
    SET_DEFAULT = 0xF6
    ALL_TYPEMATIC = 0xF7
    ALL_MAKE_BREAK = 0xF8
    ALL_MAKE = 0xF9
    ALL_TYPEMATIC_MAKE_BREAK = 0xFA
    KEY_TYPEMATIC = 0xFB
    KEY_MAKE_BREAK = 0xFC
    KEY_MAKE = 0xFD
    RESEND = 0xFE
    RESET = 0xFF


COMMANDS = frozenset(Command)
WITH_OPTION = frozenset(
    {
        Command.SET_LIGHTS,
        Command.SELECT_SET,
        Command.SET_TYPEMATIC,
        Command.KEY_TYPEMATIC,
        Command.KEY_MAKE_BREAK,
        Command.KEY_MAKE,
    }
)


@attrs.define
class State:
    """What a saved machine must remember about one keyboard."""

    link: ps2.State = record(ps2.State, doc="its end of the cable")
    command: int = reg(bits=8, doc="the command that waits for its option; 0: none does")
    scanning: bool = flag(reset=True, doc="keys are looked at")
    code_set: int = reg(bits=2, reset=2, doc="scan code set: 1 or 2")
    lights: int = reg(bits=3, doc="Scroll Lock, Num Lock, Caps Lock")
    typematic: int = reg(bits=7, reset=TYPEMATIC_DEFAULT, doc="rate and delay as last set")
    down: int = reg(bits=128, doc="bit n: key n is down")
    repeating: int = reg(bits=7, doc="the key whose code repeats; 0: none does")
    repeat_ns: int = instant(within_ns=LONGEST_DELAY_NS, doc="when it does next")
    bat_ns: int = instant(within_ns=BAT_NS, doc="when the self-test is over; none: it is")

    # --- what follows from it -------------------------------------------------------------

    def is_down(self, *keys: Key) -> bool:
        """One of *keys* is down, or several are."""
        return any(self.down >> key & 1 for key in keys)

    def delay_ns(self) -> int:
        """How long a key must be down to repeat."""
        return (1 + (self.typematic >> 5)) * DELAY_NS

    def period_ns(self) -> int:
        """How long it then takes from code to code."""
        units = 8 + (self.typematic & 7) << (self.typematic >> 3 & 3)
        return units * NS_PER_S // TYPEMATIC_HZ

    # --- scan codes -----------------------------------------------------------------------

    def one(self, code: int, *, up: bool, extended: bool = False) -> bytes:
        """The code of a key in set 1 or 2, as it goes down or comes *up*."""
        prefix = bytes([EXTENDED]) if extended else b""
        if self.code_set == 1:
            return prefix + bytes([code | (BREAK_BIT if up else 0)])
        return prefix + (bytes([BREAK]) if up else b"") + bytes([code])

    def codes(self, key: Key, *, up: bool) -> bytes:
        """What is sent when *key* goes down, or comes *up*, with the other keys as they are."""
        match key:
            case Key.PRINT_SCREEN:
                return self._print_screen(up=up)
            case Key.PAUSE:
                return b"" if up else self._pause()
            case _:
                code = CODES[key][self.code_set - 1]
                return self.one(code, up=up, extended=key in EXTENDED_KEYS)

    def _print_screen(self, *, up: bool) -> bytes:
        if self.is_down(*ALTS):
            return self.one(SYSRQ[self.code_set], up=up)
        own = self.one(PRINT_SCREEN[self.code_set], up=up, extended=True)
        if self.is_down(*CTRLS, *SHIFTS):
            return own
        shift = self.one(SHIFT[self.code_set], up=up, extended=True)
        return own + shift if up else shift + own

    def _pause(self) -> bytes:
        if self.is_down(*CTRLS):
            code = BREAK_KEY[self.code_set]
            return self.one(code, up=False, extended=True) + self.one(code, up=True, extended=True)
        codes = PAUSE_1 if self.code_set == 1 else PAUSE_2
        prefix = bytes([EXTENDED_PAUSE])
        return prefix + codes + prefix + b"".join(self.one(each, up=True) for each in codes)


# ==== the keyboard ========================================================================


@attrs.define(eq=False)
class PS2Keyboard:
    """One keyboard: switches on one side, the cable to the controller on the other.

    ``deliver(byte)`` is the controller's; `sense_clock` and `receive` are what its clock and what it
    sends are connected to.  `room` is high while a stroke would be heard and nothing waits.
    """

    clock: Clock
    deliver: Callable[[int], None]
    room: Line = attrs.field(init=False, factory=lambda: Line("room"))
    state: State = attrs.field(init=False, factory=State)
    _sender: ps2.Sender = attrs.field(init=False)
    _repeat_alarm: Alarm = attrs.field(init=False)
    _bat_alarm: Alarm = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._sender = ps2.Sender(self.clock, self, self.deliver, IDSTR)
        self._repeat_alarm = self.clock.alarm(IDSTR, 0, "repeat", self._repeat)
        self._bat_alarm = self.clock.alarm(IDSTR, 0, "bat", self._bat_is_over)

    # --- the cable ------------------------------------------------------------------------

    def sense_clock(self, high: bool) -> None:  # noqa: FBT001 - a level is all that a pin receives
        """The controller lets the clock go, or pulls it low."""
        self._sender.sense_clock(high)
        self.settle()

    def receive(self, byte: int) -> None:
        """The controller has sent *byte*: a command, or an option of one."""
        state = self.state
        if state.bat_ns != NEVER:
            return
        self._sender.interrupt()
        if byte in COMMANDS:
            state.command = 0
            self._obey(Command(byte))
        elif state.command:
            command, state.command = Command(state.command), 0
            self._set(command, byte)
        else:
            self._sender.answer(RESEND)
        self.settle()

    def _obey(self, command: Command) -> None:
        state = self.state
        if command in WITH_OPTION:
            state.command = command
        match command:
            case Command.ECHO:
                self._sender.answer(Command.ECHO)
                return
            case Command.RESEND:
                self._sender.answer(state.link.last_sent)
                return
            case Command.READ_ID:
                self._sender.answer(ACK, *IDENTIFICATION)
                return
            case Command.ENABLE:
                self._empty()
                state.scanning = True
            case Command.SET_DEFAULT | Command.DEFAULT_DISABLE:
                self._set_default()
                state.scanning = command is Command.SET_DEFAULT and state.scanning
            case Command.RESET:
                self._set_default()
                state.lights = 0
                state.scanning = False
                state.bat_ns = self.clock.now_ns + BAT_NS
            case _:
                pass  # the commands with options, and those of set 3
        self._sender.answer(ACK)

    def _set(self, command: Command, option: int) -> None:
        """Obey a command whose option has come."""
        state = self.state
        match command:
            case Command.SET_LIGHTS:
                state.lights = option & LIGHTS
            case Command.SET_TYPEMATIC:
                state.typematic = option & TYPEMATIC_BITS
            case Command.SELECT_SET if option == 0:
                self._sender.answer(ACK, state.code_set)
                return
            case Command.SELECT_SET if option in OVERRUN:
                self._empty()
                state.code_set = option
            case Command.SELECT_SET:
                self._sender.answer(RESEND)
                return
            case _:
                pass  # a key's type in set 3
        self._sender.answer(ACK)

    def _set_default(self) -> None:
        """The state after power-on, but for the lights; "Set Default"."""
        self._empty()
        self.state.code_set = 2
        self.state.typematic = TYPEMATIC_DEFAULT

    def _empty(self) -> None:
        """Forget the codes that have not been sent, and the key that repeats."""
        self.state.link.buffer = b""
        self._stop_repeating()

    def _bat_is_over(self) -> None:
        self.state.bat_ns = NEVER
        self.state.scanning = True
        self._sender.send(bytes([BAT_PASSED]))
        self.settle()

    # --- the keys -------------------------------------------------------------------------

    def strike(self, stroke: int) -> None:
        """A key goes down or comes up; *stroke* is as emu/keys.py has it.  Others are no keys."""
        number, up = stroke & ~LET_GO, bool(stroke & LET_GO)
        state = self.state
        if number not in KEYS or up != state.is_down(key := Key(number)):
            return  # a key that is down cannot go down
        codes = state.codes(key, up=up)  # Print Screen: before it counts
        state.down ^= 1 << key
        if state.repeating and (not up or key == state.repeating):
            self._stop_repeating()
        if state.scanning:
            if not up and key is not Key.PAUSE:
                state.repeating = key
                state.repeat_ns = self.clock.now_ns + state.delay_ns()
            self._put(codes)
        self.settle()

    def _put(self, codes: bytes) -> None:
        """Send the codes of a stroke, if the buffer has room for all of them."""
        waiting, overrun = self.state.link.buffer, bytes([OVERRUN[self.state.code_set]])
        if len(waiting) + len(codes) <= BUFFER_BYTES:
            self._sender.send(codes)
        elif not waiting.endswith(overrun):
            self._sender.send(overrun)

    def _repeat(self) -> None:
        state = self.state
        state.repeat_ns = self.clock.now_ns + state.period_ns()
        if self._sender.idle:
            self._put(state.codes(Key(state.repeating), up=False))
        self.settle()

    def _stop_repeating(self) -> None:
        self.state.repeating = 0
        self.state.repeat_ns = NEVER

    # --- outputs --------------------------------------------------------------------------

    def settle(self) -> None:
        """Make every output follow the state."""
        state = self.state
        self._sender.settle()
        self._repeat_alarm.arm(state.repeat_ns)
        self._bat_alarm.arm(state.bat_ns)
        self.room.drive(high=state.scanning and self._sender.idle)


def _decode(found: Mapping[str, Values]) -> State:
    state = State(**found[IDSTR])
    state.link.check()
    if state.command not in {0, *WITH_OPTION}:
        raise UnfitError("command", f" = {state.command:#x} is no command with an option")
    if state.code_set not in OVERRUN:
        raise UnfitError("code_set", f" = {state.code_set}, expected 1 or 2")
    if any(state.down >> number & 1 and number not in KEYS for number in range(128)):
        raise UnfitError("down", ": a key that there is not")
    if (state.repeating == 0) != (state.repeat_ns == NEVER):
        raise UnfitError("repeat_ns", ": contradicts which key repeats")
    if state.repeating and state.repeating not in KEYS:
        raise UnfitError("repeating", f" = {state.repeating}: a key that there is not")
    return state


SAVED = Saved(State, (whole(State, IDSTR),), _decode)


def attach(slot: Slot, *, deliver: Callable[[int], None], controller_clock: Line) -> PS2Keyboard:
    """Plug a keyboard into the controller whose clock line and whose way in these are."""
    keyboard = PS2Keyboard(slot.clock, deliver)
    controller_clock.connect(keyboard.sense_clock)
    slot.register_state(SAVED, keyboard)
    return keyboard
