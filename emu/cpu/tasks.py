"""Task switches: by a task gate, and where a TSS is of 16 bits by JMP, CALL and IRET, too.

As SDM volume 3A, §7.3, has it, a switch saves the registers in the current TSS, loads them from
the new one, and then loads and checks the new task's LDT and segments.  A fault up to the switch is the
old task's, one after it the new task's.

                               back link   NT in the new EFLAGS   busy: the old TSS   the new one
    CALL, interrupt, exception is set      is set                 stays               becomes
    JMP                        -           is its TSS's           no more             becomes
    IRET                       -           is its TSS's           no more             stays

The engine has code for JMP, CALL and IRET, which takes a TSS of 16 bits for something else; so tasks.c
hands those over that go from or to one.

A 32-bit TSS (figure 7-2), of which the rows below are saved, and a 16-bit one (figure 7-10):

    1C       CR3                  0E       IP
    20 24    EIP EFLAGS           10       FLAGS
    28-44    EAX ... EDI          12-20    AX ... DI
    48-5C    ES CS SS DS FS GS    22-28    ES CS SS DS
    60       LDT                  2A       LDT

At 0, both have the back link, and behind it the stacks of levels 0 to 2 (delivery.py).  § and
tables as in delivery.py.
"""

from __future__ import annotations

import enum
import struct

from emu.cpu.bits import CR0_PG, CR0_TS, EFLAGS_NT, EFLAGS_VM
from emu.cpu.layout import CS, DS, ES, ESP, FS, GS, HF_CPL, HF_TS, SS, Registers
from emu.cpu.paging import Fault, LinearMemory
from emu.cpu.segments import (
    CACHE_DPL_SHIFT,
    CACHE_FLAGS,
    CACHE_TSS_32,
    CODE,
    CONFORMING,
    DPL_SHIFT,
    READABLE,
    SELECTOR_INDEX,
    SELECTOR_RPL,
    SELECTOR_TI,
    TYPE,
    TYPE_SHIFT,
    P,
    S,
    base_of,
    check_stack,
    descriptor_address,
    limit_of,
    load_segment,
    load_v86_segment,
    mark_accessed,
    push,
    read_descriptor,
    selector_fault,
    settle_hflags,
    stack_mask,
)
from emu.cpu.vectors import GP, NP, TS

EFLAGS_OF_TASK = 0x27_7FD5  # what a task switch takes from a TSS: all flags but VIF and VIP
DR7_LOCAL = 0x155  # L0-L3 and LE

LDT = 2 << TYPE_SHIFT
TASK_GATE = 5
TSS_16, TSS_32 = 1, 9  # available
TSS_16_BUSY, TSS_32_BUSY = 3, 11
TSS_BUSY = 1 << 41

TSS_32_LAST, TSS_16_LAST = 0x67, 0x2B  # the least limits
TSS_32_EIP, TSS_32_SEGMENTS = 0x20, 0x48
TSS_16_IP = 0x0E
TSS_32_STATE = struct.Struct("<10I")  # EIP EFLAGS EAX..EDI
TSS_16_STATE = struct.Struct("<14H")  # IP FLAGS AX..DI ES CS SS DS
TSS_32_IMAGE = struct.Struct("<28x11I" + "H2x" * 7 + "4x")  # CR3, as saved, LDT
TSS_16_IMAGE = struct.Struct("<14x15H")  # as saved, LDT


class How(enum.Enum):
    """What switches tasks; tasks.c has the same numbers."""

    JUMP = 0
    CALL = 1  # and an interrupt or exception
    RETURN = 2  # IRET, from a nested task


def by_instruction(
    registers: Registers, linear: LinearMemory, how: How, selector: int, return_eip: int
) -> None:
    """JMP or CALL to *selector*, of a TSS or a task gate; or IRET."""
    eflags = registers.eflags
    if how is How.RETURN:
        selector = int.from_bytes(linear.read(registers.tr.base, 2), "little")
        eflags &= ~EFLAGS_NT
    else:
        selector = _target(registers, linear, selector)
    _switch_task(registers, linear, return_eip, selector, eflags, how, 0)
    _begin_task(registers, linear, None, 0, 0)


def through_task_gate(
    registers: Registers,
    linear: LinearMemory,
    selector: int,
    return_eip: int,
    eflags: int,
    error_code: int | None,
    external: int,
) -> None:
    """§6.12.2: switch to the task, and leave the error code on its stack.

    *return_eip* and *eflags* are what the old task's TSS is to have.
    """
    wide = _switch_task(registers, linear, return_eip, selector, eflags, How.CALL, external)
    _begin_task(registers, linear, error_code, 4 if wide else 2, external)


def _target(registers: Registers, linear: LinearMemory, selector: int) -> int:
    """Volume 2, JMP and CALL, TASK-GATE and TASK-STATE-SEGMENT: the TSS that is meant."""
    address = descriptor_address(registers, selector)
    if address is None:
        raise selector_fault(GP, selector, 0)
    descriptor = read_descriptor(linear, address)
    if descriptor >> DPL_SHIFT & 3 < max(registers.hflags & HF_CPL, selector & SELECTOR_RPL):
        raise selector_fault(GP, selector, 0)
    if descriptor >> TYPE_SHIFT & 0x1F != TASK_GATE:
        return selector
    if not descriptor & P:
        raise selector_fault(NP, selector, 0)
    return descriptor >> 16 & 0xFFFF


def _begin_task(
    registers: Registers,
    linear: LinearMemory,
    error_code: int | None,
    size: int,
    external: int,
) -> None:
    """§7.3, step 13: faults are the new task's now, and find its registers.

    *size* is that of the error code on its stack.
    """
    linear = LinearMemory(registers, linear.memory)
    v86 = registers.eflags & EFLAGS_VM
    cpl = 3 if v86 else registers.segs[CS].selector & SELECTOR_RPL
    try:
        _load_ldt(registers, linear, external)
        if not v86:
            registers.segs[SS].flags = cpl << CACHE_DPL_SHIFT  # at every time CPL is SS's DPL
            _load_segments(registers, linear, cpl, external)
    finally:
        settle_hflags(registers, cpl)

    if error_code is not None:
        stack = registers.segs[SS]
        mask = stack_mask(stack.flags)
        esp = registers.regs[ESP]
        sp = push(linear, stack.base, esp, mask, (error_code,), size, user=cpl == 3)
        registers.regs[ESP] = esp & ~mask | sp
    if registers.eip > registers.segs[CS].limit:
        raise Fault(GP, external)


def _switch_task(
    registers: Registers,
    linear: LinearMemory,
    return_eip: int,
    selector: int,
    eflags: int,
    how: How,
    external: int,
) -> bool:
    """§7.3, steps 3 to 12.  Says whether the new TSS is of 32 bits."""
    address, tss = _find_tss(registers, linear, selector, how, external)
    base, wide = base_of(tss), tss >> TYPE_SHIFT & 0x1F in (TSS_32, TSS_32_BUSY)
    if limit_of(tss) < (TSS_32_LAST if wide else TSS_16_LAST):
        raise selector_fault(TS, selector, external)
    image = linear.read(base, (TSS_32_LAST if wide else TSS_16_LAST) + 1)
    linear.probe_write(base, 2)
    linear.probe_write(address, 8)
    if how is How.CALL:
        _save_task(registers, linear, return_eip, eflags)
        back_link = registers.tr.selector & 0xFFFF
        linear.write(base, back_link.to_bytes(2, "little"))
    else:
        old_address = registers.gdt.base + (registers.tr.selector & SELECTOR_INDEX)
        old = read_descriptor(linear, old_address) & ~TSS_BUSY
        linear.probe_write(old_address, 8)
        _save_task(registers, linear, return_eip, eflags)
        linear.write(old_address, old.to_bytes(8, "little"))
    linear.write(address, (tss | TSS_BUSY).to_bytes(8, "little"))  # as it is already, for IRET

    registers.tr.selector = selector
    registers.tr.base, registers.tr.limit = base, limit_of(tss)
    # Not as busy: the engine would abort on it.
    registers.tr.flags = (tss & ~TSS_BUSY) >> 32 & CACHE_FLAGS
    registers.cr[0] |= CR0_TS
    registers.hflags |= HF_TS
    registers.dr[7] &= ~DR7_LOCAL
    _load_task(registers, image, nested=how is How.CALL)
    return wide


def _find_tss(
    registers: Registers, linear: LinearMemory, selector: int, how: How, external: int
) -> tuple[int, int]:
    """The address and value of a TSS's descriptor, which may be switched to: §7.3, steps 3 and 4."""
    if how is How.RETURN:
        invalid, kinds = TS, (TSS_16_BUSY, TSS_32_BUSY)
    else:
        invalid, kinds = GP, (TSS_16, TSS_32)
    address = None if selector & SELECTOR_TI else descriptor_address(registers, selector)
    if address is None:
        raise selector_fault(invalid, selector, external)
    tss = read_descriptor(linear, address)
    if tss >> TYPE_SHIFT & 0x1F not in kinds:
        raise selector_fault(invalid, selector, external)
    if not tss & P:
        raise selector_fault(NP, selector, external)
    return address, tss


def _load_task(registers: Registers, image: bytes, *, nested: bool) -> None:
    """§7.3, step 12: the registers from a TSS.

    All segments are left without a descriptor, save in virtual-8086 mode, which has none.
    """
    if len(image) > TSS_16_LAST + 1:
        cr3, eip, eflags, *rest = TSS_32_IMAGE.unpack(image)
        if registers.cr[0] & CR0_PG:
            registers.cr[3] = cr3
        general, segments, ldt = rest[:8], rest[8:14], rest[14]
    else:
        eip, eflags, *rest = TSS_16_IMAGE.unpack(image)
        general = [0xFFFF_0000 | value for value in rest[:8]]  # undefined; so does the engine
        segments, ldt = [*rest[8:12], 0, 0], rest[12]
    eflags = eflags & EFLAGS_OF_TASK | (EFLAGS_NT if nested else 0)

    registers.eip = eip
    registers.eflags = eflags
    for number, value in enumerate(general):
        registers.regs[number] = value
    for number, value in enumerate(segments):
        if eflags & EFLAGS_VM:
            load_v86_segment(registers, number, value)
        else:
            load_segment(registers, number, value, 0)
    registers.ldt.selector = ldt
    registers.ldt.base = registers.ldt.limit = registers.ldt.flags = 0


def _save_task(registers: Registers, linear: LinearMemory, return_eip: int, eflags: int) -> None:
    """§7.3, step 8: the registers to the current TSS, or a fault before any of it is written."""
    tss = registers.tr
    general = list(registers.regs)[:8]
    selectors = [segment.selector & 0xFFFF for segment in registers.segs]
    if tss.flags & CACHE_TSS_32:
        linear.probe_write(tss.base + TSS_32_EIP, TSS_32_SEGMENTS + 6 * 4 - TSS_32_EIP)
        state = TSS_32_STATE.pack(
            *(value & 0xFFFF_FFFF for value in (return_eip, eflags, *general))
        )
        linear.write(tss.base + TSS_32_EIP, state)
        for number, selector in enumerate(selectors):  # the upper words are reserved, and stay
            address = tss.base + TSS_32_SEGMENTS + number * 4
            linear.write(address, selector.to_bytes(2, "little"))
    else:
        values = (return_eip, eflags, *general, *selectors[:4])
        linear.write(tss.base + TSS_16_IP, TSS_16_STATE.pack(*(value & 0xFFFF for value in values)))


def _load_ldt(registers: Registers, linear: LinearMemory, external: int) -> None:
    """Table 7-1: the new task's LDT, which is none where its selector is null."""
    ldt = registers.ldt
    selector = ldt.selector
    if not selector & ~SELECTOR_RPL:
        return
    address = None if selector & SELECTOR_TI else descriptor_address(registers, selector)
    if address is None:
        raise selector_fault(TS, selector, external)
    descriptor = read_descriptor(linear, address)
    if descriptor & (S | TYPE | P) != LDT | P:
        raise selector_fault(TS, selector, external)
    ldt.base, ldt.limit = base_of(descriptor), limit_of(descriptor)
    ldt.flags = descriptor >> 32 & CACHE_FLAGS


def _load_segments(registers: Registers, linear: LinearMemory, cpl: int, external: int) -> None:
    """Table 7-1: check and load what the new task's selectors name."""
    for register in (CS, SS, ES, DS, FS, GS):
        selector = registers.segs[register].selector
        if not selector & ~SELECTOR_RPL:
            if register in (CS, SS):
                raise selector_fault(TS, selector, external)
            continue
        address = descriptor_address(registers, selector)
        if address is None:
            raise selector_fault(TS, selector, external)
        descriptor = read_descriptor(linear, address)
        if register == CS:
            _check_task_code(selector, descriptor, external)
        elif register == SS:
            check_stack(selector, descriptor, cpl, external)
        else:
            _check_task_data(selector, descriptor, cpl, external)
        load_segment(registers, register, selector, mark_accessed(linear, address, descriptor))


def _check_task_code(selector: int, code: int, external: int) -> None:
    rpl, dpl = selector & SELECTOR_RPL, code >> DPL_SHIFT & 3
    if code & (S | CODE) != S | CODE or dpl > rpl or (dpl < rpl and not code & CONFORMING):
        raise selector_fault(TS, selector, external)
    if not code & P:
        raise selector_fault(NP, selector, external)


def _check_task_data(selector: int, data: int, cpl: int, external: int) -> None:
    rpl, dpl = selector & SELECTOR_RPL, data >> DPL_SHIFT & 3
    readable = data & S and (not data & CODE or data & READABLE)
    conforming = data & CODE and data & CONFORMING
    if not readable or (dpl < max(cpl, rpl) and not conforming):
        raise selector_fault(TS, selector, external)
    if not data & P:
        raise selector_fault(NP, selector, external)
