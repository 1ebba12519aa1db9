"""Whether an engine computes and counts right: a guest that changes its own code, also in slices.

The native engine is checked so where the library is not the very file that it was made with.
"""

from __future__ import annotations

from emu.clock import Costs
from emu.cpu import exchange
from emu.cpu.engine import EngineFactory, Outcome
from emu.cpu.models import Model
from emu.cpu.state import CODE_SEGMENT, DATA_SEGMENT, Segment, State
from emu.memory import MIB, PAGE_BYTES, Memory, Ram

# 32 times: change the immediate of an instruction of this very block, add it up, store the sum;
# then halt.  Each round enters three blocks (the one cut short by the store that changes it, that
# store again as a block of its own, and the rest), and the HLT is one more.
CODE = bytes.fromhex(
    "b9 20 00"  # mov cx, 32
    "bb 00 20"  # mov bx, 2000h
    "00 0e 0b 01"  # again: add [patched], cl
    "04 00"  # add al, 0; the immediate is at 10Bh
    "00 07"  # add [bx], al
    "e2 f6"  # loop again
    "f4"  # hlt
)
START = 0x100
RESULT = 0x2000
BLOCKS = 32 * 3 + 1
MOST = 10 * BLOCKS  # by then it has gone wrong
BLOCK_NS = 1  # so that the clock counts blocks


def run(make: EngineFactory) -> str | None:
    """None if the engines that *make* makes do what they should, or what they do not."""
    for slice_blocks in (MOST, 1, 3):
        if problem := _run_guest(make, slice_blocks):
            return problem
    return None


def _run_guest(make: EngineFactory, slice_blocks: int) -> str | None:
    """Run the guest in slices of so many blocks: None, or what is wrong."""
    memory = Memory(Ram("check.ram", MIB), Ram("check.rom", PAGE_BYTES))
    calls = NoCalls()
    engine = make(memory, Model.I486, Costs(block_ns=BLOCK_NS), calls)
    memory.ram.write(START, CODE)
    data = Segment(flags=DATA_SEGMENT)
    state = State(eip=START, cs=Segment(flags=CODE_SEGMENT), ds=data, es=data, ss=data)
    exchange.write_registers(engine.registers, state)
    outcome = Outcome.STOPPED
    while outcome is Outcome.STOPPED and engine.now_ns < MOST:
        engine.deadline_ns = min(engine.now_ns + slice_blocks, MOST)
        outcome = engine.run()
    blocks = engine.now_ns
    found = memory.ram.read(RESULT, 1)[0]
    engine.close()
    if calls.called or outcome is not Outcome.HALTED or found != _result():
        return "a guest that changes its own code computes wrongly"
    if blocks != BLOCKS:
        return f"in slices of {slice_blocks} a guest enters {blocks} blocks, not {BLOCKS}"
    return None


def _result() -> int:
    """What the guest is to compute."""
    added = total = stored = 0
    for cx in range(32, 0, -1):
        added = (added + cx) & 0xFF
        total = (total + added) & 0xFF
        stored = (stored + total) & 0xFF
    return stored


class NoCalls:
    """What an engine calls: the guest needs none of it, so whatever is called is wrong."""

    def __init__(self) -> None:
        self.called = False

    def port_read(self, port: int, size: int, now_ns: int) -> int:  # noqa: ARG002
        self.called = True
        return 0

    def port_write(self, port: int, size: int, value: int, now_ns: int) -> None:  # noqa: ARG002
        self.called = True

    def reached(self, now_ns: int) -> None:
        """A slice is over, and the run ends."""

    def exception(self, vector: int) -> None:  # noqa: ARG002
        self.called = True

    def invalid_instruction(self) -> None:
        self.called = True

    def sysenter(self) -> None:
        self.called = True

    def syscall(self) -> None:
        self.called = True

    def failed(self, error: BaseException) -> None:  # noqa: ARG002
        self.called = True
