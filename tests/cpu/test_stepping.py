"""One instruction at a time: nobody can tell, and the fault of a fetch comes where it belongs."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from rig import (
    CODE,
    CR0_PE,
    CR0_PG,
    DATA,
    ENGINES,
    HANDLERS,
    TABLE,
    Rig,
    needs_corrections,
    needs_native,
    paging,
    real_mode,
)

import emu
from emu import attrs
from emu.cpu import binding
from emu.cpu.processor import Pause
from emu.cpu.state import State
from emu.cpu.vectors import PF, UD
from emu.host.ends import Memory
from emu.machine import Machine
from emu.memory import MIB
from emu.until import Reason

ROM = Path(__file__).parents[2] / "firmware" / "images" / "torture.rom"
MOST_STEPS = 1000  # no guest here has as many instructions
EDGE = 0x1F_0000  # a page's start
IRET_FRAME = DATA + 0x100


@attrs.frozen
class Guest:
    """A few instructions, and what they begin with."""

    code: str
    state: State = attrs.field(factory=real_mode)


def counted_loop() -> State:
    return real_mode(ecx=5, esi=DATA, edi=DATA + 64)


GUESTS = {
    "one block": Guest("40 40 40 f4"),  # inc ax, three times; hlt
    "blocks": Guest("40 eb 00 40 e2 fa f4", counted_loop()),  # again: inc; jmp $+2; inc; loop again
    "REP": Guest("40 f3 a4 40 f4", counted_loop()),  # inc ax; rep movsb; inc ax; hlt
    "REP of no iterations": Guest("40 f3 a4 40 f4"),
    "ports": Guest("e4 81 40 e6 81 40 e4 81 40 f4"),  # in al, 81h; inc; out 81h, al; ...
    "INT n": Guest("40 cd 20 40 f4"),
    "a fault in a block": Guest("40 40 f7 f3 40 f4"),  # inc ax, twice; div bx, which is 0
    "an undefined instruction": Guest("40 0f 0b"),
    "STI and its shadow": Guest("fb 40 40 40 f4"),
    "MOV SS and its shadow": Guest("8e d3 40 40 f4"),
    "single step": Guest("40 40 40 f4", real_mode(eflags=0x102)),
    "RDTSC": Guest("0f 31 40 0f 31 40 f4"),
    "CPUID": Guest("40 0f a2 40 f4"),
    "code that changes what follows in its block": Guest(
        "c6 06 06 10 43 40 40 40 f4"  # mov byte [1006h], 43h (inc bx for inc ax); inc ax; ...
    ),
    "code that changes itself": Guest("c6 06 04 10 43 40 40 f4"),  # its own immediate
    "a task's whole day": Guest(
        "b9 04 00 89 c8 f7 e1 01 c3 50 5a e2 f6 68 00 20 9d 9c 58 f4"  # mul, push, pop, loop, popf
    ),
}


def start(rig: Rig, guest: Guest) -> None:
    rig.ports.on_read[0x81] = lambda: len(rig.ports.written)
    rig.load(bytes.fromhex(guest.code), guest.state)


def step_to_the_end(rig: Rig) -> list[tuple[int, int, bool]]:
    """Step until the guest halts: its clock, EIP and whether mid-block, after each."""
    seen = []
    for _ in range(MOST_STEPS):
        pause = rig.processor.step()
        seen.append((rig.clock.now_ns, rig.state.eip, rig.processor.engine.is_mid_block))
        if pause is not None:
            return seen
    pytest.fail("it does not end")


NATIVE = ("native", "python-delivering")
# The reference engine cannot tell that a block has changed itself, and counts another (reference.py).
UNCHANGED = [name for name in GUESTS if "changes" not in name]
COUNTED_RIGHT = [
    *(pytest.param(kind, name, marks=needs_native) for kind in NATIVE for name in GUESTS),
    *(("reference", name) for name in UNCHANGED),
]


@pytest.fixture(params=GUESTS)
def guest(request: pytest.FixtureRequest) -> Guest:
    return GUESTS[request.param]


class TestNobodyCanTell:
    """Where a run is stepped, and how far, changes neither result nor clock."""

    def test_from_the_first_instruction_to_the_last(
        self, rig: Rig, guest: Guest, request: pytest.FixtureRequest
    ) -> None:
        straight = Rig(rig.engine_name)
        start(straight, guest)
        straight.run()
        start(rig, guest)

        step_to_the_end(rig)

        if rig.engine_name == "reference" and "changes" in request.node.name:
            rig.clock.advance_to(straight.clock.now_ns)  # which cannot tell (reference.py)
        assert rig.seen() == straight.seen()
        straight.close()

    @pytest.mark.parametrize(("rig", "guest"), COUNTED_RIGHT, indirect=True)
    def test_a_run_goes_on_from_after_any_number(self, rig: Rig, guest: Guest) -> None:
        """It ends the block first that it finds begun."""
        straight = Rig(rig.engine_name)
        start(straight, guest)
        straight.run()
        start(rig, guest)
        steps = len(step_to_the_end(rig))

        for count in range(steps):
            mine = Rig(rig.engine_name)
            start(mine, guest)
            for _ in range(count):
                assert mine.processor.step() is None
            mine.run()
            assert mine.seen() == straight.seen()
            mine.close()
        straight.close()

    @pytest.mark.parametrize("engine", ENGINES)
    def test_in_the_torture_ROM(self, engine: str) -> None:
        """In every mode that a processor has; between the steps it runs, from mid-block too."""
        chance = random.Random(7)
        ends = []
        for most_steps in (1, 60):
            log = Memory()
            with Machine(bios=ROM.read_bytes(), engine=engine, debugcon=log) as vm:
                while vm.run(emu.after("100us")).reason is Reason.UNTIL:
                    for _ in range(chance.randrange(most_steps)):
                        if vm._board.processor.step() is Pause.SHUTDOWN:
                            vm.reset()
                ends.append((bytes(log.sent), vm.clock.now_ns, vm.digest()))

        assert ends[0] == ends[1]

    @needs_native
    @pytest.mark.parametrize("guest", UNCHANGED, indirect=True)
    def test_engines_agree_on_each_step(self, guest: Guest) -> None:
        rigs = [Rig("native"), Rig("reference")]
        for rig in rigs:
            start(rig, guest)

        first, second = map(step_to_the_end, rigs)

        assert first == second
        for rig in rigs:
            rig.close()


class TestStep:
    def test_is_one_instruction_and_the_block_counts_once(self, rig: Rig) -> None:
        start(rig, GUESTS["one block"])

        assert step_to_the_end(rig) == [
            (0, CODE + 1, True),  # machine time stands still within a block
            (0, CODE + 2, True),
            (0, CODE + 3, True),
            (1, CODE + 4, False),  # hlt
            (1, CODE + 4, False),
        ]
        assert rig.state.halted

    def test_each_iteration_of_REP_is_one(self, rig: Rig) -> None:
        """And one more is the look that finds no count left."""
        start(rig, GUESTS["REP"])

        assert [eip - CODE for _, eip, _ in step_to_the_end(rig)] == [1, 1, 1, 1, 1, 1, 3, 4, 5, 5]

    def test_an_exception_is_delivered_in_it(self, rig: Rig) -> None:
        """And then it stands before the handler's first instruction."""
        start(rig, GUESTS["an undefined instruction"])
        rig.processor.step()
        rig.processor.step()

        assert rig.state.eip == HANDLERS + 8 * UD
        assert not rig.processor.engine.is_mid_block

    def test_an_interrupt_comes_before_a_block_and_not_within(self, rig: Rig) -> None:
        start(rig, Guest("40 40 eb 00 40 f4", real_mode(eflags=0x202)))
        rig.processor.step()
        rig.interrupt(0x21)
        rig.processor.step()
        rig.processor.step()
        before = rig.state.eip
        rig.processor.step()  # the handler's first

        assert (before, rig.state.eip) == (CODE + 4, HANDLERS + 8 * 0x21 + 2)

    def test_a_halted_processor_has_none(self, rig: Rig) -> None:
        start(rig, Guest("f4 40"))

        assert [rig.processor.step() for _ in range(3)] == [None, Pause.HALTED, Pause.HALTED]
        assert rig.state.eip == CODE + 1

    def test_an_engine_that_is_to_stop_does_not_begin(self, rig: Rig) -> None:
        start(rig, GUESTS["one block"])
        engine = rig.processor.engine
        engine.deadline_ns = 0
        engine.step()

        assert (engine.now_ns, engine.registers.eip) == (0, CODE)
        assert not engine.is_mid_block

    def test_a_state_that_is_loaded_in_mid_block_begins_one(self, rig: Rig) -> None:
        start(rig, GUESTS["one block"])
        rig.processor.step()
        rig.processor.state = rig.processor.state

        assert not rig.processor.engine.is_mid_block
        rig.run()
        assert rig.state.eax == 3

    def test_where_the_library_is_not_known(
        self, guest: Guest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The reference engine has Unicorn count then, which drops all translations."""
        known = Rig("reference")
        monkeypatch.setattr(binding, "KNOWN_BUILD", False)
        unknown = Rig("reference")
        start(known, guest)
        start(unknown, guest)

        assert step_to_the_end(unknown) == step_to_the_end(known)
        assert unknown.seen() == known.seen()
        known.close()
        unknown.close()


@needs_corrections
class TestFetchingAhead:
    """A block is fetched whole before any of it runs; its end may not be there."""

    def load(self, rig: Rig, code: str, before: int, **registers: int) -> None:
        """Code that runs into a page that is not there, *before* bytes before it."""
        rig.memory.write(TABLE + EDGE // 4096 * 4, bytes(4))
        at = EDGE - before
        rig.load(bytes.fromhex(code), paging(at, **registers), at=at)

    def test_all_before_it_is_done(self, rig: Rig) -> None:
        """SDM 3A, 6.5: a fault leaves the state of before the faulting instruction, no older one."""
        self.load(rig, "43 43 43", before=2)
        rig.run()

        assert rig.stack(2) == [0, EDGE]
        assert (rig.state.ebx, rig.state.cr2) == (2, EDGE)

    def test_an_instruction_across_the_edge(self, rig: Rig) -> None:
        self.load(rig, "43 bb 01 02 03 04", before=3)
        rig.run()

        assert rig.stack(2) == [0, EDGE - 2]
        assert (rig.state.ebx, rig.state.cr2) == (1, EDGE)

    def test_the_first_instruction_itself(self, rig: Rig) -> None:
        self.load(rig, "bb 01 02 03 04", before=2)
        rig.run()

        assert rig.stack(2) == [0, EDGE - 2]
        assert (rig.reported, rig.clock.now_ns) == ([PF], 2)  # the exception; the handler

    def test_the_block_counts_once(self, rig: Rig) -> None:
        self.load(rig, "43 43 43", before=2)
        rig.run()

        assert rig.clock.now_ns == 3  # the block, the exception, the handler

    def test_CR2_is_what_it_was_until_then(self, rig: Rig) -> None:
        """What is fetched ahead has faulted once already, and has overwritten it."""
        self.load(rig, "0f 20 d1 43", before=3, cr2=0x1234)  # mov ecx, cr2
        rig.run()

        assert (rig.state.ecx, rig.state.cr2) == (0x1234, EDGE)

    def test_another_fault_before_it_comes_first(self, rig: Rig) -> None:
        self.load(rig, "43 f7 f2 43", before=3)  # inc ebx; div edx, which is 0
        rig.run()

        assert rig.reported == [0]
        assert rig.state.ebx == 1

    def test_a_stop_before_the_block_is_before_all_of_it(self, rig: Rig) -> None:
        self.load(rig, "43 43 43", before=2)
        rig.run(0)

        assert (rig.state.eip, rig.state.ebx) == (EDGE - 2, 0)

    @pytest.mark.parametrize("count", range(3))
    def test_steps_into_it(self, rig: Rig, count: int) -> None:
        self.load(rig, "43 43 43", before=2)
        for _ in range(count):
            rig.processor.step()
        assert rig.state.ebx == count
        rig.run()

        assert (rig.state.ebx, rig.clock.now_ns, rig.stack(2)) == (2, 3, [0, EDGE])

    def test_the_last_step_is_the_fault(self, rig: Rig) -> None:
        self.load(rig, "43 43 43", before=2)
        for _ in range(3):
            rig.processor.step()

        assert rig.state.eip == HANDLERS + 8 * PF

    def test_code_that_turns_away_at_the_last_moment(self, rig: Rig) -> None:
        """It makes of what it is about to run into a jump back, and runs on in blocks there."""
        jump = EDGE - 2
        self.load(
            rig,
            f"66 c7 05 {struct.pack('<I', jump).hex()} eb f3"  # mov word [jump], EBF3h
            " 43 43",  # jump: jmp $-11, to a long loop; as yet: inc ebx, twice
            before=11,
            ecx=1000,
        )
        rig.memory.write(EDGE - 13, bytes.fromhex("e2 fe"))  # loop $
        rig.run(100)

        assert (rig.reported, rig.state.ecx, rig.state.ebx) == ([], 901, 0)

    def test_memory_that_nobody_has(self, rig: Rig) -> None:
        """Behind the last byte of RAM: the block runs, and what is fetched there is undefined."""
        end = 2 * MIB
        rig.load(bytes.fromhex("43 43"), paging(end - 2, cr0=0x10 | CR0_PE), at=end - 2)
        assert not rig.state.cr0 & CR0_PG
        rig.run()

        assert (rig.reported, rig.stack(1), rig.state.ebx) == ([UD], [end], 2)


@needs_corrections
class TestResumeFlag:
    """RF holds off breakpoints for one instruction, not for a block (SDM 3B, 17.3.1.1)."""

    def load(self, rig: Rig) -> None:
        """IRETD, with RF, to two breakpoints in one block."""
        target = CODE + 0x20
        rig.memory.write(target, bytes.fromhex("40 40 40 f4"))
        rig.memory.write(IRET_FRAME, struct.pack("<3I", target, 8, 0x1_0002))
        rig.load(
            b"\xcf",
            paging(dr0=target, dr1=target + 2, dr7=0x40A, esp=IRET_FRAME),
        )

    def test_the_second_breakpoint_breaks(self, rig: Rig) -> None:
        self.load(rig)
        rig.run()

        assert (rig.reported, rig.state.eax & 0xFF00) == ([1], 0)
        assert rig.stack(1) == [CODE + 0x22]

    def test_a_stop_between_changes_nothing(self, rig: Rig) -> None:
        self.load(rig)
        straight = Rig(rig.engine_name)
        self.load(straight)
        straight.run()
        for at_ns in range(6):
            rig.run(at_ns - rig.clock.now_ns)
            rig.processor.state = rig.processor.state
        rig.run()

        assert rig.seen() == straight.seen()
        straight.close()
