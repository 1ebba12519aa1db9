"""Saves of a machine at work, damaged in every way: refused in one line, or the very same machine.

Every damaged save is loaded into a machine that is there, with something to lose: after each
refusal it is as it was.
"""

from __future__ import annotations

import io
import os
import random
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest_runs import ECHO, PRIMES, Running, Script
from synthetic import Piece, put_together, take_apart

from emu import Machine, StreamError, attrs, cli
from emu.memory import MIB
from emu.savevm import description
from emu.savevm.sections import Kind
from emu.savevm.stream import from_bytes

TESTS = Path(__file__).parents[1]
PARTS = 8  # that many tests share the work
FLIPS = 10_000
LOOK_EVERY = 64  # so often the machine's digest is compared, and what is quick to see every time

BUSY_NS = 12_310_000  # somebody is typing, the guest answers, and more is to come
OTHER_NS = 30_000_000

parts = pytest.mark.parametrize("part", range(PARTS))


@attrs.frozen
class Save:
    """A save, and the digest of the machine it was made of."""

    data: bytes
    digest: str

    @property
    def description_at(self) -> int:
        """Where the description begins, with its length."""
        return self.data.rindex(b'{"page_size"') - 4

    def pieces(self) -> list[Piece]:
        return take_apart(self.data)

    def of(self, pieces: list[Piece]) -> bytes:
        """One of these *pieces*, every checksum made anew."""
        return put_together(self.data, pieces)


def save_at(script: Script, now_ns: int) -> Save:
    running = script.start("auto")
    digest = running.run_to(now_ns).digest
    data = running.save().data
    running.close()
    return Save(data, digest)


@pytest.fixture(scope="module")
def saved() -> Save:
    return save_at(ECHO, BUSY_NS)


@attrs.define(eq=False)
class Target:
    """A machine that damaged saves are loaded into."""

    running: Running
    save: Save = attrs.field(init=False)
    states: list[object] = attrs.field(init=False)
    now_ns: int = attrs.field(init=False)
    loads: int = 0

    def __attrs_post_init__(self) -> None:
        self.save = Save(self.running.save().data, self.vm.digest())
        self.go_home()

    @property
    def vm(self) -> Machine:
        return self.running.vm

    def go_home(self) -> None:
        """Be again what it was before something has been loaded."""
        self.vm.load(io.BytesIO(self.save.data))
        self.now_ns = self.vm.clock.now_ns
        self.states = [card.state for card in self.vm.board.slot.registry.cards]

    def load(self, data: bytes) -> StreamError | None:
        """What it says to *data*, having looked whether it is as it was; None where it loads."""
        self.loads += 1
        try:
            self.vm.load(io.BytesIO(data))
        except StreamError as error:
            refused = error
        else:
            return None
        assert str(refused).isprintable(), "one line, and nothing that a terminal would obey"
        assert (refused.section, refused.field, refused.offset) != (None, None, None)
        self.check(closely=self.loads % LOOK_EVERY == 0)
        return refused

    def refuses(self, data: bytes) -> StreamError:
        error = self.load(data)
        assert error is not None
        return error

    def check(self, *, closely: bool = True) -> None:
        """It is as it was."""
        assert self.vm.clock.now_ns == self.now_ns
        if closely:
            assert [card.state for card in self.vm.board.slot.registry.cards] == self.states
            assert self.vm.digest() == self.save.digest


@pytest.fixture
def target() -> Iterator[Target]:
    """It has run something else, and is in the middle of it."""
    running = PRIMES.start("auto")
    running.run_to(OTHER_NS)
    yield Target(running)
    running.close()


# ==== by accident =========================================================================


class TestCut:
    @parts
    def test_at_every_byte(self, saved: Save, target: Target, part: int) -> None:
        for length in range(part, saved.description_at, PARTS):
            target.refuses(saved.data[:length])
        target.check()

    def test_at_every_byte_of_the_description(self, saved: Save, target: Target) -> None:
        """What comes before it is the same for all of these, so it is not read for each."""
        for length in range(saved.description_at, len(saved.data)):
            f = from_bytes(saved.data[saved.description_at : length])
            with pytest.raises(StreamError):
                description.read(f)
        for length in range(saved.description_at, len(saved.data), 20):
            assert target.refuses(saved.data[:length]).field == "description"
        target.check()

    def test_something_after_the_end(self, saved: Save, target: Target) -> None:
        assert "follows" in str(target.refuses(saved.data + b"\0"))


class TestFlipped:
    @parts
    def test_any_bits(self, saved: Save, target: Target, part: int) -> None:
        """In each save one, in some of them several."""
        dice = random.Random(part)

        for _ in range(FLIPS // PARTS):
            bad = bytearray(saved.data)
            for _ in range(dice.choice([1, 1, 1, 1, 2, 8])):
                bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
            if target.load(bytes(bad)) is None:
                assert target.vm.digest() == saved.digest
                target.go_home()
        target.check()

    @pytest.mark.parametrize("size", [2, 16, 512, 4096])
    def test_whole_stretches(self, saved: Save, target: Target, size: int) -> None:
        """Zeroed, lost, doubled, exchanged: what becomes of the blocks of a disk."""
        dice = random.Random(size)

        for _ in range(25):
            at = dice.randrange(len(saved.data) - 2 * size)
            end = at + 2 * size
            a, b = saved.data[at : at + size], saved.data[at + size : end]
            for middle in (bytes(2 * size), a, a + b + a + b, b + a):
                bad = saved.data[:at] + middle + saved.data[end:]
                assert bad == saved.data or target.load(bad) is not None
        target.check()


# ==== by somebody who makes the checksums anew ============================================


def is_whole(piece: Piece) -> bool:
    return piece.kind == Kind.FULL


def name_of(piece: Piece) -> str:
    return f"{piece.idstr}/{piece.instance}"


class TestRearranged:
    def test_a_section_is_removed(self, saved: Save, target: Target) -> None:
        for index, piece in enumerate(saved.pieces()):
            pieces = saved.pieces()
            del pieces[index]

            error = target.refuses(saved.of(pieces))

            if is_whole(piece) and index:
                assert (error.section, error.problem) == (name_of(piece), "the section is missing")
        target.check()

    def test_a_section_is_there_twice(self, saved: Save, target: Target) -> None:
        for piece in saved.pieces():
            error = target.refuses(saved.of([*saved.pieces(), piece]))

            assert error.section == name_of(piece)
        target.check()

    @pytest.mark.parametrize(
        "name", ["stranger", "i8254", "emu/kettle", "", "x" * 255, "a\nb\x1b[2J"]
    )
    def test_a_section_has_another_name(self, saved: Save, target: Target, name: str) -> None:
        for index, piece in enumerate(saved.pieces()):
            pieces = saved.pieces()
            pieces[index].idstr = name

            if piece.idstr != name and piece.kind in {Kind.FULL, Kind.START}:
                target.refuses(saved.of(pieces))
        target.check()

    @pytest.mark.parametrize("instance", [1, 2, 0xFFFF_FFFF])
    def test_a_section_has_another_instance(
        self, saved: Save, target: Target, instance: int
    ) -> None:
        for index, piece in enumerate(saved.pieces()):
            pieces = saved.pieces()
            pieces[index].instance = instance

            if piece.instance != instance and piece.kind in {Kind.FULL, Kind.START}:
                target.refuses(saved.of(pieces))
        target.check()

    @pytest.mark.parametrize("more", [1, 100])
    def test_a_section_is_newer(self, saved: Save, target: Target, more: int) -> None:
        for index, piece in enumerate(saved.pieces()):
            pieces = saved.pieces()
            pieces[index].version += more
            newer = pieces[index].version

            if piece.kind in {Kind.FULL, Kind.START}:
                error = target.refuses(saved.of(pieces))
                assert (error.section, error.found) == (name_of(piece), newer)
        target.check()

    def test_a_section_says_it_is_older_than_any(self, saved: Save, target: Target) -> None:
        for index, piece in enumerate(saved.pieces()):
            pieces = saved.pieces()
            pieces[index].version = 0

            if piece.kind in {Kind.FULL, Kind.START}:
                error = target.refuses(saved.of(pieces))
                assert error.section == name_of(piece)
        target.check()

    @pytest.mark.parametrize("seed", range(20))
    def test_sections_are_in_another_order(self, saved: Save, target: Target, seed: int) -> None:
        """Which nobody needs them to be in, so it is the same machine."""
        head, *rest = saved.pieces()
        stages = [piece for piece in rest if not is_whole(piece)]
        others = [piece for piece in rest if is_whole(piece)]
        dice = random.Random(seed)
        dice.shuffle(others)
        middle = dice.randrange(len(others))

        assert target.load(saved.of([head, *others[:middle], *stages, *others[middle:]])) is None

        assert target.vm.digest() == saved.digest

    @pytest.mark.parametrize("seed", range(20))
    def test_everything_is_in_another_order(self, saved: Save, target: Target, seed: int) -> None:
        pieces = saved.pieces()
        random.Random(seed).shuffle(pieces)

        if target.load(saved.of(pieces)) is None:
            assert target.vm.digest() == saved.digest

    def test_two_sections_change_places(self, saved: Save, target: Target) -> None:
        """Their payloads, that is: a chip is given another's State."""
        whole = [index for index, piece in enumerate(saved.pieces()) if is_whole(piece)]
        for index in whole:
            pieces = saved.pieces()
            other = pieces[whole[whole.index(index) - 1]]
            mine = pieces[index]
            mine.payload, other.payload = other.payload, mine.payload

            if mine.payload != other.payload and mine.idstr != other.idstr:
                target.refuses(saved.of(pieces))
        target.check()

    @pytest.mark.parametrize("spare", [-1, 1, 8])
    def test_a_section_is_longer_or_shorter(self, saved: Save, target: Target, spare: int) -> None:
        for index, piece in enumerate(saved.pieces()):
            pieces = saved.pieces()
            pieces[index].payload = (
                piece.payload[:spare] if spare < 0 else piece.payload + b"\5" * spare
            )

            error = target.refuses(saved.of(pieces))

            assert error.section == name_of(piece) or piece.idstr == "emu/machine"
        target.check()


class TestMemory:
    """Somebody's number is no reason to ask the host for as much; hostile.py has a limit, too."""

    @pytest.mark.parametrize(
        "idstr",
        [
            *("ram", "emu/cable", "emu/serial", "emu/fw_cfg", "emu/inputs", "emu/i8042"),
            *("emu/ps2_keyboard", "emu/ps2_mouse", "emu/typist"),
        ],
    )
    def test_a_length_that_is_made_up_costs_nothing(
        self, saved: Save, target: Target, idstr: str
    ) -> None:
        index, piece = next(
            (index, piece) for index, piece in enumerate(saved.pieces()) if piece.idstr == idstr
        )
        made_up = []
        for at in range(min(len(piece.payload) - 3, 24)):
            pieces = saved.pieces()
            pieces[index].payload = (
                piece.payload[:at] + b"\x7f\xff\xff\xff" + piece.payload[at + 4 :]
            )
            made_up.append(saved.of(pieces))

        tracemalloc.start()
        for data in made_up:
            if target.load(data) is None:
                target.go_home()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert most < 4 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
class TestMadeUp:
    """In a process of their own, so that a crash or a loop without end is seen as such."""

    COUNT = 50

    def run(self, *arguments: object, limit_s: float) -> list[str]:
        """What became of each save that hostile.py made up."""
        paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
        done = subprocess.run(
            [sys.executable, str(TESTS / "hostile.py"), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=limit_s,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout[-500:]
        return done.stdout.splitlines()

    @pytest.mark.parametrize(
        ("script", "now_ns", "engine", "first"),
        [
            ("echo", BUSY_NS, "auto", 0),
            ("echo", 45_000_001, "auto", 1_000),
            ("hello", 8_100_000, "auto", 2_000),
            ("ticks", 56_000_000, "auto", 3_000),
            ("primes", OTHER_NS, "auto", 4_000),
            ("keys", 12_500_000, "auto", 6_000),  # while somebody holds Shift
            ("echo", 20_000_100, "reference", 5_000),
        ],
    )
    def test_it_is_refused_or_it_runs(
        self, script: str, now_ns: int, engine: str, first: int
    ) -> None:
        lines = self.run(script, now_ns, engine, first, self.COUNT, limit_s=100)

        assert len(lines) == self.COUNT
        became = {re.split(r"[ :]+", line)[1] for line in lines}
        assert became == {"refused", "ran"}


class TestCommands:
    """One line, and an exit status; never a traceback."""

    @pytest.mark.parametrize("command", ["verify", "inspect", "restore"])
    @pytest.mark.parametrize("seed", range(8))
    def test_of_a_damaged_file(
        self,
        saved: Save,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        command: str,
        seed: int,
    ) -> None:
        dice = random.Random(seed)
        bad = bytearray(
            saved.data[: dice.choice([len(saved.data), dice.randrange(len(saved.data))])]
        )
        bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
        file = tmp_path / "a.emu"
        file.write_bytes(bad)
        rest = ["--for", "1ms", "--serial", "none"] if command == "restore" else []

        status = cli.main([command, str(file), *rest])

        captured = capsys.readouterr()
        if command == "inspect" and status == 0:
            assert "damaged" in captured.out, "it shows what it can, and says so"
        else:
            assert (status, captured.out) == (1, "")
            assert re.fullmatch(r"emu: [^\n]+\n", captured.err)
