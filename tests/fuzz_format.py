"""A batch of cases and its results, as `firmware/rom/fuzz.asm` has them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from emu import attrs

MAGIC = 0x5A5A_5546
BATCH_HEADER = struct.Struct("<5I")  # magic, count, watchdog, pool, cases
BATCH_HEADER_BYTES = 128
CASES_MOST = 3000  # in a batch, which is to be no larger than 512 KiB
POOL_BYTES = 0x8000
REGISTERS_BYTES = 0x100  # eight x87 registers and eight XMM registers, 16 bytes each
REGISTERS_SETS = 0x20  # behind the pool
CASE = struct.Struct("<4B2H12I6H16s28s2HI8x")
RESULTS = 0x80_0000
RESULT_HEADER = struct.Struct("<4I")  # magic, current case, resets, images
RECORDS = RESULTS + 128
RECORD = struct.Struct("<14I6H9I2H2I")
RECORD_BYTES = 128
KEPT = 0x90_0000
KEPT_BYTES = 0x6000
KEPT_MOST = 128
PAGE, FLOATING_BYTES = 0x1000, 0x200
SANDBOX, SANDBOX_BYTES = 0x4_0000, 4 * PAGE
TABLES = 0x1_0000
PAGE_TABLE, PAE_TABLE = 0x1_2000, 0x1_5000
IMAGE_PARTS = (  # name, address, length
    ("sandbox", SANDBOX, SANDBOX_BYTES),
    ("tables", TABLES, PAGE),
    ("paging", PAGE_TABLE, 0x200),
    ("paging", PAE_TABLE, 0x400),
    ("floating", 0, FLOATING_BYTES),
)
IMAGE_BYTES = sum(length for _, _, length in IMAGE_PARTS)

MODE_REAL, MODE_UNREAL, MODE_PAGING, MODE_PAE = 1, 2, 4, 8
FLAG_FLOATING, FLAG_IMAGE = 1, 2
EVENT, LOST = 1 << 8, 1 << 9
# What a runner adds: the harness has not come back.
HUNG, LEFT, CRASHED = 1 << 10, 1 << 11, 1 << 12
WATCHDOG_VECTOR = 0x70

GENERAL = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
SELECTORS = ("cs", "ss", "ds", "es", "fs", "gs")

# Selectors in its GDT and LDT.
CODE_32, DATA_32, CODE_16, CODE_32_LEVEL_3, DATA_32_LEVEL_3 = 0x08, 0x10, 0x30, 0x3B, 0x43
CODE_16_LEVEL_3, DATA_16_LEVEL_3, DATA_16, STACK_16 = 0x4B, 0x53, 0x58, 0x60
LOADABLE_0 = (DATA_32, DATA_16, STACK_16, 0x28, 0x68, 0x70, 0x80, 0xD8, 0x0C, 0x1C, 0, 0x08)
LOADABLE_3 = (DATA_32_LEVEL_3, DATA_16_LEVEL_3, 0x2B, 0x6B, 0x73, 0x83, 0xDB, 0x1F, 0, 0x3B)
SELECTORS_ALL = (*range(0, 0x110, 8), 0x0C, 0x14, 0x1C, 0x24)

EFLAGS_ALWAYS, TF, IF, DF = 1 << 1, 1 << 8, 1 << 9, 1 << 10
IOPL_SHIFT, NT, RF, VM, AC, ID = 12, 1 << 14, 1 << 16, 1 << 17, 1 << 18, 1 << 21
ACCESSED = 1 << 5  # in an entry of a page table
ARITHMETIC = 0x8D5
CR0_PE, CR0_MP, CR0_EM, CR0_TS, CR0_ET, CR0_NE = (1 << bit for bit in range(6))
CR0_WP, CR0_AM, CR0_PG = 1 << 16, 1 << 18, 1 << 31
CR4_PSE, CR4_PAE, CR4_PGE, CR4_OSFXSR = 1 << 4, 1 << 5, 1 << 7, 1 << 9


@attrs.define
class Case:
    """What is to be run."""

    mode: int
    code: bytes
    code_at: int
    pool_at: int
    cr0: int
    cr4: int
    general: list[int]
    eflags: int
    eip: int
    selectors: list[int]
    window: bytes
    registers_at: int = 0  # x87's and XMM's, in the pool
    fcw: int = 0x37F
    mxcsr: int = 0x1F80
    steps: int = 0
    flags: int = 0
    what: str = ""

    def pack(self) -> bytes:
        return CASE.pack(
            self.mode,
            self.steps,
            len(self.code),
            self.flags,
            self.pool_at,
            self.code_at,
            self.cr0,
            self.cr4,
            *self.general,
            self.eflags,
            self.eip,
            *self.selectors,
            self.window,
            self.code,
            self.registers_at,
            self.fcw,
            self.mxcsr,
        )


@attrs.frozen
class Record:
    """What became of it."""

    status: int
    error: int
    cr0: int
    cr4: int
    eax: int
    ecx: int
    edx: int
    ebx: int
    esp: int
    ebp: int
    esi: int
    edi: int
    eflags: int
    eip: int
    cs: int
    ss: int
    ds: int
    es: int
    fs: int
    gs: int
    cr2: int
    dr6: int
    dr7: int
    steps: int
    path: int
    memory: int
    tables: int
    paging: int
    floating: int
    tr: int
    ldtr: int
    image: int
    pdpte: int

    @classmethod
    def parse(cls, data: bytes) -> Record:
        return cls(*RECORD.unpack_from(data))

    @property
    def vector(self) -> int:
        return self.status & 0xFF

    @classmethod
    def missing(cls, how: int) -> Record:
        """Of a case from which the harness has not come back."""
        return attrs.evolve(cls.parse(bytes(RECORD_BYTES)), status=how)


def batch(cases: Sequence[Case], pool: bytes, watchdog: int) -> bytes:
    """The file that the ROM reads."""
    header = BATCH_HEADER.pack(
        MAGIC, len(cases), watchdog, BATCH_HEADER_BYTES, BATCH_HEADER_BYTES + len(pool)
    )
    body = b"".join(case.pack() for case in cases)
    return header.ljust(BATCH_HEADER_BYTES, b"\0") + pool + body
