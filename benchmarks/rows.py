"""What is measured: a guest a row.

Most are ROMs of our own (`roms/NAME.asm`), each of which does one thing so many times, sends a
checksum of what it computed on COM1, and ends.  How many times is given to the assembler; it is
chosen for one and a half CPU seconds of QEMU's TCG, and a second or less of the ports and the timer,
so that start-up, which has a row of its own, does not count for much.  The others are firmware that
is there anyway, and are watched until they have said something.
"""

from __future__ import annotations

import enum
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from emu import attrs

ROOT = Path(__file__).resolve().parent.parent
ROMS = ROOT / "benchmarks" / "roms"
FIRMWARE = ROOT / "firmware"
SEABIOS = ROOT / "tests" / "guests" / "cache" / "seabios" / "bios.bin"


class CannotRun(Exception):  # noqa: N818 - a reason, which a row's line in the table gives
    """Something is missing that a row needs; the text says what, and how to get it."""


class Console(enum.Enum):
    """Where a guest prints."""

    SERIAL = "COM1"
    DEBUG = "the debug console, port 402h"


@attrs.frozen
class Kernel:
    """A kernel that is entered without firmware of ours, and the machine that it needs."""

    file: Path
    initrd: Path
    append: str
    cpu: str
    memory_mib: int


@attrs.frozen
class Boot:
    """What a machine is switched on with, and how its result is known."""

    rom: Path | None = None
    image: Path | None = None  # what our ROM loads, as `emu run IMAGE` does
    kernel: Kernel | None = None
    console: Console = Console.SERIAL
    since: bytes | None = None  # what is measured begins when it has printed this
    until: bytes | None = None  # the run is over when it has printed this; None: when it exits


class Row(Protocol):
    """One line of the table."""

    @property
    def name(self) -> str: ...

    @property
    def what(self) -> str:
        """What the guest does, in a few words."""

    @property
    def rounds(self) -> int:
        """How often; results are comparable where it is the same."""

    def prepare(self, folder: Path) -> Boot:
        """Make what it boots from, in *folder*; raises CannotRun."""


@attrs.frozen
class OwnRom:
    """A ROM of `roms/`, assembled for as many rounds as are wanted."""

    name: str
    what: str
    rounds: int
    fewest: int = 1  # rounds that make a result: for tests

    def prepare(self, folder: Path) -> Boot:
        return Boot(self.assemble(folder, self.rounds))

    def assemble(self, folder: Path, rounds: int) -> Path:
        """The ROM's image, in *folder*."""
        nasm = shutil.which("nasm")
        if nasm is None:
            raise CannotRun("nasm is not installed, or not on the PATH")
        image = folder / f"{self.name}.rom"
        command = [nasm, "-f", "bin", "-w+all", "-I", f"{FIRMWARE / 'include'}/", "-I", f"{ROMS}/"]
        command += ["-D", f"ROUNDS={rounds}", "-o", str(image), str(ROMS / f"{self.name}.asm")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise CannotRun(f"nasm: {done.stderr.strip()}")
        return image


@attrs.frozen
class Firmware:
    """Firmware that is there anyway, until it has printed a text."""

    name: str
    what: str
    boot: Boot
    fetch: str = ""  # the command that brings it
    rounds: int = 1

    def prepare(self, folder: Path) -> Boot:  # noqa: ARG002 - nothing is made
        if self.boot.rom is not None and not self.boot.rom.exists():
            raise CannotRun(f"{self.boot.rom.name} is not there: {self.fetch} fetches it")
        return self.boot


LINUX = ROOT / "tests" / "guests" / "cache"
LINUX_OPTIONS = (
    "console=ttyS0 earlyprintk=serial,ttyS0,115200 noapic nolapic acpi=off pci=off nokaslr "
    "mitigations=off tsc=reliable no_timer_check"
)
LINUX_CPU = {"686": "pentium3", "686-pae": "coreduo"}
LINUX_MIB = 64
PROMPT = b"emu# "


@attrs.frozen
class Linux:
    """Debian's Linux: to its shell, or from where it begins a job of its initramfs to its end."""

    name: str
    what: str
    flavour: str = "686"
    job: str = ""
    rounds: int = 1

    def prepare(self, folder: Path) -> Boot:
        """Make the initramfs, by the tests' own program."""
        kernel = LINUX / f"linux-{self.flavour}" / "vmlinuz"
        if not kernel.exists():
            raise CannotRun("vmlinuz is not there: python tests/guests/fetch.py fetches it")
        initrd = folder / f"initrd-{self.flavour}"
        maker = ROOT / "tests" / "guests" / "initramfs.py"
        subprocess.run([sys.executable, maker, self.flavour, initrd], check=True)  # noqa: S603
        append = f"{LINUX_OPTIONS} job={self.job}" if self.job else LINUX_OPTIONS
        machine = Kernel(kernel, initrd, append, LINUX_CPU[self.flavour], LINUX_MIB)
        if not self.job:
            return Boot(kernel=machine, until=PROMPT)
        job = f"job {self.job}"
        return Boot(
            kernel=machine, since=f"{job} begins\r\n".encode(), until=f"{job} ends\r\n".encode()
        )


OWN_ROMS = (
    OwnRom("sieve", "the primes below 100,000", 4000),
    OwnRom("crc", "CRC-32 of 64 KiB by a table", 4500),
    OwnRom("matrix", "64 x 64 integers, multiplied", 2600),
    OwnRom("sort", "Shell's sort of 8,192 numbers", 1250),
    OwnRom("x87", "32 x 32 doubles, multiplied", 700),
    OwnRom("stores", "stores of every width", 4000),
    OwnRom("strings", "string instructions with REP", 4500),
    OwnRom("calls", "recursion, and calls by pointer", 850),
    OwnRom("faults", "page faults, 1,024 a round", 4500),
    OwnRom("int80", "INT 80h from level 3, and IRET", 8_000_000),
    OwnRom("sysenter", "SYSENTER from level 3, and SYSEXIT", 55_000_000),
    OwnRom("ports", "port accesses, 13 a round", 1_700_000),
    OwnRom("busy", "arithmetic under a 1 kHz timer", 9000, fewest=4),
    OwnRom("idle", "HLT under a 1 kHz timer", 10_000),
)

ROWS: tuple[Row, ...] = (
    *OWN_ROMS,
    Firmware(
        "seabios",
        "SeaBIOS, to its boot attempt",
        Boot(SEABIOS, console=Console.DEBUG, until=b"No bootable device."),
        fetch="python tests/guests/fetch.py",
    ),
    Firmware(
        "start",
        "start to the first serial byte",
        Boot(
            FIRMWARE / "images" / "emu.rom",
            image=FIRMWARE / "images" / "hello.bin",
            until=b"e",  # of the ROM's "emu ROM: ..."
        ),
    ),
    Linux("linux", "Linux, bzImage to its shell"),
    Linux("linux-pae", "the same, PAE", "686-pae"),
    Linux("md5sum", "Linux: md5sum of 100 MiB", job="md5sum"),
    Linux("gzip", "Linux: gzip and back", job="gzip"),
    Linux("linux-sort", "Linux: awk, and sort of 20,000", job="sort"),
    Linux("fork", "Linux: 1,000 forks and execs", job="fork"),
    Linux("shell", "Linux: a loop in the shell", job="shell"),
)
