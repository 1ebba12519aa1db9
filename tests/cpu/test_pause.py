"""PAUSE does nothing, and ends a block, on either engine; the native one goes on by pause.c."""

from __future__ import annotations

import struct

import pytest
from rig import (
    CODE,
    DATA,
    EFLAGS_IF,
    ENGINES,
    TABLE,
    Rig,
    needs_native,
    paging,
    protected_mode,
    real_mode,
)

from emu.cpu.vectors import PF
from emu.memory import PAGE_BYTES

ROUNDS = 100
VECTOR = 0x21

# Flags and registers of before are there behind it: ADC adds the carry of the ADD, JNZ looks at DEC.
COUNT = bytes.fromhex(
    "b9 64 00 00 00"  # mov ecx, 100
    "31 db"  # xor ebx, ebx
    "b8 ff ff ff ff"  # again: mov eax, -1
    "01 c8"  # add eax, ecx
    "f3 90"  # pause
    "83 d3 02"  # adc ebx, 2
    "49"  # dec ecx
    "f3 90"  # pause
    "75 ef"  # jnz again
    "f4"  # hlt
)
BLOCKS = 3 * ROUNDS + 1  # each round has three, the first of which begins before the loop; the HLT


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("slice_blocks", [1, 2, 7, BLOCKS + 1])
def test_it_does_nothing_but_end_a_block(engine: str, slice_blocks: int) -> None:
    rig = Rig(engine)
    rig.load(COUNT, protected_mode())
    while not rig.processor.halted:
        rig.run(slice_blocks)

    assert rig.state.ebx == 3 * ROUNDS  # two, and the carry
    assert rig.clock.now_ns == BLOCKS
    rig.close()


def test_it_can_be_stepped_over(engine: str) -> None:
    rig = Rig(engine)
    rig.load(COUNT, protected_mode())
    steps = 0
    while rig.processor.step() is None:
        steps += 1

    assert steps == 2 + ROUNDS * 7 + 1
    assert rig.state.ebx == 3 * ROUNDS
    assert rig.clock.now_ns == BLOCKS
    rig.close()


def test_code_that_is_not_there_behind_it_faults_there(engine: str) -> None:
    """And not before it: what the block has done is done."""
    rig = Rig(engine)
    rig.memory.write(TABLE + 4 * (CODE // PAGE_BYTES + 1), struct.pack("<I", 0))
    begin = CODE + PAGE_BYTES - 3
    rig.load(bytes.fromhex("40 f3 90"), paging(begin, eax=7), begin)  # inc eax; pause

    rig.run()

    assert rig.reported == [PF]
    assert rig.state.cr2 == CODE + PAGE_BYTES
    assert rig.stack(2) == [0b000, CODE + PAGE_BYTES]  # the error code: not there; EIP
    assert rig.state.eax & ~0xFF == 0  # INC's 8, and the handler's AL over it
    rig.close()


def test_an_interrupt_comes_behind_it(engine: str) -> None:
    rig = Rig(engine)
    rig.load(bytes.fromhex("f3 90 eb fc"), real_mode(eflags=EFLAGS_IF))  # again: pause; jmp again
    rig.run(10)
    rig.interrupt(VECTOR)
    rig.run()

    assert rig.reported == [VECTOR]
    assert rig.stack(1, 2)[0] in (CODE, CODE + 2)
    rig.close()


def test_code_behind_it_that_has_changed_is_run_as_it_is(engine: str) -> None:
    rig = Rig(engine)
    # again: pause; mov al, 0; add [DATA], al; inc byte [the immediate]; dec ecx; jnz again; hlt
    code = "f3 90 b0 00 00 05" + struct.pack("<I", DATA).hex()
    code += "fe 05" + struct.pack("<I", CODE + 3).hex() + "49 75 ed f4"
    rig.load(bytes.fromhex(code), protected_mode(ecx=10))

    rig.run()

    assert rig.memory.read(DATA, 1)[0] == sum(range(10))
    rig.close()


@needs_native
def test_the_shadow_of_STI_over_it_is_the_same_on_both_engines() -> None:
    """STI keeps interrupts off for one instruction more; here that is PAUSE."""
    seen = []
    for engine in ("native", "reference"):
        rig = Rig(engine)
        rig.load(bytes.fromhex("fb f3 90 40 f3 90 40 f4"), protected_mode())  # sti; pause; inc ...
        rig.interrupt(VECTOR)
        rig.run()
        seen.append(rig.seen())
        rig.close()

    assert seen[0] == seen[1]
