"""Delivery by delivery.c, asked for its answer: what would be, and nothing is.

It is given copies, and no engine: what it knows of one is where registers and memory are.
"""

from __future__ import annotations

import ctypes

from emu import attrs
from emu.cpu import preload
from emu.cpu.delivery import Event, Kind
from emu.cpu.layout import Registers
from emu.cpu.native import Shared
from emu.cpu.vectors import BP, OF, WITH_ERROR_CODE
from emu.memory import Memory

KINDS = {Kind.EXCEPTION: 0, Kind.SOFTWARE: 1, Kind.HARDWARE: 2}  # enum kind of delivery.c


@attrs.frozen
class Answer:
    """All registers and all RAM, after a delivery."""

    registers: bytes
    ram: bytes

    @classmethod
    def of(cls, registers: Registers, memory: Memory) -> Answer:
        return cls(bytes(registers), memory.ram.read(0, memory.ram.size))


def deliver(registers: Registers, memory: Memory, event: Event) -> Answer | None:
    """What delivery.c makes of *event*; None where it leaves it to Python, and changes nothing.

    The arithmetic flags are in place, as in `emu.cpu.delivery.deliver`.
    """
    if isinstance(preload.LOADED, str) or not _can_be_asked(event):
        return None
    before = Answer.of(registers, memory)
    mine = Registers.from_buffer_copy(registers)
    mine.eip = event.return_eip
    mine.error_code = event.error_code or 0
    ram = ctypes.create_string_buffer(before.ram, len(before.ram))
    code = ctypes.create_string_buffer(memory.ram.pages)
    engine = Shared(
        env=ctypes.addressof(mine),
        ram=ctypes.addressof(ram),
        ram_pages=memory.ram.pages,
        code=ctypes.addressof(code),
    )
    asked = bytes(mine)
    if preload.LOADED.emu_native_deliver(ctypes.byref(engine), event.vector, KINDS[event.kind]):
        return Answer(bytes(mine), ram.raw)
    assert bytes(mine) == asked
    assert ram.raw == before.ram
    return None


def _can_be_asked(event: Event) -> bool:
    """True for an event as the engine tells of one: by its vector and kind."""
    if event.kind is Kind.EXCEPTION:
        return (event.error_code is not None) == (event.vector in WITH_ERROR_CODE)
    return event.kind in KINDS and event.vector not in (BP, OF) and event.error_code is None
