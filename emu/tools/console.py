"""The person's side of a run: the terminal's commands, signals, pacing.

    Ctrl-A X   leave            SIGTERM, SIGINT, SIGHUP   leave, and save where --save says so
    Ctrl-A S   save, go on      SIGUSR1                   save where --save says, and go on
    Ctrl-A H   help             a second signal           leave at once, and save nothing

Ctrl-A works where standard input is a terminal; Ctrl-C is then a key of the guest's, not SIGINT.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from emu import attrs
from emu.errors import EmuError
from emu.host.terminal import HELP, Command, Terminal
from emu.machine import Machine
from emu.savevm.sections import Dialect
from emu.tools import progress
from emu.tools.pacing import Pace, Pacer

DEFAULT_SAVE = "machine.emu"
BY_SIGNAL = 128  # added to the signal's number it is an exit status, as shells have it

Handler = Callable[[int, FrameType | None], None]


@attrs.define(eq=False)
class Console:
    """Sits in front of *vm* as it runs (`emu.machine.Front`)."""

    vm: Machine
    save_to: str | None = None
    pace: Pace = Pace.AUTO
    signal_number: int | None = attrs.field(init=False, default=None)  # the one that ended the run
    left: bool = attrs.field(init=False, default=False)  # Ctrl-A X
    _save_asked: bool = attrs.field(init=False, default=False)
    _terminal: Terminal | None = attrs.field(init=False)
    _pacer: Pacer = attrs.field(init=False, factory=Pacer)

    def __attrs_post_init__(self) -> None:
        terminals = [end for end in self.vm.ends if isinstance(end, Terminal)]
        self._terminal = terminals[0] if terminals else None

    @property
    def has_person(self) -> bool:
        """Somebody sits at a terminal, and would like to be told what happens."""
        return self._terminal is not None and self._terminal.has_person

    def say(self, text: str) -> None:
        """Lines for the user, on standard error, whatever mode the terminal is in."""
        for line in text.splitlines():
            if self._terminal is not None:
                self._terminal.say(line)
            else:
                with contextlib.suppress(OSError):  # nobody there to be told
                    print(line, file=sys.stderr, flush=True)

    def attend(self, vm: Machine) -> None:
        """Between two slices: commands, signals, the pace."""
        if self._terminal is not None:
            self._terminal.read(0)  # so that keys are looked at while the guest takes none
            for command in self._terminal.commands():
                match command:
                    case Command.LEAVE:
                        self.left = True
                        vm.stop()
                    case Command.SAVE:
                        self._save(self.save_to or DEFAULT_SAVE)
                    case Command.HELP:
                        self.say(HELP)
        if self._save_asked:
            self._save_asked = False
            if self.save_to is None:
                self.say("emu: SIGUSR1, but no --save says where to")
            else:
                self._save(self.save_to)
        if self.signal_number is not None:
            vm.stop()  # it may have come before the run began
        if self._is_paced():
            self._pacer.pace(vm.clock.now_ns)

    def _is_paced(self) -> bool:
        match self.pace:
            case Pace.AUTO:
                return not self.vm.serial.end.at_end
            case Pace.ON:
                return True
            case Pace.OFF:
                return False

    def _save(self, path: str) -> None:
        """Save in the middle of a run, which a full disk need not end."""
        try:
            self.save_machine(path)
        except EmuError as error:
            self.say(f"emu: {error}")
        else:
            self.say_saved(path)

    def save_machine(self, path: str, dialect: Dialect = Dialect.EMU) -> None:
        """Save, and show how far that has come where it takes long."""
        with progress.shown(f"saving {path}", make_room=self._make_room) as told:
            self.vm.save(path, dialect, progress=told)

    def _make_room(self) -> None:
        """Begin a line on the screen where the guest has not."""
        if self._terminal is not None:
            self._terminal.end_line()

    def say_saved(self, path: str) -> None:
        self.say(f"emu: saved to {path} at {self.vm.clock.now_ns} ns")

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Heed signals while the run, and the save after it, lasts."""

        def leave(number: int, _frame: FrameType | None) -> None:
            if self.signal_number is not None:  # asked twice: wait for nothing
                raise SystemExit(BY_SIGNAL + number)
            self.signal_number = number
            self.vm.stop()

        def save(_number: int, _frame: FrameType | None) -> None:
            self._save_asked = True

        handlers: dict[signal.Signals, Handler] = {
            signal.SIGTERM: leave,
            signal.SIGINT: leave,
            signal.SIGHUP: leave,
            signal.SIGUSR1: save,
        }
        before = {number: signal.getsignal(number) for number in handlers}
        heeded = [number for number in handlers if before[number] not in (signal.SIG_IGN, None)]
        try:
            for number in heeded:
                signal.signal(number, handlers[number])
            yield
        finally:
            for number in heeded:
                signal.signal(number, before[number])
