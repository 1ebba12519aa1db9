"""``emu demo``: a guest saved in mid-sentence by one process, and finished by another."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from emu.errors import HostError

SAVE = "sentence.emu"
STEPS = (
    ("run", "hello", "-m", "1M", "--until", "serial:middle of this", "--save", SAVE),
    ("verify", SAVE),
    ("restore", SAVE),
)


def demonstrate(show: Callable[[str], None]) -> None:
    """Run each step as a process of its own, and *show* it as a user would see it."""
    try:
        place = tempfile.TemporaryDirectory(prefix="emu-demo-")
    except OSError as error:
        raise HostError(f"a folder for the demonstration: {error.strerror}") from error
    with place as folder:
        for step in STEPS:
            process = subprocess.run(  # noqa: S603 - this very program, with fixed arguments
                [sys.executable, "-m", "emu", *step],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=_environment(),
                check=False,
            )
            output = process.stdout.decode().replace("\r\n", "\n").removesuffix("\n")
            show(f"$ emu {shlex.join(step)}\n{output}\n")
            if process.returncode:
                raise HostError(f"emu {step[0]} ended with {process.returncode}")


def _environment() -> dict[str, str]:
    """The same environment, from which this very package is found wherever the step runs."""
    here = str(Path(__file__).parent.parent.parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
