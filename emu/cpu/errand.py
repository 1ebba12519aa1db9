"""Errands: a few instructions that the engine runs for us, and the guest knows nothing of.

Some of what the engine knows has no way in but an instruction.  `run` lends it a bit of RAM, and
takes care that in the end nothing has changed but what the errand was for, and the registers,
which are for the caller to write anew.
"""

from __future__ import annotations

from emu.clock import NEVER
from emu.cpu import exchange
from emu.cpu.engine import Engine
from emu.cpu.state import CODE_SEGMENT, Segment, State
from emu.memory import Memory

SET_BREAKPOINTS = bytes.fromhex(
    "0f 23 f8"  # mov dr7, eax
    "0f 23 c3"  # mov dr0, ebx
    "0f 23 c9"  # mov dr1, ecx
    "0f 23 d2"  # mov dr2, edx
    "0f 23 de"  # mov dr3, esi
    "0f 23 ff"  # mov dr7, edi
    "f4"  # hlt
)
# In DR7: all of another type, and none enabled.  Where only the bits that enable are changed, the
# engine looks at these alone, and a task switch has cleared some of them already.
FORGET_BREAKPOINTS = 0xFFFF_0400
ROOM = 32  # more than any errand takes
PLACES = range(0, 9 * ROOM, ROOM)  # four breakpoints and four new ones cannot be in all nine


def run(engine: Engine, memory: Memory, code: bytes, state: State, place: int = 0) -> None:
    """Run *code*, which ends in a HLT, at *place* in real mode, with the registers of *state*."""
    kept = engine.now_ns, engine.deadline_ns, engine.interrupt
    before = memory.ram.read(place, len(code))
    _lend(engine, memory, place, code)
    state.cs = Segment(base=place, flags=CODE_SEGMENT)
    state.eip = 0
    exchange.write_registers(engine.registers, state)
    engine.registers_loaded()
    engine.deadline_ns, engine.interrupt = NEVER, False
    engine.run()
    _lend(engine, memory, place, before)
    engine.now_ns, engine.deadline_ns, engine.interrupt = kept


def _lend(engine: Engine, memory: Memory, place: int, data: bytes) -> None:
    memory.ram.write(place, data)
    engine.invalidate(place, len(data))


def set_breakpoints(engine: Engine, memory: Memory, state: State) -> None:
    """Have #DB raised where DR0 to DR3 and DR7 of *state* say, and nowhere else.

    The engine looks at its own list of them, which only MOV to a debug register changes.
    """
    old = [engine.registers.dr[number] & exchange.MASK_32 for number in range(8)]
    addresses = {*old[:4], state.dr0, state.dr1, state.dr2, state.dr3}
    place = next(place for place in PLACES if addresses.isdisjoint(range(place, place + ROOM)))
    registers = State(
        eax=FORGET_BREAKPOINTS,
        ebx=state.dr0,
        ecx=state.dr1,
        edx=state.dr2,
        esi=state.dr3,
        edi=state.dr7,
        dr0=old[0],
        dr1=old[1],
        dr2=old[2],
        dr3=old[3],
        dr7=old[7],
    )
    run(engine, memory, SET_BREAKPOINTS, registers, place)
