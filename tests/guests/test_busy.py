"""Busy guests with saves at random moments: nothing differs, and nothing is left over (busy.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest
from processes import ROOT
from programs import require

PROGRAM = Path(__file__).parent / "busy.py"


def memory_of_a_run(generations: int) -> list[int]:
    """Run the program, which ends badly at the first difference; what memory it had, in KiB."""
    require("nasm")
    folders = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(generations)],
        env={**os.environ, "PYTHONPATH": folders},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert int(lines[-1][0]) == generations
    return [int(kib) for _, kib in lines]


def growth_kib(memory: list[int]) -> float:
    """From the first half of a run to the second."""
    half = len(memory) // 2
    return mean(memory[half:]) - mean(memory[:half])


def test_a_slice_of_it() -> None:
    """A machine left over each time would be 100 MiB and more; what is learned at first is 12."""
    assert growth_kib(memory_of_a_run(200)) < 32 * 1024


@pytest.mark.soak
def test_an_hour_of_it() -> None:
    """About that.  Memory goes up and down by 6 MiB as Python collects garbage."""
    assert growth_kib(memory_of_a_run(130_000)) < 8 * 1024
