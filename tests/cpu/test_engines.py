"""Both engines do what emu/cpu/engine.py says: they count alike, and stop only between two blocks.

Each guest is a few bytes of code on a processor with nothing else around it (rig.py).
"""

from __future__ import annotations

import pytest
from rig import (
    CODE,
    DATA,
    EFLAGS_IF,
    ENGINES,
    SPARE,
    SPARE_SELECTOR,
    STACK,
    Rig,
    needs_native,
    paging,
    protected_mode,
    real_mode,
)

from emu import attrs
from emu.cpu.bits import CR0_TS, CR4_OSFXSR
from emu.cpu.layout import HF_CPL, HF_INHIBIT_IRQ, HF_TS
from emu.cpu.models import Model
from emu.cpu.processor import Pause
from emu.cpu.state import Segment, State, translator_flags


@attrs.frozen
class Guest:
    """A program, and the state that it starts in."""

    code: bytes
    state: State

    def start(self, engine: str) -> Rig:
        rig = Rig(engine)
        rig.describe(SPARE_SELECTOR, 0x0040_9300_2000_0FFF)  # data that do not begin at 0
        rig.load(self.code, self.state)
        rig.ports.on_read[0x71] = lambda: len(rig.ports.written) & 0xFF
        rig.ports.on_write[0x70] = rig.interrupt
        return rig


ARITHMETIC = Guest(
    bytes.fromhex(
        "b9 c8 00"  # mov cx, 200
        "01 c8"  # again: add ax, cx
        "83 d2 03"  # adc dx, 3
        "0f af d8"  # imul bx, ax
        "73 02"  # jnc odd
        "31 d3"  # xor bx, dx
        "e2 f2"  # odd: loop again
        "f4"  # hlt
    ),
    real_mode(),
)
STRINGS = Guest(
    bytes.fromhex(
        "b9 32 00"  # mov cx, 50
        "bf 00 20"  # mov di, 0x2000
        "b0 5a"  # mov al, 0x5a
        "f3 aa"  # rep stosb
        "b9 32 00"  # mov cx, 50
        "be 00 20"  # mov si, 0x2000
        "f3 a5"  # rep movsw
        "b9 3c 00"  # mov cx, 60
        "be 10 20"  # mov si, 0x2010
        "bf 00 20"  # mov di, 0x2000
        "f3 a6"  # repe cmpsb
        "9c"  # pushf
        "f4"  # hlt
    ),
    real_mode(),
)
PORTS = Guest(
    bytes.fromhex(
        "b9 14 00"  # mov cx, 20
        "ba 71 00"  # mov dx, 0x71
        "bf 00 20"  # mov di, 0x2000
        "6c"  # again: insb
        "e6 80"  # out 0x80, al
        "e4 71"  # in al, 0x71
        "e6 81"  # out 0x81, al
        "e2 f7"  # loop again
        "b9 07 00"  # mov cx, 7
        "f3 6c"  # rep insb
        "f4"  # hlt
    ),
    real_mode(),
)
INTERRUPTED = Guest(
    bytes.fromhex(
        "c7 06 00 01 16 10"  # mov word [4 * 0x40], handler
        "b9 1e 00"  # mov cx, 30
        "b0 40"  # again: mov al, 0x40
        "e6 70"  # out 0x70, al
        "43"  # inc bx
        "fb"  # sti
        "42"  # inc dx
        "cd 40"  # int 0x40
        "fa"  # cli
        "e2 f4"  # loop again
        "f4"  # hlt
        "01 de"  # handler: add si, bx
        "31 d6"  # xor si, dx
        "cf"  # iret
    ),
    real_mode(),
)
FAULTS = Guest(
    bytes.fromhex(
        "b9 14 00 00 00"  # mov ecx, 20
        "c7 05 30 40 00 00 23 10 08 00"  # mov dword [0x4000 + 6 * 8], skip_2 + 0x80000
        "c7 05 70 40 00 00 28 10 08 00"  # mov dword [0x4000 + 14 * 8], skip_6 + 0x80000
        "0f 0b"  # again: ud2
        "a1 00 00 30 00"  # mov eax, [0x300000]
        "e2 f7"  # loop again
        "f4"  # hlt
        "83 04 24 02"  # skip_2: add dword [esp], 2
        "cf"  # iret
        "83 c4 04"  # skip_6: add esp, 4
        "83 04 24 05"  # add dword [esp], 5
        "0f 20 d2"  # mov edx, cr2
        "cf"  # iret
    ),
    paging(),
)
MODES = Guest(
    bytes.fromhex(
        "0f 01 16 46 10"  # lgdt [gdtr]
        "0f 20 c0"  # mov eax, cr0
        "0c 01"  # or al, 1
        "0f 22 c0"  # mov cr0, eax
        "ea 12 10 08 00"  # jmp 8:protected
        "66 b8 10 00"  # protected: mov ax, 0x10
        "8e d0"  # mov ss, ax
        "8e d8"  # mov ds, ax
        "66 b8 30 00"  # mov ax, 0x30
        "8e c0"  # mov es, ax
        "26 a3 00 00 00 00"  # mov [es:0], eax
        "06"  # push es
        "0f a9"  # pop gs
        "6a 23"  # push 0x23
        "68 00 00 01 00"  # push 0x10000
        "68 02 30 00 00"  # push 0x3002
        "6a 1b"  # push 0x1b
        "68 3d 10 00 00"  # push outer
        "cf"  # iret
        "b8 05 00 00 00"  # outer: mov eax, 5
        "8e d8"  # mov ds, eax
        "cd 40"  # int 0x40
        "37 00"  # gdtr: dw 0x37
        "00 08 00 00"  # dd 0x800
    ),
    real_mode(cr4=CR4_OSFXSR, idtr=Segment(base=0x4000, limit=0x7FF), tr=protected_mode().tr),
)
ITSELF = Guest(  # changes an instruction ahead of it in the block that it is in
    bytes.fromhex(
        "b9 28 00"  # mov cx, 40
        "bb 00 20"  # mov bx, 0x2000
        "00 0e 0b 10"  # again: add [0x100b], cl
        "04 00"  # add al, 0
        "00 07"  # add [bx], al
        "e2 f6"  # loop again
        "f4"  # hlt
    ),
    real_mode(),
)
GUESTS = {
    "arithmetic": ARITHMETIC,
    "strings": STRINGS,
    "ports": PORTS,
    "interrupted": INTERRUPTED,
    "faults": FAULTS,
    "modes": MODES,
    "itself": ITSELF,
}
guests = pytest.mark.parametrize("guest", GUESTS.values(), ids=GUESTS)


class TestCounting:
    """A block costs the same on both engines, and no slicing changes what there is to count."""

    @needs_native
    @guests
    def test_both_engines_are_one(self, guest: Guest) -> None:
        """The same clock, registers, memory and port accesses."""
        seen = []
        for engine in ("native", "reference"):
            rig = guest.start(engine)
            assert rig.run() is Pause.HALTED
            seen.append(rig.seen())
            rig.close()

        assert seen[0] == seen[1]

    @needs_native
    def test_a_block_of_very_many_instructions(self) -> None:
        """The reference engine cuts it in pieces sooner: a deviation; only the clocks differ."""
        code = bytes.fromhex(
            "01 07"  # add [bx], ax
        ) * 1000 + bytes.fromhex(
            "f4"  # hlt
        )
        seen = []
        for engine in ("native", "reference"):
            rig = Rig(engine)
            rig.load(code, real_mode(eax=3, ebx=DATA))
            assert rig.run() is Pause.HALTED
            seen.append(rig.seen())
            rig.close()

        assert seen[0][0] < seen[1][0]
        assert seen[0][1:] == seen[1][1:]

    @pytest.mark.parametrize("slice_ns", [1, 3, 100])
    @pytest.mark.parametrize("engine", ENGINES)
    @guests
    def test_slices_change_nothing(self, guest: Guest, engine: str, slice_ns: int) -> None:
        whole, sliced = guest.start(engine), guest.start(engine)
        whole.run()

        pause = Pause.REACHED
        while pause is Pause.REACHED and sliced.clock.now_ns < whole.clock.now_ns + 1000:
            pause = sliced.run(slice_ns)

        found, expected = sliced.seen(), whole.seen()
        assert pause is Pause.HALTED
        if guest is ITSELF and engine == "reference":
            # Its deviation: it takes the rest of a block that was cut short for a block of its own.
            assert found[0] >= expected[0]
            found = (expected[0], *found[1:])
        assert found == expected
        whole.close()
        sliced.close()

    def test_a_slice_of_one_is_one_block(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "40"  # inc ax
                "43"  # inc bx
                "eb 00"  # jmp next
                "41"  # next: inc cx
                "f4"  # hlt
            )
        )

        rig.run(1)
        first = rig.state
        rig.run(1)

        assert (first.eax, first.ebx, first.ecx, first.eip) == (1, 1, 0, CODE + 4)
        assert rig.state.ecx == 1
        assert rig.clock.now_ns == 2

    def test_a_stop_is_before_the_block(self, rig: Rig) -> None:
        """At a deadline that has come, nothing is executed."""
        rig.load(
            bytes.fromhex(
                "40"  # inc ax
                "f4"  # hlt
            )
        )
        rig.clock.advance_to(10)

        assert rig.processor.run(10) is Pause.REACHED
        assert (rig.state.eax, rig.state.eip, rig.clock.now_ns) == (0, CODE, 10)

    def test_an_iteration_of_a_string_instruction_is_a_block(self, rig: Rig) -> None:
        """So a long one can be interrupted, as in hardware."""
        rig.load(
            bytes.fromhex(
                "b9 05 00"  # mov cx, 5
                "f3 aa"  # rep stosb
                "f4"  # hlt
            ),
            real_mode(edi=DATA, eax=0xAA),
        )

        rig.run(3)

        assert (rig.state.ecx, rig.state.edi) == (2, DATA + 3)
        assert rig.memory.read(DATA, 4) == b"\xaa\xaa\xaa\0"

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("slice_ns", [1, 2, 3])
    def test_REP_INS_is_never_torn(self, engine: str, slice_ns: int) -> None:
        """What has been read from the port is in memory, and is read once."""
        rig = Rig(engine)
        rig.load(
            bytes.fromhex(
                "b9 09 00"  # mov cx, 9
                "ba 60 00"  # mov dx, 0x60
                "f3 6c"  # rep insb
                "f4"  # hlt
            ),
            real_mode(edi=DATA),
        )
        reads = iter(range(1, 100))
        rig.ports.on_read[0x60] = lambda: next(reads)

        while rig.run(slice_ns) is Pause.REACHED:
            state = rig.state
            assert rig.memory.read(DATA, state.edi - DATA) == bytes(range(1, state.edi - DATA + 1))

        assert rig.memory.read(DATA, 10) == bytes(range(1, 10)) + b"\0"
        rig.close()

    @pytest.mark.parametrize("engine", ENGINES)
    @guests
    def test_the_translator_s_flags_follow_from_the_State(self, guest: Guest, engine: str) -> None:
        """Nothing of the mode is kept that a save would not hold."""
        rig = guest.start(engine)
        modes = set()
        while rig.run(1) is Pause.REACHED:
            hflags = rig.registers.hflags
            assert hflags == translator_flags(rig.state)
            modes.add(hflags & HF_CPL)

        assert modes == ({0, 3} if guest is MODES else {0})
        rig.close()

    def test_a_task_switched_flag_is_the_translator_s_too(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "0f 20 c0"  # mov eax, cr0
                "0c 08"  # or al, 8
                "0f 22 c0"  # mov cr0, eax
                "eb 00"  # jmp next
                "0f 06"  # next: clts
                "eb 00"  # jmp on
                "f4"  # on: hlt
            )
        )

        rig.run(2)
        assert rig.state.cr0 & CR0_TS
        assert rig.registers.hflags & HF_TS
        rig.run(2)
        assert not rig.registers.hflags & HF_TS


class TestHalt:
    """HLT, a stop and a deadline are three things."""

    def test_HLT(self, rig: Rig) -> None:
        """EIP is behind it, and it goes on waiting."""
        rig.load(
            bytes.fromhex(
                "f4"  # hlt
                "40"  # inc ax
                "f4"  # hlt
            )
        )

        assert rig.run() is Pause.HALTED
        assert rig.processor.halted
        assert rig.state.eip == CODE + 1
        assert rig.run() is Pause.HALTED
        assert rig.state.eax == 0

    def test_an_interrupt_ends_it(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "fb"  # sti
                "f4"  # hlt
                "40"  # inc ax
                "f4"  # hlt
            )
        )
        rig.run()

        rig.interrupt(0x41)
        rig.run()

        assert rig.reported == [0x41]
        assert rig.stack(1, 2) == [CODE + 2]

    def test_not_with_interrupts_off(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "f4"  # hlt
                "f4"  # hlt
            )
        )
        rig.run()

        rig.interrupt(0x41)

        assert rig.run() is Pause.HALTED
        assert rig.reported == []
        assert not rig.processor.interrupts_enabled

    def test_a_stop_that_was_asked_for(self, rig: Rig) -> None:
        """It is heeded at the next block's start; the block that asks ends first."""
        rig.load(
            bytes.fromhex(
                "e6 60"  # out 0x60, al
                "40"  # inc ax
                "eb 00"  # jmp next
                "43"  # next: inc bx
                "f4"  # hlt
            )
        )
        rig.ports.on_write[0x60] = lambda _value: rig.processor.stop()

        assert rig.run() is Pause.REACHED
        assert (rig.state.eax, rig.state.ebx) == (1, 0)
        assert not rig.processor.halted

    def test_HLT_in_the_block_that_asked_for_a_stop(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "e6 60"  # out 0x60, al
                "f4"  # hlt
            )
        )
        rig.ports.on_write[0x60] = lambda _value: rig.processor.stop()

        assert rig.run() is Pause.REACHED
        assert rig.processor.halted
        assert rig.run() is Pause.HALTED

    def test_PAUSE_is_no_halt(self, rig: Rig) -> None:
        """The engine leaves its loop at one, and comes back."""
        rig.load(
            bytes.fromhex(
                "f3 90"  # pause
                "40"  # inc ax
                "f4"  # hlt
            )
        )

        assert rig.run() is Pause.HALTED
        assert rig.state.eax == 1


class TestInterrupts:
    """INTR, IF and the shadow of STI and MOV SS: SDM volume 3A, 6.8."""

    def test_at_a_block_s_start(self, rig: Rig) -> None:
        """A chip may raise INTR in the middle of one."""
        rig.load(
            bytes.fromhex(
                "fb"  # sti
                "90"  # nop
                "e6 60"  # out 0x60, al
                "43"  # inc bx
                "eb 00"  # jmp next
                "41"  # next: inc cx
                "f4"  # hlt
            )
        )
        rig.ports.on_write[0x60] = lambda _value: rig.interrupt(0x42)

        rig.run()

        assert rig.reported == [0x42]
        assert (rig.state.ebx, rig.state.ecx) == (1, 0)
        assert rig.stack(3, 2) == [CODE + 7, 0, 0x202]

    def test_IF_holds_them_off(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "40"  # inc ax
                "eb 00"  # jmp next
                "40"  # next: inc ax
                "fb"  # sti
                "40"  # inc ax
                "40"  # inc ax
                "f4"  # hlt
            )
        )
        rig.interrupt(0x42)

        rig.run()

        assert rig.reported == [0x42]
        assert rig.memory.read(STACK - 6, 2) == (CODE + 6).to_bytes(2, "little")

    def test_one_that_goes_away_is_not_taken(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "40"  # inc ax
                "eb 00"  # jmp next
                "e6 60"  # next: out 0x60, al
                "fb"  # sti
                "90"  # nop
                "90"  # nop
                "f4"  # hlt
            )
        )
        rig.interrupt(0x42)
        rig.ports.on_write[0x60] = lambda _value: rig.processor.set_intr(False)

        assert rig.run() is Pause.HALTED
        assert rig.reported == []

    @pytest.mark.parametrize("slice_ns", [1, 1000])
    @pytest.mark.parametrize(
        ("code", "flags"),
        [
            (
                bytes.fromhex(
                    "e6 60"  # out 0x60, al
                    "fb"  # sti
                    "41"  # inc cx
                    "41"  # inc cx
                    "41"  # inc cx
                    "f4"  # hlt
                ),
                2,
            ),
            (
                bytes.fromhex(
                    "e6 60"  # out 0x60, al
                    "8e d2"  # mov ss, dx
                    "41"  # inc cx
                    "41"  # inc cx
                    "41"  # inc cx
                    "f4"  # hlt
                ),
                2 | EFLAGS_IF,
            ),
            (
                bytes.fromhex(
                    "52"  # push dx
                    "e6 60"  # out 0x60, al
                    "17"  # pop ss
                    "41"  # inc cx
                    "41"  # inc cx
                    "f4"  # hlt
                ),
                2 | EFLAGS_IF,
            ),
        ],
        ids=["STI", "MOV SS", "POP SS"],
    )
    def test_a_shadow_lasts_for_one_instruction(
        self, rig: Rig, code: bytes, flags: int, slice_ns: int
    ) -> None:
        """Exactly one more is executed, wherever the run is stopped."""
        rig.load(code, real_mode(eflags=flags))
        rig.ports.on_write[0x60] = lambda _value: rig.interrupt(0x43)
        shadows = set()

        while rig.run(slice_ns) is Pause.REACHED:
            shadows.add(rig.state.interrupt_shadow)

        assert rig.reported == [0x43]
        assert rig.state.ecx == 1
        assert shadows == ({True, False} if slice_ns == 1 else set())

    def test_STI_and_HLT(self, rig: Rig) -> None:
        """The usual pair: the interrupt that is waiting comes after the HLT, and ends it."""
        rig.load(
            bytes.fromhex(
                "fb"  # sti
                "f4"  # hlt
                "40"  # inc ax
                "f4"  # hlt
            )
        )
        rig.interrupt(0x44)

        rig.run()

        assert rig.reported == [0x44]
        assert rig.stack(1, 2) == [CODE + 2]
        assert not rig.state.interrupt_shadow

    def test_a_second_one_waits_for_IF(self, rig: Rig) -> None:
        """Delivery clears IF; IRET brings it back."""
        handler = bytes.fromhex(
            "46"  # inc si
            "cf"  # iret
        )
        rig.load(
            bytes.fromhex(
                "fb"  # sti
                "90"  # nop
                "90"  # nop
                "90"  # nop
                "f4"  # hlt
            )
        )
        rig.memory.write(SPARE, handler)
        for vector in (0x45, 0x46):
            rig.memory.write(vector * 4, SPARE.to_bytes(4, "little"))
            rig.interrupt(vector)

        assert rig.run() is Pause.HALTED
        assert rig.state.esi == 2
        assert rig.vectors == []


class TestTime:
    """The time stamp counter is the clock, and reading it takes a while."""

    def test_RDTSC(self, rig: Rig) -> None:
        """One read costs 400 ns; the second says so."""
        rig.clock.advance_to(0x1_2345_6000)
        rig.load(
            bytes.fromhex(
                "0f 31"  # rdtsc
                "66 89 c3"  # mov ebx, eax
                "66 89 d1"  # mov ecx, edx
                "0f 31"  # rdtsc
                "f4"  # hlt
            )
        )

        rig.run()

        state = rig.state
        assert (state.ecx, state.ebx) == (1, 0x2345_6000 + 1 + 400)
        assert (state.edx, state.eax) == (1, 0x2345_6000 + 1 + 800)
        assert rig.clock.now_ns == 0x1_2345_6000 + 1 + 800

    def test_not_at_level_3_where_CR4_TSD_forbids_it(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "0f 31"  # rdtsc
                "cd 30"  # int 30h: not reached
            ),
            protected_mode(level=3, cr4=1 << 2),
        )

        rig.run()

        assert rig.reported == [13]

    @pytest.mark.parametrize("model", Model)
    @pytest.mark.parametrize("engine", ENGINES)
    def test_no_model_has_RDTSCP(self, engine: str, model: Model) -> None:
        rig = Rig(engine, model)
        rig.load(
            bytes.fromhex(
                "0f 01 f9"  # rdtscp
                "f4"  # hlt
            )
        )

        rig.run()

        assert rig.reported == [6]
        rig.close()

    def test_a_chip_sees_the_time_of_its_access(self, rig: Rig) -> None:
        """The block counts from its start, as both engines see it."""
        times = []
        rig.load(
            bytes.fromhex(
                "eb 00"  # jmp next
                "e6 60"  # next: out 0x60, al
                "0f 31"  # rdtsc
                "e6 60"  # out 0x60, al
                "f4"  # hlt
            )
        )
        rig.ports.on_write[0x60] = lambda _value: times.append(rig.clock.now_ns)

        rig.run()

        assert times == [2, 402]

    def test_an_alarm_set_by_a_port_access_is_in_time(self, rig: Rig) -> None:
        """It moves the deadline of the run that is under way."""
        alarm = rig.clock.alarm("test", 0, "alarm", lambda: rig.interrupt(0x47))
        rig.load(
            bytes.fromhex(
                "fb"  # sti
                "e6 60"  # out 0x60, al
                "41"  # again: inc cx
                "eb fd"  # jmp again
            )
        )
        rig.ports.on_write[0x60] = lambda _value: alarm.arm(rig.clock.now_ns + 10)

        rig.run()

        assert rig.reported == [0x47]
        assert rig.state.ecx == 10


class TestShadowAndSave:
    """The shadow is state: a State that is taken in it and put back goes on in it."""

    def test_across_engines(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "fb"  # sti
                "41"  # inc cx
                "41"  # inc cx
                "f4"  # hlt
            )
        )
        rig.interrupt(0x48)
        rig.run(1)
        state = rig.state

        other = Rig("reference")
        other.memory.write(CODE, rig.memory.read(CODE, 16))
        other.processor.state = state
        other.vectors.append(0x48)
        other.processor.settle()
        other.run()

        assert state.interrupt_shadow
        assert state.intr
        assert translator_flags(state) & HF_INHIBIT_IRQ
        assert (other.reported, other.state.ecx) == ([0x48], 1)
        other.close()
