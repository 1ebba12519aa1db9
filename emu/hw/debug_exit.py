"""QEMU's isa-debug-exit: a port by which a test guest ends the emulator and says how it went.

    ports       read    write
    ----------  ------  ----------------------------------------------------------
    501h-502h   0       end, with the value written, of 8, 16 or 32 bits
    F4h-F7h     0       the same

The process's exit code is (value << 1) | 1, so it is never 0: a guest cannot pretend that
the emulator itself ended well.

Nothing is saved: the card remembers nothing.

Source: QEMU, device isa-debug-exit, at its default ports (iobase=0x501, iosize=2) and at those
that operating systems' own tests give it (iobase=0xf4, iosize=4).
"""

from __future__ import annotations

from collections.abc import Callable

from emu import attrs
from emu.isa import Slot
from emu.ports import SIZES

PORTS = {0x501: 2, 0xF4: 4}  # the first port of each range: how many


def exit_code(value: int) -> int:
    """The exit code of a process whose guest wrote *value*; a host keeps 8 bits of it."""
    return (value << 1 | 1) & 0xFF


@attrs.define(eq=False)
class DebugExit:
    """The card; *leave* is given the value that the guest ends with."""

    leave: Callable[[int], None]

    def read_port(self, _port: int) -> int:
        return 0

    def write_port(self, _port: int, value: int) -> None:
        self.leave(value)


def attach(slot: Slot, leave: Callable[[int], None]) -> DebugExit:
    """Plug the card into *slot*; ``leave(value)`` is called as the guest writes."""
    card = DebugExit(leave)
    for port, length in PORTS.items():
        for size in SIZES:
            slot.register_ioport_read(port, length, size, card.read_port)
            slot.register_ioport_write(port, length, size, card.write_port)
    return card
