"""Between the State and the engine: what `layout.Registers` hold, by the manual's names.

What the engine derives from the State (translator flags, x87 tags, the A20 mask) is made anew
when it is written.
"""

from __future__ import annotations

from emu.cpu import layout
from emu.cpu.layout import Registers, SegmentCache
from emu.cpu.state import (
    A20_BIT,
    CONTROL,
    DEBUG,
    DR7_ALWAYS_1,
    FPU_TOP,
    FPU_TOP_SHIFT,
    GENERAL,
    NO_EXCEPTION,
    SEGMENTS,
    SYSTEM_SEGMENTS,
    X87,
    Segment,
    State,
    Xmm,
    task_register,
    translator_flags,
)
from emu.savevm.vmstate import Values

MASK_32 = 0xFFFF_FFFF  # the engine has room for 64 bits, and now and then uses it


def _read_segment(cache: SegmentCache) -> Segment:
    return Segment(cache.selector & 0xFFFF, cache.base & MASK_32, cache.limit, cache.flags)


def _write_segment(cache: SegmentCache, segment: Segment) -> None:
    cache.selector, cache.base = segment.selector, segment.base
    cache.limit, cache.flags = segment.limit, segment.flags


def read_registers(
    registers: Registers, msrs: list[int], *, halted: bool, intr: bool, a20: bool
) -> State:
    """The State that *registers* hold; what is not in them is passed beside them."""
    general = zip(GENERAL, registers.regs, strict=False)
    values: Values = {name: value & MASK_32 for name, value in general}
    values |= {name: registers.cr[index] & MASK_32 for name, index in CONTROL}
    values |= {name: registers.dr[index] & MASK_32 for name, index in DEBUG}
    values |= {name: _read_segment(registers.segs[index]) for index, name in enumerate(SEGMENTS)}
    values |= {name: _read_segment(getattr(registers, its)) for name, its in SYSTEM_SEGMENTS}
    values["tr"] = task_register(values["tr"])
    return State(
        **values,
        eip=registers.eip & MASK_32,
        eflags=registers.eflags,
        fpu_control=registers.fpuc,
        fpu_status=registers.fpus & ~FPU_TOP | registers.fpstt << FPU_TOP_SHIFT,
        fpu_valid=sum((not tag) << index for index, tag in enumerate(registers.fptags)),
        fpu=[X87(each.mantissa, each.exponent) for each in registers.fpregs],
        fpu_opcode=registers.fpop,
        fpu_ip=registers.fpip & MASK_32,
        fpu_cs=registers.fpcs,
        fpu_dp=registers.fpdp & MASK_32,
        fpu_ds=registers.fpds,
        mxcsr=registers.mxcsr,
        xmm=[Xmm(each.low, each.high) for each in registers.xmm],
        sysenter_cs=registers.sysenter_cs,
        sysenter_esp=registers.sysenter_esp & MASK_32,
        sysenter_eip=registers.sysenter_eip & MASK_32,
        pat=registers.pat,
        efer=registers.efer,
        tsc_aux=registers.tsc_aux,
        msrs=msrs,
        a20=a20,
        halted=halted,
        intr=intr,
        interrupt_shadow=bool(registers.hflags & layout.HF_INHIBIT_IRQ),
        ferr=bool(registers.hflags2 & layout.HF2_FERR),
        ignne=bool(registers.hflags2 & layout.HF2_IGNNE),
    )


def write_registers(registers: Registers, state: State) -> None:
    """Make *registers* hold *state*, and what the engine derives from it."""
    for index, name in enumerate(GENERAL):
        registers.regs[index] = getattr(state, name)
    for name, index in CONTROL:
        registers.cr[index] = getattr(state, name)
    for name, index in DEBUG:
        registers.dr[index] = getattr(state, name)
    registers.dr[7] |= DR7_ALWAYS_1
    for index, name in enumerate(SEGMENTS):
        _write_segment(registers.segs[index], getattr(state, name))
    for name, its in SYSTEM_SEGMENTS:
        _write_segment(getattr(registers, its), getattr(state, name))
    _write_segment(registers.tr, task_register(state.tr))
    registers.eip = state.eip
    registers.eflags = state.eflags
    registers.fpuc = state.fpu_control
    registers.fpus = state.fpu_status & ~FPU_TOP
    registers.fpstt = (state.fpu_status & FPU_TOP) >> FPU_TOP_SHIFT
    for index in range(8):
        registers.fptags[index] = not state.fpu_valid >> index & 1
        registers.fpregs[index].mantissa = state.fpu[index].mantissa
        registers.fpregs[index].exponent = state.fpu[index].exponent
        registers.xmm[index].low = state.xmm[index].low
        registers.xmm[index].high = state.xmm[index].high
    registers.fpop, registers.fpip, registers.fpdp = state.fpu_opcode, state.fpu_ip, state.fpu_dp
    registers.fpcs, registers.fpds = state.fpu_cs, state.fpu_ds
    registers.mxcsr = state.mxcsr
    registers.sysenter_cs = state.sysenter_cs
    registers.sysenter_esp, registers.sysenter_eip = state.sysenter_esp, state.sysenter_eip
    registers.pat, registers.efer, registers.tsc_aux = state.pat, state.efer, state.tsc_aux
    registers.a20_mask = -1 if state.a20 else ~A20_BIT
    registers.hflags = translator_flags(state)
    registers.hflags2 &= ~(layout.HF2_FERR | layout.HF2_IGNNE)
    registers.hflags2 |= layout.HF2_FERR * state.ferr | layout.HF2_IGNNE * state.ignne
    registers.error_code = 0
    registers.old_exception = NO_EXCEPTION
