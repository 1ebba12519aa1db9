"""The hooks that both engines set: ports, exceptions, holes and the ROM.

A Python exception may not travel through the library's C frames, so each callback is guarded, and
tells `Calls.failed` what was raised.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Protocol

from emu import attrs
from emu.cpu import binding, unicorn_h
from emu.cpu.binding import (
    Hooks,
    InvalidCallback,
    ProtectedWriteCallback,
    SyscallCallback,
    Unicorn,
    WindowRead,
    WindowWrite,
)
from emu.cpu.engine import Calls
from emu.memory import ALL_ONES, FOUR_GIB, Memory

PHYSICAL_END = 1 << 40  # as far as a 4 MiB page can lie: PSE-36 and what later processors added


class Editing(Protocol):
    """An engine that lets its registers be edited in the middle of a run."""

    def edit(self, change: Callable[[], None]) -> None:
        """Call *change* with `registers` valid, and go on from what it leaves there.

        It delivers an exception.  The handler may be where no block can be translated, and raise
        the next; so the run is stopped here, too, where it is to stop.
        """

    def wire(self, wiring: Wiring) -> None:
        """Have *wiring* called at ports and exceptions, in the engine's own way."""

    def postpones(self, vector: int) -> bool:
        """True where an exception is not to be delivered yet.

        It is a fault of fetching ahead: instructions before it are still to be run, and will be.
        """

    def patch(self, change: Callable[[], None]) -> None:
        """The same in the middle of an instruction, where the flags are not in place."""


@attrs.define(eq=False)
class Wiring:
    """The callbacks of one engine."""

    uc: Unicorn
    memory: Memory
    calls: Calls
    engine: Editing
    hooks: Hooks = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.hooks = Hooks(self.uc)
        add, instruction = self.hooks.add, self.hooks.add_instruction
        instruction(unicorn_h.UC_X86_INS_SYSENTER, SyscallCallback(self._sysenter))
        instruction(unicorn_h.UC_X86_INS_SYSCALL, SyscallCallback(self._syscall))
        self.engine.wire(self)
        add(unicorn_h.UC_HOOK_INSN_INVALID, InvalidCallback(self._invalid_instruction))
        add(unicorn_h.UC_HOOK_MEM_WRITE_PROT, ProtectedWriteCallback(self._rom_write))
        ram_end, rom_base = self.memory.ram.size, self.memory.rom_base
        for start, end in ((ram_end, rom_base), (FOUR_GIB, PHYSICAL_END)):
            read, write = WindowRead(self._hole_read), WindowWrite(self._hole_write)
            self.hooks.add_window(start, end - start, read, write)

    def release(self) -> None:
        """The engine is being closed: let go of all that keeps each other alive."""
        del self.uc, self.memory, self.calls, self.engine
        self.hooks.release()

    # Each guard catches everything: what is let go here is printed and lost.

    def port_read(self, port: int, size: int, now_ns: int) -> int:
        try:
            return index(self.calls.port_read(port, size, now_ns))
        except BaseException as error:  # noqa: BLE001
            self.calls.failed(error)
            return 0

    def port_write(self, port: int, size: int, value: int, now_ns: int) -> None:
        try:
            self.calls.port_write(port, size, value, now_ns)
        except BaseException as error:  # noqa: BLE001
            self.calls.failed(error)

    def reached(self, now_ns: int) -> None:
        try:
            self.calls.reached(now_ns)
        except BaseException as error:  # noqa: BLE001
            self.calls.failed(error)

    def exception(self, _uc: int, vector: int, _user: int) -> None:
        try:
            if not self.engine.postpones(vector):
                self.engine.edit(lambda: self.calls.exception(vector))
        except BaseException as error:  # noqa: BLE001
            self.calls.failed(error)

    def _invalid_instruction(self, _uc: int, _user: int) -> bool:
        try:
            self.engine.edit(self.calls.invalid_instruction)
        except BaseException as error:  # noqa: BLE001
            self.calls.failed(error)
        return True

    def _sysenter(self, _uc: int, _user: int) -> None:
        try:
            self.engine.patch(self.calls.sysenter)
        except BaseException as error:  # noqa: BLE001
            self.calls.failed(error)

    def _syscall(self, _uc: int, _user: int) -> None:
        try:
            self.engine.patch(self.calls.syscall)
        except BaseException as error:  # noqa: BLE001
            self.calls.failed(error)

    def _rom_write(
        self, _uc: int, _access: int, _address: int, _size: int, _value: int, _user: int
    ) -> bool:
        """A write to the ROM goes nowhere, and is no error."""
        return True

    def _hole_read(self, _uc: int, _offset: int, size: int, _user: int) -> int:
        """Nobody there: all ones."""
        return int.from_bytes(bytes([ALL_ONES]) * size, "little")

    def _hole_write(self, _uc: int, _offset: int, _size: int, _value: int, _user: int) -> None:
        """Nobody there."""


def check_run(status: int) -> bool:
    """True after a normal end, False where there was nothing to fetch; our mistake raises."""
    if status in (binding.FETCH_PROTECTED, binding.FETCH_UNMAPPED):
        return False
    binding.check(status)
    return True
