"""What a processor does, asked of QEMU's and of ours by a ROM of our own, `firmware/rom/torture.asm`.

The golden is QEMU 7.2's log of it; QEMU is asked anew where it is installed.  Our two engines print
the same, but for the lines in `golden/torture.ours.txt`, each of which has its cause below: a
deviation that goes away fails here as much as one that comes.

    qemu-system-i386 -M isapc -cpu pentium3,-apic -m 16 -bios firmware/images/torture.rom \
        -nodefaults -display none -debugcon file:tests/guests/golden/torture.txt \
        -global isa-debugcon.iobase=0xe9 -device isa-debug-exit,iobase=0xf4,iosize=4
"""

from __future__ import annotations

import enum
import re
import subprocess
from pathlib import Path

import pytest
from programs import require

import emu
from emu import attrs
from emu.cpu import native
from emu.host.ends import Memory
from emu.machine import Machine
from emu.until import Reason

GOLDEN = Path(__file__).parent / "golden"
ROM = Path(__file__).parents[2] / "firmware" / "images" / "torture.rom"
QEMU = "qemu-system-i386"
QEMU_VERSION = "7.2."  # another may depart from the manual elsewhere
QEMU_OPTIONS = ["-M", "isapc", "-cpu", "pentium3,-apic", "-accel", "tcg", "-m", "16"]
QEMU_OPTIONS += ["-nodefaults", "-display", "none", "-global", "isa-debugcon.iobase=0xe9"]
QEMU_OPTIONS += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
DEADLINE_S = 20  # of the host's time; QEMU takes one second
EXIT_0 = 0 << 1 | 1

needs_native = pytest.mark.skipif(
    native.UNAVAILABLE is not None, reason=f"no native engine: {native.UNAVAILABLE}"
)
PYTHON_DELIVERING = "native, without delivery.c"
ENGINES = [
    pytest.param("native", marks=needs_native),
    # Without native.c nothing corrects the engine's LTR.
    pytest.param("reference", marks=needs_native),
    pytest.param(PYTHON_DELIVERING, marks=needs_native),
]


class Cause(enum.Enum):
    """Why our log differs from QEMU's."""

    # QEMU 7.2 departs from the manual, and we do not.
    INT1 = "INT1 raises #DB; QEMU raises #UD"
    LTR_NULL = "LTR of a null selector is #GP(0); QEMU takes it"
    RF = "a fault saves EFLAGS with RF set (SDM 3B 17.3.1.1); QEMU does not"
    EXT = "an error code has EXT set on the way of an interrupt or exception (6.13); QEMU: never"
    STACK_ABSENT = "a stack segment that is absent is #SS (6.12.1, table 7-1); QEMU: #TS, #NP"
    ESP0 = "the TSS's ESP is loaded whole, a stack of 16 bits or not; QEMU keeps the old upper half"
    RESERVED_BIT = "a reserved bit's #PF has P set (4.7); QEMU leaves it clear"
    PDPTE = "an entry of PAE's first table has no accessed bit (4.4.1); QEMU sets it"
    V86_LEVEL = "virtual-8086 mode may be left for level 0 only (20.3.1.1); QEMU goes to level 1"
    TASK_IN_LDT = "a task gate's TSS in an LDT is #GP (volume 2, INT n); QEMU: #TS"
    TRAP_SHADOW = "LSS and STI do not hold off single step (6.8.3); QEMU does"
    GROUP_11 = "C6 /1 is undefined: #UD; QEMU takes it for MOV"
    LOCK = "LOCK is #UD but with some that change memory (2A); QEMU ignores it"
    X87_C1 = "C1 tells that a result was rounded up (volume 1, 8.1.3.3); QEMU leaves it clear"
    X87_QUOTIENT = "FPREM1 sets C1 to the quotient's bit 0 (volume 2A); QEMU clears it"
    X87_CONDITIONS = "FSQRT of a negative number leaves C2 as it is; QEMU sets it"
    X87_STACK = "the stack's faults (8.5.1.1), and in a register what they leave; QEMU has none"
    X87_DENORMAL = "a denormal operand is an exception (8.5.2, 11.5.2.2); QEMU notes none"
    X87_HELD_BACK = (
        "an exception that is not masked holds the result back, or its pop; QEMU does not"
    )
    X87_UNMASKED = (
        "#MF for what FLDCW unmasks (8.1.3.3), and before MMX (12.5); QEMU does not raise it"
    )
    XM = "#XM, or #UD where the system knows it not (11.5.3); QEMU never raises it"
    MXCSR_RESERVED = "#GP for a reserved bit of MXCSR (volume 2A, LDMXCSR); QEMU takes it"


DEVIATIONS = {
    Cause.INT1: "01.05 18.35",
    Cause.LTR_NULL: "03.23",
    Cause.RF: "03.05",
    Cause.EXT: "06.33 11.02 14.16",
    Cause.STACK_ABSENT: "06.62 10.34",
    Cause.ESP0: "06.63",
    Cause.RESERVED_BIT: "08.40 08.44 08.45",
    Cause.PDPTE: "08.41",
    Cause.V86_LEVEL: "09.38",
    Cause.TASK_IN_LDT: "10.42",
    Cause.TRAP_SHADOW: "13.04 13.05",
    Cause.GROUP_11: "18.11",
    Cause.LOCK: "01.25 18.28 18.31 18.32",
    Cause.X87_C1: "15.05 15.14 15.35",
    Cause.X87_QUOTIENT: "15.12",
    Cause.X87_CONDITIONS: "15.31",
    Cause.X87_STACK: "15.25 15.26 15.27 15.28 15.29 15.30 15.32 15.33 15.47 15.50 15.52 15.56",
    Cause.X87_DENORMAL: "15.19 15.46 16.11 16.22",
    Cause.X87_HELD_BACK: "15.41 15.42 15.43 15.44 15.45 15.48",
    Cause.X87_UNMASKED: "15.49 16.04",
    Cause.XM: "16.17 16.18 16.19 16.26",
    Cause.MXCSR_RESERVED: "16.23",
}


def number(line: str) -> str:
    """The number of the test that *line* is about; empty for a heading or a line that goes on."""
    found = re.match(r"\d\d\.\d\d ", line)
    return found[0].strip() if found else ""


def lines(name: str) -> list[str]:
    return (GOLDEN / name).read_text().splitlines()


@attrs.frozen
class Run:
    """One run of the ROM on our machine, to its end."""

    log: str
    reason: Reason
    value: int | None
    now_ns: int
    digest: str

    @classmethod
    def on(cls, engine: str) -> Run:
        end = Memory()
        name = "native" if engine == PYTHON_DELIVERING else engine
        with Machine(bios=ROM.read_bytes(), engine=name, debugcon=end) as vm:
            vm.board.processor.engine.unwatched = engine != PYTHON_DELIVERING
            stopped = vm.run(emu.after("1s"))
            log = bytes(end.sent).decode("ascii")
            return cls(log, stopped.reason, stopped.value, vm.clock.now_ns, vm.digest())


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """The ROM, run once on each engine."""
    return {engine: Run.on(engine) for engine in ("native", "reference", PYTHON_DELIVERING)}


class TestGolden:
    def test_it_is_what_QEMU_prints(self, tmp_path: Path) -> None:
        require(QEMU)
        version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
        if f"version {QEMU_VERSION}" not in version.stdout:
            pytest.skip(
                f"the golden is QEMU {QEMU_VERSION}x's, not {version.stdout.splitlines()[0]}'s"
            )
        log = tmp_path / "log"

        command = [QEMU, *QEMU_OPTIONS, "-bios", str(ROM), "-debugcon", f"file:{log}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False, timeout=DEADLINE_S)

        assert log.read_text().splitlines() == lines("torture.txt")
        assert done.returncode == EXIT_0

    def test_it_goes_to_the_end(self) -> None:
        """And no reset came that no test had asked for."""
        assert lines("torture.txt")[-1] == "the end"


class TestOurs:
    """`golden/torture.ours.txt`: the lines of ours that are not QEMU's."""

    def test_each_has_one_cause_and_no_cause_is_without_one(self) -> None:
        numbers = [number(line) for line in lines("torture.ours.txt")]

        assert sorted(" ".join(DEVIATIONS.values()).split()) == numbers
        assert list(DEVIATIONS) == list(Cause)

    def test_each_differs_from_QEMU(self) -> None:
        assert not set(lines("torture.ours.txt")) & set(lines("torture.txt"))

    @pytest.mark.parametrize("engine", ENGINES)
    def test_each_engine_prints_QEMU_s_lines_but_for_these(
        self, runs: dict[str, Run], engine: str
    ) -> None:
        ours = {number(line): line for line in lines("torture.ours.txt")}
        expected = [ours.get(number(line), line) for line in lines("torture.txt")]

        assert runs[engine].log.splitlines() == expected
        assert (runs[engine].reason, runs[engine].value) == (Reason.EXIT, 0)

    @needs_native
    def test_both_engines_end_in_the_same_state(self, runs: dict[str, Run]) -> None:
        """All of it: memory, registers, chips, and the clock."""
        assert runs["native"] == runs["reference"] == runs[PYTHON_DELIVERING]


class TestWhatEndsQEMU:
    """A guest of QEMU 7.2 can end it so: there is no oracle, but the manual."""

    @needs_native
    @pytest.mark.parametrize("engine", ["native", "reference"])
    @pytest.mark.parametrize(
        "divide",
        [
            pytest.param("ba 0080  31 c0  b9 ffff  f7 f9", id="16 bits"),
            pytest.param("66 ba 00000080  66 31 c0  66 b9 ffffffff  66 f7 f9", id="32 bits"),
        ],
    )
    def test_IDIV_of_the_least_number_by_minus_1_is_DE(self, engine: str, divide: str) -> None:
        """SDM 2A, IDIV: the quotient does not fit.  The host's division would end us with SIGFPE."""
        set_vector_0 = "c7 06 0000 007d  c7 06 0200 0000"  # MOV WORD [0], 7D00h; MOV WORD [2], 0
        code = bytes.fromhex(f"fa {set_vector_0} {divide}")  # CLI; ...; DX:AX by CX
        handler = bytes.fromhex("b0 2a e6 f4 f4")  # MOV AL,42; OUT F4h,AL; HLT
        image = code.ljust(0x100, b"\xf4") + handler.ljust(0x100)

        with Machine(image=image, engine=engine, memory="1M") as vm:
            stopped = vm.run(emu.after("100ms"))

        assert (stopped.reason, stopped.value) == (Reason.EXIT, 42)
