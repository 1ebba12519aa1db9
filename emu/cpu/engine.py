"""What an engine is: the instructions, and nothing around them.

An engine runs guest code from one point to another.  It knows memory, the clock's cost of a
block, and whom to call when the guest does what an engine cannot do itself; what those calls
do, and everything between two runs, is the processor's (processor.py).

Both engines count alike: at the start of each block, and nowhere else, they look whether to stop
(`now_ns` at or past `deadline_ns`; or `interrupt` with IF set and no shadow on).  If not, the
block costs `block_ns` and is entered.  So where a run was sliced changes nothing.  After an
exception they look as well, before they try whether its handler has a block to enter.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

from emu.clock import Costs
from emu.cpu.layout import Registers
from emu.cpu.models import Model
from emu.memory import Memory
from emu.shadows import Shadows


class Outcome(enum.Enum):
    """Why a run of an engine ended."""

    STOPPED = "at a block's start: the deadline, or an interrupt that can be delivered"
    HALTED = "after a HLT"
    BAD_FETCH = "at an instruction that no memory holds"


class Calls(Protocol):
    """Whom an engine calls while it runs.

    During `exception` and `invalid_instruction` the engine's `registers` may be read and edited, and
    the run goes on from what they then say.  `sysenter` and `syscall` come in the middle of an
    instruction: there the arithmetic flags are not in place and must be left alone, and the
    instruction's length is still added to EIP.  `now_ns`, `deadline_ns` and `interrupt` may be
    changed, and `patch`, `flush_tlb` and `invalidate` called, in any of these.
    """

    def port_read(self, port: int, size: int, now_ns: int) -> int:
        """IN; `now_ns` is the engine's, the time that the access takes is in it."""

    def port_write(self, port: int, size: int, value: int, now_ns: int) -> None:
        """OUT."""

    def reached(self, now_ns: int) -> None:
        """At a block's start, the deadline.  Where another is set in here, the run need not end.

        An engine may as well end it, and leave to whoever called it what is due.
        """

    def exception(self, vector: int) -> None:
        """An exception or INT n; EIP is the faulting instruction, after INT n the next one."""

    def invalid_instruction(self) -> None: ...

    def sysenter(self) -> None: ...

    def syscall(self) -> None: ...

    def failed(self, error: BaseException) -> None:
        """One of the others raised *error*, which cannot pass through the engine: keep it.

        The instruction goes on as if nothing had happened; a read has read 0.
        """


class Engine(Protocol):
    """One processor's worth of execution."""

    name: str
    now_ns: int
    deadline_ns: int
    interrupt: bool
    unwatched: bool  # nobody looks on: what it can do as `Calls` would, it may do without them

    @property
    def registers(self) -> Registers:
        """Everything that the guest's code can see of the processor.

        Valid between runs and during the calls that say so; the flags are in place.
        """

    def proceed(self, now_ns: int, deadline_ns: int) -> None:
        """Set both."""

    def answer_from(self, shadows: Shadows | None) -> None:
        """Ports that have one of *shadows* need not be `Calls`' to answer, while `unwatched`."""

    def take_interrupt(self, vector: int) -> bool:
        """Between two runs: deliver a hardware interrupt, as delivery.py would; False: not done."""

    def run(self) -> Outcome:
        """Go on from `registers` until there is a reason to stop."""

    def step(self) -> Outcome:
        """The same, but for one instruction at most.

        A run after it ends the block first that the instruction is in; so the guest cannot tell.
        """

    @property
    def is_mid_block(self) -> bool:
        """True where a step has come to the middle of a block: no stop, and nothing delivered."""

    def patch(self, change: Callable[[], None]) -> None:
        """Let *change* edit `registers`, in the middle of an instruction too; no flags there."""

    def registers_loaded(self) -> None:
        """`registers` has been written from outside: make all that is derived from it follow."""

    def flush_tlb(self) -> None:
        """Forget what was learned from the page tables."""

    def invalidate(self, address: int, length: int) -> None:
        """Physical memory has been written from outside: forget translations of that code."""

    def invalidate_all(self) -> None:
        """All memory has changed."""

    def read_msrs(self) -> list[int]:
        """The model-specific registers of `layout.MSRS`."""

    def write_msrs(self, values: Sequence[int]) -> None:
        """Set them."""

    def close(self) -> None:
        """Give everything back."""


class EngineChoice(enum.Enum):
    """What a user asks for."""

    AUTO = "auto"
    NATIVE = "native"
    REFERENCE = "reference"


class EngineFactory(Protocol):
    """How an engine is made."""

    def __call__(self, memory: Memory, model: Model, costs: Costs, calls: Calls) -> Engine: ...
