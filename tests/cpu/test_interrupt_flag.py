"""An interrupt that waits for IF is delivered where IF is set, by whatever sets it, on either engine.

The native engine looks at no block's start while it waits (interrupt_flag.c), so each way to set IF
has a guest here: a hundred blocks with IF clear, then IF is set, then blocks without end.
"""

from __future__ import annotations

import struct

import pytest
from rig import (
    CODE,
    CODE_0,
    DATA_0,
    EFLAGS_IF,
    ENGINES,
    HANDLERS,
    IDT,
    SPARE,
    SPARE_SELECTOR,
    STACK,
    TSS,
    Rig,
    needs_native,
    protected_mode,
    real_mode,
)

from emu import attrs
from emu.cpu.state import State

VECTOR = 0x21
FOR_EVER = CODE + 0x100  # nop; jmp to itself
TSS_32, BUSY = 0x0000_8900_0000_0067 | (SPARE & 0xFFFFFF) << 16, 0x0000_0200_0000_0000
EFLAGS_NT = 1 << 14
BLOCKS = 100

COUNT_DOWN = bytes.fromhex("66 b9 64 00 e2 fe")  # of 32 bits: mov cx, 100; loop to itself
COUNT_DOWN_16 = bytes.fromhex("b9 64 00 e2 fe")


def task_state() -> bytes:
    """A TSS whose task goes on at FOR_EVER with IF set."""
    fields = [0] * 26
    fields[8], fields[9], fields[14] = FOR_EVER, EFLAGS_IF | 2, STACK
    fields[18:24] = [DATA_0, CODE_0, DATA_0, DATA_0, DATA_0, DATA_0]
    return struct.pack("<26I", *fields)


@attrs.frozen
class Way:
    """How a guest sets IF, from a state in which it is clear."""

    code: str
    state: State
    busy: bool = False  # the other task is to be returned to


JUMP = f"68 {struct.pack('<I', FOR_EVER).hex()} c3"  # push FOR_EVER; ret
JUMP_16 = f"68 {struct.pack('<H', FOR_EVER).hex()} c3"
FLAGS = struct.pack("<I", EFLAGS_IF | 2).hex()
FAR = struct.pack("<IH", 0, SPARE_SELECTOR).hex()

WAYS = {
    "STI": Way(f"fb {JUMP}", protected_mode(ecx=0)),
    "STI in real mode": Way(f"fb {JUMP_16}", real_mode()),
    "POPF": Way(f"68 {FLAGS} 9d {JUMP}", protected_mode(ecx=0)),
    "POPF of 16 bits": Way(f"68 {FLAGS} 66 9d {JUMP}", protected_mode(ecx=0)),
    "POPF in real mode": Way(f"68 {FLAGS[:4]} 9d {JUMP_16}", real_mode()),
    "IRET": Way(
        f"68 {FLAGS} 6a {CODE_0:02x} 68 {struct.pack('<I', FOR_EVER).hex()} cf",
        protected_mode(ecx=0),
    ),
    "IRET in real mode": Way(
        f"68 {FLAGS[:4]} 6a 00 68 {struct.pack('<H', FOR_EVER).hex()} cf", real_mode()
    ),
    "JMP to a task": Way(f"ea {FAR}", protected_mode(ecx=0)),
    "CALL of a task": Way(f"9a {FAR}", protected_mode(ecx=0)),
    "IRET to a task": Way("cf", protected_mode(ecx=0, eflags=2 | EFLAGS_NT), busy=True),
    "INT of a task gate": Way("cd 40", protected_mode(ecx=0)),
    "INT3 and IRET": Way(f"cc {JUMP}", protected_mode(ecx=0)),  # its handler sets it in the frame
}


def run(engine: str, way: Way) -> tuple[int, list[int], State, bytes]:
    rig = Rig(engine)
    rig.describe(SPARE_SELECTOR, TSS_32 | (BUSY if way.busy else 0))
    rig.memory.write(SPARE, task_state())
    rig.memory.write(TSS, struct.pack("<H", SPARE_SELECTOR))
    rig.memory.write(IDT + 8 * 0x40, struct.pack("<HHBBH", 0, SPARE_SELECTOR, 0, 0x85, 0))
    handler = HANDLERS + 8 * 3
    rig.memory.write(handler, bytes.fromhex("80 4c 24 09 02 cf"))  # or byte [esp+9], 2; iret
    rig.memory.write(FOR_EVER, bytes.fromhex("90 eb fd"))
    down = COUNT_DOWN if way.state.cr0 & 1 else COUNT_DOWN_16
    rig.load(down + bytes.fromhex(way.code), way.state)
    rig.interrupt(VECTOR)

    rig.run()

    seen = rig.clock.now_ns, rig.reported, rig.state, rig.memory.read(0, 0x1_0000)
    rig.close()
    return seen


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", WAYS)
def test_it_is_delivered_at_once(engine: str, name: str) -> None:
    """And not where the run ends, or where anything else has the engine look."""
    now_ns, reported, state, _ = run(engine, WAYS[name])

    assert reported == [VECTOR]
    assert state.halted
    assert now_ns < 2 * BLOCKS


@needs_native
@pytest.mark.parametrize("name", WAYS)
def test_it_is_the_same_on_both_engines(name: str) -> None:
    first, second = (run(engine, WAYS[name]) for engine in ("native", "reference"))

    assert first == second
