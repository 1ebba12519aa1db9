"""Host ends: where the bytes of a serial port come from and go to.

    stdio           the terminal this was started from (`terminal`)
    file:PATH       a file, for output only; made anew
    unix:PATH       a Unix socket that listens at PATH (`sockets`)
    tcp:HOST:PORT   a TCP socket that listens; port 0 picks a free one (`sockets`)
    pty             a pseudo-terminal of its own (`pty`)
    none            nothing: output is dropped, input never comes

A machine reads no end by itself.  Its run loop does, between slices:

    data = end.read(room)          # no more than the UART has room for
    ...                            # hand it on, run a slice, end.write(what the guest sent)
    select([end.fileno()], ...)    # the guest sleeps: so do we

The last line comes after a read that returned nothing.  While `fileno()` is None, or while the
UART has no room, the loop sleeps on a time-out alone: `read(0)` takes no bytes but still notices
a key of the terminal's own or a client that knocks.  When `at_end` nothing is worth waiting for.

`write` returns when the host has taken the bytes.  While the far side is slow, so are we: an end
is a line with flow control, and a client that never reads stops the machine.  Where nobody is
there at all, bytes are gone, as on a real line whose cable is unplugged.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Protocol

from emu.errors import ConfigError
from emu.host.descriptors import refused, write_all
from emu.host.terminal import Terminal

FORMS = "stdio, file:PATH, unix:PATH, tcp:HOST:PORT, pty, none"


class HostEnd(Protocol):
    """The far end of a serial line."""

    @property
    def at_end(self) -> bool:
        """No more input will ever come."""

    def write(self, data: bytes) -> None:
        """Hand over all of *data*, waiting while the far side is slow, or raise HostError."""

    def read(self, most: int) -> bytes:
        """At most *most* bytes of what has arrived; never waits, b"" if there is nothing."""

    def fileno(self) -> int | None:
        """A descriptor that gets readable when `read` has something to look at.

        None while there is none.  It changes as clients come and go: ask before each wait.
        """

    def close(self) -> None:
        """Let go of it, and leave the host as it was found.  Closing twice is closing once."""


class Memory:
    """An end in memory, for tests and for programs that are the far side themselves."""

    def __init__(self) -> None:
        self.sent = bytearray()  # all that has been written
        self.at_end = False  # set by whoever feeds it, after the last byte is taken
        self._fed = bytearray()

    def feed(self, data: bytes) -> None:
        """Let *data* arrive."""
        self._fed += data

    def write(self, data: bytes) -> None:
        self.sent += data

    def read(self, most: int) -> bytes:
        data = bytes(self._fed[:most])
        del self._fed[:most]
        return data

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        pass


class Nothing:
    """An open plug: drops what is sent and never says anything."""

    at_end = True

    def write(self, data: bytes) -> None:
        pass

    def read(self, most: int) -> bytes:  # noqa: ARG002 - the shape of a host end
        return b""

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        pass


class File:
    """A file that keeps what is sent, byte for byte as it is sent."""

    at_end = True

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = io.FileIO(path, "w")
        except OSError as problem:
            raise refused(path, problem) from None

    def write(self, data: bytes) -> None:
        try:
            write_all(self._file.fileno(), data)
        except OSError as problem:
            raise refused(self._path, problem) from None

    def read(self, most: int) -> bytes:  # noqa: ARG002 - the shape of a host end
        return b""

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self._file.close()


def tell(line: str) -> None:
    """Say *line* to the user, on standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def open_end(spec: str, announce: Callable[[str], None] = tell) -> HostEnd:
    """Open the end that *spec* names, in one of `FORMS`.

    *announce* gets the one line that a user needs to reach it: where a socket is listening (the
    call then waits for its first client, so that a guest's first words are not lost) and what
    a new pseudo-terminal is called.
    """
    match spec.partition(":"):
        case "none", "", _:
            return Nothing()
        case "stdio", "", _:
            return Terminal()
        case "pty", "", _:
            from emu.host.pty import PseudoTerminal

            terminal = PseudoTerminal()
            announce(f"serial port on {terminal.path}")
            return terminal
        case "file", _, path if is_path(path):
            return File(path)
        case "unix", _, path if is_path(path):
            from emu.host.sockets import listen_unix

            return listen_unix(path).wait_for_client(announce)
        case "tcp", _, address if is_address(address):
            from emu.host.sockets import listen_tcp

            host, _, port = address.rpartition(":")
            return listen_tcp(host.strip("[]"), int(port)).wait_for_client(announce)
        case _:
            raise ConfigError(f"no such serial end: {spec!r}, expected one of {FORMS}")


def is_path(text: str) -> bool:
    """Tell whether *text* can name a file: Unix knows no NUL in a path, and no empty one."""
    return text != "" and "\0" not in text


def is_address(text: str) -> bool:
    """Tell whether *text* is HOST:PORT; an IPv6 host stands in brackets."""
    host, colon, port = text.rpartition(":")
    bare = ":" not in host or (host.startswith("[") and host.endswith("]"))
    number = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) < 1 << 16
    return colon != "" and bare and number and "\0" not in host
