"""The mouse does what IBM's manual says of it.

It is driven at the cable - the controller's clock and what the controller sends - and by the hand on
it, and watched at what arrives, and when.  § is IBM PS/2 Hardware Interface Technical Reference,
"Mouse", by the name of the section.
"""

from __future__ import annotations

import pytest

from bench import Bench
from emu import attrs
from emu.errors import StreamError
from emu.hw import ps2_mouse
from emu.hw.ps2_mouse import BAT_NS, FIFTH, FOURTH, LEFT, MIDDLE, RIGHT, PS2Mouse
from emu.irq import Line
from emu.isa import Slot
from emu.ps2 import BYTE_NS
from emu.savevm.vmstate import dump

MS = 1_000_000
LONG = 100 * MS
DEFAULT_PERIOD_NS = 10 * MS  # 100 reports a second

WHEEL = (0xF3, 200, 0xF3, 100, 0xF3, 80)
FIVE_BUTTONS = (0xF3, 200, 0xF3, 200, 0xF3, 80)


@attrs.define(eq=False)
class Desk:
    """A mouse, and test leads in place of a controller."""

    clock: Line = attrs.field(factory=lambda: Line("clock"))
    arrived: list[tuple[int, int]] = attrs.field(factory=list)  # when, what
    bench: Bench[PS2Mouse] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.bench = Bench(self.plug_in)

    def plug_in(self, slot: Slot) -> PS2Mouse:
        return ps2_mouse.attach(
            slot,
            deliver=lambda byte: self.arrived.append((slot.clock.now_ns, byte)),
            controller_clock=self.clock,
        )

    @property
    def card(self) -> PS2Mouse:
        return self.bench.card

    def tell(self, *data: int) -> str:
        """Send *data*; what the mouse answers to each, in hexadecimal."""
        seen = []
        for byte in data:
            self.card.receive(byte)
            seen.append(self.heard())
        return " ".join(seen)

    def heard(self, ns: int = LONG) -> str:
        """What arrives in the next *ns*, in hexadecimal."""
        self.arrived.clear()
        self.bench.wait(ns)
        return bytes(byte for _, byte in self.arrived).hex(" ").upper()


@pytest.fixture
def desk() -> Desk:
    """A mouse that may send."""
    desk = Desk()
    desk.clock.drive(high=True)
    return desk


@pytest.fixture
def streaming(desk: Desk) -> Desk:
    """A mouse that has been enabled."""
    assert desk.tell(0xF4) == "FA"
    return desk


# ==== commands ============================================================================


class TestCommands:
    @pytest.mark.parametrize(
        ("told", "answers"),
        [
            ((0xE6,), "FA"),
            ((0xE7,), "FA"),
            ((0xE8, 0x03), "FA FA"),
            ((0xE9,), "FA 00 02 64"),
            ((0xEA,), "FA"),
            ((0xEB,), "FA 08 00 00"),
            ((0xEC,), "FA"),
            ((0xF0,), "FA"),
            ((0xF2,), "FA 00"),
            ((0xF3, 40), "FA FA"),
            ((0xF4,), "FA"),
            ((0xF5,), "FA"),
            ((0xF6,), "FA"),
        ],
    )
    def test_what_it_answers(self, desk: Desk, told: tuple[int, ...], answers: str) -> None:
        """§ Commands."""
        assert desk.tell(*told) == answers

    @pytest.mark.parametrize("byte", [0x00, 0xED, 0xEF, 0xF1])
    def test_what_is_invalid(self, desk: Desk, byte: int) -> None:
        """§ Error Handling: FE for the first, FC for the next; a valid one begins anew."""
        assert desk.tell(byte, byte) == "FE FC"
        assert desk.tell(0xF2, byte) == "FA 00 FE"

    def test_an_invalid_option_may_be_given_once_more(self, desk: Desk) -> None:
        """§ Error Handling: the system is asked to send it again."""
        assert desk.tell(0xF3, 41, 40) == "FA FE FA"
        assert desk.tell(0xE8, 4, 4, 0xF2) == "FA FE FC FA 00"
        assert desk.tell(0xE9) == "FA 00 02 28"

    @pytest.mark.parametrize("rate", [10, 20, 40, 60, 80, 100, 200])
    def test_rates(self, desk: Desk, rate: int) -> None:
        """§ Set Sampling Rate."""
        assert desk.tell(0xF3, rate) == "FA FA"
        assert desk.tell(0xE9) == f"FA 00 02 {rate:02X}"

    def test_status(self, desk: Desk) -> None:
        """§ Status Request, byte 1: buttons, scaling, enabled, mode; then resolution, rate."""
        desk.tell(0xE7, 0xE8, 1, 0xF3, 200, 0xF0, 0xF4)
        desk.card.press(LEFT | RIGHT)
        assert desk.tell(0xE9) == "FA 75 01 C8"

        desk.card.press(MIDDLE)
        desk.tell(0xE6, 0xEA, 0xF5)
        assert desk.tell(0xE9) == "FA 02 01 C8"

    def test_Set_Default(self, desk: Desk) -> None:
        """§ Set Default: 100 a second, 1:1, stream mode, 4 counts a mm, disabled."""
        desk.tell(0xE7, 0xE8, 1, 0xF3, 200, 0xF0, 0xF4)
        desk.tell(0xF6)

        assert desk.tell(0xE9) == "FA 00 02 64"

    def test_Reset(self, desk: Desk) -> None:
        """§ Reset: ACK; AA and 00 when its test is done; disabled, with defaults."""
        desk.tell(0xE7, 0xF4, *WHEEL)
        desk.card.receive(0xFF)

        assert desk.heard(BYTE_NS) == "FA"
        assert desk.heard(BAT_NS - BYTE_NS) == ""
        assert desk.heard() == "AA 00"
        assert desk.tell(0xE9, 0xF2) == "FA 00 02 64 FA 00"
        desk.card.move(1, 1)
        assert desk.heard() == ""

    def test_during_its_test_it_hears_nothing(self, desk: Desk) -> None:
        desk.card.receive(0xFF)
        desk.card.move(1, 1)
        assert desk.tell(0xF4) == "FA"
        assert desk.heard(BAT_NS) == "AA 00"

        assert desk.tell(0xEB) == "FA 08 00 00"

    def test_wrap_mode(self, desk: Desk) -> None:
        """§ Set Wrap Mode: every byte comes back, but Reset Wrap Mode and Reset."""
        assert desk.tell(0xEE, 0x12, 0xF2, 0xE9, 0xEE) == "FA 12 F2 E9 EE"
        assert desk.tell(0xEC, 0xF2) == "FA FA 00"

        desk.tell(0xEE)
        assert desk.tell(0xFF) == "FA"

    def test_Resend(self, desk: Desk) -> None:
        """§ Resend."""
        desk.tell(0xF2)

        assert desk.tell(0xFE) == "00"


# ==== reports =============================================================================


class TestReports:
    @pytest.mark.parametrize(
        ("right", "away", "report"),
        [
            (1, 0, "08 01 00"),
            (0, 1, "08 00 01"),
            (-1, 0, "18 FF 00"),
            (0, -1, "28 00 FF"),
            (-255, 255, "18 01 FF"),
            (256, 0, "48 FF 00"),
            (0, -300, "A8 00 01"),
            (5_000, -5_000, "E8 FF 01"),
        ],
    )
    def test_movement(self, streaming: Desk, right: int, away: int, report: str) -> None:
        """§ Data Report: 9 bits, two's complement; bits 6 and 7 tell of what is too much."""
        streaming.card.move(right, away)

        assert streaming.heard() == report

    @pytest.mark.parametrize(
        ("buttons", "first"), [(LEFT, "09"), (RIGHT, "0A"), (MIDDLE, "0C"), (LEFT | MIDDLE, "0D")]
    )
    def test_buttons(self, streaming: Desk, buttons: int, first: str) -> None:
        """§ Data Report, byte 1: one that goes down is reported, and one that comes up."""
        streaming.card.press(buttons)
        assert streaming.heard() == f"{first} 00 00"

        streaming.card.press(0)
        assert streaming.heard() == "08 00 00"

    def test_nothing_new_is_no_report(self, streaming: Desk) -> None:
        streaming.card.move(0, 0, wheel=1)  # of which this type has none
        streaming.card.press(0)
        streaming.card.press(FOURTH)

        assert streaming.heard() == ""

    def test_disabled_it_reports_nothing(self, desk: Desk) -> None:
        """§ Enable: after a reset the mouse is disabled; what was before is forgotten."""
        desk.card.move(1, 1)
        assert desk.heard() == ""
        assert desk.tell(0xF4) == "FA"
        assert desk.heard() == ""

    def test_not_more_often_than_the_sample_rate(self, streaming: Desk) -> None:
        """§ Stream Mode: what happens between two reports is in the second."""
        streaming.card.move(1, 0)
        streaming.card.move(2, 0)
        streaming.card.move(3, 0)

        assert streaming.heard() == "08 01 00 08 05 00"
        first, second = streaming.arrived[0][0], streaming.arrived[3][0]
        assert second - first == DEFAULT_PERIOD_NS

    def test_a_report_that_could_not_be_sent_is_waited_for(self, streaming: Desk) -> None:
        """What happens meanwhile is added up."""
        streaming.clock.drive(high=False)
        for _ in range(5):
            streaming.card.move(1, -1)
            streaming.bench.wait(20 * MS)
        streaming.clock.drive(high=True)

        assert streaming.heard() == "08 01 FF".replace("08", "28") + " 28 04 FC"

    def test_a_command_cuts_a_report_short(self, streaming: Desk) -> None:
        """§ Commands: the mouse stops and answers; the rest of the report is dropped."""
        streaming.card.move(1, 1)
        streaming.bench.wait(BYTE_NS)
        streaming.card.receive(0xF2)

        assert streaming.heard() == "FA 00"

    def test_remote_mode(self, streaming: Desk) -> None:
        """§ Remote Mode: reports only to Read Data, with all since the last."""
        streaming.tell(0xF0)
        streaming.card.move(3, 4)
        streaming.card.move(3, 4)
        assert streaming.heard() == ""

        assert streaming.tell(0xEB) == "FA 08 06 08"
        assert streaming.tell(0xEB) == "FA 08 00 00"

    def test_scaling(self, streaming: Desk) -> None:
        """§ Set Scaling 2:1: 1 2 3 4 5 become 1 1 3 6 9, more is doubled; signs stay."""
        streaming.tell(0xE7)
        seen = []
        for counts in (1, 2, 3, 4, 5, 6, 100, 200):
            streaming.card.move(counts, -counts)
            seen.append(streaming.heard()[3:])

        assert seen == [
            *("01 FF", "01 FF", "03 FD", "06 FA", "09 F7", "0C F4", "C8 38", "FF 01"),
        ]

    def test_not_of_what_is_asked_for(self, desk: Desk) -> None:
        """§ Set Scaling 2:1: in remote mode nothing is scaled."""
        desk.tell(0xE7, 0xF0)
        desk.card.move(5, 5)

        assert desk.tell(0xEB) == "FA 08 05 05"


class TestMore:
    """Microsoft's extensions."""

    def test_a_wheel(self, streaming: Desk) -> None:
        """IntelliMouse: rates 200, 100, 80; type 3, and a fourth byte."""
        streaming.tell(*WHEEL)
        assert streaming.tell(0xF2) == "FA 03"

        streaming.card.move(1, 2, wheel=-1)
        assert streaming.heard() == "08 01 02 FF"
        streaming.card.move(0, 0, wheel=300)
        assert streaming.heard() == "08 00 00 7F"

    def test_five_buttons(self, streaming: Desk) -> None:
        """IntelliMouse Explorer: rates 200, 200, 80; type 4."""
        streaming.tell(*FIVE_BUTTONS)
        assert streaming.tell(0xF2) == "FA 04"

        streaming.card.press(LEFT | FOURTH)
        assert streaming.heard() == "09 00 00 10"
        streaming.card.press(FIFTH)
        streaming.card.move(0, 0, wheel=-1)
        assert streaming.heard() == "08 00 00 20 08 00 00 2F"

    def test_other_rates_change_nothing(self, desk: Desk) -> None:
        desk.tell(0xF3, 100, 0xF3, 200, 0xF3, 80)

        assert desk.tell(0xF2) == "FA 00"


# ==== in a stream =========================================================================

QUIET = (
    "00000000 00000000 FFFFFFFFFFFFFFFF 00 00"  # the cable
    " 00 00 00 02 64 00 00 00 00 000000 00 00 0000 0000 0000 FFFFFFFFFFFFFFFF FFFFFFFFFFFFFFFF"
)


class TestTheStream:
    def test_at_power_on(self) -> None:
        assert dump(ps2_mouse.SAVED.sections[0], Desk().card.state) == bytes.fromhex(QUIET)

    @pytest.mark.parametrize(
        ("changes", "field"), [({18: 0xE9}, "command"), ({22: 0}, "rate"), ({9: 0}, "arrives_ns")]
    )
    def test_what_cannot_be_is_refused(self, changes: dict[int, int], field: str) -> None:
        desk = Desk()
        data = bytearray.fromhex(QUIET)
        for offset, value in changes.items():
            data[offset] = value

        with pytest.raises(StreamError, match=field):
            desk.bench.slot.registry.load_sections({("emu/ps2_mouse", 0): (1, bytes(data))})
        assert dump(ps2_mouse.SAVED.sections[0], desk.card.state) == bytes.fromhex(QUIET)
