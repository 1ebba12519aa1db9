"""A device's end of a PS/2 cable: its buffers, and bytes on their way to the controller.

Two wires make the cable, clock and data, and both ends can pull each low.  The device sends a
byte in 11 bits - start, 8 data, odd parity, stop - one with each pulse that it makes on the clock:

    controller's clock   ‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾|_________________|‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾
    device sends         [  1C  ]                          [  F0  ]
    arrived                     1C                                 F0

While the controller holds the clock low the device may send nothing.  A byte that it was sending
then is kept and sent again from its first bit, so nothing is lost on the way.

The controller sends a byte by pulling the clock low and asking for pulses, which ends what the
device was sending.  The device has to answer each; its answers go before what else is waiting.

Not modelled: the time that a byte takes from controller to device; parity errors.

Source: IBM PS/2 Hardware Interface Technical Reference, "101- and 102-Key Keyboards": "Clock and
Data Signals", "Data Stream"; "Mouse" has the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from emu import attrs
from emu.clock import NEVER, Alarm, Clock
from emu.savevm.vmstate import UnfitError, blob, flag, instant, reg

BIT_NS = 80_000  # of the device's clock: 60 to 100 us
BYTE_NS = 11 * BIT_NS

ANSWERS_MOST = 4  # a mouse's to its Status Request
BUFFER_MOST = 17  # a keyboard's 16, and the code that says that there were more


@attrs.define
class State:
    """What a saved machine must remember about a device's end of the cable."""

    answers: bytes = blob(most=ANSWERS_MOST, doc="what is to be sent first: answers to commands")
    buffer: bytes = blob(most=BUFFER_MOST, doc="and then: scan codes, or the mouse's reports")
    arrives_ns: int = instant(within_ns=BYTE_NS, doc="when the byte being sent has arrived")
    clock_high: bool = flag(doc="the level last seen on the controller's clock; low: send nothing")
    last_sent: int = reg(bits=8, doc="the last byte that has arrived, for the Resend command")

    def check(self) -> None:
        """UnfitError for a byte on its way that is none, or may not be."""
        if self.arrives_ns != NEVER and not (self.clock_high and (self.answers or self.buffer)):
            raise UnfitError("link.arrives_ns", ": there is nothing that could arrive")


class Holder(Protocol):
    """The State of a device, which has this end's in it."""

    @property
    def link(self) -> State: ...


class Device(Protocol):
    """What sends: its State may be another after each load."""

    @property
    def state(self) -> Holder: ...

    def settle(self) -> None: ...


@attrs.define(eq=False)
class Sender:
    """Sends what *device* has to send; ``deliver(byte)`` is the controller's to take it."""

    clock: Clock
    device: Device
    deliver: Callable[[int], None]
    section: str
    _alarm: Alarm = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._alarm = self.clock.alarm(self.section, 0, "arrival", self._arrive)

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent, and something may be."""
        link = self.device.state.link
        return link.clock_high and not link.answers and not link.buffer

    def interrupt(self) -> None:
        """The controller sends a byte: what was being sent has to begin again."""
        self.device.state.link.arrives_ns = NEVER

    def answer(self, *answer: int) -> None:
        """Send this before all else, in place of answers that nobody has taken."""
        self.device.state.link.answers = bytes(answer)
        self.start()

    def send(self, data: bytes) -> None:
        """Send *data* when what waits has been sent."""
        self.device.state.link.buffer += data
        self.start()

    def sense_clock(self, high: bool) -> None:  # noqa: FBT001 - a level is all that a pin receives
        """What the controller's clock is connected to."""
        link = self.device.state.link
        if high != link.clock_high:
            link.clock_high = high
            link.arrives_ns = NEVER
            self.start()

    def start(self) -> None:
        """Begin with the next byte, where one waits and may be sent."""
        link = self.device.state.link
        if link.clock_high and link.arrives_ns == NEVER and (link.answers or link.buffer):
            link.arrives_ns = self.clock.now_ns + BYTE_NS
        self.settle()

    def _arrive(self) -> None:
        """The stop bit is over."""
        link = self.device.state.link
        waiting = link.answers or link.buffer
        if link.answers:
            link.answers = waiting[1:]
        else:
            link.buffer = waiting[1:]
        link.last_sent, link.arrives_ns = waiting[0], NEVER
        self.deliver(waiting[0])  # upon which the controller may pull the clock low
        self.start()
        self.device.settle()

    def settle(self) -> None:
        """Make the alarm follow the state."""
        self._alarm.arm(self.device.state.link.arrives_ns)
