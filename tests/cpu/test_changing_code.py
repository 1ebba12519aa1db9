"""Code that has been executed and is then changed is executed as it has become, whoever changed it."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator

import pytest
from rig import (
    CODE,
    DATA,
    DELIVERIES,
    SPARE,
    TABLE,
    Rig,
    needs_native,
    paging,
    protected_mode,
    real_mode,
)

from emu.cpu.processor import Pause

PATCHED = 0xC000  # an instruction MOV AL, n; the guests call it
ALIAS = 0x10_0000  # with pages, the same as 0
CALLED = bytes.fromhex(
    "b0 01"  # mov al, 1
    "c3"  # ret
)
NEW = bytes.fromhex("b0 02")  # mov al, 2


@pytest.fixture(params=DELIVERIES)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(request.param)
    rig.memory.write(PATCHED, CALLED)
    yield rig
    rig.close()


class TestByTheGuest:
    """Its own stores."""

    def test_at_the_same_address(self, rig: Rig) -> None:
        rig.load(
            bytes.fromhex(
                "bb 00 c0 00 00"  # mov ebx, 0xc000
                "ff d3"  # call ebx
                "88 c1"  # mov cl, al
                "c6 43 01 02"  # mov byte [ebx + 1], 2
                "ff d3"  # call ebx
                "f4"  # hlt
            ),
            protected_mode(),
        )

        rig.run()

        assert (rig.state.ecx, rig.state.eax) == (1, 2)

    @pytest.mark.parametrize("touched_before", [False, True])
    def test_at_another_address_of_the_page(self, rig: Rig, *, touched_before: bool) -> None:
        """Two virtual pages lead to it; the second may be known as one without code."""
        entry = (PATCHED & ~0xFFF) | 7
        rig.memory.write(TABLE + (ALIAS + PATCHED >> 12) * 4, struct.pack("<I", entry))
        touch = (
            bytes.fromhex(
                "c6 05 00 c8 10 00 00"  # mov byte [0x10c800], 0
            )
            if touched_before
            else b""
        )
        code = bytes.fromhex(
            "bb 00 c0 00 00"  # mov ebx, 0xc000
            "ff d3"  # call ebx
            "88 c1"  # mov cl, al
            "c6 05 01 c0 10 00 02"  # mov byte [0x10c001], 2
            "ff d3"  # call ebx
            "f4"  # hlt
        )
        rig.load(touch + code, paging())

        rig.run()

        assert (rig.state.ecx, rig.state.eax) == (1, 2)

    def test_through_a_4_MiB_page(self, rig: Rig) -> None:
        rig.memory.write(0x5000, struct.pack("<2I", 0x83, 0x83))
        rig.load(
            bytes.fromhex(
                "bb 00 c0 00 00"  # mov ebx, 0xc000
                "ff d3"  # call ebx
                "88 c1"  # mov cl, al
                "c6 05 01 c0 40 00 02"  # mov byte [0x40c001], 2
                "ff d3"  # call ebx
                "f4"  # hlt
            ),
            paging(cr4=1 << 4),
        )

        rig.run()

        assert (rig.state.ecx, rig.state.eax) == (1, 2)

    def test_by_a_string_instruction_over_itself(self, rig: Rig) -> None:
        """REP MOVSB puts another instruction in its own place."""
        new = bytes.fromhex(
            "42"  # inc dx
            "42"  # inc dx
        )
        rig.load(
            bytes.fromhex(
                "be 00 20"  # mov si, 0x2000
                "bf 06 10"  # mov di, code
                "f3 a4"  # code: rep movsb
                "f4"  # hlt
            ),
            real_mode(ecx=2),
        )
        rig.memory.write(DATA, new)

        assert rig.run() is Pause.HALTED
        assert rig.memory.read(CODE + 6, 2) == new

    def test_where_A20_is_closed(self, rig: Rig) -> None:
        """The second MiB is the first, for its code as well."""
        state = protected_mode(ebx=ALIAS + PATCHED, a20=False)
        rig.load(
            bytes.fromhex(
                "ff d3"  # call ebx
                "88 c1"  # mov cl, al
                "c6 05 01 c0 00 00 02"  # mov byte [0xc001], 2
                "ff d3"  # call ebx
                "f4"  # hlt
            ),
            state,
        )

        rig.run()

        assert (rig.state.ecx, rig.state.eax) == (1, 2)


class TestAPageThatChangesHands:
    """First code, then data, then code again, as an operating system's pages are."""

    GUEST = bytes.fromhex(
        "bb 00 c0 00 00"  # mov ebx, 0xc000
        "ff d3"  # call ebx
        "89 03"  # mov [ebx], eax     over all of the code that there is
        "89 43 04"  # mov [ebx + 4], eax
        "0f 20 d8"  # mov eax, cr3        an operating system would go on to another process
        "0f 22 d8"  # mov cr3, eax
        "c7 03 b0 02 c3 00"  # mov dword [ebx], 0xc302b0: mov al, 2; ret
        "ff d3"  # call ebx
        "88 c1"  # mov cl, al
        "c6 43 01 03"  # mov byte [ebx + 1], 3
        "ff d3"  # call ebx
        "f4"  # hlt
    )

    def test_is_seen_to(self, rig: Rig) -> None:
        rig.load(self.GUEST, paging())

        rig.run()

        assert (rig.state.ecx & 0xFF, rig.state.eax & 0xFF) == (2, 3)

    @needs_native
    def test_and_its_stores_are_fast_again(self) -> None:
        """The mark of a page with code goes with the code; Linux's stores would all be slow soon."""
        rig = Rig("native")
        rig.memory.write(PATCHED, CALLED)
        rig.load(self.GUEST[:12] + b"\xf4", paging())
        shared = rig.processor.engine._shared

        rig.run()

        marks = ctypes.string_at(shared.code, shared.ram_pages)
        assert not marks[PATCHED >> 12]
        assert marks[CODE >> 12]
        rig.close()


class TestByTheHost:
    """Between two runs, or in the middle of one: by a card's DMA."""

    @pytest.mark.parametrize("with_pages", [False, True])
    def test_between_two_runs(self, rig: Rig, *, with_pages: bool) -> None:
        state = paging if with_pages else protected_mode
        rig.load(
            bytes.fromhex(
                "ff d3"  # call ebx
                "f4"  # hlt
                "e9 f8 ff ff ff"  # jmp 0x1000
            ),
            state(ebx=PATCHED),
        )
        rig.run()
        first = rig.state.eax

        rig.memory.write(PATCHED, NEW)
        rig.processor.state = state(ebx=PATCHED)
        rig.run()

        assert (first, rig.state.eax) == (1, 2)

    def test_a_write_of_several_pages(self, rig: Rig) -> None:
        """The code is neither where it begins nor where it ends."""
        code = bytes.fromhex(
            "ff d3"  # call ebx
            "f4"  # hlt
        )
        for new in (CALLED, NEW + b"\xc3"):
            rig.memory.write(PATCHED - 5000, bytes(5000) + new + bytes(5000))
            rig.load(code, protected_mode(ebx=PATCHED))
            rig.run()

        assert rig.state.eax == 2

    def test_all_of_it_at_once(self, rig: Rig) -> None:
        """As a load does, which changes RAM behind everybody's back."""
        code = bytes.fromhex(
            "ff d3"  # call ebx
            "f4"  # hlt
        )
        rig.load(code, protected_mode(ebx=PATCHED))
        rig.run()

        rig.memory.ram.write(PATCHED, NEW)
        rig.processor.engine.invalidate_all()
        rig.processor.state = protected_mode(ebx=PATCHED)
        rig.run()

        assert rig.state.eax == 2

    def test_where_A20_is_closed(self, rig: Rig) -> None:
        """What is translated from the second MiB is what the host writes to the first."""
        for new in (b"", NEW):
            rig.memory.write(PATCHED, new)
            rig.load(
                bytes.fromhex(
                    "ff d3"  # call ebx
                    "f4"  # hlt
                ),
                protected_mode(ebx=ALIAS + PATCHED, a20=False),
            )
            rig.run()

        assert rig.state.eax == 2

    def test_of_code_that_an_exception_led_to(self, rig: Rig) -> None:
        """The first thing that this processor does is to fault."""
        for expected in (1, 2):
            rig.memory.write(SPARE, bytes((0xB0, expected, 0xF4)))  # mov al, n; hlt
            rig.memory.write(6 * 4, struct.pack("<HH", SPARE, 0))
            rig.load(
                bytes.fromhex(
                    "0f 0b"  # ud2
                )
            )
            rig.run()

            assert rig.state.eax == expected

    def test_of_code_past_the_top_of_the_address_space(self, rig: Rig) -> None:
        """What is translated from 4 GiB on is what the host writes at 0."""
        for expected in (1, 2):
            rig.memory.rom.write(0xFFFE, b"\x90\x90")
            rig.memory.write(0, bytes((0xB0, expected, 0xF4)))  # mov al, n; hlt
            rig.processor.state = protected_mode(0xFFFF_FFFE)
            rig.run()

            assert rig.state.eax == expected

    @pytest.mark.parametrize("slice_ns", [1, 100])
    @pytest.mark.parametrize("place", [PATCHED, CODE + 0x800])
    def test_in_the_middle_of_a_block(self, rig: Rig, place: int, slice_ns: int) -> None:
        """The block runs to its end as it was; what comes after is new.

        The very first block of all changes code in the page that it is in itself.
        """
        rig.memory.write(place, CALLED)
        code = bytes.fromhex(
            "b1 02"  # mov cl, 2
            "ff d3"  # again: call ebx
            "e6 60"  # out 0x60, al
            "88 c4"  # mov ah, al
            "eb 00"  # jmp next
            "fe c9"  # next: dec cl
            "75 f4"  # jnz again
            "f4"  # hlt
        )
        rig.load(code, protected_mode(ebx=place))
        rig.ports.on_write[0x60] = lambda _value: rig.memory.write(place, NEW)

        while rig.run(slice_ns) is Pause.REACHED:
            pass

        assert [value for port, value in rig.ports.written if port == 0x60] == [1, 2]
        assert rig.state.eax == 0x202

    def test_from_the_first_block_on(self, rig: Rig) -> None:
        """A block that has code dropped leads on to the next one, not back to itself."""
        rig.load(
            bytes.fromhex(
                "b9 03 00"  # mov cx, 3
                "e6 60"  # out 0x60, al
                "49"  # dec cx
                "eb 00"  # jmp n
                "88 c8"  # n: mov al, cl
                "e6 80"  # out 0x80, al
                "eb 00"  # jmp k
                "b0 09"  # k: mov al, 9
                "e6 80"  # out 0x80, al
                "f4"  # hlt
            )
        )
        rig.ports.on_write[0x60] = lambda _value: rig.memory.write(CODE + 0x800, NEW)

        assert rig.run() is Pause.HALTED
        assert rig.reported == [2, 9]


class TestByTheProcessor:
    """Delivery pushes a frame where there is code."""

    @pytest.mark.parametrize(
        ("vector", "code"),
        [
            (
                0x40,
                bytes.fromhex(
                    "cd 40"  # int 0x40
                ),
            ),
            (
                0x41,
                bytes.fromhex(
                    "fb"  # sti
                    "90"  # nop
                    "90"  # nop
                ),
            ),  # and an interrupt waits
        ],
        ids=["INT", "interrupt"],
    )
    def test_a_frame_over_code(self, rig: Rig, vector: int, code: bytes) -> None:
        """It returns to F402: as an instruction's rest, 02 and HLT."""
        rig.memory.write(PATCHED, bytes.fromhex("b0 01 f4"))  # mov al, 1; hlt
        rig.memory.write(vector * 4, struct.pack("<HH", SPARE + 0x1000, 0))
        rig.memory.write(
            SPARE + 0x1000,
            bytes.fromhex(
                "8a 1e 01 c0"  # mov bl, [0xc001]
                "e9 f9 ef"  # jmp 0xc000
            ),
        )
        rig.processor.state = real_mode(PATCHED)
        rig.run()
        before = rig.state.eax

        rig.load(code, real_mode(0xF400, esp=PATCHED + 1 + 6), at=0xF400)
        if vector == 0x41:
            rig.interrupt(vector)
        rig.run()

        assert before == 1
        assert rig.state.eax == rig.state.ebx == 2
        assert rig.state.eip == PATCHED + 3
