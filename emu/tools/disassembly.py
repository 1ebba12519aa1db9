"""Where in a save's RAM there is code, and what it says.

A save does not tell code from data.  Here code is what the processor can come to from where it
is, from where its interrupt vectors lead, and from addresses on its stack that are behind a call or
an INT, along jumps and calls as they are written.  What is only reached through a register or a
table is not found.

Instructions are decoded by `capstone`, which is an extra: ``pip install 'emu-savevm[disasm]'``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from emu import attrs
from emu.cpu import state as cpu_state
from emu.cpu.bits import CR0_PE, EFLAGS_VM
from emu.cpu.exchange import write_registers
from emu.cpu.layout import Registers
from emu.cpu.paging import Fault, LinearMemory
from emu.memory import ALL_ONES, FOUR_GIB, PAGE_BYTES
from emu.savevm.compare import PageDifference
from emu.savevm.contents import Block, Contents

HOW_TO_GET_IT = "pip install 'emu-savevm[disasm]' shows code as such"

INSTRUCTION_MOST = 15  # bytes in one: SDM 2A, 2.3.11
INSTRUCTIONS_MOST = 20_000  # are followed in one save
AFTER_EIP = 64  # bytes that are surely code, or as good as
VECTORS = 256
STACK_SLOTS = 64  # are looked through
NO_CODE = bytes(4)  # two ADDs to memory, as a processor meets them that has lost its way
CALL, FAR_CALL, INT = b"\xe8", b"\x9a", b"\xcd"
RAM, ROM = "pc.ram", "pc.bios"

DESCRIPTOR_G, DESCRIPTOR_D, DESCRIPTOR_P = 1 << 23, 1 << 22, 1 << 15  # in the second dword
GATES = {0x6: 2, 0x7: 2, 0xE: 4, 0xF: 4}  # interrupt and trap gates: bytes of the offset


def available() -> bool:
    """Tell whether instructions can be decoded here."""
    return importlib.util.find_spec("capstone") is not None


@attrs.frozen
class Instruction:
    """One instruction in RAM."""

    physical: int
    offset: int  # EIP when it is next
    bits: int  # of its segment, 16 or 32
    data: bytes
    text: str

    @property
    def end(self) -> int:
        return self.physical + len(self.data)


@attrs.frozen
class Place:
    """Where code is met: in a segment, at an offset."""

    base: int
    offset: int
    bits: int  # 16 or 32

    @property
    def linear(self) -> int:
        return (self.base + self.offset) % FOUR_GIB

    def at(self, offset: int) -> Place:
        """Another place in the same segment."""
        return attrs.evolve(self, offset=offset % (1 << self.bits))


# ==== memory ==============================================================================


@attrs.define(eq=False)
class SavedMemory:
    """Physical memory as a save has it (`emu.memory.Physical`)."""

    contents: Contents
    _blocks: dict[str, Block] = attrs.field(init=False)
    _pages: dict[tuple[str, int], bytes] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._blocks = self.contents.blocks()

    def read(self, address: int, length: int) -> bytes:
        """As on the bus: what is not there reads all ones."""
        return bytes(self._byte(each) for each in range(address, address + length))

    def write(self, address: int, data: bytes) -> None:
        """Whoever only looks sets no accessed bit."""

    def _byte(self, address: int) -> int:
        for name, base in ((RAM, 0), (ROM, FOUR_GIB)):
            block = self._blocks.get(name)
            if block is None:
                continue
            offset = address - base if name == RAM else address - base + block.size
            if 0 <= offset < block.size:
                number = offset // PAGE_BYTES
                if (name, number) not in self._pages:
                    self._pages[name, number] = block.read(self.contents.file, number)
                return self._pages[name, number][offset % PAGE_BYTES]
        return ALL_ONES


def linear_memory(cpu: cpu_state.State, memory: SavedMemory) -> LinearMemory:
    """*memory* as the processor in the same save sees it."""
    registers = Registers()
    write_registers(registers, cpu)
    return LinearMemory(registers, memory)


# ==== decoding ============================================================================


@attrs.define(eq=False)
class Decoder:
    """The code in one save; made only where `available`."""

    contents: Contents
    cpu: cpu_state.State
    reached: dict[int, Instruction] = attrs.field(init=False, factory=dict)  # by physical address
    _capstone: Any = attrs.field(init=False)  # the package has no annotations
    _engines: dict[int, Any] = attrs.field(init=False)  # by bits
    _memory: SavedMemory = attrs.field(init=False)
    _linear: LinearMemory = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        import capstone

        self._capstone = capstone
        modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32}
        self._engines = {bits: capstone.Cs(capstone.CS_ARCH_X86, modes[bits]) for bits in modes}
        for engine in self._engines.values():
            engine.detail = True
        self._memory = SavedMemory(self.contents)
        self._linear = linear_memory(self.cpu, self._memory)
        self._follow([self._here(), *self._returns(), *self._vectors()])

    def _here(self) -> Place:
        big = self.cpu.cs.flags & DESCRIPTOR_D
        return Place(self.cpu.cs.base, self.cpu.eip, 32 if big else 16)

    def _decode(self, place: Place) -> tuple[Instruction, Any] | None:
        """The instruction there, and capstone's of it; None where there is none."""
        data = b""
        try:
            physical = self._linear.translate(place.linear, write=False, user=False)
            room = PAGE_BYTES - place.linear % PAGE_BYTES
            data = self._linear.read(place.linear, min(INSTRUCTION_MOST, room))
            if room < INSTRUCTION_MOST:
                data += self._linear.read(place.linear + room, INSTRUCTION_MOST - room)
        except Fault:
            if not data:
                return None
        if data.startswith(NO_CODE):
            return None
        for found in self._engines[place.bits].disasm(data, place.offset, 1):
            code, text = bytes(found.bytes), _text(found)
            return Instruction(physical, place.offset, place.bits, code, text), found
        return None

    def _follow(self, places: list[Place]) -> None:
        """Find everything that can be reached from *places*, the first of them first."""
        places.reverse()
        while places and len(self.reached) < INSTRUCTIONS_MOST:
            place: Place | None = places.pop()
            while place is not None:
                decoded = self._decode(place)
                if decoded is None or decoded[0].physical in self.reached:
                    break
                instruction, found = decoded
                self.reached[instruction.physical] = instruction
                target = self._target(place, found)
                if target is not None:
                    places.append(target)
                following = place.at(place.offset + len(instruction.data))
                place = following if self._goes_on(found) else None

    def _goes_on(self, found: Any) -> bool:
        """True where the instruction behind it may be next."""
        ends = (self._capstone.CS_GRP_RET, self._capstone.CS_GRP_IRET)
        return found.mnemonic not in {"jmp", "ljmp"} and not any(map(found.group, ends))

    def _target(self, place: Place, found: Any) -> Place | None:
        """Where it jumps to or calls, as far as that is written in it."""
        immediates = [each.imm for each in found.operands if each.type == self._capstone.CS_OP_IMM]
        if found.mnemonic in {"ljmp", "lcall"}:
            return self._far(immediates[0], immediates[1]) if len(immediates) == 2 else None
        branches = (self._capstone.CS_GRP_JUMP, self._capstone.CS_GRP_CALL)
        relative = self._capstone.CS_GRP_BRANCH_RELATIVE
        if any(map(found.group, (*branches, relative))) and len(immediates) == 1:
            return place.at(immediates[0])
        return None

    def _far(self, selector: int, offset: int) -> Place | None:
        """*selector*:*offset*, as the processor takes it in its mode."""
        if not self.cpu.cr0 & CR0_PE or self.cpu.eflags & EFLAGS_VM:
            return Place(selector << 4, offset, 16)
        table = self.cpu.ldtr if selector & 4 else self.cpu.gdtr
        descriptor = self._dwords(table.base + (selector & ~7), 2)
        if descriptor is None or not descriptor[1] & DESCRIPTOR_P:
            return None
        low, high = descriptor
        base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF00_0000
        return Place(base, offset, 32 if high & DESCRIPTOR_D else 16)

    def _returns(self) -> Iterator[Place]:
        """Where calls and interrupts under way seem to return to."""
        here = self._here()
        real = not self.cpu.cr0 & CR0_PE
        size = here.bits // 8
        stack = self._bytes(self.cpu.ss.base + self.cpu.esp, STACK_SLOTS * size)
        slots = [
            int.from_bytes(stack[at : at + size], "little") for at in range(0, len(stack), size)
        ]
        for offset, selector in zip(slots, (*slots[1:], 0), strict=False):
            near = here.at(offset)
            if self._bytes(near.linear - 1 - size, 1) == CALL:
                yield near
            far = Place(selector << 4, offset, 16)
            before = self._bytes(far.linear - 5, 4) if real else b""
            if before[:1] == FAR_CALL or before[-1:] == INT:
                yield far

    def _vectors(self) -> Iterator[Place]:
        """Where interrupts and exceptions lead."""
        protected = self.cpu.cr0 & CR0_PE
        size = 8 if protected else 4
        for vector in range(min(VECTORS, (self.cpu.idtr.limit + 1) // size)):
            entry = self._dwords(self.cpu.idtr.base + vector * size, size // 4)
            if entry is None:
                continue
            if not protected and entry[0]:
                yield Place(entry[0] >> 16 << 4, entry[0] & 0xFFFF, 16)
            elif (
                protected and entry[1] & DESCRIPTOR_P and (gate := GATES.get(entry[1] >> 8 & 0x1F))
            ):
                high = entry[1] & 0xFFFF_0000 if gate == 4 else 0
                if (place := self._far(entry[0] >> 16, entry[0] & 0xFFFF | high)) is not None:
                    yield place

    def _dwords(self, linear: int, count: int) -> list[int] | None:
        data = self._bytes(linear, 4 * count)
        if not data:
            return None
        return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]

    def _bytes(self, linear: int, length: int) -> bytes:
        """What is there; nothing where no page is."""
        try:
            return self._linear.read(linear % FOUR_GIB, length)
        except Fault:
            return b""

    # --- looking --------------------------------------------------------------------------

    def covering(self, start: int, end: int) -> list[Instruction]:
        """The instructions of which a byte is in that range of RAM, in order."""
        places = range(start - INSTRUCTION_MOST + 1, end)
        found = (self.reached.get(each) for each in places)
        return [each for each in found if each is not None and each.end > start]

    def listing(self, start: int, end: int, like: Instruction) -> list[Instruction]:
        """What that range of RAM says; where nothing leads to it, decoded as *like* is."""
        if found := self.covering(start, end):
            return found
        data = self._memory.read(start, end - start + INSTRUCTION_MOST - 1)
        offset = like.offset - like.physical + start
        instructions = []
        while start < end:
            decoded = next(self._engines[like.bits].disasm(data, offset, 1), None)
            size = len(decoded.bytes) if decoded is not None else 1
            text = _text(decoded) if decoded is not None else f"db {data[0]:#04x}"
            instructions.append(Instruction(start, offset, like.bits, data[:size], text))
            start, offset, data = start + size, offset + size, data[size:]
        return instructions


def _text(found: Any) -> str:
    return f"{found.mnemonic} {found.op_str}".strip()


# ==== differences =========================================================================


@attrs.frozen
class CodeDifference:
    """A piece of RAM that is code in one of two saves at least, and says something else in each."""

    start: int
    end: int
    a: list[Instruction]
    b: list[Instruction]


def decoder_of(contents: Contents) -> Decoder | None:
    """The code in a save; None where it has no processor, or nothing here can decode it."""
    if not available():
        return None
    cpu = processor_of(contents)
    return Decoder(contents, cpu) if cpu is not None else None


def processor_of(contents: Contents) -> cpu_state.State | None:
    """The processor's State in a save."""
    states = (state for _, state in contents.states())
    return next((each for each in states if isinstance(each, cpu_state.State)), None)


def code_differences(page: PageDifference, a: Decoder, b: Decoder) -> Iterator[CodeDifference]:
    """What in *page* is code, and differs."""
    if page.block != RAM:
        return
    regions: list[list[Instruction]] = []
    for run in page.runs():
        start, end = run.offset, run.offset + len(run.a)
        touched = [*a.covering(start, end), *b.covering(start, end)]
        if touched and regions and min(each.physical for each in touched) <= _end(regions[-1]):
            regions[-1] += touched
        elif touched:
            regions.append(touched)
    for region in regions:
        first = min(region, key=lambda each: each.physical)
        start, end = first.physical, _end(region)
        yield CodeDifference(start, end, a.listing(start, end, first), b.listing(start, end, first))


def _end(instructions: list[Instruction]) -> int:
    return max(each.end for each in instructions)


def may_be_code(page: PageDifference, contents: Contents) -> bool:
    """Without capstone: whether what differs in *page* is where the processor is."""
    cpu = processor_of(contents)
    if cpu is None or page.block != RAM:
        return False
    try:
        here = linear_memory(cpu, SavedMemory(contents)).translate(
            (cpu.cs.base + cpu.eip) % FOUR_GIB, write=False, user=False
        )
    except Fault:
        return False
    return any(
        run.offset < here + AFTER_EIP and run.offset + len(run.a) > here for run in page.runs()
    )
