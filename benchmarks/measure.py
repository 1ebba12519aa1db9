"""Running a command once, and what it cost.

CPU seconds are the child's own, user and system, all its threads, as the kernel accounts them when
the child is waited for.  They vary less than seconds of the wall on a machine that does other
things too.
"""

from __future__ import annotations

import enum
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from benchmarks.installation import environment
from emu import attrs

READ_BYTES = 4096
DEADLINE_S = 600.0


class End(enum.Enum):
    """How a child ended."""

    EXIT = "by itself"
    SEEN = "it had printed what it was to print, and was killed"
    LATE = "it took too long, and was killed"


@attrs.frozen
class Run:
    """What a child has printed and cost."""

    output: bytes  # up to and with the text that it was to print
    complaint: str  # the last line of its standard error
    end: End
    cpu_s: float
    wall_s: float


def run(
    command: Sequence[str],
    folder: Path,
    until: bytes | None = None,
    deadline_s: float = DEADLINE_S,
    since: bytes | None = None,
) -> Run:
    """Run *command* in *folder* until it ends, has printed *until*, or has taken *deadline_s*.

    Its cost, and its output, begin when it has printed *since*.
    """
    began_s = time.monotonic()
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(  # noqa: S603 - the commands are those of peers.py
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
        ) as child,
    ):
        said, before_s, end = _Output(child.stdout), 0.0, End.SEEN
        if since is not None:
            output, end = said.take(since, began_s + deadline_s)
            before_s = cpu_s(child.pid)
        if end is End.SEEN:
            output, end = said.take(until, began_s + deadline_s)
        if end is not End.EXIT:
            os.kill(child.pid, signal.SIGKILL)  # Popen's own would wait for one that is over
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.monotonic() - began_s
        child.returncode = os.waitstatus_to_exitcode(status)
        complaint = _last_line(complaints)
    return Run(output, complaint, end, usage.ru_utime + usage.ru_stime - before_s, wall_s)


def cpu_s(process: int) -> float:
    """What a process that runs has taken until now, as Linux tells it: proc(5), /proc/pid/stat."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@attrs.define(eq=False)
class _Output:
    """What a child prints."""

    pipe: IO[bytes] | None
    seen: bytes = b""  # and not yet taken

    def take(self, until: bytes | None, deadline_s: float) -> tuple[bytes, End]:
        """What comes up to and with *until*, or else all; and why it is all."""
        if self.pipe is None:
            raise RuntimeError("Popen was asked for a pipe and gave none")
        while until is None or until not in self.seen:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([self.pipe], [], [], left_s)[0]:
                return self.seen, End.LATE
            data = os.read(self.pipe.fileno(), READ_BYTES)
            if not data:
                return self.seen, End.EXIT
            self.seen += data
        taken, _, self.seen = self.seen.partition(until)
        return taken + until, End.SEEN


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
