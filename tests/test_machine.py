"""A machine: how it is made, why a run of it ends, what can be done to it from outside.

Guests here are a few bytes of machine code each, entered at 0000:7C00 with interrupts on.
"""

from __future__ import annotations

import gc
import io
import os
import random
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cards import plug_in_kettle
from guest_runs import ECHO, PRIMES

import emu
from emu import ConfigError, HostError, Machine, Reason, StreamError
from emu.cpu import native
from emu.host.ends import Memory as MemoryEnd
from emu.inputs import Input, Source
from emu.isa import Slot
from emu.memory import MIB
from emu.savevm.stream import Stream
from emu.tools import saves

MS = 1_000_000
ROM_LINE = b"emu ROM: guest at 0000:7C00"
LONG = emu.after("1s")  # no test waits for it

HALT = bytes.fromhex("fa f4")  # cli; hlt
WAIT = bytes.fromhex("f4 eb fd")  # again: hlt; jmp again
SPIN = bytes.fromhex("eb fe")  # again: jmp again
DEAF_WAIT = bytes.fromhex("b030 e643") + WAIT  # out 43h, 30h: the timer counts no more
TRIPLE_FAULT = bytes.fromhex(
    "0f011e087c"  # lidt [7C08h]
    "cc"  # int3
    "ebfe"
    "000000000000"  # no table at all
)
HOT_RESET = bytes.fromhex(
    "803e000601"  # cmp byte [600h], 1
    "740b"  # je done
    "c606000601"  # mov byte [600h], 1
    "e492 0c01 e692"  # in al, 92h; or al, 1; out 92h, al
    "faf4"  # done: cli; hlt
)
WAIT_FOR_A_KEY = bytes.fromhex(
    "b030 e643"  # out 43h, 30h: the timer counts no more
    "baf903 b001 ee"  # mov dx, 3F9h; mov al, 1; out dx, al: interrupt when a character is there
    "bafc03 b00b ee"  # mov dx, 3FCh; mov al, 0Bh; out dx, al: let it through
    "b0ef e621"  # out 21h, EFh: and no other
    "f4"  # hlt
    "b007 e6f4 faf4"  # out F4h, 7; cli; hlt
)
SAY_X = bytes.fromhex("baf803 b078 ee ebfd")  # mov dx, 3F8h; mov al, 'x'; again: out dx, al; jmp


def leave(value: int) -> bytes:
    """A guest that ends itself with *value*."""
    return bytes([0xB0, value, 0xE6, 0xF4]) + HALT  # mov al, value; out F4h, al


class PipeEnd:
    """A host end that has a descriptor to wait for."""

    at_end = False

    def __init__(self) -> None:
        self._ours, self._theirs = os.pipe()
        os.set_blocking(self._ours, False)

    def feed(self, data: bytes) -> None:
        os.write(self._theirs, data)

    def write(self, data: bytes) -> None:
        pass

    def read(self, most: int) -> bytes:
        try:
            return os.read(self._ours, most)
        except BlockingIOError:
            return b""

    def fileno(self) -> int:
        return self._ours

    def close(self) -> None:
        for descriptor in (self._ours, self._theirs):
            with suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def machine() -> Iterator[Callable[..., Machine]]:
    """Makes small machines, and switches them off at the end of the test."""
    made: list[Machine] = []

    def make(image: str | bytes | None = None, **options: object) -> Machine:
        made.append(Machine(image, **{"memory": "1M", **options}))
        return made[-1]

    yield make
    for vm in made:
        vm.close()


def save_of(vm: Machine) -> bytes:
    file = io.BytesIO()
    vm.save(file)
    return file.getvalue()


def cmos(vm: Machine, index: int) -> int:
    """A register of the real-time clock, read as a guest would."""
    ports = vm.board.slot.ports
    ports.write(0x70, index, 1)
    return ports.read(0x71, 1)


# ==== why a run ends ======================================================================


class TestEnds:
    def test_until_the_guest_has_said_something(self, machine) -> None:
        end = MemoryEnd()
        vm = machine("hello", serial=end)

        stopped = vm.run(emu.serial("of this"))

        assert (stopped.reason, stopped.condition) == (Reason.UNTIL, emu.serial("of this"))
        assert end.sent.endswith(b"of this")

    def test_what_was_said_before_does_not_count(self, machine) -> None:
        vm = machine("hello")
        vm.run(emu.serial("Hello"))

        assert vm.run([emu.serial("Hello"), emu.after("5ms")]).condition == emu.after("5ms")

    def test_until_so_much_time_has_passed(self, machine) -> None:
        vm = machine("hello")
        vm.run(emu.after("1ms"))
        before = vm.clock.now_ns

        vm.run(emu.after("2ms"))

        assert 0 <= vm.clock.now_ns - before - 2 * MS < 10_000, "the first block after it"

    def test_until_the_clock_is_there(self, machine) -> None:
        vm = machine("hello")

        stopped = vm.run(emu.clock(3 * MS))

        assert stopped.condition == emu.clock(3 * MS)
        assert 3 * MS <= vm.clock.now_ns < 3 * MS + 10_000

    @pytest.mark.parametrize("condition", [emu.after(0), emu.clock(0), emu.clock(2 * MS)])
    def test_what_is_met_already_runs_nothing(self, machine, condition) -> None:
        vm = machine("hello")
        vm.run(emu.clock(3 * MS))
        before = vm.digest()

        assert vm.run(condition).reason is Reason.UNTIL
        assert vm.digest() == before

    @pytest.mark.parametrize("reverse", [False, True])
    def test_of_several_conditions_the_first_that_is_met(self, machine, *, reverse: bool) -> None:
        conditions = [emu.serial("never said"), LONG, emu.serial("Save me"), emu.clock("900ms")]

        stopped = machine("hello").run(conditions[::-1] if reverse else conditions)

        assert stopped.condition == emu.serial("Save me")

    def test_stops_on_the_way_change_nothing(self, machine) -> None:
        straight, stopped = machine("primes"), machine("primes")
        straight.run(emu.clock(9 * MS))

        for ns in range(0, 9 * MS, 7_777):
            stopped.run(emu.clock(ns))
        stopped.run(emu.clock(9 * MS))

        assert stopped.digest() == straight.digest()

    def test_a_stop_that_was_asked_for(self, machine) -> None:
        """By a front, a callback, a signal handler: at the next sampling point."""
        vm = machine(SPIN)

        class Front:
            def attend(self, vm: Machine) -> None:
                vm.stop()

        stopped = vm.run(front=Front())

        assert stopped.reason is Reason.STOPPED
        assert vm.clock.now_ns < 10 * MS

    def test_a_stop_before_the_run_stops_nothing(self, machine) -> None:
        vm = machine(SPIN)
        vm.stop()

        assert vm.run(emu.after("1ms")).reason is Reason.UNTIL

    def test_halted_for_good(self, machine) -> None:
        """HLT with interrupts off, and no condition that time alone would meet."""
        vm = machine(HALT)

        assert vm.run().reason is Reason.HALTED
        assert vm.cpu.halted

    def test_halted_for_good_when_all_has_been_sent(self, machine) -> None:
        """What the guest gave to the serial port before it halted still goes out."""
        end = MemoryEnd()
        letters = b"".join(bytes([0xB0, letter, 0xEE]) for letter in b"goodbye")
        vm = machine(bytes.fromhex("baf803") + letters + HALT, serial=end)

        assert vm.run().reason is Reason.HALTED
        assert end.sent.endswith(b"goodbye")

    def test_time_passes_for_a_halted_guest_where_it_is_waited_for(self, machine) -> None:
        vm = machine(HALT)

        assert vm.run(emu.clock("1s")).reason is Reason.UNTIL
        assert vm.clock.now_ns == 1_000 * MS

    def test_halted_with_a_reset_to_come(self, machine) -> None:
        vm = machine(HALT)
        vm.inputs.schedule([Input(50 * MS, Source.RESET)])

        assert vm.run().reason is Reason.HALTED
        assert vm.clock.now_ns > 50 * MS, "it has started once more, and halted again"

    def test_idle(self, machine) -> None:
        """It waits for an interrupt that cannot come, as nobody can type."""
        vm = machine(DEAF_WAIT)

        assert vm.run().reason is Reason.IDLE

    def test_a_guest_that_waits_for_the_timer_is_not_idle(self, machine) -> None:
        assert machine(WAIT).run(emu.after("200ms")).reason is Reason.UNTIL

    @pytest.mark.parametrize("end", [PipeEnd, MemoryEnd])
    def test_somebody_may_still_type(self, machine, end: type[MemoryEnd | PipeEnd]) -> None:
        """While a guest that hears nothing but its serial port waits, so does the host."""
        typist = end()
        vm = machine(WAIT_FOR_A_KEY, serial=typist)
        vm.run([emu.clock(10 * MS)])
        timer = threading.Timer(0.1, typist.feed, [b"x"])
        timer.start()

        stopped = vm.run()

        timer.join()
        assert (stopped.reason, stopped.value) == (Reason.EXIT, 7)
        assert vm.clock.now_ns > 50 * MS, "time has passed here, too"

    @pytest.mark.parametrize("value", [0, 7, 255])
    def test_the_guest_ends_itself(self, machine, value: int) -> None:
        stopped = machine(leave(value)).run()

        assert (stopped.reason, stopped.value) == (Reason.EXIT, value)

    def test_it_may_go_on_all_the_same(self, machine) -> None:
        vm = machine(leave(1))
        vm.run()

        assert vm.run().reason is Reason.HALTED

    def test_a_triple_fault_resets(self, machine) -> None:
        end, notices = MemoryEnd(), []
        vm = machine(TRIPLE_FAULT, serial=end)
        vm.notice = notices.append

        stopped = vm.run(emu.after("20ms"))

        assert stopped.reason is Reason.UNTIL
        assert end.sent.count(ROM_LINE) >= 3
        assert notices[0].startswith("triple fault\nEIP=")

    def test_a_triple_fault_without_a_reboot(self, machine) -> None:
        vm = machine(TRIPLE_FAULT)
        vm.no_reboot = True

        assert vm.run(LONG).reason is Reason.SHUTDOWN
        assert vm.cpu.eip in range(0x7C00, 0x7C08)

    def test_a_condition_is_looked_at_before_the_guest_s_own_end(self, machine) -> None:
        """Both at one sampling point: the guest has ended, whatever was waited for."""
        assert machine(leave(3)).run([emu.serial("x"), LONG]).reason is Reason.EXIT


# ==== reset and boot order ================================================================


class TestLookingUp:
    """Between slices somebody may look at the machine, and what he sent is taken in."""

    def looks(self, vm: Machine) -> int:
        looks = 0

        class Onlooker:
            def attend(self, _vm: Machine) -> None:
                nonlocal looks
                looks += 1

        vm.run(emu.clock(100 * MS), front=Onlooker())
        return looks

    def test_often_while_somebody_may_type(self, machine) -> None:
        assert self.looks(machine(SPIN, serial=MemoryEnd())) == 100 // 2 + 1

    def test_less_often_where_nobody_can(self, machine) -> None:
        assert self.looks(machine(SPIN, serial="none")) == 100 // 20 + 1

    def test_less_often_when_all_has_been_typed(self, machine) -> None:
        end = MemoryEnd()
        end.at_end = True

        assert self.looks(machine(SPIN, serial=end)) == 100 // 20 + 1


class TestCtrlC:
    """It ends the run where the machine is whole, and KeyboardInterrupt says so."""

    def press(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def test_in_the_middle_of_a_block(self, machine) -> None:
        """The character arrives, and the machine goes on as if nothing had been."""
        ends = [MemoryEnd(), MemoryEnd()]
        write = ends[0].write

        def write_and_press(data: bytes) -> None:
            write(data)
            if ends[0].sent.endswith(b"Hello"):
                self.press()

        ends[0].write = write_and_press
        pressed, other = (machine("hello", serial=end) for end in ends)

        with pytest.raises(KeyboardInterrupt):
            pressed.run()
        for vm in (pressed, other):
            vm.run(emu.clock(100 * MS))

        assert ends[0].sent.startswith(ROM_LINE)
        assert ends[0].sent == ends[1].sent
        assert pressed.digest() == other.digest()

    def test_between_two_slices(self, machine) -> None:
        """Whoever sits before the machine does what he is at, and the run ends there."""
        pressed_ns = []

        class Onlooker:
            def attend(_self, vm: Machine) -> None:  # noqa: N805 - the test is self
                if vm.clock.now_ns >= 10 * MS:
                    self.press()
                    pressed_ns.append(vm.clock.now_ns)

        vm = machine(SPIN)

        with pytest.raises(KeyboardInterrupt):
            vm.run(front=Onlooker())
        assert pressed_ns == [vm.clock.now_ns]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class TestReset:
    def test_the_button(self, machine) -> None:
        """The processor begins again; RAM and the clock's memory are as they were."""
        vm = machine("hello")
        vm.run(emu.clock(10 * MS))
        vm.memory.write(0x9000, b"still here")
        year, now_ns = cmos(vm, 9), vm.clock.now_ns

        vm.reset()

        assert (vm.cpu.cs.selector, vm.cpu.eip, vm.cpu.cr0) == (0xF000, 0xFFF0, 0x6000_0010)
        assert vm.memory[0x9000:0x900A] == b"still here"
        assert (cmos(vm, 9), vm.clock.now_ns) == (year, now_ns)

    def test_the_guest_starts_once_more(self, machine) -> None:
        end = MemoryEnd()
        vm = machine("hello", serial=end)
        vm.run(emu.serial("Hello"))

        vm.reset()
        vm.run(emu.serial("Hello"))

        assert end.sent.count(ROM_LINE) == 2

    def test_the_ROM_s_copy_is_made_anew(self, machine) -> None:
        vm = machine("hello")
        before = vm.memory[0xF_F000:0x10_0000]
        vm.memory.write(0xF_F000, bytes(4096))

        vm.reset()

        assert vm.memory[0xF_F000:0x10_0000] == before

    def test_by_port_92(self, machine) -> None:
        """A rise of bit 0; RESET clears it."""
        end = MemoryEnd()
        vm = machine(HOT_RESET, serial=end)

        assert vm.run().reason is Reason.HALTED
        assert end.sent.count(ROM_LINE) == 2
        assert not vm.board.slot.ports.read(0x92, 1) & 1

    def test_a_machine_saved_in_the_middle_of_a_reset_goes_on(self, machine) -> None:
        """Whatever moment: the reset has happened or is still to come."""
        straight = machine(HOT_RESET)
        straight.run(emu.clock(12 * MS))

        vm = machine(HOT_RESET)
        for ns in range(4_000_000, 4_700_000, 5_000):
            vm.run(emu.clock(ns))
            vm.load(io.BytesIO(save_of(vm)))
        vm.run(emu.clock(12 * MS))

        assert vm.digest() == straight.digest()

    def test_cards_are_reset_in_the_order_they_were_plugged_in(self, machine) -> None:
        seen: list[str] = []
        cards = [
            lambda slot, name=name: slot.register_reset(lambda: seen.append(name)) for name in "ab"
        ]
        vm = machine(HALT, cards=cards)
        seen.clear()

        vm.reset()

        assert seen == ["a", "b"]


class TestBootOrder:
    @pytest.mark.parametrize(
        ("order", "first_two", "third"),
        [
            ("c", 0x02, 0x00),
            ("cda", 0x32, 0x10),
            ("adc", 0x31, 0x20),
            ("n", 0x04, 0x00),
            ("", 0, 0),
        ],
    )
    def test_it_is_where_firmware_looks_for_it(
        self, machine, order: str, first_two: int, third: int
    ) -> None:
        """CMOS 3Dh and 38h."""
        vm = machine(HALT)

        vm.boot_set(order)

        assert (cmos(vm, 0x3D), cmos(vm, 0x38)) == (first_two, third)
        assert vm.description.boot == order

    def test_at_power_on(self, machine) -> None:
        vm = machine(HALT, boot="dc")

        assert (cmos(vm, 0x3D), vm.description.boot) == (0x23, "dc")

    @pytest.mark.parametrize("order", ["x", "cc", "acdn", "C", "ä", "c d"])
    def test_an_order_that_is_none_is_refused(self, machine, order: str) -> None:
        vm = machine(HALT, boot="c")

        with pytest.raises(ConfigError, match="boot order"):
            vm.boot_set(order)

        assert (cmos(vm, 0x3D), vm.description.boot) == (0x02, "c")
        with pytest.raises(ConfigError, match="boot order"):
            Machine(HALT, memory="1M", boot=order)

    def test_a_card_may_ask_for_it(self, machine) -> None:
        seen: list[str] = []
        vm = machine(HALT, cards=[lambda slot: slot.register_boot_set(seen.append)])

        vm.boot_set("ca")

        assert seen == ["ca"]

    def test_it_is_saved(self, machine) -> None:
        vm = machine(HALT, boot="c")
        vm.boot_set("da")

        other = emu.load(io.BytesIO(save_of(vm)))

        assert (cmos(other, 0x3D), other.description.boot) == (0x13, "da")
        other.close()


# ==== making one ==========================================================================


def port_taken(slot: Slot) -> None:
    slot.register_ioport_read(0x60, 8, 1, lambda _: 0)


def irq_taken(slot: Slot) -> None:
    slot.irq(4)


def irq_of_the_cascade(slot: Slot) -> None:
    slot.irq(2)


def name_taken(slot: Slot) -> None:
    slot.register_savevm("serial", 0, 1, lambda _f: None, lambda _f, _version: None)


class TestMaking:
    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"memory": "512K"}, "whole MiB"),
            ({"memory": "1536K"}, "whole MiB"),
            ({"memory": "0"}, "0 bytes"),
            ({"memory": "3G"}, "up to 2 GiB"),
            ({"memory": "1T"}, "expected a size such as 16M"),
            ({"memory": ""}, "expected a size such as 16M"),
            ({"memory": "9" * 100}, "expected a size such as 16M|up to 2 GiB"),
            ({"memory": 12_345}, "12345 bytes"),
            ({"memory": -MIB}, "-1048576 bytes"),
            ({"bios": b""}, "a ROM of 0 bytes"),
            ({"bios": bytes(4095)}, "a ROM of 4095 bytes"),
            ({"bios": bytes(16 * MIB + 4096)}, "16 MiB at most"),
            ({"image": bytes(512 * 1024 + 1)}, "524288 at the most"),
            ({"board": "pc"}, "no board 'pc': there is isapc"),
            ({"cpu": "z80"}, "no processor 'z80': there are .*pentium3"),
            ({"engine": "steam"}, "no engine 'steam': there are auto, native, reference"),
            ({"boot": "z"}, "no device 'z'"),
            ({"serial": "parallel"}, "no such serial end: 'parallel'"),
            ({"debugcon": "tcp:nowhere"}, "no such serial end"),
            ({"rtc_base": -1}, "rtc_base -1"),
            ({"rtc_base": 1 << 50}, "expected a time from 1970"),
            ({"cards": [port_taken]}, "port 0x60: reads of 1 bytes are answered already"),
            ({"cards": [irq_taken]}, "IRQ 4 is driven by another card already"),
            ({"cards": [irq_of_the_cascade]}, "IRQ 2 is driven by another card"),
            ({"cards": [name_taken]}, "section 'serial/0' is registered twice"),
            ({"cards": [plug_in_kettle, plug_in_kettle]}, "already"),
        ],
    )
    def test_a_machine_that_cannot_be(self, options: dict[str, object], problem: str) -> None:
        with pytest.raises(ConfigError, match=problem) as refused:
            Machine(**{"image": HALT, "memory": "1M", **options})

        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("option", ["image", "bios"])
    def test_a_file_that_is_not_there(self, tmp_path: Path, option: str) -> None:
        with pytest.raises(HostError, match=r"none\.bin"):
            Machine(memory="1M", **{option: tmp_path / "none.bin"})

    @pytest.mark.parametrize(
        ("memory", "expected"),
        [("1M", 1), ("2", 2), (3 * MIB, 3), ("4096K", 4), ("1G", 1024), ("2g", 2048)],
    )
    def test_sizes_of_memory(self, memory: int | str, expected: int) -> None:
        with Machine(HALT, memory=memory) as vm:
            assert vm.description.memory_bytes == expected * MIB

    @pytest.mark.parametrize("base", [datetime(2024, 2, 29, tzinfo=UTC), 1_709_164_800])
    def test_the_date_at_power_on(self, machine, base: datetime | int) -> None:
        vm = machine(HALT, rtc_base=base)

        assert [cmos(vm, index) for index in (7, 8, 9, 0x32)] == [0x29, 0x02, 0x24, 0x20]

    def test_without_a_guest_the_ROM_says_so(self, machine) -> None:
        end = MemoryEnd()
        machine(None, serial=end).run(emu.after("20ms"))

        assert b"no bootable device" in end.sent

    @pytest.mark.parametrize("cpu", ["486", "pentium", "pentium3", "coreduo"])
    def test_every_processor_starts(self, machine, cpu: str) -> None:
        end = MemoryEnd()
        vm = machine("hello", cpu=cpu, serial=end)

        assert vm.run([emu.serial("Hello"), LONG]).condition == emu.serial("Hello")

    def test_a_guest_by_its_path(self, machine, tmp_path: Path) -> None:
        (tmp_path / "guest.bin").write_bytes(leave(9))

        assert machine(tmp_path / "guest.bin").run().value == 9


# ==== looking and touching ================================================================


class TestMemory:
    def test_slices_and_bytes(self, machine) -> None:
        vm = machine(HALT)
        vm.memory.write(0x5000, b"abc")

        assert vm.memory[0x5000:0x5003] == b"abc"
        assert vm.memory[0x5001] == ord("b")
        assert vm.memory[0x5003:0x5003] == b""
        assert vm.memory[0x5003:0x5000] == b""

    @pytest.mark.parametrize("place", [slice(None, 4), slice(4, None), slice(0, 4, 2)])
    def test_both_ends_of_a_slice_are_needed(self, machine, place: slice) -> None:
        with pytest.raises(ValueError, match="a start, a stop and no step"):
            machine(HALT).memory[place]

    def test_what_is_not_there_reads_all_ones(self, machine) -> None:
        vm = machine(HALT)
        vm.memory.write(MIB - 2, b"\x11\x22\x33\x44")

        assert vm.memory[MIB - 2 : MIB + 2] == b"\x11\x22\xff\xff"
        assert vm.memory[0xFEE0_0030] == 0xFF

    def test_the_ROM_is_at_the_end_of_4_GiB_and_below_1_MiB(self, machine) -> None:
        vm = machine(HALT)
        rom = vm.memory[(1 << 32) - 0x1_0000 : 1 << 32]

        vm.memory.write((1 << 32) - 16, bytes(16))

        assert vm.memory[(1 << 32) - 0x1_0000 : 1 << 32] == rom, "and cannot be written"
        assert vm.memory[0xF_0000:0x10_0000] == rom
        assert vm.memory[(1 << 32) - 1 : (1 << 32) + 1] == rom[-1:] + b"\xff"

    def test_code_that_is_written_over_is_the_new_code(self, machine) -> None:
        vm = machine(SPIN)
        vm.run(emu.clock(10 * MS))
        assert vm.cpu.eip == 0x7C00

        vm.memory.write(0x7C00, leave(5))

        assert vm.run(LONG).value == 5

    def test_what_is_written_is_in_the_digest_and_the_save(self, machine) -> None:
        vm = machine(HALT)
        before = vm.digest()

        vm.memory.write(0x5000, b"x")

        assert vm.digest() != before
        with emu.load(io.BytesIO(save_of(vm))) as other:
            assert other.memory[0x5000:0x5001] == b"x"


class TestProcessor:
    def test_registers_by_name(self, machine) -> None:
        vm = machine(
            bytes.fromhex("b83412 8ed8 66bb78563412") + HALT
        )  # mov ax; mov ds, ax; mov ebx
        vm.run()

        cpu = vm.cpu
        assert (cpu.eax & 0xFFFF, cpu.ebx) == (0x1234, 0x1234_5678)
        assert (cpu.ds.selector, cpu.ds.base) == (0x1234, 0x1_2340)
        assert cpu.eip == 0x7C00 + 13
        assert cpu.halted
        assert not cpu.eflags & 0x200

    def test_it_is_a_copy(self, machine) -> None:
        vm = machine(HALT)
        before = vm.digest()

        vm.cpu.eax = 5

        assert vm.digest() == before


class TestSerialPort:
    def test_what_is_sent_before_the_machine_runs_waits(self, machine) -> None:
        end = MemoryEnd()
        vm = machine("echo", serial=end)
        vm.run(emu.serial("> "))

        vm.serial.send("abc\r")

        assert b"abc" not in end.sent
        vm.run(emu.serial("3: cba"))

    def test_as_much_as_can_wait_arrives_in_order(self, machine) -> None:
        """64 KiB, and none of it is lost; here the guest has had enough after 2,048."""
        guest = bytes.fromhex(
            "b80020 8ec0 31ff"  # mov ax, 2000h; mov es, ax; xor di, di
            "bafd03 ec a801 74f8"  # again: mov dx, 3FDh; in al, dx; test al, 1; jz again
            "baf803 ec 268805 47"  # mov dx, 3F8h; in al, dx; mov es:[di], al; inc di
            "81ff0008 75ea"  # cmp di, 2048; jne again
        )
        vm = machine(guest + HALT)
        text = random.Random(1).randbytes(65_536)
        vm.run(emu.clock(10 * MS))

        vm.serial.send(text)
        assert vm.run().reason is Reason.HALTED

        assert vm.memory[0x2_0000:0x2_0800] == text[:2048]
        cable, port = vm.board.cable, vm.board.serial
        assert port.state.receiver + cable.state.pending == text[2048:]

    @pytest.mark.parametrize("size", [65_537, 200_000])
    def test_more_is_refused_whole(self, machine, size: int) -> None:
        vm = machine("echo")
        before = vm.digest()

        with pytest.raises(HostError, match="room for 65536"):
            vm.serial.send(bytes(size))

        assert vm.digest() == before
        vm.serial.send(bytes(65_000))
        with pytest.raises(HostError, match="room for 536"):
            vm.serial.send(bytes(537))

    def test_where_too_much_was_scheduled_the_run_says_so(self, machine) -> None:
        vm = machine("echo")
        vm.inputs.schedule([Input(MS, Source.SERIAL, bytes(65_536)) for _ in range(2)])

        with pytest.raises(HostError, match="more was sent than can wait"):
            vm.run(emu.after("10ms"))

        assert vm.run(emu.after("10ms")).reason is Reason.UNTIL

    def test_a_guest_that_does_not_look_for_room_loses_nothing(self, machine) -> None:
        end = MemoryEnd()
        vm = machine(SAY_X, serial=end)
        vm.run(emu.after("10ms"))
        before = len(end.sent)

        vm.run(emu.after("100ms"))

        assert set(end.sent[before:]) == {ord("x")}
        assert len(end.sent) - before == pytest.approx(1152, abs=2), "at 115,200 baud"

    def test_the_guest_s_words_survive_a_restore_in_mid_sentence(self, machine) -> None:
        end, rest = MemoryEnd(), MemoryEnd()
        vm = machine("hello", serial=end)
        vm.run(emu.serial("middle of this"))

        with emu.load(io.BytesIO(save_of(vm)), serial=rest) as other:
            other.run(emu.after("20ms"))
        vm.run(emu.after("20ms"))

        assert end.sent.endswith(b"middle of this" + rest.sent)


# ==== saving and loading ==================================================================


class TestSaving:
    def test_to_a_file_and_back(self, machine, tmp_path: Path) -> None:
        vm = machine("primes")
        vm.run(emu.clock(20 * MS))
        vm.save(tmp_path / "a.emu")

        with emu.load(tmp_path / "a.emu") as other:
            assert other.digest() == vm.digest()
            assert other.description == vm.description

    def test_to_a_pipe_and_from_it(self, machine) -> None:
        """Front to back: nobody seeks."""
        vm = machine("primes")
        vm.run(emu.clock(20 * MS))
        ours, theirs = os.pipe()

        def write() -> None:
            with os.fdopen(theirs, "wb") as pipe:
                vm.save(pipe)

        writer = threading.Thread(target=write)
        writer.start()
        with os.fdopen(ours, "rb") as pipe, emu.load(pipe) as other:
            writer.join()
            assert other.digest() == vm.digest()

    def test_saving_changes_nothing(self, machine) -> None:
        vm = machine("primes")
        vm.run(emu.clock(20 * MS))
        before = vm.digest()

        assert save_of(vm) == save_of(vm)
        assert vm.digest() == before

    def test_the_digest_is_that_of_its_save(self, machine, tmp_path: Path) -> None:
        vm = machine("echo")
        for ns in range(0, 40 * MS, 3_333_333):
            vm.run(emu.clock(ns))
            vm.save(tmp_path / "a.emu")
            assert saves.verify(str(tmp_path / "a.emu")) == vm.digest()
            assert saves.inspect(str(tmp_path / "a.emu")).digest == vm.digest()

    def test_a_dialect_that_nobody_speaks(self, machine) -> None:
        with pytest.raises(ValueError, match="latin"):
            machine(HALT).save(io.BytesIO(), dialect="latin")

    def test_to_where_nothing_can_be_written(self, machine, tmp_path: Path) -> None:
        with pytest.raises(HostError, match="No such file"):
            machine(HALT).save(tmp_path / "no folder" / "a.emu")

    def test_a_save_that_fails_leaves_the_old_one(self, machine, tmp_path: Path) -> None:
        class Broken:
            def __init__(self, slot: Slot) -> None:
                slot.register_savevm("user/broken", 0, 1, self.save, lambda _f, _version: None)

            def save(self, _f: Stream) -> None:
                raise OverflowError

        file = tmp_path / "a.emu"
        file.write_bytes(b"the old one")

        with pytest.raises(OverflowError):
            machine(HALT, cards=[Broken]).save(file)

        assert file.read_bytes() == b"the old one"
        assert [each.name for each in tmp_path.iterdir()] == ["a.emu"]


class TestLoading:
    def test_into_the_same_machine_again_and_again(self, machine) -> None:
        """Experiments that begin at one moment."""
        vm = machine("primes")
        vm.run(emu.clock(20 * MS))
        saved, before = save_of(vm), vm.digest()
        ends = set()

        for _ in range(30):
            vm.load(io.BytesIO(saved))
            assert vm.digest() == before
            vm.run(emu.clock(25 * MS))
            ends.add(vm.digest())

        assert len(ends) == 1

    def test_code_from_before_the_load_is_forgotten(self, machine) -> None:
        vm = machine(SPIN)
        vm.run(emu.clock(10 * MS))
        spinning = save_of(vm)
        vm.memory.write(0x7C00, leave(5))
        leaving = save_of(vm)

        vm.load(io.BytesIO(spinning))
        assert vm.run(emu.after("1ms")).reason is Reason.UNTIL
        vm.load(io.BytesIO(leaving))
        assert vm.run(LONG).value == 5

    def test_of_another_guest_at_another_time(self, machine) -> None:
        """It becomes that machine, as far back as it may be."""
        early, vm = machine("echo"), machine("primes")
        early.run(emu.clock(9 * MS))
        vm.run(emu.clock(30 * MS))

        vm.load(io.BytesIO(save_of(early)))

        assert vm.digest() == early.digest()
        vm.run(emu.clock(40 * MS))
        early.run(emu.clock(40 * MS))
        assert vm.digest() == early.digest()

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"memory": "2M"}, "memory_bytes"),
            ({"cpu": "486"}, "cpu"),
            ({"bios": bytes(4096)}, "rom_bytes"),
            ({"rtc_base": 5}, "rtc_base_s"),
        ],
    )
    def test_another_machine_is_refused_by_the_field_that_differs(
        self, machine, options: dict[str, object], field: str
    ) -> None:
        vm = machine("echo")
        vm.run(emu.clock(9 * MS))
        before = vm.digest()

        with pytest.raises(StreamError, match="saved on another machine") as refused:
            vm.load(io.BytesIO(save_of(machine(HALT, **options))))

        assert (refused.value.section, refused.value.field) == ("emu/machine/0", field)
        assert vm.digest() == before

    def test_another_boot_order_is_no_other_machine(self, machine) -> None:
        vm = machine(HALT)

        vm.load(io.BytesIO(save_of(machine(HALT, boot="d"))))

        assert vm.description.boot == "d"

    def test_a_file_that_is_not_there(self, machine, tmp_path: Path) -> None:
        for load in (emu.load, machine(HALT).load):
            with pytest.raises(HostError, match="No such file"):
                load(tmp_path / "none.emu")

    @pytest.mark.parametrize("data", [b"", b"\x7fELF", b"QEVM", bytes(1000)])
    def test_a_file_that_is_no_save(self, machine, data: bytes) -> None:
        for load in (emu.load, machine(HALT).load):
            with pytest.raises(StreamError):
                load(io.BytesIO(data))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("board", "pc"),
            ("revision", 2),
            ("cpu", "z80"),
            ("parts", "i8259,kettle"),
            ("parts", "i8259,i8259"),
            ("block_ns", 0),
            ("block_ns", 1 << 30),
            ("port_ns", 1 << 30),
            ("rdtsc_ns", 1 << 30),
            ("memory_bytes", 0),
            ("memory_bytes", MIB + 4096),
            ("memory_bytes", 0xFFF0_0000),
            ("rom_bytes", 0),
            ("rom_bytes", 100),
            ("rom_bytes", 0xFFFF_F000),
            ("rtc_base_s", (1 << 40) - 1),
        ],
    )
    def test_a_machine_that_cannot_be_built_here(self, machine, field: str, value: object) -> None:
        vm = machine(HALT)
        setattr(vm.description, field, value)
        saved = save_of(vm)

        with pytest.raises(StreamError) as refused:
            emu.load(io.BytesIO(saved))

        assert refused.value.section == "emu/machine/0"
        assert "\n" not in str(refused.value)

    def test_a_time_that_does_not_fit_is_refused_by_its_field(self, machine) -> None:
        """64 bits on the wire hold more than the nameplate does."""
        base = 0x1234_5678
        vm = machine(HALT, rtc_base=base)
        saved = save_of(vm).replace(base.to_bytes(8, "big"), (1 << 50).to_bytes(8, "big"))

        for load in (emu.load, vm.load):
            with pytest.raises(StreamError, match="does not fit in 40 bits") as refused:
                load(io.BytesIO(saved))
            assert (refused.value.section, refused.value.field) == ("emu/machine/0", "rtc_base_s")

    def test_a_machine_with_fewer_parts(self, machine) -> None:
        """A save plugs the parts that it names, and no others."""
        vm = machine(HALT)
        kept = [name for name in vm.description.parts.split(",") if name != "debug_exit"]
        vm.description.parts = ",".join(kept)

        with emu.load(io.BytesIO(save_of(vm))) as other:
            assert other.description.parts == ",".join(kept)
            assert other.board.slot.ports.read(0xF4, 1) == 0xFF


class TestUsersCards:
    def test_the_card_has_to_be_brought(self, machine) -> None:
        vm = machine(HALT, cards=[plug_in_kettle])
        vm.board.slot.ports.write(0x301, 77, 1)
        saved = save_of(vm)

        with pytest.raises(StreamError) as refused:
            emu.load(io.BytesIO(saved))
        assert refused.value.section == "user/kettle/0"
        with emu.load(io.BytesIO(saved), cards=[plug_in_kettle]) as other:
            assert other.board.slot.ports.read(0x301, 1) == 77
            assert other.digest() == vm.digest()

    def test_a_card_that_was_not_there_is_missing(self, machine) -> None:
        saved = save_of(machine(HALT))

        with pytest.raises(StreamError, match="the section is missing") as refused:
            emu.load(io.BytesIO(saved), cards=[plug_in_kettle])
        assert refused.value.section == "user/kettle/0"

    def test_a_load_that_is_refused_gives_back_what_the_card_has_done_to_others(
        self, machine
    ) -> None:
        """Its function for loading acts as it reads; here it raises its interrupt."""
        other, vm = (machine(HALT, cards=[plug_in_kettle]) for _ in range(2))
        for each in (other, vm):
            each.run()
        ports = other.board.slot.ports
        ports.write(0x301, 1, 1)
        ports.write(0x300, 0, 1)
        other.run(emu.after("2ms"))
        assert other.board.slot.irqs[10].level
        before = vm.digest()

        with pytest.raises(StreamError):
            vm.load(io.BytesIO(save_of(other)[:-1]))

        assert vm.digest() == before, "the interrupt controller has not heard of it"
        assert not vm.board.slot.irqs[10].level


# ==== several machines ====================================================================


class TestSeveral:
    def test_two_at_once_do_not_know_of_each_other(self) -> None:
        """They run in turns, each in its own time."""
        alone = [PRIMES.start("auto"), ECHO.start("auto")]
        for running in alone:
            running.run_to(50 * MS)

        together = [PRIMES.start("auto"), ECHO.start("auto")]
        for ns in range(0, 50 * MS, 500_000):
            for running in together:
                running.run_to(ns)

        assert [running.run_to(50 * MS) for running in together] == [r.look() for r in alone]
        for running in (*alone, *together):
            running.close()

    @pytest.mark.skipif(native.UNAVAILABLE is not None, reason="no native engine")
    def test_nor_do_two_engines(self, machine) -> None:
        one, other = machine("primes", engine="native"), machine("primes", engine="reference")
        for ns in range(0, 12 * MS, MS):
            one.run(emu.clock(ns))
            other.run(emu.clock(ns))

        assert one.digest() == other.digest()


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident_bytes() -> int:
    """What this process has of the host's memory, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
class TestGivenBack:
    def make_and_close(self, **options: object) -> None:
        with Machine("hello", memory="16M", **options) as vm:
            vm.memory.write(2 * MIB, bytes([1]) * (8 * MIB))
            vm.run(emu.after("1ms"))

    def repeat(self, times: int, doing: Callable[[], object]) -> tuple[int, int]:
        """How many descriptors and bytes are gone after doing it so many times."""
        for _ in range(3):
            doing()
        gc.collect()
        before = open_descriptors(), resident_bytes()
        for _ in range(times):
            doing()
        gc.collect()
        return open_descriptors() - before[0], resident_bytes() - before[1]

    @pytest.mark.parametrize(("engine", "times"), [("auto", 200), ("reference", 30)])
    def test_by_a_machine_that_is_closed(self, engine: str, times: int) -> None:
        descriptors, size = self.repeat(times, lambda: self.make_and_close(engine=engine))

        assert descriptors == 0
        assert size < 24 * MIB, "three machines' worth, of so many"

    def test_by_a_machine_that_could_not_be_made(self) -> None:
        def refused() -> None:
            with pytest.raises(ConfigError):
                self.make_and_close(cards=[port_taken])

        descriptors, size = self.repeat(60, refused)

        assert descriptors == 0
        assert size < 24 * MIB

    def test_by_loads_into_one_machine(self, machine) -> None:
        vm = machine("hello", memory="16M")
        vm.memory.write(2 * MIB, bytes(range(256)) * (4 * MIB // 256))
        saved = save_of(vm)

        descriptors, size = self.repeat(60, lambda: vm.load(io.BytesIO(saved)))

        assert descriptors == 0
        assert size < 24 * MIB

    def test_by_loads_that_are_refused(self, machine) -> None:
        vm = machine("hello", memory="16M")
        vm.memory.write(2 * MIB, bytes(range(256)) * (4 * MIB // 256))
        saved = save_of(vm)

        def refused() -> None:
            for load in (vm.load, emu.load):
                with pytest.raises(StreamError):
                    load(io.BytesIO(saved[:-1]))

        descriptors, size = self.repeat(40, refused)

        assert descriptors == 0
        assert size < 24 * MIB

    def test_a_machine_that_is_closed_twice(self) -> None:
        vm = Machine(HALT, memory="1M")
        vm.close()
        vm.close()
