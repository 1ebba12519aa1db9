r"""A guest goes from this machine to QEMU and back, and does not notice.

The guest is `ticks`: it counts interrupts of the 8254, a hundred a second, halts in between, and
prints the count on COM1.  So a save that works shows in a count that goes on, and one that lost or
doubled an interrupt in a count that is not the time that has passed.

``golden/qemu-7.2-ticks.gz`` was saved by QEMU 7.2.22 and is what these tests have where there is
no QEMU; this is how it was made:

    with Qemu.with_guest(machine(), "ticks", "-rtc", "base=2000-01-01") as running:
        running.read_until(b"tick 5\r\n")
        running.stop_halted()
        running.save(path)

and then ``gzip -9n``.
"""

from __future__ import annotations

import gzip
import io
import itertools
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import require
from qemu_runs import PROGRAM, Qemu

import emu
from emu import attrs, images, qemu
from emu.cpu.models import Model
from emu.errors import ExportError, StreamError
from emu.host.ends import Memory as MemoryEnd
from emu.hw import fw_cfg, i8254, port92
from emu.inputs import Input, Source
from emu.isa import Slot
from emu.machine import Machine
from emu.memory import MIB, PAGE_BYTES, Memory, Ram
from emu.savevm import inspect as save_inspect
from emu.savevm.compare import compare
from emu.savevm.contents import reading
from emu.savevm.sections import Foreign
from emu.savevm.vmstate import Saved, reg, whole
from emu.tools import saves

GOLDEN = Path(__file__).parent / "golden" / "qemu-7.2-ticks.gz"
GOLDEN_DIGEST = "e1:8b6aae118c8c93e29a06b870b7932196"

IMAGE = images.path("ticks.bin").read_bytes()
COUNTERS = 0x7C00 + IMAGE.index(b"tick \0\r\n\0") + len(b"tick \0\r\n\0")
FLOPPY_SELECTOR = fw_cfg.FILE_FIRST  # the first by its name
TICKS_COUNT = 11_932
JMP_FAR = 0xEA  # what the ROM has at the reset vector

MS = 1_000_000


def machine(memory: str = "1M", cpu: str = "486", **options: object) -> Machine:
    return Machine("ticks", memory=memory, cpu=cpu, serial=MemoryEnd(), **options)


def said(vm: Machine) -> bytes:
    return bytes(vm.serial.end.sent)


def lines(first: int, last: int) -> bytes:
    return b"".join(b"tick %d\r\n" % number for number in range(first, last + 1))


def ticks(told: bytes) -> int:
    """The last tick that *told* has a line for; it tells all from power-on on, and each once."""
    last = told.count(b"\n") - 1
    assert (b"emu ROM: guest at 0000:7C00\r\n" + lines(1, last + 1)).startswith(told)
    return last


def saved(vm: Machine) -> bytes:
    """A save of *vm* for QEMU."""
    file = io.BytesIO()
    vm.save(file, dialect="qemu-7.2")
    return file.getvalue()


def load_into(vm: Machine, source: Path | io.BytesIO) -> None:
    vm.load(source)
    assert vm.memory[0xF_FFF0] == JMP_FAR, "without the ROM's copy the guest would run wild"


def load(data: bytes) -> Machine:
    vm = machine()
    load_into(vm, io.BytesIO(data))
    return vm


def counted_and_due(vm: Machine) -> tuple[int, int]:
    """How many interrupts the guest has counted, and how many there have been."""
    counted = int.from_bytes(vm.memory[COUNTERS : COUNTERS + 4], "little")
    cards = vm.board.slot.registry.cards
    counter = next(card for card in cards if isinstance(card, i8254.I8254)).state.counters[0]
    return counted, counter.pulses(vm.clock.now_ns) // TICKS_COUNT


def wait_for_interrupt(vm: Machine) -> None:
    """Go on until the 8254 has made an interrupt that has not been delivered."""
    while not vm.cpu.intr:
        vm.run(until=emu.clock(vm.clock.next_ns))


def write_to_floppy(vm: Machine, data: bytes) -> None:
    """As the ROM does: a structure in memory says what is to be written, its address starts it."""
    operation, source = 0x500, 0x600
    control = FLOPPY_SELECTOR << 16 | fw_cfg.CONTROL_SELECT | fw_cfg.CONTROL_WRITE
    vm.memory.write(source, data)
    vm.memory.write(operation, struct.pack(">IIQ", control, len(data), source))
    vm.board.slot.ports.write(fw_cfg.PORT_DMA_LOW, fw_cfg.swapped(operation), 4)
    assert vm.memory[operation : operation + 4] == bytes(4), "it is refused"


@pytest.fixture
def golden() -> bytes:
    return gzip.decompress(GOLDEN.read_bytes())


@pytest.fixture
def vm() -> Iterator[Machine]:
    """A machine at the moment at which the golden was saved: halted after tick 5."""
    with machine() as vm:
        vm.run(until=emu.serial("tick 5\r\n"))
        vm.run(until=emu.after(MS))
        yield vm


def differences(a: bytes, b: bytes) -> dict[str, set[str]]:
    """The fields on which two streams do not agree, by section; "all" of one that one lacks."""
    found: dict[str, set[str]] = {}
    files = io.BytesIO(a), io.BytesIO(b)
    a_and_b = (reading(each, saves.SCHEMAS, qemu.FOREIGN) for each in files)
    with next(a_and_b) as left, next(a_and_b) as right:
        told = compare(left, right, wire=True)
        for each in told.fields:
            found.setdefault(each.section, set()).add(each.field)
        return found | {key: {"all"} for key in (*told.only_a, *told.only_b)}


# ==== with QEMU ===========================================================================


class TestOnQEMU:
    """Each way, and round and round, with QEMU itself."""

    @pytest.fixture(autouse=True)
    def _needs_it(self) -> None:
        require(PROGRAM)

    @pytest.mark.parametrize(
        "save_ns",
        [
            pytest.param(5 * MS, id="in the first period of the timer"),
            pytest.param(12_900_000, id="in the middle of a character"),
            pytest.param(22_800_400, id="an interrupt is in service"),
            pytest.param(55 * MS, id="halted"),
        ],
    )
    def test_QEMU_goes_on_from_a_save_of_ours(self, tmp_path: Path, save_ns: int) -> None:
        with machine() as vm:
            vm.run(until=emu.clock(save_ns))
            vm.save(tmp_path / "save", dialect="qemu-7.2")

            with Qemu.going_on(vm, tmp_path / "save") as running:
                running.read_until(b"tick 9\r\n")

            assert ticks(said(vm) + running.said) >= 9

    def test_QEMU_delivers_an_interrupt_that_was_waiting(self, tmp_path: Path, vm: Machine) -> None:
        wait_for_interrupt(vm)
        vm.save(tmp_path / "save", dialect="qemu-7.2")

        with Qemu.going_on(vm, tmp_path / "save") as running:
            running.read_until(b"tick 9\r\n")

        assert ticks(said(vm) + running.said) >= 9

    @pytest.mark.parametrize("acpi", ["off", "on"])
    def test_we_go_on_from_a_save_of_QEMU_s(self, tmp_path: Path, acpi: str) -> None:
        with machine() as vm:
            with Qemu.with_guest(vm, "ticks", "-M", f"acpi={acpi}") as running:
                running.read_until(b"tick 5\r\n")
                running.save(tmp_path / "save")
            load_into(vm, tmp_path / "save")
            vm.run(until=emu.after(35 * MS))

            assert ticks(running.said + said(vm)) >= 8

    @pytest.mark.parametrize("cpu", [each.value for each in Model])
    def test_to_and_fro_no_interrupt_is_lost_or_doubled(self, tmp_path: Path, cpu: str) -> None:
        """QEMU's time is the host's: where that stalls for a whole period, one is lost as on any PC.

        So of three round trips one at least must be without a loss.
        """
        path, told = tmp_path / "save", b""
        here = machine(cpu=cpu)
        behind = [0]
        for _ in range(3):
            here.run(until=emu.after(15 * MS))
            here.save(path, dialect="qemu-7.2")
            with Qemu.going_on(here, path) as there:
                there.read_lines(1)
                there.save(path)
            told += said(here) + there.said
            here.close()
            here = machine(cpu=cpu)
            load_into(here, path)
            here.run(until=emu.serial("\n"))
            counted, due = counted_and_due(here)
            behind.append(due - counted)
        told += said(here)
        here.close()

        assert ticks(told) == counted
        losses = [after - before for before, after in itertools.pairwise(behind)]
        assert min(losses) == 0, losses


# ==== with what QEMU has saved ============================================================


class TestGolden:
    def test_the_guest_goes_on(self, golden: bytes) -> None:
        with load(golden) as vm:
            vm.run(until=emu.serial("tick 9\r\n"))

            assert said(vm) == lines(6, 9)

    def test_it_is_the_same_machine_as_ever(self, golden: bytes, tmp_path: Path) -> None:
        """The digest is of the sections that are in it, and of what is made up from them."""
        (tmp_path / "save").write_bytes(golden)

        assert saves.verify(tmp_path / "save") == GOLDEN_DIGEST

    def test_what_can_be_seen_without_a_machine(self, golden: bytes, tmp_path: Path) -> None:
        (tmp_path / "save").write_bytes(golden)

        report = saves.inspect(tmp_path / "save")

        assert (report.dialect, report.machine) == ("qemu-7.2", "microvm")
        assert {block.name: block.size for block in report.blocks} == {
            "microvm.ram": MIB,
            "pc.bios": 64 * 1024,
        }
        fields = {section.row.key[0]: section.fields for section in report.sections}
        assert fields["cpu_common"] == {"halted": 1, "interrupt_request": 0}
        assert fields["globalstate"]["runstate"].startswith(b"paused\0".hex())
        assert fields["ioapic"]["ioredtbl"] == 24 * [0x10000]

    def test_loaded_and_saved_it_says_the_same(self, golden: bytes) -> None:
        """But for what we have not, and for the clock on the wall: fields that FORMAT.md lists."""
        with load(golden) as vm:
            again = saved(vm)

        assert differences(golden, again) == {
            "cpu/0": {"tr.flags"},
            "globalstate/0": {"all"},
            "i8254/0": {
                f"channels[{number}].{field}"
                for number in (1, 2)
                for field in ("rw_mode", "read_state", "write_state")
            },
            "ioapic/0": {"all"},
            "mc146818rtc/0": {
                "period",
                "next_periodic_time",
                "last_update",
                "update_timer",
                "next_alarm_time",
            },
            "timer/0": {"tsc"},
        }

    def test_our_machine_at_the_same_moment_says_nearly_the_same(
        self, golden: bytes, vm: Machine
    ) -> None:
        """What QEMU's stream has at tick 5, field by field, our own has too."""
        found = differences(golden, saved(vm))

        assert found == {
            "ioapic/0": {"all"},
            "globalstate/0": {"all"},
            "cpu/0": {"tr.flags"},  # the same TSS, which QEMU's reset calls busy
            "fw_cfg/0": {"cur_entry"},  # the guest's image has another number there
            "i8254/0": {
                "channels[0].count_load_time",  # when the guest began, and all that follows
                "channels[0].next_transition_time",
                "next_transition_time",
                *(
                    f"channels[{number}].{field}"  # of counters that nobody has programmed
                    for number in (1, 2)
                    for field in ("rw_mode", "read_state", "write_state", "next_transition_time")
                ),
            },
            "mc146818rtc/0": {
                "cmos_data",  # the coprocessor and the checksum of SETUP are ours
                "period",  # QEMU has them only while the interrupt is enabled
                "next_periodic_time",
                "last_update",  # by the clock on QEMU's wall
                "update_timer",
                "next_alarm_time",
            },
            "serial/0": {"thr_ipending"},  # QEMU has it only while the interrupt is enabled
            "timer/0": {"tsc", "now_ns"},
        }

    def test_an_interrupt_that_waits_is_in_three_places(self, vm: Machine) -> None:
        """QEMU does not ask its 8259 again: the processor has to be told, too."""
        wait_for_interrupt(vm)
        report = save_inspect.inspect(io.BytesIO(saved(vm)), saves.SCHEMAS, qemu.FOREIGN)
        fields = {section.row.key: section.fields for section in report.sections}

        assert fields["cpu_common", 0] == {"halted": 1, "interrupt_request": 2}
        assert fields["i8259", 0]["irr"] == 1
        assert fields["i8259", 0]["last_irr"] == 1

    def test_the_numbers_of_2008_are_understood(self, golden: bytes) -> None:
        """Then an instance was a port address."""
        old = golden
        for idstr, now, then, version in (
            (b"\x05i8259", 0, 0x20, 1),
            (b"\x05i8259", 1, 0xA0, 1),
            (b"\x05i8254", 0, 0x40, 3),
            (b"\x0bmc146818rtc", 0, 0x70, 3),
            (b"\x06serial", 0, 0x3F8, 3),
        ):
            header = idstr + now.to_bytes(4, "big") + version.to_bytes(4, "big")
            assert old.count(header) == 1
            old = old.replace(header, idstr + then.to_bytes(4, "big") + version.to_bytes(4, "big"))

        with load(golden) as vm, load(old) as other:
            assert other.digest() == vm.digest()

    def test_another_machine_of_QEMU_s_is_refused(self, golden: bytes) -> None:
        with machine() as vm:
            before = vm.digest()
            renamed = golden.replace(b"\0\0\0\x07microvm", b"\0\0\0\x07isapc--", 1)

            with pytest.raises(StreamError, match="'isapc--', expected 'microvm'"):
                vm.load(io.BytesIO(renamed))

            assert vm.digest() == before

    def test_other_RAM_is_refused(self, golden: bytes) -> None:
        with machine(memory="2M") as vm:
            before = vm.digest()

            with pytest.raises(StreamError, match=r"'microvm\.ram'.*another size"):
                vm.load(io.BytesIO(golden))

            assert vm.digest() == before

    def test_what_QEMU_has_not_is_made_up(self, golden: bytes) -> None:
        """Whatever the machine was in the middle of, it becomes the one that was saved."""
        with load(golden) as fresh, machine() as used:
            used.run(until=emu.clock(MS))
            used.board.slot.ports.write(0x92, 0, 1)
            used.board.slot.ports.write(0x61, 0x0F, 1)
            used.serial.send("typed")
            used.inputs.schedule([Input(2 * MS, Source.RESET)])

            used.load(io.BytesIO(golden))

            assert used.cpu.a20
            assert used.digest() == fresh.digest()

    def test_an_exception_on_its_way_is_refused(self, golden: bytes) -> None:
        """QEMU would deliver it when it goes on; it is none of these where its loop has ended."""
        footer = golden.index(b"\x0acpu_common") + len(b"\x0acpu_common") + 4 + 4 + 8

        def with_index(number: int) -> bytes:
            name = b"cpu_common/exception_index"
            header = b"\x05" + bytes([len(name)]) + name + (1).to_bytes(4, "big")
            extra = header + number.to_bytes(4, "big", signed=True)
            return golden[:footer] + extra + golden[footer:]

        with load(golden) as vm, load(with_index(0x10001)) as halted:
            assert halted.digest() == vm.digest()
        with pytest.raises(StreamError, match=r"cpu_common/0.*exception_index"):
            load(with_index(14))


# ==== what cannot be said =================================================================


@attrs.define
class LampState:
    """A card of the user's own."""

    on: int = reg(bits=1, doc="lit")


@attrs.define(eq=False)
class Lamp:
    state: LampState = attrs.field(factory=LampState)

    def settle(self) -> None:
        pass


LAMP = Saved(LampState, (whole(LampState, "lamp"),))


class TestExport:
    """A save for QEMU says all that matters, or is refused."""

    def refused(self, vm: Machine) -> tuple[str | None, str | None]:
        with pytest.raises(ExportError) as refusal:
            saved(vm)
        return refusal.value.section, refusal.value.field

    def test_characters_on_their_way_to_the_port(self, vm: Machine) -> None:
        vm.serial.send("hello")

        assert self.refused(vm) == ("emu/cable/0", "pending")

    def test_inputs_to_come(self, vm: Machine) -> None:
        vm.inputs.schedule([Input(1000 * MS, Source.RESET)])

        assert self.refused(vm) == ("emu/inputs/0", "pending")

    def test_the_speaker(self, vm: Machine) -> None:
        vm.board.slot.ports.write(0x61, 0b10, 1)

        assert self.refused(vm) == ("pcspk/0", "speaker_data")

    def test_a_closed_A20_gate_that_QEMU_could_not_open(self, vm: Machine) -> None:
        vm.board.slot.ports.write(port92.PORT, 0, 1)

        assert self.refused(vm) == ("port92/0", "outport")

    def test_a_field_of_one_of_several(self, vm: Machine) -> None:
        """Counter 2 stands still while its gate is low, which QEMU does not know."""
        vm.board.slot.ports.write(0x43, 0b10_11_000_0, 1)
        vm.board.slot.ports.write(0x42, 0xFF, 1)
        vm.board.slot.ports.write(0x42, 0xFF, 1)
        vm.run(until=emu.after(MS))

        assert self.refused(vm) == ("emu/i8254/0", "counters[2].stopped_ns")

    def test_what_the_guest_wrote_to_a_drive(self) -> None:
        """Not even if it was written before a save of ours; a drive as it came is QEMU's to have."""
        with machine(floppy=bytes(160 * 1024)) as vm:
            vm.run(until=emu.serial("tick 1\r\n"))
            assert saved(vm)

            write_to_floppy(vm, b"new")
            assert self.refused(vm) == ("emu/fw_cfg/0", "written")

            file = io.BytesIO()
            vm.save(file)
        file.seek(0)
        with emu.load(file) as vm:
            assert self.refused(vm) == ("emu/fw_cfg/0", "written")

    def test_a_card_of_the_user_s_own(self) -> None:
        """It may be there, as long as it holds nothing; and a load takes from it what it holds."""
        lamp = Lamp()

        def plug_in(slot: Slot) -> None:
            slot.register_state(LAMP, lamp)

        with machine(cards=[plug_in]) as vm:
            vm.run(until=emu.serial("tick 1\r\n"))
            data = saved(vm)
            lamp.state.on = 1
            assert self.refused(vm) == ("lamp/0", "on")

            vm.load(io.BytesIO(data))
            assert lamp.state.on == 0

    def test_another_board(self, vm: Machine) -> None:
        board = attrs.evolve(vm.board, name="q35")

        with pytest.raises(ExportError, match="take the place of this q35"):
            qemu.foreign(board)

    def test_how_to_start_QEMU(self, vm: Machine) -> None:
        options = "acpi=off,pit=on,pic=on,rtc=on,isa-serial=on,x-option-roms=off"

        assert qemu.arguments(vm.description) == [
            *("-M", f"microvm,{options},auto-kernel-cmdline=off"),
            *("-cpu", "486,-hypervisor"),
            *("-m", "1M"),
            "-nodefaults",
        ]


class TestROM:
    """QEMU has one ROM in two places, and it can be written to; we have a ROM and a copy in RAM."""

    def test_what_the_guest_wrote_to_the_copy_goes_along(self, vm: Machine) -> None:
        vm.memory.write(0xF_1234, b"written")
        data = saved(vm)

        with load(data) as other:
            assert other.memory[0xF_1234:0xF_123B] == b"written"
            assert data.count(b"written") == 2, "in pc.bios, and in RAM that QEMU does not show"

            other.reset()
            assert other.memory[0xF_1234:0xF_123B] == b"\xff" * 7

    def test_QEMU_s_RAM_behind_its_ROM_is_not_seen(self, golden: bytes) -> None:
        with load(golden) as vm:
            rom = images.path(images.ROM).read_bytes()
            seen = vm.memory[0xF_0000:0x10_0000]

            assert seen[:0xE000] == rom[:0xE000]
            assert b"emu ROM: " in seen, "whatever version of it QEMU had"
            assert seen[-16:] == rom[-16:], "its reset vector"

    @pytest.mark.parametrize("kib", [64, 128, 256])
    def test_only_its_end_has_a_copy(self, kib: int) -> None:
        memory = Memory(Ram("pc.ram", MIB), Ram("pc.bios", kib * 1024))
        contents = bytes(number % 251 for number in range(kib * 1024))
        memory.rom.write(0, contents)
        memory.fill_shadow()
        rom = qemu.OneRom(memory)
        memory.ram.write(MIB - 100, b"here")
        seen = contents[:-100] + b"here" + contents[-96:]

        assert rom.read(0, rom.size) == seen
        assert b"".join(rom.page(number) for number in range(rom.pages)) == seen
        assert [*rom.written()] == [range(kib * 1024 // PAGE_BYTES)]

        new = rom.another()
        new.write(0, b"new" * (kib * 1024 // 3))
        expected = new.read(0, rom.size)
        rom.replace(new)

        start = max(0, rom.size - 128 * 1024)
        assert memory.rom.read(0, rom.size) == contents
        assert rom.read(0, rom.size) == contents[:start] + expected[start:]


def test_a_foreign_machine_may_leave_it_open_which_sections_it_has() -> None:
    """Then it has all that do not bear our name."""
    assert Foreign().has_section(("lamp", 3))
    assert not Foreign().has_section(("emu/lamp", 3))
