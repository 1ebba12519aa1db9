"""The README's card of a user's own: it works as it stands there, and nobody can tell it was saved."""

from __future__ import annotations

import io
import random
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

import emu
from emu import StreamError
from emu.host.ends import Memory as MemoryEnd

README = Path(__file__).parent.parent / "README.md"
HEADING = "## A card of your own"
LINES_MOST = 30
MS = 1_000_000


def script_in(readme: str) -> str:
    """The Python under the heading."""
    chapter = readme.partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    (script,) = re.findall(r"^```python\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)
    return script


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the script has run, and left its files."""
    return tmp_path_factory.mktemp("readme")


@pytest.fixture(scope="module")
def example(folder: Path) -> SimpleNamespace:
    """What the script has made: its names, and what it printed, after a run in *folder*."""
    script = folder / "card.py"
    script.write_text(script_in(README.read_text()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        printed: list[object] = []
        patch.setattr("builtins.print", printed.append)
        names = runpy.run_path(str(script))
    yield SimpleNamespace(printed=printed, **names)
    names["vm"].close()
    names["other"].close()


def test_it_is_short() -> None:
    assert len(script_in(README.read_text()).splitlines()) <= LINES_MOST


def test_it_registers_everything_by_hand() -> None:
    script = script_in(README.read_text())

    for name in (
        "register_ioport_read",
        "register_ioport_write",
        "register_reset",
        "register_savevm",
    ):
        assert f"slot.{name}(" in script


def test_it_says_what_it_is_said_to_say(example: SimpleNamespace) -> None:
    assert example.printed == [True]


def test_what_the_guest_threw_goes_on_in_the_restored_machine(
    example: SimpleNamespace, folder: Path
) -> None:
    """The second file is the end of the first, from the save on."""
    thrown = (folder / "thrown.txt").read_bytes()
    later = (folder / "thrown-later.txt").read_bytes()

    assert re.fullmatch(rb"emu ROM: guest at 0000:7C00\r\n[1-6]{18,}", thrown)
    assert len(later) >= 9
    assert thrown.endswith(later)
    assert example.other.clock.now_ns == example.vm.clock.now_ns


def test_without_the_card_it_is_refused_by_its_name(example: SimpleNamespace, folder: Path) -> None:
    assert example.Dice is not None

    with pytest.raises(StreamError, match="no such section in this machine") as refused:
        emu.load(folder / "dice.emu")

    assert refused.value.section == "user/dice/0"


@pytest.mark.parametrize("seed", range(3))
def test_nobody_can_tell_that_it_was_saved(example: SimpleNamespace, seed: int) -> None:
    """At any moment, any number of generations."""
    straight, end = MemoryEnd(), MemoryEnd()
    with emu.Machine(example.guest, cards=[example.Dice], serial=straight) as vm:
        vm.run(emu.clock(1_000 * MS))
        expected = vm.digest()

    moments = sorted(random.Random(seed).sample(range(1_000 * MS), 20))
    vm = emu.Machine(example.guest, cards=[example.Dice], serial=end)
    for moment in moments:
        vm.run(emu.clock(moment))
        file = io.BytesIO()
        vm.save(file)
        vm.close()
        file.seek(0)
        vm = emu.load(file, cards=[example.Dice], serial=end)
    vm.run(emu.clock(1_000 * MS))

    assert end.sent == straight.sent
    assert vm.digest() == expected
    vm.close()


def test_a_reset_and_a_write_do_what_they_say(example: SimpleNamespace) -> None:
    with emu.Machine(example.guest, cards=[example.Dice]) as vm:
        ports = vm.board.slot.ports
        first = [ports.read(0x300, 1) for _ in range(50)]
        vm.reset()
        again = [ports.read(0x300, 1) for _ in range(50)]
        ports.write(0x300, 99, 1)
        others = [ports.read(0x300, 1) for _ in range(50)]

    assert first == again != others
    assert {*first, *others} == {1, 2, 3, 4, 5, 6}
