"""delivery.c does what delivery.py does, or nothing.

test_delivery.py asks it too, for each event of its own.  Here it is asked about random tables, stacks
and privilege levels; and that guests find the same whoever delivers, and that it is delivery.c
which does.

    00800  GDT     00A00  LDT    00C00  TSS     01000  IDT or IVT
    02000  page tables, of any kind, for the first 2 MiB         10000-1FFFF  stacks
"""

from __future__ import annotations

import random
import struct
from collections import Counter

import delivery_in_c
import pytest
from rig import CODE_0, DATA, IDT, STACK, Rig, needs_native, paging, real_mode
from rig import protected_mode as flat

from emu import attrs
from emu.cpu import native
from emu.cpu.delivery import Event, Kind, Shutdown, deliver
from emu.cpu.layout import CS, ESP, SS, Registers
from emu.cpu.processor import Pause
from emu.cpu.state import State
from emu.cpu.vectors import WITH_ERROR_CODE
from emu.memory import MIB, PAGE_BYTES, Memory, Ram

pytestmark = needs_native

GDT, LDT, TSS, VECTORS, TABLES, STACKS = 0x800, 0xA00, 0xC00, 0x1000, 0x2000, 0x1_0000
GDT_ENTRIES, LDT_ENTRIES = 32, 8
LEVELS = (0, 1, 0, 3)  # of descriptors: two for data and code of level 0, two of 1, and so on
FAULTS = (0, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19)

SEEDS = 12
STATES = 200  # a seed


class Dice(random.Random):
    """Random numbers, and choices."""

    def often(self, usual: int, *rare: int) -> int:
        """*usual* nine times in ten."""
        return usual if self.random() < 0.9 else self.choice(rare)

    def flags(self, value: int, *spoilt: int) -> int:
        """*value*, and now and then with one of the *spoilt* bits inverted."""
        return value ^ self.choice(spoilt) if self.random() < 0.04 else value


@attrs.define
class RandomState:
    """A processor about to deliver something, and what."""

    memory: Memory
    registers: Registers
    event: Event
    kind: str  # of mode, of stack and of page tables, for the count of what was delivered

    @classmethod
    def make(cls, dice: Dice, memory: Memory) -> RandomState:
        memory.ram.write(0, bytes(0x2_0000))
        registers = Registers()
        registers.a20_mask = -1
        registers.old_exception = -1
        for number in range(8):
            registers.regs[number] = dice.getrandbits(32)
        registers.gdt.base, registers.gdt.limit = GDT, dice.often(GDT_ENTRIES * 8 - 1, 0x27)
        registers.ldt.base, registers.ldt.limit = LDT, LDT_ENTRIES * 8 - 1
        registers.tr.selector, registers.tr.base = 0x28, TSS
        wide_tss = dice.random() < 0.8
        registers.tr.flags = 0x8900 if wide_tss else 0x8100
        registers.tr.limit = dice.often(0x67, 0x9, 0x8, 0x7, 0x5, 0x4)
        mode = dice.choice(("real", "0", "0", "1", "1", "3", "3", "v86", "v86", "v86", "v86"))
        _fill_descriptors(dice, memory)
        _fill_tss(dice, memory, wide=wide_tss)
        if mode == "real":
            pages = "none"
            _real(dice, memory, registers)
        else:
            _protected(dice, memory, registers, mode)
            pages = _paging(dice, memory, registers)
        registers.eflags = dice.getrandbits(16) & 0x8ED5 | 2 | dice.choice((0, 3)) << 12
        registers.eflags |= dice.choice((0, 1 << 16, 1 << 18, 1 << 21))
        if mode == "v86":
            registers.eflags |= 1 << 17
        registers.hflags |= dice.often(0, 1 << 3)
        return cls(memory, registers, _event(dice, registers), f"{mode} {pages}")


def _descriptor(base: int, limit: int, access: int, flags: int) -> int:
    value = limit & 0xFFFF | (base & 0xFF_FFFF) << 16 | access << 40
    return value | (limit >> 16) << 48 | flags << 52 | (base >> 24) << 56


def _fill_descriptors(dice: Dice, memory: Memory) -> None:
    """Code and data of all levels in both tables, most of them fit."""
    for table, entries in ((GDT, GDT_ENTRIES), (LDT, LDT_ENTRIES)):
        for entry in range(entries):
            level, code = LEVELS[entry // 2 % 4], entry % 2
            access = 0x83 | level << 5 | (0x18 if code else 0x10)
            if code and dice.random() < 0.1:
                access |= 4  # conforming
            access = dice.flags(access, 0x80, 0x10, 0x08, 0x02, 0x01)
            limit, flags = dice.choice(((0xF_FFFF, 0xC), (0xFFFF, 0x4), (0xFFFF, 0x0)))
            base = dice.choice((0, 0, STACKS - 0x8000))
            value = _descriptor(base, limit, access, flags)
            memory.ram.write(table + entry * 8, value.to_bytes(8, "little"))


def _selector(dice: Dice, *, code: bool, rpl: int, level: int) -> int:
    """One of the code or data segments of that privilege *level*."""
    local = dice.random() < 0.1
    entries = range(2 * LEVELS.index(level) + code, LDT_ENTRIES if local else GDT_ENTRIES, 8)
    return dice.choice(entries) << 3 | local << 2 | rpl


def _stack_pointer(dice: Dice) -> int:
    """Any, and often near a page's or a segment's end."""
    edge = dice.choice((0, 0x1000, 0x8000, 0xFFFF, 0x1_0000, 0xA000))
    return max(0, edge + dice.choice((0, 1, 2, 6, 12, 20, 40, 0x100, -2, -4, -6, -0x10)))


def _fill_tss(dice: Dice, memory: Memory, *, wide: bool) -> None:
    for level in range(3):
        rpl, dpl = dice.often(level, 3), dice.often(min(level, 1), 3)
        esp, ss = _stack_pointer(dice), _selector(dice, code=False, rpl=rpl, level=dpl)
        if wide:
            memory.ram.write(TSS + 4 + level * 8, struct.pack("<II", esp, ss))
        else:
            memory.ram.write(TSS + 2 + level * 4, struct.pack("<HH", esp & 0xFFFF, ss))


def _real(dice: Dice, memory: Memory, registers: Registers) -> None:
    registers.cr[0] = 0x10
    registers.idt.base = dice.often(VECTORS, VECTORS + 0xE00)
    registers.idt.limit = dice.often(0x3FF, 0x41)
    memory.ram.write(VECTORS, dice.randbytes(0x1200))
    for number in range(6):
        selector = dice.getrandbits(12)
        segment = registers.segs[number]
        segment.selector, segment.base = selector, selector << 4
        segment.limit, segment.flags = 0xFFFF, dice.often(0x9300, 0x40_9300)
    registers.regs[ESP] = dice.getrandbits(32) & 0xFFFF_0000 | _stack_pointer(dice) & 0xFFFF
    registers.hflags = 1 << 6


def _protected(dice: Dice, memory: Memory, registers: Registers, mode: str) -> None:
    registers.cr[0] = 0x11 | dice.choice((0, 0x20)) | dice.choice((0, 1 << 16))
    registers.idt.base, registers.idt.limit = VECTORS, dice.often(0x7FF, 0x87)
    for vector in range(256):
        kind = dice.often(dice.choice((6, 7, 14, 14, 14, 15)), 5, 0, 12)
        access = dice.flags(0x80 | dice.choice((0, 3, 3)) << 5 | kind, 0x80)
        level = dice.often(dice.choice((0, 0, 1)), 3)
        selector = _selector(dice, code=True, rpl=dice.randrange(4), level=level)
        offset = dice.often(dice.getrandbits(16), dice.getrandbits(32))
        gate = struct.pack("<HHBBH", offset & 0xFFFF, selector, 0, access, offset >> 16)
        memory.ram.write(VECTORS + vector * 8, gate)
    level = 3 if mode == "v86" else int(mode)
    for number in range(6):
        segment = registers.segs[number]
        if mode == "v86":
            segment.selector = dice.getrandbits(16)
            segment.base, segment.limit = segment.selector << 4, 0xFFFF
            segment.flags = 0xF300
        else:
            segment.selector = dice.getrandbits(14) << 2 | level
            segment.base = dice.choice((0, 0, STACKS - 0x8000))
            segment.limit = 0xFFFF_FFFF
            access = 0x9B00 if number == CS else 0x9300
            segment.flags = dice.choice((0, 0xC0_0000)) | access | level << 13
    registers.regs[ESP] = STACKS * dice.choice((0, 1)) + _stack_pointer(dice)
    big_code = bool(registers.segs[CS].flags & 1 << 22)
    big_stack = bool(registers.segs[SS].flags & 1 << 22)
    registers.hflags = 1 << 7 | level | big_code << 4 | big_stack << 5 | 1 << 6


def _paging(dice: Dice, memory: Memory, registers: Registers) -> str:
    """Tables of a random kind for the first 2 MiB, one to one, most pages usable and in use."""
    kind = dice.choice(("none", "4 KiB", "4 MiB", "PAE 4 KiB", "PAE 2 MiB"))
    if kind == "none":
        return kind
    registers.cr[0] |= 1 << 31
    wide = kind.startswith("PAE")
    size = 8 if wide else 4
    rights = 0x67  # present, writable, for users, accessed and dirty
    spoilt = (1, 2, 4, 0x20, 0x40)
    registers.cr[3] = TABLES
    directory, table = TABLES + PAGE_BYTES, TABLES + 2 * PAGE_BYTES
    registers.cr[4] = 0x20 if wide else dice.often(0x10, 0) if kind == "4 MiB" else 0
    if wide:
        pointer = dice.flags(directory | 1, 1, 1 << 40, 1 << 63)
        memory.ram.write(TABLES, pointer.to_bytes(8, "little"))
        registers.efer = dice.choice((0, 1 << 11))
    else:
        directory = TABLES
    if kind.endswith("MiB"):
        entry = dice.flags(rights | 0x80, *spoilt, 1 << 13, 1 << 21, 1 << 31)
        memory.ram.write(directory, entry.to_bytes(size, "little"))
        return kind
    entry = dice.flags(table | rights, *spoilt)
    memory.ram.write(directory, entry.to_bytes(size, "little"))
    high = (1 << 40, 1 << 63) if wide else (1 << 31,)
    for page in range(64):
        entry = dice.flags(page << 12 | rights, *spoilt, *high)
        memory.ram.write(table + page * size, entry.to_bytes(size, "little"))
    return kind


def _event(dice: Dice, registers: Registers) -> Event:
    eip = dice.getrandbits(16)
    registers.eip = eip
    if dice.random() < 0.5:
        kind = dice.choice((Kind.SOFTWARE, Kind.SOFTWARE, Kind.HARDWARE))
        return Event(dice.choice((0x20, 0x30, 0x80, 0xFF)), kind, return_eip=eip + 2)
    vector = dice.choice(FAULTS)
    code = dice.getrandbits(16) if vector in WITH_ERROR_CODE else None
    return Event(vector, Kind.EXCEPTION, code, return_eip=eip)


@pytest.fixture(scope="module")
def delivered() -> Counter[str]:
    """What delivery.c has had an answer to, of which kind; each is compared in passing."""
    memory = Memory(Ram("pc.ram", MIB), Ram("pc.bios", PAGE_BYTES))
    delivered: Counter[str] = Counter()
    for seed in range(SEEDS):
        dice = Dice(seed)
        for _ in range(STATES):
            state = RandomState.make(dice, memory)
            answer = delivery_in_c.deliver(state.registers, memory, state.event)
            try:
                deliver(state.registers, memory, state.event)
            except Shutdown:
                assert answer is None
                continue
            if answer is not None:
                assert answer == delivery_in_c.Answer.of(state.registers, memory), state
                delivered[state.kind] += 1
    memory.ram.close()
    memory.rom.close()
    return delivered


class TestRandomStates:
    @pytest.mark.parametrize("mode", ["0", "1", "3", "v86"])
    @pytest.mark.parametrize("pages", ["none", "4 KiB", "4 MiB", "PAE 4 KiB", "PAE 2 MiB"])
    def test_it_ends_in_the_same_registers_and_memory(
        self, delivered: Counter[str], mode: str, pages: str
    ) -> None:
        assert delivered[f"{mode} {pages}"] > 5

    def test_in_real_mode_too(self, delivered: Counter[str]) -> None:
        assert delivered["real none"] > 50


INT_40 = (
    "b9 c8 00 00 00"  # mov ecx, 200
    "cd 40"  # again: int 40h
    "01 c3"  # add ebx, eax
    "11 da"  # adc edx, ebx
    "e2 f8"  # loop again
    "f4"  # hlt; at level 3, a #GP
)
INT_40_HANDLER = (
    "89 c8"  # mov eax, ecx
    "d1 c8"  # ror eax, 1
    "cf"  # iret
)
SYSENTER = (
    "be c8 00 00 00"  # mov esi, 200
    "ba 15 10 00 00"  # again: mov edx, back
    "89 e1"  # mov ecx, esp
    "01 f0"  # add eax, esi
    "f9"  # stc
    "2e 0f 34"  # sysenter, with a prefix
    "90 90 90"  # nop; nop; nop
    "11 c3"  # back: adc ebx, eax
    "4e"  # dec esi
    "75 eb"  # jnz again
    "f4"  # hlt
)
SYSENTER_HANDLER = (
    "40"  # inc eax
    "0f 35"  # sysexit
)
MSRS = {"sysenter_cs": CODE_0, "sysenter_esp": STACK, "sysenter_eip": DATA}


def run(engine: str, code: str, handler: str, state: State, slice_ns: int = 10_000) -> Rig:
    """The guest, in slices of so much time, to its HLT."""
    rig = Rig(engine)
    rig.load(bytes.fromhex(code), state, state.eip)
    rig.memory.write(DATA, bytes.fromhex(handler))
    rig.memory.write(0x40 * 4, struct.pack("<HH", DATA, 0))
    rig.memory.write(IDT + 0x40 * 8, struct.pack("<HHBBH", DATA, CODE_0, 0, 0xEE, 0))
    pause = Pause.REACHED
    while pause is Pause.REACHED and rig.clock.now_ns < 10_000:
        pause = rig.run(slice_ns)
    assert pause is Pause.HALTED
    return rig


def delivered_in_c(rig: Rig) -> int:
    engine = rig.processor.engine
    assert isinstance(engine, native.NativeEngine)
    return engine.delivered


class TestGuests:
    """The same end, whoever delivers; and as many blocks' time."""

    @pytest.mark.parametrize("slice_ns", [1, 7, 10_000])
    @pytest.mark.parametrize(
        ("state", "expected"),
        [
            pytest.param(real_mode(), 200, id="real mode"),
            pytest.param(flat(), 200, id="protected mode"),
            pytest.param(flat(level=3), 201, id="protected mode, level 3"),
            pytest.param(paging(level=3), 200, id="paging, level 3"),  # the first sets a dirty bit
        ],
    )
    def test_INT_n(self, state: State, expected: int, slice_ns: int) -> None:
        fast, slow, reference = (
            run(engine, INT_40, INT_40_HANDLER, state, slice_ns)
            for engine in ("native", "python-delivering", "reference")
        )

        assert fast.seen() == slow.seen() == reference.seen()
        assert fast.clock.now_ns > 200 * 4
        assert delivered_in_c(fast) == expected
        assert delivered_in_c(slow) == 0

    @pytest.mark.parametrize("slice_ns", [1, 7, 10_000])
    @pytest.mark.parametrize(
        ("state", "expected"),
        [
            pytest.param(flat(level=3, **MSRS), 201, id="without paging"),
            pytest.param(paging(level=3, **MSRS), 200, id="paging"),
            pytest.param(flat(level=3, eflags=0x200, **MSRS), 201, id="with interrupts on"),
        ],
    )
    def test_SYSENTER(self, state: State, expected: int, slice_ns: int) -> None:
        fast, slow, reference = (
            run(engine, SYSENTER, SYSENTER_HANDLER, state, slice_ns)
            for engine in ("native", "python-delivering", "reference")
        )

        assert fast.seen() == slow.seen() == reference.seen()
        assert fast.state.esi == 0
        assert delivered_in_c(fast) == expected
        assert delivered_in_c(slow) == 0

    def test_interrupts(self) -> None:
        """From outside; each is taken between two runs."""
        code = "fb" + "e6 90 eb 00" * 3 + "fa f4"  # sti; out 90h, al and a jump, thrice; cli; hlt
        rigs = []
        for engine in ("native", "python-delivering", "reference"):
            rig = Rig(engine)
            rig.ports.on_write[0x90] = lambda _value, rig=rig: rig.interrupt(0x40)
            rig.memory.write(DATA, bytes.fromhex(INT_40_HANDLER))
            rig.memory.write(IDT + 0x40 * 8, struct.pack("<HHBBH", DATA, CODE_0, 0, 0xEE, 0))
            rig.load(bytes.fromhex(code), flat())
            rig.run()
            rigs.append(rig)
        fast, slow, reference = rigs

        assert fast.seen() == slow.seen() == reference.seen()
        assert (delivered_in_c(fast), delivered_in_c(slow)) == (3, 0)

    @pytest.mark.parametrize("engine", ["native", "python-delivering", "reference"])
    def test_a_frame_pushed_over_code(self, engine: str) -> None:
        """What has been translated there is forgotten."""
        code = (
            "bb 00 28"  # mov bx, 2800h
            "ff d3"  # call bx
            "bc 06 28"  # mov sp, 2806h
            "90 90 90 90 90 90"  # nop, six times
            "cd 40"  # int 40h, which pushes IP = C340h: 40 C3, and four bytes more
            "bc 00 70"  # mov sp, 7000h
            "ff d3"  # call bx
            "f4"  # hlt
        )
        decrement = "48 c3"  # dec ax; ret
        increment = "cf 40 c3"  # iret; and what is pushed: inc ax; ret
        rig = Rig(engine)
        rig.memory.write(0x2800, bytes.fromhex(decrement))
        rig.memory.write(DATA, bytes.fromhex(increment))
        rig.memory.write(0x40 * 4, struct.pack("<HH", DATA, 0))
        rig.load(bytes.fromhex(code), real_mode(0xC330, eax=5), 0xC330)

        assert rig.run() is Pause.HALTED
        assert rig.memory.read(0x2800, 2) == bytes.fromhex(increment)[1:]
        assert rig.state.eax == 5

    def test_who_watches_sees_them_all(self) -> None:
        """Nothing is delivered past him."""
        seen: list[int] = []
        rig = Rig("native")
        rig.processor.watch_deliveries(lambda event: seen.append(event.vector))
        rig.load(bytes.fromhex("cd 40"), flat())  # int 40h

        assert rig.run() is Pause.HALTED
        assert seen == [0x40]
        assert delivered_in_c(rig) == 0
