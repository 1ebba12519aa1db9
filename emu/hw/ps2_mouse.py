"""A PS/2 mouse, with a wheel and five buttons for a driver that asks for them.

It adds up how far it has been moved and reports that, in stream mode at most as often as its
sample rate says, or when it is asked to:

    byte  bits
    ----  ------------------------------------------------------------------------------
    1     0 left  1 right  2 middle  3 always 1  4, 5 signs of X, Y  6, 7 overflow of X, Y
    2, 3  X to the right, Y up: 9 bits with their signs, two's complement
    4     with a wheel: its turns towards the user, two's complement
          with five buttons: 0-3 the turns, 4 and 5 the fourth and fifth button

    command     what it does                                              answer
    ----------  --------------------------------------------------------  ---------------------
    E6, E7      Set Scaling 1:1, 2:1                                      FA
    E8 option   Set Resolution: 1, 2, 4, 8 counts a mm                    FA, FA
    E9          Status Request                                            FA status resolution rate
    EA, F0      Set Stream Mode, Set Remote Mode                          FA
    EB          Read Data                                                 FA and a report
    EC, EE      Reset Wrap Mode, Set Wrap Mode: it returns what it gets   FA
    F2          Read Device Type                                          FA type
    F3 option   Set Sampling Rate: 10 20 40 60 80 100 200 a second        FA, FA
    F4, F5      Enable, Disable reporting in stream mode                  FA
    F6          Set Default                                               FA
    FE          Resend                                                    the last byte sent
    FF          Reset: a self-test (BAT), then as after power-on          FA, then AA 00
    others      invalid                                                   FE; FC for the next

    status  0 right  1 middle  2 left button  4 scaling 2:1  5 enabled  6 remote mode

Type 00 is the mouse of the PS/2.  The rates 200, 100, 80 set one after the other make it type 03, a
mouse with a wheel, and then 200, 200, 80 type 04, with five buttons; a reset makes it 00 again.
These are Microsoft's, and every driver of today knows them.

Scaling 2:1 makes of the counts 1 2 3 4 5 in stream mode 1 1 3 6 9, and doubles what is more.

It has no RESET pin: a machine that is reset finds it as it was.

Not modelled: the self-test at power-on (it is over, and nobody has asked for its AA 00); a
resolution that makes a difference: movement is given in counts; a command in the middle of the
self-test is lost.

Sources: IBM PS/2 Hardware Interface Technical Reference, "Mouse": "Data Report", "Commands";
Microsoft, "IntelliMouse" and "IntelliMouse Explorer" protocol extensions.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from emu import attrs, ps2
from emu.clock import NEVER, NS_PER_S, Alarm, Clock
from emu.irq import Line
from emu.isa import Slot
from emu.savevm.vmstate import (
    Saved,
    UnfitError,
    Values,
    array,
    choice,
    flag,
    instant,
    record,
    reg,
    signed,
    whole,
)

IDSTR = "emu/ps2_mouse"

ACK = 0xFA
ERROR = 0xFC
RESEND = 0xFE
BAT_PASSED = (0xAA, 0x00)

RATES = (10, 20, 40, 60, 80, 100, 200)
SLOWEST_NS = NS_PER_S // RATES[0]
DEFAULT_RATE = 100
DEFAULT_RESOLUTION = 2  # 4 counts a mm
RESOLUTIONS = 4
BAT_NS = 500_000_000
MOST_COUNTS = 255  # of a report; more is overflow
MOST_MOVED = (1 << 11) - 1

LEFT, RIGHT, MIDDLE, FOURTH, FIFTH = (1 << bit for bit in range(5))
BUTTONS = 0x1F
FIRST_BUTTONS = LEFT | RIGHT | MIDDLE

ALWAYS = 1 << 3
X_SIGN = 1 << 4
Y_SIGN = 1 << 5
X_OVERFLOW = 1 << 6
Y_OVERFLOW = 1 << 7

STATUS_RIGHT = 1 << 0
STATUS_MIDDLE = 1 << 1
STATUS_LEFT = 1 << 2
STATUS_SCALING = 1 << 4
STATUS_ENABLED = 1 << 5
STATUS_REMOTE = 1 << 6

SCALED = (0, 1, 1, 3, 6, 9)


class Kind(enum.IntEnum):
    """What Read Device Type answers."""

    STANDARD = 0x00
    WHEEL = 0x03
    FIVE_BUTTONS = 0x04


KNOCKS: dict[tuple[int, ...], Kind] = {
    (200, 100, 80): Kind.WHEEL,
    (200, 200, 80): Kind.FIVE_BUTTONS,
}


class Command(enum.IntEnum):
    """What the system can tell a mouse; "Commands"."""

    SCALING_1_1 = 0xE6
    SCALING_2_1 = 0xE7
    SET_RESOLUTION = 0xE8
    STATUS_REQUEST = 0xE9
    STREAM_MODE = 0xEA
    READ_DATA = 0xEB
    RESET_WRAP_MODE = 0xEC
    WRAP_MODE = 0xEE
    REMOTE_MODE = 0xF0
    READ_TYPE = 0xF2
    SET_RATE = 0xF3
    ENABLE = 0xF4
    DISABLE = 0xF5
    SET_DEFAULT = 0xF6
    RESEND = 0xFE
    RESET = 0xFF


COMMANDS = frozenset(Command)
WITH_OPTION = (Command.SET_RESOLUTION, Command.SET_RATE)
ENDS_WRAP_MODE = (Command.RESET_WRAP_MODE, Command.RESET)


@attrs.define
class State:
    """What a saved machine must remember about one mouse."""

    link: ps2.State = record(ps2.State, doc="its end of the cable")
    command: int = reg(bits=8, doc="the command that waits for its option; 0: none does")
    failed: bool = flag(doc="the last byte from the system was invalid")
    scaling: bool = flag(doc="scaling is 2:1")
    resolution: int = reg(bits=2, reset=DEFAULT_RESOLUTION, doc="resolution: 2 ** n counts a mm")
    rate: int = reg(bits=8, reset=DEFAULT_RATE, doc="sample rate, in reports a second")
    remote: bool = flag(doc="remote mode: it reports when it is asked")
    wrap: bool = flag(doc="wrap mode: it returns what it gets")
    enabled: bool = flag(doc="it reports in stream mode")
    kind: Kind = choice(Kind, reset=Kind.STANDARD, doc="the type that it is taken for")
    rates: list[int] = array(3, 8, doc="the last rates set, the oldest first")
    buttons: int = reg(bits=5, doc="those that are down: left, right, middle, fourth, fifth")
    reported: int = reg(bits=5, doc="those that were in the last report")
    x: int = signed(bits=12, doc="movement to the right not yet reported")
    y: int = signed(bits=12, doc="movement away from the user not yet reported")
    wheel: int = signed(bits=12, doc="turns of the wheel towards the user not yet reported")
    sample_ns: int = instant(within_ns=SLOWEST_NS, doc="when the next report may be; none: now")
    bat_ns: int = instant(within_ns=BAT_NS, doc="when the self-test is over; none: it is")

    # --- what follows from it -------------------------------------------------------------

    def status(self) -> int:
        """The first byte of what Status Request answers."""
        return (
            (STATUS_RIGHT if self.buttons & RIGHT else 0)
            | (STATUS_MIDDLE if self.buttons & MIDDLE else 0)
            | (STATUS_LEFT if self.buttons & LEFT else 0)
            | (STATUS_SCALING if self.scaling else 0)
            | (STATUS_ENABLED if self.enabled else 0)
            | (STATUS_REMOTE if self.remote else 0)
        )

    def known_buttons(self) -> int:
        """The buttons that a report of this type has."""
        return BUTTONS if self.kind is Kind.FIVE_BUTTONS else FIRST_BUTTONS

    def has_news(self) -> bool:
        """Something has happened since the last report."""
        turned = self.kind is not Kind.STANDARD and self.wheel != 0
        changed = (self.buttons ^ self.reported) & self.known_buttons()
        return self.x != 0 or self.y != 0 or turned or changed != 0

    def streams(self) -> bool:
        """It sends reports by itself."""
        return self.enabled and not self.remote and not self.wrap


# ==== the mouse ===========================================================================


@attrs.define(eq=False)
class PS2Mouse:
    """One mouse: a hand on one side, the cable to the controller on the other.

    ``deliver(byte)`` is the controller's; `sense_clock` and `receive` are what its clock and what it
    sends are connected to.
    """

    clock: Clock
    deliver: Callable[[int], None]
    state: State = attrs.field(init=False, factory=State)
    _sender: ps2.Sender = attrs.field(init=False)
    _sample_alarm: Alarm = attrs.field(init=False)
    _bat_alarm: Alarm = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._sender = ps2.Sender(self.clock, self, self.deliver, IDSTR)
        self._sample_alarm = self.clock.alarm(IDSTR, 0, "sample", self._sample)
        self._bat_alarm = self.clock.alarm(IDSTR, 0, "bat", self._bat_is_over)

    # --- the hand -------------------------------------------------------------------------

    def move(self, right: int, away: int, wheel: int = 0) -> None:
        """Move it by so many counts, and turn its wheel towards the user."""
        state = self.state
        if state.bat_ns == NEVER:
            state.x = _bounded(state.x + right, MOST_MOVED)
            state.y = _bounded(state.y + away, MOST_MOVED)
            state.wheel = _bounded(state.wheel + wheel, MOST_MOVED)
            self._report_news()
        self.settle()

    def press(self, buttons: int) -> None:
        """Hold exactly *buttons* down, a bit each."""
        self.state.buttons = buttons & BUTTONS
        self._report_news()
        self.settle()

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
        state.link.buffer = b""  # the rest of a report that the command has cut short
        command, state.command = state.command, 0
        failed, state.failed = state.failed, False
        if state.wrap and byte not in ENDS_WRAP_MODE:
            self._sender.answer(byte)
        elif command and self._set(Command(command), byte):
            self._sender.answer(ACK)
        elif not command and byte in COMMANDS:
            self._obey(Command(byte))
        else:
            state.failed = True
            state.command = command if not failed else 0  # it may try once more
            self._sender.answer(ERROR if failed else RESEND)
        self._report_news()
        self.settle()

    def _obey(self, command: Command) -> None:  # noqa: C901 - one case a command
        state = self.state
        answer: tuple[int, ...] = (ACK,)
        match command:
            case Command.SET_RESOLUTION | Command.SET_RATE:
                state.command = command
            case Command.SCALING_1_1 | Command.SCALING_2_1:
                state.scaling = command is Command.SCALING_2_1
            case Command.STATUS_REQUEST:
                answer = (ACK, state.status(), state.resolution, state.rate)
            case Command.STREAM_MODE | Command.REMOTE_MODE:
                state.remote = command is Command.REMOTE_MODE
                self._forget_movement()
            case Command.WRAP_MODE | Command.RESET_WRAP_MODE:
                state.wrap = command is Command.WRAP_MODE
                self._forget_movement()
            case Command.READ_DATA:
                state.link.buffer = self._report(scaled=False)
            case Command.READ_TYPE:
                answer = (ACK, state.kind)
            case Command.ENABLE | Command.DISABLE:
                state.enabled = command is Command.ENABLE
                self._forget_movement()
            case Command.SET_DEFAULT:
                self._set_default()
            case Command.RESEND:
                answer = (state.link.last_sent,)
            case Command.RESET:  # pragma: no branch - there is no other
                self._set_default()
                state.kind, state.rates = Kind.STANDARD, [0, 0, 0]
                state.bat_ns = self.clock.now_ns + BAT_NS
        self._sender.answer(*answer)

    def _set(self, command: Command, option: int) -> bool:
        """Obey a command whose option has come; False if that is invalid."""
        state = self.state
        if command is Command.SET_RESOLUTION:
            if option >= RESOLUTIONS:
                return False
            state.resolution = option
        else:
            if option not in RATES:
                return False
            state.rate = option
            state.rates = [*state.rates[1:], option]
            state.kind = KNOCKS.get(tuple(state.rates), state.kind)
        return True

    def _set_default(self) -> None:
        """Stream mode, 100 reports a second, 4 counts a mm, 1:1, disabled; "Set Default"."""
        state = self.state
        state.scaling = state.remote = state.wrap = state.enabled = False
        state.resolution, state.rate = DEFAULT_RESOLUTION, DEFAULT_RATE
        self._forget_movement()

    def _bat_is_over(self) -> None:
        self.state.bat_ns = NEVER
        self._sender.send(bytes(BAT_PASSED))
        self.settle()

    # --- reports --------------------------------------------------------------------------

    def _report_news(self) -> None:
        """Send a report if there is something to say and it is time; what waits comes first."""
        state = self.state
        if state.streams() and state.has_news() and state.sample_ns == NEVER:
            state.sample_ns = self.clock.now_ns + NS_PER_S // state.rate
            if not state.link.answers and not state.link.buffer:
                self._sender.send(self._report(scaled=state.scaling))

    def _sample(self) -> None:
        self.state.sample_ns = NEVER
        self._report_news()
        self.settle()

    def _report(self, *, scaled: bool) -> bytes:
        """What has happened since the last report."""
        state = self.state
        x, y = (_bounded(moved, MOST_COUNTS) for moved in (state.x, state.y))
        overflow = (X_OVERFLOW if x != state.x else 0) | (Y_OVERFLOW if y != state.y else 0)
        if scaled:
            x, y = _scaled(x), _scaled(y)
        first = ALWAYS | state.buttons & FIRST_BUTTONS | overflow
        first |= (X_SIGN if x < 0 else 0) | (Y_SIGN if y < 0 else 0)
        report = bytes([first, x & 0xFF, y & 0xFF])
        match state.kind:
            case Kind.STANDARD:
                pass
            case Kind.WHEEL:
                report += bytes([_bounded(state.wheel, 127) & 0xFF])
            case Kind.FIVE_BUTTONS:  # pragma: no branch - there is no other
                more = (state.buttons & (FOURTH | FIFTH)) << 1
                report += bytes([_bounded(state.wheel, 7) & 0x0F | more])
        self._forget_movement()
        state.reported = state.buttons
        return report

    def _forget_movement(self) -> None:
        self.state.x = self.state.y = self.state.wheel = 0

    # --- outputs --------------------------------------------------------------------------

    def settle(self) -> None:
        """Make every output follow the state."""
        self._sender.settle()
        self._sample_alarm.arm(self.state.sample_ns)
        self._bat_alarm.arm(self.state.bat_ns)


def _bounded(number: int, most: int) -> int:
    return max(-most, min(most, number))


def _scaled(counts: int) -> int:
    """Scaling 2:1; "Set Scaling 2:1"."""
    size = abs(counts)
    size = SCALED[size] if size < len(SCALED) else min(2 * size, MOST_COUNTS)
    return size if counts >= 0 else -size


def _decode(found: Mapping[str, Values]) -> State:
    state = State(**found[IDSTR])
    state.link.check()
    if state.command not in (0, *WITH_OPTION):
        raise UnfitError("command", f" = {state.command:#x} is no command with an option")
    if state.rate not in RATES:
        raise UnfitError("rate", f" = {state.rate}: there is no such rate")
    return state


SAVED = Saved(State, (whole(State, IDSTR),), _decode)


def attach(slot: Slot, *, deliver: Callable[[int], None], controller_clock: Line) -> PS2Mouse:
    """Plug a mouse into the controller whose clock line and whose way in these are."""
    mouse = PS2Mouse(slot.clock, deliver)
    controller_clock.connect(mouse.sense_clock)
    slot.register_state(SAVED, mouse)
    return mouse
