"""The native engine: Unicorn with the stand-ins of native.c and tlb.c in its way.

The stand-ins must be in the process before Unicorn is (preload.py).  Where that fails for any
reason, `UNAVAILABLE` says why in one line and the reference engine serves instead.  Looked at, in
this order: the platform, Unicorn not in the process yet, the built shared object, in a checkout the
sources that it is built from, Unicorn's version, each symbol, the dynamic linker's scope; and if the
library is not the very file that all this was made with, the layout of the processor's state, and a
guest of a few lines that changes its own code, run whole and in slices (selfcheck.py).
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable, Sequence
from typing import ClassVar

from emu.clock import NEVER, Costs
from emu.cpu import binding, corrections, errand, layout, models, preload, unicorn_h
from emu.cpu.binding import InterruptCallback
from emu.cpu.engine import Calls, Outcome
from emu.cpu.layout import Registers
from emu.cpu.models import Model
from emu.cpu.state import State
from emu.cpu.stepping import Pace, SteppingEngine
from emu.cpu.wiring import Wiring, check_run
from emu.errors import HostError
from emu.memory import MIB, PAGE_BYTES, Memory, Ram
from emu.shadows import Shadows

# struct emu_native_engine: port_read and port_write; port, size, value and time.
PortRead = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_int64)
PortWrite = ctypes.CFUNCTYPE(
    None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_int64
)
Reached = ctypes.CFUNCTYPE(None, ctypes.c_int64)  # and reached, with the time

# Any load: native.c comes to know an engine's translator when that translates one.
_LEARN = bytes.fromhex(
    "8a 07"  # mov al, [bx]
    "f4"  # hlt
)


class Shared(ctypes.Structure):
    """struct emu_native_engine of native.h, field for field."""

    _fields_: ClassVar = [
        ("over_ns", ctypes.c_int64),
        ("limit_ns", ctypes.c_int64),
        ("deadline_ns", ctypes.c_int64),
        ("block_ns", ctypes.c_int64),
        ("rdtsc_ns", ctypes.c_int64),
        ("port_ns", ctypes.c_int64),
        ("interrupt", ctypes.c_uint32),
        ("stopped", ctypes.c_uint32),
        ("pace", ctypes.c_uint32),
        ("unwatched", ctypes.c_uint32),
        ("exception", ctypes.c_void_p),
        ("port_read", ctypes.c_void_p),
        ("port_write", ctypes.c_void_p),
        ("reached", ctypes.c_void_p),
        ("shadows", ctypes.c_void_p),
        ("leaves", ctypes.c_void_p),
        ("delivered", ctypes.c_uint64),
        ("ram_pages", ctypes.c_uint32),
        ("has_sysenter", ctypes.c_uint32),
        ("env", ctypes.c_void_p),
        ("uc", ctypes.c_void_p),
        ("cpu", ctypes.c_void_p),
        ("tcg", ctypes.c_void_p),
        ("ram", ctypes.c_void_p),
        ("code", ctypes.c_void_p),
        ("block", ctypes.c_void_p),
        ("window_ns", ctypes.c_int64),
        ("rewritten", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
    ]
    over_ns: int
    limit_ns: int
    deadline_ns: int
    block_ns: int
    rdtsc_ns: int
    port_ns: int
    interrupt: int
    stopped: int
    pace: int
    unwatched: int
    exception: int | None
    port_read: int | None
    port_write: int | None
    reached: int | None
    shadows: int | None
    leaves: int
    delivered: int
    ram_pages: int
    has_sysenter: int
    env: int
    uc: int
    cpu: int
    tcg: int
    ram: int


def _leaves(model: Model) -> ctypes.Array[ctypes.c_uint32]:
    """As cpuid.c has them: struct emu_native_leaves."""
    basic, extended = model.leaves
    words = [len(basic), len(extended)]
    for leaf in (*basic, *extended):
        words += [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]
    return (ctypes.c_uint32 * len(words))(*words)


def _bind(library: ctypes.CDLL) -> str | None:
    """Give the shared object the library's functions; None, or what is missing."""
    problem = binding.bind(
        library.emu_native_bind,
        library.emu_tlb_bind,
        library.emu_pause_bind,
        library.emu_cpuid_bind,
        library.emu_delivery_bind,
    )
    library.emu_native_proceed.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    if binding.VERSION != layout.VERSION:
        return f"made for Unicorn {layout.VERSION}, this is {binding.VERSION}"
    return problem


class NativeEngine(SteppingEngine):
    """See `emu.cpu.engine.Engine`.  `registers` is the running engine's own state."""

    name = "native"

    def __init__(
        self, library: ctypes.CDLL, memory: Memory, model: Model, costs: Costs, calls: Calls
    ) -> None:
        super().__init__()
        self._library = library
        self._uc = binding.Unicorn(memory, model)
        self._corrected = corrections.correct(self._uc, model)
        places = binding.find_structures(self._uc)
        self._next_block = binding.find_next_block(self._uc)
        library.emu_native_allocate.restype = ctypes.c_void_p
        address = library.emu_native_allocate(ctypes.c_void_p(places.env))
        if address is None:
            raise MemoryError
        shared = self._shared = Shared.from_address(address)
        shared.over_ns = -costs.block_ns  # now is 0
        shared.deadline_ns = NEVER
        shared.block_ns = costs.block_ns
        shared.rdtsc_ns = costs.rdtsc_ns
        shared.port_ns = costs.port_ns
        shared.unwatched = True
        self._leaves = _leaves(model)
        shared.leaves = ctypes.addressof(self._leaves)
        shared.has_sysenter = bool(model.cpuid(1).edx & models.SEP)
        shared.ram_pages = memory.ram.pages
        shared.uc, shared.cpu, shared.env = places.uc, places.cpu, places.env
        shared.ram = memory.ram.address
        self._registers = Registers.from_address(places.env)
        self._pointer = ctypes.byref(shared)
        if library.emu_native_register(self._pointer):
            raise MemoryError
        # Nobody may forget this one: native.c would go on to look at memory that is gone.
        self._unregister = weakref.finalize(self, library.emu_native_unregister, self._pointer)
        self._msrs = binding.Msrs(self._uc)
        self._wiring = Wiring(self._uc, memory, calls, self)
        errand.run(self, memory, _LEARN, State())

    def close(self) -> None:
        self._unregister()
        self._wiring.release()
        del self._registers, self._next_block, self._uc, self._shared

    # --- the clock and the pins, shared with C --------------------------------------------

    @property
    def now_ns(self) -> int:
        shared = self._shared
        return shared.limit_ns + shared.over_ns + shared.block_ns

    @now_ns.setter
    def now_ns(self, value: int) -> None:
        shared = self._shared
        shared.over_ns = value - shared.limit_ns - shared.block_ns

    @property
    def deadline_ns(self) -> int:
        return self._shared.deadline_ns

    @deadline_ns.setter
    def deadline_ns(self, value: int) -> None:
        self._shared.deadline_ns = value
        self._library.emu_native_rearm(self._pointer)

    @property
    def interrupt(self) -> bool:
        return bool(self._shared.interrupt)

    @interrupt.setter
    def interrupt(self, value: bool) -> None:
        self._shared.interrupt = value
        self._library.emu_native_rearm(self._pointer)

    def proceed(self, now_ns: int, deadline_ns: int) -> None:
        self._library.emu_native_proceed(self._pointer, now_ns, deadline_ns)

    @property
    def unwatched(self) -> bool:
        return bool(self._shared.unwatched)

    @unwatched.setter
    def unwatched(self, value: bool) -> None:
        self._shared.unwatched = value

    def take_interrupt(self, vector: int) -> bool:
        return bool(self._library.emu_native_take_interrupt(self._pointer, vector))

    def answer_from(self, shadows: Shadows | None) -> None:
        self._shadows = shadows  # kept alive
        self._shared.shadows = None if shadows is None else ctypes.addressof(shadows.table)

    @property
    def delivered(self) -> int:
        """How many exceptions and system calls delivery.c has seen to."""
        return self._shared.delivered

    # --- registers ------------------------------------------------------------------------

    @property
    def registers(self) -> Registers:
        return self._registers

    def edit(self, change: Callable[[], None]) -> None:
        """Let *change* edit `registers` in the middle of a run: they are the live ones."""
        self._forget_block()
        self._library.emu_native_settle_flags(self._pointer)
        change()
        self._shorten_next_block(Pace.BLOCKS)
        self._library.emu_native_delivered(self._pointer)

    def patch(self, change: Callable[[], None]) -> None:
        """Let *change* edit `registers`; the translated code holds the flags itself."""
        change()

    def registers_loaded(self) -> None:
        """The rounding modes of x87 and SSE are kept twice; writing by id sets both."""
        self._forget_block()
        self._uc.write(unicorn_h.UC_X86_REG_FPCW, self.registers.fpuc)
        self._uc.write(unicorn_h.UC_X86_REG_MXCSR, self.registers.mxcsr)
        self.flush_tlb()

    # --- running --------------------------------------------------------------------------

    def _go(self, pace: Pace) -> Outcome:
        self._shorten_next_block(pace)
        eip = ctypes.c_uint64(self._registers.eip)
        status = self._library.emu_native_start(self._pointer, eip, pace)
        self._library.emu_native_settle_flags(self._pointer)
        if not check_run(status):
            return Outcome.BAD_FETCH
        return Outcome.STOPPED if self._shared.stopped else Outcome.HALTED

    def wire(self, wiring: Wiring) -> None:
        """By way of delivery.c and shadows.c, which call Python for what they leave to it."""
        exception = InterruptCallback(wiring.exception)
        read, write = PortRead(wiring.port_read), PortWrite(wiring.port_write)
        shared = self._shared
        shared.exception = wiring.hooks.keep(exception)
        shared.port_read, shared.port_write = wiring.hooks.keep(read), wiring.hooks.keep(write)
        shared.reached = wiring.hooks.keep(Reached(wiring.reached))
        wiring.hooks.add(
            unicorn_h.UC_HOOK_INTR,
            self._library.emu_native_exception,
            ctypes.addressof(shared),
        )

    def postpones(self, vector: int) -> bool:
        if not self._corrected.is_ahead(vector, Pace(self._shared.pace)):
            return False
        self._corrected.take_back(self._registers)
        self._blocked = True
        self._library.emu_native_stop(self._pointer)
        return True

    def _has_entered(self) -> bool:
        return self._shared.pace == Pace.STOP

    def _is_due(self) -> bool:
        return bool(self._library.emu_native_is_due(self._pointer))

    def _block_instructions(self) -> int:
        return int(self._library.emu_native_block_instructions(self._pointer))

    def _end_changed_block(self) -> bool:
        return bool(self._library.emu_native_end_changed_block(self._pointer))

    def flush_tlb(self) -> None:
        self._library.emu_tlb_empty(self._pointer)

    def invalidate(self, address: int, length: int) -> None:
        self._library.emu_tlb_invalidate(
            self._pointer, ctypes.c_uint64(address), ctypes.c_uint64(length)
        )

    def invalidate_all(self) -> None:
        """Only between two runs: the block that runs would go with it."""
        self._uc.flush_code()
        self._library.emu_tlb_forget_code(self._pointer)

    # --- model-specific registers -----------------------------------------------------------

    def read_msrs(self) -> list[int]:
        return self._msrs.read()

    def write_msrs(self, values: Sequence[int]) -> None:
        self._msrs.write(values)


# ---- the self-check ----------------------------------------------------------------------


def _check(library: ctypes.CDLL) -> str | None:
    """None if the engine does what it should, or what it does not."""
    from emu.cpu import selfcheck

    memory = Memory(Ram("check.ram", MIB), Ram("check.rom", PAGE_BYTES))
    engine = NativeEngine(library, memory, Model.PENTIUM3, Costs(), selfcheck.NoCalls())
    problem = binding.check_layout(engine._uc, lambda: engine.registers)  # noqa: SLF001
    learned = bool(engine._shared.tcg)  # noqa: SLF001
    engine.close()
    if not learned:
        problem = "its translator does not call the stand-ins"
    return problem or selfcheck.run(functools.partial(NativeEngine, library))


def _check_scope(library: ctypes.CDLL) -> str | None:
    """None if the dynamic linker has found the stand-ins as it bound the library, or what is wrong.

    It looks in the global scope first; and the library was not there before (preload.py).
    """
    name = "check_exit_request_x86_64"
    places = [
        ctypes.cast(each[name], ctypes.c_void_p).value if hasattr(each, name) else None
        for each in (library, ctypes.CDLL(None))  # the second: whatever is in the global scope
    ]
    if places[0] != places[1]:
        return "its translator does not call the stand-ins"
    return None


def _find_problem() -> tuple[ctypes.CDLL | None, str | None]:
    if isinstance(preload.LOADED, str):
        return None, preload.LOADED
    try:
        problem = _bind(preload.LOADED) or corrections.PROBLEM or _check_scope(preload.LOADED)
        if not binding.MEASURED_BUILD:
            problem = problem or _check(preload.LOADED)
    except HostError as error:  # no memory for it, and soon for nothing else either
        problem = str(error)
    return (None, problem) if problem else (preload.LOADED, None)


_library, UNAVAILABLE = _find_problem()


def make(memory: Memory, model: Model, costs: Costs, calls: Calls) -> NativeEngine:
    """The factory of this engine; only where `UNAVAILABLE` is None."""
    if _library is None:
        raise RuntimeError(f"no native engine: {UNAVAILABLE}")
    return NativeEngine(_library, memory, model, costs, calls)
