"""The reset control register of PCI chipsets, port CF9h: how firmware and kernels restart a PC.

    bit    read and write
    -----  --------------------------------------------------------------------------
    0      reserved, 0
    1      SRST: a hard reset rather than a soft one
    2      RCPU: a change from 0 to 1 resets
    3      FULL_RST: and switches the power off for some seconds
    4-7    reserved, 0

RESET clears all of them.

It stands in the middle of port CF8h, which is PCI's address register when it is accessed by 32
bits.  This machine has no PCI: such an access finds nobody, and is none of CF9h either.

Not modelled: any difference between the resets: each pulses RESET, and memory keeps what it holds.

Sources: Intel 82371SB (PIIX3) data sheet, "RC - Reset Control Register"; Intel ICH10 data sheet,
13.7.5 "RST_CNT - Reset Control Register", for bit 3.
"""

from __future__ import annotations

from collections.abc import Callable

from emu import attrs
from emu.isa import Slot
from emu.savevm.vmstate import Saved, reg, whole

PORT = 0xCF9
PCI_ADDRESS_PORT = 0xCF8
NOBODY = 0xFFFF_FFFF

SRST = 1 << 1
RCPU = 1 << 2
FULL_RST = 1 << 3
BITS = SRST | RCPU | FULL_RST


@attrs.define
class State:
    """What a saved machine must remember about the register."""

    control: int = reg(bits=4, doc="as last written; bit 1 SRST, bit 2 RCPU, bit 3 FULL_RST")


@attrs.define(eq=False)
class ResetControl:
    """The register on one side, the reset pulse on the other."""

    reset_pulse: Callable[[], None]
    state: State = attrs.field(init=False, factory=State)

    def read(self, _port: int) -> int:
        return self.state.control

    def write(self, _port: int, value: int) -> None:
        risen = value & ~self.state.control
        self.state.control = value & BITS
        if risen & RCPU:
            self.reset_pulse()

    def reset(self) -> None:
        self.state = State()

    def settle(self) -> None:
        """No outputs: the reset is a pulse."""


SAVED = Saved(State, (whole(State, "emu/reset_control"),))


def attach(slot: Slot, reset: Callable[[], None]) -> ResetControl:
    """Plug the register into *slot*; it calls ``reset()`` for a reset."""
    card = ResetControl(reset)
    slot.register_ioport_read(PORT, 1, 1, card.read)
    slot.register_ioport_write(PORT, 1, 1, card.write)
    slot.register_ioport_read(PCI_ADDRESS_PORT, 1, 4, lambda _port: NOBODY)
    slot.register_ioport_write(PCI_ADDRESS_PORT, 1, 4, lambda _port, _value: None)
    slot.register_reset(card.reset)
    slot.register_state(SAVED, card)
    return card
