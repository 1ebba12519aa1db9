"""The processor models, and what CPUID says of them.

CPUID tells the truth about this machine: a model's features less those that are not there.
There is no local APIC, no MTRR, no machine check, no thermal or power management, one core, and
no virtual-8086 mode extension; so their bits are clear, whatever the real part had.
Sources: Intel, "Processor Identification and the CPUID Instruction" (AP-485), table 5-4;
Intel SDM volume 2A, CPUID.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from unicorn import x86_const

# Leaf 1, EDX.
FPU = 1 << 0
DE = 1 << 2
PSE = 1 << 3
TSC = 1 << 4
MSR = 1 << 5
PAE = 1 << 6
CX8 = 1 << 8
SEP = 1 << 11
PGE = 1 << 13
CMOV = 1 << 15
PAT = 1 << 16
PSE36 = 1 << 17
CLFSH = 1 << 19
MMX = 1 << 23
FXSR = 1 << 24
SSE = 1 << 25
SSE2 = 1 << 26
# Leaf 1, ECX.
SSE3 = 1 << 0
# Leaf 80000001h, EDX.
NX = 1 << 20

_PENTIUM = FPU | DE | PSE | TSC | MSR | CX8 | MMX
_PENTIUM3 = _PENTIUM | PAE | SEP | PGE | CMOV | PAT | PSE36 | FXSR | SSE
VENDOR = (0x756E_6547, 0x6C65_746E, 0x4965_6E69)  # "Genu", "ntel", "ineI": EBX, ECX, EDX


class Leaf(NamedTuple):
    """What CPUID leaves in the four registers."""

    eax: int
    ebx: int
    ecx: int
    edx: int


class Model(enum.Enum):
    """A processor that a machine can have; the names are QEMU's."""

    I486 = "486"
    PENTIUM = "pentium"
    PENTIUM3 = "pentium3"
    COREDUO = "coreduo"

    @property
    def unicorn_id(self) -> int:
        """The model that Unicorn is told to be."""
        match self:
            case Model.I486:
                return int(x86_const.UC_CPU_X86_486)
            case Model.PENTIUM:
                return int(x86_const.UC_CPU_X86_PENTIUM)
            case Model.PENTIUM3:
                return int(x86_const.UC_CPU_X86_PENTIUM3)
            case Model.COREDUO:
                return int(x86_const.UC_CPU_X86_COREDUO)

    @property
    def signature(self) -> int:
        """Family, model and stepping: EAX of leaf 1, EDX at reset."""
        match self:
            case Model.I486:
                return 0x480
            case Model.PENTIUM:
                return 0x543
            case Model.PENTIUM3:
                return 0x683
            case Model.COREDUO:
                return 0x6E8

    def cpuid(self, leaf: int) -> Leaf:
        """The answer to CPUID with *leaf* in EAX; an unknown leaf is the highest basic one."""
        match self:
            case Model.I486:
                basic = [Leaf(1, *VENDOR), Leaf(self.signature, 0, 0, FPU | PSE)]
                extended: list[Leaf] = []
            case Model.PENTIUM:
                basic = [Leaf(1, *VENDOR), Leaf(self.signature, 0, 0, _PENTIUM)]
                extended = []
            case Model.PENTIUM3:
                basic = [Leaf(1, *VENDOR), Leaf(self.signature, 0, 0, _PENTIUM3)]
                extended = []
            case Model.COREDUO:
                features = _PENTIUM3 | SSE2 | CLFSH
                clflush_line = 8 << 8  # in EBX, in units of 8 bytes
                basic = [
                    Leaf(1, *VENDOR),
                    Leaf(self.signature, clflush_line, SSE3, features),
                ]
                extended = [Leaf(0x8000_0001, 0, 0, 0), Leaf(0, 0, 0, NX)]
        if extended and 0 <= leaf - 0x8000_0000 < len(extended):
            return extended[leaf - 0x8000_0000]
        return basic[min(leaf, len(basic) - 1)]
