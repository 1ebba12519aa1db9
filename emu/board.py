"""The PCs, each on one page: which chip, at which ports, on which line.

isapc: an IBM PC/AT as small as firmware of today will start on

    memory     00000000  RAM, 1 MiB to 2 GiB; E0000-FFFFF is the ROM's copy, made at reset
               4G - n    the ROM

    part        ports                   interrupt  what
    ----------  ----------------------  ---------  --------------------------------------------
    i8259       20-21 A0-A1 4D0-4D1     INTR       two interrupt controllers, IRQ 2 the cascade
    i8254       40-43                   IRQ 0      the timer; counter 2 makes the speaker's tone
    port61      61                                 gate and output of counter 2, refresh
    mc146818    70-71                   IRQ 8      the clock and 128 bytes of CMOS memory
    i8042       60 64                              keyboard controller: A20, reset
    ps2_keyboard                        IRQ 1      a keyboard with 102 keys
    ps2_mouse                           IRQ 12     a mouse with a wheel
    typist                                         somebody at the keyboard
    port92      92                                 A20, hot reset
    fpu_error   F0                      IRQ 13     errors of the x87
    ns16550a    3F8-3FF                 IRQ 4      the serial port, COM1
    cable                                          from the serial port to the host
    fw_cfg      510-511 514-51B                    what firmware is told of the machine; its drives
    debugcon    402 E9                             characters for whoever debugs firmware
    debug_exit  501-502 F4-F7                       ends the emulator
    reset_control  CF8-CF9                         hard reset
    loader                                         a kernel in memory at reset; only where one is

    A20 follows the processor while port92's line or the 8042's P21 is high.  Without an 8042 it is
    port92's alone, and open after reset.

A save names the parts that are plugged in, and a load plugs just those: a board that gets more
parts one day still loads the saves of today.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable

from emu import attrs, drives, timebase
from emu.clock import Clock, Costs
from emu.cpu import state as cpu_state
from emu.cpu.bits import CR0_ET, CR0_PE
from emu.cpu.engine import EngineFactory
from emu.cpu.models import Model
from emu.cpu.processor import Processor
from emu.cpu.state import Segment
from emu.errors import ConfigError
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
from emu.irq import Line
from emu.isa import Slot
from emu.kernels.placement import (
    CODE,
    CODE_DESCRIPTOR,
    DATA,
    DATA_DESCRIPTOR,
    GDT,
    STACK_END,
    Placement,
)
from emu.memory import MIB, PAGE_BYTES, Memory, Ram
from emu.savevm.ram import register_ram


class Part(enum.Enum):
    """What a board has a place for."""

    I8259 = "i8259"
    I8254 = "i8254"
    PORT61 = "port61"
    MC146818 = "mc146818"
    I8042 = "i8042"
    PS2_KEYBOARD = "ps2_keyboard"
    PS2_MOUSE = "ps2_mouse"
    TYPIST = "typist"
    PORT92 = "port92"
    FPU_ERROR = "fpu_error"
    NS16550A = "ns16550a"
    CABLE = "cable"
    FW_CFG = "fw_cfg"
    DEBUGCON = "debugcon"
    DEBUG_EXIT = "debug_exit"
    RESET_CONTROL = "reset_control"
    LOADER = "loader"


ISAPC_PARTS = tuple(part for part in Part if part is not Part.LOADER)


@attrs.frozen
class Options:
    """What is chosen of a board: all that a save has to name to have the same one again."""

    model: Model
    memory_bytes: int
    rtc_base_s: int
    costs: Costs = attrs.field(factory=Costs)
    parts: tuple[Part, ...] = ISAPC_PARTS


@attrs.frozen
class Outside:
    """What the board's edge connects to: each is called as the guest does something."""

    serial: Callable[[int], None]  # a character has left the serial port
    debug: Callable[[int], None]  # a character for the debug console
    leave: Callable[[int], None]  # the guest wants to end, with this value
    reset: Callable[[], None]  # the guest wants a reset


@attrs.define(eq=False)
class Board:
    """A PC, wired; `isapc` makes one."""

    name: str
    slot: Slot
    memory: Memory
    processor: Processor
    serial: ns16550a.NS16550A | None = None
    cable: cable.Cable | None = None
    typist: typist.Typist | None = None
    mouse: ps2_mouse.PS2Mouse | None = None

    def reset(self) -> None:
        """Pulse RESET: the ROM's copy is made anew, the chips that have the pin heed it."""
        self.memory.fill_shadow()
        self.processor.reset()
        self.slot.reset()

    def close(self) -> None:
        """Take the board apart; its memory goes back to the host."""
        self.processor.close()
        self.memory.ram.close()
        self.memory.rom.close()


def isapc(  # noqa: C901, PLR0912, PLR0915 - one page, a branch a part
    options: Options,
    outside: Outside,
    rom: bytes,
    files: dict[str, bytes],
    placement: Placement | None,
    make_engine: EngineFactory,
    clock: Clock,
) -> Board:
    """Build an isapc with *rom* in its ROM socket, *files* for fw_cfg to offer, and a kernel.

    *placement* is the kernel's, where there is a loader and nothing that will be loaded has one.
    """
    if not rom or len(rom) % PAGE_BYTES:
        raise ConfigError(f"a ROM of {len(rom)} bytes, expected a multiple of 4 KiB")
    if options.memory_bytes % MIB:
        raise ConfigError(f"{options.memory_bytes} bytes of RAM, expected whole MiB")
    slot = Slot(clock)
    parts = frozenset(options.parts)
    memory = Memory(Ram("pc.ram", options.memory_bytes), Ram("pc.bios", len(rom)))
    memory.rom.write(0, rom)
    register_ram(slot.registry, memory.ram, memory.rom)
    timebase.attach(slot)

    intr = Line("INTR")
    pic = i8259.attach_pair(slot, intr) if Part.I8259 in parts else None
    processor = Processor(
        clock,
        slot.ports,
        memory,
        acknowledge=pic.acknowledge if pic else lambda: 0,
        model=options.model,
        make_engine=make_engine,
    )
    intr.connect(processor.set_intr)
    slot.registry.register_state(cpu_state.SAVED, processor)
    board = Board("isapc", slot, memory, processor)

    if Part.I8254 in parts:
        timer = i8254.attach(slot, outs=[slot.irq(0), None, None])
        if Part.PORT61 in parts:
            gate2 = Line("GATE 2", level=True)
            gate2.connect(functools.partial(timer.set_gate, 2))
            port61.attach(slot, gate2, lambda: timer.gate(2), lambda: timer.out(2))
    if Part.MC146818 in parts:
        nmi_mask = Line("NMI mask")
        mc146818.attach(slot, options.rtc_base_s, options.memory_bytes, nmi_mask=nmi_mask)
    p21, alternate_a20 = Line("P21"), Line("ALT A20")
    either(p21, alternate_a20, processor.set_a20)
    if Part.I8042 in parts:
        controller = i8042.attach(slot, p21, outside.reset)
        plug_in_devices(board, controller, parts)
    if Part.PORT92 in parts:
        alone = Part.I8042 not in parts
        port92.attach(slot, alternate_a20, outside.reset, open_after_reset=alone)
    if Part.FPU_ERROR in parts:
        error = fpu_error.attach(slot, ignore=processor.ignore_numeric_error)
        processor.numeric_error = error.set_error
    if Part.NS16550A in parts:
        board.serial = ns16550a.attach(slot, transmit=outside.serial)
        if Part.CABLE in parts:
            board.cable = cable.attach(
                slot,
                receive=board.serial.receive,
                character_ns=board.serial.character_ns,
                room=board.serial.room,
            )
    if Part.FW_CFG in parts:
        items = fw_cfg.machine_items(options.memory_bytes)
        fw_cfg.attach(slot, items, files, memory.read, memory.write, writable=drives.WRITABLE)
    if Part.DEBUGCON in parts:
        debugcon.attach(slot, outside.debug)
    if Part.DEBUG_EXIT in parts:
        debug_exit.attach(slot, outside.leave)
    if Part.RESET_CONTROL in parts:
        reset_control.attach(slot, outside.reset)
    if Part.LOADER in parts:
        enter = functools.partial(enter_kernel, processor)
        loader.attach(slot, placement, memory.write, enter)
    return board


def enter_kernel(processor: Processor, registers: loader.State) -> None:
    """Have *processor*, which has been reset, begin in protected mode: `emu.kernels.placement`."""
    state = processor.state
    state.cr0 = CR0_PE | CR0_ET
    state.cs = flat_segment(CODE, CODE_DESCRIPTOR)
    for name in ("ds", "es", "fs", "gs", "ss"):
        setattr(state, name, flat_segment(DATA, DATA_DESCRIPTOR))
    state.gdtr = Segment(base=registers.gdt, limit=len(GDT) - 1)
    state.eip, state.esp = registers.entry, STACK_END
    state.eax, state.ebx, state.esi = registers.eax, registers.ebx, registers.esi
    state.edx = 0  # a reset leaves the processor's signature there
    processor.state = state


def flat_segment(selector: int, descriptor: int) -> Segment:
    """A segment register that has been loaded with *selector*, that of *descriptor*: 0 to 4 GiB."""
    return Segment(selector, 0, 0xFFFF_FFFF, descriptor >> 32 & 0x00F0_FF00)


def either(a: Line, b: Line, listener: Callable[[bool], None]) -> None:
    """Solder *listener* to an OR gate with the inputs *a* and *b*."""

    def sense(_high: bool) -> None:  # noqa: FBT001 - a level is all that a pin receives
        listener(a.level or b.level)

    a.connect(sense)
    b.connect(sense)


def plug_in_devices(board: Board, controller: i8042.I8042, parts: frozenset[Part]) -> None:
    """Plug keyboard and mouse into their sockets, and seat the typist."""
    slot, socket = board.slot, controller.keyboard
    if Part.PS2_KEYBOARD in parts:
        keyboard = ps2_keyboard.attach(slot, deliver=socket.deliver, controller_clock=socket.clock)
        socket.connect(keyboard.receive)
        if Part.TYPIST in parts:
            board.typist = typist.attach(slot, strike=keyboard.strike, room=keyboard.room)
    socket = controller.mouse
    if Part.PS2_MOUSE in parts:
        board.mouse = ps2_mouse.attach(slot, deliver=socket.deliver, controller_clock=socket.clock)
        socket.connect(board.mouse.receive)


BOARDS = {"isapc": isapc}
