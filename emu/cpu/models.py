"""The processor models, and what CPUID says of them.

CPUID tells the truth about this machine: a model's features less those that are not there.
There is no local APIC, no MTRR, no machine check, no thermal or power management, one core, and
no virtual-8086 mode extension; so their bits are clear, whatever the real part had.
Sources: Intel, "Processor Identification and the CPUID Instruction" (AP-485), table 5-4;
Intel SDM volume 2A, CPUID.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from emu import attrs
from emu.cpu import unicorn_h

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


@attrs.frozen
class Leaf:
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
        return _FACTS[self].unicorn_id

    @property
    def signature(self) -> int:
        """Family, model and stepping: EAX of leaf 1, EDX at reset."""
        return _FACTS[self].basic[1].eax

    @property
    def leaves(self) -> tuple[Sequence[Leaf], Sequence[Leaf]]:
        """CPUID's answers: the basic leaves from 0 on, and the extended ones from `EXTENDED` on."""
        facts = _FACTS[self]
        return facts.basic, facts.extended

    def cpuid(self, leaf: int) -> Leaf:
        """The answer to CPUID with *leaf* in EAX; an unknown leaf is the highest basic one."""
        basic, extended = self.leaves
        if 0 <= leaf - EXTENDED < len(extended):
            return extended[leaf - EXTENDED]
        return basic[min(leaf, len(basic) - 1)]


EXTENDED = 0x8000_0000  # the first extended leaf
CLFLUSH_LINE = 8 << 8  # in leaf 1's EBX, in units of 8 bytes


@attrs.frozen
class _Facts:
    """What there is to know of a model."""

    unicorn_id: int
    basic: tuple[Leaf, ...]
    extended: tuple[Leaf, ...] = ()


_FACTS = {
    Model.I486: _Facts(
        unicorn_h.UC_CPU_X86_486,
        (Leaf(1, *VENDOR), Leaf(0x480, 0, 0, FPU | PSE)),
    ),
    Model.PENTIUM: _Facts(
        unicorn_h.UC_CPU_X86_PENTIUM,
        (Leaf(1, *VENDOR), Leaf(0x543, 0, 0, _PENTIUM)),
    ),
    Model.PENTIUM3: _Facts(
        unicorn_h.UC_CPU_X86_PENTIUM3,
        (Leaf(1, *VENDOR), Leaf(0x683, 0, 0, _PENTIUM3)),
    ),
    Model.COREDUO: _Facts(
        unicorn_h.UC_CPU_X86_COREDUO,
        (Leaf(1, *VENDOR), Leaf(0x6E8, CLFLUSH_LINE, SSE3, _PENTIUM3 | SSE2 | CLFSH)),
        (Leaf(EXTENDED + 1, 0, 0, 0), Leaf(0, 0, 0, NX)),
    ),
}
