"""The call at each block's start that native.c makes an addition: it counts and stops all the same."""

from __future__ import annotations

import ctypes
import math

import pytest
from rig import CODE, EFLAGS_IF, ENGINES, Rig, needs_native, python, real_mode

from emu.clock import Costs
from emu.cpu.stepping import Pace

BLOCK_CODE = 32  # in the head of a block: where its translation is
ADDITION, CALL = b"\x48\x83\x85", b"\x48\xbf"  # how the two begin

ROUNDS = 100
LOOP = bytes.fromhex(
    "b9 64 00"  # mov cx, 100
    "01 ca"  # again: add dx, cx
    "e2 fc"  # loop again
    "fa"  # cli
    "f4"  # hlt
)


def rig_of(engine: str, block_ns: int) -> Rig:
    rig = Rig(engine, costs=Costs(block_ns=block_ns, port_ns=0, rdtsc_ns=400))
    rig.load(LOOP, real_mode(eflags=EFLAGS_IF))
    return rig


def begins(rig: Rig) -> bytes:
    """The first bytes of the translation of the block that the native engine is at."""
    engine = rig.processor.engine
    engine._go(Pace.PEEK)
    code = ctypes.c_uint64.from_address(engine._shared.block + BLOCK_CODE).value
    return ctypes.string_at(code, 3)


@needs_native
@pytest.mark.parametrize(("block_ns", "expected"), [(1, ADDITION), (127, ADDITION), (128, CALL)])
def test_it_is_an_addition_where_the_cost_fits_a_byte(block_ns: int, expected: bytes) -> None:
    """In a new process: where threads have had memory, all of it may be too far from native.c."""
    program = (
        f"import {__name__} as test; print(test.begins(test.rig_of('native', {block_ns})).hex())"
    )

    told = python(program)

    assert bytes.fromhex(told.stdout).startswith(expected)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("block_ns", [1, 5, 127, 128, 1000])
@pytest.mark.parametrize("slice_blocks", [1, 2, 7, ROUNDS * 2])
def test_blocks_are_counted_however_it_is_sliced(
    engine: str, block_ns: int, slice_blocks: int
) -> None:
    """Each round is a block; the first one begins before the loop, and the end is one more."""
    rig = rig_of(engine, block_ns)
    stops = 0
    while not rig.processor.halted:
        rig.run(slice_blocks * block_ns)
        stops += 1

    assert rig.processor.engine.now_ns == (ROUNDS + 1) * block_ns
    assert stops == math.ceil((ROUNDS + 1) / slice_blocks)
    assert rig.state.edx == ROUNDS * (ROUNDS + 1) // 2
    rig.close()


@pytest.mark.parametrize("block_ns", [1, 128])
def test_a_pin_that_goes_high_between_runs_is_seen_at_the_next_block(
    engine: str, block_ns: int
) -> None:
    rig = rig_of(engine, block_ns)
    rig.run(10 * block_ns)
    rig.interrupt(0x21)
    rig.run(block_ns)

    assert rig.state.eip != CODE
    assert rig.vectors == []
    rig.close()


@pytest.mark.parametrize("block_ns", [1, 128])
def test_a_pin_that_must_wait_costs_no_time(engine: str, block_ns: int) -> None:
    """With IF clear each block's start is looked at, and none stops."""
    rig = rig_of(engine, block_ns)
    rig.load(LOOP, real_mode())
    rig.interrupt(0x21)
    rig.run(1000 * block_ns)

    assert rig.processor.halted
    assert rig.processor.engine.now_ns == (ROUNDS + 1) * block_ns
    assert rig.vectors == [0x21]
    rig.close()


@pytest.mark.parametrize("block_ns", [1, 128])
def test_a_pin_that_has_waited_is_seen_where_IF_is_set(engine: str, block_ns: int) -> None:
    """And not where the run ends."""
    rig = rig_of(engine, block_ns)
    sti_and_stay = bytes.fromhex("fb 90 eb fd")  # sti; again: nop; jmp again
    rig.load(LOOP[:-2] + sti_and_stay, real_mode())
    rig.interrupt(0x21)
    rig.run(1000 * block_ns)

    assert rig.reported == [0x21]
    # The loop; STI, which ends a block, and what it keeps off; the handler, which reports and halts.
    assert rig.processor.engine.now_ns == (ROUNDS + 3) * block_ns
    rig.close()
