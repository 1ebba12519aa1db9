"""The keyboard does what IBM's manual says of it.

It is driven at the cable - the controller's clock and what the controller sends - and by its keys, and
watched at what arrives, and when.  § is IBM PS/2 Hardware Interface Technical Reference, "101- and
102-Key Keyboards", by the name of the section.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import Bench
from emu import attrs
from emu.errors import ConfigError, StreamError
from emu.hw import ps2_keyboard
from emu.hw.ps2_keyboard import BAT_NS, BUFFER_BYTES, PS2Keyboard
from emu.irq import Line
from emu.isa import Slot
from emu.keys import CODES, EXTENDED_KEYS, LET_GO, Key, key_named, strokes
from emu.ps2 import BYTE_NS
from emu.savevm.vmstate import dump

MS = 1_000_000
LONG = 100 * MS  # all that is in the buffer is sent, and no key repeats yet


@attrs.define(eq=False)
class Desk:
    """A keyboard, and test leads in place of a controller."""

    clock: Line = attrs.field(factory=lambda: Line("clock"))
    arrived: list[tuple[int, int]] = attrs.field(factory=list)  # when, what
    holds_after_each: bool = False  # pulls the clock low with each byte, as a controller does
    bench: Bench[PS2Keyboard] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.bench = Bench(self.plug_in)

    def plug_in(self, slot: Slot) -> PS2Keyboard:
        def deliver(byte: int) -> None:
            self.arrived.append((slot.clock.now_ns, byte))
            if self.holds_after_each:
                self.clock.drive(high=False)

        return ps2_keyboard.attach(slot, deliver=deliver, controller_clock=self.clock)

    @property
    def card(self) -> PS2Keyboard:
        return self.bench.card

    @property
    def room(self) -> bool:
        return self.card.room.level

    def let_go(self) -> None:
        self.clock.drive(high=True)

    def hold(self) -> None:
        self.clock.drive(high=False)

    def press(self, *keys: Key) -> None:
        for key in keys:
            self.card.strike(key)

    def release(self, *keys: Key) -> None:
        for key in keys:
            self.card.strike(key | LET_GO)

    def tell(self, *data: int) -> str:
        """Send *data*; what the keyboard answers to each, in hexadecimal."""
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

    def times(self) -> list[int]:
        return [ns for ns, _ in self.arrived]


@pytest.fixture
def desk() -> Desk:
    """A keyboard that may send."""
    desk = Desk()
    desk.let_go()
    return desk


# ==== the cable ===========================================================================


class TestTheCable:
    def test_a_byte_takes_eleven_bits(self, desk: Desk) -> None:
        """§ Data Stream: start, eight bits of data, parity, stop, at 10 to 16.7 kHz."""
        desk.bench.wait(123)
        desk.press(Key.A)
        desk.heard()

        assert 11 * 60_000 <= BYTE_NS <= 11 * 100_000
        assert desk.arrived == [(123 + BYTE_NS, 0x1C)]

    def test_one_follows_the_other(self, desk: Desk) -> None:
        desk.press(Key.UP)
        desk.heard()

        assert desk.times() == [BYTE_NS, 2 * BYTE_NS]

    def test_at_power_on_the_clock_is_low(self) -> None:
        """Until a controller lets it go nothing is sent, and nothing lost."""
        desk = Desk()
        desk.press(Key.A)

        assert desk.heard(10_000 * MS) == ""
        desk.let_go()
        assert desk.heard(BYTE_NS) == "1C"

    def test_a_byte_that_is_interrupted_is_sent_again(self, desk: Desk) -> None:
        """§ Keyboard Data Output: the clock is low before the parity bit: the keyboard stops."""
        desk.press(Key.A)
        desk.bench.wait(BYTE_NS - 1)
        desk.hold()
        assert desk.heard() == ""

        desk.let_go()
        assert desk.heard(BYTE_NS - 1) == ""
        assert desk.heard(1) == "1C"

    @pytest.mark.parametrize("high", [True, False])
    def test_a_level_driven_again_is_no_event(self, desk: Desk, *, high: bool) -> None:
        desk.clock.drive(high=high)
        desk.press(Key.A)
        desk.bench.wait(BYTE_NS // 2)
        desk.clock.drive(high=high)

        assert desk.heard(BYTE_NS // 2) == ("1C" if high else "")

    def test_answers_go_before_what_waits(self, desk: Desk) -> None:
        """§ Commands from the System: each must be answered within 20 ms, whatever is waiting."""
        desk.press(Key.UP)
        desk.bench.wait(BYTE_NS + BYTE_NS // 2)
        desk.card.receive(0xEE)

        assert desk.heard() == "EE 75"

    def test_a_new_command_ends_an_answer(self, desk: Desk) -> None:
        desk.card.receive(0xF2)
        desk.bench.wait(BYTE_NS)

        assert desk.tell(0xEE) == "EE"


# ==== scan codes ==========================================================================


class TestScanCodes:
    @pytest.mark.parametrize("key", CODES, ids=lambda key: key.name)
    def test_each_key_in_set_2(self, desk: Desk, key: Key) -> None:
        """§ Scan Code Set 2: the break code is the make code after F0."""
        code, prefix = f"{CODES[key][1]:02X}", "E0 " if key in EXTENDED_KEYS else ""

        desk.press(key)
        assert desk.heard() == f"{prefix}{code}"
        desk.release(key)
        assert desk.heard() == f"{prefix}F0 {code}"

    @pytest.mark.parametrize("key", CODES, ids=lambda key: key.name)
    def test_each_key_in_set_1(self, desk: Desk, key: Key) -> None:
        """§ Scan Code Set 1: the break code is the make code with bit 7 set."""
        code, prefix = CODES[key][0], "E0 " if key in EXTENDED_KEYS else ""
        desk.tell(0xF0, 0x01)

        desk.press(key)
        assert desk.heard() == f"{prefix}{code:02X}"
        desk.release(key)
        assert desk.heard() == f"{prefix}{code | 0x80:02X}"

    def test_no_two_keys_have_the_same_code(self) -> None:
        """But for the one that is in another place on the 102-key keyboard."""
        codes = [(key in EXTENDED_KEYS, pair) for key, pair in CODES.items()]

        assert len(codes) == len(set(codes)) + 1
        assert CODES[Key.BACKSLASH] == CODES[Key.HASH_102]

    @pytest.mark.parametrize(
        ("code_set", "held", "down", "up"),
        [
            (2, (), "E0 12 E0 7C", "E0 F0 7C E0 F0 12"),
            (2, (Key.LEFT_SHIFT,), "E0 7C", "E0 F0 7C"),
            (2, (Key.RIGHT_CTRL,), "E0 7C", "E0 F0 7C"),
            (2, (Key.LEFT_ALT,), "84", "F0 84"),
            (1, (), "E0 2A E0 37", "E0 B7 E0 AA"),
            (1, (Key.RIGHT_SHIFT,), "E0 37", "E0 B7"),
            (1, (Key.RIGHT_ALT,), "54", "D4"),
        ],
    )
    def test_Print_Screen(
        self, desk: Desk, code_set: int, held: tuple[Key, ...], down: str, up: str
    ) -> None:
        """§ Scan Codes, key 124: alone, with Ctrl or Shift, with Alt."""
        desk.tell(0xF0, code_set)
        desk.press(*held)
        desk.heard()

        desk.press(Key.PRINT_SCREEN)
        assert desk.heard() == down
        desk.release(Key.PRINT_SCREEN)
        assert desk.heard() == up

    @pytest.mark.parametrize(
        ("code_set", "held", "down"),
        [
            (2, (), "E1 14 77 E1 F0 14 F0 77"),
            (2, (Key.LEFT_CTRL,), "E0 7E E0 F0 7E"),
            (1, (), "E1 1D 45 E1 9D C5"),
            (1, (Key.RIGHT_CTRL,), "E0 46 E0 C6"),
        ],
    )
    def test_Pause(self, desk: Desk, code_set: int, held: tuple[Key, ...], down: str) -> None:
        """§ Scan Codes, key 126: all of it when it goes down; it is the key that is not typematic."""
        desk.tell(0xF0, code_set)
        desk.press(*held)
        desk.heard()

        desk.press(Key.PAUSE)
        assert desk.heard(2_000 * MS) == down
        desk.release(Key.PAUSE)
        assert desk.heard() == ""

    def test_a_key_cannot_go_down_twice(self, desk: Desk) -> None:
        """Nor come up when it is up."""
        desk.release(Key.A)
        desk.press(Key.A, Key.A)
        assert desk.heard() == "1C"

        desk.release(Key.A, Key.A)
        assert desk.heard() == "F0 1C"

    @pytest.mark.parametrize("number", [0, 14, 59, 127])
    def test_a_number_without_a_key_is_nothing(self, desk: Desk, number: int) -> None:
        desk.card.strike(number)
        desk.card.strike(number | LET_GO)

        assert desk.heard() == ""


class TestTypematic:
    def test_a_key_that_stays_down_repeats(self, desk: Desk) -> None:
        """§ Typematic: after 500 ms, 10.9 times a second: every 91.7 ms."""
        desk.press(Key.A)
        desk.heard(700 * MS)

        period_ns = 22 * 1_000_000_000 // 240
        assert [each for _, each in desk.arrived] == [0x1C] * 4
        assert [ns - BYTE_NS for ns in desk.times()] == [
            0,
            *(500 * MS + number * period_ns for number in range(3)),
        ]

    def test_of_an_extended_key_the_whole_code(self, desk: Desk) -> None:
        desk.press(Key.UP)

        assert desk.heard(550 * MS) == "E0 75 E0 75"

    def test_only_the_last_key_repeats(self, desk: Desk) -> None:
        """§ Typematic: "if two or more keys are held down, only the last key pressed"."""
        desk.press(Key.A)
        desk.bench.wait(300 * MS)
        desk.press(Key.B)

        assert desk.heard(550 * MS) == "32 32"

    def test_its_release_ends_it_though_others_are_down(self, desk: Desk) -> None:
        """§ Typematic: "stops when the last key pressed is released"."""
        desk.press(Key.A, Key.B)
        desk.release(Key.B)

        assert desk.heard(2_000 * MS) == "1C 32 F0 32"

    def test_another_s_release_does_not(self, desk: Desk) -> None:
        desk.press(Key.A, Key.B)
        desk.release(Key.A)

        assert desk.heard(550 * MS) == "1C 32 F0 1C 32"

    def test_while_it_may_not_send_it_makes_no_more(self, desk: Desk) -> None:
        """§ Typematic: "only the first make code is stored in the buffer"."""
        desk.hold()
        desk.press(Key.A)
        desk.bench.wait(3_000 * MS)
        desk.let_go()

        assert desk.heard(10 * MS) == "1C"

    @pytest.mark.parametrize(
        ("option", "delay_ms", "period_us"),
        [
            (0x00, 250, 33_333),  # 30 a second
            (0x2B, 500, 91_666),
            (0x44, 750, 50_000),
            (0x7F, 1_000, 500_000),  # 2 a second
            (0xC4, 750, 50_000),  # bit 7 is no part of it
        ],
    )
    def test_rate_and_delay(self, desk: Desk, option: int, delay_ms: int, period_us: int) -> None:
        """§ Set Typematic Rate/Delay: (8 + A) * 2 ^ B * 4.17 ms; (1 + bits 6, 5) * 250 ms."""
        assert desk.tell(0xF3, option) == "FA FA"
        began_ns = desk.bench.slot.clock.now_ns
        desk.press(Key.A)
        desk.heard(2_200 * MS)

        _, second, third = desk.times()[:3]
        assert second - BYTE_NS - began_ns == delay_ms * MS
        assert (third - second) // 1_000 == period_us


class TestTheBuffer:
    def fill(self, desk: Desk, count: int) -> list[Key]:
        keys = [key for key in CODES if key not in EXTENDED_KEYS][:count]
        desk.hold()
        desk.press(*keys)
        return keys

    def test_it_holds_16_bytes(self, desk: Desk) -> None:
        """§ Keyboard Buffer."""
        keys = self.fill(desk, BUFFER_BYTES)
        desk.let_go()

        assert desk.heard() == bytes(CODES[key][1] for key in keys).hex(" ").upper()

    def test_then_comes_an_overrun_code(self, desk: Desk) -> None:
        """§ Keyboard Buffer: "an overrun code replaces the 17th byte"; the rest is lost."""
        keys = self.fill(desk, BUFFER_BYTES + 3)
        desk.let_go()

        sent = bytes(CODES[key][1] for key in keys[:BUFFER_BYTES])
        assert desk.heard() == (sent + b"\0").hex(" ").upper()

    def test_in_set_1_it_is_FF(self, desk: Desk) -> None:
        desk.tell(0xF0, 0x01)
        self.fill(desk, BUFFER_BYTES + 1)
        desk.let_go()

        assert desk.heard().endswith(" FF")

    def test_a_sequence_must_fit_whole(self, desk: Desk) -> None:
        """§ Keyboard Buffer: "the entire sequence must fit", or the keystroke is discarded."""
        keys = self.fill(desk, BUFFER_BYTES - 1)
        desk.press(Key.UP, Key.DOWN)
        desk.let_go()

        sent = bytes(CODES[key][1] for key in keys)
        assert desk.heard() == (sent + b"\0").hex(" ").upper()

    def test_answers_need_no_room(self, desk: Desk) -> None:
        """§ Keyboard Buffer: "response codes do not occupy a buffer position"."""
        keys = self.fill(desk, BUFFER_BYTES)
        desk.card.receive(0xEE)
        desk.let_go()

        sent = bytes(CODES[key][1] for key in keys)
        assert desk.heard() == (b"\xee" + sent).hex(" ").upper()


# ==== commands ============================================================================


class TestCommands:
    @pytest.mark.parametrize(
        ("told", "answers"),
        [
            ((0xED, 0x07), "FA FA"),
            ((0xEE,), "EE"),
            ((0xEF,), "FE"),
            ((0xF0, 0x00), "FA FA 02"),
            ((0xF0, 0x01, 0xF0, 0x00), "FA FA FA FA 01"),
            ((0xF0, 0x03), "FA FE"),
            ((0xF1,), "FE"),
            ((0xF2,), "FA AB 83"),
            ((0xF3, 0x00), "FA FA"),
            ((0xF4,), "FA"),
            ((0xF5,), "FA"),
            ((0xF6,), "FA"),
            ((0xF7,), "FA"),
            ((0xFA,), "FA"),
            ((0xFB, 0x1C), "FA FA"),
            ((0xFD, 0x1C), "FA FA"),
            ((0x00,), "FE"),
        ],
    )
    def test_what_it_answers(self, desk: Desk, told: tuple[int, ...], answers: str) -> None:
        """§ Commands from the System; an invalid one is answered with Resend."""
        assert desk.tell(*told) == answers

    def test_a_command_in_place_of_an_option(self, desk: Desk) -> None:
        """§ Set/Reset Status Indicators: a command in place of the option is a new command."""
        assert desk.tell(0xED, 0xF3, 0x00) == "FA FA FA"
        assert desk.tell(0x00) == "FE"

    def test_Resend(self, desk: Desk) -> None:
        """§ Resend: the last byte again."""
        desk.press(Key.A)
        desk.heard()

        assert desk.tell(0xFE) == "1C"

    def test_Default_Disable_stops_scanning_until_Enable(self, desk: Desk) -> None:
        """§ Default Disable, § Enable; keys that changed meanwhile have no codes."""
        desk.press(Key.A)
        desk.hold()
        desk.release(Key.A)
        desk.let_go()
        assert desk.tell(0xF5) == "FA", "the buffer is emptied"

        desk.press(Key.B)
        assert desk.heard(2_000 * MS) == ""
        assert not desk.room

        assert desk.tell(0xF4) == "FA"
        desk.release(Key.B)
        assert desk.heard() == "F0 32"

    def test_Enable_empties_the_buffer_and_ends_a_repetition(self, desk: Desk) -> None:
        """§ Enable: the output buffer and the last typematic key are cleared."""
        desk.press(Key.A)

        assert desk.tell(0xF4) == "FA"
        assert desk.heard(2_000 * MS) == ""

    def test_Set_Default_goes_on_scanning(self, desk: Desk) -> None:
        """§ Set Default: rate and delay as at power-on, and it goes on scanning."""
        desk.tell(0xF0, 0x01, 0xF3, 0x00)
        assert desk.tell(0xF6) == "FA"

        desk.press(Key.A)
        assert desk.heard(490 * MS) == "1C"
        assert desk.heard(20 * MS) == "1C"

    def test_Set_Default_does_not_begin_to_scan(self, desk: Desk) -> None:
        """§ Set Default: it goes on as before."""
        desk.tell(0xF5, 0xF6)
        desk.press(Key.A)

        assert desk.heard() == ""

    def test_a_set_chosen_empties_the_buffer(self, desk: Desk) -> None:
        """§ Select Alternate Scan Codes: output buffer and typematic key are cleared."""
        desk.hold()
        desk.press(Key.A)
        desk.card.receive(0xF0)
        desk.card.receive(0x01)
        desk.let_go()

        assert desk.heard(2_000 * MS) == "FA"

    def test_Reset(self, desk: Desk) -> None:
        """§ Reset, § Power-On Routine: ACK, then the BAT takes 300 to 500 ms and ends with AA."""
        desk.tell(0xF0, 0x01, 0xF5)
        desk.card.receive(0xFF)
        began_ns = desk.bench.slot.clock.now_ns

        assert desk.heard(BYTE_NS) == "FA"
        assert desk.heard(500 * MS) == "AA"
        assert desk.times() == [began_ns + BAT_NS + BYTE_NS]
        desk.press(Key.A)
        assert desk.heard() == "1C"

    def test_during_the_BAT_it_hears_nothing(self, desk: Desk) -> None:
        """Neither keys nor commands."""
        desk.card.receive(0xFF)
        desk.press(Key.A)

        assert desk.tell(0xEE) == "FA"
        assert desk.heard(BAT_NS) == "AA"

    def test_lights(self, desk: Desk) -> None:
        """§ Set/Reset Status Indicators: bits 0 to 2; a reset puts them out, defaults do not."""
        desk.tell(0xED, 0xFF & 0x05)
        assert desk.card.state.lights == 5
        desk.tell(0xF6)
        assert desk.card.state.lights == 5
        desk.tell(0xFF)
        assert desk.card.state.lights == 0


class TestRoom:
    def test_it_is_there_when_a_stroke_would_be_heard_and_nothing_waits(self, desk: Desk) -> None:
        assert desk.room
        desk.press(Key.A)
        assert not desk.room
        desk.bench.wait(BYTE_NS)
        assert desk.room

    def test_not_while_the_clock_is_low(self, desk: Desk) -> None:
        desk.hold()
        assert not desk.room

    def test_not_while_the_controller_has_not_got_rid_of_a_byte(self) -> None:
        desk = Desk(holds_after_each=True)
        desk.let_go()
        desk.press(Key.A)
        desk.bench.wait(LONG)

        assert not desk.room
        desk.let_go()
        assert desk.room

    def test_not_during_the_BAT(self, desk: Desk) -> None:
        desk.tell(0xFF)
        assert not desk.room
        desk.bench.wait(BAT_NS)
        assert desk.room


# ==== the layout ==========================================================================


class TestTyping:
    """emu/keys.py: what a US keyboard prints."""

    PRINTED = "".join(map(chr, range(32, 127)))

    def typed(self, code_strokes: bytes) -> Iterator[tuple[Key, bool]]:
        """Each key that goes down, and whether Shift is down then."""
        shift = False
        for stroke in code_strokes:
            key, up = Key(stroke & ~LET_GO), bool(stroke & LET_GO)
            if key is Key.LEFT_SHIFT:
                shift = not up
            elif not up:
                yield key, shift

    def test_every_printable_character_is_on_a_key_of_its_own(self) -> None:
        """With Shift or without: 95 characters."""
        assert len(set(self.typed(strokes(self.PRINTED)))) == len(self.PRINTED)

    @pytest.mark.parametrize(
        ("character", "key", "shift"),
        [
            ("a", Key.A, False),
            ("A", Key.A, True),
            ("1", Key.DIGIT_1, False),
            ("!", Key.DIGIT_1, True),
            ("0", Key.DIGIT_0, False),
            (")", Key.DIGIT_0, True),
            ("=", Key.EQUALS, False),
            ("\\", Key.BACKSLASH, False),
            ("|", Key.BACKSLASH, True),
            ('"', Key.APOSTROPHE, True),
            ("/", Key.SLASH, False),
            ("?", Key.SLASH, True),
            ("m", Key.M, False),
            ("p", Key.P, False),
            (" ", Key.SPACE, False),
            ("\n", Key.ENTER, False),
            ("\t", Key.TAB, False),
            ("\b", Key.BACKSPACE, False),
            ("\x1b", Key.ESC, False),
        ],
    )
    def test_where_they_are(self, character: str, key: Key, shift: bool) -> None:  # noqa: FBT001
        assert list(self.typed(strokes(character))) == [(key, shift)]

    def test_every_key_that_goes_down_comes_up(self) -> None:
        down: set[int] = set()
        for stroke in strokes(self.PRINTED):
            down ^= {stroke & ~LET_GO}
            assert (stroke & ~LET_GO in down) != bool(stroke & LET_GO)
        assert not down

    def test_a_character_that_is_on_no_key_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="'ä' is on no key"):
            strokes("Kälte")

    def test_keys_by_name(self) -> None:
        assert key_named("a") is key_named("A") is Key.A
        assert key_named("f10") is Key.F10
        assert key_named("left_shift") is Key.LEFT_SHIFT
        assert key_named("?") is Key.SLASH
        with pytest.raises(ConfigError, match="no key 'any'"):
            key_named("any")


# ==== in a stream =========================================================================

QUIET = (
    "00000000 00000000 FFFFFFFFFFFFFFFF 00 00"  # the cable
    " 00 01 02 00 2B"
    " 00000000000000000000000000000000 00 FFFFFFFFFFFFFFFF FFFFFFFFFFFFFFFF"
)


class TestTheStream:
    def test_at_power_on(self) -> None:
        data = dump(ps2_keyboard.SAVED.sections[0], Desk().card.state)

        assert data == bytes.fromhex(QUIET)

    def test_a_key_that_is_down(self, desk: Desk) -> None:
        """What is on its way, which keys are down, which repeats, and when."""
        desk.tell(0xED)
        desk.press(Key.ENTER)

        data = dump(ps2_keyboard.SAVED.sections[0], desk.card.state)
        at, repeats = desk.bench.slot.clock.now_ns + BYTE_NS, desk.card.state.repeat_ns
        assert data == (
            bytes.fromhex("00000000 00000001 5A")
            + at.to_bytes(8, "big")
            + bytes.fromhex("01 FA ED 01 02 00 2B 00000000000000000000080000000000 2B")
            + repeats.to_bytes(8, "big")
            + b"\xff" * 8
        )

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({18: 0xEE}, "command"),
            ({20: 3}, "code_set"),
            ({20: 0}, "code_set"),
            ({23: 0x80}, "down"),
            ({39: Key.A}, "repeat_ns"),
            ({40: 0, 41: 0, 42: 0, 43: 0}, "repeat_ns"),
            ({8: 0, 9: 0, 10: 0, 11: 0}, "arrives_ns"),
            ({39: 14, 40: 0, 41: 0, 42: 0, 43: 0}, "repeating"),
        ],
    )
    def test_what_cannot_be_is_refused(self, changes: dict[int, int], field: str) -> None:
        desk = Desk()
        data = bytearray.fromhex(QUIET)
        for offset, value in changes.items():
            data[offset] = value

        with pytest.raises(StreamError, match=field):
            desk.bench.slot.registry.load_sections({("emu/ps2_keyboard", 0): (1, bytes(data))})
        assert dump(ps2_keyboard.SAVED.sections[0], desk.card.state) == bytes.fromhex(QUIET)
