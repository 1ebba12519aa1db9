"""The ISA slot: all that a card may touch, and nothing more.

A card is plugged into a slot and reaches the rest of the machine only through it: the clock it
reads, the alarms it sets, the ports it answers at, the interrupt lines it drives, and the moments
it is called at: reset, boot order, save and load.  The board makes one and hands it to every
card; no card sees the board, and no card sees another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emu import attrs
from emu.clock import Alarm, Clock
from emu.errors import ConfigError
from emu.irq import Line
from emu.ports import Ports, ReadHandler, WriteHandler
from emu.savevm.entries import Card, LoadState, SaveLiveState, SaveState
from emu.savevm.registry import Registry
from emu.savevm.vmstate import Saved
from emu.shadows import Shadows

IRQS = 16

ResetHandler = Callable[[], None]
BootSetHandler = Callable[[str], None]


@attrs.define(eq=False)
class Slot:
    """What the contacts of an ISA slot lead to."""

    clock: Clock = attrs.field(factory=Clock)
    ports: Ports = attrs.field(factory=Ports)
    registry: Registry = attrs.field(factory=Registry)
    irqs: list[Line] = attrs.field(
        init=False, factory=lambda: [Line(f"IRQ{number}") for number in range(IRQS)]
    )
    _irq_drivers: set[int] = attrs.field(init=False, factory=set)
    _resets: list[ResetHandler] = attrs.field(init=False, factory=list)
    _boot_sets: list[BootSetHandler] = attrs.field(init=False, factory=list)

    # --- time -----------------------------------------------------------------------------

    def alarm(
        self, idstr: str, name: str, callback: Callable[[], None], instance: int = 0
    ) -> Alarm:
        """An idle alarm of the section (idstr, instance); see `Clock.alarm`."""
        return self.clock.alarm(idstr, instance, name, callback)

    # --- ports ----------------------------------------------------------------------------

    def register_ioport_read(
        self, start: int, length: int, size: int, handler: ReadHandler
    ) -> None:
        """Answer reads: ``handler(address) -> value``.  See `Ports.register_ioport_read`."""
        self.ports.register_ioport_read(start, length, size, handler)

    def register_ioport_write(
        self, start: int, length: int, size: int, handler: WriteHandler
    ) -> None:
        """Take writes: ``handler(address, value)``.  See `Ports.register_ioport_write`."""
        self.ports.register_ioport_write(start, length, size, handler)

    def register_ports(
        self, base: int, length: int, read: ReadHandler, write: WriteHandler
    ) -> None:
        """Answer byte accesses at *base* and on with handlers that are given the offset."""
        self.register_ioport_read(base, length, 1, lambda address: read(address - base))
        self.register_ioport_write(
            base, length, 1, lambda address, value: write(address - base, value)
        )

    @property
    def shadows(self) -> Shadows:
        """Of registers whose card need not be asked each time."""
        return self.ports.shadows

    # --- interrupts -----------------------------------------------------------------------

    def irq(self, number: int) -> Line:
        """The interrupt line *number*, for one card to drive; ConfigError if it has a driver."""
        if number in self._irq_drivers:
            raise ConfigError(f"IRQ {number} is driven by another card already")
        self._irq_drivers.add(number)
        return self.irqs[number]

    # --- the moments a card is called at --------------------------------------------------

    def register_reset(self, handler: ResetHandler) -> None:
        """Call *handler* whenever RESET is pulsed, in the order of registration."""
        self._resets.append(handler)

    def register_boot_set(self, handler: BootSetHandler) -> None:
        """Call *handler* with the boot order ("cda": disk, CD, floppy) whenever it is set.

        It raises ConfigError to refuse it.
        """
        self._boot_sets.append(handler)

    def register_savevm(
        self,
        idstr: str,
        instance_id: int,
        version_id: int,
        save_state: SaveState,
        load_state: LoadState,
    ) -> int:
        """Save and load a section by hand; see `Registry.register_savevm`."""
        return self.registry.register_savevm(idstr, instance_id, version_id, save_state, load_state)

    def register_savevm_live(
        self,
        idstr: str,
        instance_id: int,
        version_id: int,
        save_live_state: SaveLiveState | None,
        save_state: SaveState | None,
        load_state: LoadState,
    ) -> int:
        """Save a section in stages; see `Registry.register_savevm_live`."""
        return self.registry.register_savevm_live(
            idstr, instance_id, version_id, save_live_state, save_state, load_state
        )

    def register_state(self, saved: Saved[Any], card: Card, instance_id: int = 0) -> None:
        """Save and load the declared State of *card*; see `Registry.register_state`."""
        self.registry.register_state(saved, card, instance_id)

    # --- the board's side of the slot -----------------------------------------------------

    def reset(self) -> None:
        """Pulse RESET."""
        for handler in self._resets:
            handler()

    def boot_set(self, order: str) -> None:
        """Tell every card that asked the boot order; ConfigError where none did or one refuses."""
        if not self._boot_sets:
            raise ConfigError("no card of this machine keeps a boot order")
        for handler in self._boot_sets:
            handler(order)
