"""A processor on the bench, with memory, ports and an interrupt pin: for guests of a few bytes.

Memory is laid out alike for all of them:

    00000  interrupt vectors, real mode     05000  page directory, 06000  a page table
    00800  GDT                              07F00  the stack's top
    00A00  TSS                              08000  256 handlers, 8 bytes each
    01000  code, 02000  data                10000  the stack's top at privilege level 3
    04000  IDT                              0C000  for the test

A handler says its vector at port 80h, and halts.  A block costs 1 ns and a port access nothing, so the
clock counts blocks, and the exceptions that cost as much.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emu import attrs
from emu.clock import Clock, Costs
from emu.cpu import corrections, native, reference
from emu.cpu.engine import Calls, EngineFactory
from emu.cpu.layout import Registers
from emu.cpu.models import Model
from emu.cpu.processor import Pause, Processor
from emu.cpu.state import Segment, State
from emu.host import ctrl_c
from emu.memory import MIB, PAGE_BYTES, Memory, Ram

GDT, TSS, CODE, DATA, IDT = 0x800, 0xA00, 0x1000, 0x2000, 0x4000
DIRECTORY, TABLE, STACK, HANDLERS, SPARE, STACK_3 = 0x5000, 0x6000, 0x7F00, 0x8000, 0xC000, 0x1_0000
REPORT = 0x80
LONG_NS = 100_000  # no guest here runs so long, but those that never end

CODE_0, DATA_0, CODE_3, DATA_3, TSS_SELECTOR, SPARE_SELECTOR = 0x08, 0x10, 0x18, 0x20, 0x28, 0x30
DESCRIPTORS = (
    0,
    0x00CF_9B00_0000_FFFF,
    0x00CF_9300_0000_FFFF,
    0x00CF_FB00_0000_FFFF,
    0x00CF_F300_0000_FFFF,
    0x0000_8B00_0A00_0067,
)
CR0_PE, CR0_PG = 1 << 0, 1 << 31
CR4_PSE, CR4_PAE = 1 << 4, 1 << 5
EFLAGS_IF = 1 << 9

needs_native = pytest.mark.skipif(
    native.UNAVAILABLE is not None, reason=f"no native engine: {native.UNAVAILABLE}"
)

needs_corrections = pytest.mark.skipif(
    corrections.PROBLEM is not None, reason=f"nothing is put right: {corrections.PROBLEM}"
)


def make_python_delivering(
    memory: Memory, model: Model, costs: Costs, calls: Calls
) -> native.NativeEngine:
    """The native engine, with Python called for each exception; delivery.c is idle."""
    engine = native.make(memory, model, costs, calls)
    engine.unwatched = False
    return engine


ENGINES = [pytest.param("native", marks=needs_native), "reference"]
DELIVERIES = [*ENGINES, pytest.param("python-delivering", marks=needs_native)]
MAKE: dict[str, EngineFactory] = {
    "native": native.make,
    "python-delivering": make_python_delivering,
    "reference": reference.make,
}


def python(program: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run *program* in a process of its own; with *folder*, with the package that is there."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": "" if folder else os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


@attrs.define(eq=False)
class Ports:
    """Ports that note what is written to them, and do what a test says."""

    shadows: None = None
    written: list[tuple[int, int]] = attrs.field(factory=list)
    on_write: dict[int, Callable[[int], None]] = attrs.field(factory=dict)
    on_read: dict[int, Callable[[], int]] = attrs.field(factory=dict)

    def read(self, port: int, size: int) -> int:
        return self.on_read.get(port, lambda: (1 << 8 * size) - 1)()

    def write(self, port: int, value: int, size: int) -> None:  # noqa: ARG002
        self.written.append((port, value))
        self.on_write.get(port, lambda _value: None)(value)


def real_mode(at: int = CODE, **registers: Any) -> State:
    """Real mode with all segments at 0."""
    data = Segment(flags=0x9300)
    given = {
        "cs": Segment(flags=0x9B00),
        "ds": data,
        "es": data,
        "ss": data,
        "esp": STACK,
        "idtr": Segment(limit=0x3FF),
    }
    return State(eip=at, **(given | registers))


def protected_mode(at: int = CODE, level: int = 0, **registers: Any) -> State:
    """Protected mode with flat segments, at one of the privilege levels 0 and 3."""
    code, data = (CODE_3, DATA_3) if level else (CODE_0, DATA_0)
    code_flags, data_flags = (DESCRIPTORS[each // 8] >> 32 & 0xF0_FF00 for each in (code, data))
    segment = Segment(data | level, 0, 0xFFFF_FFFF, data_flags)
    given = {
        "cr0": 0x10 | CR0_PE,
        "esp": STACK_3 if level else STACK,
        "cs": Segment(code | level, 0, 0xFFFF_FFFF, code_flags),
        "ds": segment,
        "es": segment,
        "ss": segment,
        "gdtr": Segment(base=GDT, limit=0x3F),
        "idtr": Segment(base=IDT, limit=0x7FF),
        "tr": Segment(TSS_SELECTOR, TSS, 0x67, 0x8900),
    }
    return State(eip=at, **(given | registers))


def paging(at: int = CODE, level: int = 0, **registers: Any) -> State:
    """Protected mode with pages: the first 2 MiB are where they are, by way of the table."""
    return protected_mode(
        at, level, **({"cr0": 0x10 | CR0_PE | CR0_PG, "cr3": DIRECTORY} | registers)
    )


@attrs.define(eq=False)
class Rig:
    """A processor with what it needs around it."""

    engine_name: str
    model: Model = Model.PENTIUM3
    costs: Costs = attrs.field(factory=lambda: Costs(block_ns=1, port_ns=0, rdtsc_ns=400))
    memory: Memory = attrs.field(init=False)
    ports: Ports = attrs.field(init=False, factory=Ports)
    clock: Clock = attrs.field(init=False)
    processor: Processor = attrs.field(init=False)
    vectors: list[int] = attrs.field(init=False, factory=list)  # of interrupts not yet taken

    def __attrs_post_init__(self) -> None:
        self.memory = Memory(Ram("rig.ram", 2 * MIB), Ram("rig.rom", 16 * PAGE_BYTES))
        self.clock = Clock(self.costs)
        self.processor = Processor(
            self.clock,
            self.ports,
            self.memory,
            acknowledge=self._acknowledge,
            model=self.model,
            make_engine=MAKE[self.engine_name],
        )
        write = self.memory.write
        for vector in range(256):
            handler = HANDLERS + 8 * vector
            gate = struct.pack("<HHBBH", handler, CODE_0, 0, 0xEE, 0)
            write(handler, bytes((0xB0, vector, 0xE6, REPORT, 0xF4)))  # mov al, n; out 80h, al; hlt
            write(vector * 4, struct.pack("<HH", handler, 0))
            write(IDT + vector * 8, gate)
        write(GDT, struct.pack("<6Q", *DESCRIPTORS))
        write(TSS + 4, struct.pack("<II", STACK, DATA_0))
        write(DIRECTORY, struct.pack("<I", TABLE | 7))
        write(TABLE, struct.pack("<512I", *(page << 12 | 7 for page in range(512))))

    def close(self) -> None:
        self.processor.close()

    @property
    def state(self) -> State:
        return self.processor.state

    @property
    def registers(self) -> Registers:
        return self.processor.engine.registers

    @property
    def reported(self) -> list[int]:
        """What has been written to the report port, in order."""
        return [value for port, value in self.ports.written if port == REPORT]

    def interrupt(self, vector: int) -> None:
        """Raise INTR, and lower it when *vector* has been fetched."""
        self.vectors.append(vector)
        self.processor.set_intr(True)

    def _acknowledge(self) -> int:
        vector = self.vectors.pop(0)
        self.processor.set_intr(bool(self.vectors))
        return vector

    def describe(self, selector: int, descriptor: int) -> None:
        """Put a descriptor into the GDT."""
        self.memory.write(GDT + selector, descriptor.to_bytes(8, "little"))

    def load(self, code: bytes, state: State | None = None, at: int = CODE) -> None:
        """Put *code* into memory and the processor before it, in real mode if not told otherwise."""
        self.memory.write(at, code)
        self.processor.state = real_mode(at) if state is None else state

    def run(self, ns: int = LONG_NS) -> Pause:
        """Run for so long, or until the guest halts."""
        with ctrl_c.held(self.processor.stop):
            return self.processor.run(self.clock.now_ns + ns)

    def stack(self, count: int, size: int = 4) -> list[int]:
        """The topmost items of the stack, from ESP up; its segment begins at 0."""
        data = self.memory.read(self.state.esp, count * size)
        return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]

    def seen(self) -> tuple[int, State, bytes, list[tuple[int, int]]]:
        """All that can be told of a run."""
        ram = self.memory.ram
        return self.clock.now_ns, self.state, ram.read(0, ram.size), self.ports.written
