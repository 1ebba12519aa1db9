"""Long work shows how far it has come: on a terminal, after a moment, and not for ever."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import processes
import pytest
from processes import PATIENCE_S, read_until

import emu
from emu import attrs
from emu.memory import MIB
from emu.tools import progress
from emu.tools.progress import Line

SHOWN = re.compile(rb"\r([^\r\x1b]+)\x1b\[K")
ERASED = b"\r\x1b[K"

# `emu`, for which a moment is no time at all; and with HOLD it stops at each line it shows, until
# a byte comes.
HOLD = """
class Held(progress.Line):
    def tell(self, done):
        super().tell(done)
        os.read(0, 1)
progress.Line = Held
"""
AT_ONCE = """
import os, sys
from emu.cli import main
from emu.tools import progress
progress.MOMENT_S, progress.AGAIN_S = {moment_s}, 0
{hold}
sys.exit(main(sys.argv[1:]))
"""


@attrs.define(eq=False)
class Terminal:
    """A terminal, and all that is on it."""

    master: int
    slave: int

    def rest(self) -> bytes:
        """What has been written, when all who could have ended."""
        os.close(self.slave)
        seen = b""
        with contextlib.suppress(OSError):  # EIO: the end
            while data := os.read(self.master, 65536):
                seen += data
        return seen


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    master, slave = pty.openpty()
    yield Terminal(master, slave)
    for descriptor in (master, slave):
        with contextlib.suppress(OSError):
            os.close(descriptor)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with emu.Machine("hello", memory="1M") as vm:
        vm.run(emu.clock(5_000_000))
        vm.save("s.emu")


def start(
    stderr: int, *words: str, moment_s: float = 0, hold: bool = False, stdin: int | None = None
) -> processes.Child:
    code = AT_ONCE.format(moment_s=moment_s, hold=HOLD if hold else "")
    return processes.Child(
        [sys.executable, "-c", code, *words],
        env=processes.environment(),
        stdin=subprocess.PIPE if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


class TestTheLine:
    """By a clock of the test's."""

    @pytest.fixture
    def line(self) -> Line:
        self.now_s = 100.0
        return Line("verifying x", 200 * MIB, host_s=lambda: self.now_s)

    def test_comes_after_a_moment(self, line: Line, capsys: pytest.CaptureFixture[str]) -> None:
        for self.now_s in (100.0, 100.3, 100.69):
            line.tell(MIB)
        assert capsys.readouterr().err == ""

        self.now_s = 100.71
        line.tell(100 * MIB)
        assert capsys.readouterr().err == "\rverifying x: 50 %\x1b[K"

    def test_changes_not_too_often(self, line: Line, capsys: pytest.CaptureFixture[str]) -> None:
        for self.now_s in (101.0, 101.05, 101.2):
            line.tell(int((self.now_s - 100) * 10) * MIB)

        assert capsys.readouterr().err == "\rverifying x: 5 %\x1b[K\rverifying x: 6 %\x1b[K"

    def test_is_erased(self, line: Line, capsys: pytest.CaptureFixture[str]) -> None:
        """Once, and only where it is there."""
        line.erase()
        self.now_s = 101.0
        line.tell(MIB)
        capsys.readouterr()
        line.erase()
        line.erase()

        assert capsys.readouterr().err == "\r\x1b[K"

    def test_without_a_total(self, capsys: pytest.CaptureFixture[str]) -> None:
        """As much as has been done."""
        now_s = iter((100.0, 101.0))
        Line("saving x", host_s=lambda: next(now_s)).tell(1234 * MIB)

        assert capsys.readouterr().err == "\rsaving x: 1,234 MiB\x1b[K"

    def test_more_than_all_is_all(self, line: Line, capsys: pytest.CaptureFixture[str]) -> None:
        """A file that grows."""
        self.now_s = 101.0
        line.tell(300 * MIB)

        assert "100 %" in capsys.readouterr().err

    def test_is_one_line(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever it is about: as wide as the terminal at most, and no control characters."""
        monkeypatch.setattr(progress, "_columns", lambda: 40)
        now_s = iter((100.0, 101.0))
        Line("saving a\nb\x1b[31m" + "x" * 100, host_s=lambda: next(now_s)).tell(0)

        text = capsys.readouterr().err.removeprefix("\r").removesuffix("\x1b[K")
        assert text == "saving a?b?[31m" + "x" * 24

    def test_makes_room_once(self) -> None:
        rooms: list[int] = []
        now_s = iter((100.0, 101.0, 102.0))
        line = Line("x", 1, lambda: rooms.append(1), lambda: next(now_s))
        line.tell(0)
        line.tell(1)

        assert rooms == [1]

    def test_a_terminal_that_does_not_say_how_wide_it_is(self) -> None:
        """Nor does what is no terminal."""
        assert progress._columns() == 80


class TestCommands:
    """Each as a process with a terminal for its standard error."""

    @pytest.mark.parametrize(
        ("words", "status", "lines"),
        [
            ("verify s.emu", 0, ["verifying s.emu: 0 %", "verifying s.emu: 100 %"]),
            ("inspect s.emu", 0, ["inspecting s.emu: 0 %", "inspecting s.emu: 100 %"]),
            ("diff s.emu s.emu", 0, ["comparing s.emu: 0 %", "comparing s.emu: 100 %"] * 2),
            (
                "restore s.emu --for 1us -serial none --save t.emu",
                0,
                ["restoring s.emu: 0 %", "restoring s.emu: 100 %", "saving t.emu: 0 MiB"],
            ),
            (
                "run hello -m 1M -incoming s.emu --for 1us -serial none",
                0,
                ["restoring s.emu: 0 %", "restoring s.emu: 100 %"],
            ),
            ("run hello -m 1M --for 1us -serial none --save t.emu", 0, ["saving t.emu: 0 MiB"]),
            ("verify hello", 1, []),
        ],
    )
    def test_show_a_line_and_erase_it(
        self, terminal: Terminal, words: str, status: int, lines: list[str]
    ) -> None:
        """On standard error; what is on standard output is as without."""
        with start(terminal.slave, *words.split()) as child:
            shown, _ = child.communicate(timeout=PATIENCE_S)
        seen = terminal.rest()
        found = [text.decode() for text in SHOWN.findall(seen)]

        assert (child.returncode, sorted(set(found))) == (status, sorted(set(lines)))
        assert [each for index, each in enumerate(found) if found[index - 1 : index] != [each]] == (
            lines
        )
        assert not lines or seen.endswith(ERASED)
        assert shown == processes.run(*words.split()).stdout

    @pytest.mark.parametrize("words", ["verify s.emu", "restore s.emu --for 1us -serial none"])
    def test_show_nothing_of_what_is_over_in_a_moment(self, terminal: Terminal, words: str) -> None:
        """A moment is an hour here."""
        with start(terminal.slave, *words.split(), moment_s=3600) as child:
            child.communicate(timeout=PATIENCE_S)

        assert (child.returncode, terminal.rest()) == (0, b"")

    @pytest.mark.parametrize(
        "words", ["verify s.emu", "diff s.emu s.emu", "restore s.emu --for 1us -serial none"]
    )
    def test_show_nothing_on_a_pipe(self, words: str) -> None:
        with start(subprocess.PIPE, *words.split()) as child:
            _, told = child.communicate(timeout=PATIENCE_S)

        assert (child.returncode, told) == (0, b"")

    def test_an_error_comes_after_the_line(self, terminal: Terminal) -> None:
        """Which is gone before."""
        data = Path("s.emu").read_bytes()
        Path("s.emu").write_bytes(data[:-1])
        with start(terminal.slave, "verify", "s.emu") as child:
            child.communicate(timeout=PATIENCE_S)
        seen = terminal.rest()

        assert child.returncode == 1
        assert re.search(rb"%\x1b\[K\r\x1b\[Kemu: [^\r\n]+\r\n$", seen)

    @pytest.mark.parametrize("words", ["verify s.emu", "inspect s.emu", "diff s.emu s.emu"])
    def test_ctrl_c_ends_them(self, terminal: Terminal, words: str) -> None:
        """In the middle: the line is erased, and nothing else is said."""
        with start(terminal.slave, *words.split(), hold=True) as child:
            read_until(terminal.master, b"%\x1b[K")
            child.send_signal(signal.SIGINT)
            shown, _ = child.communicate(timeout=PATIENCE_S)

        assert (child.returncode, shown, terminal.rest()) == (130, b"", ERASED)

    def test_ctrl_c_at_a_restore(self, terminal: Terminal) -> None:
        """Nothing has run."""
        with start(terminal.slave, "restore", "s.emu", hold=True) as child:
            read_until(terminal.master, b"%\x1b[K")
            child.send_signal(signal.SIGINT)
            shown, _ = child.communicate(timeout=PATIENCE_S)

        assert (child.returncode, shown, terminal.rest()) == (130, b"", ERASED)

    def test_signals_in_the_middle_of_a_save_leave_no_half_file(self, terminal: Terminal) -> None:
        """The first asks to save, which is being done; the second waits for nothing."""
        Path("t.emu").write_bytes(b"what was there")
        Path("large").write_bytes(bytes(range(256)) * 800)  # a guest, so that much is to be saved
        words = ("run", "large", "-m", "1M", "--for", "1us", "-serial", "none", "--save", "t.emu")
        with start(terminal.slave, *words, hold=True) as child:
            for _ in range(2):
                read_until(terminal.master, b"MiB\x1b[K")
                there = sorted(path.name for path in Path().iterdir())
                child.send_signal(signal.SIGINT)
                assert child.stdin is not None
                os.write(child.stdin.fileno(), b"x")
            child.communicate(timeout=PATIENCE_S)

        assert len(there) == 4, "it is being written beside"
        assert child.returncode == 130
        assert sorted(path.name for path in Path().iterdir()) == ["large", "s.emu", "t.emu"]
        assert Path("t.emu").read_bytes() == b"what was there"
        assert terminal.rest() == ERASED

    def test_ctrl_a_s_in_the_middle_of_a_guest_s_line(self, terminal: Terminal) -> None:
        """The line has a line of its own, and the guest goes on below."""
        with start(
            terminal.slave, "run", "echo", "-m", "1M", "--save", "t.emu", stdin=terminal.slave
        ) as child:
            assert child.stdout is not None
            read_until(child.stdout.fileno(), b"> ")
            os.write(terminal.master, b"\x01s")
            seen = read_until(terminal.master, b" ns\r\n")
            os.write(terminal.master, b"\x01x")
            child.communicate(timeout=PATIENCE_S)

        assert re.search(rb"\rsaving t.emu: 0 MiB\x1b\[K\r\x1b\[Kemu: saved to t.emu at", seen)
        with emu.load("t.emu") as vm:
            assert vm.digest().startswith("e1:")


class TestInPython:
    def test_a_save_and_a_load_tell_how_far_they_are(self) -> None:
        """In bytes, up to all of them."""
        done: list[int] = []
        with emu.load("s.emu", progress=done.append) as vm:
            size = Path("s.emu").stat().st_size
            assert (done[0], done[-1], done) == (0, size, sorted(done))
            done.clear()
            vm.save("t.emu", progress=done.append)
            assert (done[-1], done) == (size, sorted(done))
            done.clear()
            with Path("t.emu").open("rb") as file:
                vm.load(file, progress=done.append)
            assert (done[0], done[-1]) == (0, size)

    def test_an_exception_in_the_middle_of_a_save(self) -> None:
        """Ctrl-C, for one: nothing is left."""

        def interrupt(_done: int) -> None:
            signal.raise_signal(signal.SIGINT)

        with emu.load("s.emu") as vm:
            with pytest.raises(KeyboardInterrupt):
                vm.save("t.emu", progress=interrupt)
            digest = vm.digest()
            with pytest.raises(KeyboardInterrupt):
                vm.load("s.emu", progress=interrupt)
            assert vm.digest() == digest

        assert [path.name for path in Path().iterdir()] == ["s.emu"]
