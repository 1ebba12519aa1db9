"""Delivery does what chapters 6, 7 and 20 of Intel's SDM, volume 3A, say.

§ numbers are volume 3A's, as of 2019.  Each test builds the tables that a kernel would, delivers one
event, and looks at the frame on the handler's stack, byte for byte, and at the registers.

    0008  code, level 0     0010  stack, level 0      0018  code, level 3     0020  stack, level 3
    0028  the current TSS   0030  another TSS         0038  conforming code, level 0
    0040  code, level 0, 16-bit                       0048  stack, level 0, 16-bit
    0050  code, level 1     0058  stack, level 1      0060  the LDT           0068 on: the test's

Faults (vectors 8 to 14) are handled in conforming code: at any level, without a stack switch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import delivery_in_c
import pytest

from emu import attrs
from emu.cpu.delivery import Delivered, Event, Kind, Shutdown, deliver, read_code_byte
from emu.cpu.layout import CS, DS, ES, ESP, FS, GS, SS, Registers
from emu.memory import Memory, Ram

GDT, IDT, LDT, TSS, OTHER_TSS = 0x1000, 0x2000, 0x2800, 0x3000, 0x3100
DIRECTORY, TABLE = 0x4000, 0x5000
STACK_BASE_0 = 0x1_0000  # of segment 0010; those of 16 bits begin there too
STACK_BASE_3 = 0x2_0000

CODE_0, STACK_0, CODE_3, STACK_3, TSS_SELECTOR, OTHER = 0x08, 0x10, 0x18, 0x20, 0x28, 0x30
CONFORMING, CODE_16, STACK_16, CODE_1, STACK_1, LDT_SELECTOR = 0x38, 0x40, 0x48, 0x50, 0x58, 0x60
SPARE = 0x68  # a descriptor for the test to fill
SPARE_LDT = 0x0C  # and one in the LDT
GDT_LIMIT = 0x6F

VECTOR = 0x40  # the vector under test
HANDLER = 0x1234_5678
EIP, NEXT_EIP = 0x4_0000, 0x4_0002

FLAG_CF, FLAG_TF, FLAG_IF, FLAG_DF, FLAG_OF = 1, 1 << 8, 1 << 9, 1 << 10, 1 << 11
FLAG_NT, FLAG_RF, FLAG_VM, FLAG_AC, FLAG_ID = 1 << 14, 1 << 16, 1 << 17, 1 << 18, 1 << 21
IOPL_3 = 3 << 12
FLAGS = 0x2 | FLAG_IF | FLAG_CF | FLAG_DF | FLAG_OF

HF_INHIBIT, HF_CS32, HF_SS32, HF_ADDSEG, HF_PE, HF_TS = (
    1 << 3,
    1 << 4,
    1 << 5,
    1 << 6,
    1 << 7,
    1 << 11,
)
HF_OF_EFLAGS = FLAG_TF | IOPL_3 | FLAG_RF | FLAG_VM | FLAG_AC

DOUBLE_FAULT, BAD_TSS, NOT_PRESENT, STACK_FAULT, PROTECTION, PAGE_FAULT = 8, 10, 11, 12, 13, 14
FAULT_HANDLER = 0x100  # vector v is handled at v * FAULT_HANDLER

TASK, INTERRUPT_16, TRAP_16, INTERRUPT_32, TRAP_32 = 0x5, 0x6, 0x7, 0xE, 0xF

NEW_REGISTERS = [0xA0A0_0000 + number for number in range(8)]
NEW_EIP = 0x5_0000
NEW_FLAGS = 0x2 | FLAG_IF | FLAG_ID
OLD_REGISTERS = [0xB0B0_0000 + number for number in range(8)]
NEW_REGISTERS[ESP] = OLD_REGISTERS[ESP] = 0x8000

EVENTS = [(kind, int(kind not in (Kind.SOFTWARE, Kind.SOFTWARE_EXCEPTION))) for kind in Kind]


def descriptor(base: int = 0, limit: int = 0xF_FFFF, access: int = 0x9B, flags: int = 0xC) -> bytes:
    """§3.4.5: *access* is P, DPL, S and type; *flags* are G, D/B, L and AVL."""
    value = limit & 0xFFFF | (base & 0xFF_FFFF) << 16 | access << 40
    value |= (limit >> 16) << 48 | flags << 52 | (base >> 24) << 56
    return value.to_bytes(8, "little")


def gate(
    selector: int, offset: int = HANDLER, kind: int = INTERRUPT_32, dpl: int = 3, present: int = 1
) -> bytes:
    """§6.11, figure 6-2."""
    access = present << 7 | dpl << 5 | kind
    return struct.pack("<HHBBH", offset & 0xFFFF, selector, 0, access, offset >> 16)


@attrs.define
class Guest:
    """A processor and its memory; nothing runs."""

    memory: Memory
    registers: Registers

    def describe(self, selector: int, descriptor: bytes) -> None:
        self.memory.write((LDT if selector & 4 else GDT) + (selector & ~7), descriptor)

    def access_byte(self, selector: int) -> int:
        return self.memory.read((LDT if selector & 4 else GDT) + (selector & ~7) + 5, 1)[0]

    def handle(self, gate: bytes, vector: int = VECTOR) -> None:
        self.memory.write(IDT + vector * 8, gate)

    def load(self, register: int, selector: int) -> None:
        """Load a segment register, as a MOV would."""
        low, high = struct.unpack("<II", self.memory.read(GDT + (selector & ~7), 8))
        segment = self.registers.segs[register]
        segment.selector = selector
        segment.base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF00_0000
        limit = low & 0xFFFF | high & 0xF_0000
        segment.limit = limit << 12 | 0xFFF if high & 1 << 23 else limit
        segment.flags = high & 0x00F0_FF00

    def tss_32(
        self,
        *,
        segments: tuple[int, ...] = (STACK_0, CODE_0, STACK_0, CODE_0, 0, STACK_3),
        ldt: int = LDT_SELECTOR,
        eflags: int = NEW_FLAGS,
        eip: int = NEW_EIP,
        cr3: int = 0x6000,
    ) -> None:
        """Fill the other task's 32-bit TSS, figure 7-2; *segments* are ES CS SS DS FS GS."""
        image = struct.pack("<28x11I", cr3, eip, eflags, *NEW_REGISTERS)
        image += b"".join(struct.pack("<HH", segment, 0xEEEE) for segment in (*segments, ldt))
        self.memory.write(OTHER_TSS, image + bytes(4))

    def tss_16(self, flags: int = FLAG_IF | 2) -> None:
        """Fill it as a 16-bit one, figure 7-10."""
        self.describe(OTHER, descriptor(OTHER_TSS, 0x2B, 0x81, 0))
        words = (0x5000, flags, 0xA0, 0xA1, 0xA2, 0xA3, 0x8000, 0xA5, 0xA6, 0xA7)
        words += (STACK_0, CODE_16, STACK_16, CODE_0, LDT_SELECTOR)
        self.memory.write(OTHER_TSS, struct.pack("<14x15H", *words))

    def real(self) -> None:
        """Real-address mode, with the IVT at 0."""
        registers = self.registers
        registers.cr[0] = 0x10
        registers.idt.base, registers.idt.limit = 0, 0x3FF
        for number, selector in ((CS, 0x1234), (SS, 0x2000), (DS, 0x3000), (ES, 0x4000)):
            segment = registers.segs[number]
            segment.selector, segment.base = selector, selector << 4
            segment.limit, segment.flags = 0xFFFF, 0x9300
        registers.regs[ESP] = 0xABCD_0100
        registers.eip = 0x5678
        registers.eflags = FLAGS
        registers.hflags = HF_ADDSEG

    def protected(self, level: int = 3) -> None:
        """Protected mode at a privilege level, in 32-bit segments."""
        registers = self.registers
        registers.cr[0] = 0x11
        code, stack = {0: (CODE_0, STACK_0), 1: (CODE_1, STACK_1), 3: (CODE_3, STACK_3)}[level]
        self.load(CS, code | level)
        self.load(SS, stack | level)
        self.load(DS, STACK_3 | 3)
        self.load(ES, STACK_3 | 3)
        registers.segs[DS].base = registers.segs[ES].base = 0
        registers.regs[ESP] = 0x8000
        registers.eip = EIP
        registers.eflags = FLAGS
        registers.hflags = HF_PE | HF_CS32 | HF_SS32 | HF_ADDSEG | level

    def virtual_8086(self, iopl: int = 3) -> None:
        """Virtual-8086 mode, §20.2."""
        self.protected(0)
        registers = self.registers
        selectors = {CS: 0x1234, SS: 0x2000, DS: 0x3001, ES: 0x4002, FS: 0x5003, GS: 0x6004}
        for number, selector in selectors.items():
            segment = registers.segs[number]
            segment.selector, segment.base = selector, selector << 4
            segment.limit, segment.flags = 0xFFFF, 0xF300
        registers.eflags = FLAGS | FLAG_VM | iopl << 12
        registers.regs[ESP] = 0x0100
        registers.hflags = HF_PE | HF_ADDSEG | 3

    def paged(self) -> None:
        """Map all of the first 1 MiB to itself, for users too."""
        for page in range(256):
            self.memory.write(TABLE + page * 4, (page << 12 | 7).to_bytes(4, "little"))
        self.memory.write(DIRECTORY, (TABLE | 7).to_bytes(4, "little"))
        self.registers.cr[3] = DIRECTORY
        self.registers.cr[0] |= 0x8000_0000

    def unmap(self, linear: int) -> None:
        self.memory.write(TABLE + (linear >> 12) * 4, bytes(4))

    def deliver(self, event: Event) -> Delivered:
        """By delivery.py; delivery.c, where it has an answer, has the same."""
        answer = delivery_in_c.deliver(self.registers, self.memory, event)
        delivered = deliver(self.registers, self.memory, event)
        if answer is not None:
            assert answer == delivery_in_c.Answer.of(self.registers, self.memory)
        return delivered

    def interrupt(self, kind: Kind = Kind.SOFTWARE, code: int | None = None) -> Delivered:
        """The event under test.  It returns to the next instruction."""
        return self.deliver(Event(VECTOR, kind, code, return_eip=NEXT_EIP))

    def segment(self, number: int) -> tuple[int, int, int, int]:
        segment = self.registers.segs[number]
        return segment.selector, segment.base, segment.limit, segment.flags

    def frame(self, count: int, size: int = 4) -> list[int]:
        """The stack's items, from the new SP up."""
        stack = self.registers.segs[SS]
        mask = 0xFFFF_FFFF if stack.flags & 1 << 22 else 0xFFFF
        start = stack.base + (self.registers.regs[ESP] & mask)
        data = self.memory.read(start, count * size)
        return list(struct.unpack(f"<{count}{'I' if size == 4 else 'H'}", data))

    def refused(self, delivered: Delivered) -> tuple[int, int | None]:
        """What was delivered instead, after making sure that it came to its handler."""
        event = delivered.event
        assert self.registers.eip == event.vector * FAULT_HANDLER
        assert self.registers.segs[CS].selector & ~3 == CONFORMING
        assert self.frame(2) == [event.error_code, event.return_eip]
        return event.vector, event.error_code

    def whole(self) -> bytes:
        """Every register, CR2 left out."""
        cr2 = Registers.cr.offset + 2 * 8
        everything = bytes(self.registers)
        return everything[:cr2] + everything[cr2 + 8 :]


@pytest.fixture
def guest() -> Iterator[Guest]:
    memory = Memory(Ram("pc.ram", 1 << 20), Ram("pc.bios", 64 << 10))
    registers = Registers()
    guest = Guest(memory, registers)
    registers.a20_mask = -1
    registers.old_exception = -1
    registers.gdt.base, registers.gdt.limit = GDT, GDT_LIMIT
    registers.idt.base, registers.idt.limit = IDT, 0x7FF
    registers.ldt.base, registers.ldt.limit, registers.ldt.selector = LDT, 0xF, LDT_SELECTOR
    registers.tr.selector, registers.tr.base, registers.tr.limit = TSS_SELECTOR, TSS, 0x67
    registers.tr.flags = 0x8900
    guest.describe(CODE_0, descriptor())
    guest.describe(STACK_0, descriptor(STACK_BASE_0, access=0x93))
    guest.describe(CODE_3, descriptor(access=0xFB))
    guest.describe(STACK_3, descriptor(STACK_BASE_3, access=0xF3))
    guest.describe(TSS_SELECTOR, descriptor(TSS, 0x67, 0x8B, 0))
    guest.describe(OTHER, descriptor(OTHER_TSS, 0x67, 0x89, 0))
    guest.describe(CONFORMING, descriptor(access=0x9F))
    guest.describe(CODE_16, descriptor(0, 0xFFFF, 0x9B, 0))
    guest.describe(STACK_16, descriptor(STACK_BASE_0, 0xFFFF, 0x93, 0))
    guest.describe(CODE_1, descriptor(access=0xBB))
    guest.describe(STACK_1, descriptor(STACK_BASE_0, access=0xB3))
    guest.describe(LDT_SELECTOR, descriptor(LDT, 0xF, 0x82, 0))
    guest.memory.write(TSS + 4, struct.pack("<IIII", 0x7000, STACK_0, 0x6000, STACK_1 | 1))
    for vector in range(DOUBLE_FAULT, PAGE_FAULT + 1):
        guest.handle(gate(CONFORMING, vector * FAULT_HANDLER, dpl=0), vector)
    yield guest
    memory.ram.close()
    memory.rom.close()


class TestRealMode:
    """§20.1.4; volume 2, "INT n", REAL-ADDRESS-MODE."""

    @pytest.fixture(autouse=True)
    def real(self, guest: Guest) -> None:
        guest.real()
        guest.memory.write(VECTOR * 4, struct.pack("<HH", 0x9ABC, 0xDEF0))

    def test_FLAGS_CS_and_IP_are_pushed_as_words(self, guest: Guest) -> None:
        guest.interrupt()

        assert guest.registers.regs[ESP] == 0xABCD_00FA
        assert guest.memory.read(0x2_00FA, 6) == struct.pack("<HHH", 2, 0x1234, FLAGS)

    def test_the_entry_gives_CS_and_IP(self, guest: Guest) -> None:
        """CS keeps the limit and attributes that it has."""
        guest.registers.segs[CS].limit = 0xFFFF_FFFF

        delivered = guest.interrupt()

        assert guest.segment(CS) == (0xDEF0, 0xD_EF00, 0xFFFF_FFFF, 0x9300)
        assert guest.registers.eip == 0x9ABC
        assert delivered == Delivered(
            Event(VECTOR, Kind.SOFTWARE, return_eip=NEXT_EIP), flush_tlb=False, dr7_changed=False
        )

    def test_IF_TF_RF_and_AC_are_cleared(self, guest: Guest) -> None:
        guest.registers.eflags = FLAGS | FLAG_TF | FLAG_RF | FLAG_AC | FLAG_NT | FLAG_ID
        guest.registers.hflags |= HF_INHIBIT | HF_OF_EFLAGS

        guest.interrupt()

        assert guest.registers.eflags == FLAGS & ~FLAG_IF | FLAG_NT | FLAG_ID
        assert guest.registers.hflags == HF_ADDSEG

    def test_no_error_code_is_pushed(self, guest: Guest) -> None:
        guest.interrupt(Kind.EXCEPTION, code=0x55)

        assert guest.registers.regs[ESP] == 0xABCD_00FA

    def test_the_stack_wraps_at_64_KiB(self, guest: Guest) -> None:
        guest.registers.regs[ESP] = 2

        guest.interrupt()

        assert guest.registers.regs[ESP] == 0xFFFC
        assert guest.memory.read(0x2_0000, 2) == struct.pack("<H", FLAGS)
        assert guest.memory.read(0x2_FFFC, 4) == struct.pack("<HH", 2, 0x1234)

    def test_a_big_stack_segment_takes_all_of_ESP(self, guest: Guest) -> None:
        """Left over from protected mode."""
        guest.registers.segs[SS].flags |= 1 << 22
        guest.registers.regs[ESP] = 0x3_0004

        guest.interrupt()

        assert guest.registers.regs[ESP] == 0x2_FFFE
        assert guest.memory.read(0x4_FFFE, 6) == struct.pack("<HHH", 2, 0x1234, FLAGS)

    def test_the_IDT_may_be_anywhere(self, guest: Guest) -> None:
        guest.registers.idt.base = 0x8000
        guest.memory.write(0x8000 + VECTOR * 4, struct.pack("<HH", 0x1111, 0x2222))

        guest.interrupt()

        assert (guest.registers.segs[CS].selector, guest.registers.eip) == (0x2222, 0x1111)

    def test_an_entry_must_be_within_the_IDT_s_limit(self, guest: Guest) -> None:
        """All four bytes of it, or #GP, which returns to the INT itself."""
        guest.memory.write(PROTECTION * 4, struct.pack("<HH", 0x1111, 0x2222))

        guest.registers.idt.limit = VECTOR * 4 + 3
        assert guest.interrupt().event.vector == VECTOR

        guest.real()
        guest.registers.idt.limit = VECTOR * 4 + 2
        assert guest.interrupt().event.vector == PROTECTION
        assert guest.registers.eip == 0x1111
        assert guest.frame(3, 2) == [0x5678, 0x1234, FLAGS]

    def test_a_limit_too_small_for_GP_too_makes_a_double_fault(self, guest: Guest) -> None:
        guest.memory.write(DOUBLE_FAULT * 4, struct.pack("<HH", 0x1111, 0x2222))
        guest.registers.idt.limit = DOUBLE_FAULT * 4 + 3

        assert guest.interrupt().event == Event(DOUBLE_FAULT, Kind.EXCEPTION, 0, return_eip=0x5678)

    def test_and_one_too_small_for_that_a_shutdown(self, guest: Guest) -> None:
        guest.registers.idt.limit = 0
        before = guest.whole()

        with pytest.raises(Shutdown, match="at 0x5678"):
            guest.interrupt()

        assert guest.whole() == before


class TestSamePrivilege:
    """§6.12.1, the second figure: the stack in use takes the frame."""

    @pytest.mark.parametrize("level", [0, 3])
    @pytest.mark.parametrize("kind", [INTERRUPT_32, TRAP_32])
    def test_EFLAGS_CS_and_EIP_are_pushed(self, guest: Guest, level: int, kind: int) -> None:
        guest.protected(level)
        guest.handle(gate({0: CODE_0, 3: CODE_3}[level], kind=kind))
        cs, ss = guest.registers.segs[CS].selector, guest.segment(SS)

        guest.interrupt()

        assert guest.registers.regs[ESP] == 0x8000 - 12
        assert guest.frame(3) == [NEXT_EIP, cs, FLAGS]
        assert guest.segment(SS) == ss
        assert guest.registers.segs[CS].selector == cs
        assert guest.registers.eip == HANDLER

    def test_the_error_code_comes_on_top(self, guest: Guest) -> None:
        guest.protected()
        guest.handle(gate(CODE_3))

        guest.interrupt(Kind.EXCEPTION, code=0x55)

        assert guest.frame(4) == [0x55, NEXT_EIP, CODE_3 | 3, FLAGS | FLAG_RF]

    @pytest.mark.parametrize("kind", [INTERRUPT_16, TRAP_16])
    def test_a_16_bit_gate_pushes_words_and_has_a_16_bit_offset(
        self, guest: Guest, kind: int
    ) -> None:
        guest.protected()
        guest.handle(gate(CODE_3, kind=kind))
        guest.registers.eip = 0x12_3456

        guest.interrupt(Kind.EXCEPTION, code=0x1_0055)

        assert guest.registers.regs[ESP] == 0x8000 - 8
        assert guest.frame(4, 2) == [0x55, NEXT_EIP & 0xFFFF, CODE_3 | 3, FLAGS]
        assert guest.registers.eip == HANDLER & 0xFFFF

    def test_a_16_bit_stack_wraps_and_leaves_the_upper_half_of_ESP(self, guest: Guest) -> None:
        """§3.4.5, B flag: SP is used."""
        guest.protected(0)
        guest.load(SS, STACK_16)
        guest.registers.regs[ESP] = 0xABCD_0004
        guest.handle(gate(CODE_0))

        guest.interrupt()

        assert guest.registers.regs[ESP] == 0xABCD_FFF8
        assert guest.memory.read(STACK_BASE_0, 4) == struct.pack("<I", FLAGS)
        assert guest.memory.read(STACK_BASE_0 + 0xFFF8, 8) == struct.pack("<II", NEXT_EIP, CODE_0)

    def test_a_segment_that_grows_from_4_GiB_down(self, guest: Guest) -> None:
        """ESP = 0 pushes below 4 GiB, where the segment's base brings it back."""
        guest.protected()
        guest.registers.regs[ESP] = 0
        guest.handle(gate(CODE_3))

        guest.interrupt()

        assert guest.registers.regs[ESP] == 0xFFFF_FFF4
        assert guest.memory.read(STACK_BASE_3 - 12, 12) == struct.pack(
            "<III", NEXT_EIP, CODE_3 | 3, FLAGS
        )

    def test_conforming_code_runs_at_the_interrupted_level(self, guest: Guest) -> None:
        """§6.12.1.1: CS gets the level as its RPL."""
        guest.protected(3)
        guest.handle(gate(CONFORMING | 1))

        guest.interrupt()

        assert guest.registers.segs[CS].selector == CONFORMING | 3
        assert guest.registers.hflags & 3 == 3
        assert guest.registers.segs[SS].selector == STACK_3 | 3

    def test_the_handler_s_descriptor_is_cached(self, guest: Guest) -> None:
        """Base, limit scaled by G, and attributes with the accessed bit, set in memory too."""
        guest.protected(0)
        guest.describe(SPARE, descriptor(0x8765_4321, 0xF_1234, 0x98, 0xD))
        guest.handle(gate(SPARE, 0x100))

        guest.interrupt()

        assert guest.segment(CS) == (SPARE, 0x8765_4321, 0xF123_4FFF, 0x00DF_9900 & 0xF0FF00)
        assert guest.access_byte(SPARE) == 0x99

    def test_the_handler_may_be_in_the_LDT(self, guest: Guest) -> None:
        guest.protected(0)
        guest.describe(SPARE_LDT, descriptor(0x1_0000, 0x1234, 0x9A, 0x4))
        guest.handle(gate(SPARE_LDT, 0x1234))

        guest.interrupt()

        assert guest.segment(CS) == (SPARE_LDT, 0x1_0000, 0x1234, 0x40_9B00)
        assert guest.access_byte(SPARE_LDT) == 0x9B


class TestFlags:
    """§6.12.1.2 and §6.8.1."""

    BUSY = FLAGS | FLAG_TF | FLAG_NT | FLAG_RF | FLAG_AC | FLAG_ID | IOPL_3

    @pytest.mark.parametrize(
        ("kind", "cleared"),
        [
            (TRAP_32, FLAG_TF | FLAG_NT | FLAG_RF),
            (INTERRUPT_32, FLAG_TF | FLAG_NT | FLAG_RF | FLAG_IF),
            (TRAP_16, FLAG_TF | FLAG_NT | FLAG_RF),
            (INTERRUPT_16, FLAG_TF | FLAG_NT | FLAG_RF | FLAG_IF),
        ],
    )
    @pytest.mark.parametrize("code", [CODE_0, CODE_3])
    def test_an_interrupt_gate_clears_IF_a_trap_gate_does_not(
        self, guest: Guest, kind: int, cleared: int, code: int
    ) -> None:
        guest.protected()
        guest.registers.eflags = self.BUSY
        guest.handle(gate(code, kind=kind))

        guest.interrupt(Kind.HARDWARE)

        assert guest.registers.eflags == self.BUSY & ~cleared

    @pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.EXCEPTION])
    def test_interrupts_push_EFLAGS_as_they_are(self, guest: Guest, kind: Kind) -> None:
        guest.protected()
        guest.handle(gate(CODE_3))

        guest.interrupt(kind)

        assert guest.frame(3)[2] == FLAGS

    @pytest.mark.parametrize("vector", [0, 6, 13, 14, 17])
    def test_faults_push_EFLAGS_with_RF_set(self, guest: Guest, vector: int) -> None:
        """§17.3.1.1: a breakpoint on the instruction is not to be met again on return."""
        guest.protected()
        guest.handle(gate(CODE_3), vector)

        guest.deliver(Event(vector, Kind.EXCEPTION, return_eip=EIP))

        assert guest.frame(3)[2] == FLAGS | FLAG_RF

    @pytest.mark.parametrize("vector", [1, 2, 3, 4, 8, 18])
    @pytest.mark.parametrize("resume", [0, FLAG_RF])
    def test_traps_aborts_and_DB_push_RF_as_it_is(
        self, guest: Guest, vector: int, resume: int
    ) -> None:
        """§17.3.1.1, "for other cases"."""
        guest.protected()
        guest.registers.eflags = FLAGS | resume
        guest.handle(gate(CODE_3), vector)

        guest.deliver(Event(vector, Kind.EXCEPTION, return_eip=EIP))

        assert guest.frame(3)[2] == FLAGS | resume

    def test_the_engine_is_told_that_nothing_is_being_delivered(self, guest: Guest) -> None:
        """Else it takes the next fault for a double one."""
        guest.protected()
        guest.handle(gate(CODE_3))
        guest.registers.old_exception = 13
        guest.registers.error_code = 0x55

        guest.interrupt()

        assert guest.registers.old_exception == -1
        assert guest.registers.error_code == 0


class TestMode:
    """hflags, by which code is translated."""

    @pytest.mark.parametrize(
        ("code", "stack", "expected"),
        [
            (CODE_0, STACK_0, HF_CS32 | HF_SS32 | HF_ADDSEG),
            (CODE_16, STACK_0, HF_SS32 | HF_ADDSEG),
            (CODE_0, STACK_16, HF_CS32 | HF_ADDSEG),
            (CODE_16, STACK_16, HF_ADDSEG),
        ],
    )
    def test_widths_follow_the_segments_and_the_level_the_code(
        self, guest: Guest, code: int, stack: int, expected: int
    ) -> None:
        guest.protected(3)
        guest.memory.write(TSS + 8, stack.to_bytes(2, "little"))
        guest.handle(gate(code, 0x100))

        guest.interrupt()

        assert guest.registers.hflags == HF_PE | expected

    @pytest.mark.parametrize("based", [None, DS, ES, SS])
    def test_ADDSEG_is_on_where_DS_ES_or_SS_has_a_base(
        self, guest: Guest, based: int | None
    ) -> None:
        guest.protected(0)
        for number in (DS, ES, SS):
            guest.registers.segs[number].base = 0x5_0000 if number == based else 0
        guest.handle(gate(CODE_0))

        guest.interrupt()

        assert bool(guest.registers.hflags & HF_ADDSEG) == (based is not None)

    def test_16_bit_code_always_has_ADDSEG(self, guest: Guest) -> None:
        guest.protected(0)
        for number in (DS, ES, SS):
            guest.registers.segs[number].base = 0
        guest.handle(gate(CODE_16, 0x100))

        guest.interrupt()

        assert guest.registers.hflags == HF_PE | HF_SS32 | HF_ADDSEG

    def test_the_shadow_of_STI_ends_and_other_mode_bits_stay(self, guest: Guest) -> None:
        """Flags of EFLAGS do not belong there: the engine adds them, and never takes one away."""
        guest.protected(0)
        guest.registers.eflags = FLAGS | IOPL_3
        guest.registers.hflags |= HF_INHIBIT | HF_TS | HF_OF_EFLAGS
        guest.handle(gate(CODE_0))

        guest.interrupt()

        assert guest.registers.hflags == HF_PE | HF_TS | HF_CS32 | HF_SS32 | HF_ADDSEG


class TestInnerPrivilege:
    """§6.12.1, the first figure: the TSS gives the stack, which takes SS and ESP too."""

    def test_the_old_stack_is_pushed_first(self, guest: Guest) -> None:
        guest.protected(3)
        guest.handle(gate(CODE_0 | 2))

        guest.interrupt(Kind.EXCEPTION, code=0x55)

        frame = [0x55, NEXT_EIP, CODE_3 | 3, FLAGS | FLAG_RF, 0x8000, STACK_3 | 3]
        assert guest.registers.regs[ESP] == 0x7000 - 24
        assert guest.frame(6) == frame
        assert guest.segment(SS) == (STACK_0, STACK_BASE_0, 0xFFFF_FFFF, 0xC0_9300)
        assert guest.segment(CS) == (CODE_0, 0, 0xFFFF_FFFF, 0xC0_9B00)
        assert guest.registers.hflags & 3 == 0

    def test_a_handler_at_level_1_gets_the_stack_of_level_1(self, guest: Guest) -> None:
        guest.protected(3)
        guest.handle(gate(CODE_1))

        guest.interrupt()

        assert guest.registers.regs[ESP] == 0x6000 - 20
        assert guest.segment(SS)[0] == STACK_1 | 1
        assert guest.segment(CS)[0] == CODE_1 | 1
        assert guest.registers.hflags & 3 == 1

    def test_a_16_bit_gate_pushes_words(self, guest: Guest) -> None:
        guest.protected(3)
        guest.handle(gate(CODE_0, kind=INTERRUPT_16))

        guest.interrupt()

        assert guest.registers.regs[ESP] == 0x7000 - 10
        assert guest.frame(5, 2) == [NEXT_EIP & 0xFFFF, CODE_3 | 3, FLAGS, 0x8000, STACK_3 | 3]

    @pytest.mark.parametrize(
        ("code", "stack", "place"), [(CODE_0, STACK_0, 2), (CODE_1, STACK_1 | 1, 6)]
    )
    def test_a_16_bit_TSS_holds_words(
        self, guest: Guest, code: int, stack: int, place: int
    ) -> None:
        """Figure 7-10."""
        guest.protected(3)
        guest.registers.tr.flags = 0x8100
        guest.registers.tr.limit = place + 3
        guest.memory.write(TSS + place, struct.pack("<HH", 0x5000, stack))
        guest.handle(gate(code))

        guest.interrupt()

        assert guest.registers.regs[ESP] == 0x5000 - 20
        assert guest.registers.segs[SS].selector == stack

    def test_a_16_bit_stack_wraps_and_has_the_TSS_s_upper_half_of_ESP(self, guest: Guest) -> None:
        guest.protected(3)
        guest.memory.write(TSS + 4, struct.pack("<IH", 0x1234_0004, STACK_16))
        guest.handle(gate(CODE_0))

        guest.interrupt()

        assert guest.registers.regs[ESP] == 0x1234_FFF0
        assert guest.memory.read(STACK_BASE_0, 4) == struct.pack("<I", STACK_3 | 3)
        assert guest.memory.read(STACK_BASE_0 + 0xFFF0, 4) == struct.pack("<I", NEXT_EIP)

    def test_the_stack_s_descriptor_is_marked_as_accessed(self, guest: Guest) -> None:
        guest.protected(3)
        guest.describe(STACK_0, descriptor(STACK_BASE_0, access=0x92))
        guest.handle(gate(CODE_0))

        guest.interrupt()

        assert guest.access_byte(STACK_0) == 0x93
        assert guest.segment(SS)[3] == 0xC0_9300

    def test_the_data_segments_stay(self, guest: Guest) -> None:
        guest.protected(3)
        guest.handle(gate(CODE_0))
        before = [guest.segment(number) for number in (DS, ES, FS, GS)]

        guest.interrupt()

        assert [guest.segment(number) for number in (DS, ES, FS, GS)] == before


class TestVirtual8086:
    """§20.3.1.1."""

    def test_the_data_segments_are_pushed_and_nulled(self, guest: Guest) -> None:
        guest.virtual_8086()
        guest.handle(gate(CODE_0))

        guest.interrupt()

        flags = FLAGS | FLAG_VM | IOPL_3
        frame = [NEXT_EIP, 0x1234, flags, 0x100, 0x2000, 0x4002, 0x3001, 0x5003, 0x6004]
        assert guest.registers.regs[ESP] == 0x7000 - 36
        assert guest.frame(9) == frame
        assert [guest.segment(number) for number in (ES, DS, FS, GS)] == [(0, 0, 0, 0)] * 4
        assert guest.segment(SS) == (STACK_0, STACK_BASE_0, 0xFFFF_FFFF, 0xC0_9300)
        assert guest.registers.eflags == FLAGS & ~FLAG_IF | IOPL_3
        assert guest.registers.hflags == HF_PE | HF_CS32 | HF_SS32 | HF_ADDSEG

    def test_a_16_bit_gate_pushes_words(self, guest: Guest) -> None:
        guest.virtual_8086()
        guest.handle(gate(CODE_0, kind=TRAP_16))

        guest.interrupt(Kind.EXCEPTION, code=0x55)

        frame = [0x55, 2, 0x1234, FLAGS | IOPL_3, 0x100, 0x2000, 0x4002, 0x3001, 0x5003, 0x6004]
        assert guest.frame(10, 2) == frame

    @pytest.mark.parametrize("code", [CONFORMING, CODE_1, CODE_3])
    def test_the_handler_must_be_nonconforming_code_of_level_0(
        self, guest: Guest, code: int
    ) -> None:
        """Volume 2, "INT n": else #GP with the handler's selector."""
        guest.virtual_8086()
        guest.handle(gate(code))
        guest.handle(gate(CODE_0), PROTECTION)

        delivered = guest.interrupt()

        assert delivered.event == Event(PROTECTION, Kind.EXCEPTION, code & ~3, return_eip=EIP)

    @pytest.mark.parametrize("iopl", [0, 1, 2])
    def test_INT_n_needs_IOPL_3(self, guest: Guest, iopl: int) -> None:
        """§20.2.7: #GP(0) lets a monitor have a look."""
        guest.virtual_8086(iopl)
        guest.handle(gate(CODE_0))
        guest.handle(gate(CODE_0), PROTECTION)

        assert guest.interrupt().event == Event(PROTECTION, Kind.EXCEPTION, 0, return_eip=EIP)

    @pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.SOFTWARE])
    def test_nothing_else_does(self, guest: Guest, kind: Kind) -> None:
        guest.virtual_8086(iopl=0)
        guest.handle(gate(CODE_0))

        assert guest.interrupt(kind).event.vector == VECTOR

    def test_the_gate_s_DPL_counts_at_IOPL_3(self, guest: Guest) -> None:
        """The level of virtual-8086 mode is 3."""
        guest.virtual_8086()
        guest.handle(gate(CODE_0, dpl=2))
        guest.handle(gate(CODE_0), PROTECTION)

        assert guest.interrupt().event.error_code == VECTOR * 8 + 2


class TestGateChecks:
    """Volume 2, "INT n", PROTECTED-MODE; the error code is §6.13's."""

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    def test_a_gate_must_be_within_the_IDT_s_limit(
        self, guest: Guest, kind: Kind, external: int
    ) -> None:
        guest.protected()
        guest.handle(gate(CODE_3))
        guest.registers.idt.limit = VECTOR * 8 + 6

        outcome = guest.refused(guest.interrupt(kind))

        assert outcome == (PROTECTION, VECTOR * 8 + 2 + external)

    def test_and_may_end_there(self, guest: Guest) -> None:
        guest.protected()
        guest.handle(gate(CODE_3))
        guest.registers.idt.limit = VECTOR * 8 + 7

        assert guest.interrupt().event.vector == VECTOR

    @pytest.mark.parametrize("access", sorted(set(range(0x20)) - {0x5, 0x6, 0x7, 0xE, 0xF}))
    def test_it_must_be_a_gate_of_the_right_kind(self, guest: Guest, access: int) -> None:
        """A call gate is not; nor anything with S set."""
        guest.protected()
        guest.handle(gate(CODE_3, kind=access))

        outcome = guest.refused(guest.interrupt(Kind.HARDWARE))

        assert outcome == (PROTECTION, VECTOR * 8 + 3)

    @pytest.mark.parametrize("kind", [Kind.SOFTWARE, Kind.SOFTWARE_EXCEPTION])
    @pytest.mark.parametrize("dpl", [0, 1, 2])
    def test_software_needs_a_DPL_not_below_its_level(
        self, guest: Guest, kind: Kind, dpl: int
    ) -> None:
        guest.protected(3)
        guest.handle(gate(CODE_3, dpl=dpl, present=0))

        assert guest.refused(guest.interrupt(kind)) == (PROTECTION, VECTOR * 8 + 2)

    def test_level_1_may_use_a_gate_of_DPL_1(self, guest: Guest) -> None:
        guest.protected(1)
        guest.handle(gate(CODE_1, dpl=1))

        assert guest.interrupt().event.vector == VECTOR

    @pytest.mark.parametrize(
        "kind", [Kind.HARDWARE, Kind.EXCEPTION, Kind.PRIVILEGED_SOFTWARE_EXCEPTION]
    )
    def test_others_do_not(self, guest: Guest, kind: Kind) -> None:
        """INT1 included."""
        guest.protected(3)
        guest.handle(gate(CODE_3, dpl=0))

        assert guest.interrupt(kind).event.vector == VECTOR

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize("gate_kind", [TASK, INTERRUPT_32, TRAP_16])
    def test_it_must_be_present(
        self, guest: Guest, kind: Kind, external: int, gate_kind: int
    ) -> None:
        guest.protected()
        guest.handle(gate(OTHER, kind=gate_kind, present=0))

        outcome = guest.refused(guest.interrupt(kind))

        assert outcome == (NOT_PRESENT, VECTOR * 8 + 2 + external)

    def test_a_fault_returns_to_the_INT_itself(self, guest: Guest) -> None:
        """So that it can be repeated once a kernel has mended the gate."""
        guest.protected()
        guest.handle(gate(CODE_3, present=0))

        guest.interrupt()

        assert guest.frame(4) == [VECTOR * 8 + 2, EIP, CODE_3 | 3, FLAGS | FLAG_RF]
        assert guest.registers.regs[ESP] == 0x8000 - 16


class TestHandlerChecks:
    """Volume 2, "INT n", TRAP-OR-INTERRUPT-GATE."""

    @pytest.fixture(autouse=True)
    def protected(self, guest: Guest) -> None:
        guest.protected(3)

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize("selector", [0, 3])
    def test_the_selector_must_not_be_null(
        self, guest: Guest, kind: Kind, external: int, selector: int
    ) -> None:
        guest.handle(gate(selector))

        assert guest.refused(guest.interrupt(kind)) == (PROTECTION, external)

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize("selector", [GDT_LIMIT + 1, 0x14, 0xFFF8])
    def test_it_must_be_within_its_table(
        self, guest: Guest, kind: Kind, external: int, selector: int
    ) -> None:
        """0014h is the third of the LDT, which has two."""
        guest.handle(gate(selector | 3))

        assert guest.refused(guest.interrupt(kind)) == (PROTECTION, selector | external)

    def test_all_of_a_descriptor_must_be(self, guest: Guest) -> None:
        guest.describe(SPARE, descriptor())
        guest.handle(gate(SPARE))

        guest.registers.gdt.limit = GDT_LIMIT - 1
        assert guest.refused(guest.interrupt()) == (PROTECTION, SPARE)

        guest.protected(3)
        guest.registers.gdt.limit = GDT_LIMIT
        assert guest.interrupt().event.vector == VECTOR

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize("access", [0x93, 0x97, 0x89, 0x8C, 0x13])
    def test_it_must_name_code(self, guest: Guest, kind: Kind, external: int, access: int) -> None:
        """Not data, nor a system segment; whether present does not matter yet."""
        guest.describe(SPARE, descriptor(access=access))
        guest.handle(gate(SPARE | 3))

        assert guest.refused(guest.interrupt(kind)) == (PROTECTION, SPARE | external)

    @pytest.mark.parametrize("access", [0xFA, 0xFE])
    def test_its_level_must_not_be_an_outer_one(self, guest: Guest, access: int) -> None:
        guest.protected(0)
        guest.describe(SPARE, descriptor(access=access))
        guest.handle(gate(SPARE))

        assert guest.refused(guest.interrupt(Kind.HARDWARE)) == (PROTECTION, SPARE | 1)

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize("access", [0x1A, 0x1E, 0x7A])
    def test_it_must_be_present(self, guest: Guest, kind: Kind, external: int, access: int) -> None:
        guest.describe(SPARE, descriptor(access=access))
        guest.handle(gate(SPARE))

        assert guest.refused(guest.interrupt(kind)) == (NOT_PRESENT, SPARE | external)

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize("access", [0x9B, 0xFB])
    def test_EIP_must_be_within_its_limit(
        self, guest: Guest, kind: Kind, external: int, access: int
    ) -> None:
        guest.describe(SPARE, descriptor(0, HANDLER >> 12, access, 0xC))
        guest.handle(gate(SPARE, HANDLER | 0xFFF))
        assert guest.interrupt(kind).event.vector == VECTOR

        guest.protected(3)
        guest.handle(gate(SPARE, (HANDLER | 0xFFF) + 1))
        assert guest.refused(guest.interrupt(kind)) == (PROTECTION, external)


class TestInnerStackChecks:
    """§6.12.1 and volume 2, "INT n", INTER-PRIVILEGE-LEVEL-INTERRUPT."""

    @pytest.fixture(autouse=True)
    def protected(self, guest: Guest) -> None:
        guest.protected(3)
        guest.handle(gate(CODE_0))

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize(
        ("flags", "code", "least"),
        [(0x8900, CODE_0, 9), (0x8900, CODE_1, 17), (0x8100, CODE_0, 5), (0x8100, CODE_1, 9)],
    )
    def test_the_stack_must_be_within_the_TSS_s_limit(
        self, guest: Guest, kind: Kind, external: int, flags: int, code: int, least: int
    ) -> None:
        guest.registers.tr.flags = flags
        guest.registers.tr.limit = least - 1
        guest.handle(gate(code))

        assert guest.refused(guest.interrupt(kind)) == (BAD_TSS, TSS_SELECTOR | external)

    def test_and_may_end_there(self, guest: Guest) -> None:
        guest.registers.tr.limit = 9

        assert guest.interrupt().event.vector == VECTOR

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize("selector", [0, 3])
    def test_SS_must_not_be_null(
        self, guest: Guest, kind: Kind, external: int, selector: int
    ) -> None:
        guest.memory.write(TSS + 8, selector.to_bytes(2, "little"))

        assert guest.refused(guest.interrupt(kind)) == (BAD_TSS, external)

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize(
        "selector",
        [
            pytest.param(GDT_LIMIT + 1, id="beyond the table"),
            pytest.param(STACK_0 | 1, id="RPL is not the level"),
            pytest.param(STACK_1, id="DPL is not the level"),
            pytest.param(CODE_0, id="code"),
            pytest.param(TSS_SELECTOR, id="a system segment"),
            pytest.param(SPARE, id="not writable"),
        ],
    )
    def test_SS_must_be_writable_data_of_the_new_level(
        self, guest: Guest, kind: Kind, external: int, selector: int
    ) -> None:
        guest.describe(SPARE, descriptor(access=0x11))
        guest.memory.write(TSS + 8, selector.to_bytes(2, "little"))

        outcome = guest.refused(guest.interrupt(kind))

        assert outcome == (BAD_TSS, selector & ~3 | external)

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    def test_SS_must_be_present(self, guest: Guest, kind: Kind, external: int) -> None:
        guest.describe(SPARE, descriptor(access=0x13))
        guest.memory.write(TSS + 8, SPARE.to_bytes(2, "little"))

        assert guest.refused(guest.interrupt(kind)) == (STACK_FAULT, SPARE | external)


class TestPaging:
    """A fault in a table or on the stack is a page fault like any other, with CR2."""

    @pytest.fixture(autouse=True)
    def paged(self, guest: Guest) -> None:
        guest.protected(3)
        guest.paged()
        guest.handle(gate(CODE_0))

    def test_delivery_finds_its_way_by_page_tables(self, guest: Guest) -> None:
        assert guest.interrupt().event.vector == VECTOR
        assert guest.frame(5) == [NEXT_EIP, CODE_3 | 3, FLAGS, 0x8000, STACK_3 | 3]

    def test_a_stack_not_present_is_a_write_by_the_supervisor(self, guest: Guest) -> None:
        """§4.7; CR2 is where the first push went; the fault itself returns to the INT."""
        guest.unmap(STACK_BASE_0 + 0x6000)

        assert guest.refused(guest.interrupt(Kind.HARDWARE)) == (PAGE_FAULT, 2)
        assert guest.registers.cr[2] == STACK_BASE_0 + 0x6FFC
        assert guest.frame(2)[1] == EIP

    @pytest.mark.parametrize("page", [0x6000, 0x7000])
    def test_a_frame_over_two_pages_faults_where_its_first_push_does(
        self, guest: Guest, page: int
    ) -> None:
        guest.memory.write(TSS + 4, struct.pack("<I", 0x7008))
        guest.unmap(STACK_BASE_0 + page)

        assert guest.refused(guest.interrupt()) == (PAGE_FAULT, 2)
        assert guest.registers.cr[2] == STACK_BASE_0 + {0x6000: 0x6FFC, 0x7000: 0x7004}[page]

    def test_a_frame_may_lie_over_two_pages(self, guest: Guest) -> None:
        guest.memory.write(TSS + 4, struct.pack("<I", 0x7008))

        guest.interrupt()

        assert guest.frame(5) == [NEXT_EIP, CODE_3 | 3, FLAGS, 0x8000, STACK_3 | 3]

    def test_a_handler_at_level_3_pushes_as_a_user(self, guest: Guest) -> None:
        """§4.6: only what is implicit is the supervisor's."""
        guest.handle(gate(CODE_3))
        page = STACK_BASE_3 + 0x7000
        guest.memory.write(TABLE + (page >> 12) * 4, (page | 3).to_bytes(4, "little"))
        guest.handle(gate(CODE_0, PAGE_FAULT * FAULT_HANDLER), PAGE_FAULT)

        delivered = guest.interrupt()

        assert delivered.event == Event(PAGE_FAULT, Kind.EXCEPTION, 7, return_eip=EIP)
        assert guest.registers.cr[2] == page + 0xFFC

    @pytest.mark.parametrize("table", [IDT, GDT, TSS])
    def test_tables_are_read_by_the_supervisor(self, guest: Guest, table: int) -> None:
        """Whatever the level is."""
        guest.memory.write(TABLE + (table >> 12) * 4, (table | 1).to_bytes(4, "little"))

        assert guest.interrupt().event.vector == VECTOR

    def test_a_TSS_not_present_is_a_read(self, guest: Guest) -> None:
        guest.unmap(TSS)

        assert guest.refused(guest.interrupt()) == (PAGE_FAULT, 0)
        assert guest.registers.cr[2] == TSS + 4

    def test_marking_a_descriptor_may_fault(self, guest: Guest) -> None:
        """A table that is read-only, with CR0.WP set, must have its accessed bits set already."""
        guest.registers.cr[0] |= 1 << 16
        guest.describe(CODE_0, descriptor(access=0x9A))
        guest.memory.write(TABLE + (GDT >> 12) * 4, (GDT | 1).to_bytes(4, "little"))

        assert guest.refused(guest.interrupt()) == (PAGE_FAULT, 3)
        assert guest.registers.cr[2] == GDT + CODE_0 + 5

    def test_code_bytes_are_read_through_the_page_tables(self, guest: Guest) -> None:
        """For the processor, which looks back at the instruction that raised an interrupt."""
        guest.memory.write(0x8123, b"\xcc")
        assert read_code_byte(guest.registers, guest.memory, 0x8123) == 0xCC

        guest.unmap(0x8000)
        assert read_code_byte(guest.registers, guest.memory, 0x8123) == 0


class TestFaultsOnTheWay:
    """§6.15, "#DF", tables 6-4 and 6-5."""

    @pytest.fixture(autouse=True)
    def protected(self, guest: Guest) -> None:
        guest.protected(3)

    def first(self, guest: Guest, vector: int, kind: Kind = Kind.EXCEPTION) -> Delivered:
        return guest.deliver(Event(vector, kind, 0, return_eip=EIP))

    @pytest.mark.parametrize("vector", [0, 10, 11, 12, 13])
    def test_two_contributory_faults_make_a_double_fault(self, guest: Guest, vector: int) -> None:
        guest.handle(gate(CODE_3, present=0), vector)
        if vector == NOT_PRESENT:
            guest.handle(gate(0), vector)

        assert guest.refused(self.first(guest, vector)) == (DOUBLE_FAULT, 0)

    @pytest.mark.parametrize("vector", [1, 3, 4, 5, 6, 7, 16, 17, 18, 19])
    def test_after_a_benign_one_the_second_is_delivered(self, guest: Guest, vector: int) -> None:
        guest.handle(gate(CODE_3, present=0), vector)

        assert guest.refused(self.first(guest, vector)) == (NOT_PRESENT, vector * 8 + 3)

    @pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.EXCEPTION])
    @pytest.mark.parametrize("vector", [0, 8, 13, 14])
    def test_an_interrupt_of_such_a_vector_is_benign(
        self, guest: Guest, vector: int, kind: Kind
    ) -> None:
        guest.handle(gate(CODE_3, present=0), vector)

        assert self.first(guest, vector, kind).event.vector == NOT_PRESENT

    @pytest.mark.parametrize("vector", [0, 10, 11, 12, 13])
    def test_a_page_fault_after_a_contributory_one_is_delivered(
        self, guest: Guest, vector: int
    ) -> None:
        guest.paged()
        guest.handle(gate(CODE_0), vector)
        guest.unmap(STACK_BASE_0 + 0x6000)

        assert guest.refused(self.first(guest, vector)) == (PAGE_FAULT, 2)

    def test_a_contributory_one_after_a_page_fault_is_not(self, guest: Guest) -> None:
        guest.handle(gate(CODE_3, present=0), PAGE_FAULT)

        assert guest.refused(self.first(guest, PAGE_FAULT)) == (DOUBLE_FAULT, 0)

    def test_nor_a_second_page_fault(self, guest: Guest) -> None:
        guest.paged()
        guest.handle(gate(CODE_0), PAGE_FAULT)
        guest.unmap(STACK_BASE_0 + 0x6000)

        assert guest.refused(self.first(guest, PAGE_FAULT)) == (DOUBLE_FAULT, 0)
        assert guest.registers.cr[2] == STACK_BASE_0 + 0x6FFC

    def test_history_begins_with_the_event(self, guest: Guest) -> None:
        """INT n; its page fault; and then one in that one's delivery: only the last two count."""
        guest.paged()
        guest.handle(gate(CODE_0))
        guest.handle(gate(CODE_0), PAGE_FAULT)
        guest.unmap(STACK_BASE_0 + 0x6000)

        assert guest.refused(guest.interrupt()) == (DOUBLE_FAULT, 0)

    @pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.EXCEPTION])
    def test_a_fault_in_a_fault_of_an_interrupt_has_EXT(self, guest: Guest, kind: Kind) -> None:
        """§6.13: "an earlier exception" is an external event."""
        guest.handle(gate(CODE_3, present=0), NOT_PRESENT)
        guest.handle(gate(CODE_3, present=0))
        guest.handle(gate(CODE_3, present=0), DOUBLE_FAULT)

        with pytest.raises(Shutdown) as caught:
            guest.interrupt(kind)

        assert "error code 0x43 " in str(caught.value)  # of the double fault's gate: 8 * 8 + 3

    @pytest.mark.parametrize("present", [0, 1])
    def test_any_fault_in_a_double_fault_shuts_down(self, guest: Guest, present: int) -> None:
        """And no register has changed then; CR2 has, by a page fault."""
        guest.paged()
        guest.unmap(STACK_BASE_0 + 0x6000)
        guest.handle(gate(CODE_0, present=present), DOUBLE_FAULT)
        guest.handle(gate(CODE_0), PAGE_FAULT)
        guest.handle(gate(CODE_0))
        before = guest.whole()

        with pytest.raises(Shutdown):
            guest.interrupt()

        assert guest.whole() == before
        assert guest.registers.cr[2] == STACK_BASE_0 + 0x6FFC

    def test_a_double_fault_may_be_the_event_itself(self, guest: Guest) -> None:
        guest.handle(gate(0), DOUBLE_FAULT)

        with pytest.raises(Shutdown):
            self.first(guest, DOUBLE_FAULT)


class TestTaskGate:
    """§6.12.2, §7.2, §7.3."""

    @pytest.fixture(autouse=True)
    def tasks(self, guest: Guest) -> None:
        guest.protected(3)
        guest.handle(gate(OTHER, kind=TASK))
        for number, value in enumerate(OLD_REGISTERS):
            guest.registers.regs[number] = value
        guest.load(FS, STACK_3 | 3)
        guest.tss_32()

    def test_the_state_of_the_old_task_goes_to_its_TSS(self, guest: Guest) -> None:
        """§7.3, step 8.  What a switch does not save stays as it is, reserved words included."""
        guest.memory.write(TSS, b"\xdd" * 0x68)

        guest.interrupt()

        saved = struct.pack("<10I", NEXT_EIP, FLAGS, *OLD_REGISTERS)
        selectors = (STACK_3 | 3, CODE_3 | 3, STACK_3 | 3, STACK_3 | 3, STACK_3 | 3, 0)
        saved += b"".join(struct.pack("<HH", selector, 0xDDDD) for selector in selectors)
        assert guest.memory.read(TSS, 0x20) == b"\xdd" * 0x20
        assert guest.memory.read(TSS + 0x20, 0x40) == saved
        assert guest.memory.read(TSS + 0x60, 8) == b"\xdd" * 8

    def test_the_new_task_s_state_comes_from_its_TSS(self, guest: Guest) -> None:
        """§7.3, steps 12 and 13."""
        delivered = guest.interrupt()

        registers = guest.registers
        assert delivered.event.vector == VECTOR
        assert list(registers.regs)[:8] == NEW_REGISTERS
        assert registers.eip == NEW_EIP
        assert guest.segment(CS) == (CODE_0, 0, 0xFFFF_FFFF, 0xC0_9B00)
        assert guest.segment(SS) == (STACK_0, STACK_BASE_0, 0xFFFF_FFFF, 0xC0_9300)
        assert guest.segment(ES) == (STACK_0, STACK_BASE_0, 0xFFFF_FFFF, 0xC0_9300)
        assert guest.segment(DS) == (CODE_0, 0, 0xFFFF_FFFF, 0xC0_9B00)
        assert guest.segment(FS) == (0, 0, 0, 0)
        assert guest.segment(GS) == (STACK_3, STACK_BASE_3, 0xFFFF_FFFF, 0xC0_F300)
        assert registers.hflags == HF_PE | HF_TS | HF_CS32 | HF_SS32 | HF_ADDSEG

    def test_the_tasks_are_nested(self, guest: Guest) -> None:
        """§7.4: back link, NT in the new EFLAGS, both TSSs busy.

        Busy in the GDT: the engine's own code wants TR's cache to say available, always.
        """
        guest.interrupt()

        assert guest.memory.read(OTHER_TSS, 2) == TSS_SELECTOR.to_bytes(2, "little")
        assert guest.registers.eflags == NEW_FLAGS | FLAG_NT
        assert guest.access_byte(TSS_SELECTOR) == 0x8B
        assert guest.access_byte(OTHER) == 0x8B
        tr = guest.registers.tr
        assert (tr.selector, tr.base, tr.limit, tr.flags) == (OTHER, OTHER_TSS, 0x67, 0x8900)

    def test_TS_is_set_and_local_breakpoints_are_cleared(self, guest: Guest) -> None:
        """§7.3, §17.2.4."""
        guest.registers.dr[7] = 0x7FF

        delivered = guest.interrupt()

        assert guest.registers.cr[0] == 0x19
        assert guest.registers.dr[7] == 0x6AA
        assert delivered.dr7_changed

    def test_without_breakpoints_DR7_has_not_changed(self, guest: Guest) -> None:
        guest.registers.dr[7] = 0x402

        assert not guest.interrupt().dr7_changed

    def test_EFLAGS_take_what_this_processor_has(self, guest: Guest) -> None:
        """Reserved bits, VIF and VIP do not stick."""
        guest.tss_32(eflags=0xFFFF_FFFF & ~FLAG_VM)

        guest.interrupt()

        assert guest.registers.eflags == 0x25_7FD7

    def test_EFLAGS_of_a_fault_are_saved_with_RF(self, guest: Guest) -> None:
        """§17.3.1.1."""
        guest.interrupt(Kind.EXCEPTION)

        assert guest.memory.read(TSS + 0x24, 4) == struct.pack("<I", FLAGS | FLAG_RF)

    def test_the_LDT_is_loaded(self, guest: Guest) -> None:
        guest.registers.ldt.base = 0
        guest.tss_32(segments=(0, CODE_0, STACK_0, SPARE_LDT, 0, 0))
        guest.describe(SPARE_LDT, descriptor(0x1234, 0x55, 0x90, 0))

        guest.interrupt()

        ldt = guest.registers.ldt
        assert (ldt.selector, ldt.base, ldt.limit, ldt.flags) == (LDT_SELECTOR, LDT, 0xF, 0x8200)
        assert guest.segment(DS) == (SPARE_LDT, 0x1234, 0x55, 0x9100)
        assert guest.access_byte(SPARE_LDT) == 0x91

    def test_a_null_LDT_is_none(self, guest: Guest) -> None:
        guest.tss_32(ldt=0)

        guest.interrupt()

        ldt = guest.registers.ldt
        assert (ldt.selector, ldt.base, ldt.limit, ldt.flags) == (0, 0, 0, 0)

    def test_CR3_is_loaded_where_paging_is_on(self, guest: Guest) -> None:
        """And the remembered translations are void."""
        guest.paged()
        guest.memory.write(0x6000, guest.memory.read(DIRECTORY, 0x1000))

        delivered = guest.interrupt()

        assert guest.registers.cr[3] == 0x6000
        assert delivered.flush_tlb

    def test_the_new_task_lives_in_its_own_address_space(self, guest: Guest) -> None:
        """§7.5: here its stack is elsewhere in memory, and its GDT has another stack segment."""
        guest.paged()
        guest.memory.write(0x6000, (0x9000 | 7).to_bytes(4, "little"))
        guest.memory.write(0x9000, guest.memory.read(TABLE, 0x1000))
        moved = {GDT: 0xB000, STACK_BASE_3 + 0x7000: 0xC000}
        for linear, physical in moved.items():
            entry = (physical | 7).to_bytes(4, "little")
            guest.memory.write(0x9000 + (linear >> 12) * 4, entry)
        guest.memory.write(0xB000, guest.memory.read(GDT, 0x1000))
        guest.memory.write(0xB000 + STACK_0, descriptor(STACK_BASE_3, access=0x93))

        guest.interrupt(Kind.EXCEPTION, code=0x55)

        assert guest.segment(SS)[1] == STACK_BASE_3
        assert guest.memory.read(0xCFFC, 4) == struct.pack("<I", 0x55)

    def test_the_same_CR3_voids_nothing(self, guest: Guest) -> None:
        """§4.10.4.1."""
        guest.paged()
        guest.tss_32(cr3=DIRECTORY)

        assert not guest.interrupt().flush_tlb

    def test_CR3_stays_without_paging(self, guest: Guest) -> None:
        assert not guest.interrupt().flush_tlb
        assert guest.registers.cr[3] == 0

    def test_the_error_code_is_pushed_on_the_new_stack(self, guest: Guest) -> None:
        """§6.13: as wide as the new TSS's type says."""
        guest.interrupt(Kind.EXCEPTION, code=0x55)

        assert guest.registers.regs[ESP] == 0x7FFC
        assert guest.frame(1) == [0x55]

    def test_a_task_may_be_in_virtual_8086_mode(self, guest: Guest) -> None:
        """§20.2.5."""
        selectors = (0x1000, 0x2001, 0x3000, 0x4000, 0x5000, 0x6000)
        guest.tss_32(segments=selectors, eflags=NEW_FLAGS | FLAG_VM, eip=0x1234)

        guest.interrupt(Kind.EXCEPTION, code=0x55)

        expected = [(selector, selector << 4, 0xFFFF, 0xF300) for selector in selectors]
        assert [guest.segment(number) for number in range(6)] == expected
        assert guest.registers.eflags == NEW_FLAGS | FLAG_VM | FLAG_NT
        assert guest.registers.hflags == HF_PE | HF_TS | HF_ADDSEG | 3
        assert guest.memory.read(0x3_7FFC, 4) == struct.pack("<I", 0x55)

    def test_and_so_may_the_old_one(self, guest: Guest) -> None:
        guest.virtual_8086()

        guest.interrupt()

        saved = struct.unpack("<HxxHxx", guest.memory.read(TSS + 0x48, 8))
        assert saved == (0x4002, 0x1234)
        assert guest.registers.eflags == NEW_FLAGS | FLAG_NT
        assert guest.registers.hflags & 3 == 0

    def test_a_16_bit_TSS_gives_words(self, guest: Guest) -> None:
        """Figure 7-10.  FS and GS are null, CR3 stays."""
        guest.paged()
        guest.tss_16()

        guest.interrupt(Kind.EXCEPTION, code=0x1_0055)

        registers = guest.registers
        assert list(registers.regs)[:4] == [0xFFFF_00A0, 0xFFFF_00A1, 0xFFFF_00A2, 0xFFFF_00A3]
        assert registers.regs[ESP] == 0xFFFF_7FFE
        assert guest.frame(1, 2) == [0x55]
        assert (registers.eip, registers.eflags) == (0x5000, FLAG_IF | FLAG_NT | 2)
        assert [guest.segment(number)[0] for number in range(6)] == [
            STACK_0,
            CODE_16,
            STACK_16,
            CODE_0,
            0,
            0,
        ]
        assert registers.ldt.selector == LDT_SELECTOR
        assert registers.cr[3] == DIRECTORY
        assert registers.tr.flags == 0x8100
        assert registers.hflags == HF_PE | HF_TS | HF_ADDSEG

    def test_a_16_bit_TSS_is_saved_to_in_words(self, guest: Guest) -> None:
        guest.registers.tr.flags = 0x8100
        guest.memory.write(TSS, b"\xdd" * 44)

        guest.interrupt()

        words = [NEXT_EIP & 0xFFFF, FLAGS, *(value & 0xFFFF for value in OLD_REGISTERS)]
        words += [STACK_3 | 3, CODE_3 | 3, STACK_3 | 3, STACK_3 | 3]
        saved = b"\xdd" * 14 + struct.pack("<14H", *words) + b"\xdd\xdd"
        assert guest.memory.read(TSS, 44) == saved

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize(
        ("selector", "vector"),
        [
            pytest.param(0, PROTECTION, id="null"),
            pytest.param(OTHER | 4, PROTECTION, id="in the LDT"),
            pytest.param(GDT_LIMIT + 1, PROTECTION, id="beyond the table"),
            pytest.param(TSS_SELECTOR, PROTECTION, id="busy"),
            pytest.param(CODE_0, PROTECTION, id="no TSS"),
            pytest.param(SPARE, NOT_PRESENT, id="not present"),
        ],
    )
    def test_the_gate_must_name_a_TSS_that_is_free(
        self, guest: Guest, kind: Kind, external: int, selector: int, vector: int
    ) -> None:
        """Volume 2, "INT n", TASK-GATE."""
        guest.describe(SPARE, descriptor(OTHER_TSS, 0x67, 0x09, 0))
        guest.handle(gate(selector, kind=TASK))

        outcome = guest.refused(guest.interrupt(kind))

        assert outcome == (vector, selector & ~3 | external)

    @pytest.mark.parametrize(("access", "least"), [(0x89, 0x67), (0x81, 0x2B)])
    def test_a_TSS_must_be_large_enough(self, guest: Guest, access: int, least: int) -> None:
        """Table 7-1."""
        guest.describe(OTHER, descriptor(OTHER_TSS, least - 1, access, 0))

        assert guest.refused(guest.interrupt(Kind.HARDWARE)) == (BAD_TSS, OTHER | 1)
        assert guest.access_byte(OTHER) == access

    @pytest.mark.parametrize("tss_16", [False, True])
    @pytest.mark.parametrize(
        ("place", "linear", "code"),
        [
            pytest.param("new", 0xA000, 0, id="the new TSS"),
            pytest.param("old", 0xA020, 2, id="the old TSS"),
        ],
    )
    def test_both_TSSs_must_be_mapped_before_anything_changes(
        self, guest: Guest, place: str, linear: int, code: int, *, tss_16: bool
    ) -> None:
        """§7.3, step 5: a page fault in the old task, its TSS as it was."""
        guest.paged()
        guest.unmap(0xA000)
        guest.registers.tr.flags = 0x8100 if tss_16 else 0x8900
        if place == "new":
            guest.describe(OTHER, descriptor(0xA000, 0x67, 0x89, 0))
        else:
            guest.registers.tr.base = 0xA000
            linear = 0xA00E if tss_16 else linear
        before = guest.memory.read(TSS, 0x200)

        assert guest.refused(guest.interrupt()) == (PAGE_FAULT, code)
        assert guest.registers.cr[2] == linear
        assert guest.registers.tr.selector == TSS_SELECTOR
        assert guest.memory.read(TSS, 0x200) == before
        assert guest.access_byte(OTHER) == 0x89

    @pytest.mark.parametrize("page", [GDT, OTHER_TSS])
    def test_what_a_switch_marks_must_be_writable(self, guest: Guest, page: int) -> None:
        """Back link and busy bit, with CR0.WP set; the old task's TSS is elsewhere."""
        guest.paged()
        guest.registers.cr[0] |= 1 << 16
        guest.registers.tr.base = 0xA000
        entry = page & ~0xFFF | 5
        guest.memory.write(TABLE + (page >> 12) * 4, entry.to_bytes(4, "little"))

        assert guest.refused(guest.interrupt()) == (PAGE_FAULT, 3)
        assert guest.memory.read(0xA000, 0x68) == bytes(0x68)


class TestFaultsInTheNewTask:
    """§7.3, step 13, and table 7-1: after the switch, a fault is the new task's."""

    @pytest.fixture(autouse=True)
    def tasks(self, guest: Guest) -> None:
        guest.protected(3)
        guest.handle(gate(OTHER, kind=TASK))

    def switch(
        self, guest: Guest, kind: Kind, code: int | None = None, **parts: object
    ) -> Delivered:
        guest.tss_32(**parts)  # type: ignore[arg-type]
        return guest.interrupt(kind, code)

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize(
        ("ldt", "access"),
        [
            pytest.param(0x0C, 0x82, id="in an LDT"),
            pytest.param(GDT_LIMIT + 1, 0x82, id="beyond the table"),
            pytest.param(CODE_0, 0x82, id="code"),
            pytest.param(SPARE, 0x82 ^ 0x80, id="not present"),
            pytest.param(SPARE, 0x92, id="data"),
            pytest.param(SPARE, 0x8B, id="a TSS"),
        ],
    )
    def test_its_LDT_must_be_one(
        self, guest: Guest, kind: Kind, external: int, ldt: int, access: int
    ) -> None:
        guest.describe(SPARE, descriptor(LDT, 0xF, access, 0))

        delivered = self.switch(guest, kind, ldt=ldt)

        assert guest.refused(delivered) == (BAD_TSS, ldt | external)
        assert guest.registers.tr.selector == OTHER
        assert delivered.event.return_eip == NEW_EIP

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize(
        ("code", "access", "vector"),
        [
            pytest.param(0, 0x9B, BAD_TSS, id="null"),
            pytest.param(GDT_LIMIT + 1, 0x9B, BAD_TSS, id="beyond the table"),
            pytest.param(SPARE, 0x93, BAD_TSS, id="data"),
            pytest.param(SPARE, 0x8B, BAD_TSS, id="a system segment"),
            pytest.param(SPARE, 0xBB, BAD_TSS, id="DPL above RPL"),
            pytest.param(SPARE, 0xBF, BAD_TSS, id="conforming, DPL above RPL"),
            pytest.param(CODE_0 | 1, 0x9B, BAD_TSS, id="DPL below RPL"),
            pytest.param(SPARE, 0x1B, NOT_PRESENT, id="not present"),
        ],
    )
    def test_its_CS_must_be_code_of_its_level(
        self, guest: Guest, kind: Kind, external: int, code: int, access: int, vector: int
    ) -> None:
        guest.describe(SPARE, descriptor(access=access))

        delivered = self.switch(guest, kind, segments=(0, code, STACK_0, 0, 0, 0))

        assert guest.refused(delivered) == (vector, code & ~3 | external)
        assert guest.segment(SS) == (STACK_0, 0, 0, (code & 3) << 13)
        assert guest.registers.hflags & 3 == code & 3

    def test_conforming_code_may_have_an_outer_RPL(self, guest: Guest) -> None:
        delivered = self.switch(
            guest, Kind.SOFTWARE, segments=(0, CONFORMING | 3, STACK_3 | 3, 0, 0, 0)
        )

        assert delivered.event.vector == VECTOR
        assert guest.registers.hflags & 3 == 3

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize(
        ("stack", "access", "vector"),
        [
            pytest.param(0, 0x93, BAD_TSS, id="null"),
            pytest.param(GDT_LIMIT + 1, 0x93, BAD_TSS, id="beyond the table"),
            pytest.param(STACK_0 | 1, 0x93, BAD_TSS, id="RPL is not the level"),
            pytest.param(SPARE, 0xB3, BAD_TSS, id="DPL is not the level"),
            pytest.param(SPARE, 0x9B, BAD_TSS, id="code"),
            pytest.param(SPARE, 0x91, BAD_TSS, id="not writable"),
            pytest.param(SPARE, 0x13, STACK_FAULT, id="not present"),
        ],
    )
    def test_its_SS_must_be_a_stack_of_its_level(
        self, guest: Guest, kind: Kind, external: int, stack: int, access: int, vector: int
    ) -> None:
        guest.describe(SPARE, descriptor(access=access))

        delivered = self.switch(guest, kind, segments=(0, CODE_0, stack, 0, 0, 0))

        assert guest.refused(delivered) == (vector, stack & ~3 | external)

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    @pytest.mark.parametrize("register", [ES, DS, FS, GS])
    @pytest.mark.parametrize(
        ("selector", "access", "vector"),
        [
            pytest.param(GDT_LIMIT + 1, 0xF3, BAD_TSS, id="beyond the table"),
            pytest.param(TSS_SELECTOR, 0xF3, BAD_TSS, id="a system segment"),
            pytest.param(SPARE, 0xF9, BAD_TSS, id="code that cannot be read"),
            pytest.param(SPARE, 0x73, NOT_PRESENT, id="not present"),
        ],
    )
    def test_its_data_segments_must_be_readable(
        self,
        guest: Guest,
        kind: Kind,
        external: int,
        register: int,
        selector: int,
        access: int,
        vector: int,
    ) -> None:
        guest.describe(SPARE, descriptor(access=access))
        segments = [0, CODE_0, STACK_0, 0, 0, 0]
        segments[register] = selector

        delivered = self.switch(guest, kind, segments=tuple(segments))

        assert guest.refused(delivered) == (vector, selector | external)

    @pytest.mark.parametrize(
        ("code", "stack", "data", "access", "allowed"),
        [
            pytest.param(CODE_0, STACK_0, SPARE, 0x93, True, id="level 0, data 0"),
            pytest.param(CODE_0, STACK_0, SPARE | 3, 0x93, False, id="RPL 3, data 0"),
            pytest.param(CODE_3 | 3, STACK_3 | 3, SPARE, 0x93, False, id="level 3, data 0"),
            pytest.param(CODE_3 | 3, STACK_3 | 3, SPARE, 0xF3, True, id="level 3, data 3"),
            pytest.param(CODE_3 | 3, STACK_3 | 3, SPARE, 0x97, False, id="expands down, data 0"),
            pytest.param(CODE_3 | 3, STACK_3 | 3, SPARE, 0x9B, False, id="level 3, code 0"),
            pytest.param(CODE_3 | 3, STACK_3 | 3, SPARE | 3, 0x9F, True, id="conforming code"),
        ],
    )
    def test_and_not_of_an_inner_level_unless_conforming(
        self, guest: Guest, code: int, stack: int, data: int, access: int, *, allowed: bool
    ) -> None:
        guest.describe(SPARE, descriptor(access=access))

        delivered = self.switch(guest, Kind.SOFTWARE, segments=(0, code, stack, data, 0, 0))

        assert delivered.event.vector == (VECTOR if allowed else BAD_TSS)

    def test_what_was_not_reached_has_no_descriptor(self, guest: Guest) -> None:
        """§7.3: the handler must not count on the segment registers."""
        self.switch(guest, Kind.SOFTWARE, segments=(CODE_0, CODE_0, STACK_0, SPARE, CODE_0, CODE_0))

        assert guest.segment(ES) == (CODE_0, 0, 0xFFFF_FFFF, 0xC0_9B00)
        assert guest.segment(DS) == (SPARE, 0, 0, 0)
        assert guest.segment(FS) == (CODE_0, 0, 0, 0)

    def test_the_error_code_s_push_may_fault(self, guest: Guest) -> None:
        """In the new task, by its page tables: it returns to the task's first instruction."""
        guest.paged()
        guest.unmap(STACK_BASE_3 + 0x7000)
        guest.handle(gate(CODE_0), PAGE_FAULT)
        guest.handle(gate(OTHER, kind=TASK), 17)
        segments = (0, CODE_3 | 3, STACK_3 | 3, 0, 0, 0)
        guest.tss_32(cr3=DIRECTORY, segments=segments)
        guest.memory.write(OTHER_TSS + 4, struct.pack("<IH", 0x7000, STACK_0))

        delivered = guest.deliver(Event(17, Kind.EXCEPTION, 0, return_eip=EIP))

        assert delivered.event == Event(PAGE_FAULT, Kind.EXCEPTION, 6, return_eip=NEW_EIP)
        assert guest.registers.cr[2] == STACK_BASE_3 + 0x7FFC
        assert guest.registers.tr.selector == OTHER

    @pytest.mark.parametrize(("kind", "external"), EVENTS)
    def test_EIP_must_be_within_its_code_s_limit(
        self, guest: Guest, kind: Kind, external: int
    ) -> None:
        """Volume 2, "INT n", TASK-GATE: the last check, after the error code's push."""
        guest.describe(SPARE, descriptor(0, NEW_EIP >> 12, 0x9B, 0xC))
        segments = (0, SPARE, STACK_0, 0, 0, 0)

        delivered = self.switch(guest, kind, eip=NEW_EIP | 0xFFF, segments=segments)
        assert delivered.event.vector == VECTOR

        guest.describe(OTHER, descriptor(OTHER_TSS, 0x67, 0x89, 0))
        guest.protected(3)
        delivered = self.switch(guest, kind, 0x55, eip=NEW_EIP + 0x1000, segments=segments)
        assert guest.refused(delivered) == (PROTECTION, external)
        assert guest.frame(5)[4] == 0x55
