"""The bits of EFLAGS, of the control and debug registers and of EFER, by the manual's names.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volume 3A, §2.2.1, §2.3
and §2.5, and volume 3B, §17.2.4.
"""

from __future__ import annotations

EFLAGS_CF = 1 << 0
EFLAGS_ALWAYS_1 = 1 << 1
EFLAGS_ALWAYS_0 = 1 << 3 | 1 << 5 | 1 << 15
EFLAGS_TF = 1 << 8
EFLAGS_IF = 1 << 9
EFLAGS_DF = 1 << 10
EFLAGS_IOPL = 3 << 12
EFLAGS_NT = 1 << 14
EFLAGS_RF = 1 << 16
EFLAGS_VM = 1 << 17
EFLAGS_AC = 1 << 18
EFLAGS_ARITHMETIC = 0x8D5  # OF SF ZF AF PF CF

DR6_BS = 1 << 14  # single step
DR7_ENABLED = 0xFF  # L0 to G3

CR0_PE = 1 << 0
CR0_MP = 1 << 1
CR0_EM = 1 << 2
CR0_TS = 1 << 3
CR0_ET = 1 << 4
CR0_NE = 1 << 5
CR0_WP = 1 << 16
CR0_PG = 1 << 31

CR4_PSE = 1 << 4
CR4_PAE = 1 << 5
CR4_OSFXSR = 1 << 9

EFER_SCE = 1 << 0
EFER_NXE = 1 << 11
