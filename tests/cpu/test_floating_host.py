"""The x87, asked of the host's own: the same instruction, on the same image, under FRSTOR and FNSAVE.

floating.c has the host compute, but keeps stack, tags, flags and memory itself; here all of these
are compared, over numbers of every class and control words of every precision and rounding, with all
exceptions masked.  (What processors of different makers do while one is not masked differs in bits that
the manual leaves undefined; test_floating.py has what it defines.)
"""

from __future__ import annotations

import ctypes
import mmap
import random
import struct
from collections.abc import Iterator

import pytest
from rig import ENGINES, Rig, needs_corrections, protected_mode

from emu import attrs
from emu.cpu.models import Model
from emu.cpu.processor import Pause

pytestmark = needs_corrections

CASES = 40  # of each instruction
IMAGE, RESULT, OPERAND, CODE = 0xC000, 0xC100, 0xC200, 0x2_0000
IMAGE_BYTES, OPERAND_BYTES = 108, 16
NE = 0x31
INVALID, SUMMARY = 1, 0x80FF  # in the status word; without the conditions, TOP among the rest
TOP, CONDITIONS = 7 << 11, 0x4700
FLAGS = 0x8D5

STACK_FORMS = {
    "fadd": 0xD8C0,
    "fmul": 0xD8C8,
    "fcom": 0xD8D0,
    "fcomp": 0xD8D8,
    "fsub": 0xD8E0,
    "fsubr": 0xD8E8,
    "fdiv": 0xD8F0,
    "fdivr": 0xD8F8,
    "fld": 0xD9C0,
    "fxch": 0xD9C8,
    "fcmovb": 0xDAC0,
    "fcomi": 0xDBF0,
    "fadd to": 0xDCC0,
    "fdiv to": 0xDCF8,
    "fst": 0xDDD0,
    "fstp": 0xDDD8,
    "fucom": 0xDDE0,
    "faddp": 0xDEC0,
    "fsubrp": 0xDEE0,
    "fdivp": 0xDEF8,
    "fucomip": 0xDFE8,
}
OTHERS = {
    "fcompp": "ded9",
    "fucompp": "dae9",
    "fchs": "d9e0",
    "fabs": "d9e1",
    "ftst": "d9e4",
    "fxam": "d9e5",
    "fld1": "d9e8",
    "fldl2t": "d9e9",
    "fldl2e": "d9ea",
    "fldpi": "d9eb",
    "fldlg2": "d9ec",
    "fldln2": "d9ed",
    "fldz": "d9ee",
    "f2xm1": "d9f0",
    "fyl2x": "d9f1",
    "fptan": "d9f2",
    "fpatan": "d9f3",
    "fxtract": "d9f4",
    "fprem1": "d9f5",
    "fdecstp": "d9f6",
    "fincstp": "d9f7",
    "fprem": "d9f8",
    "fyl2xp1": "d9f9",
    "fsqrt": "d9fa",
    "fsincos": "d9fb",
    "frndint": "d9fc",
    "fscale": "d9fd",
    "fsin": "d9fe",
    "fcos": "d9ff",
    "fadd single": "d803",
    "fdivr double": "dc3b",
    "fisub": "da23",
    "ficomp short": "de1b",
    "fld single": "d903",
    "fld double": "dd03",
    "fld extended": "db2b",
    "fild short": "df03",
    "fild": "db03",
    "fild long": "df2b",
    "fst single": "d913",
    "fstp double": "dd1b",
    "fstp extended": "db3b",
    "fbstp": "df33",
    "fist short": "df13",
    "fistp": "db1b",
    "fistp long": "df3b",
    "fisttp": "db0b",
    "fldcw": "d92b",
    "fnstcw": "d93b",
    "fnstsw": "dd3b",
    "fnclex": "dbe2",
    "fninit": "dbe3",
}
NO_CONDITIONS = {"fdecstp", "fincstp", "fprem", "fprem1"}  # for the last two see test_floating.py
INSTRUCTIONS = {
    f"{name} {number}": (opcode + number).to_bytes(2, "big")
    for name, opcode in STACK_FORMS.items()
    for number in (0, 1, 3, 7)
} | {name: bytes.fromhex(code) for name, code in OTHERS.items()}


@attrs.frozen
class Outcome:
    """What an instruction leaves."""

    image: bytes
    operand: bytes
    eflags: int

    def words(self, *, has_conditions: bool) -> dict[str, object]:
        """What is to be alike, by name; the conditions are undefined after an invalid operation."""
        control, status, tags = struct.unpack_from("<H2xH2xH", self.image)
        defined = SUMMARY | TOP
        if has_conditions and not status & INVALID:
            defined |= CONDITIONS
        return {
            "control": control,
            "status": status & defined,
            "tags": tags,
            "numbers": self.image[28:].hex(),
            "operand": self.operand.hex(),
            "eflags": self.eflags & FLAGS,
        }


class Host:
    """The processor that this runs on."""

    def __init__(self, code: bytes) -> None:
        # push rbx; mov rbx, rdx; frstor [rdi]; xor ecx, ecx; stc; ...
        # pushfq; pop rax; fnsave [rsi]; fninit; pop rbx; ret
        begin, end = bytes.fromhex("53 48 89 d3 dd 27 31 c9 f9"), "9c 58 dd 36 db e3 5b c3"
        self._page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(begin + code + bytes.fromhex(end))
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        kind = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_char_p] * 3)
        self._function = kind(address)

    def run(self, image: bytes, operand: bytes) -> Outcome:
        given, left, memory = (
            ctypes.create_string_buffer(data, size)
            for data, size in ((image, 128), (b"", 128), (operand, OPERAND_BYTES))
        )
        eflags = self._function(given, left, memory)
        return Outcome(left.raw[:IMAGE_BYTES], memory.raw, eflags)


@attrs.frozen
class Guest:
    """Ours."""

    rig: Rig

    def run(self, code: bytes, image: bytes, operand: bytes) -> Outcome:
        memory = self.rig.memory
        memory.write(IMAGE, image)
        memory.write(OPERAND, operand)
        # frstor [edi]; xor ecx, ecx; stc; ...; pushfd; pop eax; fnsave [esi]; hlt
        begin, end = bytes.fromhex("dd 27 31 c9 f9"), bytes.fromhex("9c 58 dd 36 f4")
        state = protected_mode(CODE, cr0=NE, edi=IMAGE, esi=RESULT, ebx=OPERAND)
        self.rig.load(begin + code + end, state, CODE)
        assert self.rig.run() is Pause.HALTED
        left = memory.read(RESULT, IMAGE_BYTES), memory.read(OPERAND, OPERAND_BYTES)
        return Outcome(*left, self.rig.state.eax)


def number(dice: random.Random) -> bytes:
    """A number of any class, the pseudo-denormals and unsupported ones among them."""
    whole, fraction = 1 << 63, dice.getrandbits(63)
    fraction = dice.choice([0, 1, 1 << 62, (1 << 63) - 1, fraction, fraction & -1 << 40])
    exponent, mantissa = dice.choice(
        [
            (0, 0),
            (0, fraction),
            (0, whole | fraction),
            (0x7FFF, whole),
            (0x7FFF, whole | fraction),
            (dice.choice([5, 0x3FFF, 0x7FFF]), fraction),
            (dice.choice([1, 2, 0x3F80, 0x3F81, 0x3C00, 0x3C01, 0x407E, 0x43FE, 0x7FFE]), whole),
            (dice.randrange(1, 0x7FFF), whole | fraction),
            *[(0x3FFF + dice.randrange(-70, 70), whole | fraction)] * 8,
        ]
    )
    return struct.pack("<QH", mantissa, exponent | dice.getrandbits(1) << 15)


def image(dice: random.Random) -> bytes:
    """An x87 at random; most often the upper half of its stack is full."""
    control = 0x7F | dice.getrandbits(2) << 10 | dice.choice([0, 2, 3, 3]) << 8
    top = dice.randrange(8)
    status = top << 11 | dice.getrandbits(6) | dice.getrandbits(16) & CONDITIONS
    full = {(top + each) % 8 for each in range(4)}
    tags = sum((0 if each in full else 3) << 2 * each for each in range(8))
    tags = dice.choice([tags, tags, tags, 0, 0xFFFF, dice.getrandbits(16)])
    numbers = b"".join(number(dice) for _ in range(8))
    return struct.pack("<HHHHHH16x", control, 0xFFFF, status, 0xFFFF, tags, 0xFFFF) + numbers


def operand(name: str, dice: random.Random) -> bytes:
    match name:
        case "fldcw":
            data = struct.pack("<H", 0x7F | dice.getrandbits(16) & 0xF00)
        case "fld extended":
            data = number(dice)
        case _:
            data = dice.choice([bytes(8), bytes.fromhex("000000000000f07f"), dice.randbytes(8)])
    return data.ljust(OPERAND_BYTES, b"\x5a")


@pytest.fixture(scope="module", params=ENGINES)
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    rig = Rig(request.param, Model.COREDUO)
    yield Guest(rig)
    rig.close()


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_as_the_host_does_it(guest: Guest, name: str) -> None:
    code = INSTRUCTIONS[name]
    host, dice, defined = Host(code), random.Random(name), name not in NO_CONDITIONS
    for _ in range(CASES):
        given, memory = image(dice), operand(name, dice)
        theirs = host.run(given, memory)

        ours = guest.run(code, given, memory)
        assert ours.words(has_conditions=defined) == theirs.words(has_conditions=defined), (
            given.hex()
        )
