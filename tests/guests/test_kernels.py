r"""Kernels that are entered without firmware: the Multiboot kernel of `firmware/kernels`, and flat code.

The oracle for Multiboot is `qemu-system-i386 -M isapc -kernel`, which loads the same files with
the same words; the kernel says on COM1 what it was given.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import processes
import programs
import pytest
import qemu_runs

import emu
from emu import images
from emu.cpu import native
from emu.errors import ConfigError
from emu.host.ends import Memory as MemoryEnd
from emu.kernels.placement import GDT
from emu.machine import Machine
from emu.memory import MIB
from emu.until import Reason

WORDS = "one two"
MODULES = "first with words,second"
MAP = 17  # the line from which the memory is told: QEMU's firmware keeps some of it

needs_native = pytest.mark.skipif(
    native.UNAVAILABLE is not None, reason=f"no native engine: {native.UNAVAILABLE}"
)
ENGINES = [pytest.param("native", marks=needs_native), "reference"]
FORMATS = ["elf", "aout"]

# What differs from QEMU, where firmware keeps a KiB below A0000h and is to be found below 4 GiB.
OURS = """\
lower    00000280
upper    00003C00
  base   00000000
  length 000A0000
  type   00000001
  base   000A0000
  length 00060000
  type   00000002
  base   00100000
  length 00F00000
  type   00000001
loader   emu
""".splitlines()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("kernel.elf", "kernel.aout"):
        shutil.copy(images.path(name), tmp_path)
    (tmp_path / "first").write_bytes(b"abc")
    (tmp_path / "second").write_bytes(bytes(range(256)) * 40)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(file: str, engine: str = "auto", **rest: object) -> tuple[Machine, MemoryEnd]:
    end = MemoryEnd()
    vm = Machine(kernel=file, initrd=MODULES, append=WORDS, serial=end, engine=engine, **rest)
    return vm, end


def run(vm: Machine) -> None:
    """To the kernel's end."""
    assert vm.run(until=emu.after("1s")).reason is Reason.EXIT


def lines(end: MemoryEnd) -> list[str]:
    return bytes(end.sent).decode().splitlines()


class TestMultiboot:
    @pytest.mark.usefixtures("folder")
    @pytest.mark.parametrize("format_", FORMATS)
    def test_the_kernel_finds_what_it_finds_on_QEMU(self, format_: str) -> None:
        programs.require(qemu_runs.PROGRAM)
        command = [qemu_runs.PROGRAM, "-M", "isapc", "-cpu", "pentium3,-apic", "-m", "16"]
        command += ["-nodefaults", "-display", "none", "-serial", "stdio"]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        command += ["-kernel", f"kernel.{format_}", "-append", WORDS, "-initrd", MODULES]
        theirs = subprocess.run(
            command, capture_output=True, text=True, timeout=qemu_runs.DEADLINE_S, check=False
        )

        vm, end = start(f"kernel.{format_}")
        run(vm)

        assert lines(end)[:MAP] == theirs.stdout.splitlines()[:MAP]
        assert lines(end)[MAP:] == OURS
        vm.close()

    @pytest.mark.usefixtures("folder")
    @pytest.mark.parametrize("format_", FORMATS)
    def test_what_it_finds_is_what_the_specification_says(self, format_: str) -> None:
        """§3.2, and the modules, and their strings."""
        vm, end = start(f"kernel.{format_}")
        run(vm)

        assert (
            lines(end)[:MAP]
            == [
                "magic    2BADB002",
                "flags    0000024D",
                "CR0      00000001",
                "EFLAGS   00000000",
                "A20 shut 00000000",
                "bss      00000000",
                "no IRQ 0 00000000",
                f"command  kernel.{format_} one two",
                "modules  00000002",
                "  length 00000003",
                "  offset 00000000",
                "  sum    00000126",
                "  string first with words",
                "  length 00002800",
                "  offset 00000000",
                "  sum    0013EC00",
                "  string second",
                "lower    00000280",
            ][:MAP]
        )
        vm.close()

    @pytest.mark.usefixtures("folder")
    def test_it_is_entered_with_the_registers_of_the_specification(self) -> None:
        vm, _ = start("kernel.elf")

        cpu = vm.cpu
        assert (cpu.eax, cpu.cr0, cpu.eflags & 0x2_0200) == (0x2BADB002, 0x11, 0)
        assert vm.memory[cpu.gdtr.base : cpu.gdtr.base + cpu.gdtr.limit + 1] == GDT
        assert cpu.a20
        for segment in (cpu.ds, cpu.es, cpu.fs, cpu.gs, cpu.ss):
            assert (segment.base, segment.limit, segment.flags) == (0, 0xFFFF_FFFF, 0xC0_9300)
        assert (cpu.cs.base, cpu.cs.limit, cpu.cs.flags) == (0, 0xFFFF_FFFF, 0xC0_9B00)
        assert vm.memory[cpu.eip : cpu.eip + 4] in images.path("kernel.elf").read_bytes()
        vm.close()

    @pytest.mark.usefixtures("folder")
    def test_both_engines_agree(self) -> None:
        digests = set()
        for engine in ("native", "reference") if native.UNAVAILABLE is None else ("reference",):
            vm, _ = start("kernel.elf", engine)
            run(vm)
            digests.add((vm.clock.now_ns, vm.digest()))
            vm.close()

        assert len(digests) == 1


class TestAcrossResets:
    @pytest.mark.usefixtures("folder")
    @pytest.mark.parametrize("engine", ENGINES)
    def test_a_reset_starts_the_kernel_again(self, engine: str) -> None:
        """Which has written over the first bytes of itself, and over its bss."""
        vm, end = start("kernel.elf", engine)
        run(vm)
        first = bytes(end.sent)

        vm.reset()
        run(vm)

        assert bytes(end.sent) == 2 * first
        vm.close()

    def test_so_it_does_in_another_process_where_its_files_are_gone(self, folder: Path) -> None:
        """They are part of the machine: they are in the save."""
        vm, end = start("kernel.elf")
        run(vm)
        vm.save(folder / "done.emu")
        (folder / "kernel.elf").unlink()
        again = (
            "import emu, sys; from emu.host.ends import Memory; end = Memory();"
            "vm = emu.load('done.emu', serial=end); vm.reset(); vm.run(emu.after('1s'));"
            "sys.stdout.buffer.write(bytes(end.sent))"
        )

        process = subprocess.run(
            [processes.sys.executable, "-c", again],
            capture_output=True,
            env=processes.environment(),
            check=True,
        )

        assert process.stdout == bytes(end.sent)
        vm.close()

    def test_saved_at_every_character_it_goes_on(self, folder: Path) -> None:
        vm, end = start("kernel.elf")
        sent, saves = [], []
        for number in range(1, 20):
            vm.run(until=emu.clock(number * 2_500_000))
            saves.append(folder / f"{number}.emu")
            vm.save(saves[-1])
            sent.append(bytes(end.sent))
        run(vm)
        digest, output = vm.digest(), bytes(end.sent)
        vm.close()

        for save, before in zip(saves, sent, strict=True):
            end = MemoryEnd()
            with emu.load(save, serial=end) as restored:
                run(restored)
                assert (restored.digest(), before + bytes(end.sent)) == (digest, output)


# 8N1, a character, and when it has left the wire (TEMT) the debug exit
SAY = "66 ba fb 03 b0 03 ee  66 ba f8 03 b0 {:02x} ee  66 ba fd 03 ec a8 40 74 fb  b0 00 e6 f4 f4"


class TestFlat:
    def say(self, letter: str) -> bytes:
        return bytes.fromhex(SAY.format(ord(letter)))

    @pytest.mark.parametrize("engine", ENGINES)
    def test_code_is_entered_where_it_was_put(self, engine: str) -> None:
        """In protected mode, above 1 MiB, or below; with a stack."""
        for address in (0x500, 0x7C00, 2 * MIB + 3):
            end = MemoryEnd()
            with Machine(load=[(self.say("x"), address)], serial=end, engine=engine) as vm:
                assert (vm.cpu.eip, vm.cpu.esp) == (address, 0xA0000)
                run(vm)
                assert bytes(end.sent) == b"x"

    def test_several_and_entered_at_another(self) -> None:
        end = MemoryEnd()
        load = [(self.say("x"), MIB), (b"\xcc" + self.say("y"), 2 * MIB)]
        with Machine(load=load, entry=2 * MIB + 1, serial=end) as vm:
            run(vm)

        assert bytes(end.sent) == b"y"

    def test_a_triple_fault_starts_it_again(self) -> None:
        """An INT3 with no vectors; the second time it does not come to that."""
        again = bytes.fromhex("f0 ff 05 00 10 00 00  83 3d 00 10 00 00 02 74 01 cc") + self.say("z")
        end = MemoryEnd()
        with Machine(load=[(again, MIB)], serial=end) as vm:
            run(vm)

        assert bytes(end.sent) == b"z"


class TestTogether:
    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"image": "hello", "kernel": b"x"}, "not a kernel"),
            ({"image": "hello", "load": [(b"x", MIB)]}, "exclude each other"),
            ({"kernel": b"x", "load": [(b"x", MIB)]}, "exclude each other"),
            ({"image": "hello", "append": "x"}, "are for a kernel, and there is none"),
            ({"image": "hello", "initrd": b"x"}, "are for a kernel, and there is none"),
            ({"image": "hello", "entry": 5}, "an entry is for flat images"),
        ],
    )
    def test_what_does_not_go_together_is_said(
        self, options: dict[str, object], problem: str
    ) -> None:
        with pytest.raises(ConfigError, match=problem):
            Machine(**options)

    def test_a_machine_without_a_kernel_has_no_loader(self) -> None:
        """So its saves are what they were before there was one."""
        with Machine("hello") as vm:
            assert "loader" not in vm.description.parts

    def test_a_save_goes_to_a_machine_with_a_kernel(self, folder: Path) -> None:
        """Another kernel even: what was saved is what is there then."""
        vm, end = start("kernel.elf")
        run(vm)
        vm.save(folder / "done.emu")
        with Machine(load=[(b"\xf4", MIB)], serial=end) as other:
            other.load(folder / "done.emu")
            assert other.digest() == vm.digest()
        with Machine("hello") as other, pytest.raises(emu.StreamError, match="another machine"):
            other.load(folder / "done.emu")
        vm.close()


class TestTheCommandLine:
    @pytest.mark.parametrize("dashes", ["-", "--"])
    def test_runs_a_kernel(self, folder: Path, dashes: str) -> None:
        """Its exit is the guest's: (0 << 1) | 1."""
        words = [f"{dashes}kernel", "kernel.elf", f"{dashes}append", WORDS]

        done = processes.run("run", *words, f"{dashes}initrd", MODULES, cwd=folder)

        assert (done.returncode, done.stderr) == (1, b"")
        assert b"command  kernel.elf one two\r\n" in done.stdout
        assert b"  string first with words\r\n" in done.stdout

    def test_runs_a_flat_image(self, folder: Path) -> None:
        (folder / "flat@1.bin").write_bytes(TestFlat().say("x"))

        done = processes.run("run", "--load", "flat@1.bin@0x200000", cwd=folder)

        assert (done.returncode, done.stdout, done.stderr) == (1, b"x", b"")

    @pytest.mark.parametrize(
        ("words", "problem", "status"),
        [
            (["-kernel", "first"], "first: not a kernel: neither a Linux bzImage nor Multiboot", 2),
            (["-kernel", "cut"], "cut: ELF kernel: cut short: segment 0 is not all there", 2),
            (["-kernel", "nosuch"], "nosuch: No such file or directory", 1),
            (["-kernel", "."], ".: Is a directory", 1),
            (["-kernel", "kernel.elf", "-initrd", "x"], "x: No such file or directory", 1),
            (["-kernel", "kernel.elf", "-initrd", "big"], "big: larger than 16777216 bytes", 2),
            (["hello", "-append", "x"], "an initrd and a command line are for a kernel", 2),
            (["--load", "first"], "load 'first': expected FILE@ADDRESS", 2),
            (["--load", "@5"], "load '@5': expected FILE@ADDRESS", 2),
            (["--load", "first@x"], "load 'x': expected an address such as 0x100000", 2),
            (["--load", "first@-1"], "load '-1': expected an address such as 0x100000", 2),
            (["--load", "first@0xA0000"], "flat image: no room at 0xa0000-0xa0002, in 16 MiB", 2),
            (["--load", "first@5", "--entry", "1e9"], "entry '1e9': expected an address", 2),
            (["--load", "first@5", "--entry", "0x4000000"], "expected an address within RAM", 2),
        ],
    )
    def test_errors_are_one_line(
        self, folder: Path, words: list[str], problem: str, status: int
    ) -> None:
        (folder / "cut").write_bytes((folder / "kernel.elf").read_bytes()[:300])
        with (folder / "big").open("wb") as big:
            big.truncate(17 * MIB)

        done = processes.run("run", *words, cwd=folder)

        assert (done.returncode, done.stdout) == (status, b"")
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith("emu: ")
        assert problem in line
