"""Sessions with a guest that talks over its serial port, each in a process of its own.

What is typed goes to the serial port; what can be seen after each step is compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import processes

PROGRAM = Path(__file__).parent / "session_process.py"


class Step(NamedTuple):
    """Type something, run to a clock or until a text has been said, and perhaps save."""

    type: str = ""
    clock: int = 0
    text: str | None = None
    save: str | None = None


class Seen(NamedTuple):
    """What can be seen of a machine after a step."""

    now_ns: int
    output: str  # from the session's begin on
    digest: str

    def after(self, before: str) -> Seen:
        """The same for who has seen *before* in an earlier session."""
        return Seen(self.now_ns, before + self.output, self.digest)


def session(start: dict[str, Any] | Path, steps: Sequence[Step]) -> list[Seen]:
    """What is seen of a new machine, or of one restored from a file, in a process of its own."""
    plan = {"load": str(start)} if isinstance(start, Path) else {"machine": start}
    plan["steps"] = [step._asdict() for step in steps]
    done = subprocess.run(
        [sys.executable, PROGRAM],
        input=json.dumps(plan).encode(),
        env=processes.environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [Seen(*each) for each in json.loads(done.stdout)]


def command(text: str, done: str) -> Step:
    """Type a line, and wait for *done* at a line's beginning."""
    return Step(type=f"{text}\r", text=f"\n{done}")
