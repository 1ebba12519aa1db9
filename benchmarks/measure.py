"""Running a command once, and what it cost.

CPU seconds are the child's own, user and system, all its threads, as the kernel accounts them when
the child is waited for.  They vary less than seconds of the wall on a machine that does other
things too.
"""

from __future__ import annotations

import enum
import os
import select
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
) -> Run:
    """Run *command* in *folder* until it ends, has printed *until*, or has taken *deadline_s*."""
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
        output, end = _listen(child.stdout, until, began_s + deadline_s)
        if end is not End.EXIT:
            child.kill()
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.monotonic() - began_s
        child.returncode = os.waitstatus_to_exitcode(status)
        complaint = _last_line(complaints)
    return Run(output, complaint, end, usage.ru_utime + usage.ru_stime, wall_s)


def _listen(pipe: IO[bytes] | None, until: bytes | None, deadline_s: float) -> tuple[bytes, End]:
    """What comes from *pipe*, and why it is all."""
    if pipe is None:
        raise RuntimeError("Popen was asked for a pipe and gave none")
    output = b""
    while (left_s := deadline_s - time.monotonic()) > 0:
        readable, _, _ = select.select([pipe], [], [], left_s)
        if not readable:
            break
        data = os.read(pipe.fileno(), READ_BYTES)
        output += data
        if until is not None and until in output:
            return output[: output.index(until) + len(until)], End.SEEN
        if not data:
            return output, End.EXIT
    return output, End.LATE


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
