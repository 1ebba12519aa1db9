"""The command line: what may be said, how it ends, and what is written where."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import processes
import pytest
from processes import PATIENCE_S, read_until

import emu
from emu import arguments as command_line
from emu import attrs
from emu.cli import main
from emu.cpu import native
from emu.errors import ConfigError

GOLDEN = Path(__file__).parent / "guests" / "golden"


@attrs.frozen
class Outcome:
    """How a command ended."""

    status: int
    shown: str  # on standard output
    told: list[str]  # the lines on standard error
    guest: bytes  # what the guest sent


Command = Callable[..., Outcome]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run a command in this process; a guest's serial port is the file ``serial``."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> Outcome:
        if words[0] in ("run", "restore") and "-serial" not in words:
            words = (*words, "-serial", "file:serial")
        status = main(words)
        shown, told = capsys.readouterr()
        sent = Path("serial").read_bytes() if Path("serial").exists() else b""
        return Outcome(status, shown, told.splitlines(), sent)

    return command


def golden(guest: str) -> bytes:
    """All that *guest* says, from the ROM's first line on."""
    return (GOLDEN / f"{guest}.txt").read_bytes().replace(b"\n", b"\r\n")


class TestHowARunEnds:
    def test_the_guest_halts(self, command: Command) -> None:
        """It is done: all its output is there, the status is 0, and nothing else is said."""
        assert command("run", "hello") == Outcome(0, "", [], golden("hello"))

    @pytest.mark.parametrize("name", ["paging", "numbers", "ring3", "tasks", "primes"])
    def test_the_guest_ends_it(self, command: Command, name: str) -> None:
        """Those that come along and end by the debug exit, with 0, say what they say on QEMU."""
        assert command("run", name, "-m", "1M", "--for", "2s") == Outcome(1, "", [], golden(name))

    def test_until_is_met(self, command: Command) -> None:
        """Status 0, at that very character."""
        ended = command("run", "hello", "--until", "serial:middle", "--for", "1s")

        assert (ended.status, ended.told) == (0, [])
        assert ended.guest.endswith(b"in the middle")

    def test_one_of_several_is_enough(self, command: Command) -> None:
        """Whichever comes first."""
        ended = command("run", "ticks", "--until", "serial:tick 9", "--until", "serial:tick 2")

        assert (ended.status, ended.guest[-6:]) == (0, b"tick 2")

    def test_until_a_clock(self, command: Command) -> None:
        """In nanoseconds from power-on, or with a unit."""
        command("run", "ticks", "--until", "clock:30ms", "--save", "s.emu")

        with emu.load("s.emu") as vm:
            assert 30_000_000 <= vm.clock.now_ns < 30_100_000

    def test_for_is_over(self, command: Command) -> None:
        """Status 0: that was all that was asked."""
        ended = command("run", "ticks", "--for", "30ms")

        assert (ended.status, ended.told) == (0, [])
        assert b"tick 2" in ended.guest

    def test_for_counts_from_here(self, command: Command) -> None:
        """It is relative to this command, not to power-on."""
        command("run", "ticks", "--for", "30ms", "--save", "s.emu")
        command("restore", "s.emu", "--for", "30ms", "--save", "t.emu")

        with emu.load("t.emu") as vm:
            assert 60_000_000 <= vm.clock.now_ns < 60_200_000

    def test_for_is_over_before_until_is_met(self, command: Command) -> None:
        """Status 1, and one line that says what did not come."""
        ended = command("run", "ticks", "--until", "serial:tock", "--for", "20ms")

        assert ended.status == 1
        assert ended.told == ["emu: after 0.02s, and before that not met: serial:tock"]

    def test_the_guest_ends_before_until_is_met(self, command: Command) -> None:
        """The same."""
        ended = command("run", "hello", "--until", "serial:x y", "--until", "serial:zz")

        assert ended.status == 1
        assert ended.told == [
            (
                "emu: the guest has halted for good: HLT with interrupts off, "
                "and before that not met: serial:x y, serial:zz"
            )
        ]

    def test_a_guest_that_nobody_can_type_to(self, command: Command) -> None:
        """It waits for a key, a timer runs, and no key can come: it is done."""
        ended = command("run", "echo")

        assert (ended.status, ended.told) == (0, [])
        assert ended.guest.endswith(b"\r\n> ")

    @pytest.mark.parametrize("value", [0, 1, 0x2A, 0x7F, 0xFF])
    def test_the_debug_exit(self, command: Command, value: int) -> None:
        """Its status is QEMU's: never 0, and 8 bits of it."""
        Path("exit.img").write_bytes(bytes([0xB0, value]) + bytes.fromhex("e6f4 ebfe"))

        assert command("run", "exit.img").status == (value << 1 | 1) & 0xFF

    def test_the_debug_exit_before_until_is_met(self, command: Command) -> None:
        """The guest's status counts, and the line is there."""
        Path("exit.img").write_bytes(bytes.fromhex("b003 e6f4 ebfe"))
        ended = command("run", "exit.img", "--until", "serial:x")

        assert ended.status == 7
        assert ended.told == [
            (
                "emu: the guest ended itself, through the debug-exit port, with 3, "
                "and before that not met: serial:x"
            )
        ]

    def test_a_triple_fault(self, command: Command) -> None:
        """The registers are told, once each time, and the machine starts anew."""
        Path("fault.img").write_bytes(TRIPLE_FAULT)
        ended = command("run", "fault.img", "--until", "serial:7C00emu ROM: guest")

        assert ended.status == 0
        assert [line for line in ended.told if "triple fault" in line] == ["emu: triple fault"]
        assert re.match(r"EIP=00007c0[0-9a-f] EFL=[0-9a-f]{8} CR0=", ended.told[1])

    def test_a_triple_fault_without_reboot(self, command: Command) -> None:
        """Status 1."""
        Path("fault.img").write_bytes(TRIPLE_FAULT)
        ended = command("run", "fault.img", "-no-reboot")

        assert (ended.status, ended.told[0]) == (1, "emu: triple fault")


# lidt [cs:zero]; int3: with a table of no bytes, the fault cannot be delivered, nor that one's fault
TRIPLE_FAULT = bytes.fromhex("2e 0f 01 1e 07 7c cc 00 00 00 00 00 00")


class TestSaving:
    def test_save_and_restore(self, command: Command) -> None:
        """A sentence is finished by another run, which cannot tell."""
        first = command("run", "hello", "--until", "serial:mid", "--save", "s.emu")
        second = command("restore", "s.emu")

        assert first.guest + second.guest == golden("hello")

    def test_is_whole_or_not_there(self, command: Command, tmp_path: Path) -> None:
        """Nothing else is left in its folder."""
        (tmp_path / "saves").mkdir()
        command("run", "hello", "--save", "saves/s.emu")

        assert [file.name for file in (tmp_path / "saves").iterdir()] == ["s.emu"]

    def test_where_nothing_can_be_written(self, command: Command) -> None:
        """One line, status 1: the kernel's own folders take no files, whoever asks."""
        ended = command("run", "hello", "--save", "/proc/s.emu")

        assert (ended.status, ended.told) == (1, ["emu: /proc/s.emu: No such file or directory"])

    def test_verify_inspect_and_the_machine_agree(self, command: Command) -> None:
        """On the digest."""
        command("run", "hello", "--until", "serial:mid", "--save", "s.emu")
        verified = command("verify", "s.emu")
        inspected = command("inspect", "s.emu", "--json")

        with emu.load("s.emu") as vm:
            assert verified.shown == f"{vm.digest()}\n"
            assert json.loads(inspected.shown)["digest"] == vm.digest()

    def test_inspect_for_people(self, command: Command) -> None:
        """Sections and fields by name."""
        command("run", "hello", "--for", "1ms", "--save", "s.emu")
        ended = command("inspect", "s.emu")

        assert ended.status == 0
        assert "i8259" in ended.shown

    def test_diff(self, command: Command) -> None:
        """Status 0 where nothing differs, 1 where anything does."""
        command("run", "ticks", "--for", "5ms", "--save", "a.emu")
        command("run", "ticks", "--for", "5ms", "--save", "b.emu")
        command("run", "ticks", "--for", "30ms", "--save", "c.emu")

        assert command("diff", "a.emu", "b.emu").status == 0
        assert command("diff", "a.emu", "c.emu").status == 1

    def test_in_the_dialect_of_qemu(self, command: Command) -> None:
        """--dialect writes it, -incoming begins with it."""
        machine = ("hello", "-m", "1M")
        command("run", *machine, "--until", "serial:mid", "--save", "q", "--dialect", "qemu-7.2")
        ended = command("run", *machine, "-incoming", "q")

        assert ended.guest == golden("hello").partition(b"mid")[2]

    def test_a_save_that_is_refused_as_incoming(self, command: Command) -> None:
        """One line, status 1."""
        command("run", "hello", "-m", "1M", "--for", "1ms", "--save", "s.emu")
        ended = command("run", "hello", "-m", "2M", "-incoming", "s.emu")

        assert ended.status == 1
        assert len(ended.told) == 1
        assert "memory_bytes" in ended.told[0]


class TestOptionsOfARun:
    def test_a_recording_replays_in_another_process(self, command: Command) -> None:
        """The same end, told in one line."""
        command("run", "hello", "--record", "r.jsonl", "--save", "s.emu")
        replayed = processes.run("run", "hello", "--replay", "r.jsonl", "--save", "t.emu")
        digest = command("verify", "t.emu").shown.strip()

        assert (replayed.returncode, replayed.stdout) == (0, golden("hello"))
        assert replayed.stderr.decode() == f"emu: the replay ended as recorded: {digest}\n"
        assert command("diff", "s.emu", "t.emu").status == 0

    def test_a_restored_recording(self, command: Command) -> None:
        """What a restored machine does can be recorded, too."""
        command("run", "hello", "--until", "serial:mid", "--save", "s.emu")
        command("restore", "s.emu", "--record", "r.jsonl")

        assert command("restore", "s.emu", "--replay", "r.jsonl").status == 0
        assert command("run", "hello", "--replay", "r.jsonl").status == 1

    def test_trace(self, command: Command) -> None:
        """On standard error, and the guest does not notice."""
        command("run", "ticks", "--for", "15ms", "--save", "a.emu")
        traced = command(
            *("run", "ticks", "--for", "15ms", "--save", "b.emu"),
            *("--trace", "ports,interrupts,inputs"),
        )

        assert {line.split()[2] for line in traced.told} == {"IN", "OUT", "INT"}
        assert command("diff", "a.emu", "b.emu").status == 0

    @pytest.mark.parametrize(
        ("base", "shown"),
        [("2001-02-03T04:05:06", "0x1"), ("2001-02-03T04:05:06+00:00", "0x1"), ("now", "")],
    )
    def test_rtc_base(self, command: Command, base: str, shown: str) -> None:
        """Universal time, unless it says otherwise."""
        command("run", "hello", "--for", "1ms", "--rtc-base", base, "--save", "s.emu")

        with emu.load("s.emu") as vm:
            assert (vm.description.rtc_base_s == 981_173_106) is bool(shown)
            assert vm.description.rtc_base_s > 981_000_000

    def test_the_machine_that_is_asked_for(self, command: Command) -> None:
        """Board, processor, memory, ROM, boot order; with one dash or two."""
        rom = Path(emu.__file__).parents[1] / "firmware" / "images" / "emu.rom"
        command(
            *("run", "--machine", "isapc", "--cpu", "486", "-m", "3M", "--bios", str(rom)),
            *("-boot", "dc", "--for", "1ms", "--save", "s.emu", "--engine", "reference"),
        )

        with emu.load("s.emu") as vm:
            found = vm.description
            assert (found.board, found.cpu, found.boot) == ("isapc", "486", "dc")
            assert (found.memory_bytes, found.rom_bytes) == (3 << 20, rom.stat().st_size)

    def test_drives(self, command: Command) -> None:
        """Named, or by what the image looks like; the files stay as they are."""
        for letter in "fd":
            code = bytes.fromhex(f"baf803 b0{ord(letter):02x} ee faf4")  # MOV DX, 3F8h; say it; HLT
            Path(letter).write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))

        said = {
            words: command("run", *words.split(), "-m", "1M").guest[-1:]
            for words in ("f", "-fda f", "--hda d", "-fda f -hda d", "-fda f -disk d -boot ca")
        }

        assert [*said.values()] == [b"f", b"f", b"d", b"f", b"d"]

    def test_the_debug_console(self, command: Command) -> None:
        """An end of its own."""
        Path("debug.img").write_bytes(bytes.fromhex("b041 e6e9 faf4"))  # OUT E9h, 'A'
        command("run", "debug.img", "-debugcon", "file:debug")

        assert Path("debug").read_bytes().endswith(b"A")


class TestBadUsage:
    @pytest.mark.parametrize(
        ("words", "problem"),
        [
            ("", "the following arguments are required: COMMAND; see emu --help"),
            ("frob", "argument COMMAND: invalid choice: 'frob'"),
            ("run", "nothing to boot: name a file, or one of echo, hello"),
            ("run hello more", "unrecognized arguments: more; see emu --help"),
            ("run hello --frob", "unrecognized arguments: --frob"),
            ("run hello --unt serial:x", "unrecognized arguments: --unt"),
            ("run hello -seri none", "unrecognized arguments: -seri none"),
            ("run hello --for", "argument --for: expected one argument; see emu run --help"),
            ("run hello --for 2x", "time '2x': expected such as 2s"),
            ("run hello --until", "argument --until: expected one argument"),
            ("run hello --until x", "until 'x': expected serial:TEXT or clock:NS"),
            ("run hello --until serial:", "until serial: no text"),
            ("run hello --until clock:x", "time 'x': expected such as 2s"),
            ("run hello -M q", "no board 'q': there is isapc"),
            ("run hello -cpu q", "no processor 'q': there are 486"),
            ("run hello --engine q", "no engine 'q': there are auto"),
            ("run hello --pace q", "pace 'q': expected auto, on, off"),
            ("run hello --dialect q", "dialect 'q': expected emu, qemu-7.2"),
            ("run hello --trace q", "trace 'q': expected ports, interrupts, inputs"),
            ("run hello --rtc-base q", "rtc-base 'q': expected now or 2000-01-01T00:00:00"),
            ("run hello --rtc-base 1969-12-31", "rtc_base 1969-12-31 00:00:00+00:00: expected"),
            ("run hello -m q", "memory 'q': expected a size such as 16M or 1G"),
            ("run hello -m 0", "pc.ram: 0 bytes, expected"),
            ("run hello -m 64K", "65536 bytes of RAM, expected whole MiB"),
            ("run hello -m 4G", "pc.ram: 4294967296 bytes, expected"),
            ("run hello -m 99999999999G", "pc.ram: 107374182398926258176 bytes, expected"),
            ("run hello -boot q", "boot order 'q': no device 'q'"),
            ("run hello -hda {save}", "two images for one drive: this one is a disk, too"),
            ("run hello -serial q", "no such serial end: 'q', expected one of stdio, file:PATH"),
            ("run hello -debugcon q", "no such serial end: 'q', expected one of stdio"),
            ("run hello -serial stdio -debugcon stdio", "-serial and -debugcon cannot both be"),
            ("run hello --record a --replay b", "--record and --replay exclude each other"),
            ("run hello --save no/such", "no/such: there is no such folder"),
            ("run hello --save .", ".: is there, and is not a file"),
            ("run hello --save /dev/null", "/dev/null: is there, and is not a file"),
            ("run hello --record no/such", "no/such: there is no such folder"),
            ("run hello --record .", ".: is there, and is not a file"),
            ("restore", "the following arguments are required: FILE; see emu restore --help"),
            ("restore hello -m 4M", "unrecognized arguments: -m 4M"),
            ("restore {save} --engine q", "no engine 'q'"),
            ("verify", "the following arguments are required: FILE; see emu verify --help"),
            ("diff a", "the following arguments are required: B; see emu diff --help"),
        ],
    )
    def test_one_line_and_status_2(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        words: str,
        problem: str,
    ) -> None:
        """On standard error; nothing has run, and nothing is written."""
        monkeypatch.chdir(tmp_path)
        save = self.save(tmp_path / "there") if "{save}" in words else ""
        before = sorted(tmp_path.rglob("*"))
        status = main(words.format(save=save).split())
        shown, told = capsys.readouterr()

        assert (status, shown, len(told.splitlines())) == (2, "", 1)
        assert told.startswith(f"emu: {problem}")
        assert sorted(tmp_path.rglob("*")) == before

    @staticmethod
    def save(path: Path) -> Path:
        with emu.Machine("hello", memory="1M") as vm:
            vm.save(path)
        return path

    def test_an_empty_name(self, command: Command) -> None:
        """As from a variable that was forgotten."""
        assert command("run", "hello", "--save", "").status == 2
        assert command("run", "hello", "--record", "").status == 2


class TestTheHostFails:
    @pytest.mark.parametrize(
        ("words", "problem"),
        [
            ("run nosuch", "nosuch: no such file, and no guest of this name: there are echo"),
            ("run .", ".: a folder, not a guest"),
            ("run hello -bios nosuch", "nosuch: No such file or directory"),
            ("run hello -incoming nosuch", "nosuch: No such file or directory"),
            ("run hello --replay nosuch", "nosuch: No such file or directory"),
            ("run hello --replay noise", "noise, line 1: not a JSON object"),
            ("run hello --record /proc/r", "/proc/r: No such file or directory"),
            ("run hello -serial file:no/such", "no/such: No such file or directory"),
            ("run hello -debugcon file:no/such", "no/such: No such file or directory"),
            ("restore nosuch", "nosuch: No such file or directory"),
            ("restore noise", "field 'magic', offset 0x4: not a save, found 6e6f6973"),
            ("restore empty", "field 'magic'"),
            ("inspect nosuch", "nosuch: No such file or directory"),
            ("inspect noise", "field 'magic'"),
            ("verify noise", "field 'magic'"),
            ("diff noise nosuch", "nosuch: No such file or directory"),
            ("diff noise noise", "noise: field 'magic'"),
        ],
    )
    def test_one_line_and_status_1(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        words: str,
        problem: str,
    ) -> None:
        """A file that is missing, damaged or of another kind."""
        monkeypatch.chdir(tmp_path)
        Path("noise").write_bytes(b"noise" * 100)
        Path("empty").write_bytes(b"")
        status = main(
            [
                *words.split(),
                *(["-serial", "none"] if words.startswith("run") and "serial" not in words else []),
            ]
        )
        shown, told = capsys.readouterr()

        assert (status, shown, len(told.splitlines())) == (1, "", 1)
        assert told.startswith(f"emu: {problem}")


class TestHelp:
    @pytest.fixture(autouse=True)
    def _wide(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "80")

    @staticmethod
    def text(capsys: pytest.CaptureFixture[str], *words: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main([*words, "--help"])
        assert caught.value.code == 0
        return capsys.readouterr().out

    @pytest.mark.parametrize(
        "words",
        [
            (),
            *((name,) for name in ("run", "restore", "inspect", "verify", "diff", "info", "demo")),
        ],
    )
    def test_fits_a_terminal(self, capsys: pytest.CaptureFixture[str], words: tuple[str]) -> None:
        """And says what the command is for."""
        lines = self.text(capsys, *words).splitlines()

        assert max(map(len, lines)) <= 80
        assert lines[0].startswith(" ".join(("usage: emu", *words)))
        assert re.match(r"[A-Z].*", lines[2])

    def test_names_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        """With what it does."""
        found = re.findall(r"^    (\w+) +\S", self.text(capsys), re.MULTILINE)

        assert found == ["run", "restore", "inspect", "verify", "diff", "info", "demo"]

    def test_names_every_option_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        """QEMU's with one dash, ours with two; each with what it takes and what it does."""
        text = self.text(capsys, "run").partition("examples:")[0]
        found = re.findall(r"^  (-.*?)(?:  +\S|\n {10,}\S)", text, re.MULTILINE)

        assert found == [
            "-h, --help",
            "-M, -machine BOARD",
            "-cpu MODEL",
            "-m SIZE",
            "-fda, -floppy FILE",
            "-hda, -disk FILE",
            "-bios FILE",
            "-kernel FILE",
            "-initrd FILE",
            "-append TEXT",
            "--load FILE@ADDRESS",
            "--entry ADDRESS",
            "-boot ORDER",
            "--rtc-base TIME",
            "-incoming FILE",
            "--until WHAT",
            "--for TIME",
            "--save FILE",
            "--dialect NAME",
            "--record FILE",
            "--replay FILE",
            "--type TEXT",
            "--trace WHAT",
            "--pace WHEN",
            "--engine NAME",
            "-no-reboot",
            "-serial END",
            "-debugcon END",
        ]

    def test_its_examples_can_be_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        """No option in them has been renamed."""
        examples = re.findall(r"^  emu (.*?)(?:  +|$)", self.text(capsys, "run"), re.MULTILINE)

        assert len(examples) == 8
        for example in examples:
            assert command_line.parse(shlex.split(example)).command == "run"

    @pytest.mark.parametrize(
        "option",
        [
            "M",
            "machine",
            "cpu",
            "m",
            "bios",
            "kernel",
            "initrd",
            "append",
            "boot",
            "incoming",
            "serial",
            "debugcon",
        ],
    )
    def test_one_dash_or_two(self, option: str) -> None:
        """As QEMU takes them; and with a space or an equals sign."""
        said = [
            ["run", f"-{option}", "1"],
            ["run", f"--{option}", "1"],
            ["run", f"-{option}=1"],
            ["run", f"--{option}=1"],
        ]
        found = [vars(command_line.parse(words)) for words in said]

        assert found[1:] == found[:1] * 3
        with pytest.raises(ConfigError):
            command_line.parse(["run", f"-{option}"])

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        """One line."""
        with pytest.raises(SystemExit):
            main(["--version"])

        assert capsys.readouterr().out == f"emu {emu.__version__}\n"


class TestInfo:
    @pytest.mark.skipif(native.UNAVAILABLE is not None, reason="no native engine")
    def test_with_the_native_engine(self, command: Command) -> None:
        """It is taken, and why."""
        assert "engine     native: its self-check passes\nnative     yes\n" in command("info").shown

    def test_without(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        """What runs in its place, and why."""
        monkeypatch.setattr(native, "UNAVAILABLE", "not built")
        shown = command("info").shown

        assert (
            "engine     reference: no native engine: not built\nnative     no: not built\n" in shown
        )

    def test_what_was_found(self, command: Command) -> None:
        """Versions, the firmware, the guests."""
        ended = command("info")
        names = [line.split()[0] for line in ended.shown.splitlines()]

        assert names == ["emu", "engine", "native", "reference", "unicorn", "firmware", "guests"]
        assert ended.shown.endswith("primes, ring3, services, tasks, ticks\n")


class TestPipes:
    """`emu` as a process of its own, with no terminal."""

    def test_input_from_a_pipe(self) -> None:
        """All of it is heard, and at its end the run ends by itself."""
        ended = processes.run("run", "echo", "-m", "1M", input=b"hello\rworld\r")

        assert (ended.returncode, ended.stderr) == (0, b"")
        assert ended.stdout.endswith(b"> hello\r\n5: olleh\r\n> world\r\n5: dlrow\r\n> ")

    def test_a_conversation(self) -> None:
        """Another program can talk to the guest; its Ctrl-A is a byte like any other."""
        with processes.start(
            *("run", "echo", "-m", "1M"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            out = child.stdout.fileno()
            read_until(out, b"> ")
            child.stdin.write(b"hello\x01x\r")
            read_until(out, b"6: xolleh\r\n> ")
            child.stdin.write(b"\x04")
            read_until(out, b"bye\r\n")
            child.wait(PATIENCE_S)

        assert child.returncode == 1  # the debug exit, with 0

    def test_signals(self, tmp_path: Path) -> None:
        """SIGUSR1 saves and the guest goes on; SIGTERM saves and the status is the signal's."""
        with processes.start(
            *("run", "ticks", "-m", "1M", "--save", "s.emu", "--pace", "on"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=tmp_path,
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            out, errors = child.stdout.fileno(), child.stderr.fileno()
            read_until(out, b"tick 3\r")
            child.send_signal(signal.SIGUSR1)
            told = read_until(errors, b" ns\n")
            with emu.load(tmp_path / "s.emu") as vm:
                first_ns = vm.clock.now_ns
            read_until(out, b"tick 9\r")
            child.send_signal(signal.SIGTERM)
            told += read_until(errors, b" ns\n")
            child.wait(PATIENCE_S)

        with emu.load(tmp_path / "s.emu") as vm:
            last_ns = vm.clock.now_ns
        assert child.returncode == 128 + signal.SIGTERM
        assert told.decode().splitlines() == [
            f"emu: saved to s.emu at {ns} ns" for ns in (first_ns, last_ns)
        ]

    @pytest.mark.parametrize("words", [("run", "hello", "-m", "1M"), ("info",)])
    def test_a_full_disk(self, words: tuple[str]) -> None:
        """One line, status 1."""
        with Path("/dev/full").open("wb") as full:
            ended = processes.run(*words, stdout=full)

        assert ended.returncode == 1
        assert ended.stderr == b"emu: standard output: No space left on device\n"

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (("run", "hello", "-m", "1M"), b"emu: standard output: Broken pipe\n"),
            (("info",), b""),
        ],
    )
    def test_a_reader_that_has_gone(self, words: tuple[str], told: bytes) -> None:
        """A run says that it was cut short, what is only a text does not; status 1."""
        reading, writing = os.pipe()
        os.close(reading)
        ended = processes.run(*words, stdout=writing)
        os.close(writing)

        assert (ended.returncode, ended.stderr) == (1, told)

    def test_nobody_to_complain_to(self) -> None:
        """The status is what it is."""
        with Path("/dev/full").open("wb") as full:
            ended = processes.run("run", "nosuch", stderr=full)

        assert (ended.returncode, ended.stdout) == (1, b"")

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    def test_descriptors_that_are_not_there(self, tmp_path: Path, closed: str) -> None:
        """What is missing leads nowhere: the save does not become standard output."""
        words = ("run", "hello", "-m", "1M", "--save", str(tmp_path / "s.emu"))
        ended = subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}', "sh", *processes.command(*words)],
            env=processes.environment(),
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )

        assert (ended.returncode, ended.stderr) == (0, b"")
        assert ended.stdout == (b"" if ">&-" in closed.replace("2>&-", "") else golden("hello"))
        with emu.load(tmp_path / "s.emu") as vm:
            assert vm.digest().startswith("e1:")

    def test_keyboard_interrupt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C at any other command: no traceback, and the shell's status for it."""

        def interrupted() -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr("emu.cli._info", interrupted)

        assert main(["info"]) == 130
