"""The processor's architectural state, declared once.

All that a save must remember of an IA-32 processor, by the manual's names (Intel SDM volume
3A, chapters 2 and 3; volume 1, chapter 8 for the x87).  What the engine derives from it
(translator flags, TLB, translated code) is in no save: it is made anew (exchange.py).

On the wire it is QEMU's ``cpu_common`` and ``cpu`` (the i386 target's layout), with
``emu/cpu`` for what those have no room for.

Not modelled, and so at fixed values in ``cpu``: SMM, SVM, MTRRs, machine check, AVX, the
performance counters and the local APIC; CPUID offers none of them (models.py).  The MSRs of
some of these hold what is written to them all the same, and are in ``emu/cpu``.  Of SYSENTER_ESP and
SYSENTER_EIP the low half is saved, of FS_BASE and GS_BASE what fits in a segment register.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from emu import attrs
from emu.cpu import layout
from emu.cpu.bits import (
    CR0_EM,
    CR0_MP,
    CR0_PE,
    CR0_TS,
    CR4_OSFXSR,
    EFER_NXE,
    EFER_SCE,
    EFLAGS_ALWAYS_1,
    EFLAGS_VM,
)
from emu.savevm import vmstate
from emu.savevm.codecs import Unsigned
from emu.savevm.vmstate import (
    Constant,
    Saved,
    Section,
    Struct,
    Subsection,
    UnfitError,
    Values,
    array,
    flag,
    i32,
    record,
    records,
    reg,
    several,
    u16,
    u32,
    u64,
)

CR0_RESET = 0x6000_0010  # CD, NW, ET
DR6_RESET = 0xFFFF_0FF0
DR7_RESET = DR7_ALWAYS_1 = 0x400
EFER_MOST = EFER_SCE | EFER_NXE  # no model has long mode
PAT_RESET = 0x0007_0406_0007_0406
MXCSR_RESET = 0x1F80
FPU_CONTROL_RESET = 0x37F  # as FNINIT leaves it, and QEMU's reset; the SDM's reset has 40h
XCR0_RESET = 1

DESCRIPTOR_B = 1 << 22  # in the second dword: a 32-bit segment
DESCRIPTOR_DPL = 3 << 13
DESCRIPTOR_P = 1 << 15
DATA_SEGMENT = 0x9300  # present, writable data, accessed
CODE_SEGMENT = 0x9B00  # present, readable code, accessed
LDT_SYSTEM = 0x8200
AVAILABLE_TSS = 0x8900
TSS_BUSY = 1 << 9
TSS_TYPES = (0x100, 0x900)  # 16 and 32 bits, in the descriptor's second dword
DESCRIPTOR_TYPE = 0xF00


@attrs.define
class Segment:
    """A segment register: the visible selector, and the descriptor cached behind it."""

    selector: int = reg(bits=16, doc="the visible part")
    base: int = reg(bits=32, doc="linear base address")
    limit: int = reg(bits=32, reset=0xFFFF, doc="limit in bytes, scaled")
    flags: int = reg(bits=32, doc="the descriptor's second dword, masked with 00F0FF00")


@attrs.define
class X87:
    """One x87 data register, by its physical number."""

    mantissa: int = reg(bits=64, doc="significand")
    exponent: int = reg(bits=16, doc="sign and exponent")


@attrs.define
class Xmm:
    """One SSE register."""

    low: int = reg(bits=64, doc="bits 63-0")
    high: int = reg(bits=64, doc="bits 127-64")


def _segment(flags: int, selector: int = 0, base: int = 0) -> Any:
    """A segment register's field; what it holds after RESET# is in SDM 3A, table 9-1."""
    return record(
        Segment,
        reset=lambda: Segment(selector=selector, base=base, flags=flags),
        doc="a segment register with its cached descriptor",
    )


def _msrs() -> Any:
    """The MSRs that CPUID offers nobody, as they are at reset."""
    return array(
        len(layout.MSRS),
        64,
        reset=[(1 << 64) - 1 if each in layout.MSRS_ALL_ONES else 0 for each in layout.MSRS],
        doc="the MSRs that CPUID offers nobody, in the order of layout.MSRS",
    )


@attrs.define
class State:
    """One processor, as RESET# leaves it (SDM volume 3A, table 9-1)."""

    eax: int = reg(bits=32, doc="EAX")
    ecx: int = reg(bits=32, doc="ECX")
    edx: int = reg(bits=32, doc="EDX; the model's signature after a reset")
    ebx: int = reg(bits=32, doc="EBX")
    esp: int = reg(bits=32, doc="ESP")
    ebp: int = reg(bits=32, doc="EBP")
    esi: int = reg(bits=32, doc="ESI")
    edi: int = reg(bits=32, doc="EDI")
    eip: int = reg(bits=32, reset=0xFFF0, doc="EIP")
    eflags: int = reg(bits=32, reset=EFLAGS_ALWAYS_1, doc="EFLAGS, every flag in its place")
    es: Segment = _segment(DATA_SEGMENT)
    cs: Segment = _segment(CODE_SEGMENT, selector=0xF000, base=0xFFFF_0000)
    ss: Segment = _segment(DATA_SEGMENT)
    ds: Segment = _segment(DATA_SEGMENT)
    fs: Segment = _segment(DATA_SEGMENT)
    gs: Segment = _segment(DATA_SEGMENT)
    ldtr: Segment = _segment(LDT_SYSTEM)
    tr: Segment = _segment(AVAILABLE_TSS)  # as the engine has it: busy is told in memory
    gdtr: Segment = _segment(0)
    idtr: Segment = _segment(0)
    cr0: int = reg(bits=32, reset=CR0_RESET, doc="CR0")
    cr2: int = reg(bits=32, doc="CR2: the linear address of the last page fault")
    cr3: int = reg(bits=32, doc="CR3: the page directory's physical address")
    cr4: int = reg(bits=32, doc="CR4")
    dr0: int = reg(bits=32, doc="DR0")
    dr1: int = reg(bits=32, doc="DR1")
    dr2: int = reg(bits=32, doc="DR2")
    dr3: int = reg(bits=32, doc="DR3")
    dr6: int = reg(bits=32, reset=DR6_RESET, doc="DR6")
    dr7: int = reg(bits=32, reset=DR7_RESET, doc="DR7")
    fpu_control: int = reg(bits=16, reset=FPU_CONTROL_RESET, doc="x87 control word")
    fpu_status: int = reg(bits=16, doc="x87 status word, TOP in its place")
    fpu_valid: int = reg(bits=8, doc="bit i: physical x87 register i is not empty")
    fpu: list[X87] = records(X87, 8, doc="x87 data registers, by physical number")
    fpu_opcode: int = reg(bits=16, doc="the last x87 instruction's opcode")
    fpu_ip: int = reg(bits=32, doc="the last x87 instruction's offset")
    fpu_cs: int = reg(bits=16, doc="and its code segment")
    fpu_dp: int = reg(bits=32, doc="its operand's offset")
    fpu_ds: int = reg(bits=16, doc="and its data segment")
    mxcsr: int = reg(bits=32, reset=MXCSR_RESET, doc="SSE control and status")
    xmm: list[Xmm] = records(Xmm, 8, doc="SSE registers")
    sysenter_cs: int = reg(bits=32, doc="MSR 174h")
    sysenter_esp: int = reg(bits=32, doc="MSR 175h")
    sysenter_eip: int = reg(bits=32, doc="MSR 176h")
    pat: int = reg(bits=64, reset=PAT_RESET, doc="MSR 277h, page attributes")
    efer: int = reg(bits=64, doc="MSR C0000080h, extended features")
    tsc_aux: int = reg(bits=64, doc="MSR C0000103h")
    msrs: list[int] = _msrs()
    a20: bool = flag(reset=True, doc="address line 20 is not held low")
    halted: bool = flag(doc="a HLT waits for an interrupt")
    intr: bool = flag(doc="the level of the INTR pin")
    interrupt_shadow: bool = flag(doc="STI or MOV SS holds interrupts off for one instruction")
    ferr: bool = flag(doc="FERR# is low: an x87 error was met with CR0.NE clear, and is there yet")
    ignne: bool = flag(doc="IGNNE# is low: the x87 error is ignored until it is gone")


GENERAL = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")  # in the engine's order
SYSTEM_SEGMENTS = (("ldtr", "ldt"), ("tr", "tr"), ("gdtr", "gdt"), ("idtr", "idt"))
DEBUG = (("dr0", 0), ("dr1", 1), ("dr2", 2), ("dr3", 3), ("dr6", 6), ("dr7", 7))
CONTROL = (("cr0", 0), ("cr2", 2), ("cr3", 3), ("cr4", 4))
A20_BIT = 1 << 20
FPU_TOP_SHIFT = 11
FPU_TOP = 7 << FPU_TOP_SHIFT
NO_EXCEPTION = -1


def describe(cpu: State) -> str:
    """The registers as a table of a few lines, for people."""
    general = " ".join(
        f"{name.upper()}={getattr(cpu, name):08x}"
        for name in ("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp")
    )
    segments = " ".join(
        f"{name.upper()}={getattr(cpu, name).selector:04x}:{getattr(cpu, name).base:08x}"
        for name in ("cs", "ss", "ds", "es", "fs", "gs")
    )
    control = f"CR0={cpu.cr0:08x} CR2={cpu.cr2:08x} CR3={cpu.cr3:08x} CR4={cpu.cr4:08x}"
    return f"EIP={cpu.eip:08x} EFL={cpu.eflags:08x} {control}\n{general}\n{segments}"


def translator_flags(state: State) -> int:
    """The mode bits that the engine's translator goes by, which all follow from the State.

    Those that EFLAGS has (TF, IOPL, RF, VM, AC) are not among them: the engine adds them itself
    at each block, and would never take back what it found here.
    """
    protected = bool(state.cr0 & CR0_PE)
    virtual_8086 = bool(state.eflags & EFLAGS_VM)
    if not protected:
        privilege = 0
    elif virtual_8086:
        privilege = 3
    else:
        privilege = (state.ss.flags & DESCRIPTOR_DPL) >> 13  # CPL is SS's DPL: SDM 3A 5.5
    big_code = bool(state.cs.flags & DESCRIPTOR_B)
    bases = state.ds.base | state.es.base | state.ss.base
    flags = privilege
    for condition, bit in (
        (state.interrupt_shadow, layout.HF_INHIBIT_IRQ),
        (big_code, layout.HF_CS32),
        (state.ss.flags & DESCRIPTOR_B, layout.HF_SS32),
        (bases or virtual_8086 or not (protected and big_code), layout.HF_ADDSEG),
        (protected, layout.HF_PE),
        (state.cr0 & CR0_MP, layout.HF_MP),
        (state.cr0 & CR0_EM, layout.HF_EM),
        (state.cr0 & CR0_TS, layout.HF_TS),
        (state.cr4 & CR4_OSFXSR, layout.HF_OSFXSR),
    ):
        if condition:
            flags |= bit
    return flags


def task_register(tr: Segment) -> Segment:
    """*tr* as the engine has to have it, which aborts the process where it meets another.

    Busy is told in memory alone; and a null TR, which hardware would not have loaded, is a TSS
    with no room in it, so that whoever looks for a stack there gets a #TS.
    """
    if tr.flags & DESCRIPTOR_P:
        return attrs.evolve(tr, flags=tr.flags & ~TSS_BUSY)
    return attrs.evolve(tr, limit=0, flags=AVAILABLE_TSS)


# ==== on the wire: QEMU's cpu_common and cpu ==============================================

INTERRUPT_HARD = 2  # the bit of QEMU's interrupt_request that says INTR is high
VECTORS = 256  # exception_index is one of these, or says why its loop has ended


def _never(_state: State) -> bool:
    return False


COMMON = Section(
    "cpu_common",
    1,
    (u32("halted"), u32("interrupt_request")),
    encode=lambda state: {
        "halted": int(state.halted),
        "interrupt_request": INTERRUPT_HARD if state.intr else 0,
    },
    subsections=(
        Subsection("cpu_common/exception_index", 1, (i32("exception_index"),), _never),
        Subsection("cpu_common/crash_occurred", 1, (Constant("crash_occurred", b"\0"),), _never),
    ),
)

_X87 = Struct((u64("mantissa"), u16("exponent")), X87)
_XMM = Struct((u64("low"), u64("high")), Xmm)
_SEGMENT = Struct((u32("selector"), u32("base"), u32("limit"), u32("flags")), Segment)
_YMM_HIGH = 8 * 16  # AVX's upper halves: no model has them

CPU = Section(
    "cpu",
    12,
    (
        *(u32(name) for name in GENERAL),
        u32("eip"),
        u32("eflags"),
        u32("hflags"),
        u16("fpu_control"),
        u16("fpu_status"),
        u16("fpu_valid"),
        Constant("fpregs_format", bytes(2)),
        several("fpu", 8, _X87),
        *(vmstate.Field(name, _SEGMENT) for name in SEGMENTS),
        *(vmstate.Field(name, _SEGMENT) for name, _ in SYSTEM_SEGMENTS),
        u32("sysenter_cs"),
        u32("sysenter_esp"),
        u32("sysenter_eip"),
        u32("cr0"),
        u32("cr2"),
        u32("cr3"),
        u32("cr4"),
        several("dr", 8, Unsigned(4)),
        i32("a20_mask"),
        u32("mxcsr"),
        several("xmm", 8, _XMM),
        Constant("smbase", struct.pack(">I", 0x3_0000)),
        u64("pat"),
        Constant("hflags2", struct.pack(">I", 0x101)),
        # SVM: vm_hsave, vm_vmcb, tsc_offset, intercept; four 16-bit intercepts, one of 32, v_tpr
        Constant("svm", bytes(4 * 8 + 4 * 2 + 4 + 1)),
        Constant("mtrr", bytes(11 * 8 + 8 + 8 * 16)),
        Constant("interrupt_injected", struct.pack(">i", -1)),
        Constant("mp_state", bytes(4)),
        Constant("tsc", bytes(8)),  # the section `timer` has it
        Constant("exception_nr", struct.pack(">i", -1)),
        Constant("pending", bytes(1 + 1 + 1 + 1 + 4)),
        Constant("machine_check", bytes(3 * 8 + 40 * 8)),
        u64("tsc_aux"),
        Constant("kvm_clock", bytes(2 * 8)),
        Constant("xcr0", struct.pack(">Q", XCR0_RESET), since=12),
        Constant("xstate_bv", bytes(8), since=12),
        Constant("ymm_high", bytes(_YMM_HIGH), since=12),
    ),
    minimum=11,
    encode=lambda state: _encode(state),  # noqa: PLW0108 - it is defined below, with its inverse
    subsections=(
        Subsection("cpu/poll_control_msr", 1, (u64("poll_control_msr"),)),
        Subsection(
            "cpu/fpop_ip_dp",
            1,
            (u16("fpu_opcode"), u64("fpu_ip"), u64("fpu_dp")),
            needed=lambda state: bool(state.fpu_opcode or state.fpu_ip or state.fpu_dp),
        ),
        Subsection("cpu/efer32", 1, (u64("efer"),), needed=lambda state: bool(state.efer)),
    ),
)


def _encode(state: State) -> Mapping[str, Any]:
    values = {each.name: getattr(state, each.name) for each in attrs.fields(State)}
    debug = [0] * 8
    for name, index in DEBUG:
        debug[index] = values[name]
    return values | {
        "hflags": translator_flags(state),
        "dr": debug,
        "a20_mask": -1 if state.a20 else ~A20_BIT,
        "poll_control_msr": 0,
    }


@attrs.define
class Rest:
    """What QEMU's sections have no room for."""

    fpu_cs: int = reg(bits=16, doc="the last x87 instruction's code segment")
    fpu_ds: int = reg(bits=16, doc="and its data segment")
    msrs: list[int] = _msrs()


@attrs.define
class NumericError:
    """The pins of an x87 error, while there is one."""

    ferr: bool = flag(doc="the level of FERR#, 1 for low")
    ignne: bool = flag(doc="the level of IGNNE#, 1 for low")


REST = Section(
    "emu/cpu",
    1,
    vmstate.fields_of(Rest),
    subsections=(
        Subsection(
            "emu/cpu/numeric_error",
            1,
            vmstate.fields_of(NumericError),
            needed=lambda state: bool(state.ferr or state.ignne),
        ),
    ),
)


def _decode(found: Mapping[str, Values]) -> State:
    values = dict(found["cpu"])
    hflags, a20_mask = values.pop("hflags"), values.pop("a20_mask")
    values.pop("poll_control_msr", None)
    debug = values.pop("dr")
    values |= {name: debug[index] for name, index in DEBUG}
    if values["fpu_valid"] >> 8:
        raise UnfitError("fpu_valid", f" = {values['fpu_valid']:#x} does not fit in 8 bits")
    if a20_mask not in (-1, ~A20_BIT):
        raise UnfitError("a20_mask", f" = {a20_mask:#x} is neither all ones nor all but bit 20")
    if values.get("efer", 0) & ~EFER_MOST:
        raise UnfitError("efer", f" = {values['efer']:#x}: no processor here has long mode")
    values["tr"] = task_register(values["tr"])
    if values["tr"].flags & DESCRIPTOR_TYPE not in TSS_TYPES:
        raise UnfitError("tr.flags", f" = {values['tr'].flags:#x} is no task state segment")
    common = found["cpu_common"]
    if common["halted"] > 1:
        raise UnfitError("halted", f" = {common['halted']} is not a truth value")
    if 0 <= common.get("exception_index", NO_EXCEPTION) < VECTORS:
        raise UnfitError("exception_index", ": an exception that is yet to be delivered")
    return State(
        **values,
        **found.get("emu/cpu", {}),
        a20=a20_mask == -1,
        halted=bool(common["halted"]),
        intr=bool(common["interrupt_request"] & INTERRUPT_HARD),
        interrupt_shadow=bool(hflags & layout.HF_INHIBIT_IRQ),
    )


SAVED = Saved(State, (COMMON, CPU, REST), _decode)
