"""The emulators: ours, and the others that are installed here, each with its command line.

All are given the same PC as far as they can be: 16 MiB, a Pentium III, no disk, no screen, and the
same ROM in the place of a BIOS.  A guest ends them through QEMU's debug-exit port.

    emu          this one, as a user has it installed: the native engine where it can be had
    qemu-tcg     translates to the host's code, as ours does; its clock is the host's
    qemu-icount  the same with a clock that counts instructions: it is as deterministic as ours
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Protocol

from benchmarks.installation import environment, install
from benchmarks.rows import Boot, Console
from emu import attrs

MEMORY_MIB = 16
QEMU = "qemu-system-i386"


class Peer(Protocol):
    """An emulator."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Of everything that decides how fast it is."""

    def command(self, boot: Boot) -> list[str]:
        """The command that boots so, and prints what the guest prints on its standard output."""


@attrs.frozen
class Ours:
    """The emulator of this very folder."""

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
        command = [str(self.program), "run", "-m", f"{MEMORY_MIB}M"]
        if boot.image is None:
            command += ["-bios", str(boot.rom)]
        else:
            command += [str(boot.image)]  # the ROM is ours, and needs no naming
        match boot.console:
            case Console.SERIAL:
                command += ["-serial", "stdio"]
            case Console.DEBUG:
                command += ["-serial", "none", "-debugcon", "stdio"]
        return command


@attrs.frozen
class Qemu:
    """QEMU with its TCG, on its isapc."""

    name: str
    version: str
    program: str
    clock: tuple[str, ...] = ()  # options

    def command(self, boot: Boot) -> list[str]:
        command = [self.program, "-M", "isapc", "-cpu", "pentium3,-apic", "-m", str(MEMORY_MIB)]
        command += ["-accel", "tcg", *self.clock, "-nodefaults", "-display", "none"]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-bios", str(boot.rom)]
        if boot.image is not None:
            command += ["-fw_cfg", f"name=opt/emu/guest,file={boot.image}"]
        match boot.console:
            case Console.SERIAL:
                command += ["-serial", "stdio"]
            case Console.DEBUG:
                command += ["-debugcon", "stdio", "-global", "isa-debugcon.iobase=0x402"]
        return command


def find(folder: Path) -> list[Peer]:
    """Ours, installed in *folder*, and whatever else is here."""
    peers: list[Peer] = [Ours.find(folder)]
    qemu = shutil.which(QEMU)
    if qemu is not None:
        version = _first_line([qemu, "--version"])
        peers.append(Qemu("qemu-tcg", version, qemu))
        icount = ("-icount", "shift=0,sleep=off")
        peers.append(Qemu("qemu-icount", version, qemu, icount))
    return peers


def _first_line(command: list[str]) -> str:
    told = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return told.stdout.splitlines()[0]
