"""How an AT tells of an x87 error: FERR# becomes IRQ 13, and port F0h IGNNE#.

    port   read       write
    -----  ---------  ------------------------------------------------------------
    F0     all ones   any value: IRQ 13 goes low; IGNNE# goes low too, if FERR# is

The processor pulls FERR# low when an instruction comes to an x87 error with CR0.NE clear, and waits
there.  That sets a latch, which is IRQ 13.  The handler writes to port F0h before anything else:
the latch is cleared, and instructions no longer wait while IGNNE# is low, so that the handler can use
the x87.  Both pins go high again when the error is cleared (processor.py):

    FERR#    -----.______________________.-----
    IRQ 13   _____.-------.___________________
    write F0              x
    IGNNE#   -------------.______________.-----
    FNCLEX                               x

Not modelled: port F1h, which resets a 80287 and does nothing to what came after it.

Sources: Intel 82371AB (PIIX4) data sheet, 4.2.7 "Coprocessor Error Register" and the signals FERR#
and IGNNE#; SDM volume 1, 8.7.2 and appendix D.
"""

from __future__ import annotations

from collections.abc import Callable

from emu import attrs
from emu.irq import Line
from emu.isa import Slot
from emu.savevm.vmstate import Saved, flag, whole

PORT = 0xF0


@attrs.define
class State:
    """What a saved machine must remember about the latch."""

    latch: bool = flag(doc="FERR# has gone low and port F0h has not been written since: IRQ 13")


@attrs.define(eq=False)
class FpuError:
    """FERR# and the port on one side; IRQ 13 and IGNNE# on the other."""

    irq13: Line
    ignore: Callable[[], None]
    state: State = attrs.field(init=False, factory=State)

    def set_error(self) -> None:
        """FERR# goes low."""
        self.state.latch = True
        self.settle()

    def write(self, _port: int, _value: int) -> None:
        self.state.latch = False
        self.settle()
        self.ignore()

    def reset(self) -> None:
        self.state = State()
        self.settle()

    def settle(self) -> None:
        """Make the output follow the state."""
        self.irq13.drive(high=self.state.latch)


SAVED = Saved(State, (whole(State, "fpu_error"),))


def attach(slot: Slot, ignore: Callable[[], None]) -> FpuError:
    """Plug the latch into *slot*; ``ignore()`` pulls IGNNE# low, if FERR# is."""
    card = FpuError(slot.irq(13), ignore)
    slot.register_ioport_write(PORT, 1, 1, card.write)
    slot.register_reset(card.reset)
    slot.register_state(SAVED, card)
    card.reset()
    return card
