"""What the README says is so: its files are there, about as long as it says, its Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from emu.arguments import parse
from emu.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
READING = re.findall(r"^\d+\. `([^`]+)` \((\d+) lines\)", README, re.MULTILINE)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_there_is_a_reading_order() -> None:
    assert len(READING) >= 10


@pytest.mark.parametrize(("file", "lines"), READING)
def test_a_file_of_the_reading_order_is_as_long_as_it_says(file: str, lines: str) -> None:
    """To a tenth: small changes need no new README."""
    found = len((ROOT / file).read_text().splitlines())

    assert abs(found - int(lines)) <= found / 10, f"{file} has {found} lines"


def test_the_demonstration_shows_what_the_readme_shows(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """To the letter: the digest too, on whatever engine runs it here."""
    shown = next(block for block in blocks("") if block.startswith("$ emu run hello"))

    assert main(["demo"]) == 0
    assert capfd.readouterr().out.replace("\r\n", "\n").strip() == shown.strip()


def test_what_a_tick_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each command shows what the README shows: to the letter, whether or not there is capstone."""
    monkeypatch.chdir(tmp_path)
    example = next(block for block in blocks("") if "emu diff before.emu" in block)

    for line in example.split("$ emu ")[1:]:
        words, _, shown = line.partition("\n")
        status = main(shlex.split(words))
        assert capfd.readouterr().out == shown
        assert status == (1 if words.startswith("diff") else 0)


def test_the_python_of_use_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three branches of one moment are the same machine."""
    monkeypatch.chdir(tmp_path)
    example = next(block for block in blocks("python") if 'emu.Machine("ticks"' in block)

    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own example

    first, *branches = capsys.readouterr().out.splitlines()
    assert first.startswith("serial:tick 3")
    assert len(branches) == 3
    assert len(set(branches)) == 1


def test_every_command_of_use_it_has_options_that_exist() -> None:
    block = next(block for block in blocks("sh") if "emu run hello" in block)
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "emu"
        parse(words[1:])
