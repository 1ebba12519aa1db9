"""Damaged saves in numbers, and those that once found something.

`tests/damaged_saves.py` makes them, each told by its number; a million have been loaded once.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from damaged_saves import Damage, Target, damaged

TESTS = Path(__file__).parents[1]
CORPUS = Path(__file__).parent / "corpus"
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


@pytest.mark.parametrize(
    ("name", "became"),
    [
        # Code that nobody wrote, in which every instruction reads and writes what is not there:
        # 2 ms are minutes of the host's time.  It is no endless loop, and can be stopped.
        ("52758.emu.gz", "slow"),
        ("551387.emu.gz", "slow"),
    ],
)
def test_one_that_once_found_something(name: str, became: str) -> None:
    """It loads in whatever version this is, and does no harm."""
    target = Target()
    found = target.take(gzip.decompress((CORPUS / name).read_bytes()))
    target.vm.close()

    assert found == became


def test_all_of_them_are_looked_at() -> None:
    """None is kept in vain."""
    told = {name for name, _ in test_one_that_once_found_something.pytestmark[0].args[1]}

    assert told == {path.name for path in CORPUS.iterdir()}
