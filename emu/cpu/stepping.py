"""One instruction at a time, though an engine runs blocks: the same for both engines.

A block is translated before any of it runs, and its start is where the clock counts and a run may
stop.  Two things ask for less than a block:

- `step`, for whoever wants to look at the guest between two instructions.
- A block that runs into a page that cannot be fetched from.  Its translation fails, with EIP at
  its start and nothing of it done; the processor would have gone as far as the page.  So it goes
  there here, an instruction at a time, and the fault comes where it belongs.

Stepping changes nothing for the guest: the block's first instruction looks and counts as the block
would have, the others do neither, and the next look is where the block would have ended.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import Any

from emu.cpu import layout
from emu.cpu.bits import DR7_ENABLED, EFLAGS_RF
from emu.cpu.engine import Outcome
from emu.cpu.layout import Registers

INSTRUCTION_MOST_BYTES = 15
UNKNOWN = float("inf")  # how many instructions a block would have that cannot be translated


class Pace(enum.IntEnum):
    """What a block's start, or an instruction's, is at the moment; native.c has the same."""

    BLOCKS = 0  # look, count, enter
    REST = 1  # of a block that changed itself: count, enter (native.c alone can tell)
    PEEK = 2  # stop before it
    FIRST = 3  # an instruction that begins a block: look, count, enter; then STOP
    NEXT = 4  # another of the same block: enter; then STOP
    STOP = 5  # the instruction asked for has been entered: stop before the next


class SteppingEngine(ABC):
    """What both engines make of their own way to run: `run` and `step`."""

    now_ns: int
    _next_block: Any  # binding.find_next_block: to be written to

    def __init__(self) -> None:
        self._left: float = 0  # instructions of the block under way, after a step into it
        self._blocked = False  # the code ahead cannot be translated, for a part of it is not there

    # --- an engine's own ------------------------------------------------------------------

    @property
    @abstractmethod
    def registers(self) -> Registers:
        """See `emu.cpu.engine.Engine`."""

    @abstractmethod
    def _go(self, pace: Pace) -> Outcome:
        """Run at that *pace*, until there is a reason to stop."""

    @abstractmethod
    def _has_entered(self) -> bool:
        """True where the instruction that `_go` was to run has been entered."""

    @abstractmethod
    def _is_due(self) -> bool:
        """True where a run is to stop: the deadline, or an interrupt that can be delivered."""

    @abstractmethod
    def _block_instructions(self) -> int:
        """How many instructions the block ahead has, which `_go` has just translated."""

    @abstractmethod
    def _end_changed_block(self) -> bool:
        """True where the last instruction has changed its own block, which ends it."""

    # --- what an engine does ----------------------------------------------------------------

    def run(self) -> Outcome:
        while self._left:  # the block that a step has begun
            if (outcome := self._step_on(Pace.NEXT)) is not Outcome.STOPPED:
                return outcome
            if not self._left and self._is_due():
                return outcome
        while True:
            outcome = self._go(Pace.BLOCKS)
            if not self._found_blocked(outcome):
                return outcome
            outcome = self._creep()
            if outcome is not Outcome.STOPPED or self._is_due():
                return outcome

    def step(self) -> Outcome:
        if self._left:
            return self._step_on(Pace.NEXT)
        outcome = self._go(Pace.PEEK)
        self._left = UNKNOWN if self._found_blocked(outcome) else self._block_instructions()
        return self._step_on(Pace.FIRST)

    @property
    def is_mid_block(self) -> bool:
        return self._left > 0

    def _shorten_next_block(self, pace: Pace) -> None:
        """Have the next block translated as one of one instruction, where it is to be that.

        In a step; and after an instruction that has set RF where there are breakpoints, which RF holds
        off for one instruction only (SDM 3B, 17.3.1.1).  corrections.c sees to IRET.
        """
        registers = self.registers
        one = pace in (Pace.FIRST, Pace.NEXT) or (
            registers.dr[7] & DR7_ENABLED and registers.other_flags & EFLAGS_RF
        )
        self._next_block.value = layout.ONE_INSTRUCTION if one else layout.WHOLE_BLOCK

    def _forget_block(self) -> None:
        """The guest goes on elsewhere: a handler's start, or a State that was loaded."""
        self._left = 0

    def _found_blocked(self, outcome: Outcome) -> bool:
        blocked, self._blocked = self._blocked, False
        return blocked or outcome is Outcome.BAD_FETCH

    def _creep(self) -> Outcome:
        """Run straight ahead, to the instruction that cannot be fetched, and have it fault."""
        self._left = UNKNOWN
        outcome = self._step_on(Pace.FIRST)
        while self._left and outcome is Outcome.STOPPED:
            outcome = self._step_on(Pace.NEXT)
        return outcome

    def _step_on(self, pace: Pace) -> Outcome:
        """One instruction of the block under way."""
        before = self.registers.eip
        outcome = self._go(pace)
        self._blocked = False
        if not self._has_entered() or outcome is Outcome.HALTED:
            self._left = 0  # it was due to stop, or the instruction itself is not there
            return outcome
        if self._end_changed_block():
            self._left = 0
        elif self._left == UNKNOWN:
            straight = 0 < self.registers.eip - before <= INSTRUCTION_MOST_BYTES
            self._left = UNKNOWN if straight else 0  # not, where the code has changed under way
        elif self._left:
            self._left -= 1
        return Outcome.STOPPED  # what cannot be fetched now is the next one
