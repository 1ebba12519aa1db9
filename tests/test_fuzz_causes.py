"""Each cause of `fuzz_causes.py` explains the case that is made for it, and nothing that is a bit else.

A case is some code and what its state has that is special.  It is run on QEMU and on our engine, as
random ones are; where they differ, it is for the cause that is named here.
"""

from __future__ import annotations

import contextlib
import os
import struct

import pytest
from fuzz_causes import EVERYTHING, Cause, causes
from fuzz_compare import compare, make_sure
from fuzz_findings import Finding, Instruction
from fuzz_format import (
    CODE_16,
    CODE_32,
    CR0_ET,
    CR0_NE,
    CR0_PE,
    CR0_PG,
    CR0_TS,
    CR4_OSFXSR,
    CR4_PAE,
    CR4_PSE,
    DATA_32,
    EFLAGS_ALWAYS,
    FLAG_FLOATING,
    GENERAL,
    IF,
    MODE_PAE,
    MODE_PAGING,
    MODE_REAL,
    MODE_UNREAL,
    PAGE,
    POOL_BYTES,
    RF,
    SANDBOX,
    STACK_16,
    TF,
    VM,
    Case,
)
from fuzz_runners import Ours, Pair, Qemu, Ran, qemu_problem
from rig import needs_native

from emu import attrs

CODE_AT, DATA_AT, STACK = 0x400, 0x1000, SANDBOX + 0x3800
DATA = SANDBOX + DATA_AT
PRESENT, ABSENT = 7, 6
PLACES = bytes(page << 6 | PRESENT for page in range(4)) + bytes(12)
FCW, MXCSR = 0x37F, 0x1F80
ZM, PM = 1 << 2, 1 << 5  # masks in FCW; in MXCSR seven bits further up

# What memory is filled with: INT3s, and in the second page a double with all its digits, FFFFFFFFh.
POOL = bytearray(b"\xcc" * POOL_BYTES)
POOL[DATA_AT : DATA_AT + 8] = struct.pack("<d", 1 / 3)
POOL[DATA_AT + 16 : DATA_AT + 20] = b"\xff" * 4
# ST(0) is 1, ST(1) is 3, ST(2) and all others are 0; XMM0 has ones, XMM1 zeros.
REGISTERS = b"".join(
    mantissa.to_bytes(8, "little") + exponent.to_bytes(8, "little")
    for mantissa, exponent in ((1 << 63, 0x3FFF), (3 << 62, 0x4000), *[(0, 0)] * 6)
)
REGISTERS = REGISTERS.ljust(128, b"\0") + struct.pack("<4f", 1, 1, 1, 1) + bytes(112)


def case(code: str, **changes: int) -> Case:
    """*code* in protected mode with what is special about its state; it ends with an INT3."""
    given = {"esi": DATA, "esp": STACK, "edi": DATA + 0x800} | changes
    mode = given.pop("mode", 0)
    real = bool(mode & MODE_REAL) or bool(given.get("eflags", 0) & VM)
    pages = {"cr0": CR0_PG, "cr4": CR4_PAE if mode & MODE_PAE else CR4_PSE}
    basic = {"cr0": CR0_ET | CR0_NE | (0 if mode & MODE_REAL else CR0_PE), "cr4": CR4_OSFXSR}
    for name in ("cr0", "cr4"):
        basic[name] |= given.pop(name, 0) | (pages[name] if mode & MODE_PAGING else 0)
    code_at = given.pop("code_at", CODE_AT)
    selector = given.pop("cs", SANDBOX >> 4 if real else CODE_32)
    data = {CODE_16: STACK_16, CODE_32: DATA_32}.get(selector, selector)
    absent = given.pop("absent", 0)
    window = PLACES.replace(bytes([absent << 6 | PRESENT]), bytes([absent << 6 | ABSENT]))
    general = [given.pop(name, 0) for name in GENERAL]
    if selector != CODE_32:
        general[4] = given.pop("sp", general[4] & 0xFFFF)
    return Case(
        mode=mode,
        code=bytes.fromhex(code).ljust(24, b"\xcc"),
        code_at=code_at,
        pool_at=0,
        general=general,
        eflags=EFLAGS_ALWAYS | IF | given.pop("eflags", 0),
        eip=code_at if selector != CODE_32 else SANDBOX + code_at,
        registers_at=POOL_BYTES,
        selectors=[selector, data, data, data, data, data],
        window=window if absent else PLACES,
        flags=FLAG_FLOATING if not basic["cr0"] & CR0_TS else 0,
        **basic,
        **given,
    )


EXAMPLES = {
    Cause.RF: case("0f 0b"),  # ud2
    Cause.RF_KEPT: case("90", eflags=RF),
    Cause.PDPTE: case("90", mode=MODE_PAGING | MODE_PAE),
    Cause.INT1: case("f1"),
    Cause.GROUP_11: case("c6 c8 00"),
    Cause.LOCK: case("f0 89 06"),  # mov [esi], eax
    Cause.LTR_NULL: case("0f 00 d8"),  # ltr ax
    Cause.EMMS: case("66 0f 77"),
    Cause.STEPS: case("fb 90 90", steps=1, eflags=TF),  # sti
    Cause.PAUSE: case("f3 90 90 90", steps=1, eflags=TF),
    Cause.SHADOW: case("68 02 01 00 00 9d fb 90 90"),  # push 102h; popfd; sti
    Cause.CMPXCHG8B: case("39 f0 0f c7 0e"),  # cmp eax, esi; cmpxchg8b [esi]
    Cause.REAL_STACK: case("90", mode=MODE_REAL | MODE_UNREAL, sp=0x1_3000),
    Cause.FCOMI: case("db f1", eflags=0x890),
    Cause.UNMASKED: case("0f 5e c1", mxcsr=MXCSR & ~(ZM << 7)),  # divps xmm0, xmm1
    Cause.PENDING: case("d8 f1 d9 e0", fcw=FCW & ~PM),  # fdiv st0, st1; fchs
    Cause.HELD_BACK: case("d8 f2", fcw=FCW & ~ZM),  # fdiv st0, st2
    Cause.STACK_FAULT: case("d9 e8"),  # fld1
    Cause.PRECISION: case("dc 16", fcw=FCW & ~0x300),  # fcom qword [esi]
    Cause.TRIGONOMETRIC: case("d9 fe"),  # fsin
    Cause.STORED: case("d8 f1 df e0"),  # fdiv st0, st1; fnstsw ax
    Cause.NOT_TEMPORAL: case("0f e7 c0"),
    Cause.LATER: case("66 0f 58 c1"),  # addpd xmm0, xmm1
    Cause.MMX_FIRST: case("d9 f7 0f 6f 06", mode=MODE_PAGING, absent=1),  # fincstp; movq mm0, [esi]
    Cause.UNCHECKED: case("0f 14 46 01"),  # unpcklps xmm0, [esi + 1]
    Cause.LDMXCSR: case("0f ae 56 10"),  # ldmxcsr [esi + 16]
    Cause.IN_PART: case("dd 26", mode=MODE_PAGING, absent=2, esi=DATA + PAGE - 40),  # frstor
    Cause.NUMBERS: case("d8 f1"),  # fdiv st0, st1
    Cause.DOUBLE_SHIFT: case("0f ac f0 13", eax=0x3BAB_6C39, esi=0x587F_D280),  # shrd eax, esi, 19
    Cause.TWO_REPEATS: case("f2 f3 a6", ecx=8),  # cmpsb
    Cause.FBLD: case("df 26", mode=MODE_PAGING, absent=1),
    Cause.HOLE: case("ff e0", eax=0x200_0000),  # jmp eax
    Cause.HOLE_16: case("66 ff e0", mode=MODE_REAL, eax=0x200_0000),
    Cause.ROM: case("90", esp=0xFFFF_8000),
    Cause.VIDEO: case("ff e0", eax=0xA_0000),
    Cause.UNREADABLE: case("f0 89 04", cs=CODE_16, sp=10),
    Cause.FRAME_ON_CODE: case("bc 0c 04 04 00 f0 89 06"),
}
NAMES = list(EXAMPLES)
# Neither is wrong, or what is known is where it was.
SYMMETRICAL = {
    Cause.CMPXCHG8B,
    Cause.DOUBLE_SHIFT,
    Cause.FRAME_ON_CODE,
    Cause.NUMBERS,
    Cause.PRECISION,
    Cause.REAL_STACK,
    Cause.ROM,
    Cause.STORED,
    Cause.TRIGONOMETRIC,
    Cause.TWO_REPEATS,
    Cause.UNREADABLE,
    Cause.VIDEO,
}
OF_ANY_INSTRUCTION = {
    Cause.FRAME_ON_CODE,
    Cause.HOLE,
    Cause.HOLE_16,
    Cause.NUMBERS,
    Cause.PDPTE,
    Cause.REAL_STACK,
    Cause.RF,
    Cause.RF_KEPT,
    Cause.ROM,
    Cause.UNREADABLE,
    Cause.VIDEO,
}
# Random code has come to these, or the host's time has.
WITHOUT = {Cause.BEYOND, Cause.BEYOND_REAL, Cause.JUMP_BELOW, Cause.NM_FIRST, Cause.RF_FRAME}
WITHOUT |= {Cause.ROTATE, Cause.TIME}


class Examples:
    """What `compare` takes them from."""

    pool = bytes(POOL) + REGISTERS

    def case(self, number: int) -> Case:
        return EXAMPLES[NAMES[number]]


@pytest.fixture(scope="module")
def findings() -> dict[Cause, Finding]:
    """All examples, run once."""
    if problem := qemu_problem():
        if os.environ.get("EMU_REQUIRE_GUESTS") == "1":
            pytest.fail(problem)
        pytest.skip(problem)
    with contextlib.closing(Qemu()) as qemu, contextlib.closing(Ours("native")) as ours:
        pair = Pair(qemu, ours)
        told, untold, _ = compare(range(len(NAMES)), Examples(), pair)
        told, untold = make_sure(told, untold, pair, Examples.pool)
    assert not [NAMES[finding.number].name for finding in untold]
    return {NAMES[finding.number]: finding for finding in told}


def turned(finding: Finding) -> Finding:
    """QEMU has done what ours has, and the other way round."""
    parting = finding.parting
    if parting is not None:
        parting = attrs.evolve(parting, theirs=parting.ours, ours=parting.theirs)
    return attrs.evolve(finding, theirs=finding.ours, ours=finding.theirs, parting=parting)


def without_the_instruction(finding: Finding) -> Finding:
    """There are NOPs in memory, and in the code."""
    parting = finding.parting
    if parting is not None:
        parting = attrs.evolve(parting, instruction=Instruction.parse(b"\x90" * 15))
    blank = bytes([0x90]) * len(finding.theirs.sandbox)

    def with_nops(ran: Ran) -> Ran:
        return Ran(ran.record, blank + ran.image[len(blank) :] if ran.image else b"")

    code = attrs.evolve(finding.case, code=b"\x90" * 24)
    return attrs.evolve(
        finding,
        case=code,
        theirs=with_nops(finding.theirs),
        ours=with_nops(finding.ours),
        parting=parting,
    )


def explains(cause: Cause, finding: Finding) -> bool:
    """It has a part in what is explained of *finding*."""
    explained = cause.explains(finding)
    if finding.parting and cause.place and cause.place(finding) != finding.parting.linear:
        return False
    return any(explained.get(name, 0) & bits for name, bits in finding.different.items())


def test_there_is_an_example_of_each() -> None:
    assert set(EXAMPLES) | WITHOUT == set(Cause)


@needs_native
@pytest.mark.parametrize("cause", NAMES, ids=lambda cause: cause.name)
class TestEach:
    def test_it_is_found(self, findings: dict[Cause, Finding], cause: Cause) -> None:
        assert cause in causes(findings[cause])

    def test_not_the_other_way_round(self, findings: dict[Cause, Finding], cause: Cause) -> None:
        if cause in SYMMETRICAL:
            return
        assert not explains(cause, turned(findings[cause]))

    def test_not_of_another_instruction(self, findings: dict[Cause, Finding], cause: Cause) -> None:
        if cause in OF_ANY_INSTRUCTION:
            return
        assert not explains(cause, without_the_instruction(findings[cause]))

    def test_nothing_else_may_differ(self, findings: dict[Cause, Finding], cause: Cause) -> None:
        """But where what follows is anything: then it is known at which instruction they part."""
        finding = findings[cause]
        explained = [each.explains(finding) for each in causes(finding)]
        if any(each is EVERYTHING for each in explained):
            return
        names = {"eax", "esi", "eip", "error", "ss", "dr7", "memory", "steps"}
        for name in names.difference(*explained):
            value = getattr(finding.ours.record, name) ^ 1
            ours = Ran(attrs.evolve(finding.ours.record, **{name: value}), finding.ours.image)
            assert not causes(attrs.evolve(finding, ours=ours))
