"""The person's side of a run: the terminal's commands, signals, pacing.

    Ctrl-A X   leave            SIGTERM, SIGINT   save where a file was named for it, and leave
    Ctrl-A S   save, go on      SIGUSR1           save where a file was named for it, and go on
    Ctrl-A H   help

Ctrl-A works where standard input is a terminal.  A signal is heeded between two slices of the run.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import attrs

from emu.errors import EmuError
from emu.host.ends import HostEnd
from emu.host.terminal import HELP, Command, Terminal
from emu.machine import Machine
from emu.tools.pacing import Pacer

DEFAULT_SAVE = "machine.emu"


@attrs.define(eq=False)
class Console:
    """Sits in front of a running machine (`emu.machine.Front`)."""

    end: HostEnd
    save_to: str | None = None
    paced: bool = False
    signal_number: int | None = attrs.field(init=False, default=None)  # the one that ended the run
    left: bool = attrs.field(init=False, default=False)  # Ctrl-A X
    _save_asked: bool = attrs.field(init=False, default=False)
    _pacer: Pacer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pacer = Pacer(self.end)

    def say(self, line: str) -> None:
        """A line for the user, on standard error, whatever mode the terminal is in."""
        if isinstance(self.end, Terminal):
            for each in line.splitlines():
                self.end.say(each)
        else:
            print(line, file=sys.stderr, flush=True)

    def attend(self, vm: Machine) -> None:
        """Between two slices: commands, signals, the pace."""
        if isinstance(self.end, Terminal):
            self.end.read(0)  # so that keys are looked at while the guest takes none
            for command in self.end.commands():
                match command:
                    case Command.LEAVE:
                        self.left = True
                        vm.stop()
                    case Command.SAVE:
                        self._save(vm, self.save_to or DEFAULT_SAVE)
                    case Command.HELP:
                        self.say(HELP)
        if self._save_asked:
            self._save_asked = False
            if self.save_to is not None:
                self._save(vm, self.save_to)
        if self.signal_number is not None:
            vm.stop()
        if self.paced:
            self._pacer.pace(vm.clock.now_ns)

    def _save(self, vm: Machine, path: str) -> None:
        try:
            vm.save(path)
        except EmuError as error:
            self.say(f"emu: {error}")
        else:
            self.say(f"emu: saved to {path} at {vm.clock.now_ns} ns")

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Heed signals while the run lasts."""

        def leave(number: int, _frame: FrameType | None) -> None:
            if self.signal_number is not None:  # asked twice: do not wait for the guest
                raise KeyboardInterrupt
            self.signal_number = number

        def save(_number: int, _frame: FrameType | None) -> None:
            self._save_asked = True

        handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
            signal.SIGTERM: leave,
            signal.SIGINT: leave,
            signal.SIGHUP: leave,
            signal.SIGUSR1: save,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
