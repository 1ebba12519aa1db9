"""The debug console of Bochs and QEMU: a port that prints what is written to it.

The simplest card there is, and a good one to read first.  Firmware prints its log here.

    port        read    write
    ----------  ------  ---------------
    402h, E9h   E9h     print the byte

A program tells that somebody listens by reading E9h; SeaBIOS prints nothing otherwise.

Nothing is saved: the card remembers nothing.

Sources: Bochs, "port_e9_hack" in the documentation of bochsrc; QEMU, device isa-debugcon.
"""

from __future__ import annotations

from collections.abc import Callable

from emu import attrs
from emu.isa import Slot

PORTS = (0x402, 0xE9)  # SeaBIOS's, Bochs's
PRESENT = 0xE9


@attrs.define(eq=False)
class DebugConsole:
    """The card; *write* is given every byte that the guest prints."""

    write: Callable[[int], None]

    def read_port(self, _port: int) -> int:
        return PRESENT

    def write_port(self, _port: int, value: int) -> None:
        self.write(value)


def attach(slot: Slot, write: Callable[[int], None]) -> DebugConsole:
    """Plug the console into *slot*."""
    card = DebugConsole(write)
    for port in PORTS:
        slot.register_ioport_read(port, 1, 1, card.read_port)
        slot.register_ioport_write(port, 1, 1, card.write_port)
    return card
