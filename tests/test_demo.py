"""The demonstration does what the README shows, to the last digit."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import processes
import pytest

import emu
from emu.cli import main
from emu.tools import demo

README = (processes.ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def command() -> list[str]:
    """The words of the README's demonstration after the name of the program."""
    block = re.search(r"^<!-- ci: demo -->\n```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert block is not None
    program, *words = shlex.split(block[1].splitlines()[-1])
    assert Path(program).name == "emu"
    return words


def test_the_readmes_command_shows_what_the_readme_shows(command: list[str]) -> None:
    """The sentence is begun by one process and finished by another; the digest is the same."""
    shown = re.search(r"^```\n(\$ emu run.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert shown is not None

    ended = processes.run(*command)

    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.decode() == f"{shown[1]}\n"


def test_the_sentence_is_whole(command: list[str]) -> None:
    """What the two processes sent is what a guest sends that was never saved."""
    assert command == ["demo"]
    whole = processes.run("run", "hello", "-m", "1M").stdout.decode().replace("\r\n", "\n")

    shown = re.split(
        r"^\$ .*\n|^e1:.*\n", processes.run("demo").stdout.decode(), flags=re.MULTILINE
    )

    assert "".join(part.rstrip("\n") for part in shown) == whole.rstrip("\n")


def test_its_steps_are_processes_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is shown as a user would type it, in a folder that is gone afterwards."""
    monkeypatch.setattr(demo, "STEPS", [("--version",), ("run", "--help")])

    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"$ emu --version\nemu {emu.__version__}\n\n$ emu run --help\nusage: ")


def test_a_step_that_fails_ends_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line more, status 1."""
    monkeypatch.setattr(demo, "STEPS", [("verify", "no such"), ("--version",)])

    assert main(["demo"]) == 1
    assert capfd.readouterr() == (
        "$ emu verify 'no such'\n\n\n",
        "emu: no such: No such file or directory\nemu: emu verify ended with 1\n",
    )
