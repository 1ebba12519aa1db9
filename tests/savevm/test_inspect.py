"""A save can be looked at without a machine."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from synthetic import (
    FOREIGN,
    SCHEMAS,
    CounterState,
    Machine,
    file_of,
    put_together,
    take_apart,
)

from emu.errors import HostError, StreamError
from emu.savevm.inspect import inspect, verify
from emu.savevm.sections import Dialect, Foreign
from emu.savevm.vmstate import Section, buffer

OLD_HEADER = bytes.fromhex("5145564d 00000003")


@pytest.fixture
def machine() -> Machine:
    return Machine().fill(1)


class TestInspect:
    def test_every_section_with_its_place_and_checksum(self, machine: Machine) -> None:
        told = json.loads(inspect(file_of(machine.save()), SCHEMAS).to_json())

        assert told["dialect"] == "emu"
        assert told["machine"] == "synthetic"
        assert told["digest"] == machine.digest()
        assert told["problem"] is None
        assert [row["idstr"] for row in told["sections"]][:3] == [
            "configuration",
            "emu/machine",
            "ram",
        ]
        assert {row["checksum"] for row in told["sections"]} == {"good"}
        offset = 8
        for row in told["sections"]:
            assert row["offset"] == offset
            offset += row["size"]

    def test_the_fields_by_name(self, machine: Machine) -> None:
        state = CounterState(count=0x1234, level=True, deadline_ns=99)
        machine.chips[1].state = state
        report = inspect(file_of(machine.save()), SCHEMAS)
        fields = {(each.row.key, each.row.kind): each.fields for each in report.sections}

        assert fields[("counter", 0), "full"] == {"count": 0x1234, "deadline_ns": 99, "level": True}
        mixer = fields[("mixer", 0), "full"]
        assert mixer is not None
        assert mixer["colour"] == "BLUE"
        assert mixer["title"] == "täst"
        assert mixer["fifo"] == machine.chips[3].state.fifo.hex()
        assert mixer["master"] == {"pitch": 1, "pan": -128}
        assert fields[("user/card", 0), "full"] == {
            "data": machine.registry.save_sections()["user/card", 0][1].hex()
        }
        assert fields[("ram", 0), "start"] is None

    def test_no_deadline_is_null(self, machine: Machine) -> None:
        machine.chips[1].state = CounterState()
        told = json.loads(inspect(file_of(machine.save()), SCHEMAS).to_json())

        (counter,) = [
            each for each in told["sections"] if (each["idstr"], each["instance"]) == ("counter", 0)
        ]
        assert counter["fields"]["deadline_ns"] is None

    def test_RAM_by_its_pages(self, machine: Machine) -> None:
        (ram, bios) = inspect(file_of(machine.save()), SCHEMAS).blocks

        assert (ram.name, ram.size, ram.pages) == ("pc.ram", 1 << 20, 256)
        assert ram.uniform + ram.full == 256
        assert (bios.pages, bios.uniform, bios.full) == (16, 15, 1)

    def test_for_people(self, machine: Machine) -> None:
        machine.chips[3].state.title = "a\x1b[31mb"
        text = inspect(file_of(machine.save()), SCHEMAS).to_text()

        assert "counter/1                  4 full            2" in text
        assert "    level                        true" in text
        assert "    title                        a\\x1b[31mb" in text
        assert "\x1b" not in text
        assert all(len(line) < 120 for line in text.splitlines())

    def test_long_values_are_cut(self, machine: Machine) -> None:
        machine.card.words = [0] * 100

        text = inspect(file_of(machine.save()), SCHEMAS).to_text()

        assert "... (1612)" in text

    def test_a_wrong_checksum_is_shown_and_the_rest_as_well(self, machine: Machine) -> None:
        data = bytearray(machine.save())
        data[data.index(b"t\xc3\xa4st")] ^= 1

        report = inspect(file_of(bytes(data)), SCHEMAS)

        assert report.problem is not None
        assert "'mixer/0'" in report.problem
        wrong = [each.row.key for each in report.sections if each.checksum.value == "wrong"]
        assert wrong == [("mixer", 0)]
        assert "WRONG" in report.to_text()
        assert "damaged" in report.to_text()

    def test_a_save_of_QEMU_s_has_no_checksums(self) -> None:
        data = Machine().save(Dialect.QEMU_7_2, FOREIGN)

        report = inspect(file_of(data), SCHEMAS)

        assert report.problem is None
        assert {each.checksum.value for each in report.sections} == {"none"}
        assert "(unchecked)" in report.to_text()

    def test_a_save_of_QEMU_s_that_nobody_knows_a_section_of(self) -> None:
        """Its description says what there is."""
        data = Machine().save(Dialect.QEMU_7_2, FOREIGN)

        report = inspect(file_of(data), {})

        counter = next(each for each in report.sections if each.row.key == ("counter", 0))
        assert counter.fields == {"count": 0, "unused": "0000", "deadline_ns": -1}

    def test_one_of_2008_s_form_has_nothing_to_say_it(self) -> None:
        data = OLD_HEADER + bytes.fromhex("04 00000000 01 62 00000000 00000001  bb  00")

        with pytest.raises(StreamError, match="not even its size"):
            inspect(file_of(data), {})

    def test_unless_somebody_has(self) -> None:
        data = OLD_HEADER + bytes.fromhex("04 00000000 01 62 00000040 00000001  bb  00")
        section = Section("b", 1, (buffer("byte", 1),))

        report = inspect(
            file_of(data), {}, Foreign(ignored={"b": section}, aliases={("b", 64): ("b", 0)})
        )

        assert report.sections[0].fields == {"byte": "bb"}
        assert "(not said)" in report.to_text()

    @pytest.mark.parametrize("size", [None, "9", -1, 3])
    def test_a_size_that_makes_no_sense(self, machine: Machine, size: object) -> None:
        data = machine.save()

        def change(told: dict) -> None:
            (row,) = [row for row in told["emu"]["sections"] if row["idstr"] == "user/card"]
            row["size"] = size

        with pytest.raises(StreamError, match="not even its size"):
            inspect(file_of(put_together(data, take_apart(data), change)), SCHEMAS)

    def test_a_chip_twice(self, machine: Machine) -> None:
        data = machine.save(Dialect.EMU)
        section = "04 00000000 05 6d69786572 00000000 00000001"
        payload = bytes(2 + 2 + 2 + 4 + 4 + 8 + 4 + 1)
        twice = OLD_HEADER + (bytes.fromhex(section) + payload) * 2 + b"\0"

        with pytest.raises(StreamError, match="twice"):
            inspect(file_of(twice), SCHEMAS)
        assert inspect(file_of(data), SCHEMAS)

    def test_a_pipe_that_breaks(self) -> None:
        class Broken(io.RawIOBase):
            def seekable(self) -> bool:
                return False

            def read(self, _size: int = -1) -> bytes:
                raise OSError(5, "Input/output error")

        with pytest.raises(HostError, match="copying the save: Input/output error"):
            inspect(Broken(), SCHEMAS)


class TestVerify:
    def test_a_good_save_has_a_digest(self, machine: Machine, tmp_path: Path) -> None:
        path = tmp_path / "save"
        path.write_bytes(machine.save())

        with path.open("rb") as file:
            assert verify(file, SCHEMAS) == machine.digest()

    def test_a_state_that_cannot_be_is_found(self, machine: Machine) -> None:
        pieces = take_apart(machine.save())
        counter = next(each for each in pieces if each.idstr == "counter")
        counter.payload = b"\xff\xff" + counter.payload[2:]

        with pytest.raises(StreamError, match=r"'counter/0', field 'count'.*never reached"):
            verify(file_of(put_together(machine.save(), pieces)), SCHEMAS)
