"""Segments: descriptors in memory, the caches behind the registers, and stacks.

What delivery (delivery.py) and task switches (tasks.py) both need of SDM volume 3A, chapter 3.  A
descriptor is a number of 64 bits here, as it stands in its table; the cache behind a segment
register has its base and limit apart, and the rest of the second dword in `flags`.

    63        56 55 54 53 52 51     48 47 46 45 44 43  40 39                16 15            0
    base 31:24   G  B  L  -  lim 19:16 P  DPL   S  type   base 23:0            limit 15:0
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from emu.cpu.layout import (
    CS,
    DS,
    ES,
    HF_AC,
    HF_ADDSEG,
    HF_CPL,
    HF_CS32,
    HF_INHIBIT_IRQ,
    HF_IOPL,
    HF_RF,
    HF_SS32,
    HF_TF,
    HF_VM,
    SS,
    Registers,
)
from emu.cpu.paging import Fault, LinearMemory
from emu.cpu.vectors import STACK_FAULT, TS
from emu.memory import PAGE_BYTES

# An error code that names a descriptor, §6.13: its selector without RPL, and
ERROR_EXT = 1 << 0  # raised by an event from outside of the program
ERROR_IDT = 1 << 1  # the selector is a vector

SELECTOR_INDEX = 0xFFF8
SELECTOR_TI = 1 << 2  # in the LDT
SELECTOR_RPL = 3

# The bits of a descriptor, §3.4.5.
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


# --- descriptors --------------------------------------------------------------------------


def selector_fault(vector: int, selector: int, external: int) -> Fault:
    """The fault whose error code names *selector*, §6.13."""
    return Fault(vector, selector & ~SELECTOR_RPL | external)


def descriptor_address(registers: Registers, selector: int) -> int | None:
    """The linear address of *selector*'s descriptor, or None where it is beyond its table."""
    table = registers.ldt if selector & SELECTOR_TI else registers.gdt
    index = selector & SELECTOR_INDEX
    return None if index + 7 > table.limit else table.base + index


def read_descriptor(linear: LinearMemory, address: int) -> int:
    return int.from_bytes(linear.read(address, 8), "little")


def base_of(descriptor: int) -> int:
    return descriptor >> 16 & 0xFF_FFFF | descriptor >> 32 & 0xFF00_0000


def limit_of(descriptor: int) -> int:
    """The last offset, in bytes."""
    limit = descriptor & 0xFFFF | descriptor >> 32 & 0xF_0000
    return limit << 12 | 0xFFF if descriptor & G else limit


def mark_accessed(linear: LinearMemory, address: int, descriptor: int) -> int:
    """*descriptor* with its accessed bit set, in memory too: §3.4.5.1."""
    if not descriptor & ACCESSED:
        descriptor |= ACCESSED
        linear.write(address + 5, bytes([descriptor >> TYPE_SHIFT & 0xFF]))
    return descriptor


# --- segment registers --------------------------------------------------------------------


def load_segment(registers: Registers, register: int, selector: int, descriptor: int) -> None:
    """Fill a segment register with its cache; a *descriptor* of 0 leaves it unusable."""
    segment = registers.segs[register]
    segment.selector = selector
    segment.base = base_of(descriptor)
    segment.limit = limit_of(descriptor)
    segment.flags = descriptor >> 32 & CACHE_FLAGS


def load_v86_segment(registers: Registers, register: int, selector: int) -> None:
    """§20.1.1: a segment of virtual-8086 mode is 64 KiB at 16 times its selector."""
    segment = registers.segs[register]
    segment.selector = selector
    segment.base = selector << 4
    segment.limit = 0xFFFF
    segment.flags = CACHE_V86


def settle_hflags(registers: Registers, cpl: int) -> None:
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


# --- stacks -------------------------------------------------------------------------------


def check_stack(selector: int, stack: int, level: int, external: int) -> None:
    """A stack of privilege *level* is writable data of that level: §6.12.1 and table 7-1."""
    if (
        selector & SELECTOR_RPL != level
        or stack >> DPL_SHIFT & 3 != level
        or stack & (S | CODE | WRITABLE) != S | WRITABLE
    ):
        raise selector_fault(TS, selector, external)
    if not stack & P:
        raise selector_fault(STACK_FAULT, selector, external)


def stack_mask(flags: int) -> int:
    """Which bits of ESP a stack segment with these cached *flags* uses: §3.4.5, B flag."""
    return 0xFFFF_FFFF if flags & CACHE_B else 0xFFFF


def push(
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
