"""The processor: an engine, and what happens to it between and in the middle of its runs.

Pins:  INTR (a level), A20, RESET; INTA is the callable `acknowledge`, the falling FERR# the callable
`numeric_error`, and IGNNE# is pulled low by `ignore_numeric_error`.  Instructions are the engine's
(engine.py), and what it leaves of them instructions.py's; interrupts and exceptions are delivered by
delivery.py.  Time passes here:

- The engine's clock is the machine's while it runs.  A port access first brings
  `clock` up to date, charges its cost and fires the alarms that are due; so a chip always sees the
  right time, and an alarm it sets moves the engine's deadline.
- `run` ends at a block's start, where alarms up to now have fired and nothing has been delivered
  since.  Whether an interrupt is taken there depends on the State alone, never on where a run
  was asked to stop.
- Some things the engine can have done to it only between two of its runs.  Then its run is ended at
  the next block's start and taken up again, and nobody outside can tell.

Not modelled: NMI, SMI, INIT; I/O breakpoints, and for data what breakpoints.c names; segment limits,
which the engine does not check.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from emu import attrs
from emu.clock import NEVER, Clock
from emu.cpu import delivery, errand, exchange, instructions, layout
from emu.cpu.bits import CR0_NE, DR6_BS, DR7_ENABLED, EFLAGS_IF, EFLAGS_TF
from emu.cpu.delivery import Delivered, Event, Kind, Shutdown
from emu.cpu.engine import Engine, EngineFactory, Outcome
from emu.cpu.models import Model
from emu.cpu.state import A20_BIT, State
from emu.cpu.vectors import DB, HELD_BACK, MF, TASK_SWITCH, WITH_ERROR_CODE
from emu.memory import Memory
from emu.shadows import Shadows


class PortAccess(Protocol):
    """What IN and OUT reach: the ports, or somebody who looks on."""

    def read(self, port: int, size: int) -> int: ...

    def write(self, port: int, value: int, size: int) -> None: ...

    @property
    def shadows(self) -> Shadows | None:
        """What may be answered without these two; None: nothing."""


class Pause(enum.Enum):
    """Why `Processor.run` came back."""

    REACHED = "the time asked for, or a stop"
    HALTED = "a HLT, with no interrupt to end it"
    SHUTDOWN = "a triple fault"


@attrs.define(eq=False)
class Processor:
    """One processor with its pins; saved as cpu_common, cpu and emu/cpu."""

    clock: Clock
    _ports: PortAccess
    memory: Memory
    acknowledge: Callable[[], int]  # INTA: the vector of the interrupt that is now in service
    model: Model
    make_engine: EngineFactory
    engine: Engine = attrs.field(init=False)
    numeric_error: Callable[[], None] = attrs.field(init=False, default=lambda: None)
    _on_delivery: Callable[[Event], None] = attrs.field(init=False, default=lambda _event: None)
    _halted: bool = attrs.field(init=False, default=False)
    _intr: bool = attrs.field(init=False, default=False)
    _a20: bool = attrs.field(init=False, default=True)
    _until_ns: int = attrs.field(init=False, default=NEVER)
    _next_ns: int = attrs.field(init=False, default=NEVER)  # the alarm that the engine knows of
    _shadows: Shadows | None = attrs.field(init=False, default=None)
    _stop: bool = attrs.field(init=False, default=False)
    _shutdown: bool = attrs.field(init=False, default=False)
    # For between two runs of the engine:
    _pausing: bool = attrs.field(init=False, default=False)
    _refused: Event | None = attrs.field(init=False, default=None)
    _refused_dr6: int = attrs.field(init=False, default=0)
    _stale_breakpoints: bool = attrs.field(init=False, default=False)
    _stale_code: bool = attrs.field(init=False, default=False)
    _error: BaseException | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.engine = self.make_engine(self.memory, self.model, self.clock.costs, self)
        self.memory.invalidate = self.engine.invalidate
        self.ports = self._ports
        self.reset()

    def close(self) -> None:
        self.memory.invalidate = lambda _address, _length: None
        self.engine.close()

    # --- state ----------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The architectural state as it is now: a copy."""
        return exchange.read_registers(
            self.engine.registers,
            self.engine.read_msrs(),
            halted=self._halted,
            intr=self._intr,
            a20=self._a20,
        )

    @state.setter
    def state(self, new: State) -> None:
        if self._stale_breakpoints or (new.dr7 | self.engine.registers.dr[7]) & DR7_ENABLED:
            errand.set_breakpoints(self.engine, self.memory, new)
            self._stale_breakpoints = False
        exchange.write_registers(self.engine.registers, new)
        self.engine.registers_loaded()
        self.engine.write_msrs(new.msrs)
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

    @property
    def wakes(self) -> bool:
        """Halted as it is, it has something to do: an interrupt, or the end of a run."""
        return self._stop or (self._intr and self.interrupts_enabled)

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
        # A block and the one that has followed it are linked, and the link outlives the mask.
        self._stale_code = True
        self._pause()

    def ignore_numeric_error(self) -> None:
        """Pull IGNNE# low, if FERR# is: instructions no longer wait for the x87 error.

        The chipset lets go of it when FERR# is high again, that is when no error is pending.
        """
        registers = self.engine.registers
        if registers.hflags2 & layout.HF2_FERR:

            def set_ignne() -> None:
                registers.hflags2 |= layout.HF2_IGNNE

            self.engine.patch(set_ignne)

    # --- running --------------------------------------------------------------------------

    @property
    def ports(self) -> PortAccess:
        """What IN and OUT reach."""
        return self._ports

    @ports.setter
    def ports(self, new: PortAccess) -> None:
        self._ports, self._shadows = new, new.shadows
        self.engine.answer_from(new.shadows)

    def watch_deliveries(self, callback: Callable[[Event], None]) -> None:
        """Have *callback* told of each interrupt and exception that has been delivered."""
        self._on_delivery = callback
        self.engine.unwatched = False

    def stop(self) -> None:
        """End the run under way at the next block's start."""
        self._stop = True
        self.engine.deadline_ns = 0

    def run(self, until_ns: int) -> Pause:
        """Run to the first block's start at or after *until_ns*, a stop, a HLT or a shutdown.

        What a port's handler raises comes out here, when the run has come to a block's start; and
        so that Ctrl-C does no worse, whoever calls holds it (emu/host/ctrl_c.py).
        """
        self._stop = False
        self._until_ns = until_ns
        while (pause := self._reason_to_end()) is None:
            self._go_on(self.engine.run)
        return pause

    def step(self) -> Pause | None:
        """Execute one instruction; before a block's first, the interrupt that is due is delivered.

        None, or why nothing could be executed, or nothing more can be.  What `run` would
        have done where it stops is done where a block has ended, and not in the middle of one:
        `engine.is_mid_block`, where a machine cannot be saved.
        """
        self._stop = False
        self._until_ns = NEVER
        pause = None if self.engine.is_mid_block else self._reason_to_end()
        if pause is None:
            self._go_on(self.engine.step)
        return pause

    def _reason_to_end(self) -> Pause | None:
        """At a block's start: why the run is to end; or else take the interrupt that is due."""
        due = self._intr and self._interruptible()
        stopping = self._stop or self.clock.now_ns >= self._until_ns
        if due and not stopping:
            self._take_interrupt()
        if self._shutdown:
            self._shutdown = False
            return Pause.SHUTDOWN
        if stopping:
            return Pause.REACHED
        return Pause.HALTED if self._halted else None

    def _go_on(self, run: Callable[[], Outcome]) -> None:
        """*run* the engine, and see to what is to be done at the block's start that it comes to."""
        if self._stale_breakpoints:
            self.state = self.state
        if self._stale_code:
            self.engine.invalidate_all()
            self._stale_code = False
        self._pausing = False
        if not self.engine.is_mid_block:
            self._resume_clock()
        outcome = run()
        self._tell_cards()
        if outcome is Outcome.HALTED:
            self._halted = True
        elif outcome is Outcome.BAD_FETCH:
            self.invalid_instruction()
        if self._refused is not None:
            refused, self._refused = self._refused, None
            self._raise(refused)
        if not self.engine.is_mid_block:
            self.clock.advance_to(self.engine.now_ns)
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _pause(self) -> None:
        """End the engine's run at the next block's start; `_go_on` sees to the rest."""
        self._pausing = True
        self.engine.deadline_ns = 0

    def _interruptible(self) -> bool:
        registers = self.engine.registers
        shadow = registers.hflags & layout.HF_INHIBIT_IRQ
        return bool(registers.other_flags & EFLAGS_IF) and not shadow

    def _take_interrupt(self) -> None:
        self._halted = False
        vector = self.acknowledge()
        if not self.engine.take_interrupt(vector):
            eip = self.engine.registers.eip
            self._deliver(Event(vector, Kind.HARDWARE, return_eip=eip))

    def _deliver(self, event: Event) -> None:
        registers = self.engine.registers
        self._go_to(lambda: delivery.deliver(registers, self.memory, event))

    def _go_to(self, deliver: Callable[[], Delivered]) -> None:
        """*deliver* to a handler, or to another task; and have the engine follow."""
        try:
            delivered = deliver()
        except Shutdown:
            self._shutdown = True
            self.stop()
            return
        if delivered.event is not None:
            self._on_delivery(delivered.event)
        if delivered.flush_tlb:
            self.engine.flush_tlb()
        if delivered.dr7_changed:
            self._stale_breakpoints = True
            self._pause()

    # --- what the engine calls ------------------------------------------------------------

    def port_read(self, port: int, size: int, now_ns: int) -> int:
        self._reach(now_ns)
        value = self._ports.read(port, size)
        self._leave(now_ns)
        return value

    def port_write(self, port: int, size: int, value: int, now_ns: int) -> None:
        self._reach(now_ns)
        self._ports.write(port, value, size)
        self._leave(now_ns)

    def reached(self, now_ns: int) -> None:
        """Alarms that are due fire, as at the end of a run; which goes on, if it was for them."""
        if not self._stop and not self._pausing:
            self._tell_cards()
            self.clock.advance_to(now_ns)
            self._resume_clock()

    def _reach(self, now_ns: int) -> None:
        """Before a card is asked: it sees the right time, and alarms that are due have fired."""
        self._tell_cards()
        if now_ns < self.clock.next_ns:
            self.clock.now_ns = now_ns
        else:
            self.clock.advance_to(now_ns)

    def _leave(self, now_ns: int) -> None:
        """It has been asked, and may have moved the clock and armed alarms: the engine follows."""
        clock = self.clock
        if clock.now_ns != now_ns or clock.next_ns != self._next_ns:
            self._resume_clock()

    def _tell_cards(self) -> None:
        """What has been answered without them, before anything else happens to them."""
        if self._shadows is not None and self._shadows.waiting:
            self._shadows.tell(self._ports.read, self._ports.write, self.clock.advance_to)

    def _resume_clock(self) -> None:
        """Let the engine go on from the machine's time, to the next thing that is to happen."""
        self._next_ns = self.clock.next_ns
        stopping = self._stop or self._pausing
        deadline_ns = 0 if stopping else min(self._next_ns, self._until_ns)
        self.engine.proceed(self.clock.now_ns, deadline_ns)

    def exception(self, vector: int) -> None:
        registers = self.engine.registers
        if self._refused is not None:
            registers.dr[6] = self._refused_dr6  # single step's trap, of what has not been executed
        elif registers.exception_is_int:
            registers.exception_is_int = 0
            self._raise(instructions.software_interrupt(registers, self.memory, vector))
        elif vector == MF and not registers.cr[0] & CR0_NE:
            self._freeze()
        elif vector == HELD_BACK:
            if registers.other_flags & EFLAGS_TF:
                registers.dr[6] |= DR6_BS
                self._raise(Event(DB, Kind.EXCEPTION, return_eip=registers.eip))
        elif vector == TASK_SWITCH:
            how, selector, next_eip = instructions.task_switch(registers)
            memory = self.memory
            self._go_to(lambda: delivery.switch_tasks(registers, memory, how, selector, next_eip))
        else:
            error_code = registers.error_code if vector in WITH_ERROR_CODE else None
            self._raise(Event(vector, Kind.EXCEPTION, error_code, return_eip=registers.eip))

    def _freeze(self) -> None:
        """An x87 error is pending, and is not to be #MF: FERR# tells of it (SDM 1, 8.7.2).

        The instruction that waits for it goes on when the error is gone or ignored: after an
        interrupt, which its handler sees return to that instruction.
        """
        self.engine.now_ns += self.clock.costs.block_ns
        self.engine.registers.hflags2 |= layout.HF2_FERR
        self._halted = True
        self._pause()
        self.numeric_error()

    def _raise(self, event: Event) -> None:
        """Deliver an exception; it costs as much as a block, as there may be none between two."""
        self.engine.now_ns += self.clock.costs.block_ns
        self._deliver(event)

    def invalid_instruction(self) -> None:
        self._raise(instructions.invalid(self.engine.registers, self.memory))

    def sysenter(self) -> None:
        refused = instructions.sysenter(self.engine.registers, self.memory, self.model)
        if refused is not None:
            self._refuse(refused)

    def syscall(self) -> None:
        self._refuse(instructions.syscall(self.engine.registers, self.memory))

    def _refuse(self, event: Event) -> None:
        """Have the instruction under way, to whose start EIP has gone back, raise an exception.

        Here it is too late for that; so the engine is stopped before it.
        """
        self._refused = event
        self._refused_dr6 = self.engine.registers.dr[6]
        self._pause()

    def failed(self, error: BaseException) -> None:
        self._error = self._error or error
        self.engine.now_ns = max(self.engine.now_ns, self.clock.now_ns)
        self._pause()
