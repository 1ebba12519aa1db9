"""Which MMX and SSE instructions there are, and where their operands may be: SDM volume 2, appendix A.

What they compute is test_floating.py's, and test_floating_host.py's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from rig import CODE, DATA, ENGINES, HANDLERS, TABLE, Rig, needs_corrections, paging, protected_mode

from emu.cpu.models import Model
from emu.cpu.state import X87, State, Xmm
from emu.cpu.vectors import GP, MF, PF, UD
from emu.memory import PAGE_BYTES

pytestmark = needs_corrections

NM = 7
OSFXSR = 1 << 9
CR0_NE, CR0_TS = 1 << 5, 1 << 3
NOWHERE = 0x30_0000  # no page
ONE = 0x3F80_0000
PENTIUM, PENTIUM3, COREDUO = Model.PENTIUM, Model.PENTIUM3, Model.COREDUO


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(engine: str) -> Iterator[Rig]:
    rig = Rig(engine)
    yield rig
    rig.close()


def run(rig: Rig, code: str, **registers: object) -> State:
    """Run *code*, then halt; EBX is a place of 16 bytes that is aligned."""
    given = {"ebx": DATA, "cr4": OSFXSR if rig.model is not PENTIUM else 0}
    rig.load(bytes.fromhex(code) + b"\xf4", protected_mode(**(given | registers)))
    rig.run()
    return rig.state


def run_on(engine: str, model: Model, code: str) -> list[int]:
    rig = Rig(engine, model)
    run(rig, code)
    rig.close()
    return rig.reported


class TestUndefined:
    @pytest.mark.parametrize(
        ("model", "code"),
        [
            pytest.param(PENTIUM3, "f3 0f 28 03", id="MOVAPS with F3"),
            pytest.param(PENTIUM3, "f2 0f 60 c1", id="PUNPCKLBW with F2"),
            pytest.param(PENTIUM3, "f3 0f 70 c1 00", id="PSHUFHW, which is SSE2's"),
            pytest.param(PENTIUM3, "66 0f 58 c1", id="ADDPD, which is SSE2's"),
            pytest.param(PENTIUM3, "66 0f 60 c1", id="PUNPCKLBW of XMM, which is SSE2's"),
            pytest.param(PENTIUM3, "0f 5a c1", id="CVTPS2PD, which is SSE2's"),
            pytest.param(PENTIUM3, "0f d4 c1", id="PADDQ, which is SSE2's"),
            pytest.param(PENTIUM3, "0f c3 03", id="MOVNTI, which is SSE2's"),
            pytest.param(PENTIUM3, "f2 0f 10 03", id="MOVSD, which is SSE2's"),
            pytest.param(PENTIUM3, "66 f2 0f 10 03", id="the same, with 66h as well"),
            pytest.param(PENTIUM3, "0f 13 c1", id="MOVLPS of two registers"),
            pytest.param(PENTIUM3, "0f 17 c1", id="MOVHPS of two registers"),
            pytest.param(PENTIUM3, "0f 2b c1", id="MOVNTPS to a register"),
            pytest.param(PENTIUM3, "0f e7 c1", id="MOVNTQ to a register"),
            pytest.param(PENTIUM3, "0f 50 03", id="MOVMSKPS of memory"),
            pytest.param(PENTIUM3, "0f d7 03", id="PMOVMSKB of memory"),
            pytest.param(PENTIUM3, "0f c5 03 00", id="PEXTRW of memory"),
            pytest.param(PENTIUM3, "0f f7 03", id="MASKMOVQ of memory"),
            pytest.param(PENTIUM3, "0f 71 13 01", id="PSRLW of memory by a constant"),
            pytest.param(PENTIUM3, "0f 71 c1 01", id="0F 71 /0"),
            pytest.param(PENTIUM3, "0f 73 d9 01", id="0F 73 /3 without 66h"),
            pytest.param(PENTIUM3, "0f 0f c1 9e", id="PFADD, another maker's"),
            pytest.param(PENTIUM3, "0f 38 00 c1", id="PSHUFB, SSSE3's"),
            pytest.param(COREDUO, "0f 38 00 c1", id="PSHUFB, and not a Core Duo's"),
            pytest.param(COREDUO, "66 0f 3a 0f c1 01", id="PALIGNR, neither"),
            pytest.param(COREDUO, "66 0f 79 c1", id="EXTRQ, another maker's"),
            pytest.param(COREDUO, "66 0f 12 c1", id="MOVLPD of two registers"),
            pytest.param(COREDUO, "f2 0f f0 c1", id="LDDQU of a register"),
            pytest.param(COREDUO, "f2 0f d6 03", id="MOVDQ2Q of memory"),
            pytest.param(COREDUO, "0f 7c c1", id="HADDPS without a prefix"),
            pytest.param(COREDUO, "66 0f 72 d9 01", id="66 0F 72 /3"),
            pytest.param(PENTIUM, "0f 70 c1 00", id="PSHUFW on a Pentium"),
            pytest.param(PENTIUM, "0f ea c1", id="PMINSW on a Pentium"),
            pytest.param(Model.I486, "0f 6f 03", id="MOVQ on a 486"),
            pytest.param(Model.I486, "0f fc c1", id="PADDB on a 486"),
        ],
    )
    def test_is_refused(self, engine: str, model: Model, code: str) -> None:
        assert run_on(engine, model, code) == [UD]

    @pytest.mark.parametrize(
        ("model", "code"),
        [
            pytest.param(PENTIUM3, "f3 0f 10 03", id="MOVSS"),
            pytest.param(PENTIUM3, "0f 12 c1", id="MOVHLPS"),
            pytest.param(PENTIUM3, "0f 2b 03", id="MOVNTPS"),
            pytest.param(PENTIUM3, "0f 50 c1", id="MOVMSKPS"),
            pytest.param(PENTIUM3, "0f 70 c1 00", id="PSHUFW"),
            pytest.param(PENTIUM3, "0f 73 d1 01", id="PSRLQ"),
            pytest.param(PENTIUM3, "0f ea c1", id="PMINSW"),
            pytest.param(COREDUO, "66 0f 58 c1", id="ADDPD"),
            pytest.param(COREDUO, "0f c3 03", id="MOVNTI"),
            pytest.param(COREDUO, "f3 0f d6 c1", id="MOVQ2DQ"),
            pytest.param(COREDUO, "66 0f 73 d9 01", id="PSRLDQ"),
            pytest.param(COREDUO, "f2 0f 7c c1", id="HADDPS"),
            pytest.param(COREDUO, "f2 0f f0 03", id="LDDQU"),
            pytest.param(PENTIUM, "0f 6f 03", id="MOVQ"),
            pytest.param(PENTIUM, "0f fc c1", id="PADDB"),
        ],
    )
    def test_others_are_not(self, engine: str, model: Model, code: str) -> None:
        assert run_on(engine, model, code) == []

    def test_nothing_has_happened(self, rig: Rig) -> None:
        """PMOVMSKB of memory: not even MMX has been entered."""
        state = run(rig, "0f d7 03", fpu_status=3 << 11, fpu_valid=0)

        assert rig.reported == [UD]
        assert rig.stack(1) == [CODE]
        assert (state.fpu_status, state.fpu_valid) == (3 << 11, 0)

    def test_it_comes_before_NM(self, rig: Rig) -> None:
        run(rig, "66 0f 58 c1", cr0=0x11 | CR0_TS)

        assert rig.reported == [UD]

    def test_a_defined_one_is_NM(self, rig: Rig) -> None:
        run(rig, "0f 58 c1", cr0=0x11 | CR0_TS)

        assert rig.reported == [NM]

    def test_what_it_was_undefined_by_may_be_changed(self, rig: Rig) -> None:
        """Its ModRM is part of its block, though the translator has not seen it."""
        handler = bytes.fromhex(
            f"c6 05 {struct.pack('<I', CODE + 2).hex()} c1"  # mov byte [CODE + 2], c1h
            "80 64 24 0a fe"  # and byte [esp + 10], 0feh: as the block has it, without RF
            "cf"  # iret
        )
        rig.memory.write(HANDLERS + UD * 8, handler)

        run(rig, "0f 50 03")  # movmskps eax, [ebx]; then it has a register

        assert rig.reported == []
        assert rig.state.eip == CODE + 4

    def test_the_last_of_F2_and_F3_counts_and_66_does_not(self, rig: Rig) -> None:
        """MOVSS, which leaves the upper part clear."""
        rig.memory.write(DATA, struct.pack("<4I", 1, 2, 3, 4))

        state = run(rig, "66 f2 2e f3 0f 10 03", xmm=[Xmm(5, 6), *[Xmm()] * 7])

        assert rig.reported == []
        assert state.xmm[0] == Xmm(1, 0)


class TestPredicates:
    @pytest.mark.parametrize(
        "operand", ["03", "43 00", "83 00 00 00 00", "04 23", "84 23 00 00 00 00", "05 00 20 00 00"]
    )
    def test_the_upper_bits_are_not_looked_at(self, rig: Rig, operand: str) -> None:
        """CMPPS with Ah is CMPLEPS, wherever its constant is."""
        rig.memory.write(DATA, struct.pack("<4f", 1, 2, 0, 4))
        one = ONE << 32 | ONE

        state = run(rig, f"0f c2 {operand} 0a", xmm=[Xmm(one, one), *[Xmm()] * 7])

        assert rig.reported == []
        assert state.xmm[0] == Xmm((1 << 64) - 1, 0xFFFF_FFFF << 32)


class TestAlignment:
    @pytest.mark.parametrize(
        ("model", "code"),
        [
            pytest.param(PENTIUM3, "0f 28 43 {}", id="MOVAPS, a load"),
            pytest.param(PENTIUM3, "0f 29 43 {}", id="MOVAPS, a store"),
            pytest.param(PENTIUM3, "0f 2b 43 {}", id="MOVNTPS"),
            pytest.param(PENTIUM3, "0f 58 43 {}", id="ADDPS"),
            pytest.param(PENTIUM3, "0f 14 43 {}", id="UNPCKLPS"),
            pytest.param(PENTIUM3, "0f 54 43 {}", id="ANDPS"),
            pytest.param(PENTIUM3, "0f c2 43 {} 01", id="CMPPS"),
            pytest.param(PENTIUM3, "0f c6 43 {} 01", id="SHUFPS"),
            pytest.param(COREDUO, "66 0f 6f 43 {}", id="MOVDQA, a load"),
            pytest.param(COREDUO, "66 0f 7f 43 {}", id="MOVDQA, a store"),
            pytest.param(COREDUO, "66 0f fc 43 {}", id="PADDB"),
            pytest.param(COREDUO, "f3 0f 70 43 {} 00", id="PSHUFHW"),
            pytest.param(COREDUO, "66 0f 2d 43 {}", id="CVTPD2PI"),
            pytest.param(COREDUO, "f2 0f 7c 43 {}", id="HADDPS"),
        ],
    )
    def test_an_operand_that_is_not_aligned(self, engine: str, model: Model, code: str) -> None:
        rig = Rig(engine, model)
        rig.memory.write(DATA, bytes(range(64)))
        registers = [Xmm(number, number) for number in range(8)]
        for displacement in range(1, 16):
            state = run(rig, "90" + code.format(f"{displacement:02x}"), xmm=registers)

            assert rig.reported == [GP] * displacement
            assert rig.stack(2) == [0, CODE + 1]
            assert state.xmm == registers
            assert rig.memory.read(DATA, 64) == bytes(range(64))
        rig.close()

    @pytest.mark.parametrize("code", ["0f 28 43 10", "0f 29 43 10", "0f 58 43 10", "0f 2b 43 10"])
    def test_one_that_is(self, rig: Rig, code: str) -> None:
        run(rig, code)

        assert rig.reported == []

    @pytest.mark.parametrize(
        ("model", "code"),
        [
            pytest.param(PENTIUM3, "0f 10 43 01", id="MOVUPS"),
            pytest.param(PENTIUM3, "0f 11 43 01", id="MOVUPS, a store"),
            pytest.param(PENTIUM3, "0f 12 43 01", id="MOVLPS"),
            pytest.param(PENTIUM3, "0f 16 43 01", id="MOVHPS"),
            pytest.param(PENTIUM3, "f3 0f 58 43 01", id="ADDSS"),
            pytest.param(PENTIUM3, "0f 2f 43 01", id="COMISS"),
            pytest.param(PENTIUM3, "0f 2d 43 01", id="CVTPS2PI"),
            pytest.param(PENTIUM3, "0f fc 43 01", id="PADDB of MMX"),
            pytest.param(PENTIUM3, "0f e7 43 01", id="MOVNTQ"),
            pytest.param(COREDUO, "f3 0f 6f 43 01", id="MOVDQU"),
            pytest.param(COREDUO, "0f 5a 43 01", id="CVTPS2PD"),
            pytest.param(COREDUO, "f3 0f e6 43 01", id="CVTDQ2PD"),
            pytest.param(COREDUO, "f2 0f f0 43 01", id="LDDQU"),
            pytest.param(COREDUO, "66 0f d6 43 01", id="MOVQ"),
        ],
    )
    def test_some_need_none(self, engine: str, model: Model, code: str) -> None:
        assert run_on(engine, model, code) == []

    def test_it_is_the_linear_address_that_counts(self, rig: Rig) -> None:
        """The segment's base is part of it."""
        state = protected_mode(ebx=DATA, cr4=OSFXSR)
        state.ds.base = 8
        rig.load(bytes.fromhex("0f 28 03 f4"), state)

        rig.run()

        assert rig.reported == [GP]

    def test_it_comes_before_a_page_fault(self, rig: Rig) -> None:
        code = bytes.fromhex("0f 28 03 f4")
        rig.load(code, paging(ebx=NOWHERE + 8, cr4=OSFXSR))
        rig.run()
        rig.load(code, paging(ebx=NOWHERE, cr4=OSFXSR))
        rig.run()

        assert rig.reported == [GP, PF]


class TestMMX:
    """TOP is 0 and no register is empty after the first MMX instruction, and not before it is done."""

    MEMORY = ("0f fc 03", "0f 6f 03", "0f 7f 03", "0f 6e 03", "0f 2a 03", "0f 2d 03", "0f 2c 03")

    @pytest.mark.parametrize("code", MEMORY)
    def test_an_operand_that_faults(self, rig: Rig, code: str) -> None:
        state = paging(ebx=DATA, cr4=OSFXSR, fpu_status=5 << 11, fpu_valid=0x0F)
        rig.memory.write(TABLE + DATA // PAGE_BYTES * 4, bytes(4))
        rig.load(bytes.fromhex(code), state)

        rig.run()

        assert rig.reported == [PF]
        assert rig.state.fpu_status >> 11 & 7 == 5
        assert rig.state.fpu_valid == 0x0F

    @pytest.mark.parametrize("code", [*MEMORY, "0f fc c1", "0f 2d c1"])
    def test_one_that_does_not(self, rig: Rig, code: str) -> None:
        state = run(rig, code, fpu_status=5 << 11, fpu_valid=0x0F)

        assert rig.reported == []
        assert state.fpu_status >> 11 & 7 == 0
        assert state.fpu_valid == 0xFF

    @pytest.mark.parametrize("code", MEMORY)
    def test_an_x87_error_comes_before_the_fault(self, rig: Rig, code: str) -> None:
        registers = {"fpu_status": 5 << 11 | 0x8081, "fpu_control": 0x37E, "fpu": [X87()] * 8}
        state = paging(ebx=NOWHERE, cr4=OSFXSR, **registers)
        state.cr0 |= CR0_NE
        rig.load(bytes.fromhex(code), state)

        rig.run()

        assert rig.reported == [MF]
