"""The typist presses keys when the keyboard has room, and can be stopped in mid-word.

Most tests have a typist alone.  The last have the whole desk as on a board: controller, keyboard,
mouse and typist, with a guest that is slow to read.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import Bench
from emu import attrs
from emu.errors import StreamError
from emu.hw import i8042, ps2_keyboard, ps2_mouse, typist
from emu.hw.i8042 import STATUS_OBF
from emu.hw.typist import HELD_NS, MOST_PENDING, ROOM_NS, Typist
from emu.irq import Line
from emu.isa import Slot
from emu.keys import CODES, LET_GO, Key, pressed, released, strokes
from emu.savevm.vmstate import UnfitError

MS = 1_000_000


@attrs.define(eq=False)
class Desk:
    """A typist, and test leads in place of a keyboard."""

    room: Line = attrs.field(factory=lambda: Line("room"))
    struck: list[tuple[int, int]] = attrs.field(factory=list)  # when, stroke
    bench: Bench[Typist] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.bench = Bench(self.plug_in)

    def plug_in(self, slot: Slot) -> Typist:
        return typist.attach(
            slot,
            strike=lambda stroke: self.struck.append((slot.clock.now_ns, stroke)),
            room=self.room,
        )

    def type(self, data: bytes) -> None:
        self.bench.card.type(data)


@pytest.fixture
def desk() -> Desk:
    return Desk()


class TestTheTypist:
    def test_keys_go_down_and_up_in_their_time(self, desk: Desk) -> None:
        """A key is down for 10 ms, and before it goes down there has been room for 4 ms."""
        desk.room.drive(high=True)
        desk.bench.wait(123 * MS)
        desk.type(strokes("ab"))
        desk.bench.wait(100 * MS)

        assert desk.struck == [
            (127 * MS, Key.A),
            (137 * MS, Key.A | LET_GO),
            (141 * MS, Key.B),
            (151 * MS, Key.B | LET_GO),
        ]

    def test_no_key_goes_down_without_room(self, desk: Desk) -> None:
        desk.type(strokes("a"))
        desk.bench.wait(1_000 * MS)
        assert desk.struck == []

        desk.room.drive(high=True)
        desk.bench.wait(ROOM_NS)
        assert desk.struck == [(1_000 * MS + ROOM_NS, Key.A)]

    def test_the_room_has_to_last(self, desk: Desk) -> None:
        """A keyboard that is being set up has room now and then."""
        desk.type(strokes("a"))
        for _ in range(10):
            desk.room.drive(high=True)
            desk.bench.wait(ROOM_NS - 1)
            desk.room.drive(high=False)
            desk.bench.wait(1)

        assert desk.struck == []

    def test_but_up_they_go(self, desk: Desk) -> None:
        """Or it would repeat; that there is room again delays it no more than that there is none."""
        desk.room.drive(high=True)
        desk.type(strokes("ab"))
        desk.bench.wait(ROOM_NS)
        desk.room.drive(high=False)
        desk.bench.wait(MS)
        desk.room.drive(high=True)
        desk.bench.wait(MS)
        desk.room.drive(high=False)
        desk.bench.wait(1_000 * MS)

        assert desk.struck == [(ROOM_NS, Key.A), (ROOM_NS + HELD_NS, Key.A | LET_GO)]

    @pytest.mark.parametrize("high", [True, False])
    def test_a_level_driven_again_is_no_event(self, desk: Desk, *, high: bool) -> None:
        desk.room.drive(high=high)
        desk.type(strokes("a"))
        desk.bench.wait(ROOM_NS - 1)
        desk.room.drive(high=high)
        desk.bench.wait(1)

        assert len(desk.struck) == high

    def test_more_text_does_not_delay_what_is_being_typed(self, desk: Desk) -> None:
        desk.room.drive(high=True)
        desk.type(strokes("a"))
        desk.bench.wait(ROOM_NS // 2)
        desk.type(strokes("b"))
        desk.bench.wait(ROOM_NS // 2)

        assert desk.struck == [(ROOM_NS, Key.A)]

    def test_what_is_typed_later_comes_later(self, desk: Desk) -> None:
        desk.room.drive(high=True)
        desk.type(pressed(Key.A))
        desk.bench.wait(100 * MS)
        desk.type(released(Key.A))
        desk.bench.wait(100 * MS)

        assert desk.struck == [(4 * MS, Key.A), (110 * MS, Key.A | LET_GO)]

    def test_there_is_a_limit(self, desk: Desk) -> None:
        """And what does not fit is refused whole."""
        desk.type(bytes(MOST_PENDING - 1))
        assert desk.bench.card.space() == 1

        with pytest.raises(UnfitError):
            desk.type(b"12")
        assert desk.bench.card.space() == 1


class TestTheStream:
    def test_under_way(self, desk: Desk) -> None:
        desk.room.drive(high=True)
        desk.type(strokes("a"))

        assert desk.bench.slot.registry.save_sections() == {
            ("emu/typist", 0): (1, bytes.fromhex("00000002 1F9F 00000000003D0900 01"))
        }

    def test_a_stroke_of_nothing_is_refused(self, desk: Desk) -> None:
        data = bytes.fromhex("00000000 00000000003D0900 01")

        with pytest.raises(StreamError, match="due_ns"):
            desk.bench.slot.registry.load_sections({("emu/typist", 0): (1, data)})


# ==== the whole desk ======================================================================


@attrs.define(eq=False)
class Whole:
    """What hangs on a controller, wired as on a board."""

    controller: i8042.I8042
    keyboard: ps2_keyboard.PS2Keyboard
    mouse: ps2_mouse.PS2Mouse
    typist: Typist

    @classmethod
    def plug_in(cls, slot: Slot) -> Whole:
        controller = i8042.attach(slot, Line("A20"), lambda: None)
        sockets = controller.keyboard, controller.mouse
        leads = [{"deliver": each.deliver, "controller_clock": each.clock} for each in sockets]
        keyboard = ps2_keyboard.attach(slot, **leads[0])
        mouse = ps2_mouse.attach(slot, **leads[1])
        controller.keyboard.connect(keyboard.receive)
        controller.mouse.connect(mouse.receive)
        hands = typist.attach(slot, strike=keyboard.strike, room=keyboard.room)
        controller.settle()
        return cls(controller, keyboard, mouse, hands)


def written(seen: list[int]) -> str:
    """What the make codes of set 1 in *seen* print, without Shift."""
    letters = {CODES[Key(strokes(each)[0])][0]: each for each in "abcdefghijklmnopqrstuvwxyz \n"}
    return "".join(letters[code] for code in seen if code < 0x80)


class Guest:
    """One that looks at the status now and then and reads what is there."""

    def __init__(self, bench: Bench[Whole], pause_ns: int) -> None:
        self.bench = bench
        self.pause_ns = pause_ns
        self.seen: list[tuple[int, int, int, bool, bool]] = []

    def look(self) -> None:
        bench = self.bench
        status = bench.inb(0x64)
        if status & STATUS_OBF:
            interrupts = bench.irq(1), bench.irq(12)
            self.seen.append((bench.slot.clock.now_ns, status, bench.inb(0x60), *interrupts))
        bench.wait(self.pause_ns)

    def keys(self) -> list[int]:
        return [byte for _, status, byte, *_ in self.seen if not status & i8042.STATUS_AUX]


@pytest.fixture
def whole() -> Bench[Whole]:
    bench = Bench(Whole.plug_in)
    for port, value in ((0x64, 0x60), (0x60, 0x47)):
        bench.outb(port, value)
    return bench


class TestTheWholeDesk:
    @pytest.mark.parametrize("pause_ns", [MS // 10, 3 * MS, 40 * MS, 700 * MS])
    def test_however_slow_the_guest_nothing_is_lost_or_doubled(
        self, whole: Bench[Whole], pause_ns: int
    ) -> None:
        """700 ms: longer than it takes a key to repeat."""
        whole.card.typist.type(strokes("hello world\n"))
        guest = Guest(whole, pause_ns)
        while whole.card.typist.state.pending:
            guest.look()
        for _ in range(40):
            guest.look()

        keys = guest.keys()
        assert written(keys) == "hello world\n"
        assert len(keys) == 2 * len("hello world\n")

    def test_a_guest_that_sets_up_its_keyboard_loses_nothing_either(self) -> None:
        """As firmware does: reset, disable, choose a set, enable; the typist waits for all that."""
        bench = Bench(Whole.plug_in)
        bench.card.typist.type(strokes("hello\n"))
        answers = []
        bench.wait(50 * MS)
        for port, value in ((0x64, 0xAA), (0x64, 0x60), (0x60, 0x54)):
            bench.outb(port, value)
        assert bench.inb(0x60) == 0x55
        for byte, count in ((0xFF, 2), (0xF5, 1), (0xF0, 1), (0x02, 1), (0xF4, 1)):
            bench.outb(0x60, byte)
            guest = Guest(bench, MS // 10)
            while len(guest.seen) < count:
                guest.look()
            answers += guest.keys()
        guest = Guest(bench, MS)
        for _ in range(400):
            guest.look()

        assert answers == [0xFA, 0xAA, 0xFA, 0xFA, 0xFA, 0xFA]
        assert written(guest.keys()) == "hello\n"

    def test_keyboard_and_mouse_at_once(self, whole: Bench[Whole]) -> None:
        """Each byte has its source, and no report is torn."""
        guest = Guest(whole, MS // 5)
        for port, value in ((0x64, 0xD4), (0x60, 0xF4)):
            whole.outb(port, value)
        whole.card.typist.type(strokes("hello"))
        for number in range(1_500):
            if number % 50 == 0 and number < 1_000:
                whole.card.mouse.move(1, 0)
            guest.look()

        assert written(guest.keys()) == "hello"
        mouse = [byte for _, status, byte, *_ in guest.seen if status & i8042.STATUS_AUX]
        assert mouse[0] == 0xFA
        reports = [mouse[at : at + 3] for at in range(1, len(mouse), 3)]
        assert all(report[0] == 0x08 and report[2] == 0 for report in reports)
        assert sum(report[1] for report in reports) == 20


class Driver:
    """A kernel's: it polls, and knows whose each byte is."""

    def __init__(self, bench: Bench[Whole]) -> None:
        self.bench = bench

    def read(self) -> str:
        """The next byte, m for one of the mouse's, or - if none comes within a second."""
        for _ in range(10_000):
            status = self.bench.inb(0x64)
            if status & STATUS_OBF:
                return f"{'m' if status & i8042.STATUS_AUX else 'k'}{self.bench.inb(0x60):02X}"
            self.bench.wait(MS // 10)
        return "-"

    def tell(self, command: int | None, *data: int) -> None:
        if command is not None:
            self.bench.outb(0x64, command)
        for each in data:
            self.bench.outb(0x60, each)

    def ask(self, command: int | None, *data: int, answers: int = 1) -> str:
        self.tell(command, *data)
        return " ".join(self.read() for _ in range(answers))


class TestLinux:
    """What drivers/input of Linux 6.1 does to find controller, keyboard and mouse, in its order."""

    @pytest.fixture
    def driver(self) -> Driver:
        return Driver(Bench(Whole.plug_in))

    def test_i8042(self, driver: Driver) -> None:
        """i8042_controller_init, i8042_check_aux: the mouse's port is there, and interrupts."""
        assert driver.read() == "-"
        assert driver.ask(0x20) == driver.ask(0x20) == "k30"
        driver.tell(0x60, 0x74)
        assert driver.ask(0x20) == "k74"

        assert driver.ask(0xD3, 0x5A) == "m5A", "AUX_LOOP"
        driver.tell(0xA8)
        assert driver.ask(0x20) == "k54"
        driver.tell(0xA7)
        assert driver.ask(0x20) == "k74"
        for byte in (0xF0, 0x56, 0xA4):
            assert driver.ask(0xD3, byte) == f"m{byte:02X}", "not four multiplexed ports"

        driver.tell(0x60, 0x56)
        driver.tell(0xD3, 0xA5)
        assert driver.bench.irq(12), "i8042_aux_test_irq"
        assert driver.read() == "mA5"
        assert not driver.bench.irq(12)

    def test_atkbd(self, driver: Driver) -> None:
        """atkbd_probe, atkbd_activate: a keyboard of set 2, translated."""
        driver.tell(0x60, 0x65)

        assert driver.ask(None, 0xF2, answers=3) == "kFA kAB k41"
        assert driver.ask(None, 0xF5) == "kFA"
        assert [driver.ask(None, byte) for byte in (0xED, 0x00)] == ["kFA"] * 2
        assert [driver.ask(None, byte) for byte in (0xF3, 0x00)] == ["kFA"] * 2
        assert driver.ask(None, 0xF4) == "kFA"

        driver.bench.card.typist.type(strokes("a"))
        driver.bench.wait(20 * MS)
        assert driver.bench.irq(1)
        assert driver.ask(None, answers=2) == "k1E k9E"

    def test_psmouse(self, driver: Driver) -> None:
        """psmouse_probe, intellimouse_detect, im_explorer_detect, psmouse_initialize."""
        driver.tell(0x60, 0x47)

        def mouse(byte: int, answers: int = 1) -> str:
            return driver.ask(0xD4, byte, answers=answers)

        assert mouse(0xF2, 2) == "mFA m00"
        assert mouse(0xFF, 3) == "mFA mAA m00"
        for rates, kind in (((200, 100, 80), "m03"), ((200, 200, 80), "m04")):
            for rate in rates:
                assert (mouse(0xF3), mouse(rate)) == ("mFA", "mFA")
            assert mouse(0xF2, 2) == f"mFA {kind}"
        for byte in (0xF3, 100, 0xE8, 3, 0xE6, 0xF3, 100, 0xF4):
            assert mouse(byte) == "mFA"

        driver.bench.card.mouse.move(2, -1, wheel=1)
        assert driver.ask(None, answers=4) == "m28 m02 mFF m01"


class TestSavedAndRestored:
    STEPS = 120

    def run(self, *, migrate_at: set[int]) -> list[object]:
        """Typing and moving, commands in between, as a guest sees it."""
        bench = Bench(Whole.plug_in)
        guest = Guest(bench, 1_700_000)
        script = self.script()
        for moment in range(self.STEPS):
            if moment in migrate_at:
                guest.bench = guest.bench.migrate()
            next(script)(guest.bench)
            guest.look()
        card = guest.bench.card
        states = [each.state for each in (card.controller, card.keyboard, card.mouse, card.typist)]
        return [guest.seen, states]

    def script(self) -> Iterator[object]:
        """What happens before each look."""

        def out(port: int, value: int) -> object:
            return lambda bench: bench.outb(port, value)

        events = {
            0: lambda bench: bench.card.typist.type(strokes("Hi, you\n")),
            3: out(0x64, 0x60),
            4: out(0x60, 0x47),
            20: out(0x64, 0xD4),
            21: out(0x60, 0xF4),
            25: lambda bench: bench.card.mouse.move(40, -3),
            30: out(0x60, 0xED),
            33: out(0x60, 0x02),
            40: out(0x64, 0xD4),
            41: out(0x60, 0xFF),
            50: out(0x60, 0xF2),
            60: lambda bench: bench.slot.reset(),
            66: out(0x64, 0x60),
            67: out(0x60, 0x47),
            80: lambda bench: bench.card.keyboard.strike(Key.UP),
        }
        for moment in range(self.STEPS):
            yield events.get(moment, lambda _bench: None)

    def test_a_restore_at_any_moment_is_invisible(self) -> None:
        """The same bytes, at the same instants, with the same interrupts."""
        straight = self.run(migrate_at=set())

        for moment in range(self.STEPS):
            assert self.run(migrate_at={moment}) == straight

    def test_so_are_restores_at_all_of_them(self) -> None:
        assert self.run(migrate_at=set(range(self.STEPS))) == self.run(migrate_at=set())

    def test_the_scenario_is_as_busy_as_it_should_be(self) -> None:
        seen, _ = self.run(migrate_at=set())
        assert len(seen) > 25
        assert {(irq1, irq12) for *_, irq1, irq12 in seen} == {(True, False), (False, True)}
