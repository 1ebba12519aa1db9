"""The placement of a Linux kernel is that of the 32-bit boot protocol.

The kernels here are headers with a few bytes behind; a field is at the offset that boot.rst gives.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest

from emu.errors import ConfigError
from emu.kernels import linux
from emu.kernels.placement import GDT, Placement
from emu.memory import MIB

CODE = bytes(range(256)) * 16
FIELDS = {  # offset, size
    "setup_sects": (0x1F1, 1),
    "syssize": (0x1F4, 4),
    "boot_flag": (0x1FE, 2),
    "jump": (0x200, 2),
    "magic": (0x202, 4),
    "version": (0x206, 2),
    "loadflags": (0x211, 1),
    "code32_start": (0x214, 4),
    "initrd_addr_max": (0x22C, 4),
    "kernel_alignment": (0x230, 4),
    "relocatable_kernel": (0x234, 1),
    "xloadflags": (0x236, 2),
    "cmdline_size": (0x238, 4),
    "pref_address": (0x258, 8),
    "init_size": (0x260, 4),
}
USUAL = {
    "setup_sects": 2,
    "syssize": len(CODE) // 16,
    "boot_flag": 0xAA55,
    "jump": 0x6AEB,  # to 26Ch
    "magic": int.from_bytes(b"HdrS", "little"),
    "version": 0x20F,
    "loadflags": 1,
    "code32_start": MIB,
    "initrd_addr_max": 0x7FFF_FFFF,
    "kernel_alignment": MIB,
    "relocatable_kernel": 1,
    "cmdline_size": 2047,
    "pref_address": 4 * MIB,
    "init_size": 2 * MIB,
}


def kernel(code: bytes = CODE, **fields: int) -> bytes:
    """A bzImage whose header has *fields*, and otherwise `USUAL`."""
    values = USUAL | fields
    setup = bytearray(b"\xcc" * ((values["setup_sects"] or 4) * 512 + 512))
    setup[0x1F1:0x26C] = bytes(0x26C - 0x1F1)
    for name, value in values.items():
        offset, size = FIELDS[name]
        setup[offset : offset + size] = value.to_bytes(size, "little")
    return bytes(setup) + code


def place(file: bytes, initrd: bytes = b"", words: str = "", mib: int = 16) -> Placement:
    return linux.place(file, initrd, words, mib * MIB)


def memory(placement: Placement) -> dict[int, bytes]:
    """What is at which address."""
    return {piece.address: piece.data for piece in placement.pieces}


def zero_page(placement: Placement) -> Any:
    """A function that reads a field of boot_params."""
    page = memory(placement)[placement.esi]
    assert len(page) == 4096
    return lambda offset, size: int.from_bytes(page[offset : offset + size], "little")


def e820(placement: Placement) -> list[tuple[int, ...]]:
    page = memory(placement)[placement.esi]
    return [struct.unpack_from("<QQI", page, 0x2D0 + 20 * n) for n in range(page[0x1E8])]


class TestWhatIsLinux:
    def test_a_boot_flag_and_a_magic_number(self) -> None:
        assert linux.is_linux(kernel())

    @pytest.mark.parametrize("field", ["boot_flag", "magic"])
    def test_not_one_of_them_alone(self, field: str) -> None:
        assert not linux.is_linux(kernel(**{field: 0}))

    @pytest.mark.parametrize("size", [0, 511, 512, 517])
    def test_nor_a_file_that_ends_before_them(self, size: int) -> None:
        assert not linux.is_linux(kernel()[:size])


class TestTheKernel:
    def test_is_all_behind_the_setup_and_entered_where_it_is_put(self) -> None:
        """Also what is behind syssize, where some kernels keep their signature."""
        placement = place(kernel(CODE + b"signature"))

        assert memory(placement)[MIB] == CODE + b"signature"
        assert placement.entry == MIB

    @pytest.mark.parametrize("missing", [1, 15])
    def test_whose_last_paragraph_is_not_full(self, missing: int) -> None:
        """As memtest86+'s and iPXE's are: syssize counts paragraphs of 16 bytes."""
        assert memory(place(kernel()[:-missing]))[MIB] == CODE[:-missing]

    def test_no_sectors_of_setup_are_four(self) -> None:
        """As it says: "if the setup_sects field contains 0, the real value is 4"."""
        assert memory(place(kernel(setup_sects=0)))[MIB] == CODE

    def test_goes_where_it_wants(self) -> None:
        placement = place(kernel(code32_start=3 * MIB))

        assert memory(placement)[3 * MIB] == CODE
        assert placement.entry == 3 * MIB

    def test_finds_its_header_in_the_zero_page(self) -> None:
        """1F1h to where the jump leads, as in the file; around it nothing of the file."""
        file, placement = kernel(), place(kernel())
        page = memory(placement)[placement.esi]

        assert page[0x1F1:0x210] == file[0x1F1:0x210]
        assert page[0x22C:0x26C] == file[0x22C:0x26C]
        assert not any(page[0x004:0x1E0])
        assert not any(page[0x26C:0x2D0])

    def test_is_told_who_loads_it(self) -> None:
        """FFh: a loader without a number.  LOADED_HIGH stays, and no heap is promised."""
        read = zero_page(place(kernel()))

        assert (read(0x210, 1), read(0x211, 1)) == (0xFF, 0x01)

    def test_finds_flat_segments(self) -> None:
        """__BOOT_CS (10h) and __BOOT_DS (18h): 0 to 4 GiB, 32 bits."""
        placement = place(kernel())

        assert memory(placement)[placement.gdt] == GDT
        assert struct.unpack("<4Q", GDT)[2:] == (0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF)

    def test_finds_zero_in_EBX(self) -> None:
        """As it has to be; EBP and EDI, too."""
        assert (place(kernel()).eax, place(kernel()).ebx) == (0, 0)


class TestTheMemory:
    def test_is_told_in_three_ways(self) -> None:
        """As E820h's table, and as calls 88h and E801h would have it."""
        placement = place(kernel())
        read = zero_page(placement)

        assert e820(placement) == [(0, 0xA0000, 1), (0xA0000, 0x60000, 2), (MIB, 15 * MIB, 1)]
        assert (read(0x002, 2), read(0x1E0, 4)) == (15 * 1024, 15 * 1024)

    def test_of_more_than_64_MiB_call_88h_tells_so_much(self) -> None:
        read = zero_page(place(kernel(), mib=1024))

        assert (read(0x002, 2), read(0x1E0, 4)) == (63 * 1024, 1023 * 1024)

    def test_must_do_for_unpacking(self) -> None:
        """From the aligned preferred address on, init_size."""
        file = kernel(pref_address=4 * MIB + 1, kernel_alignment=MIB, init_size=2 * MIB)

        assert place(file, mib=7).entry == MIB
        with pytest.raises(
            ConfigError, match=r"Linux kernel: no room at 0x100000-0x6fffff, in 6 MiB"
        ):
            place(file, mib=6)

    def test_must_do_for_one_that_does_not_move(self) -> None:
        file = kernel(relocatable_kernel=0, init_size=2 * MIB)

        assert place(file, mib=3).entry == MIB
        with pytest.raises(ConfigError, match="no room"):
            place(file, mib=2)

    def test_must_do_for_the_file(self) -> None:
        with pytest.raises(ConfigError, match="no room"):
            place(kernel(bytes(2 * MIB), init_size=0, pref_address=0), mib=2)

    def test_is_not_told_by_a_kernel_from_before_2_10(self) -> None:
        """There is no init_size then, whatever is in its place."""
        assert place(kernel(version=0x209, init_size=0xFFFF_FFFF)).entry == MIB


class TestTheInitrd:
    def test_is_as_high_as_may_be(self) -> None:
        """On a page; its address and size are in the header."""
        placement = place(kernel(), initrd=b"x" * 5000)
        read = zero_page(placement)

        assert memory(placement)[16 * MIB - 8192] == b"x" * 5000
        assert (read(0x218, 4), read(0x21C, 4)) == (16 * MIB - 8192, 5000)

    def test_is_below_initrd_addr_max(self) -> None:
        """That is the highest address that may be occupied."""
        placement = place(kernel(initrd_addr_max=12 * MIB - 1), initrd=b"x" * 4096)

        assert 12 * MIB - 4096 in memory(placement)

    def test_of_a_kernel_from_before_2_03_is_below_37FFFFFF(self) -> None:
        placement = place(kernel(version=0x202, initrd_addr_max=0), initrd=b"x", mib=1024)

        assert 0x3800_0000 - 4096 in memory(placement)

    def test_does_not_lie_where_the_kernel_unpacks_itself(self) -> None:
        """4 MiB + 2 MiB of 7 MiB leave one."""
        place(kernel(), initrd=bytes(MIB), mib=7)
        with pytest.raises(
            ConfigError, match="initrd: 1048577 bytes, for which there is no room in 7"
        ):
            place(kernel(), initrd=bytes(MIB + 1), mib=7)

    def test_that_is_not_there_is_none(self) -> None:
        read = zero_page(place(kernel()))

        assert (read(0x218, 4), read(0x21C, 4)) == (0, 0)


class TestTheCommandLine:
    def test_ends_with_a_zero_and_is_pointed_at(self) -> None:
        placement = place(kernel(), words="console=ttyS0 quiet")
        read = zero_page(placement)

        assert memory(placement)[read(0x228, 4)] == b"console=ttyS0 quiet\0"
        assert placement.command_line == "console=ttyS0 quiet"

    @pytest.mark.parametrize(("version", "most"), [(0x20F, 2047), (0x205, 255)])
    def test_is_not_longer_than_the_kernel_takes(self, version: int, most: int) -> None:
        """Before 2.06 that was 255."""
        place(kernel(version=version), words="x" * most)
        with pytest.raises(ConfigError, match=f"{most + 1} bytes, and the kernel takes {most}"):
            place(kernel(version=version), words="x" * (most + 1))


class TestRefused:
    @pytest.mark.parametrize(
        ("file", "problem"),
        [
            (kernel()[:0x267], "the file ends within its header"),
            (kernel(version=0x201), "boot protocol 2.01, expected 2.02 or later"),
            (kernel(loadflags=0), "a zImage"),
            (kernel(xloadflags=1), "for processors of 64 bits"),
            (kernel()[:-16], "cut short: 5616 bytes, expected 5617 or more"),
            (kernel(setup_sects=200)[:4096], "cut short"),
            (kernel(b"", version=0x203), "cut short"),
        ],
    )
    def test_what_is_no_kernel_for_this_machine(self, file: bytes, problem: str) -> None:
        with pytest.raises(ConfigError, match=f"Linux kernel: .*{problem}"):
            place(file)

    def test_xloadflags_mean_nothing_before_2_12(self) -> None:
        assert place(kernel(version=0x20B, xloadflags=1)).entry == MIB

    def test_whatever_a_header_says_it_is_placed_or_refused(self) -> None:
        """Each byte of it, at its extremes."""
        usual = kernel()
        for offset in range(0x1F1, 0x26C):
            for value in (0x00, 0x01, 0x7F, 0x80, 0xFF):
                file = usual[:offset] + bytes([value]) + usual[offset + 1 :]
                try:
                    placement = place(file, b"initrd", "words")
                except ConfigError:
                    continue
                assert all(piece.end <= 16 * MIB for piece in placement.pieces)
