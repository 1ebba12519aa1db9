"""Whoever sits in front of a machine: its terminal, its signals, its pace."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import resource
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
from processes import PATIENCE_S, read_until

import emu
from emu import attrs
from emu.host.ends import Memory
from emu.host.terminal import HELP, Terminal
from emu.machine import Machine
from emu.tools import session
from emu.tools.console import DEFAULT_SAVE, Console
from emu.tools.pacing import Pace
from emu.tools.session import Plan
from emu.until import Condition, Reason

PROMPT = emu.serial("> ")
TICK = emu.serial("tick")


@attrs.define
class Person:
    """Somebody at a terminal: what `screen` shows and `keyboard` sends is the master's side."""

    master: int
    slave: int

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def sees(self, text: bytes) -> bytes:
        """What is on the screen, new, up to *text*."""
        return read_until(self.master, text)

    def modes(self) -> list[object]:
        return termios.tcgetattr(self.slave)


@pytest.fixture
def person() -> Iterator[Person]:
    master, slave = pty.openpty()
    yield Person(master, slave)
    for descriptor in (master, slave):
        with contextlib.suppress(OSError):  # a test has hung up
            os.close(descriptor)


@pytest.fixture
def vm(person: Person) -> Iterator[Machine]:
    """A guest that echoes, with a terminal at its serial port."""
    with Machine("echo", memory="1M", serial=Terminal(person.slave, person.slave)) as vm:
        yield vm


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def console_for(vm: Machine, save_to: str | None = None) -> Console:
    return Console(vm, save_to, Pace.OFF)


@attrs.define
class Front:
    """A front that does one thing between two slices, and not for ever.

    A guest that waits for a key is waited for 50 ms a slice, one that does not takes 2 ms or more.
    """

    do: Callable[[Machine], None]
    slices_left: int = 400

    def attend(self, vm: Machine) -> None:
        assert self.slices_left, "the run goes on and on"
        self.slices_left -= 1
        self.do(vm)


def front_of(vm: Machine, save_to: str | None = None) -> Front:
    """A console before *vm*."""
    return Front(console_for(vm, save_to).attend)


class TestTerminal:
    def test_what_is_typed_is_the_guests(self, person: Person, vm: Machine) -> None:
        """Line by line, as the guest asks for it."""
        vm.run(PROMPT, front=front_of(vm))
        person.type(b"hello\r")
        vm.run(PROMPT, front=front_of(vm))

        assert person.sees(b"olleh\r\n> ").endswith(b"> hello\r\n5: olleh\r\n> ")

    @pytest.mark.parametrize("until", [(), emu.after("10s")])
    def test_ctrl_a_x_leaves(self, person: Person, vm: Machine, until: tuple[Condition]) -> None:
        """Whatever the run was to wait for, and whatever was typed before."""
        console = console_for(vm)
        person.type(b"are you there?\x01x")
        stopped = vm.run(until, front=Front(console.attend))

        assert (stopped.reason, console.left) == (Reason.STOPPED, True)

    def test_ctrl_a_h_helps(
        self, person: Person, vm: Machine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """On standard error, and the guest runs on."""
        person.type(b"\x01hhello\r")
        vm.run(emu.serial("olleh"), front=front_of(vm))

        assert capsys.readouterr().err == f"{HELP}\r\n"

    @pytest.mark.parametrize("save_to", [None, "mine.emu"])
    def test_ctrl_a_s_saves(
        self,
        person: Person,
        vm: Machine,
        capsys: pytest.CaptureFixture[str],
        save_to: str | None,
    ) -> None:
        """Where --save says, or else to a name that is told; and the guest runs on."""
        vm.run(PROMPT, front=front_of(vm))
        saved_at_ns = vm.clock.now_ns
        person.type(b"\x01shello\r")
        vm.run(emu.serial("olleh"), front=front_of(vm, save_to))

        name = save_to or DEFAULT_SAVE
        assert capsys.readouterr().err == f"emu: saved to {name} at {saved_at_ns} ns\r\n"
        with emu.load(name) as restored:
            assert restored.clock.now_ns == saved_at_ns

    def test_a_save_that_fails_is_told(
        self, person: Person, vm: Machine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The guest runs on."""
        person.type(b"\x01shello\r")
        vm.run(emu.serial("olleh"), front=front_of(vm, "no/such/folder.emu"))

        assert capsys.readouterr().err == "emu: no/such/folder.emu: No such file or directory\r\n"

    def test_a_save_that_does_not_fit_leaves_nothing(
        self, person: Person, vm: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        """Not a part of it, and not a temporary file; and the guest runs on."""
        _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
        person.type(b"\x01shello\r")
        vm.run(emu.serial("olleh"), front=front_of(vm, "big.emu"))
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        assert capsys.readouterr().err == "emu: big.emu: File too large\r\n"
        assert list(tmp_path.iterdir()) == []

    def test_a_save_is_made_where_the_machine_is_whole(self) -> None:
        """Never between a reset that the guest has asked for and the reset itself."""
        image = bytes.fromhex("e492 0c01 e692 ebfe")  # in al, 92h; or al, 1; out 92h, al; jmp $
        saves: list[bytes] = []

        def save(vm: Machine) -> None:
            file = io.BytesIO()
            vm.save(file)
            saves.append(file.getvalue())

        with Machine(image, memory="1M") as vm:
            vm.run(emu.after("12ms"), front=Front(save))
            end_ns, digest = vm.clock.now_ns, vm.digest()
        ends = []
        for each in saves:
            with emu.load(io.BytesIO(each)) as restored:
                restored.run(emu.clock(end_ns))
                ends.append(restored.digest())

        assert len(ends) > 6
        assert set(ends) == {digest}


class TestSaying:
    def test_without_a_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Plain lines on standard error."""
        with Machine("echo", memory="1M") as vm:
            console_for(vm).say("one\ntwo")

        assert capsys.readouterr() == ("", "one\ntwo\n")
        assert not console_for(vm).has_person

    def test_to_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Standard error is full, or gone: the run does not suffer."""
        full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - closing it fails
        monkeypatch.setattr(sys, "stderr", full)
        with Machine("hello", memory="1M") as vm:
            console_for(vm).say("one")

        with pytest.raises(OSError, match=r"No space left on device"):
            full.close()


class TestSignals:
    @pytest.fixture
    def vm(self) -> Iterator[Machine]:
        with Machine("ticks", memory="1M", serial=Memory()) as vm:
            yield vm

    @staticmethod
    def sending(console: Console, *numbers: int) -> Front:
        """A front like *console*, which is sent the signals *numbers*, one between two slices."""
        waiting = list(numbers)

        def attend(vm: Machine) -> None:
            if waiting:
                signal.raise_signal(waiting.pop(0))
            console.attend(vm)

        return Front(attend)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_one_ends_the_run(self, vm: Machine, number: int) -> None:
        """At the next sampling point."""
        console = console_for(vm)
        with console.signals():
            stopped = vm.run(front=self.sending(console, number))

        assert (stopped.reason, console.signal_number) == (Reason.STOPPED, number)
        assert not console.left

    def test_one_that_comes_early_is_not_forgotten(self, vm: Machine) -> None:
        """While a recording is opened, say."""
        console = console_for(vm)
        with console.signals():
            signal.raise_signal(signal.SIGTERM)
            stopped = vm.run(front=Front(console.attend))

        assert stopped.reason is Reason.STOPPED
        assert vm.clock.now_ns == 0

    def test_a_second_one_waits_for_nothing(self, vm: Machine) -> None:
        """The guest, or a save, may hang on the host; the exit status is the signal's."""
        console = console_for(vm)
        with console.signals():
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(SystemExit) as caught:
                signal.raise_signal(signal.SIGHUP)

        assert caught.value.code == 128 + signal.SIGHUP

    def test_SIGUSR1_saves(self, vm: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        """And the guest runs on."""
        console = console_for(vm, "s.emu")
        with console.signals():
            stopped = vm.run(emu.serial("tick 3"), front=self.sending(console, signal.SIGUSR1))

        assert stopped.reason is Reason.UNTIL
        assert capsys.readouterr().err == "emu: saved to s.emu at 0 ns\n"
        with emu.load("s.emu") as restored:
            assert restored.clock.now_ns == 0

    def test_SIGUSR1_without_a_place(
        self, vm: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        """Whoever sent it is told why there is no save."""
        console = console_for(vm)
        with console.signals():
            vm.run(emu.serial("tick 3"), front=self.sending(console, signal.SIGUSR1))

        assert capsys.readouterr().err == "emu: SIGUSR1, but no --save says where to\n"
        assert list(tmp_path.iterdir()) == []

    def test_an_ignored_one_stays_ignored(self, vm: Machine) -> None:
        """Whoever starts us under nohup means it."""
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        console = console_for(vm)
        with console.signals():
            signal.raise_signal(signal.SIGHUP)
        after = signal.signal(signal.SIGHUP, before)

        assert (console.signal_number, after) == (None, signal.SIG_IGN)

    def test_are_given_back(self, vm: Machine) -> None:
        """After the run they mean what they meant before."""
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
        before = [signal.getsignal(number) for number in numbers]
        with console_for(vm).signals():
            between = [signal.getsignal(number) for number in numbers]

        assert [signal.getsignal(number) for number in numbers] == before
        assert not set(between) & set(before)


class TestPace:
    """The pacer itself is tested in test_pacing.py; here, when it is asked."""

    @attrs.define
    class Asked:
        """A pacer that is content, and counts."""

        times_ns: list[int] = attrs.field(factory=list)

        def pace(self, now_ns: int) -> None:
            self.times_ns.append(now_ns)

    @pytest.mark.parametrize(
        ("pace", "at_end", "paced"),
        [
            (Pace.AUTO, False, True),
            (Pace.AUTO, True, False),
            (Pace.ON, True, True),
            (Pace.OFF, False, False),
        ],
    )
    def test_when(
        self, monkeypatch: pytest.MonkeyPatch, pace: Pace, *, at_end: bool, paced: bool
    ) -> None:
        """Where nobody can type there is nobody to wait for, unless it is asked for."""
        end, asked = Memory(), self.Asked()
        end.at_end = at_end
        with Machine("hello", memory="1M", serial=end) as vm:
            console = Console(vm, pace=pace)
            monkeypatch.setattr(console, "_pacer", asked)
            vm.run(front=Front(console.attend))

        assert bool(asked.times_ns) is paced
        assert asked.times_ns == sorted(asked.times_ns)


class TestASession:
    """What a run says to the person in front of it, and its exit status."""

    @staticmethod
    def run(vm: Machine, **plan: Any) -> int:
        return session.run(vm, Plan(**plan), console_for(vm, plan.get("save")))

    def test_left(self, person: Person, vm: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        """Status 0, whatever was to be waited for; and where the machine is now."""
        person.type(b"\x01x")
        status = self.run(vm, goals=(emu.serial("never"),), limit=emu.after("1m"), save="s.emu")

        assert status == 0
        assert capsys.readouterr().err == (
            "emu: saved to s.emu at 0 ns\r\nemu: stopped at 0 ns: Ctrl-A X\r\n"
        )

    def test_ended(self, vm: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        """The run has come to what it was for."""
        status = self.run(vm, goals=(PROMPT,), limit=emu.after("1s"))

        assert status == 0
        assert capsys.readouterr().err == f"emu: stopped at {vm.clock.now_ns} ns: serial:> \r\n"

    def test_in_vain(self, vm: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        """One line, not two."""
        status = self.run(vm, goals=(emu.serial("never"),), limit=emu.after("10ms"))

        assert status == 1
        assert capsys.readouterr().err == (
            "emu: after 0.01s, and before that not met: serial:never\r\n"
        )

    def test_a_signal_without_a_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Whoever sent it is told of the save; the status is the signal's."""

        class Impatient(Memory):
            """An end at which nobody waits for the second character."""

            def write(self, data: bytes) -> None:
                super().write(data)
                if len(self.sent) == 1:
                    signal.raise_signal(signal.SIGTERM)

        with Machine("ticks", memory="1M", serial=Impatient()) as vm:
            status = self.run(vm, limit=emu.after("1s"), save="s.emu")
            at_ns = vm.clock.now_ns

        assert status == 128 + signal.SIGTERM
        assert capsys.readouterr().err == f"emu: saved to s.emu at {at_ns} ns\n"


class TestAWholeProgram:
    """`emu` as a process of its own, whose terminal is the person's."""

    @staticmethod
    def start(person: Person, *words: str) -> processes.Child:
        return processes.start(
            *words,
            stdin=person.slave,
            stdout=person.slave,
            stderr=person.slave,
            start_new_session=True,
        )

    def test_a_session(self, person: Person) -> None:
        """Greeting, guest, help on a line of its own, save, farewell; the terminal as it was."""
        before = person.modes()
        with self.start(person, "run", "echo", "-m", "1M") as child:
            greeting = person.sees(b"> ")
            person.type(b"abc")
            person.sees(b"abc")
            person.type(b"\x01h")
            helped = person.sees(b"one Ctrl-A\r\n")
            person.type(b"\r")
            answered = person.sees(b"cba\r\n> ")
            person.type(b"\x01s")
            saved = person.sees(b" ns\r\n")
            person.type(b"\x01x")
            farewell = person.sees(b"Ctrl-A X\r\n")
            child.wait(PATIENCE_S)

        assert greeting == (
            b"emu: Ctrl-A H for help, Ctrl-A X to leave\r\nemu ROM: guest at 0000:7C00\r\n> "
        )
        assert helped == f"\r\n{HELP}\r\n".encode()
        assert answered == b"\r\n3: cba\r\n> "
        assert saved.startswith(b"\r\nemu: saved to machine.emu at ")
        assert farewell.startswith(b"emu: stopped at ")
        assert (child.returncode, person.modes()) == (0, before)
        with emu.load(DEFAULT_SAVE) as vm:
            assert vm.clock.now_ns < int(farewell.split()[3])

    def test_ends_with_its_guest(self, person: Person) -> None:
        """All that the guest has said is there, then why it ended, and the shell is back."""
        before = person.modes()
        with self.start(person, "run", "hello", "-m", "1M") as child:
            output = person.sees(b"HLT with interrupts off\r\n")
            child.wait(PATIENCE_S)

        assert b"without noticing that I was away.\r\nemu: stopped at " in output
        assert (child.returncode, person.modes()) == (0, before)

    def test_leaves_the_shell_a_line_of_its_own(self, person: Person) -> None:
        """Where the guest's last line has no end."""
        with self.start(
            person, "run", "hello", "--until", "serial:Hello", "-serial", "stdio"
        ) as child:
            output = person.sees(b"serial:Hello\r\n")
            child.wait(PATIENCE_S)

        assert b"\r\nHello\r\nemu: stopped at " in output

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal(self, person: Person, number: int) -> None:
        """The machine is saved, the terminal is as it was, the status is the signal's."""
        before = person.modes()
        with self.start(person, "run", "ticks", "-m", "1M", "--save", "s.emu") as child:
            person.sees(b"tick 3")
            child.send_signal(number)
            person.sees(b"emu: saved to s.emu at ")
            person.sees(signal.Signals(number).name.encode())
            child.wait(PATIENCE_S)

        assert (child.returncode, person.modes()) == (128 + number, before)
        with emu.load("s.emu") as vm:
            assert vm.run([TICK, emu.after("1s")]).condition == TICK

    def test_a_hang_up(self, person: Person) -> None:
        """A window is closed, and the guest goes on talking: the machine is saved."""
        with self.start(person, "run", "ticks", "-m", "1M", "--save", "s.emu") as child:
            person.sees(b"tick 3")
            os.close(person.master)
            child.send_signal(signal.SIGHUP)
            child.wait(PATIENCE_S)

        assert child.returncode == 128 + signal.SIGHUP
        with emu.load("s.emu") as vm:
            assert vm.run([TICK, emu.after("1s")]).condition == TICK

    def test_an_error(self, person: Person) -> None:
        """One line, below the guest's; and the terminal is as it was."""
        before = person.modes()
        with self.start(person, "run", "hello", "-m", "1M", "--record", "/proc/r") as child:
            output = person.sees(b"directory\r\n")
            child.wait(PATIENCE_S)

        assert output.endswith(b"to leave\r\nemu: /proc/r: No such file or directory\r\n")
        assert (child.returncode, person.modes()) == (1, before)

    def test_a_replay_can_be_left(self, person: Person) -> None:
        """It hears no key but those: whoever watches need not stay to the end."""
        with Machine("ticks", memory="1M") as vm:
            digest = vm.digest()
        Path("r.jsonl").write_text(
            f'{{"emu-record": 1, "digest": "{digest}"}}\n'
            f'{{"end": 3600000000000, "digest": "{digest}"}}\n'
        )
        with self.start(person, "run", "ticks", "-m", "1M", "--replay", "r.jsonl") as child:
            person.sees(b"tick 3")
            person.type(b"xyz\x01x")
            person.sees(b"Ctrl-A X\r\n")
            child.wait(PATIENCE_S)

        assert child.returncode == 0

    def test_the_pace_of_the_world(self, person: Person) -> None:
        """Fifty ticks, a hundred a second, take half a second at the least."""
        with self.start(person, "run", "ticks", "-m", "1M", "--until", "serial:tick 51\r") as child:
            person.sees(b"tick 1\r")
            began = time.monotonic()
            person.sees(b"tick 51\r")
            took_s = time.monotonic() - began
            child.wait(PATIENCE_S)

        assert took_s > 0.45
