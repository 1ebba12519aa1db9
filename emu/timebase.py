"""The clock in a save: QEMU's section ``timer``.

QEMU keeps there its time stamp counter and its virtual clock, both as they were at the stop.
Here the counter is the clock (1 GHz, one count a virtual nanosecond), so one number is both.

Source: the layout in FORMAT.md, "timer".
"""

from __future__ import annotations

from collections.abc import Mapping

from emu import attrs
from emu.clock import Clock
from emu.isa import Slot
from emu.savevm.vmstate import Constant, Saved, Section, Values, i64, now


@attrs.define
class State:
    """When it is."""

    now_ns: int = now(doc="virtual nanoseconds since power-on; the time stamp counter")


def _decode(found: Mapping[str, Values]) -> State:
    return State(found["timer"]["now_ns"])


TIMER = Section(
    "timer",
    2,
    (i64("tsc"), Constant("unused", bytes(8)), i64("now_ns")),
    minimum=2,
    encode=lambda state: {"tsc": state.now_ns, "now_ns": state.now_ns},
)
SAVED = Saved(State, (TIMER,), _decode)


@attrs.define(eq=False)
class Timebase:
    """Saves and loads the clock as if it were a chip."""

    clock: Clock

    @property
    def state(self) -> State:
        return State(self.clock.now_ns)

    @state.setter
    def state(self, new: State) -> None:
        self.clock.now_ns = new.now_ns

    def settle(self) -> None:
        """The clock has no outputs: alarms are their owners'."""


def attach(slot: Slot) -> Timebase:
    """Have the slot's clock saved."""
    card = Timebase(slot.clock)
    slot.register_state(SAVED, card)
    return card
