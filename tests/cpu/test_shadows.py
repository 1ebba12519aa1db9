"""Ports answered from shadows: nobody can tell, neither a guest nor a card.

A guest works through a list of random accesses, most of them to ports that have a shadow, and keeps what it
has read.  It finds the same whether shadows.c answers or the cards are asked, and leaves the cards
and the clock the same: whenever it is stopped, too.  (That a shadow shows what its card would
say is held for every card in test_every_device.py.)
"""

from __future__ import annotations

import random
import struct

import pytest
from rig import DELIVERIES, Rig, needs_native, real_mode

import emu
from emu import attrs
from emu.clock import Costs
from emu.cpu.processor import Pause
from emu.machine import Machine
from emu.ports import Ports
from emu.tools import trace
from emu.until import Reason

pytestmark = needs_native

MS = 1_000_000
RECORDS = 0x7E00  # four bytes each: a port, whether it is written, the value
RESULTS = 0x2_0000
OPEN_PORT, SCRATCH, LINE_STATUS = 0x80, 0x3FF, 0x3FD
MASTER_IMR, SLAVE_IMR = 0x21, 0xA1

WORK = bytes.fromhex(
    "b8 00 20 8e c0"  # mov ax, 2000h; mov es, ax
    "31 c0 8e d8"  # xor ax, ax; mov ds, ax
    "31 ff"  # xor di, di
    "be 00 7e"  # mov si, 7e00h
    "fc"  # cld
    "ad 89 c2"  # next: lodsw; mov dx, ax
    "ad"  # lodsw
    "3c 02"  # cmp al, 2
    "73 0d"  # jae end
    "84 c0"  # test al, al
    "74 05"  # jz in
    "88 e0 ee"  # mov al, ah; out dx, al
    "eb ef"  # jmp next
    "ec aa"  # in: in al, dx; stosb
    "eb eb"  # jmp next
    "b0 00 e6 f4 eb fe"  # end: mov al, 0; out 0f4h, al; jmp $
)

Access = tuple[int, bool, int]


def accesses(dice: random.Random) -> list[Access]:
    """One random access, or some that belong together."""

    def some(port: int, *, written: bool, value: int = 0) -> Access:
        return port, written, value

    byte = dice.randrange(256)
    counter = dice.randrange(3)
    index = dice.choice([0x0E, 0x32, 0x40, 0x41, 0x7F, 0x0A, 0x0B, 0x00, 0xC0])
    port = dice.choice([OPEN_PORT, SCRATCH, LINE_STATUS, MASTER_IMR, SLAVE_IMR, 0x64, 0x92])
    choices: list[list[Access]] = [
        [some(port, written=False)],
        [some(dice.randrange(0x600, 0x10000), written=False)],
        [some(dice.choice([OPEN_PORT, SCRATCH, MASTER_IMR, SLAVE_IMR]), written=True, value=byte)],
        [some(SCRATCH, written=True, value=byte), some(SCRATCH, written=False)],
        [some(MASTER_IMR, written=True, value=byte), some(MASTER_IMR, written=False)],
        [some(0x70, written=True, value=index), some(0x71, written=False)],
        [some(0x70, written=True, value=index), some(0x71, written=True, value=byte & 0x7F)],
        [some(0x71, written=False)],
        [
            some(0x43, written=True, value=counter << 6),
            some(0x40 + counter, written=False),
            some(0x40 + counter, written=False),
        ],
        [some(0x43, written=True, value=dice.choice([counter << 6, 0xC2, 0xE2, 0xCE]))],
        [some(0x40 + counter, written=False)],
        [
            some(
                0x43, written=True, value=counter << 6 | dice.choice([0x30, 0x34, 0x36, 0x38, 0x31])
            ),
            some(0x40 + counter, written=True, value=byte),
            some(0x40 + counter, written=True, value=dice.choice([0, 1, 4, 0x80])),
        ],
        [
            some(
                dice.choice([0x20, 0xA0]), written=True, value=dice.choice([0x20, 0x0A, 0x0B, 0x0C])
            )
        ],
        [some(dice.choice([0x20, 0xA0, 0x60, 0x61, 0x3FA, 0x3F8]), written=False)],
        [some(0x61, written=True, value=byte & 3)],
        [some(0x3F8, written=True, value=byte)],
    ]
    weights = [6, 1, 4, 3, 3, 4, 4, 2, 6, 1, 2, 1, 1, 1, 1, 1]
    return dice.choices(choices, weights)[0]


def image(seed: int, count: int, *, interrupts: bool) -> bytes:
    """The guest, with *count* accesses or more."""
    dice = random.Random(seed)
    listed: list[Access] = []
    while len(listed) < count:
        listed += accesses(dice)
    records = b"".join(struct.pack("<HBB", *each) for each in listed)
    enable = b"\xfb" if interrupts else b"\xfa"  # sti, cli
    return (enable + WORK).ljust(0x200, b"\0") + records + b"\0\0\2\0"


@attrs.frozen
class Seen:
    """What can be told of a run: at each stop the clock and the whole state, and what was read."""

    stops: list[tuple[int, str]]
    read: bytes


def run(guest: bytes, engine: str, slice_ns: int, *, unwatched: bool = True) -> tuple[Seen, int]:
    stops = []
    with Machine(guest, engine=engine, memory="1M") as vm:
        vm.board.processor.engine.unwatched = unwatched
        reason = Reason.UNTIL
        while reason is Reason.UNTIL and len(stops) < 1000:
            reason = vm.run(emu.after(slice_ns)).reason
            stops.append((vm.clock.now_ns, vm.digest()))
        assert reason is Reason.EXIT
        return Seen(
            stops, vm.memory.ram.read(RESULTS, 0x4000)
        ), vm.board.slot.shadows.table.answered


class TestRandomAccesses:
    @pytest.mark.parametrize("interrupts", [False, True])
    @pytest.mark.parametrize("seed", range(6))
    def test_nobody_can_tell(self, seed: int, *, interrupts: bool) -> None:
        guest = image(seed, 3000, interrupts=interrupts)

        seen, many = run(guest, "native", 3 * MS)
        asked, none = run(guest, "native", 3 * MS, unwatched=False)

        assert seen == asked
        assert many > 1500
        assert none == 0

    @pytest.mark.parametrize("seed", range(6, 9))
    def test_nor_where_the_run_is_sliced(self, seed: int) -> None:
        """A stop is where the cards are told; the end is the same."""
        guest = image(seed, 1500, interrupts=True)

        whole, _ = run(guest, "native", 100 * MS)
        sliced, _ = run(guest, "native", 7 * MS // 100)

        assert whole.read == sliced.read
        assert whole.stops[-1] == sliced.stops[-1]

    @pytest.mark.parametrize("seed", range(9, 12))
    def test_the_reference_engine_finds_the_same(self, seed: int) -> None:
        guest = image(seed, 1500, interrupts=True)

        assert run(guest, "native", 3 * MS)[0] == run(guest, "reference", 3 * MS)[0]


@attrs.define(eq=False)
class Bench:
    """A processor whose ports have cards, or none; a guest of a few bytes in real mode."""

    engine: str
    ports: Ports = attrs.field(factory=Ports)
    asked: list[tuple[int, ...]] = attrs.field(factory=list)

    def card(self, port: int) -> None:
        """A card at *port* that notes how it is asked, and reads as 5A."""

        def read(port: int) -> int:
            self.asked.append((port,))
            return 0x5A

        def write(port: int, value: int) -> None:
            self.asked.append((port, value))

        self.ports.register_ioport_read(port, 1, 1, read)
        self.ports.register_ioport_write(port, 1, 1, write)

    def run(self, code: str) -> Rig:
        rig = Rig(self.engine)
        rig.processor.ports = self.ports
        rig.load(bytes.fromhex(code) + b"\xf4", real_mode())
        assert rig.run() is Pause.HALTED
        return rig


IN_80, OUT_80 = "e4 80", "e6 80"
AL_7 = "b0 07"


@pytest.fixture(params=DELIVERIES)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


class TestOnePort:
    def test_open(self, bench: Bench) -> None:
        rig = bench.run(AL_7 + OUT_80 + IN_80)

        assert rig.state.eax & 0xFF == 0xFF

    def test_a_card_without_a_shadow_is_asked(self, bench: Bench) -> None:
        bench.card(0x80)

        rig = bench.run(AL_7 + OUT_80 + IN_80)

        assert bench.asked == [(0x80, 7), (0x80,)]
        assert rig.state.eax & 0xFF == 0x5A

    def test_a_card_of_words_leaves_bytes_open(self, bench: Bench) -> None:
        bench.ports.register_ioport_read(0x80, 1, 2, lambda _port: 0x1234)

        rig = bench.run("e5 80  88 c3" + IN_80)  # in ax, 80h; mov bl, al

        assert (rig.state.ebx & 0xFF, rig.state.eax & 0xFF) == (0x34, 0xFF)

    def test_shown(self, bench: Bench) -> None:
        """A read asks nobody; a write asks the card."""
        bench.card(0x80)
        bench.ports.shadows.one(0x80).show(0x5A)

        rig = bench.run(AL_7 + OUT_80 + IN_80)

        assert (0x80, 7) in bench.asked
        assert rig.state.eax & 0xFF == 0x5A

    def test_hidden_again(self, bench: Bench) -> None:
        bench.card(0x80)
        bench.ports.shadows.one(0x80).show(0x5A)
        bench.ports.shadows.one(0x80).hide()

        bench.run(IN_80)

        assert bench.asked == [(0x80,)]

    def test_a_card_hears_of_what_was_stored_before_any_is_asked(self) -> None:
        """And of the last value only."""
        bench = Bench("native")
        bench.card(0x80)
        bench.card(0x84)
        bench.ports.shadows.one(0x80).show_stored(1)

        bench.run(AL_7 + OUT_80 + "fe c8" + OUT_80 + IN_80 + "e6 84")  # dec al; out 84h, al

        assert bench.asked == [(0x80, 6), (0x84, 6)]

    def test_a_card_hears_of_it_before_the_run_is_over(self) -> None:
        bench = Bench("native")
        bench.card(0x80)
        bench.ports.shadows.one(0x80).show_stored(1)

        bench.run(AL_7 + OUT_80)

        assert bench.asked == [(0x80, 7)]

    def slow(self, bench: Bench, code: str) -> Rig:
        """A guest whose accesses take 1000 ns, after a block's 1 ns."""
        rig = Rig(bench.engine, costs=Costs(block_ns=1, port_ns=1000))
        rig.processor.ports = bench.ports
        rig.load(bytes.fromhex(code + "f4"), real_mode())
        return rig

    def test_an_access_takes_its_time(self, bench: Bench) -> None:
        rig = self.slow(bench, IN_80 * 4)

        assert rig.run() is Pause.HALTED
        assert rig.clock.now_ns == 4_001

    @pytest.mark.parametrize(("due_ns", "first"), [(2_000, 7), (2_001, 7), (2_002, 5)])
    def test_alarms_that_are_due_come_first(self, bench: Bench, due_ns: int, first: int) -> None:
        """Up to the access's end, and that included: the second ends at 2001."""
        bench.card(0x80)
        shadow = bench.ports.shadows.one(0x80)
        shadow.show(5)
        bench.ports._reads[1][0x80] = lambda port: bench.ports.shadows.values[port]
        rig = self.slow(bench, IN_80 + IN_80)
        rig.clock.alarm("test", 0, "alarm", lambda: shadow.show(7)).arm(due_ns)

        rig.run()

        assert rig.state.eax & 0xFF == first

    def test_a_card_may_move_the_clock_on(self, bench: Bench) -> None:
        """As the serial port does, whose transmitter is full: time does not go back."""
        bench.ports.register_ioport_write(
            0x84, 1, 1, lambda _port, _value: rig.clock.advance(5_000)
        )
        rig = self.slow(bench, IN_80 + "e6 84" + IN_80)  # out 84h, al

        rig.run()

        assert rig.clock.now_ns == 8_001

    def test_an_alarm_armed_in_the_middle_of_a_block(self, bench: Bench) -> None:
        """Somebody acts between two steps; the engine, in mid-block, does not know of it."""
        fired: list[int] = []
        rig = self.slow(bench, IN_80 + IN_80)
        alarm = rig.clock.alarm("test", 0, "alarm", lambda: fired.append(rig.clock.now_ns))

        rig.processor.step()
        alarm.arm(1_500)
        rig.processor.step()

        assert fired == [1_500]

    def test_who_looks_on_sees_each(self) -> None:
        """A trace of ports takes their shadows away."""
        said: list[str] = []
        with Machine(bytes.fromhex(AL_7 + OUT_80 + IN_80 + "fa f4"), memory="1M") as vm:
            trace.install(vm, {trace.What.PORTS}, said.append)
            vm.run()

        assert [line.split("ns  ")[1] for line in said[-2:]] == [
            "OUT   0080  1  07",
            "IN    0080  1  ff",
        ]
