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
from collections.abc import Sequence

import attrs

from emu.cpu.layout import (
    CS,
    DS,
    ES,
    ESP,
    FS,
    GS,
    HF_AC,
    HF_ADDSEG,
    HF_CPL,
    HF_CS32,
    HF_INHIBIT_IRQ,
    HF_IOPL,
    HF_RF,
    HF_SS32,
    HF_TF,
    HF_TS,
    HF_VM,
    SS,
    Registers,
)
from emu.cpu.paging import CR0_PG, PF, Fault, LinearMemory, PageFault
from emu.memory import PAGE_BYTES, Memory

# Vectors that delivery itself has to know, table 6-1.
DE, DB, NMI, BP, OF, DF, TS, NP, STACK_FAULT, GP, MC = 0, 1, 2, 3, 4, 8, 10, 11, 12, 13, 18
CONTRIBUTORY = (DE, TS, NP, STACK_FAULT, GP)  # table 6-4
NOT_FAULTS = (DB, NMI, BP, OF, DF, MC)  # traps, aborts, and #DB, which leaves RF: §17.3.1.1

# An error code that names a descriptor, §6.13: its selector without RPL, and
ERROR_EXT = 1 << 0  # raised by an event from outside of the program
ERROR_IDT = 1 << 1  # the selector is a vector
SELECTOR_INDEX = 0xFFF8
SELECTOR_TI = 1 << 2  # in the LDT
SELECTOR_RPL = 3

FLAG_TF = 1 << 8
FLAG_IF = 1 << 9
FLAG_IOPL = 3 << 12
FLAG_NT = 1 << 14
FLAG_RF = 1 << 16
FLAG_VM = 1 << 17
FLAG_AC = 1 << 18
FLAGS_LOADED = 0x27_7FD5  # what a task switch takes from a TSS: all flags but VIF and VIP

CR0_PE = 1 << 0
CR0_TS = 1 << 3
DR7_LOCAL = 0x155  # L0-L3 and LE

# A descriptor or gate as a number of 64 bits, §3.4.5 and §6.11.
TYPE_SHIFT = 40
DPL_SHIFT = 45
TYPE = 0xF << TYPE_SHIFT  # of a system descriptor
S = 1 << 44  # code or data, not system
P = 1 << 47
B = 1 << 54  # or D: 32 bits
G = 1 << 55
# The bits of TYPE where S is set:
ACCESSED = 1 << 40
WRITABLE = READABLE = 1 << 41
CONFORMING = 1 << 42  # of code
CODE = 1 << 43

LDT = 2 << TYPE_SHIFT
TASK_GATE = 5
INTERRUPT_GATE_16, TRAP_GATE_16, INTERRUPT_GATE_32, TRAP_GATE_32 = 6, 7, 14, 15
GATES = (INTERRUPT_GATE_32, TRAP_GATE_32, TASK_GATE, INTERRUPT_GATE_16, TRAP_GATE_16)
GATE_IS_TRAP = 1 << 40
GATE_IS_32_BIT = 1 << 43
TSS_16, TSS_32 = 1, 9  # available; busy are 3 and 11
TSS_BUSY = 1 << 41

# A descriptor cache keeps a descriptor's second dword, less what is base and limit 15:0.
CACHE_FLAGS = 0x00F0_FF00
CACHE_B = B >> 32
CACHE_DPL_SHIFT = DPL_SHIFT - 32
CACHE_TSS_32 = 8 << 8
CACHE_V86 = 0xF300  # present, writable, accessed data of DPL 3, §20.2.5

# What is mode in hflags and may change here.  TF, IOPL, RF, VM and AC are never kept in them:
# the engine adds them from EFLAGS, and could not take them back.
HF_MODE = HF_CPL | HF_INHIBIT_IRQ | HF_CS32 | HF_SS32 | HF_ADDSEG
HF_OF_EFLAGS = HF_TF | HF_IOPL | HF_RF | HF_VM | HF_AC

DATA_SEGMENTS = (ES, DS, FS, GS)  # in the order of a frame, from ESP up

# A TSS, figures 7-2 and 7-10: what a task switch saves, and what it loads.
TSS_32_LAST, TSS_16_LAST = 0x67, 0x2B  # the least limits
TSS_32_EIP, TSS_32_SEGMENTS = 0x20, 0x48
TSS_16_IP = 0x0E
STACK_POINTER_32 = struct.Struct("<IH")
STACK_POINTER_16 = struct.Struct("<HH")
TSS_32_STATE = struct.Struct("<10I")  # EIP EFLAGS EAX..EDI
TSS_16_STATE = struct.Struct("<14H")  # IP FLAGS AX..DI ES CS SS DS
TSS_32_IMAGE = struct.Struct("<28x11I" + "H2x" * 7 + "4x")  # CR3, as saved, LDT
TSS_16_IMAGE = struct.Struct("<14x15H")  # as saved, LDT


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

    event: Event  # what was delivered in the end: the event, or a fault on its way
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
    mask = _stack_mask(stack.flags)
    esp = registers.regs[ESP]
    frame = (event.return_eip, code.selector, eflags)
    sp = _push(linear, stack.base, esp, mask, frame, 2, user=False)

    registers.regs[ESP] = esp & ~mask | sp
    code.selector = selector
    code.base = selector << 4
    registers.eip = ip
    registers.eflags = eflags & ~(FLAG_IF | FLAG_TF | FLAG_RF | FLAG_AC)
    registers.hflags &= ~(HF_INHIBIT_IRQ | HF_OF_EFLAGS)


# --- protected mode -----------------------------------------------------------------------


def _through_idt(registers: Registers, linear: LinearMemory, event: Event) -> None:
    """Find and check the gate: volume 2, "INT n", PROTECTED-MODE."""
    software = event.kind is Kind.SOFTWARE or event.kind is Kind.SOFTWARE_EXCEPTION
    external = 0 if software else ERROR_EXT
    eflags = registers.eflags
    cpl = registers.hflags & HF_CPL
    if eflags & FLAG_VM and event.kind is Kind.SOFTWARE and eflags & FLAG_IOPL != FLAG_IOPL:
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
        saved_eflags = eflags | FLAG_RF  # the instruction is to run again: §17.3.1.1
    else:
        saved_eflags = eflags
    if kind == TASK_GATE:
        selector = gate >> 16 & 0xFFFF
        _through_task_gate(registers, linear, event, selector, saved_eflags, external)
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
    v86 = eflags & FLAG_VM
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
        stack_base, stack_flags = _base(stack), stack >> 32 & CACHE_FLAGS
    else:
        stack_base, stack_flags = stack_segment.base, stack_segment.flags

    wide = gate & GATE_IS_32_BIT
    eip = gate & 0xFFFF | (gate >> 32 & 0xFFFF_0000 if wide else 0)
    if eip > _limit(code):
        raise Fault(GP, external)

    mask = _stack_mask(stack_flags)
    sp = _push(linear, stack_base, esp, mask, frame, 4 if wide else 2, user=cpl == 3)
    code = _accessed(linear, code_address, code)
    if inner:
        stack = _accessed(linear, stack_address, stack)

    # Nothing can fault from here on.
    if inner:
        _load(registers, SS, stack_selector, stack)
        if v86:
            for register in DATA_SEGMENTS:
                _load(registers, register, 0, 0)
    _load(registers, CS, selector & ~SELECTOR_RPL | cpl, code)
    registers.eip = eip
    registers.regs[ESP] = esp & ~mask | sp
    cleared = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM
    registers.eflags = eflags & ~(cleared if gate & GATE_IS_TRAP else cleared | FLAG_IF)
    _settle_hflags(registers, cpl)


def _handler(
    registers: Registers, linear: LinearMemory, selector: int, cpl: int, v86: int, external: int
) -> tuple[int, int]:
    """The address and value of the descriptor of a handler's code segment, found fit."""
    if not selector & ~SELECTOR_RPL:
        raise Fault(GP, external)
    address = _descriptor_address(registers, selector)
    if address is None:
        raise _selector_fault(GP, selector, external)
    code = _descriptor(linear, address)
    if code & (S | CODE) != S | CODE or code >> DPL_SHIFT & 3 > cpl:
        raise _selector_fault(GP, selector, external)
    if not code & P:
        raise _selector_fault(NP, selector, external)
    if v86 and (code & CONFORMING or code >> DPL_SHIFT & 3):  # §20.3.1.1: to level 0 only
        raise _selector_fault(GP, selector, external)
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
        raise _selector_fault(TS, tss.selector, external)
    esp, selector = pointer.unpack(linear.read(tss.base + offset, pointer.size))
    if not selector & ~SELECTOR_RPL:
        raise Fault(TS, external)
    address = _descriptor_address(registers, selector)
    if address is None:
        raise _selector_fault(TS, selector, external)
    stack = _descriptor(linear, address)
    _check_stack(selector, stack, level, external)
    return esp, selector, address, stack


def _check_stack(selector: int, stack: int, level: int, external: int) -> None:
    """A stack of privilege *level* is writable data of that level: §6.12.1 and table 7-1."""
    if (
        selector & SELECTOR_RPL != level
        or stack >> DPL_SHIFT & 3 != level
        or stack & (S | CODE | WRITABLE) != S | WRITABLE
    ):
        raise _selector_fault(TS, selector, external)
    if not stack & P:
        raise _selector_fault(STACK_FAULT, selector, external)


# --- task gates ---------------------------------------------------------------------------


def _through_task_gate(
    registers: Registers,
    linear: LinearMemory,
    event: Event,
    selector: int,
    eflags: int,
    external: int,
) -> None:
    """§6.12.2: switch to the task, and leave the error code on its stack."""
    wide = _switch_task(registers, linear, event.return_eip, selector, eflags, external)

    # From here on faults are the new task's, and find its registers: §7.3, step 13.
    linear = LinearMemory(registers, linear.memory)
    v86 = registers.eflags & FLAG_VM
    cpl = 3 if v86 else registers.segs[CS].selector & SELECTOR_RPL
    try:
        _load_ldt(registers, linear, external)
        if not v86:
            registers.segs[SS].flags = cpl << CACHE_DPL_SHIFT  # at every time CPL is SS's DPL
            _load_segments(registers, linear, cpl, external)
    finally:
        _settle_hflags(registers, cpl)

    if event.error_code is not None:
        stack = registers.segs[SS]
        mask = _stack_mask(stack.flags)
        esp = registers.regs[ESP]
        size = 4 if wide else 2
        sp = _push(linear, stack.base, esp, mask, (event.error_code,), size, user=cpl == 3)
        registers.regs[ESP] = esp & ~mask | sp
    if registers.eip > registers.segs[CS].limit:
        raise Fault(GP, external)


def _switch_task(
    registers: Registers,
    linear: LinearMemory,
    return_eip: int,
    selector: int,
    eflags: int,
    external: int,
) -> bool:
    """§7.3, steps 3 to 12, nested as a CALL is.  Says whether the new TSS is of 32 bits.

    All segments are left without a descriptor, save in virtual-8086 mode, which has none.
    """
    address = None if selector & SELECTOR_TI else _descriptor_address(registers, selector)
    if address is None:
        raise _selector_fault(GP, selector, external)
    tss = _descriptor(linear, address)
    kind = tss >> TYPE_SHIFT & 0x1F
    if kind not in (TSS_16, TSS_32):  # busy ones included
        raise _selector_fault(GP, selector, external)
    if not tss & P:
        raise _selector_fault(NP, selector, external)
    wide = kind == TSS_32
    if _limit(tss) < (TSS_32_LAST if wide else TSS_16_LAST):
        raise _selector_fault(TS, selector, external)

    base = _base(tss)
    image = linear.read(base, (TSS_32_LAST if wide else TSS_16_LAST) + 1)
    linear.probe_write(base, 2)
    linear.probe_write(address, 8)
    _save_task(registers, linear, return_eip, eflags)
    back_link = registers.tr.selector & 0xFFFF
    linear.write(base, back_link.to_bytes(2, "little"))
    linear.write(address, (tss | TSS_BUSY).to_bytes(8, "little"))

    if wide:
        cr3, eip, eflags, *rest = TSS_32_IMAGE.unpack(image)
        if registers.cr[0] & CR0_PG:
            registers.cr[3] = cr3
        general, segments, ldt = rest[:8], rest[8:14], rest[14]
    else:
        eip, eflags, *rest = TSS_16_IMAGE.unpack(image)
        general = [0xFFFF_0000 | value for value in rest[:8]]  # undefined; so does the engine
        segments, ldt = [*rest[8:12], 0, 0], rest[12]
    eflags = eflags & FLAGS_LOADED | FLAG_NT

    registers.tr.selector = selector
    registers.tr.base, registers.tr.limit = base, _limit(tss)
    registers.tr.flags = tss >> 32 & CACHE_FLAGS  # not as busy: the engine would abort on it
    registers.cr[0] |= CR0_TS
    registers.hflags |= HF_TS
    registers.dr[7] &= ~DR7_LOCAL
    registers.eip = eip
    registers.eflags = eflags
    for number, value in enumerate(general):
        registers.regs[number] = value
    for number, value in enumerate(segments):
        if eflags & FLAG_VM:
            _load_v86(registers, number, value)
        else:
            _load(registers, number, value, 0)
    registers.ldt.selector = ldt
    registers.ldt.base = registers.ldt.limit = registers.ldt.flags = 0
    return wide


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
    address = None if selector & SELECTOR_TI else _descriptor_address(registers, selector)
    if address is None:
        raise _selector_fault(TS, selector, external)
    descriptor = _descriptor(linear, address)
    if descriptor & (S | TYPE | P) != LDT | P:
        raise _selector_fault(TS, selector, external)
    ldt.base, ldt.limit = _base(descriptor), _limit(descriptor)
    ldt.flags = descriptor >> 32 & CACHE_FLAGS


def _load_segments(registers: Registers, linear: LinearMemory, cpl: int, external: int) -> None:
    """Table 7-1: check and load what the new task's selectors name."""
    for register in (CS, SS, ES, DS, FS, GS):
        selector = registers.segs[register].selector
        if not selector & ~SELECTOR_RPL:
            if register in (CS, SS):
                raise _selector_fault(TS, selector, external)
            continue
        address = _descriptor_address(registers, selector)
        if address is None:
            raise _selector_fault(TS, selector, external)
        descriptor = _descriptor(linear, address)
        if register == CS:
            _check_task_code(selector, descriptor, external)
        elif register == SS:
            _check_stack(selector, descriptor, cpl, external)
        else:
            _check_task_data(selector, descriptor, cpl, external)
        _load(registers, register, selector, _accessed(linear, address, descriptor))


def _check_task_code(selector: int, code: int, external: int) -> None:
    rpl, dpl = selector & SELECTOR_RPL, code >> DPL_SHIFT & 3
    if code & (S | CODE) != S | CODE or dpl > rpl or (dpl < rpl and not code & CONFORMING):
        raise _selector_fault(TS, selector, external)
    if not code & P:
        raise _selector_fault(NP, selector, external)


def _check_task_data(selector: int, data: int, cpl: int, external: int) -> None:
    rpl, dpl = selector & SELECTOR_RPL, data >> DPL_SHIFT & 3
    readable = data & S and (not data & CODE or data & READABLE)
    conforming = data & CODE and data & CONFORMING
    if not readable or (dpl < max(cpl, rpl) and not conforming):
        raise _selector_fault(TS, selector, external)
    if not data & P:
        raise _selector_fault(NP, selector, external)


# --- segments and stacks ------------------------------------------------------------------


def _selector_fault(vector: int, selector: int, external: int) -> Fault:
    """The fault whose error code names *selector*, §6.13."""
    return Fault(vector, selector & ~SELECTOR_RPL | external)


def _descriptor_address(registers: Registers, selector: int) -> int | None:
    """The linear address of *selector*'s descriptor, or None where it is beyond its table."""
    table = registers.ldt if selector & SELECTOR_TI else registers.gdt
    index = selector & SELECTOR_INDEX
    return None if index + 7 > table.limit else table.base + index


def _descriptor(linear: LinearMemory, address: int) -> int:
    return int.from_bytes(linear.read(address, 8), "little")


def _base(descriptor: int) -> int:
    return descriptor >> 16 & 0xFF_FFFF | descriptor >> 32 & 0xFF00_0000


def _limit(descriptor: int) -> int:
    """The last offset, in bytes."""
    limit = descriptor & 0xFFFF | descriptor >> 32 & 0xF_0000
    return limit << 12 | 0xFFF if descriptor & G else limit


def _accessed(linear: LinearMemory, address: int, descriptor: int) -> int:
    """*descriptor* with its accessed bit set, in memory too: §3.4.5.1."""
    if not descriptor & ACCESSED:
        descriptor |= ACCESSED
        linear.write(address + 5, bytes([descriptor >> TYPE_SHIFT & 0xFF]))
    return descriptor


def _load(registers: Registers, register: int, selector: int, descriptor: int) -> None:
    """Fill a segment register with its cache; a *descriptor* of 0 leaves it unusable."""
    segment = registers.segs[register]
    segment.selector = selector
    segment.base = _base(descriptor)
    segment.limit = _limit(descriptor)
    segment.flags = descriptor >> 32 & CACHE_FLAGS


def _load_v86(registers: Registers, register: int, selector: int) -> None:
    """§20.1.1: a segment of virtual-8086 mode is 64 KiB at 16 times its selector."""
    segment = registers.segs[register]
    segment.selector = selector
    segment.base = selector << 4
    segment.limit = 0xFFFF
    segment.flags = CACHE_V86


def _settle_hflags(registers: Registers, cpl: int) -> None:
    """Tell the translator of the new mode: CPL, the widths of CS and SS, no shadow of STI.

    ADDSEG says that some of DS, ES and SS may have a base, which 32-bit code as a rule has not.
    """
    segments = registers.segs
    hflags = registers.hflags & ~(HF_MODE | HF_OF_EFLAGS) | cpl
    if segments[SS].flags & CACHE_B:
        hflags |= HF_SS32
    code_is_32_bit = segments[CS].flags & CACHE_B
    if code_is_32_bit:
        hflags |= HF_CS32
    if not code_is_32_bit or segments[DS].base | segments[ES].base | segments[SS].base:
        hflags |= HF_ADDSEG
    registers.hflags = hflags


def _stack_mask(flags: int) -> int:
    """Which bits of ESP a stack segment with these cached *flags* uses: §3.4.5, B flag."""
    return 0xFFFF_FFFF if flags & CACHE_B else 0xFFFF


def _push(
    linear: LinearMemory,
    base: int,
    sp: int,
    mask: int,
    frame: Sequence[int],
    size: int,
    *,
    user: bool,
) -> int:
    """Push *frame*, the last item first, as items of *size* bytes; returns the new SP.

    *frame* reads as the handler's stack does, from the new SP up.  The first push that
    faults is the one that faults in hardware.
    """
    sp &= mask
    length = size * len(frame)
    item_mask = (1 << size * 8) - 1
    address = base + sp
    if sp >= length and (address - 1) % PAGE_BYTES >= length - 1:  # no wrap, one page: as a rule
        items = [value & item_mask for value in frame]
        data = struct.pack(f"<{len(frame)}{'I' if size == 4 else 'H'}", *items)
        first = linear.translate(address - size, write=True, user=user)
        linear.memory.write(first + size - length, data)
        return sp - length
    for value in reversed(frame):
        sp = sp - size & mask
        linear.write(base + sp, (value & item_mask).to_bytes(size, "little"), user=user)
    return sp
