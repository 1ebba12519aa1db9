"""The emulators: ours, and the others that are installed here, each with its command line.

All are given the same PC as far as they can be: 16 MiB, a Pentium III, no disk, no screen, and the
same ROM in the place of a BIOS.  A guest ends them through QEMU's debug-exit port, where they have it.

    emu          this one, as a user has it installed: the native engine where it can be had
    qemu-tcg     translates to the host's code, as ours does; its clock is the host's
    qemu-icount  the same with a clock that counts instructions: it is as deterministic as ours
    bochs        interprets, with a clock that counts instructions
    v86          translates to WebAssembly, in node; its clock is the host's
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Protocol

from benchmarks.installation import environment, install
from benchmarks.rows import Boot, Console, Kernel
from emu import attrs

MEMORY_MIB = 16
QEMU = "qemu-system-i386"

# What is found where: `python -m benchmarks --help` shows it.
INSTALL = """\
Whatever is installed of these takes part, beside emu itself:
  qemu-tcg, qemu-icount  qemu-system-i386 on the PATH
  bochs                  bochs-bin or bochs on the PATH, with its display library "nogui" or "term"
                         (Debian: apt install bochs bochs-term)
  v86                    node on the PATH, and the npm package v86 in a folder that NODE_PATH names,
                         or where npm installs for all (npm install -g v86)
"""


class CannotBoot(Exception):  # noqa: N818 - a reason, which a line below the table gives
    """A peer has no way to be switched on so; the text says what it lacks."""


class Peer(Protocol):
    """An emulator."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Of everything that decides how fast it is."""

    @property
    def exits(self) -> bool:
        """Whether a guest can end it; where none can, a run is over when its result is printed."""

    def command(self, boot: Boot) -> list[str]:
        """The command that boots so, and prints what the guest prints on its standard output.

        Raises CannotBoot.
        """


@attrs.frozen
class Ours:
    """The emulator of this very folder."""

    exits: ClassVar = True

    name: str
    version: str
    program: Path

    @classmethod
    def find(cls, folder: Path) -> Ours:
        """Install it in *folder*."""
        program = install(folder)
        told = subprocess.run(  # noqa: S603
            [program, "info"], env=environment(), capture_output=True, text=True, check=True
        )
        lines = dict(line.split(maxsplit=1) for line in told.stdout.splitlines())
        version = f"{lines['emu']}, Unicorn {lines['unicorn']}, engine {lines['engine']}"
        return cls("emu", version, program)

    def command(self, boot: Boot) -> list[str]:
        command = [str(self.program), "run"]
        if boot.kernel is not None:
            command += [*kernel_options(boot.kernel), "-cpu", boot.kernel.cpu]
            command += ["-m", f"{boot.kernel.memory_mib}M"]
        else:
            command += ["-m", f"{MEMORY_MIB}M"]
            # Where our ROM loads an image it is ours, and needs no naming.
            command += ["-bios", str(boot.rom)] if boot.image is None else [str(boot.image)]
        match boot.console:
            case Console.SERIAL:
                command += ["-serial", "stdio"]
            case Console.DEBUG:
                command += ["-serial", "none", "-debugcon", "stdio"]
        return command


@attrs.frozen
class Qemu:
    """QEMU with its TCG, on its isapc."""

    exits: ClassVar = True

    name: str
    version: str
    program: str
    clock: tuple[str, ...] = ()  # options

    def command(self, boot: Boot) -> list[str]:
        cpu, mib = "pentium3", MEMORY_MIB
        if boot.kernel is not None:
            cpu, mib = boot.kernel.cpu, boot.kernel.memory_mib
        command = [self.program, "-M", "isapc", "-cpu", f"{cpu},-apic", "-m", str(mib)]
        command += ["-accel", "tcg", *self.clock, "-nodefaults", "-display", "none"]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        if boot.kernel is not None:
            command += kernel_options(boot.kernel)
        else:
            command += ["-bios", str(boot.rom)]
        if boot.image is not None:
            command += ["-fw_cfg", f"name=opt/emu/guest,file={boot.image}"]
        match boot.console:
            case Console.SERIAL:
                command += ["-serial", "stdio"]
            case Console.DEBUG:
                command += ["-debugcon", "stdio", "-global", "isa-debugcon.iobase=0x402"]
        return command


@attrs.frozen
class Bochs:
    """Bochs, whose clock is told to count a nanosecond an instruction, as ours does.

    Its VGA has to have a ROM, and has an empty one.  What it says itself, its standard output takes;
    so a shell gives it the one that is ours as another, for COM1.  A Bochs that was built with its
    debugger, as Debian's is, waits for a command before it starts; any other reads none.
    """

    exits: ClassVar = False
    SHELL: ClassVar = """TERM=linux exec "$@" 3>&1 >/dev/null <<END
continue
END
"""
    OPTIONS: ClassVar = (
        f"megs: {MEMORY_MIB}",
        "cpu: model=p3_katmai, ips=1000000000",
        "clock: sync=none",
        "pci: enabled=0",
        "speaker: enabled=0",
        "vgaromimage: file=/dev/null",
        "com1: enabled=1, mode=file, dev=/dev/fd/3",
    )
    DISPLAYS: ClassVar = ("nogui", "term")  # those that need no screen

    name: str
    version: str
    program: str
    display: str

    @classmethod
    def find(cls) -> Bochs | None:
        """The one that is installed, if it needs no screen."""
        program = shutil.which("bochs-bin") or shutil.which("bochs")
        if program is None:
            return None
        display = next((each for each in cls.DISPLAYS if _has_display(program, each)), None)
        if display is None:
            return None
        told = _told([program, "--help"])
        version = next(line.strip() for line in told.splitlines() if "x86 Emulator" in line)
        debugger = " with its debugger" if "\n  -rc " in told else ""
        return cls("bochs", f"{version}{debugger}", program, display)

    def command(self, boot: Boot) -> list[str]:
        command = ["sh", "-c", self.SHELL, "sh", self.program, "-q", "-f", "/dev/null"]
        command += ["-log", "/dev/null", f"display_library: {self.display}", *self.OPTIONS]
        return [*command, f"romimage: file={rom_alone(boot)}"]


def _has_display(program: str, display: str) -> bool:
    """Whether a Bochs has that display library: then it asks what to do, and ends without an answer."""
    command = [program, "-f", "/dev/null", "config_interface: textconfig"]
    command += [f"display_library: {display}"]
    done = subprocess.run(  # noqa: S603
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.returncode == 0


@attrs.frozen
class V86:
    """v86 in node, driven by `v86.mjs`."""

    exits: ClassVar = False
    DRIVER: ClassVar = Path(__file__).with_name("v86.mjs")

    name: str
    version: str
    node: str
    package: Path  # the folder of the npm package

    @classmethod
    def find(cls) -> V86 | None:
        """The one that is installed."""
        node = shutil.which("node")
        if node is None:
            return None
        for folder in _node_folders():
            package = folder / "v86"
            about = package / "package.json"
            if about.exists():
                version = json.loads(about.read_text(encoding="utf-8"))["version"]
                return cls(
                    "v86", f"{version}, node {_first_line([node, '--version'])}", node, package
                )
        return None

    def command(self, boot: Boot) -> list[str]:
        rom = rom_alone(boot)
        return [self.node, str(self.DRIVER), str(self.package), str(rom), str(MEMORY_MIB)]


def _node_folders() -> Iterator[Path]:
    """Where packages for node may be."""
    yield from (Path(each) for each in os.environ.get("NODE_PATH", "").split(os.pathsep) if each)
    npm = shutil.which("npm")
    if npm is not None:
        yield Path(_first_line([npm, "root", "-g"]))


def rom_alone(boot: Boot) -> Path:
    """The ROM of *boot*, if that is all there is to it, and it prints on COM1; or else CannotBoot."""
    if boot.rom is None:
        raise CannotBoot("no way to enter a kernel without firmware of its own")
    if boot.image is not None:
        raise CannotBoot("no fw_cfg to load an image from")
    if boot.console is not Console.SERIAL:
        raise CannotBoot("no debug console")
    return boot.rom


def kernel_options(kernel: Kernel) -> list[str]:
    """What says so to either."""
    files = ["-kernel", str(kernel.file), "-initrd", str(kernel.initrd)]
    return [*files, "-append", kernel.append]


def find(folder: Path) -> list[Peer]:
    """Ours, installed in *folder*, and whatever else is here."""
    peers: list[Peer] = [Ours.find(folder)]
    qemu = shutil.which(QEMU)
    if qemu is not None:
        version = _first_line([qemu, "--version"])
        peers.append(Qemu("qemu-tcg", version, qemu))
        icount = ("-icount", "shift=0,sleep=off")
        peers.append(Qemu("qemu-icount", version, qemu, icount))
    return [*peers, *(each for each in (Bochs.find(), V86.find()) if each is not None)]


def _first_line(command: list[str]) -> str:
    return _told(command).splitlines()[0]


def _told(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout
