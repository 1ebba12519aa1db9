"""What a guest finds at an address: RAM, ROM, nothing; with A20 open or closed, and above 4 GiB."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from rig import (
    CR0_PE,
    CR0_PG,
    CR4_PAE,
    CR4_PSE,
    DATA,
    DIRECTORY,
    ENGINES,
    SPARE,
    Rig,
    paging,
    protected_mode,
    real_mode,
)

import emu
from emu.cpu.bits import CR4_OSFXSR
from emu.cpu.processor import Pause
from emu.cpu.state import Segment, State
from emu.memory import MIB

ROM = 0xFFFF_0000  # the rig's
FIRST_HOLE = 2 * MIB
LAST_HOLE = ROM - 16
UD = 6


@pytest.fixture(params=ENGINES)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(request.param)
    yield rig
    rig.close()


class TestHoles:
    """Where nobody is, the bus reads all ones, and writes go nowhere."""

    @pytest.mark.parametrize("address", [FIRST_HOLE, 0xFEE0_0000, LAST_HOLE])
    def test_reads_and_writes(self, rig: Rig, address: int) -> None:
        """1, 2, 4, 8 and 16 bytes."""
        rig.load(
            bytes.fromhex(
                "89 03"  # mov [ebx], eax
                "31 c0"  # xor eax, eax
                "31 c9"  # xor ecx, ecx
                "31 d2"  # xor edx, edx
                "8a 03"  # mov al, [ebx]
                "66 8b 0b"  # mov cx, [ebx]
                "8b 13"  # mov edx, [ebx]
                "0f 6f 03"  # movq mm0, [ebx]
                "0f 10 03"  # movups xmm0, [ebx]
                "83 03 05"  # add dword [ebx], 5
                "87 33"  # xchg [ebx], esi
                "f4"  # hlt
            ),
            protected_mode(ebx=address, eax=0x1234_5678, cr4=CR4_OSFXSR),
        )

        assert rig.run() is Pause.HALTED

        state = rig.state
        assert (state.eax, state.ecx, state.edx) == (0xFF, 0xFFFF, 0xFFFF_FFFF)
        assert state.esi == 0xFFFF_FFFF
        assert state.fpu[0].mantissa == 0xFFFF_FFFF_FFFF_FFFF
        assert state.xmm[0].low == state.xmm[0].high == 0xFFFF_FFFF_FFFF_FFFF
        assert rig.reported == []

    @pytest.mark.parametrize(
        ("address", "found"), [(FIRST_HOLE - 2, 0xFFFF_2211), (ROM - 2, 0x4433_FFFF)]
    )
    def test_an_access_across_an_edge(self, rig: Rig, address: int, found: int) -> None:
        """Each half finds what is there."""
        rig.memory.write(FIRST_HOLE - 2, b"\x11\x22")
        rig.memory.rom.write(0, b"\x33\x44")
        rig.load(
            bytes.fromhex(
                "8b 03"  # mov eax, [ebx]
                "89 0b"  # mov [ebx], ecx
                "f4"  # hlt
            ),
            protected_mode(ebx=address),
        )

        assert rig.run() is Pause.HALTED
        assert rig.state.eax == found
        assert rig.memory.read(FIRST_HOLE - 2, 3) in (b"\x11\x22\xff", b"\0\0\xff")

    @pytest.mark.parametrize("address", [FIRST_HOLE, 0xFEE0_0000, LAST_HOLE])
    def test_a_fetch(self, rig: Rig, address: int) -> None:
        """All ones are an invalid instruction."""
        rig.load(
            bytes.fromhex(
                "ff e3"  # jmp ebx
            ),
            protected_mode(ebx=address),
        )

        rig.run()

        assert rig.reported == [UD]
        assert rig.stack(1) == [address]

    def test_a_fetch_costs_time(self, rig: Rig) -> None:
        """Where the handler is in a hole itself, this goes on for ever; but not outside of time."""
        rig.memory.write(UD * 4, struct.pack("<HH", 0, 0xF800))
        rig.memory.write(0xF_8000, b"\x0f\x0b")  # ud2, for its handler
        rig.load(
            bytes.fromhex(
                "0f 0b"  # ud2
            ),
            real_mode(esp=0x7F00),
        )
        rig.memory.write(UD * 4, struct.pack("<HH", 0x10, 0xFFFF))
        rig.processor.state = protected_mode(FIRST_HOLE, idtr=Segment(base=DATA, limit=0x7FF))
        rig.memory.write(DATA + UD * 8, struct.pack("<HHBBH", 0, 8, 0, 0x8E, FIRST_HOLE >> 16))

        assert rig.run(1000) is Pause.REACHED
        assert rig.clock.now_ns == 1000


class TestROM:
    """It is where the processor looks for it, and cannot be written."""

    def test_writes_are_ignored(self, rig: Rig) -> None:
        """Of every kind; and the guest goes on behind them."""
        rig.memory.rom.write(0x100, bytes(range(16)))
        rig.load(
            bytes.fromhex(
                "89 03"  # mov [ebx], eax
                "83 03 05"  # add dword [ebx], 5
                "87 4b 04"  # xchg [ebx + 4], ecx
                "89 dc"  # mov esp, ebx
                "50"  # push eax
                "89 df"  # mov edi, ebx
                "ab"  # stosd
                "8b 13"  # mov edx, [ebx]
                "f4"  # hlt
            ),
            protected_mode(ebx=ROM + 0x100, eax=0x1234_5678),
        )

        assert rig.run() is Pause.HALTED
        assert rig.memory.rom.read(0xFC, 20) == bytes(4) + bytes(range(16))
        assert (rig.state.edx, rig.state.ecx) == (0x0302_0100, 0x0706_0504)
        assert rig.state.edi == ROM + 0x104
        assert rig.reported == []

    def test_it_is_executed(self, rig: Rig) -> None:
        rig.memory.rom.write(
            0xFFF0,
            bytes.fromhex(
                "b0 07"  # mov al, 7
                "e6 80"  # out 0x80, al
                "f4"  # hlt
            ),
        )
        rig.processor.reset()

        rig.run()

        assert rig.reported == [7]
        assert rig.state.cs == Segment(0xF000, ROM, 0xFFFF, 0x9B00)


class TestAbove4GiB:
    """PAE and 4 MiB pages reach further than there is memory: SDM volume 3A, 4.3 and 4.4."""

    def check(self, rig: Rig, state: State) -> None:
        rig.load(
            bytes.fromhex(
                "a1 00 00 80 00"  # mov eax, [0x800000]
                "89 1d 00 00 80 00"  # mov [0x800000], ebx
                "8b 0d 00 00 80 00"  # mov ecx, [0x800000]
                "e9 ea ef 7f 00"  # jmp 0x800000
            ),
            state,
        )
        rig.memory.write(0, struct.pack("<I", 0x1111_1111))

        rig.run()

        assert (rig.state.eax & 0xFFFF_FF00, rig.state.ecx) == (0xFFFF_FF00, 0xFFFF_FFFF)
        assert rig.memory.read(0, 4) == b"\x11\x11\x11\x11"
        assert rig.reported == [UD]
        assert rig.stack(1) == [0x80_0000]

    @pytest.mark.parametrize("page", [4 << 30, 5 << 30, (1 << 36) - 4096 * 512])
    def test_PAE(self, rig: Rig, page: int) -> None:
        rig.memory.write(SPARE, struct.pack("<Q", DIRECTORY | 1))
        rig.memory.write(DIRECTORY, struct.pack("<5Q", 0x83, 0, 0, 0, page | 0x83))

        self.check(rig, paging(cr3=SPARE, cr4=CR4_PAE))

    @pytest.mark.parametrize("above", [1, 15, 255])
    def test_PSE_36(self, rig: Rig, above: int) -> None:
        """Bits 39 to 32 of a 4 MiB page's address are bits 20 to 13 of its entry."""
        rig.memory.write(DIRECTORY, struct.pack("<3I", 0x83, 0, above << 13 | 0x83))

        self.check(rig, paging(cr4=CR4_PSE))


class TestA20:
    """Closed, the gate holds address line 20 low: the second MiB is the first again."""

    def test_data(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "c7 05 00 20 10 00 01 00 00 00"  # mov dword [0x102000], 1
                "e6 92"  # out 0x92, al
                "c7 05 00 20 10 00 02 00 00 00"  # mov dword [0x102000], 2
                "a1 00 20 00 00"  # mov eax, [0x2000]
                "e6 93"  # out 0x93, al
                "8b 1d 00 20 10 00"  # mov ebx, [0x102000]
                "8b 0d 00 20 00 00"  # mov ecx, [0x2000]
                "f4"  # hlt
            ),
            protected_mode(),
        )
        rig.ports.on_write[0x92] = lambda _value: rig.processor.set_a20(False)
        rig.ports.on_write[0x93] = lambda _value: rig.processor.set_a20(True)

        rig.run()

        assert (rig.state.eax, rig.state.ebx, rig.state.ecx) == (2, 1, 2)
        assert rig.memory.read(0x10_2000, 1) == b"\1"

    @pytest.mark.parametrize("slice_ns", [1, 2, 100])
    def test_code(self, rig: Rig, slice_ns: int) -> None:
        """The gate moves under running code: FFFF:1010 is at 101000, or at 1000."""
        both = [
            bytes.fromhex(
                "e6 92"  # out 0x92, al
                "eb 00"  # jmp next
                "b1 01"  # next: mov cl, 1
                "eb 00"  # jmp away
                "f4"  # away: hlt
            ),
            bytes.fromhex(
                "e6 93"  # out 0x93, al
                "eb 00"  # jmp next
                "b1 02"  # next: mov cl, 2
                "eb 00"  # jmp away
                "f4"  # away: hlt
            ),
        ]
        rig.memory.write(0x10_1000, both[0])
        rig.memory.write(0x1000, both[1])
        rig.ports.on_write[0x92] = lambda _value: rig.processor.set_a20(False)
        rig.ports.on_write[0x93] = lambda _value: rig.processor.set_a20(True)
        found = []

        for _ in range(3):
            a20 = rig.state.a20
            rig.processor.state = real_mode(
                0x1010, cs=Segment(0xFFFF, 0xF_FFF0, 0xFFFF, 0x9B00), a20=a20
            )
            while rig.run(slice_ns) is Pause.REACHED:
                pass
            found.append(rig.state.ecx)

        assert found == [2, 1, 2]

    def test_code_that_led_to_other_code(self, rig: Rig) -> None:
        """The gate closes between two instructions; the next time round it does not."""
        first = bytes.fromhex(
            "e6 92"  # out 0x92, al
            "eb 00"  # jmp next
            "b1 01"  # next: mov cl, 1
            "f4"  # hlt
        )
        other = bytes.fromhex(
            "e6 93"  # next: out 0x93, al
            "ff e3"  # jmp ebx
        )
        rig.memory.write(0x1004, other)
        rig.load(first, protected_mode(0x10_1000, ebx=0x10_1000), at=0x10_1000)
        rig.ports.on_write[0x92] = lambda _value: rig.processor.set_a20(len(rig.ports.written) > 1)
        rig.ports.on_write[0x93] = lambda _value: rig.processor.set_a20(True)

        assert rig.run() is Pause.HALTED
        assert rig.state.ecx == 1
        assert [port for port, _ in rig.ports.written] == [0x92, 0x93, 0x92]

    def test_between_two_runs(self, rig: Rig) -> None:
        """A machine that is reset or loaded moves it, too."""
        rig.memory.write(0x10_2000, b"\1")
        found = []

        for high in (True, False, False, True):
            rig.processor.set_a20(high)
            rig.load(
                bytes.fromhex(
                    "a0 00 20 10 00"  # mov al, [0x102000]
                    "f4"  # hlt
                ),
                protected_mode(a20=rig.state.a20),
            )
            rig.run()
            found.append(rig.state.eax)

        assert found == [1, 0, 0, 1]

    def test_page_tables(self, rig: Rig) -> None:
        """They are found through the gate, too."""
        rig.memory.write(0x10_5000, rig.memory.read(DIRECTORY, 4096))
        rig.memory.write(DIRECTORY, bytes(4096))
        rig.memory.write(0x10_6000, rig.memory.read(0x6000, 4096))
        rig.load(
            bytes.fromhex(
                "e6 93"  # out 0x93, al
                "0f 22 c3"  # mov cr0, ebx
                "b0 07"  # mov al, 7
                "e6 80"  # out 0x80, al
                "f4"  # hlt
            ),
            protected_mode(ebx=0x10 | CR0_PE | CR0_PG, cr3=0x10_5000, a20=False),
        )
        rig.ports.on_write[0x93] = lambda _value: rig.processor.set_a20(True)

        rig.run()

        assert rig.reported == [7]

    @pytest.mark.parametrize("engine", ENGINES)
    def test_port_92h(self, engine: str) -> None:
        """Bit 1 opens it, on the whole machine."""
        code = bytes.fromhex(
            "b8 ff ff"  # mov ax, 0xffff
            "8e d8"  # mov ds, ax
            "c6 06 10 00 01"  # mov byte [0x10], 1
            "2e c6 06 00 00 01"  # mov byte [cs:0], 1
            "b0 d1 e6 64"  # the keyboard controller's half of the gate:
            "b0 dd e6 60"  # from now on port 92h decides
            "e4 92"  # in al, 0x92
            "24 fd"  # and al, 0xfd
            "e6 92"  # out 0x92, al
            "c6 06 10 00 02"  # mov byte [0x10], 2
            "0c 02"  # or al, 2
            "e6 92"  # out 0x92, al
            "8a 1e 10 00"  # mov bl, [0x10]
            "31 c0"  # xor ax, ax
            "8e d8"  # mov ds, ax
            "8a 3e 00 00"  # mov bh, [0]
            "f4"  # hlt
        )
        rom = code.ljust(0xFFF0, b"\0") + bytes.fromhex("ea 00 00 00 f0").ljust(16, b"\0")
        with emu.Machine(bios=rom, memory="2M", engine=engine) as vm:
            stopped = vm.run(until=emu.after("1ms"))

            assert stopped.reason is emu.Reason.UNTIL
            assert vm.cpu.ebx == 0x0201


class TestOddAddresses:
    """Where an offset runs over what it should not: SDM volume 3A, 5.3, has #GP; the engine goes on."""

    def test_past_4_GiB(self, rig: Rig) -> None:
        """EIP comes round to 0."""
        rig.memory.rom.write(0xFFFE, b"\x90\x90")
        rig.load(
            bytes.fromhex(
                "b0 07"  # mov al, 7
                "e6 80"  # out 0x80, al
                "f4"  # hlt
            ),
            protected_mode(0xFFFF_FFFE),
            at=0,
        )

        assert rig.run() is Pause.HALTED
        assert rig.reported == [7]
        assert rig.state.eip == 5

    def test_past_64_KiB_in_real_mode(self, rig: Rig) -> None:
        """What is there is not executed: CS ends, #GP (SDM 3A 5.3)."""
        rig.memory.write(0xFFFE, b"\x90\x90")
        rig.load(
            bytes.fromhex(
                "b0 07"  # mov al, 7
                "e6 80"  # out 0x80, al
                "f4"  # hlt
            ),
            at=0x1_0000,
        )
        rig.processor.state = real_mode(0xFFFE)

        assert rig.run() is Pause.HALTED
        assert rig.reported == [13]
