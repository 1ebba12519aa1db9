"""Somebody at the keyboard: presses and releases keys, one after the other.

It is no chip, but it has a State: the keystrokes that are still to come.  A key goes down when the
keyboard has had room for it for 4 ms - it would hear the key, and has sent all that went before -
and comes up 10 ms later.  So a guest that is slow, or has not set up its keyboard yet, is waited for:

    room        ______|‾‾|______|‾‾‾‾‾‾|_____|‾‾‾‾|_____________|‾‾‾‾‾‾‾|____
                                <-4 ms->                        <-4 ms->
    key A       ________________________|‾‾‾‾‾‾‾‾‾|__________________________
    key B       _________________________________________________________|‾‾‾‾

A key comes up in its time, whether there is room or not: a hand does not wait, and held down the
key would repeat.

Not modelled: typing faster, slower, or with mistakes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emu import attrs
from emu.clock import NEVER, Alarm, Clock
from emu.irq import Line
from emu.isa import Slot
from emu.keys import LET_GO
from emu.savevm.vmstate import Saved, UnfitError, Values, blob, flag, instant, whole

MOST_PENDING = 65_536
HELD_NS = 10_000_000
ROOM_NS = 4_000_000  # longer than firmware takes from one command to the next


@attrs.define
class State:
    """What a saved machine must remember about one typist."""

    pending: bytes = blob(most=MOST_PENDING, doc="keystrokes to come, the first first")
    due_ns: int = instant(within_ns=HELD_NS, doc="when the first comes; none: it waits for room")
    room: bool = flag(doc="the level last seen on room")

    def key_is_down(self) -> bool:
        """The next stroke lets a key go."""
        return bool(self.pending) and bool(self.pending[0] & LET_GO)


@attrs.define(eq=False)
class Typist:
    """One typist; ``strike(stroke)`` is the keyboard's, and a stroke as in emu/keys.py."""

    clock: Clock
    strike: Callable[[int], None]
    state: State = attrs.field(init=False, factory=State)
    _alarm: Alarm = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._alarm = self.clock.alarm("emu/typist", 0, "stroke", self._strike)

    def space(self) -> int:
        """How many more keystrokes can be given to it now."""
        return MOST_PENDING - len(self.state.pending)

    def type(self, strokes: bytes) -> None:
        """Have *strokes* come after those that still are to: `space` at the most."""
        self.state.pending += strokes
        if self.state.due_ns == NEVER:
            self._prepare()
        self.settle()

    def sense_room(self, high: bool) -> None:  # noqa: FBT001 - a level is all that a pin receives
        """What the keyboard's `room` is connected to."""
        if high != self.state.room:
            self.state.room = high
            if not self.state.key_is_down():
                self._prepare()
            self.settle()

    def _prepare(self) -> None:
        """Decide when the next stroke comes."""
        state = self.state
        if state.key_is_down():
            state.due_ns = self.clock.now_ns + HELD_NS
        elif state.pending and state.room:
            state.due_ns = self.clock.now_ns + ROOM_NS
        else:
            state.due_ns = NEVER

    def _strike(self) -> None:
        state = self.state
        stroke, state.pending = state.pending[0], state.pending[1:]
        self._prepare()
        self.strike(stroke)  # which may take the room away
        self.settle()

    def settle(self) -> None:
        """Make the alarm follow the state."""
        self._alarm.arm(self.state.due_ns)


def _decode(found: Mapping[str, Values]) -> State:
    state = State(**found["emu/typist"])
    if state.due_ns != NEVER and not state.pending:
        raise UnfitError("due_ns", ": nothing is pending that could come")
    return state


SAVED = Saved(State, (whole(State, "emu/typist"),), _decode)


def attach(slot: Slot, *, strike: Callable[[int], None], room: Line) -> Typist:
    """Seat a typist before the keyboard whose `strike` and `room` these are."""
    typist = Typist(slot.clock, strike)
    room.connect(typist.sense_room)
    slot.register_state(SAVED, typist)
    return typist
