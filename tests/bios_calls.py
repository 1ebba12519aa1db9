"""A BIOS that is called from outside: its services as functions of Python.

`tests/guests/caller.asm` is the guest that does it: asked on COM1, it loads registers, calls an
interrupt and tells what came of it.  `Registers` go in and come out; what the service has printed
meanwhile comes, too.  The machine is one of ours, or QEMU's isapc with the same ROM or another.
"""

from __future__ import annotations

import os
import selectors
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

from programs import require

import emu
from emu import attrs, drives, images
from emu.host.ends import Memory as MemoryEnd

FIRMWARE = Path(__file__).parents[1] / "firmware"
GUESTS = Path(__file__).parent / "guests"

QEMU = "qemu-system-i386"
DEADLINE_S = 15  # of the host's time; an answer takes a few ms
PATIENCE_NS = 10_000_000_000  # of the machine's; for the waits that are asked for

MARK = b"\xfe\xed"
CALL, READ, WRITE = b"C", b"R", b"W"
PIECE_BYTES = 4096

CF, ZF, IF = 1 << 0, 1 << 6, 1 << 9


def assemble(source: Path, folder: Path) -> bytes:
    """The flat binary of a source for nasm."""
    require("nasm")
    binary = folder / f"{source.stem}.bin"
    command = ["nasm", "-f", "bin", "-w+all", "-I", f"{FIRMWARE / 'include'}/"]
    subprocess.run([*command, "-o", str(binary), str(source)], check=True)
    return binary.read_bytes()


@attrs.frozen
class Registers:
    """What goes into an interrupt and comes out of it."""

    eax: int = 0
    ebx: int = 0
    ecx: int = 0
    edx: int = 0
    esi: int = 0
    edi: int = 0
    ebp: int = 0
    ds: int = 0
    es: int = 0
    flags: int = IF | 1 << 1

    ORDER = struct.Struct("<7I3H")

    def pack(self) -> bytes:
        general = (self.edi, self.esi, self.ebp, self.ebx, self.edx, self.ecx, self.eax)
        return self.ORDER.pack(*general, self.es, self.ds, self.flags)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        edi, esi, ebp, ebx, edx, ecx, eax, es, ds, flags = cls.ORDER.unpack(data)
        return cls(eax, ebx, ecx, edx, esi, edi, ebp, ds, es, flags)

    @property
    def ax(self) -> int:
        return self.eax & 0xFFFF

    @property
    def ah(self) -> int:
        return self.eax >> 8 & 0xFF

    @property
    def al(self) -> int:
        return self.eax & 0xFF

    @property
    def bx(self) -> int:
        return self.ebx & 0xFFFF

    @property
    def cx(self) -> int:
        return self.ecx & 0xFFFF

    @property
    def dx(self) -> int:
        return self.edx & 0xFFFF

    @property
    def cf(self) -> bool:
        return bool(self.flags & CF)

    @property
    def zf(self) -> bool:
        return bool(self.flags & ZF)


class Line(Protocol):
    """A machine, as seen from the far end of its COM1."""

    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes:
        """What has come, at least a byte of it; fails the test where none does."""
        ...

    def close(self) -> None: ...


@attrs.define(eq=False)
class Ours:
    """A machine of ours."""

    vm: emu.Machine
    end: MemoryEnd
    taken: int = 0

    @classmethod
    def start(cls, engine: str = "auto", **options: object) -> Self:
        end = MemoryEnd()
        return cls(emu.Machine(serial=end, engine=engine, **options), end)

    def send(self, data: bytes) -> None:
        self.end.feed(data)

    def read(self, address: int, length: int) -> bytes:
        """Straight from memory: much faster than asking for it."""
        return self.vm.memory.read(address, length)

    def write(self, address: int, data: bytes) -> None:
        self.vm.memory.write(address, data)

    def receive(self) -> bytes:
        deadline_ns = self.vm.clock.now_ns + PATIENCE_NS
        while len(self.end.sent) == self.taken:
            assert self.vm.clock.now_ns < deadline_ns, "no answer"
            self.vm.run(emu.after(100_000))
        data = bytes(self.end.sent[self.taken :])
        self.taken += len(data)
        return data

    def close(self) -> None:
        self.vm.close()


@attrs.define(eq=False)
class OnQemu:
    """QEMU's isapc, with our ROM unless *options* name another."""

    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, *options: str, bios: Path | None = None, memory: str = "16M") -> Self:
        require(QEMU)
        command = [QEMU, "-M", "isapc", "-cpu", "486", "-m", memory, "-nodefaults"]
        command += ["-display", "none", "-serial", "stdio", "-rtc", "base=2000-01-01"]
        command += ["-bios", str(bios or images.path(images.ROM)), *options]
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0))

    def send(self, data: bytes) -> None:
        self.process.stdin.write(data)

    def receive(self) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(DEADLINE_S), "no answer"
            data = os.read(self.process.stdout.fileno(), PIECE_BYTES)
        assert data, "QEMU has ended"
        return data

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@attrs.define(eq=False)
class Bios:
    """The services of the BIOS at the other end of *line*."""

    line: Line
    came: bytes = b""

    def wait(self, text: bytes) -> bytes:
        """Read on to the end of *text*; what came with it and before."""
        return self._until(lambda: self.came.find(text) + len(text) if text in self.came else 0)

    def call(self, vector: int, *, meanwhile: bytes = b"", **registers: int) -> Registers:
        """The registers after ``INT vector``; *meanwhile* is sent after the request."""
        return self.call_and_hear(vector, meanwhile=meanwhile, **registers)[0]

    def call_and_hear(
        self, vector: int, *, meanwhile: bytes = b"", **registers: int
    ) -> tuple[Registers, bytes]:
        """The registers after ``INT vector``, and what it has printed."""
        self.line.send(CALL + bytes([vector]) + Registers(**registers).pack() + meanwhile)
        said, answer = self._answer(Registers.ORDER.size)
        return Registers.unpack(answer), said

    def read(self, address: int, length: int) -> bytes:
        if isinstance(self.line, Ours):
            return self.line.read(address, length)
        found = b""
        for done in range(0, length, PIECE_BYTES):
            piece = min(PIECE_BYTES, length - done)
            self.line.send(READ + struct.pack("<IH", address + done, piece))
            found += self._answer(piece)[1]
        return found

    def write(self, address: int, data: bytes) -> None:
        if isinstance(self.line, Ours):
            self.line.write(address, data)
            return
        self.line.send(WRITE + struct.pack("<IH", address, len(data)) + data)
        self._answer(0)

    def word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 2), "little")

    def _answer(self, length: int) -> tuple[bytes, bytes]:
        said = self.wait(MARK)[: -len(MARK)]
        if not length:
            return said, b""
        return said, self._until(lambda: length if len(self.came) >= length else 0)

    def _until(self, enough: Callable[[], int]) -> bytes:
        """Read on until *enough* says how much is to be taken."""
        while not (size := enough()):
            self.came += self.line.receive()
        taken, self.came = self.came[:size], self.came[size:]
        return taken

    def close(self) -> None:
        self.line.close()


ENTERED = b"guest at 0000:7C00\r\n"


def starter(name: str, caller: bytes, folder: Path) -> Callable[..., Bios]:
    """How to start machine *name*, QEMU or one of our engines, with *caller* in it, and drives."""
    program = caller[:510]  # without the mark it is no drive

    def start(*, floppy: bytes | None = None, disk: bytes | None = None) -> Bios:
        if name == "qemu":
            line = OnQemu.start(*fw_cfg(folder, drives.files(program, floppy, disk)))
        else:
            line = Ours.start(name, image=program, floppy=floppy, disk=disk)
        bios = Bios(line)
        bios.wait(ENTERED)
        return bios

    return start


def fw_cfg(folder: Path, files: dict[str, bytes]) -> Sequence[str]:
    """Options that give QEMU *files*."""
    options = []
    for number, (name, data) in enumerate(files.items()):
        path = folder / f"{number}.bin"
        path.write_bytes(data)
        options += ["-fw_cfg", f"name={name},file={path}"]
    return options
