"""Where Unicorn keeps the processor's registers: its CPUX86State, byte by byte.

Descriptor caches, the A20 mask and what an exception leaves behind have no register ids in
Unicorn's API.  They are in the bytes of a saved context, and those bytes are laid out as the
running engine's own state is; so one overlay, `Registers`, serves for both.

The offsets were measured on the library that `BUILD_ID` names.  With any other, and by the reference
engine in any case, they are checked (`binding.check_layout`): registers written by id must turn up
where the table says.
"""

from __future__ import annotations

import ctypes
from typing import ClassVar

from emu.cpu.bits import EFLAGS_ALWAYS_0, EFLAGS_ALWAYS_1, EFLAGS_ARITHMETIC, EFLAGS_DF

VERSION = "2.1.4"
BUILD_ID = bytes.fromhex("44285d3e80527122e9e361928189385906ec813e")  # the linker's, in a note
BUILD_ID_WITHIN = 4096  # bytes from the start of the file
CONTEXT_BYTES = 5608  # of uc_context_save
CONTEXT_HEADER_BYTES = 40  # before CPUX86State in it
STATE_BYTES = CONTEXT_BYTES - CONTEXT_HEADER_BYTES

# Of the wheel for Linux on x86-64: in the engine's structure, the pointer to CPUState; in that one,
# the pointer to CPUX86State, and how the next block is to be translated.
UC_CPU = 440
CPU_ENV = 296
CPU_NEXT_BLOCK = 0x18
ONE_INSTRUCTION = 1  # ... as a block of one instruction
WHOLE_BLOCK = 0xFFFF_FFFF

# hflags: what the translator must know of the processor's mode, besides the program counter.
HF_CPL = 3 << 0
HF_INHIBIT_IRQ = 1 << 3
HF_CS32 = 1 << 4
HF_SS32 = 1 << 5
HF_ADDSEG = 1 << 6
HF_PE = 1 << 7
HF_TF = 1 << 8
HF_MP = 1 << 9
HF_EM = 1 << 10
HF_TS = 1 << 11
HF_IOPL = 3 << 12
HF_RF = 1 << 16
HF_VM = 1 << 17
HF_AC = 1 << 18
HF_OSFXSR = 1 << 22

# Of hflags2: the second is floating.c's own.
HF2_IGNNE = 1 << 7
HF2_FERR = 1 << 31

CC_OP_EFLAGS = 1  # in cc_op: "the arithmetic flags are in cc_src"


class SegmentCache(ctypes.Structure):
    """A segment register with the descriptor that was loaded into it."""

    _fields_: ClassVar = [
        ("selector", ctypes.c_uint32),
        ("_pad", ctypes.c_uint32),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),  # the descriptor's second dword, masked with 00F0FF00
    ]
    selector: int
    base: int
    limit: int
    flags: int


class X87Register(ctypes.Structure):
    """One x87 register, in 80-bit form."""

    _fields_: ClassVar = [
        ("mantissa", ctypes.c_uint64),
        ("exponent", ctypes.c_uint16),
        ("_pad", ctypes.c_uint16 * 3),
    ]
    mantissa: int
    exponent: int


class XmmRegister(ctypes.Structure):
    """One SSE register, in the room that Unicorn keeps for 512 bits."""

    _fields_: ClassVar = [
        ("low", ctypes.c_uint64),
        ("high", ctypes.c_uint64),
        ("_pad", ctypes.c_uint64 * 6),
    ]
    low: int
    high: int


ES, CS, SS, DS, FS, GS = range(6)
EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(8)

_u8, _u16, _u32, _u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64

_PLACES: list[tuple[int, str, type]] = [
    (0, "regs", _u64 * 16),
    (128, "eip", _u64),
    (136, "other_flags", _u64),  # EFLAGS; within a run its arithmetic flags and DF are stale
    (144, "cc_dst", _u64),
    (152, "cc_src", _u64),
    (160, "cc_src2", _u64),
    (168, "cc_op", _u32),
    (172, "df", ctypes.c_int32),  # 1, or -1 where EFLAGS.DF is set
    (176, "hflags", _u32),
    (180, "hflags2", _u32),
    (184, "segs", SegmentCache * 6),
    (328, "ldt", SegmentCache),
    (352, "tr", SegmentCache),
    (376, "gdt", SegmentCache),
    (400, "idt", SegmentCache),
    (424, "cr", _u64 * 5),
    (496, "a20_mask", ctypes.c_int32),
    (592, "efer", _u64),
    (604, "fpstt", _u32),  # TOP
    (608, "fpus", _u16),  # the status word without TOP
    (610, "fpuc", _u16),
    (612, "fptags", _u8 * 8),  # 1: physical register i is empty
    (624, "fpregs", X87Register * 8),
    (752, "fpop", _u16),
    (754, "fpcs", _u16),
    (756, "fpds", _u16),
    (760, "fpip", _u64),
    (768, "fpdp", _u64),
    (816, "mxcsr", _u32),
    (824, "xmm", XmmRegister * 8),
    (4800, "sysenter_cs", _u32),
    (4808, "sysenter_esp", _u64),
    (4816, "sysenter_eip", _u64),
    (4896, "tsc_aux", _u64),
    (5280, "pat", _u64),
    (5384, "error_code", _u32),
    (5388, "exception_is_int", _u32),
    (5392, "exception_next_eip", _u64),
    (5400, "dr", _u64 * 8),
    (5496, "old_exception", ctypes.c_int32),
]

# Model-specific registers that CPUID offers nobody (models.py), but that keep what is written to
# them.  Some have no place in a saved context; all are read and written by number.
MSRS = (
    0x17A,  # MCG_STATUS
    0x17B,  # MCG_CTL
    0x1A0,  # MISC_ENABLE
    *range(0x200, 0x210),  # MTRR_PHYSBASE and MTRR_PHYSMASK
    0x250,  # MTRR_FIX64K
    *range(0x258, 0x25A),  # MTRR_FIX16K
    *range(0x268, 0x270),  # MTRR_FIX4K
    0x2FF,  # MTRR_DEF_TYPE
    *range(0x400, 0x428),  # MC_CTL, MC_STATUS, MC_ADDR, MC_MISC of ten banks
    *range(0xC000_0081, 0xC000_0085),  # STAR, LSTAR, CSTAR, FMASK
    0xC000_0102,  # KERNEL_GS_BASE
    0xC001_0117,  # VM_HSAVE_PA
)
MSRS_ALL_ONES = (0x17B, *range(0x400, 0x428, 4))  # at reset; the others are 0


def _with_padding() -> list[tuple[str, type]]:
    fields: list[tuple[str, type]] = []
    end = 0
    for offset, name, kind in _PLACES:
        if offset > end:
            fields.append((f"_pad{end}", _u8 * (offset - end)))
        fields.append((name, kind))
        end = offset + ctypes.sizeof(kind)
    fields.append((f"_pad{end}", _u8 * (STATE_BYTES - end)))
    return fields


class Registers(ctypes.LittleEndianStructure):
    """CPUX86State: an overlay on a context's bytes, or on the running engine's own state."""

    _pack_ = 1
    _fields_: ClassVar = _with_padding()

    regs: ctypes.Array[ctypes.c_uint64]
    eip: int
    other_flags: int
    cc_src: int
    cc_dst: int
    cc_src2: int
    cc_op: int
    df: int
    hflags: int
    hflags2: int
    segs: ctypes.Array[SegmentCache]
    ldt: SegmentCache
    tr: SegmentCache
    gdt: SegmentCache
    idt: SegmentCache
    cr: ctypes.Array[ctypes.c_uint64]
    a20_mask: int
    efer: int
    fpstt: int
    fpus: int
    fpuc: int
    fptags: ctypes.Array[ctypes.c_uint8]
    fpregs: ctypes.Array[X87Register]
    fpop: int
    fpcs: int
    fpds: int
    fpip: int
    fpdp: int
    mxcsr: int
    xmm: ctypes.Array[XmmRegister]
    sysenter_cs: int
    sysenter_esp: int
    sysenter_eip: int
    tsc_aux: int
    pat: int
    error_code: int
    exception_is_int: int
    exception_next_eip: int
    dr: ctypes.Array[ctypes.c_uint64]
    old_exception: int

    @property
    def eflags(self) -> int:
        """EFLAGS whole.  Only where the arithmetic flags have been computed."""
        direction = EFLAGS_DF if self.df < 0 else 0
        rest = self.other_flags & ~(EFLAGS_ARITHMETIC | EFLAGS_DF | EFLAGS_ALWAYS_0)
        return rest | self.cc_src & EFLAGS_ARITHMETIC | direction

    @eflags.setter
    def eflags(self, value: int) -> None:
        # A run begins by taking all flags from other_flags, goes on with them taken apart.
        self.cc_op = CC_OP_EFLAGS
        self.cc_src = value & EFLAGS_ARITHMETIC
        self.cc_dst = self.cc_src2 = 0
        self.df = -1 if value & EFLAGS_DF else 1
        self.other_flags = value | EFLAGS_ALWAYS_1
