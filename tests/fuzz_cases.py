"""Random cases for `firmware/rom/fuzz.asm`: states of every mode, and code."""

from __future__ import annotations

import enum
import random
import struct
from pathlib import Path

from fuzz_format import (
    AC,
    ARITHMETIC,
    CODE_16,
    CODE_16_LEVEL_3,
    CODE_32,
    CODE_32_LEVEL_3,
    CR0_AM,
    CR0_EM,
    CR0_ET,
    CR0_MP,
    CR0_NE,
    CR0_PE,
    CR0_PG,
    CR0_TS,
    CR0_WP,
    CR4_OSFXSR,
    CR4_PAE,
    CR4_PGE,
    CR4_PSE,
    DATA_32,
    DATA_32_LEVEL_3,
    DF,
    EFLAGS_ALWAYS,
    FLAG_FLOATING,
    GENERAL,
    ID,
    IF,
    IOPL_SHIFT,
    LOADABLE_0,
    LOADABLE_3,
    MODE_PAE,
    MODE_PAGING,
    MODE_REAL,
    MODE_UNREAL,
    NT,
    POOL_BYTES,
    REGISTERS_BYTES,
    REGISTERS_SETS,
    RF,
    SANDBOX,
    SANDBOX_BYTES,
    SELECTORS_ALL,
    STACK_16,
    TF,
    VM,
    Case,
)

IMAGES = Path(__file__).parents[1] / "firmware" / "images"


class Mode(enum.Enum):
    """The processor's modes, as far as they make a difference."""

    REAL = "real mode"
    UNREAL = "real mode with segments of 4 GiB"
    PROTECTED_16 = "protected mode, 16 bits"
    PROTECTED_32 = "protected mode, 32 bits"
    LEVEL_3 = "level 3"
    PAGED = "paging"
    PAGED_LEVEL_3 = "paging, level 3"
    PAE = "paging with PAE"
    VIRTUAL_8086 = "virtual-8086 mode"


class Form(enum.Enum):
    """What follows an opcode."""

    NONE = enum.auto()
    BYTE = enum.auto()  # an immediate
    WORD = enum.auto()
    FULL = enum.auto()  # of the operand size
    ADDRESS = enum.auto()  # of the address size
    FAR = enum.auto()  # offset and selector
    ENTER = enum.auto()
    SHORT = enum.auto()  # a relative jump
    NEAR = enum.auto()
    MODRM = enum.auto()
    MODRM_BYTE = enum.auto()
    MODRM_FULL = enum.auto()
    GROUP_3 = enum.auto()  # F6, F7: an immediate where ModRM's reg is 0 or 1


def _opcodes() -> list[tuple[bytes, Form]]:
    """The opcode map of a Pentium III, SDM 2D appendix A, less what is left out."""
    table: dict[bytes, Form] = {}

    def put(form: Form, *ranges: tuple[int, int] | int, escape: bytes = b"") -> None:
        for entry in ranges:
            first, last = entry if isinstance(entry, tuple) else (entry, entry)
            for opcode in range(first, last + 1):
                table[escape + bytes([opcode])] = form

    for base in range(0, 0x40, 8):
        put(Form.MODRM, (base, base + 3))
        put(Form.BYTE, base + 4)
        put(Form.FULL, base + 5)
    put(Form.NONE, 0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x27, 0x2F, 0x37, 0x3F)
    put(Form.NONE, (0x40, 0x61), (0x90, 0x99), (0x9B, 0x9F), (0xA4, 0xA7), (0xAA, 0xAF))
    put(Form.NONE, 0xC3, 0xC9, 0xCB, 0xCC, 0xCE, 0xCF, 0xD6, 0xD7, 0xF1, 0xF5, (0xF8, 0xFD))
    put(Form.BYTE, 0x6A, 0xA8, (0xB0, 0xB7), 0xCD, 0xD4, 0xD5)
    put(Form.FULL, 0x68, 0xA9, (0xB8, 0xBF))
    put(Form.WORD, 0xC2, 0xCA)
    put(Form.ADDRESS, (0xA0, 0xA3))
    put(Form.FAR, 0x9A, 0xEA)
    put(Form.ENTER, 0xC8)
    put(Form.SHORT, (0x70, 0x7F), (0xE0, 0xE3), 0xEB)
    put(Form.NEAR, 0xE8, 0xE9)
    put(Form.MODRM, 0x62, 0x63, (0x84, 0x8F), 0xC4, 0xC5, (0xD0, 0xD3), 0xFE, 0xFF)
    put(Form.MODRM_BYTE, 0x6B, 0x80, 0x82, 0x83, 0xC0, 0xC1, 0xC6)
    put(Form.MODRM_FULL, 0x69, 0x81, 0xC7)
    put(Form.GROUP_3, 0xF6, 0xF7)
    two = {"escape": b"\x0f"}
    put(Form.MODRM, 0x00, 0x02, 0x03, (0x40, 0x4F), (0x90, 0x9F), 0xA3, 0xA5, 0xAB, 0xAD, **two)
    put(Form.MODRM, 0xAF, (0xB0, 0xB7), (0xBB, 0xBF), 0xC0, 0xC1, 0xC7, 0xB9, **two)
    put(Form.MODRM_BYTE, 0xA4, 0xAC, 0xBA, **two)
    put(Form.NEAR, (0x80, 0x8F), **two)
    put(Form.NONE, 0x05, 0x06, 0x08, 0x09, 0x0B, 0x33, 0x34, 0x35, 0x77, 0xA0, 0xA1, **two)
    put(Form.NONE, 0xA8, 0xA9, 0xAA, (0xC8, 0xCF), 0xFF, **two)
    put(Form.MODRM, 0x20, 0x21, 0x0D, (0x18, 0x1F), **two)
    return sorted(table.items(), key=lambda item: item[0])


OPCODES = _opcodes()
_FLOATING_TWO = (*range(0x10, 0x18), *range(0x28, 0x30), *range(0x50, 0x80), 0xAE, 0xC2)
_FLOATING_TWO += (*range(0xC3, 0xC7), *range(0xD0, 0x100))
FLOATING_OPCODES = [(bytes([opcode]), Form.MODRM) for opcode in range(0xD8, 0xE0)]
FLOATING_OPCODES += [
    (
        bytes([0x0F, opcode]),
        Form.MODRM_BYTE if opcode in (0x70, 0xC2, 0xC4, 0xC5, 0xC6) else Form.MODRM,
    )
    for opcode in _FLOATING_TWO
]
MUTATED = ("torture.rom", "fuzz.rom", "hello.bin", "primes.bin")
# What follows SHLD and SHRD, which may leave OF undefined: TEST AL, AL.
DEFINES_OF = dict.fromkeys((b"\x0f\xa4", b"\x0f\xa5", b"\x0f\xac", b"\x0f\xad"), b"\x84\xc0")
PREFIXES = bytes.fromhex("26 2e 36 3e 64 65 66 66 66 67 67 f0 f2 f3")
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)

# In no case, as the byte after 0Fh: RDMSR and the like, CPUID; and what loads control registers.
TWO_NEVER = frozenset(bytes.fromhex("30 31 32 a2 22 23 01"))
BSWAP, OPERAND_SIZE = range(0xC8, 0xD0), 0x66
# Where it would be done: ports, HLT.
ONE_NEVER = frozenset(bytes.fromhex("6c 6d 6e 6f e4 e5 e6 e7 ec ed ee ef f4"))


def tamed(code: bytes, *, may_do_all: bool, bswap: bool = False) -> bytes:
    """*code* without what is left out; BSWAP is where it may find 16 bits, which is undefined."""
    out = bytearray(code)
    for at, byte in enumerate(out):
        if may_do_all and byte in ONE_NEVER:
            out[at] = 0x90
        if not at or out[at - 1] != 0x0F:
            continue
        undefined = byte in BSWAP and (not bswap or OPERAND_SIZE in out[max(at - 4, 0) : at])
        if byte in TWO_NEVER or undefined:
            out[at] = 0x0B  # UD2
    return bytes(out)


def _extended(dice: random.Random) -> bytes:
    """A number of 80 bits (SDM 1, 4.2.2): of a moderate size as a rule, or of a special kind."""
    sign = dice.getrandbits(1) << 15
    fraction = dice.choice([0, dice.getrandbits(63), dice.getrandbits(10) << 53])
    match dice.randrange(16):
        case 0:
            exponent, whole, fraction = 0, 0, 0
        case 1:
            exponent, whole = 0, dice.getrandbits(1)  # denormal, or nearly
        case 2:
            exponent, whole = 0x7FFF, 1  # infinite, or no number
        case 3:
            exponent, whole = dice.getrandbits(15), 1
        case 4:
            exponent, whole = dice.getrandbits(15), dice.getrandbits(1)  # not even valid, it may be
        case _:
            exponent, whole = 0x3FFF + dice.randrange(-20, 40), 1
    return (whole << 63 | fraction).to_bytes(8, "little") + (sign | exponent).to_bytes(2, "little")


def _packed(dice: random.Random) -> bytes:
    """Two doubles, four singles, or anything."""
    values = [
        dice.choice([0.0, 1.0, dice.uniform(-100, 100), 10 ** dice.uniform(-30, 30)])
        for _ in "1234"
    ]
    match dice.randrange(3):
        case 0:
            return struct.pack("<2d", *values[:2])
        case 1:
            return struct.pack("<4f", *values)
        case _:
            return dice.randbytes(16)


class Generator:
    """All cases of one seed: case I is the same however many there are."""

    def __init__(self, seed: int, *, floating: bool = False) -> None:
        self.seed = seed
        self.floating = floating
        dice = random.Random(seed)
        self.pool = self._pool(dice) + self._registers(dice)
        self.firmware = [(IMAGES / name).read_bytes().strip(b"\xff") for name in MUTATED]

    @staticmethod
    def _pool(dice: random.Random) -> bytes:
        """What memory is filled from: an INT3 is never far."""
        pool = bytearray(dice.randbytes(POOL_BYTES))
        for at in range(0, len(pool), 8):
            pool[at + dice.randrange(8)] = 0xCC
        return tamed(bytes(pool), may_do_all=True)

    @staticmethod
    def _registers(dice: random.Random) -> bytes:
        """What x87 and XMM registers are filled from: numbers that something can be done with."""
        out = b""
        for _ in range(REGISTERS_SETS):
            out += b"".join(_extended(dice).ljust(16, b"\0") for _ in range(8))
            out += b"".join(_packed(dice) for _ in range(8))
        return out

    def case(self, number: int) -> Case:
        dice = random.Random(self.seed << 32 | number)
        mode = dice.choice(list(Mode))
        return _Making(dice, mode, self).case()


class _Making:
    """One case in the making."""

    def __init__(self, dice: random.Random, mode: Mode, generator: Generator) -> None:
        self.dice, self.mode, self.generator = dice, mode, generator
        self.wide = mode not in (Mode.REAL, Mode.UNREAL, Mode.PROTECTED_16, Mode.VIRTUAL_8086)
        self.floating = generator.floating and dice.random() < 0.7
        self.paged = mode in (Mode.PAGED, Mode.PAGED_LEVEL_3, Mode.PAE)
        self.paged |= mode is Mode.VIRTUAL_8086 and dice.random() < 0.7
        self.level_3 = mode in (Mode.LEVEL_3, Mode.PAGED_LEVEL_3)
        self.level_3 |= mode is Mode.PAE and dice.random() < 0.5
        self.privileged = not self.level_3 and mode is not Mode.VIRTUAL_8086
        if self.level_3 and dice.random() < 0.2:
            self.wide = False

    def case(self) -> Case:
        dice = self.dice
        code_at = dice.randrange(0xFE0) if dice.random() < 0.2 else dice.randrange(0x400, 0x800)
        what, code = self._code()
        if self.privileged and dice.random() < 0.95:
            code = code.replace(b"\xfa", b"\xf8")  # CLI seldom: the timer ends what does not end
        steps = dice.randrange(1, 9) if dice.random() < 0.15 else 0
        eflags = self._eflags() | (TF if steps else 0)
        if not steps or dice.random() < 0.8:
            eflags |= IF  # single steps end in any case
        ports = self.privileged or (self.level_3 and eflags >> IOPL_SHIFT & 3 == 3)
        code = code[:23] + b"\x90" if code[:24].endswith(b"\x0f") else code[:24]
        code = tamed(code, may_do_all=ports, bswap=self.wide) + b"\xcc" * 4
        return Case(
            mode=self._mode_bits(),
            code=code,
            code_at=code_at,
            pool_at=dice.randrange(0x400) * 16,
            cr0=self._cr0(),
            cr4=self._cr4(),
            general=self._general(),
            eflags=eflags,
            eip=SANDBOX + code_at if self.wide else code_at,
            registers_at=POOL_BYTES + dice.randrange(REGISTERS_SETS) * REGISTERS_BYTES,
            fcw=self._fcw(),
            mxcsr=self._mxcsr(),
            selectors=self._selectors(),
            window=self._window(),
            steps=steps,
            flags=FLAG_FLOATING if self.floating else 0,
            what=f"{self.mode.value}; {what}",
        )

    # --- the state ------------------------------------------------------------------------

    def _mode_bits(self) -> int:
        match self.mode:
            case Mode.REAL:
                return MODE_REAL
            case Mode.UNREAL:
                return MODE_REAL | MODE_UNREAL
            case Mode.PAE:
                return MODE_PAGING | MODE_PAE
            case _:
                return MODE_PAGING if self.paged else 0

    def _cr0(self) -> int:
        dice = self.dice
        bits = CR0_ET | dice.choice([0, CR0_MP]) | dice.choice([0, CR0_NE, CR0_NE])
        bits |= dice.choice([0, CR0_WP]) | dice.choice([0, 0, CR0_AM])
        if self.mode not in (Mode.REAL, Mode.UNREAL):
            bits |= CR0_PE
        if self.paged:
            bits |= CR0_PG
        if self.floating:
            bits |= CR0_NE  # what happens without is not the processor's business alone
        else:
            bits |= CR0_TS | dice.choice([0, 0, CR0_EM])
        return bits

    def _cr4(self) -> int:
        dice = self.dice
        bits = CR4_OSFXSR if self.floating else dice.choice([CR4_OSFXSR, CR4_OSFXSR, 0])
        if self.paged:
            bits |= CR4_PAE if self.mode is Mode.PAE else CR4_PSE
            bits |= dice.choice([0, CR4_PGE])
        return bits

    def _fcw(self) -> int:
        """Any rounding, any precision; one in five lets some exception through."""
        dice = self.dice
        masks = dice.getrandbits(6) if self.floating and dice.random() < 0.2 else 0x3F
        precision = dice.choice([0, 2, 3, 3, 3])
        return masks | 1 << 6 | precision << 8 | dice.randrange(4) << 10

    def _mxcsr(self) -> int:
        dice = self.dice
        masks = dice.getrandbits(6) if self.floating and dice.random() < 0.1 else 0x3F
        return masks << 7 | dice.randrange(4) << 13 | dice.choice([0, 0, 0, 1 << 15, 1 << 6])

    def _eflags(self) -> int:
        dice = self.dice
        flags = dice.getrandbits(32) & ARITHMETIC | EFLAGS_ALWAYS
        for flag, chance in ((DF, 0.2), (NT, 0.05), (RF, 0.1), (AC, 0.1), (ID, 0.2)):
            flags |= flag if dice.random() < chance else 0
        flags |= dice.choice([0, 0, 3, dice.randrange(4)]) << IOPL_SHIFT
        return flags | (VM if self.mode is Mode.VIRTUAL_8086 else 0)

    def address(self) -> int:
        """An offset that is likely to be in the sandbox, in a segment that is likely to be used."""
        dice = self.dice
        offset = dice.randrange(0x10000 if self.paged and dice.random() < 0.3 else SANDBOX_BYTES)
        return SANDBOX + offset if self.wide else offset

    def number(self) -> int:
        dice = self.dice
        kind = dice.random()
        if kind < 0.5:
            return self.address()
        if kind < 0.7:
            return dice.choice(EDGES)
        return dice.getrandbits(32) if kind < 0.85 else dice.getrandbits(8)

    def _general(self) -> list[int]:
        dice = self.dice
        general = [self.number() for _ in GENERAL]
        if dice.random() < 0.9:
            general[1] = dice.randrange(0x40)  # ECX: what REP and shifts count by
        stack = 0x3000 + dice.randrange(0x40, 0xFE0)
        if dice.random() < 0.8:
            stack &= ~3
        general[4] = SANDBOX + stack if self.wide else stack
        if self.mode is not Mode.UNREAL and not self.wide and dice.random() < 0.2:
            general[4] |= dice.getrandbits(16) << 16
        return general

    def _selectors(self) -> list[int]:
        dice = self.dice
        if self.mode in (Mode.REAL, Mode.UNREAL, Mode.VIRTUAL_8086):
            near = (0x4000, 0x4000, 0x4100, 0x4200, 0x4010, 0x3FFF)
            far = dice.randrange(0x3F00, 0x4300)
            return [0x4000, 0x4000, *(dice.choice([*near, far]) for _ in range(4))]
        if self.level_3:
            code = CODE_32_LEVEL_3 if self.wide else CODE_16_LEVEL_3
            flat, choice = DATA_32_LEVEL_3, LOADABLE_3
            stack = flat if self.wide else 0x1F
        else:
            code = CODE_32 if self.wide else CODE_16
            flat, choice = DATA_32, LOADABLE_0
            stack = flat if self.wide else STACK_16
        if not self.wide:
            flat = 0x1F if self.level_3 else STACK_16
        data = [flat if dice.random() < 0.8 else dice.choice(choice) for _ in range(4)]
        return [code, stack, *data]

    def _window(self) -> bytes:
        """Pages 0-3 as they are, for the most part; the others map those in some way."""
        dice = self.dice
        window = []
        for page in range(16):
            usual = page < 4 and dice.random() < 0.9
            flags = 7 if usual else dice.choice([7, 7, 6, 5, 4, 3, 1, 0])
            used = dice.choice([0, 0, 1 << 4, 3 << 4])
            window.append((page if usual else dice.randrange(4)) << 6 & 0xC0 | used | flags)
        if self.privileged:
            window[3] |= 3  # the stack: what cannot be pushed on it ends in a double fault
        return bytes(window)

    # --- the code -------------------------------------------------------------------------

    def _code(self) -> tuple[str, bytes]:
        dice = self.dice
        kind = dice.random()
        if kind < 0.15:
            return "random bytes", dice.randbytes(dice.randrange(2, 24))
        if kind < 0.3:
            return "mutated firmware", self._mutated()
        code = b""
        for _ in range(dice.choice([1, 1, 2, 2, 3, 4, 6])):
            code += self._instruction()
        return "instructions", code

    def _mutated(self) -> bytes:
        dice = self.dice
        source = dice.choice(self.generator.firmware)
        at = dice.randrange(len(source))
        code = bytearray(source[at : at + 24] or b"\x90")
        for _ in range(dice.randrange(4)):
            code[dice.randrange(len(code))] = dice.getrandbits(8)
        return bytes(code)

    def _instruction(self) -> bytes:
        dice = self.dice
        prefixes = bytes(dice.choice(PREFIXES) for _ in range(dice.choice([0, 0, 0, 0, 1, 1, 2])))
        table = FLOATING_OPCODES if self.floating and dice.random() < 0.7 else OPCODES
        opcode, form = dice.choice(table)
        operand_32 = self.wide ^ (0x66 in prefixes)
        address_32 = self.wide ^ (0x67 in prefixes)
        full = 4 if operand_32 else 2
        return prefixes + opcode + self._operands(opcode, form, full, address_32=address_32)

    def _operands(self, opcode: bytes, form: Form, full: int, *, address_32: bool) -> bytes:
        """What follows *opcode*; *full* is the operand's size in bytes."""
        match form:
            case Form.NONE:
                return b""
            case Form.BYTE | Form.WORD | Form.ENTER | Form.SHORT | Form.NEAR:
                return self._number_of(form, full)
            case Form.FULL:
                return self._immediate(full)
            case Form.ADDRESS:
                return self.address().to_bytes(4, "little")[: 4 if address_32 else 2]
            case Form.FAR:
                return self._far(full)
        return self._modrm_and_more(opcode, form, full, address_32=address_32)

    def _number_of(self, form: Form, full: int) -> bytes:
        """A number that is no operand of the operand size, but for one: how far a near jump goes."""
        dice = self.dice
        match form:
            case Form.NEAR:
                reach = dice.randrange(-0x100, 0x400)
                return (reach & 0xFFFF_FFFF).to_bytes(4, "little")[:full]
            case Form.SHORT:
                return dice.choice([0, 1, 2, 3, dice.randrange(0x80)]).to_bytes(1, "little")
            case Form.WORD:
                return dice.randrange(0x40).to_bytes(2, "little")
            case Form.ENTER:
                return dice.randrange(0x40).to_bytes(2, "little") + dice.randbytes(1)
        return dice.randbytes(1)

    def _modrm_and_more(self, opcode: bytes, form: Form, full: int, *, address_32: bool) -> bytes:
        modrm = self._modrm_32() if address_32 else self._modrm_16()
        immediate = b""
        if form is Form.MODRM_BYTE:
            immediate = self.dice.randbytes(1)
        elif form is Form.MODRM_FULL:
            immediate = self._immediate(full)
        elif form is Form.GROUP_3 and modrm[0] >> 3 & 7 < 2:
            immediate = self._immediate(1 if opcode == b"\xf6" else full)
        return modrm + immediate + DEFINES_OF.get(opcode, b"")

    def _immediate(self, size: int) -> bytes:
        if self.dice.random() < 0.2:
            return self.dice.choice(SELECTORS_ALL).to_bytes(4, "little")[:size]
        return self.number().to_bytes(4, "little")[:size]

    def _far(self, full: int) -> bytes:
        offset = self.dice.randrange(0x1000) + (SANDBOX if self.wide else 0)
        if self.mode in (Mode.REAL, Mode.UNREAL, Mode.VIRTUAL_8086):
            selector = self.dice.randrange(0x4000, 0x4100)
        else:
            selector = self.dice.choice(SELECTORS_ALL) | self.dice.choice([0, 0, 3, 1])
        return offset.to_bytes(4, "little")[:full] + selector.to_bytes(2, "little")

    def _modrm_byte(self) -> int:
        byte = self.dice.getrandbits(8)
        return byte | 0xC0 if self.dice.random() < 0.35 else byte

    def _modrm_16(self) -> bytes:
        """ModRM and displacement for addresses of 16 bits: SDM 2A, table 2-1."""
        byte = self._modrm_byte()
        mod, rm = byte >> 6, byte & 7
        displacement = b""
        if mod == 2 or (mod == 0 and rm == 6):
            displacement = (self.address() & 0x3FFF).to_bytes(2, "little")
        elif mod == 1:
            displacement = self.dice.randbytes(1)
        return bytes([byte]) + displacement

    def _modrm_32(self) -> bytes:
        """ModRM, SIB and displacement for addresses of 32 bits: tables 2-2 and 2-3."""
        dice = self.dice
        byte = self._modrm_byte()
        mod, base = byte >> 6, byte & 7
        out = bytes([byte])
        if mod == 3:
            return out
        if base == 4:
            sib = dice.getrandbits(8)
            if dice.random() < 0.4:
                sib = sib & 0xC7 | 0x20  # no index
            base = sib & 7
            out += bytes([sib])
        if mod == 0 and base == 5:
            out += self.address().to_bytes(4, "little")
        elif mod == 2:
            wild = dice.random() < 0.1
            reach = dice.getrandbits(32) if wild else dice.randrange(-0x200, 0x1000)
            out += (reach & 0xFFFF_FFFF).to_bytes(4, "little")
        elif mod == 1:
            out += dice.randbytes(1)
        return out
