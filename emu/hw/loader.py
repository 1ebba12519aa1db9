"""The loader: puts a kernel in memory at each reset, and has the processor enter it.

No card of a PC's: it stands where firmware and a boot loader would, and is as quick as a wire.
What is to be placed comes with the machine (`emu.kernels`), and is saved with it; so a
restored machine that is reset starts its kernel again, wherever the kernel's file is by then.

At RESET, after every other card has had it:

    1. the pieces are written to memory, zeros behind them where so is said
    2. the interrupt controllers and the timer are set up as a PC's firmware leaves them, which
       the Multiboot specification asks for (§3.2, its last paragraph)
    3. the processor starts at the entry, with the registers that the kernel is to find

What firmware leaves:

    8259A   vectors 08h and 70h, edge triggered, IRQ 0, 1 and 2 (the cascade) not masked
    8254    counter 0: mode 3, 65,536 to 0, 18.2 Hz

Not modelled: the rest of what firmware leaves, as there is none: no vectors in low memory, no BIOS data
area, nobody to call.
"""

from __future__ import annotations

from collections.abc import Callable

from emu import attrs
from emu.isa import Slot
from emu.kernels.placement import Placement
from emu.savevm.vmstate import Saved, blob, queue, reg, text, whole

PIECES_MOST = 4096
PIECE_BYTES_MOST = 1 << 31  # RAM is no larger
COMMAND_LINE_MOST = 64 << 10

FIRMWARE = (  # port, value
    (0x20, 0x11),  # ICW1: edge triggered, cascade, ICW4
    (0x21, 0x08),  # ICW2: vectors from 08h
    (0x21, 0x04),  # ICW3: a slave at IR2
    (0x21, 0x01),  # ICW4: 8086
    (0x21, 0xF8),  # OCW1: IRQ 0, 1, 2
    (0xA0, 0x11),
    (0xA1, 0x70),
    (0xA1, 0x02),  # ICW3: it is the slave at IR2
    (0xA1, 0x01),
    (0xA1, 0xFF),
    (0x43, 0x36),  # counter 0, both bytes, mode 3
    (0x40, 0x00),
    (0x40, 0x00),
)

ZEROS = bytes(1 << 20)


@attrs.define
class PieceState:
    """Bytes for memory."""

    address: int = reg(bits=32, doc="where")
    data: bytes = blob(most=PIECE_BYTES_MOST, doc="what")
    zeros: int = reg(bits=32, doc="how many zeros behind")


@attrs.define
class State:
    """All that is done at a reset."""

    pieces: list[PieceState] = queue(PieceState, most=PIECES_MOST, doc="what is put in memory")
    gdt: int = reg(bits=32, doc="where among that the GDT is")
    entry: int = reg(bits=32, doc="EIP")
    eax: int = reg(bits=32, doc="EAX")
    ebx: int = reg(bits=32, doc="EBX")
    esi: int = reg(bits=32, doc="ESI")
    command_line: str = text(most=COMMAND_LINE_MOST, doc="the kernel's, for people: a piece has it")


@attrs.define(eq=False)
class Loader:
    """``write(address, data)`` is memory's; ``start(state)`` sets the processor going."""

    write: Callable[[int, bytes], None]
    write_port: Callable[[int, int, int], None]  # port, value, size
    start: Callable[[State], None]
    state: State = attrs.field(factory=State)

    def reset(self) -> None:
        for piece in self.state.pieces:
            self.write(piece.address, piece.data)
            end = piece.address + len(piece.data)
            for done in range(0, piece.zeros, len(ZEROS)):
                self.write(end + done, ZEROS[: piece.zeros - done])
        for port, value in FIRMWARE:
            self.write_port(port, value, 1)
        self.start(self.state)

    def settle(self) -> None:
        """There is no output: what it does it does at a reset."""


SAVED = Saved(State, (whole(State, "emu/loader"),))


def attach(
    slot: Slot,
    placement: Placement | None,
    write: Callable[[int, bytes], None],
    start: Callable[[State], None],
) -> Loader:
    """Plug the loader in, the last of the board's cards.

    *placement* is None where it will come from a save.
    """
    loader = Loader(write, slot.ports.write, start)
    if placement is not None:
        loader.state = State(
            [PieceState(each.address, each.data, each.zeros) for each in placement.pieces],
            placement.gdt,
            placement.entry,
            placement.eax,
            placement.ebx,
            placement.esi,
            placement.command_line,
        )
    slot.register_reset(loader.reset)
    slot.register_state(SAVED, loader)
    return loader
