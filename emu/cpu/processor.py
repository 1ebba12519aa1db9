"""The processor: an engine, and what happens to it between and in the middle of its runs.

Pins:  INTR (a level), A20, RESET; INTA is the callable `acknowledge`.  Instructions are the engine's
(engine.py), delivery of interrupts and exceptions delivery.py's; time passes here:

- The engine's clock is the machine's while it runs.  A port access first brings
  `clock` up to date, charges its cost and fires the alarms that are due; so a chip always sees the
  right time, and an alarm it sets moves the engine's deadline.
- `run` ends at a block's start, where alarms up to now have fired and nothing has been delivered
  since.  Whether an interrupt is taken there depends on the State alone, never on where a run
  was asked to stop.

Not modelled: NMI, SMI, INIT; the FPU's FERR# pin.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

import attrs

from emu.clock import NEVER, Clock
from emu.cpu import delivery, layout
from emu.cpu import state as cpu_state
from emu.cpu.delivery import Event, Kind, Shutdown
from emu.cpu.engine import Engine, EngineFactory, Outcome
from emu.cpu.layout import CS, ESP, SS, Registers
from emu.cpu.models import Model
from emu.cpu.state import A20_BIT, EFLAGS_IF, EFLAGS_VM, State
from emu.memory import Memory

BREAKPOINT, OVERFLOW = 3, 4
INVALID_OPCODE, GENERAL_PROTECTION = 6, 13
WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17})  # SDM 3A, table 6-1

INT3_OPCODE, INTO_OPCODE = 0xCC, 0xCE
EFLAGS_RF = 1 << 16
SYSENTER_BYTES = 2  # the engine adds the instruction's length once more

# What SYSENTER loads: flat segments, whatever the descriptor tables say (SDM 2B, SYSENTER).
FLAT_LIMIT = 0xFFFF_FFFF
SYSENTER_CODE = 0x00C0_9B00  # 32-bit, page granular, ring 0 code
SYSENTER_STACK = 0x00C0_9300


class PortAccess(Protocol):
    """What IN and OUT reach: the ports, or somebody who looks on."""

    def read(self, port: int, size: int) -> int: ...

    def write(self, port: int, value: int, size: int) -> None: ...


class Pause(enum.Enum):
    """Why `Processor.run` came back."""

    REACHED = "the time asked for, or a stop"
    HALTED = "a HLT, with no interrupt to end it"
    SHUTDOWN = "a triple fault"


@attrs.define(eq=False)
class Processor:
    """One processor with its pins; saved as cpu_common, cpu and emu/cpu."""

    clock: Clock
    ports: PortAccess
    memory: Memory
    acknowledge: Callable[[], int]  # INTA: the vector of the interrupt that is now in service
    model: Model
    make_engine: EngineFactory
    engine: Engine = attrs.field(init=False)
    on_delivery: Callable[[Event], None] = attrs.field(init=False, default=lambda _event: None)
    _halted: bool = attrs.field(init=False, default=False)
    _intr: bool = attrs.field(init=False, default=False)
    _a20: bool = attrs.field(init=False, default=True)
    _until_ns: int = attrs.field(init=False, default=NEVER)
    _stop: bool = attrs.field(init=False, default=False)
    _shutdown: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.engine = self.make_engine(self.memory, self.model, self.clock.costs, self)
        self.memory.invalidate = self.engine.invalidate
        self.reset()

    def close(self) -> None:
        self.engine.close()

    # --- state ----------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The architectural state as it is now: a copy."""
        return cpu_state.read_registers(
            self.engine.registers, halted=self._halted, intr=self._intr, a20=self._a20
        )

    @state.setter
    def state(self, new: State) -> None:
        cpu_state.write_registers(self.engine.registers, new)
        self.engine.registers_loaded()
        self._halted, self._intr, self._a20 = new.halted, new.intr, new.a20

    def settle(self) -> None:
        self.engine.interrupt = self._intr

    def reset(self) -> None:
        """RESET#; INTR stays at the level it is driven to."""
        self.state = State(edx=self.model.signature, intr=self._intr, a20=self._a20)
        self.settle()

    @property
    def halted(self) -> bool:
        return self._halted

    @property
    def interrupts_enabled(self) -> bool:
        return bool(self.engine.registers.other_flags & EFLAGS_IF)

    # --- pins -----------------------------------------------------------------------------

    def set_intr(self, high: bool) -> None:  # noqa: FBT001 - a pin's level
        self._intr = high
        self.engine.interrupt = high

    def set_a20(self, high: bool) -> None:  # noqa: FBT001 - a pin's level
        if high == self._a20:
            return
        self._a20 = high

        def set_mask() -> None:
            self.engine.registers.a20_mask = -1 if high else ~A20_BIT

        self.engine.patch(set_mask)
        self.engine.flush_tlb()

    # --- running --------------------------------------------------------------------------

    def stop(self) -> None:
        """End the run under way at the next block's start."""
        self._stop = True
        self.engine.deadline_ns = 0

    def run(self, until_ns: int) -> Pause:
        """Run to the first block's start at or after *until_ns*, a stop, a HLT or a shutdown."""
        self._stop = False
        self._until_ns = until_ns
        while True:
            if self._shutdown:
                self._shutdown = False
                return Pause.SHUTDOWN
            if self._stop or self.clock.now_ns >= until_ns:
                return Pause.REACHED
            if self._intr and self._interruptible():
                self._take_interrupt()
            elif self._halted:
                return Pause.HALTED
            self._resume_clock()
            outcome = self.engine.run()
            self.clock.advance_to(self.engine.now_ns)
            match outcome:
                case Outcome.STOPPED:
                    pass
                case Outcome.HALTED:
                    self._halted = True
                case Outcome.BAD_FETCH:
                    self.invalid_instruction()

    def _interruptible(self) -> bool:
        registers = self.engine.registers
        shadow = registers.hflags & layout.HF_INHIBIT_IRQ
        return bool(registers.other_flags & EFLAGS_IF) and not shadow

    def _take_interrupt(self) -> None:
        self._halted = False
        vector = self.acknowledge()
        registers = self.engine.registers
        self._deliver(Event(vector, Kind.HARDWARE, return_eip=registers.eip))

    def _deliver(self, event: Event) -> None:
        registers = self.engine.registers
        try:
            delivered = delivery.deliver(registers, self.memory, event)
        except Shutdown:
            self._shutdown = True
            self.stop()
            return
        self.on_delivery(delivered.event)
        if delivered.flush_tlb:
            self.engine.flush_tlb()

    # --- what the engine calls ------------------------------------------------------------

    def port_read(self, port: int, size: int) -> int:
        self._charge_port()
        value = self.ports.read(port, size)
        self._resume_clock()
        return value

    def port_write(self, port: int, size: int, value: int) -> None:
        self._charge_port()
        self.ports.write(port, value, size)
        self._resume_clock()

    def _charge_port(self) -> None:
        self.clock.advance_to(self.engine.now_ns + self.clock.costs.port_ns)

    def _resume_clock(self) -> None:
        """Let the engine go on from the machine's time, to the next thing that is to happen."""
        self.engine.now_ns = self.clock.now_ns
        self.engine.deadline_ns = 0 if self._stop else min(self.clock.next_ns, self._until_ns)

    def exception(self, vector: int) -> None:
        registers = self.engine.registers
        if registers.exception_is_int:
            event = self._software_interrupt(registers, vector)
        else:
            error_code = registers.error_code if vector in WITH_ERROR_CODE else None
            event = Event(vector, Kind.EXCEPTION, error_code, return_eip=registers.eip)
        registers.exception_is_int = 0
        self._deliver(event)

    def _software_interrupt(self, registers: Registers, vector: int) -> Event:
        """INT n, INT3 or INTO: EIP is past it; go back to it, in case its delivery faults.

        A prefix before it is not gone back over.
        """
        next_eip = registers.eip
        opcode = 0
        if vector in (BREAKPOINT, OVERFLOW):
            last = (registers.segs[CS].base + next_eip - 1) & 0xFFFF_FFFF
            opcode = delivery.read_code_byte(registers, self.memory, last)
        if opcode in (INT3_OPCODE, INTO_OPCODE):
            kind, length = Kind.SOFTWARE_EXCEPTION, 1
        else:
            kind, length = Kind.SOFTWARE, 2
        registers.eip = (next_eip - length) & 0xFFFF_FFFF
        return Event(vector, kind, return_eip=next_eip)

    def invalid_instruction(self) -> None:
        registers = self.engine.registers
        self._deliver(Event(INVALID_OPCODE, Kind.EXCEPTION, return_eip=registers.eip))

    def sysenter(self) -> None:
        """SYSENTER: to ring 0 by the three MSRs (SDM 2B); the engine has no code for it."""
        registers = self.engine.registers
        selector = registers.sysenter_cs & 0xFFFC
        for segment, number, flags in (
            (CS, selector, SYSENTER_CODE),
            (SS, selector + 8, SYSENTER_STACK),
        ):
            cache = registers.segs[segment]
            cache.selector, cache.base, cache.limit, cache.flags = number, 0, FLAT_LIMIT, flags
        registers.regs[ESP] = registers.sysenter_esp
        registers.eip = (registers.sysenter_eip - SYSENTER_BYTES) & 0xFFFF_FFFF
        registers.other_flags &= ~(EFLAGS_VM | EFLAGS_IF | EFLAGS_RF)
        registers.hflags = (
            registers.hflags & ~(layout.HF_CPL | layout.HF_VM | layout.HF_RF | layout.HF_ADDSEG)
            | layout.HF_CS32
            | layout.HF_SS32
        )
