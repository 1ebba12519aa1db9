"""``emu demo``: a guest saved in mid-sentence by one process, and finished by another."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from emu.errors import HostError

SAVE = "sentence.emu"
STEPS = (
    ("run", "hello", "-m", "1M", "--until", "serial:middle of this", "--save", SAVE),
    ("verify", SAVE),
    ("restore", SAVE),
)


def demonstrate() -> None:
    """Run each step as a command of its own, and show it as a user would type it."""
    with tempfile.TemporaryDirectory(prefix="emu-demo-") as folder:
        for step in STEPS:
            words = [f"'{word}'" if " " in word else word for word in step]
            print(f"$ emu {' '.join(words)}", flush=True)
            process = subprocess.run(  # noqa: S603 - this very program, with fixed arguments
                [sys.executable, "-m", "emu", *step],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                env=_environment(),
                check=False,
            )
            print(flush=True)
            if process.returncode:
                raise HostError(f"emu {step[0]} ended with {process.returncode}")


def _environment() -> dict[str, str]:
    """The same environment, from which this very package is found wherever the step runs."""
    here = str(Path(__file__).parent.parent.parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
