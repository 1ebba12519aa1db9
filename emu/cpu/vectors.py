"""The exceptions' vectors, by the manual's mnemonics: SDM volume 3A, table 6-1."""

from __future__ import annotations

DE = 0  # divide error
DB = 1  # debug
NMI = 2
BP = 3  # breakpoint: INT3
OF = 4  # overflow: INTO
UD = 6  # invalid opcode
DF = 8  # double fault
TS = 10  # invalid TSS
NP = 11  # segment not present
STACK_FAULT = 12  # #SS
GP = 13  # general protection
PF = 14  # page fault
MF = 16  # x87 floating-point error
AC = 17  # alignment check
MC = 18  # machine check

HELD_BACK = 256  # none: an x87 instruction has ended early, without its result (floating.c)
TASK_SWITCH = 257  # none: an instruction that switches tasks is handed over (tasks.c)

WITH_ERROR_CODE = frozenset({DF, TS, NP, STACK_FAULT, GP, PF, AC})
CONTRIBUTORY = frozenset({DE, TS, NP, STACK_FAULT, GP})  # table 6-4
# Traps and aborts, and #DB: they leave RF in the pushed EFLAGS as it is, §17.3.1.1.
NOT_FAULTS = frozenset({DB, NMI, BP, OF, DF, MC})
