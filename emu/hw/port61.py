"""Port 61h: the PC/AT's system control port B, the 8255's port B of the first PC.

    bit  read                                 write
    ---  -----------------------------------  ----------------------------------------
    0    level of GATE 2 of the 8254          GATE 2 of the 8254
    1    as written                           speaker data: 1 lets OUT 2 through to it
    2    as written                           0 enables the parity check of RAM
    3    as written                           0 enables the I/O channel's check
    4    refresh detect: toggles              -
    5    OUT 2 of the 8254                    -
    6    0: no I/O channel check              -
    7    0: no parity error of RAM            -

Refresh detect toggles with every refresh of RAM, 15.085 us apart, which is 18 pulses of the
8254's CLK; firmware makes its delays from it.  Here it follows from the time alone, whatever
counter 1 does.  RESET clears all that is written.

GATE 2 is a wire with a level of its own, and both ends would remember it.  The 8254 does, as
in QEMU's streams; this card asks for it when bit 0 is read.  So a write drives the wire, a load
leaves GATE 2 as the 8254's part of the stream has it, and neither has to come first.

Not modelled: sound; parity and channel errors, and the NMI that they would make.

Sources: IBM Personal Computer AT Technical Reference, the system board's I/O addresses, and the
BIOS listing, which names the bits of PORT_B.  QEMU's section `pcspk` has the speaker's bit; its
dummy_refresh_clock, which follows reads, has no use here.
"""

from __future__ import annotations

from collections.abc import Callable

from emu import attrs
from emu.clock import Clock
from emu.irq import Line
from emu.isa import Slot
from emu.savevm.codecs import Bool
from emu.savevm.vmstate import Constant, Field, Saved, Section, fields_of, flag, reg

PORT = 0x61

TIMER_2_GATE = 1 << 0
SPEAKER_DATA = 1 << 1
CHECKS_SHIFT = 2  # bits 2 and 3
REFRESH_DETECT = 1 << 4
TIMER_2_OUTPUT = 1 << 5

REFRESH_NS = 15_085


@attrs.define
class State:
    """What a saved machine must remember about the port."""

    speaker_data: bool = flag(doc="bit 1 as written")
    checks: int = reg(bits=2, doc="bits 2 and 3 as written: parity check, channel check")


@attrs.define(eq=False)
class Port61:
    """The port on one side; counter 2 of the 8254, by its GATE and OUT, on the other."""

    clock: Clock
    gate2: Line
    gate2_level: Callable[[], bool]
    out2: Callable[[], bool]
    state: State = attrs.field(init=False, factory=State)

    def read(self, _port: int) -> int:
        state = self.state
        value = state.checks << CHECKS_SHIFT
        if self.gate2_level():
            value |= TIMER_2_GATE
        if state.speaker_data:
            value |= SPEAKER_DATA
        if self.clock.now_ns // REFRESH_NS & 1:
            value |= REFRESH_DETECT
        if self.out2():
            value |= TIMER_2_OUTPUT
        return value

    def write(self, _port: int, value: int) -> None:
        self.state.speaker_data = bool(value & SPEAKER_DATA)
        self.state.checks = value >> CHECKS_SHIFT & 3
        self.gate2.drive(high=bool(value & TIMER_2_GATE))

    def reset(self) -> None:
        self.write(PORT, 0)

    def settle(self) -> None:
        """Make every output follow the state: GATE 2, to the level that it has."""
        self.gate2.drive(high=self.gate2_level())


QEMU = Section("pcspk", 1, (Field("speaker_data", Bool()), Constant("dummy_refresh_clock", b"\0")))
REST = Section("emu/port61", 1, fields_of(State, without=("speaker_data",)))
SAVED = Saved(State, (QEMU, REST))


def attach(
    slot: Slot, gate2: Line, gate2_level: Callable[[], bool], out2: Callable[[], bool]
) -> Port61:
    """Plug the port into *slot*; it drives *gate2*, and asks for the levels of GATE 2 and OUT 2."""
    card = Port61(slot.clock, gate2, gate2_level, out2)
    slot.register_ioport_read(PORT, 1, 1, card.read)
    slot.register_ioport_write(PORT, 1, 1, card.write)
    slot.register_reset(card.reset)
    slot.register_state(SAVED, card)
    card.settle()
    return card
