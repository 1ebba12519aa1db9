"""Damaged saves in numbers.

`tests/damaged_saves.py` makes them, each told by its number; a million have been loaded once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from damaged_saves import Damage, damaged

TESTS = Path(__file__).parents[1]
LIMIT_S = 3600


def run(first: int, count: int, folder: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, str(TESTS / "damaged_saves.py"), str(first), str(count), str(folder)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )


def check(done: subprocess.CompletedProcess[str], count: int) -> None:
    """Each was refused or ran, and of no kind of damage was nothing refused or nothing tried."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FOUND" not in done.stdout
    head, *rows = (line.split() for line in done.stdout.splitlines())
    found = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}
    total = found.pop("all")
    assert found.keys() == {each.name for each in Damage}
    assert all(int(row["refused"].replace(",", "")) for row in found.values())
    assert sum(int(each.replace(",", "")) for each in total.values()) == count
    assert int(total["ran"].replace(",", "")) > count // 10


def test_some(tmp_path: Path) -> None:
    """In a process of their own, so that a crash is seen as such."""
    check(run(10_000_000, 400, tmp_path), 400)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(10))
def test_many(tmp_path: Path, part: int) -> None:
    """Others than above."""
    check(run(20_000_000 + part * 10_000, 10_000, tmp_path), 10_000)


def test_a_number_tells_the_save() -> None:
    """To the byte; so a finding can be had again."""
    assert damaged(4711) == damaged(4711)
    assert damaged(4711) != damaged(4712)
