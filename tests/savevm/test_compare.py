"""Two saves can be compared: field by field, byte by byte, without a machine and in little memory."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest
from synthetic import (
    FOREIGN,
    SCHEMAS,
    Machine,
    Piece,
    dice_of,
    file_of,
    put_together,
    take_apart,
)

from emu.clock import NEVER
from emu.errors import StreamError
from emu.memory import MIB, PAGE_BYTES, ZERO_PAGE
from emu.savevm.compare import Comparison, FieldDifference, PageDifference, Run
from emu.savevm.compare import compare as compare_contents
from emu.savevm.contents import Block, Schemas, reading
from emu.savevm.inspect import verify
from emu.savevm.sections import Dialect, Foreign, Kind

OLD_HEADER = bytes.fromhex("5145564d 00000003")


@contextmanager
def compare(
    a: BinaryIO,
    b: BinaryIO,
    schemas: Schemas,
    foreign: Foreign | None = None,
    *,
    wire: bool = False,
) -> Iterator[Comparison]:
    """Two saves of ours, or one of QEMU's."""
    with reading(a, schemas, foreign) as left, reading(b, schemas, foreign) as right:
        yield compare_contents(left, right, wire=wire)


@pytest.fixture
def machine() -> Machine:
    return Machine().fill(1)


def fields(found: Comparison) -> list[tuple[str, str, object, object]]:
    return [(each.section, each.field, each.a, each.b) for each in found.fields]


class TestFields:
    def test_the_same(self, machine: Machine) -> None:
        with compare(file_of(machine.save()), file_of(machine.save()), SCHEMAS) as found:
            assert not found
            assert (found.fields, found.only_a, found.only_b, found.pages) == ((), (), (), {})

    def test_by_the_chips_own_names_through_nested_and_repeated_ones(
        self, machine: Machine
    ) -> None:
        """In the order of the stream; a list that is shorter has nothing there."""
        machine.chips[1].state.deadline_ns = NEVER
        before = machine.save()
        machine.chips[1].state.count = 5
        machine.chips[1].state.deadline_ns = 77
        machine.chips[3].state.voices[1].pan = 4
        machine.chips[3].state.waiting = []
        machine.card.value = 7

        with compare(file_of(before), file_of(machine.save()), SCHEMAS) as found:
            assert [each[:2] for each in fields(found)] == [
                ("counter/0", "count"),
                ("counter/0", "deadline_ns"),
                ("mixer/0", "voices[1].pan"),
                ("mixer/0", "waiting[0].pitch"),
                ("mixer/0", "waiting[0].pan"),
                ("user/card/0", "data"),
            ]
            assert fields(found)[1][2:] == (NEVER, 77)
            assert fields(found)[2][2:] == (127, 4)
            assert fields(found)[3][2:] == (2, None)
            assert [each.declared is not None for each in found.fields] == [True] * 5 + [False]
            assert bool(found)

    def test_each_says_how_it_is_declared(self, machine: Machine) -> None:
        before = machine.save()
        machine.chips[3].state.voices[1].pan = 4

        with compare(file_of(before), file_of(machine.save()), SCHEMAS) as found:
            (difference,) = found.fields

        assert difference.declared is not None
        assert difference.declared.metadata["doc"] == "left to right"

    def test_what_QEMU_has_no_room_for_is_the_chip_s_as_well(self, machine: Machine) -> None:
        """Which of its sections a field is in is of no interest, unless that is asked for."""
        before = machine.save()
        machine.chips[1].state.shadow = 1

        with compare(file_of(before), file_of(machine.save()), SCHEMAS) as found:
            assert fields(found) == [("counter/0", "shadow", 99, 1)]
        with compare(file_of(before), file_of(machine.save()), SCHEMAS, wire=True) as found:
            assert fields(found) == [("emu/counter/0", "shadow", 99, 1)]

    def test_an_older_version_of_a_section_is_no_other_machine(self) -> None:
        """Nor are bytes that say nothing; on the wire they are something else."""
        machine = Machine()
        for chip in machine.chips:
            chip.state = type(chip.state)()
        new = machine.save(Dialect.QEMU_7_2, FOREIGN)
        old = bytearray(new)
        at = old.index(b"\x07counter") + len(b"\x07counter") + 8
        old[at + 2 : at + 4] = b"\xab\xcd"  # the constant behind COUNT

        with compare(file_of(new), file_of(bytes(old)), SCHEMAS, FOREIGN) as found:
            assert not found

    def test_the_host_s_ends_are_not_the_machine(self, machine: Machine) -> None:
        before = machine.save()
        machine.chips[4].state.typed = b"something else"

        with compare(file_of(before), file_of(machine.save()), SCHEMAS) as found:
            assert not found
        with compare(file_of(before), file_of(machine.save()), SCHEMAS, wire=True) as found:
            assert [each.section for each in found.fields] == ["emu/host-line/0"]

    def test_a_section_that_only_one_has(self, machine: Machine) -> None:
        data = machine.save()
        more = put_together(data, [*take_apart(data), Piece(Kind.FULL, 99, "new", 1, 1, b"")])

        with compare(file_of(data), file_of(more), SCHEMAS) as found:
            assert (found.only_a, found.only_b, found.fields) == ((), ("new/1",), ())
            assert found
        with compare(file_of(more), file_of(data), SCHEMAS) as found:
            assert (found.only_a, found.only_b) == (("new/1",), ())

    def test_a_host_s_end_that_nobody_knows_is_not_the_machine_either(
        self, machine: Machine
    ) -> None:
        data = machine.save()
        more = [*take_apart(data), Piece(Kind.FULL, 99, "emu/host-new", 1, 1, b"")]

        with compare(file_of(data), file_of(put_together(data, more)), SCHEMAS) as found:
            assert not found

    def test_a_newer_version_of_what_nobody_knows(self, machine: Machine) -> None:
        data = machine.save()
        both = [
            put_together(data, [*take_apart(data), Piece(Kind.FULL, 99, "new", 1, version, b"a")])
            for version in (1, 2)
        ]

        with compare(*map(file_of, both), SCHEMAS) as found:
            assert fields(found) == [("new/1", "version", 1, 2)]

    def test_two_machines(self) -> None:
        one = Machine().save(Dialect.EMU)
        other = Machine(2 << 20).save(Dialect.QEMU_7_2, FOREIGN)

        with compare(file_of(one), file_of(other), SCHEMAS, FOREIGN) as found:
            assert ("ram/0", "pc.ram.size", 1 << 20, 2 << 20) in fields(found)
            assert "emu/machine/0" in found.only_a

    def test_their_names_are_on_the_wire(self) -> None:
        data = Machine().save()
        other = OLD_HEADER + b"\0"

        with compare(file_of(data), file_of(other), SCHEMAS, wire=True) as found:
            assert fields(found) == [("configuration/0", "machine", "synthetic", None)]

    def test_one_that_is_damaged(self, machine: Machine) -> None:
        data = machine.save()

        with (
            pytest.raises(StreamError, match="user/disk"),
            compare(file_of(data), file_of(data[:-5]), SCHEMAS),
        ):
            pass

    def test_pipes(self, machine: Machine) -> None:
        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

        before = machine.save()
        machine.ram.write(5, b"\xee")

        with compare(Pipe(before), Pipe(machine.save()), SCHEMAS) as found:
            assert [page.number for page in found.page_differences()] == [0]

    @pytest.mark.parametrize("seed", range(40))
    def test_nothing_differs_if_and_only_if_the_digests_are_the_same(self, seed: int) -> None:
        """One thing is changed, whatever it is; or nothing."""
        machine, dice = Machine().fill(seed), dice_of(seed)
        before = machine.save()
        dice.choice(CHANGES)(machine)
        after = machine.save()

        with compare(file_of(before), file_of(after), SCHEMAS) as found:
            same = not found

        assert same == (verify(file_of(before), SCHEMAS) == verify(file_of(after), SCHEMAS))


def _set(place: Callable[[Machine], object], name: str, value: object) -> Callable[..., None]:
    return lambda machine: setattr(place(machine), name, value)


CHANGES: list[Callable[[Machine], object]] = [
    lambda _machine: None,
    _set(lambda machine: machine.chips[1].state, "count", 3),
    _set(lambda machine: machine.chips[2].state, "shadow", 3),
    _set(lambda machine: machine.chips[3].state.voices[0], "pitch", 3),
    _set(lambda machine: machine.chips[4].state, "typed", b"3"),
    _set(lambda machine: machine.card, "value", 3),
    lambda machine: machine.ram.write(3 * PAGE_BYTES, b"333"),
    lambda machine: machine.ram.write(3 * PAGE_BYTES, machine.ram.read(3 * PAGE_BYTES, 9)),
    lambda machine: machine.bios.write(0, b"3"),
]


class TestPages:
    def test_by_block_and_number(self, machine: Machine) -> None:
        before = machine.save()
        zero = next(number for number in range(256) if not any(machine.ram.page(number)))
        machine.ram.write(zero * PAGE_BYTES + 100, b"abc")
        machine.ram.write(zero * PAGE_BYTES + 104, b"d")
        machine.bios.write(0, b"\xee" * PAGE_BYTES)

        with compare(file_of(before), file_of(machine.save()), SCHEMAS) as found:
            assert found.fields == ()
            assert {name: list(pages) for name, pages in found.pages.items()} == {
                "pc.bios": [0],
                "pc.ram": [zero],
            }
            whole, some = found.page_differences()

        assert (whole.block, whole.number, whole.a, whole.b) == (
            *("pc.bios", 0, ZERO_PAGE),
            b"\xee" * PAGE_BYTES,
        )
        place = zero * PAGE_BYTES + 100
        assert some.offset == zero * PAGE_BYTES
        assert list(some.runs()) == [
            Run(place, bytes(3), b"abc"),
            Run(place + 4, b"\0", b"d"),
        ]

    def test_runs_are_as_they_are(self) -> None:
        """Whatever is in a page, its runs and what is between them are the page."""
        dice = dice_of(1)
        for _ in range(50):
            a = bytes(dice.choices(b"\0\1\2", k=PAGE_BYTES))
            b = bytes(dice.choices(b"\0\1\2", k=PAGE_BYTES))
            changed = bytearray(a)
            for run in PageDifference("x", 0, a, b).runs():
                assert all(one != other for one, other in zip(run.a, run.b, strict=True))
                assert a[run.offset : run.offset + len(run.a)] == run.a
                changed[run.offset : run.offset + len(run.b)] = run.b
            assert changed == b

    def test_sent_in_another_form_a_page_is_the_same(self, machine: Machine) -> None:
        """A page of one byte is sent as that, or byte for byte."""
        data = machine.save()
        pieces = take_apart(data)
        end = next(each for each in pieces if (each.kind, each.idstr) == (Kind.END, "ram"))
        fill = next(n for n in range(256) if len(set(machine.ram.page(n))) == 1)
        word = (fill * PAGE_BYTES | 8).to_bytes(8, "big") + b"\x06pc.ram"
        end.payload = word + machine.ram.page(fill) + end.payload

        with compare(file_of(data), file_of(put_together(data, pieces)), SCHEMAS) as found:
            assert not found

    def test_what_was_sent_last_counts(self, machine: Machine) -> None:
        data = machine.save()
        pieces = take_apart(data)
        end = next(each for each in pieces if (each.kind, each.idstr) == (Kind.END, "ram"))
        end.payload = (9 * PAGE_BYTES | 2).to_bytes(8, "big") + b"\x06pc.ram\xab" + end.payload

        with compare(file_of(data), file_of(put_together(data, pieces)), SCHEMAS) as found:
            (page,) = found.page_differences()

        assert (page.number, page.b) == (9, b"\xab" * PAGE_BYTES)

    def test_memory_is_for_hashes_only(self) -> None:
        """64 MiB each, of which no two pages are the same: 26 bytes a page, and what is read."""
        machine = Machine(64 * MIB)
        dice = dice_of(2)
        for start in range(0, 64 * MIB, MIB):
            machine.ram.write(start, dice.randbytes(MIB))
        a = machine.save()
        machine.ram.write(0, dice.randbytes(8 * MIB))
        b = machine.save()

        tracemalloc.start()
        with compare(file_of(a), file_of(b), SCHEMAS) as found:
            count = sum(1 for _ in found.page_differences())
            _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert count == 8 * MIB // PAGE_BYTES
        assert most - len(a) - len(b) < 4 * MIB  # file_of copies each

    def test_blocks_of_other_sizes_as_far_as_both_go(self) -> None:
        one, other = Block(2 * PAGE_BYTES), Block(1000 * PAGE_BYTES)
        for block in (one, other):
            block.set_uniform(0, block.pages, 7)
        one.set_full(1, b"x" * PAGE_BYTES, 0)

        assert list(one.differing(other)) == list(other.differing(one)) == [1]


def test_a_difference_is_a_fact() -> None:
    """Two of the same are equal."""
    assert FieldDifference("a", "b", 1, 2) == FieldDifference("a", "b", 1, 2)
