"""A case that did not end the same on two machines, and what can be found out about it."""

from __future__ import annotations

from fuzz_format import (
    CODE_16,
    CODE_16_LEVEL_3,
    CRASHED,
    EVENT,
    GENERAL,
    MODE_PAGING,
    MODE_REAL,
    PAGE,
    SANDBOX,
    SANDBOX_BYTES,
    SELECTORS,
    TABLES,
    VM,
    WATCHDOG_VECTOR,
    Case,
    Record,
)
from fuzz_runners import Ran

from emu import attrs

FIELDS = tuple(field.name for field in attrs.fields(Record) if field.name != "image")


def differences(theirs: Record, ours: Record) -> list[str]:
    """The names of the fields that are not the same."""
    if ours.status & CRASHED:
        return ["status"]  # whatever QEMU does
    if not theirs.status & ours.status & EVENT or WATCHDOG_VECTOR in (theirs.vector, ours.vector):
        return [] if theirs.status == ours.status else ["status"]
    return [name for name in FIELDS if getattr(theirs, name) != getattr(ours, name)]


PREFIXES = frozenset(bytes.fromhex("26 2e 36 3e 64 65 66 67 f0 f2 f3"))
REAL_FRAME_BYTES, INSTRUCTION_MOST = 6, 15
SMALL_CODE = (CODE_16, CODE_16_LEVEL_3 & ~3, 0x14)


@attrs.frozen
class Instruction:
    """The beginning of one: its prefixes, its opcode with 0Fh if it has that, and what follows."""

    prefixes: bytes
    opcode: int  # 0Fh and the second byte as one number; -1: nothing is known
    rest: bytes

    @classmethod
    def parse(cls, code: bytes) -> Instruction:
        at = 0
        while at < len(code) and code[at] in PREFIXES:
            at += 1
        after = code[at:]
        if not after:
            return cls(code, -1, b"")
        if after[0] == 0x0F and len(after) > 1:
            return cls(code[:at], 0x0F00 | after[1], after[2:])
        return cls(code[:at], after[0], after[1:])

    @property
    def reg(self) -> int:
        """ModRM's middle field, an opcode's extension."""
        return self.rest[0] >> 3 & 7 if self.rest else -1

    @property
    def is_register(self) -> bool:
        """ModRM names a register, not memory."""
        return bool(self.rest) and self.rest[0] >> 6 == 3


@attrs.frozen
class Parting:
    """The first instruction after which two machines are not the same, in single steps."""

    instruction: Instruction
    linear: int
    before: Ran  # ours; theirs is the same
    theirs: Ran
    ours: Ran


@attrs.frozen
class Finding:
    """A case that did not end the same."""

    number: int
    case: Case
    theirs: Ran
    ours: Ran
    parting: Parting | None = None  # looked for where the end alone does not tell why

    def linear(self, record: Record) -> int:
        """Where the instruction is that *record* tells of."""
        if self.case.mode & MODE_REAL and record.esp & 0xFFFF < REAL_FRAME_BYTES:
            cs = self.case.selectors[0]  # its frame was at both ends of the stack
        else:
            cs = record.cs
        return self._linear(cs, record.eflags, record.eip)

    @property
    def start(self) -> int:
        """Where the case's first instruction is."""
        return self._linear(self.case.selectors[0], self.case.eflags, self.case.eip)

    def _linear(self, cs: int, eflags: int, eip: int) -> int:
        """The bases of the harness's segments are few."""
        if self.case.mode & MODE_REAL or eflags & VM:
            base = cs << 4
        else:
            base = SANDBOX if cs & ~3 in SMALL_CODE else 0
        return (base + eip) & 0xFFFF_FFFF

    def instruction(self, ran: Ran) -> Instruction:
        """The instruction that *ran* ended with, as its memory is in the end; empty where not known."""
        return self.instruction_at(ran, self.linear(ran.record))

    def instruction_at(self, ran: Ran, linear: int) -> Instruction:
        return Instruction.parse(self.memory(ran, linear, INSTRUCTION_MOST))

    def physical(self, linear: int) -> int:
        """Where in memory that linear address is, in the sandbox; -1: it is not there."""
        page = (linear - SANDBOX) >> 12
        if not 0 <= page < len(self.case.window):
            return -1
        if self.case.mode & MODE_PAGING:
            linear = SANDBOX + ((self.case.window[page] >> 6) << 12 | linear & 0xFFF)
        return linear if linear - SANDBOX < SANDBOX_BYTES else -1

    def memory(self, ran: Ran, linear: int, length: int) -> bytes:
        """What *ran* has at that linear address: in its sandbox or, without pages, its tables."""
        out = b""
        for address in range(linear, linear + length):
            physical = self.physical(address)
            if physical >= 0:
                out += ran.sandbox[physical - SANDBOX : physical - SANDBOX + 1]
            elif 0 <= address - TABLES < PAGE and not self.case.mode & MODE_PAGING:
                out += ran.tables[address - TABLES : address - TABLES + 1]
            else:
                break
        return out

    @property
    def different(self) -> dict[str, int]:
        """The fields that are not the same, and the bits of each."""
        theirs, ours = self.theirs.record, self.ours.record
        return {name: getattr(theirs, name) ^ getattr(ours, name) for name in self.fields}

    @property
    def fields(self) -> list[str]:
        return differences(self.theirs.record, self.ours.record)

    def describe(self) -> str:
        """All there is to know, in some lines."""
        lines = [f"case {self.number}: {self.case.what}"]
        lines += [f"  code {self.case.code.hex(' ')} at {self.case.eip:X}"]
        state = [
            f"{name}={value:X}"
            for names, values in ((GENERAL, self.case.general), (SELECTORS, self.case.selectors))
            for name, value in zip(names, values, strict=True)
        ]
        state += [f"eflags={self.case.eflags:X} cr0={self.case.cr0:X} cr4={self.case.cr4:X}"]
        state += [f"steps={self.case.steps} mode={self.case.mode} window={self.case.window.hex()}"]
        lines += ["  " + " ".join(state)]
        for who, ran in (("qemu", self.theirs), ("ours", self.ours)):
            values = [f"{name}={getattr(ran.record, name):X}" for name in FIELDS]
            lines += [f"  {who}: " + " ".join(values)]
        lines += ["  different: " + " ".join(self.fields)]
        if self.parting:
            found = self.parting.instruction
            code = f"{found.prefixes.hex(' ')} {found.opcode:02X} {found.rest.hex(' ')}"
            lines += [f"  part at {self.parting.linear:X}: {code}"]
            for who in ("before", "theirs", "ours"):
                image = getattr(self.parting, who).floating
                registers = [image[at : at + 10][::-1].hex() for at in range(32, 160, 16)]
                lines += [f"    {who:6} {image[:5].hex(' ')}: {' '.join(registers)}"]
        for name in ("sandbox", "tables", "paging", "floating"):
            theirs, ours = self.theirs.part(name), self.ours.part(name)
            changed = [
                f"{address:X}: {theirs[address]:02X} {ours.get(address, 0):02X}"
                for address in theirs
                if theirs[address] != ours.get(address)
            ]
            if changed:
                lines += [f"  {name}: " + ", ".join(changed[:24])]
        return "\n".join(lines)
