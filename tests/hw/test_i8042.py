"""The 8042 does what IBM's manuals say of it.

The controller is driven by its two ports, RESET, and test leads in its sockets that send a byte when
its clock lets them; it is watched at IRQ 1, IRQ 12, A20, the reset and the two clocks.

"Type 1" is IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device
Controller"; "AT" is the PC/AT Technical Reference, "Keyboard Controller".
"""

from __future__ import annotations

import pytest

from bench import Bench
from emu import attrs
from emu.errors import StreamError
from emu.hw import i8042
from emu.hw.i8042 import (
    CB_DISABLE,
    CB_DISABLE_AUX,
    CB_INT,
    CB_INT2,
    CB_SYS,
    CB_TRANSLATE,
    I8042,
    STATUS_AUX,
    STATUS_COMMAND,
    STATUS_OBF,
    STATUS_SYS,
    STATUS_TIMEOUT,
    STATUS_UNLOCKED,
    Command,
)
from emu.irq import Line
from emu.isa import Slot
from emu.keys import CODES

DATA, COMMAND = 0x60, 0x64
BOTH_ON = CB_INT | CB_INT2


@attrs.define(eq=False)
class Desk:
    """A controller with test leads in its sockets."""

    mouse_is_there: bool = True
    reset_is_wired: bool = False  # to the slot's RESET, as on a whole machine
    resets: int = 0
    to_keyboard: list[int] = attrs.field(factory=list)
    to_mouse: list[int] = attrs.field(factory=list)
    irq1: list[bool] = attrs.field(factory=list)  # every level it was driven to
    bench: Bench[I8042] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.bench = Bench(self.plug_in)

    def plug_in(self, slot: Slot) -> I8042:
        def reset() -> None:
            self.resets += 1
            if self.reset_is_wired:
                slot.reset()

        slot.irqs[1].connect(self.irq1.append)
        card = i8042.attach(slot, Line("A20"), reset)
        card.keyboard.connect(self.to_keyboard.append)
        if self.mouse_is_there:
            card.mouse.connect(self.to_mouse.append)
        return card

    @property
    def card(self) -> I8042:
        return self.bench.card

    @property
    def status(self) -> int:
        return self.bench.inb(COMMAND)

    @property
    def a20(self) -> bool:
        return self.card.a20.level

    @property
    def clocks(self) -> tuple[bool, bool]:
        """Whether the keyboard and the mouse may send."""
        return self.card.keyboard.clock.level, self.card.mouse.clock.level

    @property
    def interrupts(self) -> tuple[bool, bool]:
        return self.bench.irq(1), self.bench.irq(12)

    def command(self, command: int, *data: int) -> None:
        self.bench.outb(COMMAND, command)
        for each in data:
            self.bench.outb(DATA, each)

    def ask(self, command: int, *data: int) -> int:
        """Write a command and read its answer, which must be there."""
        self.command(command, *data)
        assert self.status & STATUS_OBF
        return self.read()

    def read(self) -> int:
        return self.bench.inb(DATA)

    def write(self, byte: int) -> None:
        self.bench.outb(DATA, byte)

    def set_up(self, command_byte: int) -> None:
        self.command(Command.WRITE_COMMAND_BYTE, command_byte)

    def keyboard_sends(self, *data: int) -> list[int]:
        """What the guest reads when the keyboard sends *data*."""
        seen = []
        for byte in data:
            assert self.card.keyboard.clock.level
            self.card.keyboard.deliver(byte)
            if self.status & STATUS_OBF:
                seen.append(self.read())
        return seen


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ==== status ==============================================================================


class TestStatus:
    def test_after_RESET(self, desk: Desk) -> None:
        """Type 1, "Status Register": SYS is 0 after a power-on reset; the keyboard is not locked."""
        assert desk.status == STATUS_UNLOCKED | STATUS_COMMAND

    def test_OBF_is_set_by_a_byte_and_cleared_by_reading_it(self, desk: Desk) -> None:
        """Bit 0: 0 when port 60h has been read."""
        desk.command(Command.TEST_KEYBOARD)
        assert desk.status & STATUS_OBF

        desk.read()
        assert not desk.status & STATUS_OBF

    def test_a_byte_that_has_been_read_is_read_again(self, desk: Desk) -> None:
        """The buffer is a register: reading clears the flag, not the byte."""
        desk.command(Command.TEST)

        assert [desk.read() for _ in range(3)] == [0x55] * 3

    def test_bit_3_says_which_port_was_written(self, desk: Desk) -> None:
        """Command/data: 0 after a write to port 60h, 1 after one to port 64h."""
        desk.write(0xEE)
        assert not desk.status & STATUS_COMMAND

        desk.command(Command.ENABLE_KEYBOARD)
        assert desk.status & STATUS_COMMAND

    def test_SYS_is_the_command_byte_s(self, desk: Desk) -> None:
        """Bit 2: what was written to the system flag bit of the command byte."""
        desk.set_up(CB_SYS)
        assert desk.status & STATUS_SYS

        desk.set_up(0)
        assert not desk.status & STATUS_SYS

    def test_AUX_tells_the_mouse_s_bytes_from_the_keyboard_s(self, desk: Desk) -> None:
        """Bit 5, auxiliary output buffer full: 1 with OBF, the byte is the auxiliary device's."""
        desk.set_up(0)
        desk.card.mouse.deliver(0x08)
        assert desk.status & (STATUS_OBF | STATUS_AUX) == STATUS_OBF | STATUS_AUX

        desk.read()
        assert not desk.status & STATUS_AUX

        desk.card.keyboard.deliver(0x1C)
        assert desk.status & (STATUS_OBF | STATUS_AUX) == STATUS_OBF


# ==== commands ============================================================================


class TestCommands:
    def test_the_command_byte_is_read_as_written(self, desk: Desk) -> None:
        """60 and 20, whatever is in it."""
        for value in (0x00, 0x47, 0x65, 0xFF):
            desk.set_up(value)
            assert desk.ask(Command.READ_COMMAND_BYTE) == value

    def test_RESET_disables_both_ports(self, desk: Desk) -> None:
        """Nothing is sent before firmware is there to hear it."""
        desk.set_up(BOTH_ON)
        desk.bench.slot.reset()

        assert desk.clocks == (False, False)
        assert desk.ask(Command.READ_COMMAND_BYTE) == CB_DISABLE | CB_DISABLE_AUX

    @pytest.mark.parametrize(
        ("disable", "enable", "bit"),
        [
            (Command.DISABLE_AUX, Command.ENABLE_AUX, CB_DISABLE_AUX),
            (Command.DISABLE_KEYBOARD, Command.ENABLE_KEYBOARD, CB_DISABLE),
        ],
    )
    def test_ports_are_disabled_and_enabled(
        self, desk: Desk, disable: Command, enable: Command, bit: int
    ) -> None:
        """A7, A8, AD, AE: they set and clear the bits of the command byte."""
        desk.set_up(0)
        desk.command(disable)
        assert desk.clocks == (bit != CB_DISABLE, bit != CB_DISABLE_AUX)
        assert desk.ask(Command.READ_COMMAND_BYTE) == bit

        desk.command(enable)
        assert desk.clocks == (True, True)
        assert desk.ask(Command.READ_COMMAND_BYTE) == 0

    def test_self_tests(self, desk: Desk) -> None:
        """AA: 55, no error has been found; A9, AB: 00, the same."""
        assert desk.ask(Command.TEST) == 0x55
        assert desk.ask(Command.TEST_AUX) == 0x00
        assert desk.ask(Command.TEST_KEYBOARD) == 0x00

    def test_AA_sets_SYS(self, desk: Desk) -> None:
        """As compatible chips do: firmware tells a cold start by it."""
        desk.command(Command.TEST)

        assert desk.status & STATUS_SYS

    def test_the_input_port_says_that_the_keyboard_is_not_locked(self, desk: Desk) -> None:
        """AT, "Input Port", bit 7: 1, the keyboard is not inhibited."""
        assert desk.ask(Command.READ_INPUT_PORT) == 0x80

    def test_bytes_for_the_output_buffer(self, desk: Desk) -> None:
        """D2, D3: as if the keyboard or the auxiliary device had sent them; not translated."""
        desk.set_up(CB_TRANSLATE)
        desk.command(Command.WRITE_KEYBOARD_BUFFER, 0x1C)
        assert desk.status & (STATUS_OBF | STATUS_AUX) == STATUS_OBF
        assert desk.read() == 0x1C

        desk.command(Command.WRITE_AUX_BUFFER, 0xA5)
        assert desk.status & (STATUS_OBF | STATUS_AUX) == STATUS_OBF | STATUS_AUX
        assert desk.read() == 0xA5

    @pytest.mark.parametrize("command", [0x00, 0x21, 0x61, 0xA4, 0xC1, 0xEF])
    def test_others_do_nothing(self, desk: Desk, command: int) -> None:
        """And the byte after them goes to the keyboard."""
        desk.command(command, 0xEE)

        assert not desk.status & STATUS_OBF
        assert desk.to_keyboard == [0xEE]

    def test_a_command_takes_the_place_of_one_that_waits(self, desk: Desk) -> None:
        """What is written to port 64h is a command, always."""
        desk.command(Command.WRITE_OUTPUT_PORT)
        desk.command(Command.WRITE_AUX, 0xF4)

        assert desk.to_mouse == [0xF4]
        assert desk.resets == 0

    def test_an_answer_waits_while_the_buffer_is_full(self, desk: Desk) -> None:
        """A byte that has not been read is not overwritten; the last answer counts."""
        desk.set_up(CB_INT)
        desk.card.keyboard.deliver(0x1C)
        desk.command(Command.READ_OUTPUT_PORT)
        desk.command(Command.WRITE_AUX_BUFFER, 0x77)
        desk.irq1.clear()

        assert desk.read() == 0x1C
        assert not any(desk.irq1)
        assert desk.status & (STATUS_OBF | STATUS_AUX) == STATUS_OBF | STATUS_AUX
        assert desk.read() == 0x77
        assert not desk.status & STATUS_OBF

    def test_an_answer_that_waited_makes_an_edge(self, desk: Desk) -> None:
        """The line goes low with the byte that is read, and high with the next: two interrupts."""
        desk.set_up(CB_INT)
        desk.card.keyboard.deliver(0x1C)
        desk.command(Command.TEST)
        desk.irq1.clear()

        desk.read()

        assert desk.irq1[0] is False
        assert desk.irq1[-1] is True


# ==== devices =============================================================================


class TestDevices:
    def test_data_goes_to_the_keyboard(self, desk: Desk) -> None:
        """Type 1: what is written to port 60h, unless a command waits for it."""
        desk.write(0xED)
        desk.write(0x07)

        assert desk.to_keyboard == [0xED, 0x07]
        assert desk.to_mouse == []

    def test_D4_sends_one_byte_to_the_mouse(self, desk: Desk) -> None:
        """Write to auxiliary device."""
        desk.command(Command.WRITE_AUX, 0xF4, 0xEE)

        assert desk.to_mouse == [0xF4]
        assert desk.to_keyboard == [0xEE]

    def test_sending_enables_the_port(self, desk: Desk) -> None:
        """Or the device could not answer."""
        desk.set_up(CB_DISABLE | CB_DISABLE_AUX)
        desk.write(0xF4)
        assert desk.clocks == (True, False)
        assert desk.ask(Command.READ_COMMAND_BYTE) == CB_DISABLE_AUX

        desk.command(Command.WRITE_AUX, 0xF4)
        assert desk.clocks == (True, True)

    def test_a_device_that_is_not_there_answers_with_TIMEOUT(self) -> None:
        """Type 1, "Transmit Timeout": the output buffer has FE, and status bit 6 is set."""
        desk = Desk(mouse_is_there=False)
        desk.command(Command.WRITE_AUX, 0xF2)

        assert desk.status & (STATUS_OBF | STATUS_AUX | STATUS_TIMEOUT) == (
            STATUS_OBF | STATUS_AUX | STATUS_TIMEOUT
        )
        assert desk.read() == 0xFE
        assert not desk.status & STATUS_TIMEOUT

    def test_a_timeout_that_waits_is_one_later_too(self) -> None:
        desk = Desk(mouse_is_there=False)
        desk.command(Command.TEST)
        desk.command(Command.WRITE_AUX, 0xF2)

        assert not desk.status & STATUS_TIMEOUT
        assert desk.read() == 0x55
        assert desk.status & STATUS_TIMEOUT
        assert desk.read() == 0xFE

    def test_nobody_sends_while_the_buffer_is_full(self, desk: Desk) -> None:
        """The controller holds both clocks low."""
        desk.set_up(0)
        assert desk.clocks == (True, True)

        desk.card.mouse.deliver(0x08)
        assert desk.clocks == (False, False)

        desk.read()
        assert desk.clocks == (True, True)

    def test_nor_while_an_answer_waits(self, desk: Desk) -> None:
        """Not even for a moment, as one byte takes the other's place."""
        desk.set_up(0)
        desk.card.keyboard.deliver(0x1C)
        desk.command(Command.TEST)
        levels: list[bool] = []
        for socket in (desk.card.keyboard, desk.card.mouse):
            socket.clock.connect(levels.append)

        desk.read()
        assert not any(levels)
        assert desk.clocks == (False, False)
        desk.read()
        assert desk.clocks == (True, True)


# ==== interrupts ==========================================================================


class TestInterrupts:
    @pytest.mark.parametrize("command_byte", range(4))
    def test_each_has_its_bit(self, desk: Desk, command_byte: int) -> None:
        """Command byte bits 0 and 1: an interrupt for the keyboard's, for the mouse's bytes."""
        desk.set_up(command_byte)

        desk.card.keyboard.deliver(0x1C)
        assert desk.interrupts == (bool(command_byte & CB_INT), False)
        desk.read()
        desk.card.mouse.deliver(0x08)
        assert desk.interrupts == (False, bool(command_byte & CB_INT2))
        desk.read()
        assert desk.interrupts == (False, False)

    def test_a_byte_that_is_there_interrupts_when_the_bit_is_set(self, desk: Desk) -> None:
        """It is a level: the buffer is full, and the interrupt enabled."""
        desk.set_up(0)
        desk.card.keyboard.deliver(0x1C)
        desk.set_up(CB_INT)
        assert desk.interrupts == (True, False)

        desk.set_up(0)
        assert desk.interrupts == (False, False)

    def test_an_answer_interrupts_like_a_key(self, desk: Desk) -> None:
        desk.set_up(CB_INT)
        desk.command(Command.TEST)

        assert desk.interrupts == (True, False)

    def test_with_the_keyboard_disabled_it_does_not(self, desk: Desk) -> None:
        """So that who asks the controller is not interrupted by the answer."""
        desk.set_up(CB_INT)
        desk.command(Command.DISABLE_KEYBOARD)
        desk.command(Command.TEST)

        assert desk.interrupts == (False, False)
        assert desk.read() == 0x55


# ==== translation =========================================================================


class TestTranslation:
    @pytest.mark.parametrize("key", CODES, ids=lambda key: key.name)
    def test_set_2_becomes_set_1(self, desk: Desk, key: int) -> None:
        """The keyboard's two tables are each other's translation, key by key."""
        set_1, set_2 = CODES[key]
        desk.set_up(CB_TRANSLATE)

        assert desk.keyboard_sends(set_2) == [set_1]
        assert desk.keyboard_sends(0xF0, set_2) == [set_1 | 0x80]

    def test_F0_goes_into_bit_7_of_one_code(self, desk: Desk) -> None:
        """AT, "Scan-code translation": a break code is the make code with bit 7 set."""
        desk.set_up(CB_TRANSLATE)

        assert desk.keyboard_sends(0xE0, 0xF0, 0x75, 0x75) == [0xE0, 0xC8, 0x48]
        assert desk.keyboard_sends(*bytes.fromhex("E11477E1F014F077")) == [
            *bytes.fromhex("E11D45E19DC5")
        ]

    def test_answers_pass(self, desk: Desk) -> None:
        """FA, FE, EE, AA and the first byte of the ID are no scan codes; the second is 41."""
        desk.set_up(CB_TRANSLATE)

        assert desk.keyboard_sends(0xFA, 0xFE, 0xEE, 0xAA, 0xAB, 0x83, 0xFF) == [
            *(0xFA, 0xFE, 0xEE, 0xAA, 0xAB, 0x41, 0xFF)
        ]

    def test_an_answer_between_does_not_take_the_break(self, desk: Desk) -> None:
        """A command that comes between F0 and its code is answered first."""
        desk.set_up(CB_TRANSLATE)

        assert desk.keyboard_sends(0xF0, 0xFA, 0x1C) == [0xFA, 0x9E]

    def test_the_overrun_code(self, desk: Desk) -> None:
        """00 in set 2, FF in set 1."""
        desk.set_up(CB_TRANSLATE)

        assert desk.keyboard_sends(0x00) == [0xFF]

    def test_without_it_bytes_pass(self, desk: Desk) -> None:
        desk.set_up(0)

        assert desk.keyboard_sends(0xE0, 0xF0, 0x75) == [0xE0, 0xF0, 0x75]

    def test_turned_off_in_the_middle_it_is_forgotten(self, desk: Desk) -> None:
        desk.set_up(CB_TRANSLATE)
        desk.keyboard_sends(0xF0)
        desk.set_up(0)
        desk.keyboard_sends(0x1C)
        desk.set_up(CB_TRANSLATE)

        assert desk.keyboard_sends(0x1C) == [0x1E]

    def test_the_mouse_s_bytes_are_never_translated(self, desk: Desk) -> None:
        desk.set_up(CB_TRANSLATE)
        desk.card.mouse.deliver(0x1C)

        assert desk.read() == 0x1C


# ==== the output port =====================================================================


class TestOutputPort:
    def test_after_RESET(self, desk: Desk) -> None:
        """The port's lines float high: A20 is open, or there were no reset vector."""
        assert desk.a20
        assert desk.ask(Command.READ_OUTPUT_PORT) == 0xCF

    def test_bit_1_is_A20(self, desk: Desk) -> None:
        """AT, "Output Port": bit 1, gate A20."""
        desk.command(Command.WRITE_OUTPUT_PORT, 0xDD)
        assert not desk.a20
        assert desk.ask(Command.READ_OUTPUT_PORT) & 3 == 1

        desk.command(Command.WRITE_OUTPUT_PORT, 0xDF)
        assert desk.a20

    def test_DD_and_DF_are_shorter(self, desk: Desk) -> None:
        """The bytes for the output port, taken as commands."""
        desk.command(Command.CLOSE_A20)
        assert not desk.a20
        assert desk.ask(Command.READ_OUTPUT_PORT) & 3 == 1

        desk.command(Command.OPEN_A20)
        assert desk.a20

    def test_bits_4_and_5_tell_of_the_output_buffer(self, desk: Desk) -> None:
        """AT: output buffer full; Type 1: IRQ 1 and IRQ 12."""
        desk.set_up(0)
        desk.card.keyboard.deliver(0x1C)
        desk.command(Command.READ_OUTPUT_PORT)
        desk.read()
        assert desk.read() == 0xDF

        desk.card.mouse.deliver(0x08)
        desk.command(Command.READ_OUTPUT_PORT)
        desk.read()
        assert desk.read() == 0xEF

    def test_RESET_opens_A20(self, desk: Desk) -> None:
        desk.command(Command.WRITE_OUTPUT_PORT, 0xDD)
        desk.bench.slot.reset()

        assert desk.a20

    @pytest.mark.parametrize("command", [0xFE, 0xF0, 0xFC])
    def test_a_pulse_of_bit_0_resets(self, desk: Desk, command: int) -> None:
        """AT, "Pulse Output Port" and "Output Port": bit 0 is the system reset."""
        desk.command(command)

        assert desk.resets == 1

    @pytest.mark.parametrize("command", [0xFF, 0xFD, 0xF1])
    def test_a_pulse_of_others_does_not(self, desk: Desk, command: int) -> None:
        desk.command(command)

        assert desk.resets == 0

    def test_written_low_bit_0_resets(self, desk: Desk) -> None:
        """AT, "Write Output Port": bit 0 should not be 0, as that is a reset."""
        desk.command(Command.WRITE_OUTPUT_PORT, 0xDE)

        assert desk.resets == 1

    def test_on_a_machine_whose_RESET_it_pulses_all_is_as_at_power_on(self) -> None:
        desk = Desk(reset_is_wired=True)
        desk.set_up(0x47)
        desk.card.keyboard.deliver(0x1C)
        desk.command(Command.WRITE_OUTPUT_PORT, 0xDC)

        assert desk.status == STATUS_UNLOCKED | STATUS_COMMAND
        assert desk.a20
        assert desk.interrupts == (False, False)


# ==== saved and restored ==================================================================


class TestTheStream:
    def test_at_power_on(self, desk: Desk) -> None:
        assert desk.bench.slot.registry.save_sections() == {
            ("emu/i8042", 0): (1, bytes.fromhex("30 00 00 00 00 00 00 00 00 00 00 01 CF 00"))
        }

    def test_in_the_middle_of_everything(self) -> None:
        """One byte a field, in their order."""
        desk = Desk(mouse_is_there=False)
        desk.set_up(CB_INT | CB_SYS | CB_TRANSLATE)
        desk.keyboard_sends(0xF0)
        desk.card.mouse.deliver(0x99)
        desk.command(Command.WRITE_AUX, 0xF2)
        desk.command(Command.CLOSE_A20)
        desk.command(Command.WRITE_OUTPUT_PORT)

        assert desk.bench.slot.registry.save_sections() == {
            ("emu/i8042", 0): (1, bytes.fromhex("45 D1 99 01 01 00 FE 01 01 01 01 01 CD 01"))
        }

    def test_a_command_that_waits_for_nothing_is_refused(self, desk: Desk) -> None:
        data = bytes.fromhex("30 AA 00 00 00 00 00 00 00 00 00 01 CF 00")

        with pytest.raises(StreamError, match="waits = 0xaa"):
            desk.bench.slot.registry.load_sections({("emu/i8042", 0): (1, data)})
        assert desk.ask(Command.READ_COMMAND_BYTE) == CB_DISABLE | CB_DISABLE_AUX

    def test_a_restore_drives_every_line_and_resets_nobody(self, desk: Desk) -> None:
        """Outputs follow the state; the pulse is none of them."""
        desk.set_up(CB_INT)
        desk.card.keyboard.deliver(0x1C)
        desk.command(Command.CLOSE_A20)

        other = desk.bench.migrate()

        assert other.irq(1)
        assert not other.card.a20.level
        assert not other.card.keyboard.clock.level
        assert desk.resets == 0
