"""System control port A of the PS/2, port 92h: a fast way to open the A20 gate, and to reset.

    bit    read and write
    -----  ---------------------------------------------------------------------------
    0      alternate hot reset: a change from 0 to 1 resets; back to 0 only by a write or RESET
    1      alternate gate A20: 1 opens the gate
    2-7    as written: the activity light, the lock of the password, and what is reserved

On the PS/2 the gate is open while this bit or the keyboard controller's output P21 is high:
either is enough.  The card drives its half, A20, and the board makes the OR:

    A20 (bit 1)   8042 P21    address line 20
    -----------   --------    ---------------------
    0             0           held low
    1             either      follows the processor
    either        1           follows the processor

RESET clears bits 0 and 1.  The gate is open then all the same, by the 8042, whose P21 is
high after RESET.  On a board without one *open_after_reset* does that here: power-on and RESET
set bit 1.

Not modelled: the delay of some microseconds before the reset (the next instruction is the
first after it); the watchdog's bit 4, the light and the lock, which are bits like any other.

Sources: IBM PS/2 Hardware Interface Technical Reference, "System Control Port A (Hex 0092)";
SMSC FDC37B72x data sheet, "Port 92 Fast GateA20 and Keyboard Reset", for the OR and RESET.
"""

from __future__ import annotations

from collections.abc import Callable

from emu import attrs
from emu.irq import Line
from emu.isa import Slot
from emu.savevm.vmstate import Saved, reg, whole
from emu.shadows import Shadow

PORT = 0x92

HOT_RESET = 1 << 0
GATE_A20 = 1 << 1


@attrs.define
class State:
    """What a saved machine must remember about the port."""

    outport: int = reg(bits=8, doc="as last written; bit 0 hot reset, bit 1 gate A20")


@attrs.define(eq=False)
class Port92:
    """The port on one side; A20 and the reset pulse on the other."""

    a20: Line
    reset_pulse: Callable[[], None]
    shadow: Shadow
    open_after_reset: bool = False
    state: State = attrs.field(init=False, factory=State)

    def read(self, _port: int) -> int:
        return self.state.outport

    def write(self, _port: int, value: int) -> None:
        risen = value & ~self.state.outport
        self.state.outport = value
        self.settle()
        if risen & HOT_RESET:
            self.reset_pulse()

    def reset(self) -> None:
        self.state.outport &= ~(HOT_RESET | GATE_A20)
        if self.open_after_reset:
            self.state.outport |= GATE_A20
        self.settle()

    def settle(self) -> None:
        """Make every output follow the state.  The reset is a pulse, and not among them."""
        self.shadow.show(self.state.outport)
        self.a20.drive(high=bool(self.state.outport & GATE_A20))


SAVED = Saved(State, (whole(State, "port92"),))


def attach(
    slot: Slot, a20: Line, reset: Callable[[], None], *, open_after_reset: bool = False
) -> Port92:
    """Plug the port into *slot*; it drives *a20* and calls ``reset()`` for a hot reset."""
    card = Port92(a20, reset, slot.shadows.one(PORT), open_after_reset)
    slot.register_ioport_read(PORT, 1, 1, card.read)
    slot.register_ioport_write(PORT, 1, 1, card.write)
    slot.register_reset(card.reset)
    slot.register_state(SAVED, card)
    card.reset()
    return card
