"""The torture ROM, saved and restored on its way: in every mode, and nobody can tell.

Its tests change modes, fault, switch tasks and hold interrupts off; whatever a processor has for State,
some block of it begins with that.

    pytest -m soak tests/guests/test_torture_saves.py

goes through every block of it; without that, through some of each test's.
"""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

import emu
from emu import attrs
from emu.cpu import native
from emu.cpu.state import COMMON, CPU, REST, SAVED, State
from emu.host.ends import Memory
from emu.machine import Machine
from emu.savevm.stream import from_bytes, to_bytes
from emu.savevm.vmstate import Section, Values
from emu.until import Reason

ROM = Path(__file__).parents[2] / "firmware" / "images" / "torture.rom"
LENGTH_NS = 78_000_000  # it ends a little later
SAVES = 200
TITLE_ENDS = b": "  # and the test itself begins
BLOCKS_OF_A_TEST = 40
ONE_IN = 6  # of those

needs_native = pytest.mark.skipif(
    native.UNAVAILABLE is not None, reason=f"no native engine: {native.UNAVAILABLE}"
)
ENGINES = [pytest.param("native", marks=needs_native), "reference"]


@attrs.frozen
class End:
    """How a run of the ROM ends."""

    log: bytes
    now_ns: int
    digest: str

    @classmethod
    def of(cls, vm: Machine, log: bytes) -> End:
        return cls(log, vm.clock.now_ns, vm.digest())


class Log(Memory):
    """The debug port, and somebody who stops the machine at the end of a title."""

    vm: Machine | None = None

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.vm is not None and self.sent.endswith(TITLE_ENDS):
            self.vm.stop()


def start(engine: str) -> tuple[Machine, Log]:
    log = Log()
    return Machine(bios=ROM.read_bytes(), engine=engine, debugcon=log), log


@pytest.fixture(scope="module", params=ENGINES)
def straight(request: pytest.FixtureRequest) -> tuple[str, End]:
    """An engine, and how the ROM ends on it."""
    vm, log = start(request.param)
    with vm:
        assert vm.run(emu.after("1s")).reason is Reason.EXIT
        return request.param, End.of(vm, bytes(log.sent))


def test_saved_and_restored_many_times_over(straight: tuple[str, End]) -> None:
    """Each machine is another, made from the save of the one before."""
    engine, end = straight
    moments = sorted(random.Random(engine).sample(range(1, LENGTH_NS), SAVES))
    vm, log = start(engine)
    told = b""
    for moment in moments:
        assert vm.run(emu.clock(moment)).reason is Reason.UNTIL
        file = io.BytesIO()
        vm.save(file)
        vm.close()
        told += bytes(log.sent)
        file.seek(0)
        log = Memory()
        vm = emu.load(file, engine=engine, debugcon=log)

    assert vm.run(emu.after("1s")).reason is Reason.EXIT
    assert End.of(vm, told + bytes(log.sent)) == end
    vm.close()


def through_the_wire(state: State) -> State:
    """What a save of *state* holds."""

    def saved(section: Section) -> Values:
        f, data = to_bytes()
        section.put(f, state)
        f.fflush()
        return section.get(from_bytes(bytes(data)), section.version)

    found = {section.idstr: saved(section) for section in (COMMON, CPU, REST)}
    return SAVED.decode(from_bytes(b""), found)


def renew_engine(vm: Machine) -> None:
    """Go on with an engine that knows nothing but what a save says of the processor."""
    processor = vm._board.processor
    state = through_the_wire(processor.state)
    processor.engine.close()
    processor.engine = processor.make_engine(
        processor.memory, processor.model, processor.clock.costs, processor
    )
    processor.memory.invalidate = processor.engine.invalidate
    processor.state = state
    processor.settle()


def is_at_next_block(vm: Machine) -> bool:
    """Run to the next block's start; false where the ROM has ended before it."""
    return vm.run(emu.clock(vm.clock.now_ns + 1)).reason is not Reason.EXIT


def test_a_new_engine_in_each_test(straight: tuple[str, End]) -> None:
    engine, end = straight
    dice = random.Random(f"{engine} blocks")
    vm, log = start(engine)
    with vm:
        log.vm = vm
        while vm.run(emu.after("1s")).reason is Reason.STOPPED:
            for _ in range(BLOCKS_OF_A_TEST):
                if is_at_next_block(vm) and dice.randrange(ONE_IN) == 0:
                    renew_engine(vm)

        assert End.of(vm, bytes(log.sent)) == end


@pytest.mark.soak
def test_a_new_engine_at_every_block(straight: tuple[str, End]) -> None:
    engine, end = straight
    vm, log = start(engine)
    with vm:
        while is_at_next_block(vm):
            renew_engine(vm)

        assert End.of(vm, bytes(log.sent)) == end
