"""The machine of QEMU's that takes an isapc's place, and how its saves differ from ours.

It is ``microvm`` with the devices of an AT switched on; `arguments` is how to start it:

    qemu-system-i386 -M microvm,... -cpu 486 -m 1M -nodefaults \
        -bios firmware/images/emu.rom -serial stdio -incoming "exec:cat FILE"

It must have as much RAM, the same processor, and a ROM of the same size.  It has all that an
isapc has but for ports 61h and 92h, keyboard and mouse, the reset control register and the two for
debugging.  What it has besides is nothing that a guest of ours knows of, and is dropped from its
saves: two I/O APICs, ACPI.

Its ROM below 1 MiB is the memory of its ROM below 4 GiB, and a guest may write there.  An isapc
has RAM there that a reset fills from the ROM.  So what QEMU calls ``pc.bios`` is that
RAM (`OneRom`); and on either side a reset brings back the ROM that the machine was built with.

What a machine may lose on the way, as QEMU's does on its own way from one host to another:

    emu/serial       how long the character takes that is being sent: QEMU sends it at once
    emu/mc146818rtc  where within its second the clock is; it goes on from the host's
    emu/cpu          the segments of the last x87 instruction, and MSRs that CPUID does not offer
    emu/i8254        that OUT's line is still low where QEMU has left it so

Time itself: both count it in nanoseconds since power-on, and go on from where the other was;
here only the guest moves it, there the host's clock does.  The time stamp counter is ours when
QEMU goes on, counting at the host's rate; when we do, it is the virtual nanoseconds again.

All else that QEMU has no place for must be as it is after a reset, or the save is refused:
characters on their way to the serial port, inputs to come, the speaker, a closed A20 gate, and
whatever a card of the user's own holds.  What a guest boots from must be in QEMU's fw_cfg, too
(``-fw_cfg name=opt/emu/floppy,file=...``), and is the host's file there: so a machine whose guest
has written to a drive stays here.  Keyboard, mouse and their controller must be as the ROM
leaves them, so a guest that uses them stays here.

Not modelled: any other machine of QEMU's.  FORMAT.md lists the sections, field by field.
"""

from __future__ import annotations

from collections.abc import Iterator

from emu import attrs
from emu.board import Board
from emu.cpu.models import Model
from emu.errors import ExportError, StreamError
from emu.hw.i8042 import CB_DISABLE_AUX, CB_INT, CB_SYS, CB_TRANSLATE, TEST_PASSED
from emu.hw.port92 import GATE_A20
from emu.memory import MIB, PAGE_BYTES, SHADOW_BYTES, Memory, Ram
from emu.nameplate import State as Nameplate
from emu.savevm.codecs import Unsigned
from emu.savevm.sections import Foreign, Reader
from emu.savevm.vmstate import Constant, Section, Subsection, buffer, several, u8, u32

MACHINE = "microvm"
OPTIONS = "acpi=off,pit=on,pic=on,rtc=on,isa-serial=on,x-option-roms=off,auto-kernel-cmdline=off"
STANDS_FOR = "isapc"

# What QEMU's models have and ours have not; and without a local APIC the 8259's INTR goes
# straight to the processor.
PROCESSORS = {
    Model.I486: "486,-hypervisor",
    Model.PENTIUM: "pentium,-hypervisor,-apic,-mce,-mca,-mtrr,-vme",
    Model.PENTIUM3: "pentium3,-hypervisor,-apic,-mce,-mca,-mtrr,-vme",
    Model.COREDUO: "coreduo,-hypervisor,-apic,-mce,-mca,-mtrr,-vme,-ss,-acpi,-monitor,+pse36",
}

RAM, ROM = "pc.ram", "pc.bios"  # our names

FOREIGN = Foreign(
    blocks={
        "microvm.ram": RAM,
        "pc.bios": ROM,
        "/rom@etc/acpi/tables": None,
        "/rom@etc/acpi/rsdp": None,
        "/rom@etc/table-loader": None,
    },
    ignored={
        "ioapic": Section(
            "ioapic",
            3,
            (
                u8("id"),
                u8("ioregsel"),
                Constant("unused", bytes(8)),
                u32("irr"),
                several("ioredtbl", 24, Unsigned(8)),
            ),
        ),
        "acpi-ged": Section(
            "acpi-ged",
            1,
            (u32("selector"),),
            subsections=(Subsection("acpi-ged/memhp", 1, (u32("memhp_selector"),)),),
        ),
        # How the machine is to go on when it has been loaded; here that is up to who loads it.
        "globalstate": Section("globalstate", 1, (u32("size"), buffer("runstate", 100))),
    },
    aliases={
        ("i8259", 0x20): ("i8259", 0),
        ("i8259", 0xA0): ("i8259", 1),
        ("i8254", 0x40): ("i8254", 0),
        ("mc146818rtc", 0x70): ("mc146818rtc", 0),
        ("serial", 0x3F8): ("serial", 0),
    },
    has={
        ("timer", 0),
        ("cpu_common", 0),
        ("cpu", 0),
        ("i8259", 0),
        ("i8259", 1),
        ("i8254", 0),
        ("mc146818rtc", 0),
        ("serial", 0),
        ("fw_cfg", 0),
    },
    dropped={
        "emu/machine",  # is there to build ours from
        "emu/fw_cfg",  # QEMU has what its command line says
        "emu/loader",  # a reset of QEMU's goes to its ROM
    },
    dropped_with={"emu/fw_cfg": {"written": False}},
    made_up={
        "port92": {"outport": GATE_A20},
        # As our ROM leaves it, which in QEMU has found no keyboard controller.
        "emu/i8042": {
            "command_byte": CB_INT | CB_SYS | CB_DISABLE_AUX | CB_TRANSLATE,
            "output": TEST_PASSED,
            "system": True,
            "command_last": False,
        },
        "emu/ps2_keyboard": {"link": {"clock_high": True}},
        "emu/typist": {"room": True},
    },
    lost={
        "emu/serial": {"tsr_done_ns"},
        "emu/mc146818rtc": {"nmi_masked", "second_ns", "periodic_ns"},
        "emu/cpu": {"fpu_cs", "fpu_ds", "msrs"},
        "emu/i8254": {"counters.kept_low"},
    },
)


def foreign(board: Board) -> Foreign:
    """How QEMU's saves differ from those of *board*; ExportError if it has nothing like it."""
    if board.name != STANDS_FOR:
        raise ExportError(f"QEMU has no machine that could take the place of this {board.name}")
    return attrs.evolve(FOREIGN, in_place_of={ROM: OneRom(board.memory)})


def check(reader: Reader) -> None:
    """StreamError unless the save that *reader* reads is of QEMU's machine.

    One in the form of 2008 does not say.
    """
    if reader.machine not in (None, MACHINE):
        raise StreamError(
            "saved on another machine",
            section="configuration/0",
            field="machine",
            found=repr(reader.machine),
            expected=repr(MACHINE),
        )


def arguments(machine: Nameplate) -> list[str]:
    """What to start qemu-system-i386 with, for a machine like *machine*; the ROM is yet to be named."""
    model = PROCESSORS[Model(machine.cpu)]
    size = f"{machine.memory_bytes // MIB}M"
    return ["-M", f"{MACHINE},{OPTIONS}", "-cpu", model, "-m", size, "-nodefaults"]


@attrs.frozen(eq=False)
class OneRom:
    """QEMU's ROM, in the way of a `Ram`: ours, with the copy below 1 MiB in place of its end."""

    memory: Memory
    name: str = ROM

    @property
    def size(self) -> int:
        return self.memory.rom.size

    @property
    def pages(self) -> int:
        return self.memory.rom.pages

    @property
    def copied_from(self) -> int:
        """Where the end begins that is copied."""
        return max(0, self.size - SHADOW_BYTES)

    def read(self, address: int, length: int) -> bytes:
        end = address + length
        middle = min(max(address, self.copied_from), end)
        below_1_mib = MIB - self.size
        return self.memory.rom.read(address, middle - address) + self.memory.ram.read(
            below_1_mib + middle, end - middle
        )

    def page(self, number: int) -> bytes:
        return self.read(number * PAGE_BYTES, PAGE_BYTES)

    def written(self) -> Iterator[range]:
        yield range(self.pages)

    def another(self) -> Ram:
        return self.memory.rom.another()

    def replace(self, other: Ram) -> None:
        """Take over what *other* has at its end, the copy; the ROM stays.  *other* is used up."""
        start = self.copied_from
        self.memory.ram.write(MIB - self.size + start, other.read(start, self.size - start))
        other.close()
