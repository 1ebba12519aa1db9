"""What a card raises comes out of `run`, with its traceback, and the machine can go on.

Ctrl-C is held until the machine is whole.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback

import pytest
from rig import CODE, ENGINES, Rig, protected_mode

import emu
from emu.cpu import instructions
from emu.cpu.delivery import Event
from emu.cpu.processor import Pause
from emu.isa import Slot

READ, WRITE = 0x60, 0x61


class Broken(Exception):  # noqa: N818 - it says what the card is
    pass


def broken(*_: object) -> int:
    raise Broken("in the card")


class TestExceptions:
    def test_from_a_write(self, rig: Rig) -> None:
        """The traceback leads to the handler; the block has been run to its end."""
        rig.load(
            bytes.fromhex(
                "e6 61"  # out 0x61, al
                "40"  # inc ax
                "eb 00"  # jmp n
                "43"  # n: inc bx
                "f4"  # hlt
            )
        )
        rig.ports.on_write[WRITE] = broken

        with pytest.raises(Broken, match="in the card") as caught:
            rig.run()

        assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "broken"
        assert (rig.state.eax, rig.state.ebx) == (1, 0)
        assert rig.run() is Pause.HALTED
        assert rig.state.ebx == 1

    def test_from_a_read(self, rig: Rig) -> None:
        """The guest has read 0."""
        rig.load(
            bytes.fromhex(
                "e4 60"  # in al, 0x60
                "f4"  # hlt
            )
        )
        rig.ports.on_read[READ] = broken

        with pytest.raises(Broken):
            rig.run()

        assert rig.state.eax == 0

    def test_a_read_of_no_number(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "e4 60"  # in al, 0x60
                "f4"  # hlt
            )
        )
        rig.ports.on_read[READ] = lambda: None  # type: ignore[assignment, return-value]

        with pytest.raises(TypeError, match="NoneType"):
            rig.run()

    def test_a_HLT_behind_it_is_not_forgotten(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "e6 61"  # out 0x61, al
                "f4"  # hlt
                "40"  # inc ax
                "f4"  # hlt
            )
        )
        rig.ports.on_write[WRITE] = broken

        with pytest.raises(Broken):
            rig.run()

        assert rig.run() is Pause.HALTED
        assert rig.state.eax == 0

    def test_the_first_of_two(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "e4 60"  # in al, 0x60
                "e6 61"  # out 0x61, al
                "f4"  # hlt
            )
        )
        rig.ports.on_read[READ] = broken
        rig.ports.on_write[WRITE] = lambda _value: 1 // 0

        with pytest.raises(Broken):
            rig.run()

    def test_from_an_alarm(self, rig: Rig) -> None:
        """Which a port access fires, as it is the time."""
        alarm = rig.clock.alarm("test", 0, "alarm", broken)
        alarm.arm(1)
        rig.load(
            bytes.fromhex(
                "e6 60"  # out 0x60, al
                "f4"  # hlt
            )
        )

        with pytest.raises(Broken):
            rig.run()

        assert rig.run() is Pause.HALTED

    @pytest.mark.parametrize(
        "code",
        [
            bytes.fromhex(
                "0f 0b"  # ud2
            ),
            bytes.fromhex(
                "cd 40"  # int 0x40
            ),
            bytes.fromhex(
                "fb"  # sti
                "90"  # nop
                "90"  # nop
                "f4"  # hlt
            ),
        ],
        ids=["invalid", "INT", "interrupt"],
    )
    def test_from_who_looks_on(self, rig: Rig, code: bytes) -> None:
        rig.load(code, protected_mode())
        rig.interrupt(0x41)

        def look(_event: Event) -> None:
            broken()

        rig.processor.watch_deliveries(look)

        with pytest.raises(Broken):
            rig.run()
        assert rig.state.eip != CODE
        assert len(rig.ports.written) == 0

    @pytest.mark.parametrize(
        "code",
        [
            bytes.fromhex(
                "0f 34"  # sysenter
            ),
            bytes.fromhex(
                "0f 05"  # syscall
            ),
        ],
        ids=["SYSENTER", "SYSCALL"],
    )
    def test_from_our_own_mistakes(
        self, rig: Rig, code: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Wherever they are, none is lost in C."""
        rig.load(code, protected_mode())
        monkeypatch.setattr(instructions, "_prefixes", broken)

        with pytest.raises(Broken):
            rig.run()

    @pytest.mark.parametrize("engine", ENGINES)
    def test_on_the_machine(self, engine: str) -> None:
        """A card of the user's raises once; the machine goes on, and its clock with it."""
        errors = [Broken("once")]

        def plug_in(slot: Slot) -> None:
            def write(_offset: int, _value: int) -> None:
                if errors:
                    raise errors.pop()

            slot.register_ports(0x300, 1, lambda _offset: 0, write)

        code = bytes.fromhex(
            "ba 00 03"  # mov dx, 0x300
            "ee"  # out dx, al
            "eb 00"  # jmp n
            "b0 01"  # n: mov al, 1
            "ee"  # out dx, al
            "e6 f4"  # out 0xf4, al
            "f4"  # hlt
        )
        rom = code.ljust(0xFFF0, b"\0") + bytes.fromhex("ea 00 00 00 f0").ljust(16, b"\0")
        with emu.Machine(bios=rom, memory="1M", engine=engine, cards=[plug_in]) as vm:
            with pytest.raises(Broken, match="once"):
                vm.run()
            raised_ns = vm.clock.now_ns

            stopped = vm.run()

            assert stopped.reason is emu.Reason.EXIT
            assert vm.clock.now_ns >= raised_ns


class TestCtrlC:
    """SIGINT: one stops the run at a block's start, where nothing is half done; two do not wait."""

    def press(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def test_raised_by_a_card_itself(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "e6 61"  # out 0x61, al
                "f4"  # hlt
            )
        )

        def interrupted(_value: int) -> None:
            raise KeyboardInterrupt

        rig.ports.on_write[WRITE] = interrupted

        with pytest.raises(KeyboardInterrupt):
            rig.run()
        assert rig.run() is Pause.HALTED

    def test_in_a_handler(self, rig: Rig) -> None:
        """The handler ends, and its value arrives."""
        rig.load(
            bytes.fromhex(
                "e4 60"  # in al, 0x60
                "eb 00"  # jmp n
                "43"  # n: inc bx
                "f4"  # hlt
            )
        )

        def read() -> int:
            self.press()
            return sum([0x2A])

        rig.ports.on_read[READ] = read

        with pytest.raises(KeyboardInterrupt):
            rig.run()
        assert (rig.state.eax, rig.state.ebx) == (0x2A, 0)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert rig.run() is Pause.HALTED

    def test_twice(self, rig: Rig) -> None:
        """A card that hangs is left where it is."""
        rig.load(
            bytes.fromhex(
                "e4 60"  # in al, 0x60
                "f4"  # hlt
            )
        )
        reached = []

        def read() -> int:
            self.press()
            sum([0])
            reached.append("the first")
            self.press()
            sum([0])
            reached.append("the second")
            return 1

        rig.ports.on_read[READ] = read

        with pytest.raises(KeyboardInterrupt):
            rig.run()
        assert reached == ["the first"]

    def test_a_handler_of_the_user_s_own(self, rig: Rig) -> None:
        """It is left in its place."""
        pressed = []
        before = signal.signal(signal.SIGINT, lambda *_: pressed.append(1))
        rig.load(
            bytes.fromhex(
                "e4 60"  # in al, 0x60
                "f4"  # hlt
            )
        )
        rig.ports.on_read[READ] = lambda: self.press() or 1

        try:
            assert rig.run() is Pause.HALTED
        finally:
            signal.signal(signal.SIGINT, before)
        assert pressed == [1]

    def test_in_another_thread(self, rig: Rig) -> None:
        """Signals are the main thread's; a machine runs in any."""
        rig.load(
            bytes.fromhex(
                "b0 07"  # mov al, 7
                "e6 80"  # out 0x80, al
                "f4"  # hlt
            )
        )
        thread = threading.Thread(target=rig.run)

        thread.start()
        thread.join()

        assert rig.reported == [7]
