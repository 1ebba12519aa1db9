"""Debian's GRUB, unmodified, from its rescue floppy: our BIOS boots it, and it boots kernels.

It is fetched by `tests/guests/fetch.py`.  It asks the BIOS for everything, from protected mode and
back half a million times a second, and changes its own code each time.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import guests_fetched
import pytest
from linux_runs import FLAVOURS, machine
from sessions import Seen, Step, session

from emu.memory import MIB

IMAGES = Path(__file__).parents[2] / "firmware" / "images"
MENU = "executed automatically in 30s"
PROMPT = "grub> "
MENU_NS = 500_000_000  # soon afterwards it is there
PLACES = 6
SECTOR_BYTES = 512


@pytest.fixture(scope="module")
def floppy() -> dict[str, Any]:
    return {"floppy": str(guests_fetched.path("grub/floppy.img")), "memory": "64M"}


def line(text: str, then: str = f"\r{PROMPT}") -> Step:
    """Type a line, and wait for what comes of it.  GRUB's lines end by LF and CR."""
    return Step(type=f"{text}\r", text=then)


COMMAND_LINE = [Step(text=MENU), Step(type="c", text=PROMPT)]


def screen(seen: Seen) -> str:
    """What was sent, which is UTF-8."""
    return seen.output.encode("latin-1").decode()


def disk(contents: bytes, file: Path) -> tuple[str, str]:
    """A disk that holds nothing else, and how GRUB calls its sectors: where no file system is."""
    file.write_bytes(contents.ljust(MIB, b"\0"))
    return str(file), f"(hd0)0+{-(-len(contents) // SECTOR_BYTES)}"


def test_its_menu_is_drawn_with_frames(floppy: dict[str, Any]) -> None:
    (seen,) = session(floppy, [Step(text=MENU)])

    for piece in (
        "GNU GRUB",
        "\u250c" + 76 * "\u2500" + "\u2510",
        "*GNU/Linux",
        "\u2191 and \u2193",
    ):
        assert piece in screen(seen)


def test_saved_on_its_way_and_restored_in_fresh_processes(
    floppy: dict[str, Any], tmp_path: Path
) -> None:
    """Each save comes to the next as the run did that saved it, and the last to the menu."""
    clocks = sorted(random.Random("grub").sample(range(1, MENU_NS), PLACES))
    steps = [Step(clock=ns, save=str(tmp_path / f"{ns}.emu")) for ns in clocks]
    steps.append(Step(text=MENU))

    straight = session(floppy, steps)

    for number, step in enumerate(steps[:-1]):
        (seen,) = session(Path(step.save or ""), [steps[number + 1]._replace(save=None)])
        assert seen.after(straight[number].output) == straight[number + 1]


def test_it_answers_and_reboots(floppy: dict[str, Any]) -> None:
    """Its drives, its clock, and the menu again."""
    steps = [*COMMAND_LINE, line("ls"), line("date"), line("reboot", MENU)]

    *_, drives, date, again = session(floppy, steps)

    assert "\n\r(fd0)" in drives.output.rpartition("ls")[2]
    assert "2000-01-01 00:00:0" in date.output
    assert again.output.count("Welcome to GRUB!") == 2


def test_it_boots_our_multiboot_kernel(floppy: dict[str, Any], tmp_path: Path) -> None:
    """Which says the same of it as of our own loader, but for what firmware is in the way."""
    kernel = (IMAGES / "kernel.elf").read_bytes()
    file, sectors = disk(kernel, tmp_path / "disk.img")
    steps = [*COMMAND_LINE, line(f"multiboot {sectors} one two"), line("boot", "loader   GRUB 2.")]

    *_, seen = session({**floppy, "disk": file, "boot": "a"}, steps)
    (ours,) = session(
        {"kernel": str(IMAGES / "kernel.elf"), "append": "one two", "memory": "64M"},
        [Step(text="loader")],
    )

    def report(output: str) -> dict[str, str]:
        lines = output[output.rindex("magic  ") :].splitlines()
        return dict(each.rsplit(maxsplit=1) for each in lines if len(each.split()) > 1)

    theirs, expected = report(seen.output), report(ours.output)
    for same in ("magic", "flags", "CR0", "EFLAGS", "A20 shut", "bss", "no IRQ 0", "upper"):
        assert theirs[same] == expected[same]
    assert "command  one two\r\n" in seen.output
    assert "  base   00100000\r\n  length 03F00000\r\n  type   00000001\r\n" in seen.output


@pytest.mark.soak
def test_it_boots_linux_by_its_real_mode_entry(floppy: dict[str, Any], tmp_path: Path) -> None:
    """Whose setup asks our BIOS for memory, drives, screen and keyboard; without a root it panics."""
    kernel = Path(machine(FLAVOURS[0], tmp_path)["kernel"]).read_bytes()
    file, sectors = disk(kernel, tmp_path / "disk.img")
    steps = [
        *COMMAND_LINE,
        line(f"linux16 {sectors} console=ttyS0 panic=1"),
        line("boot", "Linux version 6.1."),
        Step(text="BIOS-e820: [mem 0x0000000000100000-0x0000000003ffffff] usable"),
        Step(text="Kernel panic"),
    ]

    *_, seen = session({**floppy, "disk": file, "boot": "a"}, steps)

    assert "No filesystem could mount root" in seen.output
