"""`emu` as a process of its own: starting it, and waiting for what it says."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import emu
from emu.host.descriptors import poll

PATIENCE_S = 30  # far more than anything here takes: nobody waits for it unless a test fails
ROOT = Path(emu.__file__).parents[1]


def command(*words: str) -> list[str]:
    """The command line ``emu *words``, of this very package."""
    return [sys.executable, "-m", "emu", *words]


def environment() -> dict[str, str]:
    """Ours, so that the package is found from any folder; and Python buffers as it would."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, "PYTHONPATH": str(ROOT)}


class Child(subprocess.Popen):
    """A process that ends with the `with` it is started in, whatever becomes of that.

    `Popen` waits there for its end, and would wait for ever where a test has failed.
    """

    def __exit__(self, failure: type[BaseException] | None, *rest: object) -> None:
        if failure is not None:
            self.kill()
        super().__exit__(failure, *rest)


def start(*words: str, **rest: Any) -> Child:
    """Start ``emu *words``; *rest* is `subprocess.Popen`'s."""
    return Child(command(*words), env=environment(), **rest)


def run(*words: str, **rest: Any) -> subprocess.CompletedProcess[bytes]:
    """Run ``emu *words`` to its end; what it writes is kept, unless *rest* says otherwise."""
    rest = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **rest}
    if "input" not in rest:
        rest = {"stdin": subprocess.DEVNULL, **rest}
    return subprocess.run(
        command(*words), env=environment(), timeout=PATIENCE_S, check=False, **rest
    )


def read_until(descriptor: int, text: bytes) -> bytes:
    """What comes from *descriptor* up to and with *text*, and no byte more."""
    seen = b""
    while not seen.endswith(text):
        assert poll(descriptor, select.POLLIN, PATIENCE_S), f"no {text!r} after {seen!r}"
        byte = os.read(descriptor, 1)
        assert byte, f"the end, and no {text!r}, after {seen!r}"
        seen += byte
    return seen
