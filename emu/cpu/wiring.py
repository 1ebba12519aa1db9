"""The hooks that both engines set: ports, exceptions, CPUID, holes and the ROM.

A Python exception may not travel through the library's C frames, so each callback is guarded:
what it raises is kept, the run stops at the next block, and the engine raises it from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
import unicorn
from unicorn import unicorn_const, x86_const

from emu.cpu import binding
from emu.cpu.binding import (
    Hooks,
    InCallback,
    InstructionCallback,
    InterruptCallback,
    InvalidCallback,
    OutCallback,
    ProtectedWriteCallback,
    SyscallCallback,
    WindowRead,
    WindowWrite,
)
from emu.cpu.engine import Calls
from emu.cpu.models import Model
from emu.memory import ALL_ONES, Memory

_CPUID_RESULTS = (
    x86_const.UC_X86_REG_EAX,
    x86_const.UC_X86_REG_EBX,
    x86_const.UC_X86_REG_ECX,
    x86_const.UC_X86_REG_EDX,
)


class Editing(Protocol):
    """An engine that lets its registers be edited in the middle of a run."""

    deadline_ns: int

    def edit(self, change: Callable[[], None]) -> None:
        """Call *change* with `registers` valid, and go on from what it leaves there."""

    def patch(self, change: Callable[[], None]) -> None:
        """The same in the middle of an instruction, where the flags are not in place."""


@attrs.define(eq=False)
class Wiring:
    """The callbacks of one engine."""

    uc: unicorn.Uc
    memory: Memory
    model: Model
    calls: Calls
    engine: Editing
    hooks: Hooks = attrs.field(init=False)
    error: BaseException | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.hooks = Hooks(self.uc)
        add, instruction = self.hooks.add, self.hooks.add_instruction
        instruction(x86_const.UC_X86_INS_IN, InCallback(self._port_read))
        instruction(x86_const.UC_X86_INS_OUT, OutCallback(self._port_write))
        instruction(x86_const.UC_X86_INS_CPUID, InstructionCallback(self._cpuid))
        instruction(x86_const.UC_X86_INS_SYSENTER, SyscallCallback(self._sysenter))
        add(unicorn_const.UC_HOOK_INTR, InterruptCallback(self._exception))
        add(unicorn_const.UC_HOOK_INSN_INVALID, InvalidCallback(self._invalid_instruction))
        add(unicorn_const.UC_HOOK_MEM_WRITE_PROT, ProtectedWriteCallback(self._rom_write))
        hole = self.memory.ram.size
        self.hooks.add_window(
            hole,
            self.memory.rom_base - hole,
            WindowRead(self._hole_read),
            WindowWrite(self._hole_write),
        )

    def raise_caught(self) -> None:
        """Raise what a callback raised since the last call."""
        error, self.error = self.error, None
        if error is not None:
            raise error

    def caught(self, error: BaseException) -> None:
        """Keep *error* and stop the run at the next block."""
        self.error = self.error or error
        self.engine.deadline_ns = 0

    # Each guard catches everything: an exception that were let go here would be lost in C.

    def _port_read(self, _uc: int, port: int, size: int, _user: int) -> int:
        try:
            return self.calls.port_read(port, size)
        except BaseException as error:  # noqa: BLE001
            self.caught(error)
            return 0

    def _port_write(self, _uc: int, port: int, size: int, value: int, _user: int) -> None:
        try:
            self.calls.port_write(port, size, value)
        except BaseException as error:  # noqa: BLE001
            self.caught(error)

    def _exception(self, _uc: int, vector: int, _user: int) -> None:
        try:
            self.engine.edit(lambda: self.calls.exception(vector))
        except BaseException as error:  # noqa: BLE001
            self.caught(error)

    def _invalid_instruction(self, _uc: int, _user: int) -> bool:
        try:
            self.engine.edit(self.calls.invalid_instruction)
        except BaseException as error:  # noqa: BLE001
            self.caught(error)
        return True

    def _sysenter(self, _uc: int, _user: int) -> None:
        try:
            self.engine.patch(self.calls.sysenter)
        except BaseException as error:  # noqa: BLE001
            self.caught(error)

    def _cpuid(self, _uc: int, _user: int) -> int:
        try:
            leaf = self.model.cpuid(self.uc.reg_read(x86_const.UC_X86_REG_EAX))
            for register, value in zip(_CPUID_RESULTS, leaf, strict=True):
                self.uc.reg_write(register, value)
        except BaseException as error:  # noqa: BLE001
            self.caught(error)
        return 1

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
