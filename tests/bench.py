"""A test bench: an ISA slot with nothing in it but the card under test.

The slot, its clock, ports and registry are the real ones.  A test drives a card only as a guest
or a wire could: by its ports, its pins and the passage of time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from emu import attrs
from emu.isa import Slot

C = TypeVar("C")


@attrs.define(eq=False)
class Bench(Generic[C]):
    """One card on a slot of its own.

    *plug_in* attaches a fresh card to the slot; it is called again by `migrate`.  Lines that the
    card drives beyond the slot's IRQs are for *plug_in* to connect.
    """

    plug_in: Callable[[Slot], C]
    slot: Slot = attrs.field(factory=Slot)
    card: C = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.card = self.plug_in(self.slot)

    def inb(self, port: int) -> int:
        return self.slot.ports.read(port, 1)

    def outb(self, port: int, value: int) -> None:
        self.slot.ports.write(port, value, 1)

    def irq(self, number: int) -> bool:
        return self.slot.irqs[number].level

    def wait(self, ns: int) -> None:
        self.slot.clock.advance(ns)

    def migrate(self) -> Bench[C]:
        """The same card in another machine: saved here, loaded there."""
        other = Bench(self.plug_in)
        other.slot.clock.now_ns = self.slot.clock.now_ns
        other.slot.registry.load_sections(self.slot.registry.save_sections())
        return other
