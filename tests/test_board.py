"""The boards are wired as their page says, and work with whatever is plugged in."""

from __future__ import annotations

import io
import random
import re

import pytest
from guest_runs import ECHO, SCRIPTS, Running, Script

import emu
from emu import Machine, attrs, board
from emu.board import ISAPC_PARTS, Options, Outside, Part
from emu.clock import Clock
from emu.cpu.choose import choose
from emu.cpu.engine import EngineChoice
from emu.cpu.models import Model
from emu.memory import MIB
from emu.ports import SIZES

MS = 1_000_000
SPIN = bytes.fromhex("ebfe")  # again: jmp again
ROW = re.compile(
    r"^    (\w+) +((?:[0-9A-F]+(?:-[0-9A-F]+)? )*) +(?:(INTR|IRQ \d+) )? ", re.MULTILINE
)


def build(parts: tuple[Part, ...], rom: bytes = b"") -> board.Board:
    """A board with *parts* whose processor finds `jmp $` at its reset vector."""
    options = Options(Model.PENTIUM3, MIB, 0, parts=parts)
    outside = Outside(lambda _: None, lambda _: None, lambda _: None, lambda: None)
    rom = rom or bytes(4096 - 16) + SPIN.ljust(16, b"\0")
    made = board.isapc(options, outside, rom, {}, None, choose(EngineChoice.AUTO).make, Clock())
    made.reset()
    return made


def answered(made: board.Board) -> set[int]:
    """Every port at which somebody answers or listens."""
    ports = made.slot.ports
    tables = [table[size] for table in (ports._reads, ports._writes) for size in SIZES]
    return {port for table in tables for port in table}


def page() -> dict[str, tuple[set[int], str]]:
    """What the board's page says of each part: its ports and its interrupt line."""
    rows = {}
    for name, ports, interrupt in ROW.findall(board.__doc__ or ""):
        if name in {part.value for part in Part}:
            found: set[int] = set()
            for piece in ports.split():
                first, _, last = piece.partition("-")
                found |= set(range(int(first, 16), int(last or first, 16) + 1))
            rows[name] = (found, interrupt)
    return rows


class TestPage:
    def test_it_names_every_part(self) -> None:
        assert set(page()) == {part.value for part in Part}

    @pytest.mark.parametrize("part", Part)
    def test_the_ports_of_each_part(self, part: Part) -> None:
        """Those that nobody answers when it is not there."""
        whole, without = build(ISAPC_PARTS), build(tuple(each for each in Part if each is not part))
        expected, _ = page()[part.value]

        gone = answered(whole) - answered(without)
        if part is Part.I8254:
            gone -= {0x61}  # port 61h is nothing without the timer
        assert gone == expected

        whole.close()
        without.close()

    def test_the_interrupt_lines(self) -> None:
        made = build(ISAPC_PARTS)

        lines = {int(line.split()[1]) for _, line in page().values() if line.startswith("IRQ")}
        assert made.slot._irq_drivers == lines | {2}, "and the cascade"

        made.close()


class TestParts:
    @pytest.mark.parametrize("part", Part)
    def test_a_machine_without_one_runs_is_saved_and_goes_on(self, part: Part) -> None:
        made = build(tuple(each for each in ISAPC_PARTS if each is not part))
        made.processor.run(MS)
        sections = made.slot.registry.save_sections()
        made.processor.run(2 * MS)

        other = build(tuple(each for each in ISAPC_PARTS if each is not part))
        other.slot.registry.load_sections(sections)
        other.processor.run(2 * MS)

        assert other.slot.registry.save_sections() == made.slot.registry.save_sections()
        made.close()
        other.close()

    def test_a_processor_and_memory_are_a_machine(self) -> None:
        made = build(())

        made.processor.run(MS)

        assert made.slot.clock.now_ns >= MS
        assert made.slot.ports.read(0x3FD, 1) == 0xFF
        made.close()


class TestWires:
    def test_A20(self) -> None:
        """Port 92h bit 1 or the 8042's P21: without either the second MiB is the first once more."""
        # mov al, D1h; out 64h, al; mov al, DDh; out 60h, al
        # mov ax, FFFFh; mov es, ax; mov byte es:[7010h], 1; in al, 92h; and al, FDh; out 92h, al;
        # mov byte es:[7012h], 2; cli; hlt
        guest = bytes.fromhex("b0d1 e664 b0dd e660")
        guest += bytes.fromhex("b8ffff 8ec0 26c606107001 e492 24fd e692 26c606127002 faf4")

        with Machine(guest, memory="2M") as vm:
            vm.memory.write(0x7000, bytes(4))
            vm.run()

            assert vm.memory[0x10_7000:0x10_7003] == b"\1\0\0"
            assert vm.memory[0x7000:0x7003] == b"\0\0\2"
            assert not vm.cpu.a20

    def test_the_timer_s_second_gate_and_output_are_at_port_61(self) -> None:
        made = build(ISAPC_PARTS)
        ports, clock = made.slot.ports, made.slot.clock
        ports.write(0x61, 0, 1)
        for port, value in ((0x43, 0xB2), (0x42, 10), (0x42, 0)):  # mode 1: GATE's rise begins it
            ports.write(port, value, 1)

        assert ports.read(0x61, 1) & 0x20
        ports.write(0x61, 1, 1)
        clock.advance(5_000)
        assert not ports.read(0x61, 1) & 0x20
        clock.advance(5_000)
        assert ports.read(0x61, 1) & 0x20
        made.close()

    def test_an_interrupt_goes_from_a_card_to_the_processor(self) -> None:
        """Of the slave: IRQ 8, by way of the master's input 2 to INTR."""
        made = build(ISAPC_PARTS)
        ports = made.slot.ports
        for base, vector, wired in ((0x20, 8, 4), (0xA0, 0x70, 2)):
            for port, value in ((base, 0x11), (base + 1, vector), (base + 1, wired), (base + 1, 1)):
                ports.write(port, value, 1)
        assert not made.processor.state.intr

        for index, value in ((0xA, 0x26), (0xB, 0x42), (0xC, 0)):  # periodic, every 977 us
            ports.write(0x70, index, 1)
            ports.write(0x71, value, 1)
        ports.write(0x21, 0xFB, 1)
        made.slot.clock.advance(2 * MS)

        assert made.processor.state.intr
        assert made.processor.acknowledge() == 0x70
        made.close()

    def test_the_ROM_s_last_128_KiB_are_copied_below_1_MiB(self) -> None:
        rom = random.Random(1).randbytes(256 * 1024)

        made = build(ISAPC_PARTS, rom)

        assert made.memory.read(MIB - 128 * 1024, 128 * 1024) == rom[-128 * 1024 :]
        assert made.memory.read(MIB - 128 * 1024 - 4, 4) == bytes(4)
        assert made.memory.read((1 << 32) - len(rom), len(rom)) == rom
        made.close()


def settle_all(vm: Machine, dice: random.Random) -> None:
    """Let every card settle, in any order, some of them twice."""
    cards = vm.board.slot.registry.cards
    for card in dice.sample(cards, len(cards)) + dice.choices(cards, k=5):
        card.settle()


def states(vm: Machine) -> list[object]:
    return [attrs.evolve(card.state) for card in vm.board.slot.registry.cards]


class TestSettling:
    """Of a whole board at work, with every line connected."""

    @pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
    def test_it_changes_no_state_whatever_the_order(self, script: Script) -> None:
        running, dice = script.start("auto"), random.Random(1)

        for moment in script.moments(40, seed=8):
            running.run_to(moment)
            before, digest = states(running.vm), running.vm.digest()
            settle_all(running.vm, dice)
            assert states(running.vm) == before
            assert running.vm.digest() == digest
        running.close()

    def test_nobody_can_tell_later_either(self) -> None:
        """No interrupt is raised by it, none is lost."""
        straight, settled, dice = ECHO.start("auto"), ECHO.start("auto"), random.Random(2)

        for moment in ECHO.moments(60, seed=9):
            settled.run_to(moment)
            settle_all(settled.vm, dice)

        assert settled.run_to(ECHO.length_ns) == straight.run_to(ECHO.length_ns)
        straight.close()
        settled.close()

    @pytest.mark.parametrize("seed", range(6))
    def test_after_a_load_cards_may_settle_in_any_order(self, seed: int) -> None:
        straight, dice = ECHO.start("auto"), random.Random(seed)
        straight.run_to(ECHO.moments(1, seed)[0])
        save = straight.save()

        other = Running(emu.load(io.BytesIO(save.data)), straight.end, "auto")
        dice.shuffle(other.vm.board.slot.registry.cards)
        other.vm.load(io.BytesIO(save.data))
        assert other.vm.digest() == straight.vm.digest()
        other.vm.run(emu.clock(ECHO.length_ns))
        straight.vm.run(emu.clock(ECHO.length_ns))

        assert other.vm.digest() == straight.vm.digest()
        straight.close()
        other.close()
