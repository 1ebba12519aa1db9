"""Why x87 instructions end otherwise on QEMU: known from the state right before the first that does.

`fuzz_partings.py` finds that instruction.  From there on the two machines have other numbers, flags
or stacks, and go on to anything; so what each cause looks at is the one instruction, and what it
finds on the stack.
"""

from __future__ import annotations

from fractions import Fraction

from fuzz_findings import Instruction, Parting
from fuzz_runners import Ran

from emu import attrs

# FXSAVE's image (SDM 1, table 10-2).
FX_CONTROL, FX_STATUS, FX_TAGS, FX_MXCSR, FX_REGISTERS, FX_XMM, FX_END = 0, 2, 4, 24, 32, 160, 288
X87_IE, X87_DE, X87_UE, X87_PE, X87_EXCEPTIONS = 1 << 0, 1 << 1, 1 << 4, 1 << 5, 0x3F
X87_OE = 1 << 3
X87_SF, X87_ES, X87_C1, X87_B = 1 << 6, 1 << 7, 1 << 9, 1 << 15
TOP_SHIFT = 11
STORED_ALL_THE_SAME = X87_OE | X87_UE | X87_PE  # found when the result is there: 1, 8.5.4 to 8.5.6
EXTENDED_BIAS = 0x3FFF + 63
SPECIAL = 0x7FFF
PF, MF = 14, 16
X87, WAIT = range(0xD8, 0xE0), 0x9B
MMX = frozenset((0x0F2A, 0x0F2C, 0x0F2D, *range(0x0F60, 0x0F80), 0x0FC4, 0x0FC5))
WAITING = MMX | {*X87, WAIT, 0x0FAE, *range(0x0FD0, 0x0FFF)}
IMAGES = ((0xD9, 4), (0xD9, 6), (0xDD, 4), (0xDD, 6))  # FLDENV, FNSTENV, FRSTOR, FNSAVE
FRAME_MOST = 40  # of a step's
# How many digits an operand in memory has, by opcode and ModRM's reg, or any; and what PC allows.
DIGITS = {(0xDC, -1): 53, (0xDD, 0): 53, (0xDA, -1): 31, (0xDB, 0): 31, (0xDF, 5): 63}
PRECISION, PRECISION_SHIFT = (24, 0, 53, 64), 8
TRIGONOMETRIC = frozenset((0xF2, 0xFB, 0xFE, 0xFF))  # D9: FPTAN, FSINCOS, FSIN, FCOS
DOUBLE_DIGITS = 2**50  # nearly


@attrs.frozen
class Image:
    """The x87 as FXSAVE stores it."""

    data: bytes

    @classmethod
    def of(cls, ran: Ran) -> Image:
        return cls(ran.floating[:FX_END].ljust(FX_END, b"\0"))

    def word(self, at: int) -> int:
        return int.from_bytes(self.data[at : at + 2], "little")

    @property
    def control(self) -> int:
        return self.word(FX_CONTROL)

    @property
    def status(self) -> int:
        return self.word(FX_STATUS)

    @property
    def top(self) -> int:
        return self.status >> TOP_SHIFT & 7

    @property
    def stack(self) -> bytes:
        """TOP, the tags and all registers."""
        return bytes([self.top, self.data[FX_TAGS]]) + self.data[FX_REGISTERS:FX_XMM]

    @property
    def unmasked(self) -> int:
        """The exceptions that are noted and not masked."""
        return self.status & ~self.control & X87_EXCEPTIONS

    def is_empty(self, number: int) -> bool:
        return not self.data[FX_TAGS] >> ((self.top + number) & 7) & 1

    def value(self, number: int) -> Fraction | None:
        """ST(*number*); None where that is not finite."""
        at = FX_REGISTERS + 16 * number
        mantissa = int.from_bytes(self.data[at : at + 8], "little")
        exponent = self.word(at + 8)
        if exponent & SPECIAL == SPECIAL:
            return None
        sign = -1 if exponent >> 15 else 1
        return sign * mantissa * Fraction(2) ** ((exponent & SPECIAL or 1) - EXTENDED_BIAS)


# ---- what an instruction needs of the stack (SDM 2A, FADD and so on) ----------------------

ST0, ST1 = 1 << 0, 1 << 1
PUSHES = 1 << 8


def _with_registers() -> dict[tuple[int, int], int]:
    """By opcode and ModRM; what is not there needs nothing."""
    table = {
        (opcode, modrm): ST0 | 1 << (modrm & 7)
        for opcode in range(0xD8, 0xE0)
        for modrm in range(0xC0, 0x100)
    }
    for modrm in range(0xC0, 0xC8):
        table[0xD9, modrm] = 1 << (modrm & 7) | PUSHES  # FLD
        table[0xDD, modrm] = table[0xDF, modrm] = 0  # FFREE
    for modrm in range(0xD0, 0xE0):
        table[0xD9, modrm] = table[0xDD, modrm] = table[0xDF, modrm] = ST0  # FST, FSTP
    table[0xD9, 0xD0] = 0  # FNOP
    table |= {(0xDB, modrm): 0 for modrm in range(0xE0, 0xE8)}  # FNCLEX, FNINIT
    table[0xDF, 0xE0] = 0  # FNSTSW
    table[0xDA, 0xE9] = table[0xDE, 0xD9] = ST0 | ST1  # FUCOMPP, FCOMPP
    table |= {(0xD9, modrm): 0 for modrm in range(0xE0, 0x100)}
    table |= {(0xD9, modrm): ST0 for modrm in bytes.fromhex("e0 e1 e4 f0 fa fc fe ff")}
    table |= {(0xD9, modrm): ST0 | ST1 for modrm in bytes.fromhex("f1 f3 f5 f8 f9 fd")}
    table |= {(0xD9, modrm): ST0 | PUSHES for modrm in bytes.fromhex("f2 f4 fb")}
    table |= {(0xD9, modrm): PUSHES for modrm in range(0xE8, 0xEF)}
    return table


def _with_memory() -> dict[tuple[int, int], int]:
    """By opcode and ModRM's reg."""
    table = {(opcode, reg): ST0 for opcode in range(0xD8, 0xE0) for reg in range(8)}
    loads = (0xD9, 0), (0xDB, 0), (0xDB, 5), (0xDD, 0), (0xDF, 0), (0xDF, 4), (0xDF, 5)
    table |= dict.fromkeys(loads, PUSHES)
    # FLDENV, FLDCW, FNSTENV, FNSTCW; FRSTOR, FNSAVE, FNSTSW
    return table | dict.fromkeys(
        [(0xD9, reg) for reg in (4, 5, 6, 7)] + [(0xDD, reg) for reg in (4, 6, 7)], 0
    )


WITH_REGISTERS, WITH_MEMORY = _with_registers(), _with_memory()


def needs(instruction: Instruction) -> int:
    """The registers that are its operands, by ST's numbers; and PUSHES."""
    if not instruction.is_register:
        return WITH_MEMORY.get((instruction.opcode, instruction.reg), 0)
    return WITH_REGISTERS.get((instruction.opcode, instruction.rest[0]), 0)


def faults_on_the_stack(instruction: Instruction, before: Image) -> bool:
    """An operand is empty, or there is no room for what is pushed: 1, 8.5.1.1."""
    needed = needs(instruction)
    if any(needed >> number & 1 and before.is_empty(number) for number in range(8)):
        return True
    return bool(needed & PUSHES) and not before.is_empty(7)


# ---- causes ------------------------------------------------------------------------------


def _goes_on(parting: Parting) -> bool:
    """It has ended in either machine: both are in front of the next one."""
    theirs, ours = parting.theirs.record, parting.ours.record
    return (theirs.vector, theirs.eip) == (ours.vector, ours.eip)


def is_stack_fault(parting: Parting) -> bool:
    """IE and SF are set, or were, and there was an operand missing, or a place."""
    after = Image.of(parting.ours)
    noted = after.status & (X87_IE | X87_SF) == X87_IE | X87_SF
    return noted and faults_on_the_stack(parting.instruction, Image.of(parting.before))


def is_held_back(parting: Parting) -> bool:
    """There is an exception that is not masked, and all is as it was: or a result of another size.

    QEMU has found the same exception, unless it is one that it does not know; and may have found, too,
    that what it has to store cannot be stored.
    """
    before, after = Image.of(parting.before), Image.of(parting.ours)
    theirs = Image.of(parting.theirs)
    new = after.unmasked if after.status & X87_ES and not before.status & X87_ES else 0
    goes_on = _goes_on(parting) or parting.theirs.record.vector == PF
    if not new or not goes_on or parting.instruction.opcode not in X87:
        return False
    if after.status & X87_SF:
        known = faults_on_the_stack(parting.instruction, before)
    else:
        known = bool(new & X87_DE or new & theirs.status)
    same = after.stack == before.stack and _same_memory(parting.before, parting.ours)
    return known and (same or bool(new & STORED_ALL_THE_SAME))


def _same_memory(before: Ran, after: Ran) -> bool:
    """But for the frame that each step leaves."""
    pairs = enumerate(zip(before.sandbox, after.sandbox, strict=True))
    changed = [at for at, (one, other) in pairs if one != other]
    return not changed or changed[-1] - changed[0] < FRAME_MOST


def waits(parting: Parting) -> bool:
    """#MF comes: an exception is pending that is not masked."""
    before, waiting = Image.of(parting.before), parting.instruction.opcode in WAITING
    return waiting and parting.ours.record.vector == MF and bool(before.unmasked)


def is_rounded_on_loading(parting: Parting) -> bool:
    """Memory has more digits than precision control: what is loaded has them all, not so in QEMU."""
    found, before = parting.instruction, Image.of(parting.before)
    if found.is_register or not _goes_on(parting):
        return False
    digits = DIGITS.get((found.opcode, found.reg)) or DIGITS.get((found.opcode, -1), 0)
    return digits > PRECISION[before.control >> PRECISION_SHIFT & 3]


def is_less_exact(parting: Parting) -> bool:
    """FSIN and the like: QEMU has the host compute them as doubles, and they are never inexact."""
    found = parting.instruction
    if found.opcode != 0xD9 or not found.rest or found.rest[0] not in TRIGONOMETRIC:
        return False
    theirs, ours = Image.of(parting.theirs), Image.of(parting.ours)
    return theirs.stack[:2] == ours.stack[:2] and all(
        is_near(theirs.value(number), ours.value(number), DOUBLE_DIGITS) for number in range(8)
    )


def is_near(one: Fraction | None, other: Fraction | None, digits: int) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) * digits <= abs(other)


def stores_flags(parting: Parting) -> bool:
    """FNSTSW and the like of words that differ already."""
    found = parting.instruction
    stores = (0xD9, 6), (0xDD, 6), (0xDD, 7), (0x0FAE, 0), (0x0FAE, 3), (0xDF, 4), (0xD9, 7)
    return (found.opcode, found.reg) in stores and _goes_on(parting)


def is_loaded_in_part(parting: Parting) -> bool:
    """An image of the x87 in memory ends in a page that is not there."""
    theirs, ours = parting.theirs.record, parting.ours.record
    found = parting.instruction
    same = (theirs.vector, theirs.eip, theirs.cr2) == (ours.vector, ours.eip, ours.cr2)
    stays = Image.of(parting.before).data == Image.of(parting.ours).data
    return (found.opcode, found.reg) in IMAGES and ours.vector == PF and same and stays
