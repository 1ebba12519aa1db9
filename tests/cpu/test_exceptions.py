"""Exceptions and what else leaves the program's way: from the instruction to the handler's first one.

How a frame gets onto the stack is delivery's business (test_delivery.py); here it is which event an
instruction is, with which address and error code.
"""

from __future__ import annotations

import signal
import struct

import pytest
from rig import (
    CODE,
    CODE_0,
    CODE_3,
    DATA,
    DATA_0,
    DATA_3,
    ENGINES,
    HANDLERS,
    IDT,
    SPARE,
    SPARE_SELECTOR,
    STACK,
    STACK_3,
    TABLE,
    TSS,
    Rig,
    needs_native,
    paging,
    protected_mode,
    python,
    real_mode,
)

import emu
from emu.cpu.models import Model
from emu.cpu.processor import Pause
from emu.cpu.state import Segment, State, translator_flags
from emu.memory import PAGE_BYTES

DE, DB, BP, OF, BR, UD, DF, TS, GP, PF = 0, 1, 3, 4, 5, 6, 8, 10, 13, 14
FLAG_TF, FLAG_RF = 1 << 8, 1 << 16
NOWHERE = 0x30_0000  # no page


class TestWhichEvent:
    """Vector and return address: of the instruction for a fault, behind it for a trap."""

    @pytest.mark.parametrize(
        ("code", "vector", "returns_to"),
        [
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "cd 21"  # int 0x21
                ),
                0x21,
                3,
                id="INT 21h",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "cd 03"  # int 3
                ),
                BP,
                3,
                id="INT 3 in two bytes",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "cc"  # int3
                ),
                BP,
                2,
                id="INT3",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "f1"  # int1
                ),
                DB,
                2,
                id="INT1",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "2e 66 f1"  # int1
                ),
                DB,
                4,
                id="INT1 with prefixes",
            ),
            pytest.param(
                bytes.fromhex(
                    "b0 7f"  # mov al, 127
                    "fe c0"  # inc al
                    "ce"  # into
                ),
                OF,
                5,
                id="INTO",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "cd 04"  # int 4
                ),
                OF,
                3,
                id="INT 4 in two bytes",
            ),
            pytest.param(
                bytes.fromhex(
                    "31 c9"  # xor cx, cx
                    "f7 f1"  # div cx
                ),
                DE,
                2,
                id="division by zero",
            ),
            pytest.param(
                bytes.fromhex(
                    "b8 00 80"  # mov ax, 0x8000
                    "99"  # cwd
                    "b9 ff ff"  # mov cx, -1
                    "f7 f9"  # idiv cx
                ),
                DE,
                7,
                id="overflow",
            ),
            pytest.param(
                bytes.fromhex(
                    "b8 09 00"  # mov ax, 9
                    "62 06 00 20"  # bound ax, [0x2000]
                ),
                BR,
                3,
                id="BOUND",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "0f 0b"  # ud2
                ),
                UD,
                1,
                id="UD2",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "0f ff"  # db 0x0f, 0xff
                    "90"  # nop
                ),
                UD,
                1,
                id="no instruction",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "f0"  # db 0xf0
                    "90"  # nop
                ),
                UD,
                1,
                id="a lock on what cannot be locked",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "0f 05"  # syscall
                ),
                UD,
                1,
                id="SYSCALL",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "26 0f 05"  # es syscall
                ),
                UD,
                1,
                id="SYSCALL with a prefix",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "0f 34"  # sysenter
                ),
                GP,
                1,
                id="SYSENTER in real mode",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "0f aa"  # rsm
                ),
                UD,
                1,
                id="RSM",
            ),
            pytest.param(
                bytes.fromhex(
                    "90"  # nop
                    "0f 00 d8"  # ltr ax
                ),
                UD,
                1,
                id="LTR in real mode",
            ),
        ],
    )
    def test_in_real_mode(self, rig: Rig, code: bytes, vector: int, returns_to: int) -> None:
        rig.load(code)

        assert rig.run() is Pause.HALTED
        assert rig.reported == [vector]
        assert rig.stack(2, 2) == [CODE + returns_to, 0]

    def test_INTO_without_overflow(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "b0 01"  # mov al, 1
                "fe c0"  # inc al
                "ce"  # into
                "f4"  # hlt
            )
        )

        rig.run()

        assert rig.reported == []

    def test_an_immediate_that_looks_like_INT3(self, rig: Rig) -> None:
        """INT CCh is two bytes long."""
        rig.load(
            bytes.fromhex(
                "cd cc"  # int 0xcc
            )
        )

        rig.run()

        assert rig.reported == [0xCC]
        assert rig.stack(1, 2) == [CODE + 2]

    def test_a_fault_on_the_way_to_INT_n_returns_to_it(self, rig: Rig) -> None:
        """Here the gate is beyond the IDT's limit."""
        state = protected_mode(idtr=Segment(base=IDT, limit=0x20 * 8 - 1))
        rig.load(
            bytes.fromhex(
                "90"  # nop
                "cd 40"  # int 0x40
            ),
            state,
        )

        rig.run()

        assert rig.reported == [GP]
        assert rig.stack(2) == [0x40 * 8 + 2, CODE + 1]

    def test_a_gate_that_INT_n_may_not_use(self, rig: Rig) -> None:
        rig.memory.write(IDT + 0x40 * 8, struct.pack("<HHBBH", HANDLERS, CODE_0, 0, 0x8E, 0))
        rig.load(
            bytes.fromhex(
                "cd 40"  # int 0x40
            ),
            protected_mode(level=3),
        )

        rig.run()

        assert rig.reported == [GP]
        assert rig.stack(2) == [0x40 * 8 + 2, CODE]

    @pytest.mark.parametrize(("opcode", "vector"), [("cc", BP), ("f1", DB), ("cd 40", 0x40)])
    def test_from_level_3(self, rig: Rig, opcode: str, vector: int) -> None:
        """To the stack that the TSS names, and with the level in the frame."""
        rig.load(bytes.fromhex(opcode), protected_mode(level=3))

        rig.run()

        assert rig.reported == [vector]
        frame = rig.stack(5)
        assert frame[0] == CODE + len(bytes.fromhex(opcode))
        assert (frame[1], frame[3], frame[4]) == (CODE_3 | 3, STACK_3, DATA_3 | 3)
        assert rig.state.esp == STACK - 20

    @pytest.mark.parametrize("code", ["90", "f3 90"], ids=["NOP", "PAUSE"])
    def test_single_step(self, rig: Rig, code: str) -> None:
        """TF: #DB after each instruction, DR6 says why."""
        rig.load(bytes.fromhex(code + "90"), real_mode(eflags=2 | FLAG_TF))

        rig.run()

        assert rig.reported == [DB]
        assert rig.stack(1, 2) == [CODE + len(bytes.fromhex(code))]
        assert rig.state.dr6 & 0x4000

    def test_arithmetic_flags_are_in_the_frame(self, rig: Rig) -> None:
        """The translator had left them for later."""
        rig.load(
            bytes.fromhex(
                "b0 ff"  # mov al, 0xff
                "04 01"  # add al, 1
                "cd 40"  # int 0x40
            )
        )

        rig.run()

        assert rig.stack(3, 2)[2] == 0x57  # ZF PF AF CF


class TestPageFault:
    """#PF: CR2 has the address, the error code says what was tried: SDM volume 3A, 4.7."""

    @pytest.mark.parametrize(
        ("code", "level", "entry", "error_code"),
        [
            pytest.param(
                bytes.fromhex(
                    "a1 04 00 1f 00"  # mov eax, [0x1f0004]
                ),
                0,
                0,
                0b000,
                id="read, not present",
            ),
            pytest.param(
                bytes.fromhex(
                    "a3 04 00 1f 00"  # mov [0x1f0004], eax
                ),
                0,
                0,
                0b010,
                id="write, not present",
            ),
            pytest.param(
                bytes.fromhex(
                    "a1 04 00 1f 00"  # mov eax, [0x1f0004]
                ),
                3,
                3,
                0b101,
                id="read, not the user's",
            ),
            pytest.param(
                bytes.fromhex(
                    "a3 04 00 1f 00"  # mov [0x1f0004], eax
                ),
                3,
                5,
                0b111,
                id="write, read only",
            ),
            pytest.param(
                bytes.fromhex(
                    "01 05 04 00 1f 00"  # add [0x1f0004], eax
                ),
                3,
                5,
                0b111,
                id="read and write, read only",
            ),
        ],
    )
    def test_error_codes(
        self, rig: Rig, code: bytes, level: int, entry: int, error_code: int
    ) -> None:
        rig.memory.write(TABLE + 0x1F0 * 4, struct.pack("<I", 0x1F_0000 | entry))
        rig.load(code, paging(level=level))

        rig.run()

        assert rig.reported == [PF]
        assert rig.stack(2) == [error_code, CODE]
        assert rig.state.cr2 == 0x1F_0004

    def test_a_fetch(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "e9 fb ef 2f 00"  # jmp 0x300000
            ),
            paging(),
        )

        rig.run()

        assert rig.reported == [PF]
        assert rig.stack(2) == [0, NOWHERE]
        assert rig.state.cr2 == NOWHERE

    def test_straight_code_into_a_missing_page(self, rig: Rig) -> None:
        """It faults at the page's edge, though it is one block, and fetched whole."""
        start = 0x1F_0000 - 2
        rig.memory.write(TABLE + 0x1F0 * 4, bytes(4))
        rig.load(
            bytes.fromhex(
                "40"  # inc eax
                "40"  # inc eax
                "90"  # nop
            ),
            paging(start),
            at=start,
        )

        rig.run()

        assert rig.stack(2) == [0, start + 2]
        assert (rig.state.eax & 0xFF00, rig.state.cr2) == (0, 0x1F_0000)

    def test_one_that_is_mended_and_tried_again(self, rig: Rig) -> None:
        """Demand paging, on both engines: the instruction is run again."""
        handler = bytes.fromhex(
            "c7 05 c0 67 00 00 07 00 1f 00"  # mov dword [0x6000 + 0x1f0 * 4], 0x1f0007
            "46"  # inc esi
            "83 c4 04"  # add esp, 4
            "cf"  # iret
        )
        rig.memory.write(SPARE, handler)
        rig.memory.write(IDT + PF * 8, struct.pack("<HHBBH", SPARE, CODE_0, 0, 0x8E, 0))
        rig.memory.write(TABLE + 0x1F0 * 4, bytes(4))
        rig.memory.write(0x1F_0004, b"\x2a")
        rig.load(
            bytes.fromhex(
                "43"  # inc ebx
                "a0 04 00 1f 00"  # mov al, [0x1f0004]
                "43"  # inc ebx
                "f4"  # hlt
            ),
            paging(),
        )

        rig.run()

        assert (rig.state.eax, rig.state.ebx, rig.state.esi) == (0x2A, 2, 1)

    def test_a_second_one_is_no_double_fault(self, rig: Rig) -> None:
        """The first has been delivered: the handler's own fault is one of its own."""
        handler = bytes.fromhex(
            "46"  # inc esi
            "a1 00 00 30 00"  # mov eax, [0x300000]
        )
        rig.memory.write(SPARE, handler)
        rig.memory.write(IDT + GP * 8, struct.pack("<HHBBH", SPARE, CODE_0, 0, 0x8E, 0))
        rig.load(
            bytes.fromhex(
                "cd ff"  # int 0xff
            ),
            paging(idtr=Segment(base=IDT, limit=0x3FF)),
        )

        rig.run()

        assert rig.state.esi == 1
        assert rig.reported == [PF]
        assert rig.stack(2) == [0, SPARE + 1]

    def test_one_in_its_handler_is_no_double_fault(self, rig: Rig) -> None:
        """Table 6-5: the second comes after the delivery of the first, not on its way."""
        handler = bytes.fromhex(
            "46"  # inc esi
            "83 fe 02"  # cmp esi, 2
            "74 05"  # je halt
            "a1 00 00 30 00"  # mov eax, [0x300000]
            "f4"  # halt: hlt
        )
        rig.memory.write(SPARE, handler)
        rig.memory.write(IDT + PF * 8, struct.pack("<HHBBH", SPARE, CODE_0, 0, 0x8E, 0))
        rig.load(
            bytes.fromhex(
                "a1 00 00 30 00"  # mov eax, [0x300000]
            ),
            paging(),
        )

        rig.run()

        assert (rig.state.esi, rig.reported) == (2, [])

    @pytest.mark.parametrize("slice_ns", [1, 1000])
    def test_a_handler_that_is_not_there(self, rig: Rig, slice_ns: int) -> None:
        """Fault upon fault, with no block between them: time passes all the same."""
        gate = struct.pack("<HHBBH", 0, CODE_0, 0, 0x8E, NOWHERE >> 16)
        rig.memory.write(IDT + PF * 8, gate)
        rig.load(
            bytes.fromhex(
                "a1 00 00 30 00"  # mov eax, [0x300000]
            ),
            paging(esp=0x1F_0000),
        )

        while rig.clock.now_ns < 1000:
            assert rig.run(slice_ns) is Pause.REACHED

        assert rig.clock.now_ns == 1000
        assert rig.state.esp == 0x1F_0000 - 999 * 16

    def test_an_interrupt_gets_a_word_in(self, rig: Rig) -> None:
        """Where the handler's gate leaves interrupts on."""
        gate = struct.pack("<HHBBH", 0, CODE_0, 0, 0x8F, NOWHERE >> 16)
        rig.memory.write(IDT + PF * 8, gate)
        rig.load(
            bytes.fromhex(
                "fb"  # sti
                "90"  # nop
                "e6 60"  # out 0x60, al
                "a1 00 00 30 00"  # mov eax, [0x300000]
            ),
            paging(),
        )
        rig.ports.on_write[0x60] = lambda _value: rig.interrupt(0x41)

        assert rig.run() is Pause.HALTED
        assert rig.reported == [0x41]
        assert rig.stack(1) == [NOWHERE]


class TestTaskGate:
    """Another task takes the interrupt, in an address space of its own."""

    def test_with_other_page_tables(self, rig: Rig) -> None:
        """What the engine has learned from the old ones is forgotten: SDM volume 3A, 7.3."""
        rig.describe(SPARE_SELECTOR, 0x0000_8900_2000_0067)
        task = struct.pack("<28x11I", 0x3000, SPARE, 2, *[0] * 4, STACK, *[0] * 3)
        task += struct.pack("<7I", DATA_0, CODE_0, DATA_0, DATA_0, 0, 0, 0)
        rig.memory.write(0x2000, task.ljust(0x68, b"\0"))
        rig.memory.write(IDT + 0x40 * 8, struct.pack("<HHBBH", 0, SPARE_SELECTOR, 0, 0xE5, 0))
        rig.memory.write(0x3000, struct.pack("<I", 0x1_1007))  # another directory, and table
        rig.memory.write(0x1_1000, rig.memory.read(TABLE, 4096))
        rig.memory.write(0x1_1000 + 0xD * 4, struct.pack("<I", 0xE007))
        rig.memory.write(0xD000, b"\x11")
        rig.memory.write(0xE000, b"\x22")
        rig.memory.write(
            SPARE,
            bytes.fromhex(
                "8a 1d 00 d0 00 00"  # mov bl, [0xd000]
                "f4"  # hlt
            ),
        )
        code = bytes.fromhex(
            "a0 00 d0 00 00"  # mov al, [0xd000]
            "cd 40"  # int 0x40
        )
        rig.load(code, paging())

        rig.run()

        assert rig.memory.read(TSS + 0x28, 1) == b"\x11"  # EAX of the old task
        assert rig.state.ebx == 0x22
        assert rig.state.cr3 == 0x3000


class TestDoubleAndTripleFault:
    """SDM volume 3A, 6.15."""

    def test_double(self, rig: Rig) -> None:
        """A #GP whose gate is not present."""
        rig.memory.write(IDT + GP * 8, bytes(8))
        rig.load(
            bytes.fromhex(
                "cd ff"  # int 0xff
            ),
            protected_mode(idtr=Segment(base=IDT, limit=0x3FF)),
        )

        rig.run()

        assert rig.reported == [DF]
        assert rig.stack(2) == [0, CODE]

    def test_triple(self, rig: Rig) -> None:
        """The processor shuts down, and can be reset."""
        rig.load(
            bytes.fromhex(
                "0f 0b"  # ud2
            ),
            protected_mode(idtr=Segment(base=IDT, limit=0)),
        )

        assert rig.run() is Pause.SHUTDOWN
        assert rig.state.eip == CODE
        rig.processor.reset()
        rig.memory.rom.write(
            0xFFF0,
            bytes.fromhex(
                "f4"  # hlt
            ),
        )
        assert rig.run() is Pause.HALTED

    def test_triple_on_an_interrupt(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "fb"  # sti
                "90"  # nop
                "f4"  # hlt
            ),
            protected_mode(idtr=Segment(base=IDT, limit=0)),
        )
        rig.interrupt(0x41)

        assert rig.run() is Pause.SHUTDOWN

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("no_reboot", [False, True])
    def test_on_the_machine(self, engine: str, *, no_reboot: bool) -> None:
        """A PC resets, and says so; with `no_reboot` it ends."""
        code = bytes.fromhex(
            "e4 92"  # in al, 0x92
            "2e 0f 01 1e 09 00"  # lidt [cs:idt]
            "cc"  # int3
            "00 00 00 00 00 00"  # idt: dw 0, 0, 0
        )
        rom = code.ljust(0xFFF0, b"\0") + bytes.fromhex("ea 00 00 00 f0").ljust(16, b"\0")
        said: list[str] = []
        with emu.Machine(bios=rom, memory="1M", engine=engine) as vm:
            vm.no_reboot, vm.notice = no_reboot, said.append

            stopped = vm.run(until=emu.after("10us"))

        assert said[0].startswith("triple fault\nEIP=")
        if no_reboot:
            assert stopped.reason is emu.Reason.SHUTDOWN
            assert len(said) == 1
        else:
            assert stopped.reason is emu.Reason.UNTIL
            assert len(said) > 5


MSRS = {"sysenter_cs": CODE_0, "sysenter_esp": STACK, "sysenter_eip": SPARE}


class TestSYSENTER:
    """To level 0 by three MSRs, and back: SDM volume 2B."""

    @pytest.mark.parametrize("prefix", ["", "2e", "f3 66"])
    @pytest.mark.parametrize("entry", [SPARE, 1])
    def test_there(self, rig: Rig, prefix: str, entry: int) -> None:
        code = bytes.fromhex(prefix) + bytes.fromhex(
            "0f 34"  # sysenter
        )
        rig.memory.write(
            entry,
            bytes.fromhex(
                "f4"  # hlt
            ),
        )
        state = protected_mode(level=3, eflags=0x202, **(MSRS | {"sysenter_eip": entry}))
        rig.load(code, state)

        assert rig.run() is Pause.HALTED

        state = rig.state
        assert (state.eip, state.esp, state.eflags) == (entry + 1, STACK, 2)
        assert state.cs == Segment(CODE_0, 0, 0xFFFF_FFFF, 0xC0_9B00)
        assert state.ss == Segment(DATA_0, 0, 0xFFFF_FFFF, 0xC0_9300)
        assert rig.reported == []

    def test_there_and_back(self, rig: Rig) -> None:
        """SYSEXIT goes to the segments 16 and 24 further on."""
        rig.describe(CODE_0 + 16, 0x00CF_FB00_0000_FFFF)
        rig.describe(CODE_0 + 24, 0x00CF_F300_0000_FFFF)
        rig.memory.write(
            SPARE,
            bytes.fromhex(
                "46"  # inc esi
                "ba 0d c0 00 00"  # mov edx, back
                "b9 00 00 01 00"  # mov ecx, 0x10000
                "0f 35"  # sysexit
                "47"  # back: inc edi
                "cd 40"  # int 0x40
            ),
        )
        rig.load(
            bytes.fromhex(
                "0f 34"  # sysenter
            ),
            protected_mode(level=3, **MSRS),
        )

        rig.run()

        assert (rig.state.esi, rig.state.edi) == (1, 1)
        assert rig.reported == [0x40]
        assert rig.stack(2)[1] == (CODE_0 + 16) | 3

    def test_data_segments_keep_their_bases(self, rig: Rig) -> None:
        """Flat are CS and SS alone."""
        rig.memory.write(
            SPARE,
            bytes.fromhex(
                "a1 00 00 00 00"  # mov eax, [0]
                "f4"  # hlt
            ),
        )
        rig.memory.write(0x2000, b"\x2a\0\0\0")
        ds = Segment(SPARE_SELECTOR | 3, 0x2000, 0xFFFF_FFFF, 0xCF_F300)
        rig.load(
            bytes.fromhex(
                "0f 34"  # sysenter
            ),
            protected_mode(level=3, ds=ds, **MSRS),
        )

        rig.run()

        assert rig.state.eax == 0x2A

    def test_from_16_bit_code(self, rig: Rig) -> None:
        """The translator is told that it is 32-bit code now, and nothing else."""
        rig.memory.write(SPARE, b"\xf4")  # hlt
        cs = Segment(CODE_3 | 3, 0, 0xFFFF, 0xFB00)
        rig.load(bytes.fromhex("0f 34"), protected_mode(level=3, cs=cs, **MSRS))  # sysenter

        rig.run()

        assert rig.registers.hflags == translator_flags(rig.state)
        assert rig.state.eip == SPARE + 1

    def test_with_no_code_segment(self, rig: Rig) -> None:
        """A null IA32_SYSENTER_CS is a #GP(0), at the instruction."""
        rig.load(
            bytes.fromhex(
                "90"  # nop
                "0f 34"  # sysenter
            ),
            protected_mode(level=3),
        )

        rig.run()

        assert rig.reported == [GP]
        assert rig.stack(3) == [0, CODE + 1, CODE_3 | 3]

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("model", [Model.I486, Model.PENTIUM])
    def test_on_a_processor_without_it(self, engine: str, model: Model) -> None:
        rig = Rig(engine, model)
        rig.load(
            bytes.fromhex(
                "90"  # nop
                "0f 34"  # sysenter
            ),
            protected_mode(level=3, **MSRS),
        )

        rig.run()

        assert rig.reported == [UD]
        assert rig.stack(1) == [CODE + 1]
        rig.close()

    @pytest.mark.parametrize(
        ("opcode", "vector", "error_code"),
        [
            pytest.param("0f 34", GP, [0], id="SYSENTER"),
            pytest.param("0f 05", UD, [], id="SYSCALL"),
        ],
    )
    def test_refused_in_single_step(
        self, rig: Rig, opcode: str, vector: int, error_code: list[int]
    ) -> None:
        """No trap comes, and DR6 tells of none: nothing has been executed."""
        rig.load(bytes.fromhex(opcode), protected_mode(eflags=0x102))

        rig.run()

        assert rig.reported == [vector]
        assert rig.state.dr6 & 1 << 14 == 0
        frame = [*error_code, CODE, CODE_0, 0x1_0102]
        assert rig.stack(len(frame)) == frame

    def test_flags_of_a_refused_one(self, rig: Rig) -> None:
        """They are those of the instruction before it."""
        rig.load(
            bytes.fromhex(
                "31 c0"  # xor eax, eax
                "0f 05"  # syscall
            ),
            protected_mode(),
        )

        rig.run()

        assert rig.stack(3)[2] & 0xFF == 0x46  # ZF, PF


BREAKPOINT = bytes.fromhex(
    "90"  # nop
    "eb 00"  # jmp b
    "90"  # b: nop
    "40"  # t: inc ax
    "f4"  # hlt
)
TARGET = CODE + 4


class TestBreakpoints:
    """#DB where DR0 to DR3 say, however they came to say it: SDM volume 3B, 17.2."""

    def test_set_by_the_guest(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "66 b8 15 10 00 00"  # mov eax, t
                "0f 23 c8"  # mov dr1, eax
                "66 b8 04 04 00 00"  # mov eax, 0x404
                "0f 23 f8"  # mov dr7, eax
                "eb 00"  # jmp b
                "90"  # b: nop
                "43"  # t: inc bx
                "f4"  # hlt
            )
        )

        rig.run()

        assert rig.reported == [DB]
        assert rig.stack(1, 2) == [rig.state.dr1]
        assert rig.state.dr6 & 0xF == 2
        assert rig.state.ebx == 0

    @pytest.mark.parametrize("number", range(4))
    def test_loaded_with_a_State(self, rig: Rig, number: int) -> None:
        """A save holds the registers; the engine has a list of its own."""
        debug = {f"dr{number}": TARGET, "dr7": 0x400 | 1 << 2 * number}
        rig.load(BREAKPOINT, real_mode(**debug))

        rig.run()

        assert rig.reported == [DB]
        assert rig.stack(1, 2) == [TARGET]
        assert rig.state.dr6 & 0xF == 1 << number

    def test_a_load_takes_away_those_that_were(self, rig: Rig) -> None:
        """And puts others of other types in their place."""
        rig.load(BREAKPOINT, real_mode(dr0=TARGET, dr1=CODE, dr7=0x405))
        rig.processor.state = real_mode(dr0=TARGET, dr7=0x3_0401)  # DR0 is for data now
        rig.run()
        ax = rig.state.eax

        rig.processor.state = real_mode(dr3=CODE + 3, dr7=0x440)
        rig.run()

        assert ax == 1
        assert rig.reported == [DB]
        assert rig.stack(1, 2) == [CODE + 3]

    def test_nothing_but_them_changes(self, rig: Rig) -> None:
        """To set them, the engine runs a few instructions that nobody sees: wherever they are."""
        for place in range(4):
            debug = {f"dr{number}": place * 32 + number * 64 for number in range(4)}
            before = rig.memory.read(0, 0x1000)
            state = real_mode(dr7=0x4FF, **debug)

            rig.processor.state = state

            assert rig.state == state
            assert rig.memory.read(0, 0x1000) == before
            assert rig.clock.now_ns == 0
            assert rig.processor.engine.now_ns == 0

    @pytest.mark.parametrize(("dr7", "breaks"), [(0x401, False), (0x402, True)])
    def test_a_task_switch_clears_the_local_ones(self, rig: Rig, dr7: int, *, breaks: bool) -> None:
        """SDM volume 3A, 7.3: the L bits go, the G bits stay."""
        rig.describe(SPARE_SELECTOR, 0x0000_8900_2000_0067)
        task = struct.pack("<28x11I", 0, SPARE, 2, *[0] * 4, STACK, *[0] * 3)
        task += struct.pack("<7I", DATA_0, CODE_0, DATA_0, DATA_0, 0, 0, 0)
        rig.memory.write(0x2000, task.ljust(0x68, b"\0"))
        rig.memory.write(IDT + 0x40 * 8, struct.pack("<HHBBH", 0, SPARE_SELECTOR, 0, 0xE5, 0))
        rig.memory.write(
            SPARE,
            bytes.fromhex(
                "90"  # nop
                "eb 00"  # jmp n
                "90"  # n: nop
                "43"  # inc ebx
                "f4"  # hlt
            ),
        )
        rig.load(
            bytes.fromhex(
                "cd 40"  # int 0x40
            ),
            protected_mode(dr0=SPARE + 4, dr7=dr7),
        )

        rig.run()

        assert rig.state.dr7 == dr7 & ~1
        assert rig.reported == ([DB] if breaks else [])
        assert rig.state.ebx == (not breaks)


@needs_native
class TestDivision:
    """The least number by -1 has a quotient that does not fit: SDM volume 2A, IDIV.

    Without native.c the host divides, and its own exception ends the process.
    """

    DIVISIONS = (
        bytes.fromhex("f7 f9"),  # idiv ecx
        bytes.fromhex("66 f7 f9"),  # idiv cx
        bytes.fromhex("f6 f9"),  # idiv cl
    )

    def state(self, code: bytes) -> State:
        least = (
            {"eax": 0x8000}
            if code[0] == 0xF6
            else {"edx": 0x8000_8000 if code[0] == 0x66 else 1 << 31}
        )
        return protected_mode(ecx=0xFFFF_FFFF, **least)

    @pytest.mark.parametrize("code", DIVISIONS, ids=["32 bits", "16 bits", "8 bits"])
    def test_it_is_refused(self, rig: Rig, code: bytes) -> None:
        rig.load(code, self.state(code))

        rig.run()

        assert rig.reported == [DE]
        assert rig.stack(1) == [CODE]

    def test_others_are_not(self, rig: Rig) -> None:
        """-2 ** 31 in two registers by -1, and the least number by 1."""
        code = bytes.fromhex(
            "f7 f9"  # idiv ecx
            "f4"  # hlt
        )
        for edx, eax, ecx, quotient in (
            (0xFFFF_FFFF, 0x8000_0001, 0xFFFF_FFFF, 0x7FFF_FFFF),
            (0xFFFF_FFFF, 0x8000_0000, 1, 0x8000_0000),
        ):
            rig.load(code, protected_mode(edx=edx, eax=eax, ecx=ecx))
            rig.run()

            assert rig.state.eax == quotient
        assert rig.reported == []


class TestNullTaskRegister:
    """LTR with a null selector is a #GP(0); SDM volume 2A, LTR."""

    CODE = bytes.fromhex(
        "31 c0"  # xor eax, eax
        "0f 00 d8"  # ltr ax
        "e9 f6 af 00 00"  # jmp 0xc000
    )
    GATE = 0x0000_EC00_0008_8000 | 0x41 * 8  # a call gate to the handler of 41h

    @needs_native
    def test_it_is_refused(self) -> None:
        rig = Rig("native")
        rig.load(self.CODE, protected_mode())

        rig.run()

        assert rig.reported == [GP]
        assert rig.stack(2) == [0, CODE + 2]
        rig.close()

    def test_a_State_with_one(self, rig: Rig) -> None:
        """It can come from QEMU, which takes it: then a call gate finds no stack."""
        rig.describe(SPARE_SELECTOR, self.GATE)
        state = protected_mode(level=3, tr=Segment(0, 0, 0, 0))
        rig.load(
            bytes.fromhex(
                "9a 00 00 00 00 30 00"  # call 0x30:0
            ),
            state,
        )

        assert rig.state.tr == Segment(0, 0, 0, 0x8900)
        assert rig.run() is Pause.SHUTDOWN  # #TS needs a stack as well

    def test_the_reference_engine_s_deviation(self) -> None:
        """There Unicorn takes it, and aborts when a call gate looks for a stack."""
        program = f"""
from rig import Rig, protected_mode
rig = Rig("reference")
rig.describe({SPARE_SELECTOR}, {self.GATE})
rig.load(bytes.fromhex("9a 00 00 00 00 30 00"), protected_mode(level=3))
rig.registers.tr.flags = 0  # what LTR leaves there
rig.run()
"""
        run = python(program)

        assert run.returncode == -signal.SIGABRT


class TestLoops:
    """LOOPE and LOOPNE affect no flag (SDM 2A, LOOP/LOOPcc), however they end."""

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize("prefix", ["", "2e 67"])
    @pytest.mark.parametrize("loop", ["e0 00", "e1 00"], ids=["LOOPNE", "LOOPE"])
    @pytest.mark.parametrize(
        ("before", "flags"),
        [
            pytest.param("39 c0", 0x46, id="CMP of equals"),
            pytest.param("39 d8", 0x06, id="CMP"),
            pytest.param("4b", 0x97, id="DEC"),
            pytest.param("84 c0", 0x06, id="TEST"),
        ],
    )
    def test_leave_the_flags(
        self, rig: Rig, before: str, flags: int, prefix: str, loop: str, count: int
    ) -> None:
        rig.load(
            bytes.fromhex(
                f"{before} {prefix} {loop}"  # loop next
                "cc"  # next: int3
            ),
            real_mode(CODE, eax=0x66, ebx=0, ecx=count, eflags=0x93),
        )

        rig.run()

        assert rig.stack(3, 2)[2] == flags


class TestLOCK:
    """It is #UD but with some instructions, and with those where they have a register (SDM 2A)."""

    @pytest.mark.parametrize(
        "code",
        [
            pytest.param("f0 90", id="NOP"),
            pytest.param("f0 39 07", id="CMP"),
            pytest.param("f0 80 3f 01", id="CMP with a number"),
            pytest.param("f0 00 c0", id="ADD to a register"),
            pytest.param("f0 02 07", id="ADD from memory"),
            pytest.param("2e f0 66 f7 27", id="MUL, among prefixes"),
            pytest.param("f0 ff 17", id="CALL"),
            pytest.param("f0 87 c0", id="XCHG of registers"),
            pytest.param("f0 0f a3 07", id="BT"),
            pytest.param("f0 0f a3 c0", id="BT of a register"),  # these four end the library
            pytest.param("f0 0f ab c0", id="BTS of a register"),
            pytest.param("f0 0f b3 c0", id="BTR of a register"),
            pytest.param("f0 0f bb c0", id="BTC of a register"),
            pytest.param("f0 0f ba 27 01", id="BT with a number"),
            pytest.param("f0 0f ba e8 01", id="BTS of a register, with a number"),
            pytest.param("f0 0f c7 c8", id="CMPXCHG8B of a register"),
            pytest.param("f0 f1", id="INT1"),
            pytest.param("f0 cd 40", id="INT"),
        ],
    )
    def test_is_undefined(self, rig: Rig, code: str) -> None:
        rig.load(bytes.fromhex("90" + code), real_mode(CODE, ebx=DATA))

        rig.run()

        assert rig.reported == [UD]
        assert rig.stack(1, 2) == [CODE + 1]

    @pytest.mark.parametrize("opcode", ["00", "09", "10", "19", "20", "29", "30", "86", "0f b0"])
    def test_is_defined(self, rig: Rig, opcode: str) -> None:
        rig.load(bytes.fromhex(f"f0 {opcode} 07 f4"), real_mode(CODE, eax=0, ebx=DATA))

        rig.run()

        assert rig.reported == []

    @pytest.mark.parametrize(
        ("code", "value"),
        [
            pytest.param("f0 80 07 02", 0x05, id="ADD with a number"),
            pytest.param("f0 f6 17", 0xFC, id="NOT"),
            pytest.param("f0 fe 07", 0x04, id="INC"),
            pytest.param("f0 fe 0f", 0x02, id="DEC"),
            pytest.param("f0 0f ba 2f 02", 0x07, id="BTS"),
            pytest.param("f0 0f c0 07", 0x06, id="XADD"),
            pytest.param("f0 0f c7 0f", 0x00, id="CMPXCHG8B"),
        ],
    )
    def test_changes_memory(self, rig: Rig, code: str, value: int) -> None:
        rig.memory.write(DATA, b"\x03")
        rig.load(bytes.fromhex(code + "f4"), real_mode(CODE, eax=3, ebx=DATA))

        rig.run()

        assert rig.reported == []
        assert rig.memory.read(DATA, 1)[0] == value

    @pytest.mark.parametrize("prefixes", ["f0", "2e f0 66 f0"])
    def test_NEG_leaves_the_flags_of_its_result(self, rig: Rig, prefixes: str) -> None:
        rig.memory.write(DATA, b"\x03\x00\x00\x00")
        code = bytes.fromhex(f"{prefixes} f7 1f cc")  # neg [bx]; int3
        rig.load(code, real_mode(CODE, ebx=DATA))

        rig.run()

        assert rig.memory.read(DATA, 2) == b"\xfd\xff"
        assert rig.stack(3, 2)[2] & 0x8D5 == 0x91  # CF, AF, SF

    def test_no_byte_is_fetched_that_it_has_not(self, rig: Rig) -> None:
        """LOCK NOP at the end of a page, and nothing behind it."""
        state = paging(CODE + PAGE_BYTES - 2)
        rig.memory.write(TABLE + (CODE // PAGE_BYTES + 1) * 4, bytes(4))
        rig.load(bytes.fromhex("f0 90"), state, at=CODE + PAGE_BYTES - 2)

        rig.run()

        assert rig.reported == [UD]


class TestINT6:
    """It is a software interrupt like another, though the engine takes it for an invalid opcode."""

    def test_the_gate_decides(self, rig: Rig) -> None:
        rig.load(bytes.fromhex("90 2e cd 06"), protected_mode(level=3))
        rig.memory.write(IDT + 6 * 8 + 5, b"\x8e")  # of DPL 0

        rig.run()

        assert rig.reported == [GP]
        assert rig.stack(2) == [6 * 8 + 2, CODE + 1]

    def test_it_returns_behind_itself(self, rig: Rig) -> None:
        rig.load(bytes.fromhex("90 2e cd 06"), protected_mode(level=3))

        rig.run()

        assert rig.reported == [UD]
        assert rig.stack(3) == [CODE + 4, CODE_3 | 3, 0x2]


@pytest.mark.parametrize("interrupt", ["cc", "cd 40", "9c 9c 9c cc"])  # INT3, INT 40h, PUSHF
@pytest.mark.parametrize("equal", [True, False])
def test_CMPXCHG8B_leaves_reserved_flags_clear(
    rig: Rig,
    equal: bool,  # noqa: FBT001
    interrupt: str,
) -> None:
    rig.memory.write(DATA, b"\x03")
    code = bytes.fromhex(f"84 c0 0f c7 0f {interrupt}")  # test al, al; cmpxchg8b [bx]
    rig.load(code, real_mode(CODE, eax=3 if equal else 0, ebx=DATA))

    rig.run()

    flags = rig.stack(6, 2)[2:] if interrupt.startswith("9c") else rig.stack(3, 2)[2:]
    assert all(each & 0x8028 == 0 for each in flags)
