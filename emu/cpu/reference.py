"""The reference engine: Unicorn by its public interface, with a Python callback a block.

It is the readable one, and runs wherever Unicorn does, some 250 times slower than native.py.
Its registers are an overlay on the bytes of a saved context: pulled out before they are looked
at, pushed back before the guest goes on.

Five deviations from native.py are known:

- Where a run is stopped inside a guest that is just changing the block it runs, the counts of blocks
  can differ, as the callback cannot tell the continuation of a block from a new one; nor can a step.
- A block of very many instructions is cut in pieces after 180 of them or more; with the native engine
  after 250 or more, up to 512.  For each piece the clock counts one.
- Without corrections.c in the process Unicorn's processor is as it is, and two guests end the process:
  one that loads a null task register and goes through a call gate, where Unicorn aborts; and one
  that divides the least number by -1, which Unicorn leaves to the host.  A page fault of
  fetching ahead comes at the start of its block.
- The TLB's size follows the host's clock (tlb.c): a guest that can tell what is in it may run otherwise
  each time.
- On a build of the library that layout.py does not know, `step` drops all translations.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

from emu.clock import NEVER, Costs
from emu.cpu import binding, corrections, errand, layout, unicorn_h
from emu.cpu.binding import (
    BlockCallback,
    EdgeCallback,
    InCallback,
    InstructionCallback,
    InterruptCallback,
    OutCallback,
    TranslationBlock,
    lib,
)
from emu.cpu.bits import CR0_PG, EFLAGS_IF
from emu.cpu.engine import Calls, Outcome
from emu.cpu.layout import HF_INHIBIT_IRQ, Registers
from emu.cpu.models import Model
from emu.cpu.state import State
from emu.cpu.stepping import Pace, SteppingEngine
from emu.cpu.wiring import Wiring, check_run
from emu.errors import ConfigError
from emu.memory import FOUR_GIB, PAGE_BYTES, Memory
from emu.shadows import Shadows

A20_PAGE = (1 << 20) // PAGE_BYTES
LINEAR_PAGES = FOUR_GIB // PAGE_BYTES
NO_BLOCK = (-1, 0)  # address and size
CPUID_RESULTS = (
    unicorn_h.UC_X86_REG_EAX,
    unicorn_h.UC_X86_REG_EBX,
    unicorn_h.UC_X86_REG_ECX,
    unicorn_h.UC_X86_REG_EDX,
)
# The library tells of a new block only once one has led to another.
_LEARN = bytes.fromhex(
    "eb 00"  # jmp next
    "f4"  # next: hlt
)


class ReferenceEngine(SteppingEngine):
    """See `emu.cpu.engine.Engine`."""

    name = "reference"

    def __init__(self, memory: Memory, model: Model, costs: Costs, calls: Calls) -> None:
        super().__init__()
        self.now_ns = 0
        self.deadline_ns = NEVER
        self.interrupt = False
        self.unwatched = True
        self._block_ns, self._rdtsc_ns = costs.block_ns, costs.rdtsc_ns
        self._port_ns = costs.port_ns
        self._stopped = False
        self._running = False
        self._stale = False  # translations are to be dropped that may be running
        self._cut = False  # the run was ended for that, and goes on
        self._entered = NO_BLOCK
        self._pace = Pace.BLOCKS
        self._instruction_at: int | None = None  # in a step by hook
        self._uc = binding.Unicorn(memory, model)
        self._corrected = corrections.correct(self._uc, model)
        self._next_block = binding.find_next_block(self._uc)
        self._handle = self._uc.handle
        self._context = binding.Context(self._uc)
        start = self._context.address + layout.CONTEXT_HEADER_BYTES
        self._registers = Registers.from_address(start)
        if problem := binding.check_layout(self._uc, self._pull):
            raise ConfigError(f"this Unicorn ({binding.VERSION}) is not known: {problem}")
        # Linear pages that code was translated from; with paging on, they may be anywhere.
        self._code_pages: set[int] = set()
        self._paging_seen = False
        self._msrs = binding.Msrs(self._uc)
        self._model = model
        self._wiring = Wiring(self._uc, memory, calls, self)
        hooks = self._wiring.hooks
        hooks.add(unicorn_h.UC_HOOK_BLOCK, BlockCallback(self._block))
        hooks.add(unicorn_h.UC_HOOK_EDGE_GENERATED, EdgeCallback(self._translated))
        hooks.add_instruction(unicorn_h.UC_X86_INS_RDTSC, InstructionCallback(self._rdtsc))
        hooks.add_instruction(unicorn_h.UC_X86_INS_CPUID, InstructionCallback(self._cpuid))
        errand.run(self, memory, _LEARN, State())

    def close(self) -> None:
        self._wiring.release()
        del self._registers, self._context, self._next_block, self._uc

    def proceed(self, now_ns: int, deadline_ns: int) -> None:
        self.now_ns, self.deadline_ns = now_ns, deadline_ns

    def take_interrupt(self, vector: int) -> bool:  # noqa: ARG002
        """Everything is delivery.py's."""
        return False

    def answer_from(self, shadows: Shadows | None) -> None:
        """The cards are asked each time."""

    # --- registers ------------------------------------------------------------------------

    @property
    def registers(self) -> Registers:
        return self._registers

    def _pull(self) -> Registers:
        """Bring `registers` up to date, the flags with them."""
        eflags = self._uc.read(unicorn_h.UC_X86_REG_EFLAGS)
        self._context.save()
        self._registers.eflags = eflags
        return self._registers

    def _push(self) -> None:
        """Make the engine go on from `registers`."""
        self._context.restore()

    def edit(self, change: Callable[[], None]) -> None:
        """Let *change* edit `registers` in the middle of a run."""
        self._forget_block()
        self._pull()
        try:
            change()
        finally:
            self._push()
        if self._next_block is not None:
            self._shorten_next_block(Pace.BLOCKS)
        if self._pace is not Pace.BLOCKS or self._is_due():
            self._stop()

    def patch(self, change: Callable[[], None]) -> None:
        """Let *change* edit `registers`; the translated code holds the flags itself."""
        if not self._running:
            change()
            return
        self._context.save()
        try:
            change()
        finally:
            self._push()

    def registers_loaded(self) -> None:
        """The rounding modes of x87 and SSE are kept twice; writing by id sets both."""
        self._forget_block()
        self._push()
        self._uc.write(unicorn_h.UC_X86_REG_FPCW, self._registers.fpuc)
        self._uc.write(unicorn_h.UC_X86_REG_MXCSR, self._registers.mxcsr)
        self._pull()
        self.flush_tlb()

    # --- running --------------------------------------------------------------------------

    def _go(self, pace: Pace) -> Outcome:
        while True:
            self._stopped = self._cut = False
            self._pace = pace
            status = self._run_once()
            if self._stale:
                self.invalidate_all()
            if not self._cut:
                break
        if not check_run(status):
            return Outcome.BAD_FETCH
        return Outcome.STOPPED if self._stopped else Outcome.HALTED

    def _run_once(self) -> int:
        self._push()
        self._running = True
        self._entered = NO_BLOCK
        if self._next_block is not None:
            self._shorten_next_block(self._pace)
        elif self._pace in (Pace.FIRST, Pace.NEXT):
            return self._run_one_by_hook()
        return self._start()

    def _run_one_by_hook(self) -> int:
        """One instruction, where there is no way to have a block of one."""
        self._uc.flush_code()  # translations that do not call the hook
        self._instruction_at = None
        hooks = self._wiring.hooks
        hook = hooks.add(unicorn_h.UC_HOOK_CODE, BlockCallback(self._instruction))
        try:
            return self._start()
        finally:
            hooks.remove(hook)
            self._uc.flush_code()

    def _instruction(self, _uc: int, address: int, _size: int, _user: int) -> None:
        if self._instruction_at is None:
            self._instruction_at = address
        elif address != self._instruction_at:  # it is run again where it has changed its block
            self._stop()

    def _start(self) -> int:
        try:
            return int(
                lib.uc_emu_start(
                    self._handle,
                    ctypes.c_uint64(self._registers.eip),
                    ctypes.c_uint64(0),
                    ctypes.c_uint64(0),
                    ctypes.c_size_t(0),
                )
            )
        finally:
            self._running = False
            self._pull()

    def _stop(self) -> None:
        self._stopped = True
        lib.uc_emu_stop(self._handle)

    def _block(self, _uc: int, address: int, size: int, _user: int) -> None:
        """A block is about to be entered: stop before it, or count it."""
        before, self._entered = self._entered, (address, size)
        if self._corrected.again and not self._stale:
            self._corrected.again = 0
            self.now_ns += self._block_ns
            return
        if self._pace is not Pace.BLOCKS:
            self._unusual_block(before)
            return
        something = self.now_ns >= self.deadline_ns or self.interrupt or self._stale
        if something and self._stops(before):
            lib.uc_emu_stop(self._handle)
        else:
            self.now_ns += self._block_ns

    def _unusual_block(self, before: tuple[int, int]) -> None:
        """The same while something is under way."""
        match self._pace:
            case Pace.STOP if _is_rerun(before, self._entered):
                pass
            case Pace.FIRST if not self._is_due():
                self.now_ns += self._block_ns
                self._pace = Pace.STOP
            case Pace.NEXT:
                self._pace = Pace.STOP
            case _:
                self._stop()

    def _stops(self, before: tuple[int, int]) -> bool:
        """True where the run is to stop or be cut, the last block having been *before*."""
        self._cut = self._stale
        self._stopped = not self._cut and self._is_due() and not _is_rerun(before, self._entered)
        return self._cut or self._stopped

    def wire(self, wiring: Wiring) -> None:
        def port_read(_uc: int, port: int, size: int, _user: int) -> int:
            return wiring.port_read(port, size, self._pass_port())

        def port_write(_uc: int, port: int, size: int, value: int, _user: int) -> None:
            wiring.port_write(port, size, value, self._pass_port())

        hooks = wiring.hooks
        hooks.add_instruction(unicorn_h.UC_X86_INS_IN, InCallback(port_read))
        hooks.add_instruction(unicorn_h.UC_X86_INS_OUT, OutCallback(port_write))
        hooks.add(unicorn_h.UC_HOOK_INTR, InterruptCallback(wiring.exception))

    def _pass_port(self) -> int:
        """A port access takes a while: the time at its end."""
        self.now_ns += self._port_ns
        return self.now_ns

    def postpones(self, vector: int) -> bool:
        if not self._corrected.is_ahead(vector, self._pace):
            return False
        self._pull()
        self._corrected.take_back(self._registers)
        self._push()
        self._blocked = True
        self._stop()
        return True

    def _has_entered(self) -> bool:
        return self._pace is Pace.STOP

    def _block_instructions(self) -> int:
        return self._uc.block_at(self._entered[0]).instructions

    def _end_changed_block(self) -> bool:
        return False

    def _is_due(self) -> bool:
        """True where the run is to stop: the deadline, or an interrupt that can be delivered."""
        return self.now_ns >= self.deadline_ns or (self.interrupt and self._interruptible())

    def _interruptible(self) -> bool:
        registers = self._pull()
        return bool(registers.other_flags & EFLAGS_IF) and not registers.hflags & HF_INHIBIT_IRQ

    def _rdtsc(self, _uc: int, _user: int) -> int:
        """RDTSC: the counter is the clock, and reading it takes a while."""
        self.now_ns += self._rdtsc_ns
        self._uc.write(unicorn_h.UC_X86_REG_EAX, self.now_ns & 0xFFFF_FFFF)
        self._uc.write(unicorn_h.UC_X86_REG_EDX, self.now_ns >> 32 & 0xFFFF_FFFF)
        return 1

    def _cpuid(self, _uc: int, _user: int) -> int:
        """CPUID: what models.py has to say."""
        leaf = self._model.cpuid(self._uc.read(unicorn_h.UC_X86_REG_EAX))
        values = (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx)
        for register, value in zip(CPUID_RESULTS, values, strict=True):
            self._uc.write(register, value)
        return 1

    # --- translated code ------------------------------------------------------------------

    def _translated(self, _uc: int, block: int, _previous: int, _user: int) -> None:
        """A new block has been translated: remember where from."""
        new = TranslationBlock.from_address(block)
        for number in range(new.pc // PAGE_BYTES, (new.pc + new.size - 1) // PAGE_BYTES + 1):
            page = number % LINEAR_PAGES
            self._code_pages |= {page, page & ~A20_PAGE}
        cr0 = self._uc.read(unicorn_h.UC_X86_REG_CR0)
        self._paging_seen = self._paging_seen or bool(cr0 & CR0_PG)

    def flush_tlb(self) -> None:
        self._uc.flush_tlb()

    def invalidate(self, address: int, length: int) -> None:
        pages = range(address // PAGE_BYTES, (address + length - 1) // PAGE_BYTES + 1)
        if self._paging_seen or not self._code_pages.isdisjoint(pages):
            self.invalidate_all()

    def invalidate_all(self) -> None:
        """At once, or at the next block's start: the block that runs must stay until it ends."""
        self._stale = self._running
        if not self._running:
            self._uc.flush_code()
            self.flush_tlb()
            self._code_pages.clear()
            self._paging_seen = False

    # --- model-specific registers -----------------------------------------------------------

    def read_msrs(self) -> list[int]:
        return self._msrs.read()

    def write_msrs(self, values: Sequence[int]) -> None:
        self._msrs.write(values)
        self._pull()


def _is_rerun(before: tuple[int, int], block: tuple[int, int]) -> bool:
    """True where a block's first instruction changed the block, and is now run again by itself.

    After a stop here the next run would be cut short here again, and the one after it.
    """
    return block[0] == before[0] and block[1] < before[1]


def make(memory: Memory, model: Model, costs: Costs, calls: Calls) -> ReferenceEngine:
    """The factory of this engine."""
    return ReferenceEngine(memory, model, costs, calls)
