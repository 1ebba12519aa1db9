"""Breakpoints for data: SDM volume 3B, 17.2.  Those for instructions are test_exceptions.py's."""

from __future__ import annotations

import struct

import pytest
from rig import (
    CODE,
    CODE_0,
    DATA,
    ENGINES,
    HANDLERS,
    IDT,
    SPARE,
    SPARE_SELECTOR,
    STACK,
    TABLE,
    Rig,
    needs_corrections,
    needs_native,
    paging,
    protected_mode,
)

from emu.cpu.processor import Pause
from emu.cpu.state import State, Xmm
from emu.cpu.vectors import DB, PF
from emu.memory import PAGE_BYTES

pytestmark = needs_corrections

WRITE, ACCESS = 1, 3
EFLAGS_TF, BS = 1 << 8, 1 << 14
NOWHERE = 0x30_0000  # no page


def watching(address: int, kind: int, length: int = 4, number: int = 0) -> dict[str, int]:
    """DR0 to DR3 and DR7 for one breakpoint."""
    dr7 = 0x400 | 2 << 2 * number | (kind | (length - 1) << 2) << 16 + 4 * number
    return {f"dr{number}": address, "dr7": dr7}


def run(rig: Rig, code: str, state: State) -> None:
    rig.load(bytes.fromhex(code) + b"\xf4", state)
    rig.run()


class TestWhatIsWatched:
    @pytest.mark.parametrize(
        ("code", "length"),
        [
            pytest.param("88 03", 2, id="MOV of a byte"),
            pytest.param("89 03", 2, id="MOV"),
            pytest.param("01 03", 2, id="ADD"),
            pytest.param("87 03", 2, id="XCHG"),
            pytest.param("50", 1, id="PUSH"),
            pytest.param("e8 00 00 00 00", 0, id="CALL"),
            pytest.param("ab", 1, id="STOSD"),
            pytest.param("a5", 1, id="MOVSD"),
            pytest.param("60", 1, id="PUSHA"),
            pytest.param("c8 00 00 00", 4, id="ENTER"),
            pytest.param("66 c8 00 00 00", 5, id="ENTER of 16 bits"),
            pytest.param("0f c7 0b", 3, id="CMPXCHG8B"),
            pytest.param("d9 1b", 2, id="FSTP"),
            pytest.param("dd 33", 2, id="FNSAVE"),
            pytest.param("0f 29 03", 3, id="MOVAPS"),
            pytest.param("0f 7f 03", 3, id="MOVQ of MMX"),
            pytest.param("0f ae 03", 3, id="FXSAVE"),
            pytest.param("0f 01 03", 3, id="SGDT"),
        ],
    )
    def test_a_store(self, rig: Rig, code: str, length: int) -> None:
        """The trap comes after the instruction, which is done; DR6 names the breakpoint."""
        state = protected_mode(
            ebx=DATA,
            edi=DATA,
            esi=DATA + 64,
            esp=DATA + 4,
            cr4=1 << 9,
            ecx=1,
            **watching(DATA, WRITE),
        )
        state.fpu_valid, state.xmm = 0x80, [Xmm(5, 5) for _ in range(8)]
        state.fpu_status = 7 << 11
        rig.memory.write(HANDLERS + DB * 8, b"\xf4")

        run(rig, "90" + code + "90", state)

        assert rig.state.dr6 & (BS | 0xF) == 1
        assert rig.stack(1) == [CODE + 1 + (length or 5)]
        assert rig.state.eip == HANDLERS + DB * 8 + 1

    @pytest.mark.parametrize(
        "code", ["8b 03", "02 03", "ff 33", "ac", "a7", "d9 03", "0f 28 03", "0f 6f 03", "0f 10 03"]
    )
    @pytest.mark.parametrize("kind", [WRITE, ACCESS])
    def test_a_load(self, rig: Rig, code: str, kind: int) -> None:
        state = protected_mode(ebx=DATA, esi=DATA, edi=DATA, cr4=1 << 9, **watching(DATA, kind))

        run(rig, code, state)

        assert rig.reported == ([DB] if kind == ACCESS else [])
        assert rig.state.dr6 & 0xF == (kind == ACCESS)

    @pytest.mark.parametrize(
        ("address", "length", "hits"),
        [
            (DATA + 7, 1, True),
            (DATA + 3, 1, False),
            (DATA + 8, 1, False),
            (DATA + 2, 2, False),
            (DATA + 4, 2, True),
            (DATA + 7, 2, True),  # of a word: the lowest bit does not count
            (DATA + 8, 2, False),
            (DATA, 4, False),
            (DATA + 3, 4, False),
            (DATA + 5, 4, True),
            (DATA + 8, 4, False),
        ],
    )
    @pytest.mark.parametrize("number", range(4))
    def test_lengths(self, rig: Rig, number: int, address: int, length: int, *, hits: bool) -> None:
        """A store to four bytes from DATA + 4 on."""
        debug = watching(address, WRITE, length, number)

        run(rig, "89 43 04", protected_mode(ebx=DATA, **debug))

        assert rig.reported == ([DB] if hits else [])
        assert rig.state.dr6 & 0xF == (1 << number if hits else 0)

    @pytest.mark.parametrize("at", [DATA + PAGE_BYTES - 1, DATA + PAGE_BYTES])
    def test_an_access_of_two_pages(self, rig: Rig, at: int) -> None:
        debug = watching(at, WRITE, 1)

        run(rig, "89 03", protected_mode(ebx=DATA + PAGE_BYTES - 2, eax=0x0403_0201, **debug))

        assert rig.reported == [DB]
        assert rig.memory.read(DATA + PAGE_BYTES - 2, 4) == b"\1\2\3\4"

    def test_all_that_are_met_are_told_of(self, rig: Rig) -> None:
        """And of one that is not enabled nothing is."""
        debug = {"dr0": DATA, "dr1": DATA + 2, "dr2": DATA, "dr3": DATA + 8, "dr7": 0x5555_0045}

        run(rig, "89 03", protected_mode(ebx=DATA, **debug))

        assert rig.reported == [DB]
        assert rig.state.dr6 & 0xF == 0b0011

    def test_addresses_are_linear(self, rig: Rig) -> None:
        """The same memory at another address is not watched."""
        rig.memory.write(TABLE + 0x20 * 4, struct.pack("<I", DATA | 7))
        state = paging(ebx=0x2_0000, ecx=DATA, **watching(0x2_0000, WRITE))

        run(rig, "89 01 89 03", state)

        assert rig.stack(1) == [CODE + 4]

    def test_one_instruction_may_meet_several(self, rig: Rig) -> None:
        """MOVSD from one to another."""
        debug = {"dr0": DATA, "dr1": SPARE, "dr7": 0xFF_0405}

        run(rig, "a5", protected_mode(esi=DATA, edi=SPARE, **debug))

        assert rig.reported == [DB]
        assert rig.state.dr6 & 0xF == 0b0011

    def test_other_accesses_to_its_page_are_done(self, rig: Rig) -> None:
        state = protected_mode(ebx=DATA, eax=7, **watching(DATA + 0x800, ACCESS))

        run(rig, "89 03 8b 0b 01 43 04 90", state)

        assert rig.reported == []
        assert rig.state.ecx == 7
        assert rig.memory.read(DATA, 8) == b"\7\0\0\0\7\0\0\0"

    def test_instructions_are_no_data(self, rig: Rig) -> None:
        run(rig, "40", protected_mode(**watching(CODE, ACCESS)))

        assert rig.reported == []


class TestWhen:
    def test_set_by_the_guest_on_a_page_that_is_known(self, rig: Rig) -> None:
        code = (
            "89 03"  # mov [ebx], eax
            f"b8 {struct.pack('<I', DATA).hex()} 0f 23 d0"  # mov eax, DATA; mov dr2, eax
            "b8 20 00 00 0d 0f 23 f8"  # mov eax, 0d000020h; mov dr7, eax
            "89 03 90"
        )
        run(rig, code, protected_mode(ebx=DATA))

        assert rig.reported == [DB]
        assert rig.stack(1) == [CODE + 20]
        assert rig.state.dr6 & 0xF == 4

    @pytest.mark.parametrize("how", ["0f 23 c1", "0f 23 f8"])  # mov dr0, ecx; mov dr7, eax
    def test_taken_back_by_the_guest(self, rig: Rig, how: str) -> None:
        state = protected_mode(ebx=DATA, ecx=SPARE, eax=0x400, **watching(DATA, WRITE))

        run(rig, f"89 43 08 {how} 89 03", state)

        assert rig.reported == []

    def test_moved_by_the_guest(self, rig: Rig) -> None:
        """To a page that the TLB has."""
        state = protected_mode(ebx=DATA, ecx=SPARE, **watching(DATA, WRITE))

        run(rig, "89 43 08 89 01 0f 23 c1 89 03 89 01", state)

        assert rig.reported == [DB]
        assert rig.stack(1) == [CODE + 12]

    def test_a_load_takes_away_those_that_were(self, rig: Rig) -> None:
        run(rig, "89 03", protected_mode(ebx=DATA, **watching(DATA, WRITE)))
        run(rig, "89 03", protected_mode(ebx=DATA))
        run(rig, "89 03", protected_mode(ebx=DATA, **watching(DATA, WRITE)))

        assert rig.reported == [DB, DB]

    def test_a_task_switch_clears_the_local_ones(self, rig: Rig) -> None:
        rig.describe(SPARE_SELECTOR, 0x0000_8900_2000_0067)
        task = struct.pack("<28x11I", 0, SPARE, 2, *[0] * 3, DATA + 0x100, STACK, *[0] * 3)
        task += struct.pack("<7I", *[0x10, CODE_0, 0x10, 0x10], 0, 0, 0)
        rig.memory.write(0x2000, task.ljust(0x68, b"\0"))
        rig.memory.write(IDT + 0x40 * 8, struct.pack("<HHBBH", 0, SPARE_SELECTOR, 0, 0xE5, 0))
        rig.memory.write(SPARE, bytes.fromhex("89 03 f4"))
        debug = watching(DATA + 0x100, WRITE)
        debug["dr7"] = debug["dr7"] & ~2 | 1

        run(rig, "cd 40", protected_mode(**debug))

        assert rig.reported == []

    def test_nothing_after_it_is_done(self, rig: Rig) -> None:
        """And all before, which is in the same block, once."""
        run(rig, "41 89 03 41 41", protected_mode(ebx=DATA, **watching(DATA, WRITE)))

        assert rig.state.ecx == 1
        assert rig.stack(1) == [CODE + 3]

    def test_the_guest_goes_on_from_there(self, rig: Rig) -> None:
        rig.memory.write(HANDLERS + DB * 8, bytes.fromhex("42 cf"))  # inc edx; iret
        state = protected_mode(ebx=DATA, ecx=5, **watching(DATA, WRITE))

        run(rig, "01 0b ff 03 e2 fa", state)  # again: add [ebx], ecx; inc dword [ebx]; loop again

        assert rig.state.edx == 10
        assert rig.memory.read(DATA, 1)[0] == 5 + 4 + 3 + 2 + 1 + 5

    def test_each_iteration_of_a_string_may(self, rig: Rig) -> None:
        """After the one that has met it, others are still to come."""
        state = protected_mode(edi=DATA, ecx=8, **watching(DATA + 4, WRITE, 1))

        run(rig, "f3 aa", state)

        assert rig.reported == [DB]
        assert rig.stack(1) == [CODE]
        assert (rig.state.ecx, rig.state.edi) == (3, DATA + 5)

    def test_single_step_tells_of_both(self, rig: Rig) -> None:
        state = protected_mode(ebx=DATA, eflags=2 | EFLAGS_TF, **watching(DATA, WRITE))

        run(rig, "89 03", state)

        assert rig.reported == [DB]
        assert rig.stack(1) == [CODE + 2]
        assert rig.state.dr6 & (BS | 0xF) == BS | 1

    def test_then_a_step_tells_of_none(self, rig: Rig) -> None:
        rig.memory.write(HANDLERS + DB * 8, b"\xcf")  # iret
        state = protected_mode(ebx=DATA, eflags=2 | EFLAGS_TF, **watching(DATA, WRITE))

        run(rig, "89 03 90", state)

        assert rig.state.dr6 & (BS | 0xF) == BS

    def test_a_fault_on_its_way_takes_it_back(self, rig: Rig) -> None:
        """MOVSD from what is watched to nowhere; and then another step."""
        rig.memory.write(HANDLERS + PF * 8, bytes.fromhex("b0 0e e6 80 bf 00 c0 00 00 58 cf"))
        state = paging(esi=DATA, edi=NOWHERE, **watching(DATA, ACCESS))

        run(rig, "a5 90", state)

        assert rig.reported == [PF, DB]
        assert rig.stack(1) == [CODE + 1]
        assert rig.state.dr6 & (BS | 0xF) == 1

    def test_and_nobody_is_told_of_it_later(self, rig: Rig) -> None:
        """The handler goes on behind that MOVSD, in single step."""
        handler = "80 44 24 04 01 80 4c 24 0d 01 58 cf"  # add byte [esp + 4], 1; or [esp + 13], TF
        rig.memory.write(HANDLERS + PF * 8, bytes.fromhex(handler))
        state = paging(esi=DATA, edi=NOWHERE, **watching(DATA, ACCESS))

        run(rig, "a5 90", state)

        assert rig.reported == [DB]
        assert rig.state.dr6 & (BS | 0xF) == BS

    @pytest.mark.parametrize("steps", [False, True])
    def test_an_x87_instruction_that_is_held_back(self, rig: Rig, *, steps: bool) -> None:
        """FADD of a signalling NaN, with that not masked: it has no result, but an end."""
        rig.memory.write(DATA, struct.pack("<I", 0x7F80_0001))
        debug = watching(DATA, ACCESS)
        state = protected_mode(ebx=DATA, fpu_control=0x37E, fpu_valid=0x80, **debug)
        state.fpu_status = 7 << 11
        if steps:
            state.eflags |= EFLAGS_TF

        run(rig, "d8 03 90", state)

        assert rig.reported == [DB]
        assert rig.stack(1) == [CODE + 2]
        assert rig.state.dr6 & (BS | 0xF) == (BS | 1 if steps else 1)
        assert rig.state.fpu_status & 0x81 == 0x81

    def test_an_IRET_from_a_stack_that_is_watched(self, rig: Rig) -> None:
        """It comes where that has led to."""
        rig.memory.write(STACK - 12, struct.pack("<3I", SPARE, CODE_0, 2))
        rig.memory.write(SPARE, b"\x41\xf4")

        run(rig, "cf", protected_mode(esp=STACK - 12, **watching(STACK - 8, ACCESS)))

        assert rig.reported == [DB]
        assert rig.stack(1) == [SPARE]


class TestTime:
    CODE = "41 89 03 41 41 8b 03 e2 f6"  # again: inc ecx; mov [ebx], eax; ...; mov eax, [ebx]; loop

    def load(self, engine: str) -> Rig:
        """A guest that meets its breakpoint twelve times."""
        rig = Rig(engine)
        handler = bytes.fromhex(
            "e6 80 4a 75 01 f4 cf"
        )  # out 80h, al; dec edx; jnz on; hlt; on: iret
        rig.memory.write(HANDLERS + DB * 8, handler)
        state = protected_mode(ebx=DATA, ecx=9, edx=12, **watching(DATA, ACCESS))
        rig.load(bytes.fromhex(self.CODE) + b"\xf4", state)
        return rig

    @needs_native
    def test_both_engines_take_the_same(self) -> None:
        seen = []
        for engine in ("native", "reference"):
            rig = self.load(engine)
            assert rig.run() is Pause.HALTED
            seen.append(rig.seen())
            rig.close()

        assert seen[0] == seen[1]
        assert len(seen[0][3]) == 12

    @pytest.mark.parametrize("slice_ns", [1, 2, 3, 7])
    @pytest.mark.parametrize("engine", ENGINES)
    def test_slices_change_nothing(self, engine: str, slice_ns: int) -> None:
        whole, sliced = self.load(engine), self.load(engine)
        whole.run()

        pause = Pause.REACHED
        while pause is Pause.REACHED:
            pause = sliced.run(slice_ns)

        assert sliced.seen() == whole.seen()
        whole.close()
        sliced.close()

    @pytest.mark.parametrize("engine", ENGINES)
    def test_steps_change_nothing(self, engine: str) -> None:
        whole, stepped = self.load(engine), self.load(engine)
        whole.run()

        while stepped.processor.step() is not Pause.HALTED:
            pass

        assert stepped.seen() == whole.seen()
        whole.close()
        stepped.close()

    @pytest.mark.parametrize("engine", ENGINES)
    def test_a_step_is_one_instruction(self, engine: str) -> None:
        """The trap is in it, and goes to the handler's first."""
        rig = self.load(engine)
        rig.processor.step()

        rig.processor.step()

        assert rig.state.eip == HANDLERS + DB * 8
        assert rig.stack(1) == [CODE + 3]
        assert rig.reported == []
        rig.close()

    @pytest.mark.parametrize("engine", ENGINES)
    def test_a_save_at_any_time_changes_nothing(self, engine: str) -> None:
        whole, first = self.load(engine), self.load(engine)
        whole.run()
        states = 0

        pause = Pause.REACHED
        while pause is Pause.REACHED:
            pause = first.run(1)
            first.processor.state = first.state
            states += 1

        assert first.seen() == whole.seen()
        assert states > 12
        whole.close()
        first.close()
