"""The run loop: from sampling point to sampling point, until a run is to end.

At each, in this order: alarms that are due have fired; a reset that was asked for is done; the run
ends, if it is to end; inputs that are due enter; then an interrupt may be delivered, and the guest
goes on.  So a stop, and a save made there, comes between two things that would have happened in the
same order anyway.

The host's side is looked at between slices: characters that have come, and who sits before the
machine.  A guest that halts lets time pass up to the next alarm or input; one that waits for what
only the host can send waits here, and as much time passes in the machine.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence

from emu import attrs
from emu.board import Board
from emu.clock import NEVER, NS_PER_S, Clock
from emu.cpu.processor import Pause
from emu.desk import SerialPort
from emu.host import ctrl_c
from emu.host.descriptors import poll
from emu.inputs import Inputs, Source
from emu.until import Condition, Goals, Reason, Stopped

SLICE_NS = 2_000_000  # so often the host's side is looked at, at the least
ALONE_SLICE_NS = 20_000_000  # the same where nobody is there who could send anything
SERIAL_READ_BYTES = 16  # as many as the UART has room for: no reading ahead
IDLE_WAIT_S = 0.05
IDLE_NS = 10 * NS_PER_S  # a guest that sleeps so long and that nobody can wake is done


@attrs.define(eq=False)
class RunLoop:
    """The run loop of one machine; *shut_down* is told of a triple fault: True is a reset."""

    board: Board
    clock: Clock
    inputs: Inputs
    serial: SerialPort
    shut_down: Callable[[], bool]
    _goals: Goals = attrs.field(init=False, factory=lambda: Goals((), 0))
    _awake_ns: int = attrs.field(init=False, default=0)  # when the guest last did something
    _stop_asked: bool = attrs.field(init=False, default=False)
    _reset_asked: bool = attrs.field(init=False, default=False)
    _exit_value: int | None = attrs.field(init=False, default=None)

    def run(
        self, conditions: Sequence[Condition], attend: Callable[[], None] | None = None
    ) -> Stopped:
        """Run until one of *conditions* is met or the guest cannot go on; says which it was.

        *attend* is called between slices.
        """
        self._goals = Goals(conditions, self.clock.now_ns)
        self._stop_asked = False
        self._exit_value = None
        self._awake_ns = self.clock.now_ns
        with ctrl_c.held(self.stop):
            return self._run(attend)

    def _run(self, attend: Callable[[], None] | None) -> Stopped:
        while True:
            if self._reset_asked:
                self._reset_asked = False
                self.board.reset()
            if attend is not None:
                attend()  # here: a reset that was asked for is in no save
            if (ended := self._ended()) is not None:
                return ended
            self.inputs.enter_due(self.clock.now_ns)
            self._listen()
            if (ended := self._go_on()) is not None:
                return ended

    # --- why it ends ----------------------------------------------------------------------

    def stop(self) -> None:
        """End the run under way at the next sampling point."""
        self._stop_asked = True
        self.board.processor.stop()

    def see(self, data: bytes) -> None:
        """The guest has sent *data* by its serial port, which the run may be waiting for."""
        if self._goals.see(data):
            self.board.processor.stop()

    def leave(self, value: int) -> None:
        """End the run: the guest has left with *value* through the debug-exit port."""
        self._exit_value = value
        self.board.processor.stop()

    def ask_reset(self) -> None:
        """Reset the machine at the next sampling point."""
        self._reset_asked = True
        self.board.processor.stop()

    def forget_reset(self) -> None:
        """The machine has become another."""
        self._reset_asked = False

    # --- from slice to slice --------------------------------------------------------------

    def _ended(self) -> Stopped | None:
        """How the run is to end here, if it is."""
        if self._exit_value is not None:
            return Stopped(Reason.EXIT, value=self._exit_value)
        if (condition := self._goals.met(self.clock.now_ns)) is not None:
            return Stopped(Reason.UNTIL, condition)
        return Stopped(Reason.STOPPED) if self._stop_asked else None

    def _go_on(self) -> Stopped | None:
        """Run a slice; how the run ends, where the guest cannot go on."""
        slice_ns = ALONE_SLICE_NS if self.serial.end.at_end else SLICE_NS
        slice_end_ns = self.clock.now_ns + slice_ns
        end_ns = min(slice_end_ns, self.inputs.next_ns, self._goals.next_ns)
        began_ns = self.clock.now_ns
        pause = self.board.processor.run(end_ns)
        if self.clock.now_ns != began_ns:
            self._awake_ns = self.clock.now_ns
        match pause:
            case Pause.REACHED:
                return None
            case Pause.HALTED:
                return self._pass_time(end_ns)
            case Pause.SHUTDOWN:
                self._reset_asked = self.shut_down()
                return None if self._reset_asked else Stopped(Reason.SHUTDOWN)

    def _listen(self) -> None:
        """Take in what has come from the host, as much as the serial port has room for."""
        cable = self.board.cable
        if cable is not None and self.serial.listening and not cable.state.pending:
            data = self.serial.end.read(SERIAL_READ_BYTES)
            if data:
                self.serial.enter(Source.SERIAL, data)

    def _pass_time(self, end_ns: int) -> Stopped | None:
        """The processor is halted: go on to whatever happens next, or say that nothing will."""
        something_comes = self._goals.next_ns != NEVER or self.inputs.next_ns != NEVER
        if not self.board.processor.interrupts_enabled:
            if something_comes:
                self._sleep(end_ns)
            elif self._is_transmitting():
                self.clock.advance_to(self.clock.next_ns)
            else:
                return Stopped(Reason.HALTED)
        elif something_comes:
            self._sleep(end_ns)
        elif self.serial.end.at_end and self.clock.now_ns - self._awake_ns >= IDLE_NS:
            return Stopped(Reason.IDLE)
        elif self.clock.next_ns != NEVER:
            self._sleep(end_ns)
        else:
            return self._wait_for_input()
        return None

    def _sleep(self, end_ns: int) -> None:
        """Go on from alarm to alarm, until one has woken somebody, or to *end_ns*."""
        clock, processor = self.clock, self.board.processor
        clock.advance_to(min(clock.next_ns, end_ns))
        while clock.next_ns <= end_ns and not processor.wakes:
            clock.advance_to(clock.next_ns)

    def _is_transmitting(self) -> bool:
        """True while what the guest has sent is still on its way out."""
        serial = self.board.serial
        return serial is not None and serial.transmitting

    def _wait_for_input(self) -> Stopped | None:
        """Nothing will happen by itself: wait for the host, and let as much time pass here."""
        if self.serial.end.at_end:
            return Stopped(Reason.IDLE)
        began = time.monotonic_ns()
        descriptor = self.serial.end.fileno()
        if descriptor is None:  # nobody is there, and somebody may come
            time.sleep(IDLE_WAIT_S)
        else:
            poll(descriptor, select.POLLIN, IDLE_WAIT_S)
        self.clock.advance(time.monotonic_ns() - began)
        return None
