"""The machines that run a batch of cases: QEMU's isapc, and ours.

Each is a process, which a case may bring down; its RAM is shared memory, so that what had become of
the cases before is known all the same.

    python tests/fuzz_runners.py ENGINE

is the process of `Ours`.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from fuzz_format import (
    CRASHED,
    EVENT,
    FLAG_IMAGE,
    FLOATING_BYTES,
    HUNG,
    IMAGE_BYTES,
    IMAGE_PARTS,
    KEPT,
    KEPT_BYTES,
    KEPT_MOST,
    LEFT,
    MAGIC,
    PAGE,
    RECORD_BYTES,
    RECORDS,
    RESULT_HEADER,
    RESULTS,
    SANDBOX_BYTES,
    WATCHDOG_VECTOR,
    Case,
    Record,
    batch,
)

import emu.memory
from emu import attrs
from emu.cpu import binding, wiring
from emu.machine import Machine
from emu.memory import MIB
from emu.until import Reason, after

ROM = Path(__file__).parents[1] / "firmware" / "images" / "fuzz.rom"
RESULT_BYTES = 4 * MIB


class Runner(Protocol):
    """A machine that runs a batch; *watchdog* is the timer's count that a case is allowed."""

    watchdog: int

    def run(self, cases: bytes) -> tuple[bytes, int]:
        """Its results, from `RESULTS` on, and HUNG or the like where it did not get to the end."""

    def close(self) -> None: ...


# ---- QEMU --------------------------------------------------------------------------------

QEMU = "qemu-system-i386"
QEMU_VERSION = "7.2."  # another may depart from the manual elsewhere
QEMU_OPTIONS = ["-M", "isapc,memory-backend=ram", "-cpu", "pentium3,-apic", "-accel", "tcg"]
QEMU_OPTIONS += ["-m", "16", "-nodefaults", "-display", "none"]
QEMU_OPTIONS += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
EXIT_0 = 0 << 1 | 1
HANG_CPU_S = 0.4  # of a processor's time without a case done: as much as many cases take
START_CPU_S = 10.0  # before the first
HANG_S = 15.0  # of the host's time, where it does nothing at all
LOOK_S = 0.1


def qemu_problem() -> str:
    """Why QEMU cannot be compared with, or nothing."""
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not installed"
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
    first = version.stdout.splitlines()[0]
    return "" if f"version {QEMU_VERSION}" in first else f"{QEMU_VERSION}x is compared, not {first}"


class Qemu:
    """QEMU, a process a batch; its RAM is a file that is looked at when it is gone."""

    watchdog = 24_000  # 20 ms, of the host's time

    def __init__(self, cpu: str = "pentium3,-apic") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzzing-")
        self._options = [cpu if word == "pentium3,-apic" else word for word in QEMU_OPTIONS]

    def close(self) -> None:
        self._folder.cleanup()

    def run(self, cases: bytes) -> tuple[bytes, int]:
        folder = Path(self._folder.name)
        file, ram = folder / "cases", folder / "ram"
        file.write_bytes(cases)
        ram.unlink(missing_ok=True)
        with ram.open("wb") as empty:
            empty.truncate(16 * MIB)
        backend = f"memory-backend-file,id=ram,size=16M,mem-path={ram},share=on"
        command = [QEMU, *self._options, "-object", backend, "-bios", str(ROM)]
        command += ["-fw_cfg", f"name=opt/emu/guest,file={file}"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        with ram.open("rb") as kept, mmap.mmap(kept.fileno(), 0, access=mmap.ACCESS_READ) as view:
            how = self._wait(process, view)
            return view[RESULTS : RESULTS + RESULT_BYTES], how

    @staticmethod
    def _wait(process: subprocess.Popen[bytes], view: mmap.mmap) -> int:
        """Wait for its end, or end it where it comes to none."""
        before, since, since_cpu = b"", time.monotonic(), 0.0
        while True:
            try:
                status = process.wait(timeout=LOOK_S)
            except subprocess.TimeoutExpired:
                now, cpu = time.monotonic(), _cpu_seconds(process.pid)
                progress = view[RESULTS : RESULTS + RESULT_HEADER.size]
                if progress != before:
                    before, since, since_cpu = progress, now, cpu
                elif (
                    cpu - since_cpu > (HANG_CPU_S if progress[:4].strip(b"\0") else START_CPU_S)
                    or now - since > HANG_S
                ):
                    process.kill()
                    process.wait()
                    return HUNG
            else:
                return 0 if status == EXIT_0 else CRASHED if status < 0 else LEFT


def _cpu_seconds(pid: int) -> float:
    """What a process has had of a processor's time: proc(5), fields 14 and 15 of stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- ours --------------------------------------------------------------------------------

ALARM_S = 30  # of the host's time for a slice; one takes a tenth of one
SLICE = "40ms"  # of virtual time: several times what the watchdog allows
READ, WRITE, EXECUTE = 1, 2, 4  # unicorn/unicorn.h, uc_prot
ENDS = (0, HUNG, LEFT)


class Ours:
    """Our machine with one of our engines."""

    watchdog = 1_200  # 1 ms of virtual time: 200,000 blocks

    def __init__(self, engine: str) -> None:
        self._command = [sys.executable, __file__, engine]
        self._folder = tempfile.TemporaryDirectory(prefix="fuzzing-")
        self._worker: subprocess.Popen[str] | None = None

    def close(self) -> None:
        if self._worker is not None:
            self._worker.communicate()
        self._folder.cleanup()

    def run(self, cases: bytes) -> tuple[bytes, int]:
        folder = Path(self._folder.name)
        file, results = folder / "cases", folder / "results"
        file.write_bytes(cases)
        if self._worker is None:
            path = os.pathsep.join(filter(None, sys.path))
            self._worker = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": path},
            )
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.write(f"{file}\n{results}\n")
        self._worker.stdin.flush()
        how = int(self._worker.stdout.readline())
        return results.read_bytes(), how


def serve(engine: str) -> None:
    """The process of `Ours`: two paths come in, a batch's and where its results go."""
    faulthandler.enable()
    # What nobody answers is all ones on an ISA bus, and 0 in QEMU: not the processor's business.
    wiring.ALL_ONES = emu.memory.ALL_ONES = 0
    for line in sys.stdin:
        cases, results = Path(line.strip()), Path(sys.stdin.readline().strip())
        with Machine(cases.read_bytes(), bios=ROM.read_bytes(), engine=engine) as vm:
            _make_rom_writable(vm)
            how = _run(vm)
            results.write_bytes(vm.memory[RESULTS : RESULTS + RESULT_BYTES])
        sys.stdout.write(f"{how}\n")
        sys.stdout.flush()


def _make_rom_writable(vm: Machine) -> None:
    """As that of QEMU's isapc is: not the processor's business either."""
    memory = vm._board.memory
    start, size = ctypes.c_uint64(memory.rom_base), ctypes.c_uint64(memory.rom.size)
    everything = ctypes.c_uint32(READ | WRITE | EXECUTE)
    handle = vm._board.processor.engine._uc.handle
    binding.check(binding.lib.uc_mem_protect(handle, start, size, everything))


def _run(vm: Machine) -> int:
    """Run *vm* in a child of this process, which shares its RAM."""
    child = os.fork()
    if child == 0:
        how = len(ENDS)  # an exception: that is as bad as a crash
        try:
            how = ENDS.index(_run_to_the_end(vm))
        except BaseException:  # noqa: BLE001 - nothing of this process may go on
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(how)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return HUNG if os.WTERMSIG(status) == signal.SIGALRM else CRASHED
    return (*ENDS, CRASHED)[os.WEXITSTATUS(status)]


def _run_to_the_end(vm: Machine) -> int:
    before = b""
    while True:
        signal.alarm(ALARM_S)
        stopped = vm.run(after(SLICE))
        progress = vm.memory[RESULTS : RESULTS + RESULT_HEADER.size]
        if stopped.reason is Reason.EXIT:
            return 0 if stopped.value == 0 else LEFT
        if stopped.reason is not Reason.UNTIL or progress == before:
            return HUNG
        before = progress


# ---- either ------------------------------------------------------------------------------


@attrs.frozen
class Ran:
    """What became of a case: its record, and its memory where an image was asked for."""

    record: Record
    image: bytes = b""

    def part(self, name: str) -> dict[int, int]:
        """The bytes of an image's parts of that name, by address."""
        found: dict[int, int] = {}
        at = 0
        for part, address, length in IMAGE_PARTS:
            if part == name:
                found |= dict(enumerate(self.image[at : at + length], address))
            at += length
        return found

    @property
    def sandbox(self) -> bytes:
        return self.image[:SANDBOX_BYTES]

    @property
    def tables(self) -> bytes:
        return self.image[SANDBOX_BYTES : SANDBOX_BYTES + PAGE]

    @property
    def floating(self) -> bytes:
        """FXSAVE's image."""
        return self.image[-FLOATING_BYTES:]


def run_cases(runner: Runner, cases: Sequence[Case], pool: bytes) -> list[Ran]:
    """Run *cases*, at most `CASES_MOST`: all of them, or as many as there are up to one that lost it.

    One that writes over everything, the results with it, is looked for: half of the cases at a time.
    """
    results, how = runner.run(batch(cases, pool, runner.watchdog))
    magic, current, _, _ = RESULT_HEADER.unpack_from(results)
    if magic != MAGIC or current > len(cases):
        if not any(results[: RESULT_HEADER.size]):
            raise RuntimeError("the harness has not even begun")
        if len(cases) > 1:
            return run_cases(runner, cases[: len(cases) // 2], pool)
        return [Ran(Record.missing(how or LEFT))]
    if not how and current == len(cases):
        return [_ran(results, number) for number in range(len(cases))]
    done = [_ran(results, number) for number in range(min(current, len(cases) - 1))]
    return [*done, Ran(Record.missing(how or LEFT))]


def run_both(
    theirs: Runner, ours: Runner, cases: Sequence[Case], pool: bytes
) -> tuple[list[Ran], list[Ran]]:
    """Run *cases* on two machines at the same time.

    Where one of them is lost both begin anew, with what comes after that case: cases leave traces in
    memory, and these are to be the same.
    """
    first: list[Ran] = []
    second: list[Ran] = []
    while len(first) < len(cases):
        rest = cases[len(first) :]
        with ThreadPoolExecutor(2) as pair:
            one = pair.submit(run_cases, theirs, rest, pool)
            other = pair.submit(run_cases, ours, rest, pool)
            both = list(zip(one.result(), other.result(), strict=False))
        first += [ran for ran, _ in both]
        second += [ran for _, ran in both]
    return first, second


TRIES = 3


def _is_late(theirs: Ran, ours: Ran) -> bool:
    vectors = theirs.record.vector, ours.record.vector
    return vectors[0] == WATCHDOG_VECTOR != vectors[1] and bool(ours.record.status & EVENT)


@attrs.frozen
class Pair:
    """Both machines."""

    theirs: Runner
    ours: Runner

    def run(self, cases: Sequence[Case], pool: bytes) -> list[tuple[Ran, Ran]]:
        """QEMU's time is the host's: where only that was too short, there is more of it."""
        ran = list(zip(*run_both(self.theirs, self.ours, cases, pool), strict=True))
        for _ in range(TRIES):
            late = [number for number, (theirs, ours) in enumerate(ran) if _is_late(theirs, ours)]
            if not late:
                break
            again = run_both(self.theirs, self.ours, [cases[number] for number in late], pool)
            for number, *both in zip(late, *again, strict=True):
                ran[number] = both[0], both[1]
        return ran

    def run_with_images(self, cases: Sequence[Case], pool: bytes) -> list[tuple[Ran, Ran]]:
        """As many at a time as there is room for images."""
        ran: list[tuple[Ran, Ran]] = []
        for start in range(0, len(cases), KEPT_MOST):
            some = [
                attrs.evolve(case, flags=case.flags | FLAG_IMAGE)
                for case in cases[start : start + KEPT_MOST]
            ]
            ran += self.run(some, pool)
        return ran


def _ran(results: bytes, number: int) -> Ran:
    at = RECORDS - RESULTS + number * RECORD_BYTES
    record = Record.parse(results[at : at + RECORD_BYTES])
    if not record.image:
        return Ran(record)
    at = KEPT - RESULTS + (record.image - 1) * KEPT_BYTES
    return Ran(record, results[at : at + IMAGE_BYTES])


if __name__ == "__main__":
    serve(sys.argv[1])
