"""Guests that nobody would write: whatever they do, the emulator does not raise.

    python tests/odd_guests.py ENGINE SEED COUNT

runs COUNT processors, each from a State and with code that were drawn by lot, in a whole machine.
However that ends, it ends as a run may end.  A line for each way says how often; anything else ends
the process: an exception by its traceback, a crash by its signal, an endless loop by the time limit
of whoever started this.  The last case that was begun is on standard error, by its seed.
"""

from __future__ import annotations

import collections
import faulthandler
import os
import random
import struct
import sys

from rig import (
    CODE,
    DIRECTORY,
    GDT,
    HANDLERS,
    IDT,
    STACK,
    TABLE,
    TSS,
    paging,
    protected_mode,
    real_mode,
)

import emu
from emu.cpu import layout
from emu.cpu.models import Model
from emu.cpu.state import EFER_MOST, GENERAL, SEGMENTS, X87, Segment, State, Xmm
from emu.machine import Machine
from emu.memory import MIB, PAGE_BYTES

CASES_A_MACHINE = 100
RUN = "1us"  # some 200 blocks
RAM_BYTES = MIB
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
DESCRIPTORS = (0x0000, 0x9300, 0x9B00, 0xF300, 0xFB00, 0xCF_9300, 0xCF_9B00, 0xCF_F300, 0xCF_FB00)
CR0_BITS = 0xE005_003F
CR4_BITS = 0x6FF
EFLAGS_BITS = 0x3F_7FD5
PREFIXES = bytes.fromhex("26 2e 36 3e 64 65 66 67 f0 f2 f3 0f 0f 0f")


def number(dice: random.Random) -> int:
    """A 32-bit number: any, one at an edge, or one that is an address in RAM."""
    match dice.randrange(4):
        case 0:
            return dice.choice(EDGES)
        case 1:
            return dice.getrandbits(32)
        case _:
            return dice.randrange(RAM_BYTES)


def segment(dice: random.Random) -> Segment:
    """A segment as some instruction may have left it; or as none has."""
    flags = dice.choice(DESCRIPTORS) if dice.random() < 0.8 else dice.getrandbits(32) & 0xF0_FF00
    base = dice.choice([0, 0, number(dice), dice.randrange(0x1_0000) << 4])
    limit = dice.choice([0xFFFF, 0xFFFF_FFFF, number(dice)])
    return Segment(dice.getrandbits(16), base, limit, flags)


def odd_state(dice: random.Random) -> State:
    """A State of one of the modes, with something of it otherwise."""
    mode = dice.choice([real_mode, protected_mode, paging])
    state = mode(dice.choice([CODE, CODE, number(dice)]))
    if mode is not real_mode and dice.random() < 0.3:
        state = mode(state.eip, level=3)
    for name in GENERAL:
        setattr(state, name, number(dice))
    state.eflags = dice.getrandbits(32) & EFLAGS_BITS & ~(1 << 17) | 2
    if mode is not real_mode and dice.random() < 0.2:
        state.eflags |= 1 << 17
    for name in (*SEGMENTS, "ldtr", "gdtr", "idtr"):
        if dice.random() < 0.15:
            setattr(state, name, segment(dice))
    for name, bits in (("cr0", CR0_BITS), ("cr4", CR4_BITS)):
        if dice.random() < 0.3:
            setattr(state, name, getattr(state, name) ^ dice.getrandbits(32) & bits)
    for name in ("cr2", "cr3", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7"):
        if dice.random() < 0.1:
            setattr(state, name, number(dice))
    state.efer = dice.choice([0, 0, EFER_MOST])
    state.fpu_control, state.fpu_status = dice.getrandbits(16), dice.getrandbits(16)
    state.fpu_valid = dice.getrandbits(8)
    state.fpu = [X87(dice.getrandbits(64), dice.getrandbits(16)) for _ in range(8)]
    state.mxcsr = dice.choice([0x1F80, dice.getrandbits(16)])
    state.xmm = [Xmm(dice.getrandbits(64), dice.getrandbits(64)) for _ in range(8)]
    state.sysenter_cs, state.sysenter_eip = number(dice), number(dice)
    state.msrs = [dice.getrandbits(64) for _ in layout.MSRS]
    state.a20 = dice.random() < 0.9
    state.halted, state.interrupt_shadow = dice.random() < 0.05, dice.random() < 0.1
    return state


def odd_code(dice: random.Random) -> bytes:
    """Some bytes, with more prefixes among them than there would be."""
    code = bytearray(dice.randbytes(64))
    for _ in range(dice.randrange(12)):
        code[dice.randrange(len(code))] = dice.choice(PREFIXES)
    return bytes(code)


def furnish(vm: Machine, dice: random.Random) -> None:
    """Tables such as a guest has, for all modes; what is in their way is overwritten."""
    ram = bytearray(dice.randbytes(0x2_0000))
    for vector in range(256):
        handler = HANDLERS + 8 * vector
        struct.pack_into("<HH", ram, vector * 4, handler, 0)
        struct.pack_into("<HHBBH", ram, IDT + vector * 8, handler, 8, 0, 0xEE, 0)
        if dice.random() < 0.7:
            ram[handler : handler + 2] = bytes.fromhex("cf 90")  # iret
    flat = (
        0x00CF_9B00_0000_FFFF,
        0x00CF_9300_0000_FFFF,
        0x00CF_FB00_0000_FFFF,
        0x00CF_F300_0000_FFFF,
    )
    struct.pack_into("<6Q", ram, GDT, 0, *flat, 0x0000_8900_0A00_0067)
    struct.pack_into("<II", ram, TSS + 4, STACK, 0x10)
    struct.pack_into("<I", ram, DIRECTORY, TABLE | 7)
    struct.pack_into("<256I", ram, TABLE, *(page * PAGE_BYTES | 7 for page in range(256)))
    vm.memory.write(0, bytes(ram))


def run_case(vm: Machine, seed: int) -> str:
    """One processor of seed *seed*: how its run ended."""
    dice = random.Random(seed)
    if dice.random() < 0.3:
        furnish(vm, dice)
    state = odd_state(dice)
    at = (state.cs.base + state.eip) & 0xFFFF_FFFF
    if at < RAM_BYTES - 64:
        vm.memory.write(at, odd_code(dice))
    processor = vm._board.processor
    state.intr = processor.state.intr  # a pin's level is whose pin it is
    processor.state = state
    processor.settle()
    return vm.run(emu.after(RUN)).reason.name


def main(engine: str, first: int, count: int) -> None:
    faulthandler.enable()
    ends: collections.Counter[str] = collections.Counter()
    for start in range(first, first + count, CASES_A_MACHINE):
        model = list(Model)[start // CASES_A_MACHINE % len(Model)]
        with Machine("hello", memory=RAM_BYTES, engine=engine, cpu=model.value) as vm:
            furnish(vm, random.Random(start))
            for seed in range(start, min(start + CASES_A_MACHINE, first + count)):
                os.write(2, b"%d\r" % seed)
                ends[run_case(vm, seed)] += 1
    for reason, times in sorted(ends.items()):
        sys.stdout.write(f"{reason} {times}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
