"""The user's terminal is a raw serial line while we have it, and is given back as it was."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Child

import emu
from emu import attrs
from emu.errors import HostError
from emu.host import terminal
from emu.host.descriptors import poll
from emu.host.terminal import DEADLY, HELP, Command, Terminal

PATIENCE_S = 10
TAKE_THE_TERMINAL = "fcntl.ioctl(0, termios.TIOCSCTTY, 0)"  # signals of its keys come here


@attrs.define
class User:
    """Somebody at a terminal: what `screen` shows and `keyboard` sends is the master's side."""

    master: int
    slave: int

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def sees(self, count: int) -> bytes:
        """The next *count* bytes on the screen."""
        seen = b""
        while len(seen) < count:
            assert poll(self.master, select.POLLIN, PATIENCE_S)
            seen += os.read(self.master, count - len(seen))
        return seen

    def modes(self) -> list[object]:
        return termios.tcgetattr(self.slave)


@pytest.fixture
def user() -> Iterator[User]:
    master, slave = pty.openpty()
    yield User(master, slave)
    for descriptor in (master, slave):
        with contextlib.suppress(OSError):  # a test has hung up
            os.close(descriptor)


@pytest.fixture
def end(user: User) -> Iterator[Terminal]:
    with contextlib.closing(Terminal(user.slave, user.slave)) as end:
        yield end


def heard(end: Terminal, most: int = 100) -> bytes:
    """What `read` says once there is something to say."""
    descriptor = end.fileno()
    assert descriptor is not None
    assert poll(descriptor, select.POLLIN, PATIENCE_S)
    return end.read(most)


class TestKeyboard:
    def test_every_key_but_one_is_the_guests(self, user: User, end: Terminal) -> None:
        """Ctrl-C, Ctrl-Z, Ctrl-D, Ctrl-S and CR are bytes like any other."""
        keys = bytes(key for key in range(256) if key != 0x01)
        user.type(keys)

        assert heard(end, 1000) == keys
        assert not end.at_end

    def test_is_not_echoed(self, user: User, end: Terminal) -> None:
        """The guest echoes what it wants to."""
        user.type(b"secret")
        heard(end)
        end.write(b"!")

        assert user.sees(1) == b"!"

    def test_keys_wait_until_there_is_room(self, user: User, end: Terminal) -> None:
        """A read takes no more than it asked for, and the rest is not forgotten."""
        user.type(b"abcdef")

        assert heard(end, 0) == b""
        assert [end.read(4), end.read(4), end.read(4)] == [b"abcd", b"ef", b""]

    def test_nothing_typed_is_nothing_read(self, end: Terminal) -> None:
        """A read never waits."""
        assert end.read(100) == b""

    def test_somebody_who_hangs_up_ends_the_input(self, user: User, end: Terminal) -> None:
        """What was typed before still arrives."""
        user.type(b"bye")
        heard(end, 0)
        os.close(user.master)
        end.read(0)
        before = end.at_end
        last_words = end.read(100)

        assert (before, last_words, end.at_end, end.fileno()) == (False, b"bye", True, None)
        assert end.read(100) == b""

    def test_a_terminal_that_breaks_is_at_its_end(self, user: User) -> None:
        """EIO is what a terminal says of itself that nobody is at any more: here a master alone."""
        end = Terminal(user.master, user.master)
        os.close(user.slave)
        text = end.read(100)
        end.close()

        assert (text, end.at_end) == (b"", True)


class TestEscape:
    @pytest.mark.parametrize(
        ("keys", "command"),
        [
            (b"\x01x", Command.LEAVE),
            (b"\x01X", Command.LEAVE),
            (b"\x01s", Command.SAVE),
            (b"\x01S", Command.SAVE),
            (b"\x01h", Command.HELP),
            (b"\x01H", Command.HELP),
        ],
    )
    def test_commands(self, user: User, end: Terminal, keys: bytes, command: Command) -> None:
        """A command is ours, and nothing of it reaches the guest."""
        user.type(b"a" + keys + b"b")

        assert heard(end) == b"ab"
        assert end.commands() == [command]

    def test_a_command_is_given_once(self, user: User, end: Terminal) -> None:
        """In the order of asking."""
        user.type(b"\x01h\x01s\x01x")
        heard(end)

        assert end.commands() == [Command.HELP, Command.SAVE, Command.LEAVE]
        assert end.commands() == []

    def test_twice_sends_one_to_the_guest(self, user: User, end: Terminal) -> None:
        """So the guest can have it too, and what follows is no command."""
        user.type(b"\x01\x01x")

        assert heard(end) == b"\x01x"
        assert end.commands() == []

    def test_with_any_other_key_means_nothing(self, user: User, end: Terminal) -> None:
        """Both keys are ignored."""
        user.type(b"a\x01\rb\x01\xc9c")

        assert heard(end) == b"abc"
        assert end.commands() == []

    def test_its_key_may_come_late(self, user: User, end: Terminal) -> None:
        """A person is slower than a run loop."""
        user.type(b"\x01")
        first = heard(end)
        user.type(b"x")

        assert [first, heard(end)] == [b"", b""]
        assert end.commands() == [Command.LEAVE]

    def test_works_while_the_guest_takes_nothing(self, user: User, end: Terminal) -> None:
        """A guest that hangs cannot keep its user, whatever has been typed before."""
        user.type(b"are you there?\x01x")

        assert heard(end, 0) == b""
        assert end.commands() == [Command.LEAVE]

    def test_reading_ahead_has_an_end(
        self, user: User, end: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Past it keys wait in the terminal, none is lost."""
        monkeypatch.setattr(terminal, "TYPED_AHEAD_MOST", 4)
        user.type(b"abcdef\x01x")
        heard(end, 0)
        end.read(0)
        hasty = end.commands()
        text = [end.read(100), end.read(2), end.read(100)]

        assert (hasty, text, end.commands()) == ([], [b"abcd", b"ef", b""], [Command.LEAVE])


class TestScreen:
    def test_output_is_as_the_guest_sent_it(self, user: User, end: Terminal) -> None:
        """A line feed is no new line."""
        end.write(b"a\nb\r\n\x1b[0m\xff\0")

        assert user.sees(11) == b"a\nb\r\n\x1b[0m\xff\0"

    def test_a_screen_that_was_made_non_blocking(self, user: User, end: Terminal) -> None:
        """Whoever shares it with us may do that; all arrives, and the flag stays as it was."""
        os.set_blocking(user.slave, False)
        text = b"0123456789abcdef" * 4096
        seen = b""

        def watch() -> None:
            nonlocal seen
            seen = user.sees(len(text))

        watcher = threading.Thread(target=watch)
        watcher.start()
        end.write(text)
        watcher.join(PATIENCE_S)

        assert seen == text
        assert not os.get_blocking(user.slave)

    def test_a_line_of_ours_starts_where_it_should(
        self, end: Terminal, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A raw terminal does not return its carriage by itself, a restored one does."""
        end.say(HELP)
        end.close()
        end.say("saved")

        assert capsys.readouterr() == ("", f"{HELP}\r\nsaved\n")

    def test_a_line_of_ours_is_not_in_the_guests(
        self, user: User, end: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where both are on one screen; and where the guest has ended its own there is no gap."""
        with os.fdopen(os.dup(user.slave), "w", buffering=1) as screen:
            monkeypatch.setattr(sys, "stderr", screen)
            end.write(b"login: ")
            end.say("one")
            end.say("two")
            end.write(b"a line\r\n")
            end.say("three")
            monkeypatch.undo()

        assert user.sees(34) == b"login: \r\none\r\ntwo\r\na line\r\nthree\r\n"

    @pytest.mark.parametrize(("line", "more"), [(b"> ", b"\r\n"), (b">\r\n", b""), (b"", b"")])
    def test_whoever_comes_next_has_a_line_of_its_own(
        self, user: User, end: Terminal, line: bytes, more: bytes
    ) -> None:
        """The shell's prompt, say; closed twice, it is one line."""
        end.write(line)
        end.close()
        end.close()
        os.write(user.slave, b"$")

        assert user.sees(len(line + more) + 1) == line + more + b"$"

    def test_a_screen_that_has_gone(self, user: User, end: Terminal) -> None:
        """Bytes are gone, as with an unplugged cable: the guest need not know."""
        os.close(user.master)
        end.write(b"anybody?")
        end.close()

        assert end.read(1) == b""
        assert end.at_end

    def test_nobody_to_say_it_to(self, end: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
        """Standard error is full: that is no reason to end a run."""
        full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - closing it fails
        monkeypatch.setattr(sys, "stderr", full)
        end.say("saved")

        with pytest.raises(OSError, match=r"No space left on device"):
            full.close()

    def test_knows_whether_a_person_is_there(self, user: User, end: Terminal) -> None:
        """At a terminal, but not at a pipe."""
        reading, writing = os.pipe()

        assert end.has_person
        assert not Terminal(reading, user.slave).has_person
        os.close(reading)
        os.close(writing)


class TestPipes:
    def test_are_plain_bytes(self) -> None:
        """Ctrl-A is one of them, and there are no commands."""
        reading, writing = os.pipe()
        end = Terminal(reading, writing)
        end.write(b"\x01x\r\n")

        assert [end.read(3), end.read(0), end.read(3), end.read(3)] == [b"\x01x\r", b"", b"\n", b""]
        assert (end.commands(), end.at_end) == ([], False)
        end.close()
        os.close(reading)
        os.close(writing)

    def test_end(self) -> None:
        """The end of a pipe is noticed, and is the end for good."""
        reading, writing = os.pipe()
        os.write(writing, b"ls\n")
        os.close(writing)
        end = Terminal(reading, 1)
        text = [end.read(100)]
        before = (end.at_end, end.fileno())
        text += [end.read(100), end.read(100)]
        os.close(reading)

        assert text == [b"ls\n", b"", b""]
        assert before == (False, reading)
        assert (end.at_end, end.fileno()) == (True, None)

    def test_a_file_is_read_to_its_end(self, tmp_path: Path) -> None:
        """As in `emu run < script`."""
        (tmp_path / "script").write_bytes(b"ls\n")
        with (tmp_path / "script").open("rb") as script:
            end = Terminal(script.fileno(), 1)

            assert [end.read(100), end.read(100), end.at_end] == [b"ls\n", b"", True]

    def test_a_reader_that_has_gone_is_an_error(self) -> None:
        """As in `emu run | head`."""
        reading, writing = os.pipe()
        os.close(reading)
        end = Terminal(0, writing)

        with pytest.raises(HostError, match=r"^standard output: Broken pipe$"):
            end.write(b"x")
        end.close()
        os.close(writing)

    def test_input_that_cannot_be_read_is_an_error(self) -> None:
        """One line with what the system says."""
        reading, writing = os.pipe()
        os.close(reading)
        end = Terminal(reading, writing)

        with pytest.raises(HostError, match=r"^standard input: Bad file descriptor$"):
            end.read(1)
        os.close(writing)


class TestRestoring:
    def test_after_close(self, user: User) -> None:
        """The terminal is as it was found, whatever that was."""
        before = user.modes()
        end = Terminal(user.slave, user.slave)
        between = user.modes()
        end.close()
        end.close()

        assert between != before
        assert user.modes() == before

    def test_keeps_typed_keys_from_the_shell(self, user: User) -> None:
        """What was meant for the guest is not run by the next program."""
        end = Terminal(user.slave, user.slave)
        user.type(b"reboot\n")
        assert poll(user.slave, select.POLLIN, PATIENCE_S)
        end.close()

        assert not poll(user.slave, select.POLLIN)

    def test_a_terminal_that_has_gone(self, user: User) -> None:
        """There is nothing to restore, and that is no error."""
        end = Terminal(user.slave, user.slave)
        os.close(user.master)
        end.close()

        assert end.read(100) == b""

    def test_a_terminal_that_goes_as_it_is_taken(self, user: User) -> None:
        """One line with what the system says, and nothing is left half done."""
        end = Terminal(user.slave, user.slave)
        end.close()
        os.close(user.master)

        with pytest.raises(HostError, match=r"^standard input: Input/output error$"):
            end._go_raw()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def test_gives_the_signals_back(self, user: User) -> None:
        """Who takes a handler over puts it back."""
        before = [signal.getsignal(number) for number in DEADLY]
        end = Terminal(user.slave, user.slave)
        between = [signal.getsignal(number) for number in DEADLY]
        end.close()

        assert all(handler != signal.SIG_DFL for handler in between)
        assert [signal.getsignal(number) for number in DEADLY] == before

    @pytest.mark.parametrize("first", ["program", "terminal"])
    def test_leaves_the_programs_own_handlers_alone(self, user: User, first: str) -> None:
        """Whether they came before the terminal was taken or after."""

        def save_and_leave(number: int, frame: object) -> None:
            """What a program may want to do first."""

        if first == "program":
            signal.signal(signal.SIGTERM, save_and_leave)
        end = Terminal(user.slave, user.slave)
        signal.signal(signal.SIGTERM, save_and_leave)
        end.close()
        after = signal.signal(signal.SIGTERM, signal.SIG_DFL)

        assert after is save_and_leave

    def test_on_another_thread(self, user: User) -> None:
        """Python gives signals to its main thread alone; the terminal works without."""
        before = [signal.getsignal(number) for number in DEADLY]
        ends: list[Terminal] = []
        thread = threading.Thread(target=lambda: ends.append(Terminal(user.slave, user.slave)))
        modes = user.modes()
        thread.start()
        thread.join(PATIENCE_S)
        between = [signal.getsignal(number) for number in DEADLY]
        ends[0].close()

        assert between == before
        assert user.modes() == modes

    @pytest.mark.parametrize("number", DEADLY)
    def test_a_signal_restores_first_and_then_kills(self, user: User, number: int) -> None:
        """Seen from inside, with the signal held back: it is raised again, to its default."""
        before = user.modes()
        end = Terminal(user.slave, user.slave)
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        handler = signal.getsignal(number)
        assert callable(handler)
        handler(number, None)
        pending = signal.sigpending()
        after = signal.signal(number, signal.SIG_IGN)  # which also forgets the pending one
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.signal(number, signal.SIG_DFL)
        end.close()

        assert number in pending
        assert after == signal.SIG_DFL
        assert user.modes() == before


class TestAWholeProgram:
    """A child process with the terminal as its standard input and output."""

    @staticmethod
    def start(user: User, ending: str, beginning: str = "") -> Child:
        """Start a program that takes the terminal, says so, and ends somehow."""
        program = f"""
import fcntl, os, select, signal, sys, termios
from emu.host.terminal import Terminal
{beginning}
end = Terminal()
end.write(b"ready")
{ending}
"""
        child = Child(
            [sys.executable, "-c", program],
            cwd=Path(emu.__file__).parents[1],
            stdin=user.slave,
            stdout=user.slave,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert user.sees(5) == b"ready"
        return child

    @pytest.mark.parametrize("number", [*DEADLY, signal.SIGINT])
    def test_killed(self, user: User, number: int) -> None:
        """The terminal is restored, and the parent sees the signal."""
        before = user.modes()
        with self.start(user, "signal.pause()") as child:
            between = user.modes()
            child.send_signal(number)
            child.communicate(timeout=PATIENCE_S)

        assert child.returncode == -number
        assert between != before
        assert user.modes() == before

    @pytest.mark.parametrize(
        ("ending", "code"),
        [("1 // 0", 1), ("sys.exit(3)", 3), ("", 0)],
        ids=["exception", "exit", "end"],
    )
    def test_ended_without_close(self, user: User, ending: str, code: int) -> None:
        """Whoever forgets to close is forgiven."""
        before = user.modes()
        with self.start(user, ending) as child:
            child.communicate(timeout=PATIENCE_S)

        assert child.returncode == code
        assert user.modes() == before

    def test_killed_with_a_handler_of_its_own(self, user: User) -> None:
        """A handler that ends by an exception has the terminal restored on its way out."""
        before = user.modes()
        beginning = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"
        with self.start(user, "signal.pause()", beginning) as child:
            between = user.modes()
            child.terminate()
            child.communicate(timeout=PATIENCE_S)

        assert child.returncode == 7
        assert between != before
        assert user.modes() == before

    def test_is_not_killed_from_the_keyboard(self, user: User) -> None:
        """Ctrl-C, Ctrl-Backslash and Ctrl-Z are the guest's: the program reads them."""
        ending = "select.select([end.fileno()], [], []); sys.exit(end.read(100).hex())"
        with self.start(user, ending, TAKE_THE_TERMINAL) as child:
            user.type(b"\x03\x1c\x1a")
            _, errors = child.communicate(timeout=PATIENCE_S)

        assert errors == b"031c1a\n"

    def test_a_hang_up(self, user: User) -> None:
        """A window that is closed ends the program, although nothing is left to restore."""
        with self.start(user, "signal.pause()", TAKE_THE_TERMINAL) as child:
            os.close(user.master)
            _, errors = child.communicate(timeout=PATIENCE_S)

        assert child.returncode == -signal.SIGHUP
        assert errors == b""
