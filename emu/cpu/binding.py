"""Unicorn's C interface, as far as it is used here.

The library comes with the package `unicorn`, whose Python binding stays where it is: it costs
several microseconds a callback, refuses some instruction hooks, and takes as long to import as the
rest of a machine.  So the library is called directly.  The prototypes are those of
``unicorn/unicorn.h`` and ``unicorn/x86.h``, version 2.1.4.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

from emu import attrs
from emu.cpu import layout, preload, unicorn_h
from emu.cpu.models import Model
from emu.memory import Memory


def _open(path: str) -> ctypes.CDLL:
    """The library, whose functions are bound as they are called.

    ctypes would have all 7,789 bound at once, of which a run calls one in twenty.
    """
    if sys.platform != "linux":
        return ctypes.CDLL(path)
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    handle = dlopen(os.fsencode(path), os.RTLD_LAZY)
    return ctypes.CDLL(path, handle=handle)  # which tries itself where there is none, and says why


def _version() -> str:
    number = int(lib.uc_version(None, None))
    return f"{number >> 24}.{number >> 16 & 0xFF}.{number >> 8 & 0xFF}"


def _is_measured() -> bool:
    """True where the library is the very file that layout.py and native.c were made with."""
    with open(preload.UNICORN, "rb") as file:
        return layout.BUILD_ID in file.read(layout.BUILD_ID_WITHIN)


lib = _open(preload.UNICORN)
VERSION = _version()
KNOWN_BUILD = (
    sys.platform == "linux" and os.uname().machine == "x86_64" and layout.VERSION == VERSION
)
MEASURED_BUILD = KNOWN_BUILD and _is_measured()

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

OK = int(unicorn_h.UC_ERR_OK)
FETCH_PROTECTED = int(unicorn_h.UC_ERR_FETCH_PROT)
FETCH_UNMAPPED = int(unicorn_h.UC_ERR_FETCH_UNMAPPED)


def _control(what: int, way: int, arguments: int) -> int:
    """The second argument of uc_ctl (UC_CTL_READ, UC_CTL_WRITE, UC_CTL_READ_WRITE)."""
    return way << 30 | arguments << 26 | what


_SET_CPU_MODEL = _control(unicorn_h.UC_CTL_CPU_MODEL, unicorn_h.UC_CTL_IO_WRITE, 1)
_USE_EXITS = _control(unicorn_h.UC_CTL_UC_USE_EXITS, unicorn_h.UC_CTL_IO_WRITE, 1)
_FLUSH_CODE = _control(unicorn_h.UC_CTL_TB_FLUSH, unicorn_h.UC_CTL_IO_WRITE, 0)
_FLUSH_TLB = _control(unicorn_h.UC_CTL_TLB_FLUSH, unicorn_h.UC_CTL_IO_WRITE, 0)
_REQUEST_BLOCK = _control(unicorn_h.UC_CTL_TB_REQUEST_CACHE, unicorn_h.UC_CTL_IO_READ_WRITE, 2)


class UnicornError(Exception):
    """The library has refused a call of ours: that is our own mistake."""

    def __init__(self, status: int) -> None:
        lib.uc_strerror.restype = ctypes.c_char_p
        super().__init__(lib.uc_strerror(status).decode())


def check(status: int) -> None:
    """Raise for a call of ours that the library refused."""
    if status != OK:
        raise UnicornError(status)


def bind(*parts: Any) -> str | None:
    """Give *parts* of our shared object (emu_..._bind) this library's functions.

    None, or the first function that is missing; all that are there have been given even so.
    """
    missing: list[bytes] = []
    for part in parts:
        part.restype = ctypes.c_char_p
        if name := part(_Pointer(lib._handle)):  # noqa: SLF001
            missing.append(name)
    return f"Unicorn has no {missing[0].decode()}" if missing else None


class TranslationBlock(ctypes.Structure):
    """What an edge callback is told of a new block (uc_tb)."""

    _fields_: ClassVar = [
        ("pc", ctypes.c_uint64),
        ("instructions", ctypes.c_uint16),
        ("size", ctypes.c_uint16),
    ]
    pc: int
    instructions: int
    size: int


class Unicorn:
    """One processor of the library's, closed when nobody has it any more.

    RAM is mapped first, in one piece, so that the library's RAM addresses are physical ones.
    """

    def __init__(self, memory: Memory, model: Model) -> None:
        self.handle = ctypes.c_void_p()
        check(lib.uc_open(unicorn_h.UC_ARCH_X86, unicorn_h.UC_MODE_32, ctypes.byref(self.handle)))
        weakref.finalize(self, lib.uc_close, self.handle)
        self._control(_SET_CPU_MODEL, ctypes.c_int(model.unicorn_id))
        self._control(_USE_EXITS, ctypes.c_int(1))  # and give none: an exit address can spoil CR2
        ram, rom = memory.ram, memory.rom
        read_only = unicorn_h.UC_PROT_READ | unicorn_h.UC_PROT_EXEC
        self._map(0, ram.size, unicorn_h.UC_PROT_ALL, ram.address)
        self._map(memory.rom_base, rom.size, read_only, rom.address)
        # To map it so makes the library ask before each write, and then write; this makes it not.
        start, size = ctypes.c_uint64(memory.rom_base), ctypes.c_size_t(rom.size)
        check(lib.uc_mem_protect(self.handle, start, size, read_only))
        self.write(unicorn_h.UC_X86_REG_EAX, 0)  # the library makes its CPU on first use

    def _control(self, what: int, *arguments: Any) -> None:
        check(lib.uc_ctl(self.handle, what, *arguments))

    def _map(self, start: int, size: int, protection: int, host_address: int) -> None:
        check(
            lib.uc_mem_map_ptr(
                self.handle,
                ctypes.c_uint64(start),
                ctypes.c_size_t(size),
                protection,
                ctypes.c_void_p(host_address),
            )
        )

    def read(self, register: int) -> int:
        """The value of a general or control register, EIP or EFLAGS."""
        value = ctypes.c_uint64()
        check(lib.uc_reg_read(self.handle, register, ctypes.byref(value)))
        return value.value

    def write(self, register: int, value: int) -> None:
        """Set one that is 64 bits wide at the most."""
        self.write_from(register, ctypes.c_uint64(value))

    def write_from(self, register: int, value: Any) -> None:
        """Set one from a ctypes object of its own form."""
        check(lib.uc_reg_write(self.handle, register, ctypes.byref(value)))

    def flush_code(self) -> None:
        """Forget every translation of code."""
        self._control(_FLUSH_CODE)

    def flush_tlb(self) -> None:
        """Forget every translation of addresses."""
        self._control(_FLUSH_TLB)

    def block_at(self, address: int) -> TranslationBlock:
        """The translation of the block that begins there; it is made if there is none."""
        found = TranslationBlock()
        self._control(_REQUEST_BLOCK, ctypes.c_uint64(address), ctypes.byref(found))
        return found


class Hooks:
    """The callbacks of one engine, kept alive as long as it may call them."""

    def __init__(self, uc: Unicorn) -> None:
        self._handle = uc.handle
        self._callbacks: list[object] = []

    def add(self, kind: int, callback: Any, user_data: Any = None) -> Any:
        """Call *callback* for every event of *kind*, wherever it happens, until `remove`."""
        return self._add(kind, callback, user_data)

    def remove(self, hook: Any) -> None:
        """Take back what `add` has returned."""
        check(lib.uc_hook_del(self._handle, hook))

    def add_instruction(self, instruction: int, callback: Any, user_data: Any = None) -> None:
        """Call *callback* in place of each *instruction* (UC_X86_INS_...)."""
        self._add(unicorn_h.UC_HOOK_INSN, callback, user_data, ctypes.c_int(instruction))

    def _add(self, kind: int, callback: Any, user_data: Any, *extra: Any) -> Any:
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
        return hook

    def keep(self, callback: Any) -> int | None:
        """Keep *callback* alive, too, which somebody else is to call; its address."""
        self._callbacks.append(callback)
        return ctypes.cast(callback, ctypes.c_void_p).value

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


@attrs.frozen
class Structures:
    """Where the library keeps the running engine: its handle, CPUState and CPUX86State."""

    uc: int
    cpu: int
    env: int


def find_structures(uc: Unicorn) -> Structures:
    """Those of *uc*, by what is known of this very build; only where `KNOWN_BUILD` is true."""
    handle = uc.handle.value or 0
    cpu = ctypes.c_uint64.from_address(handle + layout.UC_CPU).value
    return Structures(handle, cpu, ctypes.c_uint64.from_address(cpu + layout.CPU_ENV).value)


def find_next_block(uc: Unicorn) -> Any:
    """How *uc* is to translate the next block, to be written to; None where that is not known."""
    if not KNOWN_BUILD:
        return None
    return ctypes.c_uint32.from_address(find_structures(uc).cpu + layout.CPU_NEXT_BLOCK)


class Context:
    """A copy of a processor's state, CPUX86State with a header; freed when nobody has it any more."""

    def __init__(self, uc: Unicorn) -> None:
        lib.uc_context_size.restype = ctypes.c_size_t
        self.size = int(lib.uc_context_size(uc.handle))
        self._handle = uc.handle
        self._context = ctypes.c_void_p()
        check(lib.uc_context_alloc(uc.handle, ctypes.byref(self._context)))
        weakref.finalize(self, lib.uc_context_free, self._context)
        self.address = self._context.value or 0
        self.save()

    def save(self) -> None:
        """Take the state as it is now."""
        check(lib.uc_context_save(self._handle, self._context))

    def restore(self) -> None:
        """Make the processor go on from here."""
        check(lib.uc_context_restore(self._handle, self._context))


class ModelSpecific(ctypes.Structure):
    """Which MSR, and its value (uc_x86_msr)."""

    _fields_: ClassVar = [("number", ctypes.c_uint32), ("value", ctypes.c_uint64)]
    number: int
    value: int


class Msrs:
    """The model-specific registers of `layout.MSRS`, read and written all at once."""

    def __init__(self, uc: Unicorn) -> None:
        self._handle = uc.handle
        count = len(layout.MSRS)
        self._msrs = [ModelSpecific(number) for number in layout.MSRS]
        self._ids = (ctypes.c_int * count)(*[unicorn_h.UC_X86_REG_MSR] * count)
        self._places = (ctypes.c_void_p * count)(*map(ctypes.addressof, self._msrs))

    def read(self) -> list[int]:
        check(lib.uc_reg_read_batch(self._handle, self._ids, self._places, len(self._msrs)))
        return [msr.value for msr in self._msrs]

    def write(self, values: Sequence[int]) -> None:
        for msr, value in zip(self._msrs, values, strict=True):
            msr.value = value
        check(lib.uc_reg_write_batch(self._handle, self._ids, self._places, len(self._msrs)))


class TableRegister(ctypes.Structure):
    """GDTR or IDTR (uc_x86_mmr)."""

    _fields_: ClassVar = [
        ("selector", ctypes.c_uint16),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]
    base: int
    limit: int


# Registers that the layout is checked with: id, value, and where it must turn up.
_PROBES: list[tuple[int, int, str, int]] = [
    (unicorn_h.UC_X86_REG_EAX, 0x1234_5678, "regs", 0),
    (unicorn_h.UC_X86_REG_EDI, 0x8765_4321, "regs", 7),
    (unicorn_h.UC_X86_REG_CR2, 0x1357_9BDF, "cr", 2),
    (unicorn_h.UC_X86_REG_CR4, 0x200, "cr", 4),
    (unicorn_h.UC_X86_REG_DR6, 0x2468_ACE0, "dr", 6),
    (unicorn_h.UC_X86_REG_DR7, 0x400, "dr", 7),
    (unicorn_h.UC_X86_REG_FPCW, 0x27F, "fpuc", -1),
    (unicorn_h.UC_X86_REG_FIP, 0x55AA_1122, "fpip", -1),
    (unicorn_h.UC_X86_REG_FDP, 0x66BB_2233, "fpdp", -1),
    (unicorn_h.UC_X86_REG_FOP, 0x5A5, "fpop", -1),
    (unicorn_h.UC_X86_REG_FCS, 0x1111, "fpcs", -1),
    (unicorn_h.UC_X86_REG_FDS, 0x2222, "fpds", -1),
    (unicorn_h.UC_X86_REG_MXCSR, 0x1F81, "mxcsr", -1),
]


def check_layout(uc: Unicorn, read: Any) -> str | None:
    """None if registers written by id turn up where layout.py says, or what did not.

    *read* gives the engine's `layout.Registers` as they are now.
    """
    if (size := Context(uc).size) != layout.CONTEXT_BYTES:
        return f"a context has {size} bytes, expected {layout.CONTEXT_BYTES}"
    for register, value, name, index in _PROBES:
        uc.write(register, value)
        found = getattr(read(), name)
        if (found if index < 0 else found[index]) != value:
            return f"register {name} is not where it is expected"
    for index in range(8):
        xmm = layout.XmmRegister(0xABCD, index + 1)
        x87 = layout.X87Register(0x1122_3344_5566_7788 + index, 0x4000)
        uc.write_from(unicorn_h.UC_X86_REG_XMM0 + index, xmm)
        uc.write_from(unicorn_h.UC_X86_REG_FP0 + index, x87)
        registers = read()
        if (registers.xmm[index].low, registers.xmm[index].high) != (xmm.low, xmm.high):
            return f"register XMM{index} is not where it is expected"
        if registers.fpregs[index].mantissa != x87.mantissa:
            return f"x87 register {index} is not where it is expected"
    for register, name in (
        (unicorn_h.UC_X86_REG_GDTR, "gdt"),
        (unicorn_h.UC_X86_REG_IDTR, "idt"),
    ):
        uc.write_from(register, TableRegister(base=0x0012_3450, limit=0x7F7))
        table = getattr(read(), name)
        if (table.base, table.limit) != (0x0012_3450, 0x7F7):
            return f"register {name} is not where it is expected"
    return None
