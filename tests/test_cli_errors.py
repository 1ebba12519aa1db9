"""What goes wrong outside of the guest: one line, status 1 or 2, and nothing half written.

Each command is a process of its own, as a user has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import resource
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
from processes import PATIENCE_S, read_until

import emu
from emu.memory import MIB

FAILED, BAD_USAGE = 1, 2
SHORT = ("-m", "1M", "-serial", "none", "--for", "1ms")
LONG_NAME = "x" * 300


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the commands below are given."""
    monkeypatch.chdir(tmp_path)
    Path("odd").write_bytes(b"odd" * 333)
    Path("empty").write_bytes(b"")
    Path("large").write_bytes(bytes(600_000))
    Path("folder").mkdir()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole save."""
    path = tmp_path_factory.mktemp("saved") / "s.emu"
    with emu.Machine("ticks", memory="1M") as vm:
        vm.run(emu.clock(20_000_000))
        vm.save(path)
    return path


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A save of a machine whose 2 MiB of RAM are full: it is larger than they are."""
    path = tmp_path_factory.mktemp("saved") / "full.emu"
    with emu.Machine("hello", memory="2M") as vm:
        for start in range(0, 2 * MIB, 256):
            vm.memory.write(start, bytes(range(256)))
        vm.save(path)
    return path


def limited(which: int, most: int) -> Callable[[], None]:
    """For a new process: a limit of the host's."""
    return lambda: resource.setrlimit(which, (most, most))


def fails(*words: str, status: int = FAILED, **rest: Any) -> str:
    """Run a command that cannot be done: the one line that it says."""
    before = sorted(Path().rglob("*"))
    ended = processes.run(*words, **rest)
    told = ended.stderr.decode()

    assert (ended.returncode, ended.stdout or b"") == (status, b""), told
    assert told.startswith("emu: ")
    assert told.endswith("\n")
    assert told[:-1].isprintable(), "one line, and nothing that a terminal would obey"
    assert sorted(Path().rglob("*")) == before, "nothing is left behind"
    return told[len("emu: ") : -1]


class TestFiles:
    @pytest.mark.parametrize("command", ["restore", "inspect", "verify"])
    @pytest.mark.parametrize(
        ("file", "problem"),
        [
            ("nosuch", "nosuch: No such file or directory"),
            ("folder", "folder: Is a directory"),
            ("/proc/self/mem", "/proc/self/mem: Input/output error"),
            (LONG_NAME, f"{LONG_NAME}: File name too long"),
            ("odd/x", "odd/x: Not a directory"),
            ("odd", "field 'magic', offset 0x4: not a save, found 6f64646f, expected"),
            ("empty", "field 'magic', offset 0x0: the stream ends"),
            ("/dev/zero", "field 'magic', offset 0x4: not a save, found 00000000"),
        ],
    )
    def test_of_a_save(self, command: str, file: str, problem: str) -> None:
        assert fails(command, file).startswith(problem)

    @pytest.mark.parametrize(
        ("words", "status", "problem"),
        [
            ("nosuch", FAILED, "nosuch: no such file, and no guest of this name"),
            ("folder", FAILED, "folder: a folder, not a guest"),
            (LONG_NAME, FAILED, f"{LONG_NAME}: no such file"),
            ("/proc/self/mem", FAILED, "/proc/self/mem: Input/output error"),
            ("empty", BAD_USAGE, "empty: an empty file is no guest"),
            ("large", BAD_USAGE, "an image of 600000 bytes without a boot sector, 524288 at the"),
            ("/dev/zero", BAD_USAGE, "/dev/zero: larger than 67108864 bytes"),
            ("-bios nosuch", FAILED, "nosuch: No such file or directory"),
            ("-bios folder", FAILED, "folder: Is a directory"),
            ("-bios odd", BAD_USAGE, "a ROM of 999 bytes, expected a multiple of 4 KiB"),
            ("-bios empty", BAD_USAGE, "a ROM of 0 bytes"),
            ("-bios /dev/zero", BAD_USAGE, "/dev/zero: larger than 16777216 bytes"),
            ("-kernel nosuch", FAILED, "nosuch: No such file or directory"),
            ("-kernel folder", FAILED, "folder: Is a directory"),
            ("-kernel odd", BAD_USAGE, "odd: not a kernel"),
            ("-kernel empty", BAD_USAGE, "empty: not a kernel"),
            ("-kernel /dev/zero", BAD_USAGE, "/dev/zero: larger than"),
            ("hello -incoming folder", FAILED, "folder: Is a directory"),
            ("hello -incoming odd", FAILED, "field 'magic'"),
            ("hello --replay nosuch", FAILED, "nosuch: No such file or directory"),
            ("hello --replay folder", FAILED, "folder: Is a directory"),
            ("hello --replay odd", FAILED, "odd, line 1: not a JSON object"),
            ("hello --replay empty", FAILED, "empty: not a recording: it is empty"),
            ("hello --replay /dev/zero", BAD_USAGE, "/dev/zero: larger than"),
            ("hello -M nosuch", BAD_USAGE, "no board 'nosuch': there is isapc"),
            ("hello -cpu nosuch", BAD_USAGE, "no processor 'nosuch': there are"),
        ],
    )
    def test_of_a_run(self, words: str, status: int, problem: str) -> None:
        assert fails("run", *words.split(), *SHORT, status=status).startswith(problem)

    def test_one_that_may_not_be_read(self) -> None:
        """Root may read everything, and is somebody else here."""
        Path("secret").write_bytes(b"secret")
        Path("secret").chmod(0)
        if os.geteuid():
            told = fails("verify", "secret")
        else:
            code = (
                "import os, sys; from emu.cli import main; main(['verify', 'nosuch']);"  # imports
                "os.setegid(65534); os.seteuid(65534); sys.exit(main(['verify', 'secret']))"
            )
            ended = subprocess.run(
                [sys.executable, "-c", code],
                env=processes.environment(),
                capture_output=True,
                timeout=PATIENCE_S,
                check=False,
            )
            assert (ended.returncode, ended.stdout) == (FAILED, b"")
            told = ended.stderr.decode().splitlines()[1][len("emu: ") :]
        assert told == "secret: Permission denied"

    @pytest.mark.parametrize("which", [0, 1])
    def test_of_two_the_one_is_named_that_is_wrong(self, saved: Path, which: int) -> None:
        files = [str(saved), str(saved)]
        files[which] = "odd"

        assert fails("diff", *files).startswith("odd: field 'magic'")

    @pytest.mark.parametrize(
        ("name", "shown"),
        [("a\nb", "a\\nb"), ("\x1b[31m", "\\x1b[31m"), (os.fsdecode(b"\xff"), "\\udcff")],
    )
    def test_a_name_that_a_terminal_would_obey(self, name: str, shown: str) -> None:
        """Or that is two lines, or no text."""
        assert fails("verify", name) == f"{shown}: No such file or directory"
        assert fails("run", name, *SHORT).startswith(f"{shown}: no such file")
        assert fails("run", "hello", f"--{name}", status=BAD_USAGE).startswith(
            f"unrecognized arguments: --{shown}"
        )


class TestPlaces:
    @pytest.mark.parametrize(
        ("place", "status", "problem"),
        [
            ("nosuch/s", BAD_USAGE, "nosuch/s: there is no such folder"),
            ("odd/s", BAD_USAGE, "odd/s: there is no such folder"),
            ("folder", BAD_USAGE, "folder: is there, and is not a file"),
            ("/dev/full", BAD_USAGE, "/dev/full: is there, and is not a file"),
            (LONG_NAME, BAD_USAGE, f"{LONG_NAME}: File name too long"),
            ("", BAD_USAGE, ": is there, and is not a file"),
            ("/proc/s", FAILED, "/proc/s: No such file or directory"),
        ],
    )
    @pytest.mark.parametrize("option", ["--save", "--record"])
    def test_that_take_no_file(self, option: str, place: str, status: int, problem: str) -> None:
        assert fails("run", "hello", option, place, *SHORT, status=status) == problem

    def test_a_long_name_that_is_allowed(self) -> None:
        """The file beside it, in which it is written first, is allowed, too."""
        name = "n" * 255
        ended = processes.run("run", "hello", "--save", name, *SHORT)

        assert (ended.returncode, ended.stderr) == (0, b"")
        assert [path.name for path in Path().glob("n*")] == [name]

    def test_what_was_there_is_as_it_was(self, full: Path) -> None:
        """A full disk: a process that may write no more than 2 MiB to any file."""
        Path("there").write_bytes(b"there")
        words = ("restore", str(full), "-serial", "none", "--for", "1us", "--save", "there")
        limit = limited(resource.RLIMIT_FSIZE, 2 * MIB)

        assert fails(*words, preexec_fn=limit) == "there: File too large"
        assert Path("there").read_bytes() == b"there"

    def test_no_memory(self) -> None:
        """RAM is a file, too, as far as the host is concerned."""
        limit = limited(resource.RLIMIT_FSIZE, 2 * MIB)
        told = fails("run", "hello", "-m", "4M", "-serial", "none", preexec_fn=limit)

        assert told == "pc.ram: 4194304 bytes: File too large"

    def test_no_room_for_a_copy(self, saved: Path) -> None:
        """What comes through a pipe is copied, to be looked at twice."""
        limit = limited(resource.RLIMIT_FSIZE, 1000)
        told = fails("verify", "/dev/stdin", input=saved.read_bytes(), preexec_fn=limit)

        assert told == "copying the save: File too large"

    @pytest.mark.parametrize("end", ["-serial", "-debugcon"])
    @pytest.mark.parametrize(
        ("where", "status", "problem"),
        [
            ("file:/dev/full", FAILED, "/dev/full: No space left on device"),
            ("file:folder", FAILED, "folder: Is a directory"),
            ("file:nosuch/x", FAILED, "nosuch/x: No such file or directory"),
            ("file:", BAD_USAGE, "no such serial end: 'file:'"),
            (f"unix:{LONG_NAME}", FAILED, f"{LONG_NAME}: File name too long"),
            ("unix:nosuch/x", FAILED, "nosuch/x: No such file or directory"),
            ("tcp:127.0.0.1:99999", BAD_USAGE, "no such serial end: 'tcp:127.0.0.1:99999'"),
            ("tcp:300.0.0.1:1", FAILED, "tcp:300.0.0.1:1: "),
        ],
    )
    def test_for_the_guest_s_characters(
        self, end: str, where: str, status: int, problem: str
    ) -> None:
        Path("e9.img").write_bytes(bytes.fromhex("b041 e6e9 faf4"))  # OUT E9h, 'A'
        guest = "hello" if end == "-serial" else "e9.img"
        rest = () if end == "-serial" else ("-serial", "none")

        told = fails("run", guest, "-m", "1M", end, where, *rest, status=status)

        assert told.startswith(problem)

    @pytest.mark.parametrize(
        "words",
        ["--help", "run --help", "--version", "info", "inspect {}", "inspect --json {}"],
    )
    def test_for_what_is_shown(self, saved: Path, words: str) -> None:
        with Path("/dev/full").open("wb") as full_disk:
            told = fails(*words.format(saved).split(), stdout=full_disk)

        assert told == "standard output: No space left on device"

    def test_none_for_the_demonstration(self) -> None:
        limit = limited(resource.RLIMIT_FSIZE, 0)

        assert fails("demo", preexec_fn=limit).startswith("a folder for the demonstration: ")


class TestTheTerminalIsGone:
    @pytest.fixture
    def terminal(self) -> Iterator[list[int]]:
        """The two sides of one."""
        sides = list(pty.openpty())
        yield sides
        for descriptor in sides:
            with contextlib.suppress(OSError):  # a test has closed it
                os.close(descriptor)

    @staticmethod
    def start(slave: int, *words: str) -> processes.Child:
        """`emu run` with the terminal as its own, as a shell would start it."""
        return processes.start(
            *("run", "echo", "-m", "1M", *words),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    @pytest.mark.parametrize("save", [True, False])
    def test_it_hangs_up(self, terminal: list[int], save: bool) -> None:  # noqa: FBT001
        """Saved where --save says; the status is SIGHUP's; and it does not wait for anybody."""
        master, slave = terminal
        with self.start(slave, *(("--save", "s.emu") if save else ())) as child:
            os.close(slave)
            read_until(master, b"> ")
            os.close(master)
            status = child.wait(PATIENCE_S)

        assert status == 128 + signal.SIGHUP
        assert Path("s.emu").exists() == save
        if save:
            with emu.load("s.emu") as vm:
                assert vm.digest().startswith("e1:")

    def test_it_is_closed_and_nobody_says_so(self, terminal: list[int]) -> None:
        """Not the process's own terminal, so there is no signal: the input has ended."""
        master, slave = terminal
        with processes.start(
            *("run", "echo", "-m", "1M", "--save", "s.emu"),
            stdin=slave,
            stdout=slave,
            stderr=subprocess.PIPE,
        ) as child:
            os.close(slave)
            read_until(master, b"> ")
            os.close(master)
            _, told = child.communicate(timeout=PATIENCE_S)

        assert child.returncode == 0
        assert b"Traceback" not in told
        with emu.load("s.emu") as vm:
            assert vm.digest().startswith("e1:")

    @pytest.mark.parametrize("words", ["inspect {}", "inspect --json {}", "diff --json {} {}"])
    def test_whoever_reads_has_seen_enough(self, saved: Path, words: str) -> None:
        """As with ``| head``: nothing is said, and the status tells."""
        reading, writing = os.pipe()
        os.close(reading)
        ended = processes.run(*words.format(saved, saved).split(), stdout=writing)
        os.close(writing)

        assert (ended.returncode, ended.stderr) == (FAILED, b"")
