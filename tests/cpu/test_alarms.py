"""Alarms that are due while a guest runs: they fire at a block's start, before the block.

The native engine need not end its run for that (`Calls.reached`); nobody can tell.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rig import CODE, EFLAGS_IF, ENGINES, Rig, protected_mode

from emu.clock import Alarm
from emu.cpu.processor import Pause

VECTOR = 0x21
INC_ESI = b"\x46"
COUNT = bytes.fromhex("40 eb fd")  # again: inc eax; jmp again


@pytest.fixture(params=ENGINES)
def rig(request: pytest.FixtureRequest) -> Rig:
    """A guest that counts its blocks in EAX."""
    rig = Rig(request.param)
    rig.load(COUNT, protected_mode(eflags=EFLAGS_IF))
    return rig


def alarm(rig: Rig, at_ns: int, callback: Callable[[], None]) -> Alarm:
    made = rig.clock.alarm("test", 0, "test", callback)
    made.arm(at_ns)
    return made


def test_it_sees_its_time(rig: Rig) -> None:
    seen = []
    ringing = alarm(rig, 10, lambda: seen.append(rig.clock.now_ns))

    rig.run(20)
    ringing.arm(25)
    rig.run(20)

    assert seen == [10, 25]
    assert (rig.clock.now_ns, rig.state.eax) == (40, 40)
    rig.close()


def test_it_may_be_armed_again(rig: Rig) -> None:
    seen = []

    def ring() -> None:
        seen.append(rig.clock.now_ns)
        ringing.arm(rig.clock.now_ns + 10)

    ringing = alarm(rig, 10, ring)
    rig.run(55)

    assert seen == [10, 20, 30, 40, 50]
    assert rig.state.eax == 55
    rig.close()


@pytest.mark.parametrize("slice_ns", [1, 7, 100])
def test_an_interrupt_that_it_raises_comes_before_the_block(rig: Rig, slice_ns: int) -> None:
    alarm(rig, 10, lambda: rig.interrupt(VECTOR))
    while not rig.processor.halted:
        rig.run(slice_ns)

    assert rig.reported == [VECTOR]
    assert rig.stack(1) == [CODE]
    assert rig.state.eax == VECTOR  # AL; the handler has it from there
    assert rig.clock.now_ns == 11  # ten blocks, and the handler's
    rig.close()


def test_a_stop_that_it_asks_for_comes_before_the_block(rig: Rig) -> None:
    alarm(rig, 10, rig.processor.stop)

    assert rig.run() is Pause.REACHED
    assert (rig.clock.now_ns, rig.state.eax) == (10, 10)
    rig.close()


def test_code_that_it_writes_is_run(rig: Rig) -> None:
    """The very block that was to be entered."""
    alarm(rig, 10, lambda: rig.memory.write(CODE, INC_ESI))
    rig.run(30)

    assert (rig.state.eax, rig.state.esi) == (10, 20)
    rig.close()


def test_it_may_move_the_clock_on(rig: Rig) -> None:
    """As a serial port does that has to wait."""
    alarm(rig, 10, lambda: rig.clock.advance(1000))
    rig.run(1020)

    assert (rig.clock.now_ns, rig.state.eax) == (1020, 20)
    rig.close()


def test_what_it_raises_comes_out_of_the_run(rig: Rig) -> None:
    """Where no block has been begun; and the guest goes on from there."""
    raised = []

    def ring() -> None:
        raised.append(rig.clock.now_ns)
        raise ZeroDivisionError

    alarm(rig, 10, ring)

    with pytest.raises(ZeroDivisionError):
        rig.run(20)
    assert raised == [rig.clock.now_ns] == [10]
    assert rig.state.eax == 10
    rig.run(20)
    assert rig.state.eax == 30
    rig.close()


def test_one_that_is_due_where_the_run_ends_has_fired(rig: Rig) -> None:
    seen = []
    alarm(rig, 20, lambda: seen.append(rig.clock.now_ns))

    rig.run(20)

    assert seen == [20]
    rig.close()
