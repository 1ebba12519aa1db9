"""JMP, CALL and IRET between tasks of which one has a TSS of 16 bits: SDM volume 3A, chapter 7.

Between TSSs of 32 bits the engine switches; interrupts through task gates are test_delivery.py's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from rig import (
    CODE,
    CODE_0,
    CODE_3,
    DATA_0,
    DATA_3,
    DELIVERIES,
    DIRECTORY,
    GDT,
    SPARE,
    STACK,
    TABLE,
    TSS,
    TSS_SELECTOR,
    Rig,
    needs_corrections,
    paging,
    protected_mode,
)

from emu import attrs
from emu.cpu.delivery import Event, Kind, switch_tasks
from emu.cpu.processor import Pause
from emu.cpu.state import Segment, State
from emu.cpu.tasks import How
from emu.cpu.vectors import GP, NP, PF, TS
from emu.memory import PAGE_BYTES

pytestmark = needs_corrections

NT, CF = 1 << 14, 1
OTHER, GATE, LDT_SELECTOR = 0x30, 0x38, 0x40
OTHER_TSS, OLD_TSS_16, LDT = 0x2800, 0x2C00, 0x3000
JUMP, CALL = 0xEA, 0x9A
NEW_STACK = 0x7000
OLD_GENERAL = [0x1111_0001, 0x2222_0002, 0x3333_0003, 0x4444_0004, STACK, 0x6666_0006, 7, 8]
NEW_GENERAL = [0xA001, 0xA002, 0xA003, 0xA004, NEW_STACK, 0xA006, 0xA007, 0xA008]


def descriptor(kind: int, base: int, limit: int, dpl: int = 0, *, present: bool = True) -> int:
    access = kind | dpl << 5 | present << 7
    return limit & 0xFFFF | (base & 0xFF_FFFF) << 16 | access << 40


def far(opcode: int, selector: int) -> bytes:
    """A far JMP or CALL to *selector*."""
    return struct.pack("<BIH", opcode, 0, selector)


def image_16(**changes: int) -> bytes:
    """A TSS of 16 bits of a task that begins at SPARE."""
    fields = {
        "link": 0,
        "ip": SPARE,
        "flags": 0x202,
        "es": DATA_0,
        "cs": CODE_0,
        "ss": DATA_0,
        "ds": DATA_0,
        "ldt": 0,
    } | changes
    head = struct.pack("<3H8x", fields["link"], NEW_STACK, DATA_0)
    head += struct.pack("<2H", fields["ip"], fields["flags"])
    rest = [fields[name] for name in ("es", "cs", "ss", "ds", "ldt")]
    return head + struct.pack("<13H", *NEW_GENERAL, *rest)


def image_32(**changes: int) -> bytes:
    fields = {"link": 0, "cr3": DIRECTORY, "cs": CODE_0, "eflags": 0x202} | changes
    head = struct.pack("<I24x3I", fields["link"], fields["cr3"], SPARE, fields["eflags"])
    general = struct.pack("<8I", *NEW_GENERAL)
    segments = struct.pack("<6I", DATA_0, fields["cs"], DATA_0, DATA_0, DATA_0, DATA_0)
    return head + general + segments + bytes(8)


@attrs.define(eq=False)
class Guest:
    """A rig with another task, and where the one that runs has its TSS."""

    rig: Rig

    def other(self, image: bytes, kind: int | None = None, dpl: int = 0, limit: int = 0) -> None:
        """The task that OTHER names; it halts at once."""
        wide = len(image) > 0x2C
        kind = (9 if wide else 1) if kind is None else kind
        self.rig.memory.write(OTHER_TSS, image)
        self.rig.describe(OTHER, descriptor(kind, OTHER_TSS, limit or len(image) - 1, dpl))
        self.rig.memory.write(SPARE, b"\xf4")

    def runs_on_16(self, state: State) -> State:
        """*state* in a task whose TSS has 16 bits."""
        self.rig.describe(TSS_SELECTOR, descriptor(3, OLD_TSS_16, 0x2B))
        state.tr = Segment(TSS_SELECTOR, OLD_TSS_16, 0x2B, 0x8100)
        return state

    def run(self, code: bytes, state: State) -> None:
        for name, value in zip(("eax", "ecx", "edx", "ebx"), OLD_GENERAL, strict=False):
            setattr(state, name, value)
        state.ebp, state.esi, state.edi = OLD_GENERAL[5:]
        self.rig.load(code, state)
        pause = self.rig.run()
        assert pause is Pause.HALTED

    def access(self, selector: int) -> int:
        return self.rig.memory.read(GDT + selector + 5, 1)[0]

    def has_begun(self) -> bool:
        """It is the other task that has halted."""
        state = self.rig.state
        return state.eip == SPARE + 1 and state.tr.selector == OTHER


@pytest.fixture(params=DELIVERIES)
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    rig = Rig(request.param)
    yield Guest(rig)
    rig.close()


def state_of_a_task(**registers: object) -> State:
    return protected_mode(gdtr=Segment(base=GDT, limit=0x47), **registers)


class TestSwitches:
    def test_JMP_to_16_bits(self, guest: Guest) -> None:
        guest.other(image_16())

        guest.run(far(JUMP, OTHER), state_of_a_task(eflags=2 | CF))

        state = guest.rig.state
        assert guest.has_begun()
        assert [state.eax, state.ebx, state.esp, state.edi] == [
            0xFFFF_0000 | NEW_GENERAL[at] for at in (0, 3, 4, 7)
        ]
        assert (state.cs.selector, state.ss.selector, state.ds.selector) == (CODE_0, DATA_0, DATA_0)
        assert (state.fs.selector, state.gs.selector) == (0, 0)
        assert state.eflags == 0x202
        assert (guest.access(TSS_SELECTOR), guest.access(OTHER)) == (0x89, 0x83)
        saved = guest.rig.memory.read(TSS + 0x20, 0x28)
        assert struct.unpack("<10I", saved) == (CODE + 7, 2 | CF, *OLD_GENERAL)

    def test_JMP_from_16_bits_to_16(self, guest: Guest) -> None:
        guest.other(image_16())
        guest.rig.memory.write(OLD_TSS_16, b"\xdd" * 0x30)

        guest.run(far(JUMP, OTHER), guest.runs_on_16(state_of_a_task()))

        assert guest.has_begun()
        saved = guest.rig.memory.read(OLD_TSS_16, 0x30)
        low = [value & 0xFFFF for value in OLD_GENERAL]
        fields = (CODE + 7, 2, *low, DATA_0, CODE_0, DATA_0, DATA_0)
        assert saved == b"\xdd" * 14 + struct.pack("<14H", *fields) + b"\xdd" * 6
        assert guest.access(TSS_SELECTOR) == 0x81

    def test_JMP_from_16_bits_to_32(self, guest: Guest) -> None:
        guest.other(image_32())
        guest.rig.memory.write(OLD_TSS_16, b"\xdd" * 0x80)

        guest.run(far(JUMP, OTHER), guest.runs_on_16(state_of_a_task()))

        assert guest.has_begun()
        assert guest.rig.state.eax == NEW_GENERAL[0]
        assert guest.rig.memory.read(OLD_TSS_16 + 0x2A, 0x56) == b"\xdd" * 0x56

    @pytest.mark.parametrize("wide", [False, True])
    def test_CALL_and_IRET(self, guest: Guest, *, wide: bool) -> None:
        """From 16 bits, and to them: there and back, and on behind the CALL."""
        guest.other(image_32() if wide else image_16())
        guest.rig.memory.write(SPARE, b"\xcf\xf4")  # iret; hlt, when it is called again
        state = state_of_a_task()
        if wide:
            state = guest.runs_on_16(state)

        guest.run(far(CALL, OTHER) + b"\x40\xf4", state)

        state = guest.rig.state
        low = 0xFFFF if wide else 0xFFFF_FFFF
        assert (state.eip, state.tr.selector) == (CODE + 9, TSS_SELECTOR)
        assert state.eax & low == OLD_GENERAL[0] + 1 & low
        assert state.esp & low == STACK & low
        assert state.eflags & NT == 0
        assert guest.access(OTHER) == (0x89 if wide else 0x81)
        assert guest.access(TSS_SELECTOR) == (0x83 if wide else 0x8B)
        assert guest.rig.memory.read(OTHER_TSS, 2) == struct.pack("<H", TSS_SELECTOR)
        at, form = (0x20, "<2I") if wide else (0x0E, "<2H")
        saved = struct.unpack(form, guest.rig.memory.read(OTHER_TSS + at, struct.calcsize(form)))
        assert saved == (SPARE + 1, 0x202)  # NT is clear in what IRET saves

    @pytest.mark.parametrize("opcode", [JUMP, CALL])
    def test_through_a_task_gate(self, guest: Guest, opcode: int) -> None:
        guest.other(image_16())
        guest.rig.describe(GATE, descriptor(5, OTHER, 0, 3))

        guest.run(far(opcode, GATE | 3), state_of_a_task())

        assert guest.has_begun()
        assert bool(guest.rig.state.eflags & NT) == (opcode == CALL)

    def test_prefixes_are_a_part_of_it(self, guest: Guest) -> None:
        guest.other(image_16())

        guest.run(b"\x2e\x2e" + far(JUMP, OTHER), state_of_a_task())

        assert guest.rig.memory.read(TSS + 0x20, 4) == struct.pack("<I", CODE + 9)

    def test_with_an_LDT(self, guest: Guest) -> None:
        guest.other(image_16(ldt=LDT_SELECTOR, ds=4))
        guest.rig.describe(LDT_SELECTOR, descriptor(2, LDT, 7))
        guest.rig.memory.write(LDT, guest.rig.memory.read(GDT + DATA_0, 8))

        guest.run(far(JUMP, OTHER), state_of_a_task())

        assert guest.has_begun()
        assert (guest.rig.state.ldtr.base, guest.rig.state.ds.selector) == (LDT, 4)

    def test_to_level_3(self, guest: Guest) -> None:
        guest.other(image_16(cs=CODE_3 | 3, ss=DATA_3 | 3, es=DATA_3 | 3, ds=DATA_3 | 3))
        guest.rig.memory.write(SPARE, bytes.fromhex("cd 40"))

        guest.run(far(JUMP, OTHER), state_of_a_task())

        assert guest.rig.reported == [0x40]
        assert guest.rig.stack(2) == [SPARE + 2, CODE_3 | 3]
        assert guest.rig.state.esp == NEW_STACK - 20

    def test_nobody_takes_it_for_an_exception(self, guest: Guest) -> None:
        seen: list[Event] = []
        guest.other(image_16())
        guest.rig.processor.watch_deliveries(seen.append)

        guest.run(far(JUMP, OTHER), state_of_a_task())

        assert guest.has_begun()
        assert seen == []

    def test_from_32_bits_to_32_it_is_the_engine_s(self, guest: Guest) -> None:
        guest.other(image_32())

        guest.run(far(JUMP, OTHER), state_of_a_task())

        assert guest.has_begun()

    def test_the_breakpoints_it_clears(self, guest: Guest) -> None:
        guest.other(image_16())

        guest.run(far(JUMP, OTHER), state_of_a_task(dr0=SPARE, dr7=0x401))

        assert guest.has_begun()
        assert guest.rig.reported == []
        assert guest.rig.state.dr7 == 0x400

    def test_an_interrupt_that_has_waited_for_its_IF(self, guest: Guest) -> None:
        guest.other(image_16())
        guest.rig.memory.write(SPARE, bytes.fromhex("eb fe"))
        guest.rig.load(far(JUMP, OTHER), state_of_a_task())
        guest.rig.interrupt(0x50)

        guest.rig.run()

        assert guest.rig.reported == [0x50]
        assert guest.rig.state.edx == 0xFFFF_0000 | NEW_GENERAL[2]

    def test_with_other_page_tables(self, guest: Guest) -> None:
        """From 16 bits, where CR3 is not saved, to 32: an alias of the code is elsewhere now."""
        directory, table = 0x1_4000, 0x1_5000
        guest.rig.memory.write(directory, struct.pack("<I", table | 7))
        pages = [page << 12 | 7 for page in range(512)]
        pages[SPARE // PAGE_BYTES] = 0x1_6000 | 7
        guest.rig.memory.write(table, struct.pack("<512I", *pages))
        guest.rig.memory.write(0x1_6000 + SPARE % PAGE_BYTES, b"\x90\xf4")
        guest.other(image_32(cr3=directory))
        state = guest.runs_on_16(paging(gdtr=Segment(base=GDT, limit=0x47)))

        guest.run(b"\xa1" + struct.pack("<I", SPARE) + far(JUMP, OTHER), state)

        assert guest.rig.state.eip == SPARE + 2
        assert guest.rig.state.cr3 == directory


class TestFaults:
    """Up to the switch they are the old task's, with EIP at the instruction."""

    def is_old_task_s(self, guest: Guest, vector: int, error_code: int) -> None:
        assert guest.rig.reported == [vector]
        assert guest.rig.stack(2) == [error_code, CODE]
        assert guest.rig.state.tr.selector == TSS_SELECTOR
        assert guest.access(TSS_SELECTOR) & 2

    @pytest.mark.parametrize("opcode", [JUMP, CALL])
    @pytest.mark.parametrize(
        ("kind", "selector", "vector"),
        [
            pytest.param(0x01, OTHER | 3, GP, id="RPL is more than its DPL"),
            pytest.param(0x03, OTHER, GP, id="busy"),
        ],
    )
    def test_a_TSS(self, guest: Guest, opcode: int, kind: int, selector: int, vector: int) -> None:
        guest.other(image_16(), kind)

        guest.run(far(opcode, selector), state_of_a_task())

        self.is_old_task_s(guest, vector, OTHER)

    def test_one_that_is_absent(self, guest: Guest) -> None:
        guest.other(image_16())
        guest.rig.describe(OTHER, descriptor(1, OTHER_TSS, 0x2B, present=False))

        guest.run(far(JUMP, OTHER), state_of_a_task())

        self.is_old_task_s(guest, NP, OTHER)

    def test_one_that_is_too_short(self, guest: Guest) -> None:
        guest.other(image_16(), limit=0x2A)

        guest.run(far(JUMP, OTHER), state_of_a_task())

        self.is_old_task_s(guest, TS, OTHER)

    def test_one_in_the_LDT(self, guest: Guest) -> None:
        guest.other(image_16())
        guest.rig.memory.write(LDT, guest.rig.memory.read(GDT + OTHER, 8))
        state = state_of_a_task(ldtr=Segment(LDT_SELECTOR, LDT, 7, 0x8200))

        guest.run(far(JUMP, 4), state)

        self.is_old_task_s(guest, GP, 4)

    def test_a_gate_that_is_absent(self, guest: Guest) -> None:
        guest.other(image_16())
        guest.rig.describe(GATE, descriptor(5, OTHER, 0, present=False))

        guest.run(far(JUMP, GATE), state_of_a_task())

        self.is_old_task_s(guest, NP, GATE)

    def test_a_gate_that_may_not_be_used(self, guest: Guest) -> None:
        guest.other(image_16())
        guest.rig.describe(GATE, descriptor(5, OTHER, 0))

        guest.run(far(JUMP, GATE | 1), state_of_a_task())

        self.is_old_task_s(guest, GP, GATE)

    @pytest.mark.parametrize(
        ("link", "kind", "vector", "error_code"),
        [
            pytest.param(OTHER, 0x01, TS, OTHER, id="not busy"),
            pytest.param(OTHER, 0x83 & 0x7F, NP, OTHER, id="absent"),
            pytest.param(0x48, 0x03, TS, 0x48, id="beyond the GDT"),
            pytest.param(OTHER | 4, 0x03, TS, OTHER | 4, id="in an LDT"),
            pytest.param(CODE_0, 0x03, TS, CODE_0, id="no TSS"),
        ],
    )
    def test_IRET(self, guest: Guest, link: int, kind: int, vector: int, error_code: int) -> None:
        guest.other(image_16(), kind)
        if vector == NP:
            guest.rig.describe(OTHER, descriptor(kind, OTHER_TSS, 0x2B, present=False))
        guest.rig.memory.write(OLD_TSS_16, struct.pack("<H", link))

        guest.run(b"\xcf", guest.runs_on_16(state_of_a_task(eflags=2 | NT)))

        self.is_old_task_s(guest, vector, error_code)

    def test_a_page_that_is_not_there(self, guest: Guest) -> None:
        guest.other(image_16())
        moved = 0x10_0000 + OTHER_TSS
        guest.rig.describe(OTHER, descriptor(1, moved, 0x2B))
        guest.rig.memory.write(TABLE + moved // PAGE_BYTES * 4, bytes(4))
        state = paging(gdtr=Segment(base=GDT, limit=0x47))

        guest.run(far(JUMP, OTHER), state)

        self.is_old_task_s(guest, PF, 0)
        assert guest.rig.state.cr2 == moved

    def test_a_selector_beyond_the_GDT(self, guest: Guest) -> None:
        """Which tasks.c would not have handed over."""
        rig = guest.rig
        rig.load(b"", state_of_a_task())

        delivered = switch_tasks(rig.registers, rig.memory, How.JUMP, 0xFFF8, CODE + 7)

        assert delivered.event == Event(GP, Kind.EXCEPTION, 0xFFF8, return_eip=CODE)

    @pytest.mark.parametrize(
        ("changes", "vector", "error_code"),
        [
            pytest.param({"ds": 0x100}, TS, 0x100, id="a segment that is none"),
            pytest.param({"cs": LDT_SELECTOR}, GP, 0, id="an IP beyond its segment"),
        ],
    )
    def test_after_it_they_are_the_new_task_s(
        self, guest: Guest, changes: dict[str, int], vector: int, error_code: int
    ) -> None:
        """Whose stack is of 16 bits here, for a TSS of 16 bits leaves ESP's upper half undefined."""
        guest.rig.describe(GATE, 0x008F_9300_0000_FFFF)
        guest.rig.describe(LDT_SELECTOR, 0x0040_9B00_0000_0FFF)
        guest.other(image_16(ss=GATE, **changes))

        guest.run(far(JUMP, OTHER), state_of_a_task())

        state = guest.rig.state
        assert guest.rig.reported == [vector]
        assert guest.rig.memory.read(state.esp & 0xFFFF, 8) == struct.pack("<2I", error_code, SPARE)
        assert state.tr.selector == OTHER
