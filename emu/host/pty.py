"""A pseudo-terminal of its own: a serial port that other programs open by a path.

`screen PATH`, `picocom PATH` or a debugger may open it, close it and open it again.  While nobody
has it open, output is dropped, as on a line whose cable is unplugged.

It is raw: what one side writes the other reads, byte for byte.  A program that opens it may
change that, as with any terminal.
"""

from __future__ import annotations

import errno
import io
import os
import select

from emu.host.descriptors import make_raw, poll, read_ready, refused, write_all


class PseudoTerminal:
    """The master's side of a pseudo-terminal; *path* is the other's."""

    at_end = False  # it may always be opened again

    def __init__(self) -> None:
        try:
            master, slave = os.openpty()
        except OSError as problem:
            raise refused("pty", problem) from None
        self.path = os.ttyname(slave)
        self._master = io.FileIO(master, "r+")
        make_raw(slave)
        os.set_blocking(master, False)  # a blocked write then sees the slave's closing
        os.close(slave)  # and from now on the master knows that nobody is there

    def write(self, data: bytes) -> None:
        if poll(self._master.fileno(), 0) & select.POLLHUP:
            return  # Linux would keep the bytes for whoever comes next, until it is full
        try:
            write_all(self._master.fileno(), data)
        except OSError as problem:
            self._forgive_absence(problem)

    def read(self, most: int) -> bytes:
        try:
            return read_ready(self._master.fileno(), most) or b""
        except OSError as problem:
            self._forgive_absence(problem)
            return b""

    def fileno(self) -> int | None:
        """None while nobody is there, and no last words: or it would be readable all the time."""
        master = self._master.fileno()
        return None if poll(master, select.POLLIN) == select.POLLHUP else master

    def close(self) -> None:
        self._master.close()

    def _forgive_absence(self, problem: OSError) -> None:
        if problem.errno != errno.EIO:  # Linux's word for: no slave is open
            raise refused(self.path, problem) from None
