"""The null-modem cable loses nothing, keeps the UART's time, and can be saved at any moment.

Most tests have a cable alone, with pins instead of a UART.  The last have both, as on a board,
and drive them only by the UART's ports, the host's end of the cable and the passage of time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench import Bench
from emu import attrs
from emu.clock import NEVER
from emu.errors import StreamError
from emu.hw import cable, ns16550a
from emu.hw.cable import MOST_PENDING, Cable
from emu.hw.ns16550a import (
    FCR_FIFO_ENABLE,
    LCR_DLAB,
    LSR_DR,
    LSR_OE,
    MCR_LOOP,
    MCR_OUT2,
    NS16550A,
    Interrupt,
    Read,
    Write,
)
from emu.irq import Line
from emu.isa import Slot
from emu.savevm.vmstate import dump

CHARACTER_NS = 1_000


@attrs.define(eq=False)
class Ends:
    """A cable, and test leads in place of a UART at the end of it."""

    room: Line = attrs.field(factory=lambda: Line("room", level=True))
    received: list[tuple[int, int]] = attrs.field(factory=list)  # when, character
    takes_one: bool = False  # room is gone with each character, as where there are no FIFOs
    character_ns: int = CHARACTER_NS
    bench: Bench[Cable] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.bench = Bench(self.plug_in)

    def plug_in(self, slot: Slot) -> Cable:
        def receive(character: int) -> None:
            self.received.append((slot.clock.now_ns, character))
            if self.takes_one:
                self.room.drive(high=False)

        return cable.attach(
            slot, receive=receive, character_ns=lambda: self.character_ns, room=self.room
        )

    def send(self, data: bytes) -> None:
        self.bench.card.send(data)

    def wait(self, ns: int) -> None:
        self.bench.wait(ns)

    @property
    def text(self) -> bytes:
        return bytes(character for _, character in self.received)


@pytest.fixture
def ends() -> Ends:
    return Ends()


class TestTheCable:
    def test_a_character_takes_a_character_time(self, ends: Ends) -> None:
        ends.wait(123)
        ends.send(b"a")
        ends.wait(CHARACTER_NS - 1)
        assert ends.received == []

        ends.wait(1)
        assert ends.received == [(123 + CHARACTER_NS, ord("a"))]

    def test_one_follows_the_other_without_a_gap(self, ends: Ends) -> None:
        ends.send(b"ab")
        ends.send(b"c")
        ends.wait(10 * CHARACTER_NS)

        assert ends.received == [(1000, ord("a")), (2000, ord("b")), (3000, ord("c"))]

    def test_the_time_is_the_UARTs_when_the_character_starts(self, ends: Ends) -> None:
        """The guest may change the rate; what is on the way keeps its own."""
        ends.send(b"abc")
        ends.wait(CHARACTER_NS + 1)
        ends.character_ns = 5_000
        ends.wait(CHARACTER_NS - 1)
        ends.wait(5_000)

        assert [when for when, _ in ends.received] == [1000, 2000, 7000]

    def test_nothing_sent_is_nothing_received(self, ends: Ends) -> None:
        ends.send(b"")
        ends.room.drive(high=False)
        ends.room.drive(high=True)
        ends.wait(10 * CHARACTER_NS)

        assert ends.received == []
        assert ends.bench.slot.clock.next_ns == NEVER

    def test_without_room_nothing_starts(self, ends: Ends) -> None:
        ends.room.drive(high=False)
        ends.send(b"ab")
        ends.wait(10 * CHARACTER_NS)
        assert ends.received == []

        ends.room.drive(high=True)
        ends.wait(CHARACTER_NS - 1)
        assert ends.received == []

        ends.wait(1)
        assert ends.text == b"a"

    def test_a_character_waits_for_the_one_before_to_be_read(self, ends: Ends) -> None:
        """As where there are no FIFOs: the UART's room is gone while RBR is full."""
        ends.takes_one = True
        ends.send(b"ab")
        ends.wait(10 * CHARACTER_NS)
        assert ends.text == b"a"

        ends.room.drive(high=True)
        ends.wait(CHARACTER_NS)
        assert ends.received[1:] == [(11 * CHARACTER_NS, ord("b"))]

    def test_a_character_that_finds_no_room_is_held(self, ends: Ends) -> None:
        """The room was there when it started; nothing is lost."""
        ends.send(b"ab")
        ends.wait(CHARACTER_NS // 2)
        ends.room.drive(high=False)
        ends.wait(10 * CHARACTER_NS)
        assert ends.received == []

        ends.room.drive(high=True)
        ends.wait(0)
        assert ends.text == b"a", "it has arrived long ago"

        ends.wait(CHARACTER_NS)
        assert ends.text == b"ab"

    def test_room_that_comes_back_in_time_changes_nothing(self, ends: Ends) -> None:
        ends.send(b"a")
        ends.wait(CHARACTER_NS // 4)
        ends.room.drive(high=False)
        ends.wait(CHARACTER_NS // 4)
        ends.room.drive(high=True)
        ends.wait(CHARACTER_NS)

        assert ends.received == [(CHARACTER_NS, ord("a"))]

    @pytest.mark.parametrize("high", [False, True])
    def test_a_level_driven_again_is_no_event(self, ends: Ends, *, high: bool) -> None:
        ends.send(b"ab")
        ends.wait(CHARACTER_NS // 2)
        ends.room.drive(high=high)
        before = ends.bench.slot.registry.save_sections()

        ends.room.drive(high=high)

        assert ends.bench.slot.registry.save_sections() == before


class TestTheHostsEnd:
    def test_space_is_what_can_still_be_sent(self, ends: Ends) -> None:
        assert ends.bench.card.space() == MOST_PENDING

        ends.send(b"abc")
        assert ends.bench.card.space() == MOST_PENDING - 3
        ends.wait(CHARACTER_NS)
        assert ends.bench.card.space() == MOST_PENDING - 2

    def test_more_is_refused_whole(self, ends: Ends) -> None:
        """The host end asks for space first; nothing of what it has sent may be lost."""
        ends.send(b"abc")
        with pytest.raises(ValueError, match="65537 bytes"):
            ends.send(bytes(MOST_PENDING - 2))
        assert ends.bench.card.space() == MOST_PENDING - 3

        ends.send(bytes(MOST_PENDING - 3))
        assert ends.bench.card.space() == 0


class TestTheStream:
    def test_at_power_on(self, ends: Ends) -> None:
        golden = bytes.fromhex("00000000" + "ff" * 8 + "01")
        assert ends.bench.slot.registry.save_sections() == {("emu/cable", 0): (1, golden)}

    def test_under_way(self, ends: Ends) -> None:
        """Version 1 byte for byte, so that today's saves load for ever."""
        ends.send(b"ab")
        ends.room.drive(high=False)

        golden = bytes.fromhex("00000002 6162 00000000000003e8 00")
        assert ends.bench.slot.registry.save_sections() == {("emu/cable", 0): (1, golden)}

    def test_an_arrival_of_nothing_is_refused(self, ends: Ends) -> None:
        hostile = dump(cable.SAVED.sections[0], cable.State(arrives_ns=5))

        with pytest.raises(StreamError, match="nothing is pending that could arrive"):
            ends.bench.slot.registry.load_sections({("emu/cable", 0): (1, hostile)})

    def test_more_than_it_holds_is_refused(self, ends: Ends) -> None:
        hostile = bytes.fromhex("00010001") + bytes(0x10001) + bytes.fromhex("ff" * 8 + "01")

        with pytest.raises(StreamError, match="too long"):
            ends.bench.slot.registry.load_sections({("emu/cable", 0): (1, hostile)})


BASE, IRQ = 0x3F8, 4
EIGHT_BITS = 0x03
UART_CHARACTER_NS = 86_805  # at 115200 baud


@attrs.define(eq=False)
class Wired:
    """A UART and its cable, as on a board."""

    uart: NS16550A
    cable: Cable


@attrs.define(eq=False)
class Board:
    """Both on a bench, and what was seen on their outputs."""

    cable_first: bool = False  # in the registry, and so in every save and load
    sent: list[tuple[int, int]] = attrs.field(factory=list)
    irq_times: list[tuple[int, bool]] = attrs.field(factory=list)
    bench: Bench[Wired] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.bench = Bench(self.plug_in)

    def plug_in(self, slot: Slot) -> Wired:
        slot.irqs[IRQ].connect(lambda high: self.note_irq(slot, high=high))
        room = Line("room", level=True)
        parts: dict[str, NS16550A] = {}

        def receive(character: int) -> None:
            parts["uart"].receive(character)

        def character_ns() -> int:
            return parts["uart"].character_ns()

        def plug_in_cable() -> Cable:
            return cable.attach(slot, receive=receive, character_ns=character_ns, room=room)

        plugged = plug_in_cable() if self.cable_first else None
        parts["uart"] = ns16550a.attach(
            slot, transmit=lambda character: self.sent.append((slot.clock.now_ns, character))
        )
        plugged = plugged or plug_in_cable()
        parts["uart"].room.connect(lambda high: room.drive(high=high))
        return Wired(parts["uart"], plugged)

    def note_irq(self, slot: Slot, *, high: bool) -> None:
        if high != (self.irq_times[-1][1] if self.irq_times else False):
            self.irq_times.append((slot.clock.now_ns, high))

    @property
    def now_ns(self) -> int:
        return self.bench.slot.clock.now_ns

    def read(self, register: Read) -> int:
        return self.bench.inb(BASE + register)

    def write(self, register: Write, value: int) -> None:
        self.bench.outb(BASE + register, value)

    def send(self, data: bytes) -> None:
        self.bench.card.cable.send(data)

    def wait(self, characters: float) -> None:
        self.bench.wait(round(characters * UART_CHARACTER_NS))

    def open(self, *, fcr: int = 0, ier: int = 0) -> None:
        self.write(Write.LCR, LCR_DLAB | EIGHT_BITS)
        self.bench.outb(BASE, 1)
        self.bench.outb(BASE + 1, 0)
        self.write(Write.LCR, EIGHT_BITS)
        self.write(Write.MCR, MCR_OUT2)
        self.write(Write.FCR, fcr)
        self.write(Write.IER, ier)

    def read_all(self) -> bytes:
        characters = b""
        while (status := self.read(Read.LSR)) & LSR_DR:
            assert not status & LSR_OE
            characters += bytes([self.read(Read.RBR)])
        return characters

    def serve(self) -> tuple[bytes, bytes]:
        """What a guest's interrupt handler does; the interrupts and characters it found."""
        found = characters = b""
        while (identification := self.read(Read.IIR)) & 0x0F != Interrupt.NONE:
            found += bytes([identification])
            characters += self.read_all()
            self.read(Read.MSR)
        return found, characters

    def sections(self) -> dict[tuple[str, int], tuple[int, bytes]]:
        return self.bench.slot.registry.save_sections()

    def migrate(self) -> None:
        self.bench = self.bench.migrate()


TEXT = bytes(range(0x20, 0x60))


class TestWithAUART:
    @pytest.mark.parametrize("fcr", [0, FCR_FIFO_ENABLE, FCR_FIFO_ENABLE | 0xC0])
    @pytest.mark.parametrize("pause", [0.25, 1, 3, 20])
    def test_nothing_is_lost_however_slowly_it_is_read(self, fcr: int, pause: float) -> None:
        board = Board()
        board.open(fcr=fcr)
        board.send(TEXT)

        received = b""
        for _ in range(400):
            board.wait(pause)
            received += board.read_all()

        assert received == TEXT

    def test_the_UART_gets_no_more_than_it_has_room_for(self) -> None:
        board = Board()
        board.open(fcr=FCR_FIFO_ENABLE)
        board.send(TEXT)
        board.wait(100)

        assert board.bench.card.cable.space() == MOST_PENDING - len(TEXT) + 16
        assert board.read_all() == TEXT[:16]

    @pytest.mark.parametrize(
        ("register", "away", "back"),
        [(Write.FCR, 0, FCR_FIFO_ENABLE), (Write.MCR, MCR_LOOP, MCR_OUT2)],
        ids=["FIFOs off", "loopback"],
    )
    def test_a_guest_that_takes_the_room_away_loses_nothing_on_the_way(
        self, register: Write, away: int, back: int
    ) -> None:
        """What the FIFO held the UART clears itself (§8.5); what is on the cable stays."""
        board = Board()
        board.open(fcr=FCR_FIFO_ENABLE)
        board.send(TEXT[:20])
        board.wait(3.5)
        received = board.read_all()

        board.write(register, away)
        board.wait(5)
        received += board.read_all()
        board.wait(0.5)
        received += board.read_all()
        board.write(register, back)
        board.wait(30)
        received += board.read_all()
        board.wait(30)
        received += board.read_all()

        assert received == TEXT[:20]

    def test_a_reset_of_the_machine_keeps_what_the_host_has_sent(self) -> None:
        """A cable has no RESET pin."""
        board = Board()
        board.open()
        board.send(b"ab")
        board.wait(0.5)

        board.bench.slot.reset()
        board.open()
        board.wait(1)
        assert board.read_all() == b"a"

        board.wait(1)
        assert board.read_all() == b"b"

    def test_a_write_that_waits_lets_characters_arrive(self) -> None:
        """The clock that it moves is the cable's too."""
        board = Board()
        board.open(fcr=FCR_FIFO_ENABLE)
        board.send(b"abcd")
        for character in TEXT[:20]:
            board.write(Write.THR, character)

        assert board.read_all() == b"abc"


Step = Callable[[Board], object]


def write(register: Write, value: int) -> Step:
    return lambda board: board.write(register, value)


def send(data: bytes) -> Step:
    return lambda board: board.send(data)


def wait(characters: float) -> Step:
    return lambda board: board.wait(characters)


def read_rbr(board: Board) -> object:
    return board.read(Read.RBR)


# Received and sent characters go side by side, in each mode and over its changes.
BUSY: tuple[Step, ...] = (
    lambda board: board.open(ier=0x0F),
    send(b"one at a time"),
    *[write(Write.THR, character) for character in b"abc"],  # the last one waits
    Board.serve,
    wait(0.5),
    Board.serve,
    wait(1.5),
    read_rbr,
    write(Write.FCR, FCR_FIFO_ENABLE | 0x40),
    *[write(Write.THR, character) for character in b"defgh"],
    wait(2),
    Board.serve,
    wait(2),
    Board.serve,
    wait(15),
    Board.serve,
    send(b"ok"),
    wait(3),
    wait(4),  # a timeout
    Board.serve,
    send(b"and many more than the FIFO has room for"),
    write(Write.THR, ord("i")),
    wait(20),
    read_rbr,
    wait(0.5),
    write(Write.FCR, 0),
    wait(0.25),
    Board.serve,
    wait(1),
    write(Write.FCR, FCR_FIFO_ENABLE | 0x80),
    wait(3.5),
    write(Write.MCR, MCR_LOOP | MCR_OUT2),  # while a character is on the way
    *[write(Write.THR, character) for character in b"loop"],
    wait(0.75),
    Board.serve,
    send(b"!"),
    wait(4),
    Board.serve,
    write(Write.MCR, MCR_OUT2),
    Board.serve,
    wait(1),
    lambda board: board.bench.slot.reset(),
    wait(0.5),
    lambda board: board.open(fcr=FCR_FIFO_ENABLE, ier=0x0F),
    *[write(Write.THR, character) for character in TEXT[:18]],  # waits for room in the FIFO
    Board.serve,
    wait(16),
    Board.serve,
    wait(16),
    Board.serve,
    wait(16),
)


def run_busy(*, restore_at: int | None = None, cable_first: bool = False) -> list[object]:
    """Everything that can be observed of a busy port, moved to a new machine once."""
    board = Board(cable_first)
    seen: list[object] = []
    for moment, step in enumerate(BUSY):
        if moment == restore_at:
            before = board.sections()
            board.migrate()
            assert board.sections() == before, "settling changes no State"
        seen += [step(board), board.now_ns, board.bench.irq(IRQ)]
        board.wait(0.1)
        seen.append(dict(sorted(board.sections().items())))
    return [*seen, board.sent, board.irq_times]


@pytest.fixture(scope="module")
def uninterrupted() -> list[object]:
    return run_busy()


class TestSavedAndRestored:
    @pytest.mark.parametrize("cable_first", [False, True])
    @pytest.mark.parametrize("moment", range(len(BUSY)))
    def test_a_restore_at_any_moment_is_invisible(
        self, uninterrupted: list[object], moment: int, *, cable_first: bool
    ) -> None:
        """A restored pair cannot be told from one that never stopped, whoever settles first."""
        assert run_busy(restore_at=moment, cable_first=cable_first) == uninterrupted

    def test_the_scenario_is_as_busy_as_it_should_be(self, uninterrupted: list[object]) -> None:
        """Every kind of interrupt, and every character sent, is in it."""
        *seen, sent, irq_times = uninterrupted
        served = [each for each in seen if isinstance(each, tuple)]

        kinds = {identification & 0x0F for found, _ in served for identification in found}
        assert kinds >= {
            Interrupt.RECEIVED_DATA,
            Interrupt.CHARACTER_TIMEOUT,
            Interrupt.THR_EMPTY,
            Interrupt.MODEM_STATUS,
        }
        assert bytes(character for _, character in sent) == b"abcdefghi" + TEXT[:18]
        assert len(irq_times) > 20
