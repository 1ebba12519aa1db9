"""The x87 and SSE with their exceptions: SDM volume 1, chapters 8 and 11.

Where the host is the processor that does the computing it is asked too, instruction by instruction,
by test_floating_host.py; here is what the manual says, and what the machine around makes of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from rig import (
    CODE,
    DATA,
    ENGINES,
    IDT,
    SPARE,
    STACK,
    TABLE,
    Rig,
    needs_corrections,
    paging,
    protected_mode,
    real_mode,
)

from emu import attrs
from emu.cpu.processor import Pause
from emu.cpu.state import X87, State, Xmm
from emu.cpu.vectors import DB, GP, MF, PF, UD

pytestmark = needs_corrections

IE, DE, ZE, OE, UE, PE, SF, ES, C1, B = 1, 2, 4, 8, 16, 32, 64, 128, 1 << 9, 1 << 15
TOP = 7 << 11
ALL_MASKED = 0x37F
NE = 0x31  # CR0: PE, ET, NE
XM = 19
OSFXSR, OSXMMEXCPT = 1 << 9, 1 << 10
IRQ13_VECTOR = 0x75

INTEGER = 1 << 63  # the bit before the point
ZERO, ONE, TWO = X87(0, 0), X87(INTEGER, 0x3FFF), X87(INTEGER, 0x4000)
MINUS_ONE, THREE = X87(INTEGER, 0xBFFF), X87(3 << 62, 0x4000)
MOST, LEAST = X87((1 << 64) - 1, 0x7FFE), X87(INTEGER, 1)
DENORMAL = X87(1, 0)
INFINITY, INDEFINITE = X87(INTEGER, 0x7FFF), X87(3 << 62, 0xFFFF)
SIGNALLING, QUIET = X87(INTEGER | 1, 0x7FFF), X87(3 << 62 | 1, 0x7FFF)


@pytest.fixture(params=ENGINES)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(request.param)
    yield rig
    rig.close()


def holding(*stack: X87, control: int = ALL_MASKED, status: int = 0, **registers: object) -> State:
    """Protected mode with ST(0), ST(1) and so on as given, ST(7) being physical register 7."""
    top = 8 - len(stack)
    fpu = [X87() for _ in range(top)] + [attrs.evolve(each) for each in stack]
    return protected_mode(
        **({"cr0": NE, "ebx": DATA, "ecx": 0xABCD} | registers),
        fpu=fpu,
        fpu_valid=0xFF << top & 0xFF,
        fpu_control=control,
        fpu_status=status | (top & 7) << 11,
    )


def run(rig: Rig, code: str, state: State) -> State:
    """Run *code*, then halt."""
    rig.load(bytes.fromhex(code) + b"\xf4", state)
    rig.run()
    return rig.state


def st(state: State, number: int = 0) -> X87 | None:
    """ST(*number*); None where it is empty."""
    physical = (state.fpu_status >> 11) + number & 7
    return state.fpu[physical] if state.fpu_valid >> physical & 1 else None


def flags(state: State) -> int:
    return state.fpu_status & ~TOP


FADD, FMUL, FDIV, FSQRT, FCHS = "d8 c1", "d8 c9", "d8 f1", "d9 fa", "d9 e0"
FDIVP, FSTP, FST_SINGLE, FSTP_SINGLE = "de f9", "dd d8", "d9 13", "d9 1b"
FLD1, FLD_ST0, FWAIT = "d9 e8", "d9 c0", "9b"


class TestMasked:
    """8.5: the flags, and the results that the masked responses give."""

    @pytest.mark.parametrize(
        ("code", "operands", "noted", "result"),
        [
            (FADD, (ONE, ONE), 0, TWO),
            (FDIV, (ONE, THREE), PE | C1, X87(0xAAAA_AAAA_AAAA_AAAB, 0x3FFD)),
            (FDIV, (TWO, THREE), PE | C1, X87(0xAAAA_AAAA_AAAA_AAAB, 0x3FFE)),
            (FDIV, (ZERO, ZERO), IE, INDEFINITE),
            (FDIV, (ONE, ZERO), ZE, INFINITY),
            (FDIV, (INFINITY, ZERO), 0, INFINITY),
            (FADD, (SIGNALLING, ONE), IE, QUIET),
            (FADD, (QUIET, ONE), 0, QUIET),
            (FADD, (DENORMAL, ZERO), DE, DENORMAL),
            (FMUL, (MOST, MOST), OE | PE | C1, INFINITY),
            (FMUL, (LEAST, LEAST), UE | PE, ZERO),
            (FSQRT, (MINUS_ONE,), IE, INDEFINITE),
            (FCHS, (SIGNALLING,), 0, X87(INTEGER | 1, 0xFFFF)),
        ],
    )
    def test_arithmetic(
        self, rig: Rig, code: str, operands: tuple[X87, ...], noted: int, result: X87
    ) -> None:
        state = run(rig, code, holding(*operands))

        assert (flags(state), st(state)) == (noted, result)

    def test_flags_stay_until_they_are_cleared(self, rig: Rig) -> None:
        """8.1.3.3: "sticky"; C1 is each instruction's own."""
        state = run(rig, FDIV + FCHS, holding(ONE, THREE))
        assert flags(state) == PE

        state = run(rig, "db e2", state := holding(ONE, status=0x7F))  # fnclex
        assert flags(state) == 0

    @pytest.mark.parametrize(
        ("control", "mantissa"),
        [
            (0x37F, 0xAAAA_AAAA_AAAA_AAAB),
            (0x27F, 0xAAAA_AAAA_AAAA_A800),
            (0x07F, 0xAAAA_AB00_0000_0000),
            (0xF7F, 0xAAAA_AAAA_AAAA_AAAA),
        ],
    )
    def test_precision_and_rounding_are_the_control_words(
        self, rig: Rig, control: int, mantissa: int
    ) -> None:
        """8.1.5.2 and 8.1.5.3."""
        state = run(rig, FDIV, holding(ONE, THREE, control=control))

        assert st(state) == X87(mantissa, 0x3FFD)

    @pytest.mark.parametrize(
        ("code", "operand", "noted", "stored"),
        [
            (FSTP_SINGLE, MOST, OE | PE | C1, "0000807f"),
            (FSTP_SINGLE, SIGNALLING, IE, "0000c07f"),
            ("db 1b", MOST, IE, "00000080"),  # fistp dword [ebx]
            ("df 1b", THREE, 0, "0300"),  # fistp word [ebx]
            ("db 0b", X87(3 << 62, 0x3FFF), PE, "01000000"),  # fisttp dword [ebx], of 1.5
            ("df 33", THREE, 0, "03000000000000000000"),  # fbstp [ebx]
        ],
    )
    def test_a_store(self, rig: Rig, code: str, operand: X87, noted: int, stored: str) -> None:
        state = run(rig, code, holding(operand))

        assert rig.memory.read(DATA, len(stored) // 2) == bytes.fromhex(stored)
        assert (flags(state), st(state)) == (noted, None)

    @pytest.mark.parametrize(
        ("code", "condition"),
        [
            ("d8 d1", 0x4500),  # fcom: unordered
            ("dd e1", 0x4500),  # fucom
            ("d9 e5", 0x0100),  # fxam of a NaN
        ],
    )
    def test_conditions(self, rig: Rig, code: str, condition: int) -> None:
        """8.1.4: C3, C2 and C0; FUCOM does not take a quiet NaN for invalid."""
        state = run(rig, code, holding(QUIET, ONE))

        assert flags(state) == condition | (IE if code == "d8 d1" else 0)

    @pytest.mark.parametrize("code", ["d9 f8", "d9 f5"])
    @pytest.mark.parametrize(
        ("quotient", "conditions"),
        [(1, C1), (2, 0x4000), (3, 0x4000 | C1), (4, 0x100), (7, 0x4000 | 0x100 | C1)],
    )
    def test_the_remainders_quotient(
        self, rig: Rig, code: str, quotient: int, conditions: int
    ) -> None:
        """2A, FPREM and FPREM1: bits 2, 1 and 0 are C0, C3 and C1, and C2 tells that it is done."""
        exponent = quotient.bit_length() - 1
        number = X87(quotient << 63 - exponent, 0x3FFF + exponent)
        state = run(rig, code, holding(number, ONE))

        assert (flags(state), st(state)) == (conditions, ZERO)

    def test_a_remainder_that_takes_several_steps(self, rig: Rig) -> None:
        """Up to 63 bits of the quotient are done in one."""
        state = run(rig, "d9 f8", holding(MOST, THREE))

        assert flags(state) == 0x400


class TestStackFaults:
    """8.5.1.1: IE with SF, C1 telling overflow from underflow."""

    @pytest.mark.parametrize("code", [FADD, FSQRT, FCHS, "d9 c9", "d9 f0", "d9 f3"])
    def test_an_empty_operand(self, rig: Rig, code: str) -> None:
        state = run(rig, code, holding())

        assert (flags(state), st(state)) == (IE | SF, INDEFINITE)

    @pytest.mark.parametrize("code", [FLD1, FLD_ST0, "d9 03", "db 03", "df 2b", "d9 f4", "d9 f2"])
    def test_no_room(self, rig: Rig, code: str) -> None:
        state = run(rig, code, holding(*[ONE] * 8))

        assert (flags(state), st(state)) == (IE | SF | C1, INDEFINITE)

    def test_FLD_of_ST7_which_is_where_it_goes(self, rig: Rig) -> None:
        """2A, FLD: the source is read before TOP moves."""
        state = run(rig, "d9 c7", holding(ONE))

        assert (flags(state), st(state)) == (IE | SF, INDEFINITE)

    @pytest.mark.parametrize(
        ("code", "stored"),
        [(FSTP_SINGLE, "0000c0ff"), ("dd 1b", "000000000000f8ff"), ("df 1b", "0080")],
    )
    def test_a_store_of_nothing(self, rig: Rig, code: str, stored: str) -> None:
        """It stores the indefinite, and pops."""
        state = run(rig, code, holding())

        assert rig.memory.read(DATA, len(stored) // 2) == bytes.fromhex(stored)
        assert flags(state) == IE | SF


class TestHeldBack:
    """8.6 and 8.7: an exception that is not masked leaves things as they were for its handler."""

    @pytest.mark.parametrize(
        ("code", "operands", "exception"),
        [
            (FADD, (SIGNALLING, ONE), IE),
            (FDIV, (ZERO, ZERO), IE),
            (FDIVP, (ZERO, ONE), ZE),
            (FDIV, (ONE, ZERO), ZE),
            (FADD, (DENORMAL, ONE), DE),
            (FSQRT, (MINUS_ONE,), IE),
            ("d9 f1", (MINUS_ONE, ONE), IE),  # fyl2x: it would pop
            ("d9 f4", (ZERO, ONE), ZE),  # fxtract: it would push
            ("d8 d9", (QUIET, ONE), IE),  # fcomp
            ("db 1b", (MOST, ONE), IE),  # fistp dword [ebx]
            ("df 33", (MOST, ONE), IE),  # fbstp [ebx]
            (FSTP_SINGLE, (MOST, ONE), OE),
            (FSTP_SINGLE, (LEAST, ONE), UE),
        ],
    )
    def test_operands_stack_and_memory(
        self, rig: Rig, code: str, operands: tuple[X87, ...], exception: int
    ) -> None:
        rig.memory.write(DATA, b"as it was.")
        before = holding(*operands, control=ALL_MASKED & ~exception)
        state = run(rig, code, before)

        assert flags(state) & ~(PE | C1) == exception | ES | B
        assert (state.fpu, state.fpu_valid) == (before.fpu, before.fpu_valid)
        assert rig.memory.read(DATA, 10) == b"as it was."
        assert state.eip == CODE + len(bytes.fromhex(code)) + 1, "and the next instruction runs"

    @pytest.mark.parametrize(
        ("code", "operands", "exception", "result"),
        [
            (FMUL, (MOST, TWO), OE, X87((1 << 64) - 1, 0x7FFF - 24576)),
            (FMUL, (LEAST, X87(INTEGER, 0x3FFE)), UE, X87(INTEGER, 24576)),
            (FDIV, (ONE, THREE), PE, X87(0xAAAA_AAAA_AAAA_AAAB, 0x3FFD)),
        ],
    )
    def test_but_not_what_is_found_afterwards(
        self, rig: Rig, code: str, operands: tuple[X87, ...], exception: int, result: X87
    ) -> None:
        """8.5.4 to 8.5.6: the result is stored, its exponent brought into range."""
        state = run(rig, code, holding(*operands, control=ALL_MASKED & ~exception))

        assert flags(state) & ~(PE | C1) == exception & ~PE | ES | B
        assert st(state) == result

    def test_a_push_with_no_room(self, rig: Rig) -> None:
        state = run(rig, FLD1, holding(*[TWO] * 8, control=ALL_MASKED & ~IE))

        assert (flags(state), st(state)) == (IE | SF | C1 | ES | B, TWO)

    @pytest.mark.parametrize(
        ("code", "offset"),
        [
            ("d8 33", DATA),  # fdiv dword [ebx]
            ("d8 73 40", DATA + 0x40),
            ("d8 b3 00 01 00 00", DATA + 0x100),
            ("d8 35 00 21 00 00", 0x2100),
            ("d8 34 24", STACK),  # [esp]
            ("d8 74 8b fc", DATA + 4 * 0xABCD - 4),  # [ebx + ecx * 4 - 4]
            ("d8 34 8d 00 20 00 00", 4 * 0xABCD + 0x2000),
            ("26 2e d8 33", DATA),  # cs:[ebx]
            ("67 d8 37", DATA),  # [bx]
            ("67 d8 76 10", DATA + 0x110),  # [bp + 10h]
            ("67 d8 36 00 20", 0x2000),
            ("67 d8 b0 00 01", DATA + 0x100),  # [bx + si + 100h]
        ],
    )
    def test_where_it_was_is_noted(self, rig: Rig, code: str, offset: int) -> None:
        """8.1.8: the instruction's address and its operand's, of every form."""
        state = run(rig, code, holding(ONE, control=ALL_MASKED & ~ZE, ebp=DATA + 0x100))

        assert flags(state) == ZE | ES | B
        assert (state.fpu_ip, state.fpu_cs) == (CODE, 0x08)
        assert (state.fpu_dp, state.fpu_ds) == (offset, 0x08 if "2e" in code else 0x10)
        assert state.eip == CODE + len(bytes.fromhex(code)) + 1

    def test_in_the_middle_of_a_block_stepped_or_run(self, rig: Rig) -> None:
        """The block ends there: alike for whoever steps."""
        code = bytes.fromhex("40" + FDIV + "40 40 f4")
        state = holding(ONE, ZERO, control=ALL_MASKED & ~ZE)
        straight = Rig(rig.engine_name)
        straight.load(code, state)
        straight.run()
        rig.load(code, state)
        while rig.processor.step() is None:
            pass

        assert rig.seen() == straight.seen()
        assert rig.state.eax == 3
        straight.close()

    def test_in_single_step_the_trap_comes_after_it(self, rig: Rig) -> None:
        """3B, 17.3.1.4: it has ended, if without its result; RF (17.3.1.1) has, too."""
        state = holding(ONE, ZERO, control=ALL_MASKED & ~ZE, eflags=0x1_0102)
        rig.load(bytes.fromhex(FDIV + "40"), state)
        rig.run()

        assert rig.reported == [DB]
        assert rig.stack(3) == [CODE + 2, 0x08, 0x102]
        assert rig.state.dr6 & 1 << 14

    def test_an_interrupt_comes_after_it(self, rig: Rig) -> None:
        """STI holds interrupts off for that instruction alone (2B, STI)."""
        state = holding(ONE, ZERO, control=ALL_MASKED & ~ZE)
        rig.load(bytes.fromhex("fb" + FDIV + "90"), state)
        rig.interrupt(IRQ13_VECTOR)
        rig.run()

        assert rig.reported == [IRQ13_VECTOR]
        assert rig.stack(1) == [CODE + 3]


class TestWaiting:
    """8.3.12 and 8.7: the next instruction that waits is told, and it alone."""

    PENDING = ZE | ES | B

    def pending(self, **registers: object) -> State:
        return holding(ONE, control=ALL_MASKED & ~ZE, status=self.PENDING, **registers)

    @pytest.mark.parametrize(
        "code",
        [
            *(FWAIT, FADD, FCHS, FLD1, FLD_ST0, FSTP, FSTP_SINGLE, "d9 2b", "d9 23", "dd 23"),
            *("d9 03", "df 23", "db 2b", "db 3b", "d9 c9", "d9 f6", "d9 f7", "dd c0", "d9 e5"),
            *("d9 fe", "da c1", "db f1", "0f 77", "0f fc c1", "d9 d0"),
        ],
    )
    def test_those_that_wait(self, rig: Rig, code: str) -> None:
        """FLDCW, FLDENV, FRSTOR, EMMS and PADDB are among them."""
        before = self.pending(eflags=3)
        state = run(rig, code, before)

        assert rig.reported == [MF]
        assert rig.stack(1) == [CODE]
        assert (state.fpu, state.fpu_valid) == (before.fpu, before.fpu_valid)
        assert state.fpu_status == before.fpu_status

    @pytest.mark.parametrize(
        "code", ["db e2", "db e3", "df e0", "dd 3b", "d9 3b", "d9 33", "dd 33", "0f ae 03"]
    )
    def test_those_that_do_not(self, rig: Rig, code: str) -> None:
        """FNCLEX, FNINIT, FNSTSW twice, FNSTCW, FNSTENV, FNSAVE; and FXSAVE (2A)."""
        run(rig, code, self.pending(cr4=OSFXSR))

        assert rig.reported == []

    @pytest.mark.parametrize("code", ["db e2", "db e3", "d9 33", "dd 33"])
    def test_what_ends_it(self, rig: Rig, code: str) -> None:
        """The flags are cleared; or masked, which is FNSTENV's (2A)."""
        run(rig, code + FWAIT, self.pending())

        assert rig.reported == []

    def test_FLDCW_that_unmasks(self, rig: Rig) -> None:
        """8.1.3.3: ES follows the masks."""
        rig.memory.write(DATA, struct.pack("<H", ALL_MASKED & ~ZE))
        state = run(rig, "d9 2b" + FWAIT, holding(ONE, status=ZE))

        assert (rig.reported, flags(state)) == ([MF], self.PENDING)

    def test_FLDCW_that_masks(self, rig: Rig) -> None:
        rig.memory.write(DATA, struct.pack("<H", ALL_MASKED))
        state = run(rig, "d9 2b" + FWAIT, holding(ONE, control=ALL_MASKED & ~ZE, status=ZE))

        assert (rig.reported, flags(state)) == ([], ZE)

    def test_FLDENV_with_an_exception(self, rig: Rig) -> None:
        """2A, FLDENV: pending unmasked exceptions are generated by the next instruction."""
        environment = (ALL_MASKED & ~ZE, ZE, 0xFFFF, 0, 0, 0, 0)
        rig.memory.write(DATA, struct.pack("<7I", *environment))
        run(rig, "d9 23" + FWAIT, holding())

        assert rig.reported == [MF]
        assert rig.stack(1) == [CODE + 2]


class TestFERR:
    """8.7.2, with CR0.NE clear: FERR#, an interrupt, and IGNNE#."""

    # fnclex; out f0h, al; iret
    HANDLER = bytes.fromhex("e6 f0 db e2 cf")

    def begin(self, rig: Rig, handler: bytes, **registers: object) -> list[int]:
        """An error is pending before a FADD; FERR# makes an interrupt.  When it went low."""
        fallen: list[int] = []

        def interrupt() -> None:
            fallen.append(rig.clock.now_ns)
            rig.interrupt(IRQ13_VECTOR)

        rig.processor.numeric_error = interrupt
        rig.ports.on_write[0xF0] = lambda _value: rig.processor.ignore_numeric_error()
        rig.memory.write(SPARE, handler)
        gate = struct.pack("<HHBBH", SPARE, 0x08, 0, 0x8E, 0)
        rig.memory.write(IDT + 8 * IRQ13_VECTOR, gate)
        state = holding(ONE, control=ALL_MASKED & ~ZE, status=ZE | ES | B, cr0=0x11, **registers)
        rig.load(bytes.fromhex("40" + FADD + "40 f4"), state)
        return fallen

    def test_the_handler_comes_before_the_instruction_that_waits(self, rig: Rig) -> None:
        fallen = self.begin(rig, b"\xf4", eflags=0x202)
        rig.run()

        assert len(fallen) == 1
        assert rig.stack(1) == [CODE + 1]
        assert rig.reported == [], "and no #MF"

    def test_and_goes_back_to_it(self, rig: Rig) -> None:
        """The error being cleared, both pins are high again."""
        fallen = self.begin(rig, self.HANDLER, eflags=0x202)
        rig.run()

        assert (rig.state.eax, len(fallen)) == (2, 1)
        assert (rig.state.ferr, rig.state.ignne) == (False, False)

    def test_with_interrupts_off_it_waits_for_ever(self, rig: Rig) -> None:
        """8.7.2: the processor stops there, until an interrupt; which is kept in a save."""
        self.begin(rig, self.HANDLER, eflags=0x002)

        assert rig.run() is Pause.HALTED
        assert (rig.state.eip, rig.state.ferr, rig.state.halted) == (CODE + 1, True, True)

        other = Rig(rig.engine_name)
        self.begin(other, self.HANDLER)
        other.interrupt(IRQ13_VECTOR)
        other.processor.state = attrs.evolve(rig.state, eflags=0x202)
        other.processor.settle()
        other.run()

        assert (other.state.eax, other.state.ferr) == (2, False)
        other.close()

    def test_while_IGNNE_is_low_nothing_waits(self, rig: Rig) -> None:
        """The handler can use the x87 before it clears the error."""
        self.begin(rig, bytes.fromhex("e6 f0" + FLD1 + FSTP + "f4"), eflags=0x202)
        rig.run()

        assert (rig.state.ferr, rig.state.ignne) == (True, True)
        assert rig.state.eip == SPARE + 7

    def test_without_FERR_it_cannot_be_pulled(self, rig: Rig) -> None:
        """PIIX4, 4.2.7: a write to F0h asserts IGNNE# only while FERR# is asserted."""
        rig.ports.on_write[0xF0] = lambda _value: rig.processor.ignore_numeric_error()
        run(rig, "e6 f0", holding(cr0=0x11))

        assert not rig.state.ignne

    def test_INT_16_is_none(self, rig: Rig) -> None:
        """The BIOS's video services have #MF's number."""
        rig.processor.numeric_error = lambda: pytest.fail("FERR# is low")
        rig.load(bytes.fromhex("cd 10 f4"), real_mode())
        rig.run()

        assert rig.reported == [0x10]


def single(*values: float) -> Xmm:
    """Four numbers, from bit 0 up."""
    low, high = struct.unpack("<QQ", struct.pack("<4f", *values))
    return Xmm(low, high)


def sse(*registers: Xmm, mxcsr: int = 0x1F80, **others: object) -> State:
    """Protected mode with XMM0, XMM1 and so on."""
    xmm = [*registers, *[Xmm() for _ in range(8 - len(registers))]]
    given = {"cr0": NE, "cr4": OSFXSR | OSXMMEXCPT, "ebx": DATA}
    return protected_mode(**(given | others), xmm=xmm, mxcsr=mxcsr)


TINY = 2.0**-100
ADDPS, MULPS, DIVPS, SQRTPS, MINPS, CMPEQPS = (
    f"0f {opcode} c1" for opcode in ("58", "59", "5e", "51", "5d", "c2")
)
NOT_A_NUMBER = float("nan")


class TestSSE:
    """11.5: the exceptions of SIMD."""

    @pytest.mark.parametrize(
        ("code", "a", "b", "noted", "result"),
        [
            (ADDPS, 1, 2, 0, 3),
            (DIVPS, 1, 3, PE, 1 / 3),
            (DIVPS, 1, 0, ZE, float("inf")),
            (MULPS, 3e38, 3e38, OE | PE, float("inf")),
            (MULPS, TINY, TINY, UE | PE, 0),
            (ADDPS, 1e-40, 0, DE, 1e-40),
        ],
    )
    def test_flags_and_results(
        self, rig: Rig, code: str, a: float, b: float, noted: int, result: float
    ) -> None:
        """11.5.2: any of the four numbers may have the exception."""
        state = run(rig, code, sse(single(1, 1, a, 1), single(1, 1, b, 1)))

        assert state.mxcsr == 0x1F80 | noted
        assert struct.unpack("<2f", struct.pack("<Q", state.xmm[0].high))[0] == pytest.approx(
            result
        )

    @pytest.mark.parametrize(
        ("code", "a", "b", "exception"),
        [
            (DIVPS, 1, 0, ZE),
            (DIVPS, 0, 0, IE),
            (DIVPS, 1, 3, PE),
            (MULPS, 3e38, 3e38, OE),
            (MULPS, TINY, TINY, UE),
            (MULPS, TINY, 2.0**-30, UE),  # tiny and exact: 11.5.2.5
            (ADDPS, 1e-40, 0, DE),
            (SQRTPS, 0, -1, IE),
            ("0f 2f c1", 1, NOT_A_NUMBER, IE),  # comiss
            ("0f 2d c1", 1, 3e38, IE),  # cvtps2pi
        ],
    )
    def test_XM(self, rig: Rig, code: str, a: float, b: float, exception: int) -> None:
        """11.5.3: a fault, before the destination is written."""
        before = sse(single(a, a, a, a), single(b, b, b, b), mxcsr=0x1F80 & ~(exception << 7))
        state = run(rig, code, before)

        assert (rig.reported, rig.stack(1)) == ([XM], [CODE])
        assert state.mxcsr & exception
        assert (state.xmm, state.fpu) == (before.xmm, before.fpu)

    def test_what_is_found_first_is_noted_alone(self, rig: Rig) -> None:
        """11.5.4: where one of the first three is not masked, the others are not looked for."""
        state = run(rig, DIVPS, sse(single(1, 1, 1, 1), single(3, 0, 1, 1), mxcsr=0x1D80))

        assert state.mxcsr == 0x1D80 | ZE

    def test_without_OSXMMEXCPT_it_is_UD(self, rig: Rig) -> None:
        run(rig, DIVPS, sse(single(1, 1, 1, 1), Xmm(), mxcsr=0x1D80, cr4=OSFXSR))

        assert rig.reported == [UD]

    @pytest.mark.parametrize(("mxcsr", "result"), [(0x1F80, TINY * 2.0**-30), (0x9F80, 0)])
    def test_flush_to_zero(self, rig: Rig, mxcsr: int, result: float) -> None:
        """11.5.2.5 and 10.2.3.3."""
        state = run(
            rig, "f3 0f 59 c1", sse(single(TINY, 0, 0, 0), single(2.0**-30, 0, 0, 0), mxcsr=mxcsr)
        )

        assert struct.unpack("<2f", struct.pack("<Q", state.xmm[0].low))[0] == result

    @pytest.mark.parametrize("code", ["0f ae 13", "0f ae 0b"])
    def test_reserved_bits_of_MXCSR(self, rig: Rig, code: str) -> None:
        """2A, LDMXCSR and FXRSTOR: #GP."""
        rig.memory.write(DATA, bytes(512))
        rig.memory.write(DATA + (24 if code.endswith("0b") else 0), struct.pack("<I", 0x1_0000))
        state = run(rig, code, sse())

        assert (rig.reported, state.mxcsr) == ([GP], 0x1F80)


class TestOverCode:
    """What an image is stored over is executed as it has become, be it the rest of the block."""

    @pytest.mark.parametrize(
        ("code", "offset"),
        [
            ("d9 33", 8),  # fnstenv [ebx]: the tag word
            ("dd 33", 28),  # fnsave [ebx]: ST(0)
            ("dd 33", 98),  # ST(7): the end
        ],
    )
    def test_in_the_same_block(self, rig: Rig, code: str, offset: int) -> None:
        """An INC EAX has become F4h, HLT.

        The page has been written to so often that the library looks which bytes of it are code.
        """
        often = (
            "b1 20"  # mov cl, 32
            "88 05 00 18 00 00"  # mov [1800h], al
            "fe c9"  # dec cl
            "75 f6"  # jnz: again
        )
        begin = CODE + len(bytes.fromhex(often + code))
        halts = X87(int.from_bytes(b"\xf4" * 8), 0x3FFF)
        state = protected_mode(cr0=NE, ebx=begin - offset, eax=0)
        state.fpu = [halts, ZERO] + [halts] * 6
        state.fpu_valid, state.fpu_control = 0b11, ALL_MASKED  # tags: empty but 01b and 00b
        rig.load(bytes.fromhex(often + code + "40 40 40 40 40 40 40 40 e6 80"), state)
        rig.run()

        assert (rig.state.eax, rig.state.eip) == (0, begin + 1)


class TestPages:
    """An image of the x87 that ends in a page that is not there leaves the x87 alone."""

    @pytest.mark.parametrize("code", ["d9 23", "dd 23", "d9 33", "dd 33", "0f ae 0b"])
    def test_a_fault_at_its_end(self, rig: Rig, code: str) -> None:
        """FLDENV, FRSTOR, FNSTENV, FNSAVE, FXRSTOR: nothing is loaded, masked or initialised."""
        edge = DATA + 0x1000
        rig.memory.write(TABLE + 4 * (edge >> 12), bytes(4))
        state = paging(cr0=0x8000_0031, ebx=edge - 16, cr4=OSFXSR)
        state.fpu_control, state.fpu_status = ALL_MASKED & ~PE, ZE
        after = run(rig, code, state)

        assert (rig.reported, after.cr2) == ([PF], edge)
        assert (after.fpu_control, after.fpu_status) == (ALL_MASKED & ~PE, ZE)
