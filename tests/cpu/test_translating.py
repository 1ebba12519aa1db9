"""What translating.c puts right, but for MMX and SSE (test_sse.py), LOCK and LOOPE (test_exceptions.py)."""

from __future__ import annotations

import struct

import pytest
from rig import (
    CODE,
    CODE_0,
    CODE_3,
    DATA,
    DATA_0,
    ENGINES,
    IDT,
    SPARE,
    STACK,
    STACK_3,
    TABLE,
    TSS,
    TSS_SELECTOR,
    Rig,
    needs_corrections,
    paging,
    protected_mode,
    real_mode,
)

from emu.cpu.models import Model
from emu.cpu.state import Segment, State
from emu.cpu.vectors import DB, GP, PF, UD
from emu.memory import PAGE_BYTES

pytestmark = needs_corrections

EFLAGS_RF, EFLAGS_TF, EFLAGS_IOPL_3 = 1 << 16, 1 << 8, 3 << 12
OSFXSR = 1 << 9
NOWHERE = 0x30_0000  # no page
IRET_32 = b"\xcf"


class TestUndefined:
    @pytest.mark.parametrize(
        "code",
        [
            pytest.param("c4 c0", id="LES of a register"),
            pytest.param("c5 f8 28 c0", id="LDS of a register, elsewhere VMOVAPS"),
            pytest.param("66 c5 c1", id="LDS, with a prefix"),
            pytest.param("0f 07", id="SYSRET"),
            pytest.param("66 0f 07", id="SYSRET, with a prefix"),
        ],
    )
    @pytest.mark.parametrize("model", [Model.PENTIUM3, Model.COREDUO])
    @pytest.mark.parametrize("engine", ENGINES)
    def test_is_refused(self, engine: str, code: str, model: Model) -> None:
        rig = Rig(engine, model)
        for state in (protected_mode(level=0), protected_mode(level=3), real_mode()):
            state.cr4 = OSFXSR
            rig.load(bytes.fromhex("90" + code), state)
            rig.run()
            assert rig.stack(1, 2) == [CODE + 1]

        assert rig.reported == [UD, UD, UD]
        rig.close()

    def test_LES_of_memory(self, rig: Rig) -> None:
        rig.memory.write(DATA, struct.pack("<IH", 0x1234_5678, DATA_0))
        rig.load(bytes.fromhex("c4 03 f4"), protected_mode(ebx=DATA))

        rig.run()

        assert rig.reported == []
        assert rig.state.eax == 0x1234_5678


class TestPrefixedINT:
    """A fault on the way to the handler returns to the first prefix."""

    @pytest.mark.parametrize("code", ["2e cd 40", "66 67 cd 40", "2e 2e 2e 2e 2e cd 40", "cd 40"])
    def test_INT(self, rig: Rig, code: str) -> None:
        rig.load(bytes.fromhex("90" + code), protected_mode(idtr=Segment(base=IDT, limit=0x1FF)))

        rig.run()

        assert rig.reported == [GP]
        assert rig.stack(2) == [0x40 * 8 + 2, CODE + 1]

    @pytest.mark.parametrize("code", ["66 cc", "26 f3 cc", "cc", "36 ce"])
    def test_INT3_and_INTO(self, rig: Rig, code: str) -> None:
        """Where the gate is not for level 3."""
        for vector in (3, 4):
            rig.memory.write(IDT + vector * 8 + 5, b"\x8e")
        state = protected_mode(level=3, eflags=0x802)
        rig.load(bytes.fromhex("90" + code), state)

        rig.run()

        assert rig.reported == [GP]
        assert rig.stack(2)[1] == CODE + 1

    def test_without_a_fault_it_returns_behind(self, rig: Rig) -> None:
        rig.load(bytes.fromhex("90 2e 66 cd 40"), protected_mode())

        rig.run()

        assert rig.reported == [0x40]
        assert rig.stack(1) == [CODE + 5]


class TestRF:
    """It is clear after each instruction but those that load it: SDM volume 3B, 17.3.1.1."""

    @pytest.mark.parametrize(
        "code",
        [
            pytest.param("90 cc", id="in a block"),
            pytest.param("eb 00 cc", id="JMP"),
            pytest.param("72 00 cc", id="Jcc"),
            pytest.param("e8 00 00 00 00 cc", id="CALL"),
            pytest.param("e2 00 cc", id="LOOP"),
            pytest.param("cd 40", id="INT, which pushes it"),
            pytest.param("f1", id="INT1"),
        ],
    )
    def test_is_cleared(self, rig: Rig, code: str) -> None:
        rig.load(bytes.fromhex(code), protected_mode(eflags=EFLAGS_RF | 2, ecx=5))

        rig.run()

        assert rig.stack(3)[2] & EFLAGS_RF == 0

    def test_an_IRET_loads_it_though_it_was_set(self, rig: Rig) -> None:
        """And the breakpoint it returns to is held off."""
        target = CODE + 0x10
        rig.memory.write(STACK - 12, struct.pack("<3I", target, CODE_0, EFLAGS_RF | 2))
        rig.memory.write(target, b"\x40\xf4")  # inc eax; hlt
        state = protected_mode(eflags=EFLAGS_RF | 2, esp=STACK - 12, dr0=target, dr7=0x401)
        rig.load(IRET_32, state)

        rig.run()

        assert rig.reported == []
        assert rig.state.eax == 1

    def test_after_a_jump_a_breakpoint_breaks(self, rig: Rig) -> None:
        state = protected_mode(eflags=EFLAGS_RF | 2, dr0=CODE + 2, dr7=0x401)
        rig.load(bytes.fromhex("eb 00 90 f4"), state)

        rig.run()

        assert rig.reported == [DB]
        assert rig.stack(1) == [CODE + 2]

    @pytest.mark.parametrize("count", [1, 5])
    @pytest.mark.parametrize("size", ["", "67"])
    def test_it_holds_for_all_of_a_string(self, rig: Rig, count: int, size: str) -> None:
        """REP MOVSB at a breakpoint, returned to with RF; the next one breaks."""
        code = bytes.fromhex(f"{size} f3 a4 90 f4")
        after = CODE + len(code) - 2
        state = protected_mode(
            eflags=EFLAGS_RF | 2, dr0=CODE, dr1=after, dr7=0x405, esi=DATA, edi=SPARE, ecx=count
        )
        rig.load(code, state)

        rig.run()

        assert rig.reported == [DB]
        assert rig.stack(1) == [after]
        assert rig.state.ecx == 0

    def test_of_one_that_its_flags_end_it_does_not(self, rig: Rig) -> None:
        """REPE CMPSB, which differs at once: the next one breaks."""
        rig.memory.write(DATA, b"\1")
        state = protected_mode(
            eflags=EFLAGS_RF | 2, dr0=CODE + 2, dr7=0x401, esi=DATA, edi=SPARE, ecx=5
        )
        rig.load(bytes.fromhex("f3 a6 90 f4"), state)

        rig.run()

        assert rig.reported == [DB]
        assert rig.stack(1) == [CODE + 2]

    def test_a_fault_saves_it_all_the_same(self, rig: Rig) -> None:
        rig.load(bytes.fromhex("8b 03"), paging(ebx=NOWHERE, eflags=EFLAGS_RF | 2))

        rig.run()

        assert rig.reported == [PF]
        assert rig.stack(4)[3] & EFLAGS_RF


def with_bit_map(rig: Rig, denied: range, state: State) -> State:
    """*state* at a task whose bit map denies those ports, and allows others."""
    bits = sum(1 << port for port in denied)
    rig.memory.write(TSS + 0x66, struct.pack("<H", 0x68))
    rig.memory.write(TSS + 0x68, bits.to_bytes(0x80, "little") + b"\xff")
    state.tr = Segment(TSS_SELECTOR, TSS, 0x68 + 0x80, 0x8900)
    return state


class TestStringPorts:
    """INS and OUTS ask whether the port is allowed, and only then for memory."""

    @pytest.mark.parametrize("code", ["6c", "6d", "66 6d", "6e", "6f", "66 6f", "f3 6c", "f3 6f"])
    def test_denied(self, rig: Rig, code: str) -> None:
        state = paging(level=3, edx=0x200, edi=NOWHERE, esi=NOWHERE, ecx=2)
        rig.load(bytes.fromhex(code), with_bit_map(rig, range(0x200, 0x210), state))

        rig.run()

        assert rig.reported == [GP]
        assert rig.stack(2) == [0, CODE]

    @pytest.mark.parametrize(
        ("code", "first", "denied"),
        [("6c", 0x1FF, False), ("66 6d", 0x1FF, True), ("6d", 0x1FD, True), ("6d", 0x1FC, False)],
    )
    def test_each_byte_of_it_counts(self, rig: Rig, code: str, first: int, *, denied: bool) -> None:
        state = paging(level=3, edx=first, edi=NOWHERE)
        rig.load(bytes.fromhex(code), with_bit_map(rig, range(0x200, 0x210), state))

        rig.run()

        assert rig.reported == [GP if denied else PF]

    def test_the_page_is_left_as_it_was(self, rig: Rig) -> None:
        """Not even marked as accessed."""
        entry = TABLE + DATA // PAGE_BYTES * 4
        state = paging(level=3, edx=0x200, edi=DATA)
        rig.load(b"\x6c", with_bit_map(rig, range(0x200, 0x201), state))

        rig.run()

        assert rig.reported == [GP]
        assert rig.memory.read(entry, 1)[0] & 0x60 == 0

    @pytest.mark.parametrize("level", [0, 3])
    def test_where_the_level_allows_all(self, rig: Rig, level: int) -> None:
        state = paging(level=level, edx=0x200, edi=NOWHERE, eflags=2 | EFLAGS_IOPL_3)
        rig.load(b"\x6c", with_bit_map(rig, range(0x200, 0x210), state))

        rig.run()

        assert rig.reported == [PF]


def stack_of_16_bits(state: State) -> State:
    state.ss = Segment(DATA_0, 0, 0xFFFF_FFFF, 0x8F_9300)
    return state


class TestENTER:
    """EBP is written as the operand's size says: SDM volume 2A."""

    EBP, UPPER = 0x8765_7000, 0x4321_0000

    @pytest.mark.parametrize(
        ("code", "pushed"),
        [
            pytest.param("66 c8 10 00 00", [0x7000], id="level 0"),
            pytest.param("66 c8 10 00 01", [0x7EFE, 0x7000], id="level 1"),
            pytest.param("66 c8 10 00 03", [0x7EFE, 0xBBBB, 0xAAAA, 0x7000], id="level 3"),
            pytest.param("66 c8 10 00 23", [0x7EFE, 0xBBBB, 0xAAAA, 0x7000], id="level 35"),
        ],
    )
    def test_16_bits_on_a_stack_of_32(self, rig: Rig, code: str, pushed: list[int]) -> None:
        ebp = 0x0001_7000  # whole, where it is an address
        rig.memory.write(ebp - 4, struct.pack("<HH", 0xBBBB, 0xAAAA))
        rig.load(bytes.fromhex(code + "f4"), protected_mode(ebp=ebp))

        rig.run()

        state = rig.state
        assert state.ebp == 0x0001_0000 | STACK - 2
        assert state.esp == STACK - 2 * len(pushed) - 0x10
        data = rig.memory.read(STACK - 2 * len(pushed), 2 * len(pushed))
        assert list(struct.unpack(f"<{len(pushed)}H", data)) == pushed

    @pytest.mark.parametrize(
        ("code", "pushed"),
        [
            pytest.param("c8 10 00 00", [EBP], id="level 0"),
            pytest.param("c8 10 00 01", [UPPER | STACK - 4, EBP], id="level 1"),
            pytest.param("c8 10 00 02", [UPPER | STACK - 4, 0xAAAA_AAAA, EBP], id="level 2"),
        ],
    )
    def test_32_bits_on_a_stack_of_16(self, rig: Rig, code: str, pushed: list[int]) -> None:
        rig.memory.write(0x7000 - 4, struct.pack("<I", 0xAAAA_AAAA))
        state = stack_of_16_bits(protected_mode(ebp=self.EBP, esp=self.UPPER | STACK))
        rig.load(bytes.fromhex(code + "f4"), state)

        rig.run()

        state = rig.state
        assert state.ebp == self.UPPER | STACK - 4
        assert state.esp == self.UPPER | STACK - 4 * len(pushed) - 0x10
        data = rig.memory.read(STACK - 4 * len(pushed), 4 * len(pushed))
        assert list(struct.unpack(f"<{len(pushed)}I", data)) == pushed

    @pytest.mark.parametrize(("prefix", "upper"), [("", 0x8765_0000), ("66", 0x4321_0000)])
    def test_in_real_mode(self, rig: Rig, prefix: str, upper: int) -> None:
        state = real_mode(ebp=self.EBP, esp=self.UPPER | STACK)
        rig.load(bytes.fromhex(prefix + "c8 00 00 00 f4"), state)

        rig.run()

        assert rig.state.ebp == upper | STACK - (4 if prefix else 2)

    def test_a_fault_leaves_the_registers(self, rig: Rig) -> None:
        """At the second of three pushes, on a stack of level 3."""
        rig.memory.write(TABLE + 0xD * 4, bytes(4))
        rig.load(bytes.fromhex("66 c8 10 00 02"), paging(level=3, ebp=DATA, esp=0xE002))

        rig.run()

        assert rig.reported == [PF]
        assert rig.stack(2) == [6, CODE]
        assert rig.stack(5)[4] == 0xE002
        assert rig.state.ebp == DATA

    @pytest.mark.parametrize("level", [0, 3])
    def test_the_level_is_the_guest_s(self, rig: Rig, level: int) -> None:
        """The stack's page is the system's."""
        page = STACK_3 // PAGE_BYTES - 1
        rig.memory.write(TABLE + page * 4, struct.pack("<I", page * PAGE_BYTES | 3))
        state = paging(level=level)
        state.esp = STACK_3
        rig.load(bytes.fromhex("66 c8 10 00 00 f4"), state)

        rig.run()

        assert rig.reported == ([PF] if level else [])
        if level:
            assert rig.stack(2) == [7, CODE]
            assert rig.stack(3)[2] == CODE_3 | 3

    def test_single_step_takes_it_for_one(self, rig: Rig) -> None:
        rig.load(bytes.fromhex("66 c8 10 00 00 90"), protected_mode(eflags=2 | EFLAGS_TF))

        rig.run()

        assert rig.reported == [DB]
        assert rig.stack(1) == [CODE + 5]


class TestBeyond64KiB:
    """An instruction there is a #GP where the code segment is as it is after a reset."""

    V86 = 2 | 1 << 17 | EFLAGS_IOPL_3

    def beyond(self, rig: Rig) -> None:
        rig.memory.write(0x1_0000, bytes.fromhex("41 f4"))  # inc cx; hlt

    def test_straight_ahead(self, rig: Rig) -> None:
        self.beyond(rig)
        rig.load(bytes.fromhex("43 90"), real_mode(0xFFFE), at=0xFFFE)  # inc bx; nop

        rig.run()

        assert rig.reported == [GP]
        assert rig.stack(1, 2) == [0]
        assert (rig.state.ecx, rig.state.ebx) == (0, 1)

    def test_by_a_jump_of_32_bits(self, rig: Rig) -> None:
        self.beyond(rig)
        rig.load(bytes.fromhex("66 e9 fa ef 00 00"), real_mode())

        rig.run()

        assert rig.reported == [GP]

    @pytest.mark.parametrize("limit", [0xF_FFFF, 0xFFFF_FFFF])
    def test_where_the_limit_is_more(self, rig: Rig, limit: int) -> None:
        """A guest that has kept a limit of protected mode."""
        self.beyond(rig)
        state = real_mode(cs=Segment(limit=limit, flags=0x9B00))
        rig.load(bytes.fromhex("66 e9 fa ef 00 00"), state)

        rig.run()

        assert rig.reported == []
        assert rig.state.ecx == 1

    def test_in_virtual_8086_mode(self, rig: Rig) -> None:
        self.beyond(rig)
        segment = Segment(0, 0, 0xFFFF, 0xF300)
        names = ("cs", "ds", "es", "ss", "fs", "gs")
        state = protected_mode(0xFFFE, level=3, eflags=self.V86, **dict.fromkeys(names, segment))
        rig.load(b"\x43\x90", state, at=0xFFFE)

        rig.run()

        assert rig.reported == [GP]
        assert rig.stack(2) == [0, 0x1_0000]

    def test_protected_mode_is_not_looked_at(self, rig: Rig) -> None:
        """No limit is, of any segment: a deviation that is known."""
        self.beyond(rig)
        state = protected_mode(0xFFFE)
        state.cs.limit = 0xFFFF
        rig.load(b"\x43\x90", state, at=0xFFFE)

        rig.run()

        assert rig.state.ecx == 1

    def test_one_that_lies_across(self, rig: Rig) -> None:
        """It is executed: a deviation that is known."""
        rig.load(bytes.fromhex("b8 34 12"), real_mode(0xFFFE), at=0xFFFE)

        rig.run()

        assert rig.reported == [GP]
        assert rig.state.eax & 0xFF00 == 0x1200
