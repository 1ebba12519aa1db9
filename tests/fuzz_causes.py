"""Why a case does not end on our machine as on QEMU's: each `Cause`, and how it is known.

Nothing here is guessed: a cause explains only those fields of a record, or bits of them, that it can
be seen to have changed; and all that differ must be explained.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable

from fuzz_findings import FIELDS, INSTRUCTION_MOST, Finding, Parting
from fuzz_floating import (
    FX_CONTROL,
    FX_MXCSR,
    FX_STATUS,
    FX_TAGS,
    X87_B,
    X87_C1,
    X87_DE,
    X87_ES,
    X87_EXCEPTIONS,
    Image,
    is_held_back,
    is_less_exact,
    is_loaded_in_part,
    is_rounded_on_loading,
    is_stack_fault,
    stores_flags,
    waits,
)
from fuzz_format import (
    ACCESSED,
    CODE_32,
    CR0_EM,
    CR0_TS,
    DATA_16,
    DATA_16_LEVEL_3,
    EVENT,
    LEFT,
    LOST,
    MODE_REAL,
    MODE_UNREAL,
    RF,
    SANDBOX,
    SANDBOX_BYTES,
    STACK_16,
    VM,
    WATCHDOG_VECTOR,
)

Explained = dict[str, int]  # of the fields, the bits that may differ
ALL = 0xFFFF_FFFF
EVERYTHING = dict.fromkeys(FIELDS, ALL)
DB, BP, OF, UD, NM, DF, GP, PF, MF, XM = 1, 3, 4, 6, 7, 8, 13, 14, 16, 19
SMALL_STACKS = (DATA_16, STACK_16, DATA_16_LEVEL_3)
FRAME_MOST = 40  # an exception's, and what the harness puts below it
PAGE, SEGMENT_BYTES, SHORT_REACH = 0x1000, 0x1_0000, 0x80
RAM_END, ROM_START = 16 << 20, 0xFFFF_0000
VIDEO, VIDEO_END = 0xA_0000, 0xC_0000
EFLAGS_OF = 1 << 11
FILLING = 0xCCCC_CCCC  # INT3s
RESERVED_FLAGS = 0xFFC0_8028
LOCK, CMPXCHG8B = 0xF0, b"\x0f\xc7"
REPNE, REPE, OPERAND_SIZE = 0xF2, 0xF3, 0x66
STRINGS = (*range(0xA4, 0xA8), *range(0xAA, 0xB0))
NOP, STI, LSS = 0x90, 0xFB, 0x0FB2
DOUBLE_SHIFTS = (0x0FA4, 0x0FA5, 0x0FAC, 0x0FAD)
MANDATORY_PREFIXES = frozenset(b"\x66\xf2\xf3")
FLOATING = (
    *range(0xD8, 0xE0),
    *range(0x0F0E, 0x0F18),
    0x0F38,
    0x0F3A,
    *range(0x0F28, 0x0F30),
    *range(0x0F50, 0x0F80),
    0x0FAE,
    *range(0x0FC2, 0x0FC8),
    *range(0x0FD0, 0x1000),
)
SSE_ARITHMETIC = frozenset((0x0F2A, *range(0x0F2C, 0x0F30), *range(0x0F51, 0x0F60), 0x0FC2))
MEMORY_ALONE = (0x0F2B, 0x0FE7)  # MOVNTPS, MOVNTQ
# What of MMX and SSE a Pentium III has: with F3h these; without a prefix all but those.
SSE = frozenset((*range(0x0F10, 0x0F18), *range(0x0F28, 0x0F30), *range(0x0F50, 0x0F80)))
SSE |= {*range(0x0FC2, 0x0FC7), *range(0x0FD0, 0x0FFF)}
SCALAR = frozenset((0x0F10, 0x0F11, 0x0F2A, 0x0F2C, 0x0F2D, *range(0x0F51, 0x0F54), 0x0FC2))
SCALAR |= {0x0F58, 0x0F59, *range(0x0F5C, 0x0F60)}
LATER = frozenset(
    (0x0F5A, 0x0F5B, 0x0FC3, 0x0FD4, 0x0FF4, 0x0FFB)
)  # CVTPS2PD, CVTDQ2PS, MOVNTI ...
UNCHECKED = frozenset((0x0F14, 0x0F15, *range(0x0F52, 0x0F58), 0x0FC6))  # UNPCK, ANDPS ..., SHUFPS
FCOMI, FCOMI_CLEARS = re.compile(rb"[\xdb\xdf][\xe8-\xf7]"), 1 << 11 | 1 << 7 | 1 << 4  # OF, SF, AF
# What of FXSAVE's image may differ.
FCW_RESERVED, C1_HIGH, TOP_HIGH, B_HIGH = 0xE0C0, X87_C1 >> 8, 7 << 3, X87_B >> 8
FBLD, FBLD_LAST = ((0xDF, 4), (0xDF, 6)), 9  # the last of its bytes that it may be
NOWHERE = -1


def _rf(finding: Finding) -> Explained:
    theirs, ours = finding.theirs.record, finding.ours.record
    fault = ours.vector not in (1, 3, 4) and ours.vector < 0x20
    if fault and ours.eflags & RF and not theirs.eflags & RF:
        return {"eflags": RF}
    return {}


def _pdpte(finding: Finding) -> Explained:
    theirs, ours = finding.theirs.record, finding.ours.record
    if theirs.pdpte == ours.pdpte | ACCESSED:
        return {"pdpte": ACCESSED}
    return {}


def _rf_kept(finding: Finding) -> Explained:
    theirs, ours = finding.theirs.record, finding.ours.record
    trap = ours.vector in (DB, BP, OF, DF, *range(0x20, 0x100))
    if trap and finding.case.eflags & theirs.eflags & RF and not ours.eflags & RF:
        return {"eflags": RF}
    return {}


def _int1(finding: Finding) -> Explained:
    theirs, ours = finding.theirs.record, finding.ours.record
    if (theirs.vector, ours.vector) != (UD, DB):
        return {}
    found = finding.instruction(finding.theirs)
    if found.opcode != 0xF1 or ours.eip != theirs.eip + 1 + len(found.prefixes):
        return {}
    return dict.fromkeys(("status", "eip", "memory", "steps", "path"), ALL)


def _group_11(finding: Finding) -> Explained:
    """QEMU goes on: to anything."""
    found = finding.instruction(finding.ours)
    undefined = found.opcode in (0xC6, 0xC7) and found.reg != 0
    return EVERYTHING if finding.ours.record.vector in (UD, DF) and undefined else {}


def _lock(finding: Finding) -> Explained:
    """QEMU goes on, or comes to its end."""
    locked = LOCK in finding.instruction(finding.ours).prefixes
    return EVERYTHING if finding.ours.record.vector in (UD, DF) and locked else {}


def _ltr_null(finding: Finding) -> Explained:
    ours, found = finding.ours.record, finding.instruction(finding.ours)
    null = finding.theirs.record.tr & ~3 == 0 and found.opcode == 0x0F00 and found.reg == 3
    return EVERYTHING if ours.vector == GP and null else {}


def _emms(finding: Finding) -> Explained:
    """QEMU goes on: to anything."""
    ours, found = finding.ours.record, finding.instruction(finding.ours)
    prefixed = bool(set(found.prefixes) & MANDATORY_PREFIXES)
    if found.opcode == 0x0F77 and ours.vector in (UD, DF) and prefixed:
        return EVERYTHING
    if found.opcode == 0x0F77 and ours.vector in (UD, DF) and ours.cr0 & CR0_EM:
        return EVERYTHING
    unasked = (
        found.opcode in (0x0F77, 0x0F2A, 0x0F2C, 0x0F2D)
        and ours.vector in (NM, DF)
        and ours.cr0 & CR0_TS
    )
    return EVERYTHING if unasked else {}


def _nm_first(finding: Finding) -> Explained:
    theirs, ours = finding.theirs.record, finding.ours.record
    found = finding.instruction(finding.ours)
    if (theirs.vector, ours.vector) != (UD, NM) or theirs.eip != ours.eip or not ours.cr0 & CR0_TS:
        return {}
    return {"status": ALL} if found.opcode in FLOATING else {}


def _shadow(finding: Finding) -> Explained:
    """More steps are counted, or other ones: ours has ended behind this very instruction."""
    parting = finding.parting
    if parting is None or parting.instruction.opcode not in (STI, LSS):
        return {}
    ended = finding.linear(parting.ours.record) - parting.linear
    short = parting.instruction.opcode == LSS or ended == len(parting.instruction.prefixes) + 1
    return EVERYTHING if finding.case.steps and short and 0 < ended <= INSTRUCTION_MOST else {}


def _pause(finding: Finding) -> Explained:
    """Ours has ended behind it."""
    parting = finding.parting
    if parting is None or parting.instruction.opcode != NOP:
        return {}
    found, ended = parting.instruction, finding.linear(parting.ours.record) - parting.linear
    short = REPE in found.prefixes and ended == len(found.prefixes) + 1
    return EVERYTHING if finding.case.steps and short else {}


def _shadow_trap(finding: Finding) -> Explained:
    """The trap comes at once, and not an instruction later."""
    ours = finding.ours.record
    before = finding.memory(finding.ours, finding.linear(ours) - 1, 1)
    return EVERYTHING if ours.vector == DB and before == bytes([STI]) else {}


def _double_shift(finding: Finding) -> Explained:
    """And whatever looks at OF after it."""
    parting = finding.parting
    if parting is None or parting.instruction.opcode not in DOUBLE_SHIFTS:
        return {}
    theirs, ours = parting.theirs.record, parting.ours.record
    return EVERYTHING if (theirs.eflags ^ ours.eflags) & ~RF == EFLAGS_OF else {}


def _rotate(finding: Finding) -> Explained:
    """They are lost in QEMU; and where VM is among them, the harness takes the frame for another."""
    theirs, ours = finding.theirs.record, finding.ours.record
    found = finding.instruction(finding.ours)
    if theirs.eflags & RESERVED_FLAGS:
        return dict.fromkeys(("eflags", "ds", "es", "fs", "gs"), ALL)
    rotates = found.opcode in (0xC0, 0xC1, *range(0xD0, 0xD4)) and found.reg < 4
    if (
        rotates
        and (theirs.vector, theirs.eip) == (ours.vector, ours.eip)
        and ours.vector in (PF, DF)
    ):
        return dict.fromkeys(("eflags", "ds", "es", "fs", "gs"), ALL)
    return {}


def _lost_flags(finding: Finding) -> Explained:
    return {"eflags": ALL} if CMPXCHG8B in finding.case.code else {}


def _rf_frame(finding: Finding) -> Explained:
    """RF in an image of EFLAGS: not finished, or at the end of a stack that wraps; or of a task."""
    explained = {}
    for name, field in (("sandbox", "memory"), ("tables", "tables")):
        theirs, ours = (ran.part(name) for ran in (finding.theirs, finding.ours))
        changed = {theirs[at] ^ ours[at] for at in theirs.keys() & ours.keys()} - {0}
        if changed == {RF >> 16}:
            explained[field] = ALL
    return explained


def _rom(finding: Finding) -> Explained:
    """The frame is there, or was to be."""
    stacks = (finding.theirs.record.esp, finding.ours.record.esp)
    ours = finding.ours.record
    wide = (
        not finding.case.mode & MODE_REAL and not ours.eflags & VM and ours.ss not in SMALL_STACKS
    )
    nowhere = any((esp - FRAME_MOST) & ALL >= RAM_END for esp in stacks)
    return EVERYTHING if wide and nowhere else {}


def _two_repeats(finding: Finding) -> Explained:
    parting = finding.parting
    if parting is None:
        return {}
    found = parting.instruction
    string = found.opcode in STRINGS and {REPNE, REPE} <= set(found.prefixes)
    return EVERYTHING if string else {}


def _beyond(finding: Finding) -> Explained:
    ours = finding.ours.record
    return EVERYTHING if ours.eflags & VM and ours.eip > 0xFFFF else {}


def _not_temporal(finding: Finding) -> Explained:
    """QEMU goes on: to anything."""
    found = finding.instruction(finding.ours)
    register = found.opcode in MEMORY_ALONE and found.is_register
    return EVERYTHING if finding.ours.record.vector in (UD, DF) and register else {}


def _later(finding: Finding) -> Explained:
    """QEMU goes on: to anything."""
    found = finding.instruction(finding.ours)
    repeats = [prefix for prefix in found.prefixes if prefix in (0xF2, 0xF3)]
    prefix = repeats[-1] if repeats else 0x66 if 0x66 in found.prefixes else 0
    later = prefix in (0x66, 0xF2) or found.opcode in LATER
    later = later or (prefix == 0xF3 and found.opcode not in SCALAR)
    undefined = found.opcode in SSE and later
    return EVERYTHING if finding.ours.record.vector in (UD, DF) and undefined else {}


def _mmx_first(finding: Finding) -> Explained:
    """TOP is 0 already, and no register is empty."""
    theirs, ours = finding.theirs.record, finding.ours.record
    found, image = finding.instruction(finding.ours), finding.theirs.floating
    operand = found.opcode in SSE and not found.is_register
    same = ours.vector in (PF, DF) and (theirs.vector, theirs.eip) == (ours.vector, ours.eip)
    entered = bool(image) and not image[FX_STATUS + 1] & TOP_HIGH and image[FX_TAGS] == 0xFF
    return {"floating": ALL} if operand and same and entered else {}


def _unchecked(finding: Finding) -> Explained:
    """QEMU goes on: to anything."""
    ours, found = finding.ours.record, finding.instruction(finding.ours)
    fault = ours.vector == DF or (ours.vector == GP and not ours.error)
    operand = found.opcode in UNCHECKED and not found.is_register
    return EVERYTHING if fault and operand else {}


def _ldmxcsr(finding: Finding) -> Explained:
    """QEMU goes on: to anything."""
    ours, found = finding.ours.record, finding.instruction(finding.ours)
    loads = found.opcode == 0x0FAE and found.reg in (1, 2) and not found.is_register
    return EVERYTHING if ours.vector == GP and not ours.error and loads else {}


def _fcomi(finding: Finding) -> Explained:
    """QEMU leaves them as they were."""
    if not FCOMI.search(finding.case.code) or finding.ours.record.eflags & FCOMI_CLEARS:
        return {}
    return {"eflags": FCOMI_CLEARS, "path": ALL if finding.case.steps else 0}


def _unmasked(finding: Finding) -> Explained:
    """It comes before the instruction's result; QEMU goes on: to anything."""
    ours, found = finding.ours.record, finding.instruction(finding.ours)
    mxcsr = Image.of(finding.ours).word(FX_MXCSR)
    sse = ours.vector in (UD, DF, XM) and found.opcode in SSE_ARITHMETIC
    return EVERYTHING if sse and mxcsr & ~(mxcsr >> 7) & X87_EXCEPTIONS else {}


def _where_they_part(holds: Callable[[Parting], bool]) -> Callable[[Finding], Explained]:
    """What explains everything where *holds* is true of the place."""

    def explain(finding: Finding) -> Explained:
        return EVERYTHING if finding.parting and holds(finding.parting) else {}

    return explain


def _fbld(finding: Finding) -> Explained:
    theirs, ours = finding.theirs.record, finding.ours.record
    found = finding.instruction(finding.ours)
    packed = (found.opcode, found.reg) in FBLD and (theirs.vector, ours.vector) == (PF, PF)
    return {"cr2": ALL} if packed and 0 < theirs.cr2 - ours.cr2 <= FBLD_LAST else {}


def _in_part(finding: Finding) -> Explained:
    """Some of it was there; ours is as it was."""
    return EVERYTHING if finding.parting and is_loaded_in_part(finding.parting) else {}


def _numbers(finding: Finding) -> Explained:
    """Every byte of FXSAVE's image that differs is one of these."""
    theirs, ours = Image.of(finding.theirs), Image.of(finding.ours)
    changed = [
        (at, one ^ other)
        for at, (one, other) in enumerate(zip(theirs.data, ours.data, strict=True))
        if one != other
    ]
    status = ours.status
    may = {FX_CONTROL: FCW_RESERVED & 0xFF, FX_CONTROL + 1: FCW_RESERVED >> 8}
    may |= {FX_STATUS: status & X87_DE, FX_STATUS + 1: C1_HIGH}
    may[FX_MXCSR] = ours.data[FX_MXCSR] & ~theirs.data[FX_MXCSR] & X87_DE
    if ours.control & X87_EXCEPTIONS == X87_EXCEPTIONS:  # FSTENV leaves them so
        may[FX_CONTROL] |= X87_EXCEPTIONS
    if bool(status & X87_ES) == bool(ours.unmasked):  # as it is to be
        may[FX_STATUS] |= X87_ES
        may[FX_STATUS + 1] |= B_HIGH
    explained = changed and all(bits & ~may.get(at, 0) == 0 for at, bits in changed)
    return {"floating": ALL} if explained else {}


def _frame_on_code(finding: Finding) -> Explained:
    """Two pages of the window are the same, or the stack has come so far down."""
    theirs = finding.theirs.record
    code, stack = finding.physical(finding.linear(theirs)), finding.physical(theirs.esp)
    flat = finding.case.selectors[0] == CODE_32 and min(code, stack) >= 0
    return EVERYTHING if flat and 0 <= stack - code < FRAME_MOST + 15 else {}


def _beyond_real(finding: Finding) -> Explained:
    """Ours is where no instruction begins, or one came to the harness's own code.

    A frame of real mode lacks the upper half of EIP: what it shows is how far the last instruction
    went over the end.  Or else the segment is seen to be elsewhere.
    """
    theirs, ours = finding.theirs.record, finding.ours.record
    over = ours.vector == GP != theirs.vector and ours.eip < INSTRUCTION_MOST
    if finding.case.mode & MODE_REAL and over and theirs.cs == ours.cs:
        return EVERYTHING
    pairs = ((theirs, ours), (ours, theirs))
    ends = [ended for gone, ended in pairs if gone.status in (LOST, LEFT)]
    if not finding.case.mode & MODE_REAL or len(ends) != 1 or not ends[0].status & EVENT:
        return {}
    outside = not SANDBOX - PAGE <= ends[0].cs << 4 < SANDBOX + SANDBOX_BYTES
    return EVERYTHING if outside else {}


def _jump_below(finding: Finding) -> Explained:
    """QEMU has come to the same offset, 64 KiB below: in the sandbox."""
    theirs, ours = finding.theirs.record, finding.ours.record
    below = finding.linear(theirs) - SEGMENT_BYTES
    far = theirs.eip >= SEGMENT_BYTES - SHORT_REACH and theirs.cs == ours.cs
    if finding.case.mode & MODE_REAL and far and SANDBOX <= below < SANDBOX + SANDBOX_BYTES:
        return EVERYTHING if (theirs.vector, theirs.eip) != (ours.vector, ours.eip) else {}
    return {}


def _time(finding: Finding) -> Explained:
    """One has come to an end, and the other would have."""
    vectors = finding.theirs.record.vector, finding.ours.record.vector
    return EVERYTHING if vectors.count(WATCHDOG_VECTOR) == 1 else {}


def _hole(finding: Finding) -> Explained:
    linear = finding.linear(finding.ours.record)
    if finding.ours.record.vector == UD and RAM_END <= linear < ROM_START:
        return EVERYTHING
    return {}


def _hole_16(finding: Finding) -> Explained:
    """The same in real mode, where a frame does not have the upper half of EIP."""
    theirs, ours = finding.theirs.record, finding.ours.record
    wide_jump = finding.case.mode & MODE_REAL and 0x66 in finding.case.code
    elsewhere = (theirs.vector, theirs.eip) != (ours.vector, ours.eip)
    return EVERYTHING if wide_jump and ours.vector == UD and elsewhere else {}


def _video(finding: Finding) -> Explained:
    for record in (finding.theirs.record, finding.ours.record):
        if VIDEO <= finding.linear(record) <= VIDEO_END + 2:  # an INT3 comes next
            return EVERYTHING
    return {}


def _unreadable(finding: Finding) -> Explained:
    """What it finds is what all of memory is filled with."""
    theirs, ours = finding.theirs.record, finding.ours.record
    filled = (theirs.eflags, ours.eflags) == (FILLING, FILLING)
    return EVERYTHING if filled and (theirs.cs, ours.cs) == (FILLING & 0xFFFF,) * 2 else {}


def _real_stack(finding: Finding) -> Explained:
    """The frame is elsewhere; the harness looks where it should be."""
    records = (finding.theirs.record, finding.ours.record)
    far = any(record.esp > 0xFFFF for record in records)
    return EVERYTHING if finding.case.mode & MODE_UNREAL and far else {}


def _at_ours(finding: Finding) -> int:
    return finding.linear(finding.ours.record)


def _at_parting(finding: Finding) -> int:
    return finding.parting.linear if finding.parting else NOWHERE


class Cause(enum.Enum):
    """Why a case ends otherwise, and a function that says what of it is so explained."""

    # QEMU 7.2 departs from the manual, and we do not.
    RF = "a fault saves EFLAGS with RF set (SDM 3B 17.3.1.1); QEMU does not", _rf
    RF_KEPT = (
        "an instruction that is not a fault has cleared RF (17.3.1.1); in QEMU a block has",
        _rf_kept,
    )
    PDPTE = "an entry of PAE's first table has no accessed bit (4.4.1); QEMU sets it", _pdpte
    INT1 = "INT1 raises #DB; QEMU raises #UD", _int1
    GROUP_11 = "C6 and C7 are defined with /0 alone; QEMU takes all for MOV", _group_11, _at_ours
    LOCK = "LOCK is #UD but with some that change memory (2A); QEMU ignores it", _lock, _at_ours
    LTR_NULL = "LTR of a null selector is #GP(0); QEMU takes it", _ltr_null, _at_ours
    EMMS = (
        "EMMS and SSE conversions to and from MMX and integers are #NM with CR0.TS, EMMS with prefixes or CR0.EM #UD; not so in QEMU",
        _emms,
        _at_ours,
    )
    STEPS = "LSS and STI do not hold off single step (6.8.3); QEMU does", _shadow, _at_parting
    PAUSE = "a single step ends after PAUSE, too (3B 17.3.1.4); not in QEMU", _pause, _at_parting
    SHADOW = "the same, where the flag was set by the case", _shadow_trap
    CMPXCHG8B = "CMPXCHG8B changes ZF alone (2A); QEMU's changes any flags", _lost_flags
    ROTATE = (
        "a fault at or behind a rotate finds the flags; QEMU has others, reserved ones among them",
        _rotate,
    )
    REAL_STACK = "an exception in real mode pushes as SS's B flag says; QEMU: by SP", _real_stack
    FCOMI = "FCOMI and the like clear OF, SF and AF (2A); QEMU leaves them", _fcomi
    UNMASKED = "#XM, or #UD instead of it (1 11.5.3); QEMU has none", _unmasked, _at_ours
    PENDING = "#MF (1 8.6); QEMU has none for most", _where_they_part(waits), _at_parting
    HELD_BACK = (
        "an x87 exception that is not masked holds back result, push and pop (1 8.6, 8.7), or has the result in range; not in QEMU",
        _where_they_part(is_held_back),
        _at_parting,
    )
    STACK_FAULT = (
        "an x87 operand that is empty and a push with no room (1 8.5.1.1); QEMU computes with what is there",
        _where_they_part(is_stack_fault),
        _at_parting,
    )
    PRECISION = (
        "a double that is loaded has all its digits, whatever precision control says (1 8.1.5.2); QEMU rounds it",
        _where_they_part(is_rounded_on_loading),
        _at_parting,
    )
    TRIGONOMETRIC = (
        "FSIN, FCOS, FSINCOS and FPTAN are exact to the last place (1 8.3.10), and inexact; QEMU's are the host's of a double",
        _where_they_part(is_less_exact),
        _at_parting,
    )
    STORED = (
        "the same words, stored for the case to go on with",
        _where_they_part(stores_flags),
        _at_parting,
    )
    NOT_TEMPORAL = (
        "MOVNTPS and MOVNTQ to a register are #UD (2B); QEMU takes them",
        _not_temporal,
        _at_ours,
    )
    LATER = "SSE2 is #UD on a Pentium III, which has none; QEMU takes it", _later, _at_ours
    MMX_FIRST = "an MMX instruction enters MMX, in QEMU before its operand faults", _mmx_first
    UNCHECKED = (
        "UNPCKLPS, ANDPS, SHUFPS and the like have an aligned operand (1 11.3); QEMU takes any",
        _unchecked,
        _at_ours,
    )
    LDMXCSR = (
        "a reserved bit of MXCSR is #GP (2A, LDMXCSR and FXRSTOR); QEMU takes it",
        _ldmxcsr,
        _at_ours,
    )
    IN_PART = (
        "FLDENV, FRSTOR, FNSTENV and FNSAVE that fault leave things as they were (3A 6.5); QEMU has done a part",
        _in_part,
        _at_parting,
    )
    NUMBERS = (
        "C1, denormal operands, ES after a load, FCW's reserved bits (1 8.1, 8.5); QEMU has others",
        _numbers,
    )
    JUMP_BELOW = (
        "a near jump of 16 bits from near 0 goes to the segment's end (2A, Jcc); QEMU: below the segment",
        _jump_below,
    )
    BEYOND = "in virtual-8086 mode code beyond 64 KiB is #GP (20.1.1); QEMU begins anew", _beyond
    BEYOND_REAL = "the same in real mode, and at its end the harness's code or data", _beyond_real
    # The manual leaves it open.
    NM_FIRST = "where both are due #NM comes before #UD", _nm_first
    DOUBLE_SHIFT = "OF after a SHLD or SHRD by more than 1", _double_shift, _at_parting
    TWO_REPEATS = "which of REPE and REPNE holds where there are both", _two_repeats, _at_parting
    FBLD = "FBLD and FBSTP may fault at any of their bytes; QEMU begins with the last", _fbld
    # Our board is another than QEMU's.
    HOLE = "what no memory answers is not executed, #UD; QEMU executes zeros", _hole
    HOLE_16 = "the same, beyond 64 KiB in real mode", _hole_16
    ROM = "no frame is pushed where there is no memory, or ROM; QEMU's ROM can be written", _rom
    VIDEO = (
        "there is memory at A0000h, where QEMU's isapc without a display has none",
        _video,
    )  # The harness is at an end of its means.
    RF_FRAME = "the same, left in memory", _rf_frame
    UNREADABLE = "the frame goes on at the other end of a stack of 64 KiB", _unreadable
    FRAME_ON_CODE = "the frame lies where the instruction was", _frame_on_code
    TIME = "one has had its time, and the other has done with less", _time

    def __init__(
        self,
        why: str,
        explains: Callable[[Finding], Explained],
        place: Callable[[Finding], int] | None = None,
    ) -> None:
        """*place*: of the one instruction that the machines part at, where that is known."""
        self.why, self.explains, self.place = why, explains, place


def causes(finding: Finding, *, whole: bool = True) -> list[Cause]:
    """Why *finding* is as it is: all of its causes, or none where something is left unexplained.

    Not *whole*: those alone after which the machines go on alike.  Where it is known at which instruction
    they part, no other is a reason.
    """
    parting = finding.parting
    left = finding.different
    found = []
    for cause in Cause:
        explained = cause.explains(finding)
        if explained is EVERYTHING and not whole:
            continue
        if parting is not None and cause.place and cause.place(finding) != parting.linear:
            continue
        if any(explained.get(name, 0) & bits for name, bits in left.items()):
            found.append(cause)
            left = {name: bits & ~explained.get(name, 0) for name, bits in left.items()}
    return [] if any(left.values()) else found


def parts_at(finding: Finding) -> int:
    """The linear address of the instruction that *finding* is explained by; NOWHERE: by none alone."""
    places = [cause.place for cause in causes(finding) if cause.place is not None]
    return places[0](finding) if places else NOWHERE
