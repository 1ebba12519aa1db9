"""Every card that can be plugged in, and how to keep each of them busy.

The contract that all of them keep is in test_every_device.py; a new card adds one entry to
`CARDS` and inherits it.  An entry is a function that plugs the card into a slot and returns
its `Surroundings`: what hangs on its pins, and what may happen there.

`Rig` is a slot with one entry of `CARDS` in it.  `traffic` drives it at random, as a guest and the
world outside may: any of its ports, any value, any moment, any pin, RESET.  All that can be
seen of it from outside is in its `log`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from emu import attrs, inputs, nameplate, timebase
from emu.board import Options
from emu.cpu.models import Model
from emu.hw import (
    cable,
    debug_exit,
    debugcon,
    fpu_error,
    fw_cfg,
    i8042,
    i8254,
    i8259,
    loader,
    mc146818,
    ns16550a,
    port61,
    port92,
    ps2_keyboard,
    ps2_mouse,
    reset_control,
    typist,
)
from emu.inputs import Input, Source
from emu.irq import Line
from emu.isa import IRQS, Slot
from emu.kernels.placement import Piece, Placement
from emu.keys import LET_GO, Key
from emu.memory import MIB
from emu.ports import SIZES
from emu.savevm.entries import Declared
from emu.savevm.stream import Stream
from emu.savevm.vmstate import Saved, reg, whole

Log = list[tuple[object, ...]]
Dice = random.Random
Action = Callable[[Dice], object]  # what it gives is noted in the log

US, MS, S = 1_000, 1_000_000, 1_000_000_000


# ==== what hangs on the pins ==============================================================


@attrs.define
class Levels:
    """The levels that a probe has last seen, a bit a line."""

    seen: int = reg(bits=64, doc="bit n: line n is high")


LEVELS = Saved(Levels, (whole(Levels, "test/levels"),))


@attrs.define(eq=False)
class Probe:
    """Listens on lines and notes their edges; as every such input it keeps the last levels.

    It is saved with the card under test, like the interrupt controller that would be there.
    """

    slot: Slot
    log: Log
    _levels: Levels = attrs.field(init=False, factory=Levels)
    names: list[str] = attrs.field(init=False, factory=list)

    @property
    def state(self) -> Levels:
        return self._levels

    @state.setter
    def state(self, new: Levels) -> None:
        """Whatever has been heard before is forgotten with the State that heard it."""
        self._levels = new
        self.log.clear()

    def listen(self, line: Line) -> Line:
        """Solder the probe to *line*."""
        number = len(self.names)
        self.names.append(line.name)
        self.state.seen |= line.level << number
        line.connect(lambda high: self._hear(number, high))
        return line

    def _hear(self, number: int, high: bool) -> None:  # noqa: FBT001 - a pin's level
        if bool(self.state.seen >> number & 1) != high:
            self.state.seen ^= 1 << number
            self.log.append((self.slot.clock.now_ns, self.names[number], high))

    def level(self, name: str) -> bool:
        """Of the line of that name, when last seen."""
        return bool(self.state.seen >> self.names.index(name) & 1)

    def settle(self) -> None:
        """It only listens."""


@attrs.define(eq=False)
class Surroundings:
    """One card's: the actions that ports, time and RESET do not cover."""

    slot: Slot
    log: Log = attrs.field(factory=list)
    probe: Probe = attrs.field(init=False)
    actions: list[Action] = attrs.field(factory=list)
    steps_ns: Sequence[int] = (0, 1, 400, 2 * US, 70 * US, MS, 5 * MS, 20 * MS)

    def __attrs_post_init__(self) -> None:
        self.probe = Probe(self.slot, self.log)

    def told(self, what: str) -> Callable[[object], None]:
        """A function that notes what it is called with."""
        return lambda value: self.log.append((self.slot.clock.now_ns, what, value))


# ==== the cards ===========================================================================


def plug_in_i8254(slot: Slot) -> Surroundings:
    """The timer, and the port that has its counter 2's gate."""
    around = Surroundings(slot)
    probe = around.probe
    irq0, out1 = probe.listen(slot.irq(0)), probe.listen(Line("OUT 1"))
    chip = i8254.attach(slot, outs=[irq0, out1, None])
    gate2 = Line("GATE 2", level=True)
    gate2.connect(lambda high: chip.set_gate(2, high))
    port61.attach(slot, gate2, lambda: chip.gate(2), lambda: chip.out(2))
    around.actions = [
        lambda dice: chip.set_gate(dice.randrange(2), dice.random() < 0.5),
        lambda dice: chip.out(dice.randrange(3)),
    ]
    around.steps_ns = (0, 1, 400, 838, 839, 5 * US, 300 * US, 3 * MS)
    return around


def plug_in_i8259(slot: Slot) -> Surroundings:
    """The pair of interrupt controllers; the other cards' lines are pulled at random."""
    around = Surroundings(slot)
    pair = i8259.attach_pair(slot, around.probe.listen(Line("INTR")))

    def pull(dice: Dice) -> None:
        number = dice.choice([each for each in range(IRQS) if each != i8259.CASCADE_IR])
        slot.irqs[number].drive(high=dice.random() < 0.5)

    around.actions = [pull, pull, pull, lambda _: pair.acknowledge()]
    return around


def plug_in_ns16550a(slot: Slot) -> Surroundings:
    """The serial port with its cable."""
    around = Surroundings(slot)
    chip = ns16550a.attach(slot, transmit=around.told("SOUT"))
    wire = cable.attach(slot, receive=chip.receive, character_ns=chip.character_ns, room=chip.room)
    around.probe.listen(slot.irqs[4])
    for line in (chip.dtr, chip.rts):
        around.probe.listen(line)

    def levels(dice: Dice) -> None:
        cts, dsr, ri, dcd = (dice.random() < 0.5 for _ in range(4))
        chip.set_modem(cts=cts, dsr=dsr, ri=ri, dcd=dcd)

    def set_up(dice: Dice) -> None:
        """A rate at which something happens, and FIFOs: by chance alone they are rare."""
        for offset, value in ((3, 0x83), (0, 1), (1, 0), (3, 0x03), (2, dice.choice([0, 0x41]))):
            slot.ports.write(0x3F8 + offset, value, 1)
        slot.ports.write(0x3FC, dice.choice([0x0B, 0x1B]), 1)

    around.actions = [
        levels,
        set_up,
        set_up,
        lambda dice: wire.send(dice.randbytes(dice.randrange(1, 40))),
        lambda dice: chip.receive(dice.randrange(256), dice.randrange(256)),
    ]
    return around


def plug_in_mc146818(slot: Slot) -> Surroundings:
    """The clock, some months before a leap day, where a day is a moment."""
    around = Surroundings(slot)
    chip = mc146818.attach(
        slot,
        int(datetime(1999, 12, 31, 23, 59, 58, tzinfo=UTC).timestamp()),
        16 * MIB,
        nmi_mask=around.probe.listen(Line("NMI mask")),
    )
    around.probe.listen(slot.irqs[8])

    def set_up(dice: Dice) -> None:
        """A register that is a register, mostly one that makes interrupts."""
        for index, value in (
            (dice.choice([0xA, 0xB, 0xB, 0xC]), dice.choice([0x26, 0x2F, 0x70, 0x02, 0x86])),
            (dice.randrange(10), dice.choice([0xFF, 0x59, 0x23, dice.randrange(256)])),
            (dice.randrange(128), dice.randrange(256)),
        ):
            slot.ports.write(0x70, index, 1)
            slot.ports.write(0x71, value, 1)

    around.actions = [set_up, lambda dice: chip.boot_set(dice.choice(["", "c", "adn"]))]
    around.steps_ns = (0, 1, 100 * US, 2 * MS, 250 * MS, S, 3 * S, 86_400 * S)
    return around


def plug_in_fw_cfg(slot: Slot) -> Surroundings:
    """fw_cfg, with a memory that tells each address's own bytes and notes what is written."""
    around = Surroundings(slot)

    def read(address: int, size: int) -> bytes:
        """DMA structures among others: selectors that there are, lengths that end."""
        control = bytes([0, address >> 4 & 0x3F, 0, address & 0x1F])
        return (control + bytes([0, 0, 0, 9]) + address.to_bytes(10, "big"))[:size]

    def write(address: int, data: bytes) -> None:
        around.log.append((slot.clock.now_ns, "DMA", address, data))

    items = fw_cfg.machine_items(16 * MIB)
    files = {"opt/test": b"a file", "etc/other": bytes(range(200))}
    fw_cfg.attach(slot, items, files, read, write, writable=frozenset({"opt/test"}))

    def select(dice: Dice) -> None:
        slot.ports.write(fw_cfg.PORT_SELECTOR, dice.choice([0, 3, 0x19, 0x20, 0x21, 0x4020]), 2)

    around.actions = [select]
    return around


def plug_in_port92(slot: Slot) -> Surroundings:
    around = Surroundings(slot)
    a20 = around.probe.listen(Line("A20", level=True))
    port92.attach(slot, a20, lambda: around.told("hot reset")(None), open_after_reset=True)
    return around


def plug_in_fpu_error(slot: Slot) -> Surroundings:
    """The latch of the x87's errors, and a processor that has one now and then."""
    around = Surroundings(slot)
    around.probe.listen(slot.irqs[13])
    card = fpu_error.attach(slot, ignore=lambda: around.told("IGNNE#")(None))
    around.actions = [lambda _: card.set_error()]
    return around


def plug_in_i8042(slot: Slot) -> Surroundings:
    """The keyboard controller; what is in its sockets sends anything, when it may."""
    around = Surroundings(slot)
    a20 = Line("A20", level=True)
    chip = i8042.attach(slot, a20, lambda: around.told("reset")(None))
    for line in (slot.irqs[1], slot.irqs[12], a20, chip.keyboard.clock, chip.mouse.clock):
        around.probe.listen(line)
    chip.keyboard.connect(around.told("to the keyboard"))

    def send(dice: Dice) -> None:
        socket = dice.choice([chip.keyboard, chip.keyboard, chip.mouse])
        if socket.clock.level:
            socket.deliver(dice.choice([0xF0, 0xFA, 0x83, dice.randrange(0x85)]))

    def command(dice: Dice) -> None:
        """One that there is, with its byte, mostly; the ports enabled, often."""
        slot.ports.write(0x64, dice.choice([*i8042.COMMANDS, 0xD0, 0xD4, 0xD4, 0xFE]), 1)
        if dice.random() < 0.7:
            slot.ports.write(0x60, dice.choice([dice.randrange(256), 0x47, 0x03]), 1)

    around.actions = [send, send, command, command, lambda _: slot.ports.read(0x60, 1)]
    return around


def pull_clock(name: str) -> tuple[Line, Action]:
    """A controller's clock, and an action that pulls it low or lets it go."""
    line = Line(name)
    return line, lambda dice: line.drive(high=dice.random() < 0.8)


def plug_in_ps2_keyboard(slot: Slot) -> Surroundings:
    """A keyboard: hit, told something, kept from sending."""
    around = Surroundings(slot)
    clock, pull = pull_clock("keyboard clock")
    card = ps2_keyboard.attach(slot, deliver=around.told("keyboard"), controller_clock=clock)
    around.probe.listen(card.room)

    def strike(dice: Dice) -> None:
        key = dice.choice([Key.A, Key.UP, Key.LEFT_SHIFT, Key.PAUSE, dice.choice(list(Key))])
        card.strike(key | dice.choice([0, 0, LET_GO]))

    def command(dice: Dice) -> None:
        card.receive(dice.choice([*ps2_keyboard.COMMANDS, *ps2_keyboard.WITH_OPTION]))
        if dice.random() < 0.8:
            card.receive(dice.choice([0, 1, 2, 5, dice.randrange(128)]))

    def wake(_dice: Dice) -> None:
        """A keyboard that does nothing hides what it might do wrong."""
        card.receive(ps2_keyboard.Command.ENABLE)
        clock.drive(high=True)

    around.actions = [pull, strike, strike, strike, strike, command, wake]
    around.steps_ns = (0, 1, 80 * US, 880 * US, 5 * MS, 90 * MS, 300 * MS)
    return around


def plug_in_ps2_mouse(slot: Slot) -> Surroundings:
    """A mouse: moved, told something, kept from sending."""
    around = Surroundings(slot)
    clock, pull = pull_clock("mouse clock")
    card = ps2_mouse.attach(slot, deliver=around.told("mouse"), controller_clock=clock)

    def move(dice: Dice) -> None:
        card.move(*(dice.choice([0, 1, -3, 300, dice.randrange(-9, 9)]) for _ in range(3)))

    def command(dice: Dice) -> None:
        card.receive(dice.choice([*ps2_mouse.COMMANDS, 0x00]))
        if dice.random() < 0.6:
            card.receive(dice.choice([0, 1, 3, 60, 200, dice.randrange(256)]))

    def knock(dice: Dice) -> None:
        """A driver that asks for a wheel, or more."""
        for rate in (200, dice.choice([100, 200]), 80):
            for byte in (ps2_mouse.Command.SET_RATE, rate):
                card.receive(byte)

    def wake(_dice: Dice) -> None:
        for byte in (ps2_mouse.Command.RESET_WRAP_MODE, ps2_mouse.Command.ENABLE):
            card.receive(byte)
        clock.drive(high=True)

    around.actions = [
        pull,
        move,
        move,
        lambda dice: card.press(dice.randrange(32)),
        command,
        knock,
        wake,
    ]
    around.steps_ns = (0, 1, 80 * US, 880 * US, 3 * MS, 10 * MS, 100 * MS, 500 * MS)
    return around


def plug_in_typist(slot: Slot) -> Surroundings:
    """Somebody who types; the keyboard has room now and then."""
    around = Surroundings(slot)
    room = Line("room")
    hands = typist.attach(slot, strike=around.told("stroke"), room=room)
    around.actions = [
        lambda dice: hands.type(dice.randbytes(dice.randrange(20))),
        lambda dice: room.drive(high=dice.random() < 0.5),
    ]
    return around


def plug_in_reset_control(slot: Slot) -> Surroundings:
    around = Surroundings(slot)
    reset_control.attach(slot, lambda: around.told("reset")(None))
    return around


def plug_in_debugcon(slot: Slot) -> Surroundings:
    around = Surroundings(slot)
    debugcon.attach(slot, around.told("debug console"))
    return around


def plug_in_debug_exit(slot: Slot) -> Surroundings:
    around = Surroundings(slot)
    debug_exit.attach(slot, around.told("the end"))
    return around


def plug_in_timebase(slot: Slot) -> Surroundings:
    timebase.attach(slot)
    return Surroundings(slot)


def plug_in_inputs(slot: Slot) -> Surroundings:
    """The queue of what is still to come from outside."""
    around = Surroundings(slot)
    queue = inputs.attach(slot, lambda each: around.told(each.source.name)(each.data))

    def schedule(dice: Dice) -> None:
        what = dice.choice(
            [(Source.SERIAL, dice.randbytes(5)), (Source.RESET, b""), (Source.BOOT_SET, b"ca")]
        )
        queue.schedule([Input(slot.clock.now_ns + dice.randrange(40 * MS), *what)])

    around.actions = [schedule, lambda _: queue.enter_due(slot.clock.now_ns)]
    return around


def plug_in_nameplate(slot: Slot) -> Surroundings:
    """What the save says of the machine; only the boot order ever changes."""
    around = Surroundings(slot)
    plate = nameplate.describe("isapc", Options(Model.PENTIUM3, 16 * MIB, 946_684_800), 65_536)
    slot.registry.register_state(nameplate.SAVED, plate, head=True)

    def set_boot_order(dice: Dice) -> None:
        plate.state.boot = dice.choice(["c", "cda"])

    around.actions = [set_boot_order]
    return around


@attrs.define(eq=False)
class Kettle:
    """A card of a user's, by hand as in 2008: it counts, whistles on IRQ 10, and takes a while.

    300h is the number of times that it has boiled, 301h how many ms the next time takes.
    """

    slot: Slot
    irq: Line
    boiled: int = 0
    takes_ms: int = 5
    boils_ns: int = 0  # 0: it is off
    whistles: bool = False
    _alarm: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._alarm = self.slot.alarm("user/kettle", "boil", self._boil)

    def read(self, offset: int) -> int:
        if offset:
            return self.takes_ms
        self.whistles = False
        self._settle()
        return self.boiled

    def write(self, offset: int, value: int) -> None:
        if offset:
            self.takes_ms = value
        else:
            self.boils_ns = self.slot.clock.now_ns + self.takes_ms * MS
        self._settle()

    def reset(self) -> None:
        self.boils_ns, self.whistles = 0, False
        self._settle()

    def save(self, f: Stream) -> None:
        f.put_be32(self.boiled)
        f.put_byte(self.takes_ms)
        f.put_be64(self.boils_ns)
        f.put_byte(self.whistles)

    def load(self, f: Stream, _version_id: int) -> None:
        self.boiled, self.takes_ms = f.get_be32() & 0xFF, f.get_byte()
        self.boils_ns, self.whistles = f.get_be64(), bool(f.get_byte())
        self._settle()

    def _boil(self) -> None:
        self.boiled = (self.boiled + 1) & 0xFF
        self.boils_ns, self.whistles = 0, True
        self._settle()

    def _settle(self) -> None:
        self._alarm.arm(self.boils_ns) if self.boils_ns else self._alarm.cancel()
        self.irq.drive(high=self.whistles)


def plug_in_kettle(slot: Slot) -> Kettle:
    """The function that its user gives to a machine: it registers everything by hand."""
    kettle = Kettle(slot, slot.irq(10))
    slot.register_ports(0x300, 2, kettle.read, kettle.write)
    slot.register_reset(kettle.reset)
    slot.register_savevm("user/kettle", 0, 1, kettle.save, kettle.load)
    return kettle


def plug_in_loader(slot: Slot) -> Surroundings:
    """The loader, with a kernel of two pieces.

    What it does it does anew at each reset, and so that is not noted; test_loader.py does.
    """
    pieces = Piece(0x10_0000, b"code", 3), Piece(0x2_0000, b"GDT")
    placement = Placement(pieces, 0x2_0000, 0x10_0000, eax=1, ebx=2, esi=3, command_line="x")
    loader.attach(slot, placement, lambda _address, _data: None, lambda _state: None)
    return Surroundings(slot)


def plug_in_users_card(slot: Slot) -> Surroundings:
    """A card of a user's."""
    around = Surroundings(slot)
    plug_in_kettle(slot)
    around.probe.listen(slot.irqs[10])
    return around


CARDS: Mapping[str, Callable[[Slot], Surroundings]] = {
    "i8254": plug_in_i8254,
    "i8259": plug_in_i8259,
    "ns16550a": plug_in_ns16550a,
    "mc146818": plug_in_mc146818,
    "fw_cfg": plug_in_fw_cfg,
    "port92": plug_in_port92,
    "fpu_error": plug_in_fpu_error,
    "i8042": plug_in_i8042,
    "ps2_keyboard": plug_in_ps2_keyboard,
    "ps2_mouse": plug_in_ps2_mouse,
    "typist": plug_in_typist,
    "reset_control": plug_in_reset_control,
    "loader": plug_in_loader,
    "debugcon": plug_in_debugcon,
    "debug_exit": plug_in_debug_exit,
    "timebase": plug_in_timebase,
    "inputs": plug_in_inputs,
    "nameplate": plug_in_nameplate,
    "users_card": plug_in_users_card,
}
STATELESS = ("debugcon", "debug_exit")
SAVED_CARDS = tuple(name for name in CARDS if name not in STATELESS)


# ==== a slot with one of them =============================================================


@attrs.define(eq=False)
class Rig:
    """One entry of `CARDS` on a slot of its own."""

    name: str
    slot: Slot = attrs.field(init=False, factory=Slot)
    around: Surroundings = attrs.field(init=False)
    accesses: list[tuple[int, int]] = attrs.field(init=False)  # port, size

    def __attrs_post_init__(self) -> None:
        self.around = CARDS[self.name](self.slot)
        ports = self.slot.ports
        self.accesses = sorted(
            {
                (port, size)
                for size in SIZES
                for table in (ports._reads[size], ports._writes[size])
                for port in table
            }
        )
        if self.around.probe.names:
            self.slot.registry.register_state(LEVELS, self.around.probe)
        self.log.clear()  # what was heard of power-on

    @property
    def log(self) -> Log:
        return self.around.log

    @property
    def states(self) -> list[Any]:
        """Copies of the States of all that is plugged in."""
        return [copy_of(card.state) for card in self.slot.registry.cards]

    @property
    def sections(self) -> list[Declared]:
        """The declared sections of the card under test."""
        return [
            entry
            for entry in self.slot.registry.entries.values()
            if isinstance(entry, Declared) and entry.card is not self.around.probe
        ]

    def another(self) -> Rig:
        """A machine like this one, just switched on, at the same time."""
        other = Rig(self.name)
        other.slot.clock.now_ns = self.slot.clock.now_ns
        return other

    def move(self, settle_order: Sequence[int] | None = None) -> Rig:
        """The same card in another machine, with the same log; cards settle in *settle_order*."""
        other = self.another()
        cards = other.slot.registry.cards
        if settle_order is not None:
            cards[:] = [cards[index] for index in settle_order]
        other.slot.registry.load_sections(self.slot.registry.save_sections())
        assert other.log == [], "to be loaded is no event"
        other.log.extend(self.log)
        return other

    def step(self, dice: Dice) -> None:
        """Let something happen."""
        slot, log = self.slot, self.log
        what = dice.random()
        if what < 0.3:
            slot.clock.advance(dice.choice(self.around.steps_ns))
        elif what < 0.31:
            slot.reset()
        elif what < 0.55 and self.around.actions:
            log.append((slot.clock.now_ns, dice.choice(self.around.actions)(dice)))
        elif self.accesses:
            port, size = dice.choice(self.accesses)
            if dice.random() < 0.5:
                log.append((slot.clock.now_ns, port, slot.ports.read(port, size)))
            else:
                slot.ports.write(port, dice.randrange(1 << 8 * size), size)

    def traffic(self, seed: object, steps: int) -> Rig:
        """Let much happen, the same for the same *seed*."""
        dice = random.Random(f"{self.name} {seed}")
        for _ in range(steps):
            self.step(dice)
        return self


def copy_of(state: Any) -> Any:
    """A copy of a State with all that is in it."""
    if attrs.has(type(state)):
        return type(state)(
            **{each.name: copy_of(getattr(state, each.name)) for each in attrs.fields(type(state))}
        )
    return [copy_of(each) for each in state] if isinstance(state, list) else state
