"""What the ends do with a descriptor: look without waiting, write until all is taken.

No descriptor is switched to non-blocking here: standard input and output are often shared with
the shell that started us, and the flag belongs to all who share.  So a read asks `poll` first.
It is `poll` and not `select`, which knows no descriptor above 1023.
"""

from __future__ import annotations

import errno
import os
import select
import termios

from emu.errors import HostError

IFLAG, OFLAG, CFLAG, LFLAG, _ISPEED, _OSPEED, CC = range(7)  # what tcgetattr's list holds


def poll(descriptor: int, wanted: int, timeout_s: float | None = 0) -> int:
    """Wait for *wanted* at most *timeout_s*, None for as long as it takes; 0 if it did not come.

    Besides what was wanted the answer may hold POLLHUP, POLLERR or POLLNVAL: then a read or
    write will not wait either, but say what is wrong.
    """
    poller = select.poll()
    poller.register(descriptor, wanted)
    ready = poller.poll(None if timeout_s is None else timeout_s * 1000)
    return ready[0][1] if ready else 0


def read_ready(descriptor: int, most: int) -> bytes | None:
    """At most *most* bytes that have arrived; None if there are none yet, b"" at the end."""
    if most == 0 or not poll(descriptor, select.POLLIN):
        return None
    return os.read(descriptor, most)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of *data*, waiting for as long as the far side is slow, but not once it is gone."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # somebody has made it non-blocking
            if poll(descriptor, select.POLLOUT, timeout_s=None) & select.POLLHUP:
                raise OSError(errno.EIO, os.strerror(errno.EIO)) from None


def make_raw(descriptor: int) -> None:
    """Let every byte through a terminal as it is: no echo, no lines, no signals, no CR for LF.

    This is termios(3)'s `cfmakeraw`, spelled out because Python's own `tty.setraw` has
    changed from one version to the next.
    """
    mode = termios.tcgetattr(descriptor)
    mode[IFLAG] &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP)
    mode[IFLAG] &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
    mode[OFLAG] &= ~termios.OPOST
    mode[CFLAG] = mode[CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    mode[LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    mode[CC][termios.VMIN] = 1
    mode[CC][termios.VTIME] = 0
    termios.tcsetattr(descriptor, termios.TCSANOW, mode)


def refused(what: str, problem: OSError) -> HostError:
    """Turn what the operating system said about *what* into one line of ours."""
    return HostError(f"{what}: {problem.strerror or problem}")
