"""The loader does at a reset what a boot loader does, and nothing at any other time.

What kernels are given is the subject of tests/kernels; here it is that they are.
"""

from __future__ import annotations

import pytest

from emu import attrs
from emu.hw import loader
from emu.hw.loader import ZEROS, State
from emu.isa import Slot
from emu.kernels.placement import Piece, Placement

Happened = tuple[object, ...]

PLACEMENT = Placement(
    (Piece(0x10_0000, b"kernel", 5), Piece(0x2_0000, b"GDT")),
    gdt=0x2_0000,
    entry=0x10_0001,
    eax=0x2BADB002,
    ebx=0x3_0000,
    esi=0x4_0000,
    command_line="quiet",
)


@attrs.define(eq=False)
class Bench:
    """A loader, and what it does in the order in which it does it."""

    placement: Placement | None = PLACEMENT
    slot: Slot = attrs.field(init=False, factory=Slot)
    seen: list[Happened] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        for port in (0x20, 0x21, 0xA0, 0xA1, 0x40, 0x43):
            self.slot.register_ioport_write(
                port, 1, 1, lambda port, value: self.seen.append(("port", port, value))
            )
        loader.attach(
            self.slot,
            self.placement,
            write=lambda address, data: self.seen.append(("memory", address, data)),
            start=lambda state: self.seen.append(
                ("start", tuple(attrs.asdict(state).values())[1:])
            ),
        )

    def of(self, kind: str) -> list[Happened]:
        return [rest for what, *rest in self.seen if what == kind]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_nothing_happens_at_power_on(bench: Bench) -> None:
    assert bench.seen == []


def test_a_reset_puts_everything_in_memory_zeros_included(bench: Bench) -> None:
    bench.slot.reset()

    assert bench.of("memory") == [
        [0x10_0000, b"kernel"],
        [0x10_0006, bytes(5)],
        [0x2_0000, b"GDT"],
    ]


def test_many_zeros_come_in_pieces() -> None:
    """So that nobody has to hold them all."""
    size = 2 * len(ZEROS) + 7
    bench = Bench(Placement((Piece(0x10_0000, b"", size),), gdt=0, entry=0))

    bench.slot.reset()

    written = [(address, len(data)) for address, data in bench.of("memory") if data]
    assert sum(length for _, length in written) == size
    assert [address for address, _ in written] == [
        0x10_0000 + done for done in range(0, size, len(ZEROS))
    ]


def test_the_processor_starts_when_all_is_done(bench: Bench) -> None:
    """With the registers that the kernel is to find."""
    bench.slot.reset()

    registers = (0x2_0000, 0x10_0001, 0x2BADB002, 0x3_0000, 0x4_0000, "quiet")
    assert bench.seen[-1] == ("start", registers)
    assert len(bench.of("start")) == 1


def test_the_interrupt_controllers_are_as_a_BIOS_leaves_them(bench: Bench) -> None:
    """Multiboot §3.2: "the PIC programmed with the normal BIOS/DOS values"."""
    bench.slot.reset()

    ports = bench.of("port")
    assert [value for port, value in ports if port in (0x20, 0x21)] == [0x11, 0x08, 4, 1, 0xF8]
    assert [value for port, value in ports if port in (0xA0, 0xA1)] == [0x11, 0x70, 2, 1, 0xFF]


def test_the_timer_is_as_a_BIOS_leaves_it(bench: Bench) -> None:
    """18.2 Hz."""
    bench.slot.reset()

    assert [rest for rest in bench.of("port") if rest[0] in (0x40, 0x43)] == [
        [0x43, 0x36],
        [0x40, 0],
        [0x40, 0],
    ]


def test_a_restored_loader_does_the_same(bench: Bench) -> None:
    """It comes with no placement but that of the save."""
    other = Bench(None)
    other.slot.registry.load_sections(bench.slot.registry.save_sections())
    assert other.seen == []

    bench.slot.reset()
    other.slot.reset()

    assert other.seen == bench.seen


def test_the_section_is_as_it_is_written_down(bench: Bench) -> None:
    """FORMAT.md, emu/loader."""
    ((_, data),) = bench.slot.registry.save_sections().values()

    assert data == bytes.fromhex(
        "00000002"
        "00100000 00000006 6b65726e656c 00000005"
        "00020000 00000003 474454 00000000"
        "00020000 00100001 2badb002 00030000 00040000"
        "00000005 7175696574"
    )
    assert State().pieces == []
