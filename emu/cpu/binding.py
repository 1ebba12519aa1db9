"""Unicorn's C interface, as far as both engines use it.

The Python binding costs several microseconds a callback and refuses some instruction hooks, so
callbacks are registered with the library directly.  The prototypes are those of
``unicorn/unicorn.h`` and ``unicorn/x86.h``, version 2.1.4.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import unicorn
from unicorn import unicorn_const, x86_const
from unicorn.unicorn_py3 import unicorn as python_binding

from emu import attrs
from emu.cpu import layout
from emu.cpu.models import Model
from emu.memory import Memory

lib: ctypes.CDLL = python_binding.uclib
VERSION: str = unicorn.__version__
KNOWN_BUILD = (
    sys.platform == "linux" and platform.machine() == "x86_64" and layout.VERSION == VERSION
)

_Pointer = ctypes.c_void_p
InCallback = ctypes.CFUNCTYPE(ctypes.c_uint32, _Pointer, ctypes.c_uint32, ctypes.c_int, _Pointer)
OutCallback = ctypes.CFUNCTYPE(
    None, _Pointer, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32, _Pointer
)
InterruptCallback = ctypes.CFUNCTYPE(None, _Pointer, ctypes.c_uint32, _Pointer)
InvalidCallback = ctypes.CFUNCTYPE(ctypes.c_bool, _Pointer, _Pointer)
BlockCallback = ctypes.CFUNCTYPE(None, _Pointer, ctypes.c_uint64, ctypes.c_uint32, _Pointer)
InstructionCallback = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer)
SyscallCallback = ctypes.CFUNCTYPE(None, _Pointer, _Pointer)
EdgeCallback = ctypes.CFUNCTYPE(None, _Pointer, _Pointer, _Pointer, _Pointer)
ProtectedWriteCallback = ctypes.CFUNCTYPE(
    ctypes.c_bool, _Pointer, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64, _Pointer
)
WindowRead = ctypes.CFUNCTYPE(ctypes.c_uint64, _Pointer, ctypes.c_uint64, ctypes.c_uint, _Pointer)
WindowWrite = ctypes.CFUNCTYPE(
    None, _Pointer, ctypes.c_uint64, ctypes.c_uint, ctypes.c_uint64, _Pointer
)

OK = int(unicorn_const.UC_ERR_OK)
FETCH_PROTECTED = int(unicorn_const.UC_ERR_FETCH_PROT)
FETCH_UNMAPPED = int(unicorn_const.UC_ERR_FETCH_UNMAPPED)

_CTL_WRITE = unicorn_const.UC_CTL_IO_WRITE << 30
_CTL_TLB_FLUSH = unicorn_const.UC_CTL_TLB_FLUSH | _CTL_WRITE


class TranslationBlock(ctypes.Structure):
    """What an edge callback is told of a new block (uc_tb)."""

    _fields_: ClassVar = [
        ("pc", ctypes.c_uint64),
        ("instructions", ctypes.c_uint16),
        ("size", ctypes.c_uint16),
    ]
    pc: int
    size: int


def open_unicorn(memory: Memory, model: Model) -> unicorn.Uc:
    """An engine with the machine's memory in it, and no hooks.

    RAM is mapped first, in one piece, so that the library's RAM addresses are physical ones.
    """
    uc = unicorn.Uc(unicorn_const.UC_ARCH_X86, unicorn_const.UC_MODE_32)
    uc.ctl_set_cpu_model(model.unicorn_id)
    uc.ctl_exits_enabled(True)  # noqa: FBT003 - with no exits: an exit address can spoil CR2
    ram, rom = memory.ram, memory.rom
    uc.mem_map_ptr(0, ram.size, unicorn_const.UC_PROT_ALL, ram.address)
    read_only = unicorn_const.UC_PROT_READ | unicorn_const.UC_PROT_EXEC
    uc.mem_map_ptr(memory.rom_base, rom.size, read_only, rom.address)
    # To map it so makes the library ask before each write, and then write; this makes it not write.
    uc.mem_protect(memory.rom_base, rom.size, read_only)
    uc.reg_write(x86_const.UC_X86_REG_EAX, 0)  # the library makes its CPU on first use
    return uc


class Hooks:
    """The callbacks of one engine, kept alive as long as it may call them."""

    def __init__(self, uc: unicorn.Uc) -> None:
        self._handle = uc._uch  # noqa: SLF001 - the binding has no name for it
        self._callbacks: list[object] = []

    def add(self, kind: int, callback: Any, user_data: Any = None) -> None:
        """Call *callback* for every event of *kind*, wherever it happens."""
        self._add(kind, callback, user_data)

    def add_instruction(self, instruction: int, callback: Any, user_data: Any = None) -> None:
        """Call *callback* in place of each *instruction* (UC_X86_INS_...)."""
        self._add(unicorn_const.UC_HOOK_INSN, callback, user_data, ctypes.c_int(instruction))

    def _add(self, kind: int, callback: Any, user_data: Any, *extra: Any) -> None:
        self._callbacks.append(callback)
        hook = ctypes.c_size_t()
        first, last = ctypes.c_uint64(1), ctypes.c_uint64(0)  # an empty range: everywhere
        check(
            lib.uc_hook_add(
                self._handle,
                ctypes.byref(hook),
                kind,
                callback,
                ctypes.c_void_p(user_data),
                first,
                last,
                *extra,
            )
        )

    def add_window(self, start: int, length: int, read: Any, write: Any) -> None:
        """Let *read* and *write* answer for physical addresses from *start* on."""
        self._callbacks += [read, write]
        check(
            lib.uc_mmio_map(
                self._handle,
                ctypes.c_uint64(start),
                ctypes.c_size_t(length),
                read,
                None,
                write,
                None,
            )
        )

    def release(self) -> None:
        """The engine is closed: let go of the callbacks, and of all that they refer to."""
        self._callbacks.clear()


def check(status: int) -> None:
    """Raise for a call of ours that the library refused: that is our own mistake."""
    if status != OK:
        raise unicorn.UcError(status)


@attrs.frozen
class Structures:
    """Where the library keeps the running engine: its handle, CPUState and CPUX86State."""

    uc: int
    cpu: int
    env: int


def find_structures(uc: unicorn.Uc) -> Structures:
    """Those of *uc*, by what is known of this very build; only where `KNOWN_BUILD` is true."""
    handle = uc._uch.value  # noqa: SLF001 - the binding has no name for it
    cpu = ctypes.c_uint64.from_address(handle + layout.UC_CPU).value
    return Structures(handle, cpu, ctypes.c_uint64.from_address(cpu + layout.CPU_ENV).value)


def find_next_block(uc: unicorn.Uc) -> Any:
    """How *uc* is to translate the next block, to be written to; None where that is not known."""
    if not KNOWN_BUILD:
        return None
    return ctypes.c_uint32.from_address(find_structures(uc).cpu + layout.CPU_NEXT_BLOCK)


def flush_tlb(uc: unicorn.Uc) -> None:
    """Forget every translation of addresses; the Python binding lacks this one."""
    check(lib.uc_ctl(uc._uch, _CTL_TLB_FLUSH))  # noqa: SLF001


class ModelSpecific(ctypes.Structure):
    """Which MSR, and its value (uc_x86_msr)."""

    _fields_: ClassVar = [("number", ctypes.c_uint32), ("value", ctypes.c_uint64)]
    number: int
    value: int


class Msrs:
    """The model-specific registers of `layout.MSRS`, read and written all at once."""

    def __init__(self, uc: unicorn.Uc) -> None:
        self._handle = uc._uch  # noqa: SLF001
        count = len(layout.MSRS)
        self._msrs = [ModelSpecific(number) for number in layout.MSRS]
        self._ids = (ctypes.c_int * count)(*[x86_const.UC_X86_REG_MSR] * count)
        self._places = (ctypes.c_void_p * count)(*map(ctypes.addressof, self._msrs))

    def read(self) -> list[int]:
        check(lib.uc_reg_read_batch(self._handle, self._ids, self._places, len(self._msrs)))
        return [msr.value for msr in self._msrs]

    def write(self, values: Sequence[int]) -> None:
        for msr, value in zip(self._msrs, values, strict=True):
            msr.value = value
        check(lib.uc_reg_write_batch(self._handle, self._ids, self._places, len(self._msrs)))


# Registers that the layout is checked with: id, value, and where it must turn up.
_PROBES: list[tuple[int, int, str, int]] = [
    (x86_const.UC_X86_REG_EAX, 0x1234_5678, "regs", 0),
    (x86_const.UC_X86_REG_EDI, 0x8765_4321, "regs", 7),
    (x86_const.UC_X86_REG_CR2, 0x1357_9BDF, "cr", 2),
    (x86_const.UC_X86_REG_CR4, 0x200, "cr", 4),
    (x86_const.UC_X86_REG_DR6, 0x2468_ACE0, "dr", 6),
    (x86_const.UC_X86_REG_DR7, 0x400, "dr", 7),
    (x86_const.UC_X86_REG_FPCW, 0x27F, "fpuc", -1),
    (x86_const.UC_X86_REG_FIP, 0x55AA_1122, "fpip", -1),
    (x86_const.UC_X86_REG_FDP, 0x66BB_2233, "fpdp", -1),
    (x86_const.UC_X86_REG_FOP, 0x5A5, "fpop", -1),
    (x86_const.UC_X86_REG_FCS, 0x1111, "fpcs", -1),
    (x86_const.UC_X86_REG_FDS, 0x2222, "fpds", -1),
    (x86_const.UC_X86_REG_MXCSR, 0x1F81, "mxcsr", -1),
]


def check_layout(uc: unicorn.Uc, read: Any) -> str | None:
    """None if registers written by id turn up where layout.py says, or what did not.

    *read* gives the engine's `layout.Registers` as they are now.
    """
    if uc.context_save().size != layout.CONTEXT_BYTES:
        return f"a context has {uc.context_save().size} bytes, expected {layout.CONTEXT_BYTES}"
    for register, value, name, index in _PROBES:
        uc.reg_write(register, value)
        found = getattr(read(), name)
        if (found if index < 0 else found[index]) != value:
            return f"register {name} is not where it is expected"
    for index in range(8):
        uc.reg_write(x86_const.UC_X86_REG_XMM0 + index, (index + 1) << 64 | 0xABCD)
        uc.reg_write(x86_const.UC_X86_REG_FP0 + index, (0x1122_3344_5566_7788 + index, 0x4000))
        registers = read()
        if (registers.xmm[index].low, registers.xmm[index].high) != (0xABCD, index + 1):
            return f"register XMM{index} is not where it is expected"
        if registers.fpregs[index].mantissa != 0x1122_3344_5566_7788 + index:
            return f"x87 register {index} is not where it is expected"
    for register, name in (
        (x86_const.UC_X86_REG_GDTR, "gdt"),
        (x86_const.UC_X86_REG_IDTR, "idt"),
    ):
        uc.reg_write(register, (0, 0x0012_3450, 0x7F7, 0))
        table = getattr(read(), name)
        if (table.base, table.limit) != (0x0012_3450, 0x7F7):
            return f"register {name} is not where it is expected"
    return None
