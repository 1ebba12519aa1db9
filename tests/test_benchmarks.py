"""The benchmarks' own code; how fast anything is, is nowhere asserted.

Each ROM is assembled for a few rounds and run on both our engines: it must print what its source
says that it computes, as computed here.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import guests_fetched
import pytest
from programs import require

import emu
from benchmarks import contest, measure, peers, rows, table
from benchmarks.__main__ import BAD_USAGE, DONE, FAILED, REPEAT, main, parser
from benchmarks.installation import environment, install
from benchmarks.measure import End
from benchmarks.peers import V86, Bochs, CannotBoot, Ours, Peer, Qemu
from benchmarks.results import Measured, Results, Sample, UnreadableResults
from benchmarks.rows import (
    OWN_ROMS,
    ROMS,
    ROWS,
    Boot,
    CannotRun,
    Console,
    Firmware,
    Kernel,
    Linux,
    OwnRom,
)
from emu import attrs
from emu.cpu import native
from emu.host.ends import Memory
from emu.machine import Machine
from emu.until import Reason

MASK = 0xFFFF_FFFF
ENGINES = [
    pytest.param(
        "native",
        marks=pytest.mark.skipif(
            native.UNAVAILABLE is not None, reason=f"no native engine: {native.UNAVAILABLE}"
        ),
    ),
    "reference",
]


# ==== what the ROMs compute ===============================================================


def randoms(seed: int, count: int) -> list[int]:
    """*count* numbers of `RANDOM` in rom.inc, from *seed* on."""
    numbers = []
    for _ in range(count):
        seed = (seed * 1664525 + 1013904223) & MASK
        numbers.append(seed)
    return numbers


def rotate_left(value: int, count: int = 1) -> int:
    return (value << count | value >> (32 - count)) & MASK


def folded(numbers: Sequence[int]) -> int:
    """What the ROMs' `.sum` loops make of an array."""
    total = 0
    for number in numbers:
        total = (rotate_left(total) + number) & MASK
    return total


def sieve(_rounds: int) -> int:
    limit = 100_000
    prime = bytearray([1]) * limit
    prime[:2] = bytes(2)
    for number in range(2, 317):
        if prime[number]:
            prime[number * number :: number] = bytes(len(range(number * number, limit, number)))
    return sum(number for number in range(limit) if prime[number]) & MASK


def crc(rounds: int) -> int:
    data = b"".join(number.to_bytes(4, "little") for number in randoms(1, 0x10000 // 4))
    return zlib.crc32(data * rounds)


def matrix(rounds: int) -> int:
    order = 64
    numbers = [number >> 16 for number in randoms(1, order * order)]
    left = [numbers[start : start + order] for start in range(0, order * order, order)]
    product = left
    for _ in range(rounds):
        columns = list(zip(*product, strict=True))
        product = [
            [
                (sum(map(int.__mul__, row, column)) + row[at]) & MASK
                for at, column in enumerate(columns)
            ]
            for row in left
        ]
    return folded([element for row in product for element in row])


def sort(rounds: int) -> int:
    count = 8192
    return folded(sorted(randoms(1, rounds * count)[-count:]))


def stores(rounds: int) -> int:
    start, end = 0x100000, 0x200000
    total, memory = 1, []
    for left in range(rounds, 0, -1):
        memory = []
        for address in range(start, end, 16):
            low = total & 0xFFFF
            memory += [
                (total + address) & MASK,
                left,
                low | (left & 0xFFFF) << 16,
                (low & 0xFF) * 0x101 | low << 16,
            ]
            total = (total + address) & MASK
    return folded(memory)


def strings(rounds: int) -> int:
    """The copy always equals its source, and its last byte is the first FFh in it."""
    assert rounds < 0xFF
    return rounds * (0x100000 + 0x10000 + 0x10000) & MASK


def calls(rounds: int) -> int:
    before, number = 0, 1
    for _ in range(24 - 1):
        before, number = number, before + number
    return number * rounds & MASK


def faults(rounds: int) -> int:
    """An address and an error code a fault: a write to a page that is absent, from level 0: 2."""
    window = range(0x400000, 0x800000, 0x1000)
    return (sum(window) + 2 * len(window)) * rounds + window[-1] & MASK


def system_calls(rounds: int) -> int:
    return sum(randoms(argument, 1)[0] for argument in range(1, rounds + 1)) & MASK


def ports(rounds: int) -> int:
    """What is written to a register of eight bits is read back; LSR says that COM1 is idle."""
    total = 0
    for left in range(rounds, 0, -1):
        total = rotate_left((total + left) & MASK)  # AL is what was written
        total = (total + (left & ~0xFF | 0x60)) & MASK
        total = total * 2 & MASK
    return total


def busy(rounds: int) -> int:
    return randoms(1, rounds * 100_000)[-1]


def idle(rounds: int) -> int:
    return rounds


X87 = 0x00E7_D73A  # QEMU 7.2's: Python has no numbers of 80 bits


def x87(_rounds: int) -> int:
    return X87


COMPUTED: dict[str, Callable[[int], int]] = {
    "sieve": sieve,
    "crc": crc,
    "matrix": matrix,
    "sort": sort,
    "x87": x87,
    "stores": stores,
    "strings": strings,
    "calls": calls,
    "faults": faults,
    "int80": system_calls,
    "sysenter": system_calls,
    "ports": ports,
    "busy": busy,
    "idle": idle,
}


def assembled(row: OwnRom, folder: Path) -> Path:
    """The ROM for as few rounds as make a result; the test is skipped where there is no nasm."""
    require("nasm")
    return row.assemble(folder, row.fewest)


class TestRoms:
    def test_each_is_a_row_and_each_row_has_what_it_computes(self) -> None:
        names = [row.name for row in OWN_ROMS]

        assert sorted(names) == sorted(path.stem for path in ROMS.glob("*.asm"))
        assert list(COMPUTED) == names

    def test_its_rounds_are_a_number_of_32_bits(self) -> None:
        assert all(row.fewest <= row.rounds < 1 << 32 for row in OWN_ROMS)

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("row", OWN_ROMS, ids=lambda row: row.name)
    def test_it_prints_what_it_computes_and_ends(
        self, row: OwnRom, engine: str, tmp_path: Path
    ) -> None:
        end = Memory()
        with Machine(bios=assembled(row, tmp_path), engine=engine, serial=end) as vm:
            stopped = vm.run(emu.after("10s"))

        assert bytes(end.sent) == f"{COMPUTED[row.name](row.fewest):08x}\n".encode()
        assert (stopped.reason, stopped.value) == (Reason.EXIT, 0)


class TestTheOtherRows:
    def test_names_are_unique(self) -> None:
        names = [row.name for row in ROWS]

        assert len(set(names)) == len(names)

    def test_firmware_that_is_not_there_is_named_with_what_fetches_it(self, tmp_path: Path) -> None:
        row = Firmware("bios", "", Boot(tmp_path / "bios.bin"), fetch="python fetch.py")

        with pytest.raises(CannotRun, match=r"^bios.bin is not there: python fetch.py fetches it$"):
            row.prepare(tmp_path)

    def test_a_kernel_that_is_not_there_is_named_with_what_fetches_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rows, "LINUX", tmp_path)

        with pytest.raises(CannotRun, match=r"^vmlinuz is not there: python tests/guests/fetch.py"):
            Linux("linux", "").prepare(tmp_path)

    def test_a_job_of_Linux_is_measured_from_its_begin_to_its_end(self, tmp_path: Path) -> None:
        """And its kernel is told which."""
        guests_fetched.path("linux-686/vmlinuz")
        guests_fetched.path("busybox/busybox")

        boot = Linux("sort", "", job="sort").prepare(tmp_path)

        assert (boot.since, boot.until) == (b"job sort begins\r\n", b"job sort ends\r\n")
        assert boot.kernel is not None
        assert boot.kernel.append.endswith(" job=sort")
        assert boot.kernel.initrd.read_bytes().startswith(b"070701")

    def test_without_nasm_a_row_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")

        with pytest.raises(CannotRun, match=r"^nasm is not installed"):
            OWN_ROMS[0].prepare(tmp_path)


# ==== running a child =====================================================================


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


class TestMeasure:
    def test_what_a_child_printed_until_it_ended(self, tmp_path: Path) -> None:
        done = measure.run(python("print('a'); print('b')"), tmp_path)

        assert (done.output, done.end) == (b"a\nb\n", End.EXIT)

    def test_the_last_line_of_its_standard_error(self, tmp_path: Path) -> None:
        done = measure.run(python("raise SystemExit('one\\ntwo\\n')"), tmp_path)

        assert done.complaint == "two"

    def test_a_child_is_over_when_it_has_printed_the_text(self, tmp_path: Path) -> None:
        """However much came in one piece with it."""
        script = "import signal; print('abcdef', flush=True); signal.pause()"
        done = measure.run(python(script), tmp_path, until=b"cd")

        assert (done.output, done.end) == (b"abcd", End.SEEN)
        assert done.wall_s < 60

    def test_a_child_that_ends_without_the_text(self, tmp_path: Path) -> None:
        done = measure.run(python("print('ab')"), tmp_path, until=b"cd")

        assert (done.output, done.end) == (b"ab\n", End.EXIT)

    def test_a_child_that_takes_too_long(self, tmp_path: Path) -> None:
        done = measure.run(python("import signal; signal.pause()"), tmp_path, deadline_s=0.2)

        assert done.end is End.LATE

    def test_what_is_measured_begins_with_a_text(self, tmp_path: Path) -> None:
        """Its output, and its CPU seconds: not those that it took before, nor those behind the end."""
        script = (
            "import signal, time\n"
            "def work(until):\n"
            "    while time.process_time() < until: pass\n"
            "work(1); print('one begins two', flush=True)\n"
            "work(1.5); print('three ends four', flush=True)\n"
            "signal.pause()\n"
        )
        done = measure.run(python(script), tmp_path, until=b"ends", since=b"begins")

        assert (done.output, done.end) == (b" two\nthree ends", End.SEEN)
        assert 0.4 < done.cpu_s < 0.7

    def test_a_child_in_which_that_never_begins(self, tmp_path: Path) -> None:
        done = measure.run(python("print('ab')"), tmp_path, until=b"cd", since=b"ef")

        assert (done.output, done.end) == (b"ab\n", End.EXIT)

    def test_its_CPU_seconds_are_what_it_says_itself(self, tmp_path: Path) -> None:
        """All its threads', and not those that it slept."""
        script = (
            "import threading, time\n"
            "def work():\n"
            "    while time.process_time() < 0.4: pass\n"
            "threads = [threading.Thread(target=work) for _ in range(2)]\n"
            "for each in threads: each.start()\n"
            "for each in threads: each.join()\n"
            "time.sleep(0.5); print(time.process_time())\n"
        )  # that it sleeps, and is not charged for it, is what is tested
        done = measure.run(python(script), tmp_path)

        assert float(done.output) <= done.cpu_s <= float(done.output) + 0.2
        assert done.wall_s >= 0.5


# ==== a row ===============================================================================


@attrs.frozen
class Scripted:
    """A peer that prints what it is told to."""

    name: str
    printed: str
    exits: bool = True
    lacks: str = ""
    version: str = "1"

    def command(self, boot: Boot) -> list[str]:  # noqa: ARG002 - whatever it boots
        if self.lacks:
            raise CannotBoot(self.lacks)
        then = "" if self.exits else "; sys.stdout.flush(); signal.pause()"
        return python(f"import signal, sys; sys.stdout.write({self.printed!r}){then}")


@attrs.frozen
class Anything:
    """A row that any peer can run."""

    name: str = "row"
    what: str = "anything"
    rounds: int = 7
    until: bytes | None = None
    since: bytes | None = None

    def prepare(self, folder: Path) -> Boot:
        return Boot(folder / "none", since=self.since, until=self.until)


class TestContest:
    def told(self, _line: str) -> None:
        """Of no interest here."""

    def measured(
        self, *taking_part: Scripted, until: bytes | None = None, since: bytes | None = None
    ) -> Measured:
        row = Anything(until=until, since=since)
        return contest.measure(row, taking_part, 2, Path(), self.told)

    def test_the_peers_take_turns(self) -> None:
        lines: list[str] = []
        both = (Scripted("a", "0000002a\n"), Scripted("b", "0000002a\n"))
        contest.measure(Anything(), both, 2, Path(), lines.append)

        assert [line.split()[1:3] for line in lines] == [
            ["1/2", "a"],
            ["1/2", "b"],
            ["2/2", "a"],
            ["2/2", "b"],
        ]

    def test_each_peer_has_a_sample_a_turn(self) -> None:
        row = self.measured(Scripted("a", "0000002a\n"), Scripted("b", "0000002a\n"))

        assert {name: len(samples) for name, samples in row.samples.items()} == {"a": 2, "b": 2}
        assert (row.result, row.problem, row.rounds) == ("0000002a\n", "", 7)

    def test_different_results_are_an_error(self) -> None:
        row = self.measured(Scripted("a", "0000002a\n"), Scripted("b", "0000002b\n"))

        assert row.problem == "b printed b'0000002b\\n', not b'0000002a\\n'"
        assert not row.samples

    def test_a_peer_that_prints_no_result_is_an_error(self) -> None:
        assert self.measured(Scripted("a", "what?")).problem == "a printed b'what?': "

    def test_a_text_that_ends_a_run_is_its_result(self) -> None:
        row = self.measured(Scripted("a", "x: ready\n"), Scripted("b", "ready"), until=b"ready")

        assert (row.result, row.problem) == ("ready", "")

    def test_what_a_job_prints_is_its_result(self) -> None:
        """From where it begins; and all peers must agree on it."""
        one, same = Scripted("a", "1: begin 42 end"), Scripted("b", "2: begin 42 end 3")
        other = Scripted("c", "1: begin 43 end")

        assert self.measured(one, same, since=b"begin", until=b"end").result == " 42 end"
        row = self.measured(one, other, since=b"begin", until=b"end")
        assert row.problem == "c printed b' 43 end', not b' 42 end'"

    def test_a_text_that_never_comes_is_an_error(self) -> None:
        row = self.measured(Scripted("a", "0000002a\n"), until=b"ready")

        assert row.problem == "a printed b'0000002a\\n': "

    def test_a_peer_that_no_guest_can_end_is_over_when_its_result_is_printed(self) -> None:
        row = self.measured(Scripted("a", "0000002a\n"), Scripted("b", "0000002a\n", exits=False))

        assert (row.result, row.problem) == ("0000002a\n", "")
        assert all(sample.wall_s < 600 for sample in row.samples["b"])

    def test_its_result_must_be_that_of_the_others(self) -> None:
        row = self.measured(Scripted("a", "0000002a\n"), Scripted("b", "0000002b\n", exits=False))

        assert row.problem == "b printed b'0000002b\\n', not b'0000002a\\n'"

    def test_and_a_result(self) -> None:
        row = self.measured(Scripted("a", "panic!\n", exits=False))

        assert row.problem == "a printed b'panic!\\n': "

    def test_a_text_ends_it_as_any_other(self) -> None:
        row = self.measured(Scripted("a", "x:\nready", exits=False), until=b"ready")

        assert (row.result, row.problem) == ("ready", "")

    def test_a_peer_that_cannot_boot_so_is_left_out_and_the_row_is_not(self) -> None:
        row = self.measured(Scripted("a", "", lacks="no disk"), Scripted("b", "0000002a\n"))

        assert (row.result, row.problem) == ("0000002a\n", "")
        assert row.left_out == {"a": "no disk"}
        assert list(row.samples) == ["b"]


class TestPeers:
    ROM = Boot(Path("a.rom"))
    BOCHS = Bochs("bochs", "1", "bochs-bin", "term")
    V86 = V86("v86", "1", "node", Path("modules/v86"))

    def test_ours_boots_the_ROM_of_a_row(self) -> None:
        command = Ours("emu", "1", Path("emu")).command(self.ROM)

        assert command == [
            "emu",
            "run",
            "-m",
            "16M",
            "-bios",
            "a.rom",
            "-serial",
            "stdio",
        ]

    def test_ours_boots_an_image_as_a_user_does(self) -> None:
        command = Ours("emu", "1", Path("emu")).command(Boot(Path("a.rom"), image=Path("a.bin")))

        assert command == ["emu", "run", "-m", "16M", "a.bin", "-serial", "stdio"]

    def test_both_boot_a_kernel_in_the_machine_that_it_needs(self) -> None:
        kernel = Kernel(Path("k"), Path("i"), "words of it", "coreduo", 64)

        for peer, cpu, memory in (
            (Ours("emu", "1", Path("emu")), "coreduo", "64M"),
            (Qemu("qemu-tcg", "1", "qemu"), "coreduo,-apic", "64"),
        ):
            command = peer.command(Boot(kernel=kernel))
            told = dict(itertools.pairwise(command))
            assert [told[each] for each in ("-kernel", "-initrd", "-append")] == [
                "k",
                "i",
                "words of it",
            ]
            assert (told["-cpu"], told["-m"]) == (cpu, memory)
            assert "-bios" not in command

    def test_the_others_have_no_way_to_boot_a_kernel(self) -> None:
        boot = Boot(kernel=Kernel(Path("k"), Path("i"), "", "coreduo", 64))

        for peer in (Bochs("bochs", "", "bochs", "term"), V86("v86", "", "node", Path("v86"))):
            with pytest.raises(CannotBoot, match="no way to enter a kernel"):
                peer.command(boot)

    def test_a_peer_of_ours_is_given_the_clock_it_is_named_for(self) -> None:
        command = Qemu("qemu-icount", "1", "qemu", ("-icount", "shift=0")).command(self.ROM)

        assert command[command.index("-accel") :][:4] == ["-accel", "tcg", "-icount", "shift=0"]

    @pytest.mark.parametrize("console", list(Console))
    def test_both_print_the_same_console_of_a_guest(self, console: Console) -> None:
        boot = Boot(Path("a.rom"), console=console)
        wanted = {Console.SERIAL: "-serial", Console.DEBUG: "-debugcon"}[console]

        for peer in (Ours("emu", "1", Path("emu")), Qemu("qemu-tcg", "1", "qemu")):
            command = peer.command(boot)
            assert command[command.index("stdio") - 1] == wanted

    def test_bochs_boots_the_ROM_of_a_row(self) -> None:
        """Through a shell, of which nothing is left when it runs."""
        shell, command = self.BOCHS.command(self.ROM)[:4], self.BOCHS.command(self.ROM)[4:]

        assert shell[:2] == ["sh", "-c"]
        assert 'exec "$@"' in shell[2]
        assert command[:4] == ["bochs-bin", "-q", "-f", "/dev/null"]
        assert {"display_library: term", "megs: 16", "romimage: file=a.rom"} <= set(command)

    def test_what_bochs_says_itself_is_not_what_the_guest_prints(self, tmp_path: Path) -> None:
        """And it is told to go on, should it wait for that."""
        program = script(
            tmp_path / "bochs-bin", "echo noise; read told; echo $told >/dev/fd/3; echo more noise"
        )
        command = Bochs("bochs", "1", str(program), "term").command(self.ROM)

        assert measure.run(command, tmp_path).output == b"continue\n"

    def test_v86_boots_the_ROM_of_a_row(self) -> None:
        command = self.V86.command(self.ROM)

        assert command == ["node", str(V86.DRIVER), "modules/v86", "a.rom", "16"]
        assert V86.DRIVER.exists()

    @pytest.mark.parametrize("peer", [BOCHS, V86], ids=lambda peer: str(peer.name))
    @pytest.mark.parametrize(
        ("boot", "lack"),
        [
            (Boot(Path("a.rom"), image=Path("a.bin")), "no fw_cfg to load an image from"),
            (Boot(Path("a.rom"), console=Console.DEBUG), "no debug console"),
        ],
    )
    def test_they_boot_nothing_else(self, peer: Peer, boot: Boot, lack: str) -> None:
        with pytest.raises(CannotBoot, match=f"^{lack}$"):
            peer.command(boot)

    def test_ours_is_always_there_and_first(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", "")

        assert [peer.name for peer in peers.find(tmp_path / "installed")] == ["emu"]

    def test_ours_starts_as_it_does_for_a_user(self, tmp_path: Path) -> None:
        """It is this checkout, in a Python that nothing else was installed in."""
        program = install(tmp_path / "installed")
        python = program.parent / "python"
        script = "import emu, sys; print(emu.__file__, '_distutils_hack' in sys.modules)"
        told = subprocess.run(
            [python, "-c", script], env=environment(), capture_output=True, text=True, check=True
        )

        assert told.stdout.split() == [emu.__file__, "False"]

    def test_nothing_that_Python_is_told_here_changes_a_run(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

        assert "PYTHONDONTWRITEBYTECODE" not in environment()
        assert environment()["PATH"] == os.environ["PATH"]


HELP = "echo '  Bochs x86 Emulator 9'; echo '  -rc filename    execute debugger commands'"


def script(path: Path, text: str) -> Path:
    """A program at *path*: the shell's *text*."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


class TestWhatIsInstalled:
    """Programs as these find them; those that are really here have their own tests below."""

    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The only folder of programs."""
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("NODE_PATH", raising=False)
        return tmp_path

    def package(self, folder: Path) -> Path:
        """The npm package v86, in a *folder* of packages."""
        package = folder / "v86"
        package.mkdir(parents=True)
        (package / "package.json").write_text('{"version": "0.9"}')
        return package

    def test_there_is_none_without_a_program(self) -> None:
        assert (Bochs.find(), V86.find()) == (None, None)

    @pytest.mark.parametrize("display", ["nogui", "term"])
    def test_bochs_with_a_display_that_needs_no_screen(self, here: Path, display: str) -> None:
        program = script(
            here / "bochs-bin",
            f'case "$*" in --help) {HELP};; *"display_library: {display}"*) ;; *) exit 1;; esac',
        )

        assert Bochs.find() == Bochs(
            "bochs", "Bochs x86 Emulator 9 with its debugger", str(program), display
        )

    def test_bochs_by_its_other_name_and_without_a_debugger(self, here: Path) -> None:
        program = script(here / "bochs", "echo 'Bochs x86 Emulator 9'")

        assert Bochs.find() == Bochs("bochs", "Bochs x86 Emulator 9", str(program), "nogui")

    def test_bochs_that_needs_a_screen_is_none(self, here: Path) -> None:
        script(here / "bochs-bin", "exit 1")

        assert Bochs.find() is None

    def test_v86_where_NODE_PATH_says(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        node = script(here / "node", "echo v20")
        package = self.package(here / "second")
        monkeypatch.setenv("NODE_PATH", os.pathsep.join([str(here / "first"), str(package.parent)]))

        assert V86.find() == V86("v86", "0.9, node v20", str(node), package)

    def test_v86_where_npm_installs_for_all(self, here: Path) -> None:
        node = script(here / "node", "echo v20")
        script(here / "npm", f"echo {here}/all")
        package = self.package(here / "all")

        assert V86.find() == V86("v86", "0.9, node v20", str(node), package)

    def test_node_alone_is_none(self, here: Path) -> None:
        script(here / "node", "echo v20")
        script(here / "npm", f"echo {here}/all")

        assert V86.find() is None


@pytest.fixture(scope="module", params=[Bochs, V86], ids=["bochs", "v86"])
def peer(request: pytest.FixtureRequest) -> Peer:
    """One that is really here."""
    kind: type[Bochs | V86] = request.param
    found = kind.find()
    if found is None:
        pytest.skip(f"{kind.__name__} is not installed: `python -m benchmarks --help` says how")
    return found


class TestTheRealOnes:
    """Each computes what ours do, from the same ROMs."""

    @pytest.mark.parametrize("row", OWN_ROMS, ids=lambda row: row.name)
    def test_it_prints_what_a_ROM_computes(self, row: OwnRom, peer: Peer, tmp_path: Path) -> None:
        require("nasm")
        shortest = attrs.evolve(row, rounds=row.fewest)
        done = contest.measure(shortest, [peer], 1, tmp_path, str)

        assert (done.problem, done.left_out) == ("", {})
        assert done.result == f"{COMPUTED[row.name](row.fewest):08x}\n"


# ==== the table and the file ==============================================================


def samples(*cpu_s: float) -> list[Sample]:
    return [Sample(each, each + 1) for each in cpu_s]


FOUND = Results(
    date="2026-01-31T12:00:00+00:00",
    machine="a machine",
    versions={"emu": "1", "qemu": "7"},
    rows=[
        Measured(
            "a", "first", 10, "0000002a\n", "", {"emu": samples(3, 9, 1.5), "qemu": samples(2)}
        ),
        Measured("b", "second row", 1, problem="qemu is ill"),
        Measured(
            "c", "third", 1, "x", samples={"emu": samples(0.5)}, left_out={"qemu": "no such drive"}
        ),
    ],
)


class TestMedian:
    def test_it_is_the_middle_one(self) -> None:
        assert FOUND.rows[0].median_s("emu") == 3

    def test_of_an_even_number_it_is_between_the_two(self) -> None:
        assert Measured("a", "", 1, samples={"emu": samples(1, 4, 2, 30)}).median_s("emu") == 3

    def test_there_is_none_without_a_sample(self) -> None:
        assert FOUND.rows[1].median_s("emu") is None


class TestTable:
    def test_a_row_a_guest_with_ours_divided_by_theirs(self) -> None:
        assert table.render(FOUND).splitlines() == [
            "|            |    emu |   qemu | ratio |",
            "| ---------- | -----: | -----: | ----: |",
            "| first      | 3.00 s | 2.00 s |  1.50 |",
            "| second row |      - |      - |     - |",
            "| third      | 0.50 s |      - |     - |",
            "",
            "b: qemu is ill",
            "c: qemu has no such drive",
        ]

    def test_what_ours_took_then_and_now_divided_by_then(self) -> None:
        then = attrs.evolve(FOUND, rows=[attrs.evolve(FOUND.rows[0], samples={"emu": samples(6)})])

        assert table.render(FOUND, then).splitlines()[:4] == [
            "|            |    emu |   qemu | ratio | emu then | ratio |",
            "| ---------- | -----: | -----: | ----: | -------: | ----: |",
            "| first      | 3.00 s | 2.00 s |  1.50 |   6.00 s |  0.50 |",
            "| second row |      - |      - |     - |        - |     - |",
        ]

    def test_other_work_is_not_compared(self) -> None:
        then = attrs.evolve(FOUND, rows=[attrs.evolve(FOUND.rows[0], rounds=11)])

        assert table.render(FOUND, then).splitlines()[2].endswith("|        - |     - |")


class TestFile:
    def test_what_is_written_is_read(self) -> None:
        assert Results.from_json(FOUND.to_json()) == FOUND

    def test_a_file_from_when_no_peer_was_left_out_is_read(self) -> None:
        kept = json.loads(FOUND.to_json())
        del kept["rows"][0]["left_out"]

        assert Results.from_json(json.dumps(kept)) == FOUND

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{}]}', '{"rows": 1}', "null"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(UnreadableResults, match=r"^not the results of a run"):
            Results.from_json(text)


# ==== the command =========================================================================


class TestCommand:
    def test_its_help_says_how_the_others_are_installed_and_what_rows_there_are(self) -> None:
        told = parser().format_help()

        assert "apt install bochs bochs-term" in told
        assert "npm install -g v86" in told
        assert all(row.name in told for row in ROWS)

    def test_five_runs_of_each_unless_told(self) -> None:
        assert parser().parse_args([]).repeat == REPEAT == 5

    @pytest.mark.parametrize("repeat", ["0", "-1", "many"])
    def test_a_repeat_that_is_no_count_is_bad_usage(self, repeat: str) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["--repeat", repeat])

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--rows", "sieve,siege"], "benchmarks: no row 'siege': there are sieve, crc, "),
            (["--peers", "emus"], "benchmarks: no peer 'emus': there are emu"),
            (["--compare", "no/such.json"], "benchmarks: no/such.json: [Errno 2]"),
        ],
    )
    def test_what_it_does_not_know_is_bad_usage(
        self, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(arguments) == BAD_USAGE
        assert capsys.readouterr().err.startswith(complaint)

    def test_it_measures_prints_and_keeps(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Then it compares with what it has kept."""
        file = tmp_path / "kept.json"
        chosen = ["--rows", "start", "--peers", "emu", "--repeat", "2"]

        assert main([*chosen, "--output", str(file)]) == DONE
        assert "| start to the first serial byte | " in capsys.readouterr().out
        kept = Results.from_json(file.read_text())
        assert [len(row.samples["emu"]) for row in kept.rows] == [2]
        assert "engine" in kept.versions["emu"]

        assert main([*chosen, "--compare", str(file)]) == DONE
        assert "emu then" in capsys.readouterr().out

    def test_a_row_that_could_not_be_measured_is_failure(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("PATH", "")

        assert main(["--rows", "sieve", "--repeat", "1"]) == FAILED
        assert "sieve: nasm is not installed" in capsys.readouterr().out
