"""`emu diff`: what two saves differ in, told to people and to programs."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import emu
from emu.cli import main
from emu.clock import NEVER
from emu.inputs import Input, Source
from emu.machine import Machine
from emu.memory import MIB, PAGE_BYTES
from emu.tools import differences, disassembly, saves

needs_capstone = pytest.mark.skipif(
    not disassembly.available(), reason="no capstone: pip install -e '.[test]'"
)


@pytest.fixture
def vm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine in the middle of `ticks`, saved as ``a``."""
    monkeypatch.chdir(tmp_path)
    with emu.Machine("ticks", memory="2M") as vm:
        vm.run(emu.clock(40_000_000))
        vm.save("a")
        yield vm


def told(vm: Machine, *options: str) -> list[str]:
    """What `emu diff` says of ``a`` and of *vm* as it is now, line by line."""
    vm.save("b")
    with saves.diff("a", "b", wire="--wire" in options) as found:
        return list(differences.lines(found))


def parts(lines: list[str], name: str) -> list[str]:
    """The lines below *name*, without their margin."""
    after = lines[lines.index(name) + 1 :]
    return [line.strip() for line in after[: after.index("") if "" in after else None]]


class TestValues:
    """In the base that the reader thinks in."""

    def test_the_same(self, vm: Machine) -> None:
        """Nothing is said, and the status is 0."""
        vm.save("b")

        assert told(vm) == []
        assert main(["diff", "a", "b"]) == 0

    def test_times_and_how_far_apart_they_are(self, vm: Machine) -> None:
        vm.run(emu.after("10ms"))
        lines = told(vm)

        assert lines[0].endswith("2 pages; B is 10.000 ms later")
        assert parts(lines, "timer/0") == [
            "now_ns                       40.000000 ms -> 50.000000 ms   +10.000 ms"
        ]

    def test_the_other_way_round(self, vm: Machine) -> None:
        vm.run(emu.after("10ms"))
        vm.save("b")
        with saves.diff("b", "a") as found:
            lines = list(differences.lines(found))

        assert lines[0].endswith("B is 10.000 ms earlier")
        assert "   -10.000 ms" in lines[3]

    def test_an_instant_that_never_comes(self, vm: Machine) -> None:
        serial = vm.board.serial
        assert serial is not None
        assert serial.state.break_ns == NEVER
        serial.state.break_ns = 41_000_000

        assert parts(told(vm), "serial/0") == ["break_ns                     never -> 41.000000 ms"]

    def test_registers_in_hex_as_wide_as_they_are(self, vm: Machine) -> None:
        vm.board.processor.state = changed(vm, esp=0x7C00, dr7=0x401, pat=1)
        serial = vm.board.serial
        assert serial is not None
        serial.state.scr, serial.state.mcr = 0xA, 0x13
        lines = told(vm)

        assert "esp                          0x00007c00 -> 0x00007c00" not in lines
        assert "dr7                          0x00000400 -> 0x00000401" in parts(lines, "cpu/0")
        assert "pat                          0x0007040600070406 -> 0x0000000000000001" in parts(
            lines, "cpu/0"
        )
        assert parts(lines, "serial/0") == [
            "mcr                          0x0b -> 0x13",
            "scr                          0x00 -> 0x0a",
        ]

    def test_flags_segments_and_elements(self, vm: Machine) -> None:
        state = vm.cpu
        state.gs.base = 0x1000
        state.fpu[3].mantissa = 1
        state.halted = not state.halted
        vm.board.processor.state = state

        assert [line.split()[0] for line in parts(told(vm), "cpu/0")] == [
            "gs.base",
            "fpu[3].mantissa",
            "halted",
        ]
        assert parts(told(vm), "cpu/0")[2].split()[1:] == ["true", "->", "false"]

    def test_choices_counts_texts_and_bytes(self, vm: Machine) -> None:
        vm.inputs.schedule([Input(50_000_000, Source.SERIAL, b"ls -l\r, and more than is shown")])
        vm.boot_set("cd")
        mouse = vm.board.mouse
        assert mouse is not None
        mouse.state.x = -5
        lines = told(vm)

        assert parts(lines, "emu/inputs/0") == [
            "pending[0].ns                nothing -> 50.000000 ms",
            "pending[0].source            nothing -> SERIAL",
            (
                "pending[0].data              nothing -> "
                "6c 73 20 2d 6c 0d 2c 20 61 6e 64 20 6d 6f 72 65... (30 bytes)"
            ),
        ]
        assert parts(lines, "emu/ps2_mouse/0") == ["x                            0 -> -5"]
        assert "boot                          -> cd" in parts(lines, "emu/machine/0")

    def test_a_size_is_a_count(self, vm: Machine) -> None:
        vm.save("a")
        with emu.Machine("ticks", memory="4M") as other:
            lines = told(other)

        assert "memory_bytes                 2,097,152 -> 4,194,304" in parts(
            lines, "emu/machine/0"
        )

    @pytest.mark.usefixtures("vm")
    def test_a_section_that_only_one_has(self) -> None:
        with emu.Machine("ticks", memory="2M") as other:
            other.run(emu.clock(8_000_000))
            other.save("b", "qemu-7.2")
        with saves.diff("a", "b") as found:
            lines = list(differences.lines(found))

        assert "emu/inputs/0" in parts(lines, "only in A")
        assert "sections in one of them only" in lines[0]
        assert "only in B" not in lines

    def test_on_the_wire(self, vm: Machine) -> None:
        """The streams' own names, as `emu inspect` has them."""
        vm.run(emu.after("10ms"))
        lines = told(vm, "--wire")

        assert "channels[0].next_transition_time" in "\n".join(parts(lines, "i8254/0"))
        assert parts(lines, "timer/0")[0].startswith("tsc ")

    @pytest.mark.parametrize(
        ("ns", "text"),
        [
            (0, "+0 ns"),
            (-999, "-999 ns"),
            (1_500, "+1.500 us"),
            (-2_000_000, "-2.000 ms"),
            (9_999_000_000, "+9,999.000 ms"),
            (12_345_678_901, "+12.346 s"),
        ],
    )
    def test_a_span_has_the_unit_that_fits(self, ns: int, text: str) -> None:
        assert differences._span(ns) == text


def changed(vm: Machine, **values: int) -> object:
    state = vm.cpu
    for name, value in values.items():
        setattr(state, name, value)
    return state


class TestPages:
    def test_bytes_in_hex_with_their_addresses(self, vm: Machine) -> None:
        """Each place by itself; a long one is cut."""
        vm.memory.write(0x50010, b"\1\2\3")
        vm.memory.write(0x50014, b"\4")
        vm.memory.write(0x51000, bytes(range(1, 101)))
        lines = told(vm)

        assert parts(lines, "pc.ram page 80: 4 bytes") == [
            "00050010  00 00 00 -> 01 02 03",
            "00050014  00 -> 04",
        ]
        (line,) = parts(lines, "pc.ram page 81: 100 bytes")
        assert line.endswith("01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10... (100 bytes)")
        assert lines[0] == "0 fields in 0 sections, 2 pages"

    def test_many_places_and_many_pages(self, vm: Machine) -> None:
        for number in (*range(300, 310), *range(320, 340), 350, *range(352, 400, 2)):
            vm.memory.write(number * PAGE_BYTES, b"x" * 1)
        vm.memory.write(300 * PAGE_BYTES, b"x\0" * 100)
        lines = told(vm)

        assert parts(lines, "pc.ram page 300: 100 bytes")[-1] == "and 92 places more"
        assert lines[0] == "0 fields in 0 sections, 55 pages"
        assert parts(lines, "and 39 pages more") == [
            "pc.ram pages 326 to 339",
            "pc.ram page 350",
            *(f"pc.ram page {number}" for number in range(352, 364, 2)),
            "...",
        ]

    def test_pages_of_two_blocks_that_are_not_shown(self, vm: Machine) -> None:
        rom = vm.memory.rom
        for number in range(4):
            rom.write(number * PAGE_BYTES, b"\xee" * PAGE_BYTES)
        for number in range(300, 320):
            vm.memory.write(number * PAGE_BYTES, b"x")
        lines = told(vm)

        assert lines[0] == "0 fields in 0 sections, 24 pages"
        assert parts(lines, "and 8 pages more") == ["pc.ram pages 312 to 319"]


CHANGING = bytes.fromhex(  # at 7C00h; real mode, 16 bits
    "fa"  #                  7c00  cli
    "66b878563412"  #        7c01  mov eax, 12345678h     <- its operand is changed
    "e80300"  #              7c07  call 7c0dh
    "f4"  #                  7c0a  hlt
    "ebf3"  #                7c0b  jmp 7c00h
    "40"  #                  7c0d  inc ax                 <- and this
    "c3"  #                  7c0e  ret
    "1234"  #                7c0f  data
)


@needs_capstone
class TestCode:
    @pytest.fixture
    def vm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
        """Entered at 7C00h, nothing done yet."""
        monkeypatch.chdir(tmp_path)
        with emu.Machine(b"\xf4", memory="2M") as vm:
            vm.memory.write(0x7C00, CHANGING)
            state = vm.cpu
            state.cs.selector, state.cs.base, state.eip = 0, 0, 0x7C00
            vm.board.processor.state = state
            vm.save("a")
            yield vm

    def test_both_sides_are_disassembled(self, vm: Machine) -> None:
        """What can be reached through jumps and calls, and nothing else."""
        vm.memory.write(0x7C03, b"\x99")
        vm.memory.write(0x7C0D, b"\x43")
        vm.memory.write(0x7C0F, b"\x99")

        assert parts(told(vm), "pc.ram page 7: 3 bytes") == [
            "00007c03  78 -> 99",
            "00007c0d  40 -> 43",
            "00007c0f  12 -> 99",
            "code at 00007c01, A",
            "7c01  66 b8 78 56 34 12       mov eax, 0x12345678",
            "code at 00007c01, B",
            "7c01  66 b8 99 56 34 12       mov eax, 0x12345699",
            "code at 00007c0d, A",
            "7c0d  40                      inc ax",
            "code at 00007c0d, B",
            "7c0d  43                      inc bx",
        ]

    def test_code_that_has_come_where_none_was(self, vm: Machine) -> None:
        """The other side says how it reads as code; what is none is bytes."""
        vm.memory.write(0x7C07, bytes.fromhex("e8f603"))  # call 8000h
        vm.memory.write(0x8000, bytes.fromhex("31c0c3"))
        lines = told(vm)

        assert parts(lines, "pc.ram page 8: 3 bytes")[1:] == [
            "code at 00008000, A",
            "8000  00 00                   add byte ptr [bx + si], al",
            "8002  00 00                   add byte ptr [bx + si], al",
            "code at 00008000, B",
            "8000  31 c0                   xor ax, ax",
            "8002  c3                      ret",
        ]

    def test_where_there_is_none(self, vm: Machine) -> None:
        """Instructions that are none are bytes."""
        vm.memory.write(0x7C0D, b"\x0f\x04")
        lines = parts(told(vm), "pc.ram page 7: 2 bytes")

        assert "7c0d  0f                      db 0x0f" in lines
        assert "7c0e  04 12                   add al, 0x12" in lines

    def test_zeros_are_no_code(self, vm: Machine) -> None:
        """Or memory that nobody has written would be."""
        vm.memory.write(0x7C00, b"\x90\x90" + bytes(30))
        vm.save("a")
        vm.memory.write(0x7C0A, b"\x99")

        assert parts(told(vm), "pc.ram page 7: 1 byte") == ["00007c0a  00 -> 99"]

    def test_a_long_listing_is_cut(self, vm: Machine) -> None:
        vm.memory.write(0x7C00, b"\x90" * 100)

        assert parts(told(vm), "pc.ram page 7: 100 bytes")[-1] == "and 88 instructions more"

    def test_an_interrupt_s_handler_is_code(self, vm: Machine) -> None:
        vm.memory.write(4 * 0x60, struct.pack("<HH", 0x0010, 0x0900))  # vector 60h: 0900:0010
        vm.memory.write(0x9010, bytes.fromhex("b44c cf"))
        vm.save("a")
        vm.memory.write(0x9011, b"\x4d")

        assert "0010  b4 4d                   mov ah, 0x4d" in parts(
            told(vm), "pc.ram page 9: 1 byte"
        )

    @pytest.mark.parametrize(
        ("call", "frame"),
        [
            ("e80000", "039b"),  # near, in the segment where the processor is: 9B03h
            ("cd10", "0200 b009"),  # INT 10h, from 09B0:0000
            ("9a00000000", "0500 b009"),  # far
        ],
    )
    def test_where_a_call_returns_to_is_code(self, vm: Machine, call: str, frame: str) -> None:
        """Its address is on the stack, and behind a call."""
        vm.memory.write(0x9B00, bytes.fromhex(call) + b"\x42")
        vm.memory.write(0x6000, bytes(10) + bytes.fromhex(frame))
        state = vm.cpu
        state.ss.base, state.esp = 0x1000, 0x5000
        vm.board.processor.state = state
        vm.save("a")
        vm.memory.write(0x9B00 + len(call) // 2, b"\x43")
        lines = parts(told(vm), "pc.ram page 9: 1 byte")

        assert [line.split()[-2:] for line in lines if "inc" in line] == [
            ["inc", "dx"],
            ["inc", "bx"],
        ]

    def test_other_words_on_the_stack_lead_nowhere(self, vm: Machine) -> None:
        vm.memory.write(0x9B00, bytes.fromhex("909090 42"))
        vm.memory.write(0x6000, bytes.fromhex("039b 0300 b009"))
        state = vm.cpu
        state.ss.base, state.esp = 0x1000, 0x5000
        vm.board.processor.state = state
        vm.save("a")
        vm.memory.write(0x9B03, b"\x43")

        assert len(parts(told(vm), "pc.ram page 9: 1 byte")) == 1

    def test_far_jumps_in_real_mode(self, vm: Machine) -> None:
        vm.memory.write(0x7C00, bytes.fromhex("ea34120009"))  # jmp 0900:1234h
        vm.memory.write(0xA234, bytes.fromhex("40"))
        vm.save("a")
        vm.memory.write(0xA234, bytes.fromhex("41"))

        assert "1234  41                      inc cx" in parts(told(vm), "pc.ram page 10: 1 byte")

    def test_in_protected_mode_through_page_tables(self, vm: Machine) -> None:
        """EIP is linear, RAM is not; gates lead to handlers, far calls through the GDT."""
        protected(vm)
        vm.save("a")
        vm.memory.write(CODE + 1, b"\x02")
        vm.memory.write(HANDLER + 1, b"\x03")
        vm.memory.write(FAR + 1, b"\x04")
        vm.memory.write(DATA, b"\x05")
        lines = told(vm)

        assert "00400000  b8 02 00 00 00          mov eax, 2" in parts(
            lines, f"pc.ram page {CODE // PAGE_BYTES}: 1 byte"
        )
        assert "00401000  b9 03 00 00 00          mov ecx, 3" in parts(
            lines, f"pc.ram page {HANDLER // PAGE_BYTES}: 1 byte"
        )
        assert "00402000  ba 04 00 00 00          mov edx, 4" in parts(
            lines, f"pc.ram page {FAR // PAGE_BYTES}: 1 byte"
        )
        assert len(parts(lines, f"pc.ram page {DATA // PAGE_BYTES}: 1 byte")) == 1

    def test_an_EIP_that_leads_nowhere(self, vm: Machine) -> None:
        """Nothing is code, and nothing is wrong."""
        state = vm.cpu
        state.cr0 |= 0x8000_0001
        state.cr3, state.cs.base, state.cs.flags = 0x1F_0000, 0x1234_5678, 0xCF_9B00
        state.idtr.base = 0x9000_0000
        vm.board.processor.state = state
        vm.save("a")
        vm.memory.write(0x7C03, b"\x99")

        assert parts(told(vm), "pc.ram page 7: 1 byte") == ["00007c03  78 -> 99"]

    @pytest.mark.usefixtures("vm")
    def test_every_instruction_is_one_of_the_source_s(self) -> None:
        """Where it begins and how long it is, compared with what nasm made of `ticks`."""
        nasm = shutil.which("nasm")
        if nasm is None:
            pytest.skip("no nasm on the PATH: apt-get install nasm")
        firmware = Path(emu.__file__).parents[1] / "firmware"
        listing = Path("ticks.lst")
        subprocess.run(
            [
                *(nasm, "-f", "bin", "-o", "ticks.bin", "-l", str(listing)),
                *("-I", f"{firmware}/include/", "-I", f"{firmware}/guests/"),
                str(firmware / "guests" / "ticks.asm"),
            ],
            check=True,
        )
        assembled = {
            0x7C00 + int(place, 16): len(re.sub(r"[^0-9A-F]", "", code)) // 2
            for place, code in re.findall(
                r"^ +\d+ ([0-9A-F]{8}) ([0-9A-F()\[\]]+) ", listing.read_text(), re.MULTILINE
            )
        }
        with emu.Machine("ticks", memory="2M") as ticks:
            ticks.run(emu.clock(40_000_000))
            ticks.save("t")
        with saves.diff("t", "a") as found:
            decoder = disassembly.decoder_of(found.a)
        assert decoder is not None
        ours = [each for at, each in decoder.reached.items() if 0x7C00 <= at < 0x7E00]
        reached = {each.physical: len(each.data) for each in ours}

        assert len(reached) > 30
        assert reached.items() <= assembled.items()


CODE, HANDLER, FAR, DATA = 0x12_0000, 0x12_5000, 0x12_3000, 0x12_8000
TABLES = 0x10_0000  # directory, table, GDT, IDT: a page each


def protected(vm: Machine) -> None:
    """Flat segments; linear 400000h is CODE, 401000h HANDLER, 402000h FAR, 403000h DATA."""
    directory, table, gdt, idt = (TABLES + n * PAGE_BYTES for n in range(4))
    vm.memory.write(directory + 4, struct.pack("<I", table | 1))
    vm.memory.write(directory, struct.pack("<I", table + 4 * PAGE_BYTES | 1))
    vm.memory.write(table, struct.pack("<IIII", CODE | 1, HANDLER | 1, FAR | 1, DATA | 1))
    for number in range(512):  # the first 2 MiB as they are
        entry = struct.pack("<I", number * PAGE_BYTES | 1)
        vm.memory.write(table + 4 * PAGE_BYTES + 4 * number, entry)
    vm.memory.write(gdt + 8, struct.pack("<II", 0x0000_FFFF, 0x00CF_9B00))
    vm.memory.write(idt + 8 * 0x30, struct.pack("<II", 8 << 16 | 0x1000, 0x0040_8E00))
    vm.memory.write(idt + 8 * 0x31, struct.pack("<II", 8 << 16 | 0x1000, 0x0040_8500))  # a task's
    vm.memory.write(idt + 8 * 0x32, struct.pack("<II", 16 << 16, 0x0000_8F00))  # nothing there
    vm.memory.write(idt + 8 * 0x33, struct.pack("<II", 8 << 16 | 0x3000, 0x0040_9E00))  # no gate
    vm.memory.write(CODE, bytes.fromhex("b801000000 9a002040000800 ebf2"))
    vm.memory.write(HANDLER, bytes.fromhex("b901000000 cf"))
    vm.memory.write(FAR, bytes.fromhex("ba01000000 cb"))
    state = vm.cpu
    state.cr0, state.cr3 = state.cr0 | 0x8000_0001, directory
    state.gdtr.base, state.gdtr.limit = gdt, 0xF
    state.idtr.base, state.idtr.limit = idt, 0x7FF
    state.cs.selector, state.cs.base, state.cs.flags, state.eip = 8, 0, 0xCF_9B00, 0x40_0000
    vm.board.processor.state = state


class TestWithoutCapstone:
    @pytest.fixture(autouse=True)
    def _without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(disassembly, "available", lambda: False)

    def test_one_line_says_how_to_get_it(self, vm: Machine) -> None:
        """Where the processor is, as that is surely code; once, however many pages."""
        here = vm.cpu.cs.base + vm.cpu.eip
        vm.memory.write(here, b"\x90")
        vm.memory.write(0x50000, b"\x90")
        lines = told(vm)

        assert [line for line in lines if "disasm" in line] == [
            "(pip install 'emu-savevm[disasm]' shows code as such)"
        ]
        assert "code" not in "".join(line for line in lines if "disasm" not in line)

    def test_nothing_is_said_of_other_changes(self, vm: Machine) -> None:
        vm.memory.write(0x50000, b"\x90")
        vm.memory.rom.write(0, b"\x90")

        assert "disasm" not in "\n".join(told(vm))

    def test_an_EIP_that_leads_nowhere(self, vm: Machine) -> None:
        state = vm.cpu
        state.cr0 |= 0x8000_0001
        state.cr3 = 0x1F_0000
        vm.board.processor.state = state
        vm.memory.write(0x50000, b"\x90")

        assert "disasm" not in "\n".join(told(vm))


class TestJson:
    def diff(self, capsys: pytest.CaptureFixture[str], *options: str) -> dict:
        capsys.readouterr()
        status = main(["diff", "a", "b", "--json", *options])
        found: dict = json.loads(capsys.readouterr().out)
        assert found["same"] == (status == 0)
        return found

    def test_everything(self, vm: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        vm.run(emu.after("10ms"))
        vm.memory.write(0x50010, b"\1\2\3")
        vm.memory.write(0x60000, bytes(range(1, 101)))
        vm.save("b")
        found = self.diff(capsys)

        assert found["later_ns"] == 10_000_000
        assert found["fields"][0] == {
            "section": "timer/0",
            "field": "now_ns",
            "a": 40_000_000,
            "b": 50_000_000,
            "what": "virtual nanoseconds since power-on; the time stamp counter",
        }
        assert [page["page"] for page in found["pages"]] == [0, 7, 0x50, 0x60]
        assert found["pages"][2] == {
            "block": "pc.ram",
            "page": 0x50,
            "bytes_changed": 3,
            "first": 0x50010,
            "runs": [{"offset": 0x50010, "length": 3, "a": "000000", "b": "010203"}],
            "code": [],
        }
        (run,) = found["pages"][3]["runs"]
        assert (run["length"], len(run["b"])) == (100, 2 * 64)

    def test_every_page(self, vm: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        """However many."""
        for number in range(256, 512):
            vm.memory.write(number * PAGE_BYTES, b"x")
        vm.save("b")

        assert [page["page"] for page in self.diff(capsys)["pages"]] == list(range(256, 512))

    def test_the_same(self, vm: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        vm.save("b")

        assert self.diff(capsys) == {
            "same": True,
            "later_ns": 0,
            "fields": [],
            "only_a": [],
            "only_b": [],
            "pages": [],
        }

    @needs_capstone
    def test_code(self, vm: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        here = vm.cpu.cs.base + vm.cpu.eip
        vm.memory.write(here, b"\x90")
        vm.save("b")
        (code,) = self.diff(capsys)["pages"][0]["code"]

        assert code["start"] == here
        assert code["b"][0] == {"eip": vm.cpu.eip, "bytes": "90", "text": "nop"}


def test_a_digest_tells_the_same(vm: Machine) -> None:
    """The status is 0 if and only if `emu verify` prints the same."""
    for change in (lambda: None, lambda: vm.run(emu.after("1us")), vm.reset):
        change()
        vm.save("b")
        same = saves.verify("a") == saves.verify("b")
        assert main(["diff", "a", "b"]) == (0 if same else 1)


def test_RAM_beyond_a_MiB_is_told_by_its_address(vm: Machine) -> None:
    vm.memory.write(MIB + 0x123, b"z")

    assert parts(told(vm), "pc.ram page 256: 1 byte") == ["00100123  00 -> 7a"]
