"""The user's own terminal as a raw serial terminal: the end called stdio.

Where standard input is a terminal, every key goes to the guest, Ctrl-C included, but for one:

    Ctrl-A X        leave
    Ctrl-A S        save the machine
    Ctrl-A H        help
    Ctrl-A Ctrl-A   one Ctrl-A for the guest

After any other key both are ignored.  These commands are found at once, even while the guest takes
no input and other keys wait before them: so keys are read ahead, up to `TYPED_AHEAD_MOST`.
What is typed and not yet the guest's is no part of the machine, is not saved, and is discarded at
the end: a shell must not run what was meant for the guest.

The terminal gets its old modes back at every exit: `close`, the interpreter's end after whatever
exception (`atexit`), and each of `DEADLY` signals.  A signal that the program handles itself, from
before or after, is left to the program; it has to call `close` or end by an exception.
Nobody can help against SIGKILL; the command ``stty sane`` can, afterwards.

Where standard input is a file or a pipe it is read as plain bytes, Ctrl-A is one of them, and its
end is an end.  Output is plain bytes in any case.

Not modelled: stopping and going on by job control, for whose key there is no signal in raw mode.
"""

from __future__ import annotations

import atexit
import contextlib
import enum
import errno
import os
import signal
import sys
import termios
from types import FrameType

from emu.errors import HostError
from emu.host.descriptors import make_raw, read_ready, refused, write_all

CTRL_A = 0x01
HELP = "Ctrl-A X leaves, Ctrl-A S saves, Ctrl-A H helps, Ctrl-A Ctrl-A sends one Ctrl-A"
TYPED_AHEAD_MOST = 1 << 20  # more than a person types, or pastes

DEADLY = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Command(enum.Enum):
    """What the user asks of the emulator, not of the guest."""

    LEAVE = "x"
    SAVE = "s"
    HELP = "h"


class Terminal:
    """Standard input and output, or any two descriptors that stand for them."""

    def __init__(self, keyboard: int = 0, screen: int = 1) -> None:
        self._keyboard = keyboard
        self._screen = screen
        self._is_tty = os.isatty(keyboard)
        self._input_ended = False
        self._typed = bytearray()  # keys for the guest
        self._escaping = False  # the last key was Ctrl-A
        self._commands: list[Command] = []
        self._mid_line = False  # the guest has begun a line and not ended it
        self._old_mode: list[int | list[bytes | int]] | None = None
        if self._is_tty:
            self._go_raw()

    @property
    def has_person(self) -> bool:
        """Keys come from a terminal, and so from somebody who reads what is said."""
        return self._is_tty

    @property
    def at_end(self) -> bool:
        return self._input_ended and not self._typed

    def write(self, data: bytes) -> None:
        if data:
            self._mid_line = not data.endswith(b"\n")
        try:
            write_all(self._screen, data)
        except OSError as problem:
            if problem.errno != errno.EIO:  # hung up: bytes are gone, as with an unplugged cable
                raise refused("standard output", problem) from None

    def read(self, most: int) -> bytes:
        if not self._is_tty:
            return self._take(most)
        self._press(self._take(TYPED_AHEAD_MOST - len(self._typed)))
        data = bytes(self._typed[:most])
        del self._typed[:most]
        return data

    def commands(self) -> list[Command]:
        """What has been asked for since the last call; the asking is noticed by `read`."""
        commands, self._commands = self._commands, []
        return commands

    def say(self, line: str) -> None:
        """A *line* of the emulator's to its user, on standard error: raw mode needs a CR."""
        if sys.stderr.isatty():
            self.end_line()
        with contextlib.suppress(OSError):  # nobody there to be told
            sys.stderr.write(line + ("\n" if self._old_mode is None else "\r\n"))
            sys.stderr.flush()

    def fileno(self) -> int | None:
        return None if self._input_ended else self._keyboard

    def close(self) -> None:
        """Give the terminal its old modes back, and whoever comes next a line of its own.

        A signal may come between any two lines here, and its handler calls this too.  So each
        step is harmless when done twice, and none is marked as done before it is.
        """
        self.end_line()
        if self._old_mode is None:
            return
        with contextlib.suppress(termios.error):  # hung up: there is nothing to restore
            termios.tcflush(self._keyboard, termios.TCIFLUSH)
            termios.tcsetattr(self._keyboard, termios.TCSANOW, self._old_mode)
        self._old_mode = None
        atexit.unregister(self.close)
        for number in DEADLY:
            if signal.getsignal(number) == self._die:
                signal.signal(number, signal.SIG_DFL)

    def end_line(self) -> None:
        """On a screen, begin a line where the guest has not."""
        if self._mid_line and os.isatty(self._screen):
            with contextlib.suppress(OSError):  # it has been hung up
                os.write(self._screen, b"\r\n")
        self._mid_line = False

    def _go_raw(self) -> None:
        """Take the terminal; first make sure that it will be given back."""
        try:
            self._old_mode = termios.tcgetattr(self._keyboard)
            atexit.register(self.close)
            with contextlib.suppress(ValueError):  # not the main thread, which alone has signals
                for number in DEADLY:
                    if signal.getsignal(number) == signal.SIG_DFL:
                        signal.signal(number, self._die)
            make_raw(self._keyboard)
        except termios.error as problem:
            self.close()
            raise HostError(f"standard input: {problem.args[1]}") from None

    def _die(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler's
        """Restore, and then die as if we had not been asked: our parent shall see the signal."""
        self.close()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _take(self, most: int) -> bytes:
        """What has come from the host, at most *most* bytes."""
        if self._input_ended:
            return b""
        try:
            data = read_ready(self._keyboard, most)
        except OSError as problem:
            if problem.errno != errno.EIO:  # the word for a terminal that has been hung up
                raise refused("standard input", problem) from None
            data = b""
        if data == b"":
            self._input_ended = True
        return data or b""

    def _press(self, keys: bytes) -> None:
        """Sort *keys* into those for the guest and those for us."""
        for key in keys:
            if not self._escaping:
                if key == CTRL_A:
                    self._escaping = True
                else:
                    self._typed.append(key)
                continue
            self._escaping = False
            match chr(key).lower():
                case "x":
                    self._commands.append(Command.LEAVE)
                case "s":
                    self._commands.append(Command.SAVE)
                case "h":
                    self._commands.append(Command.HELP)
                case "\x01":
                    self._typed.append(CTRL_A)
                case _:
                    pass
