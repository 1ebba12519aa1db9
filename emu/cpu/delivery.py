"""Interrupts and exceptions: how the processor gets from an event to its handler.

The engine executes instructions, IRET and task switches by JMP among them, but delivers nothing.
`deliver` does: it reads the guest's tables, pushes the frame, and sets the registers to the
handler's first instruction.

    CR0.PE = 0   IVT entry (4 bytes)    FLAGS CS IP pushed as words              §20.1.4
    CR0.PE = 1   IDT gate (8 bytes):                                             §6.11
      interrupt gate, trap gate         to a code segment of DPL <= CPL          §6.12.1
        same privilege                  on the stack in use
        inner privilege                 on the stack that the TSS names
        from virtual-8086 mode          as inner, and the data segments too      §20.3.1.1
      task gate                         to another task                          §6.12.2, §7.3

What a handler at an inner privilege level finds, each slot as wide as the gate's type says:

    from virtual-8086 mode only:   GS  FS  DS  ES      <- the new stack's top
    from an outer level:           SS  ESP
    always:                        EFLAGS  CS  EIP
    some exceptions:               error code          <- ESP

A fault on the way is an event itself, and it or a double fault is delivered in place of the
first (table 6-5).  Until an attempt has succeeded no register changes, but for CR2; in memory,
accessed and dirty bits may be set and a part of a frame may be written.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volume 3A, chapters 6,
7 and 20, and volume 2, "INT n/INTO/INT3/INT1", "Operation"; § numbers below refer to volume 3A, as
it was numbered in 2019.

Not modelled: limit checks on the stack (the engine checks no segment's limit either); virtual-8086
mode extensions (CR4.VME, which no processor of this machine has); the T flag of a TSS, which asks
for a debug exception after a task switch; RF in the pushed EFLAGS of an interrupt that comes
between two iterations of a string instruction (§17.3.1.1).
"""

from __future__ import annotations

import enum
import struct

from emu import attrs
from emu.cpu.bits import (
    CR0_PE,
    EFLAGS_AC,
    EFLAGS_IF,
    EFLAGS_IOPL,
    EFLAGS_NT,
    EFLAGS_RF,
    EFLAGS_TF,
    EFLAGS_VM,
)
from emu.cpu.layout import (
    CS,
    DS,
    ES,
    ESP,
    FS,
    GS,
    HF_CPL,
    HF_INHIBIT_IRQ,
    SS,
    Registers,
)
from emu.cpu.paging import Fault, LinearMemory, PageFault
from emu.cpu.segments import (
    CACHE_FLAGS,
    CACHE_TSS_32,
    CODE,
    CONFORMING,
    DPL_SHIFT,
    ERROR_EXT,
    ERROR_IDT,
    HF_OF_EFLAGS,
    SELECTOR_RPL,
    TYPE_SHIFT,
    P,
    S,
    base_of,
    check_stack,
    descriptor_address,
    limit_of,
    load_segment,
    mark_accessed,
    push,
    read_descriptor,
    selector_fault,
    settle_hflags,
    stack_mask,
)
from emu.cpu.tasks import TASK_GATE, How, by_instruction, through_task_gate
from emu.cpu.vectors import CONTRIBUTORY, DF, GP, NOT_FAULTS, NP, PF, TS
from emu.memory import Memory

INTERRUPT_GATE_16, TRAP_GATE_16, INTERRUPT_GATE_32, TRAP_GATE_32 = 6, 7, 14, 15
GATES = (INTERRUPT_GATE_32, TRAP_GATE_32, TASK_GATE, INTERRUPT_GATE_16, TRAP_GATE_16)
GATE_IS_TRAP = 1 << 40
GATE_IS_32_BIT = 1 << 43

DATA_SEGMENTS = (ES, DS, FS, GS)  # in the order of a frame, from ESP up

# A TSS's stack for an inner level, figures 7-2 and 7-10.
STACK_POINTER_32 = struct.Struct("<IH")
STACK_POINTER_16 = struct.Struct("<HH")


class Kind(enum.Enum):
    """Where an event comes from; it decides on checks and error codes, §6.4 and §6.5."""

    HARDWARE = enum.auto()  # INTR, NMI
    EXCEPTION = enum.auto()  # the processor detected it
    SOFTWARE = enum.auto()  # INT n
    SOFTWARE_EXCEPTION = enum.auto()  # INT3, INTO
    PRIVILEGED_SOFTWARE_EXCEPTION = enum.auto()  # INT1


@attrs.frozen
class Event:
    """Something to deliver.

    *return_eip* is the EIP to push: of the faulting instruction for a fault, else of the next one.
    """

    vector: int
    kind: Kind
    error_code: int | None = None
    return_eip: int = attrs.field(kw_only=True)


@attrs.frozen
class Delivered:
    """What a delivery did that cannot be seen from the registers' new values alone."""

    event: Event | None  # what was delivered in the end: the event, or a fault on its way
    flush_tlb: bool  # CR3 is another: what the engine learned from the page tables is void
    dr7_changed: bool  # and what it derived from DR7


class Shutdown(Exception):  # noqa: N818 - the manual's word
    """A fault while a double fault was being delivered: the processor stops, §6.15 "#DF"."""


def deliver(registers: Registers, memory: Memory, event: Event) -> Delivered:
    """Take *event*: go to its handler, or to that of a fault met on the way.

    `registers.eip` is where a fault on the way is to return to: the instruction that was about
    to run, or the INT itself.  The arithmetic flags have been computed.  Raises `Shutdown`.
    """
    cr3, dr7 = registers.cr[3], registers.dr[7]
    while True:
        try:
            linear = LinearMemory(registers, memory)
            if registers.cr[0] & CR0_PE:
                _through_idt(registers, linear, event)
            else:
                _through_ivt(registers, linear, event)
            break
        except Fault as fault:
            if isinstance(fault, PageFault):
                registers.cr[2] = fault.linear
            event = _after(event, fault, registers.eip)
    # The engine takes what is noted here for a fault that is still being delivered.
    registers.old_exception = -1
    registers.error_code = 0
    return Delivered(event, registers.cr[3] != cr3, registers.dr[7] != dr7)


def switch_tasks(
    registers: Registers, memory: Memory, how: How, selector: int, return_eip: int
) -> Delivered:
    """JMP, CALL or IRET to another task; or to the handler of a fault met on the way.

    `registers.eip` is the instruction, where a fault of the old task's returns to.
    """
    cr3, dr7 = registers.cr[3], registers.dr[7]
    event = None
    try:
        by_instruction(registers, LinearMemory(registers, memory), how, selector, return_eip)
    except Fault as fault:
        if isinstance(fault, PageFault):
            registers.cr[2] = fault.linear
        event = Event(fault.vector, Kind.EXCEPTION, fault.error_code, return_eip=registers.eip)
        event = deliver(registers, memory, event).event
    registers.old_exception = -1
    registers.error_code = 0
    return Delivered(event, registers.cr[3] != cr3, registers.dr[7] != dr7)


def read_code_byte(registers: Registers, memory: Memory, linear: int) -> int:
    """The byte at *linear*, where an instruction has been executed.

    0 where the page tables have changed since, and do not map it any more.
    """
    try:
        return LinearMemory(registers, memory).read(linear, 1)[0]
    except PageFault:
        return 0


def _after(event: Event, fault: Fault, eip: int) -> Event:
    """What to deliver after *fault* on the way of *event*: tables 6-4 and 6-5.

    Delivery raises contributory faults and page faults, no others.
    """
    if event.kind is Kind.EXCEPTION:
        if event.vector == DF:
            raise Shutdown(f"{fault} while delivering a double fault at {eip:#x}") from fault
        if event.vector == PF or (event.vector in CONTRIBUTORY and fault.vector != PF):
            return Event(DF, Kind.EXCEPTION, 0, return_eip=eip)
    return Event(fault.vector, Kind.EXCEPTION, fault.error_code, return_eip=eip)


# --- real-address mode --------------------------------------------------------------------


def _through_ivt(registers: Registers, linear: LinearMemory, event: Event) -> None:
    """§20.1.4: no privilege, no error codes; the new CS keeps its limit and attributes."""
    idt = registers.idt
    entry = event.vector * 4
    if entry + 3 > idt.limit:
        raise Fault(GP, 0)
    ip, selector = struct.unpack("<HH", linear.read(idt.base + entry, 4))

    eflags = registers.eflags
    code, stack = registers.segs[CS], registers.segs[SS]
    mask = stack_mask(stack.flags)
    esp = registers.regs[ESP]
    frame = (event.return_eip, code.selector, eflags)
    sp = push(linear, stack.base, esp, mask, frame, 2, user=False)

    registers.regs[ESP] = esp & ~mask | sp
    code.selector = selector
    code.base = selector << 4
    registers.eip = ip
    registers.eflags = eflags & ~(EFLAGS_IF | EFLAGS_TF | EFLAGS_RF | EFLAGS_AC)
    registers.hflags &= ~(HF_INHIBIT_IRQ | HF_OF_EFLAGS)


# --- protected mode -----------------------------------------------------------------------


def _through_idt(registers: Registers, linear: LinearMemory, event: Event) -> None:
    """Find and check the gate: volume 2, "INT n", PROTECTED-MODE."""
    software = event.kind is Kind.SOFTWARE or event.kind is Kind.SOFTWARE_EXCEPTION
    external = 0 if software else ERROR_EXT
    eflags = registers.eflags
    cpl = registers.hflags & HF_CPL
    if eflags & EFLAGS_VM and event.kind is Kind.SOFTWARE and eflags & EFLAGS_IOPL != EFLAGS_IOPL:
        raise Fault(GP, 0)  # §20.2.7: left to a monitor of virtual-8086 mode

    idt = registers.idt
    entry = event.vector * 8
    if entry + 7 > idt.limit:
        raise Fault(GP, entry | ERROR_IDT | external)
    gate = int.from_bytes(linear.read(idt.base + entry, 8), "little")
    kind = gate >> TYPE_SHIFT & 0x1F  # S, which is 0 in a gate, and the type
    if kind not in GATES:
        raise Fault(GP, entry | ERROR_IDT | external)
    if software and gate >> DPL_SHIFT & 3 < cpl:
        raise Fault(GP, entry | ERROR_IDT)
    if not gate & P:
        raise Fault(NP, entry | ERROR_IDT | external)

    if event.kind is Kind.EXCEPTION and event.vector not in NOT_FAULTS:
        saved_eflags = eflags | EFLAGS_RF  # the instruction is to run again: §17.3.1.1
    else:
        saved_eflags = eflags
    if kind == TASK_GATE:
        selector = gate >> 16 & 0xFFFF
        through_task_gate(
            registers, linear, selector, event.return_eip, saved_eflags, event.error_code, external
        )
    else:
        _through_gate(registers, linear, event, gate, saved_eflags, external)


def _through_gate(
    registers: Registers,
    linear: LinearMemory,
    event: Event,
    gate: int,
    eflags: int,
    external: int,
) -> None:
    """§6.12.1, and volume 2, "INT n", TRAP-OR-INTERRUPT-GATE and what it goes to."""
    cpl = registers.hflags & HF_CPL
    v86 = eflags & EFLAGS_VM
    selector = gate >> 16 & 0xFFFF
    code_address, code = _handler(registers, linear, selector, cpl, v86, external)
    inner = code >> DPL_SHIFT & 3 < cpl and not code & CONFORMING

    segments = registers.segs
    stack_segment = segments[SS]
    esp = registers.regs[ESP]
    frame = [event.return_eip, segments[CS].selector, eflags]
    if event.error_code is not None:
        frame.insert(0, event.error_code)
    if inner:
        cpl = code >> DPL_SHIFT & 3
        frame += (esp, stack_segment.selector)
        if v86:
            frame += [segments[register].selector for register in DATA_SEGMENTS]
        esp, stack_selector, stack_address, stack = _inner_stack(registers, linear, cpl, external)
        stack_base, stack_flags = base_of(stack), stack >> 32 & CACHE_FLAGS
    else:
        stack_base, stack_flags = stack_segment.base, stack_segment.flags

    wide = gate & GATE_IS_32_BIT
    eip = gate & 0xFFFF | (gate >> 32 & 0xFFFF_0000 if wide else 0)
    if eip > limit_of(code):
        raise Fault(GP, external)

    mask = stack_mask(stack_flags)
    sp = push(linear, stack_base, esp, mask, frame, 4 if wide else 2, user=cpl == 3)
    code = mark_accessed(linear, code_address, code)
    if inner:
        stack = mark_accessed(linear, stack_address, stack)

    # Nothing can fault from here on.
    if inner:
        load_segment(registers, SS, stack_selector, stack)
        if v86:
            for register in DATA_SEGMENTS:
                load_segment(registers, register, 0, 0)
    load_segment(registers, CS, selector & ~SELECTOR_RPL | cpl, code)
    registers.eip = eip
    registers.regs[ESP] = esp & ~mask | sp
    cleared = EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM
    registers.eflags = eflags & ~(cleared if gate & GATE_IS_TRAP else cleared | EFLAGS_IF)
    settle_hflags(registers, cpl)


def _handler(
    registers: Registers, linear: LinearMemory, selector: int, cpl: int, v86: int, external: int
) -> tuple[int, int]:
    """The address and value of the descriptor of a handler's code segment, found fit."""
    if not selector & ~SELECTOR_RPL:
        raise Fault(GP, external)
    address = descriptor_address(registers, selector)
    if address is None:
        raise selector_fault(GP, selector, external)
    code = read_descriptor(linear, address)
    if code & (S | CODE) != S | CODE or code >> DPL_SHIFT & 3 > cpl:
        raise selector_fault(GP, selector, external)
    if not code & P:
        raise selector_fault(NP, selector, external)
    if v86 and (code & CONFORMING or code >> DPL_SHIFT & 3):  # §20.3.1.1: to level 0 only
        raise selector_fault(GP, selector, external)
    return address, code


def _inner_stack(
    registers: Registers, linear: LinearMemory, level: int, external: int
) -> tuple[int, int, int, int]:
    """The stack that the TSS names for privilege *level*.

    ESP, SS, and the address and value of its descriptor.
    """
    tss = registers.tr
    if tss.flags & CACHE_TSS_32:
        offset, pointer = level * 8 + 4, STACK_POINTER_32
    else:
        offset, pointer = level * 4 + 2, STACK_POINTER_16
    if offset + pointer.size - 1 > tss.limit:
        raise selector_fault(TS, tss.selector, external)
    esp, selector = pointer.unpack(linear.read(tss.base + offset, pointer.size))
    if not selector & ~SELECTOR_RPL:
        raise Fault(TS, external)
    address = descriptor_address(registers, selector)
    if address is None:
        raise selector_fault(TS, selector, external)
    stack = read_descriptor(linear, address)
    check_stack(selector, stack, level, external)
    return esp, selector, address, stack
