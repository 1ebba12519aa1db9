"""Instructions that an engine leaves to us, or that it tells of only when EIP is past them.

    INT n, INT3, INTO    the engine is behind it; it may have to be gone back to
    INT1, INT 6          the engine takes them for what it does not know
    SYSENTER             the engine has no code for it
    SYSCALL              the engine takes it to do nothing
    JMP, CALL, IRET      where they switch tasks, and a TSS is of 16 bits (tasks.c)

EIP is in the registers; the bytes of the instruction are read from where they point.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volumes 2A and 2B.
"""

from __future__ import annotations

from emu.cpu import delivery, models, segments
from emu.cpu.bits import EFLAGS_IF, EFLAGS_RF, EFLAGS_VM
from emu.cpu.delivery import Event, Kind
from emu.cpu.layout import CS, ESP, SS, Registers
from emu.cpu.models import Model
from emu.cpu.tasks import How
from emu.cpu.vectors import BP, DB, GP, OF, UD
from emu.memory import Memory

INT1_OPCODE, INT3_OPCODE, INTO_OPCODE = 0xF1, 0xCC, 0xCE
LOCK = 0xF0
PREFIXES = frozenset(bytes.fromhex("26 2e 36 3e 64 65 66 67 f0 f2 f3"))
SYSENTER_BYTES = SYSCALL_BYTES = 2
HOW_SHIFT, LENGTH_SHIFT = 16, 20  # where an exception has its error code

# What SYSENTER loads: flat segments, whatever the descriptor tables say (SDM 2B, SYSENTER).
FLAT_LIMIT = 0xFFFF_FFFF
SYSENTER_CODE = 0x00C0_9B00  # 32-bit, page granular, ring 0 code
SYSENTER_STACK = 0x00C0_9300


def software_interrupt(registers: Registers, memory: Memory, vector: int) -> Event:
    """INT n, INT3 or INTO: EIP is past it; go back to it, in case its delivery faults.

    corrections.c has left its length; without that, a prefix before it is not gone back over.
    """
    next_eip = registers.eip
    opcode = _code_byte(registers, memory, next_eip - 1) if vector in (BP, OF) else 0
    if opcode in (INT3_OPCODE, INTO_OPCODE):
        kind, length = Kind.SOFTWARE_EXCEPTION, 1
    else:
        kind, length = Kind.SOFTWARE, 2
    length = registers.error_code or length
    registers.eip = (next_eip - length) & 0xFFFF_FFFF
    return Event(vector, kind, return_eip=next_eip)


def task_switch(registers: Registers) -> tuple[How, int, int]:
    """What switches tasks, the selector it has, and the EIP behind it: as tasks.c has left it."""
    code = registers.error_code
    next_eip = registers.eip + (code >> LENGTH_SHIFT) & 0xFFFF_FFFF
    return How(code >> HOW_SHIFT & 3), code & 0xFFFF, next_eip


def invalid(registers: Registers, memory: Memory) -> Event:
    """What the engine does not know; INT1, which it should, is among it, and so is INT 6."""
    eip = registers.eip
    length = _prefixes(registers, memory) + 1
    code = [_code_byte(registers, memory, eip + at) for at in range(length)]
    if registers.exception_is_int:
        registers.exception_is_int = 0
        event = Event(UD, Kind.SOFTWARE, return_eip=registers.exception_next_eip)
    elif code[-1] == INT1_OPCODE and LOCK not in code:
        event = Event(DB, Kind.PRIVILEGED_SOFTWARE_EXCEPTION, return_eip=eip + length)
    else:
        event = Event(UD, Kind.EXCEPTION, return_eip=eip)
    return event


def sysenter(registers: Registers, memory: Memory, model: Model) -> Event | None:
    """SYSENTER: to ring 0 by the three MSRs (SDM 2B).  None, or the exception that it raises.

    The engine adds the length of the instruction to EIP after this.
    """
    length = _prefixes(registers, memory) + SYSENTER_BYTES
    selector = registers.sysenter_cs & 0xFFFC
    if not model.cpuid(1).edx & models.SEP:
        return _refused(registers, UD, None, length)
    if not selector:
        return _refused(registers, GP, 0, length)
    for segment, number, flags in (
        (CS, selector, SYSENTER_CODE),
        (SS, selector + 8, SYSENTER_STACK),
    ):
        cache = registers.segs[segment]
        cache.selector, cache.base, cache.limit, cache.flags = number, 0, FLAT_LIMIT, flags
    registers.regs[ESP] = registers.sysenter_esp & 0xFFFF_FFFF
    registers.eip = (registers.sysenter_eip & 0xFFFF_FFFF) - length
    registers.other_flags &= ~(EFLAGS_VM | EFLAGS_IF | EFLAGS_RF)
    segments.settle_hflags(registers, 0)
    return None


def syscall(registers: Registers, memory: Memory) -> Event:
    """SYSCALL: no processor of this machine has it; the exception that it raises."""
    return _refused(registers, UD, None, _prefixes(registers, memory) + SYSCALL_BYTES)


def _refused(registers: Registers, vector: int, error_code: int | None, length: int) -> Event:
    """The exception of an instruction of *length* bytes; EIP goes back by these."""
    eip = registers.eip
    registers.eip = eip - length
    return Event(vector, Kind.EXCEPTION, error_code, return_eip=eip)


def _prefixes(registers: Registers, memory: Memory) -> int:
    """How many prefixes the instruction has that is being executed."""
    count = 0
    while _code_byte(registers, memory, registers.eip + count) in PREFIXES:
        count += 1
    return count


def _code_byte(registers: Registers, memory: Memory, eip: int) -> int:
    return delivery.read_code_byte(registers, memory, registers.segs[CS].base + eip)
