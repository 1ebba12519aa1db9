"""A null-modem cable from the host to a serial port.

It is no chip, but it has a State: what the host has sent and the UART not received yet.
A character starts when the UART has room for it and none is on the way, and arrives whole, a
character time of the UART's later:

    room        ‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾|_____________|‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾
    on the way   [   a   ][   b   ] . . . . . . .[   c   ]
    received             a                       b       c

Nothing is lost on it: while there is no room nothing starts, and a character on the way when the
guest takes the room away (turns the FIFOs off, or loopback on) is held until there is room again.

The cable presents an attached terminal on the UART's modem inputs: DSR, CTS and DCD are
asserted.  Those are the UART's own levels at power-on, so there is nothing to drive.

Not modelled: the host's break, its modem lines, and noise.  What the guest sends is not here:
it goes from the UART straight to the host end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emu import attrs
from emu.clock import NEVER, Alarm, Clock
from emu.irq import Line
from emu.isa import Slot
from emu.savevm.vmstate import Saved, UnfitError, Values, blob, flag, instant, whole

MOST_PENDING = 65_536


@attrs.define
class State:
    """What a saved machine must remember about one cable."""

    pending: bytes = blob(most=MOST_PENDING, doc="sent and not received, the oldest first")
    arrives_ns: int = instant(doc="when the first of them has arrived; past: it is held")
    room: bool = flag(reset=True, doc="the level last seen on room")


@attrs.define(eq=False)
class Cable:
    """One cable: *character_ns* says how long a character takes, *receive* takes it."""

    clock: Clock
    receive: Callable[[int], None]
    character_ns: Callable[[], int]
    instance: int = 0
    state: State = attrs.field(init=False, factory=State)
    _alarm: Alarm = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._alarm = self.clock.alarm("emu/cable", self.instance, "arrival", self._arrive)

    # --- the host's end -------------------------------------------------------------------

    def space(self) -> int:
        """How many more characters can be sent now."""
        return MOST_PENDING - len(self.state.pending)

    def send(self, data: bytes) -> None:
        """Put *data* on the cable: `space` at the most, or it is refused whole (ValueError)."""
        self.state.pending += data
        self._start()
        self.settle()

    # --- the UART's end -------------------------------------------------------------------

    def sense_room(self, high: bool) -> None:  # noqa: FBT001 - a level is all that a pin receives
        """What `room` is connected to; driven again to the level it has, nothing changes."""
        self.state.room = high
        self._start()
        self.settle()

    def _start(self) -> None:
        """Let the next character set out, if it can."""
        state = self.state
        if state.room and state.pending and state.arrives_ns == NEVER:
            state.arrives_ns = self.clock.now_ns + self.character_ns()

    def _arrive(self) -> None:
        """The first character is there, and there is room, or no alarm would be set."""
        state = self.state
        character, state.pending = state.pending[0], state.pending[1:]
        state.arrives_ns = NEVER
        self.receive(character)  # which settles `room`, and that may start the next
        self._start()
        self.settle()

    def settle(self) -> None:
        """Make the alarm follow the state: without room a character on the way is held."""
        self._alarm.arm(self.state.arrives_ns if self.state.room else NEVER)


def _decode(found: Mapping[str, Values]) -> State:
    state = State(**found["emu/cable"])
    if state.arrives_ns != NEVER and not state.pending:
        raise UnfitError("arrives_ns", ": nothing is pending that could arrive")
    return state


SAVED = Saved(State, (whole(State, "emu/cable"),), _decode)


def attach(
    slot: Slot,
    *,
    receive: Callable[[int], None],
    character_ns: Callable[[], int],
    room: Line,
    instance: int = 0,
) -> Cable:
    """Plug a cable into the UART whose `receive`, `character_ns` and `room` these are."""
    cable = Cable(slot.clock, receive, character_ns, instance)
    room.connect(cable.sense_room)
    slot.register_state(SAVED, cable, instance)
    return cable
