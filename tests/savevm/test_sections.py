"""The frame of a save, as FORMAT.md has it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from processes import Child
from synthetic import (
    COUNTER_SAVED,
    FOREIGN,
    LINE_SAVED,
    MACHINE,
    MACHINE_SAVED,
    Chip,
    CounterState,
    Machine,
    Piece,
    put_together,
    take_apart,
)

from emu import attrs
from emu.errors import ExportError, StreamError
from emu.memory import PAGE_BYTES, Ram
from emu.savevm import description
from emu.savevm.live import Saving
from emu.savevm.load import load, peek_ram, read_head
from emu.savevm.ram import register_ram
from emu.savevm.registry import Registry
from emu.savevm.sections import Dialect, Foreign, Kind, Reader, Writer
from emu.savevm.stream import from_bytes, open_fd, to_bytes
from emu.savevm.vmstate import Saved, reg, whole


def hexes(text: str) -> bytes:
    return bytes.fromhex(text)


@attrs.define
class OneByte:
    value: int = reg(bits=8, reset=0xAA, doc="a byte")


def one_byte_registry() -> Registry:
    registry = Registry()
    saved = Saved(OneByte, (whole(OneByte, "b"),))
    registry.register_state(saved, Chip(OneByte()))
    return registry


class TestBytes:
    """Byte for byte, so that a change of the format is a decision."""

    def test_a_save_of_ours(self) -> None:
        f, data = to_bytes()
        Saving(one_byte_registry(), f, "m").save_whole()

        configuration = "07 00000001 6d  05 11 636f6e66696775726174696f6e2f656d75 00000001 00000001"
        section = "04 00000000 01 62 00000000 00000001  aa  7e 00000000"
        start = hexes("5145564d 00000003" + configuration + section + "00 06")
        text = (
            b'{"page_size":4096,"devices":[{"name":"b","instance_id":0,"vmsd_name":"b","version":1,'
            b'"fields":[{"name":"value","type":"uint8","size":1}]}],'
            b'"emu":{"sections":['
            b'{"idstr":"configuration","instance":0,"id":0,"type":"configuration","version":1,'
            b'"offset":8,"size":33,"crc32":"b275ef13"},'
            b'{"idstr":"b","instance":0,"id":0,"type":"full","version":1,'
            b'"offset":41,"size":21,"crc32":"4f3fc341"}]},"crc32":"1bf87d14"}'
        )
        assert bytes(data) == start + len(text).to_bytes(4, "big") + text

    def test_a_save_for_QEMU(self) -> None:
        f, data = to_bytes()
        Saving(one_byte_registry(), f, "isapc", Dialect.QEMU_7_2).save_whole()

        configuration = "07 00000005 6973617063"
        section = "04 00000001 01 62 00000000 00000001  aa  7e 00000001"
        start = hexes("5145564d 00000003" + configuration + section + "00 06")
        text = (
            b'{"page_size":4096,"devices":[{"name":"b","instance_id":0,"vmsd_name":"b","version":1,'
            b'"fields":[{"name":"value","type":"uint8","size":1}]}]}'
        )
        assert bytes(data) == start + len(text).to_bytes(4, "big") + text

    def test_the_outer_form_of_2008_is_read(self) -> None:
        """No configuration, no footers, no description."""
        registry = one_byte_registry()
        data = hexes("5145564d 00000003  04 00000000 01 62 00000000 00000001  bb  00")

        reader = Reader(from_bytes(data))
        load(reader, registry)

        assert reader.machine is None
        assert reader.dialect is Dialect.QEMU_7_2
        assert registry.cards[0].state.value == 0xBB

    @pytest.mark.parametrize("footers", [False, True])
    def test_footers_are_there_throughout_or_not_at_all(self, *, footers: bool) -> None:
        """-global migration.send-configuration=off may come alone."""
        registry = one_byte_registry()
        registry.register_state(Saved(OneByte, (whole(OneByte, "c"),)), Chip(OneByte()))
        first = "04 00000000 01 62 00000000 00000001  bb" + "7e 00000000" * footers
        second = "04 00000001 01 63 00000000 00000001  cc"
        good = hexes("5145564d 00000003" + first + second + "7e 00000001" * footers + "00")
        bad = hexes("5145564d 00000003" + first + second + "7e 00000001" * (not footers) + "00")

        load(Reader(from_bytes(good)), registry)
        assert [card.state.value for card in registry.cards] == [0xBB, 0xCC]

        with pytest.raises(StreamError):
            load(Reader(from_bytes(bad)), registry)

    def test_a_description_of_QEMU_s_may_be_absent(self) -> None:
        f, data = to_bytes()
        saved, loaded = one_byte_registry(), one_byte_registry()
        saved.cards[0].state.value = 5
        Saving(saved, f, "isapc", Dialect.QEMU_7_2).save_whole()
        without = bytes(data[: data.index(b"\0\6") + 1])

        load(Reader(from_bytes(without)), loaded)

        assert loaded.cards[0].state.value == 5

    def test_something_after_a_description_of_QEMU_s(self) -> None:
        f, data = to_bytes()
        Saving(one_byte_registry(), f, "isapc", Dialect.QEMU_7_2).save_whole()

        with pytest.raises(StreamError, match="follows"):
            load(Reader(from_bytes(bytes(data) + b"x")), one_byte_registry())

    def test_a_description_of_ours_in_a_stream_of_QEMU_s(self) -> None:
        """Somebody has cut our configuration short: then nothing would be checked."""
        f, data = to_bytes()
        Saving(one_byte_registry(), f, "isapc", Dialect.QEMU_7_2).save_whole()
        text = description.seal(b'{"emu":{}}')
        start = data.index(b"\0\6") + 2
        bad = bytes(data[:start]) + len(text).to_bytes(4, "big") + text

        with pytest.raises(StreamError, match="does not say that it is ours"):
            load(Reader(from_bytes(bad)), one_byte_registry())

    def test_iterating_gives_every_header(self) -> None:
        f, data = to_bytes()
        writer = Writer(f, "m")
        writer.begin()
        with writer.section(Kind.FULL, 3, ("x", 1), 2):
            f.put_byte(9)
        writer.end()

        headers = []
        reader = Reader(from_bytes(data))
        for frame in reader:
            headers.append((frame.kind, frame.section_id, frame.key, frame.version))
            reader.f.get_byte()

        assert headers == [(Kind.FULL, 3, ("x", 1), 2)]


class TestForeign:
    """QEMU's own streams differ from ours, in ways that are listed."""

    def qemu_save(self, machine: Machine) -> bytes:
        for chip in machine.chips[1:3]:
            chip.state.shadow = 7
        return machine.save(Dialect.QEMU_7_2, FOREIGN)

    def test_what_QEMU_has_not_may_be_missing(self) -> None:
        saver, target = Machine().fill(1), Machine().fill(2)
        data = self.qemu_save(saver)
        optional = Foreign(optional={"mixer", "user/card", "user/disk"})
        kept = target.everything()

        target.load(data, optional)

        assert target.chips[1].state == saver.chips[1].state
        assert target.ram.hashes() == saver.ram.hashes()
        assert target.card.value == kept["card"][0], "its section was not there"
        assert target.chips[3].state == kept["states"][3]

    def test_what_QEMU_has_may_not(self) -> None:
        target = Machine().fill(2)
        before = target.everything()

        with pytest.raises(StreamError, match="section 'mixer/0': the section is missing"):
            target.load(self.qemu_save(Machine().fill(1)))

        assert target.everything() == before

    def test_devices_that_we_have_not_are_dropped(self) -> None:
        data = hexes(
            "5145564d 00000003"
            "04 00000007 06 696f61706963 00000000 00000001 55"
            "04 00000000 01 62 00000000 00000001  bb  00"
        )
        registry = one_byte_registry()

        with pytest.raises(StreamError, match="no such section"):
            load(Reader(from_bytes(data)), registry)
        load(
            Reader(from_bytes(data)),
            registry,
            Foreign(ignored={"ioapic": whole(OneByte, "ioapic")}),
        )

        assert registry.cards[0].state.value == 0xBB

    def test_a_port_address_for_an_instance(self) -> None:
        data = hexes("5145564d 00000003  04 00000000 01 62 00000040 00000001  bb  00")
        registry = one_byte_registry()

        load(Reader(from_bytes(data)), registry, Foreign(aliases={("b", 0x40): ("b", 0)}))

        assert registry.cards[0].state.value == 0xBB

    def test_nothing_of_this_helps_a_stream_of_ours(self) -> None:
        saver, target = Machine(), Machine()
        pieces = take_apart(saver.save())
        pieces.append(Piece(4, 99, "ioapic", 0, 1, b"\0"))

        with pytest.raises(StreamError, match="no such section"):
            target.load(
                put_together(saver.save(), pieces),
                Foreign(ignored={"ioapic": whole(OneByte, "ioapic")}),
            )

    @pytest.mark.parametrize("name", ["microvm.ram", "pc.ram"])
    def test_RAM_under_another_name(self, name: str) -> None:
        ram, other = Ram("pc.ram", 4 * PAGE_BYTES), Ram("pc.ram", 4 * PAGE_BYTES)
        rom = Ram("pc.bios", PAGE_BYTES)
        ram.write(5000, b"hello")
        rom.write(0, b"ours")
        foreign = Foreign(blocks={name: "pc.ram", "/rom@etc": None})
        registry, target = Registry(), Registry()
        register_ram(registry, ram, rom)
        register_ram(target, other, rom)
        f, data = to_bytes()

        Saving(registry, f, "microvm", Dialect.QEMU_7_2, foreign).save_whole()
        load(Reader(from_bytes(data)), target, foreign)

        assert other.read(5000, 5) == b"hello"
        assert rom.read(0, 4) == b"ours", "QEMU's has another, and ours stays"

    def test_a_block_that_we_have_not_is_dropped(self) -> None:
        mine, extra = Ram("a", PAGE_BYTES), Ram("z", 3 * PAGE_BYTES)
        mine.write(0, b"m")
        extra.write(0, b"e")
        registry, target = Registry(), Registry()
        register_ram(registry, extra, mine)
        other = mine.another()
        register_ram(target, other)
        f, data = to_bytes()
        Saving(registry, f, "m", Dialect.QEMU_7_2).save_whole()

        with pytest.raises(StreamError, match="no such block"):
            load(Reader(from_bytes(data)), target)
        load(Reader(from_bytes(data)), target, Foreign(blocks={"z": None}))

        assert other.page(0) == mine.page(0)

    def test_a_user_s_card_twice(self) -> None:
        registry = Registry()
        registry.register_savevm("b", 0, 1, lambda f: f.put_byte(1), lambda f, _: f.get_byte())
        section = "04 00000000 01 62 00000000 00000001  bb"

        with pytest.raises(StreamError, match="twice"):
            load(
                Reader(from_bytes(hexes("5145564d 00000003" + section + section + "00"))), registry
            )

    def test_the_same_section_twice(self) -> None:
        """isa-ide of QEMU comes twice under one number; a chip of ours must not."""
        section = "04 00000000 01 62 00000000 00000001  bb"

        with pytest.raises(StreamError, match="twice"):
            load(
                Reader(from_bytes(hexes("5145564d 00000003" + section + section + "00"))),
                one_byte_registry(),
            )


class TestExport:
    """A save for QEMU says all there is to say, or is refused."""

    def test_what_QEMU_has_no_place_for_is_named(self) -> None:
        machine = Machine().fill(1)

        with pytest.raises(ExportError) as refused:
            machine.save(Dialect.QEMU_7_2, FOREIGN)

        assert (refused.value.section, refused.value.field) == ("emu/counter/0", "shadow")
        assert (refused.value.found, refused.value.expected) == ("99", "7")

    def test_a_section_of_ours_only_must_be_as_at_power_on(self) -> None:
        registry = one_byte_registry()
        line = Chip(LINE_SAVED.state())
        registry.register_state(LINE_SAVED, line)
        f, _ = to_bytes()
        Saving(registry, f, "m", Dialect.QEMU_7_2).save_whole()
        line.state.typed = b"x"

        with pytest.raises(ExportError, match=r"emu/host-line/0.*typed"):
            Saving(registry, f, "m", Dialect.QEMU_7_2).save_whole()

    @pytest.mark.parametrize("idstr", ["user/card", "user/disk"])
    def test_a_card_of_the_user_s(self, idstr: str) -> None:
        dropped = set(FOREIGN.dropped) - {idstr}

        with pytest.raises(ExportError, match=idstr):
            Machine().save(Dialect.QEMU_7_2, Foreign(dropped=dropped))

    def test_no_byte_but_zero_is_repeated(self) -> None:
        """QEMU's description of a page of ones is the page."""
        ram = Ram("r", PAGE_BYTES)
        ram.write(0, b"\xff" * PAGE_BYTES)
        registry = Registry()
        register_ram(registry, ram)
        sizes = []
        for dialect in (Dialect.EMU, Dialect.QEMU_7_2):
            f, data = to_bytes()
            Saving(registry, f, "m", dialect).save_whole()
            sizes.append(data.count(b"\xff" * PAGE_BYTES))

        assert sizes == [0, 1]


class TestHead:
    def test_it_builds_the_machine_that_the_rest_is_loaded_into(self) -> None:
        saver = Machine(512 * 1024).fill(1)
        read_end, write_end = os.pipe()
        data = saver.save()
        os.set_blocking(write_end, True)

        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=write_end) as cat:
            os.close(write_end)
            assert cat.stdin is not None
            cat.stdin.write(data[:100])
            cat.stdin.flush()
            reader = Reader(open_fd(read_end))
            head = read_head(reader, MACHINE_SAVED)
            target = Machine(head.memory)
            cat.stdin.write(data[100:])
            cat.stdin.close()
            load(reader, target.registry)
            reader.f.fclose()

        assert reader.machine == MACHINE
        assert target.digest() == saver.digest()

    def test_it_comes_first(self) -> None:
        pieces = take_apart(Machine().save())
        bad = put_together(Machine().save(), [*pieces[1:], pieces[0]])

        with pytest.raises(StreamError, match="'ram/0', expected 'emu/machine/0'"):
            read_head(Reader(from_bytes(bad)), MACHINE_SAVED)

    def test_a_save_of_nothing(self) -> None:
        f, data = to_bytes()
        Saving(Registry(), f, "m").save_whole()

        with pytest.raises(StreamError, match="found the end"):
            read_head(Reader(from_bytes(data)), MACHINE_SAVED)

    def test_it_is_not_there_twice(self) -> None:
        pieces = take_apart(Machine().save())
        reader = Reader(from_bytes(put_together(Machine().save(), [*pieces, pieces[0]])))
        read_head(reader, MACHINE_SAVED)

        with pytest.raises(StreamError, match="twice"):
            load(reader, Machine().registry)

    def test_the_blocks_of_QEMU_s_RAM_can_be_seen_before(self) -> None:
        saver = Machine()
        data = saver.save(Dialect.QEMU_7_2, FOREIGN)
        reader = Reader(from_bytes(data))

        assert peek_ram(reader) == {"pc.ram": 1 << 20, "pc.bios": 1 << 16}

        target = Machine()
        load(reader, target.registry, Foreign(optional=FOREIGN.dropped))
        assert target.digest() == saver.digest()

    @pytest.mark.parametrize(
        "section",
        [
            "04 00000000 01 62 00000000 00000001  bb",
            "01 00000000 01 62 00000000 00000001  bb",
            "",
        ],
    )
    def test_or_there_are_none(self, section: str) -> None:
        data = hexes("5145564d 00000003" + section)

        assert peek_ram(Reader(from_bytes(data))) == {}


class TestDescription:
    def test_sizes_add_up_to_the_payload(self) -> None:
        """Which is how tools find their way through sections that they do not know."""
        machine = Machine().fill(1)
        data = machine.save()
        told = description.find(data)

        for piece in take_apart(data):
            if piece.kind == Kind.FULL:
                device = description.device_at(told, (piece.idstr, piece.instance))
                assert description.payload_size(device) == len(piece.payload), piece.idstr

    def test_the_end_of_a_save_is_found_among_other_bytes(self) -> None:
        text = b'{"page_size":4096}'
        length = len(text).to_bytes(4, "big")

        assert description.find(b"\0\6" * 9 + b"\0\6" + length + text) == {"page_size": 4096}
        assert description.find(b"\0\6" + length + text[:-1] + b"]") == {}
        assert description.find(b"\0\6\0\0\0\2[]") == {}
        assert description.find(b"no such thing") == {}

    @pytest.mark.parametrize(
        "told",
        [
            {},
            {"fields": 5},
            {"fields": [{"size": None}]},
            {"fields": [{"size": -1}]},
            {"fields": [{"size": 1e999}]},
            {"fields": [], "subsections": [{"vmsd_name": 5}]},
        ],
    )
    def test_nonsense_has_no_size(self, told: dict[str, object]) -> None:
        assert description.payload_size(told) is None

    def test_arrays_and_subsections_have(self) -> None:
        told = {
            "fields": [{"name": "a", "size": 2, "array_len": 3}],
            "subsections": [{"vmsd_name": "x/y", "fields": [{"size": 4}]}],
        }

        assert description.payload_size(told) == 6 + (1 + 1 + 3 + 4 + 4)

    def test_fields_of_a_section_nobody_declares(self) -> None:
        told = {
            "fields": [
                {"name": "count", "type": "uint16", "size": 2},
                {"name": "level", "type": "int8", "size": 1, "array_len": 2},
                {"name": "of", "type": "struct", "size": 1, "index": 1},
            ]
        }

        assert description.take_apart(told, hexes("0102 ff01 aa")) == {
            "count": 0x102,
            "level[0]": -1,
            "level[1]": 1,
            "of[1]": "aa",
        }
        assert description.take_apart(told, hexes("0102 ff01 aa 0500"))["subsections"] == "0500"

    @pytest.mark.parametrize(
        "told",
        [
            {},
            {"fields": [{"name": "a", "type": "uint8", "size": 9}]},
            {"fields": [{"name": "a", "type": "uint8", "size": 0, "array_len": 10**9}]},
            {"fields": [{"name": "a", "type": "uint8", "size": -1}]},
        ],
    )
    def test_or_else_the_bytes(self, told: dict[str, object]) -> None:
        assert description.take_apart(told, b"\1\2") == {"data": "0102"}

    def test_it_is_JSON_that_QEMU_s_tools_read(self) -> None:
        data = Machine().save(Dialect.QEMU_7_2, FOREIGN)
        told = json.loads(data[data.rindex(b'{"page_size"') :])

        assert list(told) == ["page_size", "devices"]
        assert told["devices"][0]["name"] == "counter"


QEMU = shutil.which("qemu-system-i386")


@pytest.mark.skipif(QEMU is None, reason="needs qemu-system-i386")
class TestAgainstQEMU:
    """QEMU 7.2 itself reads the frame, the RAM and the description."""

    def incoming(self, path: Path) -> str:
        """What QEMU says until it has the save or gives up."""
        command = [
            *("qemu-system-i386", "-M", "microvm", "-cpu", "486", "-m", "16", "-S"),
            *("-display", "none", "-nodefaults", "-qmp", "stdio"),
            *("-incoming", f"exec:cat {path}"),
        ]
        with Child(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as qemu:
            assert qemu.stdin is not None
            assert qemu.stdout is not None
            said = b""
            with contextlib.suppress(BrokenPipeError):
                qemu.stdin.write(b'{"execute":"qmp_capabilities"}')
                while b'"status": "paused"' not in said and qemu.poll() is None:
                    qemu.stdin.write(b'{"execute":"query-status"}')
                    said += qemu.stdout.readline()
                qemu.stdin.write(b'{"execute":"quit"}')
            return (said + qemu.stdout.read()).decode()

    def save(self, tmp_path: Path, name: str) -> Path:
        ram = Ram("pc.ram", 16 << 20)
        ram.write(0x7C00, b"\xf4")
        registry = Registry()
        register_ram(registry, ram)
        f, data = to_bytes()
        foreign = Foreign(blocks={name: "pc.ram"})
        Saving(registry, f, "microvm", Dialect.QEMU_7_2, foreign).save_whole()
        path = tmp_path / "save"
        path.write_bytes(data)
        return path

    def test_it_accepts_a_save(self, tmp_path: Path) -> None:
        said = self.incoming(self.save(tmp_path, "microvm.ram"))

        assert '"status": "paused"' in said
        assert "error" not in said.lower()

    def test_it_would_have_said_so(self, tmp_path: Path) -> None:
        said = self.incoming(self.save(tmp_path, "no.such.ram"))

        assert "no.such.ram" in said


def test_a_saved_state_may_have_several_kinds_of_fields() -> None:
    """The synthetic machine is what it says it is."""
    assert [section.idstr for section in COUNTER_SAVED.sections] == ["counter", "emu/counter"]
    assert CounterState().shadow == 7
