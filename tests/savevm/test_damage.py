"""A save that is cut, flipped, rearranged or made up is refused in one line, and changes nothing.

Or it loads, and then the machine has the very digest of the one that was saved: some bytes can
be moved about without anybody being able to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from synthetic import (
    KIB,
    SCHEMAS,
    Machine,
    Piece,
    dice_of,
    file_of,
    put_together,
    take_apart,
)

from emu.errors import StreamError
from emu.savevm import description
from emu.savevm.inspect import verify
from emu.savevm.sections import Kind

Change = Callable[[list[Piece]], None]


@pytest.fixture(scope="module")
def saved() -> bytes:
    """A save of a machine with all kinds of state."""
    return Machine().fill(1).save()


@pytest.fixture(scope="module")
def small() -> bytes:
    """One with little RAM, for tests that look at every byte of it."""
    return Machine(16 * KIB, 8 * KIB).fill(1).save()


@pytest.fixture
def target() -> Iterator[Machine]:
    """A machine that has something to lose."""
    machine = Machine().fill(2)
    yield machine
    machine.close()


@pytest.fixture
def small_target() -> Iterator[Machine]:
    machine = Machine(16 * KIB, 8 * KIB).fill(2)
    yield machine
    machine.close()


def refusal(target: Machine, data: bytes, *, whole: bool = True) -> StreamError:
    """What *target* says to *data*, having checked that it is as it was."""
    before = target.everything() if whole else None
    with pytest.raises(StreamError) as refused:
        target.load(data)
    if whole:
        assert target.everything() == before
    return refused.value


def check_message(error: StreamError) -> None:
    """It is one line, and says where."""
    assert "\n" not in str(error)
    assert str(error).isprintable()
    assert (error.section, error.field, error.offset) != (None, None, None)


class TestCut:
    def test_at_every_byte(self, small: bytes, small_target: Machine) -> None:
        """2008's loader took the end of the file for the end of the save."""
        before = small_target.everything()

        for length in range(len(small)):
            check_message(refusal(small_target, small[:length], whole=length % 64 == 0))

        assert small_target.everything() == before

    def test_something_after_the_end(self, saved: bytes, target: Machine) -> None:
        assert "follows" in str(refusal(target, saved + b"\0"))


class TestFlipped:
    def test_any_bit_of_the_sections_and_the_frame(
        self, small: bytes, small_target: Machine
    ) -> None:
        """Not of the RAM's contents and the description, of which there is a sample below."""
        before = small_target.everything()
        ram_end = small.index(b"user/disk")
        json_start = small.index(b'{"page_size"')
        dice = dice_of(3)

        for place in [*range(ram_end), *range(ram_end + 4096, json_start)]:
            bad = bytearray(small)
            bad[place] ^= 1 << dice.randrange(8)
            check_message(refusal(small_target, bytes(bad), whole=place % 64 == 0))

        assert small_target.everything() == before

    @pytest.mark.parametrize("seed", range(8))
    def test_any_bits_anywhere(self, saved: bytes, target: Machine, seed: int) -> None:
        dice = dice_of(seed)
        before = target.everything()

        for _ in range(40):
            bad = bytearray(saved)
            for _ in range(dice.choice([1, 1, 1, 2, 8])):
                bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
            check_message(refusal(target, bytes(bad), whole=False))

        assert target.everything() == before

    def test_it_is_found_without_a_machine(self, saved: bytes) -> None:
        dice = dice_of(4)

        for _ in range(100):
            bad = bytearray(saved)
            bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
            with pytest.raises(StreamError):
                verify(file_of(bytes(bad)), SCHEMAS)


def piece_of(pieces: list[Piece], idstr: str, kind: Kind = Kind.FULL) -> Piece:
    return next(each for each in pieces if each.idstr == idstr and each.kind == kind)


WHOLE = ["emu/machine", "counter", "emu/counter", "mixer", "emu/host-line", "user/card"]


class TestRearranged:
    """Every checksum is right in these: somebody has done it who knows how."""

    @pytest.mark.parametrize("idstr", [*WHOLE, "user/disk"])
    def test_a_section_that_is_missing_is_named(
        self, saved: bytes, target: Machine, idstr: str
    ) -> None:
        pieces = take_apart(saved)
        pieces.remove(piece_of(pieces, idstr))

        error = refusal(target, put_together(saved, pieces))

        assert error.section == f"{idstr}/0"
        assert "missing" in error.problem

    @pytest.mark.parametrize("idstr", ["ram", "user/disk"])
    def test_all_stages_of_a_section_missing(
        self, saved: bytes, target: Machine, idstr: str
    ) -> None:
        pieces = [each for each in take_apart(saved) if each.idstr != idstr or each.kind == 4]

        assert refusal(target, put_together(saved, pieces)).section == f"{idstr}/0"

    @pytest.mark.parametrize("idstr", ["ram", "user/disk"])
    def test_a_section_without_its_end(self, saved: bytes, target: Machine, idstr: str) -> None:
        pieces = take_apart(saved)
        pieces.remove(piece_of(pieces, idstr, Kind.END))

        error = refusal(target, put_together(saved, pieces))

        assert (error.section, error.problem) == (f"{idstr}/0", "the section has no END")

    @pytest.mark.parametrize("idstr", [*WHOLE, "user/disk"])
    def test_a_section_twice(self, saved: bytes, target: Machine, idstr: str) -> None:
        pieces = take_apart(saved)
        pieces.append(piece_of(pieces, idstr))

        error = refusal(target, put_together(saved, pieces))

        assert (error.section, error.problem) == (f"{idstr}/0", "the section is there twice")

    @pytest.mark.parametrize("idstr", WHOLE)
    def test_a_section_of_another_name(self, saved: bytes, target: Machine, idstr: str) -> None:
        pieces = take_apart(saved)
        piece_of(pieces, idstr).idstr = "stranger\n"

        error = refusal(target, put_together(saved, pieces))

        assert error.section == "stranger\n/0"
        check_message(error)

    @pytest.mark.parametrize("idstr", [*WHOLE, "user/disk"])
    def test_a_section_of_a_newer_version(self, saved: bytes, target: Machine, idstr: str) -> None:
        pieces = take_apart(saved)
        piece_of(pieces, idstr).version += 1

        error = refusal(target, put_together(saved, pieces))

        assert (error.section, error.problem) == (f"{idstr}/0", "saved by a newer version")

    @pytest.mark.parametrize("version", [5, 3])
    def test_RAM_of_another_version(self, saved: bytes, target: Machine, version: int) -> None:
        pieces = take_apart(saved)
        for each in pieces:
            if each.idstr == "ram":
                each.version = version

        error = refusal(target, put_together(saved, pieces))

        assert (error.section, error.found) == ("ram/0", version)

    @pytest.mark.parametrize("seed", range(5))
    def test_sections_in_another_order_are_the_same_machine(
        self, saved: bytes, target: Machine, seed: int
    ) -> None:
        pieces = take_apart(saved)
        stages = [each for each in pieces if each.kind != Kind.FULL]
        others = [each for each in pieces if each.kind == Kind.FULL]
        dice_of(seed).shuffle(others)
        saver = Machine().fill(1)

        target.load(put_together(saved, others[:3] + stages + others[3:]))

        assert target.digest() == saver.digest()

    def test_a_section_in_stages_that_this_machine_has_as_a_whole(
        self, saved: bytes, target: Machine
    ) -> None:
        pieces = take_apart(saved)
        mixer = piece_of(pieces, "mixer")
        mixer.kind = Kind.START

        assert "in stages" in str(refusal(target, put_together(saved, pieces)))

    def test_RAM_as_a_whole(self, saved: bytes, target: Machine) -> None:
        pieces = take_apart(saved)
        piece_of(pieces, "mixer").idstr = "ram"

        assert "as a whole" in str(refusal(target, put_together(saved, pieces)))

    @pytest.mark.parametrize("kind", [Kind.PART, Kind.END])
    def test_a_stage_that_never_started(self, saved: bytes, target: Machine, kind: Kind) -> None:
        pieces = take_apart(saved)
        pieces.append(Piece(kind, 77, "ram", 0, 4, b""))

        assert "never started" in str(refusal(target, put_together(saved, pieces)))

    @pytest.mark.parametrize("kind", [Kind.PART, Kind.END])
    def test_a_stage_after_the_end(self, saved: bytes, target: Machine, kind: Kind) -> None:
        pieces = take_apart(saved)
        pieces.append(Piece(kind, 1, "ram", 0, 4, b""))

        assert "has ended" in str(refusal(target, put_together(saved, pieces)))

    def test_two_sections_with_one_number(self, saved: bytes, target: Machine) -> None:
        pieces = take_apart(saved)
        piece_of(pieces, "mixer").section_id = 2

        error = refusal(target, put_together(saved, pieces))

        assert error.section == "mixer/0"
        assert "'counter/0'" in error.problem


class TestMadeUp:
    """The frame is right and a payload is not."""

    @pytest.mark.parametrize(
        ("idstr", "payload", "problem"),
        [
            ("counter", b"\xff\xff\0\0" + bytes(8), "0xffff is never reached"),
            ("counter", b"\0\0\0\0" + b"\x80" + bytes(7), "not an instant"),
            ("counter", bytes(12) + b"\5\7counter\0\0\0\1", "unknown subsection"),
            ("counter", bytes(12) + b"\5\x0dcounter/level\0\0\0\2", "newer version"),
            ("counter", bytes(12) + b"\5\x0dcounter/level\0\0\0\1\2", "not a truth value"),
            ("counter", bytes(11), "does not end here"),
            ("mixer", b"\xff\xff\0" * 3, "does not fit in 12 bits"),
            ("mixer", bytes(9) + b"\xff\xff\xff\xff", "too many"),
            ("mixer", bytes(13) + b"\xff\xff\xff\xff", "too long"),
            ("mixer", bytes(25) + b"\0\0\0\1\xff", "not UTF-8"),
            ("mixer", bytes(29) + b"\3", "no such choice"),
            ("emu/host-line", b"\x7f\xff\xff\xff", "too long"),
            ("user/card", b"\0\0\0\0\0\1", "does not end here"),
            ("user/disk", b"\1\x09\0\0", "load_state failed: IndexError"),
        ],
    )
    def test_a_hostile_value(
        self, saved: bytes, target: Machine, idstr: str, payload: bytes, problem: str
    ) -> None:
        pieces = take_apart(saved)
        piece_of(pieces, idstr).payload = payload

        error = refusal(target, put_together(saved, pieces))

        assert error.section == f"{idstr}/0"
        assert problem in str(error)
        check_message(error)

    def test_a_card_of_the_user_gets_back_what_it_had(self, saved: bytes, target: Machine) -> None:
        """user/disk acts on what it reads before the end of the save is seen to be wrong."""
        before = list(target.disk.sectors)
        seen: list[list[int]] = []
        target.registry.register_savevm(
            "z", 0, 1, lambda _f: None, lambda _f, _version: seen.append(list(target.disk.sectors))
        )
        pieces = take_apart(saved)
        pieces.append(Piece(Kind.FULL, 10, "z", 0, 1, b""))
        pieces.append(Piece(Kind.FULL, 11, "not here", 0, 1, b""))

        refusal(target, put_together(saved, pieces))

        assert seen[0] != before, "it had acted"
        assert target.disk.sectors == before

    def word(self, value: int) -> bytes:
        return value.to_bytes(8, "big")

    @pytest.mark.parametrize(
        ("blocks", "problem"),
        [
            ([], "no list of blocks"),
            ([("pc.ram", 1 << 20)], "the block is missing"),
            ([("pc.ram", 1 << 20), ("pc.bios", 1 << 15)], "another size"),
            ([("pc.ram", 1 << 20), ("rom", 1 << 16)], "no such block"),
            ([("pc.ram", 1 << 20), ("pc.ram", 1 << 16)], "a block too many"),
            ([("pc.ram", (1 << 20) + 1)], "no list of blocks"),
            ([("pc.ram", 1 << 52)], "too much RAM"),
            ([(f"{number}", 4096) for number in range(70)], "a block too many"),
        ],
    )
    def test_blocks_that_are_not_this_machine_s(
        self, saved: bytes, target: Machine, blocks: list[tuple[str, int]], problem: str
    ) -> None:
        pieces = take_apart(saved)
        payload = self.word(sum(size for _, size in blocks) | 4)
        for name, size in blocks:
            payload += bytes([len(name)]) + name.encode() + self.word(size)
        piece_of(pieces, "ram", Kind.START).payload = payload + self.word(0x10)

        error = refusal(target, put_together(saved, pieces))

        assert error.section == "ram/0"
        assert problem in str(error)

    @pytest.mark.parametrize("size", [0, 100, 1 << 19, 1 << 62])
    def test_a_block_whose_size_is_none(self, saved: bytes, target: Machine, size: int) -> None:
        pieces = take_apart(saved)
        payload = self.word(1 << 18 | 4) + b"\6pc.ram" + self.word(size)
        piece_of(pieces, "ram", Kind.START).payload = payload

        assert "no size for block" in str(refusal(target, put_together(saved, pieces)))

    @pytest.mark.parametrize(
        ("payload", "problem"),
        [
            (b"\0" * 7 + b"\x22" + b"\0", "does not name its block"),
            (b"\0" * 7 + b"\x02" + b"\6pc.rom\0", "not in the list"),
            (b"\0" * 5 + b"\x10\0\2" + b"\6pc.ram\0", "beyond the end"),
            (b"\0" * 7 + b"\x42", "no such page word"),
            (b"\0" * 7 + b"\x0a", "no such page word"),
            (b"\0" * 7 + b"\x04", "no such page word"),
            (b"\0" * 7 + b"\x00", "no such page word"),
            (b"\0" * 6 + b"\x01\x02", "no such page word"),
            (b"\0" * 6 + b"\x10\x10", "no such page word"),
        ],
    )
    def test_pages_that_cannot_be(
        self, saved: bytes, target: Machine, payload: bytes, problem: str
    ) -> None:
        pieces = take_apart(saved)
        piece_of(pieces, "ram", Kind.PART).payload = payload

        error = refusal(target, put_together(saved, pieces))

        assert error.section == "ram/0"
        assert problem in str(error)

    @pytest.mark.parametrize("machine_less", [False, True])
    def test_a_page_that_is_missing_is_named(
        self, small: bytes, small_target: Machine, *, machine_less: bool
    ) -> None:
        pieces = take_apart(small)
        part = piece_of(pieces, "ram", Kind.PART)
        last_page_and_eos = 8 + 4096 + 8
        part.payload = part.payload[:-last_page_and_eos] + self.word(0x10)
        bad = put_together(small, pieces)

        read = partial(verify, file_of(bad), SCHEMAS) if machine_less else None
        with pytest.raises(StreamError) as refused:
            (read or partial(small_target.load, bad))()

        assert refused.value.problem == "page 1 of block 'pc.bios' is missing"


class TestDescription:
    """What is wrong in the JSON at the end."""

    def refused(self, target: Machine, saved: bytes, change: Callable[[Any], None]) -> StreamError:
        return refusal(target, put_together(saved, take_apart(saved), change))

    def test_a_row_too_many(self, saved: bytes, target: Machine) -> None:
        error = self.refused(
            target, saved, lambda told: told["emu"]["sections"].append({"idstr": "x"})
        )

        assert "more sections" in error.problem

    def test_a_row_too_few(self, saved: bytes, target: Machine) -> None:
        error = self.refused(target, saved, lambda told: told["emu"]["sections"].pop())

        assert error.section == "user/disk/0"

    @pytest.mark.parametrize("row", [None, 5, [], {}, {"idstr": "x" * 999}])
    def test_a_row_that_makes_no_sense(self, saved: bytes, target: Machine, row: object) -> None:
        def change(told: Any) -> None:
            told["emu"]["sections"][1] = row

        error = self.refused(target, saved, change)

        assert error.section == "emu/machine/0"
        assert len(str(error)) < 300

    def test_a_row_with_something_besides(self, saved: bytes, target: Machine) -> None:
        error = self.refused(target, saved, lambda told: told["emu"]["sections"][1].update(more=1))

        assert (error.section, error.field) == ("emu/machine/0", None)

    def test_a_wrong_checksum(self, saved: bytes, target: Machine) -> None:
        def change(told: Any) -> None:
            told["emu"]["sections"][1]["crc32"] = "00000000"

        error = self.refused(target, saved, change)

        assert (error.section, error.field, error.offset) == ("emu/machine/0", "crc32", 0x31)
        assert error.expected == "'00000000'"

    @pytest.mark.parametrize("ours", [None, [], {}, {"sections": 1}, {"sections": []}])
    def test_no_rows(self, saved: bytes, target: Machine, ours: object) -> None:
        assert "no table" in str(self.refused(target, saved, lambda told: told.update(emu=ours)))

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (b"", "not JSON"),
            (b"{", "not JSON"),
            (b"\xff", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"1" * 5000, "not JSON"),
            (b"[]", "not a JSON object"),
            (b"{}", "no table"),
            (b'{"emu":{}}', "its own checksum"),
        ],
    )
    def test_text_that_is_no_description(
        self, saved: bytes, target: Machine, text: bytes, problem: str
    ) -> None:
        start = saved.rindex(b'{"page_size"') - 6
        bad = saved[: start + 2] + len(text).to_bytes(4, "big") + text

        error = refusal(target, bad)

        assert error.field == "description"
        assert problem in str(error)

    def test_a_length_of_gigabytes(self, saved: bytes, target: Machine) -> None:
        start = saved.rindex(b'{"page_size"') - 4
        bad = saved[:start] + b"\xff\xff\xff\xff" + saved[start + 4 :]

        assert "too long" in str(refusal(target, bad))

    def test_no_description_at_all(self, saved: bytes, target: Machine) -> None:
        start = saved.rindex(b'{"page_size"') - 5

        assert "no description" in str(refusal(target, saved[:start] + b"\7"))

    def test_the_checksum_s_capitals_are_no_digits(self, saved: bytes, target: Machine) -> None:
        """0x20 makes a capital of a letter: a flip as any other."""
        tail = saved[-10:-2]
        bad = saved[:-10] + tail.swapcase() + saved[-2:]
        assert bad != saved

        assert "its own checksum" in str(refusal(target, bad))


class TestHeader:
    def test_another_file(self, target: Machine) -> None:
        assert "not a save" in str(refusal(target, b"\x7fELF" + bytes(100)))

    @pytest.mark.parametrize("version", [2, 4])
    def test_another_format(self, saved: bytes, target: Machine, version: int) -> None:
        bad = saved[:4] + version.to_bytes(4, "big") + saved[8:]

        assert refusal(target, bad).found == version

    def test_a_name_that_is_too_long(self, saved: bytes, target: Machine) -> None:
        assert "too long" in str(refusal(target, saved[:9] + b"\0\0\1\0" + saved[13:]))

    def test_a_name_that_is_not_ASCII(self, saved: bytes, target: Machine) -> None:
        assert "not ASCII" in str(refusal(target, saved[:13] + b"\xff" + saved[14:]))

    def test_a_subsection_nobody_knows(self, saved: bytes, target: Machine) -> None:
        bad = saved.replace(b"configuration/emu", b"configuration/gnu", 1)

        assert "unknown subsection" in str(refusal(target, bad))

    @pytest.mark.parametrize("revision", [0, 2])
    def test_a_dialect_of_another_revision(
        self, saved: bytes, target: Machine, revision: int
    ) -> None:
        place = saved.index(b"configuration/emu") + 17 + 4
        bad = saved[:place] + revision.to_bytes(4, "big") + saved[place + 4 :]

        assert refusal(target, bad).field == "dialect revision"

    def test_a_save_of_ours_that_does_not_say_so(self, saved: bytes, target: Machine) -> None:
        """Without the subsection nothing would be mandatory: so what is ours betrays it."""
        place = saved.index(b"configuration/emu") - 2
        bad = saved[:place] + saved[place + 2 + 17 + 8 :]

        assert "does not say that it is ours" in str(refusal(target, bad))

    def test_a_command(self, saved: bytes, target: Machine) -> None:
        assert "command" in str(refusal(target, saved[:0x31] + b"\x08" + saved[0x32:]))

    def test_a_section_type_nobody_knows(self, saved: bytes, target: Machine) -> None:
        assert refusal(target, saved[:0x31] + b"\x09" + saved[0x32:]).field == "section type"

    def test_a_footer_of_another_section(self, saved: bytes, target: Machine) -> None:
        footer = saved.index(b"\x7e\0\0\0\0")
        bad = saved[: footer + 4] + b"\1" + saved[footer + 5 :]

        error = refusal(target, bad)

        assert (error.section, error.field, error.found) == ("emu/machine/0", "footer", 1)


def test_the_helper_that_puts_together_does_no_harm(saved: bytes) -> None:
    """Or the tests above would prove nothing."""
    assert put_together(saved, take_apart(saved)) == saved
    assert description.find(saved)["page_size"] == 4096
